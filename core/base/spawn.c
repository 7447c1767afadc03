/*
 * spawn: clone(CLONE_VM | CLONE_VFORK) on a small stack of its own, exec, and a pipe that reports what went wrong.
 *
 * The child shares our memory until it executes the program, so it only makes system calls and writes to its own stack.
 * All signals are blocked around the clone: no handler of ours can run in the child before it has reset them. The pipe
 * (rather than shared memory) reports errors, so that the result does not depend on the memory being shared: some tools
 * turn vfork into fork.
 *
 * libc's setuid family must not be used in the child (it signals all threads); raw system calls are.
 */
#include "core/base/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/str.h"

#define CHILD_STACK  32768
#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* Linux 5.6 and 5.11; older kernel headers do not have them. */
#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif
#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif

/* In what the child failed; the parent makes the sentence. */
enum stage {
	STAGE_EXEC,
	STAGE_FDS,
	STAGE_CWD,
	STAGE_SESSION,
	STAGE_USER,
};

struct report {
	int code;
	enum stage stage;
};

struct start {
	const struct spawn *s;
	const char *path;
	char *const *argv;
	char *const *env;
	int report_fd;
};

/* Code between clone and exec runs on a borrowed stack in shared memory: no instrumentation there. */
#define IN_CHILD __attribute__((no_sanitize("address", "undefined")))

IN_CHILD static void child_fail(int fd, enum stage stage)
{
	struct report r = {.code = errno, .stage = stage};

	/* A write of this size to a fresh pipe is whole. If it fails the parent sees a program that exits with 127. */
	(void)!write(fd, &r, sizeof(r));
	_exit(127);
}

