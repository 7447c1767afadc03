/*
 * write.c - set and del.
 *
 * The log gets the record first, then the index its appends; the in-place rewrite of an older index record waits in
 * memory (sync.c).  Everything that can fail for memory is reserved before the first byte is written, and a record
 * whose index append fails is taken back from the log.
 */
#include "core/base/mem_copy.h"
#include "core/zdb/zdb_int.h"

int ns_writable(struct zdb_ns *ns)
{
	int rc;

	if (!ns->alive)
		return -ESTALE;
	if (ns->load_error != 0)
		return -EIO;
	if (ns->eng->read_only || ns->write_error != 0)
		return -EROFS;
	rc = pair_left_drop(ns);
	if (rc == 0 && ns->closed_owed >= 0)
		rc = closed_event(ns, (uint32_t)ns->closed_owed);
	return rc;
}

/* Rewrites may not wait without bound: when too many do, apply them now. */
static int rewrites_bound(struct zdb_ns *ns)
{
	if (ns->pend.used + ns->frozen.used < ZDB_PENDING_MAX)
		return 0;
	return sync_everything(ns);
}

/*
 * A record whose header and key cross a sector border, with nothing but zeros from there to that sector's end, looks the
 * same when that sector never reached the disk.  When such a record is made durable, the marker moves behind it, so that
 * recovery never has to guess.  The last byte of that sector; 0: it is no such record.
 */
static uint32_t torn_sector(uint32_t start, const uint8_t *head, const uint8_t *key, size_t klen,
			    const uint8_t *value, size_t vlen)
{
	uint32_t border = (start / SECTOR + 1) * SECTOR, span = border - start;

	if (span >= DAT_RECORD + klen)
		return 0;
	for (size_t i = span; i < DAT_RECORD + klen; i++)
		if ((i < DAT_RECORD ? head[i] : key[i - DAT_RECORD]) != 0)
			return 0;
	if (vlen > SECTOR - (DAT_RECORD + klen - span))
		vlen = SECTOR - (DAT_RECORD + klen - span);
	for (size_t i = 0; i < vlen; i++)
		if (value[i] != 0)
			return 0;
	return border + (SECTOR - 1);
}

/*
 * A record behind it begins with a byte that is not zero.  In the sector that might have been lost it ends the doubt; one that begins
 * later says nothing of that sector, and only a sync helps.
 */
static void doubt_followed(struct zdb_ns *ns, uint32_t off)
{
	if (off > ns->doubt_sector && ns->doubt_end > ns->doubt_lasts)
		ns->doubt_lasts = ns->doubt_end;
	ns->doubt_end = 0;
}

static int log_append(struct zdb_ns *ns, const struct dat_rec *r, const void *key, const void *value,
		      struct zdb_lent *lent, uint32_t *off)
{
	/* Header and key in one piece, so that they reach a page of the kernel together. */
	HOT_BUFFER uint8_t head[DAT_RECORD + ZDB_KEY_MAX];
	struct iovec iov[2] = {{head, DAT_RECORD + r->klen}, {(void *)(uintptr_t)value, r->len}};
	int rc;

	dat_encode(head, r);
	mem_copy(head + DAT_RECORD, key, r->klen);
	*off = ns->data.size;
	rc = tail_append(ns, &ns->data, iov, r->len > 0 ? 2 : 1, DAT_RECORD + r->klen + r->len,
			 r->len > 0 ? lent : NULL);
	if (rc != 0)
		return rc;
	doubt_followed(ns, *off);
	ns->doubt_sector = torn_sector(*off, head, key, r->klen, value, r->len);
	if (ns->doubt_sector != 0) {
		ns->ambiguous = true;
		/* The index knows of all others: not of a deletion yet, nor, in sequential mode, what a header said. */
		if ((r->flags & FLAG_DELETED) != 0 || (ns->mode == ZDB_SEQ && dat_head_crosses(*off)))
			ns->doubt_end = ns->data.size;
	}
	ns->prev_data = *off;
	return 0;
}

