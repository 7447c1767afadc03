/*
 * Records on the metadata stores: sealed, cut in k' + m' pieces, written by the rule of k' + 1, read by the rule of versions
 * (native format, section 6).
 */
#include <errno.h>
#include <string.h>

#include "core/base/buf.h"
#include "core/base/endian.h"
#include "core/base/err.h"
#include "core/base/mem.h"
#include "core/coding/crc.h"
#include "core/coding/ec.h"
#include "core/crypto/aead.h"
#include "core/crypto/crypto.h"
#include "core/object/meta_int.h"
#include "core/object/record.h"

enum { /* value on a metadata store */
       M_EPOCH = 4,
       M_K = 6,
       M_N = 7,
       M_INDEX = 8,
       M_ZERO = 9,
       M_LENGTH = 12,
       M_VERSION = 16,
       M_NONCE = 24,
       M_PIECE = 48,
};

#define NONCE_BYTES 24
#define AD_BYTES    52
/* After k' + 1 stores answered the others get so long; then they are a debt, or silent. */
#define GRACE_MS    1000
#define SUBSETS_MAX 64

static const uint8_t magic[4] = {'Q', 'S', 'M', '1'};

int record_piece_parse(const void *value, size_t len, struct record_piece *p)
{
	const uint8_t *in = value;

	if (len < M_PIECE + 4 || memcmp(in, magic, sizeof(magic)) != 0 || in[M_ZERO] || in[M_ZERO + 1] ||
	    in[M_ZERO + 2] || get_u32le(in + len - 4) != crc_castagnoli(0, in, len - 4))
		return -E_CORRUPT;
	p->epoch = get_u16le(in + M_EPOCH);
	p->k = in[M_K];
	p->n = in[M_N];
	p->index = in[M_INDEX];
	p->sealed_len = get_u32le(in + M_LENGTH);
	p->version = get_u64le(in + M_VERSION);
	memcpy(p->nonce, in + M_NONCE, NONCE_BYTES);
	p->piece = in + M_PIECE;
	p->piece_len = len - M_PIECE - 4;
	if (p->k < 1 || p->n <= p->k || p->n > EC_PIECES_MAX || p->index >= p->n || p->version == 0 ||
	    p->epoch == 0 || p->sealed_len < AEAD_TAG_BYTES ||
	    p->sealed_len > RECORD_MAX_BYTES + AEAD_TAG_BYTES ||
	    p->piece_len != ec_piece_bytes(p->sealed_len, p->k))
		return -E_CORRUPT;
	return 0;
}

/* AAD = volume id ++ name ++ bytes 0...7 and 12...23 of the value. */
static void bind(const struct keyring *keys, const uint8_t name[OBJ_NAME_BYTES], const uint8_t *header,
		 uint8_t ad[AD_BYTES])
{
	memcpy(ad, keyring_volume(keys), 16);
	memcpy(ad + 16, name, OBJ_NAME_BYTES);
	memcpy(ad + 32, header, 8);
	memcpy(ad + 40, header + M_LENGTH, 12);
}

/* The header that all pieces of one writing share; the index is 0. */
static void build_header(uint8_t out[M_PIECE], unsigned epoch, unsigned k, unsigned n, uint32_t sealed_len,
			 uint64_t version)
{
	memset(out, 0, M_PIECE);
	memcpy(out, magic, sizeof(magic));
	put_u16le(out + M_EPOCH, (uint16_t)epoch);
	out[M_K] = (uint8_t)k;
	out[M_N] = (uint8_t)n;
	put_u32le(out + M_LENGTH, sealed_len);
	put_u64le(out + M_VERSION, version);
}

/* ---- one writing: header and all pieces ---- */

struct writing {
	uint8_t header[M_PIECE];
	unsigned k, n;
	size_t piece;   /* bytes of one piece */
	uint8_t *bytes; /* n pieces */
};

static void writing_release(struct writing *wr)
{
	mem_free(wr->bytes);
	wr->bytes = NULL;
}

static int writing_parity(struct writing *wr)
{
	uint8_t *data[EC_PIECES_MAX], *parity[EC_PIECES_MAX];
	const struct ec *ec;
	int rc = ec_get(wr->k, wr->n, &ec);

	for (unsigned i = 0; i < wr->n; i++) {
		uint8_t *at = wr->bytes + i * wr->piece;

		if (i < wr->k)
			data[i] = at;
		else
			parity[i - wr->k] = at;
	}
	if (rc == 0)
		ec_encode(ec, wr->piece, data, parity);
	return rc;
}

