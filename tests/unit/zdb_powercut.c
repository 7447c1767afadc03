/*
 * The power-cut matrix of the engine: one recorded run per mode and seed, cut at every call, with the writes that were
 * not synced dropped, kept, torn and reordered.  What the engine finds after each must be the state after some prefix of
 * the operations, not shorter than what a finished sync had covered; a reader that knows only the upstream format must
 * find the same; and the engine must go on from there.
 *
 * TEST_SEED repeats a run, ZDB_CUT_SEEDS=n makes n of them per mode (default 2).
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
#include "core/base/file.h"
#include "core/zdb/fmt.h"
#include "tests/unit/support/sys_test.h"
#include "tests/unit/support/zdb_flights.h"
#include "tests/unit/support/zdb_util.h"

#define KEYS      24u /* user mode: different keys; sequential: highest id looked at is bounded by OPS * 2 */
#define OPS       70u
#define IDS       (OPS * 2u)
#define VALUE_MAX 1400u
#define LARGE_MIN 16500u /* these fly */
#define LARGE_MAX 20000u

/* The value of a key after an operation: 0 = absent, else 1 + number of the operation that wrote it. */
struct state {
	uint16_t version[IDS];
};

struct op_value {
	uint32_t len;
	uint8_t kind; /* 0 pattern, 1 zeros */
};

struct run {
	struct zu u;
	enum zdb_mode mode;
	uint64_t seed, rng;
	struct sim_disk *disk;
	bool flies; /* some values are large, and written by flights */
	struct fleet fleet;
	unsigned ops;                 /* done */
	struct state states[OPS + 1]; /* after that many operations */
	struct op_value values[OPS];
	uint64_t started[OPS]; /* recorded calls when it began */
	struct {
		uint64_t calls;
		unsigned ops;
	} acks[OPS];
	unsigned ack_count;
	uint64_t next_id;
	uint64_t answered
		[OPS];  /* recorded calls when it could be answered, no sync being needed; 0 it could not */
	unsigned ahead; /* rotations that did not wait for the disk */
	struct zdb_sync *job; /* one of the tick's, between two of its rounds */
};

static void value_fill(uint8_t *b, unsigned op, const struct op_value *v)
{
	for (uint32_t i = 0; i < v->len; i++)
		b[i] = v->kind == 1 ? 0 : (uint8_t)(op * 31 + i * 7 + i / 251 + 1);
}

static size_t key_fill(const struct run *r, unsigned key, uint8_t *b)
{
	if (r->mode == ZDB_SEQ) {
		put_u64le(b, key);
		return 8;
	}
	/* Keys whose tails are zeros look like keys that were torn at a sector border. */
	memset(b, 0, 40);
	b[0] = (uint8_t)('a' + key % 4);
	b[1] = (uint8_t)(key / 4 + (key % 3 == 0 ? 0 : 1));
	b[2] = (uint8_t)(key % 3 == 0 ? 0 : key);
	return 3 + key % 5 * 7;
}

/* A length after which the next record's header and key lie across a border, as few do by chance. */
static uint32_t length_to_border(struct run *r, size_t klen)
{
	uint32_t before = 1 + (uint32_t)(test_random(&r->rng) % 25), end;
	struct zdb_ns_info info;

	zdb_ns_info(r->u.ns, &info);
	end = info.data_current_offset + DAT_RECORD + (uint32_t)klen + before;
	return (SECTOR - end % SECTOR) % SECTOR + (test_random(&r->rng) % 2 != 0 ? 0 : SECTOR);
}

static void do_write(struct run *r, unsigned key, bool insert)
{
	static uint8_t buf[LARGE_MAX];
	struct op_value *v = &r->values[r->ops];
	uint8_t k[64];
	size_t klen = insert ? 0 : key_fill(r, key, k);
	struct zdb_set_result res;

	switch (test_random(&r->rng) % 6) {
	case 0:
		v->len = 0;
		break;
	case 1:
	case 2:
		v->len = (uint32_t)(test_random(&r->rng) % 40);
		break;
	case 3:
		v->len = (uint32_t)(test_random(&r->rng) % VALUE_MAX);
		break;
	default:
		v->len = length_to_border(r, insert ? ZDB_SEQ_KEY_SIZE : klen);
	}
	if (r->flies && test_random(&r->rng) % 3 == 0)
		v->len = LARGE_MIN + (uint32_t)(test_random(&r->rng) % (LARGE_MAX - LARGE_MIN));
	v->kind = test_random(&r->rng) % 4 == 0;
	value_fill(buf, r->ops, v);
	assert_int_equal(fleet_set(&r->fleet, r->u.ns, k, klen, buf, v->len, 1000 + r->ops, &res), 0);
	r->states[r->ops + 1] = r->states[r->ops];
	if (insert) {
		key = (unsigned)get_u64le(res.key);
		assert_true(key < IDS);
	}
	if (res.outcome != ZDB_UNCHANGED)
		r->states[r->ops + 1].version[key] = (uint16_t)(r->ops + 1);
	r->ops++;
}

