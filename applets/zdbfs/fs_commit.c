/*
 * fs_commit: storing a batch under the six rules.
 *
 *	free what the batch before unreferenced (blocks)
 *	blocks; SYNC data
 *	free what the batch before unreferenced (lists, inodes)
 *	J; the record that owns blocks which living files gave up
 *	files and links whose count does not sink (raised by one for each name on the move)
 *	new directories: lists, then inodes, those last that names move into; new lists of old directories
 *	old directories: lists that gain names (still with those that move out), then inodes
 *	lists that only lose names, or lose what has moved
 *	files and links with their final count; what is left without a name
 *	SYNC meta
 *
 * meta survives a crash as a prefix of this order, so at any cut: J is there before anything it explains, no name leads to
 * a record that is not there, and link counts are too high at worst. Until its meta phase has ended well a batch is
 * repeated, never dropped: half of it may be stored.
 */
#include <time.h>

#include "applets/zdbfs/fs_int.h"
#include "core/base/clock.h"
#include "core/base/mem.h"

#define WINDOW    64u   /* blocks on their way at once: 8 MiB */
#define INFO_SETS 8192u /* changes between two looks at the store's counters */

/* ----------------------------------------------------------------------------------------------- data phase */

static void store_window(struct fs *fs, struct fs_batch *b, size_t at, size_t n)
{
	struct kv_req *ptrs[WINDOW] = {0};

	for (size_t k = 0; k < n; k++) {
		struct fs_batch_block *bb = &b->blocks[at + k];

		uint64_t key = bb->is_stored ? bb->req.key : bb->id ? bb->id : KV_NEW;

		bb->req = (struct kv_req){
			.op = KV_SET, .role = KV_DATA, .key = key, .data = bb->bytes->data, .len = bb->len};
		ptrs[k] = &bb->req;
	}
	(void)kv_run(fs->kv, ptrs, n, 0);
	for (size_t k = 0; k < n; k++) {
		struct fs_batch_block *bb = &b->blocks[at + k];

		/* A block that was inserted a moment ago and is not known any more: inserted again. */
		if (bb->req.err == -EINVAL && !bb->id) {
			uint64_t key = KV_NEW;

			bb->req.err = kv_set(fs->kv, KV_DATA, &key, bb->bytes->data, bb->len);
			bb->req.key = key;
		}
		bb->err = bb->req.err;
		if (!bb->err && bb->req.key >= fs->data_seen)
			fs->data_seen = bb->req.key + 1;
		if (!bb->err && bb->req.key > UINT32_MAX) {
			/* A block list holds 32 bits: this one cannot be named. */
			(void)kv_del(fs->kv, KV_DATA, bb->req.key);
			bb->err = -ENOSPC;
		}
		bb->is_stored = !bb->err;
		if (bb->err)
			b->block_err = bb->err;
	}
}

/* A store that was restarted may have forgotten what it answered: then everything is sent again. */
static int data_phase(struct fs *fs, struct fs_batch *b)
{
	unsigned rounds = 0;
	uint64_t epoch;
	int rc;

	if (!b->block_count && !fs->ready.loose.count && !fs->ready.data.count)
		return 0;
	do {
		epoch = kv_epoch(fs->kv, KV_DATA);
		rc = fs_frees_delete_data(fs);
		for (size_t at = 0; !rc && at < b->block_count; at += WINDOW)
			store_window(fs, b, at, b->block_count - at < WINDOW ? b->block_count - at : WINDOW);
		if (!rc)
			rc = kv_sync(fs->kv, KV_DATA);
	} while (!rc && kv_epoch(fs->kv, KV_DATA) != epoch && ++rounds < 5);
	return rc;
}

static void note_errors(struct fs *fs, struct fs_batch *b)
{
	for (size_t n = 0; n < b->block_count; n++) {
		struct fs_batch_block *bb = &b->blocks[n];

		if (!bb->err || bb->inode->is_gone)
			continue;
		bb->inode->wb_err = bb->err == -ENOSPC ? -ENOSPC : -EIO;
		log_every(1000, LOG_LEVEL_ERR, "cannot store a block of inode %llu: %s",
			  (unsigned long long)bb->inode->ino, err_str(bb->err));
	}
	fs->last_error = b->block_err;
}

/* ------------------------------------------------------------------------------------------------- one batch */

static bool is_idle(struct fs *fs)
{
	bool idle;

	pthread_mutex_lock(&fs->lock);
	idle = list_is_empty(&fs->dirty_inodes) && list_is_empty(&fs->blocks_dirty) &&
	       fs_frees_is_empty(&fs->frees) && !fs->changes.count;
	pthread_mutex_unlock(&fs->lock);
	return idle;
}

/* Nothing to store, but something to delete: no batch is needed, J may stay as it is. */
static int only_frees(struct fs *fs)
{
	int rc = fs_frees_delete_data(fs);

	if (!rc)
		rc = kv_sync(fs->kv, KV_DATA);
	if (!rc)
		rc = fs_frees_delete_meta(fs);
	if (!rc)
		rc = kv_sync(fs->kv, KV_META);
	return rc;
}

static int finish(struct fs *fs, struct fs_batch *b)
{
	int rc = fs_commit_meta(fs, b);

	if (rc) {
		fs->stuck = b;
		fs->last_error = rc;
		log_every(1000, LOG_LEVEL_ERR, "cannot store metadata: %s: it is tried again", err_str(rc));
		return rc;
	}
	fs->stuck = NULL;
	fs->n_batches++;
	fs->last_sync_ms = clock_mono_ms();
	if (!b->block_err)
		fs->last_error = 0;
	fs_gate_close(fs);
	fs_batch_settle(fs, b);
	fs_gate_open(fs);
	rc = fs_frees_merge(&fs->ready, &b->frees);
	fs->sets_since_info += b->block_count + b->inode_count + b->list_count + 1;
	fs_batch_release(fs, b);
	return rc;
}

