/*
 * fs_commit: storing a batch under the six rules.
 *
 *	free what the batch before unreferenced (blocks)
 *	blocks; SYNC data
 *	free what the batch before unreferenced (lists, inodes)
 *	J; the record that owns blocks which living files gave up
 *	files and links whose count does not sink (raised by one for each name on the move)
 *	new directories: lists, then inodes; new lists of old directories
 *	old directories: lists that gain names (still with those that move out), then inodes
 *	lists that only lose names, or lose what has moved
 *	files and links with their final count; what is left without a name
 *	SYNC meta
 *
 * meta survives a crash as a prefix of this order, so at any cut: J is there before anything it explains, no name leads to
 * a record that is not there, and link counts are too high at worst. Until its meta phase has ended well a batch is
 * repeated, never dropped: half of it may be stored.
 */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "applets/zdbfs/fs_int.h"
#include "core/base/clock.h"
#include "core/base/endian.h"
#include "core/base/mem.h"

#define WINDOW    64u   /* blocks on their way at once: 8 MiB */
#define INFO_SETS 8192u /* changes between two looks at the store's counters */

#define AT_LINKS 28

/* --------------------------------------------------------------------------------------------------- frees */

static int move_ids(struct fs_ids *to, struct fs_ids *from)
{
	int rc = 0;

	for (size_t n = 0; !rc && n < from->count; n++)
		rc = fs_ids_add(to, from->v[n]);
	fs_ids_release(from);
	return rc;
}

int fs_frees_merge(struct fs_frees *to, struct fs_frees *from)
{
	int rc = move_ids(&to->loose, &from->loose), rc5 = move_ids(&to->owners, &from->owners);
	int rc2 = move_ids(&to->data, &from->data);
	int rc3 = move_ids(&to->meta, &from->meta);
	int rc4 = move_ids(&to->inodes, &from->inodes);

	return rc ? rc : rc2 ? rc2 : rc3 ? rc3 : rc4 ? rc4 : rc5;
}

void fs_frees_release(struct fs_frees *f)
{
	fs_ids_release(&f->loose);
	fs_ids_release(&f->owners);
	fs_ids_release(&f->data);
	fs_ids_release(&f->meta);
	fs_ids_release(&f->inodes);
}

static bool fs_frees_is_empty(const struct fs_frees *f)
{
	return !f->loose.count && !f->data.count && !f->meta.count && !f->inodes.count;
}

/* Deletes; what is not there is gone already. */
static int delete_all(struct fs *fs, enum kv_role role, struct fs_ids *ids)
{
	struct kv_req reqs[WINDOW], *ptrs[WINDOW];
	int rc = 0;

	for (size_t at = 0; !rc && at < ids->count;) {
		size_t n = ids->count - at < WINDOW ? ids->count - at : WINDOW;

		for (size_t k = 0; k < n; k++) {
			reqs[k] = (struct kv_req){.op = KV_DEL, .role = role, .key = ids->v[at + k]};
			ptrs[k] = &reqs[k];
		}
		(void)kv_run(fs->kv, ptrs, n, KV_BATCH);
		for (size_t k = 0; !rc && k < n; k++)
			rc = reqs[k].err == -ENOENT ? 0 : reqs[k].err;
		at += n;
	}
	if (!rc)
		fs_ids_release(ids);
	return rc;
}

static int free_data(struct fs *fs)
{
	int rc = delete_all(fs, KV_DATA, &fs->ready.loose);

	fs_ids_release(&fs->ready.owners);
	return rc ? rc : delete_all(fs, KV_DATA, &fs->ready.data);
}

static int free_meta(struct fs *fs)
{
	int rc = delete_all(fs, KV_META, &fs->ready.meta);

	return rc ? rc : delete_all(fs, KV_META, &fs->ready.inodes);
}

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
		rc = free_data(fs);
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

/* ----------------------------------------------------------------------------------------------- meta phase */