static void do_delete(struct run *r, unsigned key)
{
	uint8_t k[64];
	size_t klen = key_fill(r, key, k);

	assert_int_equal(zdb_del(r->u.ns, k, klen, 1000 + r->ops), 0);
	r->states[r->ops + 1] = r->states[r->ops];
	r->states[r->ops + 1].version[key] = 0;
	r->ops++;
}

static unsigned pick_live(struct run *r, unsigned *count)
{
	unsigned live[IDS], n = 0;

	for (unsigned i = 0; i < IDS; i++)
		if (r->states[r->ops].version[i] != 0)
			live[n++] = i;
	*count = n;
	return n == 0 ? 0 : live[test_random(&r->rng) % n];
}

/* One step of a sync that goes on while others write. */
static void job_step(struct run *r)
{
	uint64_t next;

	if (r->job == NULL)
		r->job = zdb_tick(r->u.eng, 1000000 + r->ops * 5000, &next);
	if (r->job == NULL)
		return;
	assert_int_equal(zdb_sync_run(r->job), 0);
	for (unsigned i = 0; i < 2; i++)
		fleet_step(&r->fleet, test_random(&r->rng));
	if (test_random(&r->rng) % 3 != 0 && zdb_sync_done(r->job) == 0)
		r->job = NULL;
}

static void job_end(struct run *r)
{
	while (r->job != NULL) {
		assert_int_equal(zdb_sync_run(r->job), 0);
		if (zdb_sync_done(r->job) == 0)
			r->job = NULL;
	}
}

static void do_sync(struct run *r, enum zdb_sync_kind kind)
{
	unsigned ops = r->ops;

	job_end(r);
	assert_int_equal(zdb_sync(r->u.ns, kind), 0);
	r->acks[r->ack_count].calls = sim_disk_calls(r->disk);
	r->acks[r->ack_count++].ops = ops;
}

/* A key that was lost at a border reads as id 0: its record is changed more often than others. */
static unsigned pick_changed(struct run *r, unsigned key)
{
	bool prefers = r->mode == ZDB_SEQ && r->states[r->ops].version[0] != 0;

	return prefers && test_random(&r->rng) % 2 != 0 ? 0 : key;
}

static int ahead_each(void *ctx, const char *name, unsigned char type)
{
	bool *found = ctx;

	(void)type;
	*found = *found || strstr(name, ".next-") != NULL;
	return 0;
}

/* Whether the active pair has its temporary names. */
static bool is_ahead(const struct run *r)
{
	char dir[400];
	bool found = false;

	snprintf(dir, sizeof(dir), "%s/default", r->u.data);
	assert_int_equal(file_list(dir, ahead_each, &found), 0);
	return found;
}

/* With gather_writes and flights answers wait for a flush, which is not looked at here. */
static void could_answer(struct run *r, unsigned before)
{
	if (r->ops > before && !r->u.opt.gather_writes && !zdb_ns_doubtful(r->u.ns))
		r->answered[before] = sim_disk_calls(r->disk);
}

