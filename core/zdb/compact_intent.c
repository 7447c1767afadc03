/*
 * compact_intent.c - the note that makes the switch of a compacted file one step, and what it says about the index.
 *
 * The file `compact` is durable before d<N>.new is renamed over d<N>, and removed when every index record that names
 * d<N> is re-pointed and synced.  Its rows tell the new offset of each record, so that re-pointing is the same work
 * however often it is done, also over records that a power cut has left half written.
 */
#include <stdio.h>

#include "core/base/file.h"
#include "core/zdb/compact_int.h"

void intent_encode(uint8_t b[INTENT_HEAD], const struct compact_intent *it)
{
	memset(b, 0, INTENT_HEAD);
	memcpy(b, "QSZC", 4);
	b[4] = it->stored ? 2 : 1;
	b[5] = (uint8_t)it->mode;
	b[6] = it->history;
	put_u32le(b + 8, it->segment);
	put_u32le(b + 12, it->rows);
	put_u64le(b + 16, it->old_size);
	put_u64le(b + 24, it->new_size);
	put_u32le(b + 32, it->rows_sum);
	put_u32le(b + 44, ~zdb_crc(~UINT32_C(0), b, 44));
}

int intent_decode(struct compact_intent *it, const uint8_t *b, size_t size)
{
	if (size < INTENT_HEAD || memcmp(b, "QSZC", 4) != 0 || (b[4] != 1 && b[4] != 2) ||
	    get_u32le(b + 44) != ~zdb_crc(~UINT32_C(0), b, 44) || b[5] > ZDB_SEQ)
		return -EINVAL;
	*it = (struct compact_intent){.mode = (enum zdb_mode)b[5],
				      .history = b[6] != 0,
				      .stored = b[4] == 2,
				      .segment = get_u32le(b + 8),
				      .rows = get_u32le(b + 12),
				      .old_size = get_u64le(b + 16),
				      .new_size = get_u64le(b + 24),
				      .rows_sum = get_u32le(b + 32)};
	return 0;
}

void row_encode(uint8_t b[ROW_SIZE], const struct compact_row *r)
{
	put_u32le(b, r->file);
	put_u32le(b + 4, r->index_off);
	put_u32le(b + 8, r->old_off);
	put_u32le(b + 12, r->new_off);
}

int intent_path(const struct zdb_ns *ns, char *buf)
{
	return file_join(buf, ZDB_PATH_MAX, ns->index_dir, "compact");
}

/* The content id counts as one more row. */
static int rows_check(int fd, const struct compact_intent *it)
{
	uint64_t off = INTENT_HEAD, end = INTENT_HEAD + ((uint64_t)it->rows + it->stored) * ROW_SIZE;
	uint32_t sum = ~UINT32_C(0);
	uint8_t b[4096];

	while (off < end) {
		size_t want = end - off < sizeof(b) ? (size_t)(end - off) : sizeof(b);
		ssize_t n = file_pread_full(fd, b, want, (off_t)off);

		if (n < 0)
			return -EIO;
		if ((size_t)n < want)
			return -EBADMSG;
		sum = zdb_crc(sum, b, want);
		off += want;
	}
	return ~sum == it->rows_sum ? 0 : -EBADMSG;
}

int intent_open_at(const char *path, struct compact_intent *it, int *fd)
{
	uint8_t b[INTENT_HEAD];
	ssize_t n;
	int rc;

	*fd = sys->open(path, O_RDONLY, 0);
	if (*fd < 0)
		return errno == ENOENT ? -ENOENT : -EIO;
	n = file_pread_full(*fd, b, sizeof(b), 0);
	if (n < 0)
		rc = -EIO;
	else if (intent_decode(it, b, (size_t)n) != 0)
		rc = -EBADMSG;
	else
		rc = rows_check(*fd, it);
	if (rc == 0 && it->stored)
		rc = intent_read(*fd, it->rows, 1, it->content);
	if (rc != 0) {
		sys->close(*fd);
		*fd = -1;
	}
	return rc;
}

int intent_open(const struct zdb_ns *ns, struct compact_intent *it, int *fd)
{
	char path[ZDB_PATH_MAX];
	int rc = intent_path(ns, path);

	return rc != 0 ? rc : intent_open_at(path, it, fd);
}

int intent_remove(const struct zdb_ns *ns)
{
	char path[ZDB_PATH_MAX];
	int rc = intent_path(ns, path);

	if (rc != 0)
		return rc;
	if (sys->unlink(path) != 0 && errno != ENOENT)
		return -EIO;
	return file_sync_dir(ns->index_dir) == 0 ? 0 : -EIO;
}

