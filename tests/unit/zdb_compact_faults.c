/*
 * A compaction in which every call and allocation fails once, over damaged records, and beside what it excludes.
 *
 * TEST_SEED repeats a run.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>
#include <unistd.h>

#include "core/base/file.h"
#include "tests/unit/support/compact_run.h"

/* One call or allocation of a compaction fails; false: it makes fewer. */
static bool one_fault(struct compact_run *r, const char *dir, uint64_t n, bool memory)
{
	struct zdb_compact_options o = cr_options(r, 3);
	struct zdb_compact_figures f;
	char where[100];
	struct zu u;
	uint64_t before, after;
	bool fired;
	int rc, index = 0;

	snprintf(where, sizeof(where), "%s %llu fails", memory ? "allocation" : "call",
		 (unsigned long long)n);
	test_dir_copy(r->u.dir, dir);
	zu_at(&u, dir, r->mode);
	if (memory)
		mem_fault_begin();
	assert_int_equal(zu_open(&u), 0);
	sys_fault_begin();
	if (memory)
		mem_fault_arm(n);
	else
		sys_fault_arm(SYS_CALL_ANY, n, EIO);
	rc = zdb_compact(u.ns, &o, &f);
	if (rc == 0)
		index = zdb_compact_index(u.ns, 0, &before, &after);
	fired = memory ? mem_fault_fired() : sys_fault_fired();
	mem_fault_arm(0);
	sys_fault_end();
	if (!fired && (rc != 0 || index != 0 || f.refused != 0))
		fail_msg("%s: not, and yet it ends with %d, %d", where, rc, index);
	if (index == 0) /* else it may answer errors until it is loaded again */
		cr_check(r, &u, r->ops, where);
	zu_crash(&u);
	if (memory)
		assert_int_equal(mem_fault_end(), 0);
	assert_int_equal(zu_open(&u), 0);
	cr_check(r, &u, r->ops, where);
	assert_int_equal(zdb_compact(u.ns, &o, &f), 0);
	assert_int_equal(f.refused, 0);
	assert_int_equal(zdb_compact_index(u.ns, 0, &before, &after), 0);
	cr_check(r, &u, r->ops, where);
	zu_close(&u);
	cr_no_litter(&u, where);
	zu_check(&u, where);
	return fired;
}

static void faults_of(enum zdb_mode mode, uint64_t keep_s, uint64_t seed)
{
	struct compact_run *r = cr_new(mode, keep_s, seed);
	char dir[400];
	uint64_t n;

	cr_prepare(r, 6);
	snprintf(dir, sizeof(dir), "%s.fault", r->u.dir);
	for (n = 1; one_fault(r, dir, n, false); n++)
		;
	print_message("mode %d keep %d: %llu calls failed", (int)mode, keep_s != 0,
		      (unsigned long long)n - 1);
	for (n = 1; one_fault(r, dir, n, true); n++)
		;
	print_message(", %llu allocations\n", (unsigned long long)n - 1);
	assert_int_equal(file_rm_tree(dir), 0);
	cr_free(r);
}

static void faults(void **state)
{
	uint64_t seed = *(uint64_t *)*state;

	faults_of(ZDB_USER, ZDB_KEEP_NONE, seed);
	faults_of(ZDB_SEQ, ZDB_KEEP_ALL, seed);
}

static void refusal_text(void *ctx, int level, const char *ns, const char *text)
{
	assert_int_equal(level, 2);
	assert_string_equal(ns, "default");
	snprintf(ctx, 200, "%s", text);
}

