/*
 * daemon: `zstor monitor`.
 *
 * Start: configuration, keys, lock of the state directory, local state and tables, spool, threads, socket. The socket is
 * there within a moment, whether stores answer or not: what cannot be said yet is "unknown", never "nothing".
 * Stop (SIGTERM, SIGINT): one more recovery point is tried while requests are still served; when it is published, or has
 * failed, or the time is up, the threads end. Everything that is owed stays in the spool. A second signal ends at once.
 */
#include "applets/zstor/daemon.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "applets/zstor/owed.h"
#include "core/base/applet.h"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/str.h"

#define HEALTH_MS        2000u
#define EVICT_MS         30000u
#define STOP_LOOK_MS     100u
#define STOP_DEFAULT_MS  60000u
#define STOP_MARGIN_MS   1000u
#define RETRIEVE_THREADS 4u
#define JOB_THREADS      2u
#define HEALTH_THREADS   4u
#define JOBS_MAX         256u
#define JOB_STACK        (512u << 10)

struct health_probe {
	struct worker_job job;
	struct daemon *d;
	struct zs_store *store;
	bool busy;
};

/* -------------------------------------------------------------------------------------------------- health --- */

static void probe_run(struct worker_job *job)
{
	struct health_probe *p = job->ctx;
	struct zstor *z = &p->d->z;
	bool was = p->store->was_up, is_back;

	store_ping(z, p->store);
	is_back = !was && p->store->was_up;
	/* First the slot, then who waits for it: a try that finds no slot is put off for long. */
	if (p->store->was_up && p->store->is_meta && vol_meta_is_back(z, (unsigned)(p->store - z->meta)))
		is_back = true;
	if (is_back) {
		pthread_mutex_lock(&z->lock);
		owed_hurry(z);
		pthread_mutex_unlock(&z->lock);
	}
}

static void probe_done(struct worker_job *job)
{
	struct health_probe *p = job->ctx;

	p->busy = false;
}

static void on_health(struct loop_timer *timer)
{
	struct daemon *d = timer->ctx;

	for (unsigned i = 0; i < d->probes_count; i++) {
		struct health_probe *p = &d->probes[i];

		if (!p->busy)
			p->busy = worker_submit(d->health, &p->job) == 0;
	}
	loop_timer_start(&d->loop, timer, HEALTH_MS);
}

static int probes_new(struct daemon *d)
{
	struct zstor *z = &d->z;

	d->probes_count = z->data_count + z->meta_count;
	d->probes = mem_calloc(d->probes_count, sizeof(*d->probes));
	if (!d->probes)
		return -ENOMEM;
	for (unsigned i = 0; i < d->probes_count; i++) {
		struct health_probe *p = &d->probes[i];

		p->d = d;
		p->store = i < z->meta_count ? &z->meta[i] : &z->data[i - z->meta_count];
		worker_job_init(&p->job, probe_run, probe_done, p);
	}
	return 0;
}

/* ------------------------------------------------------------------------------------------------ eviction --- */

static void evicted(struct request *r)
{
	r->d->evicting = false;
	if (r->evicted.kept)
		log_every(300000, LOG_LEVEL_WARN,
			  "the data directory is above its limit, %" PRIu64 " segments must be kept: %s",
			  r->evicted.kept, r->why);
}

static void on_evict(struct loop_timer *timer)
{
	struct daemon *d = timer->ctx;
	struct request *r = d->evicting ? NULL : request_new(d, REQ_EVICT, NULL);

	loop_timer_start(&d->loop, timer, EVICT_MS);
	if (!r)
		return;
	r->target_bytes = d->z.conf.max_data_mib << 20;
	r->done = evicted;
	d->evicting = request_submit(r) == 0;
	if (!d->evicting)
		request_free(r);
}

/* --------------------------------------------------------------------------------------------------- stopping --- */

