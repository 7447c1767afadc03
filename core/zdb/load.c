/*
 * load.c - opening a namespace: which case of recovery it is, the keys.  Which files there are, load_files.c says first.
 *
 *   1  the marker is clean and the active pair is as it says: nothing to do
 *   2  the marker is open and the active log carries its stamp: only we wrote since; replay the log from the marker
 *   3  otherwise: check everything (foreign.c)
 * An index file that is missing or torn in its middle is made again from the log, while its segment and all later ones are
 * here: what later ones deleted is known to nobody else.  The marker goes back there first, so that a crash on the way
 * leads back to it.  When some of these segments were evicted, it comes back from the stores' bundles (bundled.c).
 */
#include "core/base/clock.h"
#include "core/base/file.h"
#include "core/base/str.h"
#include "core/zdb/load_int.h"

static bool same_stamp(struct zdb_ns *ns, const struct mark *m)
{
	uint8_t b[8];

	return ns_pread(ns, ns->data.f, b, sizeof(b), DAT_STAMP_AT) == (ssize_t)sizeof(b) &&
	       get_u64le(b) == m->stamp;
}

static int recovery_case(struct zdb_ns *ns, const struct mark *m)
{
	struct stat st;

	if (m->state == 0 && ns->data.number == 0 && ns->data.size == DAT_HEADER &&
	    ns->index.size == IDX_HEADER)
		return 1; /* a new namespace */
	if (m->state == 0)
		return 3;
	if (m->state == MARK_CLEAN) {
		uint64_t mtime;

		if (m->file != ns->data.number || m->offset != ns->data.size ||
		    m->index_size != ns->index.size || sys->fstat(ns->index.f->fd, &st) != 0)
			return 3;
		mtime = (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec;
		return mtime == m->index_mtime_ns ? 1 : 3;
	}
	if (!same_stamp(ns, m) || m->index_size < IDX_HEADER)
		return 3;
	for (uint32_t n = m->file; n <= ns->data.number; n++) {
		if (file_length(ns, DATA_FILE, n) < (n == m->file ? (int64_t)m->offset : (int64_t)DAT_HEADER))
			return 3;
		if (file_length(ns, INDEX_FILE, n) < (n == m->file ? (int64_t)m->index_size : 0))
			return 3;
	}
	return 2;
}

/* ----------------------------------------------------------------------------------------------------- the cases --- */

/* Offset of the last record of the active log: from the last record that the index names to the end. */
static int find_prev_data(struct zdb_ns *ns)
{
	uint8_t key[ZDB_KEY_MAX + 1], *buf;
	struct log_stream s;
	struct log_gap gap;
	struct place at = {ns->index.number, ns->prev_index};
	struct idx_rec r;
	struct dat_rec d;
	const uint8_t *k;
	uint32_t off = DAT_HEADER, pos;
	int rc;

	ns->prev_data = 0;
	if (ns->data.size <= DAT_HEADER)
		return 0;
	if (ns->index.size > IDX_HEADER && index_read(ns, at, &r, key) == 0) {
		if (ns->mode == ZDB_SEQ &&
		    (r.flags & FLAG_DELETED) != 0) { /* a copy: the update itself is newer */
			struct place in;

			if (seq_place(ns, get_u64le(key), &in) == 0)
				(void)index_read(ns, in, &r, key);
		}
		if (idx_data_file(ns, &r, at.file) == ns->data.number && r.off >= DAT_HEADER &&
		    r.off < ns->data.size)
			off = r.off;
	}
	buf = mem_alloc(CHUNK_SIZE);
	if (buf == NULL)
		return -ENOMEM;
	rc = log_open(&s, ns, ns->data.number, off, buf);
	if (rc == 0) {
		while ((rc = log_next(&s, &d, &k, &pos)) == 1 ||
		       (rc == -EBADMSG && (rc = log_gap_find(&s, false, &gap)) == 1))
			ns->prev_data = s.last != 0 ? pos : gap.off;
		log_close(&s);
	}
	mem_free(buf);
	return rc;
}

static int load_clean(struct zdb_ns *ns, const struct mark *m, char *why, size_t why_size)
{
	struct sums s;
	int rc;

	if (ns->mode == ZDB_USER) {
		rc = load_keys(ns, ns->index.number, ns->index.size, why, why_size);
		return rc != 0 ? rc : find_prev_data(ns);
	}
	rc = load_bases(ns, ns->index.number, ns->index.size);
	if (rc != 0)
		return say(why, why_size, rc, "cannot read the index files' sizes");
	if (m->state == MARK_CLEAN && sums_read(ns, m, &s) == 0 && s.next_id == ns->next_id) {
		ns->entries = s.entries;
		ns->data_size = s.data_size;
	} else {
		rc = seq_count(ns);
	}
	return rc != 0 ? rc : find_prev_data(ns);
}

static int load_replay(struct zdb_ns *ns, const struct mark *m, bool strict, char *why, size_t why_size)
{
	struct replay p = {.ns = ns,
			   .strict = strict,
			   .file = m->file,
			   .off = m->offset,
			   .index_off = (uint32_t)m->index_size,
			   .why = why,
			   .why_size = why_size};
	struct sums s;
	bool counted = true;
	int rc;

	ns->recovery.unclean = true;
	if (ns->mode == ZDB_USER) {
		rc = load_keys(ns, m->file, (uint32_t)m->index_size, why, why_size);
	} else {
		rc = load_bases(ns, m->file, (uint32_t)m->index_size);
		counted = rc == 0 && sums_read(ns, m, &s) == 0 && s.next_id == ns->next_id;
		if (counted) {
			ns->entries = s.entries;
			ns->data_size = s.data_size;
		}
	}
	if (rc == 0)
		rc = replay_run(&p);
	if (rc == 0 && (!counted || p.recount))
		rc = seq_count(ns);
	if (rc == 0 && ns->recovery.log_records == 0)
		rc = find_prev_data(ns); /* the last record lies before the marker */
	return rc;
}

static void keys_drop(struct zdb_ns *ns)
{
	table_release(&ns->table);
	mem_free(ns->bases);
	ns->bases = NULL;
	ns->bases_cap = 0;
	pend_release(&ns->pend);
	pend_release(&ns->frozen);
	ns->entries = ns->data_size = ns->key_bytes = ns->next_id = 0;
	ns->prev_index = ns->prev_data = 0;
}

/* Rebuild: keys up to the missing file, then everything behind from the log. */
static int load_rebuild(struct zdb_ns *ns, uint32_t from, bool strict, char *why, size_t why_size)
{
	struct mark m = {.state = MARK_OPEN, .file = from, .offset = DAT_HEADER, .index_size = IDX_HEADER};
	int rc;

	ns->recovery.foreign = !strict;
	rc = load_replay(ns, &m, strict, why, why_size);
	if (rc == 0 && ns->mode == ZDB_SEQ)
		rc = seq_count(ns);
	return rc;
}

/*
 * An index file turned out to be torn.  It is made again from the log, or comes back from the stores; without either, what was read
 * stands.
 */
static int load_torn(struct zdb_ns *ns, struct found *f, bool strict, char *why, size_t why_size)
{
	uint32_t torn = (uint32_t)ns->torn_index, last = ns->index.number;
	int64_t from = -1;
	int rc = 0;

	if (all_data_from(f, torn, last)) {
		from = torn;
		rc = mark_back(ns, torn, last);
		if (rc != 0)
			return say(why, why_size, rc, "cannot write the marker");
	} else {
		bits_clear(&f->index, torn);
		rc = bundled_bring(ns, &f->index, &f->data, last, &ns->mark, torn, &from, why, why_size);
		if (rc != 0)
			return from < 0 ? 0 : rc;
		if (replaced_apply(ns, last) != 0)
			return say(why, why_size, -EIO,
				   "cannot repeat what a compaction changed in its index files");
	}
	keys_drop(ns);
	ns->torn_index = -1; /* or a later one */
	return load_rebuild(ns, (uint32_t)from, strict, why, why_size);
}

/* Torn files one after the other, as they are found. */
static int load_all_torn(struct zdb_ns *ns, struct found *f, bool strict, char *why, size_t why_size)
{
	int64_t before = -1;
	int rc = 0;

	while (rc == 0 && ns->torn_index > before) {
		before = ns->torn_index;
		rc = load_torn(ns, f, strict, why, why_size);
	}
	return rc;
}

/* What recovery did becomes durable, the marker moves, the stamps of closed segments go. */
static int load_settle(struct zdb_ns *ns, const struct mark *m)
{
	uint8_t zero[8] = {0};
	int rc;

	if (ns->recovery.foreign && sys->syncfs(ns->index.f->fd) != 0)
		return -EIO; /* somebody else's writes, in any number of files */
	ns->synced = 0;      /* the log itself may only be in memory yet */
	rc = sync_everything(ns);
	if (rc != 0)
		return rc;
	for (uint32_t n = m->state != 0 ? m->file : ns->data.number; rc == 0 && n < ns->data.number; n++) {
		char path[ZDB_PATH_MAX];
		int fd;

		rc = file_path(ns, DATA_FILE, n, "", path);
		fd = rc == 0 ? sys->open(path, O_WRONLY, 0) : -1;
		if (fd < 0)
			continue;                                        /* evicted */
		(void)sys->pwrite(fd, zero, sizeof(zero), DAT_STAMP_AT); /* tidiness: see rotate.c */
		sys->close(fd);
	}
	return rc != 0 ? rc : mark_clean(ns);
}

/*
 * Nothing can be written.  Who only looks (opt.read_only) gets what is there.  To serve it after a crash the log is
 * replayed in memory, as far as that goes; what the index alone says would be old values and deleted keys.
 */
static int load_read_only(struct zdb_ns *ns, int which, const struct mark *m, char *why, size_t why_size)
{
	int rc;

	if (m->state == MARK_OPEN && !ns->eng->opt.read_only) {
		rc = which == 2 ? load_replay(ns, m, true, why, why_size) : -EROFS;
		return rc != -EROFS
			       ? rc
			       : say(why, why_size, rc,
				     "not stopped cleanly, and its recovery has to write: recover a copy");
	}
	rc = load_clean(ns, m, why, why_size);
	ns->recovery.unclean = m->state == MARK_OPEN;
	pend_release(&ns->pend);
	return rc;
}

static int load_case(struct zdb_ns *ns, const struct mark *m, int which, char *why, size_t why_size)
{
	if (ns->eng->read_only)
		return load_read_only(ns, which, m, why, why_size);
	if (which == 1)
		return load_clean(ns, m, why, why_size);
	if (which == 2)
		return load_replay(ns, m, true, why, why_size);
	return foreign_run(ns, why, why_size);
}

int ns_load(struct zdb_ns *ns, char *why, size_t why_size)
{
	struct found f = {0};
	struct mark m = {0};
	uint32_t last = 0;
	int64_t rebuild = -1;
	int rc, which;

	ns->closed_owed = ns->torn_index = ns->pair_left = -1;
	memset(&ns->recovery, 0, sizeof(ns->recovery));
	rc = load_files(ns, &f, &m, &last, &rebuild, why, why_size);
	if (rc == 0)
		rc = tail_open(ns, &ns->index, INDEX_FILE, last);
	if (rc == 0)
		rc = tail_open(ns, &ns->data, DATA_FILE, last);
	if (rc != 0)
		goto out;
	ns->mark = m;
	ns->jumped_ms = clock_mono_ms();
	ns->rewritten_partial = true; /* unknown for what was written before */
	which = recovery_case(ns, &m);
	if (rebuild >= 0)
		rc = load_rebuild(ns, (uint32_t)rebuild, which != 3, why, why_size);
	else
		rc = load_case(ns, &m, which, why, why_size);
	if (rc == 0 && !ns->eng->read_only)
		rc = load_all_torn(ns, &f, which != 3, why, why_size);
	if (ns->recovery.unclean || ns->recovery.foreign)
		which = 3;
	if (rc == 0 && !ns->eng->read_only && (which != 1 || ns->pend.used != 0))
		rc = load_settle(ns, &m);
	ns->synced = ns->data.size;
	ns->index_synced = ns->index.size;
	bits_clear_all(&ns->dirty);
	ns->record_since = false;
	ns->pend_announced = false;
	if (ns->data.size <= DAT_HEADER)
		ns->rewritten_partial = false;
out:
	bits_release(&f.index);
	bits_release(&f.data);
	return rc;
}

void ns_unload(struct zdb_ns *ns)
{
	missing_wake(ns, -1, -ESHUTDOWN);
	compact_release(ns);
	replaced_release(ns);
	list_del(&ns->unflushed);
	ahead_release(ns);
	tail_close(ns->eng, &ns->index, false);
	tail_close(ns->eng, &ns->data, false);
	fd_forget_all(ns);
	keys_drop(ns);
	bits_release(&ns->dirty);
	bits_release(&ns->touched);
	mem_free(ns->rewritten);
	ns->rewritten = NULL;
	ns->rewritten_count = ns->rewritten_cap = 0;
	ns->opened = ns->ambiguous = false;
	ns->doubt_end = ns->doubt_lasts = 0;
	ns->write_error = 0;
	atomic_store(&ns->sync_lost, false);
	ns->flush_failed = false;
	memset(ns->memos, 0, sizeof(ns->memos));
}

static int cut_remove(void *ctx, const char *name, unsigned char type)
{
	const struct zdb_ns *ns = ctx;
	bool data = name[0] == 'd' && str_ends(name, ".cut"), index = name[0] == 'i' && str_ends(name, TORN);
	char path[ZDB_PATH_MAX];

	(void)type;
	if ((data || index) && file_join(path, sizeof(path), data ? ns->data_dir : ns->index_dir, name) == 0)
		(void)sys->unlink(path); /* it was only kept in case somebody wants to look */
	return 0;
}

int ns_close_clean(struct zdb_ns *ns)
{
	int rc;

	if (ns->eng->read_only || ns->load_error != 0 || ns->index.f == NULL)
		return 0;
	if (ns->write_error != 0)
		return ns->write_error;
	if (!ns->opened)
		return 0; /* nothing was written since the last clean marker */
	rc = pair_left_drop(ns);
	if (rc == 0)
		rc = sync_everything(ns);
	if (rc == 0)
		rc = mark_clean(ns);
	if (rc == 0) {
		(void)file_list(ns->data_dir, cut_remove, ns);
		(void)file_list(ns->index_dir, cut_remove, ns);
	}
	return rc;
}
