/*
 * A rotation that goes on before the closed segment is durable: names, reads, what ends it, and what a load makes of each state
 * that a crash can leave. The power-cut matrix (zdb_powercut) cuts it at every call.
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

#include "core/base/file.h"
#include "core/zdb/fmt.h"
#include "tests/unit/support/sys_test.h"
#include "tests/unit/support/zdb_util.h"

static struct {
	unsigned told;
	uint32_t last;
} closed;

static int on_closed(void *ctx, struct zdb_ns *ns, uint32_t n, const char *dirty,
		     const struct zdb_bundle *bundle)
{
	(void)ctx;
	(void)ns;
	(void)dirty;
	assert_null(bundle);
	closed.told++;
	closed.last = n;
	return 0;
}

static const struct zdb_events events = {.segment_closed = on_closed};

static void begin(struct zu *u, enum zdb_mode mode)
{
	memset(&closed, 0, sizeof(closed));
	zu_setup(u, mode);
	u->opt.rotate_ahead = true;
	u->opt.ahead_min = 1;
	u->opt.events = &events;
	assert_int_equal(zu_open(u), 0);
}

/* ---- the files of `default`, in both directories */

struct seen {
	const char *part;
	unsigned count;
	char name[64];
};

static int seen_each(void *ctx, const char *name, unsigned char type)
{
	struct seen *s = ctx;

	(void)type;
	if (strstr(name, s->part) == NULL)
		return 0;
	s->count++;
	snprintf(s->name, sizeof(s->name), "%s", name);
	return 0;
}

static struct seen look(const char *root, const char *part)
{
	struct seen s = {.part = part};
	char dir[400];

	snprintf(dir, sizeof(dir), "%s/default", root);
	assert_int_equal(file_list(dir, seen_each, &s), 0);
	return s;
}

static unsigned temporary(const struct zu *u)
{
	return look(u->data, ".next-").count + look(u->index, ".next-").count;
}

static bool exists(const struct zu *u, bool data, const char *name)
{
	char path[500];

	snprintf(path, sizeof(path), "%s/default/%s", data ? u->data : u->index, name);
	return access(path, F_OK) == 0;
}

static void move(const char *root, const char *from, const char *to)
{
	char a[500], b[500];

	snprintf(a, sizeof(a), "%s/default/%s", root, from);
	snprintf(b, sizeof(b), "%s/default/%s", root, to);
	assert_int_equal(rename(a, b), 0);
}

/* Two values in segment 0, then one in a successor that has no name of its own yet. */
static void go_ahead(struct zu *u)
{
	zu_set(u, "one", "first value");
	zu_set(u, "two", "second value");
	assert_int_equal(zdb_jump(u->ns), 0);
	assert_int_equal(temporary(u), 2);
	assert_false(exists(u, true, "d1"));
	assert_false(exists(u, false, "i1"));
	zu_set(u, "two", "a newer second");
	zu_set(u, "three", "third value");
	assert_int_equal(closed.told, 0);
}

static void all_there(struct zu *u)
{
	assert_string_equal(zu_get(u, "one"), "first value");
	assert_string_equal(zu_get(u, "two"), "a newer second");
	assert_string_equal(zu_get(u, "three"), "third value");
}

static void only_the_closed_one(struct zu *u)
{
	assert_string_equal(zu_get(u, "one"), "first value");
	assert_string_equal(zu_get(u, "two"), "second value");
	assert_null(zu_get(u, "three"));
}

static void finish(struct zu *u)
{
	zu_close(u);
	assert_int_equal(temporary(u), 0);
	zu_check(u, "at the end");
	zu_teardown(u);
}

static void a_sync_gives_it_its_names(void **state)
{
	struct zu u;

	(void)state;
	for (int kind = ZDB_SYNC_DATA; kind <= ZDB_SYNC_DUE; kind++) {
		begin(&u, ZDB_USER);
		go_ahead(&u);
		all_there(&u);
		assert_int_equal(zdb_sync(u.ns, (enum zdb_sync_kind)kind), 0);
		assert_int_equal(temporary(&u), 0);
		assert_true(exists(&u, true, "d1") && exists(&u, false, "i1"));
		assert_int_equal(closed.told, 1);
		assert_int_equal(closed.last, 0);
		all_there(&u);
		zu_crash(&u);
		assert_int_equal(zu_open(&u), 0);
		assert_int_equal(zdb_ns_recovery(u.ns)->log_records, 0); /* the marker stands behind them */
		all_there(&u);
		finish(&u);
	}
}

