/*
 * Compaction against a model: what lives stays, what was promised of history stays, what is dropped is gone from the disk; while it
 * runs, at every step, with writes in between and with readers in flight.
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
#include "core/zdb/compact_int.h"
#include "tests/unit/support/compact_run.h"

/* ------------------------------------------------------------------------------------ it does its work --- */

static void reclaim(enum zdb_mode mode, uint64_t keep_s, uint64_t seed)
{
	struct compact_run *r = cr_new(mode, keep_s, seed);
	struct zdb_compact_options o = cr_options(r, 0);
	struct zdb_compact_figures f, again;
	uint64_t before;

	cr_prepare(r, 30);
	assert_int_equal(zu_open(&r->u), 0);
	before = cr_data_bytes(&r->u, 4);
	assert_int_equal(zdb_compact(r->u.ns, &o, &f), 0);
	assert_int_equal(f.files, 4);
	assert_int_equal(f.refused + f.absent, 0);
	assert_int_equal(f.bytes_before, before);
	assert_int_equal(f.bytes_after, cr_data_bytes(&r->u, 4));
	if (keep_s == ZDB_KEEP_NONE) {
		assert_int_equal(f.rewritten, 4);
		assert_true(f.bytes_after < before * 2 / 3);
	}
	cr_check(r, &r->u, r->ops, "compacted");
	/* Nothing is left to be done, and that is seen without copying. */
	assert_int_equal(zdb_compact(r->u.ns, &o, &again), 0);
	assert_int_equal(again.rewritten, 0);
	assert_int_equal(again.bytes_after, f.bytes_after);
	zu_close(&r->u);
	zu_check(&r->u, "compacted");
	assert_int_equal(zu_open(&r->u), 0);
	assert_false(zdb_ns_recovery(r->u.ns)->unclean);
	cr_check(r, &r->u, r->ops, "opened again");
	if (mode == ZDB_SEQ) { /* ids go on where they were */
		struct zdb_ns_info info;

		zdb_ns_info(r->u.ns, &info);
		assert_int_equal(zu_insert(&r->u, "next"), info.next_id);
	}
	zu_close(&r->u);
	cr_free(r);
}

static void reclaims(void **state)
{
	uint64_t seed = *(uint64_t *)*state;

	for (unsigned i = 0; i < 5; i++) {
		reclaim(ZDB_USER, ZDB_KEEP_NONE, seed + i);
		reclaim(ZDB_SEQ, ZDB_KEEP_NONE, seed + i);
		reclaim(ZDB_USER, ZDB_KEEP_ALL, seed + i);
		reclaim(ZDB_SEQ, ZDB_KEEP_ALL, seed + i);
		reclaim(ZDB_USER, 70, seed + i);
		reclaim(ZDB_SEQ, 70, seed + i);
	}
}

/* A file is left alone when too little would be gained. */
static void threshold(void **state)
{
	struct zdb_compact_options o = {.threshold = 50};
	struct zdb_compact_figures f;
	struct zu u;

	(void)state;
	zu_setup(&u, ZDB_USER);
	assert_int_equal(zu_open(&u), 0);
	assert_int_equal(zu_set(&u, "a", "0123456789"), 0);
	assert_int_equal(zu_set(&u, "b", "0123456789"), 0);
	assert_int_equal(zu_set(&u, "c", "0123456789"), 0);
	assert_int_equal(zu_set(&u, "c", "x"), 0);
	assert_int_equal(zdb_jump(u.ns), 0);
	assert_int_equal(zdb_compact(u.ns, &o, &f), 0);
	assert_int_equal(f.rewritten, 0);
	o.threshold = 10;
	assert_int_equal(zdb_compact(u.ns, &o, &f), 0);
	assert_int_equal(f.rewritten, 1);
	assert_int_equal(f.bytes_before - f.bytes_after, 18 + 1 + 10);
	assert_int_equal(f.dropped, 1);
	zu_close(&u);
	zu_teardown(&u);
}

/* All index files are lost: they are made again from the log, and nothing rises from the dead. */
static void index_lost(struct zu *u)
{
	for (unsigned n = 0; n < 3; n++) {
		char name[8], path[900];

		snprintf(name, sizeof(name), "i%u", n);
		zu_path(u, "default", name, path, sizeof(path));
		assert_int_equal(unlink(path), 0);
	}
	assert_int_equal(zu_open(u), 0);
	assert_null(zu_get(u, "gone"));
	assert_non_null(zu_get(u, "there"));
	assert_string_equal(zu_get(u, "x"), "new");
}

