/*
 * fs_fuse: the kernel's requests, as calls of fs_op_*.
 *
 * Every handler runs in one of the session's threads and may wait for the store; others go on. The kernel's caches are
 * kept for long, because all changes of a mounted volume go through this kernel.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "applets/zdbfs/fmt.h"
#include "applets/zdbfs/mount.h"
#include "core/base/clock.h"
#include "core/base/endian.h"
#include "core/base/mem.h"

#define CACHE_SECONDS 3600.0

#define IOCTL_SNAPSHOT   0x80084500u /* _IOR('E', 0, u64) */
#define IOCTL_STATISTICS 0x80F04501u /* _IOR('E', 1, 240 bytes) */

static struct mount *mount_of(fuse_req_t req)
{
	struct mount *m = fuse_req_userdata(req);

	m->requests++;
	return m;
}

static struct mount *counted(fuse_req_t req, enum fuse_count kind)
{
	struct mount *m = mount_of(req);

	m->counts[kind]++;
	return m;
}

/* Our own codes mean nothing to programs. */
static void reply_err(fuse_req_t req, struct mount *m, int rc)
{
	if (rc)
		m->errors++;
	fuse_reply_err(req, rc < -4095 ? EIO : -rc);
}

static struct fs_caller caller_of(fuse_req_t req)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);

	return (struct fs_caller){.uid = ctx->uid, .gid = ctx->gid};
}

/* The protocol's 32-bit form of a device number and back. */
static uint32_t pack_rdev(dev_t d)
{
	return (minor(d) & 0xff) | (uint32_t)(major(d) & 0xfff) << 8 | (minor(d) & ~0xffu) << 12;
}

static dev_t unpack_rdev(uint32_t v)
{
	return makedev((v >> 8) & 0xfff, (v & 0xff) | ((v >> 12) & 0xfff00));
}

static void to_stat(const struct fs_attr *a, struct stat *st)
{
	memset(st, 0, sizeof(*st));
	st->st_ino = a->ino;
	st->st_mode = a->mode;
	st->st_nlink = a->nlink;
	st->st_uid = a->uid;
	st->st_gid = a->gid;
	st->st_rdev = unpack_rdev(a->rdev);
	st->st_size = (off_t)a->size;
	st->st_blocks = (blkcnt_t)a->blocks;
	st->st_blksize = FMT_BLOCK;
	st->st_atim = a->atime;
	st->st_mtim = a->mtime;
	st->st_ctim = a->ctime;
}

static void to_entry(const struct fs_attr *a, struct fuse_entry_param *e)
{
	memset(e, 0, sizeof(*e));
	e->ino = a->ino;
	e->attr_timeout = CACHE_SECONDS;
	e->entry_timeout = CACHE_SECONDS;
	to_stat(a, &e->attr);
}

static void reply_entry(fuse_req_t req, struct mount *m, int rc, const struct fs_attr *a)
{
	struct fuse_entry_param e;

	if (rc) {
		reply_err(req, m, rc);
		return;
	}
	to_entry(a, &e);
	if (fuse_reply_entry(req, &e) == -ENOENT)
		fs_op_forget(m->fs, a->ino, 1); /* interrupted: the kernel did not get it */
}

static void reply_attr(fuse_req_t req, struct mount *m, int rc, const struct fs_attr *a)
{
	struct stat st;

	if (rc) {
		reply_err(req, m, rc);
		return;
	}
	to_stat(a, &st);
	fuse_reply_attr(req, &st, CACHE_SECONDS);
}

/* ------------------------------------------------------------------------------------------------ session */

