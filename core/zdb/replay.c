/*
 * replay.c - the index follows the log.
 *
 * Every index byte that the records behind the marker caused is a function of the log and of what stood before: the
 * appended records lie one after the other, and the in-place rewrites follow from them.  So they are made again in log
 * order and compared with what is there; what differs is written.  Nothing is guessed and nothing is fetched.
 *
 * Two things may be ahead of the place in the log that is being replayed, because rewrites were applied before the
 * crash.  A rewrite is applied only after the appends that go with it are durable, so the older version is found there:
 *   sequential: the copy at the place where this update's copy belongs;
 *   user mode:  the parent named by the index record that belongs to this log record.
 * Rewrites of this replay wait like those of a running engine and are applied when the appends are synced, so that a
 * crash during recovery is like the one before.
 */
#include <stdarg.h>
#include <stdio.h>

#include "core/zdb/replay_int.h"

#define WINDOW_SIZE (64u << 10)

int say(char *why, size_t size, int code, const char *fmt, ...)
{
	va_list ap;

	if (why == NULL || size == 0)
		return code;
	va_start(ap, fmt);
	(void)vsnprintf(why, size, fmt, ap); /* cut at the end when too long */
	va_end(ap);
	return code;
}

/* -------------------------------------------------------------------------------------------------- the output --- */

static int out_open(struct replay *p, uint32_t file, uint32_t off)
{
	int rc;

	if (p->out != NULL)
		fd_put(p->ns->eng, p->out);
	p->out = NULL;
	rc = fd_get_sized(p->ns, INDEX_FILE, file, &p->out, &p->out_size);
	if (rc != 0)
		return rc;
	p->out_off = off;
	p->window_len = 0;
	return 0;
}

/* What is at the output place now: bytes there (up to size), *bytes pointing at them. */
ssize_t replay_peek(struct replay *p, uint32_t size, const uint8_t **bytes)
{
	uint32_t off = p->out_off;
	bool inside = off >= p->window_off && off - p->window_off < p->window_len;
	uint32_t have = inside ? p->window_len - (off - p->window_off) : 0;

	if (have < size && off + have < p->out_size) {
		ssize_t n = ns_pread(p->ns, p->out, p->window, WINDOW_SIZE, off);

		if (n < 0)
			return n;
		p->window_off = off;
		p->window_len = have = (uint32_t)n;
	}
	*bytes = p->window + (off - p->window_off);
	return have < size ? have : size;
}

int replay_put(struct replay *p, struct idx_rec *r, const uint8_t *key, struct place *at)
{
	uint8_t b[IDX_RECORD + ZDB_KEY_MAX];
	uint32_t size = IDX_RECORD + r->klen;
	struct zdb_ns *ns = p->ns;
	const uint8_t *there;
	ssize_t n;
	int rc;

	if ((uint64_t)p->out_off + size > UINT32_MAX)
		return -EFBIG;
	r->prev = ns->prev_index;
	idx_encode(b, r);
	memcpy(b + IDX_RECORD, key, r->klen);
	n = replay_peek(p, size, &there);
	if (n < 0)
		return (int)n;
	if (n < (ssize_t)size || memcmp(there, b, size) != 0) {
		if (ns->eng->read_only)
			return -EROFS;
		rc = ns_pwrite(ns, p->out, b, size, p->out_off);
		if (rc != 0)
			return rc;
		if (n < (ssize_t)size) {
			ns->recovery.index_appended++;
			p->window_len = 0;
		} else {
			ns->recovery.index_rewritten++;
			memcpy(p->window + (p->out_off - p->window_off), b, size);
		}
	}
	*at = (struct place){p->at_file, p->out_off};
	ns->prev_index = p->out_off;
	p->out_off += size;
	if (p->out_size < p->out_off)
		p->out_size = p->out_off;
	if (p->out->number == ns->index.number) /* readers look through the tail */
		tail_moved(&ns->index, p->out_size);
	return 0;
}

