/*
 * fs_batch: the snapshot that a flush stores.
 *
 * fs_batch_take() runs with the gate closed: nothing changes, so it copies what is dirty (records and lists encoded,
 * blocks by reference) and calls everything clean. fs_batch_assign() puts the ids of new blocks in, after the data phase;
 * fs_batch_settle() ends a batch that is stored. fs_batch_give_back() undoes the taking when nothing of the metadata was
 * sent: then all is dirty again and the next batch covers both.
 */
#include <string.h>
#include <sys/stat.h>

#include "applets/zdbfs/fs_int.h"
#include "core/base/endian.h"
#include "core/base/mem.h"

/* Offsets in an inode record that are patched. */
#define AT_SIZE  20
#define AT_LINKS 28

static void *grow(void *array, size_t *cap, size_t count, size_t size)
{
	size_t n;
	void *p;

	if (count < *cap)
		return array;
	n = *cap ? *cap * 2 : 64;
	p = mem_realloc_array(array, n, size);
	if (p)
		*cap = n;
	return p;
}

static void take_pin(struct fs *fs, struct fs_inode *i)
{
	pthread_mutex_lock(&fs->lock);
	if (i->pins++ == 0)
		list_del(&i->lru);
	pthread_mutex_unlock(&fs->lock);
}

/* ------------------------------------------------------------------------------------------------- blocks */

/*
 * The block at `slot` is not stored as it is now: the inode stays dirty. Its size must not say more than what is stored, unless
 * an older content of the block covers all that was there before.
 */
static void hold(struct fs_batch_inode *bi, uint32_t slot, bool has_older)
{
	uint64_t start = (uint64_t)slot * FMT_BLOCK, safe = bi->inode->disk_size;

	bi->is_held = true;
	if (has_older && start + FMT_BLOCK <= safe)
		return;
	if (start > safe)
		safe = start;
	if (bi->size > safe)
		bi->size = safe;
}

static struct fs_batch_inode *find_inode(struct fs_batch *b, const struct fs_inode *i)
{
	return i->batch_index < b->inode_count && b->inodes[i->batch_index].inode == i
		       ? &b->inodes[i->batch_index]
		       : NULL;
}

/* A reader may be putting the base in at this moment: it holds the inode's lock, and the block waits for the next batch. */
static bool is_whole(struct fs *fs, struct fs_block *blk)
{
	struct fs_inode *i = blk->inode;
	bool whole;

	if (pthread_mutex_trylock(&i->lock) != 0)
		return !blk->needs_base;
	whole = !blk->needs_base || fs_block_settle(fs, blk) == 0;
	if (!whole)
		fs_block_refetch(fs, blk);
	pthread_mutex_unlock(&i->lock);
	return whole;
}

static int take_block(struct fs *fs, struct fs_batch *b, struct fs_block *blk)
{
	struct fs_batch_inode *bi = find_inode(b, blk->inode);
	struct fs_batch_block *bb;
	void *p;

	if (!is_whole(fs, blk)) {
		if (bi)
			hold(bi, blk->slot, true);
		return 0; /* its rest is on the way */
	}
	p = grow(b->blocks, &b->block_cap, b->block_count, sizeof(*b->blocks));
	if (!p)
		return -ENOMEM;
	b->blocks = p;
	bb = &b->blocks[b->block_count++];
	*bb = (struct fs_batch_block){.block = blk,
				      .inode = blk->inode,
				      .slot = blk->slot,
				      .len = blk->len,
				      .id = fs_map_get(blk->inode, blk->slot),
				      .bytes = blk->bytes};
	atomic_fetch_add(&blk->bytes->refs, 1);
	take_pin(fs, blk->inode);
	pthread_mutex_lock(&fs->lock);
	blk->is_in_flight = true; /* first: somebody may be counting what will take space */
	blk->is_dirty = false;
	blk->is_over = false;
	list_del(&blk->lru);
	fs->dirty_bytes -= blk->bytes->cap;
	pthread_mutex_unlock(&fs->lock);
	return 0;
}

static int take_blocks(struct fs *fs, struct fs_batch *b)
{
	int rc = 0;

	/* Only this thread takes dirty blocks off the list, and nobody adds while the gate is closed. */
	list_each_safe(&fs->blocks_dirty, it)
	{
		rc = take_block(fs, b, container_of(it, struct fs_block, lru));
		if (rc)
			break;
	}
	return rc;
}

/* --------------------------------------------------------------------------------------------- inodes, lists */

