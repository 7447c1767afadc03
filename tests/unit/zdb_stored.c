/*
 * Compaction of a namespace whose closings are kept elsewhere: what bundles and contents say of every closing is a whole state, with
 * the old files or the new ones, never a mixture; also after a power cut at every call, a lost bundle, and while others write.
 *
 * TEST_SEED repeats a run.
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
#include <unistd.h>

#include "core/base/file.h"
#include "core/zdb/compact_int.h"
#include "tests/unit/support/stored_run.h"

/* Every closing before, during and after compactions can be restored. */
static void whole(uint64_t seed)
{
	struct stored_run *r = sr_new(ZDB_SEQ, ZDB_KEEP_NONE, seed);
	struct zdb_compact_options o = sr_options(r, 0);
	struct zdb_compact_figures f;
	struct zdb_compact *c;
	size_t untold;

	sr_prepare(r, 14);
	assert_int_equal(zu_open(&r->u), 0);
	assert_int_equal(zdb_compact_begin(r->u.ns, &o, &c), -ENODATA);
	for (unsigned round = 0; round < 2; round++) {
		sr_stores_have_all(r);
		assert_int_equal(zdb_replaced_count(r->u.ns, NULL), 0);
		f = sr_compact(r, 1 + (unsigned)(seed % 3), 20);
		assert_int_equal(f.refused + f.absent, 0);
		assert_true(f.rewritten > 0);
		assert_int_equal(zdb_replaced_count(r->u.ns, &untold), f.rewritten);
		assert_int_equal(zdb_compact_begin(r->u.ns, &o, &c), -EALREADY);
		assert_int_equal(zdb_jump(r->u.ns), 0);
		assert_int_equal(zdb_replaced_count(r->u.ns, &untold), f.rewritten);
		assert_int_equal(untold, 0);
		sr_check_restores(r, "compacted");
		for (unsigned i = 0; i < 10; i++)
			sr_op(r);
		assert_int_equal(zdb_jump(r->u.ns), 0);
		sr_check_restores(r, "and written to");
	}
	sr_stores_have_all(r);
	zu_close(&r->u);
	zu_check(&r->u, "afterwards");
	assert_int_equal(zu_open(&r->u), 0);
	assert_int_equal(zdb_replaced_count(r->u.ns, NULL), 0);
	(void)sr_state_of(r, &r->u, r->ops, r->ops, "opened again");
	zu_close(&r->u);
	if (seed % 1000 == 0)
		print_message("%u replaced segments told, %u steps, %u rotations in the middle of one\n",
			      r->told, r->steps, r->mixed_chances);
	sr_free(r);
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
		struct stored_run *r = sr_new(ZDB_SEQ, ZDB_KEEP_NONE, i + *(uint64_t *)*state);
		struct zdb_compact_options o = sr_options(r, 1);
		struct zdb_compact *c;
		size_t untold;
		int rc;

		sr_prepare(r, 25);
		assert_int_equal(zu_open(&r->u), 0);
		sr_stores_have_all(r);
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
		sr_check_restores(r, "rotated in the middle");
		zu_close(&r->u);
		sr_free(r);
	}
	assert_true(rotations > 0);
}

/* A bundle that was lost on its way is made again without what was replaced: the next closing tells it. */
static void bundle_lost(void **state)
{
	for (uint64_t k = 0; k < 4; k++) {
		struct stored_run *r = sr_new(ZDB_SEQ, ZDB_KEEP_NONE, k + *(uint64_t *)*state + 17);
		struct zdb_compact_figures f;
		struct zdb_bundle *again;
		struct zdb_ns_info info;
		uint32_t lost;
		size_t untold;

		sr_prepare(r, 14);
		assert_int_equal(zu_open(&r->u), 0);
		sr_stores_have_all(r);
		f = sr_compact(r, 4, 0);
		assert_true(f.rewritten > 0);
		assert_int_equal(zdb_jump(r->u.ns), 0);
		zdb_ns_info(r->u.ns, &info);
		lost = info.data_current_id - 1;
		for (unsigned i = 0; i < 25; i++)
			sr_op(r);
		assert_int_equal(zdb_sync(r->u.ns, ZDB_SYNC_INDEX), 0);
		assert_int_equal(zdb_bundle_derive(r->u.ns, lost, &again), 0);
		assert_int_equal(again->replaced_count, 0);
		assert_int_equal(kept_bundle(&r->u, again), 0);
		zdb_bundle_free(again);
		assert_int_equal(zdb_replaced_count(r->u.ns, &untold), f.rewritten);
		assert_int_equal(untold, f.rewritten);
		sr_check_restores(r, "without");
		/* Whatever the point says, what it does not name is not forgotten. */
		sr_stores_have_all(r);
		assert_int_equal(zdb_replaced_count(r->u.ns, NULL), f.rewritten);
		assert_int_equal(zdb_jump(r->u.ns), 0);
		sr_check_restores(r, "told again");
		sr_stores_have_all(r);
		assert_int_equal(zdb_replaced_count(r->u.ns, NULL), 0);
		zu_close(&r->u);
		sr_free(r);
	}
}