static void one_step(struct run *r)
{
	unsigned before = r->ops;
	unsigned count, key = pick_live(r, &count);
	uint64_t dice = test_random(&r->rng) % 100;

	r->started[r->ops] = sim_disk_calls(r->disk);
	if (dice < 40 || count == 0) {
		if (r->mode == ZDB_SEQ)
			do_write(r, 0, true);
		else
			do_write(r, (unsigned)(test_random(&r->rng) % KEYS), false);
	} else if (dice < 62) {
		do_write(r, pick_changed(r, key), false);
	} else if (dice < 77) {
		do_delete(r, key);
	} else if (dice < 88 && r->ack_count < OPS) {
		do_sync(r, dice < 82 ? ZDB_SYNC_DATA : dice < 85 ? ZDB_SYNC_DUE : ZDB_SYNC_INDEX);
	} else if (dice < 94) {
		job_step(r);
	} else if (dice < 98) {
		assert_int_equal(zdb_jump(r->u.ns), 0);
		r->ahead += is_ahead(r);
	} else {
		assert_int_equal(zdb_flush(r->u.eng), 0);
	}
	could_answer(r, before);
	for (unsigned i = 0; i < 3; i++)
		fleet_step(&r->fleet, test_random(&r->rng));
	if (r->job != NULL && test_random(&r->rng) % 4 == 0)
		job_step(r);
}

static void record(struct run *r)
{
	assert_int_equal(zu_open(&r->u), 0);
	zu_close(&r->u);
	r->disk = sim_disk_begin(r->u.dir);
	r->flies = r->seed % 2 == 0;
	fleet_init(&r->fleet, &r->u.opt);
	if (!r->flies)
		r->u.opt.events = NULL;
	r->u.opt.gather_writes = r->flies || r->seed % 3 == 0;
	r->u.opt.rotate_ahead = r->seed % 5 != 0;
	r->u.opt.ahead_min = 1;
	r->u.opt.uncached = true;
	assert_int_equal(zu_open(&r->u), 0);
	while (r->ops < OPS)
		one_step(r);
	job_end(r);
	if (r->seed % 3 == 0) {
		uint64_t calls;

		zu_close(&r->u); /* cuts inside a clean stop */
		calls = sim_disk_calls(r->disk);
		if (r->ack_count < OPS) {
			r->acks[r->ack_count].calls = calls;
			r->acks[r->ack_count++].ops = r->ops;
		}
	} else {
		zu_crash(&r->u);
	}
	assert_int_equal(fleet_end_all(&r->fleet), 0);
	assert_true(fleet_even(&r->fleet));
	sim_disk_stop(r->disk);
}

/* ------------------------------------------------------------------------------------- what is there after a cut --- */

static bool value_is(const struct run *r, unsigned version, const uint8_t *value, size_t size)
{
	static uint8_t want[LARGE_MAX];
	const struct op_value *v = &r->values[version - 1];

	value_fill(want, version - 1, v);
	return size == v->len && memcmp(want, value, size) == 0;
}

/* Which version of a key the engine has: 0 absent; fails the test on anything that was never written. */
static unsigned version_of(struct run *r, struct zu *u, unsigned key, const char *where)
{
	uint8_t k[64], *value;
	size_t klen = key_fill(r, key, k), size;
	int rc = zu_value(u->ns, k, klen, &value, &size);
	unsigned found = 0;

	if (rc == -ENOENT)
		return 0;
	if (rc != 0)
		fail_msg("%s: key %u answers %d", where, key, rc);
	for (unsigned op = 0; op < r->ops && found == 0; op++)
		if (r->states[op + 1].version[key] == op + 1 && value_is(r, op + 1, value, size))
			found = op + 1;
	free(value);
	if (found == 0)
		fail_msg("%s: key %u has a value that was never written to it (%zu bytes)", where, key, size);
	return found;
}

/* Equal values may have been written by different operations, so states are compared by value. */
static bool same_value(const struct run *r, unsigned a, unsigned b)
{
	static uint8_t buf[LARGE_MAX];

	if (a == 0 || b == 0)
		return a == b;
	value_fill(buf, a - 1, &r->values[a - 1]);
	return value_is(r, b, buf, r->values[a - 1].len);
}

static int matching_prefix(const struct run *r, const struct state *s, unsigned from, unsigned to)
{
	for (unsigned p = from; p <= to; p++) {
		bool equal = true;

		for (unsigned k = 0; k < IDS && equal; k++)
			equal = same_value(r, s->version[k], r->states[p].version[k]);
		if (equal)
			return (int)p;
	}
	return -1;
}

/* ---- a reader that knows nothing but the upstream format: index in file order, a flag removes, the data file is read */

