/* Calls to all metadata stores at once; see meta_int.h. */
#include <errno.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/base/mem.h"
#include "core/object/meta_int.h"

#define FIRST_CAP 16384 /* records of most objects fit; larger ones are asked for again */

static void call_free(struct meta_call *c)
{
	if (!c)
		return;
	mem_free(c->bytes);
	mem_free(c);
}

static void call_drop(struct work_job *job)
{
	call_free(container_of(job, struct meta_call, job));
}

static int get_value(struct meta_call *c, size_t cap)
{
	if (c->cap < cap) {
		mem_free(c->bytes);
		c->cap = 0;
		c->bytes = mem_alloc(cap);
		if (!c->bytes)
			return -ENOMEM;
		c->cap = cap;
	}
	c->len = 0;
	return c->store->ops->get(c->store, c->key, c->key_len, c->bytes, c->cap, &c->len);
}

/* A store that lost its identity since it was probed says nothing with its nil. */
static int check_authority(const struct meta_call *c)
{
	uint8_t bytes[IDENTITY_BYTES];
	struct identity id;
	size_t len = 0;
	int rc = c->store->ops->get(c->store, c->identity_key, c->identity_key_len, bytes, sizeof(bytes),
				    &len);

	if (rc != 0 && rc != -ENOENT && rc != -EMSGSIZE)
		return rc;
	if (rc != 0 || identity_decode(bytes, len, c->keys, &id) != IDENTITY_GOOD ||
	    id.slot != c->identity.slot)
		return -ESTALE;
	return -ENOENT;
}

static void call_run(struct work_job *job)
{
	struct meta_call *c = container_of(job, struct meta_call, job);
	const struct obj_store_ops *ops = c->store->ops;

	switch (c->verb) {
	case META_SET:
		c->result = ops->set(c->store, c->key, c->key_len, c->bytes, c->len, NULL);
		break;
	case META_DEL:
		c->result = ops->del(c->store, c->key, c->key_len);
		break;
	case META_GET:
		c->result = get_value(c, FIRST_CAP);
		if (c->result == -EMSGSIZE)
			c->result = get_value(c, OBJ_META_MAX_BYTES);
		if (c->result == -ENOENT && c->keys)
			c->result = check_authority(c);
		break;
	}
}

struct meta_call *meta_call_new(enum meta_verb verb, struct obj_store *store, const char *key,
				const void *value, size_t len)
{
	struct meta_call *c = mem_calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->verb = verb;
	c->store = store;
	c->key_len = strnlen(key, sizeof(c->key) - 1);
	memcpy(c->key, key, c->key_len);
	c->job.run = call_run;
	c->job.drop = call_drop;
	if (verb == META_SET) {
		c->bytes = mem_dup(value, len);
		c->len = c->cap = len;
		if (!c->bytes) {
			mem_free(c);
			return NULL;
		}
	}
	return c;
}

static bool all_done(const struct meta_calls *calls)
{
	for (unsigned i = 0; i < calls->count; i++)
		if (calls->each[i] && !meta_call_is_done(calls->each[i]))
			return false;
	return true;
}

void meta_run(struct obj_work *w, struct meta_calls *calls,
	      bool (*enough)(void *ctx, const struct meta_calls *calls), void *ctx, unsigned grace_ms)
{
	uint64_t leave_at = 0;

	work_lock(w);
	for (unsigned i = 0; i < calls->count; i++) {
		struct meta_call *c = calls->each[i];

		if (!c)
			continue;
		c->result = -EAGAIN;
		if (work_submit(w, &c->job) != 0)
			c->job.state = JOB_FINISHED; /* no thread at all: no answer */
	}
	while (!all_done(calls)) {
		if (leave_at == 0 && enough && enough(ctx, calls))
			leave_at = clock_mono_ms() + grace_ms;
		if ((leave_at != 0 && clock_mono_ms() >= leave_at) || work_is_canceled(w))
			break;
		work_wait(w, leave_at);
	}
	for (unsigned i = 0; i < calls->count; i++) {
		struct meta_call *c = calls->each[i];

		if (!c || c->job.state == JOB_FINISHED)
			continue;
		calls->each[i] = NULL;
		work_abandon(w, &c->job);
	}
	work_unlock(w);
}

void meta_calls_free(struct meta_calls *calls)
{
	for (unsigned i = 0; i < calls->count; i++)
		call_free(calls->each[i]);
	memset(calls, 0, sizeof(*calls));
}
