/*
 * service: see service.h. service_event() looks up the cell, enters the state and calls the action; an action may name
 * the event that follows from it at once (nothing to wait for, nothing to drain), so that there is one loop and no
 * recursion.
 */
#include "applets/zinit/service_int.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/err.h"
#include "core/base/mem.h"
#include "core/base/str.h"

#include "applets/zinit/capture.h"
#include "applets/zinit/cgroup.h"
#include "applets/zinit/fdstore.h"
#include "applets/zinit/graph.h"
#include "applets/zinit/job.h"
#include "applets/zinit/logger.h"
#include "applets/zinit/note.h"
#include "applets/zinit/notify.h"
#include "applets/zinit/policy.h"
#include "applets/zinit/proc.h"

enum {
	NO_EVENT = SM_EVENT_COUNT,
	KILL_AGAIN_MS = 1000,
	FORK_AGAIN_MIN_MS = 50,
	DRAIN_RESERVE_MAX_MS = 5000, /* of shutdown_timeout, kept for the stop signal itself */
};

static void __attribute__((format(printf, 2, 3))) set_reason(struct service *s, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(s->reason, sizeof(s->reason), format, ap);
	va_end(ap);
}

/* ---- signals ---- */

static bool is_group_empty(const struct service *s)
{
	if (s->unit->kill_mode == UNIT_KILL_CGROUP && cgroup_count(s) > 0)
		return false;
	return s->group == 0 || s->unit->kill_mode == UNIT_KILL_PROCESS ||
	       (kill(-s->group, 0) < 0 && errno == ESRCH);
}

static int send_signal(const struct service *s, int signo)
{
	pid_t to = s->unit->kill_mode == UNIT_KILL_PROCESS || s->group == 0 ? s->pid : -s->group;

	if (to == 0)
		return -ESRCH;
	/* With the main process gone its number may be somebody else's by now: only the group is meant then. */
	if (s->pid == 0)
		return kill(to, signo) < 0 ? -errno : 0;
	return proc_kill(to, signo);
}

/* ---- actions ---- */

void service_close_report(struct service *s)
{
	if (s->report.fd < 0)
		return;
	loop_io_del(&s->report);
	close(s->report.fd);
	s->report.fd = -1;
}

/* A unit that changed while the service ran holds from its next start on. */
void service_take_up_pending(struct service *s)
{
	struct unit *unit = s->pending;
	int rc;

	if (!unit)
		return;
	s->pending = NULL;
	rc = service_replace_unit(s, unit);
	if (rc)
		note_err("config", "%s: its new configuration could not be taken up: %s", s->name,
			 err_str(rc));
	graph_resolve(s->sup);
	graph_find_cycles(s->sup);
}

static int do_wait(struct service *s)
{
	const struct dep *missing;

	if (!s->is_wanted || s->sup->is_stopping)
		return SM_EV_STOP;
	service_take_up_pending(s);
	if (s->is_cyclic) {
		service_show(
			s, SHOWN_FAILURE); /* the reason, with the chain, was set when the cycle was found */
		return SM_EV_STOP;
	}
	if (service_has_deps(s, &missing))
		return SM_EV_DEPS_READY;
	if (missing->service) {
		char text[96];

		set_reason(s, "waits for %s (%s)", missing->name,
			   service_state_text(missing->service, text, sizeof(text)));
	} else {
		set_reason(s, "waits for %s, which is not defined", missing->name);
	}
	service_show(s, SHOWN_BLOCKED);
	return NO_EVENT;
}

static void on_report(struct loop_io *io, uint32_t events)
{
	struct service *s = io->ctx;
	struct proc_report report;
	int rc = proc_report_read(io->fd, &report);

	(void)events;
	if (rc == 0)
		return;
	service_close_report(s);
	if (rc > 0) {
		service_event(s, SM_EV_EXEC_OK);
		return;
	}
	/* The child ends with 127 in a moment and is reaped like an orphan. */
	s->pid = s->group = 0;
	set_reason(s, "cannot %s%s%s: %s", report.step, report.what[0] ? " " : "", report.what,
		   err_str(report.error));
	note_err("service", "%s: %s", s->name, s->reason);
	if (proc_error_is_temporary(report.error) && s->state == SM_STARTING) {
		s->has_fork_failed = true;
		s->attempts++;
		service_event(s, SM_EV_FORK_FAIL);
		return;
	}
	service_event(s, SM_EV_EXEC_FAIL);
}

