/*
 * sync.c - making things durable: the split sync, the work of a tick, and the whole of it at once.
 *
 * A job has one or two rounds.  The first syncs the log, and the active index when rewrites wait or the index is asked
 * for.  After it the rewrites that waited when the job began may be applied: their records and copies are durable.
 * The second (index jobs) syncs the index files and moves the marker to where the log ended when the job began.  While the active pair
 * is ahead of a closed one (ahead.c), two more come before them, which make that one durable and give the active pair its names.
 * The owner thread may rotate while a job runs: rotation does all of it by itself, and the job then finds nothing left.
 */
#include "core/zdb/zdb_int.h"

struct zdb_sync {
	struct zdb_ns *ns;
	bool apply, with_mark;
	bool note_durably; /* rewrites follow before the marker is behind what looks torn */
	bool writeback;    /* only begins the writing of the log's dirty end */
	enum { ROUND_CLOSED, ROUND_NAMES, ROUND_LOG, ROUND_INDEX } round;
	int rc;
	struct ahead_files closed; /* NULL: the active pair was not ahead */
	int64_t closed_number;     /* whose event is to be told at the end; -1 = none */
	struct zdb_fd *index, *data;
	uint32_t number, data_size, index_size;
	struct mark mark;
	struct sums sums;
	bool with_sums;
	uint32_t *touched;
	size_t touched_count;
};

bool sync_in_doubt(const struct zdb_sync *sync)
{
	return sync != NULL && sync->note_durably;
}

struct zdb_ns *zdb_sync_ns(const struct zdb_sync *sync)
{
	return sync->ns;
}

static void job_free(struct zdb_sync *job)
{
	struct zdb_ns *ns = job->ns;

	fd_put(ns->eng, job->index);
	fd_put(ns->eng, job->data);
	ahead_files_put(ns->eng, &job->closed);
	mem_free(job->touched);
	mem_free(job);
	ns->job = NULL;
	zdb_ns_unref(ns);
}

/*
 * Takes what waits into the set that this job will apply; what comes later waits for the next one.  All of it, also when a job that
 * failed to apply has left its own: the marker goes behind every record before now.  0 or -ENOMEM.
 */
static int freeze(struct zdb_ns *ns)
{
	int rc = 0;

	if (ns->frozen.used != 0) {
		rc = pend_add_all(&ns->frozen, &ns->pend);
	} else {
		pend_release(&ns->frozen);
		ns->frozen = ns->pend;
		memset(&ns->pend, 0, sizeof(ns->pend));
	}
	if (rc == 0)
		ns->pend_announced = false;
	return rc;
}

/* The log as it is now is what the rounds for it are about.  0 or -ENOMEM. */
static int job_capture(struct zdb_sync *job)
{
	struct zdb_ns *ns = job->ns;
	int rc = job->apply ? freeze(ns) : 0;

	if (rc != 0)
		return rc;
	job->note_durably = job->apply && ns->ambiguous;
	job->number = ns->data.number;
	job->data_size = ns->data.size;
	job->index_size = ns->index.size;
	job->mark = (struct mark){.state = MARK_OPEN,
				  .file = ns->data.number,
				  .offset = ns->data.size,
				  .stamp = ns->stamp,
				  .index_size = ns->index.size};
	job->with_sums = job->with_mark && ns->mode == ZDB_SEQ;
	sums_fill(ns, &job->sums, &job->mark);
	if (job->with_mark)
		ns->marked_ms = ns->eng->now_ms;
	return 0;
}

static int job_new(struct zdb_ns *ns, bool apply, bool with_mark, struct zdb_sync **out)
{
	struct zdb_sync *job = mem_calloc(1, sizeof(*job));
	int rc = 0;

	if (job == NULL)
		return -ENOMEM;
	job->ns = zdb_ns_ref(ns);
	job->with_mark =
		with_mark || ns->ahead != NULL; /* until it has moved, a start reads the closed segment */
	job->apply = apply || job->with_mark;
	job->index = ns->index.f;
	job->data = ns->data.f;
	job->index->refs++;
	job->data->refs++;
	job->closed_number = -1;
	job->round = ROUND_LOG;
	if (ns->ahead != NULL) {
		job->closed = ahead_files(ns);
		job->round = ROUND_CLOSED;
		job->number = ns->data.number;
	} else {
		rc = job_capture(job);
	}
	if (rc != 0) {
		job_free(job);
		return rc;
	}
	ns->job = job;
	*out = job;
	return 0;
}

static bool index_durable(const struct zdb_ns *ns)
{
	return ns->pend.used == 0 && ns->frozen.used == 0 && ns->touched.set == 0 &&
	       ns->index_synced == ns->index.size &&
	       (!ns->opened || (ns->mark.file == ns->data.number && ns->mark.offset == ns->data.size));
}

