/*
 * Heads of shards: arbitrary bytes, as they are and with a right checksum. What parses must be written again as the same
 * bytes; the box of a foreign hand never opens.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/endian.h"
#include "core/base/mem.h"
#include "core/coding/crc.h"
#include "core/crypto/crypto.h"
#include "core/object/head.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_bytes(const struct keyring *keys, const uint8_t *data, size_t size)
{
	static uint64_t values[OBJ_STRIPES_MAX];
	static uint8_t again[HEAD_MAX_BYTES];
	struct head_private priv;
	const char *what = NULL;
	struct head h;

	if (head_parse(data, size, &h, &what) != 0) {
		if (!what)
			abort();
		return;
	}
	for (uint32_t i = 0; h.keys && i < h.values; i++)
		values[i] = get_u64le(h.keys + 8 * (size_t)i);
	if (head_build(&h.pub, h.box, h.index, h.type, h.values, values, again) != size ||
	    memcmp(again, data, size) != 0)
		abort();
	if (head_box_open(&h.pub, h.box, keys, &priv) == 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct keyring *keys;
	static const uint8_t key[32] = {1}, volume[16] = {2};
	uint8_t *copy;

	if (!keys && (crypto_init() != 0 || keyring_from_key(key, volume, &keys) != 0))
		abort();
	try_bytes(keys, data, size);
	if (size < 8)
		return 0;
	copy = mem_dup(data, size);
	memcpy(copy, "QSF1\1", 5);
	put_u32le(copy + size - 4, crc_castagnoli(0, copy, size - 4));
	try_bytes(keys, copy, size);
	mem_free(copy);
	return 0;
}