/* The tick's, one round after the other, with writes between them. */
static void a_tick_does_so_too(void **state)
{
	struct zdb_sync *job;
	struct zu u;
	uint64_t next;
	unsigned rounds = 1;

	(void)state;
	begin(&u, ZDB_USER);
	go_ahead(&u);
	job = zdb_tick(u.eng, 1000, &next);
	assert_non_null(job);
	assert_int_equal(zdb_sync_run(job), 0);
	for (; zdb_sync_done(job) == 1; rounds++) {
		zu_set(&u, "between", rounds % 2 == 0 ? "even" : "odd");
		assert_int_equal(zdb_sync_run(job), 0);
	}
	assert_int_equal(rounds, 4);
	assert_int_equal(temporary(&u), 0);
	assert_int_equal(closed.told, 1);
	all_there(&u);
	assert_string_equal(zu_get(&u, "between"), "odd");
	finish(&u);
}

/* What needs the closed segment, or the names, ends it first, with a sync of the tick begun or not. */
static void everything_else_ends_it(void **state)
{
	struct zdb_sync *job = NULL;
	struct zdb_ns *ns;
	struct zu u;
	uint64_t next;

	(void)state;
	for (int begun = 0; begun <= 2; begun++) {
		begin(&u, ZDB_USER);
		go_ahead(&u);
		if (begun > 0) {
			job = zdb_tick(u.eng, 1000, &next);
			assert_non_null(job);
			assert_int_equal(zdb_sync_run(job), 0);
		}
		if (begun > 1) {
			assert_int_equal(zdb_sync_done(job), 1);
			assert_int_equal(zdb_sync_run(job), 0);
		}
		assert_int_equal(zdb_jump(u.ns), 0); /* the next rotation: not ahead of two */
		assert_int_equal(temporary(&u), 0);
		assert_true(exists(&u, true, "d2"));
		assert_int_equal(closed.told, 2);
		zu_set(&u, "four", "fourth");
		while (begun > 0 && zdb_sync_done(job) == 1)
			assert_int_equal(zdb_sync_run(job), 0);
		assert_int_equal(closed.told, 2);
		zu_crash(&u);
		assert_int_equal(zu_open(&u), 0);
		all_there(&u);
		assert_string_equal(zu_get(&u, "four"), "fourth");
		finish(&u);
	}
	begin(&u, ZDB_USER);
	go_ahead(&u);
	assert_int_equal(zdb_ns_flush(u.ns), 0);
	assert_int_equal(temporary(&u), 0);
	assert_null(zu_get(&u, "one"));
	assert_int_equal(zdb_ns_create(u.eng, "other", 5, &ns), 0);
	u.ns = ns;
	zu_set(&u, "x", "value");
	assert_int_equal(zdb_jump(ns), 0);
	zu_set(&u, "y", "value");
	assert_int_equal(zdb_ns_delete(ns), 0);
	zu_close(&u);
	zu_teardown(&u);
	begin(&u, ZDB_USER);
	go_ahead(&u);
	assert_int_equal(zdb_ns_reload(u.ns), 0);
	assert_int_equal(temporary(&u), 0);
	all_there(&u);
	finish(&u);
	begin(&u, ZDB_USER);
	go_ahead(&u);
	zu_close(&u); /* the stop itself */
	assert_int_equal(zu_open(&u), 0);
	assert_false(zdb_ns_recovery(u.ns)->unclean);
	all_there(&u);
	finish(&u);
}

static void when_it_waits_as_ever(void **state)
{
	struct zu u;

	(void)state;
	for (int why = 0; why < 3; why++) {
		begin(&u, ZDB_USER);
		zu_close(&u);
		u.opt.rotate_ahead = why != 0;
		u.opt.ahead_min = why == 1 ? 0 : 1; /* 1 MiB */
		assert_int_equal(zu_open(&u), 0);
		zu_set(&u, "one", "value");
		if (why == 2)
			assert_int_equal(zdb_sync(u.ns, ZDB_SYNC_DATA), 0);
		assert_int_equal(zdb_jump(u.ns), 0);
		assert_int_equal(temporary(&u), 0);
		assert_true(exists(&u, true, "d1"));
		finish(&u);
	}
}

