/*
 * Flights: large values that stay where they are until another thread has written them. What is loaded, in the air or landed is read alike;
 * whatever needs the log in its file finds it there; what fails is told, and never in the file by half; each lent value comes back once.
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

#include "tests/unit/support/sys_test.h"
#include "tests/unit/support/zdb_flights.h"
#include "tests/unit/support/zdb_util.h"

#define SIZE 100000u
#define KEYS 12u

struct book {
	struct zu u;
	struct fleet fleet;
};

static uint8_t value[SIZE];

static const uint8_t *content(unsigned key, unsigned version)
{
	for (uint32_t i = 0; i < SIZE; i++)
		value[i] = (uint8_t)(key * 17 + version * 91 + i * 5 + i / 255);
	return value;
}

static void open_book(struct book *b)
{
	zu_setup(&b->u, ZDB_USER);
	b->u.opt.datasize = 64u << 20;
	fleet_init(&b->fleet, &b->u.opt);
	assert_int_equal(zu_open(&b->u), 0);
}

static void close_book(struct book *b)
{
	zu_teardown(&b->u);
	(void)fleet_end_all(&b->fleet); /* may come after the engine */
	assert_true(fleet_even(&b->fleet));
}

static int put_in(struct book *b, struct zdb_ns *ns, unsigned key, unsigned version)
{
	struct zdb_set_result r;
	char name[16];
	int n = snprintf(name, sizeof(name), "key%u", key);

	return fleet_set(&b->fleet, ns, name, (size_t)n, content(key, version), SIZE, 1, &r);
}

static int put(struct book *b, unsigned key, unsigned version)
{
	return put_in(b, b->u.ns, key, version);
}

/* The version that is there, of 1 to `last`; 0 absent; a negative code. */
static int version_of(struct zu *u, unsigned key, unsigned last)
{
	unsigned found = 0;
	char name[16];
	uint8_t *v;
	size_t n;
	int rc = zu_value(u->ns, name, (size_t)snprintf(name, sizeof(name), "key%u", key), &v, &n);

	if (rc != 0)
		return rc == -ENOENT ? 0 : rc;
	assert_int_equal(n, SIZE);
	for (unsigned version = 1; version <= last && found == 0; version++)
		if (memcmp(v, content(key, version), n) == 0)
			found = version;
	free(v);
	assert_int_not_equal(found, 0);
	return (int)found;
}

static void all_are(struct book *b, unsigned count, unsigned version)
{
	for (unsigned k = 0; k < count; k++)
		assert_int_equal(version_of(&b->u, k, version), version);
}

/* Key 0 is in the air, key 1 loaded behind it. */
static void open_two(struct book *b)
{
	open_book(b);
	assert_int_equal(put(b, 0, 1), 0);
	assert_int_equal(zdb_flush(b->u.eng), 0);
	assert_int_equal(put(b, 1, 1), 0);
}

static off_t log_size(struct book *b)
{
	char path[400];
	struct stat st;

	zu_path(&b->u, "default", "d0", path, sizeof(path));
	assert_int_equal(stat(path, &st), 0);
	return st.st_size;
}

/* ------------------------------------------------------------------------------------------------------- its life --- */

static void read_all_the_way(void **state)
{
	struct book b;
	off_t empty;

	(void)state;
	open_book(&b);
	empty = log_size(&b);
	for (unsigned k = 0; k < 3; k++)
		assert_int_equal(put(&b, k, 1), 0);
	assert_int_equal(b.fleet.lent, 3);
	all_are(&b, 3, 1); /* loaded */
	assert_int_equal(zdb_flush(b.u.eng), 0);
	assert_int_equal(b.fleet.started, 1);
	assert_int_equal(put(&b, 3, 1), 0);
	assert_int_equal(zu_set(&b.u, "small", "between"), 0);
	all_are(&b, 4, 1); /* in the air, and loaded behind it */
	assert_int_equal(log_size(&b), empty);
	fleet_run(&b.fleet);
	assert_true(log_size(&b) > 3 * (off_t)SIZE);
	all_are(&b, 4, 1); /* written, not landed */
	assert_int_equal(b.fleet.back, 0);
	assert_int_equal(fleet_end(&b.fleet), 0);
	assert_int_equal(b.fleet.back, 3);
	all_are(&b, 4, 1);
	assert_string_equal(zu_get(&b.u, "small"), "between");
	assert_int_equal(zdb_flush(b.u.eng), 0);
	assert_int_equal(fleet_end_all(&b.fleet), 0);
	assert_int_equal(b.fleet.back, 4);
	all_are(&b, 4, 1);
	assert_string_equal(zu_get(&b.u, "small"), "between");
	zu_crash(&b.u);
	assert_int_equal(zu_open(&b.u), 0);
	all_are(&b, 4, 1);
	assert_string_equal(zu_get(&b.u, "small"), "between");
	close_book(&b);
}

