/* Strict parsers, bounded copies, suggestions, and escapes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "core/base/hex.h"
#include "core/base/str.h"

static void check_copy(void **state)
{
	char dst[5];

	(void)state;
	assert_int_equal(str_copy(dst, sizeof(dst), "abcd"), 0);
	assert_string_equal(dst, "abcd");
	assert_int_equal(str_copy(dst, sizeof(dst), "abcde"), -ENAMETOOLONG);
	assert_string_equal(dst, "abcd");
	assert_int_equal(str_copy(dst, sizeof(dst), ""), 0);
	assert_string_equal(dst, "");
	assert_int_equal(str_fmt(dst, sizeof(dst), "%d", 1234), 4);
	assert_int_equal(str_fmt(dst, sizeof(dst), "%d", 12345), -ENAMETOOLONG);
}

static void check_fields(void **state)
{
	char text[] = "a,,b", blanks[] = " \t x y\r\n", none[] = "  ";
	char *cursor = text;

	(void)state;
	assert_string_equal(str_next(&cursor, ','), "a");
	assert_string_equal(str_next(&cursor, ','), "");
	assert_string_equal(str_next(&cursor, ','), "b");
	assert_null(str_next(&cursor, ','));
	assert_string_equal(str_trim(blanks), "x y");
	assert_string_equal(str_trim(none), "");
	assert_true(str_starts("abc", "ab") && !str_starts("a", "ab"));
	assert_true(str_ends("abc", "bc") && !str_ends("c", "bc"));
	assert_true(str_eq(NULL, NULL) && !str_eq("", NULL) && str_eq_nocase("aB", "Ab"));
}

static void check_numbers(void **state)
{
	static const char *const bad[] = {"", " 1", "1 ", "+1", "-1", "0x1", "1e3", "99999999999999999999x"};
	uint64_t u = 7;
	int64_t i = 7;
	uint32_t u32;

	(void)state;
	assert_int_equal(str_parse_u64("18446744073709551615", &u), 0);
	assert_true(u == UINT64_MAX);
	assert_int_equal(str_parse_u64("18446744073709551616", &u), -ERANGE);
	assert_int_equal(str_parse_u64("00012", &u), 0);
	assert_int_equal(u, 12);
	for (size_t k = 0; k < sizeof(bad) / sizeof(bad[0]); k++)
		assert_int_equal(str_parse_u64(bad[k], &u), -EINVAL);
	assert_int_equal(u, 12);
	assert_int_equal(str_parse_i64("-9223372036854775808", &i), 0);
	assert_true(i == INT64_MIN);
	assert_int_equal(str_parse_i64("9223372036854775808", &i), -ERANGE);
	assert_int_equal(str_parse_i64("-9223372036854775809", &i), -ERANGE);
	assert_int_equal(str_parse_i64("--1", &i), -EINVAL);
	assert_int_equal(str_parse_i64("-", &i), -EINVAL);
	assert_int_equal(str_parse_i64("+5", &i), 0);
	assert_int_equal(i, 5);
	assert_int_equal(str_parse_u64_base("Ff", 16, &u), 0);
	assert_int_equal(u, 255);
	assert_int_equal(str_parse_u64_base("12", 2, &u), -EINVAL);
	assert_int_equal(str_parse_u32("4294967295", &u32), 0);
	assert_int_equal(str_parse_u32("4294967296", &u32), -ERANGE);
}

static void check_sizes(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {{"0", 0},
		    {"123", 123},
		    {"5b", 5},
		    {"64k", 65536},
		    {"64K", 65536},
		    {"64KB", 65536},
		    {"64KiB", 65536},
		    {"4M", 4194304},
		    {"2g", 2147483648u},
		    {"1T", 1099511627776u},
		    {"15e", 15ull << 60}};
	static const char *const bad[] = {"", "k", "64ib", "64 k", "64kx", "1.5G", "-1", "64kk"};
	uint64_t v;

	(void)state;
	for (size_t k = 0; k < sizeof(good) / sizeof(good[0]); k++) {
		assert_int_equal(str_parse_size(good[k].text, &v), 0);
		assert_true(v == good[k].bytes);
	}
	for (size_t k = 0; k < sizeof(bad) / sizeof(bad[0]); k++)
		assert_int_equal(str_parse_size(bad[k], &v), -EINVAL);
	assert_int_equal(str_parse_size("16E", &v), -ERANGE);
}

static void check_durations(void **state)
{
	static const struct {
		const char *text;
		uint64_t ms;
	} good[] = {{"0", 0},        {"5", 5000},      {"250ms", 250},    {"5s", 5000},
		    {"10m", 600000}, {"1h", 3600000},  {"2d", 172800000}, {"1h30m", 5400000},
		    {"1m5s", 65000}, {"1s500ms", 1500}};
	static const char *const bad[] = {"", "s", "5 s", "5x", "30m1h", "1m1m", "1h5", "-1s", "5sm"};
	uint64_t v;

	(void)state;
	for (size_t k = 0; k < sizeof(good) / sizeof(good[0]); k++) {
		assert_int_equal(str_parse_duration(good[k].text, &v), 0);
		assert_true(v == good[k].ms);
	}
	for (size_t k = 0; k < sizeof(bad) / sizeof(bad[0]); k++)
		assert_int_equal(str_parse_duration(bad[k], &v), -EINVAL);
	assert_int_equal(str_parse_duration("999999999999999999d", &v), -ERANGE);
}

static void check_bools(void **state)
{
	bool v = false;

	(void)state;
	assert_int_equal(str_parse_bool("Yes", &v), 0);
	assert_true(v);
	assert_int_equal(str_parse_bool("OFF", &v), 0);
	assert_false(v);
	assert_int_equal(str_parse_bool("maybe", &v), -EINVAL);
}

static void check_for_people(void **state)
{
	char text[STR_HUMAN_MAX];

	(void)state;
	assert_string_equal(str_size(text, sizeof(text), 812), "812 B");
	assert_string_equal(str_size(text, sizeof(text), 1024), "1.0 KiB");
	assert_string_equal(str_size(text, sizeof(text), 67108863), "63.9 MiB");
	assert_string_equal(str_size(text, sizeof(text), UINT64_MAX), "15.9 EiB");
	assert_string_equal(str_duration(text, sizeof(text), 250), "250ms");
	assert_string_equal(str_duration(text, sizeof(text), 12999), "12s");
	assert_string_equal(str_duration(text, sizeof(text), 200000), "3m20s");
	assert_string_equal(str_duration(text, sizeof(text), 7500000), "2h05m");
	assert_string_equal(str_duration(text, sizeof(text), 273600000), "3d4h");
}

static void check_nearest(void **state)
{
	static const char *const words[] = {"root", "socket", "zdbfs_mountpoint", "x"};

	(void)state;
	assert_int_equal(str_distance("kitten", "sitting"), 3);
	assert_int_equal(str_distance("", "abc"), 3);
	assert_int_equal(str_distance("ab", "ba"), 1);
	assert_int_equal(str_distance("same", "same"), 0);
	assert_string_equal(str_nearest("rooot", words, 4), "root");
	assert_string_equal(str_nearest("scoket", words, 4), "socket");
	assert_string_equal(str_nearest("zdbfs-mountpoint", words, 4), "zdbfs_mountpoint");
	assert_null(str_nearest("completely", words, 4));
	assert_null(str_nearest("y", words, 4));
}

static void check_utf8_and_escape(void **state)
{
	static const char *const bad[] = {"\x80",         "\xc0\x80",         "\xe0\x80\x80",
					  "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xc3"};
	char text[32];

	(void)state;
	assert_true(str_is_utf8("gr\xc3\xbc\xc3\x9f \xf0\x9f\x8c\x8d", 11));
	assert_false(str_is_utf8("a\0b", 3));
	for (size_t k = 0; k < sizeof(bad) / sizeof(bad[0]); k++)
		assert_false(str_is_utf8(bad[k], strlen(bad[k])));
	assert_string_equal(str_escape(text, sizeof(text), "a\n\"\x01\xff", 5), "a\\n\\\"\\x01\\xff");
	assert_string_equal(str_escape(text, sizeof(text), "\xc3\xbc", 2), "\xc3\xbc");
	assert_string_equal(str_escape(text, 8, "abcdefghij", 10), "abcd...");
	assert_string_equal(str_escape(text, 8, "abcdefg", 7), "abcdefg");
	assert_string_equal(str_escape(text, 1, "abc", 3), "");
}

static void check_hex(void **state)
{
	uint8_t data[256], back[256];
	char text[513];
	size_t len;

	(void)state;
	for (int i = 0; i < 256; i++)
		data[i] = (uint8_t)i;
	hex_encode(text, data, 256);
	assert_memory_equal(text, "000102", 6);
	assert_string_equal(text + 506, "fdfeff");
	assert_int_equal(hex_decode(back, 256, text), 0);
	assert_memory_equal(back, data, 256);
	assert_int_equal(hex_decode(back, 2, "AbCd"), 0);
	assert_memory_equal(back, "\xab\xcd", 2);
	/* Every character that is not a digit is refused, and nothing of the result is left. */
	for (int c = 1; c < 256; c++) {
		char two[3] = {'0', (char)c, '\0'};
		int is_digit = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');

		back[0] = 9;
		assert_int_equal(hex_decode(back, 1, two), is_digit ? 0 : -EINVAL);
		if (!is_digit)
			assert_int_equal(back[0], 0);
	}
	assert_int_equal(hex_decode(back, 2, "abc"), -EINVAL);
	assert_int_equal(hex_decode_n(back, 4, "abcdef", 6, &len), 0);
	assert_int_equal(len, 3);
	assert_int_equal(hex_decode_n(back, 2, "abcdef", 6, &len), -EINVAL);
	assert_int_equal(hex_decode_n(back, 4, "abc", 3, &len), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(check_copy),
		cmocka_unit_test(check_fields),
		cmocka_unit_test(check_numbers),
		cmocka_unit_test(check_sizes),
		cmocka_unit_test(check_durations),
		cmocka_unit_test(check_bools),
		cmocka_unit_test(check_for_people),
		cmocka_unit_test(check_nearest),
		cmocka_unit_test(check_utf8_and_escape),
		cmocka_unit_test(check_hex),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
