/*
 * The power goes at every moment of fourteen histories: whatever prefix of each log is left, the next mount must give a
 * volume without any error or leak, in which every promise that was made before the cut is kept.
 *
 * Each history is played once on a store that records all changes. Then, for every recorded moment, stores are built that
 * hold of each role a prefix of its changes, at least what was synced, at most what was done, are mounted (which repairs
 * them), checked, left cleanly and checked again.
 */
#include "tests/unit/zdbfs_support.h"

#ifndef RENAME_EXCHANGE
#define RENAME_EXCHANGE 2u
#define RENAME_WHITEOUT 4u
#endif

struct promise {
	size_t from_event; /* holds from this recorded moment on ... */
	size_t to_event;   /* ... up to this one (SIZE_MAX: to the end) */
	const char *path;
	const char *content; /* NULL: does not exist */
};

struct history {
	struct kv *kv;
	struct fs *fs;
	struct promise promises[64];
	size_t promise_count;
	bool (*extra)(struct fs *fs); /* a state that must hold at every cut after `extra_from` */
	size_t extra_from;
};

static size_t now(struct history *h)
{
	return kv_mem_event_count(h->kv);
}

static void commit(struct history *h)
{
	assert_int_equal(fs_commit(h->fs), 0);
}

/* From now on, for every cut until end_promise(). */
static void promise(struct history *h, const char *path, const char *content)
{
	assert_true(h->promise_count < 64);
	h->promises[h->promise_count++] = (struct promise){now(h) - 1, SIZE_MAX, path, content};
}

/* Before an operation on the path is begun: the promise about it ends here. */
static void end_promise(struct history *h, const char *path)
{
	for (size_t n = 0; n < h->promise_count; n++)
		if (strcmp(h->promises[n].path, path) == 0 && h->promises[n].to_event == SIZE_MAX)
			h->promises[n].to_event = now(h) - 1;
}

static void check_promises(struct history *h, struct fs *fs, size_t event)
{
	for (size_t n = 0; n < h->promise_count; n++) {
		const struct promise *p = &h->promises[n];
		const char *got;

		if (event < p->from_event || event > p->to_event)
			continue;
		got = get_file(fs, p->path);
		if (p->content ? !got || strcmp(got, p->content) != 0 : got != NULL) {
			print_message("event %zu: %s is '%s', promised '%s'\n", event, p->path,
				      got ? got : "(none)", p->content ? p->content : "(none)");
			fail();
		}
	}
	if (h->extra && event >= h->extra_from)
		assert_true(h->extra(fs));
}

static void check_cut(struct history *h, size_t event, const size_t changes[KV_ROLES])
{
	struct kv *kv = kv_mem_at(h->kv, changes, false);
	struct err_text err;
	struct fs *fs;
	uint64_t errors, leaks;

	assert_non_null(kv);
	fs = open_fs(kv, true);
	errors = check_volume(kv, &leaks, false);
	if (errors || leaks) {
		print_message("event %zu, meta %zu, data %zu: %llu errors, %llu leaks after the mount\n",
			      event, changes[0], changes[1], (unsigned long long)errors,
			      (unsigned long long)leaks);
		fail();
	}
	check_promises(h, fs, event);
	assert_int_equal(put_file(fs, "after", "later", 5), 0);
	assert_int_equal(fs_close(fs, &err), 0);
	errors = check_volume(kv, &leaks, false);
	if (errors || leaks) {
		print_message("event %zu, meta %zu, data %zu: %llu errors, %llu leaks after the stop\n",
			      event, changes[0], changes[1], (unsigned long long)errors,
			      (unsigned long long)leaks);
		fail();
	}
	kv_free(kv);
}

