/*
 * What the tests of the file system share: a volume in memory, short forms of the operations, and a check of the whole
 * volume with fsck.
 */
#ifndef TESTS_UNIT_ZDBFS_SUPPORT_H
#define TESTS_UNIT_ZDBFS_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "applets/zdbfs/fs.h"
#include "applets/zdbfs/fsck.h"
#include "applets/zdbfs/kv_mem.h"

static const struct fs_caller root_user = {0, 0};

static inline void show_line(void *ctx, const char *line)
{
	(void)ctx;
	print_message("fsck: %s\n", line);
}

static inline struct fs *open_fs(struct kv *kv, bool no_thread)
{
	struct fs_options opt = {.may_create = true, .no_thread = no_thread, .interval_ms = 20};
	struct err_text err;
	struct fs *fs;
	int rc = fs_open(&fs, kv, &opt, &err);

	if (rc)
		print_message("open: %s\n", err.text);
	assert_int_equal(rc, 0);
	return fs;
}

/* Errors of the volume; leaks are put where asked. */
static inline uint64_t check_volume(struct kv *kv, uint64_t *leaks, bool quiet)
{
	struct fsck_options opt = {.read_blocks = true, .find_leaks = true, .say = quiet ? NULL : show_line};
	struct fsck_result r;
	struct err_text err;

	assert_int_equal(fsck_run(kv, &opt, &r, &err), 0);
	if (leaks)
		*leaks = r.leaked_meta + r.leaked_data;
	return r.errors;
}

/* Small, so that blocks and inodes leave memory and come back. */
static inline struct fs *open_small(struct kv *kv, bool no_thread)
{
	struct fs_options opt = {.may_create = true,
				 .no_thread = no_thread,
				 .interval_ms = 10,
				 .dirty_max = 512u << 10,
				 .cache_max = 1536u << 10,
				 .inode_max = 4};
	struct err_text err;
	struct fs *fs;

	assert_int_equal(fs_open(&fs, kv, &opt, &err), 0);
	return fs;
}

/* A clean stop leaves nothing wrong and nothing behind. Frees the store. */
static inline void end_volume(struct kv *kv, struct fs *fs)
{
	struct err_text err;
	uint64_t leaks;

	assert_int_equal(fs_close(fs, &err), 0);
	assert_int_equal(check_volume(kv, &leaks, false), 0);
	assert_int_equal(leaks, 0);
	kv_free(kv);
}

/* The number of the newest event. */
static inline size_t newest(struct kv *kv)
{
	return kv_mem_event_count(kv) - 1;
}

/*
 * The store as a crash at any event since `from` may have left it: of each log anything between what was synced and what was done.
 * Frees what was.
 */
static inline struct kv *crash_since(struct kv *kv, struct fs *fs, size_t from, unsigned *seed)
{
	size_t at = from + (unsigned)rand_r(seed) % (newest(kv) - from + 1);
	struct kv_mem_event e = kv_mem_event_at(kv, at);
	size_t changes[KV_ROLES];
	struct kv *after;

	fs_abandon(fs);
	for (int role = 0; role < KV_ROLES; role++)
		changes[role] = e.synced[role] + (unsigned)rand_r(seed) % (e.done[role] - e.synced[role] + 1);
	changes[KV_TEMP] = e.done[KV_TEMP];
	after = kv_mem_at(kv, changes, true);
	assert_non_null(after);
	kv_free(kv);
	return after;
}

/* The inode behind a path from the root, without counting a reference; 0 = there is none. */
static inline uint64_t find_path(struct fs *fs, const char *path)
{
	uint64_t ino = 1;

	while (*path) {
		struct fs_attr attr;
		size_t len;

		path += strspn(path, "/");
		len = strcspn(path, "/");
		if (!len)
			break;
		if (fs_op_lookup(fs, ino, path, len, &attr))
			return 0;
		fs_op_forget(fs, attr.ino, 1);
		ino = attr.ino;
		path += len;
	}
	return ino;
}

/* Splits a path into its directory's inode and the last name. */
static inline uint64_t parent_of(struct fs *fs, const char *path, const char **name)
{
	char dir[512];
	const char *slash = strrchr(path, '/');

	*name = slash ? slash + 1 : path;
	(void)snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - path) : 0, path);
	return find_path(fs, dir);
}

static inline int make_dir(struct fs *fs, const char *path)
{
	const char *name;
	uint64_t dir = parent_of(fs, path, &name);
	struct fs_attr attr;
	int rc = fs_op_mkdir(fs, &root_user, dir, name, strlen(name), 0755, &attr);

	if (!rc)
		fs_op_forget(fs, attr.ino, 1);
	return rc;
}

static inline int put_file(struct fs *fs, const char *path, const void *data, size_t len)
{
	const char *name;
	uint64_t dir = parent_of(fs, path, &name), ino = find_path(fs, path);
	struct fs_attr attr;
	ssize_t n;
	int rc;

	if (ino) {
		rc = fs_op_open(fs, ino, 01000 /* O_TRUNC */);
	} else {
		rc = fs_op_create(fs, &root_user, dir, name, strlen(name), 0644, &attr);
		ino = attr.ino;
		if (!rc)
			fs_op_forget(fs, ino, 1);
	}
	if (rc)
		return rc;
	n = len ? fs_op_write(fs, ino, 0, data, len) : 0;
	fs_op_release(fs, ino);
	return n < 0 ? (int)n : n == (ssize_t)len ? 0 : -EIO;
}

static inline int remove_file(struct fs *fs, const char *path)
{
	const char *name;
	uint64_t dir = parent_of(fs, path, &name);

	return fs_op_unlink(fs, dir, name, strlen(name));
}

static inline int remove_dir(struct fs *fs, const char *path)
{
	const char *name;
	uint64_t dir = parent_of(fs, path, &name);

	return fs_op_rmdir(fs, dir, name, strlen(name));
}

static inline int move(struct fs *fs, const char *from, const char *to, unsigned flags)
{
	const char *from_name, *to_name;
	uint64_t from_dir = parent_of(fs, from, &from_name), to_dir = parent_of(fs, to, &to_name);

	return fs_op_rename(fs, &root_user, from_dir, from_name, strlen(from_name), to_dir, to_name,
			    strlen(to_name), flags);
}

static inline int add_link(struct fs *fs, const char *from, const char *to)
{
	const char *name;
	uint64_t dir = parent_of(fs, to, &name);
	struct fs_attr attr;
	int rc = fs_op_link(fs, find_path(fs, from), dir, name, strlen(name), &attr);

	if (!rc)
		fs_op_forget(fs, attr.ino, 1);
	return rc;
}

/* Content of a small file as a string; NULL when it does not exist. Static buffer. */
static inline const char *get_file(struct fs *fs, const char *path)
{
	static char data[4096];
	uint64_t ino = find_path(fs, path);
	ssize_t n;

	if (!ino)
		return NULL;
	n = fs_op_read(fs, ino, 0, data, sizeof(data) - 1);
	assert_true(n >= 0);
	data[n] = 0;
	return data;
}

#endif
