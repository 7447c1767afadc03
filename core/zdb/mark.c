/*
 * mark.c - the marker: up to where the index is known to be durable, and whether the last stop was clean.
 *
 * `mark` is replaced as a whole (temporary file, fsync, rename, fsync of the directory); where the disk is full it is
 * overwritten in place, which takes no room.  One that is torn so counts as none.  `sums` beside it holds the
 * counts at the same position; it is a cache, matched by position and stamp, and is not synced: when it does not
 * match, the index is read instead.
 */
#include <stdio.h>

#include "core/base/file.h"
#include "core/zdb/zdb_int.h"

static int private_path(const char *index_dir, const char *name, char *buf)
{
	int n = snprintf(buf, ZDB_PATH_MAX, "%s/%s", index_dir, name);

	return n > 0 && n < (int)ZDB_PATH_MAX ? 0 : -ENAMETOOLONG;
}

static ssize_t read_small(const char *index_dir, const char *name, void *buf, size_t size)
{
	char path[ZDB_PATH_MAX];
	ssize_t n;
	int fd, rc = private_path(index_dir, name, path);

	if (rc != 0)
		return rc;
	fd = sys->open(path, O_RDONLY, 0);
	if (fd < 0)
		return -errno;
	do
		n = sys->pread(fd, buf, size, 0);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		n = -EIO;
	sys->close(fd);
	return n;
}

int mark_read(const struct zdb_ns *ns, struct mark *m)
{
	uint8_t b[MARK_SIZE + 1];
	ssize_t n = read_small(ns->index_dir, "mark", b, sizeof(b));

	memset(m, 0, sizeof(*m));
	if (n == -ENOENT)
		return -ENOENT;
	if (n < 0)
		return (int)n;
	return mark_decode(m, b, (size_t)n) == 0 ? 0 : -ENOENT;
}

/* A marker of full size is there and gets other bytes: 0, else a negative code. */
static int mark_overwrite(const char *path, const uint8_t b[MARK_SIZE])
{
	struct stat st;
	int rc = 0, fd = sys->open(path, O_WRONLY, 0);

	if (fd < 0)
		return -errno;
	if (sys->fstat(fd, &st) != 0 || st.st_size != MARK_SIZE)
		rc = -EIO;
	else if (sys->pwrite(fd, b, MARK_SIZE, 0) != MARK_SIZE || sys->fsync(fd) != 0)
		rc = -EIO;
	sys->close(fd);
	return rc;
}

int mark_write(const char *index_dir, const struct mark *m)
{
	char path[ZDB_PATH_MAX];
	uint8_t b[MARK_SIZE];
	int rc = private_path(index_dir, "mark", path);

	if (rc != 0)
		return rc;
	mark_encode(b, m);
	rc = file_write_atomic(path, 0600, b, sizeof(b));
	if (err_no_room(rc))
		rc = mark_overwrite(path, b) == 0 ? 0 : -ENOSPC;
	return rc;
}

int mark_back(struct zdb_ns *ns, uint32_t n, uint32_t last)
{
	struct mark m = {.state = MARK_OPEN, .file = n, .offset = DAT_HEADER, .index_size = IDX_HEADER};
	uint8_t b[8];

	if (any_read(ns, DATA_FILE, last, b, sizeof(b), DAT_STAMP_AT) != (ssize_t)sizeof(b))
		return -EIO;
	m.stamp = get_u64le(b);
	return mark_write(ns->index_dir, &m);
}

void mark_remove(const struct zdb_ns *ns)
{
	char path[ZDB_PATH_MAX];

	if (private_path(ns->index_dir, "mark", path) == 0)
		(void)sys->unlink(path);
}

int zdb_restore_mark(const char *index_dir, uint32_t segment)
{
	/* Stamp 0: what left a node reads as 0 there, and upstream never leaves a marker. */
	struct mark m = {.state = MARK_OPEN, .file = segment, .offset = DAT_HEADER, .index_size = IDX_HEADER};

	return mark_write(index_dir, &m);
}

int sums_read(const struct zdb_ns *ns, const struct mark *m, struct sums *s)
{
	uint8_t b[SUMS_SIZE + 1];
	ssize_t n = read_small(ns->index_dir, "sums", b, sizeof(b));

	if (n < 0 || sums_decode(s, b, (size_t)n) != 0)
		return -ENOENT;
	if (s->file != m->file || s->offset != m->offset || s->stamp != m->stamp || s->mark_state != m->state)
		return -ENOENT;
	return 0;
}

