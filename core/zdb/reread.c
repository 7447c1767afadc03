/*
 * reread.c - what a load believes of a log that was not closed cleanly, it reads from the disk.
 *
 * The page cache is ahead of the disk then, and may stay so for good: the kernel tells of a page that it could not write once, marks it
 * clean and keeps it.  Read from there it looks whole, the next sync of its file succeeds, and the marker would move behind bytes that
 * are nowhere.  So before anything is read the files are synced, which keeps what only a kill has left in memory, and tells of an
 * error that nobody was told of; then the cache of them is dropped, and with it what an earlier sync had failed for.  What is missing
 * now looks as after a power cut, and is recovered like that: no sync was answered with success for it.
 *
 * The index files may all have been rewritten behind the marker; a data file with two successors was durable before the second
 * was begun.  The names are synced as well, as the kill may have come before that.  A page that somebody has mapped stays.
 */
#include "core/base/file.h"
#include "core/base/str.h"
#include "core/zdb/load_int.h"

#define SYNC_EACH                                                                                            \
	64u /* more index files than these are synced by one call, with all else on their file system */

struct reread {
	struct zdb_ns *ns;
	const char *dir;
	char letter;
	bool counts; /* the first walk */
	bool synced; /* each file has been */
	uint32_t count;
	uint64_t least, last; /* numbers */
};

/* "d18", and "d18.next-0001f000" -> 18. */
static bool parse_number(const char *name, char letter, uint64_t *number)
{
	size_t digits = name[0] == letter ? strspn(name + 1, "0123456789") : 0;
	const char *rest = name + 1 + digits;

	return digits > 0 && (*rest == '\0' || str_starts(rest, NEXT)) &&
	       str_parse_u64_n(name + 1, digits, number) == 0;
}

static int file_reread(const struct reread *r, const char *name)
{
	char path[ZDB_PATH_MAX];
	int fd, rc = file_join(path, sizeof(path), r->dir, name);

	if (rc != 0)
		return rc;
	fd = sys->open(path, O_RDONLY, 0);
	if (fd < 0)
		return -errno;
	if (!r->synced && sys->fdatasync(fd) != 0)
		rc = -EIO;
	if (rc == 0 && sys->posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) != 0)
		rc = -EIO;
	sys->close(fd);
	return rc;
}

static int reread_each(void *ctx, const char *name, unsigned char type)
{
	struct reread *r = ctx;
	uint64_t number;

	(void)type;
	if (!parse_number(name, r->letter, &number))
		return 0;
	if (!r->counts)
		return number >= r->least ? file_reread(r, name) : 0;
	r->count++;
	if (number > r->last)
		r->last = number;
	return 0;
}

static int sync_all(const char *dir)
{
	int rc, fd = sys->open(dir, O_RDONLY | O_DIRECTORY, 0);

	if (fd < 0)
		return -errno;
	rc = sys->syncfs(fd) == 0 ? 0 : -EIO;
	sys->close(fd);
	return rc;
}

static int dir_reread(struct zdb_ns *ns, enum which which)
{
	struct reread r = {.ns = ns, .counts = true};
	int rc;

	r.dir = which == INDEX_FILE ? ns->index_dir : ns->data_dir;
	r.letter = which == INDEX_FILE ? 'i' : 'd';
	rc = file_list(r.dir, reread_each, &r);
	if (rc != 0 || r.count == 0)
		return rc == -ENOENT ? 0 : rc; /* that it is not there is for others to tell */
	if (which == DATA_FILE && r.last > 0)
		r.least = r.last - 1;
	r.counts = false;
	r.synced = which == INDEX_FILE && r.count > SYNC_EACH;
	if (r.synced)
		rc = sync_all(r.dir);
	if (rc == 0)
		rc = file_list(r.dir, reread_each, &r);
	return rc == 0 ? file_sync_dir(r.dir) : rc;
}

int reread(struct zdb_ns *ns, const struct mark *m, char *why, size_t why_size)
{
	int rc;

	if (m->state == MARK_CLEAN || ns->eng->read_only)
		return 0;
	rc = dir_reread(ns, DATA_FILE);
	if (rc == 0)
		rc = dir_reread(ns, INDEX_FILE);
	return rc == 0 ? 0 : say(why, why_size, rc, "cannot make durable what was written before");
}
