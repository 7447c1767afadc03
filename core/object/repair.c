/*
 * Rebuilds lost shards from the others. Fragments are moved; nothing is encrypted, so no nonce is used twice. New fragments
 * are made only of a choice that opened: a store that lies cannot spread.
 */
#include <errno.h>
#include <string.h>

#include "core/base/err.h"
#include "core/base/mem.h"
#include "core/object/reader_int.h"
#include "core/object/sender_int.h"

struct repair {
	struct reader reader;
	struct sender sender;
	unsigned count;
	uint8_t want[EC_PIECES_MAX];
	struct obj_store *targets[EC_PIECES_MAX];
};

static int repair_stripe(struct repair *p, const struct record *rec, uint32_t stripe)
{
	uint32_t sealed = rec->sealed[stripe];
	size_t piece = ec_piece_bytes(sealed, rec->pub.k), bytes = FRAGMENT_HEADER_BYTES + piece;
	uint8_t have[EC_PIECES_MAX], *out[EC_PIECES_MAX];
	const uint8_t *pieces[EC_PIECES_MAX];
	struct window *win;
	int rc = reader_verified(&p->reader, stripe, &win, have, pieces);

	if (rc != 0)
		return rc;
	for (unsigned i = 0; i < p->count; i++) {
		out[i] = sender_place(&p->sender, p->want[i], bytes);
		if (!out[i])
			return -ECANCELED;
		out[i] += FRAGMENT_HEADER_BYTES;
	}
	rc = ec_rebuild(p->reader.ec, work_ec_cache(p->reader.work), piece, have, pieces, p->want, p->count,
			out);
	for (unsigned i = 0; rc == 0 && i < p->count; i++) {
		struct fragment f = {.index = p->want[i], .size = (uint32_t)piece, .original = sealed};

		fragment_build(&f, out[i], out[i] - FRAGMENT_HEADER_BYTES);
		sender_added(&p->sender, p->want[i], bytes);
	}
	reader_release(&p->reader, win);
	return rc;
}

/* Puts the new places into the record. */
static void take_places(struct repair *p, struct record *rec)
{
	for (unsigned i = 0; i < p->count; i++) {
		struct sender_shard *from = &p->sender.shards[p->want[i]];
		struct record_shard *to = NULL;

		if (from->error != 0)
			continue;
		for (unsigned s = 0; s < rec->shards_count; s++)
			if (rec->shards[s].index == p->want[i])
				to = &rec->shards[s];
		if (!to) {
			to = &rec->shards[rec->shards_count++];
			to->keys = NULL;
		}
		mem_free(to->keys);
		to->index = p->want[i];
		to->type = (uint8_t)from->store->type;
		memcpy(to->label, from->store->label, strlen(from->store->label) + 1);
		to->keys = from->keys;
		from->keys = NULL;
	}
}

static uint64_t fragments_of(const struct record *rec)
{
	uint64_t bytes = 0;

	for (uint32_t s = 0; s < rec->pub.stripes; s++)
		bytes += FRAGMENT_HEADER_BYTES + ec_piece_bytes(rec->sealed[s], rec->pub.k);
	return bytes;
}

int obj_repair(struct obj_work *w, struct record *rec, const struct obj_stores *stores, uint32_t lost,
	       struct obj_store *const *targets, struct obj_report *report, char *why)
{
	struct repair *p;
	int rc = work_begin(w, WORK_WRITE);

	if (why)
		*why = 0;
	memset(report, 0, sizeof(*report));
	if (rc != 0)
		return rc;
	p = mem_calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	for (unsigned i = 0; i < rec->pub.n; i++) {
		if (!(lost >> i & 1) || !targets[i])
			continue;
		p->targets[i] = targets[i];
		p->want[p->count++] = (uint8_t)i;
	}
	rc = reader_open(&p->reader, w, rec, stores, lost, 0, rec->pub.stripes, report, why);
	if (rc == 0)
		rc = sender_init(&p->sender, w, &rec->pub, p->targets, fragments_of(rec), false);
	for (uint32_t s = 0; rc == 0 && s < rec->pub.stripes; s++)
		rc = repair_stripe(p, rec, s);
	if (rc == 0) {
		sender_flush(&p->sender);
		sender_heads(&p->sender, rec->box, rec->values);
	}
	reader_close(&p->reader);
	if (p->sender.work) {
		for (unsigned i = 0; i < p->count; i++) {
			int error = p->sender.shards[p->want[i]].error;

			report->error[p->want[i]] = error;
			if (rc == 0 && error != 0)
				rc = -EAGAIN;
		}
		/* all or nothing: a shard that came through is not worth a record of its own */
		if (rc != 0)
			sender_discard(&p->sender, UINT32_MAX);
		else
			take_places(p, rec);
		report->stored_bytes += p->sender.sent;
		sender_release(&p->sender);
	}
	mem_free(p);
	return rc;
}
