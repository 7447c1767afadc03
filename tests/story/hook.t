#!/bin/bash
# hook as a server calls it: every event, what is durable when it answers, what it refuses; and a volume whose server leaves
# everything to its hook, as the original does.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/story/zstor_lib.sh
mkdir -p "$V/run" "$V/front"
printf 'socket = "%s"\nstate = "%s"\n' "$V/run/zstor.sock" "$V/front" >"$V/zstor.toml"
export ZSTOR_CONFIG=$V/zstor.toml
hook() { "$QSFS" hook "$@"; }
owed() { find "$V/front/spool" -name "$1" 2>/dev/null | wc -l; }
rc() { # CODE COMMAND...
	local want=$1 got
	shift
	"$@" >"$T/output" 2>&1
	got=$?
	[ $got = "$want" ] || { echo "exit $got"; cat "$T/output"; return 1; }
}

# --- without zstor: intentions are durable all the same -----------------------------------------------------------
ok "an unknown event exits 1" rc 1 hook no-such-event id
not_ok "and makes no spool" test -e "$V/front/spool"
ok "too few arguments exit 1" rc 1 hook jump-data id
ok "namespace-created" rc 0 hook namespace-created id zdbfs-data
ok "is noted" test "$(owed 'descriptor-zdbfs-data')" = 1
ok "twice is once" rc 0 hook namespace-updated id zdbfs-data
ok "still one" test "$(owed 'descriptor-*')" = 1
ok "a temporary namespace is not noted" rc 0 hook namespace-created id zdbfs-temp
ok "still one" test "$(owed 'descriptor-*')" = 1
mkdir -p "$V/front/data/zdbfs-data" "$V/front/index/zdbfs-data"
head -c 1000 /dev/urandom >"$V/front/data/zdbfs-data/d3"
for i in 0 1 2 3; do head -c $((100 + i)) /dev/urandom >"$V/front/index/zdbfs-data/i$i"; done
ok "jump-index" rc 0 hook jump-index id "$V/front/index/zdbfs-data/i3" "$V/front/index/zdbfs-data/i4" "0 2"
cat "$V/front/index/zdbfs-data/i0" "$V/front/index/zdbfs-data/i2" "$V/front/index/zdbfs-data/i3" >"$T/cat"
bundle=$V/front/spool/bundle-zdbfs-data-3-3
ok "its copy is in the spool, with the closed and the dirty indexes" sh -c "tail -c 305 '$bundle' | cmp - '$T/cat'"
head -c 50 /dev/urandom >>"$V/front/index/zdbfs-data/i0"
ok "a later change of the index does not reach the copy" sh -c "tail -c 305 '$bundle' | cmp - '$T/cat'"
ok "jump-index of a file that is gone fails" rc 1 hook jump-index id "$V/front/index/zdbfs-data/i9" "$V/front/index/zdbfs-data/i10" ""
ok "jump-data" rc 0 hook jump-data id "$V/front/data/zdbfs-data/d3" "$V/front/data/zdbfs-data/d4"
ok "is noted" test "$(owed 'segment-zdbfs-data-3-3')" = 1
ok "namespace-deleted" rc 0 hook namespace-deleted id other
ok "is noted" test "$(owed 'nsdrop-other')" = 1
ok "close and crash and namespace-reloaded exit 0" sh -c "'$QSFS' hook close id && '$QSFS' hook crash id && '$QSFS' hook namespace-reloaded id x"
ok "missing-data without zstor gives up in its limit with 75" env HOOK_RETRIEVE_LIMIT=1s \
	sh -c "'$QSFS' hook missing-data id '$V/front/data/zdbfs-data/d1'; test \$? = 75"
ok "namespaces-init without zstor gives up in its limit with 75" env HOOK_RESTORE_LIMIT=1s \
	sh -c "'$QSFS' hook namespaces-init id '$V/front/index' '$V/front/data'; test \$? = 75"
ok "a configuration that is not there exits 1" env ZSTOR_CONFIG=/nowhere.toml sh -c "'$QSFS' hook jump-data id x/d1; test \$? = 1"
ok "a server that spools by itself is only served" env ZDB_SPOOL="$V/front/spool" "$QSFS" hook jump-data id "$V/front/data/zdbfs-data/d7" x
ok "nothing was noted" test "$(owed 'segment-zdbfs-data-7-7')" = 0
"$QSFS" wait_hooks --max-wait 0 >"$T/wait.log" 2>&1 &
w=$!
echo $w >"$T/wait.pid"
wait_until 10 v_waits_for_term "$T/wait.pid"
kill $w
wait $w
ok "wait_hooks without zstor gives up with 75" test $? = 75
rm -rf "$V"

# --- a volume whose server knows no spool ---------------------------------------------------------------------------
v_new
export ZSTOR_CONFIG=$V/zstor.toml
NO_SPOOL=1
v_new_volume
ok "fill" v_fill zdbfs-data 200 131072 "$T/data"
ok "every 3rd rewritten" v_rewrite zdbfs-data "$T/data" 3
ok "fill" v_fill zdbfs-data 100 131072 "$T/data"
ok "sync" v_zstor sync
ok "nothing is owed" wait_until 20 v_is .owed.files 0
v_zdb_stop KILL
v_zstor_stop KILL
rm -rf "$V/front"
v_zstor_start
ok "the node is lost, zdb starts" v_zdb_start
ok "every value is back" v_verify zdbfs-data "$T/data"
done_testing
