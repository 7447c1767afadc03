#!/bin/bash
# What the supervisor outlives: failing system calls, full tables, a closed console, orphans in thousands, a parser that
# dies, a machine without room; and that it does nothing when there is nothing to do.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/story/zinit_lib.sh
need_tool perl
need_tool strace

lots() { local i; for i in $(seq "$1"); do unit "n$i" <<<'exec: sleep 1000'; done; }
running() { [ "$(z list | grep -c ': Running$')" = "$1" ]; }
# traced OPTION...: the supervisor under strace with these options; answers as usual.
traced() {
	strace -qq -o "$T/trace" "$@" "$Z" -s "$S" init --container -c "$U" >"$T/init.log" 2>&1 &
	zinit_pid=$!
	wait_until 30 z list || bail "the supervisor does not answer: $(tail -n 3 "$T/init.log")"
}
over() { # SENTENCE: all 20 run, and it ends cleanly
	ok "$1" wait_until 30 running 20
	wait_until 20 z shutdown # a single connection may be one of the victims
	zin_exit "... and it ends cleanly" 0
}

lots 20
traced -e trace=fork,vfork,clone,clone3 -e inject=fork,vfork,clone,clone3:error=EAGAIN:when=3..25
over "no process can be made for a while: all services run in the end"
ok "that was so" grep -q INJECTED "$T/trace"
traced -e trace=pipe2 -e inject=pipe2:error=EMFILE:when=60..75
over "no descriptors for a while"
ok "that was so" grep -q INJECTED "$T/trace"
traced -e trace=mmap -e inject=mmap:error=ENOMEM:when=40+3
over "no memory now and then"
ok "that was so" grep -q INJECTED "$T/trace"
traced -e trace=epoll_wait,epoll_pwait,epoll_pwait2 -e inject=epoll_wait,epoll_pwait,epoll_pwait2:error=EINTR:when=2+2
over "waits that are interrupted"
ok "that was so" grep -q INJECTED "$T/trace"
traced -e trace=write -e inject=write:error=ENOSPC:when=1+2
over "half of all writes fail"
ok "that was so" grep -q INJECTED "$T/trace"

# --- descriptors are short for good: what runs goes on --------------------------------------------------------------
(ulimit -n 60; exec "$Z" -s "$S" init --container -c "$U" >"$T/init.log" 2>&1) &
zinit_pid=$!
wait_until 20 z list || bail "no answer with few descriptors"
ok "with 60 descriptors some services run, and commands are answered" sh -c "'$T/z' list | grep -q Running"
ok "those that could not be made are named" logged '[Nn]o file descriptors|[Tt]oo many open files'
z shutdown
zin_exit "clean" 0

# --- closed console ----------------------------------------------------------------------------------------------------
"$Z" -s "$S" init --container -c "$U" >&- 2>&- <&- &
zinit_pid=$!
ok "without standard descriptors" wait_until 20 running 20
z shutdown
zin_exit "clean" 0
mkfifo "$T/console"
cat "$T/console" >/dev/null &
reader=$!
"$Z" -s "$S" -d init --container -c "$U" >"$T/console" 2>&1 &
zinit_pid=$!
wait_until 20 running 20
kill $reader
wait $reader 2>/dev/null
ok "the console is closed while it runs" z restart -w n1
ok "everything goes on" running 20
z shutdown
zin_exit "clean" 0

# --- orphans -------------------------------------------------------------------------------------------------------------
rm "$U"/*
unit storm <<'X'
exec: perl -e 'for (1 .. 10000) { my $p = fork; defined $p or next; if (!$p) { fork and exit 0; exit 0 } waitpid $p, 0 } print "done\n"'
oneshot: true
X
unit steady <<<'exec: sleep 1000'
zin_start
ok "10,000 orphans" wait_until 120 state_is storm Success
ok "none is left as a zombie" wait_until 20 sh -c "! ps -o stat= --ppid $zinit_pid | grep -q '^Z'"
ok "services are not disturbed" field_is steady restarts 0

# --- a killed parser, and units that try to be too much --------------------------------------------------------------------
perl -e 'print "exec: ", "x" x 300000, "\n"' >"$U/huge.yaml"
perl -e 'print "exec: a\nenv: ", "{a: " x 5000, "\n"' >"$U/deep.yaml"
printf 'exec: \0\1\2\n' >"$U/binary.yaml"
printf 'exec: &a [*a, *a]\n' >"$U/alias.yaml"
mkfifo "$U/fifo.yaml"
mkdir "$U/dir.yaml"
for name in huge deep binary alias; do
	refused "the unit $name" 1 "failed to load" "$T/z" monitor $name
done
ok "reload goes past all of them" z reload
ok "and says how many were refused" sh -c "'$T/z' reload --json | grep -q '\"refused\":4'"

# --- nothing to do: no system call --------------------------------------------------------------------------------------------
# Three seconds after the last client it gives the pages of that work back, once: the quiet begins behind that.
quiet_window() {
	timeout 3 strace -qq -f -o "$T/idle" -p "$zinit_pid"
	same "$(grep -cvE 'restart_syscall|epoll_p?wait|detached|resumed' "$T/idle")" 0
}
ok "idle means idle: no system call in three seconds" wait_until 15 quiet_window
ok "SIGTERM" kill -TERM "$zinit_pid"
zin_exit "stops in order" 0

# --- signals --------------------------------------------------------------------------------------------------------------------
rm -rf "${U:?}"/*
unit slow <<<"{exec: \"sh -c 'trap : TERM; while :; do sleep 0.1; done'\", shutdown_timeout: 600}"
zin_start
becomes slow Running >/dev/null
kill -TERM "$zinit_pid"
wait_until 10 logged 'SIGTERM received'
kill -TERM "$zinit_pid"
wait_until 10 logged 'a stop is under way already'
ok "a second SIGTERM shortens nothing" z status slow
kill -INT "$zinit_pid"; wait_until 5 sh -c "grep -c 'SIGINT received' '$T/init.log' | grep -qx 1"
kill -INT "$zinit_pid"; wait_until 5 sh -c "grep -c 'SIGINT received' '$T/init.log' | grep -qx 2"
kill -INT "$zinit_pid"
zin_exit "a third SIGINT within five seconds forces, and the exit code says so" 1
zin_start --shutdown-max 1s
becomes slow Running >/dev/null
z shutdown
zin_exit "so does the limit of the whole shutdown" 1

# --- exit with a service ----------------------------------------------------------------------------------------------------------
unit main <<<'{exec: "sh -c \"sleep 0.3; exit 42\""}'
rm "$U/slow.yaml"
zin_start --exit-with main
zin_exit "--exit-with passes the status on" 42

# --- under valgrind ---------------------------------------------------------------------------------------------------------------
lots 5
unit chat <<<"exec: sh -c 'for i in 1 2 3 4 5 6 7 8 9; do echo line \$i; done; exec sleep 1000'"
if command -v valgrind >/dev/null; then
	valgrind -q --error-exitcode=99 --log-file="$T/valgrind" "$Z" -s "$S" init --container -c "$U" >"$T/init.log" 2>&1 &
	zinit_pid=$!
	ok "under valgrind it answers" wait_until 60 z list
	for c in "status n1" "stop n2" "start n2" "restart n3" "kill n4 SIGKILL" "log -s" "stats n1" reload graph "why n1" "list --json" "forget n1"; do
		# shellcheck disable=SC2086
		z $c >/dev/null 2>&1
	done
	z shutdown
	zin_exit "without an error" 0
	ok "nothing was reported" same "$(cat "$T/valgrind")" ""
fi
done_testing
