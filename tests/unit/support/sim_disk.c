/*
 * sim_disk: the recorder. Calls go to the real file system below `root`; what they change is noted.
 *
 * Files are known by device and inode number, looked up with fstat at each call. A new file is noticed because its name
 * was not there before the open. fsync and its relatives are noted, not passed on: the test's own disk does not matter.
 */
#include "tests/unit/support/sim_disk.h"

#include <errno.h>
#include <limits.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/mem.h"

static struct sim_disk *D; /* the disk that is being recorded */

static void give_up(const char *what, const char *path)
{
	fprintf(stderr, "sim_disk: cannot %s %s: %s\n", what, path, strerror(errno));
	abort();
}

void *sim_grow(void *array, size_t count, size_t *cap, size_t size)
{
	if (count < *cap)
		return array;
	*cap = *cap ? *cap * 2 : 64;
	array = realloc(array, *cap * size);
	if (!array)
		give_up("grow", "an array");
	return array;
}

static char *copy_text(const char *text)
{
	char *copy = strdup(text);

	if (!copy)
		give_up("copy", text);
	return copy;
}

static unsigned char *copy_bytes(const void *data, size_t len)
{
	unsigned char *copy = malloc(len ? len : 1);

	if (!copy)
		give_up("copy", "bytes");
	if (len)
		memcpy(copy, data, len);
	return copy;
}

/* ---- inodes ---- */

static int find_inode(const struct stat *st)
{
	for (size_t i = D->inode_count; i-- > 0;) {
		const struct sim_inode *n = &D->inodes[i];

		if (!n->is_stale && n->dev == st->st_dev && n->ino == st->st_ino)
			return (int)i;
	}
	return -1;
}

static int add_inode(const struct stat *st)
{
	int old = find_inode(st);
	struct sim_inode *n;

	if (old >= 0)
		D->inodes[old].is_stale = true;
	D->inodes = sim_grow(D->inodes, D->inode_count, &D->inode_cap, sizeof(*D->inodes));
	n = &D->inodes[D->inode_count];
	*n = (struct sim_inode){.dev = st->st_dev,
				.ino = st->st_ino,
				.is_dir = S_ISDIR(st->st_mode),
				.mode = st->st_mode & 07777};
	return (int)D->inode_count++;
}

static int inode_of_fd(int fd)
{
	struct stat st;

	return D->lower->fstat(fd, &st) == 0 ? find_inode(&st) : -1;
}

/* ---- what is there when recording begins ---- */

struct scan {
	const char *path;
	int dir;
};

static void scan_dir(const char *path, int dir);

static int scan_one(void *ctx, const char *name, unsigned char type)
{
	const struct scan *s = ctx;
	char path[4096], *data = NULL;
	struct stat st;
	int inode;

	(void)type;
	if (file_join(path, sizeof(path), s->path, name) || lstat(path, &st) < 0)
		give_up("look at", name);
	if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
		return 0;
	inode = find_inode(&st);
	if (inode < 0) {
		inode = add_inode(&st);
		if (S_ISDIR(st.st_mode)) {
			scan_dir(path, inode);
		} else if (file_read_all(path, 1u << 30, &data, &D->inodes[inode].size)) {
			give_up("read", path);
		} else {
			D->inodes[inode].data = copy_bytes(data, D->inodes[inode].size);
			mem_free(data);
		}
	}
	D->entries = sim_grow(D->entries, D->entry_count, &D->entry_cap, sizeof(*D->entries));
	D->entries[D->entry_count++] =
		(struct sim_entry){.dir = s->dir, .inode = inode, .name = copy_text(name)};
	return 0;
}

static void scan_dir(const char *path, int dir)
{
	struct scan s = {.path = path, .dir = dir};

	if (file_list(path, scan_one, &s))
		give_up("list", path);
}

/* ---- noting ---- */

static struct sim_op *note(enum sim_op_kind kind, int inode)
{
	struct sim_op *op;

	D->ops = sim_grow(D->ops, D->op_count, &D->op_cap, sizeof(*D->ops));
	op = &D->ops[D->op_count++];
	*op = (struct sim_op){.kind = kind, .inode = inode, .inode2 = -1, .dir = -1, .dir2 = -1};
	return op;
}

