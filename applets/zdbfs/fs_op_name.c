/*
 * fs_op_name: operations that look names up or change them.
 *
 * Every change here follows one pattern: find the inodes, lock them in the order of their numbers, check that the names
 * still lead to them (else begin anew), bring into memory whatever will be needed, enter the gate, change, leave.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "applets/zdbfs/fs_int.h"
#include "core/base/mem.h"

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1u
#endif
#ifndef RENAME_EXCHANGE
#define RENAME_EXCHANGE 2u
#endif
#ifndef RENAME_WHITEOUT
#define RENAME_WHITEOUT 4u
#endif

static bool is_dots(const char *name, size_t len)
{
	return len && name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.'));
}

static int check_name(const char *name, size_t len)
{
	if (!len)
		return -ENOENT;
	if (len > FMT_NAME_MAX)
		return -ENAMETOOLONG;
	return memchr(name, '/', len) || memchr(name, 0, len) ? -EINVAL : 0;
}

static int get_dir(struct fs *fs, uint64_t ino, struct fs_inode **out)
{
	int rc = fs_get(fs, ino, out);

	if (!rc && !(*out)->dir) {
		fs_put(fs, *out);
		*out = NULL;
		rc = -ENOTDIR;
	}
	return rc;
}

static int find_name(struct fs *fs, struct fs_inode *dir, const char *name, size_t len, uint64_t *ino)
{
	int rc;

	pthread_mutex_lock(&dir->lock);
	rc = fs_dir_load(fs, dir, fmt_hash(name, len));
	*ino = rc ? 0 : fs_dir_find(dir, name, len);
	pthread_mutex_unlock(&dir->lock);
	return rc ? rc : *ino ? 0 : -ENOENT;
}

/* Finds the name and pins its inode; the directory is not locked before or after. */
static int resolve(struct fs *fs, struct fs_inode *dir, const char *name, size_t len, struct fs_inode **out)
{
	uint64_t ino = 0, before;
	int rc;

	*out = NULL;
	do {
		before = ino;
		rc = find_name(fs, dir, name, len, &ino);
		if (!rc)
			rc = fs_get(fs, ino, out);
		/* gone: it may have been unlinked in between, then the name says something else now */
	} while (rc == -ENOENT && ino && ino != before);
	if (rc == -ENOENT && ino) {
		log_every(1000, LOG_LEVEL_ERR,
			  "cannot use an entry of directory %llu: its inode %llu is missing",
			  (unsigned long long)dir->ino, (unsigned long long)ino);
		rc = -EIO;
	}
	return rc;
}

/* Whether the name leads to this inode (NULL: to none). Directory locked, list loaded by resolve() and pinned since. */
static bool still_is(const struct fs_inode *dir, const char *name, size_t len, const struct fs_inode *i)
{
	return fs_dir_find(dir, name, len) == (i ? i->ino : 0);
}

/* A change of this directory's entries. Inside the gate. */
static void touch_dir(struct fs *fs, struct fs_inode *dir)
{
	fs_now(&dir->mtime);
	dir->ctime = dir->mtime;
	fs_mark_dirty(fs, dir);
}

static void touch_ctime(struct fs *fs, struct fs_inode *i)
{
	fs_now(&i->ctime);
	fs_mark_dirty(fs, i);
}

static bool counts_links(const struct fs_inode *dir)
{
	return dir->links >= 2 && dir->links != FMT_LINKS_UNKNOWN;
}

static int begin(struct fs *fs)
{
	if (fs->is_read_only)
		return -EROFS;
	return fs_throttle(fs);
}

/* ------------------------------------------------------------------------------------------------ looking up */

int fs_op_lookup(struct fs *fs, uint64_t dir_ino, const char *name, size_t len, struct fs_attr *attr)
{
	struct fs_inode *dir, *i = NULL;
	int rc = check_name(name, len);

	if (!rc)
		rc = get_dir(fs, dir_ino, &dir);
	if (rc)
		return rc;
	if (is_dots(name, len))
		rc = len == 1 || dir_ino == FMT_ROOT_INO ? fs_get(fs, dir_ino, &i)
		     : dir->parent                       ? fs_get(fs, dir->parent, &i)
							 : -ENOENT;
	else
		rc = resolve(fs, dir, name, len, &i);
	if (!rc) {
		fs_known_add(fs, i->ino, 1, 0);
		pthread_mutex_lock(&i->lock);
		if (i->dir && !is_dots(name, len))
			i->parent = dir_ino;
		fs_attr_fill(i, attr);
		pthread_mutex_unlock(&i->lock);
	}
	fs_put(fs, i);
	fs_put(fs, dir);
	return rc;
}

