/* The event loop: removal from inside callbacks, order of timers, posts from threads, signals, children. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/loop.h"
#include "core/base/mem.h"
#include "core/base/spawn.h"
#include "core/base/worker.h"
#include "tests/unit/support/sys_test.h"

/* Runs until the condition holds; fails the test after ten seconds. */
#define RUN_UNTIL(loop, condition)                                                                           \
	do {                                                                                                 \
		uint64_t run_until_end = clock_deadline(10000);                                              \
		while (!(condition)) {                                                                       \
			assert_true(clock_left_ms(run_until_end) > 0);                                       \
			loop_run_once((loop), 100);                                                          \
		}                                                                                            \
	} while (0)

/* ---- descriptors ---- */

struct pipe_io {
	struct loop_io io;
	int fds[2];
	int calls;
	struct pipe_io *victim;
};

static void on_pipe(struct loop_io *io, uint32_t events)
{
	struct pipe_io *p = io->ctx;
	char c;

	assert_true(events & EPOLLIN);
	assert_int_equal(read(p->fds[0], &c, 1), 1);
	p->calls++;
	if (p->victim)
		loop_io_del(&p->victim->io);
}

static void pipe_open(struct loop *loop, struct pipe_io *p)
{
	memset(p, 0, sizeof(*p));
	assert_int_equal(pipe2(p->fds, O_CLOEXEC | O_NONBLOCK), 0);
	loop_io_init(&p->io, p->fds[0], EPOLLIN, on_pipe, p);
	assert_int_equal(loop_io_add(loop, &p->io), 0);
}

static void pipe_close(struct pipe_io *p)
{
	loop_io_del(&p->io);
	close(p->fds[0]);
	close(p->fds[1]);
}

static void check_io(void **state)
{
	struct loop loop;
	struct pipe_io a, b;

	(void)state;
	assert_int_equal(loop_init(&loop), 0);
	pipe_open(&loop, &a);
	pipe_open(&loop, &b);
	assert_int_equal(loop_io_add(&loop, &a.io), -EEXIST);
	assert_int_equal(write(a.fds[1], "x", 1), 1);
	RUN_UNTIL(&loop, a.calls == 1);
	/* Both are ready in one batch; whichever comes first removes the other, which must not be called. */
	a.victim = &b;
	b.victim = &a;
	assert_int_equal(write(a.fds[1], "x", 1), 1);
	assert_int_equal(write(b.fds[1], "x", 1), 1);
	loop_run_once(&loop, 1000);
	assert_int_equal(a.calls + b.calls, 2);
	/* With nothing waited for, nothing is called. */
	a.victim = b.victim = NULL;
	loop_io_del(&a.io);
	loop_io_del(&b.io);
	assert_int_equal(loop_io_add(&loop, &b.io), 0);
	assert_int_equal(loop_io_set(&b.io, 0), 0);
	assert_int_equal(write(b.fds[1], "x", 1), 1);
	a.calls = b.calls;
	loop_run_once(&loop, 0);
	assert_int_equal(b.calls, a.calls);
	assert_int_equal(loop_io_set(&b.io, EPOLLIN), 0);
	loop_run_once(&loop, 1000);
	assert_int_equal(b.calls, a.calls + 1);
	pipe_close(&a);
	pipe_close(&b);
	loop_release(&loop);
}

/* ---- timers ---- */

#define TIMERS 500

struct timed {
	struct loop_timer timer;
	uint64_t wanted;
	int order; /* 0 = has not fired */
};

static int fired_count;
static uint64_t last_deadline;

static void on_timer(struct loop_timer *timer)
{
	struct timed *t = timer->ctx;

	assert_true(timer->deadline_ms >= last_deadline);
	assert_true(timer->deadline_ms == t->wanted);
	last_deadline = timer->deadline_ms;
	t->order = ++fired_count;
}

