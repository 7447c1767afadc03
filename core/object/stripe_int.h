/*
 * stripe_int: one stripe: plaintext <-> sealed bytes (native format, section 5).
 */
#ifndef CORE_OBJECT_STRIPE_INT_H
#define CORE_OBJECT_STRIPE_INT_H

#include "core/coding/stripe_zstd.h"
#include "core/object/head.h"

/*
 * sealed[len + 17] (and more room is not needed) = flags ++ AEAD(body). Compresses when it gains. Returns S, or a negative
 * errno.
 */
long stripe_seal(const struct head_public *p, const uint8_t key[32], uint32_t stripe, struct stripe_zstd *z,
		 const uint8_t *plain, uint32_t len, uint8_t *sealed);

/*
 * The reverse: `plain` (room for the stripe size) gets exactly `len` bytes; `sealed` is overwritten. 0; -EBADMSG: the tag is
 * wrong; -EPROTO: the tag is right, but flags, length or compression are not: a bug of the writer, never retried.
 */
int stripe_open(const struct head_public *p, const uint8_t key[32], uint32_t stripe, struct stripe_zstd *z,
		uint8_t *sealed, uint32_t sealed_len, uint8_t *plain, uint32_t len);

#endif
