#!/bin/bash
# flush on the control socket: what was written, and never fsynced, is stored when it answers, although newer kernels do
# not wait in syncfs. The file system is killed right after the answer.
. tests/story/lib.sh
. tests/story/zdbfs_lib.sh
fs_setup
cat >"$tap_tmp/flush.py" <<'PY'
import socket, sys, json
s = socket.socket(socket.AF_UNIX); s.settimeout(120); s.connect(sys.argv[1])
s.sendall(b'{"cmd":"%s"}\n' % sys.argv[2].encode()); f = s.makefile()
while True:
    a = json.loads(f.readline())
    if a.get('done'): break
print(json.dumps(a)); sys.exit(a['code'])
PY
zdb_up || bail "zdb does not start"
for round in 1 2 3; do
	here "mounts" fs_up "auto_unmount,flush_interval=1h"
	head -c 50000000 /dev/urandom >"$tap_tmp/want"
	cp "$tap_tmp/want" "$mnt/f$round"
	ok "flush answers" python3 "$tap_tmp/flush.py" "$tap_tmp/ctl" flush
	kill -9 "$fs_pid"
	fs_wait
	wait_until 20 gone
	here "mounts after a kill" fs_up auto_unmount
	ok "the file is whole" cmp "$tap_tmp/want" "$mnt/f$round"
	kill -TERM "$fs_pid"
	here "stops" fs_wait
done
here "mounts" fs_up auto_unmount
ok "status answers" sh -c "python3 '$tap_tmp/flush.py' '$tap_tmp/ctl' status | grep -q '\"dirty_bytes\"'"
kill -TERM "$fs_pid"
here "stops" fs_wait
ok "fsck" fs_check
ok "no leaks" no_leaks
done_testing
