/*
 * objects: storing one object with its record, and owing what remains: pieces to metadata stores that were away, and
 * the deletion of what nothing names any more.
 *
 * An object whose name is taken by an equal one is not stored again: a retry after a crash costs one read of the
 * record. When the content differs (a run that was cut short before its manifest), the new one replaces the record and the
 * old shards become garbage.
 */
#include <stdio.h>
#include <string.h>

#include "applets/zstor/zstor.h"
#include "core/base/buf.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/coding/content_id.h"

#define PLACE_TRIES  3
#define RECORD_TRIES 3
#define HASH_CHUNK   (256u << 10)

int id_list_add(struct obj_id_list *l, const struct obj_id *id)
{
	if (l->count == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 16;
		struct obj_id *grown = mem_realloc_array(l->ids, cap, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		l->ids = grown;
		l->cap = cap;
	}
	l->ids[l->count++] = *id;
	return 0;
}

enum obj_answer object_find(struct zstor *z, struct obj_work *w, const struct obj_id *id, struct record *rec,
			    struct record_state *st, int *code)
{
	struct meta m;

	zs_meta_copy(z, &m);
	return record_read(&m, w, id, rec, st, code);
}

int object_fetch(struct zstor *z, struct obj_work *w, const struct obj_id *id,
		 const uint8_t content[CONTENT_ID_BYTES], int fd, uint64_t start, uint64_t *size, char *why)
{
	struct obj_file_range range = {.fd = fd, .start = start};
	struct obj_sink sink = obj_sink_file(&range);
	struct record rec;
	enum obj_answer a;
	int code = 0, rc;

	why[0] = '\0';
	record_init(&rec);
	a = object_find(z, w, id, &rec, NULL, &code);
	if (a == OBJ_FOUND && memcmp(rec.priv.content, content, CONTENT_ID_BYTES) != 0) {
		snprintf(why, ZS_WHY, "the stores hold another content than the recovery point names");
		rc = -E_CORRUPT;
	} else if (a == OBJ_FOUND) {
		rc = obj_read(w, &rec, &z->data_stores, &sink, NULL, why);
		*size = rec.priv.size;
	} else if (a == OBJ_ABSENT) {
		snprintf(why, ZS_WHY, "the metadata stores say that it is not there");
		rc = -ENOENT;
	} else {
		snprintf(why, ZS_WHY, "the metadata stores cannot say where it is");
		rc = -EAGAIN;
	}
	record_release(&rec);
	return rc;
}

int object_discard(struct zstor *z, const struct obj_id *id, uint64_t sequence)
{
	struct spool_intent in = {.kind = SPOOL_GARBAGE, .after_sequence = sequence};

	if (!z->spool)
		return 0;
	obj_name(z->keys, id, in.name);
	return spool_put(z->spool, &in, NULL, 0);
}

int object_discard_record(struct zstor *z, const struct record *rec, uint64_t sequence)
{
	struct spool_intent in = {.kind = SPOOL_GARBAGE, .after_sequence = sequence};
	struct buf b = BUF_INIT(RECORD_MAX_BYTES);
	int rc;

	if (!z->spool || rec->shards_count == 0)
		return 0;
	memcpy(in.name, rec->pub.object, sizeof(in.name));
	rc = record_encode(rec, &b);
	if (rc == 0)
		rc = spool_put(z->spool, &in, b.data, b.len);
	buf_release_wiped(&b);
	return rc;
}

static void tail_id(const struct manifest_ns *ns, const struct manifest_tail *t, struct obj_id *id)
{
	(void)obj_id_set(id, t->generation, OBJ_TAIL, obj_number_tail(ns->closed, t->end), ns->name,
			 ns->name_len);
}

static void bundle_id(const struct manifest_ns *ns, const struct manifest_bundle *b, struct obj_id *id)
{
	(void)obj_id_set(id, b->generation, OBJ_BUNDLE, obj_number_bundle(b->first, b->last), ns->name,
			 ns->name_len);
}

/* Calls fn with the name of each tail and bundle until it returns non-zero. */
static int each_named(struct zstor *z, const struct manifest *m,
		      int (*fn)(void *ctx, const struct obj_id *id, const uint8_t name[OBJ_NAME_BYTES]),
		      void *ctx)
{
	uint8_t name[OBJ_NAME_BYTES];
	struct obj_id id;
	int rc = 0;

	for (unsigned i = 0; i < m->count; i++) {
		const struct manifest_ns *ns = &m->ns[i];

		for (unsigned t = 0; rc == 0 && t < ns->tails_count; t++) {
			tail_id(ns, &ns->tails[t], &id);
			obj_name(z->keys, &id, name);
			rc = fn(ctx, &id, name);
		}
		for (unsigned b = 0; rc == 0 && b < ns->bundles_count; b++) {
			bundle_id(ns, &ns->bundles[b], &id);
			obj_name(z->keys, &id, name);
			rc = fn(ctx, &id, name);
		}
	}
	return rc;
}

static int is_this_name(void *ctx, const struct obj_id *id, const uint8_t name[OBJ_NAME_BYTES])
{
	(void)id;
	return memcmp(ctx, name, OBJ_NAME_BYTES) == 0;
}

bool garbage_is_named(struct zstor *z, const uint8_t name[OBJ_NAME_BYTES])
{
	uint8_t copy[OBJ_NAME_BYTES];

	memcpy(copy, name, sizeof(copy));
	return each_named(z, &z->vol.last, is_this_name, copy) == 1;
}

struct difference {
	struct zstor *z;
	const struct manifest *after;
};

static int discard_unnamed(void *ctx, const struct obj_id *id, const uint8_t name[OBJ_NAME_BYTES])
{
	struct difference *d = ctx;
	uint8_t copy[OBJ_NAME_BYTES];

	memcpy(copy, name, sizeof(copy));
	if (each_named(d->z, d->after, is_this_name, copy) == 1)
		return 0;
	return object_discard(d->z, id, d->after->sequence);
}

int object_discard_difference(struct zstor *z, const struct manifest *before, const struct manifest *after)
{
	struct difference d = {z, after};

	return each_named(z, before, discard_unnamed, &d);
}

int object_owe_pieces(struct zstor *z, const struct obj_id *id, const struct record_state *st)
{
	struct spool_intent in = {.kind = SPOOL_PIECE, .slot = st->stale | st->silent};

	if (!z->spool || !in.slot)
		return 0;
	obj_name(z->keys, id, in.name);
	if (id->kind == OBJ_MANIFEST)
		in.flags = SPOOL_PIECE_MANIFEST;
	return spool_put(z->spool, &in, NULL, 0);
}

int object_hash(const struct obj_source *src, uint8_t out[CONTENT_ID_BYTES])
{
	struct content_id *c = content_id_new();
	uint8_t *chunk = mem_alloc(HASH_CHUNK);
	uint64_t at = 0;
	int rc = c && chunk ? 0 : -ENOMEM;

	while (rc == 0 && at < src->size) {
		size_t len = src->size - at < HASH_CHUNK ? (size_t)(src->size - at) : HASH_CHUNK;

		rc = src->read(src->ctx, at, chunk, len);
		if (rc == 0)
			content_id_add(c, chunk, len);
		at += len;
	}
	if (rc == 0)
		content_id_get(c, out);
	content_id_free(c);
	mem_free(chunk);
	return rc;
}

/* Which stores have to be left out at the next try. */
static void avoid_failed(struct zstor *z, struct obj_store *const *stores, const struct obj_report *rep,
			 uint64_t *avoid, char *why)
{
	for (unsigned i = 0; i < z->conf.n; i++) {
		const struct zs_store *s = stores[i]->ctx;
		unsigned index = (unsigned)(s - z->data);

		if (!rep->error[i])
			continue;
		avoid[index / 64] |= 1ull << (index % 64);
		snprintf(why, ZS_WHY, "store %s did not take its shard: %s", s->label,
			 err_str(rep->error[i]));
	}
}

static int write_shards(struct zstor *z, struct obj_work *w, const struct obj_id *id,
			const struct obj_source *source, struct record *rec, char *why)
{
	struct obj_geometry g = {.k = (unsigned)z->conf.k, .n = (unsigned)z->conf.n};
	struct obj_store *stores[EC_PIECES_MAX];
	uint64_t avoid[STORES_WORDS] = {0};
	int rc = obj_geometry_plan(&g, z->conf.object_memory);

	if (rc < 0) {
		snprintf(why, ZS_WHY, "no geometry fits object_memory");
		return rc;
	}
	for (int tries = 0; tries < PLACE_TRIES; tries++) {
		struct obj_report rep = {0};

		rc = stores_place(z, avoid, stores, why);
		if (rc < 0)
			return rc == -EINVAL ? -E_CONFIG : rc;
		rc = obj_write(w, z->keys, id, &g, stores, source, rec, &rep);
		if (rc != -EAGAIN)
			break;
		avoid_failed(z, stores, &rep, avoid, why);
	}
	return rc;
}

/*
 * The record of what was written. When too few metadata stores answer, some may hold its pieces all the same, and the next
 * read may find it: so the shards stay (at worst as garbage), whatever happens.
 */
static int write_record(struct zstor *z, struct obj_work *w, const struct obj_id *id,
			const struct record *rec, uint64_t version_high, char *why)
{
	struct record_state st = {0};
	struct meta m;
	int rc = -EAGAIN;

	zs_meta_copy(z, &m);
	for (unsigned tries = 0; rc == -EAGAIN && tries < RECORD_TRIES; tries++)
		rc = record_write(&m, w, rec, version_high + 1 + tries, &st);
	if (rc == 0)
		return object_owe_pieces(z, id, &st);
	snprintf(why, ZS_WHY, "fewer than %u metadata stores took the record: %s", m.k + 1, err_str(rc));
	return rc;
}

/* A record that was found on fewer stores than a write needs was never acknowledged: it counts once it is. */
static int confirm_record(struct zstor *z, struct obj_work *w, const struct obj_id *id,
			  struct record_state *st, char *why)
{
	struct meta m;
	int rc = 0;

	zs_meta_copy(z, &m);
	if ((unsigned)__builtin_popcount(st->have) < m.k + 1) {
		rc = record_repair(&m, w, id, st);
		if ((unsigned)__builtin_popcount(st->have) >= m.k + 1)
			rc = 0;
		else if (rc == 0)
			rc = -EAGAIN;
	}
	if (rc < 0) {
		snprintf(why, ZS_WHY, "fewer than %u metadata stores hold the record: %s", m.k + 1,
			 err_str(rc));
		return rc;
	}
	return object_owe_pieces(z, id, st);
}

int object_put(struct zstor *z, struct obj_work *w, const struct obj_id *id, const struct obj_source *source,
	       uint8_t content[CONTENT_ID_BYTES], char *why)
{
	struct record rec, old;
	struct record_state st = {0};
	uint64_t sequence;
	enum obj_answer a;
	bool is_there = false;
	int code = 0, rc;

	why[0] = '\0';
	record_init(&rec);
	record_init(&old);
	a = object_find(z, w, id, &old, &st, &code);
	if (a == OBJ_UNKNOWN) {
		snprintf(why, ZS_WHY, "the metadata stores cannot say whether it is stored already%s%s",
			 code ? ": " : "", code ? err_str(code) : "");
		rc = -EAGAIN;
		goto out;
	}
	if (a == OBJ_FOUND) {
		rc = object_hash(source, content);
		if (rc < 0)
			goto out;
		is_there = old.priv.size == source->size &&
			   memcmp(old.priv.content, content, CONTENT_ID_BYTES) == 0;
	}
	if (is_there) {
		rc = confirm_record(z, w, id, &st, why);
		goto out;
	}
	rc = write_shards(z, w, id, source, &rec, why);
	if (rc == 0)
		rc = write_record(z, w, id, &rec, st.version_high, why);
	if (rc < 0)
		goto out;
	memcpy(content, rec.priv.content, CONTENT_ID_BYTES);
	pthread_mutex_lock(&z->lock);
	sequence = z->vol.local.sequence;
	z->uploads_bytes += source->size;
	pthread_mutex_unlock(&z->lock);
	if (a == OBJ_FOUND)
		rc = object_discard_record(z, &old, sequence);
out:
	if (rc < 0 && !why[0])
		snprintf(why, ZS_WHY, "%s", err_str(rc));
	record_release(&rec);
	record_release(&old);
	return rc;
}