/* Takes the last record back out of the log after its index append failed. */
static void log_take_back(struct zdb_ns *ns, uint32_t off, uint32_t prev)
{
	ns->prev_data = prev;
	ns->doubt_lasts = off; /* it may have ended one */
	ns->doubt_end = 0;
	/* On a flight that failed, perhaps for that append: it is in no file, and the namespace takes no more writes. */
	if (ns->data.flights == NULL || off >= flight_end(&ns->data))
		(void)tail_cut(ns, &ns->data, off); /* sets write_error when it fails */
}

/* Offsets are 32-bit: rotate before they end, and when the segment is full. */
static bool must_rotate(const struct zdb_ns *ns, size_t klen, uint64_t vlen, bool by_size)
{
	if ((uint64_t)ns->data.size + DAT_RECORD + klen + vlen > UINT32_MAX)
		return true;
	if ((uint64_t)ns->index.size + 2 * (IDX_RECORD + ZDB_KEY_MAX) > UINT32_MAX)
		return true;
	return by_size && (uint64_t)ns->data.size + vlen > ns->eng->opt.datasize;
}

bool zdb_set_fills(const struct zdb_ns *ns, size_t klen, uint64_t vlen)
{
	return must_rotate(ns, klen, vlen, true);
}

struct change {
	const void *key;
	size_t klen;
	const void *value;
	struct zdb_lent *lent;
	uint32_t vlen, ts, crc;
	bool exists;
	struct place at; /* of the live record */
	struct idx_rec old;
	struct entry *entry; /* user mode */
};

static int set_user(struct zdb_ns *ns, struct change *c)
{
	struct idx_rec r = {.klen = (uint8_t)c->klen,
			    .len = c->vlen,
			    .data_file = ns->data.number,
			    .ts = c->ts,
			    .crc = c->crc};
	struct dat_rec d = {
		.klen = (uint8_t)c->klen, .len = c->vlen, .prev = ns->prev_data, .crc = c->crc, .ts = c->ts};
	struct entry e = {.tag = key_tag(ns->eng, c->key, c->klen), .file = ns->index.number};
	uint32_t prev = ns->prev_data;
	int rc = c->exists ? rewrite_reserve(ns, c->at.file) : table_reserve(&ns->table, e.tag);

	if (rc == 0)
		rc = log_append(ns, &d, c->key, c->value, c->lent, &r.off);
	if (rc != 0)
		return rc;
	if (c->exists) {
		r.parent_file = c->at.file;
		r.parent_off = c->at.off;
	}
	rc = index_append(ns, &r, c->key, &e.index_off);
	if (rc != 0) {
		log_take_back(ns, r.off, prev);
		return rc;
	}
	e.data_off = r.off;
	if (c->exists) {
		rewrite_flag(ns, c->at, IDX_RECORD + r.klen);
		*c->entry = e;
		ns->data_size -= c->old.len;
	} else {
		table_insert(&ns->table, &e);
		ns->entries++;
		ns->key_bytes += c->klen;
		ns->next_id++;
	}
	ns->data_size += c->vlen;
	return 0;
}

static int insert_seq(struct zdb_ns *ns, struct change *c, uint8_t id[ZDB_SEQ_KEY_SIZE])
{
	struct idx_rec r = {.klen = ZDB_SEQ_KEY_SIZE,
			    .len = c->vlen,
			    .data_file = ns->data.number,
			    .ts = c->ts,
			    .crc = c->crc};
	struct dat_rec d = {
		.klen = ZDB_SEQ_KEY_SIZE, .len = c->vlen, .prev = ns->prev_data, .crc = c->crc, .ts = c->ts};
	uint32_t at, prev = ns->prev_data;
	int rc;

	put_u64le(id, ns->next_id);
	rc = log_append(ns, &d, id, c->value, c->lent, &r.off);
	if (rc != 0)
		return rc;
	rc = index_append(ns, &r, id, &at);
	if (rc != 0) {
		log_take_back(ns, r.off, prev);
		return rc;
	}
	ns->next_id++;
	ns->entries++;
	ns->data_size += c->vlen;
	return 0;
}

