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

/* The record of an id as it was before the log record in hand. */
struct version {
	struct idx_rec rec;
	bool known; /* false: it was rewritten ahead and its copy is gone (only when the index file itself was lost) */
	bool updated; /* the index knows of an update of this id at this place, whatever is left of the log record */
};

static bool same_data(const struct idx_rec *a, const struct idx_rec *b)
{
	return a->data_file == b->data_file && a->off == b->off && a->len == b->len && a->crc == b->crc;
}

static int version_before(struct replay *p, struct place at, const uint8_t *key, struct version *v)
{
	uint8_t found[ZDB_KEY_MAX + 1];
	struct idx_rec copy;
	enum copy_state state;
	bool made, ahead, same;
	int rc = index_read(p->ns, at, &v->rec, found);

	if (rc == 0 && memcmp(found, key, ZDB_SEQ_KEY_SIZE) != 0)
		rc = -ENOENT; /* a copy's place */
	if (rc == 0)
		rc = copy_there(p, key, &copy, &state);
	if (rc != 0)
		return rc;
	made = pend_find(&p->ns->pend, at.file, at.off) != NULL ||
	       !before(at.file, at.off, p->start_file, p->start_off); /* by this replay */
	ahead = !made && !before(v->rec.data_file, v->rec.off, p->at_file, p->at_off);
	same = state != COPY_NONE && same_data(&copy, &v->rec);
	v->known = true;
	v->updated = same || (ahead && state != COPY_NONE) || (!made && state == COPY_SOUND);
	if (made)
		return 0;
	/* A whole copy counts more than the record: the record may be half rewritten.  One that lies in one sector is not. */
	if (state == COPY_SOUND ||
	    (state == COPY_DOUBTFUL && (ahead || at.off / SECTOR != (at.off + IDX_RECORD - 1) / SECTOR))) {
		copy.prev = v->rec.prev;
		v->rec = copy;
	} else if (ahead) {
		v->known = false;
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
	struct idx_rec copy, now;
	struct place copy_at;
	struct version v;
	int rc = version_before(p, at, key, &v);

	if (rc != 0)
		return rc;
	if (suspect && !v.updated)
		return -EBADMSG;
	now = copy = v.rec;
	if (!v.known) { /* history ends here: such a copy names no data */
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
	ns->data_size += d->len - (uint64_t)(v.known ? v.rec.len : d->len);
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

	if (suspect && dat_head_crosses(p->at_off))
		return -EBADMSG; /* what was lost of it may be the checksum of the payload: zeros agree with zeros */
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
