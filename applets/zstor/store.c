/*
 * store: the backends of the configuration as the object room wants them, their health, and placement over them.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "applets/zstor/place.h"
#include "applets/zstor/zstor.h"
#include "core/base/clock.h"
#include "core/base/endian.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/base/sys.h"

#define FULL_MS        600000u /* a store that says it is full is left alone for so long */
#define BACKOFF_MAX_MS 5000u
#define CONNS_MAX      8u

static struct zs_store *store_of(struct obj_store *s)
{
	return s->ctx;
}

/* The object room wants -ENOENT for "no such key" alone; the pool keeps it for exactly that. */
static int op_set(struct obj_store *s, const void *key, size_t key_len, const void *value, size_t value_len,
		  uint64_t *assigned)
{
	struct zs_store *st = store_of(s);
	uint8_t made[8];
	size_t made_len = sizeof(made);
	int rc = backend_set(st->backend, key, key_len, value, value_len, key_len ? NULL : made,
			     key_len ? NULL : &made_len, NULL);

	if (rc == -ENOSPC)
		st->full_until_ms = clock_mono_ms() + FULL_MS;
	if (rc == 0 && key_len == 0) {
		if (made_len != sizeof(made) || !assigned)
			return -EPROTO;
		*assigned = get_u64le(made);
	}
	return rc;
}

static int copy_value(struct backend_value *v, void *out, size_t max, size_t *len)
{
	int rc = 0;

	if (v->len > max)
		rc = -EMSGSIZE;
	else {
		memcpy(out, v->data, v->len);
		*len = v->len;
	}
	backend_value_release(v);
	return rc;
}

static int op_get(struct obj_store *s, const void *key, size_t key_len, void *out, size_t max, size_t *len)
{
	struct backend_value v = {0};
	int rc = backend_get(store_of(s)->backend, key, key_len, &v, NULL);

	return rc < 0 ? rc : copy_value(&v, out, max, len);
}

static int op_get_range(struct obj_store *s, const void *key, size_t key_len, uint64_t offset, size_t want,
			void *out, size_t *got)
{
	struct backend_value v = {0};
	int rc = backend_getrange(store_of(s)->backend, key, key_len, offset, want, &v, NULL);

	return rc < 0 ? rc : copy_value(&v, out, want, got);
}

static int op_del(struct obj_store *s, const void *key, size_t key_len)
{
	return backend_del(store_of(s)->backend, key, key_len, NULL);
}

static const struct obj_store_ops ops = {
	.set = op_set, .get = op_get, .get_range = op_get_range, .del = op_del};

static int open_one(struct zstor *z, struct zs_store *s, const struct zconf_store *c, bool is_meta)
{
	s->is_meta = is_meta;
	s->group = c->group;
	snprintf(s->label, sizeof(s->label), "%s", c->addr.id);
	s->obj.ops = &ops;
	s->obj.label = s->label;
	s->obj.ctx = s;
	/* Learned at the first contact; metadata stores always take the keys that they are given. */
	s->obj.type = is_meta ? OBJ_STORE_NAMED : OBJ_STORE_KEYS;
	return pool_add(z->pool, &c->addr, &s->backend);
}

int stores_open(struct zstor *z, struct err_text *err)
{
	struct pool_options opt = {.conns_max = CONNS_MAX, .backoff_max_ms = BACKOFF_MAX_MS};
	int rc = pool_new(&z->pool, &opt);

	if (rc < 0)
		return err_set(err, rc, "cannot make the pool of stores: %s", err_str(rc));
	z->data = mem_calloc(z->conf.data_count, sizeof(*z->data));
	z->meta = mem_calloc(z->conf.meta_count, sizeof(*z->meta));
	z->data_list = mem_calloc(z->conf.data_count, sizeof(*z->data_list));
	z->meta_list = mem_calloc(z->conf.meta_count, sizeof(*z->meta_list));
	if (!z->data || !z->meta || !z->data_list || !z->meta_list)
		return -ENOMEM;
	for (unsigned i = 0; rc == 0 && i < z->conf.data_count; i++) {
		rc = open_one(z, &z->data[i], &z->conf.data[i], false);
		z->data_list[i] = &z->data[i].obj;
		z->data_count++;
	}
	for (unsigned i = 0; rc == 0 && i < z->conf.meta_count; i++) {
		rc = open_one(z, &z->meta[i], &z->conf.meta[i], true);
		z->meta_list[i] = &z->meta[i].obj;
		z->meta_count++;
	}
	z->data_stores.list = z->data_list;
	z->data_stores.count = z->data_count;
	return rc < 0 ? err_set(err, rc, "cannot use the stores: %s", err_str(rc)) : 0;
}

void stores_close(struct zstor *z)
{
	pool_free(z->pool);
	mem_free(z->data);
	mem_free(z->meta);
	mem_free(z->data_list);
	mem_free(z->meta_list);
	z->pool = NULL;
	z->data = z->meta = NULL;
	z->data_list = z->meta_list = NULL;
	z->data_count = z->meta_count = 0;
}

/* -------------------------------------------------------------------------------------------------- health --- */

void store_ping(struct zstor *z, struct zs_store *s)
{
	struct net_error err = {0};
	struct backend_state st;
	int rc = backend_ping(s->backend, &err);
	bool up, was = s->was_up;

	backend_state(s->backend, &st);
	up = rc == 0 && st.up;
	if (up && !s->is_meta)
		s->obj.type = st.kind == BACKEND_ZDB_SEQ ? OBJ_STORE_KEYS : OBJ_STORE_NAMED;
	s->was_up = up;
	if (up == was)
		return;
	if (up)
		log_info("store %s is up", s->label);
	else
		log_warn("store %s is down: %s", s->label, st.last_error);
	zs_changed(z);
}

