/*
 * work_int: lanes and buffers, for the files of this room.
 *
 * A job is embedded in a struct of its operation. It is queued, runs in a lane, and is finished under the work's lock, where
 * the operation's thread sees it. A job that the operation no longer waits for is abandoned: its `drop` is called as soon
 * as it has finished (at once if it had), and must free everything that the job owns. Until then the job may touch only
 * what it owns, and stores, which outlive the work.
 *
 * Lock: w->lock guards the queue, the lanes and the `state` of jobs. It is never held during a store call.
 */
#ifndef CORE_OBJECT_WORK_INT_H
#define CORE_OBJECT_WORK_INT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "core/base/list.h"
#include "core/coding/content_id.h"
#include "core/coding/ec.h"
#include "core/coding/stripe_zstd.h"
#include "core/object/work.h"

enum job_state { JOB_IDLE, JOB_QUEUED, JOB_RUNNING, JOB_FINISHED };

struct work_job {
	void (*run)(struct work_job *job); /* in a lane */
	void (*drop)(
		struct work_job *
			job); /* frees an abandoned job; any thread, without the lock; NULL: never abandoned */
	enum job_state state;
	bool abandoned;
	struct list link;
};

/* Buffers that are kept from one operation to the next of the same kind. */
enum work_slot {
	SLOT_PLAIN,
	SLOT_SEALED,
	SLOT_PIECES,
	SLOT_FILL, /* and 2 * EC_PIECES_MAX from here on */
	SLOTS = SLOT_FILL + 2 * EC_PIECES_MAX,
};

enum work_kind { WORK_NONE, WORK_WRITE, WORK_READ };

struct obj_work {
	struct obj_work_options options;
	atomic_int canceled;

	pthread_mutex_t lock;
	pthread_cond_t more;   /* lanes wait for jobs */
	pthread_cond_t change; /* the operation waits for a job that finishes */
	struct list queue;
	unsigned lanes, idle;
	bool stop;
	pthread_t threads[OBJ_LANES_MAX];

	enum work_kind kind;
	struct list spare; /* fetches kept for their buffers, under the lock (fetch.c) */
	unsigned spare_count;
	void *slots[SLOTS];
	size_t slot_bytes[SLOTS];
	struct stripe_zstd *zstd;
	struct content_id *content;
	struct ec_cache *ec_cache;
};

/* Begins an operation: drops the buffers of another kind. 0 or -ECANCELED. */
int work_begin(struct obj_work *w, enum work_kind kind);

/* A buffer of at least `bytes`, 64-byte aligned, kept in `slot`; its old content is lost. NULL without memory. */
uint8_t *work_buffer(struct obj_work *w, unsigned slot, size_t bytes);
/* Made when first needed; NULL without memory. */
struct stripe_zstd *work_zstd(struct obj_work *w);
struct content_id *work_content(struct obj_work *w);
struct ec_cache *work_ec_cache(struct obj_work *w);

static inline bool work_is_canceled(struct obj_work *w)
{
	return atomic_load_explicit(&w->canceled, memory_order_relaxed) != 0;
}

void work_lock(struct obj_work *w);
void work_unlock(struct obj_work *w);

/* Under the lock. Queues; starts a lane if all are busy. 0; -EAGAIN when not even one lane could be made. */
int work_submit(struct obj_work *w, struct work_job *job);
/* Under the lock: gives the job away, see above. The caller must not touch it again. */
void work_abandon(struct obj_work *w, struct work_job *job);
/* Under the lock: waits until some job finishes, or `deadline_ms` (clock_mono_ms(); 0 = none) has passed. */
void work_wait(struct obj_work *w, uint64_t deadline_ms);

/* Without the lock: runs all jobs that are not NULL and waits for every one. A job that cannot be queued runs here. */
void work_run_all(struct obj_work *w, struct work_job *const *jobs, unsigned count);

#endif
