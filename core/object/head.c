/* Head of a shard and the layout of its fragments. */
#include <errno.h>
#include <string.h>

#include "core/base/endian.h"
#include "core/base/err.h"
#include "core/coding/crc.h"
#include "core/coding/fragment.h"
#include "core/crypto/aead.h"
#include "core/crypto/crypto.h"
#include "core/object/head.h"

enum { /* P */
       P_VERSION = 4,
       P_AEAD = 5,
       P_STRIPE = 6,
       P_VALUE = 7,
       P_K = 8,
       P_N = 9,
       P_EPOCH = 10,
       P_STRIPES = 12,
       P_VOLUME = 16,
       P_NAME = 32,
       P_OBJECT = 48,
       P_GENERATION = 64,
};

enum { /* F */
       F_KEY = 0,
       F_CONTENT = 32,
       F_SIZE = 48,
       F_NUMBER = 56,
       F_KIND = 64,
       F_NS_LEN = 65,
       F_NS = 66,
};

enum { /* head */
       H_BOX = 72,
       H_INDEX = 306,
       H_TYPE = 307,
       H_VALUES = 308,
       H_KEYS = 312,
};

#define VERSION   1
#define BOX_NONCE 24

_Static_assert(F_NS + OBJ_NS_MAX == HEAD_PRIVATE_BYTES, "F");
_Static_assert(H_BOX + HEAD_BOX_BYTES == H_INDEX, "head");
_Static_assert(HEAD_MIN_BYTES + 8 * OBJ_STRIPES_MAX == HEAD_MAX_BYTES, "largest head");

static const uint8_t magic[4] = {'Q', 'S', 'F', '1'};

void head_public_build(const struct head_public *p, uint8_t out[HEAD_PUBLIC_BYTES])
{
	memcpy(out, magic, sizeof(magic));
	out[P_VERSION] = VERSION;
	out[P_AEAD] = p->aead;
	out[P_STRIPE] = p->stripe_log2;
	out[P_VALUE] = p->value_log2;
	out[P_K] = p->k;
	out[P_N] = p->n;
	put_u16le(out + P_EPOCH, p->epoch);
	put_u32le(out + P_STRIPES, p->stripes);
	memcpy(out + P_VOLUME, p->volume, 16);
	memcpy(out + P_NAME, p->name, OBJ_NAME_BYTES);
	memcpy(out + P_OBJECT, p->object, OBJ_ID_BYTES);
	put_u64le(out + P_GENERATION, p->generation);
}

/* The field of P that this version cannot have, or NULL. */
static const char *public_wrong(const struct head_public *p)
{
	size_t sealed;

	if (p->aead != AEAD_AES256GCM && p->aead != AEAD_XCHACHA20)
		return "cipher id";
	if (p->stripe_log2 < 16 || p->stripe_log2 > 20)
		return "stripe size";
	if (p->value_log2 < 16 || p->value_log2 > 21)
		return "value size";
	if (p->k < 1 || p->n <= p->k || p->n > EC_PIECES_MAX)
		return "number of shards";
	sealed = ((size_t)1 << p->stripe_log2) + OBJ_SEAL_BYTES;
	if (FRAGMENT_HEADER_BYTES + ec_piece_bytes(sealed, p->k) > (size_t)1 << p->value_log2)
		return "value size below one fragment";
	if (p->epoch == 0)
		return "key epoch";
	if (p->stripes < 1 || p->stripes > OBJ_STRIPES_MAX)
		return "number of stripes";
	return NULL;
}

