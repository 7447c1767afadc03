/*
 * fs_volume: opening a volume, making its first records, and leaving it.
 *
 * A volume is made only where nothing is. A half of one is refused: meta without records beside data with some (or a tree
 * that is not empty without data) is what a wrong address or a lost namespace looks like, never a new volume. What an
 * interrupted creation left is completed.
 */
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "applets/zdbfs/fs_int.h"
#include "core/base/clock.h"
#include "core/base/endian.h"
#include "core/base/mem.h"
#include "core/base/sys.h"

static const char *const magics[KV_ROLES] = {"ZDBFSM", "ZDBFSD", "ZDBFST"};

/* ------------------------------------------------------------------------------------------------- creating */

static int insert(struct kv *kv, enum kv_role role, const void *data, size_t len, uint64_t *key)
{
	*key = KV_NEW;
	return kv_set(kv, role, key, data, len);
}

static int make_header(struct fs *fs, enum kv_role role, uint64_t size_bytes)
{
	struct fmt_header h = {.version = 1, .size_bytes = size_bytes};
	uint8_t raw[FMT_HEADER_SIZE];
	uint64_t key;
	void *value = NULL;
	size_t len;
	int rc;

	memcpy(h.magic, magics[role], sizeof(h.magic));
	fmt_header_encode(raw, &h);
	rc = insert(fs->kv, role, raw, sizeof(raw), &key);
	/* A namespace that was emptied while its server ran goes on counting, but finds the record under 0 too. */
	if (!rc && key != FMT_HEADER_KEY) {
		rc = kv_get(fs->kv, role, FMT_HEADER_KEY, &value, &len);
		mem_free(value);
	}
	return rc;
}

static int make_list(struct kv *kv, const char *name, uint64_t ino, uint64_t *key)
{
	struct buf b = BUF_INIT(64);
	int rc = insert(kv, KV_META, "L", 1, key);

	if (!rc)
		rc = fmt_list_head(&b, *key, 1);
	if (!rc)
		rc = fmt_list_entry(&b, ino, name, strlen(name));
	if (!rc)
		rc = kv_set(kv, KV_META, key, b.data, b.len);
	buf_release(&b);
	return rc;
}

/* The root as the original writes it: no link count, both dots to itself, times in seconds. */
static int make_root(struct kv *kv)
{
	uint8_t lists[FMT_SLOTS * 8];
	struct fmt_inode f = {.mode = S_IFDIR | 0755, .lists = lists};
	struct buf b = BUF_INIT(FMT_DIR_SIZE);
	uint64_t dot, dotdot, root = FMT_ROOT_INO;
	int rc = make_list(kv, ".", FMT_ROOT_INO, &dot);

	if (!rc)
		rc = make_list(kv, "..", FMT_ROOT_INO, &dotdot);
	if (rc)
		return rc;
	memset(lists, 0x42, sizeof(lists));
	put_u64le(lists + fmt_hash(".", 1) * 8, dot);
	put_u64le(lists + fmt_hash("..", 2) * 8, dotdot);
	f.atime.tv_sec = f.mtime.tv_sec = f.ctime.tv_sec = (time_t)clock_wall_s();
	rc = fmt_inode_encode(&b, &f);
	if (!rc)
		rc = kv_set(kv, KV_META, &root, b.data, b.len);
	buf_release(&b);
	return rc;
}

/* Reserves the root's number, if need be, and writes the root. */
static int complete_root(struct fs *fs, struct err_text *err)
{
	void *value = NULL;
	size_t len = 0;
	uint64_t key = FMT_ROOT_INO;
	int rc = kv_get(fs->kv, KV_META, FMT_ROOT_INO, &value, &len);

	if (rc == -ENOENT) {
		rc = insert(fs->kv, KV_META, "X", 1, &key);
		if (!rc && key != FMT_ROOT_INO)
			return err_set(
				err, -ENODATA,
				"cannot make the root directory: the meta namespace has had other records");
	}
	mem_free(value);
	if (rc)
		return err_set(err, rc, "cannot read the root directory: %s", err_str(rc));
	if (len >= FMT_INODE_BASE)
		return 0;
	rc = make_root(fs->kv);
	return rc ? err_set(err, rc, "cannot make the root directory: %s", err_str(rc)) : 0;
}

