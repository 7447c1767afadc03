/*
 * bundled.c - index files that come back from the stores' bundles.
 *
 * A missing or torn i<N> is made again from the log while d<N> and all later segments are here (load.c).  When some were evicted the
 * owner is asked for it, once per file, and brings `i<N>.before<C>`: the file as it was when segment C began.  What segments from C on
 * rewrote in it follows from their logs, so it is of use while these are here.
 *
 *   1  every missing file is found or asked for, and checked: header, size, borders of records; in sequential mode, where a
 *      record's place is its id, also that the ids in it and in the next file fit to those before
 *   2  the marker goes back to where the replay has to begin
 *   3  the files get their names
 *   4  the caller replays
 * A crash before 2 has changed nothing but the name of a torn file, which it gets back, and behind it every start begins at the marker.
 */
#include <stdio.h>

#include "core/base/file.h"
#include "core/zdb/zdb_int.h"

#define BEFORE     ".before"
#define SUFFIX_MAX 24u

struct wanted {
	struct zdb_ns *ns;
	uint32_t first, last; /* segments: all data files from first on are here; the active one */
	int64_t number;       /* index file that is looked for; -1: any, to be removed */
	int64_t before;       /* the highest C there is for it; -1 none */
	uint64_t next_id;
	uint8_t *buf; /* CHUNK_SIZE */
	char *why;
	size_t why_size;
};

/* "17" and what follows it -> 17; -1 when no number is there. */
static int64_t take_number(const char **p)
{
	int64_t n = -1;

	for (; **p >= '0' && **p <= '9' && n < UINT32_MAX; (*p)++)
		n = (n < 0 ? 0 : n * 10) + (**p - '0');
	return n < UINT32_MAX ? n : -1;
}

bool bundled_name(const char *name, int64_t *number, int64_t *before)
{
	const char *p = name + 1;

	if (name[0] != 'i')
		return false;
	*number = take_number(&p);
	if (*number < 0 || strncmp(p, BEFORE, strlen(BEFORE)) != 0)
		return false;
	p += strlen(BEFORE);
	*before = take_number(&p);
	return *before >= 0 && *p == '\0';
}

static int bundled_path(const struct zdb_ns *ns, uint32_t number, int64_t before, char *path)
{
	char suffix[SUFFIX_MAX];

	snprintf(suffix, sizeof(suffix), BEFORE "%lld", (long long)before);
	return file_path(ns, INDEX_FILE, number, suffix, path);
}

static int look_each(void *ctx, const char *name, unsigned char type)
{
	struct wanted *w = ctx;
	char path[ZDB_PATH_MAX];
	int64_t number, before;

	(void)type;
	if (!bundled_name(name, &number, &before))
		return 0;
	if (w->number < 0) {
		if (file_join(path, sizeof(path), w->ns->index_dir, name) == 0)
			(void)sys->unlink(path); /* it can be brought again */
	} else if (number == w->number && before > w->before) {
		w->before = before;
	}
	return 0;
}

void bundled_clean(struct zdb_ns *ns)
{
	struct wanted w = {.ns = ns, .number = -1};

	(void)file_list(ns->index_dir, look_each, &w); /* litter: nobody reads it */
}

static int look(struct wanted *w, uint32_t number)
{
	w->number = number;
	w->before = -1;
	return file_list(w->ns->index_dir, look_each, w);
}

/* ----------------------------------------------------------------------------------------------------- checking --- */

/* A record of a sequential file: id k of all, or a copy of a lower one. */
static bool id_fits(const struct idx_rec *r, const uint8_t *key, uint64_t id)
{
	uint64_t is = get_u64le(key);

	return r->klen == ZDB_SEQ_KEY_SIZE && (is == id || (is < id && (r->flags & FLAG_DELETED) != 0));
}

static int walk_records(struct wanted *w, int fd, uint32_t size)
{
	uint64_t at = IDX_HEADER, from = 0, end = 0; /* the buffer has the file's bytes [from, end) */
	struct idx_rec r;

	while (at < size) {
		const uint8_t *b;

		if (end < size && at + IDX_RECORD + ZDB_KEY_MAX > end) {
			ssize_t n = file_pread_full(fd, w->buf, CHUNK_SIZE, (off_t)at);

			if (n < 0)
				return (int)n;
			from = at;
			end = at + (uint64_t)n;
		}
		b = w->buf + (at - from);
		if (end - at < IDX_RECORD)
			return -EBADMSG;
		idx_decode(&r, b);
		if (r.klen == 0 || end - at < IDX_RECORD + (uint64_t)r.klen)
			return -EBADMSG;
		if (w->ns->mode == ZDB_SEQ && !id_fits(&r, b + IDX_RECORD, w->next_id))
			return -EBADMSG;
		w->next_id++;
		at += IDX_RECORD + r.klen;
	}
	return 0;
}

