/*
 * point: one recovery point (native format, section 7): cut; wait until every closed segment below the cut, and its bundle, is
 * stored (the upload threads do that); store the tails; read the identities; publish the manifest; then, and only then,
 * forget what it makes superfluous. Whatever fails, the point before stays whole, and what is owed stays in the spool.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "applets/zstor/owed.h"
#include "applets/zstor/point_int.h"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/object/restore.h"

#define STALL_ERROR_MS 10000u  /* no progress, and something that the point needs has failed */
#define STALL_MS       600000u /* no progress although nothing has failed */

/* ------------------------------------------------------------------------------------------------ the cut --- */

static uint64_t newest_seq(struct zstor *z)
{
	struct list *last = list_last(&z->owed->items);

	return last ? container_of(last, struct owed, link)->seq : 0;
}

static int take_cut(struct point *p)
{
	struct zstor *z = p->z;
	char why[ZS_WHY] = "";
	int rc;

	pthread_mutex_lock(&z->lock);
	rc = owed_refresh(z, true);
	p->seq_at_cut = newest_seq(z);
	pthread_mutex_unlock(&z->lock);
	if (rc < 0) {
		snprintf(p->why, ZS_WHY, "cannot read the spool: %s", err_str(rc));
		return rc;
	}
	rc = front_cut(z, &p->cuts, p->why);
	if (rc == 0 || rc == -E_PEER || rc == -EPROTO)
		return rc;
	rc = front_cut_stopped(z, &p->cuts, why);
	if (rc < 0 && rc != -EBUSY && why[0])
		snprintf(p->why, ZS_WHY, "%s", why);
	return rc;
}

static bool is_same(const struct front_cut *c, const struct manifest_ns *ns)
{
	uint32_t end = ns->tails_count ? manifest_ns_tail_end(ns) : DATA_HEAD_BYTES;

	return ns->closed == c->segment &&
	       end == (c->offset < DATA_HEAD_BYTES ? DATA_HEAD_BYTES : c->offset) && ns->mode == c->mode &&
	       ns->descriptor_len == c->descriptor_len &&
	       memcmp(ns->descriptor, c->descriptor, c->descriptor_len) == 0;
}

/* Everything in the cut is named by the newest point, whichever generation made it. */
static bool is_covered(const struct point *p)
{
	if (!p->z->vol.last.generation || p->z->vol.last.count != p->cuts.count)
		return false;
	for (size_t i = 0; i < p->cuts.count; i++) {
		const struct front_cut *c = &p->cuts.list[i];
		const struct manifest_ns *ns = manifest_find(&p->z->vol.last, c->name, strlen(c->name));

		if (!ns || !is_same(c, ns))
			return false;
	}
	return true;
}

static void pin(struct point *p, bool on)
{
	pthread_mutex_lock(&p->z->lock);
	for (size_t i = 0; i < p->cuts.count; i++) {
		struct zs_ns *ns = ns_get(p->z, p->cuts.list[i].name);

		if (ns) {
			ns->is_pinned = on;
			ns->pinned = p->cuts.list[i].segment;
		}
	}
	pthread_mutex_unlock(&p->z->lock);
}

/* ------------------------------------------------------------------------------- waiting for the uploads --- */

/* What of one namespace is not stored yet; with `lock` held. *error: of something that failed. */
static uint32_t missing_of(struct point *p, const struct front_cut *c, const char **error, bool *unknown)
{
	const struct manifest_ns *last = manifest_find(&p->m, c->name, strlen(c->name));
	struct zs_ns *ns = ns_find(p->z, c->name);
	uint32_t missing = 0;

	for (uint32_t n = last ? last->closed : 0; n < c->segment; n++) {
		if (!ns_row(p->z, c->name, n)) {
			missing++;
			*unknown |= !owed_has(p->z, SPOOL_SEGMENT, c->name, n);
		}
		if (!ns || !ns_has_bundle(ns, n, n)) {
			missing++;
			*unknown |= !owed_has(p->z, SPOOL_BUNDLE, c->name, n);
		}
	}
	if (!missing)
		return 0;
	list_each(&p->z->owed->items, it)
	{
		const struct owed *o = container_of(it, struct owed, link);

		if ((o->kind == SPOOL_SEGMENT || o->kind == SPOOL_BUNDLE) && o->error[0] &&
		    strcmp(o->ns, c->name) == 0) {
			*error = o->error;
			break;
		}
	}
	return missing;
}

