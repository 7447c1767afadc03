/*
 * retrieve: one segment back from the stores, and what is stored of a path. Index files: retrieve_index.c.
 *
 * A segment that is here is never touched. One that is not is decoded into a temporary file beside its place, compared with
 * its content id, synced and renamed. Two requests for one segment share the work: the second finds the first's file.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "applets/zstor/zstor.h"
#include "core/base/applet.h"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/base/sys.h"

int segment_path(struct zstor *z, char *dst, size_t size, const char *ns, uint32_t segment)
{
	int rc = str_fmt(dst, size, "%s/%s/d%" PRIu32, z->conf.data_root, ns, segment);

	return rc < 0 ? rc : 0;
}

static const char *below(const char *root, const char *path)
{
	size_t len = strlen(root);

	if (strncmp(path, root, len) != 0 || path[len] != '/')
		return NULL;
	return path + len + 1;
}

static bool path_is_numbered(const char *root, char letter, const char *path, char *ns, uint32_t *number)
{
	const char *rest = below(root, path), *slash = rest ? strchr(rest, '/') : NULL;

	if (!slash || slash == rest || slash[1] != letter || strchr(slash + 1, '/') ||
	    str_parse_u32(slash + 2, number) < 0)
		return false;
	return str_copy_n(ns, SPOOL_NS_MAX + 1, rest, (size_t)(slash - rest)) == 0;
}

bool path_is_segment(struct zstor *z, const char *path, char *ns, uint32_t *segment)
{
	return path_is_numbered(z->conf.data_root, 'd', path, ns, segment);
}

bool path_is_volume(struct zstor *z, const char *path)
{
	return below(z->conf.data_root, path) || below(z->conf.index_root, path);
}

/*
 * Files outside the namespaces: kind segment, number 0, "namespace" = the absolute path, which begins with '/' and so is
 * no namespace's name. The generation is 0: whoever holds the key may replace such a file, it belongs to no front end.
 */
int file_object_id(struct obj_id *id, const char *path, char *why)
{
	size_t len = strlen(path);

	if (path[0] != '/' || len > OBJ_NS_MAX) {
		snprintf(why, ZS_WHY, "%s: only absolute paths of at most %d bytes can be stored by name",
			 path, OBJ_NS_MAX);
		return -ENAMETOOLONG;
	}
	return obj_id_set(id, 0, OBJ_SEGMENT, 0, path, len);
}

/* What the record must show: the row's content, when there is a row. */
static int expected(struct zstor *z, const char *ns, uint32_t segment, struct obj_id *id, struct zs_row *row)
{
	const struct zs_row *known;

	pthread_mutex_lock(&z->lock);
	known = ns_row(z, ns, segment);
	if (known)
		*row = *known;
	else
		*row = (struct zs_row){.generation = z->vol.local.generation};
	pthread_mutex_unlock(&z->lock);
	return obj_id_set(id, row->generation, OBJ_SEGMENT, segment, ns, strlen(ns));
}

static int read_into(struct zstor *z, struct obj_work *w, const struct obj_id *id, const struct zs_row *row,
		     const char *path, char *why)
{
	struct record rec;
	enum obj_answer a;
	int code = 0, rc;

	record_init(&rec);
	a = object_find(z, w, id, &rec, NULL, &code);
	if (a == OBJ_FOUND && row && row->known &&
	    memcmp(rec.priv.content, row->content, CONTENT_ID_BYTES) != 0) {
		snprintf(why, ZS_WHY, "the stores hold another content than the recovery point names");
		rc = -E_CORRUPT;
	} else if (a == OBJ_FOUND) {
		rc = obj_read_file(w, &rec, &z->data_stores, path, NULL, why);
		if (rc == -EEXIST)
			rc = 0;
	} else if (a == OBJ_ABSENT) {
		snprintf(why, ZS_WHY, "entity not found: it is not stored");
		rc = -ENOENT;
	} else {
		snprintf(why, ZS_WHY, "the metadata stores cannot say where it is%s%s", code ? ": " : "",
			 code ? err_str(code) : "");
		rc = code == -E_KEY ? code : -EAGAIN;
	}
	record_release(&rec);
	return rc;
}

