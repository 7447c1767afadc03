/*
 * upload: the threads that pay what is owed, one intention at a time each.
 *
 * A segment is read once, hashed and coded while it is read; whether it changed meanwhile is looked at afterwards (it must
 * not: it is closed). Only when its record is on enough metadata stores is the row remembered and the intention removed.
 *
 * A segment that has a row and another content was compacted. It is stored under another generation, so that the object which
 * older recovery points name stays what it is, and its row changes; a bundle that names the new content waits for that (upload_bundle.c).
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "applets/zstor/owed.h"
#include "core/base/buf.h"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/base/sys.h"

#define UPLOADERS_MAX 16u
#define UPLOAD_STACK  (256u << 10)

struct uploaders {
	pthread_t threads[UPLOADERS_MAX];
	unsigned count;
	pthread_t looker;
	bool has_looker;
};

static struct uploaders up; /* the one set of this process */

static uint64_t mtime_ns(const struct stat *st)
{
	return (uint64_t)st->st_mtim.tv_sec * 1000000000u + (uint64_t)st->st_mtim.tv_nsec;
}

/* ------------------------------------------------------------------------------------------------ segments --- */

uint64_t zs_generation(struct zstor *z)
{
	uint64_t g;

	pthread_mutex_lock(&z->lock);
	g = z->vol.local.generation;
	pthread_mutex_unlock(&z->lock);
	return g;
}

/* True when the row says that just this file is stored already. */
static bool is_stored(struct zstor *z, const char *ns, uint32_t segment, const struct stat *st)
{
	const struct zs_row *row;
	bool same;

	pthread_mutex_lock(&z->lock);
	row = ns_row(z, ns, segment);
	same = row && row->inode == (uint64_t)st->st_ino && row->mtime_ns == mtime_ns(st) &&
	       row->size == (uint64_t)st->st_size;
	pthread_mutex_unlock(&z->lock);
	return same;
}

/*
 * Whether an object of our generation with other bytes has the name already: the row of a segment that recovery points name was lost.
 * 1, 0, -EAGAIN.
 */
static int name_is_taken(struct zstor *z, struct obj_work *w, const char *ns, uint32_t segment,
			 uint64_t generation, const struct obj_source *source, char *why)
{
	const struct manifest_ns *last;
	uint8_t content[CONTENT_ID_BYTES];
	struct record rec;
	struct obj_id id;
	enum obj_answer a;
	bool is_named;
	int code, rc;

	pthread_mutex_lock(&z->lock);
	last = manifest_find(&z->vol.last, ns, strlen(ns));
	is_named = last && segment < last->closed;
	pthread_mutex_unlock(&z->lock);
	if (!is_named)
		return 0;
	rc = obj_id_set(&id, generation, OBJ_SEGMENT, segment, ns, strlen(ns));
	if (rc < 0)
		return rc;
	record_init(&rec);
	a = object_find(z, w, &id, &rec, NULL, &code);
	if (a == OBJ_FOUND)
		rc = object_hash(source, content);
	if (rc == 0 && a == OBJ_FOUND)
		rc = memcmp(rec.priv.content, content, sizeof(content)) != 0;
	if (a == OBJ_UNKNOWN) {
		snprintf(why, ZS_WHY, "the metadata stores cannot say whether it is stored already");
		rc = -EAGAIN;
	}
	record_release(&rec);
	return rc;
}

/* 1 the source holds other bytes than the row says, 0 the same. */
static int differs(const struct zs_row *row, const struct obj_source *source)
{
	uint8_t content[CONTENT_ID_BYTES];
	int rc = object_hash(source, content);

	if (rc < 0)
		return rc;
	return row->size != source->size || memcmp(row->content, content, sizeof(content)) != 0;
}

/*
 * The generation under which a file is to be stored. *old: that of the object it replaces, 0 = none. One that holds the same
 * bytes stays the segment's, whoever wrote it.
 */