/* All cuts from event `first` on. */
static size_t check_all(struct history *h, size_t first)
{
	struct kv_mem_event last = {0};
	size_t cuts = 0;

	for (size_t event = first; event < kv_mem_event_count(h->kv); event++) {
		struct kv_mem_event e = kv_mem_event_at(h->kv, event);

		/* each log cut anywhere between its last sync and its end, the other at both of these */
		for (int fixed = 0; fixed < 2; fixed++) {
			int moving = fixed == 0 ? KV_DATA : KV_META, other = fixed == 0 ? KV_META : KV_DATA;

			for (size_t at = e.synced[moving]; at <= e.done[moving]; at++) {
				for (int end = 0; end < 2; end++) {
					size_t changes[KV_ROLES] = {0};

					changes[KV_TEMP] = e.done[KV_TEMP];
					changes[moving] = at;
					changes[other] = end ? e.done[other] : e.synced[other];
					/* what was tried for the moment before is not new */
					if (event > first && at <= last.done[moving] &&
					    changes[other] <= last.done[other] && at >= last.synced[moving] &&
					    changes[other] >= last.synced[other] && end == 0)
						continue;
					check_cut(h, event, changes);
					cuts++;
				}
			}
		}
		last = e;
	}
	return cuts;
}

static void run(void (*play)(struct history *), const char *name)
{
	struct history h = {.kv = kv_mem_new(true)};
	size_t first, cuts;

	assert_non_null(h.kv);
	h.fs = open_fs(h.kv, true);
	/* two directories, three names, all durable */
	assert_int_equal(make_dir(h.fs, "d1"), 0);
	assert_int_equal(make_dir(h.fs, "d2"), 0);
	assert_int_equal(put_file(h.fs, "d1/a", "content of a", 12), 0);
	assert_int_equal(put_file(h.fs, "d1/b", "content of b", 12), 0);
	assert_int_equal(put_file(h.fs, "d2/c", "content of c", 12), 0);
	commit(&h);
	commit(&h);
	first = now(&h) - 1;
	promise(&h, "d1/a", "content of a");
	promise(&h, "d1/b", "content of b");
	promise(&h, "d2/c", "content of c");
	play(&h);
	commit(&h);
	commit(&h);
	cuts = check_all(&h, first);
	print_message("%s: %zu moments, %zu cuts\n", name, now(&h) - first, cuts);
	fs_abandon(h.fs);
	kv_free(h.kv);
}

/* ---------------------------------------------------------------------------------------------- the histories */

static void play_create(struct history *h)
{
	assert_int_equal(put_file(h->fs, "d1/new", "fresh", 5), 0);
	assert_int_equal(put_file(h->fs, "d2/new2", "fresh too", 9), 0);
	commit(h);
	promise(h, "d1/new", "fresh");
	promise(h, "d2/new2", "fresh too");
}

static void play_overwrite(struct history *h)
{
	end_promise(h, "d1/a");
	assert_int_equal(fs_op_write(h->fs, find_path(h->fs, "d1/a"), 0, "CONTENT", 7), 7);
	commit(h);
	promise(h, "d1/a", "CONTENT of a");
}

static void play_truncate(struct history *h)
{
	struct fs_attr want = {.size = 3}, got;

	end_promise(h, "d1/a");
	assert_int_equal(fs_op_setattr(h->fs, find_path(h->fs, "d1/a"), &want, FS_SET_SIZE, &got), 0);
	commit(h);
	promise(h, "d1/a", "con");
	end_promise(h, "d1/b");
	assert_int_equal(put_file(h->fs, "d1/b", NULL, 0), 0);
	commit(h);
	promise(h, "d1/b", "");
}

static void play_mkdir(struct history *h)
{
	assert_int_equal(make_dir(h->fs, "d1/sub"), 0);
	assert_int_equal(make_dir(h->fs, "d1/sub/deep"), 0);
	assert_int_equal(put_file(h->fs, "d1/sub/deep/f", "down here", 9), 0);
	commit(h);
	promise(h, "d1/sub/deep/f", "down here");
}

static void play_unlink(struct history *h)
{
	end_promise(h, "d1/a");
	assert_int_equal(remove_file(h->fs, "d1/a"), 0);
	commit(h);
	promise(h, "d1/a", NULL);
}