static void upstream_view(struct run *r, struct zu *u, struct state *s, const char *where)
{
	uint64_t id = 0;

	memset(s, 0, sizeof(*s));
	for (unsigned n = 0;; n++) {
		char name[16];
		size_t size, at = 29;
		uint8_t *b;

		snprintf(name, sizeof(name), "i%u", n);
		b = zu_file(u, "default", name, &size);
		if (b == NULL)
			break;
		if (size < 29 || memcmp(b, "IDX0\4\0\0\0", 8) != 0 || get_u32le(b + 24) != n ||
		    b[28] != r->mode)
			fail_msg("%s: header of %s", where, name);
		for (; at < size; at += 34u + b[at], id++) {
			unsigned key;
			size_t klen = b[at], dsize;
			uint8_t k[64], *d;
			uint32_t off = get_u32le(b + at + 1), len = get_u32le(b + at + 5);

			if (klen == 0 || at + 34 + klen > size)
				fail_msg("%s: %s is cut at %zu", where, name, at);
			for (key = 0; key < (r->mode == ZDB_SEQ ? IDS : KEYS); key++)
				if (key_fill(r, key, k) == klen && memcmp(k, b + at + 34, klen) == 0)
					break;
			if (key == (r->mode == ZDB_SEQ ? IDS : KEYS))
				fail_msg("%s: %s at %zu: a key that was never used", where, name, at);
			if (r->mode == ZDB_SEQ && key != id)
				continue; /* a copy: not at its own place */
			s->version[key] = 0;
			if ((b[at + 13] & 1) != 0)
				continue;
			snprintf(name, sizeof(name), "d%u", r->mode == ZDB_SEQ ? get_u32le(b + at + 14) : n);
			d = zu_file(u, "default", name, &dsize);
			if (d == NULL || off + 18 + klen + len > dsize || d[off] != klen ||
			    get_u32le(d + off + 1) != len || memcmp(d + off + 18, b + at + 34, klen) != 0)
				fail_msg("%s: %s does not hold what the index names at %u", where, name, off);
			for (unsigned op = 0; op < r->ops; op++)
				if (r->states[op + 1].version[key] == op + 1 &&
				    value_is(r, op + 1, d + off + 18 + klen, len))
					s->version[key] = (uint16_t)(op + 1);
			if (s->version[key] == 0)
				fail_msg("%s: %s at %u: never written", where, name, off);
			free(d);
			snprintf(name, sizeof(name), "i%u", n);
		}
		free(b);
	}
}

struct scanned {
	struct run *r;
	struct state *s;
	unsigned count;
};

static bool scan_one(void *ctx, const struct zdb_entry *e)
{
	struct scanned *x = ctx;
	uint8_t k[64];

	for (unsigned key = 0; key < IDS; key++) {
		if (key_fill(x->r, key, k) == e->klen && memcmp(k, e->key, e->klen) == 0) {
			assert_true(x->s->version[key] != 0);
			x->count++;
			return true;
		}
	}
	fail_msg("SCAN lists a key that was never used");
	return false;
}

static void read_state(struct run *r, struct zu *u, struct state *s, const char *where)
{
	struct scanned x = {.r = r, .s = s};
	struct zdb_ns_info info;
	uint8_t next[17];
	unsigned live = 0;
	int rc;

	memset(s, 0, sizeof(*s));
	for (unsigned k = 0; k < (r->mode == ZDB_SEQ ? IDS : KEYS); k++) {
		s->version[k] = (uint16_t)version_of(r, u, k, where);
		live += s->version[k] != 0;
	}
	zdb_ns_info(u->ns, &info);
	if (info.entries != live)
		fail_msg("%s: %llu entries are counted, %u are there", where,
			 (unsigned long long)info.entries, live);
	rc = zdb_scan(u->ns, NULL, 0, false, 0, 0, scan_one, &x, next);
	assert_true(rc == 0 || (rc == -ENODATA && live == 0));
	assert_int_equal(x.count, live);
	x.count = 0;
	rc = zdb_scan(u->ns, NULL, 0, true, 0, 0, scan_one, &x, next);
	assert_true(rc == 0 || (rc == -ENODATA && live == 0));
	assert_int_equal(x.count, live);
}

