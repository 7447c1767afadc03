/*
 * open.c - an engine: roots, locks, loading all namespaces, clean stop.
 */
#include <stdio.h>
#include <stdlib.h>

#include "core/base/clock.h"
#include "core/base/err.h"
#include "core/base/file.h"
#include "core/base/str.h"
#include "core/zdb/zdb_int.h"

#define FDS_DEFAULT 128u
#define MISSING_MS  60000u

/* ------------------------------------------------------------------------------------------------ roots and locks --- */

/* As upstream: an empty .lockfile in each root, held by flock. */
static int lock_root(const char *root, int *fd)
{
	char path[ZDB_PATH_MAX];
	int rc = file_join(path, sizeof(path), root, ROOT_LOCK);

	if (rc != 0)
		return rc;
	*fd = sys->open(path, O_RDWR | O_CREAT, 0664);
	if (*fd < 0)
		return -errno;
	if (sys->flock(*fd, LOCK_EX | LOCK_NB) != 0) {
		rc = errno == EWOULDBLOCK ? -EBUSY : -errno;
		sys->close(*fd);
		*fd = -1;
	}
	return rc;
}

/* The files by which a root is known to hold a store, whatever is missing: begin with this letter. */
static int sign_each(void *ctx, const char *name, unsigned char type)
{
	const char *letter = ctx;

	(void)type;
	return (name[0] == *letter && name[1] >= '0' && name[1] <= '9') ||
	       (*letter == 'i' && strcmp(name, "zdb-namespace") == 0);
}

static int has_default(const char *root, char letter)
{
	char dir[ZDB_PATH_MAX];
	int rc = file_join(dir, sizeof(dir), root, ZDB_DEFAULT);

	if (rc == 0)
		rc = file_list(dir, sign_each, &letter);
	return rc == -ENOENT || rc == -ENOTDIR ? 0 : rc;
}

static int need_dir(const char *path, char *why, size_t size)
{
	struct stat st;
	int rc = sys->stat(path, &st) == 0 ? 0 : -errno;

	if (rc == -ENOENT)
		return say(why, size, rc, "there is no directory %s", path);
	if (rc == 0 && !S_ISDIR(st.st_mode))
		rc = -ENOTDIR;
	return rc == 0 ? 0 : say(why, size, rc, "cannot use %s: %s", path, err_str(rc));
}

/* 1 namespace default has files in this root, 0 it has none, or a negative code. */
static int look_into(const char *root, char letter, char *why, size_t size)
{
	int rc = need_dir(root, why, size);

	if (rc != 0)
		return rc;
	rc = has_default(root, letter);
	return rc < 0 ? say(why, size, rc, "cannot read %s: %s", root, err_str(rc)) : rc;
}

/* A name that is mistyped, or directories of another kind: nothing is made there, and nothing is lost. */
static int need_store(const struct zdb *eng, char *why, size_t size)
{
	int index = look_into(eng->index_root, 'i', why, size);
	int data = index < 0 ? index : look_into(eng->data_root, 'd', why, size);

	if (data < 0)
		return data;
	if (index + data == 0)
		return say(why, size, -ENOENT,
			   "there is no store in %s and %s: neither has files of namespace default",
			   eng->index_root, eng->data_root);
	return 0;
}