static void play_rmdir(struct history *h)
{
	end_promise(h, "d1/a");
	end_promise(h, "d1/b");
	assert_int_equal(remove_file(h->fs, "d1/a"), 0);
	assert_int_equal(remove_file(h->fs, "d1/b"), 0);
	assert_int_equal(remove_dir(h->fs, "d1"), 0);
	commit(h);
	promise(h, "d1/b", NULL);
}

static bool one_of_two(struct fs *fs, const char *one, const char *two, const char *content)
{
	const char *a = get_file(fs, one);
	bool is_first = a && strcmp(a, content) == 0, is_none = !a;
	const char *b = get_file(fs, two);

	return is_first ? true : is_none && b && strcmp(b, content) == 0;
}

static bool a_somewhere(struct fs *fs)
{
	return one_of_two(fs, "d1/a", "d2/moved", "content of a");
}

static void play_rename_across(struct history *h)
{
	h->extra = a_somewhere;
	end_promise(h, "d1/a");
	assert_int_equal(move(h->fs, "d1/a", "d2/moved", 0), 0);
	commit(h);
	promise(h, "d1/a", NULL);
	promise(h, "d2/moved", "content of a");
}

static bool c_is_old_or_new(struct fs *fs)
{
	const char *c = get_file(fs, "d2/c");

	return c && (strcmp(c, "content of c") == 0 || strcmp(c, "content of a") == 0);
}

static void play_rename_over(struct history *h)
{
	h->extra = c_is_old_or_new;
	end_promise(h, "d1/a");
	end_promise(h, "d2/c");
	assert_int_equal(move(h->fs, "d1/a", "d2/c", 0), 0);
	commit(h);
	promise(h, "d2/c", "content of a");
	promise(h, "d1/a", NULL);
}

static bool b_is_old_or_new(struct fs *fs)
{
	const char *b = get_file(fs, "d1/b");

	return b && (strcmp(b, "content of b") == 0 || strcmp(b, "replaced") == 0);
}

/* How editors and package managers write: a new file beside the old one, moved over it, in one batch. */
static void play_replace(struct history *h)
{
	h->extra = b_is_old_or_new;
	end_promise(h, "d1/b");
	assert_int_equal(put_file(h->fs, "d1/tmp", "replaced", 8), 0);
	assert_int_equal(move(h->fs, "d1/tmp", "d1/b", 0), 0);
	commit(h);
	promise(h, "d1/b", "replaced");
	promise(h, "d1/tmp", NULL);
}

static bool exchanged_or_not(struct fs *fs)
{
	const char *got = get_file(fs, "d1/a");
	bool old;

	if (!got)
		return false;
	old = strcmp(got, "content of a") == 0;
	got = get_file(fs, "d2/c");
	return got && strcmp(got, old ? "content of c" : "content of a") == 0;
}

static void play_exchange(struct history *h)
{
	h->extra = exchanged_or_not;
	end_promise(h, "d1/a");
	end_promise(h, "d2/c");
	assert_int_equal(move(h->fs, "d1/a", "d2/c", RENAME_EXCHANGE), 0);
	commit(h);
	promise(h, "d1/a", "content of c");
	promise(h, "d2/c", "content of a");
}

static void play_links(struct history *h)
{
	assert_int_equal(add_link(h->fs, "d1/a", "d2/l1"), 0);
	assert_int_equal(add_link(h->fs, "d1/a", "d2/l2"), 0);
	commit(h);
	promise(h, "d2/l1", "content of a");
	end_promise(h, "d1/a");
	assert_int_equal(remove_file(h->fs, "d1/a"), 0);
	end_promise(h, "d2/l1");
	assert_int_equal(remove_file(h->fs, "d2/l1"), 0);
	assert_int_equal(add_link(h->fs, "d2/l2", "d1/l3"), 0);
	commit(h);
	promise(h, "d2/l2", "content of a");
	promise(h, "d1/l3", "content of a");
	promise(h, "d1/a", NULL);
}