/* So much log lies behind the marker that a start after a crash would read long. */
static bool log_is_long(const struct zdb_ns *ns)
{
	return ns->mark.file == ns->data.number && ns->data.size - ns->mark.offset > MARK_LOG_BYTES;
}

int zdb_sync_begin(struct zdb_ns *ns, enum zdb_sync_kind kind, struct zdb_sync **out)
{
	bool with_mark = kind == ZDB_SYNC_INDEX || (kind == ZDB_SYNC_DUE && log_is_long(ns));
	bool apply = kind == ZDB_SYNC_DUE && (ns->pend.used != 0 || ns->frozen.used != 0);
	int rc;

	*out = NULL;
	if (!ns->alive)
		return -ENOENT;
	if (ns->load_error != 0)
		return -EIO;
	if (ns->eng->read_only)
		return 0;
	if (ns->write_error != 0)
		return -EROFS;
	if (ns->job != NULL)
		return -EBUSY;
	rc = ns_flush_tails(ns);
	if (rc != 0)
		return rc;
	if (ns->ahead == NULL && ns->synced == ns->data.size && !ns->ambiguous && !apply &&
	    (!with_mark || index_durable(ns)))
		return 0;
	if (ns->ambiguous && ns->opened)
		with_mark = true;
	if (with_mark && !ns->opened) {
		rc = mark_open(ns);
		if (rc != 0)
			return rc;
	}
	return job_new(ns, apply, with_mark, out);
}

/* ------------------------------------------------------------------------------------------------- any thread --- */

int sync_numbers(struct zdb_ns *ns, const uint32_t *numbers, size_t count)
{
	char path[ZDB_PATH_MAX];
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < count; i++) {
		struct zdb_fd f = {.which = INDEX_FILE};

		rc = file_path(ns, INDEX_FILE, numbers[i], "", path);
		if (rc != 0)
			break;
		f.fd = sys->open(path, O_RDONLY, 0);
		if (f.fd < 0)
			return -EIO;
		rc = ns_fdatasync(ns, &f);
		sys->close(f.fd);
	}
	return rc;
}

static int run_log(struct zdb_sync *job)
{
	int rc = ns_fdatasync(job->ns, job->data);

	if (rc == 0)
		synced_note(job->ns, job->number, job->data_size, job->mark.stamp, job->note_durably);
	return rc == 0 && job->apply ? ns_fdatasync(job->ns, job->index) : rc;
}

static int run_index(struct zdb_sync *job)
{
	int rc = ns_fdatasync(job->ns, job->index);

	if (rc == 0)
		rc = sync_numbers(job->ns, job->touched, job->touched_count);
	if (rc == 0 && job->with_sums)
		(void)sums_write(job->ns->index_dir, &job->sums); /* a cache */
	return rc == 0 ? mark_write(job->ns->index_dir, &job->mark) : rc;
}

/* What is read of ns here does not change during its life, or is atomic. */
int zdb_sync_run(struct zdb_sync *job)
{
	int rc = 0;

	if (job->writeback) /* a help for the fdatasync that comes later, which reports what fails */
		(void)sys->sync_file_range(job->data->fd, 0, (off_t)job->data_size, SYNC_FILE_RANGE_WRITE);
	else if (job->round == ROUND_CLOSED)
		rc = ahead_sync(job->ns, &job->closed, job->index, job->data);
	else if (job->round == ROUND_NAMES)
		rc = ahead_renamed(job->ns);
	else
		rc = job->round == ROUND_LOG ? run_log(job) : run_index(job);
	job->rc = rc;
	return rc;
}

/* ------------------------------------------------------------------------------------------------ owner again --- */

static int touched_list(struct zdb_ns *ns, uint32_t **list, size_t *count)
{
	size_t n = 0;

	*count = 0;
	*list = mem_alloc((ns->touched.set + 1) * sizeof(**list));
	if (*list == NULL)
		return -ENOMEM;
	for (int64_t i = bits_next(&ns->touched, 0); i >= 0; i = bits_next(&ns->touched, (uint64_t)i + 1))
		(*list)[n++] = (uint32_t)i;
	*count = n;
	return 0;
}

static int job_applied(struct zdb_sync *job)
{
	struct zdb_ns *ns = job->ns;
	int rc;

	if (job->number == ns->data.number) {
		if (ns->synced < job->data_size)
			ns->synced = job->data_size;
		if (ns->index_synced < job->index_size && job->apply)
			ns->index_synced = job->index_size;
		if (ns->synced == ns->data.size)
			ns->ambiguous = ns->ambiguous && !job->with_mark;
	}
	if (!job->apply)
		return 0;
	rc = rewrite_apply(ns, &ns->frozen);
	ns->applied_ms = ns->eng->now_ms;
	if (rc != 0 || !job->with_mark || job->number != ns->data.number)
		return rc; /* a rotation meanwhile has moved the marker further already */
	rc = touched_list(ns, &job->touched, &job->touched_count);
	return rc != 0 ? rc : 1;
}