/* ------------------------------------------------------------------------------------------------- checking */

static int read_header(struct fs *fs, enum kv_role role, struct fmt_header *h, bool *is_there,
		       struct err_text *err)
{
	void *value = NULL;
	size_t len;
	int rc = kv_get(fs->kv, role, FMT_HEADER_KEY, &value, &len);

	*is_there = !rc;
	if (rc == -ENOENT)
		return 0;
	if (rc)
		return err_set(err, rc, "cannot read the header of the %s namespace: %s", kv_role_str(role),
			       err_str(rc));
	rc = fmt_header_decode(h, magics[role], value, len);
	mem_free(value);
	if (rc == -E_VERSION)
		return err_set(
			err, rc,
			"cannot use the volume: its %s namespace has format version %u, this program knows 1",
			kv_role_str(role), h->version);
	if (rc)
		return err_set(err, rc, "not a zdbfs volume: the %s namespace begins with something else",
			       kv_role_str(role));
	return 0;
}

static int check_namespace(struct fs *fs, enum kv_role role, struct err_text *err)
{
	struct kv_info *info = &fs->info[role];
	int rc = kv_info(fs->kv, role, info);

	if (rc)
		return err_set(err, rc, "cannot ask about the %s namespace: %s", kv_role_str(role),
			       err_str(rc));
	if (!info->is_sequential)
		return err_set(err, -E_CORRUPT,
			       "not a zdbfs volume: the %s namespace is in user-key mode, zdbfs needs "
			       "sequential mode",
			       kv_role_str(role));
	if (role != KV_TEMP && info->is_read_only)
		fs->is_read_only = true;
	return 0;
}

static bool tree_is_empty(struct fs *fs)
{
	struct fmt_inode f;
	void *value = NULL;
	size_t len;
	int rc = kv_get(fs->kv, KV_META, FMT_ROOT_INO, &value, &len);
	bool empty = rc == -ENOENT;

	if (!rc)
		empty = fmt_inode_decode(&f, value, len) != 0 || f.size == 0;
	mem_free(value);
	return empty;
}

/* Whether what is there may become a volume. */
static int check_creation(struct fs *fs, bool meta, bool data, struct err_text *err)
{
	if (meta && data)
		return 0;
	if (fs->is_read_only)
		return err_set(err, -EROFS, "cannot make a volume: the namespace is read-only");
	if (!meta && (fs->info[KV_META].entries || data || fs->info[KV_DATA].entries))
		return err_set(err, -ENODATA,
			       "cannot use half a volume: meta holds %llu records without a header, data "
			       "%llu; check the "
			       "address and the namespaces, or empty both for a new volume",
			       (unsigned long long)fs->info[KV_META].entries,
			       (unsigned long long)fs->info[KV_DATA].entries);
	if (meta && !data && (fs->info[KV_DATA].entries || !tree_is_empty(fs)))
		return err_set(err, -ENODATA,
			       "cannot use half a volume: the directory tree has entries, but the data "
			       "namespace is empty");
	if (!fs->opt.may_create)
		return err_set(err, -ENODATA, "there is no volume in these namespaces");
	return 0;
}

static int open_temp(struct fs *fs, uint64_t size_bytes, struct err_text *err)
{
	struct fmt_header h;
	bool is_there;
	int rc = read_header(fs, KV_TEMP, &h, &is_there, err);

	if (rc || fs->is_read_only)
		return fs->is_read_only ? 0 : rc;
	if (is_there && fs->info[KV_TEMP].entries <= 1)
		return 0;
	/* What another mount spilled there is nobody's: only its writer knew the numbers. */
	rc = fs->info[KV_TEMP].entries ? kv_flush(fs->kv, KV_TEMP) : 0;
	if (rc)
		log_warn("cannot empty the temp namespace: %s", err_str(rc));
	rc = kv_exists(fs->kv, KV_TEMP, FMT_HEADER_KEY);
	if (rc == -ENOENT)
		rc = make_header(fs, KV_TEMP, size_bytes);
	return rc ? err_set(err, rc, "cannot make the header of the temp namespace: %s", err_str(rc)) : 0;
}

