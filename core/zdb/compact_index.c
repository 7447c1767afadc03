/*
 * compact_index.c - user mode's index files without the records that name no data any more; docs/formats.md, "zdb", 5.
 *
 * SCAN cursors and parents point into index files, so this is done only while nobody is served.  All files from the first
 * that shrinks on are written anew (`previous` and parents change in the later ones, too), synced, and then take the
 * old ones' places one by one; the file `reindex` says meanwhile that all new ones are whole, so that a load after a
 * crash goes on with the renames.  Nothing is written to the namespace while it is there.
 *
 * A parent is translated by what was dropped before it in its file: memory is 8 bytes for each run of dropped records.
 */
#include <stdio.h>

#include "core/base/file.h"
#include "core/zdb/compact_int.h"

#define NOTE_SIZE 16u

/* Records that were dropped: none of i<file> from `off` on up to the next run, of which `gone` bytes before them. */
struct run {
	uint32_t off;  /* behind the dropped records */
	uint32_t gone; /* bytes dropped in this file up to there */
};

struct runs {
	struct run *list;
	uint32_t count, cap;
};

struct reindex {
	struct zdb_ns *ns;
	struct runs *files; /* of all index files */
	uint32_t first;     /* that shrinks */
	uint64_t before, gone;
	uint32_t prev; /* offset of the last record, in whichever new file */
	uint8_t *buf, *out;
	uint32_t out_used;
	uint64_t out_size;
	int out_fd;
};

static bool is_dropped(const struct idx_rec *r)
{
	return (r->flags & FLAG_DELETED) != 0 && r->off == 0;
}

/* -------------------------------------------------------------------------------------------------------- runs --- */

static int run_add(struct runs *s, uint32_t from, uint32_t to)
{
	uint32_t gone = s->count == 0 ? 0 : s->list[s->count - 1].gone;

	if (s->count > 0 && s->list[s->count - 1].off == from) {
		s->list[s->count - 1].off = to;
		s->list[s->count - 1].gone += to - from;
		return 0;
	}
	if (s->count == s->cap) {
		uint32_t cap = s->cap == 0 ? 16 : s->cap * 2;
		struct run *list = mem_realloc_array(s->list, cap, sizeof(*list));

		if (list == NULL)
			return -ENOMEM;
		s->list = list;
		s->cap = cap;
	}
	s->list[s->count++] = (struct run){to, gone + (to - from)};
	return 0;
}

/* Where a record that was at off is now; 0: it was dropped. */
static uint32_t run_map(const struct runs *s, uint32_t off)
{
	uint32_t lo = 0, hi = s->count, start;

	while (lo < hi) { /* the first run that ends behind off */
		uint32_t mid = lo + (hi - lo) / 2;

		if (s->list[mid].off <= off)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo < s->count) {
		start = s->list[lo].off - (s->list[lo].gone - (lo == 0 ? 0 : s->list[lo - 1].gone));
		if (off >= start)
			return 0;
	}
	return off - (lo == 0 ? 0 : s->list[lo - 1].gone);
}

static int scan_file(struct reindex *x, uint32_t n)
{
	struct idx_stream s;
	struct idx_rec r;
	const uint8_t *key;
	uint32_t at;
	int rc = stream_open(&s, x->ns, n, IDX_HEADER, x->buf);

	if (rc != 0)
		return rc;
	while (rc == 0 && (rc = stream_next(&s, &r, &key, &at)) == 1) {
		rc = 0;
		if (!is_dropped(&r))
			continue;
		rc = run_add(&x->files[n], at, s.off);
		x->gone += s.off - at;
		if (n < x->first)
			x->first = n;
	}
	x->before += s.end;
	stream_close(&s);
	return rc;
}

/* ----------------------------------------------------------------------------------------------------- writing --- */

static int out_flush(struct reindex *x)
{
	int rc = file_pwrite_full(x->out_fd, x->out, x->out_used, (off_t)(x->out_size - x->out_used));

	x->out_used = 0;
	return rc;
}

static int out_put(struct reindex *x, const void *bytes, uint32_t size)
{
	int rc = x->out_used + size > CHUNK_SIZE ? out_flush(x) : 0;

	if (rc != 0)
		return rc;
	memcpy(x->out + x->out_used, bytes, size);
	x->out_used += size;
	x->out_size += size;
	return 0;
}

static int put_record(struct reindex *x, struct idx_rec *r, const uint8_t *key)
{
	uint8_t b[IDX_RECORD + ZDB_KEY_MAX];
	uint32_t parent = 0;

	if (r->parent_off != 0 && r->parent_file <= x->ns->index.number)
		parent = run_map(&x->files[r->parent_file], r->parent_off);
	if (parent == 0)
		r->parent_file = 0;
	r->parent_off = parent;
	r->prev = x->prev;
	x->prev = (uint32_t)x->out_size;
	idx_encode(b, r);
	memcpy(b + IDX_RECORD, key, r->klen);
	return out_put(x, b, IDX_RECORD + r->klen);
}

