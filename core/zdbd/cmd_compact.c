/*
 * cmd_compact: COMPACT, one at a time. A worker of its own copies, the loop's thread does a bounded step in each round, everybody is
 * served meanwhile; who asked waits for the figures. It goes on when that client goes away, and ends early, at a safe point, when the
 * server stops or the namespace is to be removed, reloaded or emptied.
 *
 * Of a namespace that goes to a spool only segments are taken that zstor has called stored and that the spool does not speak of;
 * at the end a rotation tells the stores what was replaced.
 */
#include <errno.h>

#include "core/base/clock.h"
#include "core/zdbd/zdbd_int.h"

#define THRESHOLD_DEFAULT 20
#define FIGURES_MAX       1024

struct compaction {
	struct zdbd *d;
	struct zdb_ns *ns; /* referenced */
	struct zdb_compact_options opt;
	struct zdb_compact *c; /* NULL: the sync before it runs, or the first of two */
	struct sync_waiter sync;
	struct worker_job job;
	struct loop_post step;
	uint64_t client, began_ms;
	bool stop;
};

/* What the client that asked is told; its op.job. */
struct compacted {
	int err;
	uint64_t took_ms;
	struct zdb_compact_figures figures;
};

/* ------------------------------------------------------------------------------------------------------- running */

static void free_result(void *job)
{
	mem_free(job);
}

static void tell(struct compaction *k, struct client *c, int err, const struct zdb_compact_figures *figures)
{
	struct compacted *r = mem_calloc(1, sizeof(*r));

	if (r) {
		r->err = err;
		r->took_ms = clock_mono_ms() - k->began_ms;
		r->figures = *figures;
		c->op.job = r;
		c->op.job_free = free_result;
	}
	client_resume(c, r ? 0 : -ENOMEM);
}

/* It is over: the one that asked and those that wait for the end go on. */
static void finish(struct compaction *k, int err)
{
	struct zdb_compact_figures figures = {0};
	struct zdbd *d = k->d;

	if (k->c) {
		zdb_compact_figures(k->c, &figures);
		zdb_compact_end(k->c);
	}
	if (k->opt.stored && !d->stopping)
		spooling_tell(d, k->ns); /* else the next start does */
	if (k->c && err && err != -ECANCELED)
		log_err("cannot compact namespace=%s: %s", zdb_ns_name(k->ns), err_str(err));
	if (k->c)
		log_info("compacted namespace=%s files=%u rewritten=%u refused=%u left=%u bytes_before=%llu "
			 "bytes_after=%llu",
			 zdb_ns_name(k->ns), figures.files, figures.rewritten, figures.refused, figures.left,
			 (unsigned long long)figures.bytes_before, (unsigned long long)figures.bytes_after);
	d->compaction = NULL;
	list_each_safe(&d->clients, it)
	{
		struct client *c = container_of(it, struct client, all);

		if (!c->awaits_compaction)
			continue;
		c->awaits_compaction = false;
		if (c->id == k->client)
			tell(k, c, err, &figures);
		else
			client_resume(c, 0);
	}
	zdb_ns_unref(k->ns);
	mem_free(k);
}

static void run(struct worker_job *job)
{
	struct compaction *k = job->ctx;

	zdb_compact_run(k->c); /* its error comes out of zdb_compact_done() */
}

/* One bounded step of the engine, and what is to come after it. */
static void go_on(struct compaction *k)
{
	int rc = zdb_compact_done(k->c);

	if (rc == 2) {
		loop_post(k->d->loop, &k->step);
	} else if (rc != 1) {
		finish(k, rc);
	} else if (worker_submit(k->d->compact_pool, &k->job)) { /* one job, one place: only when it stops */
		run(&k->job);
		loop_post(k->d->loop, &k->step);
	}
}

static void ran(struct worker_job *job)
{
	go_on(job->ctx);
}

static void next_step(struct loop_post *post)
{
	go_on(post->ctx);
}

static void refused_file(void *ctx, int level, const char *ns, const char *text)
{
	(void)ctx;
	(void)level;
	log_err("not compacted namespace=%s: %s", ns, text);
}

static int begin_engine(struct compaction *k)
{
	int err = k->opt.stored ? spooling_below(k->d, k->ns, &k->opt.below) : 0;

	if (!err)
		err = zdb_compact_begin(k->ns, &k->opt, &k->c);
	if (err == -EALREADY) /* should it wait for a bundle */
		spooling_tell(k->d, k->ns);
	return err;
}

