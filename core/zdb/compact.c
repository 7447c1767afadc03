/*
 * compact.c - a pass over the closed segments of a namespace, and the owner's side of it; see compact_int.h.
 *
 * The owner's steps are bounded: they look at no more than options.step index records each.
 *
 * While a file is switched, what is re-pointed already lies in the new one and the rest in the old one, whose descriptor
 * is kept.  Which of them a record lies in follows from its offset alone: rows are worked off in the order of the old
 * file, and a record only ever moves towards the start.  So one number, the old offset up to which the rows are done,
 * decides; nothing is tried that could be mistaken for something else.
 */
#include <stdio.h>

#include "core/base/file.h"
#include "core/zdb/compact_int.h"

#define STEP_DEFAULT 512u
#define STEP_MAX     (CHUNK_SIZE / ROW_SIZE)
#define CHAIN_MAX    16u /* older versions that are followed before one is taken for reachable */

/* ------------------------------------------------------------------------------------------- what reads ask for --- */

struct zdb_fd *compact_fd(const struct zdb_ns *ns, uint32_t file, uint32_t off, struct zdb_fd **other)
{
	const struct zdb_compact *c = ns->compact;

	*other = NULL;
	if (c == NULL || !c->switched || c->n != file)
		return NULL;
	if (!c->failed && off >= c->moved_off)
		return c->old;
	*other = c->old;
	return NULL;
}

int compact_was(struct zdb_ns *ns, uint32_t file)
{
	uint8_t b[4];
	struct zdb_fd *f;
	ssize_t n;
	int rc = fd_get(ns, DATA_FILE, file, &f);

	if (rc != 0)
		return rc == -ENOENT ? 0 : rc;
	n = ns_pread(ns, f, b, sizeof(b), DAT_COMPACT_AT);
	fd_put(ns->eng, f);
	if (n < 0)
		return (int)n;
	return n == (ssize_t)sizeof(b) && memcmp(b, "QSZC", 4) == 0;
}

bool compact_busy(const struct zdb_ns *ns)
{
	return ns->compact != NULL && !ns->compact->ended;
}

bool compact_covers(const struct zdb_ns *ns, uint32_t n)
{
	return compact_busy(ns) && n < ns->compact->end;
}

bool zdb_compact_progress(const struct zdb_ns *ns, uint32_t *segment, uint32_t *end)
{
	if (!compact_busy(ns))
		return false;
	*segment = ns->compact->n;
	*end = ns->compact->end;
	return true;
}

/* -------------------------------------------------------------------------------------------- segment by segment --- */

static void report(struct zdb_compact *c, const char *text)
{
	c->figures.refused++;
	if (c->opt.fn != NULL)
		c->opt.fn(c->opt.fn_ctx, 2, c->ns->name, text);
}

static void segment_forget(struct zdb_compact *c)
{
	if (c->old != NULL)
		fd_put(c->ns->eng, c->old);
	c->old = NULL;
	if (c->reader_fd >= 0) {
		assert(c->drop_fd < 0); /* the run that copied this one has closed the one before */
		c->drop_fd = c->reader_fd;
		c->reader_fd = -1;
	}
	if (c->log != NULL)
		fd_put(c->ns->eng, c->log);
	c->log = NULL;
	c->switched = false;
	mem_free(c->bases);
	c->bases = NULL;
	bits_release(&c->keep);
	bits_release(&c->touched);
	if (c->intent_fd >= 0)
		sys->close(c->intent_fd);
	c->intent_fd = -1;
}

static void segment_next(struct zdb_compact *c)
{
	segment_forget(c);
	c->n++;
	c->phase = COMPACT_NEXT;
}

/* Sequential ids that a closed segment holds were given before now, and their places do not change. */
static int bases_take(struct zdb_compact *c)
{
	struct zdb_ns *ns = c->ns;

	if (ns->mode != ZDB_SEQ)
		return 0;
	c->bases_count = ns->index.number + 1;
	c->next_id = ns->next_id;
	c->bases = mem_dup(ns->bases, c->bases_count * sizeof(*c->bases));
	return c->bases == NULL ? -ENOMEM : 0;
}

