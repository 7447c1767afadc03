/*
 * fs: a zdbfs volume as a file system, without FUSE. The FUSE face, the crash tests, fsck and dump stand on it.
 *
 * Promises (docs/promises.md):
 *  - what fs_op_fsync() or fs_flush() returned 0 for survives the crash of every process, and of the machine when the
 *    store can SYNC;
 *  - everything else is stored within the flush interval;
 *  - after a crash at any moment and the next fs_open() the tree is consistent: every name has its inode, link counts are
 *    right, a rename shows the old or the new state, nothing that was freed is referenced;
 *  - a range that cannot be read is an error, never zeros.
 *
 * Operations may be called from any number of threads. Names are bytes, not terminated, checked here. They return 0 or a
 * negative errno. `ino` is the key of the inode's record; the root is 1.
 *
 * Life of an inode: lookup, create, mkdir, mknod, symlink, link and tmpfile count one reference that fs_op_forget() takes
 * back, open and create one that fs_op_release() takes back. An inode without names lives until both are gone.
 */
#ifndef ZDBFS_FS_H
#define ZDBFS_FS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>

#include "applets/zdbfs/kv.h"
#include "core/base/err.h"

struct fs;

struct fs_options {
	uint64_t size_bytes;  /* what statfs shows; 0 = 10 GiB */
	size_t dirty_max;     /* bytes of blocks that wait to be stored; 0 = by memory */
	size_t cache_max;     /* bytes of blocks kept in all; 0 = by memory */
	size_t inode_max;     /* inodes kept; 0 = by memory */
	uint64_t interval_ms; /* nothing stays unstored longer; 0 = 5000 */
	bool is_read_only;
	bool may_create;   /* an empty volume may be given its first records */
	bool no_thread;    /* tests: nothing is stored but by fs_commit() */
	bool strict_sync;  /* refuse a store that cannot SYNC */
	bool enforce_size; /* ENOSPC beyond size_bytes */
};

/* Who calls. */
struct fs_caller {
	uid_t uid;
	gid_t gid;
};

struct fs_attr {
	uint64_t ino;
	uint32_t mode, nlink, uid, gid;
	uint32_t rdev; /* FUSE's 32-bit form */
	uint64_t size, blocks;
	struct timespec atime, mtime, ctime, btime;
};

/* What fs_op_setattr() shall change. */
#define FS_SET_MODE      0x001u
#define FS_SET_UID       0x002u
#define FS_SET_GID       0x004u
#define FS_SET_SIZE      0x008u
#define FS_SET_ATIME     0x010u
#define FS_SET_MTIME     0x020u
#define FS_SET_CTIME     0x040u
#define FS_SET_ATIME_NOW 0x080u
#define FS_SET_MTIME_NOW 0x100u
#define FS_SET_KILL_SUID 0x200u

struct fs_statfs {
	uint64_t total_bytes, free_bytes;
	uint64_t files, free_files;
};

/* Counters of the statistics ioctl and of status. */
struct fs_stats {
	uint64_t cache_hit, cache_miss;
	uint64_t inodes, inodes_dirty;
	uint64_t blocks, block_bytes, dirty_bytes, dirty_max, cache_max;
	uint64_t batches, sequential_flush;
	uint64_t next_meta, next_data; /* ids spent */
	uint64_t orphans, frees_waiting;
	uint64_t last_sync_ms; /* monotonic; 0 = never */
	int last_error;
	bool can_sync, is_read_only;
};

/*
 * Opens a volume: checks the headers, redoes what a crash left, creates the first records when allowed. `kv` stays the
 * caller's and must outlive the fs. On failure a sentence in `err`; codes: -E_VERSION, -E_CORRUPT (not such a volume),
 * -EROFS, -ENOMEM, -EIO, -ENOTSUP (strict_sync), -ENODATA (empty and may_create is false, or half a volume).
 */
int fs_open(struct fs **fs, struct kv *kv, const struct fs_options *opt, struct err_text *err);

/* Stores everything, frees what is to be freed, marks the volume as cleanly left. Frees the fs in any case; an error says
 * that something could not be stored. */
int fs_close(struct fs *fs, struct err_text *err);

/* Frees the fs as if the process had been killed: nothing more is stored. For tests. */
void fs_abandon(struct fs *fs);

/* Stores everything that was accepted before the call and makes it durable. */
int fs_flush(struct fs *fs);
/* With no_thread: one batch, in the caller's thread. */
int fs_commit(struct fs *fs);

void fs_stats_get(struct fs *fs, struct fs_stats *st);

/* ---- names ---- */
int fs_op_lookup(struct fs *fs, uint64_t dir, const char *name, size_t len, struct fs_attr *attr);
void fs_op_forget(struct fs *fs, uint64_t ino, uint64_t count);
int fs_op_create(struct fs *fs, const struct fs_caller *who, uint64_t dir, const char *name, size_t len,
		 uint32_t mode, struct fs_attr *attr);
