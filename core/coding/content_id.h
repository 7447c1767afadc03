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

/* A state at its beginning, the caller's to free. NULL without memory; free takes NULL. One thread at a time. */
struct content_id *content_id_new(void);
void content_id_free(struct content_id *c);
/* As after content_id_new(). */
void content_id_reset(struct content_id *c);
/* Takes the next bytes (len 0 is fine); get tells the id of all so far and may be followed by more. Neither can fail. */
void content_id_add(struct content_id *c, const void *data, size_t len);
void content_id_get(const struct content_id *c, uint8_t out[CONTENT_ID_BYTES]);

/* The same in one go. */
void content_id_of(const void *data, size_t len, uint8_t out[CONTENT_ID_BYTES]);

#endif
