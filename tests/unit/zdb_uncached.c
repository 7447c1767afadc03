/*
 * Which flights leave the page cache alone: those of a stream, as long as the file system can do it and the disk keeps pace; whatever they do, their
 * bytes are in the file.
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

#include "core/base/sys.h"
#include "tests/unit/support/sys_test.h"
#include "tests/unit/support/zdb_flights.h"
#include "tests/unit/support/zdb_util.h"

#define SIZE  100000u
#define MIB   (1u << 20)
#define CALLS 64u

struct book {
	struct zu u;
	struct fleet fleet;
};

/* The table's calls, which know no context. */
static struct watch {
	unsigned calls, uncached; /* of pwritev2, to data files by flights */
	int flags[CALLS];
	int refuses;       /* error of uncached writes; 0: the file system has them */
	bool hollow;       /* the bytes are not kept: a test that writes many does not read them */
	uint64_t mib_ns;   /* what 1 MiB costs */
	uint64_t ahead_ns; /* of the clock */
	uint64_t uncached_bytes, cached_bytes;
} watch;

static ssize_t watched_pwritev2(int fd, const struct iovec *iov, int count, off_t off, int flags)
{
	size_t size = 0;

	for (int i = 0; i < count; i++)
		size += iov[i].iov_len;
	if (size < SIZE)
		return sys_real.pwritev2(fd, iov, count, off, 0); /* an index, a header */
	if (watch.calls < CALLS)
		watch.flags[watch.calls] = flags;
	watch.calls++;
	if (flags != 0 && watch.refuses) {
		errno = watch.refuses;
		return -1;
	}
	watch.uncached += flags != 0;
	watch.ahead_ns += size * watch.mib_ns / MIB;
	*(flags != 0 ? &watch.uncached_bytes : &watch.cached_bytes) += size;
	if (watch.hollow) {
		assert_int_equal(pwrite(fd, "", 1, off + (off_t)size - 1), 1);
		return (ssize_t)size;
	}
	return sys_real.pwritev2(fd, iov, count, off,
				 0); /* these tests run in memory, where there is no such write */
}

static int watched_clock(clockid_t clock, struct timespec *ts)
{
	int rc = sys_real.clock_gettime(clock, ts);
	uint64_t ns = (uint64_t)ts->tv_sec * 1000000000u + (uint64_t)ts->tv_nsec + watch.ahead_ns;

	ts->tv_sec = (time_t)(ns / 1000000000u);
	ts->tv_nsec = (long)(ns % 1000000000u);
	return rc;
}

static struct sys_ops table;

static void open_book(struct book *b, bool uncached)
{
	watch = (struct watch){0};
	table = sys_real;
	table.pwritev2 = watched_pwritev2;
	table.clock_gettime = watched_clock;
	sys = &table;
	zu_setup(&b->u, ZDB_USER);
	b->u.opt.datasize = 4000u * MIB;
	b->u.opt.uncached = uncached;
	fleet_init(&b->fleet, &b->u.opt);
	assert_int_equal(zu_open(&b->u), 0);
}

static void close_book(struct book *b)
{
	zu_teardown(&b->u);
	(void)fleet_end_all(&b->fleet);
	assert_true(fleet_even(&b->fleet));
	sys = &sys_real;
}

static void fill_value(uint8_t *v, unsigned number)
{
	for (uint32_t i = 0; i < SIZE; i++)
		v[i] = (uint8_t)(number * 7 + i * 3 + i / 251);
}

static void put_value(struct book *b, unsigned number, const uint8_t *v)
{
	struct zdb_set_result r;
	char name[16];

	assert_int_equal(fleet_set(&b->fleet, b->u.ns, name,
				   (size_t)snprintf(name, sizeof(name), "k%u", number), v, SIZE, 1, &r),
			 0);
}

static void put(struct book *b, unsigned number)
{
	static uint8_t v[SIZE];

	fill_value(v, number);
	put_value(b, number, v);
}

static void all_there(struct book *b, unsigned count)
{
	static uint8_t want[SIZE];

	for (unsigned i = 0; i < count; i++) {
		char name[16];
		uint8_t *v;
		size_t n;

		assert_int_equal(
			zu_value(b->u.ns, name, (size_t)snprintf(name, sizeof(name), "k%u", i), &v, &n), 0);
		fill_value(want, i);
		assert_int_equal(n, SIZE);
		assert_memory_equal(v, want, n);
		free(v);
	}
}

/* One value each in two flights: the second takes off while the first is in the air. */
static void two_flights(struct book *b, unsigned from)
{
	put(b, from);
	assert_int_equal(zdb_flush(b->u.eng), 0);
	put(b, from + 1);
	assert_int_equal(zdb_flush(b->u.eng), 0);
	assert_int_equal(fleet_end_all(&b->fleet), 0);
}

