/*
 * The original's frames: the worked examples of its format, round trips, and every truncation of every request.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "applets/zstor/wire.h"
#include "core/base/err.h"
#include "core/base/hex.h"

static size_t unhex(const char *text, uint8_t *out, size_t max)
{
	size_t len;

	assert_int_equal(hex_decode_n(out, max, text, strlen(text), &len), 0);
	return len;
}

static void test_known_requests(void **state)
{
	/* check of "/a"; blocking store of "/data/file.bin" */
	static const char check[] = "000e0300000002000000000000002f61";
	static const char store[] = "001e000000000e000000000000002f646174612f66696c652e62696e00000001";
	struct wire_request q = {.kind = WIRE_CHECK, .file = "/a"};
	struct buf out = BUF_INIT(4096);
	uint8_t want[128];
	size_t len = unhex(check, want, sizeof(want));

	(void)state;
	assert_int_equal(wire_encode(&q, &out), 0);
	assert_int_equal(out.len, len);
	assert_memory_equal(out.data, want, len);
	buf_clear(&out);
	memset(&q, 0, sizeof(q));
	q.kind = WIRE_STORE;
	q.blocking = true;
	strcpy(q.file, "/data/file.bin");
	len = unhex(store, want, sizeof(want));
	assert_int_equal(wire_encode(&q, &out), 0);
	assert_int_equal(out.len, len);
	assert_memory_equal(out.data, want, len);
	memset(&q, 0, sizeof(q));
	assert_int_equal(wire_decode(want + 2, len - 2, &q), 0);
	assert_int_equal(q.kind, WIRE_STORE);
	assert_string_equal(q.file, "/data/file.bin");
	assert_true(q.blocking && !q.has_key_path && !q.delete_after);
	buf_release(&out);
}

static void test_every_truncation(void **state)
{
	struct wire_request q = {.kind = WIRE_STORE,
				 .file = "/data/data/x/d1",
				 .key_path = "/keys",
				 .has_key_path = true,
				 .delete_after = true},
			    back;
	struct buf out = BUF_INIT(4096);

	(void)state;
	assert_int_equal(wire_encode(&q, &out), 0);
	for (size_t len = 0; len < out.len - 2; len++)
		assert_int_equal(wire_decode(out.data + 2, len, &back), -EPROTO);
	assert_int_equal(wire_decode(out.data + 2, out.len - 2, &back), 0);
	assert_string_equal(back.key_path, "/keys");
	assert_true(back.delete_after && !back.blocking);
	/* What follows a request is ignored, as the original does. */
	assert_int_equal(buf_append(&out, "tail", 4), 0);
	assert_int_equal(wire_decode(out.data + 2, out.len - 2, &back), 0);
	buf_release(&out);
}

static void test_refused(void **state)
{
	uint8_t data[64];
	struct wire_request q;
	size_t len;

	(void)state;
	len = unhex("0400000002000000000000002f61", data, sizeof(data)); /* unknown variant */
	assert_int_equal(wire_decode(data, len, &q), -EPROTO);
	len = unhex("01000000ffffffffffffffff2f61", data, sizeof(data)); /* length beyond everything */
	assert_int_equal(wire_decode(data, len, &q), -EPROTO);
	len = unhex("010000000200000000000000fffe", data, sizeof(data)); /* not UTF-8 */
	assert_int_equal(wire_decode(data, len, &q), -EPROTO);
	len = unhex("0000000002000000000000002f6100000002", data, sizeof(data)); /* a bool of 2 */
	assert_int_equal(wire_decode(data, len, &q), -EPROTO);
}

static void test_answers(void **state)
{
	uint8_t sum[16];
	struct wire_answer a;
	struct buf out = BUF_INIT(4096);

	(void)state;
	memset(sum, 0xc3, sizeof(sum));
	assert_int_equal(wire_success(&out), 0);
	assert_int_equal(wire_decode_answer(out.data + 2, out.len - 2, &a), 0);
	assert_int_equal(a.kind, WIRE_SUCCESS);
	buf_clear(&out);
	assert_int_equal(wire_checksum(&out, sum), 0);
	assert_int_equal(wire_decode_answer(out.data + 2, out.len - 2, &a), 0);
	assert_int_equal(a.kind, WIRE_CHECKSUM);
	assert_memory_equal(a.sum, sum, 16);
	assert_int_equal(wire_decode_answer(out.data + 2, out.len - 3, &a), -EPROTO);
	buf_clear(&out);
	assert_int_equal(wire_error(&out, "error during storage: no"), 0);
	assert_int_equal(wire_decode_answer(out.data + 2, out.len - 2, &a), 0);
	assert_int_equal(a.kind, WIRE_ERROR);
	assert_string_equal(a.text, "error during storage: no");
	buf_release(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known_requests),
		cmocka_unit_test(test_every_truncation),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_answers),
	};

	return cmocka_run_group_tests_name("zstor wire", tests, NULL, NULL);
}
