# Shared by the zinit story tests: one supervisor in a directory of its own.
. tests/story/lib.sh

T=$(mktemp -d "${TMPDIR:-/tmp}/zinit-story.XXXXXX")
U=$T/units
S=$T/zinit.sock
Z=$T/zinit
ln -s "$(readlink -f "$QSFS")" "$Z"
mkdir "$U"
zinit_pid=

zin_end() {
	[ -n "$zinit_pid" ] && kill -0 "$zinit_pid" 2>/dev/null && {
		timeout 20 "$Z" -s "$S" shutdown 2>/dev/null
		for _ in $(seq 50); do
			kill -0 "$zinit_pid" 2>/dev/null || break
			sleep 0.1
		done
		kill -9 "$zinit_pid" 2>/dev/null
	}
	if [ "$tap_failed" -eq 0 ]; then rm -rf "$T"; else diag "left for a look: $T"; fi
}
# For commands that are run by another program.
printf '#!/bin/sh\nexec timeout 60 "%s" -s "%s" "$@"\n' "$Z" "$S" >"$T/z"
chmod 755 "$T/z"
trap zin_end EXIT
trap 'exit 1' INT TERM

# unit NAME: the file's content on standard input.
unit() { cat >"$U/$1.yaml"; }
# zin_start OPTION...: a supervisor as a child of this shell; its log in $T/init.log, its exit code in $T/exit.
zin_start() {
	rm -f "$T/exit"
	"$Z" ${ZIN_DEBUG:+-d} -s "$S" init --container -c "$U" "$@" >"$T/init.log" 2>&1 &
	zinit_pid=$!
	wait_until 20 z list || bail "the supervisor does not answer: $(tail -n 3 "$T/init.log")"
}
z() { timeout 60 "$Z" -s "$S" "$@"; }
# zin_exit SENTENCE CODE: the supervisor ends by itself, with this code. (A test of its own: only this shell can wait.)
zin_exit() {
	local rc pid=$zinit_pid
	wait_until 60 sh -c "! kill -0 $pid || grep -q '^State:.*Z' /proc/$pid/status" || kill -9 "$pid"
	wait "$pid"
	rc=$?
	zinit_pid=
	ok "$1" same "exit code $rc" "exit code $2"
}

state_is() { z list | grep -qx -- "$1: $2"; }
state_like() { z list | grep -qE -- "^$1: $2"; }
becomes() { wait_until 20 state_is "$1" "$2" || { z list; false; }; }
field() { z status "$1" | sed -n "s/^$2: //p"; }
field_is() { [ "$(field "$1" "$2")" = "$3" ] || { z status "$1"; false; }; }
same() { [ "$1" = "$2" ] || { echo "<$1> is not <$2>"; false; }; }
logged() { grep -qE -- "$1" "$T/init.log" || { tail -n 20 "$T/init.log"; false; }; }
# before FILE WORD WORD...: lines that begin with the words stand in this order.
in_order() {
	local file=$1 last=0 at word
	shift
	for word; do
		at=$(grep -n "^$word" "$file" | head -n 1 | cut -d: -f1)
		[ -n "$at" ] && [ "$at" -gt "$last" ] || { echo "$word is missing or too early"; cat "$file"; return 1; }
		last=$at
	done
}
