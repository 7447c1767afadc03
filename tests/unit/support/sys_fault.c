/*
 * sys_fault: the layer that counts and fails calls, and the clock that is moved by hand.
 *
 * Every member of the table does the same: note the call, fail if it is its turn, otherwise pass it on. `only` filters
 * by path; descriptors remember the path that they were opened with.
 */
#include "tests/unit/support/sys_test.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/sys.h"

#define FD_MAX 4096

struct armed {
	uint64_t at; /* number of the call, counted from sys_fault_begin(); 0 = none */
	bool is_sticky;
	bool is_kill; /* no disk hears of a failed sync */
	int error; /* 0 = a short transfer of `len` */
	size_t len;
};

static struct {
	const struct sys_ops *lower;
	pthread_mutex_t lock; /* everything here */
	uint64_t calls[SYS_CALL_KINDS];
	struct armed armed[SYS_CALL_KINDS];
	bool fired, killed;
	char *only;
	char *fd_paths[FD_MAX];
	bool has_clock;
	uint64_t mono_ms, wall_ms;
} F = {.lock = PTHREAD_MUTEX_INITIALIZER};

static bool is_rare(enum sys_call kind)
{
	return kind == SYS_CALL_CLOSE || kind == SYS_CALL_CLOCK || kind == SYS_CALL_READDIR;
}

static bool is_turn(enum sys_call kind)
{
	const struct armed *a = &F.armed[kind];

	return a->at && (a->is_sticky ? F.calls[kind] >= a->at : F.calls[kind] == a->at);
}

static const char *path_of_fd(int fd)
{
	return fd >= 0 && fd < FD_MAX && F.fd_paths[fd] ? F.fd_paths[fd] : "";
}

/*
 * Counts the call. Returns the armed fault whose turn it is, or NULL. The answer is a copy in *out, because another
 * thread may arm meanwhile.
 */
static const struct armed *note(enum sys_call kind, const char *path, int fd, struct armed *out)
{
	const struct armed *hit = NULL;

	pthread_mutex_lock(&F.lock);
	if (!F.only || strstr(path ? path : path_of_fd(fd), F.only)) {
		F.calls[kind]++;
		if (is_turn(kind))
			hit = &F.armed[kind];
		if (!is_rare(kind)) {
			F.calls[SYS_CALL_ANY]++;
			if (!hit && is_turn(SYS_CALL_ANY))
				hit = &F.armed[SYS_CALL_ANY];
		}
	}
	if (hit) {
		F.fired = true;
		F.killed = hit->is_kill;
		*out = *hit;
		hit = out;
	}
	pthread_mutex_unlock(&F.lock);
	return hit;
}

/* Whether the call fails; then errno is set. */
static bool fails(enum sys_call kind, const char *path, int fd)
{
	struct armed a;

	if (!note(kind, path, fd, &a))
		return false;
	errno = a.error ? a.error : EIO;
	return true;
}

/* The same for a transfer: *len becomes shorter for a short one. */
static bool transfer_fails(enum sys_call kind, int fd, size_t *len)
{
	struct armed a;

	if (!note(kind, NULL, fd, &a))
		return false;
	if (a.error) {
		errno = a.error;
		return true;
	}
	if (a.len < *len)
		*len = a.len;
	return false;
}

static void remember(int fd, const char *path)
{
	if (fd < 0 || fd >= FD_MAX)
		return;
	pthread_mutex_lock(&F.lock);
	free(F.fd_paths[fd]);
	F.fd_paths[fd] = path ? strdup(path) : NULL;
	pthread_mutex_unlock(&F.lock);
}

static int f_open(const char *path, int flags, mode_t mode)
{
	int fd;

	if (fails(SYS_CALL_OPEN, path, -1))
		return -1;
	fd = F.lower->open(path, flags, mode);
	remember(fd, path);
	return fd;
}

static int f_openat(int dirfd, const char *path, int flags, mode_t mode)
{
	char whole[8192];
	int fd;

	/* Relative names keep the directory's path, so that sys_fault_only() sees it. */
	snprintf(whole, sizeof(whole), "%s/%s", path_of_fd(dirfd), path);
	if (fails(SYS_CALL_OPEN, whole, -1))
		return -1;
	fd = F.lower->openat(dirfd, path, flags, mode);
	remember(fd, whole);
	return fd;
}

static int f_close(int fd)
{
	bool is_failed = fails(SYS_CALL_CLOSE, NULL, fd);
	int rc;

	/* As in Linux: the descriptor is closed even when close() reports an error. */
	remember(fd, NULL);
	rc = F.lower->close(fd);
	if (is_failed)
		errno = EIO;
	return is_failed ? -1 : rc;
}

