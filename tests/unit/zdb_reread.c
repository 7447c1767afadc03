/*
 * Two blows in a row: a failed sync or a kill, at every call of a history, then a load that goes on from there, and when that has had
 * a sync of its own, a power cut.  What the load served, and what was written after it, is there; and what had been answered before the
 * first blow, as far as it was promised.
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

#include "core/base/file.h"
#include "tests/unit/support/sys_test.h"
#include "tests/unit/support/zdb_util.h"

#define KEYS  4u
#define TRIED 24u

/* Text for each key; "" = absent. */
struct state {
	char value[KEYS][16];
};

/* What may be there after a blow: what is promised, or what was tried later. */
struct expected {
	struct state now, promised;
	char tried[KEYS][TRIED][16];
	unsigned count[KEYS];
};

enum blow { SYNC_FAILS, CALL_FAILS, KILL };

struct run {
	struct zu u;
	enum blow blow;
	enum sys_call call; /* that fails */
	bool restart;       /* or RELOAD */
	void (*history)(struct run *r);
	struct expected want;
	char where[200];
};

/* ---- one key */

static int put(struct zu *u, unsigned key, const char *value)
{
	char name[8];

	if (u->opt.mode == ZDB_SEQ)
		return zu_seq_set(u, key, value);
	snprintf(name, sizeof(name), "k%u", key);
	return zu_set(u, name, value);
}

static int del(struct zu *u, unsigned key)
{
	char name[8];

	if (u->opt.mode == ZDB_SEQ)
		return zu_seq_del(u, key);
	snprintf(name, sizeof(name), "k%u", key);
	return zu_del(u, name);
}

static void look(struct zu *u, struct state *s, const char *where)
{
	for (unsigned k = 0; k < KEYS; k++) {
		uint8_t key[8] = {(uint8_t)k}, *value = NULL;
		char name[8];
		size_t size = 0;
		bool seq = u->opt.mode == ZDB_SEQ;
		int n = snprintf(name, sizeof(name), "k%u", k);
		int rc = zu_value(u->ns, seq ? (const void *)key : name, seq ? sizeof(key) : (size_t)n,
				  &value, &size);

		if (rc != 0 && rc != -ENOENT)
			fail_msg("%s: key %u answers %d", where, k, rc);
		snprintf(s->value[k], sizeof(s->value[k]), "%.*s", (int)size, rc == 0 ? (char *)value : "");
		free(value);
	}
}

/* ---- the history: each step may fail, and says what is promised by it if it does not */

static void promise_now(struct run *r)
{
	r->want.promised = r->want.now;
	memset(r->want.count, 0, sizeof(r->want.count));
}

/* value "": deletes. */
static void change(struct run *r, unsigned key, const char *value)
{
	struct expected *e = &r->want;
	int rc = value[0] != '\0' ? put(&r->u, key, value) : del(&r->u, key);

	assert_true(e->count[key] < TRIED);
	snprintf(e->tried[key][e->count[key]++], sizeof(e->tried[key][0]), "%s", value);
	if (rc != 0)
		return;
	snprintf(e->now.value[key], sizeof(e->now.value[key]), "%s", value);
	if (r->blow == SYNC_FAILS || zdb_ns_doubtful(r->u.ns))
		return; /* only a sync promises it */
	memcpy(e->promised.value[key], e->now.value[key], sizeof(e->now.value[key]));
	e->count[key] = 0;
}

static void sync_now(struct run *r, enum zdb_sync_kind kind)
{
	if (zdb_sync(r->u.ns, kind) == 0)
		promise_now(r);
}

static void history_plain(struct run *r)
{
	change(r, 0, "a");
	sync_now(r, ZDB_SYNC_DATA);
	(void)zdb_jump(r->u.ns);
	change(r, 0, "b");
	change(r, 1, "b");
	change(r, 3, "");
	sync_now(r, ZDB_SYNC_DUE); /* rewrites in the first index file */
	change(r, 2, "c");
	(void)zdb_jump(r->u.ns);
	change(r, 0, "d");
	sync_now(r, ZDB_SYNC_INDEX);
	change(r, 1, "e");
	change(r, 2, "e");
	sync_now(r, ZDB_SYNC_DUE);
	change(r, 0, "f");
	sync_now(r, ZDB_SYNC_DATA);
	change(r, 1, "g");
	(void)zdb_jump(r->u.ns);
	change(r, 2, "h");
	sync_now(r, ZDB_SYNC_DUE);
	change(r, 0, "i");
	change(r, 2, "");
}

