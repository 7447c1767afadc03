/*
 * FLUSH and NSDEL that are stopped anywhere, by a power cut or by errors: the namespace opens with all of its records or with none, and with
 * those that came after; it is never refused, and what somebody else wrote meanwhile stays.
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

#include "core/base/file.h"
#include "core/zdb/zdb_int.h"
#include "tests/unit/support/sys_test.h"
#include "tests/unit/support/zdb_util.h"

#define NAME     "other"
#define SEGMENTS 4u
#define EACH     3u /* records in a segment */
#define RECORDS  (SEGMENTS * EACH)
#define AWAY     1u /* the segment that is evicted */

struct made {
	struct zu u;
	enum zdb_mode mode;
	bool evicted; /* d<AWAY> is not here */
	bool written; /* something was written in the opening that clears */
	uint64_t ids[RECORDS];
};

static struct zdb_ns *other(struct zu *u)
{
	return zdb_ns_find(u->eng, NAME, strlen(NAME));
}

static void put(struct made *m, unsigned n)
{
	char key[20], value[20];
	struct zdb_set_result r;

	snprintf(key, sizeof(key), "key %u", n);
	snprintf(value, sizeof(value), "value %u", n);
	assert_int_equal(
		zdb_set(other(&m->u), key, m->mode == ZDB_SEQ ? 0 : strlen(key), value, strlen(value), 1, &r),
		0);
	if (m->mode == ZDB_SEQ)
		m->ids[n] = get_u64le(r.key);
}

static void begin(struct made *m, enum zdb_mode mode, bool evicted, bool written)
{
	struct zdb_ns *ns;
	char path[600];

	memset(m, 0, sizeof(*m));
	m->mode = mode;
	m->evicted = evicted;
	m->written = written;
	zu_setup(&m->u, ZDB_MIXED);
	assert_int_equal(zu_open(&m->u), 0);
	assert_int_equal(zdb_ns_create(m->u.eng, NAME, strlen(NAME), &ns), 0);
	assert_int_equal(zdb_ns_set_mode(ns, mode), 0);
	for (unsigned i = 0; i < RECORDS; i++) {
		if (i > 0 && i % EACH == 0)
			assert_int_equal(zdb_jump(ns), 0);
		put(m, i);
	}
	zu_close(&m->u);
	zu_path(&m->u, NAME, "d1", path, sizeof(path));
	if (evicted)
		assert_int_equal(unlink(path), 0);
}

static void start(struct made *m)
{
	assert_int_equal(zu_open(&m->u), 0);
	assert_non_null(other(&m->u));
	if (m->written)
		put(m, RECORDS - 1);
}

/* How many of the old records are there; those of the absent segment are not asked for. */
static unsigned old_records(const struct made *m, struct zu *u)
{
	unsigned n = 0;

	for (unsigned i = 0; i < RECORDS; i++) {
		char key[20], value[20];
		size_t size;
		uint8_t *got;
		int rc;

		if (m->evicted && i / EACH == AWAY)
			continue;
		snprintf(key, sizeof(key), "key %u", i);
		snprintf(value, sizeof(value), "value %u", i);
		rc = m->mode == ZDB_SEQ ? zu_value(other(u), &m->ids[i], 8, &got, &size)
					: zu_value(other(u), key, strlen(key), &got, &size);
		if (rc == -ENOENT)
			continue;
		assert_int_equal(rc, 0);
		n += size == strlen(value) && memcmp(got, value, size) == 0;
		free(got);
	}
	return n;
}

static unsigned all_of(const struct made *m)
{
	return m->evicted ? RECORDS - EACH : RECORDS;
}

/* ------------------------------------------------------------------------------------------------------ power cut --- */

struct cuts {
	struct made m;
	struct sim_disk *disk;
	uint64_t begun, done, synced; /* recorded calls */
	bool deletes;
	unsigned full, empty, absent;
};

/* A segment of the same number as the old active one comes to be. */
static void write_anew(struct cuts *c)
{
	struct zdb_set_result r;

	for (unsigned i = 0; i < SEGMENTS; i++) {
		assert_int_equal(
			zdb_set(other(&c->m.u), "new", c->m.mode == ZDB_SEQ ? 0 : 3, "new", 3, 1, &r), 0);
		assert_int_equal(zdb_jump(other(&c->m.u)), 0);
	}
	assert_int_equal(zdb_sync(other(&c->m.u), ZDB_SYNC_DATA), 0);
}

