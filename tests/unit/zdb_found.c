/*
 * What lies where a namespace is to be made: it stays, whatever fails, and a root is never a namespace.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <errno.h>
#include <unistd.h>

#include "core/base/file.h"
#include "tests/unit/support/sys_test.h"
#include "tests/unit/support/zdb_util.h"

/* A file that no load can use, as one of namespace "other". */
static void lay(const char *root, const char *name)
{
	char path[500];

	snprintf(path, sizeof(path), "%s/other", root);
	assert_int_equal(file_mkdir_p(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/other/%s", root, name);
	assert_int_equal(file_write_atomic(path, 0600, "precious", 8), 0);
}

static bool lies(const char *root, const char *name)
{
	char path[500];

	snprintf(path, sizeof(path), "%s/%s", root, name);
	return file_exists(path) == 1;
}

/* With what lies in one of the directories, or in both, "other" cannot be made; the nth call fails as well (0: none). */
static bool create_fails(struct zu *u, bool data, bool index, uint64_t n)
{
	struct zdb_ns *ns;
	bool fired;

	assert_int_equal(zu_open(u), 0);
	if (data)
		lay(u->data, "d1");
	if (index)
		lay(u->index, "i1");
	sys_fault_begin();
	if (n > 0)
		sys_fault_arm(SYS_CALL_ANY, n, EIO);
	assert_int_equal(zdb_ns_create(u->eng, "other", 5, &ns), -EIO);
	fired = n == 0 || sys_fault_fired();
	sys_fault_end();
	assert_int_equal(lies(u->data, "other/d1"), data);
	assert_int_equal(lies(u->index, "other/i1"), index);
	if (n == 0) {
		assert_int_equal(lies(u->data, "other"), data);
		assert_int_equal(lies(u->index, "other"), index);
	}
	zu_crash(u);
	assert_int_equal(file_rm_tree(u->data), 0);
	assert_int_equal(file_rm_tree(u->index), 0);
	return fired;
}

/* A namespace that cannot be made takes away what it made, and nothing that was there. */
static void found_stays(void **state)
{
	struct zu u;

	(void)state;
	zu_setup(&u, ZDB_USER);
	for (unsigned round = 1; round < 4; round++)
		for (uint64_t n = 0; create_fails(&u, round & 1, round & 2, n); n++)
			;
	zu_teardown(&u);
}

/* A root in the other one is no namespace, and none is made of it: it would be removed with that. */
static void root_in_root(void **state)
{
	static const char *const names[] = {"in", ".lockfile"};
	struct zdb_ns *ns;
	struct zu u;

	(void)state;
	for (unsigned round = 0; round < 2; round++) {
		zu_setup(&u, ZDB_USER);
		if (round == 0)
			snprintf(u.data, sizeof(u.data), "%.250s/index/in/deep", u.dir);
		else
			snprintf(u.index, sizeof(u.index), "%.250s/data/in", u.dir);
		for (unsigned start = 0; start < 2; start++) {
			assert_int_equal(zu_open(&u), 0);
			assert_int_equal(zdb_ns_count(u.eng), 1);
			for (size_t i = 0; i < 2; i++)
				assert_int_equal(zdb_ns_create(u.eng, names[i], strlen(names[i]), &ns),
						 -EINVAL);
			assert_int_equal(zu_set(&u, "k", start == 0 ? "v" : "w"), 0);
			zu_close(&u);
		}
		zu_teardown(&u);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(found_stays),
		cmocka_unit_test(root_in_root),
	};

	test_in_memory();
	return cmocka_run_group_tests_name("zdb_found", tests, NULL, NULL);
}
