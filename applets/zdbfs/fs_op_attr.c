/*
 * fs_op_attr: attributes of inodes, the ordinary and the extended ones.
 */
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "applets/zdbfs/fs_int.h"
#include "core/base/mem.h"

int fs_op_getattr(struct fs *fs, uint64_t ino, struct fs_attr *attr)
{
	struct fs_inode *i;
	int rc = fs_get(fs, ino, &i);

	if (rc)
		return rc;
	pthread_mutex_lock(&i->lock);
	fs_attr_fill(i, attr);
	pthread_mutex_unlock(&i->lock);
	fs_put(fs, i);
	return 0;
}

static int set_size(struct fs *fs, struct fs_inode *i, uint64_t size)
{
	if (i->dir)
		return -EISDIR;
	if (!S_ISREG(i->mode))
		return -EINVAL;
	return fs_file_resize(fs, i, size);
}

static void set_times(struct fs_inode *i, const struct fs_attr *want, unsigned set)
{
	struct timespec now;

	fs_now(&now);
	if (set & FS_SET_ATIME)
		i->atime = want->atime;
	if (set & FS_SET_ATIME_NOW)
		i->atime = now;
	if (set & FS_SET_MTIME)
		i->mtime = want->mtime;
	if (set & FS_SET_MTIME_NOW)
		i->mtime = now;
	i->ctime = set & FS_SET_CTIME ? want->ctime : now;
}

int fs_op_setattr(struct fs *fs, uint64_t ino, const struct fs_attr *want, unsigned set, struct fs_attr *attr)
{
	struct fs_inode *i = NULL;
	int rc = fs->is_read_only ? -EROFS : 0;

	if (!rc && (set & FS_SET_SIZE))
		rc = fs_throttle(fs);
	if (!rc)
		rc = fs_get(fs, ino, &i);
	if (rc)
		return rc;
	pthread_mutex_lock(&i->lock);
	if (set & FS_SET_SIZE)
		rc = set_size(fs, i, want->size);
	if (!rc) {
		fs_gate_enter(fs);
		if (set & FS_SET_MODE)
			i->mode = (i->mode & S_IFMT) | (want->mode & 07777);
		if (set & FS_SET_KILL_SUID)
			i->mode &= ~(uint32_t)(S_ISUID | ((i->mode & S_IXGRP) ? S_ISGID : 0));
		if (set & FS_SET_UID)
			i->uid = want->uid;
		if (set & FS_SET_GID)
			i->gid = want->gid;
		set_times(i, want, set);
		fs_mark_dirty(fs, i);
		fs_gate_leave(fs);
		fs_attr_fill(i, attr);
	}
	pthread_mutex_unlock(&i->lock);
	fs_put(fs, i);
	return rc;
}

/* ------------------------------------------------------------------------------------------ extended attributes */

static int check_xattr_name(const char *name)
{
	size_t len = strlen(name);

	if (len > FMT_NAME_MAX)
		return -ERANGE;
	if ((strncmp(name, "user.", 5) == 0 && len > 5) || (strncmp(name, "trusted.", 8) == 0 && len > 8) ||
	    (strncmp(name, "security.", 9) == 0 && len > 9))
		return 0;
	return -EOPNOTSUPP;
}

static bool find_xattr(const struct fs_inode *i, const char *name, struct fmt_xattr *x)
{
	size_t off = 0;

	while (fmt_xattr_next(i->xattr, i->xattr_len, &off, x) > 0)
		if (x->name_len == strlen(name) && memcmp(x->name, name, x->name_len) == 0)
			return true;
	return false;
}

int fs_op_getxattr(struct fs *fs, uint64_t ino, const char *name, void *value, size_t size, size_t *len)
{
	struct fmt_xattr x;
	struct fs_inode *i;
	int rc = check_xattr_name(name);

	if (!rc)
		rc = fs_get(fs, ino, &i);
	if (rc)
		return rc;
	pthread_mutex_lock(&i->lock);
	if (!find_xattr(i, name, &x)) {
		rc = -ENODATA;
	} else {
		*len = x.value_len;
		if (size && x.value_len > size)
			rc = -ERANGE;
		else if (size)
			memcpy(value, x.value, x.value_len);
	}
	pthread_mutex_unlock(&i->lock);
	fs_put(fs, i);
	return rc;
}