static int choose_generation(struct zstor *z, struct obj_work *w, const char *ns, uint32_t segment,
			     const struct obj_source *source, uint64_t *generation, uint64_t *old, char *why)
{
	struct zs_row row = {0};
	const struct zs_row *known;
	uint64_t taken;
	int rc;

	*old = 0;
	pthread_mutex_lock(&z->lock);
	known = ns_row(z, ns, segment);
	if (known)
		row = *known;
	*generation = z->vol.local.generation;
	pthread_mutex_unlock(&z->lock);
	taken = row.known ? row.generation : *generation;
	rc = row.known ? differs(&row, source) : name_is_taken(z, w, ns, segment, taken, source, why);
	if (rc <= 0) {
		*generation = taken;
		return rc;
	}
	if (row.known)
		*old = row.generation;
	if (taken != *generation)
		return 0;
	rc = vol_take_next(z, w, taken, why);
	*generation = zs_generation(z);
	return rc == 0 && *generation == taken ? -EAGAIN : rc;
}

static int store_file(struct zstor *z, struct obj_work *w, int fd, const char *ns, uint32_t segment,
		      const struct stat *before, char *why)
{
	struct obj_file_range range = {.fd = fd, .data_header = true};
	struct obj_source source = obj_source_file(&range, (uint64_t)before->st_size);
	struct zs_row row = {.known = true, .size = (uint32_t)before->st_size};
	struct obj_id id;
	struct stat after;
	uint64_t old;
	int rc = choose_generation(z, w, ns, segment, &source, &row.generation, &old, why);

	if (rc == 0)
		rc = obj_id_set(&id, row.generation, OBJ_SEGMENT, segment, ns, strlen(ns));
	if (rc == 0)
		rc = object_put(z, w, &id, &source, row.content, why);
	if (rc < 0)
		return rc;
	if (sys->fstat(fd, &after) < 0)
		return -errno;
	if (after.st_size != before->st_size || mtime_ns(&after) != mtime_ns(before)) {
		snprintf(why, ZS_WHY, "the file changed while it was stored");
		return -EAGAIN;
	}
	row.inode = (uint64_t)after.st_ino;
	row.mtime_ns = mtime_ns(&after);
	rc = old ? garbage_replaced(z, ns, segment, old) : 0;
	return rc == 0 ? rows_put(z, ns, segment, &row) : rc;
}

int upload_segment(struct zstor *z, struct obj_work *w, const char *ns, uint32_t segment, const char *path,
		   char *why)
{
	char own[FILE_PATH_MAX];
	struct stat st;
	int fd = -1, rc = segment_path(z, own, sizeof(own), ns, segment);

	why[0] = '\0';
	if (rc == 0) {
		fd = sys->open(own, O_RDONLY, 0);
		if (fd < 0 && path && path[0])
			fd = sys->open(path, O_RDONLY, 0);
		rc = fd < 0 ? -errno : 0;
	}
	if (rc == 0 && sys->fstat(fd, &st) < 0)
		rc = -errno;
	if (rc == 0 && st.st_size > UINT32_MAX)
		rc = -EFBIG;
	if (rc == 0 && !is_stored(z, ns, segment, &st))
		rc = store_file(z, w, fd, ns, segment, &st, why);
	if (fd >= 0)
		sys->close(fd);
	if (rc < 0 && !why[0])
		snprintf(why, ZS_WHY, "%s", err_str(rc));
	return rc;
}

