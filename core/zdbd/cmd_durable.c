/*
 * cmd_durable: the extensions that speak of the disk. SYNC, EVICT, SPOOL, STORED, CUT.
 */
#include <errno.h>
#include <string.h>

#include "core/base/str.h"
#include "core/zdbd/zdbd_int.h"

static struct client *client_of(struct sync_waiter *w)
{
	struct op *op = container_of(w, struct op, sync);

	return container_of(op, struct client, op);
}

static void synced(struct sync_waiter *w, int err)
{
	client_resume(client_of(w), err);
}

enum verdict cmd_sync(struct call *call)
{
	struct client *c = call->c;
	bool index = call->w.argc == 2 && resp_word_is(ARG(call, 1), ARG_LEN(call, 1), "INDEX");
	struct zns *z;

	if (c->op.step++ > 0) {
		if (c->op.err)
			reply_error(c, "Cannot write data right now");
		else
			reply_ok(c);
		return DONE;
	}
	if (call->w.argc > 2 || (call->w.argc == 2 && !index)) {
		reply_error(c, "Invalid argument");
		return DONE;
	}
	z = zns_of(call->d, c->ns);
	if (!z) {
		reply_error(c, "Internal Memory Error");
		return DONE;
	}
	c->block = BLOCK_SYNC;
	c->op.sync.done = synced;
	sync_wait(z, &c->op.sync, index);
	return BLOCKED;
}

/* ----------------------------------------------------------------------------------------------------- EVICT */

struct evict_job {
	struct worker_job job;
	struct client *c;
	struct zdbd *d;
	struct zdb_ns *ns; /* referenced */
	struct zdb_proof *proof;
	uint8_t id[16];
	int result;
};

static void evict_run(struct worker_job *job)
{
	struct evict_job *e = job->ctx;

	zdb_proof_run(e->proof); /* its error comes out of zdb_evict_done() */
}

static void evict_free(void *job)
{
	mem_free(job);
}

/* NSDEL, RELOAD and FLUSH; they look again whose it was. */
static void proof_waiters_resume(struct zdbd *d)
{
	list_each_safe(&d->clients, it)
	{
		struct client *c = container_of(it, struct client, all);

		if (!c->awaits_proof)
			continue;
		c->awaits_proof = false;
		client_resume(c, 0);
	}
}

static void evict_finish(struct evict_job *e)
{
	e->result = zdb_evict_done(e->proof, e->id);
	e->proof = NULL;
	if (!zdb_ns_is_proving(e->ns))
		proof_waiters_resume(e->d);
	zdb_ns_unref(e->ns);
}

static void evict_finished(struct worker_job *job)
{
	struct evict_job *e = job->ctx;
	struct client *c = e->c;

	evict_finish(e);
	c->op.busy = false;
	if (c->dead)
		turn_wanted(e->d);
	else
		client_resume(c, 0);
}

static void reply_evict(struct client *c, int result)
{
	switch (result) {
	case 0:
	case -EALREADY:
		reply_ok(c);
		break;
	case -EBUSY:
		reply_error(c, "Segment is active");
		break;
	case -EBADMSG:
	case -EAGAIN: /* the file changed while it was read: it is not what the proof speaks of */
		reply_error(c, "Proof does not match");
		break;
	case -ENOENT:
	case -EINVAL:
		reply_error(c, "Invalid argument");
		break;
	default:
		reply_error(c, "Internal Error");
		break;
	}
}

/* A decimal segment number. */
static bool segment_word(struct call *call, size_t i, uint32_t *n)
{
	uint64_t value = 0;
	size_t k;

	for (k = 0; k < ARG_LEN(call, i); k++) {
		uint8_t digit = ARG(call, i)[k];

		if (digit < '0' || digit > '9' || value > UINT32_MAX)
			return false;
		value = value * 10 + (uint64_t)(digit - '0');
	}
	*n = (uint32_t)value;
	return ARG_LEN(call, i) > 0 && value <= UINT32_MAX;
}

static enum verdict evict_begin(struct call *call, struct zdb_ns *ns, uint32_t n)
{
	struct client *c = call->c;
	enum zdb_proof_kind kind;
	struct evict_job *e = mem_calloc(1, sizeof(*e));
	int err;

