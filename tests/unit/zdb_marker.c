/*
 * When the marker moves: a long log makes it, not more often than once a second, and the sync that everysec begins does what the next
 * tick would do. How far a start after a crash reads tells where it is.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/support/sys_test.h"
#include "tests/unit/support/zdb_util.h"

#define LONG 9u /* the largest values: more than 64 MiB of log */

static void fill(struct zu *u, unsigned first)
{
	uint8_t *value = malloc(ZDB_PAYLOAD_MAX);

	assert_non_null(value);
	memset(value, 'v', ZDB_PAYLOAD_MAX);
	for (unsigned n = first; n < first + LONG; n++) {
		struct zdb_set_result result;

		assert_int_equal(zdb_set(u->ns, &n, sizeof(n), value, ZDB_PAYLOAD_MAX, 1, &result), 0);
	}
	free(value);
}

static void open_at(struct zu *u, uint64_t now_ms)
{
	uint64_t next;

	assert_int_equal(zu_open(u), 0);
	assert_null(zdb_tick(u->eng, now_ms, &next));
}

static void crash_and_open(struct zu *u, uint64_t now_ms, unsigned records)
{
	zu_crash(u);
	open_at(u, now_ms);
	assert_int_equal(zdb_ns_recovery(u->ns)->log_records, records);
}

static unsigned rounds(struct zdb_sync *job)
{
	unsigned n = 0;

	assert_non_null(job);
	do {
		assert_int_equal(zdb_sync_run(job), 0);
		n++;
	} while (zdb_sync_done(job) == 1);
	return n;
}

static void a_long_log_moves_it_once_a_second(void **state)
{
	uint64_t next;
	struct zu u;

	(void)state;
	zu_setup(&u, ZDB_USER);
	u.opt.datasize = 1u << 30;
	open_at(&u, 1000);
	fill(&u, 0);
	assert_null(zdb_tick(u.eng, 1500, &next));
	assert_int_equal(next, 2000);
	crash_and_open(&u, 5000, LONG);
	fill(&u, LONG);
	assert_int_equal(rounds(zdb_tick(u.eng, 6000, &next)), 2);
	fill(&u, 2 * LONG);
	assert_null(zdb_tick(u.eng, 6999, &next));
	assert_int_equal(next, 7000);
	crash_and_open(&u, 9000, LONG);
	zu_close(&u);
	zu_teardown(&u);
}

static void what_is_due_is_done_with_the_log(void **state)
{
	struct zdb_ns_info info;
	struct zdb_sync *job;
	struct zu u;

	(void)state;
	zu_setup(&u, ZDB_USER);
	u.opt.datasize = 1u << 30;
	open_at(&u, 1000);
	/* a short log: it alone */
	assert_int_equal(zu_set(&u, "key", "1"), 0);
	assert_int_equal(zdb_sync_begin(u.ns, ZDB_SYNC_DUE, &job), 0);
	assert_int_equal(rounds(job), 1);
	crash_and_open(&u, 2000, 1);
	/* a rewrite that waits: applied, where a sync of the log leaves it */
	assert_int_equal(zu_set(&u, "key", "2"), 0);
	assert_int_equal(zdb_sync(u.ns, ZDB_SYNC_DATA), 0);
	zdb_ns_info(u.ns, &info);
	assert_int_equal(info.pending_rewrites, 1);
	assert_int_equal(zdb_sync_begin(u.ns, ZDB_SYNC_DUE, &job), 0);
	assert_int_equal(rounds(job), 1);
	zdb_ns_info(u.ns, &info);
	assert_int_equal(info.pending_rewrites, 0);
	/* nothing is left to do */
	assert_int_equal(zdb_sync_begin(u.ns, ZDB_SYNC_DUE, &job), 0);
	assert_null(job);
	crash_and_open(&u, 3000, 1);
	/* a long one: the marker as well */
	fill(&u, 0);
	assert_int_equal(zdb_sync_begin(u.ns, ZDB_SYNC_DUE, &job), 0);
	assert_int_equal(rounds(job), 2);
	crash_and_open(&u, 4000, 0);
	assert_string_equal(zu_get(&u, "key"), "2");
	zu_close(&u);
	zu_check(&u, "at the end");
	zu_teardown(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_long_log_moves_it_once_a_second),
		cmocka_unit_test(what_is_due_is_done_with_the_log),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
