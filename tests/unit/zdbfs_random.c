/*
 * Random operations against a model: contents of a file (as fsx does), and a small tree. With small caches, so that blocks
 * and inodes leave memory and come back; with clean stops, and with crashes after a commit, after which exactly what was
 * committed must be there. The seed is printed; QSFS_TEST_SEED repeats a run, QSFS_TEST_OPS makes it longer.
 */
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <time.h>

#include "tests/unit/zdbfs_support.h"

#define FILE_MAX (3u << 20)

static unsigned seed;

static unsigned dice(unsigned n)
{
	return (unsigned)rand_r(&seed) % n;
}

static unsigned ops_wanted(unsigned def)
{
	const char *text = getenv("QSFS_TEST_OPS");

	return text ? (unsigned)atoi(text) : def;
}

static void choose_seed(void)
{
	const char *text = getenv("QSFS_TEST_SEED");

	seed = text ? (unsigned)strtoul(text, NULL, 10) : (unsigned)time(NULL);
	print_message("seed %u\n", seed);
}

/* The store as a crash now would leave it, everything unsynced lost. */
static struct kv *crash(struct kv *kv, struct fs *fs)
{
	struct kv_mem_event e = kv_mem_event_at(kv, newest(kv));
	struct kv *after;

	fs_abandon(fs);
	e.synced[KV_TEMP] = e.done[KV_TEMP];
	after = kv_mem_at(kv, e.synced, true);
	assert_non_null(after);
	kv_free(kv);
	return after;
}

/* ------------------------------------------------------------------------------------------------ contents */

struct content {
	struct kv *kv;
	struct fs *fs;
	uint64_t ino;
	uint8_t *now, *stored; /* as it is, and as of the last commit */
	size_t size, stored_size;
	uint8_t *scratch;
};

static void check_content(struct content *c)
{
	struct fs_attr attr;
	ssize_t n;

	assert_int_equal(fs_op_getattr(c->fs, c->ino, &attr), 0);
	assert_int_equal(attr.size, c->size);
	n = fs_op_read(c->fs, c->ino, 0, c->scratch, FILE_MAX + 1);
	assert_int_equal(n, c->size);
	if (memcmp(c->scratch, c->now, c->size) != 0) {
		size_t at = 0;

		while (c->scratch[at] == c->now[at])
			at++;
		print_message("differs at %zu: %02x, should be %02x\n", at, c->scratch[at], c->now[at]);
		fail();
	}
}

static void grow_model(struct content *c, size_t size)
{
	if (size > c->size) {
		memset(c->now + c->size, 0, size - c->size);
		c->size = size;
	}
}

static void do_write(struct content *c)
{
	size_t off = dice(FILE_MAX), len = 1 + dice(dice(4) ? 5000 : 300000);

	if (len > FILE_MAX - off)
		len = FILE_MAX - off;
	for (size_t k = 0; k < len; k++)
		c->scratch[k] = (uint8_t)rand_r(&seed) | 1;
	assert_int_equal(fs_op_write(c->fs, c->ino, off, c->scratch, len), len);
	grow_model(c, off);
	memcpy(c->now + off, c->scratch, len);
	if (off + len > c->size)
		c->size = off + len;
}

static void do_truncate(struct content *c)
{
	struct fs_attr want = {.size = dice(3) ? dice(FILE_MAX) : dice((unsigned)c->size + 1)}, got;

	assert_int_equal(fs_op_setattr(c->fs, c->ino, &want, FS_SET_SIZE, &got), 0);
	grow_model(c, want.size);
	c->size = want.size;
}

static void do_zero(struct content *c)
{
	bool punch = dice(2), keep = punch || dice(2);
	size_t off = dice(FILE_MAX - 1), len = 1 + dice(400000);
	int mode = (punch ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE) | (keep ? FALLOC_FL_KEEP_SIZE : 0);

	if (len > FILE_MAX - off)
		len = FILE_MAX - off;
	assert_int_equal(fs_op_fallocate(c->fs, c->ino, mode, off, len), 0);
	if (!keep)
		grow_model(c, off + len);
	if (off < c->size)
		memset(c->now + off, 0, off + len > c->size ? c->size - off : len);
}

static void do_read(struct content *c)
{
	size_t off = dice(FILE_MAX), len = 1 + dice(200000), want;
	ssize_t n = fs_op_read(c->fs, c->ino, off, c->scratch, len);

	want = off >= c->size ? 0 : off + len > c->size ? c->size - off : len;
	assert_int_equal(n, want);
	assert_memory_equal(c->scratch, c->now + off, want);
}

