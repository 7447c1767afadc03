#!/bin/bash
# The life of services: order of start and stop, readiness, restarts, failures, and what went wrong in the original.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/story/zinit_lib.sh

# --- a chain like a volume's: each writes down when it starts and stops -------------------------------------------
stub() { # NAME SECONDS-TO-STOP
	printf "sh -c 'echo up-%s >>%s/order; trap \"sleep %s; echo down-%s >>%s/order; exit 0\" TERM; while :; do sleep 0.05; done'" \
		"$1" "$T" "$2" "$1" "$T"
}
unit zstor <<X
exec: $(stub zstor 0)
test: sh -c '[ -e $T/zstor.ready ]'
shutdown_timeout: 60
X
unit wait_hooks <<X
exec: $(stub wait_hooks 0)
after:
  # a comment between
  - zstor
X
unit zdb <<X
exec: $(stub zdb 2)
after: wait_hooks
shutdown_timeout: 60
X
unit ns <<X
exec: sh -c 'test -e $T/ns.ok'
oneshot: true
after: [zdb]
X
unit fs <<X
exec: $(stub fs 0.3)
after:
- ns
- zdb
X
# --- beside it everything that must not disturb it -----------------------------------------------------------------
unit loop1 <<<'{exec: sleep 1000, after: loop2}'
unit loop2 <<<'{exec: sleep 1000, after: loop3}'
unit loop3 <<<'{exec: sleep 1000, after: loop1}'
unit orphaned <<<'{exec: sleep 1000, after: [nobody-knows]}'
unit missing <<<'exec: /no/such/program'
unit broken-quote <<<"exec: sleep 'x"
unit bad-test <<X
exec: sleep 1000
test: /no/such/test
X
unit ignorer <<X
exec: sh -c 'trap "" TERM; while :; do sleep 0.1; done'
shutdown_timeout: 2
X
unit crasher <<<'exec: sh -c "exit 3"'
echo 'exec: a: b: c' >"$U/wrong.yaml"
echo 'exec: sleep 1' >"$U/ignored.yml"
ln -s "$U/missing.yaml" "$U/linked.yaml"
zin_start

ok "a broken file is named with its reason" logged 'wrong.yaml:1'
ok "an undefined name is reported" logged 'orphaned: depends on nobody-knows, which is not defined'
ok "a cycle is reported with its path" logged 'dependency cycle: loop1 -> loop2 -> loop3 -> loop1'
ok "its members fail visibly" state_is loop2 Failure
ok "and say why" sh -c "'$Z' -s '$S' why loop2 | grep -q 'loop2 -> loop3 -> loop1'"
ok "a link to a unit file is followed" becomes linked Failure
not_ok "other extensions are not units" sh -c "'$Z' -s '$S' list | grep -q ignored"
ok "a missing program is a failure" becomes missing Failure
ok "with its reason" sh -c "'$Z' -s '$S' status missing | grep -q 'reason:.*no such file'"
ok "unbalanced quotes fail when started" becomes broken-quote Failure
ok "a test that cannot be run shows" becomes bad-test TestFailure
ok "an unready dependency blocks" becomes wait_hooks Blocked
ok "everything behind it too" state_is fs Blocked
ok "why names the chain" sh -c "'$Z' -s '$S' why fs | tail -n 1 | grep -q 'zstor is Spawned'"
touch "$T/zstor.ready"
ok "readiness starts the dependents" becomes zdb Running
ok "a failed oneshot shows how it ended" wait_until 20 state_like ns '"Error\(Exited\(Pid\([0-9]+\), 1\)\)"'
ok "and holds its dependents back" state_is fs Blocked
touch "$T/ns.ok"
ok "start runs it again" z start ns
ok "then its dependents start" becomes fs Running
ok "the oneshot has succeeded" state_is ns Success
ok "started in order" in_order "$T/init.log" "zinit: INFO (service) "{zstor,wait_hooks,zdb,ns,fs}": running"
ok "status has the original's keys in its order" sh -c "'$Z' -s '$S' status fs | head -n 8 | tr '\n' ' ' | grep -qE '^--- name: fs pid: [0-9]+ state: Running target: Up after:   ns: Success   zdb: Running'"

