/* The plain record: what is known of one object. */
#include <errno.h>
#include <string.h>

#include "core/base/buf.h"
#include "core/base/endian.h"
#include "core/base/err.h"
#include "core/base/mem.h"
#include "core/crypto/crypto.h"
#include "core/object/record.h"

enum {
	R_PUBLIC = 4,
	R_BOX = 76,
	R_SHARDS = 310,
	R_ZERO = 311,
	R_SEALED = 312,
};

_Static_assert(R_PUBLIC + HEAD_PUBLIC_BYTES == R_BOX && R_BOX + HEAD_BOX_BYTES == R_SHARDS, "record");

static const uint8_t magic[4] = {'Q', 'S', 'R', '1'};

void record_init(struct record *r)
{
	memset(r, 0, sizeof(*r));
}

void record_release(struct record *r)
{
	mem_free(r->sealed);
	for (unsigned i = 0; i < EC_PIECES_MAX; i++)
		mem_free(r->shards[i].keys);
	crypto_wipe(r, sizeof(*r));
}

int record_copy(struct record *to, const struct record *from)
{
	record_release(to);
	*to = *from;
	to->sealed = NULL;
	for (unsigned i = 0; i < EC_PIECES_MAX; i++)
		to->shards[i].keys = NULL;
	if (from->sealed) {
		to->sealed = mem_dup(from->sealed, from->pub.stripes * sizeof(uint32_t));
		if (!to->sealed)
			goto fail;
	}
	for (unsigned i = 0; i < from->shards_count; i++) {
		if (!from->shards[i].keys)
			continue;
		to->shards[i].keys = mem_dup(from->shards[i].keys, (from->values + 1) * sizeof(uint64_t));
		if (!to->shards[i].keys)
			goto fail;
	}
	return 0;
fail:
	record_release(to);
	return -ENOMEM;
}

const struct record_shard *record_shard(const struct record *r, unsigned index)
{
	for (unsigned i = 0; i < r->shards_count; i++)
		if (r->shards[i].index == index)
			return &r->shards[i];
	return NULL;
}

int record_rewrap(struct record *r, const struct keyring *keys)
{
	r->pub.epoch = (uint16_t)keyring_epoch(keys);
	return head_box_seal(&r->pub, &r->priv, keys, r->box);
}

static size_t shard_bytes(const struct record *r, const struct record_shard *s)
{
	return 3 + strlen(s->label) + (s->type == OBJ_STORE_KEYS ? 8 * ((size_t)r->values + 1) : 0);
}

/* Whether the shard table may be written: distinct indices below n, labels and keys as their type wants. */
static bool shards_possible(const struct record *r)
{
	uint32_t seen = 0;

	for (unsigned i = 0; i < r->shards_count; i++) {
		const struct record_shard *s = &r->shards[i];
		size_t label = strnlen(s->label, sizeof(s->label));

		if (s->index >= r->pub.n || (seen >> s->index & 1) || label < 1 || label > OBJ_LABEL_MAX)
			return false;
		if (s->type != OBJ_STORE_KEYS && s->type != OBJ_STORE_NAMED)
			return false;
		if ((s->type == OBJ_STORE_KEYS) != (s->keys != NULL))
			return false;
		seen |= 1u << s->index;
	}
	return r->shards_count <= r->pub.n;
}