struct order {
	struct kv_req *reqs;
	size_t count, cap;
	int rc;
};

static void put(struct order *o, uint64_t key, const struct buf *rec)
{
	if (o->rc)
		return;
	if (o->count == o->cap) {
		size_t cap = o->cap ? o->cap * 2 : 64;
		struct kv_req *p = mem_realloc_array(o->reqs, cap, sizeof(*p));

		if (!p) {
			o->rc = -ENOMEM;
			return;
		}
		o->reqs = p;
		o->cap = cap;
	}
	o->reqs[o->count++] = (struct kv_req){
		.op = KV_SET, .role = KV_META, .key = key, .data = rec->data, .len = rec->len};
}

/* A second copy of the record with another number of links. */
static const struct buf *with_links(struct fs_batch *b, const struct fs_batch_inode *bi, uint32_t links)
{
	struct buf *p = mem_realloc_array(b->raised, b->raised_count + 1, sizeof(*p));

	if (!p)
		return NULL;
	b->raised = p;
	p += b->raised_count++;
	buf_init(p, FMT_RECORD_MAX);
	if (buf_append(p, bi->rec.data, bi->rec.len))
		return NULL;
	put_u32le(p->data + AT_LINKS, links);
	return p;
}

/* Links of a file or symbolic link before the names change. */
static void put_raised(struct order *o, struct fs_batch *b, struct fs_batch_inode *bi)
{
	uint32_t moves = bi->net ? bi->net->moves : 0, low = bi->is_new ? bi->links : bi->disk_links;
	uint32_t links = (bi->links > low ? bi->links : low) + (bi->is_new ? 0 : moves);
	const struct buf *rec;

	if (bi->is_orphan)
		return;
	if (links == bi->links) {
		put(o, bi->inode->ino, &bi->rec);
	} else if (moves) {
		rec = with_links(b, bi, links);
		if (!rec)
			o->rc = -ENOMEM;
		else
			put(o, bi->inode->ino, rec);
	}
}

static bool is_final_later(const struct fs_batch_inode *bi)
{
	uint32_t moves = bi->net ? bi->net->moves : 0;

	if (bi->is_orphan)
		return true;
	return !bi->is_new && (moves || bi->links < bi->disk_links);
}

static void put_lists(struct order *o, struct fs_batch *b, bool (*wanted)(const struct fs_batch_list *),
		      bool merged)
{
	for (size_t n = 0; n < b->list_count; n++) {
		const struct fs_batch_list *bl = &b->lists[n];

		if (wanted(bl))
			put(o, bl->key, merged && bl->merged.len ? &bl->merged : &bl->final);
	}
}

static bool is_new_list(const struct fs_batch_list *bl)
{
	return bl->is_new || bl->dir_is_new;
}

static bool is_gaining(const struct fs_batch_list *bl)
{
	return !is_new_list(bl) && (bl->gains || !bl->moves_out);
}

static bool is_losing(const struct fs_batch_list *bl)
{
	return !is_new_list(bl) && bl->moves_out && (!bl->gains || bl->merged.len);
}

static void put_dirs(struct order *o, struct fs_batch *b, bool are_new)
{
	for (size_t n = 0; n < b->inode_count; n++) {
		struct fs_batch_inode *bi = &b->inodes[n];

		if (bi->is_dir && bi->is_new == are_new && !bi->is_orphan)
			put(o, bi->inode->ino, &bi->rec);
	}
}

static int build_order(struct fs *fs, struct fs_batch *b, struct order *o)
{
	put(o, fs->journal_key, &b->journal);
	if (b->holder.len)
		put(o, b->holder_id, &b->holder);
	for (size_t n = 0; n < b->inode_count; n++)
		if (!b->inodes[n].is_dir)
			put_raised(o, b, &b->inodes[n]);
	put_lists(o, b, is_new_list, false);
	put_dirs(o, b, true);
	put_lists(o, b, is_gaining, true);
	put_dirs(o, b, false);
	put_lists(o, b, is_losing, false);
	for (size_t n = 0; n < b->inode_count; n++)
		if (is_final_later(&b->inodes[n]))
			put(o, b->inodes[n].inode->ino, &b->inodes[n].rec);
	return o->rc;
}

