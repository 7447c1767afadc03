/*
 * log: lines to a descriptor, never blocking.
 *
 * How a blocking descriptor is kept from blocking us: pipes, sockets and terminals are asked with poll(2) first, and a
 * pipe that is writable has room for PIPE_BUF bytes, more than a line. O_NONBLOCK is not set, because the open file may be
 * shared with programs that do not expect it. Another writer can fill the pipe between poll and write; POSIX has no
 * answer to that, and the window is a few instructions.
 *
 * State: atomics, and one mutex around opening and closing the log file. A line is formatted on the stack and written
 * with one call, so that lines of several threads never mix.
 */
#include "core/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/err.h"

static const char *const level_names[] = {"error", "warn", "info", "debug"};

static struct {
	_Atomic(const char *) who;
	atomic_int form, level, fd;
	atomic_int may_block; /* whether writing to fd can wait: 1, 0, or -1 while nobody has looked */
	atomic_uint_fast64_t dropped, dropped_told;
	pthread_mutex_t file_lock; /* guards file_fd */
	int file_fd;
} L = {
	.who = "qsfs",
	.form = LOG_CLI,
	.level = LOG_LEVEL_INFO,
	.fd = STDERR_FILENO,
	.may_block = -1,
	.file_lock = PTHREAD_MUTEX_INITIALIZER,
	.file_fd = -1,
};

void log_init(const char *who, enum log_form form, enum log_level level)
{
	atomic_store(&L.who, who);
	atomic_store(&L.form, (int)form);
	atomic_store(&L.level, (int)level);
}

void log_level_set(enum log_level level)
{
	atomic_store(&L.level, (int)level);
}

bool log_enabled(enum log_level level)
{
	return (int)level <= atomic_load_explicit(&L.level, memory_order_relaxed);
}

void log_fd_set(int fd)
{
	atomic_store(&L.fd, fd);
	atomic_store(&L.may_block, -1);
}

int log_file_open(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0640);
	int code = 0;

	if (fd < 0)
		return -errno;
	pthread_mutex_lock(&L.file_lock);
	if (L.file_fd >= 0) {
		/* dup3 keeps the number: a thread that is about to write there writes to the old or the new file. */
		if (dup3(fd, L.file_fd, O_CLOEXEC) < 0)
			code = -errno;
		close(fd);
	} else {
		L.file_fd = fd;
	}
	if (code == 0)
		log_fd_set(L.file_fd);
	pthread_mutex_unlock(&L.file_lock);
	return code;
}

uint64_t log_dropped(void)
{
	return atomic_load(&L.dropped);
}

/* Files, and devices other than terminals (some, like /dev/kmsg, never say that they are writable), take a line at once. */
static bool may_block(int fd)
{
	int known = atomic_load(&L.may_block);
	struct stat st;

	if (known < 0) {
		known = fstat(fd, &st) < 0 || !(S_ISREG(st.st_mode) || (S_ISCHR(st.st_mode) && !isatty(fd)));
		atomic_store(&L.may_block, known);
	}
	return known;
}

/* One whole line, or false when it could not be written at once. */
static bool write_line(int fd, const char *line, size_t len)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	ssize_t n;

	/* A hung-up pipe would raise SIGPIPE or EPIPE: dropped as well. */
	if (may_block(fd) &&
	    (poll(&p, 1, 0) != 1 || !(p.revents & POLLOUT) || (p.revents & (POLLERR | POLLHUP | POLLNVAL))))
		return false;
	do {
		n = write(fd, line, len);
	} while (n < 0 && errno == EINTR);
	return n == (ssize_t)len;
}

/* Space that the prefix, the message, the cut mark and the newline share. */
struct line {
	char text[LOG_LINE_MAX];
	size_t len;
};

