/*
 * Compaction against a model: what lives stays, what was promised of history stays, what is dropped is gone from the disk;
 * while it runs, at every step, with writes in between; with the power cut at every call; with every call and allocation
 * failing once; over damage; with proofs, readers in flight and lost index files around it.
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
#include <errno.h>
#include <cmocka.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/endian.h"
#include "core/base/file.h"
#include "core/zdb/compact_int.h"
#include "tests/unit/support/sys_test.h"
#include "tests/unit/support/zdb_util.h"

#define KEYS      12u
#define OPS       150u
#define IDS       (OPS * 2u)
#define VALUE_MAX 1500u

struct op {
	uint32_t len;
	uint16_t fill;   /* of the value */
	uint16_t before; /* version of the key that it superseded: 0 none, else 1 + operation */
	uint64_t calls;  /* recorded when it began */
};

struct run {
	struct zu u;
	enum zdb_mode mode;
	uint64_t keep_s, rng;
	struct sim_disk *disk;
	unsigned ops;
	struct op op[OPS];
	uint16_t state[OPS + 1][IDS]; /* version of each key after so many operations, as in `before` */
	struct {
		uint64_t calls;
		unsigned ops;
	} acks[OPS];
	unsigned ack_count, steps;
};

static void value_fill(uint8_t *b, const struct op *o)
{
	for (uint32_t i = 0; i < o->len; i++)
		b[i] = (uint8_t)(o->fill * 31 + i * 7 + i / 251 + 1);
}

static size_t key_fill(const struct run *r, unsigned key, uint8_t b[8])
{
	if (r->mode == ZDB_SEQ) {
		put_u64le(b, key);
		return 8;
	}
	return (size_t)snprintf((char *)b, 8, "k%u", key);
}

static unsigned keys_of(const struct run *r)
{
	return r->mode == ZDB_SEQ ? IDS : KEYS;
}

/* ------------------------------------------------------------------------------------------------------- writing --- */

static void do_set(struct run *r, unsigned key, bool insert)
{
	static uint8_t buf[VALUE_MAX];
	struct op *o = &r->op[r->ops];
	uint16_t before = insert ? 0 : r->state[r->ops][key];
	uint8_t k[8];
	struct zdb_set_result res;

	o->len = test_random(&r->rng) % 5 == 0 ? 0 : (uint32_t)(test_random(&r->rng) % VALUE_MAX);
	o->fill = (uint16_t)r->ops;
	/* The value before the last one again: two versions that nothing but their place tells apart. */
	if (before != 0 && r->op[before - 1].before != 0 && test_random(&r->rng) % 2 == 0) {
		o->len = r->op[r->op[before - 1].before - 1].len;
		o->fill = r->op[r->op[before - 1].before - 1].fill;
	}
	o->calls = r->disk == NULL ? 0 : sim_disk_calls(r->disk);
	o->before = before;
	value_fill(buf, o);
	assert_int_equal(
		zdb_set(r->u.ns, k, insert ? 0 : key_fill(r, key, k), buf, o->len, 1000 + r->ops, &res), 0);
	if (insert)
		key = (unsigned)get_u64le(res.key);
	assert_true(key < IDS);
	memcpy(r->state[r->ops + 1], r->state[r->ops], sizeof(r->state[0]));
	if (res.outcome != ZDB_UNCHANGED)
		r->state[r->ops + 1][key] = (uint16_t)(r->ops + 1);
	r->ops++;
}

static void do_del(struct run *r, unsigned key)
{
	uint8_t k[8];

	r->op[r->ops] = (struct op){.calls = r->disk == NULL ? 0 : sim_disk_calls(r->disk)};
	assert_int_equal(zdb_del(r->u.ns, k, key_fill(r, key, k), 1000), 0);
	memcpy(r->state[r->ops + 1], r->state[r->ops], sizeof(r->state[0]));
	r->state[r->ops + 1][key] = 0;
	r->ops++;
}

static void do_sync(struct run *r, enum zdb_sync_kind kind)
{
	unsigned ops = r->ops;

	assert_int_equal(zdb_sync(r->u.ns, kind), 0);
	if (r->disk != NULL && r->ack_count < OPS) {
		r->acks[r->ack_count].calls = sim_disk_calls(r->disk);
		r->acks[r->ack_count++].ops = ops;
	}
}

/* What the server does each second: rewrites that wait get into the index files, unsynced. */
static void do_tick(struct run *r)
{
	uint64_t next;
	struct zdb_sync *job = zdb_tick(r->u.eng, 1000000 + r->ops * 5000, &next);

	if (job == NULL)
		return;
	assert_int_equal(zdb_sync_run(job), 0);
	while (zdb_sync_done(job) == 1)
		assert_int_equal(zdb_sync_run(job), 0);
}

