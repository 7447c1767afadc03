/*
 * merge: of every 32 neighbouring bundles of one level one larger is made, so that a restore reads few of them. The bytes
 * are read back from the stores (nobody keeps them here), merged in files, and stored as one more object; what it replaces is
 * deleted only after the manifest that no longer names it has been followed by four more.
 *
 * What would pass z->bundle_max stays as it is. That is known from the sizes when they add up to less; otherwise from the bundles'
 * tables, which are a small part of them; and it is remembered, so that it is found out once in a run.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "applets/zstor/zstor.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/sys.h"
#include "core/object/bundle.h"

#define MERGES_PER_POINT 4
#define TABLES_CHUNK     (1u << 20)

struct merge {
	struct zstor *z;
	struct obj_work *w;
	const struct manifest_bundle *from; /* the 32 of them */
	struct record recs[BUNDLE_FAN];
	int fds[BUNDLE_FAN];
	struct bundle bundles[BUNDLE_FAN];
	const struct bundle *list[BUNDLE_FAN];
	unsigned opened;
	int out_fd;
	uint8_t *chunk;
	char *why;
};

static void bundle_id(struct obj_id *id, const struct manifest_ns *ns, const struct manifest_bundle *b)
{
	(void)obj_id_set(id, b->generation, OBJ_BUNDLE, obj_number_bundle(b->first, b->last), ns->name,
			 ns->name_len);
}

/* Their records. *size: what they add up to. */
static int find_all(struct merge *mg, const struct manifest_ns *ns, uint64_t *size)
{
	int code = 0, rc = 0;

	*size = 0;
	for (unsigned i = 0; rc == 0 && i < BUNDLE_FAN; i++) {
		struct obj_id id;

		bundle_id(&id, ns, &mg->from[i]);
		if (object_find(mg->z, mg->w, &id, &mg->recs[i], NULL, &code) != OBJ_FOUND)
			rc = -EAGAIN;
		else if (memcmp(mg->recs[i].priv.content, mg->from[i].content, CONTENT_ID_BYTES) != 0)
			rc = -E_CORRUPT;
		else
			*size += mg->recs[i].priv.size;
	}
	return rc;
}

static int read_range(struct merge *mg, unsigned i, uint64_t at, size_t len)
{
	return obj_read_range(mg->w, &mg->recs[i], &mg->z->data_stores, at, len, mg->chunk, NULL, mg->why);
}

/* A file of the bundle's size that holds its tables, and nothing behind them. */
static int read_tables(struct merge *mg, unsigned i, int fd)
{
	uint64_t size = mg->recs[i].priv.size, end = 0;
	int rc = size < BUNDLE_HEAD_BYTES ? -E_CORRUPT : read_range(mg, i, 0, BUNDLE_HEAD_BYTES);

	if (rc == 0)
		end = bundle_tables_end(mg->chunk);
	if (rc == 0 && end > size)
		rc = -E_CORRUPT;
	for (uint64_t at = 0; rc == 0 && at < end;) {
		size_t len = end - at < TABLES_CHUNK ? (size_t)(end - at) : TABLES_CHUNK;

		rc = read_range(mg, i, at, len);
		if (rc == 0)
			rc = file_pwrite_full(fd, mg->chunk, len, (off_t)at);
		at += len;
	}
	if (rc == 0 && sys->ftruncate(fd, (off_t)size) < 0)
		rc = -errno;
	return rc;
}

static int read_whole(struct merge *mg, unsigned i, int fd)
{
	struct obj_file_range range = {.fd = fd};
	struct obj_sink sink = obj_sink_file(&range);

	return obj_read(mg->w, &mg->recs[i], &mg->z->data_stores, &sink, NULL, mg->why);
}

