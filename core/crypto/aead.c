/*
 * The ciphers of the native format. libsodium's AES-256-GCM exists only where the CPU has it; mbed TLS's runs everywhere.
 */
#include <errno.h>
#include <mbedtls/gcm.h>
#include <sodium.h>
#include <string.h>

#include "core/crypto/aead.h"
#include "core/crypto/crypto.h"

_Static_assert(crypto_aead_aes256gcm_ABYTES == AEAD_TAG_BYTES, "tag of AES-256-GCM");
_Static_assert(crypto_aead_xchacha20poly1305_ietf_ABYTES == AEAD_TAG_BYTES, "tag of XChaCha20-Poly1305");

bool aead_has_fast_aes(void)
{
	return crypto_aead_aes256gcm_is_available() != 0;
}

enum aead_id aead_preferred(void)
{
	return aead_has_fast_aes() ? AEAD_AES256GCM : AEAD_XCHACHA20;
}

size_t aead_nonce_bytes(unsigned id)
{
	if (id == AEAD_AES256GCM)
		return crypto_aead_aes256gcm_NPUBBYTES;
	if (id == AEAD_XCHACHA20)
		return crypto_aead_xchacha20poly1305_ietf_NPUBBYTES;
	return 0;
}

static int gcm_mbedtls(bool seal, const uint8_t *key, const uint8_t *nonce, const void *ad, size_t ad_len,
		       const void *in, size_t len, uint8_t *out, uint8_t *tag)
{
	mbedtls_gcm_context ctx;
	int rc;

	mbedtls_gcm_init(&ctx);
	rc = mbedtls_gcm_setkey(&ctx, MBEDTLS_CIPHER_ID_AES, key, 256);
	if (rc == 0 && seal)
		rc = mbedtls_gcm_crypt_and_tag(&ctx, MBEDTLS_GCM_ENCRYPT, len, nonce, 12, ad, ad_len, in, out,
					       AEAD_TAG_BYTES, tag);
	else if (rc == 0)
		rc = mbedtls_gcm_auth_decrypt(&ctx, len, nonce, 12, ad, ad_len, tag, AEAD_TAG_BYTES, in, out);
	mbedtls_gcm_free(&ctx);
	if (rc == MBEDTLS_ERR_GCM_AUTH_FAILED)
		return -EBADMSG;
	return rc == 0 ? 0 : -EIO;
}

/* AEAD_IMPL_AUTO made definite; -EINVAL when this CPU lacks what was asked for. */
static int choose_impl(enum aead_impl impl)
{
	if (impl == AEAD_IMPL_MBEDTLS)
		return AEAD_IMPL_MBEDTLS;
	if (aead_has_fast_aes())
		return AEAD_IMPL_SODIUM;
	return impl == AEAD_IMPL_AUTO ? AEAD_IMPL_MBEDTLS : -EINVAL;
}

int aead_seal_impl(enum aead_impl impl, const uint8_t key[AEAD_KEY_BYTES], const uint8_t nonce[12],
		   const void *ad, size_t ad_len, const void *in, size_t in_len, void *out)
{
	int use = choose_impl(impl);

	if (use < 0)
		return use;
	if (use == AEAD_IMPL_MBEDTLS)
		return gcm_mbedtls(true, key, nonce, ad, ad_len, in, in_len, out, (uint8_t *)out + in_len);
	return crypto_aead_aes256gcm_encrypt(out, NULL, in, in_len, ad, ad_len, NULL, nonce, key) == 0 ? 0
												       : -EIO;
}

int aead_open_impl(enum aead_impl impl, const uint8_t key[AEAD_KEY_BYTES], const uint8_t nonce[12],
		   const void *ad, size_t ad_len, const void *in, size_t in_len, void *out)
{
	int use = choose_impl(impl);
	uint8_t tag[AEAD_TAG_BYTES];
	size_t len;
	int rc;

	if (use < 0)
		return use;
	if (in_len < AEAD_TAG_BYTES)
		return -EBADMSG;
	len = in_len - AEAD_TAG_BYTES;
	if (use == AEAD_IMPL_MBEDTLS) {
		memcpy(tag, (const uint8_t *)in + len, sizeof(tag)); /* the output may lie over the input */
		rc = gcm_mbedtls(false, key, nonce, ad, ad_len, in, len, out, tag);
	} else {
		rc = crypto_aead_aes256gcm_decrypt(out, NULL, NULL, in, in_len, ad, ad_len, nonce, key) == 0
			     ? 0
			     : -EBADMSG;
	}
	if (rc != 0 && len > 0)
		memset(out, 0, len);
	return rc;
}

int aead_seal(unsigned id, const uint8_t key[AEAD_KEY_BYTES], const uint8_t *nonce, const void *ad,
	      size_t ad_len, const void *in, size_t in_len, void *out)
{
	if (id == AEAD_AES256GCM)
		return aead_seal_impl(AEAD_IMPL_AUTO, key, nonce, ad, ad_len, in, in_len, out);
	if (id != AEAD_XCHACHA20)
		return -EINVAL;
	return crypto_aead_xchacha20poly1305_ietf_encrypt(out, NULL, in, in_len, ad, ad_len, NULL, nonce,
							  key) == 0
		       ? 0
		       : -EIO;
}

int aead_open(unsigned id, const uint8_t key[AEAD_KEY_BYTES], const uint8_t *nonce, const void *ad,
	      size_t ad_len, const void *in, size_t in_len, void *out)
{
	if (id == AEAD_AES256GCM)
		return aead_open_impl(AEAD_IMPL_AUTO, key, nonce, ad, ad_len, in, in_len, out);
	if (id != AEAD_XCHACHA20)
		return -EINVAL;
	if (in_len < AEAD_TAG_BYTES)
		return -EBADMSG;
	if (crypto_aead_xchacha20poly1305_ietf_decrypt(out, NULL, NULL, in, in_len, ad, ad_len, nonce, key) ==
	    0)
		return 0;
	if (in_len > AEAD_TAG_BYTES)
		memset(out, 0, in_len - AEAD_TAG_BYTES);
	return -EBADMSG;
}
