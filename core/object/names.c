/* Keyed names of objects and the keys of values. No path and no name of a namespace leaves the node. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/base/endian.h"
#include "core/base/hex.h"
#include "core/crypto/crypto.h"
#include "core/object/names.h"

int obj_id_set(struct obj_id *id, uint64_t generation, enum obj_kind kind, uint64_t number, const char *ns,
	       size_t ns_len)
{
	if (kind < OBJ_SEGMENT || kind > OBJ_MANIFEST || ns_len > OBJ_NS_MAX)
		return -EINVAL;
	if ((kind == OBJ_MANIFEST) != (ns_len == 0))
		return -EINVAL;
	memset(id, 0, sizeof(*id));
	id->generation = generation;
	id->kind = (uint8_t)kind;
	id->number = number;
	id->ns_len = (uint8_t)ns_len;
	if (ns_len > 0)
		memcpy(id->ns, ns, ns_len);
	return 0;
}

void obj_name(const struct keyring *keys, const struct obj_id *id, uint8_t name[OBJ_NAME_BYTES])
{
	uint8_t text[16 + 8 + 1 + 8 + OBJ_NS_MAX];

	memcpy(text, keyring_volume(keys), 16);
	put_u64le(text + 16, id->generation);
	text[24] = id->kind;
	put_u64le(text + 25, id->number);
	memcpy(text + 33, id->ns, id->ns_len);
	crypto_blake2b(name, OBJ_NAME_BYTES, text, 33u + id->ns_len, keyring_names(keys), 32);
}

size_t obj_key_identity(const char *prefix, char out[OBJ_KEY_MAX_BYTES])
{
	return (size_t)snprintf(out, OBJ_KEY_MAX_BYTES, "/%.*s/qsfs", OBJ_PREFIX_MAX, prefix);
}

size_t obj_key_record(const char *prefix, const uint8_t name[OBJ_NAME_BYTES], char out[OBJ_KEY_MAX_BYTES])
{
	char hex[2 * OBJ_NAME_BYTES + 1];

	return (size_t)snprintf(out, OBJ_KEY_MAX_BYTES, "/%.*s/q/%s", OBJ_PREFIX_MAX, prefix,
				hex_encode(hex, name, OBJ_NAME_BYTES));
}

size_t obj_key_shard(const uint8_t object[OBJ_ID_BYTES], unsigned index, unsigned value,
		     char out[OBJ_KEY_MAX_BYTES])
{
	char hex[2 * OBJ_ID_BYTES + 1];

	return (size_t)snprintf(out, OBJ_KEY_MAX_BYTES, "qsfs:%s:%02x:%04x",
				hex_encode(hex, object, OBJ_ID_BYTES), index & 0xff, value & 0xffff);
}