static int writing_seal(struct writing *wr, const struct meta *m, const struct record *r, uint64_t version)
{
	unsigned epoch = keyring_epoch(m->keys);
	const uint8_t *kr = keyring_record(m->keys, epoch);
	struct buf plain = BUF_INIT(RECORD_MAX_BYTES);
	uint8_t ad[AD_BYTES];
	size_t sealed;
	int rc;

	memset(wr, 0, sizeof(*wr));
	rc = record_encode(r, &plain);
	if (rc != 0)
		goto out;
	sealed = plain.len + AEAD_TAG_BYTES;
	wr->k = m->k;
	wr->n = m->n;
	wr->piece = ec_piece_bytes(sealed, m->k);
	wr->bytes = mem_calloc(m->n, wr->piece);
	if (!wr->bytes) {
		rc = -ENOMEM;
		goto out;
	}
	build_header(wr->header, epoch, m->k, m->n, (uint32_t)sealed, version);
	rc = crypto_random(wr->header + M_NONCE, NONCE_BYTES);
	if (rc != 0)
		goto out;
	bind(m->keys, r->pub.name, wr->header, ad);
	rc = aead_seal(AEAD_XCHACHA20, kr, wr->header + M_NONCE, ad, sizeof(ad), plain.data, plain.len,
		       wr->bytes);
	if (rc == 0)
		rc = writing_parity(wr);
out:
	buf_release_wiped(&plain);
	if (rc != 0)
		writing_release(wr);
	return rc;
}

/* The call that brings slot `slot`'s piece to `store`. NULL without memory. */
static struct meta_call *piece_call(const struct writing *wr, struct obj_store *store, const char *key,
				    unsigned slot)
{
	size_t len = M_PIECE + wr->piece + 4;
	struct meta_call *c;
	uint8_t *value = mem_alloc(len);

	if (!value)
		return NULL;
	memcpy(value, wr->header, M_PIECE);
	value[M_INDEX] = (uint8_t)slot;
	memcpy(value + M_PIECE, wr->bytes + slot * wr->piece, wr->piece);
	put_u32le(value + len - 4, crc_castagnoli(0, value, len - 4));
	c = meta_call_new(META_SET, store, key, value, len);
	mem_free(value);
	return c;
}

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
		calls.each[slot] = piece_call(wr, m->stores[m->slot[slot]].store, key, slot);
		if (!calls.each[slot])
			rc = -ENOMEM;
	}
	if (rc == 0)
		meta_run(w, &calls, enough_done, &q, GRACE_MS);
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

/* ---- reading ---- */

enum shown { SHOWN_NOTHING, SHOWN_NIL, SHOWN_PIECE };

/* What the stores show for one name. The calls own the bytes that the pieces point into. */
struct reading {
	struct meta *m;
	const uint8_t *name;
	struct meta_calls calls; /* by slot */
	enum shown shown[META_MAX];
	struct record_piece pieces[META_MAX];
	unsigned silent; /* slots without an authoritative answer that decodes */
	/* the answer */
	unsigned from; /* a slot that holds a piece of it */
	struct buf plain;
	uint64_t version_high;
};

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
	return a->version == b->version && memcmp(a->nonce, b->nonce, NONCE_BYTES) == 0 &&
	       a->epoch == b->epoch && a->sealed_len == b->sealed_len;
}

/* Slots that show a piece of the same writing as slot `of`. */
static uint32_t group_of(const struct reading *rd, unsigned of)
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
	const uint8_t *kr = keyring_record(rd->m->keys, first->epoch), *pieces[EC_PIECES_MAX];
	uint8_t have[EC_PIECES_MAX], want[EC_PIECES_MAX], *out[EC_PIECES_MAX], header[M_PIECE], ad[AD_BYTES];
	unsigned count = 0;
	const struct ec *ec;
	uint8_t *sealed;
	int rc;

	if (!kr)
		return -E_KEY;
	sealed = mem_alloc(first->k * first->piece_len);
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
	buf_clear(&rd->plain);
	if (rc == 0)
		rc = buf_reserve(&rd->plain, first->sealed_len - AEAD_TAG_BYTES);
	if (rc == 0) {
		build_header(header, first->epoch, first->k, first->n, first->sealed_len, first->version);
		bind(rd->m->keys, rd->name, header, ad);
		rc = aead_open(AEAD_XCHACHA20, kr, first->nonce, ad, sizeof(ad), sealed, first->sealed_len,
			       rd->plain.data);
	}
	if (rc == 0)
		buf_added(&rd->plain, first->sealed_len - AEAD_TAG_BYTES);
	mem_free(sealed);
	return rc == -EBADMSG ? -E_CORRUPT : rc;
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
		group = group_of(rd, slot);
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

struct early {
	struct reading *rd;
	bool manifest;
};

