/*
 * server: life of a server, and the end of each turn. See zdbd.h and zdbd_int.h.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/file.h"
#include "core/base/kernel.h"
#include "core/base/mem_guard.h"
#include "core/base/sys.h"
#include "core/zdbd/zdbd_int.h"

extern char **environ;

#define SYNC_THREADS   2
#define SYNC_QUEUE     4096
#define READ_THREADS   2
#define READ_QUEUE     1024
#define HOT_THREADS    3 /* at most: the loop takes its share */
#define GRACE_MS       10000
#define ENV_MAX        4096
#define READY_LIMIT_MS 600000
#define LOCK_WAIT_MS   1000
#define LOCK_POLL_MS   20

/* ------------------------------------------------------------------------------------------------------ turns */

/* Each write to a log that is being synced would stand in the sync's way: what comes meanwhile gathers, until an answer could speak of it. */
static int flush(struct zdbd *d)
{
	if (d->opt.fsync == ZDBD_FSYNC_ALWAYS && !client_answers_leave(d))
		return zdb_flush_idle(d->eng);
	return zdb_flush(d->eng);
}

bool turn_writes_first(const struct zdbd *d)
{
	return d->opt.fsync == ZDBD_FSYNC_ALWAYS && zdb_gathers(d->eng);
}

static void turn_end(struct loop_post *post)
{
	struct zdbd *d = post->ctx;
	int err;

	if (!d->eng)
		return;
	err = flush(d);
	if (err) {
		log_err("cannot write what was answered: %s", err_str(err));
		client_drop_writers(d);
	}
	client_send_pending(d);
	sync_start_wanted(d);
	payload_help(d);
	client_free_dead(d);
	lent_recycle(d);
}

void turn_wanted(struct zdbd *d)
{
	loop_defer(d->loop, &d->turn);
}

static void run_ready(struct loop_post *post)
{
	client_run_ready(post->ctx);
}

/* --------------------------------------------------------------------------------------------------- background */

static void rotate_aged(struct zdbd *d, struct zdb_ns *ns)
{
	int err = zdb_jump(ns);

	if (err)
		log_every(10000, LOG_LEVEL_ERR, "cannot rotate namespace=%s: %s", zdb_ns_name(ns),
			  err_str(err));
	turn_wanted(d);
}

static void aged_synced(struct sync_waiter *w, int err)
{
	struct zns *z = container_of(w, struct zns, aged);

	if (!err && !z->d->stopping) /* an error was told, and the namespace may be deleted */
		rotate_aged(z->d, z->ns);
}

static void rotate_by_age(struct zdbd *d)
{
	struct zdb_ns *ns = NULL;

	while ((ns = zdb_ns_next(d->eng, ns))) {
		struct zns *z;

		if (!zdb_jump_due(ns, d->opt.rotate_ms / 1000))
			continue;
		z = zdb_rotation_is_long(ns) ? zns_of(d, ns) : NULL;
		if (!z) {
			rotate_aged(d, ns);
		} else if (!z->aged.zns) {
			z->aged.done = aged_synced;
			sync_wait(z, &z->aged, true);
		}
	}
}

static void on_tick(struct loop_timer *timer)
{
	struct zdbd *d = timer->ctx;
	uint64_t now = clock_mono_ms();

	if (d->stopping)
		return;
	client_tick(d, now);
	sync_tick(d, now);
	hooks_tick(d, now);
	rotations_retry(d);
	if (d->opt.rotate_ms)
		rotate_by_age(d);
	if (list_is_empty(&d->pending) && d->in_total == 0) {
		spares_release(d);
		payloads_release(d);
	}
	loop_timer_start(d->loop, &d->tick, TICK_MS);
}

static void on_engine_timer(struct loop_timer *timer)
{
	struct zdbd *d = timer->ctx;

	if (d->eng)
		engine_tick(d);
}

static void on_wait_timer(struct loop_timer *timer)
{
	wait_tick(timer->ctx, clock_mono_ms());
}

/* -------------------------------------------------------------------------------------------------------- new */

static void make_instance(struct zdbd *d)
{
	if (d->opt.socket_path)
		snprintf(d->instance, sizeof(d->instance), "unix://%s", d->opt.socket_path);
	else
		snprintf(d->instance, sizeof(d->instance), "tcp://%s:%u", d->opt.listen ? d->opt.listen : "",
			 d->opt.port);
}

