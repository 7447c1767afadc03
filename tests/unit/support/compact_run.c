/*
 * compact_run.c: see compact_run.h.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>
#include <sys/stat.h>

#include "core/base/endian.h"
#include "core/base/file.h"
#include "tests/unit/support/compact_run.h"

#define KEYS      12u
#define VALUE_MAX 1500u

struct compact_run *cr_new(enum zdb_mode mode, uint64_t keep_s, uint64_t seed)
{
	struct compact_run *r = calloc(1, sizeof(*r));

	assert_non_null(r);
	r->mode = mode;
	r->keep_s = keep_s;
	r->rng = seed;
	zu_setup(&r->u, mode);
	return r;
}

void cr_free(struct compact_run *r)
{
	if (r->disk != NULL)
		sim_disk_free(r->disk);
	zu_teardown(&r->u);
	free(r);
}

struct zdb_compact_options cr_options(const struct compact_run *r, unsigned step)
{
	return (struct zdb_compact_options){.keep_s = r->keep_s, .now_s = 1000 + CR_OPS, .step = step};
}

static void value_fill(uint8_t *b, const struct compact_op *o)
{
	for (uint32_t i = 0; i < o->len; i++)
		b[i] = (uint8_t)(o->fill * 31 + i * 7 + i / 251 + 1);
}

static size_t key_fill(const struct compact_run *r, unsigned key, uint8_t b[8])
{
	if (r->mode == ZDB_SEQ) {
		put_u64le(b, key);
		return 8;
	}
	return (size_t)snprintf((char *)b, 8, "k%u", key);
}

unsigned cr_keys(const struct compact_run *r)
{
	return r->mode == ZDB_SEQ ? CR_IDS : KEYS;
}

/* --------------------------------------------------------------------------------------------- writing --- */

static void do_set(struct compact_run *r, unsigned key, bool insert)
{
	static uint8_t buf[VALUE_MAX];
	struct compact_op *o = &r->op[r->ops];
	uint16_t before = insert ? 0 : r->state[r->ops][key];
	uint8_t k[8];
	struct zdb_set_result res;

	o->len = test_random(&r->rng) % 5 == 0 ? 0 : (uint32_t)(test_random(&r->rng) % VALUE_MAX);
	o->fill = (uint16_t)r->ops;
	/* The value before the last one again: two versions that nothing but their place tells apart. */
	if (before != 0 && r->op[before - 1].before != 0 && test_random(&r->rng) % 2 == 0) {
		o->len = r->op[r->op[before - 1].before - 1].len;
		o->fill = r->op[r->op[before - 1].before - 1].fill;
	}
	o->calls = r->disk == NULL ? 0 : sim_disk_calls(r->disk);
	o->before = before;
	value_fill(buf, o);
	assert_int_equal(
		zdb_set(r->u.ns, k, insert ? 0 : key_fill(r, key, k), buf, o->len, 1000 + r->ops, &res), 0);
	if (insert)
		key = (unsigned)get_u64le(res.key);
	assert_true(key < CR_IDS);
	memcpy(r->state[r->ops + 1], r->state[r->ops], sizeof(r->state[0]));
	if (res.outcome != ZDB_UNCHANGED)
		r->state[r->ops + 1][key] = (uint16_t)(r->ops + 1);
	r->ops++;
}

static void do_del(struct compact_run *r, unsigned key)
{
	uint8_t k[8];

	r->op[r->ops] = (struct compact_op){.calls = r->disk == NULL ? 0 : sim_disk_calls(r->disk)};
	assert_int_equal(zdb_del(r->u.ns, k, key_fill(r, key, k), 1000), 0);
	memcpy(r->state[r->ops + 1], r->state[r->ops], sizeof(r->state[0]));
	r->state[r->ops + 1][key] = 0;
	r->ops++;
}

static void do_sync(struct compact_run *r, enum zdb_sync_kind kind)
{
	unsigned ops = r->ops;

	assert_int_equal(zdb_sync(r->u.ns, kind), 0);
	if (r->disk != NULL && r->ack_count < CR_OPS) {
		r->acks[r->ack_count].calls = sim_disk_calls(r->disk);
		r->acks[r->ack_count++].ops = ops;
	}
}

