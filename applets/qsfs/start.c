#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "applets/qsfs/reason.h"
#include "applets/qsfs/services.h"
#include "applets/qsfs/start.h"
#include "applets/qsfs/up.h"
#include "core/base/applet.h"
#include "core/base/clock.h"
#include "core/base/err.h"
#include "core/base/log.h"
#include "core/base/str.h"

#define LOCK_FD 9  /* where the supervisor finds the volume's lock; it only has to keep it open */
#define LOOK_MS 50 /* between two looks at the services */
#define UNKNOWN_MS                                                                                           \
	20000 /* metadata stores that say nothing for this long will not, until somebody mends them */
#define PROGRESS_MS 10000 /* the same line again after this */
#define ABANDON_MS  60000 /* a failed start is given this long to stop in order */

int start_init(struct start *s, const struct volume *v)
{
	sigset_t set;

	memset(s, 0, sizeof(*s));
	s->v = v;
	s->child.pidfd = -1;
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	s->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return s->signals < 0 ? log_code(-errno, "cannot watch signals") : 0;
}

void start_release(struct start *s)
{
	if (s->signals >= 0)
		close(s->signals);
	if (s->child.pidfd >= 0)
		close(s->child.pidfd);
}

int start_supervisor(struct start *s, int lock)
{
	char path[VOLUME_PATH + 64], units[VOLUME_PATH + 64], socket[VOLUME_PATH + 64], out[VOLUME_PATH + 64];
	const char *argv[] = {path, "-s", socket, "init", "--container", "-c", units, NULL};
	struct spawn sp = {.argv = argv, .cwd = "/", .new_session = true};
	struct err_text err;
	int log, rc;

	str_fmt(path, sizeof(path), "%s/zinit", s->v->bin);
	str_fmt(units, sizeof(units), "%s/zinit", s->v->etc);
	str_fmt(socket, sizeof(socket), "%s/zinit.sock", s->v->run);
	str_fmt(out, sizeof(out), "%s/zinit.log", s->v->log);
	log = open(out, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (log < 0)
		return log_code(-errno, "cannot open %s", out);
	sp.fds[0] = (struct spawn_fd){1, log};
	sp.fds[1] = (struct spawn_fd){2, log};
	sp.fds[2] = (struct spawn_fd){LOCK_FD, lock};
	sp.fd_count = 3;
	rc = spawn_start(&sp, &s->child, &err);
	if (rc)
		log_err("cannot start the supervisor: %s", err.text);
	close(log);
	return rc;
}

/* The supervisor is our child until we leave; an ended one must not stay a zombie. */
static bool supervisor_ended(struct start *s)
{
	return waitpid(s->child.pid, NULL, WNOHANG) == s->child.pid;
}

struct watch {
	size_t up, want;
	char waiting[80]; /* first service that is not up */
	int code;         /* a service gave up: its exit code, -1 = none */
	char failed[80];
};

/* Codes that a retry does not cure: usage, lock, key, not found. Everything else may be a backend that is late. */
static bool is_final(const char *name, int code)
{
	return strcmp(name, "init") == 0 || strcmp(name, "ns") == 0 || code == EXIT_USAGE ||
	       code == EXIT_LOCKED || code == EXIT_KEY || code == EXIT_NOT_FOUND;
}

static void look(const struct services *list, struct watch *w)
{
	memset(w, 0, sizeof(*w));
	w->code = -1;
	w->want = list->count;
	for (size_t i = 0; i < list->count; i++) {
		const struct service *s = &list->list[i];
		int code = service_exit_code(s);

		w->up += service_is_up(s);
		if (!service_is_up(s) && !w->waiting[0])
			str_copy(w->waiting, sizeof(w->waiting), s->name);
		if (w->code < 0 &&
		    ((code > 0 && is_final(s->name, code)) || strcmp(s->state, "Failure") == 0)) {
			w->code = code > 0 ? code : EXIT_FAILED;
			str_copy(w->failed, sizeof(w->failed), s->name);
		}
	}
}

static void say_failed(const struct start *s, const char *service)
{
	char reason[512];

	if (reason_of(s->v, service, reason, sizeof(reason)) == 0)
		log_err("cannot start the volume: %s: %s", service, reason);
	else
		log_err("cannot start the volume: %s ended: see %s", service, s->v->log);
}

/* Where a start stands, and what was said of it. */
struct progress {
	char text[512], before[512], said[512];
	uint64_t deadline, begin_ms, said_ms;
	struct volume_says says;
	uint64_t unknown_since_ms; /* 0 = it is not unknown */
};

/* Any change is progress and renews the deadline. It is shown after a second, when it changed, or every PROGRESS_MS. */
static void progress_note(struct progress *p, uint64_t quiet_ms)
{
	uint64_t now = clock_mono_ms();

	if (strcmp(p->text, p->before) != 0) {
		p->deadline = clock_deadline((int64_t)quiet_ms);
		str_copy(p->before, sizeof(p->before), p->text);
	}
	if (p->text[0] && now - p->begin_ms > 1000 &&
	    (now - p->said_ms >= PROGRESS_MS ||
	     (strcmp(p->text, p->said) != 0 && now - p->said_ms >= 1000))) {
		log_info("%s", p->text);
		str_copy(p->said, sizeof(p->said), p->text);
		p->said_ms = now;
	}
}

static void look_around(struct start *s, struct services *list, struct watch *w, struct progress *p)
{
	char socket[VOLUME_PATH + 64];
	const struct service *init;
	size_t n;

	str_fmt(socket, sizeof(socket), "%s/zinit.sock", s->v->run);
	if (services_read(socket, list, NULL) == 0 && list->count > 0) {
		look(list, w);
		str_fmt(p->text, sizeof(p->text), "%zu of %zu services are up, waiting for %s", w->up,
			w->want, w->waiting);
		init = services_find(list, "init");
		s->created |= init && service_is_done(init); /* while it runs it is up, too */
	}
	if (w->up < w->want) {
		reason_volume(s->v, &p->says);
		n = strlen(p->text);
		if (p->says.restore[0])
			str_fmt(p->text + n, sizeof(p->text) - n, "; %s", p->says.restore);
		else if (p->says.why[0])
			str_fmt(p->text + n, sizeof(p->text) - n, "; volume is %s: %s", p->says.state,
				p->says.why);
		if (strcmp(p->says.state, "unknown") != 0)
			p->unknown_since_ms = 0;
		else if (!p->unknown_since_ms)
			p->unknown_since_ms = clock_mono_ms();
	}
}

/* The exit code when the volume itself can not be started now, after one line; -1 when it may still be. */
static int refusal(const struct progress *p)
{
	int code = -1;

	if (strcmp(p->says.state, "refused") == 0)
		code = p->says.code ? p->says.code : EXIT_FAILED;
	else if (p->unknown_since_ms && clock_mono_ms() - p->unknown_since_ms > UNKNOWN_MS)
		code = EXIT_AGAIN;
	if (code >= 0)
		log_err("cannot start the volume: %s%s", p->says.why,
			code == EXIT_AGAIN
				? ": nothing was changed; bring the metadata stores back and try again"
				: "");
	return code;
}

int start_wait(struct start *s, uint64_t quiet_ms)
{
	struct progress p = {.begin_ms = clock_mono_ms(), .deadline = clock_deadline((int64_t)quiet_ms)};
	struct pollfd signals = {.fd = s->signals, .events = POLLIN};
	struct services *list = calloc(1, sizeof(*list));
	struct watch w = {.code = -1};
	int rc = list ? -1 : EXIT_FAILED;

	while (rc < 0) {
		look_around(s, list, &w, &p);
		progress_note(&p, quiet_ms);
		if (w.want && w.up == w.want) {
			rc = EXIT_DONE;
		} else if (w.code >= 0) {
			say_failed(s, w.failed);
			rc = w.code;
		} else if ((rc = refusal(&p)) >= 0) {
			break;
		} else if (supervisor_ended(s)) {
			log_err("cannot start the volume: the supervisor ended: see %s/zinit.log", s->v->log);
			s->child.pid = 0;
			rc = EXIT_FAILED;
		} else if (clock_left_ms(p.deadline) == 0) {
			say_failed(s, w.waiting);
			rc = EXIT_FAILED;
		} else if (poll(&signals, 1, LOOK_MS) > 0) {
			log_info("stopping before the volume was up");
			rc = EXIT_AGAIN;
		}
	}
	free(list);
	return rc;
}

void start_abandon(struct start *s)
{
	uint64_t deadline = clock_deadline(ABANDON_MS);
	struct pollfd p = {.fd = s->child.pidfd, .events = POLLIN};

	if (s->child.pid <= 0)
		return;
	kill(s->child.pid, SIGTERM);
	while (!supervisor_ended(s)) {
		if (clock_left_ms(deadline) == 0) {
			log_warn("the supervisor (pid %d) is still stopping services: it goes on by itself",
				 (int)s->child.pid);
			return;
		}
		poll(&p, 1, clock_left_ms(deadline));
	}
}