static int wait_for_uploads(struct point *p)
{
	uint64_t progress_ms = clock_mono_ms();
	uint32_t before = UINT32_MAX;
	bool scanned = false;
	int rc = 0;

	pthread_mutex_lock(&p->z->lock);
	for (;;) {
		const char *error = NULL;
		bool unknown = false;
		uint32_t missing = 0;
		uint64_t stalled;

		for (size_t i = 0; i < p->cuts.count; i++)
			missing += missing_of(p, &p->cuts.list[i], &error, &unknown);
		if (!missing)
			break;
		if (p->z->stopping || p->z->vol.state != VOL_READY) {
			rc = -ECANCELED;
			break;
		}
		if (unknown && !scanned) { /* closed, not stored and not owed: the spool was lost */
			scanned = true;
			pthread_mutex_unlock(&p->z->lock);
			scan_run(p->z);
			pthread_mutex_lock(&p->z->lock);
			(void)owed_refresh(p->z, true);
		}
		if (unknown && scanned && error == NULL)
			error = "some of them are not in the spool and cannot be had from the front zdb";
		if (missing != before)
			progress_ms = clock_mono_ms();
		before = missing;
		stalled = clock_mono_ms() - progress_ms;
		if (stalled > STALL_MS || (error && stalled > STALL_ERROR_MS)) {
			snprintf(p->why, ZS_WHY,
				 "%" PRIu32 " closed segments and bundles are not stored yet%s%s", missing,
				 error ? ": " : "", error ? error : "");
			rc = -EAGAIN;
			break;
		}
		zs_wait(p->z, 1000);
	}
	pthread_mutex_unlock(&p->z->lock);
	return rc;
}

/* ------------------------------------------------------------------------------------------------ publishing --- */

static void remove_intents(struct point *p)
{
	struct zstor *z = p->z;

	pthread_mutex_lock(&z->lock);
	list_each_safe(&z->owed->items, it)
	{
		struct owed *o = container_of(it, struct owed, link);
		struct spool_intent in;
		bool is_named = o->kind == SPOOL_DESCRIPTOR && o->seq <= p->seq_at_cut;

		for (size_t i = 0; i < p->bundle_seqs_count && !is_named; i++)
			is_named = o->kind == SPOOL_BUNDLE && o->state == OWED_STORED &&
				   o->seq == p->bundle_seqs[i];
		if (!is_named || o->state == OWED_RUNNING)
			continue;
		owed_intent(o, &in);
		if (spool_remove(z->spool, &in) == 0)
			owed_done(z, o);
	}
	list_each(&z->namespaces, it)
	{
		struct zs_ns *ns = container_of(it, struct zs_ns, link);
		const struct manifest_ns *named = manifest_find(&z->vol.last, ns->name, strlen(ns->name));
		size_t kept = 0;

		for (size_t i = 0; i < ns->bundles_count; i++)
			if (!named || ns->bundles[i].bundle.first >= named->closed)
				ns->bundles[kept++] = ns->bundles[i];
		ns->bundles_count = kept;
	}
	pthread_mutex_unlock(&z->lock);
}

