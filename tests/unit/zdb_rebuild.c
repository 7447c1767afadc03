/*
 * Index files that are missing or torn are made again from the log: first, middle and last, in both modes, after a clean stop
 * and after a crash, with updates and deletions that reach across files.  An interruption on the way changes nothing.
 *
 * When data files were evicted, too, missing index files come back from the bundles that were stored of each closed segment, and what
 * later segments changed in them from the log; whatever is not enough for that, or does not fit, refuses the namespace.
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
#include "core/base/sys.h"
#include "core/object/bundle.h"
#include "core/zdb/fmt.h"
#include "tests/unit/support/sys_test.h"
#include "tests/unit/support/zdb_util.h"

#define FILES 5u /* pairs; the last is the active one */
#define KEYS  60u
#define STEPS 40u /* per pair */

struct life {
	struct zu u;
	struct zdb_events ev;
	/* what the stores have: the bundle of each closed segment */
	uint8_t *bundle[FILES];
	size_t bundle_size[FILES];
	unsigned stored, asked; /* so many of them can be had; index files that were asked for */
	int (*spoil)(struct life *l, int fd, unsigned n);
	uint64_t rng;
	uint64_t ids[KEYS];
	unsigned known;
	unsigned version[KEYS], before[KEYS]; /* 0 = absent; before: the version that the live one replaced */
	unsigned last;
	struct zdb_ns_info info;
};

enum harm { MISSING, TORN_END, TORN_MIDDLE, HARMS };
static const char *const harms[] = {"missing", "torn at its end", "torn in its middle"};

static size_t key_of(const struct life *l, unsigned k, void *key)
{
	if (l->u.opt.mode == ZDB_SEQ) {
		put_u64le(key, l->ids[k]);
		return 8;
	}
	return (size_t)sprintf(key, "%u-key", k);
}

static size_t text_of(unsigned version, char *text)
{
	return (size_t)sprintf(text, "version %u %.*s", version, (int)(version * 7 % 50),
			       "..................................................");
}

static void set(struct life *l, unsigned k)
{
	bool insert = l->u.opt.mode == ZDB_SEQ && k == l->known;
	struct zdb_set_result r;
	char key[32], text[100];
	size_t size = text_of(++l->last, text);

	assert_int_equal(zdb_set(l->u.ns, key, insert ? 0 : key_of(l, k, key), text, size, l->last, &r), 0);
	if (insert)
		l->ids[k] = get_u64le(r.key);
	if (k == l->known)
		l->known++;
	l->before[k] = l->version[k];
	l->version[k] = l->last;
}

static void step(struct life *l)
{
	unsigned k = (unsigned)(test_random(&l->rng) % KEYS), dice = (unsigned)(test_random(&l->rng) % 10);
	char key[32];

	if (k >= l->known || (l->version[k] == 0 && l->u.opt.mode == ZDB_SEQ))
		k = l->known < KEYS ? l->known : UINT32_MAX;
	if (k != UINT32_MAX && (k == l->known || dice < 7)) {
		set(l, k);
	} else if (k != UINT32_MAX && l->version[k] != 0) {
		assert_int_equal(zdb_del(l->u.ns, key, key_of(l, k, key), 1), 0);
		l->version[k] = 0;
	}
}

/* ---------------------------------------------------------------------------------------------------- the stores --- */

struct growing {
	uint8_t *b;
	size_t size;
};

static int grow(void *ctx, const void *bytes, size_t size)
{
	struct growing *g = ctx;

	g->b = realloc(g->b, g->size + size);
	assert_non_null(g->b);
	memcpy(g->b + g->size, bytes, size);
	g->size += size;
	return 0;
}

static int on_closed(void *ctx, struct zdb_ns *ns, uint32_t n, const char *dirty, const struct zdb_bundle *b)
{
	struct growing g = {0};
	struct life *l = ctx;
	uint8_t head[20];

	(void)ns;
	(void)dirty;
	if (n >= FILES)
		return 0;
	memcpy(head, "QSX1", 4);
	put_u32le(head + 4, n);
	put_u32le(head + 8, n);
	put_u32le(head + 12, 0);
	put_u32le(head + 16, b->extents_count);
	grow(&g, head, 20);
	for (uint32_t i = 0; i < b->extents_count; i++) {
		put_u32le(head, b->extents[i].file);
		put_u32le(head + 4, b->extents[i].offset);
		put_u32le(head + 8, b->extents[i].length);
		grow(&g, head, 12);
	}
	assert_int_equal(zdb_bundle_read(b, grow, &g), 0);
	l->bundle[n] = g.b;
	l->bundle_size[n] = g.size;
	l->stored = n + 1;
	return 0;
}

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