/* A sync whose rounds run while others write. */
static void sync_beside(struct run *r, unsigned key, const char *value)
{
	struct zdb_sync *job;
	bool alone;
	int rc = zdb_sync_begin(r->u.ns, ZDB_SYNC_INDEX, &job);

	alone = rc == 0 && job == NULL;
	while (job != NULL) {
		(void)zdb_sync_run(job); /* done reports it */
		change(r, key, value);
		rc = zdb_sync_done(job);
		if (rc != 1)
			job = NULL;
	}
	if (alone)
		promise_now(r);
}

static void compact(struct run *r)
{
	struct zdb_compact_options o = {.now_s = 100000, .threshold = 1};
	struct zdb_compact_figures f;

	(void)zdb_compact(r->u.ns, &o, &f);
}

/* Others write while it syncs, and it is compacted. */
static void history_busy(struct run *r)
{
	change(r, 0, "a");
	(void)zdb_jump(r->u.ns);
	change(r, 1, "b");
	sync_beside(r, 0, "c");
	(void)zdb_jump(r->u.ns);
	change(r, 2, "d");
	change(r, 3, "");
	sync_now(r, ZDB_SYNC_DATA);
	compact(r);
	change(r, 1, "e");
	sync_beside(r, 2, "f");
	(void)zdb_jump(r->u.ns);
	sync_now(r, ZDB_SYNC_INDEX);
	compact(r);
	change(r, 0, "g");
	sync_now(r, ZDB_SYNC_DUE);
	change(r, 1, "h");
}

/* Emptied in its middle. */
static void history_flushed(struct run *r)
{
	change(r, 0, "a");
	(void)zdb_jump(r->u.ns);
	change(r, 1, "b");
	sync_now(r, ZDB_SYNC_DATA);
	for (unsigned k = 0; k < KEYS; k++)
		r->want.tried[k][r->want.count[k]++][0] = '\0';
	if (zdb_ns_flush(r->u.ns) == 0) {
		memset(&r->want.now, 0, sizeof(r->want.now));
		promise_now(r);
	}
	change(r, 1, "c");
	change(r, 2, "d");
	sync_now(r, ZDB_SYNC_DATA);
	change(r, 1, "e");
}

/* ---- after the blow */

static void check_promised(const struct run *r, const struct state *s)
{
	for (unsigned k = 0; k < KEYS; k++) {
		bool is_there = strcmp(s->value[k], r->want.promised.value[k]) == 0;

		for (unsigned i = 0; i < r->want.count[k]; i++)
			is_there = is_there || strcmp(s->value[k], r->want.tried[k][i]) == 0;
		if (!is_there)
			fail_msg("%s: key %u is '%s', promised was '%s'", r->where, k, s->value[k],
				 r->want.promised.value[k]);
	}
}

static void check_cut(const struct run *r, struct sim_disk *disk, const struct state *want)
{
	static const enum sim_policy policies[] = {SIM_DROP, SIM_SECTORS, SIM_KEEP};
	unsigned count = r->blow == CALL_FAILS ? 1 : sizeof(policies) / sizeof(policies[0]);
	char out[400], where[300];
	struct state s;
	struct zu u;

	snprintf(out, sizeof(out), "%s.cut", r->u.dir);
	for (unsigned i = 0; i < count; i++) {
		snprintf(where, sizeof(where), "%s, power cut %u", r->where, i);
		sim_disk_materialise(disk, sim_disk_calls(disk), policies[i], i, out);
		zu_at(&u, out, r->u.opt.mode);
		if (zu_open(&u) != 0)
			fail_msg("%s: does not open: %s", where, u.why);
		look(&u, &s, where);
		for (unsigned k = 0; k < KEYS; k++)
			if (strcmp(s.value[k], want->value[k]) != 0)
				fail_msg("%s: key %u is '%s', but '%s' was durable", where, k, s.value[k],
					 want->value[k]);
		zu_crash(&u);
		zu_check(&u, where);
		assert_int_equal(file_rm_tree(out), 0);
	}
}