/* An index file that is lost comes back as bundles before the compaction have it, and names the new files all the same. */
static void index_comes_back(void **state)
{
	struct stored_run *r = sr_new(ZDB_SEQ, ZDB_KEEP_NONE, *(uint64_t *)*state + 31);
	struct kept_image im = {0};
	struct zdb_compact_figures f;
	char path[900], away[900];

	sr_prepare(r, 14);
	assert_int_equal(zu_open(&r->u), 0);
	sr_stores_have_all(r);
	f = sr_compact(r, 4, 0);
	assert_true(f.rewritten > 0);
	zu_close(&r->u);
	for (uint32_t n = 0; n < SR_PREPARED; n++)
		assert_true(kept_image_add(&im, &r->u, n));
	for (uint32_t n = 0; n < SR_PREPARED; n++) {
		char name[24];

		snprintf(name, sizeof(name), "i%u", n);
		zu_path(&r->u, "default", name, path, sizeof(path));
		assert_int_equal(unlink(path), 0);
		snprintf(name, sizeof(name), "%u.before", n);
		snprintf(path, sizeof(path), "i%s", name);
		sr_write_file(r->u.index, path, SR_PREPARED, im.index[n], im.size[n]);
	}
	kept_image_free(&im);
	/* Not all segments are here: the log cannot tell it. */
	zu_path(&r->u, "default", "d1", path, sizeof(path));
	snprintf(away, sizeof(away), "%s/d1.away", r->u.dir);
	assert_int_equal(rename(path, away), 0);
	assert_int_equal(zu_open(&r->u), 0);
	assert_int_equal(rename(away, path), 0);
	(void)sr_state_of(r, &r->u, r->ops, r->ops, "index brought");
	r->is_at_cut = true; /* what is dead need not be in it byte by byte */
	assert_int_equal(zdb_jump(r->u.ns), 0);
	r->closing[SR_PREPARED + 1] = r->ops;
	sr_check_restores(r, "told after that");
	zu_close(&r->u);
	zu_check(&r->u, "index brought");
	sr_free(r);
}

/* A stop before the closing: the notes are read again, and another compaction waits for them. */
static void stopped_before(void **state)
{
	struct stored_run *r = sr_new(ZDB_SEQ, ZDB_KEEP_NONE, *(uint64_t *)*state + 23);
	struct zdb_compact_options o = sr_options(r, 0), plain = {.threshold = 0};
	struct zdb_compact_figures f;
	struct zdb_compact *c;
	size_t untold;
	char path[900];
	FILE *file;

	sr_prepare(r, 14);
	assert_int_equal(zu_open(&r->u), 0);
	sr_stores_have_all(r);
	o.keep_s = ZDB_KEEP_ALL;
	assert_int_equal(zdb_compact_begin(r->u.ns, &o, &c), -EOPNOTSUPP);
	o.keep_s = ZDB_KEEP_NONE;
	f = sr_compact(r, 4, 0);
	assert_true(f.rewritten > 0);
	zu_close(&r->u);
	assert_int_equal(zu_open(&r->u), 0);
	assert_int_equal(zdb_replaced_count(r->u.ns, &untold), f.rewritten);
	assert_int_equal(untold, f.rewritten);
	sr_stores_have_all(r);
	assert_int_equal(zdb_compact_begin(r->u.ns, &o, &c), -EALREADY);
	assert_int_equal(zdb_compact_begin(r->u.ns, &plain, &c), -EALREADY);
	assert_int_equal(zdb_jump(r->u.ns), 0);
	assert_int_equal(r->told, f.rewritten);
	sr_check_restores(r, "after a stop");
	sr_stores_have_all(r);
	/* One segment at a time, and the rest is said to be left. */
	o.stored_max = 1;
	for (unsigned i = 0; i < 2; i++) {
		sr_set(r, 0, true);
		assert_int_equal(zdb_jump(r->u.ns), 0);
	}
	for (unsigned id = 0, ops = r->ops; id < SR_IDS; id++) /* the two that were just inserted */
		if (r->state[ops][id] + 1u >= ops)
			sr_set(r, id, false);
	assert_int_equal(zdb_jump(r->u.ns), 0);
	sr_stores_have_all(r);
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
	sr_free(r);
}

