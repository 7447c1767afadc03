/*
 * hex: constant-time hexadecimal. Digits are computed with arithmetic on whole words: no branch and no memory access
 * depends on a digit's value. Only lengths, which are not secret, decide branches.
 */
#include "core/base/hex.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

/* 0..15 -> '0'..'9', 'a'..'f': 39 is added when the value is above 9 (the sign bit of 9 - v says so). */
static char digit(unsigned v)
{
	return (char)('0' + v + (((9u - v) >> 8) & 39u));
}

/* All ones when lo <= c <= hi, otherwise 0: one of the differences wraps, and has its top bit set, when c is outside. */
static unsigned in_range(unsigned c, unsigned lo, unsigned hi)
{
	return (((c - lo) | (hi - c)) >> 31) - 1u;
}

/* A digit's value; 0x100 when it is none. */
static unsigned value(unsigned c)
{
	unsigned is_dec = in_range(c, '0', '9');
	unsigned is_low = in_range(c, 'a', 'f');
	unsigned is_up = in_range(c, 'A', 'F');

	return (is_dec & (c - '0')) | (is_low & (c - 'a' + 10)) | (is_up & (c - 'A' + 10)) |
	       (~(is_dec | is_low | is_up) & 0x100u);
}

char *hex_encode(char *text, const void *data, size_t len)
{
	const uint8_t *p = data;

	for (size_t i = 0; i < len; i++) {
		text[2 * i] = digit(p[i] >> 4);
		text[2 * i + 1] = digit(p[i] & 15u);
	}
	text[2 * len] = '\0';
	return text;
}

int hex_decode_n(void *data, size_t cap, const char *text, size_t text_len, size_t *len)
{
	uint8_t *out = data;
	unsigned bad = 0;

	if (text_len % 2 || text_len / 2 > cap) {
		memset(data, 0, cap);
		return -EINVAL;
	}
	for (size_t i = 0; i < text_len / 2; i++) {
		unsigned hi = value((unsigned char)text[2 * i]), lo = value((unsigned char)text[2 * i + 1]);

		bad |= hi | lo;
		out[i] = (uint8_t)(hi << 4 | lo);
	}
	if (bad & 0x100u) {
		memset(data, 0, cap);
		return -EINVAL;
	}
	if (len)
		*len = text_len / 2;
	return 0;
}

int hex_decode(void *data, size_t len, const char *text)
{
	size_t text_len = strlen(text);

	if (text_len != 2 * len) {
		memset(data, 0, len);
		return -EINVAL;
	}
	return hex_decode_n(data, len, text, text_len, NULL);
}
