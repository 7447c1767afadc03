/*
 * Index files and compaction: rewritten without the records that name no data, with the power cut at every call; lost, and made again
 * from the compacted log.
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
#include <cmocka.h>
#include <unistd.h>

#include "core/base/endian.h"
#include "core/base/file.h"
#include "tests/unit/support/compact_run.h"

/* Compacted, and the index files after it; the disk is recorded during the latter. */
static void index_run(struct compact_run *r, bool record)
{
	struct zdb_compact_options o = cr_options(r, 0);
	struct zdb_compact_figures f;
	uint64_t before, after;

	cr_prepare(r, 20);
	assert_int_equal(zu_open(&r->u), 0);
	for (unsigned i = 0; i < 10; i++)
		cr_op(r);
	assert_int_equal(zdb_compact(r->u.ns, &o, &f), 0);
	zu_close(&r->u);
	if (record)
		r->disk = sim_disk_begin(r->u.dir);
	assert_int_equal(zu_open(&r->u), 0);
	assert_int_equal(zdb_compact_index(r->u.ns, 0, &before, &after), 0);
	assert_true(r->mode == ZDB_SEQ ? before == 0 : after < before);
	cr_check(r, &r->u, r->ops, "index rewritten");
	assert_int_equal(zdb_compact_index(r->u.ns, 0, &before, &after), 0);
	assert_int_equal(before, after);
	if (!record)
		for (unsigned i = 0; i < 10; i++)
			cr_op(r);
	zu_close(&r->u);
	if (record)
		sim_disk_stop(r->disk);
}

/* `previous` leads from each record to the one before it, over the borders of files, and no record is without data. */
static void check_previous(struct compact_run *r)
{
	uint32_t last = 0;

	for (unsigned n = 0;; n++) {
		char name[16];
		size_t size, at = 29;
		uint8_t *b;

		snprintf(name, sizeof(name), "i%u", n);
		b = zu_file(&r->u, "default", name, &size);
		if (b == NULL)
			return;
		for (; at < size; at += 34u + b[at]) {
			assert_int_equal(get_u32le(b + at + 9), last);
			assert_true(r->mode == ZDB_SEQ || get_u32le(b + at + 1) != 0);
			last = (uint32_t)at;
		}
		assert_int_equal(at, size);
		free(b);
	}
}

static void index_files(void **state)
{
	uint64_t seed = *(uint64_t *)*state;

	for (unsigned i = 0; i < 12; i++) {
		struct compact_run *r =
			cr_new(i % 4 == 3 ? ZDB_SEQ : ZDB_USER, i % 2 == 0 ? ZDB_KEEP_NONE : 60, seed + i);

		index_run(r, false);
		zu_check(&r->u, "index rewritten");
		assert_int_equal(zu_open(&r->u), 0);
		assert_false(zdb_ns_recovery(r->u.ns)->foreign);
		cr_check(r, &r->u, r->ops, "opened again");
		zu_close(&r->u);
		check_previous(r);
		cr_free(r);
	}
}

static void index_cuts(void **state)
{
	static const enum sim_policy policies[] = {SIM_KEEP, SIM_DROP, SIM_RANDOM};
	uint64_t seed = *(uint64_t *)*state;
	struct compact_run *r = cr_new(ZDB_USER, 60, seed);
	uint64_t calls, before, after;
	char out[400], where[400], what[200];

	index_run(r, true);
	calls = sim_disk_calls(r->disk);
	snprintf(out, sizeof(out), "%s.cut", r->u.dir);
	for (uint64_t cut = 0; cut <= calls; cut++) {
		for (unsigned i = 0; i < 3; i++) {
			struct zu u;

			sim_disk_materialise(r->disk, cut, policies[i], cut + 3, out);
			snprintf(where, sizeof(where), "cut %llu (%s) policy %u", (unsigned long long)cut,
				 cut == 0 ? "-" : sim_disk_describe(r->disk, cut - 1, what, sizeof(what)), i);
			zu_at(&u, out, r->mode);
			if (zu_open(&u) != 0)
				fail_msg("%s: does not open: %s", where, u.why);
			cr_no_litter(&u, where);
			cr_check(r, &u, r->ops, where);
			assert_int_equal(zdb_compact_index(u.ns, 0, &before, &after), 0);
			cr_check(r, &u, r->ops, where);
			zu_close(&u);
			zu_check(&u, where);
			assert_int_equal(file_rm_tree(out), 0);
		}
	}
	print_message("index: %llu cuts, 3 states each\n", (unsigned long long)calls + 1);
	cr_free(r);
}

/* Lost index files after a compaction: the log still tells everything, stubs included. */
static void rebuilt(void **state)
{
	uint64_t seed = *(uint64_t *)*state;

	for (unsigned i = 0; i < 12; i++) {
		struct compact_run *r = cr_new(i % 2 == 0 ? ZDB_USER : ZDB_SEQ, ZDB_KEEP_NONE, seed + i);
		struct zdb_compact_options o = cr_options(r, 0);
		struct zdb_compact_figures f;
		struct zdb_ns_info before, after;
		char name[8], path[900];

		o.threshold = i % 4 < 2 ? 0 : 60;
		cr_prepare(r, 20);
		assert_int_equal(zu_open(&r->u), 0);
		assert_int_equal(zdb_compact(r->u.ns, &o, &f), 0);
		cr_check(r, &r->u, r->ops, "compacted");
		zdb_ns_info(r->u.ns, &before);
		zu_close(&r->u);
		for (unsigned n = i % 5; n < 5; n++) {
			snprintf(name, sizeof(name), "i%u", n);
			zu_path(&r->u, "default", name, path, sizeof(path));
			assert_int_equal(unlink(path), 0);
		}
		assert_int_equal(zu_open(&r->u), 0);
		cr_check(r, &r->u, r->ops, "made again from the log");
		zdb_ns_info(r->u.ns, &after);
		if (r->mode == ZDB_SEQ)
			assert_int_equal(after.next_id, before.next_id);
		zu_close(&r->u);
		zu_check(&r->u, "made again from the log");
		cr_free(r);
	}
}

int main(void)
{
	static uint64_t seed;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_prestate(index_files, &seed),
		cmocka_unit_test_prestate(index_cuts, &seed),
		cmocka_unit_test_prestate(rebuilt, &seed),
	};

	test_in_memory();
	seed = test_seed() % 1000000;
	return cmocka_run_group_tests_name("zdb_compact_index", tests, NULL, NULL);
}
