/*
 * fs_sweep: deletes what a crash left without an owner.
 *
 * Inodes and blocks that were stored before the names that lead to them have numbers from a known one on. Those that
 * exist are candidates; then the whole tree is walked, and what it refers to is none. The walk also puts right the sizes
 * and link counts of directories, which are stored apart from the lists they sum up.
 *
 * Nothing is deleted unless every directory and every inode could be read: a reference that was not seen is not absent.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "applets/zdbfs/fs_int.h"
#include "core/base/endian.h"
#include "core/base/mem.h"

#define WINDOW 128u

struct sweep {
	struct kv *kv;
	struct fs_ids found[2]; /* sorted candidates of meta and data */
	bool *kept[2];
	struct fs_ids todo; /* directories to be walked */
	uint64_t journal_key;
};

static int find_live(struct sweep *s, enum kv_role role, uint64_t from)
{
	struct kv_req reqs[WINDOW], *ptrs[WINDOW];
	struct kv_info info;
	int rc = kv_info(s->kv, role, &info);

	if (!rc && !info.next_id)
		return -EIO;
	for (uint64_t at = from ? from : 1; !rc && at < info.next_id;) {
		size_t n = info.next_id - at < WINDOW ? (size_t)(info.next_id - at) : WINDOW;

		for (size_t k = 0; k < n; k++) {
			reqs[k] = (struct kv_req){.op = KV_EXISTS, .role = role, .key = at + k};
			ptrs[k] = &reqs[k];
		}
		(void)kv_run(s->kv, ptrs, n, 0);
		for (size_t k = 0; !rc && k < n; k++) {
			if (!reqs[k].err && !(role == KV_META && at + k == s->journal_key))
				rc = fs_ids_add(&s->found[role], at + k);
			else if (reqs[k].err != -ENOENT)
				rc = reqs[k].err;
		}
		at += n;
	}
	return rc;
}

static void keep(struct sweep *s, enum kv_role role, uint64_t id)
{
	const struct fs_ids *ids = &s->found[role];
	size_t lo = 0, hi = ids->count;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (ids->v[mid] == id) {
			s->kept[role][mid] = true;
			return;
		}
		if (ids->v[mid] < id)
			lo = mid + 1;
		else
			hi = mid;
	}
}

/* ------------------------------------------------------------------------------------------------- walking */

struct walk {
	uint64_t size;
	uint32_t subdirs;
	struct fs_ids children;
};

static int take_list(struct sweep *s, struct walk *w, const void *data, size_t len)
{
	const uint8_t *p;
	size_t left;
	uint32_t count;
	int rc = fmt_list_decode(data, len, &count, &p, &left);

	for (; !rc && count; count--) {
		struct fmt_entry e;

		rc = fmt_entry_decode(&e, p, left);
		if (rc)
			break;
		p += e.size;
		left -= e.size;
		if (e.name[0] == '.' && (e.name_len == 1 || (e.name_len == 2 && e.name[1] == '.')))
			continue;
		keep(s, KV_META, e.ino);
		w->size += e.size;
		rc = fs_ids_add(&w->children, e.ino);
	}
	return rc;
}

static int take_child(struct sweep *s, struct walk *w, uint64_t ino, const void *data, size_t len)
{
	struct fmt_inode f;
	int rc = fmt_inode_decode(&f, data, len);

	if (rc)
		return rc;
	if (S_ISDIR(f.mode)) {
		w->subdirs++;
		return fs_ids_add(&s->todo, ino);
	}
	for (uint64_t n = 0; n < f.slot_count; n++) {
		uint32_t id = get_u32le((const uint8_t *)f.map + n * 4);

		if (id)
			keep(s, KV_DATA, id);
	}
	return 0;
}

/* Reads records in windows and hands each to the right function. */
static int read_many(struct sweep *s, struct walk *w, const uint64_t *keys, size_t count, bool are_lists)
{
	struct kv_req *reqs = mem_calloc(WINDOW, sizeof(*reqs)), *ptrs[WINDOW];
	int rc = reqs ? 0 : -ENOMEM;

	for (size_t at = 0; !rc && at < count;) {
		size_t n = count - at < WINDOW ? count - at : WINDOW;

		for (size_t k = 0; k < n; k++) {
			reqs[k] = (struct kv_req){.op = KV_GET, .role = KV_META, .key = keys[at + k]};
			ptrs[k] = &reqs[k];
		}
		(void)kv_run(s->kv, ptrs, n, 0);
		for (size_t k = 0; k < n; k++) {
			if (!rc && reqs[k].err)
				rc = reqs[k].err == -ENOENT ? -E_CORRUPT : reqs[k].err;
			if (!rc)
				rc = are_lists ? take_list(s, w, reqs[k].value, reqs[k].value_len)
					       : take_child(s, w, keys[at + k], reqs[k].value,
							    reqs[k].value_len);
			mem_free(reqs[k].value);
		}
		at += n;
	}
	mem_free(reqs);
	return rc;
}