static ssize_t f_read(int fd, void *data, size_t len)
{
	return transfer_fails(SYS_CALL_READ, fd, &len) ? -1 : F.lower->read(fd, data, len);
}

static ssize_t f_pread(int fd, void *data, size_t len, off_t off)
{
	return transfer_fails(SYS_CALL_READ, fd, &len) ? -1 : F.lower->pread(fd, data, len, off);
}

static ssize_t f_write(int fd, const void *data, size_t len)
{
	return transfer_fails(SYS_CALL_WRITE, fd, &len) ? -1 : F.lower->write(fd, data, len);
}

static ssize_t f_pwrite(int fd, const void *data, size_t len, off_t off)
{
	return transfer_fails(SYS_CALL_WRITE, fd, &len) ? -1 : F.lower->pwrite(fd, data, len, off);
}

/* Copy of an array of parts, cut to `len` bytes in all. Returns the number of parts. */
static int cut_parts(struct iovec *out, const struct iovec *iov, int count, size_t len)
{
	int n = 0;

	for (; n < count && len; n++) {
		out[n] = iov[n];
		if (out[n].iov_len > len)
			out[n].iov_len = len;
		len -= out[n].iov_len;
	}
	return n;
}

static size_t sum_parts(const struct iovec *iov, int count)
{
	size_t sum = 0;

	for (int i = 0; i < count; i++)
		sum += iov[i].iov_len;
	return sum;
}

#define PARTS_MAX 1024

static ssize_t f_preadv2(int fd, const struct iovec *iov, int count, off_t off, int flags)
{
	struct iovec parts[PARTS_MAX];
	size_t len = sum_parts(iov, count);

	if (transfer_fails(SYS_CALL_READ, fd, &len))
		return -1;
	return F.lower->preadv2(fd, parts, cut_parts(parts, iov, count, len), off, flags);
}

static ssize_t f_writev(int fd, const struct iovec *iov, int count)
{
	struct iovec parts[PARTS_MAX];
	size_t len = sum_parts(iov, count);

	if (transfer_fails(SYS_CALL_WRITE, fd, &len))
		return -1;
	return F.lower->writev(fd, parts, cut_parts(parts, iov, count, len));
}

static ssize_t f_pwritev2(int fd, const struct iovec *iov, int count, off_t off, int flags)
{
	struct iovec parts[PARTS_MAX];
	size_t len = sum_parts(iov, count);

	if (transfer_fails(SYS_CALL_WRITE, fd, &len))
		return -1;
	return F.lower->pwritev2(fd, parts, cut_parts(parts, iov, count, len), off, flags);
}

static off_t f_lseek(int fd, off_t off, int whence)
{
	return fails(SYS_CALL_LSEEK, NULL, fd) ? -1 : F.lower->lseek(fd, off, whence);
}

/* The disk below hears of a failed sync: what was written before it may be lost for good. */
static int failed_sync(int fd)
{
	int error = errno;

	if (!F.killed)
		sim_disk_sync_failed(fd);
	errno = error;
	return -1;
}

static int f_fsync(int fd)
{
	return fails(SYS_CALL_SYNC, NULL, fd) ? failed_sync(fd) : F.lower->fsync(fd);
}

static int f_fdatasync(int fd)
{
	return fails(SYS_CALL_SYNC, NULL, fd) ? failed_sync(fd) : F.lower->fdatasync(fd);
}

static int f_syncfs(int fd)
{
	return fails(SYS_CALL_SYNC, NULL, fd) ? failed_sync(fd) : F.lower->syncfs(fd);
}

static int f_sync_file_range(int fd, off_t off, off_t len, unsigned flags)
{
	return fails(SYS_CALL_SYNC_RANGE, NULL, fd) ? -1 : F.lower->sync_file_range(fd, off, len, flags);
}

static int f_posix_fadvise(int fd, off_t off, off_t len, int advice)
{
	return fails(SYS_CALL_ATTR, NULL, fd) ? errno : F.lower->posix_fadvise(fd, off, len, advice);
}

static int f_ftruncate(int fd, off_t size)
{
	return fails(SYS_CALL_TRUNCATE, NULL, fd) ? -1 : F.lower->ftruncate(fd, size);
}

static int f_fallocate(int fd, int mode, off_t off, off_t len)
{
	return fails(SYS_CALL_FALLOCATE, NULL, fd) ? -1 : F.lower->fallocate(fd, mode, off, len);
}

