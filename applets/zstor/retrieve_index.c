/*
 * retrieve: an index file that is gone, put together from bundles.
 *
 * i<N> is what the bundle of segment N and all later ones say of it. They lie on the stores, named by the newest manifest, and
 * behind its closed segments in the spool; one that is on its way is in the spool until a manifest names it, so under the lock it is
 * always found in one of the two. What is put together is i<N> as it was when segment C began, C being the first whose bundle
 * there is not: only the server, which has the log from there on, can make the file of today of it. So it lies beside
 * its place, as `i<N>.before<C>` (docs/formats.md, chapter zdb, 4). No data segment is fetched, no file is ever replaced.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "applets/zstor/owed.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/base/sys.h"
#include "core/object/bundle.h"

struct job {
	struct zstor *z;
	struct obj_work *w;
	const char *ns;
	struct bundle_index x;
	bool must_agree, does_agree; /* check_rows() */
	char *why;
};

/* Where a bundle is. */
struct source {
	bool is_stored;
	struct manifest_bundle stored;
	struct spool_intent owed;
};

/* Of the newest manifest, else of the spool: one that holds segment n. With `lock` held. */
static bool find_source(struct job *j, uint32_t n, struct source *s)
{
	const struct manifest_ns *ns = manifest_find(&j->z->vol.last, j->ns, strlen(j->ns));

	memset(s, 0, sizeof(*s));
	for (unsigned i = 0; ns && i < ns->bundles_count; i++) {
		if (ns->bundles[i].first <= n && n <= ns->bundles[i].last) {
			s->is_stored = true;
			s->stored = ns->bundles[i];
			return true;
		}
	}
	list_each(&j->z->owed->items, it)
	{
		const struct owed *o = container_of(it, struct owed, link);

		if (o->kind == SPOOL_BUNDLE && o->first <= n && n <= o->last && strcmp(o->ns, j->ns) == 0) {
			owed_intent(o, &s->owed);
			return true;
		}
	}
	return false;
}

/* The bytes of a bundle into fd. -ENOENT: it is not there any more. */
static int get_bytes(struct job *j, const struct source *s, int fd)
{
	struct obj_id id;
	uint64_t size;
	int rc;

	if (!s->is_stored)
		return spool_payload_copy(j->z->spool, &s->owed, fd);
	rc = obj_id_set(&id, s->stored.generation, OBJ_BUNDLE,
			obj_number_bundle(s->stored.first, s->stored.last), j->ns, strlen(j->ns));
	return rc == 0 ? object_fetch(j->z, j->w, &id, s->stored.content, fd, 0, &size, j->why) : rc;
}

/*
 * A namespace that was emptied begins again at segment 0: what the manifest names may still be the one before. The segment
 * table is of the present one: it must know the segment as one of the bundles does. When it was compacted several name it,
 * one after the other.
 */
static void see_rows(struct job *j, const struct source *s, const struct bundle *b)
{
	const struct zs_row *known;

	if (s->is_stored && b->first <= j->x.number)
		j->must_agree = true;
	pthread_mutex_lock(&j->z->lock);
	known = ns_row(j->z, j->ns, j->x.number);
	for (uint32_t i = 0; known && i < b->rows_count; i++)
		if (b->rows[i].segment == j->x.number &&
		    memcmp(b->rows[i].content, known->content, CONTENT_ID_BYTES) == 0)
			j->does_agree = true;
	pthread_mutex_unlock(&j->z->lock);
}

static int check_rows(struct job *j)
{
	if (!j->must_agree || j->does_agree)
		return 0;
	snprintf(j->why, ZS_WHY, "the bundles and the segment table of %s do not agree on segment %" PRIu32,
		 j->ns, j->x.number);
	return -E_CORRUPT;
}

