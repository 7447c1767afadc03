/* Records from shards; see rebuild.h. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/base/endian.h"
#include "core/base/err.h"
#include "core/base/hmap.h"
#include "core/base/mem.h"
#include "core/coding/fragment.h"
#include "core/crypto/crypto.h"
#include "core/object/place_int.h"
#include "core/object/rebuild.h"

/* All shards of one object id. */
struct found {
	struct hmap_node node; /* by object id */
	struct record rec;     /* without lengths of stripes */
};

struct rebuild {
	const struct keyring *keys;
	struct hmap map;
	struct found **list;
	size_t count, room;
	/* of the scan under way */
	struct obj_store *store;
	struct rebuild_report *report;
	uint8_t *value; /* HEAD_MAX_BYTES */
};

int rebuild_new(const struct keyring *keys, struct rebuild **out)
{
	struct rebuild *b = mem_calloc(1, sizeof(*b));

	if (!b)
		return -ENOMEM;
	b->keys = keys;
	hmap_init(&b->map);
	b->value = mem_alloc(HEAD_MAX_BYTES);
	if (!b->value) {
		mem_free(b);
		return -ENOMEM;
	}
	*out = b;
	return 0;
}

void rebuild_free(struct rebuild *b)
{
	if (!b)
		return;
	for (size_t i = 0; i < b->count; i++) {
		record_release(&b->list[i]->rec);
		mem_free(b->list[i]);
	}
	hmap_release(&b->map);
	mem_free(b->list);
	mem_free(b->value);
	mem_free(b);
}

size_t rebuild_count(const struct rebuild *b)
{
	return b->count;
}

static bool same_object(const struct hmap_node *node, const void *key, size_t key_len)
{
	const struct found *f = container_of(node, struct found, node);

	return memcmp(f->rec.pub.object, key, key_len) == 0;
}

/* The object of this head, new or known. NULL without memory. */
static struct found *object_of(struct rebuild *b, const struct head *h, const struct head_private *priv)
{
	uint64_t hash = hmap_hash(h->pub.object, OBJ_ID_BYTES);
	struct hmap_node *node = hmap_find(&b->map, hash, same_object, h->pub.object, OBJ_ID_BYTES);
	struct found *f;

	if (node)
		return container_of(node, struct found, node);
	if (b->count == b->room) {
		size_t room = b->room ? 2 * b->room : 64;
		struct found **list = mem_realloc_array(b->list, room, sizeof(*list));

		if (!list)
			return NULL;
		b->list = list;
		b->room = room;
	}
	f = mem_calloc(1, sizeof(*f));
	if (!f)
		return NULL;
	f->rec.pub = h->pub;
	f->rec.priv = *priv;
	f->rec.values = h->values;
	memcpy(f->rec.box, h->box, HEAD_BOX_BYTES);
	hmap_add(&b->map, &f->node, hash);
	b->list[b->count++] = f;
	return f;
}

/* Adds the shard, if its index is new. 0 or -ENOMEM. */
static int add_shard(struct rebuild *b, struct found *f, const struct head *h, const void *key)
{
	struct record_shard *s = &f->rec.shards[f->rec.shards_count];

	if (record_shard(&f->rec, h->index) || f->rec.shards_count == f->rec.pub.n ||
	    h->values != f->rec.values)
		return 0;
	s->keys = NULL;
	if (h->type == OBJ_STORE_KEYS) {
		s->keys = mem_alloc((h->values + 1) * sizeof(uint64_t));
		if (!s->keys)
			return -ENOMEM;
		s->keys[0] = get_u64le(key);
		for (uint32_t v = 0; v < h->values; v++)
			s->keys[v + 1] = get_u64le(h->keys + 8 * (size_t)v);
	}
	s->index = h->index;
	s->type = h->type;
	memcpy(s->label, b->store->label, strlen(b->store->label) + 1);
	f->rec.shards_count++;
	return 0;
}

/* One value of a store. Only a lack of memory ends the scan. */
static int look_at_head(struct rebuild *b, const void *key, size_t key_len, size_t len)
{
	struct head_private priv;
	struct found *f;
	struct head h;
	int rc;

	if (head_parse(b->value, len, &h, NULL) != 0 || h.type != (uint8_t)b->store->type ||
	    (h.type == OBJ_STORE_KEYS && key_len != 8)) {
		b->report->damaged++;
		return 0;
	}
	if (memcmp(h.pub.volume, keyring_volume(b->keys), sizeof(h.pub.volume)) != 0) {
		b->report->foreign++;
		return 0;
	}
	if (head_box_open(&h.pub, h.box, b->keys, &priv) != 0) {
		b->report->damaged++;
		return 0;
	}
	b->report->heads++;
	f = object_of(b, &h, &priv);
	rc = f ? add_shard(b, f, &h, key) : -ENOMEM;
	crypto_wipe(&priv, sizeof(priv));
	return rc;
}

