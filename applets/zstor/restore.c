/*
 * restore: the state that the newest complete manifest names, into an empty state directory.
 *
 * Order (native format, section 7): manifest, take over, then per namespace the tails into d<N>, the bundles in order into
 * the index files, the mark, and last the descriptor, by which a server knows the namespace. Everything is built under
 * names that no server looks at (`*.restore`), synced, then renamed, d<N> first: so a namespace whose d<N> has its name has
 * all its parts on disk, and one whose descriptor has its name is done. A restore that was cut short goes on from there.
 * Closed data segments come when they are read.
 *
 * Local files win: a namespace of which anything lies here, without a state that says it is a restore's, is refused.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "applets/zstor/owed.h"
#include "core/base/applet.h"
#include "core/base/endian.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/base/sys.h"
#include "core/object/bundle.h"
#include "core/object/restore.h"
#include "core/zdb/zdb.h"

#define SUFFIX           ".restore"
#define INDEX_HEAD_BYTES 29

struct rest {
	struct zstor *z;
	struct obj_work *w;
	struct manifest *m; /* of z->vol.last: only this thread changes it */
	const struct manifest_ns *ns;
	char data_dir[FILE_PATH_MAX], index_dir[FILE_PATH_MAX];
	int index_fd; /* index file written last, -1 = none */
	uint32_t index_number;
	char *why;
};

/* -------------------------------------------------------------------------------------------- what lies here --- */

static int is_part(void *ctx, const char *name, unsigned char type)
{
	(void)ctx;
	(void)type;
	if (str_ends(name, SUFFIX))
		return 0;
	return (name[0] == 'i' || name[0] == 'd' || name[0] == 'z') && type == DT_REG;
}

/*
 * What a server makes of a namespace before the first write: a descriptor and two heads, no mark, nothing else. It holds
 * nothing, so it is no reason to refuse a restore. 1 or 0.
 */
static int is_pristine(struct zstor *z, const char *ns)
{
	char path[FILE_PATH_MAX], index[FILE_PATH_MAX];
	struct stat st;

	if (file_join(index, sizeof(index), z->conf.index_root, ns) < 0 ||
	    segment_path(z, path, sizeof(path), ns, 0) < 0 || sys->stat(path, &st) < 0 ||
	    st.st_size != DATA_HEAD_BYTES)
		return 0;
	if (segment_path(z, path, sizeof(path), ns, 1) < 0 || file_exists(path) != 0 ||
	    str_fmt(path, sizeof(path), "%s/mark", index) < 0 || file_exists(path) != 0 ||
	    str_fmt(path, sizeof(path), "%s/i1", index) < 0 || file_exists(path) != 0)
		return 0;
	return str_fmt(path, sizeof(path), "%s/i0", index) > 0 && sys->stat(path, &st) == 0 &&
	       st.st_size == INDEX_HEAD_BYTES;
}

/* Makes room for the namespace that comes back. */
static int remove_pristine(struct zstor *z, const char *ns)
{
	static const char *const names[] = {"i0", "zdb-namespace"};
	char path[FILE_PATH_MAX];
	int rc = segment_path(z, path, sizeof(path), ns, 0);

	if (rc == 0 && sys->unlink(path) < 0)
		rc = -errno;
	for (int i = 0; rc == 0 && i < 2; i++) {
		rc = str_fmt(path, sizeof(path), "%s/%s/%s", z->conf.index_root, ns, names[i]);
		rc = rc < 0 ? rc : sys->unlink(path) < 0 && errno != ENOENT ? -errno : 0;
	}
	return rc;
}

/* 1 when anything of the namespace lies here, 0 nothing, negative: cannot say. */
static int is_here(struct zstor *z, const char *ns)
{
	const char *roots[] = {z->conf.index_root, z->conf.data_root};

	for (int i = 0; i < 2; i++) {
		char dir[FILE_PATH_MAX];
		int rc = file_join(dir, sizeof(dir), roots[i], ns);

		if (rc == 0)
			rc = file_list(dir, is_part, NULL);
		if (rc != 0 && rc != -ENOENT)
			return rc;
	}
	return 0;
}