/* The owner may have ended it meanwhile (sync_everything), and rotated. */
static int job_closed(struct zdb_sync *job)
{
	int rc = job->ns->ahead != NULL && job->number == job->ns->data.number ? ahead_rename(job->ns) : 0;

	return rc == 0 ? 1 : rc;
}

/* The active pair has its names for good: from here it is a sync like any other. */
static int job_named(struct zdb_sync *job)
{
	struct zdb_ns *ns = job->ns;
	int rc;

	if (job->number != ns->data.number)
		return 0; /* a rotation meanwhile has synced all of it */
	if (ns->ahead != NULL)
		job->closed_number = ahead_end(ns);
	rc = ns_flush_tails(ns);
	if (rc == 0)
		rc = job_capture(job);
	return rc != 0 ? rc : 1;
}

static int job_marked(struct zdb_sync *job)
{
	struct zdb_ns *ns = job->ns;

	if (job->number != ns->data.number && !ahead_of(ns, job->number))
		return mark_write(ns->index_dir, &ns->mark); /* ours overtook the rotation's: put that back */
	for (size_t i = 0; i < job->touched_count; i++)
		bits_clear(&ns->touched, job->touched[i]);
	ns->mark = job->mark;
	if (job->number == ns->data.number && job->data_size == ns->data.size)
		ns->ambiguous = false;
	return 0;
}

void sync_failed(struct zdb_ns *ns)
{
	ns->write_error = -EIO;
	ns->eng->stats.syncs_failed++;
}

static int job_failed(struct zdb_sync *job, int rc)
{
	struct zdb_ns *ns = job->ns;

	/*
	 * The kernel may have dropped the pages that it could not write, and a later success would not stand for them:
	 * no write is taken until the log has been verified at the next load.  Memory was short is the one error that
	 * says nothing about the disk.
	 */
	if (rc != -ENOMEM)
		sync_failed(ns);
	if (job->closed_number >= 0)
		ns->closed_owed = job->closed_number;
	job_free(job);
	return rc;
}

/* What follows the round that has run: 1 another one, 0 nothing, negative code. */
static int round_done(struct zdb_sync *job)
{
	switch (job->round) {
	case ROUND_CLOSED:
		return job_closed(job);
	case ROUND_NAMES:
		return job_named(job);
	case ROUND_LOG:
		return job_applied(job);
	default:
		return job_marked(job);
	}
}

static void job_end(struct zdb_sync *job)
{
	struct zdb_ns *ns = job->ns;

	ns->eng->stats.syncs++;
	/* an error is for the next write, which repeats it */
	if (job->closed_number >= 0)
		(void)closed_event(ns, (uint32_t)job->closed_number);
	job_free(job);
}

int zdb_sync_done(struct zdb_sync *job)
{
	int rc = job->rc;

	if (job->writeback) {
		job_free(job);
		return 0;
	}
	if (rc == 0 && atomic_load(&job->ns->sync_lost))
		rc = -EIO; /* another thread heard of it: it may be what ours was about */
	if (rc == 0)
		rc = round_done(job);
	if (rc < 0)
		return job_failed(job, rc);
	if (rc == 1) {
		job->round++;
		job->rc = -EIO; /* until it has run */
		return 1;
	}
	job_end(job);
	return 0;
}

int zdb_sync(struct zdb_ns *ns, enum zdb_sync_kind kind)
{
	struct zdb_sync *job;
	int rc = zdb_sync_begin(ns, kind, &job);

	if (rc != 0 || job == NULL)
		return rc;
	do {
		(void)zdb_sync_run(job); /* done reports it */
		rc = zdb_sync_done(job);
	} while (rc == 1);
	return rc;
}

void zdb_sync_files(struct zdb *eng)
{
	for (size_t i = 0; i < eng->slots_count; i++) {
		const struct zdb_ns *ns = eng->slots[i];

		/* nobody is left who could be told of an error */
		if (ns != NULL && ns->ahead != NULL)
			ahead_files_sync(ns);
		if (ns != NULL && ns->index.f != NULL)
			(void)sys->fdatasync(ns->index.f->fd);
		if (ns != NULL && ns->data.f != NULL)
			(void)sys->fdatasync(ns->data.f->fd);
	}
}

/* -------------------------------------------------------------------------------------------------- all at once --- */

