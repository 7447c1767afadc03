# Hash, used as a header (XXH_INLINE_ALL).
cp xxhash.h "$SYS/include/"
