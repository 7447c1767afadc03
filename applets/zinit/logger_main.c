/*
 * logger_main: the program of a logger child, see logger.h. It may block on its file as long as it likes: only the
 * supervisor's pipe to it fills up.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/log.h"
#include "core/base/str.h"

#include "applets/zinit/logger.h"

enum { PIECE = 65536 };

struct sink {
	const char *path;
	uint64_t max_size, size;
	unsigned keep;
	int fd;
	uint64_t lost; /* bytes that could not be written */
};

static bool open_file(struct sink *k)
{
	char dir[FILE_PATH_MAX];
	struct stat st;

	if (k->fd >= 0)
		return true;
	if (file_dirname(dir, sizeof(dir), k->path) == 0)
		(void)file_mkdir_p(dir, 0755); /* open says what is wrong */
	k->fd = open(k->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
	if (k->fd < 0) {
		log_every(60000, LOG_LEVEL_ERR, "cannot open %s: %s", k->path, strerror(errno));
		return false;
	}
	k->size = fstat(k->fd, &st) == 0 ? (uint64_t)st.st_size : 0;
	return true;
}

static void rotate(struct sink *k)
{
	char from[FILE_PATH_MAX], to[FILE_PATH_MAX];

	close(k->fd);
	k->fd = -1;
	for (unsigned i = k->keep; i > 0; i--) {
		if (str_fmt(to, sizeof(to), "%s.%u", k->path, i) < 0)
			return;
		if (i == 1)
			str_copy(from, sizeof(from), k->path);
		else if (str_fmt(from, sizeof(from), "%s.%u", k->path, i - 1) < 0)
			return;
		rename(from, to); /* absent ones are no error */
	}
	if (k->keep == 0)
		unlink(k->path);
}

/* Writes all of it; what a full disk does not take is counted, not waited for. */
static void write_bytes(struct sink *k, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = open_file(k) ? write(k->fd, data, len) : -1;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			k->lost += len;
			log_every(60000, LOG_LEVEL_ERR, "cannot write %s: %s", k->path, strerror(errno));
			return;
		}
		data += n;
		len -= (size_t)n;
		k->size += (uint64_t)n;
	}
}

static void take(struct sink *k, const char *data, size_t len)
{
	while (len > 0) {
		const char *newline = memchr(data, '\n', len);
		size_t n = newline ? (size_t)(newline - data) + 1 : len;

		/* As many whole lines at once as fit below the limit. */
		while (newline && k->size + n < k->max_size && n < len) {
			const char *next = memchr(data + n, '\n', len - n);

			if (!next || k->size + (size_t)(next - data) + 1 > k->max_size)
				break;
			n = (size_t)(next - data) + 1;
		}
		write_bytes(k, data, n);
		if (newline && k->fd >= 0 && k->size >= k->max_size)
			rotate(k);
		data += n;
		len -= n;
	}
}

int logger_main(const char *path, uint64_t max_size, unsigned keep)
{
	static char data[PIECE];
	struct sink k = {.path = path, .max_size = max_size ? max_size : UINT64_MAX, .keep = keep, .fd = -1};

	/* It ends when the supervisor closes the pipe, with everything written. */
	signal(SIGTERM, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	for (;;) {
		ssize_t n = read(STDIN_FILENO, data, sizeof(data));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		take(&k, data, (size_t)n);
	}
	if (k.fd >= 0)
		close(k.fd);
	return k.lost ? 1 : 0;
}
