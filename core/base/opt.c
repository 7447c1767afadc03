/*
 * opt: the parser of option tables. The contract is in opt.h; texts made from the tables are in opt_text.c, numbers in
 * opt_value.c.
 *
 * Every message is one line "who: ...: see 'who --help'". Values are checked when they are seen, so that the message names the
 * option the person typed.
 */
#include "core/base/opt.h"
#include "core/base/applet.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

struct parser {
	const struct opt_spec *spec;
	void *target;
	struct opt_args *args;
};

static const struct opt no_options[] = {OPT_END};

static const struct opt *table_of(const struct opt_spec *spec)
{
	return spec->options ? spec->options : no_options;
}

static size_t table_count(const struct opt *table)
{
	size_t count = 0;

	while (table[count].type != OPT_T_END)
		count++;
	return count;
}

static int exit_usage_of(const struct opt_spec *spec)
{
	return spec->exit_usage ? spec->exit_usage : OPT_EXIT_USAGE;
}

int opt_usage_error(const struct opt_spec *spec, const char *format, ...)
{
	va_list ap;

	fprintf(stderr, "%s: ", spec->who);
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	if (spec->flags & OPT_NO_HELP)
		fputc('\n', stderr);
	else
		fprintf(stderr, ": see '%s --help'\n", spec->who);
	return exit_usage_of(spec);
}

int opt_list_add(struct opt_list *list, const char *item)
{
	/* capacity is the next power of two: no field for it is needed */
	if (list->count >= OPT_LIST_MAX)
		return -E2BIG;
	if ((list->count & (list->count - 1)) == 0) {
		size_t room = list->count ? list->count * 2 : 1;
		const char **items = realloc(list->items, room * sizeof *items);

		if (!items)
			return -ENOMEM;
		list->items = items;
	}
	list->items[list->count++] = item;
	return 0;
}

void opt_list_release(struct opt_list *list)
{
	free(list->items);
	list->items = NULL;
	list->count = 0;
}

static void *place_of(const struct parser *p, const struct opt *o)
{
	return o->ptr ? o->ptr : (char *)p->target + o->offset;
}

static bool takes_value(const struct opt *o)
{
	switch (o->type) {
	case OPT_T_END:
	case OPT_T_FLAG:
	case OPT_T_COUNT:
		return false;
	case OPT_T_CALL:
		return o->metavar != NULL;
	default:
		return true;
	}
}

/* What the person typed, for messages: "--port" or "-p". */
static const char *display_name(const struct opt *o, char buf[80])
{
	if (o->name)
		snprintf(buf, 80, "--%s", o->name);
	else
		snprintf(buf, 80, "-%c", o->letter);
	return buf;
}

static bool say_range(const struct parser *p, const struct opt *o, const char *value, const char *unit)
{
	char name[80];

	display_name(o, name);
	if (o->type == OPT_T_INT || o->max)
		opt_usage_error(p->spec,
				"value '%s' of option '%s' is not between %" PRId64 "%s and %" PRId64 "%s",
				value, name, o->min, unit, o->max, unit);
	else
		opt_usage_error(p->spec, "value '%s' of option '%s' is less than %" PRId64 "%s or too large",
				value, name, o->min, unit);
	return false;
}

static bool say_not_a(const struct parser *p, const struct opt *o, const char *value, const char *what)
{
	char name[80];

	opt_usage_error(p->spec, "value '%s' of option '%s' is not %s", value, display_name(o, name), what);
	return false;
}

static bool in_range(const struct opt *o, uint64_t value)
{
	return value >= (uint64_t)o->min && (o->max == 0 || value <= (uint64_t)o->max);
}

static bool store_choice(const struct parser *p, const struct opt *o, const char *value)
{
	char name[80], words[512] = "";
	const char *nearest;
	size_t count = 0;

	for (; o->choices[count]; count++) {
		size_t used = strlen(words);

		if (!strcmp(o->choices[count], value)) {
			int index = (int)count;

			memcpy(place_of(p, o), &index, sizeof index);
			return true;
		}
		snprintf(words + used, sizeof words - used, "%s%s", count ? ", " : "", o->choices[count]);
	}
	display_name(o, name);
	nearest = opt_nearest(value, o->choices, count);
	if (nearest)
		opt_usage_error(p->spec, "value '%s' of option '%s' is not one of %s (did you mean '%s'?)",
				value, name, words, nearest);
	else
		opt_usage_error(p->spec, "value '%s' of option '%s' is not one of %s", value, name, words);
	return false;
}

