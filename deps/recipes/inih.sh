# INI reader. Without these its lines end at 200 bytes.
compile "-DINI_ALLOW_REALLOC=1 -DINI_USE_STACK=0 -DINI_MAX_LINE=65536 -DINI_INITIAL_ALLOC=256" ini.c
archive libinih.a
cp ini.h "$SYS/include/"