/* Deletion markers go when nothing that they delete can come back, and not before. */
static void markers(void **state)
{
	struct zdb_compact_options o = {.threshold = 40};
	struct zdb_compact_figures f;
	struct zu u;

	(void)state;
	zu_setup(&u, ZDB_USER);
	assert_int_equal(zu_open(&u), 0);
	assert_int_equal(zu_set(&u, "gone", "value"), 0);
	assert_int_equal(zu_set(&u, "there", "a value that is much longer than what is gone"), 0);
	assert_int_equal(zdb_jump(u.ns), 0);
	assert_int_equal(zu_set(&u, "x", "a value that is much longer than what is left of this file"), 0);
	assert_int_equal(zu_del(&u, "gone"), 0);
	assert_int_equal(zu_set(&u, "x", "new"), 0);
	assert_int_equal(zdb_jump(u.ns), 0);
	/* d0 is left as it is: the marker in d1 must stay. */
	assert_int_equal(zdb_compact(u.ns, &o, &f), 0);
	assert_int_equal(f.rewritten, 1);
	assert_int_equal(f.dropped, 1);
	zu_close(&u);
	index_lost(&u);
	o.threshold = 0;
	assert_int_equal(zdb_compact(u.ns, &o, &f), 0);
	assert_int_equal(f.rewritten, 2);
	assert_int_equal(f.dropped, 2);
	assert_int_equal(f.bytes_after, 28 + 18 + 5 + 45 + 28 + 18 + 1 + 3);
	zu_close(&u);
	index_lost(&u);
	zu_close(&u);
	zu_teardown(&u);
}

/* ---------------------------------------------------------------------------------- while others go on --- */

static void while_writing(enum zdb_mode mode, uint64_t keep_s, uint64_t seed)
{
	struct compact_run *r = cr_new(mode, keep_s, seed);

	cr_prepare(r, 25);
	r->u.opt.gather_writes = seed % 2 == 0;
	assert_int_equal(zu_open(&r->u), 0);
	cr_interleave(r, 2, true);
	assert_true(r->steps > 12);
	cr_check(r, &r->u, r->ops, "afterwards");
	zu_close(&r->u);
	zu_check(&r->u, "afterwards");
	assert_int_equal(zu_open(&r->u), 0);
	cr_check(r, &r->u, r->ops, "opened again");
	zu_close(&r->u);
	cr_free(r);
}

static void others_go_on(void **state)
{
	uint64_t seed = *(uint64_t *)*state;

	for (unsigned i = 0; i < 8; i++) {
		while_writing(ZDB_USER, ZDB_KEEP_NONE, seed + i);
		while_writing(ZDB_SEQ, ZDB_KEEP_NONE, seed + i);
		while_writing(ZDB_USER, ZDB_KEEP_ALL, seed + i);
		while_writing(ZDB_SEQ, ZDB_KEEP_ALL, seed + i);
	}
}

/* A read that began before the switch ends with the old bytes, one that begins after it with the same from the new file. */
static void readers(void **state)
{
	static char value[200000], got[200000];
	struct zdb_compact_options o = {.threshold = 0};
	struct zdb_compact_figures f;
	struct zdb_set_result res;
	struct zdb_read before, after;
	struct zu u;

	(void)state;
	memset(value, 'v', sizeof(value));
	zu_setup(&u, ZDB_USER);
	assert_int_equal(zu_open(&u), 0);
	assert_int_equal(zu_set(&u, "dead", "1"), 0);
	assert_int_equal(zu_set(&u, "small", "1"), 0);
	assert_int_equal(zdb_set(u.ns, "big", 3, value, sizeof(value), 1, &res), 0);
	assert_int_equal(zu_del(&u, "dead"), 0);
	assert_int_equal(zdb_jump(u.ns), 0);
	assert_int_equal(zdb_get(u.ns, "big", 3, &before, NULL), 0);
	assert_null(before.data);
	assert_int_equal(zdb_compact(u.ns, &o, &f), 0);
	assert_int_equal(f.rewritten, 1);
	assert_int_equal(zdb_get(u.ns, "big", 3, &after, NULL), 0);
	assert_true(after.offset < before.offset);
	assert_int_equal(zdb_read_run(&before, 0, sizeof(got), got), 0);
	assert_memory_equal(got, value, sizeof(value));
	assert_int_equal(zdb_read_run(&after, 0, sizeof(got), got), 0);
	assert_memory_equal(got, value, sizeof(value));
	zdb_read_end(u.ns, &before);
	zdb_read_end(u.ns, &after);
	/* The table knows the new place: one read. */
	sys_fault_begin();
	assert_int_equal(zdb_get(u.ns, "small", 5, &after, NULL), 0);
	assert_int_equal(sys_fault_calls(SYS_CALL_READ), 1);
	sys_fault_end();
	zdb_read_end(u.ns, &after);
	/* The unchanged test finds the value where it is now. */
	assert_int_equal(zdb_set(u.ns, "big", 3, value, sizeof(value), 1, &res), 0);
	assert_int_equal(res.outcome, ZDB_UNCHANGED);
	zu_close(&u);
	zu_teardown(&u);
}

/*
 * What a client stored in a payload looks like another key's record, with its length and CRC, and lies in the new file where that
 * record was in the old one: while the file is switched, nobody takes one for the other.
 */
