/*
 * One writing of a record: sealed, cut in k' + m' pieces, and back (native format, section 6).
 */
#include <errno.h>
#include <string.h>

#include "core/base/endian.h"
#include "core/base/err.h"
#include "core/base/mem.h"
#include "core/coding/crc.h"
#include "core/coding/ec.h"
#include "core/crypto/aead.h"
#include "core/crypto/crypto.h"
#include "core/object/record_int.h"

static const uint8_t magic[4] = {'Q', 'S', 'M', '1'};

int record_piece_parse(const void *value, size_t len, struct record_piece *p)
{
	const uint8_t *in = value;

	if (len < M_PIECE + 4 || memcmp(in, magic, sizeof(magic)) != 0 || in[M_ZERO] || in[M_ZERO + 1] ||
	    in[M_ZERO + 2] || get_u32le(in + len - 4) != crc_castagnoli(0, in, len - 4))
		return -E_CORRUPT;
	p->epoch = get_u16le(in + M_EPOCH);
	p->k = in[M_K];
	p->n = in[M_N];
	p->index = in[M_INDEX];
	p->sealed_len = get_u32le(in + M_LENGTH);
	p->version = get_u64le(in + M_VERSION);
	memcpy(p->nonce, in + M_NONCE, RECORD_NONCE_BYTES);
	p->piece = in + M_PIECE;
	p->piece_len = len - M_PIECE - 4;
	if (p->k < 1 || p->n <= p->k || p->n > EC_PIECES_MAX || p->index >= p->n || p->version == 0 ||
	    p->epoch == 0 || p->sealed_len < AEAD_TAG_BYTES ||
	    p->sealed_len > RECORD_MAX_BYTES + AEAD_TAG_BYTES ||
	    p->piece_len != ec_piece_bytes(p->sealed_len, p->k))
		return -E_CORRUPT;
	return 0;
}

/* AAD = volume id ++ name ++ bytes 0...7 and 12...23 of the value. */
static void bind(const struct keyring *keys, const uint8_t name[OBJ_NAME_BYTES], const uint8_t *header,
		 uint8_t ad[RECORD_AD_BYTES])
{
	memcpy(ad, keyring_volume(keys), 16);
	memcpy(ad + 16, name, OBJ_NAME_BYTES);
	memcpy(ad + 32, header, 8);
	memcpy(ad + 40, header + M_LENGTH, 12);
}

/* The header that all pieces of one writing share; the index is 0. */
static void build_header(uint8_t out[M_PIECE], unsigned epoch, unsigned k, unsigned n, uint32_t sealed_len,
			 uint64_t version)
{
	memset(out, 0, M_PIECE);
	memcpy(out, magic, sizeof(magic));
	put_u16le(out + M_EPOCH, (uint16_t)epoch);
	out[M_K] = (uint8_t)k;
	out[M_N] = (uint8_t)n;
	put_u32le(out + M_LENGTH, sealed_len);
	put_u64le(out + M_VERSION, version);
}

void writing_release(struct writing *wr)
{
	mem_free(wr->bytes);
	wr->bytes = NULL;
}

static int writing_parity(struct writing *wr)
{
	uint8_t *data[EC_PIECES_MAX], *parity[EC_PIECES_MAX];
	const struct ec *ec;
	int rc = ec_get(wr->k, wr->n, &ec);

	for (unsigned i = 0; i < wr->n; i++) {
		uint8_t *at = wr->bytes + i * wr->piece;

		if (i < wr->k)
			data[i] = at;
		else
			parity[i - wr->k] = at;
	}
	if (rc == 0)
		ec_encode(ec, wr->piece, data, parity);
	return rc;
}

