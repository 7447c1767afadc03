/*
 * Reading bundles: tables to memory, bytes by extent. Writing and merging are in bundle_merge.c.
 */
#include <errno.h>
#include <string.h>

#include "core/base/endian.h"
#include "core/base/err.h"
#include "core/base/file.h"
#include "core/base/mem.h"
#include "core/base/sys.h"
#include "core/object/bundle_int.h"

#define APPLY_CHUNK (64u << 10)

int bundle_read(const struct bundle *b, uint64_t at, void *out, size_t len)
{
	ssize_t got;

	if (at > b->size || len > b->size - at)
		return -E_CORRUPT;
	if (b->fd < 0) {
		memcpy(out, b->data + at, len);
		return 0;
	}
	got = file_pread_full(b->fd, out, len, (off_t)at);
	if (got < 0)
		return (int)got;
	return (size_t)got == len ? 0 : -EIO;
}

/* Reads `count` rows of `bytes` each at `at`; hands each to `take`. */
static int read_table(const struct bundle *b, uint64_t at, uint32_t count, size_t bytes,
		      void (*take)(void *to, uint32_t i, const uint8_t *row), void *to)
{
	uint8_t chunk[128 * ROW_BYTES];
	uint32_t per_chunk = (uint32_t)(sizeof(chunk) / bytes);

	for (uint32_t i = 0; i < count;) {
		uint32_t now = count - i < per_chunk ? count - i : per_chunk;
		int rc = bundle_read(b, at + (uint64_t)i * bytes, chunk, now * bytes);

		if (rc != 0)
			return rc;
		for (uint32_t j = 0; j < now; j++, i++)
			take(to, i, chunk + j * bytes);
	}
	return 0;
}

static void take_row(void *to, uint32_t i, const uint8_t *in)
{
	struct bundle_row *row = (struct bundle_row *)to + i;

	row->segment = get_u32le(in);
	row->generation = get_u64le(in + 4);
	row->size = get_u32le(in + 12);
	memcpy(row->content, in + 16, CONTENT_ID_BYTES);
}

static void take_extent(void *to, uint32_t i, const uint8_t *in)
{
	((struct bundle_extent *)to)[i] = (struct bundle_extent){
		.file = get_u32le(in), .offset = get_u32le(in + 4), .len = get_u32le(in + 8)};
}

static const char *head_wrong(const struct bundle *b, const uint8_t *head)
{
	if (memcmp(head, "QSX1", 4) != 0)
		return "magic";
	if (b->last < b->first)
		return "order of segments";
	if (b->rows_count > BUNDLE_ROWS_MAX)
		return "number of rows";
	if (b->extents_count > BUNDLE_EXTENTS_MAX)
		return "number of extents";
	if (HEAD_BYTES + (uint64_t)ROW_BYTES * b->rows_count + (uint64_t)EXTENT_BYTES * b->extents_count >
	    b->size)
		return "length";
	return NULL;
}

/* Where the extents' bytes lie; they must end where the file ends. */
static const char *lay_out(struct bundle *b)
{
	uint64_t at =
		HEAD_BYTES + (uint64_t)ROW_BYTES * b->rows_count + (uint64_t)EXTENT_BYTES * b->extents_count;

	for (uint32_t i = 0; i < b->extents_count; i++) {
		const struct bundle_extent *e = &b->extents[i];

		if (e->len == 0 || (uint64_t)e->offset + e->len > UINT32_MAX)
			return "extent";
		b->places[i] = at;
		at += e->len;
	}
	if (at != b->size)
		return "length";
	return NULL;
}

uint64_t bundle_tables_end(const uint8_t head[BUNDLE_HEAD_BYTES])
{
	return HEAD_BYTES + (uint64_t)ROW_BYTES * get_u32le(head + 12) +
	       (uint64_t)EXTENT_BYTES * get_u32le(head + 16);
}

static int open_tables(struct bundle *b, const char **what)
{
	uint8_t head[HEAD_BYTES];
	int rc;

	*what = "length";
	if (b->size < HEAD_BYTES)
		return -E_CORRUPT;
	if (b->size > BUNDLE_MAX_BYTES)
		return -EMSGSIZE;
	rc = bundle_read(b, 0, head, sizeof(head));
	if (rc != 0)
		return rc;
	b->first = get_u32le(head + 4);
	b->last = get_u32le(head + 8);
	b->rows_count = get_u32le(head + 12);
	b->extents_count = get_u32le(head + 16);
	*what = head_wrong(b, head);
	if (*what)
		return -E_CORRUPT;
	b->rows = mem_alloc(b->rows_count * sizeof(b->rows[0]));
	b->extents = mem_alloc(b->extents_count * sizeof(b->extents[0]));
	b->places = mem_alloc(b->extents_count * sizeof(b->places[0]));
	if (!b->rows || !b->extents || !b->places)
		return -ENOMEM;
	rc = read_table(b, HEAD_BYTES, b->rows_count, ROW_BYTES, take_row, b->rows);
	if (rc == 0)
		rc = read_table(b, HEAD_BYTES + (uint64_t)ROW_BYTES * b->rows_count, b->extents_count,
				EXTENT_BYTES, take_extent, b->extents);
	if (rc != 0)
		return rc;
	*what = lay_out(b);
	return *what ? -E_CORRUPT : 0;
}

static int open_any(struct bundle *b, const char **what)
{
	const char *wrong = NULL;
	int rc = open_tables(b, &wrong);

	if (rc != 0)
		bundle_release(b);
	if (what)
		*what = rc == -E_CORRUPT ? wrong : NULL;
	return rc;
}

int bundle_open(int fd, struct bundle *b, const char **what)
{
	struct stat st;

	memset(b, 0, sizeof(*b));
	b->fd = fd;
	if (sys->fstat(fd, &st) < 0)
		return -errno;
	b->size = (uint64_t)st.st_size;
	return open_any(b, what);
}

int bundle_parse(const void *data, size_t len, struct bundle *b, const char **what)
{
	memset(b, 0, sizeof(*b));
	b->fd = -1;
	b->data = data;
	b->size = len;
	return open_any(b, what);
}

void bundle_release(struct bundle *b)
{
	mem_free(b->rows);
	mem_free(b->extents);
	mem_free(b->places);
	b->rows = NULL;
	b->extents = NULL;
	b->places = NULL;
	b->rows_count = b->extents_count = 0;
}

int bundle_apply(const struct bundle *b,
		 int (*write)(void *ctx, uint32_t file, uint32_t offset, const void *data, size_t len),
		 void *ctx)
{
	uint8_t *chunk = mem_alloc(APPLY_CHUNK);
	int rc = chunk ? 0 : -ENOMEM;

	for (uint32_t i = 0; rc == 0 && i < b->extents_count; i++) {
		const struct bundle_extent *e = &b->extents[i];

		for (uint32_t done = 0; rc == 0 && done < e->len;) {
			uint32_t now = e->len - done < APPLY_CHUNK ? e->len - done : APPLY_CHUNK;

			rc = bundle_read(b, b->places[i] + done, chunk, now);
			if (rc == 0)
				rc = write(ctx, e->file, e->offset + done, chunk, now);
			done += now;
		}
	}
	mem_free(chunk);
	return rc;
}
