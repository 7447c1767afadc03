#!/bin/bash
# kill -9 of zstor, zdb and stores at random moments while data is written: nothing that was synced is lost, nothing is stored
# twice under one name with different content, and everything that is owed is paid in the end. TEST_SEED repeats a run.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/story/zstor_lib.sh
v_seed
v_new
v_new_volume
rounds=${ZSTOR_CRASH_ROUNDS:-8}

# Writes in the background; every batch that returned is synced and listed.
writer() {
	local i=0
	while [ ! -e "$T/stop" ] && [ $i -lt 2000 ]; do
		v_fill zdbfs-data 8 60000 "$T/list" 2>/dev/null || return
		i=$((i + 1))
	done
}

for round in $(seq "$rounds"); do
	writer &
	w=$!
	wait_until 20 test -s "$T/list"
	perl -e "select undef, undef, undef, $((RANDOM % 1500)) / 1000" # the moment is what is random here, nothing waits for it
	case $((RANDOM % 3)) in
	0) victim=zstor; v_zstor_stop KILL; v_zstor_start ;;
	1) victim=zdb; v_zdb_stop KILL; v_zdb_start || fail "round $round: zdb does not start again" ;;
	2)
		s=d$((RANDOM % 6 + 1))
		victim=$s
		v_store_stop $s
		v_zstor_stop KILL
		v_zstor_start
		v_store_start $s
		;;
	esac
	touch "$T/stop"
	wait $w
	rm "$T/stop"
	ok "round $round: every synced value is readable after kill -9 of $victim" v_verify zdbfs-data "$T/list"
done
ok "everything that is owed is paid" wait_until 90 v_is .owed.files 0
ok "a last point" v_zstor sync
ok "evict --all" v_zstor evict --all
ok "all values come back from the stores" v_verify zdbfs-data "$T/list"
v_zdb_stop KILL
v_zstor_stop KILL
rm -rf "$V/front"
v_zstor_start

# kill -9 of zstor in the middle of the restore: it goes on, and no server starts on a part of it.
"$QSFS" zstor -c "$V/zstor.toml" restore >/dev/null 2>&1 &
r=$!
perl -e "select undef, undef, undef, $((RANDOM % 120)) / 1000"
v_zstor_stop KILL
wait $r
v_zstor_start
ok "zdb starts after a restore that was cut short" v_zdb_start
ok "every value is there" v_verify zdbfs-data "$T/list"
done_testing
