/*
 * A compaction with the power cut at every call: the namespace opens with a state that its operations had, at least that of the last sync, goes on
 * from there, and leaves no litter.
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

#include "core/base/file.h"
#include "core/zdb/compact_int.h"
#include "tests/unit/support/compact_run.h"

static int matching_prefix(struct compact_run *r, struct zu *u, unsigned lower, unsigned upper,
			   const char *where)
{
	unsigned got[CR_IDS];

	for (unsigned k = 0; k < cr_keys(r); k++)
		got[k] = cr_version(r, u, k, where);
	for (unsigned p = lower; p <= upper; p++) {
		bool equal = true;

		for (unsigned k = 0; k < cr_keys(r) && equal; k++)
			equal = got[k] == r->state[p][k];
		if (equal)
			return (int)p;
	}
	return -1;
}

static void check_cut(struct compact_run *r, unsigned first, uint64_t cut, enum sim_policy policy,
		      const char *out)
{
	struct zdb_compact_options o = cr_options(r, 3);
	struct zdb_compact_figures f;
	unsigned lower = first, upper = first;
	char where[400], what[200];
	struct zu u;
	int p;

	sim_disk_materialise(r->disk, cut, policy, cut + 7, out);
	snprintf(where, sizeof(where), "mode %d keep %d cut %llu (%s) policy %d", (int)r->mode,
		 r->keep_s != 0, (unsigned long long)cut,
		 cut == 0 ? "-" : sim_disk_describe(r->disk, cut - 1, what, sizeof(what)), (int)policy);
	for (unsigned i = 0; i < r->ack_count; i++)
		if (r->acks[i].calls <= cut && r->acks[i].ops > lower)
			lower = r->acks[i].ops;
	while (upper < r->ops && r->op[upper].calls <= cut)
		upper++;
	zu_at(&u, out, r->mode);
	if (zu_open(&u) != 0)
		fail_msg("%s: does not open: %s", where, u.why);
	cr_no_litter(&u, where);
	p = matching_prefix(r, &u, lower, upper, where);
	if (p < 0)
		fail_msg("%s: not the state after any of %u..%u operations", where, lower, upper);
	cr_check(r, &u, (unsigned)p, where);
	/* It goes on from there. */
	assert_int_equal(zdb_compact(u.ns, &o, &f), 0);
	if (f.refused != 0)
		fail_msg("%s: a file is refused", where);
	strncat(where, ", compacted again", sizeof(where) - strlen(where) - 1);
	cr_check(r, &u, (unsigned)p, where);
	zu_close(&u);
	zu_check(&u, where);
	assert_int_equal(file_rm_tree(out), 0);
}

static void cut_everywhere(enum zdb_mode mode, uint64_t keep_s, uint64_t seed)
{
	struct compact_run *r = cr_new(mode, keep_s, seed);
	unsigned first;
	uint64_t calls;
	char out[400];

	cr_prepare(r, 9);
	first = r->ops;
	r->disk = sim_disk_begin(r->u.dir);
	r->u.opt.gather_writes = seed % 2 == 0;
	r->u.opt.rotate_ahead = true;
	r->u.opt.ahead_min = 1;
	assert_int_equal(zu_open(&r->u), 0);
	for (unsigned i = 0; i < 8; i++)
		cr_op(r);
	assert_int_equal(zdb_jump(r->u.ns), 0);
	for (unsigned i = 0; i < 3; i++)
		cr_op(r);
	cr_interleave(r, 1, false);
	if (seed % 2 == 0)
		zu_close(&r->u);
	else
		zu_crash(&r->u);
	sim_disk_stop(r->disk);
	calls = sim_disk_calls(r->disk);
	snprintf(out, sizeof(out), "%s.cut", r->u.dir);
	for (uint64_t cut = 0; cut <= calls; cut++) {
		check_cut(r, first, cut, SIM_KEEP, out);
		check_cut(r, first, cut, SIM_DROP, out);
		check_cut(r, first, cut, SIM_SECTORS, out);
		check_cut(r, first, cut, SIM_PREFIX, out);
	}
	print_message("mode %d keep %d: %llu cuts, 4 states each, %u operations meanwhile\n", (int)mode,
		      keep_s != 0, (unsigned long long)calls + 1, r->ops - first);
	cr_free(r);
}

static void power_cuts(void **state)
{
	uint64_t seed = *(uint64_t *)*state;

	cut_everywhere(ZDB_USER, ZDB_KEEP_NONE, seed);
	cut_everywhere(ZDB_SEQ, ZDB_KEEP_NONE, seed + 1);
	cut_everywhere(ZDB_USER, ZDB_KEEP_ALL, seed + 2);
	cut_everywhere(ZDB_SEQ, ZDB_KEEP_ALL, seed + 3);
}

static void interrupted(void *ctx, int level, const char *ns, const char *text)
{
	assert_int_equal(level, 1);
	assert_string_equal(ns, "default");
	snprintf(ctx, 200, "%s", text);
}

/* The flag of a dropped record was in the page cache only: a power cut loses it, the repair sets it again. */
static void flag_is_lost(void **state)
{
	struct compact_run *r = cr_new(ZDB_USER, ZDB_KEEP_NONE, 1);
	struct zdb_compact_options o = cr_options(r, 0);
	struct zdb_compact *c;
	char out[400], text[200] = "";
	struct zu u;
	int rc;

	(void)state;
	assert_int_equal(zu_open(&r->u), 0);
	assert_int_equal(zu_set(&r->u, "a", "1"), 0);
	assert_int_equal(zu_set(&r->u, "b", "1"), 0);
	assert_int_equal(zdb_jump(r->u.ns), 0);
	zu_close(&r->u);
	r->disk = sim_disk_begin(r->u.dir);
	assert_int_equal(zu_open(&r->u), 0);
	assert_int_equal(zu_set(&r->u, "a", "2"), 0);
	cr_tick(r);
	assert_int_equal(zdb_compact_begin(r->u.ns, &o, &c), 0);
	do { /* to the end of re-pointing; the index files are not synced */
		rc = zdb_compact_done(c);
		if (rc == 1 && c->phase != COMPACT_SETTLE)
			(void)zdb_compact_run(c);
	} while (c->phase != COMPACT_SETTLE);
	assert_int_equal(rc, 1);
	zu_crash(&r->u);
	sim_disk_stop(r->disk);
	snprintf(out, sizeof(out), "%s.cut", r->u.dir);
	sim_disk_materialise(r->disk, sim_disk_calls(r->disk), SIM_DROP, 1, out);
	zu_at(&u, out, ZDB_USER);
	assert_int_equal(zdb_verify(&u.opt, interrupted, text), 1);
	assert_string_equal(
		text, "namespace default: a compaction of d0 was interrupted: it must be opened for writing");
	assert_int_equal(zu_open(&u), 0);
	assert_string_equal(zu_get(&u, "a"), "2");
	assert_string_equal(zu_get(&u, "b"), "1");
	cr_check_scan(&u, 2, "flag lost");
	zu_close(&u);
	zu_check(&u, "flag lost");
	assert_int_equal(file_rm_tree(out), 0);
	cr_free(r);
}

int main(void)
{
	static uint64_t seed;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_prestate(power_cuts, &seed),
		cmocka_unit_test(flag_is_lost),
	};

	test_in_memory();
	seed = test_seed() % 1000000;
	return cmocka_run_group_tests_name("zdb_compact_cuts", tests, NULL, NULL);
}
