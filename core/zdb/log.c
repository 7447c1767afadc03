/*
 * log.c - walking the records of a data file, and cutting its end.
 *
 * A record is whole if its header can be one, `previous` names the record before it in this file (the first one walked
 * is exempt), the payload lies inside the file and has the CRC of the header.  One without payload has no CRC: it counts
 * unless another record behind it names it and lies elsewhere than it says.
 */
#include <stdio.h>

#include "core/base/file.h"
#include "core/zdb/zdb_int.h"

int log_open(struct log_stream *s, struct zdb_ns *ns, uint32_t number, uint32_t from, uint8_t *buf)
{
	memset(s, 0, sizeof(*s));
	s->ns = ns;
	s->number = number;
	s->off = from;
	s->buf = buf;
	return fd_get_sized(ns, DATA_FILE, number, &s->f, &s->end);
}

void log_close(struct log_stream *s)
{
	if (s->f != NULL)
		fd_put(s->ns->eng, s->f);
	s->f = NULL;
}

ssize_t log_fill(struct log_stream *s, uint32_t off, uint32_t size, const uint8_t **bytes)
{
	uint32_t have =
		off >= s->buf_off && off < s->buf_off + s->buf_len ? s->buf_off + s->buf_len - off : 0;
	ssize_t n;

	if (have < size && off + have < s->end) {
		uint32_t room = CHUNK_SIZE - have, rest = s->end - off - have;

		if (have > 0)
			memmove(s->buf, s->buf + (off - s->buf_off), have);
		s->buf_off = off;
		s->buf_len = have;
		n = ns_pread(s->ns, s->f, s->buf + have, room < rest ? room : rest, (uint64_t)off + have);
		if (n < 0)
			return n;
		s->buf_len += (uint32_t)n;
		have = s->buf_len;
	}
	*bytes = s->buf + (off - s->buf_off);
	return have;
}

/* See looks_torn() in write.c: the same rule seen from the file. */
static bool log_suspect(const struct log_stream *s, const uint8_t *b, uint32_t have, size_t head)
{
	uint32_t border = (s->off / SECTOR + 1) * SECTOR, span = border - s->off;

	if (span >= head)
		return false;
	for (uint32_t i = span; i < span + SECTOR && i < have; i++)
		if (b[i] != 0)
			return false;
	return true;
}

int log_payload(struct log_stream *s, uint32_t off, uint32_t len, uint32_t *crc)
{
	*crc = 0;
	while (len > 0) {
		const uint8_t *b;
		ssize_t n = log_fill(s, off, len < CHUNK_SIZE ? len : CHUNK_SIZE, &b);

		if (n < 0)
			return (int)n;
		if (n == 0)
			return -EBADMSG;
		if (n > (ssize_t)len)
			n = (ssize_t)len;
		*crc = zdb_crc(*crc, b, (size_t)n);
		off += (uint32_t)n;
		len -= (uint32_t)n;
	}
	return 0;
}

int log_step(struct log_stream *s, struct dat_rec *r, const uint8_t **key, uint32_t *at)
{
	const uint8_t *b;
	uint64_t end;
	uint32_t crc;
	ssize_t n;
	int rc;

	if (s->off >= s->end)
		return 0;
	n = log_fill(s, s->off, DAT_RECORD + ZDB_KEY_MAX + SECTOR, &b);
	if (n < 0)
		return (int)n;
	if (n < (ssize_t)DAT_RECORD)
		return -EBADMSG;
	dat_decode(r, b);
	end = (uint64_t)s->off + DAT_RECORD + r->klen + r->len;
	if (!dat_plausible(r, s->ns->mode) || end > s->end || n < (ssize_t)DAT_RECORD + r->klen)
		return -EBADMSG;
	if (s->last != 0 && r->prev != s->last)
		return -EBADMSG;
	memcpy(s->key, b + DAT_RECORD, r->klen);
	s->suspect = log_suspect(s, b, (uint32_t)n, DAT_RECORD + r->klen);
	if ((r->flags & FLAG_TRUNCATED) == 0) {
		rc = log_payload(s, s->off + DAT_RECORD + r->klen, r->len, &crc);
		if (rc != 0)
			return rc;
		if (crc != r->crc)
			return -EBADMSG;
	}
	*key = s->key;
	*at = s->last = s->off;
	s->off = (uint32_t)end;
	return 1;
}

