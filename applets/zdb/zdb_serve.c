/*
 * zdb_serve: one server from start to stop: process settings, background, signals, readiness.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "applets/zdb/zdb_app.h"
#include "core/base/log.h"
#include "core/base/notify.h"

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

#define OOM_SCORE "-900"

struct server {
	const struct zdb_conf *conf;
	struct loop loop;
	struct zdbd *d;
	int signo;     /* that stopped us; 0 = STOP */
	int report_fd; /* background: where the waiting parent listens until we are ready; -1 = none */
	int log_fd;    /* ... and what standard output and error are to become */
	int code;
	bool not_ready; /* the hook `ready` refused the start */
};

/*
 * A store that sits below a file system must not wait for memory that only it can free, and must be killed last. Both need
 * privileges and are worth having, not necessary.
 */
static void set_up_process(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd >= 0) {
		if (write(fd, OOM_SCORE, strlen(OOM_SCORE)) < 0)
			log_debug("oom_score_adj stays as it is: %s", strerror(errno));
		close(fd);
	}
	if (prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) < 0)
		log_debug("not marked as I/O flusher: %s", strerror(errno));
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* a limit on file sizes is an error for who writes */
}

/* --------------------------------------------------------------------------------------------------- background */

/* In the parent: waits for the child's word, or its end, prints its pid, ends. */
static int wait_for_child(pid_t child, int fd)
{
	uint8_t word;
	int status;
	ssize_t n;

	do
		n = read(fd, &word, 1);
	while (n < 0 && errno == EINTR);
	if (n == 1) {
		printf("%d\n", (int)child);
		return 0;
	}
	/* it ended before it was ready */
	if (waitpid(child, &status, 0) == child && WIFEXITED(status))
		return WEXITSTATUS(status);
	return ZDB_EXIT_FAILED;
}

/* While there is somebody to tell. It may be a running server's: nothing is cut off yet. False after a message. */
static bool open_log(struct server *s)
{
	const char *path = s->conf->logfile ? s->conf->logfile : "/dev/null";

	s->log_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (s->log_fd >= 0)
		return true;
	fprintf(stderr, "zdb: cannot open the log file %s: %s\n", path, strerror(errno));
	s->code = ZDB_EXIT_FAILED;
	return false;
}

/* Forks before anything of the store is opened: event loop and locks belong to the process that serves. True: we are it. */
static bool go_background(struct server *s)
{
	int pipefd[2];
	pid_t child;

	if (!open_log(s))
		return false;
	fflush(stdout);
	if (pipe2(pipefd, O_CLOEXEC) < 0 || (child = fork()) < 0) {
		fprintf(stderr, "zdb: cannot go to the background: %s\n", strerror(errno));
		s->code = ZDB_EXIT_FAILED;
		return false;
	}
	if (child > 0) {
		close(pipefd[1]);
		s->code = wait_for_child(child, pipefd[0]);
		return false;
	}
	close(pipefd[0]);
	s->report_fd = pipefd[1];
	return true;
}

static void redirect(int to, const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0644);

	if (fd < 0) {
		log_err("cannot open %s: %s", path, strerror(errno));
		return;
	}
	dup2(fd, to);
	if (fd != to)
		close(fd);
}

/* Ready: the parent may go, our standard descriptors are the log file's from now on. */
static void report_ready(struct server *s)
{
	uint8_t done = 0;

	if (s->report_fd < 0)
		return;
	redirect(STDIN_FILENO, "/dev/null", O_RDONLY);
	(void)!ftruncate(s->log_fd, 0); /* /dev/null has no length */
	dup2(s->log_fd, STDOUT_FILENO);
	dup2(s->log_fd, STDERR_FILENO);
	if (s->log_fd > STDERR_FILENO)
		close(s->log_fd);
	(void)!write(s->report_fd, &done, 1); /* a parent that is gone does not matter */
	close(s->report_fd);
	s->report_fd = -1;
}

/* ------------------------------------------------------------------------------------------------------- signals */

static void stopped(void *ctx, int code)
{
	struct server *s = ctx;

	(void)code; /* logged; like the original, a stop by signal shows the signal */
	loop_stop(&s->loop, 0);
}

static void stop(struct server *s, int signo)
{
	s->signo = signo;
	log_info("stopping signal=%d", signo);
	notify_state("STOPPING=1");
	zdbd_stop(s->d, stopped, s);
}

static void on_stop_signal(void *ctx, const struct signalfd_siginfo *info)
{
	struct server *s = ctx;

	if (s->d && !s->signo)
		stop(s, (int)info->ssi_signo);
}

static void on_hangup(void *ctx, const struct signalfd_siginfo *info)
{
	struct server *s = ctx;

	(void)info;
	if (s->conf->background && s->conf->logfile) {
		redirect(STDOUT_FILENO, s->conf->logfile, O_WRONLY | O_CREAT | O_APPEND);
		redirect(STDERR_FILENO, s->conf->logfile, O_WRONLY | O_CREAT | O_APPEND);
	}
}

static void on_stop_command(void *ctx)
{
	struct server *s = ctx;

	stop(s, 0);
}