/* A damaged record, dead or alive, is never dropped: its file stays, others are compacted. */
static void damage(void **state)
{
	char text[200] = "", path[900];
	struct zdb_compact_options o = {.fn = refusal_text, .fn_ctx = text};
	struct zdb_compact_figures f;
	struct zu u;
	FILE *file;

	(void)state;
	zu_setup(&u, ZDB_USER);
	assert_int_equal(zu_open(&u), 0);
	for (unsigned n = 0; n < 2; n++) {
		assert_int_equal(zu_set(&u, "a", "old old old"), 0); /* 28: 18 + 1 + 11 */
		assert_int_equal(zu_set(&u, "a", "new"), 0);
		assert_int_equal(zu_set(&u, n == 0 ? "b" : "c", "kept"), 0);
		assert_int_equal(zdb_jump(u.ns), 0);
	}
	zu_path(&u, "default", "d0", path, sizeof(path));
	file = fopen(path, "r+b");
	assert_non_null(file);
	assert_int_equal(fseek(file, 28 + 18 + 1 + 4, SEEK_SET), 0);
	assert_int_equal(fputc('X', file), 'X');
	fclose(file);
	assert_int_equal(zdb_compact(u.ns, &o, &f), 0);
	assert_string_equal(text, "d0: the record at offset 28 is damaged");
	assert_int_equal(f.refused, 1);
	assert_int_equal(f.rewritten, 1);
	assert_int_equal(f.dropped, 1);
	assert_string_equal(zu_get(&u, "a"), "new");
	assert_string_equal(zu_get(&u, "b"), "kept");
	assert_string_equal(zu_get(&u, "c"), "kept");
	zu_path(&u, "default", "d0.new", path, sizeof(path));
	assert_int_equal(file_exists(path), 0);
	zu_path(&u, "default", "compact", path, sizeof(path));
	assert_int_equal(file_exists(path), 0);
	zu_close(&u);
	zu_teardown(&u);
}

/* Proofs and compaction keep out of each other's way; what else is refused. */
static void refusals(void **state)
{
	struct zdb_compact_options o = {.threshold = 0};
	uint8_t id[16] = {0};
	struct zdb_compact_figures f;
	struct zdb_compact *c, *second;
	struct zdb_proof *proof;
	char path[900];
	struct zu u;

	(void)state;
	zu_setup(&u, ZDB_USER);
	assert_int_equal(zu_open(&u), 0);
	assert_int_equal(zu_set(&u, "a", "1"), 0);
	assert_int_equal(zu_set(&u, "a", "2"), 0);
	assert_int_equal(zdb_jump(u.ns), 0);
	assert_int_equal(zdb_proof_begin(u.ns, 0, ZDB_PROOF_XXH3, &proof), 0);
	assert_int_equal(zdb_compact_begin(u.ns, &o, &c), -EBUSY);
	assert_int_equal(zdb_proof_run(proof), 0);
	assert_int_equal(zdb_evict_done(proof, id), -EBADMSG);
	assert_int_equal(zdb_compact_begin(u.ns, &o, &c), 0);
	assert_int_equal(zdb_compact_begin(u.ns, &o, &second), -EBUSY);
	assert_int_equal(zdb_evict(u.ns, 0, ZDB_PROOF_XXH3, id), -EBUSY);
	assert_int_equal(zdb_ns_flush(u.ns), -EBUSY);
	assert_int_equal(zdb_ns_reload(u.ns), -EBUSY);
	/* Given up before and after its first file was copied: nothing has changed. */
	zdb_compact_end(c);
	assert_int_equal(zdb_compact_begin(u.ns, &o, &c), 0);
	assert_int_equal(zdb_compact_run(c), 0);
	assert_int_equal(zdb_compact_done(c), 1);
	assert_int_equal(zdb_compact_run(c), 0);
	zdb_compact_end(c);
	zu_path(&u, "default", "d0.new", path, sizeof(path));
	assert_int_equal(file_exists(path), 0);
	zu_path(&u, "default", "compact", path, sizeof(path));
	assert_int_equal(file_exists(path), 0);
	/* And after the switch has begun: that file is ended. */
	assert_int_equal(zdb_compact_begin(u.ns, &o, &c), 0);
	assert_int_equal(zdb_compact_run(c), 0);
	assert_int_equal(zdb_compact_done(c), 1);
	assert_int_equal(zdb_compact_run(c), 0);
	assert_int_equal(zdb_compact_done(c), 1);
	assert_int_equal(file_exists(path), 1);
	zdb_compact_end(c);
	assert_int_equal(file_exists(path), 0);
	assert_string_equal(zu_get(&u, "a"), "2");
	assert_int_equal(zdb_ns_set_lock(u.ns, ZDB_LOCKED), 0);
	assert_int_equal(zdb_compact(u.ns, &o, &f), -EACCES);
	assert_int_equal(zdb_ns_set_lock(u.ns, ZDB_UNLOCKED), 0);
	assert_int_equal(zdb_ns_set_worm(u.ns, true), 0);
	assert_int_equal(zdb_compact(u.ns, &o, &f), -EPERM);
	zu_close(&u);
	u.opt.read_only = true;
	assert_int_equal(zu_open(&u), 0);
	assert_int_equal(zdb_compact(u.ns, &o, &f), -EROFS);
	zu_crash(&u);
	zu_teardown(&u);
}

