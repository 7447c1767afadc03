#include <string.h>

#include "applets/qsfs/quote.h"

void quote_string(FILE *out, const char *s)
{
	fputc('"', out);
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			fputc('\\', out);
		fputc(*s, out);
	}
	fputc('"', out);
}

void quote_word(FILE *out, const char *word)
{
	static const char plain[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=+,./:@%";

	if (*word && strspn(word, plain) == strlen(word)) {
		fputs(word, out);
	} else {
		fputc('\'', out);
		for (; *word; word++) {
			if (*word == '\'')
				fputs("'\\''", out);
			else
				fputc(*word, out);
		}
		fputc('\'', out);
	}
}
