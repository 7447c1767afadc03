/*
 * load_files.c - opening a namespace: which files are there, which pair is the active one, what has to be made or brought first.
 *
 * The active pair is the highest one, and the marker must not name a higher one: then records that were acknowledged are missing,
 * and its number would be given again.
 */
#include <stdio.h>

#include "core/base/file.h"
#include "core/base/str.h"
#include "core/zdb/load_int.h"

/* ------------------------------------------------------------------------------------------------- what is there --- */

/* A walk through one of the two directories. */
struct walk {
	struct found *found;
	struct bits *bits;
	int64_t *last;
	char letter;
	const char *dir;
	bool writable;
};

/* "i17" -> 17; -1 when it is no such name. */
static int64_t name_number(const char *name, char letter)
{
	uint64_t n = 0;

	if (name[0] != letter || name[1] == '\0' || (name[1] == '0' && name[2] != '\0'))
		return -1;
	for (const char *p = name + 1; *p != '\0'; p++) {
		if (*p < '0' || *p > '9')
			return -1;
		n = n * 10 + (uint64_t)(*p - '0');
		if (n >= UINT32_MAX)
			return -1;
	}
	return (int64_t)n;
}

static int found_add(struct bits *b, int64_t *last, uint32_t n)
{
	int rc = bits_reserve(b, n);

	if (rc != 0)
		return rc;
	bits_set(b, n);
	if (n > *last)
		*last = n;
	return 0;
}

static int found_each(void *ctx, const char *name, unsigned char type)
{
	struct walk *w = ctx;
	char path[ZDB_PATH_MAX];
	int64_t n, before;

	(void)type;
	if (strcmp(name, "zdb-index-00000") == 0)
		w->found->legacy = true;
	if (w->writable && file_is_temp(name) && file_join(path, sizeof(path), w->dir, name) == 0)
		(void)sys->unlink(path); /* litter of a crash */
	if (str_ends(name, ".new"))
		w->found->litter = true;
	if (bundled_name(name, &n, &before))
		w->found->brought = true;
	n = name_number(name, w->letter);
	if (n < 0)
		return 0;
	return n > SEGMENTS_MAX ? -EFBIG : found_add(w->bits, w->last, (uint32_t)n);
}

static int find_files(struct zdb_ns *ns, struct found *f)
{
	struct walk index = {.found = f, .bits = &f->index, .last = &f->index_last, .letter = 'i'};
	struct walk data = {.found = f, .bits = &f->data, .last = &f->data_last, .letter = 'd'};
	int rc;

	memset(f, 0, sizeof(*f));
	f->index_last = f->data_last = -1;
	index.writable = data.writable = !ns->eng->read_only;
	index.dir = ns->index_dir;
	data.dir = ns->data_dir;
	rc = file_list(ns->index_dir, found_each, &index);
	if (rc != 0)
		return rc;
	rc = file_list(ns->data_dir, found_each, &data);
	return rc == -ENOENT && ns->eng->read_only ? 0 : rc;
}

static int64_t found_last(const struct found *f)
{
	return f->index_last > f->data_last ? f->index_last : f->data_last;
}

/* The first index number that is missing although it should be there; -1 none. */
static int64_t first_gap(const struct found *f, uint32_t last)
{
	for (uint32_t i = 0; i <= last; i++)
		if (!bits_has(&f->index, i))
			return i;
	return -1;
}

bool all_data_from(const struct found *f, uint32_t first, uint32_t last)
{
	for (uint32_t i = first; i <= last; i++)
		if (!bits_has(&f->data, i))
			return false;
	return true;
}

/* -------------------------------------------------------------------------------------------------- the active pair --- */

static int header_mode(struct zdb_ns *ns, uint32_t number, char *why, size_t why_size)
{
	uint8_t b[IDX_HEADER];
	const char *bad = NULL;
	enum zdb_mode mode;
	ssize_t n = any_read(ns, INDEX_FILE, number, b, sizeof(b), 0);
	int rc;

	if (n < 0)
		return say(why, why_size, (int)n, "cannot read i%u", number);
	if (n < (ssize_t)IDX_HEADER)
		return 1; /* no header */
	rc = idx_header_decode(b, &mode, &bad);
	if (rc != 0)
		return say(why, why_size, rc, "i%u: %s", number, bad);
	if (ns->eng->opt.mode != ZDB_MIXED && ns->eng->opt.mode != mode)
		return say(why, why_size, -EINVAL, "i%u is in %s mode, the instance is not", number,
			   mode == ZDB_SEQ ? "sequential" : "user");
	ns->mode = mode;
	return 0;
}

