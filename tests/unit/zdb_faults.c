/*
 * Every engine call with its first, second, ... system call and allocation failing: the call reports it or succeeds, the
 * namespace is as before or as after, nothing leaks, and a restart finds one of the two as well.
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

#include <sys/stat.h>

#include "core/base/err.h"
#include "core/base/file.h"
#include "tests/unit/support/sys_test.h"
#include "tests/unit/support/zdb_util.h"

#define VALUES 6

struct scenario {
	const char *name;
	int (*op)(struct zu *u);
	const char *after[VALUES]; /* what "k0".."k5" (ids 0..5) hold afterwards; NULL absent */
};

/* Before: k0 "zero", k1 "one" (updated once), k2 "two" in file 1, k3 deleted, the rest absent. */
static const char *const before[VALUES] = {"zero", "one", "two", NULL, NULL, NULL};

static bool is_seq(const struct zu *u)
{
	return u->opt.mode == ZDB_SEQ;
}

/* Sequential ids of the keys: 0 zero, 1 one, 2 is the copy that updating 1 made, so "two" is 3 and k3 is 4. */
static uint64_t id_of(unsigned k)
{
	static const uint64_t ids[VALUES] = {0, 1, 3, 4, 5, 6};

	return ids[k];
}

static int put(struct zu *u, unsigned k, const char *value)
{
	char name[8];

	if (is_seq(u))
		return zu_seq_set(u, id_of(k), value);
	snprintf(name, sizeof(name), "k%u", k);
	return zu_set(u, name, value);
}

static int del(struct zu *u, unsigned k)
{
	char name[8];

	if (is_seq(u))
		return zu_seq_del(u, id_of(k));
	snprintf(name, sizeof(name), "k%u", k);
	return zu_del(u, name);
}

static int add(struct zu *u, unsigned k, const char *value)
{
	struct zdb_set_result r;

	if (!is_seq(u))
		return put(u, k, value);
	return zdb_set(u->ns, NULL, 0, value, strlen(value), 1, &r);
}

static const char *look(struct zu *u, unsigned k)
{
	char name[8];

	if (is_seq(u))
		return zu_seq_get(u, id_of(k));
	snprintf(name, sizeof(name), "k%u", k);
	return zu_get(u, name);
}

static void prepare(struct zu *u)
{
	assert_int_equal(zu_open(u), 0);
	assert_int_equal(add(u, 0, "zero"), 0);
	assert_int_equal(add(u, 1, "uno"), 0);
	assert_int_equal(put(u, 1, "one"), 0);
	assert_int_equal(zdb_jump(u->ns), 0);
	assert_int_equal(add(u, 2, "two"), 0);
	assert_int_equal(add(u, 3, "three"), 0);
	assert_int_equal(del(u, 3), 0);
	zu_close(u);
}

/* ---- the calls */

static int op_insert(struct zu *u)
{
	return add(u, 4, "four");
}

static int op_update(struct zu *u)
{
	return put(u, 0, "ZERO");
}

static int op_delete(struct zu *u)
{
	return del(u, 1);
}

static int op_same(struct zu *u)
{
	return put(u, 0, "zero");
}

static int op_jump(struct zu *u)
{
	return zdb_jump(u->ns);
}

static int op_update_sync(struct zu *u)
{
	int rc = put(u, 0, "ZERO");

	return rc != 0 ? rc : zdb_sync(u->ns, ZDB_SYNC_DATA);
}

static int op_update_sync_index(struct zu *u)
{
	int rc = put(u, 0, "ZERO");

	return rc != 0 ? rc : zdb_sync(u->ns, ZDB_SYNC_INDEX);
}

static int op_update_jump(struct zu *u)
{
	int rc = put(u, 2, "TWO");

	return rc != 0 ? rc : zdb_jump(u->ns);
}

static int op_reload(struct zu *u)
{
	return zdb_ns_reload(u->ns);
}

static int op_create(struct zu *u)
{
	struct zdb_ns *ns;

	return zdb_ns_create(u->eng, "other", 5, &ns);
}