static void one_op(struct run *r)
{
	unsigned live[IDS], count = 0, dice = (unsigned)(test_random(&r->rng) % 100);

	if (r->ops == OPS)
		return;
	for (unsigned k = 0; k < keys_of(r); k++)
		if (r->state[r->ops][k] != 0)
			live[count++] = k;
	if (count == 0 || dice < (r->mode == ZDB_SEQ ? 20u : 15u))
		do_set(r, (unsigned)(test_random(&r->rng) % KEYS), r->mode == ZDB_SEQ);
	else if (dice < 80)
		do_set(r, live[test_random(&r->rng) % count], false);
	else if (dice < 92)
		do_del(r, live[test_random(&r->rng) % count]);
	else if (dice < 96)
		do_sync(r, dice < 94 ? ZDB_SYNC_DATA : ZDB_SYNC_INDEX);
	else
		do_tick(r);
}

/* Four closed segments and an active one; the disk is not recorded yet. */
static void prepare(struct run *r, unsigned each)
{
	assert_int_equal(zu_open(&r->u), 0);
	for (unsigned n = 0; n < 4; n++) {
		for (unsigned i = 0; i < each; i++)
			one_op(r);
		assert_int_equal(zdb_jump(r->u.ns), 0);
	}
	zu_close(&r->u);
}

/* -------------------------------------------------------------------------------------------------------- reading --- */

static bool same(const struct op *o, const uint8_t *value, size_t size)
{
	static uint8_t want[VALUE_MAX];

	value_fill(want, o);
	return size == o->len && memcmp(want, value, size) == 0;
}

/* The version that a key holds, 0 absent. */
static unsigned version_of(struct run *r, struct zu *u, unsigned key, const char *where)
{
	struct zdb_meta meta;
	uint8_t k[8], *value;
	size_t size;
	int rc = zu_value(u->ns, k, key_fill(r, key, k), &value, &size);
	unsigned found;

	if (rc == -ENOENT)
		return 0;
	if (rc != 0)
		fail_msg("%s: key %u answers %d", where, key, rc);
	assert_int_equal(zdb_stat(u->ns, k, key_fill(r, key, k), &meta), 0);
	found = meta.timestamp - 1000 + 1;
	if (found == 0 || found > r->ops || r->state[found][key] != found ||
	    !same(&r->op[found - 1], value, size))
		fail_msg("%s: key %u has a value that was never written to it", where, key);
	free(value);
	return found;
}

static bool must_be_kept(const struct run *r, unsigned version)
{
	if (r->keep_s == ZDB_KEEP_ALL)
		return true;
	return r->keep_s != ZDB_KEEP_NONE && version - 1 + r->keep_s >= OPS;
}

/* HISTORY gives the versions of the model, newest first, down to one that may be gone, and says so itself. */
static void check_history(struct run *r, struct zu *u, unsigned key, unsigned version, const char *where)
{
	uint8_t k[8], cursor[8], buf[VALUE_MAX];
	size_t klen = key_fill(r, key, k), size = 0;

	for (;;) {
		unsigned before = r->op[version - 1].before;
		struct zdb_read rd;
		bool more;
		int rc = zdb_history(u->ns, k, klen, cursor, size, &rd, cursor, &more, NULL);

		if (rc != 0)
			fail_msg("%s: history of key %u: version %u answers %d", where, key, version, rc);
		assert_true(rd.length <= VALUE_MAX);
		rc = zdb_read_run(&rd, 0, rd.length, buf);
		zdb_read_end(u->ns, &rd);
		if (rc != 0 || rd.timestamp != 1000 + version - 1 ||
		    !same(&r->op[version - 1], buf, rd.length))
			fail_msg("%s: history of key %u: version %u has another value (%d)", where, key,
				 version, rc);
		if (!more && before != 0 && must_be_kept(r, before))
			fail_msg("%s: history of key %u ends before version %u", where, key, before);
		if (more && before == 0)
			fail_msg("%s: history of key %u goes on before version %u", where, key, version);
		if (!more)
			return;
		version = before;
		size = 8;
	}
}

static bool count_one(void *ctx, const struct zdb_entry *e)
{
	(void)e;
	++*(unsigned *)ctx;
	return true;
}

static void check_scan(struct zu *u, unsigned live, const char *where)
{
	for (int backward = 0; backward < 2; backward++) {
		unsigned listed = 0;
		uint8_t next[17];
		int rc = zdb_scan(u->ns, NULL, 0, backward, 0, 0, count_one, &listed, next);

		if (listed != live || (rc != 0 && live != 0))
			fail_msg("%s: SCAN lists %u of %u (%d)", where, listed, live, rc);
	}
}

/* All keys as after `ops` operations. */
static void check_state(struct run *r, struct zu *u, unsigned ops, const char *where)
{
	struct zdb_ns_info info;
	unsigned live = 0;

	for (unsigned k = 0; k < keys_of(r); k++) {
		unsigned want = r->state[ops][k], got = version_of(r, u, k, where);

		if (want != got)
			fail_msg("%s: key %u is version %u, not %u", where, k, got, want);
		live += want != 0;
		if (want != 0)
			check_history(r, u, k, want, where);
	}
	zdb_ns_info(u->ns, &info);
	assert_int_equal(info.entries, live);
	check_scan(u, live, where);
}