static void a_kill_takes_nothing_back(void **state)
{
	struct zu u;

	(void)state;
	begin(&u, ZDB_USER);
	go_ahead(&u);
	zu_crash(&u);
	assert_int_equal(zu_open(&u), 0);
	assert_int_equal(temporary(&u), 0);
	assert_true(exists(&u, true, "d1") && exists(&u, false, "i1"));
	assert_int_equal(zdb_ns_recovery(u.ns)->ahead_dropped, 0);
	all_there(&u);
	finish(&u);
	begin(&u, ZDB_SEQ);
	for (int i = 0; i < 3; i++)
		assert_int_equal(zu_insert(&u, "before"), i);
	assert_int_equal(zdb_jump(u.ns), 0);
	assert_int_equal(temporary(&u), 2);
	assert_int_equal(zu_insert(&u, "after"), 3);
	zu_seq_set(&u, 1, "changed");
	zu_seq_del(&u, 2);
	zu_crash(&u);
	assert_int_equal(zu_open(&u), 0);
	assert_int_equal(temporary(&u), 0);
	assert_string_equal(zu_seq_get(&u, 0), "before");
	assert_string_equal(zu_seq_get(&u, 1), "changed");
	assert_null(zu_seq_get(&u, 2));
	assert_string_equal(zu_seq_get(&u, 3), "after");
	assert_int_equal(zu_insert(&u, "next"), 5); /* the change took a place in the index */
	finish(&u);
}

/* Bytes of a file are overwritten; at < 0: from the end; size 0: the file is cut there. */
static void spoil(const struct zu *u, bool data, const char *part, long at, size_t size)
{
	struct seen s = look(data ? u->data : u->index, part);
	char path[500];
	FILE *f;

	assert_true(s.count >= 1);
	snprintf(path, sizeof(path), "%s/default/%s", data ? u->data : u->index, s.name);
	f = fopen(path, "r+b");
	assert_non_null(f);
	assert_int_equal(fseek(f, at, at < 0 ? SEEK_END : SEEK_SET), 0);
	if (size == 0)
		assert_int_equal(ftruncate(fileno(f), ftell(f)), 0);
	while (size-- > 0)
		fputc(0, f);
	fclose(f);
}

/* The closed log is not all there: what came behind it was never durable, and goes. */
static void a_torn_segment_has_no_successor(void **state)
{
	struct zu u;

	(void)state;
	for (int how = 0; how < 5; how++) {
		begin(&u, ZDB_USER);
		go_ahead(&u);
		zu_crash(&u);
		if (how == 0)
			spoil(&u, true, "d0", -4, 0); /* the end is lost */
		else if (how == 1)
			spoil(&u, true, "d0", -4, 4); /* ... and reads as zeros */
		else if (how == 2)
			spoil(&u, true, "d1.next-", 0, 0); /* nothing of it reached the disk */
		else if (how == 3)
			spoil(&u, true, "d1.next-", 0, 26);
		else
			spoil(&u, false, "i1.next-", 0, 29);
		assert_int_equal(zu_open(&u), 0);
		assert_int_equal(temporary(&u), 0);
		assert_false(exists(&u, true, "d1") || exists(&u, false, "i1"));
		assert_int_equal(zdb_ns_recovery(u.ns)->ahead_dropped > 0, how != 2);
		if (how < 2) {
			assert_string_equal(zu_get(&u, "one"), "first value");
			assert_null(zu_get(&u, "two"));
			assert_null(zu_get(&u, "three"));
		} else {
			only_the_closed_one(&u);
		}
		zu_set(&u, "three", "again");
		finish(&u);
	}
}

/* Somebody who does not know these names went on in segment 0. */
static void others_went_on_in_the_closed_one(void **state)
{
	struct zu u;

	(void)state;
	begin(&u, ZDB_USER);
	go_ahead(&u);
	zu_crash(&u);
	move(u.data, look(u.data, ".next-").name, "kept-d");
	move(u.index, look(u.index, ".next-").name, "kept-i");
	assert_int_equal(zu_open(&u), 0);
	only_the_closed_one(&u);
	zu_set(&u, "four", "a value of the same opening");
	zu_crash(&u);
	move(u.data, "kept-d", "d1.next-00000041");
	move(u.index, "kept-i", "i1.next-00000041");
	assert_int_equal(zu_open(&u), 0);
	only_the_closed_one(&u);
	assert_string_equal(zu_get(&u, "four"), "a value of the same opening");
	finish(&u);
}

