/*
 * sys: the table of system calls that the engines use.
 *
 * core/zdb, core/object, core/spool, the fs_op_* functions of zdbfs and core/base/file.h reach files, directories, the
 * clock and random bytes only through `sys->...`. Tests put another table there (tests/unit/support/sys_test.h): one
 * that fails the n-th call, or one that records what was written and synced and can show what a disk would hold after
 * the power was cut at any call.
 *
 * Every member has the signature, the return value and the errno of the libc call of the same name (-1 and errno, not
 * negative codes), with three exceptions that are described at the member. No member is ever NULL. A descriptor that is
 * opened through the table is closed through it, and is not written through mmap.
 *
 * Threads: the table is set before threads start (tests) and only read afterwards; the real members are as thread-safe
 * as the system calls.
 */
#ifndef CORE_BASE_SYS_H
#define CORE_BASE_SYS_H

#include <dirent.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>

struct sys_ops {
	/* open and openat always add O_CLOEXEC; `mode` counts only with O_CREAT or O_TMPFILE. */
	int (*open)(const char *path, int flags, mode_t mode);
	int (*openat)(int dirfd, const char *path, int flags, mode_t mode);
	int (*close)(int fd);

	ssize_t (*read)(int fd, void *data, size_t len);
	ssize_t (*pread)(int fd, void *data, size_t len, off_t off);
	/* flags: 0 or RWF_NOWAIT. */
	ssize_t (*preadv2)(int fd, const struct iovec *iov, int iov_count, off_t off, int flags);
	ssize_t (*write)(int fd, const void *data, size_t len);
	ssize_t (*pwrite)(int fd, const void *data, size_t len, off_t off);
	ssize_t (*writev)(int fd, const struct iovec *iov, int iov_count);
	/* flags: 0 or RWF_DONTCACHE. */
	ssize_t (*pwritev2)(int fd, const struct iovec *iov, int iov_count, off_t off, int flags);
	off_t (*lseek)(int fd, off_t off, int whence);

	int (*fsync)(int fd); /* on a directory: makes its entries durable */
	int (*fdatasync)(int fd);
	int (*syncfs)(int fd);
	/* Starts or awaits writeback; never a promise of durability. */
	int (*sync_file_range)(int fd, off_t off, off_t len, unsigned flags);
	int (*posix_fadvise)(int fd, off_t off, off_t len,
			     int advice); /* returns an error number, as libc does */

	int (*ftruncate)(int fd, off_t size);
	int (*fallocate)(int fd, int mode, off_t off, off_t len);

	int (*rename)(const char *from, const char *to);
	int (*renameat2)(int from_dirfd, const char *from, int to_dirfd, const char *to, unsigned flags);
	int (*link)(const char *from, const char *to);
	int (*unlink)(const char *path);
	int (*unlinkat)(int dirfd, const char *path, int flags);
	int (*mkdir)(const char *path, mode_t mode);
	int (*mkdirat)(int dirfd, const char *path, mode_t mode);
	int (*rmdir)(const char *path);

	int (*stat)(const char *path, struct stat *st);
	int (*lstat)(const char *path, struct stat *st);
	int (*fstat)(int fd, struct stat *st);
	int (*fstatat)(int dirfd, const char *path, struct stat *st, int flags);
	int (*fstatvfs)(int fd, struct statvfs *st);
	int (*access)(const char *path, int mode);
	int (*fchmod)(int fd, mode_t mode);
	int (*futimens)(int fd, const struct timespec times[2]);
	int (*flock)(int fd, int operation);

	/* Listing. readdir returns NULL with errno 0 at the end, NULL with errno set on an error (it clears errno itself). */
	DIR *(*opendir)(const char *path);
	struct dirent *(*readdir)(DIR *dir);
	int (*closedir)(DIR *dir);

	/* Mapping, for reading only; who reads a mapped file guards himself (core/base/mem_guard.h). */
	void *(*mmap)(void *addr, size_t len, int prot, int flags, int fd, off_t off);
	int (*munmap)(void *addr, size_t len);
	int (*mincore)(void *addr, size_t len, unsigned char *vec);

	int (*clock_gettime)(clockid_t clock, struct timespec *ts);
	ssize_t (*getrandom)(void *data, size_t len, unsigned flags);
};

/* The table in use; the real system unless a test has put another one here. Never NULL. */
extern const struct sys_ops *sys;

/* The real system, for tables that pass calls on. */
extern const struct sys_ops sys_real;

#endif
