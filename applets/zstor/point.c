/*
 * point: the thread that keeps the volume: decides whether it is ours, restores when asked, makes recovery points.
 *
 * One recovery point (native format, section 7): cut; wait until every closed segment below the cut, and its bundle, is
 * stored (the upload threads do that); store the tails; read the identities; publish the manifest; then, and only then,
 * forget what it makes superfluous. Whatever fails, the point before stays whole, and what is owed stays in the spool.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "applets/zstor/owed.h"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/base/sys.h"
#include "core/object/restore.h"

#define SETTLE_FIRST_MS  500u
#define SETTLE_MAX_MS    5000u
#define REQUEST_RETRY_MS 1500u   /* of a request that failed */
#define RETRY_MS         5000u   /* after a point that failed */
#define STALL_ERROR_MS   10000u  /* no progress, and something that the point needs has failed */
#define STALL_MS         600000u /* no progress although nothing has failed */
#define POINT_STACK      (512u << 10)

/* One try. */
struct point {
	struct zstor *z;
	struct obj_work *w;
	struct front_cuts cuts;
	struct manifest m;       /* being made */
	struct obj_id_list old;  /* objects that it no longer names */
	struct obj_id_list made; /* objects stored for it: nothing names them if it is not published */
	uint64_t seq_at_cut;     /* descriptors put up to this one are in the cut */
	uint64_t *bundle_seqs;   /* intentions of the bundles that it names */
	size_t bundle_seqs_count;
	uint64_t generation;
	char why[ZS_WHY];
};

static pthread_t thread;
static bool has_thread;

uint64_t point_request(struct zstor *z)
{
	uint64_t number = ++z->point.wanted;

	pthread_cond_broadcast(&z->changed);
	return number;
}

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

