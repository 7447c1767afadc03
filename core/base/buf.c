/*
 * buf: see the header. The front moves on buf_consume(); buf_reserve() first moves the content back to the start of the
 * memory when that makes enough room, so that a stream of requests never grows the memory.
 */
#include "core/base/buf.h"

#include <stdio.h>
#include <string.h>

#include "core/base/endian.h"
#include "core/base/err.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/mem_copy.h"

#define BUF_FIRST 256u /* smallest allocation: most messages fit */

static size_t total(const struct buf *b)
{
	return (size_t)(b->data - b->base) + b->cap;
}

void buf_init(struct buf *b, size_t max)
{
	*b = (struct buf){.max = max};
}

void buf_release(struct buf *b)
{
	mem_free(b->base);
	buf_init(b, b->max);
}

void buf_release_wiped(struct buf *b)
{
	if (b->base)
		mem_wipe(b->base, total(b));
	buf_release(b);
}

/* `bytes` behind data in all, beyond the bound too: buf_str() keeps one byte for the NUL there. */
static int make_room(struct buf *b, size_t bytes)
{
	size_t have = b->base ? total(b) : 0, want;
	uint8_t *grown;

	if (bytes <= b->cap)
		return 0;
	if (bytes <= have) {
		memmove(b->base, b->data, b->len);
		b->data = b->base;
		b->cap = have;
		return 0;
	}
	want = have ? have : BUF_FIRST;
	while (want < bytes)
		want = want > SIZE_MAX / 2 ? bytes : want * 2;
	if (want > b->max && b->max >= bytes)
		want = b->max;
	grown = mem_alloc(want);
	if (!grown)
		return -ENOMEM;
	if (b->len)
		memcpy(grown, b->data, b->len);
	mem_free(b->base);
	b->base = b->data = grown;
	b->cap = want;
	return 0;
}

int buf_reserve(struct buf *b, size_t more)
{
	size_t bytes;

	if (__builtin_add_overflow(b->len, more, &bytes) || bytes > b->max)
		return -E_LIMIT;
	return make_room(b, bytes);
}

int buf_append(struct buf *b, const void *data, size_t len)
{
	int code = buf_reserve(b, len);

	if (code)
		return code;
	if (len)
		mem_copy(b->data + b->len, data, len);
	b->len += len;
	return 0;
}

int buf_append_str(struct buf *b, const char *text)
{
	return buf_append(b, text, strlen(text));
}

int buf_append_byte(struct buf *b, uint8_t byte)
{
	return buf_append(b, &byte, 1);
}

int buf_append_zero(struct buf *b, size_t len)
{
	int code = buf_reserve(b, len);

	if (code)
		return code;
	if (len)
		memset(b->data + b->len, 0, len);
	b->len += len;
	return 0;
}

int buf_append_fmt_v(struct buf *b, const char *format, va_list ap)
{
	va_list again;
	size_t room = b->cap - b->len;
	int n, code;

	va_copy(again, ap);
	n = vsnprintf(room ? (char *)b->data + b->len : NULL, room, format, ap);
	if (n < 0) {
		code = -EINVAL;
		goto out;
	}
	if ((size_t)n > b->max - b->len) {
		code = -E_LIMIT;
		goto out;
	}
	if ((size_t)n >= room) {
		/* One byte more than the bound may be needed for the NUL, which is not content. */
		code = make_room(b, b->len + (size_t)n + 1);
		if (code)
			goto out;
		vsnprintf((char *)b->data + b->len, b->cap - b->len, format, again);
	}
	b->len += (size_t)n;
	code = 0;
out:
	va_end(again);
	return code;
}

int buf_append_fmt(struct buf *b, const char *format, ...)
{
	va_list ap;
	int code;

	va_start(ap, format);
	code = buf_append_fmt_v(b, format, ap);
	va_end(ap);
	return code;
}

int buf_append_u16le(struct buf *b, uint16_t v)
{
	uint8_t bytes[sizeof(v)];

	put_u16le(bytes, v);
	return buf_append(b, bytes, sizeof(bytes));
}

int buf_append_u32le(struct buf *b, uint32_t v)
{
	uint8_t bytes[sizeof(v)];

	put_u32le(bytes, v);
	return buf_append(b, bytes, sizeof(bytes));
}

int buf_append_u64le(struct buf *b, uint64_t v)
{
	uint8_t bytes[sizeof(v)];

	put_u64le(bytes, v);
	return buf_append(b, bytes, sizeof(bytes));
}

void buf_added(struct buf *b, size_t len)
{
	BUG_ON(len > b->cap - b->len);
	b->len += len;
}

void buf_consume(struct buf *b, size_t len)
{
	if (len >= b->len) {
		buf_clear(b);
		return;
	}
	b->data += len;
	b->len -= len;
	b->cap -= len;
}

void buf_truncate(struct buf *b, size_t len)
{
	if (len < b->len)
		b->len = len;
}

void buf_clear(struct buf *b)
{
	if (!b->base)
		return;
	b->cap = total(b);
	b->data = b->base;
	b->len = 0;
}

const char *buf_str(struct buf *b)
{
	if (b->len == SIZE_MAX || make_room(b, b->len + 1))
		return NULL;
	b->data[b->len] = '\0';
	return (const char *)b->data;
}

void *buf_detach(struct buf *b, size_t *len)
{
	void *out;

	if (!buf_str(b))
		return NULL;
	out = b->base;
	memmove(b->base, b->data, b->len + 1);
	if (len)
		*len = b->len;
	buf_init(b, b->max);
	return out;
}
