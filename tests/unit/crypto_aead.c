/* Ciphers of the native format: known answers, agreement of the implementations, every flipped bit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "core/base/endian.h"
#include "core/base/hex.h"
#include "core/crypto/aead.h"
#include "core/crypto/crypto.h"

static void fill(void *out, uint8_t from, size_t len)
{
	for (size_t i = 0; i < len; i++)
		((uint8_t *)out)[i] = (uint8_t)(from + i);
}

/* Format, section 9: stripe 0 = "hello", last, raw, under object key 60...7f. */
static void known_answers_of_the_format(void **state)
{
	static const char *const want[] = {NULL, "eecd2d48c851bd39fc01610b93e806d4aa0ad94dd7",
					   "fdee0e89fb4ad423cd39b87a50f553072237ce1a49"};
	uint8_t key[32], ad[48] = {0}, nonce[24] = {0}, out[5 + 16], back[5];
	char text[2 * sizeof(out) + 1];

	(void)state;
	fill(key, 0x60, 32);
	fill(ad, 0x10, 16);
	fill(ad + 16, 0x40, 16);
	put_u32le(ad + 40, 5);
	put_u32le(ad + 44, 2);
	for (unsigned id = 1; id <= 2; id++) {
		assert_int_equal(aead_seal(id, key, nonce, ad, sizeof(ad), "hello", 5, out), 0);
		assert_string_equal(hex_encode(text, out, sizeof(out)), want[id]);
		assert_int_equal(aead_open(id, key, nonce, ad, sizeof(ad), out, sizeof(out), back), 0);
		assert_memory_equal(back, "hello", 5);
	}
	assert_int_equal(aead_seal_impl(AEAD_IMPL_MBEDTLS, key, nonce, ad, sizeof(ad), "hello", 5, out), 0);
	assert_string_equal(hex_encode(text, out, sizeof(out)), want[1]);
}

/* Test case 16 of the GCM specification (AES-256, 60 bytes, 20 bytes of associated data). */
static void gcm_specification_case_16(void **state)
{
	static const char key_hex[] = "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308";
	static const char in_hex[] = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
				     "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39";
	static const char ad_hex[] = "feedfacedeadbeeffeedfacedeadbeefabaddad2";
	static const char out_hex[] = "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
				      "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
				      "76fc6ece0f4e1768cddf8853bb2d551b";
	uint8_t key[32], nonce[12], in[60], ad[20], want[76], out[76];

	(void)state;
	assert_int_equal(hex_decode(key, 32, key_hex), 0);
	assert_int_equal(hex_decode(nonce, 12, "cafebabefacedbaddecaf888"), 0);
	assert_int_equal(hex_decode(in, 60, in_hex), 0);
	assert_int_equal(hex_decode(ad, 20, ad_hex), 0);
	assert_int_equal(hex_decode(want, 76, out_hex), 0);
	for (enum aead_impl impl = AEAD_IMPL_AUTO; impl <= AEAD_IMPL_MBEDTLS; impl++) {
		if (impl == AEAD_IMPL_SODIUM && !aead_has_fast_aes())
			continue;
		assert_int_equal(aead_seal_impl(impl, key, nonce, ad, 20, in, 60, out), 0);
		assert_memory_equal(out, want, 76);
	}
}

static void implementations_agree_at_all_small_sizes(void **state)
{
	uint8_t key[32], nonce[12], in[300], a[316], b[316], back[316];

	(void)state;
	if (!aead_has_fast_aes())
		skip();
	assert_int_equal(crypto_random(key, sizeof(key)), 0);
	assert_int_equal(crypto_random(nonce, sizeof(nonce)), 0);
	assert_int_equal(crypto_random(in, sizeof(in)), 0);
	for (size_t len = 0; len <= sizeof(in); len++) {
		size_t ad_len = len % 50;

		assert_int_equal(aead_seal_impl(AEAD_IMPL_SODIUM, key, nonce, in, ad_len, in, len, a), 0);
		assert_int_equal(aead_seal_impl(AEAD_IMPL_MBEDTLS, key, nonce, in, ad_len, in, len, b), 0);
		assert_memory_equal(a, b, len + 16);
		assert_int_equal(aead_open_impl(AEAD_IMPL_MBEDTLS, key, nonce, in, ad_len, a, len + 16, back),
				 0);
		assert_memory_equal(back, in, len);
		assert_int_equal(aead_open_impl(AEAD_IMPL_SODIUM, key, nonce, in, ad_len, b, len + 16, b), 0);
		assert_memory_equal(b, in, len);
	}
}

static void flipped_bits_do_not_open(void **state)
{
	uint8_t key[32], nonce[24], in[40], ad[9], sealed[56], back[40], zero[40] = {0};

	(void)state;
	fill(key, 1, sizeof(key));
	fill(nonce, 2, sizeof(nonce));
	fill(in, 3, sizeof(in));
	fill(ad, 4, sizeof(ad));
	for (unsigned id = 1; id <= 2; id++) {
		assert_int_equal(aead_seal(id, key, nonce, ad, sizeof(ad), in, sizeof(in), sealed), 0);
		for (unsigned bit = 0; bit < 8 * sizeof(sealed); bit++) {
			sealed[bit / 8] ^= (uint8_t)(1u << bit % 8);
			memset(back, 0xaa, sizeof(back));
			assert_int_equal(
				aead_open(id, key, nonce, ad, sizeof(ad), sealed, sizeof(sealed), back),
				-EBADMSG);
			assert_memory_equal(back, zero, sizeof(back));
			sealed[bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
		for (unsigned bit = 0; bit < 8 * sizeof(ad); bit++) {
			ad[bit / 8] ^= (uint8_t)(1u << bit % 8);
			assert_int_equal(
				aead_open(id, key, nonce, ad, sizeof(ad), sealed, sizeof(sealed), back),
				-EBADMSG);
			ad[bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
		for (size_t len = 0; len < 16; len++)
			assert_int_equal(aead_open(id, key, nonce, ad, sizeof(ad), sealed, len, back),
					 -EBADMSG);
		assert_int_equal(aead_open(id, key, nonce, ad, sizeof(ad), sealed, sizeof(sealed), sealed),
				 0);
		assert_memory_equal(sealed, in, sizeof(in));
	}
}

static void unknown_ids_are_refused(void **state)
{
	uint8_t key[32] = {0}, nonce[24] = {0}, out[32];

	(void)state;
	for (unsigned id = 0; id < 300; id += id == 0 ? 3 : 1) {
		assert_int_equal(aead_nonce_bytes(id), 0);
		assert_int_equal(aead_seal(id, key, nonce, NULL, 0, out, 1, out), -EINVAL);
		assert_int_equal(aead_open(id, key, nonce, NULL, 0, out, 17, out), -EINVAL);
	}
	assert_int_equal(aead_nonce_bytes(AEAD_AES256GCM), 12);
	assert_int_equal(aead_nonce_bytes(AEAD_XCHACHA20), 24);
}

static int init(void **state)
{
	(void)state;
	return crypto_init();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_answers_of_the_format),
		cmocka_unit_test(gcm_specification_case_16),
		cmocka_unit_test(implementations_agree_at_all_small_sizes),
		cmocka_unit_test(flipped_bits_do_not_open),
		cmocka_unit_test(unknown_ids_are_refused),
	};

	return cmocka_run_group_tests_name("crypto_aead", tests, init, NULL);
}