static void want(struct fuse_conn_info *conn, uint64_t flag, bool yes)
{
	if (yes)
		(void)fuse_set_feature_flag(conn, flag); /* an old kernel does without */
	else
		fuse_unset_feature_flag(conn, flag);
}

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	struct mount *m = userdata;

	want(conn, FUSE_CAP_WRITEBACK_CACHE, !m->opt.no_writeback && !m->opt.is_read_only);
	want(conn, FUSE_CAP_PARALLEL_DIROPS, true);
	want(conn, FUSE_CAP_READDIRPLUS, true);
	want(conn, FUSE_CAP_READDIRPLUS_AUTO, true);
	want(conn, FUSE_CAP_ATOMIC_O_TRUNC, true);
	want(conn, FUSE_CAP_ASYNC_READ, true);
	want(conn, FUSE_CAP_CACHE_SYMLINKS, true);
	want(conn, FUSE_CAP_IOCTL_DIR, true);
	want(conn, FUSE_CAP_SPLICE_READ, false); /* one copy is cheaper than the pipes for what we do */
	want(conn, FUSE_CAP_HANDLE_KILLPRIV, false);
	want(conn, FUSE_CAP_HANDLE_KILLPRIV_V2, false);
	want(conn, FUSE_CAP_POSIX_ACL, false);
	want(conn, FUSE_CAP_EXPORT_SUPPORT, false);
	want(conn, FUSE_CAP_DONT_MASK, false);
	conn->max_background = 64;
	conn->congestion_threshold = 48;
	conn->time_gran = 1;
}

/* -------------------------------------------------------------------------------------------------- names */

static void op_lookup(fuse_req_t req, fuse_ino_t dir, const char *name)
{
	struct mount *m = mount_of(req);
	struct fuse_entry_param e;
	struct fs_attr a;
	int rc = fs_op_lookup(m->fs, dir, name, strlen(name), &a);

	if (rc != -ENOENT) {
		reply_entry(req, m, rc, &a);
		return;
	}
	/* remembered by the kernel, too: nobody else makes names here */
	m->errors++;
	memset(&e, 0, sizeof(e));
	e.entry_timeout = CACHE_SECONDS;
	fuse_reply_entry(req, &e);
}

static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count)
{
	struct mount *m = mount_of(req);

	fs_op_forget(m->fs, ino, count);
	fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	struct mount *m = mount_of(req);

	for (size_t n = 0; n < count; n++)
		fs_op_forget(m->fs, forgets[n].ino, forgets[n].nlookup);
	fuse_reply_none(req);
}

/* After the stop has begun nothing new is opened. */
static int closing(const struct mount *m, bool writes)
{
	if (!m->is_closing)
		return 0;
	return writes ? -EROFS : -ESHUTDOWN;
}

static void op_create(fuse_req_t req, fuse_ino_t dir, const char *name, mode_t mode,
		      struct fuse_file_info *fi)
{
	struct mount *m = counted(req, COUNT_CREATE);
	struct fs_caller who = caller_of(req);
	struct fuse_entry_param e;
	struct fs_attr a;
	int rc = closing(m, true);

	if (!rc)
		rc = fs_op_create(m->fs, &who, dir, name, strlen(name), mode, &a);
	if (rc) {
		reply_err(req, m, rc);
		return;
	}
	to_entry(&a, &e);
	fi->keep_cache = 1;
	if (fuse_reply_create(req, &e, fi) == -ENOENT) {
		fs_op_release(m->fs, a.ino);
		fs_op_forget(m->fs, a.ino, 1);
	}
}

static void op_tmpfile(fuse_req_t req, fuse_ino_t dir, mode_t mode, struct fuse_file_info *fi)
{
	struct mount *m = counted(req, COUNT_CREATE);
	struct fs_caller who = caller_of(req);
	struct fuse_entry_param e;
	struct fs_attr a;
	int rc = closing(m, true);

	if (!rc)
		rc = fs_op_tmpfile(m->fs, &who, dir, mode, &a);
	if (rc) {
		reply_err(req, m, rc);
		return;
	}
	to_entry(&a, &e);
	if (fuse_reply_create(req, &e, fi) == -ENOENT) {
		fs_op_release(m->fs, a.ino);
		fs_op_forget(m->fs, a.ino, 1);
	}
}

