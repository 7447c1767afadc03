/*
 * foreign.c - loading a namespace that somebody else may have written: everything is checked, nothing is guessed.
 *
 *  1  The active log is walked from its start.  At a place that is not whole (upstream appends behind the fragment of a
 *     torn record) the walk goes on at the next record that follows it (gap.c), else at the lowest later offset that an
 *     index record names and where that very record is; only when there is none, the log is cut, and never before what
 *     our own marker says was durable.
 *  2  The active index is cut at its first record that is not whole.
 *  3  Each live index record that points into the active segment must agree with the record there.  Else the version
 *     before it is restored (parent), else the last record of its key in the active log, else it stays and its key
 *     answers -EIO.  Where the log was durable it is damage, and nothing older takes the place of what was synced.
 *  4  What the log holds behind the last record that the index names is replayed.  In sequential mode that is not enough when the
 *     active index is shorter than the log says, since records in older files name what lies behind its end: then the whole
 *     active log is replayed (foreign_seq.c).
 */
#include "core/zdb/foreign_int.h"

/* Whether the data record at r->off of the active segment is the one that an index record names; payload included. */
static int agrees(struct foreign *x, const struct idx_rec *r, const uint8_t *key, bool payload)
{
	uint8_t head[DAT_RECORD + ZDB_KEY_MAX];
	struct zdb_ns *ns = x->ns;
	size_t hs = DAT_RECORD + (size_t)r->klen;
	uint64_t end = (uint64_t)r->off + hs + r->len, off = r->off + hs;
	uint32_t crc = 0;
	struct dat_rec d;
	ssize_t n;

	if (r->off < DAT_HEADER || end > ns->data.size)
		return 0;
	n = ns_pread(ns, ns->data.f, head, hs, r->off);
	if (n < 0)
		return (int)n;
	if (n < (ssize_t)hs)
		return 0;
	dat_decode(&d, head);
	if (d.klen != r->klen || d.len != r->len || d.crc != r->crc || d.flags != 0 ||
	    memcmp(head + DAT_RECORD, key, r->klen) != 0)
		return 0;
	if (!payload)
		return 1;
	while (off < end) {
		size_t want = end - off < SCRATCH_SIZE ? end - off : SCRATCH_SIZE;

		n = ns_pread(ns, ns->data.f, ns->eng->scratch, want, off);
		if (n <= 0)
			return n < 0 ? (int)n : 0;
		crc = zdb_crc(crc, ns->eng->scratch, (size_t)n);
		off += (uint64_t)n;
	}
	return crc == r->crc;
}

/* Index files that may name records of the active segment: in user mode only its own. */
static uint32_t first_naming(const struct zdb_ns *ns)
{
	return ns->mode == ZDB_USER ? ns->index.number : 0;
}

/*
 * The index's view of the active log: *next = lowest offset > from where a record is that an index record names
 * (UINT32_MAX: none); *last = highest such offset (0: none), looked at when from is 0 only.
 */
static int named_offsets(struct foreign *x, uint32_t from, uint32_t *next, uint32_t *last)
{
	struct zdb_ns *ns = x->ns;
	struct idx_stream s;
	struct idx_rec r;
	const uint8_t *key;
	uint32_t at;
	int rc = 0;

	*next = UINT32_MAX;
	*last = 0;
	for (uint32_t n = first_naming(ns); rc == 0 && n <= ns->index.number; n++) {
		rc = stream_open(&s, ns, n, IDX_HEADER, x->index_buf);
		if (rc != 0)
			return rc;
		while ((rc = stream_next(&s, &r, &key, &at)) == 1) {
			if (idx_data_file(ns, &r, n) != ns->data.number || r.off <= from)
				continue;
			if (r.off > x->named && r.off < ns->data.size)
				x->named = r.off;
			if (r.off >= *next && (from != 0 || r.off <= *last))
				continue;
			rc = agrees(x, &r, key, from != 0);
			if (rc < 0)
				break;
			if (rc == 1 && r.off < *next)
				*next = r.off;
			if (rc == 1 && r.off > *last)
				*last = r.off;
			rc = 0;
		}
		stream_close(&s);
		if (rc == -EBADMSG)
			rc = 0;
	}
	return rc;
}

/* A place in the log that is not whole.  1: the stream stands where the log goes on; 0: it ends here. */
static int walk_gap(struct foreign *x, struct log_stream *s)
{
	struct zdb_ns *ns = x->ns;
	uint32_t bad = s->off, durable = log_durable(ns, s->number, s->end), named, unused;
	struct log_gap g;
	int rc = log_gap_find(s, false, &g);

	if (rc >= 0 && !g.single) {
		int err = named_offsets(x, bad, &named, &unused);

		if (err != 0)
			return err;
		if (named != UINT32_MAX && (rc == 0 || named < g.next)) {
			s->off = g.next = named;
			rc = 1;
		}
	}
	if (rc != 1)
		return rc;
	if (bad < durable)
		ns->recovery.damaged++;
	else
		ns->recovery.gaps++;
	ns->prev_data = bad;
	if (x->named >= bad && x->named < g.next)
		x->tail = g.next;
	return 1;
}