/* What nobody runs: the engine does, rather than let it grow without bound. */
static void bounded(void **state)
{
	struct book b;

	(void)state;
	open_book(&b);
	for (unsigned i = 0; i < 300; i++) /* 30 MB */
		assert_int_equal(put(&b, i % KEYS, 1 + i / KEYS), 0);
	assert_in_range(b.fleet.lent - b.fleet.back, 1, 110);
	for (unsigned k = 0; k < KEYS; k++)
		assert_int_equal(version_of(&b.u, k, 25), 25);
	close_book(&b);
}

/* -------------------------------------------------------------------------------------- who needs it in the file --- */

static void landed_by_sync(void **state)
{
	struct book b;

	(void)state;
	open_book(&b);
	for (unsigned k = 0; k < 4; k++)
		assert_int_equal(put(&b, k, 1), 0);
	assert_int_equal(zdb_flush(b.u.eng), 0);
	assert_int_equal(put(&b, 4, 1), 0);
	assert_int_equal(zdb_sync(b.u.ns, ZDB_SYNC_DATA), 0);
	assert_int_equal(b.fleet.back, 5);
	zu_crash(&b.u);
	assert_int_equal(fleet_end_all(&b.fleet), 0);
	assert_int_equal(zu_open(&b.u), 0);
	all_are(&b, 5, 1);
	close_book(&b);
}

static void landed_by_rotation(void **state)
{
	struct book b;

	(void)state;
	open_two(&b);
	assert_int_equal(zdb_jump(b.u.ns), 0);
	assert_true(log_size(&b) > 2 * (off_t)SIZE);
	assert_int_equal(put(&b, 2, 1), 0);
	all_are(&b, 3, 1);
	assert_int_equal(fleet_end_all(&b.fleet), 0);
	zu_close(&b.u); /* with one that is only loaded */
	assert_int_equal(zu_open(&b.u), 0);
	assert_false(zdb_ns_recovery(b.u.ns)->unclean);
	all_are(&b, 3, 1);
	close_book(&b);
}

static void landed_by_cut(void **state)
{
	struct zdb_cut *cuts;
	struct book b;
	size_t count;

	(void)state;
	open_two(&b);
	assert_int_equal(zdb_cut(b.u.eng, &cuts, &count), 0);
	assert_int_equal(count, 1);
	assert_int_equal(cuts[0].offset, log_size(&b));
	zdb_cut_free(cuts);
	close_book(&b);
}

/* A kill leaves a prefix: the flights that were run. */
static void killed(void **state)
{
	struct book b;

	(void)state;
	open_book(&b);
	for (unsigned k = 0; k < 6; k++) {
		assert_int_equal(put(&b, k, 1), 0);
		assert_int_equal(zdb_flush(b.u.eng), 0);
	}
	fleet_run(&b.fleet);
	fleet_run(&b.fleet);
	zu_crash(&b.u);
	assert_int_equal(fleet_end_all(&b.fleet), 0);
	assert_int_equal(zu_open(&b.u), 0);
	for (unsigned k = 0; k < 6; k++)
		assert_int_equal(version_of(&b.u, k, 1), k < 2);
	close_book(&b);
}

static void namespace_goes(void **state)
{
	struct zdb_ns *ns;
	struct book b;

	(void)state;
	open_book(&b);
	assert_int_equal(zdb_ns_create(b.u.eng, "other", 5, &ns), 0);
	assert_int_equal(put_in(&b, ns, 0, 1), 0);
	assert_int_equal(zdb_flush(b.u.eng), 0);
	assert_int_equal(put_in(&b, ns, 1, 1), 0);
	assert_int_equal(put(&b, 0, 2), 0);
	assert_int_equal(zdb_ns_delete(ns), 0);
	assert_int_equal(b.fleet.back, 2);
	assert_int_equal(fleet_end_all(&b.fleet), 0);
	assert_int_equal(zdb_flush(b.u.eng), 0);
	assert_int_equal(fleet_end_all(&b.fleet), 0);
	assert_int_equal(version_of(&b.u, 0, 2), 2);
	close_book(&b);
}