static void do_copy(struct content *c)
{
	size_t from = dice(FILE_MAX / 2), to = FILE_MAX / 2 + dice(FILE_MAX / 4), len = 1 + dice(200000),
	       have;
	ssize_t n = fs_op_copy(c->fs, c->ino, from, c->ino, to, len);

	have = from >= c->size ? 0 : from + len > c->size ? c->size - from : len;
	if (from + have > to) /* overlapping: its order is not ours to say */
		have = 0;
	if (from + len > to && from < c->size) {
		/* take what it did as given */
		ssize_t got = fs_op_read(c->fs, c->ino, 0, c->now, FILE_MAX + 1);

		c->size = (size_t)got;
		return;
	}
	assert_int_equal(n, have);
	if (have) {
		grow_model(c, to);
		memcpy(c->now + to, c->now + from, have);
		if (to + have > c->size)
			c->size = to + have;
	}
}

static void commit_content(struct content *c)
{
	assert_int_equal(fs_op_fsync(c->fs, c->ino), 0);
	memcpy(c->stored, c->now, c->size);
	c->stored_size = c->size;
}

static void reopen_content(struct content *c)
{
	struct err_text err;

	assert_int_equal(fs_close(c->fs, &err), 0);
	assert_int_equal(check_volume(c->kv, NULL, false), 0);
	c->fs = open_small(c->kv, true);
}

static void crash_content(struct content *c)
{
	uint64_t leaks;

	commit_content(c);
	c->kv = crash(c->kv, c->fs);
	c->fs = open_small(c->kv, true);
	memcpy(c->now, c->stored, c->stored_size);
	c->size = c->stored_size;
	assert_int_equal(check_volume(c->kv, &leaks, false), 0);
	assert_int_equal(leaks, 0);
}

static void contents_are_those_of_the_model(void **state)
{
	struct content c = {.kv = kv_mem_new(true)};
	struct fs_attr attr;
	struct err_text err;
	unsigned count = ops_wanted(1200);

	(void)state;
	choose_seed();
	c.fs = open_small(c.kv, true);
	c.now = calloc(1, FILE_MAX + 2);
	c.stored = calloc(1, FILE_MAX + 2);
	c.scratch = calloc(1, FILE_MAX + 2);
	assert_int_equal(fs_op_create(c.fs, &root_user, 1, "f", 1, 0644, &attr), 0);
	c.ino = attr.ino;
	commit_content(&c);
	for (unsigned n = 0; n < count; n++) {
		unsigned what = dice(100);

		if (what < 35)
			do_write(&c);
		else if (what < 50)
			do_truncate(&c);
		else if (what < 62)
			do_zero(&c);
		else if (what < 85)
			do_read(&c);
		else if (what < 90)
			do_copy(&c);
		else if (what < 96)
			commit_content(&c);
		else if (what < 98)
			reopen_content(&c);
		else
			crash_content(&c);
		if (n % 16 == 0)
			check_content(&c);
	}
	check_content(&c);
	assert_int_equal(fs_close(c.fs, &err), 0);
	{
		uint64_t leaks;

		assert_int_equal(check_volume(c.kv, &leaks, false), 0);
		assert_int_equal(leaks, 0);
	}
	kv_free(c.kv);
	free(c.now);
	free(c.stored);
	free(c.scratch);
}

/* ---------------------------------------------------------------------------------------------------- names */

#define DIRS  4
#define NAMES 5

/* What a name leads to: 0 nothing, else the number of a file; files with equal numbers are hard links. */
struct tree {
	unsigned at[DIRS][NAMES];
	unsigned next;
};

static const char *dir_name(unsigned d)
{
	static const char *const names[DIRS] = {"", "one", "two", "three"};

	return names[d];
}

static const char *path_of(char *out, unsigned d, unsigned n)
{
	/* "ab" and "ba" share a list */
	static const char *const names[NAMES] = {"ab", "ba", "x", "y", "a long name with blanks"};

	(void)snprintf(out, 64, "%s/%s", dir_name(d), names[n]);
	return out;
}

static unsigned names_of(const struct tree *t, unsigned file)
{
	unsigned count = 0;

	for (unsigned d = 0; d < DIRS; d++)
		for (unsigned n = 0; n < NAMES; n++)
			count += t->at[d][n] == file;
	return count;
}

static void check_tree(struct fs *fs, const struct tree *t)
{
	for (unsigned d = 0; d < DIRS; d++) {
		for (unsigned n = 0; n < NAMES; n++) {
			char path[64], want[16];
			const char *got = get_file(fs, path_of(path, d, n));
			struct fs_attr attr;

			if (!t->at[d][n]) {
				assert_null(got);
				continue;
			}
			(void)snprintf(want, sizeof(want), "file %u", t->at[d][n]);
			assert_non_null(got);
			assert_string_equal(got, want);
			assert_int_equal(fs_op_getattr(fs, find_path(fs, path), &attr), 0);
			assert_int_equal(attr.nlink, names_of(t, t->at[d][n]));
		}
	}
}

