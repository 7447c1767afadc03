/*
 * resp: see resp.h. Both parsers are resumable state machines over a range that only grows; the position up to
 * which it was understood is kept, so that each byte of a payload is looked at by nobody but memchr() of its
 * header line.
 */
#include "core/net/resp.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "core/base/buf.h"
#include "core/base/mem.h"
#include "core/base/mem_copy.h"

/* A grown table of at most this many entries is kept from one request to the next. */
#define KEEP_ENTRIES 64

#define NUMBER_LINE 24 /* the longest line with a number: type, sign, 20 digits, CR LF */

/*
 * Number at the start of [s, s + len) the way atoi() reads one: blanks, sign, digits, whatever follows is
 * ignored. Saturates instead of overflowing.
 */
static long loose_number(const uint8_t *s, size_t len)
{
	size_t i = 0;
	bool minus = false;
	long n = 0;

	while (i < len && (s[i] == ' ' || (s[i] >= '\t' && s[i] <= '\r')))
		i++;
	if (i < len && (s[i] == '-' || s[i] == '+'))
		minus = s[i++] == '-';
	for (; i < len && s[i] >= '0' && s[i] <= '9'; i++) {
		if (n > (INT_MAX - 9) / 10)
			return minus ? INT_MIN : INT_MAX;
		n = n * 10 + (s[i] - '0');
	}
	return minus ? -n : n;
}

/* Number that is the whole of [s, s + len), optional minus sign. False when it is not one or does not fit. */
static bool strict_number(const uint8_t *s, size_t len, int64_t *out)
{
	bool minus = len > 0 && s[0] == '-';
	uint64_t n = 0;
	size_t i = minus ? 1 : 0;

	if (i == len || len - i > 19)
		return false;
	for (; i < len; i++) {
		if (s[i] < '0' || s[i] > '9')
			return false;
		n = n * 10 + (uint64_t)(s[i] - '0');
	}
	if (n > (uint64_t)INT64_MAX)
		return false;
	*out = minus ? -(int64_t)n : (int64_t)n;
	return true;
}

enum line { LINE_MORE, LINE_OK, LINE_LONG };

/* The header line that begins at `pos`: *len without its end, *next behind it. */
static enum line take_line(const uint8_t *data, size_t len, size_t pos, size_t *line_len, size_t *next)
{
	size_t room = len - pos;
	const uint8_t *nl =
		room ? memchr(data + pos, '\n', room < RESP_LINE_MAX ? room : RESP_LINE_MAX) : NULL;

	if (!nl)
		return room >= RESP_LINE_MAX ? LINE_LONG : LINE_MORE;
	*next = (size_t)(nl - data) + 1;
	*line_len = (size_t)(nl - data) - pos;
	return LINE_OK;
}

/* ---------------------------------------------------------------------------------------------- requests */

void resp_request_init(struct resp_request *p)
{
	memset(p, 0, sizeof(*p));
	p->argv = p->few;
	p->cap = RESP_ARGS_INLINE;
	p->bulk_max = RESP_BULK_MAX;
	p->total_max = (64u << 20) + (1u << 20);
}

static void request_drop_table(struct resp_request *p)
{
	mem_free(p->args);
	p->args = NULL;
	p->argv = p->few;
	p->cap = RESP_ARGS_INLINE;
}

void resp_request_reset(struct resp_request *p)
{
	if (p->cap > KEEP_ENTRIES)
		request_drop_table(p);
	p->argc = 0;
	p->used = 0;
	p->error = NULL;
	p->need = 0;
	p->pos = 0;
	p->want = 0;
	p->in_bulk = false;
	p->bulk_len = 0;
}

void resp_request_release(struct resp_request *p)
{
	request_drop_table(p);
	resp_request_reset(p);
}

static enum resp_state request_wrong(struct resp_request *p, const char *error)
{
	p->error = error;
	return RESP_WRONG;
}