static int walk_log(struct foreign *x)
{
	struct zdb_ns *ns = x->ns;
	uint32_t last_named, next, at;
	struct log_stream s;
	struct dat_rec d;
	const uint8_t *key;
	int rc = named_offsets(x, 0, &next, &last_named);

	if (rc == 0)
		rc = log_open(&s, ns, ns->data.number, DAT_HEADER, x->log_buf);
	if (rc != 0)
		return rc;
	x->tail = last_named == 0 ? DAT_HEADER : UINT32_MAX;
	for (;;) {
		rc = log_next(&s, &d, &key, &at);
		if (rc == 1) {
			ns->prev_data = at;
			if (at == last_named)
				x->tail = s.off;
			ns->recovery.log_records++;
			continue;
		}
		if (rc != -EBADMSG)
			break;
		rc = walk_gap(x, &s);
		if (rc == 0)
			rc = log_cut(ns, ns->data.number, s.off, s.end);
		else if (rc == 1)
			continue;
		break;
	}
	x->log_end = s.off;
	ns->recovery.log_bytes = s.off - DAT_HEADER;
	log_close(&s);
	if (x->tail > x->log_end)
		x->tail =
			x->log_end; /* the last named record is not whole: nothing behind it was walked as a record */
	return rc;
}

/* Cuts the active index at its first record that is not whole. */
static int walk_index(struct foreign *x)
{
	struct zdb_ns *ns = x->ns;
	struct idx_stream s;
	struct idx_rec r;
	const uint8_t *key;
	uint32_t at;
	int rc = stream_open(&s, ns, ns->index.number, IDX_HEADER, x->index_buf);

	if (rc != 0)
		return rc;
	while ((rc = stream_next(&s, &r, &key, &at)) == 1)
		;
	stream_close(&s);
	if (rc != -EBADMSG)
		return rc;
	ns->recovery.index_cut_bytes += ns->index.size - s.off;
	return tail_cut(ns, &ns->index, s.off);
}

/* ----------------------------------------------------------------------------------------------------- restoring --- */

/* Whether a version may be trusted: in the active segment it must agree, a closed one is verified when it is read. */
static int version_good(struct foreign *x, const struct idx_rec *r, uint32_t index_file, const uint8_t *key)
{
	uint32_t file = idx_data_file(x->ns, r, index_file);

	if (file > x->ns->data.number || r->off < DAT_HEADER)
		return 0;
	return file == x->ns->data.number ? agrees(x, r, key, true) : 1;
}

/* The newest older version that stands: follows parents; -ENOENT none. */
static int older_version(struct foreign *x, const struct idx_rec *from, const uint8_t *key, struct idx_rec *r,
			 struct place *at)
{
	uint8_t found[ZDB_KEY_MAX + 1];
	struct idx_rec cur = *from;

	for (unsigned step = 0; step < 1000 && cur.parent_off != 0; step++) {
		struct place p = {cur.parent_file, cur.parent_off};
		int rc = index_read(x->ns, p, r, found);

		if (rc == -ENOENT ||
		    (rc == 0 && (r->klen != from->klen || memcmp(found, key, from->klen) != 0)))
			return -ENOENT;
		if (rc != 0)
			return rc;
		rc = version_good(x, r, p.file, key);
		if (rc < 0)
			return rc;
		if (rc == 1) {
			*at = p;
			return 0;
		}
		cur = *r;
	}
	return -ENOENT;
}

/* The last whole record of a key in the active log; -ENOENT none, or its last record deletes it. */
static int last_in_log(struct foreign *x, const struct idx_rec *want, const uint8_t *key, struct idx_rec *r)
{
	uint8_t wanted[ZDB_KEY_MAX];
	struct log_stream s;
	struct log_gap gap;
	struct dat_rec d;
	const uint8_t *k;
	uint32_t at;
	bool have = false;
	int rc = log_open(&s, x->ns, x->ns->data.number, DAT_HEADER, x->log_buf);

	if (rc != 0)
		return rc;
	memcpy(wanted, key, want->klen);
	while ((rc = log_next(&s, &d, &k, &at)) == 1 ||
	       (rc == -EBADMSG && (rc = log_gap_find(&s, false, &gap)) == 1)) {
		if (s.last == 0 || d.klen != want->klen || memcmp(k, wanted, d.klen) != 0)
			continue;
		have = (d.flags & FLAG_DELETED) == 0;
		*r = *want;
		r->off = at;
		r->len = d.len;
		r->crc = d.crc;
		r->ts = d.ts;
		r->data_file = x->ns->data.number;
	}
	log_close(&s);
	if (rc == -EIO)
		return rc;
	return have ? 0 : -ENOENT;
}

