#!/bin/bash
# zinit beside runit, s6 and (where it is installed) dinit: 100 services that report their own start through a FIFO.
# Interleaved rounds, medians, spread, ratios. Figures: time until all have reported, proportional set size of all
# supervising processes, time from a service's death to the report of the next one, wake-ups when idle, stop of a chain.
set -u
cd "$(dirname "$0")/../.." || exit 1
QSFS=${QSFS:-$PWD/build/qsfs}
ROUNDS=${ROUNDS:-7}
N=${N:-100}
IDLE=${IDLE:-60}
T=$(mktemp -d "${TMPDIR:-/tmp}/zinit-bench.XXXXXX")
SUPERVISOR=
finish() {
	[ -n "$SUPERVISOR" ] && kill -9 "$SUPERVISOR" 2>/dev/null
	rm -rf "$T"
}
trap finish EXIT
trap 'exit 1' INT TERM
for package in runit s6; do
	case $package in runit) tool=runsvdir ;; s6) tool=s6-svscan ;; esac
	command -v $tool >/dev/null || { [ "$(id -u)" = 0 ] && apt-get install -y --no-install-recommends $package >/dev/null 2>&1; }
done
peers=zinit
command -v runsvdir >/dev/null && peers="$peers runit"
command -v s6-svscan >/dev/null && peers="$peers s6"
if command -v dinit >/dev/null; then peers="$peers dinit"; else echo "dinit: not installed and not in this Debian release: left out"; fi

mkfifo "$T/fifo"
# The service: reports, then is as cheap as a process can be. One write of a few bytes is atomic.
cat >"$T/service" <<X
#!/bin/sh
echo "\$1" >$T/fifo
exec sleep 100000
X
chmod 755 "$T/service"
ln -s "$QSFS" "$T/zinit"

make_zinit() { mkdir -p "$T/zinit.d" && for i in $(seq "$1"); do printf 'exec: %s/service %s\n' "$T" "$i" >"$T/zinit.d/n$i.yaml"; done; }
make_runit() { for i in $(seq "$1"); do mkdir -p "$T/runit.d/n$i" && printf '#!/bin/sh\nexec %s/service %s\n' "$T" "$i" >"$T/runit.d/n$i/run" && chmod 755 "$T/runit.d/n$i/run"; done; }
make_s6() { for i in $(seq "$1"); do mkdir -p "$T/s6.d/n$i" && printf '#!/bin/sh\nexec %s/service %s\n' "$T" "$i" >"$T/s6.d/n$i/run" && chmod 755 "$T/s6.d/n$i/run"; done; }
make_dinit() {
	mkdir -p "$T/dinit.d"
	{ echo "type = internal"; for i in $(seq "$1"); do echo "waits-for = n$i"; done; } >"$T/dinit.d/boot"
	for i in $(seq "$1"); do printf 'type = process\ncommand = %s/service %s\nrestart = true\nrestart-delay = 0\n' "$T" "$i" >"$T/dinit.d/n$i"; done
}
clean_runit() { find "$T/runit.d" -name supervise -prune -exec rm -rf {} +; }
clean_s6() { find "$T/s6.d" \( -name supervise -o -name event -o -name .s6-svscan \) -prune -exec rm -rf {} +; }
command_of() {
	case $1 in
	zinit) echo "$T/zinit -s $T/zinit.sock init --container -c $T/zinit.d" ;;
	runit) echo "runsvdir $T/runit.d" ;;
	s6) echo "s6-svscan -c $((N * 2 + 100)) $T/s6.d" ;;
	dinit) echo "dinit -u -d $T/dinit.d -p $T/dinit.sock boot" ;;
	esac
}

