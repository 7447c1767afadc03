/*
 * Keys of the active index compared in its map: without a system call, what was stored last, also when the index has outgrown its map;
 * and what happens when there is no map, or the file is not what it was.
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
#include "core/zdb/fmt.h"
#include "tests/unit/support/sys_test.h"
#include "tests/unit/support/map_count.h"
#include "tests/unit/support/zdb_util.h"

#define KLEN   200u
#define RECORD (IDX_RECORD + KLEN)
#define RECENT ((8u << 20) / RECORD) /* records of an index that are looked for in its map */

static struct sys_ops table;
static struct zu u;
static unsigned reads;

static ssize_t counted_pread(int fd, void *buf, size_t size, off_t off)
{
	reads++;
	return sys_real.pread(fd, buf, size, off);
}

static int setup(void **state)
{
	(void)state;
	reads = 0;
	table = sys_real;
	table.pread = counted_pread;
	map_count_begin(&table);
	sys = &table;
	zu_setup(&u, ZDB_USER);
	u.opt.map_max = 1ull << 30;
	u.opt.datasize = 256u << 20;
	u.opt.gather_writes = true;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	zu_teardown(&u);
	sys = &sys_real;
	return 0;
}

static const char *key_of(unsigned n)
{
	static char key[KLEN + 1];

	(void)snprintf(key, sizeof(key), "%0*u", (int)KLEN, n);
	return key;
}

static int put(unsigned n, unsigned salt)
{
	struct zdb_set_result result;
	uint64_t value = (uint64_t)salt << 32 | n;

	return zdb_set(u.ns, key_of(n), KLEN, &value, sizeof(value), 1, &result);
}

static void put_all(unsigned from, unsigned to, unsigned salt)
{
	for (unsigned n = from; n < to; n++) {
		assert_int_equal(put(n, salt), 0);
		if (n % 50 == 0)
			assert_int_equal(zdb_flush(u.eng), 0);
	}
}

static void has(unsigned n, unsigned salt)
{
	uint64_t want = (uint64_t)salt << 32 | n;
	uint8_t *v;
	size_t size;

	assert_int_equal(zu_value(u.ns, key_of(n), KLEN, &v, &size), 0);
	assert_int_equal(size, sizeof(want));
	assert_memory_equal(v, &want, sizeof(want));
	free(v);
}

/* System calls that storing keys anew takes; what their values are compared with lies in a map, too. */
static unsigned reads_of(unsigned from, unsigned to, unsigned salt)
{
	unsigned before = reads;

	put_all(from, to, salt);
	return reads - before;
}

static void open_store(void)
{
	assert_int_equal(mem_guard_install(), 0);
	assert_int_equal(zu_open(&u), 0);
}

static void no_system_call(void **state)
{
	const unsigned count = 3000; /* ten times what the window has */

	(void)state;
	open_store();
	put_all(0, count, 1);
	for (unsigned round = 2; round < 6; round++) {
		unsigned n = reads_of(0, count, round);

		assert_true(n < count / 10);
		for (unsigned k = 0; k < count; k += 7)
			has(k, round);
	}
	assert_int_equal(zdb_del(u.ns, key_of(5), KLEN, 1), 0);
	assert_int_equal(zdb_check_key(u.ns, key_of(5), KLEN, NULL), -ENOENT);
	assert_int_equal(zdb_check_key(u.ns, key_of(6), KLEN, NULL), 1);
	/* rewrites that waited in memory are in the file, and seen through the map */
	assert_int_equal(zdb_sync(u.ns, ZDB_SYNC_INDEX), 0);
	assert_int_equal(put(5, 9), 0);
	has(5, 9);
	zu_close(&u);
	assert_int_equal(map_count.made, map_count.undone);
	assert_int_equal(zu_open(&u), 0);
	for (unsigned k = 0; k < count; k++)
		has(k, k == 5 ? 9 : 5);
	zu_close(&u);
	zu_check(&u, "after it");
}

static void grows_over_it(void **state)
{
	const unsigned count = 4 * RECENT;
	unsigned old;

	(void)state;
	open_store();
	put_all(0, RECENT / 2, 1);
	put_all(0, 10, 2); /* in a map that begins at the start of the file */
	assert_true(map_count.made > 0);
	put_all(RECENT / 2, count, 1);
	assert_true(reads_of(count - RECENT / 2, count, 2) < RECENT / 20);
	old = reads_of(100, 200, 2); /* too old for the map: read as ever */
	assert_true(old >= 100);
	assert_true(map_count.bytes_now <=
		    (16u << 20) + u.opt.datasize +
			    (9u << 20)); /* one of the index at a time, one of the log */
	has(150, 2);
	has(250, 1);
	has(count - 1, 2);
	has(count - RECENT, 1);
	has(5, 2);
	zu_close(&u);
	assert_int_equal(map_count.made, map_count.undone);
}

static void without_one(void **state)
{
	const unsigned count = 2000;

	(void)state;
	map_count.error = ENODEV;
	open_store();
	put_all(0, count, 1);
	assert_true(reads_of(0, count, 2) >= count); /* and so what is counted above would be seen */
	for (unsigned k = 0; k < count; k++)
		has(k, 2);
	map_count.error = 0;
	zu_close(&u);
}

static void cut_under_it(void **state)
{
	const unsigned count = 2000;
	char path[400];

	(void)state;
	open_store();
	put_all(0, count, 1);
	assert_int_equal(put(1000, 2), 0);
	zu_path(&u, "default", "i0", path, sizeof(path));
	assert_int_equal(truncate(path, 64 << 10), 0);
	assert_int_equal(put(1001, 2), -EIO); /* not the end of the process, and not a new key */
	assert_int_equal(put(100, 2), 0);
	zu_crash(&u);
}

static uint64_t tick(uint64_t now_ms)
{
	uint64_t next;

	assert_null(zdb_tick(u.eng, now_ms, &next));
	return next;
}

static void given_back(void **state)
{
	uint64_t now = 1000000;

	(void)state;
	open_store();
	put_all(0, 2000, 1);
	put_all(0, 100, 2);
	assert_true(map_count.bytes_now > 0);
	assert_int_equal(zdb_sync(u.ns, ZDB_SYNC_INDEX), 0);
	for (int i = 0; i < 4; i++)
		now = tick(now) == UINT64_MAX ? now + 60000 : tick(now);
	assert_int_equal(map_count.bytes_now, 0);
	put_all(200, 300, 2);
	assert_true(map_count.bytes_now > 0);
	zu_close(&u);
	assert_int_equal(map_count.made, map_count.undone);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(no_system_call, setup, teardown),
		cmocka_unit_test_setup_teardown(grows_over_it, setup, teardown),
		cmocka_unit_test_setup_teardown(without_one, setup, teardown),
		cmocka_unit_test_setup_teardown(cut_under_it, setup, teardown),
		cmocka_unit_test_setup_teardown(given_back, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