static int take_list(struct fs_batch *b, struct fs_inode *dir, unsigned slot)
{
	struct fs_dlist *l = dir->dir->lists[slot];
	struct fs_batch_list *bl;
	void *p = grow(b->lists, &b->list_cap, b->list_count, sizeof(*b->lists));
	int rc;

	if (!p)
		return -ENOMEM;
	b->lists = p;
	bl = &b->lists[b->list_count++];
	*bl = (struct fs_batch_list){
		.dir = dir, .slot = slot, .key = l->key, .is_new = l->is_new, .dir_is_new = dir->is_new};
	buf_init(&bl->final, FMT_RECORD_MAX);
	buf_init(&bl->merged, FMT_RECORD_MAX);
	rc = fs_dlist_encode(l, &bl->final);
	if (!rc) {
		l->is_dirty = false;
		l->in_batch = true;
	}
	return rc;
}

static int take_lists(struct fs_batch *b, struct fs_batch_inode *bi)
{
	struct fs_inode *dir = bi->inode;
	int rc = 0;

	bi->first_list = b->list_count;
	for (unsigned h = 0; !rc && h < FMT_SLOTS; h++)
		if (dir->dir->lists[h] && dir->dir->lists[h]->is_dirty)
			rc = take_list(b, dir, h);
	bi->list_count = b->list_count - bi->first_list;
	return rc;
}

static int take_inode(struct fs *fs, struct fs_batch *b, struct fs_inode *i)
{
	struct fs_batch_inode *bi;
	struct fmt_inode f;
	void *p = grow(b->inodes, &b->inode_cap, b->inode_count, sizeof(*b->inodes));
	int rc;

	if (!p)
		return -ENOMEM;
	b->inodes = p;
	i->batch_index = b->inode_count;
	bi = &b->inodes[b->inode_count++];
	*bi = (struct fs_batch_inode){.inode = i,
				      .links = i->links,
				      .disk_links = i->disk_links,
				      .size = i->size,
				      .is_new = i->is_new,
				      .is_dir = i->dir != NULL,
				      .is_orphan = i->is_orphan,
				      .is_file = S_ISREG(i->mode)};
	buf_init(&bi->rec, FMT_RECORD_MAX);
	fs_inode_to_fmt(i, &f);
	rc = fmt_inode_encode(&bi->rec, &f);
	if (!rc && i->dir)
		rc = take_lists(b, bi);
	if (rc)
		return rc;
	pthread_mutex_lock(&fs->lock);
	i->is_dirty = false; /* its pin becomes the batch's */
	i->in_batch = true;
	list_del(&i->dirty);
	fs->dirty_count--;
	pthread_mutex_unlock(&fs->lock);
	return 0;
}

static int take_inodes(struct fs *fs, struct fs_batch *b)
{
	int rc = 0;

	list_each_safe(&fs->dirty_inodes, it)
	{
		rc = take_inode(fs, b, container_of(it, struct fs_inode, dirty));
		if (rc) {
			/* the last one was entered but not taken: it keeps its place on the dirty list */
			if (b->inode_count && !b->inodes[b->inode_count - 1].inode->in_batch)
				buf_release(&b->inodes[--b->inode_count].rec);
			break;
		}
	}
	return rc;
}

/* Names that only move out of a list while others come into it: the first copy of the list still has them. */
static int merge_list(struct fs_batch *b, struct fs_batch_list *bl)
{
	struct fs_dlist l = {.key = bl->key};
	int rc = fs_dlist_decode(&l, bl->final.data, bl->final.len);

	list_each(&b->changes.list, it)
	{
		const struct fs_change *c = container_of(it, struct fs_change, link);

		if (rc || c->dir != bl->dir->ino || fmt_hash(c->name, c->len) != bl->slot || !c->old_ino ||
		    c->new_ino)
			continue;
		if (fs_net_moves_out(b, c))
			rc = fs_dlist_add(&l, c->name, c->len, c->old_ino);
	}
	if (!rc)
		rc = fs_dlist_encode(&l, &bl->merged);
	if (rc == -E_LIMIT || rc == -ENOSPC) { /* too long together: J alone covers the moves */
		buf_clear(&bl->merged);
		rc = 0;
	}
	mem_free(l.off);
	mem_free(l.arena);
	return rc;
}

static struct fs_batch_list *find_list(struct fs *fs, struct fs_batch *b, uint64_t dir, unsigned slot)
{
	struct fs_inode *i = fs_peek(fs, dir);
	struct fs_batch_inode *bi = i ? find_inode(b, i) : NULL;