/* Ends the output file behind the last record made. */
static int out_end(struct replay *p)
{
	struct zdb_ns *ns = p->ns;

	if (p->out_size > p->out_off) {
		/* on read-only media only the active end can be taken for shorter than it is */
		if (ns->eng->read_only && p->out->number != ns->index.number)
			return -EROFS;
		if (!ns->eng->read_only && sys->ftruncate(p->out->fd, (off_t)p->out_off) != 0)
			return -EIO;
		ns->recovery.index_cut_bytes += p->out_size - p->out_off;
		p->out_size = p->out_off;
	}
	if (p->out->number == ns->index.number)
		tail_moved(&ns->index, p->out_off);
	if (bits_reserve(&ns->touched, p->at_file) != 0)
		return -ENOMEM;
	bits_set(&ns->touched, p->at_file);
	return 0;
}

/*
 * Applies what waits when it is much: first the log becomes durable, which after the end of a process only the page cache may
 * hold, and everything appended so far.
 */
int replay_bound(struct replay *p)
{
	struct zdb_ns *ns = p->ns;

	if (ns->pend.used < ZDB_PENDING_MAX)
		return 0;
	if (ns->eng->read_only)
		return -EROFS;
	if (sys->fdatasync(ns->data.f->fd) != 0)
		return -EIO;
	for (uint32_t f = p->start_file; f <= p->at_file; f++) {
		struct zdb_fd *fd;
		int rc = fd_get(ns, INDEX_FILE, f, &fd);

		if (rc != 0)
			return rc;
		if (sys->fdatasync(fd->fd) != 0)
			rc = -EIO;
		fd_put(ns->eng, fd);
		if (rc != 0)
			return rc;
	}
	return rewrite_apply(ns, &ns->pend);
}

/* ----------------------------------------------------------------------------------------------------- the walk --- */

static int replay_record(struct replay *p, struct dat_rec *d, const uint8_t *key, bool suspect)
{
	int rc = replay_settle_kind(p, d, key, suspect);

	if (rc != 0)
		return rc;
	return p->ns->mode == ZDB_SEQ ? replay_seq_record(p, d, key, suspect)
				      : replay_user_record(p, d, key, suspect);
}

static int replay_segment(struct replay *p, struct log_stream *s)
{
	struct zdb_ns *ns = p->ns;
	uint32_t at, from = s->off, durable = log_durable(ns, p->at_file, s->end);
	const uint8_t *key;
	struct dat_rec d;
	int rc = 1;

	while (rc == 1) {
		rc = log_next(s, &d, &key, &at);
		if (rc == 1) {
			p->at_off = at;
			rc = replay_record(p, &d, key, s->suspect && p->strict && at >= durable);
			if (rc == -EBADMSG)
				s->off = at;
			if (rc == 0) {
				ns->recovery.log_records++;
				ns->prev_data = at;
				rc = 1;
			}
		}
		if (rc == -EBADMSG)
			rc = replay_gap(p, s);
		else if (rc == 0)
			break;
	}
	ns->recovery.log_bytes += s->off - from;
	if (rc == 0 && s->off < s->end)
		rc = log_cut(ns, p->at_file, s->off, s->end);
	return rc;
}

int replay_run(struct replay *p)
{
	struct zdb_ns *ns = p->ns;
	struct log_stream s = {0};
	uint8_t *buf = mem_alloc(CHUNK_SIZE);
	int rc = 0;

	p->window = mem_alloc(WINDOW_SIZE);
	if (buf == NULL || p->window == NULL)
		rc = -ENOMEM;
	p->start_file = p->file;
	p->start_off = p->index_off;
	for (uint32_t f = p->file; rc == 0 && f <= ns->data.number; f++) {
		p->at_file = f;
		rc = out_open(p, f, f == p->file ? p->index_off : IDX_HEADER);
		if (rc == 0 && ns->mode == ZDB_SEQ && f != p->file)
			rc = bases_set(ns, f, ns->next_id);
		if (rc == 0)
			rc = log_open(&s, ns, f, f == p->file ? p->off : DAT_HEADER, buf);
		if (rc == 0)
			rc = replay_segment(p, &s);
		log_close(&s);
		if (rc == 0)
			rc = out_end(p);
	}
	if (p->out != NULL)
		fd_put(ns->eng, p->out);
	p->out = NULL;
	mem_free(p->window);
	p->window = NULL;
	mem_free(buf);
	return rc;
}