void cr_tick(struct compact_run *r)
{
	uint64_t next;
	struct zdb_sync *job = zdb_tick(r->u.eng, 1000000 + r->ops * 5000, &next);

	if (job == NULL)
		return;
	assert_int_equal(zdb_sync_run(job), 0);
	while (zdb_sync_done(job) == 1)
		assert_int_equal(zdb_sync_run(job), 0);
}

void cr_op(struct compact_run *r)
{
	unsigned live[CR_IDS], count = 0, dice = (unsigned)(test_random(&r->rng) % 100);

	if (r->ops == CR_OPS)
		return;
	for (unsigned k = 0; k < cr_keys(r); k++)
		if (r->state[r->ops][k] != 0)
			live[count++] = k;
	if (count == 0 || dice < (r->mode == ZDB_SEQ ? 20u : 15u))
		do_set(r, (unsigned)(test_random(&r->rng) % KEYS), r->mode == ZDB_SEQ);
	else if (dice < 80)
		do_set(r, live[test_random(&r->rng) % count], false);
	else if (dice < 92)
		do_del(r, live[test_random(&r->rng) % count]);
	else if (dice < 96)
		do_sync(r, dice < 94 ? ZDB_SYNC_DATA : ZDB_SYNC_INDEX);
	else
		cr_tick(r);
}

void cr_prepare(struct compact_run *r, unsigned each)
{
	assert_int_equal(zu_open(&r->u), 0);
	for (unsigned n = 0; n < 4; n++) {
		for (unsigned i = 0; i < each; i++)
			cr_op(r);
		assert_int_equal(zdb_jump(r->u.ns), 0);
	}
	zu_close(&r->u);
}

/* --------------------------------------------------------------------------------------------- reading --- */

static bool same(const struct compact_op *o, const uint8_t *value, size_t size)
{
	static uint8_t want[VALUE_MAX];

	value_fill(want, o);
	return size == o->len && memcmp(want, value, size) == 0;
}

unsigned cr_version(struct compact_run *r, struct zu *u, unsigned key, const char *where)
{
	struct zdb_meta meta;
	uint8_t k[8], *value;
	size_t size;
	int rc = zu_value(u->ns, k, key_fill(r, key, k), &value, &size);
	unsigned found;

	if (rc == -ENOENT)
		return 0;
	if (rc != 0)
		fail_msg("%s: key %u answers %d", where, key, rc);
	assert_int_equal(zdb_stat(u->ns, k, key_fill(r, key, k), &meta), 0);
	found = meta.timestamp - 1000 + 1;
	if (found == 0 || found > r->ops || r->state[found][key] != found ||
	    !same(&r->op[found - 1], value, size))
		fail_msg("%s: key %u has a value that was never written to it", where, key);
	free(value);
	return found;
}

static bool must_be_kept(const struct compact_run *r, unsigned version)
{
	if (r->keep_s == ZDB_KEEP_ALL)
		return true;
	return r->keep_s != ZDB_KEEP_NONE && version - 1 + r->keep_s >= CR_OPS;
}

/* HISTORY gives the versions of the model, newest first, down to one that may be gone, and says so itself. */
static void check_history(struct compact_run *r, struct zu *u, unsigned key, unsigned version,
			  const char *where)
{
	uint8_t k[8], cursor[8], buf[VALUE_MAX];
	size_t klen = key_fill(r, key, k), size = 0;

	for (;;) {
		unsigned before = r->op[version - 1].before;
		struct zdb_read rd;
		bool more;
		int rc = zdb_history(u->ns, k, klen, cursor, size, &rd, cursor, &more, NULL);

		if (rc != 0)
			fail_msg("%s: history of key %u: version %u answers %d", where, key, version, rc);
		assert_true(rd.length <= VALUE_MAX);
		rc = zdb_read_run(&rd, 0, rd.length, buf);
		zdb_read_end(u->ns, &rd);
		if (rc != 0 || rd.timestamp != 1000 + version - 1 ||
		    !same(&r->op[version - 1], buf, rd.length))
			fail_msg("%s: history of key %u: version %u has another value (%d)", where, key,
				 version, rc);
		if (!more && before != 0 && must_be_kept(r, before))
			fail_msg("%s: history of key %u ends before version %u", where, key, before);
		if (more && before == 0)
			fail_msg("%s: history of key %u goes on before version %u", where, key, version);
		if (!more)
			return;
		version = before;
		size = 8;
	}
}

