/*
 * resp: the redis protocol, both directions, incremental and without copies.
 *
 * Two parsers work on a contiguous byte range that the caller owns (normally the content of a struct buf that
 * a socket is read into). They remember where they stopped, so that a range which grows is never scanned
 * twice, and they never keep pointers: results are offsets from the start of the range, which therefore may
 * move between calls. After a whole message the caller drops `used` bytes and calls the reset function.
 *
 *	request parser	 arrays of bulk strings, what a server receives; forms as 0-db reads them (numbers
 *like atoi, '\n' ends a line, the two bytes after a payload are skipped unchecked) reply parser	 RESP2
 *values of any nesting, strict, what a client receives
 *
 * Both are bounded: arguments, elements, depth, bytes per string, bytes of a header line. A bound that is hit
 * is an error, never a larger allocation. Not thread-safe per object; different objects are independent.
 */
#ifndef CORE_NET_RESP_H
#define CORE_NET_RESP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;

#define RESP_ARGC_MAX     1024       /* arguments of one command */
#define RESP_BULK_MAX     (8u << 20) /* bytes of one argument or one string of a reply */
#define RESP_LINE_MAX     8192       /* bytes of one header line, its end included */
#define RESP_ARGS_INLINE  8          /* arguments that need no allocation */
#define RESP_DEPTH_MAX    8          /* nesting of a reply */
#define RESP_ELEMENTS_MAX (1 << 20)  /* values of one reply, all levels together */

/* A string inside the caller's range. */
struct resp_span {
	size_t off;
	size_t len;
};

/* ---------------------------------------------------------------------------- requests, read by a server */

enum resp_state {
	RESP_MORE,  /* the range ends inside the message: read more bytes and call again */
	RESP_WHOLE, /* one whole message; `used` says how many bytes it took */
	RESP_WRONG, /* protocol error: send `error` when it is not NULL, then close the connection */
};

struct resp_request {
	/* result, valid after RESP_WHOLE until the next reset */
	size_t argc;
	const struct resp_span *argv; /* points to `few` or to an array that the parser owns */
	size_t used;
	/* after RESP_WRONG: text of the reply without '-' and line end, NULL = close without one */
	const char *error;
	/* after RESP_MORE: bytes that the range must hold before another call can get any further (a hint for
	 * sizing the next read: a payload of 8 MiB is read straight into its place) */
	size_t need;
	/* bounds; set by resp_request_init(), may be changed before the first call */
	size_t bulk_max;  /* bytes of one argument */
	size_t total_max; /* bytes of one whole request; over it `Payload too big` */

	/* private */
	size_t pos, want, cap;
	bool in_bulk;
	size_t bulk_len;
	struct resp_span *args;
	struct resp_span few[RESP_ARGS_INLINE];
};

/* A parser before its first request, with the bounds of a server; allocates nothing. */
void resp_request_init(struct resp_request *p);
/* Frees what it holds; the parser is as after resp_request_init(), with its bounds kept. */
void resp_request_release(struct resp_request *p);
/* Ready for the next request; keeps a grown argument table only when it is small. */
void resp_request_reset(struct resp_request *p);
/* Goes on parsing [data, data + len), which begins with the first byte of the current request. */
enum resp_state resp_request_parse(struct resp_request *p, const uint8_t *data, size_t len);

/* ------------------------------------------------------------------------------ replies, read by a client */

enum resp_type {
	RESP_NIL,     /* $-1 or *-1 */
	RESP_STATUS,  /* +text */
	RESP_ERROR,   /* -text */
	RESP_INTEGER, /* :n */
	RESP_BULK,
	RESP_ARRAY,
};

/* One value. The values of a reply lie in pre-order: an array is followed by its `count` members, each member
 * that is an array by its own, and so on. resp_value_skip() steps over one. */
struct resp_value {
	enum resp_type type;
	uint32_t count;       /* RESP_ARRAY */
	int64_t integer;      /* RESP_INTEGER */
	struct resp_span str; /* RESP_STATUS, RESP_ERROR, RESP_BULK */
};

struct resp_reply {
	/* result, valid after RESP_WHOLE until the next reset */
	const struct resp_value *values; /* values[0] is the reply itself */
	size_t count;
	size_t used;
	const char *error; /* after RESP_WRONG: what is wrong, for a log line */
	size_t need;       /* after RESP_MORE, as in struct resp_request */
	/* bounds; set by resp_reply_init(), may be changed before the first call */
	size_t bulk_max;
	size_t elements_max;

	/* private */
	size_t pos, cap;
	bool in_bulk;
	size_t bulk_len;
	unsigned depth;
	uint32_t left[RESP_DEPTH_MAX]; /* members still missing on each level */
	struct resp_value *heap;
	struct resp_value few[RESP_ARGS_INLINE];
};

/* As for requests: before the first reply; frees what it holds, bounds kept; ready for the next reply. */
void resp_reply_init(struct resp_reply *p);
void resp_reply_release(struct resp_reply *p);
void resp_reply_reset(struct resp_reply *p);
/* Goes on parsing [data, data + len), which begins with the first byte of the current reply. -ENOMEM shows as
 * RESP_WRONG with error "out of memory". */
enum resp_state resp_reply_parse(struct resp_reply *p, const uint8_t *data, size_t len);

/* The value after `v` and everything inside it; `end` = values + count. Never goes beyond `end`. */
const struct resp_value *resp_value_skip(const struct resp_value *v, const struct resp_value *end);

/* ---------------------------------------------------------------------------------------------- writing */
/* All append to `b` and return 0, -ENOMEM, or -E_LIMIT at the buffer's bound; on error nothing of the item is left in
 * the buffer. Text of status and error replies must hold no CR or LF. */

/* "+text", "-text", ":n" */
int resp_put_status(struct buf *b, const char *text);
int resp_put_error(struct buf *b, const char *text);
int resp_put_integer(struct buf *b, int64_t n);
/* "$len" and any bytes; the text form measures itself. */
int resp_put_bulk(struct buf *b, const void *data, size_t len);
int resp_put_bulk_text(struct buf *b, const char *text);
/* "$-1" */
int resp_put_nil(struct buf *b);
/* "*count"; the members are appended after it. */
int resp_put_array(struct buf *b, size_t count);
/* A request: array of bulk strings. */
int resp_put_request(struct buf *b, size_t argc, const void *const *argv, const size_t *lens);
/* The same from NUL-terminated words, ended by NULL. */
int resp_put_words(struct buf *b, const char *word, ...) __attribute__((sentinel));

/* Bytes that "$<len>\r\n" takes, written to `out` (at least 24 bytes); for replies whose payload is sent from
 * its own buffer. */
size_t resp_bulk_header(char *out, size_t len);

/* Case-insensitive comparison of a word that is not NUL-terminated. */
bool resp_word_is(const uint8_t *data, size_t len, const char *word);

#endif