/* What is served now is believed; a write and a sync later it is durable. */
static void goes_on(struct run *r, struct sim_disk *disk)
{
	struct state s;

	look(&r->u, &s, r->where);
	check_promised(r, &s);
	if (put(&r->u, 0, "last") == 0)
		snprintf(s.value[0], sizeof(s.value[0]), "last");
	else if (s.value[0][0] != '\0' || r->u.opt.mode == ZDB_USER) /* an id that is gone stays so */
		fail_msg("%s: takes no write", r->where);
	if (zdb_sync(r->u.ns, ZDB_SYNC_DATA) != 0)
		fail_msg("%s: takes no sync", r->where);
	zu_crash(&r->u);
	sim_disk_stop(disk);
	check_cut(r, disk, &s);
}

static struct sim_disk *begin(struct run *r)
{
	struct sim_disk *disk;

	assert_int_equal(zu_open(&r->u), 0);
	for (unsigned k = 0; k < KEYS; k++) {
		if (r->u.opt.mode == ZDB_SEQ)
			assert_int_equal(zu_insert(&r->u, "base"), k);
		else
			assert_int_equal(put(&r->u, k, "base"), 0);
	}
	zu_close(&r->u);
	disk = sim_disk_begin(r->u.dir);
	assert_int_equal(zu_open(&r->u), 0);
	memset(&r->want, 0, sizeof(r->want));
	look(&r->u, &r->want.now, r->where);
	promise_now(r);
	return disk;
}

static void end(struct run *r, struct sim_disk *disk)
{
	sim_disk_free(disk);
	assert_int_equal(file_rm_tree(r->u.data), 0);
	assert_int_equal(file_rm_tree(r->u.index), 0);
}

static void strike(const struct run *r, uint64_t n)
{
	sys_fault_begin();
	if (r->blow == KILL) {
		sys_fault_kill(n);
		return;
	}
	if (r->blow == SYNC_FAILS)
		sys_fault_only("default/"); /* not the directory: no journal goes on after such an error */
	sys_fault_arm(r->call, n, EIO);
}

static void load_again(struct run *r)
{
	if (r->restart && zu_open(&r->u) != 0)
		fail_msg("%s: does not open: %s", r->where, r->u.why);
	if (!r->restart && zdb_ns_reload(r->u.ns) != 0)
		fail_msg("%s: cannot be reloaded", r->where);
}

/* False: there is no nth call. */
static bool blow_at(struct run *r, uint64_t n)
{
	struct sim_disk *disk = begin(r);
	bool fired;

	strike(r, n);
	r->history(r);
	fired = sys_fault_fired();
	sys_fault_end();
	if (r->restart)
		zu_crash(&r->u);
	load_again(r);
	goes_on(r, disk);
	end(r, disk);
	return fired;
}

/* The same in a load after the history and a kill, or in a RELOAD, and another load. */
static bool blow_in_load(struct run *r, uint64_t n)
{
	struct sim_disk *disk = begin(r);
	struct zdb *eng = NULL;
	bool fired;
	char why[200];

	r->history(r);
	if (r->restart)
		zu_crash(&r->u);
	strike(r, n);
	if (!r->restart)
		(void)zdb_ns_reload(r->u.ns);
	else if (zdb_open(&eng, &r->u.opt, why, sizeof(why)) == 0)
		zdb_abandon(eng);
	fired = sys_fault_fired();
	sys_fault_end();
	load_again(r);
	goes_on(r, disk);
	end(r, disk);
	return fired;
}

