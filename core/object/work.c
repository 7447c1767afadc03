/* Lanes: threads for store calls. Buffers that outlive one operation. */
#include <errno.h>
#include <signal.h>
#include <time.h>

#include "core/base/clock.h"
#include "core/base/mem.h"
#include "core/object/fetch_int.h"
#include "core/object/work_int.h"

#define LANES_DEFAULT      40
#define HEDGE_MS_DEFAULT   300
#define MEMORY_MAX_DEFAULT ((size_t)32 << 20)
#define LANE_STACK_BYTES   (256u << 10)
/* How long nobody waits longer than for one timed wait: cancellation is looked at so often. */
#define TICK_MS 100

int obj_work_new(const struct obj_work_options *options, struct obj_work **out)
{
	struct obj_work *w = mem_calloc(1, sizeof(*w));
	pthread_condattr_t monotonic;

	if (!w)
		return -ENOMEM;
	if (options)
		w->options = *options;
	if (w->options.lanes == 0)
		w->options.lanes = LANES_DEFAULT;
	if (w->options.hedge_ms == 0)
		w->options.hedge_ms = HEDGE_MS_DEFAULT;
	if (w->options.memory_max == 0)
		w->options.memory_max = MEMORY_MAX_DEFAULT;
	if (w->options.zstd_level == 0)
		w->options.zstd_level = 1;
	if (w->options.lanes > OBJ_LANES_MAX || w->options.zstd_level < 1 || w->options.zstd_level > 3) {
		mem_free(w);
		return -EINVAL;
	}
	list_init(&w->queue);
	list_init(&w->spare);
	pthread_mutex_init(&w->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&w->more, NULL);
	pthread_cond_init(&w->change, &monotonic);
	pthread_condattr_destroy(&monotonic);
	*out = w;
	return 0;
}

static void drop_buffers(struct obj_work *w)
{
	fetch_drop_spare(w);
	for (unsigned i = 0; i < SLOTS; i++) {
		mem_free(w->slots[i]);
		w->slots[i] = NULL;
		w->slot_bytes[i] = 0;
	}
}

void obj_work_free(struct obj_work *w)
{
	if (!w)
		return;
	work_lock(w);
	w->stop = true;
	pthread_cond_broadcast(&w->more);
	work_unlock(w);
	for (unsigned i = 0; i < w->lanes; i++)
		pthread_join(w->threads[i], NULL);
	drop_buffers(w);
	stripe_zstd_free(w->zstd);
	content_id_free(w->content);
	ec_cache_free(w->ec_cache);
	pthread_cond_destroy(&w->more);
	pthread_cond_destroy(&w->change);
	pthread_mutex_destroy(&w->lock);
	mem_free(w);
}

void obj_work_cancel(struct obj_work *w, int canceled)
{
	atomic_store(&w->canceled, canceled);
}

int work_begin(struct obj_work *w, enum work_kind kind)
{
	if (work_is_canceled(w))
		return -ECANCELED;
	if (w->kind != kind)
		drop_buffers(w);
	w->kind = kind;
	return 0;
}

uint8_t *work_buffer(struct obj_work *w, unsigned slot, size_t bytes)
{
	if (w->slot_bytes[slot] < bytes) {
		mem_free(w->slots[slot]);
		w->slot_bytes[slot] = 0;
		w->slots[slot] = mem_aligned(64, (bytes + 63) / 64 * 64);
		if (w->slots[slot])
			w->slot_bytes[slot] = bytes;
	}
	return w->slots[slot];
}

struct stripe_zstd *work_zstd(struct obj_work *w)
{
	if (!w->zstd)
		w->zstd = stripe_zstd_new(w->options.zstd_level);
	return w->zstd;
}

struct content_id *work_content(struct obj_work *w)
{
	if (!w->content)
		w->content = content_id_new();
	if (w->content)
		content_id_reset(w->content);
	return w->content;
}

struct ec_cache *work_ec_cache(struct obj_work *w)
{
	if (!w->ec_cache)
		w->ec_cache = ec_cache_new();
	return w->ec_cache;
}

