/*
 * flights: large values are written by another thread, and the answers wait until they are in the log.
 *
 * The engine hands over the end of a log (zdb_flight); a pool of one thread writes it, while the loop goes on with other
 * requests. Who wrote something in a turn that has flights waits for the last of them: flights are counted, a client has the number that it
 * waits for, and is released when all up to that one have ended. Meanwhile nothing of it is read, so what it has in `out` is
 * never more than what those flights carry.
 *
 * Not with one processor, where nobody else could write, and not with `--fsync always`, where the log is synced right away.
 */
#include "core/zdbd/zdbd_int.h"

struct flying {
	struct zdbd *d;
	struct zdb_flight *flight;
	struct worker_job job;
};

bool flights_possible(const struct zdbd *d)
{
	return worker_cpu_count() > 1 && d->opt.fsync != ZDBD_FSYNC_ALWAYS;
}

static void run(struct worker_job *job)
{
	struct flying *f = job->ctx;

	zdb_flight_run(f->flight);
}

/* Clients whose flights have all landed. */
static void release_writers(struct zdbd *d)
{
	while (!list_is_empty(&d->writers)) {
		struct client *c = container_of(d->writers.next, struct client, write_link);

		if (c->flight > d->flights_landed)
			break;
		list_del(&c->write_link);
		client_release(c, HOLD_WRITE);
	}
}

/* All who wait, for this flight or one behind it. */
static void drop_writers(struct zdbd *d)
{
	struct list *it;

	while ((it = list_pop(&d->writers)))
		client_drop(container_of(it, struct client, write_link),
			    "its write could not be carried out");
}

/* One thread writes them: they end as they began. */
static void over(struct worker_job *job)
{
	struct flying *f = job->ctx;
	struct zdbd *d = f->d;
	int err = zdb_flight_done(f->flight);

	mem_free(f);
	if (err) {
		log_err("cannot write what was answered: %s", err_str(err));
		drop_writers(d);
	}
	d->flights_landed++;
	release_writers(d);
	turn_wanted(d);
}

int flight_begin(void *ctx, struct zdb_flight *flight)
{
	struct zdbd *d = ctx;
	struct flying *f;
	int err;

	if (!d->write_pool)
		return -EAGAIN;
	f = mem_calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	f->d = d;
	f->flight = flight;
	worker_job_init(&f->job, run, over, f);
	err = worker_submit(d->write_pool, &f->job);
	if (err) {
		mem_free(f);
		return err;
	}
	d->flights_begun++;
	loop_end_round(d->loop); /* who wrote so far waits for no more than this */
	return 0;
}

bool flight_awaited(struct client *c)
{
	struct zdbd *d = c->d;

	if (!c->wrote || d->flights_begun == d->flights_landed)
		return false;
	c->flight = d->flights_begun;
	c->holding |= HOLD_WRITE;
	list_del(&c->write_link); /* what it waits for already comes before this */
	list_add_tail(&d->writers, &c->write_link);
	return true;
}
