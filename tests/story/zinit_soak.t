#!/bin/bash
# A soak: random starts, stops, restarts, kills and crashes against a model. No service may ever be lost or doubled.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/story/zinit_lib.sh
need_tool perl
EVENTS=${ZINIT_SOAK_EVENTS:-2000}
SEED=${ZINIT_SOAK_SEED:-$(date +%s)}
diag "seed $SEED, $EVENTS events"

# Every process of service N writes a line when it begins; its command line says whose it is.
for n in 0 1 2 3 4 5 6 7; do
	unit "s$n" <<X
exec: sh -c 'exec sleep 7770$n'
restart_delay: 1ms
restart_max_delay: 5ms
$([ $n -ge 2 ] && echo "after: [s$((n - 2))]")
X
done
zin_start
cat >"$T/soak.pl" <<'X'
use strict; use IO::Socket::UNIX;
my ($path, $events, $seed, $root) = @ARGV;
srand $seed;
my (@want, $failed) = (1) x 8;
sub ask {
	my $s = IO::Socket::UNIX->new(Peer => $path) or die "no answer: $!";
	print $s "$_[0]\n"; local $/; my $a = <$s>; defined $a or die "closed: $_[0]"; $a
}
sub pids { # of service n, as the machine sees them
	my ($n) = @_; my @p;
	for my $d (glob "/proc/[0-9]*") {
		open my $f, "<", "$d/cmdline" or next; local $/; my $c = <$f> // ""; $c =~ tr/\0/ /;
		next unless $c =~ /^sleep 7770$n $/; open my $st, "<", "$d/stat" or next; my $l = <$st> // ""; next if $l =~ /\) Z /;
		# only children of our supervisor: other runs of this test may be on the machine
		push @p, $d =~ /(\d+)/ if $l =~ /\) \S (\d+) / && $1 == $root;
	}
	@p
}
sub settle { # the state that the model expects, within 20 s
	my ($why) = @_;
	my $bad;
	for (1 .. 400) {
		$bad = undef;
		for my $n (0 .. 7) {
			my $a = ask("status s$n");
			my ($pid) = $a =~ /"pid":(\d+)/; my ($target) = $a =~ /"target":"(\w+)"/; my @p = pids($n);
			my $up = $want[$n];
			for (my $d = $n - 2; $d >= 0; $d -= 2) { }
			my $is = @p == 1 && $p[0] == $pid;
			my $blocked = $a =~ /"state":"Blocked"/;
			$bad = "s$n: target $target, model " . ($up ? "Up" : "Down") if ($target eq "Up") != $up;
			$bad = "s$n doubled: @p" if @p > 1;
			$bad = "s$n is lost: $a" if $up && !$blocked && !$is;
			$bad = "s$n is blocked by a running service: $a" if $up && $blocked && $n >= 2 && $want[$n - 2] && pids($n - 2) == 1 && ask("status s" . ($n - 2)) =~ /Running/ && $_ > 100;
			$bad = "s$n runs but should not: @p" if !$up && @p;
			last if $bad;
		}
		return 1 unless $bad;
		select undef, undef, undef, 0.05;
	}
	print "# after $why: $bad\n"; 0
}
settle("start") or exit 1;
for my $i (1 .. $events) {
	my $n = int rand 8; my $k = int rand 6;
	if ($k == 0) { ask("start s$n"); $want[$n] = 1 }
	elsif ($k == 1) { ask("stop s$n"); $want[$n] = 0 }
	elsif ($k == 2) { ask("kill s$n " . (qw(SIGKILL SIGTERM SIGINT SIGSEGV))[rand 4]) }
	elsif ($k == 3) { my @p = pids($n); kill 9, @p if @p }
	elsif ($k == 4) { my $s = IO::Socket::UNIX->new(Peer => $path); print $s qq({"jsonrpc":"2.0","id":1,"method":"service_restart","params":["s$n"]}); <$s>; $want[$n] = 1 }
	else { ask("stop s$n"); ask("start s$n"); $want[$n] = 1 }
	# forget and monitor: out of the table and back
	if ($i % 50 == 0) { ask("stop s7"); my $ok = 0; for (1 .. 200) { last if ($ok = ask("forget s7") =~ /"ok"/); select undef, undef, undef, 0.02 }
		$ok or do { print "# s7 cannot be forgotten\n"; exit 1 }; ask("monitor s7") =~ /"ok"/ or do { print "# s7 cannot be monitored\n"; exit 1 }; $want[7] = 1 }
	if ($i % 100 == 0) { settle("event $i") or exit 1 }
}
settle("the last event") or exit 1;
X
sed -i '/for (my \$d = \$n - 2/d' "$T/soak.pl"
fds() { ls "/proc/$zinit_pid/fd" | wc -l; }
rss() { sed -n 's/^VmRSS:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$zinit_pid/status"; }
before_fds=$(fds)
before_rss=$(rss)
ok "$EVENTS random events: no service is lost or doubled" timeout 900 perl "$T/soak.pl" "$S" "$EVENTS" "$SEED" "$zinit_pid"
ok "no descriptor is left over" [ "$(fds)" -le "$before_fds" ]
diag "resident: $before_rss KiB before, $(rss) KiB after"
ok "memory does not grow with events" [ "$(rss)" -le $((before_rss + 1024)) ]
not_ok "no event hit a state where it cannot happen" grep -q 'cannot happen' "$T/init.log"
ok "no zombie is left" same "$(ps -o stat= --ppid "$zinit_pid" | grep -c '^Z')" 0
ok "shutdown" z shutdown
zin_exit "clean" 0
done_testing
