/*
 * fs_redo: what a mount does after a crash, on the store itself, before anything is in memory.
 *
 * J says which names were changing hands in the batch that may have been cut, and which inodes had no name. Everything
 * here tests before it changes: a name must still lead to the inode it had, or already to the new one; else somebody else
 * was here, and the intent is dropped and logged. It may be interrupted at any point and begun again, because J stays
 * until the first batch of the mount replaces it.
 *
 * A name counts as not there when its directory is itself being removed by this J, or is a new directory that nothing
 * leads to yet (its contents are a leak, which the sweep takes).
 */
#include <string.h>
#include <sys/stat.h>

#include "applets/zdbfs/fs_int.h"
#include "core/base/endian.h"
#include "core/base/mem.h"

#define AT_LINKS 28

enum verdict { UNKNOWN, ASKING, YES, NO };

/* A directory or file that J mentions. */
struct node {
	struct hmap_node by_ino;
	uint64_t ino;
	uint8_t *rec;
	size_t len;
	struct fmt_inode f; /* borrows from rec */
	bool is_loaded, is_there, is_dir, lost_list;
	bool has_links, is_file_intent; /* some intent says its links */
	uint32_t all, absent;           /* LINK intents: names when all are there, and how many are not */
	enum verdict removed, linked;
	struct fs_dlist *lists[FMT_SLOTS]; /* directories */
	bool dirty[FMT_SLOTS], rec_dirty;
};

struct redo {
	struct kv *kv;
	struct fmt_journal j;
	struct fmt_intent *intents;
	size_t count;
	struct hmap nodes;
	struct fs_ids free_data, free_meta, free_inodes;
	struct fs_redo_result *r;
	int rc; /* the first error of the store: nothing is decided on what could not be read */
};

static struct node *node_of(struct redo *d, uint64_t ino)
{
	struct hmap_node *n = hmap_first_of(&d->nodes, hmap_hash_u64(ino));
	struct node *node;

	while (n && container_of(n, struct node, by_ino)->ino != ino)
		n = hmap_next_of(n);
	if (n)
		return container_of(n, struct node, by_ino);
	node = mem_calloc(1, sizeof(*node));
	if (!node) {
		d->rc = -ENOMEM;
		return NULL;
	}
	node->ino = ino;
	hmap_add(&d->nodes, &node->by_ino, hmap_hash_u64(ino));
	return node;
}

/* Reads the record; a placeholder or anything else that is no inode counts as not there. */
static struct node *load(struct redo *d, uint64_t ino)
{
	struct node *n = node_of(d, ino);
	int rc;

	if (!n || n->is_loaded || d->rc)
		return d->rc ? NULL : n;
	rc = kv_get(d->kv, KV_META, ino, (void **)&n->rec, &n->len);
	if (rc && rc != -ENOENT) {
		d->rc = rc;
		return NULL;
	}
	n->is_loaded = true;
	n->is_there = !rc && !fmt_inode_decode(&n->f, n->rec, n->len);
	n->is_dir = n->is_there && S_ISDIR(n->f.mode);
	return n;
}

static struct fs_dlist *list_of(struct redo *d, struct node *dir, unsigned slot)
{
	uint64_t key = get_u64le((const uint8_t *)dir->f.lists + slot * 8);
	struct fs_dlist *l;
	void *value = NULL;
	size_t len;

	if (dir->lists[slot] || key == FMT_NO_LIST || d->rc)
		return dir->lists[slot];
	l = mem_calloc(1, sizeof(*l));
	d->rc = l ? kv_get(d->kv, KV_META, key, &value, &len) : -ENOMEM;
	if (!d->rc) {
		l->key = key;
		d->rc = fs_dlist_decode(l, value, len);
	}
	mem_free(value);
	if (d->rc == -ENOENT) { /* a directory that was being deleted: its lists go first */
		dir->lost_list = true;
		d->rc = 0;
		fs_dlist_free(l);
		return NULL;
	}
	if (d->rc) {
		fs_dlist_free(l);
		return NULL;
	}
	dir->lists[slot] = l;
	return l;
}

