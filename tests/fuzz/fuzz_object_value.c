/*
 * Values of metadata stores: arbitrary bytes, as they are and with a right checksum, to the parser and to a read that
 * gets four of them from its stores: it never finds anything in them, and never says absent.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/endian.h"
#include "core/base/mem.h"
#include "core/coding/crc.h"
#include "core/crypto/crypto.h"
#include "core/object/record_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct keyring *keys;
static struct obj_work *work;
static struct meta meta;
static struct obj_store stores[4];
static const uint8_t *shown;
static size_t shown_len;

static int get(struct obj_store *s, const void *key, size_t key_len, void *out, size_t max, size_t *len)
{
	/* each store shows its own quarter, so that an input can hold four different pieces */
	size_t part = shown_len / 4, at = part * (size_t)(s - stores);

	(void)key, (void)key_len;
	if (part == 0)
		return -EIO;
	if (part > max)
		return -EMSGSIZE;
	memcpy(out, shown + at, part);
	*len = part;
	return 0;
}

static const struct obj_store_ops ops = {.get = get};

static void begin(void)
{
	static const uint8_t key[32] = {1}, volume[16] = {2};
	struct obj_store *list[4];

	if (crypto_init() != 0 || keyring_from_key(key, volume, &keys) != 0 || obj_work_new(NULL, &work) != 0)
		abort();
	for (unsigned i = 0; i < 4; i++) {
		stores[i] = (struct obj_store){.ops = &ops, .label = "s", .type = OBJ_STORE_NAMED};
		list[i] = &stores[i];
	}
	if (meta_init(&meta, keys, "p", 2, list, 4) != 0)
		abort();
	for (int i = 0; i < 4; i++)
		meta.slot[i] = i;
}

static void try_bytes(const uint8_t *data, size_t size)
{
	struct record_piece p;

	if (record_piece_parse(data, size, &p) != 0)
		return;
	if (p.piece < data || p.piece + p.piece_len > data + size || p.index >= p.n)
		abort();
}

static void fix(uint8_t *value, size_t len, unsigned slot)
{
	if (len < 60)
		return;
	memcpy(value, "QSM1", 4);
	value[6] = 2;
	value[7] = 4;
	value[8] = (uint8_t)slot;
	memset(value + 9, 0, 3);
	put_u32le(value + 12, (uint32_t)(2 * (len - 52)));
	put_u32le(value + len - 4, crc_castagnoli(0, value, len - 4));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t name[16];
	enum obj_answer answer;
	struct record r;
	uint8_t *copy;
	int code;

	if (!keys)
		begin();
	try_bytes(data, size);
	if (size < 8)
		return 0;
	copy = mem_dup(data, size);
	for (unsigned i = 0; i < 4; i++)
		fix(copy + i * (size / 4), size / 4, i);
	try_bytes(copy, size / 4);
	shown = data[0] % 2 ? copy : data;
	shown_len = size;
	record_init(&r);
	answer = record_read_name(&meta, work, name, data[1] % 2, &r, NULL, &code);
	if (answer != OBJ_UNKNOWN)
		abort();
	record_release(&r);
	mem_free(copy);
	return 0;
}
