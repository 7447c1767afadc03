/*
 * hex: bytes as hexadecimal text. Both directions work in constant time (no table lookups, no branches on the data), so
 * that keys may pass through them.
 */
#ifndef CORE_BASE_HEX_H
#define CORE_BASE_HEX_H

#include <stddef.h>

/* Writes 2 * len lower-case digits and a NUL; `text` has room for 2 * len + 1. Returns text. */
char *hex_encode(char *text, const void *data, size_t len);

/*
 * Decodes exactly `len` bytes from `text`, which must be exactly 2 * len digits (either case) long. 0, or -EINVAL (wrong
 * length, not a digit); then `data` is zeroed.
 */
int hex_decode(void *data, size_t len, const char *text);

/* The same from text that is not terminated: text_len digits; *len gets text_len / 2. -EINVAL also when it exceeds cap. */
int hex_decode_n(void *data, size_t cap, const char *text, size_t text_len, size_t *len);

#endif