/* The file is gone: fine when it is stored or was of a state that is no more; a loss otherwise. */
static int segment_gone(struct zstor *z, struct obj_work *w, const struct owed *o, char *why)
{
	struct record rec;
	struct obj_id id;
	enum obj_answer a;
	bool stored;
	int code, rc;

	pthread_mutex_lock(&z->lock);
	stored = ns_row(z, o->ns, (uint32_t)o->first) != NULL;
	pthread_mutex_unlock(&z->lock);
	if (stored)
		return 0;
	if (o->generation != zs_generation(z)) {
		log_info("dropped: segment %s/%" PRIu64 " of an earlier state is gone", o->ns, o->first);
		return 0;
	}
	rc = obj_id_set(&id, o->generation, OBJ_SEGMENT, o->first, o->ns, strlen(o->ns));
	if (rc < 0)
		return rc;
	record_init(&rec);
	a = object_find(z, w, &id, &rec, NULL, &code);
	if (a == OBJ_FOUND) {
		struct zs_row row = {
			.known = true, .generation = o->generation, .size = (uint32_t)rec.priv.size};

		memcpy(row.content, rec.priv.content, CONTENT_ID_BYTES);
		rc = rows_put(z, o->ns, (uint32_t)o->first, &row);
	} else {
		snprintf(why, ZS_WHY, "%s",
			 a == OBJ_ABSENT ? "the file is gone and was never stored"
					 : "the file is gone and the stores cannot say whether it is stored");
		rc = a == OBJ_ABSENT ? -ENOENT : -EAGAIN;
	}
	record_release(&rec);
	return rc;
}

static int pay_segment(struct zstor *z, struct obj_work *w, const struct owed *o, char *why)
{
	uint64_t begin = clock_mono_ms();
	int rc = upload_segment(z, w, o->ns, (uint32_t)o->first, o->path, why);

	if (rc == -ENOENT)
		rc = segment_gone(z, w, o, why);
	if (rc == 0)
		log_info("stored segment %s/%" PRIu64 " bytes=%" PRIu64 " ms=%" PRIu64, o->ns, o->first,
			 o->size, clock_mono_ms() - begin);
	return rc;
}

/* --------------------------------------------------------------------------------------- files, debts, garbage --- */

static int pay_file(struct zstor *z, struct obj_work *w, const struct owed *o, char *why)
{
	struct obj_file_range range = {.fd = -1};
	struct obj_source source;
	struct obj_id id;
	uint8_t content[CONTENT_ID_BYTES];
	struct stat st;
	int rc = o->path ? file_object_id(&id, o->path, why) : -EINVAL;

	if (rc < 0)
		return rc;
	range.fd = sys->open(o->path, O_RDONLY, 0);
	if (range.fd < 0)
		return -errno;
	rc = sys->fstat(range.fd, &st) < 0 ? -errno : 0;
	if (rc == 0) {
		source = obj_source_file(&range, (uint64_t)st.st_size);
		rc = object_put(z, w, &id, &source, content, why);
	}
	sys->close(range.fd);
	if (rc == 0 && (o->flags & SPOOL_FILE_DELETE) && sys->unlink(o->path) < 0)
		log_warn("stored, but cannot remove %s: %s", o->path, err_str(-errno));
	return rc;
}

static int pay_pieces(struct zstor *z, struct obj_work *w, const struct owed *o, char *why)
{
	struct record_state st = {0};
	struct meta m;
	int rc;

	zs_meta_copy(z, &m);
	rc = record_repair_name(&m, w, o->name, o->flags & SPOOL_PIECE_MANIFEST, &st);
	if (rc == -EAGAIN)
		snprintf(why, ZS_WHY, "metadata stores are still away");
	return rc == -ENOENT ? 0 : rc; /* deleted meanwhile: nothing is owed */
}

/* Shards of a record that nothing names. */
static int delete_shards(struct zstor *z, struct obj_work *w, const struct owed *o)
{
	struct obj_report rep = {0};
	struct spool_intent in;
	struct record rec;
	uint8_t *bytes;
	size_t len;
	int rc;

	owed_intent(o, &in);
	rc = spool_payload(z->spool, &in, RECORD_MAX_BYTES, &bytes, &len);
	if (rc < 0)
		return rc == -ENOENT ? 0 : rc;
	record_init(&rec);
	rc = record_decode(bytes, len, z->keys, &rec);
	if (rc == 0)
		rc = obj_delete(w, &rec, &z->data_stores, &rep);
	record_release(&rec);
	mem_free_wiped(bytes, len);
	return rc;
}

