/*
 * Big reads through the map of their segment: verified by the same rules as any read, bounded, given back, and no danger to the process
 * when the file is not what it was.
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
#include <sys/mman.h>
#include <unistd.h>

#include "core/base/mem_guard.h"
#include "core/base/sys.h"
#include "tests/unit/support/map_count.h"
#include "tests/unit/support/zdb_util.h"

#define BIG      (200u << 10)
#define HEAD     (28u + 18u) /* of the file, of a record; the key follows */
#define MANY_MAX (1ull << 30)

/* ------------------------------------------------------------------------------------------------------- the maps */

static struct sys_ops table;

/* ------------------------------------------------------------------------------------------------------ the store */

static struct zu u;
static uint8_t value[BIG];

static int setup(void **state)
{
	(void)state;
	table = sys_real;
	map_count_begin(&table);
	sys = &table;
	zu_setup(&u, ZDB_USER);
	u.opt.map_max = MANY_MAX;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	zu_teardown(&u);
	sys = &sys_real;
	return 0;
}

static void fill(unsigned n)
{
	for (size_t i = 0; i < BIG; i++)
		value[i] = (uint8_t)(n + i * 7 + i / 251);
}

/* Key "k<n>" with a value that no other has. */
static void put(unsigned n)
{
	struct zdb_set_result result;
	char key[16];

	fill(n);
	snprintf(key, sizeof(key), "k%u", n);
	assert_int_equal(zdb_set(u.ns, key, strlen(key), value, BIG, 1, &result), 0);
}

static void begin(unsigned n, struct zdb_read *rd)
{
	char key[16];

	snprintf(key, sizeof(key), "k%u", n);
	assert_int_equal(zdb_get(u.ns, key, strlen(key), rd, NULL), 0);
	assert_null(rd->data);
	assert_int_equal(rd->length, BIG);
}

struct range {
	const uint8_t *at;
	uint32_t from, count;
	bool same;
};

static void compare(void *ctx)
{
	struct range *r = ctx;

	r->same = memcmp(r->at, value + r->from, r->count) == 0;
}

/* 0: the range was verified, and its bytes are those of k<n>. */
static int look(unsigned n, const struct zdb_read *rd, uint32_t from, uint32_t count)
{
	struct range r = {.from = from, .count = count};
	int rc = zdb_read_mapped(rd, from, count, &r.at);

	if (rc)
		return rc;
	fill(n);
	return mem_guard_run(compare, &r) && r.same ? 0 : -EBADMSG;
}

static int get(unsigned n, uint32_t from, uint32_t count)
{
	struct zdb_read rd;
	int rc;

	begin(n, &rd);
	rc = look(n, &rd, from, count);
	zdb_read_end(u.ns, &rd);
	return rc;
}

static void open_store(void)
{
	assert_int_equal(mem_guard_install(), 0);
	assert_int_equal(zu_open(&u), 0);
}