/*
 * What waited in memory is in the index files now: that is what compaction goes by. A rotation that went ahead while that sync ran
 * needs another one; from here on none does.
 */
static void synced(struct sync_waiter *w, int err)
{
	struct compaction *k = container_of(w, struct compaction, sync);
	struct zns *z = zns_of(k->d, k->ns);

	if (!err && (k->stop || !z))
		err = k->stop ? -ECANCELED : -ENOMEM;
	if (!err && !k->c)
		err = begin_engine(k);
	if (err)
		finish(k, err);
	else if (zdb_ns_is_ahead(k->ns))
		sync_wait(z, &k->sync, true);
	else
		go_on(k);
}

static int begin(struct zdbd *d, struct client *c, struct zdb_ns *ns, const struct zdb_compact_options *opt)
{
	struct compaction *k = mem_calloc(1, sizeof(*k));
	struct zns *z = zns_of(d, ns);

	if (!d->compact_pool)
		d->compact_pool = worker_pool_new(d->loop, "zdb-compact", 1, 1, 0);
	if (!k || !z || !d->compact_pool) {
		mem_free(k);
		return -ENOMEM;
	}
	k->d = d;
	k->ns = zdb_ns_ref(ns);
	k->opt = *opt;
	k->opt.now_s = clock_wall_s();
	k->opt.stored = d->spool && !ns_is_temp(d, zdb_ns_name(ns));
	k->opt.fn = refused_file;
	k->client = c->id;
	k->began_ms = clock_mono_ms();
	list_init(&k->sync.link);
	k->sync.done = synced;
	worker_job_init(&k->job, run, ran, k);
	loop_post_init(&k->step, next_step, k);
	d->compaction = k;
	sync_wait(z, &k->sync, true);
	return 0;
}

/* --------------------------------------------------------------------------------------------- for the rest of us */

bool compaction_runs(const struct zdbd *d, const struct zdb_ns *ns)
{
	return d->compaction && d->compaction->ns == ns;
}

void compaction_stop(struct zdbd *d)
{
	if (!d->compaction)
		return;
	d->compaction->stop = true;
	if (d->compaction->c)
		zdb_compact_stop(d->compaction->c);
}

void compaction_end(struct zdbd *d)
{
	struct compaction *k;

	worker_pool_free(d->compact_pool, true); /* may end it */
	d->compact_pool = NULL;
	k = d->compaction;
	if (!k)
		return;
	loop_post_cancel(d->loop, &k->step);
	sync_cancel(&k->sync);
	finish(k, -ECANCELED);
}

/* ------------------------------------------------------------------------------------------------------- refusals */

/* Somebody who reads the log record by record by its offsets (docs/formats.md, "zdb", a follower). */
static bool is_followed(const struct zdbd *d, const struct zdb_ns *ns)
{
	list_each(&d->clients, it)
	{
		const struct client *c = container_of(it, struct client, all);

		if (c->follows && c->ns == ns)
			return true;
	}
	return false;
}

/* Why not, or NULL. What changes after this is refused by the engine. */
static const char *refusal(const struct zdbd *d, const struct zdb_ns *ns)
{
	struct zdb_props props;

	if (d->compaction)
		return "A compaction is running";
	if (!d->spool && d->opt.hook && !ns_is_temp(d, zdb_ns_name(ns)))
		return "Namespace is hooked, its closed segments may not change";
	if (!list_is_empty(&d->mirrors))
		return "A mirror is attached";
	if (is_followed(d, ns))
		return "A follower reads this namespace";
	zdb_ns_props(ns, &props);
	if (props.lock == ZDB_FROZEN)
		return "Namespace is temporarily frozen (read-write disabled)";
	if (props.lock == ZDB_LOCKED)
		return "Namespace is temporarily locked (read-only)";
	return props.worm ? "Namespace is protected by worm mode" : NULL;
}