static void live(struct life *l, enum zdb_mode mode, uint64_t seed, bool crash)
{
	memset(l, 0, sizeof(*l));
	l->rng = seed;
	zu_setup(&l->u, mode);
	l->ev = (struct zdb_events){.segment_closed = on_closed};
	l->u.opt.events = &l->ev;
	l->u.opt.events_ctx = l;
	l->u.opt.want_bundles = true;
	assert_int_equal(zu_open(&l->u), 0);
	for (unsigned f = 0; f < FILES; f++) {
		if (f > 0)
			assert_int_equal(zdb_jump(l->u.ns), 0);
		for (unsigned i = 0; i < STEPS; i++)
			step(l);
		if (f + 1 == FILES)
			assert_int_equal(zdb_sync(l->u.ns, ZDB_SYNC_INDEX), 0);
	}
	for (unsigned i = 0; i < STEPS / 2; i++)
		step(l);
	zdb_ns_info(l->u.ns, &l->info);
	if (crash)
		zu_crash(&l->u);
	else
		zu_close(&l->u);
}

static void life_end(struct life *l)
{
	for (unsigned i = 0; i < FILES; i++)
		free(l->bundle[i]);
	zu_teardown(&l->u);
}

static void check_history(struct life *l, unsigned k, const char *where, unsigned *found)
{
	uint8_t next[8];
	struct zdb_read rd;
	char key[32], text[100];
	size_t klen = key_of(l, k, key), size = text_of(l->before[k], text);
	bool more;
	int rc;

	assert_int_equal(zdb_history(l->u.ns, key, klen, NULL, 0, &rd, next, &more, NULL), 0);
	zdb_read_end(l->u.ns, &rd);
	if (!more) /* who was flagged by a record whose index is lost may have been deleted before */
		return;
	rc = zdb_history(l->u.ns, key, klen, next, 8, &rd, next, &more, NULL);
	if (rc == -EIO && l->u.opt.mode == ZDB_SEQ)
		return; /* only the lost index knew where that version was */
	if (rc != 0)
		fail_msg("%s: history of key %u answers %d", where, k, rc);
	(*found)++;
	if (rd.length != size || rd.data == NULL || memcmp(rd.data, text, size) != 0)
		fail_msg("%s: key %u has another history", where, k);
	zdb_read_end(l->u.ns, &rd);
}

static void compare(struct life *l, const char *where)
{
	struct zdb_ns_info info;
	unsigned histories = 0;

	for (unsigned k = 0; k < l->known; k++) {
		char key[32], text[100];
		size_t klen = key_of(l, k, key), size, want = text_of(l->version[k], text);
		uint8_t *value;
		int rc = zu_value(l->u.ns, key, klen, &value, &size);

		if (l->version[k] == 0 ? rc != -ENOENT
				       : rc != 0 || size != want || memcmp(value, text, size) != 0)
			fail_msg("%s: key %u answers %d, wanted version %u", where, k, rc, l->version[k]);
		free(value);
		if (l->version[k] != 0 && l->before[k] != 0)
			check_history(l, k, where, &histories);
	}
	assert_true(histories > 0);
	zdb_ns_info(l->u.ns, &info);
	assert_int_equal(info.entries, l->info.entries);
	assert_int_equal(info.data_size, l->info.data_size);
	if (l->u.opt.mode == ZDB_SEQ)
		assert_int_equal(info.next_id, l->info.next_id);
}

