/*
 * evict.c - unlinking a closed data file whose content somebody else holds, proved by its content id.
 *
 * The content id is a hash of the file as it leaves the node: header bytes 16..23 count as 0.  It is computed once per
 * file and remembered by inode, size and modification time, so that eviction under pressure reads nothing.
 */
#include <sodium.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "core/base/hex.h"
#include "core/zdb/zdb_int.h"

struct zdb_proof {
	struct zdb_ns *ns;
	struct zdb_fd *f;
	uint32_t number;
	enum zdb_proof_kind kind;
	bool known; /* remembered */
	int rc;
	uint8_t id[16];
	uint64_t inode, size, mtime_ns;
};

static int identify(struct zdb_proof *p)
{
	struct stat st;

	if (sys->fstat(p->f->fd, &st) != 0)
		return -EIO;
	p->inode = (uint64_t)st.st_ino;
	p->size = (uint64_t)st.st_size;
	p->mtime_ns = (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec;
	return 0;
}

static struct proof_memo *memo_find(const struct zdb_proof *p)
{
	for (unsigned i = 0; i < PROOF_MEMOS; i++) {
		struct proof_memo *m = &p->ns->memos[i];

		if (m->used && m->number == p->number && m->kind == (uint8_t)p->kind &&
		    m->inode == p->inode && m->size == p->size && m->mtime_ns == p->mtime_ns)
			return m;
	}
	return NULL;
}

static void memo_keep(const struct zdb_proof *p)
{
	struct proof_memo *m = &p->ns->memos[p->ns->memo_next++ % PROOF_MEMOS];

	*m = (struct proof_memo){.used = true,
				 .kind = (uint8_t)p->kind,
				 .number = p->number,
				 .inode = p->inode,
				 .size = p->size,
				 .mtime_ns = p->mtime_ns};
	memcpy(m->id, p->id, sizeof(m->id));
}

static void proof_free(struct zdb_proof *p)
{
	if (p->f != NULL)
		fd_put(p->ns->eng, p->f);
	p->ns->proofs--;
	zdb_ns_unref(p->ns);
	mem_free(p);
}

int zdb_proof_begin(struct zdb_ns *ns, uint32_t n, enum zdb_proof_kind kind, struct zdb_proof **out)
{
	struct zdb_proof *p;
	struct proof_memo *m;
	int rc;

	*out = NULL;
	if (!ns->alive)
		return -ENOENT;
	if (ns->load_error != 0)
		return -EIO;
	if (n > ns->data.number)
		return -ENOENT;
	/* Also from the marker's file on: recovery would walk it. */
	if (n == ns->data.number || (ns->mark.state != 0 && n >= ns->mark.file) || ns->job != NULL ||
	    compact_covers(ns, n))
		return -EBUSY;
	p = mem_calloc(1, sizeof(*p));
	if (p == NULL)
		return -ENOMEM;
	p->ns = zdb_ns_ref(ns);
	ns->proofs++;
	p->number = n;
	p->kind = kind;
	p->rc = -EIO; /* until it has run */
	rc = fd_get(ns, DATA_FILE, n, &p->f);
	if (rc == 0)
		rc = identify(p);
	if (rc != 0) {
		proof_free(p);
		return rc == -ENOENT ? -EALREADY : rc == -ENOMEM ? rc : -EIO;
	}
	m = memo_find(p);
	if (m != NULL) {
		memcpy(p->id, m->id, sizeof(p->id));
		p->known = true;
		p->rc = 0;
	}
	*out = p;
	return 0;
}

struct hash {
	enum zdb_proof_kind kind;
	XXH3_state_t *xxh;
	crypto_generichash_state blake;
};

static int hash_file(const struct zdb_proof *p, struct hash *h, uint8_t *buf)
{
	uint64_t off = 0;

	while (off < p->size) {
		size_t want = p->size - off < CHUNK_SIZE ? (size_t)(p->size - off) : CHUNK_SIZE;
		ssize_t n = sys->pread(p->f->fd, buf, want, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -EIO;
		for (uint64_t i = off; i < DAT_STAMP_AT + 8u && i < off + (uint64_t)n; i++)
			if (i >= DAT_STAMP_AT)
				buf[i - off] = 0;
		if (h->kind == ZDB_PROOF_XXH3)
			(void)XXH3_128bits_update(h->xxh, buf, (size_t)n);
		else
			(void)crypto_generichash_update(&h->blake, buf, (unsigned long long)n);
		off += (uint64_t)n;
	}
	return 0;
}

int zdb_proof_run(struct zdb_proof *p)
{
	struct hash h = {.kind = p->kind};
	uint8_t *buf;

	if (p->known)
		return 0;
	buf = mem_alloc(CHUNK_SIZE);
	h.xxh = mem_aligned(64, sizeof(*h.xxh));
	p->rc = buf == NULL || h.xxh == NULL ? -ENOMEM : 0;
	if (p->rc == 0) {
		(void)XXH3_128bits_reset(h.xxh);
		(void)crypto_generichash_init(&h.blake, NULL, 0, 16);
		p->rc = hash_file(p, &h, buf);
	}
	if (p->rc == 0 && p->kind == ZDB_PROOF_XXH3) {
		XXH128_canonical_t c;

		XXH128_canonicalFromHash(&c, XXH3_128bits_digest(h.xxh));
		memcpy(p->id, c.digest, sizeof(p->id));
	} else if (p->rc == 0) {
		(void)crypto_generichash_final(&h.blake, p->id, sizeof(p->id));
	}
	mem_free(h.xxh);
	mem_free(buf);
	return p->rc;
}

static int evict_check(struct zdb_proof *p, const uint8_t id[16])
{
	uint64_t inode = p->inode, size = p->size, mtime = p->mtime_ns;
	int rc = p->rc;

	if (rc == 0)
		rc = identify(p);
	if (rc == 0 && (p->inode != inode || p->size != size || p->mtime_ns != mtime))
		return -EAGAIN;
	if (rc != 0)
		return rc;
	if (!p->known)
		memo_keep(p);
	return memcmp(p->id, id, sizeof(p->id)) == 0 ? 0 : -EBADMSG;
}

int zdb_evict_done(struct zdb_proof *p, const uint8_t id[16])
{
	struct zdb_ns *ns = p->ns;
	char path[ZDB_PATH_MAX];
	int rc = evict_check(p, id);

	if (rc == 0 && (!ns->alive || ns->eng->read_only))
		rc = ns->alive ? -EROFS : -ENOENT;
	if (rc == 0)
		rc = file_path(ns, DATA_FILE, p->number, "", path);
	if (rc == 0 && sys->unlink(path) != 0 && errno != ENOENT)
		rc = -errno;
	if (rc == 0) {
		fd_forget(ns, DATA_FILE, p->number); /* readers in flight keep theirs */
		ns->eng->stats.evictions++;
	}
	proof_free(p);
	return rc;
}

int zdb_proof_parse(const char *text, size_t len, enum zdb_proof_kind *kind, uint8_t id[16])
{
	size_t skip, got;

	if (len > 5 && memcmp(text, "xxh3:", 5) == 0) {
		*kind = ZDB_PROOF_XXH3;
		skip = 5;
	} else if (len > 3 && memcmp(text, "b2:", 3) == 0) {
		*kind = ZDB_PROOF_BLAKE2B;
		skip = 3;
	} else {
		return -EINVAL;
	}
	if (len - skip != 32)
		return -EINVAL;
	return hex_decode_n(id, 16, text + skip, 32, &got) == 0 && got == 16 ? 0 : -EINVAL;
}

int zdb_evict(struct zdb_ns *ns, uint32_t n, enum zdb_proof_kind kind, const uint8_t id[16])
{
	struct zdb_proof *p;
	int rc = zdb_proof_begin(ns, n, kind, &p);

	if (rc != 0)
		return rc == -EALREADY ? 0 : rc;
	(void)zdb_proof_run(p); /* done reports it */
	return zdb_evict_done(p, id);
}
