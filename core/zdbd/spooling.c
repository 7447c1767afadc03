/*
 * spooling: a closed segment becomes durable intentions beside the loop.
 *
 * The bundle is written in the callback of the rotation, into the page cache; what waits for the disk (its fsync, the
 * intention of the segment, their names) is a worker's. One segment of a namespace at a time: the next rotation waits for
 * the one before. A rotation's hooks run when its segment is in the spool. What could not be spooled stays owed here, is
 * tried again, and lets no further rotation pass; after a crash the start owes the last closed segment again.
 *
 * Segments that a compaction has replaced are owed anew with the first bundle that tells of them, and before it. They become
 * compactable once zstor says that a recovery point names them (STORED); what it has not said is asked of nobody.
 */
#include <errno.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "core/zdbd/zdbd_int.h"

#define RETRY_MS 10000 /* segments that could not be spooled */

struct spooling {
	struct worker_job job;
	struct zns *z; /* NULL: it was waited for */
	struct spool *spool;
	struct spool_writer *bundle; /* written, to be committed; NULL none */
	struct spool_intent segment;
	struct spool_intent *replaced; /* closed segments with new files */
	size_t replaced_count;
	int err;
	sem_t ran;
};

static void spooling_run(struct worker_job *job)
{
	struct spooling *s = job->ctx;

	for (size_t i = 0; i < s->replaced_count && !s->err; i++)
		s->err = spool_put(s->spool, &s->replaced[i], NULL, 0);
	if (s->bundle && !s->err)
		s->err = spool_put_commit(s->bundle, NULL);
	else if (s->bundle)
		spool_put_abort(s->bundle);
	s->bundle = NULL;
	if (!s->err)
		s->err = spool_put(s->spool, &s->segment, NULL, 0);
	sem_post(&s->ran);
}

static void spooling_free(struct spooling *s)
{
	if (s->bundle)
		spool_put_abort(s->bundle);
	sem_destroy(&s->ran);
	mem_free(s->replaced);
	mem_free(s);
}

static void spooling_end(struct zns *z)
{
	struct spooling *s = z->spooling;
	uint32_t n = (uint32_t)s->segment.first;

	z->spooling = NULL;
	s->z = NULL;
	if (!s->err)
		return;
	log_err("cannot spool segment namespace=%s number=%u: %s", s->segment.ns, n, err_str(s->err));
	if (!numbers_add(&z->owed, &n, 1))
		log_err("out of memory: the segment is owed again by the scan of zstor namespace=%s "
			"number=%u",
			s->segment.ns, n);
	z->owed_next_ms = loop_now_ms(z->d->loop) + RETRY_MS;
}

static void spooling_done(struct worker_job *job)
{
	struct spooling *s = job->ctx;

	if (s->z) {
		struct zns *z = s->z;

		spooling_end(z);
		rotation_start(z);
	}
	spooling_free(s);
}

void spooling_wait(struct zns *z)
{
	struct spooling *s = z->spooling;

	if (!s)
		return;
	while (sem_wait(&s->ran) != 0) /* only a signal can end it early */
		;
	spooling_end(z); /* freed by spooling_done() */
}

int spooling_again(struct zns *z)
{
	int err = 0;

	while (z->owed.count > 0 && !err) {
		err = spool_again(z->d, z->ns, z->owed.v[0]);
		if (err == -ENOENT || err == -EOPNOTSUPP) /* emptied meanwhile, or temporary */
			err = 0;
		if (!err)
			numbers_drop_first(&z->owed);
		else
			log_err("cannot spool segment namespace=%s number=%u: %s", zdb_ns_name(z->ns),
				z->owed.v[0], err_str(err));
	}
	z->owed_next_ms = loop_now_ms(z->d->loop) + RETRY_MS;
	return err;
}

void spooling_tick(struct zns *z, uint64_t now_ms)
{
	if (z->owed.count > 0 && now_ms >= z->owed_next_ms && spooling_again(z) == 0)
		rotation_start(z);
}

static int take_replaced(struct spooling *s, struct zdb_ns *ns, const struct zdb_bundle *bundle)
{
	if (bundle->replaced_count == 0)
		return 0;
	s->replaced = mem_calloc(bundle->replaced_count, sizeof(*s->replaced));
	if (!s->replaced)
		return -ENOMEM;
	for (; s->replaced_count < bundle->replaced_count; s->replaced_count++)
		segment_intent(&s->replaced[s->replaced_count], ns,
			       bundle->replaced[s->replaced_count].segment);
	return 0;
}

