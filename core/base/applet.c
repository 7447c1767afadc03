/* applet: finding an applet by name, running a verb, and the texts of one applet. See applet.h. */
#include "core/base/applet.h"

#include <string.h>

#include "build_info.h"

#define NAMES_MAX 128 /* words compared for "did you mean" */

/* The next word of a list separated by blanks: its start, and its length in *length (0 = the list is over). */
static const char *next_word(const char *text, size_t *length)
{
	text += strspn(text, " ");
	*length = strcspn(text, " ");
	return text;
}

static bool word_is(const char *word, size_t length, const char *name)
{
	return strlen(name) == length && !memcmp(word, name, length);
}

/* Whether `name` is one of the aliases; *leading as in applet_find(). */
static bool has_alias(const char *aliases, const char *name, const char **leading)
{
	size_t length;

	for (const char *word = aliases; word; word += length) {
		const char *equals;
		size_t name_length;

		word = next_word(word, &length);
		if (!length)
			return false;
		equals = memchr(word, '=', length);
		name_length = equals ? (size_t)(equals - word) : length;
		if (word_is(word, name_length, name)) {
			if (leading)
				*leading = equals ? equals + 1 : NULL;
			return true;
		}
	}
	return false;
}

const struct applet *applet_find(const char *name, const char **leading)
{
	size_t low = 0, high = applet_registry_count;

	if (leading)
		*leading = NULL;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = strcmp(name, applet_registry[middle]->name);

		if (!order)
			return applet_registry[middle];
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	for (size_t i = 0; i < applet_registry_count; i++)
		if (has_alias(applet_registry[i]->aliases, name, leading))
			return applet_registry[i];
	return NULL;
}

const struct verb *applet_find_verb(const struct applet *self, const char *name)
{
	for (const struct verb *verb = self->verbs; verb && verb->name; verb++)
		if (!strcmp(verb->name, name) || has_alias(verb->aliases, name, NULL))
			return verb;
	return NULL;
}

int applet_run_verb(const struct applet *self, void *ctx, int argc, char **argv)
{
	struct opt_spec spec = opt_spec_applet(self);
	const char *words[NAMES_MAX], *nearest;
	const struct verb *verb;
	size_t count = 0;

	if (argc < 1)
		return opt_usage_error(&spec, "a verb is missing");
	verb = applet_find_verb(self, argv[0]);
	if (verb)
		return verb->main(self, verb, ctx, argc, argv);
	for (verb = self->verbs; verb && verb->name && count < NAMES_MAX; verb++)
		if (!verb->hidden)
			words[count++] = verb->name;
	nearest = opt_nearest(argv[0], words, count);
	if (nearest)
		return opt_usage_error(&spec, "unknown verb '%s' (did you mean '%s'?)", argv[0], nearest);
	return opt_usage_error(&spec, "unknown verb '%s'", argv[0]);
}

void applet_print_help(const struct applet *self, FILE *out)
{
	struct opt_spec spec = opt_spec_applet(self);

	opt_print_help(&spec, out);
}

static void roff_char(FILE *out, char c)
{
	if (c == '\\')
		fputs("\\e", out);
	else if (c == '-')
		fputs("\\-", out);
	else
		fputc(c, out);
}

static void roff_line(FILE *out, const char *line, size_t length)
{
	if (length && (*line == '.' || *line == '\''))
		fputs("\\&", out);
	for (size_t i = 0; i < length; i++)
		roff_char(out, line[i]);
	fputc('\n', out);
}

/* The light markup of struct applet.man as roff. */
static void print_man_body(const char *text, FILE *out)
{
	bool literal = false;

	while (text && *text) {
		size_t length = strcspn(text, "\n");
		bool indented = length > 4 && !strncmp(text, "    ", 4);

		if (indented != literal && (indented || length)) {
			fputs(indented ? ".PP\n.RS 4\n.nf\n" : ".fi\n.RE\n", out);
			literal = indented;
		}
		if (!strncmp(text, "## ", 3)) {
			fputs(".SH ", out);
			roff_line(out, text + 3, length - 3);
		} else if (indented) {
			roff_line(out, text + 4, length - 4);
		} else if (length) {
			roff_line(out, text, length);
		} else {
			fputs(literal ? "\n" : ".PP\n", out);
		}
		text += length + (text[length] == '\n');
	}
	if (literal)
		fputs(".fi\n.RE\n", out);
}

static void print_man_verb(const struct applet *self, const struct verb *verb, FILE *out)
{
	char who[96];
	struct opt_spec spec = opt_spec_verb(self, verb, who, sizeof who);

	spec.flags |= OPT_NO_HELP; /* --help is the same everywhere and would repeat itself */
	fprintf(out, ".SS %s %s\n", who, verb->usage ? verb->usage : "");
	if (verb->summary)
		roff_line(out, verb->summary, strlen(verb->summary));
	opt_print_roff(&spec, out);
	print_man_body(verb->man, out);
}

void applet_print_man(const struct applet *self, FILE *out)
{
	struct opt_spec spec = opt_spec_applet(self);
	size_t length;

	fprintf(out, ".TH \"%s\" 8 \"\" \"qsfs %s\"\n.SH NAME\n", self->name, QSFS_VERSION);
	fprintf(out, "%s", self->name);
	for (const char *word = self->aliases ? self->aliases : ""; word = next_word(word, &length), length;
	     word += length)
		fprintf(out, ", %.*s", (int)strcspn(word, "= "), word);
	fputs(" \\- ", out);
	roff_line(out, self->summary ? self->summary : "", self->summary ? strlen(self->summary) : 0);
	fprintf(out, ".SH SYNOPSIS\n\\fB%s\\fR [\\fIOPTIONS\\fR] ", self->name);
	roff_line(out, spec.usage ? spec.usage : "", spec.usage ? strlen(spec.usage) : 0);
	fputs(".SH OPTIONS\n", out);
	opt_print_roff(&spec, out);
	if (self->verbs)
		fputs(".SH VERBS\n", out);
	for (const struct verb *verb = self->verbs; verb && verb->name; verb++)
		if (!verb->hidden)
			print_man_verb(self, verb, out);
	print_man_body(self->man, out);
}
