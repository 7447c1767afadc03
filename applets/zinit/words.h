/*
 * words: splits a command line into words as a POSIX shell does, without any expansion.
 *
 * Used for `exec`, `test`, `health`, `drain` of a unit and for the request lines of the line protocol.
 */
#ifndef ZINIT_WORDS_H
#define ZINIT_WORDS_H

#include <stddef.h>

enum { WORDS_MAX = 4096 }; /* words of one command line */

/*
 * Splits text[0..len) and writes the words to `out`, each ended by a NUL byte. `out` must hold len + 1 bytes;
 * the result is never longer. Separators are blank, tab and newline; '...' is literal; "..." knows backslash
 * before $ ` " \ and newline only; elsewhere a backslash quotes the next byte and backslash-newline vanishes;
 * '#' at the start of a word begins a comment that ends with the line. No variables, globs or operators.
 *
 * Returns the number of words, or -EINVAL (unterminated quote, trailing backslash, NUL byte inside), or -E2BIG
 * beyond WORDS_MAX. *used, if not NULL, becomes the number of bytes written.
 */
int words_split(const char *text, size_t len, char *out, size_t *used);

/*
 * Points argv[0..count) at the words that words_split() wrote and ends the array with NULL. `argv` must hold
 * count + 1 pointers.
 */
void words_argv(char *words, int count, char **argv);

#endif