static bool count_one(void *ctx, const struct zdb_entry *e)
{
	(void)e;
	++*(unsigned *)ctx;
	return true;
}

void cr_check_scan(struct zu *u, unsigned live, const char *where)
{
	for (int backward = 0; backward < 2; backward++) {
		unsigned listed = 0;
		uint8_t next[17];
		int rc = zdb_scan(u->ns, NULL, 0, backward, 0, 0, count_one, &listed, next);

		if (listed != live || (rc != 0 && live != 0))
			fail_msg("%s: SCAN lists %u of %u (%d)", where, listed, live, rc);
	}
}

void cr_check(struct compact_run *r, struct zu *u, unsigned ops, const char *where)
{
	struct zdb_ns_info info;
	unsigned live = 0;

	for (unsigned k = 0; k < cr_keys(r); k++) {
		unsigned want = r->state[ops][k], got = cr_version(r, u, k, where);

		if (want != got)
			fail_msg("%s: key %u is version %u, not %u", where, k, got, want);
		live += want != 0;
		if (want != 0)
			check_history(r, u, k, want, where);
	}
	zdb_ns_info(u->ns, &info);
	assert_int_equal(info.entries, live);
	cr_check_scan(u, live, where);
}

uint64_t cr_data_bytes(struct zu *u, unsigned segments)
{
	uint64_t sum = 0;

	for (unsigned n = 0; n < segments; n++) {
		char name[16], path[900];
		struct stat st;

		snprintf(name, sizeof(name), "d%u", n);
		zu_path(u, "default", name, path, sizeof(path));
		assert_int_equal(stat(path, &st), 0);
		sum += (uint64_t)st.st_size;
	}
	return sum;
}

static int no_note(void *ctx, const char *name, unsigned char type)
{
	(void)type;
	if (strcmp(name, "compact") == 0 || strcmp(name, "reindex") == 0 || strstr(name, ".new") != NULL ||
	    strstr(name, ".tmp") != NULL)
		fail_msg("%s: %s is left", (const char *)ctx, name);
	return 0;
}

void cr_no_litter(struct zu *u, char *where)
{
	char path[900];

	zu_path(u, "default", "", path, sizeof(path));
	assert_int_equal(file_list(path, no_note, where), 0);
	snprintf(path, sizeof(path), "%s/default", u->data);
	assert_int_equal(file_list(path, no_note, where), 0);
}

/* ------------------------------------------------------------------------------------------------ both --- */

void cr_interleave(struct compact_run *r, unsigned ops_each, bool look)
{
	struct zdb_compact_options o = cr_options(r, 2);
	struct zdb_compact *c;
	int rc;

	assert_int_equal(zdb_compact_begin(r->u.ns, &o, &c), 0);
	if (zdb_ns_is_ahead(r->u.ns))
		do_sync(r, ZDB_SYNC_INDEX);
	do {
		(void)zdb_compact_run(c);
		for (unsigned i = 0; i < ops_each; i++)
			if (test_random(&r->rng) % 3 == 0)
				cr_op(r);
		if (test_random(&r->rng) % 2 == 0)
			cr_tick(r);
		rc = zdb_compact_done(c);
		r->steps++;
		if (look)
			cr_check(r, &r->u, r->ops, "in between");
		if (test_random(&r->rng) % 40 == 0)
			assert_int_equal(zdb_jump(r->u.ns), 0);
	} while (rc > 0);
	assert_int_equal(rc, 0);
	zdb_compact_end(c);
}