/* Between the two renames: the closed segment was durable then. */
static void half_named(void **state)
{
	struct zu u;

	(void)state;
	for (int data = 0; data <= 1; data++) {
		const char *root;

		begin(&u, ZDB_USER);
		go_ahead(&u);
		zu_crash(&u);
		root = data ? u.data : u.index;
		move(root, look(root, ".next-").name, data ? "d1" : "i1");
		assert_int_equal(zu_open(&u), 0);
		assert_int_equal(temporary(&u), 0);
		assert_true(exists(&u, true, "d1") && exists(&u, false, "i1"));
		all_there(&u);
		finish(&u);
	}
}

/* Left by a removal that a power cut took back: nothing of them comes back. */
static void litter_goes(void **state)
{
	struct zu u;
	char name[64];

	(void)state;
	begin(&u, ZDB_USER);
	go_ahead(&u);
	zu_crash(&u);
	snprintf(name, sizeof(name), "%s", look(u.data, ".next-").name);
	move(u.data, name, "kept-d");
	move(u.index, look(u.index, ".next-").name, "kept-i");
	assert_int_equal(zu_open(&u), 0);
	assert_int_equal(zdb_sync(u.ns, ZDB_SYNC_DATA), 0);
	zu_set(&u, "one", "x"); /* opens: a new stamp */
	assert_int_equal(zdb_sync(u.ns, ZDB_SYNC_DATA), 0);
	assert_int_equal(zdb_jump(u.ns), 0);
	zu_set(&u, "five", "in the real d1");
	zu_crash(&u);
	move(u.data, "kept-d", name);
	name[0] = 'i';
	move(u.index, "kept-i", name);
	assert_int_equal(zu_open(&u), 0);
	assert_int_equal(temporary(&u), 0);
	assert_string_equal(zu_get(&u, "two"), "second value");
	assert_string_equal(zu_get(&u, "five"), "in the real d1");
	assert_null(zu_get(&u, "three"));
	finish(&u);
}

/* Of rotations that failed before the segment grew, and whose names could not be removed: they do not hide the one that went on. */
static void earlier_names_hide_nothing(void **state)
{
	struct zu u;
	char path[600];

	(void)state;
	begin(&u, ZDB_USER);
	go_ahead(&u);
	zu_crash(&u);
	for (unsigned size = 100; size < 120; size++) { /* the order of a directory is not ours */
		snprintf(path, sizeof(path), "%s/default/d1.next-%08x", u.data, size);
		assert_int_equal(close(open(path, O_CREAT | O_WRONLY, 0600)), 0);
		snprintf(path, sizeof(path), "%s/default/i1.next-%08x", u.index, size);
		assert_int_equal(close(open(path, O_CREAT | O_WRONLY, 0600)), 0);
	}
	assert_int_equal(zu_open(&u), 0);
	assert_int_equal(temporary(&u), 0);
	all_there(&u);
	finish(&u);
}

static void finding(void *ctx, int level, const char *ns, const char *text)
{
	unsigned *said = ctx;

	(void)ns;
	*said += level == 1 && strncmp(text, "i1 and d1 have not got", 22) == 0;
}

static void who_only_looks_sees_the_closed_one(void **state)
{
	unsigned said = 0;
	struct zu u;

	(void)state;
	begin(&u, ZDB_USER);
	go_ahead(&u);
	zu_crash(&u);
	u.opt.read_only = true;
	assert_int_equal(zu_open(&u), 0);
	assert_int_equal(temporary(&u), 2);
	only_the_closed_one(&u);
	zu_crash(&u);
	assert_int_equal(zdb_verify(&u.opt, finding, &said), 1);
	assert_int_equal(said, 1);
	u.opt.read_only = false;
	assert_int_equal(zu_open(&u), 0);
	all_there(&u);
	finish(&u);
}

/* ---- the next rotation goes ahead in the middle of the sync that ends the first */

#define CUTS 3000

