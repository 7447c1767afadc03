/* Option tables: every type of value, every way to write an option, every message. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/opt.h"

struct conf {
	const char *data;
	int64_t port;
	uint64_t size;
	uint64_t wait_ms;
	bool sync;
	bool force;
	int verbose;
	int mode;
	struct opt_list rows;
	int calls;
};

static const char *const modes[] = {"user", "seq", "direct", NULL};

static int call_even(const struct opt *o, void *target, const char *value, const char **why)
{
	struct conf *conf = target;

	(void)o;
	if (strlen(value) % 2) {
		*why = "odd length";
		return -1;
	}
	conf->calls++;
	return 0;
}

static const struct opt table[] = {
	OPT_STR(struct conf, data, 'd', "data", "DIR", "./data", "directory of the data files"),
	OPT_INT(struct conf, port, 'p', "port", "PORT", "9900", 1, 65535, "port to listen on"),
	OPT_SIZE(struct conf, size, 0, "size", "BYTES", "4M", 512, 1 << 30, "size of a segment"),
	OPT_MS(struct conf, wait_ms, 0, "wait", "TIME", NULL, 0, 0, "time to wait"),
	OPT_FLAG(struct conf, sync, 's', "sync", "sync every write", .flags = OPT_NEGATABLE),
	OPT_FLAG(struct conf, force, 'f', "force", "replace files"),
	OPT_COUNT(struct conf, verbose, 'v', "verbose", "say more"),
	OPT_CHOICE(struct conf, mode, 'm', "mode", "MODE", "user", modes, "kind of keys"),
	OPT_LIST(struct conf, rows, 'r', "row", "ROW", "a row"),
	OPT_CALL(0, "even", "TEXT", call_even, "text of even length"),
	OPT_FLAG(struct conf, force, 0, "secret-door", "hidden", .flags = OPT_HIDDEN),
	OPT_END,
};

static const struct opt_spec plain = {
	.who = "zdb", .summary = "a store", .usage = "[FILE...]", .options = table, .args_max = -1};

#define ARGC_MAX 16

/* Runs the parser on a list of words ended by NULL, with stderr and stdout caught in `said`. */
static struct conf conf;
static struct opt_args args;
static char *words[ARGC_MAX + 1];
static char said[8192];
static int code;

static bool parse_with(const struct opt_spec *spec, const char *const *list)
{
	FILE *catcher = tmpfile();
	int argc = 0, saved_err, saved_out;
	bool go_on;
	size_t length;

	assert_non_null(catcher);
	memset(&conf, 0, sizeof conf);
	code = -1;
	for (; list[argc]; argc++) {
		assert_true(argc < ARGC_MAX);
		words[argc] = (char *)(uintptr_t)list[argc];
	}
	words[argc] = NULL;
	fflush(stdout);
	saved_err = dup(STDERR_FILENO);
	saved_out = dup(STDOUT_FILENO);
	dup2(fileno(catcher), STDERR_FILENO);
	dup2(fileno(catcher), STDOUT_FILENO);
	go_on = opt_parse(spec, &conf, argc, words, &args, &code);
	fflush(stdout);
	dup2(saved_err, STDERR_FILENO);
	dup2(saved_out, STDOUT_FILENO);
	close(saved_err);
	close(saved_out);
	rewind(catcher);
	length = fread(said, 1, sizeof said - 1, catcher);
	said[length] = 0;
	fclose(catcher);
	return go_on;
}

#define PARSE(spec, ...) parse_with((spec), (const char *const[]){"zdb", ##__VA_ARGS__, NULL})

#define ASSERT_REFUSED(spec, line, ...)                                                                      \
	do {                                                                                                 \
		assert_false(PARSE(spec, __VA_ARGS__));                                                      \
		assert_string_equal(said, "zdb: " line ": see 'zdb --help'\n");                              \
		assert_int_equal(code, 2);                                                                   \
	} while (0)