static int update_seq(struct zdb_ns *ns, struct change *c)
{
	struct idx_rec copy = c->old, now = c->old;
	struct dat_rec d = {
		.klen = ZDB_SEQ_KEY_SIZE, .len = c->vlen, .prev = ns->prev_data, .crc = c->crc, .ts = c->ts};
	uint32_t off, copy_off, prev = ns->prev_data;
	int rc = rewrite_reserve(ns, c->at.file);

	if (rc == 0)
		rc = log_append(ns, &d, c->key, c->value, c->lent, &off);
	if (rc != 0)
		return rc;
	copy.flags |= FLAG_DELETED;
	rc = index_append(ns, &copy, c->key, &copy_off);
	if (rc != 0) {
		log_take_back(ns, off, prev);
		return rc;
	}
	ns->next_id++; /* the copy's place; never valid as a key */
	now.off = off;
	now.len = c->vlen;
	now.data_file = ns->data.number;
	now.ts = c->ts;
	now.crc = c->crc;
	now.flags = 0;
	now.parent_file = ns->index.number;
	now.parent_off = copy_off;
	rewrite_whole(ns, c->at, &now);
	ns->data_size += c->vlen - (uint64_t)c->old.len;
	return 0;
}

static int look_up(struct zdb_ns *ns, struct change *c)
{
	int rc;

	if (c->klen == 0)
		return 0;
	rc = index_find(ns, c->key, c->klen, &c->at, &c->old, &c->entry);
	if (rc == 0)
		c->exists = true;
	return rc == -ENOENT ? 0 : rc;
}

static bool unchanged(struct zdb_ns *ns, const struct change *c)
{
	if (!c->exists || c->old.len != c->vlen || c->old.crc != c->crc)
		return false;
	if (c->vlen == 0)
		return true;
	return value_equal(ns, idx_data_file(ns, &c->old, c->at.file), c->old.off, c->key, c->klen, c->value,
			   c->vlen) == 1;
}

/* The limit counts what is live afterwards.  One near 2^64 is none that could be passed. */
static bool over_quota(const struct zdb_ns *ns, const struct change *c)
{
	uint64_t replaced = c->exists ? c->old.len : 0;

	if (ns->maxsize == 0 || ns->maxsize > UINT64_MAX - replaced)
		return false;
	return ns->data_size + c->vlen > ns->maxsize + replaced;
}

int zdb_set(struct zdb_ns *ns, const void *key, size_t klen, const void *value, size_t vlen, uint32_t ts,
	    struct zdb_set_result *result)
{
	return zdb_set_lent(ns, key, klen, value, vlen, ts, result, NULL);
}

int zdb_set_lent(struct zdb_ns *ns, const void *key, size_t klen, const void *value, size_t vlen, uint32_t ts,
		 struct zdb_set_result *result, struct zdb_lent *lent)
{
	struct change c = {
		.key = key, .klen = klen, .value = value, .lent = lent, .vlen = (uint32_t)vlen, .ts = ts};
	int rc;

	if (klen > ZDB_KEY_MAX)
		return -EINVAL;
	if (vlen > ZDB_PAYLOAD_MAX)
		return -E2BIG;
	rc = ns_writable(ns);
	if (rc == 0)
		rc = look_up(ns, &c);
	if (rc != 0)
		return rc;
	if (c.exists && ns->desc.worm)
		return -EPERM;
	if (over_quota(ns, &c))
		return -E_LIMIT;
	/* Upstream rotates before it looks at the key and compares the value, so files grow alike. */
	if (must_rotate(ns, klen, vlen, true)) {
		rc = rotate(ns);
		if (rc != 0)
			return rc;
	}
	if (ns->mode == ZDB_USER && klen == 0)
		return -EINVAL;
	if (ns->mode == ZDB_SEQ && klen != 0 && !c.exists)
		return -ENOENT;
	c.crc = zdb_crc(0, value, vlen);
	if (unchanged(ns, &c)) {
		result->outcome = ZDB_UNCHANGED;
		return 0;
	}
	rc = mark_open(ns);
	if (rc == 0)
		rc = rewrites_bound(ns);
	if (rc != 0)
		return rc;
	result->outcome = ZDB_STORED;
	if (ns->mode == ZDB_USER) {
		rc = set_user(ns, &c);
	} else if (c.exists) {
		rc = update_seq(ns, &c);
	} else {
		result->outcome = ZDB_INSERTED;
		rc = insert_seq(ns, &c, result->key);
	}
	if (rc == 0 && flight_full(&ns->data))
		(void)flight_start(ns); /* an error is of those before, and told by them */
	return rc;
}