void fs_op_forget(struct fs *fs, uint64_t ino, uint64_t count)
{
	fs_known_add(fs, ino, -(int64_t)count, 0);
	fs_orphan_check(fs, ino);
}

int fs_op_readlink(struct fs *fs, uint64_t ino, char **target)
{
	struct fs_inode *i;
	int rc = fs_get(fs, ino, &i);

	if (rc)
		return rc;
	if (!i->target)
		rc = -EINVAL;
	else if (!(*target = mem_strdup(i->target)))
		rc = -ENOMEM;
	fs_put(fs, i);
	return rc;
}

/* -------------------------------------------------------------------------------------------------- creating */

struct making {
	const struct fs_caller *who;
	uint32_t mode, rdev;
	const char *target; /* symbolic links */
	bool is_open;       /* comes with an open descriptor */
};

/* A new inode, filled in, known to nobody yet. Outside the gate. */
static int new_inode(struct fs *fs, const struct fs_inode *dir, const struct making *m, struct fs_inode **out)
{
	struct fs_inode *i;
	uint64_t ino;
	int rc = fs_pool_take(fs, &ino);

	*out = NULL;
	if (rc)
		return rc;
	rc = fs_new(fs, ino, &i);
	if (rc) {
		fs_pool_give_back(fs, ino);
		return rc;
	}
	i->mode = m->mode;
	i->dev = m->rdev;
	i->uid = m->who->uid;
	i->gid = m->who->gid;
	if (dir->mode & S_ISGID) {
		i->gid = dir->gid;
		if (S_ISDIR(i->mode))
			i->mode |= S_ISGID;
	}
	fs_now(&i->btime);
	i->atime = i->mtime = i->ctime = i->btime;
	i->links = 1;
	if (m->target) {
		i->target = mem_strdup(m->target);
		i->size = strlen(m->target);
		rc = i->target ? 0 : -ENOMEM;
	}
	if (!rc && S_ISDIR(i->mode)) {
		i->links = 2;
		i->parent = dir->ino;
		i->dir = fs_dir_new();
		rc = i->dir ? fs_dir_prepare(fs, i, ".", 1) : -ENOMEM;
		if (!rc)
			rc = fs_dir_prepare(fs, i, "..", 2);
	}
	*out = i;
	return rc;
}

/* An inode that came to nothing. */
static void discard(struct fs *fs, struct fs_inode *i)
{
	if (!i)
		return;
	i->is_gone = i->give_back = true;
	fs_put(fs, i);
}

static void enter_name(struct fs *fs, struct fs_inode *dir, const char *name, size_t len, struct fs_inode *i)
{
	if (i->dir) {
		fs_dir_set(fs, i, ".", 1, i->ino);
		fs_dir_set(fs, i, "..", 2, dir->ino);
		if (counts_links(dir))
			dir->links++;
	}
	fs_mark_dirty(fs, i);
	fs_dir_set(fs, dir, name, len, i->ino);
	touch_dir(fs, dir);
}

static int make(struct fs *fs, uint64_t dir_ino, const char *name, size_t len, const struct making *m,
		struct fs_attr *attr)
{
	struct fs_inode *dir = NULL, *i = NULL;
	int rc = check_name(name, len);

	if (!rc && is_dots(name, len))
		rc = -EEXIST;
	if (!rc)
		rc = begin(fs);
	if (!rc)
		rc = fs_space_check(fs, 0);
	if (!rc)
		rc = get_dir(fs, dir_ino, &dir);
	if (!rc)
		rc = new_inode(fs, dir, m, &i);
	if (rc)
		goto out;
	pthread_mutex_lock(&dir->lock);
	rc = dir->is_orphan ? -ENOENT : fs_dir_prepare(fs, dir, name, len);
	if (!rc && fs_dir_find(dir, name, len))
		rc = -EEXIST;
	if (!rc) {
		fs_gate_enter(fs);
		enter_name(fs, dir, name, len, i);
		fs_gate_leave(fs);
		fs_known_add(fs, i->ino, 1, m->is_open);
		fs_attr_fill(i, attr);
	}
	pthread_mutex_unlock(&dir->lock);
out:
	if (rc)
		discard(fs, i);
	else
		fs_put(fs, i);
	fs_put(fs, dir);
	return rc;
}

int fs_op_create(struct fs *fs, const struct fs_caller *who, uint64_t dir, const char *name, size_t len,
		 uint32_t mode, struct fs_attr *attr)
{
	struct making m = {.who = who, .mode = S_IFREG | (mode & 07777), .is_open = true};

	return make(fs, dir, name, len, &m, attr);
}

