/* Writing an object: a stream of stripes, cut over n shards. */
#include <errno.h>
#include <string.h>

#include "core/base/err.h"
#include "core/base/mem.h"
#include "core/coding/fragment.h"
#include "core/crypto/crypto.h"
#include "core/object/object.h"
#include "core/object/sender_int.h"
#include "core/object/stripe_int.h"

struct writer {
	struct obj_work *work;
	const struct obj_source *source;
	struct record *rec;
	const struct ec *ec;
	struct content_id *content;
	struct stripe_zstd *zstd;
	unsigned min_shards;
	uint8_t *plain, *sealed;
	struct sender sender;
};

static int fill_public(struct head_public *p, const struct keyring *keys, const struct obj_id *id,
		       const struct obj_geometry *g, uint64_t size)
{
	uint64_t stripe = (uint64_t)1 << g->stripe_log2;

	if (size > stripe * OBJ_STRIPES_MAX)
		return -EFBIG;
	p->aead = (uint8_t)g->aead;
	p->stripe_log2 = (uint8_t)g->stripe_log2;
	p->value_log2 = (uint8_t)g->value_log2;
	p->k = (uint8_t)g->k;
	p->n = (uint8_t)g->n;
	p->epoch = (uint16_t)keyring_epoch(keys);
	p->stripes = size == 0 ? 1 : (uint32_t)((size + stripe - 1) / stripe);
	memcpy(p->volume, keyring_volume(keys), sizeof(p->volume));
	p->generation = id->generation;
	obj_name(keys, id, p->name);
	return crypto_random(p->object, sizeof(p->object));
}

static int fill_private(struct head_private *f, const struct obj_id *id, uint64_t size)
{
	f->size = size;
	f->number = id->number;
	f->kind = id->kind;
	f->ns_len = id->ns_len;
	memcpy(f->ns, id->ns, OBJ_NS_MAX);
	return crypto_random(f->key, sizeof(f->key));
}

/* Upper bound of the fragment bytes of one shard: nothing compressed. */
static uint64_t fragments_max(const struct head_public *p, uint64_t size)
{
	uint64_t sealed = ((uint64_t)1 << p->stripe_log2) + OBJ_SEAL_BYTES;

	if (p->stripes == 1)
		return FRAGMENT_HEADER_BYTES + ec_piece_bytes(size + OBJ_SEAL_BYTES, p->k);
	return p->stripes * (FRAGMENT_HEADER_BYTES + ec_piece_bytes(sealed, p->k));
}

/* Cuts sealed[len] in n fragments, directly in the buffers of the shards. `sealed` has room for k whole pieces. */
static int spread(struct writer *w, uint32_t len)
{
	const struct head_public *p = &w->rec->pub;
	size_t piece = ec_piece_bytes(len, p->k), bytes = FRAGMENT_HEADER_BYTES + piece;
	uint8_t *at[EC_PIECES_MAX], *data[EC_PIECES_MAX], *parity[EC_PIECES_MAX];

	memset(w->sealed + len, 0, piece * p->k - len);
	for (unsigned i = 0; i < p->n; i++) {
		at[i] = sender_place(&w->sender, i, bytes);
		if (!at[i])
			return -ECANCELED;
		if (i < p->k)
			data[i] = w->sealed + i * piece;
		else
			parity[i - p->k] = at[i] + FRAGMENT_HEADER_BYTES;
	}
	ec_encode(w->ec, piece, data, parity);
	for (unsigned i = 0; i < p->n; i++) {
		struct fragment f = {.index = i, .size = (uint32_t)piece, .original = len};

		if (i < p->k)
			memcpy(at[i] + FRAGMENT_HEADER_BYTES, data[i], piece);
		fragment_build(&f, at[i] + FRAGMENT_HEADER_BYTES, at[i]);
		sender_added(&w->sender, i, bytes);
	}
	return sender_is_lost(&w->sender, w->min_shards) ? -EAGAIN : 0;
}

static int write_stripe(struct writer *w, uint32_t stripe)
{
	struct record *rec = w->rec;
	uint32_t len = head_plain_bytes(&rec->pub, rec->priv.size, stripe);
	long sealed;
	int rc;

	if (len > 0) {
		rc = w->source->read(w->source->ctx, (uint64_t)stripe << rec->pub.stripe_log2, w->plain, len);
		if (rc != 0)
			return rc;
	}
	content_id_add(w->content, w->plain, len);
	sealed = stripe_seal(&rec->pub, rec->priv.key, stripe, w->zstd, w->plain, len, w->sealed);
	if (sealed < 0)
		return (int)sealed;
	rec->sealed[stripe] = (uint32_t)sealed;
	return spread(w, (uint32_t)sealed);
}

