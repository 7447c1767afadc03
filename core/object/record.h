/*
 * record: what is known of one object (how to open it, where its shards are), and how records lie on the
 * metadata stores: sealed, cut in k' + m' pieces, written by the rule of k' + 1, read by the rule of versions
 * (format, section 6).
 */
#ifndef CORE_OBJECT_RECORD_H
#define CORE_OBJECT_RECORD_H

#include "core/object/answer.h"
#include "core/object/head.h"
#include "core/object/meta.h"
#include "core/object/names.h"
#include "core/object/store.h"
#include "core/object/work.h"

#define RECORD_MAX_BYTES     (2u << 20) /* plain record */
#define RECORD_MANIFEST_STEP 65536u     /* version of a manifest's record = sequence * this */

/* Where one shard lies. */
struct record_shard {
	uint8_t index;
	uint8_t type; /* enum obj_store_type */
	char label[OBJ_LABEL_MAX + 1];
	uint64_t *keys; /* OBJ_STORE_KEYS: 1 + values of them, head first; else NULL. Owned by the record */
};

struct record {
	struct head_public pub; /* P */
	uint8_t box[HEAD_BOX_BYTES];
	struct head_private priv; /* F, opened; holds the object key */
	uint32_t *sealed;         /* pub.stripes lengths S. Owned */
	uint32_t values;          /* values behind the head of each shard (follows from S, k, C) */
	unsigned shards_count;
	struct record_shard shards[EC_PIECES_MAX];
};

void record_init(struct record *r);                            /* empty */
void record_release(struct record *r);                         /* frees, wipes; may be called twice */
int record_copy(struct record *to, const struct record *from); /* `to` was initialised. -ENOMEM */

/* Plain record bytes appended to *out (wiped by the caller). 0, -ENOMEM, -EINVAL, -EMSGSIZE. */
struct buf;
int record_encode(const struct record *r, struct buf *out);
/* Parses and opens the box. 0, -E_CORRUPT, -E_KEY (the ring lacks the epoch), -ENOMEM. */
int record_decode(const void *data, size_t len, const struct keyring *keys, struct record *r);

/* What a read or a write of a record met; slots are bits. */
struct record_state {
	uint64_t version;      /* of the answer */
	uint64_t version_high; /* highest that any store showed, 0 = none; the next write takes this + 1 */
	uint32_t have;         /* slots that hold a right piece of `version` */
	uint32_t stale;        /* slots with authority that lack it or hold another: to be rewritten */
	uint32_t silent;       /* slots without authoritative answer: a debt while they are away */
	int store_error[META_MAX]; /* per slot: 0 or the last negative errno */
};

/*
 * Reads by the read rule. OBJ_FOUND: *r (initialised by the caller) is filled. For OBJ_ABSENT and OBJ_UNKNOWN
 * *code says more: 0, -E_KEY, -E_CORRUPT, -ENOMEM. `state` may be NULL.
 */
enum obj_answer record_read(struct meta *m, struct obj_work *w, const struct obj_id *id, struct record *r,
			    struct record_state *state, int *code);
/* The same by name, when the id is not known (listings); a manifest says so, because its rule is stricter. */
enum obj_answer record_read_name(struct meta *m, struct obj_work *w, const uint8_t name[OBJ_NAME_BYTES],
				 bool manifest, struct record *r, struct record_state *state, int *code);

/*
 * Writes version `version` (1 for a name that was never written; version_high + 1 otherwise; manifest:
 * sequence * 65536). 0: k' + 1 stores have it (state->stale | state->silent are the debt, to be paid with
 * record_repair()); -EAGAIN: fewer, the caller retries with version + 1; other negative errno: nothing was
 * sent.
 */
int record_write(struct meta *m, struct obj_work *w, const struct record *r, uint64_t version,
		 struct record_state *state);

/* Reads the state first and takes the right version: what a caller normally wants. -EAGAIN also when that is
 * unknown. */
int record_store(struct meta *m, struct obj_work *w, const struct record *r, struct record_state *state);

/*
 * Pays a debt: reads, and rewrites what is stale or missing (the same pieces where the newest version is
 * whole, else version_high + 1). 0: every slot with authority has it and none is silent; -EAGAIN: some are
 * still away; -ENOENT: absent; -E_CORRUPT.
 */
int record_repair(struct meta *m, struct obj_work *w, const struct obj_id *id, struct record_state *state);
int record_repair_name(struct meta *m, struct obj_work *w, const uint8_t name[OBJ_NAME_BYTES], bool manifest,
		       struct record_state *state);

/* Writes slot `slot`'s piece of the record to a store without authority (a replaced one), before
 * meta_adopt(). */
int record_fill(struct meta *m, struct obj_work *w, const uint8_t name[OBJ_NAME_BYTES], bool manifest,
		unsigned store, unsigned slot);

/* DEL on all slots. 0: k' + 1 did (state->silent is the debt: delete again); -EAGAIN. */
int record_delete(struct meta *m, struct obj_work *w, const uint8_t name[OBJ_NAME_BYTES],
		  struct record_state *state);

/* Box wrapped under the newest epoch (key rotation); the caller stores the record and rewrites the heads. */
int record_rewrap(struct record *r, const struct keyring *keys);

/* Shard of index `index`, or NULL. */
const struct record_shard *record_shard(const struct record *r, unsigned index);

/* ---- for tests, fuzzing and the verifier: one value of a metadata store ---- */

struct record_piece {
	uint16_t epoch;
	uint8_t k, n, index;
	uint32_t sealed_len; /* of the whole sealed record */
	uint64_t version;
	uint8_t nonce[24];
	const uint8_t *piece; /* view into the value */
	size_t piece_len;
};

/* 0 or -E_CORRUPT. */
int record_piece_parse(const void *value, size_t len, struct record_piece *p);

#endif