static int open_headers(struct fs *fs, struct fmt_header *meta, struct err_text *err)
{
	struct fmt_header data;
	bool has_meta, has_data;
	int rc = read_header(fs, KV_META, meta, &has_meta, err);

	if (!rc)
		rc = read_header(fs, KV_DATA, &data, &has_data, err);
	if (!rc)
		rc = check_creation(fs, has_meta, has_data, err);
	if (rc)
		return rc;
	fs->is_created = !has_meta;
	if (!has_meta) {
		rc = make_header(fs, KV_META, fs->opt.size_bytes);
		if (rc)
			return err_set(err, rc, "cannot make the header of the meta namespace: %s",
				       err_str(rc));
		*meta = (struct fmt_header){
			.magic = "ZDBFSM", .version = 1, .size_bytes = fs->opt.size_bytes};
	}
	if (!fs->is_read_only)
		rc = complete_root(fs, err);
	if (!rc && !has_data) {
		rc = make_header(fs, KV_DATA, meta->size_bytes);
		if (rc)
			return err_set(err, rc, "cannot make the header of the data namespace: %s",
				       err_str(rc));
	}
	if (!rc)
		rc = open_temp(fs, meta->size_bytes, err);
	/* Both halves of a new volume are durable before anything refers to anything. */
	for (int role = 0; !rc && (!has_meta || !has_data) && role < KV_ROLES; role++) {
		rc = kv_sync(fs->kv, (enum kv_role)role);
		if (rc)
			rc = err_set(err, rc, "cannot make the volume durable: %s", err_str(rc));
	}
	return rc;
}

/* ------------------------------------------------------------------------------------------------- defaults */

static void set_defaults(struct fs *fs)
{
	struct fs_options *o = &fs->opt;
	long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
	uint64_t memory = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : 256u << 20;

	if (!o->size_bytes)
		o->size_bytes = 10737418240ull;
	/* On a board with 256 MiB: 8 MiB waiting, 16 MiB in all, 8192 inodes. */
	if (!o->dirty_max)
		o->dirty_max = memory / 32 < (64u << 20) ? (size_t)(memory / 32) : 64u << 20;
	if (!o->cache_max)
		o->cache_max = o->dirty_max * 2;
	if (o->cache_max < o->dirty_max + (1u << 20)) /* room for what is being read */
		o->cache_max = o->dirty_max + (1u << 20);
	if (!o->inode_max)
		o->inode_max = memory / 32768 < 65536 ? (size_t)(memory / 32768) : 65536;
	if (!o->interval_ms)
		o->interval_ms = 5000;
}

static void init_locks(struct fs *fs)
{
	pthread_condattr_t mono;

	pthread_condattr_init(&mono);
	pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
	pthread_mutex_init(&fs->lock, NULL);
	pthread_mutex_init(&fs->gate_lock, NULL);
	pthread_mutex_init(&fs->commit_lock, NULL);
	pthread_mutex_init(&fs->seq_lock, NULL);
	pthread_mutex_init(&fs->open_lock, NULL);
	pthread_cond_init(&fs->fetched, NULL);
	pthread_cond_init(&fs->gate_cond, NULL);
	pthread_cond_init(&fs->seq_work, &mono);
	pthread_cond_init(&fs->seq_done, NULL);
	pthread_condattr_destroy(&mono);
	list_init(&fs->inodes_lru);
	list_init(&fs->dirty_inodes);
	list_init(&fs->blocks_clean);
	list_init(&fs->blocks_dirty);
	list_init(&fs->spare_changes);
	fs_changes_init(&fs->changes);
	fs_pool_init(&fs->pool);
}

static void free_inodes(struct fs *fs)
{
	struct hmap_iter it = {0};
	struct hmap_node *n;

	while ((n = hmap_each(&fs->inodes, &it))) {
		struct fs_inode *i = container_of(n, struct fs_inode, node);

		fs_blocks_drop_all(fs, i);
		fs_inode_free(i);
	}
	hmap_release(&fs->inodes);
	hmap_release(&fs->blocks);
	it = (struct hmap_iter){0};
	while ((n = hmap_each(&fs->known, &it)))
		mem_free(container_of(n, struct fs_known, node));
	hmap_release(&fs->known);
}