static void op_mknod(fuse_req_t req, fuse_ino_t dir, const char *name, mode_t mode, dev_t rdev)
{
	struct mount *m = counted(req, COUNT_CREATE);
	struct fs_caller who = caller_of(req);
	struct fs_attr a;

	reply_entry(req, m, fs_op_mknod(m->fs, &who, dir, name, strlen(name), mode, pack_rdev(rdev), &a), &a);
}

static void op_mkdir(fuse_req_t req, fuse_ino_t dir, const char *name, mode_t mode)
{
	struct mount *m = counted(req, COUNT_MKDIR);
	struct fs_caller who = caller_of(req);
	struct fs_attr a;

	reply_entry(req, m, fs_op_mkdir(m->fs, &who, dir, name, strlen(name), mode, &a), &a);
}

static void op_symlink(fuse_req_t req, const char *target, fuse_ino_t dir, const char *name)
{
	struct mount *m = counted(req, COUNT_SYMLINK);
	struct fs_caller who = caller_of(req);
	struct fs_attr a;

	reply_entry(req, m, fs_op_symlink(m->fs, &who, dir, name, strlen(name), target, &a), &a);
}

static void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t dir, const char *name)
{
	struct mount *m = counted(req, COUNT_LINK);
	struct fs_attr a;

	reply_entry(req, m, fs_op_link(m->fs, ino, dir, name, strlen(name), &a), &a);
}

static void op_unlink(fuse_req_t req, fuse_ino_t dir, const char *name)
{
	struct mount *m = counted(req, COUNT_UNLINK);

	reply_err(req, m, fs_op_unlink(m->fs, dir, name, strlen(name)));
}

static void op_rmdir(fuse_req_t req, fuse_ino_t dir, const char *name)
{
	struct mount *m = counted(req, COUNT_RMDIR);

	reply_err(req, m, fs_op_rmdir(m->fs, dir, name, strlen(name)));
}

static void op_rename(fuse_req_t req, fuse_ino_t dir, const char *name, fuse_ino_t to_dir, const char *to,
		      unsigned int flags)
{
	struct mount *m = counted(req, COUNT_RENAME);
	struct fs_caller who = caller_of(req);

	reply_err(req, m, fs_op_rename(m->fs, &who, dir, name, strlen(name), to_dir, to, strlen(to), flags));
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct mount *m = mount_of(req);
	char *target = NULL;
	int rc = fs_op_readlink(m->fs, ino, &target);

	if (rc)
		reply_err(req, m, rc);
	else
		fuse_reply_readlink(req, target);
	mem_free(target);
}

/* --------------------------------------------------------------------------------------------- attributes */

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mount *m = counted(req, COUNT_GETATTR);
	struct fs_attr a;

	(void)fi;
	reply_attr(req, m, fs_op_getattr(m->fs, ino, &a), &a);
}

static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st, int to_set, struct fuse_file_info *fi)
{
	static const struct {
		int fuse;
		unsigned ours;
	} bits[] = {
		{FUSE_SET_ATTR_MODE, FS_SET_MODE},
		{FUSE_SET_ATTR_UID, FS_SET_UID},
		{FUSE_SET_ATTR_GID, FS_SET_GID},
		{FUSE_SET_ATTR_SIZE, FS_SET_SIZE},
		{FUSE_SET_ATTR_ATIME, FS_SET_ATIME},
		{FUSE_SET_ATTR_MTIME, FS_SET_MTIME},
		{FUSE_SET_ATTR_CTIME, FS_SET_CTIME},
		{FUSE_SET_ATTR_ATIME_NOW, FS_SET_ATIME_NOW},
		{FUSE_SET_ATTR_MTIME_NOW, FS_SET_MTIME_NOW},
	};
	struct mount *m = counted(req, COUNT_SETATTR);
	struct fs_attr want_attr = {.mode = st->st_mode,
				    .uid = st->st_uid,
				    .gid = st->st_gid,
				    .size = (uint64_t)st->st_size,
				    .atime = st->st_atim,
				    .mtime = st->st_mtim,
				    .ctime = st->st_ctim};
	struct fs_attr a;
	unsigned set = 0;

	(void)fi;
	for (size_t n = 0; n < sizeof(bits) / sizeof(*bits); n++)
		if (to_set & bits[n].fuse)
			set |= bits[n].ours;
	reply_attr(req, m, fs_op_setattr(m->fs, ino, &want_attr, set, &a), &a);
}

