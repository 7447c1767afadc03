/*
 * file: the few file idioms that must be right everywhere. All through core/base/sys.h; 0 or negative errno unless said.
 */
#ifndef CORE_BASE_FILE_H
#define CORE_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/base/buf.h"

/* Longest path that we build; longer ones are -ENAMETOOLONG. */
#define FILE_PATH_MAX 4096

/*
 * Whole transfers: repeat on short counts and EINTR. Reading returns the bytes read, less than `len` only at the end of
 * the file, or a negative errno. Writing returns 0 or a negative errno (a write that makes no progress is -EIO).
 */
ssize_t file_read_full(int fd, void *data, size_t len);
ssize_t file_pread_full(int fd, void *data, size_t len, off_t off);
int file_write_full(int fd, const void *data, size_t len);
int file_pwrite_full(int fd, const void *data, size_t len, off_t off);

/*
 * Reads a whole file of at most `max` bytes. *data gets memory (mem_free) that holds the bytes and a NUL after them,
 * *len (may be NULL) their number. -E_LIMIT when it is larger, -EISDIR, -ENOENT, ... Works on /proc and on pipes too.
 */
int file_read_all(const char *path, size_t max, char **data, size_t *len);

/* The same for a secret: -EPERM unless a regular file, ours or root's, without any access for group and others. */
int file_read_secret(const char *path, size_t max, char **data, size_t *len);

/*
 * Replaces (or creates) a file as a whole: temporary file ".<name>.<random>.tmp" beside it, write, fsync, rename, fsync
 * of the directory. After a power cut the old or the new content is there. On an error nothing has changed and no
 * temporary file is left. If only the last step, the directory's fsync, fails, the error is returned although the new
 * file is visible. `mode` is exact, whatever the umask.
 */
int file_write_atomic(const char *path, mode_t mode, const void *data, size_t len);

/* Creates a file that must not exist yet (-EEXIST), durably, whole or not at all: as above with a rename that never replaces. */
int file_create_atomic(const char *path, mode_t mode, const void *data, size_t len);

/*
 * The parts of the two above, for content that is streamed: a fresh temporary name beside `path`; the rename of a finished
 * and synced file that never replaces (-EEXIST), also where the file system has no such rename.
 */
int file_temp_path(char *dst, size_t size, const char *path);
int file_move_new(const char *temp, const char *path);

/* Whether a name is that of a temporary file of the functions above, left by a crash, and may be removed. */
bool file_is_temp(const char *name);

/* fsync of a directory; of the directory that holds `path`. */
int file_sync_dir(const char *dir);
int file_sync_parent(const char *path);

/* Creates a directory and its missing parents, each with `mode`, each made durable in its parent. 0 also if it exists. */
int file_mkdir_p(const char *path, mode_t mode);

/* Removes a file or a whole tree, without following links or crossing into mounts. 0 also if absent. Depth at most 64. */
int file_rm_tree(const char *path);

/* dst = dir "/" name, without doubling the slash. dst = directory part ("." if none). 0 or -ENAMETOOLONG. */
int file_join(char *dst, size_t size, const char *dir, const char *name);
int file_dirname(char *dst, size_t size, const char *path);
/* What follows the last slash; points into path. */
const char *file_basename(const char *path);
/* Absolute form without ".", ".." and double slashes, by text alone (no links resolved; missing parts are fine). */
int file_absolute(char *dst, size_t size, const char *path);

/*
 * Calls `each` for every entry but "." and ".."; the order is the file system's. `type` is DT_REG, DT_DIR, ... and never
 * DT_UNKNOWN. A non-zero answer stops the walk and is returned. Entries added or removed meanwhile may or may not be seen.
 */
int file_list(const char *dir, int (*each)(void *ctx, const char *name, unsigned char type), void *ctx);

/* 1 exists, 0 does not, negative errno when that cannot be said. size and mtime: through sys->stat. */
int file_exists(const char *path);

/* Copies a range with a bounded buffer; -EIO when the source ends early. */
int file_copy_range(int dst_fd, off_t dst_off, int src_fd, off_t src_off, off_t len);

/*
 * Opens (creates with 0600) and locks `path` for as long as the descriptor is open; writes our pid into it for people to
 * read. The descriptor, or -E_LOCKED when another process holds it, or another negative errno. Never blocks. The lock
 * belongs to the open file (flock), so it is shared with a descriptor that a fork inherited.
 */
int file_lock(const char *path);

/*
 * Whether `path`, or its nearest existing parent, lies on a mounted zdbfs of ours (subtype "zdbfs" or "qsfs" in
 * /proc/self/mountinfo). 1, 0, or negative errno. It looks the mount up by path text and never touches the mount itself:
 * a dead one would hang. Such paths must be refused for data, index, spool, logs, sockets and configuration.
 */
int file_is_on_our_mount(const char *path);

/* Free and total bytes for unprivileged writers of the file system that holds `path`. */
int file_space(const char *path, uint64_t *free_bytes, uint64_t *total_bytes);

#endif