static int f_rename(const char *from, const char *to)
{
	return fails(SYS_CALL_RENAME, to, -1) ? -1 : F.lower->rename(from, to);
}

static int f_renameat2(int from_dirfd, const char *from, int to_dirfd, const char *to, unsigned flags)
{
	return fails(SYS_CALL_RENAME, to, -1) ? -1
					      : F.lower->renameat2(from_dirfd, from, to_dirfd, to, flags);
}

static int f_link(const char *from, const char *to)
{
	return fails(SYS_CALL_LINK, to, -1) ? -1 : F.lower->link(from, to);
}

static int f_unlink(const char *path)
{
	return fails(SYS_CALL_UNLINK, path, -1) ? -1 : F.lower->unlink(path);
}

static int f_unlinkat(int dirfd, const char *path, int flags)
{
	return fails(SYS_CALL_UNLINK, path, -1) ? -1 : F.lower->unlinkat(dirfd, path, flags);
}

static int f_mkdir(const char *path, mode_t mode)
{
	return fails(SYS_CALL_MKDIR, path, -1) ? -1 : F.lower->mkdir(path, mode);
}

static int f_mkdirat(int dirfd, const char *path, mode_t mode)
{
	return fails(SYS_CALL_MKDIR, path, -1) ? -1 : F.lower->mkdirat(dirfd, path, mode);
}

static int f_rmdir(const char *path)
{
	return fails(SYS_CALL_RMDIR, path, -1) ? -1 : F.lower->rmdir(path);
}

static int f_stat(const char *path, struct stat *st)
{
	return fails(SYS_CALL_STAT, path, -1) ? -1 : F.lower->stat(path, st);
}

static int f_lstat(const char *path, struct stat *st)
{
	return fails(SYS_CALL_STAT, path, -1) ? -1 : F.lower->lstat(path, st);
}

static int f_fstat(int fd, struct stat *st)
{
	return fails(SYS_CALL_STAT, NULL, fd) ? -1 : F.lower->fstat(fd, st);
}

static int f_fstatat(int dirfd, const char *path, struct stat *st, int flags)
{
	return fails(SYS_CALL_STAT, path, -1) ? -1 : F.lower->fstatat(dirfd, path, st, flags);
}

static int f_fstatvfs(int fd, struct statvfs *st)
{
	return fails(SYS_CALL_STAT, NULL, fd) ? -1 : F.lower->fstatvfs(fd, st);
}

static int f_access(const char *path, int mode)
{
	return fails(SYS_CALL_STAT, path, -1) ? -1 : F.lower->access(path, mode);
}

static int f_fchmod(int fd, mode_t mode)
{
	return fails(SYS_CALL_ATTR, NULL, fd) ? -1 : F.lower->fchmod(fd, mode);
}

static int f_futimens(int fd, const struct timespec times[2])
{
	return fails(SYS_CALL_ATTR, NULL, fd) ? -1 : F.lower->futimens(fd, times);
}

static int f_flock(int fd, int operation)
{
	return fails(SYS_CALL_FLOCK, NULL, fd) ? -1 : F.lower->flock(fd, operation);
}

static DIR *f_opendir(const char *path)
{
	return fails(SYS_CALL_OPENDIR, path, -1) ? NULL : F.lower->opendir(path);
}

static struct dirent *f_readdir(DIR *dir)
{
	return fails(SYS_CALL_READDIR, "", -1) ? NULL : F.lower->readdir(dir);
}

static int f_closedir(DIR *dir)
{
	return F.lower->closedir(dir);
}

static void *f_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
	return fails(SYS_CALL_MAP, NULL, fd) ? MAP_FAILED : F.lower->mmap(addr, len, prot, flags, fd, off);
}

static int f_munmap(void *addr, size_t len)
{
	return F.lower->munmap(addr, len);
}

static int f_mincore(void *addr, size_t len, unsigned char *vec)
{
	return F.lower->mincore(addr, len, vec);
}

static int f_clock_gettime(clockid_t clock, struct timespec *ts)
{
	uint64_t ms;

	if (fails(SYS_CALL_CLOCK, "", -1))
		return -1;
	if (!F.has_clock)
		return F.lower->clock_gettime(clock, ts);
	pthread_mutex_lock(&F.lock);
	ms = clock == CLOCK_REALTIME ? F.wall_ms : F.mono_ms;
	pthread_mutex_unlock(&F.lock);
	ts->tv_sec = (time_t)(ms / 1000);
	ts->tv_nsec = (long)(ms % 1000) * 1000000;
	return 0;
}