static void change_tree(struct fs *fs, struct tree *t)
{
	unsigned d = dice(DIRS), n = dice(NAMES), d2 = dice(DIRS), n2 = dice(NAMES), *a = &t->at[d][n],
		 *b = &t->at[d2][n2];
	char from[64], to[64], content[16];

	path_of(from, d, n);
	path_of(to, d2, n2);
	switch (dice(6)) {
	case 0:
	case 1:
		if (*a)
			break;
		*a = ++t->next;
		(void)snprintf(content, sizeof(content), "file %u", *a);
		assert_int_equal(put_file(fs, from, content, strlen(content)), 0);
		break;
	case 2:
		assert_int_equal(remove_file(fs, from), *a ? 0 : -ENOENT);
		*a = 0;
		break;
	case 3:
		assert_int_equal(move(fs, from, to, 0), *a ? 0 : -ENOENT);
		/* two names of one file: nothing happens */
		if (*a && *a != *b) {
			*b = *a;
			*a = 0;
		}
		break;
	case 4: {
		unsigned was = *a;

		assert_int_equal(move(fs, from, to, RENAME_EXCHANGE), *a && *b ? 0 : -ENOENT);
		if (*a && *b) {
			*a = *b;
			*b = was;
		}
		break;
	}
	default:
		if (!*a)
			break;
		assert_int_equal(add_link(fs, from, to), *b ? -EEXIST : 0);
		if (!*b)
			*b = *a;
	}
}

/* The tree as it is becomes the model; what both the committed and the latest state had must still be there. */
static void adopt_tree(struct fs *fs, struct tree *now, const struct tree *before)
{
	struct tree latest = *now;

	for (unsigned d = 0; d < DIRS; d++) {
		for (unsigned n = 0; n < NAMES; n++) {
			char path[64];
			const char *got = get_file(fs, path_of(path, d, n));

			now->at[d][n] = got && strncmp(got, "file ", 5) == 0 ? (unsigned)atoi(got + 5) : 0;
			assert_true(!got || now->at[d][n]);
			/* a name that did not change between the two states leads where it led */
			if (before && before->at[d][n] == latest.at[d][n])
				assert_int_equal(now->at[d][n], latest.at[d][n]);
		}
	}
	for (unsigned file = 1; before && file <= latest.next; file++)
		if (names_of(before, file) && names_of(&latest, file))
			assert_true(names_of(now, file) > 0);
}

static void a_tree_is_that_of_the_model(void **state)
{
	struct kv *kv = kv_mem_new(true);
	struct tree now = {0}, stored;
	unsigned count = ops_wanted(3000);
	struct err_text err;
	uint64_t leaks;
	size_t base, from; /* events: the directories are durable; what a crash may take back begins */
	struct fs *fs;

	(void)state;
	choose_seed();
	fs = open_small(kv, true);
	for (unsigned d = 1; d < DIRS; d++)
		assert_int_equal(make_dir(fs, dir_name(d)), 0);
	assert_int_equal(fs_commit(fs), 0);
	base = newest(kv);
	stored = now;
	for (unsigned n = 0; n < count; n++) {
		unsigned what = dice(100);

		if (what < 88) {
			change_tree(fs, &now);
		} else if (what < 94) {
			assert_int_equal(fs_commit(fs), 0);
			stored = now;
		} else if (what < 96) {
			assert_int_equal(fs_close(fs, &err), 0);
			assert_int_equal(check_volume(kv, &leaks, false), 0);
			assert_int_equal(leaks, 0);
			fs = open_small(kv, true);
			stored = now;
		} else if (what < 98) {
			struct tree before = stored;
			bool one_batch = dice(2);

			/* Cut within one batch: whatever is in both its states must have survived. */
			if (one_batch) {
				assert_int_equal(fs_commit(fs), 0);
				assert_int_equal(fs_commit(fs), 0);
				before = now;
				from = newest(kv);
				for (unsigned k = 0; k < 12; k++)
					change_tree(fs, &now);
				assert_int_equal(fs_commit(fs), 0);
			} else {
				from = newest(kv) - base > 40 ? newest(kv) - 40 : base;
			}
			kv = crash_since(kv, fs, from, &seed);
			base = newest(kv);
			fs = open_small(kv, true);
			assert_int_equal(check_volume(kv, &leaks, false), 0);
			assert_int_equal(leaks, 0);
			adopt_tree(fs, &now, one_batch ? &before : NULL);
			assert_int_equal(fs_commit(fs), 0);
			stored = now;
		} else {
			/* back to what was committed */
			kv = crash(kv, fs);
			base = newest(kv);
			fs = open_small(kv, true);
			now = stored;
			assert_int_equal(check_volume(kv, &leaks, false), 0);
			assert_int_equal(leaks, 0);
		}
		if (n % 32 == 0)
			check_tree(fs, &now);
	}
	check_tree(fs, &now);
	end_volume(kv, fs);
}