/* The mode is in the last index file that has a header. */
static int find_mode(struct zdb_ns *ns, const struct found *f, uint32_t last, char *why, size_t why_size)
{
	int rc = 1;

	for (int64_t n = last; n >= 0 && rc == 1; n--)
		if (bits_has(&f->index, (uint32_t)n))
			rc = header_mode(ns, (uint32_t)n, why, why_size);
	if (rc == 1)
		rc = 0; /* no header at all: the mode the namespace was made with */
	return rc;
}

static int index_header_make(struct zdb_ns *ns, uint32_t number)
{
	uint8_t b[IDX_HEADER];

	idx_header_encode(b, number, ns->mode);
	ns->recovery.headers_made++;
	fd_forget(ns, INDEX_FILE, number);
	return file_make(ns, INDEX_FILE, number, b, sizeof(b));
}

/* The stamp of the segment before, if the marker bears it: then the crash was in our own rotation. */
static uint64_t rotation_stamp(struct zdb_ns *ns, uint32_t number, const struct mark *m)
{
	uint8_t b[8];

	if (m->state != MARK_OPEN || number == 0 ||
	    any_read(ns, DATA_FILE, number - 1, b, sizeof(b), DAT_STAMP_AT) != (ssize_t)sizeof(b))
		return 0;
	return get_u64le(b) == m->stamp ? m->stamp : 0;
}

static int data_header_make(struct zdb_ns *ns, uint32_t number, const struct mark *m)
{
	uint8_t b[DAT_HEADER];

	dat_header_encode(b, number, rotation_stamp(ns, number, m));
	ns->recovery.headers_made++;
	fd_forget(ns, DATA_FILE, number);
	return file_make(ns, DATA_FILE, number, b, sizeof(b));
}

/* Asks the owner for a data file, at most once for each load.  Whether it is here now is to be seen. */
static void ask_owner(struct zdb_ns *ns, struct found *f, uint32_t number)
{
	const struct zdb_events *ev = &ns->eng->ev;
	char path[ZDB_PATH_MAX];

	if (ev->load_missing == NULL || f->asked || file_path(ns, DATA_FILE, number, "", path) != 0)
		return;
	f->asked = true;
	(void)ev->load_missing(ns->eng->opt.events_ctx, ns->name,
			       path); /* what came is looked at, not what it says */
}

/*
 * Both files of the segment that the marker (or the last sync) names are gone: the log is enough to go on, the index is made again
 * from it.
 */
static int check_marked(struct zdb_ns *ns, struct found *f, const struct mark *m, char *why, size_t why_size)
{
	uint32_t n = ns->durable_file;

	if (m->state == 0 || n <= found_last(f))
		return 0;
	ask_owner(ns, f, n);
	if (n <= SEGMENTS_MAX && file_length(ns, DATA_FILE, n) >= (int64_t)DAT_HEADER)
		return found_add(&f->data, &f->data_last, n);
	if (found_last(f) < 0)
		return say(
			why, why_size, -EIO,
			"active files i%u and d%u are missing: the marker names them, and no other is here",
			n, n);
	return say(why, why_size, -EIO,
		   "active files i%u and d%u are missing: the marker names them, and the last segment here "
		   "is %lld",
		   n, n, (long long)found_last(f));
}

/*
 * The active data file must be there, and as long as the marker says.  When it is not, the owner is asked for it once.
 * It is made new only if nothing names a record in it.
 */
static int check_active_data(struct zdb_ns *ns, struct found *f, uint32_t last, const struct mark *m,
			     char *why, size_t why_size)
{
	int64_t need = m->state != 0 && m->file == last ? m->offset : DAT_HEADER;
	int64_t size = file_length(ns, DATA_FILE, last), index = file_length(ns, INDEX_FILE, last);
	bool named = index > (int64_t)IDX_HEADER || need > (int64_t)DAT_HEADER;
	uint8_t stamp[8];

	/* one that cannot be looked at is there: it must not be made new */
	if ((size < 0 && size != -ENOENT) || (index < 0 && index != -ENOENT))
		return say(why, why_size, -EIO, "cannot look at active files i%u and d%u", last, last);
	if (size >= need && (size > (int64_t)DAT_HEADER || !named))
		return 0;
	/* Only we wrote since the marker: then the index may be ahead of a log whose first records were lost. */
	if (size >= need && m->state == MARK_OPEN &&
	    any_read(ns, DATA_FILE, last, stamp, sizeof(stamp), DAT_STAMP_AT) == (ssize_t)sizeof(stamp) &&
	    get_u64le(stamp) == m->stamp)
		return 0;
	if (!named && (size == -ENOENT || size < (int64_t)DAT_HEADER) && ns->eng->read_only)
		return say(why, why_size, -EROFS,
			   "d%u has no header, and nothing names a record in it: a start makes it", last);
	if (!named && (size == -ENOENT || size < (int64_t)DAT_HEADER))
		return data_header_make(ns, last, m);
	ask_owner(ns, f, last);
	size = file_length(ns, DATA_FILE, last);
	if (size >= need && size > (int64_t)DAT_HEADER)
		return 0;
	if (size < 0)
		return say(why, why_size, -EIO,
			   "active data file d%u is missing and the index names records in it", last);
	return say(why, why_size, -EIO, "active data file d%u has %lld bytes, but more were written", last,
		   (long long)size);
}

