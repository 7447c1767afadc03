/*
 * mem_copy: see the header. Eight words at a time, so that the compiler may use what wide registers the machine has.
 */
#include "core/base/mem_copy.h"

#define STEP 64u

static uint64_t differs(const uint8_t *a, const uint8_t *b)
{
	uint64_t x[STEP / 8], y[STEP / 8], sum = 0;

	memcpy(x, a, STEP);
	memcpy(y, b, STEP);
	for (size_t i = 0; i < STEP / 8; i++)
		sum |= x[i] ^ y[i];
	return sum;
}

bool mem_equal(const void *a, const void *b, size_t n)
{
	const uint8_t *x = a, *y = b;

	for (; n >= STEP; n -= STEP, x += STEP, y += STEP)
		if (differs(x, y) != 0)
			return false;
	return memcmp(x, y, n) == 0;
}