int foreign_rewrite(struct zdb_ns *ns, struct place at, const struct idx_rec *r)
{
	uint8_t b[IDX_RECORD];
	struct zdb_fd *f;
	int rc = fd_get(ns, INDEX_FILE, at.file, &f);

	if (rc != 0)
		return rc;
	idx_encode(b, r);
	rc = ns_pwrite(ns, f, b, sizeof(b), at.off);
	fd_put(ns->eng, f);
	if (rc == 0)
		rc = bits_reserve(&ns->touched, at.file);
	if (rc == 0)
		bits_set(&ns->touched, at.file);
	return rc;
}

/*
 * A live record names data that are not there.  Everything it is replaced with is durable or verified already, so it is
 * rewritten at once.
 */
static int restore(struct foreign *x, struct place at, const struct idx_rec *r, const uint8_t *key_there)
{
	uint8_t key[ZDB_KEY_MAX + 1];
	struct zdb_ns *ns = x->ns;
	struct idx_rec older;
	struct place older_at;
	int rc;

	memcpy(key, key_there, r->klen); /* the stream's buffer is used again below */
	rc = older_version(x, r, key, &older, &older_at);
	if (rc == 0 && ns->mode == ZDB_USER && older_at.file != at.file) {
		rc = -ENOENT; /* a later record cannot name an older segment, nor can an older one win */
	} else if (rc == 0) { /* the record takes back what its copy, or the version before, says */
		older.prev = r->prev;
		older.flags = 0;
		rc = foreign_rewrite(ns, at, &older);
	}
	if (rc == -ENOENT) {
		rc = last_in_log(x, r, key, &older);
		if (rc == 0 && ns->mode == ZDB_SEQ) /* what it had replaced is what its own copy says */
			older.parent_file = older.parent_off = 0;
		if (rc == 0)
			rc = foreign_rewrite(ns, at, &older);
		if (rc == -ENOENT) {
			ns->recovery.index_lost++;
			return ns->mode == ZDB_SEQ ? foreign_seq_lost(x, get_u64le(key), at) : 0;
		}
	}
	if (rc == 0)
		ns->recovery.index_restored++;
	return rc;
}

static int check_index(struct foreign *x)
{
	struct zdb_ns *ns = x->ns;
	uint32_t durable = log_durable(ns, ns->data.number, ns->data.size);
	struct idx_stream s;
	struct idx_rec r;
	const uint8_t *key;
	uint32_t at;
	int rc = 0;

	for (uint32_t n = first_naming(ns); rc == 0 && n <= ns->index.number; n++) {
		rc = stream_open(&s, ns, n, IDX_HEADER, x->index_buf);
		if (rc != 0)
			return rc;
		while (rc == 0 && (rc = stream_next(&s, &r, &key, &at)) == 1) {
			rc = 0;
			if ((r.flags & FLAG_DELETED) != 0 || idx_data_file(ns, &r, n) != ns->data.number)
				continue;
			rc = agrees(x, &r, key, false);
			if (rc == 0 && r.off < durable)
				ns->recovery.index_lost++;
			else if (rc == 0)
				rc = restore(x, (struct place){n, at}, &r, key);
			else if (rc == 1)
				rc = 0;
		}
		stream_close(&s);
		if (rc == -EBADMSG)
			rc = 0;
	}
	return rc;
}

int foreign_run(struct zdb_ns *ns, char *why, size_t why_size)
{
	struct foreign x = {.ns = ns, .index_buf = mem_alloc(CHUNK_SIZE), .log_buf = mem_alloc(CHUNK_SIZE)};
	struct replay p = {
		.ns = ns, .strict = false, .file = ns->data.number, .why = why, .why_size = why_size};
	int rc = x.index_buf == NULL || x.log_buf == NULL ? -ENOMEM : 0;

	ns->recovery.foreign = true;
	if (rc == 0)
		rc = walk_index(&x);
	if (rc == 0 && ns->mode == ZDB_SEQ)
		rc = load_bases(ns, ns->index.number, ns->index.size);
	if (rc == 0)
		rc = walk_log(&x);
	if (rc == 0)
		rc = check_index(&x);
	if (rc == 0 && ns->mode == ZDB_USER)
		rc = load_keys(ns, ns->index.number, ns->index.size, why, why_size);
	p.off = x.tail;
	p.index_off = ns->index.size;
	if (rc == 0 && ns->mode == ZDB_SEQ)
		rc = foreign_seq_settle(&x, &p);
	if (rc == 0 && p.off < ns->data.size)
		rc = replay_run(&p);
	if (rc == 0 && ns->mode == ZDB_SEQ)
		rc = seq_count(ns);
	ns->recovery.unclean = ns->recovery.data_cut_bytes + ns->recovery.index_cut_bytes +
				       ns->recovery.gaps + ns->recovery.index_appended +
				       ns->recovery.index_rewritten + ns->recovery.index_restored +
				       ns->recovery.index_lost + ns->recovery.damaged !=
			       0;
	mem_free(x.index_buf);
	mem_free(x.log_buf);
	mem_free(x.lost);
	return rc;
}
