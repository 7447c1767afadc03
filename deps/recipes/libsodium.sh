# Cryptography. The source archive holds no configure script and the answers are known, so its files are compiled directly:
# every file takes itself out where it does not apply.
cd src/libsodium
sed -e "s/@VERSION@/$(lock_field libsodium version)/" -e 's/@SODIUM_LIBRARY_VERSION_MAJOR@/10/' -e 's/@SODIUM_LIBRARY_VERSION_MINOR@/3/' \
	-e '/@SODIUM_LIBRARY_MINIMAL_DEF@/d' include/sodium/version.h.in >include/sodium/version.h

flags="-w -DCONFIGURED=1 -DNATIVE_LITTLE_ENDIAN=1 -DSODIUM_STATIC=1 -DASM_HIDE_SYMBOL=.hidden -DTLS=_Thread_local
	-DHAVE_WEAK_SYMBOLS=1 -DHAVE_INLINE_ASM=1 -DHAVE_ATOMIC_OPS=1 -DHAVE_TI_MODE=1 -DHAVE_C_VARARRAYS=1 -DHAVE_PTHREAD=1
	-DHAVE_SYS_MMAN_H=1 -DHAVE_MMAP=1 -DHAVE_MPROTECT=1 -DHAVE_MLOCK=1 -DHAVE_MADVISE=1 -DHAVE_POSIX_MEMALIGN=1
	-DHAVE_GETPID=1 -DHAVE_NANOSLEEP=1 -DHAVE_EXPLICIT_BZERO=1 -DHAVE_SYS_RANDOM_H=1 -DHAVE_GETRANDOM=1
	-DHAVE_LINUX_COMPATIBLE_GETRANDOM=1 -D_GNU_SOURCE=1 -Iinclude -Iinclude/sodium"
x86="-DCPU_UNALIGNED_ACCESS=1 -DHAVE_CPUID=1 -DHAVE_RDRAND=1 -DHAVE_MMINTRIN_H=1 -DHAVE_EMMINTRIN_H=1
	-DHAVE_PMMINTRIN_H=1 -DHAVE_TMMINTRIN_H=1 -DHAVE_SMMINTRIN_H=1 -DHAVE_AVXINTRIN_H=1 -DHAVE_AVX2INTRIN_H=1
	-DHAVE_AVX512FINTRIN_H=1 -DHAVE_WMMINTRIN_H=1"
# Assembly only in what is shipped: sanitizers cannot see into it.
asm="-DHAVE_AMD64_ASM=1 -DHAVE_AVX_ASM=1"

all=$(find . -name '*.c' | sed 's,^\./,,' | LC_ALL=C sort)
if [ "$ARCH" = x86_64 ]; then
	flags="$flags $x86"
	pick()
	{
		echo "$all" | grep -E "$1"
	}
	aes=-mssse3\ -maes\ -mpclmul
	compile "$flags $aes" $(pick aesni)
	compile "$flags -mrdrnd" $(pick randombytes_internal_random)
	compile "$flags -mssse3" $(pick 'ssse3\.c')
	compile "$flags -mssse3 -msse4.1" $(pick 'sse41\.c')
	compile "$flags -mavx2" $(pick 'avx2\.c')
	compile "$flags -mavx512f" $(pick 'avx512f\.c')
	[ "$KIND" = asan ] || flags="$flags $asm"
	compile "$flags" $(echo "$all" | grep -vE 'aesni|randombytes_internal_random|(ssse3|sse41|avx2|avx512f)\.c')
	[ "$KIND" = asan ] || compile "$flags" $(find . -name '*.S' | sed 's,^\./,,' | LC_ALL=C sort)
else
	compile "$flags" $all
fi
archive libsodium.a
mkdir -p "$SYS/include/sodium"
cp include/sodium.h "$SYS/include/"
cp include/sodium/*.h "$SYS/include/sodium/"