/* What the directory's own lists say. */
static uint64_t raw_find(struct redo *d, uint64_t dir_ino, const char *name, size_t len)
{
	struct node *dir = load(d, dir_ino);
	struct fs_dlist *l;
	bool found;
	uint32_t at;

	if (!dir || !dir->is_dir)
		return 0;
	l = list_of(d, dir, fmt_hash(name, len));
	if (!l)
		return 0;
	at = fs_dlist_search(l, name, len, &found);
	return found ? fs_dlist_at(l, at).ino : 0;
}

static bool holds(struct redo *d, struct node *dir, uint64_t ino)
{
	for (unsigned h = 0; h < FMT_SLOTS && !d->rc; h++) {
		struct fs_dlist *l = list_of(d, dir, h);

		for (uint32_t n = 0; l && n < l->count; n++) {
			struct fmt_entry e = fs_dlist_at(l, n);

			if (e.ino == ino &&
			    !(e.name[0] == '.' && (e.name_len == 1 || (e.name_len == 2 && e.name[1] == '.'))))
				return true;
		}
	}
	return false;
}

/* Whether anything leads to a directory that this J's batch may have made. Ours have a right "..". */
static bool is_linked(struct redo *d, uint64_t ino)
{
	struct node *n = load(d, ino), *parent;
	uint64_t up;

	if (!n || ino == FMT_ROOT_INO || ino < d->j.next_meta)
		return true;
	if (n->linked == UNKNOWN) {
		n->linked = ASKING;
		up = n->is_dir ? raw_find(d, ino, "..", 2) : 0;
		parent = up ? load(d, up) : NULL;
		n->linked = parent && parent->is_dir && holds(d, parent, ino) && is_linked(d, up) ? YES : NO;
	}
	return n->linked == YES;
}

static bool is_removed(struct redo *d, uint64_t ino);

/* Whether the name leads to the inode, for good. */
static bool is_there(struct redo *d, const struct fmt_intent *in)
{
	return raw_find(d, in->to_dir, in->to, in->to_len) == in->ino && !is_removed(d, in->to_dir) &&
	       is_linked(d, in->to_dir);
}

/* Whether J removes this directory and got as far as taking its name away. */
static bool is_removed(struct redo *d, uint64_t ino)
{
	struct node *n = load(d, ino);

	if (!n || !n->is_dir || n->removed == ASKING)
		return false;
	if (n->removed == UNKNOWN) {
		n->removed = ASKING;
		for (size_t k = 0; k < d->count; k++)
			if (d->intents[k].kind == FMT_LINK && d->intents[k].ino == ino &&
			    !is_there(d, &d->intents[k]))
				n->removed = YES;
		if (n->removed == ASKING)
			n->removed = NO;
	}
	return n->removed == YES;
}

/* ------------------------------------------------------------------------------------------------- names */

static int set_name(struct redo *d, uint64_t dir_ino, const char *name, size_t len, uint64_t ino)
{
	unsigned slot = fmt_hash(name, len);
	struct node *dir = load(d, dir_ino);
	struct fs_dlist *l = dir && dir->is_dir ? list_of(d, dir, slot) : NULL;
	bool found = false;
	uint32_t at;

	if (d->rc || !dir || !dir->is_dir)
		return d->rc;
	if (dir->lost_list) {
		d->r->dropped++;
		return 0;
	}
	if (!l && ino) {
		uint64_t key = KV_NEW;

		l = mem_calloc(1, sizeof(*l));
		d->rc = l ? kv_set(d->kv, KV_META, &key, "L", 1) : -ENOMEM;
		if (d->rc) {
			mem_free(l);
			return d->rc;
		}
		l->key = key;
		dir->lists[slot] = l;
		put_u64le(dir->rec + FMT_INODE_BASE + slot * 8, key);
		dir->rec_dirty = true;
	}
	if (!l)
		return 0;
	at = fs_dlist_search(l, name, len, &found);
	if (found)
		fs_dlist_remove(l, at);
	if (ino)
		d->rc = fs_dlist_add(l, name, len, ino);
	dir->dirty[slot] = true;
	return d->rc;
}

