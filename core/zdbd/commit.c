/*
 * commit: group commit. Whoever needs durability waits in its namespace's list; one fdatasync, in a worker, serves all who were there
 * when it began. Those who come meanwhile share the next one.
 */
#include <errno.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/zdbd/zdbd_int.h"

/* So often a command waits for its rotation: another client may have filled the next segment meanwhile. */
#define ROTATION_WAITS 3

static void start(struct zns *z);

static void sync_job_run(struct worker_job *job)
{
	struct zns *z = job->ctx;

	zdb_sync_run(z->sync); /* its error comes out of zdb_sync_done() */
}

static void complete(struct list *waiters, int err)
{
	struct list now;
	struct list *it;

	list_init(&now);
	list_splice_tail(&now, waiters);
	while ((it = list_pop(&now))) {
		struct sync_waiter *w = container_of(it, struct sync_waiter, link);

		w->zns = NULL;
		w->done(w, err);
	}
}

static void want(struct zns *z)
{
	if (!list_is_linked(&z->link))
		list_add_tail(&z->d->sync_wanted, &z->link);
	turn_wanted(z->d);
}

/* The sync that ran: 0, or why it failed. */
static void ended_with(struct zns *z, int err)
{
	z->sync = NULL;
	if (err)
		log_err("sync failed namespace=%s: %s: it takes no more writes", zdb_ns_name(z->ns),
			err_str(err));
	complete(&z->served, err);
	if (!list_is_empty(&z->waiting))
		want(z);
	turn_wanted(z->d); /* for what gathered meanwhile */
}

/* The slow part: in a worker; here when there is none or its queue is full. */
static void submit(struct zns *z)
{
	int again;

	if (z->d->sync_pool && worker_submit(z->d->sync_pool, &z->job) == 0)
		return;
	do {
		zdb_sync_run(z->sync);
		again = zdb_sync_done(z->sync);
	} while (again == 1);
	ended_with(z, again);
}

static void sync_job_done(struct worker_job *job)
{
	struct zns *z = job->ctx;
	int err = zdb_sync_done(z->sync);

	if (err == 1) {
		submit(z);
		return;
	}
	ended_with(z, err);
	engine_tick(z->d);
}

struct zns *zns_of(struct zdbd *d, struct zdb_ns *ns)
{
	struct zns *z = zdb_ns_owner_data(ns);

	if (z || !zdb_ns_alive(ns))
		return z;
	z = mem_calloc(1, sizeof(*z));
	if (!z)
		return NULL;
	z->d = d;
	z->ns = zdb_ns_ref(ns);
	list_init(&z->waiting);
	list_init(&z->served);
	list_init(&z->link);
	list_init(&z->rotations);
	list_init(&z->aged.link);
	worker_job_init(&z->job, sync_job_run, sync_job_done, z);
	list_add_tail(&d->namespaces, &z->all);
	zdb_ns_set_owner_data(ns, z);
	return z;
}

void zns_free(struct zns *z)
{
	if (!z)
		return;
	complete(&z->waiting, -ESTALE);
	list_del(&z->link);
	list_del(&z->all);
	spooling_wait(z);
	numbers_free(&z->owed);
	rotations_forget(z);
	zdb_ns_set_owner_data(z->ns, NULL);
	zdb_ns_unref(z->ns);
	mem_free(z);
}

void sync_wait(struct zns *z, struct sync_waiter *w, bool index)
{
	w->zns = z;
	w->index = index;
	list_add_tail(&z->waiting, &w->link);
	want(z);
}

void sync_cancel(struct sync_waiter *w)
{
	if (!w->zns)
		return;
	list_del(&w->link);
	w->zns = NULL;
}

static void ended(struct sync_waiter *w, int err)
{
	struct op *op = container_of(w, struct op, sync);

	(void)err; /* only that it is over counts */
	client_resume(container_of(op, struct client, op), 0);
}

void sync_then_again(struct client *c, struct zns *z, bool index)
{
	c->block = BLOCK_SYNC;
	c->op.sync.done = ended;
	sync_wait(z, &c->op.sync, index);
}

bool sync_before_rotation(struct client *c)
{
	struct zns *z = NULL;

	/* mirrors have been sent the command: another one for the same key must not overtake it here */
	if (c->op.step < ROTATION_WAITS && list_is_empty(&c->d->mirrors) && zdb_rotation_is_long(c->ns))
		z = zns_of(c->d, c->ns);
	if (!z)
		return false;
	c->op.step++;
	sync_then_again(c, z, true);
	/* the one that runs is enough: when the closed segment is durable the next rotation goes on ahead */
	if (z->sync && zdb_ns_is_ahead(c->ns)) {
		list_del(&c->op.sync.link);
		list_add_tail(&z->served, &c->op.sync.link);
	}
	return true;
}

static bool wants_index(struct zns *z)
{
	list_each(&z->waiting, it)
	{
		if (container_of(it, struct sync_waiter, link)->index)
			return true;
	}
	return false;
}

/* Nobody waits when everysec is the reason: then one sync does what the tick's would do beside it. */
static enum zdb_sync_kind kind_wanted(struct zns *z)
{
	if (list_is_empty(&z->waiting))
		return ZDB_SYNC_DUE;
	return wants_index(z) ? ZDB_SYNC_INDEX : ZDB_SYNC_DATA;
}

static void start(struct zns *z)
{
	int err;

	if (z->sync)
		return; /* its end asks again */
	z->unsynced_since_ms = 0;
	err = zdb_sync_begin(z->ns, kind_wanted(z), &z->sync);
	if (err || !z->sync) {
		z->sync = NULL;
		complete(&z->waiting, err);
		return;
	}
	list_splice_tail(&z->served, &z->waiting);
	submit(z);
}

void sync_start_wanted(struct zdbd *d)
{
	struct list now;
	struct list *it;

	list_init(&now);
	list_splice_tail(&now, &d->sync_wanted);
	while ((it = list_pop(&now)))
		start(container_of(it, struct zns, link));
}

void sync_note_write(struct zns *z)
{
	if (z->unsynced_since_ms == 0)
		z->unsynced_since_ms = loop_now_ms(z->d->loop);
}

void sync_tick(struct zdbd *d, uint64_t now_ms)
{
	uint64_t interval = d->opt.fsync_interval_ms ? d->opt.fsync_interval_ms : 1000;

	if (d->opt.fsync != ZDBD_FSYNC_EVERYSEC)
		return;
	list_each(&d->namespaces, it)
	{
		struct zns *z = container_of(it, struct zns, all);

		if (z->unsynced_since_ms && !z->sync && now_ms + TICK_MS > z->unsynced_since_ms + interval)
			want(z);
	}
}

void engine_tick(struct zdbd *d)
{
	uint64_t next = UINT64_MAX;
	struct zdb_sync *sync;

	while ((sync = zdb_tick(d->eng, clock_mono_ms(), &next))) {
		struct zns *z = zns_of(d, zdb_sync_ns(sync));

		if (!z || z->sync) {
			/* no memory for the bookkeeping: do it here */
			do
				zdb_sync_run(sync);
			while (zdb_sync_done(sync) == 1);
			continue;
		}
		z->sync = sync;
		submit(z);
	}
	if (next != UINT64_MAX)
		loop_timer_start_at(d->loop, &d->engine_timer, next);
}