static void note_write(int inode, const void *data, size_t len, uint64_t off)
{
	struct sim_op *op = note(SIM_OP_WRITE, inode);

	op->off = off;
	op->len = len;
	op->data = copy_bytes(data, len);
}

static void note_size(enum sim_op_kind kind, int inode, uint64_t size)
{
	note(kind, inode)->len = size;
}

static void note_name(enum sim_op_kind kind, int inode, int dir, const char *name)
{
	struct sim_op *op = note(kind, inode);

	op->dir = dir;
	op->name = copy_text(name);
}

/* A name in a directory that is recorded. */
struct where {
	int dir;
	char name[NAME_MAX + 1];
	struct stat st;
	bool exists;
	int inode; /* -1 when it does not exist */
};

/* Finds out where a path leads. false: not below our root. */
static bool locate(int dirfd, const char *path, struct where *w)
{
	char dir[4096];
	struct stat st;

	w->dir = w->inode = -1;
	w->exists = false;
	if (file_dirname(dir, sizeof(dir), path) || strlen(file_basename(path)) > NAME_MAX)
		return false;
	if (D->lower->fstatat(dirfd, dir, &st, 0) < 0)
		return false;
	w->dir = find_inode(&st);
	if (w->dir < 0)
		return false;
	strcpy(w->name, file_basename(path));
	w->exists = D->lower->fstatat(dirfd, path, &w->st, AT_SYMLINK_NOFOLLOW) == 0;
	if (w->exists)
		w->inode = find_inode(&w->st);
	return true;
}

/* ---- the table ---- */

static int open_at(int dirfd, const char *path, int flags, mode_t mode)
{
	struct where w;
	bool is_ours;
	int fd;

	pthread_mutex_lock(&D->lock);
	is_ours = locate(dirfd, path, &w);
	fd = D->lower->openat(dirfd, path, flags, mode);
	if (fd >= 0 && is_ours && !w.exists && (flags & O_CREAT)) {
		D->lower->fstat(fd, &w.st);
		note_name(SIM_OP_LINK, add_inode(&w.st), w.dir, w.name);
	} else if (fd >= 0 && is_ours && w.inode >= 0 && (flags & O_TRUNC) && w.st.st_size > 0) {
		note_size(SIM_OP_SIZE, w.inode, 0);
	}
	pthread_mutex_unlock(&D->lock);
	return fd;
}

static int d_open(const char *path, int flags, mode_t mode)
{
	return open_at(AT_FDCWD, path, flags, mode);
}

/*
 * A write makes whole sectors dirty: with it the bytes beside it get to the disk that a failed sync had taken from there. Noted are
 * the sectors as they are now.
 */
static void note_sectors(int fd, int inode, uint64_t off, uint64_t end)
{
	unsigned char *data;
	char path[64];
	ssize_t n;
	int in;

	off -= off % SIM_SECTOR;
	end = (end + SIM_SECTOR - 1) / SIM_SECTOR * SIM_SECTOR;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	in = open(path, O_RDONLY | O_CLOEXEC);
	data = malloc(end - off);
	if (in < 0 || !data)
		give_up("read", path);
	n = pread(in, data, end - off, (off_t)off);
	if (n <= 0)
		give_up("read", path);
	note_write(inode, data, (size_t)n, off);
	free(data);
	close(in);
}

/* A write through a plain or positioned call; off < 0: at the file's own position. */
static ssize_t write_parts(int fd, const struct iovec *iov, int count, off_t off)
{
	int inode, flags;
	ssize_t n;
	size_t left;

	pthread_mutex_lock(&D->lock);
	inode = inode_of_fd(fd);
	n = off < 0 ? D->lower->writev(fd, iov, count) : D->lower->pwritev2(fd, iov, count, off, 0);
	if (n > 0 && inode >= 0) {
		flags = fcntl(fd, F_GETFL);
		if (off < 0) {
			off = D->lower->lseek(fd, 0, SEEK_CUR) - n;
		} else if (flags & O_APPEND) { /* Linux appends whatever pwrite says */
			struct stat st;

			D->lower->fstat(fd, &st);
			off = st.st_size - n;
		}
		left = (size_t)n;
		if (D->inodes[inode].has_failed) {
			note_sectors(fd, inode, (uint64_t)off, (uint64_t)off + left);
			left = 0;
		}
		for (int i = 0; i < count && left; i++) {
			size_t len = iov[i].iov_len < left ? iov[i].iov_len : left;

			if (len)
				note_write(inode, iov[i].iov_base, len, (uint64_t)off);
			off += (off_t)len;
			left -= len;
		}
		if (flags & (O_SYNC | O_DSYNC))
			note(SIM_OP_SYNC, inode);
	}
	pthread_mutex_unlock(&D->lock);
	return n;
}

