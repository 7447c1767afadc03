/*
 * rotate.c - closing a pair of files and starting the next one; the cut of all namespaces.
 *
 * Order, so that a power cut at any point leaves either the old active pair or the new one:
 *   1  log and index of the old pair synced, waiting rewrites applied, older index files synced
 *   2  i<N+1>, then d<N+1> made whole under temporary names, synced, renamed, directories synced; d<N+1> carries the stamp
 *   3  the stamp in d<N> set back to 0 (not synced: recovery does it again)
 *   4  the marker moves to the start of d<N+1>
 *   5  the owner hears of it
 * Goes 2 wrong, both names are taken back for good before anything more is written to the old pair: with a next one behind it a load
 * takes it for closed and durable to its end.
 * The new log takes its first record after that.  Where the owner allows it, it goes on before the old pair is durable: ahead.c.
 */
#include <stdio.h>
#include <stdlib.h>

#include "core/base/clock.h"
#include "core/base/file.h"
#include "core/zdb/zdb_int.h"

#define LONG_ROTATION (1u << 20) /* bytes of log that are not durable: 50 ms for a slow card */

int file_make(const struct zdb_ns *ns, enum which which, uint32_t number, const void *header, size_t size)
{
	char path[ZDB_PATH_MAX];
	int rc = file_path(ns, which, number, "", path);

	return rc != 0 ? rc : file_write_atomic(path, 0600, header, size);
}

static int file_drop(const struct zdb_ns *ns, enum which which, uint32_t number)
{
	char path[ZDB_PATH_MAX];
	int rc = file_path(ns, which, number, "", path);

	return rc == 0 && sys->unlink(path) != 0 && errno != ENOENT ? -errno : rc;
}

/* Says nothing about what the disk holds: the same again may go well. */
static bool passes(int rc)
{
	return err_no_room(rc) || rc == -ENOMEM || rc == -EMFILE || rc == -ENFILE;
}

/* A directory that could not be synced may give the names back after a power cut, also when a later sync succeeds. */
static int pair_drop(struct zdb_ns *ns, uint32_t number)
{
	int rc = file_drop(ns, DATA_FILE, number);

	if (rc == 0)
		rc = file_drop(ns, INDEX_FILE, number);
	if (rc == 0)
		rc = file_sync_dir(ns->index_dir);
	if (rc == 0)
		rc = file_sync_dir(ns->data_dir);
	ns->pair_left = rc == 0 ? -1 : (int64_t)number;
	if (rc != 0 && !passes(rc))
		ns->write_error = -EIO;
	return rc;
}

int pair_left_drop(struct zdb_ns *ns)
{
	int rc = ns->pair_left < 0 ? 0 : pair_drop(ns, (uint32_t)ns->pair_left);

	return err_no_room(rc) ? -ENOSPC : rc;
}

int pair_create(struct zdb_ns *ns, uint32_t number, uint64_t stamp)
{
	uint8_t index[IDX_HEADER], data[DAT_HEADER];
	int rc;

	idx_header_encode(index, number, ns->mode);
	dat_header_encode(data, number, stamp);
	rc = file_make(ns, INDEX_FILE, number, index, sizeof(index));
	if (rc == 0)
		rc = file_make(ns, DATA_FILE, number, data, sizeof(data));
	if (rc != 0)
		(void)pair_drop(ns, number); /* the first error is the one to report */
	return rc;
}

/* From here the list of rewritten places is the new segment's. */
static void closed_told(struct zdb_ns *ns)
{
	ns->closed_owed = -1;
	ns->rewritten_count = 0;
	ns->rewritten_partial = false;
}

int closed_event(struct zdb_ns *ns, uint32_t n)
{
	const struct zdb_events *ev = &ns->eng->ev;
	struct zdb_bundle *bundle = NULL;
	char *dirty;
	int rc;

	ns->closed_owed = n;
	if (ev->segment_closed == NULL) {
		closed_told(ns);
		return 0;
	}
	dirty = zdb_dirty_text(ns);
	if (dirty == NULL)
		return -ENOMEM;
	rc = compact_hurry(ns);
	if (rc == 0 && ns->eng->opt.want_bundles)
		rc = bundle_closed(ns, n, &bundle);
	if (rc == 0)
		rc = ev->segment_closed(ns->eng->opt.events_ctx, ns, n, dirty, bundle);
	if (rc > 0)
		zdb_dirty_reset(ns);
	if (rc >= 0 && bundle != NULL && bundle->replaced_count > 0)
		replaced_told(ns, n);
	if (rc >= 0)
		closed_told(ns);
	if (bundle != NULL)
		zdb_bundle_free(bundle);
	mem_free(dirty);
	return rc < 0 ? rc : 0;
}