static int write_records(struct reindex *x, uint32_t n)
{
	uint8_t header[IDX_HEADER];
	struct idx_stream s;
	struct idx_rec r;
	const uint8_t *key;
	uint32_t at;
	int rc = stream_open(&s, x->ns, n, IDX_HEADER, x->buf);

	if (rc != 0)
		return rc;
	idx_header_encode(header, n, ZDB_USER);
	rc = out_put(x, header, sizeof(header));
	while (rc == 0 && (rc = stream_next(&s, &r, &key, &at)) == 1)
		rc = is_dropped(&r) ? 0 : put_record(x, &r, key);
	stream_close(&s);
	return rc == 0 ? out_flush(x) : rc;
}

static int write_file(struct reindex *x, uint32_t n)
{
	char path[ZDB_PATH_MAX];
	int rc = file_path(x->ns, INDEX_FILE, n, ".new", path);

	if (rc != 0)
		return rc;
	x->out_used = 0;
	x->out_size = 0;
	x->out_fd = sys->open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (x->out_fd < 0)
		return -errno;
	rc = write_records(x, n);
	if (rc == 0 && sys->fdatasync(x->out_fd) != 0)
		rc = -EIO;
	sys->close(x->out_fd);
	return rc;
}

/* `previous` of the first record that is written: the last one before it. */
static int find_prev(struct reindex *x)
{
	struct idx_stream s;
	struct idx_rec r;
	const uint8_t *key;
	uint32_t at;
	int rc = 0;

	for (uint32_t n = x->first; rc == 0 && x->prev == 0 && n-- > 0;) {
		rc = stream_open(&s, x->ns, n, IDX_HEADER, x->buf);
		if (rc != 0)
			return rc;
		while ((rc = stream_next(&s, &r, &key, &at)) == 1)
			x->prev = at;
		stream_close(&s);
	}
	return rc;
}

/* -------------------------------------------------------------------------------------------------- the switch --- */

static int note_path(const struct zdb_ns *ns, char *path)
{
	return file_join(path, ZDB_PATH_MAX, ns->index_dir, "reindex");
}

static int note_write(const struct zdb_ns *ns, uint32_t first)
{
	char path[ZDB_PATH_MAX];
	uint8_t b[NOTE_SIZE];
	int rc = note_path(ns, path);

	memcpy(b, "QSZI", 4);
	put_u32le(b + 4, first);
	put_u32le(b + 8, ns->index.number);
	put_u32le(b + 12, ~zdb_crc(~UINT32_C(0), b, 12));
	return rc != 0 ? rc : file_write_atomic(path, 0600, b, sizeof(b));
}

/* 0, -ENOENT, -EBADMSG damaged, -EIO. */
static int note_read(const struct zdb_ns *ns, uint32_t *first, uint32_t *last)
{
	char path[ZDB_PATH_MAX];
	uint8_t b[NOTE_SIZE];
	ssize_t n;
	int fd, rc = note_path(ns, path);

	if (rc != 0)
		return rc;
	fd = sys->open(path, O_RDONLY, 0);
	if (fd < 0)
		return errno == ENOENT ? -ENOENT : -EIO;
	n = file_pread_full(fd, b, sizeof(b), 0);
	sys->close(fd);
	if (n < 0)
		return -EIO;
	if (n < (ssize_t)sizeof(b) || memcmp(b, "QSZI", 4) != 0 ||
	    get_u32le(b + 12) != ~zdb_crc(~UINT32_C(0), b, 12))
		return -EBADMSG;
	*first = get_u32le(b + 4);
	*last = get_u32le(b + 8);
	return 0;
}

static int note_remove(const struct zdb_ns *ns)
{
	char path[ZDB_PATH_MAX];
	int rc = note_path(ns, path);

	if (rc == 0 && sys->unlink(path) != 0 && errno != ENOENT)
		rc = -EIO;
	return rc == 0 ? file_sync_dir(ns->index_dir) : rc;
}

/* Each new file that still has its own name takes the old one's place. */
static int switch_files(const struct zdb_ns *ns, uint32_t first, uint32_t last)
{
	char from[ZDB_PATH_MAX], to[ZDB_PATH_MAX];
	int rc = 0;

	for (uint32_t n = first; rc == 0 && n <= last; n++) {
		rc = file_path(ns, INDEX_FILE, n, ".new", from);
		if (rc == 0)
			rc = file_path(ns, INDEX_FILE, n, "", to);
		if (rc == 0 && sys->rename(from, to) != 0 && errno != ENOENT)
			rc = -EIO;
	}
	if (rc == 0)
		rc = file_sync_dir(ns->index_dir);
	return rc == 0 ? note_remove(ns) : rc;
}

