/* Sends values of shards; see sender_int.h. */
#include <errno.h>
#include <string.h>

#include "core/base/endian.h"
#include "core/base/mem.h"
#include "core/coding/fragment.h"
#include "core/object/place_int.h"
#include "core/object/sender_int.h"

static void send_run(struct work_job *job)
{
	struct sender_shard *sh = container_of(job, struct sender_shard, job);
	struct value_key key;
	uint32_t count;

	if (!sh->deleting) {
		place_new_key(&key, sh->store, sh->pub->object, sh->index, sh->value_number);
		sh->result = sh->store->ops->set(sh->store, key.bytes, key.len, sh->value, sh->value_len,
						 &sh->assigned);
		return;
	}
	/* Heads first: a crash in between leaves garbage without a head. A store that does not answer is asked no more. */
	count = sh->values + 1;
	for (uint32_t v = sh->has_head ? 0 : 1; v < count; v++) {
		int rc;

		place_key(&key, sh->store, sh->keys, sh->pub->object, sh->index, v);
		rc = sh->store->ops->del(sh->store, key.bytes, key.len);
		if (rc != 0 && rc != -ENOENT)
			break;
	}
}

int sender_init(struct sender *s, struct obj_work *w, struct head_public *pub,
		struct obj_store *const *stores, uint64_t fragments, bool scratch)
{
	size_t room = (size_t)1 << pub->value_log2;

	memset(s, 0, sizeof(*s));
	s->work = w;
	s->pub = pub;
	s->value_max = fragments < room ? (size_t)fragments : room;
	/* the head goes through the same buffer */
	if (s->value_max < HEAD_MIN_BYTES + 8 * (size_t)pub->stripes)
		s->value_max = HEAD_MIN_BYTES + 8 * (size_t)pub->stripes;
	for (unsigned i = 0; i < pub->n; i++) {
		struct sender_shard *sh = &s->shards[i];

		sh->job.run = send_run;
		sh->store = stores[i];
		sh->pub = pub;
		sh->index = i;
		sh->error = sh->store ? 0 : -ENODEV;
		for (unsigned b = 0; b < 2 && (sh->store || scratch); b++) {
			sh->fill[b] = work_buffer(w, SLOT_FILL + 2 * i + b, s->value_max);
			if (!sh->fill[b])
				return -ENOMEM;
		}
		if (sh->store && sh->store->type == OBJ_STORE_KEYS) {
			sh->keys = mem_calloc(pub->stripes + 1, sizeof(uint64_t));
			if (!sh->keys)
				return -ENOMEM;
		}
	}
	return 0;
}

/* Takes the answer of the value at work. */
static void settle(struct sender *s, struct sender_shard *sh)
{
	sh->busy = false;
	sh->error = sh->result;
	if (sh->error != 0)
		return;
	s->sent += sh->value_len;
	if (sh->value_number == 0)
		sh->has_head = true;
	else
		sh->values = sh->value_number;
	if (sh->keys)
		sh->keys[sh->value_number] = sh->assigned;
}

static void wait_shard(struct sender *s, struct sender_shard *sh)
{
	if (!sh->busy)
		return;
	work_lock(s->work);
	while (sh->job.state != JOB_FINISHED)
		work_wait(s->work, 0);
	work_unlock(s->work);
	settle(s, sh);
}

/* Gives the filled buffer to the lane and goes on with the other one. */
static void send_value(struct sender *s, struct sender_shard *sh, uint32_t number)
{
	int rc;

	wait_shard(s, sh);
	if (sh->error == 0) {
		sh->value = sh->fill[sh->filling];
		sh->value_len = sh->used;
		sh->value_number = number;
		work_lock(s->work);
		rc = work_submit(s->work, &sh->job);
		work_unlock(s->work);
		sh->busy = rc == 0;
		sh->error = rc;
	}
	sh->filling ^= 1;
	sh->used = 0;
}

uint8_t *sender_place(struct sender *s, unsigned index, size_t len)
{
	struct sender_shard *sh = &s->shards[index];

	if (work_is_canceled(s->work))
		return NULL;
	if (sh->used > 0 && sh->used + len > (size_t)1 << s->pub->value_log2) {
		uint32_t number = sh->values + (sh->busy ? 1 : 0) + 1;

		send_value(s, sh, number);
	}
	if (sh->error != 0)
		sh->used = 0; /* scratch from now on */
	return sh->fill[sh->filling] + sh->used;
}

void sender_added(struct sender *s, unsigned index, size_t len)
{
	struct sender_shard *sh = &s->shards[index];

	if (sh->error == 0)
		sh->used += len;
}

void sender_flush(struct sender *s)
{
	for (unsigned i = 0; i < s->pub->n; i++) {
		struct sender_shard *sh = &s->shards[i];

		if (sh->used > 0 && sh->error == 0)
			send_value(s, sh, sh->values + (sh->busy ? 1 : 0) + 1);
	}
	for (unsigned i = 0; i < s->pub->n; i++)
		wait_shard(s, &s->shards[i]);
}

void sender_heads(struct sender *s, const uint8_t box[HEAD_BOX_BYTES], uint32_t values)
{
	for (unsigned i = 0; i < s->pub->n; i++) {
		struct sender_shard *sh = &s->shards[i];

		if (sh->error == 0 && sh->values != values)
			sh->error = -EIO; /* never happens: the cut is the same everywhere */
		if (sh->error != 0)
			continue;
		sh->used = head_build(s->pub, box, i, sh->store->type, values, sh->keys ? sh->keys + 1 : NULL,
				      sh->fill[sh->filling]);
		send_value(s, sh, 0);
	}
	for (unsigned i = 0; i < s->pub->n; i++)
		wait_shard(s, &s->shards[i]);
}

void sender_discard(struct sender *s, uint32_t mask)
{
	struct work_job *jobs[EC_PIECES_MAX] = {NULL};

	for (unsigned i = 0; i < s->pub->n; i++) {
		struct sender_shard *sh = &s->shards[i];

		wait_shard(s, sh);
		if ((mask >> i & 1) && sh->store && (sh->values > 0 || sh->has_head)) {
			sh->deleting = true;
			jobs[i] = &sh->job;
		}
	}
	work_run_all(s->work, jobs, s->pub->n);
}

uint32_t sender_alive(const struct sender *s)
{
	uint32_t alive = 0;

	for (unsigned i = 0; i < s->pub->n; i++)
		if (s->shards[i].error == 0)
			alive |= 1u << i;
	return alive;
}

bool sender_is_lost(const struct sender *s, unsigned min)
{
	return (unsigned)__builtin_popcount(sender_alive(s)) < min;
}

void sender_release(struct sender *s)
{
	for (unsigned i = 0; i < EC_PIECES_MAX; i++) {
		mem_free(s->shards[i].keys);
		s->shards[i].keys = NULL;
	}
}