/* What of the last manifest's namespaces lies here; a namespace whose deletion is owed counts as neither. With `lock`. */
static int look_here(struct zstor *z, unsigned *here, unsigned *gone, const char **gone_name)
{
	*here = *gone = 0;
	for (unsigned i = 0; i < z->vol.last.count; i++) {
		const char *name = z->vol.last.ns[i].name;
		int rc = is_here(z, name);

		if (rc < 0)
			return rc;
		if (rc == 1 &&
		    is_pristine(z, name)) /* here or gone: it makes no difference while it holds nothing */
			rc = z->vol.last.ns[i].closed || z->vol.last.ns[i].tails_count ? 0 : 2;
		if (rc == 1) {
			(*here)++;
		} else if (rc == 0 && !owed_drops(z, name)) {
			(*gone)++;
			*gone_name = name;
		}
	}
	return 0;
}

int restore_answer(struct zstor *z, char *why)
{
	unsigned here, gone;
	const char *name = "";
	int rc;

	snprintf(why, ZS_WHY, "%s", z->vol.why);
	/* Local files win: they may be served while the stores are away, and by a fenced front end for reading. */
	if (z->vol.state != VOL_READY &&
	    !(z->vol.state == VOL_UNKNOWN && z->vol.local.present && !z->vol.local.restoring))
		return z->vol.code ? z->vol.code : EXIT_FAILED;
	rc = look_here(z, &here, &gone, &name);
	if (rc < 0) {
		snprintf(why, ZS_WHY, "cannot look at the files of the volume: %s", err_str(rc));
		return EXIT_FAILED;
	}
	if (!gone)
		return EXIT_DONE;
	if (!why[0])
		snprintf(why, ZS_WHY, "the files of namespace %s are gone", name);
	return EXIT_AGAIN;
}

/* -------------------------------------------------------------------------------------------------- objects --- */

static void say(struct rest *r, const char *what)
{
	struct zs_restore_status *st = &r->z->restore;

	pthread_mutex_lock(&r->z->lock);
	snprintf(st->text, sizeof(st->text), "restoring %s: %s", r->ns ? r->ns->name : "", what);
	pthread_cond_broadcast(&r->z->changed);
	pthread_mutex_unlock(&r->z->lock);
}

static void count_object(struct rest *r, uint64_t bytes)
{
	pthread_mutex_lock(&r->z->lock);
	r->z->restore.objects_done++;
	r->z->restore.bytes += bytes;
	pthread_cond_broadcast(&r->z->changed);
	pthread_mutex_unlock(&r->z->lock);
}

/* Reads an object that the manifest names into a file at `start`. Unknown and damaged are told apart in `why`. */
static int fetch(struct rest *r, const struct obj_id *id, const uint8_t content[CONTENT_ID_BYTES], int fd,
		 uint64_t start, const char *what)
{
	char why[ZS_WHY];
	uint64_t size = 0;
	int rc = object_fetch(r->z, r->w, id, content, fd, start, &size, why);

	if (rc < 0)
		snprintf(r->why, ZS_WHY, "cannot restore %s of %s: %s", what, r->ns->name,
			 why[0] ? why : err_str(rc));
	else
		count_object(r, size);
	return rc;
}

/* --------------------------------------------------------------------------------------------------- data file --- */

static int open_part(const char *dir, const char *name, int flags)
{
	char path[FILE_PATH_MAX];
	int fd, rc = str_fmt(path, sizeof(path), "%s/%s" SUFFIX, dir, name);

	if (rc < 0)
		return rc;
	fd = sys->open(path, flags, 0600);
	return fd < 0 ? -errno : fd;
}

static void data_head(uint32_t number, uint8_t head[DATA_HEAD_BYTES])
{
	memset(head, 0, DATA_HEAD_BYTES);
	memcpy(head, "DAT0", 4);
	put_u32le(head + 4, 3);
	put_u32le(head + 24, number);
}

/* d<N> from its tails. Its stamp is 0, as in everything that has left a node, and so is that of the mark. */
static int build_data(struct rest *r)
{
	uint8_t head[DATA_HEAD_BYTES];
	char name[32], what[64];
	int fd, rc = 0;

	snprintf(name, sizeof(name), "d%" PRIu32, r->ns->closed);
	fd = open_part(r->data_dir, name, O_RDWR | O_CREAT | O_TRUNC);
	if (fd < 0)
		return fd;
	if (r->ns->tails_count == 0) {
		data_head(r->ns->closed, head);
		rc = file_pwrite_full(fd, head, sizeof(head), 0);
	}
	for (unsigned i = 0; rc == 0 && i < r->ns->tails_count; i++) {
		const struct manifest_tail *t = &r->ns->tails[i];
		struct obj_id id;

		snprintf(what, sizeof(what), "tail %u of %u", i + 1, r->ns->tails_count);
		say(r, what);
		rc = obj_id_set(&id, t->generation, OBJ_TAIL, obj_number_tail(r->ns->closed, t->end),
				r->ns->name, r->ns->name_len);
		if (rc == 0)
			rc = fetch(r, &id, t->content, fd, t->start, what);
	}
	sys->close(fd);
	return rc;
}

