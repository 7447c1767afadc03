/*
 * mbed TLS as we use it: AES in GCM mode, streaming, with the CPU's AES instructions where they exist. Tables are constant, so
 * that nothing is initialised lazily by several threads at once.
 */
#define MBEDTLS_HAVE_ASM
#define MBEDTLS_AES_C
#define MBEDTLS_AES_ROM_TABLES
#define MBEDTLS_GCM_C
#define MBEDTLS_BLOCK_CIPHER_NO_DECRYPT
#if defined(__x86_64__)
#define MBEDTLS_AESNI_C
#elif defined(__aarch64__)
#define MBEDTLS_AESCE_C
#endif