static int op_create_delete(struct zu *u)
{
	struct zdb_ns *ns;
	int rc = zdb_ns_create(u->eng, "other", 5, &ns);

	return rc != 0 ? rc : zdb_ns_delete(ns);
}

static int op_password(struct zu *u)
{
	return zdb_ns_set_password(u->ns, "secret", 6);
}

static int op_derive(struct zu *u)
{
	struct zdb_bundle *b;
	int rc = zdb_bundle_derive(u->ns, 0, &b);

	if (rc == 0)
		zdb_bundle_free(b);
	return rc;
}

static int op_cut(struct zu *u)
{
	struct zdb_cut *cuts;
	size_t n;
	int rc = zdb_cut(u->eng, &cuts, &n);

	if (rc == 0)
		zdb_cut_free(cuts);
	return rc;
}

static bool ignore_entry(void *ctx, const struct zdb_entry *e)
{
	(void)ctx;
	(void)e;
	return true;
}

static int op_scans(struct zu *u)
{
	uint8_t next[17];
	int rc = zdb_scan(u->ns, NULL, 0, false, 0, 0, ignore_entry, NULL, next);

	return rc != 0 ? rc : zdb_scan(u->ns, NULL, 0, true, 0, 0, ignore_entry, NULL, next);
}

static const struct scenario scenarios[] = {
	{"insert", op_insert, {"zero", "one", "two", NULL, "four", NULL}},
	{"update", op_update, {"ZERO", "one", "two", NULL, NULL, NULL}},
	{"delete", op_delete, {"zero", NULL, "two", NULL, NULL, NULL}},
	{"same value", op_same, {"zero", "one", "two", NULL, NULL, NULL}},
	{"jump", op_jump, {"zero", "one", "two", NULL, NULL, NULL}},
	{"update, sync", op_update_sync, {"ZERO", "one", "two", NULL, NULL, NULL}},
	{"update, sync index", op_update_sync_index, {"ZERO", "one", "two", NULL, NULL, NULL}},
	{"update, jump", op_update_jump, {"zero", "one", "TWO", NULL, NULL, NULL}},
	{"reload", op_reload, {"zero", "one", "two", NULL, NULL, NULL}},
	{"create", op_create, {"zero", "one", "two", NULL, NULL, NULL}},
	{"create, delete", op_create_delete, {"zero", "one", "two", NULL, NULL, NULL}},
	{"password", op_password, {"zero", "one", "two", NULL, NULL, NULL}},
	{"derive", op_derive, {"zero", "one", "two", NULL, NULL, NULL}},
	{"cut", op_cut, {"zero", "one", "two", NULL, NULL, NULL}},
	{"scans", op_scans, {"zero", "one", "two", NULL, NULL, NULL}},
};

static bool matches(struct zu *u, const char *const *want)
{
	for (unsigned k = 0; k < VALUES; k++) {
		const char *v = look(u, k);

		if ((v == NULL) != (want[k] == NULL) || (v != NULL && strcmp(v, want[k]) != 0))
			return false;
	}
	return true;
}

static void check(struct zu *u, const struct scenario *s, int rc, const char *when, uint64_t n)
{
	bool old = matches(u, before), now = matches(u, s->after);

	if (rc == -E_LIMIT)
		fail_msg("%s: call %llu, %s: a failure passes for the namespace's own limit", s->name,
			 (unsigned long long)n, when);
	if (rc == 0 && !now)
		fail_msg("%s: call %llu, %s: it answered 0 and is not done", s->name, (unsigned long long)n,
			 when);
	if (!old && !now)
		fail_msg("%s: call %llu, %s: neither as before nor as after (%d)", s->name,
			 (unsigned long long)n, when, rc);
}

static unsigned failed_calls;

