/*
 * show: see show.h. Only what our answers hold is needed: maps, lists, strings, integers, booleans, null.
 */
#include "applets/zinit/show.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool needs_quotes(const char *text)
{
	static const char *const words[] = {"true", "false", "null", "yes", "no", "on", "off", "~"};

	if (!*text || strchr(" -?:,[]{}#&*!|>'\"%@`", *text) || text[strlen(text) - 1] == ' ')
		return true;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcasecmp(text, words[i]) == 0)
			return true;
	/* The original quotes what holds brackets or commas: "Error(Exited(Pid(812), 3))". */
	if (strpbrk(text, "(,[]{}\"\\\n\t") || strstr(text, ": ") || strstr(text, " #"))
		return true;
	return text[strspn(text, "0123456789.+-eE")] == '\0';
}

static void print_string(const char *text)
{
	if (!needs_quotes(text)) {
		fputs(text, stdout);
		return;
	}
	putchar('"');
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (c == '"' || c == '\\')
			printf("\\%c", c);
		else if (c == '\n')
			fputs("\\n", stdout);
		else if (c == '\t')
			fputs("\\t", stdout);
		else if (c < 0x20 || c == 0x7f)
			printf("\\x%02X", c);
		else
			putchar(c);
	}
	putchar('"');
}

static void print_value(yyjson_val *value, int indent);

static void print_children(yyjson_val *value, int indent)
{
	size_t index, max;
	yyjson_val *key, *item;

	if (yyjson_is_obj(value)) {
		yyjson_obj_foreach(value, index, max, key, item)
		{
			printf("%*s", indent, "");
			print_string(yyjson_get_str(key));
			putchar(':');
			print_value(item, indent + 2);
		}
	} else {
		yyjson_arr_foreach(value, index, max, item)
		{
			printf("%*s-", indent, "");
			print_value(item, indent + 2);
		}
	}
}

/* The value behind "key:" or "-": on the same line, or as a block below it. */
static void print_value(yyjson_val *value, int indent)
{
	if (yyjson_is_ctn(value) && unsafe_yyjson_get_len(value) > 0) {
		putchar('\n');
		print_children(value, indent);
		return;
	}
	putchar(' ');
	if (yyjson_is_obj(value))
		fputs("{}", stdout);
	else if (yyjson_is_arr(value))
		fputs("[]", stdout);
	else if (yyjson_is_str(value))
		print_string(yyjson_get_str(value));
	else if (yyjson_is_bool(value))
		fputs(yyjson_get_bool(value) ? "true" : "false", stdout);
	else if (yyjson_is_real(value))
		printf("%g", yyjson_get_real(value));
	else if (yyjson_is_int(value))
		printf("%lld", (long long)yyjson_get_sint(value));
	else
		fputs("null", stdout);
	putchar('\n');
}

void show_yaml(yyjson_val *value)
{
	puts("---");
	if (yyjson_is_ctn(value) && unsafe_yyjson_get_len(value) > 0)
		print_children(value, 0);
	else
		puts(yyjson_is_arr(value) ? "[]" : "{}");
}

void show_json(yyjson_val *value)
{
	char *text = yyjson_val_write(value, YYJSON_WRITE_NOFLAG, NULL);

	puts(text ? text : "null");
	free(text);
}