static ssize_t d_write(int fd, const void *data, size_t len)
{
	struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};

	return write_parts(fd, &part, 1, -1);
}

static ssize_t d_pwrite(int fd, const void *data, size_t len, off_t off)
{
	struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};

	return write_parts(fd, &part, 1, off);
}

static ssize_t d_writev(int fd, const struct iovec *iov, int count)
{
	return write_parts(fd, iov, count, -1);
}

static ssize_t d_pwritev2(int fd, const struct iovec *iov, int count, off_t off, int flags)
{
	(void)flags; /* to the page cache it is all one: nothing is on the disk before a sync */
	return write_parts(fd, iov, count, off);
}

static int d_fsync(int fd)
{
	int inode;

	pthread_mutex_lock(&D->lock);
	inode = inode_of_fd(fd);
	if (inode >= 0)
		note(SIM_OP_SYNC, inode);
	pthread_mutex_unlock(&D->lock);
	return inode >= 0 ? 0 : D->lower->fsync(fd);
}

static int d_syncfs(int fd)
{
	int inode;

	pthread_mutex_lock(&D->lock);
	inode = inode_of_fd(fd);
	if (inode >= 0)
		note(SIM_OP_SYNC_ALL, inode);
	pthread_mutex_unlock(&D->lock);
	return inode >= 0 ? 0 : D->lower->syncfs(fd);
}

void sim_disk_sync_failed(int fd)
{
	int inode;

	if (!D)
		return;
	pthread_mutex_lock(&D->lock);
	inode = inode_of_fd(fd);
	if (inode >= 0) {
		note(SIM_OP_SYNC_FAIL, inode);
		D->inodes[inode].has_failed = true;
	}
	pthread_mutex_unlock(&D->lock);
}

static int d_ftruncate(int fd, off_t size)
{
	int inode, rc;

	pthread_mutex_lock(&D->lock);
	inode = inode_of_fd(fd);
	rc = D->lower->ftruncate(fd, size);
	if (rc == 0 && inode >= 0)
		note_size(SIM_OP_SIZE, inode, (uint64_t)size);
	pthread_mutex_unlock(&D->lock);
	return rc;
}

static void note_zeros(int inode, off_t off, off_t len, off_t size)
{
	unsigned char *zeros;

	if (off >= size)
		return;
	if (len > size - off)
		len = size - off;
	zeros = calloc(1, (size_t)len);
	if (!zeros)
		give_up("note", "zeros");
	note_write(inode, zeros, (size_t)len, (uint64_t)off);
	free(zeros);
}

static int d_fallocate(int fd, int mode, off_t off, off_t len)
{
	struct stat st;
	int inode, rc;

	pthread_mutex_lock(&D->lock);
	inode = inode_of_fd(fd);
	if (inode >= 0 && (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))) {
		errno = EOPNOTSUPP; /* ranges that move are not modelled */
		rc = -1;
		goto out;
	}
	rc = D->lower->fallocate(fd, mode, off, len);
	if (rc < 0 || inode < 0)
		goto out;
	D->lower->fstat(fd, &st);
	if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
		note_zeros(inode, off, len, st.st_size);
	if (!(mode & FALLOC_FL_KEEP_SIZE))
		note_size(SIM_OP_EXTEND, inode, (uint64_t)(off + len));
out:
	pthread_mutex_unlock(&D->lock);
	return rc;
}

