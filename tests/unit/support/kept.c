/*
 * kept.c: see kept.h.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/base/endian.h"
#include "core/base/file.h"
#include "core/coding/content_id.h"
#include "core/zdb/fmt.h"
#include "tests/unit/support/kept.h"

/* Every content that stores may hold: what is uploaded is never lost, whatever happens to the node. */
static struct kept_content *contents;
static size_t contents_count;

const struct kept_content *kept_content(const uint8_t id[16])
{
	for (size_t i = 0; i < contents_count; i++)
		if (memcmp(contents[i].id, id, 16) == 0)
			return &contents[i];
	return NULL;
}

/* d<n> as it leaves the node. */
static void content_take(struct zu *u, uint32_t n, uint8_t id[16])
{
	char name[16];
	size_t size;
	uint8_t *b;

	snprintf(name, sizeof(name), "d%u", n);
	b = zu_file(u, "default", name, &size);
	assert_non_null(b);
	memset(b + DAT_STAMP_AT, 0, 8);
	content_id_of(b, size, id);
	if (kept_content(id) != NULL) {
		free(b);
		return;
	}
	contents = realloc(contents, (contents_count + 1) * sizeof(*contents));
	assert_non_null(contents);
	memcpy(contents[contents_count].id, id, 16);
	contents[contents_count].bytes = b;
	contents[contents_count++].size = size;
}

void kept_free(void)
{
	for (size_t i = 0; i < contents_count; i++)
		free(contents[i].bytes);
	free(contents);
	contents = NULL;
	contents_count = 0;
}

void kept_image_free(struct kept_image *im)
{
	for (unsigned i = 0; i < KEPT_SEGMENTS; i++)
		free(im->index[i]);
	memset(im, 0, sizeof(*im));
}

static void image_write(struct kept_image *im, uint32_t file, uint32_t off, const uint8_t *b, uint32_t len)
{
	assert_true(file < KEPT_SEGMENTS);
	if (off + len > im->size[file]) {
		im->index[file] = realloc(im->index[file], off + len);
		assert_non_null(im->index[file]);
		memset(im->index[file] + im->size[file], 0, off + len - im->size[file]);
		im->size[file] = off + len;
	}
	memcpy(im->index[file] + off, b, len);
}

static void kept_bundle_path(const struct zu *u, uint32_t n, char *path, size_t size)
{
	snprintf(path, size, "%s/store/x%u", u->dir, n);
}

/* A bundle as it is kept: rows, then extents with their bytes. */
bool kept_image_add(struct kept_image *im, const struct zu *u, uint32_t n)
{
	char path[400], *text;
	const uint8_t *b;
	uint32_t rows, extents;
	size_t len;

	kept_bundle_path(u, n, path, sizeof(path));
	if (file_read_all(path, 64u << 20, &text, &len) != 0)
		return false;
	b = (const uint8_t *)text;
	rows = get_u32le(b);
	extents = get_u32le(b + 4);
	b += 8;
	for (uint32_t i = 0; i < rows; i++, b += 20)
		memcpy(im->row[get_u32le(b)], b + 4, 16);
	for (uint32_t i = 0; i < extents; i++) {
		image_write(im, get_u32le(b), get_u32le(b + 4), b + 12, get_u32le(b + 8));
		b += 12 + get_u32le(b + 8);
	}
	assert_ptr_equal(b, text + len);
	free(text);
	return true;
}

static void row_add(struct zu_bytes *out, uint32_t segment, const uint8_t id[16])
{
	uint8_t number[4];

	put_u32le(number, segment);
	zu_bytes_add(out, number, 4);
	zu_bytes_add(out, id, 16);
}

static void extents_add(struct zu_bytes *out, const struct zdb_bundle *x, const struct zu_bytes *raw)
{
	size_t at = 0;

	for (uint32_t i = 0; i < x->extents_count; i++) {
		uint8_t head[12];

		put_u32le(head, x->extents[i].file);
		put_u32le(head + 4, x->extents[i].offset);
		put_u32le(head + 8, x->extents[i].length);
		zu_bytes_add(out, head, sizeof(head));
		zu_bytes_add(out, raw->b + at, x->extents[i].length);
		at += x->extents[i].length;
	}
	assert_int_equal(at, raw->size);
}

int kept_bundle(struct zu *u, const struct zdb_bundle *x)
{
	struct zu_bytes out = {0}, raw = {0};
	uint8_t id[16], counts[8];
	char path[400];
	int rc;

	put_u32le(counts, x->replaced_count + 1);
	put_u32le(counts + 4, x->extents_count);
	zu_bytes_add(&out, counts, sizeof(counts));
	for (uint32_t i = 0; i < x->replaced_count; i++) {
		content_take(u, x->replaced[i].segment, id);
		assert_memory_equal(id, x->replaced[i].content, 16);
		assert_int_equal(kept_content(id)->size, x->replaced[i].size);
		row_add(&out, x->replaced[i].segment, id);
	}
	content_take(u, x->segment, id);
	row_add(&out, x->segment, id);
	rc = zdb_bundle_read(x, zu_bytes_add, &raw);
	if (rc == 0) {
		assert_int_equal(raw.size, x->bytes);
		extents_add(&out, x, &raw);
		kept_bundle_path(u, x->segment, path, sizeof(path));
		rc = file_write_atomic(path, 0600, out.b, out.size);
	}
	free(out.b);
	free(raw.b);
	return rc;
}

uint32_t kept_bundles(const struct zu *u)
{
	char path[400];
	uint32_t n = 0;

	for (;; n++) {
		kept_bundle_path(u, n, path, sizeof(path));
		if (file_exists(path) != 1)
			return n;
	}
}
