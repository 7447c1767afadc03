/*
 * bundle.c - every index byte that the records of one closed segment appended or rewrote: X(N,N).
 *
 * i<N> as a whole, and the places in older index files that were rewritten in place.  At a rotation those places are
 * known (or, when they were too many to remember or written before this opening, found by walking the segment).  A
 * bundle that is derived later must show the index as it was when N closed: what later segments rewrote is taken back
 * by following the copies (sequential) or by knowing which records they superseded (user mode).  What a compaction has
 * dropped since cannot be taken back: it shows as superseded, which it is by now.
 *
 * At a rotation it also holds what compactions have changed since the one before, whoever wrote the records there.
 */
#include <stdlib.h>

#include "core/zdb/zdb_int.h"

#define PLACES_GAP 64u /* less than two extents of the bundle's table take */

struct patch {              /* bytes that differ from what the file says now */
	uint32_t file, off; /* off: of the bytes */
	uint32_t order;     /* later patches of the same place win */
	uint8_t size;       /* 1: flags only; IDX_RECORD: the record without its key */
	uint8_t bytes[IDX_RECORD];
};

struct owned { /* what zdb_bundle points to */
	struct zdb_bundle b;
	struct zdb_replaced *replaced;
	uint32_t
		gap; /* extents that are no further apart become one: what lies between is as it is in the files */
	struct zdb_extent *extents;
	uint32_t cap;
	struct patch *patches;
	uint32_t patches_count, patches_cap;
};

void zdb_bundle_free(struct zdb_bundle *bundle)
{
	struct owned *o = (struct owned *)bundle;

	if (o == NULL)
		return;
	zdb_ns_unref(o->b.ns);
	mem_free(o->extents);
	mem_free(o->patches);
	mem_free(o->replaced);
	mem_free(o);
}

static struct owned *owned_new(struct zdb_ns *ns, uint32_t n)
{
	struct owned *o = mem_calloc(1, sizeof(*o));

	if (o == NULL)
		return NULL;
	o->b.ns = zdb_ns_ref(ns);
	o->b.segment = n;
	return o;
}

static int add_extent(struct owned *o, uint32_t file, uint32_t off, uint32_t len)
{
	if (o->b.extents_count == o->cap) {
		uint32_t cap = o->cap == 0 ? 64 : o->cap * 2;
		struct zdb_extent *e = mem_realloc(o->extents, cap * sizeof(*e));

		if (e == NULL)
			return -ENOMEM;
		o->extents = e;
		o->cap = cap;
	}
	o->extents[o->b.extents_count++] = (struct zdb_extent){file, off, len};
	return 0;
}

