/*
 * As many namespaces as descriptors allow, up to 10,000: found at once, in upstream's order, flushed and ticked without a
 * walk over all of them for each.
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
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "tests/unit/support/sys_test.h"
#include "tests/unit/support/zdb_util.h"

#define FINDS 200000u

static unsigned count;

static double cpu_s(void)
{
	struct timespec t;

	assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t), 0);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static struct zdb_ns *find(struct zu *u, unsigned i)
{
	char name[16];
	size_t len = (size_t)snprintf(name, sizeof(name), "ns-%06u", i);

	return zdb_ns_find(u->eng, name, len);
}

static void create(struct zu *u, unsigned i)
{
	char name[16];
	size_t len = (size_t)snprintf(name, sizeof(name), "ns-%06u", i);
	struct zdb_ns *ns;

	assert_int_equal(zdb_ns_create(u->eng, name, len, &ns), 0);
	assert_ptr_equal(find(u, i), ns);
	assert_int_equal(zdb_ns_create(u->eng, name, len, &ns), -EEXIST);
}

static void setup(struct zu *u)
{
	zu_setup(u, ZDB_USER);
	u->opt.gather_writes = true;
	u->opt.prealloc_max = 1; /* none: together more than 1 GiB of the memory that tests share */
	assert_int_equal(zu_open(u), 0);
	for (unsigned i = 0; i < count; i++)
		create(u, i);
	assert_int_equal(zdb_ns_count(u->eng), count + 1);
}

static unsigned slot_of(struct zu *u, const struct zdb_ns *wanted)
{
	unsigned i = 0;

	for (struct zdb_ns *ns = NULL; (ns = zdb_ns_next(u->eng, ns)) != wanted; i++)
		assert_non_null(ns);
	return i;
}

static void finding(struct zu *u)
{
	unsigned low, high;
	double begin;

	begin = cpu_s();
	for (unsigned i = 0; i < FINDS; i++)
		assert_non_null(find(u, i * 7919u % count));
	begin = cpu_s() - begin;
	print_message("%u namespaces: %u look-ups in %.3f s\n", count, FINDS, begin);
	assert_null(zdb_ns_find(u->eng, "ns-", 3));
	assert_null(zdb_ns_find(u->eng, "", 0));

	/* Freed slots are used again, the lowest first; the names of those that are gone are free. */
	low = slot_of(u, find(u, 500));
	high = slot_of(u, find(u, 3));
	assert_int_equal(zdb_ns_delete(find(u, 500)), 0);
	assert_int_equal(zdb_ns_delete(find(u, 3)), 0);
	assert_null(find(u, 3));
	create(u, 900000);
	create(u, 3);
	assert_int_equal(slot_of(u, find(u, 900000)), low < high ? low : high);
	assert_int_equal(slot_of(u, find(u, 3)), low < high ? high : low);
	zu_close(u);
	assert_int_equal(zu_open(u), 0);
	assert_int_equal(zdb_ns_count(u->eng), count + 1);
	assert_non_null(find(u, 900000));
	assert_null(find(u, 500));
	zu_close(u);
}

/* Every namespace has something to flush and to apply: each is taken once. */
static void working(struct zu *u)
{
	struct zdb_set_result r;
	uint64_t next;
	unsigned jobs = 0;
	double begin;

	for (unsigned round = 0; round < 2; round++)
		for (unsigned i = 0; i < count; i++)
			assert_int_equal(zdb_set(find(u, i), "key", 3, round ? "two" : "one", 3, 1, &r), 0);
	begin = cpu_s();
	assert_int_equal(zdb_flush(u->eng), 0);
	for (unsigned i = 0; i < FINDS; i++) /* what each turn of a server does */
		assert_int_equal(zdb_flush(u->eng), 0);
	begin = cpu_s() - begin;
	print_message("a flush of %u, then %u with nothing to do: %.3f s\n", count, FINDS, begin);
	for (struct zdb_sync *job; (job = zdb_tick(u->eng, 1000000, &next)) != NULL; jobs++) {
		do
			assert_int_equal(zdb_sync_run(job), 0);
		while (zdb_sync_done(job) == 1);
	}
	assert_int_equal(jobs, count);
	assert_true(next == UINT64_MAX);
	zu_crash(u);
	assert_int_equal(zu_open(u), 0);
	for (unsigned i = 0; i < count; i += 97) {
		uint8_t *v;
		size_t n;

		assert_int_equal(zu_value(find(u, i), "key", 3, &v, &n), 0);
		assert_memory_equal(v, "two", 3);
		free(v);
	}
	zu_close(u);
}

static void many(void **state)
{
	struct zu u;

	(void)state;
	setup(&u);
	working(&u);
	assert_int_equal(zu_open(&u), 0);
	finding(&u);
	zu_teardown(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(many),
	};
	struct rlimit limit;

	test_in_memory();
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return 1;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
		return 1;
	count = limit.rlim_cur > 20500 ? 10000 : (unsigned)(limit.rlim_cur - 500) / 2;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