/* Opens the segment c->n.  1: there is work; 0: it is to be passed over. */
static int segment_open(struct zdb_compact *c)
{
	struct stat st;
	int rc = fd_get(c->ns, DATA_FILE, c->n, &c->old);

	if (rc == -ENOENT) {
		c->figures.absent++;
		c->clean = false;
		return 0;
	}
	if (rc != 0)
		return rc;
	if (sys->fstat(c->old->fd, &st) != 0)
		return -EIO;
	c->inode = (uint64_t)st.st_ino;
	c->old_size = (uint64_t)st.st_size;
	c->figures.files++;
	c->figures.bytes_before += c->old_size;
	c->figures.bytes_after += c->old_size;
	if (c->old_size <= DAT_HEADER)
		return 0;
	rc = bases_take(c);
	return rc != 0 ? rc : 1;
}

/* Stores get so much from one run; the next one waits until they have it. */
static bool run_is_full(const struct zdb_compact *c)
{
	uint64_t max = c->opt.stored_max != 0 ? c->opt.stored_max : STORED_BYTES_RUN;

	return c->opt.stored && (c->stored_bytes >= max || c->stored_rows >= STORED_ROWS_RUN);
}

static int step_next(struct zdb_compact *c)
{
	int rc;

	/* What is in its files is not durable before the closed segment is; and they have other names. */
	if (c->ns->ahead != NULL)
		return -EBUSY;
	if (c->n < c->end && run_is_full(c)) {
		c->figures.left = c->end - c->n;
		c->end = c->n;
	}
	if (c->n >= c->end) {
		c->phase = c->drop_fd >= 0 ? COMPACT_CLOSE : COMPACT_OVER;
		return c->drop_fd >= 0;
	}
	rc = segment_open(c);
	if (rc < 0)
		return rc;
	if (rc == 0) {
		segment_next(c);
		return 2;
	}
	c->phase = COMPACT_COPY;
	if (c->ns->mode == ZDB_USER && c->opt.keep_s != ZDB_KEEP_NONE) {
		c->phase = COMPACT_HISTORY;
		c->scan_off = IDX_HEADER;
		c->scan_ordinal = 0;
		return 2;
	}
	return 1;
}

/* ------------------------------------------------------------------------------------- user mode: history that stays --- */

static bool place_before(struct place a, struct place b)
{
	return a.file < b.file || (a.file == b.file && a.off < b.off);
}

/* Whether HISTORY can reach the superseded record at `at` from the live one of its key.  1, 0 or a negative code. */
static int reachable(struct zdb_ns *ns, struct place at, const uint8_t *key, size_t klen)
{
	uint8_t found[ZDB_KEY_MAX + 1];
	struct place p;
	struct idx_rec r;
	int rc = index_find(ns, key, klen, &p, &r, NULL);

	for (unsigned i = 0; rc == 0 && i < CHAIN_MAX; i++) {
		p = (struct place){r.parent_file, r.parent_off};
		if (r.parent_off == 0 || place_before(p, at))
			return 0;
		if (p.file == at.file && p.off == at.off)
			return 1;
		rc = index_read(ns, p, &r, found);
	}
	return rc == 0 ? 1 : rc == -ENOENT ? 0 : rc;
}

static int keep_one(struct zdb_compact *c, const struct idx_rec *r, const uint8_t *key, uint32_t at)
{
	uint8_t copy[ZDB_KEY_MAX + 1];
	int rc;

	if ((r->flags & FLAG_DELETED) != 0 && r->off == 0)
		return 0;
	if ((r->flags & FLAG_DELETED) != 0 && c->opt.keep_s != ZDB_KEEP_ALL &&
	    (uint64_t)r->ts + c->opt.keep_s < c->opt.now_s)
		return 0;
	memcpy(copy, key, r->klen);
	rc = 1; /* what lives now may be superseded before it is copied */
	if ((r->flags & FLAG_DELETED) != 0)
		rc = reachable(c->ns, (struct place){c->n, at}, copy, r->klen);
	if (rc != 1)
		return rc;
	rc = bits_reserve(&c->keep, c->scan_ordinal);
	if (rc == 0)
		bits_set(&c->keep, c->scan_ordinal);
	return rc;
}

