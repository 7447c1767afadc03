#!/bin/bash
# Many recovery points: index changes of older segments, merged bundles, what is superseded and goes, a namespace that is deleted
# and made anew; and each time the restored state is the state of the point.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/story/zstor_lib.sh
DATASIZE=524288
v_new
v_new_volume
listed() { v_zstor list 2>/dev/null | grep -c "^$1 "; }

# --- merged bundles, changes of old segments ------------------------------------------------------------------
ok "80 segments" v_fill zdbfs-data 640 60000 "$T/data"
ok "every 7th value deleted" v_delete zdbfs-data "$T/data" 7 "$T/deleted"
ok "every 5th rewritten" v_rewrite zdbfs-data "$T/data" 5
ok "another 40 segments" v_fill zdbfs-data 320 60000 "$T/data"
ok "sync" v_zstor sync
n=$(ls "$V/front/index/zdbfs-data" | grep -c '^i')
ok "there are more than 100 segments ($n)" test "$n" -gt 100
ok "further points" sh -c "for i in 1 2 3 4 5 6; do perl '$V_RESP' '$V/run/zdb.sock' FILL zdbfs-data 1 100 '$T/data' && '$QSFS' zstor -c '$V/zstor.toml' sync || exit 1; done"
ok "bundles were merged" grep -q 'merged 32 bundles' "$V/zstor.log"
few_garbage() { ! v_over .owed.garbage 30; } # what the newest four points superseded has to wait
ok "what they replace goes from the stores" wait_until 60 few_garbage
b=$(listed bundle)
ok "few bundles are left ($b)" test "$b" -lt 60
ok "the node is lost and comes back" v_lost
ok "every value, also the rewritten ones" v_verify zdbfs-data "$T/data"
ok "what was deleted is absent" v_absent zdbfs-data "$T/deleted"

# --- tails ---------------------------------------------------------------------------------------------------------
for i in $(seq 70); do
	v_fill zdbfs-meta 2 300 "$T/meta" && v_zstor sync || break
done
ok "70 points with tails of one segment" test "$i" = 70
t=$(listed tail)
ok "at most 64 tails and what waits to go ($t)" test "$t" -le 80
ok "the node is lost again" v_lost
ok "the namespace of tails is whole" v_verify zdbfs-meta "$T/meta"
ok "the other one too" v_verify zdbfs-data "$T/data"
ok "numbers go on" v_fill zdbfs-meta 5 300 "$T/meta"
ok "sync" v_zstor sync

# --- a namespace deleted and made anew ------------------------------------------------------------------------------
generation=$(v_state .volume.generation)
ok "NSDEL" perl "$V_RESP" "$V/run/zdb.sock" CALL NSDEL zdbfs-meta
ok "a new generation is taken" wait_until 30 sh -c \
	"test \"\$('$QSFS' zstor -c '$V/zstor.toml' status --json | jq -r .volume.generation)\" != '$generation'"
ok "NSNEW of the same name" v_ns zdbfs-meta
rm "$T/meta"
ok "new values under the old numbers" v_fill zdbfs-meta 50 20000 "$T/meta"
ok "sync" v_zstor sync
ok "the node is lost" v_lost
ok "the new namespace comes back" v_verify zdbfs-meta "$T/meta"
ok "the other one is as it was" v_verify zdbfs-data "$T/data"

# --- the spool lost -----------------------------------------------------------------------------------------------------
v_zstor_stop KILL
ok "segments close while zstor is away" v_fill zdbfs-data 40 60000 "$T/data"
v_zdb_stop KILL
rm -rf "$V/front/spool"
v_zstor_start
ok "zdb starts" v_zdb_start
ok "the scan finds what is not stored, and a point is published" v_zstor sync
ok "the node is lost" v_lost
ok "every value is back" v_verify zdbfs-data "$T/data"
done_testing
