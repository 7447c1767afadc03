/*
 * index.c - index records: where they are, what they say, how they change.
 *
 * Sequential mode finds a record by arithmetic (42 bytes per id, a base id per file); user mode by the table, comparing
 * the key on disk.  Whoever reads a record sees the rewrites that wait in memory laid over it.
 */
#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "core/base/mem_copy.h"
#include "core/zdb/zdb_int.h"

#define APPLY_SPAN (32u << 10) /* rewrites so close together ... */
#define APPLY_MANY 16u         /* ... and so many are one read and one write */

uint32_t key_tag(const struct zdb *eng, const void *key, size_t klen)
{
	return (uint32_t)XXH3_64bits_withSeed(key, klen, eng->hash_seed);
}

/* ----------------------------------------------------------------------------------------------------- places --- */

int bases_set(struct zdb_ns *ns, uint32_t file, uint64_t base)
{
	if (file >= ns->bases_cap) {
		uint32_t cap = file + file / 2 + 8;
		uint64_t *b = mem_realloc(ns->bases, cap * sizeof(*b));

		if (b == NULL)
			return -ENOMEM;
		ns->bases = b;
		ns->bases_cap = cap;
	}
	ns->bases[file] = base;
	return 0;
}

int seq_place(const struct zdb_ns *ns, uint64_t id, struct place *at)
{
	uint32_t
		lo = 0,
		hi = ns->index
			     .number; /* the last file with base <= id: an empty file shares its successor's */

	if (id >= ns->next_id)
		return -ENOENT;
	while (lo < hi) {
		uint32_t mid = hi - (hi - lo) / 2;

		if (ns->bases[mid] <= id)
			lo = mid;
		else
			hi = mid - 1;
	}
	at->file = lo;
	at->off = (uint32_t)(IDX_HEADER + (id - ns->bases[lo]) * SEQ_RECORD);
	return 0;
}

/* ---------------------------------------------------------------------------------------------------- reading --- */

static void overlay_item(const struct pend *p, struct place at, struct idx_rec *r)
{
	const struct pend_item *it = pend_find(p, at.file, at.off);

	if (it == NULL)
		return;
	if (it->whole) {
		uint32_t prev = r->prev;

		*r = it->rec;
		r->prev = prev;
	} else {
		r->flags |= FLAG_DELETED;
	}
}

void index_overlay(const struct zdb_ns *ns, struct place at, struct idx_rec *r)
{
	overlay_item(&ns->frozen, at, r);
	overlay_item(&ns->pend, at, r);
}

/* The bytes of a record: in the window, or copied or read into buf.  How many, or a negative code. */
static ssize_t record_bytes(struct zdb_ns *ns, struct place at, uint8_t *buf, size_t size,
			    const uint8_t **bytes)
{
	ssize_t n = -EAGAIN;

	if (at.file == ns->index.number) {
		size_t have;

		*bytes = tail_peek(&ns->index, at.off, &have);
		if (*bytes != NULL)
			return (ssize_t)have;
		n = map_recent(ns, &ns->index, buf, size, at.off);
	}
	*bytes = buf;
	return n >= 0 ? n : any_read(ns, INDEX_FILE, at.file, buf, size, at.off);
}

/* Reads one record as readers see it; *key borrowed, in buf or in the window. */
static int index_view(struct zdb_ns *ns, struct place at, struct idx_rec *r,
		      uint8_t buf[IDX_RECORD + ZDB_KEY_MAX], const uint8_t **key)
{
	const uint8_t *b;
	ssize_t n;

	if (at.off < IDX_HEADER || at.file > ns->index.number)
		return -ENOENT;
	n = record_bytes(ns, at, buf, ns->mode == ZDB_SEQ ? SEQ_RECORD : IDX_RECORD + ZDB_KEY_MAX, &b);
	if (n == -ENOENT)
		return -EIO; /* an index file that we counted is gone */
	if (n < 0)
		return (int)n;
	if (n < (ssize_t)IDX_RECORD)
		return -ENOENT;
	idx_decode(r, b);
	if (r->klen == 0 || n < (ssize_t)IDX_RECORD + r->klen ||
	    (ns->mode == ZDB_SEQ && r->klen != ZDB_SEQ_KEY_SIZE))
		return -ENOENT;
	*key = b + IDX_RECORD;
	index_overlay(ns, at, r);
	return 0;
}

