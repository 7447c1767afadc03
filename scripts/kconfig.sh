#!/bin/sh
# kconfig.sh: the configuration system's commands, on kconfig-frontends or, if that is missing, on python3-kconfiglib.
#
#	rooms FILE...    prints the file that sources every room's fragment
#	generate DIR     DIR/auto.conf (make) and DIR/autoconf.h (C) from .config; without .config, from the defaults
#	menuconfig | defconfig | savedefconfig | use FILE
set -eu

TOP=Config.in

die()
{
	echo "configure: $*" >&2
	exit 1
}

have_frontends()
{
	command -v kconfig-conf >/dev/null 2>&1
}

have_kconfiglib()
{
	/usr/bin/python3 -c 'import kconfiglib' >/dev/null 2>&1
}

need_tool()
{
	have_frontends || have_kconfiglib || sh scripts/host-tools.sh build
}

# complete FILE: adds the defaults of what FILE does not say
complete()
{
	need_tool
	if have_frontends; then
		KCONFIG_CONFIG=$1 kconfig-conf --olddefconfig $TOP >"$1.log" 2>&1 || { cat "$1.log" >&2; die "cannot read $TOP with $1"; }
	else
		KCONFIG_CONFIG=$1 /usr/bin/python3 -m olddefconfig $TOP >"$1.log" 2>&1 || { cat "$1.log" >&2; die "cannot read $TOP with $1"; }
	fi
	rm -f "$1.log" "$1.old"
}

rooms()
{
	for file in "$@"; do
		[ "$file" = $TOP ] || echo "source \"$file\""
	done
	# so that a changed, new or vanished .config counts as a change
	echo "# $(sha256sum .config 2>/dev/null || echo defaults)"
}

# Every bool gets CONFIG_X (defined or not) and ENABLE_X (always 0 or 1, for plain `if`).
generate()
{
	dir=$1
	mkdir -p "$dir"
	rm -f "$dir/config"
	[ ! -f .config ] || cp .config "$dir/config"
	complete "$dir/config"
	bools=$(cat $TOP core/*/Config.in applets/*/Config.in 2>/dev/null |
		awk '$1 == "config" || $1 == "menuconfig" { name = $2 } $1 == "bool" || $1 == "def_bool" { print name }' | sort -u)
	{
		echo '/* generated from the configuration */'
		sed -n -e 's/^\(CONFIG_[A-Za-z0-9_]*\)=y$/#define \1 1/p' -e 's/^\(CONFIG_[A-Za-z0-9_]*\)=\([^y].*\)$/#define \1 \2/p' "$dir/config"
		for name in $bools; do
			if grep -q "^CONFIG_$name=y$" "$dir/config"; then value=1; else value=0; fi
			echo "#define ENABLE_$name $value"
		done
	} >"$dir/autoconf.h.new"
	cmp -s "$dir/autoconf.h.new" "$dir/autoconf.h" 2>/dev/null && rm "$dir/autoconf.h.new" || mv "$dir/autoconf.h.new" "$dir/autoconf.h"
	grep '^CONFIG_' "$dir/config" >"$dir/auto.conf" || : >"$dir/auto.conf"
}

menuconfig()
{
	need_tool
	if command -v kconfig-mconf >/dev/null 2>&1; then
		kconfig-mconf $TOP
	else
		/usr/bin/python3 -m menuconfig $TOP
	fi
}

savedefconfig()
{
	need_tool
	if have_frontends; then
		kconfig-conf --savedefconfig=defconfig $TOP
	else
		/usr/bin/python3 -m savedefconfig --kconfig $TOP --out defconfig
	fi
	echo "written: defconfig (move it into configs/)"
}

case $1 in
rooms) shift; rooms "$@" ;;
generate) generate "$2" ;;
menuconfig) menuconfig ;;
defconfig) rm -f .config; complete .config; echo "written: .config (all defaults)" ;;
savedefconfig) savedefconfig ;;
use)
	[ -f "$2" ] || die "cannot use $2: no such configuration; there are: $(ls configs | tr '\n' ' ')"
	cp "$2" .config
	complete .config
	echo "written: .config (from $2)"
	;;
*) die "unknown command '$1'" ;;
esac