static void finding(void *ctx, int level, const char *ns, const char *text)
{
	(void)ns;
	if (level > 0)
		fail_msg("%s: check: %s", (const char *)ctx, text);
}

static uint64_t data_bytes(struct zu *u, unsigned segments)
{
	uint64_t sum = 0;

	for (unsigned n = 0; n < segments; n++) {
		char name[16], path[900];
		struct stat st;

		snprintf(name, sizeof(name), "d%u", n);
		zu_path(u, "default", name, path, sizeof(path));
		assert_int_equal(stat(path, &st), 0);
		sum += (uint64_t)st.st_size;
	}
	return sum;
}

static struct zdb_compact_options options_of(const struct run *r, unsigned step)
{
	return (struct zdb_compact_options){.keep_s = r->keep_s, .now_s = 1000 + OPS, .step = step};
}

static struct run *run_new(enum zdb_mode mode, uint64_t keep_s, uint64_t seed)
{
	struct run *r = calloc(1, sizeof(*r));

	assert_non_null(r);
	r->mode = mode;
	r->keep_s = keep_s;
	r->rng = seed;
	zu_setup(&r->u, mode);
	return r;
}

static void run_free(struct run *r)
{
	if (r->disk != NULL)
		sim_disk_free(r->disk);
	zu_teardown(&r->u);
	free(r);
}

/* ------------------------------------------------------------------------------------------------- it does its work --- */

static void reclaim(enum zdb_mode mode, uint64_t keep_s, uint64_t seed)
{
	struct run *r = run_new(mode, keep_s, seed);
	struct zdb_compact_options o = options_of(r, 0);
	struct zdb_compact_figures f, again;
	uint64_t before;

	prepare(r, 30);
	assert_int_equal(zu_open(&r->u), 0);
	before = data_bytes(&r->u, 4);
	assert_int_equal(zdb_compact(r->u.ns, &o, &f), 0);
	assert_int_equal(f.files, 4);
	assert_int_equal(f.refused + f.absent, 0);
	assert_int_equal(f.bytes_before, before);
	assert_int_equal(f.bytes_after, data_bytes(&r->u, 4));
	if (keep_s == ZDB_KEEP_NONE) {
		assert_int_equal(f.rewritten, 4);
		assert_true(f.bytes_after < before * 2 / 3);
	}
	check_state(r, &r->u, r->ops, "compacted");
	/* Nothing is left to be done, and that is seen without copying. */
	assert_int_equal(zdb_compact(r->u.ns, &o, &again), 0);
	assert_int_equal(again.rewritten, 0);
	assert_int_equal(again.bytes_after, f.bytes_after);
	zu_close(&r->u);
	assert_int_equal(zdb_verify(&r->u.opt, finding, "compacted"), 0);
	assert_int_equal(zu_open(&r->u), 0);
	assert_false(zdb_ns_recovery(r->u.ns)->unclean);
	check_state(r, &r->u, r->ops, "opened again");
	if (mode == ZDB_SEQ) { /* ids go on where they were */
		struct zdb_ns_info info;

		zdb_ns_info(r->u.ns, &info);
		assert_int_equal(zu_insert(&r->u, "next"), info.next_id);
	}
	zu_close(&r->u);
	run_free(r);
}

static void reclaims(void **state)
{
	uint64_t seed = *(uint64_t *)*state;

	for (unsigned i = 0; i < 5; i++) {
		reclaim(ZDB_USER, ZDB_KEEP_NONE, seed + i);
		reclaim(ZDB_SEQ, ZDB_KEEP_NONE, seed + i);
		reclaim(ZDB_USER, ZDB_KEEP_ALL, seed + i);
		reclaim(ZDB_SEQ, ZDB_KEEP_ALL, seed + i);
		reclaim(ZDB_USER, 70, seed + i);
		reclaim(ZDB_SEQ, 70, seed + i);
	}
}

/* A file is left alone when too little would be gained. */
static void threshold(void **state)
{
	struct zdb_compact_options o = {.threshold = 50};
	struct zdb_compact_figures f;
	struct zu u;

	(void)state;
	zu_setup(&u, ZDB_USER);
	assert_int_equal(zu_open(&u), 0);
	assert_int_equal(zu_set(&u, "a", "0123456789"), 0);
	assert_int_equal(zu_set(&u, "b", "0123456789"), 0);
	assert_int_equal(zu_set(&u, "c", "0123456789"), 0);
	assert_int_equal(zu_set(&u, "c", "x"), 0);
	assert_int_equal(zdb_jump(u.ns), 0);
	assert_int_equal(zdb_compact(u.ns, &o, &f), 0);
	assert_int_equal(f.rewritten, 0);
	o.threshold = 10;
	assert_int_equal(zdb_compact(u.ns, &o, &f), 0);
	assert_int_equal(f.rewritten, 1);
	assert_int_equal(f.bytes_before - f.bytes_after, 18 + 1 + 10);
	assert_int_equal(f.dropped, 1);
	zu_close(&u);
	zu_teardown(&u);
}