static bool same(uint64_t dir, const char *name, uint16_t len, uint64_t dir2, const char *name2,
		 uint16_t len2)
{
	return dir == dir2 && len == len2 && memcmp(name, name2, len) == 0;
}

/* What this J puts at the name that the intent moves away from; *completes: by a move, which is redone as well. */
static uint64_t successor(const struct redo *d, const struct fmt_intent *in, bool *completes)
{
	*completes = true;
	if (in->kind == FMT_EXCHANGE)
		return in->old_ino;
	for (size_t k = 0; k < d->count; k++) {
		const struct fmt_intent *o = &d->intents[k];

		*completes = o->kind == FMT_RENAME || o->kind == FMT_MAKE;
		if (o->kind != FMT_EXCHANGE && o->ino != in->ino &&
		    same(in->from_dir, in->from, in->from_len, o->to_dir, o->to, o->to_len))
			return o->ino;
	}
	*completes = true;
	return 0;
}

static void redo_move(struct redo *d, const struct fmt_intent *in)
{
	uint64_t at_from = raw_find(d, in->from_dir, in->from, in->from_len);
	uint64_t at_to = raw_find(d, in->to_dir, in->to, in->to_len), next;
	bool completes;
	struct node *from_dir = load(d, in->from_dir);

	if (d->rc || !is_linked(d, in->to_dir))
		return;
	next = successor(d, in, &completes);
	if (!from_dir->is_dir)
		at_from = next; /* removed and deleted since: nothing left to do there */
	/* no name any more where it came from: an earlier redo did that */
	if ((at_to != in->old_ino && at_to != in->ino) ||
	    (at_from && at_from != in->ino && at_from != next)) {
		d->r->dropped++;
		log_warn("a rename that a crash interrupted is left as it is: its names have changed since "
			 "(inode %llu)",
			 (unsigned long long)in->ino);
		return;
	}
	if (at_to != in->ino)
		(void)set_name(d, in->to_dir, in->to, in->to_len, in->ino);
	if (at_from == in->ino && next != in->ino && from_dir->is_dir)
		(void)set_name(d, in->from_dir, in->from, in->from_len, completes ? next : 0);
	d->r->intents++;
}

/* A new directory whose records are there gets its name. */
static void redo_make(struct redo *d, const struct fmt_intent *in)
{
	uint64_t at = raw_find(d, in->to_dir, in->to, in->to_len);

	if (d->rc || at == in->ino)
		return;
	if (at != in->old_ino) {
		d->r->dropped++;
		log_warn("a new directory stays without its name, which has changed since (inode %llu)",
			 (unsigned long long)in->ino);
		return;
	}
	(void)set_name(d, in->to_dir, in->to, in->to_len, in->ino);
	d->r->intents++;
}

/*
 * New directories are stored before any change to the list of an old one, and those last that a name moves into. Where one of these is not
 * there, nothing has moved yet, and nothing is moved: the name's old place may be another's by this J. Where they all are, so is
 * everything in them.
 */
static bool may_move(struct redo *d)
{
	for (size_t k = 0; k < d->count; k++) {
		const struct node *n;

		if (d->intents[k].kind != FMT_MAKE)
			continue;
		n = load(d, d->intents[k].ino);
		if (!n || !n->is_dir)
			return false;
	}
	return true;
}

static void redo_names(struct redo *d)
{
	if (!may_move(d))
		return;
	for (size_t k = 0; k < d->count && !d->rc; k++)
		if (d->intents[k].kind == FMT_MAKE)
			redo_make(d, &d->intents[k]);
	for (size_t k = 0; k < d->count && !d->rc; k++)
		if (d->intents[k].kind == FMT_RENAME || d->intents[k].kind == FMT_EXCHANGE)
			redo_move(d, &d->intents[k]);
}

/* ------------------------------------------------------------------------------------------------- links */

