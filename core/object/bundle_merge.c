/*
 * Writing and merging bundles.
 *
 * All extents become pieces with a rank (later = higher). A sweep over each index file in rising offsets emits, for every
 * byte, the piece of the highest rank that covers it. Runs that touch become one extent, so that a merged bundle has few.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/endian.h"
#include "core/base/err.h"
#include "core/base/file.h"
#include "core/base/mem.h"
#include "core/object/bundle_int.h"

struct piece {
	uint32_t file, offset, len, rank;
	const uint8_t *bytes;      /* in memory ... */
	const struct bundle *from; /* ... or in a bundle, at `place` */
	uint64_t place;
};

/* A run of bytes of the result, in the order of the file. */
struct run {
	uint32_t piece, skip, len; /* bytes [skip, skip + len) of pieces[piece] */
};

struct sweep {
	struct piece *pieces; /* sorted by file, offset, rank */
	uint32_t count;
	uint32_t *heap; /* pieces that cover the place we are at, highest rank first */
	uint32_t heap_count;
	struct run *runs;
	uint32_t runs_count;
	struct bundle_extent *extents;
	uint32_t extents_count;
	uint64_t bytes;
};

static int by_place(const void *left, const void *right)
{
	const struct piece *a = left, *b = right;

	if (a->file != b->file)
		return a->file < b->file ? -1 : 1;
	if (a->offset != b->offset)
		return a->offset < b->offset ? -1 : 1;
	return a->rank < b->rank ? -1 : a->rank > b->rank;
}

static bool higher(const struct sweep *s, uint32_t a, uint32_t b)
{
	return s->pieces[s->heap[a]].rank > s->pieces[s->heap[b]].rank;
}

static void swap(struct sweep *s, uint32_t a, uint32_t b)
{
	uint32_t t = s->heap[a];

	s->heap[a] = s->heap[b];
	s->heap[b] = t;
}

static void heap_push(struct sweep *s, uint32_t piece)
{
	uint32_t at = s->heap_count++;

	s->heap[at] = piece;
	for (; at > 0 && higher(s, at, (at - 1) / 2); at = (at - 1) / 2)
		swap(s, at, (at - 1) / 2);
}

static void heap_pop(struct sweep *s)
{
	uint32_t at = 0;

	s->heap[0] = s->heap[--s->heap_count];
	for (;;) {
		uint32_t best = at, left = 2 * at + 1;

		if (left < s->heap_count && higher(s, left, best))
			best = left;
		if (left + 1 < s->heap_count && higher(s, left + 1, best))
			best = left + 1;
		if (best == at)
			return;
		swap(s, at, best);
		at = best;
	}
}

/* Appends bytes [from, to) of `file`, taken from the piece on top. */
static void emit(struct sweep *s, uint32_t file, uint64_t from, uint64_t to)
{
	uint32_t top = s->heap[0], skip = (uint32_t)(from - s->pieces[top].offset),
		 len = (uint32_t)(to - from);
	struct run *run = s->runs_count > 0 ? &s->runs[s->runs_count - 1] : NULL;
	struct bundle_extent *e = s->extents_count > 0 ? &s->extents[s->extents_count - 1] : NULL;

	if (run && run->piece == top && run->skip + run->len == skip)
		run->len += len;
	else
		s->runs[s->runs_count++] = (struct run){.piece = top, .skip = skip, .len = len};
	if (e && e->file == file && (uint64_t)e->offset + e->len == from)
		e->len += len;
	else
		s->extents[s->extents_count++] =
			(struct bundle_extent){.file = file, .offset = (uint32_t)from, .len = len};
	s->bytes += len;
}

