/*
 * Checksums on ISA-L: crc32_gzip_refl is zlib's crc32; crc32_iscsi does no inversions of its own.
 *
 * Short runs are summed with the processor's own instruction: the library's wide registers take longer to begin and to leave again
 * than such a run takes.
 */
#include <isa-l/crc.h>
#include <limits.h>
#include <stdbool.h>

#include "core/base/endian.h"
#include "core/coding/crc.h"

#define SHORT_RUN 256u

#ifdef __x86_64__
#include <nmmintrin.h>

static bool has_instruction(void)
{
	return __builtin_cpu_supports("sse4.2");
}

__attribute__((target("sse4.2"))) static uint32_t short_run(uint32_t state, const uint8_t *at, size_t len)
{
	uint64_t wide = state;

	for (; len >= 8; len -= 8, at += 8)
		wide = _mm_crc32_u64(wide, get_u64le(at));
	state = (uint32_t)wide;
	for (; len > 0; len--)
		state = _mm_crc32_u8(state, *at++);
	return state;
}
#else
static bool has_instruction(void)
{
	return false;
}

static uint32_t short_run(uint32_t state, const uint8_t *at, size_t len)
{
	(void)at;
	(void)len;
	return state;
}
#endif

uint32_t crc_ieee(uint32_t crc, const void *data, size_t len)
{
	return len > 0 ? crc32_gzip_refl(crc, data, len) : crc;
}

uint32_t crc_castagnoli_raw(uint32_t state, const void *data, size_t len)
{
	const unsigned char *at = data;

	if (len <= SHORT_RUN && has_instruction())
		return short_run(state, at, len);
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
