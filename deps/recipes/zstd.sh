# Compression, the variant with threads. Stripes are packed at levels 1 to 3: the strategies of higher levels are left out (zstd
# then takes the next lower one), which halves the library. Everything that zstd ever wrote can still be read.
left_out="-DZSTD_EXCLUDE_GREEDY_BLOCK_COMPRESSOR -DZSTD_EXCLUDE_LAZY_BLOCK_COMPRESSOR -DZSTD_EXCLUDE_LAZY2_BLOCK_COMPRESSOR
	-DZSTD_EXCLUDE_BTLAZY2_BLOCK_COMPRESSOR -DZSTD_EXCLUDE_BTOPT_BLOCK_COMPRESSOR -DZSTD_EXCLUDE_BTULTRA_BLOCK_COMPRESSOR"
make -C lib libzstd.a-mt CC="$CC" AR="$AR" CFLAGS="$OPT $(echo $left_out)" ZSTD_LEGACY_SUPPORT=0 ZSTD_LIB_DEPRECATED=0 \
	ZSTD_LIB_DICTBUILDER=0
cp lib/libzstd.a "$SYS/lib/"
cp lib/zstd.h lib/zstd_errors.h "$SYS/include/"