/* -------------------------------------------------------------------------------------------- while others go on --- */

/* One compaction in steps of a few records, with operations and a look at everything in between. */
static void interleaved(struct run *r, unsigned ops_each, bool look)
{
	struct zdb_compact_options o = options_of(r, 2);
	struct zdb_compact *c;
	int rc;

	assert_int_equal(zdb_compact_begin(r->u.ns, &o, &c), 0);
	do {
		(void)zdb_compact_run(c);
		for (unsigned i = 0; i < ops_each; i++)
			if (test_random(&r->rng) % 3 == 0)
				one_op(r);
		if (test_random(&r->rng) % 2 == 0)
			do_tick(r);
		rc = zdb_compact_done(c);
		r->steps++;
		if (look)
			check_state(r, &r->u, r->ops, "in between");
		if (test_random(&r->rng) % 40 == 0)
			assert_int_equal(zdb_jump(r->u.ns), 0);
	} while (rc > 0);
	assert_int_equal(rc, 0);
	zdb_compact_end(c);
}

static void while_writing(enum zdb_mode mode, uint64_t keep_s, uint64_t seed)
{
	struct run *r = run_new(mode, keep_s, seed);

	prepare(r, 25);
	r->u.opt.gather_writes = seed % 2 == 0;
	assert_int_equal(zu_open(&r->u), 0);
	interleaved(r, 2, true);
	assert_true(r->steps > 12);
	check_state(r, &r->u, r->ops, "afterwards");
	zu_close(&r->u);
	assert_int_equal(zdb_verify(&r->u.opt, finding, "afterwards"), 0);
	assert_int_equal(zu_open(&r->u), 0);
	check_state(r, &r->u, r->ops, "opened again");
	zu_close(&r->u);
	run_free(r);
}

static void others_go_on(void **state)
{
	uint64_t seed = *(uint64_t *)*state;

	for (unsigned i = 0; i < 8; i++) {
		while_writing(ZDB_USER, ZDB_KEEP_NONE, seed + i);
		while_writing(ZDB_SEQ, ZDB_KEEP_NONE, seed + i);
		while_writing(ZDB_USER, ZDB_KEEP_ALL, seed + i);
		while_writing(ZDB_SEQ, ZDB_KEEP_ALL, seed + i);
	}
}

/* ------------------------------------------------------------------------------------------------------- power cuts --- */

static int no_note(void *ctx, const char *name, unsigned char type)
{
	(void)type;
	if (strcmp(name, "compact") == 0 || strcmp(name, "reindex") == 0 || strstr(name, ".new") != NULL ||
	    strstr(name, ".tmp") != NULL)
		fail_msg("%s: %s is left", (const char *)ctx, name);
	return 0;
}

static void no_litter(struct zu *u, char *where)
{
	char path[900];

	zu_path(u, "default", "", path, sizeof(path));
	assert_int_equal(file_list(path, no_note, where), 0);
	snprintf(path, sizeof(path), "%s/default", u->data);
	assert_int_equal(file_list(path, no_note, where), 0);
}

static int matching_prefix(struct run *r, struct zu *u, unsigned lower, unsigned upper, const char *where)
{
	unsigned got[IDS];

	for (unsigned k = 0; k < keys_of(r); k++)
		got[k] = version_of(r, u, k, where);
	for (unsigned p = lower; p <= upper; p++) {
		bool equal = true;

		for (unsigned k = 0; k < keys_of(r) && equal; k++)
			equal = got[k] == r->state[p][k];
		if (equal)
			return (int)p;
	}
	return -1;
}

static void check_cut(struct run *r, unsigned first, uint64_t cut, enum sim_policy policy, const char *out)
{
	struct zdb_compact_options o = options_of(r, 3);
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
	no_litter(&u, where);
	p = matching_prefix(r, &u, lower, upper, where);
	if (p < 0)
		fail_msg("%s: not the state after any of %u..%u operations", where, lower, upper);
	check_state(r, &u, (unsigned)p, where);
	/* It goes on from there. */
	assert_int_equal(zdb_compact(u.ns, &o, &f), 0);
	if (f.refused != 0)
		fail_msg("%s: a file is refused", where);
	strncat(where, ", compacted again", sizeof(where) - strlen(where) - 1);
	check_state(r, &u, (unsigned)p, where);
	zu_close(&u);
	assert_int_equal(zdb_verify(&u.opt, finding, where), 0);
	assert_int_equal(file_rm_tree(out), 0);
}

static void cut_everywhere(enum zdb_mode mode, uint64_t keep_s, uint64_t seed)
{
	struct run *r = run_new(mode, keep_s, seed);
	unsigned first;
	uint64_t calls;
	char out[400];

	prepare(r, 9);
	first = r->ops;
	r->disk = sim_disk_begin(r->u.dir);
	r->u.opt.gather_writes = seed % 2 == 0;
	assert_int_equal(zu_open(&r->u), 0);
	interleaved(r, 1, false);
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
	run_free(r);
}

