/*
 * table.c - extendible hash table of 16-byte entries; see table.h.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/zdb/table.h"

#define SLOTS_MIN 64u
#define SLOTS_MAX 4096u
#define DEPTH_MAX 22u /* 4M blocks, some 10^10 keys */

struct block {
	uint32_t slots, used;
	unsigned depth;
	struct entry e[];
};

static uint32_t dir_at(const struct table *t, uint32_t tag)
{
	return t->depth == 0 ? 0 : tag >> (32 - t->depth);
}

/* The first slot for a tag: the bits below the block's own prefix, scaled to any number of slots. */
static uint32_t slot_at(const struct block *b, uint32_t tag)
{
	return (uint32_t)(((uint64_t)(uint32_t)(tag << b->depth) * b->slots) >> 32);
}

static uint32_t limit(uint32_t slots)
{
	return slots - slots / 8;
}

static struct block *block_new(struct table *t, uint32_t slots, unsigned depth)
{
	size_t size = sizeof(struct block) + slots * sizeof(struct entry);
	struct block *b = mem_calloc(1, size);

	if (b == NULL)
		return NULL;
	b->slots = slots;
	b->depth = depth;
	t->memory += size;
	return b;
}

static void block_free(struct table *t, struct block *b)
{
	t->memory -= sizeof(struct block) + b->slots * sizeof(struct entry);
	mem_free(b);
}

static void block_put(struct block *b, const struct entry *e)
{
	uint32_t i = slot_at(b, e->tag);

	while (b->e[i].data_off != 0)
		i = i + 1 == b->slots ? 0 : i + 1;
	b->e[i] = *e;
	b->used++;
}

void table_init(struct table *t)
{
	memset(t, 0, sizeof(*t));
}

void table_release(struct table *t)
{
	if (t->dir != NULL) {
		size_t n = (size_t)1 << t->depth;

		for (size_t i = 0; i < n;) {
			struct block *b = t->dir[i];

			i += (size_t)1 << (t->depth - b->depth);
			block_free(t, b);
		}
		mem_free(t->dir);
	}
	table_init(t);
}

struct entry *table_next(const struct table *t, uint32_t tag, uint32_t *at)
{
	struct block *b;
	uint32_t i;

	if (t->dir == NULL)
		return NULL;
	b = t->dir[dir_at(t, tag)];
	i = *at == UINT32_MAX ? slot_at(b, tag) : (*at + 1 == b->slots ? 0 : *at + 1);
	for (; b->e[i].data_off != 0; i = i + 1 == b->slots ? 0 : i + 1) {
		if (b->e[i].tag == tag) {
			*at = i;
			return &b->e[i];
		}
	}
	return NULL;
}

static int double_dir(struct table *t)
{
	size_t n = (size_t)1 << t->depth;
	struct block **dir;

	if (t->depth == DEPTH_MAX)
		return -ENOMEM;
	dir = mem_alloc(2 * n * sizeof(struct block *));
	if (dir == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		dir[2 * i] = dir[2 * i + 1] = t->dir[i];
	mem_free(t->dir);
	t->dir = dir;
	t->memory += n * sizeof(struct block *);
	t->depth++;
	return 0;
}

static int split(struct table *t, uint32_t at)
{
	struct block *b = t->dir[at], *half[2];
	size_t span, first;

	if (b->depth == t->depth) {
		int rc = double_dir(t);

		if (rc != 0)
			return rc;
		at *= 2;
	}
	/* Halves of an even split get three eighths filled of half the slots more: room before they grow again. */
	half[0] = block_new(t, SLOTS_MAX * 3 / 4, b->depth + 1);
	half[1] = half[0] == NULL ? NULL : block_new(t, SLOTS_MAX * 3 / 4, b->depth + 1);
	if (half[1] == NULL) {
		if (half[0] != NULL)
			block_free(t, half[0]);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < b->slots; i++) {
		if (b->e[i].data_off != 0) {
			struct block *h = half[(b->e[i].tag >> (31 - b->depth)) & 1];

			if (h->used == h->slots - 1)
				goto skewed; /* not with a sound hash */
			block_put(h, &b->e[i]);
		}
	}
	span = (size_t)1 << (t->depth - b->depth);
	first = at & ~(span - 1);
	for (size_t i = 0; i < span; i++)
		t->dir[first + i] = half[i >= span / 2];
	block_free(t, b);
	return 0;
skewed:
	block_free(t, half[0]);
	block_free(t, half[1]);
	return -ENOMEM;
}

static int grow(struct table *t, uint32_t at)
{
	struct block *b = t->dir[at], *n;
	uint32_t slots = (b->slots & (b->slots - 1)) == 0 ? b->slots + b->slots / 2 : b->slots / 3 * 4;
	size_t span = (size_t)1 << (t->depth - b->depth), first = at & ~(span - 1);

	n = block_new(t, slots, b->depth);
	if (n == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < b->slots; i++)
		if (b->e[i].data_off != 0)
			block_put(n, &b->e[i]);
	for (size_t i = 0; i < span; i++)
		t->dir[first + i] = n;
	block_free(t, b);
	return 0;
}

int table_reserve(struct table *t, uint32_t tag)
{
	struct block *b;

	if (t->dir == NULL) {
		t->dir = mem_alloc(sizeof(struct block *));
		if (t->dir == NULL)
			return -ENOMEM;
		t->dir[0] = block_new(t, SLOTS_MIN, 0);
		if (t->dir[0] == NULL) {
			mem_free(t->dir);
			t->dir = NULL;
			return -ENOMEM;
		}
		t->memory += sizeof(struct block *);
	}
	for (;;) {
		uint32_t at = dir_at(t, tag);
		int rc;

		b = t->dir[at];
		if (b->used < limit(b->slots))
			return 0;
		rc = b->slots < SLOTS_MAX ? grow(t, at) : split(t, at);
		if (rc != 0)
			return b->used + 1 < b->slots ? 0 : rc; /* fuller than we like, but there is room */
	}
}

void table_insert(struct table *t, const struct entry *e)
{
	struct block *b = t->dir[dir_at(t, e->tag)];

	assert(e->data_off != 0 && b->used + 1 < b->slots);
	block_put(b, e);
	t->count++;
}

void table_remove(struct table *t, struct entry *e)
{
	struct block *b = t->dir[dir_at(t, e->tag)];
	uint32_t hole = (uint32_t)(e - b->e), i = hole;

	assert(hole < b->slots);
	for (;;) {
		uint32_t home, dist_home, dist_hole;

		i = i + 1 == b->slots ? 0 : i + 1;
		if (b->e[i].data_off == 0)
			break;
		/* Move back what could not be found any more past the hole. */
		home = slot_at(b, b->e[i].tag);
		dist_home = i >= home ? i - home : i + b->slots - home;
		dist_hole = i >= hole ? i - hole : i + b->slots - hole;
		if (dist_home >= dist_hole) {
			b->e[hole] = b->e[i];
			hole = i;
		}
	}
	memset(&b->e[hole], 0, sizeof(b->e[hole]));
	b->used--;
	t->count--;
}