/* Random starts, restarts and stops: what remains fires, in order, with the clock moved by hand. */
static void check_timers(void **state)
{
	struct timed *timers = calloc(TIMERS, sizeof(*timers));
	uint64_t seed = test_seed();
	struct loop loop;
	int armed = 0;

	(void)state;
	sys_fault_begin();
	sys_clock_set(1000, 0);
	fired_count = 0;
	last_deadline = 0;
	assert_int_equal(loop_init(&loop), 0);
	for (int i = 0; i < TIMERS; i++)
		loop_timer_init(&timers[i].timer, on_timer, &timers[i]);
	for (int round = 0; round < 20 * TIMERS; round++) {
		struct timed *t = &timers[test_random(&seed) % TIMERS];

		if (test_random(&seed) % 3 == 0) {
			loop_timer_stop(&t->timer);
		} else {
			t->wanted = 1000 + test_random(&seed) % 300;
			loop_timer_start_at(&loop, &t->timer, t->wanted);
		}
	}
	for (int i = 0; i < TIMERS; i++)
		armed += loop_timer_is_armed(&timers[i].timer);
	for (int step = 0; step < 310; step++) {
		uint64_t now = clock_mono_ms();

		loop_run_once(&loop, 0);
		for (int i = 0; i < TIMERS; i++)
			assert_true(!loop_timer_is_armed(&timers[i].timer) || timers[i].wanted > now);
		sys_clock_advance(1);
	}
	assert_int_equal(fired_count, armed);
	loop_release(&loop);
	sys_fault_end();
	free(timers);
}

static int same_time[3], same_count;

static void on_same(struct loop_timer *timer)
{
	same_time[same_count++] = (int)(intptr_t)timer->ctx;
}

static void on_again(struct loop_timer *timer)
{
	same_count++;
	loop_timer_start(timer->loop ? timer->loop : (struct loop *)timer->ctx, timer, 0);
}

static void check_timer_order_and_rearm(void **state)
{
	struct loop_timer timers[3], again;
	struct loop loop;

	(void)state;
	assert_int_equal(loop_init(&loop), 0);
	same_count = 0;
	for (intptr_t i = 0; i < 3; i++) {
		loop_timer_init(&timers[i], on_same, (void *)i);
		loop_timer_start_at(&loop, &timers[i], 5);
	}
	loop_run_once(&loop, 0);
	assert_int_equal(same_count, 3);
	assert_true(same_time[0] == 0 && same_time[1] == 1 && same_time[2] == 2);
	/* A timer that arms itself for now fires once a round: others get their turn. */
	same_count = 0;
	loop_timer_init(&again, on_again, &loop);
	loop_timer_start(&loop, &again, 0);
	for (int i = 1; i <= 5; i++) {
		loop_run_once(&loop, 100);
		assert_int_equal(same_count, i);
	}
	loop_release(&loop);
	assert_false(loop_timer_is_armed(&again));
}

/* ---- posts ---- */

static atomic_int posted;
static int handled, deferred;

struct poster {
	struct loop *loop;
	struct loop_post post;
	pthread_t thread;
};

static void on_post(struct loop_post *post)
{
	(void)post;
	handled++;
}

static void *post_many(void *arg)
{
	struct poster *p = arg;

	for (int i = 0; i < 2000; i++) {
		atomic_fetch_add(&posted, 1);
		loop_post(p->loop, &p->post);
	}
	return NULL;
}

static void on_defer(struct loop_post *post)
{
	if (++deferred < 3)
		loop_defer(post->ctx, post);
}

static void check_posts(void **state)
{
	struct poster posters[4];
	struct loop_post defer, cancelled;
	struct loop loop;

	(void)state;
	assert_int_equal(loop_init(&loop), 0);
	handled = 0;
	for (int i = 0; i < 4; i++) {
		posters[i].loop = &loop;
		loop_post_init(&posters[i].post, on_post, NULL);
		assert_int_equal(pthread_create(&posters[i].thread, NULL, post_many, &posters[i]), 0);
	}
	RUN_UNTIL(&loop, atomic_load(&posted) == 8000);
	for (int i = 0; i < 4; i++)
		pthread_join(posters[i].thread, NULL);
	loop_run_once(&loop, 0);
	assert_true(handled >= 4 && handled <= 8000);
	for (int i = 0; i < 4; i++)
		assert_false(posters[i].post.is_queued);
	/* A defer that queues itself again runs in the next round, and the loop does not sleep before it. */
	deferred = 0;
	loop_post_init(&defer, on_defer, &loop);
	loop_defer(&loop, &defer);
	for (int i = 1; i <= 3; i++) {
		loop_run_once(&loop, -1);
		assert_int_equal(deferred, i);
	}
	handled = 0;
	loop_post_init(&cancelled, on_post, NULL);
	loop_post(&loop, &cancelled);
	assert_true(loop_post_cancel(&loop, &cancelled));
	assert_false(loop_post_cancel(&loop, &cancelled));
	loop_run_once(&loop, 0);
	assert_int_equal(handled, 0);
	loop_release(&loop);
}