static void record(struct cuts *c)
{
	struct zu *u = &c->m.u;

	c->disk = sim_disk_begin(u->dir);
	start(&c->m);
	assert_int_equal(zdb_sync(other(u), ZDB_SYNC_DATA), 0);
	c->begun = sim_disk_calls(c->disk);
	assert_int_equal(c->deletes ? zdb_ns_delete(other(u)) : zdb_ns_flush(other(u)), 0);
	c->done = sim_disk_calls(c->disk);
	if (!c->deletes)
		write_anew(c);
	c->synced = sim_disk_calls(c->disk);
	zu_crash(u);
	sim_disk_stop(c->disk);
}

static void look(struct cuts *c, struct zu *u, uint64_t cut, const char *where)
{
	bool anew = cut > c->done;
	unsigned n;
	struct zdb_ns_info info;

	for (const struct refused *r = u->eng->refused; r != NULL; r = r->next)
		fail_msg("%s: %s is refused: %s", where, r->name, r->why);
	if (other(u) == NULL) {
		if (!c->deletes || cut <= c->begun)
			fail_msg("%s: the namespace is gone", where);
		c->absent++;
		return;
	}
	if (c->deletes && cut >= c->done)
		fail_msg("%s: it is there again", where);
	n = old_records(&c->m, u);
	zdb_ns_info(other(u), &info);
	if (n != 0 && n != all_of(&c->m))
		fail_msg("%s: %u of the old records are there", where, n);
	if (n == 0 ? cut <= c->begun : cut >= c->done)
		fail_msg("%s: %u of the old records are there", where, n);
	if (n == 0 && !anew && info.entries != 0)
		fail_msg("%s: %llu records of before are counted", where, (unsigned long long)info.entries);
	if (!c->deletes && cut >= c->synced && info.entries != (c->m.mode == ZDB_SEQ ? SEGMENTS : 1))
		fail_msg("%s: what came later is not there", where);
	if (!c->deletes && zdb_ns_mode(other(u)) != c->m.mode)
		fail_msg("%s: it has another mode", where);
	c->full += n != 0;
	c->empty += n == 0;
}

static void check_cut(struct cuts *c, uint64_t cut, enum sim_policy policy, const char *out)
{
	char where[400], what[200];
	struct zu u;

	sim_disk_materialise(c->disk, cut, policy, cut + 3, out);
	snprintf(where, sizeof(where), "%s, mode %d, %s%s, cut %llu (%s) policy %d",
		 c->deletes ? "NSDEL" : "FLUSH", (int)c->m.mode, c->m.evicted ? "evicted " : "",
		 c->m.written ? "written" : "", (unsigned long long)cut,
		 cut == 0 ? "-" : sim_disk_describe(c->disk, cut - 1, what, sizeof(what)), (int)policy);
	zu_at(&u, out, ZDB_MIXED);
	if (zu_open(&u) != 0)
		fail_msg("%s: does not open: %s", where, u.why);
	look(c, &u, cut, where);
	zu_close(&u);
	zu_check(&u, where);
	assert_int_equal(file_rm_tree(out), 0);
}

static void cut_everywhere(bool deletes, enum zdb_mode mode, unsigned variant)
{
	struct cuts c = {.deletes = deletes};
	char out[400];

	begin(&c.m, mode, variant & 1, variant & 2);
	record(&c);
	snprintf(out, sizeof(out), "%s.cut", c.m.u.dir);
	for (uint64_t cut = c.begun; cut <= c.synced; cut++)
		for (enum sim_policy p = SIM_DROP; p <= SIM_SECTORS; p++)
			check_cut(&c, cut, p, out);
	print_message("%s, mode %d, variant %u: %llu cuts, 5 states each: %u full, %u empty, %u without it\n",
		      deletes ? "NSDEL" : "FLUSH", (int)mode, variant,
		      (unsigned long long)(c.synced - c.begun + 1), c.full, c.empty, c.absent);
	assert_true(c.full > 0 && c.empty > 0);
	assert_true(deletes == (c.absent > 0));
	sim_disk_free(c.disk);
	zu_teardown(&c.m.u);
}

