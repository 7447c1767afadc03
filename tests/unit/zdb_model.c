/*
 * A long random life of one namespace, in both modes, against a model: sets, deletions, rotations, syncs, clean stops and
 * crashes of the process. TEST_SEED repeats a run.
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
#include <unistd.h>

#include "core/base/endian.h"
#include "core/base/mem_guard.h"
#include "tests/unit/support/sys_test.h"
#include "tests/unit/support/zdb_util.h"

#define KEYS  6000u
#define STEPS 8000u

struct model {
	uint32_t len[KEYS], salt[KEYS]; /* salt 0 = absent */
	uint64_t next;
};

static uint8_t value[100000];

static void fill(uint32_t len, uint32_t salt)
{
	for (uint32_t i = 0; i < len; i++)
		value[i] = (uint8_t)(salt * 131 + i * 7 + i / 256);
}

static size_t key_of(const struct zu *u, uint64_t k, uint8_t *key)
{
	if (u->opt.mode == ZDB_SEQ) {
		put_u64le(key, k);
		return 8;
	}
	return (size_t)sprintf((char *)key, "%llu-key", (unsigned long long)k);
}

static void compare(struct zu *u, const struct model *m)
{
	struct zdb_ns_info info;
	uint64_t live = 0, bytes = 0;
	uint8_t key[32], *v;
	size_t n;

	for (uint64_t k = 0; k < KEYS; k++) {
		int rc = zu_value(u->ns, key, key_of(u, k, key), &v, &n);

		if (m->salt[k] == 0) {
			assert_int_equal(rc, -ENOENT);
			continue;
		}
		assert_int_equal(rc, 0);
		fill(m->len[k], m->salt[k]);
		assert_int_equal(n, m->len[k]);
		assert_memory_equal(v, value, n);
		free(v);
		live++;
		bytes += n;
	}
	zdb_ns_info(u->ns, &info);
	assert_int_equal(info.entries, live);
	assert_int_equal(info.data_size, bytes);
}

static void store(struct zu *u, struct model *m, uint64_t k, bool insert, uint64_t *rng)
{
	uint32_t len = (uint32_t)(test_random(rng) % (test_random(rng) % 20 == 0 ? sizeof(value) : 300));
	uint32_t salt = 1 + (uint32_t)(test_random(rng) % 1000000);
	struct zdb_set_result r;
	uint8_t key[32];

	fill(len, salt);
	assert_int_equal(zdb_set(u->ns, key, insert ? 0 : key_of(u, k, key), value, len, 1, &r), 0);
	if (insert) {
		k = m->next;
		assert_int_equal(get_u64le(r.key), k);
	}
	if (u->opt.mode == ZDB_SEQ && r.outcome != ZDB_UNCHANGED)
		m->next++;
	m->len[k] = len;
	m->salt[k] = salt;
}

/* The deletion that ended the log when it was made. */
struct deletion {
	uint64_t key;
	uint32_t salt, segment, end;
};

static void delete (struct zu *u, struct model *m, uint64_t k, struct deletion *last)
{
	struct zdb_ns_info info;
	uint8_t key[32];

	assert_int_equal(zdb_del(u->ns, key, key_of(u, k, key), 1), m->salt[k] != 0 ? 0 : -ENOENT);
	if (m->salt[k] == 0)
		return;
	zdb_ns_info(u->ns, &info);
	*last = (struct deletion){k, m->salt[k], info.data_current_id, info.data_current_offset};
	m->salt[k] = 0;
}

/*
 * A marker of a deletion at the end of the log may look like one whose last sector never came.  The index does not know it
 * and nobody synced it: recovery then takes back that one deletion (docs/formats.md), and nothing else.
 */
static void crash(struct zu *u, struct model *m, const struct deletion *last)
{
	struct zdb_ns_info info;
	uint8_t key[32];
	uint64_t cut;

	assert_int_equal(zdb_flush(u->eng), 0); /* what was answered was written */
	zdb_ns_info(u->ns, &info);
	zu_crash(u);
	assert_int_equal(zu_open(u), 0);
	assert_false(zdb_ns_recovery(u->ns)->foreign);
	assert_int_equal(zdb_ns_recovery(u->ns)->ahead_dropped, 0);
	cut = zdb_ns_recovery(u->ns)->data_cut_bytes;
	if (cut == 0)
		return;
	assert_int_equal(info.data_current_id, last->segment);
	assert_int_equal(info.data_current_offset, last->end);
	assert_int_equal(cut, 18 + key_of(u, last->key, key));
	m->salt[last->key] = last->salt;
}

/* One step of a sync that goes on while others write, sometimes without memory; to its end. */
static void job_step(struct zu *u, struct zdb_sync **job, unsigned i)
{
	uint64_t next;
	int rc;

	if (*job == NULL)
		*job = zdb_tick(u->eng, 1000000 + i * 100, &next);
	if (*job == NULL)
		return;
	assert_int_equal(zdb_sync_run(*job), 0);
	mem_fault_begin();
	mem_fault_arm(i % 7 == 0 ? 1 + i / 7 % 3 : 0);
	rc = zdb_sync_done(*job);
	assert_true(rc >= 0 || (rc == -ENOMEM && mem_fault_fired()));
	(void)mem_fault_end();
	if (rc <= 0)
		*job = NULL;
}

static void job_end(struct zu *u, struct zdb_sync **job, unsigned i)
{
	while (*job != NULL)
		job_step(u, job, i);
}

static void life(enum zdb_mode mode, bool gather)
{
	struct zdb_sync *job = NULL;
	static struct model m;
	uint64_t rng = test_seed();
	struct deletion last = {0};
	struct zu u;

	memset(&m, 0, sizeof(m));
	zu_setup(&u, mode);
	u.opt.gather_writes = gather;
	u.opt.rotate_ahead = true;
	u.opt.ahead_min = 1;
	u.opt.map_max = rng % 2 ? 1u << 30 : 0;
	assert_int_equal(mem_guard_install(), 0);
	assert_int_equal(zu_open(&u), 0);
	for (unsigned i = 0; i < STEPS; i++) {
		uint64_t k = test_random(&rng) % (mode == ZDB_SEQ ? (m.next == 0 ? 1 : m.next) : KEYS / 10);
		unsigned dice = (unsigned)(test_random(&rng) % 1000);

		if (dice < 400 && mode == ZDB_USER)
			store(&u, &m, k, false, &rng);
		else if (dice < 400 && m.next + 2 < KEYS)
			store(&u, &m, 0, true, &rng);
		else if (dice < 650 && m.salt[k] != 0 && m.next + 2 < KEYS)
			store(&u, &m, k, false, &rng);
		else if (dice < 900)
			delete (&u, &m, k, &last);
		else if (dice < 960)
			job_step(&u, &job, i);
		else if (dice < 980) {
			job_end(&u, &job, i);
			assert_int_equal(zdb_sync(u.ns, (enum zdb_sync_kind)(dice % 3)), 0);
		} else if (dice < 990)
			assert_int_equal(zdb_jump(u.ns), 0);
		else if (dice < 995) {
			job_end(&u, &job, i);
			zu_close(&u);
			assert_int_equal(zu_open(&u), 0);
			assert_false(zdb_ns_recovery(u.ns)->unclean);
			compare(&u, &m);
		} else {
			job_end(&u, &job, i);
			crash(&u, &m, &last);
			compare(&u, &m);
		}
	}
	job_end(&u, &job, STEPS);
	compare(&u, &m);
	zu_close(&u);
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

	test_in_memory();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
