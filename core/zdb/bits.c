/*
 * bits.c - sets of file numbers.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/zdb/bits.h"

void bits_release(struct bits *b)
{
	mem_free(b->words);
	memset(b, 0, sizeof(*b));
}

int bits_reserve(struct bits *b, uint32_t n)
{
	size_t need = (size_t)n / 64 + 1, count;
	uint64_t *words;

	if (need <= b->count)
		return 0;
	count = need + need / 2;
	words = mem_realloc(b->words, count * sizeof(*words));
	if (words == NULL)
		return -ENOMEM;
	memset(words + b->count, 0, (count - b->count) * sizeof(*words));
	b->words = words;
	b->count = count;
	return 0;
}

void bits_set(struct bits *b, uint32_t n)
{
	uint64_t mask = (uint64_t)1 << (n % 64);

	assert(n / 64 < b->count);
	if ((b->words[n / 64] & mask) == 0)
		b->set++;
	b->words[n / 64] |= mask;
}

void bits_clear(struct bits *b, uint32_t n)
{
	if (!bits_has(b, n))
		return;
	b->words[n / 64] &= ~((uint64_t)1 << (n % 64));
	b->set--;
}

bool bits_has(const struct bits *b, uint32_t n)
{
	return n / 64 < b->count && (b->words[n / 64] >> (n % 64) & 1) != 0;
}

void bits_clear_all(struct bits *b)
{
	if (b->set != 0)
		memset(b->words, 0, b->count * sizeof(*b->words));
	b->set = 0;
}

int64_t bits_next(const struct bits *b, uint64_t from)
{
	if (b->set == 0)
		return -1;
	for (uint64_t w = from / 64; w < b->count; w++) {
		uint64_t word = b->words[w];

		if (w == from / 64)
			word &= ~(uint64_t)0 << (from % 64);
		if (word != 0)
			return (int64_t)(w * 64 + (uint64_t)__builtin_ctzll(word));
	}
	return -1;
}