static int pay_garbage(struct zstor *z, struct obj_work *w, const struct owed *o, char *why)
{
	struct record_state st = {0};
	struct obj_report rep = {0};
	struct record rec;
	struct meta m;
	enum obj_answer a;
	int code = 0, rc;

	bool is_named;

	if (o->payload_size)
		return delete_shards(z, w, o);
	pthread_mutex_lock(&z->lock);
	is_named = garbage_is_named(z, o->name) || garbage_is_row(z, o->ns, o->first, o->generation);
	pthread_mutex_unlock(&z->lock);
	if (is_named) /* stored for a point that failed, and taken by a later one */
		return 0;
	zs_meta_copy(z, &m);
	record_init(&rec);
	a = record_read_name(&m, w, o->name, false, &rec, &st, &code);
	if (a == OBJ_UNKNOWN) {
		snprintf(why, ZS_WHY, "the metadata stores cannot say where it is");
		rc = -EAGAIN;
	} else {
		rc = a == OBJ_FOUND ? obj_delete(w, &rec, &z->data_stores, &rep) : 0;
		if (rc == 0)
			rc = record_delete(&m, w, o->name, &st);
	}
	record_release(&rec);
	return rc;
}

/* Bundles of before, which no point will name. With `lock` held. */
static int drop_bundles(struct zstor *z, const struct owed *drop)
{
	struct spool_intent in;
	int rc = 0;

	list_each_safe(&z->owed->items, it)
	{
		struct owed *o = container_of(it, struct owed, link);

		if (o->kind != SPOOL_BUNDLE || o->seq > drop->seq || o->state == OWED_RUNNING ||
		    strcmp(o->ns, drop->ns) != 0)
			continue;
		owed_intent(o, &in);
		rc = spool_remove(z->spool, &in);
		if (rc < 0)
			break;
		owed_done(z, o);
	}
	return rc;
}

/* A namespace was deleted or flushed: what its numbers meant must never be mixed with what they will mean. */
static int pay_nsdrop(struct zstor *z, struct obj_work *w, const struct owed *o, char *why)
{
	uint64_t sequence;
	struct obj_id id;
	struct zs_ns *ns;
	int rc = 0;

	pthread_mutex_lock(&z->lock);
	sequence = z->vol.local.sequence;
	ns = ns_find(z, o->ns);
	for (uint32_t n = 0; rc == 0 && ns && n < ns->rows_count; n++) {
		if (!ns->rows[n].known)
			continue;
		rc = obj_id_set(&id, ns->rows[n].generation, OBJ_SEGMENT, n, o->ns, strlen(o->ns));
		pthread_mutex_unlock(&z->lock);
		if (rc == 0)
			rc = object_discard(z, &id, sequence);
		pthread_mutex_lock(&z->lock);
		ns = ns_find(z, o->ns);
	}
	if (rc == 0)
		rc = drop_bundles(z, o);
	pthread_mutex_unlock(&z->lock);
	if (rc == 0)
		rc = garbage_dropped(z, o->ns, sequence);
	if (rc == 0)
		rc = vol_take_next(z, w, 0, why);
	if (rc == 0)
		rc = rows_clear(z, o->ns);
	if (rc == 0)
		rc = vol_forget_ns(z, o->ns);
	return rc;
}

/* --------------------------------------------------------------------------------------------------- threads --- */

static int pay(struct zstor *z, struct obj_work *w, const struct owed *o, char *why)
{
	switch (o->kind) {
	case SPOOL_SEGMENT:
		return pay_segment(z, w, o, why);
	case SPOOL_BUNDLE:
		return upload_bundle(z, w, o, why);
	case SPOOL_FILE:
		return pay_file(z, w, o, why);
	case SPOOL_PIECE:
		return pay_pieces(z, w, o, why);
	case SPOOL_GARBAGE:
		return pay_garbage(z, w, o, why);
	case SPOOL_NSDROP:
		return pay_nsdrop(z, w, o, why);
	case SPOOL_DROPPING:
	case SPOOL_DESCRIPTOR:
	case SPOOL_INDEX:
	case SPOOL_FENCE:
		break;
	}
	return -EINVAL;
}

/* What no time and no store can mend. */
static bool is_permanent(int rc)
{
	return rc == -ENOENT || rc == -EINVAL || rc == -E_CORRUPT || rc == -EFBIG || rc == -E_CONFIG ||
	       rc == -ENAMETOOLONG || rc == -E_KEY;
}