static void power_cuts(void **state)
{
	uint64_t seed = *(uint64_t *)*state;

	cut_everywhere(ZDB_USER, ZDB_KEEP_NONE, seed);
	cut_everywhere(ZDB_SEQ, ZDB_KEEP_NONE, seed + 1);
	cut_everywhere(ZDB_USER, ZDB_KEEP_ALL, seed + 2);
	cut_everywhere(ZDB_SEQ, ZDB_KEEP_ALL, seed + 3);
}

/* -------------------------------------------------------------------------------------------------- index files --- */

/* Compacted, and the index files after it; the disk is recorded during the latter. */
static void index_run(struct run *r, bool record)
{
	struct zdb_compact_options o = options_of(r, 0);
	struct zdb_compact_figures f;
	uint64_t before, after;

	prepare(r, 20);
	assert_int_equal(zu_open(&r->u), 0);
	for (unsigned i = 0; i < 10; i++)
		one_op(r);
	assert_int_equal(zdb_compact(r->u.ns, &o, &f), 0);
	zu_close(&r->u);
	if (record)
		r->disk = sim_disk_begin(r->u.dir);
	assert_int_equal(zu_open(&r->u), 0);
	assert_int_equal(zdb_compact_index(r->u.ns, 0, &before, &after), 0);
	assert_true(r->mode == ZDB_SEQ ? before == 0 : after < before);
	check_state(r, &r->u, r->ops, "index rewritten");
	assert_int_equal(zdb_compact_index(r->u.ns, 0, &before, &after), 0);
	assert_int_equal(before, after);
	if (!record)
		for (unsigned i = 0; i < 10; i++)
			one_op(r);
	zu_close(&r->u);
	if (record)
		sim_disk_stop(r->disk);
}

/* `previous` leads from each record to the one before it, over the borders of files, and no record is without data. */
static void check_previous(struct run *r)
{
	uint32_t last = 0;

	for (unsigned n = 0;; n++) {
		char name[16];
		size_t size, at = 29;
		uint8_t *b;

		snprintf(name, sizeof(name), "i%u", n);
		b = zu_file(&r->u, "default", name, &size);
		if (b == NULL)
			return;
		for (; at < size; at += 34u + b[at]) {
			assert_int_equal(get_u32le(b + at + 9), last);
			assert_true(r->mode == ZDB_SEQ || get_u32le(b + at + 1) != 0);
			last = (uint32_t)at;
		}
		assert_int_equal(at, size);
		free(b);
	}
}

static void index_files(void **state)
{
	uint64_t seed = *(uint64_t *)*state;

	for (unsigned i = 0; i < 12; i++) {
		struct run *r =
			run_new(i % 4 == 3 ? ZDB_SEQ : ZDB_USER, i % 2 == 0 ? ZDB_KEEP_NONE : 60, seed + i);

		index_run(r, false);
		assert_int_equal(zdb_verify(&r->u.opt, finding, "index rewritten"), 0);
		assert_int_equal(zu_open(&r->u), 0);
		assert_false(zdb_ns_recovery(r->u.ns)->foreign);
		check_state(r, &r->u, r->ops, "opened again");
		zu_close(&r->u);
		check_previous(r);
		run_free(r);
	}
}

static void index_cuts(void **state)
{
	static const enum sim_policy policies[] = {SIM_KEEP, SIM_DROP, SIM_RANDOM};
	uint64_t seed = *(uint64_t *)*state;
	struct run *r = run_new(ZDB_USER, 60, seed);
	uint64_t calls, before, after;
	char out[400], where[400], what[200];

	index_run(r, true);
	calls = sim_disk_calls(r->disk);
	snprintf(out, sizeof(out), "%s.cut", r->u.dir);
	for (uint64_t cut = 0; cut <= calls; cut++) {
		for (unsigned i = 0; i < 3; i++) {
			struct zu u;

			sim_disk_materialise(r->disk, cut, policies[i], cut + 3, out);
			snprintf(where, sizeof(where), "cut %llu (%s) policy %u", (unsigned long long)cut,
				 cut == 0 ? "-" : sim_disk_describe(r->disk, cut - 1, what, sizeof(what)), i);
			zu_at(&u, out, r->mode);
			if (zu_open(&u) != 0)
				fail_msg("%s: does not open: %s", where, u.why);
			no_litter(&u, where);
			check_state(r, &u, r->ops, where);
			assert_int_equal(zdb_compact_index(u.ns, 0, &before, &after), 0);
			check_state(r, &u, r->ops, where);
			zu_close(&u);
			assert_int_equal(zdb_verify(&u.opt, finding, where), 0);
			assert_int_equal(file_rm_tree(out), 0);
		}
	}
	print_message("index: %llu cuts, 3 states each\n", (unsigned long long)calls + 1);
	run_free(r);
}