static void defaults_are_stored(void **state)
{
	(void)state;
	assert_true(PARSE(&plain));
	assert_string_equal(conf.data, "./data");
	assert_int_equal(conf.port, 9900);
	assert_int_equal(conf.size, 4 << 20);
	assert_int_equal(conf.mode, 0);
	assert_int_equal(conf.wait_ms, 0);
	assert_false(conf.sync);
	assert_int_equal(args.argc, 0);
	assert_null(args.argv[0]);
	assert_string_equal(said, "");
}

static void every_way_to_write_an_option(void **state)
{
	(void)state;
	assert_true(PARSE(&plain, "--data", "/a", "-p12", "-vfv", "--size=64k", "--mode=seq"));
	assert_string_equal(conf.data, "/a");
	assert_int_equal(conf.port, 12);
	assert_int_equal(conf.verbose, 2);
	assert_true(conf.force);
	assert_int_equal(conf.size, 65536);
	assert_int_equal(conf.mode, 1);

	assert_true(PARSE(&plain, "-p", "0x10", "--data=", "-d/x", "--wait", "2m", "--sync", "--no-sync"));
	assert_int_equal(conf.port, 16);
	assert_string_equal(conf.data, "/x");
	assert_int_equal(conf.wait_ms, 120000);
	assert_false(conf.sync);
}

static void positional_arguments_in_any_order(void **state)
{
	static const struct opt_spec stop = {
		.who = "zdb", .options = table, .flags = OPT_STOP_AT_FIRST, .args_max = -1};

	(void)state;
	assert_true(PARSE(&plain, "one", "-p", "7", "two", "--", "--port", "-"));
	assert_int_equal(args.argc, 4);
	assert_string_equal(args.argv[0], "one");
	assert_string_equal(args.argv[1], "two");
	assert_string_equal(args.argv[2], "--port");
	assert_string_equal(args.argv[3], "-");
	assert_null(args.argv[4]);
	assert_int_equal(conf.port, 7);

	assert_true(PARSE(&stop, "-p", "7", "store", "--port", "8"));
	assert_int_equal(args.argc, 3);
	assert_string_equal(args.argv[1], "--port");
	assert_int_equal(conf.port, 7);
}

static void counts_of_positional_arguments(void **state)
{
	static const struct opt_spec one = {
		.who = "zdb", .usage = "FILE", .options = table, .args_min = 1, .args_max = 1};

	(void)state;
	assert_true(PARSE(&one, "f"));
	ASSERT_REFUSED(&one, "arguments are missing: FILE", "-v");
	ASSERT_REFUSED(&one, "unexpected argument 'g'", "f", "g");
}

static void lists_and_calls(void **state)
{
	(void)state;
	assert_true(PARSE(&plain, "-ra", "--row", "b", "--row=c", "--even", "xy"));
	assert_int_equal(conf.rows.count, 3);
	assert_string_equal(conf.rows.items[0], "a");
	assert_string_equal(conf.rows.items[2], "c");
	assert_int_equal(conf.calls, 1);
	opt_list_release(&conf.rows);
	assert_int_equal(conf.rows.count, 0);

	ASSERT_REFUSED(&plain, "value 'xyz' of option '--even': odd length", "-ra", "--even", "xyz");
	assert_null(conf.rows.items);
}

static void bad_values_are_named(void **state)
{
	(void)state;
	ASSERT_REFUSED(&plain, "value '99x' of option '--port' is not a number", "-p", "99x");
	ASSERT_REFUSED(&plain, "value '' of option '--port' is not a number", "--port=");
	ASSERT_REFUSED(&plain, "value '0' of option '--port' is not between 1 and 65535", "-p0");
	ASSERT_REFUSED(&plain, "value '99999999999999999999' of option '--port' is not between 1 and 65535",
		       "-p", "99999999999999999999");
	ASSERT_REFUSED(&plain, "value '4Q' of option '--size' is not a size (such as 4096, 64k, 4M, 2G)",
		       "--size", "4Q");
	ASSERT_REFUSED(&plain, "value '1' of option '--size' is not between 512 bytes and 1073741824 bytes",
		       "--size", "1");
	ASSERT_REFUSED(&plain, "value 'soon' of option '--wait' is not a time (such as 250ms, 5s, 10m, 1h)",
		       "--wait", "soon");
	ASSERT_REFUSED(&plain,
		       "value 'sek' of option '--mode' is not one of user, seq, direct (did you mean 'seq'?)",
		       "-msek");
	ASSERT_REFUSED(&plain, "value 'zzzzzz' of option '--mode' is not one of user, seq, direct", "-m",
		       "zzzzzz");
}