/* -EBADMSG: not such an index file. */
static int check_file(struct wanted *w, const char *path, uint32_t number)
{
	uint8_t head[IDX_HEADER];
	const char *bad = NULL;
	enum zdb_mode mode = ZDB_MIXED;
	struct stat st;
	int fd = sys->open(path, O_RDONLY, 0), rc = 0;

	if (fd < 0)
		return -errno;
	if (sys->fstat(fd, &st) != 0)
		rc = -errno;
	else if (st.st_size < (off_t)IDX_HEADER || st.st_size > UINT32_MAX ||
		 file_pread_full(fd, head, sizeof(head), 0) != (ssize_t)sizeof(head) ||
		 idx_header_decode(head, &mode, &bad) != 0 || get_u32le(head + IDX_NUMBER_AT) != number ||
		 mode != w->ns->mode)
		rc = -EBADMSG;
	else
		rc = walk_records(w, fd, (uint32_t)st.st_size);
	sys->close(fd);
	return rc;
}

/* ------------------------------------------------------------------------------------------------------- asking --- */

static int refuse(struct wanted *w, uint32_t number, int code, const char *reason)
{
	return say(w->why, w->why_size, code,
		   "index file i%u is missing or torn, and not all data files from d%u on are here to make "
		   "it again; "
		   "%s: bring it back with zstor retrieve -f %s/i%u, or move data and index away and restore "
		   "the volume",
		   number, number, reason, w->ns->index_dir, number);
}

/* A torn file makes room; nothing happens when there is none. */
static int set_aside(struct zdb_ns *ns, uint32_t number)
{
	char path[ZDB_PATH_MAX], torn[ZDB_PATH_MAX];
	int rc = file_path(ns, INDEX_FILE, number, "", path);

	if (rc == 0)
		rc = file_path(ns, INDEX_FILE, number, TORN, torn);
	if (rc == 0 && sys->rename(path, torn) != 0 && errno != ENOENT)
		rc = -errno;
	return rc;
}

/* And comes back, unless another one has its place. */
static int put_back(struct zdb_ns *ns, uint32_t number)
{
	char path[ZDB_PATH_MAX], torn[ZDB_PATH_MAX];
	int rc = file_path(ns, INDEX_FILE, number, "", path);

	if (rc == 0)
		rc = file_path(ns, INDEX_FILE, number, TORN, torn);
	if (rc == 0)
		rc = file_move_new(torn, path);
	return rc == -ENOENT || rc == -EEXIST ? 0 : rc;
}

/* Nobody brings a file over one that is there: a torn one is away while we ask. */
static int ask(struct wanted *w, uint32_t number)
{
	const struct zdb_events *ev = &w->ns->eng->ev;
	char path[ZDB_PATH_MAX];
	int rc = file_path(w->ns, INDEX_FILE, number, "", path);

	if (rc != 0)
		return rc;
	w->before = -1;
	if (w->ns->eng->read_only || ev->index_missing == NULL)
		return 0;
	rc = set_aside(w->ns, number);
	if (rc == 0 && ev->index_missing(w->ns->eng->opt.events_ctx, w->ns->name, path) == 0)
		rc = look(w, number);
	if (rc == 0)
		rc = put_back(w->ns, number);
	return rc;
}

/* Finds or asks for i<number>.before<C>.  What is there and cannot be used goes, and is asked for once more. */
static int bring(struct wanted *w, uint32_t number)
{
	const char *reason = "it was not brought";
	uint64_t id = w->next_id;
	char path[ZDB_PATH_MAX];
	bool asked = false;
	int rc = w->ns->eng->read_only ? 0 : put_back(w->ns, number); /* a crash while we asked */

	if (rc == 0)
		rc = look(w, number);

	while (rc == 0) {
		if (w->before > number && w->before >= w->first && w->before <= w->last) {
			w->next_id = id;
			rc = bundled_path(w->ns, number, w->before, path);
			if (rc == 0)
				rc = check_file(w, path, number);
			if (rc != -EBADMSG)
				return rc;
			rc = 0;
			reason = "what was brought is damaged";
		} else if (w->before >= 0) {
			reason = "what was brought is too old for the data files that are here";
		}
		if (w->before >= 0 && !w->ns->eng->read_only &&
		    bundled_path(w->ns, number, w->before, path) == 0)
			(void)sys->unlink(path); /* of no use to anybody */
		if (asked)
			return refuse(w, number, -EIO, reason);
		asked = true;
		rc = ask(w, number);
	}
	return rc;
}