static void flush_cut(void **state)
{
	(void)state;
	for (unsigned v = 0; v < 4; v++) {
		cut_everywhere(false, ZDB_USER, v);
		cut_everywhere(false, ZDB_SEQ, v);
	}
}

static void delete_cut(void **state)
{
	(void)state;
	for (unsigned v = 0; v < 4; v++) {
		cut_everywhere(true, ZDB_USER, v);
		cut_everywhere(true, ZDB_SEQ, v);
	}
}

/* One with a password and two segments, that takes no writes any more. */
static void begin_unwritable(struct zu *u)
{
	struct zdb_set_result r;
	struct zdb_ns *ns;

	assert_int_equal(zdb_ns_create(u->eng, NAME, strlen(NAME), &ns), 0);
	assert_int_equal(zdb_ns_set_password(ns, "p", 1), 0);
	assert_int_equal(zdb_set(ns, "old", 3, "secret", 6, 1, &r), 0);
	assert_int_equal(zdb_jump(ns), 0);
	assert_int_equal(zdb_set(ns, "newer", 5, "secret", 6, 1, &r), 0);
	sys_fault_begin();
	sys_fault_arm(SYS_CALL_SYNC, 1, EIO);
	assert_int_not_equal(zdb_sync(ns, ZDB_SYNC_DATA), 0);
	sys_fault_end();
	assert_int_not_equal(zdb_ns_write_error(ns), 0);
}

/* Who makes the name anew finds nothing of before; what comes back by itself has its password.  Whether the name was free. */
static bool look_for_ghosts(struct zu *u, const char *where)
{
	struct zdb_ns *ns = other(u);
	struct zdb_props props;
	struct zdb_read read;
	int rc;

	if (ns != NULL) {
		zdb_ns_props(ns, &props);
		if (props.password_len == 0 && zdb_ns_is_used(ns))
			fail_msg("%s: its records are there without its password", where);
		return false;
	}
	rc = zdb_ns_create(u->eng, NAME, strlen(NAME), &ns);
	if (rc == -EEXIST)
		return false; /* it cannot be loaded, and is still there: it holds its name */
	assert_int_equal(rc, 0);
	rc = zdb_get(ns, "old", 3, &read, NULL);
	if (rc == 0)
		zdb_read_end(ns, &read);
	if (rc != -ENOENT || zdb_ns_is_used(ns))
		fail_msg("%s: the new namespace has records of the one before", where);
	return true;
}

static void delete_unwritable_cut(void **state)
{
	char out[400], where[400], what[200];
	struct sim_disk *disk;
	unsigned freed = 0, kept = 0;
	uint64_t from, to;
	struct zu u, v;

	(void)state;
	zu_setup(&u, ZDB_USER);
	disk = sim_disk_begin(u.dir);
	assert_int_equal(zu_open(&u), 0);
	begin_unwritable(&u);
	from = sim_disk_calls(disk);
	assert_int_equal(zdb_ns_delete(other(&u)), 0);
	to = sim_disk_calls(disk);
	zu_crash(&u);
	sim_disk_stop(disk);
	snprintf(out, sizeof(out), "%s.cut", u.dir);
	for (uint64_t cut = from; cut <= to; cut++)
		for (enum sim_policy p = SIM_DROP; p <= SIM_SECTORS; p++) {
			sim_disk_materialise(disk, cut, p, cut + 3, out);
			snprintf(where, sizeof(where), "cut %llu (%s) policy %d", (unsigned long long)cut,
				 sim_disk_describe(disk, cut - 1, what, sizeof(what)), (int)p);
			zu_at(&v, out, ZDB_USER);
			if (zu_open(&v) != 0)
				fail_msg("%s: does not open: %s", where, v.why);
			if (look_for_ghosts(&v, where))
				freed++;
			else
				kept++;
			zu_crash(&v);
			assert_int_equal(file_rm_tree(out), 0);
		}
	print_message("NSDEL of one that takes no writes: %u gone, %u not\n", freed, kept);
	assert_true(freed > 0 && kept > 0);
	sim_disk_free(disk);
	zu_teardown(&u);
}

/* --------------------------------------------------------------------------------------------------------- errors --- */