static void unknown_options_suggest_the_nearest(void **state)
{
	(void)state;
	ASSERT_REFUSED(&plain, "unknown option '--forse' (did you mean '--force'?)", "--forse");
	ASSERT_REFUSED(&plain, "unknown option '--forc=1' (did you mean '--force'?)", "--forc=1");
	ASSERT_REFUSED(&plain, "unknown option '--qqqqqqq'", "--qqqqqqq");
	ASSERT_REFUSED(&plain, "unknown option '--secret-dor'", "--secret-dor");
	ASSERT_REFUSED(&plain, "unknown option '-q'", "-vq");
	ASSERT_REFUSED(&plain, "option '--force' takes no value", "--force=yes");
	ASSERT_REFUSED(&plain, "option '--port' needs a value (PORT)", "--port");
	ASSERT_REFUSED(&plain, "option '-p' needs a value (PORT)", "-p");
	assert_true(PARSE(&plain, "--secret-door"));
}

static void single_dash_and_prefixes(void **state)
{
	static const struct opt_spec only = {
		.who = "zdb", .options = table, .flags = OPT_SINGLE_DASH, .exit_usage = 1, .args_max = -1};

	(void)state;
	assert_true(PARSE(&only, "-port", "11", "-data=/q", "-verb", "-v", "--fo", "-p", "12"));
	assert_int_equal(conf.port, 12);
	assert_string_equal(conf.data, "/q");
	assert_int_equal(conf.verbose, 2);
	assert_true(conf.force);

	assert_false(PARSE(&only, "--s"));
	assert_string_equal(said, "zdb: option '--s' is ambiguous: see 'zdb --help'\n");
	assert_int_equal(code, 1);
	assert_false(PARSE(&only, "-forze"));
	assert_string_equal(said,
			    "zdb: unknown option '-forze' (did you mean '--force'?): see 'zdb --help'\n");
	/* without the flag a prefix is unknown */
	assert_false(PARSE(&plain, "--forc"));
}

static void required_options(void **state)
{
	static const struct opt required[] = {
		OPT_STR(struct conf, data, 'c', "config", "FILE", NULL, "configuration",
			.flags = OPT_REQUIRED),
		OPT_END,
	};
	static const struct opt_spec spec = {.who = "zdb", .options = required};

	(void)state;
	ASSERT_REFUSED(&spec, "option '--config' is missing", "--", NULL);
	assert_true(PARSE(&spec, "-c", "f"));
	ASSERT_REFUSED(&spec, "unexpected argument 'x'", "-c", "f", "x");
}

static void help_shows_the_table(void **state)
{
	(void)state;
	assert_false(PARSE(&plain, "-v", "--help"));
	assert_int_equal(code, 0);
	assert_non_null(strstr(said, "usage: zdb [OPTIONS] [FILE...]\n"));
	assert_non_null(strstr(said, "  -p, --port PORT             port to listen on (default: 9900)\n"));
	assert_non_null(strstr(said, "kind of keys: user, seq, direct (default: user)"));
	assert_non_null(strstr(said, "--[no-]sync"));
	assert_non_null(strstr(said, "-h, --help"));
	assert_null(strstr(said, "secret-door"));
	assert_false(PARSE(&plain, "-vh"));
	assert_int_equal(code, 0);
}

