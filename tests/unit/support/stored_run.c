/*
 * stored_run.c: see stored_run.h.
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
#include "core/zdb/compact_int.h"
#include "tests/unit/support/stored_run.h"

#define KEYS 10u

/* Each closing is compared with the index files as they are then. */
static int closed(void *ctx, struct zdb_ns *ns, uint32_t n, const char *dirty, const struct zdb_bundle *x)
{
	struct stored_run *r = ctx;
	struct kept_image im = {0};
	struct zu here = r->u;
	int rc;

	(void)dirty;
	here.ns = ns;
	r->told += x->replaced_count;
	rc = kept_bundle(&here, x);
	if (rc != 0)
		return rc;
	if (!r->is_at_cut)
		r->closing[n + 1] = r->ops;
	for (uint32_t i = 0; i <= n; i++)
		assert_true(kept_image_add(&im, &here, i) || r->is_at_cut);
	for (uint32_t i = 0; i <= n && !r->is_at_cut; i++) {
		char name[16];
		size_t size;
		uint8_t *b;

		snprintf(name, sizeof(name), "i%u", i);
		b = zu_file(&here, "default", name, &size);
		assert_non_null(b);
		assert_true(size >= im.size[i]);
		if (memcmp(b, im.index[i], im.size[i]) != 0)
			fail_msg("closing %u: the bundles do not give i%u as it is", n, i);
		free(b);
	}
	kept_image_free(&im);
	return 0;
}

static const struct zdb_events events = {.segment_closed = closed};

void sr_attach(struct stored_run *r)
{
	r->u.opt.events = &events;
	r->u.opt.events_ctx = r;
	r->u.opt.want_bundles = true;
}

struct stored_run *sr_new(enum zdb_mode mode, uint64_t keep_s, uint64_t seed)
{
	struct stored_run *r = calloc(1, sizeof(*r));
	char path[400];

	assert_non_null(r);
	r->mode = mode;
	r->keep_s = keep_s;
	r->rng = seed;
	zu_setup(&r->u, mode);
	snprintf(path, sizeof(path), "%s/store", r->u.dir);
	assert_int_equal(mkdir(path, 0700), 0);
	sr_attach(r);
	return r;
}

void sr_free(struct stored_run *r)
{
	if (r->disk != NULL)
		sim_disk_free(r->disk);
	zu_teardown(&r->u);
	free(r);
	kept_free();
}

/* ---------------------------------------------------------------------------------------------------- operations --- */

static size_t value_fill(unsigned op, uint8_t b[1000])
{
	size_t len = (size_t)snprintf((char *)b, 1000, "%u;", op), all = len + op * 37 % 600;

	memset(b + len, 'a' + (int)(op % 26), all - len);
	return all;
}

static size_t key_fill(const struct stored_run *r, unsigned key, uint8_t b[8])
{
	if (r->mode == ZDB_SEQ) {
		put_u64le(b, key);
		return 8;
	}
	return (size_t)snprintf((char *)b, 8, "k%u", key);
}

static void step_state(struct stored_run *r)
{
	memcpy(r->state[r->ops + 1], r->state[r->ops], sizeof(r->state[0]));
	r->ops++;
}

void sr_set(struct stored_run *r, unsigned key, bool insert)
{
	uint8_t b[1000], k[8];
	struct zdb_set_result res;
	size_t len = value_fill(r->ops, b);

	assert_int_equal(zdb_set(r->u.ns, k, insert ? 0 : key_fill(r, key, k), b, len, 1000 + r->ops, &res),
			 0);
	step_state(r);
	r->state[r->ops][insert ? (unsigned)get_u64le(res.key) : key] = (uint16_t)r->ops;
}

void sr_op(struct stored_run *r)
{
	unsigned live[SR_IDS], count = 0, dice = (unsigned)(test_random(&r->rng) % 100), key;
	uint8_t k[8];

	if (r->ops == SR_OPS)
		return;
	for (unsigned i = 0; i < SR_IDS; i++)
		if (r->state[r->ops][i] != 0)
			live[count++] = i;
	key = count == 0 ? 0 : live[test_random(&r->rng) % count];
	if (count == 0 || dice < 25) {
		sr_set(r, (unsigned)(test_random(&r->rng) % KEYS), r->mode == ZDB_SEQ);
	} else if (dice < 80) {
		sr_set(r, key, false);
	} else if (dice < 94) {
		assert_int_equal(zdb_del(r->u.ns, k, key_fill(r, key, k), 1000), 0);
		step_state(r);
		r->state[r->ops][key] = 0;
	} else {
		assert_int_equal(zdb_sync(r->u.ns, dice < 97 ? ZDB_SYNC_DATA : ZDB_SYNC_INDEX), 0);
	}
}

void sr_prepare(struct stored_run *r, unsigned each)
{
	assert_int_equal(zu_open(&r->u), 0);
	for (unsigned n = 0; n < SR_PREPARED; n++) {
		for (unsigned i = 0; i < each; i++)
			sr_op(r);
		assert_int_equal(zdb_jump(r->u.ns), 0);
	}
	zu_close(&r->u);
}

/* ----------------------------------------------------------------------------------------------------- comparing --- */

