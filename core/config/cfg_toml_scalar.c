/*
 * cfg_toml_scalar: TOML's strings, numbers, booleans and dates (TOML 1.0.0, sections String to Local Time).
 */
#include "core/config/cfg_toml.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "core/base/str.h"

int toml_fail(struct toml *t, const char *what)
{
	return cfg_fail(t->b, t->line, -E_PARSE, "%s", what);
}

static int put(struct toml *t, const void *data, size_t len)
{
	int code = buf_append(&t->text, data, len);

	return code ? cfg_fail(t->b, t->line, code, "%s", err_str(code)) : 0;
}

/* ---- strings ---- */

static int put_code_point(struct toml *t, uint32_t c)
{
	unsigned char out[4];
	size_t len;

	if (c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return toml_fail(t, "escape of something that is no character");
	if (c < 0x80) {
		out[0] = (unsigned char)c;
		len = 1;
	} else if (c < 0x800) {
		out[0] = (unsigned char)(0xc0 | c >> 6);
		len = 2;
	} else if (c < 0x10000) {
		out[0] = (unsigned char)(0xe0 | c >> 12);
		len = 3;
	} else {
		out[0] = (unsigned char)(0xf0 | c >> 18);
		len = 4;
	}
	for (size_t i = 1; i < len; i++)
		out[i] = (unsigned char)(0x80 | (c >> 6 * (len - 1 - i) & 0x3f));
	return put(t, out, len);
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
		return (c | 0x20) - 'a' + 10;
	return -1;
}

static int read_unicode(struct toml *t, unsigned digits)
{
	uint32_t c = 0;

	for (unsigned i = 0; i < digits; i++) {
		int v = hex_value(*t->at);

		if (v < 0)
			return toml_fail(t, "escape with too few hexadecimal digits");
		c = c << 4 | (uint32_t)v;
		t->at++;
	}
	return put_code_point(t, c);
}

/* A backslash at the end of a line of a multi-line string: it and all blanks and newlines after it vanish. */
static bool skip_line_end(struct toml *t)
{
	const char *p = t->at;

	while (*p == ' ' || *p == '\t')
		p++;
	if (*p != '\n' && !(*p == '\r' && p[1] == '\n'))
		return false;
	for (;; p++) {
		if (*p == '\n')
			t->line++;
		else if (*p != ' ' && *p != '\t' && !(*p == '\r' && p[1] == '\n'))
			break;
	}
	t->at = p;
	return true;
}

/* t->at is behind the backslash. */
static int read_escape(struct toml *t, bool is_multi)
{
	static const char names[] = "btnfr\"\\", values[] = "\b\t\n\f\r\"\\";
	const char *known = *t->at ? strchr(names, *t->at) : NULL;

	if (known) {
		t->at++;
		return put(t, &values[known - names], 1);
	}
	if (*t->at == 'u' || *t->at == 'U') {
		t->at++;
		return read_unicode(t, t->at[-1] == 'u' ? 4 : 8);
	}
	if (is_multi && skip_line_end(t))
		return 0;
	return toml_fail(t, "unknown escape in a string");
}

/* One line end of a multi-line string, which becomes \n. */
static int read_newline(struct toml *t)
{
	t->at += *t->at == '\r' ? 2 : 1;
	t->line++;
	return put(t, "\n", 1);
}

static bool is_newline(const struct toml *t)
{
	return *t->at == '\n' || (*t->at == '\r' && t->at[1] == '\n');
}

static bool is_control(char c)
{
	return ((unsigned char)c < 0x20 && c != '\t') || c == 0x7f;
}

/* The end of a multi-line string: three quotes, of which up to two more may stand before them as content. */
static bool read_multi_end(struct toml *t, char quote, int *code)
{
	size_t run = 0;

	while (t->at[run] == quote)
		run++;
	if (run < 3) {
		if (run)
			*code = put(t, t->at, run);
		t->at += run;
		return false;
	}
	if (run > 5)
		*code = toml_fail(t, "too many quotes at the end of a string");
	else if (run > 3)
		*code = put(t, t->at, run - 3);
	t->at += run;
	return true;
}

static int read_multi(struct toml *t, char quote)
{
	int code = 0;

	if (is_newline(t)) { /* directly behind the opening quotes: not part of it */
		t->at += *t->at == '\r' ? 2 : 1;
		t->line++;
	}
	while (code == 0) {
		if (t->at == t->end)
			return toml_fail(t, "string without its end");
		if (*t->at == quote) {
			if (read_multi_end(t, quote, &code))
				return code;
		} else if (is_newline(t)) {
			code = read_newline(t);
		} else if (*t->at == '\\' && quote == '"') {
			t->at++;
			code = read_escape(t, true);
		} else if (is_control(*t->at)) {
			return toml_fail(t, "control character in a string");
		} else {
			code = put(t, t->at++, 1);
		}
	}
	return code;
}

static int read_single(struct toml *t, char quote)
{
	int code = 0;

	while (code == 0) {
		if (t->at == t->end || is_newline(t))
			return toml_fail(t, "string without its end");
		if (*t->at == quote) {
			t->at++;
			return 0;
		}
		if (*t->at == '\\' && quote == '"') {
			t->at++;
			code = read_escape(t, false);
		} else if (is_control(*t->at)) {
			return toml_fail(t, "control character in a string");
		} else {
			code = put(t, t->at++, 1);
		}
	}
	return code;
}

int toml_read_string(struct toml *t, bool may_span)
{
	char quote = *t->at;

	buf_clear(&t->text);
	if (t->at[1] == quote && t->at[2] == quote) {
		if (!may_span)
			return toml_fail(t, "a multi-line string cannot be a key");
		t->at += 3;
		return read_multi(t, quote);
	}
	t->at++;
	return read_single(t, quote);
}

/* ---- dates: checked, and kept as text ---- */

/* Exactly `count` digits within [lo, hi]; moves *p. */
static bool take_digits(const char **p, int count, int lo, int hi, int *value)
{
	int v = 0;

	for (int i = 0; i < count; i++) {
		char c = (*p)[i];

		if (c < '0' || c > '9')
			return false;
		v = v * 10 + (c - '0');
	}
	*p += count;
	*value = v;
	return v >= lo && v <= hi;
}

static bool take_char(const char **p, char c)
{
	if (**p != c)
		return false;
	(*p)++;
	return true;
}

static int days_in(int year, int month)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

	return days[month - 1] + (month == 2 && is_leap);
}