static void destroy(struct fs *fs)
{
	struct list *l;

	pthread_mutex_lock(&fs->lock);
	while (fs->fetching)
		pthread_cond_wait(&fs->fetched, &fs->lock);
	pthread_mutex_unlock(&fs->lock);
	if (fs->stuck) {
		fs_gate_close(fs);
		fs_batch_give_back(fs, fs->stuck);
		fs_gate_open(fs);
		fs_batch_release(fs, fs->stuck);
	}
	free_inodes(fs);
	while ((l = list_pop(&fs->spare_changes)))
		mem_free(container_of(l, struct fs_change, link));
	fs_changes_release(&fs->changes);
	fs_frees_release(&fs->frees);
	fs_frees_release(&fs->ready);
	fs_ids_release(&fs->orphans);
	fs_pool_release(&fs->pool);
	pthread_mutex_destroy(&fs->lock);
	pthread_mutex_destroy(&fs->gate_lock);
	pthread_mutex_destroy(&fs->commit_lock);
	pthread_mutex_destroy(&fs->seq_lock);
	pthread_mutex_destroy(&fs->open_lock);
	pthread_cond_destroy(&fs->fetched);
	pthread_cond_destroy(&fs->gate_cond);
	pthread_cond_destroy(&fs->seq_work);
	pthread_cond_destroy(&fs->seq_done);
	mem_free(fs);
}

/* ------------------------------------------------------------------------------------------------- opening */

static int repair(struct fs *fs, const struct fmt_header *h, struct err_text *err)
{
	unsigned state = h->flags & (FMT_FLAG_JOURNAL | FMT_FLAG_MOUNTED);
	struct fs_redo_result r;
	int rc;

	if (fs->is_read_only) {
		if (state)
			log_warn("the volume was not cleanly left, and cannot be repaired read-only: link "
				 "counts may be off");
		return 0;
	}
	rc = fs_redo(fs, h, &r, err);
	if (rc || !state)
		return rc;
	if (state == FMT_FLAG_JOURNAL)
		log_info("the volume was used by another program since: its intents are dropped");
	log_info("the volume was not cleanly left: repaired moves=%llu dropped=%llu links=%llu unnamed=%llu "
		 "leaked_records=%llu leaked_blocks=%llu",
		 (unsigned long long)r.intents, (unsigned long long)r.dropped, (unsigned long long)r.links,
		 (unsigned long long)r.orphans, (unsigned long long)r.swept_meta,
		 (unsigned long long)r.swept_data);
	return 0;
}

static int open_volume(struct fs *fs, struct err_text *err)
{
	struct fmt_header h;
	int rc = 0;

	for (int role = 0; !rc && role < KV_ROLES; role++)
		rc = check_namespace(fs, (enum kv_role)role, err);
	if (!rc && fs->is_read_only && !fs->opt.is_read_only)
		log_warn("a namespace has a password that was not given: mounted read-only");
	if (!rc)
		rc = open_headers(fs, &h, err);
	if (rc)
		return rc;
	fs->journal_key = h.journal_key;
	fs->stored_flags = h.flags;
	fs->header_size = h.size_bytes;
	rc = repair(fs, &h, err);
	fs->mount_number++;
	if (!rc)
		rc = fs_space_refresh(fs);
	if (rc)
		return err->text[0] ? rc : err_set(err, rc, "cannot ask the store: %s", err_str(rc));
	fs->meta_seen = fs->info[KV_META].next_id;
	fs->data_seen = fs->info[KV_DATA].next_id;
	return 0;
}

