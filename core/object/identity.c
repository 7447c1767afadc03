/* The identity record of a volume: 88 bytes under one key of every metadata store. */
#include <errno.h>
#include <string.h>

#include "core/base/endian.h"
#include "core/base/err.h"
#include "core/crypto/crypto.h"
#include "core/object/identity.h"

enum {
	AT_VERSION = 4,
	AT_EPOCH = 6,
	AT_VOLUME = 8,
	AT_CREATED = 24,
	AT_GENERATION = 32,
	AT_BASE = 40,
	AT_K = 48,
	AT_N = 49,
	AT_SLOT = 50,
	AT_ZERO = 51,
	AT_CHECK = 56,
	AT_MAC = 72,
};

#define VERSION 1

static const uint8_t magic[4] = {'Q', 'S', 'V', '1'};

static void key_check(const uint8_t volume[16], const uint8_t *kc, uint8_t out[16])
{
	crypto_blake2b(out, 16, volume, 16, kc, 32);
}

static int fields_possible(const struct identity *id)
{
	return id->epoch >= 1 && id->k >= 1 && id->n > id->k && id->n <= 32 && id->slot < id->n &&
	       id->generation >> 32 >= 1;
}

int identity_encode(const struct identity *id, const struct keyring *keys, uint8_t out[IDENTITY_BYTES])
{
	const uint8_t *kc = keyring_identity(keys, id->epoch);

	if (!fields_possible(id))
		return -EINVAL;
	if (!kc)
		return -E_KEY;
	memset(out, 0, IDENTITY_BYTES);
	memcpy(out, magic, sizeof(magic));
	put_u16le(out + AT_VERSION, VERSION);
	put_u16le(out + AT_EPOCH, id->epoch);
	memcpy(out + AT_VOLUME, id->volume, 16);
	put_u64le(out + AT_CREATED, id->created);
	put_u64le(out + AT_GENERATION, id->generation);
	put_u64le(out + AT_BASE, id->base);
	out[AT_K] = id->k;
	out[AT_N] = id->n;
	out[AT_SLOT] = id->slot;
	key_check(id->volume, kc, out + AT_CHECK);
	crypto_blake2b(out + AT_MAC, 16, out, AT_MAC, kc, 32);
	return 0;
}

static int layout_right(const uint8_t *in, size_t len)
{
	static const uint8_t zero[AT_CHECK - AT_ZERO];

	return len == IDENTITY_BYTES && memcmp(in, magic, sizeof(magic)) == 0 &&
	       get_u16le(in + AT_VERSION) == VERSION && memcmp(in + AT_ZERO, zero, sizeof(zero)) == 0;
}

enum identity_state identity_decode(const void *data, size_t len, const struct keyring *keys,
				    struct identity *id)
{
	const uint8_t *in = data, *kc;
	uint8_t mac[16];

	memset(id, 0, sizeof(*id));
	if (!layout_right(in, len))
		return IDENTITY_ALIEN;
	id->epoch = get_u16le(in + AT_EPOCH);
	memcpy(id->volume, in + AT_VOLUME, 16);
	id->created = get_u64le(in + AT_CREATED);
	id->generation = get_u64le(in + AT_GENERATION);
	id->base = get_u64le(in + AT_BASE);
	id->k = in[AT_K];
	id->n = in[AT_N];
	id->slot = in[AT_SLOT];
	if (keyring_has_volume(keys) && memcmp(id->volume, keyring_volume(keys), 16) != 0)
		return IDENTITY_FOREIGN;
	kc = keyring_identity(keys, id->epoch);
	if (!kc)
		return IDENTITY_NO_EPOCH;
	key_check(id->volume, kc, mac);
	if (!crypto_equal(mac, in + AT_CHECK, 16))
		return IDENTITY_WRONG_KEY;
	crypto_blake2b(mac, 16, in, AT_MAC, kc, 32);
	if (!crypto_equal(mac, in + AT_MAC, 16) || !fields_possible(id))
		return IDENTITY_DAMAGED;
	return IDENTITY_GOOD;
}

const char *identity_state_text(enum identity_state state)
{
	switch (state) {
	case IDENTITY_GOOD:
		return "good";
	case IDENTITY_FOREIGN:
		return "of another volume";
	case IDENTITY_WRONG_KEY:
		return "made with another key";
	case IDENTITY_NO_EPOCH:
		return "of a key epoch that the key file does not hold";
	case IDENTITY_DAMAGED:
		return "damaged";
	case IDENTITY_SHAPE:
		return "made for another number of metadata stores";
	case IDENTITY_ALIEN:
		return "not an identity record";
	}
	return "?";
}

int identity_next_generation(uint64_t generation, uint64_t *next)
{
	uint32_t low;
	int rc;

	if (generation >> 32 == UINT32_MAX)
		return -EOVERFLOW;
	rc = crypto_random(&low, sizeof(low));
	if (rc == 0)
		*next = ((generation >> 32) + 1) << 32 | low;
	return rc;
}