int index_read(struct zdb_ns *ns, struct place at, struct idx_rec *r, uint8_t *key)
{
	HOT_BUFFER uint8_t buf[IDX_RECORD + ZDB_KEY_MAX];
	const uint8_t *found;
	int rc = index_view(ns, at, r, buf, &found);

	if (rc == 0)
		memcpy(key, found, r->klen);
	return rc;
}

static int find_seq(struct zdb_ns *ns, const void *key, size_t klen, struct place *at, struct idx_rec *r)
{
	HOT_BUFFER uint8_t buf[IDX_RECORD + ZDB_KEY_MAX];
	const uint8_t *found;
	int rc;

	if (klen != ZDB_SEQ_KEY_SIZE || seq_place(ns, get_u64le(key), at) != 0)
		return -ENOENT;
	rc = index_view(ns, *at, r, buf, &found);
	if (rc == -ENOENT)
		return -EIO; /* below next_id there must be a record */
	if (rc != 0)
		return rc;
	if (memcmp(found, key, ZDB_SEQ_KEY_SIZE) != 0 || (r->flags & FLAG_DELETED) != 0)
		return -ENOENT; /* a superseded copy, or deleted */
	return 0;
}

int index_find(struct zdb_ns *ns, const void *key, size_t klen, struct place *at, struct idx_rec *r,
	       struct entry **e)
{
	HOT_BUFFER uint8_t buf[IDX_RECORD + ZDB_KEY_MAX];
	uint32_t tag, slot = UINT32_MAX;
	const uint8_t *found;
	struct entry *it;

	if (ns->load_error != 0)
		return -EIO;
	if (ns->mode == ZDB_SEQ)
		return find_seq(ns, key, klen, at, r);
	if (klen == 0 || klen > ZDB_KEY_MAX)
		return -ENOENT;
	tag = key_tag(ns->eng, key, klen);
	while ((it = table_next(&ns->table, tag, &slot)) != NULL) {
		struct place p = {it->file, it->index_off};
		int rc = index_view(ns, p, r, buf, &found);

		if (rc != 0)
			return -EIO; /* the table only holds what was read from there */
		if (r->klen == klen && memcmp(found, key, klen) == 0) {
			*at = p;
			if (e != NULL)
				*e = it;
			return 0;
		}
	}
	return -ENOENT;
}

/* ---------------------------------------------------------------------------------------------------- changes --- */

int index_append(struct zdb_ns *ns, struct idx_rec *r, const void *key, uint32_t *off)
{
	HOT_BUFFER uint8_t b[IDX_RECORD + ZDB_KEY_MAX];
	struct iovec iov = {b, IDX_RECORD + r->klen};
	int rc;

	r->prev = ns->prev_index;
	idx_encode(b, r);
	mem_copy(b + IDX_RECORD, key, r->klen);
	*off = ns->index.size;
	rc = tail_append(ns, &ns->index, &iov, 1, IDX_RECORD + r->klen, NULL);
	if (rc != 0)
		return rc;
	ns->prev_index = *off;
	ns->record_since = true;
	if (ns->mode == ZDB_USER && r->parent_off == 0 && ns->doubt_sector != 0 &&
	    crosses_into_zeros(b, iov.iov_len, *off))
		ns->doubt_end = ns->data.size; /* neither of the two proves the other's key */
	return 0;
}

bool crosses_into_zeros(const uint8_t *b, uint32_t size, uint32_t off)
{
	uint32_t border = (off / SECTOR + 1) * SECTOR;

	for (uint32_t i = border - off; i < size; i++)
		if (b[i] != 0)
			return false;
	return border - off < size;
}

