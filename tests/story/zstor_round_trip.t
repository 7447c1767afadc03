#!/bin/bash
# What goes through a volume's stores comes back: segments, files, recovery points, after eviction, with stores missing, after
# the loss of the node.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/story/zstor_lib.sh
v_new

# --- creation --------------------------------------------------------------------------------------------------
refused "init without --new" 2 "new" "$QSFS" zstor -c "$V/zstor.toml" init
ok "init --new makes the volume" v_zstor init --new
ok "a second init finds it made" v_zstor init --new
v_zstor_start
ok "zdb starts on the empty volume" v_zdb_start
ok "namespaces" v_ns zdbfs-meta zdbfs-data

# --- files by name ---------------------------------------------------------------------------------------------
head -c 300000 /dev/urandom >"$T/some.bin"
cp "$T/some.bin" "$T/keep.bin"
ok "store a file" v_zstor store -f "$T/some.bin"
sum=$(v_zstor check -f "$T/some.bin")
ok "check prints 32 hex digits" test "${#sum}" = 32
ok "check of what is not stored exits 0" v_zstor check -f "$T/never"
ok "and prints nothing" test -z "$(v_zstor check -f "$T/never" 2>&1)"
not_ok "a file that is there is not overwritten" v_zstor retrieve -f "$T/some.bin"
rm "$T/some.bin"
ok "retrieve brings it back" v_zstor retrieve -f "$T/some.bin"
ok "equal" cmp "$T/some.bin" "$T/keep.bin"
not_ok "retrieve of what was never stored fails" v_zstor retrieve -f "$T/never"
not_ok "and leaves no file" test -e "$T/never"
ok "store -n notes it durably" v_zstor store -n -f "$T/keep.bin"
ok "and it is stored" wait_until 20 sh -c "test -n \"\$('$QSFS' zstor -c '$V/zstor.toml' check -f '$T/keep.bin')\""

# --- segments and recovery points -----------------------------------------------------------------------------
ok "fill 40 MB" v_fill zdbfs-data 300 131072 "$T/data.list"
ok "fill the other namespace" v_fill zdbfs-meta 500 400 "$T/meta.list"
ok "sync publishes a recovery point" v_zstor sync
ok "nothing is owed" v_is .owed.files 0
ok "status exits 0" v_zstor status
ok "list shows segments, tails, bundles and a manifest" sh -c "'$QSFS' zstor -c '$V/zstor.toml' list >'$T/listed' &&
	grep -q '^segment' '$T/listed' && grep -q '^tail' '$T/listed' && grep -q '^bundle' '$T/listed' && grep -q '^manifest' '$T/listed'"
seg=$V/front/data/zdbfs-data/d0
ok "check of a closed segment" test -n "$(v_zstor check -f "$seg")"

# --- eviction ---------------------------------------------------------------------------------------------------
cp "$seg" "$T/d0"
active=$(ls "$V/front/data/zdbfs-data" | sed 's/^d//' | sort -n | tail -n 1)
ok "evict --all" v_zstor evict --all
ok "only the active segment is left" test "$(ls "$V/front/data/zdbfs-data")" = "d$active"
ok "everything reads back" v_verify zdbfs-data "$T/data.list"
ok "a segment came back equal" cmp "$seg" "$T/d0"

# --- stores missing ---------------------------------------------------------------------------------------------
ok "evict again" v_zstor evict --all
v_store_stop d2 d5 m1 m4
ok "everything reads back without 2 of 6 and 2 of 4" v_verify zdbfs-data "$T/data.list"
ok "new writes go on" v_fill zdbfs-data 100 131072 "$T/data.list"
ok "what is owed grows" wait_until 30 v_over .owed.files 0
v_zstor status >"$T/status"
ok "status exits 4" test $? = 4
ok "status says why" grep -q "store d2 is down" "$T/status"
refused "evict keeps what it cannot prove safe" 3 "shards" "$QSFS" zstor -c "$V/zstor.toml" evict --all
ok "the segments that could not be stored are here" v_verify zdbfs-data "$T/data.list"
v_store_start d2 d5 m1 m4
ok "when the stores are back owed falls to nothing" wait_until 60 v_is .owed.files 0
ok "status exits 0 again" wait_until 30 v_zstor status

# --- a clean stop, and the loss of the node ---------------------------------------------------------------------
ok "more data, not synced by anybody" v_fill zdbfs-data 10 5000 "$T/data.list"
ZSTOR_CONFIG=$V/zstor.toml "$V/wait_hooks" --max-wait 30s >"$T/wait.log" 2>&1 &
echo $! >"$V/run/wait.pid"
wait_until 10 v_waits_for_term "$V/run/wait.pid"
v_zdb_stop
v_end "$V/run/wait.pid"
ok "wait_hooks ends with 0 after zdb has stopped" test "$v_code" = 0
v_zstor_stop
ok "zstor ends with 0" test "$v_code" = 0
mv "$V/front" "$T/front.lost"
v_zstor_start
ok "zdb starts on an empty directory" v_zdb_start
ok "every value of the clean stop is back" v_verify zdbfs-data "$T/data.list"
ok "of both namespaces" v_verify zdbfs-meta "$T/meta.list"
ok "writing goes on" v_fill zdbfs-data 50 131072 "$T/data.list"
ok "sync under the new generation" v_zstor sync
v_zdb_stop KILL
v_zstor_stop KILL
rm -rf "$V/front"
v_zstor_start
ok "zdb starts after a loss without a stop" v_zdb_start
ok "everything up to the point is back" v_verify zdbfs-data "$T/data.list"
ok "the stores hold none of the plain text" sh -c "! grep -rqF 'zdbfs-data' '$V/stores'"
done_testing