static int publish(struct point *p)
{
	struct obj_geometry g = {.k = (unsigned)p->z->conf.k, .n = (unsigned)p->z->conf.n};
	struct obj_store *stores[EC_PIECES_MAX];
	struct record_state st = {0};
	struct record old;
	struct zstor *z = p->z;
	struct obj_id id;
	struct meta metas;
	int rc = stores_place(z, NULL, stores, p->why);

	if (rc == 0)
		rc = obj_geometry_plan(&g, z->conf.object_memory);
	if (rc < 0)
		return rc;
	pthread_mutex_lock(&z->lock);
	z->vol.local.pending = p->m.sequence;
	pthread_mutex_unlock(&z->lock);
	rc = vol_save(z);
	if (rc < 0) {
		snprintf(p->why, ZS_WHY, "cannot write %s: %s", z->dir, err_str(rc));
		return rc;
	}
	record_init(&old);
	zs_meta_copy(z, &metas);
	rc = restore_publish(&metas, p->w, &p->m, &g, stores, &old, &st, p->why);
	if (rc == 0) {
		(void)obj_id_set(&id, p->m.generation, OBJ_MANIFEST, p->m.sequence % MANIFEST_SLOTS, "", 0);
		if (object_owe_pieces(z, &id, &st) < 0 || object_discard_record(z, &old, p->m.sequence) < 0)
			log_warn("a debt or a deletion after recovery point %" PRIu64 " could not be noted",
				 p->m.sequence);
	}
	record_release(&old);
	return rc;
}

/* From its first point on a generation is read by its own manifests alone: those of the one before are garbage. */
static void discard_manifests(struct zstor *z, uint64_t generation, uint64_t sequence)
{
	for (uint64_t slot = 0; slot < MANIFEST_SLOTS; slot++) {
		struct obj_id id;

		if (obj_id_set(&id, generation, OBJ_MANIFEST, slot, "", 0) == 0)
			(void)object_discard(z, &id, sequence); /* at worst they stay */
	}
}

/* The point is on the stores. What fails from here on is repeated at the next start. */
static void settle_published(struct point *p)
{
	struct zstor *z = p->z;
	int rc = vol_save_manifest(z, &p->m);

	for (size_t i = 0; i < p->old.count; i++)
		if (object_discard(z, &p->old.ids[i], p->m.sequence) < 0)
			log_warn("an object that recovery point %" PRIu64
				 " no longer names stays on the stores",
				 p->m.sequence);
	pthread_mutex_lock(&z->lock);
	z->vol.local.sequence = p->m.sequence;
	z->vol.local.pending = 0;
	z->vol.last_ms = clock_mono_ms();
	pthread_mutex_unlock(&z->lock);
	if (rc == 0)
		rc = vol_save(z);
	if (rc < 0)
		log_err("cannot remember recovery point %" PRIu64 " in %s: %s", p->m.sequence, z->dir,
			err_str(rc));
	garbage_release(z, &p->m);
	if (z->vol.last.generation && z->vol.last.generation != p->m.generation)
		discard_manifests(z, z->vol.last.generation, p->m.sequence);
	pthread_mutex_lock(&z->lock);
	manifest_release(&z->vol.last);
	z->vol.last = p->m;
	manifest_init(&p->m);
	pthread_mutex_unlock(&z->lock);
	remove_intents(p); /* after that: who looks for a bundle finds it in the one or in the other */
	log_info("recovery point %" PRIu64 " is published namespaces=%u", z->vol.last.sequence,
		 z->vol.last.count);
}

/*
 * What the newest point names may be compacted. Said after each one, also when nothing has changed: the server forgets it when it
 * stops. A namespace that is being emptied begins anew; its server refuses what it has not closed.
 */
static void tell_stored(struct zstor *z)
{
	struct front_cut told; /* a name and a number, and nothing of its own */
	char why[ZS_WHY] = "";

	for (unsigned i = 0;; i++) {
		bool is_dropped;
		int rc;

		pthread_mutex_lock(&z->lock);
		if (i >= z->vol.last.count) {
			pthread_mutex_unlock(&z->lock);
			return;
		}
		(void)str_copy(told.name, sizeof(told.name), z->vol.last.ns[i].name);
		told.segment = z->vol.last.ns[i].closed;
		is_dropped = owed_drops(z, told.name);
		pthread_mutex_unlock(&z->lock);
		if (is_dropped || !told.segment)
			continue;
		rc = front_stored(z, told.name, told.segment, why);
		if (rc < 0 && rc != -E_PEER)
			return; /* it is not there: the next point says it */
	}
}

