/*
 * fs_op_dir: listing directories.
 *
 * A cookie names a place, not a count: slot, 48 bits of a hash of the name, and a number among equal hashes. Names are
 * listed in that order, so removing or adding others while somebody lists neither skips nor repeats a name.
 *
 *	bits 56..62 slot | 8..55 hash, at least 1 | 0..7 which of those with the same hash
 *
 * "." is cookie 1 and ".." cookie 2.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "applets/zdbfs/fs_int.h"
#include "core/base/mem.h"

#define COOKIE_DOT    1u
#define COOKIE_DOTDOT 2u
#define CHUNK         128u /* entries taken at once */

struct place {
	uint64_t cookie;
	uint32_t index;
};

/* A hash that stays the same over mounts: cookies may outlive one. */
static uint64_t name_hash(const char *name, size_t len)
{
	static const uint64_t key[2] = {0x7a646266735f6469ull, 0x725f636f6f6b6965ull};
	uint64_t h = hmap_siphash13(key, name, len) & 0xffffffffffffull;

	return h ? h : 1;
}

static int compare(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	if (x->cookie != y->cookie)
		return x->cookie < y->cookie ? -1 : 1;
	return x->index < y->index ? -1 : x->index > y->index;
}

static bool is_dots(const struct fmt_entry *e)
{
	return e->name[0] == '.' && (e->name_len == 1 || (e->name_len == 2 && e->name[1] == '.'));
}

/* The places of a list in order. Numbers among equal hashes follow the order of names. */
static struct place *places_of(const struct fs_dlist *l, unsigned slot, uint32_t *count)
{
	struct place *p = mem_realloc_array(NULL, l->count + 1, sizeof(*p));
	uint64_t last = 0, n = 0;

	*count = 0;
	if (!p)
		return NULL;
	for (uint32_t i = 0; i < l->count; i++) {
		struct fmt_entry e = fs_dlist_at(l, i);

		if (!is_dots(&e))
			p[(*count)++] = (struct place){.cookie = (uint64_t)slot << 56 |
								 name_hash(e.name, e.name_len) << 8,
						       .index = i};
	}
	qsort(p, *count, sizeof(*p), compare);
	for (uint32_t i = 0; i < *count; i++) {
		n = p[i].cookie == last ? n + 1 : 0;
		last = p[i].cookie;
		p[i].cookie |= n < 255 ? n : 255;
	}
	return p;
}

struct found {
	uint64_t ino, cookie;
	size_t len;
	char name[FMT_NAME_MAX + 1];
};

/* Up to CHUNK entries behind the cookie, over as many slots as it takes. Directory locked. */
static int collect(struct fs *fs, struct fs_inode *dir, uint64_t cookie, struct found *out, unsigned *count)
{
	int rc = 0;

	*count = 0;
	for (unsigned slot = (unsigned)(cookie >> 56); !rc && slot < FMT_SLOTS && *count < CHUNK; slot++) {
		const struct fs_dlist *l;
		struct place *p;
		uint32_t n;

		rc = fs_dir_load(fs, dir, slot);
		l = dir->dir->lists[slot];
		if (rc || !l || !l->count)
			continue;
		p = places_of(l, slot, &n);
		rc = p ? 0 : -ENOMEM;
		for (uint32_t i = 0; !rc && i < n && *count < CHUNK; i++) {
			struct fmt_entry e;

			if (p[i].cookie <= cookie)
				continue;
			e = fs_dlist_at(l, p[i].index);
			out[*count].ino = e.ino;
			out[*count].cookie = p[i].cookie;
			out[*count].len = e.name_len;
			memcpy(out[*count].name, e.name, e.name_len + 1);
			(*count)++;
		}
		mem_free(p);
	}
	return rc;
}

