/*
 * place_int: under which key of a store a value of a shard lies.
 */
#ifndef CORE_OBJECT_PLACE_INT_H
#define CORE_OBJECT_PLACE_INT_H

#include "core/object/names.h"
#include "core/object/store.h"

struct value_key {
	char bytes[OBJ_KEY_MAX_BYTES];
	size_t len; /* 0: the store chooses */
};

/* Key for a value that is stored now. */
void place_new_key(struct value_key *key, const struct obj_store *store, const uint8_t object[OBJ_ID_BYTES],
		   unsigned index, uint32_t number);

/* Key of a value that is there; `keys` (head first) for OBJ_STORE_KEYS. */
void place_key(struct value_key *key, const struct obj_store *store, const uint64_t *keys,
	       const uint8_t object[OBJ_ID_BYTES], unsigned index, uint32_t number);

#endif
