/*
 * kv: what the file system needs of a key-value store, whoever provides it.
 *
 * A volume is three namespaces ("roles") of a sequential 0-db: meta, data, temp. Keys are 64-bit numbers that the store
 * hands out; a key that was deleted never comes back. Providers: a remote zdb over TCP or a unix socket (kv_resp.c) and
 * one in memory whose unsynced past can be cut off (kv_mem.c, for tests and trials). All pass the same tests.
 *
 * Requests are asynchronous: the caller owns a struct kv_req, submits it, and gets it back through its `done`, exactly
 * once, from any thread, possibly before kv_submit() returns. `done` must be short, must not submit, and must not take a
 * lock that anybody holds while submitting.
 *
 * Order: requests that change something (SET, DEL, SYNC, FLUSH) of one role take effect in the order of submission. Each
 * role is a log that survives a crash as a prefix of that order; nothing orders two roles but SYNC. Reads are not ordered
 * against changes that were not answered yet.
 *
 * Answers are final. The provider waits and repeats by itself while the store is away (up to its timeout), locked or
 * frozen; requests that may have been executed are repeated where that is harmless. So an error says:
 *	-ENOENT	   there is no such key (an authoritative answer, never a guess)
 *	-ENOSPC	   the namespace or the disk is full
 *	-EROFS	   the namespace is read-only for us
 *	-EINVAL	   SET of a key that the store does not know
 *	-ESHUTDOWN the provider is being stopped
 *	-EIO	   anything else: not known, try again later
 */
#ifndef ZDBFS_KV_H
#define ZDBFS_KV_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/list.h"

enum kv_role { KV_META, KV_DATA, KV_TEMP, KV_ROLES };

enum kv_op {
	KV_GET,    /* value and value_len: mem_free() it */
	KV_EXISTS, /* err 0 or -ENOENT; moves no value */
	KV_SET,  /* key KV_NEW inserts and leaves the new key in `key`; any other key is an update in place */
	KV_DEL,  /* an absent key is -ENOENT */
	KV_SYNC, /* everything of this role that was submitted before is durable */
	KV_FLUSH, /* removes everything of the role (temp only) */
};

#define KV_NEW       UINT64_MAX
#define KV_VALUE_MAX (8u << 20) /* a store cuts the connection beyond */

struct kv_req {
	enum kv_op op;
	enum kv_role role;
	uint64_t key;
	const void *data; /* SET: borrowed until done */
	size_t len;
	int err;
	void *value; /* GET: owned by the caller from done on */
	size_t value_len;
	void (*done)(struct kv_req *req);
	void *ctx; /* the caller's */

	struct list link; /* private to the provider from here on */
	uint64_t deadline_ms;
	unsigned tries;
	bool is_batch;
};

/* Requests of one kv_submit() that change one role and carry this flag never have a foreign write or a recovery cut
 * between them, as far as the store's bounds on one batch allow; order is kept in any case. */
#define KV_BATCH 0x1u

/* What a store says about one role. */
struct kv_info {
	uint64_t entries;     /* live records */
	uint64_t size_bytes;  /* live payload */
	uint64_t limit_bytes; /* 0 = none */
	uint64_t free_bytes;  /* of the disk below; UINT64_MAX = unknown */
	uint64_t next_id;     /* the next key that an insert can get; 0 = unknown */
	bool is_sequential;
	bool has_password;
	bool is_public;
	bool is_read_only; /* for us */
};

/* What the store can do beyond the original's commands. */
#define KV_CAN_SYNC  0x1u
#define KV_CAN_BATCH 0x2u

struct kv;

struct kv_ops {
	void (*submit)(struct kv *kv, struct kv_req *const *reqs, size_t count, unsigned flags);
	int (*info)(struct kv *kv, enum kv_role role, struct kv_info *info);
	uint64_t (*epoch)(struct kv *kv, enum kv_role role);
	void (*stop)(struct kv *kv);
	void (*free)(struct kv *kv);
};

/* Embedded first in a provider's own struct. */
struct kv {
	const struct kv_ops *ops;
	unsigned can; /* KV_CAN_* */
};

void kv_submit(struct kv *kv, struct kv_req *const *reqs, size_t count, unsigned flags);

/* Waits for the store's answer, bounded by the provider's timeout. 0 or negative. */
int kv_info(struct kv *kv, enum kv_role role, struct kv_info *info);

/* Changes whenever the store behind a role may have forgotten answered but unsynced changes (it was restarted). */
uint64_t kv_epoch(struct kv *kv, enum kv_role role);

/* Every request that waits, and every later one, ends with -ESHUTDOWN. Any thread. */
void kv_stop(struct kv *kv);

/* After the last request is done. NULL is fine. */
void kv_free(struct kv *kv);

/* Submits and waits for all. Returns the first error in order, except that each request keeps its own. */
int kv_run(struct kv *kv, struct kv_req *const *reqs, size_t count, unsigned flags);

/* One request, waited for. kv_get: *value is the caller's (mem_free). kv_set: *key is KV_NEW for an insert. */
int kv_get(struct kv *kv, enum kv_role role, uint64_t key, void **value, size_t *len);
int kv_set(struct kv *kv, enum kv_role role, uint64_t *key, const void *data, size_t len);
int kv_exists(struct kv *kv, enum kv_role role, uint64_t key); /* 0, -ENOENT, or an error */
int kv_del(struct kv *kv, enum kv_role role, uint64_t key);
int kv_sync(struct kv *kv, enum kv_role role);
int kv_flush(struct kv *kv, enum kv_role role);

const char *kv_role_str(enum kv_role role);

#endif
