/*
 * pend.c - hash map of waiting in-place index rewrites.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/zdb/pend.h"

#define PEND_MIN 64u

static uint32_t pend_slot(const struct pend *p, uint32_t file, uint32_t off)
{
	uint64_t h = ((uint64_t)file << 32 | off) * 0x9E3779B97F4A7C15u; /* Fibonacci hashing */

	return (uint32_t)(h >> 32) & (p->size - 1);
}

void pend_release(struct pend *p)
{
	mem_free(p->slots);
	memset(p, 0, sizeof(*p));
}

static struct pend_item *pend_probe(const struct pend *p, uint32_t file, uint32_t off)
{
	uint32_t i = pend_slot(p, file, off);

	while (p->slots[i].off != 0 && (p->slots[i].file != file || p->slots[i].off != off))
		i = (i + 1) & (p->size - 1);
	return &p->slots[i];
}

struct pend_item *pend_find(const struct pend *p, uint32_t file, uint32_t off)
{
	struct pend_item *it;

	if (p->used == 0)
		return NULL;
	it = pend_probe(p, file, off);
	return it->off != 0 ? it : NULL;
}

int pend_reserve(struct pend *p, uint32_t more)
{
	struct pend n = {.size = p->size == 0 ? PEND_MIN : p->size};

	while (p->used + more > n.size / 4 * 3)
		n.size *= 2;
	if (n.size == p->size)
		return 0;
	n.slots = mem_calloc(n.size, sizeof(*n.slots));
	if (n.slots == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < p->size; i++) {
		if (p->slots[i].off != 0) {
			*pend_probe(&n, p->slots[i].file, p->slots[i].off) = p->slots[i];
			n.used++;
		}
	}
	mem_free(p->slots);
	*p = n;
	return 0;
}

void pend_put(struct pend *p, const struct pend_item *item)
{
	struct pend_item *it = pend_probe(p, item->file, item->off);

	assert(item->off != 0 && p->used < p->size);
	if (it->off == 0) {
		*it = *item;
		p->used++;
	} else if (item->whole) {
		it->whole = true;
		it->rec = item->rec;
	} else {
		it->rec.flags |= FLAG_DELETED;
	}
}

int pend_add_all(struct pend *p, struct pend *newer)
{
	int rc = pend_reserve(p, newer->used);

	if (rc != 0)
		return rc;
	for (uint32_t i = 0; i < newer->size; i++)
		if (newer->slots[i].off != 0)
			pend_put(p, &newer->slots[i]);
	pend_release(newer);
	return 0;
}

static bool pend_before(const struct pend_item *x, const struct pend_item *y)
{
	return x->file != y->file ? x->file < y->file : x->off < y->off;
}

/* Merges the sorted runs [0, half) and [half, count) of `from` into `to`. */
static void pend_merge(const struct pend_item **from, uint32_t half, uint32_t count,
		       const struct pend_item **to)
{
	uint32_t a = 0, b = half;

	for (uint32_t n = 0; n < count; n++)
		to[n] = b == count || (a < half && !pend_before(from[b], from[a])) ? from[a++] : from[b++];
}

/* Bottom-up merge sort with a second array; the result is in the one returned. */
static const struct pend_item **pend_sort(const struct pend_item **list, const struct pend_item **spare,
					  uint32_t n)
{
	for (uint64_t run = 1; run < n; run *= 2) {
		const struct pend_item **sorted = spare;

		for (uint64_t at = 0; at < n; at += 2 * run) {
			uint32_t count = n - at < 2 * run ? (uint32_t)(n - at) : (uint32_t)(2 * run);

			pend_merge(list + at, run < count ? (uint32_t)run : count, count, spare + at);
		}
		spare = list;
		list = sorted;
	}
	return list;
}

const struct pend_item **pend_sorted(const struct pend *p)
{
	const struct pend_item **list = mem_alloc(2 * (p->used + 1) * sizeof(const struct pend_item *));
	const struct pend_item **sorted;
	uint32_t n = 0;

	if (list == NULL)
		return NULL;
	for (uint32_t i = 0; i < p->size; i++)
		if (p->slots[i].off != 0)
			list[n++] = &p->slots[i];
	assert(n == p->used);
	sorted = pend_sort(list, list + n + 1, n);
	if (sorted != list)
		memcpy(list, sorted, n * sizeof(const struct pend_item *));
	return list;
}