int intent_settle(const struct zdb_ns *ns, const struct compact_intent *it)
{
	char from[ZDB_PATH_MAX], to[ZDB_PATH_MAX];
	int rc;

	if (!it->stored)
		return intent_remove(ns);
	rc = intent_path(ns, from);
	if (rc == 0)
		rc = replaced_path(ns, it->segment, to);
	if (rc == 0 && sys->rename(from, to) != 0 && errno != ENOENT)
		rc = -EIO;
	if (rc != 0)
		return rc;
	return file_sync_dir(ns->index_dir) == 0 ? 0 : -EIO;
}

void row_decode(struct compact_row *r, const uint8_t b[ROW_SIZE])
{
	*r = (struct compact_row){get_u32le(b), get_u32le(b + 4), get_u32le(b + 8), get_u32le(b + 12)};
}

int intent_read(int fd, uint32_t number, uint32_t count, uint8_t *b)
{
	size_t size = (size_t)count * ROW_SIZE;

	return file_pread_full(fd, b, size, (off_t)(INTENT_HEAD + (uint64_t)number * ROW_SIZE)) ==
			       (ssize_t)size
		       ? 0
		       : -EIO;
}

static int intent_row(int fd, uint32_t number, struct compact_row *r)
{
	uint8_t b[ROW_SIZE];
	int rc = intent_read(fd, number, 1, b);

	if (rc == 0)
		row_decode(r, b);
	return rc;
}

int intent_find(int fd, const struct compact_intent *it, uint32_t old_off, struct compact_row *r)
{
	uint32_t lo = 0, hi = it->rows;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		int rc = intent_row(fd, mid, r);

		if (rc != 0)
			return rc;
		if (r->old_off == old_off)
			return 0;
		if (r->old_off < old_off)
			lo = mid + 1;
		else
			hi = mid;
	}
	return -ENOENT;
}

/* --------------------------------------------------------------------------------------------------- patching --- */

void patch_begin(struct patcher *p, struct zdb_ns *ns, const struct compact_intent *it, struct bits *touched)
{
	p->ns = ns;
	p->mode = it->mode;
	p->segment = it->segment;
	p->touched = touched;
	p->f = NULL;
	p->settled = false;
	p->len = p->dirty_from = p->dirty_to = 0;
}

int patch_flush(struct patcher *p)
{
	const uint8_t *from = p->buf + p->dirty_from;
	uint32_t size = p->dirty_to - p->dirty_from;
	int rc = 0;

	if (p->f == NULL)
		return 0;
	if (size > 0 && p->f == p->ns->index.f)
		tail_patch(&p->ns->index, p->off + p->dirty_from, from, size);
	if (size > 0)
		rc = ns_pwrite(p->ns, p->f, from, size, (uint64_t)p->off + p->dirty_from);
	fd_put(p->ns->eng, p->f);
	p->f = NULL;
	p->len = p->dirty_from = p->dirty_to = 0;
	return rc;
}

/* Makes the index record at (file, off) available: its bytes in the window.  -ENOENT: the file is not here. */
static int patch_at(struct patcher *p, uint32_t file, uint32_t off, uint8_t **rec)
{
	uint32_t want = IDX_RECORD + ZDB_KEY_MAX, have;
	ssize_t n;
	int rc = 0;

	if (p->f == NULL || p->f->number != file || off < p->off || off - p->off + want > PATCH_WINDOW) {
		rc = patch_flush(p);
		if (rc == 0)
			rc = fd_get(p->ns, INDEX_FILE, file, &p->f);
		if (rc != 0)
			return rc;
		n = ns_pread(p->ns, p->f, p->buf, PATCH_WINDOW, off);
		if (n < 0)
			return (int)n;
		p->off = off;
		p->len = (uint32_t)n;
	}
	have = off - p->off < p->len ? p->len - (off - p->off) : 0;
	*rec = p->buf + (off - p->off);
	if (have < IDX_RECORD || have < IDX_RECORD + (uint32_t)(*rec)[0] || (*rec)[0] == 0)
		return -ENODATA;
	return 0;
}

/* Changes bytes 1 to 13 of a record: offset, length, previous and flags; only offset and flags differ. */
static int patch_set(struct patcher *p, uint8_t *rec, uint32_t new_off)
{
	uint32_t at = (uint32_t)(rec - p->buf), from = at + 1, to = at + IDX_FLAGS_AT + 1;
	int rc = bits_reserve(p->touched, p->f->number);

	if (rc == 0)
		rc = bits_reserve(&p->ns->dirty, p->f->number);
	if (rc != 0)
		return rc;
	bits_set(p->touched, p->f->number);
	bits_set(&p->ns->dirty, p->f->number);
	put_u32le(rec + 1, new_off);
	if (new_off == 0)
		rec[IDX_FLAGS_AT] |= FLAG_DELETED;
	if (p->dirty_to == 0 || from < p->dirty_from)
		p->dirty_from = from;
	if (to > p->dirty_to)
		p->dirty_to = to;
	return 0;
}

