#!/bin/bash
# Index files that are gone, of a volume whose closed segments were evicted: they come back from the bundles, those on the stores
# and those that are still in the spool, and no segment is fetched for them. With too many stores away the namespace is refused
# in one line, nothing is changed, and it is there again when they are back.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/story/zstor_lib.sh
v_new
MIXED=1
DATASIZE=1048576
export HOOK_RETRIEVE_LIMIT=3s
I=$V/front/index
D=$V/front/data

call() { perl "$V_RESP" "$V/run/zdb.sock" CALL "$@"; }
keys() { perl "$V_RESP" "$V/run/zdb.sock" KEYS "$@"; }
everything_reads() {
	v_verify zdbfs-data "$T/data.list" && v_verify zdbfs-meta "$T/meta.list" && v_absent zdbfs-data "$T/deleted"
}
evicted() { wait_until 20 v_zstor evict --all; } # the first one after a start of the server may meet the connection to the old one
check() { "$QSFS" zdb check "$V/front"; }
# As bytes a lost index file and the one that came back may differ in the links of old versions only: what counts is what it says.
files_of() { (cd "$1" && find . -name 'd[0-9]*' | LC_ALL=C sort); }
retrieved() { grep -c "retrieved $D/" "$V/zstor.log"; }
refused_names() { grep -c "namespace is not available namespace=$1: .*index file $2 is missing or torn.*zstor retrieve" "$V/zdb.log"; }
brought() { grep -c "index files came back from the stores namespace=$1" "$V/zdb.log"; }
lose() { # NS NUMBER...
	local ns=$1 n
	shift
	for n in "$@"; do rm "$I/$ns/i$n" || bail "there is no i$n in $ns"; done
}

# --- a volume with segments of three ages: evicted, stored, only here -----------------------------------------------------
v_new_volume
ok "a sequential namespace" call NSSET zdbfs-data mode seq
ok "ids over many segments" v_fill zdbfs-data 60 131072 "$T/data.list"
ok "user keys over many segments" keys zdbfs-meta 600 9000 "$T/meta.list"
ok "some are written again" v_rewrite zdbfs-data "$T/data.list" 4
ok "some are deleted" v_delete zdbfs-data "$T/data.list" 7 "$T/deleted"
ok "sync publishes a recovery point" v_zstor sync
ok "all closed segments are evicted" evicted
v_store_stop d6 # nothing can be stored now, everything can be read
ok "ids of evicted segments are written again" v_rewrite zdbfs-data "$T/data.list" 3
ok "and new ones come, over two segments" v_fill zdbfs-data 16 131072 "$T/data.list"
ok "user keys, too" keys zdbfs-meta 400 6000 "$T/meta.some"
cat "$T/meta.some" <(tail -n +401 "$T/meta.list") >"$T/meta.new" && mv "$T/meta.new" "$T/meta.list"
ok "more of them are deleted" v_delete zdbfs-data "$T/data.list" 9 "$T/deleted"
ok "bundles wait in the spool" sh -c "ls '$V/front/spool' | grep -q '^bundle-zdbfs-data-' && ls '$V/front/spool' | grep -q '^bundle-zdbfs-meta-'"
v_zdb_stop KILL

# --- lost, and back -------------------------------------------------------------------------------------------------------
lose zdbfs-data 0 2 3
lose zdbfs-meta 0 4
ok "one is torn" truncate -s -5 "$I/zdbfs-data/i4"
files_of "$D" >"$T/before"
fetched=$(retrieved)
refused "check" 1 "zstor retrieve" check
ok "zdb starts" v_zdb_start
ok "the index files came back" test "$(brought zdbfs-data) $(brought zdbfs-meta)" = "1 1"
files_of "$D" >"$T/after"
ok "no segment was fetched for them" cmp "$T/before" "$T/after"
ok "nor was one asked for" test "$(retrieved)" = "$fetched"
not_ok "nothing is left beside them" sh -c "ls '$I/zdbfs-data' '$I/zdbfs-meta' | grep before"
ok "everything reads byte for byte" everything_reads
v_zdb_stop
ok "the check finds nothing" check

# --- from the spool to the stores: the same, when they are published --------------------------------------------------------
ok "zdb starts again" v_zdb_start
v_store_start d6
ok "what was owed is stored" wait_until 60 v_is .owed.files 0
ok "sync" v_zstor sync
ok "evicted again" evicted
v_zdb_stop
last=$(ls "$I/zdbfs-data" | sed -n 's/^i\([0-9]*\)$/\1/p' | sort -n | tail -n 1)
lose zdbfs-data $(seq 0 $((last - 1)))
lose zdbfs-meta 1
ok "and one torn, of user keys" truncate -s -5 "$I/zdbfs-meta/i3"
ok "zdb starts without any closed index file" v_zdb_start
ok "everything reads" everything_reads
v_zdb_stop
ok "the check finds nothing" check

# --- too many stores away ---------------------------------------------------------------------------------------------------
ok "zdb starts" v_zdb_start
ok "evicted once more" evicted
v_zdb_stop KILL
lose zdbfs-data 1
v_store_stop m1 m2 m3
ok "the server starts, as other namespaces are whole" v_zdb_start
ok "one line says what to do" test "$(refused_names zdbfs-data i1)" = 1
not_ok "the namespace is not served" call SELECT zdbfs-data
ok "another one is" call SELECT zdbfs-meta
not_ok "nothing was made in its place" test -e "$I/zdbfs-data/i1"
v_zdb_stop
v_store_start m1 m2 m3
v_store_stop d1 d2 d3
wait_until 20 sh -c "'$QSFS' zstor -c '$V/zstor.toml' status | grep -q 'd3 is down'"
ok "the server starts" v_zdb_start
ok "refused again" test "$(refused_names zdbfs-data i1)" = 2
v_zdb_stop
v_store_start d1 d2 d3
ok "with the stores back the server starts" wait_until 30 v_zstor status
ok "zdb starts" v_zdb_start
ok "and everything reads" everything_reads

# --- by hand ---------------------------------------------------------------------------------------------------------------
ok "evicted" evicted
v_zdb_stop
lose zdbfs-meta 2
ok "zstor retrieve brings what the stores have" v_zstor retrieve -f "$I/zdbfs-meta/i2"
ok "beside its place" sh -c "ls '$I/zdbfs-meta' | grep -q '^i2.before'"
not_ok "what no bundle holds is not found" v_zstor retrieve -f "$I/zdbfs-meta/i999"
not_ok "descriptors do not come back so" v_zstor retrieve -f "$I/zdbfs-meta/other"
refused "check" 4 "a start puts it back" check
ok "check --repair puts it in place" "$QSFS" zdb check --repair "$V/front"
ok "zdb starts" v_zdb_start
ok "everything reads" everything_reads
v_zdb_stop
ok "the check finds nothing" check
done_testing