static void reply_bytes(fuse_req_t req, struct mount *m, int rc, const void *data, size_t len, size_t size)
{
	if (rc)
		reply_err(req, m, rc);
	else if (!size)
		fuse_reply_xattr(req, len);
	else
		fuse_reply_buf(req, data, len);
}

static void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	struct mount *m = mount_of(req);
	void *value = size ? mem_alloc(size) : NULL;
	size_t len = 0;
	int rc = size && !value ? -ENOMEM : fs_op_getxattr(m->fs, ino, name, value, size, &len);

	reply_bytes(req, m, rc, value, len, size);
	mem_free(value);
}

static void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	struct mount *m = mount_of(req);
	void *list = size ? mem_alloc(size) : NULL;
	size_t len = 0;
	int rc = size && !list ? -ENOMEM : fs_op_listxattr(m->fs, ino, list, size, &len);

	reply_bytes(req, m, rc, list, len, size);
	mem_free(list);
}

static void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size,
			int flags)
{
	struct mount *m = mount_of(req);

	reply_err(req, m, fs_op_setxattr(m->fs, ino, name, value, size, flags));
}

static void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	struct mount *m = mount_of(req);

	reply_err(req, m, fs_op_removexattr(m->fs, ino, name));
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct mount *m = counted(req, COUNT_STATFS);
	struct fs_statfs s;
	struct statvfs v = {0};
	int rc = fs_op_statfs(m->fs, &s);

	(void)ino;
	if (rc) {
		reply_err(req, m, rc);
		return;
	}
	v.f_bsize = FMT_BLOCK;
	v.f_frsize = 1024;
	v.f_blocks = s.total_bytes / 1024;
	v.f_bfree = v.f_bavail = s.free_bytes / 1024;
	v.f_files = s.files;
	v.f_ffree = v.f_favail = s.free_files;
	v.f_namemax = FMT_NAME_MAX;
	v.f_fsid = 1;
	fuse_reply_statfs(req, &v);
}

/* ------------------------------------------------------------------------------------------------ contents */

static bool writes(const struct fuse_file_info *fi)
{
	return (fi->flags & O_ACCMODE) != O_RDONLY;
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mount *m = counted(req, COUNT_OPEN);
	int rc = closing(m, writes(fi));

	if (!rc)
		rc = fs_op_open(m->fs, ino, fi->flags);
	if (rc) {
		reply_err(req, m, rc);
		return;
	}
	fi->keep_cache = 1; /* nobody but this kernel changes it */
	if (fuse_reply_open(req, fi) == -ENOENT)
		fs_op_release(m->fs, ino);
}

static void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);

	(void)fi;
	fs_op_release(m->fs, ino);
	fuse_reply_err(req, 0);
}

static uint8_t zeros[FMT_BLOCK]; /* never written; not const, so that it takes no room in the file */

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct mount *m = counted(req, COUNT_READ);
	struct iovec few[24], *iov = few;
	struct fs_read r;
	int rc = fs_op_read_pieces(m->fs, ino, (uint64_t)off, size, &r);

	(void)fi;
	if (!rc && r.count > sizeof(few) / sizeof(*few)) {
		iov = mem_realloc_array(NULL, r.count, sizeof(*iov));
		if (!iov) {
			fs_read_release(&r);
			rc = -ENOMEM;
		}
	}
	if (rc) {
		reply_err(req, m, rc);
		return;
	}
	for (size_t n = 0; n < r.count; n++) {
		/* the iovec type cannot say const; the bytes are only read */
		iov[n].iov_base = (void *)(uintptr_t)(r.pieces[n].data ? r.pieces[n].data : zeros);
		iov[n].iov_len = r.pieces[n].len;
	}
	m->read_bytes += r.len;
	fuse_reply_iov(req, iov, (int)r.count);
	if (iov != few)
		mem_free(iov);
	fs_read_release(&r);
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t off,
		     struct fuse_file_info *fi)
{
	struct mount *m = counted(req, COUNT_WRITE);
	ssize_t n;

