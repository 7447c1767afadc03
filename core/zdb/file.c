/*
 * file.c - descriptors and the append ends of the active files.
 *
 * Descriptors for reading are kept in a bounded cache (hash + LRU) per engine; the active pair of each namespace keeps
 * its own.  A descriptor whose file is evicted or deleted leaves the cache at once and is closed when the last
 * read in flight ends.  Reads are pread, appends one pwritev; a failed append is taken back to the record's start.
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

static int fd_new(struct zdb_ns *ns, enum which which, uint32_t number, int flags, struct zdb_fd **out)
{
	char path[ZDB_PATH_MAX];
	struct zdb_fd *f;
	int rc = file_path(ns, which, number, "", path);

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

void fd_put(struct zdb *eng, struct zdb_fd *f)
{
	(void)eng;
	assert(f->refs > 0);
	if (--f->refs > 0)
		return;
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

/* ------------------------------------------------------------------------------------------------ active ends --- */

int tail_open(struct zdb_ns *ns, struct tail *t, enum which which, uint32_t number)
{
	struct stat st;
	int rc;

	memset(t, 0, sizeof(*t));
	t->which = which;
	fd_forget(ns, which, number); /* the cache may hold it open for reading only */
	rc = fd_new(ns, which, number, ns->eng->read_only ? O_RDONLY : O_RDWR, &t->f);
	if (rc != 0)
		return rc;
	if (sys->fstat(t->f->fd, &st) != 0)
		rc = -errno;
	else if (st.st_size < 0 || (uint64_t)st.st_size > UINT32_MAX)
		rc = -EFBIG;
	if (rc != 0) {
		fd_put(ns->eng, t->f);
		t->f = NULL;
		return rc;
	}
	t->number = number;
	t->size = t->written = (uint32_t)st.st_size;
	t->reserved = t->size;
	t->kicked = t->size;
	t->no_prealloc = ns->eng->opt.prealloc_max == 1;
	return 0;
}

void tail_close(struct zdb *eng, struct tail *t, bool drop_reserve)
{
	if (t->f == NULL)
		return;
	/* Truncating to the same size frees what was preallocated behind the end; only space is lost if it fails. */
	if (drop_reserve && t->reserved > t->written)
		(void)sys->ftruncate(t->f->fd, (off_t)t->written);
	fd_put(eng, t->f);
	mem_free(t->buf);
	memset(t, 0, sizeof(*t));
}

/* Makes sure that writing up to `end` cannot fail for space.  0, or -EOPNOTSUPP: not here, not now. */
static int tail_reserve(struct zdb_ns *ns, struct tail *t, uint64_t end)
{
	uint64_t step = t->size, max = ns->eng->opt.prealloc_max;

	if (end <= t->reserved)
		return 0;
	if (t->no_prealloc)
		return -EOPNOTSUPP;
	if (step < PREALLOC_MIN)
		step = PREALLOC_MIN;
	if (step > max)
		step = max;
	step += end - t->reserved;
	if (sys->fallocate(t->f->fd, FALLOC_FL_KEEP_SIZE, (off_t)t->reserved, (off_t)step) != 0) {
		/* Nearly full: the record itself may still fit, and writing it through tells. */
		if (errno != ENOSPC && errno != EDQUOT)
			t->no_prealloc = true;
		return -EOPNOTSUPP;
	}
	t->reserved += step;
	return 0;
}

/* Long dirty tails would make the next fdatasync long: start writing out early. */
static void tail_kick(struct tail *t)
{
	if (t->which != DATA_FILE || t->written - t->kicked < WRITEBACK_STEP)
		return;
	(void)sys->sync_file_range(t->f->fd, (off_t)t->kicked, (off_t)(t->written - t->kicked),
				   SYNC_FILE_RANGE_WRITE);
	t->kicked = t->written;
}

static int tail_take_back(struct zdb_ns *ns, struct tail *t)
{
	if (sys->ftruncate(t->f->fd, (off_t)t->written) == 0) {
		t->reserved = t->written;
		return 0;
	}
	/* A fragment stays behind the end: nothing may be appended to it. */
	ns_io_error(ns, t->which, true);
	ns->write_error = -EIO;
	return -EIO;
}