static int look_at_key(void *ctx, const void *key, size_t key_len)
{
	struct rebuild *b = ctx;
	size_t len = 0;
	int rc;

	b->report->keys++;
	rc = b->store->ops->get(b->store, key, key_len, b->value, HEAD_MAX_BYTES, &len);
	if (rc == -EMSGSIZE || rc == -ENOENT)
		return 0; /* too large for a head, or gone meanwhile */
	if (rc != 0)
		return rc;
	if (len < 4 || memcmp(b->value, "QSF1", 4) != 0)
		return 0;
	return look_at_head(b, key, key_len, len);
}

int rebuild_scan(struct rebuild *b, struct obj_store *store, struct rebuild_report *report)
{
	memset(report, 0, sizeof(*report));
	if (!store->ops->scan)
		return -ENOTSUP;
	b->store = store;
	b->report = report;
	return store->ops->scan(store, look_at_key, b);
}

/*
 * Reads the lengths S of all stripes off the fragments of one shard. 0; -EIO: the shard is not whole; else what its store
 * said.
 */
static int read_lengths(const struct record *rec, const struct record_shard *shard, struct obj_store *store,
			uint32_t *sealed)
{
	size_t room = (size_t)1 << rec->pub.value_log2;
	uint8_t *value = mem_alloc(room);
	uint32_t stripe = 0;
	int rc = value ? 0 : -ENOMEM;

	for (uint32_t v = 1; rc == 0 && v <= rec->values; v++) {
		struct value_key key;
		size_t len = 0, at = 0;

		place_key(&key, store, shard->keys, rec->pub.object, shard->index, v);
		rc = store->ops->get(store, key.bytes, key.len, value, room, &len);
		if (rc == -ENOENT || rc == -EMSGSIZE)
			rc = -EIO;
		while (rc == 0 && at < len) {
			uint64_t size =
				len - at >= FRAGMENT_HEADER_BYTES ? get_u32le(value + at + 4) : UINT64_MAX;
			struct fragment f;

			if (size > len - at - FRAGMENT_HEADER_BYTES || stripe == rec->pub.stripes ||
			    fragment_check(value + at, FRAGMENT_HEADER_BYTES + (size_t)size, &f) != 0 ||
			    f.index != shard->index || f.original > UINT32_MAX) {
				rc = -EIO;
				break;
			}
			sealed[stripe++] = (uint32_t)f.original;
			at += FRAGMENT_HEADER_BYTES + (size_t)size;
		}
	}
	mem_free(value);
	if (rc == 0 && (stripe != rec->pub.stripes || head_places(&rec->pub, sealed, NULL) != rec->values))
		rc = -EIO;
	return rc;
}

/* Whether the first and the last stripe open with these lengths. */
static int try_record(struct obj_work *w, const struct record *rec, const struct obj_stores *stores,
		      char *why)
{
	uint64_t stripe = (uint64_t)1 << rec->pub.stripe_log2;
	size_t len = rec->priv.size < stripe ? (size_t)rec->priv.size : (size_t)stripe;
	uint8_t *out;
	int rc;

	if (rec->priv.size == 0) {
		struct obj_sink none = {0}; /* nothing is written of an empty object */

		return obj_read(w, rec, stores, &none, NULL, why);
	}
	out = mem_alloc(len);
	if (!out)
		return -ENOMEM;
	rc = obj_read_range(w, rec, stores, 0, len, out, NULL, why);
	if (rc == 0)
		rc = obj_read_range(w, rec, stores, rec->priv.size - 1, 1, out, NULL, why);
	mem_free(out);
	return rc;
}

int rebuild_record(struct rebuild *b, struct obj_work *w, const struct obj_stores *stores, size_t index,
		   struct record *rec, char *why)
{
	char own[OBJ_WHY_BYTES];
	bool silent = false;
	int rc;

	why = why ? why : own;
	*why = 0;
	if (index >= b->count)
		return -EINVAL;
	rc = record_copy(rec, &b->list[index]->rec);
	if (rc != 0)
		return rc;
	rec->sealed = mem_calloc(rec->pub.stripes, sizeof(uint32_t));
	rc = rec->sealed ? -EIO : -ENOMEM;
	if (rc == -EIO && rec->shards_count < rec->pub.k)
		snprintf(why, OBJ_WHY_BYTES, "%u of %u shards needed were found", rec->shards_count,
			 (unsigned)rec->pub.k);
	/* any whole shard tells the lengths; one that lies gives a record that does not open */
	for (unsigned i = 0; rc != 0 && rc != -ENOMEM && rc != -ECANCELED && i < rec->shards_count &&
			     rec->shards_count >= rec->pub.k;
	     i++) {
		struct obj_store *store = obj_stores_find(stores, rec->shards[i].label);

		rc = store ? read_lengths(rec, &rec->shards[i], store, rec->sealed) : -ENODEV;
		if (rc == 0)
			rc = try_record(w, rec, stores, why);
		silent = silent || (rc != 0 && rc != -EIO);
	}
	if (rc != 0 && rc != -ENOMEM && rc != -ECANCELED)
		rc = silent ? -EAGAIN : -EIO;
	if (rc != 0)
		record_release(rec);
	return rc;
}