struct twice {
	struct zu u;
	struct sim_disk *disk;
	uint64_t from, to; /* calls while the sync went on */
	char out[400];
};

/* The marker stays in segment 0; an update and a deletion there are durable in its log, and nowhere else. */
static void ahead_twice(struct twice *t, enum zdb_mode mode)
{
	struct zdb_sync *job;
	struct zu *u = &t->u;
	uint64_t next;

	begin(u, mode);
	zu_close(u);
	t->disk = sim_disk_begin(u->dir);
	assert_int_equal(zu_open(u), 0);
	for (int i = 0; i < 2; i++)
		assert_true(mode == ZDB_SEQ ? zu_insert(u, "one") == (uint64_t)i
					    : zu_set(u, i == 0 ? "a" : "b", "one") == 0);
	assert_int_equal(zdb_sync(u->ns, ZDB_SYNC_INDEX), 0);
	assert_int_equal(mode == ZDB_SEQ ? zu_seq_set(u, 0, "two") : zu_set(u, "a", "two"), 0);
	assert_int_equal(mode == ZDB_SEQ ? zu_seq_del(u, 1) : zu_del(u, "b"), 0);
	assert_int_equal(zdb_sync(u->ns, ZDB_SYNC_DATA), 0);
	if (mode == ZDB_SEQ)
		(void)zu_insert(u, "not synced");
	else
		zu_set(u, "c", "not synced");
	assert_int_equal(zdb_jump(u->ns), 0);
	assert_true(zdb_ns_is_ahead(u->ns));
	job = zdb_tick(u->eng, 1000, &next);
	assert_non_null(job);
	for (int i = 0; i < 2; i++) { /* the closed segment, the names */
		assert_int_equal(zdb_sync_run(job), 0);
		assert_int_equal(zdb_sync_done(job), 1);
	}
	for (unsigned i = 0; i < 12; i++) {
		if (mode == ZDB_SEQ)
			(void)zu_insert(u, "in segment 1");
		else
			zu_set(u, (char[]){'k', (char)('a' + i), '\0'}, "in segment 1");
	}
	assert_int_equal(zdb_jump(u->ns), 0);
	assert_true(zdb_ns_is_ahead(u->ns));
	t->from = sim_disk_calls(t->disk);
	assert_int_equal(zdb_sync_run(job),
			 0); /* the log of segment 1; the process ends before the marker moves */
	t->to = sim_disk_calls(t->disk);
	assert_int_equal(zdb_sync_done(job), 0);
	zu_crash(u);
	sim_disk_stop(t->disk);
	snprintf(t->out, sizeof(t->out), "%s.cut", u->dir);
}

static void twice_end(struct twice *t)
{
	sim_disk_free(t->disk);
	zu_teardown(&t->u);
}

static void synced_is_there(struct zu *u, enum zdb_mode mode, const char *where)
{
	const char *a = mode == ZDB_SEQ ? zu_seq_get(u, 0) : zu_get(u, "a");

	if (a == NULL || strcmp(a, "two") != 0)
		fail_msg("%s: a synced update is lost: %s", where, a == NULL ? "absent" : a);
	if ((mode == ZDB_SEQ ? zu_seq_get(u, 1) : zu_get(u, "b")) != NULL)
		fail_msg("%s: a synced deletion is lost", where);
}

/* Whatever a power cut leaves of the index file between. */
static void twice_ahead_of_the_marker(void **state)
{
	char where[100];
	struct twice t;
	struct zu v;

	(void)state;
	for (int mode = ZDB_USER; mode <= ZDB_SEQ; mode++) {
		ahead_twice(&t, (enum zdb_mode)mode);
		for (uint64_t seed = 0; seed < CUTS; seed++) {
			sim_disk_materialise(t.disk, t.from + seed % (t.to - t.from + 1),
					     seed / 2 % 2 == 0 ? SIM_PREFIX : SIM_SECTORS, seed, t.out);
			snprintf(where, sizeof(where), "mode %d seed %u", mode, (unsigned)seed);
			zu_at(&v, t.out, (enum zdb_mode)mode);
			assert_int_equal(zu_open(&v), 0);
			synced_is_there(&v, (enum zdb_mode)mode, where);
			zu_crash(&v);
			assert_int_equal(file_rm_tree(t.out), 0);
		}
		twice_end(&t);
	}
}

