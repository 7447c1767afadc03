/*
 * events: what the engine tells us becomes intentions in the spool and hook programs.
 *
 * A segment that closed goes to the spool beside the loop (spooling.c). Hooks of rotations run beside everything else, but in upstream's order within one namespace: jump-index N, jump-data N when it has
 * ended, jump-index N+1.
 *
 * The dirty list belongs to the hook from the rotation on: the engine's map is emptied then, so that what later writes make dirty is kept apart.
 * When jump-index fails, its numbers come back and the next rotation carries them.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/base/endian.h"
#include "core/base/file.h"
#include "core/base/str.h"
#include "core/base/sys.h"
#include "core/zdbd/zdbd_int.h"

#define HOOK_LIMIT_MS    600000
#define MISSING_LIMIT_MS 60000
#define ROTATIONS_MAX    256 /* of one namespace whose hooks have not run */
#define PATH_SIZE        FILE_PATH_MAX
#define BUNDLE_HEAD      20
#define BUNDLE_ROW       32
#define BUNDLE_EXTENT    12

static uint64_t or_else(uint64_t value, uint64_t fallback)
{
	return value ? value : fallback;
}

static uint64_t hook_limit(const struct zdbd *d)
{
	return or_else(d->opt.hook_limit_ms, HOOK_LIMIT_MS);
}

bool ns_is_temp(const struct zdbd *d, const char *name)
{
	size_t i;

	if (str_ends(name, "-temp"))
		return true;
	for (i = 0; i < d->opt.temps_count; i++)
		if (strcmp(d->opt.temps[i], name) == 0)
			return true;
	return false;
}

/* ---------------------------------------------------------------------------------------------------- the spool */

static int put(struct zdbd *d, struct spool_intent *in)
{
	int err = spool_put(d->spool, in, NULL, 0);

	if (err)
		log_err("cannot spool %s namespace=%s number=%llu: %s", spool_kind_name(in->kind), in->ns,
			(unsigned long long)in->first, err_str(err));
	return err;
}

static void intent_init(struct spool_intent *in, enum spool_kind kind, const char *ns)
{
	memset(in, 0, sizeof(*in));
	in->kind = kind;
	str_copy(in->ns, sizeof(in->ns), ns);
}

static int spool_descriptor(struct zdbd *d, const char *ns)
{
	struct spool_intent in;

	if (!d->spool || ns_is_temp(d, ns))
		return 0;
	intent_init(&in, SPOOL_DESCRIPTOR, ns);
	return put(d, &in);
}

static int write_extent(struct spool_writer *w, const struct zdb_extent *e)
{
	uint8_t row[BUNDLE_EXTENT];

	put_u32le(row, e->file);
	put_u32le(row + 4, e->offset);
	put_u32le(row + 8, e->length);
	return spool_put_write(w, row, sizeof(row));
}

static int write_bytes(void *ctx, const void *bytes, size_t size)
{
	return spool_put_write(ctx, bytes, size);
}

/* Generation 0: zstor puts in the one under which it has stored this very content. */
static int write_replaced(struct spool_writer *w, const struct zdb_replaced *r)
{
	uint8_t row[BUNDLE_ROW] = {0};

	put_u32le(row, r->segment);
	put_u32le(row + 12, r->size);
	memcpy(row + 16, r->content, sizeof(r->content));
	return spool_put_write(w, row, sizeof(row));
}

/* "QSX1", the segment twice, rows of replaced segments alone (of the own one zstor knows it all), the extents, their bytes. */
static int write_bundle(struct spool_writer *w, const struct zdb_bundle *bundle)
{
	uint8_t head[BUNDLE_HEAD];
	uint32_t i;
	int err;

	memcpy(head, "QSX1", 4);
	put_u32le(head + 4, bundle->segment);
	put_u32le(head + 8, bundle->segment);
	put_u32le(head + 12, bundle->replaced_count);
	put_u32le(head + 16, bundle->extents_count);
	err = spool_put_write(w, head, sizeof(head));
	for (i = 0; i < bundle->replaced_count && !err; i++)
		err = write_replaced(w, &bundle->replaced[i]);
	for (i = 0; i < bundle->extents_count && !err; i++)
		err = write_extent(w, &bundle->extents[i]);
	return err ? err : zdb_bundle_read(bundle, write_bytes, w);
}

