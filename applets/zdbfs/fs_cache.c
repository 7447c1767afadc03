/*
 * fs_cache: the gate, inodes in memory, and who holds them.
 *
 * An inode is in memory while it is pinned, dirty, or recently used. A dirty one holds a pin on itself. The references
 * that the kernel counts (lookups, opens) are kept apart, in a small record per number, so that an inode's memory can go
 * while the kernel still knows its number.
 */
#include <string.h>
#include <sys/stat.h>

#include "applets/zdbfs/fs_int.h"
#include "core/base/endian.h"
#include "core/base/mem.h"
#include "core/base/sys.h"

/* ------------------------------------------------------------------------------------------------- the gate */

void fs_gate_enter(struct fs *fs)
{
	pthread_mutex_lock(&fs->gate_lock);
	while (fs->gate_closed)
		pthread_cond_wait(&fs->gate_cond, &fs->gate_lock);
	fs->gate_inside++;
	pthread_mutex_unlock(&fs->gate_lock);
}

void fs_gate_leave(struct fs *fs)
{
	pthread_mutex_lock(&fs->gate_lock);
	if (--fs->gate_inside == 0 && fs->gate_closed)
		pthread_cond_broadcast(&fs->gate_cond);
	pthread_mutex_unlock(&fs->gate_lock);
}

void fs_gate_close(struct fs *fs)
{
	pthread_mutex_lock(&fs->gate_lock);
	BUG_ON(fs->gate_closed);
	fs->gate_closed = true;
	while (fs->gate_inside)
		pthread_cond_wait(&fs->gate_cond, &fs->gate_lock);
	pthread_mutex_unlock(&fs->gate_lock);
}

void fs_gate_open(struct fs *fs)
{
	pthread_mutex_lock(&fs->gate_lock);
	fs->gate_closed = false;
	pthread_cond_broadcast(&fs->gate_cond);
	pthread_mutex_unlock(&fs->gate_lock);
}

void fs_now(struct timespec *t)
{
	if (sys->clock_gettime(CLOCK_REALTIME, t) != 0)
		memset(t, 0, sizeof(*t));
}

/* ------------------------------------------------------------------------------------------- lists of numbers */

int fs_ids_add(struct fs_ids *ids, uint64_t id)
{
	if (ids->count == ids->cap) {
		size_t cap = ids->cap ? ids->cap * 2 : 32;
		uint64_t *v = mem_realloc_array(ids->v, cap, sizeof(*v));

		if (!v)
			return -ENOMEM;
		ids->v = v;
		ids->cap = cap;
	}
	ids->v[ids->count++] = id;
	return 0;
}

void fs_ids_release(struct fs_ids *ids)
{
	mem_free(ids->v);
	*ids = (struct fs_ids){0};
}

static bool fs_ids_remove(struct fs_ids *ids, uint64_t id)
{
	for (size_t i = 0; i < ids->count; i++) {
		if (ids->v[i] == id) {
			ids->v[i] = ids->v[--ids->count];
			return true;
		}
	}
	return false;
}

/* ---------------------------------------------------------------------------------------------- record <-> inode */

void fs_inode_to_fmt(const struct fs_inode *i, struct fmt_inode *f)
{
	*f = (struct fmt_inode){
		.mode = i->mode,
		.dev = i->dev,
		.uid = i->uid,
		.gid = i->gid,
		.size = i->size,
		.links = i->links,
		.atime = i->atime,
		.mtime = i->mtime,
		.ctime = i->ctime,
		.btime = i->btime,
		.xattr = i->xattr,
		.xattr_len = i->xattr_len,
		.map = i->map,
		.slot_count = i->map_count,
		.target = i->target,
	};
	if (i->dir)
		f->lists = i->dir->keys;
}

