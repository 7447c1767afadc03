/*
 * Compaction of a namespace whose closings are kept elsewhere: what bundles and contents say of every closing is a whole state, with
 * the old files or the new ones, never a mixture; also after a power cut at every call, a lost bundle, and while others write.
 *
 * The elsewhere is a directory of bundles, written as durably as a spool would, and all contents that were ever closed. TEST_SEED
 * repeats a run.
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
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/endian.h"
#include "core/base/file.h"
#include "core/coding/content_id.h"
#include "core/zdb/compact_int.h"
#include "tests/unit/support/sys_test.h"
#include "tests/unit/support/zdb_util.h"

#define OPS      240u
#define KEYS     10u
#define IDS      (2u * OPS)
#define SEGMENTS 256u
#define PREPARED 4u

/* ---------------------------------------------------------------------------------------------------- the elsewhere --- */

/* Every content that stores may hold: what is uploaded is never lost, whatever happens to the node. */
static struct content {
	uint8_t id[16], *bytes;
	size_t size;
} * contents;
static size_t contents_count;

static const struct content *content_find(const uint8_t id[16])
{
	for (size_t i = 0; i < contents_count; i++)
		if (memcmp(contents[i].id, id, 16) == 0)
			return &contents[i];
	return NULL;
}

/* d<n> as it leaves the node. */
static void content_take(struct zu *u, uint32_t n, uint8_t id[16])
{
	char name[16];
	size_t size;
	uint8_t *b;

	snprintf(name, sizeof(name), "d%u", n);
	b = zu_file(u, "default", name, &size);
	assert_non_null(b);
	memset(b + DAT_STAMP_AT, 0, 8);
	content_id_of(b, size, id);
	if (content_find(id) != NULL) {
		free(b);
		return;
	}
	contents = realloc(contents, (contents_count + 1) * sizeof(*contents));
	assert_non_null(contents);
	memcpy(contents[contents_count].id, id, 16);
	contents[contents_count].bytes = b;
	contents[contents_count++].size = size;
}

static void contents_free(void)
{
	for (size_t i = 0; i < contents_count; i++)
		free(contents[i].bytes);
	free(contents);
	contents = NULL;
	contents_count = 0;
}

/* What bundles 0 .. n say together. */
struct image {
	uint8_t *index[SEGMENTS];
	uint32_t size[SEGMENTS];
	uint8_t row[SEGMENTS][16];
};

static void image_free(struct image *im)
{
	for (unsigned i = 0; i < SEGMENTS; i++)
		free(im->index[i]);
	memset(im, 0, sizeof(*im));
}

static void image_write(struct image *im, uint32_t file, uint32_t off, const uint8_t *b, uint32_t len)
{
	assert_true(file < SEGMENTS);
	if (off + len > im->size[file]) {
		im->index[file] = realloc(im->index[file], off + len);
		assert_non_null(im->index[file]);
		memset(im->index[file] + im->size[file], 0, off + len - im->size[file]);
		im->size[file] = off + len;
	}
	memcpy(im->index[file] + off, b, len);
}

static void bundle_path(const struct zu *u, uint32_t n, char *path, size_t size)
{
	snprintf(path, size, "%s/store/x%u", u->dir, n);
}

/* A bundle as it is kept: rows, then extents with their bytes. */
static bool image_add(struct image *im, const struct zu *u, uint32_t n)
{
	char path[400], *text;
	const uint8_t *b;
	uint32_t rows, extents;
	size_t len;

	bundle_path(u, n, path, sizeof(path));
	if (file_read_all(path, 64u << 20, &text, &len) != 0)
		return false;
	b = (const uint8_t *)text;
	rows = get_u32le(b);
	extents = get_u32le(b + 4);
	b += 8;
	for (uint32_t i = 0; i < rows; i++, b += 20)
		memcpy(im->row[get_u32le(b)], b + 4, 16);
	for (uint32_t i = 0; i < extents; i++) {
		image_write(im, get_u32le(b), get_u32le(b + 4), b + 12, get_u32le(b + 8));
		b += 12 + get_u32le(b + 8);
	}
	assert_ptr_equal(b, text + len);
	free(text);
	return true;
}

