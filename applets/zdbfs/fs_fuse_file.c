/*
 * fs_fuse_file: the kernel's requests about open files and their contents.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "applets/zdbfs/fmt.h"
#include "applets/zdbfs/fs_fuse_int.h"
#include "core/base/clock.h"
#include "core/base/mem.h"

static bool writes(const struct fuse_file_info *fi)
{
	return (fi->flags & O_ACCMODE) != O_RDONLY;
}

void mount_op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mount *m = mount_counted(req, COUNT_OPEN);
	int rc = mount_refuses_open(m, writes(fi));

	if (!rc)
		rc = fs_op_open(m->fs, ino, fi->flags);
	if (rc) {
		mount_reply_err(req, m, rc);
		return;
	}
	fi->keep_cache = 1; /* nobody but this kernel changes it */
	if (fuse_reply_open(req, fi) == -ENOENT)
		fs_op_release(m->fs, ino);
}

void mount_op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);

	(void)fi;
	fs_op_release(m->fs, ino);
	fuse_reply_err(req, 0);
}

static uint8_t zeros[FMT_BLOCK]; /* never written; not const, so that it takes no room in the file */

void mount_op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct mount *m = mount_counted(req, COUNT_READ);
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
		mount_reply_err(req, m, rc);
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

void mount_op_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	struct mount *m = mount_counted(req, COUNT_WRITE);
	ssize_t n;

	(void)fi;
	m->writing++;
	n = fs_op_write(m->fs, ino, (uint64_t)off, data, size);
	m->last_write_ms = clock_mono_ms();
	m->writing--;
	if (n < 0) {
		mount_reply_err(req, m, (int)n);
		return;
	}
	m->write_bytes += (uint64_t)n;
	fuse_reply_write(req, (size_t)n);
}

void mount_op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);

	(void)fi;
	mount_reply_err(req, m, fs_op_flush(m->fs, ino));
}

void mount_op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);

	(void)datasync;
	(void)fi;
	mount_reply_err(req, m, fs_op_fsync(m->fs, ino));
}

void mount_op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
			struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);

	(void)fi;
	mount_reply_err(req, m, fs_op_fallocate(m->fs, ino, mode, (uint64_t)off, (uint64_t)len));
}

void mount_op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi)
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
		mount_reply_err(req, m, rc);
	else
		fuse_reply_lseek(req, (off_t)at);
}

void mount_op_copy_file_range(fuse_req_t req, fuse_ino_t from, off_t from_off, struct fuse_file_info *fi_from,
			      fuse_ino_t to, off_t to_off, struct fuse_file_info *fi_to, size_t len,
			      int flags)
{
	struct mount *m = mount_of(req);
	ssize_t n;

	(void)fi_from;
	(void)fi_to;
	if (flags) {
		mount_reply_err(req, m, -EINVAL);
		return;
	}
	/* one request may not take the thread for ever */
	n = fs_op_copy(m->fs, from, (uint64_t)from_off, to, (uint64_t)to_off,
		       len < (64u << 20) ? len : 64u << 20);
	if (n < 0)
		mount_reply_err(req, m, (int)n);
	else
		fuse_reply_write(req, (size_t)n);
}
