/*
 * fs_commit_meta: the records of a batch in the order of the six rules (fs_commit.c), with the journal before them.
 */
#include <string.h>

#include "applets/zdbfs/fs_int.h"
#include "core/base/endian.h"
#include "core/base/mem.h"

#define AT_LINKS 28

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

static bool is_target(const struct fs_batch_inode *bi)
{
	return bi->is_new && bi->net && bi->net->is_target;
}

static bool is_new_dir(const struct fs_batch_inode *bi)
{
	return bi->is_new && !is_target(bi);
}

static bool is_old_dir(const struct fs_batch_inode *bi)
{
	return !bi->is_new;
}

static void put_dirs(struct order *o, struct fs_batch *b, bool (*wanted)(const struct fs_batch_inode *))
{
	for (size_t n = 0; n < b->inode_count; n++) {
		struct fs_batch_inode *bi = &b->inodes[n];

		if (bi->is_dir && !bi->is_orphan && wanted(bi))
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
	put_dirs(o, b, is_new_dir);
	put_dirs(o, b, is_target);
	put_lists(o, b, is_gaining, true);
	put_dirs(o, b, is_old_dir);
	put_lists(o, b, is_losing, false);
	for (size_t n = 0; n < b->inode_count; n++)
		if (is_final_later(&b->inodes[n]))
			put(o, b->inodes[n].inode->ino, &b->inodes[n].rec);
	return o->rc;
}

int fs_commit_meta(struct fs *fs, struct fs_batch *b)
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
		rc = fs_frees_delete_meta(fs);
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
