#!/bin/bash
# A stored namespace is compacted, and at every moment what the stores hold is one state or the other: the node is lost before it,
# between it and its recovery point, in the middle of its uploads and after it, and comes back with every value; kill -9 of zdb and of
# zstor in between; what the old segments took on the stores is given back. TEST_SEED repeats a run.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/story/zstor_lib.sh
v_seed
DATASIZE=524288
v_new
v_new_volume
compact() { "$QSFS" zdb compact -s "$V/run/zdb.sock" -n zdbfs-data "$@"; }
said() { perl "$V_RESP" "$V/run/zdb.sock" CALL "$@" 2>&1; }
whole() { # MESSAGE: every value, of both namespaces
	ok "$1" v_verify zdbfs-data "$T/data"
	ok "$1: the other namespace" v_verify zdbfs-meta "$T/meta"
}
listed() { v_zstor list 2>/dev/null | grep -c "^$1 "; }
stores_hold() { # bytes of all values on the data stores
	local s sum=0 n
	for s in d1 d2 d3 d4 d5 d6; do
		n=$(ZDB_AUTH=secret-$s perl "$V_RESP" "$V/run/$s.sock" CALL NSINFO default | sed -n 's/^data_size_bytes: //p')
		sum=$((sum + n))
	done
	echo $sum
}
here() { cat "$V"/front/data/zdbfs-data/d* | wc -c; }
moment() { perl -e "select undef, undef, undef, $((RANDOM % $1)) / 1000"; } # what is random here; nothing waits for it

# --- what is not known to be stored is not touched ----------------------------------------------------------------
v_zstor_stop
ok "segments" v_fill zdbfs-data 120 60000 "$T/data"
ok "of another namespace" v_fill zdbfs-meta 200 400 "$T/meta"
ok "nothing is compacted before it is stored" sh -c "perl '$V_RESP' '$V/run/zdb.sock' CALL COMPACT zdbfs-data 2>&1 |
	grep -q '^-No segment of this namespace is known to be stored yet'"
v_zstor_start
ok "a recovery point" v_zstor sync
ok "every 2nd value rewritten" v_rewrite zdbfs-data "$T/data" 2
ok "every 7th deleted" v_delete zdbfs-data "$T/data" 7 "$T/gone"
ok "a point with that" v_zstor sync
ok "history of it cannot be kept" sh -c "perl '$V_RESP' '$V/run/zdb.sock' CALL COMPACT zdbfs-data KEEP ALL 2>&1 |
	grep -q '^-A stored namespace is compacted in sequential mode and without history only'"

# --- what the old segments took on the stores is given back --------------------------------------------------------
before=$(stores_hold)
old=$(here)
segments=$(listed segment)
ok "compacted" compact
new=$(here)
ok "files are smaller ($old -> $new)" test "$new" -lt $((old * 3 / 4))
whole "every value is there"
ok "a point with the new segments" v_zstor sync
ok "the old ones are still on the stores" test "$(listed segment)" -gt $((segments + 5))
ok "the server is told" wait_until 30 sh -c "! ls '$V'/front/index/zdbfs-data/replaced-* >/dev/null 2>&1"
few() { [ "$(v_state .owed.garbage)" -le 40 ]; }
for i in 1 2 3 4 5; do v_fill zdbfs-meta 1 100 "$T/meta" && v_zstor sync || break; done
ok "five points later" test "$i" = 5
closed() { ls "$V"/front/data/*/d* | wc -l; }
objects() { [ "$(listed segment)" -lt "$(closed)" ]; } # one for each closed segment
ok "there is one object for each closed segment" wait_until 60 objects
after=$(stores_hold)
ok "the stores hold less ($before -> $after)" test "$after" -lt $((before * 3 / 4))
diag "$(listed segment) segments, $(listed bundle) bundles, $(listed tail) tails, $(listed manifest) manifests on the stores"
ok "evict --all" v_zstor evict --all
whole "fetched"
ok "what is fetched is what was compacted" test "$(here)" -le $((new + 600000))
ok "the node is lost" v_lost
whole "with the new segments"
ok "sync" v_zstor sync
ok "every 3rd value rewritten" v_rewrite zdbfs-data "$T/data" 3
ok "a point with that" v_zstor sync

# --- the node is lost after the compaction, before the stores hear of it -------------------------------------------
v_zstor_stop KILL
ok "compacted while zstor is away" compact --threshold 0
ok "it is remembered" sh -c "ls '$V'/front/index/zdbfs-data/replaced-* >/dev/null"
whole "every value is there"
ok "no second one before the first is stored" sh -c "perl '$V_RESP' '$V/run/zdb.sock' CALL COMPACT zdbfs-data 2>&1 |
	grep -q '^-The compaction before is in no recovery point yet'"
ok "the node is lost, the point before comes back" v_lost
whole "with the old segments"
ok "what was deleted is absent" v_absent zdbfs-data "$T/gone"
ok "sync" v_zstor sync

# --- stored, and in no recovery point yet: the server dies before one can be cut --------------------------------------
ok "compacted" compact --threshold 0
ok "sync: the segments are of this front end's generation" v_zstor sync
ok "every 3rd value rewritten" v_rewrite zdbfs-data "$T/data" 3
ok "a point with that" v_zstor sync
ok "that can be compacted" wait_until 30 sh -c "! ls '$V'/front/index/zdbfs-data/replaced-* >/dev/null 2>&1"
v_zstor_stop KILL
ok "compacted while zstor is away" compact --threshold 0
ok "which is in the spool" wait_until 30 sh -c "ls '$V'/front/spool/bundle-zdbfs-data-* >/dev/null 2>&1"
v_zdb_stop KILL
rm -f "$V/front/spool/segment-zdbfs-data-0-0" # damaged on disk, say: nobody owes that segment any more
v_zstor_start
all_stored() { v_zstor status --json 2>/dev/null | jq -e '.owed | .unpublished > 0 and .files == .unpublished' >/dev/null; }
ok "zstor stores what was owed, and can make no point" wait_until 60 all_stored
ok "the node is lost, the point before comes back" v_lost
whole "with the old segments, which are still there"
ok "sync" v_zstor sync

# --- in the middle of the uploads -----------------------------------------------------------------------------------
compact >"$T/compact.out" 2>&1 &
c=$!
moment 400
v_zstor_stop KILL
wait $c
ok "the compaction goes on without zstor" grep -q . "$T/compact.out"
v_zstor_start
moment 600
ok "the node is lost while it is being stored" v_lost
whole "every value is there"
ok "sync" v_zstor sync
ok "and can be compacted" compact --threshold 0

# --- kill -9 of both, at any moment, with writes ---------------------------------------------------------------------
for round in 1 2 3 4; do
	v_rewrite zdbfs-data "$T/data" $((round + 3)) && v_zstor sync || fail "round $round: sync"
	compact --threshold 0 >"$T/compact.out" 2>&1 &
	c=$!
	v_fill zdbfs-data 5 60000 "$T/data"
	moment 300
	if [ $((round % 2)) = 0 ]; then
		v_zdb_stop KILL
		moment 200
		v_zdb_start || fail "round $round: zdb does not start again"
	else
		v_zstor_stop KILL
		moment 200
		v_zstor_start
	fi
	wait $c
	whole "round $round"
	ok "round $round: a point" v_zstor sync
	ok "round $round: everything comes back from the stores" v_zstor evict --all
	whole "round $round, fetched"
done
ok "the node is lost" v_lost
whole "and comes back"

ok "status exits 0" wait_until 30 v_zstor status
whole "at the end"
done_testing