static void emptied(void **state)
{
	struct book b;

	(void)state;
	open_two(&b);
	assert_int_equal(zdb_ns_flush(b.u.ns), 0);
	assert_int_equal(put(&b, 2, 1), 0);
	assert_int_equal(fleet_end_all(&b.fleet), 0);
	for (unsigned k = 0; k < 3; k++)
		assert_int_equal(version_of(&b.u, k, 1), k == 2);
	close_book(&b);
}

/* ---------------------------------------------------------------------------------------------------- it goes wrong --- */

static void write_fails(void **state)
{
	struct zdb_ns *other;
	struct book b;

	(void)state;
	open_book(&b);
	assert_int_equal(zdb_ns_create(b.u.eng, "other", 5, &other), 0);
	assert_int_equal(put(&b, 0, 1), 0);
	assert_int_equal(zdb_sync(b.u.ns, ZDB_SYNC_INDEX), 0);
	assert_int_equal(put(&b, 0, 2), 0);
	assert_int_equal(put(&b, 1, 2), 0);
	assert_int_equal(zdb_flush(b.u.eng), 0);
	assert_int_equal(put(&b, 2, 2), 0);
	sys_fault_begin();
	sys_fault_arm(SYS_CALL_WRITE, 1, EIO);
	fleet_run(&b.fleet);
	assert_true(sys_fault_fired());
	sys_fault_end();
	assert_int_equal(fleet_end(&b.fleet), -EIO);
	assert_int_equal(put(&b, 3, 2), -EROFS);
	assert_int_equal(zdb_sync(b.u.ns, ZDB_SYNC_DATA), -EROFS);
	all_are(&b, 3, 2); /* what was answered before is what is read, as long as this server lives */
	(void)zdb_flush(b.u.eng);
	assert_int_equal(put_in(&b, other, 0, 1), 0);
	assert_int_equal(zdb_flush(b.u.eng), 0); /* told once: it is no matter of others */
	assert_int_equal(fleet_end_all(&b.fleet), 0);
	assert_int_equal(zdb_sync(other, ZDB_SYNC_DATA), 0);
	zu_crash(&b.u);
	assert_int_equal(zu_open(&b.u), 0);
	for (unsigned k = 0; k < 3; k++)
		assert_int_equal(version_of(&b.u, k, 2), k == 0);
	close_book(&b);
}

/* What is lost by it is told before a reload can hide it; the next one is the way out. */
static void write_fails_at_reload(void **state)
{
	struct book b;

	(void)state;
	open_book(&b);
	assert_int_equal(put(&b, 0, 1), 0);
	assert_int_equal(zdb_sync(b.u.ns, ZDB_SYNC_INDEX), 0);
	assert_int_equal(put(&b, 0, 2), 0);
	sys_fault_begin();
	sys_fault_arm(SYS_CALL_WRITE, 1, EIO);
	assert_int_equal(zdb_ns_reload(b.u.ns), -EIO);
	assert_true(sys_fault_fired());
	sys_fault_end();
	assert_int_equal(zdb_flush(b.u.eng), -EIO);
	assert_int_equal(zdb_ns_reload(b.u.ns), 0);
	assert_int_equal(zdb_flush(b.u.eng), 0);
	assert_int_equal(version_of(&b.u, 0, 2), 1);
	assert_int_equal(put(&b, 0, 2), 0);
	assert_int_equal(zdb_sync(b.u.ns, ZDB_SYNC_DATA), 0);
	close_book(&b);
}

/* A cut that fails says so to who asked for it; those who wrote have to hear it, too. */
static void write_fails_at_cut(void **state)
{
	struct zdb_cut *cuts;
	struct book b;
	size_t count;

	(void)state;
	for (unsigned large = 0; large < 2; large++) {
		open_book(&b);
		assert_int_equal(zu_set(&b.u, "small", "synced"), 0);
		assert_int_equal(zdb_sync(b.u.ns, ZDB_SYNC_INDEX), 0);
		assert_int_equal(large ? put(&b, 0, 1) : zu_set(&b.u, "small", "gathered"), 0);
		sys_fault_begin();
		sys_fault_arm_from(SYS_CALL_WRITE, 1, EIO);
		assert_int_equal(zdb_cut(b.u.eng, &cuts, &count), -EIO);
		assert_int_equal(zdb_flush(b.u.eng), -EIO);
		assert_int_equal(zdb_flush(b.u.eng), 0); /* told once */
		assert_int_equal(zdb_cut(b.u.eng, &cuts, &count), -EIO);
		sys_fault_end();
		close_book(&b);
	}
}

