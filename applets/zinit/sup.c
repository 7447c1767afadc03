/*
 * sup: start, the end of each round, and the ordered stop of the whole. See sup.h.
 *
 * Order of a start: log, locks and socket (a second instance is refused before it touches anything), signals and reaper,
 * units, loop. Order of a stop: flag (nothing is started any more), services in reverse order, each up to its limit,
 * then strays, then exit or reboot.
 */
#include "applets/zinit/sup.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/err.h"
#include "core/base/file.h"
#include "core/base/mem.h"
#include "core/base/str.h"

#include "applets/zinit/ctl.h"
#include "applets/zinit/environment.h"
#include "applets/zinit/graph.h"
#include "applets/zinit/http.h"
#include "applets/zinit/job.h"
#include "applets/zinit/logger.h"
#include "applets/zinit/note.h"
#include "applets/zinit/pid1.h"
#include "applets/zinit/proc.h"
#include "applets/zinit/service.h"
#include "applets/zinit/stray.h"
#include "applets/zinit/unit_load.h"

enum {
	FORCE_INT_COUNT = 3,
	FORCE_INT_WINDOW_MS = 5000,
	PROGRESS_MS = 1000,
	STRAY_TERM_MS = 5000, /* processes that belong to no service have this long after SIGTERM */
	STRAY_KILL_MS = 2000,
	CTL_AGAIN_MS = 5000,
};

struct service *sup_find(const struct sup *sup, const char *name)
{
	sup_each(sup, s)
	{
		int order = strcmp(s->name, name);

		if (order == 0)
			return s;
		if (order > 0)
			break;
	}
	return NULL;
}

void sup_touch(struct sup *sup)
{
	loop_defer(&sup->loop, &sup->settle);
}

/* ---- loading ---- */

static void on_note(void *ctx, enum log_level level, const char *sentence)
{
	struct err_text *keep = ctx;

	note(level, "config", "%s", sentence);
	if (keep && level == LOG_LEVEL_ERR)
		err_set(keep, -E_CONFIG, "%s", sentence);
}

struct load {
	struct err_text err; /* first member: on_note keeps the last error there */
	struct sup *sup;
	struct service *service; /* the last one made */
	int rc;
};

static void on_unit(void *ctx, const struct unit *unit)
{
	struct load *load = ctx;

	load->rc = service_new(load->sup, unit, &load->service);
	if (load->rc)
		note_err("config", "%s: %s", unit_str(unit, unit->name), err_str(load->rc));
}

static struct unit_sink sink_of(struct load *load)
{
	return (struct unit_sink){
		.unit = on_unit,
		.note = on_note,
		.ctx = load,
		.is_strict = load->sup->options.is_strict,
		.has_groups = load->sup->options.has_groups,
	};
}

static void load_all(struct sup *sup)
{
	struct load load = {.sup = sup};
	struct unit_sink sink = sink_of(&load);
	int rc = unit_load_dir(sup->options.config_dir, &sink);

	if (rc)
		note_err("config", "%s: %s", sup->options.config_dir, err_str(rc));
	graph_resolve(sup);
	graph_report_undefined(sup);
	graph_find_cycles(sup);
	note_info("init", "%u services from %s", sup->service_count, sup->options.config_dir);
	sup_each(sup, s) service_start(s);
}

int sup_monitor(struct sup *sup, const char *name, struct err_text *err)
{
	struct load load = {.sup = sup};
	struct unit_sink sink = sink_of(&load);
	int rc;

	if (sup->is_stopping)
		return err_set(err, -ESHUTDOWN, "zinit is shutting down");
	if (sup_find(sup, name))
		return err_set(err, -EEXIST, "service \"%s\" already monitored", name);
	rc = unit_load_one(sup->options.config_dir, name, &sink);
	if (rc == 0)
		rc = load.rc;
	if (rc)
		return err_set(err, rc, "failed to load service config: %s",
			       load.err.text[0] ? load.err.text : err_str(rc));
	graph_resolve(sup);
	graph_find_cycles(sup);
	service_start(load.service);
	return 0;
}

struct reload {
	struct load load; /* first member, see struct load */
	struct sup_reload *result;
};

static void on_reload_note(void *ctx, enum log_level level, const char *sentence)
{
	struct reload *reload = ctx;

	if (level == LOG_LEVEL_ERR)
		reload->result->count[RELOAD_REFUSED]++;
	on_note(ctx, level, sentence);
}

