/*
 * point_manifest: what a recovery point names, made of the one before and a cut; the tails of active segments are stored on the way.
 */
#include <fcntl.h>
#include <string.h>

#include "applets/zstor/owed.h"
#include "applets/zstor/point_int.h"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/sys.h"

static int give_up_tails(struct point *p, struct manifest_ns *ns)
{
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < ns->tails_count; i++) {
		struct obj_id id;

		rc = obj_id_set(&id, ns->tails[i].generation, OBJ_TAIL,
				obj_number_tail(ns->closed, ns->tails[i].end), ns->name, ns->name_len);
		if (rc == 0)
			rc = id_list_add(&p->old, &id);
	}
	if (rc == 0)
		manifest_ns_clear_tails(ns);
	return rc;
}

/* Bundles of the segments that closed since; the segments themselves are named by the bundles' rows. */
static int add_closed(struct point *p, struct manifest_ns *ns, uint32_t segment)
{
	int rc = 0;

	if (ns->closed < segment)
		rc = give_up_tails(p, ns);
	while (rc == 0 && ns->closed < segment) {
		struct manifest_bundle b = {0};
		struct zs_ns *local;
		uint64_t seq = 0, *grown;

		pthread_mutex_lock(&p->z->lock);
		local = ns_find(p->z, ns->name);
		for (size_t i = 0; local && i < local->bundles_count; i++) {
			if (local->bundles[i].bundle.first == ns->closed) {
				b = local->bundles[i].bundle;
				seq = local->bundles[i].seq;
			}
		}
		pthread_mutex_unlock(&p->z->lock);
		if (!seq)
			return -EAGAIN;
		rc = manifest_ns_bundle(ns, &b, NULL, NULL);
		if (rc < 0)
			break;
		manifest_ns_close(ns);
		grown = mem_realloc_array(p->bundle_seqs, p->bundle_seqs_count + 1, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		p->bundle_seqs = grown;
		grown[p->bundle_seqs_count++] = seq;
	}
	return rc;
}

static int store_tail(struct point *p, struct manifest_ns *ns, uint32_t start, uint32_t end)
{
	struct manifest_tail tail = {.generation = p->generation, .start = start, .end = end};
	struct obj_file_range range = {.start = start, .data_header = true};
	struct obj_source source;
	char path[FILE_PATH_MAX];
	struct obj_id id;
	int rc = segment_path(p->z, path, sizeof(path), ns->name, ns->closed);

	if (rc < 0)
		return rc;
	range.fd = sys->open(path, O_RDONLY, 0);
	if (range.fd < 0) {
		rc = -errno;
		snprintf(p->why, ZS_WHY, "cannot read %s: %s", path, err_str(rc));
		return rc;
	}
	source = obj_source_file(&range, end - start);
	rc = obj_id_set(&id, tail.generation, OBJ_TAIL, obj_number_tail(ns->closed, end), ns->name,
			ns->name_len);
	if (rc == 0)
		rc = object_put(p->z, p->w, &id, &source, tail.content, p->why);
	sys->close(range.fd);
	if (rc == 0)
		rc = id_list_add(&p->made, &id);
	return rc == 0 ? manifest_ns_tail(ns, &tail) : rc;
}

static int add_tail(struct point *p, struct manifest_ns *ns, const struct front_cut *c)
{
	uint32_t start = manifest_ns_tail_end(ns);
	int rc;

	if (c->offset <= DATA_HEAD_BYTES && ns->tails_count == 0)
		return 0; /* nothing but a header, which a restore can write by itself */
	if (c->offset == start && ns->tails_count)
		return 0;
	if (c->offset < start || ns->tails_count == MANIFEST_TAILS_MAX) {
		rc = give_up_tails(p, ns);
		if (rc < 0)
			return rc;
		start = 0;
	}
	return store_tail(p, ns, start, c->offset);
}

static int add_namespace(struct point *p, const struct front_cut *c)
{
	size_t len = strlen(c->name);
	struct manifest_ns *ns = manifest_find(&p->m, c->name, len);
	int rc;

	if (ns && c->segment < ns->closed) { /* flushed or made anew: numbers begin again */
		rc = give_up_tails(p, ns);
		if (rc < 0)
			return rc;
		manifest_remove(&p->m, c->name, len);
		ns = NULL;
	}
	if (!ns)
		ns = manifest_add(&p->m, c->name, len, c->mode);
	if (!ns)
		return -ENOMEM;
	ns->mode = c->mode;
	rc = manifest_ns_descriptor(ns, c->descriptor, c->descriptor_len);
	if (rc == 0)
		rc = add_closed(p, ns, c->segment);
	return rc == 0 ? add_tail(p, ns, c) : rc;
}

static bool is_in_cut(const struct point *p, const char *name)
{
	for (size_t i = 0; i < p->cuts.count; i++)
		if (strcmp(p->cuts.list[i].name, name) == 0)
			return true;
	return false;
}

int point_make_manifest(struct point *p)
{
	char why[ZS_WHY] = "";
	int rc = 0;

	/* What was deleted has left the last manifest with its nsdrop (vol_forget_ns). */
	for (unsigned i = 0; i < p->m.count; i++) {
		if (is_in_cut(p, p->m.ns[i].name))
			continue;
		snprintf(p->why, ZS_WHY,
			 "namespace %s is stored, was not deleted, and the front zdb does not have it: bring "
			 "its files back, or "
			 "make it again and delete it",
			 p->m.ns[i].name);
		return -EAGAIN;
	}
	for (size_t i = 0; rc == 0 && i < p->cuts.count; i++)
		rc = add_namespace(p, &p->cuts.list[i]);
	if (rc == 0 && merge_due_bundles(p->z, p->w, &p->m, &p->old, &p->made, why) < 0)
		log_warn("bundles are not merged now: %s", why); /* the point is whole without it */
	p->m.generation = p->generation;
	p->m.sequence = p->z->vol.local.sequence + 1;
	p->m.time = clock_wall_s();
	return rc;
}