static bool is_ours(const char *entry)
{
	return strncmp(entry, "ZDB_DATA=", 9) == 0 || strncmp(entry, "ZDB_INDEX=", 10) == 0 ||
	       strncmp(entry, "ZDB_SPOOL=", 10) == 0 || strncmp(entry, "NOTIFY_SOCKET=", 14) == 0;
}

/* Our environment for hooks: what we inherited, and where things are. */
static bool make_env(struct zdbd *d)
{
	size_t count = 0, n = 0, i;

	while (environ[count] && count < ENV_MAX)
		count++;
	d->env = mem_calloc(count + 4, sizeof(*d->env));
	d->env_own[0] = mem_fmt("ZDB_DATA=%s", d->opt.data_root);
	d->env_own[1] = mem_fmt("ZDB_INDEX=%s", d->opt.index_root);
	d->env_own[2] = d->opt.spool_dir ? mem_fmt("ZDB_SPOOL=%s", d->opt.spool_dir) : NULL;
	if (!d->env || !d->env_own[0] || !d->env_own[1] || (d->opt.spool_dir && !d->env_own[2]))
		return false;
	for (i = 0; i < count; i++)
		if (!is_ours(environ[i]))
			d->env[n++] = environ[i];
	for (i = 0; i < 3; i++)
		if (d->env_own[i])
			d->env[n++] = d->env_own[i];
	return true;
}

static void init_lists(struct zdbd *d)
{
	list_init(&d->clients);
	list_init(&d->dead);
	list_init(&d->pending);
	list_init(&d->ready);
	list_init(&d->waits);
	list_init(&d->mirrors);
	list_init(&d->namespaces);
	list_init(&d->sync_wanted);
	list_init(&d->missing);
	list_init(&d->hooks);
	list_init(&d->queued);
	list_init(&d->writers);
	list_init(&d->given_back);
}

static void stop_asked(struct loop_post *post)
{
	struct zdbd *d = post->ctx;

	d->opt.stop_wanted(d->opt.stop_ctx);
}

static void on_stop_timer(struct loop_timer *timer);

struct zdbd *zdbd_new(struct loop *loop, const struct zdbd_options *options)
{
	struct zdbd *d = mem_calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->loop = loop;
	d->opt = *options;
	d->spare_fd = -1;
	init_lists(d);
	loop_post_init(&d->turn, turn_end, d);
	loop_post_init(&d->run, run_ready, d);
	loop_post_init(&d->stop_asked, stop_asked, d);
	loop_timer_init(&d->tick, on_tick, d);
	loop_timer_init(&d->wait_timer, on_wait_timer, d);
	loop_timer_init(&d->engine_timer, on_engine_timer, d);
	loop_timer_init(&d->stop_timer, on_stop_timer, d);
	buf_init(&d->listing, 16u << 20);
	d->boot_wall_s = clock_wall_s();
	d->boot_ms = clock_mono_ms();
	if (sys->getrandom(&d->instance_id, sizeof(d->instance_id), 0) != (ssize_t)sizeof(d->instance_id))
		d->instance_id = (uint32_t)getpid();
	d->instance_id = d->instance_id % (1u << 30) + 1;
	make_instance(d);
	command_index_build(d);
	if (options->admin)
		d->admin = mem_strdup(options->admin);
	d->opt.admin = NULL;
	d->scratch = mem_alloc(SCRATCH_SIZE);
	if (options->hook)
		d->crash = crash_new();
	if ((options->hook && !d->crash) || (options->admin && !d->admin) || !d->scratch || !make_env(d)) {
		zdbd_free(d);
		return NULL;
	}
	return d;
}

/* ------------------------------------------------------------------------------------------------------- start */

/*
 * The engine's check, before the locks: the second would meet the first. A directory that cannot be made is the engine's to tell of.
 */
static int check_roots(const struct zdbd *d, struct err_text *why)
{
	struct stat index, data;

	if (file_mkdir_p(d->opt.index_root, 0700) || file_mkdir_p(d->opt.data_root, 0700))
		return 0;
	if (sys->stat(d->opt.index_root, &index) < 0 || sys->stat(d->opt.data_root, &data) < 0)
		return 0;
	if (index.st_dev != data.st_dev || index.st_ino != data.st_ino)
		return 0;
	return err_set(why, -EINVAL, "index and data must be different directories: %s", d->opt.index_root);
}

