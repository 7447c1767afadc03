/*
 * Reading records by the rule of versions (native format, section 6).
 */
#include <errno.h>
#include <string.h>

#include "core/base/err.h"
#include "core/base/mem.h"
#include "core/coding/ec.h"
#include "core/object/record_int.h"

#define SUBSETS_MAX 64

static void look(struct reading *rd)
{
	const struct meta *m = rd->m;

	rd->silent = 0;
	rd->version_high = 0;
	for (unsigned slot = 0; slot < m->n; slot++) {
		const struct meta_call *c = rd->calls.each[slot];
		struct record_piece *p = &rd->pieces[slot];

		rd->shown[slot] = SHOWN_NOTHING;
		if (meta_call_is_done(c) && c->result == -ENOENT)
			rd->shown[slot] = SHOWN_NIL;
		else if (meta_call_is_done(c) && c->result == 0 &&
			 record_piece_parse(c->bytes, c->len, p) == 0 && p->k == m->k && p->n == m->n &&
			 p->index == slot)
			rd->shown[slot] = SHOWN_PIECE;
		if (rd->shown[slot] == SHOWN_NOTHING)
			rd->silent++;
		else if (rd->shown[slot] == SHOWN_PIECE && p->version > rd->version_high)
			rd->version_high = p->version;
	}
}

static bool same_writing(const struct record_piece *a, const struct record_piece *b)
{
	return a->version == b->version && memcmp(a->nonce, b->nonce, RECORD_NONCE_BYTES) == 0 &&
	       a->epoch == b->epoch && a->sealed_len == b->sealed_len;
}

uint32_t reading_group(const struct reading *rd, unsigned of)
{
	uint32_t group = 0;

	for (unsigned slot = 0; slot < rd->m->n; slot++)
		if (rd->shown[slot] == SHOWN_PIECE && same_writing(&rd->pieces[slot], &rd->pieces[of]))
			group |= 1u << slot;
	return group;
}

/* Opens the writing from the k' slots in `set`. 0 with rd->plain, -E_CORRUPT, -E_KEY, -ENOMEM. */
static int open_set(struct reading *rd, uint32_t set)
{
	const struct record_piece *first = &rd->pieces[__builtin_ctz(set)];
	const uint8_t *pieces[EC_PIECES_MAX];
	uint8_t have[EC_PIECES_MAX], want[EC_PIECES_MAX], *out[EC_PIECES_MAX];
	unsigned count = 0;
	const struct ec *ec;
	uint8_t *sealed = mem_alloc(first->k * first->piece_len);
	int rc;

	if (!sealed)
		return -ENOMEM;
	for (unsigned slot = 0; slot < rd->m->n && count < first->k; slot++) {
		if (!(set >> slot & 1))
			continue;
		have[count] = (uint8_t)slot;
		pieces[count] = rd->pieces[slot].piece;
		want[count] = (uint8_t)count;
		out[count] = sealed + count * first->piece_len;
		count++;
	}
	rc = ec_get(first->k, first->n, &ec);
	if (rc == 0)
		rc = ec_rebuild(ec, NULL, first->piece_len, have, pieces, want, first->k, out);
	if (rc == 0)
		rc = record_unseal(rd->m, rd->name, first, sealed, &rd->plain);
	mem_free(sealed);
	return rc;
}

/* Tries the choices of k' out of a group, at most 64: a store may lie although its checksum is right. */
static int open_group(struct reading *rd, uint32_t group)
{
	unsigned tries = 0;
	int rc = -E_CORRUPT;

	for (uint32_t set = group; set != 0 && rc == -E_CORRUPT && tries < SUBSETS_MAX;
	     set = (set - 1) & group) {
		if ((unsigned)__builtin_popcount(set) != rd->m->k)
			continue;
		tries++;
		rc = open_set(rd, set);
	}
	return rc;
}

/* Highest version below `below` that any slot shows; 0 = none. */
static uint64_t next_version(const struct reading *rd, uint64_t below)
{
	uint64_t best = 0;

	for (unsigned slot = 0; slot < rd->m->n; slot++)
		if (rd->shown[slot] == SHOWN_PIECE && rd->pieces[slot].version < below &&
		    rd->pieces[slot].version > best)
			best = rd->pieces[slot].version;
	return best;
}

/*
 * One version. OBJ_FOUND: opened. OBJ_UNKNOWN: it may have been acknowledged, but cannot be read now. OBJ_ABSENT: it never was
 * acknowledged.
 */
static enum obj_answer try_version(struct reading *rd, uint64_t version, int *code)
{
	enum obj_answer answer = OBJ_ABSENT;
	uint32_t seen = 0;

	for (unsigned slot = 0; slot < rd->m->n; slot++) {
		uint32_t group;
		unsigned count;
		int rc = 0;

		if (rd->shown[slot] != SHOWN_PIECE || rd->pieces[slot].version != version ||
		    (seen >> slot & 1))
			continue;
		group = reading_group(rd, slot);
		seen |= group;
		count = (unsigned)__builtin_popcount(group);
		if (count >= rd->m->k) {
			rc = open_group(rd, group);
			rd->from = slot;
			if (rc == 0)
				return OBJ_FOUND;
			*code = rc;
		}
		if (count + rd->silent > rd->m->k)
			answer = OBJ_UNKNOWN;
	}
	return answer;
}

/*
 * The read rule. For a manifest only the newest acknowledged version will do; of other kinds every version names the same
 * bytes.
 */
static enum obj_answer decide(struct reading *rd, bool manifest, int *code)
{
	enum obj_answer answer;
	unsigned nils = 0, maybe = 0;