/* Marks the writes that a failed sync has taken from the disk. Returns the size that all of the file's bytes need; 0: there are none. */
static size_t lose_writes(int inode)
{
	bool is_failed = false, is_any = false;
	uint64_t size = D->inodes[inode].size;

	for (size_t i = D->op_count; i-- > 0;) {
		struct sim_op *op = &D->ops[i];

		if (op->kind == SIM_OP_SYNC_ALL)
			is_failed = false;
		if (op->inode != inode)
			continue;
		if (op->kind == SIM_OP_SYNC || op->kind == SIM_OP_SYNC_FAIL)
			is_failed = op->kind == SIM_OP_SYNC_FAIL;
		if (op->kind != SIM_OP_WRITE && op->kind != SIM_OP_EXTEND)
			continue;
		if (op->off + op->len > size)
			size = op->off + op->len;
		if (op->kind == SIM_OP_WRITE && is_failed && op->lost_at == 0) {
			op->lost_at = D->op_count;
			is_any = true;
		}
	}
	return is_any ? size : 0;
}

/* The file reads as the disk has it: what came behind the failed sync is still in memory. */
static void read_back(int fd, int inode, size_t size)
{
	unsigned char *data = calloc(1, size);
	char path[64];
	struct stat st;
	int out;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	out = open(path, O_WRONLY | O_CLOEXEC);
	if (!data || out < 0 || fstat(out, &st) < 0)
		give_up("read back", path);
	if (D->inodes[inode].size)
		memcpy(data, D->inodes[inode].data, D->inodes[inode].size);
	for (size_t i = 0; i < D->op_count; i++) {
		const struct sim_op *op = &D->ops[i];

		if (op->inode != inode)
			continue;
		if (op->kind == SIM_OP_SIZE && op->len < size)
			memset(data + op->len, 0, size - op->len);
		if (op->kind == SIM_OP_WRITE && op->lost_at == 0)
			memcpy(data + op->off, op->data, op->len);
	}
	if ((size_t)st.st_size < size)
		size = (size_t)st.st_size;
	if (pwrite(out, data, size, 0) != (ssize_t)size)
		give_up("read back", path);
	close(out);
	free(data);
}

static int d_posix_fadvise(int fd, off_t off, off_t len, int advice)
{
	size_t size;
	int inode;

	pthread_mutex_lock(&D->lock);
	inode = inode_of_fd(fd);
	size = inode >= 0 && advice == POSIX_FADV_DONTNEED ? lose_writes(inode) : 0;
	if (size > 0)
		read_back(fd, inode, size);
	pthread_mutex_unlock(&D->lock);
	return D->lower->posix_fadvise(fd, off, len, advice);
}

static int d_renameat2(int from_dirfd, const char *from, int to_dirfd, const char *to, unsigned flags)
{
	struct where a, b;
	struct sim_op *op;
	bool is_ours;
	int rc;

	pthread_mutex_lock(&D->lock);
	is_ours = locate(from_dirfd, from, &a);
	is_ours = locate(to_dirfd, to, &b) && is_ours;
	rc = D->lower->renameat2(from_dirfd, from, to_dirfd, to, flags);
	/* Two names of one file: rename does nothing. */
	if (rc == 0 && is_ours && (a.inode != b.inode || a.inode < 0)) {
		op = note(flags & RENAME_EXCHANGE ? SIM_OP_EXCHANGE : SIM_OP_RENAME, a.inode);
		op->inode2 = b.inode;
		op->dir = a.dir;
		op->dir2 = b.dir;
		op->name = copy_text(a.name);
		op->name2 = copy_text(b.name);
	}
	pthread_mutex_unlock(&D->lock);
	return rc;
}

