/*
 * Both files of the active segment are gone, and the marker names them: nothing goes on with the number before it.  Whoever has the
 * log is asked once; what he brings is all that is needed.  Without it the namespace is refused, in words, and nothing is changed.
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
#include "tests/unit/support/sys_test.h"
#include "tests/unit/support/zdb_life.h"

#define LAST (FILES - 1)

struct lost {
	struct life l;
	char kept[400]; /* all files, before the loss */
	unsigned asked;
	enum { BRINGS, BRINGS_PART, ONLY_SAYS_SO, FAILS } owner;
	char where[100];
};

/* The owner's hook: it knows no more than the path. */
static int on_load_missing(void *ctx, const char *name, const char *path)
{
	struct lost *x = ctx;
	char wanted[600], command[1200];

	assert_string_equal(name, "default");
	zu_path(&x->l.u, "default", "d4", wanted, sizeof(wanted));
	assert_string_equal(path, wanted);
	x->asked++;
	if (x->owner == FAILS)
		return -EIO;
	if (x->owner == ONLY_SAYS_SO)
		return 0;
	snprintf(command, sizeof(command), "cp -p '%s/data/default/d4' '%s'", x->kept, path);
	assert_int_equal(system(command), 0);
	if (x->owner == BRINGS_PART)
		assert_int_equal(truncate(path, 100), 0);
	return 0;
}

static void lose(struct lost *x, const char *name)
{
	char path[600];

	zu_path(&x->l.u, "default", name, path, sizeof(path));
	assert_int_equal(unlink(path), 0);
}

static void begin(struct lost *x, enum zdb_mode mode, bool crash)
{
	memset(x, 0, sizeof(*x));
	assert_int_equal(LAST, 4); /* the names below */
	snprintf(x->where, sizeof(x->where), "%s mode, %s", zu_mode_name(mode),
		 crash ? "crash" : "clean stop");
	life_live(&x->l, mode, 11, crash);
	snprintf(x->kept, sizeof(x->kept), "%s.kept", x->l.u.dir);
	test_dir_copy(x->l.u.dir, x->kept);
	x->l.ev = (struct zdb_events){.load_missing = on_load_missing};
	x->l.u.opt.events_ctx = x;
	x->l.u.opt.want_bundles = false;
	lose(x, "i4");
	lose(x, "d4");
}

static void end(struct lost *x)
{
	assert_int_equal(file_rm_tree(x->kept), 0);
	life_end(&x->l);
}

static void each(void (*fn)(struct lost *x))
{
	for (unsigned i = 0; i < 4; i++) {
		struct lost x;

		begin(&x, i % 2 == 0 ? ZDB_USER : ZDB_SEQ, i / 2 == 1);
		fn(&x);
		end(&x);
	}
}

static void one_line(void *ctx, int level, const char *ns, const char *text)
{
	struct lost *x = ctx;

	(void)ns;
	assert_int_equal(level, 2);
	snprintf(x->l.u.why, sizeof(x->l.u.why), "%s", text);
}

static void refused(struct lost *x, const char *words)
{
	struct zu *u = &x->l.u;
	char path[600];

	if (zdb_open(&u->eng, &u->opt, u->why, sizeof(u->why)) == 0)
		fail_msg("%s: it opens, and what was acknowledged is not there", x->where);
	if (strstr(u->why, words) == NULL)
		fail_msg("%s: %s", x->where, u->why);
	assert_int_equal(zdb_verify(&u->opt, one_line, x), 2);
	if (strstr(u->why, words) == NULL)
		fail_msg("%s: check: %s", x->where, u->why);
	zu_path(u, "default", "i4", path, sizeof(path));
	assert_int_equal(access(path, F_OK), -1);
}

#define WORDS "active files i4 and d4 are missing: the marker names them, and the last segment here is 3"

static void nobody_has_it(struct lost *x)
{
	x->owner = FAILS;
	refused(x, WORDS);
	assert_int_equal(x->asked, 1); /* the check asks nobody */
	x->owner = ONLY_SAYS_SO;
	refused(x, WORDS);
	assert_int_equal(x->asked, 2);
	x->l.ev.load_missing = NULL;
	refused(x, WORDS);
	/* Put back, all is there. */
	test_dir_copy(x->kept, x->l.u.dir);
	assert_int_equal(zu_open(&x->l.u), 0);
	life_compare(&x->l, x->where);
	zu_close(&x->l.u);
}

