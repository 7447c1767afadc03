/*
 * commands: our control protocol. Requests that wait for something (a recovery point, a restore, a drain) are looked at
 * every 200 ms and tell each second how it goes.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "applets/zstor/daemon.h"
#include "applets/zstor/owed.h"
#include "applets/zstor/status.h"
#include "core/base/applet.h"
#include "core/base/clock.h"
#include "core/base/hex.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/str.h"

#define LOOK_MS      200u
#define TELL_MS      1000u
#define SYNC_FAIL_MS 30000u /* a sync whose points fail for so long is answered with the reason */
#define RESTORE_WAIT_MS                                                                                      \
	5000u /* how long a restore waits for the stores to say something before it answers "unknown" */
#define DRAIN_STALL_MS 10000u /* no progress for so long: see whether there is a chance of any */
#define AWAY_MS        60000u /* a store that restarts is back within that */
#define WAITERS_MAX    64u

enum wait_kind { WAIT_SYNC, WAIT_RESTORE, WAIT_DRAIN };

struct waiter {
	struct list link;
	enum wait_kind kind;
	struct ctl_request *req;
	uint64_t number; /* of the point or restore that was asked for */
	uint64_t since_ms, deadline_ms, told_ms;
	uint64_t progress_ms, progress; /* of a drain: when `progress`, a sum of what only grows, last grew */
};

struct waiters {
	struct list list;
	unsigned count;
	struct loop_timer timer;
};

/* ------------------------------------------------------------------------------------------------ waiting --- */

/* -1: still waiting. With `lock` held. */
static int look_sync(struct zstor *z, struct waiter *w, char *why)
{
	if (z->point.done >= w->number)
		return EXIT_DONE;
	snprintf(why, ZS_WHY, "%s", z->vol.state != VOL_READY ? z->vol.why : z->point.error);
	if (z->vol.state == VOL_FENCED || z->vol.state == VOL_REFUSED)
		return z->vol.code;
	if (clock_mono_ms() >= w->deadline_ms)
		return EXIT_AGAIN;
	if (z->point.failing_since_ms && clock_mono_ms() - w->since_ms > SYNC_FAIL_MS &&
	    z->point.tried >= w->number)
		return EXIT_AGAIN;
	return -1;
}

static int look_restore(struct zstor *z, struct waiter *w, char *why)
{
	if (z->restore.done >= w->number) {
		snprintf(why, ZS_WHY, "%s", z->restore.why);
		return z->restore.code;
	}
	if (z->vol.state != VOL_UNKNOWN || clock_mono_ms() - w->since_ms < RESTORE_WAIT_MS)
		return -1;
	return restore_answer(z, why);
}

/* A drain goes on while anything is stored, and while the stores that are there, or may soon be, could take the rest. */
static bool has_chance(struct zstor *z, struct waiter *w, char *why)
{
	uint64_t now = clock_mono_ms(), sum = z->uploads_done + z->uploads_bytes + z->vol.last.sequence;

	if (sum != w->progress || !w->progress_ms) {
		w->progress = sum;
		w->progress_ms = now;
	}
	return now - w->progress_ms < DRAIN_STALL_MS || stores_may_suffice(z, AWAY_MS, why);
}

static int look_drain(struct zstor *z, struct waiter *w, char *why)
{
	struct owed_totals t;

	(void)owed_refresh(z, false);
	owed_count(z, &t);
	if (z->vol.state == VOL_FENCED || z->vol.state == VOL_REFUSED) {
		snprintf(why, ZS_WHY, "%s", z->vol.why);
		return EXIT_FAILED;
	}
	/* Nothing of a volume is here that could be owed, whatever the stores say or do not say. */
	if (!t.files && (z->vol.state == VOL_EMPTY || z->vol.state == VOL_NEW ||
			 (z->vol.state == VOL_UNKNOWN && !z->vol.local.present)))
		return EXIT_DONE;
	if (z->point.done >= w->number) {
		if (t.files <= t.pieces + t.parked)
			return EXIT_DONE;
		w->number = point_request(z); /* came in since */
	}
	if (!has_chance(z, w, why))
		return EXIT_PARTLY;
	if (clock_mono_ms() < w->deadline_ms)
		return -1;
	snprintf(why, ZS_WHY, "%s",
		 z->vol.state != VOL_READY ? z->vol.why
		 : z->point.error[0]       ? z->point.error
		 : t.error                 ? t.error
					   : "the time is up");
	return EXIT_AGAIN;
}