static void settle(struct zstor *z, struct owed *o, int rc, const char *why)
{
	struct spool_intent in;

	owed_intent(o, &in);
	/* A bundle stays in the spool until a recovery point names it. */
	if (rc == 0 && o->kind != SPOOL_BUNDLE && spool_remove(z->spool, &in) < 0)
		log_warn("cannot remove a paid %s from the spool; it is found paid again later",
			 spool_kind_name(o->kind));
	pthread_mutex_lock(&z->lock);
	z->uploads_running--;
	if (rc == 0) {
		z->uploads_done++;
		if (o->kind == SPOOL_BUNDLE)
			owed_stored(z, o);
		else
			owed_done(z, o);
	} else {
		if (rc != -ECANCELED) {
			z->uploads_failed++;
			log_every(5000, LOG_LEVEL_WARN, "cannot store %s %s/%" PRIu64 ": %s try=%u",
				  spool_kind_name(o->kind), o->ns, o->first, why, o->attempts + 1);
		}
		if (is_permanent(rc))
			owed_park(z, o, why);
		else
			owed_retry(z, o, why);
	}
	pthread_mutex_unlock(&z->lock);
}

static void *upload_thread(void *arg)
{
	struct zstor *z = arg;

	pthread_mutex_lock(&z->lock);
	while (!z->stopping) {
		char why[ZS_WHY] = "";
		uint64_t wait_ms;
		struct owed *o = owed_take(z, &wait_ms);
		struct obj_work *w;
		int rc = -ENOMEM;

		if (!o) {
			zs_wait(z, wait_ms);
			continue;
		}
		z->uploads_running++;
		pthread_mutex_unlock(&z->lock);
		w = zs_work_get(z);
		if (w)
			rc = pay(z, w, o, why);
		zs_work_put(z, w);
		if (rc < 0 && !why[0])
			snprintf(why, sizeof(why), "%s", err_str(rc));
		settle(z, o, rc, why);
		pthread_mutex_lock(&z->lock);
	}
	pthread_mutex_unlock(&z->lock);
	return NULL;
}

/* Looks at the spool each second, so that nobody has to tell us, and gives back memory that has been idle. */
static void *look_thread(void *arg)
{
	struct zstor *z = arg;
	uint64_t reserve_ms = 0;

	pthread_mutex_lock(&z->lock);
	while (!z->stopping) {
		int rc = owed_refresh(z, false);

		if (rc < 0)
			log_every(60000, LOG_LEVEL_ERR, "cannot read the spool: %s", err_str(rc));
		pthread_mutex_unlock(&z->lock);
		zs_work_trim(z, false);
		if (clock_mono_ms() >= reserve_ms) {
			reserve_ms = clock_mono_ms() + 60000;
			if (spool_reserve_fill(z->spool) == -ENOSPC)
				log_warn("the disk of the spool is full: its reserve cannot be kept");
		}
		pthread_mutex_lock(&z->lock);
		zs_wait(z, 1000);
	}
	pthread_mutex_unlock(&z->lock);
	return NULL;
}

int uploads_start(struct zstor *z)
{
	pthread_attr_t attr;
	int rc;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, UPLOAD_STACK);
	rc = pthread_create(&up.looker, &attr, look_thread, z);
	up.has_looker = rc == 0;
	for (up.count = 0; rc == 0 && up.count < z->conf.upload_workers && up.count < UPLOADERS_MAX;) {
		rc = pthread_create(&up.threads[up.count], &attr, upload_thread, z);
		if (rc == 0)
			up.count++;
	}
	pthread_attr_destroy(&attr);
	return -rc;
}

void uploads_stop(struct zstor *z)
{
	zs_changed(z);
	for (unsigned i = 0; i < up.count; i++)
		pthread_join(up.threads[i], NULL);
	if (up.has_looker)
		pthread_join(up.looker, NULL);
	up.count = 0;
	up.has_looker = false;
}
