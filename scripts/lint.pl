#!/usr/bin/perl
# lint.pl OBJDIR: the rules of the house that a compiler does not check.
#
#	rings	  a file includes its own room and lower rings only, seen from the #include lines; in one ring only what the
#		  table below permits
#	symbols	  what an applet defines is used by its own room and the registry alone, seen from the object files
#	format	  clang-format has nothing to change (only with the version that the tree is formatted with)
use strict;
use warnings;

my $objdir = shift // die "lint: object directory is missing\n";
my $CLANG_FORMAT_MAJOR = 14;

my %ring = (
	'core/base' => 0,
	(map { ("core/$_" => 1) } qw(config crypto coding net ctl)),
	(map { ("core/$_" => 2) } qw(zdb zdbd object spool)),
);
my $APPLET_RING = 3;

# Neighbours in one ring: who may include whom, and why.
my %neighbour = (
	'core/zdbd core/zdb' => 'serves an engine',
	'core/zdbd core/spool' => 'turns events of an engine into intentions',
);
my %generated = map { $_ => 1 } qw(autoconf.h build_info.h);
my $bad = 0;

sub complain {
	print "lint: @_\n";
	$bad++;
}

sub room_of {
	my ($path) = @_;
	return $path =~ m{^((?:core|applets)/[^/]+)/} ? $1 : $path =~ m{^applets/[^/]+$} ? 'applets' : undef;
}

sub ring_of {
	my ($room) = @_;
	return $room =~ /^applets/ ? $APPLET_RING : $ring{$room};
}

sub check_include {
	my ($file, $line, $room, $target) = @_;
	if ($target !~ m{/}) {
		return if $generated{$target} || -e "$room/$target";
		return complain("$file:$line: includes \"$target\": name it from the top of the tree, or it does not exist");
	}
	return complain("$file:$line: includes \"$target\": name it from the top of the tree") if $target =~ m{^\.};
	my $other = room_of($target);
	return complain("$file:$line: includes \"$target\": not a file of core/ or applets/") unless defined $other;
	return if $other eq $room;
	my ($mine, $theirs) = (ring_of($room), ring_of($other));
	return complain("$file:$line: includes $target: $other is in no ring: see scripts/lint.pl") unless defined $theirs;
	return if $theirs < $mine || $neighbour{"$room $other"};
	complain("$file:$line: $room (ring $mine) includes $target (ring $theirs)");
}

sub check_rings {
	for my $file (glob('core/*/*.[ch] applets/*.[ch] applets/*/*.[ch]')) {
		my $room = room_of($file);
		complain("$file: room $room is in no ring: see scripts/lint.pl") unless defined ring_of($room);
		open(my $fh, '<', $file) or die "lint: cannot open $file: $!\n";
		while (my $text = <$fh>) {
			check_include($file, $., $room, $1) if $text =~ /^\s*#\s*include\s+"([^"]+)"/;
		}
	}
}

# symbols(FILE): defined and wanted global names of an object
sub symbols {
	my ($object) = @_;
	my (@defined, @wanted);
	open(my $nm, '-|', 'nm', '-g', $object) or die "lint: cannot run nm: $!\n";
	while (<$nm>) {
		if    (/^\s+U (\S+)/)       { push @wanted,  $1 }
		elsif (/ [A-TV-Z] (\S+)$/i) { push @defined, $1 }
	}
	return (\@defined, \@wanted);
}

sub check_symbols {
	my (%owner, @uses);
	for my $object (glob("$objdir/core/*/*.o $objdir/applets/*.o $objdir/applets/*/*.o")) {
		(my $path = $object) =~ s{^\Q$objdir\E/}{};
		(my $source = $path) =~ s/\.o$/.c/;
		next unless -e $source;    # left over from a file that is gone
		my $room = room_of($path);
		my ($defined, $wanted) = symbols($object);
		if ($room =~ m{^applets/}) {
			$owner{$_} = $room for @$defined;
		}
		push @uses, [$room, $source, $wanted];
	}
	for my $use (@uses) {
		my ($room, $source, $wanted) = @$use;
		for my $symbol (@$wanted) {
			my $owner = $owner{$symbol} // next;
			complain("$source: uses $symbol, which is $owner\'s own") if $owner ne $room;
		}
	}
}

sub check_format {
	my ($version) = (qx(clang-format --version 2>/dev/null) // '') =~ /version (\d+)/;
	if (!defined $version || $version != $CLANG_FORMAT_MAJOR) {
		print "lint: clang-format $CLANG_FORMAT_MAJOR is not here: format not checked\n";
		return;
	}
	for my $file (glob('core/*/*.[ch] applets/*.[ch] applets/*/*.[ch] tests/*/*.[ch] deps/shim/*.[ch]')) {
		complain("$file: not formatted: run 'make fmt'") if system("clang-format --dry-run -Werror $file 2>/dev/null");
	}
}

check_rings();
check_symbols();
check_format();
print $bad ? "lint: $bad complaints\n" : "lint: clean\n";
exit($bad ? 1 : 0);
