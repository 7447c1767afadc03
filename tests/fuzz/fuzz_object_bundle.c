/* Bundles: arbitrary bytes. What parses is applied and merged; the merge holds the same bytes. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/object/bundle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Order does not matter for a merged bundle and its source only where extents do not overlap: compare a window of files. */
struct window {
	uint8_t bytes[2][4096];
	uint64_t count;
};

static int put(void *ctx, uint32_t file, uint32_t offset, const void *data, size_t len)
{
	struct window *w = ctx;

	w->count += len;
	if (file > 1)
		return 0;
	for (size_t i = 0; i < len && offset + i < 4096; i++)
		w->bytes[file][offset + i] = ((const uint8_t *)data)[i];
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct window before, after;
	const struct bundle *list;
	struct bundle b, merged;
	const char *what = NULL;
	uint64_t bytes;
	int fd;

	if (bundle_parse(data, size, &b, &what) != 0) {
		if (!what)
			abort();
		return 0;
	}
	memset(&before, 0, sizeof(before));
	memset(&after, 0, sizeof(after));
	if (bundle_apply(&b, put, &before) != 0)
		abort();
	fd = memfd_create("bundle", 0);
	list = &b;
	if (fd < 0 || bundle_merge(&list, 1, NULL, 0, fd, &bytes) != 0 ||
	    bundle_open(fd, &merged, &what) != 0)
		abort();
	if (merged.size != bytes || bytes > size || bundle_apply(&merged, put, &after) != 0 ||
	    memcmp(before.bytes, after.bytes, sizeof(before.bytes)) != 0 || after.count > before.count)
		abort();
	bundle_release(&merged);
	bundle_release(&b);
	close(fd);
	return 0;
}
