# Unit tests only: never linked into the program.
: >config.h
compile '-I. -Iinclude -DHAVE_CONFIG_H -DHAVE_CLOCK_GETTIME_REALTIME -DHAVE_STRUCT_TIMESPEC -DHAVE_STRINGS_H
	-DHAVE_STDINT_H -DHAVE_INTTYPES_H -DHAVE_SNPRINTF -DHAVE_VSNPRINTF -DHAVE_SIGNAL_H -DHAVE_SETJMP_H -DHAVE_UNISTD_H
	-DHAVE_MALLOC_H -DHAVE_TIME_H -DHAVE_IO_H_MISSING -w' src/cmocka.c
archive libcmocka.a
cp include/cmocka.h include/cmocka_pbc.h "$SYS/include/"