static bool store_call(const struct parser *p, const struct opt *o, const char *value)
{
	const char *why = "not valid";
	char name[80];

	if (o->call(o, p->target, value, &why) == 0)
		return true;
	display_name(o, name);
	if (value)
		opt_usage_error(p->spec, "value '%s' of option '%s': %s", value, name, why);
	else
		opt_usage_error(p->spec, "option '%s': %s", name, why);
	return false;
}

/* Checks and stores one value (NULL for options without one). Says what is wrong. */
static bool store(const struct parser *p, const struct opt *o, const char *value)
{
	void *place = place_of(p, o);
	uint64_t number;
	int64_t integer;
	int rc;

	switch (o->type) {
	case OPT_T_FLAG:
		*(bool *)place = true;
		return true;
	case OPT_T_COUNT:
		*(int *)place += 1;
		return true;
	case OPT_T_STR:
		*(const char **)place = value;
		return true;
	case OPT_T_INT:
		rc = opt_value_int(value, &integer);
		if (rc == -EINVAL)
			return say_not_a(p, o, value, "a number");
		if (rc || integer < o->min || integer > o->max)
			return say_range(p, o, value, "");
		*(int64_t *)place = integer;
		return true;
	case OPT_T_SIZE:
		rc = opt_value_size(value, &number);
		if (rc == -EINVAL)
			return say_not_a(p, o, value, "a size (such as 4096, 64k, 4M, 2G)");
		if (rc || !in_range(o, number))
			return say_range(p, o, value, " bytes");
		*(uint64_t *)place = number;
		return true;
	case OPT_T_MS:
		rc = opt_value_ms(value, &number);
		if (rc == -EINVAL)
			return say_not_a(p, o, value, "a time (such as 250ms, 5s, 10m, 1h)");
		if (rc || !in_range(o, number))
			return say_range(p, o, value, " ms");
		*(uint64_t *)place = number;
		return true;
	case OPT_T_CHOICE:
		return store_choice(p, o, value);
	case OPT_T_LIST:
		rc = opt_list_add(place, value);
		if (rc) {
			char name[80];

			opt_usage_error(p->spec, "option '%s': %s", display_name(o, name),
					rc == -E2BIG ? "given too often" : "out of memory");
		}
		return rc == 0;
	case OPT_T_CALL:
		return store_call(p, o, value);
	case OPT_T_END:
		break;
	}
	return true;
}

static bool given_at(const struct opt_args *args, size_t row)
{
	return args->given[row / 64] >> (row % 64) & 1;
}

static bool take(const struct parser *p, const struct opt *o, const char *value)
{
	size_t row = (size_t)(o - table_of(p->spec));

	p->args->given[row / 64] |= (uint64_t)1 << (row % 64);
	return store(p, o, value);
}

static size_t min3(size_t a, size_t b, size_t c)
{
	size_t least = a < b ? a : b;

	return least < c ? least : c;
}

/* Edit distance (Levenshtein, one row of the matrix), for texts of at most 63 characters; longer ones are far from anything. */
static size_t distance(const char *a, const char *b)
{
	size_t row[64], length_a = strlen(a), length_b = strlen(b);

	if (length_a > 63 || length_b > 63)
		return 64;
	for (size_t j = 0; j <= length_b; j++)
		row[j] = j;
	for (size_t i = 1; i <= length_a; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= length_b; j++) {
			size_t above = row[j];

			row[j] = min3(above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1]));
			diagonal = above;
		}
	}
	return row[length_b];
}

const char *opt_nearest(const char *text, const char *const *words, size_t count)
{
	const char *best = NULL;
	size_t best_distance = 0;

	for (size_t i = 0; i < count; i++) {
		size_t d = distance(text, words[i]), length = strlen(text);
		size_t limit = (length > strlen(words[i]) ? length : strlen(words[i])) / 3;

		/* A word that only continues what was typed is near, too. */
		if (length >= 3 && !strncmp(text, words[i], length))
			d = 1;
		if (limit < 1 || d > limit || (best && d >= best_distance))
			continue;
		best = words[i];
		best_distance = d;
	}
	return best;
}