int head_public_parse(const uint8_t in[HEAD_PUBLIC_BYTES], struct head_public *p, const char **what)
{
	const char *wrong;

	p->aead = in[P_AEAD];
	p->stripe_log2 = in[P_STRIPE];
	p->value_log2 = in[P_VALUE];
	p->k = in[P_K];
	p->n = in[P_N];
	p->epoch = get_u16le(in + P_EPOCH);
	p->stripes = get_u32le(in + P_STRIPES);
	memcpy(p->volume, in + P_VOLUME, 16);
	memcpy(p->name, in + P_NAME, OBJ_NAME_BYTES);
	memcpy(p->object, in + P_OBJECT, OBJ_ID_BYTES);
	p->generation = get_u64le(in + P_GENERATION);
	if (memcmp(in, magic, sizeof(magic)) != 0)
		wrong = "magic";
	else if (in[P_VERSION] != VERSION)
		wrong = "format version";
	else
		wrong = public_wrong(p);
	if (what)
		*what = wrong;
	return wrong ? -E_CORRUPT : 0;
}

static void private_build(const struct head_private *f, uint8_t out[HEAD_PRIVATE_BYTES])
{
	memset(out, 0, HEAD_PRIVATE_BYTES);
	memcpy(out + F_KEY, f->key, 32);
	memcpy(out + F_CONTENT, f->content, CONTENT_ID_BYTES);
	put_u64le(out + F_SIZE, f->size);
	put_u64le(out + F_NUMBER, f->number);
	out[F_KIND] = f->kind;
	out[F_NS_LEN] = f->ns_len;
	memcpy(out + F_NS, f->ns, f->ns_len);
}

/* Whether what the box says fits to what stands outside: a box that opens was made by us, so this finds bugs of writers. */
static bool private_fits(const struct head_public *p, const struct head_private *f,
			 const struct keyring *keys)
{
	uint64_t stripe = (uint64_t)1 << p->stripe_log2;
	uint64_t stripes = f->size == 0 ? 1 : (f->size + stripe - 1) / stripe;
	uint8_t name[OBJ_NAME_BYTES];
	struct obj_id id;

	if (f->size > stripe * OBJ_STRIPES_MAX || stripes != p->stripes)
		return false;
	if (obj_id_set(&id, p->generation, f->kind, f->number, f->ns, f->ns_len) != 0)
		return false;
	obj_name(keys, &id, name);
	return memcmp(name, p->name, OBJ_NAME_BYTES) == 0 &&
	       memcmp(p->volume, keyring_volume(keys), sizeof(p->volume)) == 0;
}

int head_box_seal(const struct head_public *p, const struct head_private *f, const struct keyring *keys,
		  uint8_t box[HEAD_BOX_BYTES])
{
	const uint8_t *kw = keyring_wrap(keys, p->epoch);
	uint8_t ad[HEAD_PUBLIC_BYTES], plain[HEAD_PRIVATE_BYTES];
	int rc;

	if (!kw)
		return -E_KEY;
	rc = crypto_random(box, BOX_NONCE);
	if (rc != 0)
		return rc;
	head_public_build(p, ad);
	private_build(f, plain);
	rc = aead_seal(AEAD_XCHACHA20, kw, box, ad, sizeof(ad), plain, sizeof(plain), box + BOX_NONCE);
	crypto_wipe(plain, sizeof(plain));
	return rc;
}

int head_box_open(const struct head_public *p, const uint8_t box[HEAD_BOX_BYTES], const struct keyring *keys,
		  struct head_private *f)
{
	static const uint8_t zero[OBJ_NS_MAX];
	const uint8_t *kw = keyring_wrap(keys, p->epoch);
	uint8_t ad[HEAD_PUBLIC_BYTES], plain[HEAD_PRIVATE_BYTES];
	int rc;

