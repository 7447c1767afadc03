/*
 * hmap: chained hash table with incremental growth.
 *
 * While a table is being moved, each hash has exactly one bucket: the old table's, until that bucket has been moved, the
 * new table's from then on. Every change moves MOVE_STEP old buckets. The new table is twice the size, so it cannot fill
 * up before the move has ended (one step per added item moves at least as many buckets as items come in).
 */
#include "core/base/hmap.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/random.h>

#include "core/base/clock.h"
#include "core/base/endian.h"
#include "core/base/mem.h"

#define TABLE_MIN 16u
#define MOVE_STEP 4u

static uint64_t process_key[2];
static pthread_once_t process_key_once = PTHREAD_ONCE_INIT;

/* Never blocks: PID 1 hashes before the kernel's random pool is ready, and a weaker key only weakens flood protection. */
static void make_process_key(void)
{
	if (getrandom(process_key, sizeof(process_key), GRND_NONBLOCK) == (ssize_t)sizeof(process_key))
		return;
	process_key[0] = (uint64_t)(uintptr_t)&process_key ^ clock_mono_ns();
	process_key[1] = (uint64_t)(uintptr_t)__builtin_frame_address(0) ^ clock_wall_ns() << 20;
}

static inline uint64_t rotl(uint64_t v, unsigned n)
{
	return v << n | v >> (64 - n);
}

struct sip {
	uint64_t a, b, c, d;
};

static inline void sip_round(struct sip *s)
{
	s->a += s->b;
	s->b = rotl(s->b, 13) ^ s->a;
	s->a = rotl(s->a, 32);
	s->c += s->d;
	s->d = rotl(s->d, 16) ^ s->c;
	s->a += s->d;
	s->d = rotl(s->d, 21) ^ s->a;
	s->c += s->b;
	s->b = rotl(s->b, 17) ^ s->c;
	s->c = rotl(s->c, 32);
}

uint64_t hmap_siphash13(const uint64_t key[2], const void *data, size_t len)
{
	/* Initial state: "somepseudorandomlygeneratedbytes" (SipHash, section 2). */
	struct sip s = {key[0] ^ 0x736f6d6570736575u, key[1] ^ 0x646f72616e646f6du,
			key[0] ^ 0x6c7967656e657261u, key[1] ^ 0x7465646279746573u};
	const uint8_t *p = data;
	size_t rest = len & 7;
	uint64_t last = (uint64_t)len << 56;

	for (const uint8_t *end = p + (len - rest); p < end; p += 8) {
		uint64_t m = get_u64le(p);

		s.d ^= m;
		sip_round(&s);
		s.a ^= m;
	}
	for (size_t i = 0; i < rest; i++)
		last |= (uint64_t)p[i] << (8 * i);
	s.d ^= last;
	sip_round(&s);
	s.a ^= last;
	s.c ^= 0xff;
	sip_round(&s);
	sip_round(&s);
	sip_round(&s);
	return s.a ^ s.b ^ s.c ^ s.d;
}

uint64_t hmap_hash(const void *key, size_t len)
{
	pthread_once(&process_key_once, make_process_key);
	return hmap_siphash13(process_key, key, len);
}

/* SipHash of 8 bytes without the loop would cost the same; this mixes with two multiplications (Stafford's variant 13). */
uint64_t hmap_hash_u64(uint64_t key)
{
	pthread_once(&process_key_once, make_process_key);
	key ^= process_key[0];
	key = (key ^ key >> 30) * 0xbf58476d1ce4e5b9u;
	key = (key ^ key >> 27) * 0x94d049bb133111ebu;
	return key ^ key >> 31 ^ process_key[1];
}

void hmap_init(struct hmap *map)
{
	*map = (struct hmap){0};
}

void hmap_release(struct hmap *map)
{
	mem_free(map->table);
	mem_free(map->old);
	hmap_init(map);
}

