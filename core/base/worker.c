/*
 * worker: threads that take jobs from one queue, in order.
 *
 * One lock guards the two lists and the counts; nothing is called under it. Finished jobs go to a list, and one post
 * wakes the loop, however many there are.
 */
#include "core/base/worker.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "core/base/mem.h"

#define THREADS_MAX   64u
#define STACK_DEFAULT (256u << 10)

struct worker_pool {
	struct loop *loop;
	char name[16];
	size_t queue_max;
	struct loop_post post;
	pthread_mutex_t lock; /* everything below */
	pthread_cond_t wake;
	struct list queue; /* waiting */
	struct list done;  /* finished, `done` not called yet */
	size_t queued, running;
	bool is_stopping;
	unsigned thread_count;
	pthread_t threads[];
};

/* The oldest waiting job, or NULL. Under the lock. */
static struct worker_job *take(struct worker_pool *pool)
{
	struct list *link = list_pop(&pool->queue);

	if (!link)
		return NULL;
	pool->queued--;
	return container_of(link, struct worker_job, link);
}

/* Takes jobs until the pool is stopped and the queue is empty. */
static void *thread_main(void *arg)
{
	struct worker_pool *pool = arg;

	pthread_mutex_lock(&pool->lock);
	for (;;) {
		struct worker_job *job;
		bool is_awaited;

		while (!pool->is_stopping && list_is_empty(&pool->queue))
			pthread_cond_wait(&pool->wake, &pool->lock);
		job = take(pool);
		if (!job)
			break;
		is_awaited = job->done != NULL; /* otherwise `run` may free the job */
		pool->running++;
		pthread_mutex_unlock(&pool->lock);
		job->run(job);
		pthread_mutex_lock(&pool->lock);
		pool->running--;
		if (is_awaited) {
			list_add_tail(&pool->done, &job->link);
			/* not under the lock, which the loop takes first of all when it is woken */
			pthread_mutex_unlock(&pool->lock);
			loop_post(pool->loop, &pool->post);
			pthread_mutex_lock(&pool->lock);
		}
	}
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

/* In the loop's thread: tells everybody whose job has ended. */
static void deliver(struct worker_pool *pool)
{
	struct list now;
	struct list *link;

	list_init(&now);
	pthread_mutex_lock(&pool->lock);
	list_splice_tail(&now, &pool->done);
	pthread_mutex_unlock(&pool->lock);
	while ((link = list_pop(&now))) {
		struct worker_job *job = container_of(link, struct worker_job, link);

		job->done(job);
	}
}

static void on_post(struct loop_post *post)
{
	deliver(post->ctx);
}

static int start_threads(struct worker_pool *pool, unsigned threads, size_t stack_bytes)
{
	pthread_attr_t attr;
	sigset_t all, before;
	int code = pthread_attr_init(&attr);

	if (code)
		return -code;
	code = pthread_attr_setstacksize(&attr, stack_bytes ? stack_bytes : STACK_DEFAULT);
	sigfillset(&all);
	sigdelset(&all, SIGSEGV); /* but a fault is its thread's own */
	sigdelset(&all, SIGBUS);
	sigdelset(&all, SIGILL);
	sigdelset(&all, SIGFPE);
	sigdelset(&all, SIGABRT);
	pthread_sigmask(SIG_SETMASK, &all, &before); /* threads inherit it: signals belong to the loop */
	while (code == 0 && pool->thread_count < threads) {
		pthread_t *thread = &pool->threads[pool->thread_count];

		code = pthread_create(thread, &attr, thread_main, pool);
		if (code)
			break;
		(void)pthread_setname_np(*thread, pool->name); /* only for ps */
		pool->thread_count++;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return -code;
}

struct worker_pool *worker_pool_new(struct loop *loop, const char *name, unsigned threads, size_t queue_max,
				    size_t stack_bytes)
{
	struct worker_pool *pool;
	int code;

	if (threads == 0 || threads > THREADS_MAX || queue_max == 0) {
		errno = EINVAL;
		return NULL;
	}
	pool = mem_calloc(1, sizeof(*pool) + threads * sizeof(pool->threads[0]));
	if (!pool)
		return NULL;
	pool->loop = loop;
	pool->queue_max = queue_max;
	snprintf(pool->name, sizeof(pool->name), "%s", name);
	list_init(&pool->queue);
	list_init(&pool->done);
	loop_post_init(&pool->post, on_post, pool);
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->wake, NULL);
	code = start_threads(pool, threads, stack_bytes);
	if (code) {
		worker_pool_free(pool, false);
		errno = -code;
		return NULL;
	}
	return pool;
}

/* Jobs that nobody has begun: marked, and told like the others. */
static void cancel_queue(struct worker_pool *pool)
{
	struct list *link;

	while ((link = list_pop(&pool->queue))) {
		struct worker_job *job = container_of(link, struct worker_job, link);

		pool->queued--;
		job->is_cancelled = true;
		if (job->done)
			list_add_tail(&pool->done, &job->link);
	}
}

void worker_pool_free(struct worker_pool *pool, bool drain)
{
	if (!pool)
		return;
	pthread_mutex_lock(&pool->lock);
	pool->is_stopping = true;
	if (!drain)
		cancel_queue(pool);
	pthread_cond_broadcast(&pool->wake);
	pthread_mutex_unlock(&pool->lock);
	for (unsigned i = 0; i < pool->thread_count; i++)
		pthread_join(pool->threads[i], NULL);
	if (pool->loop)
		(void)loop_post_cancel(pool->loop, &pool->post);
	deliver(pool);
	pthread_cond_destroy(&pool->wake);
	pthread_mutex_destroy(&pool->lock);
	mem_free(pool);
}

void worker_job_init(struct worker_job *job, void (*run)(struct worker_job *),
		     void (*done)(struct worker_job *), void *ctx)
{
	*job = (struct worker_job){.run = run, .done = done, .ctx = ctx};
	list_init(&job->link);
}

static int submit(struct worker_pool *pool, struct worker_job *job, bool wake)
{
	int code = 0;

	pthread_mutex_lock(&pool->lock);
	if (pool->is_stopping) {
		code = -ESHUTDOWN;
	} else if (pool->queued >= pool->queue_max) {
		code = -EAGAIN;
	} else {
		job->is_cancelled = false;
		list_add_tail(&pool->queue, &job->link);
		pool->queued++;
	}
	pthread_mutex_unlock(&pool->lock);
	if (wake && code == 0) /* not under the lock, which the thread takes first of all when it is woken */
		pthread_cond_signal(&pool->wake);
	return code;
}

int worker_submit(struct worker_pool *pool, struct worker_job *job)
{
	return submit(pool, job, true);
}

int worker_submit_quiet(struct worker_pool *pool, struct worker_job *job)
{
	return submit(pool, job, false);
}

bool worker_help(struct worker_pool *pool)
{
	struct worker_job *job;
	bool is_awaited;

	pthread_mutex_lock(&pool->lock);
	job = take(pool);
	pthread_mutex_unlock(&pool->lock);
	if (!job)
		return false;
	is_awaited = job->done != NULL; /* otherwise `run` may free the job */
	job->run(job);
	if (is_awaited)
		job->done(job);
	return true;
}

unsigned worker_cpu_count(void)
{
	cpu_set_t set;
	int n = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;

	return n > 0 ? (unsigned)n : 1;
}
