/* One stripe: compress where it gains, seal, and back. */
#include <errno.h>
#include <string.h>

#include "core/base/endian.h"
#include "core/crypto/aead.h"
#include "core/object/stripe_int.h"

#define FLAG_ZSTD 1u
#define FLAG_LAST 2u
#define AD_BYTES  48

/* Nonce = stripe number, AAD = volume id, object id, stripe number, plain length, flags. */
static void bind(const struct head_public *p, uint32_t stripe, uint32_t len, uint8_t flags,
		 uint8_t nonce[AEAD_NONCE_MAX_BYTES], uint8_t ad[AD_BYTES])
{
	memset(nonce, 0, AEAD_NONCE_MAX_BYTES);
	put_u64le(nonce, stripe);
	memcpy(ad, p->volume, 16);
	memcpy(ad + 16, p->object, OBJ_ID_BYTES);
	put_u64le(ad + 32, stripe);
	put_u32le(ad + 40, len);
	put_u32le(ad + 44, flags);
}

long stripe_seal(const struct head_public *p, const uint8_t key[32], uint32_t stripe, struct stripe_zstd *z,
		 const uint8_t *plain, uint32_t len, uint8_t *sealed)
{
	uint8_t nonce[AEAD_NONCE_MAX_BYTES], ad[AD_BYTES];
	size_t packed = stripe_zstd_pack(z, plain, len, sealed + 1);
	uint8_t flags = stripe + 1 == p->stripes ? FLAG_LAST : 0;
	int rc;

	if (packed > 0)
		flags |= FLAG_ZSTD;
	bind(p, stripe, len, flags, nonce, ad);
	sealed[0] = flags;
	if (packed > 0)
		rc = aead_seal(p->aead, key, nonce, ad, sizeof(ad), sealed + 1, packed, sealed + 1);
	else
		rc = aead_seal(p->aead, key, nonce, ad, sizeof(ad), plain, len, sealed + 1);
	return rc != 0 ? rc : (long)((packed > 0 ? packed : len) + OBJ_SEAL_BYTES);
}

int stripe_open(const struct head_public *p, const uint8_t key[32], uint32_t stripe, struct stripe_zstd *z,
		uint8_t *sealed, uint32_t sealed_len, uint8_t *plain, uint32_t len)
{
	uint8_t nonce[AEAD_NONCE_MAX_BYTES], ad[AD_BYTES];
	uint8_t flags = sealed[0];
	size_t body = sealed_len - OBJ_SEAL_BYTES;
	int rc;

	bind(p, stripe, len, flags, nonce, ad);
	/* compressed: decrypt in place, then unpack; raw: decrypt to where it belongs, if it has the right length */
	if (!(flags & FLAG_ZSTD) && body == len)
		rc = aead_open(p->aead, key, nonce, ad, sizeof(ad), sealed + 1, sealed_len - 1, plain);
	else
		rc = aead_open(p->aead, key, nonce, ad, sizeof(ad), sealed + 1, sealed_len - 1, sealed + 1);
	if (rc != 0)
		return rc;
	if (flags & ~(FLAG_ZSTD | FLAG_LAST) || !(flags & FLAG_LAST) != (stripe + 1 != p->stripes))
		return -EPROTO;
	if (flags & FLAG_ZSTD)
		return body > len - (len + 15) / 16 ||
				       stripe_zstd_unpack(z, sealed + 1, body, plain, len) != 0
			       ? -EPROTO
			       : 0;
	return body == len ? 0 : -EPROTO;
}