static int step_history(struct zdb_compact *c)
{
	struct idx_stream s;
	struct idx_rec r;
	const uint8_t *key;
	uint32_t at, left = (c->opt.step + CHAIN_MAX - 1) / CHAIN_MAX;
	int rc = stream_open(&s, c->ns, c->n, c->scan_off, c->buf);

	if (rc != 0)
		return rc == -ENOMEM ? rc : -EIO;
	while (left > 0 && (rc = stream_next(&s, &r, &key, &at)) == 1) {
		rc = keep_one(c, &r, key, at);
		if (rc != 0)
			break;
		c->scan_off = s.off;
		c->scan_ordinal++;
		left--;
	}
	stream_close(&s);
	if (rc < 0 && rc != -EBADMSG) /* copying will say what is wrong with the index file */
		return rc;
	if (left == 0)
		return 2;
	rc = ns_flush_tails(c->ns);
	if (rc != 0)
		return rc;
	/* A descriptor of our own: the kernel tells an error once for each. */
	rc = fd_new(c->ns, DATA_FILE, c->ns->data.number, O_RDONLY, &c->log);
	if (rc != 0)
		return rc == -ENOMEM ? rc : -EIO;
	c->phase = COMPACT_COPY;
	return 1;
}

/* ------------------------------------------------------------------------------------------------------ the switch --- */

/* Takes back what copying has made.  The intent first: without the new file it would speak of a switch. */
static int copy_discard(struct zdb_compact *c)
{
	char path[ZDB_PATH_MAX];
	int rc = intent_remove(c->ns);

	if (rc == 0)
		rc = file_path(c->ns, DATA_FILE, c->n, ".new", path);
	if (rc == 0 && sys->unlink(path) != 0 && errno != ENOENT)
		rc = -EIO;
	return rc;
}

/* Whether d<N> is still the file that was copied, and nobody has work in flight that speaks of it. */
static int same_file(const struct zdb_compact *c)
{
	char path[ZDB_PATH_MAX];
	struct stat st;
	int rc = file_path(c->ns, DATA_FILE, c->n, "", path);

	if (rc != 0)
		return rc;
	if (sys->stat(path, &st) != 0)
		return errno == ENOENT ? 0 : -EIO;
	return (uint64_t)st.st_ino == c->inode && (uint64_t)st.st_size == c->old_size;
}

static void memos_forget(struct zdb_ns *ns, uint32_t number)
{
	for (unsigned i = 0; i < PROOF_MEMOS; i++)
		if (ns->memos[i].number == number)
			ns->memos[i].used = false;
}

static int switch_file(struct zdb_compact *c)
{
	char from[ZDB_PATH_MAX], to[ZDB_PATH_MAX];
	struct zdb_ns *ns = c->ns;
	int rc = intent_path(ns, from);

	if (rc == 0 && c->opt.stored)
		rc = replaced_reserve(ns);
	if (rc == 0)
		c->intent_fd = sys->open(from, O_RDONLY, 0);
	if (rc == 0 && c->intent_fd < 0)
		rc = -EIO;
	if (rc == 0)
		rc = mark_open(ns); /* from now on a crash is one */
	if (rc == 0)
		rc = file_path(ns, DATA_FILE, c->n, ".new", from);
	if (rc == 0)
		rc = file_path(ns, DATA_FILE, c->n, "", to);
	if (rc == 0 && sys->rename(from, to) != 0)
		rc = -EIO;
	if (rc != 0)
		return rc;
	c->switched = true;
	c->moved_off = c->row = 0;
	fd_forget(ns, DATA_FILE, c->n); /* reads in flight keep theirs, and the offset that goes with it */
	memos_forget(ns, c->n);
	patch_begin(&c->patcher, ns, &c->intent, &c->touched);
	c->phase = COMPACT_DIRSYNC;
	return 1;
}

static int step_copied(struct zdb_compact *c)
{
	int rc = c->rc, rc2;

	if (rc == -ENOENT) { /* somebody has taken it away meanwhile */
		c->figures.files--;
		c->figures.absent++;
		c->figures.bytes_before -= c->old_size;
		c->figures.bytes_after -= c->old_size;
		c->dead_left = true;
		rc = 0;
	}
	if (rc == 0 && c->dead_left && c->copied != COPIED_WHOLE)
		c->clean = false;
	if (rc == 0 && c->copied == COPIED_REFUSED)
		report(c, c->why);
	if (rc == 0 && c->copied == COPIED_WHOLE) {
		rc = c->ns->write_error != 0 ? -EROFS : same_file(c);
		if (rc == 1)
			rc = switch_file(c);
		if (rc == 1)
			return 1;
		rc2 = copy_discard(c);
		rc = rc != 0 ? rc : rc2;
		c->clean = false;
	}
	if (rc != 0)
		return rc;
	segment_next(c);
	return 2;
}

