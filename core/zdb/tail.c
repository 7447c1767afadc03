/*
 * tail.c - the append ends of the active files.
 *
 * Small records gather in a buffer until the owner flushes, one pwritev2 then takes them all; big ones are written at once, or
 * by flights (flight.c).  What was written stays in the buffer until its place is needed: it
 * is a window on the newest bytes of the file, and who reads those makes no system call.  A failed append is taken back to
 * the record's start.
 */
#include "core/base/mem_copy.h"
#include "core/zdb/zdb_int.h"

void tail_moved(struct tail *t, uint32_t end)
{
	assert(t->buf == NULL);
	t->size = t->written = t->from = t->kicked = end;
	t->reserved = end;
}

int tail_open(struct zdb_ns *ns, struct tail *t, enum which which, uint32_t number)
{
	return tail_open_at(ns, t, which, number, "");
}

int tail_open_at(struct zdb_ns *ns, struct tail *t, enum which which, uint32_t number, const char *suffix)
{
	struct stat st;
	int rc;

	memset(t, 0, sizeof(*t));
	t->which = which;
	fd_forget(ns, which, number); /* the cache may hold it open for reading only */
	rc = fd_new_at(ns, which, number, suffix, ns->eng->read_only ? O_RDONLY : O_RDWR, &t->f);
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
	tail_moved(t, (uint32_t)st.st_size);
	t->no_prealloc = ns->eng->opt.prealloc_max == 1;
	return 0;
}

void tail_close(struct zdb *eng, struct tail *t, bool drop_reserve)
{
	if (t->f == NULL)
		return;
	flight_drop(eng, t);
	/* Truncating to the same size frees what was preallocated behind the end; only space is lost if it fails. */
	if (drop_reserve && t->reserved > t->written)
		(void)sys->ftruncate(t->f->fd, (off_t)t->written);
	fd_put(eng, t->f);
	eng->window_bytes -= t->cap;
	mem_free(t->buf);
	memset(t, 0, sizeof(*t));
}

/* How much is reserved at a time: the more, the longer the file is. */
static uint32_t reserve_step(const struct zdb_ns *ns, const struct tail *t)
{
	uint32_t step = t->size < PREALLOC_MIN ? PREALLOC_MIN : t->size;

	return step < ns->eng->opt.prealloc_max ? step : ns->eng->opt.prealloc_max;
}

/* Makes sure that writing up to `end` cannot fail for space.  0, or -EOPNOTSUPP: not here, not now. */
static int tail_reserve(struct zdb_ns *ns, struct tail *t, uint64_t end)
{
	uint64_t step;

	if (ns->eng->opt.file_max != 0 && end > ns->eng->opt.file_max)
		return -EOPNOTSUPP;
	if (end <= t->reserved)
		return 0;
	if (t->no_prealloc)
		return -EOPNOTSUPP;
	step = reserve_step(ns, t) + end - t->reserved;
	if (sys->fallocate(t->f->fd, FALLOC_FL_KEEP_SIZE, (off_t)t->reserved, (off_t)step) != 0) {
		/* Nearly full: the record itself may still fit, and writing it through tells. */
		if (!err_no_room(errno))
			t->no_prealloc = true;
		return -EOPNOTSUPP;
	}
	t->reserved += step;
	return 0;
}

