/*
 * hmap: an intrusive hash map for hot paths.
 *
 * Items embed a struct hmap_node; the map never allocates per item, and adding never fails: when the table cannot
 * grow, chains only become longer. Growth moves a few buckets with each later change instead of all at once, so
 * that no single call is slow, however large the map. Hashes are SipHash-1-3 (Aumasson and Bernstein, 2012) under a
 * random key per process, so that nobody who chooses the keys can choose collisions.
 *
 *	struct item { struct hmap_node node; size_t key_len; uint8_t key[255]; };
 *	static bool item_eq(const struct hmap_node *n, const void *key, size_t len) { ... }
 *
 *	uint64_t h = hmap_hash(key, len);
 *	struct hmap_node *n = hmap_find(&map, h, item_eq, key, len);
 *	if (!n) hmap_add(&map, &item->node, h);
 *
 * Not thread-safe, except that lookups may run at the same time as other lookups.
 */
#ifndef CORE_BASE_HMAP_H
#define CORE_BASE_HMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/list.h" /* container_of */

struct hmap_node {
	struct hmap_node *next;
	uint64_t hash;
};

struct hmap {
	struct hmap_node **table; /* size_mask + 1 buckets; NULL while the map has never held anything */
	struct hmap_node **old;   /* the smaller table that is being moved out of, or NULL */
	size_t size_mask, old_mask;
	size_t moved;             /* buckets of `old` that have been moved */
	size_t count;             /* items */
	struct hmap_node *single; /* the only bucket while there is no memory for a table */
};

typedef bool (*hmap_eq_fn)(const struct hmap_node *node, const void *key, size_t key_len);

/* An empty map; allocates nothing. {0} is one too. */
void hmap_init(struct hmap *map);
/* Frees the tables, not the items. */
void hmap_release(struct hmap *map);

/* Hash of a key. hmap_hash_u64 is a faster one for integer keys (do not mix the two in one map). */
uint64_t hmap_hash(const void *key, size_t len);
uint64_t hmap_hash_u64(uint64_t key);

/* SipHash-1-3 under a given key, for callers that need a stable value. */
uint64_t hmap_siphash13(const uint64_t key[2], const void *data, size_t len);

/* The item with this hash for which `eq` says yes, or NULL. */
struct hmap_node *hmap_find(const struct hmap *map, uint64_t hash, hmap_eq_fn eq, const void *key,
			    size_t key_len);

/* All items whose 64-bit hash is exactly `hash`, without a callback; NULL at the end. The map must not change in between. */
struct hmap_node *hmap_first_of(const struct hmap *map, uint64_t hash);
struct hmap_node *hmap_next_of(const struct hmap_node *node);

/* Adds an item that is in no map. Does not look for an equal one. */
void hmap_add(struct hmap *map, struct hmap_node *node, uint64_t hash);
/* Takes an item out. It must be in this map. */
void hmap_del(struct hmap *map, struct hmap_node *node);

/*
 * Every item once, in no order: struct hmap_iter it = {0}; while ((n = hmap_each(&map, &it))) ... The item just
 * returned may be freed only when the map itself is given up; otherwise the map must not change during the walk.
 */
struct hmap_iter {
	size_t bucket;
	struct hmap_node *next;
};
/* The next item, NULL at the end. */
struct hmap_node *hmap_each(const struct hmap *map, struct hmap_iter *it);

#endif
