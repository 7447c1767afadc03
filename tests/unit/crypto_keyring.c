/* Key file and derived keys: known answers, every refusal, secrecy of messages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/err.h"
#include "core/base/hex.h"
#include "core/crypto/crypto.h"
#include "core/crypto/keyring.h"

#define VOLUME "101112131415161718191a1b1c1d1e1f"
#define KEY1   "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define KEY2   "a00102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff"

static char dir[] = "/tmp/crypto_keyring.XXXXXX";

static struct keyring *parse(const char *text)
{
	struct keyring *k = NULL;
	char why[KEYRING_ERROR_BYTES] = "";

	if (keyring_parse("keys", text, strlen(text), &k, why) != 0)
		fail_msg("%s", why);
	return k;
}

static void assert_hex(const uint8_t *key, const char *want)
{
	char text[65];

	assert_non_null(key);
	assert_string_equal(hex_encode(text, key, 32), want);
}

static void known_answers_of_the_format(void **state)
{
	struct keyring *k = parse("volume = " VOLUME "\nepoch.1 = " KEY1 "\n");

	(void)state;
	assert_hex(keyring_names(k), "f26e6f6c054ef9fc852843e8d4af5846112fb365d148cbeafbd318cfcc6ac59d");
	assert_hex(keyring_wrap(k, 1), "88bbf42e34f22cc8956427e00d68fde9febc3a4824417f191ad8766cf6712b55");
	assert_hex(keyring_record(k, 1), "34503d33f266ee3c083d6c2c40cadb54443c82c26dc8a7f5a9a42e1fbd3fa67a");
	assert_hex(keyring_identity(k, 1),
		   "11227a59a3e24b48fe80fa85148b484d532442aa3e3130a059623d894cddb809");
	assert_int_equal(keyring_epoch(k), 1);
	assert_null(keyring_wrap(k, 2));
	assert_true(keyring_has_volume(k));
	keyring_free(k);
}

static void names_never_rotate(void **state)
{
	struct keyring *one = parse("volume=" VOLUME "\nepoch.1=" KEY1 "\n"), *two, *only_two, *back;
	char path[64], why[KEYRING_ERROR_BYTES];
	uint8_t names[32];

	(void)state;
	memcpy(names, keyring_names(one), 32);
	assert_int_equal(keyring_rotate(one, &two), 0);
	assert_int_equal(keyring_epoch(two), 2);
	assert_memory_equal(keyring_names(two), names, 32);
	assert_int_equal(keyring_drop(two, 2, &only_two), -EINVAL);
	assert_int_equal(keyring_drop(two, 7, &only_two), -ENOENT);
	assert_int_equal(keyring_drop(two, 1, &only_two), 0);
	assert_null(keyring_wrap(only_two, 1));
	assert_memory_equal(keyring_names(only_two), names, 32);
	snprintf(path, sizeof(path), "%s/rotated", dir);
	assert_int_equal(keyring_save(only_two, path, true), 0);
	assert_int_equal(keyring_save(only_two, path, true), -EEXIST);
	assert_int_equal(keyring_load(path, &back, why), 0);
	assert_memory_equal(keyring_names(back), names, 32);
	assert_memory_equal(keyring_wrap(back, 2), keyring_wrap(two, 2), 32);
	keyring_free(one);
	keyring_free(two);
	keyring_free(only_two);
	keyring_free(back);
}

static void wrong_files_are_named_without_their_keys(void **state)
{
	static const struct {
		const char *text, *why;
	} cases[] = {
		{"", "keys: volume is missing"},
		{"volume = " VOLUME "\n", "keys: epoch.1 is missing"},
		{"volume = " VOLUME "\nepoch.2 = " KEY1 "\n",
		 "keys: names is needed because epoch.1 is not there"},
		{"# c\n; d\n\nepoch.1 = " KEY1 "0\n", "keys:4: an epoch needs 64 hexadecimal digits"},
		{"epoch.1 = " KEY1 "\nepoch.1 = " KEY2 "\n", "keys:2: this epoch is given twice"},
		{"epoch.0 = " KEY1 "\n", "keys:1: the epoch must be a number from 1 to 65535"},
		{"epoch.65536 = " KEY1 "\n", "keys:1: the epoch must be a number from 1 to 65535"},
		{"epoch. = " KEY1 "\n", "keys:1: unknown key; known are volume, epoch.N, names"},
		{"epoch.1x = " KEY1 "\n", "keys:1: the epoch must be a number from 1 to 65535"},
		{"volume = 10\n", "keys:1: volume needs 32 hexadecimal digits"},
		{"volume = " VOLUME "\nvolume = " VOLUME "\n", "keys:2: volume is given twice"},
		{"names = " KEY1 "\nnames = " KEY1 "\n", "keys:2: names is given twice"},
		{KEY1 "\n", "keys:1: expected name = value"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct keyring *k = NULL;
		char why[KEYRING_ERROR_BYTES] = "";

		assert_int_equal(keyring_parse("keys", cases[i].text, strlen(cases[i].text), &k, why),
				 -E_CORRUPT);
		assert_string_equal(why, cases[i].why);
		assert_null(strstr(why, "0405"));
		assert_null(k);
	}
}

static void odd_but_right_spelling(void **state)
{
	struct keyring *k = parse("\r\n  volume=" VOLUME "\r\n\tepoch.2 =" KEY2 " \r\nepoch.1= " KEY1);

	(void)state;
	assert_int_equal(keyring_epoch(k), 2);
	assert_hex(keyring_wrap(k, 1), "88bbf42e34f22cc8956427e00d68fde9febc3a4824417f191ad8766cf6712b55");
	keyring_free(k);
}

static void files_others_can_read_are_refused(void **state)
{
	struct keyring *k, *back;
	char path[64], why[KEYRING_ERROR_BYTES] = "";
	struct stat st;

	(void)state;
	assert_int_equal(keyring_generate(&k), 0);
	snprintf(path, sizeof(path), "%s/open", dir);
	assert_int_equal(keyring_save(k, path, true), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	for (unsigned bit = 0; bit < 6; bit++) {
		assert_int_equal(chmod(path, 0600 | 1u << bit), 0);
		assert_int_equal(keyring_load(path, &back, why), -EPERM);
		assert_non_null(strstr(why, "chmod 600"));
	}
	assert_int_equal(chmod(path, 0600), 0);
	assert_int_equal(keyring_load(path, &back, why), 0);
	assert_memory_equal(keyring_volume(back), keyring_volume(k), 16);
	assert_memory_equal(keyring_identity(back, 1), keyring_identity(k, 1), 32);
	keyring_free(back);
	keyring_free(k);
	assert_int_equal(keyring_load(dir, &back, why), -EISDIR);
	snprintf(path, sizeof(path), "%s/absent", dir);
	assert_int_equal(keyring_load(path, &back, why), -ENOENT);
}

static void the_sheet_is_a_key_file(void **state)
{
	struct keyring *k, *back;
	char sheet[2048], why[KEYRING_ERROR_BYTES] = "", *lines;
	int len;

	(void)state;
	assert_int_equal(keyring_generate(&k), 0);
	len = keyring_sheet(k, sheet, sizeof(sheet));
	assert_true(len > 0);
	assert_int_equal(len, strlen(sheet));
	lines = strstr(sheet, "volume =");
	assert_non_null(lines);
	assert_int_equal(keyring_parse("sheet", lines, strlen(lines), &back, why), 0);
	assert_memory_equal(keyring_names(back), keyring_names(k), 32);
	for (int max = 0; max <= len; max++)
		assert_int_equal(keyring_sheet(k, sheet, (size_t)max), -ENOSPC);
	keyring_free(k);
	keyring_free(back);
}

static void a_bare_key_learns_its_volume(void **state)
{
	uint8_t key[32], volume[16], other[16] = {1};
	struct keyring *k;

	(void)state;
	assert_int_equal(hex_decode(key, 32, KEY1), 0);
	assert_int_equal(hex_decode(volume, 16, VOLUME), 0);
	assert_int_equal(keyring_from_key(key, NULL, &k), 0);
	assert_false(keyring_has_volume(k));
	assert_int_equal(keyring_save(k, "/nonexistent/x", true), -EINVAL);
	assert_int_equal(keyring_set_volume(k, volume), 0);
	assert_int_equal(keyring_set_volume(k, volume), 0);
	assert_int_equal(keyring_set_volume(k, other), -EEXIST);
	assert_hex(keyring_names(k), "f26e6f6c054ef9fc852843e8d4af5846112fb365d148cbeafbd318cfcc6ac59d");
	keyring_free(k);
}

static void the_ring_is_bounded(void **state)
{
	struct keyring *k, *next;

	(void)state;
	assert_int_equal(keyring_generate(&k), 0);
	for (unsigned e = 1; e < KEYRING_EPOCHS_MAX; e++) {
		assert_int_equal(keyring_rotate(k, &next), 0);
		keyring_free(k);
		k = next;
	}
	assert_int_equal(keyring_epoch(k), KEYRING_EPOCHS_MAX);
	assert_int_equal(keyring_rotate(k, &next), -E_LIMIT);
	keyring_free(k);
}

static int begin(void **state)
{
	(void)state;
	return crypto_init() == 0 && mkdtemp(dir) ? 0 : -1;
}

static int end(void **state)
{
	char path[64];

	(void)state;
	snprintf(path, sizeof(path), "%s/open", dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/rotated", dir);
	unlink(path);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_answers_of_the_format),
		cmocka_unit_test(names_never_rotate),
		cmocka_unit_test(wrong_files_are_named_without_their_keys),
		cmocka_unit_test(odd_but_right_spelling),
		cmocka_unit_test(files_others_can_read_are_refused),
		cmocka_unit_test(the_sheet_is_a_key_file),
		cmocka_unit_test(a_bare_key_learns_its_volume),
		cmocka_unit_test(the_ring_is_bounded),
	};

	return cmocka_run_group_tests_name("crypto_keyring", tests, begin, end);
}