static int build_descriptor(struct rest *r)
{
	int rc, fd = open_part(r->index_dir, "zdb-namespace", O_WRONLY | O_CREAT | O_TRUNC);

	if (fd < 0)
		return fd;
	rc = file_pwrite_full(fd, r->ns->descriptor, r->ns->descriptor_len, 0);
	sys->close(fd);
	return rc;
}

/* -------------------------------------------------------------------------------------------------- index files --- */

static int use_index(struct rest *r, uint32_t number)
{
	char name[32];

	if (r->index_fd >= 0 && r->index_number == number)
		return 0;
	if (r->index_fd >= 0)
		sys->close(r->index_fd);
	snprintf(name, sizeof(name), "i%" PRIu32, number);
	r->index_fd = open_part(r->index_dir, name, O_RDWR | O_CREAT);
	r->index_number = number;
	return r->index_fd < 0 ? r->index_fd : 0;
}

static int write_extent(void *ctx, uint32_t file, uint32_t offset, const void *data, size_t len)
{
	struct rest *r = ctx;
	int rc;

	if (file >= r->ns->closed) { /* only records of closed segments are in bundles */
		snprintf(r->why, ZS_WHY, "a bundle of %s names index %" PRIu32 ", closed are %" PRIu32,
			 r->ns->name, file, r->ns->closed);
		return -E_CORRUPT;
	}
	rc = use_index(r, file);
	return rc == 0 ? file_pwrite_full(r->index_fd, data, len, offset) : rc;
}

/* Head of an index file, where the bundles did not bring it. */
static int ensure_head(struct rest *r, uint32_t number)
{
	uint8_t head[INDEX_HEAD_BYTES] = {0};
	ssize_t n;
	int rc = use_index(r, number);

	if (rc < 0)
		return rc;
	n = file_pread_full(r->index_fd, head, sizeof(head), 0);
	if (n < 0)
		return (int)n;
	if (n == sizeof(head) && memcmp(head, "IDX0", 4) == 0)
		return 0;
	if (n > 0 && memcmp(head, "\0\0\0\0", 4) != 0)
		return -E_CORRUPT;
	memset(head, 0, sizeof(head));
	memcpy(head, "IDX0", 4);
	put_u32le(head + 4, 4);
	put_u32le(head + 24, number);
	head[28] = r->ns->mode;
	return file_pwrite_full(r->index_fd, head, sizeof(head), 0);
}

static int apply_bundle(struct rest *r, const struct manifest_bundle *b, const char *what)
{
	struct bundle content = {0};
	struct zs_row *rows = NULL;
	struct obj_id id;
	const char *wrong = "";
	int rc, fd = zs_temp_file(r->z);

	if (fd < 0)
		return fd;
	rc = obj_id_set(&id, b->generation, OBJ_BUNDLE, obj_number_bundle(b->first, b->last), r->ns->name,
			r->ns->name_len);
	if (rc == 0)
		rc = fetch(r, &id, b->content, fd, 0, what);
	if (rc == 0)
		rc = bundle_open(fd, &content, &wrong);
	if (rc == -E_CORRUPT && !r->why[0])
		snprintf(r->why, ZS_WHY, "cannot restore %s of %s: %s is wrong", what, r->ns->name, wrong);
	if (rc < 0)
		goto out;
	rc = bundle_apply(&content, write_extent, r);
	if (rc == 0 && !(rows = mem_calloc(content.rows_count + 1u, sizeof(*rows))))
		rc = -ENOMEM;
	for (uint32_t i = 0; rc == 0 && i < content.rows_count; i++) {
		rows[i].known = true;
		rows[i].generation = content.rows[i].generation;
		rows[i].size = content.rows[i].size;
		memcpy(rows[i].content, content.rows[i].content, CONTENT_ID_BYTES);
	}
	if (rc == 0)
		rc = rows_put_many(r->z, r->ns->name, content.rows, content.rows_count, rows);
	bundle_release(&content);
out:
	mem_free(rows);
	sys->close(fd);
	return rc;
}

