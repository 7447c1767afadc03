/*
 * str: bounded strings, numbers from text, and "did you mean".
 *
 * Parsers accept the whole string or nothing: no leading blanks, no trailing characters, no silent overflow.
 */
#ifndef CORE_BASE_STR_H
#define CORE_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Copies with the NUL into `size` bytes (> 0). 0, or -ENAMETOOLONG: then dst holds the part that fits. */
int str_copy(char *dst, size_t size, const char *src);
int str_copy_n(char *dst, size_t size, const char *src, size_t len);

/* snprintf with an answer that cannot be ignored by accident: length, or -ENAMETOOLONG with the part that fits. */
int str_fmt(char *dst, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));

bool str_eq(const char *a, const char *b);        /* NULL equals only NULL */
bool str_eq_nocase(const char *a, const char *b); /* ASCII; NULL equals only NULL */
/* Bytes compared; neither may be NULL. */
bool str_starts(const char *text, const char *prefix);
bool str_ends(const char *text, const char *suffix);

/* Cuts ASCII blanks at both ends in place; returns where the text begins now. */
char *str_trim(char *text);

/*
 * Takes the next field up to `separator` (or the end) out of *cursor, in place: terminates it, moves *cursor behind the
 * separator, NULL after the last. Returns NULL when *cursor is NULL.
 */
char *str_next(char **cursor, char separator);

/*
 * Numbers: 0, -EINVAL (not such a number), -ERANGE (does not fit). Decimal; str_parse_u64_base takes base 2, 8, 10 or 16
 * without prefix. The _n forms take text that is not terminated.
 */
int str_parse_u64(const char *text, uint64_t *value);
int str_parse_u64_n(const char *text, size_t len, uint64_t *value);
int str_parse_u64_base(const char *text, unsigned base, uint64_t *value);
int str_parse_i64(const char *text, int64_t *value);
int str_parse_i64_n(const char *text, size_t len, int64_t *value);
int str_parse_u32(const char *text, uint32_t *value);

/* "true yes on 1" / "false no off 0", any case. 0 or -EINVAL. */
int str_parse_bool(const char *text, bool *value);

/* Bytes: 123, 64k, 64K, 64KB, 64KiB, 4M, 2G, 1T, any case: powers of 1024. "1.5G" is not accepted. */
int str_parse_size(const char *text, uint64_t *bytes);

/* Milliseconds: 250ms, 5s, 10m, 1h, 2d, and sums of these from large to small (1h30m); a bare number counts seconds. */
int str_parse_duration(const char *text, uint64_t *ms);

/* For people: "812 B", "4.2 MiB"; "250ms", "12s", "3m20s", "2h05m", "3d4h". Returns dst. 24 bytes are enough. */
#define STR_HUMAN_MAX 24
char *str_size(char *dst, size_t size, uint64_t bytes);
char *str_duration(char *dst, size_t size, uint64_t ms);

/* Changes (insert, delete, replace, swap of neighbours) that make one text the other; texts beyond 64 bytes count as 64 apart. */
unsigned str_distance(const char *a, const char *b);

/* The word of `count` nearest to `text`, NULL when none is near enough to be worth suggesting. */
const char *str_nearest(const char *text, const char *const *words, size_t count);

/* Whether the bytes are valid UTF-8 without NUL. */
bool str_is_utf8(const void *data, size_t len);

/*
 * Text made printable for a message: control characters, quotes, backslashes and bytes that are not UTF-8 become
 * escapes (\n \t \x1b \"). Cut with "..." when it does not fit. Returns dst.
 */
char *str_escape(char *dst, size_t size, const void *data, size_t len);

#endif
