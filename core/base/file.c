/*
 * file: whole transfers, atomic replacement, locks, copies. Paths and trees are in path.c.
 */
#include "core/base/file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/base/err.h"
#include "core/base/hex.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/base/sys.h"

#define COPY_CHUNK 65536u

ssize_t file_read_full(int fd, void *data, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = sys->read(fd, (char *)data + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

ssize_t file_pread_full(int fd, void *data, size_t len, off_t off)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = sys->pread(fd, (char *)data + done, len - done, off + (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

int file_write_full(int fd, const void *data, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = sys->write(fd, (const char *)data + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EIO;
		done += (size_t)n;
	}
	return 0;
}

int file_pwrite_full(int fd, const void *data, size_t len, off_t off)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = sys->pwrite(fd, (const char *)data + done, len - done, off + (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EIO;
		done += (size_t)n;
	}
	return 0;
}

/* Reads to the end into a buffer whose bound has been set. Wiped on error: it may be a secret. */
static int read_rest(int fd, struct buf *b)
{
	for (;;) {
		size_t want = b->max - b->len < COPY_CHUNK ? b->max - b->len : COPY_CHUNK;
		ssize_t n;
		int code;

		if (want == 0) {
			char more;

			n = file_read_full(fd, &more, 1);
			return n > 0 ? -E_LIMIT : (int)n;
		}
		code = buf_reserve(b, want);
		if (code)
			return code;
		n = file_read_full(fd, b->data + b->len, want);
		if (n < 0)
			return (int)n;
		buf_added(b, (size_t)n);
		if ((size_t)n < want)
			return 0;
	}
}

static int read_all(const char *path, size_t max, bool is_secret, char **data, size_t *len)
{
	struct buf b = BUF_INIT(max);
	struct stat st;
	int code, fd = sys->open(path, O_RDONLY | O_NOCTTY, 0);

	if (fd < 0)
		return -errno;
	if (sys->fstat(fd, &st) < 0) {
		code = -errno;
		goto out;
	}
	if (S_ISDIR(st.st_mode)) {
		code = -EISDIR;
		goto out;
	}
	if (is_secret &&
	    (!S_ISREG(st.st_mode) || (st.st_uid != 0 && st.st_uid != geteuid()) || (st.st_mode & 077))) {
		code = -EPERM;
		goto out;
	}
	if (S_ISREG(st.st_mode) && st.st_size > 0) {
		size_t want = (size_t)st.st_size;

		if ((uint64_t)st.st_size > max) {
			code = -E_LIMIT;
			goto out;
		}
		/* Room for the last, empty read as well: growth would leave a copy of the secret behind. */
		if (is_secret && max - want > COPY_CHUNK)
			want += COPY_CHUNK + 1;
		code = buf_reserve(&b, want);
		if (code)
			goto out;
	}
	code = read_rest(fd, &b);
	if (code)
		goto out;
	*data = buf_detach(&b, len);
	if (!*data)
		code = -ENOMEM;
out:
	sys->close(fd);
	buf_release_wiped(&b);
	return code;
}

int file_read_all(const char *path, size_t max, char **data, size_t *len)
{
	return read_all(path, max, false, data, len);
}

int file_read_secret(const char *path, size_t max, char **data, size_t *len)
{
	return read_all(path, max, true, data, len);
}

/* ".<name>.<12 hex digits>.tmp" beside `path`. The name is cut so that the whole stays within NAME_MAX. */
int file_temp_path(char *dst, size_t size, const char *path)
{
	const char *name = file_basename(path);
	uint8_t random[6] = {0};
	char digits[2 * sizeof(random) + 1];
	int n;

	if (*name == '\0')
		return -EISDIR;
	if (sys->getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
		return -EIO;
	hex_encode(digits, random, sizeof(random));
	n = str_fmt(dst, size, "%.*s.%.200s.%s.tmp", (int)(name - path), path, name, digits);
	return n < 0 ? n : 0;
}

bool file_is_temp(const char *name)
{
	size_t len = strlen(name);
	const char *digits;

	/* '.', a name, '.', 12 digits, ".tmp" */
	if (name[0] != '.' || len < 19 || !str_ends(name, ".tmp"))
		return false;
	digits = name + len - 16;
	return digits[-1] == '.' && strspn(digits, "0123456789abcdef") == 12;
}

/* Writes and syncs the temporary file. */
static int write_temp(const char *temp, mode_t mode, const void *data, size_t len)
{
	int code, fd = sys->open(temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);

	if (fd < 0)
		return -errno;
	code = file_write_full(fd, data, len);
	if (code == 0 && sys->fchmod(fd, mode) < 0)
		code = -errno;
	if (code == 0 && sys->fsync(fd) < 0)
		code = -errno;
	if (sys->close(fd) < 0 && code == 0)
		code = -errno;
	return code;
}

/* A rename that never replaces, also where the file system has no RENAME_NOREPLACE. */
int file_move_new(const char *temp, const char *path)
{
	if (sys->renameat2(AT_FDCWD, temp, AT_FDCWD, path, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -errno;
	if (sys->link(temp, path) < 0)
		return -errno;
	return sys->unlink(temp) < 0 ? -errno : 0;
}

static int write_atomic(const char *path, mode_t mode, const void *data, size_t len, bool replace)
{
	char temp[FILE_PATH_MAX];
	int code = file_temp_path(temp, sizeof(temp), path);

	if (code)
		return code;
	code = write_temp(temp, mode, data, len);
	if (code == -EEXIST)
		return code; /* somebody else's file: not ours to remove */
	if (code == 0) {
		if (replace)
			code = sys->rename(temp, path) < 0 ? -errno : 0;
		else
			code = file_move_new(temp, path);
	}
	if (code) {
		(void)sys->unlink(temp); /* the first error is the one to report */
		return code;
	}
	return file_sync_parent(path);
}

int file_write_atomic(const char *path, mode_t mode, const void *data, size_t len)
{
	return write_atomic(path, mode, data, len, true);
}

int file_create_atomic(const char *path, mode_t mode, const void *data, size_t len)
{
	return write_atomic(path, mode, data, len, false);
}

int file_copy_range(int dst_fd, off_t dst_off, int src_fd, off_t src_off, off_t len)
{
	char *chunk = mem_alloc(COPY_CHUNK);
	int code = 0;

	if (!chunk)
		return -ENOMEM;
	while (len > 0 && code == 0) {
		size_t want = len < (off_t)COPY_CHUNK ? (size_t)len : COPY_CHUNK;
		ssize_t n = file_pread_full(src_fd, chunk, want, src_off);

		if (n != (ssize_t)want) {
			code = n < 0 ? (int)n : -EIO;
			break;
		}
		code = file_pwrite_full(dst_fd, chunk, want, dst_off);
		src_off += (off_t)want;
		dst_off += (off_t)want;
		len -= (off_t)want;
	}
	mem_free(chunk);
	return code;
}

int file_lock(const char *path)
{
	char pid[24];
	int n, code, fd = sys->open(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600);

	if (fd < 0)
		return -errno;
	if (sys->flock(fd, LOCK_EX | LOCK_NB) < 0) {
		code = errno == EWOULDBLOCK ? -E_LOCKED : -errno;
		sys->close(fd);
		return code;
	}
	/* For people only: the lock is the flock, so a full disk does not matter here. */
	n = snprintf(pid, sizeof(pid), "%d\n", (int)getpid());
	if (sys->ftruncate(fd, 0) == 0)
		(void)file_pwrite_full(fd, pid, (size_t)n, 0);
	return fd;
}

int file_space(const char *path, uint64_t *free_bytes, uint64_t *total_bytes)
{
	struct statvfs st;
	int code = 0, fd = sys->open(path, O_RDONLY | O_NOCTTY, 0);

	if (fd < 0)
		return -errno;
	if (sys->fstatvfs(fd, &st) < 0) {
		code = -errno;
	} else {
		*free_bytes = (uint64_t)st.f_bavail * st.f_frsize;
		*total_bytes = (uint64_t)st.f_blocks * st.f_frsize;
	}
	sys->close(fd);
	return code;
}