/* One more entry in the table of arguments. */
static bool request_add(struct resp_request *p, size_t off, size_t len)
{
	struct resp_span *table = p->args ? p->args : p->few;

	if (p->argc == p->cap) {
		/* grown by what arrives, not by what the header promises */
		size_t cap = p->cap * 4;
		struct resp_span *grown = mem_realloc(p->args, cap * sizeof(*grown));

		if (!grown)
			return false;
		if (!p->args)
			memcpy(grown, p->few, sizeof(p->few));
		p->args = table = grown;
		p->argv = grown;
		p->cap = cap;
	}
	table[p->argc].off = off;
	table[p->argc].len = len;
	p->argc++;
	return true;
}

/* "*<n>": sets p->want. */
static enum resp_state request_head(struct resp_request *p, const uint8_t *line, size_t len)
{
	long n;

	if (len == 0 || line[0] != '*')
		return request_wrong(p, "Malformed request, array expected");
	n = loose_number(line + 1, len - 1);
	if (n == 0)
		return request_wrong(p, "Missing arguments");
	if (n < 0)
		return request_wrong(p, "Internal memory error");
	if (n > RESP_ARGC_MAX)
		return request_wrong(p, "Too many arguments");
	p->want = (size_t)n;
	return RESP_MORE;
}

/* "$<n>": sets p->bulk_len. */
static enum resp_state request_bulk(struct resp_request *p, const uint8_t *line, size_t len)
{
	long n;

	if (len == 0 || line[0] != '$')
		return request_wrong(p, "Malformed query string");
	n = loose_number(line + 1, len - 1);
	if (n < 0)
		return request_wrong(p, "Internal memory error");
	if ((size_t)n > p->bulk_max || p->pos + (size_t)n > p->total_max)
		return request_wrong(p, "Payload too big");
	p->bulk_len = (size_t)n;
	p->in_bulk = true;
	return RESP_MORE;
}

enum resp_state resp_request_parse(struct resp_request *p, const uint8_t *data, size_t len)
{
	enum resp_state state;
	size_t line_len, next;

	while (p->want == 0 || p->argc < p->want) {
		if (p->in_bulk) {
			/* the two bytes behind a payload belong to it, whatever they are */
			if (len < p->pos + p->bulk_len + 2) {
				p->need = p->pos + p->bulk_len + 2;
				return RESP_MORE;
			}
			if (!request_add(p, p->pos, p->bulk_len))
				return request_wrong(p, "Internal memory error");
			p->pos += p->bulk_len + 2;
			p->in_bulk = false;
			continue;
		}
		switch (take_line(data, len, p->pos, &line_len, &next)) {
		case LINE_MORE:
			p->need = len + 1;
			return RESP_MORE;
		case LINE_LONG:
			return request_wrong(p, NULL);
		case LINE_OK:
			break;
		}
		const uint8_t *line = data + p->pos;

		p->pos = next;
		state = p->want == 0 ? request_head(p, line, line_len) : request_bulk(p, line, line_len);
		if (state != RESP_MORE)
			return state;
	}
	p->used = p->pos;
	return RESP_WHOLE;
}

/* ----------------------------------------------------------------------------------------------- replies */

void resp_reply_init(struct resp_reply *p)
{
	memset(p, 0, sizeof(*p));
	p->values = p->few;
	p->cap = RESP_ARGS_INLINE;
	p->bulk_max = RESP_BULK_MAX;
	p->elements_max = RESP_ELEMENTS_MAX;
}

static void reply_drop_table(struct resp_reply *p)
{
	mem_free(p->heap);
	p->heap = NULL;
	p->values = p->few;
	p->cap = RESP_ARGS_INLINE;
}

void resp_reply_reset(struct resp_reply *p)
{
	if (p->cap > KEEP_ENTRIES)
		reply_drop_table(p);
	p->count = 0;
	p->used = 0;
	p->error = NULL;
	p->need = 0;
	p->pos = 0;
	p->in_bulk = false;
	p->bulk_len = 0;
	p->depth = 0;
}

void resp_reply_release(struct resp_reply *p)
{
	reply_drop_table(p);
	resp_reply_reset(p);
}

static enum resp_state reply_wrong(struct resp_reply *p, const char *error)
{
	p->error = error;
	return RESP_WRONG;
}

static struct resp_value *reply_add(struct resp_reply *p, enum resp_type type)
{
	struct resp_value *table = p->heap ? p->heap : p->few;
	struct resp_value *v;

