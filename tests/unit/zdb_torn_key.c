/*
 * A record at the end of the log whose key looks torn at a sector border, after a power cut that took `synced` along: where the index
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
#include <fcntl.h>
#include <unistd.h>

#include "core/zdb/fmt.h"
#include "tests/unit/support/sys_test.h"
#include "tests/unit/support/zdb_util.h"

#define KEY_SIZE 8u
#define PLAIN    5u   /* a key with only zeros behind its first byte */
#define LONGER   261u /* one that looks like it when it is torn there */
#define NO_KEY   UINT64_MAX
#define SEEN     1u /* so many bytes of the last record's key lie before the border */

struct torn {
	struct zu u;
	char where[100];
	struct zdb_ns_info before, after; /* the last record */
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

/* User mode: the record that comes next lies across a border in both files. */
static void pad_both(struct torn *t)
{
	static const uint8_t zeros[SECTOR];
	uint8_t key[ZDB_KEY_MAX];
	struct zdb_set_result r;
	uint32_t klen = 0;

	for (uint8_t n = 'a'; klen == 0; n++) {
		struct zdb_ns_info info = figures(t);
		uint32_t end = info.index_current_offset + 2 * IDX_RECORD + SEEN, size;

		klen = (SECTOR - end % SECTOR) % SECTOR;
		if (klen > ZDB_KEY_MAX)
			klen = 0;
		size = klen == 0 ? 100 : klen;
		memset(key, n, size);
		end = info.data_current_offset + 2 * DAT_RECORD + size + SEEN;
		assert_int_equal(
			zdb_set(t->u.ns, key, size, zeros, (SECTOR - end % SECTOR) % SECTOR, 1000, &r), 0);
	}
}

/* Keys 0 ... LONGER; PLAIN is gone when it is not what comes next. */
static void fill(struct torn *t, enum zdb_mode mode, bool plain, const char *what)
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
	if (!plain)
		assert_int_equal(zu_seq_del(&t->u, PLAIN), 0);
}

static void mark(struct torn *t)
{
	zu_close(&t->u);
	assert_int_equal(zu_open(&t->u), 0);
}

/* What comes next lies across a border.  marked: what is before it lies before the marker. */
static void begin_next(struct torn *t, enum zdb_mode mode, bool plain, bool marked, const char *what)
{
	fill(t, mode, plain, what);
	pad(t);
	if (marked)
		mark(t);
	t->before = figures(t);
	assert_int_equal((t->before.data_current_offset + DAT_RECORD + SEEN) % SECTOR, 0);
}

/* A deletion comes last. */
static void begin(struct torn *t, enum zdb_mode mode, uint64_t victim, bool marked, const char *what)
{
	begin_next(t, mode, victim == PLAIN, marked, what);
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

static void is_as(struct torn *t, const struct zdb_ns_info *want, uint64_t absent)
{
	struct zdb_ns_info info = figures(t);
	uint64_t listed = 0;
	uint8_t next[17];

	for (uint64_t key = 0; key <= LONGER; key++) {
		bool there = zu_seq_get(&t->u, key) != NULL;

		if (there == (key == absent))
			fail_msg("%s: key %u is %s", t->where, (unsigned)key, there ? "there" : "gone");
	}
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
static void stays_as(struct torn *t, const struct zdb_ns_info *want, uint64_t absent)
{
	char path[600];

	zu_path(&t->u, "default", "synced", path, sizeof(path));
	(void)unlink(path); /* when anything was synced */
	assert_int_equal(zu_open(&t->u), 0);
	is_as(t, want, absent);
	zu_close(&t->u);
	zu_check(&t->u, t->where);
	assert_int_equal(zu_open(&t->u), 0);
	is_as(t, want, absent);
	zu_close(&t->u);
	lose(t, "i0");
	assert_int_equal(zu_open(&t->u), 0);
	is_as(t, want, absent);
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
	stays_as(&t, &t.after, PLAIN);
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
	stays_as(&t, &t.before, NO_KEY);
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
	stays_as(&t, &t.before, NO_KEY);
}

/* The record that was flagged is made again from the log, without the flag. */
static void a_flag_behind_the_marker_goes_with_it(void **state)
{
	(void)state;
	remade(ZDB_USER);
	remade(ZDB_SEQ);
}

/* The sector behind the border was never written. */
static void tear(struct torn *t, const char *name, uint32_t record, uint32_t head)
{
	static const uint8_t zeros[KEY_SIZE - SEEN];
	char path[600];
	FILE *f;

	zu_path(&t->u, "default", name, path, sizeof(path));
	f = fopen(path, "r+b");
	assert_non_null(f);
	assert_int_equal(fseek(f, (long)(record + head + SEEN), SEEK_SET), 0);
	assert_int_equal(fwrite(zeros, sizeof(zeros), 1, f), 1);
	assert_int_equal(fclose(f), 0);
}

static void torn(enum zdb_mode mode, bool marked)
{
	struct torn t;

	begin(&t, mode, LONGER, marked, marked ? "torn" : "torn, behind the marker");
	assert_int_equal(zdb_flush(t.u.eng), 0);
	zu_crash(&t.u);
	tear(&t, "d0", t.before.data_current_offset, DAT_RECORD);
	stays_as(&t, &t.before, PLAIN);
}

/* What is left of it names a key that was deleted long before: that counts once. */
static void a_torn_one_deletes_nothing(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4; i++)
		torn(i % 2 == 0 ? ZDB_USER : ZDB_SEQ, i < 2);
}

/* From there on nothing of the log was written, but all of the index. */
static void lose_log(struct torn *t)
{
	static const uint8_t zeros[SECTOR];
	struct zdb_ns_info info = figures(t);
	uint32_t from = t->before.data_current_offset + DAT_RECORD + SEEN,
		 size = info.data_current_offset - from;
	char path[600];
	int fd;

	assert_true(size <= SECTOR);
	assert_int_equal(zdb_flush(t->u.eng), 0);
	zu_crash(&t->u);
	zu_path(&t->u, "default", "d0", path, sizeof(path));
	fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, zeros, size, from), size);
	assert_int_equal(close(fd), 0);
}