int fs_inode_from_record(struct fs_inode *i, const void *data, size_t len)
{
	struct fmt_inode f;
	int rc = fmt_inode_decode(&f, data, len);

	if (rc)
		return rc;
	i->mode = f.mode;
	i->dev = f.dev;
	i->uid = f.uid;
	i->gid = f.gid;
	i->size = i->disk_size = f.size;
	i->links = i->disk_links = f.links;
	i->atime = f.atime;
	i->mtime = f.mtime;
	i->ctime = f.ctime;
	i->btime = f.btime;
	if (f.xattr_len) {
		i->xattr = mem_dup(f.xattr, f.xattr_len);
		if (!i->xattr)
			return -ENOMEM;
		i->xattr_len = f.xattr_len;
	}
	if (S_ISDIR(f.mode)) {
		i->dir = fs_dir_new();
		if (!i->dir)
			return -ENOMEM;
		memcpy(i->dir->keys, f.lists, sizeof(i->dir->keys));
		for (unsigned h = 0; h < FMT_SLOTS; h++)
			i->dir->keys[h] = get_u64le(&i->dir->keys[h]);
		/* The original does not count links of directories; of an empty one the number is known. */
		if ((i->links == 0 || i->links == FMT_LINKS_UNKNOWN) && i->size == 0)
			i->links = 2;
	} else if (S_ISLNK(f.mode)) {
		i->target = mem_strndup(f.target, f.size);
		if (!i->target)
			return -ENOMEM;
	} else if (f.slot_count) {
		if (f.slot_count > FMT_SLOTS_MAX)
			return -E_CORRUPT;
		i->map = mem_dup(f.map, f.slot_count * 4);
		if (!i->map)
			return -ENOMEM;
		i->map_count = i->map_cap = (uint32_t)f.slot_count;
	}
	return 0;
}

void fs_attr_fill(const struct fs_inode *i, struct fs_attr *attr)
{
	*attr = (struct fs_attr){
		.ino = i->ino,
		.mode = i->mode,
		.nlink = i->links,
		.uid = i->uid,
		.gid = i->gid,
		.rdev = i->dev,
		.size = i->size,
		.atime = i->atime,
		.mtime = i->mtime,
		.ctime = i->ctime,
		.btime = i->btime,
	};
	/* 1 is how file systems say "not counted" for a directory */
	if (S_ISDIR(i->mode) && (i->links == FMT_LINKS_UNKNOWN || (i->links == 0 && !i->is_orphan)))
		attr->nlink = 1;
	if (S_ISREG(i->mode)) {
		uint64_t n = 0, left = i->size;

		/* Blocks that exist, or will: a hole takes none. The last one counts by what it holds. */
		for (uint32_t s = 0; s < i->map_count && left; s++) {
			uint64_t here = left < FMT_BLOCK ? left : FMT_BLOCK;

			if (fs_map_get(i, s))
				n += (here + 511) / 512;
			left -= here;
		}
		list_each(&i->blocks, it)
		{
			const struct fs_block *b = container_of(it, struct fs_block, in_inode);

			if ((b->is_in_flight || b->is_dirty) && !fs_map_get(i, b->slot))
				n += (b->len + 511u) / 512;
		}
		attr->blocks = n;
	} else if (S_ISDIR(i->mode)) {
		attr->blocks = (i->size + 511) / 512;
	}
}

/* ------------------------------------------------------------------------------------------------ pins */

static struct fs_inode *find(struct fs *fs, uint64_t ino)
{
	struct hmap_node *n = hmap_first_of(&fs->inodes, hmap_hash_u64(ino));

	while (n && container_of(n, struct fs_inode, node)->ino != ino)
		n = hmap_next_of(n);
	return n ? container_of(n, struct fs_inode, node) : NULL;
}

static struct fs_inode *inode_new(uint64_t ino)
{
	struct fs_inode *i = mem_calloc(1, sizeof(*i));

	if (!i)
		return NULL;
	i->ino = ino;
	list_init(&i->lru);
	list_init(&i->dirty);
	list_init(&i->blocks);
	pthread_mutex_init(&i->lock, NULL);
	return i;
}

void fs_inode_free(struct fs_inode *i)
{
	if (!i)
		return;
	BUG_ON(!list_is_empty(&i->blocks));
	fs_dir_free(i->dir);
	mem_free(i->target);
	mem_free(i->map);
	mem_free(i->xattr);
	pthread_mutex_destroy(&i->lock);
	mem_free(i);
}