static void do_harm(struct life *l, unsigned n, enum harm harm)
{
	char name[16], path[600];
	struct stat st;
	uint32_t at;

	snprintf(name, sizeof(name), "i%u", n);
	zu_path(&l->u, "default", name, path, sizeof(path));
	assert_int_equal(stat(path, &st), 0);
	at = l->u.opt.mode == ZDB_SEQ ? IDX_HEADER + SEQ_RECORD * 5 : IDX_HEADER;
	if (harm == MISSING)
		assert_int_equal(unlink(path), 0);
	else if (harm == TORN_END)
		assert_int_equal(truncate(path, st.st_size - 11), 0);
	else { /* a record without key, and nothing that can be told apart behind it */
		FILE *f = fopen(path, "r+b");

		assert_non_null(f);
		assert_int_equal(fseek(f, at, SEEK_SET), 0);
		assert_int_equal(fputc(0, f), 0);
		assert_int_equal(fclose(f), 0);
	}
}

static void finding(void *ctx, int level, const char *ns, const char *text)
{
	(void)ns;
	if (level > 0)
		fail_msg("%s: %s", (const char *)ctx, text);
}

static void copy_dir(const char *from, const char *to)
{
	char command[1000];

	snprintf(command, sizeof(command), "rm -rf '%s' && cp -a '%s' '%s'", to, from, to);
	assert_int_equal(system(command), 0);
}

static void one(enum zdb_mode mode, bool crash, unsigned n, enum harm harm)
{
	char where[200];
	struct life l;

	/* In a middle that cannot be read sequential mode has arithmetic: only a wrong length shows. */
	if (harm == TORN_MIDDLE && mode == ZDB_SEQ)
		return;
	snprintf(where, sizeof(where), "%s mode, %s, i%u %s", mode == ZDB_SEQ ? "sequential" : "user",
		 crash ? "crash" : "clean stop", n, harms[harm]);
	live(&l, mode, 100 + n, crash);
	do_harm(&l, n, harm);
	assert_int_equal(zu_open(&l.u), 0);
	compare(&l, where);
	for (unsigned k = 0; k < l.known; k++) /* it goes on */
		if (l.version[k] != 0 && k % 7 == 0)
			set(&l, k);
	zdb_ns_info(l.u.ns, &l.info);
	zu_close(&l.u);
	assert_int_equal(zdb_verify(&l.u.opt, finding, where), 0);
	assert_int_equal(zu_open(&l.u), 0);
	compare(&l, where);
	zu_close(&l.u);
	life_end(&l);
}

static void rebuilding(enum zdb_mode mode)
{
	for (unsigned crash = 0; crash < 2; crash++)
		for (unsigned n = 0; n < FILES; n++)
			for (enum harm harm = MISSING; harm < HARMS; harm++)
				one(mode, crash, n, harm);
}

static void user_mode(void **state)
{
	(void)state;
	rebuilding(ZDB_USER);
}

static void sequential_mode(void **state)
{
	(void)state;
	rebuilding(ZDB_SEQ);
}

/* From the n-th system call on nothing works any more: the next start finds what there is to do. */
static void interrupted(void **state)
{
	const enum zdb_mode modes[] = {ZDB_USER, ZDB_SEQ};
	char why[300], kept[400];
	unsigned done = 0;

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		enum harm harm = i < 2 ? MISSING : TORN_END;
		struct life l;
		bool fired = true;

		live(&l, modes[i % 2], 7, false);
		do_harm(&l, 1, harm);
		snprintf(kept, sizeof(kept), "%s.kept", l.u.dir);
		copy_dir(l.u.dir, kept);
		for (uint64_t n = 1; fired; n += n < 60 ? 1 : 7) {
			copy_dir(kept, l.u.dir);
			sys_fault_begin();
			sys_fault_arm_from(SYS_CALL_ANY, n, EIO);
			if (zdb_open(&l.u.eng, &l.u.opt, why, sizeof(why)) == 0)
				zu_crash(&l.u);
			fired = sys_fault_fired();
			sys_fault_disarm();
			sys_fault_end();
			snprintf(why, sizeof(why), "interrupted at call %u", (unsigned)n);
			assert_int_equal(zu_open(&l.u), 0);
			compare(&l, why);
			zu_close(&l.u);
			done++;
		}
		assert_int_equal(file_rm_tree(kept), 0);
		life_end(&l);
	}
	print_message("%u interruptions\n", done);
	assert_true(done > 100);
}