/* Torn, or gone; and a start that goes wrong at any call leads the next one back to the marker. */
static void a_gap_behind_the_marker(void **state)
{
	char path[600], where[100];
	struct twice t;
	struct zu v;

	(void)state;
	for (int how = 0; how < 3; how++) {
		enum zdb_mode mode = how == 2 ? ZDB_USER : ZDB_SEQ;
		bool fired = true;

		ahead_twice(&t, mode);
		for (uint64_t n = 0; fired; n++) {
			sim_disk_materialise(t.disk, t.to, SIM_KEEP, 0, t.out);
			zu_at(&v, t.out, mode);
			if (how != 0) { /* the closed segment was whole when these came to be */
				move(v.index, look(v.index, "i2.next-").name, "i2");
				move(v.data, look(v.data, "d2.next-").name, "d2");
			}
			zu_path(&v, "default", "i1", path, sizeof(path));
			assert_int_equal(how == 0 ? truncate(path, 512) : unlink(path), 0);
			sys_fault_begin();
			if (n > 0)
				sys_fault_arm_from(SYS_CALL_ANY, n, EIO);
			if (n > 0 && zdb_open(&v.eng, &v.opt, NULL, 0) == 0) {
				zdb_abandon(v.eng);
				v.eng = NULL;
			}
			fired = n == 0 || sys_fault_fired();
			sys_fault_end();
			snprintf(where, sizeof(where), "how %d, call %u", how, (unsigned)n);
			assert_int_equal(zu_open(&v), 0);
			synced_is_there(&v, mode, where);
			zu_close(&v);
			zu_check(&v, where);
			assert_int_equal(file_rm_tree(t.out), 0);
		}
		twice_end(&t);
	}
}

/* Without the log from the marker on nothing is guessed: the owner is asked for it, else the namespace is refused. */
static void without_the_log_between(void **state)
{
	char path[600], why[400];
	struct twice t;
	struct zu v;

	(void)state;
	ahead_twice(&t, ZDB_SEQ);
	sim_disk_materialise(t.disk, t.to, SIM_KEEP, 0, t.out);
	zu_at(&v, t.out, ZDB_SEQ);
	zu_path(&v, "default", "i1", path, sizeof(path));
	assert_int_equal(truncate(path, 512), 0);
	zu_path(&v, "default", "d0", path, sizeof(path));
	assert_int_equal(unlink(path), 0);
	assert_int_equal(zdb_open(&v.eng, &v.opt, why, sizeof(why)), -EIO);
	assert_non_null(strstr(why, "index file i1 is missing or torn, and data file d0"));
	assert_int_equal(file_rm_tree(t.out), 0);
	twice_end(&t);
}

/* A server on media that cannot be written, both of them or one: old values are not served as if they were the last ones. */
static void read_only_media(void **state)
{
	char why[400];
	struct zu u;

	(void)state;
	for (int torn = 0; torn <= 1; torn++) {
		for (int which = 0; which < 3; which++) {
			int rc;

			begin(&u, ZDB_USER);
			go_ahead(&u);
			zu_crash(&u);
			if (torn) /* then nothing of the pair counts */
				spoil(&u, true, "d1.next-", 0, 26);
			sys_fault_begin();
			sys_fault_only(which == 0   ? ".lockfile"
				       : which == 1 ? "index/.lockfile"
						    : "data/.lockfile");
			sys_fault_arm_from(SYS_CALL_OPEN, 1, EROFS);
			rc = zdb_open(&u.eng, &u.opt, why, sizeof(why));
			if (torn) {
				assert_int_equal(rc, 0);
				u.ns = zdb_ns_find(u.eng, "default", 7);
				only_the_closed_one(&u);
				assert_int_equal(zu_del(&u, "one"), -EROFS);
				zu_crash(&u);
			} else {
				assert_int_equal(rc, -EROFS);
				assert_non_null(strstr(why, "recover a copy"));
			}
			sys_fault_end();
			assert_int_equal(temporary(&u), 2);
			assert_int_equal(zu_open(&u), 0);
			if (!torn)
				all_there(&u);
			finish(&u);
		}
	}
}

/*
 * Every call fails once, in the rotation, in what ends it, and in the load after it. What was answered is there when the fault has
 * gone: nothing here lost a page.
 */