/* ---------------------------------------------------------------------------------------------------------- faults --- */

static void copy_tree(struct zu *u, const char *to)
{
	char command[900];

	snprintf(command, sizeof(command), "rm -rf '%s' && cp -a '%s' '%s'", to, u->dir, to);
	assert_int_equal(system(command), 0);
}

/* One call or allocation of a compaction fails; false: it makes fewer. */
static bool one_fault(struct run *r, const char *dir, uint64_t n, bool memory)
{
	struct zdb_compact_options o = options_of(r, 3);
	struct zdb_compact_figures f;
	char where[100];
	struct zu u;
	uint64_t before, after;
	bool fired;
	int rc, index = 0;

	snprintf(where, sizeof(where), "%s %llu fails", memory ? "allocation" : "call",
		 (unsigned long long)n);
	copy_tree(&r->u, dir);
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
		check_state(r, &u, r->ops, where);
	zu_crash(&u);
	if (memory)
		assert_int_equal(mem_fault_end(), 0);
	assert_int_equal(zu_open(&u), 0);
	check_state(r, &u, r->ops, where);
	assert_int_equal(zdb_compact(u.ns, &o, &f), 0);
	assert_int_equal(f.refused, 0);
	assert_int_equal(zdb_compact_index(u.ns, 0, &before, &after), 0);
	check_state(r, &u, r->ops, where);
	zu_close(&u);
	no_litter(&u, where);
	assert_int_equal(zdb_verify(&u.opt, finding, where), 0);
	return fired;
}

static void faults_of(enum zdb_mode mode, uint64_t keep_s, uint64_t seed)
{
	struct run *r = run_new(mode, keep_s, seed);
	char dir[400];
	uint64_t n;

	prepare(r, 6);
	snprintf(dir, sizeof(dir), "%s.fault", r->u.dir);
	for (n = 1; one_fault(r, dir, n, false); n++)
		;
	print_message("mode %d keep %d: %llu calls failed", (int)mode, keep_s != 0,
		      (unsigned long long)n - 1);
	for (n = 1; one_fault(r, dir, n, true); n++)
		;
	print_message(", %llu allocations\n", (unsigned long long)n - 1);
	assert_int_equal(file_rm_tree(dir), 0);
	run_free(r);
}

static void faults(void **state)
{
	uint64_t seed = *(uint64_t *)*state;

	faults_of(ZDB_USER, ZDB_KEEP_NONE, seed);
	faults_of(ZDB_SEQ, ZDB_KEEP_ALL, seed);
}

/* ---------------------------------------------------------------------------------------------- what is around it --- */

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

/* All index files are lost: they are made again from the log, and nothing rises from the dead. */
static void index_lost(struct zu *u)
{
	for (unsigned n = 0; n < 3; n++) {
		char name[8], path[900];

		snprintf(name, sizeof(name), "i%u", n);
		zu_path(u, "default", name, path, sizeof(path));
		assert_int_equal(unlink(path), 0);
	}
	assert_int_equal(zu_open(u), 0);
	assert_null(zu_get(u, "gone"));
	assert_non_null(zu_get(u, "there"));
	assert_string_equal(zu_get(u, "x"), "new");
}

/* Deletion markers go when nothing that they delete can come back, and not before. */
static void markers(void **state)
{
	struct zdb_compact_options o = {.threshold = 40};
	struct zdb_compact_figures f;
	struct zu u;

	(void)state;
	zu_setup(&u, ZDB_USER);
	assert_int_equal(zu_open(&u), 0);
	assert_int_equal(zu_set(&u, "gone", "value"), 0);
	assert_int_equal(zu_set(&u, "there", "a value that is much longer than what is gone"), 0);
	assert_int_equal(zdb_jump(u.ns), 0);
	assert_int_equal(zu_set(&u, "x", "a value that is much longer than what is left of this file"), 0);
	assert_int_equal(zu_del(&u, "gone"), 0);
	assert_int_equal(zu_set(&u, "x", "new"), 0);
	assert_int_equal(zdb_jump(u.ns), 0);
	/* d0 is left as it is: the marker in d1 must stay. */
	assert_int_equal(zdb_compact(u.ns, &o, &f), 0);
	assert_int_equal(f.rewritten, 1);
	assert_int_equal(f.dropped, 1);
	zu_close(&u);
	index_lost(&u);
	o.threshold = 0;
	assert_int_equal(zdb_compact(u.ns, &o, &f), 0);
	assert_int_equal(f.rewritten, 2);
	assert_int_equal(f.dropped, 2);
	assert_int_equal(f.bytes_after, 28 + 18 + 5 + 45 + 28 + 18 + 1 + 3);
	zu_close(&u);
	index_lost(&u);
	zu_close(&u);
	zu_teardown(&u);
}