static void tell(struct zstor *z, struct waiter *w)
{
	char text[ZS_WHY + 128], bytes[STR_HUMAN_MAX];
	uint64_t done = 0, total = 0;
	struct owed_totals t;

	pthread_mutex_lock(&z->lock);
	if (w->kind == WAIT_RESTORE) {
		done = z->restore.objects_done;
		total = z->restore.objects_total;
		str_fmt(text, sizeof(text), "%s", z->restore.text[0] ? z->restore.text : z->vol.why);
	} else {
		owed_count(z, &t);
		str_fmt(text, sizeof(text), "owed: %" PRIu64 " files, %s%s%s", t.files,
			str_size(bytes, sizeof(bytes), t.bytes), z->point.error[0] ? "; " : "",
			z->point.error);
		total = t.files;
	}
	pthread_mutex_unlock(&z->lock);
	(void)ctl_progress(w->req, text, done, total);
}

static int look(struct zstor *z, struct waiter *w, char *why)
{
	int code;

	why[0] = '\0';
	pthread_mutex_lock(&z->lock);
	code = w->kind == WAIT_SYNC      ? look_sync(z, w, why)
	       : w->kind == WAIT_RESTORE ? look_restore(z, w, why)
					 : look_drain(z, w, why);
	pthread_mutex_unlock(&z->lock);
	return code;
}

static void done_with_sequence(struct daemon *d, struct ctl_request *req)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = doc ? yyjson_mut_obj(doc) : NULL;

	if (!root) {
		ctl_done(req, EXIT_DONE, NULL);
		yyjson_mut_doc_free(doc);
		return;
	}
	yyjson_mut_doc_set_root(doc, root);
	pthread_mutex_lock(&d->z.lock);
	yyjson_mut_obj_add_uint(doc, root, "sequence", d->z.vol.last.sequence);
	pthread_mutex_unlock(&d->z.lock);
	ctl_done_doc(req, EXIT_DONE, doc);
	yyjson_mut_doc_free(doc);
}

static void end_waiter(struct daemon *d, struct waiter *w, int code, const char *why)
{
	list_del(&w->link);
	d->waiters->count--;
	if (w->kind == WAIT_DRAIN) {
		pthread_mutex_lock(&d->z.lock);
		d->z.draining = d->signals > 0;
		pthread_mutex_unlock(&d->z.lock);
	}
	if (code != EXIT_DONE)
		ctl_done(w->req, code, "%s", why[0] ? why : "failed");
	else if (w->kind == WAIT_SYNC)
		done_with_sequence(d, w->req);
	else
		ctl_done(w->req, EXIT_DONE, NULL);
	mem_free(w);
}

static void look_at_all(struct loop_timer *timer)
{
	struct daemon *d = timer->ctx;
	uint64_t now = clock_mono_ms();
	char why[ZS_WHY];

	list_each_safe(&d->waiters->list, it)
	{
		struct waiter *w = container_of(it, struct waiter, link);
		int code = look(&d->z, w, why);

		if (code >= 0) {
			end_waiter(d, w, code, why);
		} else if (ctl_is_cancelled(w->req)) {
			end_waiter(d, w, EXIT_AGAIN, "the client is gone");
		} else if (now - w->told_ms >= TELL_MS) {
			w->told_ms = now;
			tell(&d->z, w);
		}
	}
	if (!list_is_empty(&d->waiters->list))
		loop_timer_start(&d->loop, timer, LOOK_MS);
}

