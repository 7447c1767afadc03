#!/usr/bin/perl
# size.pl MAP BINARY: what each room and each library costs, from the linker's map. "file" is what lies in the binary (code,
# constants, initialised data), "bss" only takes memory.
use strict;
use warnings;

my ($map, $binary) = @ARGV;
open(my $fh, '<', $map) or die "size: cannot open $map: $!: run make first\n";

my (%file, %bss, $in_map, $section);

sub owner_of {
	my ($path) = @_;
	return "core/$1"    if $path =~ m{/obj/core/([^/]+)/};
	return "applets/$1" if $path =~ m{/obj/applets/([^/]+)/};
	return 'multicall'  if $path =~ m{/obj/};
	return $1           if $path =~ m{/(lib[A-Za-z0-9_+-]+)\.a};
	return 'compiler';
}

sub kept {
	my ($name) = @_;
	return $name =~ /^\.(?:text|rodata|data|tdata|bss|tbss|eh_frame|init|fini|init_array|fini_array|data\.rel\.ro|gcc_except_table|got|ctors|dtors)\b/
		|| $name eq 'COMMON';
}

while (my $line = <$fh>) {
	$in_map = 1 if $line =~ /^Linker script and memory map/;
	next unless $in_map;
	# A long section name stands alone on its line.
	if ($line =~ /^ (\S+)$/) { $section = $1; next }
	my ($name, $size, $path);
	if ($line =~ /^ (\S+)\s+0x[0-9a-f]+\s+0x([0-9a-f]+)\s+(\S.*)$/) { ($name, $size, $path) = ($1, hex $2, $3) }
	elsif (defined $section && $line =~ /^\s+0x[0-9a-f]+\s+0x([0-9a-f]+)\s+(\S.*)$/) { ($name, $size, $path) = ($section, hex $1, $2) }
	undef $section;
	next unless defined $name && $size && kept($name) && $path =~ /\.o\)?$|\.a\(/;
	my $table = $name =~ /^\.t?bss|^COMMON/ ? \%bss : \%file;
	$table->{owner_of($path)} += $size;
}

my %all = (%file, %bss);
my ($sum_file, $sum_bss) = (0, 0);
printf "%-24s %10s %10s\n", 'part', 'file', 'bss';
for my $group (qr{^applets/}, qr{^(?:core/|multicall)}, qr{^(?!applets/|core/|multicall)}) {
	for my $owner (sort { ($file{$b} // 0) <=> ($file{$a} // 0) || $a cmp $b } grep { $_ =~ $group } keys %all) {
		printf "%-24s %10d %10d\n", $owner, $file{$owner} // 0, $bss{$owner} // 0;
		$sum_file += $file{$owner} // 0;
		$sum_bss  += $bss{$owner}  // 0;
	}
}
printf "%-24s %10d %10d\n", 'sum', $sum_file, $sum_bss;
printf "%-24s %10d\n", "$binary (stripped)", -s $binary;