static bool same_dir(const char *a, const char *b)
{
	struct stat x, y;

	return sys->stat(a, &x) == 0 && sys->stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* Links resolved as far as that goes. */
static int real_path(char *dst, size_t size, const char *path)
{
	char *real = realpath(path, NULL);
	int rc = real != NULL ? str_copy(dst, size, real) : file_absolute(dst, size, path);

	free(real);
	return rc;
}

/*
 * The entry of `outer` in which the root `inner` lies, or that is it: "" when it lies elsewhere.  A namespace of that name would
 * have the root among its files, and be removed with it.
 */
static int find_inner(const char *outer, const char *inner, char name[ZDB_NAME_MAX + 1])
{
	char a[ZDB_PATH_MAX], b[ZDB_PATH_MAX];
	int rc = real_path(a, sizeof(a), outer);
	size_t len;

	name[0] = '\0';
	if (rc == 0)
		rc = real_path(b, sizeof(b), inner);
	if (rc != 0)
		return rc;
	len = strcmp(a, "/") == 0 ? 0 : strlen(a);
	if (strncmp(a, b, len) != 0 || b[len] != '/')
		return 0;
	if (str_copy_n(name, ZDB_NAME_MAX + 1, b + len + 1, strcspn(b + len + 1, "/")) != 0)
		name[0] = '\0'; /* too long for a namespace anyway */
	return 0;
}

static int lock_failed(const struct zdb *eng, int rc, char *why, size_t size)
{
	const char *root = eng->lock_fd[0] < 0 ? eng->index_root : eng->data_root;

	if (rc == -EBUSY)
		return say(why, size, rc, "an instance of zdb is already using: %s", root);
	if (rc == -EROFS || rc == -EACCES)
		return say(why, size, rc, "cannot write to %s: %s", root, err_str(rc));
	return say(why, size, rc, "cannot lock %s: %s", root, err_str(rc));
}

static int open_roots(struct zdb *eng, char *why, size_t size)
{
	int rc = eng->read_only || eng->opt.offline ? need_store(eng, why, size) : 0;

	if (rc != 0)
		return rc;
	if (!eng->read_only) {
		rc = file_mkdir_p(eng->index_root, 0700);
		if (rc == 0)
			rc = file_mkdir_p(eng->data_root, 0700);
	}
	if (rc == -EROFS || rc == -EACCES) { /* media that cannot be written are served as they are */
		eng->read_only = true;
		rc = 0;
	}
	if (rc != 0)
		return say(why, size, rc, "cannot create %s or %s: %s", eng->index_root, eng->data_root,
			   err_str(rc));
	if (same_dir(eng->index_root, eng->data_root))
		return say(why, size, -EINVAL, "index and data must be different directories: %s",
			   eng->index_root);
	rc = find_inner(eng->index_root, eng->data_root, eng->inner[0]);
	if (rc == 0)
		rc = find_inner(eng->data_root, eng->index_root, eng->inner[1]);
	if (rc != 0)
		return say(why, size, rc, "cannot resolve %s or %s", eng->index_root, eng->data_root);
	if (eng->read_only)
		return 0;
	rc = lock_root(eng->index_root, &eng->lock_fd[0]);
	if (rc == 0)
		rc = lock_root(eng->data_root, &eng->lock_fd[1]);
	/* One of them is enough: nothing is written to the other either. */
	if ((rc == -EROFS || rc == -EACCES) && !eng->opt.offline) {
		eng->read_only = true;
		return 0;
	}
	return rc == 0 ? 0 : lock_failed(eng, rc, why, size);
}

/* ----------------------------------------------------------------------------------------------------- namespaces --- */

static int refuse(struct zdb *eng, const char *name, const char *why, int code)
{
	struct refused *r = mem_calloc(1, sizeof(*r));

	if (r == NULL)
		return -ENOMEM;
	r->name = mem_strdup(name);
	r->why = mem_strdup(why);
	r->code = code;
	r->next = eng->refused;
	eng->refused = r;
	return r->name == NULL || r->why == NULL ? -ENOMEM : 0;
}

/* The engine's own codes come with a sentence that says all; the system's need its words. */
static void add_reason(char *why, size_t size, int rc)
{
	size_t len = strlen(why);

	if (len > 0 && rc != -EIO && rc != -EINVAL && rc != -EROFS && rc != -EBADMSG)
		(void)say(why + len, size - len, rc, ": %s", err_str(rc));
}

static int load_one(struct zdb *eng, const char *name, char *why, size_t size)
{
	struct zdb_ns *ns;
	int rc = ns_new(eng, name, strlen(name), &ns);

	if (rc != 0)
		return rc;
	if (!eng->read_only) {
		rc = file_mkdir_p(ns->data_dir, 0700);
		if (rc == 0)
			rc = file_mkdir_p(ns->index_dir, 0700);
	}
	if (rc != 0) {
		(void)say(why, size, rc, "cannot create its directories");
	} else {
		rc = desc_load(ns);
		if (rc != 0)
			(void)say(why, size, rc,
				  rc == -EINVAL ? "its descriptor is damaged or of an unsupported version"
						: "cannot read or make its descriptor");
	}
	if (rc == 0)
		rc = ns_load(ns, why, size);
	if (rc == 0)
		rc = slot_put(eng, ns);
	if (rc != 0) {
		add_reason(why, size, rc);
		ns->alive = false;
		zdb_ns_unref(ns);
	}
	return rc;
}

struct names {
	const struct zdb *eng;
	char **list;
	size_t count, cap;
};

static int name_each(void *ctx, const char *name, unsigned char type)
{
	struct names *n = ctx;

	if (type != DT_DIR || strcmp(name, ZDB_DEFAULT) == 0 || strlen(name) > ZDB_NAME_MAX)
		return 0;
	if (strcmp(name, n->eng->inner[0]) == 0) /* the way to the data root, no namespace */
		return 0;
	if (n->count == NAMESPACES_MAX)
		return -E2BIG;
	if (n->count == n->cap) {
		size_t cap = n->cap * 2 + 16;
		char **list = mem_realloc(n->list, cap * sizeof(*list));

		if (list == NULL)
			return -ENOMEM;
		n->list = list;
		n->cap = cap;
	}
	n->list[n->count] = mem_strdup(name);
	return n->list[n->count++] == NULL ? -ENOMEM : 0;
}

static int load_all(struct zdb *eng, char *why, size_t size)
{
	struct names n = {.eng = eng};
	char text[256] = "";
	int rc = load_one(eng, ZDB_DEFAULT, text, sizeof(text));

	if (rc != 0)
		return say(why, size, rc, "namespace default: %s", text[0] != '\0' ? text : err_str(rc));
	rc = file_list(eng->index_root, name_each, &n);
	if (rc != 0)
		(void)say(why, size, rc, "cannot list %s", eng->index_root);
	for (size_t i = 0; rc == 0 && i < n.count; i++) {
		text[0] = '\0';
		if (strcmp(n.list[i], eng->inner[1]) == 0)
			rc = say(text, sizeof(text), -EINVAL, "the index directory lies among its data");
		else
			rc = load_one(eng, n.list[i], text, sizeof(text));
		if (rc != 0 && rc != -ENOMEM)
			rc = refuse(eng, n.list[i], text[0] != '\0' ? text : err_str(rc), rc);
	}
	for (size_t i = 0; i < n.count; i++)
		mem_free(n.list[i]);
	mem_free(n.list);
	return rc;
}

/* --------------------------------------------------------------------------------------------------- open, close --- */

static int check_options(struct zdb *eng, const struct zdb_options *o, char *why, size_t size)
{
	static const struct zdb_events none;

	eng->opt = *o;
	if (o->data_root == NULL || o->index_root == NULL)
		return say(why, size, -EINVAL, "data and index directories are needed");
	if (eng->opt.datasize == 0)
		eng->opt.datasize = ZDB_DATASIZE_DEFAULT;
	if (eng->opt.datasize < ZDB_DATASIZE_MIN || eng->opt.datasize > ZDB_DATASIZE_MAX)
		return say(why, size, -EINVAL, "datasize must be %u to %u", ZDB_DATASIZE_MIN,
			   ZDB_DATASIZE_MAX);
	if (o->mode != ZDB_USER && o->mode != ZDB_SEQ && o->mode != ZDB_MIXED)
		return say(why, size, -EINVAL, "unknown mode");
	if (eng->opt.flight_min == 0)
		eng->opt.flight_min = FLIGHT_MIN;
	if (eng->opt.prealloc_max == 0)
		eng->opt.prealloc_max = PREALLOC_MAX;
	if (eng->opt.missing_limit_ms == 0)
		eng->opt.missing_limit_ms = MISSING_MS;
	eng->fds.max = o->fds_max == 0 ? FDS_DEFAULT : o->fds_max;
	eng->ev = o->events != NULL ? *o->events : none;
	eng->read_only = o->read_only;
	eng->lock_fd[0] = eng->lock_fd[1] = -1;
	uncached_init(&eng->uncached);
	eng->next_ns_id = 1;
	list_init(&eng->unflushed);
	list_init(&eng->maps);
	if (sizeof(void *) < 8)
		eng->opt.map_max = 0; /* addresses are few */
	eng->now_ms = 0;
	eng->data_root = mem_strdup(o->data_root);
	eng->index_root = mem_strdup(o->index_root);
	eng->scratch = mem_alloc(SCRATCH_SIZE);
	if (eng->data_root == NULL || eng->index_root == NULL || eng->scratch == NULL)
		return -ENOMEM;
	/* The caller's strings may go away. */
	eng->opt.data_root = eng->data_root;
	eng->opt.index_root = eng->index_root;
	if (sys->getrandom(&eng->hash_seed, sizeof(eng->hash_seed), 0) != (ssize_t)sizeof(eng->hash_seed))
		return say(why, size, -EIO, "no random numbers");
	return 0;
}

static void eng_free(struct zdb *eng)
{
	for (size_t i = 0; i < eng->slots_count; i++) {
		struct zdb_ns *ns = eng->slots[i];

		if (ns == NULL)
			continue;
		slot_take(eng, ns);
		ns->alive = false;
		ns->load_error = -ENOENT;
		ns_unload(ns);
		zdb_ns_unref(ns);
	}
	while (eng->refused != NULL) {
		struct refused *r = eng->refused;

		eng->refused = r->next;
		mem_free(r->name);
		mem_free(r->why);
		mem_free(r);
	}
	for (int i = 1; i >= 0; i--)
		if (eng->lock_fd[i] >= 0)
			sys->close(eng->lock_fd[i]);
	hmap_release(&eng->names);
	mem_free(eng->slots);
	mem_free(eng->scratch);
	flight_release(eng);
	mem_free(eng->big);
	mem_free(eng->data_root);
	mem_free(eng->index_root);
	mem_free(eng);
}

int open_staged(struct zdb **out, const struct zdb_options *options, bool *loading, char *why,
		size_t why_size)
{
	struct zdb *eng = mem_calloc(1, sizeof(*eng));
	int rc;

	*out = NULL;
	*loading = false;
	if (why_size > 0)
		why[0] = '\0';
	if (eng == NULL)
		return say(why, why_size, -ENOMEM, "out of memory");
	eng->lock_fd[0] = eng->lock_fd[1] = -1;
	rc = check_options(eng, options, why, why_size);
	if (rc == 0)
		rc = open_roots(eng, why, why_size);
	*loading = rc == 0;
	if (rc == 0)
		rc = load_all(eng, why, why_size);
	if (rc != 0) {
		eng_free(eng);
		return rc == -ENOMEM ? say(why, why_size, rc, "out of memory") : rc;
	}
	*out = eng;
	return 0;
}

int zdb_open(struct zdb **out, const struct zdb_options *options, char *why, size_t why_size)
{
	bool loading;

	return open_staged(out, options, &loading, why, why_size);
}

int zdb_close(struct zdb *eng)
{
	int first = 0;

	for (size_t i = 0; i < eng->slots_count; i++) {
		const struct zdb_ns *ns = eng->slots[i];

		assert(ns == NULL || (ns->job == NULL && ns->proofs == 0 && !compact_busy(ns)));
	}
	for (size_t i = 0; i < eng->slots_count; i++) {
		struct zdb_ns *ns = eng->slots[i];
		int rc = ns == NULL ? 0 : ns_close_clean(ns);

		if (rc != 0 && first == 0)
			first = rc;
	}
	eng_free(eng);
	return first;
}

void zdb_abandon(struct zdb *eng)
{
	eng_free(eng);
}

void zdb_refused_each(struct zdb *eng, void (*fn)(void *ctx, const char *name, const char *why), void *ctx)
{
	for (const struct refused *r = eng->refused; r != NULL; r = r->next)
		if (r->name != NULL && r->why != NULL)
			fn(ctx, r->name, r->why);
}

void zdb_stats(const struct zdb *eng, struct zdb_stats *stats)
{
	*stats = eng->stats;
}