/* What the point would have carried is owed, visibly and durably. */
static void owe_changes(struct point *p)
{
	for (size_t i = 0; i < p->cuts.count; i++) {
		const struct front_cut *c = &p->cuts.list[i];
		const struct manifest_ns *ns = manifest_find(&p->z->vol.last, c->name, strlen(c->name));
		struct spool_intent in = {.kind = SPOOL_DESCRIPTOR, .size = c->offset};
		bool is_owed;

		if (ns && is_same(c, ns))
			continue;
		if (!ns && c->segment == 0 && c->offset <= DATA_HEAD_BYTES)
			in.size = c->descriptor_len;
		else if (ns && ns->closed == c->segment && c->offset > manifest_ns_tail_end(ns))
			in.size = c->offset - manifest_ns_tail_end(ns);
		pthread_mutex_lock(&p->z->lock);
		is_owed = owed_has(p->z, SPOOL_DESCRIPTOR, c->name, 0);
		pthread_mutex_unlock(&p->z->lock);
		(void)str_copy(in.ns, sizeof(in.ns), c->name);
		if (!is_owed && spool_put(p->z->spool, &in, NULL, 0) < 0)
			log_every(60000, LOG_LEVEL_ERR, "cannot note in the spool that %s has changed",
				  c->name);
	}
}

/*
 * A namespace was deleted or flushed: its numbers begin again, so nothing here can be compared with the point before until it is
 * taken out of that, which waits for the end of this one. What was read of its files may be of before or after.
 */
static int refuse_drops(struct point *p)
{
	struct zstor *z = p->z;
	int rc;

	pthread_mutex_lock(&z->lock);
	rc = owed_refresh(z, true);
	if (rc < 0)
		snprintf(p->why, ZS_WHY, "cannot read the spool: %s", err_str(rc));
	list_each(&z->owed->items, it)
	{
		const struct owed *o = container_of(it, struct owed, link);

		if (rc < 0 || (o->kind != SPOOL_NSDROP && o->kind != SPOOL_DROPPING))
			continue;
		if (o->kind == SPOOL_DROPPING)
			snprintf(p->why, ZS_WHY, "namespace %s is being deleted or flushed", o->ns);
		else
			snprintf(p->why, ZS_WHY,
				 "namespace %s was deleted or flushed, a new generation comes first%s%s",
				 o->ns, o->error[0] ? ": " : "", o->error);
		rc = -EAGAIN;
	}
	p->generation = z->vol.local.generation;
	pthread_mutex_unlock(&z->lock);
	return rc;
}

/*
 * Publishes and remembers it, unless another generation was taken since the cut: its base would be the generation before, and a
 * restore would not find this point.
 */
static int publish_own(struct point *p)
{
	struct zstor *z = p->z;
	bool is_own;
	int rc;

	pthread_mutex_lock(&z->identity_io);
	pthread_mutex_lock(&z->lock);
	is_own = z->vol.local.generation == p->m.generation;
	pthread_mutex_unlock(&z->lock);
	rc = is_own ? publish(p) : -EAGAIN;
	if (!is_own)
		snprintf(p->why, ZS_WHY, "a new generation was taken meanwhile");
	if (rc == 0)
		settle_published(p);
	pthread_mutex_unlock(&z->identity_io);
	return rc;
}

/* Everything that moves objects; what only looks at identities keeps its small context. */
static int store_point(struct point *p)
{
	struct obj_work *small = p->w;
	int rc = -ENOMEM;

	p->w = zs_work_get(p->z);
	if (p->w)
		rc = point_make_manifest(p);
	if (rc == 0)
		rc = vol_check_fence(p->z, p->w, p->why);
	if (rc == 0)
		rc = refuse_drops(p);
	p->m.generation = p->generation; /* a compacted segment may have taken the next one meanwhile */
	if (rc == 0)
		rc = publish_own(p);
	zs_work_put(p->z, p->w);
	p->w = small;
	return rc;
}