/* A sequential index file of a closed segment whose length cannot be. */
static bool is_torn(const struct zdb_ns *ns, uint32_t n)
{
	int64_t size = file_length(ns, INDEX_FILE, n);

	return size >= 0 && (size < (int64_t)IDX_HEADER || (size - IDX_HEADER) % SEQ_RECORD != 0);
}

/*
 * An index file whose length tells that it is torn: in sequential mode a closed one; after a clean stop the active one, when it
 * is shorter than then and the log is as it was.
 */
static int64_t first_torn(const struct zdb_ns *ns, const struct found *f, uint32_t last, const struct mark *m)
{
	for (uint32_t n = 0; ns->mode == ZDB_SEQ && n < last; n++)
		if (bits_has(&f->index, n) && is_torn(ns, n))
			return n;
	if (m->state == MARK_CLEAN && m->file == last && file_length(ns, DATA_FILE, last) == m->offset &&
	    bits_has(&f->index, last) && file_length(ns, INDEX_FILE, last) < (int64_t)m->index_size)
		return last;
	return -1;
}

/*
 * A torn sequential file gives all ids behind it to others.  One that cannot be made again from the log counts as missing.
 */
static void forget_torn(const struct zdb_ns *ns, struct found *f, uint32_t last)
{
	for (uint32_t n = 0; ns->mode == ZDB_SEQ && n < last; n++)
		if (bits_has(&f->index, n) && is_torn(ns, n) && !all_data_from(f, n, last))
			bits_clear(&f->index, n);
}

/* Whether only we wrote since the marker: then its log is what the index follows.  1, 0, or a negative code. */
static int marker_is_ours(struct zdb_ns *ns, uint32_t last, const struct mark *m)
{
	uint8_t stamp[8];
	ssize_t n;

	if (m->state != MARK_OPEN)
		return 0;
	n = any_read(ns, DATA_FILE, last, stamp, sizeof(stamp), DAT_STAMP_AT);
	if (n < 0)
		return n == -ENOENT ? 0 : (int)n;
	return n == (ssize_t)sizeof(stamp) && get_u64le(stamp) == m->stamp;
}

/* The data files first ... end - 1 are here, or the owner brings the one that is not. */
static int need_data(struct zdb_ns *ns, struct found *f, uint32_t first, uint32_t end, char *why,
		     size_t why_size)
{
	for (uint32_t n = first; n < end; n++) {
		if (bits_has(&f->data, n))
			continue;
		ask_owner(ns, f, n);
		if (file_length(ns, DATA_FILE, n) < (int64_t)DAT_HEADER)
			return say(why, why_size, -EIO,
				   "index file i%u is missing or torn, and data file d%u, whose records the "
				   "index does not follow yet, is not here",
				   end, n);
		if (found_add(&f->data, &f->data_last, n) != 0)
			return -ENOMEM;
	}
	return 0;
}

/*
 * What the log between the marker and the gap changed in older files may be in no index file yet: two rotations can go ahead of one
 * move of the marker.  So the replay begins no later than where the marker is.
 */
static int gap_behind_marker(struct zdb_ns *ns, struct found *f, uint32_t last, const struct mark *m,
			     int64_t *gap, char *why, size_t why_size)
{
	int rc = *gap > (int64_t)m->file ? marker_is_ours(ns, last, m) : 0;

	if (rc < 0)
		return say(why, why_size, rc, "cannot read d%u", last);
	if (rc == 0)
		return 0;
	rc = need_data(ns, f, m->file, (uint32_t)*gap, why, why_size);
	if (rc == 0)
		*gap = m->file;
	return rc;
}

/*
 * *last: number of the active pair.  *rebuild: the first index file that has to be made again from the log, or -1.
 */
