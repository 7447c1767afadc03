/*
 * A tree whose directories come, go and move, cut within a batch: whatever is in both states of the batch must have survived the crash, and
 * nothing is there that is in neither. The seed is printed; QSFS_TEST_SEED repeats a run, QSFS_TEST_OPS makes it longer.
 */
#include <time.h>

#include "tests/unit/zdbfs_support.h"

#define NAMES    5
#define DIRS_MAX 9
#define BATCHES  120u

/* "ab" and "ba" share a list */
static const char *const names[NAMES] = {"ab", "ba", "x", "y", "a long name with blanks"};

struct name {
	uint64_t dir, ino;
	unsigned name;
	bool is_dir;
};

/* All names that the root leads to, directories before what is in them. */
struct tree {
	struct name v[(DIRS_MAX + 1) * NAMES];
	size_t count, dirs;
};

static unsigned seed;

static unsigned dice(unsigned n)
{
	return (unsigned)rand_r(&seed) % n;
}

static void walk_dir(struct fs *fs, struct tree *t, uint64_t dir)
{
	for (unsigned n = 0; n < NAMES; n++) {
		struct fs_attr attr;
		int rc = fs_op_lookup(fs, dir, names[n], strlen(names[n]), &attr);

		if (rc == -ENOENT)
			continue;
		assert_int_equal(rc, 0);
		fs_op_forget(fs, attr.ino, 1);
		assert_true(t->count < sizeof(t->v) / sizeof(t->v[0]));
		t->v[t->count++] = (struct name){dir, attr.ino, n, S_ISDIR(attr.mode)};
		t->dirs += S_ISDIR(attr.mode);
	}
}

static void walk(struct fs *fs, struct tree *t)
{
	memset(t, 0, sizeof(*t));
	walk_dir(fs, t, 1);
	for (size_t n = 0; n < t->count; n++)
		if (t->v[n].is_dir)
			walk_dir(fs, t, t->v[n].ino);
}

static const struct name *find(const struct tree *t, uint64_t dir, unsigned name)
{
	for (size_t n = 0; n < t->count; n++)
		if (t->v[n].dir == dir && t->v[n].name == name)
			return &t->v[n];
	return NULL;
}

static bool leads_to(const struct tree *t, uint64_t dir, unsigned name, uint64_t ino)
{
	const struct name *n = find(t, dir, name);

	return n && n->ino == ino;
}

static unsigned names_of(const struct tree *t, uint64_t ino)
{
	unsigned count = 0;

	for (size_t n = 0; n < t->count; n++)
		count += t->v[n].ino == ino;
	return count;
}

/* Any directory, the root among them. */
static uint64_t some_dir(const struct tree *t)
{
	unsigned k = dice((unsigned)t->dirs + 1);

	for (size_t n = 0; n < t->count; n++)
		if (t->v[n].is_dir && k-- == 0)
			return t->v[n].ino;
	return 1;
}

/* Whether a directory is `above` or somewhere in it. */
static bool is_within(const struct tree *t, uint64_t dir, uint64_t above)
{
	size_t n = 0;

	while (dir != above && n < t->count)
		if (t->v[n].ino == dir && t->v[n].is_dir) {
			dir = t->v[n].dir;
			n = 0;
		} else {
			n++;
		}
	return dir == above;
}

/* What the kernel asks no file system for: a directory into itself, from either side of an exchange. */
static bool makes_a_loop(const struct tree *t, const struct name *a, uint64_t dir2, const struct name *b)
{
	return (a->is_dir && is_within(t, dir2, a->ino)) || (b && b->is_dir && is_within(t, a->dir, b->ino));
}

static void create(struct fs *fs, uint64_t dir, const char *name)
{
	struct fs_attr attr;
	char content[32];

	assert_int_equal(fs_op_create(fs, &root_user, dir, name, strlen(name), 0644, &attr), 0);
	(void)snprintf(content, sizeof(content), "file %llu", (unsigned long long)attr.ino);
	assert_int_equal(fs_op_write(fs, attr.ino, 0, content, strlen(content)), strlen(content));
	fs_op_release(fs, attr.ino);
	fs_op_forget(fs, attr.ino, 1);
}

