/* opt_text: help, roff and completion words from an option table. */
#include "core/base/opt.h"

#include <string.h>

#define COLUMN 30 /* where descriptions begin */
#define WIDTH  98 /* where lines end */

static bool shows(const struct opt *o)
{
	return !(o->flags & OPT_HIDDEN);
}

/* "-p, --port PORT" */
static void format_name(const struct opt *o, char *buf, size_t size)
{
	char letter[8] = "    ";

	if (o->letter)
		snprintf(letter, sizeof letter, "-%c%s", o->letter, o->name ? ", " : "");
	snprintf(buf, size, "%s%s%s%s%s%s", letter, o->name ? "--" : "",
		 o->flags & OPT_NEGATABLE ? "[no-]" : "", o->name ? o->name : "", o->metavar ? " " : "",
		 o->metavar ? o->metavar : "");
}

/* Words, default and "required" of a row in one text. */
static void format_help(const struct opt *o, char *buf, size_t size)
{
	size_t used = (size_t)snprintf(buf, size, "%s", o->help ? o->help : "");

	if (o->type == OPT_T_CHOICE && used < size) {
		used += (size_t)snprintf(buf + used, size - used, ": ");
		for (size_t i = 0; o->choices[i] && used < size; i++)
			used += (size_t)snprintf(buf + used, size - used, "%s%s", i ? ", " : "",
						 o->choices[i]);
	}
	if (o->def && *o->def && used < size)
		used += (size_t)snprintf(buf + used, size - used, " (default: %s)", o->def);
	if ((o->flags & OPT_REQUIRED) && used < size)
		used += (size_t)snprintf(buf + used, size - used, " (required)");
	if (o->type == OPT_T_LIST && used < size)
		snprintf(buf + used, size - used, " (may be repeated)");
}

/* Prints `text` in the right column, broken at blanks; a line break in the text begins a new line. */
static void print_wrapped(FILE *out, const char *text, size_t column)
{
	while (*text) {
		size_t word = strcspn(text, " \n");

		if (column > COLUMN && column + 1 + word > WIDTH) {
			fprintf(out, "\n%*s", COLUMN, "");
			column = COLUMN;
		} else if (column > COLUMN) {
			fputc(' ', out);
			column++;
		}
		fwrite(text, 1, word, out);
		column += word;
		text += word;
		if (*text == '\n') {
			fprintf(out, "\n%*s", COLUMN, "");
			column = COLUMN;
		}
		if (*text)
			text++;
	}
	fputc('\n', out);
}

static void print_row(FILE *out, const char *name, const char *text)
{
	size_t length = strlen(name) + 2;

	fprintf(out, "  %s", name);
	if (length + 2 > COLUMN)
		fprintf(out, "\n%*s", COLUMN, "");
	else
		fprintf(out, "%*s", (int)(COLUMN - length), "");
	print_wrapped(out, text, COLUMN);
}

static void print_usage_line(const struct opt_spec *spec, FILE *out)
{
	fprintf(out, "usage: %s [OPTIONS]%s%s\n", spec->who, spec->usage && *spec->usage ? " " : "",
		spec->usage ? spec->usage : "");
}

void opt_print_help(const struct opt_spec *spec, FILE *out)
{
	char name[96], text[1024];

	print_usage_line(spec, out);
	if (spec->summary)
		fprintf(out, "\n%s\n", spec->summary);
	if (spec->verbs) {
		fprintf(out, "\nverbs:\n");
		for (const struct verb *verb = spec->verbs; verb->name; verb++) {
			if (verb->hidden)
				continue;
			snprintf(name, sizeof name, "%s%s%s", verb->name, verb->usage ? " " : "",
				 verb->usage ? verb->usage : "");
			print_row(out, name, verb->summary ? verb->summary : "");
		}
	}
	fprintf(out, "\noptions:\n");
	for (const struct opt *o = spec->options; o && o->type != OPT_T_END; o++) {
		if (!shows(o))
			continue;
		format_name(o, name, sizeof name);
		format_help(o, text, sizeof text);
		print_row(out, name, text);
	}
	if (!(spec->flags & OPT_NO_HELP))
		print_row(out, "-h, --help", "show this text");
	if (spec->verbs)
		fprintf(out, "\n'%s VERB --help' tells more about one verb.\n", spec->who);
}

/* Escapes what roff would take for its own: backslash, leading dot or quote, and dashes that are to be typed. */
static void roff_text(FILE *out, const char *text)
{
	bool line_start = true;

	for (; *text; text++) {
		if (line_start && (*text == '.' || *text == '\''))
			fputs("\\&", out);
		line_start = *text == '\n';
		if (*text == '\\')
			fputs("\\e", out);
		else if (*text == '-')
			fputs("\\-", out);
		else
			fputc(*text, out);
	}
}

void opt_print_roff(const struct opt_spec *spec, FILE *out)
{
	char text[1024];

	for (const struct opt *o = spec->options; o && o->type != OPT_T_END; o++) {
		if (!shows(o))
			continue;
		fputs(".TP\n", out);
		if (o->letter)
			fprintf(out, "\\fB\\-%c\\fR%s", o->letter, o->name ? ", " : "");
		if (o->name) {
			fputs("\\fB\\-\\-", out);
			roff_text(out, o->flags & OPT_NEGATABLE ? "[no-]" : "");
			roff_text(out, o->name);
			fputs("\\fR", out);
		}
		if (o->metavar) {
			fputs(" \\fI", out);
			roff_text(out, o->metavar);
			fputs("\\fR", out);
		}
		fputc('\n', out);
		format_help(o, text, sizeof text);
		roff_text(out, text);
		fputs(".\n", out);
	}
	if (!(spec->flags & OPT_NO_HELP))
		fputs(".TP\n\\fB\\-h\\fR, \\fB\\-\\-help\\fR\nshow a summary of the options.\n", out);
}

void opt_print_completion(const struct opt_spec *spec, FILE *out)
{
	for (const struct opt *o = spec->options; o && o->type != OPT_T_END; o++) {
		if (!shows(o))
			continue;
		if (o->name)
			fprintf(out, "--%s%s\n", o->name, o->metavar ? "=" : "");
		if (o->name && (o->flags & OPT_NEGATABLE))
			fprintf(out, "--no-%s\n", o->name);
		if (o->letter)
			fprintf(out, "-%c\n", o->letter);
	}
	if (!(spec->flags & OPT_NO_HELP))
		fputs("--help\n", out);
	for (const struct verb *verb = spec->verbs; verb && verb->name; verb++)
		if (!verb->hidden)
			fprintf(out, "%s\n", verb->name);
}
