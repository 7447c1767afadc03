#!/bin/sh
# host-tools.sh GROUP...: makes sure that the programs of the groups `build`, `asan` and `test` exist. As root on a Debian
# system the missing packages are installed; otherwise the command that would do it is named.
set -eu

# program:package
build="gcc:gcc make:make meson:meson ninja:ninja-build nasm:nasm xz:xz-utils bzip2:bzip2 patch:patch pkg-config:pkg-config
	readelf:binutils perl:perl-base"
asan="$build clang:clang"
test="bash:bash redis-cli:redis-tools curl:curl jq:jq setfattr:attr ip:iproute2 findmnt:util-linux unshare:util-linux setpriv:util-linux mount:mount mkfs.ext4:e2fsprogs
	pgrep:procps strace:strace valgrind:valgrind cpio:cpio qemu-system-x86_64:qemu-system-x86"

missing=
need()
{
	case " $missing " in *" $1 "*) ;; *) missing="$missing $1" ;; esac
}

look()
{
	missing=
	for group in "$@"; do
		case $group in
		build) list=$build ;;
		asan) list=$asan ;;
		test) list=$test ;;
		*) echo "host-tools: unknown group $group" >&2; exit 2 ;;
		esac
		for pair in $list; do
			command -v "${pair%%:*}" >/dev/null 2>&1 || need "${pair#*:}"
		done
		case $group in
		build)
			[ -e /usr/include/stdlib.h ] || need libc6-dev
			[ -e /usr/include/linux/fuse.h ] || need linux-libc-dev
			command -v kconfig-conf >/dev/null 2>&1 || /usr/bin/python3 -c 'import kconfiglib' >/dev/null 2>&1 ||
				need kconfig-frontends-nox
			;;
		esac
	done
}

install()
{
	echo "host-tools: installing$missing"
	log=$(mktemp)
	{ apt-get install -y --no-install-recommends $missing || { apt-get update && apt-get install -y --no-install-recommends $missing; }; } \
		</dev/null >"$log" 2>&1 || { tail -n 15 "$log" >&2; rm -f "$log"; echo "host-tools: cannot install$missing" >&2; exit 1; }
	rm -f "$log"
}

look "$@"
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
	export DEBIAN_FRONTEND=noninteractive
	install
	# What to look for may only be known now (the compiler's version names a package).
	look "$@"
	[ -z "$missing" ] || install
else
	echo "host-tools: missing; run: sudo apt-get update && sudo apt-get install -y --no-install-recommends$missing" >&2
	exit 1
fi
