/*
 * garbage: objects of closed segments whose files a compaction has replaced.
 *
 * Until a recovery point names the bundle that tells of the new file, every one names the old object, or would: so its deletion is
 * noted without a sequence. The sequence comes with the publication. All of it lies in the spool; what is lost there is a leak, never
 * a loss.
 */
#include <string.h>

#include "applets/zstor/owed.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/str.h"

/* A deletion that waits for its recovery point; a copy, because the list changes while the spool is written. */
struct waiting {
	char ns[SPOOL_NS_MAX + 1];
	uint64_t segment, generation, bundle;
};

struct waiting_list {
	struct waiting *list;
	size_t count;
};

static int put(struct zstor *z, const struct waiting *g, uint64_t sequence)
{
	struct spool_intent in = {.kind = SPOOL_GARBAGE,
				  .first = g->segment,
				  .last = g->bundle,
				  .after_sequence = sequence,
				  .generation = g->generation};
	struct obj_id id;
	int rc = obj_id_set(&id, g->generation, OBJ_SEGMENT, g->segment, g->ns, strlen(g->ns));

	if (rc < 0 || !z->spool)
		return rc;
	memcpy(in.ns, g->ns, sizeof(in.ns));
	obj_name(z->keys, &id, in.name);
	return spool_put(z->spool, &in, NULL, 0);
}

int garbage_replaced(struct zstor *z, const char *ns, uint32_t segment, uint64_t generation)
{
	struct waiting g = {.segment = segment, .generation = generation, .bundle = GARBAGE_LATER};
	int rc = str_copy(g.ns, sizeof(g.ns), ns);

	return rc < 0 ? rc : put(z, &g, GARBAGE_LATER);
}

/* All that wait, as the spool has them now. */
static int take_waiting(struct zstor *z, struct waiting_list *l)
{
	int rc;

	*l = (struct waiting_list){0};
	pthread_mutex_lock(&z->lock);
	rc = owed_refresh(z, true);
	l->list = rc == 0 ? mem_calloc(z->owed->count + 1, sizeof(*l->list)) : NULL;
	if (rc == 0 && !l->list)
		rc = -ENOMEM;
	list_each(&z->owed->items, it)
	{
		const struct owed *o = container_of(it, struct owed, link);
		struct waiting *g;

		if (rc < 0 || o->kind != SPOOL_GARBAGE || o->after_sequence != GARBAGE_LATER || !o->ns[0])
			continue;
		g = &l->list[l->count++];
		(void)str_copy(g->ns, sizeof(g->ns), o->ns); /* a zs_ns has the same bound */
		g->segment = o->first;
		g->generation = o->generation;
		g->bundle = o->last;
	}
	pthread_mutex_unlock(&z->lock);
	return rc;
}

int garbage_told(struct zstor *z, const char *ns, uint32_t segment, uint32_t bundle)
{
	struct waiting_list l;
	int rc = take_waiting(z, &l);

	for (size_t i = 0; rc == 0 && i < l.count; i++) {
		struct waiting *g = &l.list[i];

		if (g->bundle != GARBAGE_LATER || g->segment != segment || strcmp(g->ns, ns) != 0)
			continue;
		g->bundle = bundle;
		rc = put(z, g, GARBAGE_LATER);
	}
	mem_free(l.list);
	return rc;
}

/* The manifest names the bundle, or nothing of the namespace. */
static bool is_free(const struct waiting *g, const struct manifest *m)
{
	const struct manifest_ns *ns = manifest_find(m, g->ns, strlen(g->ns));

	return !ns || (g->bundle != GARBAGE_LATER && g->bundle < ns->closed);
}

void garbage_release(struct zstor *z, const struct manifest *m)
{
	struct waiting_list l;
	int rc = take_waiting(z, &l);

	for (size_t i = 0; rc == 0 && i < l.count; i++)
		if (is_free(&l.list[i], m))
			rc = put(z, &l.list[i], m->sequence);
	if (rc < 0)
		log_warn("segments before their compaction stay on the stores until the next recovery point: "
			 "%s",
			 err_str(rc));
	mem_free(l.list);
}

int garbage_dropped(struct zstor *z, const char *ns, uint64_t sequence)
{
	struct waiting_list l;
	int rc = take_waiting(z, &l);

	for (size_t i = 0; rc == 0 && i < l.count; i++)
		if (strcmp(l.list[i].ns, ns) == 0)
			rc = put(z, &l.list[i], sequence);
	mem_free(l.list);
	return rc;
}

bool garbage_is_row(struct zstor *z, const char *ns, uint64_t segment, uint64_t generation)
{
	const struct zs_row *row = ns[0] && segment <= UINT32_MAX ? ns_row(z, ns, (uint32_t)segment) : NULL;

	return row && row->generation == generation;
}