/* ---- signals ---- */

static int signals_seen;

static void on_signal(void *ctx, const struct signalfd_siginfo *info)
{
	assert_int_equal(info->ssi_signo, SIGUSR1);
	signals_seen++;
	loop_stop(ctx, 42);
}

static void check_signals(void **state)
{
	struct loop loop;

	(void)state;
	assert_int_equal(loop_init(&loop), 0);
	assert_int_equal(loop_signal(&loop, SIGCHLD, on_signal, &loop), -EINVAL);
	assert_int_equal(loop_signal(&loop, SIGKILL, on_signal, &loop), 0); /* the kernel ignores it */
	assert_int_equal(loop_signal(&loop, SIGUSR1, on_signal, &loop), 0);
	kill(getpid(), SIGUSR1);
	assert_int_equal(loop_run(&loop), 42);
	assert_int_equal(signals_seen, 1);
	assert_int_equal(loop_signal(&loop, SIGUSR1, NULL, NULL), 0);
	loop_release(&loop);
}

/* ---- children ---- */

static int child_status, children_ended;

static void on_child(struct loop_child *child, int status)
{
	assert_true(child->pid > 0);
	child_status = status;
	children_ended++;
}

static void start_shell(const char *script, struct spawned *out)
{
	const char *argv[] = {"/bin/sh", "-c", script, NULL};
	struct spawn s = {.argv = argv};
	struct err_text err = {""};

	if (spawn_start(&s, out, &err))
		fail_msg("%s", err.text);
}

static void check_children(void **state)
{
	struct loop_child children[5];
	struct spawned sp;
	struct loop loop;

	(void)state;
	assert_int_equal(loop_init(&loop), 0);
	children_ended = 0;
	start_shell("exit 7", &sp);
	loop_child_init(&children[0], on_child, NULL);
	assert_int_equal(loop_child_add(&loop, &children[0], sp.pid, sp.pidfd), 0);
	assert_int_equal(loop_child_add(&loop, &children[0], sp.pid, -1), -EEXIST);
	RUN_UNTIL(&loop, children_ended == 1);
	assert_true(WIFEXITED(child_status) && WEXITSTATUS(child_status) == 7);
	assert_int_equal(loop_child_kill(&children[0], SIGTERM), -ESRCH);
	assert_int_equal(waitpid(sp.pid, NULL, WNOHANG), -1);
	for (int i = 0; i < 5; i++) {
		start_shell("exec sleep 1000", &sp);
		loop_child_init(&children[i], on_child, NULL);
		if (i % 2) { /* without a pidfd from spawn */
			close(sp.pidfd);
			sp.pidfd = -1;
		}
		assert_int_equal(loop_child_add(&loop, &children[i], sp.pid, sp.pidfd), 0);
	}
	for (int i = 0; i < 5; i++)
		assert_int_equal(loop_child_kill(&children[i], SIGKILL), 0);
	RUN_UNTIL(&loop, children_ended == 6);
	assert_true(WIFSIGNALED(child_status) && WTERMSIG(child_status) == SIGKILL);
	loop_release(&loop);
}

static int strangers;

static void on_stranger(void *ctx, pid_t pid, int status)
{
	(void)ctx;
	assert_true(pid > 0);
	assert_int_equal(WEXITSTATUS(status), 3);
	strangers++;
}

/* As PID 1: registered children, one of them from before the reaper, and strangers, all reaped once. */
static void check_reaper(void **state)
{
	struct loop_child before, after;
	struct spawned sp;
	struct loop loop;
	sigset_t chld;

	(void)state;
	assert_int_equal(loop_init(&loop), 0);
	children_ended = strangers = 0;
	start_shell("exit 5", &sp);
	loop_child_init(&before, on_child, NULL);
	assert_int_equal(loop_child_add(&loop, &before, sp.pid, sp.pidfd), 0);
	assert_int_equal(loop_reaper_set(&loop, on_stranger, NULL), 0);
	start_shell("exit 5", &sp);
	loop_child_init(&after, on_child, NULL);
	assert_int_equal(loop_child_add(&loop, &after, sp.pid, sp.pidfd), 0);
	for (int i = 0; i < 20; i++) {
		start_shell("exit 3", &sp);
		close(sp.pidfd);
	}
	RUN_UNTIL(&loop, children_ended == 2 && strangers == 20);
	assert_int_equal(WEXITSTATUS(child_status), 5);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
	loop_release(&loop);
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_UNBLOCK, &chld, NULL);
}