static void on_reload_unit(void *ctx, const struct unit *unit)
{
	struct reload *reload = ctx;
	struct sup *sup = reload->load.sup;
	struct service *s = sup_find(sup, unit_str(unit, unit->name));
	const struct unit *have;

	if (!s) {
		on_unit(ctx, unit);
		if (reload->load.rc)
			return;
		reload->load.service->mark = UINT32_MAX;
		reload->load.service->is_new = true;
		reload->result->count[RELOAD_NEW]++;
		return;
	}
	s->mark = UINT32_MAX; /* its file is there */
	have = s->pending ? s->pending : s->unit;
	if (have->size == unit->size && memcmp(have, unit, unit->size) == 0) {
		reload->result->count[RELOAD_SAME]++;
		return;
	}
	mem_free(s->pending);
	s->pending = mem_dup(unit, unit->size);
	reload->result->count[s->pending ? RELOAD_CHANGED : RELOAD_REFUSED]++;
}

int sup_reload(struct sup *sup, const char *name, struct sup_reload *result)
{
	struct reload reload = {.load.sup = sup, .result = result};
	struct unit_sink sink = sink_of(&reload.load);
	int rc;

	if (sup->is_stopping)
		return -ESHUTDOWN;
	sink.unit = on_reload_unit;
	sink.note = on_reload_note;
	sup_each(sup, s) s->mark = 0;
	rc = name ? unit_load_one(sup->options.config_dir, name, &sink)
		  : unit_load_dir(sup->options.config_dir, &sink);
	if (rc)
		return rc;
	sup_each(sup, s)
	{
		if (!name && s->mark != UINT32_MAX)
			result->count[RELOAD_GONE]++;
		if (name && strcmp(s->name, name) == 0 && s->unit->reload_signal)
			(void)service_kill(s, s->unit->reload_signal); /* a service that is down needs none */
		if (s->pending && !service_is_live(s))
			service_take_up_pending(s);
		s->mark = 0;
	}
	graph_resolve(sup);
	graph_find_cycles(sup);
	sup_each(sup, s)
	{
		if (s->is_new)
			service_start(s);
		s->is_new = false;
	}
	sup_touch(sup);
	return 0;
}

int sup_forget(struct service *s)
{
	struct sup *sup = s->sup;

	if (s->is_wanted || service_is_live(s) || s->pid)
		return -EBUSY;
	service_free(s);
	graph_resolve(sup);
	graph_find_cycles(sup);
	sup_touch(sup);
	return 0;
}

/* ---- the end of each round ---- */

static void wake_blocked(struct sup *sup)
{
	sup_each(sup, s)
	{
		if (s->state == SM_BLOCKED)
			service_event(
				s, SM_EV_START); /* looks at the dependencies again, and renews the reason */
	}
}

/* A service whose required one is gone is stopped, and waits for it. */
static void hold_dependents(struct sup *sup)
{
	sup_each(sup, s)
	{
		if (s->state != SM_RUNNING && s->state != SM_SPAWNED)
			continue;
		for (uint32_t i = 0; i < s->dep_count; i++) {
			const struct service *other = s->deps[i].service;

			if (s->deps[i].is_hard && (!other || !service_is_satisfying(other)))
				service_hold(s);
		}
	}
}

static void finish(struct sup *sup)
{
	logger_close_all(sup);
	if (stray_any() && sup->sweep_tries < 2) {
		bool is_first = sup->sweep_tries++ == 0;

		note_info("shutdown", "ending processes that belong to no service");
		stray_signal(sup->is_pid1, is_first ? SIGTERM : SIGKILL);
		loop_timer_start(&sup->loop, &sup->stop_max_timer, is_first ? STRAY_TERM_MS : STRAY_KILL_MS);
		return;
	}
	note_info("shutdown", "all services have ended%s",
		  sup->was_unclean ? ", not all of them by themselves" : "");
	if (sup->exit_code == 0 && sup->was_unclean)
		sup->exit_code = 1;
	loop_stop(&sup->loop, sup->exit_code);
}

static void settle_stop(struct sup *sup)
{
	if (graph_stop_step(sup) > 0)
		return;
	loop_timer_stop(&sup->stop_timer);
	if (sup->sweep_tries == 0) {
		loop_timer_stop(&sup->stop_max_timer);
		finish(sup);
	} else if (!stray_any()) {
		loop_timer_stop(&sup->stop_max_timer);
		finish(sup);
	}
}

static void settle(struct loop_post *post)
{
	struct sup *sup = post->ctx;

	sup_each(sup, s) service_check_group(s);
	if (sup->is_stopping) {
		settle_stop(sup);
	} else {
		hold_dependents(sup);
		wake_blocked(sup);
	}
	ctl_settle(sup->ctl);
}

