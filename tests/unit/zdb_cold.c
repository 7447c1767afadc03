/*
 * Big payloads that are not in the page cache: the engine's owner does not wait for the disk, whoever reads them gets what is there, and the disk is
 * asked for no more than that.
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

#include "core/base/mem_guard.h"
#include "core/base/sys.h"
#include "tests/unit/support/zdb_util.h"

#define BIG  (200u << 10)
#define HEAD 18u /* of a record; the key follows */

/* What the table's calls see of data files. */
static struct watch {
	bool cold;          /* of no record the beginning is in the page cache */
	unsigned cold_page; /* this page of each range is not; 0: all are */
	int refuses;        /* error of reads that must not wait */
	unsigned asked, waited;
	off_t ahead_at, ahead_size;
} watch;

static struct sys_ops table;

static bool is_data(int fd)
{
	char link[64], path[400];
	const char *name;
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	assert_true(n > 0);
	path[n] = '\0';
	name = strrchr(path, '/');
	return name != NULL && name[1] == 'd' && name[2] >= '0' && name[2] <= '9';
}

static ssize_t watched_preadv2(int fd, const struct iovec *iov, int count, off_t off, int flags)
{
	if (is_data(fd) && flags == RWF_NOWAIT) {
		watch.asked++;
		errno = watch.refuses ? watch.refuses : EAGAIN;
		if (watch.refuses || watch.cold)
			return -1;
	} else if (is_data(fd)) {
		watch.waited++;
	}
	return sys_real.preadv2(fd, iov, count, off, 0); /* as if it knew no flags */
}

static ssize_t watched_pread(int fd, void *data, size_t size, off_t off)
{
	watch.waited += is_data(fd);
	return sys_real.pread(fd, data, size, off);
}

static int watched_mincore(void *addr, size_t size, unsigned char *pages)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), count = (size + page - 1) / page;

	(void)addr;
	memset(pages, !watch.cold, count);
	if (watch.cold_page > 0 && watch.cold_page < count)
		pages[watch.cold_page] = 0;
	return 0;
}

static int watched_fadvise(int fd, off_t off, off_t size, int advice)
{
	if (is_data(fd) && advice == POSIX_FADV_WILLNEED) {
		watch.ahead_at = off;
		watch.ahead_size = size;
	}
	return sys_real.posix_fadvise(fd, off, size, advice);
}

/* ------------------------------------------------------------------------------------------------------ the store */

static struct zu u;
static uint8_t value[BIG];
static uint64_t ids[8];

static void begin(enum zdb_mode mode)
{
	watch = (struct watch){0};
	table = sys_real;
	table.preadv2 = watched_preadv2;
	table.pread = watched_pread;
	table.mincore = watched_mincore;
	table.posix_fadvise = watched_fadvise;
	sys = &table;
	assert_int_equal(mem_guard_install(), 0);
	zu_setup(&u, mode);
	u.opt.datasize = 64u << 20;
	u.opt.map_max = 1ull << 30;
	assert_int_equal(zu_open(&u), 0);
}

static void end(void)
{
	zu_teardown(&u);
	sys = &sys_real;
}

static const uint8_t *content(unsigned n)
{
	for (size_t i = 0; i < BIG; i++)
		value[i] = (uint8_t)(n * 3 + i * 7 + i / 251);
	return value;
}

static size_t key_of(unsigned n, char *key)
{
	if (u.opt.mode == ZDB_USER)
		return (size_t)snprintf(key, 16, "k%u", n);
	memcpy(key, &ids[n], sizeof(ids[n]));
	return sizeof(ids[n]);
}

static void put(unsigned n, size_t size)
{
	struct zdb_set_result r;
	char key[16];
	size_t klen = u.opt.mode == ZDB_USER ? key_of(n, key) : 0;

	assert_int_equal(zdb_set(u.ns, key, klen, content(n), size, 1, &r), 0);
	if (u.opt.mode == ZDB_SEQ)
		memcpy(&ids[n], r.key, sizeof(ids[n]));
	assert_int_equal(zdb_flush(u.eng), 0);
}

static int get(unsigned n, struct zdb_read *rd)
{
	char key[16];
	size_t klen = key_of(n, key);

	watch.asked = watch.waited = 0;
	return zdb_get(u.ns, key, klen, rd, NULL);
}

/* The whole payload, by whoever has the time. */
static void right(unsigned n, const struct zdb_read *rd)
{
	uint8_t *bytes = malloc(BIG);

	assert_non_null(bytes);
	assert_int_equal(rd->length, BIG);
	assert_int_equal(zdb_read_run(rd, 0, BIG, bytes), 0);
	assert_memory_equal(bytes, content(n), BIG);
	free(bytes);
}

static void expect(unsigned n, enum zdb_where where)
{
	struct zdb_read rd;

	assert_int_equal(get(n, &rd), 0);
	assert_null(rd.data);
	assert_int_equal(rd.where, where);
	right(n, &rd);
	zdb_read_end(u.ns, &rd);
}

/* Three big ones, and the namespace knows that it has such. */
static void fill(void)
{
	for (unsigned n = 0; n < 3; n++)
		put(n, BIG);
	for (unsigned n = 0; n < 3; n++)
		expect(n, ZDB_CACHED);
}

/* -------------------------------------------------------------------------------------------------------- tests */