static int write_journal(struct fs *fs, struct fs_batch *b)
{
	struct buf intents = BUF_INIT(FMT_RECORD_MAX);
	struct fmt_journal j = {.mount = fs->mount_number,
				.batch = fs->batch_number,
				.next_meta = b->next_meta,
				.next_data = b->next_data};
	int rc;

	buf_init(&b->journal, FMT_RECORD_MAX);
	rc = fs_intents_write(b, &intents, &j.intent_count);
	j.orphan_count = b->orphans.count < FMT_ORPHANS_MAX ? (uint32_t)b->orphans.count : FMT_ORPHANS_MAX;
	if (!rc)
		rc = fmt_journal_head(&b->journal, &j);
	for (uint32_t n = 0; !rc && n < j.orphan_count; n++)
		rc = buf_append_u64le(&b->journal, b->orphans.v[n]);
	if (!rc)
		rc = buf_append(&b->journal, intents.data, intents.len);
	buf_release(&intents);
	return rc;
}

/*
 * Blocks that living files gave up would leak if a crash came before they are deleted. So an unnamed inode that lists them
 * is stored and named in J, with the numbers of the files in an attribute: after a crash, what those files still refer to
 * (because their new record was cut off) is not freed.
 */
static int fill_holder(struct fs_batch *b, size_t n)
{
	const struct fs_ids *owners = &b->frees.owners;
	uint8_t *list = mem_realloc_array(NULL, owners->count, 8);
	uint32_t *map = mem_realloc_array(NULL, n, sizeof(*map));
	struct buf attr = BUF_INIT(FMT_XATTR_MAX);
	struct fmt_inode f = {.mode = S_IFREG, .map = map, .slot_count = n, .size = n * FMT_BLOCK};
	int rc = list && map ? 0 : -ENOMEM;

	for (size_t k = 0; !rc && k < n; k++)
		put_u32le(&map[k], (uint32_t)b->frees.loose.v[k]);
	for (size_t k = 0; !rc && k < owners->count; k++)
		put_u64le(list + k * 8, owners->v[k]);
	if (!rc)
		rc = fmt_xattr_append(&attr, FS_OWNERS, sizeof(FS_OWNERS) - 1, list, owners->count * 8);
	f.xattr = attr.data;
	f.xattr_len = attr.len;
	buf_init(&b->holder, FMT_RECORD_MAX);
	if (!rc)
		rc = fmt_inode_encode(&b->holder, &f);
	buf_release(&attr);
	mem_free(list);
	mem_free(map);
	return rc;
}

static int write_holder(struct fs *fs, struct fs_batch *b)
{
	size_t n = b->frees.loose.count, owners = b->frees.owners.count;
	int rc;

	/* More than one record can say is deleted as well, but a crash before that would leak it. */
	if (!n || n > FMT_SLOTS_MAX / 2 || owners > (FMT_XATTR_MAX - 64) / 8)
		return 0;
	rc = fs_pool_take(fs, &b->holder_id);
	if (!rc)
		rc = fill_holder(b, n);
	if (!rc)
		rc = fs_ids_add(&b->orphans, b->holder_id);
	if (!rc)
		rc = fs_ids_add(&b->frees.inodes, b->holder_id);
	return rc;
}

int fs_header_store(struct fs *fs, uint16_t flags)
{
	struct fmt_header h = {.magic = "ZDBFSM",
			       .version = 1,
			       .flags = flags,
			       .journal_key = fs->journal_key,
			       .size_bytes = fs->header_size};
	uint8_t raw[FMT_HEADER_SIZE];
	uint64_t key = FMT_HEADER_KEY;
	int rc;

	fmt_header_encode(raw, &h);
	rc = kv_set(fs->kv, KV_META, &key, raw, sizeof(raw));
	if (!rc)
		fs->stored_flags = flags;
	return rc;
}