struct sink {
	uint8_t *b;
	size_t at;
};

static int sink_bytes(void *ctx, const void *bytes, size_t size)
{
	struct sink *s = ctx;

	memcpy(s->b + s->at, bytes, size);
	s->at += size;
	return 0;
}

/* Keeps a bundle durably, with the rows of its own segment and of those that were replaced. */
static int bundle_keep(struct zu *u, const struct zdb_bundle *x)
{
	uint32_t rows = x->replaced_count + 1;
	size_t size = 8 + 20 * rows + 12 * (size_t)x->extents_count + x->bytes;
	uint8_t *b = malloc(size), *raw = malloc(x->bytes + 1), *to = b + 8;
	struct sink s = {raw, 0};
	char path[400];
	int rc;

	assert_non_null(b);
	assert_non_null(raw);
	put_u32le(b, rows);
	put_u32le(b + 4, x->extents_count);
	for (uint32_t i = 0; i < x->replaced_count; i++, to += 20) {
		uint8_t id[16];

		put_u32le(to, x->replaced[i].segment);
		content_take(u, x->replaced[i].segment, id);
		assert_memory_equal(id, x->replaced[i].content, 16);
		assert_int_equal(content_find(id)->size, x->replaced[i].size);
		memcpy(to + 4, id, 16);
	}
	put_u32le(to, x->segment);
	content_take(u, x->segment, to + 4);
	to += 20;
	rc = zdb_bundle_read(x, sink_bytes, &s);
	if (rc == 0)
		assert_int_equal(s.at, x->bytes);
	s.at = 0;
	for (uint32_t i = 0; i < x->extents_count; i++) {
		put_u32le(to, x->extents[i].file);
		put_u32le(to + 4, x->extents[i].offset);
		put_u32le(to + 8, x->extents[i].length);
		memcpy(to + 12, raw + s.at, x->extents[i].length);
		s.at += x->extents[i].length;
		to += 12 + x->extents[i].length;
	}
	bundle_path(u, x->segment, path, sizeof(path));
	if (rc == 0)
		rc = file_write_atomic(path, 0600, b, size);
	free(b);
	free(raw);
	return rc;
}

/* ---------------------------------------------------------------------------------------------------------- a run --- */

struct run {
	struct zu u;
	enum zdb_mode mode;
	uint64_t keep_s, rng;
	struct sim_disk *disk;
	unsigned ops;
	uint16_t state[OPS + 1][IDS]; /* the operation that wrote each key, 1 + its number; 0 absent */
	unsigned closing[SEGMENTS];   /* operations when segment n - 1 closed */
	unsigned told, steps, mixed_chances;
	bool is_at_cut; /* a directory after a power cut: its history is not known */
};

/* Each closing is compared with the index files as they are then. */
static int closed(void *ctx, struct zdb_ns *ns, uint32_t n, const char *dirty, const struct zdb_bundle *x)
{
	struct run *r = ctx;
	struct image im = {0};
	struct zu here = r->u;
	int rc;

	(void)dirty;
	here.ns = ns;
	r->told += x->replaced_count;
	rc = bundle_keep(&here, x);
	if (rc != 0)
		return rc;
	if (!r->is_at_cut)
		r->closing[n + 1] = r->ops;
	for (uint32_t i = 0; i <= n; i++)
		assert_true(image_add(&im, &here, i) || r->is_at_cut);
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
	image_free(&im);
	return 0;
}

static const struct zdb_events events = {.segment_closed = closed};

static void attach(struct run *r)
{
	r->u.opt.events = &events;
	r->u.opt.events_ctx = r;
	r->u.opt.want_bundles = true;
}

static struct run *run_new(enum zdb_mode mode, uint64_t keep_s, uint64_t seed)
{
	struct run *r = calloc(1, sizeof(*r));
	char path[400];

	assert_non_null(r);
	r->mode = mode;
	r->keep_s = keep_s;
	r->rng = seed;
	zu_setup(&r->u, mode);
	snprintf(path, sizeof(path), "%s/store", r->u.dir);
	assert_int_equal(mkdir(path, 0700), 0);
	attach(r);
	return r;
}