static int step_settled(struct zdb_compact *c)
{
	if (c->rc != 0)
		return c->rc;
	c->figures.rewritten++;
	c->figures.dropped += c->dropped;
	c->figures.bytes_after -= c->old_size - c->new_size;
	c->ns->eng->stats.compacted++;
	segment_next(c);
	return 2;
}

/* --------------------------------------------------------------------------------------------------- the interface --- */

/* Why a stored namespace cannot be compacted now, or 0. */
static int stored_refusal(const struct zdb_ns *ns, const struct zdb_compact_options *o)
{
	if (ns->replaced_count > 0) /* also when it is stored no longer: the notes know one pass */
		return -EALREADY;
	if (!o->stored)
		return 0;
	/*
	 * An index that is made again from the log has its records where they were in sequential mode alone; and copies that
	 * history leads over are in no note.
	 */
	if (ns->mode != ZDB_SEQ || o->keep_s != ZDB_KEEP_NONE)
		return -EOPNOTSUPP;
	return ns->stored_below == 0 || o->below == 0 ? -ENODATA : 0;
}

int zdb_compact_begin(struct zdb_ns *ns, const struct zdb_compact_options *options, struct zdb_compact **out)
{
	struct zdb_compact *c;
	int rc;

	*out = NULL;
	if (!ns->alive)
		return -ENOENT;
	if (ns->load_error != 0)
		return -EIO;
	if (ns->eng->read_only || ns->write_error != 0)
		return -EROFS;
	if (ns->desc.worm)
		return -EPERM;
	if (ns->lock != ZDB_UNLOCKED)
		return -EACCES;
	/* A sync that began before a rotation may still move the marker back, to a segment that is closed by now. */
	if (ns->compact != NULL || ns->proofs != 0 || ns->job != NULL)
		return -EBUSY;
	rc = stored_refusal(ns, options);
	if (rc != 0)
		return rc;
	c = mem_calloc(1, sizeof(*c));
	if (c != NULL)
		c->buf = mem_alloc(CHUNK_SIZE);
	if (c == NULL || c->buf == NULL) {
		mem_free(c);
		return -ENOMEM;
	}
	c->ns = zdb_ns_ref(ns);
	c->opt = *options;
	if (c->opt.step == 0)
		c->opt.step = STEP_DEFAULT;
	if (c->opt.step > STEP_MAX)
		c->opt.step = STEP_MAX;
	c->clean = true;
	c->intent_fd = c->reader_fd = c->drop_fd = -1;
	/* From the marker's file on recovery would walk them. */
	c->end = ns->data.number;
	if (ns->mark.state != 0 && ns->mark.file < c->end)
		c->end = ns->mark.file;
	if (c->opt.stored && ns->stored_below < c->end)
		c->end = ns->stored_below;
	if (c->opt.stored && c->opt.below < c->end)
		c->end = c->opt.below;
	ns->compact = c;
	*out = c;
	return 0;
}

static void drop_old(struct zdb_compact *c)
{
	if (c->drop_fd >= 0)
		sys->close(c->drop_fd);
	c->drop_fd = -1;
}

int zdb_compact_run(struct zdb_compact *c)
{
	drop_old(c);
	if (c->phase == COMPACT_COPY)
		c->rc = compact_copy(c);
	else if (c->phase == COMPACT_DIRSYNC)
		c->rc = file_sync_dir(c->ns->data_dir) == 0 ? 0 : -EIO;
	else if (c->phase == COMPACT_SETTLE)
		c->rc = compact_settle(c);
	else
		c->rc = 0; /* nothing slow to do: the first round */
	return c->rc;
}