/* Lost index files after a compaction: the log still tells everything, stubs included. */
static void rebuilt(void **state)
{
	uint64_t seed = *(uint64_t *)*state;

	for (unsigned i = 0; i < 12; i++) {
		struct run *r = run_new(i % 2 == 0 ? ZDB_USER : ZDB_SEQ, ZDB_KEEP_NONE, seed + i);
		struct zdb_compact_options o = options_of(r, 0);
		struct zdb_compact_figures f;
		struct zdb_ns_info before, after;
		char name[8], path[900];

		o.threshold = i % 4 < 2 ? 0 : 60;
		prepare(r, 20);
		assert_int_equal(zu_open(&r->u), 0);
		assert_int_equal(zdb_compact(r->u.ns, &o, &f), 0);
		check_state(r, &r->u, r->ops, "compacted");
		zdb_ns_info(r->u.ns, &before);
		zu_close(&r->u);
		for (unsigned n = i % 5; n < 5; n++) {
			snprintf(name, sizeof(name), "i%u", n);
			zu_path(&r->u, "default", name, path, sizeof(path));
			assert_int_equal(unlink(path), 0);
		}
		assert_int_equal(zu_open(&r->u), 0);
		check_state(r, &r->u, r->ops, "made again from the log");
		zdb_ns_info(r->u.ns, &after);
		if (r->mode == ZDB_SEQ)
			assert_int_equal(after.next_id, before.next_id);
		zu_close(&r->u);
		assert_int_equal(zdb_verify(&r->u.opt, finding, "made again from the log"), 0);
		run_free(r);
	}
}

/* A read that began before the switch ends with the old bytes, one that begins after it with the same from the new file. */
static void readers(void **state)
{
	static char value[200000], got[200000];
	struct zdb_compact_options o = {.threshold = 0};
	struct zdb_compact_figures f;
	struct zdb_set_result res;
	struct zdb_read before, after;
	struct zu u;

	(void)state;
	memset(value, 'v', sizeof(value));
	zu_setup(&u, ZDB_USER);
	assert_int_equal(zu_open(&u), 0);
	assert_int_equal(zu_set(&u, "dead", "1"), 0);
	assert_int_equal(zu_set(&u, "small", "1"), 0);
	assert_int_equal(zdb_set(u.ns, "big", 3, value, sizeof(value), 1, &res), 0);
	assert_int_equal(zu_del(&u, "dead"), 0);
	assert_int_equal(zdb_jump(u.ns), 0);
	assert_int_equal(zdb_get(u.ns, "big", 3, &before, NULL), 0);
	assert_null(before.data);
	assert_int_equal(zdb_compact(u.ns, &o, &f), 0);
	assert_int_equal(f.rewritten, 1);
	assert_int_equal(zdb_get(u.ns, "big", 3, &after, NULL), 0);
	assert_true(after.offset < before.offset);
	assert_int_equal(zdb_read_run(&before, 0, sizeof(got), got), 0);
	assert_memory_equal(got, value, sizeof(value));
	assert_int_equal(zdb_read_run(&after, 0, sizeof(got), got), 0);
	assert_memory_equal(got, value, sizeof(value));
	zdb_read_end(u.ns, &before);
	zdb_read_end(u.ns, &after);
	/* The table knows the new place: one read. */
	sys_fault_begin();
	assert_int_equal(zdb_get(u.ns, "small", 5, &after, NULL), 0);
	assert_int_equal(sys_fault_calls(SYS_CALL_READ), 1);
	sys_fault_end();
	zdb_read_end(u.ns, &after);
	/* The unchanged test finds the value where it is now. */
	assert_int_equal(zdb_set(u.ns, "big", 3, value, sizeof(value), 1, &res), 0);
	assert_int_equal(res.outcome, ZDB_UNCHANGED);
	zu_close(&u);
	zu_teardown(&u);
}

/*
 * What a client stored in a payload looks like another key's record, with its length and CRC, and lies in the new file where that
 * record was in the old one: while the file is switched, nobody takes one for the other.
 */
