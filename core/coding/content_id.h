/*
 * content_id: XXH3-128, seed 0, canonical (big-endian) bytes, in one go or streamed. Tells whether two runs
 * of bytes are the same; it is no protection against an attacker (the AEAD is).
 */
#ifndef CORE_CODING_CONTENT_ID_H
#define CORE_CODING_CONTENT_ID_H

#include <stddef.h>
#include <stdint.h>

#define CONTENT_ID_BYTES 16

struct content_id; /* streaming state */

struct content_id *content_id_new(void); /* NULL without memory */
void content_id_free(struct content_id *c);
void content_id_reset(struct content_id *c);
void content_id_add(struct content_id *c, const void *data, size_t len);
void content_id_get(const struct content_id *c, uint8_t out[CONTENT_ID_BYTES]);

void content_id_of(const void *data, size_t len, uint8_t out[CONTENT_ID_BYTES]);

#endif
