/*
 * file.c - descriptors, and reading and writing at a place.
 *
 * Descriptors for reading are kept in a bounded cache (hash + LRU) per engine; the active pair of each namespace keeps
 * its own.  A descriptor whose file is evicted or deleted leaves the cache at once and is closed when the last
 * read in flight ends.  Appends to the active pair: tail.c.
 */
#include <stdio.h>
#include <unistd.h>

#include "core/zdb/zdb_int.h"

/* ------------------------------------------------------------------------------------------- descriptor cache --- */

static unsigned fd_bucket(uint64_t ns_id, enum which which, uint32_t number)
{
	uint64_t h = (ns_id * 2 + which) * 0x9E3779B97F4A7C15u + number * 0xD1B54A32D192ED03u;

	return (unsigned)(h >> 40) % FD_BUCKETS;
}

static void lru_unlink(struct fd_cache *c, struct zdb_fd *f)
{
	if (f->lru_prev != NULL)
		f->lru_prev->lru_next = f->lru_next;
	else
		c->newest = f->lru_next;
	if (f->lru_next != NULL)
		f->lru_next->lru_prev = f->lru_prev;
	else
		c->oldest = f->lru_prev;
	f->lru_prev = f->lru_next = NULL;
}

static void lru_push(struct fd_cache *c, struct zdb_fd *f)
{
	f->lru_next = c->newest;
	f->lru_prev = NULL;
	if (c->newest != NULL)
		c->newest->lru_prev = f;
	else
		c->oldest = f;
	c->newest = f;
}

static void fd_uncache(struct zdb *eng, struct zdb_fd *f)
{
	struct zdb_fd **p = &eng->fds.buckets[fd_bucket(f->ns_id, f->which, f->number)];

	while (*p != f)
		p = &(*p)->hash_next;
	*p = f->hash_next;
	f->hash_next = NULL;
	lru_unlink(&eng->fds, f);
	eng->fds.count--;
	fd_put(eng, f);
}

static void fd_cache_add(struct zdb *eng, struct zdb_fd *f)
{
	struct fd_cache *c = &eng->fds;
	unsigned b = fd_bucket(f->ns_id, f->which, f->number);

	while (c->count >= c->max && c->oldest != NULL)
		fd_uncache(eng, c->oldest);
	f->hash_next = c->buckets[b];
	c->buckets[b] = f;
	lru_push(c, f);
	c->count++;
	f->refs++;
}

static struct zdb_fd *fd_lookup(struct zdb_ns *ns, enum which which, uint32_t number)
{
	struct zdb_fd *f = ns->eng->fds.buckets[fd_bucket(ns->id, which, number)];

	while (f != NULL && (f->ns_id != ns->id || f->which != which || f->number != number))
		f = f->hash_next;
	return f;
}

int fd_new_at(struct zdb_ns *ns, enum which which, uint32_t number, const char *suffix, int flags,
	      struct zdb_fd **out)
{
	char path[ZDB_PATH_MAX];
	struct zdb_fd *f;
	int rc = file_path(ns, which, number, suffix, path);

	if (rc != 0)
		return rc;
	f = mem_calloc(1, sizeof(*f));
	if (f == NULL)
		return -ENOMEM;
	f->fd = sys->open(path, flags, 0);
	if (f->fd < 0) {
		rc = -errno;
		mem_free(f);
		return rc;
	}
	f->refs = 1;
	f->which = which;
	f->number = number;
	f->ns_id = ns->id;
	*out = f;
	return 0;
}

int fd_new(struct zdb_ns *ns, enum which which, uint32_t number, int flags, struct zdb_fd **out)
{
	return fd_new_at(ns, which, number, "", flags, out);
}

int fd_get(struct zdb_ns *ns, enum which which, uint32_t number, struct zdb_fd **out)
{
	const struct tail *t = which == INDEX_FILE ? &ns->index : &ns->data;
	struct zdb *eng = ns->eng;
	struct zdb_fd *f;
	int rc;

	if (t->f != NULL && t->number == number) {
		t->f->refs++;
		*out = t->f;
		return 0;
	}
	f = fd_lookup(ns, which, number);
	if (f != NULL) {
		if (eng->fds.newest != f) {
			lru_unlink(&eng->fds, f);
			lru_push(&eng->fds, f);
		}
		f->refs++;
		*out = f;
		return 0;
	}
	rc = fd_new(ns, which, number, which == INDEX_FILE && !eng->read_only ? O_RDWR : O_RDONLY, &f);
	if (rc != 0)
		return rc;
	fd_cache_add(eng, f);
	*out = f;
	return 0;
}