/* One failing call; false when the operation made fewer calls than n. */
static bool one(struct zu *u, const struct scenario *s, uint64_t n, int error, bool memory, bool dead)
{
	bool fired;
	int rc;

	prepare(u);
	mem_fault_begin();
	assert_int_equal(zu_open(u), 0);
	sys_fault_begin();
	if (memory)
		mem_fault_arm(n);
	else if (dead)
		sys_fault_arm_from(SYS_CALL_ANY, n, error);
	else
		sys_fault_arm(SYS_CALL_ANY, n, error);
	rc = s->op(u);
	fired = memory ? mem_fault_fired() : sys_fault_fired();
	mem_fault_arm(0);
	sys_fault_disarm();
	if (!fired && rc != 0)
		fail_msg("%s: fails by itself with %d", s->name, rc);
	if (zdb_ns_write_error(u->ns) == 0 || zdb_ns_write_error(u->ns) == -EROFS || s->op != op_reload)
		check(u, s, rc, "in the engine", n);
	sys_fault_end();
	zu_crash(u);
	if (mem_fault_end() != 0)
		fail_msg("%s: call %llu leaks", s->name, (unsigned long long)n);
	assert_int_equal(zu_open(u), 0);
	check(u, s, rc, "after a restart", n);
	assert_int_equal(add(u, 5, "goes on"), 0);
	zu_close(u);
	assert_int_equal(file_rm_tree(u->data), 0);
	assert_int_equal(file_rm_tree(u->index), 0);
	failed_calls += fired;
	return fired;
}

static void all(enum zdb_mode mode)
{
	static const int errors[] = {EIO, ENOSPC, EDQUOT};
	struct zu u;

	zu_setup(&u, mode);
	for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
		for (size_t e = 0; e < sizeof(errors) / sizeof(errors[0]); e++)
			for (uint64_t n = 1; one(&u, &scenarios[i], n, errors[e], false, false); n++)
				;
		for (uint64_t n = 1; one(&u, &scenarios[i], n, EIO, false, true); n++)
			;
		for (uint64_t n = 1; one(&u, &scenarios[i], n, 0, true, false); n++)
			;
	}
	zu_teardown(&u);
	print_message("%u calls failed so far\n", failed_calls);
	assert_true(failed_calls > 500);
}

static void user_mode(void **state)
{
	(void)state;
	all(ZDB_USER);
}

static void sequential_mode(void **state)
{
	(void)state;
	all(ZDB_SEQ);
}

/* Opening, clean and after a crash: an error and nothing leaked, or everything there; and the next time it opens. */
static void opening(void **state)
{
	enum zdb_mode modes[] = {ZDB_USER, ZDB_SEQ};
	char why[200];

	(void)state;
	for (unsigned round = 0; round < 8; round++) {
		bool memory = round & 1, crash = round & 2, fired = true;
		struct zu u;

		zu_setup(&u, modes[round >> 2]);
		for (uint64_t n = 1; fired; n++) {
			int rc;

			prepare(&u);
			assert_int_equal(zu_open(&u), 0);
			assert_int_equal(put(&u, 0, "ZERO"), 0);
			if (crash)
				zu_crash(&u);
			else
				zu_close(&u);
			mem_fault_begin();
			sys_fault_begin();
			if (memory)
				mem_fault_arm(n);
			else
				sys_fault_arm(SYS_CALL_ANY, n, EIO);
			rc = zdb_open(&u.eng, &u.opt, why, sizeof(why));
			fired = memory ? mem_fault_fired() : sys_fault_fired();
			mem_fault_arm(0);
			sys_fault_disarm();
			assert_true(rc == 0 || fired);
			if (rc == 0) {
				u.ns = zdb_ns_find(u.eng, "default", 7);
				assert_non_null(u.ns);
				assert_string_equal(look(&u, 0), "ZERO");
				zu_crash(&u);
			}
			sys_fault_end();
			assert_int_equal(mem_fault_end(), 0);
			assert_int_equal(zu_open(&u), 0);
			assert_string_equal(look(&u, 0), "ZERO");
			assert_string_equal(look(&u, 2), "two");
			assert_null(look(&u, 3));
			zu_close(&u);
			assert_int_equal(file_rm_tree(u.data), 0);
			assert_int_equal(file_rm_tree(u.index), 0);
		}
		zu_teardown(&u);
	}
}

/* ---- a rotation that fails halfway: writing goes on in the old pair, or is refused */

/* Error of a call; 0: an allocation fails.  from: every later call of the rotation does, too. */
struct failing {
	int error;
	bool from;
};

