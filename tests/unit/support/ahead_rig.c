#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include <unistd.h>

#include "core/base/file.h"
#include "tests/unit/support/ahead_rig.h"

struct ar_closed ar_closed;

static int on_closed(void *ctx, struct zdb_ns *ns, uint32_t n, const char *dirty,
		     const struct zdb_bundle *bundle)
{
	(void)ctx;
	(void)ns;
	(void)dirty;
	assert_null(bundle);
	ar_closed.told++;
	ar_closed.last = n;
	return 0;
}

static const struct zdb_events events = {.segment_closed = on_closed};

void ar_begin(struct zu *u, enum zdb_mode mode)
{
	memset(&ar_closed, 0, sizeof(ar_closed));
	zu_setup(u, mode);
	u->opt.rotate_ahead = true;
	u->opt.ahead_min = 1;
	u->opt.events = &events;
	assert_int_equal(zu_open(u), 0);
}

/* ---- the files of `default`, in both directories */

static int seen_each(void *ctx, const char *name, unsigned char type)
{
	struct ar_seen *s = ctx;

	(void)type;
	if (strstr(name, s->part) == NULL)
		return 0;
	s->count++;
	snprintf(s->name, sizeof(s->name), "%s", name);
	return 0;
}

struct ar_seen ar_look(const char *root, const char *part)
{
	struct ar_seen s = {.part = part};
	char dir[400];

	snprintf(dir, sizeof(dir), "%s/default", root);
	assert_int_equal(file_list(dir, seen_each, &s), 0);
	return s;
}

unsigned ar_temporary(const struct zu *u)
{
	return ar_look(u->data, ".next-").count + ar_look(u->index, ".next-").count;
}

bool ar_exists(const struct zu *u, bool data, const char *name)
{
	char path[500];

	snprintf(path, sizeof(path), "%s/default/%s", data ? u->data : u->index, name);
	return access(path, F_OK) == 0;
}

void ar_move(const char *root, const char *from, const char *to)
{
	char a[500], b[500];

	snprintf(a, sizeof(a), "%s/default/%s", root, from);
	snprintf(b, sizeof(b), "%s/default/%s", root, to);
	assert_int_equal(rename(a, b), 0);
}

/* Two values in segment 0, then one in a successor that has no name of its own yet. */
void ar_fill(struct zu *u)
{
	zu_set(u, "one", "first value");
	zu_set(u, "two", "second value");
	assert_int_equal(zdb_jump(u->ns), 0);
	assert_int_equal(ar_temporary(u), 2);
	assert_false(ar_exists(u, true, "d1"));
	assert_false(ar_exists(u, false, "i1"));
	zu_set(u, "two", "a newer second");
	zu_set(u, "three", "third value");
	assert_int_equal(ar_closed.told, 0);
}

void ar_all_there(struct zu *u)
{
	assert_string_equal(zu_get(u, "one"), "first value");
	assert_string_equal(zu_get(u, "two"), "a newer second");
	assert_string_equal(zu_get(u, "three"), "third value");
}

void ar_finish(struct zu *u)
{
	zu_close(u);
	assert_int_equal(ar_temporary(u), 0);
	zu_check(u, "at the end");
	zu_teardown(u);
}
