/*
 * index.c - index records: where they are, what they say, how they change.
 *
 * Sequential mode finds a record by arithmetic (42 bytes per id, a base id per file); user mode by the table, comparing
 * the key on disk.  Whoever reads a record sees the rewrites that wait in memory laid over it.
 */
#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "core/zdb/zdb_int.h"

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

int index_read(struct zdb_ns *ns, struct place at, struct idx_rec *r, uint8_t *key)
{
	uint8_t b[IDX_RECORD + ZDB_KEY_MAX];
	ssize_t n;

	if (at.off < IDX_HEADER || at.file > ns->index.number)
		return -ENOENT;
	n = any_read(ns, INDEX_FILE, at.file, b, ns->mode == ZDB_SEQ ? SEQ_RECORD : sizeof(b), at.off);
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
	memcpy(key, b + IDX_RECORD, r->klen);
	index_overlay(ns, at, r);
	return 0;
}

static int find_seq(struct zdb_ns *ns, const void *key, size_t klen, struct place *at, struct idx_rec *r)
{
	uint8_t found[ZDB_KEY_MAX + 1];
	int rc;

	if (klen != ZDB_SEQ_KEY_SIZE || seq_place(ns, get_u64le(key), at) != 0)
		return -ENOENT;
	rc = index_read(ns, *at, r, found);
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
	uint8_t found[ZDB_KEY_MAX + 1];
	uint32_t tag, slot = UINT32_MAX;
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
		int rc = index_read(ns, p, r, found);

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
	uint8_t b[IDX_RECORD + ZDB_KEY_MAX];
	struct iovec iov = {b, IDX_RECORD + r->klen};
	int rc;

	r->prev = ns->prev_index;
	idx_encode(b, r);
	memcpy(b + IDX_RECORD, key, r->klen);
	*off = ns->index.size;
	rc = tail_append(ns, &ns->index, &iov, 1, IDX_RECORD + r->klen);
	if (rc != 0)
		return rc;
	ns->prev_index = *off;
	ns->record_since = true;
	return 0;
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
	int rc = pend_reserve(&ns->pend);

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
		ns->eng->ev.tick_wanted(ns->eng->opt.events_ctx);
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

static int apply_one(struct zdb_ns *ns, const struct pend_item *it, struct zdb_fd *f)
{
	uint8_t b[IDX_RECORD];
	uint8_t flag = FLAG_DELETED;

	if (!it->whole)
		return ns_pwrite(ns, f, &flag, 1, (uint64_t)it->off + IDX_FLAGS_AT);
	idx_encode(b, &it->rec);
	return ns_pwrite(ns, f, b, sizeof(b), it->off);
}

int rewrite_apply(struct zdb_ns *ns, struct pend *p)
{
	const struct pend_item **list;
	struct zdb_fd *f = NULL;
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
	for (uint32_t i = 0; rc == 0 && i < p->used; i++) {
		if (f == NULL || f->number != list[i]->file) {
			if (f != NULL)
				fd_put(ns->eng, f);
			f = NULL;
			rc = fd_get(ns, INDEX_FILE, list[i]->file, &f);
		}
		if (rc == 0)
			rc = apply_one(ns, list[i], f);
		if (rc == 0 && list[i]->file != ns->index.number)
			bits_set(&ns->touched, list[i]->file);
	}
	if (f != NULL)
		fd_put(ns->eng, f);
	mem_free(list);
	if (rc == 0)
		pend_release(p);
	else
		ns->write_error = -EIO; /* they stay laid over; the next load makes them again from the log */
	return rc;
}

/* -------------------------------------------------------------------------------------------------- streaming --- */

int stream_open(struct idx_stream *s, struct zdb_ns *ns, uint32_t number, uint32_t from, uint8_t *buf)
{
	struct stat st;
	int rc;

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
	rc = fd_get(ns, INDEX_FILE, number, &s->f);
	if (rc != 0)
		return rc;
	if (sys->fstat(s->f->fd, &st) != 0) {
		stream_close(s);
		return -EIO;
	}
	s->end = st.st_size > UINT32_MAX ? UINT32_MAX : (uint32_t)st.st_size;
	return 0;
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
	ssize_t n;

	if (have >= size)
		return have;
	if (have > 0)
		memmove(s->buf, s->buf + (s->off - s->buf_off), have);
	s->buf_off = s->off;
	s->buf_len = have;
	if (s->t != NULL)
		n = tail_read(s->ns, s->t, s->buf + have, CHUNK_SIZE - have, s->off + have);
	else
		n = ns_pread(s->ns, s->f, s->buf + have, CHUNK_SIZE - have, (uint64_t)s->off + have);
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
