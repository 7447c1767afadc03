# The compilers of the two kinds of build.
# shellcheck shell=sh

# set_toolchain PREFIX: CC AR RANLIB STRIP OPT for recipes
set_toolchain()
{
	case $KIND in
	musl)
		AR=${CROSS_COMPILE:-}gcc-ar RANLIB=${CROSS_COMPILE:-}gcc-ranlib STRIP=${CROSS_COMPILE:-}strip
		CC=$1/bin/qcc
		OPT="-O2 -pipe -fPIE -ffunction-sections -fdata-sections -fstack-protector-strong -fstack-clash-protection -fno-plt"
		[ "$ARCH" != x86_64 ] || OPT="$OPT -fcf-protection"
		;;
	asan)
		AR=ar RANLIB=ranlib STRIP=strip
		CC=${ASAN_CC:-clang}
		OPT="-O1 -g -pipe -fPIE -fno-omit-frame-pointer -fsanitize=address"
		export ASAN_OPTIONS=detect_leaks=0
		;;
	esac
	export CC AR RANLIB STRIP
}

# write_toolchain PREFIX: the wrapper compiler qcc of the musl build. A specs file replaces the host's headers, start files and
# C library by ours; static-pie without an interpreter is what plain wrappers get wrong.
write_toolchain()
{
	[ "$KIND" = musl ] || return 0
	cat >"$1/lib/qsfs.specs" <<SPECS
%rename cpp_options old_cpp_options

*cpp_options:
-nostdinc -isystem $1/include -isystem include%s %(old_cpp_options)

*cc1:
%(cc1_cpu) -nostdinc -isystem $1/include -isystem include%s

*link_libgcc:
-L$1/lib -L .%s

*libgcc:
-lgcc %:if-exists(libgcc_eh.a%s)

*lib:
-lc

*startfile:
%{static-pie:$1/lib/rcrt1.o;:$1/lib/crt1.o} $1/lib/crti.o crtbeginS.o%s

*endfile:
crtendS.o%s $1/lib/crtn.o

*link:
-nostdlib --eh-frame-hdr --hash-style=gnu --build-id %{static-pie:-static -pie --no-dynamic-linker -z text;:-static}

SPECS
	printf '#!/bin/sh\nexec %sgcc "$@" -ffile-prefix-map=%s=sysroot -specs %s/lib/qsfs.specs\n' "${CROSS_COMPILE:-}" "$1" "$1" >"$1/bin/qcc"
	chmod +x "$1/bin/qcc"
}
