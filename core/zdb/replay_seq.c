/*
 * replay_seq.c - what a log record of a sequential namespace did to the index: inserts, updates with their copies, deletions.
 */
#include "core/zdb/replay_int.h"

static bool before(uint32_t file, uint32_t off, uint32_t than_file, uint32_t than_off)
{
	return file < than_file || (file == than_file && off < than_off);
}

enum copy_state { COPY_NONE, COPY_DOUBTFUL, COPY_SOUND };

/* The copy that an update at this place in the log has left in the index, if it did. */
static int copy_there(struct replay *p, const uint8_t *key, struct idx_rec *copy, enum copy_state *state)
{
	const uint8_t *b;
	ssize_t n = replay_peek(p, SEQ_RECORD, &b);

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

int replay_seq_insert(struct replay *p, const struct dat_rec *d, const uint8_t *key)
{
	struct idx_rec r = {.klen = d->klen,
			    .off = named_off(p, d),
			    .len = d->len,
			    .data_file = p->at_file,
			    .ts = d->ts,
			    .crc = d->crc};
	struct place at;
	int rc = replay_put(p, &r, key, &at);

	if (rc != 0)
		return rc;
	p->ns->next_id++;
	p->ns->entries++;
	p->ns->data_size += d->len;
	return 0;
}

int replay_seq_update(struct replay *p, const struct dat_rec *d, const uint8_t *key, struct place at,
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
		if (state == COPY_NONE || copy.data_file != old.data_file || copy.off != old.off ||
		    copy.crc != old.crc || copy.len != old.len)
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
		rc = replay_put(p, &copy, key, &copy_at);
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
	return replay_bound(p);
}

/*
 * A suspect one: a flag in the index file is written after the log is durable up to the deletion, and a deleted id has no later
 * version.  So either this deletion has set it, or an earlier one and nothing changes; the log then says what the index does.
 */
int replay_seq_delete(struct replay *p, const uint8_t *key, struct place at, bool suspect)
{
	struct zdb_ns *ns = p->ns;
	uint8_t found[ZDB_KEY_MAX + 1];
	struct idx_rec r;
	int rc = index_read(ns, at, &r, found);

	if (rc != 0)
		return rc;
	if (memcmp(found, key, ZDB_SEQ_KEY_SIZE) != 0)
		return -ENOENT;
	if (suspect && pend_find(&ns->pend, at.file, at.off) == NULL && (r.flags & FLAG_DELETED) != 0) {
		p->recount = true; /* the flag may be older than the marker and its counts */
		return 0;
	}
	if (suspect)
		return -EBADMSG; /* nothing else knows of it */
	rc = rewrite_reserve(ns, at.file);
	if (rc != 0)
		return rc;
	rewrite_flag(ns, at, SEQ_RECORD);
	ns->entries--;
	ns->data_size -= r.len;
	return replay_bound(p);
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
		rc = replay_seq_insert(p, &d, key);
	}
	p->at_off = at_off;
	return rc;
}

int replay_seq_record(struct replay *p, const struct dat_rec *d, const uint8_t *key, bool suspect)
{
	struct zdb_ns *ns = p->ns;
	uint64_t id = get_u64le(key);
	struct place at;
	int rc;

	suspect = suspect && p->strict;
	if (suspect && d->ts == 0)
		return -EBADMSG; /* the time was lost, and the payload's checksum before it: zeros agree with zeros */
	if ((d->flags & FLAG_TRUNCATED) != 0 && p->at_file == ns->data.number)
		return -EBADMSG; /* compaction only leaves stubs in closed segments */
	if ((d->flags & FLAG_DELETED) == 0 && id > ns->next_id &&
	    id - ns->next_id <= p->lost_bytes / (DAT_RECORD + ZDB_SEQ_KEY_SIZE)) {
		rc = seq_fill(p, id);
		if (rc != 0)
			return rc;
	}
	if ((d->flags & FLAG_DELETED) == 0 && id == ns->next_id)
		return replay_seq_insert(p, d, key);
	if (seq_place(ns, id, &at) != 0)
		return -EBADMSG;
	rc = (d->flags & FLAG_DELETED) != 0 ? replay_seq_delete(p, key, at, suspect)
					    : replay_seq_update(p, d, key, at, suspect);
	return rc == -ENOENT ? -EBADMSG : rc;
}