static int file_open(const char *name)
{
	char path[400];
	int fd;

	zu_path(&u, "default", name, path, sizeof(path));
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

/* --------------------------------------------------------------------------------------------------------- tests */

static void ranges(void **state)
{
	struct zdb_read rd;
	const uint8_t *at;

	(void)state;
	open_store();
	put(1);
	assert_int_equal(get(1, 0, BIG), 0);
	assert_int_equal(get(1, 1, BIG - 1), 0);
	assert_int_equal(get(1, BIG / 2, BIG / 2), 0);
	assert_int_equal(get(1, BIG - 1, 1), 0);
	assert_int_equal(get(1, BIG, 0), 0);
	begin(1, &rd);
	assert_int_equal(zdb_read_mapped(&rd, 1, BIG, &at), -EINVAL);
	assert_int_equal(zdb_read_mapped(&rd, BIG + 1, 0, &at), -EINVAL);
	zdb_read_end(u.ns, &rd);
	assert_int_equal(map_count.made, 1);
	zu_close(&u);
	assert_int_equal(map_count.undone, 1);
}

/* Every segment has its own; the active one's covers what comes after it was made. */
static void segments(void **state)
{
	(void)state;
	open_store();
	for (unsigned n = 0; n < 12; n++) {
		put(n);
		for (unsigned i = 0; i <= n; i++)
			assert_int_equal(get(i, 0, BIG), 0);
	}
	assert_true(map_count.made > 6);
	assert_true(map_count.bytes_most <= MANY_MAX);
	zu_close(&u);
	assert_int_equal(map_count.made, map_count.undone);
	assert_int_equal(map_count.bytes_now, 0);
}

/* A read that began before its segment was compacted away, deleted or rotated keeps what it reads. */
static void in_flight(void **state)
{
	struct zdb_read rd;

	(void)state;
	open_store();
	put(1);
	begin(1, &rd);
	for (unsigned n = 2; n < 8; n++)
		put(n);
	assert_int_equal(zdb_ns_flush(u.ns), 0);
	assert_int_equal(look(1, &rd, 0, BIG), 0);
	zdb_read_end(u.ns, &rd);
	zu_close(&u);
	assert_int_equal(map_count.made, map_count.undone);
}

static void damage(void **state)
{
	struct zdb_read rd;
	uint8_t byte;
	int fd;

	(void)state;
	open_store();
	put(1);
	put(2);
	assert_int_equal(get(1, 0, BIG), 0);
	fd = file_open("d0");
	assert_int_equal(pread(fd, &byte, 1, HEAD + 2 + BIG / 4), 1);
	byte ^= 1;
	assert_int_equal(pwrite(fd, &byte, 1, HEAD + 2 + BIG / 4), 1);
	assert_int_equal(get(1, 0, BIG), -EIO);
	assert_int_equal(get(1, BIG / 2, BIG / 2), -EIO);
	assert_int_equal(get(1, BIG - 9, 9),
			 0); /* as everywhere: of a few bytes only the record's head is looked at */
	assert_int_equal(get(2, 0, BIG), 0);
	begin(2, &rd);
	assert_int_equal(ftruncate(fd, HEAD + 2 + BIG), 0); /* somebody cuts the file under the map */
	assert_int_equal(look(2, &rd, 0, BIG), -EIO);
	assert_int_equal(look(2, &rd, BIG - 9, 9), -EIO);
	assert_int_equal(zdb_read_verify(&rd, 0, BIG), -EIO);
	zdb_read_end(u.ns, &rd);
	close(fd);
}

static void bound(void **state)
{
	const uint64_t most = 1500u << 10;
	struct zdb_read rd;
	const uint8_t *at;
	unsigned mapped = 0;

	(void)state;
	u.opt.map_max =
		most; /* room for two closed segments, and never for the active one, which may get a record of any size */
	open_store();
	for (unsigned n = 0; n < 12; n++)
		put(n);
	for (unsigned n = 0; n < 12; n++) {
		int rc;

		begin(n, &rd);
		rc = zdb_read_mapped(&rd, 0, BIG, &at);
		assert_true(rc == 0 || rc == -EOPNOTSUPP);
		assert_int_equal(zdb_read_verify(&rd, 0, BIG), 0);
		mapped += rc == 0;
		zdb_read_end(u.ns, &rd);
	}
	assert_true(mapped >= 2 && mapped < 12);
	assert_true(map_count.bytes_most <= most);
	zu_close(&u);
	assert_int_equal(map_count.made, map_count.undone);
}

static void refused(void **state)
{
	(void)state;
	open_store();
	put(1);
	map_count.error = ENOMEM;
	assert_int_equal(get(1, 0, BIG), -EOPNOTSUPP);
	map_count.error = 0;
	assert_int_equal(get(1, 0, BIG), 0);
	zu_close(&u);
	u.opt.map_max = 0;
	map_count.made = 0;
	open_store();
	assert_int_equal(get(1, 0, BIG), -EOPNOTSUPP);
	assert_int_equal(map_count.made, 0);
	zu_close(&u);
}

static uint64_t tick(uint64_t now_ms)
{
	uint64_t next;

	assert_null(zdb_tick(u.eng, now_ms, &next));
	return next;
}

static unsigned wanted_calls;

static void tick_wanted(void *ctx, uint32_t ms)
{
	(void)ctx;
	(void)ms;
	wanted_calls++;
}

static void idle(void **state)
{
	static const struct zdb_events events = {.tick_wanted = tick_wanted};
	struct zdb_read rd;
	uint64_t at = 1000000, next;

	(void)state;
	u.opt.events = &events;
	open_store();
	put(1);
	assert_int_equal(zdb_sync(u.ns, ZDB_SYNC_INDEX), 0);
	assert_true(tick(at) == UINT64_MAX);
	wanted_calls = 0;
	assert_int_equal(get(1, 0, BIG), 0);
	assert_int_equal(get(1, 0, BIG), 0);
	assert_int_equal(wanted_calls, 1); /* somebody must come and look */
	next = tick(at);
	assert_true(next > at && next < at + 60000);
	assert_true(tick(next) > next && map_count.undone == 0); /* it was in use */
	begin(1, &rd);
	for (int i = 0; i < 5; i++)
		next = tick(next);
	assert_int_equal(map_count.undone, 0); /* it is in use */
	assert_int_equal(look(1, &rd, 0, BIG), 0);
	zdb_read_end(u.ns, &rd);
	assert_true(tick(next) == UINT64_MAX);
	assert_int_equal(map_count.undone, 1);
	assert_int_equal(map_count.bytes_now, 0);
	assert_int_equal(get(1, 0, BIG), 0); /* and again */
	assert_int_equal(map_count.made, 2);
	assert_int_equal(wanted_calls, 2);
	zu_close(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(ranges, setup, teardown),
		cmocka_unit_test_setup_teardown(segments, setup, teardown),
		cmocka_unit_test_setup_teardown(in_flight, setup, teardown),
		cmocka_unit_test_setup_teardown(damage, setup, teardown),
		cmocka_unit_test_setup_teardown(bound, setup, teardown),
		cmocka_unit_test_setup_teardown(refused, setup, teardown),
		cmocka_unit_test_setup_teardown(idle, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
