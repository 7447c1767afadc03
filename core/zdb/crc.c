/*
 * crc.c - CRC-32C (Castagnoli, reflected polynomial 0x82F63B78), initial value 0, no final inversion.
 *
 * Short inputs (keys, headers) are done here with the CPU's instruction where there is one, long ones by ISA-L, which
 * chooses its kernel at run time.  Both continue from a running value.  The table form is what every CPU can do.
 */
#include <stdatomic.h>
#include <string.h>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif
#include <isa-l/crc.h>

#include "core/zdb/zdb.h"

#define CRC_LONG 512u /* from here ISA-L's call overhead is nothing */

static uint32_t crc_table(uint32_t crc, const uint8_t *p, size_t n)
{
	/* Four bits at a time: 16 entries, made from the polynomial by the compiler's own arithmetic. */
#define STEP1(x) (((x) >> 1) ^ (((x)&1) ? 0x82F63B78u : 0))
#define NIB(x)   STEP1(STEP1(STEP1(STEP1((uint32_t)(x)))))
	static const uint32_t nibble[16] = {NIB(0),  NIB(1),  NIB(2),  NIB(3), NIB(4),  NIB(5),
					    NIB(6),  NIB(7),  NIB(8),  NIB(9), NIB(10), NIB(11),
					    NIB(12), NIB(13), NIB(14), NIB(15)};
	while (n-- > 0) {
		crc ^= *p++;
		crc = (crc >> 4) ^ nibble[crc & 15];
		crc = (crc >> 4) ^ nibble[crc & 15];
	}
	return crc;
#undef NIB
#undef STEP1
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t crc_sse42(uint32_t crc, const uint8_t *p, size_t n)
{
	uint64_t c = crc;

	for (; n >= 8; p += 8, n -= 8) {
		uint64_t word;

		memcpy(&word, p, 8);
		c = _mm_crc32_u64(c, word);
	}
	crc = (uint32_t)c;
	while (n-- > 0)
		crc = _mm_crc32_u8(crc, *p++);
	return crc;
}

static bool have_sse42(void)
{
	static _Atomic int known; /* 0 not asked, 1 no, 2 yes; the same answer in every thread */
	int k = atomic_load_explicit(&known, memory_order_relaxed);

	if (k == 0) {
		k = __builtin_cpu_supports("sse4.2") ? 2 : 1;
		atomic_store_explicit(&known, k, memory_order_relaxed);
	}
	return k == 2;
}
#endif

uint32_t zdb_crc(uint32_t crc, const void *bytes, size_t size)
{
	const uint8_t *p = bytes;

	while (size >= CRC_LONG) {
		int step = size > (1 << 30) ? (1 << 30) : (int)size;

		/* ISA-L's prototype lacks const; it only reads. */
		crc = crc32_iscsi((unsigned char *)(uintptr_t)p, step, crc);
		p += step;
		size -= (size_t)step;
	}
#if defined(__x86_64__)
	if (have_sse42())
		return crc_sse42(crc, p, size);
#endif
	return crc_table(crc, p, size);
}