enum between { NOTHING, A_SYNC, A_ROTATION, THE_END, A_FAILED_SYNC };

/* A compaction that keeps history stands before the copying of d0, whose log d1 has a record that no sync has covered. */
static struct zdb_compact *before_copying(struct zu *u)
{
	struct zdb_compact_options o = {.keep_s = ZDB_KEEP_ALL};
	struct zdb_compact *c;
	int rc;

	zu_setup(u, ZDB_USER);
	assert_int_equal(zu_open(u), 0);
	assert_int_equal(zu_set(u, "dead", "value"), 0);
	assert_int_equal(zu_set(u, "k", "version one"), 0);
	assert_int_equal(zu_set(u, "k", "version two"), 0);
	assert_int_equal(zu_del(u, "dead"), 0);
	assert_int_equal(zdb_jump(u->ns), 0);
	assert_int_equal(zu_set(u, "k", "synced"), 0);
	assert_int_equal(zdb_sync(u->ns, ZDB_SYNC_INDEX), 0);
	assert_int_equal(zu_set(u, "k", "not synced"), 0);
	assert_int_equal(zdb_compact_begin(u->ns, &o, &c), 0);
	assert_int_equal(zdb_compact_run(c), 0);
	while ((rc = zdb_compact_done(c)) == 2)
		;
	assert_int_equal(rc, 1);
	return c;
}

/*
 * Compaction syncs the log, too.  What it hears of it is told once by the system: who asks next must not take that for a
 * log that is durable, and compaction not what a sync has heard.
 */
static void lost_log(enum between what)
{
	struct zdb_sync *job = NULL;
	struct zdb_compact *c;
	struct zdb_stats s;
	char path[900];
	struct zu u;

	sys_fault_begin();
	sys_fault_only("data/default/d1");
	c = before_copying(&u);
	if (what == A_FAILED_SYNC)
		assert_int_equal(zdb_sync_begin(u.ns, ZDB_SYNC_DATA, &job), 0);
	sys_fault_arm(SYS_CALL_SYNC, 1, EIO);
	if (what == A_FAILED_SYNC)
		assert_int_equal(zdb_sync_run(job), -EIO);
	assert_int_equal(zdb_compact_run(c), -EIO);
	assert_true(sys_fault_fired());
	sys_fault_disarm();
	if (what == A_SYNC)
		assert_int_equal(zdb_sync(u.ns, ZDB_SYNC_DATA), -EIO);
	if (what == A_ROTATION)
		assert_int_equal(zdb_jump(u.ns), -EIO);
	if (what != THE_END)
		assert_int_equal(zdb_compact_done(c), -EIO);
	zdb_compact_end(c);
	if (what == A_FAILED_SYNC)
		assert_int_equal(zdb_sync_done(job), -EIO);
	assert_int_equal(zdb_ns_write_error(u.ns), -EIO);
	assert_int_equal(zdb_sync(u.ns, ZDB_SYNC_DATA), -EROFS);
	assert_int_equal(zu_set(&u, "k", "more"), -EROFS);
	zdb_stats(u.eng, &s);
	assert_true(s.syncs_failed >= 1);
	zu_path(&u, "default", "d2", path, sizeof(path));
	assert_int_equal(file_exists(path), 0);
	sys_fault_end();
	zu_crash(&u);
	assert_int_equal(zu_open(&u), 0);
	assert_int_equal(zdb_sync(u.ns, ZDB_SYNC_DATA), 0);
	zu_close(&u);
	zu_teardown(&u);
}

static void lost_logs(void **state)
{
	(void)state;
	for (enum between what = NOTHING; what <= A_FAILED_SYNC; what++)
		lost_log(what);
}

int main(void)
{
	static uint64_t seed;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_prestate(faults, &seed),
		cmocka_unit_test(damage),
		cmocka_unit_test(refusals),
		cmocka_unit_test(lost_logs),
	};

	test_in_memory();
	seed = test_seed() % 1000000;
	return cmocka_run_group_tests_name("zdb_compact_faults", tests, NULL, NULL);
}
