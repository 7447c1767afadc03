/*
 * fs_journal: what a crash may have left, written down before it can happen: J and the holder of a batch, and the header's flags, which
 * say that there may be something to redo.
 */
#include <sys/stat.h>

#include "applets/zdbfs/fs_int.h"
#include "core/base/endian.h"
#include "core/base/mem.h"

int fs_journal_write(struct fs *fs, struct fs_batch *b)
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

int fs_holder_write(struct fs *fs, struct fs_batch *b)
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