static bool jump_fails(struct zu *u, const struct failing *f, uint64_t n, int *rc)
{
	bool fired;

	sys_fault_begin();
	mem_fault_begin();
	if (f->error == 0)
		mem_fault_arm(n);
	else if (f->from)
		sys_fault_arm_from(SYS_CALL_ANY, n, f->error);
	else
		sys_fault_arm(SYS_CALL_ANY, n, f->error);
	*rc = zdb_jump(u->ns);
	fired = f->error == 0 ? mem_fault_fired() : sys_fault_fired();
	(void)mem_fault_end();
	sys_fault_end();
	return fired;
}

/* Keys 0 and 1 are there, 0 changed and 1 removed by what a sync made durable; 2 has its value or, not synced, a longer one. */
static void went_on(struct zu *u, const char *where)
{
	const char *two, *zero = look(u, 0);

	if (zero == NULL || strcmp(zero, "ZERO") != 0)
		fail_msg("%s: a synced update is lost", where);
	if (look(u, 1) != NULL)
		fail_msg("%s: a synced deletion is lost", where);
	two = look(u, 2);
	if (two == NULL || (strcmp(two, "two") != 0 && two[0] != 'x'))
		fail_msg("%s: a value that was synced long ago is lost", where);
}

/* After a kill, and after power cuts. */
static void cuts_after(struct sim_disk *disk, uint64_t calls, enum zdb_mode mode, const char *out,
		       const char *where)
{
	char at[160];
	struct zu v;

	for (unsigned seed = 0; seed < 10; seed++) {
		snprintf(at, sizeof(at), "%s, seed %u", where, seed);
		sim_disk_materialise(disk, calls,
				     seed == 0       ? SIM_KEEP
				     : seed == 1     ? SIM_DROP
				     : seed % 2 == 0 ? SIM_SECTORS
						     : SIM_RANDOM,
				     seed, out);
		zu_at(&v, out, mode);
		if (zu_open(&v) != 0)
			fail_msg("%s: does not open", at);
		went_on(&v, at);
		zu_close(&v);
		zu_check(&v, at);
		assert_int_equal(file_rm_tree(out), 0);
	}
}

/* Whether a call of the rotation was there to fail. */
static bool one_rotation(enum zdb_mode mode, const struct failing *f, uint64_t n, unsigned *refused)
{
	char out[400], where[100], big[3000];
	struct sim_disk *disk;
	uint64_t calls;
	struct zu u;
	bool fired;
	int rc;

	snprintf(where, sizeof(where), "mode %d, error %d%s, call %u", (int)mode, f->error,
		 f->from ? " and on" : "", (unsigned)n);
	zu_setup(&u, mode);
	prepare(&u);
	disk = sim_disk_begin(u.dir);
	assert_int_equal(zu_open(&u), 0);
	assert_int_equal(put(&u, 0, "null"), 0);
	assert_int_equal(zdb_sync(u.ns, ZDB_SYNC_INDEX), 0);
	fired = jump_fails(&u, f, n, &rc);
	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	rc = put(&u, 0, "ZERO");
	assert_true(rc == 0 ||
		    (rc == -EROFS && f->error != 0)); /* a sync failed: what it was about is in doubt */
	if (rc == 0) {
		assert_int_equal(del(&u, 1), 0);
		assert_int_equal(zdb_sync(u.ns, ZDB_SYNC_DATA), 0);
		assert_int_equal(put(&u, 2, big), 0);
	}
	*refused += rc != 0;
	calls = sim_disk_calls(disk);
	zu_crash(&u);
	sim_disk_stop(disk);
	snprintf(out, sizeof(out), "%s.cut", u.dir);
	if (rc == 0)
		cuts_after(disk, calls, mode, out, where);
	sim_disk_free(disk);
	zu_teardown(&u);
	return fired;
}