static int choose_files(struct zdb_ns *ns, struct found *f, const struct mark *m, uint32_t *last,
			int64_t *rebuild, char *why, size_t why_size)
{
	int64_t gap, torn;
	int rc;

	*last = (uint32_t)found_last(f);
	rc = find_mode(ns, f, *last, why, why_size);
	if (rc != 0)
		return rc;
	forget_torn(ns, f, *last);
	gap = first_gap(f, *last);
	if (gap >= 0 && !all_data_from(f, (uint32_t)gap, *last))
		rc = bundled_bring(ns, &f->index, &f->data, *last, m, (uint32_t)gap, &gap, why, why_size);
	else if (gap >= 0 && ns->eng->read_only)
		rc = say(why, why_size, -EROFS, "index file i%lld is missing", (long long)gap);
	else if (gap < 0 && f->brought && !ns->eng->read_only)
		bundled_clean(ns);
	if (rc != 0)
		return rc;
	torn = first_torn(ns, f, *last, m);
	if (torn >= 0 && (gap < 0 || torn < gap) && all_data_from(f, (uint32_t)torn, *last))
		gap = torn;
	if (ns->eng->read_only)
		gap = -1;
	rc = gap_behind_marker(ns, f, *last, m, &gap, why, why_size);
	*rebuild = gap;
	return rc;
}

/* Index files that are not there, or have no header, get one. */
static int regular_files(struct zdb_ns *ns, const struct found *f, uint32_t last, int64_t rebuild, char *why,
			 size_t why_size)
{
	int rc = rebuild < 0 ? 0 : mark_back(ns, (uint32_t)rebuild, last);

	for (uint32_t n = 0; rc == 0 && !ns->eng->read_only && n <= last; n++) {
		int64_t size = 0;

		if (bits_has(&f->index, n))
			size = n == last || (rebuild >= 0 && n >= rebuild) ? file_length(ns, INDEX_FILE, n)
									   : IDX_HEADER;
		if (size < 0)
			rc = (int)size;
		else if (size < (int64_t)IDX_HEADER)
			rc = index_header_make(ns, n);
	}
	return rc != 0 ? say(why, why_size, rc, "cannot make index files") : 0;
}

/* What a crash interrupted is ended before anything is read. */
static int end_interrupted(struct zdb_ns *ns, struct found *f, char *why, size_t why_size)
{
	int rc = reindex_repair(ns, f->litter, why, why_size);

	if (rc == 0)
		rc = compact_repair(ns, f->litter, (uint32_t)(f->index_last < 0 ? 0 : f->index_last), why,
				    why_size);
	return rc == 0 ? replaced_load(ns, why, why_size) : rc;
}

static int find_marker(struct zdb_ns *ns, struct mark *m, char *why, size_t why_size)
{
	int rc = mark_read(ns, m);

	if (rc != 0 && rc != -ENOENT)
		return say(why, why_size, rc, "cannot read its marker");
	rc = clear_end(ns, m, why, why_size);
	durable_find(ns, m);
	return rc;
}

/* The pairs up to the active one: chosen, and what can be made of them without a record of the log. */
static int settle_files(struct zdb_ns *ns, struct found *f, const struct mark *m, uint32_t *last,
			int64_t *rebuild, char *why, size_t why_size)
{
	int rc = choose_files(ns, f, m, last, rebuild, why, why_size);

	if (rc == 0)
		rc = check_active_data(ns, f, *last, m, why, why_size);
	return rc == 0 ? regular_files(ns, f, *last, *rebuild, why, why_size) : rc;
}

int load_files(struct zdb_ns *ns, struct found *f, struct mark *m, uint32_t *last, int64_t *rebuild,
	       char *why, size_t why_size)
{
	int rc = find_marker(ns, m, why, why_size);

	if (rc != 0)
		return rc;
	rc = reread(ns, m, why, why_size);
	if (rc == 0)
		rc = ahead_settle(ns, m, why, why_size);
	if (rc != 0)
		return rc;
	rc = find_files(ns, f);
	if (rc != 0)
		return say(why, why_size, rc, "cannot list its files");
	if (f->legacy)
		return say(why, why_size, -EINVAL,
			   "unsupported database: zdb-index-00000 of an early version is here");
	rc = end_interrupted(ns, f, why, why_size);
	if (rc == 0)
		rc = check_marked(ns, f, m, why, why_size);
	if (rc != 0)
		return rc;
	if (found_last(f) < 0) {
		if (ns->eng->read_only)
			return say(why, why_size, -EROFS,
				   "it has no files yet: a start makes its first ones");
		rc = pair_create(ns, 0, 0);
		if (rc != 0)
			return say(why, why_size, rc, "cannot make its first files");
		mark_remove(ns);
	} else {
		rc = settle_files(ns, f, m, last, rebuild, why, why_size);
	}
	if (rc == 0 && !ns->eng->read_only && replaced_apply(ns, *last) != 0)
		rc = say(why, why_size, -EIO, "cannot repeat what a compaction changed in its index files");
	return rc;
}