/* Opens all of them from files that `read` fills. */
static int open_all(struct merge *mg, int (*read)(struct merge *mg, unsigned i, int fd))
{
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < BUNDLE_FAN; i++) {
		const char *what = "";
		int fd = zs_temp_file(mg->z);

		rc = fd < 0 ? fd : read(mg, i, fd);
		if (rc == 0)
			rc = bundle_open(fd, &mg->bundles[i], &what);
		if (rc < 0 && fd >= 0)
			sys->close(fd);
		if (rc < 0)
			break;
		mg->fds[i] = fd;
		mg->list[i] = &mg->bundles[i];
		mg->opened++;
	}
	return rc;
}

static void close_all(struct merge *mg)
{
	for (unsigned i = 0; i < mg->opened; i++) {
		bundle_release(&mg->bundles[i]);
		sys->close(mg->fds[i]);
	}
	mg->opened = 0;
}

/* What one object can hold with the stripes that object_memory allows may be less than what a bundle may have. */
static uint64_t size_limit(struct zstor *z)
{
	struct obj_geometry g = {.k = (unsigned)z->conf.k, .n = (unsigned)z->conf.n};
	uint64_t object = UINT64_MAX;

	if (obj_geometry_plan(&g, z->conf.object_memory) == 0)
		object = (uint64_t)OBJ_STRIPES_MAX << g.stripe_log2;
	return object < z->bundle_max ? object : z->bundle_max;
}

/* -EMSGSIZE when what comes of them would be too large. */
static int refuse_large(struct merge *mg)
{
	uint64_t size = 0;
	int rc;

	mg->chunk = mem_alloc(TABLES_CHUNK);
	rc = mg->chunk ? open_all(mg, read_tables) : -ENOMEM;
	if (rc == 0)
		rc = bundle_merged_size(mg->list, mg->opened, &size);
	close_all(mg);
	return rc == 0 && size > size_limit(mg->z) ? -EMSGSIZE : rc;
}

/* ------------------------------------------------------------------------------------ refused, remembered --- */

/* With `lock` held. */
static bool is_remembered(const struct zs_ns *ns, const uint8_t group[CONTENT_ID_BYTES])
{
	unsigned count = ns->too_large_count < ZS_TOO_LARGE_MAX ? ns->too_large_count : ZS_TOO_LARGE_MAX;

	for (unsigned i = 0; i < count; i++)
		if (memcmp(ns->too_large[i], group, CONTENT_ID_BYTES) == 0)
			return true;
	return false;
}

_Static_assert(sizeof(struct manifest_bundle) == 16 + CONTENT_ID_BYTES, "groups are compared as bytes");

/* The group is known by what its bundles are, so other ones under the same numbers are not meant. */
static bool was_refused(struct zstor *z, const char *name, const struct manifest_bundle *from)
{
	uint8_t group[CONTENT_ID_BYTES];
	const struct zs_ns *ns;
	bool was;

	content_id_of(from, BUNDLE_FAN * sizeof(*from), group);
	pthread_mutex_lock(&z->lock);
	ns = ns_find(z, name);
	was = ns && is_remembered(ns, group);
	pthread_mutex_unlock(&z->lock);
	return was;
}

static void note_refused(struct zstor *z, const char *name, const struct manifest_bundle *from)
{
	uint8_t group[CONTENT_ID_BYTES];
	struct zs_ns *ns;

	content_id_of(from, BUNDLE_FAN * sizeof(*from), group);
	pthread_mutex_lock(&z->lock);
	ns = ns_get(z, name);
	if (ns)
		memcpy(ns->too_large[ns->too_large_count++ % ZS_TOO_LARGE_MAX], group, sizeof(group));
	pthread_mutex_unlock(&z->lock);
	log_info("bundles %u to %u of %s stay as they are: together they would be too large", from->first,
		 from[BUNDLE_FAN - 1].last, name);
}

/* ------------------------------------------------------------------------------------------------ merging --- */