static int build_index(struct rest *r)
{
	char what[64];
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < r->ns->bundles_count; i++) {
		snprintf(what, sizeof(what), "bundle %u of %u", i + 1, r->ns->bundles_count);
		say(r, what);
		rc = apply_bundle(r, &r->ns->bundles[i], what);
	}
	for (uint32_t n = 0; rc == 0 && n <= r->ns->closed; n++) {
		rc = ensure_head(r, n);
		if (rc == 0 && n < r->ns->closed) {
			pthread_mutex_lock(&r->z->lock);
			if (!ns_row(r->z, r->ns->name, n))
				rc = -E_CORRUPT;
			pthread_mutex_unlock(&r->z->lock);
			if (rc < 0)
				snprintf(r->why, ZS_WHY, "no bundle of %s says where segment %" PRIu32 " is",
					 r->ns->name, n);
		}
	}
	if (r->index_fd >= 0)
		sys->close(r->index_fd);
	r->index_fd = -1;
	return rc;
}

/* ------------------------------------------------------------------------------------------- into place --- */

static int rename_part(const char *dir, const char *name)
{
	char from[FILE_PATH_MAX], to[FILE_PATH_MAX];
	int rc = str_fmt(to, sizeof(to), "%s/%s", dir, name);

	if (rc >= 0)
		rc = str_fmt(from, sizeof(from), "%s/%s" SUFFIX, dir, name);
	if (rc < 0)
		return rc;
	/* Never over a file that is there: whoever made it, it is newer than what we bring. */
	if (sys->renameat2(AT_FDCWD, from, AT_FDCWD, to, 1 /* RENAME_NOREPLACE */) == 0)
		return 0;
	return errno == ENOENT && file_exists(to) == 1 ? 0 : -errno;
}

static int sync_all(const char *dir)
{
	int rc = 0, fd = sys->open(dir, O_RDONLY | O_DIRECTORY, 0);

	if (fd < 0)
		return -errno;
	if (sys->syncfs(fd) < 0)
		rc = -errno;
	sys->close(fd);
	return rc;
}

static int into_place(struct rest *r)
{
	char name[32];
	int rc;

	snprintf(name, sizeof(name), "d%" PRIu32, r->ns->closed);
	rc = rename_part(r->data_dir, name);
	if (rc == 0)
		rc = file_sync_dir(r->data_dir);
	/* Before the descriptor, without which no server opens the namespace. */
	if (rc == 0)
		rc = zdb_restore_mark(r->index_dir, r->ns->closed);
	for (uint32_t n = 0; rc == 0 && n <= r->ns->closed; n++) {
		snprintf(name, sizeof(name), "i%" PRIu32, n);
		rc = rename_part(r->index_dir, name);
	}
	if (rc == 0)
		rc = file_sync_dir(r->index_dir);
	if (rc == 0)
		rc = rename_part(r->index_dir, "zdb-namespace");
	return rc == 0 ? file_sync_dir(r->index_dir) : rc;
}

static int remove_part(void *ctx, const char *name, unsigned char type)
{
	char path[FILE_PATH_MAX];

	if (type != DT_REG || !str_ends(name, SUFFIX))
		return 0;
	return file_join(path, sizeof(path), ctx, name) == 0 && sys->unlink(path) < 0 ? -errno : 0;
}

static int restore_ns(struct rest *r)
{
	char path[FILE_PATH_MAX];
	int rc = file_join(r->data_dir, sizeof(r->data_dir), r->z->conf.data_root, r->ns->name);

	if (rc == 0)
		rc = file_join(r->index_dir, sizeof(r->index_dir), r->z->conf.index_root, r->ns->name);
	if (rc == 0)
		rc = file_mkdir_p(r->data_dir, 0755);
	if (rc == 0)
		rc = file_mkdir_p(r->index_dir, 0755);
	if (rc == 0)
		rc = segment_path(r->z, path, sizeof(path), r->ns->name, r->ns->closed);
	if (rc < 0)
		return rc;
	if (file_exists(path) == 1) /* all parts are on disk: only names are missing, if at all */
		return into_place(r);
	rc = file_list(r->data_dir, remove_part, r->data_dir);
	if (rc == 0)
		rc = file_list(r->index_dir, remove_part, r->index_dir);
	if (rc == 0)
		rc = build_data(r);
	if (rc == 0)
		rc = build_index(r);
	if (rc == 0)
		rc = build_descriptor(r);
	if (rc == 0)
		rc = sync_all(r->data_dir);
	if (rc == 0)
		rc = sync_all(r->index_dir);
	return rc == 0 ? into_place(r) : rc;
}

