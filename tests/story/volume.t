#!/bin/bash
# The story of one volume, end to end, with whole programs: a real tree goes in, is made safe, evicted, read back
# with stores missing, survives kill -9 of every program, a clean stop, the loss of the front end and a move to
# another directory; and `up` refuses what would start the wrong volume.
#
# QSFS_STORY_MB (default 300) and QSFS_STORY_FILES (default 10000) size the tree.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/story/lib.sh
vol_begin volume
mkdir "$M"

mb=${QSFS_STORY_MB:-300}
files=${QSFS_STORY_FILES:-10000}

# --- the tree -----------------------------------------------------------------------------------------------
# Real files of this machine: headers, documentation, whatever lies in /usr/share, /usr/include, /usr/lib, until
# there are enough bytes and enough files. Links, modes and times come along.
story_tree "$T/tree" "$mb" "$files" || bail "no tree of $mb MB and $files files could be gathered"
tree_manifest "$T/tree" >"$T/want"
diag "tree: $(wc -l <"$T/want") entries, $(du -sm "$T/tree" | cut -f1) MB"

# --- (a) mount, copy, compare ---------------------------------------------------------------------------------
ok "up makes a new volume and mounts it" qsfs up --data "$D" --mount "$M"
ok "the mount is of type fuse.zdbfs" test "$(findmnt -no FSTYPE "$M")" = fuse.zdbfs
ok "keys are private" test "$(stat -c %a "$D/keys") $(stat -c %a "$D/keys/volume.key")" = "700 600"
first=$(cut -f1 /proc/sys/net/ipv4/ip_local_port_range)
ports=$(awk -v first="$first" '/^port = / { print ($3 < first) ? "safe" : "ephemeral" }' "$D/backends/backends.ini" | sort | uniq -c)
ok "no store has a port that an outgoing connection could take while it is away" test "$(echo $ports)" = "10 safe"
ok "the tree can be copied in" cp -a "$T/tree" "$M/"
tree_manifest "$M/tree" >"$T/got"
ok "every file has its checksum, mode, time and link target" cmp "$T/want" "$T/got"

# --- (b) safe, and opaque -------------------------------------------------------------------------------------
marker="qsfs-story-plain-text-$$-$RANDOM$RANDOM"
for i in $(seq 200); do echo "$marker"; done >"$M/marker.txt"
ok "sync --wait returns" qsfs sync --wait --data "$D"
ok "nothing is owed after sync --wait" test "$(qsfs_json "$D" .owed.files)" = 0
ok "every data store holds shards" stores_hold_data "$D"
not_ok "no store holds the plain text" grep -rqF "$marker" "$D/backends"

# --- (c) evict everything closed, read it back ------------------------------------------------------------------
before=$(du -sm "$D/front/data/zdbfs-data" | cut -f1)
ok "evict" qsfs evict --data "$D"
after=$(du -sm "$D/front/data/zdbfs-data" | cut -f1)
ok "eviction gave space back ($before MB, then $after MB)" test "$after" -lt "$((before / 2))"
drop_caches
tree_manifest "$M/tree" >"$T/got"
ok "everything reads back after eviction" cmp "$T/want" "$T/got"

# --- (d) stores lost, and back -----------------------------------------------------------------------------------
ok "evict again" qsfs evict --data "$D"
for b in backend-d2 backend-d5 backend-m1 backend-m4; do
	zin "$D" stop "$b" || diag "cannot stop $b"
done
drop_caches
tree_manifest "$M/tree" >"$T/got"
ok "everything reads back with 2 of 6 data and 2 of 4 metadata stores gone" cmp "$T/want" "$T/got"
ok "new writes go on" sh -c "head -c 3000000 /dev/urandom >'$M/late.bin' && sync '$M/late.bin'"
b2sum <"$M/late.bin" >"$T/late.sum"
ok "what is owed grows" wait_until 90 owed_more_than "$D" 0
qsfs status --data "$D" >"$T/status.txt"
ok "status exits 4 while stores are missing" test $? -eq 4
ok "status names a missing store" grep -Eq 'd2|d5|m1|m4' "$T/status.txt"
for b in backend-d2 backend-d5 backend-m1 backend-m4; do
	zin "$D" start "$b" || diag "cannot start $b"
done
ok "the debt is paid when they are back" wait_until 120 owed_nothing "$D"
ok "status exits 0 again" wait_until 60 qsfs status --data "$D"