static int replace(struct zstor *z, struct obj_work *w, struct manifest_ns *ns, size_t begin, size_t end,
		   uint64_t size, const struct merge *mg, struct obj_id_list *old,
		   struct obj_id_list *made_ids, char *why)
{
	struct manifest_bundle made = {.first = ns->bundles[begin].first, .last = ns->bundles[end - 1].last};
	struct obj_file_range range = {.fd = mg->out_fd};
	struct obj_source source = obj_source_file(&range, size);
	struct obj_id id;
	int rc = 0;

	pthread_mutex_lock(&z->lock);
	made.generation = z->vol.local.generation;
	pthread_mutex_unlock(&z->lock);
	bundle_id(&id, ns, &made);
	rc = object_put(z, w, &id, &source, made.content, why);
	if (rc == 0)
		rc = id_list_add(made_ids, &id);
	for (size_t i = begin; rc == 0 && i < end; i++) {
		bundle_id(&id, ns, &ns->bundles[i]);
		rc = id_list_add(old, &id);
	}
	return rc == 0 ? manifest_ns_bundle(ns, &made, NULL, NULL) : rc;
}

static int merge_one(struct zstor *z, struct obj_work *w, struct manifest_ns *ns, size_t begin,
		     struct obj_id_list *old, struct obj_id_list *made, char *why)
{
	struct merge *mg = mem_calloc(1, sizeof(*mg));
	uint64_t size = 0;
	int rc;

	if (!mg)
		return -ENOMEM;
	*mg = (struct merge){
		.z = z, .w = w, .from = &ns->bundles[begin], .why = why, .out_fd = zs_temp_file(z)};
	for (unsigned i = 0; i < BUNDLE_FAN; i++)
		record_init(&mg->recs[i]);
	rc = mg->out_fd < 0 ? mg->out_fd : find_all(mg, ns, &size);
	if (rc == 0 && size > size_limit(z))
		rc = refuse_large(mg);
	if (rc == 0)
		rc = open_all(mg, read_whole);
	if (rc == 0)
		rc = bundle_merge(mg->list, mg->opened, NULL, 0, mg->out_fd, &size);
	if (rc == 0)
		rc = replace(z, w, ns, begin, begin + BUNDLE_FAN, size, mg, old, made, why);
	close_all(mg);
	for (unsigned i = 0; i < BUNDLE_FAN; i++)
		record_release(&mg->recs[i]);
	if (mg->out_fd >= 0)
		sys->close(mg->out_fd);
	mem_free(mg->chunk);
	mem_free(mg);
	return rc;
}

static int merge_ns(struct zstor *z, struct obj_work *w, struct manifest_ns *ns, struct obj_id_list *old,
		    struct obj_id_list *made, char *why)
{
	size_t begin, from = 0;
	int rc = 0, merges = 0;

	while (merges < MERGES_PER_POINT && manifest_ns_merge_due(ns, from, &begin)) {
		from = begin + BUNDLE_FAN; /* behind a group that stays */
		if (was_refused(z, ns->name, &ns->bundles[begin]))
			continue;
		rc = merge_one(z, w, ns, begin, old, made, why);
		merges++;
		if (rc == -EMSGSIZE) {
			note_refused(z, ns->name, &ns->bundles[begin]);
			rc = 0;
			continue;
		}
		if (rc < 0)
			break;
		log_info("merged %d bundles of %s", BUNDLE_FAN, ns->name);
		from = 0; /* the new one may complete a group of the next level */
	}
	return rc;
}

int merge_due_bundles(struct zstor *z, struct obj_work *w, struct manifest *m, struct obj_id_list *old,
		      struct obj_id_list *made, char *why)
{
	int first = 0;

	for (unsigned i = 0; i < m->count; i++) {
		char own[ZS_WHY] = "";
		int rc = merge_ns(z, w, &m->ns[i], old, made, own);

		if (rc == 0 || first < 0)
			continue;
		first = rc;
		snprintf(why, ZS_WHY, "%s", own[0] ? own : err_str(rc));
	}
	return first;
}
