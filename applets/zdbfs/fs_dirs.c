/*
 * fs_dirs: directories in memory, and the record of what changed in them.
 *
 * A directory is 128 lists by the hash of the name; each is read when a name of its slot is first asked for. A list keeps
 * its entries in their stored form in one arena, with an array of offsets in the order of names: looking up is a binary
 * search, reading and storing are copies, and a million names cost little more than their bytes.
 */
#include <string.h>
#include <sys/stat.h>

#include "applets/zdbfs/fs_int.h"
#include "core/base/endian.h"
#include "core/base/mem.h"

struct fs_dir *fs_dir_new(void)
{
	struct fs_dir *d = mem_calloc(1, sizeof(*d));

	if (d)
		for (unsigned h = 0; h < FMT_SLOTS; h++)
			d->keys[h] = FMT_NO_LIST;
	return d;
}

void fs_dlist_free(struct fs_dlist *l)
{
	if (!l)
		return;
	mem_free(l->off);
	mem_free(l->arena);
	mem_free(l);
}

void fs_dir_free(struct fs_dir *d)
{
	if (!d)
		return;
	for (unsigned h = 0; h < FMT_SLOTS; h++)
		fs_dlist_free(d->lists[h]);
	mem_free(d);
}

struct fmt_entry fs_dlist_at(const struct fs_dlist *l, uint32_t index)
{
	struct fmt_entry e = {0};

	BUG_ON(index >= l->count);
	BUG_ON(fmt_entry_decode(&e, l->arena + l->off[index], l->used - l->off[index]));
	return e;
}

