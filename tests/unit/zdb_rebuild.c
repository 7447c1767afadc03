/*
 * Index files that are missing or torn are made again from the log: first, middle and last, in both modes, after a clean stop
 * and after a crash, with updates and deletions that reach across files.  An interruption on the way changes nothing.
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
#include "core/zdb/fmt.h"
#include "tests/unit/support/sys_test.h"
#include "tests/unit/support/zdb_util.h"

#define FILES 5u /* pairs; the last is the active one */
#define KEYS  60u
#define STEPS 40u /* per pair */

struct life {
	struct zu u;
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

static void live(struct life *l, enum zdb_mode mode, uint64_t seed, bool crash)
{
	memset(l, 0, sizeof(*l));
	l->rng = seed;
	zu_setup(&l->u, mode);
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
	zu_teardown(&l.u);
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
		zu_teardown(&l.u);
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
	zu_teardown(&l.u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(user_mode),
		cmocka_unit_test(sequential_mode),
		cmocka_unit_test(interrupted),
		cmocka_unit_test(not_enough),
	};

	if (access("/dev/shm", W_OK) == 0)
		(void)setenv("TMPDIR", "/dev/shm", 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