static void run_free(struct run *r)
{
	if (r->disk != NULL)
		sim_disk_free(r->disk);
	zu_teardown(&r->u);
	free(r);
	contents_free();
}

/* ---------------------------------------------------------------------------------------------------- operations --- */

static size_t value_fill(unsigned op, uint8_t b[1000])
{
	size_t len = (size_t)snprintf((char *)b, 1000, "%u;", op), all = len + op * 37 % 600;

	memset(b + len, 'a' + (int)(op % 26), all - len);
	return all;
}

static size_t key_fill(const struct run *r, unsigned key, uint8_t b[8])
{
	if (r->mode == ZDB_SEQ) {
		put_u64le(b, key);
		return 8;
	}
	return (size_t)snprintf((char *)b, 8, "k%u", key);
}

static void step_state(struct run *r)
{
	memcpy(r->state[r->ops + 1], r->state[r->ops], sizeof(r->state[0]));
	r->ops++;
}

static void do_set(struct run *r, unsigned key, bool insert)
{
	uint8_t b[1000], k[8];
	struct zdb_set_result res;
	size_t len = value_fill(r->ops, b);

	assert_int_equal(zdb_set(r->u.ns, k, insert ? 0 : key_fill(r, key, k), b, len, 1000 + r->ops, &res),
			 0);
	step_state(r);
	r->state[r->ops][insert ? (unsigned)get_u64le(res.key) : key] = (uint16_t)r->ops;
}

static void one_op(struct run *r)
{
	unsigned live[IDS], count = 0, dice = (unsigned)(test_random(&r->rng) % 100), key;
	uint8_t k[8];

	if (r->ops == OPS)
		return;
	for (unsigned i = 0; i < IDS; i++)
		if (r->state[r->ops][i] != 0)
			live[count++] = i;
	key = count == 0 ? 0 : live[test_random(&r->rng) % count];
	if (count == 0 || dice < 25) {
		do_set(r, (unsigned)(test_random(&r->rng) % KEYS), r->mode == ZDB_SEQ);
	} else if (dice < 80) {
		do_set(r, key, false);
	} else if (dice < 94) {
		assert_int_equal(zdb_del(r->u.ns, k, key_fill(r, key, k), 1000), 0);
		step_state(r);
		r->state[r->ops][key] = 0;
	} else {
		assert_int_equal(zdb_sync(r->u.ns, dice < 97 ? ZDB_SYNC_DATA : ZDB_SYNC_INDEX), 0);
	}
}

static void prepare(struct run *r, unsigned each)
{
	assert_int_equal(zu_open(&r->u), 0);
	for (unsigned n = 0; n < PREPARED; n++) {
		for (unsigned i = 0; i < each; i++)
			one_op(r);
		assert_int_equal(zdb_jump(r->u.ns), 0);
	}
	zu_close(&r->u);
}

/* ----------------------------------------------------------------------------------------------------- comparing --- */

/* The operation that wrote what a key holds, + 1; 0 absent. */
static unsigned written_by(struct run *r, struct zu *u, unsigned key, const char *where)
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
	if (op >= OPS || value_fill(op, want) != size || memcmp(want, value, size) != 0)
		fail_msg("%s: key %u holds what was never written", where, key);
	free(value);
	return op + 1;
}

/* After how many operations from `lower` on this is the state; fails when it is none. */
static unsigned state_of(struct run *r, struct zu *u, unsigned lower, unsigned upper, const char *where)
{
	uint16_t got[IDS];

	for (unsigned k = 0; k < IDS; k++)
		got[k] = (uint16_t)written_by(r, u, k, where);
	for (unsigned p = upper + 1; p-- > lower;)
		if (memcmp(got, r->state[p], sizeof(got)) == 0)
			return p;
	fail_msg("%s: not the state after any of %u..%u operations", where, lower, upper);
	return 0;
}

static void finding(void *ctx, int level, const char *ns, const char *text)
{
	(void)ns;
	if (level > 0)
		fail_msg("%s: check: %s", (const char *)ctx, text);
}