	(void)fi;
	m->writing++;
	n = fs_op_write(m->fs, ino, (uint64_t)off, data, size);
	m->last_write_ms = clock_mono_ms();
	m->writing--;
	if (n < 0) {
		reply_err(req, m, (int)n);
		return;
	}
	m->write_bytes += (uint64_t)n;
	fuse_reply_write(req, (size_t)n);
}

static void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);

	(void)fi;
	reply_err(req, m, fs_op_flush(m->fs, ino));
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);

	(void)datasync;
	(void)fi;
	reply_err(req, m, fs_op_fsync(m->fs, ino));
}

static void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
			 struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);

	(void)fi;
	reply_err(req, m, fs_op_fallocate(m->fs, ino, mode, (uint64_t)off, (uint64_t)len));
}

static void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	uint64_t at;
	int rc;

	(void)fi;
	/* The kernel asks without having written its dirty pages: with its cache on, we would call data a hole. Then it has
	 * to do without holes. */
	if (!m->opt.no_writeback && !m->opt.is_read_only) {
		fuse_reply_err(req, ENOSYS);
		return;
	}
	rc = fs_op_lseek(m->fs, ino, (uint64_t)off, whence, &at);
	if (rc)
		reply_err(req, m, rc);
	else
		fuse_reply_lseek(req, (off_t)at);
}

static void op_copy_file_range(fuse_req_t req, fuse_ino_t from, off_t from_off,
			       struct fuse_file_info *fi_from, fuse_ino_t to, off_t to_off,
			       struct fuse_file_info *fi_to, size_t len, int flags)
{
	struct mount *m = mount_of(req);
	ssize_t n;

	(void)fi_from;
	(void)fi_to;
	if (flags) {
		reply_err(req, m, -EINVAL);
		return;
	}
	/* one request may not take the thread for ever */
	n = fs_op_copy(m->fs, from, (uint64_t)from_off, to, (uint64_t)to_off,
		       len < (64u << 20) ? len : 64u << 20);
	if (n < 0)
		reply_err(req, m, (int)n);
	else
		fuse_reply_write(req, (size_t)n);
}

/* --------------------------------------------------------------------------------------------- directories */

static void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	int rc = fs_op_opendir(m->fs, ino);

	if (rc) {
		reply_err(req, m, rc);
		return;
	}
	fi->keep_cache = 1;
	fi->cache_readdir = 1;
	if (fuse_reply_open(req, fi) == -ENOENT)
		fs_op_release(m->fs, ino);
}

struct dir_page {
	fuse_req_t req;
	char *data;
	size_t size, used;
	bool plus;
};

static int add_entry(void *ctx, const struct fs_dirent *d)
{
	struct dir_page *p = ctx;
	struct fuse_entry_param e = {0};
	size_t left = p->size - p->used, need;

	if (p->plus) {
		if (d->attr)
			to_entry(d->attr, &e);
		if (d->cookie <= 2)
			e.ino = 0; /* "." and ".." are no lookups */
		need = fuse_add_direntry_plus(p->req, p->data + p->used, left, d->name, &e, (off_t)d->cookie);
	} else {
		e.attr.st_ino = d->ino;
		e.attr.st_mode = d->type;
		need = fuse_add_direntry(p->req, p->data + p->used, left, d->name, &e.attr, (off_t)d->cookie);
	}
	if (need > left)
		return 1;
	p->used += need;
	return 0;
}