	fs_put(fs, i);
	for (size_t n = 0; bi && n < bi->list_count; n++)
		if (b->lists[bi->first_list + n].slot == slot)
			return &b->lists[bi->first_list + n];
	return NULL;
}

static int mark_lists(struct fs *fs, struct fs_batch *b)
{
	int rc = 0;

	list_each(&b->changes.list, it)
	{
		const struct fs_change *c = container_of(it, struct fs_change, link);
		struct fs_batch_list *bl;

		if (c->old_ino == c->new_ino)
			continue;
		bl = find_list(fs, b, c->dir, fmt_hash(c->name, c->len));
		if (!bl)
			continue; /* of a directory that is gone itself */
		if (c->new_ino)
			bl->gains = true;
		else
			bl->moves_out = bl->moves_out || fs_net_moves_out(b, c);
	}
	for (size_t n = 0; !rc && n < b->list_count; n++)
		if (b->lists[n].gains && b->lists[n].moves_out)
			rc = merge_list(b, &b->lists[n]);
	return rc;
}

/* ------------------------------------------------------------------------------------------------- taking */

static int copy_ids(struct fs_ids *to, const struct fs_ids *from)
{
	int rc = 0;

	for (size_t n = 0; !rc && n < from->count; n++)
		rc = fs_ids_add(to, from->v[n]);
	return rc;
}

static void take_changes(struct fs *fs, struct fs_batch *b)
{
	b->changes.map = fs->changes.map;
	b->changes.count = fs->changes.count;
	b->changes.bytes = fs->changes.bytes;
	list_init(&b->changes.list);
	list_splice_tail(&b->changes.list, &fs->changes.list);
	hmap_init(&fs->changes.map);
	fs->changes.count = fs->changes.bytes = 0;
}

int fs_batch_take(struct fs *fs, struct fs_batch *b)
{
	int rc;

	b->next_meta = fs_pool_floor(fs);
	b->next_data = fs->data_seen;
	pthread_mutex_lock(&fs->lock);
	take_changes(fs, b);
	b->frees = fs->frees;
	fs->frees = (struct fs_frees){0};
	rc = copy_ids(&b->orphans, &fs->orphans);
	if (!rc)
		rc = copy_ids(&b->orphans, &b->frees.inodes);
	pthread_mutex_unlock(&fs->lock);
	if (!rc)
		rc = fs_nets_build(fs, b);
	if (!rc)
		rc = take_inodes(fs, b);
	if (!rc)
		rc = take_blocks(fs, b);
	if (!rc)
		rc = mark_lists(fs, b);
	for (size_t n = 0; n < b->inode_count; n++)
		b->inodes[n].net = fs_net_find(b, b->inodes[n].inode->ino);
	return rc;
}

/* ---------------------------------------------------------------------------------------------- blocks are stored */

static void patch(struct fs_batch_inode *bi, uint32_t slot, uint32_t id)
{
	if (slot < get_u64le(bi->rec.data + FMT_INODE_BASE))
		put_u32le(bi->rec.data + FMT_FILE_BASE + (size_t)slot * 4, id);
}

static void assign_block(struct fs *fs, struct fs_batch *b, struct fs_batch_block *bb)
{
	struct fs_batch_inode *bi = find_inode(b, bb->inode);
	struct fs_block *blk = bb->block;
	uint32_t id = (uint32_t)bb->req.key;

	if (!bb->is_stored) {
		if (bi)
			hold(bi, bb->slot, bb->id != 0);
		return;
	}
	if (bi)
		patch(bi, bb->slot, id);
	if (bb->id)
		return;
	if (blk->inode) {
		fs_map_set(bb->inode, bb->slot, id);
	} else {
		/* cut off or unlinked since: free again, after the batch that says so */
		(void)fs_loose_add(fs, bb->inode->ino, id);
	}
}

void fs_batch_assign(struct fs *fs, struct fs_batch *b)
{
	for (size_t n = 0; n < b->block_count; n++)
		assign_block(fs, b, &b->blocks[n]);
	for (size_t n = 0; n < b->inode_count; n++) {
		struct fs_batch_inode *bi = &b->inodes[n];

		if (bi->is_file)
			put_u64le(bi->rec.data + AT_SIZE, bi->size);
		put_u32le(bi->rec.data + AT_LINKS, bi->links);
	}
}