static void refused(void **state)
{
	struct book b;

	(void)state;
	open_book(&b);
	b.fleet.refuse = -EAGAIN;
	for (unsigned i = 0; i < 24; i++) {
		assert_int_equal(put(&b, i % KEYS, 1 + i / KEYS), 0);
		assert_int_equal(zdb_flush(b.u.eng), 0);
		assert_int_equal(b.fleet.lent, b.fleet.back);
	}
	all_are(&b, KEYS, 2);
	assert_int_equal(b.fleet.started, 0);
	close_book(&b);
}

static int some_work(struct book *b, unsigned version, unsigned *done)
{
	int rc = 0;

	for (unsigned k = 0; k < KEYS && rc == 0; k++) {
		rc = put(b, k, version);
		if (rc == 0)
			*done = k + 1;
		if (rc == 0 && k % 3 == 1)
			rc = zdb_flush(b->u.eng);
		if (k % 4 == 2)
			fleet_run(&b->fleet);
		if (rc == 0 && k % 4 == 3)
			rc = fleet_end(&b->fleet);
		if (rc == 0 && k == 7)
			rc = zu_set(&b->u, "small", "one");
	}
	return rc;
}

/* Every key has its first version. */
static void open_worked(struct book *b)
{
	unsigned done;

	open_book(b);
	assert_int_equal(some_work(b, 1, &done), 0);
}

/* Allocation n fails: the write does, or there is no flight. */
static void no_memory(void **state)
{
	bool fired = true;

	(void)state;
	for (uint64_t n = 1; fired; n++) {
		unsigned done = 0;
		struct book b;
		int rc;

		open_worked(&b);
		mem_fault_begin();
		mem_fault_arm(n);
		rc = some_work(&b, 2, &done);
		fired = mem_fault_fired();
		(void)mem_fault_end();
		assert_true(rc == 0 || (fired && rc == -ENOMEM));
		for (unsigned k = 0; k < KEYS; k++)
			assert_int_equal(version_of(&b.u, k, 2), rc == 0 || k < done ? 2 : 1);
		close_book(&b);
	}
}

/* Call n fails: nothing is lost that a sync had covered, nothing is there by half, and all is told. */
static void calls_fail(void **state)
{
	bool fired = true;

	(void)state;
	for (uint64_t n = 1; fired; n++) {
		unsigned done = 0;
		struct book b;
		int rc;

		open_worked(&b);
		assert_int_equal(zdb_sync(b.u.ns, ZDB_SYNC_INDEX), 0);
		sys_fault_begin();
		sys_fault_arm(SYS_CALL_ANY, n, EIO);
		rc = some_work(&b, 2, &done);
		if (rc == 0)
			rc = fleet_end_all(&b.fleet);
		if (rc == 0)
			rc = zdb_sync(b.u.ns, ZDB_SYNC_DATA);
		fired = sys_fault_fired();
		sys_fault_end();
		zu_crash(&b.u);
		assert_int_equal(zu_open(&b.u), 0);
		for (unsigned k = 0; k < KEYS; k++) {
			int version = version_of(&b.u, k, 2);

			assert_true(version == 2 || (version == 1 && (rc != 0 || k >= done)));
		}
		close_book(&b);
	}
}

/*
 * The window of the index is full, so that a record's append lands the flights, its own among them, and the disk fails: that write is
 * refused and those behind it, and what was answered before stays readable.
 */