static bool may_end(struct daemon *d, int *code)
{
	struct zstor *z = &d->z;
	bool end = true;

	pthread_mutex_lock(&z->lock);
	if (z->vol.state != VOL_READY)
		*code = EXIT_DONE; /* nothing that could be published */
	else if (z->point.done >= d->stop_number)
		*code = EXIT_DONE;
	else if ((z->point.tried >= d->stop_number && !z->point.busy) ||
		 clock_mono_ms() >= d->stop_deadline_ms)
		*code = EXIT_AGAIN;
	else
		end = d->signals > 1;
	if (end && *code == EXIT_AGAIN)
		log_warn("stopping without a last recovery point, what is owed is durable and goes on at the "
			 "next start: %s",
			 z->point.error);
	pthread_mutex_unlock(&z->lock);
	return end;
}

static void on_stop_look(struct loop_timer *timer)
{
	struct daemon *d = timer->ctx;
	int code = EXIT_AGAIN;

	if (may_end(d, &code))
		loop_stop(&d->loop, code);
	else
		loop_timer_start(&d->loop, timer, STOP_LOOK_MS);
}

static void on_stop_signal(void *ctx, const struct signalfd_siginfo *info)
{
	struct daemon *d = ctx;
	const char *text = getenv("ZINIT_DEADLINE_MS");
	uint64_t limit;

	if (++d->signals > 1)
		return; /* seen at the next look */
	if (!text || str_parse_u64(text, &limit) < 0)
		limit = STOP_DEFAULT_MS;
	log_info("stopping signal=%u", info->ssi_signo);
	d->stop_deadline_ms =
		clock_deadline((int64_t)(limit > STOP_MARGIN_MS ? limit - STOP_MARGIN_MS : limit));
	pthread_mutex_lock(&d->z.lock);
	d->z.draining = true;
	d->stop_number = point_request(&d->z);
	owed_hurry(&d->z);
	pthread_mutex_unlock(&d->z.lock);
	loop_timer_start(&d->loop, &d->stop_timer, 0);
}

/* ---------------------------------------------------------------------------------------------------- life --- */

static int take_lock(struct zstor *z, struct err_text *err)
{
	char path[FILE_PATH_MAX];
	int fd, rc = file_mkdir_p(z->dir, 0700);

	if (rc == 0)
		rc = file_join(path, sizeof(path), z->dir, "lock");
	if (rc < 0)
		return err_set(err, rc, "cannot use %s: %s", z->dir, err_str(rc));
	fd = file_lock(path);
	if (fd < 0)
		return err_set(err, fd,
			       fd == -E_LOCKED ? "another daemon is running on %s" : "cannot lock %s",
			       z->conf.state);
	z->dir_lock = fd;
	return 0;
}

static void write_pid(const struct zstor *z)
{
	char text[16];
	int n = snprintf(text, sizeof(text), "%ld", (long)getpid()), rc;

	if (!z->conf.pid_file)
		return;
	rc = file_write_atomic(z->conf.pid_file, 0644, text, (size_t)n);
	if (rc < 0)
		log_warn("cannot write %s: %s", z->conf.pid_file, err_str(rc));
}

static int start_loop(struct daemon *d)
{
	int rc = loop_init(&d->loop);

	if (rc < 0)
		return rc;
	rc = loop_signal(&d->loop, SIGTERM, on_stop_signal, d);
	if (rc == 0)
		rc = loop_signal(&d->loop, SIGINT, on_stop_signal, d);
	loop_timer_init(&d->health_timer, on_health, d);
	loop_timer_init(&d->evict_timer, on_evict, d);
	loop_timer_init(&d->stop_timer, on_stop_look, d);
	return rc;
}

static int start_pools(struct daemon *d)
{
	d->retrieve = worker_pool_new(&d->loop, "retrieve", RETRIEVE_THREADS, JOBS_MAX, JOB_STACK);
	d->jobs = worker_pool_new(&d->loop, "jobs", JOB_THREADS, JOBS_MAX, JOB_STACK);
	d->health = worker_pool_new(&d->loop, "health", HEALTH_THREADS, STORES_MAX + META_MAX, 0);
	return d->retrieve && d->jobs && d->health ? 0 : -errno;
}

