/* quote: strings in the files that we write. */
#ifndef APPLETS_QSFS_QUOTE_H
#define APPLETS_QSFS_QUOTE_H

#include <stdio.h>

/* A double-quoted string: YAML, TOML and JSON agree on the two escapes that are needed, because volume_load() refuses
 * control characters in everything that comes from outside. */
void quote_string(FILE *out, const char *s);

/* A word as the supervisor splits command lines: plain when nothing in it is special, else in single quotes. */
void quote_word(FILE *out, const char *word);

#endif