int bundle_begin(struct zdbd *d, const char *ns, const struct zdb_bundle *bundle, struct spool_writer **out)
{
	struct spool_intent in;
	struct spool_writer *w;
	int err;

	*out = NULL;
	intent_init(&in, SPOOL_BUNDLE, ns);
	in.first = in.last = bundle->segment;
	in.size = BUNDLE_HEAD + (uint64_t)BUNDLE_ROW * bundle->replaced_count +
		  (uint64_t)BUNDLE_EXTENT * bundle->extents_count + bundle->bytes;
	if (bundle->replaced_count)
		in.flags = SPOOL_BUNDLE_REPLACED;
	err = spool_put_begin(d->spool, &in, &w);
	if (!err) {
		err = write_bundle(w, bundle);
		if (err)
			spool_put_abort(w);
		else
			*out = w;
	}
	return err;
}

static int spool_bundle(struct zdbd *d, const char *ns, const struct zdb_bundle *bundle)
{
	struct spool_writer *w;
	int err = bundle_begin(d, ns, bundle, &w);

	if (!err)
		err = spool_put_commit(w, NULL);
	if (err)
		log_err("cannot spool bundle namespace=%s number=%u: %s", ns, bundle->segment, err_str(err));
	return err;
}

void segment_intent(struct spool_intent *in, struct zdb_ns *ns, uint32_t closed)
{
	char path[PATH_SIZE];
	struct stat st;

	intent_init(in, SPOOL_SEGMENT, zdb_ns_name(ns));
	in->first = in->last = closed;
	zdb_ns_data_path(ns, closed, path, sizeof(path));
	/* a path that is too long is left out: it follows from namespace and number */
	if (strlen(path) < sizeof(in->path))
		str_copy(in->path, sizeof(in->path), path);
	if (sys->stat(path, &st) == 0)
		in->size = (uint64_t)st.st_size;
}

static int spool_segment(struct zdbd *d, struct zdb_ns *ns, uint32_t closed)
{
	struct spool_intent in;

	segment_intent(&in, ns, closed);
	return put(d, &in);
}

int spool_again(struct zdbd *d, struct zdb_ns *ns, uint32_t closed)
{
	struct zdb_bundle *bundle;
	int err;

	if (!d->spool || ns_is_temp(d, zdb_ns_name(ns)))
		return -EOPNOTSUPP;
	err = zdb_bundle_derive(ns, closed, &bundle);
	if (err)
		return err;
	err = spool_bundle(d, zdb_ns_name(ns), bundle);
	zdb_bundle_free(bundle);
	return err ? err : spool_segment(d, ns, closed);
}

/* ------------------------------------------------------------------------------------------- sets of numbers */

