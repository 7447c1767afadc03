/*
 * aead: the two authenticated ciphers of the native format (section 5), behind one call.
 *
 * Id 1 is AES-256-GCM: libsodium's where the CPU has AES and carry-less multiplication, mbed TLS's portable
 * code elsewhere; both give the same bytes. Id 2 is XChaCha20-Poly1305 (IETF). The 16-byte tag follows the
 * ciphertext. Every function may be called from any thread after crypto_init().
 */
#ifndef CORE_CRYPTO_AEAD_H
#define CORE_CRYPTO_AEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AEAD_KEY_BYTES       32
#define AEAD_TAG_BYTES       16
#define AEAD_NONCE_MAX_BYTES 24

enum aead_id {
	AEAD_AES256GCM = 1,
	AEAD_XCHACHA20 = 2,
};

/* Which code runs AES-256-GCM; a test may force one, everybody else leaves AEAD_IMPL_AUTO. */
enum aead_impl {
	AEAD_IMPL_AUTO,
	AEAD_IMPL_SODIUM,
	AEAD_IMPL_MBEDTLS,
};

/* Whether this CPU runs AES-256-GCM in hardware (libsodium's answer). */
bool aead_has_fast_aes(void);

/* What a writer on this machine uses: AEAD_AES256GCM with hardware AES, otherwise AEAD_XCHACHA20. */
enum aead_id aead_preferred(void);

/* Bytes of the nonce of `id` (12 or 24), 0 when the id is unknown. */
size_t aead_nonce_bytes(unsigned id);

/*
 * out[in_len + 16] = ciphertext ++ tag. `nonce` has aead_nonce_bytes(id) bytes and must never repeat under
 * one key. `in` and `out` may be the same buffer, otherwise they must not overlap. 0, -EINVAL for an unknown
 * id or an implementation that this CPU lacks, -EIO when the library fails.
 */
int aead_seal(unsigned id, const uint8_t key[AEAD_KEY_BYTES], const uint8_t *nonce, const void *ad,
	      size_t ad_len, const void *in, size_t in_len, void *out);

/*
 * out[in_len - 16] = plaintext of in[in_len]. 0; -EBADMSG when the tag is wrong (out is then zeroed) or
 * in_len is below 16; -EINVAL for an unknown id.
 */
int aead_open(unsigned id, const uint8_t key[AEAD_KEY_BYTES], const uint8_t *nonce, const void *ad,
	      size_t ad_len, const void *in, size_t in_len, void *out);

/* The same for AES-256-GCM with a chosen implementation (tests, doctor). */
int aead_seal_impl(enum aead_impl impl, const uint8_t key[AEAD_KEY_BYTES], const uint8_t nonce[12],
		   const void *ad, size_t ad_len, const void *in, size_t in_len, void *out);
int aead_open_impl(enum aead_impl impl, const uint8_t key[AEAD_KEY_BYTES], const uint8_t nonce[12],
		   const void *ad, size_t ad_len, const void *in, size_t in_len, void *out);

#endif