static int retrieve_segment(struct zstor *z, struct obj_work *w, const char *ns, uint32_t segment,
			    const char *path, char *why)
{
	struct obj_id id;
	struct zs_row row;
	int rc;

	if (file_exists(path) == 1)
		return 0;
	rc = expected(z, ns, segment, &id, &row);
	if (rc == 0)
		rc = read_into(z, w, &id, &row, path, why);
	return rc;
}

static int exit_of(int rc)
{
	switch (rc) {
	case 0:
		return EXIT_DONE;
	case -ENOENT:
		return EXIT_NOT_FOUND;
	case -EAGAIN:
	case -ECANCELED:
		return EXIT_AGAIN;
	case -E_KEY:
		return EXIT_KEY;
	}
	return EXIT_FAILED;
}

static int retrieve_file(struct zstor *z, struct obj_work *w, const char *path, char *why)
{
	struct obj_id id;
	char dir[FILE_PATH_MAX];
	int rc;

	if (file_exists(path) == 1) {
		snprintf(why, ZS_WHY, "a file is there already and is not overwritten");
		return -EEXIST;
	}
	rc = file_object_id(&id, path, why);
	if (rc == 0)
		rc = file_dirname(dir, sizeof(dir), path);
	if (rc == 0)
		rc = file_mkdir_p(dir, 0755);
	return rc == 0 ? read_into(z, w, &id, NULL, path, why) : rc;
}

int retrieve_path(struct zstor *z, const char *path, char *why)
{
	struct obj_work *w = zs_work_get(z);
	uint64_t begin = clock_mono_ms();
	char ns[SPOOL_NS_MAX + 1];
	uint32_t segment;
	int rc = -ENOMEM;

	why[0] = '\0';
	if (!w)
		goto out;
	if (path_is_segment(z, path, ns, &segment)) {
		rc = retrieve_segment(z, w, ns, segment, path, why);
	} else if (path_is_numbered(z->conf.index_root, 'i', path, ns, &segment)) {
		rc = retrieve_index(z, w, ns, segment, path, why);
	} else if (path_is_volume(z, path)) {
		snprintf(why, ZS_WHY,
			 "only data and index files come back one by one; descriptors come with a restore");
		rc = -EINVAL;
	} else {
		rc = retrieve_file(z, w, path, why);
	}
out:
	zs_work_put(z, w);
	if (rc < 0 && !why[0])
		snprintf(why, ZS_WHY, "%s", err_str(rc));
	if (rc == 0)
		log_info("retrieved %s ms=%" PRIu64, path, clock_mono_ms() - begin);
	else
		log_warn("cannot retrieve %s: %s", path, why);
	return exit_of(rc);
}

int check_path(struct zstor *z, const char *path, uint8_t content[CONTENT_ID_BYTES], bool *stored, char *why)
{
	struct obj_work *w = zs_work_get(z);
	char ns[SPOOL_NS_MAX + 1];
	struct record rec;
	struct zs_row row;
	struct obj_id id;
	uint32_t segment;
	int code = 0, rc = w ? 0 : -ENOMEM;

	why[0] = '\0';
	*stored = false;
	record_init(&rec);
	if (rc == 0 && path_is_segment(z, path, ns, &segment))
		rc = expected(z, ns, segment, &id, &row);
	else if (rc == 0 && path_is_volume(z, path))
		goto out; /* never an object of its own */
	else if (rc == 0)
		rc = file_object_id(&id, path, why);
	if (rc < 0)
		goto out;
	switch (object_find(z, w, &id, &rec, NULL, &code)) {
	case OBJ_FOUND:
		*stored = true;
		memcpy(content, rec.priv.content, CONTENT_ID_BYTES);
		break;
	case OBJ_ABSENT:
		break;
	case OBJ_UNKNOWN:
		snprintf(why, ZS_WHY, "the metadata stores cannot say whether it is stored");
		rc = code == -E_KEY ? code : -EAGAIN;
		break;
	}
out:
	record_release(&rec);
	zs_work_put(z, w);
	if (rc < 0 && !why[0])
		snprintf(why, ZS_WHY, "%s", err_str(rc));
	return exit_of(rc);
}
