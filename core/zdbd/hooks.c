/*
 * hooks: runs hook programs beside the loop. argv is upstream's: program, type, instance id, arguments. A hook gets its own session, descriptors
 * 0, 1 and 2 and nothing else, and our environment with ZDB_DATA, ZDB_INDEX and, with a spool, ZDB_SPOOL.
 *
 * At most HOOKS_RUNNING_MAX run at once; missing-data, for which readers wait, does not count and is bounded by the number of segments
 * that are asked for at once (HOOKS_MISSING_MAX). Whoever comes then waits in a queue.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/spawn.h"
#include "core/zdbd/zdbd_int.h"

#define KILL_AFTER_MS     2000 /* from SIGTERM to SIGKILL */
#define POLL_MS           20   /* without pidfd */
#define SHOWN_MAX         1000 /* finished hooks that are listed */
#define HOOKS_MISSING_MAX 16

int hook_exit_code(const struct hook *h)
{
	if (!h->finished)
		return 0;
	if (h->status < 0)
		return 1; /* what the child of the original exits with when exec fails */
	return WIFEXITED(h->status) ? WEXITSTATUS(h->status) : 0;
}

static bool succeeded(int status)
{
	return status >= 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool is_missing(const struct hook *h)
{
	return strcmp(h->type, "missing-data") == 0;
}

static void hook_free(struct hook *h)
{
	size_t i;

	for (i = 0; i < h->args_count; i++)
		mem_free(h->args[i]);
	mem_free(h);
}

static int launch(struct zdbd *d, const char *type, const char *const *args, size_t count,
		  struct spawned *child)
{
	const char *argv[HOOK_ARGS_MAX + 4];
	struct err_text why;
	struct spawn s = {
		.path = d->opt.hook,
		.argv = argv,
		.env = d->env,
		.keep_stdio = true,
		.new_session = true,
	};
	size_t i, n = 0;
	int err;

	argv[n++] = d->opt.hook;
	argv[n++] = type;
	argv[n++] = d->instance;
	for (i = 0; i < count; i++)
		argv[n++] = args[i];
	argv[n] = NULL;
	err = spawn_start(&s, child, &why);
	if (err)
		log_err("cannot run hook event=%s: %s", type, why.text);
	return err;
}

static unsigned *lane(struct hook *h)
{
	return is_missing(h) ? &h->d->hooks_missing : &h->d->hooks_running;
}

static bool lane_full(struct hook *h)
{
	return *lane(h) >= (is_missing(h) ? HOOKS_MISSING_MAX : HOOKS_RUNNING_MAX);
}

static void run(struct hook *h);

static void run_queued(struct zdbd *d)
{
	list_each_safe(&d->queued, it)
	{
		struct hook *h = container_of(it, struct hook, link);

		if (lane_full(h))
			continue;
		list_del(it);
		d->hooks_queued--;
		run(h);
	}
}

/* What HOOKS shows of one that is over. */
static void note_end(struct hook *h, int status)
{
	h->running = false;
	h->finished = true;
	h->status = status;
	h->finished_s = (int64_t)clock_wall_s();
	h->finished_ms = clock_mono_ms();
}

static void finish(struct hook *h, int status)
{
	struct zdbd *d = h->d;
	char text[64];

	loop_timer_stop(&h->limit);
	note_end(h, status);
	if (status >= 0 && !succeeded(status))
		log_warn("hook failed event=%s pid=%d: %s", h->type, h->pid,
			 spawn_status_str(text, sizeof(text), status));
	if (h->done)
		h->done(h, succeeded(status));
	run_queued(d);
	stop_hook_finished(d);
}

static void exited(struct loop_child *child, int status)
{
	struct hook *h = child->ctx;

	(*lane(h))--;
	finish(h, status);
}

static void limit_reached(struct loop_timer *timer)
{
	struct hook *h = timer->ctx;

	/* its session: what it started dies with it */
	kill(-h->pid, h->killed ? SIGKILL : SIGTERM);
	loop_child_kill(&h->child, h->killed ? SIGKILL : SIGTERM);
	if (!h->killed) {
		log_warn("hook takes too long, ending it event=%s pid=%d limit_ms=%llu", h->type, h->pid,
			 (unsigned long long)h->limit_ms);
		h->killed = true;
		loop_timer_start(h->d->loop, &h->limit, KILL_AFTER_MS);
	}
}

static void failed_later(struct loop_post *post)
{
	struct hook *h = post->ctx;

	finish(h, -1);
}

static void run(struct hook *h)
{
	struct zdbd *d = h->d;
	struct spawned child;
	int err = launch(d, h->type, (const char *const *)h->args, h->args_count, &child);

	h->created_s = (int64_t)clock_wall_s();
	list_add_tail(&d->hooks, &h->link);
	if (!err) {
		h->pid = child.pid;
		err = loop_child_add(d->loop, &h->child, child.pid, child.pidfd);
		if (err)
			log_err("cannot watch hook event=%s: %s", h->type, err_str(err));
	}
	if (err) {
		/* never from inside the call that asked for it */
		h->running = true;
		loop_post(d->loop, &h->failed);
		return;
	}
	h->running = true;
	(*lane(h))++;
	if (h->limit_ms)
		loop_timer_start(d->loop, &h->limit, h->limit_ms);
	log_debug("hook started event=%s pid=%d", h->type, h->pid);
}

/* In no list yet. NULL: out of memory. */
static struct hook *hook_new(struct zdbd *d, const char *type, const char *const *args, size_t count)
{
	struct hook *h = mem_calloc(1, sizeof(*h));
	size_t i;

	if (!h)
		return NULL;
	h->d = d;
	h->type = type;
	list_init(&h->link);
	loop_child_init(&h->child, exited, h);
	loop_timer_init(&h->limit, limit_reached, h);
	loop_post_init(&h->failed, failed_later, h);
	for (i = 0; i < count && i < HOOK_ARGS_MAX; i++) {
		h->args[i] = mem_strdup(args[i]);
		if (!h->args[i]) {
			hook_free(h);
			return NULL;
		}
		h->args_count++;
	}
	return h;
}

int hook_start(struct zdbd *d, const char *type, uint64_t limit_ms, void (*done)(struct hook *h, bool ok),
	       void *ctx, const char *const *args, size_t count)
{
	struct hook *h;

	if (!d->opt.hook)
		return -ENOENT;
	if (d->hooks_queued >= HOOKS_QUEUED_MAX)
		return -EAGAIN;
	h = hook_new(d, type, args, count);
	if (!h)
		return -ENOMEM;
	h->limit_ms = limit_ms;
	h->done = done;
	h->ctx = ctx;
	if (lane_full(h)) {
		list_add_tail(&d->queued, &h->link);
		d->hooks_queued++;
	} else {
		run(h);
	}
	return 0;
}

/* ----------------------------------------------------------------------------------------------- blocking run */

/* A registered stop signal that is pending: left for the loop. */
static bool stop_signal_pending(struct zdbd *d, int timeout_ms, int pidfd)
{
	struct pollfd p[2] = {{.fd = d->loop->signal_fd, .events = POLLIN}, {.fd = pidfd, .events = POLLIN}};

	poll(p, 2, timeout_ms);
	return p[0].fd >= 0 && (p[0].revents & POLLIN);
}

static void end_child(const struct spawned *child, int *status)
{
	uint64_t deadline = clock_deadline(KILL_AFTER_MS);
	pid_t reaped;

	kill(-child->pid, SIGTERM);
	while ((reaped = waitpid(child->pid, status, WNOHANG)) == 0 && clock_left_ms(deadline) != 0)
		poll(NULL, 0, POLL_MS);
	if (reaped == 0) {
		kill(-child->pid, SIGKILL);
		waitpid(child->pid, status, 0);
	}
}

/* The hooks of a start are listed too, as the original does. */
static void list_ended(struct hook *h, int pid, int64_t created_s, int status)
{
	if (!h)
		return; /* short of memory: it was run all the same */
	h->pid = pid;
	h->created_s = created_s;
	note_end(h, status);
	list_add_tail(&h->d->hooks, &h->link);
}

int hook_run(struct zdbd *d, const char *type, uint64_t limit_ms, const char *const *args, size_t count)
{
	uint64_t deadline = limit_ms ? clock_deadline((int64_t)limit_ms) : CLOCK_NEVER;
	int64_t created_s = (int64_t)clock_wall_s();
	struct spawned child;
	char text[64];
	int status = -1, err = 0;
	pid_t reaped;

	if (!d->opt.hook)
		return -ENOENT;
	if (launch(d, type, args, count, &child)) {
		list_ended(hook_new(d, type, args, count), 0, created_s, -1);
		return -ECANCELED;
	}
	while ((reaped = waitpid(child.pid, &status, WNOHANG)) == 0) {
		int wait_ms = clock_left_ms(deadline);

		if (wait_ms == 0) {
			log_warn("hook takes too long, ending it event=%s pid=%d limit_ms=%llu", type,
				 child.pid, (unsigned long long)limit_ms);
			err = -ETIMEDOUT;
			break;
		}
		if (child.pidfd < 0)
			wait_ms = POLL_MS;
		if (stop_signal_pending(d, wait_ms, child.pidfd)) {
			err = -EINTR;
			break;
		}
	}
	if (err)
		end_child(&child, &status);
	if (child.pidfd >= 0)
		close(child.pidfd);
	list_ended(hook_new(d, type, args, count), child.pid, created_s, status);
	if (!err && !succeeded(status)) {
		log_warn("hook failed event=%s pid=%d: %s", type, child.pid,
			 spawn_status_str(text, sizeof(text), status));
		err = -ECANCELED;
	}
	return err;
}

/* ------------------------------------------------------------------------------------------------ housekeeping */

size_t hooks_unfinished(const struct zdbd *d)
{
	return d->hooks_running + d->hooks_missing + d->hooks_queued;
}

void hooks_tick(struct zdbd *d, uint64_t now_ms)
{
	size_t shown = 0;

	/* newest last: the oldest finished ones go first when there are too many */
	list_each(&d->hooks, it) shown += container_of(it, struct hook, link)->finished;
	list_each_safe(&d->hooks, it)
	{
		struct hook *h = container_of(it, struct hook, link);

		if (!h->finished || (shown <= SHOWN_MAX && now_ms < h->finished_ms + HOOK_SHOWN_MS))
			continue;
		shown--;
		list_del(it);
		hook_free(h);
	}
}

static void free_list(struct zdbd *d, struct list *hooks)
{
	struct list *it;

	while ((it = list_pop(hooks))) {
		struct hook *h = container_of(it, struct hook, link);

		loop_timer_stop(&h->limit);
		loop_post_cancel(d->loop, &h->failed);
		loop_child_del(&h->child);
		hook_free(h);
	}
}

void hooks_free(struct zdbd *d)
{
	free_list(d, &d->queued);
	free_list(d, &d->hooks);
}
