#!/usr/bin/perl
# run-tests.pl [-j N] [-t SECONDS] [-l LOGDIR] [-s SUMFILE] SUITE PROGRAM...
#
# Runs test programs in parallel and reads their TAP. Unit tests (cmocka) are told to print TAP; *.t files are run by sh or by
# what their first line names. A program that ends with an error, prints no plan, or not all that it planned, counts as failed,
# and so does one that runs longer than the limit. Prints a line per program and a sum; with -s the two numbers go to a file.
use strict;
use warnings;
use POSIX qw(:sys_wait_h setsid);
use Time::HiRes qw(time sleep);
use File::Path qw(make_path);

my ($jobs, $limit, $logdir, $sumfile) = (2, 300, 'build/test-logs', undef);
while (@ARGV && $ARGV[0] =~ /^-(.)$/) {
	my $flag = $1;
	shift;
	my $value = shift;
	if    ($flag eq 'j') { $jobs    = $value }
	elsif ($flag eq 't') { $limit   = $value }
	elsif ($flag eq 'l') { $logdir  = $value }
	elsif ($flag eq 's') { $sumfile = $value }
	else                 { die "run-tests: unknown option -$flag\n" }
}
my $suite = shift // die "run-tests: suite is missing\n";
my @queue = @ARGV;
make_path("$logdir/$suite");
$ENV{CMOCKA_MESSAGE_OUTPUT} = 'TAP';

my (%running, @failed);
my ($passed, $failed, $skipped) = (0, 0, 0);
my $begin = time;

# Whoever stops the run stops what it started.
$SIG{INT} = $SIG{TERM} = sub {
	kill 'KILL', map { -$_ } keys %running;
	exit 130;
};

sub command {
	my ($program) = @_;
	return ($program) unless $program =~ /\.t$/;
	open(my $fh, '<', $program) or die "run-tests: cannot open $program: $!\n";
	my $first = <$fh> // '';
	return $first =~ /^#!\s*(\S.*)$/ ? (split(' ', $1), $program) : ('sh', $program);
}

sub start {
	my ($program) = @_;
	(my $name = $program) =~ s{.*/}{};
	my $log     = "$logdir/$suite/$name.log";
	my @command = command($program);
	my $pid     = fork // die "run-tests: cannot fork: $!\n";
	if (!$pid) {
		setsid();    # a group of its own, so that everything it started can be ended with it
		open(STDIN,  '<', '/dev/null');
		open(STDOUT, '>', $log) or die "run-tests: cannot write $log: $!\n";
		open(STDERR, '>&STDOUT');
		exec { $command[0] } @command or die "run-tests: cannot start $program: $!\n";
	}
	$running{$pid} = { program => $program, name => $name, log => $log, begin => time };
}

# Counts the results in a log. Several plans (one for each cmocka group) add up.
sub read_tap {
	my ($log) = @_;
	my ($ok, $bad, $skip, $plan, $seen, $all) = (0, 0, 0, undef, 0, undef);
	open(my $fh, '<', $log) or return (0, 0, 0, undef, 0);
	while (my $line = <$fh>) {
		if ($line =~ /^1\.\.(\d+)(?:\s*#\s*skip\b\s*(.*))?/i) {
			$plan = ($plan // 0) + $1;
			$all  = $2 if $1 == 0;
		} elsif ($line =~ /^(not )?ok\b(.*)/) {
			my ($not, $rest) = ($1, $2);
			$seen++;
			if    ($rest =~ /#\s*skip\b/i) { $skip++ }
			elsif ($not && $rest !~ /#\s*todo\b/i) { $bad++ }
			else  { $ok++ }
		} elsif ($line =~ /^Bail out!/) {
			$bad++;
		}
	}
	$skip++ if defined $all;
	return ($ok, $bad, $skip, $plan, $seen);
}

# What a reader needs of a failed test's log: its beginning (seeds), what follows each failure, and its end.
sub excerpt {
	my @keep = (0 .. 9, @_ - 40 .. $#_);
	for my $i (grep { $_[$_] =~ /^(?:not ok\b|Bail out!)|ERROR: |runtime error: / } 0 .. $#_) {
		push @keep, $i .. $i + 12;
	}
	my %keep = map { $_ => 1 } grep { $_ >= 0 && $_ <= $#_ } @keep;
	my ($last, @lines) = (-1);
	for my $i (sort { $a <=> $b } keys %keep) {
		push @lines, "...\n" if $i != $last + 1;
		push @lines, $_[$last = $i];
	}
	return @lines;
}

sub finish {
	my ($pid, $status) = @_;
	my $test = delete $running{$pid};
	kill 'KILL', -$pid;    # what it left behind in its group
	my ($ok, $bad, $skip, $plan, $seen) = read_tap($test->{log});
	my @why;
	push @why, "ran longer than $limit s" if $test->{late};
	push @why, 'ended by signal ' . ($status & 127) if ($status & 127) && !$test->{late};
	push @why, 'exit code ' . ($status >> 8) if ($status >> 8) && !$bad;
	push @why, 'no plan: no test was run' if !defined $plan;
	push @why, "planned $plan, ran $seen" if defined $plan && $plan != $seen && !@why;
	$bad++ if @why;
	push @why, "$bad failed" if $bad && !@why;
	$passed  += $ok;
	$failed  += $bad;
	$skipped += $skip;
	my $time = sprintf('%.1f s', time - $test->{begin});
	if ($bad) {
		push @failed, $test->{program};
		print "FAIL  $test->{program}: ", join(', ', @why), " ($time)\n";
		open(my $fh, '<', $test->{log});
		my @lines = <$fh>;
		print "      | $_" =~ s/\n?\z/\n/r for excerpt(@lines);
		print "      log: $test->{log}\n";
	} else {
		print "ok    $test->{program}: $ok passed", ($skip ? ", $skip skipped" : ''), " ($time)\n";
	}
}

$| = 1;
while (@queue || %running) {
	start(shift @queue) while @queue && keys %running < $jobs;
	my $pid = waitpid(-1, WNOHANG);
	if ($pid > 0) {
		finish($pid, $?) if $running{$pid};
		next;
	}
	for my $late (grep { time - $running{$_}{begin} > $limit } keys %running) {
		$running{$late}{late} = 1;
		kill 'KILL', -$late;
	}
	sleep 0.02;
}
printf "%s: %d passed, %d failed%s in %.1f s\n", $suite, $passed, $failed, ($skipped ? ", $skipped skipped" : ''), time - $begin;
if (defined $sumfile) {
	open(my $fh, '>', $sumfile) or die "run-tests: cannot write $sumfile: $!\n";
	print $fh "$passed $failed\n";
	close $fh;
}
exit(@failed ? 1 : 0);