static void nobody_waits(enum zdb_mode mode)
{
	struct zdb_read rd;
	off_t at = 0;

	begin(mode);
	fill();
	watch.cold = true;
	for (unsigned n = 0; n < 3; n++) {
		uint32_t klen = mode == ZDB_USER ? 2 : 8;

		assert_int_equal(get(n, &rd), 0);
		assert_int_equal(rd.where, ZDB_COLD);
		assert_int_equal(watch.waited, 0);
		assert_in_range(watch.asked, 0,
				n == 2); /* of the last one, the map may be too short for a guess */
		zdb_read_ahead(&rd, 0, BIG);
		assert_int_equal(watch.ahead_size, HEAD + klen + BIG);
		assert_true(n == 0 || watch.ahead_at == at + (off_t)(HEAD + klen + BIG));
		at = watch.ahead_at;
		right(n, &rd);
		zdb_read_end(u.ns, &rd);
	}
	watch.cold = false;
	expect(0, ZDB_CACHED);
	end();
}

static void user_mode(void **state)
{
	(void)state;
	nobody_waits(ZDB_USER);
}

static void sequential_mode(void **state)
{
	(void)state;
	nobody_waits(ZDB_SEQ);
}

static void any_page(void **state)
{
	(void)state;
	begin(ZDB_USER);
	fill();
	for (watch.cold_page = 1; watch.cold_page < BIG / 4096; watch.cold_page += 7)
		expect(1, ZDB_COLD);
	watch.cold_page = 0;
	expect(1, ZDB_CACHED);
	end();
}

/* They are read at once, as ever. */
static void small_ones_beside(void **state)
{
	struct zdb_read rd;

	(void)state;
	begin(ZDB_USER);
	fill();
	put(3, 20000);
	put(4, BIG);
	assert_int_equal(zdb_jump(u.ns), 0); /* out of the window on the newest bytes */
	watch.cold = true;
	for (unsigned i = 0; i < 3; i++) {
		expect(4, ZDB_COLD);
		assert_int_equal(get(3, &rd), 0);
		assert_int_equal(rd.length, 20000);
		assert_non_null(rd.data);
		assert_memory_equal(rd.data, content(3), 20000);
		zdb_read_end(u.ns, &rd);
	}
	end();
}

static void absent_ones(void **state)
{
	struct zdb_read rd;

	(void)state;
	begin(ZDB_USER);
	fill();
	assert_int_equal(zdb_del(u.ns, "k1", 2, 1), 0);
	watch.cold = true;
	assert_int_equal(get(1, &rd), -ENOENT);
	assert_int_equal(get(7, &rd), -ENOENT);
	expect(2, ZDB_COLD);
	end();
}

/* Seen by who reads it, instead of by who asked. */
static void damaged_head(void **state)
{
	uint8_t byte, *bytes = malloc(BIG);
	struct zdb_ns_info info;
	struct zdb_read rd;
	char path[400];
	int fd;

	(void)state;
	begin(ZDB_USER);
	fill();
	zu_path(&u, "default", "d0", path, sizeof(path));
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, 28 + HEAD), 1); /* the key of the first record */
	byte ^= 1;
	assert_int_equal(pwrite(fd, &byte, 1, 28 + HEAD), 1);
	close(fd);
	for (unsigned i = 0; i < 2; i++) {
		watch.cold = i == 1;
		assert_int_equal(get(0, &rd), 0);
		assert_int_equal(rd.where, watch.cold ? ZDB_COLD : ZDB_CACHED);
		assert_int_equal(zdb_read_run(&rd, 0, BIG, bytes), -EIO);
		assert_int_equal(zdb_read_verify(&rd, 0, BIG), -EIO);
		zdb_read_failed(u.ns);
		zdb_ns_info(u.ns, &info);
		assert_int_equal(info.data_io_errors, i + 1);
		zdb_read_end(u.ns, &rd);
	}
	expect(1, ZDB_COLD);
	free(bytes);
	end();
}

/* A file system where each read may wait, and nothing is mapped: it is asked once, and all goes on as it did. */
static void nobody_can_tell(void **state)
{
	const int refusals[] = {EOPNOTSUPP, EINVAL, ENOSYS};

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		begin(ZDB_USER);
		zu_close(&u);
		u.opt.map_max = 0;
		assert_int_equal(zu_open(&u), 0);
		for (unsigned n = 0; n < 3; n++)
			put(n, BIG);
		watch.refuses = refusals[i];
		expect(0, ZDB_UNKNOWN); /* the first big one: nobody expected it */
		assert_int_equal(watch.asked, 0);
		expect(1, ZDB_UNKNOWN);
		assert_int_equal(watch.asked, 1);
		expect(2, ZDB_UNKNOWN);
		assert_int_equal(watch.asked, 0);
		end();
	}
}

static void no_map(void **state)
{
	(void)state;
	begin(ZDB_USER);
	fill();
	zu_close(&u);
	u.opt.map_max = 0;
	assert_int_equal(zu_open(&u), 0);
	expect(0, ZDB_UNKNOWN);
	expect(1, ZDB_UNKNOWN);
	watch.cold = true;
	expect(1, ZDB_COLD);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(user_mode),       cmocka_unit_test(sequential_mode),
		cmocka_unit_test(any_page),        cmocka_unit_test(small_ones_beside),
		cmocka_unit_test(absent_ones),     cmocka_unit_test(damaged_head),
		cmocka_unit_test(nobody_can_tell), cmocka_unit_test(no_map),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
