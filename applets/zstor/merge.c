/*
 * merge: of every 32 neighbouring bundles of one level one larger is made, so that a restore reads few of them. The bytes
 * are read back from the stores (nobody keeps them here), merged in files, and stored as one more object; what it replaces is
 * deleted only after the manifest that no longer names it has been followed by four more.
 */
#include <stdio.h>
#include <string.h>

#include "applets/zstor/zstor.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/sys.h"
#include "core/object/bundle.h"

#define MERGES_PER_POINT 4

struct merge {
	int fds[BUNDLE_FAN];
	struct bundle bundles[BUNDLE_FAN];
	const struct bundle *list[BUNDLE_FAN];
	unsigned opened;
	int out_fd;
};

static void bundle_id(struct obj_id *id, const struct manifest_ns *ns, const struct manifest_bundle *b)
{
	(void)obj_id_set(id, b->generation, OBJ_BUNDLE, obj_number_bundle(b->first, b->last), ns->name,
			 ns->name_len);
}

static int fetch(struct zstor *z, struct obj_work *w, const struct manifest_ns *ns,
		 const struct manifest_bundle *b, struct merge *mg, char *why)
{
	struct obj_id id;
	const char *what = "";
	uint64_t size;
	int rc, fd = zs_temp_file(z);

	if (fd < 0)
		return fd;
	mg->fds[mg->opened] = fd;
	bundle_id(&id, ns, b);
	rc = object_fetch(z, w, &id, b->content, fd, 0, &size, why);
	if (rc == 0)
		rc = bundle_open(fd, &mg->bundles[mg->opened], &what);
	if (rc < 0) {
		sys->close(fd);
		return rc;
	}
	mg->list[mg->opened] = &mg->bundles[mg->opened];
	mg->opened++;
	return 0;
}

static int replace(struct zstor *z, struct obj_work *w, struct manifest_ns *ns, size_t begin, size_t end,
		   uint64_t size, struct merge *mg, struct obj_id_list *old, struct obj_id_list *made_ids,
		   char *why)
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

static int merge_one(struct zstor *z, struct obj_work *w, struct manifest_ns *ns, size_t begin, size_t end,
		     struct obj_id_list *old, struct obj_id_list *made, char *why)
{
	struct merge *mg = mem_calloc(1, sizeof(*mg));
	uint64_t size = 0;
	int rc = 0;

	if (!mg)
		return -ENOMEM;
	mg->out_fd = zs_temp_file(z);
	if (mg->out_fd < 0)
		rc = mg->out_fd;
	for (size_t i = begin; rc == 0 && i < end; i++)
		rc = fetch(z, w, ns, &ns->bundles[i], mg, why);
	if (rc == 0)
		rc = bundle_merge(mg->list, mg->opened, NULL, 0, mg->out_fd, &size);
	if (rc == 0)
		rc = replace(z, w, ns, begin, end, size, mg, old, made, why);
	for (unsigned i = 0; i < mg->opened; i++) {
		bundle_release(&mg->bundles[i]);
		sys->close(mg->fds[i]);
	}
	if (mg->out_fd >= 0)
		sys->close(mg->out_fd);
	mem_free(mg);
	return rc;
}

int merge_due_bundles(struct zstor *z, struct obj_work *w, struct manifest *m, struct obj_id_list *old,
		      struct obj_id_list *made, char *why)
{
	int rc = 0;

	for (unsigned i = 0; i < m->count; i++) {
		struct manifest_ns *ns = &m->ns[i];

		for (int merges = 0; merges < MERGES_PER_POINT; merges++) {
			size_t begin;

			if (!manifest_ns_merge_due(ns, &begin))
				break;
			rc = merge_one(z, w, ns, begin, begin + BUNDLE_FAN, old, made, why);
			if (rc < 0)
				return rc;
			log_info("merged %d bundles of %s", BUNDLE_FAN, ns->name);
		}
	}
	return rc;
}