static int do_spawn(struct service *s)
{
	const struct unit *unit = s->unit;
	struct proc proc = {
		.unit = unit,
		.words = unit->exec,
		.is_main = true,
		.is_silent = unit->log == UNIT_LOG_NONE,
		.out_fd = s->captures[RING_OUT].write_fd,
		.err_fd = s->captures[RING_ERR].write_fd,
		.environment = s->sup->environment,
	};
	char deadline[64], groups[2048];
	int env = 0, report_fd, rc;

	s->starts++;
	s->is_stop_asked = s->was_killed = s->is_signalled = false;
	s->stop_began_ms = s->deadline_ms = s->ready_ms = s->next_start_ms = 0;
	s->kill_tries = 0;
	s->reason[0] = '\0';
	if (unit->is_exec_broken) {
		set_reason(s, "exec cannot be split into words");
		return SM_EV_EXEC_FAIL;
	}
	snprintf(deadline, sizeof(deadline), "ZINIT_DEADLINE_MS=%llu",
		 (unsigned long long)unit->shutdown_timeout_ms);
	proc.extra_env[env++] = deadline;
	env += notify_prepare(s, &proc, env);
	env += fdstore_prepare(s, &proc, env);
	cgroup_prepare(s, &proc, groups, sizeof(groups));
	capture_say(s, RING_ERR, "------------ [start] ------------");
	rc = proc_start(&proc, &s->pid, &report_fd);
	notify_started(s);
	if (rc) {
		s->pid = s->group = 0;
		s->has_fork_failed = true;
		s->attempts++;
		set_reason(s, "cannot make a process: %s", err_str(rc));
		log_every(1000, LOG_LEVEL_WARN, "WARN (service) %s: cannot make a process: %s", s->name,
			  err_str(rc));
		return SM_EV_FORK_FAIL;
	}
	s->group = s->pid;
	s->started_ms = clock_mono_ms();
	service_show(s, SHOWN_SPAWNED);
	if (unit->start_timeout_ms)
		loop_timer_start(&s->sup->loop, &s->timer, unit->start_timeout_ms);
	loop_io_init(&s->report, report_fd, EPOLLIN, on_report, s);
	rc = loop_io_add(&s->sup->loop, &s->report);
	if (rc) {
		/* Not watchable (out of memory): then the exec cannot be confirmed, and is believed. */
		close(report_fd);
		s->report.fd = -1;
		return SM_EV_EXEC_OK;
	}
	note_debug("service", "%s: started, pid %d", s->name, (int)s->pid);
	return NO_EVENT;
}

static int do_watch(struct service *s)
{
	if (s->unit->is_oneshot)
		return SM_EV_READY;
	if (s->unit->is_test_broken) {
		set_reason(s, "test cannot be split into words");
		service_show(s, SHOWN_TEST_FAILURE);
		return NO_EVENT;
	}
	if (s->unit->notify != UNIT_NOTIFY_NONE)
		return notify_has_come(s) ? SM_EV_READY : NO_EVENT;
	if (s->unit->test.count == 0)
		return SM_EV_READY;
	job_test_begin(&s->probe);
	return NO_EVENT;
}

static int do_announce(struct service *s)
{
	loop_timer_stop(&s->timer);
	s->ready_ms = clock_mono_ms();
	service_show(s, SHOWN_RUNNING);
	note_info("service", "%s: running, pid %d", s->name, (int)s->pid);
	if (!s->unit->is_oneshot && s->unit->health.count)
		job_health_begin(&s->probe);
	return NO_EVENT;
}

static int do_drain(struct service *s)
{
	uint64_t budget = s->unit->shutdown_timeout_ms, reserve = budget / 4;
	int rc;

	loop_timer_stop(&s->timer);
	job_stop(&s->probe);
	s->stop_began_ms = clock_mono_ms();
	if (s->unit->drain.count == 0)
		return SM_EV_DRAINED;
	if (s->sup->stop_deadline_ms != CLOCK_NEVER) {
		uint64_t left = (uint64_t)clock_left_ms(s->sup->stop_deadline_ms);

		budget = left < budget ? left : budget;
	}
	if (reserve > DRAIN_RESERVE_MAX_MS)
		reserve = DRAIN_RESERVE_MAX_MS;
	budget = budget > reserve ? budget - reserve : budget / 2;
	rc = job_drain_begin(&s->drain, budget);
	if (rc) {
		note_warn("drain", "%s: cannot start it: %s", s->name, err_str(rc));
		return SM_EV_DRAINED;
	}
	loop_timer_start(&s->sup->loop, &s->timer, budget + 100);
	return NO_EVENT;
}

static int do_signal(struct service *s)
{
	uint64_t now = clock_mono_ms(), reserve = s->unit->shutdown_timeout_ms / 4;
	int rc;

	job_stop(&s->probe);
	job_stop(&s->drain);
	if (s->stop_began_ms == 0)
		s->stop_began_ms = now;
	s->is_signalled = true;
	s->deadline_ms = s->stop_began_ms + s->unit->shutdown_timeout_ms;
	if (reserve > DRAIN_RESERVE_MAX_MS)
		reserve = DRAIN_RESERVE_MAX_MS;
	if (s->deadline_ms < now + reserve)
		s->deadline_ms = now + reserve;
	rc = send_signal(s, s->unit->stop_signal);
	cgroup_signal(s, s->unit->stop_signal);
	if (rc == 0)
		rc = send_signal(s, SIGCONT); /* a stopped process could not obey */
	if (rc && rc != -ESRCH)
		note_warn("service", "%s: cannot send the stop signal: %s", s->name, err_str(rc));
	loop_timer_start_at(&s->sup->loop, &s->timer, s->deadline_ms);
	return NO_EVENT;
}

