/*
 * Compaction and a pair of files that is ahead of the disk: neither begins where the other is, and nothing is taken for durable that is not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <errno.h>
#include <unistd.h>

#include "core/base/file.h"
#include "tests/unit/support/ahead_rig.h"
#include "tests/unit/support/sys_test.h"

static const struct zdb_compact_options keep_all = {.keep_s = ZDB_KEEP_ALL};

/* It does not begin with a segment while there is a pair ahead, and none goes ahead while it is there. */
static void compaction_keeps_off(void **state)
{
	struct zdb_compact *c;
	struct zdb_sync *job;
	struct zu u;

	(void)state;
	ar_begin(&u, ZDB_USER);
	zu_set(&u, "two", "dead");
	assert_int_equal(zdb_sync(u.ns, ZDB_SYNC_INDEX), 0);
	assert_int_equal(zdb_jump(u.ns), 0);
	ar_closed.told = 0;
	zu_set(&u, "one", "first value");
	assert_int_equal(zdb_sync_begin(u.ns, ZDB_SYNC_INDEX, &job), 0);
	assert_int_equal(zdb_compact_begin(u.ns, &keep_all, &c), -EBUSY);
	zu_set(&u, "two", "second value");
	assert_int_equal(zdb_jump(u.ns), 0); /* while that one runs */
	do
		assert_int_equal(zdb_sync_run(job), 0);
	while (zdb_sync_done(job) == 1);
	assert_true(zdb_ns_is_ahead(u.ns));
	assert_int_equal(zdb_compact_begin(u.ns, &keep_all, &c), 0);
	assert_int_equal(zdb_compact_run(c), 0);
	assert_int_equal(zdb_compact_done(c), -EBUSY);
	zdb_compact_end(c);
	assert_int_equal(zdb_compact_begin(u.ns, &keep_all, &c), 0);
	zu_set(&u, "two", "a newer second");
	zu_set(&u, "three", "third value");
	assert_int_equal(zdb_sync(u.ns, ZDB_SYNC_INDEX), 0);
	assert_false(zdb_ns_is_ahead(u.ns));
	assert_int_equal(ar_closed.told, 1);
	zu_set(&u, "one", "other value");
	zu_set(&u, "one", "first value");
	assert_int_equal(zdb_jump(u.ns), 0);
	assert_false(zdb_ns_is_ahead(u.ns));
	assert_int_equal(zdb_compact_run(c), 0);
	assert_true(zdb_compact_done(c) > 0);
	zdb_compact_end(c);
	ar_all_there(&u);
	ar_finish(&u);
}

/* A deletion that nothing has made durable ends no history: after a power cut the key has its older version, or is deleted. */
static void compaction_keeps_history(void **state)
{
	struct zdb_compact_figures f;
	struct sim_disk *disk;
	uint8_t next[ZDB_HISTORY_SIZE];
	struct zdb_read rd;
	char out[400];
	bool more = true;
	struct zu u, v;

	(void)state;
	ar_begin(&u, ZDB_USER);
	zu_close(&u);
	disk = sim_disk_begin(u.dir);
	assert_int_equal(zu_open(&u), 0);
	zu_set(&u, "k", "version one");
	zu_set(&u, "k", "version two");
	assert_int_equal(zdb_sync(u.ns, ZDB_SYNC_INDEX), 0);
	assert_int_equal(zdb_jump(u.ns), 0);
	zu_set(&u, "other", "in segment 1");
	assert_int_equal(zdb_sync(u.ns, ZDB_SYNC_INDEX), 0);
	zu_del(&u, "k");
	assert_int_equal(zdb_jump(u.ns), 0);
	assert_true(zdb_ns_is_ahead(u.ns));
	assert_int_equal(zdb_compact(u.ns, &keep_all, &f), 0);
	zu_crash(&u);
	sim_disk_stop(disk);
	snprintf(out, sizeof(out), "%s.cut", u.dir);
	sim_disk_materialise(disk, sim_disk_calls(disk), SIM_DROP, 1, out);
	sim_disk_free(disk);
	zu_at(&v, out, ZDB_USER);
	assert_int_equal(zu_open(&v), 0);
	if (zu_get(&v, "k") != NULL) {
		assert_int_equal(zdb_history(v.ns, "k", 1, NULL, 0, &rd, next, &more, NULL), 0);
		zdb_read_end(v.ns, &rd);
		assert_true(more);
		assert_int_equal(zdb_history(v.ns, "k", 1, next, sizeof(next), &rd, next, &more, NULL), 0);
		zdb_read_end(v.ns, &rd);
	}
	zu_close(&v);
	assert_int_equal(file_rm_tree(out), 0);
	zu_teardown(&u);
}

/* Sequential: the copies of what it moves are in the active index, too, which has no name of its own before. */
static void compaction_finds_copies(void **state)
{
	struct zdb_compact_figures f;
	struct zu u;

	(void)state;
	ar_begin(&u, ZDB_SEQ);
	assert_int_equal(zu_insert(&u, "dead"), 0);
	assert_int_equal(zu_insert(&u, "older"), 1);
	assert_int_equal(zu_seq_del(&u, 0), 0);
	assert_int_equal(zdb_sync(u.ns, ZDB_SYNC_INDEX), 0);
	assert_int_equal(zdb_jump(u.ns), 0);
	assert_int_equal(zu_insert(&u, "in segment 1"), 2);
	assert_int_equal(zdb_jump(u.ns), 0);
	assert_true(zdb_ns_is_ahead(u.ns));
	assert_int_equal(zu_seq_set(&u, 1, "newer"), 0);
	assert_int_equal(zdb_compact(u.ns, &keep_all, &f), 0);
	assert_int_equal(f.rewritten, 1);
	assert_false(zdb_ns_is_ahead(u.ns));
	assert_int_equal(zdb_ns_write_error(u.ns), 0);
	assert_null(zu_seq_get(&u, 0));
	assert_string_equal(zu_seq_get(&u, 1), "newer");
	zu_close(&u);
	zu_check(&u, "at the end");
	zu_teardown(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(compaction_keeps_off),
		cmocka_unit_test(compaction_keeps_history),
		cmocka_unit_test(compaction_finds_copies),
	};

	test_in_memory();
	return cmocka_run_group_tests_name("zdb_ahead_compact", tests, NULL, NULL);
}