	if (!e) {
		reply_error(c, "Internal Memory Error");
		return DONE;
	}
	err = zdb_proof_parse((const char *)ARG(call, 3), ARG_LEN(call, 3), &kind, e->id);
	if (!err)
		err = zdb_proof_begin(ns, n, kind, &e->proof);
	if (err) {
		mem_free(e);
		reply_evict(c, err);
		return DONE;
	}
	e->c = c;
	e->d = call->d;
	e->ns = zdb_ns_ref(ns);
	worker_job_init(&e->job, evict_run, evict_finished, e);
	if (!call->d->read_pool || worker_submit(call->d->read_pool, &e->job)) {
		evict_run(&e->job);
		evict_finish(e);
		reply_evict(c, e->result);
		mem_free(e);
		return DONE;
	}
	c->op.job = e;
	c->op.job_free = evict_free;
	c->op.busy = true;
	c->block = BLOCK_JOB;
	return BLOCKED;
}

enum verdict cmd_evict(struct call *call)
{
	struct client *c = call->c;
	struct zdb_ns *ns;
	uint32_t n;

	if (c->op.job) {
		struct evict_job *e = c->op.job;

		reply_evict(c, e->result);
		c->op.job = NULL;
		evict_free(e);
		return DONE;
	}
	if (!segment_word(call, 2, &n)) {
		reply_error(c, "Invalid argument");
		return DONE;
	}
	ns = zdb_ns_find(call->d->eng, (const char *)ARG(call, 1), ARG_LEN(call, 1));
	if (!ns) {
		reply_error(c, "Namespace not found");
		return DONE;
	}
	return evict_begin(call, ns, n);
}

/* ----------------------------------------------------------------------------------------------------- SPOOL */

/* The words behind the command: namespace, number of a segment. NULL: the reply says what is wrong with them. */
static struct zdb_ns *namespace_and_segment(struct call *call, uint32_t *n)
{
	struct zdb_ns *ns = NULL;

	if (!segment_word(call, 2, n)) {
		reply_error(call->c, "Invalid argument");
	} else {
		ns = zdb_ns_find(call->d->eng, (const char *)ARG(call, 1), ARG_LEN(call, 1));
		if (!ns)
			reply_error(call->c, "Namespace not found");
	}
	return ns;
}

/* SPOOL namespace n: the intentions of a closed segment once more, durably, for a spool that was lost. */
enum verdict cmd_spool(struct call *call)
{
	struct client *c = call->c;
	uint32_t n;
	struct zdb_ns *ns = namespace_and_segment(call, &n);
	int err;

	if (!ns)
		return DONE;
	err = spooling_has(call->d, ns, n) ? 0 : spool_again(call->d, ns, n);
	if (!err)
		spooling_tell(call->d, ns); /* what the lost one told of */
	if (!err)
		reply_ok(c);
	else if (err == -ENOENT)
		reply_error(c, "Segment is not closed");
	else if (err == -EINPROGRESS)
		reply_error(c, "Segment is not here");
	else if (err == -EOPNOTSUPP)
		reply_error(c, "Nothing is spooled");
	else
		reply_error(c, "Internal Error");
	return DONE;
}

/* STORED namespace n: a recovery point names every segment below n and its bundle. */
enum verdict cmd_stored(struct call *call)
{
	struct client *c = call->c;
	uint32_t n;
	struct zdb_ns *ns = namespace_and_segment(call, &n);
	int err;

	if (!ns)
		return DONE;
	err = !call->d->spool || ns_is_temp(call->d, zdb_ns_name(ns)) ? -EOPNOTSUPP : zdb_stored(ns, n);
	if (!err)
		reply_ok(c);
	else if (err == -EOPNOTSUPP)
		reply_error(c, "Nothing is spooled");
	else
		reply_error(c, err == -EINVAL ? "Segment is not closed" : "Internal Error");
	return DONE;
}

/* ------------------------------------------------------------------------------------------------------- CUT */

struct cut_job;

struct cut_waiter {
	struct sync_waiter sync;
	struct cut_job *cut;
};

/* A cut that was taken, and is answered when all of it is durable. */
struct cut_job {
	struct client *c;
	struct zdb_cut *rows;
	size_t count, waiting;
	int err;
	struct cut_waiter *waiters; /* one per row */
};

