/*
 * Writing, repairing and deleting records: done when k' + 1 stores answered; the others are a debt (native format, section 6).
 */
#include <errno.h>
#include <string.h>

#include "core/base/err.h"
#include "core/object/record_int.h"

struct quorum {
	unsigned want;
};

static bool enough_done(void *ctx, const struct meta_calls *calls)
{
	const struct quorum *q = ctx;
	unsigned done = 0;

	for (unsigned i = 0; i < calls->count; i++) {
		const struct meta_call *c = calls->each[i];

		done += meta_call_is_done(c) &&
			(c->result == 0 || (c->verb == META_DEL && c->result == -ENOENT));
	}
	return done >= q->want;
}

/* Sends the pieces of the slots in `mask`. *took = those that answered. 0 or -ENOMEM. */
static int writing_send(const struct writing *wr, struct meta *m, struct obj_work *w, const char *key,
			uint32_t mask, uint32_t *took, int *errors)
{
	struct meta_calls calls = {.count = m->n};
	struct quorum q = {.want = m->k + 1};
	int rc = 0;

	*took = 0;
	for (unsigned slot = 0; slot < m->n; slot++) {
		if (!(mask >> slot & 1) || m->slot[slot] < 0)
			continue;
		calls.each[slot] = writing_call(wr, m->stores[m->slot[slot]].store, key, slot);
		if (!calls.each[slot])
			rc = -ENOMEM;
	}
	if (rc == 0)
		meta_run(w, &calls, enough_done, &q, RECORD_GRACE_MS);
	for (unsigned slot = 0; rc == 0 && slot < m->n; slot++) {
		const struct meta_call *c = calls.each[slot];

		if (!(mask >> slot & 1))
			continue;
		errors[slot] = m->slot[slot] < 0 ? -ENOTCONN : c ? c->result : -ETIMEDOUT;
		if (errors[slot] == 0)
			*took |= 1u << slot;
	}
	meta_calls_free(&calls);
	return rc;
}

static uint32_t all_slots(const struct meta *m)
{
	return (uint32_t)(((uint64_t)1 << m->n) - 1);
}

int record_write(struct meta *m, struct obj_work *w, const struct record *r, uint64_t version,
		 struct record_state *state)
{
	char key[OBJ_KEY_MAX_BYTES];
	struct writing wr;
	int rc;

	memset(state, 0, sizeof(*state));
	if (version == 0)
		return -EINVAL;
	rc = writing_seal(&wr, m, r, version);
	if (rc != 0)
		return rc;
	obj_key_record(m->prefix, r->pub.name, key);
	rc = writing_send(&wr, m, w, key, all_slots(m), &state->have, state->store_error);
	writing_release(&wr);
	state->version = state->version_high = version;
	state->silent = all_slots(m) & ~state->have;
	if (rc != 0)
		return rc;
	return (unsigned)__builtin_popcount(state->have) >= m->k + 1 ? 0 : -EAGAIN;
}

int record_store(struct meta *m, struct obj_work *w, const struct record *r, struct record_state *state)
{
	struct record old;
	struct reading rd;
	uint64_t version;
	int code;

	record_init(&old);
	/* whether it can be read does not matter, only which versions there may be */
	(void)reading_run(&rd, m, w, r->pub.name, r->priv.kind == OBJ_MANIFEST, false, &old, state, &code);
	version = rd.version_high + 1;
	if (code != -ENOMEM && rd.silent > m->k)
		code = -EAGAIN; /* a newer version may be where nobody answers */
	else if (code != -ENOMEM)
		code = 0;
	reading_release(&rd);
	record_release(&old);
	return code != 0 ? code : record_write(m, w, r, version, state);
}

/* Slots whose piece differs from what the writing says: stores that lie. */
static uint32_t liars(const struct reading *rd, const struct writing *wr)
{
	uint32_t mask = 0, group = reading_group(rd, rd->from);

	for (unsigned slot = 0; slot < rd->m->n; slot++)
		if ((group >> slot & 1) &&
		    memcmp(rd->pieces[slot].piece, wr->bytes + slot * wr->piece, wr->piece) != 0)
			mask |= 1u << slot;
	return mask;
}

int record_repair_name(struct meta *m, struct obj_work *w, const uint8_t name[OBJ_NAME_BYTES], bool manifest,
		       struct record_state *state)
{
	char key[OBJ_KEY_MAX_BYTES];
	enum obj_answer answer;
	struct reading rd;
	struct writing wr;
	struct record r;
	uint32_t todo, took = 0;
	int rc;