static int take_signals(struct server *s)
{
	int err = loop_signal(&s->loop, SIGTERM, on_stop_signal, s);

	if (!err)
		err = loop_signal(&s->loop, SIGINT, on_stop_signal, s);
	if (!err)
		err = loop_signal(&s->loop, SIGHUP, on_hangup, s);
	return err;
}

/* ------------------------------------------------------------------------------------------------------- a crash */

#define CRASH_STACK 32768

/* A handler gets no context: the server whose hooks are to hear of its crash. */
static struct zdbd *volatile crashing;
static volatile sig_atomic_t crashed;

/* On a stack of its own, as the fault may be that of the stack. A second fault ends it at once. */
static void on_crash(int signo)
{
	if (crashed)
		_exit(128 + signo);
	crashed = 1;
	zdbd_crash(crashing);
	_exit(128 + signo);
}

/* Only where a hook wants to know: else a fault ends the process as usual, with a core where that is set up. */
static void take_crashes(struct server *s)
{
	static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
	static char stack[CRASH_STACK];
	const stack_t alternate = {.ss_sp = stack, .ss_size = sizeof(stack)};
	struct sigaction action = {.sa_handler = on_crash, .sa_flags = SA_ONSTACK | SA_NODEFER};
	size_t i;

	if (!s->conf->hook)
		return;
	crashing = s->d;
	(void)sigaltstack(&alternate, NULL); /* without it only the overflow of a stack goes unheard */
	sigemptyset(&action.sa_mask);
	for (i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		(void)sigaction(signals[i], &action, NULL);
}

/* Which signal ended a start: it still waits in the loop's descriptor. */
static int pending_signal(void)
{
	sigset_t set;

	if (sigpending(&set) == 0 && sigismember(&set, SIGINT))
		return SIGINT;
	return SIGTERM;
}

/* --------------------------------------------------------------------------------------------------------- start */

static bool is_loopback(const char *address)
{
	return strncmp(address, "127.", 4) == 0 || strcmp(address, "::1") == 0 ||
	       strcmp(address, "localhost") == 0;
}

static void warn_open(const struct zdbd_options *o)
{
	if (o->listen && !o->admin && !is_loopback(o->listen))
		log_warn(
			"everybody who reaches %s port %u is admin: give --admin-file, or listen on loopback",
			o->listen, o->port);
}

/* A start that failed at some stage. Returns the exit code. */
static int start_failed(struct server *s, int err, const struct err_text *why)
{
	int signo;

	if (err == -EINTR) {
		log_info("%s", why->text);
		signo = pending_signal(); /* the loop takes it while hooks run */
		zdbd_stop_now(s->d, ZDBD_STOP_ASKED);
		return 128 + signo;
	}
	fprintf(stderr, "zdb: %s\n", why->text);
	zdbd_stop_now(s->d, s->not_ready ? ZDBD_STOP_OVER : ZDBD_STOP_FAILED);
	return s->not_ready && s->conf->ready_exit_0 ? 0 : ZDB_EXIT_FAILED;
}

static int ask_ready(struct server *s, struct err_text *why)
{
	int err = zdbd_ready(s->d, why);

	s->not_ready = err == -ECANCELED;
	return err;
}

static int start(struct server *s, const struct zdbd_options *o)
{
	struct err_text why = {""};
	int err;

	s->d = zdbd_new(&s->loop, o);
	if (!s->d) {
		fprintf(stderr, "zdb: out of memory\n");
		return ZDB_EXIT_FAILED;
	}
	take_crashes(s);
	err = zdbd_open(s->d, &why);
	if (!err)
		err = zdbd_listen(s->d, &why);
	if (!err)
		err = ask_ready(s, &why);
	if (!err)
		err = zdbd_serve(s->d, &why);
	return err ? start_failed(s, err, &why) : 0;
}

static int run(struct server *s)
{
	log_info("ready instance=%s port=%u", zdbd_instance(s->d), zdbd_port(s->d));
	report_ready(s);
	notify_ready((int)s->conf->ready_fd);
	loop_run(&s->loop);
	return s->signo ? 128 + s->signo : 0;
}

int zdb_serve(const struct zdb_conf *conf, const char *password)
{
	struct server s = {.conf = conf, .report_fd = -1};
	struct zdbd_options o;
	int err;

	if (conf->background && !go_background(&s))
		return s.code;
	zdb_server_options(conf, password, &o);
	o.stop_wanted = on_stop_command;
	o.stop_ctx = &s;
	warn_open(&o);
	set_up_process();
	err = loop_init(&s.loop);
	if (err) {
		fprintf(stderr, "zdb: cannot make an event loop: %s\n", err_str(err));
		return ZDB_EXIT_FAILED;
	}
	err = take_signals(&s);
	if (err) {
		fprintf(stderr, "zdb: cannot take signals: %s\n", err_str(err));
		s.code = ZDB_EXIT_FAILED;
	} else {
		s.code = start(&s, &o);
		if (s.code == 0 && !(s.d && zdbd_stopped(s.d)))
			s.code = run(&s);
	}
	crashing = NULL;
	zdbd_free(s.d);
	loop_release(&s.loop);
	return s.code;
}
