/*
 * guard: no dead mount stays behind, whatever ends this program.
 *
 * A small process waits on a pipe whose other end only we hold. When it closes without a word, we have died, and the mount
 * is taken away. A clean stop says a byte first.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "applets/zdbfs/mount.h"

static void write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return;
	n = write(fd, text, strlen(text));
	(void)n; /* a wish, not a need */
	close(fd);
}

/* Only async-signal-safe calls: this is the child of a process that may have threads of libraries. */
static void __attribute__((noreturn)) guard(int fd, const char *mountpoint)
{
	static const int ignored[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGUSR1};
	char byte;
	ssize_t n;

	(void)setsid();
	(void)prctl(PR_SET_NAME, "zdbfs-guard", 0, 0, 0);
	for (size_t k = 0; k < sizeof(ignored) / sizeof(*ignored); k++)
		(void)signal(ignored[k], SIG_IGN);
	write_text("/proc/self/oom_score_adj", "0");
	if (chdir("/") != 0)
		_exit(1);
	do
		n = read(fd, &byte, 1);
	while (n < 0 && errno == EINTR);
	if (n == 0)
		(void)umount2(mountpoint, MNT_DETACH);
	_exit(0);
}

int guard_start(const char *mountpoint)
{
	int fds[2];
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) != 0)
		return -errno;
	pid = fork();
	if (pid < 0) {
		int rc = -errno;

		close(fds[0]);
		close(fds[1]);
		return rc;
	}
	if (pid == 0) {
		/* A grandchild, so that nobody has to reap it. */
		pid = fork();
		if (pid)
			_exit(pid < 0);
		close(fds[1]);
		guard(fds[0], mountpoint);
	}
	close(fds[0]);
	return fds[1];
}

void guard_dismiss(int fd)
{
	ssize_t n;

	if (fd < 0)
		return;
	n = write(fd, "x", 1);
	(void)n; /* a guard that is gone needs no word */
	close(fd);
}