/* Brings the inodes of the entries into memory with one round trip. What fails is read singly later. */
static void prefetch(struct fs *fs, const struct found *f, unsigned count)
{
	struct kv_req *reqs = mem_calloc(count, sizeof(*reqs));
	struct kv_req *ptrs[CHUNK];
	uint64_t batches = fs->n_batches;
	unsigned n = 0;

	for (unsigned i = 0; reqs && i < count; i++) {
		struct fs_inode *have = fs_peek(fs, f[i].ino);

		if (have) {
			fs_put(fs, have);
			continue;
		}
		reqs[n] = (struct kv_req){.op = KV_GET, .role = KV_META, .key = f[i].ino};
		ptrs[n] = &reqs[n];
		n++;
	}
	if (n)
		(void)kv_run(fs->kv, ptrs, n, 0);
	for (unsigned i = 0; i < n; i++) {
		/* A batch that ended meanwhile may have stored newer records than those that were read. */
		if (!reqs[i].err && batches == fs->n_batches)
			fs_preload(fs, reqs[i].key, reqs[i].value, reqs[i].value_len);
		mem_free(reqs[i].value);
	}
	mem_free(reqs);
}

struct listing {
	struct fs *fs;
	bool want_attr;
	int (*each)(void *ctx, const struct fs_dirent *e);
	void *ctx;
};

/* 0 go on, 1 the caller has enough, negative error. */
static int offer(struct listing *l, uint64_t ino, const char *name, size_t len, uint64_t cookie, bool counts)
{
	struct fs_dirent e = {.name = name, .len = len, .ino = ino, .cookie = cookie};
	struct fs_attr attr;
	int rc = fs_op_getattr(l->fs, ino, &attr);

	if (rc == -ENOENT)
		return 0; /* gone since it was listed */
	if (rc && l->want_attr)
		return rc;
	if (!rc) {
		e.type = attr.mode & S_IFMT;
		e.attr = l->want_attr ? &attr : NULL;
	}
	if (counts && l->want_attr)
		fs_known_add(l->fs, ino, 1, 0);
	if (!l->each(l->ctx, &e))
		return 0;
	if (counts && l->want_attr)
		fs_op_forget(l->fs, ino, 1);
	return 1;
}

static int offer_dots(struct listing *l, struct fs_inode *dir, uint64_t cookie)
{
	uint64_t parent;
	int rc = 0;

	pthread_mutex_lock(&dir->lock);
	parent = dir->ino == FMT_ROOT_INO || !dir->parent ? dir->ino : dir->parent;
	pthread_mutex_unlock(&dir->lock);
	if (cookie < COOKIE_DOT)
		rc = offer(l, dir->ino, ".", 1, COOKIE_DOT, false);
	if (!rc && cookie < COOKIE_DOTDOT)
		rc = offer(l, parent, "..", 2, COOKIE_DOTDOT, false);
	return rc;
}

int fs_op_readdir(struct fs *fs, uint64_t dir_ino, uint64_t cookie, bool want_attr,
		  int (*each)(void *ctx, const struct fs_dirent *e), void *ctx)
{
	struct listing l = {.fs = fs, .want_attr = want_attr, .each = each, .ctx = ctx};
	struct found *f = NULL;
	struct fs_inode *dir;
	unsigned count;
	int rc = fs_get(fs, dir_ino, &dir);

	if (rc)
		return rc;
	if (!dir->dir)
		rc = -ENOTDIR;
	else if (!(f = mem_realloc_array(NULL, CHUNK, sizeof(*f))))
		rc = -ENOMEM;
	if (!rc && cookie < COOKIE_DOTDOT)
		rc = offer_dots(&l, dir, cookie);
	do {
		count = 0;
		if (rc)
			break;
		pthread_mutex_lock(&dir->lock);
		rc = collect(fs, dir, cookie, f, &count);
		pthread_mutex_unlock(&dir->lock);
		if (!rc && count)
			prefetch(fs, f, count);
		for (unsigned i = 0; !rc && i < count; i++) {
			rc = offer(&l, f[i].ino, f[i].name, f[i].len, f[i].cookie, true);
			cookie = f[i].cookie;
		}
	} while (count);
	mem_free(f);
	fs_put(fs, dir);
	return rc > 0 ? 0 : rc;
}