int fs_open(struct fs **out, struct kv *kv, const struct fs_options *opt, struct err_text *err)
{
	struct fs *fs = mem_calloc(1, sizeof(*fs));
	int rc;

	*out = NULL;
	if (err)
		err->text[0] = 0;
	if (!fs)
		return err_set(err, -ENOMEM, "out of memory");
	fs->kv = kv;
	fs->opt = *opt;
	fs->is_read_only = opt->is_read_only;
	set_defaults(fs);
	init_locks(fs);
	if (!(kv->can & KV_CAN_SYNC)) {
		if (opt->strict_sync) {
			rc = err_set(err, -ENOTSUP,
				     "the store cannot SYNC: fsync could not be kept over a power cut");
			goto fail;
		}
		log_warn(
			"the store cannot SYNC: fsync survives a crash of programs only, not of the machine");
	}
	rc = open_volume(fs, err);
	if (!rc && !fs->is_read_only && !opt->no_thread) {
		rc = pthread_create(&fs->thread, NULL, fs_commit_thread, fs);
		fs->has_thread = !rc;
		if (rc)
			rc = err_set(err, -rc, "cannot start a thread: %s", err_str(rc));
	}
	if (!rc) {
		*out = fs;
		return 0;
	}
fail:
	destroy(fs);
	return rc;
}

/* ------------------------------------------------------------------------------------------------- leaving */

static void stop_thread(struct fs *fs, bool abort)
{
	pthread_mutex_lock(&fs->seq_lock);
	fs->is_stopping = true;
	fs->is_aborting = abort;
	pthread_cond_broadcast(&fs->seq_work);
	pthread_cond_broadcast(&fs->seq_done);
	pthread_mutex_unlock(&fs->seq_lock);
	if (fs->has_thread)
		(void)pthread_join(fs->thread, NULL);
	fs->has_thread = false;
}

/* Whoever still holds an inode without a name is gone with this process. */
static void drop_orphans(struct fs *fs)
{
	struct hmap_iter it = {0};
	struct hmap_node *n;

	while ((n = hmap_each(&fs->known, &it)))
		mem_free(container_of(n, struct fs_known, node));
	hmap_release(&fs->known);
	hmap_init(&fs->known);
	while (fs->orphans.count) {
		size_t before = fs->orphans.count;

		fs_orphan_check(fs, fs->orphans.v[before - 1]);
		BUG_ON(fs->orphans.count == before);
	}
}

static int leave_clean(struct fs *fs)
{
	int rc;

	drop_orphans(fs);
	rc = fs_commit_once(fs); /* stores */
	if (!rc)
		rc = fs->last_error;
	if (!rc)
		rc = fs_commit_once(fs); /* deletes what that unreferenced */
	if (!rc)
		rc = fs_pool_drain(fs);
	if (!rc)
		rc = fs_mark_closed(fs);
	return rc;
}

int fs_close(struct fs *fs, struct err_text *err)
{
	int rc = 0;

	if (err)
		err->text[0] = 0;
	stop_thread(fs, false);
	if (!fs->is_read_only)
		rc = leave_clean(fs);
	if (rc)
		rc = err_set(err, rc, "cannot store everything: %s", err_str(rc));
	destroy(fs);
	return rc;
}

void fs_abandon(struct fs *fs)
{
	stop_thread(fs, true);
	destroy(fs);
}

void fs_stats_get(struct fs *fs, struct fs_stats *st)
{
	*st = (struct fs_stats){
		.cache_hit = fs->n_hit,
		.cache_miss = fs->n_miss,
		.batches = fs->n_batches,
		.sequential_flush = fs->n_seq_flush,
		.last_sync_ms = fs->last_sync_ms,
		.last_error = fs->last_error,
		.can_sync = fs->kv->can & KV_CAN_SYNC,
		.is_read_only = fs->is_read_only,
		.dirty_max = fs->opt.dirty_max,
		.cache_max = fs->opt.cache_max,
	};
	pthread_mutex_lock(&fs->lock);
	st->inodes = fs->inode_count;
	st->inodes_dirty = fs->dirty_count;
	st->blocks = fs->block_count;
	st->block_bytes = fs->block_bytes;
	st->dirty_bytes = fs->dirty_bytes;
	st->orphans = fs->orphans.count;
	st->frees_waiting = fs->frees.loose.count + fs->frees.data.count + fs->frees.inodes.count;
	st->next_meta = fs->info[KV_META].next_id > fs->meta_seen ? fs->info[KV_META].next_id : fs->meta_seen;
	st->next_data = fs->info[KV_DATA].next_id > fs->data_seen ? fs->info[KV_DATA].next_id : fs->data_seen;
	pthread_mutex_unlock(&fs->lock);
}