static int correct(struct sweep *s, uint64_t ino, uint8_t *rec, size_t len, const struct fmt_inode *f,
		   const struct walk *w)
{
	bool counted = f->links != 0 && f->links != FMT_LINKS_UNKNOWN;
	uint32_t links = counted ? 2 + w->subdirs : f->links;

	if (f->size == w->size && f->links == links)
		return 0;
	put_u64le(rec + 20, w->size);
	put_u32le(rec + 28, links);
	return kv_set(s->kv, KV_META, &ino, rec, len);
}

static int walk_dir(struct sweep *s, uint64_t ino)
{
	uint64_t keys[FMT_SLOTS];
	struct walk w = {0};
	struct fmt_inode f;
	void *rec = NULL;
	size_t len, n = 0;
	int rc = kv_get(s->kv, KV_META, ino, &rec, &len);

	if (!rc)
		rc = fmt_inode_decode(&f, rec, len);
	if (!rc && !S_ISDIR(f.mode))
		rc = -E_CORRUPT;
	for (unsigned h = 0; !rc && h < FMT_SLOTS; h++) {
		uint64_t key = get_u64le((const uint8_t *)f.lists + h * 8);

		if (key == FMT_NO_LIST)
			continue;
		keep(s, KV_META, key);
		keys[n++] = key;
	}
	if (!rc)
		rc = read_many(s, &w, keys, n, true);
	if (!rc)
		rc = read_many(s, &w, w.children.v, w.children.count, false);
	if (!rc)
		rc = correct(s, ino, rec, len, &f, &w);
	fs_ids_release(&w.children);
	mem_free(rec);
	return rc;
}

static int walk_tree(struct sweep *s)
{
	int rc = fs_ids_add(&s->todo, FMT_ROOT_INO);

	keep(s, KV_META, FMT_ROOT_INO);
	while (!rc && s->todo.count)
		rc = walk_dir(s, s->todo.v[--s->todo.count]);
	return rc;
}

/* Directories that J speaks of; those that are gone meanwhile do not matter. */
static int walk_some(struct sweep *s, const struct fs_ids *dirs)
{
	int rc = 0;

	for (size_t n = 0; !rc && n < dirs->count; n++) {
		rc = walk_dir(s, dirs->v[n]);
		if (rc == -ENOENT || rc == -E_CORRUPT)
			rc = 0;
	}
	return rc;
}

static int delete_rest(struct sweep *s, enum kv_role role, uint64_t *deleted)
{
	int rc = 0;

	for (size_t n = 0; !rc && n < s->found[role].count; n++) {
		if (s->kept[role][n])
			continue;
		rc = kv_del(s->kv, role, s->found[role].v[n]);
		if (rc == -ENOENT)
			rc = 0;
		else if (!rc)
			(*deleted)++;
	}
	return rc ? rc : kv_sync(s->kv, role);
}

int fs_sweep(struct kv *kv, uint64_t from_meta, uint64_t from_data, uint64_t journal_key,
	     const struct fs_ids *dirs, uint64_t *meta, uint64_t *data)
{
	struct sweep s = {.kv = kv, .journal_key = journal_key};
	int rc = find_live(&s, KV_META, from_meta);

	*meta = *data = 0;
	if (!rc)
		rc = find_live(&s, KV_DATA, from_data);
	for (int role = KV_META; !rc && role <= KV_DATA; role++) {
		s.kept[role] = mem_calloc(s.found[role].count + 1, sizeof(bool));
		if (!s.kept[role])
			rc = -ENOMEM;
	}
	if (!rc && (s.found[KV_META].count || s.found[KV_DATA].count))
		rc = walk_tree(&s);
	else if (!rc)
		rc = walk_some(&s, dirs);
	if (rc == -E_CORRUPT) {
		/* A damaged tree is no reason not to mount, but nothing may be deleted by it. */
		log_warn("the tree has damage: what a crash left without an owner stays until fsck has "
			 "repaired it");
		rc = 0;
	} else {
		if (!rc)
			rc = delete_rest(&s, KV_DATA, data);
		if (!rc)
			rc = delete_rest(&s, KV_META, meta);
	}
	for (int role = KV_META; role <= KV_DATA; role++) {
		fs_ids_release(&s.found[role]);
		mem_free(s.kept[role]);
	}
	fs_ids_release(&s.todo);
	return rc;
}