	if (p->count == p->cap) {
		size_t cap = p->cap * 4;
		struct resp_value *grown = mem_realloc(p->heap, cap * sizeof(*grown));

		if (!grown)
			return NULL;
		if (!p->heap)
			memcpy(grown, p->few, sizeof(p->few));
		p->heap = table = grown;
		p->values = grown;
		p->cap = cap;
	}
	v = &table[p->count++];
	memset(v, 0, sizeof(*v));
	v->type = type;
	return v;
}

/* A value is complete: closes every array that it completes. True when the whole reply is there. */
static bool reply_close(struct resp_reply *p)
{
	while (p->depth > 0) {
		if (--p->left[p->depth - 1] > 0)
			return false;
		p->depth--;
	}
	return true;
}

static enum resp_state reply_array(struct resp_reply *p, int64_t n, bool *whole)
{
	struct resp_value *v;

	if (n < -1)
		return reply_wrong(p, "negative length of an array");
	if (n > (int64_t)(p->elements_max - (p->count < p->elements_max ? p->count : p->elements_max)))
		return reply_wrong(p, "too many values");
	v = reply_add(p, n < 0 ? RESP_NIL : RESP_ARRAY);
	if (!v)
		return reply_wrong(p, "out of memory");
	if (n <= 0) {
		*whole = reply_close(p);
		return RESP_MORE;
	}
	if (p->depth == RESP_DEPTH_MAX)
		return reply_wrong(p, "arrays nested too deep");
	v->count = (uint32_t)n;
	p->left[p->depth++] = (uint32_t)n;
	return RESP_MORE;
}

/* One line of a reply, without its end. *whole = it completed the reply. */
static enum resp_state reply_line(struct resp_reply *p, const uint8_t *line, size_t len, size_t at,
				  bool *whole)
{
	struct resp_value *v;
	int64_t n = 0;

	if (len > 0 && line[len - 1] == '\r')
		len--;
	else
		return reply_wrong(p, "line without CR");
	if (len == 0)
		return reply_wrong(p, "empty line");
	if (line[0] == '+' || line[0] == '-') {
		v = reply_add(p, line[0] == '+' ? RESP_STATUS : RESP_ERROR);
		if (!v)
			return reply_wrong(p, "out of memory");
		v->str.off = at + 1;
		v->str.len = len - 1;
		*whole = reply_close(p);
		return RESP_MORE;
	}
	if (line[0] != ':' && line[0] != '$' && line[0] != '*')
		return reply_wrong(p, "unknown type of value");
	if (!strict_number(line + 1, len - 1, &n))
		return reply_wrong(p, "bad number");
	if (line[0] == '*')
		return reply_array(p, n, whole);
	if (line[0] == ':' || n == -1) {
		v = reply_add(p, line[0] == ':' ? RESP_INTEGER : RESP_NIL);
		if (!v)
			return reply_wrong(p, "out of memory");
		v->integer = line[0] == ':' ? n : 0;
		*whole = reply_close(p);
		return RESP_MORE;
	}
	if (n < 0)
		return reply_wrong(p, "negative length of a string");
	if ((uint64_t)n > p->bulk_max)
		return reply_wrong(p, "string too long");
	p->bulk_len = (size_t)n;
	p->in_bulk = true;
	return RESP_MORE;
}

enum resp_state resp_reply_parse(struct resp_reply *p, const uint8_t *data, size_t len)
{
	bool whole = false;

	while (!whole) {
		size_t line_len, next, at = p->pos;

		if (p->in_bulk) {
			struct resp_value *v;

			if (len < at + p->bulk_len + 2) {
				p->need = at + p->bulk_len + 2;
				return RESP_MORE;
			}
			if (data[at + p->bulk_len] != '\r' || data[at + p->bulk_len + 1] != '\n')
				return reply_wrong(p, "string without end");
			v = reply_add(p, RESP_BULK);
			if (!v)
				return reply_wrong(p, "out of memory");
			v->str.off = at;
			v->str.len = p->bulk_len;
			p->pos = at + p->bulk_len + 2;
			p->in_bulk = false;
			whole = reply_close(p);
			continue;
		}
		switch (take_line(data, len, at, &line_len, &next)) {
		case LINE_MORE:
			p->need = len + 1;
			return RESP_MORE;
		case LINE_LONG:
			return reply_wrong(p, "line too long");
		case LINE_OK:
			break;
		}
		p->pos = next;
		if (reply_line(p, data + at, line_len, at, &whole) == RESP_WRONG)
			return RESP_WRONG;
	}
	p->used = p->pos;
	return RESP_WHOLE;
}