static ssize_t f_getrandom(void *data, size_t len, unsigned flags)
{
	return fails(SYS_CALL_RANDOM, "", -1) ? -1 : F.lower->getrandom(data, len, flags);
}

static const struct sys_ops fault_table = {
	.open = f_open,
	.openat = f_openat,
	.close = f_close,
	.read = f_read,
	.pread = f_pread,
	.preadv2 = f_preadv2,
	.write = f_write,
	.pwrite = f_pwrite,
	.writev = f_writev,
	.pwritev2 = f_pwritev2,
	.lseek = f_lseek,
	.fsync = f_fsync,
	.fdatasync = f_fdatasync,
	.syncfs = f_syncfs,
	.sync_file_range = f_sync_file_range,
	.posix_fadvise = f_posix_fadvise,
	.ftruncate = f_ftruncate,
	.fallocate = f_fallocate,
	.rename = f_rename,
	.renameat2 = f_renameat2,
	.link = f_link,
	.unlink = f_unlink,
	.unlinkat = f_unlinkat,
	.mkdir = f_mkdir,
	.mkdirat = f_mkdirat,
	.rmdir = f_rmdir,
	.stat = f_stat,
	.lstat = f_lstat,
	.fstat = f_fstat,
	.fstatat = f_fstatat,
	.fstatvfs = f_fstatvfs,
	.access = f_access,
	.fchmod = f_fchmod,
	.futimens = f_futimens,
	.flock = f_flock,
	.opendir = f_opendir,
	.readdir = f_readdir,
	.closedir = f_closedir,
	.mmap = f_mmap,
	.mincore = f_mincore,
	.munmap = f_munmap,
	.clock_gettime = f_clock_gettime,
	.getrandom = f_getrandom,
};

void sys_fault_begin(void)
{
	if (sys == &fault_table)
		abort();
	F.lower = sys;
	memset(F.calls, 0, sizeof(F.calls));
	sys_fault_disarm();
	F.has_clock = false;
	sys = &fault_table;
}

void sys_fault_end(void)
{
	sys = F.lower;
	sys_fault_only(NULL);
	for (int fd = 0; fd < FD_MAX; fd++)
		remember(fd, NULL);
}

static void arm(enum sys_call kind, struct armed a, uint64_t nth)
{
	pthread_mutex_lock(&F.lock);
	a.at = nth ? F.calls[kind] + nth : 0;
	F.armed[kind] = a;
	F.fired = false;
	pthread_mutex_unlock(&F.lock);
}

void sys_fault_arm(enum sys_call kind, uint64_t nth, int error)
{
	arm(kind, (struct armed){.error = error}, nth);
}

void sys_fault_arm_from(enum sys_call kind, uint64_t nth, int error)
{
	arm(kind, (struct armed){.error = error, .is_sticky = true}, nth);
}

void sys_fault_kill(uint64_t nth)
{
	arm(SYS_CALL_ANY, (struct armed){.error = EIO, .is_sticky = true, .is_kill = true}, nth);
}

void sys_fault_arm_short(enum sys_call kind, uint64_t nth, size_t len)
{
	arm(kind, (struct armed){.len = len ? len : 1}, nth);
}

void sys_fault_disarm(void)
{
	pthread_mutex_lock(&F.lock);
	memset(F.armed, 0, sizeof(F.armed));
	F.fired = F.killed = false;
	pthread_mutex_unlock(&F.lock);
}

void sys_fault_only(const char *path_part)
{
	pthread_mutex_lock(&F.lock);
	free(F.only);
	F.only = path_part ? strdup(path_part) : NULL;
	pthread_mutex_unlock(&F.lock);
}

uint64_t sys_fault_calls(enum sys_call kind)
{
	uint64_t n;

	pthread_mutex_lock(&F.lock);
	n = F.calls[kind];
	pthread_mutex_unlock(&F.lock);
	return n;
}

bool sys_fault_fired(void)
{
	return F.fired;
}

void sys_clock_set(uint64_t mono_ms, uint64_t wall_ms)
{
	pthread_mutex_lock(&F.lock);
	F.has_clock = true;
	F.mono_ms = mono_ms;
	F.wall_ms = wall_ms;
	pthread_mutex_unlock(&F.lock);
}

void sys_clock_advance(uint64_t ms)
{
	pthread_mutex_lock(&F.lock);
	F.mono_ms += ms;
	F.wall_ms += ms;
	pthread_mutex_unlock(&F.lock);
}