/* Opens and locks one root's lock file. The descriptor, -E_LOCKED, or -1 when the root cannot be written: the engine says what is wrong. */
static int lock_root(const char *root)
{
	char path[FILE_PATH_MAX];
	int fd;

	if (file_mkdir_p(root, 0700) || file_join(path, sizeof(path), root, ".lockfile"))
		return -1;
	fd = sys->open(path, O_RDWR | O_CREAT, 0664);
	if (fd >= 0 && sys->flock(fd, LOCK_EX | LOCK_NB) < 0) {
		sys->close(fd);
		return -E_LOCKED;
	}
	return fd;
}

static void unlock_roots(int fds[2])
{
	size_t i;

	for (i = 0; i < 2; i++) {
		if (fds[i] >= 0)
			sys->close(fds[i]);
		fds[i] = -1;
	}
}

/*
 * The engine's locks, taken early: nobody may restore into directories that another server uses. A server that was killed while it
 * started a hook leaves them locked until that has begun, so they are waited for a moment.
 */
static int lock_roots(struct zdbd *d, int fds[2], struct err_text *why)
{
	const char *roots[2] = {d->opt.index_root, d->opt.data_root};
	uint64_t deadline = clock_deadline(LOCK_WAIT_MS);
	size_t i;

	for (;;) {
		for (i = 0; i < 2; i++) {
			fds[i] = lock_root(roots[i]);
			if (fds[i] == -E_LOCKED)
				break;
		}
		if (i == 2)
			return 0;
		unlock_roots(fds);
		if (clock_left_ms(deadline) == 0)
			return err_set(why, -E_LOCKED, "an instance of zdb is already using: %s", roots[i]);
		poll(NULL, 0, LOCK_POLL_MS);
	}
}

static int open_spool(struct zdbd *d, struct err_text *why)
{
	int err;

	if (!d->opt.spool_dir)
		return 0;
	err = spool_open(d->opt.spool_dir, SPOOL_CREATE, &d->spool);
	return err ? err_set(why, err, "cannot open spool %s: %s", d->opt.spool_dir, err_str(err)) : 0;
}

static void report_refused(void *ctx, const char *name, const char *reason)
{
	(void)ctx;
	log_err("namespace is not available namespace=%s: %s", name, reason);
}

static void report_recovery(struct zdb_ns *ns)
{
	const struct zdb_recovery *r = zdb_ns_recovery(ns);

	if (zdb_ns_lost_properties(ns))
		log_warn("its zdb-namespace was missing or cut short: everybody may use it, without a limit, "
			 "until both are set again namespace=%s",
			 zdb_ns_name(ns));
	if (!r || (!r->unclean && !r->foreign))
		return;
	log_info("recovered namespace=%s foreign=%d log_bytes=%llu records=%u data_cut=%llu index_cut=%llu "
		 "appended=%u "
		 "rewritten=%u restored=%u lost=%u gaps=%u damaged=%u",
		 zdb_ns_name(ns), r->foreign, (unsigned long long)r->log_bytes, r->log_records,
		 (unsigned long long)r->data_cut_bytes, (unsigned long long)r->index_cut_bytes,
		 r->index_appended, r->index_rewritten, r->index_restored, r->index_lost, r->gaps,
		 r->damaged);
	if (r->ahead_waits > 0)
		log_warn("i%u and d%u have not got their names yet, and nothing can be written here: what is "
			 "in them is not "
			 "seen namespace=%s",
			 r->ahead_waits, r->ahead_waits, zdb_ns_name(ns));
	if (r->ahead_dropped > 0)
		log_warn("dropped %llu bytes of log behind a segment that a power cut has torn: they were "
			 "never durable namespace=%s",
			 (unsigned long long)r->ahead_dropped, zdb_ns_name(ns));
	if (r->index_brought > 0)
		log_warn("%u index files came back from the stores namespace=%s", r->index_brought,
			 zdb_ns_name(ns));
	if (r->index_torn > 0)
		log_warn("%u index files could not be read to their end namespace=%s: see zdb check",
			 r->index_torn, zdb_ns_name(ns));
	if (r->damaged > 0)
		log_err("the log is damaged at %u places where it was durable: what was there answers "
			"errors, nothing behind "
			"it is lost namespace=%s: see zdb check",
			r->damaged, zdb_ns_name(ns));
}

static int set_up_default(struct zdbd *d, struct err_text *why)
{
	struct zdb_ns *ns = zdb_ns_find(d->eng, ZDB_DEFAULT, strlen(ZDB_DEFAULT));
	int err = 0;

	if (d->opt.protect)
		err = zdb_ns_inject_password(ns, d->admin, strlen(d->admin));
	if (!err && d->opt.maxsize)
		err = zdb_ns_inject_maxsize(ns, d->opt.maxsize);
	return err ? err_set(why, err, "cannot set up namespace default: %s", err_str(err)) : 0;
}

