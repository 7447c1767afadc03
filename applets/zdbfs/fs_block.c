/*
 * fs_block: the bytes of files in memory.
 *
 * A block is 128 KiB of a file, in memory as far as it has been written or read. Its bytes are shared with readers that
 * answer from them and with the batch that stores them; whoever changes shared bytes copies them first.
 *
 * A block that is written in part and exists in the store starts fetching the rest at once but does not wait: until the
 * base is here, only the written ranges count. So write-back never waits for a segment that has to come from far away.
 *
 * What lies in a stored block behind the end of the file is not the file's. It is cut off when the block is read, and
 * stored anew before the file grows over it, so that old bytes never come back.
 */
#include <string.h>

#include "applets/zdbfs/fs_int.h"
#include "core/base/endian.h"
#include "core/base/mem.h"

/* ----------------------------------------------------------------------------------------------- shared bytes */

static struct fs_bytes *fs_bytes_new(uint32_t cap)
{
	struct fs_bytes *b = mem_alloc(sizeof(*b) + cap);

	if (b) {
		atomic_init(&b->refs, 1);
		b->cap = cap;
	}
	return b;
}

void fs_bytes_put(struct fs_bytes *b)
{
	if (b && atomic_fetch_sub(&b->refs, 1) == 1)
		mem_free(b);
}

/* Small files take little: capacities are powers of two from 512 bytes on. */
static uint32_t cap_for(uint32_t len)
{
	uint32_t cap = 512;

	while (cap < len)
		cap *= 2;
	return cap;
}

/* --------------------------------------------------------------------------------------------- the block map */

uint32_t fs_map_get(const struct fs_inode *i, uint32_t slot)
{
	uint32_t raw;

	if (slot >= i->map_count)
		return 0;
	raw = __atomic_load_n(&i->map[slot], __ATOMIC_RELAXED);
	return get_u32le(&raw);
}

void fs_map_set(struct fs_inode *i, uint32_t slot, uint32_t id)
{
	uint32_t raw;

	put_u32le(&raw, id);
	__atomic_store_n(&i->map[slot], raw, __ATOMIC_RELAXED);
}

int fs_map_grow(struct fs_inode *i, uint32_t count)
{
	if (count <= i->map_count)
		return 0;
	/* the record, with its trailer, must stay storable */
	if (FMT_FILE_BASE + (uint64_t)count * 4 + FS_TRAILER_BASE + i->xattr_len > FMT_RECORD_MAX)
		return -EFBIG;
	if (count > i->map_cap) {
		uint32_t cap = i->map_cap ? i->map_cap * 2 : 1;
		uint32_t *map;

		if (cap < count)
			cap = count;
		map = mem_realloc_array(i->map, cap, sizeof(*map));
		if (!map)
			return -ENOMEM;
		i->map = map;
		i->map_cap = cap;
	}
	memset(i->map + i->map_count, 0, (count - i->map_count) * sizeof(*i->map));
	i->map_count = count;
	return 0;
}

/* --------------------------------------------------------------------------------------------- the cache */

static uint64_t hash_of(uint64_t ino, uint32_t slot)
{
	return hmap_hash_u64(ino * FMT_SLOTS_MAX + slot);
}

struct fs_block *fs_block_find(struct fs *fs, struct fs_inode *i, uint32_t slot)
{
	struct fs_block *b = NULL;
	struct hmap_node *n;

	pthread_mutex_lock(&fs->lock);
	for (n = hmap_first_of(&fs->blocks, hash_of(i->ino, slot)); n && !b; n = hmap_next_of(n)) {
		struct fs_block *at = container_of(n, struct fs_block, node);

		if (at->inode == i && at->slot == slot)
			b = at;
	}
	if (b && !b->is_dirty && list_is_linked(&b->lru))
		list_move_tail(&fs->blocks_clean, &b->lru);
	pthread_mutex_unlock(&fs->lock);
	return b;
}

static struct fs_block *block_new(struct fs *fs, struct fs_inode *i, uint32_t slot)
{
	struct fs_block *b = mem_calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->fs = fs;
	b->inode = i;
	b->slot = slot;
	list_init(&b->lru);
	list_add_tail(&i->blocks, &b->in_inode);
	i->block_count++;
	pthread_mutex_lock(&fs->lock);
	hmap_add(&fs->blocks, &b->node, hash_of(i->ino, slot));
	fs->block_count++;
	pthread_mutex_unlock(&fs->lock);
	return b;
}

/* Puts other bytes in; the sums follow. */
static void set_bytes(struct fs *fs, struct fs_block *b, struct fs_bytes *bytes)
{
	struct fs_bytes *old = b->bytes;
	size_t before = old ? old->cap : 0, after = bytes ? bytes->cap : 0;

	pthread_mutex_lock(&fs->lock);
	fs->block_bytes += after - before;
	if (b->is_dirty)
		fs->dirty_bytes += after - before;
	b->bytes = bytes;
	pthread_mutex_unlock(&fs->lock);
	fs_bytes_put(old);
}

