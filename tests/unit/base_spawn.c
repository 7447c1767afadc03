/* Starting programs: what they inherit, what they do not, and how failures are told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/spawn.h"
#include "core/base/str.h"
#include "tests/unit/support/sys_test.h"

/* What a shell script prints, run with a specification of the test's. */
static char *output_of(const struct spawn *spec, const char *script, int *status)
{
	const char *argv[] = {"sh", "-c", script, NULL};
	struct spawn s = *spec;
	struct spawned child;
	struct err_text err = {""};
	char text[65536];
	ssize_t n;
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	s.argv = argv;
	s.fds[s.fd_count++] = (struct spawn_fd){.child_fd = 1, .parent_fd = fds[1]};
	if (spawn_start(&s, &child, &err))
		fail_msg("%s", err.text);
	close(fds[1]);
	n = file_read_full(fds[0], text, sizeof(text) - 1);
	assert_true(n >= 0);
	text[n] = '\0';
	close(fds[0]);
	assert_int_equal(waitpid(child.pid, status, 0), child.pid);
	if (child.pidfd >= 0)
		close(child.pidfd);
	return strdup(text);
}

static void check_output(void **state)
{
	struct spawn s = {0};
	int status;
	char *text = output_of(&s, "echo hello; exit 3", &status), shown[64];

	(void)state;
	assert_string_equal(text, "hello\n");
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 3);
	assert_string_equal(spawn_status_str(shown, sizeof(shown), status), "exit code 3");
	free(text);
	text = output_of(&s, "kill -9 $$", &status);
	assert_true(WIFSIGNALED(status));
	assert_true(str_starts(spawn_status_str(shown, sizeof(shown), status), "signal 9 ("));
	free(text);
}

/* Only the descriptors that are listed get through, at their numbers, also when these collide with others of ours. */
static void check_descriptors(void **state)
{
	struct spawn s = {0};
	int a[2], b[2], leak = open("/dev/null", O_RDONLY),
			status; /* leak: without close-on-exec on purpose */
	char *text;

	(void)state;
	assert_true(leak > 2);
	assert_int_equal(pipe(a), 0);
	assert_int_equal(pipe(b), 0);
	assert_int_equal(write(a[1], "A", 1), 1);
	assert_int_equal(write(b[1], "B", 1), 1);
	close(a[1]);
	close(b[1]);
	/* Crossed: each goes to the number of the other. */
	s.fds[0] = (struct spawn_fd){.child_fd = b[0], .parent_fd = a[0]};
	s.fds[1] = (struct spawn_fd){.child_fd = a[0], .parent_fd = b[0]};
	s.fd_count = 2;
	{
		char script[200];

		snprintf(script, sizeof(script),
			 "cat <&%d; cat <&%d; ls /proc/self/fd | wc -l; readlink /proc/$$/fd/0", b[0], a[0]);
		text = output_of(&s, script, &status);
	}
	/* 0, 1, 2, the two, and the directory that ls reads; stdin, which was not listed, is /dev/null. */
	assert_string_equal(text, "AB6\n/dev/null\n");
	free(text);
	close(a[0]);
	close(b[0]);
	close(leak);
}

static void check_environment(void **state)
{
	const char *env[] = {"PATH=/usr/bin:/bin", "NAME=value", NULL};
	char dir[300], want[600], *text;
	struct spawn s = {.env = env, .new_session = true, .umask = 027};
	int status;

	(void)state;
	str_copy(dir, sizeof(dir), test_dir_new());
	s.cwd = dir;
	text = output_of(&s,
			 "echo $NAME; pwd; umask; test $(ps -o sid= -p $$ 2>/dev/null || cut -d' ' -f6 "
			 "/proc/$$/stat) -eq $$ && echo session",
			 &status);
	snprintf(want, sizeof(want), "value\n%s\n0027\nsession\n", dir);
	assert_string_equal(text, want);
	free(text);
	test_dir_remove(dir);
}

/* Ignored and blocked signals, and our place in the OOM killer's order, are not inherited. */
static void check_reset(void **state)
{
	struct spawn s = {0};
	sigset_t all, before;
	char *text;
	int status;

	(void)state;
	signal(SIGPIPE, SIG_IGN);
	signal(SIGUSR2, SIG_IGN);
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	text = output_of(&s, "grep -E 'Sig(Blk|Ign)' /proc/self/status; cat /proc/$$/oom_score_adj", &status);
	sigprocmask(SIG_SETMASK, &before, NULL);
	assert_string_equal(text, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n0\n");
	free(text);
	s.oom_score_adj = 500;
	text = output_of(&s, "cat /proc/$$/oom_score_adj", &status);
	assert_string_equal(text, "500\n");
	free(text);
}

static void check_failures(void **state)
{
	const char *missing[] = {"/nonexistent/program", NULL}, *unknown[] = {"no-such-program-here", NULL};
	const char *dir[] = {"/tmp", NULL}, *sh[] = {"/bin/sh", "-c", "exit 0", NULL};
	struct spawned child = {.pid = -1};
	struct err_text err = {""};
	struct spawn s = {.argv = missing};
	char name[300], path[400];
	const char *script[] = {path, NULL};

	(void)state;
	assert_int_equal(spawn_start(&s, &child, &err), -ENOENT);
	assert_string_equal(err.text, "cannot run /nonexistent/program: no such file or directory");
	s.argv = unknown;
	assert_int_equal(spawn_start(&s, &child, &err), -ENOENT);
	s.argv = dir;
	assert_int_equal(spawn_start(&s, &child, &err), -EACCES);
	s.argv = sh;
	s.cwd = "/nonexistent";
	assert_int_equal(spawn_start(&s, &child, &err), -ENOENT);
	assert_string_equal(
		err.text,
		"cannot run /bin/sh: cannot change to directory /nonexistent: no such file or directory");
	s.cwd = NULL;
	s.fds[0] = (struct spawn_fd){.child_fd = 5, .parent_fd = 999};
	s.fd_count = 1;
	assert_int_equal(spawn_start(&s, &child, &err), -EBADF);
	s.fd_count = 0;
	/* Not a program at all. */
	str_copy(name, sizeof(name), test_dir_new());
	snprintf(path, sizeof(path), "%s/x", name);
	assert_int_equal(file_write_atomic(path, 0755, "no header", 9), 0);
	s.argv = script;
	assert_int_equal(spawn_start(&s, &child, &err), -ENOEXEC);
	test_dir_remove(name);
	assert_int_equal(child.pid, -1);
	/* No zombie of any of them is left. */
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
}

static void check_find(void **state)
{
	char path[100];

	(void)state;
	assert_int_equal(spawn_find(path, sizeof(path), "sh", "/nonexistent:/bin"), 0);
	assert_string_equal(path, "/bin/sh");
	assert_int_equal(spawn_find(path, sizeof(path), "./x", "/bin"), 0);
	assert_string_equal(path, "./x");
	assert_int_equal(spawn_find(path, sizeof(path), "", "/bin"), -ENOENT);
	assert_int_equal(spawn_find(path, sizeof(path), "sh-that-is-not", "/bin:/usr/bin"), -ENOENT);
	assert_int_equal(spawn_find(path, 5, "sh", "/bin"), -ENAMETOOLONG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(check_output),      cmocka_unit_test(check_descriptors),
		cmocka_unit_test(check_environment), cmocka_unit_test(check_reset),
		cmocka_unit_test(check_failures),    cmocka_unit_test(check_find),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