	*code = 0;
	if (manifest && rd->silent > rd->m->k)
		maybe = 1; /* a version that nobody here shows may have been acknowledged by the silent ones */
	for (uint64_t v = next_version(rd, UINT64_MAX); v != 0; v = next_version(rd, v)) {
		answer = try_version(rd, v, code);
		if (answer == OBJ_FOUND && manifest && maybe)
			return OBJ_UNKNOWN;
		if (answer == OBJ_FOUND || *code == -ENOMEM)
			return *code == -ENOMEM ? OBJ_UNKNOWN : OBJ_FOUND;
		if (answer == OBJ_UNKNOWN && manifest)
			return OBJ_UNKNOWN;
		maybe |= answer == OBJ_UNKNOWN;
	}
	for (unsigned slot = 0; slot < rd->m->n; slot++)
		nils += rd->shown[slot] == SHOWN_NIL;
	return nils >= rd->m->n - rd->m->k + 1 && !maybe ? OBJ_ABSENT : OBJ_UNKNOWN;
}

/* Under the work's lock: only counts, opens nothing. */
static bool enough_shown(void *ctx, const struct meta_calls *calls)
{
	struct reading *rd = ctx;
	unsigned nils = 0;

	(void)calls;
	look(rd);
	for (unsigned slot = 0; slot < rd->m->n; slot++) {
		nils += rd->shown[slot] == SHOWN_NIL;
		if (rd->shown[slot] == SHOWN_PIECE && rd->pieces[slot].version == rd->version_high &&
		    (unsigned)__builtin_popcount(reading_group(rd, slot)) >= rd->m->k &&
		    rd->silent <= rd->m->k)
			return true;
	}
	return nils >= rd->m->n - rd->m->k + 1;
}

void reading_release(struct reading *rd)
{
	meta_calls_free(&rd->calls);
	buf_release_wiped(&rd->plain);
}

/* Asks all stores with authority. `all`: waits for every answer. 0 or -ENOMEM. */
static int reading_ask(struct reading *rd, struct meta *m, struct obj_work *w,
		       const uint8_t name[OBJ_NAME_BYTES], bool all)
{
	char key[OBJ_KEY_MAX_BYTES];
	int rc = 0;

	memset(rd, 0, sizeof(*rd));
	rd->m = m;
	rd->name = name;
	rd->calls.count = m->n;
	buf_init(&rd->plain, RECORD_MAX_BYTES);
	obj_key_record(m->prefix, name, key);
	for (unsigned slot = 0; slot < m->n; slot++) {
		struct meta_call *c;

		if (m->slot[slot] < 0)
			continue;
		c = meta_call_new(META_GET, m->stores[m->slot[slot]].store, key, NULL, 0);
		rd->calls.each[slot] = c;
		if (!c) {
			rc = -ENOMEM;
			continue;
		}
		c->keys = m->keys;
		c->identity = m->stores[m->slot[slot]].identity;
		c->identity_key_len = obj_key_identity(m->prefix, c->identity_key);
	}
	if (rc == 0)
		meta_run(w, &rd->calls, all ? NULL : enough_shown, rd, all ? 0 : RECORD_GRACE_MS / 10);
	look(rd);
	return rc;
}

static void fill_state(const struct reading *rd, enum obj_answer answer, struct record_state *state)
{
	const struct meta *m = rd->m;
	uint32_t have = answer == OBJ_FOUND ? reading_group(rd, rd->from) : 0;

	memset(state, 0, sizeof(*state));
	state->version_high = rd->version_high;
	state->have = have;
	if (answer == OBJ_FOUND)
		state->version = rd->pieces[rd->from].version;
	for (unsigned slot = 0; slot < m->n; slot++) {
		const struct meta_call *c = rd->calls.each[slot];
		bool answered = meta_call_is_done(c) && (c->result == 0 || c->result == -ENOENT);

		state->store_error[slot] = m->slot[slot] < 0 ? -ENOTCONN : c ? c->result : -ETIMEDOUT;
		if (!answered)
			state->silent |= 1u << slot;
		else if (!(have >> slot & 1) && answer == OBJ_FOUND)
			state->stale |= 1u << slot;
	}
}

enum obj_answer reading_run(struct reading *rd, struct meta *m, struct obj_work *w,
			    const uint8_t name[OBJ_NAME_BYTES], bool manifest, bool all, struct record *r,
			    struct record_state *state, int *code)
{
	enum obj_answer answer = OBJ_UNKNOWN;
	int rc = reading_ask(rd, m, w, name, all);

	*code = rc;
	if (rc == 0)
		answer = decide(rd, manifest, code);
	if (answer == OBJ_FOUND) {
		rc = record_decode(rd->plain.data, rd->plain.len, m->keys, r);
		if (rc == 0 && memcmp(r->pub.name, name, OBJ_NAME_BYTES) != 0)
			rc = -E_CORRUPT;
		*code = rc;
		if (rc != 0) { /* the tag was right: a bug of the writer, or a key that is missing */
			record_release(r);
			answer = OBJ_UNKNOWN;
		}
	}
	if (state)
		fill_state(rd, answer, state);
	return answer;
}

enum obj_answer record_read_name(struct meta *m, struct obj_work *w, const uint8_t name[OBJ_NAME_BYTES],
				 bool manifest, struct record *r, struct record_state *state, int *code)
{
	struct reading rd;
	enum obj_answer answer = reading_run(&rd, m, w, name, manifest, false, r, state, code);

	reading_release(&rd);
	return answer;
}

enum obj_answer record_read(struct meta *m, struct obj_work *w, const struct obj_id *id, struct record *r,
			    struct record_state *state, int *code)
{
	uint8_t name[OBJ_NAME_BYTES];

	obj_name(m->keys, id, name);
	return record_read_name(m, w, name, id->kind == OBJ_MANIFEST, r, state, code);
}
