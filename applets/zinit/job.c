/*
 * job: see job.h. A job is either running (pid, and the timer is its limit) or waiting (the timer is its next run) or
 * idle. Its process leads its own session, so that a limit ends everything it started.
 */
#include "applets/zinit/job.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/err.h"
#include "core/base/str.h"

#include "applets/zinit/capture.h"
#include "applets/zinit/note.h"
#include "applets/zinit/policy.h"
#include "applets/zinit/proc.h"
#include "applets/zinit/service.h"

enum { HEALTH_FAILURES_MAX = 3, FORK_AGAIN_MS = 200 };

static struct unit_text words_of(const struct job *job)
{
	const struct unit *unit = job->service->unit;

	return job->kind == JOB_TEST ? unit->test : job->kind == JOB_HEALTH ? unit->health : unit->drain;
}

static void on_timer(struct loop_timer *timer);

void job_init(struct job *job, struct service *service)
{
	memset(job, 0, sizeof(*job));
	job->service = service;
	job->report_fd = -1;
	loop_timer_init(&job->timer, on_timer, job);
}

static void close_report(struct job *job)
{
	if (job->report_fd >= 0)
		close(job->report_fd);
	job->report_fd = -1;
}

static int run(struct job *job, uint64_t limit_ms, const char *extra_env)
{
	struct service *s = job->service;
	struct proc proc = {
		.unit = s->unit,
		.words = words_of(job),
		.out_fd = s->captures[RING_TEST_OUT].write_fd,
		.err_fd = s->captures[RING_TEST_ERR].write_fd,
		.is_silent = s->unit->log == UNIT_LOG_NONE,
		.environment = s->sup->environment,
	};
	int rc;

	proc.extra_env[0] = extra_env;
	rc = proc_start(&proc, &job->pid, &job->report_fd);
	if (rc) {
		job->pid = 0;
		return rc;
	}
	job->is_killed = false;
	job->runs++;
	loop_timer_start(&s->sup->loop, &job->timer, limit_ms);
	return 0;
}

/* A run that could not even be forked is simply made a little later. */
static void run_or_wait(struct job *job)
{
	const struct service *s = job->service;

	if (run(job, s->unit->test_timeout_ms, NULL))
		loop_timer_start(&s->sup->loop, &job->timer, FORK_AGAIN_MS);
}

static void on_timer(struct loop_timer *timer)
{
	struct job *job = timer->ctx;

	if (job->pid == 0) {
		run_or_wait(job);
		return;
	}
	job->is_killed = true;
	proc_kill(-job->pid, SIGKILL);
	/* The exit brings the rest; ask again in case the kernel is slow to let it go. */
	loop_timer_start(&job->service->sup->loop, timer, 1000);
}

void job_test_begin(struct job *job)
{
	job_stop(job);
	job->kind = JOB_TEST;
	job->runs = job->failures = 0;
	run_or_wait(job);
}

void job_health_begin(struct job *job)
{
	const struct service *s = job->service;

	job_stop(job);
	job->kind = JOB_HEALTH;
	job->runs = job->failures = 0;
	loop_timer_start(&s->sup->loop, &job->timer, s->unit->health_interval_ms);
}

int job_drain_begin(struct job *job, uint64_t budget_ms)
{
	char env[64];

	job_stop(job);
	job->kind = JOB_DRAIN;
	snprintf(env, sizeof(env), "ZINIT_DEADLINE_MS=%llu", (unsigned long long)budget_ms);
	return run(job, budget_ms, env);
}

void job_stop(struct job *job)
{
	loop_timer_stop(&job->timer);
	close_report(job);
	if (job->pid == 0)
		return;
	/* Whoever reaps it finds no owner any more: an orphan like others. */
	proc_kill(-job->pid, SIGKILL);
	job->pid = 0;
}

static void test_done(struct job *job, bool is_ok, bool is_broken)
{
	struct service *s = job->service;

	if (is_ok) {
		service_event(s, SM_EV_READY);
		return;
	}
	job->failures++;
	if (is_broken && s->state == SM_SPAWNED)
		service_show(s, SHOWN_TEST_FAILURE);
	else if (s->shown == SHOWN_TEST_FAILURE)
		service_show(s, SHOWN_SPAWNED);
	loop_timer_start(&s->sup->loop, &job->timer, policy_test_delay_ms(s->unit, job->failures, is_broken));
}

static void health_done(struct job *job, bool is_ok)
{
	struct service *s = job->service;

	job->failures = is_ok ? 0 : job->failures + 1;
	if (job->failures >= HEALTH_FAILURES_MAX) {
		service_event(s, SM_EV_UNHEALTHY);
		return;
	}
	/* A failure is looked at again sooner than a success. */
	loop_timer_start(&s->sup->loop, &job->timer,
			 is_ok ? s->unit->health_interval_ms : (s->unit->health_interval_ms + 3) / 4);
}

static void drain_done(struct job *job, int status)
{
	struct service *s = job->service;
	char text[64];

	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		note_info("drain", "%s: drained", s->name);
	else if (WIFEXITED(status) && WEXITSTATUS(status) == 75)
		note_info("drain", "%s: not all done, the rest is durable and will be resumed", s->name);
	else
		note_warn("drain", "%s: %s", s->name,
			  job->is_killed ? "out of time" : service_status_text(text, sizeof(text), status));
	service_event(s, SM_EV_DRAINED);
}

void job_reaped(struct job *job, int status)
{
	struct service *s = job->service;
	struct proc_report report;
	bool is_ok = WIFEXITED(status) && WEXITSTATUS(status) == 0, is_broken = false;
	pid_t group = job->pid;

	if (job->report_fd >= 0 && proc_report_read(job->report_fd, &report) < 0) {
		is_broken = !proc_error_is_temporary(report.error);
		if (job->failures == 0)
			note_warn("job", "%s: cannot %s %s: %s", s->name, report.step, report.what,
				  err_str(report.error));
	}
	close_report(job);
	loop_timer_stop(&job->timer);
	job->pid = 0;
	/* What a test leaves behind has no purpose. */
	kill(-group, SIGKILL);
	capture_flush(s, true);
	if (job->is_killed && job->kind != JOB_DRAIN)
		note_warn("job", "%s: %s: killed after %llu ms", s->name,
			  job->kind == JOB_TEST ? "test" : "health",
			  (unsigned long long)s->unit->test_timeout_ms);
	if (job->kind == JOB_TEST)
		test_done(job, is_ok, is_broken);
	else if (job->kind == JOB_HEALTH)
		health_done(job, is_ok);
	else
		drain_done(job, status);
}