/* Own bytes with room for `len`. */
static int make_own(struct fs *fs, struct fs_block *b, uint32_t len)
{
	struct fs_bytes *bytes;

	if (b->bytes && b->bytes->cap >= len && atomic_load(&b->bytes->refs) == 1)
		return 0;
	bytes = fs_bytes_new(cap_for(len > b->len ? len : b->len));
	if (!bytes)
		return -ENOMEM;
	if (b->len)
		memcpy(bytes->data, b->bytes->data, b->len);
	set_bytes(fs, b, bytes);
	return 0;
}

static void block_free(struct fs *fs, struct fs_block *b)
{
	set_bytes(fs, b, NULL);
	mem_free(b);
}

void fs_block_free_dropped(struct fs *fs, struct fs_block *b)
{
	block_free(fs, b);
}

/* Takes the block out of its inode. It is freed here, or by whoever still uses it. Inode locked. */
void fs_block_drop(struct fs *fs, struct fs_block *b)
{
	bool used;

	list_del(&b->in_inode);
	b->inode->block_count--;
	pthread_mutex_lock(&fs->lock);
	hmap_del(&fs->blocks, &b->node);
	fs->block_count--;
	list_del(&b->lru);
	if (b->is_dirty)
		fs->dirty_bytes -= b->bytes ? b->bytes->cap : 0;
	b->is_dirty = false;
	b->inode = NULL;
	used = b->is_in_flight || b->is_fetching;
	pthread_mutex_unlock(&fs->lock);
	if (!used) {
		mem_free(b->req.value);
		block_free(fs, b);
	}
}

void fs_blocks_drop_all(struct fs *fs, struct fs_inode *i)
{
	struct list *l;

	while ((l = list_first(&i->blocks)))
		fs_block_drop(fs, container_of(l, struct fs_block, in_inode));
}

void fs_block_dirty(struct fs *fs, struct fs_block *b)
{
	pthread_mutex_lock(&fs->lock);
	if (!b->is_dirty) {
		b->is_dirty = true;
		fs->dirty_bytes += b->bytes ? b->bytes->cap : 0;
		list_del(&b->lru);
		list_add_tail(&fs->blocks_dirty, &b->lru);
	}
	pthread_mutex_unlock(&fs->lock);
}

/* A clean block whose inode's lock can be had goes; returns whether one did. */
static bool evict_one(struct fs *fs, struct fs_inode *held)
{
	struct fs_block *b = NULL;
	struct fs_inode *i = NULL;
	unsigned looked = 0;

	pthread_mutex_lock(&fs->lock);
	if (fs->block_bytes > fs->opt.cache_max) {
		list_each(&fs->blocks_clean, it)
		{
			struct fs_block *at = container_of(it, struct fs_block, lru);

			if (++looked > 32)
				break;
			if (at->inode->is_dying)
				continue;
			/* Trying a lock never waits, so the order of locks does not matter here. */
			if (at->inode != held && pthread_mutex_trylock(&at->inode->lock) != 0)
				continue;
			b = at;
			i = at->inode;
			if (i->pins++ == 0)
				list_del(&i->lru);
			break;
		}
	}
	pthread_mutex_unlock(&fs->lock);
	if (!b)
		return false;
	fs_block_drop(fs, b);
	if (i != held)
		pthread_mutex_unlock(&i->lock);
	fs_put(fs, i);
	return true;
}

void fs_blocks_trim(struct fs *fs, struct fs_inode *held)
{
	while (evict_one(fs, held))
		;
}

/* ------------------------------------------------------------------------------------------------ fetching */

static void fetched(struct kv_req *req)
{
	struct fs_block *b = req->ctx;
	struct fs *fs = b->fs;
	bool dead;

	pthread_mutex_lock(&fs->lock);
	b->is_fetching = false;
	fs->fetching--;
	dead = !b->inode;
	if (!dead && !b->is_dirty && !list_is_linked(&b->lru))
		list_add_tail(&fs->blocks_clean, &b->lru);
	fs->fetch_count++;
	if (dead) {
		mem_free(req->value);
		fs->block_bytes -= b->bytes ? b->bytes->cap : 0;
		fs_bytes_put(b->bytes);
		mem_free(b);
	}
	/* Last: the file system may be freed as soon as nothing is on its way. */
	pthread_cond_broadcast(&fs->fetched);
	pthread_mutex_unlock(&fs->lock);
}