static int restore_namespaces(struct zdbd *d, struct err_text *why)
{
	const char *roots[] = {d->opt.index_root, d->opt.data_root};
	int err = hook_run(d, "namespaces-init", d->opt.init_limit_ms, roots, 2);

	if (err == -EINTR)
		return err_set(why, -EINTR, "stopped while namespaces were being restored");
	/*
	 * Its status says nothing to upstream, where `ready` is what refuses a start. On a stored volume that is too
	 * late: opening the roots makes an empty `default`, which the next restore would find in its way.
	 */
	if (err && err != -ENOENT && d->spool)
		return err_set(why, -ECANCELED,
			       "the hook `namespaces-init` did not succeed: nothing was opened");
	return 0;
}

static uint64_t file_limit(void)
{
	struct rlimit r;

	return getrlimit(RLIMIT_FSIZE, &r) == 0 && r.rlim_cur != RLIM_INFINITY ? r.rlim_cur : 0;
}

/* Of data files, for reading: by default as much as the page cache could hold of them. None when a fault in one would end us. */
static uint64_t map_max(const struct zdbd *d)
{
	long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);

	if (mem_guard_install())
		return 0;
	if (d->opt.map_max)
		return d->opt.map_max;
	return pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : 0;
}

int zdbd_open(struct zdbd *d, struct err_text *why)
{
	struct zdb_events events = zdbd_events;
	struct zdb_options zo = {
		.data_root = d->opt.data_root,
		.index_root = d->opt.index_root,
		.mode = d->opt.mode,
		.datasize = d->opt.datasize,
		.want_bundles = d->opt.spool_dir != NULL,
		.rotate_ahead = !d->opt.spool_dir && !d->opt.hook, /* both are told of closed segments */
		.uncached = !d->opt.spool_dir && !d->opt.hook && kernel_is(6, 18),
		.gather_writes = true,
		.file_max = file_limit(),
		.map_max = map_max(d),
		.missing_limit_ms = (uint32_t)d->opt.missing_limit_ms,
		.events = &events,
		.events_ctx = d,
	};
	struct zdb_ns *ns = NULL;
	char sentence[400] = "";
	int err, locks[2] = {-1, -1};

	if (d->opt.protect && !d->admin)
		return err_set(why, -EINVAL, "--protect needs an admin password");
	if (!flights_possible(d))
		events.flight = NULL;
	err = check_roots(d, why);
	if (!err)
		err = lock_roots(d, locks, why);
	if (!err)
		err = open_spool(d, why);
	if (!err)
		err = restore_namespaces(d, why);
	unlock_roots(locks);
	if (err)
		return err;
	err = zdb_open(&d->eng, &zo, sentence, sizeof(sentence));
	if (err)
		return err_set(why, err == -EBUSY ? -E_LOCKED : err, "%s",
			       sentence[0] ? sentence : err_str(err));
	zdb_refused_each(d->eng, report_refused, d);
	while ((ns = zdb_ns_next(d->eng, ns))) {
		report_recovery(ns);
		if (zdb_ns_recovery(ns)->unclean)
			spooling_after_crash(d, ns);
	}
	if (drops_settle(d, true))
		log_warn("no recovery points before the next start: it cannot be settled which namespaces "
			 "were dropped");
	return set_up_default(d, why);
}

int zdbd_listen(struct zdbd *d, struct err_text *why)
{
	return listen_open(d, why);
}

int zdbd_ready(struct zdbd *d, struct err_text *why)
{
	int err = hook_run(d, "ready", d->opt.hook_limit_ms ? d->opt.hook_limit_ms : READY_LIMIT_MS, NULL, 0);

	if (err == -ENOENT || !err)
		return 0;
	if (err == -EINTR)
		return err_set(why, err, "stopped while the hook `ready` ran");
	return err_set(why, -ECANCELED, "the hook `ready` did not succeed");
}

/* For reads that cost processor time only: as many threads as there are processors beside the loop's. */
static bool hot_pool_start(struct zdbd *d)
{
	unsigned threads = worker_cpu_count() - 1;

	if (threads == 0)
		return true;
	d->hot_pool = worker_pool_new(d->loop, "zdb-hot", threads < HOT_THREADS ? threads : HOT_THREADS,
				      READ_QUEUE, 0);
	return d->hot_pool != NULL;
}