static int add_source(struct job *j, const struct source *s)
{
	struct bundle b = {0};
	const char *wrong = "";
	int rc, fd = zs_temp_file(j->z);

	if (fd < 0)
		return fd;
	rc = get_bytes(j, s, fd);
	if (rc == 0)
		rc = bundle_open(fd, &b, &wrong);
	if (rc == 0) {
		see_rows(j, s, &b);
		rc = bundle_index_add(&j->x, &b, &wrong);
		bundle_release(&b);
	}
	if (rc == -E_CORRUPT && !j->why[0])
		snprintf(j->why, ZS_WHY, "the bundle of segment %" PRIu32 " of %s is damaged: %s", j->x.next,
			 j->ns, wrong);
	sys->close(fd);
	return rc;
}

static bool same_source(const struct source *a, const struct source *b)
{
	return a->is_stored == b->is_stored &&
	       (a->is_stored ? memcmp(&a->stored, &b->stored, sizeof(a->stored)) == 0
			     : a->owed.seq == b->owed.seq);
}

/* Whether bundles can be asked for now. With `lock` held. */
static int may_ask(struct job *j)
{
	struct zstor *z = j->z;
	int rc;

	if (z->vol.state != VOL_READY && z->vol.state != VOL_FENCED) {
		snprintf(j->why, ZS_WHY, "the volume is %s: %s", vol_state_name(z->vol.state), z->vol.why);
		return -EAGAIN;
	}
	rc = owed_refresh(z, true);
	if (rc < 0) {
		snprintf(j->why, ZS_WHY, "cannot read the spool: %s", err_str(rc));
	} else if (owed_drops(j->z, j->ns)) {
		snprintf(j->why, ZS_WHY, "namespace %s was emptied, and the stores do not know yet", j->ns);
		rc = -EAGAIN;
	}
	return rc;
}

/*
 * All bundles that there are. What was there when it was looked for and is not any more has been published, or merged,
 * meanwhile: then it is found elsewhere; when it is not, it is lost.
 */
static int gather(struct job *j)
{
	struct source s, before;
	bool again = false;
	int rc;

	pthread_mutex_lock(&j->z->lock);
	rc = may_ask(j);
	pthread_mutex_unlock(&j->z->lock);
	while (rc == 0) {
		bool found;

		pthread_mutex_lock(&j->z->lock);
		found = find_source(j, j->x.next, &s);
		pthread_mutex_unlock(&j->z->lock);
		if (!found)
			break;
		if (again && same_source(&s, &before))
			return -EIO;
		j->why[0] = '\0';
		rc = add_source(j, &s);
		again = rc == -ENOENT;
		before = s;
		if (again)
			rc = 0;
	}
	if (rc == 0 && j->x.size == 0) {
		snprintf(j->why, ZS_WHY, "entity not found: no bundle of %s holds index file i%" PRIu32,
			 j->ns, j->x.number);
		rc = -ENOENT;
	}
	return rc == 0 ? check_rows(j) : rc;
}

static int into_place(struct job *j, const char *temp, const char *path)
{
	char name[FILE_PATH_MAX];
	int rc = str_fmt(name, sizeof(name), "%s.before%" PRIu32, path, j->x.next);

	if (rc > 0)
		rc = sys->fsync(j->x.fd) < 0 ? -errno : file_move_new(temp, name);
	if (rc == -EEXIST) { /* made by a request before this one */
		(void)sys->unlink(temp);
		rc = 0;
	}
	if (rc == 0)
		rc = file_sync_parent(name);
	if (rc == 0)
		log_info("index file %" PRIu32 " of %s as it was before segment %" PRIu32 " file=%s",
			 j->x.number, j->ns, j->x.next, name);
	return rc;
}

int retrieve_index(struct zstor *z, struct obj_work *w, const char *ns, uint32_t number, const char *path,
		   char *why)
{
	struct job j = {.z = z, .w = w, .ns = ns, .why = why};
	char temp[FILE_PATH_MAX];
	int fd, rc = file_temp_path(temp, sizeof(temp), path);

	if (rc < 0 || file_exists(path) == 1)
		return rc;
	fd = sys->open(temp, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	bundle_index_begin(&j.x, fd, number);
	rc = gather(&j);
	if (rc == 0)
		rc = into_place(&j, temp, path);
	if (rc < 0)
		(void)sys->unlink(temp); /* the first error is the one to report */
	sys->close(fd);
	return rc;
}