static uint32_t bytes_inside(const struct fs_inode *i, uint32_t slot)
{
	uint64_t start = (uint64_t)slot * FMT_BLOCK;

	if (i->size <= start)
		return 0;
	return i->size - start < FMT_BLOCK ? (uint32_t)(i->size - start) : FMT_BLOCK;
}

static void fetch(struct fs *fs, struct fs_block *b, uint32_t id)
{
	struct kv_req *reqs[1] = {&b->req};

	b->req = (struct kv_req){.op = KV_GET, .role = KV_DATA, .key = id, .done = fetched, .ctx = b};
	b->needs_base = true;
	b->base_err = 0;
	pthread_mutex_lock(&fs->lock);
	b->is_fetching = true;
	fs->fetching++;
	pthread_mutex_unlock(&fs->lock);
	kv_submit(fs->kv, reqs, 1, 0);
}

void fs_block_refetch(struct fs *fs, struct fs_block *b)
{
	if (b->needs_base && !b->is_fetching && b->base_err)
		fetch(fs, b, fs_map_get(b->inode, b->slot));
}

int fs_block_want(struct fs *fs, struct fs_inode *i, uint32_t slot, struct fs_block **out)
{
	uint32_t id, inside;

	*out = fs_block_find(fs, i, slot);
	if (*out)
		return 0;
	id = fs_map_get(i, slot);
	inside = bytes_inside(i, slot);
	if (!id || !inside)
		return 0;
	*out = block_new(fs, i, slot);
	if (!*out)
		return -ENOMEM;
	(*out)->base_limit = inside;
	fetch(fs, *out, id);
	return 0;
}

/* Puts the base below what has been written since. */
static int merge(struct fs *fs, struct fs_block *b)
{
	uint32_t base_len = b->req.value_len < b->base_limit ? (uint32_t)b->req.value_len : b->base_limit;
	uint32_t len = base_len > b->len ? base_len : b->len;
	struct fs_bytes *bytes = fs_bytes_new(cap_for(len));

	if (!bytes)
		return -ENOMEM;
	memcpy(bytes->data, b->req.value, base_len);
	memset(bytes->data + base_len, 0, len - base_len);
	for (unsigned n = 0; n < b->range_count; n++)
		memcpy(bytes->data + b->ranges[n].from, b->bytes->data + b->ranges[n].from,
		       b->ranges[n].to - b->ranges[n].from);
	b->is_over = b->req.value_len > base_len;
	b->len = len;
	set_bytes(fs, b, bytes);
	b->range_count = 0;
	b->needs_base = false;
	mem_free(b->req.value);
	b->req.value = NULL;
	return 0;
}

int fs_block_settle(struct fs *fs, struct fs_block *b)
{
	bool waiting;
	int err;

	if (!b->needs_base)
		return 0;
	pthread_mutex_lock(&fs->lock);
	waiting = b->is_fetching;
	pthread_mutex_unlock(&fs->lock);
	if (waiting)
		return -EAGAIN;
	if (b->base_err)
		return b->base_err;
	err = b->req.err;
	if (!err && b->req.value_len > FMT_BLOCK)
		err = -E_CORRUPT;
	if (!err)
		return merge(fs, b);
	/* A block that is named but not there is lost data, never a hole. */
	log_every(1000, LOG_LEVEL_ERR, "cannot read block %llu (inode %llu, at %llu KiB): %s",
		  (unsigned long long)b->req.key, (unsigned long long)b->inode->ino,
		  (unsigned long long)b->slot * 128, err_str(err));
	mem_free(b->req.value);
	b->req.value = NULL;
	b->base_err = err == -ESHUTDOWN ? err : -EIO;
	return b->base_err;
}

int fs_block_get(struct fs *fs, struct fs_inode *i, uint32_t slot, struct fs_block **out, bool *waited)
{
	for (;;) {
		uint64_t seen;
		int rc;

		pthread_mutex_lock(&fs->lock);
		seen = fs->fetch_count;
		pthread_mutex_unlock(&fs->lock);
		rc = fs_block_want(fs, i, slot, out);
		if (rc || !*out)
			return rc;
		rc = fs_block_settle(fs, *out);
		if (rc && rc != -EAGAIN && rc != -ENOMEM) {
			/* Read again next time; what was written into it stays. */
			if (!(*out)->is_dirty)
				fs_block_drop(fs, *out);
			else
				fs_block_refetch(fs, *out);
		}
		if (rc != -EAGAIN)
			return rc;
		*waited = true;
		pthread_mutex_unlock(&i->lock);
		pthread_mutex_lock(&fs->lock);
		while (fs->fetch_count == seen)
			pthread_cond_wait(&fs->fetched, &fs->lock);
		pthread_mutex_unlock(&fs->lock);
		pthread_mutex_lock(&i->lock);
	}
}

/* ------------------------------------------------------------------------------------------------ changing */

