/*
 * clear.c - removing all records of a namespace: FLUSH, and the first half of NSDEL.
 *
 * What a kill or a power cut leaves in the middle is neither the old namespace nor an empty one: index files that name data that are gone,
 * a marker that names a pair that is gone.  So the marker says first that all files go (MARK_CLEARING), and a load that finds it so
 * ends the work.  The active data file goes last: while it is there and bears the marker's stamp, nobody else has
 * written since, and everything here is to go; once it is gone, nothing else of before is left, and what is there belongs to
 * whoever made it.  The marker stays until the first pair is there again, as it alone knows the mode.
 */
#include <stdio.h>

#include "core/base/file.h"
#include "core/zdb/zdb_int.h"

struct clear_dir {
	const char *dir;
	char letter;
	char spared[16]; /* the active data file */
};

/* The files that hold records, and what belongs to them; the descriptor and the marker stay. */
static bool goes(const struct clear_dir *d, const char *name)
{
	static const char *const ours[] = {"sums", "synced", "compact", "reindex"};

	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		if (strcmp(name, ours[i]) == 0)
			return true;
	if (replaced_is_note(name))
		return true;
	return name[0] == d->letter && name[1] >= '0' && name[1] <= '9' && strcmp(name, d->spared) != 0;
}

static int remove_file(const char *dir, const char *name)
{
	char path[ZDB_PATH_MAX];
	int rc = file_join(path, sizeof(path), dir, name);

	if (rc == 0 && sys->unlink(path) != 0 && errno != ENOENT)
		rc = -errno;
	return rc;
}

static int clear_each(void *ctx, const char *name, unsigned char type)
{
	const struct clear_dir *d = ctx;

	(void)type;
	return goes(d, name) ? remove_file(d->dir, name) : 0;
}

int clear_begin(struct zdb_ns *ns)
{
	struct mark m = {.state = MARK_CLEARING, .offset = DAT_HEADER, .index_size = ns->mode};
	int rc = mark_open(ns);

	if (rc == 0 && ns->ahead != NULL)
		rc = ahead_finish(ns); /* the active data file is known by its own name */
	if (rc != 0)
		return rc;
	m.file = ns->data.number;
	m.stamp = ns->stamp;
	rc = mark_write(ns->index_dir, &m);
	/* It may be on the disk all the same: no record must be taken that the next load would remove. */
	if (rc != 0 && mark_write(ns->index_dir, &ns->mark) != 0)
		ns->write_error = -EIO;
	return rc;
}

int clear_files(const struct zdb_ns *ns, uint32_t last)
{
	struct clear_dir index = {.dir = ns->index_dir, .letter = 'i'};
	struct clear_dir data = {.dir = ns->data_dir, .letter = 'd'};
	int rc;

	(void)snprintf(data.spared, sizeof(data.spared), "d%u", last);
	rc = file_list(index.dir, clear_each, &index);
	if (rc == 0)
		rc = file_list(data.dir, clear_each, &data);
	if (rc == 0)
		rc = file_sync_dir(index.dir);
	if (rc == 0)
		rc = file_sync_dir(data.dir);
	if (rc == 0)
		rc = remove_file(data.dir, data.spared);
	return rc == 0 ? file_sync_dir(data.dir) : rc;
}

/* 1: the active data file is still there as it was when the clearing began; 0: it is gone, or another one; negative code. */
static int is_begun(struct zdb_ns *ns, const struct mark *m)
{
	uint8_t b[8];
	ssize_t n = any_read(ns, DATA_FILE, m->file, b, sizeof(b), DAT_STAMP_AT);

	if (n < 0)
		return n == -ENOENT ? 0 : (int)n;
	return n == (ssize_t)sizeof(b) && get_u64le(b) == m->stamp;
}

int clear_end(struct zdb_ns *ns, struct mark *m, char *why, size_t why_size)
{
	struct mark found = *m;
	int rc;

	if (m->state != MARK_CLEARING)
		return 0;
	memset(m, 0, sizeof(*m)); /* it says nothing of the index */
	rc = is_begun(ns, &found);
	if (rc > 0 && ns->eng->read_only)
		return say(why, why_size, -EROFS,
			   "its emptying was interrupted: it must be opened for writing");
	if (rc > 0)
		rc = clear_files(ns, found.file);
	fd_forget_all(ns);
	if (ns->eng->opt.mode == ZDB_MIXED)
		ns->mode = found.index_size == ZDB_SEQ ? ZDB_SEQ : ZDB_USER;
	return rc != 0 ? say(why, why_size, rc, "cannot end its emptying, which was interrupted") : 0;
}