# One perl starts the supervisor and takes the time of every report: no second process between the clock and the FIFO.
cat >"$T/run.pl" <<'X'
use strict; use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC sleep);
my ($fifo, $n, $kills, $out, @command) = @ARGV;
open(my $f, "+<", $fifo) or die; # both ways: never an end of file
my $t0 = clock_gettime(CLOCK_MONOTONIC);
my $pid = fork; if (!$pid) { close $f; open STDOUT, ">", "/dev/null"; open STDERR, ">&STDOUT"; setpgrp; exec @command or exit 1 }
my $have = ""; # several reports may come with one read
sub report {
	until ($have =~ s/^(.*)\n//) { my $r = ""; vec($r, fileno($f), 1) = 1; select($r, undef, undef, 60) > 0 or die "no report from @command\n"; sysread($f, $have, 4096, length $have) }
	($1, clock_gettime(CLOCK_MONOTONIC))
}
my $last; for (1 .. $n) { (undef, $last) = report() }
printf "start %.3f\n", ($last - $t0) * 1000;
sleep 4.2; # all are idle by then; and runit delays the restart of a run of less than a second
open(my $p, "-|", "ps", "-eo", "pid=,ppid=,args=") or die; my @ps = <$p>; close $p;
my %mine = ($pid => 1); for (1 .. 4) { for (@ps) { my ($c, $pp, $a) = /^\s*(\d+)\s+(\d+)\s+(.*)/; $mine{$c} = 1 if $mine{$pp} } }
my ($pss, @victims) = (0);
for (@ps) { my ($c, undef, $a) = /^\s*(\d+)\s+(\d+)\s+(.*)/; next unless $mine{$c};
	if ($a =~ /^sleep 100000/) { push @victims, $c } else { open my $s, "<", "/proc/$c/smaps_rollup" or next; while (<$s>) { $pss += $1 if /^Pss:\s+(\d+)/ } } }
printf "pss %d\n", $pss;
for (1 .. $kills) { my $v = shift @victims or last; my $a = clock_gettime(CLOCK_MONOTONIC); kill 9, $v; my (undef, $b) = report(); printf "restart %.3f\n", ($b - $a) * 1000; }
print "pid $pid\n";
if ($out) { $| = 1; open my $o, ">", $out; print $o $pid; close $o; exit 0 }
kill "TERM", $pid; kill "HUP", $pid if $command[0] eq "runsvdir";
for (1 .. 300) { last if waitpid($pid, 1) > 0; sleep 0.02 } kill 9, -$pid; kill 9, $pid;
for (@ps) { my ($c) = /^\s*(\d+)/; kill 9, $c if $mine{$c} && $c != $pid }
kill 9, map { /^\s*(\d+).*$/ ? $1 : () } grep { /sleep 100000|runsv n|s6-supervise n/ && do { my (undef, $pp) = /^\s*(\d+)\s+(\d+)/; $mine{$pp} } } `ps -eo pid=,ppid=,args=`;
X
median() { sort -n | awk '{v[NR]=$1} END {if (NR) printf "%.4g", (NR % 2) ? v[(NR+1)/2] : (v[NR/2]+v[NR/2+1])/2}'; }
spread() { sort -n | awk '{v[NR]=$1} END {printf "%.4g..%.4g", v[1], v[NR]}'; }

# round PEER COUNT KILLS: one run; results are appended to $T/PEER.KEY
round() {
	local key value
	case $1 in runit) clean_runit ;; s6) clean_s6 ;; esac
	# shellcheck disable=SC2046
	perl "$T/run.pl" "$T/fifo" "$2" "$3" "" $(command_of "$1") 2>"$T/err" | while read -r key value; do echo "$value" >>"$T/$1.$key$4"; done
	[ -s "$T/err" ] && sed "s/^/# $1: /" "$T/err"
}
echo "$(uname -srm), $(nproc) processors, load $(cut -d' ' -f1 /proc/loadavg); $ROUNDS interleaved rounds of $N services"
for peer in $peers; do "make_$peer" "$N"; done
for _ in $(seq "$ROUNDS"); do for peer in $peers; do round "$peer" "$N" 5 ""; done; done
printf '%-7s %28s %22s %30s\n' "" "all $N started, ms" "PSS of all, KiB" "death to next report, ms"
for peer in $peers; do
	printf '%-7s %12s (%s) %10s (%s) %12s (%s)\n' "$peer" "$(median <"$T/$peer.start")" "$(spread <"$T/$peer.start")" "$(median <"$T/$peer.pss")" \
		"$(spread <"$T/$peer.pss")" "$(median <"$T/$peer.restart")" "$(spread <"$T/$peer.restart")"
done
for peer in $peers; do
	[ "$peer" = zinit ] && continue
	awk -v p="$peer" -v a="$(median <"$T/zinit.start")" -v b="$(median <"$T/$peer.start")" -v c="$(median <"$T/zinit.pss")" -v d="$(median <"$T/$peer.pss")" \
		-v e="$(median <"$T/zinit.restart")" -v f="$(median <"$T/$peer.restart")" \
		'BEGIN {printf "zinit / %-6s start %.2f  memory %.2f  restart %.3f\n", p, a/b, c/d, e/f}'
done

# --- zinit alone: idle, a chain, a thousand ---------------------------------------------------------------------------
z() { "$T/zinit" -s "$T/zinit.sock" "$@"; }
now() { date +%s%N; }
ms_since() { awk -v a="$1" -v b="$(now)" 'BEGIN {printf "%.1f", (b - a) / 1e6}'; }
up() { # DIR COUNT: starts and waits until COUNT run
	"$T/zinit" -s "$T/zinit.sock" init --container -b 200 -c "$1" >/dev/null 2>&1 &
	SUPERVISOR=$!
	until [ "$(z list 2>/dev/null | grep -c Running)" = "$2" ]; do sleep 0.01; done
}
down() { z shutdown; wait "$SUPERVISOR"; SUPERVISOR=; }
mkdir "$T/plain" && for i in $(seq "$N"); do echo "exec: sleep 100000" >"$T/plain/n$i.yaml"; done
up "$T/plain" "$N"
if command -v strace >/dev/null; then
	timeout "$IDLE" strace -qq -f -o "$T/idle" -p "$SUPERVISOR"
	echo "wake-ups in $IDLE idle seconds with $N services: $(grep -cvE 'restart_syscall|epoll_p?wait|detached|resumed' "$T/idle")"
fi
down
mkdir "$T/chain" && for i in $(seq 10); do printf 'exec: sleep 100000\n%s' "$([ "$i" -gt 1 ] && echo "after: n$((i - 1))")" >"$T/chain/n$i.yaml"; done
for _ in $(seq "$ROUNDS"); do
	up "$T/chain" 10
	a=$(now)
	down
	ms_since "$a" >>"$T/chain.ms"
	echo >>"$T/chain.ms"
done
echo "stop of a chain of 10, ms: $(grep . "$T/chain.ms" | median) ($(grep . "$T/chain.ms" | spread)), per service $(grep . "$T/chain.ms" | median | awk '{printf "%.2f", $1 / 10}')"
mkdir "$T/many" && for i in $(seq 1000); do echo "exec: sleep 100000" >"$T/many/n$i.yaml"; done
a=$(now)
up "$T/many" 1000
echo "1000 services running after, ms: $(ms_since "$a")"
echo "PSS with 1000 services, KiB: $(awk '/^Pss:/ {print $2}' "/proc/$SUPERVISOR/smaps_rollup")"
a=$(now)
z list >/dev/null
echo "list of 1000, ms: $(ms_since "$a")"
a=$(now)
down
echo "stop of 1000, ms: $(ms_since "$a")"
