/*
 * str: bounded copies and strict parsers.
 */
#include "core/base/str.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

int str_copy_n(char *dst, size_t size, const char *src, size_t len)
{
	size_t n = len < size ? len : size - 1;

	memcpy(dst, src, n);
	dst[n] = '\0';
	return n == len ? 0 : -ENAMETOOLONG;
}

int str_copy(char *dst, size_t size, const char *src)
{
	return str_copy_n(dst, size, src, strlen(src));
}

int str_fmt(char *dst, size_t size, const char *format, ...)
{
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(dst, size, format, ap);
	va_end(ap);
	return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : n;
}

bool str_eq(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

bool str_eq_nocase(const char *a, const char *b)
{
	return a && b ? strcasecmp(a, b) == 0 : a == b;
}

bool str_starts(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

bool str_ends(const char *text, const char *suffix)
{
	size_t text_len = strlen(text), len = strlen(suffix);

	return len <= text_len && memcmp(text + text_len - len, suffix, len) == 0;
}

static bool is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

char *str_trim(char *text)
{
	size_t len;

	while (is_blank(*text))
		text++;
	len = strlen(text);
	while (len && is_blank(text[len - 1]))
		len--;
	text[len] = '\0';
	return text;
}

char *str_next(char **cursor, char separator)
{
	char *field = *cursor, *end;

	if (!field)
		return NULL;
	end = strchr(field, separator);
	if (end)
		*end = '\0';
	*cursor = end ? end + 1 : NULL;
	return field;
}

static int digit_of(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return 99;
}

/* Digits from the start of `text`; *used says how many characters they are. */
static int parse_digits(const char *text, size_t len, unsigned base, uint64_t *value, size_t *used)
{
	uint64_t v = 0;
	size_t i;

	for (i = 0; i < len && digit_of(text[i]) < (int)base; i++) {
		if (__builtin_mul_overflow(v, base, &v) || __builtin_add_overflow(v, digit_of(text[i]), &v))
			return -ERANGE;
	}
	if (i == 0)
		return -EINVAL;
	*value = v;
	*used = i;
	return 0;
}

static int parse_u64(const char *text, size_t len, unsigned base, uint64_t *value)
{
	uint64_t v;
	size_t used, i = 0;
	int code;

	/* A number that is too long may still be followed by something that makes it no number at all. */
	while (i < len && digit_of(text[i]) < (int)base)
		i++;
	if (i != len)
		return -EINVAL;
	code = parse_digits(text, len, base, &v, &used);
	if (code == 0)
		*value = v;
	return code;
}

int str_parse_u64_n(const char *text, size_t len, uint64_t *value)
{
	return parse_u64(text, len, 10, value);
}

int str_parse_u64(const char *text, uint64_t *value)
{
	return parse_u64(text, strlen(text), 10, value);
}

int str_parse_u64_base(const char *text, unsigned base, uint64_t *value)
{
	return parse_u64(text, strlen(text), base, value);
}

int str_parse_i64_n(const char *text, size_t len, int64_t *value)
{
	bool is_negative = len && text[0] == '-';
	bool has_sign = is_negative || (len && text[0] == '+');
	uint64_t v;
	int code = parse_u64(text + has_sign, len - has_sign, 10, &v);

	if (code)
		return code;
	if (v > (uint64_t)INT64_MAX + is_negative)
		return -ERANGE;
	*value = is_negative ? (int64_t)(0 - v) : (int64_t)v;
	return 0;
}

int str_parse_i64(const char *text, int64_t *value)
{
	return str_parse_i64_n(text, strlen(text), value);
}

int str_parse_u32(const char *text, uint32_t *value)
{
	uint64_t v;
	int code = str_parse_u64(text, &v);

	if (code)
		return code;
	if (v > UINT32_MAX)
		return -ERANGE;
	*value = (uint32_t)v;
	return 0;
}

int str_parse_bool(const char *text, bool *value)
{
	static const char *const yes[] = {"true", "yes", "on", "1"};
	static const char *const no[] = {"false", "no", "off", "0"};

	for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
		if (strcasecmp(text, yes[i]) == 0 || strcasecmp(text, no[i]) == 0) {
			*value = strcasecmp(text, yes[i]) == 0;
			return 0;
		}
	}
	return -EINVAL;
}

int str_parse_size(const char *text, uint64_t *bytes)
{
	static const char *const tails[] = {"", "b", "ib"};
	static const char units[] = "kmgtpe";
	uint64_t v;
	size_t used;
	unsigned shift = 0;
	int code = parse_digits(text, strlen(text), 10, &v, &used);
	const char *rest, *unit;
	bool is_known = false;

	if (code)
		return code;
	rest = text + used;
	unit = *rest ? strchr(units, *rest | 0x20) : NULL;
	if (unit) {
		shift = 10 * (unsigned)(unit - units + 1);
		rest++;
	}
	/* "64", "64b", "64k", "64kb", "64kib"; but not "64ib" */
	for (size_t i = 0; i < sizeof(tails) / sizeof(tails[0]); i++)
		is_known = is_known || (strcasecmp(rest, tails[i]) == 0 && (unit || i < 2));
	if (!is_known)
		return -EINVAL;
	if (v > UINT64_MAX >> shift)
		return -ERANGE;
	*bytes = v << shift;
	return 0;
}

int str_parse_duration(const char *text, uint64_t *ms)
{
	static const struct {
		const char *name;
		uint64_t ms;
	} units[] = {{"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};
	size_t unit_count = sizeof(units) / sizeof(units[0]), next = 0;
	const char *p = text;
	uint64_t sum = 0;

	do {
		uint64_t v;
		size_t used, u, len;
		int code = parse_digits(p, strlen(p), 10, &v, &used);

		if (code)
			return code;
		p += used;
		if (*p == '\0' && p == text + used) { /* a bare number: seconds */
			u = 3;
			len = 0;
		} else {
			len = strspn(p, "dhms");
			/* "1h30m" : a unit ends where the next digit begins */
			for (u = next; u < unit_count; u++) {
				if (strlen(units[u].name) == len && strncmp(units[u].name, p, len) == 0)
					break;
			}
			if (u == unit_count)
				return -EINVAL;
		}
		p += len;
		next = u + 1;
		if (__builtin_mul_overflow(v, units[u].ms, &v) || __builtin_add_overflow(sum, v, &sum))
			return -ERANGE;
	} while (*p);
	*ms = sum;
	return 0;
}

char *str_size(char *dst, size_t size, uint64_t bytes)
{
	static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	uint64_t whole = bytes, rest = 0;
	size_t u = 0;

	if (bytes < 1024) {
		snprintf(dst, size, "%u B", (unsigned)bytes);
		return dst;
	}
	/* One place after the point, rounded down: "64.0 MiB" is never shown for less than 64 MiB. */
	for (;; u++) {
		rest = whole % 1024;
		whole /= 1024;
		if (whole < 1024)
			break;
	}
	snprintf(dst, size, "%u.%u %s", (unsigned)whole, (unsigned)(rest * 10 / 1024), units[u]);
	return dst;
}

char *str_duration(char *dst, size_t size, uint64_t ms)
{
	uint64_t s = ms / 1000;

	if (ms < 1000)
		snprintf(dst, size, "%ums", (unsigned)ms);
	else if (s < 60)
		snprintf(dst, size, "%us", (unsigned)s);
	else if (s < 3600)
		snprintf(dst, size, "%um%02us", (unsigned)(s / 60), (unsigned)(s % 60));
	else if (s < 86400)
		snprintf(dst, size, "%uh%02um", (unsigned)(s / 3600), (unsigned)(s / 60 % 60));
	else
		snprintf(dst, size, "%llud%uh", (unsigned long long)(s / 86400), (unsigned)(s / 3600 % 24));
	return dst;
}

#define DISTANCE_MAX 64

/* Optimal string alignment distance (Damerau and Levenshtein), three rows of the table at a time. */
unsigned str_distance(const char *a, const char *b)
{
	unsigned rows[3][DISTANCE_MAX + 1], *before = rows[0], *last = rows[1], *row = rows[2];
	size_t a_len = strlen(a), b_len = strlen(b);

	if (a_len > DISTANCE_MAX || b_len > DISTANCE_MAX)
		return strcmp(a, b) == 0 ? 0 : DISTANCE_MAX;
	for (size_t j = 0; j <= b_len; j++)
		last[j] = (unsigned)j;
	for (size_t i = 1; i <= a_len; i++) {
		unsigned *spare;

		row[0] = (unsigned)i;
		for (size_t j = 1; j <= b_len; j++) {
			unsigned best = last[j - 1] + (a[i - 1] != b[j - 1]);

			if (last[j] + 1 < best)
				best = last[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    before[j - 2] + 1 < best)
				best = before[j - 2] + 1;
			row[j] = best;
		}
		spare = before;
		before = last;
		last = row;
		row = spare;
	}
	return last[b_len];
}

const char *str_nearest(const char *text, const char *const *words, size_t count)
{
	const char *nearest = NULL;
	unsigned best = DISTANCE_MAX;

	for (size_t i = 0; i < count; i++) {
		unsigned d = str_distance(text, words[i]);
		size_t longer = strlen(words[i]) > strlen(text) ? strlen(words[i]) : strlen(text);

		/* Worth suggesting when at most a third of it differs, but one slip in a short word is fine. */
		if (d < best && (d <= longer / 3 || (d == 1 && longer > 1))) {
			best = d;
			nearest = words[i];
		}
	}
	return nearest;
}

/* Length of the UTF-8 sequence at p (1..4), 0 when there is none: no overlong forms, surrogates or codes above 10ffff. */
static size_t utf8_len(const unsigned char *p, size_t len)
{
	size_t n;
	uint32_t c;

	if (p[0] < 0x80)
		return 1;
	if (p[0] < 0xc2 || p[0] > 0xf4)
		return 0;
	n = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
	if (n > len)
		return 0;
	c = p[0] & (0xffu >> (n + 1));
	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3fu);
	}
	if ((n == 3 && (c < 0x800 || (c >= 0xd800 && c <= 0xdfff))) ||
	    (n == 4 && (c < 0x10000 || c > 0x10ffff)))
		return 0;
	return n;
}

bool str_is_utf8(const void *data, size_t len)
{
	const unsigned char *p = data, *end = p + len;

	while (p < end) {
		size_t n = *p ? utf8_len(p, (size_t)(end - p)) : 0;

		if (n == 0)
			return false;
		p += n;
	}
	return true;
}

/* One character or escape for what is at p; sets *used. `out` has room for 8 bytes. Returns its length. */
static size_t escape_one(char *out, const unsigned char *p, size_t len, size_t *used)
{
	static const char digits[] = "0123456789abcdef";
	size_t n = utf8_len(p, len);

	*used = 1;
	out[0] = '\\';
	switch (*p) {
	case '\n':
		out[1] = 'n';
		return 2;
	case '\t':
		out[1] = 't';
		return 2;
	case '\r':
		out[1] = 'r';
		return 2;
	case '"':
	case '\\':
		out[1] = (char)*p;
		return 2;
	default:
		break;
	}
	if (n == 0 || *p < 0x20 || *p == 0x7f) {
		out[1] = 'x';
		out[2] = digits[*p >> 4];
		out[3] = digits[*p & 15];
		return 4;
	}
	memcpy(out, p, n);
	*used = n;
	return n;
}

char *str_escape(char *dst, size_t size, const void *data, size_t len)
{
	const unsigned char *p = data, *end = p + len;
	size_t out = 0, safe = 0; /* safe: where "..." still fits */

	while (p < end) {
		char one[8];
		size_t used, n = escape_one(one, p, (size_t)(end - p), &used);

		if (out + n >= size) {
			if (size > 3) {
				memcpy(dst + safe, "...", 3);
				out = safe + 3;
			}
			break;
		}
		memcpy(dst + out, one, n);
		out += n;
		if (out + 3 < size)
			safe = out;
		p += used;
	}
	dst[out] = '\0';
	return dst;
}
