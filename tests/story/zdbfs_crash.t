#!/bin/bash
# kill -9 of the file system, then of the store, while a program writes, fsyncs and renames: whatever was acknowledged is
# there and whole, and the volume has no error.
. tests/story/lib.sh
. tests/story/zdbfs_lib.sh
fs_setup

cat >"$tap_tmp/writer.py" <<'PY'
# Writes files, fsyncs them and their directory, moves some over others, and says what was acknowledged.
import os, sys, hashlib, random
m, log, seed = sys.argv[1], sys.argv[2], int(sys.argv[3])
rnd = random.Random(seed)
out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
d = os.path.join(m, 'w%d' % seed); os.makedirs(d, exist_ok=True)
dfd = os.open(d, os.O_RDONLY)
n = 0
while True:
    n += 1
    data = rnd.randbytes(rnd.choice((1, 100, 5000, 140000, 300000)))
    name = 'f%d' % rnd.randrange(40)
    tmp = os.path.join(d, '.tmp')
    os.write(out, b'try %s %s\n' % (name.encode(), hashlib.sha256(data).hexdigest().encode()))
    fd = os.open(tmp, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.write(fd, data); os.fsync(fd); os.close(fd)
    os.rename(tmp, os.path.join(d, name)); os.fsync(dfd)
    os.write(out, b'ok %s %s\n' % (name.encode(), hashlib.sha256(data).hexdigest().encode()))
PY
cat >"$tap_tmp/verify.py" <<'PY'
# Every name has its last acknowledged content, or that of the one attempt which was under way.
import os, sys, hashlib
m, log, seed = sys.argv[1], sys.argv[2], int(sys.argv[3])
d = os.path.join(m, 'w%d' % seed); acked, tried, n, order = {}, {}, 0, 0
for line in open(log):
    p = line.split()
    if len(p) != 3: continue
    if p[0] == 'ok': acked[p[1]] = p[2]; n += 1; tried.pop(p[1], None)
    else: tried[p[1]] = p[2]
bad = 0
for name, digest in acked.items():
    try: got = hashlib.sha256(open(os.path.join(d, name), 'rb').read()).hexdigest()
    except OSError as e: got = str(e)
    if got != digest and got != tried.get(name): print(name, got, 'not', digest); bad += 1
print('%d acknowledged, %d names, %d wrong' % (n, len(acked), bad))
sys.exit(bad != 0 or n == 0)
PY

acknowledged() { [ "$(grep -c '^ok' "$tap_tmp/log.$1" 2>/dev/null || echo 0)" -ge "$2" ]; }

zdb_up || bail "zdb does not start"
for round in 1 2 3; do
	here "round $round: mounts" fs_up auto_unmount
	python3 "$tap_tmp/writer.py" "$mnt" "$tap_tmp/log.$round" $round 2>/dev/null &
	writer=$!
	ok "programs write and fsync" wait_until 60 acknowledged $round 40
	kill -9 "$fs_pid"
	fs_wait
	wait $writer 2>/dev/null
	wait_until 20 gone
	here "after kill -9 of the file system: mounts" fs_up auto_unmount
	ok "what was acknowledged is there" python3 "$tap_tmp/verify.py" "$mnt" "$tap_tmp/log.$round" $round
	kill -TERM "$fs_pid"
	here "stops" fs_wait
	ok "fsck finds no error" fs_check
	ok "and nothing without owner" no_leaks
done

here "mounts" fs_up auto_unmount
python3 "$tap_tmp/writer.py" "$mnt" "$tap_tmp/log.7" 7 2>"$tap_tmp/writer.err" &
writer=$!
for round in 1 2 3; do
	have=$(grep -c '^ok' "$tap_tmp/log.7" 2>/dev/null || echo 0)
	wait_until 60 acknowledged 7 $((have + 20))
	zdb_down -9
	zdb_up
	ok "zdb killed and started: writing goes on" wait_until 60 acknowledged 7 $((have + 40))
done
ok "the writer has seen no error" test ! -s "$tap_tmp/writer.err"
kill -9 $writer
wait $writer 2>/dev/null
ok "what was acknowledged is there" python3 "$tap_tmp/verify.py" "$mnt" "$tap_tmp/log.7" 7
kill -TERM "$fs_pid"
here "stops" fs_wait
ok "fsck finds no error" fs_check
done_testing