/* Runs and extents out of the sorted pieces. */
static void sweep_run(struct sweep *s)
{
	uint32_t next = 0, file = 0;
	uint64_t at = 0;

	while (next < s->count || s->heap_count > 0) {
		const struct piece *top;
		uint64_t end;

		if (s->heap_count == 0) {
			file = s->pieces[next].file;
			at = s->pieces[next].offset;
		}
		while (next < s->count && s->pieces[next].file == file && s->pieces[next].offset <= at)
			heap_push(s, next++);
		top = &s->pieces[s->heap[0]];
		end = (uint64_t)top->offset + top->len;
		if (end <= at) {
			heap_pop(s);
			continue;
		}
		if (next < s->count && s->pieces[next].file == file && s->pieces[next].offset < end)
			end = s->pieces[next].offset;
		emit(s, file, at, end);
		at = end;
	}
}

static void sweep_release(struct sweep *s)
{
	mem_free(s->pieces);
	mem_free(s->heap);
	mem_free(s->runs);
	mem_free(s->extents);
}

/* Room for `count` pieces. A sweep of n pieces makes at most 2 n runs. */
static int sweep_init(struct sweep *s, uint32_t count)
{
	memset(s, 0, sizeof(*s));
	s->pieces = mem_calloc(count + 1, sizeof(s->pieces[0]));
	s->heap = mem_calloc(count + 1, sizeof(s->heap[0]));
	s->runs = mem_calloc(2 * (size_t)count + 1, sizeof(s->runs[0]));
	s->extents = mem_calloc(2 * (size_t)count + 1, sizeof(s->extents[0]));
	if (s->pieces && s->heap && s->runs && s->extents)
		return 0;
	sweep_release(s);
	memset(s, 0, sizeof(*s));
	return -ENOMEM;
}

/* ---- rows: by segment, the later one wins ---- */

struct ranked_row {
	struct bundle_row row;
	uint32_t rank;
};

static int by_segment(const void *left, const void *right)
{
	const struct ranked_row *a = left, *b = right;

	if (a->row.segment != b->row.segment)
		return a->row.segment < b->row.segment ? -1 : 1;
	return a->rank < b->rank ? -1 : a->rank > b->rank;
}

/* Sorts, keeps the last of each segment. Returns how many are left. */
static uint32_t rows_settle(struct ranked_row *rows, uint32_t count)
{
	uint32_t kept = 0;

	qsort(rows, count, sizeof(rows[0]), by_segment);
	for (uint32_t i = 0; i < count; i++) {
		if (kept > 0 && rows[kept - 1].row.segment == rows[i].row.segment)
			rows[kept - 1] = rows[i];
		else
			rows[kept++] = rows[i];
	}
	return kept;
}

/* ---- output ---- */

#define OUT_BYTES (64u << 10)

struct out {
	int fd;
	uint64_t at; /* of the buffer's first byte */
	size_t used;
	uint8_t *bytes;
};

static int out_flush(struct out *o)
{
	int rc = file_pwrite_full(o->fd, o->bytes, o->used, (off_t)o->at);

	o->at += o->used;
	o->used = 0;
	return rc;
}

static int out_run(struct out *o, const struct piece *p, uint32_t skip, uint32_t len)
{
	int rc = 0;

	while (rc == 0 && len > 0) {
		uint32_t now = OUT_BYTES - o->used < len ? (uint32_t)(OUT_BYTES - o->used) : len;

		if (p->bytes)
			memcpy(o->bytes + o->used, p->bytes + skip, now);
		else
			rc = bundle_read(p->from, p->place + skip, o->bytes + o->used, now);
		o->used += now;
		skip += now;
		len -= now;
		if (rc == 0 && o->used == OUT_BYTES)
			rc = out_flush(o);
	}
	return rc;
}

/* Room for `len` (small) bytes, or NULL with *rc set. */
static uint8_t *out_room(struct out *o, size_t len, int *rc)
{
	uint8_t *at;

	if (*rc == 0 && OUT_BYTES - o->used < len)
		*rc = out_flush(o);
	if (*rc != 0)
		return NULL;
	at = o->bytes + o->used;
	o->used += len;
	return at;
}

