/* One index file put together from bundles, without the bytes of the others. */
#include <errno.h>

#include "core/base/err.h"
#include "core/base/file.h"
#include "core/base/mem.h"
#include "core/object/bundle_int.h"

#define COPY_CHUNK (64u << 10)

void bundle_index_begin(struct bundle_index *x, int fd, uint32_t number)
{
	*x = (struct bundle_index){.fd = fd, .number = number, .next = number};
}

static int copy_extent(struct bundle_index *x, const struct bundle *b, uint32_t i, uint8_t *chunk)
{
	const struct bundle_extent *e = &b->extents[i];
	int rc = 0;

	for (uint32_t done = 0; rc == 0 && done < e->len;) {
		uint32_t now = e->len - done < COPY_CHUNK ? e->len - done : COPY_CHUNK;

		rc = bundle_read(b, b->places[i] + done, chunk, now);
		if (rc == 0)
			rc = file_pwrite_full(x->fd, chunk, now, (off_t)e->offset + done);
		done += now;
	}
	if (rc == 0 && e->offset + e->len > x->size)
		x->size = e->offset + e->len;
	return rc;
}

/*
 * Only the bundle of its own segment has the file as a whole, from its start on and without holes; later ones rewrite
 * places in it.
 */
static bool fits(const struct bundle_index *x, const struct bundle *b, const struct bundle_extent *e)
{
	return b->first <= x->number ? e->offset <= x->size : e->offset + e->len <= x->size;
}

int bundle_index_add(struct bundle_index *x, const struct bundle *b, const char **what)
{
	uint8_t *chunk;
	int rc = 0;

	*what = "order of segments";
	if (b->first > x->next || b->last < x->next)
		return -E_CORRUPT;
	chunk = mem_alloc(COPY_CHUNK);
	if (!chunk)
		return -ENOMEM;
	*what = "extent";
	for (uint32_t i = 0; rc == 0 && i < b->extents_count; i++) {
		if (b->extents[i].file == x->number)
			rc = fits(x, b, &b->extents[i]) ? copy_extent(x, b, i, chunk) : -E_CORRUPT;
	}
	mem_free(chunk);
	if (rc == 0 && x->size == 0)
		rc = -E_CORRUPT;
	if (rc == 0)
		x->next = b->last + 1;
	return rc;
}