/* One call fails, or every one from there on.  What is answered afterwards is there after a restart. */
static bool fail_once(struct made *m, uint64_t nth, bool from_then_on, unsigned *done)
{
	struct zu *u = &m->u;
	struct zdb_set_result r;
	bool fired, taken, emptied;
	uint8_t key[8] = "later";
	unsigned n;

	start(m);
	assert_int_equal(zdb_sync(other(u), ZDB_SYNC_DATA), 0);
	sys_fault_begin();
	if (from_then_on)
		sys_fault_arm_from(SYS_CALL_ANY, nth, EIO);
	else
		sys_fault_arm(SYS_CALL_ANY, nth, EIO);
	emptied = zdb_ns_flush(other(u)) == 0;
	fired = sys_fault_fired();
	sys_fault_disarm();
	taken = zdb_set(other(u), key, m->mode == ZDB_SEQ ? 0 : 5, "later", 5, 1, &r) == 0;
	if (m->mode == ZDB_SEQ)
		memcpy(key, r.key, 8);
	taken = taken && zdb_sync(other(u), ZDB_SYNC_DATA) == 0;
	zu_crash(u);
	sys_fault_end();
	assert_int_equal(zu_open(u), 0);
	assert_null(u->eng->refused);
	n = old_records(m, u);
	if ((n != 0 && n != all_of(m)) || (emptied && n != 0))
		fail_msg("call %llu: %u of the old records are there", (unsigned long long)nth, n);
	if (taken) {
		size_t size;
		uint8_t *value;

		if (zu_value(other(u), key, m->mode == ZDB_SEQ ? 8 : 5, &value, &size) != 0)
			fail_msg("call %llu: an answered write is gone", (unsigned long long)nth);
		free(value);
	}
	zu_close(u);
	(*done)++;
	return fired;
}

static void errors(void **state)
{
	unsigned done = 0;

	(void)state;
	for (unsigned i = 0; i < 8; i++) {
		bool fired = true;

		for (uint64_t nth = 1; fired; nth++) {
			struct made m;

			begin(&m, i & 1 ? ZDB_SEQ : ZDB_USER, false, i & 2);
			fired = fail_once(&m, nth, i & 4, &done);
			zu_teardown(&m.u);
		}
	}
	print_message("%u errors\n", done);
	assert_true(done > 200);
}

/* ---------------------------------------------------------------------------------------------------- others wrote --- */

static void waits(void *ctx, int level, const char *ns, const char *text)
{
	unsigned *seen = ctx;

	if (level == 0)
		return;
	assert_int_equal(level, 1);
	assert_string_equal(ns, NAME);
	assert_non_null(strstr(text, "its emptying was interrupted: it must be opened for writing"));
	(*seen)++;
}

/* Interrupted before the first file went; then an original server opened it, which sets the stamp back. */
static void somebody_else(void **state)
{
	char path[600];
	unsigned seen = 0;
	struct made m;
	FILE *f;

	(void)state;
	begin(&m, ZDB_USER, false, true);
	start(&m);
	assert_int_equal(clear_begin(other(&m.u)), 0);
	zu_crash(&m.u);
	assert_int_equal(zdb_verify(&m.u.opt, waits, &seen), 1);
	assert_int_equal(seen, 1);
	zu_path(&m.u, NAME, "d3", path, sizeof(path));
	f = fopen(path, "r+b");
	assert_non_null(f);
	assert_int_equal(fseek(f, DAT_STAMP_AT, SEEK_SET), 0);
	assert_int_equal(fwrite("\0\0\0\0\0\0\0\0", 8, 1, f), 1);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(zu_open(&m.u), 0);
	assert_int_equal(old_records(&m, &m.u), RECORDS);
	zu_close(&m.u);
	assert_int_equal(zu_open(&m.u), 0);
	assert_int_equal(old_records(&m, &m.u), RECORDS);
	zu_close(&m.u);
	zu_teardown(&m.u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(flush_cut),
		cmocka_unit_test(delete_cut),
		cmocka_unit_test(delete_unwritable_cut),
		cmocka_unit_test(errors),
		cmocka_unit_test(somebody_else),
	};

	test_in_memory();
	return cmocka_run_group_tests_name("zdb_clear", tests, NULL, NULL);
}
