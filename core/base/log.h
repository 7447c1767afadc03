/*
 * log: one line per event, to stderr or a file, that never blocks and never stops a program.
 *
 * Two forms, chosen at log_init():
 *	LOG_CLI		zstor: cannot store d17: backend 10.0.0.3:9900: timed out
 *	LOG_DAEMON	2026-11-21T20:14:02.123Z warn zstor[412]: cannot store d17: ... backend=10.0.0.3:9900 try=3
 *
 * A line is at most LOG_LINE_MAX bytes (cut with "..."), is written with one write(2), and control characters in it
 * are shown as escapes, so that an event is always one line. When the descriptor cannot take a line at once (a full
 * pipe, a stopped terminal) the line is dropped and counted; the next line that gets through is preceded by one that
 * says how many were lost. A full disk is the same. Nothing here allocates. Any thread may log at any time; signal
 * handlers may not. Secrets are never passed to these functions: that is the caller's duty.
 */
#ifndef CORE_BASE_LOG_H
#define CORE_BASE_LOG_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

#define LOG_LINE_MAX 2048

enum log_level {
	LOG_LEVEL_ERR,  /* something was not done, or data is in danger */
	LOG_LEVEL_WARN, /* goes on, but somebody should know */
	LOG_LEVEL_INFO, /* life cycle: started, stopped, sealed, published */
	LOG_LEVEL_DEBUG,
};

enum log_form {
	LOG_CLI,
	LOG_DAEMON,
};

/*
 * Sets the name (kept as a pointer: static storage), the form and the most talkative level that is shown. May be called
 * again. Before the first call: name "qsfs", LOG_CLI, LOG_LEVEL_INFO, descriptor 2.
 */
void log_init(const char *who, enum log_form form, enum log_level level);
void log_level_set(enum log_level level);

/* Lines go to `fd` from now on (not owned, not closed). */
void log_fd_set(int fd);

/*
 * Opens (creates with 0640, appends to) a file, sends lines there from now on, and closes the one opened before by this
 * function: call it again with the same path after a rotation. Returns 0 or a negative errno; then nothing has changed.
 */
int log_file_open(const char *path);

/* Lines dropped since the start of the program. */
uint64_t log_dropped(void);

/* Use the macros below. log_at_v consumes `ap`. */
void log_at(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));
void log_at_v(enum log_level level, const char *format, va_list ap) __attribute__((format(printf, 2, 0)));
bool log_enabled(enum log_level level);

#define log_err(...)  log_at(LOG_LEVEL_ERR, __VA_ARGS__)
#define log_warn(...) log_at(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)                                                                                        \
	do {                                                                                                 \
		if (log_enabled(LOG_LEVEL_INFO))                                                             \
			log_at(LOG_LEVEL_INFO, __VA_ARGS__);                                                 \
	} while (0)
#define log_debug(...)                                                                                       \
	do {                                                                                                 \
		if (log_enabled(LOG_LEVEL_DEBUG))                                                            \
			log_at(LOG_LEVEL_DEBUG, __VA_ARGS__);                                                \
	} while (0)

/* Logs "<message>: <err_str(code)>" as an error and returns `code`: return log_code(rc, "cannot open %s", path); */
int log_code(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/*
 * Rate limit: at most `burst` passes in each `interval_ms`. log_limit_pass() says whether this one passes; *suppressed
 * (may be NULL) becomes how many were held back since the last that passed. Zero-initialised; one lock-free word each,
 * approximate under contention.
 */
struct log_limit {
	_Atomic uint64_t window_start_ms;
	_Atomic uint32_t passed;
	_Atomic uint32_t held_back;
};
/* Any thread. */
bool log_limit_pass(struct log_limit *limit, uint32_t interval_ms, uint32_t burst, uint32_t *suppressed);

/* A line of which at most one in `interval_ms` is shown from this place in the code; says how many were held back. */
#define log_every(interval_ms, level, format, ...)                                                           \
	do {                                                                                                 \
		static struct log_limit log_limit_here;                                                      \
		uint32_t log_held_here;                                                                      \
		if (log_enabled(level) &&                                                                    \
		    log_limit_pass(&log_limit_here, (interval_ms), 1, &log_held_here)) {                     \
			if (log_held_here)                                                                   \
				log_at((level), format " suppressed=%u", ##__VA_ARGS__, log_held_here);      \
			else                                                                                 \
				log_at((level), format, ##__VA_ARGS__);                                      \
		}                                                                                            \
	} while (0)

/* Start-up and one-shot commands only: logs an error and exits with `exit_code`. */
void die(int exit_code, const char *format, ...) __attribute__((noreturn, format(printf, 2, 3)));

/* An invariant of ours that does not hold: logs place and message, then aborts. On in every build. */
void log_bug(const char *file, int line, const char *what) __attribute__((noreturn, cold));
#define BUG_ON(condition)                                                                                    \
	do {                                                                                                 \
		if (__builtin_expect(!!(condition), 0))                                                      \
			log_bug(__FILE__, __LINE__, #condition);                                             \
	} while (0)

#endif