IN_CHILD static void child_signals(void)
{
	/*
	 * By system call: libc refuses its own signals, and a parent built with another libc may have left them
	 * ignored (glibc's posix_spawn does). All zero is the kernel's "default action"; its struct is not libc's.
	 */
	static const unsigned char dfl[64];
	sigset_t none;

	for (int signo = 1; signo < _NSIG; signo++)
		(void)syscall(SYS_rt_sigaction, signo, dfl, NULL,
			      (_NSIG - 1) / 8); /* fails for KILL and STOP */
	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Small decimal number without stdio. Returns its length. */
IN_CHILD static size_t put_number(char *text, int value)
{
	char digits[12];
	size_t n = 0, len = 0;
	unsigned v = value < 0 ? 0u - (unsigned)value : (unsigned)value;

	do {
		digits[n++] = (char)('0' + v % 10);
		v /= 10;
	} while (v);
	if (value < 0)
		text[len++] = '-';
	while (n)
		text[len++] = digits[--n];
	return len;
}

/* Being last in the OOM killer's order, or an I/O flusher, is ours and not for what we start. Best effort. */
IN_CHILD static void child_privileges(const struct spawn *s)
{
	char text[16];
	int fd;

	(void)prctl(PR_SET_IO_FLUSHER, 0, 0, 0, 0);
	if (s->oom_score_adj == SPAWN_OOM_KEEP)
		return;
	fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if (fd >= 0) {
		(void)!write(fd, text, put_number(text, s->oom_score_adj));
		close(fd);
	}
}

IN_CHILD static bool is_listed(const struct spawn *s, int fd)
{
	for (size_t i = 0; i < s->fd_count; i++) {
		if (s->fds[i].child_fd == fd)
			return true;
	}
	return false;
}

/* Everything but the standard three closes on exec, whoever opened it. */
IN_CHILD static void child_cloexec_all(void)
{
	if (syscall(SYS_close_range, 3u, ~0u, CLOSE_RANGE_CLOEXEC) == 0)
		return;
	for (int fd = 3; fd < 1024; fd++)
		(void)fcntl(fd, F_SETFD, FD_CLOEXEC);
}

/*
 * Puts the listed descriptors in place. First copies of all, above every number that is wanted, so that no descriptor is
 * overwritten before it has been copied; then down to their numbers (dup2 clears close-on-exec). The report pipe moves up
 * as well. Returns its new number, or -1.
 */
IN_CHILD static int child_fds(const struct spawn *s, int report_fd)
{
	int copies[SPAWN_FDS_MAX], above = 3, null_fd, moved;

	for (size_t i = 0; i < s->fd_count; i++) {
		if (s->fds[i].child_fd >= above)
			above = s->fds[i].child_fd + 1;
	}
	moved = fcntl(report_fd, F_DUPFD_CLOEXEC, above);
	null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (moved < 0 || null_fd < 0)
		return -1;
	for (size_t i = 0; i < s->fd_count; i++) {
		int from = s->fds[i].parent_fd < 0 ? null_fd : s->fds[i].parent_fd;

		copies[i] = fcntl(from, F_DUPFD_CLOEXEC, above);
		if (copies[i] < 0)
			return -1;
	}
	null_fd = fcntl(null_fd, F_DUPFD_CLOEXEC, above);
	if (null_fd < 0)
		return -1;
	child_cloexec_all();
	for (size_t i = 0; i < s->fd_count; i++) {
		if (dup2(copies[i], s->fds[i].child_fd) < 0)
			return -1;
	}
	for (int fd = 0; fd < 3 && !s->keep_stdio; fd++) {
		if (!is_listed(s, fd) && dup2(null_fd, fd) < 0)
			return -1;
	}
	return moved;
}

IN_CHILD static int child_session(const struct spawn *s)
{
	if (s->new_session && setsid() < 0)
		return -1;
	if (s->new_group && !s->new_session && setpgid(0, 0) < 0)
		return -1;
	if (s->controlling_tty && ioctl(0, TIOCSCTTY, 0) < 0)
		return -1;
	return 0;
}

IN_CHILD static int child_user(const struct spawn *s)
{
	if (s->gid &&
	    (syscall(SYS_setgroups, 0, NULL) < 0 || syscall(SYS_setresgid, s->gid, s->gid, s->gid) < 0))
		return -1;
	if (s->uid && syscall(SYS_setresuid, s->uid, s->uid, s->uid) < 0)
		return -1;
	return 0;
}

IN_CHILD static int child_main(void *arg)
{
	const struct start *start = arg;
	const struct spawn *s = start->s;
	int report_fd;

	child_signals();
	child_privileges(s);
	report_fd = child_fds(s, start->report_fd);
	if (report_fd < 0)
		child_fail(start->report_fd, STAGE_FDS);
	if (child_session(s) < 0)
		child_fail(report_fd, STAGE_SESSION);
	if (s->umask > 0)
		umask((mode_t)s->umask);
	if (child_user(s) < 0)
		child_fail(report_fd, STAGE_USER);
	if (s->cwd && chdir(s->cwd) < 0)
		child_fail(report_fd, STAGE_CWD);
	/* After the change of user, which clears it. */
	if (s->parent_death_signal)
		(void)prctl(PR_SET_PDEATHSIG, s->parent_death_signal, 0, 0, 0);
	execve(start->path, start->argv, start->env);
	child_fail(report_fd, STAGE_EXEC);
	return 127;
}

int spawn_find(char *dst, size_t size, const char *name, const char *path_list)
{
	const char *dir = path_list;
	int code = -ENOENT;

	if (strchr(name, '/'))
		return str_copy(dst, size, name);
	if (*name == '\0')
		return -ENOENT;
	while (dir) {
		const char *end = strchrnul(dir, ':');
		int len = (int)(end - dir);
		struct stat st;

		if (str_fmt(dst, size, "%.*s/%s", len ? len : 1, len ? dir : ".", name) < 0) {
			code = -ENAMETOOLONG;
		} else if (stat(dst, &st) == 0 && S_ISREG(st.st_mode)) {
			if (access(dst, X_OK) == 0)
				return 0;
			code = -EACCES;
		}
		dir = *end ? end + 1 : NULL;
	}
	return code;
}

static const char *path_list_of(char *const *env)
{
	for (; *env; env++) {
		if (str_starts(*env, "PATH="))
			return *env + 5;
	}
	return DEFAULT_PATH;
}

static int stage_error(const struct spawn *s, const char *program, struct report r, struct err_text *err)
{
	switch (r.stage) {
	case STAGE_FDS:
		return err_set(err, -r.code, "cannot run %s: cannot pass descriptors: %s", program,
			       err_str(r.code));
	case STAGE_CWD:
		return err_set(err, -r.code, "cannot run %s: cannot change to directory %s: %s", program,
			       s->cwd, err_str(r.code));
	case STAGE_SESSION:
		return err_set(err, -r.code, "cannot run %s: cannot make a session: %s", program,
			       err_str(r.code));
	case STAGE_USER:
		return err_set(err, -r.code, "cannot run %s: cannot change to user %u: %s", program,
			       (unsigned)s->uid, err_str(r.code));
	case STAGE_EXEC:
	default:
		return err_set(err, -r.code, "cannot run %s: %s", program, err_str(r.code));
	}
}

static void reap(pid_t pid)
{
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

/* The child has executed the program (the pipe is closed), or says why not. */
static int read_report(int fd, struct report *r)
{
	ssize_t n;

	do {
		n = read(fd, r, sizeof(*r));
	} while (n < 0 && errno == EINTR);
	return n == (ssize_t)sizeof(*r) ? 1 : 0;
}

static pid_t clone_child(struct start *start)
{
	/* clone wants the end of the stack, aligned; nothing of the frame below is used by the child. */
	char stack[CHILD_STACK] __attribute__((aligned(64)));
	sigset_t all, before;
	pid_t pid;
	int saved;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pid = clone(child_main, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | SIGCHLD, start);
	saved = errno;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	errno = saved;
	return pid;
}

int spawn_start(const struct spawn *s, struct spawned *child, struct err_text *err)
{
	const char *program = s->path ? s->path : s->argv[0];
	char path[FILE_PATH_MAX];
	struct report r;
	struct start start = {.s = s, .path = path};
	int pipe_fds[2], code;
	pid_t pid;

	if (s->fd_count > SPAWN_FDS_MAX)
		return err_set(err, -EINVAL, "cannot run %s: more than %d descriptors", program,
			       SPAWN_FDS_MAX);
	/* exec does not change what these point at; its prototype is older than const. */
	start.argv = (char *const *)(uintptr_t)s->argv;
	start.env = s->env ? (char *const *)(uintptr_t)s->env : environ;
	code = spawn_find(path, sizeof(path), program, path_list_of(start.env));
	if (code)
		return err_set(err, code, "cannot run %s: %s", program, err_str(code));
	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return err_set(err, -errno, "cannot run %s: %s", program, err_str(errno));
	start.report_fd = pipe_fds[1];
	pid = clone_child(&start);
	code = pid < 0 ? -errno : 0;
	close(pipe_fds[1]);
	if (code) {
		err_set(err, code, "cannot run %s: %s", program, err_str(code));
	} else if (read_report(pipe_fds[0], &r)) {
		reap(pid);
		code = stage_error(s, program, r, err);
	} else {
		child->pid = pid;
		child->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	}
	close(pipe_fds[0]);
	return code;
}

char *spawn_status_str(char *dst, size_t size, int status)
{
	if (WIFEXITED(status))
		snprintf(dst, size, "exit code %d", WEXITSTATUS(status));
	else if (WIFSIGNALED(status))
		snprintf(dst, size, "signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		snprintf(dst, size, "status 0x%x", (unsigned)status);
	return dst;
}
