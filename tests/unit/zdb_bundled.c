/*
 * Index files that are missing or torn, of namespaces whose data files were evicted: they come back from the bundles that were stored
 * of each closed segment, and what later segments changed in them from the log.  Whatever is not enough for that, or does not fit, refuses the
 * namespace.  An interruption on the way changes nothing.
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

#include "core/base/file.h"
#include "core/base/sys.h"
#include "core/object/bundle.h"
#include "core/zdb/fmt.h"
#include "tests/unit/support/sys_test.h"
#include "tests/unit/support/zdb_life.h"

static int put_together(struct life *l, int fd, unsigned n, uint32_t *next)
{
	struct bundle_index x;
	const char *what;
	int rc = 0;

	bundle_index_begin(&x, fd, n);
	for (unsigned i = n; rc == 0 && i < l->stored; i++) {
		struct bundle b;

		assert_int_equal(bundle_parse(l->bundle[i], l->bundle_size[i], &b, &what), 0);
		rc = bundle_index_add(&x, &b, &what);
		bundle_release(&b);
	}
	*next = x.next;
	return rc == 0 && x.size == 0 ? -ENOENT : rc;
}

/* What a hook does: i<N>.before<C>, whole under its name or not at all. */
static int on_index_missing(void *ctx, const char *ns_name, const char *path)
{
	const char *number = strrchr(path, '/') + 2;
	unsigned n = (unsigned)strtoul(number, NULL, 10);
	char temp[600], name[600];
	struct life *l = ctx;
	uint32_t next;
	int fd, rc;

	assert_string_equal(ns_name, "default");
	l->asked++;
	snprintf(temp, sizeof(temp), "%s.coming", path);
	fd = sys->open(temp, O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (fd < 0)
		return -EIO;
	rc = put_together(l, fd, n, &next);
	if (rc == 0 && l->spoil != NULL)
		rc = l->spoil(l, fd, n);
	if (rc == 0 && sys->fsync(fd) != 0)
		rc = -EIO;
	sys->close(fd);
	snprintf(name, sizeof(name), "%s.before%u", path, next);
	if (rc == 0 && sys->rename(temp, name) != 0)
		rc = -EIO;
	return rc == 0 ? file_sync_parent(name) : rc;
}

/* -------------------------------------------------------------------------------------------------- from bundles --- */

/* Segments and index files as bits. */
#define ALL_CLOSED ((1u << (FILES - 1)) - 1)

static void data_path(struct life *l, unsigned n, bool away, char *path, size_t size)
{
	char name[16];

	snprintf(name, sizeof(name), "d%u", n);
	zu_path(&l->u, "default", name, path, size);
	if (away)
		snprintf(path, size, "%s/away-%u", l->u.dir, n);
}

static void evict(struct life *l, unsigned which)
{
	char path[600], away[600];

	for (unsigned n = 0; n < FILES; n++) {
		data_path(l, n, false, path, sizeof(path));
		data_path(l, n, true, away, sizeof(away));
		if ((which & 1u << n) != 0)
			assert_int_equal(rename(path, away), 0);
	}
}

static void bring_back(struct life *l)
{
	char path[600], away[600];

	for (unsigned n = 0; n < FILES; n++) {
		data_path(l, n, false, path, sizeof(path));
		data_path(l, n, true, away, sizeof(away));
		if (access(away, F_OK) == 0)
			assert_int_equal(rename(away, path), 0);
	}
}

static void lose(struct life *l, unsigned which)
{
	for (unsigned n = 0; n < FILES; n++)
		if ((which & 1u << n) != 0)
			life_harm(l, n, MISSING);
}

static unsigned bits_in(unsigned which)
{
	return (unsigned)__builtin_popcount(which);
}

static int no_brought_left(void *ctx, const char *name, unsigned char type)
{
	(void)type;
	if (strstr(name, ".before") != NULL)
		fail_msg("%s: %s is left", (const char *)ctx, name);
	return 0;
}

/* Everything is as it was, and goes on; the check, with all segments here, finds nothing. */
static void prove(struct life *l, const char *where)
{
	char dir[600];

	zu_path(&l->u, "default", "", dir, sizeof(dir));
	assert_int_equal(file_list(dir, no_brought_left, (void *)(uintptr_t)where), 0);
	bring_back(l);
	life_goes_on(l, where);
}

struct loss {
	unsigned evicted, lost, asked; /* as bits: data files, index files; those that must be asked for */
	unsigned stored;               /* bundles */
};

static const struct loss losses[] = {
	{0x0f, 0x01, 0x01, 4}, {0x0f, 0x02, 0x02, 4}, {0x0f, 0x08, 0x08, 4}, {0x0f, 0x05, 0x05, 4},
	{0x0f, 0x0f, 0x0f, 4}, {0x0f, 0x12, 0x02, 4}, /* the active one, too: it comes from its log */
	{0x0f, 0x1f, 0x0f, 4},                        /* all of them */
	{0x04, 0x02, 0x02, 4},                        /* only the one between is evicted */
	{0x03, 0x09, 0x01, 4},                        /* the later one comes from the log */
	{0x07, 0x01, 0x01, 3},                        /* the last bundle was not made: its segment is here */
	{0x01, 0x01, 0x01, 2},
};

static void from_bundles(enum zdb_mode mode)
{
	for (size_t i = 0; i < 2 * sizeof(losses) / sizeof(losses[0]); i++) {
		const struct loss *x = &losses[i / 2];
		char where[200];
		struct life l;

		snprintf(where, sizeof(where), "%s mode, %s, loss %zu", zu_mode_name(mode),
			 i % 2 ? "crash" : "clean stop", i / 2);
		life_live(&l, mode, 200 + i, i % 2 == 1);
		l.ev.index_missing = on_index_missing;
		l.stored = x->stored;
		evict(&l, x->evicted);
		lose(&l, x->lost);
		assert_int_equal(zu_open(&l.u), 0);
		if (l.asked != bits_in(x->asked))
			fail_msg("%s: asked for %u index files", where, l.asked);
		assert_int_equal(zdb_ns_recovery(l.u.ns)->index_brought, bits_in(x->asked));
		prove(&l, where);
		life_end(&l);
	}
}

/* One file is torn: only a length that cannot be shows that in sequential mode. */
static void torn_from_bundles(enum zdb_mode mode)
{
	for (unsigned i = 0; i < 2 * (FILES - 1) * 2; i++) {
		enum harm harm = i / 2 % 2 ? TORN_MIDDLE : TORN_END;
		unsigned n = i / 4;
		char where[200];
		struct life l;

		if (mode == ZDB_SEQ && harm == TORN_MIDDLE)
			continue;
		snprintf(where, sizeof(where), "%s mode, %s, i%u %s, segments evicted", zu_mode_name(mode),
			 i % 2 ? "crash" : "clean stop", n, life_harms[harm]);
		life_live(&l, mode, 300 + i, i % 2 == 1);
		l.ev.index_missing = on_index_missing;
		evict(&l, ALL_CLOSED);
		life_harm(&l, n, harm);
		assert_int_equal(zu_open(&l.u), 0);
		assert_int_equal(l.asked, 1);
		assert_int_equal(zdb_ns_recovery(l.u.ns)->index_brought, 1);
		prove(&l, where);
		life_end(&l);
	}
}

static void bundles_user(void **state)
{
	(void)state;
	from_bundles(ZDB_USER);
	torn_from_bundles(ZDB_USER);
}

static void bundles_sequential(void **state)
{
	(void)state;
	from_bundles(ZDB_SEQ);
	torn_from_bundles(ZDB_SEQ);
}

static int cut_short(struct life *l, int fd, unsigned n)
{
	struct stat st;

	(void)l;
	(void)n;
	return fstat(fd, &st) != 0 || ftruncate(fd, st.st_size - 11) != 0 ? -EIO : 0;
}

/* In sequential mode whole records are missing: everything behind would have another id. */
static int cut_records(struct life *l, int fd, unsigned n)
{
	struct stat st;

	return l->u.opt.mode != ZDB_SEQ                                                 ? cut_short(l, fd, n)
	       : fstat(fd, &st) != 0 || ftruncate(fd, st.st_size - 2 * SEQ_RECORD) != 0 ? -EIO
											: 0;
}

static int other_number(struct life *l, int fd, unsigned n)
{
	uint8_t number = (uint8_t)(n + 1);

	(void)l;
	return pwrite(fd, &number, 1, 24) == 1 ? 0 : -EIO;
}

static int other_mode(struct life *l, int fd, unsigned n)
{
	uint8_t mode = l->u.opt.mode == ZDB_SEQ ? ZDB_USER : ZDB_SEQ;

	(void)n;
	return pwrite(fd, &mode, 1, 28) == 1 ? 0 : -EIO;
}

static int nothing(struct life *l, int fd, unsigned n)
{
	(void)l;
	(void)fd;
	(void)n;
	return -ENOENT;
}

static void refused(struct life *l, const char *where)
{
	char why[800], path[600];
	struct zdb *eng;
	int rc = zdb_open(&eng, &l->u.opt, why, sizeof(why));

	if (rc != -EIO || strstr(why, "i1") == NULL)
		fail_msg("%s: answers %d: %s", where, rc, why);
	zu_path(&l->u, "default", "i1", path, sizeof(path));
	assert_int_equal(access(path, F_OK), -1);
}

/* What does not come, or cannot be what was lost, refuses the namespace; nothing has changed, and the right one still helps. */
static void not_fitting(void **state)
{
	static int (*const spoils[])(struct life *, int, unsigned) = {cut_short, cut_records, other_number,
								      other_mode, nothing};
	const enum zdb_mode modes[] = {ZDB_USER, ZDB_SEQ};
	char where[100];

	(void)state;
	for (unsigned i = 0; i < 2 * sizeof(spoils) / sizeof(spoils[0]); i++) {
		struct life l;

		snprintf(where, sizeof(where), "spoiled %u in mode %u", i / 2, i % 2);
		life_live(&l, modes[i % 2], 7, i % 4 > 1);
		evict(&l, ALL_CLOSED);
		lose(&l, 0x02);
		refused(&l, where); /* nobody to ask */
		l.ev.index_missing = on_index_missing;
		l.spoil = spoils[i / 2];
		refused(&l, where);
		assert_int_equal(l.asked, 1);
		l.spoil = NULL;
		l.stored = 3; /* too old: what segment 3 changed is known to nobody here */
		refused(&l, where);
		l.stored = FILES - 1;
		assert_int_equal(zu_open(&l.u), 0);
		prove(&l, where);
		life_end(&l);
	}
}

/* Nobody can bring what a torn one held: ids are not given to others, keys are served as far as they read; nothing is changed. */
static void torn_and_alone(void **state)
{
	static int (*const spoils[])(struct life *, int, unsigned) = {NULL, nothing, cut_short};
	uint8_t *before, *after;
	size_t size, now;
	struct life l;

	(void)state;
	for (unsigned i = 0; i < 6; i++) {
		enum zdb_mode mode = i % 2 ? ZDB_SEQ : ZDB_USER;

		life_live(&l, mode, 17 + i, false);
		evict(&l, ALL_CLOSED);
		life_harm(&l, 1, TORN_END);
		before = zu_file(&l.u, "default", "i1", &size);
		l.spoil = spoils[i / 2];
		if (l.spoil != NULL)
			l.ev.index_missing = on_index_missing;
		if (mode == ZDB_SEQ) {
			assert_int_equal(zdb_open(&l.u.eng, &l.u.opt, l.u.why, sizeof(l.u.why)), -EIO);
			assert_non_null(strstr(l.u.why, "i1"));
		} else {
			assert_int_equal(zu_open(&l.u), 0);
			zu_crash(&l.u);
		}
		after = zu_file(&l.u, "default", "i1", &now);
		assert_non_null(after);
		assert_int_equal(size, now);
		assert_memory_equal(before, after, size);
		free(before);
		free(after);
		life_end(&l);
	}
}

/* Without a server: somebody brought the file, and the offline verbs say so, and use it. */
static void repairable(void *ctx, int level, const char *ns, const char *text)
{
	unsigned *count = ctx;

	(void)ns;
	if (level == 1 && strstr(text, "i1") != NULL)
		(*count)++;
	else if (level > 0 && strstr(text, "put 1 index files back") == NULL && strstr(text, "made ") == NULL)
		fail_msg("level %d: %s", level, text);
}

static void offline(void **state)
{
	unsigned said = 0;
	char path[600];
	struct life l;

	(void)state;
	life_live(&l, ZDB_SEQ, 9, false);
	evict(&l, ALL_CLOSED);
	lose(&l, 0x02);
	zu_path(&l.u, "default", "i1", path, sizeof(path));
	assert_int_equal(on_index_missing(&l, "default", path), 0);
	assert_int_equal(zdb_verify(&l.u.opt, repairable, &said), 1);
	assert_int_equal(said, 1);
	assert_int_equal(zdb_recover(&l.u.opt, repairable, &said), 1);
	assert_int_equal(zu_open(&l.u), 0);
	prove(&l, "offline");
	life_end(&l);
}

/* From the n-th system call on nothing works any more, on this side or on the hook's. */
static void bundles_interrupted(void **state)
{
	const enum zdb_mode modes[] = {ZDB_USER, ZDB_SEQ};
	unsigned done = 0;

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		struct life l;

		life_live(&l, modes[i % 2], 11 + i, i > 1);
		l.ev.index_missing = on_index_missing;
		evict(&l, ALL_CLOSED);
		lose(&l, 0x05);
		life_harm(&l, 3, TORN_END);
		done += life_interrupted(&l, true, bring_back);
		life_end(&l);
	}
	print_message("%u interruptions\n", done);
	assert_true(done > 300);
}