static void a_stream_leaves_the_cache(void **state)
{
	struct book b;

	(void)state;
	open_book(&b, true);
	two_flights(&b, 0);
	assert_int_equal(watch.calls, 2);
	assert_int_equal(watch.flags[0], 0);
	assert_int_not_equal(watch.flags[1], 0);
	for (unsigned i = 2; i < 13; i++) /* more than 1 MiB: it goes by itself */
		put(&b, i);
	assert_int_equal(b.fleet.started, 3);
	assert_int_equal(fleet_end_all(&b.fleet), 0);
	assert_int_not_equal(watch.flags[2], 0);
	all_there(&b, 13);
	zu_close(&b.u);
	assert_int_equal(zu_open(&b.u), 0);
	all_there(&b, 13);
	close_book(&b);
}

static void only_where_it_was_asked_for(void **state)
{
	struct book b;

	(void)state;
	open_book(&b, false);
	two_flights(&b, 0);
	assert_int_equal(watch.calls, 2);
	assert_int_equal(watch.uncached, 0);
	all_there(&b, 2);
	close_book(&b);
}

static void a_file_system_without(void **state)
{
	const int refusals[] = {EOPNOTSUPP, EINVAL, ENOSYS};
	struct book b;

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		open_book(&b, true);
		watch.refuses = refusals[i];
		two_flights(&b, 0);
		assert_int_equal(watch.calls, 3); /* the second one was asked for twice */
		assert_int_equal(watch.flags[2], 0);
		two_flights(&b, 2);
		assert_int_equal(watch.calls, 5); /* and nobody asks again */
		all_there(&b, 4);
		close_book(&b);
	}
}

static void a_disk_that_fails_is_no_refusal(void **state)
{
	struct zdb_set_result r;
	struct book b;

	(void)state;
	open_book(&b, true);
	watch.refuses = EIO;
	put(&b, 0);
	assert_int_equal(zdb_flush(b.u.eng), 0);
	put(&b, 1);
	(void)zdb_flush(b.u.eng);
	assert_int_equal(fleet_end_all(&b.fleet), -EIO);
	assert_int_equal(fleet_set(&b.fleet, b.u.ns, "k", 1, "v", 1, 1, &r), -EROFS);
	all_there(&b, 1);
	zu_crash(&b.u);
	(void)fleet_end_all(&b.fleet);
	watch.refuses = 0;
	assert_int_equal(zu_open(&b.u), 0);
	all_there(&b, 1);
	close_book(&b);
}

/* Writes a stream of so many MiB; how many of them past the cache. */
static uint64_t stream(struct book *b, unsigned mib)
{
	static const uint8_t v[SIZE] = {1};

	watch.cached_bytes = watch.uncached_bytes = 0;
	while (watch.cached_bytes + watch.uncached_bytes < (uint64_t)mib * MIB) {
		for (unsigned i = 0; i < 22; i++) /* two flights */
			put_value(b, i, v);
		assert_int_equal(zdb_flush(b->u.eng), 0);
		assert_int_equal(fleet_end_all(&b->fleet), 0);
	}
	return watch.uncached_bytes / MIB;
}

static void a_slow_disk_gets_the_cache(void **state)
{
	struct book b;

	(void)state;
	open_book(&b, true);
	watch.hollow = true;
	watch.mib_ns = 500000; /* 2 GB/s */
	assert_true(stream(&b, 100) >= 100);
	watch.mib_ns = 5000000;                    /* 200 MB/s */
	assert_in_range(stream(&b, 200), 60, 130); /* three samples, and what had begun of one */
	assert_int_equal(stream(&b, 380), 0);
	assert_in_range(stream(&b, 100), 30, 40); /* a try */
	assert_int_equal(stream(&b, 900), 0);     /* now for 1 GiB */
	watch.mib_ns = 500000;
	assert_in_range(stream(&b, 300), 150, 290);
	assert_true(stream(&b, 100) >= 100);
	close_book(&b);
}

static void one_slow_sample_says_nothing(void **state)
{
	struct book b;

	(void)state;
	open_book(&b, true);
	watch.hollow = true;
	for (unsigned i = 0; i < 5; i++) {
		watch.mib_ns = 5000000;
		assert_true(stream(&b, 34) >= 34);
		watch.mib_ns = 500000;
		assert_true(stream(&b, 66) >= 66);
	}
	close_book(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_stream_leaves_the_cache),
		cmocka_unit_test(only_where_it_was_asked_for),
		cmocka_unit_test(a_file_system_without),
		cmocka_unit_test(a_disk_that_fails_is_no_refusal),
		cmocka_unit_test(a_slow_disk_gets_the_cache),
		cmocka_unit_test(one_slow_sample_says_nothing),
	};

	test_in_memory();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