int fs_op_mknod(struct fs *fs, const struct fs_caller *who, uint64_t dir, const char *name, size_t len,
		uint32_t mode, uint32_t rdev, struct fs_attr *attr);
int fs_op_mkdir(struct fs *fs, const struct fs_caller *who, uint64_t dir, const char *name, size_t len,
		uint32_t mode, struct fs_attr *attr);
int fs_op_symlink(struct fs *fs, const struct fs_caller *who, uint64_t dir, const char *name, size_t len,
		  const char *target, struct fs_attr *attr);
/* An open file without a name; fs_op_link() may give it one. */
int fs_op_tmpfile(struct fs *fs, const struct fs_caller *who, uint64_t dir, uint32_t mode,
		  struct fs_attr *attr);
int fs_op_link(struct fs *fs, uint64_t ino, uint64_t dir, const char *name, size_t len, struct fs_attr *attr);
int fs_op_unlink(struct fs *fs, uint64_t dir, const char *name, size_t len);
int fs_op_rmdir(struct fs *fs, uint64_t dir, const char *name, size_t len);
/* flags: RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT of renameat2(2). */
int fs_op_rename(struct fs *fs, const struct fs_caller *who, uint64_t from_dir, const char *from,
		 size_t from_len, uint64_t to_dir, const char *to, size_t to_len, unsigned flags);
/* *target: mem_free() it. */
int fs_op_readlink(struct fs *fs, uint64_t ino, char **target);

/*
 * Entries of a directory from a cookie on (0 = the beginning). `each` gets the entry and the cookie to go on after it;
 * non-zero ends the listing, that entry is offered again next time. Cookies stay right whatever is added or removed.
 * With `want_attr` each entry comes with its attributes and counts as a lookup if `each` returns 0.
 */
struct fs_dirent {
	const char *name; /* terminated */
	size_t len;
	uint64_t ino, cookie;
	uint32_t type; /* mode & S_IFMT; 0 = not known */
	const struct fs_attr *attr;
};
int fs_op_readdir(struct fs *fs, uint64_t dir, uint64_t cookie, bool want_attr,
		  int (*each)(void *ctx, const struct fs_dirent *e), void *ctx);

/* ---- attributes ---- */
int fs_op_getattr(struct fs *fs, uint64_t ino, struct fs_attr *attr);
int fs_op_setattr(struct fs *fs, uint64_t ino, const struct fs_attr *want, unsigned set,
		  struct fs_attr *attr);
/* size 0: *len becomes the length of the value. -ERANGE when it does not fit. */
int fs_op_getxattr(struct fs *fs, uint64_t ino, const char *name, void *value, size_t size, size_t *len);
/* flags: XATTR_CREATE, XATTR_REPLACE. */
int fs_op_setxattr(struct fs *fs, uint64_t ino, const char *name, const void *value, size_t size, int flags);
int fs_op_listxattr(struct fs *fs, uint64_t ino, char *list, size_t size, size_t *len);
int fs_op_removexattr(struct fs *fs, uint64_t ino, const char *name);
int fs_op_statfs(struct fs *fs, struct fs_statfs *st);

/* ---- contents ---- */
/* flags: O_TRUNC counts. */
int fs_op_open(struct fs *fs, uint64_t ino, int flags);
int fs_op_opendir(struct fs *fs, uint64_t ino);
void fs_op_release(struct fs *fs, uint64_t ino);

/* Pieces of what was read, in order; data is NULL for zeros. They stay valid until fs_read_release(). */
struct fs_piece {
	const uint8_t *data;
	size_t len;
	void *ref;
};
struct fs_read {
	struct fs_piece *pieces;
	size_t count, len;
};
int fs_op_read_pieces(struct fs *fs, uint64_t ino, uint64_t off, size_t len, struct fs_read *out);
void fs_read_release(struct fs_read *r);
ssize_t fs_op_read(struct fs *fs, uint64_t ino, uint64_t off, void *data, size_t len);
ssize_t fs_op_write(struct fs *fs, uint64_t ino, uint64_t off, const void *data, size_t len);
int fs_op_fsync(struct fs *fs, uint64_t ino);
/* The error of an earlier attempt to store this file, once. */
int fs_op_flush(struct fs *fs, uint64_t ino);
/* mode: FALLOC_FL_* of fallocate(2). */
int fs_op_fallocate(struct fs *fs, uint64_t ino, int mode, uint64_t off, uint64_t len);
/* whence: SEEK_DATA or SEEK_HOLE. */
int fs_op_lseek(struct fs *fs, uint64_t ino, uint64_t off, int whence, uint64_t *result);
ssize_t fs_op_copy(struct fs *fs, uint64_t from, uint64_t from_off, uint64_t to, uint64_t to_off, size_t len);

#endif
