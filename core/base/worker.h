/*
 * worker: a bounded pool of threads for work that takes CPU or waits for a disk.
 *
 * A job is a struct of the caller, embedded where it belongs: submitting allocates nothing. `run` is called in a thread
 * of the pool, `done` afterwards in the loop's thread. Jobs start in the order in which they were submitted. A lane that
 * must never wait behind another one is a pool of its own.
 *
 * The threads block all signals. Any thread may submit; the pool must not be freed before it has returned, and the loop outlives
 * the pool.
 */
#ifndef CORE_BASE_WORKER_H
#define CORE_BASE_WORKER_H

#include <stdbool.h>
#include <stddef.h>

#include "core/base/list.h"
#include "core/base/loop.h"

struct worker_pool;

struct worker_job {
	void (*run)(struct worker_job *job); /* in a pool thread, or in the loop's that helps */
	void (*done)(struct worker_job
			     *job); /* in the loop's thread; NULL = nobody waits, and `run` may free the job;
					       otherwise this may free or resubmit it */
	void *ctx;
	bool is_cancelled; /* set before `done` when the pool was stopped before `run` could begin */
	struct list link;  /* private */
};

/*
 * A pool of `threads` (1..64) threads with stacks of `stack_bytes` (0 = 256 KiB) that holds at most `queue_max` waiting
 * jobs; `name` (at most 15 characters) is shown by ps. NULL and errno on failure. `loop` may be NULL when no job has a
 * `done`.
 */
struct worker_pool *worker_pool_new(struct loop *loop, const char *name, unsigned threads, size_t queue_max,
				    size_t stack_bytes);

/*
 * Stops: no new jobs are taken, waiting jobs are run (drain) or get is_cancelled, running ones are waited for; then every
 * outstanding `done` is called from here, and the pool is freed. From the loop's thread, but not from a `done`. NULL is fine.
 */
void worker_pool_free(struct worker_pool *pool, bool drain);

/* Prepares a job (done may be NULL). It must live until `done`, or, without one, as long as `run` wants it. */
void worker_job_init(struct worker_job *job, void (*run)(struct worker_job *),
		     void (*done)(struct worker_job *), void *ctx);

/* 0, -EAGAIN when the queue is full (try again after some `done`), -ESHUTDOWN when the pool is being stopped. */
int worker_submit(struct worker_pool *pool, struct worker_job *job);

/*
 * For an owner that works along. submit_quiet: the same, but no thread is woken for this job, who is busy may take it. help, in the loop's
 * thread: runs the oldest waiting job here and calls its `done`; false: none waits. Whoever submits quietly helps until then, or
 * until a job was submitted that wakes somebody.
 */
int worker_submit_quiet(struct worker_pool *pool, struct worker_job *job);
bool worker_help(struct worker_pool *pool);

/* Processors that this process may run on; at least 1. */
unsigned worker_cpu_count(void);

#endif