static void half_a_rotation(void **state)
{
	static const struct failing all[] = {{EIO, false},   {EIO, true},     {ENOSPC, false},
					     {ENOSPC, true}, {EMFILE, false}, {0, false}};
	unsigned refused = 0;

	(void)state;
	for (unsigned i = 0; i < 2 * sizeof(all) / sizeof(all[0]); i++)
		for (uint64_t n = 1; one_rotation(i % 2 == 0 ? ZDB_USER : ZDB_SEQ, &all[i / 2], n, &refused);
		     n++)
			;
	assert_true(refused > 0);
}

/* No room for the next pair, nor for taking back what was made of it: writes wait until there is, and go on without a start. */
static void no_room_for_a_pair(void **state)
{
	static const int errors[] = {ENOSPC, EDQUOT, EMFILE};

	(void)state;
	for (unsigned i = 0; i < 12; i++) {
		int error = errors[i / 2 % 3];
		struct zu u;

		zu_setup(&u, i % 2 == 0 ? ZDB_USER : ZDB_SEQ);
		prepare(&u);
		assert_int_equal(zu_open(&u), 0);
		assert_int_equal(put(&u, 0, "null"), 0);
		assert_int_equal(zdb_sync(u.ns, ZDB_SYNC_INDEX), 0);
		sys_fault_begin();
		sys_fault_arm_from(SYS_CALL_RENAME, 2, error); /* i2 has its name */
		if (i / 6 == 1) {                              /* it cannot be opened, nor removed */
			sys_fault_disarm();
			sys_fault_only("default/i2");
			sys_fault_arm_from(SYS_CALL_OPEN, 1, error);
			sys_fault_arm_from(SYS_CALL_UNLINK, 1, error);
		}
		assert_int_not_equal(zdb_jump(u.ns), 0);
		if (i / 6 == 1)
			assert_int_not_equal(put(&u, 0, "ZERO"), 0);
		sys_fault_end();
		assert_int_equal(zdb_ns_write_error(u.ns), 0);
		assert_int_equal(put(&u, 0, "ZERO"), 0);
		assert_int_equal(del(&u, 1), 0);
		assert_int_equal(zdb_sync(u.ns, ZDB_SYNC_DATA), 0);
		zu_crash(&u);
		assert_int_equal(zu_open(&u), 0);
		went_on(&u, "no room");
		assert_int_equal(zdb_jump(u.ns), 0);
		zu_close(&u);
		zu_check(&u, "no room");
		zu_teardown(&u);
	}
}

/* A short write is taken back: the log has no fragment, and the next record is whole. */
static void short_writes(void **state)
{
	struct zu u;

	(void)state;
	zu_setup(&u, ZDB_USER);
	assert_int_equal(zu_open(&u), 0);
	assert_int_equal(zu_set(&u, "a", "first"), 0);
	for (size_t len = 1; len < 20; len++) {
		sys_fault_begin();
		sys_fault_arm_short(SYS_CALL_WRITE, 1, len);
		assert_int_equal(zu_set(&u, "b", len % 2 != 0 ? "odd" : "even"),
				 0); /* goes on where it stopped */
		sys_fault_end();
		assert_string_equal(zu_get(&u, "b"), len % 2 != 0 ? "odd" : "even");
		sys_fault_begin();
		sys_fault_arm_short(SYS_CALL_WRITE, 1, len);
		sys_fault_arm_from(SYS_CALL_WRITE, 1, ENOSPC);
		assert_int_equal(zu_set(&u, "c", "no room"), -ENOSPC);
		sys_fault_end();
		assert_null(zu_get(&u, "c"));
	}
	zu_crash(&u);
	assert_int_equal(zu_open(&u), 0);
	assert_int_equal(zdb_ns_recovery(u.ns)->data_cut_bytes, 0);
	assert_string_equal(zu_get(&u, "b"), "odd");
	zu_close(&u);
	zu_teardown(&u);
}

/*
 * Memory is short while a sync applies its rewrites, n allocations later, or none: they wait for the next one, which takes what has
 * come since as well, or says that it cannot.  The marker that it moves is behind all of it.
 */
