/*
 * compact_copy.c - one segment's records that are kept, into a new file, and the intent that tells where they went.
 *
 * Runs in any thread beside the owner: it opens files by itself and touches nothing of the namespace but its paths and
 * its mode.  Every record is verified as recovery would: header, `previous`, CRC.  A record that is not whole, or one
 * that lives by the index and is not in the log, ends it: the file is refused as it is.
 *
 * User mode: i<N> names the records of d<N> in the same order, so both are walked side by side.  Sequential mode: the
 * place of each record's id is looked up, which for inserted records is the next one in the same block.
 */
#include <stdarg.h>
#include <stdio.h>

#include "core/base/file.h"
#include "core/coding/content_id.h"
#include "core/zdb/compact_int.h"

#define HEADS_CHUNK  4096u /* walking headers only */
#define PLACES_CHUNK 4096u

/* Buffered reading of one file. */
struct reader {
	int fd;
	uint64_t size;
	uint32_t chunk;
	uint8_t *buf;
	uint64_t off;
	uint32_t len;
};

/* Buffered writing of one file from its start. */
struct writer {
	int fd;
	uint64_t size, kicked;
	uint32_t used;
	uint8_t *buf;
	struct content_id *id; /* of what was written; NULL when nobody asks */
};

enum fate { FATE_KEEP, FATE_DROP, FATE_STUB };

struct copier {
	struct zdb_compact *c;
	struct zdb_ns *ns;
	struct reader data, index; /* index: user mode i<N>; sequential: the file of the last place */
	uint32_t index_number, index_off, ordinal;
	struct idx_rec named; /* user mode: the next record that the index names */
	struct place named_at;
	uint8_t named_key[ZDB_KEY_MAX + 1];
	bool named_there, named_kept;
	struct writer out, rows;
	uint32_t rows_count, rows_sum;
	uint64_t gain;           /* bytes that go */
	uint32_t last, last_new; /* offsets of the record before, in both files */
};