uint32_t fs_dlist_search(const struct fs_dlist *l, const char *name, size_t len, bool *found)
{
	uint32_t lo = 0, hi = l->count;

	*found = false;
	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		const uint8_t *p = l->arena + l->off[mid];
		int order = fmt_name_compare((const char *)p + FMT_ENTRY_HEAD, get_u16le(p), name, len);

		if (order == 0) {
			*found = true;
			return mid;
		}
		if (order < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

int fs_dlist_decode(struct fs_dlist *l, const void *data, size_t len)
{
	const uint8_t *entries;
	size_t entries_len, at = 0;
	uint32_t count;
	int rc = fmt_list_decode(data, len, &count, &entries, &entries_len);

	if (rc)
		return rc;
	l->off = mem_realloc_array(NULL, count + 4, sizeof(*l->off));
	l->arena = mem_alloc(entries_len + 64);
	if (!l->off || !l->arena)
		return -ENOMEM;
	l->cap = count + 4;
	l->size = (uint32_t)entries_len + 64;
	if (entries_len)
		memcpy(l->arena, entries, entries_len);
	for (; l->count < count; l->count++) {
		struct fmt_entry e, before;

		rc = fmt_entry_decode(&e, l->arena + at, entries_len - at);
		if (rc)
			return rc;
		l->off[l->count] = (uint32_t)at;
		at += e.size;
		l->used = (uint32_t)at;
		if (!l->count)
			continue;
		/* Out of order means that looking up would miss names: better no directory than half of one. */
		before = fs_dlist_at(l, l->count - 1);
		if (fmt_name_compare(before.name, before.name_len, e.name, e.name_len) >= 0)
			return -E_CORRUPT;
	}
	return 0;
}

int fs_dlist_encode(const struct fs_dlist *l, struct buf *out)
{
	int rc = buf_reserve(out, FMT_LIST_HEAD + l->used - l->dead);

	if (!rc)
		rc = fmt_list_head(out, l->key, l->count);
	for (uint32_t n = 0; !rc && n < l->count; n++) {
		const uint8_t *p = l->arena + l->off[n];

		rc = buf_append(out, p, FMT_ENTRY_HEAD + get_u16le(p) + 1u);
	}
	return rc;
}

/* --------------------------------------------------------------------------------------------------- loading */

/* Inside the gate, because the commit thread looks through the lists with the gate closed and no other lock. */
static void publish(struct fs *fs, struct fs_dir *d, unsigned slot, struct fs_dlist *l)
{
	fs_gate_enter(fs);
	d->lists[slot] = l;
	fs_gate_leave(fs);
}

int fs_dir_load(struct fs *fs, struct fs_inode *dir, unsigned slot)
{
	struct fs_dir *d = dir->dir;
	struct fs_dlist *l;
	void *value = NULL;
	size_t len;
	int rc;

	if (d->lists[slot] || d->keys[slot] == FMT_NO_LIST)
		return 0;
	l = mem_calloc(1, sizeof(*l));
	if (!l)
		return -ENOMEM;
	l->key = d->keys[slot];
	rc = kv_get(fs->kv, KV_META, l->key, &value, &len);
	if (!rc)
		rc = fs_dlist_decode(l, value, len);
	mem_free(value);
	if (rc) {
		log_every(1000, LOG_LEVEL_ERR, "cannot read list %llu of directory %llu: %s",
			  (unsigned long long)l->key, (unsigned long long)dir->ino, err_str(rc));
		fs_dlist_free(l);
		return rc == -ENOMEM || rc == -ESHUTDOWN ? rc : -EIO;
	}
	publish(fs, d, slot, l);
	return 0;
}

int fs_dir_load_all(struct fs *fs, struct fs_inode *dir)
{
	struct fs_dir *d = dir->dir;
	struct kv_req *reqs = mem_calloc(FMT_SLOTS, sizeof(*reqs));
	struct kv_req *ptrs[FMT_SLOTS];
	size_t n = 0;
	int rc = reqs ? 0 : -ENOMEM;

	for (unsigned h = 0; !rc && h < FMT_SLOTS; h++) {
		if (d->lists[h] || d->keys[h] == FMT_NO_LIST)
			continue;
		reqs[n] = (struct kv_req){.op = KV_GET, .role = KV_META, .key = d->keys[h]};
		ptrs[n] = &reqs[n];
		n++;
	}
	if (!rc && n)
		rc = kv_run(fs->kv, ptrs, n, 0);
	for (size_t at = 0, h = 0; at < n; h++) {
		struct fs_dlist *l;

		if (d->lists[h] || d->keys[h] == FMT_NO_LIST)
			continue;
		l = rc ? NULL : mem_calloc(1, sizeof(*l));
		if (!rc && !l)
			rc = -ENOMEM;
		if (!rc) {
			l->key = d->keys[h];
			rc = fs_dlist_decode(l, reqs[at].value, reqs[at].value_len);
		}
		if (rc)
			fs_dlist_free(l);
		else
			publish(fs, d, (unsigned)h, l);
		mem_free(reqs[at++].value);
	}
	mem_free(reqs);
	if (rc && rc != -ENOMEM && rc != -ESHUTDOWN) {
		log_every(1000, LOG_LEVEL_ERR, "cannot read directory %llu: %s", (unsigned long long)dir->ino,
			  err_str(rc));
		rc = -EIO;
	}
	return rc;
}

/* -------------------------------------------------------------------------------------------- looking, changing */

uint64_t fs_dir_find(const struct fs_inode *dir, const char *name, size_t len)
{
	const struct fs_dlist *l = dir->dir->lists[fmt_hash(name, len)];
	bool found;
	uint32_t at;

	if (!l)
		return 0;
	at = fs_dlist_search(l, name, len, &found);
	return found ? fs_dlist_at(l, at).ino : 0;
}

/* Without its dead bytes. The order of the arena becomes that of the names. */
static int compact(struct fs_dlist *l, size_t more)
{
	size_t live = l->used - l->dead, size = live + live / 4 + more + 64;
	uint8_t *arena = mem_alloc(size);
	uint32_t at = 0;

	if (!arena)
		return -ENOMEM;
	for (uint32_t n = 0; n < l->count; n++) {
		const uint8_t *p = l->arena + l->off[n];
		uint32_t bytes = FMT_ENTRY_HEAD + get_u16le(p) + 1u;

		memcpy(arena + at, p, bytes);
		l->off[n] = at;
		at += bytes;
	}
	mem_free(l->arena);
	l->arena = arena;
	l->used = at;
	l->size = (uint32_t)size;
	l->dead = 0;
	return 0;
}

static int make_room(struct fs_dlist *l, size_t len)
{
	size_t bytes = FMT_ENTRY_HEAD + len + 1;

	if (FMT_LIST_HEAD + l->used - l->dead + bytes > FMT_RECORD_MAX)
		return -ENOSPC;
	if (l->count == l->cap) {
		uint32_t cap = l->cap ? l->cap * 2 : 4;
		uint32_t *off = mem_realloc_array(l->off, cap, sizeof(*off));

		if (!off)
			return -ENOMEM;
		l->off = off;
		l->cap = cap;
	}
	return l->used + bytes > l->size ? compact(l, bytes) : 0;
}

/* Every change of a name needs one; an operation changes at most four, and there are never 64 threads in the gate. */
#define SPARE_CHANGES 256u

int fs_changes_reserve(struct fs *fs)
{
	int rc = 0;

	pthread_mutex_lock(&fs->lock);
	while (!rc && fs->spare_count < SPARE_CHANGES) {
		struct fs_change *ch = mem_alloc(sizeof(*ch) + FMT_NAME_MAX);

		rc = ch ? 0 : -ENOMEM;
		if (ch) {
			list_add_tail(&fs->spare_changes, &ch->link);
			fs->spare_count++;
		}
	}
	pthread_mutex_unlock(&fs->lock);
	return rc;
}

int fs_dir_prepare(struct fs *fs, struct fs_inode *dir, const char *name, size_t len)
{
	unsigned slot = fmt_hash(name, len);
	struct fs_dlist *l;
	int rc = fs_changes_reserve(fs);

	if (!rc)
		rc = fs_dir_load(fs, dir, slot);
	if (rc)
		return rc;
	l = dir->dir->lists[slot];
	if (!l) {
		l = mem_calloc(1, sizeof(*l));
		if (!l)
			return -ENOMEM;
		rc = fs_pool_take(fs, &l->key);
		if (rc) {
			mem_free(l);
			return rc;
		}
		l->is_new = true;
		publish(fs, dir->dir, slot, l);
	}
	/* This may move the entries, which the commit thread could be copying. */
	fs_gate_enter(fs);
	rc = make_room(l, len);
	fs_gate_leave(fs);
	return rc;
}

static void insert_at(struct fs_dlist *l, uint32_t at, const char *name, size_t len, uint64_t ino)
{
	uint8_t *p = l->arena + l->used;

	BUG_ON(l->count == l->cap || l->used + FMT_ENTRY_HEAD + len + 1 > l->size);
	memmove(l->off + at + 1, l->off + at, (l->count - at) * sizeof(*l->off));
	l->off[at] = l->used;
	put_u16le(p, (uint16_t)len);
	put_u64le(p + 2, ino);
	memcpy(p + FMT_ENTRY_HEAD, name, len);
	p[FMT_ENTRY_HEAD + len] = 0;
	l->used += (uint32_t)(FMT_ENTRY_HEAD + len + 1);
	l->count++;
}

int fs_dlist_add(struct fs_dlist *l, const char *name, size_t len, uint64_t ino)
{
	bool found;
	int rc = make_room(l, len);
	uint32_t at;

	if (rc)
		return rc;
	at = fs_dlist_search(l, name, len, &found);
	if (!found)
		insert_at(l, at, name, len, ino);
	return 0;
}

static void remove_at(struct fs_dlist *l, uint32_t at, size_t len)
{
	l->dead += (uint32_t)(FMT_ENTRY_HEAD + len + 1);
	memmove(l->off + at, l->off + at + 1, (l->count - at - 1) * sizeof(*l->off));
	l->count--;
}

static bool is_dots(const char *name, size_t len)
{
	return name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.'));
}

static uint64_t change_hash(uint64_t dir, const char *name, size_t len)
{
	struct {
		uint64_t dir;
		char name[FMT_NAME_MAX + 1];
	} key = {.dir = dir};

	memcpy(key.name, name, len);
	return hmap_hash(&key, sizeof(key.dir) + len);
}

struct fs_change *fs_change_find(struct fs_changes *c, uint64_t dir, const char *name, size_t len)
{
	struct hmap_node *n = hmap_first_of(&c->map, change_hash(dir, name, len));

	for (; n; n = hmap_next_of(n)) {
		struct fs_change *ch = container_of(n, struct fs_change, node);

		if (ch->dir == dir && ch->len == len && memcmp(ch->name, name, len) == 0)
			return ch;
	}
	return NULL;
}

void fs_change_insert(struct fs_changes *c, struct fs_change *ch)
{
	hmap_add(&c->map, &ch->node, change_hash(ch->dir, ch->name, ch->len));
	list_add_tail(&c->list, &ch->link);
	c->count++;
	c->bytes += FMT_INTENT_HEAD + 2u * ch->len;
}

static void note(struct fs *fs, uint64_t dir, const char *name, size_t len, uint64_t old_ino,
		 uint64_t new_ino)
{
	struct fs_change *ch;

	pthread_mutex_lock(&fs->lock);
	ch = fs_change_find(&fs->changes, dir, name, len);
	if (ch) {
		ch->new_ino = new_ino;
	} else {
		struct list *spare = list_pop(&fs->spare_changes);

		BUG_ON(!spare); /* fs_dir_prepare() made some */
		fs->spare_count--;
		ch = container_of(spare, struct fs_change, link);
		ch->dir = dir;
		ch->old_ino = old_ino;
		ch->new_ino = new_ino;
		ch->len = (uint16_t)len;
		memcpy(ch->name, name, len);
		fs_change_insert(&fs->changes, ch);
	}
	pthread_mutex_unlock(&fs->lock);
}

void fs_dir_set(struct fs *fs, struct fs_inode *dir, const char *name, size_t len, uint64_t ino)
{
	unsigned slot = fmt_hash(name, len);
	struct fs_dlist *l = dir->dir->lists[slot];
	bool found = false, dots = is_dots(name, len);
	uint32_t at = l ? fs_dlist_search(l, name, len, &found) : 0;
	uint64_t old = found ? fs_dlist_at(l, at).ino : 0;

	if (old == ino)
		return;
	BUG_ON(!l);
	if (found && ino) {
		put_u64le(l->arena + l->off[at] + 2, ino);
	} else if (ino) {
		insert_at(l, at, name, len, ino);
		dir->size += dots ? 0 : FMT_ENTRY_HEAD + 1 + len;
	} else {
		remove_at(l, at, len);
		dir->size -= dots || dir->size < FMT_ENTRY_HEAD + 1 + len ? 0 : FMT_ENTRY_HEAD + 1 + len;
	}
	dir->dir->keys[slot] = l->key;
	l->is_dirty = true;
	fs_mark_dirty(fs, dir);
	if (!dots)
		note(fs, dir->ino, name, len, old, ino);
}

void fs_dlist_remove(struct fs_dlist *l, uint32_t at)
{
	remove_at(l, at, fs_dlist_at(l, at).name_len);
}

bool fs_dir_is_empty(const struct fs_inode *dir)
{
	for (unsigned h = 0; h < FMT_SLOTS; h++) {
		const struct fs_dlist *l = dir->dir->lists[h];

		for (uint32_t n = 0; l && n < l->count; n++) {
			struct fmt_entry e = fs_dlist_at(l, n);

			if (!is_dots(e.name, e.name_len))
				return false;
		}
	}
	return true;
}

void fs_changes_init(struct fs_changes *c)
{
	*c = (struct fs_changes){0};
	list_init(&c->list);
}

void fs_changes_release(struct fs_changes *c)
{
	struct list *l;

	while ((l = list_pop(&c->list)))
		mem_free(container_of(l, struct fs_change, link));
	hmap_release(&c->map);
	fs_changes_init(c);
}
