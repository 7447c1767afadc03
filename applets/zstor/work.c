/*
 * work: requests that are done in a worker thread, whichever protocol brought them.
 */
#include <stdio.h>
#include <string.h>

#include "applets/zstor/daemon.h"
#include "core/base/applet.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/base/sys.h"

/* The path under which a file is stored: its own, or that of the same name in the key directory. */
static int stored_path(const struct request *r, char *out, size_t size)
{
	if (!r->key_path[0])
		return str_copy(out, size, r->path);
	return file_join(out, size, r->key_path, file_basename(r->path));
}

static int store_plain(struct zstor *z, struct obj_work *w, const char *file, const char *as,
		       uint8_t *content, char *why)
{
	struct obj_file_range range = {.fd = sys->open(file, O_RDONLY, 0)};
	struct obj_source source;
	struct obj_id id;
	struct stat st;
	int rc = range.fd < 0 ? -errno : file_object_id(&id, as, why);

	if (rc == 0 && sys->fstat(range.fd, &st) < 0)
		rc = -errno;
	if (rc == 0 && !S_ISREG(st.st_mode))
		rc = -EINVAL;
	if (rc == 0) {
		source = obj_source_file(&range, (uint64_t)st.st_size);
		rc = object_put(z, w, &id, &source, content, why);
	}
	if (range.fd >= 0)
		sys->close(range.fd);
	return rc;
}

/* Files of the namespaces that are no closed segment (the active one, indexes, descriptors) are what recovery points hold. */
static int wait_for_point(struct zstor *z, char *why)
{
	uint64_t number;
	int rc;

	pthread_mutex_lock(&z->lock);
	number = point_request(z);
	while (z->point.tried < number && !z->stopping && z->vol.state == VOL_READY)
		zs_wait(z, 500);
	rc = z->point.done >= number ? 0 : -EAGAIN;
	if (rc < 0)
		snprintf(why, ZS_WHY, "%s", z->vol.state == VOL_READY ? z->point.error : z->vol.why);
	pthread_mutex_unlock(&z->lock);
	return rc;
}

static bool is_closed_segment(struct zstor *z, const char *ns, uint32_t segment)
{
	char path[FILE_PATH_MAX];

	return segment_path(z, path, sizeof(path), ns, segment + 1) == 0 && segment < UINT32_MAX &&
	       file_exists(path) == 1;
}

static int store_now(struct request *r, struct obj_work *w)
{
	struct zstor *z = &r->d->z;
	char as[FILE_PATH_MAX], ns[SPOOL_NS_MAX + 1];
	uint32_t segment;
	int rc = stored_path(r, as, sizeof(as));

	pthread_mutex_lock(&z->lock);
	if (rc == 0 && z->vol.state != VOL_READY) {
		snprintf(r->why, ZS_WHY, "%s", z->vol.why);
		rc = z->vol.state == VOL_UNKNOWN ? -EAGAIN : -EPERM;
	}
	pthread_mutex_unlock(&z->lock);
	if (rc < 0)
		return rc;
	if (path_is_segment(z, as, ns, &segment) && is_closed_segment(z, ns, segment))
		return upload_segment(z, w, ns, segment, r->path, r->why);
	if (path_is_volume(z, as))
		return wait_for_point(z, r->why);
	return store_plain(z, w, r->path, as, r->content, r->why);
}

static void run_store(struct request *r)
{
	struct obj_work *w = zs_work_get(&r->d->z);
	int rc = w ? store_now(r, w) : -ENOMEM;

	zs_work_put(&r->d->z, w);
	if (rc == 0 && r->delete_after && sys->unlink(r->path) < 0)
		log_warn("stored, but cannot remove %s: %s", r->path, err_str(-errno));
	if (rc < 0 && !r->why[0])
		snprintf(r->why, ZS_WHY, "%s", err_str(rc));
	r->code = rc == 0                             ? EXIT_DONE
		  : rc == -EAGAIN || rc == -ECANCELED ? EXIT_AGAIN
		  : rc == -E_KEY                      ? EXIT_KEY
						      : EXIT_FAILED;
	if (rc == 0)
		log_info("stored %s", r->path);
	else
		log_warn("cannot store %s: %s", r->path, r->why);
}

static void run(struct worker_job *job)
{
	struct request *r = job->ctx;
	struct zstor *z = &r->d->z;

	switch (r->kind) {
	case REQ_RETRIEVE:
		r->code = retrieve_path(z, r->path, r->why);
		break;
	case REQ_CHECK:
		r->code = check_path(z, r->path, r->content, &r->stored, r->why);
		break;
	case REQ_STORE:
		run_store(r);
		break;
	case REQ_EVICT:
		r->code = evict_run(z, r->target_bytes, &r->evicted);
		memcpy(r->why, r->evicted.why, sizeof(r->why));
		break;
	}
}

static void finished(struct worker_job *job)
{
	struct request *r = job->ctx;

	if (job->is_cancelled) {
		r->code = EXIT_AGAIN;
		snprintf(r->why, ZS_WHY, "zstor is stopping");
	}
	r->done(r);
	request_free(r);
}

struct request *request_new(struct daemon *d, int kind, const char *path)
{
	struct request *r = mem_calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->d = d;
	r->kind = kind;
	worker_job_init(&r->job, run, finished, r);
	if (path && file_absolute(r->path, sizeof(r->path), path) < 0) {
		mem_free(r);
		return NULL;
	}
	return r;
}

void request_free(struct request *r)
{
	mem_free(r);
}

int request_submit(struct request *r)
{
	return worker_submit(r->kind == REQ_RETRIEVE ? r->d->retrieve : r->d->jobs, &r->job);
}

int request_note_store(struct daemon *d, const char *path, bool delete_after, char *why)
{
	struct spool_intent in = {.kind = SPOOL_FILE};
	struct zstor *z = &d->z;
	uint32_t segment;
	struct stat st;
	int rc = file_absolute(in.path, sizeof(in.path), path);

	if (rc == 0 && sys->stat(in.path, &st) < 0)
		rc = -errno;
	if (rc < 0)
		goto out;
	in.size = (uint64_t)st.st_size;
	if (path_is_segment(z, in.path, in.ns, &segment) && is_closed_segment(z, in.ns, segment)) {
		in.kind = SPOOL_SEGMENT;
		in.first = in.last = segment;
	} else if (path_is_volume(z, in.path)) {
		pthread_mutex_lock(&z->lock);
		point_request(z);
		pthread_mutex_unlock(&z->lock);
		return EXIT_DONE;
	} else {
		in.ns[0] = '\0';
		in.flags = delete_after ? SPOOL_FILE_DELETE : 0;
	}
	rc = spool_put(z->spool, &in, NULL, 0);
out:
	if (rc < 0)
		snprintf(why, ZS_WHY, "cannot note %s: %s", path, err_str(rc));
	zs_changed(z);
	return rc < 0 ? EXIT_FAILED : EXIT_DONE;
}
