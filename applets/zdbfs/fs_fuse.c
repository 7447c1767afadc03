/*
 * fs_fuse: the kernel's requests, as calls of fs_op_*: the table, the session, attributes, ioctls.
 *
 * Every handler runs in one of the session's threads and may wait for the store; others go on. The kernel's caches are
 * kept for long, because all changes of a mounted volume go through this kernel.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <time.h>

#include "applets/zdbfs/fmt.h"
#include "applets/zdbfs/fs_fuse_int.h"
#include "core/base/clock.h"
#include "core/base/endian.h"
#include "core/base/mem.h"

#define IOCTL_SNAPSHOT   0x80084500u /* _IOR('E', 0, u64) */
#define IOCTL_STATISTICS 0x80F04501u /* _IOR('E', 1, 240 bytes) */

struct mount *mount_of(fuse_req_t req)
{
	struct mount *m = fuse_req_userdata(req);

	m->requests++;
	return m;
}

struct mount *mount_counted(fuse_req_t req, enum fuse_count kind)
{
	struct mount *m = mount_of(req);

	m->counts[kind]++;
	return m;
}

void mount_reply_err(fuse_req_t req, struct mount *m, int rc)
{
	if (rc)
		m->errors++;
	fuse_reply_err(req, rc < -4095 ? EIO : -rc);
}

struct fs_caller mount_caller(fuse_req_t req)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);

	return (struct fs_caller){.uid = ctx->uid, .gid = ctx->gid};
}

uint32_t mount_pack_rdev(dev_t d)
{
	return (minor(d) & 0xff) | (uint32_t)(major(d) & 0xfff) << 8 | (minor(d) & ~0xffu) << 12;
}

static dev_t unpack_rdev(uint32_t v)
{
	return makedev((v >> 8) & 0xfff, (v & 0xff) | ((v >> 12) & 0xfff00));
}

void mount_to_stat(const struct fs_attr *a, struct stat *st)
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

void mount_to_entry(const struct fs_attr *a, struct fuse_entry_param *e)
{
	memset(e, 0, sizeof(*e));
	e->ino = a->ino;
	e->attr_timeout = CACHE_SECONDS;
	e->entry_timeout = CACHE_SECONDS;
	mount_to_stat(a, &e->attr);
}

void mount_reply_entry(fuse_req_t req, struct mount *m, int rc, const struct fs_attr *a)
{
	struct fuse_entry_param e;

	if (rc) {
		mount_reply_err(req, m, rc);
		return;
	}
	mount_to_entry(a, &e);
	if (fuse_reply_entry(req, &e) == -ENOENT)
		fs_op_forget(m->fs, a->ino, 1); /* interrupted: the kernel did not get it */
}

void mount_reply_attr(fuse_req_t req, struct mount *m, int rc, const struct fs_attr *a)
{
	struct stat st;

	if (rc) {
		mount_reply_err(req, m, rc);
		return;
	}
	mount_to_stat(a, &st);
	fuse_reply_attr(req, &st, CACHE_SECONDS);
}

/* After the stop has begun nothing new is opened. */
int mount_refuses_open(const struct mount *m, bool writes)
{
	if (!m->is_closing)
		return 0;
	return writes ? -EROFS : -ESHUTDOWN;
}

static void want(struct fuse_conn_info *conn, uint64_t flag, bool yes)
{
	if (yes)
		(void)fuse_set_feature_flag(conn, flag); /* an old kernel does without */
	else
		fuse_unset_feature_flag(conn, flag);
}

static void mount_op_init(void *userdata, struct fuse_conn_info *conn)
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

static void mount_op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mount *m = mount_counted(req, COUNT_GETATTR);
	struct fs_attr a;

	(void)fi;
	mount_reply_attr(req, m, fs_op_getattr(m->fs, ino, &a), &a);
}

static void mount_op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st, int to_set,
			     struct fuse_file_info *fi)
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
	struct mount *m = mount_counted(req, COUNT_SETATTR);
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
	mount_reply_attr(req, m, fs_op_setattr(m->fs, ino, &want_attr, set, &a), &a);
}