static void insert(struct fs *fs, struct fs_inode *i)
{
	i->pins = 1;
	hmap_add(&fs->inodes, &i->node, hmap_hash_u64(i->ino));
	fs->inode_count++;
}

static void pin(struct fs_inode *i)
{
	if (i->pins++ == 0)
		list_del(&i->lru);
}

/* Lists that were prepared for a name that did not come hold a number. */
static void give_back_lists(struct fs *fs, struct fs_inode *i)
{
	for (unsigned h = 0; i->dir && h < FMT_SLOTS; h++)
		if (i->dir->lists[h] && i->dir->keys[h] == FMT_NO_LIST)
			fs_pool_give_back(fs, i->dir->lists[h]->key);
}

/* Takes an unpinned inode out of the table; fs->lock held. The caller frees it after unlocking. */
static void take_out(struct fs *fs, struct fs_inode *i)
{
	i->is_dying = true;
	list_del(&i->lru);
	hmap_del(&fs->inodes, &i->node);
	fs->inode_count--;
}

static void destroy(struct fs *fs, struct fs_inode *i)
{
	uint64_t ino = i->ino;
	bool give_back = i->give_back;

	fs_blocks_drop_all(fs, i);
	give_back_lists(fs, i);
	fs_inode_free(i);
	if (give_back)
		fs_pool_give_back(fs, ino);
}

static void trim(struct fs *fs)
{
	for (;;) {
		struct fs_inode *victim = NULL;
		struct list *l;

		pthread_mutex_lock(&fs->lock);
		l = fs->inode_count > fs->opt.inode_max ? list_first(&fs->inodes_lru) : NULL;
		if (l) {
			victim = container_of(l, struct fs_inode, lru);
			take_out(fs, victim);
		}
		pthread_mutex_unlock(&fs->lock);
		if (!victim)
			return;
		destroy(fs, victim);
	}
}

struct fs_inode *fs_peek(struct fs *fs, uint64_t ino)
{
	struct fs_inode *i;

	pthread_mutex_lock(&fs->lock);
	i = find(fs, ino);
	if (i)
		pin(i);
	pthread_mutex_unlock(&fs->lock);
	return i;
}

void fs_put(struct fs *fs, struct fs_inode *i)
{
	bool dead = false;

	if (!i)
		return;
	pthread_mutex_lock(&fs->lock);
	BUG_ON(!i->pins);
	if (--i->pins == 0) {
		list_add_tail(&fs->inodes_lru, &i->lru);
		dead = i->is_gone || !i->is_loaded;
		if (dead)
			take_out(fs, i);
	}
	pthread_mutex_unlock(&fs->lock);
	if (dead)
		destroy(fs, i);
	else
		trim(fs);
}

static int load(struct fs *fs, struct fs_inode *i)
{
	void *value = NULL;
	size_t len;
	int rc = kv_get(fs->kv, KV_META, i->ino, &value, &len);

	if (!rc) {
		rc = fs_inode_from_record(i, value, len);
		if (rc == -E_CORRUPT)
			log_err("cannot use inode %llu: its record of %zu bytes is damaged",
				(unsigned long long)i->ino, len);
	} else if (rc != -ENOENT && rc != -ESHUTDOWN) {
		log_every(1000, LOG_LEVEL_ERR, "cannot read inode %llu: %s", (unsigned long long)i->ino,
			  err_str(rc));
	}
	mem_free(value);
	if (rc == -E_CORRUPT)
		rc = -EIO;
	i->is_loaded = !rc;
	return rc;
}

int fs_get(struct fs *fs, uint64_t ino, struct fs_inode **out)
{
	struct fs_inode *i, *spare = NULL;
	int rc = 0;

	*out = NULL;
	if (ino == FMT_HEADER_KEY)
		return -ENOENT;
	i = fs_peek(fs, ino);
	if (!i) {
		spare = inode_new(ino);
		if (!spare)
			return -ENOMEM;
		pthread_mutex_lock(&fs->lock);
		i = find(fs, ino);
		if (i) {
			pin(i);
		} else {
			i = spare;
			spare = NULL;
			insert(fs, i);
		}
		pthread_mutex_unlock(&fs->lock);
		fs_inode_free(spare);
	}
	if (i->is_loaded) {
		fs->n_hit++;
	} else {
		/* Whoever comes first reads it; the others wait here, on this inode only. */
		pthread_mutex_lock(&i->lock);
		if (!i->is_loaded) {
			fs->n_miss++;
			rc = load(fs, i);
		}
		pthread_mutex_unlock(&i->lock);
	}
	if (!rc && i->is_gone)
		rc = -ENOENT;
	if (rc) {
		fs_put(fs, i);
		return rc;
	}
	*out = i;
	return 0;
}

