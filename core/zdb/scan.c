/*
 * scan.c - walking the index: SCAN in both directions, HISTORY, and the cursors of both.
 *
 * Forward walks stream the files.  Backward walks follow the field `previous` as long as the record it names ends where
 * the present one starts; where somebody else got it wrong (rotations without records, crashes) the file is parsed.
 */
#include "core/base/clock.h"
#include "core/zdb/zdb_int.h"

#define CLOCK_EVERY 16u /* entries between two looks at the clock */

struct scan {
	struct zdb_ns *ns;
	uint32_t max, budget_us, listed;
	uint64_t deadline_ns;
	bool (*fn)(void *ctx, const struct zdb_entry *e);
	void *ctx;
	uint8_t *next;
	bool stop;
};

static void cursor_encode(uint8_t b[ZDB_CURSOR_SIZE], const struct idx_rec *r, struct place at)
{
	b[0] = r->klen;
	put_u32le(b + 1, at.file);
	put_u32le(b + 5, r->len);
	put_u32le(b + 9, at.off);
	put_u32le(b + 13, r->crc);
}

/* Whether a record of i<file> starts at off, seen from the record that it names as the one before it. */
static bool follows(struct zdb_ns *ns, struct place at, const struct idx_rec *r)
{
	uint8_t key[ZDB_KEY_MAX + 1];
	struct idx_rec before;

	if (at.off == IDX_HEADER)
		return true;
	return r->prev < at.off && index_read(ns, (struct place){at.file, r->prev}, &before, key) == 0 &&
	       r->prev + IDX_RECORD + before.klen == at.off;
}

/* The same by parsing the file, for records whose `previous` somebody else got wrong.  1, 0 or a negative code. */
static int record_starts(struct zdb_ns *ns, struct place at)
{
	struct idx_stream s;
	struct idx_rec r;
	const uint8_t *key;
	uint8_t *buf = mem_alloc(CHUNK_SIZE);
	uint32_t off;
	int rc;

	if (buf == NULL)
		return -ENOMEM;
	rc = stream_open(&s, ns, at.file, IDX_HEADER, buf);
	if (rc == 0) {
		while ((rc = stream_next(&s, &r, &key, &off)) == 1 && off < at.off)
			;
		if (rc >= 0 || rc == -EBADMSG)
			rc = rc == 1 && off == at.off;
		stream_close(&s);
	}
	mem_free(buf);
	return rc;
}

static int cursor_decode(struct zdb_ns *ns, const uint8_t *b, size_t size, struct place *at,
			 uint32_t *record_size)
{
	uint8_t key[ZDB_KEY_MAX + 1];
	struct idx_rec r;
	int rc;

	if (size != ZDB_CURSOR_SIZE)
		return -EINVAL;
	at->file = get_u32le(b + 1);
	at->off = get_u32le(b + 9);
	rc = index_read(ns, *at, &r, key);
	if (rc == -EIO || rc == -ENOMEM)
		return rc;
	if (rc != 0 || r.klen != b[0] || r.len != get_u32le(b + 5) || r.crc != get_u32le(b + 13))
		return -EINVAL;
	if (ns->mode == ZDB_SEQ)
		rc = (at->off - IDX_HEADER) % SEQ_RECORD == 0;
	else
		rc = follows(ns, *at, &r) ? 1 : record_starts(ns, *at);
	*record_size = IDX_RECORD + r.klen;
	return rc == 1 ? 0 : rc == 0 ? -EINVAL : rc;
}

/* Lists one record if it is live.  Sequential: copies are not listed. */
static void scan_record(struct scan *x, const struct idx_rec *r, const uint8_t *key, struct place at)
{
	struct zdb_entry e = {.key = key, .klen = r->klen, .length = r->len, .timestamp = r->ts};

	if ((r->flags & FLAG_DELETED) != 0)
		return;
	cursor_encode(x->next, r, at);
	x->listed++;
	if (!x->fn(x->ctx, &e) || x->listed == x->max)
		x->stop = true;
	else if (x->budget_us != 0 && x->listed % CLOCK_EVERY == 0 && clock_mono_ns() >= x->deadline_ns)
		x->stop = true;
}

static void overlay_any(const struct zdb_ns *ns, struct place at, struct idx_rec *r)
{
	if (ns->pend.used != 0 || ns->frozen.used != 0)
		index_overlay(ns, at, r);
}