int fs_op_listxattr(struct fs *fs, uint64_t ino, char *list, size_t size, size_t *len)
{
	struct fmt_xattr x;
	struct fs_inode *i;
	size_t off = 0;
	int rc = fs_get(fs, ino, &i);

	if (rc)
		return rc;
	*len = 0;
	pthread_mutex_lock(&i->lock);
	while (!rc && fmt_xattr_next(i->xattr, i->xattr_len, &off, &x) > 0) {
		if (size && *len + x.name_len + 1 > size) {
			rc = -ERANGE;
			break;
		}
		if (size) {
			memcpy(list + *len, x.name, x.name_len);
			list[*len + x.name_len] = 0;
		}
		*len += x.name_len + 1;
	}
	pthread_mutex_unlock(&i->lock);
	fs_put(fs, i);
	return rc;
}

/* All attributes but this one, then (value not NULL) this one anew. */
static int rebuild(const struct fs_inode *i, const char *name, const void *value, size_t size,
		   struct buf *out)
{
	struct fmt_xattr x;
	size_t off = 0;
	int rc = 0;

	while (!rc && fmt_xattr_next(i->xattr, i->xattr_len, &off, &x) > 0)
		if (x.name_len != strlen(name) || memcmp(x.name, name, x.name_len) != 0)
			rc = buf_append(out, i->xattr + x.off, x.size);
	if (!rc && value)
		rc = fmt_xattr_append(out, name, strlen(name), value, size);
	if (!rc && FMT_FILE_BASE + (uint64_t)i->map_count * 4 + FS_TRAILER_BASE + out->len > FMT_RECORD_MAX)
		rc = -ENOSPC;
	return rc == -E_LIMIT ? -ENOSPC : rc;
}

static int change_xattr(struct fs *fs, uint64_t ino, const char *name, const void *value, size_t size,
			int flags)
{
	struct buf out = BUF_INIT(FMT_XATTR_MAX);
	struct fmt_xattr x;
	struct fs_inode *i = NULL;
	bool exists;
	int rc = fs->is_read_only ? -EROFS : check_xattr_name(name);

	if (!rc && value)
		rc = fs_space_check(fs, 0);
	if (!rc)
		rc = fs_get(fs, ino, &i);
	if (rc)
		return rc;
	pthread_mutex_lock(&i->lock);
	exists = find_xattr(i, name, &x);
	if (exists && (flags & XATTR_CREATE))
		rc = -EEXIST;
	else if (!exists && (!value || (flags & XATTR_REPLACE)))
		rc = -ENODATA;
	else
		rc = rebuild(i, name, value, size, &out);
	if (!rc) {
		uint8_t *old = i->xattr;
		size_t len = out.len;
		uint8_t *now = len ? mem_dup(out.data, len) : NULL;

		if (len && !now) {
			rc = -ENOMEM;
		} else {
			fs_gate_enter(fs);
			i->xattr = now;
			i->xattr_len = len;
			fs_now(&i->ctime);
			fs_mark_dirty(fs, i);
			fs_gate_leave(fs);
			mem_free(old);
		}
	}
	pthread_mutex_unlock(&i->lock);
	buf_release(&out);
	fs_put(fs, i);
	return rc;
}

int fs_op_setxattr(struct fs *fs, uint64_t ino, const char *name, const void *value, size_t size, int flags)
{
	if (size > 65536)
		return -E2BIG;
	return change_xattr(fs, ino, name, value ? value : "", size, flags);
}

int fs_op_removexattr(struct fs *fs, uint64_t ino, const char *name)
{
	return change_xattr(fs, ino, name, NULL, 0, 0);
}
