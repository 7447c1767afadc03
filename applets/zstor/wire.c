/*
 * wire: see wire.h. Every length is checked against what is left before it is used.
 */
#include "applets/zstor/wire.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/base/endian.h"
#include "core/base/str.h"

struct reader {
	const uint8_t *at;
	size_t left;
	bool failed;
};

static const uint8_t *take(struct reader *r, size_t n)
{
	const uint8_t *p = r->at;

	if (r->failed || n > r->left) {
		r->failed = true;
		return NULL;
	}
	r->at += n;
	r->left -= n;
	return p;
}

static uint32_t take_u32(struct reader *r)
{
	const uint8_t *p = take(r, 4);

	return p ? get_u32le(p) : 0;
}

static uint64_t take_u64(struct reader *r)
{
	const uint8_t *p = take(r, 8);

	return p ? get_u64le(p) : 0;
}

static bool take_bool(struct reader *r)
{
	const uint8_t *p = take(r, 1);

	if (p && *p > 1)
		r->failed = true;
	return p && *p == 1;
}

static int take_path(struct reader *r, char *out)
{
	uint64_t len = take_u64(r);
	const uint8_t *p = len > SIZE_MAX ? NULL : take(r, (size_t)len);

	if (!p)
		return -EPROTO;
	if (len > WIRE_PATH_MAX)
		return -ENAMETOOLONG;
	if (!str_is_utf8(p, (size_t)len))
		return -EPROTO;
	memcpy(out, p, (size_t)len);
	out[len] = '\0';
	return 0;
}

int wire_decode(const uint8_t *data, size_t len, struct wire_request *q)
{
	struct reader r = {data, len, false};
	uint32_t kind = take_u32(&r);
	int rc = 0;

	memset(q, 0, sizeof(*q));
	if (r.failed || kind > WIRE_CHECK)
		return -EPROTO;
	q->kind = (enum wire_kind)kind;
	q->blocking = true;
	if (kind == WIRE_REBUILD) {
		if (take_bool(&r))
			rc = take_path(&r, q->file);
		if (rc == 0 && take_bool(&r)) {
			q->has_key_path = true;
			rc = take_path(&r, q->key_path);
		}
		return rc < 0 ? rc : r.failed ? -EPROTO : 0;
	}
	rc = take_path(&r, q->file);
	if (rc == 0 && kind == WIRE_STORE) {
		q->has_key_path = take_bool(&r);
		if (q->has_key_path)
			rc = take_path(&r, q->key_path);
		q->save_failure = take_bool(&r);
		q->delete_after = take_bool(&r);
		q->blocking = take_bool(&r);
	}
	return rc < 0 ? rc : r.failed ? -EPROTO : 0;
}

static int add_path(struct buf *out, const char *text)
{
	int rc = buf_append_u64le(out, strlen(text));

	return rc == 0 ? buf_append_str(out, text) : rc;
}

/* Puts the length in front of what was appended since `at`. */
static int close_frame(struct buf *out, size_t at)
{
	size_t len = out->len - at - 2;

	if (len > WIRE_MAX)
		return -EMSGSIZE;
	put_u16be(out->data + at, (uint16_t)len);
	return 0;
}

int wire_encode(const struct wire_request *q, struct buf *out)
{
	size_t at = out->len;
	int rc = buf_append_zero(out, 2);

	if (rc == 0)
		rc = buf_append_u32le(out, q->kind);
	if (rc == 0)
		rc = add_path(out, q->file);
	if (rc == 0 && q->kind == WIRE_STORE) {
		rc = buf_append_byte(out, q->has_key_path);
		if (rc == 0 && q->has_key_path)
			rc = add_path(out, q->key_path);
		if (rc == 0)
			rc = buf_append_byte(out, q->save_failure);
		if (rc == 0)
			rc = buf_append_byte(out, q->delete_after);
		if (rc == 0)
			rc = buf_append_byte(out, q->blocking);
	}
	return rc == 0 ? close_frame(out, at) : rc;
}

static int simple(struct buf *out, uint32_t variant, const void *rest, size_t len)
{
	size_t at = out->len;
	int rc = buf_append_zero(out, 2);

	if (rc == 0)
		rc = buf_append_u32le(out, variant);
	if (rc == 0 && len)
		rc = buf_append(out, rest, len);
	return rc == 0 ? close_frame(out, at) : rc;
}

int wire_success(struct buf *out)
{
	return simple(out, WIRE_SUCCESS, NULL, 0);
}

int wire_checksum(struct buf *out, const uint8_t sum[16])
{
	return simple(out, WIRE_CHECKSUM, sum, 16);
}

int wire_error(struct buf *out, const char *text)
{
	size_t at = out->len;
	int rc = buf_append_zero(out, 2);

	if (rc == 0)
		rc = buf_append_u32le(out, WIRE_ERROR);
	if (rc == 0)
		rc = add_path(out, text);
	return rc == 0 ? close_frame(out, at) : rc;
}

int wire_decode_answer(const uint8_t *data, size_t len, struct wire_answer *a)
{
	struct reader r = {data, len, false};
	uint32_t kind = take_u32(&r);
	const uint8_t *p;
	uint64_t n;

	memset(a, 0, sizeof(*a));
	if (r.failed || kind > WIRE_CHECKSUM)
		return -EPROTO;
	a->kind = (enum wire_answer_kind)kind;
	if (kind == WIRE_CHECKSUM) {
		p = take(&r, sizeof(a->sum));
		if (p)
			memcpy(a->sum, p, sizeof(a->sum));
	} else if (kind == WIRE_ERROR) {
		n = take_u64(&r);
		p = n > SIZE_MAX ? NULL : take(&r, (size_t)n);
		if (!p)
			return -EPROTO;
		if (n >= sizeof(a->text))
			n = sizeof(a->text) - 1;
		memcpy(a->text, p, (size_t)n);
	}
	return r.failed ? -EPROTO : 0;
}
