/* Checksums on ISA-L: crc32_gzip_refl is zlib's crc32; crc32_iscsi does no inversions of its own. */
#include <isa-l/crc.h>
#include <limits.h>

#include "core/coding/crc.h"

uint32_t crc_ieee(uint32_t crc, const void *data, size_t len)
{
	return len > 0 ? crc32_gzip_refl(crc, data, len) : crc;
}

uint32_t crc_castagnoli_raw(uint32_t state, const void *data, size_t len)
{
	const unsigned char *at = data;

	while (len > 0) { /* crc32_iscsi takes an int */
		int part = len > INT_MAX / 2 ? INT_MAX / 2 : (int)len;

		/* its argument lacks const, it does not write */
		state = crc32_iscsi((unsigned char *)(uintptr_t)at, part, state);
		at += part;
		len -= (size_t)part;
	}
	return state;
}

uint32_t crc_castagnoli(uint32_t crc, const void *data, size_t len)
{
	return ~crc_castagnoli_raw(~crc, data, len);
}
