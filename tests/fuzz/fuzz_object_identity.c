/* Identity records and key files: arbitrary bytes. No bytes of a foreign hand are good. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/crypto/crypto.h"
#include "core/object/identity.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t key[32] = {1}, volume[16] = {2};
	static struct keyring *keys, *bare;
	struct keyring *parsed = NULL;
	uint8_t copy[IDENTITY_BYTES];
	char why[KEYRING_ERROR_BYTES];
	struct identity id;

	if (!keys && (crypto_init() != 0 || keyring_from_key(key, volume, &keys) != 0 ||
		      keyring_from_key(key, NULL, &bare) != 0))
		abort();
	if (identity_decode(data, size, keys, &id) == IDENTITY_GOOD ||
	    identity_decode(data, size, bare, &id) == IDENTITY_GOOD)
		abort();
	if (size >= sizeof(copy)) {
		memcpy(copy, data, sizeof(copy));
		memcpy(copy, "QSV1\1\0\1\0\2", 9); /* as far as an outsider can know it */
		memset(copy + 9, 0, 15);
		memset(copy + 51, 0, 5);
		if (identity_decode(copy, sizeof(copy), keys, &id) == IDENTITY_GOOD)
			abort();
	}
	if (keyring_parse("keys", (const char *)data, size, &parsed, why) == 0) {
		if (!keyring_has_volume(parsed) || !keyring_wrap(parsed, keyring_epoch(parsed)))
			abort();
		keyring_free(parsed);
	}
	return 0;
}