static int scan_forward(struct scan *x, struct place from)
{
	uint8_t *buf = mem_alloc(CHUNK_SIZE);
	struct idx_stream s;
	struct idx_rec r;
	const uint8_t *key;
	uint32_t at;
	int rc = buf == NULL ? -ENOMEM : 0;

	for (uint32_t n = from.file; rc == 0 && !x->stop && n <= x->ns->index.number; n++) {
		rc = stream_open(&s, x->ns, n, n == from.file ? from.off : IDX_HEADER, buf);
		if (rc != 0)
			break;
		while (!x->stop && (rc = stream_next(&s, &r, &key, &at)) == 1) {
			overlay_any(x->ns, (struct place){n, at}, &r);
			scan_record(x, &r, key, (struct place){n, at});
		}
		stream_close(&s);
		if (rc == -EBADMSG || rc == 1)
			rc = 0; /* recovery has reported what cannot be parsed */
	}
	mem_free(buf);
	return rc;
}

/* ---------------------------------------------------------------------------------------------------- backward --- */

/* The last record of i<file> that starts before `end`, by parsing the file: 1 found, 0 none. */
static int parse_back(struct zdb_ns *ns, uint32_t file, uint32_t end, struct place *at)
{
	uint8_t *buf = mem_alloc(CHUNK_SIZE);
	struct idx_stream s;
	struct idx_rec r;
	const uint8_t *key;
	uint32_t off, last = 0;
	int rc = buf == NULL ? -ENOMEM : stream_open(&s, ns, file, IDX_HEADER, buf);

	if (rc == 0) {
		while ((rc = stream_next(&s, &r, &key, &off)) == 1 && off < end)
			last = off;
		stream_close(&s);
		*at = (struct place){file, last};
		rc = rc < 0 && rc != -EBADMSG ? rc : last != 0;
	}
	mem_free(buf);
	return rc;
}

/* The record that ends at `end` in i<file>: where `hint` says, or found by parsing.  1 found, 0 none, negative code. */
static int record_before(struct zdb_ns *ns, uint32_t file, uint32_t end, uint32_t hint, struct place *at)
{
	uint8_t key[ZDB_KEY_MAX + 1];
	struct idx_rec r;

	if (end <= IDX_HEADER)
		return 0;
	if (ns->mode == ZDB_SEQ) {
		*at = (struct place){file, IDX_HEADER + ((end - IDX_HEADER) / SEQ_RECORD - 1) * SEQ_RECORD};
		return end - IDX_HEADER >= SEQ_RECORD;
	}
	if (hint >= IDX_HEADER && hint < end && index_read(ns, (struct place){file, hint}, &r, key) == 0 &&
	    hint + IDX_RECORD + r.klen == end) {
		*at = (struct place){file, hint};
		return 1;
	}
	return parse_back(ns, file, end, at);
}

static int64_t index_end(struct zdb_ns *ns, uint32_t file)
{
	struct zdb_fd *f;
	uint32_t size;
	int rc;

	if (file == ns->index.number)
		return ns->index.size;
	rc = fd_get_sized(ns, INDEX_FILE, file, &f, &size);
	if (rc != 0)
		return rc;
	fd_put(ns->eng, f);
	return size;
}

/* From the record before `from` towards the first. */
static int scan_backward(struct scan *x, struct place from)
{
	uint8_t key[ZDB_KEY_MAX + 1];
	struct zdb_ns *ns = x->ns;
	struct place at = from;
	struct idx_rec r;
	uint32_t hint = ns->prev_index;
	int rc = 0;

	if (from.off != UINT32_MAX) { /* a cursor: its record names the one before it */
		rc = index_read(ns, from, &r, key);
		if (rc != 0)
			return -EIO;
		hint = r.prev;
	}
	while (!x->stop) {
		int64_t end = at.off == UINT32_MAX ? index_end(ns, at.file) : (int64_t)at.off;
		uint32_t file = at.file;

		if (end < 0)
			return (int)end;
		rc = record_before(ns, file, (uint32_t)end, hint, &at);
		if (rc < 0)
			return rc;
		if (rc ==
		    0) { /* an empty file, or its first record: the same hint holds for the file before */
			if (file == 0)
				return 0;
			at = (struct place){file - 1, UINT32_MAX};
			continue;
		}
		rc = index_read(ns, at, &r, key);
		if (rc == -ENOENT && ns->mode == ZDB_SEQ)
			continue; /* a damaged record: the ones before it have their places all the same */
		if (rc != 0)
			return rc;
		hint = r.prev;
		scan_record(x, &r, key, at);
	}
	return 0;
}

