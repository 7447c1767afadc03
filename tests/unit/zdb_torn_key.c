/*
 * A deletion at the end of the log whose key looks torn at a sector border, after a power cut that took `synced` along: where the index
 * says the same it stays in the log, else it is cut.  Index, log and figures agree in each case.
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

#include "core/zdb/fmt.h"
#include "tests/unit/support/sys_test.h"
#include "tests/unit/support/zdb_util.h"

#define KEY_SIZE 8u
#define PLAIN    5u   /* a key with only zeros behind its first byte */
#define LONGER   261u /* one that looks like it when it is torn there */
#define SEEN     1u   /* so many bytes of the deletion's key lie before the border */

struct torn {
	struct zu u;
	char where[100];
	struct zdb_ns_info before, after; /* the deletion */
};

static struct zdb_ns_info figures(const struct torn *t)
{
	struct zdb_ns_info info;

	zdb_ns_info(t->u.ns, &info);
	return info;
}

/* The deletion that comes next lies across a border. */
static void pad(struct torn *t)
{
	static const uint8_t zeros[SECTOR];
	bool seq = t->u.opt.mode == ZDB_SEQ;
	uint32_t end = figures(t).data_current_offset + 2 * DAT_RECORD + KEY_SIZE + SEEN;
	struct zdb_set_result r;

	assert_int_equal(zdb_set(t->u.ns, seq ? NULL : "padding.", seq ? 0 : KEY_SIZE, zeros,
				 (SECTOR - end % SECTOR) % SECTOR, 1000, &r),
			 0);
}

/* Keys 0 ... LONGER.  marked: all of it lies before the marker. */
static void begin(struct torn *t, enum zdb_mode mode, uint64_t victim, bool marked, const char *what)
{
	memset(t, 0, sizeof(*t));
	snprintf(t->where, sizeof(t->where), "%s mode, %s", zu_mode_name(mode), what);
	zu_setup(&t->u, mode);
	assert_int_equal(zu_open(&t->u), 0);
	for (uint64_t key = 0; key <= LONGER; key++) {
		char value[16];

		snprintf(value, sizeof(value), "value %u", (unsigned)key);
		if (mode == ZDB_SEQ)
			assert_int_equal(zu_insert(&t->u, value), key);
		else
			assert_int_equal(zu_seq_set(&t->u, key, value), 0);
	}
	if (victim != PLAIN)
		assert_int_equal(zu_seq_del(&t->u, PLAIN), 0);
	pad(t);
	if (marked) {
		zu_close(&t->u);
		assert_int_equal(zu_open(&t->u), 0);
	}
	t->before = figures(t);
	assert_int_equal((t->before.data_current_offset + DAT_RECORD + SEEN) % SECTOR, 0);
	assert_int_equal(zu_seq_del(&t->u, victim), 0);
	t->after = figures(t);
}

/* Log and index are synced, and what waited is in the index file; the marker stays. */
static void apply(struct torn *t)
{
	uint64_t next;
	struct zdb_sync *job = zdb_tick(t->u.eng, 1000000, &next);

	assert_non_null(job);
	do
		assert_int_equal(zdb_sync_run(job), 0);
	while (zdb_sync_done(job) == 1);
}

static bool flagged_on_disk(struct torn *t, uint64_t key)
{
	size_t size, at = IDX_HEADER + key * (IDX_RECORD + KEY_SIZE) + IDX_FLAGS_AT;
	uint8_t *b = zu_file(&t->u, "default", "i0", &size);
	bool flagged;

	assert_non_null(b);
	assert_true(at < size);
	flagged = (b[at] & FLAG_DELETED) != 0;
	free(b);
	return flagged;
}

static void lose(struct torn *t, const char *name)
{
	char path[600];

	zu_path(&t->u, "default", name, path, sizeof(path));
	if (unlink(path) != 0)
		fail_msg("%s: there is no %s", t->where, name);
}

static bool count_one(void *ctx, const struct zdb_entry *e)
{
	(void)e;
	++*(uint64_t *)ctx;
	return true;
}