/* Without the segments that say what was deleted later, nothing is guessed: the namespace is refused, in words. */
static void not_enough(void **state)
{
	char why[600], path[600];
	struct zdb *eng;
	struct life l;

	(void)state;
	live(&l, ZDB_USER, 7, false);
	do_harm(&l, 1, MISSING);
	zu_path(&l.u, "default", "d3", path, sizeof(path));
	assert_int_equal(unlink(path), 0);
	assert_int_equal(zdb_open(&eng, &l.u.opt, why, sizeof(why)), -EIO);
	assert_non_null(strstr(why, "index file i1 is missing"));
	zu_path(&l.u, "default", "i1", path, sizeof(path));
	assert_int_equal(access(path, F_OK), -1);
	life_end(&l);
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
			do_harm(l, n, MISSING);
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
	compare(l, where);
	for (unsigned k = 0; k < l->known; k++)
		if (l->version[k] != 0 && k % 7 == 0)
			set(l, k);
	zdb_ns_info(l->u.ns, &l->info);
	zu_close(&l->u);
	assert_int_equal(zdb_verify(&l->u.opt, finding, (void *)(uintptr_t)where), 0);
	assert_int_equal(zu_open(&l->u), 0);
	compare(l, where);
	zu_close(&l->u);
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

		snprintf(where, sizeof(where), "%s mode, %s, loss %zu",
			 mode == ZDB_SEQ ? "sequential" : "user", i % 2 ? "crash" : "clean stop", i / 2);
		live(&l, mode, 200 + i, i % 2 == 1);
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

static void bundles_user(void **state)
{
	(void)state;
	from_bundles(ZDB_USER);
}

static void bundles_sequential(void **state)
{
	(void)state;
	from_bundles(ZDB_SEQ);
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
		live(&l, modes[i % 2], 7, i % 4 > 1);
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
	live(&l, ZDB_SEQ, 9, false);
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
	char why[800], kept[400];
	unsigned done = 0;

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		struct life l;
		bool fired = true;

		live(&l, modes[i % 2], 11 + i, i > 1);
		l.ev.index_missing = on_index_missing;
		evict(&l, ALL_CLOSED);
		lose(&l, 0x05);
		snprintf(kept, sizeof(kept), "%s.kept", l.u.dir);
		copy_dir(l.u.dir, kept);
		for (uint64_t n = 1; fired; n += n < 150 ? 1 : 7) {
			copy_dir(kept, l.u.dir);
			sys_fault_begin();
			if (n % 2)
				sys_fault_arm_from(SYS_CALL_ANY, n, EIO);
			else
				sys_fault_arm(SYS_CALL_ANY, n, EIO);
			if (zdb_open(&l.u.eng, &l.u.opt, why, sizeof(why)) == 0)
				zu_crash(&l.u);
			fired = sys_fault_fired();
			sys_fault_disarm();
			sys_fault_end();
			snprintf(why, sizeof(why), "interrupted at call %u", (unsigned)n);
			assert_int_equal(zu_open(&l.u), 0);
			bring_back(&l);
			compare(&l, why);
			zu_close(&l.u);
			done++;
		}
		assert_int_equal(file_rm_tree(kept), 0);
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

		live(&l, modes[i % 2], 21 + i, i > 1);
		l.ev.index_missing = on_index_missing;
		evict(&l, ALL_CLOSED);
		lose(&l, 0x0a);
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
			compare(&cut, where);
			zu_close(&cut.u);
			assert_int_equal(zdb_verify(&cut.u.opt, finding, where), 0);
			assert_int_equal(file_rm_tree(out), 0);
		}
		sim_disk_free(disk);
		life_end(&l);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(user_mode),           cmocka_unit_test(sequential_mode),
		cmocka_unit_test(interrupted),         cmocka_unit_test(not_enough),
		cmocka_unit_test(bundles_user),        cmocka_unit_test(bundles_sequential),
		cmocka_unit_test(not_fitting),         cmocka_unit_test(offline),
		cmocka_unit_test(bundles_interrupted), cmocka_unit_test(bundles_power),
	};

	if (access("/dev/shm", W_OK) == 0)
		(void)setenv("TMPDIR", "/dev/shm", 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