/* With user keys an index that is made again from a compacted log is another one. */
static void user_keys(void **state)
{
	struct stored_run *r = sr_new(ZDB_USER, ZDB_KEEP_NONE, 1);
	struct zdb_compact_options o = sr_options(r, 0);
	struct zdb_compact *c;

	(void)state;
	sr_prepare(r, 5);
	assert_int_equal(zu_open(&r->u), 0);
	sr_stores_have_all(r);
	assert_int_equal(zdb_compact_begin(r->u.ns, &o, &c), -EOPNOTSUPP);
	zu_close(&r->u);
	sr_free(r);
}

/* ------------------------------------------------------------------------------------------------------ power cuts --- */

/* What a node that comes back does: bundles that were lost are derived, and a rotation tells the rest. */
static void go_on(struct stored_run *r, struct stored_run *at, uint32_t kept, unsigned first,
		  const char *where)
{
	struct zdb_compact_options o = sr_options(r, 3);
	struct zdb_compact_figures f;
	struct zdb_ns_info info;
	unsigned p;

	if (zu_open(&at->u) != 0)
		fail_msg("%s: does not open: %s", where, at->u.why);
	p = sr_state_of(r, &at->u, first, r->ops, where);
	zdb_ns_info(at->u.ns, &info);
	for (uint32_t n = kept; n < info.data_current_id; n++) {
		struct zdb_bundle *x;
		int rc = zdb_bundle_derive(at->u.ns, n, &x);

		if (rc != 0)
			fail_msg("%s: no bundle of %u: %d", where, n, rc);
		assert_int_equal(kept_bundle(&at->u, x), 0);
		zdb_bundle_free(x);
	}
	assert_int_equal(zdb_jump(at->u.ns), 0);
	sr_check_restore(r, &at->u, info.data_current_id + 1, p, where);
	/* And compacts what was left. */
	assert_int_equal(zdb_stored(at->u.ns, info.data_current_id + 1), 0);
	assert_int_equal(zdb_compact(at->u.ns, &o, &f), 0);
	if (f.refused != 0)
		fail_msg("%s: a file is refused", where);
	assert_int_equal(zdb_jump(at->u.ns), 0);
	sr_check_restore(r, &at->u, info.data_current_id + 2, p, where);
	zu_close(&at->u);
	zu_check(&at->u, where);
}

static void check_cut(struct stored_run *r, struct stored_run *at, unsigned first, uint64_t cut,
		      enum sim_policy policy, const char *out)
{
	char where[400], what[200];
	uint32_t kept;

	sim_disk_materialise(r->disk, cut, policy, cut + 7, out);
	snprintf(where, sizeof(where), "mode %d cut %llu (%s) policy %d", (int)r->mode,
		 (unsigned long long)cut,
		 cut == 0 ? "-" : sim_disk_describe(r->disk, cut - 1, what, sizeof(what)), (int)policy);
	zu_at(&at->u, out, r->mode);
	sr_attach(at);
	kept = kept_bundles(&at->u);
	assert_true(kept >= SR_PREPARED);
	sr_check_restore(r, &at->u, kept, r->closing[kept], where); /* the node is lost in that moment */
	go_on(r, at, kept, first, where);
	assert_int_equal(file_rm_tree(out), 0);
}

static void cut_everywhere(uint64_t seed)
{
	struct stored_run *r = sr_new(ZDB_SEQ, ZDB_KEEP_NONE, seed), *at = calloc(1, sizeof(*at));
	unsigned first;
	uint64_t calls;
	char out[400];

	assert_non_null(at);
	at->mode = ZDB_SEQ;
	at->is_at_cut = true;
	sr_prepare(r, 9);
	first = r->ops;
	r->disk = sim_disk_begin(r->u.dir);
	assert_int_equal(zu_open(&r->u), 0);
	assert_int_equal(zdb_stored(r->u.ns, SR_PREPARED), 0);
	(void)sr_compact(r, 2, 9);
	assert_int_equal(zdb_jump(r->u.ns), 0);
	sr_stores_have_all(r);
	sr_op(r);
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
	sr_free(r);
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

	test_in_memory();
	seed = test_seed() % 1000000;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