static struct hmap_node **bucket_of(const struct hmap *map, uint64_t hash)
{
	if (map->old && (hash & map->old_mask) >= map->moved)
		return &map->old[hash & map->old_mask];
	if (map->table)
		return &map->table[hash & map->size_mask];
	return (struct hmap_node **)(uintptr_t)&map->single;
}

static void move_bucket(struct hmap *map, struct hmap_node *node)
{
	while (node) {
		struct hmap_node *next = node->next;
		struct hmap_node **to = &map->table[node->hash & map->size_mask];

		node->next = *to;
		*to = node;
		node = next;
	}
}

static void move_some(struct hmap *map, size_t steps)
{
	while (map->old && steps--) {
		move_bucket(map, map->old[map->moved]);
		if (map->moved++ == map->old_mask) {
			mem_free(map->old);
			map->old = NULL;
		}
	}
}

/* Begins to use a table of `size` buckets (a power of two). Without memory everything stays as it is. */
static int grow_to(struct hmap *map, size_t size)
{
	struct hmap_node **table = mem_calloc(size, sizeof(*table));

	if (!table)
		return -ENOMEM;
	move_some(map, SIZE_MAX);
	if (map->table) {
		map->old = map->table;
		map->old_mask = map->size_mask;
		map->moved = 0;
		map->table = table;
		map->size_mask = size - 1;
		return 0;
	}
	map->table = table;
	map->size_mask = size - 1;
	move_bucket(map, map->single);
	map->single = NULL;
	return 0;
}

struct hmap_node *hmap_first_of(const struct hmap *map, uint64_t hash)
{
	struct hmap_node *node = *bucket_of(map, hash);

	while (node && node->hash != hash)
		node = node->next;
	return node;
}

struct hmap_node *hmap_next_of(const struct hmap_node *node)
{
	struct hmap_node *next = node->next;

	while (next && next->hash != node->hash)
		next = next->next;
	return next;
}

struct hmap_node *hmap_find(const struct hmap *map, uint64_t hash, hmap_eq_fn eq, const void *key,
			    size_t key_len)
{
	struct hmap_node *node = hmap_first_of(map, hash);

	while (node && !eq(node, key, key_len))
		node = hmap_next_of(node);
	return node;
}

void hmap_add(struct hmap *map, struct hmap_node *node, uint64_t hash)
{
	struct hmap_node **bucket;

	move_some(map, MOVE_STEP);
	/* Out of memory is fine: tried again with the next item, chains are longer until then. */
	if (!map->table)
		(void)grow_to(map, TABLE_MIN);
	else if (!map->old && map->count > map->size_mask)
		(void)grow_to(map, (map->size_mask + 1) * 2);
	bucket = bucket_of(map, hash);
	node->hash = hash;
	node->next = *bucket;
	*bucket = node;
	map->count++;
}

void hmap_del(struct hmap *map, struct hmap_node *node)
{
	struct hmap_node **link = bucket_of(map, node->hash);

	while (*link != node)
		link = &(*link)->next;
	*link = node->next;
	node->next = NULL;
	map->count--;
	move_some(map, MOVE_STEP);
}

/* Buckets in the order of a walk: the old table's that are not moved yet, then the new table's, then the single one. */
static struct hmap_node *bucket_at(const struct hmap *map, size_t index, bool *is_end)
{
	size_t old = map->old ? map->old_mask + 1 - map->moved : 0;
	size_t table = map->table ? map->size_mask + 1 : 0;

	*is_end = false;
	if (index < old)
		return map->old[map->moved + index];
	index -= old;
	if (index < table)
		return map->table[index];
	*is_end = index > table;
	return *is_end ? NULL : map->single;
}

struct hmap_node *hmap_each(const struct hmap *map, struct hmap_iter *it)
{
	struct hmap_node *node = it->next;
	bool is_end = false;

	while (!node && !is_end)
		node = bucket_at(map, it->bucket++, &is_end);
	/* Taken now, so that the caller may free the item. */
	it->next = node ? node->next : NULL;
	return node;
}