static void change(struct fs *fs)
{
	static struct tree t;
	uint64_t dir, dir2;
	const struct name *a;
	const char *name, *name2;
	struct fs_attr attr;
	unsigned what = dice(10), k = dice(NAMES), k2 = dice(NAMES);
	int rc = 0;

	walk(fs, &t);
	dir = some_dir(&t);
	dir2 = some_dir(&t);
	a = find(&t, dir, k);
	name = names[k];
	name2 = names[k2];
	if (!a && what < 4 && t.dirs < DIRS_MAX && dice(2)) {
		rc = fs_op_mkdir(fs, &root_user, dir, name, strlen(name), 0755, &attr);
		assert_int_equal(rc, 0);
		fs_op_forget(fs, attr.ino, 1);
	} else if (!a) {
		create(fs, dir, name);
	} else if (what < 2) {
		rc = a->is_dir ? fs_op_rmdir(fs, dir, name, strlen(name))
			       : fs_op_unlink(fs, dir, name, strlen(name));
		assert_true(rc == 0 || (a->is_dir && rc == -ENOTEMPTY));
	} else if (what < 9 && makes_a_loop(&t, a, dir2, find(&t, dir2, k2))) {
		return;
	} else if (what < 7) {
		rc = fs_op_rename(fs, &root_user, dir, name, strlen(name), dir2, name2, strlen(name2), 0);
	} else if (what < 9) {
		rc = fs_op_rename(fs, &root_user, dir, name, strlen(name), dir2, name2, strlen(name2),
				  RENAME_EXCHANGE);
	} else if (!a->is_dir) {
		rc = fs_op_link(fs, a->ino, dir2, name2, strlen(name2), &attr);
		if (!rc)
			fs_op_forget(fs, attr.ino, 1);
	}
	assert_true(rc == 0 || rc == -ENOENT || rc == -EEXIST || rc == -EINVAL || rc == -ENOTEMPTY ||
		    rc == -EISDIR || rc == -ENOTDIR);
}

static void check_content(struct fs *fs, uint64_t ino)
{
	char want[32], got[64];
	ssize_t n = fs_op_read(fs, ino, 0, got, sizeof(got) - 1);

	(void)snprintf(want, sizeof(want), "file %llu", (unsigned long long)ino);
	assert_int_equal(n, strlen(want));
	assert_memory_equal(got, want, (size_t)n);
}

static void compare(struct fs *fs, const struct tree *before, const struct tree *after)
{
	static struct tree now;

	walk(fs, &now);
	for (size_t n = 0; n < now.count; n++) {
		const struct name *v = &now.v[n];

		assert_true(leads_to(before, v->dir, v->name, v->ino) ||
			    leads_to(after, v->dir, v->name, v->ino));
		if (v->is_dir)
			assert_int_equal(names_of(&now, v->ino), 1);
		else
			check_content(fs, v->ino);
	}
	for (size_t n = 0; n < before->count; n++) {
		const struct name *v = &before->v[n];

		if (leads_to(after, v->dir, v->name, v->ino))
			assert_true(leads_to(&now, v->dir, v->name, v->ino));
		if (names_of(after, v->ino))
			assert_true(names_of(&now, v->ino) > 0);
	}
}

static void directories_on_the_move(void **state)
{
	static struct tree before, after;
	const char *text = getenv("QSFS_TEST_SEED"), *ops = getenv("QSFS_TEST_OPS");
	unsigned batches = ops ? (unsigned)atoi(ops) : BATCHES;
	struct kv *kv = kv_mem_new(true);
	uint64_t leaks;
	struct fs *fs;

	(void)state;
	seed = text ? (unsigned)strtoul(text, NULL, 10) : (unsigned)time(NULL);
	print_message("seed %u\n", seed);
	fs = open_small(kv, true);
	create(fs, 1, names[0]); /* the first batch ever gives J its number, which a crash may leave behind */
	for (unsigned n = 0; n < batches; n++) {
		size_t from;

		assert_int_equal(fs_commit(fs), 0);
		assert_int_equal(fs_commit(fs), 0);
		from = newest(kv);
		walk(fs, &before);
		for (unsigned k = 3 + dice(20); k > 0; k--)
			change(fs);
		walk(fs, &after);
		assert_int_equal(fs_commit(fs), 0);
		kv = crash_since(kv, fs, from, &seed);
		fs = open_small(kv, true);
		assert_int_equal(check_volume(kv, &leaks, false), 0);
		assert_int_equal(leaks, 0);
		compare(fs, &before, &after);
	}
	end_volume(kv, fs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(directories_on_the_move),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
