/*
 * The newest bytes of the active files are read from memory: whatever was gathered, written out, slid over, rewritten in place
 * or taken back meanwhile, each read must give what was stored last; also while large values are on their way in flights.
 * TEST_SEED repeats a run.
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

#include "core/base/endian.h"
#include "core/base/mem_guard.h"
#include "tests/unit/support/sys_test.h"
#include "tests/unit/support/zdb_flights.h"
#include "tests/unit/support/zdb_util.h"

#define KEYS  300u
#define STEPS 10000u

struct kept {
	uint64_t id; /* sequential mode */
	uint32_t len, salt;
};

static uint8_t value[80000];

static void fill(uint32_t len, uint32_t salt)
{
	for (uint32_t i = 0; i < len; i++)
		value[i] = (uint8_t)(salt * 131 + i * 7 + i / 256);
}

static size_t key_of(const struct zu *u, uint64_t k, const struct kept *kept, uint8_t *key)
{
	if (u->opt.mode != ZDB_SEQ)
		return (size_t)sprintf((char *)key, "%llu-key", (unsigned long long)k);
	put_u64le(key, kept->id);
	return 8;
}

static void store(struct zu *u, struct fleet *fleet, struct kept *kept, uint64_t k, uint64_t *rng)
{
	uint64_t dice = test_random(rng) % 100;
	unsigned large = fleet != NULL ? 40 : 2;
	uint32_t len = (uint32_t)(test_random(rng) % (dice < large       ? sizeof(value)
						      : dice < large + 8 ? 20000
									 : 200));
	bool insert = u->opt.mode == ZDB_SEQ && kept->salt == 0;
	struct zdb_set_result r;
	uint8_t key[32];
	size_t klen;

	kept->salt = 1 + (uint32_t)(test_random(rng) % 1000000);
	kept->len = len;
	fill(len, kept->salt);
	klen = insert ? 0 : key_of(u, k, kept, key);
	if (fleet != NULL)
		assert_int_equal(fleet_set(fleet, u->ns, key, klen, value, len, 1, &r), 0);
	else
		assert_int_equal(zdb_set(u->ns, key, klen, value, len, 1, &r), 0);
	if (insert)
		kept->id = get_u64le(r.key);
}

static void look(struct zu *u, const struct kept *kept, uint64_t k)
{
	uint8_t key[32], *v;
	size_t n;
	int rc;

	if (u->opt.mode == ZDB_SEQ && kept->salt == 0)
		return; /* it has no id */
	rc = zu_value(u->ns, key, key_of(u, k, kept, key), &v, &n);
	if (kept->salt == 0) {
		assert_int_equal(rc, -ENOENT);
		return;
	}
	assert_int_equal(rc, 0);
	fill(kept->len, kept->salt);
	assert_int_equal(n, kept->len);
	assert_memory_equal(v, value, n);
	free(v);
	assert_int_equal(zdb_check_key(u->ns, key, key_of(u, k, kept, key), NULL), 1);
}

static void life(enum zdb_mode mode, bool flies)
{
	struct fleet fleet, *f = flies ? &fleet : NULL;
	struct kept kept[KEYS] = {{0}};
	uint64_t rng = test_seed();
	uint8_t key[32];
	struct zu u;

	zu_setup(&u, mode);
	fleet_init(&fleet, &u.opt);
	if (!flies)
		u.opt.events = NULL;
	u.opt.map_max =
		rng % 2 ? 1u << 30 : 0; /* what is older than the window comes from a map, or is read */
	assert_int_equal(mem_guard_install(), 0);
	assert_int_equal(zu_open(&u), 0);
	for (unsigned i = 0; i < STEPS; i++) {
		uint64_t k = test_random(&rng) % KEYS;
		unsigned dice = (unsigned)(test_random(&rng) % 1000);

		if (dice < 600)
			store(&u, f, &kept[k], k, &rng);
		else if (dice < 640 && kept[k].salt != 0) {
			assert_int_equal(zdb_del(u.ns, key, key_of(&u, k, &kept[k], key), 1), 0);
			kept[k].salt = 0;
		} else if (dice < 800)
			assert_int_equal(zdb_flush(u.eng), 0);
		else if (dice < 810)
			assert_int_equal(zdb_sync(u.ns, dice % 2 ? ZDB_SYNC_DATA : ZDB_SYNC_INDEX), 0);
		else if (dice < 812)
			assert_int_equal(zdb_jump(u.ns), 0);
		fleet_step(&fleet, test_random(&rng));
		look(&u, &kept[k], k);
		k = test_random(&rng) % KEYS;
		look(&u, &kept[k], k);
	}
	for (uint64_t k = 0; k < KEYS; k++)
		look(&u, &kept[k], k);
	zu_close(&u);
	assert_int_equal(fleet_end_all(&fleet), 0); /* that may come late */
	assert_true(fleet_even(&fleet));
	print_message("%u flights\n", fleet.started);
	assert_int_equal(fleet.started > 20, flies);
	zu_teardown(&u);
}

static void user_mode(void **state)
{
	(void)state;
	life(ZDB_USER, false);
	life(ZDB_USER, true);
}

static void sequential_mode(void **state)
{
	(void)state;
	life(ZDB_SEQ, false);
	life(ZDB_SEQ, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(user_mode),
		cmocka_unit_test(sequential_mode),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