static void forged(void **state)
{
	struct zdb_compact_options o = {.step = 1};
	struct zdb_compact *c;
	struct zdb_set_result res;
	uint8_t value[64], image[19 + sizeof(value)], payload[16 + sizeof(image)] = {0};
	uint8_t dead[sizeof(value) + 19 + 16], *got;
	unsigned looks = 0;
	size_t size;
	struct zu u;
	int rc;

	(void)state;
	memset(value, 'v', sizeof(value));
	memset(dead, 'd', sizeof(dead));
	/* Header, key, and a value with the same CRC: the polynomial itself, bits reflected, laid over it. */
	image[0] = 1;
	put_u32le(image + 1, sizeof(value));
	put_u32le(image + 5, 28);
	put_u32le(image + 9, zdb_crc(0, value, sizeof(value)));
	image[13] = 0;
	put_u32le(image + 14, 1);
	image[18] = 'k';
	memcpy(image + 19, value, sizeof(value));
	for (unsigned i = 0; i < 33; i++) /* bit i of the message is the coefficient that comes i-th */
		if ((UINT64_C(0x11EDC6F41) >> (32 - i) & 1) != 0)
			image[19 + 16 + i / 8] ^= (uint8_t)(1u << i % 8);
	assert_int_equal(zdb_crc(0, image + 19, sizeof(value)), zdb_crc(0, value, sizeof(value)));
	assert_memory_not_equal(image + 19, value, sizeof(value));
	memcpy(payload + 16, image, sizeof(image));
	zu_setup(&u, ZDB_USER);
	assert_int_equal(zu_open(&u), 0);
	assert_int_equal(zdb_set(u.ns, "x", 1, dead, sizeof(dead), 1, &res), 0);
	assert_int_equal(zdb_set(u.ns, "k", 1, value, sizeof(value), 1, &res), 0);
	assert_int_equal(zdb_set(u.ns, "z", 1, payload, sizeof(payload), 1, &res), 0);
	assert_int_equal(zu_del(&u, "x"), 0);
	assert_int_equal(zdb_jump(u.ns), 0);
	assert_int_equal(zdb_compact_begin(u.ns, &o, &c), 0);
	do {
		(void)zdb_compact_run(c);
		rc = zdb_compact_done(c);
		assert_int_equal(zu_value(u.ns, "k", 1, &got, &size), 0);
		assert_int_equal(size, sizeof(value));
		assert_memory_equal(got, value, sizeof(value));
		free(got);
		looks++;
	} while (rc > 0);
	assert_int_equal(rc, 0);
	assert_true(looks > 5);
	zdb_compact_end(c);
	/* It does lie there. */
	got = zu_file(&u, "default", "d0", &size);
	assert_memory_equal(got + 28 + 19 + sizeof(dead), image, sizeof(image));
	free(got);
	zu_close(&u);
	zu_teardown(&u);
}

/* What lived when history was looked at, and is superseded before it is copied, is history that was promised. */
static void superseded_meanwhile(void **state)
{
	struct zdb_compact_options o = {.keep_s = ZDB_KEEP_ALL};
	struct zdb_compact *c;
	uint8_t cursor[8];
	struct zdb_read rd;
	struct zu u;
	bool more;
	int rc;

	(void)state;
	zu_setup(&u, ZDB_USER);
	assert_int_equal(zu_open(&u), 0);
	assert_int_equal(zu_set(&u, "x", "dead"), 0);
	assert_int_equal(zu_del(&u, "x"), 0);
	assert_int_equal(zu_set(&u, "a", "1"), 0);
	assert_int_equal(zdb_jump(u.ns), 0);
	assert_int_equal(zdb_compact_begin(u.ns, &o, &c), 0);
	assert_int_equal(zdb_compact_done(c), 2); /* the segment is opened */
	assert_int_equal(zdb_compact_done(c), 1); /* and its history known */
	assert_int_equal(zu_set(&u, "a", "2"), 0);
	assert_int_equal(zdb_sync(u.ns, ZDB_SYNC_INDEX), 0);
	do {
		(void)zdb_compact_run(c);
		while ((rc = zdb_compact_done(c)) == 2)
			;
	} while (rc == 1);
	assert_int_equal(rc, 0);
	zdb_compact_end(c);
	assert_int_equal(zdb_history(u.ns, "a", 1, NULL, 0, &rd, cursor, &more, NULL), 0);
	assert_true(more);
	assert_memory_equal(rd.data, "2", 1);
	zdb_read_end(u.ns, &rd);
	assert_int_equal(zdb_history(u.ns, "a", 1, cursor, 8, &rd, cursor, &more, NULL), 0);
	assert_memory_equal(rd.data, "1", 1);
	zdb_read_end(u.ns, &rd);
	zu_close(&u);
	zu_teardown(&u);
}

int main(void)
{
	static uint64_t seed;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_prestate(reclaims, &seed),
		cmocka_unit_test(threshold),
		cmocka_unit_test(markers),
		cmocka_unit_test_prestate(others_go_on, &seed),
		cmocka_unit_test(readers),
		cmocka_unit_test(forged),
		cmocka_unit_test(superseded_meanwhile),
	};

	test_in_memory();
	seed = test_seed() % 1000000;
	return cmocka_run_group_tests_name("zdb_compact", tests, NULL, NULL);
}