int sums_write(const char *index_dir, const struct sums *s)
{
	char path[ZDB_PATH_MAX], temp[ZDB_PATH_MAX];
	uint8_t b[SUMS_SIZE];
	int fd, rc = private_path(index_dir, "sums", path);

	if (rc == 0)
		rc = private_path(index_dir, ".sums.tmp", temp);
	if (rc != 0)
		return rc;
	sums_encode(b, s);
	fd = sys->open(temp, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (fd < 0)
		return -errno;
	if (sys->pwrite(fd, b, sizeof(b), 0) != (ssize_t)sizeof(b))
		rc = -EIO;
	sys->close(fd);
	if (rc == 0 && sys->rename(temp, path) != 0)
		rc = -errno;
	if (rc != 0)
		(void)sys->unlink(temp); /* only litter */
	return rc;
}

void sums_fill(const struct zdb_ns *ns, struct sums *s, const struct mark *m)
{
	*s = (struct sums){.file = m->file,
			   .offset = m->offset,
			   .stamp = m->stamp,
			   .mark_state = m->state,
			   .next_id = ns->next_id,
			   .entries = ns->entries,
			   .data_size = ns->data_size};
}

static void sums_for(struct zdb_ns *ns, const struct mark *m)
{
	struct sums s;

	if (ns->mode != ZDB_SEQ)
		return;
	sums_fill(ns, &s, m);
	(void)sums_write(ns->index_dir, &s); /* without it the next start reads the index */
}

static int stamp_write(struct zdb_ns *ns, uint64_t stamp)
{
	uint8_t b[8];
	int rc;

	put_u64le(b, stamp);
	rc = ns_pwrite(ns, ns->data.f, b, sizeof(b), DAT_STAMP_AT);
	if (rc == 0 && sys->fdatasync(ns->data.f->fd) != 0)
		rc = -EIO;
	return rc;
}

/* Apart, because a struct of this size is not made for nothing at each write. */
static int mark_open_now(struct zdb_ns *ns)
{
	struct mark m = {.state = MARK_OPEN,
			 .file = ns->data.number,
			 .offset = ns->data.size,
			 .index_size = ns->index.size};
	int rc;

	while (m.stamp == 0) {
		if (sys->getrandom(&m.stamp, sizeof(m.stamp), 0) != (ssize_t)sizeof(m.stamp))
			return -EIO;
	}
	sums_for(ns, &m);
	rc = stamp_write(ns, m.stamp);
	if (rc == 0)
		rc = mark_write(ns->index_dir, &m);
	if (rc != 0)
		return rc;
	ns->mark = m;
	ns->marked_ms = ns->eng->now_ms;
	ns->stamp = m.stamp;
	ns->opened = true;
	return 0;
}

int mark_open(struct zdb_ns *ns)
{
	return ns->opened ? 0 : mark_open_now(ns);
}

int mark_clean(struct zdb_ns *ns)
{
	struct mark m = {.state = MARK_CLEAN,
			 .file = ns->data.number,
			 .offset = ns->data.size,
			 .index_size = ns->index.size};
	struct stat st;
	int rc = stamp_write(ns, 0);

	if (rc != 0)
		return rc;
	/* Files keep no preallocated space behind a clean stop; this must come before the time is read. */
	if (ns->index.reserved > ns->index.written)
		(void)sys->ftruncate(ns->index.f->fd, (off_t)ns->index.written);
	if (ns->data.reserved > ns->data.written)
		(void)sys->ftruncate(ns->data.f->fd, (off_t)ns->data.written);
	ns->index.reserved = ns->index.written;
	ns->data.reserved = ns->data.written;
	if (sys->fsync(ns->index.f->fd) != 0 || sys->fstat(ns->index.f->fd, &st) != 0)
		return -EIO;
	m.index_mtime_ns = (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec;
	sums_for(ns, &m);
	rc = mark_write(ns->index_dir, &m);
	if (rc != 0)
		return rc;
	ns->mark = m;
	ns->opened = false;
	ns->stale_mark = false;
	return 0;
}
