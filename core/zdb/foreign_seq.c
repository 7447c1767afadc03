/*
 * foreign_seq.c - what is particular to sequential mode when somebody else has written.
 *
 * An update appends a copy of the old record to the active index and rewrites the record of the id in place, in whatever file that
 * is.  After a power cut the active index may be torn while records in older files are ahead: they name records of the log, and
 * copies, that lie behind its end.  So the highest named place in the log does not say how far the index follows it.  Counting does: each
 * insert and each update took one index record, in the order of the log.  If what is left of the index agrees with that, the log
 * alone says the rest, and it is replayed from its start, as after a crash of our own.
 *
 * A record whose data and copy are both lost gets the last version that the closed segments hold, from the newest on, as
 * long as they are here and whole; what a missing or damaged one may hide is not guessed.
 */
#include <stdlib.h>

#include "core/zdb/foreign_int.h"

struct lost_id {
	uint64_t id;
	struct place at;
	bool settled;
	/* in the segment that is walked */
	bool seen, dropped; /* dropped: its last record there holds no version */
	struct dat_rec d;
	uint32_t off;
};

int foreign_seq_lost(struct foreign *x, uint64_t id, struct place at)
{
	if (id >= x->ns->bases[x->ns->index.number])
		return 0; /* inserted in the active segment: no other can have it */
	if (x->lost_count == x->lost_cap) {
		size_t cap = x->lost_cap == 0 ? 64 : x->lost_cap * 2;
		struct lost_id *grown = mem_realloc_array(x->lost, cap, sizeof(*grown));

		if (grown == NULL)
			return -ENOMEM;
		x->lost = grown;
		x->lost_cap = cap;
	}
	x->lost[x->lost_count++] = (struct lost_id){.id = id, .at = at};
	return 0;
}

static int by_id(const void *a, const void *b)
{
	const struct lost_id *l = a, *r = b;

	return l->id < r->id ? -1 : l->id > r->id;
}

/* Walks one closed segment.  -EBADMSG: it is damaged, and what is there may hide a later version. */
static int look_through(struct foreign *x, uint32_t segment)
{
	struct log_stream s;
	struct dat_rec d;
	const uint8_t *key;
	uint32_t at;
	int rc = log_open(&s, x->ns, segment, DAT_HEADER, x->log_buf);

	if (rc != 0)
		return rc;
	for (size_t i = 0; i < x->lost_count; i++)
		x->lost[i].seen = false;
	while ((rc = log_next(&s, &d, &key, &at)) == 1) {
		struct lost_id want = {.id = get_u64le(key)};
		struct lost_id *l = bsearch(&want, x->lost, x->lost_count, sizeof(*l), by_id);

		if (l == NULL || l->settled)
			continue;
		l->seen = true;
		l->dropped = d.flags != 0;
		l->d = d;
		l->off = at;
	}
	log_close(&s);
	return rc;
}

static int take_version(struct foreign *x, struct lost_id *l, uint32_t segment)
{
	uint8_t key[ZDB_KEY_MAX + 1];
	struct idx_rec r;
	int rc = index_read(x->ns, l->at, &r, key);

	if (rc != 0)
		return rc == -ENOENT ? -EIO : rc;
	r.off = l->off;
	r.len = l->d.len;
	r.crc = l->d.crc;
	r.ts = l->d.ts;
	r.data_file = segment;
	r.parent_file = r.parent_off = 0;
	rc = foreign_rewrite(x->ns, l->at, &r);
	if (rc == 0) {
		x->ns->recovery.index_lost--;
		x->ns->recovery.index_restored++;
	}
	return rc;
}

static int search_closed(struct foreign *x)
{
	struct zdb_ns *ns = x->ns;
	size_t left = x->lost_count;
	int rc = 0;

	if (left == 0 || ns->recovery.gaps + ns->recovery.damaged > 0)
		return 0; /* a gap in the active log may have held the very version */
	qsort(x->lost, x->lost_count, sizeof(*x->lost), by_id);
	for (uint32_t n = ns->data.number; rc == 0 && left > 0 && n-- > 0;) {
		rc = look_through(x, n);
		for (size_t i = 0; rc == 0 && i < x->lost_count; i++) {
			struct lost_id *l = &x->lost[i];

			if (!l->seen || l->settled)
				continue;
			l->settled = true;
			left--;
			if (!l->dropped)
				rc = take_version(x, l, n);
		}
	}
	return rc == -ENOENT || rc == -EBADMSG ? 0 : rc;
}