static bool take_date(const char **p)
{
	int year, month, day;

	return take_digits(p, 4, 0, 9999, &year) && take_char(p, '-') && take_digits(p, 2, 1, 12, &month) &&
	       take_char(p, '-') && take_digits(p, 2, 1, days_in(year, month), &day);
}

static bool take_time(const char **p)
{
	int v;

	/* 60: leap seconds are in RFC 3339. */
	if (!take_digits(p, 2, 0, 23, &v) || !take_char(p, ':') || !take_digits(p, 2, 0, 59, &v) ||
	    !take_char(p, ':') || !take_digits(p, 2, 0, 60, &v))
		return false;
	if (!take_char(p, '.'))
		return true;
	v = 0;
	for (; **p >= '0' && **p <= '9'; (*p)++)
		v++;
	return v > 0;
}

static bool take_offset(const char **p)
{
	int v;

	if (**p == 'Z' || **p == 'z') {
		(*p)++;
		return true;
	}
	if (**p != '+' && **p != '-')
		return false;
	(*p)++;
	return take_digits(p, 2, 0, 23, &v) && take_char(p, ':') && take_digits(p, 2, 0, 59, &v);
}

/* Length of the date, time or both at p; 0 when there is none. A blank may stand for the T between date and time. */
static size_t date_len(const char *p)
{
	const char *q = p, *behind;

	if (take_time(&q))
		return (size_t)(q - p);
	q = p;
	if (!take_date(&q))
		return 0;
	behind = q;
	if (*q != 'T' && *q != 't' && !(*q == ' ' && q[1] >= '0' && q[1] <= '9'))
		return (size_t)(q - p);
	q++;
	if (!take_time(&q))
		return 0;
	behind = q;
	if (take_offset(&q))
		behind = q;
	return (size_t)(behind - p);
}

/* ---- numbers ---- */

static bool is_digit_of(char c, unsigned base)
{
	int v = hex_value(c);

	return v >= 0 && (unsigned)v < base;
}

/*
 * Digits with single underscores between them, into t->text without these. Returns how many digits, 0 when there are none
 * or an underscore stands wrong.
 */
static size_t take_number(struct toml *t, const char **p, unsigned base, int *code)
{
	const char *q = *p;
	size_t count = 0;

	while (*code == 0 && is_digit_of(*q, base)) {
		*code = put(t, q++, 1);
		count++;
		if (*q == '_' && is_digit_of(q[1], base))
			q++;
	}
	*p = q;
	return count;
}

