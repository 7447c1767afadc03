/*
 * cold.c - what of a big payload lies in the page cache, so that the owner of the engine never waits for the disk.
 *
 * Where a segment is mapped, mincore(2) tells of every page; the head of the record is then read from there. Else a read that must not
 * wait (RWF_NOWAIT) tells of the head alone.
 */
#include "core/zdb/zdb_int.h"

#define BIG_MEMORY 16u /* reads in which a big one is remembered */

void big_note(struct zdb_ns *ns, uint32_t len)
{
	if (len > SCRATCH_SIZE) {
		ns->big_guess = len;
		ns->read_big = BIG_MEMORY;
	} else if (ns->read_big > 0) {
		ns->read_big--;
	}
}

/* From the map, when all of what the record will probably be is there: `whole` bytes. */
static ssize_t mapped_head(const uint8_t *at, void *buf, size_t size, size_t whole, size_t *seen)
{
	if (map_where(at, whole) != ZDB_CACHED || !map_copy(buf, at, size))
		return -EAGAIN;
	*seen = whole;
	return (ssize_t)size;
}

/* Of what the page cache has: -EAGAIN: not all of it. */
static ssize_t cached_head(struct zdb_ns *ns, const struct zdb_fd *f, void *buf, size_t size, uint32_t off)
{
	struct iovec iov = {buf, size};
	ssize_t n;

	if (ns->eng->no_nowait)
		return -EOPNOTSUPP;
	do
		n = sys->preadv2(f->fd, &iov, 1, (off_t)off, RWF_NOWAIT);
	while (n < 0 && errno == EINTR);
	if (n == (ssize_t)size)
		return n;
	if (n >= 0 || errno == EAGAIN)
		return -EAGAIN;
	ns->eng->no_nowait = err_unsupported(errno);
	return -EOPNOTSUPP;
}

ssize_t cold_head(struct zdb_ns *ns, const struct zdb_fd *f, uint32_t off, size_t head, void *buf,
		  size_t size, size_t *seen)
{
	size_t whole = head + ns->big_guess > size ? head + ns->big_guess : size;
	uint64_t end = f->map_size;
	ssize_t n;

	if (f == ns->data.f && end > ns->data.written)
		end = ns->data.written;
	if (f->map != NULL && off + (uint64_t)whole <= end)
		n = mapped_head(f->map + off, buf, size, whole, seen);
	else
		n = cached_head(ns, f, buf, size, off);
	if (n > 0)
		ns->eng->stats.data_read_bytes += size;
	return n;
}