static void line_start(struct line *l, enum log_level level)
{
	const char *who = atomic_load(&L.who);
	char when[CLOCK_ISO_MAX];
	int n;

	if (atomic_load(&L.form) == LOG_DAEMON) {
		struct timespec now = {0};

		/* Not through sys: a test that counts the engine's calls must not count ours. */
		clock_gettime(CLOCK_REALTIME, &now);
		clock_iso(when, (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000);
		n = snprintf(l->text, sizeof(l->text) / 4, "%s %s %s[%d]: ", when, level_names[level], who,
			     (int)getpid());
	} else {
		n = snprintf(l->text, sizeof(l->text) / 4, "%s: ", who);
	}
	l->len = n < 0 ? 0 : (size_t)n;
	if (l->len >= sizeof(l->text) / 4)
		l->len = sizeof(l->text) / 4 - 1;
}

/* Puts the message behind the prefix; control characters become escapes, so that one event stays one line. */
static void line_add(struct line *l, const char *message)
{
	static const char digits[] = "0123456789abcdef";
	const size_t room = sizeof(l->text) - 8; /* an escape, or "...", and the newline */

	for (const unsigned char *p = (const unsigned char *)message; *p; p++) {
		if (l->len >= room) {
			memcpy(l->text + l->len, "...", 3);
			l->len += 3;
			break;
		}
		if (*p >= 0x20 && *p != 0x7f) {
			l->text[l->len++] = (char)*p;
		} else if (*p == '\n' && p[1] == '\0') {
			break; /* a habit of some callers, not part of the message */
		} else if (*p == '\n' || *p == '\t') {
			l->text[l->len++] = '\\';
			l->text[l->len++] = *p == '\n' ? 'n' : 't';
		} else {
			l->text[l->len++] = '\\';
			l->text[l->len++] = 'x';
			l->text[l->len++] = digits[*p >> 4];
			l->text[l->len++] = digits[*p & 15];
		}
	}
	l->text[l->len++] = '\n';
}

/* Tells about lost lines first, if there were any, so that a gap is visible where it is. */
static void tell_dropped(int fd)
{
	uint64_t dropped = atomic_load(&L.dropped), told = atomic_load(&L.dropped_told);
	struct line l;
	char message[64];

	if (dropped == told)
		return;
	line_start(&l, LOG_LEVEL_WARN);
	snprintf(message, sizeof(message), "log lines dropped=%llu", (unsigned long long)(dropped - told));
	line_add(&l, message);
	if (write_line(fd, l.text, l.len))
		atomic_compare_exchange_strong(&L.dropped_told, &told, dropped);
}

void log_at_v(enum log_level level, const char *format, va_list ap)
{
	int saved = errno, fd = atomic_load(&L.fd);
	char message[LOG_LINE_MAX];
	struct line l;

	if (!log_enabled(level))
		return;
	vsnprintf(message, sizeof(message), format, ap);
	line_start(&l, level);
	line_add(&l, message);
	tell_dropped(fd);
	if (!write_line(fd, l.text, l.len))
		atomic_fetch_add(&L.dropped, 1);
	errno = saved;
}

void log_at(enum log_level level, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	log_at_v(level, format, ap);
	va_end(ap);
}

int log_code(int code, const char *format, ...)
{
	char message[LOG_LINE_MAX];
	va_list ap;

	va_start(ap, format);
	vsnprintf(message, sizeof(message), format, ap);
	va_end(ap);
	log_at(LOG_LEVEL_ERR, "%s: %s", message, err_str(code));
	return code;
}

bool log_limit_pass(struct log_limit *limit, uint32_t interval_ms, uint32_t burst, uint32_t *suppressed)
{
	struct timespec ts = {0};
	uint64_t now, start;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	now = (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000 + 1; /* 0 means "never" */
	start = atomic_load(&limit->window_start_ms);
	if ((start == 0 || now - start >= interval_ms) &&
	    atomic_compare_exchange_strong(&limit->window_start_ms, &start, now))
		atomic_store(&limit->passed, 0);
	if (atomic_fetch_add(&limit->passed, 1) >= burst) {
		atomic_fetch_add(&limit->held_back, 1);
		return false;
	}
	if (suppressed)
		*suppressed = atomic_exchange(&limit->held_back, 0);
	return true;
}

void die(int exit_code, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	log_at_v(LOG_LEVEL_ERR, format, ap);
	va_end(ap);
	exit(exit_code);
}

void log_bug(const char *file, int line, const char *what)
{
	log_at(LOG_LEVEL_ERR, "bug at %s:%d: %s does not hold", file, line, what);
	abort();
}