static void each_call_fails(void **state)
{
	bool fired = true;

	(void)state;
	for (uint64_t n = 1; fired; n++) {
		char set[2] = "";
		struct zu u;

		begin(&u, ZDB_USER);
		zu_set(&u, "one", "value");
		sys_fault_begin();
		sys_fault_arm(SYS_CALL_ANY, n, EIO);
		if (zdb_jump(u.ns) == 0) {
			struct zdb_set_result r;

			set[0] = zdb_set(u.ns, "two", 3, "value", 5, 1, &r) == 0 ? '2' : '\0';
			(void)zdb_sync(u.ns, ZDB_SYNC_INDEX);
		}
		fired = sys_fault_fired();
		sys_fault_end();
		zu_crash(&u);
		assert_int_equal(zu_open(&u), 0);
		assert_int_equal(temporary(&u), 0);
		assert_string_equal(zu_get(&u, "one"), "value");
		if (set[0] != '\0')
			assert_string_equal(zu_get(&u, "two"), "value");
		finish(&u);
	}
	fired = true;
	for (uint64_t n = 1; fired; n++) {
		struct zu u;
		int rc;

		begin(&u, ZDB_USER);
		go_ahead(&u);
		zu_crash(&u);
		sys_fault_begin();
		sys_fault_arm(SYS_CALL_ANY, n, EIO);
		rc = zdb_open(&u.eng, &u.opt, NULL, 0);
		fired = sys_fault_fired();
		sys_fault_end();
		if (rc == 0)
			zdb_abandon(u.eng);
		u.eng = NULL;
		assert_int_equal(zu_open(&u), 0);
		assert_int_equal(temporary(&u), 0);
		all_there(&u);
		finish(&u);
	}
}

/* ---- compaction */

static const struct zdb_compact_options keep_all = {.keep_s = ZDB_KEEP_ALL};

/* It does not begin with a segment while there is a pair ahead, and none goes ahead while it is there. */
static void compaction_keeps_off(void **state)
{
	struct zdb_compact *c;
	struct zdb_sync *job;
	struct zu u;

	(void)state;
	begin(&u, ZDB_USER);
	zu_set(&u, "two", "dead");
	assert_int_equal(zdb_sync(u.ns, ZDB_SYNC_INDEX), 0);
	assert_int_equal(zdb_jump(u.ns), 0);
	closed.told = 0;
	zu_set(&u, "one", "first value");
	assert_int_equal(zdb_sync_begin(u.ns, ZDB_SYNC_INDEX, &job), 0);
	assert_int_equal(zdb_compact_begin(u.ns, &keep_all, &c), -EBUSY);
	zu_set(&u, "two", "second value");
	assert_int_equal(zdb_jump(u.ns), 0); /* while that one runs */
	do
		assert_int_equal(zdb_sync_run(job), 0);
	while (zdb_sync_done(job) == 1);
	assert_true(zdb_ns_is_ahead(u.ns));
	assert_int_equal(zdb_compact_begin(u.ns, &keep_all, &c), 0);
	assert_int_equal(zdb_compact_run(c), 0);
	assert_int_equal(zdb_compact_done(c), -EBUSY);
	zdb_compact_end(c);
	assert_int_equal(zdb_compact_begin(u.ns, &keep_all, &c), 0);
	zu_set(&u, "two", "a newer second");
	zu_set(&u, "three", "third value");
	assert_int_equal(zdb_sync(u.ns, ZDB_SYNC_INDEX), 0);
	assert_false(zdb_ns_is_ahead(u.ns));
	assert_int_equal(closed.told, 1);
	zu_set(&u, "one", "other value");
	zu_set(&u, "one", "first value");
	assert_int_equal(zdb_jump(u.ns), 0);
	assert_false(zdb_ns_is_ahead(u.ns));
	assert_int_equal(zdb_compact_run(c), 0);
	assert_true(zdb_compact_done(c) > 0);
	zdb_compact_end(c);
	all_there(&u);
	finish(&u);
}