void sup_reaped(struct sup *sup, pid_t pid, int status)
{
	sup_each(sup, s)
	{
		if (s->pid == pid) {
			if (sup->options.exit_with && !sup->is_stopping &&
			    strcmp(s->name, sup->options.exit_with) == 0) {
				sup->exit_code =
					WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
				service_exited(s, status);
				sup_shutdown(sup, SUP_END_EXIT, "the named service has ended");
				return;
			}
			service_exited(s, status);
			return;
		}
		if (s->probe.pid == pid) {
			job_reaped(&s->probe, status);
			return;
		}
		if (s->drain.pid == pid) {
			job_reaped(&s->drain, status);
			return;
		}
	}
	if (logger_reaped(sup, pid) && !sup->is_stopping)
		return;
	/* An orphan; perhaps the last of a group, or of the strays, that is waited for. */
	sup_touch(sup);
}

static void on_reaped(void *ctx, pid_t pid, int status)
{
	sup_reaped(ctx, pid, status);
}

/* ---- the ordered stop ---- */

static void on_progress(struct loop_timer *timer)
{
	struct sup *sup = timer->ctx;
	uint64_t now = clock_mono_ms();

	sup_each(sup, s)
	{
		if (service_is_live(s) && s->stop_began_ms)
			note_info("shutdown", "waiting for %s, %llu s of %llu s", s->name,
				  (unsigned long long)(now - s->stop_began_ms) / 1000,
				  (unsigned long long)s->unit->shutdown_timeout_ms / 1000);
	}
	/* What SIGKILL does not end shows up only by the clock. */
	sup_touch(sup);
	loop_timer_start(&sup->loop, timer, PROGRESS_MS);
}

static void on_stop_max(struct loop_timer *timer)
{
	struct sup *sup = timer->ctx;

	if (sup->sweep_tries > 0)
		finish(sup);
	else
		sup_force(sup, "the limit of the whole shutdown is reached");
}

void sup_shutdown(struct sup *sup, enum sup_end end, const char *why)
{
	if (sup->is_stopping)
		return;
	note_info("shutdown", "%s", why);
	sup->is_stopping = true;
	sup->end = end;
	sup->stop_began_ms = clock_mono_ms();
	if (sup->options.shutdown_max_ms) {
		sup->stop_deadline_ms = sup->stop_began_ms + sup->options.shutdown_max_ms;
		loop_timer_start(&sup->loop, &sup->stop_max_timer, sup->options.shutdown_max_ms);
	}
	/* First nothing is wanted any more: what waits or is in its delay is down at once. */
	sup_each(sup, s)
	{
		s->is_wanted = false;
		if (!service_is_live(s))
			service_event(s, SM_EV_STOP);
	}
	loop_timer_start(&sup->loop, &sup->stop_timer, PROGRESS_MS);
	sup_touch(sup);
}

void sup_force(struct sup *sup, const char *why)
{
	note_warn("shutdown", "%s: SIGKILL to everything", why);
	sup->was_unclean = true;
	sup_each(sup, s) service_event(s, SM_EV_FORCE);
	sup_touch(sup);
}

static void on_stop_signal(void *ctx, const struct signalfd_siginfo *info)
{
	struct sup *sup = ctx;
	char name[16], why[64];

	snprintf(why, sizeof(why), "%s received", unit_signal_name((int)info->ssi_signo, name));
	if (!sup->is_stopping)
		sup_shutdown(sup, SUP_END_EXIT, why);
	else
		note_info("shutdown", "%s: a stop is under way already", why);
}

/* The third SIGINT within five seconds means it; one or two are a habit. */
static void on_interrupt(void *ctx, const struct signalfd_siginfo *info)
{
	struct sup *sup = ctx;
	uint64_t now = clock_mono_ms();

	sup->int_times_ms[0] = sup->int_times_ms[1];
	sup->int_times_ms[1] = sup->int_times_ms[2];
	sup->int_times_ms[2] = now;
	if (sup->is_stopping && sup->int_times_ms[0] && now - sup->int_times_ms[0] <= FORCE_INT_WINDOW_MS) {
		sup_force(sup, "third SIGINT within 5 seconds");
		return;
	}
	on_stop_signal(ctx, info);
}

/* ---- start ---- */

static int catch_signals(struct sup *sup)
{
	static const int stops[] = {SIGTERM, SIGHUP};
	int rc;

	/* A client that goes away, or a closed console, is an error code, never the end. */
	signal(SIGPIPE, SIG_IGN);
	if (sup->is_machine) {
		rc = pid1_catch_signals(sup);
		return rc ? rc : loop_reaper_set(&sup->loop, on_reaped, sup);
	}
	for (size_t i = 0; i < sizeof(stops) / sizeof(stops[0]); i++) {
		rc = loop_signal(&sup->loop, stops[i], on_stop_signal, sup);
		if (rc)
			return rc;
	}
	rc = loop_signal(&sup->loop, SIGINT, on_interrupt, sup);
	return rc ? rc : loop_reaper_set(&sup->loop, on_reaped, sup);
}