/* The next index record, if there is one.  *agrees: it is what a log record of this id has appended. */
static int compare_next(struct idx_stream *is, uint64_t id, bool insert, bool *there, bool *agrees)
{
	const uint8_t *key;
	struct idx_rec r;
	uint32_t at;
	int rc = stream_next(is, &r, &key, &at);

	*there = rc == 1;
	*agrees = rc == 1 && r.klen == ZDB_SEQ_KEY_SIZE && get_u64le(key) == id &&
		  (insert || (r.flags & FLAG_DELETED) != 0);
	return rc < 0 ? rc : 0;
}

/* How far the index records of the active file are, one by one, those of the log's inserts and updates. */
enum following {
	PARTS,  /* they are others: nothing can be said */
	SHORT,  /* as far as they go; the log goes on */
	WHOLE,  /* all of them */
	LONGER, /* all of them, and the log has lost records that more of them name */
};

static int follow_log(struct foreign *x, struct idx_stream *is, struct log_stream *s, enum following *f)
{
	uint64_t next = x->ns->bases[x->ns->index.number];
	bool there = true, agrees = true;
	const uint8_t *key;
	struct dat_rec d;
	uint32_t at;
	int rc;

	while (there && agrees && (rc = log_next(s, &d, &key, &at)) == 1) {
		uint64_t id = d.klen == ZDB_SEQ_KEY_SIZE ? get_u64le(key) : UINT64_MAX;

		if ((d.flags & FLAG_DELETED) != 0)
			continue;
		rc = id > next ? -EBADMSG : compare_next(is, id, id == next, &there, &agrees);
		if (rc != 0)
			return rc;
		next++;
	}
	if (there && agrees && rc == 0) {
		rc = compare_next(is, 0, false, &there, &agrees);
		*f = there ? LONGER : WHOLE;
	} else if (!there) {
		*f = SHORT;
	}
	return rc < 0 ? rc : 0;
}

static int following(struct foreign *x, enum following *f)
{
	struct zdb_ns *ns = x->ns;
	struct idx_stream is;
	struct log_stream s;
	int rc = stream_open(&is, ns, ns->index.number, IDX_HEADER, x->index_buf);

	*f = PARTS;
	if (rc != 0)
		return rc;
	rc = log_open(&s, ns, ns->data.number, DAT_HEADER, x->log_buf);
	if (rc == 0)
		rc = follow_log(x, &is, &s, f);
	log_close(&s);
	stream_close(&is);
	return rc == -EBADMSG ? 0 : rc;
}

/*
 * The replay makes the records of the active index as they were inserted, before it comes to what changed them: it has to be gone
 * through.  So all that was found and mended becomes durable, and then the marker says where every start begins from now on.
 */
static int begin_at_start(struct foreign *x, struct replay *p)
{
	struct zdb_ns *ns = x->ns;
	int rc = sync_everything(ns);

	if (rc == 0 && sys->syncfs(ns->index.f->fd) != 0)
		rc = -EIO; /* somebody else's writes, in any number of files */
	if (rc == 0)
		rc = mark_back(ns, ns->data.number, ns->data.number);
	p->off = DAT_HEADER;
	p->index_off = IDX_HEADER;
	ns->next_id = ns->bases[ns->index.number];
	ns->prev_index = seq_prev(ns, ns->index.number, IDX_HEADER);
	return rc;
}

int foreign_seq_settle(struct foreign *x, struct replay *p)
{
	struct zdb_ns *ns = x->ns;
	const struct zdb_recovery *r = &ns->recovery;
	enum following f;
	int rc = search_closed(x);

	if (rc == 0)
		rc = following(x, &f);
	if (rc != 0)
		return rc;
	if (f == LONGER) /* nothing that a replay could append; the ids that were given stay given */
		p->off = ns->data.size;
	else if (f == SHORT ||
		 (f == WHOLE && (p->off < ns->data.size || r->index_restored + r->index_lost != 0)))
		rc = begin_at_start(x, p);
	return rc;
}
