/*
 * scan: owes what lies here closed, is not stored, and is not owed. It makes the spool again when that was lost, and never
 * asks a store for anything: whether an owed segment is stored already is found out when it is its turn.
 *
 * Closed are the segments below the one with the highest index file. A segment that is stored and was evicted is in its
 * table, so it is passed over. Bundles of segments whose intention was lost come from the front zdb, which derives them.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "applets/zstor/owed.h"
#include "core/base/log.h"
#include "core/base/str.h"
#include "core/base/sys.h"
#include "core/spool/where.h"

struct scan {
	struct zstor *z;
	int added;
};

/* The active segment of a namespace: the one with the highest index file. */
struct highest {
	bool found;
	uint32_t number;
};

static int see_index(void *ctx, const char *name, unsigned char type)
{
	struct highest *h = ctx;
	uint32_t number;

	if (type != DT_REG || name[0] != 'i' || str_parse_u32(name + 1, &number) < 0)
		return 0;
	if (!h->found || number > h->number)
		h->number = number;
	h->found = true;
	return 0;
}

static int owe_segment(struct scan *s, const char *ns, uint32_t n)
{
	struct spool_intent in = {.kind = SPOOL_SEGMENT, .first = n, .last = n};
	char path[FILE_PATH_MAX];
	struct stat st;
	int rc = segment_path(s->z, path, sizeof(path), ns, n);

	if (rc < 0 || sys->stat(path, &st) < 0)
		return rc; /* not here: nothing that could be stored */
	in.size = (uint64_t)st.st_size;
	(void)str_copy(in.ns, sizeof(in.ns), ns);
	rc = spool_put(s->z->spool, &in, NULL, 0);
	if (rc == 0)
		s->added++;
	return rc;
}

/* Only the server knows what a segment changed in the index: it derives that from the log. */
static void owe_bundle(struct scan *s, const char *ns, uint32_t n)
{
	char why[ZS_WHY] = "";

	if (front_spool(s->z, ns, n, why) == 0)
		s->added++;
	else /* asked for again by the next recovery point */
		log_every(60000, LOG_LEVEL_WARN, "the index changes of %s/%" PRIu32 " cannot be had now: %s",
			  ns, n, why);
}

static int scan_ns(void *ctx, const char *name, unsigned char type)
{
	struct scan *s = ctx;
	struct highest h = {0};
	const struct manifest_ns *last;
	char dir[FILE_PATH_MAX];
	uint32_t named;
	int rc;

	if (type != DT_DIR || where_is_temp(name) || name[0] == '.' || strlen(name) > SPOOL_NS_MAX)
		return 0;
	rc = file_join(dir, sizeof(dir), s->z->conf.index_root, name);
	if (rc == 0)
		rc = file_list(dir, see_index, &h);
	pthread_mutex_lock(&s->z->lock);
	last = manifest_find(&s->z->vol.last, name, strlen(name));
	named = last ? last->closed : 0;
	pthread_mutex_unlock(&s->z->lock);
	for (uint32_t n = 0; rc == 0 && h.found && n < h.number; n++) {
		struct zs_ns *ns;
		bool segment, bundle;

		pthread_mutex_lock(&s->z->lock);
		ns = ns_find(s->z, name);
		segment = !ns_row(s->z, name, n) && !owed_has(s->z, SPOOL_SEGMENT, name, n);
		bundle = n >= named && !(ns && ns_has_bundle(ns, n, n)) &&
			 !owed_has(s->z, SPOOL_BUNDLE, name, n);
		pthread_mutex_unlock(&s->z->lock);
		if (segment)
			rc = owe_segment(s, name, n);
		if (rc == 0 && bundle)
			owe_bundle(s, name, n);
	}
	return rc;
}

int scan_run(struct zstor *z)
{
	struct scan s = {.z = z};
	int rc;

	pthread_mutex_lock(&z->lock);
	rc = owed_refresh(z, true);
	pthread_mutex_unlock(&z->lock);
	if (rc == 0)
		rc = file_list(z->conf.index_root, scan_ns, &s);
	if (rc == -ENOENT)
		rc = 0; /* no server has made it yet */
	if (s.added)
		log_info("the scan of local files found %d that were neither stored nor owed", s.added);
	if (rc < 0)
		log_warn("the scan of %s ended early: %s", z->conf.index_root, err_str(rc));
	return rc < 0 ? rc : s.added;
}