/* Descriptors that we were started with are ours alone. */
static void close_on_exec_all(void)
{
#ifdef SYS_close_range
	if (syscall(SYS_close_range, 3u, ~0u, 4u /* CLOSE_RANGE_CLOEXEC */) == 0)
		return;
#endif
	for (int fd = 3; fd < 1024; fd++)
		fcntl(fd, F_SETFD, FD_CLOEXEC);
}

static void on_ctl_again(struct loop_timer *timer)
{
	struct sup *sup = timer->ctx;

	if (ctl_open(&sup->ctl, sup, NULL))
		loop_timer_start(&sup->loop, timer, CTL_AGAIN_MS);
}

static int prepare(struct sup *sup)
{
	struct err_text err = {.text = ""};
	int rc;

	close_on_exec_all();
	proc_init();
	if (sup->is_machine)
		pid1_begin(sup->options.modules_file);
	rc = file_mkdir_p(sup->options.config_dir, 0755);
	if (rc == 0 && file_is_on_our_mount(sup->options.config_dir) == 1)
		rc = -E_CONFIG;
	if (rc) {
		note_err("init", "cannot use %s: %s", sup->options.config_dir,
			 rc == -E_CONFIG ? "it lies on a mount of ours" : err_str(rc));
		if (!sup->is_machine)
			return rc;
	}
	rc = ctl_open(&sup->ctl, sup, &err);
	if (rc) {
		note_err("init", "%s", err.text);
		if (!sup->is_machine)
			return rc;
		/* A machine starts its services without a way to talk to it, and tries again. */
		loop_timer_start(&sup->loop, &sup->ctl_timer, CTL_AGAIN_MS);
	}
	if (!sup->is_pid1 && prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
		note_warn("init", "cannot become a subreaper: orphans will not be seen: %s", err_str(errno));
	rc = catch_signals(sup);
	if (rc)
		note_err("init", "cannot catch signals: %s", err_str(rc));
	return rc;
}

/*
 * Gives back the pages of the program's text that only the start needed (they come back from the file if they are
 * needed after all): on a small machine the supervisor's share is mostly text that never runs again.
 */
static void drop_start_pages(struct loop_timer *timer)
{
	extern const char __executable_start[], etext[];
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	uintptr_t begin = (uintptr_t)__executable_start & ~(page - 1), end = (uintptr_t)etext & ~(page - 1);

	(void)timer;
	/* Advice: that it is not taken costs only the memory. */
	(void)madvise((char *)begin, end - begin, MADV_DONTNEED);
}

int sup_main(const struct sup_options *options)
{
	static struct sup sup; /* one per process, and too large for a small stack */
	struct err_text err = {.text = ""};
	int rc;

	sup.options = *options;
	sup.is_pid1 = getpid() == 1;
	sup.is_machine = sup.is_pid1 && !options->is_container;
	sup.stop_deadline_ms = CLOCK_NEVER;
	list_init(&sup.services);
	rc = loop_init(&sup.loop);
	if (rc) {
		note_err("init", "cannot make the event loop: %s", err_str(rc));
		return 1;
	}
	loop_post_init(&sup.settle, settle, &sup);
	loop_timer_init(&sup.stop_timer, on_progress, &sup);
	loop_timer_init(&sup.stop_max_timer, on_stop_max, &sup);
	loop_timer_init(&sup.trim_timer, drop_start_pages, &sup);
	loop_timer_init(&sup.ctl_timer, on_ctl_again, &sup);
	rc = prepare(&sup);
	if (rc)
		goto out;
	if (options->http_address && sup.ctl && http_open(sup.ctl, options->http_address, &err))
		note_err("init", "%s", err.text);
	sup.environment = environment_load("/etc/environment");
	load_all(&sup);
	loop_timer_start(&sup.loop, &sup.trim_timer, SUP_TRIM_MS);
	rc = loop_run(&sup.loop);
	if (sup.is_machine) {
		pid1_end(sup.end);
		/* Without the right to reboot the services are over, but the first process must not be. */
		for (;;)
			loop_run_once(&sup.loop, -1);
	}
out:
	if (sup.ctl)
		http_close(sup.ctl);
	while (!list_is_empty(&sup.services))
		service_free(sup_first(&sup));
	ctl_close(sup.ctl);
	environment_free(sup.environment);
	loop_release(&sup.loop);
	return rc < 0 ? 1 : rc;
}
