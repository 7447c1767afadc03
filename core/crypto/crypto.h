/*
 * crypto: start-up of the crypto room, hashes, random bytes and memory for secrets.
 *
 * crypto_init() once before anything else of this room (every later call is cheap). All functions may be
 * called from any thread afterwards. Random bytes come from the system call table, so that a test can make
 * them fail.
 */
#ifndef CORE_CRYPTO_CRYPTO_H
#define CORE_CRYPTO_CRYPTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Prepares libsodium. 0, or -ENOSYS when it refuses. */
int crypto_init(void);

/* Fills out[len] from the kernel's generator. 0, or a negative errno: then nothing may be sealed. */
int crypto_random(void *out, size_t len);

/* BLAKE2b with an optional key (key_len 0 = none, at most 64); out_len 16...64. Never fails for such lengths.
 */
void crypto_blake2b(void *out, size_t out_len, const void *in, size_t in_len, const void *key,
		    size_t key_len);

/*
 * Subkey `id` of a 32-byte master key, context "qsfs_nat": libsodium's crypto_kdf_derive_from_key, that is
 * BLAKE2b-256 with salt = id as u64 ++ 8 zero bytes and personal = context ++ 8 zero bytes (format, section
 * 3).
 */
void crypto_kdf(uint8_t out[32], uint64_t id, const uint8_t key[32]);

/* Overwrites; the compiler does not remove it. */
void crypto_wipe(void *p, size_t len);
/* Equality in constant time. */
bool crypto_equal(const void *a, const void *b, size_t len);

/*
 * Memory for keys: page-aligned, locked where the limit allows (RLIMIT_MEMLOCK; without it the memory works
 * but may be swapped), not in core dumps, wiped by the free.
 * NULL without memory.
 */
void *crypto_secret_alloc(size_t len);
void crypto_secret_free(void *p, size_t len);

#endif
