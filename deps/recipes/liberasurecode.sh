# Erasure code frames. It finds its backends with dlopen, which a static program does not have: the shim directory, first in
# the include path, turns those calls into a look-up in a constant table, and its zlib crc32 into ISA-L's equal function.
cp -r "$HERE/shim" .
: >shim/config_liberasurecode.h
defines="-DHAVE_STDLIB_H -DHAVE_STDIO_H -DHAVE_STRING_H -DHAVE_STRINGS_H -DHAVE_STDINT_H -DHAVE_INTTYPES_H -DHAVE_UNISTD_H
	-DHAVE_SYS_TYPES_H -DHAVE_SYSLOG_H -DHAVE_DLFCN_H -DHAVE_PTHREAD_H -DHAVE_ERRNO_H -DHAVE_STDDEF_H -DHAVE_STDARG_H
	-DHAVE_CTYPE_H -DSTDC_HEADERS -DLIBERASURECODE_SO_SUFFIX=\"\""
includes="-Ishim -Iinclude -Iinclude/erasurecode -Iinclude/xor_codes -Iinclude/rs_vand -Iinclude/isa_l -I$SYS/include/isa-l"
compile "$defines $includes -w" src/erasurecode.c src/erasurecode_helpers.c \
	src/erasurecode_preprocessing.c src/erasurecode_postprocessing.c src/utils/chksum/crc32.c src/utils/chksum/alg_sig.c \
	src/backends/*/*.c src/builtin/*/*.c shim/ec_static.c
archive liberasurecode.a
mkdir -p "$SYS/include/liberasurecode"
cp include/erasurecode/*.h "$SYS/include/liberasurecode/"
: >"$SYS/include/liberasurecode/config_liberasurecode.h"
