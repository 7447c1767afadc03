/*
 * logger: see logger.h; this is the supervisor's side.
 */
#include "applets/zinit/logger.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/file.h"
#include "core/base/mem.h"
#include "core/base/spawn.h"
#include "core/base/str.h"

#include "applets/zinit/note.h"

enum {
	QUEUE_BYTES = 512 << 10,
	QUEUE_PAUSE = 128 << 10, /* beyond this the service's pipes are not read */
	STUCK_MS = 1000,
	RESPAWN_MS = 1000,
};

struct logger {
	struct service *service;
	pid_t pid;
	uint64_t started_ms;
	int read_fd;       /* the child's end, kept for the next one */
	struct loop_io io; /* our end; waits for EPOLLOUT only while something is queued */
	struct loop_timer stuck;
	char *queue; /* QUEUE_BYTES, touched as needed */
	size_t start, len;
	uint64_t dropped;
	bool is_paused, is_stuck;
	char path[FILE_PATH_MAX];
};

static void pause_captures(struct logger *l, bool is_paused)
{
	if (l->is_paused == is_paused)
		return;
	l->is_paused = is_paused;
	for (int i = 0; i < RING_STREAM_COUNT; i++)
		if (l->service->captures[i].write_fd >= 0)
			loop_io_set(&l->service->captures[i].io, is_paused ? 0 : EPOLLIN);
}

static void start_child(struct logger *l)
{
	char size[24], keep[16];
	const char *argv[] = {"zinit", "logger", l->path, size, keep, NULL};
	struct spawn spawn = {
		.path = "/proc/self/exe",
		.argv = argv,
		.fds = {{0, l->read_fd}, {2, STDERR_FILENO}},
		.fd_count = 2,
		.new_session = true,
	};
	struct spawned child;
	struct err_text err = {.text = ""};
	uint64_t now = clock_mono_ms();

	if (l->pid || (l->started_ms && now - l->started_ms < RESPAWN_MS))
		return;
	l->started_ms = now;
	snprintf(size, sizeof(size), "%llu", (unsigned long long)l->service->unit->log_max_size);
	snprintf(keep, sizeof(keep), "%u", l->service->unit->log_keep);
	if (spawn_start(&spawn, &child, &err)) {
		log_every(10000, LOG_LEVEL_WARN, "WARN (log) %s: no logger: %s", l->service->name, err.text);
		return;
	}
	if (child.pidfd >= 0)
		close(child.pidfd);
	l->pid = child.pid;
}

