/*
 * words: see words.h. One pass over the text with an explicit little state machine; nothing is allocated, and
 * the output can never be longer than the input plus one byte, because every word costs at least one byte of
 * input that is not copied (its separator, or a quote) except the last.
 */
#include "words.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

struct splitter {
	const char *at, *end;
	char *out;
};

static bool is_separator(char c)
{
	return c == ' ' || c == '\t' || c == '\n';
}

/* Skips separators, joined lines and comments. */
static void skip_between(struct splitter *s)
{
	while (s->at < s->end) {
		if (is_separator(*s->at)) {
			s->at++;
		} else if (*s->at == '\\' && s->at + 1 < s->end && s->at[1] == '\n') {
			s->at += 2;
		} else if (*s->at == '#') {
			while (s->at < s->end && *s->at != '\n')
				s->at++;
		} else {
			return;
		}
	}
}

static int copy_single_quoted(struct splitter *s)
{
	for (; s->at < s->end; s->at++) {
		if (*s->at == '\'') {
			s->at++;
			return 0;
		}
		*s->out++ = *s->at;
	}
	return -EINVAL;
}

static int copy_double_quoted(struct splitter *s)
{
	while (s->at < s->end) {
		char c = *s->at++;

		if (c == '"')
			return 0;
		if (c == '\\') {
			if (s->at == s->end)
				return -EINVAL;
			if (*s->at == '\n') {
				s->at++;
				continue;
			}
			if (strchr("$`\"\\", *s->at))
				c = *s->at++;
		}
		*s->out++ = c;
	}
	return -EINVAL;
}

static int copy_word(struct splitter *s)
{
	while (s->at < s->end && !is_separator(*s->at)) {
		char c = *s->at++;
		int rc = 0;

		if (c == '\'') {
			rc = copy_single_quoted(s);
		} else if (c == '"') {
			rc = copy_double_quoted(s);
		} else if (c == '\\') {
			if (s->at == s->end)
				return -EINVAL;
			if (*s->at != '\n')
				*s->out++ = *s->at;
			s->at++;
		} else {
			*s->out++ = c;
		}
		if (rc)
			return rc;
	}
	*s->out++ = '\0';
	return 0;
}

int words_split(const char *text, size_t len, char *out, size_t *used)
{
	struct splitter s = {.at = text, .end = text + len, .out = out};
	int count = 0;

	if (used)
		*used = 0;
	if (memchr(text, '\0', len))
		return -EINVAL;
	for (;;) {
		int rc;

		skip_between(&s);
		if (s.at == s.end)
			break;
		if (count == WORDS_MAX)
			return -E2BIG;
		rc = copy_word(&s);
		if (rc)
			return rc;
		count++;
	}
	if (used)
		*used = (size_t)(s.out - out);
	return count;
}

void words_argv(char *words, int count, char **argv)
{
	for (int i = 0; i < count; i++) {
		argv[i] = words;
		words += strlen(words) + 1;
	}
	argv[count] = NULL;
}