/* Behind a value only these may stand. */
static bool is_value_end(char c)
{
	return c == '\0' || strchr(" \t\r\n#,]}", c) != NULL;
}

/* 0x, 0o, 0b: no sign; the text becomes decimal. */
static int read_based(struct toml *t, struct cfg_node *node, unsigned base)
{
	const char *p = t->at + 2;
	char decimal[24];
	uint64_t v;
	int code = 0;

	buf_clear(&t->text);
	if (take_number(t, &p, base, &code) == 0 || !is_value_end(*p))
		return code ? code : toml_fail(t, "not a number");
	if (!buf_str(&t->text))
		return cfg_fail(t->b, t->line, -ENOMEM, "%s", err_str(ENOMEM));
	if (str_parse_u64_base((const char *)t->text.data, base, &v) || v > INT64_MAX)
		return toml_fail(t, "number too large");
	snprintf(decimal, sizeof(decimal), "%llu", (unsigned long long)v);
	t->at = p;
	return cfg_set_text(t->b, node, CFG_INT, decimal, strlen(decimal));
}

/* The fraction and the exponent of a float, if there are any. Returns false when one is there but wrong. */
static bool take_fraction(struct toml *t, const char **p, bool *is_float, int *code)
{
	if (**p == '.') {
		*is_float = true;
		*code = put(t, (*p)++, 1);
		if (*code || take_number(t, p, 10, code) == 0)
			return false;
	}
	if (**p == 'e' || **p == 'E') {
		*is_float = true;
		*code = put(t, (*p)++, 1);
		if (*code == 0 && (**p == '+' || **p == '-'))
			*code = put(t, (*p)++, 1);
		if (*code || take_number(t, p, 10, code) == 0)
			return false;
	}
	return true;
}

static int read_decimal(struct toml *t, struct cfg_node *node)
{
	const char *p = t->at;
	bool is_float = false, is_zero_led;
	int64_t v = 0;
	size_t digits;
	int code = 0;

	buf_clear(&t->text);
	if (*p == '+' || *p == '-') {
		if (*p == '-')
			code = put(t, p, 1);
		p++;
	}
	if (strncmp(p, "inf", 3) == 0 || strncmp(p, "nan", 3) == 0) {
		if (code == 0)
			code = put(t, p, 3);
		p += 3;
		is_float = true;
	} else {
		is_zero_led = *p == '0';
		digits = take_number(t, &p, 10, &code);
		if (code == 0 &&
		    (digits == 0 || (is_zero_led && digits > 1) || !take_fraction(t, &p, &is_float, &code)))
			return code ? code : toml_fail(t, "not a value");
	}
	if (code)
		return code;
	if (!is_value_end(*p))
		return toml_fail(t, "not a value");
	if (!is_float && str_parse_i64_n((const char *)t->text.data, t->text.len, &v))
		return toml_fail(t, "number too large");
	t->at = p;
	if (!is_float && v == 0) /* -0 is 0 */
		return cfg_set_text(t->b, node, CFG_INT, "0", 1);
	return cfg_set_text(t->b, node, is_float ? CFG_FLOAT : CFG_INT, (const char *)t->text.data,
			    t->text.len);
}

static int read_word(struct toml *t, struct cfg_node *node, const char *word)
{
	size_t len = strlen(word);

	if (strncmp(t->at, word, len) != 0 || !is_value_end(t->at[len]))
		return toml_fail(t, "not a value");
	t->at += len;
	return cfg_set_text(t->b, node, CFG_BOOL, word, len);
}

int toml_read_bare(struct toml *t, struct cfg_node *node)
{
	size_t len;

	if (*t->at == 't')
		return read_word(t, node, "true");
	if (*t->at == 'f')
		return read_word(t, node, "false");
	len = date_len(t->at);
	if (len && is_value_end(t->at[len])) {
		t->at += len;
		return cfg_set_text(t->b, node, CFG_DATE, t->at - len, len);
	}
	if (t->at[0] == '0' && t->at[1] == 'x')
		return read_based(t, node, 16);
	if (t->at[0] == '0' && t->at[1] == 'o')
		return read_based(t, node, 8);
	if (t->at[0] == '0' && t->at[1] == 'b')
		return read_based(t, node, 2);
	return read_decimal(t, node);
}