	record_init(&r);
	answer = reading_run(&rd, m, w, name, manifest, true, &r, state, &rc);
	if (answer != OBJ_FOUND) {
		rc = answer == OBJ_ABSENT                                ? -ENOENT
		     : rc == -ENOMEM || rc == -E_CORRUPT || rc == -E_KEY ? rc
									 : -EAGAIN;
		goto out;
	}
	if (state->version != rd.version_high) {
		/* a higher one was begun and never acknowledged: above it, so that it never counts again */
		rc = record_write(m, w, &r, rd.version_high + 1, state);
		if (rc == 0 && state->silent)
			rc = -EAGAIN;
		goto out;
	}
	rc = writing_again(&wr, m, name, &rd.pieces[rd.from], &rd.plain);
	if (rc != 0)
		goto out;
	todo = liars(&rd, &wr);
	state->have &= ~todo;
	state->stale |= todo;
	obj_key_record(m->prefix, name, key);
	if (state->stale)
		rc = writing_send(&wr, m, w, key, state->stale, &took, state->store_error);
	writing_release(&wr);
	state->have |= took;
	state->stale &= ~took;
	if (rc == 0 && (state->stale | state->silent))
		rc = -EAGAIN;
out:
	reading_release(&rd);
	record_release(&r);
	return rc;
}

int record_repair(struct meta *m, struct obj_work *w, const struct obj_id *id, struct record_state *state)
{
	uint8_t name[OBJ_NAME_BYTES];

	obj_name(m->keys, id, name);
	return record_repair_name(m, w, name, id->kind == OBJ_MANIFEST, state);
}

int record_fill(struct meta *m, struct obj_work *w, const uint8_t name[OBJ_NAME_BYTES], bool manifest,
		unsigned store, unsigned slot)
{
	struct meta_calls calls = {.count = 1};
	char key[OBJ_KEY_MAX_BYTES];
	enum obj_answer answer;
	struct reading rd;
	struct writing wr;
	struct record r;
	int rc;

	if (store >= m->count || slot >= m->n || m->slot[slot] >= 0)
		return -EINVAL;
	record_init(&r);
	answer = reading_run(&rd, m, w, name, manifest, false, &r, NULL, &rc);
	if (answer != OBJ_FOUND)
		rc = answer == OBJ_ABSENT ? -ENOENT : rc != 0 ? rc : -EAGAIN;
	if (rc == 0)
		rc = writing_again(&wr, m, name, &rd.pieces[rd.from], &rd.plain);
	if (rc == 0) {
		obj_key_record(m->prefix, name, key);
		calls.each[0] = writing_call(&wr, m->stores[store].store, key, slot);
		writing_release(&wr);
		if (calls.each[0]) {
			meta_run(w, &calls, NULL, NULL, 0);
			rc = calls.each[0] ? calls.each[0]->result : -ECANCELED;
		} else {
			rc = -ENOMEM;
		}
		meta_calls_free(&calls);
	}
	reading_release(&rd);
	record_release(&r);
	return rc;
}

int record_delete(struct meta *m, struct obj_work *w, const uint8_t name[OBJ_NAME_BYTES],
		  struct record_state *state)
{
	struct meta_calls calls = {.count = m->n};
	struct quorum q = {.want = m->k + 1};
	char key[OBJ_KEY_MAX_BYTES];
	int rc = 0;

	memset(state, 0, sizeof(*state));
	obj_key_record(m->prefix, name, key);
	for (unsigned slot = 0; slot < m->n; slot++) {
		if (m->slot[slot] < 0)
			continue;
		calls.each[slot] = meta_call_new(META_DEL, m->stores[m->slot[slot]].store, key, NULL, 0);
		if (!calls.each[slot])
			rc = -ENOMEM;
	}
	if (rc == 0)
		meta_run(w, &calls, enough_done, &q, RECORD_GRACE_MS);
	for (unsigned slot = 0; rc == 0 && slot < m->n; slot++) {
		const struct meta_call *c = calls.each[slot];

		state->store_error[slot] = m->slot[slot] < 0 ? -ENOTCONN : c ? c->result : -ETIMEDOUT;
		if (state->store_error[slot] == -ENOENT)
			state->store_error[slot] = 0;
		if (state->store_error[slot] == 0)
			state->have |= 1u << slot;
		else
			state->silent |= 1u << slot;
	}
	meta_calls_free(&calls);
	if (rc == 0 && (unsigned)__builtin_popcount(state->have) < m->k + 1)
		rc = -EAGAIN;
	return rc;
}