/* The operation that wrote what a key holds, + 1; 0 absent. */
static unsigned written_by(struct stored_run *r, struct zu *u, unsigned key, const char *where)
{
	uint8_t k[8], want[1000], *value;
	size_t size;
	unsigned op;
	int rc = zu_value(u->ns, k, key_fill(r, key, k), &value, &size);

	if (rc == -ENOENT)
		return 0;
	if (rc != 0)
		fail_msg("%s: key %u answers %d", where, key, rc);
	op = (unsigned)strtoul((const char *)value, NULL, 10);
	if (op >= SR_OPS || value_fill(op, want) != size || memcmp(want, value, size) != 0)
		fail_msg("%s: key %u holds what was never written", where, key);
	free(value);
	return op + 1;
}

unsigned sr_state_of(struct stored_run *r, struct zu *u, unsigned lower, unsigned upper, const char *where)
{
	uint16_t got[SR_IDS];

	for (unsigned k = 0; k < SR_IDS; k++)
		got[k] = (uint16_t)written_by(r, u, k, where);
	for (unsigned p = upper + 1; p-- > lower;)
		if (memcmp(got, r->state[p], sizeof(got)) == 0)
			return p;
	fail_msg("%s: not the state after any of %u..%u operations", where, lower, upper);
	return 0;
}

void sr_write_file(const char *dir, const char *name, uint32_t number, const void *b, size_t size)
{
	char path[500];
	FILE *f;

	snprintf(path, sizeof(path), "%s/default/%s%u", dir, name, number);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(b, 1, size, f), size);
	fclose(f);
}

void sr_check_restore(struct stored_run *r, const struct zu *from, uint32_t closed_count, unsigned ops,
		      const char *where)
{
	uint8_t head[64];
	struct kept_image im = {0};
	char out[300], path[500];
	struct zu u;

	snprintf(out, sizeof(out), "%s.restored", from->dir);
	zu_at(&u, out, r->mode);
	snprintf(path, sizeof(path), "%s/default", u.data);
	assert_int_equal(file_mkdir_p(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/default", u.index);
	assert_int_equal(file_mkdir_p(path, 0700), 0);
	for (uint32_t n = 0; n < closed_count; n++)
		assert_true(kept_image_add(&im, from, n));
	for (uint32_t n = 0; n < closed_count; n++) {
		const struct kept_content *c = kept_content(im.row[n]);

		assert_non_null(c);
		sr_write_file(u.data, "d", n, c->bytes, c->size);
		sr_write_file(u.index, "i", n, im.index[n], im.size[n]);
	}
	idx_header_encode(head, closed_count, r->mode);
	sr_write_file(u.index, "i", closed_count, head, IDX_HEADER);
	dat_header_encode(head, closed_count, 0);
	sr_write_file(u.data, "d", closed_count, head, DAT_HEADER);
	assert_int_equal(zdb_restore_mark(path, closed_count), 0);
	kept_image_free(&im);
	if (zu_open(&u) != 0)
		fail_msg("%s: what is restored does not open: %s", where, u.why);
	(void)sr_state_of(r, &u, ops, ops, where);
	zu_close(&u);
	zu_check(&u, where);
	assert_int_equal(file_rm_tree(out), 0);
}

void sr_check_restores(struct stored_run *r, const char *what)
{
	struct zdb_ns_info info;
	char where[100];

	zdb_ns_info(r->u.ns, &info);
	for (uint32_t n = SR_PREPARED; n <= info.data_current_id; n++) {
		snprintf(where, sizeof(where), "%s, closed %u of %u", what, n, info.data_current_id);
		sr_check_restore(r, &r->u, n, r->closing[n], where);
	}
}

/* ------------------------------------------------------------------------------------------------------ compacting --- */

struct zdb_compact_options sr_options(const struct stored_run *r, unsigned step)
{
	return (struct zdb_compact_options){.keep_s = r->keep_s,
					    .now_s = 1000 + SR_OPS,
					    .step = step,
					    .stored = true,
					    .below = UINT32_MAX};
}

struct zdb_compact_figures sr_compact(struct stored_run *r, unsigned step, unsigned jumps)
{
	struct zdb_compact_options o = sr_options(r, step);
	struct zdb_compact_figures f;
	struct zdb_compact *c;
	int rc;

	assert_int_equal(zdb_compact_begin(r->u.ns, &o, &c), 0);
	do {
		(void)zdb_compact_run(c);
		if (test_random(&r->rng) % 3 == 0)
			sr_op(r);
		if (jumps > 0 && test_random(&r->rng) % jumps == 0) {
			r->mixed_chances += c->phase == COMPACT_REPOINT && c->row > 0;
			assert_int_equal(zdb_jump(r->u.ns), 0);
		}
		rc = zdb_compact_done(c);
		r->steps++;
		if (test_random(&r->rng) % 3 == 0)
			sr_op(r);
		if (jumps > 0 && test_random(&r->rng) % jumps == 0) {
			r->mixed_chances += c->phase == COMPACT_REPOINT && c->row > 0;
			assert_int_equal(zdb_jump(r->u.ns), 0);
		}
	} while (rc > 0);
	assert_int_equal(rc, 0);
	zdb_compact_figures(c, &f);
	zdb_compact_end(c);
	return f;
}

void sr_stores_have_all(struct stored_run *r)
{
	struct zdb_ns_info info;

	zdb_ns_info(r->u.ns, &info);
	assert_int_equal(zdb_stored(r->u.ns, info.data_current_id), 0);
}