static void matrix(struct run pattern, bool (*one)(struct run *r, uint64_t n), const char *what)
{
	for (unsigned i = 0; i < 4; i++) {
		struct run r = pattern;
		bool fired = true;

		zu_setup(&r.u, i % 2 != 0 ? ZDB_SEQ : ZDB_USER);
		r.u.opt.rotate_ahead = i / 2 != 0;
		r.u.opt.ahead_min = 1;
		for (uint64_t n = 1; fired; n++) {
			snprintf(r.where, sizeof(r.where), "%s mode, ahead %d, %s (%d, %d) at %llu",
				 zu_mode_name(r.u.opt.mode), r.u.opt.rotate_ahead, what, (int)r.call,
				 r.restart, (unsigned long long)n);
			fired = one(&r, n);
			assert_true(n < 1000);
		}
		zu_teardown(&r.u);
	}
}

static void (*const histories[])(struct run *r) = {history_plain, history_busy, history_flushed};

#define HISTORIES (sizeof(histories) / sizeof(histories[0]))

static void both(struct run pattern, bool (*one)(struct run *r, uint64_t n), const char *what)
{
	for (unsigned restart = 0; restart < 2; restart++) {
		pattern.restart = restart != 0;
		matrix(pattern, one, what);
	}
}

static void sync_fails(void **state)
{
	(void)state;
	for (size_t h = 0; h < HISTORIES; h++)
		both((struct run){.blow = SYNC_FAILS, .call = SYS_CALL_SYNC, .history = histories[h]},
		     blow_at, "failed sync");
}

static void sync_fails_in_load(void **state)
{
	(void)state;
	for (size_t h = 0; h < HISTORIES; h++)
		both((struct run){.blow = SYNC_FAILS, .call = SYS_CALL_SYNC, .history = histories[h]},
		     blow_in_load, "failed sync of a load");
}

static const enum sys_call calls[] = {SYS_CALL_OPEN,     SYS_CALL_READ,      SYS_CALL_WRITE,
				      SYS_CALL_TRUNCATE, SYS_CALL_FALLOCATE, SYS_CALL_RENAME,
				      SYS_CALL_UNLINK,   SYS_CALL_STAT,      SYS_CALL_ATTR};

/* RELOAD and restart by turns. */
static void each_call(bool (*one)(struct run *r, uint64_t n), const char *what)
{
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		matrix((struct run){.blow = CALL_FAILS,
				    .call = calls[i],
				    .restart = i % 2 != 0,
				    .history = history_plain},
		       one, what);
}

static void call_fails(void **state)
{
	(void)state;
	each_call(blow_at, "failed call");
}

static void call_fails_in_load(void **state)
{
	(void)state;
	each_call(blow_in_load, "failed call of a load");
}

static void killed(void **state)
{
	(void)state;
	for (size_t h = 0; h < HISTORIES; h++)
		matrix((struct run){.blow = KILL, .restart = true, .history = histories[h]}, blow_at, "kill");
}

static void killed_in_load(void **state)
{
	(void)state;
	for (size_t h = 0; h < HISTORIES; h++)
		matrix((struct run){.blow = KILL, .restart = true, .history = histories[h]}, blow_in_load,
		       "kill in a load");
}

/* More index files than are synced one by one. */
static void many_files(void **state)
{
	struct run r = {.blow = KILL, .restart = true, .where = "many files"};
	struct sim_disk *disk;

	(void)state;
	zu_setup(&r.u, ZDB_USER);
	disk = begin(&r);
	for (unsigned i = 0; i < 70; i++)
		assert_int_equal(zdb_jump(r.u.ns), 0);
	change(&r, 1, "a");
	change(&r, 3, "");
	assert_int_equal(zdb_sync(r.u.ns, ZDB_SYNC_DUE), 0); /* the first index file has it, unsynced */
	zu_crash(&r.u);
	load_again(&r);
	goes_on(&r, disk);
	end(&r, disk);
	zu_teardown(&r.u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sync_fails),         cmocka_unit_test(killed),
		cmocka_unit_test(sync_fails_in_load), cmocka_unit_test(killed_in_load),
		cmocka_unit_test(call_fails),         cmocka_unit_test(call_fails_in_load),
		cmocka_unit_test(many_files),
	};

	test_in_memory();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
