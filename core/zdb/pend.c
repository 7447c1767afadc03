/*
 * pend.c - hash map of waiting in-place index rewrites.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
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

int pend_reserve(struct pend *p)
{
	struct pend n = {0};

	if (p->used + 1 <= p->size / 4 * 3 && p->size != 0)
		return 0;
	n.size = p->size == 0 ? PEND_MIN : p->size * 2;
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

static int pend_order(const void *a, const void *b)
{
	const struct pend_item *x = *(const struct pend_item *const *)a,
			       *y = *(const struct pend_item *const *)b;

	if (x->file != y->file)
		return x->file < y->file ? -1 : 1;
	return x->off < y->off ? -1 : x->off > y->off;
}

const struct pend_item **pend_sorted(const struct pend *p)
{
	const struct pend_item **list = mem_alloc((p->used + 1) * sizeof(const struct pend_item *));
	uint32_t n = 0;

	if (list == NULL)
		return NULL;
	for (uint32_t i = 0; i < p->size; i++)
		if (p->slots[i].off != 0)
			list[n++] = &p->slots[i];
	assert(n == p->used);
	if (n > 1)
		qsort(list, n, sizeof(*list), pend_order);
	return list;
}
