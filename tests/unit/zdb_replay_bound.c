/*
 * A replay of more rewrites than may wait, of a log that only the page cache holds: the power fails while it applies the first of
 * them.  Whatever of the log is lost then, each id answers its new value or the one before.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/base/file.h"
#include "core/zdb/fmt.h"
#include "tests/unit/support/sys_test.h"
#include "tests/unit/support/zdb_util.h"

#define HALF  40000u /* less than may wait; both halves are more */
#define CUTS  6u
#define SEEDS 2u

static void update(struct zu *u, uint64_t from, const char *value)
{
	for (uint64_t id = from; id < from + HALF; id++)
		assert_int_equal(zu_seq_set(u, id, value), 0);
}

/* What waits is applied; the marker stays where it is. */
static void apply(struct zu *u)
{
	uint64_t next;
	struct zdb_sync *job = zdb_tick(u->eng, 1000000, &next);

	assert_non_null(job);
	do
		assert_int_equal(zdb_sync_run(job), 0);
	while (zdb_sync_done(job) == 1);
}

static void look(const char *dir, uint64_t cut)
{
	struct zu u;

	zu_at(&u, dir, ZDB_SEQ);
	u.opt.datasize = 64u << 20;
	assert_int_equal(zu_open(&u), 0);
	for (uint64_t id = 0; id < 2u * HALF; id++) {
		const char *v = zu_seq_get(&u, id);

		if (v == NULL || (strcmp(v, "new") != 0 && (id < HALF || strcmp(v, "old") != 0)))
			fail_msg("cut %llu: id %llu answers %s", (unsigned long long)cut,
				 (unsigned long long)id, v == NULL ? "nothing" : v);
	}
	zu_close(&u);
}

static void log_before_index(void **state)
{
	uint64_t seed = test_seed(), begin, calls;
	struct sim_disk *disk;
	char out[400];
	struct zu u;

	(void)state;
	assert_true(HALF < ZDB_PENDING_MAX && 2u * HALF > ZDB_PENDING_MAX);
	zu_setup(&u, ZDB_SEQ);
	u.opt.gather_writes = true;
	u.opt.datasize = 64u << 20;
	assert_int_equal(zu_open(&u), 0);
	for (uint64_t id = 0; id < 2u * HALF; id++)
		assert_int_equal(zu_insert(&u, "old"), id);
	zu_close(&u);
	assert_int_equal(zu_open(&u), 0);
	update(&u, 0, "new");
	apply(&u);
	disk = sim_disk_begin(u.dir);
	update(&u, HALF, "new");
	assert_int_equal(zdb_flush(u.eng), 0);
	zu_crash(&u);
	begin = sim_disk_calls(disk);
	assert_int_equal(zu_open(&u), 0);
	calls = sim_disk_calls(disk);
	assert_int_equal(zdb_ns_recovery(u.ns)->log_records, 2u * HALF); /* all of them in one replay */
	zu_close(&u);
	sim_disk_stop(disk);
	snprintf(out, sizeof(out), "%s.cut", u.dir);
	for (uint64_t n = 1; n <= CUTS * SEEDS; n++) {
		uint64_t cut = begin + (calls - begin) * (n % CUTS + 1) / (CUTS + 1);

		sim_disk_materialise(disk, cut, SIM_SECTORS, seed + n, out);
		look(out, cut);
		assert_int_equal(file_rm_tree(out), 0);
	}
	sim_disk_free(disk);
	zu_teardown(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(log_before_index),
	};

	test_in_memory();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
