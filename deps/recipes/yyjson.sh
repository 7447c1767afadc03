# JSON: small documents only, so it is built for size, without its pointer and patch functions.
compile "-Isrc -Os -DYYJSON_DISABLE_UTILS=1" src/yyjson.c
archive libyyjson.a
cp src/yyjson.h "$SYS/include/"
