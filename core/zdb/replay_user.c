/*
 * replay_user.c - what a log record of a user-key namespace did to the index and to the table of keys.
 */
#include "core/zdb/replay_int.h"

/* The index record that belongs to the log record in hand, if it is there.  sound: no lost sector would look like it. */
static int witness(struct replay *p, const struct dat_rec *d, const uint8_t *key, struct idx_rec *r,
		   bool *there, bool *sound)
{
	const uint8_t *b;
	ssize_t n = replay_peek(p, IDX_RECORD + d->klen, &b);

	*there = *sound = false;
	if (n < 0)
		return (int)n;
	if (n < (ssize_t)IDX_RECORD + d->klen)
		return 0;
	idx_decode(r, b);
	*there = r->klen == d->klen && r->off == p->at_off && r->len == d->len && r->crc == d->crc &&
		 r->ts == d->ts && memcmp(b + IDX_RECORD, key, d->klen) == 0;
	*sound = *there && !crosses_into_zeros(b, IDX_RECORD + d->klen, p->out_off);
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

/*
 * A suspect one needs a sound index record.  Where both may have lost the end of the key, the parent that the index record names
 * tells it; without a parent nothing was flagged for it, so that it may go.
 */
int replay_user_set(struct replay *p, const struct dat_rec *d, const uint8_t *key, bool suspect)
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
	bool there, sound;
	int rc = witness(p, d, key, &seen, &there, &sound), found;

	if (rc != 0)
		return rc;
	parent = (struct place){seen.parent_file, seen.parent_off};
	if (suspect && !sound && !(there && place_has_key(p, parent, key, d->klen)))
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
	rc = replay_put(p, &r, key, &at);
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
	return replay_bound(p);
}

int replay_user_delete(struct replay *p, const struct dat_rec *d, const uint8_t *key, bool suspect)
{
	struct zdb_ns *ns = p->ns;
	struct entry *old = NULL;
	struct idx_rec was;
	struct place at;
	int rc;

	rc = index_find(ns, key, d->klen, &at, &was, &old);
	if (rc == -ENOENT)
		return 0; /* flagged already, perhaps by this deletion: so a suspect one stays in the log */
	if (rc == 0 && suspect)
		return -EBADMSG;
	if (rc == 0)
		rc = rewrite_reserve(ns, at.file);
	if (rc != 0)
		return rc;
	rewrite_flag(ns, at, IDX_RECORD + was.klen);
	table_remove(&ns->table, old);
	ns->entries--;
	ns->key_bytes -= d->klen;
	ns->data_size -= was.len;
	return replay_bound(p);
}

int replay_user_record(struct replay *p, const struct dat_rec *d, const uint8_t *key, bool suspect)
{
	if ((d->flags & FLAG_TRUNCATED) != 0)
		return 0;
	return (d->flags & FLAG_DELETED) != 0 ? replay_user_delete(p, d, key, suspect)
					      : replay_user_set(p, d, key, suspect);
}
