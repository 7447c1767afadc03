/*
 * err: error codes and the sentence that goes with them.
 *
 * Functions return 0 (or a count) or a negative code. Codes are errno values, plus the few of our own below, all
 * negated on return: `return -ENOENT;`, `return -E_CORRUPT;`.
 */
#ifndef CORE_BASE_ERR_H
#define CORE_BASE_ERR_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>

enum err_own {
	E_OWN_FIRST = 4096,
	E_CORRUPT = 4097, /* a checksum or a structure is wrong: the bytes are not what was written */
	E_UNKNOWN,        /* the third answer: neither found nor absent can be said now */
	E_KEY,            /* key or password missing or wrong; an authentication tag does not match */
	E_LOCKED,         /* another instance holds the lock */
	E_VERSION,        /* a format version that this program does not read */
	E_FENCED,         /* a newer generation of the volume exists: this one may not write any more */
	E_PARSE,          /* text that does not follow its syntax; a message says where */
	E_CONFIG,         /* understood, but not a valid configuration; a message says which key */
	E_LIMIT,          /* a bound of ours was hit */
	E_DEGRADED,       /* done or readable, but with less redundancy than asked for */
	E_PEER,           /* the other side answered with an error; a message holds its text */
	E_OWN_LAST,
};

/* The text for a code of either sign: "no such file or directory", "timed out". Static, never NULL, thread-safe. */
const char *err_str(int code);

/* Whether a code of either sign says that there is no room: of the disk, or of a quota (EDQUOT), which is handled alike. */
bool err_no_room(int code);

/* Whether it says that the kernel, or this kind of file, knows no such call or flag: another way has to do. */
bool err_unsupported(int code);

/* The exit code (core/base/applet.h) that our own verbs use for a code of either sign; 0 for 0. */
int err_exit_code(int code);

/* A sentence filled in by a function that fails, for the caller to print. text is always terminated; "" = none. */
struct err_text {
	char text[512];
};

/* Writes the sentence (cut at the end when too long) and returns `code`, so that one can `return err_set(...)`. `e` may be NULL. */
int err_set(struct err_text *e, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Puts "prefix: " before what the sentence already says, and returns `code`. `e` may be NULL. */
int err_prefix(struct err_text *e, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
