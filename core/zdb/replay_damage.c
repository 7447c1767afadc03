/*
 * replay_damage.c - records of the log that cannot be read any more, or not be trusted as they are.
 *
 * Where a damaged record was something must take its place in the index, or those behind it would be somebody else's.  Which key it
 * had is asked of the index records that lie where its own belongs, then of what is left of it.
 */
#include "core/zdb/replay_int.h"

/*
 * The index record at the output place, if it is there, whole, and follows the one before: then it belongs to the log
 * record in hand, or to a later one when that appended none.
 */
static int index_says(struct replay *p, struct idx_rec *r, uint8_t *key, bool *there)
{
	const uint8_t *b;
	ssize_t n = replay_peek(p, IDX_RECORD + ZDB_KEY_MAX, &b);
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
 * without payload becomes what it was, and one whose key is another is damaged: -EBADMSG.  What may be the rest of a torn
 * record becomes nothing else: its key is not what the index can be asked about.
 */
int replay_settle_kind(struct replay *p, struct dat_rec *d, const uint8_t *key, bool suspect)
{
	uint8_t flags = d->flags;
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
	} else if (deletes && same) /* a deleted id has no later version; in user mode the place is named */
		d->flags = 0;
	else if (seq && !same && d->len == 0)
		d->flags = FLAG_DELETED;
	else if (!deletes && !same)
		rc = -EBADMSG;
	return suspect && d->flags != flags ? -EBADMSG : rc;
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

/* Takes up one damaged record: what is left of it, and the index record that may be its own. */
static int gap_begin(struct replay *p, struct log_stream *s, const struct log_gap *g, struct remains *m,
		     struct idx_rec *r, uint8_t named[ZDB_KEY_MAX + 1], bool *there)
{
	int rc = remains_read(s, g, m);

	p->at_off = g->off;
	return rc != 0 ? rc : index_says(p, r, named, there);
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
	int rc = gap_begin(p, s, g, &m, &r, named, &there);

	if (rc != 0)
		return rc;
	if (was_deletion(&m, there && memcmp(named, m.key, ZDB_SEQ_KEY_SIZE) == 0) &&
	    m.size == DAT_RECORD + ZDB_SEQ_KEY_SIZE && get_u64le(m.key) != ns->next_id) {
		if (seq_place(ns, get_u64le(m.key), &at) == 0)
			rc = replay_seq_delete(p, m.key, at, false);
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
		rc = replay_seq_update(p, &m.d, m.key, at, false);
	if (rc == -ENOENT) {
		put_u64le(m.key, ns->next_id);
		rc = replay_seq_insert(p, &m.d, m.key);
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
	int rc = gap_begin(p, s, g, &m, &r, named, &there);

	if (rc != 0)
		return rc;
	if (there && r.off == g->off) {
		m.d = (struct dat_rec){.klen = r.klen, .len = r.len, .crc = r.crc, .ts = r.ts};
		return replay_user_set(p, &m.d, named, false);
	}
	if (was_deletion(&m, false)) {
		m.d.klen = (uint8_t)(m.size - DAT_RECORD);
		return replay_user_delete(p, &m.d, m.key, false);
	}
	if (there || !user_remains(s, g, &m))
		return 0; /* nobody knows what it said */
	m.d.flags = 0;
	return replay_user_set(p, &m.d, m.key, false);
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
	return insert ? replay_seq_insert(p, &d, key) : replay_seq_update(p, &d, key, at, false);
}

static int user_adopt(struct replay *p, const struct log_gap *g, const struct idx_rec *r, const uint8_t *key,
		      bool *there)
{
	struct dat_rec d = {.klen = r->klen, .len = r->len, .crc = r->crc, .ts = r->ts};

	*there = r->off >= g->off && r->off < g->next;
	if (!*there)
		return 0;
	p->at_off = r->off;
	return replay_user_set(p, &d, key, false);
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

int replay_gap(struct replay *p, struct log_stream *s)
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