static int compare_u32(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

void numbers_free(struct numbers *n)
{
	mem_free(n->v);
	memset(n, 0, sizeof(*n));
}

bool numbers_add(struct numbers *to, const uint32_t *v, size_t count)
{
	uint32_t *grown;
	size_t i, n = 0;

	if (count == 0)
		return true;
	grown = mem_realloc_array(to->v, to->count + count, sizeof(*grown));
	if (!grown)
		return false;
	to->v = grown;
	memcpy(grown + to->count, v, count * sizeof(*v));
	to->count += count;
	qsort(grown, to->count, sizeof(*grown), compare_u32);
	for (i = 0; i < to->count; i++)
		if (i == 0 || grown[i] != grown[i - 1])
			grown[n++] = grown[i];
	to->count = n;
	return true;
}

void numbers_drop_first(struct numbers *n)
{
	if (n->count > 0)
		memmove(n->v, n->v + 1, --n->count * sizeof(*n->v));
}

static bool numbers_add_engine(struct numbers *to, struct zdb_ns *ns)
{
	size_t count = zdb_dirty_list(ns, NULL, 0);
	uint32_t *v = mem_alloc((count + 1) * sizeof(*v));
	bool ok;

	if (!v)
		return false;
	zdb_dirty_list(ns, v, count);
	ok = numbers_add(to, v, count);
	mem_free(v);
	return ok;
}

bool dirty_numbers(struct zns *z, struct numbers *out)
{
	bool ok;

	memset(out, 0, sizeof(*out));
	ok = numbers_add_engine(out, z->ns) && numbers_add(out, z->carried.v, z->carried.count);
	list_each(&z->rotations, it)
	{
		struct rotation *r = container_of(it, struct rotation, link);

		ok = ok && numbers_add(out, r->dirty.v, r->dirty.count);
	}
	if (!ok)
		numbers_free(out);
	return ok;
}

/* "0 3 7"; "" when empty. NULL: out of memory. */
static char *numbers_text(const struct numbers *n)
{
	struct buf b = BUF_INIT(64u << 20);
	size_t i;
	char *text;

	for (i = 0; i < n->count; i++)
		if (buf_append_fmt(&b, i ? " %u" : "%u", n->v[i]))
			break;
	text = i == n->count ? buf_detach(&b, NULL) : NULL;
	buf_release(&b);
	return text;
}

char *dirty_text(struct zns *z)
{
	struct numbers n;
	char *text;

	if (!dirty_numbers(z, &n))
		return NULL;
	text = numbers_text(&n);
	numbers_free(&n);
	return text;
}

void dirty_forget(struct zns *z)
{
	zdb_dirty_reset(z->ns);
	numbers_free(&z->carried);
	list_each(&z->rotations, it) numbers_free(&container_of(it, struct rotation, link)->dirty);
}

/* ----------------------------------------------------------------------------------------------------- rotations */

static void rotation_free(struct rotation *r)
{
	list_del(&r->link);
	numbers_free(&r->dirty);
	mem_free(r);
}

static void jump_data(struct zns *z, uint32_t closed)
{
	char from[PATH_SIZE], to[PATH_SIZE];
	const char *args[] = {from, to};
	int err;

	zdb_ns_data_path(z->ns, closed, from, sizeof(from));
	zdb_ns_data_path(z->ns, closed + 1, to, sizeof(to));
	err = hook_start(z->d, "jump-data", hook_limit(z->d), NULL, NULL, args, 2);
	if (err)
		log_err("cannot start hook event=jump-data file=%s: %s", from, err_str(err));
}

static void jump_index_done(struct hook *h, bool ok)
{
	struct rotation *r = h->ctx;
	struct zns *z = r->zns;

	if (!z) { /* its namespace is gone */
		rotation_free(r);
		return;
	}
	if (!ok && !numbers_add(&z->carried, r->dirty.v, r->dirty.count))
		log_err("out of memory: the dirty list of a rotation is lost namespace=%s",
			zdb_ns_name(z->ns));
	z->running = false;
	jump_data(z, r->closed);
	rotation_free(r);
	rotation_start(z);
}

void rotation_start(struct zns *z)
{
	char from[PATH_SIZE], to[PATH_SIZE];
	struct list *first = list_first(&z->rotations);
	const char *args[] = {from, to, NULL};
	struct rotation *r;
	char *text;
	int err = -ENOMEM;

	if (z->running || !first || z->spooling || z->owed.count > 0)
		return;
	r = container_of(first, struct rotation, link);
	/* what an earlier one failed to take over goes with this one */
	if (numbers_add(&r->dirty, z->carried.v, z->carried.count))
		numbers_free(&z->carried);
	text = numbers_text(&r->dirty);
	if (text) {
		args[2] = text;
		zdb_ns_index_path(z->ns, r->closed, from, sizeof(from));
		zdb_ns_index_path(z->ns, r->closed + 1, to, sizeof(to));
		err = hook_start(z->d, "jump-index", hook_limit(z->d), jump_index_done, r, args, 3);
	}
	mem_free(text);
	if (!err) {
		z->running = true;
		return;
	}
	/* it stays first in the list; the next rotation or tick tries again */
	log_every(10000, LOG_LEVEL_ERR, "cannot start hook event=jump-index namespace=%s: %s",
		  zdb_ns_name(z->ns), err_str(err));
}

void rotations_retry(struct zdbd *d)
{
	uint64_t now = loop_now_ms(d->loop);

	list_each(&d->namespaces, it)
	{
		struct zns *z = container_of(it, struct zns, all);

		spooling_tick(z, now);
		rotation_start(z);
	}
}

void rotations_forget(struct zns *z)
{
	list_each_safe(&z->rotations, it)
	{
		struct rotation *r = container_of(it, struct rotation, link);

		if (z->running && it == list_first(&z->rotations)) {
			list_del(it);
			r->zns = NULL; /* its hook frees it */
			z->running = false;
			continue;
		}
		rotation_free(r);
	}
	numbers_free(&z->carried);
}

static int rotation_add(struct zdbd *d, struct zdb_ns *ns, uint32_t closed)
{
	struct zns *z = zns_of(d, ns);
	struct rotation *r;
	size_t waiting = 0;

	if (!z)
		return -ENOMEM;
	list_each(&z->rotations, it) waiting++;
	if (waiting >= ROTATIONS_MAX) {
		log_every(1000, LOG_LEVEL_ERR,
			  "rotation refused: hooks of %zu rotations have not run namespace=%s", waiting,
			  zdb_ns_name(ns));
		return -EAGAIN;
	}
	r = mem_calloc(1, sizeof(*r));
	if (!r || !numbers_add_engine(&r->dirty, ns)) {
		mem_free(r);
		return -ENOMEM;
	}
	r->zns = z;
	r->closed = closed;
	list_add_tail(&z->rotations, &r->link);
	rotation_start(z);
	return 0;
}

static int on_segment_closed(void *ctx, struct zdb_ns *ns, uint32_t closed, const char *dirty,
			     const struct zdb_bundle *bundle)
{
	struct zdbd *d = ctx;
	struct zns *z = zns_of(d, ns);
	int err = z ? 0 : -ENOMEM;

	(void)dirty; /* the same list, as a text */
	if (!err && d->spool && !ns_is_temp(d, zdb_ns_name(ns)))
		err = spooling_start(z, closed, bundle);
	if (!err && d->opt.hook)
		err = rotation_add(d, ns, closed);
	/* the dirty list is the hook's from here on */
	return !err && d->opt.hook ? 1 : err;
}

/* ------------------------------------------------------------------------------------------------ absent segments */

struct missing {
	struct list link;  /* d->missing */
	struct zdb_ns *ns; /* referenced; NULL: the engine is closed */
	uint32_t n;
};

/* A hook may claim what it likes: the file must be there, or readers would ask for it again and again. */
static bool is_there(const struct missing *m)
{
	char path[PATH_SIZE];
	struct stat st;

	zdb_ns_data_path(m->ns, m->n, path, sizeof(path));
	if (sys->stat(path, &st) == 0)
		return true;
	log_warn("hook missing-data ended well, but the segment is not here file=%s", path);
	return false;
}

static void missing_done(struct hook *h, bool ok)
{
	struct missing *m = h->ctx;

	if (m->ns && zdb_ns_alive(m->ns)) {
		if (ok && is_there(m))
			zdb_segment_restored(m->ns, m->n);
		else
			zdb_segment_failed(m->ns, m->n, -EIO);
	}
	if (m->ns)
		zdb_ns_unref(m->ns);
	list_del(&m->link);
	mem_free(m);
}

void missing_forget(struct zdbd *d)
{
	list_each(&d->missing, it)
	{
		struct missing *m = container_of(it, struct missing, link);

		if (m->ns)
			zdb_ns_unref(m->ns);
		m->ns = NULL;
	}
}

static int on_data_missing(void *ctx, struct zdb_ns *ns, uint32_t n)
{
	struct zdbd *d = ctx;
	char path[PATH_SIZE];
	const char *args[] = {path};
	struct missing *m;
	int err;

	if (!d->opt.hook)
		return -ENOENT;
	m = mem_calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	m->ns = zdb_ns_ref(ns);
	m->n = n;
	list_add_tail(&d->missing, &m->link);
	zdb_ns_data_path(ns, n, path, sizeof(path));
	log_info("segment is not here, asking for it file=%s", path);
	err = hook_start(d, "missing-data", or_else(d->opt.missing_limit_ms, MISSING_LIMIT_MS), missing_done,
			 m, args, 1);
	if (err) {
		log_err("cannot start hook event=missing-data file=%s: %s", path, err_str(err));
		zdb_ns_unref(m->ns);
		list_del(&m->link);
		mem_free(m);
	}
	return err;
}

static int ask_at_load(struct zdbd *d, const char *event, const char *ns_name, const char *path)
{
	const char *args[] = {path};

	log_warn("a file that the namespace needs is not here, asking for it namespace=%s file=%s", ns_name,
		 path);
	return hook_run(d, event, or_else(d->opt.missing_limit_ms, MISSING_LIMIT_MS), args, 1);
}

static int on_load_missing(void *ctx, const char *ns_name, const char *path)
{
	return ask_at_load(ctx, "missing-data", ns_name, path);
}

/* An event of its own: hooks that only know the original's would bring an index file of some time or other. */
static int on_index_missing(void *ctx, const char *ns_name, const char *path)
{
	return ns_is_temp(ctx, ns_name) ? -ENOENT : ask_at_load(ctx, "missing-index", ns_name, path);
}

/* ----------------------------------------------------------------------------------------------------- namespaces */

static void ns_hook(struct zdbd *d, const char *type, const char *name)
{
	const char *args[] = {name};
	int err = hook_start(d, type, hook_limit(d), NULL, NULL, args, 1);

	if (err && err != -ENOENT)
		log_err("cannot start hook event=%s namespace=%s: %s", type, name, err_str(err));
}

static void on_ns_created(void *ctx, struct zdb_ns *ns)
{
	spool_descriptor(ctx,
			 zdb_ns_name(ns)); /* a failure is logged; the scan of the stores finds it again */
	ns_hook(ctx, "namespace-created", zdb_ns_name(ns));
}

static void on_ns_updated(void *ctx, struct zdb_ns *ns)
{
	spool_descriptor(ctx, zdb_ns_name(ns));
	ns_hook(ctx, "namespace-updated", zdb_ns_name(ns));
}

static void on_ns_reloaded(void *ctx, struct zdb_ns *ns)
{
	ns_hook(ctx, "namespace-reloaded", zdb_ns_name(ns));
}

static void on_ns_deleted(void *ctx, const char *name)
{
	ns_hook(ctx, "namespace-deleted", name);
}

static void on_tick_wanted(void *ctx, uint32_t ms)
{
	struct zdbd *d = ctx;

	if (ms == 0 || !loop_timer_is_armed(&d->engine_timer))
		loop_timer_start(d->loop, &d->engine_timer, ms);
}

const struct zdb_events zdbd_events = {
	.segment_closed = on_segment_closed,
	.data_missing = on_data_missing,
	.load_missing = on_load_missing,
	.index_missing = on_index_missing,
	.ns_created = on_ns_created,
	.ns_updated = on_ns_updated,
	.ns_reloaded = on_ns_reloaded,
	.ns_deleted = on_ns_deleted,
	.tick_wanted = on_tick_wanted,
	.flight = flight_begin,
};