static void forged(void **state)
{
	struct zdb_compact_options o = {.step = 1};
	struct zdb_compact *c;
	struct zdb_set_result res;
	uint8_t value[64], image[19 + sizeof(value)], payload[16 + sizeof(image)] = {0};
	uint8_t dead[sizeof(value) + 19 + 16], *got;
	unsigned looks = 0;
	size_t size;
	struct zu u;
	int rc;

	(void)state;
	memset(value, 'v', sizeof(value));
	memset(dead, 'd', sizeof(dead));
	/* Header, key, and a value with the same CRC: the polynomial itself, bits reflected, laid over it. */
	image[0] = 1;
	put_u32le(image + 1, sizeof(value));
	put_u32le(image + 5, 28);
	put_u32le(image + 9, zdb_crc(0, value, sizeof(value)));
	image[13] = 0;
	put_u32le(image + 14, 1);
	image[18] = 'k';
	memcpy(image + 19, value, sizeof(value));
	for (unsigned i = 0; i < 33; i++) /* bit i of the message is the coefficient that comes i-th */
		if ((UINT64_C(0x11EDC6F41) >> (32 - i) & 1) != 0)
			image[19 + 16 + i / 8] ^= (uint8_t)(1u << i % 8);
	assert_int_equal(zdb_crc(0, image + 19, sizeof(value)), zdb_crc(0, value, sizeof(value)));
	assert_memory_not_equal(image + 19, value, sizeof(value));
	memcpy(payload + 16, image, sizeof(image));
	zu_setup(&u, ZDB_USER);
	assert_int_equal(zu_open(&u), 0);
	assert_int_equal(zdb_set(u.ns, "x", 1, dead, sizeof(dead), 1, &res), 0);
	assert_int_equal(zdb_set(u.ns, "k", 1, value, sizeof(value), 1, &res), 0);
	assert_int_equal(zdb_set(u.ns, "z", 1, payload, sizeof(payload), 1, &res), 0);
	assert_int_equal(zu_del(&u, "x"), 0);
	assert_int_equal(zdb_jump(u.ns), 0);
	assert_int_equal(zdb_compact_begin(u.ns, &o, &c), 0);
	do {
		(void)zdb_compact_run(c);
		rc = zdb_compact_done(c);
		assert_int_equal(zu_value(u.ns, "k", 1, &got, &size), 0);
		assert_int_equal(size, sizeof(value));
		assert_memory_equal(got, value, sizeof(value));
		free(got);
		looks++;
	} while (rc > 0);
	assert_int_equal(rc, 0);
	assert_true(looks > 5);
	zdb_compact_end(c);
	/* It does lie there. */
	got = zu_file(&u, "default", "d0", &size);
	assert_memory_equal(got + 28 + 19 + sizeof(dead), image, sizeof(image));
	free(got);
	zu_close(&u);
	zu_teardown(&u);
}

/* What lived when history was looked at, and is superseded before it is copied, is history that was promised. */
static void superseded_meanwhile(void **state)
{
	struct zdb_compact_options o = {.keep_s = ZDB_KEEP_ALL};
	struct zdb_compact *c;
	uint8_t cursor[8];
	struct zdb_read rd;
	struct zu u;
	bool more;
	int rc;

	(void)state;
	zu_setup(&u, ZDB_USER);
	assert_int_equal(zu_open(&u), 0);
	assert_int_equal(zu_set(&u, "x", "dead"), 0);
	assert_int_equal(zu_del(&u, "x"), 0);
	assert_int_equal(zu_set(&u, "a", "1"), 0);
	assert_int_equal(zdb_jump(u.ns), 0);
	assert_int_equal(zdb_compact_begin(u.ns, &o, &c), 0);
	assert_int_equal(zdb_compact_done(c), 2); /* the segment is opened */
	assert_int_equal(zdb_compact_done(c), 1); /* and its history known */
	assert_int_equal(zu_set(&u, "a", "2"), 0);
	assert_int_equal(zdb_sync(u.ns, ZDB_SYNC_INDEX), 0);
	do {
		(void)zdb_compact_run(c);
		while ((rc = zdb_compact_done(c)) == 2)
			;
	} while (rc == 1);
	assert_int_equal(rc, 0);
	zdb_compact_end(c);
	assert_int_equal(zdb_history(u.ns, "a", 1, NULL, 0, &rd, cursor, &more, NULL), 0);
	assert_true(more);
	assert_memory_equal(rd.data, "2", 1);
	zdb_read_end(u.ns, &rd);
	assert_int_equal(zdb_history(u.ns, "a", 1, cursor, 8, &rd, cursor, &more, NULL), 0);
	assert_memory_equal(rd.data, "1", 1);
	zdb_read_end(u.ns, &rd);
	zu_close(&u);
	zu_teardown(&u);
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
	struct run *r = run_new(ZDB_USER, ZDB_KEEP_NONE, 1);
	struct zdb_compact_options o = options_of(r, 0);
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
	do_tick(r);
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
	check_scan(&u, 2, "flag lost");
	zu_close(&u);
	assert_int_equal(zdb_verify(&u.opt, finding, "flag lost"), 0);
	assert_int_equal(file_rm_tree(out), 0);
	run_free(r);
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

int main(void)
{
	static uint64_t seed;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_prestate(reclaims, &seed),
		cmocka_unit_test(threshold),
		cmocka_unit_test_prestate(others_go_on, &seed),
		cmocka_unit_test_prestate(power_cuts, &seed),
		cmocka_unit_test_prestate(index_files, &seed),
		cmocka_unit_test_prestate(index_cuts, &seed),
		cmocka_unit_test_prestate(faults, &seed),
		cmocka_unit_test(damage),
		cmocka_unit_test(markers),
		cmocka_unit_test_prestate(rebuilt, &seed),
		cmocka_unit_test(readers),
		cmocka_unit_test(forged),
		cmocka_unit_test(superseded_meanwhile),
		cmocka_unit_test(flag_is_lost),
		cmocka_unit_test(refusals),
	};

	if (access("/dev/shm", W_OK) == 0)
		(void)setenv("TMPDIR", "/dev/shm", 0);
	seed = test_seed() % 1000000;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
