# JSON.
compile "-Isrc" src/yyjson.c
archive libyyjson.a
cp src/yyjson.h "$SYS/include/"