static int extent_order(const void *a, const void *b)
{
	const struct zdb_extent *x = a, *y = b;

	if (x->file != y->file)
		return x->file < y->file ? -1 : 1;
	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static int patch_order(const void *a, const void *b)
{
	const struct patch *x = a, *y = b;

	if (x->file != y->file)
		return x->file < y->file ? -1 : 1;
	if (x->off != y->off)
		return x->off < y->off ? -1 : 1;
	return x->order < y->order ? -1 : x->order > y->order;
}

/* Sorts, joins what touches, drops doubles, adds up. */
static void finish(struct owned *o)
{
	uint32_t n = 0;

	if (o->patches_count > 1)
		qsort(o->patches, o->patches_count, sizeof(*o->patches), patch_order);
	if (o->b.extents_count > 1)
		qsort(o->extents, o->b.extents_count, sizeof(*o->extents), extent_order);
	for (uint32_t i = 0; i < o->b.extents_count; i++) {
		struct zdb_extent *e = &o->extents[i], *last = n > 0 ? &o->extents[n - 1] : NULL;

		if (last != NULL && last->file == e->file &&
		    (uint64_t)last->offset + last->length + o->gap >= e->offset) {
			uint64_t end = (uint64_t)e->offset + e->length;

			if (end > (uint64_t)last->offset + last->length)
				last->length = (uint32_t)(end - last->offset);
		} else {
			o->extents[n++] = *e;
		}
	}
	o->b.extents_count = n;
	o->b.extents = o->extents;
	o->b.bytes = 0;
	for (uint32_t i = 0; i < n; i++)
		o->b.bytes += o->extents[i].length;
}

static int64_t index_size(struct zdb_ns *ns, uint32_t n)
{
	struct zdb_fd *f;
	uint32_t size;
	int rc = fd_get_sized(ns, INDEX_FILE, n, &f, &size);

	if (rc != 0)
		return rc;
	fd_put(ns->eng, f);
	return size;
}

/* A place that a compaction has changed: bytes 1 to 13 of a record.  Neighbours come one after the other, mostly. */
static int add_place(void *ctx, uint32_t file, uint32_t off)
{
	struct owned *o = ctx;
	struct zdb_extent *last = o->b.extents_count > 0 ? &o->extents[o->b.extents_count - 1] : NULL;
	uint64_t end = last == NULL ? 0 : (uint64_t)last->offset + last->length;

	if (last != NULL && last->file == file && off >= last->offset && off <= end + o->gap) {
		if (off + 1 + IDX_FLAGS_AT > end)
			last->length = off + 1 + IDX_FLAGS_AT - last->offset;
		return 0;
	}
	return add_extent(o, file, off + 1, IDX_FLAGS_AT);
}

/*
 * What compactions have replaced since the closing before.  Only while the index is as it was when n closed: a bundle that is
 * made later leaves it to the next one.
 */
static int add_replaced(struct owned *o)
{
	struct zdb_ns *ns = o->b.ns;
	size_t untold;
	int rc = 0;

	(void)zdb_replaced_count(ns, &untold);
	if (untold == 0)
		return 0;
	o->replaced = mem_calloc(untold, sizeof(*o->replaced));
	if (o->replaced == NULL)
		return -ENOMEM;
	o->b.replaced = o->replaced;
	o->gap = PLACES_GAP;
	for (uint32_t i = 0; rc == 0 && i < ns->replaced_count; i++) {
		const struct replaced *r = &ns->replaced[i];

		if (r->given >= 0)
			continue;
		o->replaced[o->b.replaced_count++] = r->what;
		rc = replaced_each(ns, r, add_place, o);
	}
	if (rc == 0)
		finish(o);
	return rc;
}

int bundle_closed(struct zdb_ns *ns, uint32_t n, struct zdb_bundle **out)
{
	bool now = ns->index.number == n + 1 && ns->index.size <= IDX_HEADER;
	struct owned *o;
	int64_t size;
	int rc = 0;

	if (ns->rewritten_partial || !now) {
		rc = zdb_bundle_derive(ns, n, out);
	} else {
		o = owned_new(ns, n);
		if (o == NULL)
			return -ENOMEM;
		size = index_size(ns, n);
		rc = size < 0 ? (int)size : add_extent(o, n, 0, (uint32_t)size);
		for (uint32_t i = 0; rc == 0 && i < ns->rewritten_count; i++)
			rc = add_extent(o, ns->rewritten[i].file, ns->rewritten[i].offset,
					ns->rewritten[i].length);
		finish(o);
		if (rc == 0)
			*out = &o->b;
		else
			zdb_bundle_free(&o->b);
	}
	if (rc == 0 && now) {
		rc = add_replaced((struct owned *)*out);
		if (rc != 0) {
			zdb_bundle_free(*out);
			*out = NULL;
		}
	}
	return rc;
}

/* ---------------------------------------------------------------------------------------------------- deriving --- */

static int add_patch(struct owned *o, struct place at, uint8_t size, const uint8_t *bytes)
{
	if (o->patches_count == o->patches_cap) {
		uint32_t cap = o->patches_cap == 0 ? 64 : o->patches_cap * 2;
		struct patch *p = mem_realloc(o->patches, cap * sizeof(*p));

		if (p == NULL)
			return -ENOMEM;
		o->patches = p;
		o->patches_cap = cap;
	}
	o->patches[o->patches_count] = (struct patch){.file = at.file,
						      .off = size == 1 ? at.off + IDX_FLAGS_AT : at.off,
						      .order = o->patches_count,
						      .size = size};
	memcpy(o->patches[o->patches_count++].bytes, bytes, size);
	return 0;
}

/* The record of an id as it was when segment n closed: back along the copies that later segments made. */
static int seq_as_of(struct zdb_ns *ns, uint32_t n, struct place at, bool deleted, struct idx_rec *r)
{
	uint8_t key[ZDB_KEY_MAX + 1];
	uint32_t prev;
	int rc = index_read(ns, at, r, key);

	prev = r->prev;
	while (rc == 0 && r->parent_off != 0 && r->parent_file > n)
		rc = index_read(ns, (struct place){r->parent_file, r->parent_off}, r, key);
	r->prev = prev;
	r->flags = deleted ? FLAG_DELETED : 0;
	return rc == -ENOENT ? -EIO : rc;
}

static int derive_seq_record(struct owned *o, struct bits *deleted, uint64_t id)
{
	struct zdb_ns *ns = o->b.ns;
	uint64_t base = ns->bases[o->b.segment];
	uint8_t bytes[IDX_RECORD];
	struct idx_rec r;
	struct place at;
	bool gone = id >= base && id - base < UINT32_MAX && bits_has(deleted, (uint32_t)(id - base));
	int rc = seq_place(ns, id, &at);

	if (rc == 0)
		rc = seq_as_of(ns, o->b.segment, at, gone, &r);
	if (rc != 0)
		return rc;
	idx_encode(bytes, &r);
	return add_patch(o, at, IDX_RECORD, bytes);
}

/* Older files: one extent per record that the segment updated or deleted.  i<N> itself: its inserted records as of then. */
static int derive_seq(struct owned *o, uint8_t *buf)
{
	struct zdb_ns *ns = o->b.ns;
	uint32_t n = o->b.segment, at;
	uint64_t base = ns->bases[n];
	struct bits deleted = {0}; /* ids of this segment that it deleted, from base */
	uint8_t bytes[IDX_RECORD];
	struct log_stream s;
	struct idx_stream is;
	const uint8_t *key;
	struct dat_rec d;
	struct idx_rec r;
	struct place place;
	int rc = log_open(&s, ns, n, DAT_HEADER, buf);

	if (rc != 0)
		return rc == -ENOENT ? -EINPROGRESS : rc;
	while ((rc = log_next(&s, &d, &key, &at)) == 1) {
		uint64_t id = get_u64le(key);
		bool gone = (d.flags & FLAG_DELETED) != 0;

		rc = 0;
		if (id >= base && gone && id - base < UINT32_MAX) {
			rc = bits_reserve(&deleted, (uint32_t)(id - base));
			if (rc == 0)
				bits_set(&deleted, (uint32_t)(id - base));
		} else if (id < base && seq_place(ns, id, &place) == 0) {
			rc = seq_as_of(ns, n, place, gone, &r);
			idx_encode(bytes, &r);
			if (rc == 0)
				rc = add_extent(o, place.file, place.off, SEQ_RECORD);
			if (rc == 0)
				rc = add_patch(o, place, IDX_RECORD, bytes);
		}
		if (rc != 0)
			break;
	}
	log_close(&s);
	if (rc == 0)
		rc = stream_open(&is, ns, n, IDX_HEADER, buf);
	if (rc == 0) {
		uint64_t id = base;

		while (rc == 0 && (rc = stream_next(&is, &r, &key, &at)) == 1) {
			rc = get_u64le(key) == id ? derive_seq_record(o, &deleted, id) : 0;
			id++;
		}
		stream_close(&is);
	}
	bits_release(&deleted);
	return rc == -EBADMSG ? -EIO : rc;
}

/* ---- user mode: a record of i<=N was flagged when N closed iff a record of d<=N superseded it */

/* `seen`: the last record of each key in this segment, a table of index offsets. */
static int seen_find(struct zdb_ns *ns, struct table *t, uint32_t n, const uint8_t *key, size_t klen,
		     struct entry **e)
{
	uint8_t found[ZDB_KEY_MAX + 1];
	uint32_t slot = UINT32_MAX;
	struct entry *it;

	while ((it = table_next(t, key_tag(ns->eng, key, klen), &slot)) != NULL) {
		struct idx_rec r;
		int rc = index_read(ns, (struct place){n, it->index_off}, &r, found);

		if (rc != 0)
			return rc == -ENOENT ? -EIO : rc;
		if (r.klen == klen && memcmp(found, key, klen) == 0) {
			*e = it;
			return 0;
		}
	}
	return -ENOENT;
}

/* The record of a key that lived when segment n began; -ENOENT none in the index. */
static int older_record(struct zdb_ns *ns, uint32_t n, const uint8_t *key, size_t klen, uint8_t *buf,
			struct place *at)
{
	struct idx_stream s;
	struct idx_rec r;
	const uint8_t *k;
	uint32_t off;

	for (uint32_t f = n; f-- > 0;) {
		bool have = false;
		int rc = stream_open(&s, ns, f, IDX_HEADER, buf);

		if (rc != 0)
			return rc;
		while ((rc = stream_next(&s, &r, &k, &off)) == 1) {
			if (r.klen == klen && memcmp(k, key, klen) == 0) {
				*at = (struct place){f, off};
				have = true;
			}
		}
		stream_close(&s);
		if (rc == -EIO)
			return rc;
		if (have)
			return 0;
	}
	return -ENOENT;
}

static int flag_older(struct owned *o, struct place at)
{
	const uint8_t flag = FLAG_DELETED;
	int rc = add_extent(o, at.file, at.off + IDX_FLAGS_AT, 1);

	return rc != 0 ? rc : add_patch(o, at, 1, &flag);
}

static int derive_user_record(struct owned *o, struct table *seen, const struct dat_rec *d,
			      const uint8_t *key, uint32_t *index_off, uint8_t *buf)
{
	struct zdb_ns *ns = o->b.ns;
	uint32_t n = o->b.segment;
	struct entry *e = NULL, now = {.tag = key_tag(ns->eng, key, d->klen), .file = n, .data_off = 1};
	uint8_t found[ZDB_KEY_MAX + 1];
	struct place at;
	struct idx_rec r;
	int rc = seen_find(ns, seen, n, key, d->klen, &e);

	if (rc != 0 && rc != -ENOENT)
		return rc;
	if ((d->flags & FLAG_DELETED) != 0) {
		if (rc == 0) {
			table_remove(seen, e);
			return 0;
		}
		rc = older_record(ns, n, key, d->klen, buf, &at);
		return rc == 0 ? flag_older(o, at) : rc == -ENOENT ? 0 : rc;
	}
	/* Records without data were dropped by a compaction, and so are not in this log. */
	while ((rc = index_read(ns, (struct place){n, *index_off}, &r, found)) == 0 && r.off == 0)
		*index_off += IDX_RECORD + r.klen;
	if (rc != 0)
		return rc == -ENOENT ? -EIO : rc;
	if (r.klen != d->klen || memcmp(found, key, r.klen) != 0)
		return 0; /* somebody else's log: a record that never came into the index */
	if (e == NULL && r.parent_off != 0 && r.parent_file < n) {
		rc = flag_older(o, (struct place){r.parent_file, r.parent_off});
		if (rc != 0)
			return rc;
	}
	now.index_off = *index_off;
	*index_off += IDX_RECORD + r.klen;
	if (e != NULL) {
		*e = now;
		return 0;
	}
	rc = table_reserve(seen, now.tag);
	if (rc == 0)
		table_insert(seen, &now);
	return rc;
}

/* i<N> as of then: a record in it is flagged iff it is not the last one of its key in this segment. */
static int derive_user_flags(struct owned *o, struct table *seen, uint8_t *buf)
{
	struct zdb_ns *ns = o->b.ns;
	struct idx_stream s;
	struct idx_rec r;
	const uint8_t *key;
	uint32_t at;
	int rc = stream_open(&s, ns, o->b.segment, IDX_HEADER, buf);

	if (rc != 0)
		return rc;
	while (rc == 0 && (rc = stream_next(&s, &r, &key, &at)) == 1) {
		struct entry *e = NULL;
		uint8_t flags = FLAG_DELETED;

		rc = 0;
		if (r.off == 0)
			continue; /* dropped: it stays flagged */
		rc = seen_find(ns, seen, o->b.segment, key, r.klen, &e);
		if (rc == 0 && e->index_off == at)
			flags = 0;
		if (rc == 0 || rc == -ENOENT)
			rc = flags == r.flags ? 0 : add_patch(o, (struct place){o->b.segment, at}, 1, &flags);
	}
	stream_close(&s);
	return rc == -EBADMSG ? -EIO : rc;
}

static int derive_user(struct owned *o, uint8_t *buf, uint8_t *other)
{
	struct zdb_ns *ns = o->b.ns;
	uint32_t index_off = IDX_HEADER, at;
	struct log_stream s;
	struct table seen;
	const uint8_t *key;
	struct dat_rec d;
	int rc = log_open(&s, ns, o->b.segment, DAT_HEADER, buf);

	if (rc != 0)
		return rc == -ENOENT ? -EINPROGRESS : rc;
	table_init(&seen);
	while (rc == 0 && (rc = log_next(&s, &d, &key, &at)) == 1)
		rc = derive_user_record(o, &seen, &d, key, &index_off, other);
	log_close(&s);
	if (rc == 0)
		rc = derive_user_flags(o, &seen, buf);
	table_release(&seen);
	return rc == -EBADMSG ? -EIO : rc;
}

int zdb_bundle_derive(struct zdb_ns *ns, uint32_t n, struct zdb_bundle **out)
{
	uint8_t *buf = mem_alloc(CHUNK_SIZE), *other = mem_alloc(CHUNK_SIZE);
	struct owned *o = NULL;
	int64_t size;
	int rc = 0;

	*out = NULL;
	if (n >= ns->index.number)
		rc = -ENOENT;
	else if (ns->load_error != 0)
		rc = -EIO;
	else if (compact_covers(ns, n))
		rc = -EBUSY;
	if (rc ==
	    0) /* what the first one told of, this one cannot know as of then: the next closing tells it again */
		replaced_untold(ns, n);
	if (rc == 0 && buf != NULL && other != NULL)
		o = owned_new(ns, n);
	if (rc == 0 && o == NULL)
		rc = -ENOMEM;
	if (rc == 0) {
		size = index_size(ns, n);
		rc = size < 0 ? (int)size : add_extent(o, n, 0, (uint32_t)size);
	}
	if (rc == 0)
		rc = ns->mode == ZDB_SEQ ? derive_seq(o, buf) : derive_user(o, buf, other);
	mem_free(buf);
	mem_free(other);
	if (rc == 0) {
		finish(o);
		*out = &o->b;
	} else if (o != NULL) {
		zdb_bundle_free(&o->b);
	}
	return rc;
}

/* ----------------------------------------------------------------------------------------------------- reading --- */

/* The first patch of a file that can reach byte off. */
static uint32_t first_patch(const struct owned *o, uint32_t file, uint32_t off)
{
	uint32_t lo = 0, hi = o->patches_count, from = off < IDX_RECORD ? 0 : off - IDX_RECORD + 1;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		const struct patch *p = &o->patches[mid];

		if (p->file < file || (p->file == file && p->off < from))
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* Lays the patches that fall into [off, off+size) of a file over the bytes. */
static void patch_over(const struct owned *o, uint32_t file, uint32_t off, uint8_t *b, uint32_t size)
{
	for (uint32_t i = first_patch(o, file, off); i < o->patches_count; i++) {
		const struct patch *p = &o->patches[i];

		if (p->file != file || (p->off >= off && p->off - off >= size))
			break;
		for (uint32_t k = 0; k < p->size; k++)
			if (p->off + k >= off && p->off + k - off < size)
				b[p->off + k - off] = p->bytes[k];
	}
}

int zdb_bundle_read(const struct zdb_bundle *bundle, int (*sink)(void *ctx, const void *bytes, size_t size),
		    void *ctx)
{
	const struct owned *o = (const struct owned *)bundle;
	uint8_t *buf = mem_alloc(SCRATCH_SIZE);
	int rc = buf == NULL ? -ENOMEM : 0;

	for (uint32_t i = 0; rc == 0 && i < bundle->extents_count; i++) {
		const struct zdb_extent *e = &bundle->extents[i];
		uint32_t done = 0;

		while (rc == 0 && done < e->length) {
			uint32_t want = e->length - done < SCRATCH_SIZE ? e->length - done : SCRATCH_SIZE;
			ssize_t n = any_read(bundle->ns, INDEX_FILE, e->file, buf, want, e->offset + done);

			if (n < (ssize_t)want) {
				rc = -EIO;
				break;
			}
			patch_over(o, e->file, e->offset + done, buf, want);
			rc = sink(ctx, buf, want);
			done += want;
		}
	}
	mem_free(buf);
	return rc;
}