int record_encode(const struct record *r, struct buf *out)
{
	size_t bytes = R_SEALED + 4 * (size_t)r->pub.stripes;
	uint8_t *at;
	int rc;

	if (!r->sealed || !shards_possible(r) || head_places(&r->pub, r->sealed, NULL) != r->values)
		return -EINVAL;
	for (unsigned i = 0; i < r->shards_count; i++)
		bytes += shard_bytes(r, &r->shards[i]);
	if (bytes > RECORD_MAX_BYTES)
		return -EMSGSIZE;
	rc = buf_reserve(out, bytes);
	if (rc != 0)
		return rc;
	at = out->data + out->len;
	memcpy(at, magic, sizeof(magic));
	head_public_build(&r->pub, at + R_PUBLIC);
	memcpy(at + R_BOX, r->box, HEAD_BOX_BYTES);
	at[R_SHARDS] = (uint8_t)r->shards_count;
	at[R_ZERO] = 0;
	at += R_SEALED;
	for (uint32_t s = 0; s < r->pub.stripes; s++, at += 4)
		put_u32le(at, r->sealed[s]);
	for (unsigned i = 0; i < r->shards_count; i++) {
		const struct record_shard *s = &r->shards[i];
		size_t label = strlen(s->label);

		*at++ = s->index;
		*at++ = s->type;
		*at++ = (uint8_t)label;
		memcpy(at, s->label, label);
		at += label;
		for (uint32_t v = 0; s->type == OBJ_STORE_KEYS && v <= r->values; v++, at += 8)
			put_u64le(at, s->keys[v]);
	}
	buf_added(out, bytes);
	return 0;
}

/* One shard entry; *at moves behind it. 0, -E_CORRUPT, -ENOMEM. */
static int decode_shard(const struct record *r, struct record_shard *s, const uint8_t **at,
			const uint8_t *end)
{
	size_t left = (size_t)(end - *at), label, keys;

	if (left < 3)
		return -E_CORRUPT;
	s->index = (*at)[0];
	s->type = (*at)[1];
	label = (*at)[2];
	if (label < 1 || label > OBJ_LABEL_MAX || left - 3 < label || memchr(*at + 3, 0, label))
		return -E_CORRUPT;
	memcpy(s->label, *at + 3, label);
	s->label[label] = 0;
	*at += 3 + label;
	if (s->type != OBJ_STORE_KEYS)
		return 0; /* shards_possible() judges the type */
	keys = (size_t)r->values + 1;
	if ((size_t)(end - *at) < 8 * keys)
		return -E_CORRUPT;
	s->keys = mem_alloc(keys * sizeof(uint64_t));
	if (!s->keys)
		return -ENOMEM;
	for (size_t v = 0; v < keys; v++, *at += 8)
		s->keys[v] = get_u64le(*at);
	return 0;
}

static int decode_tables(const uint8_t *in, size_t len, struct record *r)
{
	const uint8_t *at = in + R_SEALED, *end = in + len;
	int rc = 0;

	if ((size_t)(end - at) < 4 * (size_t)r->pub.stripes)
		return -E_CORRUPT;
	r->sealed = mem_alloc(r->pub.stripes * sizeof(uint32_t));
	if (!r->sealed)
		return -ENOMEM;
	for (uint32_t s = 0; s < r->pub.stripes; s++, at += 4)
		r->sealed[s] = get_u32le(at);
	r->values = head_places(&r->pub, r->sealed, NULL);
	if (r->values == 0)
		return -E_CORRUPT;
	for (unsigned i = 0; rc == 0 && i < in[R_SHARDS]; i++) {
		r->shards_count = i + 1;
		rc = decode_shard(r, &r->shards[i], &at, end);
	}
	if (rc == 0 && (at != end || !shards_possible(r)))
		rc = -E_CORRUPT;
	return rc;
}

int record_decode(const void *data, size_t len, const struct keyring *keys, struct record *r)
{
	const uint8_t *in = data;
	int rc;

	record_release(r);
	if (len < R_SEALED || len > RECORD_MAX_BYTES || memcmp(in, magic, sizeof(magic)) != 0 ||
	    in[R_ZERO] != 0)
		return -E_CORRUPT;
	rc = head_public_parse(in + R_PUBLIC, &r->pub, NULL);
	if (rc == 0 && in[R_SHARDS] > r->pub.n)
		rc = -E_CORRUPT;
	if (rc == 0) {
		memcpy(r->box, in + R_BOX, HEAD_BOX_BYTES);
		rc = head_box_open(&r->pub, r->box, keys, &r->priv);
	}
	if (rc == 0)
		rc = decode_tables(in, len, r);
	if (rc != 0)
		record_release(r);
	return rc;
}
