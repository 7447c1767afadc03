/*
 * The next rotation goes ahead in the middle of the sync that ends the first: the marker is two segments behind, and what the log there
 * says is in no index file.
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

#define CUTS 3000

struct twice {
	struct zu u;
	struct sim_disk *disk;
	uint64_t from, to; /* calls while the sync went on */
	char out[400];
};

/* The marker stays in segment 0; an update and a deletion there are durable in its log, and nowhere else. */
static void ahead_twice(struct twice *t, enum zdb_mode mode)
{
	struct zdb_sync *job;
	struct zu *u = &t->u;
	uint64_t next;

	ar_begin(u, mode);
	zu_close(u);
	t->disk = sim_disk_begin(u->dir);
	assert_int_equal(zu_open(u), 0);
	for (int i = 0; i < 2; i++)
		assert_true(mode == ZDB_SEQ ? zu_insert(u, "one") == (uint64_t)i
					    : zu_set(u, i == 0 ? "a" : "b", "one") == 0);
	assert_int_equal(zdb_sync(u->ns, ZDB_SYNC_INDEX), 0);
	assert_int_equal(mode == ZDB_SEQ ? zu_seq_set(u, 0, "two") : zu_set(u, "a", "two"), 0);
	assert_int_equal(mode == ZDB_SEQ ? zu_seq_del(u, 1) : zu_del(u, "b"), 0);
	assert_int_equal(zdb_sync(u->ns, ZDB_SYNC_DATA), 0);
	if (mode == ZDB_SEQ)
		(void)zu_insert(u, "not synced");
	else
		zu_set(u, "c", "not synced");
	assert_int_equal(zdb_jump(u->ns), 0);
	assert_true(zdb_ns_is_ahead(u->ns));
	job = zdb_tick(u->eng, 1000, &next);
	assert_non_null(job);
	for (int i = 0; i < 2; i++) { /* the closed segment, the names */
		assert_int_equal(zdb_sync_run(job), 0);
		assert_int_equal(zdb_sync_done(job), 1);
	}
	for (unsigned i = 0; i < 12; i++) {
		if (mode == ZDB_SEQ)
			(void)zu_insert(u, "in segment 1");
		else
			zu_set(u, (char[]){'k', (char)('a' + i), '\0'}, "in segment 1");
	}
	assert_int_equal(zdb_jump(u->ns), 0);
	assert_true(zdb_ns_is_ahead(u->ns));
	t->from = sim_disk_calls(t->disk);
	assert_int_equal(zdb_sync_run(job),
			 0); /* the log of segment 1; the process ends before the marker moves */
	t->to = sim_disk_calls(t->disk);
	assert_int_equal(zdb_sync_done(job), 0);
	zu_crash(u);
	sim_disk_stop(t->disk);
	snprintf(t->out, sizeof(t->out), "%s.cut", u->dir);
}

static void twice_end(struct twice *t)
{
	sim_disk_free(t->disk);
	zu_teardown(&t->u);
}

static void synced_is_there(struct zu *u, enum zdb_mode mode, const char *where)
{
	const char *a = mode == ZDB_SEQ ? zu_seq_get(u, 0) : zu_get(u, "a");

	if (a == NULL || strcmp(a, "two") != 0)
		fail_msg("%s: a synced update is lost: %s", where, a == NULL ? "absent" : a);
	if ((mode == ZDB_SEQ ? zu_seq_get(u, 1) : zu_get(u, "b")) != NULL)
		fail_msg("%s: a synced deletion is lost", where);
}

/* Whatever a power cut leaves of the index file between. */
static void twice_ahead_of_the_marker(void **state)
{
	char where[100];
	struct twice t;
	struct zu v;

	(void)state;
	for (int mode = ZDB_USER; mode <= ZDB_SEQ; mode++) {
		ahead_twice(&t, (enum zdb_mode)mode);
		for (uint64_t seed = 0; seed < CUTS; seed++) {
			sim_disk_materialise(t.disk, t.from + seed % (t.to - t.from + 1),
					     seed / 2 % 2 == 0 ? SIM_PREFIX : SIM_SECTORS, seed, t.out);
			snprintf(where, sizeof(where), "mode %d seed %u", mode, (unsigned)seed);
			zu_at(&v, t.out, (enum zdb_mode)mode);
			assert_int_equal(zu_open(&v), 0);
			synced_is_there(&v, (enum zdb_mode)mode, where);
			zu_crash(&v);
			assert_int_equal(file_rm_tree(t.out), 0);
		}
		twice_end(&t);
	}
}

/* Torn, or gone; and a start that goes wrong at any call leads the next one back to the marker. */
static void a_gap_behind_the_marker(void **state)
{
	char path[600], where[100];
	struct twice t;
	struct zu v;

	(void)state;
	for (int how = 0; how < 3; how++) {
		enum zdb_mode mode = how == 2 ? ZDB_USER : ZDB_SEQ;
		bool fired = true;

		ahead_twice(&t, mode);
		for (uint64_t n = 0; fired; n++) {
			sim_disk_materialise(t.disk, t.to, SIM_KEEP, 0, t.out);
			zu_at(&v, t.out, mode);
			if (how != 0) { /* the closed segment was whole when these came to be */
				ar_move(v.index, ar_look(v.index, "i2.next-").name, "i2");
				ar_move(v.data, ar_look(v.data, "d2.next-").name, "d2");
			}
			zu_path(&v, "default", "i1", path, sizeof(path));
			assert_int_equal(how == 0 ? truncate(path, 512) : unlink(path), 0);
			sys_fault_begin();
			if (n > 0)
				sys_fault_arm_from(SYS_CALL_ANY, n, EIO);
			if (n > 0 && zdb_open(&v.eng, &v.opt, NULL, 0) == 0) {
				zdb_abandon(v.eng);
				v.eng = NULL;
			}
			fired = n == 0 || sys_fault_fired();
			sys_fault_end();
			snprintf(where, sizeof(where), "how %d, call %u", how, (unsigned)n);
			assert_int_equal(zu_open(&v), 0);
			synced_is_there(&v, mode, where);
			zu_close(&v);
			zu_check(&v, where);
			assert_int_equal(file_rm_tree(t.out), 0);
		}
		twice_end(&t);
	}
}

/* Without the log from the marker on nothing is guessed: the owner is asked for it, else the namespace is refused. */
static void without_the_log_between(void **state)
{
	char path[600], why[400];
	struct twice t;
	struct zu v;

	(void)state;
	ahead_twice(&t, ZDB_SEQ);
	sim_disk_materialise(t.disk, t.to, SIM_KEEP, 0, t.out);
	zu_at(&v, t.out, ZDB_SEQ);
	zu_path(&v, "default", "i1", path, sizeof(path));
	assert_int_equal(truncate(path, 512), 0);
	zu_path(&v, "default", "d0", path, sizeof(path));
	assert_int_equal(unlink(path), 0);
	assert_int_equal(zdb_open(&v.eng, &v.opt, why, sizeof(why)), -EIO);
	assert_non_null(strstr(why, "index file i1 is missing or torn, and data file d0"));
	assert_int_equal(file_rm_tree(t.out), 0);
	twice_end(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(twice_ahead_of_the_marker),
		cmocka_unit_test(a_gap_behind_the_marker),
		cmocka_unit_test(without_the_log_between),
	};

	test_in_memory();
	return cmocka_run_group_tests_name("zdb_ahead_twice", tests, NULL, NULL);
}
