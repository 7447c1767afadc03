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

#include "core/base/file.h"
#include "tests/unit/support/sys_test.h"
#include "tests/unit/support/zdb_life.h"

static void one(enum zdb_mode mode, bool crash, unsigned n, enum harm harm)
{
	char where[200];
	struct life l;

	/* In a middle that cannot be read sequential mode has arithmetic: only a wrong length shows. */
	if (harm == TORN_MIDDLE && mode == ZDB_SEQ)
		return;
	snprintf(where, sizeof(where), "%s mode, %s, i%u %s", zu_mode_name(mode),
		 crash ? "crash" : "clean stop", n, life_harms[harm]);
	life_live(&l, mode, 100 + n, crash);
	life_harm(&l, n, harm);
	assert_int_equal(zu_open(&l.u), 0);
	life_goes_on(&l, where);
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
	unsigned done = 0;

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		struct life l;

		life_live(&l, modes[i % 2], 7, false);
		life_harm(&l, 1, i < 2 ? MISSING : TORN_END);
		done += life_interrupted(&l, false, NULL);
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
	life_live(&l, ZDB_USER, 7, false);
	life_harm(&l, 1, MISSING);
	zu_path(&l.u, "default", "d3", path, sizeof(path));
	assert_int_equal(unlink(path), 0);
	assert_int_equal(zdb_open(&eng, &l.u.opt, why, sizeof(why)), -EIO);
	assert_non_null(strstr(why, "index file i1 is missing"));
	zu_path(&l.u, "default", "i1", path, sizeof(path));
	assert_int_equal(access(path, F_OK), -1);
	life_end(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(user_mode),
		cmocka_unit_test(sequential_mode),
		cmocka_unit_test(interrupted),
		cmocka_unit_test(not_enough),
	};

	test_in_memory();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
