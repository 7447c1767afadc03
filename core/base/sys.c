/*
 * sys: the real system behind the table. Every wrapper exists only where libc's signature differs from the member's, or
 * where a flag is always added; EINTR is left to the callers, who know what a partial transfer means.
 */
#include "core/base/sys.h"

#include <errno.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/random.h>
#include <unistd.h>

static int real_open(const char *path, int flags, mode_t mode)
{
	return open(path, flags | O_CLOEXEC, mode);
}

static int real_openat(int dirfd, const char *path, int flags, mode_t mode)
{
	return openat(dirfd, path, flags | O_CLOEXEC, mode);
}

/* The wrapper is missing in some libcs; the system call is older than every kernel we run on. */
static int real_renameat2(int from_dirfd, const char *from, int to_dirfd, const char *to, unsigned flags)
{
	return (int)syscall(SYS_renameat2, from_dirfd, from, to_dirfd, to, flags);
}

static int real_posix_fadvise(int fd, off_t off, off_t len, int advice)
{
	return posix_fadvise(fd, off, len, advice);
}

static struct dirent *real_readdir(DIR *dir)
{
	errno = 0;
	return readdir(dir);
}

const struct sys_ops sys_real = {
	.open = real_open,
	.openat = real_openat,
	.close = close,
	.read = read,
	.pread = pread,
	.preadv2 = preadv2,
	.write = write,
	.pwrite = pwrite,
	.writev = writev,
	.pwritev2 = pwritev2,
	.lseek = lseek,
	.fsync = fsync,
	.fdatasync = fdatasync,
	.syncfs = syncfs,
	.sync_file_range = sync_file_range,
	.posix_fadvise = real_posix_fadvise,
	.ftruncate = ftruncate,
	.fallocate = fallocate,
	.rename = rename,
	.renameat2 = real_renameat2,
	.link = link,
	.unlink = unlink,
	.unlinkat = unlinkat,
	.mkdir = mkdir,
	.mkdirat = mkdirat,
	.rmdir = rmdir,
	.stat = stat,
	.lstat = lstat,
	.fstat = fstat,
	.fstatat = fstatat,
	.fstatvfs = fstatvfs,
	.access = access,
	.fchmod = fchmod,
	.futimens = futimens,
	.flock = flock,
	.opendir = opendir,
	.readdir = real_readdir,
	.closedir = closedir,
	.mmap = mmap,
	.munmap = munmap,
	.mincore = mincore,
	.clock_gettime = clock_gettime,
	.getrandom = getrandom,
};

const struct sys_ops *sys = &sys_real;