static void refusal(void **state)
{
	(void)state;
	each(nobody_has_it);
}

static void owner_has_it(struct lost *x)
{
	assert_int_equal(zu_open(&x->l.u), 0);
	assert_int_equal(x->asked, 1);
	life_goes_on(&x->l, x->where);
	assert_int_equal(x->asked, 1);
}

static void brought(void **state)
{
	(void)state;
	each(owner_has_it);
}

/* A part of the log is no reason to go on, nor to ask again. */
static void owner_has_a_part(struct lost *x)
{
	struct zu *u = &x->l.u;

	x->owner = BRINGS_PART;
	assert_int_equal(zdb_open(&u->eng, &u->opt, u->why, sizeof(u->why)), -EIO);
	assert_int_equal(x->asked, 1);
	assert_non_null(strstr(u->why, "active data file d4 has 100 bytes, but more were written"));
}

static void brought_in_part(void **state)
{
	(void)state;
	each(owner_has_a_part);
}

/* Nothing at all is left but the marker: a namespace that lost everything is not a new one. */
static void all_gone(struct lost *x)
{
	for (char n = '0'; n < '4'; n++) {
		lose(x, (char[]){'i', n, '\0'});
		lose(x, (char[]){'d', n, '\0'});
	}
	x->owner = FAILS;
	refused(x, "active files i4 and d4 are missing: the marker names them, and no other is here");
}

static void nothing_left(void **state)
{
	(void)state;
	each(all_gone);
}

/* The marker may be older than the newest segment; what it and `synced` name is all that is known. */
static void marker_behind(struct lost *x)
{
	struct zu *u = &x->l.u;
	char from[600], path[600], command[1300];

	test_dir_copy(x->kept, u->dir);
	zu_path(u, "default", "mark", path, sizeof(path));
	snprintf(from, sizeof(from), "%s.mark", u->dir);
	snprintf(command, sizeof(command), "cp -p '%s' '%s'", path, from);
	x->owner = FAILS;
	assert_int_equal(zu_open(u), 0);
	assert_int_equal(zu_set(u, "in the middle", "1"), 0);
	assert_int_equal(zdb_sync(u->ns, ZDB_SYNC_INDEX), 0);
	assert_int_equal(system(command), 0);
	assert_int_equal(zdb_jump(u->ns), 0);
	assert_int_equal(zu_set(u, "lost", "1"), 0);
	assert_int_equal(zdb_sync(u->ns, ZDB_SYNC_DATA), 0);
	zu_crash(u);
	assert_int_equal(rename(from, path), 0); /* as if the rotation could not have moved it */
	lose(x, "i5");
	lose(x, "d5");
	x->owner = FAILS;
	u->opt.events = NULL;
	assert_int_equal(zdb_open(&u->eng, &u->opt, u->why, sizeof(u->why)), -EIO);
	assert_non_null(strstr(u->why, "active files i5 and d5 are missing"));
}

static void known_by_the_sync(void **state)
{
	struct lost x;

	(void)state;
	begin(&x, ZDB_USER, false);
	marker_behind(&x);
	end(&x);
}

/* An original server leaves no marker: what is there is all that is known, as ever. */
static void without_marker(void **state)
{
	struct zu u;

	(void)state;
	zu_setup(&u, ZDB_USER);
	assert_int_equal(zu_open(&u), 0);
	assert_int_equal(zu_set(&u, "stays", "1"), 0);
	assert_int_equal(zdb_jump(u.ns), 0);
	zu_close(&u);
	for (unsigned i = 0; i < 3; i++) {
		static const char *const names[] = {"mark", "i1", "d1"};
		char path[600];

		zu_path(&u, "default", names[i], path, sizeof(path));
		assert_int_equal(unlink(path), 0);
	}
	assert_int_equal(zu_open(&u), 0);
	assert_string_equal(zu_get(&u, "stays"), "1");
	zu_close(&u);
	zu_teardown(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refusal),           cmocka_unit_test(brought),
		cmocka_unit_test(brought_in_part),   cmocka_unit_test(nothing_left),
		cmocka_unit_test(known_by_the_sync), cmocka_unit_test(without_marker),
	};

	test_in_memory();
	return cmocka_run_group_tests_name("zdb_lost_pair", tests, NULL, NULL);
}