int fd_get_sized(struct zdb_ns *ns, enum which which, uint32_t number, struct zdb_fd **out, uint32_t *size)
{
	struct stat st;
	int rc = fd_get(ns, which, number, out);

	if (rc != 0)
		return rc;
	if (sys->fstat((*out)->fd, &st) != 0) {
		fd_put(ns->eng, *out);
		*out = NULL;
		return -EIO;
	}
	*size = st.st_size > UINT32_MAX ? UINT32_MAX : (uint32_t)st.st_size;
	return 0;
}

void fd_put(struct zdb *eng, struct zdb_fd *f)
{
	assert(f->refs > 0);
	if (--f->refs > 0)
		return;
	map_drop(eng, f);
	sys->close(f->fd);
	mem_free(f);
}

void fd_forget(struct zdb_ns *ns, enum which which, uint32_t number)
{
	struct zdb_fd *f = fd_lookup(ns, which, number);

	if (f != NULL)
		fd_uncache(ns->eng, f);
}

void fd_forget_all(struct zdb_ns *ns)
{
	struct zdb_fd *f = ns->eng->fds.newest;

	while (f != NULL) {
		struct zdb_fd *next = f->lru_next;

		if (f->ns_id == ns->id)
			fd_uncache(ns->eng, f);
		f = next;
	}
}

int file_path(const struct zdb_ns *ns, enum which which, uint32_t number, const char *suffix, char *buf)
{
	int n = snprintf(buf, ZDB_PATH_MAX, "%s/%c%u%s", which == INDEX_FILE ? ns->index_dir : ns->data_dir,
			 which == INDEX_FILE ? 'i' : 'd', number, suffix);

	return n > 0 && n < (int)ZDB_PATH_MAX ? 0 : -ENAMETOOLONG;
}

int64_t file_length(const struct zdb_ns *ns, enum which which, uint32_t number)
{
	char path[ZDB_PATH_MAX];
	struct stat st;
	int rc = file_path(ns, which, number, "", path);

	if (rc != 0)
		return rc;
	return sys->stat(path, &st) == 0 ? (int64_t)st.st_size : -errno;
}

/* -------------------------------------------------------------------------------------------- reads and writes --- */

void ns_io_error(struct zdb_ns *ns, enum which which, bool write)
{
	struct zdb_stats *s = &ns->eng->stats;
	struct timespec now = {0};

	(void)sys->clock_gettime(CLOCK_REALTIME, &now); /* a figure for people: 0 when there is no clock */
	if (which == INDEX_FILE) {
		ns->index_errors++;
		ns->index_error_last = now.tv_sec;
		if (write)
			s->index_write_failed++;
		else
			s->index_read_failed++;
	} else {
		ns->data_errors++;
		ns->data_error_last = now.tv_sec;
		if (write)
			s->data_write_failed++;
		else
			s->data_read_failed++;
	}
}

ssize_t ns_pread(struct zdb_ns *ns, const struct zdb_fd *f, void *buf, size_t size, uint64_t off)
{
	struct zdb_stats *s = &ns->eng->stats;
	size_t done = 0;

	while (done < size) {
		ssize_t n = sys->pread(f->fd, (uint8_t *)buf + done, size - done, (off_t)(off + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			ns_io_error(ns, f->which, false);
			return -EIO;
		}
		if (n == 0)
			break;
		done += (size_t)n;
	}
	if (f->which == INDEX_FILE)
		s->index_read_bytes += done;
	else
		s->data_read_bytes += done;
	return (ssize_t)done;
}

int ns_pwrite(struct zdb_ns *ns, const struct zdb_fd *f, const void *buf, size_t size, uint64_t off)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = sys->pwrite(f->fd, (const uint8_t *)buf + done, size - done, (off_t)(off + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			int rc = n < 0 ? -errno : -EIO;

			ns_io_error(ns, f->which, true);
			return rc;
		}
		done += (size_t)n;
	}
	if (f->which == INDEX_FILE)
		ns->eng->stats.index_write_bytes += done;
	else
		ns->eng->stats.data_write_bytes += done;
	return 0;
}

int ns_fdatasync(struct zdb_ns *ns, const struct zdb_fd *f)
{
	if (sys->fdatasync(f->fd) != 0)
		atomic_store(&ns->sync_lost, true);
	return atomic_load(&ns->sync_lost) ? -EIO : 0;
}

ssize_t any_read(struct zdb_ns *ns, enum which which, uint32_t number, void *buf, size_t size, uint32_t off)
{
	struct tail *t = which == INDEX_FILE ? &ns->index : &ns->data;
	struct zdb_fd *f;
	ssize_t n;
	int rc;

	if (t->f != NULL && t->number == number)
		return tail_read(ns, t, buf, size, off);
	rc = fd_get(ns, which, number, &f);
	if (rc != 0)
		return rc;
	n = ns_pread(ns, f, buf, size, off);
	fd_put(ns->eng, f);
	return n;
}
