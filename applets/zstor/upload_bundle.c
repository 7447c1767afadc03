/*
 * upload_bundle: a bundle from the spool, completed with the rows of its segments, goes to the stores.
 *
 * Rows say where a content lies, so the segments come first: those that it closes, and those that a compaction has replaced.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "applets/zstor/owed.h"
#include "core/base/mem.h"
#include "core/base/sys.h"
#include "core/object/bundle.h"

struct replaced_list {
	uint32_t *segments;
	uint32_t count;
};

static int add_rows(struct zstor *z, const struct owed *o, struct bundle_row *rows)
{
	int rc = 0;

	pthread_mutex_lock(&z->lock);
	for (uint64_t n = o->first; n <= o->last; n++) {
		const struct zs_row *row = ns_row(z, o->ns, (uint32_t)n);
		struct bundle_row *to = &rows[n - o->first];

		if (!row) {
			rc = -EAGAIN;
			break;
		}
		to->segment = (uint32_t)n;
		to->generation = row->generation;
		to->size = row->size;
		memcpy(to->content, row->content, CONTENT_ID_BYTES);
	}
	pthread_mutex_unlock(&z->lock);
	return rc;
}

/* Fills in where the content of a row is. False: the segment is not stored as that. */
static bool fill_row(struct zstor *z, const char *ns, struct bundle_row *to)
{
	const struct zs_row *row;
	bool same;

	pthread_mutex_lock(&z->lock);
	row = ns_row(z, ns, to->segment);
	same = row && row->size == to->size && memcmp(row->content, to->content, CONTENT_ID_BYTES) == 0;
	if (same)
		to->generation = row->generation;
	pthread_mutex_unlock(&z->lock);
	return same;
}

/*
 * Rows of generation 0 name segments that a compaction has replaced. They were owed before this; should that have been lost, they are
 * stored now.
 */
static int fill_replaced(struct zstor *z, struct obj_work *w, const struct owed *o, struct bundle *b,
			 char *why)
{
	for (uint32_t i = 0; i < b->rows_count; i++) {
		struct bundle_row *to = &b->rows[i];

		if (to->generation || fill_row(z, o->ns, to))
			continue;
		if (upload_segment(z, w, o->ns, to->segment, NULL, why) < 0 || !fill_row(z, o->ns, to)) {
			snprintf(why, ZS_WHY, "segment %" PRIu32 ", which was compacted, is not stored yet",
				 to->segment);
			return -EAGAIN;
		}
	}
	return 0;
}

/* What they were stored as before goes with the recovery point that names this bundle. */
static int tell_replaced(struct zstor *z, const struct owed *o, const struct replaced_list *l)
{
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < l->count; i++)
		rc = garbage_told(z, o->ns, l->segments[i], (uint32_t)o->last);
	return rc;
}

/* The segments whose rows zstor has to fill in. */
static int list_replaced(const struct bundle *b, struct replaced_list *l)
{
	l->segments = mem_calloc(b->rows_count + 1u, sizeof(*l->segments));
	if (!l->segments)
		return -ENOMEM;
	for (uint32_t i = 0; i < b->rows_count; i++)
		if (!b->rows[i].generation)
			l->segments[l->count++] = b->rows[i].segment;
	return 0;
}

/* Payload of the intention plus the rows of its segments, into `to`. */
static int complete_bundle(struct zstor *z, struct obj_work *w, const struct owed *o, int from, int to,
			   uint64_t *size, struct replaced_list *replaced, char *why)
{
	struct bundle_row *rows = mem_calloc((size_t)(o->last - o->first + 1), sizeof(*rows));
	struct spool_intent in;
	struct bundle b = {0};
	const struct bundle *list[1] = {&b};
	const char *what = "";
	int rc;

	if (!rows)
		return -ENOMEM;
	owed_intent(o, &in);
	rc = spool_payload_copy(z->spool, &in, from);
	if (rc == 0)
		rc = bundle_open(from, &b, &what);
	if (rc == -E_CORRUPT)
		snprintf(why, ZS_WHY, "the bundle in the spool is damaged: %s", what);
	if (rc == 0) {
		rc = list_replaced(&b, replaced);
		if (rc == 0)
			rc = fill_replaced(z, w, o, &b, why);
		if (rc == 0)
			rc = add_rows(z, o, rows);
		if (rc == 0)
			rc = bundle_merge(list, 1, rows, (uint32_t)(o->last - o->first + 1), to, size);
		bundle_release(&b);
	}
	mem_free(rows);
	return rc;
}

int upload_bundle(struct zstor *z, struct obj_work *w, const struct owed *o, char *why)
{
	struct manifest_bundle done = {
		.generation = zs_generation(z), .first = (uint32_t)o->first, .last = (uint32_t)o->last};
	struct replaced_list replaced = {0};
	struct obj_file_range range;
	struct obj_source source;
	struct obj_id id;
	struct zs_ns *ns;
	uint64_t size = 0;
	int from, to = -1, rc;

	if (o->last < o->first || o->last - o->first >= BUNDLE_ROWS_MAX)
		return -E_CORRUPT;
	from = zs_temp_file(z);
	to = from < 0 ? -1 : zs_temp_file(z);
	rc = from < 0 ? from : to < 0 ? to : complete_bundle(z, w, o, from, to, &size, &replaced, why);
	if (rc == 0)
		rc = obj_id_set(&id, done.generation, OBJ_BUNDLE, obj_number_bundle(done.first, done.last),
				o->ns, strlen(o->ns));
	if (rc == 0) {
		range = (struct obj_file_range){.fd = to};
		source = obj_source_file(&range, size);
		rc = object_put(z, w, &id, &source, done.content, why);
	}
	if (rc == 0)
		rc = tell_replaced(z, o, &replaced);
	mem_free(replaced.segments);
	if (from >= 0)
		sys->close(from);
	if (to >= 0)
		sys->close(to);
	if (rc < 0)
		return rc;
	pthread_mutex_lock(&z->lock);
	ns = ns_find(z, o->ns);
	rc = ns ? ns_bundle_done(ns, &done, o->seq) : -ENOENT;
	pthread_mutex_unlock(&z->lock);
	return rc;
}