bool zdb_ns_doubtful(const struct zdb_ns *ns)
{
	return ns->doubt_end > ns->synced || ns->doubt_lasts > ns->synced;
}

int zdb_del(struct zdb_ns *ns, const void *key, size_t klen, uint32_t ts)
{
	struct dat_rec d = {.klen = (uint8_t)klen, .flags = FLAG_DELETED, .ts = ts};
	struct change c = {.key = key, .klen = klen};
	uint32_t off;
	int rc;

	if (klen > ZDB_KEY_MAX)
		return -EINVAL;
	rc = ns_writable(ns);
	if (rc == 0)
		rc = look_up(ns, &c);
	if (rc != 0)
		return rc;
	if (!c.exists)
		return -ENOENT;
	if (ns->desc.worm)
		return -EPERM;
	if (must_rotate(ns, klen, 0, false)) {
		rc = rotate(ns);
		if (rc != 0)
			return rc;
	}
	rc = mark_open(ns);
	if (rc == 0)
		rc = rewrites_bound(ns);
	if (rc == 0)
		rc = rewrite_reserve(ns, c.at.file);
	if (rc != 0)
		return rc;
	d.prev = ns->prev_data;
	rc = log_append(ns, &d, key, NULL, NULL, &off);
	if (rc != 0)
		return rc;
	rewrite_flag(ns, c.at, SEQ_RECORD);
	if (ns->mode == ZDB_USER)
		table_remove(&ns->table, c.entry);
	ns->entries--;
	ns->key_bytes -= klen;
	ns->data_size -= c.old.len;
	return 0;
}

/* The end of a turn: what is worth it leaves by a flight.  1: something is on its way still. */
static int flush_turn(struct zdb_ns *ns)
{
	struct tail *t = &ns->data;
	int rc = 0;

	if (t->flights != NULL || (t->loading != NULL && tail_gathered(t) >= ns->eng->opt.flight_min))
		rc = flight_start(ns);
	else
		rc = ns_flush_tails(ns);
	return rc != 0 ? rc : t->flights != NULL;
}

static int flush_idle(struct zdb_ns *ns)
{
	return ns->job != NULL ? 1 : flush_turn(ns);
}

/*
 * `fn` for all that have something gathered; those of which it said 1, and those that failed, are looked at again next time.
 * once: an error that was told is not told again, since the namespace takes no more writes and others do.
 */
static int flush_each(struct zdb *eng, int (*fn)(struct zdb_ns *ns), bool once)
{
	struct list left;
	struct list *it;
	int first = 0;

	list_init(&left);
	while ((it = list_pop(&eng->unflushed)) != NULL) {
		struct zdb_ns *ns = container_of(it, struct zdb_ns, unflushed);
		int rc = fn(ns);

		if (rc != 0)
			list_add_tail(&left, it);
		if (rc < 0 && first == 0 && !(once && ns->flush_failed))
			first = rc;
		if (once && rc <= 0)
			ns->flush_failed = rc < 0;
	}
	list_splice_tail(&eng->unflushed, &left);
	return first;
}

int zdb_flush(struct zdb *eng)
{
	return flush_each(eng, flush_turn, true);
}

int zdb_flush_idle(struct zdb *eng)
{
	return flush_each(eng, flush_idle, true);
}

int flush_all(struct zdb *eng)
{
	return flush_each(eng, ns_flush_tails, false);
}

bool zdb_gathers(const struct zdb *eng)
{
	return !list_is_empty(&eng->unflushed);
}