static void out_row(struct out *o, const struct bundle_row *row, int *rc)
{
	uint8_t *at = out_room(o, ROW_BYTES, rc);

	if (!at)
		return;
	put_u32le(at, row->segment);
	put_u64le(at + 4, row->generation);
	put_u32le(at + 12, row->size);
	memcpy(at + 16, row->content, CONTENT_ID_BYTES);
}

static void out_extent(struct out *o, const struct bundle_extent *e, int *rc)
{
	uint8_t *at = out_room(o, EXTENT_BYTES, rc);

	if (!at)
		return;
	put_u32le(at, e->file);
	put_u32le(at + 4, e->offset);
	put_u32le(at + 8, e->len);
}

static uint64_t size_of(uint32_t rows_count, const struct sweep *s)
{
	return HEAD_BYTES + (uint64_t)ROW_BYTES * rows_count + (uint64_t)EXTENT_BYTES * s->extents_count +
	       s->bytes;
}

static int write_all(int fd, uint32_t first, uint32_t last, const struct ranked_row *rows,
		     uint32_t rows_count, const struct sweep *s, uint64_t *size)
{
	struct out o = {.fd = fd, .bytes = mem_alloc(OUT_BYTES)};
	uint8_t *head;
	int rc = o.bytes ? 0 : -ENOMEM;

	*size = size_of(rows_count, s);
	if (rc == 0 && (*size > BUNDLE_MAX_BYTES || rows_count > BUNDLE_ROWS_MAX ||
			s->extents_count > BUNDLE_EXTENTS_MAX))
		rc = -EMSGSIZE;
	head = out_room(&o, HEAD_BYTES, &rc);
	if (head) {
		memcpy(head, "QSX1", 4);
		put_u32le(head + 4, first);
		put_u32le(head + 8, last);
		put_u32le(head + 12, rows_count);
		put_u32le(head + 16, s->extents_count);
	}
	for (uint32_t i = 0; rc == 0 && i < rows_count; i++)
		out_row(&o, &rows[i].row, &rc);
	for (uint32_t i = 0; rc == 0 && i < s->extents_count; i++)
		out_extent(&o, &s->extents[i], &rc);
	for (uint32_t i = 0; rc == 0 && i < s->runs_count; i++)
		rc = out_run(&o, &s->pieces[s->runs[i].piece], s->runs[i].skip, s->runs[i].len);
	if (rc == 0)
		rc = out_flush(&o);
	mem_free(o.bytes);
	return rc;
}

static bool extent_possible(const struct bundle_extent *e)
{
	return e->len > 0 && (uint64_t)e->offset + e->len <= UINT32_MAX;
}

int bundle_write(int fd, uint32_t first, uint32_t last, const struct bundle_row *rows, uint32_t rows_count,
		 const struct bundle_extent *extents, const uint8_t *const *bytes, uint32_t extents_count,
		 uint64_t *size)
{
	struct ranked_row *ranked = NULL;
	struct sweep s;
	int rc;

	if (last < first || extents_count > BUNDLE_EXTENTS_MAX || rows_count > BUNDLE_ROWS_MAX)
		return last < first ? -EINVAL : -EMSGSIZE;
	rc = sweep_init(&s, extents_count);
	if (rc != 0)
		return rc;
	for (uint32_t i = 0; i < extents_count; i++) {
		if (!extent_possible(&extents[i])) {
			rc = -EINVAL;
			goto out;
		}
		s.pieces[s.count++] = (struct piece){.file = extents[i].file,
						     .offset = extents[i].offset,
						     .len = extents[i].len,
						     .rank = i,
						     .bytes = bytes[i]};
	}
	ranked = mem_calloc(rows_count + 1, sizeof(ranked[0]));
	if (!ranked) {
		rc = -ENOMEM;
		goto out;
	}
	for (uint32_t i = 0; i < rows_count; i++)
		ranked[i] = (struct ranked_row){.row = rows[i], .rank = i};
	qsort(s.pieces, s.count, sizeof(s.pieces[0]), by_place);
	sweep_run(&s);
	rc = write_all(fd, first, last, ranked, rows_settle(ranked, rows_count), &s, size);
out:
	mem_free(ranked);
	sweep_release(&s);
	return rc;
}