static void reply_failure(struct client *c, int err)
{
	switch (err) {
	case -EBUSY:
		reply_error(c, "Segments of this namespace are being evicted");
		break;
	case -EPERM:
		reply_error(c, "Namespace is protected by worm mode");
		break;
	case -EACCES:
		reply_error(c, "Namespace is temporarily locked (read-only)");
		break;
	case -EROFS:
		reply_error(c, "Namespace is in read-only mode");
		break;
	case -ECANCELED:
		reply_error(c, "Compaction was stopped");
		break;
	case -EALREADY:
		reply_error(c, "The compaction before is in no recovery point yet");
		break;
	case -ENODATA:
		reply_error(c, "No segment of this namespace is known to be stored yet");
		break;
	case -EOPNOTSUPP:
		reply_error(c, "A stored namespace is compacted in sequential mode and without history only");
		break;
	case -ENOSPC:
	case -EDQUOT:
		reply_error(c, "No space left for the new segment");
		break;
	default:
		reply_error(c, "Internal Error");
		break;
	}
}

/* ----------------------------------------------------------------------------------------------------- the command */

/* A decimal word of at most 18 digits. */
static bool number_word(struct call *call, size_t i, uint64_t *n)
{
	size_t k;

	*n = 0;
	for (k = 0; k < ARG_LEN(call, i); k++) {
		uint8_t digit = ARG(call, i)[k];

		if (digit < '0' || digit > '9' || k >= 18)
			return false;
		*n = *n * 10 + (uint64_t)(digit - '0');
	}
	return k > 0;
}

/* Pairs of words from i on. */
static bool parse_options(struct call *call, size_t i, struct zdb_compact_options *o)
{
	uint64_t n;

	for (; i + 1 < call->w.argc; i += 2) {
		bool number = number_word(call, i + 1, &n);

		if (resp_word_is(ARG(call, i), ARG_LEN(call, i), "THRESHOLD") && number && n <= 100)
			o->threshold = (unsigned)n;
		else if (!resp_word_is(ARG(call, i), ARG_LEN(call, i), "KEEP"))
			return false;
		else if (resp_word_is(ARG(call, i + 1), ARG_LEN(call, i + 1), "ALL"))
			o->keep_s = ZDB_KEEP_ALL;
		else if (resp_word_is(ARG(call, i + 1), ARG_LEN(call, i + 1), "NONE"))
			o->keep_s = ZDB_KEEP_NONE;
		else if (number)
			o->keep_s = n;
		else
			return false;
	}
	return true;
}

static void reply_figures(struct client *c, const struct compacted *r)
{
	const struct zdb_compact_figures *f = &r->figures;
	struct buf b = BUF_INIT(FIGURES_MAX);

	buf_append_fmt(&b, "files: %u\nrewritten: %u\nrefused: %u\nabsent: %u\nleft: %u\n", f->files,
		       f->rewritten, f->refused, f->absent, f->left);
	buf_append_fmt(&b,
		       "bytes_before: %llu\nbytes_after: %llu\nrecords_dropped: %llu\nmilliseconds: %llu\n",
		       (unsigned long long)f->bytes_before, (unsigned long long)f->bytes_after,
		       (unsigned long long)f->dropped, (unsigned long long)r->took_ms);
	reply_bulk(c, b.data, b.len);
	buf_release(&b);
}

/* COMPACT [namespace] [KEEP seconds|ALL|NONE] [THRESHOLD percent] */
enum verdict cmd_compact(struct call *call)
{
	struct zdb_compact_options o = {.threshold = THRESHOLD_DEFAULT};
	struct client *c = call->c;
	size_t named = call->w.argc % 2 == 0; /* options come in pairs */
	struct zdb_ns *ns = c->ns;
	const char *why;

	if (c->op.step++ > 0) {
		const struct compacted *r = c->op.job;

		if (!r || r->err)
			reply_failure(c, r ? r->err : -ENOMEM);
		else
			reply_figures(c, r);
		return DONE; /* op_end frees it */
	}
	if (!parse_options(call, 1 + named, &o)) {
		reply_error(c, "Invalid argument");
		return DONE;
	}
	if (named)
		ns = zdb_ns_find(call->d->eng, (const char *)ARG(call, 1), ARG_LEN(call, 1));
	why = ns ? refusal(call->d, ns) : "Namespace not found";
	if (!why && begin(call->d, c, ns, &o))
		why = "Internal Memory Error";
	if (why) {
		reply_error(c, why);
		return DONE;
	}
	c->awaits_compaction = true;
	c->block = BLOCK_JOB;
	return BLOCKED;
}
