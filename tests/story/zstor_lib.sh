# Shared by the stories of zstor: a volume of real zdb stores on unix sockets, its front zdb and its daemon, each ended by
# its pid. Sourcing it begins the story: a directory $T of its own, which goes at the end unless a check failed, and with it all that runs. The
# volume lies in $V.
#
#	v_new			six data and four metadata stores, a key file, a configuration (rpo 2 s, 4 MiB segments)
#	v_store_start NAME...	v_store_stop NAME...
#	v_zstor_start		v_zstor_stop [SIGNAL]	exit code in $v_code
#	v_zdb_start		v_zdb_stop [SIGNAL]
#	v_lost			the node is lost, and comes back from the stores
#	v_seed			$RANDOM follows from TEST_SEED, which is told
#	v_fill NS COUNT SIZE FILE	inserts random values, appends "id md5" lines; every one is synced when it returns
#	v_verify NS FILE		reads them all back
#	v_delete, v_rewrite, v_absent	every nth of a list

. tests/story/lib.sh
need_tool jq
need_tool perl
T=$(mktemp -d "${TMPDIR:-/tmp}/qsfs-$(basename "$0" .t).XXXXXX")
V=$T/v
v_leave() {
	[ "$BASHPID" = $$ ] || return # one that dies before it has become the program that it is to start
	v_stop_all
	[ $tap_failed -gt 0 ] && diag "left in $T" || rm -rf "$T"
}
trap v_leave EXIT

V_STORES="d1 d2 d3 d4 d5 d6 m1 m2 m3 m4"

v_new() {
	mkdir -p "$V/run"
	ln -sf "$QSFS" "$V/hook"
	ln -sf "$QSFS" "$V/wait_hooks"
	for s in $V_STORES; do
		mkdir -p "$V/stores/$s"
		printf 'secret-%s\n' "$s" >"$V/stores/$s/admin"
		chmod 600 "$V/stores/$s/admin"
	done
	v_key "$V/volume.key"
	v_config >"$V/zstor.toml"
	v_store_start $V_STORES
}

v_key() {
	{
		echo "volume = $(head -c 16 /dev/urandom | od -An -vtx1 | tr -d ' \n')"
		echo "epoch.1 = $(head -c 32 /dev/urandom | od -An -vtx1 | tr -d ' \n')"
	} >"$1"
	chmod 600 "$1"
}

v_config() {
	cat <<-END
		format = "native"
		minimal_shards = 4
		expected_shards = 6
		redundant_groups = 0
		redundant_nodes = 0
		socket = "$V/run/zstor.sock"
		pid_file = "$V/run/zstor.pid"
		state = "$V/front"
		keys = "$V/volume.key"
		zdb = "$V/run/zdb.sock"
		rpo = "2s"
		[compression]
		algorithm = "zstd"
		[meta]
		type = "zdb"
		[meta.config]
		prefix = "qsfs"
	END
	for s in m1 m2 m3 m4; do
		printf '[[meta.config.backends]]\nid = "%s"\naddress = "%s"\nnamespace = "default"\npassword = "secret-%s"\n' \
			$s "$V/run/$s.sock" $s
	done
	echo '[[groups]]'
	for s in d1 d2 d3 d4 d5 d6; do
		printf '[[groups.backends]]\nid = "%s"\naddress = "%s"\nnamespace = "default"\npassword = "secret-%s"\n' \
			$s "$V/run/$s.sock" $s
	done
}

v_store_start() {
	local s mode
	for s in "$@"; do
		mode=seq
		case $s in m*) mode=user ;; esac
		"$QSFS" zdb --socket "$V/run/$s.sock" --mode $mode --data "$V/stores/$s/data" --index "$V/stores/$s/index" \
			--protect --admin-file "$V/stores/$s/admin" --fsync everysec >>"$V/stores/$s/log" 2>&1 </dev/null &
		echo $! >"$V/run/$s.pid"
	done
	for s in "$@"; do
		wait_until 20 v_ping "$V/run/$s.sock" || bail "store $s does not start: $(tail -n 1 "$V/stores/$s/log")"
	done
}

v_ping() { "$QSFS" zdb ping -s "$1" >/dev/null 2>&1; }

# Whether a program has blocked SIGTERM, because it takes it when it is ready: before that it would only die of it. The shell that is to become
# it blocks signals too, for a moment.
v_waits_for_term() { [ "/proc/$(cat "$1")/exe" -ef "$QSFS" ] && [ $((0x$(sed -n 's/^SigBlk:[[:space:]]*//p' "/proc/$(cat "$1")/status") & 0x4000)) -ne 0 ]; }