/* Writes pieces at the end of the file; on failure nothing of them stays. */
static int tail_write(struct zdb_ns *ns, struct tail *t, struct iovec *iov, int count, uint32_t total)
{
	uint32_t done = 0;
	int rc;

	while (done < total) {
		ssize_t n = sys->pwritev(t->f->fd, iov, count, (off_t)(t->written + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			rc = n < 0 ? -errno : -EIO;
			ns_io_error(ns, t->which, true);
			(void)tail_take_back(ns, t); /* sets write_error when it fails */
			return rc == -ENOSPC || rc == -EDQUOT ? -ENOSPC : -EIO;
		}
		done += (uint32_t)n;
		while (count > 0 && (size_t)n >= iov->iov_len) {
			n -= (ssize_t)iov->iov_len;
			iov++;
			count--;
		}
		if (count > 0) {
			iov->iov_base = (uint8_t *)iov->iov_base + n;
			iov->iov_len -= (size_t)n;
		}
	}
	t->written += total;
	if (t->reserved < t->written)
		t->reserved = t->written;
	if (t->which == INDEX_FILE)
		ns->eng->stats.index_write_bytes += total;
	else
		ns->eng->stats.data_write_bytes += total;
	tail_kick(t);
	return 0;
}

int tail_flush(struct zdb_ns *ns, struct tail *t)
{
	uint32_t n = t->size - t->written;
	struct iovec iov = {t->buf, n};
	int rc;

	if (n == 0)
		return 0;
	rc = tail_write(ns, t, &iov, 1, n);
	if (rc != 0)
		ns->write_error =
			-EIO; /* answers were given for these bytes, or their log is already written */
	return rc;
}

int ns_flush_tails(struct zdb_ns *ns)
{
	int rc = tail_flush(ns, &ns->data); /* the log first: the index never names what is not in it */

	return rc != 0 ? rc : tail_flush(ns, &ns->index);
}

static int tail_gather(struct zdb_ns *ns, struct tail *t, const struct iovec *iov, int count, uint32_t total)
{
	uint32_t cap = t->which == DATA_FILE ? GATHER_DATA : GATHER_INDEX;
	int rc = tail_reserve(ns, t, (uint64_t)t->size + total);

	if (rc != 0)
		return rc;
	if (t->buf == NULL) {
		t->buf = mem_alloc(cap);
		if (t->buf == NULL)
			return -EOPNOTSUPP;
	}
	if (t->size - t->written + total > cap) {
		rc = ns_flush_tails(ns);
		if (rc != 0)
			return rc;
	}
	for (int i = 0; i < count; i++) {
		memcpy(t->buf + (t->size - t->written), iov[i].iov_base, iov[i].iov_len);
		t->size += (uint32_t)iov[i].iov_len;
	}
	return 0;
}

int tail_append(struct zdb_ns *ns, struct tail *t, const struct iovec *iov, int count, uint32_t total)
{
	struct iovec all[4];
	uint32_t gathered;
	int rc;

	assert(count <= 3 && (uint64_t)t->size + total <= UINT32_MAX);
	if (ns->eng->opt.gather_writes && total <= GATHER_RECORD) {
		rc = tail_gather(ns, t, iov, count, total);
		if (rc != -EOPNOTSUPP)
			return rc;
	}
	if (t->which == INDEX_FILE) {
		rc = tail_flush(ns, &ns->data);
		if (rc != 0)
			return rc;
	}
	rc = tail_flush(ns, t);
	if (rc != 0)
		return rc;
	gathered = t->size;
	memcpy(all, iov, (size_t)count * sizeof(*iov));
	rc = tail_write(ns, t, all, count, total);
	if (rc == 0)
		t->size = gathered + total;
	return rc;
}

int tail_cut(struct zdb_ns *ns, struct tail *t, uint32_t size)
{
	assert(size <= t->size);
	if (size >= t->written) {
		t->size = size;
		return 0;
	}
	t->written = t->size = size;
	return tail_take_back(ns, t);
}

ssize_t tail_read(struct zdb_ns *ns, struct tail *t, void *buf, size_t size, uint32_t off)
{
	size_t from_file, from_buf;
	ssize_t n = 0;

	if (off >= t->size)
		return 0;
	if (size > t->size - off)
		size = t->size - off;
	from_file = off >= t->written ? 0 : t->written - off;
	if (from_file > size)
		from_file = size;
	from_buf = size - from_file;
	if (from_file > 0) {
		n = ns_pread(ns, t->f, buf, from_file, off);
		if (n < 0 || (size_t)n < from_file)
			return n;
	}
	if (from_buf > 0)
		memcpy((uint8_t *)buf + from_file, t->buf + (off + from_file - t->written), from_buf);
	return (ssize_t)size;
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