/* The power fails at each call of such a start. */
static void bundles_power(void **state)
{
	static const enum sim_policy policies[] = {SIM_DROP, SIM_KEEP, SIM_PREFIX, SIM_SECTORS};
	const enum zdb_mode modes[] = {ZDB_USER, ZDB_SEQ};

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		struct sim_disk *disk;
		char out[400], what[200], where[300];
		uint64_t calls;
		struct life l, cut;

		life_live(&l, modes[i % 2], 21 + i, i > 1);
		l.ev.index_missing = on_index_missing;
		evict(&l, ALL_CLOSED);
		lose(&l, 0x0a);
		life_harm(&l, 0, TORN_END);
		disk = sim_disk_begin(l.u.dir);
		assert_int_equal(zu_open(&l.u), 0);
		zu_close(&l.u);
		sim_disk_stop(disk);
		calls = sim_disk_calls(disk);
		assert_true(calls > 20);
		for (uint64_t at = 0; at <= calls; at++) {
			enum sim_policy policy = policies[at % 4];

			snprintf(out, sizeof(out), "%s.cut", l.u.dir);
			sim_disk_materialise(disk, at, policy, at + 3, out);
			snprintf(where, sizeof(where), "power cut after call %u (%s) policy %d", (unsigned)at,
				 at == 0 ? "-" : sim_disk_describe(disk, at - 1, what, sizeof(what)),
				 (int)policy);
			cut = l;
			zu_at(&cut.u, out, modes[i % 2]);
			cut.u.opt.events = &cut.ev;
			cut.u.opt.events_ctx = &cut;
			assert_int_equal(zu_open(&cut.u), 0);
			bring_back(&cut);
			life_compare(&cut, where);
			zu_close(&cut.u);
			zu_check(&cut.u, where);
			assert_int_equal(file_rm_tree(out), 0);
		}
		sim_disk_free(disk);
		life_end(&l);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bundles_user),  cmocka_unit_test(bundles_sequential),
		cmocka_unit_test(not_fitting),   cmocka_unit_test(torn_and_alone),
		cmocka_unit_test(offline),       cmocka_unit_test(bundles_interrupted),
		cmocka_unit_test(bundles_power),
	};

	test_in_memory();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
