# Compression, the variant with threads.
make -C lib libzstd.a-mt CC="$CC" AR="$AR" CFLAGS="$OPT" ZSTD_LEGACY_SUPPORT=0 ZSTD_LIB_DEPRECATED=0
cp lib/libzstd.a "$SYS/lib/"
cp lib/zstd.h lib/zstd_errors.h lib/zdict.h "$SYS/include/"
