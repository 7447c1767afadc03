/*
 * sender_int: fragments to values of shards, for the writer and for repair.
 *
 * Each shard has two buffers of one value: while its lane sends the one, the other is filled. A shard whose store fails is
 * given up: it takes no more fragments, and what it sent is deleted at the end.
 */
#ifndef CORE_OBJECT_SENDER_INT_H
#define CORE_OBJECT_SENDER_INT_H

#include "core/object/object.h"
#include "core/object/work_int.h"

struct sender_shard {
	struct work_job job;
	struct obj_store *store; /* NULL: this shard is not sent */
	const struct head_public *pub;
	unsigned index;

	uint8_t *fill[2];
	unsigned filling; /* which of the two */
	size_t used;

	/* the value at work in the lane: set before the job is submitted; the job sets assigned and result */
	const uint8_t *value;
	size_t value_len;
	uint32_t value_number;
	bool deleting; /* the job deletes values 0 ... values instead */
	uint64_t assigned;
	int result;

	uint32_t values; /* sent and answered, behind the head */
	bool has_head;
	uint64_t *keys; /* OBJ_STORE_KEYS: keys[0] of the head, keys[1...values] */
	int error;      /* first failure; 0 = fine */
	bool busy;
};

struct sender {
	struct obj_work *work;
	struct head_public *pub;
	size_t value_max; /* bytes of one fill buffer */
	uint64_t sent;
	struct sender_shard shards[EC_PIECES_MAX];
};

/* `fragments` = upper bound of the fragment bytes of one shard. stores[i] may be NULL; with `scratch`
 * such shards get memory too, so that sender_place() works for them. 0 or -ENOMEM. */
int sender_init(struct sender *s, struct obj_work *w, struct head_public *pub,
		struct obj_store *const *stores, uint64_t fragments, bool scratch);

/*
 * Where the fragment of shard `index` with `len` bytes goes: waits until there is room. Also for a shard that is not sent:
 * then the place is scratch memory (coding wants a target for each piece). NULL after cancellation.
 */
uint8_t *sender_place(struct sender *s, unsigned index, size_t len);
/* The fragment at that place is complete. */
void sender_added(struct sender *s, unsigned index, size_t len);

/* Sends what is left in the buffers and waits for all. */
void sender_flush(struct sender *s);

/* Builds and sends the heads of all shards that are whole (`values` values each); waits. */
void sender_heads(struct sender *s, const uint8_t box[HEAD_BOX_BYTES], uint32_t values);

/* Waits for everything, then deletes what the shards in `mask` sent. As far as the stores answer. */
void sender_discard(struct sender *s, uint32_t mask);

/* Shards without error among those that are sent. */
uint32_t sender_alive(const struct sender *s);
/* Whether fewer than `min` shards are left. */
bool sender_is_lost(const struct sender *s, unsigned min);

/* Frees keys that were not taken over. Nothing may be busy. */
void sender_release(struct sender *s);

#endif