struct brought {
	uint32_t number, before;
};

/* The ids of the file behind one that was brought say whether that was whole. */
static int check_next(struct wanted *w, const struct brought *b, uint32_t number)
{
	char path[ZDB_PATH_MAX];
	int rc = file_path(w->ns, INDEX_FILE, number, "", path);

	if (rc == 0)
		rc = check_file(w, path, number);
	if (rc != -EBADMSG)
		return rc;
	if (!w->ns->eng->read_only && bundled_path(w->ns, b->number, b->before, path) == 0)
		(void)sys->unlink(path); /* of no use to anybody */
	return refuse(w, b->number, -EIO, "what was brought does not fit to the index file behind it");
}

static int into_place(struct wanted *w, struct bits *index, const struct brought *b, size_t count)
{
	char from[ZDB_PATH_MAX], to[ZDB_PATH_MAX];
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < count; i++) {
		rc = bundled_path(w->ns, b[i].number, b[i].before, from);
		if (rc == 0)
			rc = file_path(w->ns, INDEX_FILE, b[i].number, "", to);
		if (rc == 0)
			rc = set_aside(w->ns, b[i].number);
		if (rc == 0)
			rc = file_move_new(from, to);
		fd_forget(w->ns, INDEX_FILE, b[i].number);
		if (rc == 0)
			bits_set(index, b[i].number);
	}
	if (rc == 0)
		rc = file_sync_dir(w->ns->index_dir);
	return rc != 0 ? say(w->why, w->why_size, rc, "cannot put index files back") : 0;
}

/* The lowest segment from which on all data files are here; last + 1 when not even the active one is. */
static uint32_t first_of_all(const struct bits *data, uint32_t last)
{
	uint32_t n = last + 1;

	while (n > 0 && bits_has(data, n - 1))
		n--;
	return n;
}

/* Goes through the index files up to where the log makes them again.  *from: where that is. */
static int bring_all(struct wanted *w, const struct bits *index, const struct mark *m, uint32_t *from,
		     struct brought *b, size_t *count)
{
	bool behind = false; /* the file before was brought */
	int rc = 0;

	for (uint32_t n = 0; rc == 0 && n <= w->last && (n <= *from || behind); n++) {
		if (bits_has(index, n)) {
			int64_t size =
				w->ns->mode == ZDB_SEQ ? file_length(w->ns, INDEX_FILE, n) : IDX_HEADER;

			if (w->ns->mode == ZDB_SEQ && behind && (n < w->last || m->state == MARK_CLEAN))
				rc = check_next(w, &b[*count - 1], n);
			else if (size > (int64_t)IDX_HEADER)
				w->next_id += ((uint64_t)size - IDX_HEADER) / SEQ_RECORD;
			behind = false;
		} else if (n >= w->first) {
			*from = n < *from ? n : *from;
			break;
		} else {
			rc = bring(w, n);
			if (rc == 0) {
				b[(*count)++] = (struct brought){n, (uint32_t)w->before};
				*from = w->before < *from ? (uint32_t)w->before : *from;
				behind = true;
			}
		}
	}
	return rc;
}

int bundled_bring(struct zdb_ns *ns, struct bits *index, const struct bits *data, uint32_t last,
		  const struct mark *m, uint32_t gap, int64_t *from, char *why, size_t why_size)
{
	struct wanted w = {.ns = ns,
			   .first = first_of_all(data, last),
			   .last = last,
			   .buf = mem_alloc(CHUNK_SIZE),
			   .why = why,
			   .why_size = why_size};
	struct brought *b = mem_alloc((last + 1) * sizeof(*b));
	bool open = m->state == MARK_OPEN && m->file <= last;
	uint32_t begin = open ? m->file : last;
	size_t count = 0;
	int rc = w.buf == NULL || b == NULL ? -ENOMEM : bits_reserve(index, last);

	if (rc == 0 && w.first > begin)
		rc = refuse(&w, gap, -EIO, "its log has to be replayed from a data file that is not here");
	if (rc == 0)
		rc = bring_all(&w, index, m, &begin, b, &count);
	if (rc == 0 && ns->eng->read_only)
		rc = say(why, why_size, -EROFS,
			 "index file i%u is missing or torn; what the stores have of it is here, and a start "
			 "puts it "
			 "back",
			 gap);
	if (rc == 0) {
		*from = begin;
		rc = mark_back(ns, begin, last);
	}
	if (rc == 0)
		rc = into_place(&w, index, b, count);
	if (rc == 0) {
		ns->recovery.index_brought += (uint32_t)count;
		bundled_clean(ns);
	}
	mem_free(w.buf);
	mem_free(b);
	return rc;
}
