/*
 * Placement: never a layout that does not survive the promised losses, always one when there is one (small cases are
 * compared with a search through all of them).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "applets/zstor/place.h"
#include "core/base/err.h"
#include "tests/unit/support/sys_test.h"

static uint32_t rnd(void *ctx)
{
	return (uint32_t)test_random(ctx);
}

static unsigned fill(struct place_node *nodes, const unsigned *sizes, unsigned groups)
{
	unsigned count = 0;

	for (unsigned g = 0; g < groups; g++)
		for (unsigned i = 0; i < sizes[g]; i++)
			nodes[count++] = (struct place_node){.group = g, .usable = true, .weight = 1};
	return count;
}

/* Loses the `lost` fullest groups and `nodes_lost` shards of every other: what is left, by the words of the promise. */
static unsigned survivors(const unsigned *counts, unsigned groups, unsigned lost, unsigned nodes_lost)
{
	unsigned sorted[8], n = 0, left = 0;

	for (unsigned g = 0; g < groups; g++)
		sorted[n++] = counts[g];
	for (unsigned i = 0; i < n; i++)
		for (unsigned j = i + 1; j < n; j++)
			if (sorted[j] > sorted[i]) {
				unsigned t = sorted[i];

				sorted[i] = sorted[j];
				sorted[j] = t;
			}
	for (unsigned i = lost; i < n; i++)
		left += sorted[i] > nodes_lost ? sorted[i] - nodes_lost : 0;
	return left;
}

static bool any_valid(const unsigned *sizes, unsigned groups, unsigned at, unsigned left, unsigned *counts,
		      unsigned k, unsigned lost, unsigned nodes_lost)
{
	if (at == groups) {
		unsigned used = 0;

		for (unsigned g = 0; g < groups; g++)
			used += counts[g] > 0;
		return left == 0 && survivors(counts, groups, lost, nodes_lost) >= k &&
		       (lost == 0 || used > lost);
	}
	for (unsigned c = 0; c <= sizes[at] && c <= left; c++) {
		counts[at] = c;
		if (any_valid(sizes, groups, at + 1, left - c, counts, k, lost, nodes_lost))
			return true;
	}
	return false;
}

static void test_all_small_cases(void **state)
{
	uint64_t seed = test_seed();
	unsigned feasible = 0, infeasible = 0;

	(void)state;
	for (int round = 0; round < 3000; round++) {
		unsigned groups = 1 + (unsigned)(test_random(&seed) % 4), sizes[4] = {0}, counts[8] = {0},
			 out[32], total = 0;
		unsigned n = 2 + (unsigned)(test_random(&seed) % 7),
			 k = 1 + (unsigned)(test_random(&seed) % (n - 1));
		unsigned lost = (unsigned)(test_random(&seed) % 3),
			 nodes_lost = (unsigned)(test_random(&seed) % 3);
		struct place_node nodes[32];
		bool possible;
		int rc;

		for (unsigned g = 0; g < groups; g++)
			total += sizes[g] = (unsigned)(test_random(&seed) % 6);
		fill(nodes, sizes, groups);
		possible = any_valid(sizes, groups, 0, n, counts, k, lost, nodes_lost);
		rc = place_choose(nodes, total, n, k, lost, nodes_lost, rnd, &seed, out);
		if (!possible) {
			assert_int_equal(rc, -EINVAL);
			infeasible++;
			continue;
		}
		feasible++;
		if (rc != 0)
			fail_msg("n=%u k=%u lost=%u/%u sizes %u %u %u %u", n, k, lost, nodes_lost, sizes[0],
				 sizes[1], sizes[2], sizes[3]);
		memset(counts, 0, sizeof(counts));
		for (unsigned i = 0; i < n; i++) {
			assert_true(out[i] < total);
			for (unsigned j = 0; j < i; j++)
				assert_int_not_equal(out[i], out[j]);
			counts[nodes[out[i]].group]++;
		}
		assert_true(survivors(counts, groups, lost, nodes_lost) >= k);
		assert_true(place_valid(counts, groups, k, lost, nodes_lost));
	}
	assert_true(feasible > 100 && infeasible > 100);
}

static void test_waits_for_stores(void **state)
{
	unsigned sizes[] = {6}, out[6];
	struct place_node nodes[6];
	uint64_t seed = 1;

	(void)state;
	fill(nodes, sizes, 1);
	nodes[2].usable = false;
	assert_int_equal(place_choose(nodes, 6, 6, 4, 0, 0, rnd, &seed, out), -EAGAIN);
	assert_int_equal(place_choose(nodes, 6, 5, 4, 0, 0, rnd, &seed, out), 0);
	for (int i = 0; i < 5; i++)
		assert_int_not_equal(out[i], 2);
	/* One group of four cannot survive the loss of a group. */
	assert_int_equal(place_choose(nodes, 6, 4, 2, 1, 1, rnd, &seed, out), -EINVAL);
}

static void test_shards_spread(void **state)
{
	unsigned sizes[] = {4, 4}, out[4], seen[8] = {0}, first[8] = {0};
	struct place_node nodes[8];
	uint64_t seed = test_seed();

	(void)state;
	fill(nodes, sizes, 2);
	for (int i = 0; i < 4000; i++) {
		assert_int_equal(place_choose(nodes, 8, 4, 2, 1, 0, rnd, &seed, out), 0);
		for (int j = 0; j < 4; j++)
			seen[out[j]]++;
		first[out[0]]++;
	}
	for (int i = 0; i < 8; i++) { /* 2000 and 500 are expected; these are 10 standard deviations away */
		assert_in_range(seen[i], 1600, 2400);
		assert_in_range(first[i], 280, 720);
	}
}

static void test_original_defect(void **state)
{
	/* groups of 4,4,4 with k=2 n=4 g=1 r=1: the original may choose [4,0,0], which one lost group kills */
	unsigned bad[] = {4, 0, 0}, even[] = {2, 1, 1}, ok[] = {2, 2, 0};

	(void)state;
	assert_false(place_valid(bad, 3, 2, 1, 1));
	assert_false(place_valid(even, 3, 2, 1, 1));
	assert_false(place_valid(ok, 3, 2, 1, 1));
	assert_true(place_valid(ok, 3, 2, 1, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_small_cases),
		cmocka_unit_test(test_waits_for_stores),
		cmocka_unit_test(test_shards_spread),
		cmocka_unit_test(test_original_defect),
	};

	return cmocka_run_group_tests_name("zstor placement", tests, NULL, NULL);
}
