#!/bin/bash
# What must be refused, with nothing changed: empty and foreign metadata stores, wrong keys, lost stores at a restore, two front
# ends, stale copies of the state; and what must go on: one impossible file in the queue, stores that are away at start.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/story/zstor_lib.sh
v_new

# --- usage: what the original has exits as it does, the rest by our table -------------------------------------
for verb in monitor list status sync evict restore init; do
	refused "$verb with an option that is none" 2 "nosuch" "$QSFS" zstor -c "$V/zstor.toml" $verb --nosuch
done
for verb in store retrieve check; do
	refused "$verb with an option that is none" 1 "nosuch" "$QSFS" zstor -c "$V/zstor.toml" $verb --nosuch
done

# --- creation ------------------------------------------------------------------------------------------------
v_store_stop m3
refused "init with one metadata store away" 75 "m3" "$QSFS" zstor -c "$V/zstor.toml" init --new
not_ok "no state was made" test -e "$V/front/zstor/volume"
v_store_start m3
mv "$V/volume.key" "$T/first.key"
refused "init without a key file" 6 "key" "$QSFS" zstor -c "$V/zstor.toml" init --new
v_key "$V/volume.key"
chmod 644 "$V/volume.key"
refused "a key file that others may read" 6 "key" "$QSFS" zstor -c "$V/zstor.toml" init --new
mv "$T/first.key" "$V/volume.key"
v_new_volume
v_fill zdbfs-data 100 131072 "$T/list"
ok "a recovery point" v_zstor sync

# --- a second daemon, a second front end -----------------------------------------------------------------------
refused "a second daemon on the same state" 5 "another daemon" "$QSFS" zstor -c "$V/zstor.toml" monitor
v_zdb_stop
v_zstor_stop
cp -a "$V/front" "$T/front.copy"

# --- wrong key, lost key ------------------------------------------------------------------------------------------
cp "$V/volume.key" "$T/right.key"
v_key "$V/volume.key"
refused "the state with another volume's key" 6 "key" "$QSFS" zstor -c "$V/zstor.toml" monitor
mv "$V/front" "$T/front.kept"
v_zstor_start
ok "an empty state with a wrong key is refused" wait_until 20 v_is .volume.state refused
RESTORE_LIMIT=2s not_ok "zdb does not start" v_zdb_start
refused "the restore says that it is the key" 6 "" "$QSFS" zstor -c "$V/zstor.toml" restore
not_ok "no index was made" test -e "$V/front/index/default"
v_zstor_stop
rm -rf "$V/front"
cp "$T/right.key" "$V/volume.key"

# --- metadata stores replaced by empty ones ----------------------------------------------------------------------
for gone in "m1" "m1 m2" "m1 m2 m3" "m1 m2 m3 m4"; do
	for m in $gone; do
		v_store_stop $m
		mv "$V/stores/$m/data" "$T/$m.data"
		mv "$V/stores/$m/index" "$T/$m.index"
	done
	v_store_start $gone
	before=$(cat "$V/stores/"m*/data/default/d* | cksum)
	v_zstor_start
	case "$gone" in
	"m1" | "m1 m2") want=ready ;;
	*) want=refused ;;
	esac
	if RESTORE_LIMIT=3s v_zdb_start; then got=ready; else got=refused; fi
	case "$gone:$got" in
	"m1:ready" | "m1 m2:refused" | "m1 m2 m3:refused" | "m1 m2 m3 m4:refused") pass "replaced by empty: $gone: $got" ;;
	*) fail "replaced by empty: $gone: $got" ;;
	esac
	if [ $got = refused ]; then
		ok "nothing was written to the metadata stores" test "$before" = "$(cat "$V/stores/"m*/data/default/d* | cksum)"
		not_ok "no namespace was made" test -e "$V/front/index/zdbfs-data"
	else
		ok "every value is there" v_verify zdbfs-data "$T/list"
	fi
	v_zdb_stop KILL
	v_zstor_stop KILL
	rm -rf "$V/front"
	for m in $gone; do
		v_store_stop $m
		rm -rf "$V/stores/$m/data" "$V/stores/$m/index"
		mv "$T/$m.data" "$V/stores/$m/data"
		mv "$T/$m.index" "$V/stores/$m/index"
	done
	v_store_start $gone