# --- a dependency that dies later ----------------------------------------------------------------------------------
fs_pid=$(field fs pid)
ok "kill -9 of a service" z kill zdb SIGKILL
ok "it runs again" wait_until 10 sh -c "'$Z' -s '$S' status zdb | grep -q '^restarts: 1'"
ok "its dependents keep running" field_is fs pid "$fs_pid"

# --- a test that cannot be run costs no storm of processes ----------------------------------------------------------
runs=$(z log -s bad-test | wc -l)
ok "a missing test is not retried without a pause" [ "$runs" -lt 10 ]
ok "a crash loop backs off" sh -c "n=\$('$Z' -s '$S' status crasher | sed -n 's/^restarts: //p'); [ \$n -ge 1 ] && [ \$n -lt 20 ]"

# --- a dependency that is defined later ------------------------------------------------------------------------------
unit nobody-knows <<<'exec: sleep 1000'
ok "monitor of a missing name's unit" z monitor nobody-knows
ok "unblocks who waited for it" becomes orphaned Running
refused "monitor of what is monitored" 1 'service "orphaned" already monitored' "$T/z" monitor orphaned
refused "monitor with a slash" 1 'failed to load' "$T/z" monitor ../x
refused "forget of what is up" 1 'service "orphaned" is up' "$T/z" forget orphaned
refused "an unknown service" 1 'service name "nix" unknown' "$T/z" status nix
refused "a signal that is none" 1 'EINVAL: Invalid argument' "$T/z" kill fs TERM
refused "kill of what is down" 1 'service "missing" is down' "$T/z" kill missing
refused "an unknown command" 1 'frobnicate' "$T/z" frobnicate
refused "no daemon" 1 'is zinit listening on that socket' "$Z" -s "$T/none" list
refused "a second supervisor on the socket" 1 'another zinit serves it' "$Z" -s "$S" init --container -c "$U"
ok "and the first is not disturbed" field_is fs pid "$fs_pid"

# --- stop, start, restart, forget --------------------------------------------------------------------------------------
ok "stop" z stop -w orphaned
ok "target Down" field_is orphaned target Down
ok "no process" field_is orphaned pid 0
ok "stop again is fine" z stop orphaned
ok "start --wait" z start -w orphaned
ok "restart gives another process" sh -c "a=\$('$Z' -s '$S' status orphaned | grep ^pid); '$Z' -s '$S' restart -w orphaned && \
	[ \"\$('$Z' -s '$S' status orphaned | grep ^pid)\" != \"\$a\" ]"
ok "stop before forget" z stop -w orphaned
ok "forget" z forget orphaned
refused "it is gone" 1 unknown "$T/z" status orphaned
# (75 would say that the time was up)
refused "wait ends when the state cannot come by itself" 1 'missing is not ready' "$T/z" wait missing --timeout 30s
refused "wait with a time limit" 75 'not ready' "$T/z" wait bad-test --timeout 300ms

# --- shutdown ------------------------------------------------------------------------------------------------------------
ok "shutdown is answered" z shutdown
refused "nothing is started any more" 1 'shutting down\|listening' "$T/z" start missing
zin_exit "one service had to be killed: exit code 1" 1
ok "stopped in reverse order, each waited for" in_order "$T/order" up-fs down-fs down-zdb down-wait_hooks down-zstor
ok "the stubborn one got SIGKILL after its limit" logged 'ignorer: did not end in time, SIGKILL'
not_ok "and nobody else" sh -c "grep SIGKILL '$T/init.log' | grep -v 'ignorer\|zdb: ended'"
not_ok "the socket is gone" [ -e "$S" ]
done_testing