/* ---- nothing is allocated once the loop runs ---- */

static void check_no_allocation(void **state)
{
	struct loop loop;
	struct pipe_io p;
	struct loop_child child;
	struct loop_timer timer;
	struct spawned sp;

	(void)state;
	assert_int_equal(loop_init(&loop), 0);
	mem_fault_begin();
	mem_fault_arm_from(1);
	children_ended = same_count = 0;
	pipe_open(&loop, &p);
	assert_int_equal(write(p.fds[1], "x", 1), 1);
	loop_timer_init(&timer, on_same, NULL);
	loop_timer_start(&loop, &timer, 1);
	start_shell("exit 0", &sp);
	loop_child_init(&child, on_child, NULL);
	assert_int_equal(loop_child_add(&loop, &child, sp.pid, sp.pidfd), 0);
	RUN_UNTIL(&loop, p.calls && same_count && children_ended);
	assert_int_equal(mem_fault_calls(), 0);
	assert_int_equal(mem_fault_end(), 0);
	pipe_close(&p);
	loop_release(&loop);
}

/* ---- workers ---- */

#define JOBS 200

struct job {
	struct worker_job job;
	atomic_int ran;
	int done;
	bool was_cancelled;
};

static int jobs_done;
static pthread_t loop_thread;
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

static void job_run(struct worker_job *job)
{
	assert_false(pthread_equal(pthread_self(), loop_thread));
	atomic_fetch_add(&container_of(job, struct job, job)->ran, 1);
}

static void job_wait(struct worker_job *job)
{
	job_run(job);
	pthread_mutex_lock(&gate);
	pthread_mutex_unlock(&gate);
}

static void job_done(struct worker_job *job)
{
	struct job *j = container_of(job, struct job, job);

	assert_true(pthread_equal(pthread_self(), loop_thread));
	j->done++;
	j->was_cancelled = job->is_cancelled;
	jobs_done++;
}

static void check_workers(void **state)
{
	struct job *jobs = calloc(JOBS, sizeof(*jobs));
	struct worker_pool *pool;
	struct loop loop;
	int submitted = 0;

	(void)state;
	loop_thread = pthread_self();
	jobs_done = 0;
	assert_int_equal(loop_init(&loop), 0);
	assert_null(worker_pool_new(&loop, "x", 0, 1, 0));
	pool = worker_pool_new(&loop, "test", 3, 10, 0);
	assert_non_null(pool);
	for (int i = 0; i < JOBS; i++) {
		int code;

		worker_job_init(&jobs[i].job, job_run, job_done, NULL);
		while ((code = worker_submit(pool, &jobs[i].job)) == -EAGAIN)
			loop_run_once(&loop, 10);
		assert_int_equal(code, 0);
		submitted++;
	}
	RUN_UNTIL(&loop, jobs_done == submitted);
	for (int i = 0; i < JOBS; i++)
		assert_true(atomic_load(&jobs[i].ran) == 1 && jobs[i].done == 1 && !jobs[i].was_cancelled);
	worker_pool_free(pool, true);
	loop_release(&loop);
	free(jobs);
}

/* The queue is bounded; what nobody has begun when the pool stops is told as cancelled, or run, as asked. */
static void check_worker_stop(void **state)
{
	(void)state;
	for (int drain = 0; drain < 2; drain++) {
		struct job *jobs = calloc(6, sizeof(*jobs));
		struct worker_pool *pool;
		struct loop loop;
		int cancelled = 0;

		loop_thread = pthread_self();
		jobs_done = 0;
		assert_int_equal(loop_init(&loop), 0);
		pool = worker_pool_new(&loop, "test", 1, 4, 0);
		pthread_mutex_lock(&gate);
		for (int i = 0; i < 6; i++)
			worker_job_init(&jobs[i].job, i ? job_run : job_wait, job_done, NULL);
		assert_int_equal(worker_submit(pool, &jobs[0].job), 0);
		while (!atomic_load(&jobs[0].ran))
			loop_run_once(&loop, 1);
		for (int i = 1; i < 5; i++)
			assert_int_equal(worker_submit(pool, &jobs[i].job), 0);
		assert_int_equal(worker_submit(pool, &jobs[5].job), -EAGAIN);
		pthread_mutex_unlock(&gate);
		worker_pool_free(pool, drain);
		assert_int_equal(jobs_done, 5);
		for (int i = 0; i < 5; i++) {
			assert_int_equal(jobs[i].done, 1);
			assert_int_equal(atomic_load(&jobs[i].ran), !jobs[i].was_cancelled);
			cancelled += jobs[i].was_cancelled;
		}
		assert_true(!drain || cancelled == 0);
		loop_release(&loop);
		free(jobs);
	}
}