static void say_unknown(const struct parser *p, const char *shown, const char *bare)
{
	const struct opt *table = table_of(p->spec);
	const char *words[OPT_MAX];
	const char *nearest;
	size_t count = 0;

	for (const struct opt *o = table; o->type != OPT_T_END && count < OPT_MAX; o++)
		if (o->name && !(o->flags & OPT_HIDDEN))
			words[count++] = o->name;
	nearest = opt_nearest(bare, words, count);
	if (nearest)
		opt_usage_error(p->spec, "unknown option '%s' (did you mean '--%s'?)", shown, nearest);
	else
		opt_usage_error(p->spec, "unknown option '%s'", shown);
}

/*
 * The row called by the first `length` characters of `name`; NULL if there is none, or (*ambiguous set) more than one by prefix.
 * *negated: it was --no-NAME of a row that can be negated.
 */
static const struct opt *find_long(const struct opt_spec *spec, const char *name, size_t length,
				   bool *negated, bool *ambiguous)
{
	const struct opt *table = table_of(spec), *prefix = NULL;
	bool prefixes = spec->flags & (OPT_PREFIX | OPT_SINGLE_DASH);

	*negated = *ambiguous = false;
	for (const struct opt *o = table; o->type != OPT_T_END; o++)
		if (o->name && strlen(o->name) == length && !strncmp(o->name, name, length))
			return o;
	for (const struct opt *o = table; o->type != OPT_T_END; o++)
		if (o->name && (o->flags & OPT_NEGATABLE) && length > 3 && !strncmp(name, "no-", 3) &&
		    strlen(o->name) == length - 3 && !strncmp(o->name, name + 3, length - 3)) {
			*negated = true;
			return o;
		}
	if (!prefixes || !length)
		return NULL;
	for (const struct opt *o = table; o->type != OPT_T_END; o++) {
		if (!o->name || strncmp(o->name, name, length))
			continue;
		*ambiguous = prefix != NULL;
		if (prefix)
			return NULL;
		prefix = o;
	}
	return prefix;
}

static const struct opt *find_letter(const struct opt_spec *spec, char letter)
{
	for (const struct opt *o = table_of(spec); o->type != OPT_T_END; o++)
		if (o->letter && o->letter == letter)
			return o;
	return NULL;
}

enum outcome {
	GO_ON,
	SHOW_HELP,
	FAILED,
	NOT_AN_OPTION, /* -name that no row has: try it as letters */
};

/* One long option, `word` without its dashes. May use the next argument: then *next moves on. */
static enum outcome parse_long(const struct parser *p, const char *shown, const char *word, bool single,
			       char **argv, int argc, int *next)
{
	size_t length = strcspn(word, "=");
	const char *value = word[length] ? word + length + 1 : NULL;
	bool negated, ambiguous;
	const struct opt *o = find_long(p->spec, word, length, &negated, &ambiguous);

	if (!o && !ambiguous && !(p->spec->flags & OPT_NO_HELP) && length == 4 && !strncmp(word, "help", 4))
		return SHOW_HELP;
	if (ambiguous && !single) {
		opt_usage_error(p->spec, "option '%s' is ambiguous", shown);
		return FAILED;
	}
	if (!o) {
		char bare[64];

		if (single)
			return NOT_AN_OPTION;
		snprintf(bare, sizeof bare, "%.*s", (int)(length < 63 ? length : 63), word);
		say_unknown(p, shown, bare);
		return FAILED;
	}
	if (!takes_value(o)) {
		if (value) {
			opt_usage_error(p->spec, "option '--%s' takes no value", o->name);
			return FAILED;
		}
		if (!take(p, o, NULL))
			return FAILED;
		if (negated)
			*(bool *)place_of(p, o) = false;
		return GO_ON;
	}
	if (!value) {
		if (*next >= argc) {
			opt_usage_error(p->spec, "option '--%s' needs a value (%s)", o->name, o->metavar);
			return FAILED;
		}
		value = argv[(*next)++];
	}
	return take(p, o, value) ? GO_ON : FAILED;
}