static void list_dir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, bool plus)
{
	struct mount *m = counted(req, COUNT_READDIR);
	struct dir_page p = {.req = req, .size = size, .plus = plus, .data = mem_alloc(size)};
	int rc = p.data ? fs_op_readdir(m->fs, ino, (uint64_t)off, plus, add_entry, &p) : -ENOMEM;

	/* an error behind some entries is met again by the next call */
	if (rc && !p.used)
		reply_err(req, m, rc);
	else
		fuse_reply_buf(req, p.data, p.used);
	mem_free(p.data);
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	(void)fi;
	list_dir(req, ino, size, off, false);
}

static void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	(void)fi;
	list_dir(req, ino, size, off, true);
}

/* --------------------------------------------------------------------------------------------------- ioctl */

static void statistics(struct mount *m, uint64_t out[30])
{
	struct fs_stats s;

	fs_stats_get(m->fs, &s);
	memset(out, 0, 30 * sizeof(*out));
	out[0] = 2;
	out[1] = m->requests;
	out[2] = s.cache_hit;
	out[3] = s.cache_miss;
	out[5] = s.sequential_flush;
	out[7] = 1024;
	out[8] = s.inodes;
	out[9] = s.inodes_dirty;
	out[10] = s.blocks;
	out[11] = s.block_bytes;
	for (int n = 0; n < COUNT_KINDS; n++)
		out[12 + n] = m->counts[n];
	out[27] = m->read_bytes;
	out[28] = m->write_bytes;
	out[29] = m->errors;
	for (int n = 0; n < 30; n++)
		put_u64le(&out[n], out[n]);
}

static void op_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned int cmd, void *arg, struct fuse_file_info *fi,
		     unsigned flags, const void *in, size_t in_size, size_t out_size)
{
	struct mount *m = counted(req, COUNT_IOCTL);
	uint64_t out[30];
	int rc;

	(void)ino;
	(void)arg;
	(void)fi;
	(void)in;
	(void)in_size;
	if (flags & FUSE_IOCTL_COMPAT) {
		reply_err(req, m, -ENOSYS);
	} else if (cmd == IOCTL_SNAPSHOT && out_size >= sizeof(uint64_t)) {
		rc = fs_flush(m->fs);
		put_u64le(out, clock_wall_s());
		if (rc)
			reply_err(req, m, rc);
		else
			fuse_reply_ioctl(req, 0, out, sizeof(uint64_t));
	} else if (cmd == IOCTL_STATISTICS && out_size >= sizeof(out)) {
		statistics(m, out);
		fuse_reply_ioctl(req, 0, out, sizeof(out));
	} else {
		reply_err(req, m, -EINVAL);
	}
}

const struct fuse_lowlevel_ops mount_fuse_ops = {
	.init = op_init,
	.lookup = op_lookup,
	.forget = op_forget,
	.forget_multi = op_forget_multi,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.readlink = op_readlink,
	.mknod = op_mknod,
	.mkdir = op_mkdir,
	.unlink = op_unlink,
	.rmdir = op_rmdir,
	.symlink = op_symlink,
	.rename = op_rename,
	.link = op_link,
	.open = op_open,
	.read = op_read,
	.write = op_write,
	.flush = op_flush,
	.release = op_release,
	.fsync = op_fsync,
	.opendir = op_opendir,
	.readdir = op_readdir,
	.releasedir = op_release,
	.fsyncdir = op_fsync,
	.statfs = op_statfs,
	.setxattr = op_setxattr,
	.getxattr = op_getxattr,
	.listxattr = op_listxattr,
	.removexattr = op_removexattr,
	.create = op_create,
	.ioctl = op_ioctl,
	.fallocate = op_fallocate,
	.readdirplus = op_readdirplus,
	.copy_file_range = op_copy_file_range,
	.lseek = op_lseek,
	.tmpfile = op_tmpfile,
};