static int sync_older(struct zdb_ns *ns)
{
	uint32_t *list;
	size_t count;
	int rc = touched_list(ns, &list, &count);

	if (rc != 0)
		return rc;
	rc = sync_numbers(ns, list, count);
	mem_free(list);
	if (rc == 0)
		bits_clear_all(&ns->touched);
	return rc;
}

int sync_everything(struct zdb_ns *ns)
{
	bool rewrites = ns->frozen.used != 0 || ns->pend.used != 0;
	bool was_ahead = ns->ahead != NULL;
	int rc = was_ahead ? ahead_finish(ns) : ns_flush_tails(ns);

	if (rc != 0)
		return rc;
	if (ns->synced != ns->data.size)
		rc = ns_fdatasync(ns, ns->data.f);
	if (rc == 0)
		rc = ns_fdatasync(ns, ns->index.f);
	if (rc != 0)
		goto failed;
	ns->synced = ns->data.size;
	if (ns->opened)
		synced_note(ns, ns->data.number, ns->synced, ns->stamp, ns->ambiguous);
	rc = rewrite_apply(ns, &ns->frozen);
	if (rc == 0)
		rc = rewrite_apply(ns, &ns->pend);
	if (rc != 0)
		return rc; /* out of memory, or write_error is set */
	ns->pend_announced = false;
	ns->applied_ms = ns->eng->now_ms;
	if (rewrites)
		rc = ns_fdatasync(ns, ns->index.f);
	if (rc == 0)
		rc = sync_older(ns);
	if (rc == -ENOMEM)
		return rc;
	if (rc != 0)
		goto failed;
	ns->index_synced = ns->index.size;
	ns->eng->stats.syncs++;
	return was_ahead ? closed_event(ns, (uint32_t)ns->closed_owed) : 0;
failed:
	sync_failed(ns);
	return rc;
}

/* ------------------------------------------------------------------------------------------------------- tick --- */

static struct zdb_sync *writeback_job(struct zdb_ns *ns)
{
	struct zdb_sync *job;

	ns->kick_wanted = false;
	if (job_new(ns, false, false, &job) != 0)
		return NULL; /* not needed for anything but speed */
	ns->data.kicked = ns->data.written;
	job->writeback = true;
	return job;
}

/*
 * Not each time that the log is so long: a sync stops those who write for as long as what they need of the disk (a block bitmap, a journal's
 * commit) waits behind its writes, and what the fastest writer writes in a second is read again in a second.
 */
static bool marker_due(const struct zdb_ns *ns, uint64_t now_ms, uint64_t *next_ms)
{
	uint64_t due = ns->marked_ms + MARK_PAUSE_MS;

	if (!log_is_long(ns))
		return false;
	if (now_ms >= due)
		return true;
	if (*next_ms > due)
		*next_ms = due;
	return false;
}

static struct zdb_sync *ns_tick(struct zdb_ns *ns, uint64_t now_ms, uint64_t *next_ms)
{
	struct zdb_sync *job = NULL;
	bool log_long;

	missing_tick(ns, now_ms, next_ms);
	if (ns->job != NULL || ns->write_error != 0 || ns->load_error != 0 || !ns->opened)
		return NULL;
	log_long = ns->ahead != NULL || marker_due(ns, now_ms, next_ms);
	if (ns->kick_wanted && !log_long)
		return writeback_job(ns);
	if (ns->pend.used == 0 && ns->frozen.used == 0 && !log_long)
		return NULL;
	if (!log_long && now_ms < ns->applied_ms + ZDB_INDEX_DELAY_MS) {
		if (*next_ms > ns->applied_ms + ZDB_INDEX_DELAY_MS)
			*next_ms = ns->applied_ms + ZDB_INDEX_DELAY_MS;
		return NULL;
	}
	if (ns_flush_tails(ns) != 0 || job_new(ns, true, log_long, &job) != 0) {
		*next_ms = now_ms + ZDB_INDEX_DELAY_MS; /* no memory now: again later */
		return NULL;
	}
	return job;
}

struct zdb_sync *zdb_tick(struct zdb *eng, uint64_t now_ms, uint64_t *next_ms)
{
	*next_ms = UINT64_MAX;
	eng->now_ms = now_ms;
	maps_tick(eng, now_ms, next_ms);
	/* Where the last job was found the search goes on, so that many of them cost one walk together. */
	for (size_t n = 0; n < eng->slots_count; n++) {
		size_t i = (eng->tick_at + n) % eng->slots_count;
		struct zdb_sync *job = eng->slots[i] == NULL ? NULL : ns_tick(eng->slots[i], now_ms, next_ms);

		if (job != NULL) {
			eng->tick_at = i + 1;
			return job;
		}
	}
	return NULL;
}
