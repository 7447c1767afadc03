/*
 * meta_int: one store call per metadata store, all at once. Each call owns what it touches, so that a slow store may be left
 * behind once enough others have answered.
 */
#ifndef CORE_OBJECT_META_INT_H
#define CORE_OBJECT_META_INT_H

#include "core/object/meta.h"
#include "core/object/work_int.h"

enum meta_verb { META_GET, META_SET, META_DEL };

struct meta_call {
	struct work_job job;
	enum meta_verb verb;
	struct obj_store *store;
	char key[OBJ_KEY_MAX_BYTES];
	size_t key_len;

	/* META_GET: a nil counts only while the store still shows this identity; NULL = do not ask */
	const struct keyring *keys;
	struct identity identity;
	char identity_key[OBJ_KEY_MAX_BYTES];
	size_t identity_key_len;

	uint8_t *bytes; /* META_SET: the value, META_GET: the answer. Owned */
	size_t len, cap;
	int result; /* as the store said; -ESTALE: a nil without authority */
};

/* One call per slot or per store; NULL = none. */
struct meta_calls {
	struct meta_call *each[META_MAX];
	unsigned count;
};

/* A call for `store`. `value` is copied (META_SET). NULL without memory. */
struct meta_call *meta_call_new(enum meta_verb verb, struct obj_store *store, const char *key,
				const void *value, size_t len);

/*
 * Runs all calls. Returns when `enough` (may be NULL: wait for all) says so, after at most `grace_ms` more; those still
 * under way are given away and their place becomes NULL.
 */
void meta_run(struct obj_work *w, struct meta_calls *calls,
	      bool (*enough)(void *ctx, const struct meta_calls *calls), void *ctx, unsigned grace_ms);
static inline bool meta_call_is_done(const struct meta_call *c)
{
	return c && c->job.state == JOB_FINISHED;
}
void meta_calls_free(struct meta_calls *calls);

#endif