uint32_t tail_ahead(const struct zdb_ns *ns, const struct tail *t)
{
	uint32_t step = reserve_step(ns, t);

	return t->no_prealloc || t->reserved >= (uint64_t)t->size + step ? 0 : step;
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

/* A long dirty end would make the next fdatasync long: have its writeback begun early, by the next tick. */
static void tail_kick(struct zdb_ns *ns)
{
	const struct zdb_events *ev = &ns->eng->ev;

	if (ns->kick_wanted || ns->data.written - ns->data.kicked < WRITEBACK_STEP || ev->tick_wanted == NULL)
		return;
	ns->kick_wanted = true;
	ev->tick_wanted(ns->eng->opt.events_ctx, 0);
}

void tail_landed(struct zdb_ns *ns, struct tail *t, uint32_t end)
{
	uint32_t bytes = end - t->written;

	t->written = end;
	if (t->reserved < t->written)
		t->reserved = t->written;
	if (t->which == INDEX_FILE) {
		ns->eng->stats.index_write_bytes += bytes;
		return;
	}
	ns->eng->stats.data_write_bytes += bytes;
	tail_kick(ns);
}

void tail_failed(struct zdb_ns *ns, struct tail *t)
{
	ns_io_error(ns, t->which, true);
	(void)tail_take_back(ns, t);
	ns->write_error = -EIO;
}

/* Writes pieces at the end of the file; on failure nothing of them stays. */
static int tail_write(struct zdb_ns *ns, struct tail *t, struct iovec *iov, int count, uint32_t total)
{
	uint32_t done = 0;
	int rc;

	while (done < total) {
		ssize_t n = sys->pwritev2(t->f->fd, iov, count, (off_t)(t->written + done), 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			rc = n < 0 ? -errno : -EIO;
			ns_io_error(ns, t->which, true);
			(void)tail_take_back(ns, t); /* sets write_error when it fails */
			return err_no_room(rc) ? -ENOSPC : -EIO;
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
	tail_landed(ns, t, t->written + total);
	return 0;
}

/* Gives the window back; everything in it must have been written. */
static void window_drop(struct zdb *eng, struct tail *t)
{
	assert(t->written == t->size && t->flights == NULL && t->loading == NULL);
	eng->window_bytes -= t->cap;
	mem_free(t->buf);
	t->buf = NULL;
	t->cap = 0;
	t->from = t->size;
}

uint32_t tail_gathered(const struct tail *t)
{
	return t->size - flight_end(t);
}

int tail_flush_to(struct zdb_ns *ns, struct tail *t, uint32_t end)
{
	struct iovec iov;
	int rc = t->which == DATA_FILE ? flight_land(ns) : 0;

	if (rc != 0 || t->written >= end)
		return rc;
	iov = (struct iovec){t->buf + (t->written - t->from), end - t->written};
	rc = tail_write(ns, t, &iov, 1, end - t->written);
	if (rc != 0)
		ns->write_error =
			-EIO; /* answers were given for these bytes, or their log is already written */
	return rc;
}

int tail_flush(struct zdb_ns *ns, struct tail *t)
{
	bool any = t->size != t->written;
	int rc = tail_flush_to(ns, t, t->size);

	if (rc == 0 && any && ns->eng->window_bytes > WINDOW_ALL / 2)
		window_drop(ns->eng, t);
	return rc;
}

int ns_flush_tails(struct zdb_ns *ns)
{
	int rc = tail_flush(ns, &ns->data); /* the log first: the index never names what is not in it */

	return rc != 0 ? rc : tail_flush(ns, &ns->index);
}

/* A bigger window, as long as it may grow and all of them together stay within their bound.  0 or -EOPNOTSUPP. */
static int window_grow(struct zdb *eng, struct tail *t, uint32_t total)
{
	uint32_t cap = t->cap == 0 ? WINDOW_MIN : t->cap * 4,
		 max = t->which == DATA_FILE ? WINDOW_DATA : WINDOW_INDEX;
	uint8_t *b;

	while (cap < total)
		cap *= 2;
	if (cap > max || eng->window_bytes + cap - t->cap > WINDOW_ALL)
		return -EOPNOTSUPP;
	b = mem_realloc(t->buf, cap);
	if (b == NULL)
		return -EOPNOTSUPP;
	eng->window_bytes += cap - t->cap;
	t->buf = b;
	t->cap = cap;
	return 0;
}

/* Writes out what is gathered and keeps only the newest quarter in the window. */
static int window_slide(struct zdb_ns *ns, struct tail *t)
{
	uint32_t keep = t->size - t->from;
	int rc = ns_flush_tails(ns);

	if (rc != 0)
		return rc;
	if (t->buf == NULL)
		return -EOPNOTSUPP; /* given back, since all windows together are large */
	if (keep > t->cap / 4)
		keep = t->cap / 4;
	memmove(t->buf, t->buf + (t->size - t->from - keep), keep);
	t->from = t->size - keep;
	return 0;
}

/* Room for `total` bytes behind the end.  -EOPNOTSUPP: they have to be written at once. */
static int window_reserve(struct zdb_ns *ns, struct tail *t, uint32_t total)
{
	if (t->size - t->from + total <= t->cap || window_grow(ns->eng, t, t->size - t->from + total) == 0)
		return 0;
	return t->cap < total * 2 ? -EOPNOTSUPP : window_slide(ns, t);
}

static int window_append(struct zdb_ns *ns, struct tail *t, const struct iovec *iov, int count,
			 uint32_t total)
{
	int rc = window_reserve(ns, t, total);

	if (rc != 0)
		return rc;
	for (int i = 0; i < count; i++) {
		mem_copy(t->buf + (t->size - t->from), iov[i].iov_base, iov[i].iov_len);
		t->size += (uint32_t)iov[i].iov_len;
	}
	return 0;
}

/* Whether a record of this size waits in memory for the flush. */
static bool gathers(const struct zdb_ns *ns, const struct tail *t, uint32_t total,
		    const struct zdb_lent *lent)
{
	return ns->eng->opt.gather_writes &&
	       (total <= GATHER_RECORD || (lent != NULL && flight_wanted(ns, t)));
}

static int tail_gather(struct zdb_ns *ns, struct tail *t, const struct iovec *iov, int count, uint32_t total,
		       struct zdb_lent *lent)
{
	int rc = tail_reserve(ns, t, (uint64_t)t->size + total);

	if (rc != 0)
		return rc;
	if (total <= GATHER_RECORD)
		lent = NULL;
	if (lent != NULL || t->loading != NULL || t->flights != NULL)
		rc = flight_load(ns, iov, count, total, lent);
	else
		rc = window_append(ns, t, iov, count, total);
	if (rc == 0 && !list_is_linked(&ns->unflushed))
		list_add_tail(&ns->eng->unflushed, &ns->unflushed);
	return rc;
}

int tail_append(struct zdb_ns *ns, struct tail *t, const struct iovec *iov, int count, uint32_t total,
		struct zdb_lent *lent)
{
	struct iovec all[4];
	int rc;

	assert(count <= 3 && (uint64_t)t->size + total <= UINT32_MAX);
	if (gathers(ns, t, total, lent)) {
		rc = tail_gather(ns, t, iov, count, total, lent);
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
	memcpy(all, iov, (size_t)count * sizeof(*iov));
	rc = tail_write(ns, t, all, count, total);
	if (rc != 0)
		return rc;
	t->size += total;
	t->from = t->size; /* what was in the window is not the newest any more */
	return 0;
}

int tail_cut(struct zdb_ns *ns, struct tail *t, uint32_t size)
{
	assert(size <= t->size && (t->flights == NULL || size >= flight_end(t)));
	flight_cut(t, size);
	if (t->from > size)
		t->from = size;
	if (size >= t->written) {
		t->size = size;
		return 0;
	}
	t->written = t->size = size;
	return tail_take_back(ns, t);
}

const uint8_t *tail_peek(const struct tail *t, uint32_t off, size_t *have)
{
	if (off < t->from)
		return flight_peek(t, off, have);
	if (off >= t->size)
		return NULL;
	*have = t->size - off;
	return t->buf + (off - t->from);
}

void tail_patch(struct tail *t, uint32_t off, const void *bytes, uint32_t size)
{
	const uint8_t *b = bytes;
	uint32_t skip = off < t->from ? t->from - off : 0;

	if (skip < size && off + skip < t->size)
		memcpy(t->buf + (off + skip - t->from), b + skip, size - skip);
}

ssize_t tail_read(struct zdb_ns *ns, struct tail *t, void *buf, size_t size, uint32_t off)
{
	uint32_t memory = flight_from(t);
	size_t done = 0;

	if (off >= t->size)
		return 0;
	if (size > t->size - off)
		size = t->size - off;
	if (off < memory) {
		size_t from_file = memory - off < size ? memory - off : size;
		ssize_t n = ns_pread(ns, t->f, buf, from_file, off);

		if (n < 0 || (size_t)n < from_file)
			return n;
		done = from_file;
	}
	while (done < size) {
		size_t have;
		const uint8_t *b = tail_peek(t, off + (uint32_t)done, &have);

		if (have > size - done)
			have = size - done;
		mem_copy((uint8_t *)buf + done, b, have);
		done += have;
	}
	return (ssize_t)size;
}
