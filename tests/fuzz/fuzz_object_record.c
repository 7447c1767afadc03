/*
 * Plain records: arbitrary bytes behind a front part that opens (the rest would otherwise never be reached). What decodes is
 * encoded again as the same bytes.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/buf.h"
#include "core/base/mem.h"
#include "core/crypto/crypto.h"
#include "core/object/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct keyring *keys;
static uint8_t front[3][310]; /* magic, P, box: of 1, 3 and 4096 stripes */

static void make_front(uint8_t out[310], uint32_t stripes)
{
	static const uint8_t key[32] = {1}, volume[16] = {2};
	struct head_private f = {
		.size = (uint64_t)stripes << 16, .number = 1, .kind = OBJ_SEGMENT, .ns_len = 1, .ns = "n"};
	struct head_public p = {.aead = 2,
				.stripe_log2 = 16,
				.value_log2 = 17,
				.k = 2,
				.n = 4,
				.epoch = 1,
				.stripes = stripes,
				.generation = 5};
	struct obj_id id;

	if (!keys && (crypto_init() != 0 || keyring_from_key(key, volume, &keys) != 0))
		abort();
	memcpy(p.volume, volume, sizeof(volume));
	if (obj_id_set(&id, 5, OBJ_SEGMENT, 1, "n", 1) != 0)
		abort();
	obj_name(keys, &id, p.name);
	memcpy(out, "QSR1", 4);
	head_public_build(&p, out + 4);
	if (head_box_seal(&p, &f, keys, out + 76) != 0)
		abort();
}

static void try_bytes(const uint8_t *data, size_t size)
{
	struct buf again = BUF_INIT(RECORD_MAX_BYTES);
	struct record r, copy;

	record_init(&r);
	record_init(&copy);
	if (record_decode(data, size, keys, &r) == 0) {
		if (record_copy(&copy, &r) != 0 || record_encode(&copy, &again) != 0 || again.len != size ||
		    memcmp(again.data, data, size) != 0)
			abort();
	} else if (r.sealed || r.shards_count) {
		abort();
	}
	record_release(&copy);
	record_release(&r);
	buf_release(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *whole;

	if (!keys) {
		make_front(front[0], 1);
		make_front(front[1], 3);
		make_front(front[2], OBJ_STRIPES_MAX);
	}
	if (size < 1 || size > RECORD_MAX_BYTES - 310)
		return 0;
	try_bytes(data, size);
	whole = mem_alloc(310 + size - 1);
	memcpy(whole, front[data[0] % 3], 310);
	memcpy(whole + 310, data + 1, size - 1);
	try_bytes(whole, 310 + size - 1);
	mem_free(whole);
	return 0;
}