static int step(struct zdb_compact *c)
{
	switch (c->phase) {
	case COMPACT_NEXT:
		return step_next(c);
	case COMPACT_HISTORY:
		return step_history(c);
	case COMPACT_COPY:
		return step_copied(c);
	case COMPACT_DIRSYNC:
		c->phase = COMPACT_REPOINT;
		return c->rc != 0 ? c->rc : 2;
	case COMPACT_REPOINT:
		return compact_repoint(c);
	case COMPACT_COPIES:
		return compact_copies(c);
	case COMPACT_SETTLE:
		return step_settled(c);
	case COMPACT_CLOSE:
		c->phase = COMPACT_OVER;
		break;
	case COMPACT_OVER:
		break;
	}
	return 0;
}

/* With history in sequential mode, which a stored namespace cannot keep, copies would have to be ended, too. */
int compact_hurry(struct zdb_ns *ns)
{
	struct zdb_compact *c = ns->compact;
	int rc = 2;

	if (c == NULL || c->ended || !c->opt.stored || c->phase != COMPACT_REPOINT)
		return 0;
	while (rc == 2)
		rc = compact_repoint(c);
	c->ahead = rc == 1;
	return rc < 0 ? rc : 0;
}

int zdb_compact_done(struct zdb_compact *c)
{
	int rc;

	/* Perhaps our own sync of the log: those who wrote to it must not be told that it is durable. */
	if (atomic_load(&c->ns->sync_lost) && c->ns->write_error == 0)
		sync_failed(c->ns);
	if (c->ahead) {
		c->ahead = false;
		return 1;
	}

	if (atomic_load(&c->stop) && !c->switched) {
		if (c->phase == COMPACT_COPY && c->rc == 0 && c->copied == COPIED_WHOLE)
			(void)copy_discard(c); /* else the next load does */
		c->phase = COMPACT_OVER;
		return -ECANCELED;
	}
	rc = step(c);
	if (rc >= 0)
		return rc;
	/* Half of the index names the new file: it is repaired at the next load, until then nothing may add to that. */
	if (c->switched && rc != -ENOMEM)
		c->ns->write_error = -EIO;
	c->failed = c->switched;
	c->phase = COMPACT_OVER;
	return rc;
}

void zdb_compact_stop(struct zdb_compact *c)
{
	atomic_store(&c->stop, true);
}

void zdb_compact_figures(const struct zdb_compact *c, struct zdb_compact_figures *figures)
{
	*figures = c->figures;
}

static void compact_free(struct zdb_compact *c)
{
	struct zdb_ns *ns = c->ns;

	ns->compact = NULL;
	if (c->patcher.f != NULL)
		fd_put(ns->eng, c->patcher.f);
	segment_forget(c);
	drop_old(c);
	mem_free(c->buf);
	mem_free(c);
	zdb_ns_unref(ns);
}

void compact_release(struct zdb_ns *ns)
{
	if (ns->compact != NULL)
		compact_free(ns->compact);
}

void zdb_compact_end(struct zdb_compact *c)
{
	int rc = 1;

	zdb_compact_stop(c);
	if (!c->switched && c->phase == COMPACT_COPY)
		(void)zdb_compact_done(c); /* takes back what was copied */
	while (c->switched && c->phase != COMPACT_OVER && rc > 0) {
		if (c->phase == COMPACT_DIRSYNC || c->phase == COMPACT_SETTLE)
			(void)zdb_compact_run(c); /* perhaps for the second time; done reports it */
		rc = zdb_compact_done(c);
	}
	if (c->switched) /* it failed: reads go on needing both files */
		c->ended = true;
	else
		compact_free(c);
}

int zdb_compact(struct zdb_ns *ns, const struct zdb_compact_options *options,
		struct zdb_compact_figures *figures)
{
	struct zdb_compact *c;
	int rc = zdb_compact_begin(ns, options, &c);

	memset(figures, 0, sizeof(*figures));
	if (rc != 0)
		return rc;
	if (zdb_ns_is_ahead(ns))
		rc = zdb_sync(ns, ZDB_SYNC_INDEX);
	for (bool more = rc == 0; more; more = rc == 1) {
		(void)zdb_compact_run(c); /* done reports it */
		while ((rc = zdb_compact_done(c)) == 2)
			;
	}
	zdb_compact_figures(c, figures);
	zdb_compact_end(c);
	return rc;
}