v_gone() { ! grep -q '^State:[[:space:]]*[^Z]' "/proc/$1/status" 2>/dev/null; }

v_end() { # PIDFILE SIGNAL: ends the process, reaps it, sets v_code; one that was started by `ok` is not our child, its end is waited for
	local pid
	v_code=
	[ -s "$1" ] || return 0
	pid=$(cat "$1")
	rm -f "$1"
	kill -"${2:-TERM}" "$pid" 2>/dev/null
	wait "$pid" 2>/dev/null
	v_code=$?
	wait_until 60 v_gone "$pid"
}

v_store_stop() {
	local s
	for s in "$@"; do v_end "$V/run/$s.pid"; done
}

v_zstor() { "$QSFS" zstor -c "$V/zstor.toml" "$@"; }

v_zstor_start() {
	"$QSFS" zstor --log_file "$V/zstor.log" -c "$V/zstor.toml" monitor >>"$V/zstor.out" 2>&1 </dev/null &
	echo $! >"$V/run/zstor.mpid"
	wait_until 20 v_answers || bail "zstor does not start: $(tail -n 1 "$V/zstor.out")"
}
v_answers() { v_zstor status >/dev/null 2>&1 || [ $? -eq 4 ]; }
v_zstor_stop() { v_end "$V/run/zstor.mpid" "${1:-TERM}"; }

# Fails when the server refuses to start.
v_zdb_start() {
	local spool=(--spool "$V/front/spool") mode=(--mode seq)
	[ -z "${MIXED:-}" ] || mode=()
	[ -z "${NO_SPOOL:-}" ] || spool=() # as an original server, which leaves everything to its hook
	ZSTOR_CONFIG=$V/zstor.toml HOOK_RESTORE_LIMIT=${RESTORE_LIMIT:-30s} "$QSFS" zdb "${mode[@]}" --socket "$V/run/zdb.sock" \
		--data "$V/front/data" --index "$V/front/index" --hook "$V/hook" "${spool[@]}" --datasize "${DATASIZE:-4194304}" \
		>>"$V/zdb.log" 2>&1 </dev/null &
	echo $! >"$V/run/zdb.pid"
	wait_until 60 v_zdb_decided
	v_ping "$V/run/zdb.sock" && return 0
	v_end "$V/run/zdb.pid"
	return 1
}
v_zdb_decided() { v_ping "$V/run/zdb.sock" || ! kill -0 "$(cat "$V/run/zdb.pid")" 2>/dev/null; }
v_zdb_stop() { v_end "$V/run/zdb.pid" "${1:-TERM}"; }

v_lost() {
	v_zdb_stop KILL
	v_zstor_stop KILL
	rm -rf "$V/front"
	v_zstor_start
	v_zdb_start
}

v_seed() {
	RANDOM=${TEST_SEED:=$RANDOM$RANDOM}
	RANDOM=$((TEST_SEED % 32768))
	diag "seed: TEST_SEED=$TEST_SEED"
}

v_state() { v_zstor status --json 2>/dev/null | jq -r "$1"; }
v_is() { [ "$(v_state "$1")" = "$2" ]; }
v_over() { [ "$(v_state "$1")" -gt "$2" ]; }

v_new_volume() { # stores running: makes the volume and starts everything
	v_zstor init --new >/dev/null 2>"$V/init.err" || bail "init: $(cat "$V/init.err")"
	v_zstor_start
	v_zdb_start || bail "zdb does not start: $(tail -n 1 "$V/zdb.log")"
	v_ns zdbfs-meta zdbfs-data || bail "cannot make namespaces"
}

v_ns() {
	local n
	for n in "$@"; do perl "$V_RESP" "$V/run/zdb.sock" NSNEW "$n" || return 1; done
}
v_fill() { perl "$V_RESP" "$V/run/zdb.sock" FILL "$1" "$2" "$3" "$4"; }
v_delete() { perl "$V_RESP" "$V/run/zdb.sock" DEL "$1" "$2" "$3" "$4"; } # NS LIST EVERY_NTH DELETED: moves lines to DELETED
v_absent() { perl "$V_RESP" "$V/run/zdb.sock" ABSENT "$1" "$2"; }
v_rewrite() { perl "$V_RESP" "$V/run/zdb.sock" REWRITE "$1" "$2" "$3"; } # NS LIST EVERY_NTH
v_verify() { perl "$V_RESP" "$V/run/zdb.sock" VERIFY "$1" "$2"; }

v_stop_all() {
	v_zdb_stop KILL
	v_zstor_stop KILL
	for s in $V_STORES; do v_end "$V/run/$s.pid" KILL; done
}

V_RESP=$PWD/tests/story/zdb_client.pl