static int d_rename(const char *from, const char *to)
{
	return d_renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

static int d_link(const char *from, const char *to)
{
	struct where a, b;
	bool is_ours;
	int rc;

	pthread_mutex_lock(&D->lock);
	is_ours = locate(AT_FDCWD, from, &a);
	is_ours = locate(AT_FDCWD, to, &b) && is_ours;
	rc = D->lower->link(from, to);
	if (rc == 0 && is_ours)
		note_name(SIM_OP_LINK, a.inode, b.dir, b.name);
	pthread_mutex_unlock(&D->lock);
	return rc;
}

static int d_unlinkat(int dirfd, const char *path, int flags)
{
	struct where w;
	bool is_ours;
	int rc;

	pthread_mutex_lock(&D->lock);
	is_ours = locate(dirfd, path, &w);
	rc = D->lower->unlinkat(dirfd, path, flags);
	if (rc == 0 && is_ours)
		note_name(SIM_OP_UNLINK, w.inode, w.dir, w.name);
	pthread_mutex_unlock(&D->lock);
	return rc;
}

static int d_unlink(const char *path)
{
	return d_unlinkat(AT_FDCWD, path, 0);
}

static int d_rmdir(const char *path)
{
	return d_unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}

static int d_mkdirat(int dirfd, const char *path, mode_t mode)
{
	struct where w;
	bool is_ours;
	int rc;

	pthread_mutex_lock(&D->lock);
	is_ours = locate(dirfd, path, &w);
	rc = D->lower->mkdirat(dirfd, path, mode);
	if (rc == 0 && is_ours && D->lower->fstatat(dirfd, path, &w.st, 0) == 0)
		note_name(SIM_OP_LINK, add_inode(&w.st), w.dir, w.name);
	pthread_mutex_unlock(&D->lock);
	return rc;
}

static int d_mkdir(const char *path, mode_t mode)
{
	return d_mkdirat(AT_FDCWD, path, mode);
}

/* Modes are not versioned: the last one counts at every cut. */
static int d_fchmod(int fd, mode_t mode)
{
	int inode, rc;

	pthread_mutex_lock(&D->lock);
	inode = inode_of_fd(fd);
	rc = D->lower->fchmod(fd, mode);
	if (rc == 0 && inode >= 0)
		D->inodes[inode].mode = mode & 07777;
	pthread_mutex_unlock(&D->lock);
	return rc;
}

static struct sys_ops table;

struct sim_disk *sim_disk_begin(const char *root)
{
	struct stat st;

	if (D)
		give_up("record two disks at once:", root);
	D = calloc(1, sizeof(*D));
	if (!D || stat(root, &st) < 0 ||
	    snprintf(D->root, sizeof(D->root), "%s", root) >= (int)sizeof(D->root))
		give_up("record", root);
	D->lower = sys;
	pthread_mutex_init(&D->lock, NULL);
	D->root_inode = add_inode(&st);
	scan_dir(root, D->root_inode);
	table = *sys;
	table.open = d_open;
	table.openat = open_at;
	table.write = d_write;
	table.pwrite = d_pwrite;
	table.writev = d_writev;
	table.pwritev2 = d_pwritev2;
	table.fsync = d_fsync;
	table.fdatasync = d_fsync;
	table.syncfs = d_syncfs;
	table.posix_fadvise = d_posix_fadvise;
	table.ftruncate = d_ftruncate;
	table.fallocate = d_fallocate;
	table.rename = d_rename;
	table.renameat2 = d_renameat2;
	table.link = d_link;
	table.unlink = d_unlink;
	table.unlinkat = d_unlinkat;
	table.mkdir = d_mkdir;
	table.mkdirat = d_mkdirat;
	table.rmdir = d_rmdir;
	table.fchmod = d_fchmod;
	sys = &table;
	return D;
}

void sim_disk_stop(struct sim_disk *disk)
{
	if (D != disk)
		return;
	sys = disk->lower;
	D = NULL;
}

void sim_disk_free(struct sim_disk *disk)
{
	if (!disk)
		return;
	sim_disk_stop(disk);
	for (size_t i = 0; i < disk->inode_count; i++)
		free(disk->inodes[i].data);
	for (size_t i = 0; i < disk->entry_count; i++)
		free(disk->entries[i].name);
	for (size_t i = 0; i < disk->op_count; i++) {
		free(disk->ops[i].name);
		free(disk->ops[i].name2);
		free(disk->ops[i].data);
	}
	free(disk->inodes);
	free(disk->entries);
	free(disk->ops);
	pthread_mutex_destroy(&disk->lock);
	free(disk);
}

uint64_t sim_disk_calls(struct sim_disk *disk)
{
	uint64_t n;

	pthread_mutex_lock(&disk->lock);
	n = disk->op_count;
	pthread_mutex_unlock(&disk->lock);
	return n;
}