/* What was stored for a point that is not published. A later point may name it after all: see garbage_is_named(). */
static void discard_made(struct point *p)
{
	uint64_t sequence;

	pthread_mutex_lock(&p->z->lock);
	sequence = p->z->vol.local.sequence;
	pthread_mutex_unlock(&p->z->lock);
	for (size_t i = 0; i < p->made.count; i++)
		if (object_discard(p->z, &p->made.ids[i], sequence) < 0)
			log_warn("an object that no recovery point names stays on the stores");
}

/* The cut, and the manifest before it. What that names already is owed no more. */
static int begin(struct point *p)
{
	int rc = take_cut(p);

	if (rc == 0)
		rc = refuse_drops(p);
	if (rc == 0)
		rc = manifest_copy(&p->m, &p->z->vol.last);
	p->is_covered = rc == 0 && is_covered(p);
	if (p->is_covered)
		remove_intents(p);
	return rc;
}

/* 0 published, 1 nothing to publish. */
static int try_point(struct point *p)
{
	int rc, fence = vol_check_fence(p->z, p->w, p->why);

	if (fence == -E_FENCED)
		return fence;
	if (fence < 0) { /* what has changed is owed all the same */
		char why[ZS_WHY];

		memcpy(why, p->why, sizeof(why));
		if (begin(p) == 0)
			owe_changes(p);
		memcpy(p->why, why, sizeof(why));
		return fence;
	}
	rc = begin(p);
	if (rc < 0)
		return rc;
	if (p->is_covered && p->m.generation == p->generation) {
		tell_stored(p->z);
		return 1;
	}
	pin(p, true);
	rc = wait_for_uploads(p);
	if (rc == 0)
		rc = store_point(p);
	pin(p, false);
	if (rc == 0) {
		tell_stored(p->z);
	} else if (rc != -E_FENCED) {
		discard_made(p);
		owe_changes(p);
	}
	return rc;
}

/* A failure, with `lock` held. */
static void note_failure(struct zstor *z, const char *why)
{
	if (!z->point.failing_since_ms) {
		z->point.failing_since_ms = clock_mono_ms();
		log_warn("no recovery point: %s", why);
	} else if (strcmp(z->point.error, why) != 0) {
		log_every(60000, LOG_LEVEL_WARN, "still no recovery point: %s", why);
	}
	snprintf(z->point.error, sizeof(z->point.error), "%s", why);
}

void point_make(struct zstor *z, struct obj_work *w)
{
	struct point p = {.z = z, .w = w};
	uint64_t answers;
	int rc;

	pthread_mutex_lock(&z->lock);
	answers = z->point.wanted;
	z->point.busy = true;
	pthread_mutex_unlock(&z->lock);
	manifest_init(&p.m);
	rc = try_point(&p);
	if (rc < 0 && !p.why[0])
		snprintf(p.why, ZS_WHY, "%s", err_str(rc));
	pthread_mutex_lock(&z->lock);
	z->point.busy = false;
	z->point.tried = answers;
	if (rc >= 0 ||
	    p.is_covered) { /* covered, and not published: only its name by our generation is missing */
		z->point.done = answers;
		if (rc != 0)
			z->vol.last_ms = clock_mono_ms();
	}
	if (rc >= 0) {
		z->point.error[0] = '\0';
		z->point.failing_since_ms = 0;
	} else if (rc != -ECANCELED) {
		note_failure(z, p.why);
	}
	pthread_cond_broadcast(&z->changed);
	pthread_mutex_unlock(&z->lock);
	manifest_release(&p.m);
	front_cuts_release(&p.cuts);
	mem_free(p.old.ids);
	mem_free(p.made.ids);
	mem_free(p.bundle_seqs);
}
