/*
 * fs_fuse_name: the kernel's requests about names and directories.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "applets/zdbfs/fs_fuse_int.h"
#include "core/base/mem.h"

void mount_op_lookup(fuse_req_t req, fuse_ino_t dir, const char *name)
{
	struct mount *m = mount_of(req);
	struct fuse_entry_param e;
	struct fs_attr a;
	int rc = fs_op_lookup(m->fs, dir, name, strlen(name), &a);

	if (rc != -ENOENT) {
		mount_reply_entry(req, m, rc, &a);
		return;
	}
	/* remembered by the kernel, too: nobody else makes names here */
	m->errors++;
	memset(&e, 0, sizeof(e));
	e.entry_timeout = CACHE_SECONDS;
	fuse_reply_entry(req, &e);
}

void mount_op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count)
{
	struct mount *m = mount_of(req);

	fs_op_forget(m->fs, ino, count);
	fuse_reply_none(req);
}

void mount_op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	struct mount *m = mount_of(req);

	for (size_t n = 0; n < count; n++)
		fs_op_forget(m->fs, forgets[n].ino, forgets[n].nlookup);
	fuse_reply_none(req);
}

void mount_op_create(fuse_req_t req, fuse_ino_t dir, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	struct mount *m = mount_counted(req, COUNT_CREATE);
	struct fs_caller who = mount_caller(req);
	struct fuse_entry_param e;
	struct fs_attr a;
	int rc = mount_refuses_open(m, true);

	if (!rc)
		rc = fs_op_create(m->fs, &who, dir, name, strlen(name), mode, &a);
	if (rc) {
		mount_reply_err(req, m, rc);
		return;
	}
	mount_to_entry(&a, &e);
	fi->keep_cache = 1;
	if (fuse_reply_create(req, &e, fi) == -ENOENT) {
		fs_op_release(m->fs, a.ino);
		fs_op_forget(m->fs, a.ino, 1);
	}
}

void mount_op_tmpfile(fuse_req_t req, fuse_ino_t dir, mode_t mode, struct fuse_file_info *fi)
{
	struct mount *m = mount_counted(req, COUNT_CREATE);
	struct fs_caller who = mount_caller(req);
	struct fuse_entry_param e;
	struct fs_attr a;
	int rc = mount_refuses_open(m, true);

	if (!rc)
		rc = fs_op_tmpfile(m->fs, &who, dir, mode, &a);
	if (rc) {
		mount_reply_err(req, m, rc);
		return;
	}
	mount_to_entry(&a, &e);
	if (fuse_reply_create(req, &e, fi) == -ENOENT) {
		fs_op_release(m->fs, a.ino);
		fs_op_forget(m->fs, a.ino, 1);
	}
}

void mount_op_mknod(fuse_req_t req, fuse_ino_t dir, const char *name, mode_t mode, dev_t rdev)
{
	struct mount *m = mount_counted(req, COUNT_CREATE);
	struct fs_caller who = mount_caller(req);
	struct fs_attr a;

	mount_reply_entry(req, m,
			  fs_op_mknod(m->fs, &who, dir, name, strlen(name), mode, mount_pack_rdev(rdev), &a),
			  &a);
}

void mount_op_mkdir(fuse_req_t req, fuse_ino_t dir, const char *name, mode_t mode)
{
	struct mount *m = mount_counted(req, COUNT_MKDIR);
	struct fs_caller who = mount_caller(req);
	struct fs_attr a;

	mount_reply_entry(req, m, fs_op_mkdir(m->fs, &who, dir, name, strlen(name), mode, &a), &a);
}

void mount_op_symlink(fuse_req_t req, const char *target, fuse_ino_t dir, const char *name)
{
	struct mount *m = mount_counted(req, COUNT_SYMLINK);
	struct fs_caller who = mount_caller(req);
	struct fs_attr a;

	mount_reply_entry(req, m, fs_op_symlink(m->fs, &who, dir, name, strlen(name), target, &a), &a);
}

void mount_op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t dir, const char *name)
{
	struct mount *m = mount_counted(req, COUNT_LINK);
	struct fs_attr a;

	mount_reply_entry(req, m, fs_op_link(m->fs, ino, dir, name, strlen(name), &a), &a);
}

void mount_op_unlink(fuse_req_t req, fuse_ino_t dir, const char *name)
{
	struct mount *m = mount_counted(req, COUNT_UNLINK);

	mount_reply_err(req, m, fs_op_unlink(m->fs, dir, name, strlen(name)));
}

void mount_op_rmdir(fuse_req_t req, fuse_ino_t dir, const char *name)
{
	struct mount *m = mount_counted(req, COUNT_RMDIR);

	mount_reply_err(req, m, fs_op_rmdir(m->fs, dir, name, strlen(name)));
}

void mount_op_rename(fuse_req_t req, fuse_ino_t dir, const char *name, fuse_ino_t to_dir, const char *to,
		     unsigned int flags)
{
	struct mount *m = mount_counted(req, COUNT_RENAME);
	struct fs_caller who = mount_caller(req);

	mount_reply_err(req, m,
			fs_op_rename(m->fs, &who, dir, name, strlen(name), to_dir, to, strlen(to), flags));
}

void mount_op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct mount *m = mount_of(req);
	char *target = NULL;
	int rc = fs_op_readlink(m->fs, ino, &target);

	if (rc)
		mount_reply_err(req, m, rc);
	else
		fuse_reply_readlink(req, target);
	mem_free(target);
}

void mount_op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	int rc = fs_op_opendir(m->fs, ino);

	if (rc) {
		mount_reply_err(req, m, rc);
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
			mount_to_entry(d->attr, &e);
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
	struct mount *m = mount_counted(req, COUNT_READDIR);
	struct dir_page p = {.req = req, .size = size, .plus = plus, .data = mem_alloc(size)};
	int rc = p.data ? fs_op_readdir(m->fs, ino, (uint64_t)off, plus, add_entry, &p) : -ENOMEM;

	/* an error behind some entries is met again by the next call */
	if (rc && !p.used)
		mount_reply_err(req, m, rc);
	else
		fuse_reply_buf(req, p.data, p.used);
	mem_free(p.data);
}

void mount_op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	(void)fi;
	list_dir(req, ino, size, off, false);
}

void mount_op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	(void)fi;
	list_dir(req, ino, size, off, true);
}
