/*
 * store: one backend as the object room sees it. The caller (zstor, a test) supplies the functions.
 *
 * Threads: the object room calls a store from its lane threads (work.h), possibly several at once on one
 * store; the functions must allow that. Every call must return within a bound of its own (connect and reply
 * timeouts): the object room has no way to interrupt it.
 *
 * Keys: a store of type OBJ_STORE_KEYS (0-db sequential) answers a SET without key with the 8-byte key it
 * made; the room keeps those as u64, the 8 bytes read little-endian, and passes them back as the same 8
 * bytes. A store of type OBJ_STORE_NAMED takes the key that it is given (0-db user keys, redis). Metadata
 * stores are always OBJ_STORE_NAMED.
 *
 * Results of every function: 0; -ENOENT = the store answered and has no such key (the only answer that counts
 * as "no"); any other negative errno = no answer, or a refusal: nothing is known.
 */
#ifndef CORE_OBJECT_STORE_H
#define CORE_OBJECT_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OBJ_LABEL_MAX       63         /* bytes of a store's label */
#define OBJ_VALUE_MAX_BYTES (2u << 20) /* largest value of a data store (format, section 8) */
#define OBJ_META_MAX_BYTES  (2u << 20) /* largest value of a metadata store */

enum obj_store_type {
	OBJ_STORE_KEYS = 1,
	OBJ_STORE_NAMED = 2,
};

struct obj_store;

struct obj_store_ops {
	/*
	 * Stores value[value_len] (copied before the return). key_len 0 (OBJ_STORE_KEYS only): the store
	 * chooses the key and sets *assigned. Otherwise the value replaces what `key` held, and `assigned`
	 * may be NULL. -EROFS, -ENOSPC and the like for a refusal.
	 */
	int (*set)(struct obj_store *s, const void *key, size_t key_len, const void *value, size_t value_len,
		   uint64_t *assigned);
	/* The whole value into out[max], *len its size. -EMSGSIZE when it has more than `max` bytes. */
	int (*get)(struct obj_store *s, const void *key, size_t key_len, void *out, size_t max, size_t *len);
	/*
	 * Bytes [offset, offset + want) of the value; *got < want when the value ends before. A store whose
	 * answer cannot tell a missing key from an empty range (redis) returns 0 with *got = 0. NULL: the
	 * store has no ranges.
	 */
	int (*get_range)(struct obj_store *s, const void *key, size_t key_len, uint64_t offset, size_t want,
			 void *out, size_t *got);
	/* Deletes; -ENOENT when there was nothing. */
	int (*del)(struct obj_store *s, const void *key, size_t key_len);
	/*
	 * Every key of the store, in any order; keys stored or deleted meanwhile may or may not come. Stops at the
	 * first non-zero answer of `each`, which is returned. NULL: the store cannot list its keys (rebuild.h).
	 */
	int (*scan)(struct obj_store *s, int (*each)(void *ctx, const void *key, size_t key_len), void *ctx);
};

struct obj_store {
	const struct obj_store_ops *ops;
	const char *label; /* 1...63 bytes: `id` of the configuration, by default ip:port/namespace */
	enum obj_store_type type;
	unsigned rank; /* readers ask lower ranks first (latency class); any number */
	void *ctx;     /* the supplier's */
};

/* What the caller knows: all data stores of the configuration. Records name stores by label. */
struct obj_stores {
	struct obj_store *const *list;
	size_t count;
};

/* The store with this label, or NULL. */
struct obj_store *obj_stores_find(const struct obj_stores *stores, const char *label);

#endif