static bool nothing_changed(struct point *p)
{
	if (p->z->vol.last.generation != p->generation || p->z->vol.last.count != p->cuts.count)
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

/* ------------------------------------------------------------------------------------------------ manifest --- */

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

static int make_manifest(struct point *p)
{
	char why[ZS_WHY] = "";
	int rc = 0;

	for (unsigned i = 0; i < p->m.count;) {
		struct manifest_ns *ns = &p->m.ns[i];

		if (is_in_cut(p, ns->name)) {
			i++;
			continue;
		}
		rc = give_up_tails(p, ns);
		if (rc < 0)
			return rc;
		manifest_remove(&p->m, ns->name, ns->name_len);
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
		const struct manifest_ns *named = manifest_find(&p->m, ns->name, strlen(ns->name));
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
	remove_intents(p);
	pthread_mutex_lock(&z->lock);
	manifest_release(&z->vol.last);
	z->vol.last = p->m;
	manifest_init(&p->m);
	pthread_mutex_unlock(&z->lock);
	log_info("recovery point %" PRIu64 " is published namespaces=%u", z->vol.last.sequence,
		 z->vol.last.count);
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

/* Everything that moves objects; what only looks at identities keeps its small context. */
static int store_point(struct point *p)
{
	struct obj_work *small = p->w;
	int rc = -ENOMEM;

	p->w = zs_work_get(p->z);
	if (p->w)
		rc = make_manifest(p);
	if (rc == 0)
		rc = vol_check_fence(p->z, p->w, p->why);
	if (rc == 0)
		rc = publish(p);
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

/* 0 published, 1 nothing to publish. */
static int try_point(struct point *p)
{
	int rc = vol_check_fence(p->z, p->w, p->why);

	if (rc == -E_FENCED)
		return rc;
	if (rc < 0) { /* what has changed is owed all the same */
		char why[ZS_WHY];

		memcpy(why, p->why, sizeof(why));
		if (take_cut(p) == 0)
			owe_changes(p);
		memcpy(p->why, why, sizeof(why));
		return rc;
	}
	rc = take_cut(p);
	if (rc < 0)
		return rc;
	rc = manifest_copy(&p->m, &p->z->vol.last);
	if (rc < 0)
		return rc;
	if (nothing_changed(p)) {
		p->m.sequence = p->z->vol.last.sequence;
		remove_intents(p);
		return 1;
	}
	pin(p, true);
	rc = wait_for_uploads(p);
	if (rc == 0)
		rc = store_point(p);
	pin(p, false);
	if (rc == 0)
		settle_published(p);
	else if (rc != -E_FENCED) {
		discard_made(p);
		owe_changes(p);
	}
	return rc;
}

static void make_point(struct zstor *z, struct obj_work *w)
{
	struct point p = {.z = z, .w = w};
	uint64_t answers;
	int rc;

	pthread_mutex_lock(&z->lock);
	answers = z->point.wanted;
	z->point.busy = true;
	p.generation = z->vol.local.generation;
	pthread_mutex_unlock(&z->lock);
	manifest_init(&p.m);
	rc = try_point(&p);
	if (rc < 0 && !p.why[0])
		snprintf(p.why, ZS_WHY, "%s", err_str(rc));
	pthread_mutex_lock(&z->lock);
	z->point.busy = false;
	z->point.tried = answers;
	if (rc >= 0) {
		z->point.done = answers;
		z->point.error[0] = '\0';
		z->point.failing_since_ms = 0;
		if (rc == 1)
			z->vol.last_ms = clock_mono_ms();
	} else if (rc != -ECANCELED) {
		if (!z->point.failing_since_ms)
			z->point.failing_since_ms = clock_mono_ms();
		if (strcmp(z->point.error, p.why) != 0)
			log_warn("no recovery point: %s", p.why);
		memcpy(z->point.error, p.why, sizeof(p.why));
	}
	pthread_cond_broadcast(&z->changed);
	pthread_mutex_unlock(&z->lock);
	manifest_release(&p.m);
	front_cuts_release(&p.cuts);
	mem_free(p.old.ids);
	mem_free(p.made.ids);
	mem_free(p.bundle_seqs);
}

/* ---------------------------------------------------------------------------------------------------- thread --- */

/* With `lock` held; it is let go meanwhile. */
static void do_settle(struct zstor *z)
{
	struct obj_work *w;

	pthread_mutex_unlock(&z->lock);
	w = zs_work_get_small(z);
	if (w)
		vol_settle(z, w);
	zs_work_put(z, w);
	pthread_mutex_lock(&z->lock);
}

static void do_point(struct zstor *z)
{
	struct obj_work *w;

	pthread_mutex_unlock(&z->lock);
	w = zs_work_get_small(z);
	if (w)
		make_point(z, w);
	zs_work_put(z, w);
	pthread_mutex_lock(&z->lock);
}

static void do_restore(struct zstor *z)
{
	char why[ZS_WHY] = "";
	uint64_t answers = z->restore.wanted;
	int code;

	z->restore.busy = true;
	pthread_mutex_unlock(&z->lock);
	code = restore_run(z, why);
	pthread_mutex_lock(&z->lock);
	z->restore.busy = false;
	z->restore.done = answers;
	z->restore.code = code;
	memcpy(z->restore.why, why, sizeof(why));
	pthread_cond_broadcast(&z->changed);
}

static bool is_undecided(enum vol_state s)
{
	return s == VOL_UNKNOWN || s == VOL_NEW || s == VOL_REFUSED;
}

static void *keep(void *arg)
{
	struct zstor *z = arg;
	uint64_t settle_ms = 0, settle_wait = SETTLE_FIRST_MS, point_ms = clock_mono_ms() + z->conf.rpo_ms;
	bool has_scanned = false;

	pthread_mutex_lock(&z->lock);
	while (!z->stopping) {
		uint64_t now = clock_mono_ms();

		if (is_undecided(z->vol.state) && now >= settle_ms) {
			do_settle(z);
			settle_ms = clock_mono_ms() + settle_wait;
			settle_wait = settle_wait * 2 < SETTLE_MAX_MS ? settle_wait * 2 : SETTLE_MAX_MS;
			continue;
		}
		if (z->restore.wanted != z->restore.done && z->vol.state != VOL_UNKNOWN) {
			do_restore(z);
			continue;
		}
		if (z->vol.state == VOL_READY && !has_scanned) {
			has_scanned = true;
			settle_wait = SETTLE_FIRST_MS;
			pthread_mutex_unlock(&z->lock);
			scan_run(z);
			pthread_mutex_lock(&z->lock);
			continue;
		}
		if (z->vol.state == VOL_READY && (z->point.wanted != z->point.tried || now >= point_ms)) {
			do_point(z);
			point_ms =
				clock_mono_ms() +
				(z->point.error[0] && z->conf.rpo_ms > RETRY_MS ? RETRY_MS : z->conf.rpo_ms);
			continue;
		}
		/* A request that failed is tried again soon, and at once when something changed that may help. */
		if (z->point.wanted != z->point.done && z->point.tried == z->point.wanted &&
		    z->vol.state == VOL_READY && point_ms > now + REQUEST_RETRY_MS)
			point_ms = now + REQUEST_RETRY_MS;
		zs_wait(z, 500);
	}
	pthread_mutex_unlock(&z->lock);
	return NULL;
}

int point_start(struct zstor *z)
{
	pthread_attr_t attr;
	int rc;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, POINT_STACK);
	rc = pthread_create(&thread, &attr, keep, z);
	pthread_attr_destroy(&attr);
	has_thread = rc == 0;
	return -rc;
}

void point_stop(struct zstor *z)
{
	zs_changed(z);
	if (has_thread)
		pthread_join(thread, NULL);
	has_thread = false;
}
