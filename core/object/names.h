/*
 * names: keyed names of objects, and the keys under which values lie (native format, section 4).
 */
#ifndef CORE_OBJECT_NAMES_H
#define CORE_OBJECT_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/crypto/keyring.h"

#define OBJ_NAME_BYTES    16
#define OBJ_ID_BYTES      16
#define OBJ_NS_MAX        128 /* bytes of a namespace's name */
#define OBJ_PREFIX_MAX    64  /* bytes of the prefix of a volume's metadata */
#define OBJ_KEY_MAX_BYTES 128 /* any key that this room makes, with its NUL */

enum obj_kind {
	OBJ_SEGMENT = 1, /* number N: closed d<N>, whole */
	OBJ_TAIL = 2,    /* number N << 32 | end: bytes [start, end) of the active d<N> */
	OBJ_BUNDLE = 3,  /* number first << 32 | last: index changes of those segments */
	OBJ_MANIFEST = 4 /* number sequence mod 4, no namespace */
};

/* What a name is made of, and what the box of an object says again. */
struct obj_id {
	uint64_t generation; /* of the front end that wrote it */
	uint8_t kind;        /* enum obj_kind */
	uint64_t number;
	uint8_t ns_len; /* 0...128 */
	char ns[OBJ_NS_MAX];
};

/* Fills *id. -EINVAL: unknown kind, namespace too long, or a namespace where none belongs. */
int obj_id_set(struct obj_id *id, uint64_t generation, enum obj_kind kind, uint64_t number, const char *ns,
	       size_t ns_len);

static inline uint64_t obj_number_tail(uint32_t segment, uint32_t end)
{
	return (uint64_t)segment << 32 | end;
}

static inline uint64_t obj_number_bundle(uint32_t first, uint32_t last)
{
	return (uint64_t)first << 32 | last;
}

/* The keyed name. The keyring must know the volume id. */
void obj_name(const struct keyring *keys, const struct obj_id *id, uint8_t name[OBJ_NAME_BYTES]);

/* Keys on the metadata stores, ended by NUL; they return the length. `prefix` has at most OBJ_PREFIX_MAX
 * bytes. */
size_t obj_key_identity(const char *prefix, char out[OBJ_KEY_MAX_BYTES]);
size_t obj_key_record(const char *prefix, const uint8_t name[OBJ_NAME_BYTES], char out[OBJ_KEY_MAX_BYTES]);
/* Key of value `value` (0 = head) of shard `index` on a plain redis store. */
size_t obj_key_shard(const uint8_t object[OBJ_ID_BYTES], unsigned index, unsigned value,
		     char out[OBJ_KEY_MAX_BYTES]);

#endif