/* A bundle of short options, `letters` without its dash. */
static enum outcome parse_letters(const struct parser *p, const char *shown, const char *letters, char **argv,
				  int argc, int *next)
{
	for (; *letters; letters++) {
		const struct opt *o = find_letter(p->spec, *letters);
		const char *value = NULL;

		if (!o && *letters == 'h' && !(p->spec->flags & OPT_NO_HELP))
			return SHOW_HELP;
		if (!o) {
			char name[3] = {'-', *letters, 0};

			if (p->spec->flags & OPT_SINGLE_DASH)
				say_unknown(p, shown, shown + 1);
			else
				opt_usage_error(p->spec, "unknown option '%s'", name);
			return FAILED;
		}
		if (takes_value(o)) {
			value = letters[1] ? letters + 1 : *next < argc ? argv[(*next)++] : NULL;
			if (!value) {
				opt_usage_error(p->spec, "option '-%c' needs a value (%s)", *letters,
						o->metavar);
				return FAILED;
			}
			return take(p, o, value) ? GO_ON : FAILED;
		}
		if (!take(p, o, NULL))
			return FAILED;
	}
	return GO_ON;
}

static enum outcome parse_option(const struct parser *p, const char *shown, char **argv, int argc, int *next)
{
	enum outcome outcome;

	if (shown[1] == '-')
		return parse_long(p, shown, shown + 2, false, argv, argc, next);
	/* As getopt_long_only: a single letter that is a short option stays one. */
	if ((p->spec->flags & OPT_SINGLE_DASH) && (shown[2] || !find_letter(p->spec, shown[1]))) {
		outcome = parse_long(p, shown, shown + 1, true, argv, argc, next);
		if (outcome != NOT_AN_OPTION)
			return outcome;
	}
	return parse_letters(p, shown, shown + 1, argv, argc, next);
}

/* Stores the defaults. A default that does not parse is a mistake in the table: the unit test of the room meets it at once. */
static bool store_defaults(const struct parser *p)
{
	for (const struct opt *o = table_of(p->spec); o->type != OPT_T_END; o++)
		if (o->def && !(o->flags & OPT_DEFAULT_TEXT) && !store(p, o, o->def))
			return false;
	return true;
}

static bool check_required(const struct parser *p)
{
	const struct opt *table = table_of(p->spec);
	char name[80];

	for (size_t i = 0; table[i].type != OPT_T_END; i++)
		if ((table[i].flags & OPT_REQUIRED) && !given_at(p->args, i)) {
			opt_usage_error(p->spec, "option '%s' is missing", display_name(&table[i], name));
			return false;
		}
	return true;
}

static bool check_positionals(const struct parser *p)
{
	int count = p->args->argc;

	if (count < p->spec->args_min) {
		opt_usage_error(p->spec, "arguments are missing%s%s", p->spec->usage ? ": " : "",
				p->spec->usage ? p->spec->usage : "");
		return false;
	}
	if (p->spec->args_max >= 0 && count > p->spec->args_max) {
		opt_usage_error(p->spec, "unexpected argument '%s'", p->args->argv[p->spec->args_max]);
		return false;
	}
	return true;
}

static void release_lists(const struct parser *p)
{
	for (const struct opt *o = table_of(p->spec); o->type != OPT_T_END; o++)
		if (o->type == OPT_T_LIST)
			opt_list_release(place_of(p, o));
}

/* Ends a parse that does not go on: nothing stays allocated. */
static bool stop(const struct parser *p, enum outcome outcome, int *code)
{
	release_lists(p);
	if (outcome == SHOW_HELP) {
		opt_print_help(p->spec, stdout);
		*code = fflush(stdout) ? EXIT_FAILED : EXIT_DONE;
	} else {
		*code = exit_usage_of(p->spec);
	}
	return false;
}

static bool start(struct parser *p, const struct opt_spec *spec, void *target, struct opt_args *args)
{
	*args = (struct opt_args){.options = table_of(spec)};
	*p = (struct parser){.spec = spec, .target = target, .args = args};
	if (table_count(table_of(spec)) > OPT_MAX) {
		opt_usage_error(spec, "more than %d options in the table", OPT_MAX);
		return false;
	}
	return store_defaults(p);
}