/* Under the work's lock: only counts, opens nothing. */
static bool enough_shown(void *ctx, const struct meta_calls *calls)
{
	const struct early *early = ctx;
	struct reading *rd = early->rd;
	unsigned nils = 0;

	(void)calls;
	look(rd);
	for (unsigned slot = 0; slot < rd->m->n; slot++) {
		nils += rd->shown[slot] == SHOWN_NIL;
		if (rd->shown[slot] == SHOWN_PIECE && rd->pieces[slot].version == rd->version_high &&
		    (unsigned)__builtin_popcount(group_of(rd, slot)) >= rd->m->k && rd->silent <= rd->m->k)
			return true;
	}
	return nils >= rd->m->n - rd->m->k + 1;
}

static void reading_release(struct reading *rd)
{
	meta_calls_free(&rd->calls);
	buf_release_wiped(&rd->plain);
}

/* Asks all stores with authority. `all`: waits for every answer. 0 or -ENOMEM. */
static int reading_ask(struct reading *rd, struct meta *m, struct obj_work *w,
		       const uint8_t name[OBJ_NAME_BYTES], bool manifest, bool all)
{
	struct early early = {.rd = rd, .manifest = manifest};
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
		meta_run(w, &rd->calls, all ? NULL : enough_shown, &early, all ? 0 : GRACE_MS / 10);
	look(rd);
	return rc;
}

static void fill_state(const struct reading *rd, enum obj_answer answer, struct record_state *state)
{
	const struct meta *m = rd->m;
	uint32_t have = answer == OBJ_FOUND ? group_of(rd, rd->from) : 0;

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

/* Keeps the pieces for repair when `rd` is the caller's. */
static enum obj_answer read_name(struct reading *rd, struct meta *m, struct obj_work *w,
				 const uint8_t name[OBJ_NAME_BYTES], bool manifest, bool all,
				 struct record *r, struct record_state *state, int *code)
{
	enum obj_answer answer = OBJ_UNKNOWN;
	int rc = reading_ask(rd, m, w, name, manifest, all);

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
	enum obj_answer answer = read_name(&rd, m, w, name, manifest, false, r, state, code);

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

int record_store(struct meta *m, struct obj_work *w, const struct record *r, struct record_state *state)
{
	struct record old;
	struct reading rd;
	uint64_t version;
	int code;

	record_init(&old);
	/* whether it can be read does not matter, only which versions there may be */
	(void)read_name(&rd, m, w, r->pub.name, r->priv.kind == OBJ_MANIFEST, false, &old, state, &code);
	version = rd.version_high + 1;
	if (code != -ENOMEM && rd.silent > m->k)
		code = -EAGAIN; /* a newer version may be where nobody answers */
	else if (code != -ENOMEM)
		code = 0;
	reading_release(&rd);
	record_release(&old);
	return code != 0 ? code : record_write(m, w, r, version, state);
}

/* The pieces of the writing that was read, all n' of them. */
static int writing_again(struct writing *wr, const struct reading *rd)
{
	const struct record_piece *first = &rd->pieces[rd->from];
	const uint8_t *kr = keyring_record(rd->m->keys, first->epoch);
	uint8_t ad[AD_BYTES];
	int rc;

	memset(wr, 0, sizeof(*wr));
	wr->k = first->k;
	wr->n = first->n;
	wr->piece = first->piece_len;
	wr->bytes = mem_calloc(wr->n, wr->piece);
	if (!wr->bytes)
		return -ENOMEM;
	build_header(wr->header, first->epoch, first->k, first->n, first->sealed_len, first->version);
	memcpy(wr->header + M_NONCE, first->nonce, NONCE_BYTES);
	/* the same plaintext under the same nonce and key gives the same sealed record, whatever pieces lied */
	bind(rd->m->keys, rd->name, wr->header, ad);
	rc = aead_seal(AEAD_XCHACHA20, kr, first->nonce, ad, sizeof(ad), rd->plain.data, rd->plain.len,
		       wr->bytes);
	if (rc == 0)
		rc = writing_parity(wr);
	if (rc != 0)
		writing_release(wr);
	return rc;
}

/* Slots whose piece differs from what the writing says: stores that lie. */
static uint32_t liars(const struct reading *rd, const struct writing *wr)
{
	uint32_t mask = 0, group = group_of(rd, rd->from);

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
	answer = read_name(&rd, m, w, name, manifest, true, &r, state, &rc);
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
	rc = writing_again(&wr, &rd);
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
	answer = read_name(&rd, m, w, name, manifest, false, &r, NULL, &rc);
	if (answer != OBJ_FOUND)
		rc = answer == OBJ_ABSENT ? -ENOENT : rc != 0 ? rc : -EAGAIN;
	if (rc == 0)
		rc = writing_again(&wr, &rd);
	if (rc == 0) {
		obj_key_record(m->prefix, name, key);
		calls.each[0] = piece_call(&wr, m->stores[store].store, key, slot);
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
		meta_run(w, &calls, enough_done, &q, GRACE_MS);
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
