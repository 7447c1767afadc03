/*
 * A rotation that goes on before the closed segment is durable: names, reads, what ends it, and what a load makes of each state
 * that a crash can leave. The power-cut matrix (zdb_powercut) cuts it at every call.
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
#include <fcntl.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/zdb/fmt.h"
#include "tests/unit/support/sys_test.h"
#include "tests/unit/support/ahead_rig.h"

static void only_the_closed_one(struct zu *u)
{
	assert_string_equal(zu_get(u, "one"), "first value");
	assert_string_equal(zu_get(u, "two"), "second value");
	assert_null(zu_get(u, "three"));
}

static void a_sync_gives_it_its_names(void **state)
{
	struct zu u;

	(void)state;
	for (int kind = ZDB_SYNC_DATA; kind <= ZDB_SYNC_DUE; kind++) {
		ar_begin(&u, ZDB_USER);
		ar_fill(&u);
		ar_all_there(&u);
		assert_int_equal(zdb_sync(u.ns, (enum zdb_sync_kind)kind), 0);
		assert_int_equal(ar_temporary(&u), 0);
		assert_true(ar_exists(&u, true, "d1") && ar_exists(&u, false, "i1"));
		assert_int_equal(ar_closed.told, 1);
		assert_int_equal(ar_closed.last, 0);
		ar_all_there(&u);
		zu_crash(&u);
		assert_int_equal(zu_open(&u), 0);
		assert_int_equal(zdb_ns_recovery(u.ns)->log_records, 0); /* the marker stands behind them */
		ar_all_there(&u);
		ar_finish(&u);
	}
}

/* The tick's, one round after the other, with writes between them. */
static void a_tick_does_so_too(void **state)
{
	struct zdb_sync *job;
	struct zu u;
	uint64_t next;
	unsigned rounds = 1;

	(void)state;
	ar_begin(&u, ZDB_USER);
	ar_fill(&u);
	job = zdb_tick(u.eng, 1000, &next);
	assert_non_null(job);
	assert_int_equal(zdb_sync_run(job), 0);
	for (; zdb_sync_done(job) == 1; rounds++) {
		zu_set(&u, "between", rounds % 2 == 0 ? "even" : "odd");
		assert_int_equal(zdb_sync_run(job), 0);
	}
	assert_int_equal(rounds, 4);
	assert_int_equal(ar_temporary(&u), 0);
	assert_int_equal(ar_closed.told, 1);
	ar_all_there(&u);
	assert_string_equal(zu_get(&u, "between"), "odd");
	ar_finish(&u);
}

/* What needs the closed segment, or the names, ends it first, with a sync of the tick begun or not. */
static void everything_else_ends_it(void **state)
{
	struct zdb_sync *job = NULL;
	struct zdb_ns *ns;
	struct zu u;
	uint64_t next;

	(void)state;
	for (int begun = 0; begun <= 2; begun++) {
		ar_begin(&u, ZDB_USER);
		ar_fill(&u);
		if (begun > 0) {
			job = zdb_tick(u.eng, 1000, &next);
			assert_non_null(job);
			assert_int_equal(zdb_sync_run(job), 0);
		}
		if (begun > 1) {
			assert_int_equal(zdb_sync_done(job), 1);
			assert_int_equal(zdb_sync_run(job), 0);
		}
		assert_int_equal(zdb_jump(u.ns), 0); /* the next rotation: not ahead of two */
		assert_int_equal(ar_temporary(&u), 0);
		assert_true(ar_exists(&u, true, "d2"));
		assert_int_equal(ar_closed.told, 2);
		zu_set(&u, "four", "fourth");
		while (begun > 0 && zdb_sync_done(job) == 1)
			assert_int_equal(zdb_sync_run(job), 0);
		assert_int_equal(ar_closed.told, 2);
		zu_crash(&u);
		assert_int_equal(zu_open(&u), 0);
		ar_all_there(&u);
		assert_string_equal(zu_get(&u, "four"), "fourth");
		ar_finish(&u);
	}
	ar_begin(&u, ZDB_USER);
	ar_fill(&u);
	assert_int_equal(zdb_ns_flush(u.ns), 0);
	assert_int_equal(ar_temporary(&u), 0);
	assert_null(zu_get(&u, "one"));
	assert_int_equal(zdb_ns_create(u.eng, "other", 5, &ns), 0);
	u.ns = ns;
	zu_set(&u, "x", "value");
	assert_int_equal(zdb_jump(ns), 0);
	zu_set(&u, "y", "value");
	assert_int_equal(zdb_ns_delete(ns), 0);
	zu_close(&u);
	zu_teardown(&u);
	ar_begin(&u, ZDB_USER);
	ar_fill(&u);
	assert_int_equal(zdb_ns_reload(u.ns), 0);
	assert_int_equal(ar_temporary(&u), 0);
	ar_all_there(&u);
	ar_finish(&u);
	ar_begin(&u, ZDB_USER);
	ar_fill(&u);
	zu_close(&u); /* the stop itself */
	assert_int_equal(zu_open(&u), 0);
	assert_false(zdb_ns_recovery(u.ns)->unclean);
	ar_all_there(&u);
	ar_finish(&u);
}