done

# --- two front ends: the older one is fenced -----------------------------------------------------------------------
v_zstor_start
ok "a new front end takes over" v_zdb_start
ok "and has every value" v_verify zdbfs-data "$T/list"
v_zdb_stop
v_zstor_stop
newer=$V/front
mv "$V/front" "$T/front.newer"
cp -a "$T/front.copy" "$V/front"
v_zstor_start
ok "the older state is fenced" wait_until 20 v_is .fenced true
refused "a sync of a fenced front end" 1 "taken over" "$QSFS" zstor -c "$V/zstor.toml" sync
v_zstor_stop
rm -rf "$V/front"
mv "$T/front.newer" "$V/front"
v_zstor_start
ok "the newer one goes on" v_zdb_start
ok "and publishes" v_zstor sync

# --- two front ends at the same time -----------------------------------------------------------------------------------
sed "s|$V/front|$T/second|; s|$V/run/zstor|$V/run/second|; s|$V/run/zdb.sock|$V/run/second-zdb.sock|" "$V/zstor.toml" >"$V/second.toml"
"$QSFS" zstor -c "$V/second.toml" monitor >"$T/second.log" 2>&1 </dev/null &
echo $! >"$V/run/second.mpid"
second() { "$QSFS" zstor -c "$V/second.toml" "$@"; }
wait_until 20 test -S "$V/run/second.sock"
ok "a second front end restores while the first one runs" second restore
ok "the first one is fenced" wait_until 20 v_is .fenced true
writes() { perl "$V_RESP" "$V/run/zdb.sock" FILL zdbfs-data 1 10 "$T/no-list"; }
not_writing() { ! writes; }
ok "and its namespaces take no writes any more" wait_until 10 not_writing
ok "what it holds is readable" v_verify zdbfs-data "$T/list"
v_end "$V/run/second.mpid"
ok "the second one ends" test "$v_code" = 0 -o "$v_code" = 75
v_zdb_stop
v_zstor_stop
rm -rf "$V/front"
v_zstor_start
ok "a third restores" v_zdb_start
ok "and has every value" v_verify zdbfs-data "$T/list"

# --- what must not stop the others ----------------------------------------------------------------------------------
long=$T/$(printf 'x%.0s' $(seq 140)) # no name for so long a path: it can never be stored
echo data >"$long"
ok "an impossible file is noted" v_zstor store -n -f "$long"
v_fill zdbfs-data 60 131072 "$T/list"
ok "segments are stored beside an impossible file" wait_until 60 sh -c \
	"test \"\$('$QSFS' zstor -c '$V/zstor.toml' status --json | jq '.owed.files - .owed.parked')\" = 0"
ok "the impossible one is parked and shown" v_is .owed.parked 1
ok "status exits 4 and names it" sh -c "'$QSFS' zstor -c '$V/zstor.toml' status | grep -q 'cannot succeed'"
rm -f "$V/front/spool"/file-*

# --- stores away at start, and at stop -------------------------------------------------------------------------------
v_zdb_stop KILL
v_zstor_stop KILL
v_store_stop $V_STORES
v_zstor_start
ok "zdb starts from local files while every store is away" v_zdb_start
ok "the local values are readable" v_verify zdbfs-data "$T/list"
ok "new values are taken" v_fill zdbfs-data 5 1000 "$T/list"
v_zdb_stop
begin=$(date +%s)
ZSTOR_CONFIG=$V/zstor.toml ZINIT_DEADLINE_MS=3000 "$V/wait_hooks" >"$T/wait.log" 2>&1 &
echo $! >"$V/run/wait.pid"
wait_until 10 v_waits_for_term "$V/run/wait.pid"
v_end "$V/run/wait.pid"
ok "wait_hooks gives up with 75 when its time is over" test "$v_code" = 75
ok "and says what is left" grep -q "gave up" "$T/wait.log"
v_zstor_stop
ok "zstor ends all the same" test "$v_code" = 0 -o "$v_code" = 75
ok "within the time" test $(($(date +%s) - begin)) -lt 60
v_store_start $V_STORES
v_zstor_start
v_zdb_start
ok "what was left is stored at the next start" v_zstor sync
ok "nothing is owed" v_is .owed.files 0
done_testing