/*
 * The copy of the update behind it has the key that is left of it: that does not make it an update without a value.
 */
static void a_torn_deletion_is_no_update(void **state)
{
	struct torn t;

	(void)state;
	begin_next(&t, ZDB_SEQ, true, true, "a torn deletion before an update");
	assert_int_equal(zu_seq_del(&t.u, LONGER), 0);
	assert_int_equal(zu_seq_set(&t.u, PLAIN, "later"), 0);
	lose_log(&t);
	stays_as(&t, &t.before, NO_KEY);
}

/* Its copy has another key than what is left of it: that does not make it a deletion, of one that is gone already. */
static void a_torn_update_is_no_deletion(void **state)
{
	struct torn t;

	(void)state;
	begin_next(&t, ZDB_SEQ, false, true, "a torn update without a value");
	assert_int_equal(zu_seq_set(&t.u, LONGER, ""), 0);
	lose_log(&t);
	stays_as(&t, &t.before, PLAIN);
}

/* ---- new values, in user mode: the index record may be torn at the same place of the key */

static void begin_value(struct torn *t, uint64_t victim, bool plain, const char *what)
{
	fill(t, ZDB_USER, plain, what);
	pad_both(t);
	mark(t);
	t->before = figures(t);
	assert_int_equal((t->before.data_current_offset + DAT_RECORD + SEEN) % SECTOR, 0);
	assert_int_equal((t->before.index_current_offset + IDX_RECORD + SEEN) % SECTOR, 0);
	assert_int_equal(zu_seq_set(&t->u, victim, ""), 0);
	t->after = figures(t);
}

static void a_parent_tells_the_key(void **state)
{
	struct torn t;

	(void)state;
	begin_value(&t, PLAIN, true, "a new value, flagged its parent");
	assert_false(zdb_ns_doubtful(t.u.ns));
	apply(&t);
	zu_crash(&t.u);
	assert_true(flagged_on_disk(&t, PLAIN));
	stays_as(&t, &t.after, NO_KEY);
}

static void torn_in_both_files(void **state)
{
	struct torn t;

	(void)state;
	begin_value(&t, LONGER, false, "a new value, torn twice");
	assert_int_equal(zdb_flush(t.u.eng), 0);
	zu_crash(&t.u);
	tear(&t, "d0", t.before.data_current_offset, DAT_RECORD);
	tear(&t, "i0", t.before.index_current_offset, IDX_RECORD);
	stays_as(&t, &t.before, PLAIN);
}