int patch_row(struct patcher *p, const struct compact_row *r, const uint8_t **rec)
{
	uint8_t *b;
	int rc;

	*rec = NULL;
	if (r->file == ROW_NO_PLACE)
		return 0;
	rc = patch_at(p, r->file, r->index_off, &b);
	if (rc != 0)
		return rc;
	/* A sequential record of a closed segment only ever moves to a later one; user mode appends another instead. */
	if (p->mode == ZDB_SEQ && get_u32le(b + 14) != p->segment)
		return 0;
	if (p->settled && get_u32le(b + 1) == r->new_off)
		return 0;
	rc = patch_set(p, b, r->new_off);
	if (rc == 0)
		*rec = b;
	return rc;
}

/* Whether the record at off of the new file is the version that an index record speaks of. */
static int version_at(struct zdb_ns *ns, struct zdb_fd *data, uint32_t off, const struct idx_rec *r,
		      const uint8_t *key)
{
	uint8_t b[DAT_RECORD + ZDB_SEQ_KEY_SIZE];
	struct dat_rec d;
	ssize_t n;

	if (off < DAT_HEADER)
		return 0;
	n = ns_pread(ns, data, b, sizeof(b), off);
	if (n < (ssize_t)sizeof(b))
		return n < 0 ? (int)n : 0;
	dat_decode(&d, b);
	return d.klen == ZDB_SEQ_KEY_SIZE && memcmp(b + DAT_RECORD, key, ZDB_SEQ_KEY_SIZE) == 0 &&
	       d.flags == 0 && d.len == r->len && d.crc == r->crc;
}

int patch_copy(struct patcher *p, const struct compact_intent *it, int intent_fd, struct zdb_fd *data,
	       const struct idx_rec *r, const uint8_t *key, struct place at)
{
	struct compact_row row;
	uint8_t *b;
	int rc;

	if ((r->flags & FLAG_DELETED) == 0 || r->data_file != it->segment)
		return 0;
	rc = version_at(p->ns, data, r->off, r, key);
	if (rc != 0)
		return rc < 0 ? rc : 0; /* re-pointed already */
	rc = intent_find(intent_fd, it, r->off, &row);
	if (rc == -ENOENT)
		return 0; /* dropped */
	if (rc == 0)
		rc = version_at(p->ns, data, row.new_off, r, key);
	if (rc != 1)
		return rc;
	rc = patch_at(p, at.file, at.off, &b);
	if (rc == -ENODATA)
		rc = -EIO; /* it was just read */
	return rc != 0 ? rc : patch_set(p, b, row.new_off);
}

/* ---------------------------------------------------------------------------------------------------- at load --- */

static int redo_rows(struct patcher *p, const struct compact_intent *it, int fd)
{
	const uint8_t *rec;
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < it->rows; i++) {
		struct compact_row r;

		rc = intent_row(fd, i, &r);
		if (rc == 0)
			rc = patch_row(p, &r, &rec);
		if (rc == -ENOENT)
			rc = 0; /* an index file that is missing is made again from the log */
		if (rc == -ENODATA)
			rc = p->settled ? 0 : -EIO; /* torn since: as above */
	}
	return rc;
}

static int redo_copies(struct patcher *p, const struct compact_intent *it, int fd, uint32_t last)
{
	struct zdb_ns *ns = p->ns;
	uint8_t *buf = mem_alloc(CHUNK_SIZE);
	struct zdb_fd *data = NULL;
	struct idx_stream s;
	struct idx_rec r;
	const uint8_t *key;
	uint32_t at;
	int rc = buf == NULL ? -ENOMEM : fd_get(ns, DATA_FILE, it->segment, &data);

	if (rc == -ENOENT)
		rc = 0; /* somebody has taken the file away: nothing can be compared, history ends here */
	for (uint32_t n = it->segment; rc == 0 && data != NULL && n <= last; n++) {
		rc = stream_open(&s, ns, n, IDX_HEADER, buf);
		if (rc == -ENOENT) {
			rc = 0;
			continue;
		}
		while (rc == 0 && (rc = stream_next(&s, &r, &key, &at)) == 1)
			rc = patch_copy(p, it, fd, data, &r, key, (struct place){n, at});
		stream_close(&s);
		rc = rc == -EBADMSG ? 0 : rc;
	}
	if (data != NULL)
		fd_put(ns->eng, data);
	mem_free(buf);
	return rc;
}