/* Writes what the pipe takes. */
static void flush(struct logger *l)
{
	bool has_moved = false;

	while (l->len > 0) {
		ssize_t n = write(l->io.fd, l->queue + l->start, l->len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		l->start += (size_t)n;
		l->len -= (size_t)n;
		has_moved = true;
	}
	if (l->len == 0)
		l->start = 0;
	if (has_moved) {
		l->is_stuck = false;
		loop_timer_stop(&l->stuck);
	}
	loop_io_set(&l->io, l->len ? EPOLLOUT : 0);
	if (l->len <= QUEUE_PAUSE)
		pause_captures(l, false);
	if (l->len > 0 && !loop_timer_is_armed(&l->stuck) && !l->is_stuck)
		loop_timer_start(&l->service->sup->loop, &l->stuck, STUCK_MS);
}

static void on_writable(struct loop_io *io, uint32_t events)
{
	struct logger *l = io->ctx;

	(void)events;
	if (l->pid == 0)
		start_child(l);
	flush(l);
}

static void on_stuck(struct loop_timer *timer)
{
	struct logger *l = timer->ctx;

	if (l->pid == 0)
		start_child(l);
	l->is_stuck = true;
	pause_captures(l, false);
}

static bool queue_add(struct logger *l, const void *data, size_t len)
{
	if (l->start + l->len + len > QUEUE_BYTES) {
		memmove(l->queue, l->queue + l->start, l->len);
		l->start = 0;
	}
	if (l->len + len > QUEUE_BYTES)
		return false;
	memcpy(l->queue + l->start + l->len, data, len);
	l->len += len;
	return true;
}

void logger_line(struct logger *l, const struct ring_line *line, const void *data)
{
	bool is_test = line->stream == RING_TEST_OUT || line->stream == RING_TEST_ERR;
	char prefix[UNIT_NAME_MAX + 32], note_text[64];
	int n = snprintf(prefix, sizeof(prefix),
			 "[%c] %s%s: ", line->stream == RING_OUT || line->stream == RING_TEST_OUT ? '+' : '-',
			 l->service->name, is_test ? "/test" : "");

	if (l->len + (size_t)n + line->len + 128 > QUEUE_BYTES) {
		l->dropped++;
		return;
	}
	if (l->dropped) {
		int m = snprintf(note_text, sizeof(note_text), "[-] zinit: %llu lines dropped\n",
				 (unsigned long long)l->dropped);

		queue_add(l, note_text, (size_t)m);
		l->dropped = 0;
	}
	queue_add(l, prefix, (size_t)n);
	queue_add(l, data, line->len);
	/* Pieces of one long line are joined again. */
	queue_add(l, "\n", line->is_cut ? 0 : 1);
	if (l->pid == 0)
		start_child(l);
	flush(l);
	if (l->len > QUEUE_PAUSE && !l->is_stuck)
		pause_captures(l, true);
}

static int make_path(struct logger *l)
{
	const struct unit *unit = l->service->unit;
	const char *file = unit_str(unit, unit->log_file), *dir = l->service->sup->options.log_dir;
	int rc;

	if (file && file[0] == '/')
		return str_copy(l->path, sizeof(l->path), file);
	rc = file ? str_fmt(l->path, sizeof(l->path), "%s/%s/%s", dir, l->service->name, file)
		  : str_fmt(l->path, sizeof(l->path), "%s/%s/%s.log", dir, l->service->name,
			    file_basename(l->service->name));
	return rc < 0 ? rc : 0;
}

int logger_new(struct service *s)
{
	struct logger *l;
	int fds[2], rc;

	if (s->unit->log != UNIT_LOG_FILE)
		return 0;
	l = mem_calloc(1, sizeof(*l));
	if (!l)
		return -ENOMEM;
	s->logger = l;
	l->service = s;
	l->read_fd = l->io.fd = -1;
	loop_timer_init(&l->stuck, on_stuck, l);
	rc = make_path(l);
	if (rc)
		return rc;
	l->queue = mmap(NULL, QUEUE_BYTES, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (l->queue == MAP_FAILED) {
		l->queue = NULL;
		return -ENOMEM;
	}
	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	fcntl(fds[1], F_SETFL, O_NONBLOCK);
	l->read_fd = fds[0];
	loop_io_init(&l->io, fds[1], 0, on_writable, l);
	return loop_io_add(&s->sup->loop, &l->io);
}

void logger_free(struct service *s)
{
	struct logger *l = s->logger;

	if (!l)
		return;
	loop_timer_stop(&l->stuck);
	if (l->io.fd >= 0) {
		loop_io_del(&l->io);
		close(l->io.fd);
	}
	if (l->read_fd >= 0)
		close(l->read_fd);
	if (l->queue)
		munmap(l->queue, QUEUE_BYTES);
	mem_free(l);
	s->logger = NULL;
}

bool logger_reaped(struct sup *sup, pid_t pid)
{
	sup_each(sup, s)
	{
		if (!s->logger || s->logger->pid != pid)
			continue;
		s->logger->pid = 0;
		/* What is in the pipe is not lost: the next one reads it. */
		if (!sup->is_stopping)
			loop_timer_start(&sup->loop, &s->logger->stuck, RESPAWN_MS);
		return true;
	}
	return false;
}

void logger_close_all(struct sup *sup)
{
	sup_each(sup, s)
	{
		struct logger *l = s->logger;

		if (!l || l->io.fd < 0)
			continue;
		flush(l);
		loop_timer_stop(&l->stuck);
		loop_io_del(&l->io);
		close(l->io.fd);
		close(l->read_fd);
		l->io.fd = l->read_fd = -1;
	}
}