/* ------------------------------------------------------------------------------------------------- threads */

struct runner {
	struct fs *fs;
	unsigned seed, number;
	const char *problem;
};

static void *run_many(void *arg)
{
	struct runner *r = arg;
	char dir[16], path[64], content[4000];

	(void)snprintf(dir, sizeof(dir), "t%u", r->number);
	if (make_dir(r->fs, dir))
		r->problem = "mkdir";
	memset(content, 'a' + (int)r->number, sizeof(content));
	for (unsigned n = 0; n < 300 && !r->problem; n++) {
		uint64_t ino;

		(void)snprintf(path, sizeof(path), "%s/f%u", dir, n % 20);
		if (put_file(r->fs, path, content, 1 + (unsigned)rand_r(&r->seed) % sizeof(content)))
			r->problem = "write";
		ino = find_path(r->fs, path);
		if (n % 7 == 0 && fs_op_fsync(r->fs, ino))
			r->problem = "fsync";
		if (n % 5 == 0) {
			char other[64];

			/* everybody meets in one directory */
			(void)snprintf(other, sizeof(other), "shared/s%u", (unsigned)rand_r(&r->seed) % 8);
			if (move(r->fs, path, other, 0))
				r->problem = "rename";
		}
		if (n % 11 == 0) {
			(void)snprintf(path, sizeof(path), "shared/s%u", (unsigned)rand_r(&r->seed) % 8);
			(void)remove_file(r->fs, path);
		}
	}
	return NULL;
}

/* Threads that share directories, a small cache and the commit thread: nothing deadlocks, nothing is torn. */
static void threads_keep_out_of_each_others_way(void **state)
{
	struct kv *kv = kv_mem_new(false);
	struct fs *fs = open_small(kv, false);
	struct runner r[6];
	pthread_t thread[6];

	(void)state;
	choose_seed();
	assert_int_equal(make_dir(fs, "shared"), 0);
	for (unsigned n = 0; n < 6; n++) {
		r[n] = (struct runner){.fs = fs, .seed = seed + n, .number = n};
		assert_int_equal(pthread_create(&thread[n], NULL, run_many, &r[n]), 0);
	}
	for (unsigned n = 0; n < 6; n++)
		assert_int_equal(pthread_join(thread[n], NULL), 0);
	for (unsigned n = 0; n < 6; n++) {
		if (r[n].problem)
			print_message("thread %u: %s\n", n, r[n].problem);
		assert_null(r[n].problem);
	}
	end_volume(kv, fs);
}

/* ------------------------------------------------------------------------------------------------- without a name */

static void push_out_of_memory(struct fs *fs)
{
	char path[16];

	for (unsigned n = 0; n < 12; n++) {
		(void)snprintf(path, sizeof(path), "other%u", n);
		assert_int_equal(put_file(fs, path, path, strlen(path)), 0);
		assert_int_equal(fs_commit(fs), 0);
	}
}

/* Files that are open and lose their name are stored and would leave a small cache: they read on, and leave nothing behind. */
static void open_files_without_a_name_outlive_the_cache(void **state)
{
	struct kv *kv = kv_mem_new(false);
	struct fs *fs = open_small(kv, true);
	uint64_t ino[2];
	struct fs_stats st;
	char data[8];

	(void)state;
	for (unsigned n = 0; n < 2; n++) {
		assert_int_equal(put_file(fs, "f", "content", 7), 0);
		ino[n] = find_path(fs, "f");
		assert_int_equal(fs_op_open(fs, ino[n], O_RDONLY), 0);
		assert_int_equal(remove_file(fs, "f"), 0);
		assert_int_equal(fs_commit(fs), 0);
	}
	push_out_of_memory(fs);
	assert_int_equal(fs_op_read(fs, ino[0], 0, data, sizeof(data)), 7);
	assert_memory_equal(data, "content", 7);
	fs_op_release(fs, ino[0]);
	fs_stats_get(fs, &st);
	assert_int_equal(st.orphans, 1);
	/* the other one is held to the end */
	push_out_of_memory(fs);
	end_volume(kv, fs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(contents_are_those_of_the_model),
		cmocka_unit_test(a_tree_is_that_of_the_model),
		cmocka_unit_test(open_files_without_a_name_outlive_the_cache),
		cmocka_unit_test(threads_keep_out_of_each_others_way),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