int spooling_start(struct zns *z, uint32_t closed, const struct zdb_bundle *bundle)
{
	struct zdbd *d = z->d;
	struct spooling *s;
	int err;

	spooling_wait(z);
	err = spooling_again(z);
	if (err)
		return err;
	s = mem_calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	sem_init(&s->ran, 0, 0);
	s->spool = d->spool;
	s->z = z;
	worker_job_init(&s->job, spooling_run, spooling_done, s);
	segment_intent(&s->segment, z->ns, closed);
	if (bundle)
		err = take_replaced(s, z->ns, bundle);
	if (bundle && !err)
		err = bundle_begin(d, zdb_ns_name(z->ns), bundle, &s->bundle);
	if (!err && d->spool_pool && worker_submit(d->spool_pool, &s->job) == 0) {
		z->spooling = s;
		return 0;
	}
	if (!err) { /* no worker: here */
		spooling_run(&s->job);
		err = s->err;
	}
	if (err)
		log_err("cannot spool segment namespace=%s number=%u: %s", zdb_ns_name(z->ns), closed,
			err_str(err));
	spooling_free(s);
	return err;
}

void spooling_after_crash(struct zdbd *d, struct zdb_ns *ns)
{
	struct zdb_ns_info info;
	struct spool_intent in;
	char path[FILE_PATH_MAX];

	zdb_ns_info(ns, &info);
	if (!d->spool || ns_is_temp(d, zdb_ns_name(ns)) || info.data_current_id == 0)
		return;
	zdb_ns_data_path(ns, info.data_current_id - 1, path, sizeof(path));
	if (file_exists(path) != 1)
		return; /* stored, or it would not have been evicted */
	segment_intent(&in, ns, info.data_current_id - 1);
	if (spool_put(d->spool, &in, NULL, 0) != 0)
		log_err("cannot owe the last closed segment again; the scan of zstor will namespace=%s",
			zdb_ns_name(ns));
}

/* ------------------------------------------------------------------------------------------- for compactions */

struct first_owed {
	const char *ns;
	uint32_t below;
};

static int see_owed(void *ctx, const struct spool_intent *in)
{
	struct first_owed *f = ctx;

	if (strcmp(in->ns, f->ns) != 0)
		return 0;
	if (in->kind == SPOOL_NSDROP)
		f->below = 0;
	if ((in->kind == SPOOL_SEGMENT || in->kind == SPOOL_BUNDLE) && in->first < f->below)
		f->below = (uint32_t)in->first;
	return 0;
}

int spooling_below(struct zdbd *d, struct zdb_ns *ns, uint32_t *below)
{
	struct first_owed f = {zdb_ns_name(ns), UINT32_MAX};
	int err = spool_list(d->spool, see_owed, &f);

	*below = f.below;
	return err;
}

struct bundle_of {
	const char *ns;
	uint32_t n;
};

static int is_bundle_of(void *ctx, const struct spool_intent *in)
{
	const struct bundle_of *b = ctx;

	return in->kind == SPOOL_BUNDLE && in->first == b->n && strcmp(in->ns, b->ns) == 0;
}

bool spooling_has(struct zdbd *d, struct zdb_ns *ns, uint32_t n)
{
	struct zns *z = zdb_ns_owner_data(ns);
	struct bundle_of b = {zdb_ns_name(ns), n};

	if (!d->spool)
		return false;
	if (z && z->spooling && z->spooling->segment.first == n)
		return true;
	return zdb_replaced_in(ns, n) && spool_list(d->spool, is_bundle_of, &b) == 1;
}

void spooling_tell(struct zdbd *d, struct zdb_ns *ns)
{
	size_t untold;
	int err;

	(void)zdb_replaced_count(ns, &untold);
	if (!d->spool || untold == 0 || ns_is_temp(d, zdb_ns_name(ns)))
		return;
	err = zdb_jump(ns);
	if (err)
		log_warn("segments that were compacted are told to the stores at the next rotation only "
			 "namespace=%s: %s",
			 zdb_ns_name(ns), err_str(err));
}