static bool ab_or_ba(struct fs *fs)
{
	return (find_path(fs, "d2/ab") == 0) != (find_path(fs, "d2/ba") == 0);
}

/* One name of a file moves to another list, another within its own: that one is never there twice. "ab" and "ba" share a list. */
static void play_rename_beside(struct history *h)
{
	assert_int_equal(add_link(h->fs, "d1/a", "d2/ab"), 0);
	commit(h);
	h->extra = ab_or_ba;
	h->extra_from = now(h) - 1;
	end_promise(h, "d1/a");
	assert_int_equal(move(h->fs, "d2/ab", "d2/ba", 0), 0);
	assert_int_equal(move(h->fs, "d1/a", "d1/t", 0), 0);
	commit(h);
	promise(h, "d2/ba", "content of a");
	promise(h, "d1/t", "content of a");
}

static bool is_at(struct fs *fs, const char *path, const char *content)
{
	const char *got = get_file(fs, path);

	return got && strcmp(got, content) == 0;
}

static bool a_and_c_somewhere(struct fs *fs)
{
	return (is_at(fs, "d1/a", "content of a") || is_at(fs, "d3/d4/a", "content of a")) &&
	       (is_at(fs, "d2/c", "content of c") || is_at(fs, "d1/a", "content of c"));
}

/* A name moves into a new directory, and another takes its place: either both or none. */
static void play_make_room(struct history *h)
{
	h->extra = a_and_c_somewhere;
	end_promise(h, "d1/a");
	end_promise(h, "d2/c");
	assert_int_equal(make_dir(h->fs, "d3"), 0);
	assert_int_equal(make_dir(h->fs, "d3/d4"), 0);
	assert_int_equal(make_dir(h->fs, "d3/d4/d5"), 0);
	assert_int_equal(move(h->fs, "d1/a", "d3/d4/a", 0), 0);
	assert_int_equal(move(h->fs, "d2/c", "d1/a", 0), 0);
	commit(h);
	promise(h, "d3/d4/a", "content of a");
	promise(h, "d1/a", "content of c");
}

/* Moves in both directions between two lists, into a new directory, and of a directory, in one batch. */
static void play_shuffle(struct history *h)
{
	end_promise(h, "d1/a");
	end_promise(h, "d1/b");
	end_promise(h, "d2/c");
	assert_int_equal(make_dir(h->fs, "d3"), 0);
	assert_int_equal(move(h->fs, "d1/a", "d2/a", 0), 0);
	assert_int_equal(move(h->fs, "d2/c", "d1/c", 0), 0);
	assert_int_equal(move(h->fs, "d1/b", "d3/b", 0), 0);
	assert_int_equal(move(h->fs, "d2", "d3/d2", 0), 0);
	assert_int_equal(remove_file(h->fs, "d1/c"), 0);
	commit(h);
	promise(h, "d3/d2/a", "content of a");
	promise(h, "d3/b", "content of b");
	promise(h, "d1/c", NULL);
}

/* A file without a name stays readable until it is closed, and is not there after a crash. */
static void play_open_unlinked(struct history *h)
{
	uint64_t a = find_path(h->fs, "d1/a");
	struct fs_attr attr;
	char data[8];

	assert_int_equal(fs_op_open(h->fs, a, 0), 0);
	end_promise(h, "d1/a");
	assert_int_equal(remove_file(h->fs, "d1/a"), 0);
	assert_int_equal(fs_op_tmpfile(h->fs, &root_user, 1, 0600, &attr), 0);
	assert_int_equal(fs_op_write(h->fs, attr.ino, 0, "nameless", 8), 8);
	commit(h);
	promise(h, "d1/a", NULL);
	assert_int_equal(fs_op_read(h->fs, a, 0, data, 7), 7);
	assert_memory_equal(data, "content", 7);
	assert_int_equal(fs_op_write(h->fs, a, 0, "CONTENT", 7), 7);
	commit(h);
	fs_op_release(h->fs, a);
	{
		struct fs_attr named;

		assert_int_equal(fs_op_link(h->fs, attr.ino, find_path(h->fs, "d2"), "named", 5, &named), 0);
		fs_op_forget(h->fs, attr.ino, 2);
	}
	commit(h);
	promise(h, "d2/named", "nameless");
	fs_op_release(h->fs, attr.ino);
}

