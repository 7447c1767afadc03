#!/bin/bash
# `up --foreground`, as `make run` uses it: shows the status, stays, and drains on one Ctrl-C.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/story/lib.sh
vol_begin foreground vol/mnt

"$QSFS" up --data "$D" --foreground >"$T/out" 2>&1 </dev/null &
up=$!
ok "it shows the status" wait_until 60 grep -q '^owed' "$T/out"
ok "the mount point inside the volume's directory was made" mount_alive "$M"
ok "it stays" kill -0 "$up"
echo content >"$M/file"
kill -INT "$up"
wait "$up"
rc=$?
ok "Ctrl-C ends it with 0 ($rc)" test "$rc" = 0
ok "after a drain" grep -q 'everything is safe' "$T/out"
not_ok "nothing is mounted" mountpoint -q "$M"
ok "nothing is running" test -z "$(vol_pids "$D")"

"$QSFS" up --data "$D" --foreground >"$T/again" 2>&1 </dev/null &
up=$!
ok "it starts again" wait_until 60 grep -q '^owed' "$T/again"
ok "what was written without a sync is there" grep -q content "$M/file"
pid=$(sed -n 's/^pid = //p' "$D/up.toml")
kill -9 "$pid"
wait "$up"
rc=$?
ok "a supervisor that is killed is an error ($rc)" test "$rc" = 1
ok "and named" grep -q 'has ended by itself' "$T/again"
vol_kill "$D"
umount -l "$M" 2>/dev/null
done_testing