int fs_op_mknod(struct fs *fs, const struct fs_caller *who, uint64_t dir, const char *name, size_t len,
		uint32_t mode, uint32_t rdev, struct fs_attr *attr)
{
	struct making m = {.who = who, .mode = mode & (S_IFMT | 07777)};

	if (!(mode & S_IFMT))
		m.mode |= S_IFREG;
	if (S_ISCHR(m.mode) || S_ISBLK(m.mode))
		m.rdev = rdev;
	else if (!S_ISREG(m.mode) && !S_ISFIFO(m.mode) && !S_ISSOCK(m.mode))
		return -EINVAL;
	return make(fs, dir, name, len, &m, attr);
}

int fs_op_mkdir(struct fs *fs, const struct fs_caller *who, uint64_t dir, const char *name, size_t len,
		uint32_t mode, struct fs_attr *attr)
{
	struct making m = {.who = who, .mode = S_IFDIR | (mode & 07777)};

	return make(fs, dir, name, len, &m, attr);
}

int fs_op_symlink(struct fs *fs, const struct fs_caller *who, uint64_t dir, const char *name, size_t len,
		  const char *target, struct fs_attr *attr)
{
	struct making m = {.who = who, .mode = S_IFLNK | 0777, .target = target};
	size_t n = strlen(target);

	if (!n || n > FMT_TARGET_MAX)
		return n ? -ENAMETOOLONG : -ENOENT;
	return make(fs, dir, name, len, &m, attr);
}

int fs_op_tmpfile(struct fs *fs, const struct fs_caller *who, uint64_t dir_ino, uint32_t mode,
		  struct fs_attr *attr)
{
	struct making m = {.who = who, .mode = S_IFREG | (mode & 07777)};
	struct fs_inode *dir = NULL, *i = NULL;
	int rc = begin(fs);

	if (!rc)
		rc = fs_space_check(fs, 0);
	if (!rc)
		rc = get_dir(fs, dir_ino, &dir);
	if (!rc)
		rc = new_inode(fs, dir, &m, &i);
	if (rc) {
		discard(fs, i);
	} else {
		i->links = 0;
		fs_known_add(fs, i->ino, 1, 1);
		fs_gate_enter(fs);
		fs_orphan_make(fs, i);
		fs_gate_leave(fs);
		fs_attr_fill(i, attr);
		fs_put(fs, i);
	}
	fs_put(fs, dir);
	return rc;
}

int fs_op_link(struct fs *fs, uint64_t ino, uint64_t dir_ino, const char *name, size_t len,
	       struct fs_attr *attr)
{
	struct fs_inode *v[2] = {NULL, NULL}; /* directory, file */
	int rc = check_name(name, len);

	if (!rc && is_dots(name, len))
		rc = -EEXIST;
	if (!rc)
		rc = begin(fs);
	if (!rc)
		rc = get_dir(fs, dir_ino, &v[0]);
	if (!rc)
		rc = fs_get(fs, ino, &v[1]);
	if (!rc && v[1]->dir)
		rc = -EPERM;
	if (rc)
		goto out;
	fs_lock_many(v, 2);
	rc = v[0]->is_orphan || v[1]->is_gone ? -ENOENT : fs_dir_prepare(fs, v[0], name, len);
	if (!rc && fs_dir_find(v[0], name, len))
		rc = -EEXIST;
	if (!rc && v[1]->links >= FMT_LINKS_UNKNOWN - 1)
		rc = -EMLINK;
	if (!rc) {
		fs_gate_enter(fs);
		if (v[1]->is_orphan)
			fs_orphan_unmake(fs, v[1]);
		v[1]->links++;
		touch_ctime(fs, v[1]);
		fs_dir_set(fs, v[0], name, len, ino);
		touch_dir(fs, v[0]);
		fs_gate_leave(fs);
		fs_known_add(fs, ino, 1, 0);
		fs_attr_fill(v[1], attr);
	}
	fs_unlock_many(v, 2);
out:
	fs_put(fs, v[1]);
	fs_put(fs, v[0]);
	return rc;
}

/* -------------------------------------------------------------------------------------------------- removing */

/* One name less. Inside the gate. */
static void lose_name(struct fs *fs, struct fs_inode *i)
{
	if (i->dir)
		i->links = 0;
	else if (i->links)
		i->links--;
	touch_ctime(fs, i);
	if (!i->links)
		fs_orphan_make(fs, i);
}