static int order[6], ordered;

static void job_run_here(struct worker_job *job)
{
	atomic_fetch_add(&container_of(job, struct job, job)->ran, 1);
}

static void job_done_in_order(struct worker_job *job)
{
	order[ordered++] = *(const int *)job->ctx;
	job_done(job);
}

/* The loop's thread takes waiting jobs, the oldest first, while the pool's own is busy; what it leaves the pool does, or cancels. */
static void check_worker_help(void **state)
{
	static const int numbers[6] = {0, 1, 2, 3, 4, 5};

	(void)state;
	for (int drain = 0; drain < 2; drain++) {
		struct job *jobs = calloc(6, sizeof(*jobs));
		struct worker_pool *pool;
		struct loop loop;

		loop_thread = pthread_self();
		jobs_done = ordered = 0;
		assert_int_equal(loop_init(&loop), 0);
		pool = worker_pool_new(&loop, "test", 1, 5, 0);
		assert_false(worker_help(pool));
		pthread_mutex_lock(&gate);
		for (int i = 0; i < 6; i++)
			worker_job_init(&jobs[i].job, i ? job_run_here : job_wait, job_done_in_order,
					(void *)(uintptr_t)&numbers[i]);
		assert_int_equal(worker_submit(pool, &jobs[0].job), 0);
		while (!atomic_load(&jobs[0].ran))
			loop_run_once(&loop, 1);
		for (int i = 1; i < 6; i++)
			assert_int_equal(i % 2 ? worker_submit_quiet(pool, &jobs[i].job)
					       : worker_submit(pool, &jobs[i].job),
					 0);
		assert_int_equal(worker_submit_quiet(pool, &jobs[0].job), -EAGAIN);
		for (int i = 1; i < 4; i++) {
			assert_true(worker_help(pool));
			assert_int_equal(ordered, i);
			assert_int_equal(order[i - 1], i);
			assert_int_equal(atomic_load(&jobs[i].ran), 1);
		}
		pthread_mutex_unlock(&gate);
		worker_pool_free(pool, drain);
		assert_int_equal(jobs_done, 6);
		for (int i = 0; i < 6; i++) {
			assert_int_equal(jobs[i].done, 1);
			assert_int_equal(atomic_load(&jobs[i].ran), !jobs[i].was_cancelled);
			assert_true(!drain || !jobs[i].was_cancelled);
		}
		loop_release(&loop);
		free(jobs);
	}
}

/* A job that was submitted quietly wakes nobody, and is done all the same: by who helps, by who is woken for another, at the stop. */
static void check_worker_quiet(void **state)
{
	struct job jobs[3] = {0};
	struct worker_pool *pool;
	struct loop loop;

	(void)state;
	loop_thread = pthread_self();
	jobs_done = 0;
	assert_int_equal(loop_init(&loop), 0);
	pool = worker_pool_new(&loop, "test", 1, 4, 0);
	for (int i = 0; i < 3; i++)
		worker_job_init(&jobs[i].job, job_run_here, job_done, NULL);
	assert_int_equal(worker_submit_quiet(pool, &jobs[0].job), 0);
	assert_int_equal(worker_submit(pool, &jobs[1].job), 0);
	RUN_UNTIL(&loop, jobs_done == 2);
	assert_int_equal(worker_submit_quiet(pool, &jobs[2].job), 0);
	worker_pool_free(pool, true);
	assert_int_equal(jobs_done, 3);
	assert_int_equal(atomic_load(&jobs[2].ran), 1);
	loop_release(&loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(check_io),
		cmocka_unit_test(check_timers),
		cmocka_unit_test(check_timer_order_and_rearm),
		cmocka_unit_test(check_posts),
		cmocka_unit_test(check_signals),
		cmocka_unit_test(check_children),
		cmocka_unit_test(check_reaper),
		cmocka_unit_test(check_no_allocation),
		cmocka_unit_test(check_workers),
		cmocka_unit_test(check_worker_stop),
		cmocka_unit_test(check_worker_help),
		cmocka_unit_test(check_worker_quiet),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