/* ---------------------------------------------------------------------------------------------------- the whole --- */

static int exit_of(int rc)
{
	if (rc == 0)
		return EXIT_DONE;
	return rc == -EAGAIN || rc == -ECANCELED ? EXIT_AGAIN : EXIT_FAILED;
}

static int restore_all(struct zstor *z, struct obj_work *w, char *why)
{
	struct rest r = {.z = z, .w = w, .m = &z->vol.last, .index_fd = -1, .why = why};
	int rc = 0;

	pthread_mutex_lock(&z->lock);
	z->restore.objects_done = z->restore.objects_total = z->restore.bytes = 0;
	for (unsigned i = 0; i < r.m->count; i++)
		z->restore.objects_total += r.m->ns[i].bundles_count + r.m->ns[i].tails_count;
	pthread_mutex_unlock(&z->lock);
	for (unsigned i = 0; rc == 0 && i < r.m->count; i++) {
		r.ns = &r.m->ns[i];
		rc = restore_ns(&r);
		if (rc < 0 && !why[0])
			snprintf(why, ZS_WHY, "cannot restore %s: %s", r.ns->name, err_str(rc));
	}
	pthread_mutex_lock(&z->lock);
	z->restore.text[0] = '\0';
	pthread_mutex_unlock(&z->lock);
	if (rc < 0)
		return exit_of(rc);
	pthread_mutex_lock(&z->lock);
	z->vol.local.restoring = false;
	pthread_mutex_unlock(&z->lock);
	rc = vol_save(z);
	if (rc < 0) {
		snprintf(why, ZS_WHY, "cannot write %s: %s", z->dir, err_str(rc));
		return EXIT_FAILED;
	}
	log_info("restored recovery point %" PRIu64 " objects=%" PRIu64 " bytes=%" PRIu64,
		 z->vol.last.sequence, z->restore.objects_done, z->restore.bytes);
	vol_set_state(z, VOL_READY, 0, "");
	return EXIT_DONE;
}

/* Nothing of what the manifest names may lie here already. */
static int refuse_local_files(struct zstor *z, const struct manifest *m, char *why)
{
	for (unsigned i = 0; i < m->count; i++) {
		int rc = is_here(z, m->ns[i].name);

		if (rc == 1 && is_pristine(z, m->ns[i].name))
			rc = remove_pristine(z, m->ns[i].name);
		if (rc == 0)
			continue;
		if (rc < 0)
			snprintf(why, ZS_WHY, "cannot look at the files of %s: %s", m->ns[i].name,
				 err_str(rc));
		else
			snprintf(why, ZS_WHY,
				 "files of namespace %s lie in %s or %s, but no state says whose they are: "
				 "move them away to restore",
				 m->ns[i].name, z->conf.index_root, z->conf.data_root);
		return EXIT_FAILED;
	}
	return EXIT_DONE;
}

/* Segments and bundles that were known belong to the lost state; its numbers may be used again in the new generation. */
static int forget_rows(struct zstor *z)
{
	for (;;) {
		char name[SPOOL_NS_MAX + 1] = "";
		int rc;

		pthread_mutex_lock(&z->lock);
		list_each(&z->namespaces, it)
		{
			struct zs_ns *ns = container_of(it, struct zs_ns, link);

			if (ns->rows_count || ns->bundles_count)
				memcpy(name, ns->name, sizeof(name));
		}
		pthread_mutex_unlock(&z->lock);
		if (!name[0])
			return 0;
		rc = rows_clear(z, name);
		if (rc < 0)
			return rc;
	}
}