void fs_preload(struct fs *fs, uint64_t ino, const void *data, size_t len)
{
	struct fs_inode *i = inode_new(ino);
	bool used = false;

	if (!i)
		return;
	if (!fs_inode_from_record(i, data, len)) {
		i->is_loaded = true;
		pthread_mutex_lock(&fs->lock);
		if (!find(fs, ino)) {
			insert(fs, i);
			used = true;
		}
		pthread_mutex_unlock(&fs->lock);
	}
	if (used)
		fs_put(fs, i);
	else
		fs_inode_free(i);
}

int fs_new(struct fs *fs, uint64_t ino, struct fs_inode **out)
{
	struct fs_inode *i = inode_new(ino);

	*out = i;
	if (!i)
		return -ENOMEM;
	i->is_loaded = i->is_new = true;
	pthread_mutex_lock(&fs->lock);
	BUG_ON(find(fs, ino));
	insert(fs, i);
	pthread_mutex_unlock(&fs->lock);
	return 0;
}

static void sort(struct fs_inode **v, size_t n)
{
	for (size_t a = 1; a < n; a++) {
		struct fs_inode *x = v[a];
		size_t b = a;

		for (; b && v[b - 1] && (!x || v[b - 1]->ino > x->ino); b--)
			v[b] = v[b - 1];
		v[b] = x;
	}
}

void fs_lock_many(struct fs_inode **v, size_t n)
{
	struct fs_inode *sorted[8], *last = NULL;

	BUG_ON(n > 8);
	memcpy(sorted, v, n * sizeof(*v));
	sort(sorted, n);
	for (size_t a = 0; a < n; a++) {
		if (sorted[a] && sorted[a] != last)
			pthread_mutex_lock(&sorted[a]->lock);
		if (sorted[a])
			last = sorted[a];
	}
}

void fs_unlock_many(struct fs_inode **v, size_t n)
{
	for (size_t a = 0; a < n; a++) {
		bool seen = !v[a];

		for (size_t b = 0; b < a; b++)
			seen = seen || v[b] == v[a];
		if (!seen)
			pthread_mutex_unlock(&v[a]->lock);
	}
}

void fs_mark_dirty(struct fs *fs, struct fs_inode *i)
{
	pthread_mutex_lock(&fs->lock);
	if (!i->is_dirty && !i->is_gone) {
		i->is_dirty = true;
		list_add_tail(&fs->dirty_inodes, &i->dirty);
		fs->dirty_count++;
		pin(i);
	}
	pthread_mutex_unlock(&fs->lock);
}

/* ------------------------------------------------------------------------------------- references from outside */

static struct fs_known *known_find(struct fs *fs, uint64_t ino)
{
	struct hmap_node *n = hmap_first_of(&fs->known, hmap_hash_u64(ino));

	while (n && container_of(n, struct fs_known, node)->ino != ino)
		n = hmap_next_of(n);
	return n ? container_of(n, struct fs_known, node) : NULL;
}

void fs_known_add(struct fs *fs, uint64_t ino, int64_t lookups, int64_t opens)
{
	struct fs_known *spare = lookups > 0 || opens > 0 ? mem_calloc(1, sizeof(*spare)) : NULL, *k;

	pthread_mutex_lock(&fs->lock);
	k = known_find(fs, ino);
	if (!k && spare) {
		k = spare;
		spare = NULL;
		k->ino = ino;
		hmap_add(&fs->known, &k->node, hmap_hash_u64(ino));
	}
	if (k) {
		/* More given back than taken would be the caller's mistake: never below nothing. */
		k->lookups =
			lookups < 0 && k->lookups < (uint64_t)-lookups ? 0 : k->lookups + (uint64_t)lookups;
		k->opens = opens < 0 && k->opens < (uint64_t)-opens ? 0 : k->opens + (uint64_t)opens;
		if (!k->lookups && !k->opens)
			hmap_del(&fs->known, &k->node);
		else
			k = NULL;
	}
	pthread_mutex_unlock(&fs->lock);
	mem_free(k);
	mem_free(spare);
}