static int extent_order(const void *a, const void *b)
{
	const struct zdb_extent *x = a, *y = b;

	if (x->file != y->file)
		return x->file < y->file ? -1 : 1;
	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* Makes room in the list of rewritten places; when it grows too long it is dropped, and derived when it is wanted. */
static void rewritten_reserve(struct zdb_ns *ns)
{
	uint32_t cap;
	struct zdb_extent *list;

	if (ns->rewritten_partial || ns->rewritten_count < ns->rewritten_cap)
		return;
	if (ns->rewritten_count > 1) { /* drop doubles */
		uint32_t n = 1;

		list = ns->rewritten;
		qsort(list, ns->rewritten_count, sizeof(*list), extent_order);
		for (uint32_t i = 1; i < ns->rewritten_count; i++)
			if (extent_order(&list[i], &list[n - 1]) != 0)
				list[n++] = list[i];
		ns->rewritten_count = n;
		if (n < ns->rewritten_cap / 2)
			return;
	}
	cap = ns->rewritten_cap == 0 ? 64 : ns->rewritten_cap * 2;
	list = cap > TOUCHED_MAX ? NULL : mem_realloc(ns->rewritten, cap * sizeof(*list));
	if (list == NULL) {
		mem_free(ns->rewritten);
		ns->rewritten = NULL;
		ns->rewritten_count = ns->rewritten_cap = 0;
		ns->rewritten_partial = true;
		return;
	}
	ns->rewritten = list;
	ns->rewritten_cap = cap;
}

int rewrite_reserve(struct zdb_ns *ns, uint32_t file)
{
	int rc = pend_reserve(&ns->pend, 1);

	if (rc == 0)
		rc = bits_reserve(&ns->dirty, file);
	if (rc == 0)
		rc = bits_reserve(&ns->touched, file);
	if (rc == 0)
		rewritten_reserve(ns);
	return rc;
}

static void rewrite_note(struct zdb_ns *ns, struct place at, uint32_t offset, uint32_t length)
{
	bits_set(&ns->dirty, at.file);
	if (at.file != ns->index.number && !ns->rewritten_partial) {
		assert(ns->rewritten_count < ns->rewritten_cap);
		ns->rewritten[ns->rewritten_count++] = (struct zdb_extent){at.file, offset, length};
	}
	if (!ns->pend_announced && ns->eng->ev.tick_wanted != NULL)
		ns->eng->ev.tick_wanted(ns->eng->opt.events_ctx, ZDB_INDEX_DELAY_MS);
	ns->pend_announced = true;
}

void rewrite_flag(struct zdb_ns *ns, struct place at, uint32_t size)
{
	struct pend_item it = {
		.file = at.file, .off = at.off, .whole = false, .rec = {.flags = FLAG_DELETED}};

	pend_put(&ns->pend, &it);
	if (ns->mode == ZDB_SEQ)
		rewrite_note(ns, at, at.off, size);
	else
		rewrite_note(ns, at, at.off + IDX_FLAGS_AT, 1);
}

void rewrite_whole(struct zdb_ns *ns, struct place at, const struct idx_rec *r)
{
	struct pend_item it = {.file = at.file, .off = at.off, .whole = true, .rec = *r};

	pend_put(&ns->pend, &it);
	rewrite_note(ns, at, at.off, SEQ_RECORD);
}

/* What a rewrite changes: *at in the file, *size bytes in b. */
static void rewrite_bytes(const struct pend_item *it, uint8_t b[IDX_RECORD], uint32_t *at, uint32_t *size)
{
	*at = it->whole ? it->off : it->off + IDX_FLAGS_AT;
	*size = it->whole ? IDX_RECORD : 1;
	if (it->whole)
		idx_encode(b, &it->rec);
	else
		b[0] = FLAG_DELETED;
}

static int apply_one(struct zdb_ns *ns, const struct pend_item *it, struct zdb_fd *f)
{
	uint8_t b[IDX_RECORD];
	uint32_t at, size;

	rewrite_bytes(it, b, &at, &size);
	if (f == ns->index.f)
		tail_patch(&ns->index, at, b, size);
	return ns_pwrite(ns, f, b, size, at);
}

/* How many of the rewrites at `list` are of one file and lie within one span. */
static uint32_t span_length(const struct pend_item *const *list, uint32_t count)
{
	uint32_t n = 1;

	while (n < count && list[n]->file == list[0]->file &&
	       list[n]->off - list[0]->off <= APPLY_SPAN - IDX_RECORD)
		n++;
	return n;
}

/*
 * Many rewrites close together: their span is read, changed and written back.  The bytes between them are written with
 * what they are; the kernel would write the same pages to the disk for any one of them.
 */
static int apply_span(struct zdb_ns *ns, const struct pend_item *const *list, uint32_t count,
		      struct zdb_fd *f, uint8_t *span)
{
	uint32_t from = list[0]->off, size = list[count - 1]->off + IDX_RECORD - from;
	ssize_t n = ns_pread(ns, f, span, size, from);

	if (n < 0)
		return (int)n;
	if ((uint32_t)n < size)
		return -EIO; /* a record that we rewrite is not there */
	for (uint32_t i = 0; i < count; i++) {
		uint8_t b[IDX_RECORD];
		uint32_t at, bytes;

		rewrite_bytes(list[i], b, &at, &bytes);
		memcpy(span + (at - from), b, bytes);
	}
	if (f == ns->index.f)
		tail_patch(&ns->index, from, span, size);
	return ns_pwrite(ns, f, span, size, from);
}

/* Applies the rewrites of one index file, which lie together in the sorted list; *done counts them. */
static int apply_file(struct zdb_ns *ns, const struct pend_item *const *list, uint32_t count, uint32_t *done,
		      uint8_t *span)
{
	uint32_t number = list[0]->file, i = 0;
	struct zdb_fd *f;
	int rc = fd_get(ns, INDEX_FILE, number, &f);

	if (rc != 0)
		return rc;
	while (rc == 0 && i < count && list[i]->file == number) {
		uint32_t n = span_length(list + i, count - i);

		if (n < APPLY_MANY || span == NULL)
			n = 1;
		rc = n == 1 ? apply_one(ns, list[i], f) : apply_span(ns, list + i, n, f, span);
		i += n;
	}
	fd_put(ns->eng, f);
	if (rc == 0 && number != ns->index.number)
		bits_set(&ns->touched, number);
	*done += i;
	return rc;
}

int rewrite_apply(struct zdb_ns *ns, struct pend *p)
{
	const struct pend_item **list;
	uint8_t *span;
	uint32_t done = 0;
	int rc;

	if (p->used == 0) {
		pend_release(p);
		return 0;
	}
	rc = tail_flush(ns, &ns->index); /* rewrites of records that are still gathered */
	if (rc != 0)
		return rc;
	list = pend_sorted(p);
	if (list == NULL)
		return -ENOMEM;
	span = p->used < APPLY_MANY ? NULL : mem_alloc(APPLY_SPAN); /* without it: one by one */
	while (rc == 0 && done < p->used)
		rc = apply_file(ns, list + done, p->used - done, &done, span);
	mem_free(span);
	mem_free(list);
	if (rc == 0)
		pend_release(p);
	else if (rc != -ENOMEM)         /* all of them again, later */
		ns->write_error = -EIO; /* they stay laid over; the next load makes them again from the log */
	return rc;
}

/* -------------------------------------------------------------------------------------------------- streaming --- */

int stream_open(struct idx_stream *s, struct zdb_ns *ns, uint32_t number, uint32_t from, uint8_t *buf)
{
	memset(s, 0, sizeof(*s));
	s->ns = ns;
	s->number = number;
	s->off = from;
	s->buf = buf;
	if (ns->index.f != NULL && ns->index.number == number) {
		s->t = &ns->index;
		s->end = ns->index.size;
		return 0;
	}
	return fd_get_sized(ns, INDEX_FILE, number, &s->f, &s->end);
}

void stream_close(struct idx_stream *s)
{
	if (s->f != NULL)
		fd_put(s->ns->eng, s->f);
	s->f = NULL;
}

/* Makes `size` bytes at s->off available; returns how many there are. */
static ssize_t stream_fill(struct idx_stream *s, uint32_t size)
{
	uint32_t have = s->off >= s->buf_off && s->off < s->buf_off + s->buf_len
				? s->buf_off + s->buf_len - s->off
				: 0;
	uint32_t room = CHUNK_SIZE - have, rest = s->end - s->off - have;
	ssize_t n;

	if (have >= size)
		return have;
	if (have > 0)
		memmove(s->buf, s->buf + (s->off - s->buf_off), have);
	s->buf_off = s->off;
	s->buf_len = have;
	if (room > rest)
		room = rest;
	if (s->t != NULL)
		n = tail_read(s->ns, s->t, s->buf + have, room, s->off + have);
	else
		n = ns_pread(s->ns, s->f, s->buf + have, room, (uint64_t)s->off + have);
	if (n < 0)
		return n;
	s->buf_len += (uint32_t)n;
	return s->buf_len;
}

int stream_next(struct idx_stream *s, struct idx_rec *r, const uint8_t **key, uint32_t *at)
{
	const uint8_t *b;
	ssize_t n;

	if (s->off >= s->end)
		return 0;
	n = stream_fill(s, IDX_RECORD + ZDB_KEY_MAX);
	if (n < 0)
		return (int)n;
	if (n < (ssize_t)IDX_RECORD)
		return -EBADMSG;
	b = s->buf + (s->off - s->buf_off);
	idx_decode(r, b);
	if (r->klen == 0 || n < (ssize_t)IDX_RECORD + r->klen)
		return -EBADMSG;
	if ((s->ns->mode == ZDB_SEQ && r->klen != ZDB_SEQ_KEY_SIZE) || r->len > ZDB_PAYLOAD_MAX)
		return -EBADMSG;
	*key = b + IDX_RECORD;
	*at = s->off;
	s->off += IDX_RECORD + r->klen;
	return 1;
}