/* Whether [from, to) can be noted in a block whose base is still missing. */
bool fs_block_has_room(const struct fs_block *b, uint32_t from, uint32_t to)
{
	if (!b->needs_base || b->range_count < FS_RANGES)
		return true;
	for (unsigned n = 0; n < b->range_count; n++)
		if (from <= b->ranges[n].to && to >= b->ranges[n].from)
			return true;
	return false;
}

static void note_range(struct fs_block *b, uint32_t from, uint32_t to)
{
	unsigned n = 0;

	/* swallow every range that it touches */
	while (n < b->range_count) {
		if (from <= b->ranges[n].to && to >= b->ranges[n].from) {
			from = from < b->ranges[n].from ? from : b->ranges[n].from;
			to = to > b->ranges[n].to ? to : b->ranges[n].to;
			b->ranges[n] = b->ranges[--b->range_count];
		} else {
			n++;
		}
	}
	BUG_ON(b->range_count == FS_RANGES);
	b->ranges[b->range_count].from = from;
	b->ranges[b->range_count].to = to;
	b->range_count++;
}

int fs_block_put(struct fs *fs, struct fs_inode *i, uint32_t slot, uint32_t from, const void *data,
		 uint32_t len)
{
	struct fs_block *b = fs_block_find(fs, i, slot);
	uint32_t to = from + len;
	int rc = fs_map_grow(i, slot + 1);

	if (rc)
		return rc;
	if (!b) {
		b = block_new(fs, i, slot);
		if (!b)
			return -ENOMEM;
	}
	rc = make_own(fs, b, to);
	if (rc)
		return rc;
	if (from > b->len)
		memset(b->bytes->data + b->len, 0, from - b->len);
	if (data)
		memcpy(b->bytes->data + from, data, len);
	else
		memset(b->bytes->data + from, 0, len);
	if (to > b->len)
		b->len = to;
	if (b->needs_base)
		note_range(b, from, to);
	fs_block_dirty(fs, b);
	return 0;
}

int fs_loose_add(struct fs *fs, uint64_t owner, uint64_t id)
{
	struct fs_frees *f = &fs->frees;
	int rc;

	pthread_mutex_lock(&fs->lock);
	rc = fs_ids_add(&f->loose, id);
	if (!rc && (!f->owners.count || f->owners.v[f->owners.count - 1] != owner))
		rc = fs_ids_add(&f->owners, owner);
	pthread_mutex_unlock(&fs->lock);
	return rc;
}

int fs_slot_clear(struct fs *fs, struct fs_inode *i, uint32_t slot)
{
	struct fs_block *b = fs_block_find(fs, i, slot);
	uint32_t id = fs_map_get(i, slot);
	int rc = 0;

	if (id) {
		rc = fs_loose_add(fs, i->ino, id);
		if (rc)
			return rc;
		fs_map_set(i, slot, 0);
	}
	if (b)
		fs_block_drop(fs, b);
	return 0;
}

/* The boundary block loses its tail in memory; in the store it keeps it until it is written or grown over. */
static void cut_tail(struct fs *fs, struct fs_block *b, uint32_t keep)
{
	unsigned n = 0;

	if (b->needs_base) {
		b->base_limit = b->base_limit < keep ? b->base_limit : keep;
		while (n < b->range_count) {
			if (b->ranges[n].from >= keep) {
				b->ranges[n] = b->ranges[--b->range_count];
				continue;
			}
			b->ranges[n].to = b->ranges[n].to < keep ? b->ranges[n].to : keep;
			n++;
		}
	}
	if (b->len > keep) {
		b->len = keep;
		b->is_over = true;
		/* A dirty block, or one that a batch is storing with the tail, is stored without it next. */
		if (b->is_in_flight)
			fs_block_dirty(fs, b);
	}
}

int fs_file_cut(struct fs *fs, struct fs_inode *i, uint64_t size)
{
	uint64_t slots = size / FMT_BLOCK + (size % FMT_BLOCK != 0);
	uint32_t first = slots < UINT32_MAX ? (uint32_t)slots : UINT32_MAX, keep = size % FMT_BLOCK;
	struct fs_block *b = keep && slots <= FMT_SLOTS_MAX ? fs_block_find(fs, i, first - 1) : NULL;
	int rc = 0;

	if (b)
		cut_tail(fs, b, keep);
	list_each_safe(&i->blocks, it)
	{
		struct fs_block *at = container_of(it, struct fs_block, in_inode);

		if (at->slot >= first && !fs_map_get(i, at->slot))
			fs_block_drop(fs, at);
	}
	for (uint32_t s = first; !rc && s < i->map_count; s++)
		rc = fs_slot_clear(fs, i, s);
	if (!rc && i->map_count > first)
		i->map_count = first;
	return rc;
}