static int redo_sync(struct zdb_ns *ns, const struct bits *touched)
{
	int rc = 0;

	for (int64_t i = bits_next(touched, 0); rc == 0 && i >= 0; i = bits_next(touched, (uint64_t)i + 1)) {
		uint32_t number = (uint32_t)i;

		rc = sync_numbers(ns, &number, 1);
	}
	return rc;
}

int intent_redo(struct zdb_ns *ns, const struct compact_intent *it, int fd, uint32_t last, bool settled)
{
	struct patcher *p = mem_alloc(sizeof(*p));
	struct bits touched = {0};
	int rc = p == NULL ? -ENOMEM : 0, rc2;

	if (rc == 0) {
		ns->mode = it->mode;
		patch_begin(p, ns, it, &touched);
		p->settled = settled;
		rc = redo_rows(p, it, fd);
		rc2 = patch_flush(p);
		rc = rc == 0 ? rc2 : rc;
	}
	if (rc == 0 && it->history) {
		rc = redo_copies(p, it, fd, last);
		rc2 = patch_flush(p);
		rc = rc == 0 ? rc2 : rc;
	}
	if (rc == 0)
		rc = redo_sync(ns, &touched);
	bits_release(&touched);
	bits_clear_all(&ns->dirty);
	mem_free(p);
	return rc;
}

/* After the rename. */
static int redo(struct zdb_ns *ns, const struct compact_intent *it, int fd, uint32_t last)
{
	int rc = intent_redo(ns, it, fd, last, false);

	return rc == 0 ? intent_settle(ns, it) : rc;
}

struct litter {
	struct zdb_ns *ns;
	bool removed;
};

static int litter_each(void *ctx, const char *name, unsigned char type)
{
	struct litter *l = ctx;
	char path[ZDB_PATH_MAX];
	size_t len = strlen(name);
	int rc;

	(void)type;
	if (name[0] != 'd' || len < 6 || strcmp(name + len - 4, ".new") != 0)
		return 0;
	rc = file_join(path, sizeof(path), l->ns->data_dir, name);
	if (rc == 0 && sys->unlink(path) != 0 && errno != ENOENT)
		rc = -EIO;
	l->removed = rc == 0;
	return rc;
}

/* d<N>.new without an intent says nothing. */
static int litter_remove(struct zdb_ns *ns)
{
	struct litter l = {.ns = ns};
	int rc = file_list(ns->data_dir, litter_each, &l);

	if (rc == 0 && l.removed)
		rc = file_sync_dir(ns->data_dir);
	return rc;
}

/* 1 the file was switched, 0 not; -EBADMSG it is neither the old nor the new one. */
static int was_switched(const struct zdb_ns *ns, const struct compact_intent *it)
{
	char path[ZDB_PATH_MAX];
	struct stat st;
	int rc = file_path(ns, DATA_FILE, it->segment, ".new", path);

	if (rc != 0)
		return rc;
	if (sys->stat(path, &st) == 0)
		return 0;
	if (errno != ENOENT)
		return -EIO;
	rc = file_path(ns, DATA_FILE, it->segment, "", path);
	if (rc == 0 && sys->stat(path, &st) != 0)
		return errno == ENOENT ? 1 : -EIO; /* taken away since by whoever stores it */
	return rc != 0 ? rc : (uint64_t)st.st_size == it->new_size ? 1 : -EBADMSG;
}

int compact_repair(struct zdb_ns *ns, bool litter, uint32_t last, char *why, size_t why_size)
{
	struct compact_intent it;
	int fd, rc = intent_open(ns, &it, &fd);

	if (rc == -ENOENT)
		return litter && !ns->eng->read_only ? litter_remove(ns) : 0;
	if (rc != 0)
		return say(why, why_size, rc == -EBADMSG ? -EIO : rc,
			   "the note of an interrupted compaction (compact) cannot be read");
	rc = was_switched(ns, &it);
	if (rc == -EBADMSG)
		rc = say(why, why_size, -EIO,
			 "d%u is not the file that the note of an interrupted compaction speaks of",
			 it.segment);
	else if (rc == 1 && ns->eng->read_only)
		rc = say(why, why_size, -EROFS,
			 "a compaction of d%u was interrupted: it must be opened for writing", it.segment);
	else if (rc == 1)
		rc = redo(ns, &it, fd, last);
	else if (rc == 0 && !ns->eng->read_only) {
		rc = intent_remove(ns); /* first: without the new file it would say that it was switched */
		if (rc == 0)
			rc = litter_remove(ns);
	}
	sys->close(fd);
	return rc < 0 && why != NULL && why_size > 0 && why[0] == '\0'
		       ? say(why, why_size, rc, "cannot repair an interrupted compaction of d%u", it.segment)
		       : rc;
}