static void cut_free(void *job)
{
	struct cut_job *cut = job;
	size_t i;

	for (i = 0; i < cut->count; i++) {
		sync_cancel(&cut->waiters[i].sync);
		zdb_ns_unref(cut->rows[i].ns);
	}
	mem_free(cut->waiters);
	if (cut->rows)
		zdb_cut_free(cut->rows);
	mem_free(cut);
}

static void cut_synced(struct sync_waiter *w, int err)
{
	struct cut_job *cut = container_of(w, struct cut_waiter, sync)->cut;

	if (err)
		cut->err = err;
	if (--cut->waiting == 0)
		client_resume(cut->c, cut->err);
}

static void reply_cut(struct client *c, const struct cut_job *cut)
{
	size_t i;

	reply_array(c, cut->count);
	for (i = 0; i < cut->count; i++) {
		const struct zdb_cut *row = &cut->rows[i];

		reply_array(c, 6);
		reply_text(c, zdb_ns_name(row->ns));
		reply_integer(c, row->mode);
		reply_integer(c, row->segment);
		reply_integer(c, row->offset);
		reply_integer(c, (int64_t)row->next_id);
		reply_bulk(c, row->descriptor, row->descriptor_size);
	}
}

/* Takes the cut. 0, or an error and nothing to free. */
static int cut_take(struct zdbd *d, struct client *c, struct cut_job **out)
{
	struct cut_job *cut = mem_calloc(1, sizeof(*cut));
	size_t i;
	int err;

	if (!cut)
		return -ENOMEM;
	cut->c = c;
	err = zdb_cut(d->eng, &cut->rows, &cut->count);
	if (!err && !(cut->waiters = mem_calloc(cut->count, sizeof(*cut->waiters)))) {
		zdb_cut_free(cut->rows);
		err = -ENOMEM;
	}
	if (err) {
		mem_free(cut);
		return err;
	}
	for (i = 0; i < cut->count; i++) {
		zdb_ns_ref(cut->rows[i].ns);
		list_init(&cut->waiters[i].sync.link);
		cut->waiters[i].cut = cut;
		cut->waiters[i].sync.done = cut_synced;
	}
	*out = cut;
	return 0;
}

/* One that is stored and has no place now: who takes a cut without it for the whole would take it for deleted. "" = none. */
struct unavailable {
	const struct zdbd *d;
	char name[ZDB_NAME_MAX + 1];
};

static void see_unavailable(void *ctx, const char *name, const char *why)
{
	struct unavailable *u = ctx;

	(void)why;
	if (!ns_is_temp(u->d, name))
		str_copy(u->name, sizeof(u->name), name);
}

static void find_unavailable(const struct zdbd *d, struct unavailable *u)
{
	struct zdb_ns *ns = NULL;

	*u = (struct unavailable){.d = d};
	zdb_refused_each(d->eng, see_unavailable, u);
	while ((ns = zdb_ns_next(d->eng, ns)))
		if (zdb_ns_load_error(ns))
			see_unavailable(u, zdb_ns_name(ns), NULL);
}

enum verdict cmd_cut(struct call *call)
{
	struct client *c = call->c;
	struct cut_job *cut = c->op.job;
	struct unavailable none;
	char text[sizeof(none.name) + 40];
	size_t i;

	if (cut) {
		if (c->op.err)
			reply_error(c, "Cannot write data right now");
		else
			reply_cut(c, cut);
		return DONE; /* op_end frees it */
	}
	find_unavailable(call->d, &none);
	if (none.name[0]) {
		str_fmt(text, sizeof(text), "Namespace %s is not available", none.name);
		reply_error(c, text);
		return DONE;
	}
	if (cut_take(call->d, c, &cut)) {
		reply_error(c, "Internal Error");
		return DONE;
	}
	c->op.job = cut;
	c->op.job_free = cut_free;
	c->block = BLOCK_SYNC;
	cut->waiting = cut->count;
	for (i = 0; i < cut->count; i++) {
		struct zns *z = zns_of(call->d, cut->rows[i].ns);

		if (z) {
			sync_wait(z, &cut->waiters[i].sync, false);
		} else {
			cut->err = -ENOMEM;
			cut->waiting--;
		}
	}
	if (cut->waiting == 0) /* cannot be: `default` is always there, but then nobody would wake us */
		client_resume(c, cut->err);
	return BLOCKED;
}