static void play_everything(struct history *h)
{
	end_promise(h, "d1/a");
	end_promise(h, "d1/b");
	end_promise(h, "d2/c");
	for (int n = 0; n < 3; n++) {
		char name[32];

		(void)snprintf(name, sizeof(name), "d1/n%d", n);
		assert_int_equal(put_file(h->fs, name, name, strlen(name)), 0);
		assert_int_equal(add_link(h->fs, name, "d2/x"), 0);
		assert_int_equal(move(h->fs, "d2/x", "d1/y", 0), 0);
		commit(h);
		assert_int_equal(move(h->fs, "d1/y", "d2/c", 0), 0);
		assert_int_equal(move(h->fs, name, "d2/keep", n ? RENAME_EXCHANGE : 0), 0);
		assert_int_equal(make_dir(h->fs, "d1/t"), 0);
		assert_int_equal(move(h->fs, "d1/b", "d1/t/b", 0), 0);
		commit(h);
		assert_int_equal(move(h->fs, "d1/t/b", "d1/b", RENAME_WHITEOUT), 0);
		assert_int_equal(remove_file(h->fs, "d1/t/b"), 0);
		assert_int_equal(remove_dir(h->fs, "d1/t"), 0);
	}
	commit(h);
	promise(h, "d1/b", "content of b");
}

#define HISTORY(name)                                                                                        \
	static void cut_##name(void **state)                                                                 \
	{                                                                                                    \
		(void)state;                                                                                 \
		run(play_##name, #name);                                                                     \
	}
HISTORY(create)
HISTORY(overwrite)
HISTORY(truncate)
HISTORY(mkdir)
HISTORY(unlink)
HISTORY(rmdir)
HISTORY(rename_across)
HISTORY(rename_over)
HISTORY(replace)
HISTORY(exchange)
HISTORY(rename_beside)
HISTORY(make_room)
HISTORY(links)
HISTORY(shuffle)
HISTORY(open_unlinked)
HISTORY(everything)

/* Cuts while a new volume gets its first records: the next start completes it. */
static void cut_new_volume(void **state)
{
	struct kv *kv = kv_mem_new(true);
	struct err_text err;
	struct fs *fs;

	(void)state;
	fs = open_fs(kv, true);
	assert_int_equal(fs_close(fs, &err), 0);
	for (size_t event = 0; event < kv_mem_event_count(kv); event++) {
		struct kv_mem_event e = kv_mem_event_at(kv, event);
		struct kv *cut = kv_mem_at(kv, e.done, false);

		fs = open_fs(cut, true);
		assert_int_equal(put_file(fs, "f", "x", 1), 0);
		assert_int_equal(fs_close(fs, &err), 0);
		assert_int_equal(check_volume(cut, NULL, false), 0);
		kv_free(cut);
	}
	kv_free(kv);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cut_create),        cmocka_unit_test(cut_overwrite),
		cmocka_unit_test(cut_truncate),      cmocka_unit_test(cut_mkdir),
		cmocka_unit_test(cut_unlink),        cmocka_unit_test(cut_rmdir),
		cmocka_unit_test(cut_rename_across), cmocka_unit_test(cut_rename_over),
		cmocka_unit_test(cut_replace),       cmocka_unit_test(cut_exchange),
		cmocka_unit_test(cut_rename_beside), cmocka_unit_test(cut_make_room),
		cmocka_unit_test(cut_links),         cmocka_unit_test(cut_shuffle),
		cmocka_unit_test(cut_open_unlinked), cmocka_unit_test(cut_everything),
		cmocka_unit_test(cut_new_volume),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