/* Only tidiness: recovery and everything that reads a closed segment take these bytes as 0. */
void stamp_forget(const struct zdb_fd *data)
{
	uint8_t zero[8] = {0};

	(void)sys->pwrite(data->fd, zero, sizeof(zero), DAT_STAMP_AT);
}

void pair_switch(struct zdb_ns *ns, struct tail *index, struct tail *data, bool drop_reserve)
{
	tail_close(ns->eng, &ns->index, drop_reserve);
	tail_close(ns->eng, &ns->data, drop_reserve);
	ns->index = *index;
	ns->data = *data;
	ns->synced = ns->data.size;
	ns->index_synced = ns->index.size;
	ns->ambiguous = false;
	ns->doubt_end = ns->doubt_lasts = 0;
	ns->record_since = false;
	ns->jumped_ms = clock_mono_ms();
	ns->eng->stats.rotations++;
}

int rotate(struct zdb_ns *ns)
{
	uint32_t closed = ns->data.number, next = closed + 1;
	struct tail index = {0}, data = {0};
	struct mark m = {.state = MARK_OPEN, .file = next, .offset = DAT_HEADER, .index_size = IDX_HEADER};
	int rc;

	if (next > SEGMENTS_MAX)
		return -EFBIG; /* no load would take it */
	rc = mark_open(ns);
	if (rc == 0 && ns->mode == ZDB_SEQ)
		rc = bases_set(ns, next, ns->next_id);
	if (rc != 0)
		return rc;
	if (ahead_can(ns) && ahead_go(ns) == 0)
		return 0;
	rc = sync_everything(ns);
	if (rc == 0)
		rc = pair_create(ns, next, ns->stamp);
	if (rc != 0)
		return rc;
	rc = tail_open(ns, &index, INDEX_FILE, next);
	if (rc == 0)
		rc = tail_open(ns, &data, DATA_FILE, next);
	if (rc != 0) {
		tail_close(ns->eng, &index, false);
		(void)pair_drop(ns, next); /* the first error is the one to report */
		return rc;
	}
	stamp_forget(ns->data.f);
	pair_switch(ns, &index, &data, true);
	m.stamp = ns->stamp;
	if (ns->mode == ZDB_SEQ) {
		struct sums s;

		sums_fill(ns, &s, &m);
		(void)sums_write(ns->index_dir, &s); /* a cache */
	}
	/* An older marker stays right, only slower to recover from. */
	if (mark_write(ns->index_dir, &m) == 0) {
		ns->mark = m;
		ns->marked_ms = ns->eng->now_ms;
	}
	return closed_event(ns, closed);
}

int zdb_jump(struct zdb_ns *ns)
{
	int rc = ns_writable(ns);

	return rc != 0 ? rc : rotate(ns);
}

bool zdb_ns_is_ahead(const struct zdb_ns *ns)
{
	return ns->ahead != NULL;
}

bool zdb_rotation_is_long(const struct zdb_ns *ns)
{
	return ns->ahead != NULL || (!ahead_can(ns) && ns->data.size - ns->synced > LONG_ROTATION);
}

bool zdb_jump_due(struct zdb_ns *ns, uint64_t age_s)
{
	return ns->record_since && clock_mono_ms() - ns->jumped_ms > age_s * 1000;
}

/* -------------------------------------------------------------------------------------------------------- cut --- */

int zdb_cut(struct zdb *eng, struct zdb_cut **cuts, size_t *count)
{
	struct zdb_cut *rows = mem_calloc(eng->count + 1, sizeof(*rows));
	size_t n = 0;
	int rc = flush_all(eng);

	*cuts = NULL;
	*count = 0;
	if (rows == NULL)
		return -ENOMEM;
	if (rc != 0) {
		mem_free(rows);
		return rc;
	}
	for (size_t i = 0; i < eng->slots_count; i++) {
		struct zdb_ns *ns = eng->slots[i];

		if (ns == NULL || ns->load_error != 0)
			continue;
		rows[n].ns = ns;
		rows[n].mode = ns->mode;
		rows[n].segment = ns->data.number;
		rows[n].offset = ns->data.size;
		rows[n].next_id = ns->next_id;
		rows[n].descriptor_size = (uint32_t)desc_encode(rows[n].descriptor, &ns->desc);
		n++;
	}
	*cuts = rows;
	*count = n;
	return 0;
}

void zdb_cut_free(struct zdb_cut *cuts)
{
	mem_free(cuts);
}
