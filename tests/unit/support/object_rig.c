/*
 * object_rig: see object_rig.h. A store is a list of values under one lock.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tests/unit/support/object_rig.h"

#include "core/base/buf.h"
#include "core/base/endian.h"
#include "core/crypto/crypto.h"

static struct rig_store *rig_of(struct obj_store *s)
{
	return s->ctx;
}

/* Under the lock. The error with which this call has to end, or 0. */
static int rig_fault(struct rig_store *r)
{
	r->calls++;
	if (r->is_down)
		return -EHOSTUNREACH;
	if (r->fail_at > 0 && --r->fail_at == 0)
		return -EIO;
	if (r->fail_at < 0) {
		if (r->fail_at == -1)
			return -EIO;
		r->fail_at++;
	}
	return 0;
}

static void rig_enter(struct rig_store *r)
{
	struct timespec ts = {.tv_sec = r->delay_ms / 1000, .tv_nsec = (long)(r->delay_ms % 1000) * 1000000};

	if (r->delay_ms)
		nanosleep(&ts, NULL); /* a slow store, not a wait for something */
	pthread_mutex_lock(&r->lock);
}

static struct rig_value *rig_find(struct rig_store *r, const void *key, size_t key_len)
{
	for (size_t i = 0; i < r->count; i++)
		if (r->values[i].key_len == key_len && memcmp(r->values[i].key, key, key_len) == 0)
			return &r->values[i];
	return NULL;
}

static struct rig_value *rig_add(struct rig_store *r, const void *key, size_t key_len)
{
	struct rig_value *v;

	if (r->count % 16 == 0)
		r->values = realloc(r->values, (r->count + 16) * sizeof(*r->values));
	v = &r->values[r->count++];
	memset(v, 0, sizeof(*v));
	memcpy(v->key, key, key_len);
	v->key_len = key_len;
	return v;
}

static int rig_set(struct obj_store *s, const void *key, size_t key_len, const void *value, size_t len,
		   uint64_t *assigned)
{
	struct rig_store *r = rig_of(s);
	struct rig_value *v;
	uint8_t own[8];
	int rc;

	rig_enter(r);
	rc = rig_fault(r);
	if (rc == 0 && r->is_full)
		rc = -ENOSPC;
	if (rc == 0 && key_len == 0) {
		if (s->type != OBJ_STORE_KEYS)
			abort();
		*assigned = r->next_key++;
		put_u64le(own, *assigned);
		key = own;
		key_len = 8;
	} else if (rc == 0 && s->type == OBJ_STORE_KEYS && !rig_find(r, key, key_len)) {
		rc = -EINVAL; /* 0-db: an unknown id cannot be set */
	}
	if (rc == 0) {
		v = rig_find(r, key, key_len);
		if (!v)
			v = rig_add(r, key, key_len);
		free(v->bytes);
		v->bytes = malloc(len + 1);
		memcpy(v->bytes, value, len);
		v->len = len;
		r->sets++;
	}
	pthread_mutex_unlock(&r->lock);
	return rc;
}

static int rig_get(struct obj_store *s, const void *key, size_t key_len, void *out, size_t max, size_t *len)
{
	struct rig_store *r = rig_of(s);
	struct rig_value *v;
	int rc;

	rig_enter(r);
	rc = rig_fault(r);
	v = rc == 0 ? rig_find(r, key, key_len) : NULL;
	if (rc == 0 && !v)
		rc = -ENOENT;
	if (rc == 0 && v->len > max)
		rc = -EMSGSIZE;
	if (rc == 0) {
		memcpy(out, v->bytes, v->len);
		*len = v->len;
		r->bytes_out += v->len;
	}
	pthread_mutex_unlock(&r->lock);
	return rc;
}

static int rig_get_range(struct obj_store *s, const void *key, size_t key_len, uint64_t offset, size_t want,
			 void *out, size_t *got)
{
	struct rig_store *r = rig_of(s);
	struct rig_value *v;
	int rc;

	rig_enter(r);
	rc = rig_fault(r);
	*got = 0;
	v = rc == 0 ? rig_find(r, key, key_len) : NULL;
	if (rc == 0 && !v && s->type == OBJ_STORE_KEYS)
		rc = -ENOENT; /* a redis store answers a missing key with an empty range */
	if (v && offset < v->len) {
		*got = v->len - offset < want ? (size_t)(v->len - offset) : want;
		memcpy(out, v->bytes + offset, *got);
		r->bytes_out += *got;
	}
	pthread_mutex_unlock(&r->lock);
	return rc;
}

static int rig_del(struct obj_store *s, const void *key, size_t key_len)
{
	struct rig_store *r = rig_of(s);
	struct rig_value *v;
	int rc;

	rig_enter(r);
	rc = rig_fault(r);
	v = rc == 0 ? rig_find(r, key, key_len) : NULL;
	if (rc == 0 && !v)
		rc = -ENOENT;
	if (v) {
		free(v->bytes);
		*v = r->values[--r->count];
	}
	pthread_mutex_unlock(&r->lock);
	return rc;
}

/* The keys are copied first: `each` calls the store again. */
static int rig_scan(struct obj_store *s, int (*each)(void *ctx, const void *key, size_t key_len), void *ctx)
{
	struct rig_store *r = rig_of(s);
	struct rig_value *copy;
	size_t count;
	int rc;

	rig_enter(r);
	rc = rig_fault(r);
	count = r->count;
	copy = malloc((count + 1) * sizeof(*copy));
	if (count)
		memcpy(copy, r->values, count * sizeof(*copy));
	pthread_mutex_unlock(&r->lock);
	for (size_t i = 0; rc == 0 && i < count; i++)
		rc = each(ctx, copy[i].key, copy[i].key_len);
	free(copy);
	return rc;
}