static int start(struct daemon *d, struct err_text *err)
{
	struct zstor *z = &d->z;
	int rc = owed_new(&z->owed);

	if (rc == 0)
		rc = take_lock(z, err);
	if (rc == 0)
		rc = vol_load(z, err);
	if (rc == 0)
		rc = rows_load(z);
	if (rc == 0)
		rc = start_pools(d);
	if (rc == 0)
		rc = waiters_new(d);
	if (rc == 0)
		rc = probes_new(d);
	if (rc == 0)
		rc = serve_start(d, err);
	if (rc == 0)
		rc = uploads_start(z);
	if (rc == 0)
		rc = point_start(z);
	if (rc < 0)
		return rc;
	write_pid(z);
	on_health(&d->health_timer);
	if (z->conf.max_data_mib)
		loop_timer_start(&d->loop, &d->evict_timer, EVICT_MS);
	return 0;
}

static void stop(struct daemon *d)
{
	struct zstor *z = &d->z;

	pthread_mutex_lock(&z->lock);
	z->stopping = true;
	pthread_cond_broadcast(&z->changed);
	pthread_mutex_unlock(&z->lock);
	zs_work_cancel_all(z);
	loop_timer_stop(&d->health_timer);
	loop_timer_stop(&d->evict_timer);
	point_stop(z);
	uploads_stop(z);
	worker_pool_free(d->retrieve, false);
	worker_pool_free(d->jobs, false);
	worker_pool_free(d->health, false);
	waiters_free(d);
	serve_stop(d);
	mem_free(d->probes);
	if (z->conf.pid_file && z->dir_lock >= 0)
		unlink(z->conf.pid_file);
}

int monitor_run(const char *config, const char *log_file, bool debug)
{
	struct daemon *d = mem_calloc(1, sizeof(*d));
	struct err_text err = {0};
	bool has_loop = false;
	int code = EXIT_FAILED, rc = d ? 0 : -ENOMEM;

	if (rc == 0)
		rc = zs_open(&d->z, config, ZS_WITH_SPOOL, &err);
	if (rc == 0 && !d->z.conf.socket)
		rc = err_set(&err, -E_CONFIG, "%s: monitor needs a socket", d->z.conf.path);
	if (rc < 0)
		goto out;
	log_init("zstor", LOG_DAEMON, debug ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO);
	if (log_file && log_file[0] && (rc = log_file_open(log_file)) < 0) {
		err_set(&err, rc, "cannot open log %s: %s", log_file, err_str(rc));
		goto out;
	}
	/* Pages that we free must never wait for pages that only we can clean. */
	(void)prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
	signal(SIGPIPE, SIG_IGN);
	rc = start_loop(d);
	has_loop = rc == 0;
	if (rc == 0)
		rc = start(d, &err);
	if (rc == 0) {
		log_info("started state=%s data_stores=%u metadata_stores=%u", d->z.conf.state,
			 d->z.data_count, d->z.meta_count);
		code = loop_run(&d->loop);
		log_info("stopped code=%d", code);
	}
out:
	if (rc < 0) {
		log_err("cannot start: %s", err.text[0] ? err.text : err_str(rc));
		if (log_file && log_file[0]) /* whoever started us sees it too */
			fprintf(stderr, "zstor: cannot start: %s\n", err.text[0] ? err.text : err_str(rc));
		code = rc == -E_LOCKED ? EXIT_LOCKED : rc == -E_KEY ? EXIT_KEY : EXIT_FAILED;
	}
	if (d) {
		if (has_loop)
			stop(d);
		owed_free(d->z.owed);
		zs_close(&d->z);
		if (has_loop)
			loop_release(&d->loop);
		mem_free(d);
	}
	return code;
}
