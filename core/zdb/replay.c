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

#include "core/zdb/zdb_int.h"

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
static ssize_t out_peek(struct replay *p, uint32_t size, const uint8_t **bytes)
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

static int out_put(struct replay *p, struct idx_rec *r, const uint8_t *key, struct place *at)
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
	n = out_peek(p, size, &there);
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

/* Applies what waits when it is much: first everything appended so far becomes durable. */
static int out_bound(struct replay *p)
{
	struct zdb_ns *ns = p->ns;

	if (ns->pend.used < ZDB_PENDING_MAX)
		return 0;
	if (ns->eng->read_only)
		return -EROFS;
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

/* -------------------------------------------------------------------------------------------------- sequential --- */

static bool before(uint32_t file, uint32_t off, uint32_t than_file, uint32_t than_off)
{
	return file < than_file || (file == than_file && off < than_off);
}

static bool crosses_into_zeros(const uint8_t *b, uint32_t size, uint32_t off)
{
	uint32_t border = (off / SECTOR + 1) * SECTOR;

	for (uint32_t i = border - off; i < size; i++)
		if (b[i] != 0)
			return false;
	return border - off < size;
}

enum copy_state { COPY_NONE, COPY_DOUBTFUL, COPY_SOUND };

/* The copy that an update at this place in the log has left in the index, if it did. */
static int copy_there(struct replay *p, const uint8_t *key, struct idx_rec *copy, enum copy_state *state)
{
	const uint8_t *b;
	ssize_t n = out_peek(p, SEQ_RECORD, &b);

	*state = COPY_NONE;
	if (n < 0)
		return (int)n;
	if (n < (ssize_t)SEQ_RECORD)
		return 0;
	idx_decode(copy, b);
	if (copy->klen != ZDB_SEQ_KEY_SIZE || copy->flags != FLAG_DELETED ||
	    copy->prev != p->ns->prev_index || memcmp(b + IDX_RECORD, key, ZDB_SEQ_KEY_SIZE) != 0 ||
	    !before(copy->data_file, copy->off, p->at_file, p->at_off))
		return 0;
	*state = crosses_into_zeros(b, SEQ_RECORD, p->out_off) ? COPY_DOUBTFUL : COPY_SOUND;
	return 0;
}

/*
 * The record of id as it was before the log record in hand.  *known false: it was rewritten ahead and its copy is gone
 * (only when the index file itself was lost).
 */
static int version_before(struct replay *p, struct place at, const uint8_t *key, struct idx_rec *r,
			  bool *known)
{
	uint8_t found[ZDB_KEY_MAX + 1];
	struct idx_rec copy;
	enum copy_state state;
	bool ahead;
	int rc = index_read(p->ns, at, r, found);

	*known = true;
	if (rc != 0)
		return rc;
	if (memcmp(found, key, ZDB_SEQ_KEY_SIZE) != 0)
		return -ENOENT; /* a copy's place */
	if (pend_find(&p->ns->pend, at.file, at.off) != NULL ||
	    !before(at.file, at.off, p->start_file, p->start_off))
		return 0; /* made by this replay */
	rc = copy_there(p, key, &copy, &state);
	if (rc != 0)
		return rc;
	ahead = !before(r->data_file, r->off, p->at_file, p->at_off);
	/* A whole copy counts more than the record: the record may be half rewritten.  One that lies in one sector is not. */
	if (state == COPY_SOUND ||
	    (state == COPY_DOUBTFUL && (ahead || at.off / SECTOR != (at.off + IDX_RECORD - 1) / SECTOR))) {
		uint32_t prev = r->prev;

		*r = copy;
		r->prev = prev;
	} else if (ahead) {
		*known = false;
	}
	return 0;
}

/* A compaction leaves a stub of what it drops from a closed segment: it took its id, and names no data. */
static uint32_t named_off(const struct replay *p, const struct dat_rec *d)
{
	return (d->flags & FLAG_TRUNCATED) != 0 ? 0 : p->at_off;
}

static int seq_insert(struct replay *p, const struct dat_rec *d, const uint8_t *key)
{
	struct idx_rec r = {.klen = d->klen,
			    .off = named_off(p, d),
			    .len = d->len,
			    .data_file = p->at_file,
			    .ts = d->ts,
			    .crc = d->crc};
	struct place at;
	int rc = out_put(p, &r, key, &at);

	if (rc != 0)
		return rc;
	p->ns->next_id++;
	p->ns->entries++;
	p->ns->data_size += d->len;
	return 0;
}

static int seq_update(struct replay *p, const struct dat_rec *d, const uint8_t *key, struct place at,
		      bool suspect)
{
	struct zdb_ns *ns = p->ns;
	struct idx_rec old, copy, now;
	struct place copy_at;
	enum copy_state state;
	bool known;
	int rc = version_before(p, at, key, &old, &known);

	if (rc != 0)
		return rc;
	if (suspect) { /* the index must know this very update */
		rc = copy_there(p, key, &copy, &state);
		if (rc != 0)
			return rc;
		if (state == COPY_NONE || copy.off != old.off || copy.crc != old.crc || copy.len != old.len)
			return -EBADMSG;
	}
	now = copy = old;
	if (!known) { /* history ends here: such a copy names no data */
		memset(&copy, 0, sizeof(copy));
		copy.klen = ZDB_SEQ_KEY_SIZE;
	}
	copy.flags = FLAG_DELETED;
	rc = rewrite_reserve(ns, at.file);
	if (rc == 0)
		rc = out_put(p, &copy, key, &copy_at);
	if (rc != 0)
		return rc;
	ns->next_id++;
	now.off = named_off(p, d);
	now.len = d->len;
	now.data_file = p->at_file;
	now.ts = d->ts;
	now.crc = d->crc;
	now.flags = 0;
	now.parent_file = copy_at.file;
	now.parent_off = copy_at.off;
	rewrite_whole(ns, at, &now);
	ns->data_size += d->len - (uint64_t)(known ? old.len : d->len);
	return out_bound(p);
}

static int seq_delete(struct replay *p, const uint8_t *key, struct place at, bool suspect)
{
	struct zdb_ns *ns = p->ns;
	uint8_t found[ZDB_KEY_MAX + 1];
	struct idx_rec r;
	int rc = index_read(ns, at, &r, found);

	if (rc != 0)
		return rc;
	if (memcmp(found, key, ZDB_SEQ_KEY_SIZE) != 0)
		return -ENOENT;
	if (suspect)
		return -EBADMSG; /* nothing else knows of it */
	rc = rewrite_reserve(ns, at.file);
	if (rc != 0)
		return rc;
	rewrite_flag(ns, at, SEQ_RECORD);
	ns->entries--;
	ns->data_size -= r.len;
	return out_bound(p);
}

/* Ids that only damaged records can have had: they answer -EIO, and those behind them keep theirs. */
static int seq_fill(struct replay *p, uint64_t upto)
{
	struct dat_rec d = {.klen = ZDB_SEQ_KEY_SIZE, .crc = 1}; /* agrees with no record */
	uint32_t at_off = p->at_off;
	uint8_t key[ZDB_SEQ_KEY_SIZE];
	int rc = 0;

	p->at_off = p->lost_off;
	while (rc == 0 && p->ns->next_id < upto) {
		put_u64le(key, p->ns->next_id);
		rc = seq_insert(p, &d, key);
	}
	p->at_off = at_off;
	return rc;
}

static int seq_record(struct replay *p, const struct dat_rec *d, const uint8_t *key, bool suspect)
{
	struct zdb_ns *ns = p->ns;
	uint64_t id = get_u64le(key);
	struct place at;
	int rc;

	suspect = suspect && p->strict;
	if ((d->flags & FLAG_TRUNCATED) != 0 && p->at_file == ns->data.number)
		return -EBADMSG; /* compaction only leaves stubs in closed segments */
	if ((d->flags & FLAG_DELETED) == 0 && id > ns->next_id &&
	    id - ns->next_id <= p->lost_bytes / (DAT_RECORD + ZDB_SEQ_KEY_SIZE)) {
		rc = seq_fill(p, id);
		if (rc != 0)
			return rc;
	}
	if ((d->flags & FLAG_DELETED) == 0 && id == ns->next_id)
		return seq_insert(p, d, key);
	if (seq_place(ns, id, &at) != 0)
		return -EBADMSG;
	rc = (d->flags & FLAG_DELETED) != 0 ? seq_delete(p, key, at, suspect)
					    : seq_update(p, d, key, at, suspect);
	return rc == -ENOENT ? -EBADMSG : rc;
}

/* --------------------------------------------------------------------------------------------------- user mode --- */

/* The index record that belongs to the log record in hand, if it is there and whole. */
static int witness(struct replay *p, const struct dat_rec *d, const uint8_t *key, struct idx_rec *r,
		   bool *there)
{
	const uint8_t *b;
	ssize_t n = out_peek(p, IDX_RECORD + d->klen, &b);

	*there = false;
	if (n < 0)
		return (int)n;
	if (n < (ssize_t)IDX_RECORD + d->klen)
		return 0;
	idx_decode(r, b);
	*there = r->klen == d->klen && r->off == p->at_off && r->len == d->len && r->crc == d->crc &&
		 r->ts == d->ts && memcmp(b + IDX_RECORD, key, d->klen) == 0;
	return 0;
}

static bool place_has_key(struct replay *p, struct place at, const uint8_t *key, size_t klen)
{
	uint8_t found[ZDB_KEY_MAX + 1];
	struct idx_rec r;

	if (at.file > p->at_file || (at.file == p->at_file && at.off >= p->out_off))
		return false;
	return index_read(p->ns, at, &r, found) == 0 && r.klen == klen && memcmp(found, key, klen) == 0;
}

static int user_set(struct replay *p, const struct dat_rec *d, const uint8_t *key, bool suspect)
{
	struct zdb_ns *ns = p->ns;
	struct idx_rec r = {.klen = d->klen,
			    .off = p->at_off,
			    .len = d->len,
			    .data_file = p->at_file,
			    .ts = d->ts,
			    .crc = d->crc};
	struct entry e = {.tag = key_tag(ns->eng, key, d->klen), .file = p->at_file, .data_off = p->at_off},
		     *old = NULL;
	struct idx_rec seen = {0}, was;
	struct place at, parent;
	bool there;
	int rc = witness(p, d, key, &seen, &there), found;

	if (rc != 0)
		return rc;
	if (suspect && p->strict && !there)
		return -EBADMSG;
	found = index_find(ns, key, d->klen, &parent, &was, &old);
	if (found != 0 && found != -ENOENT)
		return found;
	if (found != 0 && there && seen.parent_off != 0) {
		parent = (struct place){seen.parent_file, seen.parent_off};
		if (place_has_key(p, parent, key, d->klen)) {
			r.parent_file = parent.file;
			r.parent_off = parent.off;
		}
	}
	rc = found == 0 ? rewrite_reserve(ns, parent.file) : table_reserve(&ns->table, e.tag);
	if (rc != 0)
		return rc;
	if (found == 0) {
		r.parent_file = parent.file;
		r.parent_off = parent.off;
	}
	rc = out_put(p, &r, key, &at);
	if (rc != 0)
		return rc;
	e.index_off = at.off;
	if (found == 0) {
		rewrite_flag(ns, parent, IDX_RECORD + r.klen);
		*old = e;
		ns->data_size -= was.len;
	} else {
		table_insert(&ns->table, &e);
		ns->entries++;
		ns->key_bytes += d->klen;
		ns->next_id++;
	}
	ns->data_size += d->len;
	return out_bound(p);
}

static int user_delete(struct replay *p, const struct dat_rec *d, const uint8_t *key, bool suspect)
{
	struct zdb_ns *ns = p->ns;
	struct entry *old = NULL;
	struct idx_rec was;
	struct place at;
	int rc;

	if (suspect && p->strict)
		return -EBADMSG;
	rc = index_find(ns, key, d->klen, &at, &was, &old);
	if (rc == -ENOENT)
		return 0; /* flagged already */
	if (rc == 0)
		rc = rewrite_reserve(ns, at.file);
	if (rc != 0)
		return rc;
	rewrite_flag(ns, at, IDX_RECORD + was.klen);
	table_remove(&ns->table, old);
	ns->entries--;
	ns->key_bytes -= d->klen;
	ns->data_size -= was.len;
	return out_bound(p);
}

static int user_record(struct replay *p, const struct dat_rec *d, const uint8_t *key, bool suspect)
{
	if ((d->flags & FLAG_TRUNCATED) != 0)
		return 0;
	return (d->flags & FLAG_DELETED) != 0 ? user_delete(p, d, key, suspect)
					      : user_set(p, d, key, suspect);
}

/* ------------------------------------------------------------------------------------------------------ damage --- */

/*
 * The index record at the output place, if it is there, whole, and follows the one before: then it belongs to the log
 * record in hand, or to a later one when that appended none.
 */
static int index_says(struct replay *p, struct idx_rec *r, uint8_t *key, bool *there)
{
	const uint8_t *b;
	ssize_t n = out_peek(p, IDX_RECORD + ZDB_KEY_MAX, &b);
	uint32_t size;

	*there = false;
	if (n < (ssize_t)IDX_RECORD)
		return n < 0 ? (int)n : 0;
	idx_decode(r, b);
	size = IDX_RECORD + r->klen;
	if (r->klen == 0 || n < (ssize_t)size || r->prev != p->ns->prev_index ||
	    crosses_into_zeros(b, size, p->out_off))
		return 0;
	memcpy(key, b + IDX_RECORD, r->klen);
	if (p->ns->mode == ZDB_SEQ)
		*there = r->klen == ZDB_SEQ_KEY_SIZE &&
			 (get_u64le(key) == p->ns->next_id ||
			  (get_u64le(key) < p->ns->next_id && r->flags == FLAG_DELETED));
	else
		*there = r->off >= p->at_off;
	return 0;
}

/*
 * The bit that makes a record a deletion has no checksum, and neither has a key.  Where the index knows better, a record
 * without payload becomes what it was, and one whose key is another is damaged: -EBADMSG.
 */
static int settle_kind(struct replay *p, struct dat_rec *d, const uint8_t *key)
{
	uint8_t named[ZDB_KEY_MAX + 1];
	bool seq = p->ns->mode == ZDB_SEQ, there, same, deletes = (d->flags & FLAG_DELETED) != 0;
	struct idx_rec r;
	int rc = index_says(p, &r, named, &there);

	if (rc != 0 || !there || (d->flags & FLAG_TRUNCATED) != 0)
		return rc;
	same = r.klen == d->klen && memcmp(named, key, r.klen) == 0;
	if (!seq && r.off != p->at_off) { /* the record in hand has none */
		if (d->len == 0)
			d->flags = FLAG_DELETED;
		return 0;
	}
	if (deletes && same) /* a deleted id has no later version; in user mode the place is named */
		d->flags = 0;
	else if (seq && !same && d->len == 0)
		d->flags = FLAG_DELETED;
	else if (!deletes && !same)
		return -EBADMSG;
	return 0;
}

/* What is left of a damaged record: header as it is, key (as many bytes as are there), and its length on disk. */
struct remains {
	struct dat_rec d;
	uint32_t size;
	uint8_t key[ZDB_KEY_MAX + 1];
};

static int remains_read(struct log_stream *s, const struct log_gap *g, struct remains *m)
{
	const uint8_t *b;
	ssize_t n = log_fill(s, g->off, DAT_RECORD + ZDB_KEY_MAX, &b);

	memset(m, 0, sizeof(*m));
	m->size = g->next - g->off;
	if (n < (ssize_t)DAT_RECORD)
		return n < 0 ? (int)n : -EIO;
	dat_decode(&m->d, b);
	n -= DAT_RECORD;
	memcpy(m->key, b + DAT_RECORD, n < (ssize_t)ZDB_KEY_MAX ? (size_t)n : ZDB_KEY_MAX);
	return 0;
}

/* A marker has no payload, and the index no record of it (same: it has); the flags say so, unless they are what is damaged. */
static bool was_deletion(const struct remains *m, bool same)
{
	if (m->d.flags == 0 || same || m->size > DAT_RECORD + ZDB_KEY_MAX)
		return false;
	return m->d.flags == FLAG_DELETED ||
	       (m->size == DAT_RECORD + m->d.klen && m->d.len == 0 && m->d.crc == 0);
}

static uint32_t payload_of(uint32_t size, uint32_t klen)
{
	uint32_t len = size < DAT_RECORD + klen ? 0 : size - DAT_RECORD - klen;

	return len < ZDB_PAYLOAD_MAX ? len : ZDB_PAYLOAD_MAX;
}

/* Sequential: one record, an insert, an update or a deletion.  Its place in the index follows from which of them it was. */
static int seq_gap(struct replay *p, struct log_stream *s, const struct log_gap *g)
{
	struct zdb_ns *ns = p->ns;
	uint8_t named[ZDB_KEY_MAX + 1];
	struct remains m;
	struct place at;
	struct idx_rec r;
	bool there;
	int rc = remains_read(s, g, &m);

	p->at_off = g->off;
	if (rc == 0)
		rc = index_says(p, &r, named, &there);
	if (rc != 0)
		return rc;
	if (was_deletion(&m, there && memcmp(named, m.key, ZDB_SEQ_KEY_SIZE) == 0) &&
	    m.size == DAT_RECORD + ZDB_SEQ_KEY_SIZE && get_u64le(m.key) != ns->next_id) {
		if (seq_place(ns, get_u64le(m.key), &at) == 0)
			rc = seq_delete(p, m.key, at, false);
		return rc == -ENOENT ? 0 : rc;
	}
	if (there)
		memcpy(m.key, named, ZDB_SEQ_KEY_SIZE);
	m.d.klen = ZDB_SEQ_KEY_SIZE;
	m.d.flags = 0;
	m.d.len = payload_of(m.size, ZDB_SEQ_KEY_SIZE);
	if (there && r.off == g->off && r.data_file == p->at_file)
		m.d.crc = r.crc;
	rc = -ENOENT;
	if (get_u64le(m.key) != ns->next_id && seq_place(ns, get_u64le(m.key), &at) == 0)
		rc = seq_update(p, &m.d, m.key, at, false);
	if (rc == -ENOENT) {
		put_u64le(m.key, ns->next_id);
		rc = seq_insert(p, &m.d, m.key);
	}
	return rc;
}

/* Which key a damaged record had and how long its payload was: all three lengths agree, or the checksum tells. */
static bool user_remains(struct log_stream *s, const struct log_gap *g, struct remains *m)
{
	uint32_t klen[2] = {m->d.klen, m->size - DAT_RECORD - m->d.len};

	if (DAT_RECORD + (uint64_t)m->d.klen + m->d.len == m->size)
		return m->d.klen > 0;
	for (int i = 0; i < 2; i++) {
		uint32_t crc, len = payload_of(m->size, klen[i]);

		if (klen[i] == 0 || klen[i] > ZDB_KEY_MAX || DAT_RECORD + klen[i] > m->size || len == 0)
			continue;
		if (log_payload(s, g->off + DAT_RECORD + klen[i], len, &crc) == 0 && crc == m->d.crc) {
			m->d.klen = (uint8_t)klen[i];
			m->d.len = len;
			return true;
		}
	}
	return false;
}

static int user_gap(struct replay *p, struct log_stream *s, const struct log_gap *g)
{
	uint8_t named[ZDB_KEY_MAX + 1];
	struct remains m;
	struct idx_rec r;
	bool there;
	int rc = remains_read(s, g, &m);

	p->at_off = g->off;
	if (rc == 0)
		rc = index_says(p, &r, named, &there);
	if (rc != 0)
		return rc;
	if (there && r.off == g->off) {
		m.d = (struct dat_rec){.klen = r.klen, .len = r.len, .crc = r.crc, .ts = r.ts};
		return user_set(p, &m.d, named, false);
	}
	if (was_deletion(&m, false)) {
		m.d.klen = (uint8_t)(m.size - DAT_RECORD);
		return user_delete(p, &m.d, m.key, false);
	}
	if (there || !user_remains(s, g, &m))
		return 0; /* nobody knows what it said */
	m.d.flags = 0;
	return user_set(p, &m.d, m.key, false);
}

/* One index record of a place where several records were.  *there false: it belongs to what comes behind. */
static int seq_adopt(struct replay *p, const struct log_gap *g, bool last, const struct idx_rec *r,
		     const uint8_t *key, bool *there)
{
	struct zdb_ns *ns = p->ns;
	struct dat_rec d = {.klen = ZDB_SEQ_KEY_SIZE, .len = r->len, .crc = r->crc, .ts = r->ts};
	uint8_t own[ZDB_KEY_MAX + 1];
	struct idx_rec now = *r;
	struct place at;
	bool insert = get_u64le(key) == ns->next_id, here;
	int rc = insert ? 0 : seq_place(ns, get_u64le(key), &at);

	if (rc == 0 && !insert)
		rc = index_read(ns, at, &now, own);
	if (rc != 0)
		return rc;
	here = now.data_file == p->at_file && now.off >= g->off && now.off < g->next;
	*there = here || last;
	if (!*there)
		return 0;
	p->at_off = here ? now.off : g->off;
	if (here)
		d = (struct dat_rec){.klen = ZDB_SEQ_KEY_SIZE, .len = now.len, .crc = now.crc, .ts = now.ts};
	return insert ? seq_insert(p, &d, key) : seq_update(p, &d, key, at, false);
}

static int user_adopt(struct replay *p, const struct log_gap *g, const struct idx_rec *r, const uint8_t *key,
		      bool *there)
{
	struct dat_rec d = {.klen = r->klen, .len = r->len, .crc = r->crc, .ts = r->ts};

	*there = r->off >= g->off && r->off < g->next;
	if (!*there)
		return 0;
	p->at_off = r->off;
	return user_set(p, &d, key, false);
}

/* Several records: what the index says of them.  last: nothing comes behind them. */
static int gap_adopt(struct replay *p, const struct log_gap *g, bool last)
{
	uint8_t key[ZDB_KEY_MAX + 1];
	bool there = true;
	struct idx_rec r;
	int rc = 0;

	p->at_off = g->off;
	while (rc == 0 && there) {
		rc = index_says(p, &r, key, &there);
		if (rc == 0 && there)
			rc = p->ns->mode == ZDB_SEQ ? seq_adopt(p, g, last, &r, key, &there)
						    : user_adopt(p, g, &r, key, &there);
	}
	return rc == -ENOENT ? 0 : rc;
}

/* ----------------------------------------------------------------------------------------------------- the walk --- */

static int replay_record(struct replay *p, struct dat_rec *d, const uint8_t *key, bool suspect)
{
	int rc = settle_kind(p, d, key);

	if (rc != 0)
		return rc;
	return p->ns->mode == ZDB_SEQ ? seq_record(p, d, key, suspect) : user_record(p, d, key, suspect);
}

/* The log has no whole record here.  1: it is damage and the log goes on; 0: it ends here. */
static int replay_gap(struct replay *p, struct log_stream *s)
{
	struct zdb_ns *ns = p->ns;
	struct log_gap g;
	int rc = log_gap_find(s, p->strict, &g);

	if (rc != 1)
		return rc;
	ns->recovery.damaged++;
	ns->prev_data = p->lost_off = g.off;
	p->lost_bytes += g.next - g.off;
	if (!g.single)
		rc = gap_adopt(p, &g, g.next == s->end);
	else
		rc = ns->mode == ZDB_SEQ ? seq_gap(p, s, &g) : user_gap(p, s, &g);
	return rc == 0 ? 1 : rc;
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
			rc = replay_record(p, &d, key, s->suspect && at >= durable);
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
