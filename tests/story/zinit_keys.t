#!/bin/bash
# Every key of a unit file, seen in the process that it is for.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/story/zinit_lib.sh
need_tool perl

unit env <<'X'
exec: sh -c 'echo A=$A B=$B home=$HOME deadline=$ZINIT_DEADLINE_MS; pwd; umask; ulimit -n; ps -o sid= -p $$ | tr -d " " | sed "s/^$$\$/leader/"; readlink /proc/self/fd/0'
oneshot: true
env: {A: 1, B: "x y"}
dir: /tmp
umask: 027
limits: {nofile: 77}
shutdown_timeout: 7
X
unit nodir <<<'{exec: pwd, oneshot: true, dir: /no/such}'
unit plain <<<'{exec: pwd, oneshot: true}'
unit silent <<<'{exec: "sh -c \"echo x; exec sleep 1000\"", log: none}'
unit direct <<<'{exec: "sh -c \"echo straight-through; exec sleep 1000\"", log: stdout}'
unit both <<'X'
exec: sh -c 'printf "out\0nul\377\n"; echo err >&2; printf unfinished'
oneshot: true
X
unit long <<'X'
exec: perl -e 'print "x" x 40000, "\n", "end\n"'
oneshot: true
X
unit never <<<'{exec: "sh -c \"exit 4\"", restart: never}'
unit onfail <<<'{exec: "true", restart: on-failure}'
unit limited <<<'{exec: "false", restart_limit: 3, restart_delay: 10ms}'
unit retried <<X
exec: sh -c 'echo x >>$T/tries; [ \$(wc -l <$T/tries) -ge 3 ]'
oneshot: true
retry: 5
restart_delay: 10ms
X
unit fdready <<'X'
exec: sh -c 'while [ ! -e $GO ]; do sleep 0.05; done; echo >&5; exec sleep 1000'
notify: fd:5
env: {GO: @T@/fdready.go}
X
sed -i "s|@T@|$T|" "$U/fdready.yaml"
cat >"$T/sd.pl" <<'X'
# Speaks the protocol of sd_notify: readiness, a status line, and a descriptor to be kept over a restart.
use strict; use Socket;
$| = 1;
my $kept = 0;
if (($ENV{LISTEN_FDS} // 0) == 1 && $ENV{LISTEN_PID} == $$) {
	open(my $f, "<&=", 3) or die; my $line = <$f>; print "got back $ENV{LISTEN_FDNAMES}: $line"; $kept = 1;
}
socket(my $s, AF_UNIX, SOCK_DGRAM, 0) or die;
(my $name = $ENV{NOTIFY_SOCKET}) =~ s/^@/\0/;
connect($s, pack("S a*", AF_UNIX, $name)) or die "connect: $!";
if (!$kept) {
	pipe(my $r, my $w) or die; syswrite($w, "hello from before\n");
	my $msg = "FDSTORE=1\nFDNAME=state";
	# sendmsg by hand: struct msghdr, iovec, cmsghdr with SCM_RIGHTS (x86-64 and arm64 layouts are the same).
	my $iov = pack("J J", unpack("J", pack("p", $msg)), length $msg);
	my $control = pack("J l l l x4", 20, 1, 1, fileno($r));
	my $hdr = pack("J L x4 J J J J l x4", 0, 0, unpack("J", pack("p", $iov)), 1, unpack("J", pack("p", $control)), length $control, 0);
	my $nr = `uname -m` =~ /x86_64/ ? 46 : 211;
	syscall($nr, fileno($s), $hdr, 0) >= 0 or die "sendmsg: $!";
}
send($s, "STATUS=all is well\nREADY=1\n", 0) or die;
sleep 1000;
X
unit sd <<X
exec: perl $T/sd.pl
notify: sd
fdstore: 4
X
unit late <<X
exec: sleep 1000
test: "false"
start_timeout: 300ms
restart: never
X
unit hanging <<X
exec: sleep 1000
test: sh -c 'echo try >>$T/hangs; sleep 1000'
test_timeout: 200ms
test_interval: 50ms
X
unit sick <<X
exec: sleep 1000
health: sh -c '[ ! -e $T/sick ]'
health_interval: 100ms
X
unit drained <<X
exec: sleep 1000
drain: sh -c 'echo drain \$ZINIT_DEADLINE_MS >$T/drain; exit 75'
shutdown_timeout: 8
signal: {stop: SIGINT, reload: SIGHUP}
X
unit family <<X
exec: sh -c 'sleep 4321 & exec sleep 4322'
X
unit master <<<'exec: sleep 1000'
unit servant <<<'{exec: sleep 1000, requires: [master]}'
unit filed <<X
exec: sh -c 'i=0; while [ \$i -lt 30000 ]; do echo line \$i; i=\$((i+1)); done; exec sleep 1000'
log_file: $T/logs/filed.log
log_max_size: 64k
log_keep: 100
X
ln -s /dev/full "$T/full.log"
unit full <<X
exec: sh -c 'while :; do echo y; sleep 0.01; done'
log_file: $T/full.log
X
if [ "$(id -u)" = 0 ]; then
	unit user <<'X'
exec: sh -c 'id -u; id -g; grep CapEff /proc/self/status'
oneshot: true
user: nobody
capabilities: [net_bind_service]
X
	unit nouser <<<'{exec: "true", oneshot: true, user: nobody-at-all}'
fi
zin_start

out() { z log -s "$1" | sed 's/^\[.\] [^:]*: //'; }
has() { wait_until 10 sh -c "'$Z' -s '$S' log -s $1 | grep -qF -- '$2'" || { z log -s "$1"; false; }; }
ok "env" has env 'A=1 B=x y'
ok "the budget for a stop is told" has env 'deadline=7000'
ok "dir" has env '+] env: /tmp'
ok "umask" has env '0027'
ok "limits" has env '77'
ok "own session" has env 'leader'
ok "standard input is empty" has env '/dev/null'
ok "a directory that is missing is a failure" becomes nodir Failure
ok "without dir it is the root" has plain '+] plain: /'
ok "log: none keeps nothing" same "$(out silent)" ""
ok "log: stdout goes through" wait_until 10 logged '^straight-through$'
ok "and is not in the ring" same "$(out direct)" ""
becomes both Success >/dev/null
ok "bytes are bytes" sh -c "'$Z' -s '$S' log -s both | od -An -c | tr -d ' \n' | grep -qF 'out\\0nul377\\n'"
ok "standard error has its own mark" has both '[-] both: err'
ok "an unfinished last line is kept" has both '[+] both: unfinished'
ok "each start is marked" has both '[-] both: ------------ [start] ------------'
becomes long Success >/dev/null
ok "a long line comes in pieces, whole" same "$(z log -s long | grep 'x' | tr -cd x | wc -c)" 40000
ok "restart: never" wait_until 10 state_like never '"Error\(Exited\(Pid\([0-9]+\), 4\)\)"'
ok "stays down" field_is never restarts 0
ok "restart: on-failure leaves a success alone" becomes onfail Success
ok "restart_limit" wait_until 10 sh -c "'$Z' -s '$S' status limited | grep -q 'reason: given up after 4 ends'"
ok "restarted exactly so often" field_is limited restarts 3
ok "retry of a oneshot" becomes retried Success
ok "until it succeeded" same "$(wc -l <"$T/tries")" 3
ok "notify: fd waits" becomes fdready Spawned
touch "$T/fdready.go"
ok "for the newline" becomes fdready Running
ok "notify: sd" becomes sd Running
ok "its status line shows" sh -c "'$Z' -s '$S' status sd | grep -q '^status: all is well'"
ok "it left a descriptor" wait_until 10 field_is sd stored_fds 1
z kill sd SIGKILL
ok "and has it again after its death" has sd 'got back state: hello from before'
ok "start_timeout" wait_until 10 sh -c "'$Z' -s '$S' status late | grep -q 'reason: not ready within its start_timeout'"
ok "a hanging test is killed and run again" wait_until 10 sh -c "[ \$(wc -l <$T/hangs) -ge 2 ]"
becomes sick Running >/dev/null
touch "$T/sick"
ok "a failing health command restarts" wait_until 20 sh -c "[ \$('$Z' -s '$S' status sick | sed -n 's/^restarts: //p') -ge 1 ]"
rm "$T/sick"
becomes drained Running >/dev/null
ok "stop of a service with drain" z stop -w drained
ok "drain ran first, with a budget below the limit" grep -qx 'drain 6000' "$T/drain"
ok "75 is said as what it is" logged 'drained: not all done, the rest is durable'
ok "signal.stop" wait_until 10 state_like drained '"Error\(Signaled\(Pid\([0-9]+\), SIGINT, false\)\)"'
becomes family Running >/dev/null
z stop -w family
not_ok "the whole group ends" pgrep -f 'sleep 432[12]'
becomes servant Running >/dev/null
z stop -w master
ok "requires: the dependent stops too" becomes servant Blocked
z start master
ok "and comes back" becomes servant Running
ok "log_file holds every line, once" wait_until 20 sh -c "cat $T/logs/filed.log* | grep -c 'filed: line' | grep -qx 30000"
ok "none twice" same "$(cat "$T"/logs/filed.log* | grep 'line' | sort -u | wc -l)" 30000
ok "rotated at its size" [ "$(stat -c %s "$T/logs/filed.log.1")" -le 66000 ]
ok "a full disk under the log does not stop the service" becomes full Running
if [ "$(id -u)" = 0 ]; then
	ok "user" has user '65534'
	ok "capabilities" has user '0000000000000400'
	ok "a user that does not exist is a failure" becomes nouser Failure
fi
# --- reload ----------------------------------------------------------------------------------------------------------
sed -i 's/^exec: sleep 1000/exec: sleep 1001/' "$U/drained.yaml"
unit added <<<'exec: sleep 1000'
ok "reload counts" sh -c "'$Z' -s '$S' reload --json | grep -q '\"new\":1,\"changed\":1'"
ok "new units start" becomes added Running
z start -w drained
ok "a changed unit holds from its next start" sh -c "tr '\0' ' ' </proc/\$('$Z' -s '$S' status drained | sed -n 's/^pid: //p')/cmdline | grep -q 1001"
ok "stats" sh -c "'$Z' -s '$S' stats family 2>&1; '$Z' -s '$S' stats added | grep -qE '^memory_usage: [1-9]'"
ok "graph" sh -c "'$Z' -s '$S' graph | grep -q 'servant .*<- master (required)'"
ok "list --json" sh -c "'$Z' -s '$S' list --json | grep -q '\"name\":\"added\"'"
ok "shutdown" z shutdown
zin_exit "clean" 0
# --- strict ------------------------------------------------------------------------------------------------------------
U=$T/strict
mkdir "$U"
unit good <<<'exec: sleep 1000'
unit typo <<<'{exec: sleep 1000, oneshoot: true}'
zin_start --strict
ok "with --strict an unknown key refuses the unit" same "$(z list | tr '\n' ' ')" '--- good: Running '
ok "and says what was meant" logged "typo.yaml:1: .*did you mean 'oneshot'"
ok "shutdown" z shutdown
zin_exit "clean" 0

# --- the units of the image -----------------------------------------------------------------------------------------------
U=$T/image
cp -r rootfs-overlay/etc/zinit "$U"
sed -i 's/^exec: .*/exec: sleep 1000/; /^  --/d; s/^test: .*/test: "true"/; s/^oneshot: true/restart: never/' "$U"/*.yaml
zin_start --strict
ok "the image's units are without unknown keys, and start in order" becomes zdbfs Running
ok "all of them" same "$(z list | grep -c Running)" 5
z shutdown
zin_exit "clean" 0
done_testing