void stores_ping_all(struct zstor *z)
{
	for (unsigned i = 0; i < z->meta_count; i++)
		store_ping(z, &z->meta[i]);
	for (unsigned i = 0; i < z->data_count; i++)
		store_ping(z, &z->data[i]);
}

static bool is_up(struct zs_store *s)
{
	struct backend_state st;

	backend_state(s->backend, &st);
	return st.up;
}

/* ----------------------------------------------------------------------------------------------- placement --- */

static uint32_t random_bits(void *ctx)
{
	uint32_t bits = 0;

	(void)ctx;
	if (sys->getrandom(&bits, sizeof(bits), 0) != sizeof(bits))
		bits = (uint32_t)clock_mono_ns();
	return bits;
}

static bool is_avoided(const uint64_t *avoid, unsigned i)
{
	return avoid && (avoid[i / 64] >> (i % 64) & 1);
}

/* "d2 (connection refused, 41s), d5 (full)" */
static void name_missing(struct zs_store *list, unsigned count, const uint64_t *avoid, char *why)
{
	uint64_t now = clock_mono_ms();
	size_t begin = strlen(why), n = begin;

	for (unsigned i = 0; i < count && n + 1 < ZS_WHY; i++) {
		struct zs_store *s = &list[i];
		struct backend_state st;
		char age[STR_HUMAN_MAX];

		backend_state(s->backend, &st);
		str_duration(age, sizeof(age), now > st.since_ms ? now - st.since_ms : 0);
		if (!st.tried)
			n += (size_t)snprintf(why + n, ZS_WHY - n, "%s %s (not tried yet)",
					      n > begin ? "," : "", s->label);
		else if (!st.up)
			n += (size_t)snprintf(why + n, ZS_WHY - n, "%s %s (%s, since %s)",
					      n > begin ? "," : "", s->label,
					      st.last_error[0] ? st.last_error : "not tried yet", age);
		else if (s->full_until_ms > now)
			n += (size_t)snprintf(why + n, ZS_WHY - n, "%s %s (full)", n > begin ? "," : "",
					      s->label);
		else if (is_avoided(avoid, i))
			n += (size_t)snprintf(why + n, ZS_WHY - n, "%s %s (failed just now)",
					      n > begin ? "," : "", s->label);
	}
}

int stores_place(struct zstor *z, const uint64_t *avoid, struct obj_store **out, char *why)
{
	struct place_node *nodes = mem_calloc(z->data_count, sizeof(*nodes));
	unsigned chosen[EC_PIECES_MAX], usable = 0;
	uint64_t now = clock_mono_ms();
	int rc;

	if (!nodes)
		return -ENOMEM;
	for (unsigned i = 0; i < z->data_count; i++) {
		struct zs_store *s = &z->data[i];

		nodes[i].group = s->group;
		nodes[i].weight = 1;
		nodes[i].usable = is_up(s) && s->full_until_ms <= now && !is_avoided(avoid, i);
		usable += nodes[i].usable;
	}
	rc = place_choose(nodes, z->data_count, (unsigned)z->conf.n, (unsigned)z->conf.k,
			  (unsigned)z->conf.redundant_groups, (unsigned)z->conf.redundant_nodes, random_bits,
			  NULL, chosen);
	mem_free(nodes);
	if (rc == 0) {
		for (unsigned i = 0; i < z->conf.n; i++)
			out[i] = &z->data[chosen[i]].obj;
		return 0;
	}
	if (why && rc == -EINVAL)
		snprintf(why, ZS_WHY,
			 "no placement of %" PRIu64 " shards over the configured groups survives the loss of "
			 "%" PRIu64 " groups and %" PRIu64 " stores in each other",
			 z->conf.n, z->conf.redundant_groups, z->conf.redundant_nodes);
	if (why && rc == -EAGAIN) {
		snprintf(why, ZS_WHY,
			 "%u of %u data stores can take a shard, %" PRIu64 " are needed:", usable,
			 z->data_count, z->conf.n);
		name_missing(z->data, z->data_count, avoid, why);
	}
	return rc;
}

/* Whether one that is away has been there less than `ms` ago, or has not been tried yet. */
static bool may_return(struct zs_store *list, unsigned count, uint64_t ms)
{
	uint64_t now = clock_mono_ms();
	bool may = false;

	for (unsigned i = 0; i < count && !may; i++) {
		struct backend_state st;

		backend_state(list[i].backend, &st);
		may = !st.tried || (!st.up && now < st.since_ms + ms);
	}
	return may;
}

bool stores_may_suffice(struct zstor *z, uint64_t away_ms, char *why)
{
	struct obj_store *stores[EC_PIECES_MAX];
	unsigned there = 0;

	for (unsigned i = 0; i < z->meta_count; i++)
		there += is_up(&z->meta[i]);
	if (there < z->conf.meta_k + 1) {
		snprintf(why, ZS_WHY, "%u of %u metadata stores are there, %" PRIu64 " are needed:", there,
			 z->meta_count, z->conf.meta_k + 1);
		name_missing(z->meta, z->meta_count, NULL, why);
		return may_return(z->meta, z->meta_count, away_ms);
	}
	return stores_place(z, NULL, stores, why) == 0 || may_return(z->data, z->data_count, away_ms);
}