static void words_like_mount_options(void **state)
{
	struct opt_list unknown = {0};
	char text[] = "port=17,,force,ro,fsname=x,no-sync", wrong[] = "port", value[] = "force=1",
	     bare[] = "prot=1";

	(void)state;
	memset(&conf, 0, sizeof conf);
	assert_true(opt_parse_words(&plain, &conf, text, ',', &unknown, &code));
	assert_int_equal(conf.port, 17);
	assert_true(conf.force);
	assert_int_equal(unknown.count, 2);
	assert_string_equal(unknown.items[0], "ro");
	assert_string_equal(unknown.items[1], "fsname=x");
	opt_list_release(&unknown);
	assert_false(opt_parse_words(&plain, &conf, wrong, ',', NULL, &code));
	assert_false(opt_parse_words(&plain, &conf, value, ',', NULL, &code));
	assert_false(opt_parse_words(&plain, &conf, bare, ',', NULL, &code));
	assert_int_equal(code, 2);
}

static void list_has_a_bound(void **state)
{
	struct opt_list list = {0};

	(void)state;
	for (int i = 0; i < OPT_LIST_MAX; i++)
		assert_int_equal(opt_list_add(&list, "x"), 0);
	assert_int_equal(opt_list_add(&list, "x"), -E2BIG);
	assert_int_equal(list.count, OPT_LIST_MAX);
	opt_list_release(&list);
}

static void values_of_all_kinds(void **state)
{
	int64_t i;
	uint64_t u;

	(void)state;
	assert_int_equal(opt_value_int("-9223372036854775808", &i), 0);
	assert_true(i == INT64_MIN);
	assert_int_equal(opt_value_int("9223372036854775807", &i), 0);
	assert_int_equal(opt_value_int("9223372036854775808", &i), -ERANGE);
	assert_int_equal(opt_value_int("-", &i), -EINVAL);
	assert_int_equal(opt_value_int(" 1", &i), -EINVAL);
	assert_int_equal(opt_value_int("+1", &i), -EINVAL);
	assert_int_equal(opt_value_int("0x", &i), -EINVAL);
	assert_int_equal(opt_value_int("010", &i), 0);
	assert_int_equal(i, 10);
	assert_int_equal(opt_value_size("1T", &u), 0);
	assert_true(u == (uint64_t)1 << 40);
	assert_int_equal(opt_value_size("2KiB", &u), 0);
	assert_int_equal(u, 2048);
	assert_int_equal(opt_value_size("5B", &u), 0);
	assert_int_equal(u, 5);
	assert_int_equal(opt_value_size("16384P", &u), -ERANGE);
	assert_int_equal(opt_value_size("1kk", &u), -EINVAL);
	assert_int_equal(opt_value_size("k", &u), -EINVAL);
	assert_int_equal(opt_value_size("-1", &u), -EINVAL);
	assert_int_equal(opt_value_ms("0", &u), 0);
	assert_int_equal(opt_value_ms("250ms", &u), 0);
	assert_int_equal(u, 250);
	assert_int_equal(opt_value_ms("1d", &u), 0);
	assert_int_equal(u, 86400000);
	assert_int_equal(opt_value_ms("1w", &u), -EINVAL);
	assert_int_equal(opt_value_ms("213503982335d", &u), -ERANGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_are_stored),
		cmocka_unit_test(every_way_to_write_an_option),
		cmocka_unit_test(positional_arguments_in_any_order),
		cmocka_unit_test(counts_of_positional_arguments),
		cmocka_unit_test(lists_and_calls),
		cmocka_unit_test(bad_values_are_named),
		cmocka_unit_test(unknown_options_suggest_the_nearest),
		cmocka_unit_test(single_dash_and_prefixes),
		cmocka_unit_test(required_options),
		cmocka_unit_test(help_shows_the_table),
		cmocka_unit_test(words_like_mount_options),
		cmocka_unit_test(list_has_a_bound),
		cmocka_unit_test(values_of_all_kinds),
	};

	return cmocka_run_group_tests_name("base_opt", tests, NULL, NULL);
}