static void when_it_waits_as_ever(void **state)
{
	struct zu u;

	(void)state;
	for (int why = 0; why < 3; why++) {
		ar_begin(&u, ZDB_USER);
		zu_close(&u);
		u.opt.rotate_ahead = why != 0;
		u.opt.ahead_min = why == 1 ? 0 : 1; /* 1 MiB */
		assert_int_equal(zu_open(&u), 0);
		zu_set(&u, "one", "value");
		if (why == 2)
			assert_int_equal(zdb_sync(u.ns, ZDB_SYNC_DATA), 0);
		assert_int_equal(zdb_jump(u.ns), 0);
		assert_int_equal(ar_temporary(&u), 0);
		assert_true(ar_exists(&u, true, "d1"));
		ar_finish(&u);
	}
}

static void a_kill_takes_nothing_back(void **state)
{
	struct zu u;

	(void)state;
	ar_begin(&u, ZDB_USER);
	ar_fill(&u);
	zu_crash(&u);
	assert_int_equal(zu_open(&u), 0);
	assert_int_equal(ar_temporary(&u), 0);
	assert_true(ar_exists(&u, true, "d1") && ar_exists(&u, false, "i1"));
	assert_int_equal(zdb_ns_recovery(u.ns)->ahead_dropped, 0);
	ar_all_there(&u);
	ar_finish(&u);
	ar_begin(&u, ZDB_SEQ);
	for (int i = 0; i < 3; i++)
		assert_int_equal(zu_insert(&u, "before"), i);
	assert_int_equal(zdb_jump(u.ns), 0);
	assert_int_equal(ar_temporary(&u), 2);
	assert_int_equal(zu_insert(&u, "after"), 3);
	zu_seq_set(&u, 1, "changed");
	zu_seq_del(&u, 2);
	zu_crash(&u);
	assert_int_equal(zu_open(&u), 0);
	assert_int_equal(ar_temporary(&u), 0);
	assert_string_equal(zu_seq_get(&u, 0), "before");
	assert_string_equal(zu_seq_get(&u, 1), "changed");
	assert_null(zu_seq_get(&u, 2));
	assert_string_equal(zu_seq_get(&u, 3), "after");
	assert_int_equal(zu_insert(&u, "next"), 5); /* the change took a place in the index */
	ar_finish(&u);
}

/* Bytes of a file are overwritten; at < 0: from the end; size 0: the file is cut there. */
static void spoil(const struct zu *u, bool data, const char *part, long at, size_t size)
{
	struct ar_seen s = ar_look(data ? u->data : u->index, part);
	char path[500];
	FILE *f;

	assert_true(s.count >= 1);
	snprintf(path, sizeof(path), "%s/default/%s", data ? u->data : u->index, s.name);
	f = fopen(path, "r+b");
	assert_non_null(f);
	assert_int_equal(fseek(f, at, at < 0 ? SEEK_END : SEEK_SET), 0);
	if (size == 0)
		assert_int_equal(ftruncate(fileno(f), ftell(f)), 0);
	while (size-- > 0)
		fputc(0, f);
	fclose(f);
}

/* The closed log is not all there: what came behind it was never durable, and goes. */
static void a_torn_segment_has_no_successor(void **state)
{
	struct zu u;

	(void)state;
	for (int how = 0; how < 5; how++) {
		ar_begin(&u, ZDB_USER);
		ar_fill(&u);
		zu_crash(&u);
		if (how == 0)
			spoil(&u, true, "d0", -4, 0); /* the end is lost */
		else if (how == 1)
			spoil(&u, true, "d0", -4, 4); /* ... and reads as zeros */
		else if (how == 2)
			spoil(&u, true, "d1.next-", 0, 0); /* nothing of it reached the disk */
		else if (how == 3)
			spoil(&u, true, "d1.next-", 0, 26);
		else
			spoil(&u, false, "i1.next-", 0, 29);
		assert_int_equal(zu_open(&u), 0);
		assert_int_equal(ar_temporary(&u), 0);
		assert_false(ar_exists(&u, true, "d1") || ar_exists(&u, false, "i1"));
		assert_int_equal(zdb_ns_recovery(u.ns)->ahead_dropped > 0, how != 2);
		if (how < 2) {
			assert_string_equal(zu_get(&u, "one"), "first value");
			assert_null(zu_get(&u, "two"));
			assert_null(zu_get(&u, "three"));
		} else {
			only_the_closed_one(&u);
		}
		zu_set(&u, "three", "again");
		ar_finish(&u);
	}
}

