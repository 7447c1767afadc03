#!/bin/sh
# build.sh ARCH KIND LINK: builds every third-party library into one private prefix and points the symbolic link LINK at it.
#
# KIND is `musl` (what is shipped: static, our own musl, wrapper compiler qcc) or `asan` (the same sources built a second time by
# clang for the host's C library with AddressSanitizer, for tests).
# The prefix is kept in $DEPS_CACHE under a hash of everything that goes into it: lock file, scripts, compiler version. It is
# renamed into place when it is complete, so that an interrupted build is never taken for a finished one.
# WITH_MSGPACK=1 adds the library that only an optional feature needs.
. "$(dirname "$0")/common.sh"

ARCH=$1 KIND=$2 LINK=$3
HERE=$DEPS_TOP/deps

compiler_version()
{
	case $KIND in
	musl) "${CROSS_COMPILE:-}gcc" -dumpfullversion ;;
	asan) "${ASAN_CC:-clang}" --version | head -n 1 ;;
	esac
}

cc_version=$(compiler_version) || die "cannot run the $KIND compiler: run 'make deps'"
key=$(
	{
		echo "$ARCH $KIND $cc_version ${WITH_MSGPACK:-0}"
		cd "$HERE"
		cat sources.lock build.mk build.sh common.sh step.sh toolchain.sh recipes/* shim/*
	} | sha256sum | cut -c 1-16
)
SYS=$DEPS_CACHE/sys-$KIND-$ARCH-$key

finish()
{
	# The wrapper and its specs hold absolute paths: write them anew when the cache was moved.
	[ "$(cat "$SYS/.where" 2>/dev/null)" = "$SYS" ] || {
		. "$HERE/toolchain.sh"
		write_toolchain "$SYS"
		echo "$SYS" >"$SYS/.where"
	}
	mkdir -p "$(dirname "$LINK")"
	[ "$(readlink "$LINK" 2>/dev/null)" = "$SYS" ] || ln -sfn "$SYS" "$LINK"
}

[ -f "$SYS/.complete" ] && { finish; exit 0; }

# One builder at a time per cache; whoever waited finds the result.
exec 8>"$DEPS_CACHE/lock-$KIND-$ARCH"
flock 8
[ -f "$SYS/.complete" ] && { finish; exit 0; }

WORK=$DEPS_CACHE/work-$KIND-$ARCH-$key
rm -rf "$WORK" "$SYS" "$SYS.part"
mkdir -p "$WORK/log" "$SYS.part/lib" "$SYS.part/include" "$SYS.part/bin"
echo "deps: building third-party libraries ($KIND, $ARCH)"
start=$(date +%s)
export ARCH KIND WORK DEPS_CACHE HERE
export SYS="$SYS.part"
# Of the calling make only its job slots may reach the libraries' makefiles, none of its flags and variables.
slots=$(echo "${MAKEFLAGS:-}" | grep -o -e ' -j[0-9]* *--jobserver-auth=[^ ]*' || echo " -j$(nproc)")
unset MFLAGS MAKEOVERRIDES MAKELEVEL
MAKEFLAGS=$slots make --no-print-directory -f "$HERE/build.mk" 8>&- || die "build failed; logs are in $WORK/log"
final=${SYS%.part}
touch "$SYS/.complete"
mv "$SYS" "$final"
SYS=$final
finish
rm -rf "$WORK"
echo "deps: ready after $(($(date +%s) - start)) s"
