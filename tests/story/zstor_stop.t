#!/bin/bash
# A stop while stores are away: it does not wait for what is safe already, waits for a store that may come back, and does not wait for one
# that has been away for long; what is left goes on at the next start.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/story/zstor_lib.sh
DATASIZE=524288
v_new
v_new_volume
away_for() { # STORE SECONDS
	[ "$(v_state "[.backends[] | select(.id == \"$1\" and .up == false) | .since_s] | first")" -ge "$2" ]
}
hold() { # SECONDS: wait_hooks, told to stop, with so much of the supervisor's time
	ZSTOR_CONFIG=$V/zstor.toml ZINIT_DEADLINE_MS=$(($1 * 1000)) "$V/wait_hooks" >"$T/wait.log" 2>&1 &
	echo $! >"$V/run/wait.pid"
	wait_until 10 v_waits_for_term "$V/run/wait.pid"
	kill -TERM "$(cat "$V/run/wait.pid")"
}
held() { # SECONDS: waits for its end, v_code
	v_code=none
	wait_until "$1" hold_ended && v_end "$V/run/wait.pid"
}
hold_ended() { [ "$(ps -o stat= -p "$(cat "$V/run/wait.pid")" | cut -c1)" != S ]; }

# --- what is safe already ----------------------------------------------------------------------------------------
ok "values" v_fill zdbfs-data 20 60000 "$T/data"
ok "sync" v_zstor sync
v_zdb_stop KILL
v_zstor_stop KILL
v_store_stop d2
rm -rf "$V/front"
v_zstor_start
ok "the node is lost and comes back while d2 is away" v_zdb_start
ok "sync is answered: nothing is here that the stores do not have" v_zstor sync
v_zdb_stop
hold 60
held 50
ok "a stop right after the restore waits for nothing" test "$v_code" = 0
ok "and says that everything is stored" grep -q "everything is stored" "$T/wait.log"

# --- a store that has been away for long ---------------------------------------------------------------------------
v_zdb_start
ok "new values" v_fill zdbfs-data 20 60000 "$T/data"
ok "d2 has been away for more than a minute" wait_until 90 away_for d2 61
v_zdb_stop
hold 600
held 60
ok "nobody waits for d2 any more: exit 75" test "$v_code" = 75
ok "d2 is named" grep -q "cannot finish yet: .* d2 " "$T/wait.log"
ok "and that nothing is lost" grep -q "gave up waiting, no store that is missing has come back: .* are durable" "$T/wait.log"
v_zstor_stop
ok "zstor ends with 75, too" test "$v_code" = 75
ok "the rest is in the spool" sh -c "ls '$V/front/spool' | grep -q '^segment'"

# --- a store that may come back -------------------------------------------------------------------------------------
v_zstor_start
v_zdb_start
v_zdb_stop
hold 600
ok "it says what is lacking" wait_until 60 grep -q "not stored yet: .* d2 " "$T/wait.log"
v_store_start d2
held 100
ok "the stop waited for d2, as zstor has missed it for a moment only" test "$v_code" = 0
v_zstor_stop
ok "zstor ends with 0" test "$v_code" = 0
v_zstor_start
v_zdb_start
ok "nothing is owed" v_is .owed.files 0
ok "every value is there" v_verify zdbfs-data "$T/data"
done_testing
