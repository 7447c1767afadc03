/*
 * Fragments and sealed stripes: arbitrary bytes, as they are and with right checksums. What is accepted is what
 * fragment_build() writes but for the two versions; no stripe of a foreign hand opens.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/endian.h"
#include "core/base/mem.h"
#include "core/coding/crc.h"
#include "core/coding/fragment.h"
#include "core/crypto/crypto.h"
#include "core/object/stripe_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_bytes(const uint8_t *data, size_t size)
{
	uint8_t again[FRAGMENT_HEADER_BYTES];
	struct fragment f;

	if (fragment_check(data, size, &f) != 0)
		return;
	if (f.size != size - FRAGMENT_HEADER_BYTES)
		abort();
	fragment_build(&f, data + FRAGMENT_HEADER_BYTES, again);
	if (memcmp(again, data, 55) != 0 || memcmp(again + 59, data + 59, 4) != 0 ||
	    memcmp(again + 71, data + 71, 9) != 0)
		abort();
}

static void try_stripe(const uint8_t *data, size_t size)
{
	static const struct head_public p = {
		.aead = 2, .stripe_log2 = 16, .value_log2 = 17, .k = 2, .n = 4, .stripes = 1};
	static const uint8_t key[32] = {1};
	static struct stripe_zstd *z;
	static uint8_t plain[65536];
	uint8_t *copy, *exact;

	if (!z)
		z = stripe_zstd_new(1);
	if (!z || size > sizeof(plain))
		return;
	/* the body as if it had been compressed: the decompressor is behind the tag, so it is asked directly too */
	exact = mem_dup(data, size);
	(void)stripe_zstd_unpack(z, exact, size, plain, size * 4 < sizeof(plain) ? size * 4 : sizeof(plain));
	mem_free(exact);
	if (size < OBJ_SEAL_BYTES)
		return;
	copy = mem_dup(data, size);
	if (stripe_open(&p, key, 0, z, copy, (uint32_t)size, plain, (uint32_t)(size - OBJ_SEAL_BYTES)) == 0)
		abort();
	mem_free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy;

	if (crypto_init() != 0)
		abort();
	try_bytes(data, size);
	try_stripe(data, size);
	if (size < FRAGMENT_HEADER_BYTES)
		return 0;
	copy = mem_dup(data, size);
	put_u32le(copy + 4, (uint32_t)(size - FRAGMENT_HEADER_BYTES));
	copy[20] = 2;
	put_u32le(copy + 21, crc_ieee(0, copy + FRAGMENT_HEADER_BYTES, size - FRAGMENT_HEADER_BYTES));
	put_u32le(copy + 59, 0x0b0c5ecc);
	put_u32le(copy + 67, crc_ieee(0, copy, 59));
	try_bytes(copy, size);
	mem_free(copy);
	return 0;
}
