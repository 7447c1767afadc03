/*
 * head: value 0 of every shard: public part P, box with the private part F, keys of the shard's values
 * (format, section 5).
 */
#ifndef CORE_OBJECT_HEAD_H
#define CORE_OBJECT_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/coding/content_id.h"
#include "core/coding/ec.h"
#include "core/crypto/keyring.h"
#include "core/object/names.h"
#include "core/object/store.h"

#define HEAD_PUBLIC_BYTES  72
#define HEAD_PRIVATE_BYTES 194
#define HEAD_BOX_BYTES     (24 + HEAD_PRIVATE_BYTES + 16)
#define HEAD_MIN_BYTES     316
#define HEAD_MAX_BYTES     33084
#define OBJ_STRIPES_MAX    4096
#define OBJ_SEAL_BYTES     17 /* a sealed stripe is so much longer than its body */

/* P: stands in the clear in every shard; the box authenticates it. */
struct head_public {
	uint8_t aead;        /* enum aead_id */
	uint8_t stripe_log2; /* B = 2^this, 16...20 */
	uint8_t value_log2;  /* C = 2^this, 16...21 */
	uint8_t k, n;
	uint16_t epoch;
	uint32_t stripes;
	uint8_t volume[16];
	uint8_t name[OBJ_NAME_BYTES];
	uint8_t object[OBJ_ID_BYTES];
	uint64_t generation;
};

/* F: what only the key opens. */
struct head_private {
	uint8_t key[32]; /* object key */
	uint8_t content[CONTENT_ID_BYTES];
	uint64_t size;
	uint64_t number;
	uint8_t kind;
	uint8_t ns_len;
	char ns[OBJ_NS_MAX];
};

struct head {
	struct head_public pub;
	uint8_t box[HEAD_BOX_BYTES];
	uint8_t index; /* of the shard */
	uint8_t type;  /* enum obj_store_type */
	uint32_t values;
	const uint8_t *keys; /* type 1: view of values x u64 little-endian; else NULL */
};

/* Layout of P. head_public_parse: 0, or -E_CORRUPT with *what (may be NULL) = the field that is wrong. */
void head_public_build(const struct head_public *p, uint8_t out[HEAD_PUBLIC_BYTES]);
int head_public_parse(const uint8_t in[HEAD_PUBLIC_BYTES], struct head_public *p, const char **what);

/* Seals F under KW of p->epoch with a fresh nonce. 0, -E_KEY, or what crypto_random() says. */
int head_box_seal(const struct head_public *p, const struct head_private *f, const struct keyring *keys,
		  uint8_t box[HEAD_BOX_BYTES]);
/* 0; -E_KEY; -E_CORRUPT: does not open, or F contradicts P (size, stripes, kind, name). */
int head_box_open(const struct head_public *p, const uint8_t box[HEAD_BOX_BYTES], const struct keyring *keys,
		  struct head_private *f);

/* Whole head. `keys` has `values` keys for type 1, NULL for type 2. Returns its length (<= HEAD_MAX_BYTES).
 */
size_t head_build(const struct head_public *p, const uint8_t box[HEAD_BOX_BYTES], unsigned index,
		  unsigned type, uint32_t values, const uint64_t *keys, uint8_t *out);
/* Checks size, magic, every field, CRC. 0 or -E_CORRUPT. h->keys points into data. */
int head_parse(const void *data, size_t len, struct head *h, const char **what);

/* ---- where fragments lie (greedy cut, section 5) ---- */

/* Place of one fragment in a shard: value (1...), offset in it, bytes with header. */
struct fragment_place {
	uint32_t value;
	uint32_t offset;
	uint32_t len;
};

/* Fills places[p->stripes] (may be NULL) from S; returns the number of values behind the head, 0 if S is
 * impossible. */
uint32_t head_places(const struct head_public *p, const uint32_t *sealed, struct fragment_place *places);

/* Plain bytes of stripe s of an object of `size` bytes. */
uint32_t head_plain_bytes(const struct head_public *p, uint64_t size, uint32_t stripe);

#endif
