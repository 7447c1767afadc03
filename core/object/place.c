/* Keys of values and the list of stores. */
#include <string.h>

#include "core/base/endian.h"
#include "core/object/answer.h"
#include "core/object/place_int.h"

void place_new_key(struct value_key *key, const struct obj_store *store, const uint8_t object[OBJ_ID_BYTES],
		   unsigned index, uint32_t number)
{
	key->len = 0;
	if (store->type == OBJ_STORE_NAMED)
		key->len = obj_key_shard(object, index, number, key->bytes);
}

void place_key(struct value_key *key, const struct obj_store *store, const uint64_t *keys,
	       const uint8_t object[OBJ_ID_BYTES], unsigned index, uint32_t number)
{
	if (!keys) {
		place_new_key(key, store, object, index, number);
		return;
	}
	put_u64le(key->bytes, keys[number]);
	key->len = 8;
}

struct obj_store *obj_stores_find(const struct obj_stores *stores, const char *label)
{
	for (size_t i = 0; i < stores->count; i++)
		if (stores->list[i] && strcmp(stores->list[i]->label, label) == 0)
			return stores->list[i];
	return NULL;
}

const char *obj_answer_text(enum obj_answer a)
{
	static const char *const text[] = {
		[OBJ_FOUND] = "found", [OBJ_ABSENT] = "absent", [OBJ_UNKNOWN] = "unknown"};

	return text[a];
}