static int refuse(struct copier *x, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static int refuse(struct copier *x, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(x->c->why, sizeof(x->c->why), fmt, ap); /* cut when too long */
	va_end(ap);
	return -EBADMSG;
}

/* ---------------------------------------------------------------------------------------- reading and writing --- */

static int reader_open(struct reader *r, const struct zdb_ns *ns, enum which which, uint32_t number,
		       uint32_t chunk)
{
	char path[ZDB_PATH_MAX];
	struct stat st;
	int rc = file_path(ns, which, number, "", path);

	*r = (struct reader){.fd = -1, .chunk = chunk};
	if (rc != 0)
		return rc;
	r->fd = sys->open(path, O_RDONLY, 0);
	if (r->fd < 0)
		return -errno;
	if (sys->fstat(r->fd, &st) != 0)
		return -EIO;
	r->size = (uint64_t)st.st_size;
	r->buf = mem_alloc(chunk);
	return r->buf == NULL ? -ENOMEM : 0;
}

static void reader_close(struct reader *r)
{
	if (r->fd >= 0)
		sys->close(r->fd);
	mem_free(r->buf);
	*r = (struct reader){.fd = -1};
}

/* Makes up to `need` bytes at off available: how many there are, at most a chunk. */
static ssize_t reader_fill(struct reader *r, uint64_t off, uint32_t need, const uint8_t **bytes)
{
	uint32_t have = off >= r->off && off < r->off + r->len ? (uint32_t)(r->off + r->len - off) : 0;
	ssize_t n;

	if (have < need && off + have < r->size) {
		if (have > 0)
			memmove(r->buf, r->buf + (off - r->off), have);
		r->off = off;
		r->len = have;
		n = file_pread_full(r->fd, r->buf + have, r->chunk - have, (off_t)(off + have));
		if (n < 0)
			return -EIO;
		r->len += (uint32_t)n;
		have = r->len;
	}
	*bytes = r->buf + (off - r->off);
	return have;
}

static int writer_open(struct writer *w, const char *path)
{
	*w = (struct writer){.fd = -1};
	w->buf = mem_alloc(CHUNK_SIZE);
	if (w->buf == NULL)
		return -ENOMEM;
	w->fd = sys->open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	return w->fd < 0 ? -errno : 0;
}

static void writer_close(struct writer *w)
{
	if (w->fd >= 0)
		sys->close(w->fd);
	mem_free(w->buf);
	content_id_free(w->id);
	*w = (struct writer){.fd = -1};
}

static int writer_flush(struct writer *w)
{
	int rc = file_pwrite_full(w->fd, w->buf, w->used, (off_t)(w->size - w->used));

	if (rc != 0)
		return rc == -ENOSPC || rc == -EDQUOT ? -ENOSPC : -EIO;
	w->used = 0;
	if (w->size - w->kicked >= WRITEBACK_STEP) { /* so that the sync at the end is short */
		(void)sys->sync_file_range(w->fd, (off_t)w->kicked, (off_t)(w->size - w->kicked),
					   SYNC_FILE_RANGE_WRITE);
		w->kicked = w->size;
	}
	return 0;
}

static int writer_put(struct writer *w, const void *bytes, size_t size)
{
	const uint8_t *from = bytes;

	if (w->id != NULL)
		content_id_add(w->id, bytes, size);
	while (size > 0) {
		size_t n = CHUNK_SIZE - w->used < size ? CHUNK_SIZE - w->used : size;
		int rc;

		memcpy(w->buf + w->used, from, n);
		w->used += (uint32_t)n;
		w->size += n;
		from += n;
		size -= n;
		rc = w->used == CHUNK_SIZE ? writer_flush(w) : 0;
		if (rc != 0)
			return rc;
	}
	return 0;
}

/* Everything written, and durable. */
static int writer_sync(struct writer *w)
{
	int rc = writer_flush(w);

	return rc != 0 ? rc : sys->fdatasync(w->fd) == 0 ? 0 : -EIO;
}

static int put_row(struct copier *x, struct place at, uint32_t old_off, uint32_t new_off)
{
	struct compact_row r = {at.file, at.off, old_off, new_off};
	uint8_t b[ROW_SIZE];

	if (old_off == new_off)
		return 0;
	row_encode(b, &r);
	x->rows_sum = zdb_crc(x->rows_sum, b, sizeof(b));
	x->rows_count++;
	return writer_put(&x->rows, b, sizeof(b));
}

/* ---------------------------------------------------------------------------------------------------- user mode --- */

/* The next record of i<N> that names data; named_there false: there is none. */
static int named_next(struct copier *x)
{
	const uint8_t *b;
	ssize_t n;

	for (;;) {
		x->named_there = false;
		if (x->index_off >= x->index.size)
			return 0;
		n = reader_fill(&x->index, x->index_off, IDX_RECORD + ZDB_KEY_MAX, &b);
		if (n < 0)
			return (int)n;
		if (n < (ssize_t)IDX_RECORD || b[0] == 0 || n < (ssize_t)IDX_RECORD + b[0])
			return refuse(x, "i%u: no whole record at offset %u", x->c->n, x->index_off);
		idx_decode(&x->named, b);
		memcpy(x->named_key, b + IDX_RECORD, x->named.klen);
		x->named_at = (struct place){x->c->n, x->index_off};
		x->named_kept = (x->named.flags & FLAG_DELETED) == 0 || bits_has(&x->c->keep, x->ordinal);
		x->index_off += IDX_RECORD + x->named.klen;
		x->ordinal++;
		if (x->named.off != 0) { /* 0: an earlier compaction has dropped it */
			x->named_there = true;
			return 0;
		}
	}
}

/* An index record that names no record of the log: if it lives, this is nothing to be tidied away. */
static int named_lost(struct copier *x)
{
	int rc;

	if ((x->named.flags & FLAG_DELETED) == 0)
		return refuse(x, "i%u offset %u: its value at d%u offset %u is not there", x->c->n,
			      x->named_at.off, x->c->n, x->named.off);
	rc = put_row(x, x->named_at, x->named.off, 0);
	return rc != 0 ? rc : named_next(x);
}

/* On return with FATE_KEEP of a value the index record in hand is its own. */
static int fate_user(struct copier *x, const struct dat_rec *d, const uint8_t *key, uint32_t at,
		     enum fate *fate)
{
	bool same;
	int rc = 0;

	*fate = FATE_DROP;
	if ((d->flags & FLAG_DELETED) != 0) {
		if (!x->c->clean || x->c->opt.keep_s != ZDB_KEEP_NONE)
			*fate = FATE_KEEP;
		return 0;
	}
	while (rc == 0 && x->named_there && x->named.off < at)
		rc = named_lost(x);
	if (rc != 0 || !x->named_there || x->named.off != at)
		return rc; /* not in the index: it was never answered */
	same = x->named.klen == d->klen && memcmp(x->named_key, key, d->klen) == 0 &&
	       x->named.len == d->len && x->named.crc == d->crc && d->flags == 0;
	if (!same && (x->named.flags & FLAG_DELETED) == 0)
		return named_lost(x);
	if (same && x->named_kept)
		*fate = FATE_KEEP;
	return 0;
}

/* ---------------------------------------------------------------------------------------------------- sequential --- */

static bool place_of(const struct zdb_compact *c, uint64_t id, struct place *at)
{
	uint32_t lo = 0, hi = c->bases_count - 1; /* the last file with base <= id, as seq_place() */

	if (id >= c->next_id)
		return false;
	while (lo < hi) {
		uint32_t mid = hi - (hi - lo) / 2;

		if (c->bases[mid] <= id)
			lo = mid;
		else
			hi = mid - 1;
	}
	at->file = lo;
	at->off = (uint32_t)(IDX_HEADER + (id - c->bases[lo]) * SEQ_RECORD);
	return true;
}

static int place_read(struct copier *x, struct place at, struct idx_rec *r, const uint8_t **key)
{
	const uint8_t *b;
	ssize_t n;
	int rc;

	if (x->index.fd < 0 || x->index_number != at.file) {
		reader_close(&x->index);
		rc = reader_open(&x->index, x->ns, INDEX_FILE, at.file, PLACES_CHUNK);
		if (rc != 0)
			return rc == -ENOMEM ? rc : refuse(x, "i%u cannot be read", at.file);
		x->index_number = at.file;
	}
	n = reader_fill(&x->index, at.off, SEQ_RECORD, &b);
	if (n < 0)
		return (int)n;
	if (n < (ssize_t)SEQ_RECORD)
		return refuse(x, "i%u: no whole record at offset %u", at.file, at.off);
	idx_decode(r, b);
	*key = b + IDX_RECORD;
	return 0;
}

/* 1 the record of the id names this very record, 0 another one; *alive: the id lives. */
static int names_it(struct copier *x, const struct dat_rec *d, const uint8_t *key, uint32_t at,
		    struct place place, bool *alive)
{
	const uint8_t *own = key;
	struct idx_rec r = {0};

	for (unsigned attempt = 0; attempt < 2; attempt++) {
		int rc = place_read(x, place, &r, &own);

		if (rc != 0)
			return rc;
		*alive = (r.flags & FLAG_DELETED) == 0 && memcmp(own, key, ZDB_SEQ_KEY_SIZE) == 0;
		if (!*alive || r.data_file != x->c->n || r.off != at)
			return 0;
		if (r.len == d->len && r.crc == d->crc)
			return 1;
		x->index.len = 0; /* perhaps it was read while it was being rewritten */
	}
	return refuse(x, "d%u offset %u: not the record that the index speaks of", x->c->n, at);
}

static int fate_seq(struct copier *x, const struct dat_rec *d, const uint8_t *key, uint32_t at,
		    struct place *place, enum fate *fate)
{
	struct zdb_compact *c = x->c;
	bool alive;
	int rc;

	*fate = FATE_KEEP;
	*place = (struct place){ROW_NO_PLACE, 0};
	if (d->flags != 0)
		return 0; /* what happened to ids follows from the log: markers and stubs stay */
	if (!place_of(c, get_u64le(key), place))
		return refuse(x, "d%u offset %u: an id that was never given", c->n, at);
	rc = names_it(x, d, key, at, *place, &alive);
	if (rc != 0)
		return rc < 0 ? rc : 0;
	*place = (struct place){ROW_NO_PLACE, 0};
	if (!alive || c->opt.keep_s == ZDB_KEEP_NONE ||
	    (c->opt.keep_s != ZDB_KEEP_ALL && (uint64_t)d->ts + c->opt.keep_s < c->opt.now_s))
		*fate = FATE_STUB;
	return 0;
}

/* ------------------------------------------------------------------------------------------------------ the walk --- */

/* The header of the record at `at`, checked as far as it can be without its payload.  1, or 0 at the end. */
static int next_head(struct copier *x, uint32_t at, struct dat_rec *d, uint8_t *key)
{
	const uint8_t *b;
	ssize_t n;

	if (atomic_load_explicit(&x->c->stop, memory_order_relaxed))
		return -ECANCELED;
	if (at >= x->data.size)
		return 0;
	n = reader_fill(&x->data, at, DAT_RECORD + ZDB_KEY_MAX, &b);
	if (n < 0)
		return refuse(x, "d%u: cannot read at offset %u", x->c->n, at);
	if (n >= (ssize_t)DAT_RECORD) {
		dat_decode(d, b);
		if (dat_plausible(d, x->ns->mode) && n >= (ssize_t)DAT_RECORD + d->klen &&
		    at + (uint64_t)DAT_RECORD + d->klen + d->len <= x->data.size &&
		    (x->last == 0 || d->prev == x->last)) {
			memcpy(key, b + DAT_RECORD, d->klen);
			return 1;
		}
	}
	return refuse(x, "d%u: no whole record at offset %u", x->c->n, at);
}

/* The payload: verified, and copied when `out` is set. */
static int walk_payload(struct copier *x, uint32_t at, const struct dat_rec *d, bool copy)
{
	uint64_t off = (uint64_t)at + DAT_RECORD + d->klen;
	uint32_t left = d->len, crc = 0;

	while (left > 0) {
		const uint8_t *b;
		ssize_t n = reader_fill(&x->data, off, left < CHUNK_SIZE ? left : CHUNK_SIZE, &b);
		int rc = 0;

		if (n <= 0)
			return refuse(x, "d%u: cannot read at offset %llu", x->c->n, (unsigned long long)off);
		if (n > (ssize_t)left)
			n = (ssize_t)left;
		crc = zdb_crc(crc, b, (size_t)n);
		if (copy)
			rc = writer_put(&x->out, b, (size_t)n);
		if (rc != 0)
			return rc;
		off += (uint64_t)n;
		left -= (uint32_t)n;
	}
	if ((d->flags & FLAG_TRUNCATED) == 0 && crc != d->crc)
		return refuse(x, "d%u: the record at offset %u is damaged", x->c->n, at);
	return 0;
}

/* Writes the record's header, linked to the one before it in the new file. */
static int put_head(struct copier *x, const struct dat_rec *d, const uint8_t *key)
{
	uint8_t b[DAT_RECORD + ZDB_KEY_MAX];
	struct dat_rec out = *d;

	if (x->last_new != 0)
		out.prev = x->last_new;
	x->last_new = (uint32_t)x->out.size;
	dat_encode(b, &out);
	memcpy(b + DAT_RECORD, key, d->klen);
	return writer_put(&x->out, b, DAT_RECORD + (size_t)d->klen);
}

static int copy_user(struct copier *x, const struct dat_rec *d, const uint8_t *key, uint32_t at)
{
	bool value = (d->flags & FLAG_DELETED) == 0, own;
	uint32_t now = (uint32_t)x->out.size;
	enum fate fate;
	int rc = fate_user(x, d, key, at, &fate);

	if (rc == 0 && fate == FATE_KEEP)
		rc = put_head(x, d, key);
	else
		x->c->dropped++;
	if (rc == 0)
		rc = walk_payload(x, at, d, fate == FATE_KEEP);
	own = value && x->named_there && x->named.off == at;
	if (rc != 0 || !own)
		return rc;
	rc = put_row(x, x->named_at, at, fate == FATE_KEEP ? now : 0);
	return rc != 0 ? rc : named_next(x);
}

static int copy_seq(struct copier *x, const struct dat_rec *d, const uint8_t *key, uint32_t at)
{
	uint32_t now = (uint32_t)x->out.size;
	struct dat_rec stub = {.klen = d->klen, .flags = FLAG_TRUNCATED, .prev = d->prev, .ts = d->ts};
	struct place place;
	enum fate fate;
	int rc = fate_seq(x, d, key, at, &place, &fate);

	if (rc == 0)
		rc = put_head(x, fate == FATE_STUB ? &stub : d, key);
	if (rc == 0)
		rc = walk_payload(x, at, d, fate == FATE_KEEP);
	if (rc == 0 && fate == FATE_STUB)
		x->c->dropped++;
	else if (rc == 0 && d->flags == 0)
		rc = put_row(x, place, at, now);
	return rc;
}

static int copy_all(struct copier *x)
{
	uint8_t key[ZDB_KEY_MAX + 1];
	struct dat_rec d;
	uint32_t at = DAT_HEADER;
	int rc;

	x->last = 0;
	while ((rc = next_head(x, at, &d, key)) == 1) {
		rc = x->ns->mode == ZDB_USER ? copy_user(x, &d, key, at) : copy_seq(x, &d, key, at);
		if (rc != 0)
			return rc;
		x->last = at;
		at += DAT_RECORD + d.klen + d.len;
	}
	while (rc == 0 && x->ns->mode == ZDB_USER && x->named_there)
		rc = named_lost(x);
	return rc;
}

/* ------------------------------------------------------------------------------------------------------- measuring --- */

/* What would go, from the index alone. */
static int measure_user(struct copier *x)
{
	uint64_t named = 0, total = x->data.size - DAT_HEADER;
	int rc = named_next(x);

	while (rc == 0 && x->named_there) {
		uint64_t size = DAT_RECORD + (uint64_t)x->named.klen + x->named.len;

		named += size;
		if (!x->named_kept)
			x->gain += size;
		rc = named_next(x);
	}
	/* What no index record names are deletion markers. */
	if (x->c->clean && x->c->opt.keep_s == ZDB_KEEP_NONE && named < total)
		x->gain += total - named;
	x->index_off = IDX_HEADER;
	x->ordinal = 0;
	return rc;
}

/* From the headers of the log. */
static int measure_seq(struct copier *x)
{
	uint8_t key[ZDB_KEY_MAX + 1];
	struct place place;
	struct dat_rec d;
	enum fate fate;
	uint32_t at = DAT_HEADER;
	int rc;

	while ((rc = next_head(x, at, &d, key)) == 1) {
		rc = fate_seq(x, &d, key, at, &place, &fate);
		if (rc != 0)
			return rc;
		if (fate == FATE_STUB)
			x->gain += d.len;
		x->last = at;
		at += DAT_RECORD + d.klen + d.len;
	}
	return rc;
}

/* ------------------------------------------------------------------------------------------------------ whole files --- */

/* The header, with the note that this is not the file as it was written. */
static int put_file_header(struct copier *x)
{
	uint8_t b[DAT_HEADER];
	const uint8_t *was;
	uint32_t passes = 0;

	if (reader_fill(&x->data, 0, DAT_HEADER, &was) < (ssize_t)DAT_HEADER)
		return refuse(x, "d%u: cannot read its header", x->c->n);
	if (memcmp(was + DAT_COMPACT_AT, "QSZC", 4) == 0)
		passes = get_u32le(was + DAT_COMPACT_AT + 4);
	dat_header_encode(b, x->c->n, 0);
	memcpy(b + DAT_COMPACT_AT, "QSZC", 4);
	put_u32le(b + DAT_COMPACT_AT + 4, passes + 1);
	return writer_put(&x->out, b, sizeof(b));
}

/* What the new file is known by to those who store it, behind the rows. */
static int put_content(struct copier *x)
{
	struct zdb_compact *c = x->c;

	content_id_get(x->out.id, c->intent.content);
	if (x->rows_count > STORED_ROWS_MAX)
		return refuse(x, "d%u: more than %u records of it would move, too many for one bundle", c->n,
			      STORED_ROWS_MAX);
	x->rows_sum = zdb_crc(x->rows_sum, c->intent.content, ROW_SIZE);
	return writer_put(&x->rows, c->intent.content, ROW_SIZE);
}

/* Both files whole and durable; from the rename of the second on a crash may find the switch done. */
static int finish(struct copier *x, const char *rows_temp)
{
	struct zdb_compact *c = x->c;
	char path[ZDB_PATH_MAX];
	uint8_t head[INTENT_HEAD];
	int rc = writer_sync(&x->out);

	if (rc == 0 && c->log != NULL)
		rc = ns_fdatasync(x->ns, c->log);
	if (rc == 0 && c->opt.stored)
		rc = put_content(x);
	c->new_size = x->out.size;
	c->intent.segment = c->n;
	c->intent.mode = x->ns->mode;
	c->intent.history = x->ns->mode == ZDB_SEQ && c->opt.keep_s != ZDB_KEEP_NONE;
	c->intent.stored = c->opt.stored;
	c->intent.old_size = c->old_size;
	c->intent.new_size = x->out.size;
	c->intent.rows = x->rows_count;
	c->intent.rows_sum = ~x->rows_sum;
	intent_encode(head, &c->intent);
	if (rc == 0)
		rc = file_sync_dir(x->ns->data_dir);
	if (rc == 0)
		rc = writer_flush(&x->rows);
	if (rc == 0)
		rc = file_pwrite_full(x->rows.fd, head, sizeof(head), 0);
	if (rc == 0)
		rc = sys->fdatasync(x->rows.fd) == 0 ? 0 : -EIO;
	if (rc == 0)
		rc = intent_path(x->ns, path);
	if (rc == 0 && sys->rename(rows_temp, path) != 0)
		rc = -errno;
	return rc == 0 ? file_sync_dir(x->ns->index_dir) : rc;
}

static int copy_file(struct copier *x, const char *new_path, const char *rows_temp)
{
	uint8_t zero[INTENT_HEAD] = {0};
	int rc = writer_open(&x->out, new_path);

	if (rc == 0 && x->c->opt.stored && (x->out.id = content_id_new()) == NULL)
		rc = -ENOMEM;
	if (rc == 0)
		rc = writer_open(&x->rows, rows_temp);
	if (rc == 0)
		rc = writer_put(&x->rows, zero, sizeof(zero));
	x->rows_sum = ~UINT32_C(0);
	if (rc == 0)
		rc = put_file_header(x);
	if (rc == 0 && x->ns->mode == ZDB_USER)
		rc = named_next(x);
	if (rc == 0)
		rc = copy_all(x);
	if (rc == 0)
		rc = finish(x, rows_temp);
	writer_close(&x->out);
	writer_close(&x->rows);
	if (rc != 0) { /* the intent first: without the new file it would speak of a switch */
		(void)sys->unlink(rows_temp);
		if (intent_remove(x->ns) == 0)
			(void)sys->unlink(new_path); /* else the next load removes both in this order */
	}
	return rc;
}

static int measure(struct copier *x)
{
	struct zdb_compact *c = x->c;
	int rc = x->ns->mode == ZDB_USER ? measure_user(x) : measure_seq(x);

	if (rc != 0)
		return rc;
	c->dead_left = x->gain > 0;
	return x->gain > 0 && x->gain * 100 >= c->opt.threshold * x->data.size;
}

static int copier_open(struct copier *x, uint32_t chunk)
{
	int rc = reader_open(&x->data, x->ns, DATA_FILE, x->c->n, chunk);

	x->index_off = IDX_HEADER;
	if (rc == 0 && x->ns->mode == ZDB_USER)
		rc = reader_open(&x->index, x->ns, INDEX_FILE, x->c->n, CHUNK_SIZE);
	if (rc == 0 && (x->data.size > UINT32_MAX || x->index.size > UINT32_MAX))
		rc = refuse(x, "d%u: it or its index is longer than an offset can tell", x->c->n);
	return rc;
}

int compact_copy(struct zdb_compact *c)
{
	struct copier x = {.c = c, .ns = c->ns, .data.fd = -1, .index.fd = -1, .out.fd = -1, .rows.fd = -1};
	char new_path[ZDB_PATH_MAX], rows_temp[ZDB_PATH_MAX], intent[ZDB_PATH_MAX];
	int rc = file_path(c->ns, DATA_FILE, c->n, ".new", new_path);

	c->copied = COPIED_NOTHING;
	c->dropped = 0;
	if (rc == 0)
		rc = intent_path(c->ns, intent);
	if (rc == 0)
		rc = file_temp_path(rows_temp, sizeof(rows_temp), intent);
	if (rc == 0)
		rc = copier_open(&x, HEADS_CHUNK);
	if (rc == 0)
		rc = measure(&x);
	reader_close(&x.data);
	if (rc == 1) {
		rc = reader_open(&x.data, c->ns, DATA_FILE, c->n, CHUNK_SIZE);
		if (rc == 0)
			rc = copy_file(&x, new_path, rows_temp);
		if (rc == 0) {
			c->copied = COPIED_WHOLE;
			c->reader_fd = x.data.fd;
			x.data.fd = -1;
		}
	}
	reader_close(&x.data);
	reader_close(&x.index);
	if (rc == -EBADMSG) {
		c->copied = COPIED_REFUSED;
		c->dead_left = true;
		rc = 0;
	}
	return rc;
}
