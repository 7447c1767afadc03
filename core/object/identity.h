/*
 * identity: the 88 bytes that give a metadata store authority over a volume (native format, section 2).
 */
#ifndef CORE_OBJECT_IDENTITY_H
#define CORE_OBJECT_IDENTITY_H

#include <stdint.h>

#include "core/crypto/keyring.h"

#define IDENTITY_BYTES 88

struct identity {
	uint16_t epoch;      /* newest key epoch */
	uint8_t volume[16];  /* volume id */
	uint64_t created;    /* Unix seconds, shown only */
	uint64_t generation; /* counter << 32 | random */
	uint64_t base;       /* generation whose manifests count while `generation` has none; 0 = none */
	uint8_t k, n, slot;  /* k', n', place of this store */
};

enum identity_state {
	IDENTITY_GOOD,      /* this volume's: the store has authority */
	IDENTITY_FOREIGN,   /* another volume's */
	IDENTITY_WRONG_KEY, /* the key check differs: exit 6 */
	IDENTITY_NO_EPOCH,  /* made with a newer epoch than the key file holds: the key file is old, exit 6 */
	IDENTITY_DAMAGED,   /* the key check is right, the rest is not */
	IDENTITY_SHAPE,     /* right, but for another k' or n' (meta.h) */
	IDENTITY_ALIEN,     /* no identity at all: wrong size, magic, version, or reserved bytes */
};

/* Serializes. 0; -EINVAL for impossible fields; -E_KEY when the ring lacks the epoch. */
int identity_encode(const struct identity *id, const struct keyring *keys, uint8_t out[IDENTITY_BYTES]);

/*
 * Judges data[len]. *id is filled whenever the layout allows (GOOD, FOREIGN, WRONG_KEY), for messages. A ring
 * without volume id takes any volume whose key check is right.
 */
enum identity_state identity_decode(const void *data, size_t len, const struct keyring *keys,
				    struct identity *id);

/* Short text for messages: "of another volume", "damaged", ... */
const char *identity_state_text(enum identity_state state);

/* counter + 1, new random low half. 0, -EOVERFLOW, or what crypto_random() says. */
int identity_next_generation(uint64_t generation, uint64_t *next);

#endif