static bool short_of_memory(enum zdb_mode mode, uint64_t n, bool again)
{
	struct zdb_sync *job;
	bool fired;
	struct zu u;
	int rc;

	zu_setup(&u, mode);
	u.opt.fds_max = 1; /* index files are opened anew */
	prepare(&u);
	assert_int_equal(zu_open(&u), 0);
	assert_int_equal(del(&u, 0), 0);
	assert_non_null(look(&u, 1));
	assert_int_equal(zdb_sync_begin(u.ns, ZDB_SYNC_INDEX, &job), 0);
	assert_int_equal(zdb_sync_run(job), 0);
	mem_fault_begin();
	mem_fault_arm(n);
	while ((rc = zdb_sync_done(job)) == 1)
		assert_int_equal(zdb_sync_run(job), 0);
	fired = mem_fault_fired();
	mem_fault_arm(0);
	assert_true(rc == 0 || (fired && rc == -ENOMEM));
	for (unsigned i = 0; i < 200; i++) /* more than fit beside those before */
		assert_int_equal(add(&u, 5, i % 2 ? "odd" : "even"), 0);
	assert_int_equal(put(&u, 2, "TWO"), 0);
	assert_int_equal(del(&u, 1), 0);
	if (again) {
		mem_fault_arm(n);
		rc = zdb_sync(u.ns, ZDB_SYNC_INDEX);
		mem_fault_arm(0);
		assert_true(rc == 0 || rc == -ENOMEM);
	}
	if (!again || rc != 0)
		assert_int_equal(zdb_sync(u.ns, ZDB_SYNC_INDEX), 0);
	(void)mem_fault_end();
	for (unsigned start = 0; start < 2; start++) {
		assert_null(look(&u, 0));
		assert_null(look(&u, 1));
		assert_string_equal(look(&u, 2), "TWO");
		zu_crash(&u);
		assert_int_equal(zu_open(&u), 0);
		assert_int_equal(zdb_ns_recovery(u.ns)->log_records, 0);
	}
	zu_close(&u);
	zu_check(&u, "at the end");
	zu_teardown(&u);
	return fired;
}

static void rewrites_left(void **state)
{
	(void)state;
	for (unsigned again = 0; again < 2; again++) {
		for (uint64_t n = 1; short_of_memory(ZDB_USER, n, again); n++)
			;
		for (uint64_t n = 1; short_of_memory(ZDB_SEQ, n, again); n++)
			;
	}
}

/* A mode that could not be made durable is not the namespace's, on the disk as little as here. */
static void refused_mode(void **state)
{
	bool fired = true;

	(void)state;
	for (uint64_t n = 1; fired; n++) {
		enum zdb_mode mode;
		struct zu u;
		int rc;

		zu_setup(&u, ZDB_MIXED);
		assert_int_equal(zu_open(&u), 0);
		sys_fault_begin();
		sys_fault_arm(SYS_CALL_ANY, n, EIO);
		rc = zdb_ns_set_mode(u.ns, ZDB_SEQ);
		fired = sys_fault_fired();
		sys_fault_end();
		assert_true(rc == 0 || fired);
		mode = rc == 0 ? ZDB_SEQ : ZDB_USER;
		assert_int_equal(zdb_ns_mode(u.ns), mode);
		for (unsigned start = 0; start < 2; start++) {
			if (mode == ZDB_SEQ)
				assert_int_equal(zu_insert(&u, "value"), start);
			else
				assert_int_equal(zu_set(&u, "a key of its own", "value"), 0);
			zu_crash(&u);
			assert_int_equal(zu_open(&u), 0);
			assert_int_equal(zdb_ns_mode(u.ns), mode);
		}
		zu_close(&u);
		zu_teardown(&u);
	}
}

/*
 * A sync fails in its thread, and before its owner hears of it a rotation syncs the same files once more, which succeeds: the
 * system tells an error once.  The segment must not count as closed and durable for that.
 */