	if (!kw)
		return -E_KEY;
	head_public_build(p, ad);
	rc = aead_open(AEAD_XCHACHA20, kw, box, ad, sizeof(ad), box + BOX_NONCE, HEAD_BOX_BYTES - BOX_NONCE,
		       plain);
	if (rc == 0) {
		memcpy(f->key, plain + F_KEY, 32);
		memcpy(f->content, plain + F_CONTENT, CONTENT_ID_BYTES);
		f->size = get_u64le(plain + F_SIZE);
		f->number = get_u64le(plain + F_NUMBER);
		f->kind = plain[F_KIND];
		f->ns_len = plain[F_NS_LEN];
		memcpy(f->ns, plain + F_NS, OBJ_NS_MAX);
	}
	if (rc != 0 || f->ns_len > OBJ_NS_MAX ||
	    memcmp(f->ns + f->ns_len, zero, OBJ_NS_MAX - f->ns_len) != 0 || !private_fits(p, f, keys)) {
		crypto_wipe(f, sizeof(*f));
		rc = -E_CORRUPT;
	}
	crypto_wipe(plain, sizeof(plain));
	return rc;
}

size_t head_build(const struct head_public *p, const uint8_t box[HEAD_BOX_BYTES], unsigned index,
		  unsigned type, uint32_t values, const uint64_t *keys, uint8_t *out)
{
	size_t end = H_KEYS;

	head_public_build(p, out);
	memcpy(out + H_BOX, box, HEAD_BOX_BYTES);
	out[H_INDEX] = (uint8_t)index;
	out[H_TYPE] = (uint8_t)type;
	put_u32le(out + H_VALUES, values);
	for (uint32_t i = 0; type == OBJ_STORE_KEYS && i < values; i++, end += 8)
		put_u64le(out + end, keys[i]);
	put_u32le(out + end, crc_castagnoli(0, out, end));
	return end + 4;
}

int head_parse(const void *data, size_t len, struct head *h, const char **what)
{
	const uint8_t *in = data;
	const char *wrong = NULL;

	memset(h, 0, sizeof(*h));
	if (len < HEAD_MIN_BYTES || len > HEAD_MAX_BYTES ||
	    get_u32le(in + len - 4) != crc_castagnoli(0, in, len - 4))
		wrong = len < HEAD_MIN_BYTES || len > HEAD_MAX_BYTES ? "length" : "checksum";
	else if (head_public_parse(in, &h->pub, &wrong) == 0) {
		memcpy(h->box, in + H_BOX, HEAD_BOX_BYTES);
		h->index = in[H_INDEX];
		h->type = in[H_TYPE];
		h->values = get_u32le(in + H_VALUES);
		if (h->index >= h->pub.n)
			wrong = "shard index";
		else if (h->type != OBJ_STORE_KEYS && h->type != OBJ_STORE_NAMED)
			wrong = "store type";
		else if (h->values < 1 || h->values > h->pub.stripes)
			wrong = "number of values";
		else if (len != HEAD_MIN_BYTES + (h->type == OBJ_STORE_KEYS ? 8 * (size_t)h->values : 0))
			wrong = "length";
		else if (h->type == OBJ_STORE_KEYS)
			h->keys = in + H_KEYS;
	}
	if (what)
		*what = wrong;
	return wrong ? -E_CORRUPT : 0;
}

uint32_t head_places(const struct head_public *p, const uint32_t *sealed, struct fragment_place *places)
{
	uint32_t room = (uint32_t)1 << p->value_log2, max = (uint32_t)(1u << p->stripe_log2) + OBJ_SEAL_BYTES;
	uint32_t value = 1, used = 0;

	for (uint32_t s = 0; s < p->stripes; s++) {
		uint32_t len;

		if (sealed[s] < OBJ_SEAL_BYTES || sealed[s] > max)
			return 0;
		len = FRAGMENT_HEADER_BYTES + (uint32_t)ec_piece_bytes(sealed[s], p->k);
		if (used > 0 && used + len > room) {
			value++;
			used = 0;
		}
		if (places)
			places[s] = (struct fragment_place){.value = value, .offset = used, .len = len};
		used += len;
	}
	return value;
}

uint32_t head_plain_bytes(const struct head_public *p, uint64_t size, uint32_t stripe)
{
	uint64_t bytes = (uint64_t)1 << p->stripe_log2, from = (uint64_t)stripe * bytes;

	if (from >= size)
		return 0;
	return (uint32_t)(size - from < bytes ? size - from : bytes);
}
