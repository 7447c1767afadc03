#!/usr/bin/perl
# A small client of a zdb for the stories. SOCKET NSNEW NS | FILL NS COUNT SIZE FILE | KEYS NS COUNT SIZE FILE | VERIFY NS FILE | ABSENT NS FILE |
# DEL NS FILE NTH DELETED | REWRITE NS FILE NTH | CALL WORD...    With ZDB_AUTH that password is given first.
use strict;
use warnings;
use Digest::MD5 qw(md5_hex);
use IO::Socket::UNIX;

my ($path, $what, @args) = @ARGV;
my $s = IO::Socket::UNIX->new(Peer => $path) or die "cannot connect to $path: $!\n";
binmode $s;

sub send_words {
	my $out = '*' . @_ . "\r\n";
	$out .= '$' . length($_) . "\r\n$_\r\n" for @_;
	print {$s} $out or die "cannot send: $!\n";
	$s->flush;
}

sub reply {
	my $line = <$s> // die "the server is gone\n";
	$line =~ s/\r\n$//;
	return $line unless $line =~ /^\$(-?\d+)$/;
	return undef if $1 < 0;
	my ($data, $want) = ('', $1 + 2);
	while (length $data < $want) {
		read($s, $data, $want - length $data, length $data) or die "the server is gone\n";
	}
	return substr $data, 0, -2;
}

sub call { send_words(@_); return reply() }

sub use_ns { my $r = call('SELECT', $_[0]); die "SELECT $_[0]: $r\n" if $r ne '+OK' }

if (defined $ENV{ZDB_AUTH}) {
	my $r = call('AUTH', $ENV{ZDB_AUTH});
	die "AUTH: $r\n" if $r ne '+OK';
}
if ($what eq 'NSNEW') {
	my $r = call('NSNEW', $args[0]);
	die "NSNEW: $r\n" if $r ne '+OK' && $r !~ /already/i;
} elsif ($what eq 'FILL') {
	my ($ns, $count, $size, $file) = @args;
	open my $rnd, '<:raw', '/dev/urandom' or die;
	open my $out, '>>', $file or die "$file: $!\n";
	my @lines;
	use_ns($ns);
	for (1 .. $count) {
		read($rnd, my $value, $size) == $size or die;
		my $key = call('SET', '', $value);
		die "SET: " . ($key // 'nil') . "\n" if !defined $key || length $key != 8;
		push @lines, unpack('H*', $key) . ' ' . md5_hex($value) . "\n";
	}
	my $r = call('SYNC');
	die "SYNC: $r\n" if $r ne '+OK';
	print {$out} @lines;
	close $out or die;
} elsif ($what eq 'KEYS') { # user keys of so many names, with new values; the list is written anew
	my ($ns, $count, $size, $file) = @args;
	open my $rnd, '<:raw', '/dev/urandom' or die;
	open my $out, '>', $file or die "$file: $!\n";
	use_ns($ns);
	for (1 .. $count) {
		read($rnd, my $value, $size) == $size or die;
		my $r = call('SET', "key $_", $value);
		die "SET: " . ($r // 'nil') . "\n" if !defined $r || $r ne "key $_";
		print {$out} unpack('H*', "key $_") . ' ' . md5_hex($value) . "\n";
	}
	my $r = call('SYNC');
	die "SYNC: $r\n" if $r ne '+OK';
	close $out or die;
} elsif ($what eq 'VERIFY') {
	my ($ns, $file) = @args;
	my ($good, $bad) = (0, 0);
	open my $in, '<', $file or die "$file: $!\n";
	use_ns($ns);
	while (<$in>) {
		my ($key, $sum) = split;
		my $value = call('GET', pack 'H*', $key);
		if (defined $value && md5_hex($value) eq $sum) { $good++ }
		else {
			$bad++;
			print "$key: ", (defined $value ? 'wrong: ' . length($value) . ' bytes' : 'absent'), "\n" if $bad < 4;
		}
	}
	print "$good good, $bad bad\n";
	exit 1 if $bad || !$good;
} elsif ($what eq 'ABSENT') {
	my ($ns, $file) = @args;
	open my $in, '<', $file or die "$file: $!\n";
	use_ns($ns);
	while (<$in>) {
		my ($key) = split;
		die "$key is still there\n" if defined call('GET', pack 'H*', $key);
	}
} elsif ($what eq 'DEL' || $what eq 'REWRITE') {
	my ($ns, $file, $nth, $deleted) = @args;
	my (@kept, @gone);
	open my $in, '<', $file or die "$file: $!\n";
	use_ns($ns);
	while (my $line = <$in>) {
		my ($key) = split ' ', $line;
		if ($. % $nth) {
			push @kept, $line;
		} elsif ($what eq 'DEL') {
			my $r = call('DEL', pack 'H*', $key);
			die "DEL: " . ($r // 'nil') . "\n" if ($r // '') ne '+OK';
			push @gone, $line;
		} else {
			my $value = "rewritten $key " . rand;
			my $r = call('SET', pack('H*', $key), $value);
			die "SET: " . ($r // 'nil') . "\n" if !defined $r || length $r != 8;
			push @kept, "$key " . md5_hex($value) . "\n";
		}
	}
	my $r = call('SYNC');
	die "SYNC: $r\n" if $r ne '+OK';
	open my $out, '>', $file or die "$file: $!\n";
	print {$out} @kept;
	close $out or die;
	if ($what eq 'DEL') {
		open my $list, '>>', $deleted or die "$deleted: $!\n";
		print {$list} @gone;
	}
} elsif ($what eq 'CALL') {
	my $r = call(@args);
	print $r // 'nil', "\n";
	exit 1 if defined $r && $r =~ /^-/;
} else {
	die "unknown: $what\n";
}