static int do_start_timeout(struct service *s)
{
	set_reason(s, "not ready within its start_timeout");
	note_warn("service", "%s: %s", s->name, s->reason);
	return do_signal(s);
}

static int do_unhealthy(struct service *s)
{
	set_reason(s, "its health command failed");
	note_warn("service", "%s: %s: stopping it", s->name, s->reason);
	return do_signal(s);
}

/* The main process is gone. What is left of its group gets the stop signal, if it did not have it, and its time. */
static int do_sweep(struct service *s)
{
	return s->is_signalled ? NO_EVENT : do_signal(s);
}

static int do_kill(struct service *s)
{
	job_stop(&s->probe);
	job_stop(&s->drain);
	if (!s->was_killed) {
		note_warn("service", "%s: did not end in time, SIGKILL", s->name);
		set_reason(s, "SIGKILL: it did not end within %llu ms",
			   (unsigned long long)(s->stop_began_ms ? clock_mono_ms() - s->stop_began_ms : 0));
	}
	s->was_killed = s->is_signalled = true;
	s->sup->was_unclean |= s->sup->is_stopping;
	s->kill_tries++;
	cgroup_kill(s);
	send_signal(s, SIGKILL);
	if (s->pid)
		kill(s->pid, SIGKILL);
	loop_timer_start(&s->sup->loop, &s->timer, KILL_AGAIN_MS);
	sup_touch(s->sup);
	return NO_EVENT;
}

static int do_delay(struct service *s)
{
	uint64_t delay = s->is_stop_asked ? 0 : policy_delay_ms(s->unit, s->attempts);

	/* No process could be made: never at once, that would be a loop. */
	if (s->has_fork_failed && delay < FORK_AGAIN_MIN_MS)
		delay = FORK_AGAIN_MIN_MS;
	s->has_fork_failed = false;
	s->next_start_ms = clock_mono_ms() + delay;
	if (delay == 0)
		return SM_EV_TIMEOUT;
	loop_timer_start(&s->sup->loop, &s->timer, delay);
	return NO_EVENT;
}

static int do_end(struct service *s)
{
	if (!s->is_wanted)
		fdstore_clear(s);
	loop_timer_stop(&s->timer);
	s->next_start_ms = 0;
	sup_touch(s->sup);
	return NO_EVENT;
}

static int do_fail(struct service *s)
{
	job_stop(&s->probe);
	service_show(s, SHOWN_FAILURE);
	return do_end(s);
}

static int do_bug(struct service *s)
{
	note_err("service", "%s: an event that cannot happen in state %s was ignored", s->name,
		 sm_state_name(s->state));
	return NO_EVENT;
}

static int do_nothing(struct service *s)
{
	(void)s;
	return NO_EVENT;
}

static int (*const actions[SM_ACTION_COUNT])(struct service *) = {
	[SM_DO_NOTHING] = do_nothing,
	[SM_DO_WAIT] = do_wait,
	[SM_DO_SPAWN] = do_spawn,
	[SM_DO_WATCH] = do_watch,
	[SM_DO_ANNOUNCE] = do_announce,
	[SM_DO_DRAIN] = do_drain,
	[SM_DO_SIGNAL] = do_signal,
	[SM_DO_START_TIMEOUT] = do_start_timeout,
	[SM_DO_UNHEALTHY] = do_unhealthy,
	[SM_DO_SWEEP] = do_sweep,
	[SM_DO_KILL] = do_kill,
	[SM_DO_DELAY] = do_delay,
	[SM_DO_END] = do_end,
	[SM_DO_FAIL] = do_fail,
	[SM_DO_BUG] = do_bug,
};

void service_event(struct service *s, enum sm_event event)
{
	int next = (int)event;

	while (next != NO_EVENT) {
		struct sm_cell cell = sm_step(s->state, (enum sm_event)next);

		if (cell.action != SM_DO_NOTHING && cell.action != SM_DO_BUG && cell.next != s->state) {
			note_debug("service", "%s: %s: %s -> %s", s->name, sm_event_name((enum sm_event)next),
				   sm_state_name(s->state), sm_state_name((enum sm_state)cell.next));
			s->changed_ms = clock_mono_ms();
		}
		s->state = (enum sm_state)cell.next;
		next = actions[cell.action](s);
	}
}