static void write_fails_for_the_index(void **state)
{
	struct zdb_set_result r;
	struct book b;
	uint8_t *v;
	char key[250];
	size_t n;
	int rc = 0;

	(void)state;
	sys_fault_begin();
	sys_fault_only("data/default");
	open_book(&b);
	memset(key, 'k', sizeof(key));
	for (unsigned i = 0; rc == 0; i++) {
		assert_in_range(i, 0, 1000);
		if (i == 200) {
			assert_int_equal(fleet_end_all(&b.fleet), 0);
			sys_fault_arm_from(SYS_CALL_WRITE, 1, EIO);
		}
		memcpy(key, &i, sizeof(i));
		rc = fleet_set(&b.fleet, b.u.ns, key, sizeof(key), content(i, 1), i % 2 ? 17000 : 100, 1, &r);
	}
	assert_int_equal(rc, -EIO);
	assert_true(sys_fault_fired());
	assert_int_equal(put(&b, 0, 1), -EROFS);
	assert_int_equal(zu_value(b.u.ns, key, sizeof(key), &v, &n), -ENOENT);
	for (unsigned i = 199; i < 202; i++) {
		memcpy(key, &i, sizeof(i));
		assert_int_equal(zu_value(b.u.ns, key, sizeof(key), &v, &n), 0);
		assert_memory_equal(v, content(i, 1), n);
		free(v);
	}
	(void)fleet_end_all(&b.fleet);
	sys_fault_end();
	zu_crash(&b.u);
	assert_int_equal(zu_open(&b.u), 0);
	assert_int_equal(zdb_ns_recovery(b.u.ns)->damaged, 0);
	close_book(&b);
}

/* Two flights a turn, the second on its way while the first lands.  Returns the calls that the owner itself made for room. */
static uint64_t turns(struct book *b, unsigned count, unsigned version)
{
	uint64_t owner = 0, before;

	for (unsigned turn = 0; turn < count; turn++) {
		before = sys_fault_calls(SYS_CALL_FALLOCATE);
		for (unsigned k = 0; k < KEYS; k++)
			assert_int_equal(put(b, k, version), 0);
		assert_int_equal(zdb_flush(b->u.eng), 0);
		owner += sys_fault_calls(SYS_CALL_FALLOCATE) - before;
		while (b->fleet.run < b->fleet.count)
			fleet_run(&b->fleet);
		while (b->fleet.count > 1)
			assert_int_equal(fleet_end(&b->fleet), 0);
	}
	return owner;
}

/* Once the log has grown somewhat, its room is preallocated by flights alone. */
static void room_ahead(void **state)
{
	uint64_t before;
	struct book b;

	(void)state;
	open_book(&b);
	sys_fault_begin();
	assert_true(turns(&b, 4, 1) > 0);
	before = sys_fault_calls(SYS_CALL_FALLOCATE);
	assert_int_equal(turns(&b, 30, 2), 0);
	assert_true(sys_fault_calls(SYS_CALL_FALLOCATE) > before);
	sys_fault_end();
	assert_int_equal(fleet_end_all(&b.fleet), 0);
	all_are(&b, KEYS, 2);
	close_book(&b);
}

/* Flights that found no room: the owner asks itself, and again later. */
static void no_room_ahead(void **state)
{
	struct book b;

	(void)state;
	open_book(&b);
	sys_fault_begin();
	(void)turns(&b, 4, 1);
	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(zdb_flush(b.u.eng), 0);
		for (unsigned k = 0; k < KEYS; k++)
			assert_int_equal(put(&b, k, 2), 0);
		assert_int_equal(zdb_flush(b.u.eng), 0);
		sys_fault_arm_from(SYS_CALL_FALLOCATE, 1, ENOSPC);
		while (b.fleet.run < b.fleet.count)
			fleet_run(&b.fleet);
		sys_fault_disarm();
		assert_int_equal(fleet_end_all(&b.fleet), 0);
	}
	all_are(&b, KEYS, 2);
	sys_fault_end();
	close_book(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(read_all_the_way),
		cmocka_unit_test(bounded),
		cmocka_unit_test(landed_by_sync),
		cmocka_unit_test(landed_by_rotation),
		cmocka_unit_test(landed_by_cut),
		cmocka_unit_test(killed),
		cmocka_unit_test(namespace_goes),
		cmocka_unit_test(emptied),
		cmocka_unit_test(write_fails),
		cmocka_unit_test(write_fails_at_reload),
		cmocka_unit_test(refused),
		cmocka_unit_test(write_fails_at_cut),
		cmocka_unit_test(no_memory),
		cmocka_unit_test(calls_fail),
		cmocka_unit_test(room_ahead),
		cmocka_unit_test(no_room_ahead),
		cmocka_unit_test(write_fails_for_the_index),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