static void failed_beside_a_rotation(void **state)
{
	(void)state;
	for (unsigned ahead = 0; ahead < 2; ahead++) {
		struct zdb_sync *job;
		uint64_t next;
		char path[900];
		struct zu u;

		zu_setup(&u, ZDB_USER);
		u.opt.rotate_ahead = ahead;
		u.opt.ahead_min = 1;
		assert_int_equal(zu_open(&u), 0);
		assert_int_equal(zu_set(&u, "a", "first"), 0);
		if (ahead) {
			assert_int_equal(zdb_jump(u.ns), 0);
			assert_true(zdb_ns_is_ahead(u.ns));
			job = zdb_tick(u.eng, 1000, &next);
			assert_non_null(job);
		} else {
			assert_int_equal(zdb_sync_begin(u.ns, ZDB_SYNC_DATA, &job), 0);
		}
		sys_fault_begin();
		sys_fault_arm(SYS_CALL_SYNC, 1, EIO);
		assert_int_equal(zdb_sync_run(job), -EIO);
		sys_fault_end();
		assert_int_equal(zdb_jump(u.ns), -EIO);
		assert_int_equal(zdb_sync_done(job), -EIO);
		assert_int_equal(zdb_ns_write_error(u.ns), -EIO);
		zu_path(&u, "default", "d1", path, sizeof(path));
		assert_int_equal(file_exists(path), 0);
		zu_teardown(&u);
	}
}

/* Reads fail from the nth on: a cursor that was given out is told to be unreadable, never to be none. */
static void unreadable_cursor(void **state)
{
	uint8_t cursor[ZDB_CURSOR_SIZE], next[ZDB_CURSOR_SIZE];
	bool fired = true;
	struct zu u;
	int rc;

	(void)state;
	zu_setup(&u, ZDB_USER);
	prepare(&u);
	assert_int_equal(zu_open(&u), 0);
	assert_int_equal(zdb_keycur(u.ns, "k1", 2, cursor), 0); /* in file 0, behind another one */
	for (uint64_t n = 1; fired; n++) {
		sys_fault_begin();
		sys_fault_arm_from(SYS_CALL_READ, n, EIO);
		rc = zdb_scan(u.ns, cursor, sizeof(cursor), false, 0, 0, ignore_entry, NULL, next);
		fired = sys_fault_fired();
		sys_fault_end();
		assert_int_equal(rc, fired ? -EIO : 0);
	}
	zu_close(&u);
	zu_teardown(&u);
}

/* The index was lost, and with it what names the records of the log; a log that cannot be looked at is not made new. */
static void unreadable_log(void **state)
{
	char log[600], path[600];
	struct stat was, is;
	bool fired = true;
	struct zu u;

	(void)state;
	zu_setup(&u, ZDB_USER);
	assert_int_equal(zu_open(&u), 0);
	assert_int_equal(zu_set(&u, "k", "v"), 0);
	zu_close(&u);
	zu_path(&u, "default", "mark", path, sizeof(path));
	assert_int_equal(unlink(path), 0);
	zu_path(&u, "default", "i0", path, sizeof(path));
	assert_int_equal(truncate(path, 29), 0);
	zu_path(&u, "default", "d0", log, sizeof(log));
	assert_int_equal(stat(log, &was), 0);
	for (uint64_t n = 1; fired; n++) {
		int rc;

		sys_fault_begin();
		sys_fault_only("default/d0");
		sys_fault_arm(SYS_CALL_STAT, n, EIO);
		rc = zdb_open(&u.eng, &u.opt, u.why, sizeof(u.why));
		fired = sys_fault_fired();
		sys_fault_end();
		assert_true(rc == 0 || fired);
		assert_int_equal(stat(log, &is), 0);
		assert_true(is.st_size >= was.st_size);
		if (rc == 0)
			break;
	}
	u.ns = zdb_ns_find(u.eng, "default", 7);
	assert_string_equal(zu_get(&u, "k"), "v");
	zu_close(&u);
	zu_teardown(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(short_writes),
		cmocka_unit_test(user_mode),
		cmocka_unit_test(sequential_mode),
		cmocka_unit_test(opening),
		cmocka_unit_test(failed_beside_a_rotation),
		cmocka_unit_test(rewrites_left),
		cmocka_unit_test(refused_mode),
		cmocka_unit_test(half_a_rotation),
		cmocka_unit_test(no_room_for_a_pair),
		cmocka_unit_test(unreadable_cursor),
		cmocka_unit_test(unreadable_log),
	};

	test_in_memory();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