static void write_whole(const char *dir, const char *name, uint32_t number, const void *b, size_t size)
{
	char path[500];
	FILE *f;

	snprintf(path, sizeof(path), "%s/default/%s%u", dir, name, number);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(b, 1, size, f), size);
	fclose(f);
}

/* What a restore of the point that names bundles 0 .. closed-1 gives is the state after `ops` operations. */
static void check_restore(struct run *r, const struct zu *from, uint32_t closed_count, unsigned ops,
			  const char *where)
{
	uint8_t head[64];
	struct image im = {0};
	char out[300], path[500];
	struct zu u;

	snprintf(out, sizeof(out), "%s.restored", from->dir);
	zu_at(&u, out, r->mode);
	snprintf(path, sizeof(path), "%s/default", u.data);
	assert_int_equal(file_mkdir_p(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/default", u.index);
	assert_int_equal(file_mkdir_p(path, 0700), 0);
	for (uint32_t n = 0; n < closed_count; n++)
		assert_true(image_add(&im, from, n));
	for (uint32_t n = 0; n < closed_count; n++) {
		const struct content *c = content_find(im.row[n]);

		assert_non_null(c);
		write_whole(u.data, "d", n, c->bytes, c->size);
		write_whole(u.index, "i", n, im.index[n], im.size[n]);
	}
	idx_header_encode(head, closed_count, r->mode);
	write_whole(u.index, "i", closed_count, head, IDX_HEADER);
	dat_header_encode(head, closed_count, 0);
	write_whole(u.data, "d", closed_count, head, DAT_HEADER);
	assert_int_equal(zdb_restore_mark(path, closed_count), 0);
	image_free(&im);
	if (zu_open(&u) != 0)
		fail_msg("%s: what is restored does not open: %s", where, u.why);
	(void)state_of(r, &u, ops, ops, where);
	zu_close(&u);
	assert_int_equal(zdb_verify(&u.opt, finding, (void *)(uintptr_t)where), 0);
	assert_int_equal(file_rm_tree(out), 0);
}

static void check_restores(struct run *r, const char *what)
{
	struct zdb_ns_info info;
	char where[100];

	zdb_ns_info(r->u.ns, &info);
	for (uint32_t n = PREPARED; n <= info.data_current_id; n++) {
		snprintf(where, sizeof(where), "%s, closed %u of %u", what, n, info.data_current_id);
		check_restore(r, &r->u, n, r->closing[n], where);
	}
}

/* ------------------------------------------------------------------------------------------------------ compacting --- */

static struct zdb_compact_options options_of(const struct run *r, unsigned step)
{
	return (struct zdb_compact_options){
		.keep_s = r->keep_s, .now_s = 1000 + OPS, .step = step, .stored = true, .below = UINT32_MAX};
}

/* In steps, with operations and rotations in between, at every phase. */
static struct zdb_compact_figures compact(struct run *r, unsigned step, unsigned jumps)
{
	struct zdb_compact_options o = options_of(r, step);
	struct zdb_compact_figures f;
	struct zdb_compact *c;
	int rc;

	assert_int_equal(zdb_compact_begin(r->u.ns, &o, &c), 0);
	do {
		(void)zdb_compact_run(c);
		if (test_random(&r->rng) % 3 == 0)
			one_op(r);
		if (jumps > 0 && test_random(&r->rng) % jumps == 0) {
			r->mixed_chances += c->phase == COMPACT_REPOINT && c->row > 0;
			assert_int_equal(zdb_jump(r->u.ns), 0);
		}
		rc = zdb_compact_done(c);
		r->steps++;
		if (test_random(&r->rng) % 3 == 0)
			one_op(r);
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

static void stores_have_all(struct run *r)
{
	struct zdb_ns_info info;

	zdb_ns_info(r->u.ns, &info);
	assert_int_equal(zdb_stored(r->u.ns, info.data_current_id), 0);
}

/* Every closing before, during and after compactions can be restored. */
static void whole(uint64_t seed)
{
	struct run *r = run_new(ZDB_SEQ, ZDB_KEEP_NONE, seed);
	struct zdb_compact_options o = options_of(r, 0);
	struct zdb_compact_figures f;
	struct zdb_compact *c;
	size_t untold;

	prepare(r, 14);
	assert_int_equal(zu_open(&r->u), 0);
	assert_int_equal(zdb_compact_begin(r->u.ns, &o, &c), -ENODATA);
	for (unsigned round = 0; round < 2; round++) {
		stores_have_all(r);
		assert_int_equal(zdb_replaced_count(r->u.ns, NULL), 0);
		f = compact(r, 1 + (unsigned)(seed % 3), 20);
		assert_int_equal(f.refused + f.absent, 0);
		assert_true(f.rewritten > 0);
		assert_int_equal(zdb_replaced_count(r->u.ns, &untold), f.rewritten);
		assert_int_equal(zdb_compact_begin(r->u.ns, &o, &c), -EALREADY);
		assert_int_equal(zdb_jump(r->u.ns), 0);
		assert_int_equal(zdb_replaced_count(r->u.ns, &untold), f.rewritten);
		assert_int_equal(untold, 0);
		check_restores(r, "compacted");
		for (unsigned i = 0; i < 10; i++)
			one_op(r);
		assert_int_equal(zdb_jump(r->u.ns), 0);
		check_restores(r, "and written to");
	}
	stores_have_all(r);
	zu_close(&r->u);
	assert_int_equal(zdb_verify(&r->u.opt, finding, "afterwards"), 0);
	assert_int_equal(zu_open(&r->u), 0);
	assert_int_equal(zdb_replaced_count(r->u.ns, NULL), 0);
	(void)state_of(r, &r->u, r->ops, r->ops, "opened again");
	zu_close(&r->u);
	if (seed % 1000 == 0)
		print_message("%u replaced segments told, %u steps, %u rotations in the middle of one\n",
			      r->told, r->steps, r->mixed_chances);
	run_free(r);
}

static void every_closing(void **state)
{
	uint64_t seed = *(uint64_t *)*state;

	for (unsigned i = 0; i < 20; i++) {
		whole(seed + i);
	}
}

/* A rotation right in the middle of re-pointing ends that first, and the compaction goes on. */
static void in_the_middle(void **state)
{
	unsigned rotations = 0;

	for (uint64_t i = 0; i < 4; i++) {
		struct run *r = run_new(ZDB_SEQ, ZDB_KEEP_NONE, i + *(uint64_t *)*state);
		struct zdb_compact_options o = options_of(r, 1);
		struct zdb_compact *c;
		size_t untold;
		int rc;

		prepare(r, 25);
		assert_int_equal(zu_open(&r->u), 0);
		stores_have_all(r);
		assert_int_equal(zdb_compact_begin(r->u.ns, &o, &c), 0);
		do {
			(void)zdb_compact_run(c);
			rc = zdb_compact_done(c);
			if (c->phase == COMPACT_REPOINT && c->row == 1 && c->intent.rows > 1) {
				unsigned told = r->told;

				assert_int_equal(zdb_jump(r->u.ns), 0); /* the callback compares */
				assert_true(r->told > told);
				(void)zdb_replaced_count(r->u.ns, &untold);
				assert_int_equal(untold, 0);
				rotations++;
			}
		} while (rc > 0);
		assert_int_equal(rc, 0);
		zdb_compact_end(c);
		assert_int_equal(zdb_jump(r->u.ns), 0);
		check_restores(r, "rotated in the middle");
		zu_close(&r->u);
		run_free(r);
	}
	assert_true(rotations > 0);
}

/* A bundle that was lost on its way is made again without what was replaced: the next closing tells it. */
static void bundle_lost(void **state)
{
	for (uint64_t k = 0; k < 4; k++) {
		struct run *r = run_new(ZDB_SEQ, ZDB_KEEP_NONE, k + *(uint64_t *)*state + 17);
		struct zdb_compact_figures f;
		struct zdb_bundle *again;
		struct zdb_ns_info info;
		uint32_t lost;
		size_t untold;

		prepare(r, 14);
		assert_int_equal(zu_open(&r->u), 0);
		stores_have_all(r);
		f = compact(r, 4, 0);
		assert_true(f.rewritten > 0);
		assert_int_equal(zdb_jump(r->u.ns), 0);
		zdb_ns_info(r->u.ns, &info);
		lost = info.data_current_id - 1;
		for (unsigned i = 0; i < 25; i++)
			one_op(r);
		assert_int_equal(zdb_sync(r->u.ns, ZDB_SYNC_INDEX), 0);
		assert_int_equal(zdb_bundle_derive(r->u.ns, lost, &again), 0);
		assert_int_equal(again->replaced_count, 0);
		assert_int_equal(bundle_keep(&r->u, again), 0);
		zdb_bundle_free(again);
		assert_int_equal(zdb_replaced_count(r->u.ns, &untold), f.rewritten);
		assert_int_equal(untold, f.rewritten);
		check_restores(r, "without");
		/* Whatever the point says, what it does not name is not forgotten. */
		stores_have_all(r);
		assert_int_equal(zdb_replaced_count(r->u.ns, NULL), f.rewritten);
		assert_int_equal(zdb_jump(r->u.ns), 0);
		check_restores(r, "told again");
		stores_have_all(r);
		assert_int_equal(zdb_replaced_count(r->u.ns, NULL), 0);
		zu_close(&r->u);
		run_free(r);
	}
}

/* An index file that is lost comes back as bundles before the compaction have it, and names the new files all the same. */
static void index_comes_back(void **state)
{
	struct run *r = run_new(ZDB_SEQ, ZDB_KEEP_NONE, *(uint64_t *)*state + 31);
	struct image im = {0};
	struct zdb_compact_figures f;
	char path[900], away[900];

	prepare(r, 14);
	assert_int_equal(zu_open(&r->u), 0);
	stores_have_all(r);
	f = compact(r, 4, 0);
	assert_true(f.rewritten > 0);
	zu_close(&r->u);
	for (uint32_t n = 0; n < PREPARED; n++)
		assert_true(image_add(&im, &r->u, n));
	for (uint32_t n = 0; n < PREPARED; n++) {
		char name[24];

		snprintf(name, sizeof(name), "i%u", n);
		zu_path(&r->u, "default", name, path, sizeof(path));
		assert_int_equal(unlink(path), 0);
		snprintf(name, sizeof(name), "%u.before", n);
		snprintf(path, sizeof(path), "i%s", name);
		write_whole(r->u.index, path, PREPARED, im.index[n], im.size[n]);
	}
	image_free(&im);
	/* Not all segments are here: the log cannot tell it. */
	zu_path(&r->u, "default", "d1", path, sizeof(path));
	snprintf(away, sizeof(away), "%s/d1.away", r->u.dir);
	assert_int_equal(rename(path, away), 0);
	assert_int_equal(zu_open(&r->u), 0);
	assert_int_equal(rename(away, path), 0);
	(void)state_of(r, &r->u, r->ops, r->ops, "index brought");
	r->is_at_cut = true; /* what is dead need not be in it byte by byte */
	assert_int_equal(zdb_jump(r->u.ns), 0);
	r->closing[PREPARED + 1] = r->ops;
	check_restores(r, "told after that");
	zu_close(&r->u);
	assert_int_equal(zdb_verify(&r->u.opt, finding, "index brought"), 0);
	run_free(r);
}

/* A stop before the closing: the notes are read again, and another compaction waits for them. */
static void stopped_before(void **state)
{
	struct run *r = run_new(ZDB_SEQ, ZDB_KEEP_NONE, *(uint64_t *)*state + 23);
	struct zdb_compact_options o = options_of(r, 0), plain = {.threshold = 0};
	struct zdb_compact_figures f;
	struct zdb_compact *c;
	size_t untold;
	char path[900];
	FILE *file;

	prepare(r, 14);
	assert_int_equal(zu_open(&r->u), 0);
	stores_have_all(r);
	o.keep_s = ZDB_KEEP_ALL;
	assert_int_equal(zdb_compact_begin(r->u.ns, &o, &c), -EOPNOTSUPP);
	o.keep_s = ZDB_KEEP_NONE;
	f = compact(r, 4, 0);
	assert_true(f.rewritten > 0);
	zu_close(&r->u);
	assert_int_equal(zu_open(&r->u), 0);
	assert_int_equal(zdb_replaced_count(r->u.ns, &untold), f.rewritten);
	assert_int_equal(untold, f.rewritten);
	stores_have_all(r);
	assert_int_equal(zdb_compact_begin(r->u.ns, &o, &c), -EALREADY);
	assert_int_equal(zdb_compact_begin(r->u.ns, &plain, &c), -EALREADY);
	assert_int_equal(zdb_jump(r->u.ns), 0);
	assert_int_equal(r->told, f.rewritten);
	check_restores(r, "after a stop");
	stores_have_all(r);
	/* One segment at a time, and the rest is said to be left. */
	o.stored_max = 1;
	for (unsigned i = 0; i < 2; i++) {
		do_set(r, 0, true);
		assert_int_equal(zdb_jump(r->u.ns), 0);
	}
	for (unsigned id = 0, ops = r->ops; id < IDS; id++) /* the two that were just inserted */
		if (r->state[ops][id] + 1u >= ops)
			do_set(r, id, false);
	assert_int_equal(zdb_jump(r->u.ns), 0);
	stores_have_all(r);
	assert_int_equal(zdb_compact(r->u.ns, &o, &f), 0);
	assert_int_equal(f.rewritten, 1);
	assert_true(f.left > 0);
	zu_close(&r->u);
	/* A note that cannot be read is no reason to go on without it. */
	snprintf(path, sizeof(path), "%s/default/replaced-77", r->u.index);
	file = fopen(path, "w");
	assert_non_null(file);
	fputs("QSZC", file);
	fclose(file);
	assert_int_equal(zdb_open(&r->u.eng, &r->u.opt, r->u.why, sizeof(r->u.why)), -EIO);
	assert_non_null(strstr(r->u.why, "the note of a compaction that is not stored yet (replaced-77)"));
	assert_int_equal(unlink(path), 0);
	/* Emptied, nothing is left to be told. */
	assert_int_equal(zu_open(&r->u), 0);
	assert_int_equal(zdb_replaced_count(r->u.ns, NULL), 1);
	assert_int_equal(zdb_ns_flush(r->u.ns), 0);
	assert_int_equal(zdb_replaced_count(r->u.ns, NULL), 0);
	assert_int_equal(zdb_ns_reload(r->u.ns), 0);
	assert_int_equal(zdb_replaced_count(r->u.ns, NULL), 0);
	assert_int_equal(zdb_stored(r->u.ns, 1), -EINVAL);
	zu_crash(&r->u);
	run_free(r);
}

/* With user keys an index that is made again from a compacted log is another one. */
static void user_keys(void **state)
{
	struct run *r = run_new(ZDB_USER, ZDB_KEEP_NONE, 1);
	struct zdb_compact_options o = options_of(r, 0);
	struct zdb_compact *c;

	(void)state;
	prepare(r, 5);
	assert_int_equal(zu_open(&r->u), 0);
	stores_have_all(r);
	assert_int_equal(zdb_compact_begin(r->u.ns, &o, &c), -EOPNOTSUPP);
	zu_close(&r->u);
	run_free(r);
}

/* ------------------------------------------------------------------------------------------------------ power cuts --- */

static uint32_t bundles_kept(const struct zu *u)
{
	char path[400];
	uint32_t n = 0;

	for (;; n++) {
		bundle_path(u, n, path, sizeof(path));
		if (file_exists(path) != 1)
			return n;
	}
}

/* What a node that comes back does: bundles that were lost are derived, and a rotation tells the rest. */
static void go_on(struct run *r, struct run *at, uint32_t kept, unsigned first, const char *where)
{
	struct zdb_compact_options o = options_of(r, 3);
	struct zdb_compact_figures f;
	struct zdb_ns_info info;
	unsigned p;

	if (zu_open(&at->u) != 0)
		fail_msg("%s: does not open: %s", where, at->u.why);
	p = state_of(r, &at->u, first, r->ops, where);
	zdb_ns_info(at->u.ns, &info);
	for (uint32_t n = kept; n < info.data_current_id; n++) {
		struct zdb_bundle *x;
		int rc = zdb_bundle_derive(at->u.ns, n, &x);

		if (rc != 0)
			fail_msg("%s: no bundle of %u: %d", where, n, rc);
		assert_int_equal(bundle_keep(&at->u, x), 0);
		zdb_bundle_free(x);
	}
	assert_int_equal(zdb_jump(at->u.ns), 0);
	check_restore(r, &at->u, info.data_current_id + 1, p, where);
	/* And compacts what was left. */
	assert_int_equal(zdb_stored(at->u.ns, info.data_current_id + 1), 0);
	assert_int_equal(zdb_compact(at->u.ns, &o, &f), 0);
	if (f.refused != 0)
		fail_msg("%s: a file is refused", where);
	assert_int_equal(zdb_jump(at->u.ns), 0);
	check_restore(r, &at->u, info.data_current_id + 2, p, where);
	zu_close(&at->u);
	assert_int_equal(zdb_verify(&at->u.opt, finding, (void *)(uintptr_t)where), 0);
}

static void check_cut(struct run *r, struct run *at, unsigned first, uint64_t cut, enum sim_policy policy,
		      const char *out)
{
	char where[400], what[200];
	uint32_t kept;

	sim_disk_materialise(r->disk, cut, policy, cut + 7, out);
	snprintf(where, sizeof(where), "mode %d cut %llu (%s) policy %d", (int)r->mode,
		 (unsigned long long)cut,
		 cut == 0 ? "-" : sim_disk_describe(r->disk, cut - 1, what, sizeof(what)), (int)policy);
	zu_at(&at->u, out, r->mode);
	attach(at);
	kept = bundles_kept(&at->u);
	assert_true(kept >= PREPARED);
	check_restore(r, &at->u, kept, r->closing[kept], where); /* the node is lost in that moment */
	go_on(r, at, kept, first, where);
	assert_int_equal(file_rm_tree(out), 0);
}

static void cut_everywhere(uint64_t seed)
{
	struct run *r = run_new(ZDB_SEQ, ZDB_KEEP_NONE, seed), *at = calloc(1, sizeof(*at));
	unsigned first;
	uint64_t calls;
	char out[400];

	assert_non_null(at);
	at->mode = ZDB_SEQ;
	at->is_at_cut = true;
	prepare(r, 9);
	first = r->ops;
	r->disk = sim_disk_begin(r->u.dir);
	assert_int_equal(zu_open(&r->u), 0);
	assert_int_equal(zdb_stored(r->u.ns, PREPARED), 0);
	(void)compact(r, 2, 9);
	assert_int_equal(zdb_jump(r->u.ns), 0);
	stores_have_all(r);
	one_op(r);
	zu_crash(&r->u);
	sim_disk_stop(r->disk);
	calls = sim_disk_calls(r->disk);
	snprintf(out, sizeof(out), "%s.cut", r->u.dir);
	for (uint64_t cut = 0; cut <= calls; cut++) {
		check_cut(r, at, first, cut, SIM_KEEP, out);
		check_cut(r, at, first, cut, SIM_DROP, out);
		check_cut(r, at, first, cut, SIM_SECTORS, out);
		check_cut(r, at, first, cut, SIM_PREFIX, out);
	}
	print_message("%llu cuts, 4 states each, %u segments told, %u operations meanwhile\n",
		      (unsigned long long)calls + 1, r->told, r->ops - first);
	free(at);
	run_free(r);
}

static void power_cuts(void **state)
{
	uint64_t seed = *(uint64_t *)*state;

	cut_everywhere(seed);
	cut_everywhere(seed + 1);
}

int main(void)
{
	static uint64_t seed;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_prestate(every_closing, &seed),
		cmocka_unit_test_prestate(in_the_middle, &seed),
		cmocka_unit_test_prestate(bundle_lost, &seed),
		cmocka_unit_test_prestate(stopped_before, &seed),
		cmocka_unit_test_prestate(index_comes_back, &seed),
		cmocka_unit_test(user_keys),
		cmocka_unit_test_prestate(power_cuts, &seed),
	};

	if (access("/dev/shm", W_OK) == 0)
		(void)setenv("TMPDIR", "/dev/shm", 0);
	seed = test_seed() % 1000000;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