static bool is_known(struct fs *fs, uint64_t ino)
{
	bool yes;

	pthread_mutex_lock(&fs->lock);
	yes = known_find(fs, ino) != NULL;
	pthread_mutex_unlock(&fs->lock);
	return yes;
}

/* ------------------------------------------------------------------------------------------------- orphans */

void fs_orphan_make(struct fs *fs, struct fs_inode *i)
{
	i->is_orphan = true;
	i->zero_stored = false;
	pthread_mutex_lock(&fs->lock);
	pin(i); /* its record does not say that it is one: out of memory, nobody would free it */
	if (fs_ids_add(&fs->orphans, i->ino))
		log_warn("no memory to remember inode %llu as unlinked: fsck will find it",
			 (unsigned long long)i->ino);
	pthread_mutex_unlock(&fs->lock);
	fs_mark_dirty(fs, i);
}

void fs_orphan_unmake(struct fs *fs, struct fs_inode *i)
{
	i->is_orphan = false;
	pthread_mutex_lock(&fs->lock);
	fs_ids_remove(&fs->orphans, i->ino);
	i->pins--; /* the caller holds another */
	pthread_mutex_unlock(&fs->lock);
}

static void queue_file(struct fs *fs, struct fs_inode *i)
{
	for (uint32_t s = 0; s < i->map_count; s++) {
		uint32_t id = fs_map_get(i, s);

		if (id)
			(void)fs_ids_add(&fs->frees.data, id); /* no memory: leaked, found by fsck */
	}
	i->map_count = 0;
}

static void queue_dir(struct fs *fs, struct fs_inode *i)
{
	for (unsigned h = 0; h < FMT_SLOTS; h++) {
		struct fs_dlist *l = i->dir->lists[h];

		if (i->dir->keys[h] == FMT_NO_LIST)
			continue;
		if (l && l->is_new && !l->in_batch)
			fs_pool_give_back(fs, l->key);
		else
			(void)fs_ids_add(&fs->frees.meta, i->dir->keys[h]);
		i->dir->keys[h] = FMT_NO_LIST;
		fs_dlist_free(l);
		i->dir->lists[h] = NULL;
	}
}

/*
 * Everything of the inode goes on the list of what is deleted after the running batch. Its number may be used again at
 * once when nothing was ever stored under it: nobody knows it any more. Inside the gate, inode locked.
 */
static void bury(struct fs *fs, struct fs_inode *i)
{
	bool reusable = i->is_new && !i->in_batch;

	fs_blocks_drop_all(fs, i);
	fs_orphan_unmake(fs, i);
	pthread_mutex_lock(&fs->lock);
	i->is_gone = true;
	if (i->dir)
		queue_dir(fs, i);
	else
		queue_file(fs, i);
	if (!reusable)
		(void)fs_ids_add(&fs->frees.inodes, i->ino);
	if (i->is_dirty) {
		i->is_dirty = false;
		list_del(&i->dirty);
		fs->dirty_count--;
		i->pins--; /* the caller holds another */
	}
	pthread_mutex_unlock(&fs->lock);
	i->give_back = reusable; /* once nobody holds it in memory either */
}

void fs_orphan_check(struct fs *fs, uint64_t ino)
{
	struct fs_inode *i = fs_peek(fs, ino);

	if (!i)
		return;
	pthread_mutex_lock(&i->lock);
	if (i->is_loaded && i->is_orphan && !i->is_gone && !is_known(fs, ino)) {
		fs_gate_enter(fs);
		bury(fs, i);
		fs_gate_leave(fs);
	}
	pthread_mutex_unlock(&i->lock);
	fs_put(fs, i);
}