bool opt_parse(const struct opt_spec *spec, void *target, int argc, char **argv, struct opt_args *args,
	       int *code)
{
	struct parser p;
	int next = 1, kept = 1;

	if (!start(&p, spec, target, args))
		return stop(&p, FAILED, code);
	/* Positional arguments move to the front of argv; slots before `next` are free to be written. */
	while (next < argc) {
		char *word = argv[next++];
		enum outcome outcome;

		if (word[0] != '-' || !word[1]) {
			argv[kept++] = word;
			if (spec->flags & OPT_STOP_AT_FIRST)
				break;
			continue;
		}
		if (!strcmp(word, "--"))
			break;
		outcome = parse_option(&p, word, argv, argc, &next);
		if (outcome != GO_ON)
			return stop(&p, outcome, code);
	}
	while (next < argc)
		argv[kept++] = argv[next++];
	if (argc > 0)
		argv[kept] = NULL;
	args->argv = argv + (argc > 0 ? 1 : 0);
	args->argc = argc > 0 ? kept - 1 : 0;
	if (!check_required(&p) || !check_positionals(&p))
		return stop(&p, FAILED, code);
	return true;
}

bool opt_parse_words(const struct opt_spec *spec, void *target, char *text, char separator,
		     struct opt_list *unknown, int *code)
{
	struct opt_args args;
	struct parser p;
	char *next = text;

	if (!start(&p, spec, target, &args))
		return stop(&p, FAILED, code);
	while (next) {
		char *word = next, *end = strchr(word, separator), *equals;
		const struct opt *o;
		bool negated, ambiguous;

		next = end ? end + 1 : NULL;
		if (end)
			*end = 0;
		if (!*word)
			continue;
		equals = strchr(word, '=');
		o = find_long(spec, word, equals ? (size_t)(equals - word) : strlen(word), &negated,
			      &ambiguous);
		if (!o && unknown) {
			if (opt_list_add(unknown, word)) {
				opt_usage_error(spec, "too many words");
				return stop(&p, FAILED, code);
			}
			continue;
		}
		if (!o) {
			if (equals)
				*equals = 0;
			say_unknown(&p, word, word);
			return stop(&p, FAILED, code);
		}
		if (takes_value(o) != (equals != NULL)) {
			opt_usage_error(spec, takes_value(o) ? "'%s' needs a value" : "'%s' takes no value",
					o->name);
			return stop(&p, FAILED, code);
		}
		if (!take(&p, o, equals ? equals + 1 : NULL))
			return stop(&p, FAILED, code);
		if (negated)
			*(bool *)place_of(&p, o) = false;
	}
	return check_required(&p) ? true : stop(&p, FAILED, code);
}

struct opt_spec opt_spec_applet(const struct applet *self)
{
	return (struct opt_spec){
		.who = self->name,
		.summary = self->summary,
		.usage = self->usage   ? self->usage
			 : self->verbs ? "VERB [ARGUMENTS]"
				       : NULL,
		.options = self->options,
		.verbs = self->verbs,
		.flags = self->opt_flags | (self->verbs ? OPT_STOP_AT_FIRST : 0),
		.exit_usage = self->exit_usage,
		.args_max = -1,
	};
}

struct opt_spec opt_spec_verb(const struct applet *self, const struct verb *verb, char *buf, size_t buf_size)
{
	snprintf(buf, buf_size, "%s %s", self->name, verb->name);
	return (struct opt_spec){
		.who = buf,
		.summary = verb->summary,
		.usage = verb->usage,
		.options = verb->options,
		.flags = verb->opt_flags,
		.exit_usage = verb->exit_usage ? verb->exit_usage : self->exit_usage,
		.args_max = verb->usage ? -1 : 0,
	};
}

bool opt_parse_applet(const struct applet *self, void *target, int argc, char **argv, struct opt_args *args,
		      int *code)
{
	struct opt_spec spec = opt_spec_applet(self);

	return opt_parse(&spec, target, argc, argv, args, code);
}

bool opt_parse_verb(const struct applet *self, const struct verb *verb, void *target, int argc, char **argv,
		    struct opt_args *args, int *code)
{
	char who[96];
	struct opt_spec spec = opt_spec_verb(self, verb, who, sizeof who);

	return opt_parse(&spec, target, argc, argv, args, code);
}