static int litter_each(void *ctx, const char *name, unsigned char type)
{
	const struct zdb_ns *ns = ctx;
	char path[ZDB_PATH_MAX];
	size_t len = strlen(name);

	(void)type;
	if (name[0] != 'i' || len < 6 || strcmp(name + len - 4, ".new") != 0)
		return 0;
	if (file_join(path, sizeof(path), ns->index_dir, name) != 0)
		return 0;
	return sys->unlink(path) != 0 && errno != ENOENT ? -EIO : 0;
}

int reindex_repair(struct zdb_ns *ns, bool litter, char *why, size_t why_size)
{
	uint32_t first, last;
	int rc = note_read(ns, &first, &last);

	if (rc == -ENOENT && (!litter || ns->eng->read_only))
		return 0;
	if (rc == -ENOENT)
		rc = file_list(ns->index_dir, litter_each, ns);
	else if (rc == 0 && ns->eng->read_only)
		return say(why, why_size, -EROFS,
			   "the index was being rewritten when it was interrupted: it must be opened for "
			   "writing");
	else if (rc == 0)
		rc = switch_files(ns, first, last);
	else if (rc == -EBADMSG)
		rc = -EIO;
	return rc != 0 ? say(why, why_size, rc, "cannot end an interrupted rewriting of the index files") : 0;
}

/* The namespace starts anew with the files as they are, and a marker that knows the new time of the active one. */
static int start_again(struct zdb_ns *ns)
{
	int rc;

	tail_close(ns->eng, &ns->index, false);
	fd_forget_all(ns);
	rc = tail_open(ns, &ns->index, INDEX_FILE, ns->data.number);
	if (rc == 0)
		rc = mark_clean(ns);
	return rc == 0 ? zdb_ns_reload(ns) : rc;
}

/* The marker at the very end, open: its position does not move, and no time counts. */
static int mark_at_end(struct zdb_ns *ns)
{
	int rc = mark_open(ns);

	if (rc == 0)
		rc = zdb_sync(ns, ZDB_SYNC_INDEX);
	if (rc == 0 && (ns->mark.file != ns->data.number || ns->mark.offset != ns->data.size ||
			ns->mark.index_size != ns->index.size))
		rc = -EIO;
	return rc;
}

static int rewrite_all(struct reindex *x)
{
	struct zdb_ns *ns = x->ns;
	bool noted = false;
	int rc = find_prev(x);

	for (uint32_t n = x->first; rc == 0 && n <= ns->index.number; n++)
		rc = write_file(x, n);
	if (rc == 0)
		rc = file_sync_dir(ns->index_dir);
	if (rc == 0) {
		noted = true;
		rc = note_write(ns, x->first);
	}
	if (rc !=
	    0) { /* new files without the note are nothing; with it the old ones must not change any more */
		if (noted && note_remove(ns) != 0)
			ns->write_error = -EIO;
		else
			(void)file_list(ns->index_dir, litter_each, ns); /* the next load does it otherwise */
		return rc;
	}
	rc = switch_files(ns, x->first, ns->index.number);
	if (rc == 0)
		rc = start_again(ns);
	if (rc != 0)
		ns->load_error = -EIO; /* what is in memory speaks of the old files */
	return rc;
}

int zdb_compact_index(struct zdb_ns *ns, unsigned threshold, uint64_t *before, uint64_t *after)
{
	struct reindex x = {.ns = ns, .first = UINT32_MAX};
	uint32_t files = ns->index.number + 1; /* it may be 0 in the end, when it could not be loaded again */
	int rc = ns_writable(ns);

	*before = *after = 0;
	if (rc != 0 || ns->mode != ZDB_USER)
		return rc;
	if (ns->job != NULL || ns->proofs != 0 || compact_busy(ns))
		return -EBUSY;
	rc = mark_at_end(ns);
	x.files = mem_calloc(files, sizeof(*x.files));
	x.buf = mem_alloc(CHUNK_SIZE);
	x.out = mem_alloc(CHUNK_SIZE);
	if (rc == 0 && (x.files == NULL || x.buf == NULL || x.out == NULL))
		rc = -ENOMEM;
	for (uint32_t n = 0; rc == 0 && n < files; n++)
		rc = scan_file(&x, n);
	if (rc == 0) {
		bool worth = x.gone > 0 && x.gone * 100 >= threshold * x.before;

		*before = x.before;
		*after = x.before - (worth ? x.gone : 0);
		rc = worth ? rewrite_all(&x) : 0;
	}
	for (uint32_t n = 0; x.files != NULL && n < files; n++)
		mem_free(x.files[n].list);
	mem_free(x.files);
	mem_free(x.buf);
	mem_free(x.out);
	return rc == -EBADMSG ? -EIO : rc;
}