/* Somebody who does not know these names went on in segment 0. */
static void others_went_on_in_the_closed_one(void **state)
{
	struct zu u;

	(void)state;
	ar_begin(&u, ZDB_USER);
	ar_fill(&u);
	zu_crash(&u);
	ar_move(u.data, ar_look(u.data, ".next-").name, "kept-d");
	ar_move(u.index, ar_look(u.index, ".next-").name, "kept-i");
	assert_int_equal(zu_open(&u), 0);
	only_the_closed_one(&u);
	zu_set(&u, "four", "a value of the same opening");
	zu_crash(&u);
	ar_move(u.data, "kept-d", "d1.next-00000041");
	ar_move(u.index, "kept-i", "i1.next-00000041");
	assert_int_equal(zu_open(&u), 0);
	only_the_closed_one(&u);
	assert_string_equal(zu_get(&u, "four"), "a value of the same opening");
	ar_finish(&u);
}

/* Between the two renames: the closed segment was durable then. */
static void half_named(void **state)
{
	struct zu u;

	(void)state;
	for (int data = 0; data <= 1; data++) {
		const char *root;

		ar_begin(&u, ZDB_USER);
		ar_fill(&u);
		zu_crash(&u);
		root = data ? u.data : u.index;
		ar_move(root, ar_look(root, ".next-").name, data ? "d1" : "i1");
		assert_int_equal(zu_open(&u), 0);
		assert_int_equal(ar_temporary(&u), 0);
		assert_true(ar_exists(&u, true, "d1") && ar_exists(&u, false, "i1"));
		ar_all_there(&u);
		ar_finish(&u);
	}
}

/* Left by a removal that a power cut took back: nothing of them comes back. */
static void litter_goes(void **state)
{
	struct zu u;
	char name[64];

	(void)state;
	ar_begin(&u, ZDB_USER);
	ar_fill(&u);
	zu_crash(&u);
	snprintf(name, sizeof(name), "%s", ar_look(u.data, ".next-").name);
	ar_move(u.data, name, "kept-d");
	ar_move(u.index, ar_look(u.index, ".next-").name, "kept-i");
	assert_int_equal(zu_open(&u), 0);
	assert_int_equal(zdb_sync(u.ns, ZDB_SYNC_DATA), 0);
	zu_set(&u, "one", "x"); /* opens: a new stamp */
	assert_int_equal(zdb_sync(u.ns, ZDB_SYNC_DATA), 0);
	assert_int_equal(zdb_jump(u.ns), 0);
	zu_set(&u, "five", "in the real d1");
	zu_crash(&u);
	ar_move(u.data, "kept-d", name);
	name[0] = 'i';
	ar_move(u.index, "kept-i", name);
	assert_int_equal(zu_open(&u), 0);
	assert_int_equal(ar_temporary(&u), 0);
	assert_string_equal(zu_get(&u, "two"), "second value");
	assert_string_equal(zu_get(&u, "five"), "in the real d1");
	assert_null(zu_get(&u, "three"));
	ar_finish(&u);
}

/* Of rotations that failed before the segment grew, and whose names could not be removed: they do not hide the one that went on. */
static void earlier_names_hide_nothing(void **state)
{
	struct zu u;
	char path[600];

	(void)state;
	ar_begin(&u, ZDB_USER);
	ar_fill(&u);
	zu_crash(&u);
	for (unsigned size = 100; size < 120; size++) { /* the order of a directory is not ours */
		snprintf(path, sizeof(path), "%s/default/d1.next-%08x", u.data, size);
		assert_int_equal(close(open(path, O_CREAT | O_WRONLY, 0600)), 0);
		snprintf(path, sizeof(path), "%s/default/i1.next-%08x", u.index, size);
		assert_int_equal(close(open(path, O_CREAT | O_WRONLY, 0600)), 0);
	}
	assert_int_equal(zu_open(&u), 0);
	assert_int_equal(ar_temporary(&u), 0);
	ar_all_there(&u);
	ar_finish(&u);
}

static void finding(void *ctx, int level, const char *ns, const char *text)
{
	unsigned *said = ctx;

	(void)ns;
	*said += level == 1 && strncmp(text, "i1 and d1 have not got", 22) == 0;
}

