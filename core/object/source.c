/* Sources and sinks of plaintext: files and memory. */
#include <errno.h>
#include <string.h>

#include "core/base/buf.h"
#include "core/base/file.h"
#include "core/object/object.h"

/* 0-db's field `opened` of d<N>: it is the node's own and counts as 0 in what leaves it (format, section 7). */
#define OPENED_FROM 16
#define OPENED_TO   24

static int file_read(void *ctx, uint64_t offset, void *buf, size_t len)
{
	const struct obj_file_range *range = ctx;
	uint64_t from = range->start + offset;
	ssize_t got = file_pread_full(range->fd, buf, len, (off_t)from);

	if (got < 0)
		return (int)got;
	if ((size_t)got != len)
		return -EIO; /* shorter than it was said to be */
	for (uint64_t at = OPENED_FROM; range->data_header && at < OPENED_TO; at++)
		if (at >= from && at - from < len)
			((uint8_t *)buf)[at - from] = 0;
	return 0;
}

struct obj_source obj_source_file(struct obj_file_range *range, uint64_t size)
{
	return (struct obj_source){.read = file_read, .ctx = range, .size = size};
}

static int memory_read(void *ctx, uint64_t offset, void *buf, size_t len)
{
	memcpy(buf, (const uint8_t *)ctx + offset, len);
	return 0;
}

struct obj_source obj_source_memory(const void *data, size_t size)
{
	return (struct obj_source){.read = memory_read, .ctx = (void *)(uintptr_t)data, .size = size};
}

static int file_write(void *ctx, uint64_t offset, const void *data, size_t len)
{
	const struct obj_file_range *range = ctx;

	return file_pwrite_full(range->fd, data, len, (off_t)(range->start + offset));
}

struct obj_sink obj_sink_file(struct obj_file_range *range)
{
	return (struct obj_sink){.write = file_write, .ctx = range};
}

static int buf_write(void *ctx, uint64_t offset, const void *data, size_t len)
{
	(void)offset; /* sinks are written in order */
	return buf_append(ctx, data, len);
}

struct obj_sink obj_sink_buf(struct buf *out)
{
	return (struct obj_sink){.write = buf_write, .ctx = out};
}