int writing_seal(struct writing *wr, const struct meta *m, const struct record *r, uint64_t version)
{
	unsigned epoch = keyring_epoch(m->keys);
	const uint8_t *kr = keyring_record(m->keys, epoch);
	struct buf plain = BUF_INIT(RECORD_MAX_BYTES);
	uint8_t ad[RECORD_AD_BYTES];
	size_t sealed;
	int rc;

	memset(wr, 0, sizeof(*wr));
	rc = record_encode(r, &plain);
	if (rc != 0)
		goto out;
	sealed = plain.len + AEAD_TAG_BYTES;
	wr->k = m->k;
	wr->n = m->n;
	wr->piece = ec_piece_bytes(sealed, m->k);
	wr->bytes = mem_calloc(m->n, wr->piece);
	if (!wr->bytes) {
		rc = -ENOMEM;
		goto out;
	}
	build_header(wr->header, epoch, m->k, m->n, (uint32_t)sealed, version);
	rc = crypto_random(wr->header + M_NONCE, RECORD_NONCE_BYTES);
	if (rc != 0)
		goto out;
	bind(m->keys, r->pub.name, wr->header, ad);
	rc = aead_seal(AEAD_XCHACHA20, kr, wr->header + M_NONCE, ad, sizeof(ad), plain.data, plain.len,
		       wr->bytes);
	if (rc == 0)
		rc = writing_parity(wr);
out:
	buf_release_wiped(&plain);
	if (rc != 0)
		writing_release(wr);
	return rc;
}

struct meta_call *writing_call(const struct writing *wr, struct obj_store *store, const char *key,
			       unsigned slot)
{
	size_t len = M_PIECE + wr->piece + 4;
	struct meta_call *c;
	uint8_t *value = mem_alloc(len);

	if (!value)
		return NULL;
	memcpy(value, wr->header, M_PIECE);
	value[M_INDEX] = (uint8_t)slot;
	memcpy(value + M_PIECE, wr->bytes + slot * wr->piece, wr->piece);
	put_u32le(value + len - 4, crc_castagnoli(0, value, len - 4));
	c = meta_call_new(META_SET, store, key, value, len);
	mem_free(value);
	return c;
}

int writing_again(struct writing *wr, const struct meta *m, const uint8_t name[OBJ_NAME_BYTES],
		  const struct record_piece *p, const struct buf *plain)
{
	const uint8_t *kr = keyring_record(m->keys, p->epoch);
	uint8_t ad[RECORD_AD_BYTES];
	int rc;

	memset(wr, 0, sizeof(*wr));
	if (!kr)
		return -E_KEY;
	wr->k = p->k;
	wr->n = p->n;
	wr->piece = p->piece_len;
	wr->bytes = mem_calloc(wr->n, wr->piece);
	if (!wr->bytes)
		return -ENOMEM;
	build_header(wr->header, p->epoch, p->k, p->n, p->sealed_len, p->version);
	memcpy(wr->header + M_NONCE, p->nonce, RECORD_NONCE_BYTES);
	/* the same plaintext under the same nonce and key gives the same sealed record, whatever pieces lied */
	bind(m->keys, name, wr->header, ad);
	rc = aead_seal(AEAD_XCHACHA20, kr, p->nonce, ad, sizeof(ad), plain->data, plain->len, wr->bytes);
	if (rc == 0)
		rc = writing_parity(wr);
	if (rc != 0)
		writing_release(wr);
	return rc;
}

int record_unseal(const struct meta *m, const uint8_t name[OBJ_NAME_BYTES], const struct record_piece *p,
		  const uint8_t *sealed, struct buf *plain)
{
	const uint8_t *kr = keyring_record(m->keys, p->epoch);
	size_t len = p->sealed_len - AEAD_TAG_BYTES;
	uint8_t header[M_PIECE], ad[RECORD_AD_BYTES];
	int rc;

	if (!kr)
		return -E_KEY;
	buf_clear(plain);
	rc = buf_reserve(plain, len);
	if (rc != 0)
		return rc;
	build_header(header, p->epoch, p->k, p->n, p->sealed_len, p->version);
	bind(m->keys, name, header, ad);
	rc = aead_open(AEAD_XCHACHA20, kr, p->nonce, ad, sizeof(ad), sealed, p->sealed_len, plain->data);
	if (rc == 0)
		buf_added(plain, len);
	return rc == -EBADMSG ? -E_CORRUPT : rc;
}