# --- (e) kill -9 of each program in turn while programs write and fsync --------------------------------------------
for victim in zdb zdbfs zstor; do
	sync_writer "$M/k-$victim" "$T/k-$victim.log" &
	writer=$!
	wait_until 20 test -s "$T/k-$victim.log"
	pid=$(svc_pid "$D" "$victim")
	ok "kill -9 $victim (pid $pid)" kill -9 "$pid"
	ok "$victim is back" wait_until 60 svc_restarted "$D" "$victim" "$pid"
	ok "the mount answers again after $victim died" wait_until 60 mount_alive "$M"
	kill "$writer" 2>/dev/null
	wait "$writer" 2>/dev/null
	ok "every file that was fsynced is whole after kill -9 of $victim" check_synced "$M" "$T/k-$victim.log"
done
tree_manifest "$M/tree" >"$T/got"
ok "the tree is unharmed" cmp "$T/want" "$T/got"

# --- (f) stop, lose the front, come back -----------------------------------------------------------------------------
ok "down drains and ends clean" qsfs down --data "$D"
not_ok "nothing is mounted after down" mountpoint -q "$M"
rm -rf "$D/front"
ok "up without a front end restores it" qsfs up --data "$D" --mount "$M"
tree_manifest "$M/tree" >"$T/got"
ok "the same tree after down and loss of the front" cmp "$T/want" "$T/got"
ok "files of later hours are there too" sh -c "b2sum <'$M/late.bin' | cmp - '$T/late.sum'"

cp -a "$T/tree/." "$M/second" 2>/dev/null || cp -a "$T/tree" "$M/second"
rm -rf "$M/tree"
tree_manifest "$M/second" >"$T/got"
ok "a second copy is equal" cmp "$T/want" "$T/got"
ok "sync --wait" qsfs sync --wait --data "$D"
node_lost "$D" "$M"
rm -rf "$D/front"
ok "up after a node lost right after sync --wait" qsfs up --data "$D" --mount "$M"
tree_manifest "$M/second" >"$T/got"
ok "equal after the loss of the node" cmp "$T/want" "$T/got"
not_ok "what was removed before the point stays removed" test -e "$M/tree"
ok "down" qsfs down --data "$D"

mkdir "$T/moved"
mv "$D/keys" "$D/backends" "$T/moved/"
ok "up in another directory with the keys and stores moved there" qsfs up --data "$T/moved" --mount "$M"
tree_manifest "$M/second" >"$T/got"
ok "equal in the other directory" cmp "$T/want" "$T/got"
ok "down of the moved volume" qsfs down --data "$T/moved"

# --- (g) what must be refused -------------------------------------------------------------------------------------
mv "$T/moved/keys" "$T/keys.away"
before=$(state_fingerprint "$T/moved")
refused "up without keys" 6 "key" qsfs up --data "$T/moved" --mount "$M"
ok "refused without keys: nothing changed" test "$before" = "$(state_fingerprint "$T/moved")"
mv "$T/keys.away" "$T/moved/keys"

rm -rf "$T/moved/front"
for m in m1 m2 m3; do
	mv "$T/moved/backends/$m" "$T/$m.away"
	mkdir -p "$T/moved/backends/$m"
	cp -a "$T/$m.away/admin" "$T/moved/backends/$m/"
done
refused "up with three of four metadata stores replaced by empty ones" any "metadata" \
	qsfs up --data "$T/moved" --mount "$M"
not_ok "no empty volume was mounted" mountpoint -q "$M"
for m in m1 m2 m3; do
	rm -rf "$T/moved/backends/$m"
	mv "$T/$m.away" "$T/moved/backends/$m"
done
ok "up with the right stores again" qsfs up --data "$T/moved" --mount "$M"
tree_manifest "$M/second" >"$T/got"
ok "and the tree is what it was" cmp "$T/want" "$T/got"

# --- (h) a stop that could not finish does not say that all is safe ---------------------------------------------
for s in wait_hooks zstor; do
	zin "$T/moved" stop $s
	ok "$s ends" wait_until 60 svc_ended "$T/moved" $s
done
echo late >"$M/late"
sync "$M/late"
ok "status counts what no recovery point has" test "$(qsfs_json "$T/moved" .unsafe.bytes)" -gt 0
refused "down without the uploader" 75 "in no recovery point" qsfs down --data "$T/moved"
ok "status of the stopped volume counts it, too" test "$(qsfs_json "$T/moved" .unsafe.bytes)" -gt 0
ok "up goes on" qsfs up --data "$T/moved" --mount "$M"
ok "with what was written last" grep -q late "$M/late"
ok "last down" qsfs down --data "$T/moved"
ok "nothing is unsafe after it" test "$(qsfs_json "$T/moved" .unsafe.bytes)" = 0
done_testing
