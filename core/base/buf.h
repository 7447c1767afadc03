/*
 * buf: bytes that grow up to a bound.
 *
 * data[0..len) is the content. Bytes are appended at the end and consumed at the front; consuming is cheap (the front
 * moves, the memory is compacted when room is needed). Growth doubles, never beyond `max`. Not thread-safe.
 */
#ifndef CORE_BASE_BUF_H
#define CORE_BASE_BUF_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
	uint8_t *data; /* first byte of the content; NULL before the first growth */
	size_t len;    /* bytes of content */
	size_t cap;    /* bytes available from data on */
	size_t max;    /* the bound on len */
	uint8_t *base; /* private: what was allocated; data - base bytes have been consumed */
};

/* An empty buffer that may hold up to `max` bytes; allocates nothing. */
void buf_init(struct buf *b, size_t max);
#define BUF_INIT(bound)                                                                                      \
	{                                                                                                    \
		.max = (bound)                                                                               \
	}

/* Frees the memory and leaves an empty buffer with the same bound. _wiped: overwrites it first (secrets). */
void buf_release(struct buf *b);
void buf_release_wiped(struct buf *b);

/* Makes room for `more` bytes after the content. 0, -E_LIMIT when that exceeds max, -ENOMEM; unchanged on error. */
int buf_reserve(struct buf *b, size_t more);

/* Appends; 0, -E_LIMIT, -ENOMEM; the content is unchanged on error. buf_append_str does not append the NUL. */
int buf_append(struct buf *b, const void *data, size_t len);
int buf_append_str(struct buf *b, const char *text);
int buf_append_byte(struct buf *b, uint8_t byte);
int buf_append_zero(struct buf *b, size_t len);
int buf_append_fmt(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
int buf_append_fmt_v(struct buf *b, const char *format, va_list ap) __attribute__((format(printf, 2, 0)));
int buf_append_u16le(struct buf *b, uint16_t v);
int buf_append_u32le(struct buf *b, uint32_t v);
int buf_append_u64le(struct buf *b, uint64_t v);

/* Counts `len` bytes that were written at data + len after buf_reserve(). */
void buf_added(struct buf *b, size_t len);

/* Drops `len` bytes (at most all) from the front; drops everything from `len` on; drops everything but keeps the memory. */
void buf_consume(struct buf *b, size_t len);
void buf_truncate(struct buf *b, size_t len);
void buf_clear(struct buf *b);

/* The content as a string: a NUL is put behind it without counting it. NULL when there is no memory for it. */
const char *buf_str(struct buf *b);

/* Hands over memory that holds exactly the content followed by a NUL (mem_free it), *len (may be NULL) gets its length; the
 * buffer is empty afterwards. NULL: out of memory, buffer unchanged. */
void *buf_detach(struct buf *b, size_t *len);

#endif