static int write_heads(struct writer *w, const struct keyring *keys)
{
	struct record *rec = w->rec;
	int rc;

	content_id_get(w->content, rec->priv.content);
	rec->values = head_places(&rec->pub, rec->sealed, NULL);
	rc = head_box_seal(&rec->pub, &rec->priv, keys, rec->box);
	if (rc != 0)
		return rc;
	sender_heads(&w->sender, rec->box, rec->values);
	return sender_is_lost(&w->sender, w->min_shards) ? -EAGAIN : 0;
}

/* The record takes over where the whole shards lie. */
static void take_shards(struct writer *w)
{
	struct record *rec = w->rec;

	for (unsigned i = 0; i < rec->pub.n; i++) {
		struct sender_shard *from = &w->sender.shards[i];
		struct record_shard *to = &rec->shards[rec->shards_count];

		if (from->error != 0)
			continue;
		to->index = (uint8_t)i;
		to->type = (uint8_t)from->store->type;
		memcpy(to->label, from->store->label, strlen(from->store->label) + 1);
		to->keys = from->keys;
		from->keys = NULL;
		rec->shards_count++;
	}
}

static void fill_report(const struct writer *w, struct obj_report *report)
{
	report->stored_bytes = w->sender.sent;
	for (unsigned i = 0; i < w->rec->pub.n; i++) {
		report->error[i] = w->sender.shards[i].error;
		if (report->error[i] != 0)
			report->unreachable |= 1u << i;
	}
}

static int prepare(struct writer *w, const struct obj_geometry *g, struct obj_store *const *stores)
{
	const struct head_public *p = &w->rec->pub;
	uint64_t size = w->rec->priv.size;
	size_t stripe = p->stripes > 1 ? (size_t)1 << p->stripe_log2 : (size_t)size;
	int rc = ec_get(g->k, g->n, &w->ec);

	if (rc != 0)
		return rc;
	w->min_shards = g->min_shards ? g->min_shards : g->n;
	w->plain = work_buffer(w->work, SLOT_PLAIN, stripe > 0 ? stripe : 1);
	/* room for k whole pieces, of which the last is padded */
	w->sealed = work_buffer(w->work, SLOT_SEALED, stripe + OBJ_SEAL_BYTES + p->k);
	w->content = work_content(w->work);
	w->zstd = work_zstd(w->work);
	w->rec->sealed = mem_calloc(p->stripes, sizeof(uint32_t));
	if (!w->plain || !w->sealed || !w->content || !w->zstd || !w->rec->sealed)
		return -ENOMEM;
	return sender_init(&w->sender, w->work, &w->rec->pub, stores, fragments_max(p, size), true);
}

static bool labels_possible(struct obj_store *const *stores, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		size_t len = stores[i] ? strnlen(stores[i]->label, OBJ_LABEL_MAX + 1) : 1;

		if (len < 1 || len > OBJ_LABEL_MAX)
			return false;
	}
	return true;
}

int obj_write(struct obj_work *work, const struct keyring *keys, const struct obj_id *id,
	      const struct obj_geometry *geometry, struct obj_store *const *stores,
	      const struct obj_source *source, struct record *rec, struct obj_report *report)
{
	struct writer *w = NULL;
	struct obj_geometry g = *geometry;
	int rc = obj_geometry_plan(&g, work->options.memory_max);

	memset(report, 0, sizeof(*report));
	record_release(rec);
	if (rc == 0 && !labels_possible(stores, g.n))
		rc = -EINVAL;
	if (rc == 0)
		rc = work_begin(work, WORK_WRITE);
	if (rc != 0)
		return rc;
	w = mem_calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->work = work;
	w->source = source;
	w->rec = rec;
	rc = fill_public(&rec->pub, keys, id, &g, source->size);
	if (rc == 0)
		rc = fill_private(&rec->priv, id, source->size);
	if (rc == 0)
		rc = prepare(w, &g, stores);
	if (rc == 0 && sender_is_lost(&w->sender, w->min_shards))
		rc = -EAGAIN;
	for (uint32_t s = 0; rc == 0 && s < rec->pub.stripes; s++)
		rc = write_stripe(w, s);
	if (rc == 0) {
		sender_flush(&w->sender);
		rc = write_heads(w, keys);
	}
	if (w->sender.work) {
		/* with an error nothing may stay; without, what shards left that were given up */
		sender_discard(&w->sender, rc == 0 ? ~sender_alive(&w->sender) : UINT32_MAX);
		fill_report(w, report);
		if (rc == 0)
			take_shards(w);
		sender_release(&w->sender);
	}
	if (rc != 0)
		record_release(rec);
	mem_free(w);
	return rc;
}