/* ---------------------------------------------------------------------------------------------------- ending */

static void end_block(struct fs *fs, struct fs_batch_block *bb)
{
	struct fs_block *blk = bb->block;
	bool dead = !blk->inode;

	pthread_mutex_lock(&fs->lock);
	blk->is_in_flight = false;
	if (!dead && !blk->is_dirty)
		list_add_tail(&fs->blocks_clean, &blk->lru);
	pthread_mutex_unlock(&fs->lock);
	if (!dead && !bb->is_stored)
		fs_block_dirty(fs, blk);
	fs_bytes_put(bb->bytes);
	bb->bytes = NULL;
	if (dead)
		fs_block_free_dropped(fs, blk);
	fs_put(fs, bb->inode);
}

static void end_lists(struct fs_batch *b, bool stored)
{
	for (size_t n = 0; n < b->list_count; n++) {
		struct fs_batch_list *bl = &b->lists[n];
		struct fs_dlist *l = bl->dir->dir->lists[bl->slot];

		if (!l || l->key != bl->key)
			continue; /* the directory is gone */
		l->in_batch = false;
		if (stored)
			l->is_new = false;
		else
			l->is_dirty = true;
	}
}

static void end_inode(struct fs *fs, struct fs_batch_inode *bi, bool stored)
{
	struct fs_inode *i = bi->inode;

	i->in_batch = false;
	if (stored) {
		i->is_new = false;
		i->disk_links = bi->links;
		i->disk_size = bi->size;
		i->zero_stored = bi->is_orphan;
		fs_pool_settle(fs, i->ino);
	}
	if (!i->is_gone && (!stored || bi->is_held))
		fs_mark_dirty(fs, i);
	fs_put(fs, i);
}

void fs_batch_settle(struct fs *fs, struct fs_batch *b)
{
	end_lists(b, true);
	for (size_t n = 0; n < b->list_count; n++)
		fs_pool_settle(fs, b->lists[n].key);
	for (size_t n = 0; n < b->block_count; n++)
		end_block(fs, &b->blocks[n]);
	for (size_t n = 0; n < b->inode_count; n++)
		end_inode(fs, &b->inodes[n], true);
	for (size_t n = 0; n < b->frees.meta.count; n++)
		fs_pool_settle(fs, b->frees.meta.v[n]);
	for (size_t n = 0; n < b->frees.inodes.count; n++)
		fs_pool_settle(fs, b->frees.inodes.v[n]);
}

/* The changes of this batch come before those of the running one: where both have a name, the older stored value counts. */
static void merge_changes(struct fs *fs, struct fs_batch *b)
{
	struct list *l;

	hmap_release(&b->changes.map);
	while ((l = list_pop(&b->changes.list))) {
		struct fs_change *c = container_of(l, struct fs_change, link), *now;

		now = fs_change_find(&fs->changes, c->dir, c->name, c->len);
		if (now) {
			now->old_ino = c->old_ino;
			mem_free(c);
		} else {
			fs_change_insert(&fs->changes, c);
		}
	}
}

void fs_batch_give_back(struct fs *fs, struct fs_batch *b)
{
	pthread_mutex_lock(&fs->lock);
	merge_changes(fs, b);
	(void)fs_frees_merge(&fs->frees, &b->frees);
	pthread_mutex_unlock(&fs->lock);
	end_lists(b, false);
	for (size_t n = 0; n < b->block_count; n++) {
		b->blocks[n].is_stored = false;
		end_block(fs, &b->blocks[n]);
	}
	for (size_t n = 0; n < b->inode_count; n++)
		end_inode(fs, &b->inodes[n], false);
}

void fs_batch_release(struct fs *fs, struct fs_batch *b)
{
	(void)fs;
	for (size_t n = 0; n < b->inode_count; n++)
		buf_release(&b->inodes[n].rec);
	for (size_t n = 0; n < b->list_count; n++) {
		buf_release(&b->lists[n].final);
		buf_release(&b->lists[n].merged);
	}
	for (size_t n = 0; n < b->raised_count; n++)
		buf_release(&b->raised[n]);
	mem_free(b->raised);
	mem_free(b->blocks);
	mem_free(b->inodes);
	mem_free(b->lists);
	fs_nets_release(b);
	fs_changes_release(&b->changes);
	fs_frees_release(&b->frees);
	fs_ids_release(&b->orphans);
	buf_release(&b->journal);
	buf_release(&b->holder);
	mem_free(b);
}