int zdb_scan(struct zdb_ns *ns, const void *cursor, size_t cursor_size, bool backward, uint32_t max,
	     uint32_t budget_us, bool (*fn)(void *ctx, const struct zdb_entry *e), void *ctx,
	     uint8_t next[ZDB_CURSOR_SIZE])
{
	struct scan x = {.ns = ns, .max = max, .budget_us = budget_us, .fn = fn, .ctx = ctx, .next = next};
	struct place from = {0, IDX_HEADER};
	uint32_t size = 0;
	int rc = 0;

	if (ns->load_error != 0)
		return -EIO;
	if (cursor_size != 0) {
		rc = cursor_decode(ns, cursor, cursor_size, &from, &size);
		if (rc != 0)
			return rc;
		if (!backward)
			from.off += size;
	} else if (backward) {
		from = (struct place){ns->index.number, UINT32_MAX};
	}
	if (budget_us != 0)
		x.deadline_ns = clock_mono_ns() + (uint64_t)budget_us * 1000;
	rc = backward ? scan_backward(&x, from) : scan_forward(&x, from);
	if (rc != 0 && x.listed == 0)
		return rc == -ENOMEM ? rc : -EIO;
	return x.listed == 0 ? -ENODATA : 0;
}

int zdb_keycur(struct zdb_ns *ns, const void *key, size_t klen, uint8_t cursor[ZDB_CURSOR_SIZE])
{
	struct idx_rec r;
	struct place at;
	int rc = index_find(ns, key, klen, &at, &r, NULL);

	if (rc == 0)
		cursor_encode(cursor, &r, at);
	return rc;
}

/* ----------------------------------------------------------------------------------------------------- history --- */

/* Whether the version before is still there; one in a segment that is not here is taken for it. */
static bool older_there(struct zdb_ns *ns, const struct idx_rec *r, const void *key, size_t klen)
{
	struct place at = {r->parent_file, r->parent_off};
	uint8_t found[ZDB_KEY_MAX + 1];
	struct zdb_read rd;
	struct idx_rec older;
	uint32_t file;
	int rc;

	if (at.off == 0)
		return false;
	if (index_read(ns, at, &older, found) != 0)
		return true; /* reading it will say what is wrong */
	file = idx_data_file(ns, &older, at.file);
	if (older.off >= DAT_HEADER && compact_was(ns, file) != 1)
		return true;
	rc = read_older(ns, file, &older, key, klen, &rd, NULL);
	if (rc == 0)
		zdb_read_end(ns, &rd);
	return rc != -ENODATA;
}

int zdb_history(struct zdb_ns *ns, const void *key, size_t klen, const void *cursor, size_t cursor_size,
		struct zdb_read *rd, uint8_t next[ZDB_HISTORY_SIZE], bool *more, struct zdb_waiter *w)
{
	uint8_t found[ZDB_KEY_MAX + 1];
	struct idx_rec r;
	struct place at;
	int rc;

	if (cursor_size == 0) {
		rc = index_find(ns, key, klen, &at, &r, NULL);
		if (rc != 0)
			return rc;
	} else {
		if (cursor_size != ZDB_HISTORY_SIZE)
			return -EINVAL;
		at.file = get_u32le(cursor);
		at.off = get_u32le((const uint8_t *)cursor + 4);
		if (at.file == 0 && at.off == 0)
			return -ENODATA;
		rc = index_read(ns, at, &r, found);
		if (rc != 0)
			return rc == -ENOENT ? -ESPIPE : rc;
		if (r.klen != klen || memcmp(found, key, klen) != 0)
			return -EBADMSG;
	}
	*more = older_there(ns, &r, key, klen);
	put_u32le(next, r.parent_file);
	put_u32le(next + 4, r.parent_off);
	if ((r.flags & FLAG_DELETED) == 0)
		return read_exact(ns, idx_data_file(ns, &r, at.file), &r, key, klen, rd, w);
	return read_older(ns, idx_data_file(ns, &r, at.file), &r, key, klen, rd, w);
}