static int check_removable(struct fs *fs, struct fs_inode *i, bool want_dir)
{
	int rc;

	if (!want_dir)
		return i->dir ? -EISDIR : 0;
	if (!i->dir)
		return -ENOTDIR;
	rc = fs_dir_load_all(fs, i);
	if (rc)
		return rc;
	return fs_dir_is_empty(i) ? 0 : -ENOTEMPTY;
}

static int remove_name(struct fs *fs, uint64_t dir_ino, const char *name, size_t len, bool want_dir)
{
	struct fs_inode *v[2] = {NULL, NULL};
	uint64_t gone = 0;
	bool again;
	int rc = check_name(name, len);

	if (!rc && is_dots(name, len))
		rc = want_dir ? (len == 1 ? -EINVAL : -ENOTEMPTY) : -EISDIR;
	if (!rc)
		rc = begin(fs);
	if (!rc)
		rc = get_dir(fs, dir_ino, &v[0]);
	if (rc)
		return rc;
	do {
		rc = resolve(fs, v[0], name, len, &v[1]);
		if (rc)
			break;
		fs_lock_many(v, 2);
		again = !still_is(v[0], name, len, v[1]);
		if (!again)
			rc = check_removable(fs, v[1], want_dir);
		if (!again && !rc)
			rc = fs_dir_prepare(fs, v[0], name, len);
		if (!again && !rc) {
			fs_gate_enter(fs);
			fs_dir_set(fs, v[0], name, len, 0);
			if (want_dir && counts_links(v[0]) && v[0]->links > 2)
				v[0]->links--;
			touch_dir(fs, v[0]);
			lose_name(fs, v[1]);
			fs_gate_leave(fs);
			gone = v[1]->is_orphan ? v[1]->ino : 0;
		}
		fs_unlock_many(v, 2);
		fs_put(fs, v[1]);
		v[1] = NULL;
	} while (again);
	if (gone)
		fs_orphan_check(fs, gone);
	fs_put(fs, v[0]);
	return rc;
}

int fs_op_unlink(struct fs *fs, uint64_t dir, const char *name, size_t len)
{
	return remove_name(fs, dir, name, len, false);
}

int fs_op_rmdir(struct fs *fs, uint64_t dir, const char *name, size_t len)
{
	return remove_name(fs, dir, name, len, true);
}

/* -------------------------------------------------------------------------------------------------- renaming */

enum { FROM_DIR, TO_DIR, SOURCE, TARGET, RENAME_INODES };

struct renaming {
	struct fs_inode *v[RENAME_INODES]; /* pinned; TARGET may be NULL */
	struct fs_inode *whiteout;
	bool is_done;
	const char *from, *to;
	size_t from_len, to_len;
	unsigned flags;
};

static int check_rename(struct fs *fs, struct renaming *r)
{
	struct fs_inode *s = r->v[SOURCE], *t = r->v[TARGET];
	int rc = 0;

	if (r->v[TO_DIR]->is_orphan)
		return -ENOENT;
	if (t && (r->flags & RENAME_NOREPLACE))
		return -EEXIST;
	if (r->flags & RENAME_EXCHANGE)
		return t ? 0 : -ENOENT;
	if (!t)
		return 0;
	if (s->dir && !t->dir)
		return -ENOTDIR;
	if (!s->dir && t->dir)
		return -EISDIR;
	if (t->dir) {
		rc = fs_dir_load_all(fs, t);
		if (!rc && !fs_dir_is_empty(t))
			rc = -ENOTEMPTY;
	}
	return rc;
}

static int prepare_rename(struct fs *fs, struct renaming *r)
{
	bool moves = r->v[FROM_DIR] != r->v[TO_DIR];
	/* The new name last: both may share an arena, and only the new one needs room in it. */
	int rc = fs_dir_prepare(fs, r->v[FROM_DIR], r->from, r->from_len);

	if (!rc)
		rc = fs_dir_prepare(fs, r->v[TO_DIR], r->to, r->to_len);
	if (!rc && moves && r->v[SOURCE]->dir)
		rc = fs_dir_prepare(fs, r->v[SOURCE], "..", 2);
	if (!rc && moves && (r->flags & RENAME_EXCHANGE) && r->v[TARGET]->dir)
		rc = fs_dir_prepare(fs, r->v[TARGET], "..", 2);
	return rc;
}

/* A directory has another parent from now on. */
static void move_dir(struct fs *fs, struct fs_inode *i, struct fs_inode *from, struct fs_inode *to)
{
	if (!i->dir || from == to)
		return;
	fs_dir_set(fs, i, "..", 2, to->ino);
	i->parent = to->ino;
	if (counts_links(from) && from->links > 2)
		from->links--;
	if (counts_links(to))
		to->links++;
}