static void count_links(struct redo *d)
{
	for (size_t k = 0; k < d->count && !d->rc; k++) {
		const struct fmt_intent *in = &d->intents[k];
		struct node *n = load(d, in->ino);

		if (!n)
			return;
		n->has_links = true;
		if (in->kind == FMT_LINK) {
			n->all = in->links;
			n->absent += !is_there(d, in);
		} else if (!n->all && !n->absent) {
			n->all = in->links;
		}
		if (in->kind == FMT_EXCHANGE) {
			struct node *o = load(d, in->old_ino);

			if (o && !o->has_links) {
				o->has_links = true;
				o->all = in->old_links;
			}
		}
	}
}

/* Every name that is left in a removed directory must be one that J accounts for. */
static bool may_free_dir(struct redo *d, struct node *dir)
{
	for (unsigned h = 0; h < FMT_SLOTS && !d->rc; h++) {
		struct fs_dlist *l = list_of(d, dir, h);

		for (uint32_t n = 0; l && n < l->count; n++) {
			struct fmt_entry e = fs_dlist_at(l, n);
			bool known = e.name[0] == '.' &&
				     (e.name_len == 1 || (e.name_len == 2 && e.name[1] == '.'));

			for (size_t k = 0; !known && k < d->count; k++) {
				const struct fmt_intent *in = &d->intents[k];

				known = same(dir->ino, e.name, (uint16_t)e.name_len, in->to_dir, in->to,
					     in->to_len) ||
					same(dir->ino, e.name, (uint16_t)e.name_len, in->from_dir, in->from,
					     in->from_len);
			}
			if (!known)
				return false;
		}
	}
	return !d->rc;
}

/* Zeroes in `map` what is also in `other`: both may be long, so `other` is put into a table first. */
static void drop_common(uint8_t *map, uint64_t count, const uint8_t *other, uint64_t other_count)
{
	struct pair {
		struct hmap_node node;
		uint32_t id;
	} *pairs = other_count ? mem_calloc((size_t)other_count, sizeof(*pairs)) : NULL;
	struct hmap table = {0};

	if (other_count && !pairs) {
		memset(map, 0, (size_t)count * 4); /* no memory to tell: nothing is freed */
		return;
	}
	for (uint64_t k = 0; k < other_count; k++) {
		pairs[k].id = get_u32le(other + k * 4);
		hmap_add(&table, &pairs[k].node, hmap_hash_u64(pairs[k].id));
	}
	for (uint64_t k = 0; k < count; k++) {
		struct hmap_node *h = hmap_first_of(&table, hmap_hash_u64(get_u32le(map + k * 4)));

		if (h && container_of(h, struct pair, node)->id == get_u32le(map + k * 4))
			put_u32le(map + k * 4, 0);
	}
	hmap_release(&table);
	mem_free(pairs);
}

/* Blocks that one of the files which gave them up still refers to are not free. */
static void keep_referenced(struct redo *d, struct node *n, uint8_t *map)
{
	struct fmt_xattr x;
	size_t off = 0;

	while (fmt_xattr_next(n->f.xattr, n->f.xattr_len, &off, &x) > 0) {
		if (x.name_len != sizeof(FS_OWNERS) - 1 || memcmp(x.name, FS_OWNERS, x.name_len) != 0)
			continue;
		for (size_t k = 0; k + 8 <= x.value_len && !d->rc; k += 8) {
			struct node *o = load(d, get_u64le(x.value + k));

			if (o && o->is_there && !o->is_dir)
				drop_common(map, n->f.slot_count, o->f.map, o->f.slot_count);
		}
	}
}