static void reply_bytes(fuse_req_t req, struct mount *m, int rc, const void *data, size_t len, size_t size)
{
	if (rc)
		mount_reply_err(req, m, rc);
	else if (!size)
		fuse_reply_xattr(req, len);
	else
		fuse_reply_buf(req, data, len);
}

static void mount_op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	struct mount *m = mount_of(req);
	void *value = size ? mem_alloc(size) : NULL;
	size_t len = 0;
	int rc = size && !value ? -ENOMEM : fs_op_getxattr(m->fs, ino, name, value, size, &len);

	reply_bytes(req, m, rc, value, len, size);
	mem_free(value);
}

static void mount_op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	struct mount *m = mount_of(req);
	void *list = size ? mem_alloc(size) : NULL;
	size_t len = 0;
	int rc = size && !list ? -ENOMEM : fs_op_listxattr(m->fs, ino, list, size, &len);

	reply_bytes(req, m, rc, list, len, size);
	mem_free(list);
}

static void mount_op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value,
			      size_t size, int flags)
{
	struct mount *m = mount_of(req);

	mount_reply_err(req, m, fs_op_setxattr(m->fs, ino, name, value, size, flags));
}

static void mount_op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	struct mount *m = mount_of(req);

	mount_reply_err(req, m, fs_op_removexattr(m->fs, ino, name));
}

static void mount_op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct mount *m = mount_counted(req, COUNT_STATFS);
	struct fs_statfs s;
	struct statvfs v = {0};
	int rc = fs_op_statfs(m->fs, &s);

	(void)ino;
	if (rc) {
		mount_reply_err(req, m, rc);
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

static void mount_op_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned int cmd, void *arg,
			   struct fuse_file_info *fi, unsigned flags, const void *in, size_t in_size,
			   size_t out_size)
{
	struct mount *m = mount_counted(req, COUNT_IOCTL);
	uint64_t out[30];
	int rc;

	(void)ino;
	(void)arg;
	(void)fi;
	(void)in;
	(void)in_size;
	if (flags & FUSE_IOCTL_COMPAT) {
		mount_reply_err(req, m, -ENOSYS);
	} else if (cmd == IOCTL_SNAPSHOT && out_size >= sizeof(uint64_t)) {
		rc = fs_flush(m->fs);
		put_u64le(out, clock_wall_s());
		if (rc)
			mount_reply_err(req, m, rc);
		else
			fuse_reply_ioctl(req, 0, out, sizeof(uint64_t));
	} else if (cmd == IOCTL_STATISTICS && out_size >= sizeof(out)) {
		statistics(m, out);
		fuse_reply_ioctl(req, 0, out, sizeof(out));
	} else {
		mount_reply_err(req, m, -EINVAL);
	}
}

const struct fuse_lowlevel_ops mount_fuse_ops = {
	.init = mount_op_init,
	.lookup = mount_op_lookup,
	.forget = mount_op_forget,
	.forget_multi = mount_op_forget_multi,
	.getattr = mount_op_getattr,
	.setattr = mount_op_setattr,
	.readlink = mount_op_readlink,
	.mknod = mount_op_mknod,
	.mkdir = mount_op_mkdir,
	.unlink = mount_op_unlink,
	.rmdir = mount_op_rmdir,
	.symlink = mount_op_symlink,
	.rename = mount_op_rename,
	.link = mount_op_link,
	.open = mount_op_open,
	.read = mount_op_read,
	.write = mount_op_write,
	.flush = mount_op_flush,
	.release = mount_op_release,
	.fsync = mount_op_fsync,
	.opendir = mount_op_opendir,
	.readdir = mount_op_readdir,
	.releasedir = mount_op_release,
	.fsyncdir = mount_op_fsync,
	.statfs = mount_op_statfs,
	.setxattr = mount_op_setxattr,
	.getxattr = mount_op_getxattr,
	.listxattr = mount_op_listxattr,
	.removexattr = mount_op_removexattr,
	.create = mount_op_create,
	.ioctl = mount_op_ioctl,
	.fallocate = mount_op_fallocate,
	.readdirplus = mount_op_readdirplus,
	.copy_file_range = mount_op_copy_file_range,
	.lseek = mount_op_lseek,
	.tmpfile = mount_op_tmpfile,
};