/* J with nothing to redo, and the numbers from which on a crash could leak. */
static int store_empty_journal(struct fs *fs)
{
	struct fmt_journal j = {.mount = fs->mount_number,
				.batch = fs->batch_number,
				.next_meta = fs_pool_floor(fs),
				.next_data = fs->data_seen};
	struct buf b = BUF_INIT(FMT_JOURNAL_HEAD);
	uint64_t key = fs->journal_key ? fs->journal_key : KV_NEW;
	int rc = fmt_journal_head(&b, &j);

	if (!rc)
		rc = kv_set(fs->kv, KV_META, &key, b.data, b.len);
	buf_release(&b);
	if (rc)
		return rc;
	fs->journal_key = key;
	if (key >= fs->meta_seen)
		fs->meta_seen = key + 1;
	return 0;
}

int fs_mark_open(struct fs *fs)
{
	const uint16_t open = FMT_FLAG_MOUNTED | FMT_FLAG_JOURNAL;
	int rc = 0;

	pthread_mutex_lock(&fs->open_lock);
	if (!fs->is_marked) {
		rc = store_empty_journal(fs);
		if (!rc)
			rc = fs_header_store(fs, fs->stored_flags | open);
		if (!rc)
			rc = kv_sync(fs->kv, KV_META);
		fs->is_marked = !rc;
	}
	pthread_mutex_unlock(&fs->open_lock);
	return rc;
}

int fs_mark_closed(struct fs *fs)
{
	int rc = 0;

	if (!fs->is_marked && !(fs->stored_flags & (FMT_FLAG_MOUNTED | FMT_FLAG_JOURNAL)))
		return 0;
	/* Everything before is durable first: then nothing can be left to redo. */
	rc = kv_sync(fs->kv, KV_META);
	if (!rc)
		rc = store_empty_journal(fs);
	if (!rc)
		rc = fs_header_store(fs, fs->stored_flags & ~(FMT_FLAG_MOUNTED | FMT_FLAG_JOURNAL));
	if (!rc)
		rc = kv_sync(fs->kv, KV_META);
	return rc;
}

static int meta_phase(struct fs *fs, struct fs_batch *b)
{
	struct order o = {0};
	struct kv_req **ptrs = NULL;
	unsigned rounds = 0;
	uint64_t epoch;
	int rc = build_order(fs, b, &o);

	if (!rc) {
		ptrs = mem_realloc_array(NULL, o.count + 1, sizeof(struct kv_req *));
		rc = ptrs ? 0 : -ENOMEM;
	}
	for (size_t n = 0; !rc && n < o.count; n++)
		ptrs[n] = &o.reqs[n];
	do {
		if (rc)
			break;
		epoch = kv_epoch(fs->kv, KV_META);
		rc = free_meta(fs);
		if (!rc)
			rc = fs_mark_open(fs);
		o.reqs[0].key = fs->journal_key; /* the first one ever has just been given its number */
		if (!rc)
			rc = kv_run(fs->kv, ptrs, o.count, KV_BATCH);
		if (!rc)
			rc = kv_sync(fs->kv, KV_META);
	} while (!rc && kv_epoch(fs->kv, KV_META) != epoch && ++rounds < 5);
	mem_free(ptrs);
	mem_free(o.reqs);
	return rc;
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
	int rc = free_data(fs);

	if (!rc)
		rc = kv_sync(fs->kv, KV_DATA);
	if (!rc)
		rc = free_meta(fs);
	if (!rc)
		rc = kv_sync(fs->kv, KV_META);
	return rc;
}

static int finish(struct fs *fs, struct fs_batch *b)
{
	int rc = meta_phase(fs, b);

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
		rc = write_holder(fs, b);
	if (!rc)
		rc = write_journal(fs, b);
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