static const struct obj_store_ops rig_ops = {
	.set = rig_set, .get = rig_get, .get_range = rig_get_range, .del = rig_del, .scan = rig_scan};
static const struct obj_store_ops rig_ops_plain = {.set = rig_set, .get = rig_get, .del = rig_del};

void rig_store_init(struct rig_store *r, const char *name, unsigned i, enum obj_store_type type)
{
	memset(r, 0, sizeof(*r));
	snprintf(r->label, sizeof(r->label), "%s%u", name, i);
	pthread_mutex_init(&r->lock, NULL);
	r->store = (struct obj_store){.ops = &rig_ops, .label = r->label, .type = type, .ctx = r};
}

void rig_store_plain(struct rig_store *r)
{
	r->store.ops = &rig_ops_plain;
}

void rig_store_clear(struct rig_store *r)
{
	for (size_t i = 0; i < r->count; i++)
		free(r->values[i].bytes);
	free(r->values);
	r->values = NULL;
	r->count = 0;
}

struct keyring *rig_keys(void)
{
	uint8_t key[32], volume[16];
	struct keyring *k;

	for (unsigned i = 0; i < 32; i++)
		key[i] = (uint8_t)i;
	for (unsigned i = 0; i < 16; i++)
		volume[i] = (uint8_t)(16 + i);
	return keyring_from_key(key, volume, &k) == 0 ? k : NULL;
}

int rig_start(struct rig *g, unsigned data, unsigned k_meta, unsigned metas,
	      const struct obj_work_options *options)
{
	memset(g, 0, sizeof(*g));
	g->data_count = data;
	g->meta_count = metas;
	g->generation = (uint64_t)1 << 32 | 7;
	for (unsigned i = 0; i < data; i++) {
		rig_store_init(&g->data[i], "data", i, i % 2 ? OBJ_STORE_KEYS : OBJ_STORE_NAMED);
		g->data_list[i] = &g->data[i].store;
	}
	for (unsigned i = 0; i < metas; i++) {
		rig_store_init(&g->metas[i], "meta", i, OBJ_STORE_NAMED);
		g->meta_list[i] = &g->metas[i].store;
	}
	g->stores = (struct obj_stores){.list = g->data_list, .count = data};
	g->keys = rig_keys();
	if (!g->keys || obj_work_new(options, &g->work) != 0)
		return -1;
	return metas ? meta_init(&g->meta, g->keys, "vol", k_meta, g->meta_list, metas) : 0;
}

void rig_stop(struct rig *g)
{
	obj_work_free(g->work);
	for (unsigned i = 0; i < g->data_count; i++)
		rig_store_clear(&g->data[i]);
	for (unsigned i = 0; i < g->meta_count; i++)
		rig_store_clear(&g->metas[i]);
	keyring_free(g->keys);
}

void rig_all_up(struct rig *g)
{
	for (unsigned i = 0; i < g->data_count; i++) {
		g->data[i].is_down = g->data[i].is_full = false;
		g->data[i].delay_ms = 0;
		g->data[i].fail_at = 0;
	}
	for (unsigned i = 0; i < g->meta_count; i++) {
		g->metas[i].is_down = g->metas[i].is_full = false;
		g->metas[i].delay_ms = 0;
		g->metas[i].fail_at = 0;
	}
}

size_t rig_data_values(const struct rig *g)
{
	size_t count = 0;

	for (unsigned i = 0; i < g->data_count; i++)
		count += g->data[i].count;
	return count;
}

void rig_fill(uint8_t *out, size_t len, uint32_t seed, bool packs)
{
	for (size_t i = 0; i < len; i++) {
		seed = seed * 1664525u + 1013904223u;
		out[i] = packs && i / 64 % 2 ? 'x' : (uint8_t)(seed >> 24);
	}
}

void rig_start_volume(struct rig *g, unsigned data, unsigned k_meta, unsigned metas)
{
	char why[META_ERROR_BYTES];

	assert_int_equal(rig_start(g, data, k_meta, metas, NULL), 0);
	assert_int_equal(meta_create(&g->meta, g->work, 1700000000, &g->generation, why), 0);
}

struct obj_id rig_id(const struct rig *g, uint64_t number)
{
	struct obj_id id;

	assert_int_equal(obj_id_set(&id, g->generation, OBJ_SEGMENT, number, "ns", 2), 0);
	return id;
}

int rig_write(struct rig *g, const struct obj_geometry *shape, uint64_t number, const void *bytes,
	      size_t size, struct record *rec, struct obj_report *report)
{
	struct obj_source source = obj_source_memory(bytes, size);
	struct obj_id id = rig_id(g, number);
	struct obj_report own;

	return obj_write(g->work, g->keys, &id, shape, g->data_list, &source, rec, report ? report : &own);
}

int rig_read(struct rig *g, const struct record *rec, const void *bytes, struct obj_report *report)
{
	struct buf out = BUF_INIT(rec->priv.size + 1);
	struct obj_sink sink = obj_sink_buf(&out);
	int rc = obj_read(g->work, rec, &g->stores, &sink, report, NULL);

	if (rc == 0) {
		assert_int_equal(out.len, rec->priv.size);
		if (out.len)
			assert_memory_equal(out.data, bytes, out.len);
	}
	buf_release(&out);
	return rc;
}