static void without_a_parent_nothing_tells(void **state)
{
	struct torn t;

	(void)state;
	begin_value(&t, PLAIN, false, "a new key");
	assert_true(zdb_ns_doubtful(t.u.ns)); /* or a kill would take back what was answered */
	assert_int_equal(zdb_flush(t.u.eng), 0);
	zu_crash(&t.u);
	stays_as(&t, &t.before, PLAIN);
	begin_value(&t, PLAIN, false, "a new key, synced");
	assert_int_equal(zdb_sync(t.u.ns, ZDB_SYNC_DATA), 0);
	assert_false(zdb_ns_doubtful(t.u.ns));
	zu_crash(&t.u);
	stays_as(&t, &t.after, NO_KEY);
}

/* A record behind it tells that the sector came if it begins in there; behind a value of zeros that fills the sector it does not. */
static void a_follower_tells_if_it_begins_in_that_sector(void **state)
{
	static const uint8_t zeros[2 * SECTOR];
	uint8_t key[KEY_SIZE] = {PLAIN};
	uint32_t rest = SECTOR - (KEY_SIZE - SEEN);

	(void)state;
	for (uint32_t len = rest - 1; len <= rest + SECTOR; len += len < rest + 1 ? 1 : SECTOR - 1) {
		struct zdb_set_result r;
		struct torn t;

		fill(&t, ZDB_USER, false, "a new key, zeros");
		pad_both(&t);
		mark(&t);
		t.before = figures(&t);
		assert_int_equal(zdb_set(t.u.ns, key, sizeof(key), zeros, len, 1000, &r), 0);
		assert_true(zdb_ns_doubtful(t.u.ns));
		assert_int_equal(zu_seq_set(&t.u, LONGER, "behind it"), 0);
		assert_int_equal(zdb_ns_doubtful(t.u.ns), len >= rest);
		assert_int_equal(zu_seq_set(&t.u, LONGER, "and one more"), 0);
		assert_int_equal(zdb_ns_doubtful(t.u.ns), len >= rest);
		if (len >= rest)
			assert_int_equal(zdb_sync(t.u.ns, ZDB_SYNC_DATA), 0);
		assert_false(zdb_ns_doubtful(t.u.ns));
		t.after = figures(&t);
		zu_crash(&t.u);
		stays_as(&t, &t.after, NO_KEY);
	}
}

/* A sector takes checksum, time, key and payload of an update; its copy in the index is whole, and says nothing of the payload. */
static void a_torn_head_brings_no_zeros(void **state)
{
	static const uint8_t zeros[SECTOR];
	struct zdb_set_result r;
	struct torn t = {.where = "sequential mode, torn head"};
	uint32_t start;
	char path[400];
	int fd;

	(void)state;
	zu_setup(&t.u, ZDB_SEQ);
	assert_int_equal(zu_open(&t.u), 0);
	assert_int_equal(zu_insert(&t.u, "as it was"), 0);
	mark(&t);
	start = figures(&t).data_current_offset + DAT_RECORD + KEY_SIZE;
	assert_int_equal(
		zdb_set(t.u.ns, NULL, 0, zeros, (2 * SECTOR - 7 - start % SECTOR) % SECTOR, 1000, &r), 0);
	start = figures(&t).data_current_offset;
	assert_int_equal(start % SECTOR,
			 SECTOR - 7); /* length and half of `previous` lie before the border */
	assert_int_equal(zu_seq_set(&t.u, 0, "as it is"), 0);
	zu_path(&t.u, "default", "d0", path, sizeof(path));
	zu_crash(&t.u);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, zeros, DAT_RECORD + KEY_SIZE + 8 - 7, start + 7),
			 DAT_RECORD + KEY_SIZE + 8 - 7);
	close(fd);
	assert_int_equal(zu_open(&t.u), 0);
	assert_string_equal(zu_seq_get(&t.u, 0), "as it was");
	zu_teardown(&t.u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_deletion_that_the_index_knows_stays),
		cmocka_unit_test(one_that_nothing_else_knows_is_cut),
		cmocka_unit_test(a_flag_behind_the_marker_goes_with_it),
		cmocka_unit_test(a_torn_one_deletes_nothing),
		cmocka_unit_test(a_torn_deletion_is_no_update),
		cmocka_unit_test(a_torn_update_is_no_deletion),
		cmocka_unit_test(a_parent_tells_the_key),
		cmocka_unit_test(torn_in_both_files),
		cmocka_unit_test(without_a_parent_nothing_tells),
		cmocka_unit_test(a_follower_tells_if_it_begins_in_that_sector),
		cmocka_unit_test(a_torn_head_brings_no_zeros),
	};

	test_in_memory();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