void service_on_timer(struct loop_timer *timer)
{
	service_event(timer->ctx, SM_EV_TIMEOUT);
}

/* ---- the end of a process ---- */

/* Everything of it has ended: what follows? */
static enum sm_event final_event(struct service *s)
{
	enum policy_verdict verdict;

	s->group = 0;
	if (!s->is_wanted || s->sup->is_stopping)
		return SM_EV_EXIT_FINAL;
	if (s->is_stop_asked)
		return SM_EV_EXIT_AGAIN;
	verdict = policy_after_exit(s->unit, s->shown == SHOWN_SUCCESS, s->attempts);
	if (verdict == POLICY_START_AGAIN)
		return SM_EV_EXIT_AGAIN;
	if (verdict == POLICY_LIMIT_REACHED) {
		set_reason(s, "given up after %u ends in a row", s->attempts);
		note_err("service", "%s: %s", s->name, s->reason);
	}
	return SM_EV_EXIT_FINAL;
}

static bool is_group_awaited(const struct service *s)
{
	/* A oneshot that ends by itself may leave a daemon behind on purpose. */
	if (s->unit->is_oneshot && s->stop_began_ms == 0)
		return false;
	return !is_group_empty(s);
}

void service_exited(struct service *s, int status)
{
	uint64_t now = clock_mono_ms();
	char text[64];

	/* The report may still be in its pipe. */
	if (s->report.fd >= 0) {
		on_report(&s->report, 0);
		if (s->pid == 0)
			return;
	}
	capture_flush(s, false);
	job_stop(&s->probe);
	job_stop(&s->drain);
	notify_ended(s);
	loop_timer_stop(&s->timer);
	s->last_pid = s->pid;
	s->last_status = status;
	s->has_exited = true;
	s->ended_ms = now;
	s->pid = 0;
	service_show(s, WIFEXITED(status) && WEXITSTATUS(status) == 0 ? SHOWN_SUCCESS : SHOWN_ERROR);
	if (!s->is_stop_asked) {
		if (now - s->started_ms >= POLICY_STABLE_MS)
			s->attempts = 0;
		s->attempts++;
	}
	note(s->shown == SHOWN_SUCCESS || s->is_stop_asked ? LOG_LEVEL_INFO : LOG_LEVEL_WARN, "service",
	     "%s: ended: %s, pid %d", s->name, service_status_text(text, sizeof(text), status), s->last_pid);
	sup_touch(s->sup);
	if (s->state == SM_KILLING && !is_group_empty(s)) {
		loop_timer_start(&s->sup->loop, &s->timer, KILL_AGAIN_MS);
		return;
	}
	if (is_group_awaited(s)) {
		bool had_deadline = s->is_signalled;

		service_event(s, SM_EV_EXIT_LINGER);
		if (had_deadline)
			loop_timer_start_at(&s->sup->loop, &s->timer, s->deadline_ms);
		return;
	}
	service_event(s, final_event(s));
}

void service_check_group(struct service *s)
{
	if (s->pid != 0 || (s->state != SM_LINGER && s->state != SM_KILLING) || !is_group_empty(s))
		return;
	loop_timer_stop(&s->timer);
	service_event(s, final_event(s));
}

/* ---- commands ---- */

int service_start(struct service *s)
{
	if (s->sup->is_stopping)
		return -ESHUTDOWN;
	s->is_wanted = true;
	s->attempts = 0;
	/* What it cannot be without is started with it. */
	for (uint32_t i = 0; i < s->dep_count; i++) {
		struct service *other = s->deps[i].service;

		if (s->deps[i].is_hard && other && !other->is_wanted && !s->is_cyclic)
			service_start(other);
	}
	service_event(s, SM_EV_START);
	sup_touch(s->sup);
	return 0;
}

void service_stop(struct service *s)
{
	bool was_wanted = s->is_wanted, was_asked = s->is_stop_asked;
	enum sm_state before = s->state;

	s->is_wanted = false;
	if (service_is_live(s))
		s->is_stop_asked = true;
	service_event(s, SM_EV_STOP);
	/* Settling a shutdown asks again for what is under way: only what changed is worth another round. */
	if (was_wanted || was_asked != s->is_stop_asked || before != s->state)
		sup_touch(s->sup);
}

void service_hold(struct service *s)
{
	if (!service_is_live(s) || s->is_stop_asked)
		return;
	s->is_stop_asked = true;
	service_event(s, SM_EV_STOP);
}

int service_restart(struct service *s)
{
	if (s->sup->is_stopping)
		return -ESHUTDOWN;
	if (service_is_live(s)) {
		s->is_stop_asked = true;
		service_event(s, SM_EV_STOP);
	}
	return service_start(s);
}

int service_kill(struct service *s, int signo)
{
	return s->pid == 0 ? -ESRCH : send_signal(s, signo);
}