/* A record without payload: does it end where the next one begins?  -EBADMSG: no. */
static int log_confirm(struct log_stream *s, uint32_t at)
{
	uint8_t key[ZDB_KEY_MAX + 1];
	uint32_t off = s->off, next;
	const uint8_t *b;
	struct dat_rec d;
	ssize_t n = log_fill(s, off, DAT_RECORD, &b);
	bool suspect = s->suspect;
	int rc;

	if (n < 0)
		return (int)n;
	if (n >= (ssize_t)DAT_RECORD) {
		dat_decode(&d, b);
		if (d.prev == at && dat_plausible(&d, s->ns->mode))
			return 0;
	}
	memcpy(key, s->key, sizeof(key));
	rc = log_follower(s, at, false, &next);
	memcpy(s->key, key, sizeof(key));
	s->suspect = suspect;
	s->off = off;
	s->last = at;
	if (rc < 0)
		return rc;
	return rc == 1 && next != off ? -EBADMSG : 0;
}

int log_next(struct log_stream *s, struct dat_rec *r, const uint8_t **key, uint32_t *at)
{
	int rc = log_step(s, r, key, at);

	if (rc == 1 && r->len == 0 && s->off < s->end) {
		rc = log_confirm(s, *at);
		if (rc == -EBADMSG)
			s->off = *at;
		else if (rc == 0)
			rc = 1;
	}
	return rc;
}

static int log_keep(struct zdb_ns *ns, struct zdb_fd *f, uint32_t number, uint32_t at, uint32_t size)
{
	char path[ZDB_PATH_MAX];
	struct stat st;
	int fd, rc = file_path(ns, DATA_FILE, number, ".cut", path);

	if (rc != 0)
		return rc;
	fd = sys->open(path, O_WRONLY | O_CREAT, 0600);
	if (fd < 0)
		return -errno;
	rc = sys->fstat(fd, &st) != 0 ? -errno : file_copy_range(fd, st.st_size, f->fd, at, size - at);
	if (rc == 0 && sys->fdatasync(fd) != 0)
		rc = -EIO;
	sys->close(fd);
	return rc;
}

int log_cut(struct zdb_ns *ns, uint32_t number, uint32_t at, uint32_t size)
{
	bool active = ns->data.f != NULL && ns->data.number == number;
	char path[ZDB_PATH_MAX];
	struct zdb_fd *f;
	int fd, rc = fd_get(ns, DATA_FILE, number, &f);

	if (rc != 0)
		return rc;
	if (ns->eng->read_only) { /* only the active end can be taken for shorter than it is */
		fd_put(ns->eng, f);
		if (active)
			tail_moved(&ns->data, at);
		return active ? 0 : -EROFS;
	}
	/* On a full disk the space of the cut bytes matters more than the bytes, which were never acknowledged as durable. */
	rc = log_keep(ns, f, number, at, size);
	fd_put(ns->eng, f);
	if (rc != 0 && !err_no_room(rc))
		return rc;
	rc = file_path(ns, DATA_FILE, number, "", path);
	if (rc != 0)
		return rc;
	fd = sys->open(path, O_RDWR, 0);
	if (fd < 0)
		return -errno;
	if (sys->ftruncate(fd, (off_t)at) != 0 || sys->fsync(fd) != 0)
		rc = -EIO;
	sys->close(fd);
	if (rc == 0 && active)
		tail_moved(&ns->data, at);
	if (rc == 0)
		ns->recovery.data_cut_bytes += size - at;
	return rc;
}