static void do_rename(struct fs *fs, struct renaming *r)
{
	struct fs_inode *s = r->v[SOURCE], *t = r->v[TARGET], *from = r->v[FROM_DIR], *to = r->v[TO_DIR];
	uint64_t left_behind = r->flags & RENAME_EXCHANGE ? t->ino : r->whiteout ? r->whiteout->ino : 0;

	if (r->whiteout)
		fs_mark_dirty(fs, r->whiteout);
	fs_dir_set(fs, to, r->to, r->to_len, s->ino);
	fs_dir_set(fs, from, r->from, r->from_len, left_behind);
	move_dir(fs, s, from, to);
	touch_ctime(fs, s);
	if (r->flags & RENAME_EXCHANGE) {
		move_dir(fs, t, to, from);
		touch_ctime(fs, t);
	} else if (t) {
		if (t->dir && counts_links(to) && to->links > 2)
			to->links--;
		lose_name(fs, t);
	}
	touch_dir(fs, from);
	touch_dir(fs, to);
}

static int rename_locked(struct fs *fs, struct renaming *r, bool *again)
{
	int rc;

	*again = !still_is(r->v[FROM_DIR], r->from, r->from_len, r->v[SOURCE]) ||
		 !still_is(r->v[TO_DIR], r->to, r->to_len, r->v[TARGET]);
	if (*again)
		return 0;
	if (r->v[SOURCE] == r->v[TARGET])
		return r->flags & RENAME_NOREPLACE ? -EEXIST : 0;
	rc = check_rename(fs, r);
	if (!rc)
		rc = prepare_rename(fs, r);
	if (rc)
		return rc;
	fs_gate_enter(fs);
	do_rename(fs, r);
	fs_gate_leave(fs);
	r->is_done = true;
	return 0;
}

static int rename_once(struct fs *fs, struct renaming *r, bool *again)
{
	uint64_t gone = 0;
	int rc = resolve(fs, r->v[FROM_DIR], r->from, r->from_len, &r->v[SOURCE]);

	*again = false;
	if (rc)
		return rc;
	rc = resolve(fs, r->v[TO_DIR], r->to, r->to_len, &r->v[TARGET]);
	if (rc == -ENOENT)
		rc = 0;
	if (!rc) {
		fs_lock_many(r->v, RENAME_INODES);
		rc = rename_locked(fs, r, again);
		if (!rc && !*again && r->v[TARGET] && r->v[TARGET]->is_orphan)
			gone = r->v[TARGET]->ino;
		fs_unlock_many(r->v, RENAME_INODES);
	}
	fs_put(fs, r->v[SOURCE]);
	fs_put(fs, r->v[TARGET]);
	r->v[SOURCE] = r->v[TARGET] = NULL;
	if (gone)
		fs_orphan_check(fs, gone);
	return rc;
}

int fs_op_rename(struct fs *fs, const struct fs_caller *who, uint64_t from_dir, const char *from,
		 size_t from_len, uint64_t to_dir, const char *to, size_t to_len, unsigned flags)
{
	struct renaming r = {.from = from, .from_len = from_len, .to = to, .to_len = to_len, .flags = flags};
	struct making whiteout = {.who = who, .mode = S_IFCHR};
	bool again = false;
	int rc = check_name(from, from_len);

	if (!rc)
		rc = check_name(to, to_len);
	if (!rc && (is_dots(from, from_len) || is_dots(to, to_len)))
		rc = -EBUSY;
	if (!rc && (flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT) ||
		    ((flags & RENAME_EXCHANGE) && flags != RENAME_EXCHANGE)))
		rc = -EINVAL;
	if (!rc)
		rc = begin(fs);
	if (!rc)
		rc = get_dir(fs, from_dir, &r.v[FROM_DIR]);
	if (!rc)
		rc = get_dir(fs, to_dir, &r.v[TO_DIR]);
	if (!rc && (flags & RENAME_WHITEOUT))
		rc = new_inode(fs, r.v[FROM_DIR], &whiteout, &r.whiteout);
	do {
		if (!rc)
			rc = rename_once(fs, &r, &again);
	} while (!rc && again);
	if (r.whiteout && !r.is_done)
		discard(fs, r.whiteout);
	else
		fs_put(fs, r.whiteout);
	fs_put(fs, r.v[FROM_DIR]);
	fs_put(fs, r.v[TO_DIR]);
	return rc;
}
