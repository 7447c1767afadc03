/*
 * spawn_run: the waiting form of spawn, for start-up and one-shot commands.
 */
#include "core/base/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/clock.h"

/* How often a child is looked at on a kernel without pidfd. */
#define NO_PIDFD_TICK_MS 20

struct run {
	int out_fd, err_fd; /* our ends; -1 = not captured, or at its end */
	struct buf *out, *err_out;
	struct spawned child;
	bool is_ended;
	int status;
};

static int capture(struct spawn *s, int child_fd, int *read_fd)
{
	int fds[2];

	if (s->fd_count == SPAWN_FDS_MAX)
		return -EINVAL;
	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	(void)fcntl(fds[0], F_SETFL, O_NONBLOCK);
	*read_fd = fds[0];
	s->fds[s->fd_count++] = (struct spawn_fd){.child_fd = child_fd, .parent_fd = fds[1]};
	return 0;
}

static bool is_listed(const struct spawn *s, int child_fd)
{
	for (size_t i = 0; i < s->fd_count; i++) {
		if (s->fds[i].child_fd == child_fd)
			return true;
	}
	return false;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* Takes what is there; beyond the bound it is thrown away, so that the child never waits for us. */
static void take(int *fd, struct buf *to)
{
	char chunk[4096];
	ssize_t n;

	while (*fd >= 0) {
		n = read(*fd, chunk, sizeof(chunk));
		if (n > 0) {
			size_t room = to->max - to->len;

			(void)buf_append(to, chunk, (size_t)n < room ? (size_t)n : room);
		} else if (n < 0 && errno == EINTR) {
			continue;
		} else if (n < 0 && errno == EAGAIN) {
			return;
		} else {
			close_fd(fd);
		}
	}
}

static void check_end(struct run *r)
{
	pid_t pid;

	if (r->is_ended)
		return;
	do {
		pid = waitpid(r->child.pid, &r->status, WNOHANG);
	} while (pid < 0 && errno == EINTR);
	if (pid < 0)
		r->status = 255 << 8; /* somebody else took it: never looks like success */
	r->is_ended = pid != 0;
}

/* One wait for output, for the end, or for the deadline. */
static void wait_some(struct run *r, uint64_t deadline_ms)
{
	struct pollfd fds[3] = {
		{.fd = r->out_fd, .events = POLLIN},
		{.fd = r->err_fd, .events = POLLIN},
		{.fd = r->child.pidfd, .events = POLLIN},
	};
	int left = clock_left_ms(deadline_ms);

	if (r->child.pidfd < 0 && (left < 0 || left > NO_PIDFD_TICK_MS))
		left = NO_PIDFD_TICK_MS;
	(void)poll(fds, 3, left); /* EINTR is one more round */
	take(&r->out_fd, r->out);
	take(&r->err_fd, r->err_out);
	check_end(r);
}

static int wait_for_end(struct run *r, uint64_t deadline_ms, bool is_group)
{
	int code = 0;

	while (!r->is_ended) {
		wait_some(r, deadline_ms);
		if (!r->is_ended && clock_left_ms(deadline_ms) == 0) {
			code = -ETIMEDOUT;
			kill(is_group ? -r->child.pid : r->child.pid, SIGKILL);
			deadline_ms = CLOCK_NEVER;
		}
	}
	/* What it wrote last. A grandchild that keeps the pipe open is not waited for. */
	take(&r->out_fd, r->out);
	take(&r->err_fd, r->err_out);
	return code;
}

int spawn_run(const struct spawn *spec, int timeout_ms, struct buf *out, struct buf *err_out, int *status,
	      struct err_text *err)
{
	struct spawn s = *spec;
	struct run r = {.out_fd = -1, .err_fd = -1, .out = out, .err_out = err_out, .child = {.pidfd = -1}};
	uint64_t deadline_ms = clock_deadline(timeout_ms);
	const char *program = s.path ? s.path : s.argv[0];
	int code = 0;

	/* A group of its own, so that the deadline ends what the program has started, too. */
	if (timeout_ms >= 0 && !s.new_session)
		s.new_group = true;
	if (out)
		code = capture(&s, STDOUT_FILENO, &r.out_fd);
	if (code == 0 && err_out)
		code = capture(&s, STDERR_FILENO, &r.err_fd);
	else if (code == 0 && !err_out && !s.keep_stdio && s.fd_count < SPAWN_FDS_MAX &&
		 !is_listed(spec, STDERR_FILENO))
		s.fds[s.fd_count++] =
			(struct spawn_fd){.child_fd = STDERR_FILENO, .parent_fd = STDERR_FILENO};
	if (code == 0)
		code = spawn_start(&s, &r.child, err);
	else
		err_set(err, code, "cannot run %s: %s", program, err_str(code));
	for (size_t i = spec->fd_count; i < s.fd_count; i++) {
		if (s.fds[i].parent_fd != STDERR_FILENO)
			close(s.fds[i].parent_fd);
	}
	if (code == 0) {
		code = wait_for_end(&r, deadline_ms, s.new_group || s.new_session);
		*status = r.status;
		if (code)
			err_set(err, code, "%s: %s after %d ms", program, err_str(code), timeout_ms);
	}
	close_fd(&r.out_fd);
	close_fd(&r.err_fd);
	close_fd(&r.child.pidfd);
	return code;
}