static void who_only_looks_sees_the_closed_one(void **state)
{
	unsigned said = 0;
	struct zu u;

	(void)state;
	ar_begin(&u, ZDB_USER);
	ar_fill(&u);
	zu_crash(&u);
	u.opt.read_only = true;
	assert_int_equal(zu_open(&u), 0);
	assert_int_equal(ar_temporary(&u), 2);
	only_the_closed_one(&u);
	zu_crash(&u);
	assert_int_equal(zdb_verify(&u.opt, finding, &said), 1);
	assert_int_equal(said, 1);
	u.opt.read_only = false;
	assert_int_equal(zu_open(&u), 0);
	ar_all_there(&u);
	ar_finish(&u);
}

/* A server on media that cannot be written, both of them or one: old values are not served as if they were the last ones. */
static void read_only_media(void **state)
{
	char why[400];
	struct zu u;

	(void)state;
	for (int torn = 0; torn <= 1; torn++) {
		for (int which = 0; which < 3; which++) {
			int rc;

			ar_begin(&u, ZDB_USER);
			ar_fill(&u);
			zu_crash(&u);
			if (torn) /* then nothing of the pair counts */
				spoil(&u, true, "d1.next-", 0, 26);
			sys_fault_begin();
			sys_fault_only(which == 0   ? ".lockfile"
				       : which == 1 ? "index/.lockfile"
						    : "data/.lockfile");
			sys_fault_arm_from(SYS_CALL_OPEN, 1, EROFS);
			rc = zdb_open(&u.eng, &u.opt, why, sizeof(why));
			if (torn) {
				assert_int_equal(rc, 0);
				u.ns = zdb_ns_find(u.eng, "default", 7);
				only_the_closed_one(&u);
				assert_int_equal(zu_del(&u, "one"), -EROFS);
				zu_crash(&u);
			} else {
				assert_int_equal(rc, -EROFS);
				assert_non_null(strstr(why, "recover a copy"));
			}
			sys_fault_end();
			assert_int_equal(ar_temporary(&u), 2);
			assert_int_equal(zu_open(&u), 0);
			if (!torn)
				ar_all_there(&u);
			ar_finish(&u);
		}
	}
}

/*
 * Every call fails once, in the rotation, in what ends it, and in the load after it. What was answered is there when the fault has
 * gone: nothing here lost a page.
 */
static void each_call_fails(void **state)
{
	bool fired = true;

	(void)state;
	for (uint64_t n = 1; fired; n++) {
		char set[2] = "";
		struct zu u;

		ar_begin(&u, ZDB_USER);
		zu_set(&u, "one", "value");
		sys_fault_begin();
		sys_fault_arm(SYS_CALL_ANY, n, EIO);
		if (zdb_jump(u.ns) == 0) {
			struct zdb_set_result r;

			set[0] = zdb_set(u.ns, "two", 3, "value", 5, 1, &r) == 0 ? '2' : '\0';
			(void)zdb_sync(u.ns, ZDB_SYNC_INDEX);
		}
		fired = sys_fault_fired();
		sys_fault_end();
		zu_crash(&u);
		assert_int_equal(zu_open(&u), 0);
		assert_int_equal(ar_temporary(&u), 0);
		assert_string_equal(zu_get(&u, "one"), "value");
		if (set[0] != '\0')
			assert_string_equal(zu_get(&u, "two"), "value");
		ar_finish(&u);
	}
	fired = true;
	for (uint64_t n = 1; fired; n++) {
		struct zu u;
		int rc;

		ar_begin(&u, ZDB_USER);
		ar_fill(&u);
		zu_crash(&u);
		sys_fault_begin();
		sys_fault_arm(SYS_CALL_ANY, n, EIO);
		rc = zdb_open(&u.eng, &u.opt, NULL, 0);
		fired = sys_fault_fired();
		sys_fault_end();
		if (rc == 0)
			zdb_abandon(u.eng);
		u.eng = NULL;
		assert_int_equal(zu_open(&u), 0);
		assert_int_equal(ar_temporary(&u), 0);
		ar_all_there(&u);
		ar_finish(&u);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_sync_gives_it_its_names),
		cmocka_unit_test(a_tick_does_so_too),
		cmocka_unit_test(everything_else_ends_it),
		cmocka_unit_test(when_it_waits_as_ever),
		cmocka_unit_test(a_kill_takes_nothing_back),
		cmocka_unit_test(a_torn_segment_has_no_successor),
		cmocka_unit_test(others_went_on_in_the_closed_one),
		cmocka_unit_test(half_named),
		cmocka_unit_test(litter_goes),
		cmocka_unit_test(earlier_names_hide_nothing),
		cmocka_unit_test(who_only_looks_sees_the_closed_one),
		cmocka_unit_test(read_only_media),
		cmocka_unit_test(each_call_fails),
	};

	test_in_memory();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
