/*
 * read_run.c - the slow part of a big read, in any thread: it touches the read, its file and nothing of the engine.
 */
#include "core/base/mem_copy.h"
#include "core/base/mem_guard.h"
#include "core/zdb/zdb_int.h"

#define VERIFY_PIECE (32u << 10) /* stays in the processor's first caches */

int head_check(const struct dat_rec *r, const uint8_t *key, const struct want *w)
{
	if (r->klen != w->klen || memcmp(key, w->key, w->klen) != 0 || r->flags != 0 ||
	    r->len > ZDB_PAYLOAD_MAX)
		return -EBADMSG;
	if (w->exact && (r->len != w->len || r->crc != w->crc))
		return -EBADMSG;
	return 0;
}

static int pread_all(int fd, void *buf, size_t size, uint64_t off)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = sys->pread(fd, (uint8_t *)buf + done, size - done, (off_t)(off + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -EIO; /* also the end of the file: the record is not whole */
		done += (size_t)n;
	}
	return 0;
}

/* Header, key and payload in one call where the kernel gives all of it. */
static int pread_record(const struct zdb_read *rd, uint8_t *head, void *payload)
{
	size_t hs = DAT_RECORD + rd->klen;
	struct iovec iov[2] = {{head, hs}, {payload, rd->length}};
	ssize_t n;

	do
		n = sys->preadv2(rd->file->fd, iov, 2, (off_t)rd->offset, 0);
	while (n < 0 && errno == EINTR);
	if (n < (ssize_t)hs)
		return -EIO;
	if ((size_t)n == hs + rd->length)
		return 0;
	return pread_all(rd->file->fd, (uint8_t *)payload + ((size_t)n - hs), hs + rd->length - (size_t)n,
			 (uint64_t)rd->offset + (size_t)n);
}

static int head_same(const struct zdb_read *rd, const uint8_t *head)
{
	struct want w = {rd->key, rd->klen, true, true, rd->length, rd->crc};
	struct dat_rec r;

	dat_decode(&r, head);
	return head_check(&r, head + DAT_RECORD, &w) == 0 ? 0 : -EIO;
}

static int run_whole(const struct zdb_read *rd, void *dst)
{
	uint8_t head[DAT_RECORD + ZDB_KEY_MAX];
	int rc = pread_record(rd, head, dst);

	if (rc == 0)
		rc = head_same(rd, head);
	if (rc == 0 && zdb_crc(0, dst, rd->length) != rd->crc)
		rc = -EIO;
	return rc;
}

static int verify_head(const struct zdb_read *rd)
{
	uint8_t head[DAT_RECORD + ZDB_KEY_MAX];
	int rc = pread_all(rd->file->fd, head, DAT_RECORD + rd->klen, rd->offset);

	return rc != 0 ? rc : head_same(rd, head);
}

static int run_part(const struct zdb_read *rd, uint32_t from, uint32_t count, void *dst)
{
	int rc = verify_head(rd);

	if (rc == 0)
		rc = pread_all(rd->file->fd, dst, count, (uint64_t)rd->offset + DAT_RECORD + rd->klen + from);
	return rc;
}

int zdb_read_verify(const struct zdb_read *rd, uint32_t from, uint32_t count)
{
	HOT_BUFFER uint8_t piece[VERIFY_PIECE];
	uint64_t at = (uint64_t)rd->offset + DAT_RECORD + rd->klen;
	uint32_t crc = 0, left = rd->length;
	int rc;

	if (rd->data != NULL || from > rd->length || count > rd->length - from)
		return -EINVAL;
	rc = verify_head(rd);
	if (rc != 0 || count < rd->length - count)
		return rc;
	while (left > 0 && rc == 0) { /* pieces stay in the processor's first caches */
		uint32_t n = left < VERIFY_PIECE ? left : VERIFY_PIECE;

		rc = pread_all(rd->file->fd, piece, n, at);
		crc = zdb_crc(crc, piece, n);
		at += n;
		left -= n;
	}
	return rc != 0 ? rc : crc == rd->crc ? 0 : -EIO;
}

void zdb_read_ahead(const struct zdb_read *rd, uint32_t from, uint32_t count)
{
	if (rd->data == NULL && from <= rd->length && count <= rd->length - from)
		(void)sys->posix_fadvise(rd->file->fd, (off_t)rd->offset,
					 (off_t)(DAT_RECORD + rd->klen + (uint64_t)from + count),
					 POSIX_FADV_WILLNEED); /* else it comes in pieces */
}

struct mapped_check {
	const struct zdb_read *rd;
	bool whole;
	int rc;
};

static void check_mapped(void *ctx)
{
	struct mapped_check *c = ctx;
	const uint8_t *record = c->rd->mapped;

	c->rc = head_same(c->rd, record);
	if (c->rc == 0 && c->whole &&
	    zdb_crc(0, record + DAT_RECORD + c->rd->klen, c->rd->length) != c->rd->crc)
		c->rc = -EIO;
}

int zdb_read_mapped(const struct zdb_read *rd, uint32_t from, uint32_t count, const uint8_t **payload)
{
	struct mapped_check check = {.rd = rd, .whole = count >= rd->length - count};

	if (rd->data != NULL || from > rd->length || count > rd->length - from)
		return -EINVAL;
	if (rd->mapped == NULL)
		return -EOPNOTSUPP;
	*payload = rd->mapped + DAT_RECORD + rd->klen + from;
	return mem_guard_run(check_mapped, &check) ? check.rc : -EIO;
}

void zdb_read_place(const struct zdb_read *rd, uint32_t from, int *fd, uint64_t *offset)
{
	*fd = rd->file->fd;
	*offset = (uint64_t)rd->offset + DAT_RECORD + rd->klen + from;
}

int zdb_read_run(const struct zdb_read *rd, uint32_t from, uint32_t count, void *dst)
{
	void *all;
	int rc;

	if (from > rd->length || count > rd->length - from)
		return -EINVAL;
	if (rd->data != NULL) {
		memcpy(dst, rd->data + from, count);
		return 0;
	}
	if (count == rd->length)
		return run_whole(rd, dst);
	if (count < rd->length - count)
		return run_part(rd, from, count, dst);
	all = mem_alloc(rd->length);
	if (all == NULL)
		return -ENOMEM;
	rc = run_whole(rd, all);
	if (rc == 0)
		memcpy(dst, (uint8_t *)all + from, count);
	mem_free(all);
	return rc;
}