static void check_cut(struct run *r, uint64_t cut, enum sim_policy policy, uint64_t seed, const char *out)
{
	static const char *const names[] = {"drop", "keep", "prefix", "random", "sectors"};
	char where[512], what[200];
	unsigned lower = 0, upper = 0;
	struct zdb_set_result res;
	struct state s, up;
	struct zu u;
	int p;

	sim_disk_materialise(r->disk, cut, policy, seed, out);
	snprintf(where, sizeof(where), "mode %d seed %llu cut %llu (%s) policy %s/%llu", (int)r->mode,
		 (unsigned long long)r->seed, (unsigned long long)cut,
		 cut == 0 ? "-" : sim_disk_describe(r->disk, cut - 1, what, sizeof(what)), names[policy],
		 (unsigned long long)seed);
	for (unsigned i = 0; i < r->ack_count; i++)
		if (r->acks[i].calls <= cut && r->acks[i].ops > lower)
			lower = r->acks[i].ops;
	while (upper < r->ops && r->started[upper] <= cut)
		upper++;
	zu_at(&u, out, r->mode);
	if (zu_open(&u) != 0)
		fail_msg("%s: does not open: %s", where, u.why);
	read_state(r, &u, &s, where);
	/* A kill takes nothing back that could be answered at once. */
	for (unsigned i = 0; policy == SIM_KEEP && i < r->ops; i++)
		if (r->answered[i] != 0 && r->answered[i] <= cut && i + 1 > lower)
			lower = i + 1;
	p = matching_prefix(r, &s, lower, upper);
	if (p < 0)
		fail_msg("%s: not the state after any of %u..%u operations (but after %d)", where, lower,
			 upper, matching_prefix(r, &s, 0, r->ops));
	/* It goes on from there, and what it made of the files is whole for everybody. */
	assert_int_equal(zdb_set(u.ns, r->mode == ZDB_SEQ ? NULL : "next", r->mode == ZDB_SEQ ? 0 : 4,
				 "goes on", 7, 1, &res),
			 0);
	assert_int_equal(zdb_del(u.ns, r->mode == ZDB_SEQ ? (const void *)res.key : "next",
				 r->mode == ZDB_SEQ ? 8 : 4, 1),
			 0);
	zu_close(&u);
	zu_check(&u, where);
	if (r->mode == ZDB_SEQ) { /* in user mode the extra key is unknown to this reader */
		upstream_view(r, &u, &up, where);
		for (unsigned k = 0; k < IDS; k++)
			if (!same_value(r, up.version[k], s.version[k]))
				fail_msg("%s: upstream sees another value of key %u", where, k);
	}
	assert_int_equal(file_rm_tree(out), 0);
}

static void matrix(enum zdb_mode mode, uint64_t seed)
{
	struct run *r = calloc(1, sizeof(*r));
	char out[400];
	uint64_t calls;

	assert_non_null(r);
	r->mode = mode;
	r->seed = r->rng = seed;
	zu_setup(&r->u, mode);
	record(r);
	calls = sim_disk_calls(r->disk);
	snprintf(out, sizeof(out), "%s.cut", r->u.dir);
	for (uint64_t cut = 0; cut <= calls; cut++) {
		check_cut(r, cut, SIM_KEEP, 0, out);
		check_cut(r, cut, SIM_DROP, 0, out);
		check_cut(r, cut, SIM_PREFIX, seed + cut, out);
		check_cut(r, cut, SIM_SECTORS, seed + cut, out);
		check_cut(r, cut, SIM_SECTORS, seed + cut + 1000003, out);
	}
	print_message("mode %d seed %llu: %llu cuts, 5 states each, %u rotations ahead\n", (int)mode,
		      (unsigned long long)seed, (unsigned long long)calls + 1, r->ahead);
	sim_disk_free(r->disk);
	zu_teardown(&r->u);
	free(r);
}

static unsigned rounds(void)
{
	const char *n = getenv("ZDB_CUT_SEEDS");

	return n != NULL ? (unsigned)atoi(n) : 2;
}

static void user_mode(void **state)
{
	uint64_t seed = *(uint64_t *)*state;

	for (unsigned i = 0; i < rounds(); i++)
		matrix(ZDB_USER, seed + i);
}

static void sequential_mode(void **state)
{
	uint64_t seed = *(uint64_t *)*state;

	for (unsigned i = 0; i < rounds(); i++)
		matrix(ZDB_SEQ, seed + i);
}

int main(void)
{
	static uint64_t seed;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_prestate(user_mode, &seed),
		cmocka_unit_test_prestate(sequential_mode, &seed),
	};

	test_in_memory();
	seed = test_seed() % 1000000;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