void work_lock(struct obj_work *w)
{
	pthread_mutex_lock(&w->lock);
}

void work_unlock(struct obj_work *w)
{
	pthread_mutex_unlock(&w->lock);
}

/* Under the lock; gives it up around `run` and `drop`. */
static void run_job(struct obj_work *w, struct work_job *job)
{
	bool abandoned;

	job->state = JOB_RUNNING;
	work_unlock(w);
	job->run(job);
	work_lock(w);
	job->state = JOB_FINISHED;
	abandoned = job->abandoned;
	if (abandoned) {
		work_unlock(w);
		job->drop(job);
		work_lock(w);
	}
	pthread_cond_broadcast(&w->change);
}

static void *lane_main(void *arg)
{
	struct obj_work *w = arg;

	work_lock(w);
	for (;;) {
		struct work_job *job;

		while (list_is_empty(&w->queue) && !w->stop) {
			w->idle++;
			pthread_cond_wait(&w->more, &w->lock);
			w->idle--;
		}
		if (list_is_empty(&w->queue))
			break;
		job = container_of(list_pop(&w->queue), struct work_job, link);
		run_job(w, job);
	}
	work_unlock(w);
	return NULL;
}

static int add_lane(struct obj_work *w)
{
	sigset_t all, before;
	pthread_attr_t attr;
	int rc;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, LANE_STACK_BYTES);
	sigfillset(&all); /* signals belong to the loop's thread */
	pthread_sigmask(SIG_BLOCK, &all, &before);
	rc = pthread_create(&w->threads[w->lanes], &attr, lane_main, w);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	if (rc == 0)
		w->lanes++;
	return -rc;
}

static unsigned queued(const struct obj_work *w)
{
	unsigned count = 0;

	for (const struct list *at = w->queue.next; at != &w->queue; at = at->next)
		count++;
	return count;
}

int work_submit(struct obj_work *w, struct work_job *job)
{
	/* A lane that was woken counts as idle until it runs: compare with what waits already. */
	if (queued(w) >= w->idle && w->lanes < w->options.lanes) {
		int rc = add_lane(w);

		if (rc != 0 && w->lanes == 0)
			return -EAGAIN;
	}
	job->abandoned = false;
	job->state = JOB_QUEUED;
	list_add_tail(&w->queue, &job->link);
	pthread_cond_signal(&w->more);
	return 0;
}

void work_abandon(struct obj_work *w, struct work_job *job)
{
	if (job->state == JOB_QUEUED)
		list_del(&job->link);
	else if (job->state == JOB_RUNNING) {
		job->abandoned = true;
		return;
	}
	job->state = JOB_FINISHED;
	work_unlock(w);
	job->drop(job);
	work_lock(w);
}

void work_wait(struct obj_work *w, uint64_t deadline_ms)
{
	uint64_t now = clock_mono_ms(), wait_ms = TICK_MS;
	struct timespec ts;

	if (deadline_ms != 0 && deadline_ms < now + wait_ms)
		wait_ms = deadline_ms > now ? deadline_ms - now : 0;
	/* the kernel's own clock, whatever the table of system calls tells: pthreads wait by it */
	clock_gettime(CLOCK_MONOTONIC, &ts);
	ts.tv_nsec += (long)wait_ms * 1000000;
	ts.tv_sec += ts.tv_nsec / 1000000000;
	ts.tv_nsec %= 1000000000;
	(void)pthread_cond_timedwait(&w->change, &w->lock,
				     &ts); /* woken or timed out: the caller looks again */
}

void work_run_all(struct obj_work *w, struct work_job *const *jobs, unsigned count)
{
	work_lock(w);
	for (unsigned i = 0; i < count; i++) {
		if (!jobs[i])
			continue;
		if (work_submit(w, jobs[i]) != 0)
			run_job(w, jobs[i]);
	}
	for (unsigned i = 0; i < count; i++)
		while (jobs[i] && jobs[i]->state != JOB_FINISHED)
			work_wait(w, 0);
	work_unlock(w);
}