int zdbd_serve(struct zdbd *d, struct err_text *why)
{
	struct zdb_ns *ns = NULL;
	int err;

	d->sync_pool = worker_pool_new(d->loop, "zdb-sync", SYNC_THREADS, SYNC_QUEUE, 0);
	d->read_pool = worker_pool_new(d->loop, "zdb-read", READ_THREADS, READ_QUEUE, 0);
	if (d->spool)
		d->spool_pool = worker_pool_new(d->loop, "zdb-spool", 1, SYNC_QUEUE, 0);
	if (flights_possible(d))
		d->write_pool =
			worker_pool_new(d->loop, "zdb-write", 1, SYNC_QUEUE, 0); /* or the loop writes */
	if (!d->sync_pool || !d->read_pool || !hot_pool_start(d) || (d->spool && !d->spool_pool))
		return err_set(why, -errno, "cannot start threads: %s", err_str(errno));
	d->serving = true;
	err = listen_start(d);
	if (err)
		return err_set(why, err, "cannot take clients: %s", err_str(err));
	loop_timer_start(d->loop, &d->tick, TICK_MS);
	engine_tick(d);
	while ((ns = zdb_ns_next(d->eng, ns))) /* of a compaction that the stop came in between */
		spooling_tell(d, ns);
	return 0;
}

/* -------------------------------------------------------------------------------------------------------- stop */

enum stop_step {
	STOP_CLOSE_HOOK = 1, /* `close` runs */
	STOP_CLOSING_HOOKS,  /* the engine is closed, the rest runs */
	STOP_OVER,
};

static uint64_t grace_ms(const struct zdbd *d)
{
	return d->opt.hook_grace_ms ? d->opt.hook_grace_ms : GRACE_MS;
}

static void stop_over(struct zdbd *d)
{
	if (d->stop_step == STOP_OVER)
		return;
	d->stop_step = STOP_OVER;
	loop_timer_stop(&d->stop_timer);
	if (hooks_unfinished(d))
		log_warn("hooks still run, not waiting any longer running=%zu", hooks_unfinished(d));
	if (d->stopped)
		d->stopped(d->stopped_ctx, d->stop_code);
}

/* Arguments of one `namespace-closing`, kept until the engine is closed. */
struct closing {
	struct list link;
	char *name, *index, *data, *dirty;
};

static void closing_free(struct closing *c)
{
	mem_free(c->name);
	mem_free(c->index);
	mem_free(c->data);
	mem_free(c->dirty);
	mem_free(c);
}

static void closing_add(struct zdbd *d, struct zdb_ns *ns, struct list *list)
{
	struct zns *z = zns_of(d, ns);
	struct closing *c = mem_calloc(1, sizeof(*c));
	struct zdb_ns_info info;
	char path[4096];

	if (!c)
		return;
	zdb_ns_info(ns, &info);
	c->name = mem_strdup(zdb_ns_name(ns));
	zdb_ns_index_path(ns, info.data_current_id, path, sizeof(path));
	c->index = mem_strdup(path);
	zdb_ns_data_path(ns, info.data_current_id, path, sizeof(path));
	c->data = mem_strdup(path);
	c->dirty = z ? dirty_text(z) : NULL;
	list_add_tail(list, &c->link);
}

static void closing_run(struct zdbd *d, struct list *list)
{
	struct list *it;

	while ((it = list_pop(list))) {
		struct closing *c = container_of(it, struct closing, link);
		const char *args[] = {c->name, c->index, c->data, c->dirty ? c->dirty : ""};

		if (!c->name || !c->index || !c->data ||
		    hook_start(d, "namespace-closing", grace_ms(d), NULL, NULL, args, 4))
			log_err("cannot start hook event=namespace-closing namespace=%s",
				c->name ? c->name : "?");
		closing_free(c);
	}
}

static void free_namespaces(struct zdbd *d)
{
	list_each_safe(&d->namespaces, it) zns_free(container_of(it, struct zns, all));
}

