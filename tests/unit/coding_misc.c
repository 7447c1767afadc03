/* Checksums, content ids and the compression of stripes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "core/base/hex.h"
#include "core/coding/content_id.h"
#include "core/coding/crc.h"
#include "core/coding/stripe_zstd.h"

static void check_values(void **state)
{
	uint8_t zeros[32] = {0};

	(void)state;
	assert_int_equal(crc_ieee(0, "123456789", 9), 0xcbf43926);
	assert_int_equal(crc_castagnoli(0, "123456789", 9), 0xe3069283);
	assert_int_equal(crc_castagnoli(0, zeros, 32), 0x8a9136aa); /* RFC 3720, B.4 */
	assert_int_equal(crc_ieee(0, NULL, 0), 0);
	assert_int_equal(crc_castagnoli(0, NULL, 0), 0);
	assert_int_equal(crc_castagnoli_raw(0xffffffff, "123456789", 9), ~0xe3069283u);
	for (size_t cut = 0; cut <= 9; cut++) {
		assert_int_equal(crc_ieee(crc_ieee(0, "123456789", cut), "123456789" + cut, 9 - cut),
				 0xcbf43926);
		assert_int_equal(
			crc_castagnoli(crc_castagnoli(0, "123456789", cut), "123456789" + cut, 9 - cut),
			0xe3069283);
	}
}

/* Bit by bit, from the definition. */
static uint32_t slow_crc(uint32_t polynomial, const uint8_t *data, size_t len)
{
	uint32_t crc = 0xffffffff;

	for (size_t i = 0; i < len; i++) {
		crc ^= data[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc & 1 ? crc >> 1 ^ polynomial : crc >> 1;
	}
	return ~crc;
}

static void checksums_equal_their_definition(void **state)
{
	uint8_t data[1100];

	(void)state;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 + i / 251);
	for (size_t len = 0; len <= 1000; len += len < 200 ? 1 : 37) {
		for (size_t at = 0; at < 9; at++) {
			assert_int_equal(crc_ieee(0, data + at, len), slow_crc(0xedb88320, data + at, len));
			assert_int_equal(crc_castagnoli(0, data + at, len),
					 slow_crc(0x82f63b78, data + at, len));
		}
	}
}

static void content_ids_stream(void **state)
{
	struct content_id *c = content_id_new();
	uint8_t data[5000], whole[16], parts[16];
	char text[33];

	(void)state;
	assert_non_null(c);
	content_id_of(NULL, 0, whole);
	/* XXH3_128bits of nothing, seed 0 */
	assert_string_equal(hex_encode(text, whole, 16), "99aa06d3014798d86001c324468d497f");
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i ^ i >> 8);
	for (size_t step = 1; step < sizeof(data); step = step * 3 + 1) {
		content_id_reset(c);
		for (size_t at = 0; at < sizeof(data); at += step)
			content_id_add(c, data + at, sizeof(data) - at < step ? sizeof(data) - at : step);
		content_id_get(c, parts);
		content_id_of(data, sizeof(data), whole);
		assert_memory_equal(whole, parts, 16);
	}
	content_id_reset(c);
	content_id_get(c, parts);
	content_id_of(data, 0, whole);
	assert_memory_equal(whole, parts, 16);
	content_id_free(c);
}

static void stripes_are_packed_only_where_it_pays(void **state)
{
	struct stripe_zstd *z = stripe_zstd_new(1);
	static uint8_t in[65536], out[65536], back[65536];
	uint32_t random = 12345;
	size_t got;

	(void)state;
	assert_non_null(z);
	for (size_t i = 0; i < sizeof(in); i++) {
		random = random * 1664525u + 1013904223u;
		in[i] = (uint8_t)(random >> 24);
	}
	assert_int_equal(stripe_zstd_pack(z, in, sizeof(in), out), 0);
	for (size_t len = 0; len < 20; len++)
		assert_int_equal(stripe_zstd_pack(z, in, len, out), 0);
	memset(in, 'x', sizeof(in) / 2);
	for (size_t len = 1000; len <= sizeof(in); len = len * 2 + 1) {
		got = stripe_zstd_pack(z, in, len, out);
		assert_true(got > 0 && got <= len - (len + 15) / 16);
		assert_int_equal(stripe_zstd_unpack(z, out, got, back, len), 0);
		assert_memory_equal(back, in, len);
		assert_int_equal(stripe_zstd_unpack(z, out, got, back, len - 1), -EBADMSG);
		assert_int_equal(stripe_zstd_unpack(z, out, got, back, len + 1), -EBADMSG);
		assert_int_equal(stripe_zstd_unpack(z, out, got - 1, back, len), -EBADMSG);
		out[got] = 0;
		assert_int_equal(stripe_zstd_unpack(z, out, got + 1, back, len), -EBADMSG);
	}
	assert_int_equal(stripe_zstd_unpack(z, out, 0, back, 0), -EBADMSG);
	stripe_zstd_free(z);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(check_values),
		cmocka_unit_test(checksums_equal_their_definition),
		cmocka_unit_test(content_ids_stream),
		cmocka_unit_test(stripes_are_packed_only_where_it_pays),
	};

	return cmocka_run_group_tests_name("coding_misc", tests, NULL, NULL);
}
