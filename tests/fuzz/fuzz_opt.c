/*
 * Arbitrary command lines and mount option lists against a table with every type of row. What must hold beyond the absence of
 * crashes: an accepted integer is in its range, positional arguments are a subset of what was given, lists are empty after a
 * refusal.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/opt.h"

#define ARGC_MAX 32

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct conf {
	const char *text;
	int64_t number;
	uint64_t bytes, ms;
	bool flag;
	int count, choice;
	struct opt_list list;
};

static const char *const words[] = {"user", "seq", "direct", NULL};

static int call_any(const struct opt *o, void *target, const char *value, const char **why)
{
	(void)o;
	(void)target;
	*why = "starts with x";
	return value && *value == 'x' ? -1 : 0;
}

static const struct opt table[] = {
	OPT_STR(struct conf, text, 'd', "data", "DIR", "x", "text"),
	OPT_INT(struct conf, number, 'n', "number", "N", "5", -7, 100000, "number"),
	OPT_SIZE(struct conf, bytes, 's', "size", "BYTES", "4k", 1, 1 << 30, "size"),
	OPT_MS(struct conf, ms, 'w', "wait", "TIME", NULL, 0, 0, "time"),
	OPT_FLAG(struct conf, flag, 'f', "flag", "flag", .flags = OPT_NEGATABLE),
	OPT_COUNT(struct conf, count, 'v', "verbose", "count"),
	OPT_CHOICE(struct conf, choice, 'm', "mode", "MODE", "seq", words, "choice"),
	OPT_LIST(struct conf, list, 'r', "row", "ROW", "list"),
	OPT_CALL('c', "call", "X", call_any, "call"),
	OPT_END,
};

static void check(bool go_on, struct conf *conf)
{
	if (!go_on && (conf->list.items || conf->list.count))
		abort();
	if (go_on && (conf->number < -7 || conf->number > 100000 || conf->bytes < 1 ||
		      conf->bytes > 1 << 30 || conf->choice < 0 || conf->choice > 2))
		abort();
	opt_list_release(&conf->list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const unsigned flags[] = {0, OPT_PREFIX, OPT_SINGLE_DASH, OPT_STOP_AT_FIRST, OPT_NO_HELP};
	struct opt_spec spec = {.who = "fuzz", .options = table, .args_max = -1};
	struct conf conf = {0};
	struct opt_list unknown = {0};
	struct opt_args args;
	char *argv[ARGC_MAX + 1], *text;
	int argc = 0, code;

	if (size < 1)
		return 0;
	spec.flags = flags[data[0] % 5];
	text = malloc(size);
	if (!text)
		return 0;
	memcpy(text, data + 1, size - 1);
	text[size - 1] = 0;
	if (data[0] & 0x80) {
		check(opt_parse_words(&spec, &conf, text, ',', data[0] & 0x40 ? &unknown : NULL, &code),
		      &conf);
		opt_list_release(&unknown);
		free(text);
		return 0;
	}
	for (char *word = text; word < text + size && argc < ARGC_MAX; word += strlen(word) + 1)
		argv[argc++] = word;
	argv[argc] = NULL;
	{
		bool go_on = opt_parse(&spec, &conf, argc, argv, &args, &code);

		if (go_on && (args.argc > argc || args.argv[args.argc]))
			abort();
		check(go_on, &conf);
	}
	free(text);
	return 0;
}
