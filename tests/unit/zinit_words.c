/* Splitting command lines into words: cases, bounds, random input, and agreement with a shell. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "applets/zinit/words.h"

/* The words joined by '|', or "!" for an error. */
static const struct {
	const char *text, *words;
} cases[] = {
	{"", ""},
	{"   \t\n ", ""},
	{"a", "a"},
	{"a b", "a|b"},
	{"  a\tb\nc  ", "a|b|c"},
	{"'a b'", "a b"},
	{"\"a b\"", "a b"},
	{"'a'b\"c\"", "abc"},
	{"''", ""},
	{"a '' b", "a||b"},
	{"\"\" x", "|x"},
	{"a\\ b", "a b"},
	{"\\a", "a"},
	{"\\\\", "\\"},
	{"\\'", "'"},
	{"\\\"", "\""},
	{"'\\'", "\\"},
	{"'a\\n'", "a\\n"},
	{"\"a\\n\"", "a\\n"},
	{"\"a\\\"b\"", "a\"b"},
	{"\"a\\\\b\"", "a\\b"},
	{"\"a\\$b\"", "a$b"},
	{"\"a\\`b\"", "a`b"},
	{"\"a\\'b\"", "a\\'b"},
	{"\"a\\\nb\"", "ab"},
	{"a\\\nb", "ab"},
	{"a \\\n b", "a|b"},
	{"a \\\n  --x 1 \\\n  --y 2\n", "a|--x|1|--y|2"},
	{"\\\n", ""},
	{"# nothing", ""},
	{"a # b c", "a"},
	{"a #b\nc", "a|c"},
	{"a#b", "a#b"},
	{"a '#' b", "a|#|b"},
	{"a \\# b", "a|#|b"},
	{"a\n#x\n#y\nb", "a|b"},
	{"'", "!"},
	{"\"", "!"},
	{"a 'b", "!"},
	{"a \"b", "!"},
	{"a \"b\\\"", "!"},
	{"a\\", "!"},
	{"\"a\\", "!"},
	{"a; b && c | d > e", "a;|b|&&|c|||d|>|e"},
	{"$HOME ~ *.c `x` $(y)", "$HOME|~|*.c|`x`|$(y)"},
	{"sh -c 'echo \"x y\" | cat'", "sh|-c|echo \"x y\" | cat"},
	{"sh -c '[ \"$(nc -v -z -U /var/run/zstor.sock 2>&1)\" = \"\" ]'",
	 "sh|-c|[ \"$(nc -v -z -U /var/run/zstor.sock 2>&1)\" = \"\" ]"},
	{"redis-cli -p 9900 PING", "redis-cli|-p|9900|PING"},
	{"zdb --mode seq --data /data/data", "zdb|--mode|seq|--data|/data/data"},
	{"a=\"b c\" d", "a=b c|d"},
	{"x''y", "xy"},
	{"x\"\"y", "xy"},
	{"'a'\\''b'", "a'b"},
	{"\xc3\xa4 \xff", "\xc3\xa4|\xff"},
	{"a\rb", "a\rb"},
	{"\v", "\v"},
	{"--opt='v w' -- -x", "--opt=v w|--|-x"},
	{"\"\\x\"", "\\x"},
	{"a\\\n", "a"},
	{"'multi\nline' x", "multi\nline|x"},
	{"\t'a'\t", "a"},
};

static void join(const char *text, char *dst, size_t size)
{
	char *words = malloc(strlen(text) + 1), *at = words;
	size_t used, len = 0;
	int count = words_split(text, strlen(text), words, &used);

	assert_true(used <= strlen(text) + 1);
	dst[0] = '\0';
	if (count < 0)
		snprintf(dst, size, "!");
	for (int i = 0; i < count; i++, at += strlen(at) + 1)
		len += (size_t)snprintf(dst + len, size - len, "%s%s", i ? "|" : "", at);
	if (count >= 0)
		assert_int_equal(at - words, used);
	free(words);
}

static void table(void **state)
{
	char got[512];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		join(cases[i].text, got, sizeof(got));
		if (strcmp(got, cases[i].words) != 0)
			fail_msg("<%s> gave <%s>, expected <%s>", cases[i].text, got, cases[i].words);
	}
}

static void bounds(void **state)
{
	static char text[2 * WORDS_MAX + 8], out[sizeof(text) + 1];
	char *argv[4];

	(void)state;
	memset(text, ' ', sizeof(text));
	for (int i = 0; i < WORDS_MAX; i++)
		text[2 * i] = 'x';
	assert_int_equal(words_split(text, 2 * WORDS_MAX, out, NULL), WORDS_MAX);
	text[2 * WORDS_MAX] = 'y';
	assert_int_equal(words_split(text, 2 * WORDS_MAX + 1, out, NULL), -E2BIG);
	assert_int_equal(words_split("a\0b", 3, out, NULL), -EINVAL);
	assert_int_equal(words_split("one 'two three' 4", 17, out, NULL), 3);
	words_argv(out, 3, argv);
	assert_string_equal(argv[0], "one");
	assert_string_equal(argv[1], "two three");
	assert_string_equal(argv[2], "4");
	assert_null(argv[3]);
}

/* Random bytes out of those that mean something: never beyond the output's bound, and splitting what was quoted gives it back. */
static void random_input(void **state)
{
	static const char alphabet[] = "ab \t\n'\"\\#$";
	unsigned seed = (unsigned)time(NULL);
	char text[64], out[sizeof(text) + 2];

	(void)state;
	print_message("seed %u\n", seed);
	srand(seed);
	for (int round = 0; round < 200000; round++) {
		size_t len = (size_t)rand() % sizeof(text), used = 0;

		for (size_t i = 0; i < len; i++)
			text[i] = alphabet[(size_t)rand() % (sizeof(alphabet) - 1)];
		out[len + 1] = 'X';
		words_split(text, len, out, &used);
		assert_int_equal(out[len + 1], 'X');
		assert_true(used <= len + 1);
	}
}

/* sh -c 'printf "%s|" WORDS' must say the same for texts without expansions and operators. */
static void same_as_shell(void **state)
{
	static const char *const texts[] = {
		"a 'b c' d",   "a\\ b \"c d\" ''",     "x'y'z \"q\\\"r\" \\\\",
		"a \\\n b",    "'it'\\''s' # comment", "\"a\\\nb\" c",
		"a#b '#' \\#", "\"\\a\" '\\a'",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		char command[512], shell[512] = "", ours[512];
		FILE *pipe;
		size_t n;

		snprintf(command, sizeof(command), "printf '%%s|' %s", texts[i]);
		pipe = popen(command, "r");
		assert_non_null(pipe);
		n = fread(shell, 1, sizeof(shell) - 1, pipe);
		assert_int_equal(pclose(pipe), 0);
		assert_true(n > 0);
		shell[n - 1] = '\0';
		join(texts[i], ours, sizeof(ours));
		assert_string_equal(ours, shell);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(table),
		cmocka_unit_test(bounds),
		cmocka_unit_test(random_input),
		cmocka_unit_test(same_as_shell),
	};

	return cmocka_run_group_tests_name("zinit: words", tests, NULL, NULL);
}