static struct waiter *add_waiter(struct daemon *d, enum wait_kind kind, struct ctl_request *req,
				 uint64_t limit_ms)
{
	struct waiter *w = d->waiters->count < WAITERS_MAX ? mem_calloc(1, sizeof(*w)) : NULL;

	if (!w) {
		ctl_done(req, EXIT_AGAIN, "too many requests are waiting");
		return NULL;
	}
	w->kind = kind;
	w->req = req;
	w->since_ms = w->told_ms = clock_mono_ms();
	w->deadline_ms = limit_ms ? clock_deadline((int64_t)limit_ms) : CLOCK_NEVER;
	list_add_tail(&d->waiters->list, &w->link);
	d->waiters->count++;
	loop_timer_start(&d->loop, &d->waiters->timer, LOOK_MS / 4);
	return w;
}

int waiters_new(struct daemon *d)
{
	d->waiters = mem_calloc(1, sizeof(*d->waiters));
	if (!d->waiters)
		return -ENOMEM;
	list_init(&d->waiters->list);
	loop_timer_init(&d->waiters->timer, look_at_all, d);
	return 0;
}

void waiters_free(struct daemon *d)
{
	if (!d->waiters)
		return;
	list_each_safe(&d->waiters->list, it)
		end_waiter(d, container_of(it, struct waiter, link), EXIT_AGAIN, "zstor is stopping");
	loop_timer_stop(&d->waiters->timer);
	mem_free(d->waiters);
	d->waiters = NULL;
}

/* ----------------------------------------------------------------------------------------------- commands --- */

static void cmd_status(struct ctl_request *req, void *ctx)
{
	struct daemon *d = ctx;
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = doc ? yyjson_mut_obj(doc) : NULL;
	int code = -ENOMEM;

	if (root) {
		yyjson_mut_doc_set_root(doc, root);
		code = zstatus_fill(&d->z, doc, root);
	}
	if (code < 0)
		ctl_done(req, EXIT_FAILED, "out of memory");
	else
		ctl_done_doc(req, code, doc);
	yyjson_mut_doc_free(doc);
}

static void cmd_kick(struct ctl_request *req, void *ctx)
{
	struct daemon *d = ctx;

	zs_changed(&d->z);
	ctl_done(req, EXIT_DONE, NULL);
}

static void cmd_sync(struct ctl_request *req, void *ctx)
{
	struct daemon *d = ctx;
	struct waiter *w;
	uint64_t number;

	pthread_mutex_lock(&d->z.lock);
	number = point_request(&d->z);
	owed_hurry(&d->z);
	pthread_mutex_unlock(&d->z.lock);
	if (!ctl_arg_bool(req, "wait", true)) {
		ctl_done(req, EXIT_DONE, NULL);
		return;
	}
	w = add_waiter(d, WAIT_SYNC, req, ctl_arg_u64(req, "timeout_ms", 0));
	if (w)
		w->number = number;
}

static void cmd_restore(struct ctl_request *req, void *ctx)
{
	struct daemon *d = ctx;
	char why[ZS_WHY] = "";
	struct waiter *w;
	uint64_t number;
	int code;

	if (ctl_arg_bool(req, "only_ask", false)) {
		pthread_mutex_lock(&d->z.lock);
		code = restore_answer(&d->z, why);
		pthread_mutex_unlock(&d->z.lock);
		if (code == EXIT_DONE)
			ctl_done(req, EXIT_DONE, NULL);
		else
			ctl_done(req, code, "%s", why);
		return;
	}
	pthread_mutex_lock(&d->z.lock);
	number = ++d->z.restore.wanted;
	pthread_cond_broadcast(&d->z.changed);
	pthread_mutex_unlock(&d->z.lock);
	w = add_waiter(d, WAIT_RESTORE, req, 0);
	if (w)
		w->number = number;
}

static void cmd_drain(struct ctl_request *req, void *ctx)
{
	struct daemon *d = ctx;
	struct waiter *w = add_waiter(d, WAIT_DRAIN, req, ctl_arg_u64(req, "deadline_ms", 600000));

	if (!w)
		return;
	pthread_mutex_lock(&d->z.lock);
	d->z.draining = true;
	w->number = point_request(&d->z);
	owed_hurry(&d->z);
	pthread_mutex_unlock(&d->z.lock);
}

