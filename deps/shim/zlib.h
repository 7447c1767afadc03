/* liberasurecode wants nothing of zlib but crc32(); ISA-L's crc32_gzip_refl() is the same function. */
#ifndef EC_STATIC_ZLIB_H
#define EC_STATIC_ZLIB_H

#include <stdint.h>

uint32_t crc32_gzip_refl(uint32_t seed, const unsigned char *buf, uint64_t len);
#define crc32(seed, buf, len) crc32_gzip_refl((seed), (const unsigned char *)(buf), (uint64_t)(len))

#endif