static void is_as(struct torn *t, const struct zdb_ns_info *want, uint64_t victim, bool gone)
{
	struct zdb_ns_info info = figures(t);
	uint64_t listed = 0;
	uint8_t next[17];

	for (uint64_t key = 0; key <= LONGER; key++) {
		bool absent = gone && key == victim;

		if (key != PLAIN && (zu_seq_get(&t->u, key) == NULL) != absent)
			fail_msg("%s: key %u is %s", t->where, (unsigned)key, absent ? "there" : "gone");
	}
	if ((zu_seq_get(&t->u, PLAIN) == NULL) != (victim != PLAIN || gone))
		fail_msg("%s: key %u", t->where, PLAIN);
	assert_int_equal(zdb_scan(t->u.ns, NULL, 0, false, 0, 0, count_one, &listed, next), 0);
	assert_int_equal(listed, want->entries);
	if (info.entries != want->entries || info.data_size != want->data_size)
		fail_msg("%s: %llu entries and %llu bytes are counted, not %llu and %llu", t->where,
			 (unsigned long long)info.entries, (unsigned long long)info.data_size,
			 (unsigned long long)want->entries, (unsigned long long)want->data_size);
	if (t->u.opt.mode == ZDB_SEQ)
		assert_int_equal(info.next_id, want->next_id);
}

/* After the cut, after a clean stop, and with an index made from the log alone. */
static void stays_as(struct torn *t, const struct zdb_ns_info *want, uint64_t victim, bool gone)
{
	char path[600];

	zu_path(&t->u, "default", "synced", path, sizeof(path));
	(void)unlink(path); /* when anything was synced */
	assert_int_equal(zu_open(&t->u), 0);
	is_as(t, want, victim, gone);
	zu_close(&t->u);
	zu_check(&t->u, t->where);
	assert_int_equal(zu_open(&t->u), 0);
	is_as(t, want, victim, gone);
	zu_close(&t->u);
	lose(t, "i0");
	assert_int_equal(zu_open(&t->u), 0);
	is_as(t, want, victim, gone);
	zu_close(&t->u);
	zu_teardown(&t->u);
}

static void known(enum zdb_mode mode, bool counted)
{
	struct torn t;

	begin(&t, mode, PLAIN, true, counted ? "flagged" : "flagged, no counts");
	apply(&t);
	zu_crash(&t.u);
	assert_true(flagged_on_disk(&t, PLAIN));
	if (!counted && mode == ZDB_SEQ)
		lose(&t, "sums");
	stays_as(&t, &t.after, PLAIN, true);
}

static void a_deletion_that_the_index_knows_stays(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4; i++)
		known(i % 2 == 0 ? ZDB_USER : ZDB_SEQ, i < 2);
}

static void unknown(enum zdb_mode mode)
{
	struct torn t;

	begin(&t, mode, PLAIN, true, "not flagged");
	assert_int_equal(zdb_flush(t.u.eng), 0);
	zu_crash(&t.u);
	assert_false(flagged_on_disk(&t, PLAIN));
	stays_as(&t, &t.before, PLAIN, false);
}

static void one_that_nothing_else_knows_is_cut(void **state)
{
	(void)state;
	unknown(ZDB_USER);
	unknown(ZDB_SEQ);
}

static void remade(enum zdb_mode mode)
{
	struct torn t;

	begin(&t, mode, PLAIN, false, "flagged behind the marker");
	apply(&t);
	zu_crash(&t.u);
	assert_true(flagged_on_disk(&t, PLAIN));
	stays_as(&t, &t.before, PLAIN, false);
}

/* The record that was flagged is made again from the log, without the flag. */
static void a_flag_behind_the_marker_goes_with_it(void **state)
{
	(void)state;
	remade(ZDB_USER);
	remade(ZDB_SEQ);
}

static void torn(enum zdb_mode mode, bool marked)
{
	static const uint8_t zeros[KEY_SIZE - SEEN];
	char path[600];
	struct torn t;
	FILE *f;

	begin(&t, mode, LONGER, marked, marked ? "torn" : "torn, behind the marker");
	assert_int_equal(zdb_flush(t.u.eng), 0);
	zu_crash(&t.u);
	zu_path(&t.u, "default", "d0", path, sizeof(path));
	f = fopen(path, "r+b");
	assert_non_null(f);
	assert_int_equal(fseek(f, (long)(t.before.data_current_offset + DAT_RECORD + SEEN), SEEK_SET), 0);
	assert_int_equal(fwrite(zeros, sizeof(zeros), 1, f), 1);
	assert_int_equal(fclose(f), 0);
	stays_as(&t, &t.before, LONGER, false);
}

/* What is left of it names a key that was deleted long before: that counts once. */
static void a_torn_one_deletes_nothing(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4; i++)
		torn(i % 2 == 0 ? ZDB_USER : ZDB_SEQ, i < 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_deletion_that_the_index_knows_stays),
		cmocka_unit_test(one_that_nothing_else_knows_is_cut),
		cmocka_unit_test(a_flag_behind_the_marker_goes_with_it),
		cmocka_unit_test(a_torn_one_deletes_nothing),
	};

	test_in_memory();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
