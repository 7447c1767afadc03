#!/bin/bash
# The control socket: both protocols of the original on one path, byte for byte where it is written down; clients that
# are slow, silent, greedy or many; the HTTP door.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/story/zinit_lib.sh
need_tool perl
need_tool curl

unit a <<<'exec: sleep 1000'
unit b <<<'{exec: sleep 1000, after: [a]}'
unit dot.name <<<'{exec: "true", oneshot: true}'
unit chatty <<'X'
exec: perl -e '$| = 1; my $n; while (1) { print "x" x 200, " ", ++$n, "\n" for 1 .. 200; select(undef, undef, undef, 0.01) }'
X
zin_start -b 100
becomes b Running >/dev/null
becomes dot.name Success >/dev/null
z stop -w chatty

# talk TEXT [MODE]: sends TEXT; prints the answer until the server closes, or (MODE=N) N lines of it.
cat >"$T/talk.pl" <<'X'
use strict; use IO::Socket::UNIX;
my ($path, $mode, @pieces) = @ARGV;
my $s = IO::Socket::UNIX->new(Peer => $path) or die "connect: $!";
$s->autoflush(1);
alarm 20;
for my $p (@pieces) { $p =~ s/\\n/\n/g; print $s $p; select undef, undef, undef, 0.02 if @pieces > 1 }
if ($mode eq "close") { local $/; print scalar <$s>; }
elsif ($mode eq "eof") { shutdown $s, 1; local $/; print scalar <$s>; }
else { for (1 .. $mode) { my $l = <$s>; print $l // "" } }
X
talk() { perl "$T/talk.pl" "$S" "$@"; }
g1() { talk close "$1\n"; }
rpc() { talk 1 "$1"; }
pid=$(field a pid)

# --- lines -------------------------------------------------------------------------------------------------------------
ok "list" same "$(g1 list)" '{"state":"ok","body":{"a":"Running","b":"Running","chatty":"Error(Signaled(Pid('"$(field chatty last_exit >/dev/null; z status chatty --json | sed 's/.*"last_exit":{"pid":\([0-9]*\).*/\1/')"'), SIGTERM, false))","dot.name":"Success"}}'
ok "status" same "$(g1 'status a')" '{"state":"ok","body":{"after":{},"name":"a","pid":'"$pid"',"state":"Running","target":"Up"}}'
ok "status with a dependency" sh -c "perl $T/talk.pl $S close 'status b\n' | grep -q '\"after\":{\"a\":\"Running\"}'"
ok "without a line end, at the end of input" same "$(talk eof 'status a')" "$(g1 'status a')"
ok "in single bytes" same "$(talk close s t a t u s ' ' a '\n')" "$(g1 'status a')"
ok "quoted words" same "$(g1 "'status' \"a\"")" "$(g1 'status a')"
ok "stop and start are idempotent" same "$(g1 'start a')$(g1 'start a')" '{"state":"ok","body":null}{"state":"ok","body":null}'
ok "an unknown service" same "$(g1 'status x')" '{"state":"error","body":"service name \"x\" unknown"}'
ok "an empty line" same "$(g1 '')" '{"state":"error","body":"unknown command"}'
ok "an unknown command" same "$(g1 'foo')" "{\"state\":\"error\",\"body\":\"unknown command 'foo' or wrong arguments count\"}"
ok "upper case" same "$(g1 'LIST')" "{\"state\":\"error\",\"body\":\"unknown command 'LIST' or wrong arguments count\"}"
ok "too many words" same "$(g1 'list a')" "{\"state\":\"error\",\"body\":\"unknown command 'list' or wrong arguments count\"}"
ok "unbalanced quotes" same "$(g1 "status 'a")" '{"state":"error","body":"invalid command syntax"}'
ok "log with nonsense" same "$(g1 'log x')" '{"state":"error","body":"invalid log command arguments"}'
ok "kill of what is down" same "$(g1 'kill chatty SIGTERM')" '{"state":"error","body":"service \"chatty\" is down"}'
ok "a bad signal" same "$(g1 'kill a 15')" '{"state":"error","body":"EINVAL: Invalid argument"}'
ok "monitor twice" same "$(g1 'monitor a')" '{"state":"error","body":"service \"a\" already monitored"}'
ok "forget of what is up" same "$(g1 'forget a')" '{"state":"error","body":"service \"a\" is up"}'
ok "log snapshot is plain text and ends" same "$(g1 'log snapshot' | grep -c '^\[-\] a: -* \[start\] -*$')" 1
ok "a line of a megabyte is refused" sh -c "perl -e 'print \"status \" . \"x\" x 1000000 . \"\n\"' >$T/big; perl -MIO::Socket::UNIX -e '
	\$SIG{PIPE} = q(IGNORE); my \$s = IO::Socket::UNIX->new(Peer => q($S)); open F, q($T/big); local \$/; my \$x = <F>; alarm 20;
	print \$s \$x; print scalar <\$s>' | grep -q 'invalid command syntax'"

# --- JSON-RPC ----------------------------------------------------------------------------------------------------------
call() { rpc "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"$1\",\"params\":$2}"; }
answers() { # SENTENCE METHOD PARAMS PATTERN
	local got
	got=$(call "$2" "$3")
	ok "$1" sh -c "printf '%s\n' \"\$1\" | grep -qE -- \"\$2\" || { echo \"\$1\"; false; }" x "$got" "$4"
}
answers "service_list" service_list '[]' '^\{"jsonrpc":"2.0","id":1,"result":\{"a":"Running","b":"Running"'
answers "service_status by position" service_status '["a"]' '"result":\{"name":"a","pid":'"$pid"',"state":"Running","target":"Up","after":\{\}\}'
answers "service_status by name" service_status '{"name":"b"}' '"after":\{"a":"Running"\}'
answers "not found" service_status '["x"]' '"code":-32000,"message":"getting status: service .x. not found","data":\{"code_name":"ServiceNotFound","service":"x","action":"getting status","retryable":false'
answers "already monitored, retryable" service_monitor '["a"]' '"code":-32001.*"retryable":true'
answers "up" service_forget '["a"]' '"code":-32002'
answers "down" service_kill '["chatty","SIGTERM"]' '"code":-32003'
answers "invalid signal" service_kill '["a","x"]' '"code":-32004'
answers "config error" service_monitor '["nothing"]' '"code":-32005'
answers "unknown method" nope '[]' '"code":-32601'
answers "missing parameter" service_status '[]' '"code":-32602'
answers "parameter of another type" service_status '[1]' '"code":-32602'
answers "service_create" service_create '["made",{"exec":"sleep 1000","after":["a"],"oneshot":false}]' 'Service .made. created successfully'
answers "only once" service_create '["made",{"exec":"x"}]' '"code":-32007'
answers "not with a path" service_create '["../x",{"exec":"x"}]' '"code":-32602.*InvalidServiceName'
answers "service_get" service_get '["made"]' '"result":\{"exec":"sleep 1000","after":\["a"\],"oneshot":false\}'
answers "service_monitor" service_monitor '["made"]' '"result":null'
ok "it runs" becomes made Running
answers "service_stats" service_stats '["made"]' '"name":"made","pid":[0-9]+,"memory_usage":[1-9][0-9]*,"cpu_usage":[0-9.]+,"children":\[\]'
answers "service_stop answers when it is down" service_stop '["made"]' '"result":null'
ok "it is" field_is made pid 0
answers "service_start" service_start '["made"]' '"result":null'
answers "service_restart" service_restart '["made"]' '"result":null'
call service_stop '["made"]' >/dev/null
answers "service_forget" service_forget '["made"]' '"result":null'
answers "service_delete" service_delete '["made"]' 'Service .made. deleted successfully'
not_ok "the file is gone" [ -e "$U/made.yaml" ]
answers "service_delete again" service_delete '["made"]' '"code":-32000'
answers "rpc.discover is a string" rpc.discover '[]' '"result":"\{..openrpc'
answers "stream_currentLogs" stream_currentLogs '["a"]' '"result":\["\[-\] a: -+ \[start\] -+"\]'
ok "a batch" same "$(rpc '[{"jsonrpc":"2.0","id":1,"method":"service_status","params":["x"]},{"jsonrpc":"2.0","method":"service_list"},{"jsonrpc":"2.0","id":"z","method":"service_start","params":["a"]}]' | sed 's/"message.*}},/...,/')" \
	'[{"jsonrpc":"2.0","id":1,"error":{"code":-32000,...,{"jsonrpc":"2.0","id":"z","result":null}]'
ok "requests without anything between them" same "$(talk 2 '{"jsonrpc":"2.0","id":1,"method":"service_start","params":["a"]}{"jsonrpc":"2.0","id":2,"method":"service_start","params":["a"]}')" \
	'{"jsonrpc":"2.0","id":1,"result":null}
{"jsonrpc":"2.0","id":2,"result":null}'
ok "not JSON" sh -c "perl $T/talk.pl $S 1 '{nonsense}' | grep -q -- '-32700'"
ok "not a request" sh -c "perl $T/talk.pl $S 1 '{\"id\":1}' | grep -q -- '-32600'"
ok "an empty batch" sh -c "perl $T/talk.pl $S 1 '[]' | grep -q -- '-32600'"
ok "split anywhere" same "$(talk 1 '{"json' 'rpc":"2.0","id":1,"me' 'thod":"service_start","params":["a' '"]}')" '{"jsonrpc":"2.0","id":1,"result":null}'
z start -w chatty
ok "subscription" sh -c "perl $T/talk.pl $S 3 '{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"stream_subscribeLogs\",\"params\":[\"chatty\"]}' |
	tail -n 1 | grep -q '\"method\":\"stream_subscribeLogs\",\"params\":{\"subscription\":[0-9]*,\"result\":\"\\[+\\] chatty: xxx'"

# --- clients that behave badly ---------------------------------------------------------------------------------------------
# The client begins to read when the service has written much more than ring and socket hold.
written() { z log -s chatty -n 1 | sed 's/.* //'; }
has_written() { [ "$(written)" -gt "$1" ]; }
perl -MIO::Socket::UNIX -e '$s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die; print $s "log\n"; <$s>; mkdir $ARGV[1];
	alarm 60; select undef, undef, undef, 0.05 until -e $ARGV[2]; my ($n, $gap) = (0, 0);
	while (defined(my $l = <$s>)) { $gap = 1 if $l =~ /^\[-\] zinit: [1-9]\d* lines dropped$/; last if $gap or ++$n > 200000 }
	exit !$gap' "$S" "$T/deaf" "$T/read-now" &
slow=$!
wait_until 20 test -d "$T/deaf"
ok "while a client does not read its log, others are answered" sh -c "for i in 1 2 3 4 5; do '$Z' -s '$S' status a >/dev/null || exit 1; done"
ok "and the service goes on writing" wait_until 60 has_written $(($(written) + 20000))
touch "$T/read-now"
wait $slow
ok "it is told how much it missed" same $? 0
z stop -w chatty
ok "a hundred silent connections leave room" perl -MIO::Socket::UNIX -e '
	my @s = map { IO::Socket::UNIX->new(Peer => $ARGV[0]) } 1 .. 60; alarm 20;
	my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die; print $s "list\n"; exit !(<$s> =~ /"ok"/)' "$S"
ok "a thousand connections one after another" perl -MIO::Socket::UNIX -e 'alarm 60;
	for (1 .. 1000) { my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die; print $s "status a\n"; <$s> =~ /"ok"/ or die }' "$S"
ok "the socket is the owner's alone" same "$(stat -c %a "$S")" 600
if [ "$(id -u)" = 0 ]; then
	chmod 755 "$T"; chmod 666 "$S"; cp "$(readlink -f "$QSFS")" "$T/other"; chmod 755 "$T/other"; mv "$T/other" "$T/zinit2"
	ok "really not" same "$(setpriv --reuid=65534 --regid=65534 --clear-groups perl -MIO::Socket::UNIX -e 'alarm 10; $SIG{PIPE} = "IGNORE"; $s = IO::Socket::UNIX->new(Peer => $ARGV[0]); print $s "list\n"; print scalar <$s>' "$S" 2>&1)" ""
fi

# --- the HTTP door -----------------------------------------------------------------------------------------------------------
http() { curl -s -m 20 --unix-socket "$T/http" -o "$T/body" -w '%{http_code}' "$@" http://zinit/; }
call system_start_http_server "[\"unix:$T/http\"]" >/dev/null
ok "the token is the owner's alone" same "$(stat -c %a "$S.token")" 600
TOKEN=$(cat "$S.token")
R='{"jsonrpc":"2.0","id":1,"method":"service_status","params":["a"]}'
ok "without the token nothing is answered" same "$(http -d "$R")" 401
ok "with a wrong one neither" same "$(http -H "Authorization: Bearer ${TOKEN}0" -d "$R")" 401
ok "with it, JSON-RPC" same "$(http -H "Authorization: Bearer $TOKEN" -d "$R")" 200
ok "as on the socket" grep -q '"state":"Running"' "$T/body"
ok "only POST" same "$(http -H "Authorization: Bearer $TOKEN")" 405
ok "no permission for other origins" sh -c "! curl -s -i -m 20 --unix-socket $T/http -H 'Authorization: Bearer $TOKEN' -H 'Origin: http://evil' -d '$R' http://zinit/ | grep -qi access-control"
answers "only once" system_start_http_server '["127.0.0.1:0"]' '"code":-32603'
answers "system_stop_http_server" system_stop_http_server '[]' '"result":null'
answers "again" system_stop_http_server '[]' '"code":-32603'
answers "only loopback" system_start_http_server '["0.0.0.0:8080"]' 'only loopback'
not_ok "the token is gone" [ -e "$S.token" ]
ok "shutdown over JSON-RPC is answered first" sh -c "perl $T/talk.pl $S 1 '{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"system_shutdown\"}' | grep -q '\"result\":null'"
zin_exit "clean" 0
done_testing