static void answer_plain(struct request *r)
{
	struct ctl_request *req = r->ctx;

	if (r->code == EXIT_DONE)
		ctl_done(req, EXIT_DONE, NULL);
	else
		ctl_done(req, r->code, "%s", r->why);
}

static void answer_check(struct request *r)
{
	struct ctl_request *req = r->ctx;
	yyjson_mut_doc *doc;
	char hex[2 * CONTENT_ID_BYTES + 1];

	if (r->code != EXIT_DONE || !(doc = yyjson_mut_doc_new(NULL))) {
		answer_plain(r);
		return;
	}
	yyjson_mut_doc_set_root(doc, yyjson_mut_obj(doc));
	yyjson_mut_obj_add_bool(doc, yyjson_mut_doc_get_root(doc), "stored", r->stored);
	if (r->stored)
		yyjson_mut_obj_add_strcpy(doc, yyjson_mut_doc_get_root(doc), "content",
					  hex_encode(hex, r->content, sizeof(r->content)));
	ctl_done_doc(req, r->stored ? EXIT_DONE : EXIT_NOT_FOUND, doc);
	yyjson_mut_doc_free(doc);
}

static void answer_evict(struct request *r)
{
	struct ctl_request *req = r->ctx;
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = doc ? yyjson_mut_obj(doc) : NULL;

	if (!root) {
		ctl_done(req, EXIT_FAILED, "out of memory");
		return;
	}
	yyjson_mut_doc_set_root(doc, root);
	yyjson_mut_obj_add_uint(doc, root, "evicted", r->evicted.files);
	yyjson_mut_obj_add_uint(doc, root, "bytes", r->evicted.bytes);
	yyjson_mut_obj_add_uint(doc, root, "kept", r->evicted.kept);
	if (r->code != EXIT_DONE)
		yyjson_mut_obj_add_strcpy(doc, root, "error", r->why);
	ctl_done_doc(req, r->code, doc);
	yyjson_mut_doc_free(doc);
}

static void submit(struct ctl_request *req, struct request *r, void (*done)(struct request *))
{
	if (!r) {
		ctl_done(req, EXIT_FAILED, "no memory, or not a path");
		return;
	}
	r->done = done;
	r->ctx = req;
	if (request_submit(r) < 0) {
		request_free(r);
		ctl_done(req, EXIT_AGAIN, "too many requests are waiting");
	}
}

static const char *path_of(struct ctl_request *req)
{
	const char *path = ctl_arg_str(req, "path", "");

	if (path[0] == '/')
		return path;
	ctl_done(req, EXIT_USAGE, "\"path\" must be an absolute path");
	return NULL;
}

static void cmd_retrieve(struct ctl_request *req, void *ctx)
{
	const char *path = path_of(req);

	if (path)
		submit(req, request_new(ctx, REQ_RETRIEVE, path), answer_plain);
}

static void cmd_check(struct ctl_request *req, void *ctx)
{
	const char *path = path_of(req);

	if (path)
		submit(req, request_new(ctx, REQ_CHECK, path), answer_check);
}

static void cmd_store(struct ctl_request *req, void *ctx)
{
	const char *path = path_of(req);

	if (path)
		submit(req, request_new(ctx, REQ_STORE, path), answer_plain);
}

static void cmd_evict(struct ctl_request *req, void *ctx)
{
	struct daemon *d = ctx;
	struct request *r = request_new(d, REQ_EVICT, NULL);

	if (r && !ctl_arg_bool(req, "all", false))
		r->target_bytes = ctl_arg_u64(req, "target_bytes", d->z.conf.max_data_mib << 20);
	submit(req, r, answer_evict);
}

const struct ctl_command daemon_commands[] = {
	{"status", cmd_status}, {"kick", cmd_kick},   {"sync", cmd_sync},         {"restore", cmd_restore},
	{"drain", cmd_drain},   {"check", cmd_check}, {"retrieve", cmd_retrieve}, {"store", cmd_store},
	{"evict", cmd_evict},   {NULL, NULL},
};