static void free_node(struct redo *d, struct node *n)
{
	int rc = 0;

	if (n->is_dir && !may_free_dir(d, n)) {
		d->r->dropped++;
		log_warn("directory %llu has no name but is not empty: it is left to fsck",
			 (unsigned long long)n->ino);
		return;
	}
	for (unsigned h = 0; n->is_dir && h < FMT_SLOTS; h++) {
		uint64_t key = get_u64le(n->rec + FMT_INODE_BASE + h * 8);

		if (key != FMT_NO_LIST)
			rc = rc ? rc : fs_ids_add(&d->free_meta, key);
		n->dirty[h] = false;
	}
	if (!n->is_dir && n->f.xattr_len)
		keep_referenced(d, n, n->rec + FMT_FILE_BASE);
	for (uint64_t s = 0; !n->is_dir && s < n->f.slot_count; s++) {
		uint32_t id = get_u32le((const uint8_t *)n->f.map + s * 4);

		if (id)
			rc = rc ? rc : fs_ids_add(&d->free_data, id);
	}
	if (!rc)
		rc = fs_ids_add(&d->free_inodes, n->ino);
	d->r->orphans++;
	if (rc)
		d->rc = rc;
}

static void set_links(struct redo *d, struct node *n)
{
	uint32_t right = n->all > n->absent ? n->all - n->absent : 0;

	if (!n->is_there || !n->has_links)
		return;
	if (n->is_dir) {
		if (is_removed(d, n->ino))
			free_node(d, n);
		return;
	}
	if (n->f.links > right) {
		put_u32le(n->rec + AT_LINKS, right);
		n->f.links = right;
		n->rec_dirty = true;
		d->r->links++;
	}
	if (right == 0)
		free_node(d, n);
}

static void free_orphans(struct redo *d)
{
	for (uint32_t k = 0; k < d->j.orphan_count && !d->rc; k++) {
		uint64_t ino = fmt_journal_orphan(&d->j, k);
		struct node *n = load(d, ino);

		if (!n || n->has_links)
			continue;
		if (n->is_there && n->f.links == 0 && ino != FMT_ROOT_INO)
			free_node(d, n);
		else if (!n->is_there && n->rec && n->len == 1)
			d->rc = fs_ids_add(&d->free_inodes, ino); /* its placeholder */
	}
}

/* ------------------------------------------------------------------------------------------------- storing */

static void store_node(struct redo *d, struct node *n)
{
	struct buf b = BUF_INIT(FMT_RECORD_MAX);

	for (unsigned h = 0; h < FMT_SLOTS && !d->rc; h++) {
		if (!n->dirty[h])
			continue;
		buf_clear(&b);
		d->rc = fs_dlist_encode(n->lists[h], &b);
		if (!d->rc)
			d->rc = kv_set(d->kv, KV_META, &n->lists[h]->key, b.data, b.len);
	}
	if (!d->rc && n->rec_dirty)
		d->rc = kv_set(d->kv, KV_META, &n->ino, n->rec, n->len);
	buf_release(&b);
}

/* All lists before any record whose links sink. */
static void store_all(struct redo *d)
{
	for (int files = 0; files < 2; files++) {
		struct hmap_iter it = {0};
		struct hmap_node *h;

		while (!d->rc && (h = hmap_each(&d->nodes, &it))) {
			struct node *n = container_of(h, struct node, by_ino);

			if (n->is_there && n->is_dir == !files)
				store_node(d, n);
		}
	}
	if (!d->rc)
		d->rc = kv_sync(d->kv, KV_META);
}

static void delete_ids(struct redo *d, enum kv_role role, const struct fs_ids *ids)
{
	for (size_t n = 0; n < ids->count && !d->rc; n++) {
		int rc = kv_del(d->kv, role, ids->v[n]);

		if (rc && rc != -ENOENT)
			d->rc = rc;
	}
}

static void delete_all(struct redo *d)
{
	delete_ids(d, KV_DATA, &d->free_data);
	if (!d->rc)
		d->rc = kv_sync(d->kv, KV_DATA);
	delete_ids(d, KV_META, &d->free_meta);
	delete_ids(d, KV_META, &d->free_inodes);
	if (!d->rc)
		d->rc = kv_sync(d->kv, KV_META);
}