/* The manifest to restore becomes ours, durably, before the first file is made. */
static int begin(struct zstor *z, struct obj_work *w, struct manifest *m, char *why)
{
	uint64_t from = m->generation;
	int rc = file_mkdir_p(z->dir, 0700);

	if (rc == 0)
		rc = forget_rows(z);
	if (rc == 0)
		rc = vol_save_manifest(z, m);
	if (rc < 0) {
		snprintf(why, ZS_WHY, "cannot write %s: %s", z->dir, err_str(rc));
		return EXIT_FAILED;
	}
	pthread_mutex_lock(&z->lock);
	z->vol.local.restoring = true;
	z->vol.local.sequence = m->sequence;
	z->vol.local.pending = 0;
	manifest_release(&z->vol.last);
	z->vol.last = *m;
	manifest_init(m);
	pthread_mutex_unlock(&z->lock);
	rc = vol_take_over(z, w, from, why);
	if (rc < 0) {
		pthread_mutex_lock(&z->lock);
		z->vol.local.restoring = z->vol.local.present;
		pthread_mutex_unlock(&z->lock);
		return exit_of(rc == -E_FENCED ? -EAGAIN : rc);
	}
	vol_set_state(z, VOL_RESTORING, EXIT_AGAIN, "a restore is under way");
	return EXIT_DONE;
}

static int restore_empty(struct zstor *z, struct obj_work *w, char *why)
{
	struct restore_options opt = {0};
	struct manifest m;
	struct meta metas;
	enum obj_answer a;
	int code = 0, rc;

	zs_meta_copy(z, &metas);
	opt.generation = metas.newest.generation;
	opt.base = metas.newest.base;
	manifest_init(&m);
	a = restore_find_manifest(&metas, w, &z->data_stores, &opt, &m, &code, why);
	if (a == OBJ_UNKNOWN) {
		rc = EXIT_AGAIN;
	} else if (a == OBJ_ABSENT) {
		rc = vol_take_over(z, w, 0, why) < 0 ? EXIT_AGAIN : EXIT_DONE;
		if (rc == EXIT_DONE)
			vol_set_state(z, VOL_READY, 0, "");
	} else {
		log_info("restoring recovery point %" PRIu64 " of generation %" PRIx64, m.sequence,
			 m.generation);
		rc = refuse_local_files(z, &m, why);
		if (rc == EXIT_DONE)
			rc = begin(z, w, &m, why);
		if (rc == EXIT_DONE)
			rc = restore_all(z, w, why);
	}
	manifest_release(&m);
	return rc;
}

/* The state is ours: either the files are here, or all of them were lost and come back under a new generation. */
static int restore_ready(struct zstor *z, struct obj_work *w, char *why)
{
	unsigned here, gone;
	const char *name = "";
	struct manifest m;
	int rc;

	pthread_mutex_lock(&z->lock);
	rc = look_here(z, &here, &gone, &name);
	pthread_mutex_unlock(&z->lock);
	if (rc < 0) {
		snprintf(why, ZS_WHY, "cannot look at %s: %s", z->conf.index_root, err_str(rc));
		return EXIT_FAILED;
	}
	if (!gone)
		return EXIT_DONE;
	if (here) {
		snprintf(why, ZS_WHY,
			 "the files of namespace %s are gone, those of others are here: move these away to "
			 "restore "
			 "recovery point %" PRIu64,
			 name, z->vol.last.sequence);
		return EXIT_FAILED;
	}
	log_warn("the files of all namespaces are gone: restoring recovery point %" PRIu64,
		 z->vol.last.sequence);
	manifest_init(&m);
	rc = manifest_copy(&m, &z->vol.last) < 0 ? EXIT_FAILED : refuse_local_files(z, &m, why);
	if (rc == EXIT_DONE)
		rc = begin(z, w, &m, why);
	manifest_release(&m);
	return rc == EXIT_DONE ? restore_all(z, w, why) : rc;
}

int restore_run(struct zstor *z, char *why)
{
	struct obj_work *w = zs_work_get(z);
	enum vol_state state;
	int code;

	why[0] = '\0';
	if (!w) {
		snprintf(why, ZS_WHY, "out of memory");
		return EXIT_FAILED;
	}
	pthread_mutex_lock(&z->lock);
	state = z->vol.state;
	code = restore_answer(z, why);
	pthread_mutex_unlock(&z->lock);
	if (state == VOL_EMPTY)
		code = restore_empty(z, w, why);
	else if (state == VOL_RESTORING)
		code = restore_all(z, w, why);
	else if (state == VOL_READY)
		code = restore_ready(z, w, why);
	zs_work_put(z, w);
	return code;
}