/* A deletion that nothing has made durable ends no history: after a power cut the key has its older version, or is deleted. */
static void compaction_keeps_history(void **state)
{
	struct zdb_compact_figures f;
	struct sim_disk *disk;
	uint8_t next[ZDB_HISTORY_SIZE];
	struct zdb_read rd;
	char out[400];
	bool more = true;
	struct zu u, v;

	(void)state;
	begin(&u, ZDB_USER);
	zu_close(&u);
	disk = sim_disk_begin(u.dir);
	assert_int_equal(zu_open(&u), 0);
	zu_set(&u, "k", "version one");
	zu_set(&u, "k", "version two");
	assert_int_equal(zdb_sync(u.ns, ZDB_SYNC_INDEX), 0);
	assert_int_equal(zdb_jump(u.ns), 0);
	zu_set(&u, "other", "in segment 1");
	assert_int_equal(zdb_sync(u.ns, ZDB_SYNC_INDEX), 0);
	zu_del(&u, "k");
	assert_int_equal(zdb_jump(u.ns), 0);
	assert_true(zdb_ns_is_ahead(u.ns));
	assert_int_equal(zdb_compact(u.ns, &keep_all, &f), 0);
	zu_crash(&u);
	sim_disk_stop(disk);
	snprintf(out, sizeof(out), "%s.cut", u.dir);
	sim_disk_materialise(disk, sim_disk_calls(disk), SIM_DROP, 1, out);
	sim_disk_free(disk);
	zu_at(&v, out, ZDB_USER);
	assert_int_equal(zu_open(&v), 0);
	if (zu_get(&v, "k") != NULL) {
		assert_int_equal(zdb_history(v.ns, "k", 1, NULL, 0, &rd, next, &more, NULL), 0);
		zdb_read_end(v.ns, &rd);
		assert_true(more);
		assert_int_equal(zdb_history(v.ns, "k", 1, next, sizeof(next), &rd, next, &more, NULL), 0);
		zdb_read_end(v.ns, &rd);
	}
	zu_close(&v);
	assert_int_equal(file_rm_tree(out), 0);
	zu_teardown(&u);
}

/* Sequential: the copies of what it moves are in the active index, too, which has no name of its own before. */
static void compaction_finds_copies(void **state)
{
	struct zdb_compact_figures f;
	struct zu u;

	(void)state;
	begin(&u, ZDB_SEQ);
	assert_int_equal(zu_insert(&u, "dead"), 0);
	assert_int_equal(zu_insert(&u, "older"), 1);
	assert_int_equal(zu_seq_del(&u, 0), 0);
	assert_int_equal(zdb_sync(u.ns, ZDB_SYNC_INDEX), 0);
	assert_int_equal(zdb_jump(u.ns), 0);
	assert_int_equal(zu_insert(&u, "in segment 1"), 2);
	assert_int_equal(zdb_jump(u.ns), 0);
	assert_true(zdb_ns_is_ahead(u.ns));
	assert_int_equal(zu_seq_set(&u, 1, "newer"), 0);
	assert_int_equal(zdb_compact(u.ns, &keep_all, &f), 0);
	assert_int_equal(f.rewritten, 1);
	assert_false(zdb_ns_is_ahead(u.ns));
	assert_int_equal(zdb_ns_write_error(u.ns), 0);
	assert_null(zu_seq_get(&u, 0));
	assert_string_equal(zu_seq_get(&u, 1), "newer");
	zu_close(&u);
	zu_check(&u, "at the end");
	zu_teardown(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_sync_gives_it_its_names),
		cmocka_unit_test(a_tick_does_so_too),
		cmocka_unit_test(everything_else_ends_it),
		cmocka_unit_test(when_it_waits_as_ever),
		cmocka_unit_test(a_kill_takes_nothing_back),
		cmocka_unit_test(a_torn_segment_has_no_successor),
		cmocka_unit_test(others_went_on_in_the_closed_one),
		cmocka_unit_test(half_named),
		cmocka_unit_test(litter_goes),
		cmocka_unit_test(earlier_names_hide_nothing),
		cmocka_unit_test(who_only_looks_sees_the_closed_one),
		cmocka_unit_test(twice_ahead_of_the_marker),
		cmocka_unit_test(a_gap_behind_the_marker),
		cmocka_unit_test(without_the_log_between),
		cmocka_unit_test(read_only_media),
		cmocka_unit_test(each_call_fails),
		cmocka_unit_test(compaction_keeps_off),
		cmocka_unit_test(compaction_keeps_history),
		cmocka_unit_test(compaction_finds_copies),
	};

	test_in_memory();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