static int read_intents(struct redo *d)
{
	struct fmt_intent in;
	size_t off = 0;

	d->intents = mem_calloc(d->j.intent_count + 1u, sizeof(*d->intents));
	if (!d->intents)
		return -ENOMEM;
	while (d->count < d->j.intent_count && fmt_journal_next_intent(&d->j, &off, &in) > 0)
		d->intents[d->count++] = in;
	return 0;
}

static void release(struct redo *d)
{
	struct hmap_iter it = {0};
	struct hmap_node *h;

	while ((h = hmap_each(&d->nodes, &it))) {
		struct node *n = container_of(h, struct node, by_ino);

		for (unsigned k = 0; k < FMT_SLOTS; k++)
			fs_dlist_free(n->lists[k]);
		mem_free(n->rec);
		mem_free(n);
	}
	hmap_release(&d->nodes);
	mem_free(d->intents);
	fs_ids_release(&d->free_data);
	fs_ids_release(&d->free_meta);
	fs_ids_release(&d->free_inodes);
}

/* Directories whose lists may be newer than their own record. */
static void note_dirs(struct redo *d, struct fs_ids *dirs)
{
	struct hmap_iter it = {0};
	struct hmap_node *h;

	while (!d->rc && (h = hmap_each(&d->nodes, &it))) {
		struct node *n = container_of(h, struct node, by_ino);

		if (n->is_dir && n->removed != YES)
			d->rc = fs_ids_add(dirs, n->ino);
	}
}

static int redo_journal(struct fs *fs, bool with_intents, const void *rec, size_t len, struct fs_ids *dirs,
			struct fs_redo_result *r)
{
	struct redo d = {.kv = fs->kv, .r = r};
	struct hmap_iter it = {0};
	struct hmap_node *h;

	d.rc = fmt_journal_decode(&d.j, rec, len);
	if (!d.rc && with_intents)
		d.rc = read_intents(&d);
	if (!d.rc)
		redo_names(&d);
	count_links(&d);
	free_orphans(&d);
	while (!d.rc && (h = hmap_each(&d.nodes, &it)))
		set_links(&d, container_of(h, struct node, by_ino));
	if (!d.rc)
		store_all(&d);
	if (!d.rc)
		delete_all(&d);
	note_dirs(&d, dirs);
	release(&d);
	return d.rc;
}

int fs_redo(struct fs *fs, const struct fmt_header *h, struct fs_redo_result *r, struct err_text *err)
{
	unsigned state = h->flags & (FMT_FLAG_JOURNAL | FMT_FLAG_MOUNTED);
	uint64_t from_meta = 1, from_data = 1;
	struct fs_ids dirs = {0};
	struct fmt_journal j;
	void *rec = NULL;
	size_t len;
	int rc;

	memset(r, 0, sizeof(*r));
	if (h->journal_key) {
		rc = kv_get(fs->kv, KV_META, h->journal_key, &rec, &len);
		if (!rc)
			rc = fmt_journal_decode(&j, rec, len);
		if (rc == -E_CORRUPT || rc == -ENOENT) {
			log_warn("the intent record %llu cannot be used: %s; all records are checked instead",
				 (unsigned long long)h->journal_key, err_str(rc));
			mem_free(rec);
			rec = NULL;
			rc = 0;
		}
		if (rc) {
			mem_free(rec);
			return err_set(err, rc, "cannot read the intent record: %s", err_str(rc));
		}
	}
	if (rec) {
		fs->mount_number = j.mount;
		fs->batch_number = j.batch;
	}
	rc = 0;
	if (state & FMT_FLAG_JOURNAL && rec) {
		rc = redo_journal(fs, state & FMT_FLAG_MOUNTED, rec, len, &dirs, r);
		from_meta = j.next_meta;
		from_data = j.next_data;
	}
	if (!rc && state)
		rc = fs_sweep(fs->kv, from_meta, from_data, h->journal_key, &dirs, &r->swept_meta,
			      &r->swept_data);
	fs_ids_release(&dirs);
	mem_free(rec);
	if (rc)
		return err_set(err, rc, "cannot repair what a crash left: %s", err_str(rc));
	return 0;
}