const struct resp_value *resp_value_skip(const struct resp_value *v, const struct resp_value *end)
{
	uint64_t left = 1;

	while (left > 0 && v < end) {
		left--;
		if (v->type == RESP_ARRAY)
			left += v->count;
		v++;
	}
	return v;
}

/* ----------------------------------------------------------------------------------------------- writing */

/* Type byte, decimal number, line end; returns the length. */
static size_t number_line(char *out, char type, uint64_t magnitude, bool minus)
{
	char digits[20];
	size_t n = 0, at = 0;

	do {
		digits[n++] = (char)('0' + magnitude % 10);
		magnitude /= 10;
	} while (magnitude > 0);
	out[at++] = type;
	if (minus)
		out[at++] = '-';
	while (n > 0)
		out[at++] = digits[--n];
	out[at++] = '\r';
	out[at++] = '\n';
	return at;
}

size_t resp_bulk_header(char *out, size_t len)
{
	return number_line(out, '$', len, false);
}

static int put_line(struct buf *b, char type, const char *text)
{
	size_t len = strlen(text);
	int err = buf_reserve(b, len + 3);

	if (err)
		return err;
	buf_append(b, &type, 1);
	buf_append(b, text, len);
	return buf_append(b, "\r\n", 2);
}

int resp_put_status(struct buf *b, const char *text)
{
	return put_line(b, '+', text);
}

int resp_put_error(struct buf *b, const char *text)
{
	return put_line(b, '-', text);
}

int resp_put_integer(struct buf *b, int64_t n)
{
	char line[NUMBER_LINE];

	return buf_append(b, line, number_line(line, ':', n < 0 ? 0 - (uint64_t)n : (uint64_t)n, n < 0));
}

int resp_put_nil(struct buf *b)
{
	return buf_append(b, "$-1\r\n", 5);
}

int resp_put_array(struct buf *b, size_t count)
{
	char line[NUMBER_LINE];

	return buf_append(b, line, number_line(line, '*', count, false));
}

int resp_put_bulk(struct buf *b, const void *data, size_t len)
{
	int err = buf_reserve(b, NUMBER_LINE + len + 2);
	uint8_t *at;
	size_t head;

	if (err)
		return err;
	at = b->data + b->len;
	head = number_line((char *)at, '$', len, false);
	mem_copy(at + head, data, len);
	memcpy(at + head + len, "\r\n", 2);
	buf_added(b, head + len + 2);
	return 0;
}

int resp_put_bulk_text(struct buf *b, const char *text)
{
	return resp_put_bulk(b, text, strlen(text));
}

int resp_put_request(struct buf *b, size_t argc, const void *const *argv, const size_t *lens)
{
	size_t before = b->len, i;
	int err = resp_put_array(b, argc);

	for (i = 0; i < argc && !err; i++)
		err = resp_put_bulk(b, argv[i], lens[i]);
	if (err)
		buf_truncate(b, before);
	return err;
}

int resp_put_words(struct buf *b, const char *word, ...)
{
	size_t before = b->len, count = 0;
	const char *w;
	va_list ap;
	int err;

	va_start(ap, word);
	for (w = word; w; w = va_arg(ap, const char *))
		count++;
	va_end(ap);
	err = resp_put_array(b, count);
	va_start(ap, word);
	for (w = word; w && !err; w = va_arg(ap, const char *))
		err = resp_put_bulk_text(b, w);
	va_end(ap);
	if (err)
		buf_truncate(b, before);
	return err;
}

bool resp_word_is(const uint8_t *data, size_t len, const char *word)
{
	return strlen(word) == len && strncasecmp((const char *)data, word, len) == 0;
}