/* Sums of rows and extents; -EINVAL when the bundles are no neighbours, -EMSGSIZE when they are too many. */
static int count_all(const struct bundle *const *list, unsigned count, uint32_t rows_count, uint32_t *rows,
		     uint32_t *extents)
{
	uint64_t all_rows = rows_count, all_extents = 0;

	if (count < 1)
		return -EINVAL;
	for (unsigned i = 0; i < count; i++) {
		if (i > 0 && (uint64_t)list[i - 1]->last + 1 != list[i]->first)
			return -EINVAL;
		all_rows += list[i]->rows_count;
		all_extents += list[i]->extents_count;
	}
	if (all_rows > BUNDLE_ROWS_MAX || all_extents > BUNDLE_EXTENTS_MAX)
		return -EMSGSIZE;
	*rows = (uint32_t)all_rows;
	*extents = (uint32_t)all_extents;
	return 0;
}

/* What comes of the bundles and rows: runs and extents in *s, rows[0...*kept-1] settled. Both are the caller's, also after an error. */
static int gather(const struct bundle *const *list, unsigned count, const struct bundle_row *rows,
		  uint32_t rows_count, struct sweep *s, struct ranked_row **out, uint32_t *kept)
{
	struct ranked_row *ranked;
	uint32_t all_rows, all_extents, at = 0;
	int rc = count_all(list, count, rows_count, &all_rows, &all_extents);

	*out = NULL;
	if (rc == 0)
		rc = sweep_init(s, all_extents);
	else
		memset(s, 0, sizeof(*s));
	if (rc != 0)
		return rc;
	ranked = *out = mem_calloc(all_rows + 1, sizeof(ranked[0]));
	if (!ranked)
		return -ENOMEM;
	for (unsigned b = 0; b < count; b++) {
		for (uint32_t i = 0; i < list[b]->rows_count; i++, at++)
			ranked[at] = (struct ranked_row){.row = list[b]->rows[i], .rank = at};
		for (uint32_t i = 0; i < list[b]->extents_count; i++, s->count++)
			s->pieces[s->count] = (struct piece){.file = list[b]->extents[i].file,
							     .offset = list[b]->extents[i].offset,
							     .len = list[b]->extents[i].len,
							     .rank = s->count,
							     .from = list[b],
							     .place = list[b]->places[i]};
	}
	for (uint32_t i = 0; i < rows_count; i++, at++)
		ranked[at] = (struct ranked_row){.row = rows[i], .rank = at};
	qsort(s->pieces, s->count, sizeof(s->pieces[0]), by_place);
	sweep_run(s);
	*kept = rows_settle(ranked, all_rows);
	return 0;
}

int bundle_merge(const struct bundle *const *list, unsigned count, const struct bundle_row *rows,
		 uint32_t rows_count, int fd, uint64_t *size)
{
	struct ranked_row *ranked;
	struct sweep s;
	uint32_t kept;
	int rc = gather(list, count, rows, rows_count, &s, &ranked, &kept);

	if (rc == 0)
		rc = write_all(fd, list[0]->first, list[count - 1]->last, ranked, kept, &s, size);
	mem_free(ranked);
	sweep_release(&s);
	return rc;
}

int bundle_merged_size(const struct bundle *const *list, unsigned count, uint64_t *size)
{
	struct ranked_row *ranked;
	struct sweep s;
	uint32_t kept;
	int rc = gather(list, count, NULL, 0, &s, &ranked, &kept);

	if (rc == 0)
		*size = size_of(kept, &s);
	mem_free(ranked);
	sweep_release(&s);
	return rc;
}