/* No client, no worker: the engine is ours alone. */
static void settle(struct zdbd *d)
{
	client_shut_down_all(d);
	compaction_stop(d);
	compaction_end(d);
	worker_pool_free(d->spool_pool, true);
	d->spool_pool = NULL;
	list_each(&d->namespaces, it)(void) spooling_again(container_of(it, struct zns, all)); /* it logs */
	worker_pool_free(d->write_pool, true);
	d->write_pool = NULL;
	worker_pool_free(d->sync_pool, true);
	d->sync_pool = NULL;
	worker_pool_free(d->read_pool, true);
	d->read_pool = NULL;
	worker_pool_free(d->hot_pool, true);
	d->hot_pool = NULL;
	client_free_dead(d);
	missing_forget(d);
	loop_timer_stop(&d->tick);
	loop_timer_stop(&d->wait_timer);
	loop_timer_stop(&d->engine_timer);
	loop_post_cancel(d->loop, &d->turn);
	loop_post_cancel(d->loop, &d->run);
	loop_post_cancel(d->loop, &d->stop_asked);
}

/*
 * Everything durable and the locks given back before the hooks of closing start: what they copy does not change any more, and the
 * next server need not wait for them.
 */
static void stop_engine(struct zdbd *d)
{
	struct list closing;
	struct zdb_ns *ns = NULL;

	list_init(&closing);
	d->stop_step = STOP_CLOSING_HOOKS;
	settle(d);
	if (d->eng) {
		while (d->opt.hook && d->stop_hooks != ZDBD_STOP_FAILED && (ns = zdb_ns_next(d->eng, ns)))
			closing_add(d, ns, &closing);
		free_namespaces(d);
		d->stop_code = zdb_close(d->eng);
		d->eng = NULL;
		if (d->stop_code)
			log_err("the stop was not clean: %s", err_str(d->stop_code));
	}
	closing_run(d, &closing);
	if (hooks_unfinished(d) == 0)
		stop_over(d);
	else
		loop_timer_start(d->loop, &d->stop_timer, grace_ms(d));
}

static void close_hook_done(struct hook *h, bool ok)
{
	(void)ok; /* what it says is ignored, as upstream does */
	if (h->d->stop_step == STOP_CLOSE_HOOK)
		stop_engine(h->d);
}

static void on_stop_timer(struct loop_timer *timer)
{
	struct zdbd *d = timer->ctx;

	if (d->stop_step == STOP_CLOSE_HOOK)
		stop_engine(d);
	else
		stop_over(d);
}

void stop_hook_finished(struct zdbd *d)
{
	if (d->stop_step == STOP_CLOSING_HOOKS && hooks_unfinished(d) == 0)
		stop_over(d);
}

static void stop_begin(struct zdbd *d, enum zdbd_stop_hooks hooks)
{
	d->stopping = true;
	d->stop_hooks = hooks;
	if (d->eng)
		turn_end(&d->turn); /* answers that are ready still leave */
	listen_stop(d);
	client_shut_down_all(d);
	d->stop_step = STOP_CLOSE_HOOK;
	if (!d->eng || hooks != ZDBD_STOP_ASKED ||
	    hook_start(d, "close", grace_ms(d), close_hook_done, NULL, NULL, 0))
		stop_engine(d);
	else
		loop_timer_start(d->loop, &d->stop_timer, grace_ms(d) + 5000);
}

void zdbd_stop(struct zdbd *d, void (*stopped)(void *ctx, int code), void *ctx)
{
	if (d->stopping)
		return;
	d->stopped = stopped;
	d->stopped_ctx = ctx;
	stop_begin(d, ZDBD_STOP_ASKED);
}

int zdbd_stop_now(struct zdbd *d, enum zdbd_stop_hooks hooks)
{
	if (!d->stopping)
		stop_begin(d, hooks);
	while (d->stop_step != STOP_OVER)
		loop_run_once(d->loop, -1);
	return d->stop_code;
}

bool zdbd_stopped(const struct zdbd *d)
{
	return d->stopping;
}

void zdbd_free(struct zdbd *d)
{
	size_t i;

	if (!d)
		return;
	listen_stop(d);
	settle(d);
	loop_timer_stop(&d->stop_timer);
	if (d->eng) {
		free_namespaces(d);
		zdb_abandon(d->eng);
	}
	hooks_free(d);
	spool_close(d->spool);
	lent_recycle(d);
	spares_release(d);
	payloads_release(d);
	buf_release(&d->listing);
	mem_free(d->scratch);
	mem_free(d->crash);
	mem_free(d->env);
	for (i = 0; i < 3; i++)
		mem_free(d->env_own[i]);
	if (d->admin)
		mem_free_wiped(d->admin, strlen(d->admin));
	mem_free(d);
}

struct zdb *zdbd_engine(struct zdbd *d)
{
	return d->eng;
}

uint16_t zdbd_port(const struct zdbd *d)
{
	return d->port;
}

const char *zdbd_instance(const struct zdbd *d)
{
	return d->instance;
}