static int begin(struct fs *fs, struct fs_batch **out)
{
	struct fs_batch *b = mem_calloc(1, sizeof(*b));
	int rc;

	*out = b;
	if (!b)
		return -ENOMEM;
	list_init(&b->changes.list);
	if (fs->sets_since_info > INFO_SETS && !fs_space_refresh(fs)) {
		fs->sets_since_info = 0;
		if (fs->info[KV_DATA].next_id > fs->data_seen)
			fs->data_seen = fs->info[KV_DATA].next_id;
	}
	fs_gate_close(fs);
	rc = fs_batch_take(fs, b);
	if (rc)
		fs_batch_give_back(fs, b);
	fs_gate_open(fs);
	fs->batch_number++;
	return rc;
}

static int give_up(struct fs *fs, struct fs_batch *b, int rc)
{
	fs->last_error = rc;
	log_every(1000, LOG_LEVEL_ERR, "cannot store blocks: %s: they are tried again", err_str(rc));
	fs_gate_close(fs);
	fs_batch_give_back(fs, b);
	fs_gate_open(fs);
	fs_batch_release(fs, b);
	return rc;
}

static int one_batch(struct fs *fs)
{
	struct fs_batch *b;
	int rc;

	if (fs->stuck) {
		rc = finish(fs, fs->stuck);
		if (rc)
			return rc;
	}
	if (is_idle(fs))
		return fs_frees_is_empty(&fs->ready) ? 0 : only_frees(fs);
	rc = begin(fs, &b);
	if (rc) {
		if (b)
			fs_batch_release(fs, b);
		return rc;
	}
	rc = data_phase(fs, b);
	note_errors(fs, b);
	fs_gate_close(fs);
	if (!rc)
		fs_batch_assign(fs, b);
	fs_gate_open(fs);
	if (!rc)
		rc = fs_holder_write(fs, b);
	if (!rc)
		rc = fs_journal_write(fs, b);
	if (rc)
		return give_up(fs, b, rc);
	return finish(fs, b);
}

int fs_commit_once(struct fs *fs)
{
	int rc;

	pthread_mutex_lock(&fs->commit_lock);
	rc = one_batch(fs);
	pthread_mutex_unlock(&fs->commit_lock);
	if (fs->is_marked && fs_pool_is_low(fs) && !fs->is_stopping)
		(void)fs_pool_fill(fs); /* whoever needs an id and finds none reports the error */
	return rc;
}

int fs_commit(struct fs *fs)
{
	return fs_commit_once(fs);
}

/* ----------------------------------------------------------------------------------------------- the thread */

int fs_commit_wait(struct fs *fs)
{
	uint64_t want;
	int rc = 0;

	if (fs->is_read_only)
		return 0;
	if (fs->opt.no_thread)
		return fs_commit_once(fs);
	pthread_mutex_lock(&fs->seq_lock);
	/* A batch that has begun may have missed what was accepted since: only the next one surely has it. */
	want = fs->seq_begun + 1;
	if (fs->seq_wanted < want)
		fs->seq_wanted = want;
	pthread_cond_signal(&fs->seq_work);
	while (fs->seq_tried < want && !fs->is_aborting)
		pthread_cond_wait(&fs->seq_done, &fs->seq_lock);
	if (fs->seq_done_ok < want)
		rc = fs->seq_err == -ENOSPC ? -ENOSPC : -EIO;
	pthread_mutex_unlock(&fs->seq_lock);
	return rc;
}

int fs_flush(struct fs *fs)
{
	int rc = fs_commit_wait(fs);

	/* a batch may have ended well without some blocks */
	return rc ? rc : fs->last_error == -ENOSPC ? -ENOSPC : fs->last_error ? -EIO : 0;
}

static void run_one(struct fs *fs)
{
	uint64_t seq;
	int rc;

	pthread_mutex_lock(&fs->seq_lock);
	seq = ++fs->seq_begun;
	pthread_mutex_unlock(&fs->seq_lock);
	rc = fs_commit_once(fs);
	pthread_mutex_lock(&fs->seq_lock);
	fs->seq_tried = seq;
	fs->seq_err = rc;
	if (!rc)
		fs->seq_done_ok = seq;
	pthread_cond_broadcast(&fs->seq_done);
	pthread_mutex_unlock(&fs->seq_lock);
}

/* Waits until somebody asks or the interval is over. Returns false when the thread shall end. */
static bool wait_for_work(struct fs *fs)
{
	struct timespec until;
	bool go;

	(void)clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += (time_t)(fs->opt.interval_ms / 1000);
	until.tv_nsec += (long)(fs->opt.interval_ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&fs->seq_lock);
	while (!fs->is_stopping && !fs->is_aborting && fs->seq_wanted <= fs->seq_begun)
		if (pthread_cond_timedwait(&fs->seq_work, &fs->seq_lock, &until) == ETIMEDOUT)
			break;
	go = !fs->is_stopping && !fs->is_aborting;
	pthread_mutex_unlock(&fs->seq_lock);
	return go;
}

void *fs_commit_thread(void *arg)
{
	struct fs *fs = arg;

	while (wait_for_work(fs)) {
		if (clock_mono_ms() - fs->info_ms > 5000 || fs->sets_since_info > INFO_SETS)
			(void)fs_space_refresh(fs);
		run_one(fs);
	}
	return NULL;
}
