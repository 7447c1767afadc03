/*
 * fs_space: how much may wait, and how much may be accepted.
 *
 * What is accepted must be storable: a write is refused with ENOSPC when the namespace's limit, the store's disk or the
 * budget of block ids would not hold it together with everything that already waits. The answers of the store are a
 * moment old, so a reserve is kept for lists, inodes and J.
 */
#include <string.h>

#include "applets/zdbfs/fs_int.h"
#include "core/base/clock.h"

#define RESERVE_LIMIT (1u << 20)  /* of a namespace with a limit */
#define RESERVE_DISK  (32u << 20) /* of the disk below */
#define DIRTY_INODES  65536u
#define CHANGE_BYTES  (FMT_INTENTS_BYTES_MAX * 2 / 3)

int fs_space_refresh(struct fs *fs)
{
	int rc = 0;

	for (int role = 0; role < KV_TEMP && !rc; role++) {
		struct kv_info info;

		rc = kv_info(fs->kv, (enum kv_role)role, &info);
		if (rc)
			break;
		pthread_mutex_lock(&fs->lock);
		fs->info[role] = info;
		pthread_mutex_unlock(&fs->lock);
	}
	if (!rc)
		fs->info_ms = clock_mono_ms();
	return rc;
}

static bool fits(const struct kv_info *info, uint64_t more)
{
	if (info->limit_bytes && info->size_bytes + more + RESERVE_LIMIT > info->limit_bytes)
		return false;
	return info->free_bytes == UINT64_MAX || info->free_bytes > more + RESERVE_DISK;
}

int fs_space_check(struct fs *fs, uint64_t more)
{
	uint64_t waiting, meta;
	bool ok;

	pthread_mutex_lock(&fs->lock);
	waiting = fs->dirty_bytes + more;
	meta = fs->dirty_count * 256 + fs->changes.bytes;
	ok = fits(&fs->info[KV_DATA], waiting) && fits(&fs->info[KV_META], meta);
	if (ok && fs->opt.enforce_size && fs->info[KV_DATA].size_bytes + waiting > fs->opt.size_bytes)
		ok = false;
	if (ok && fs->data_seen + waiting / FMT_BLOCK + 4096 > UINT32_MAX)
		ok = false;
	pthread_mutex_unlock(&fs->lock);
	return ok ? 0 : -ENOSPC;
}

static bool too_much(struct fs *fs)
{
	bool yes;

	pthread_mutex_lock(&fs->lock);
	yes = fs->dirty_bytes > fs->opt.dirty_max || fs->dirty_count > DIRTY_INODES ||
	      fs->changes.bytes > CHANGE_BYTES;
	pthread_mutex_unlock(&fs->lock);
	return yes;
}

int fs_throttle(struct fs *fs)
{
	int rc = 0;

	while (!rc && too_much(fs)) {
		uint64_t tried;

		if (fs->opt.no_thread) {
			rc = fs_commit(fs);
			if (!rc && too_much(fs))
				rc = fs->last_error;
			continue;
		}
		pthread_mutex_lock(&fs->seq_lock);
		tried = fs->seq_tried;
		if (fs->seq_wanted <= fs->seq_begun)
			fs->seq_wanted = fs->seq_begun + 1;
		pthread_cond_signal(&fs->seq_work);
		while (fs->seq_tried == tried && !fs->is_aborting)
			pthread_cond_wait(&fs->seq_done, &fs->seq_lock);
		rc = fs->is_aborting ? -EIO : fs->seq_err ? fs->seq_err : too_much(fs) ? fs->last_error : 0;
		pthread_mutex_unlock(&fs->seq_lock);
	}
	return rc;
}

int fs_op_statfs(struct fs *fs, struct fs_statfs *st)
{
	const struct kv_info *data = &fs->info[KV_DATA];
	uint64_t used, room;

	pthread_mutex_lock(&fs->lock);
	used = data->size_bytes + fs->dirty_bytes;
	st->total_bytes = fs->opt.size_bytes;
	if (data->limit_bytes && data->limit_bytes < st->total_bytes)
		st->total_bytes = data->limit_bytes;
	st->free_bytes = used < st->total_bytes ? st->total_bytes - used : 0;
	room = data->free_bytes == UINT64_MAX ? UINT64_MAX
	       : data->free_bytes > fs->dirty_bytes + RESERVE_DISK
		       ? data->free_bytes - fs->dirty_bytes - RESERVE_DISK
		       : 0;
	if (room < st->free_bytes)
		st->free_bytes = room;
	st->files = 0xffffffffff; /* as the original shows it */
	st->free_files = st->files - fs->info[KV_META].entries;
	pthread_mutex_unlock(&fs->lock);
	return 0;
}
