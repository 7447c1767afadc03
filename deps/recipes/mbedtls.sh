# AES-GCM that streams and runs on any CPU (AES-NI, ARMv8 CE, or tables): a handful of files and our own configuration.
cp "$HERE/shim/mbedtls_config.h" include/mbedtls/mbedtls_config.h
compile "-Iinclude -Ilibrary" library/aes.c library/aesni.c library/aesce.c library/block_cipher.c \
	library/constant_time.c library/gcm.c library/platform_util.c
archive libmbedcrypto.a
mkdir -p "$SYS/include/mbedtls"
cp include/mbedtls/aes.h include/mbedtls/block_cipher.h include/mbedtls/build_info.h include/mbedtls/cipher.h \
	include/mbedtls/check_config.h include/mbedtls/compat-*.h include/mbedtls/config_adjust_*.h \
	include/mbedtls/constant_time.h include/mbedtls/error.h include/mbedtls/gcm.h include/mbedtls/mbedtls_config.h \
	include/mbedtls/platform_util.h include/mbedtls/private_access.h "$SYS/include/mbedtls/"
