/*
 * zstor: life of the struct that everything in this room shares, and the cache of contexts of the object room.
 *
 * A context keeps buffers and lane threads; one is taken for each operation and given back. What has been idle for five
 * seconds is freed, so that a volume at rest holds none.
 */
#include "applets/zstor/zstor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/hex.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/base/sys.h"
#include "core/object/bundle.h"

#define WORKS_MAX    32u
#define WORK_IDLE_MS 5000u
#define SPOOL_NAME   "spool"
#define PRIVATE_NAME "zstor"

struct cached_work {
	struct obj_work *work;
	bool taken;
	bool heavy; /* used for whole objects, so it holds their buffers */
	uint64_t idle_since_ms;
};

struct work_cache {
	pthread_mutex_t lock;
	struct cached_work slots[WORKS_MAX];
	unsigned count;
	bool canceled;
};

static struct obj_work *work_get(struct zstor *z, bool heavy)
{
	/* Lanes: a shard or a piece each; hedged reads ask a few more. */
	struct obj_work_options opt = {.lanes = (unsigned)z->conf.n + z->meta_count,
				       .memory_max = z->conf.object_memory};
	struct work_cache *c = z->works;
	struct obj_work *w = NULL;

	if (opt.lanes > OBJ_LANES_MAX)
		opt.lanes = OBJ_LANES_MAX;
	pthread_mutex_lock(&c->lock);
	for (unsigned i = 0; i < c->count && !w; i++) {
		if (!c->slots[i].taken && c->slots[i].heavy == heavy) {
			c->slots[i].taken = true;
			w = c->slots[i].work;
		}
	}
	if (!w && c->count < WORKS_MAX && obj_work_new(&opt, &w) == 0) {
		c->slots[c->count++] = (struct cached_work){.work = w, .taken = true, .heavy = heavy};
		if (c->canceled)
			obj_work_cancel(w, 1);
	}
	pthread_mutex_unlock(&c->lock);
	return w;
}

struct obj_work *zs_work_get(struct zstor *z)
{
	return work_get(z, true);
}

struct obj_work *zs_work_get_small(struct zstor *z)
{
	return work_get(z, false);
}

void zs_work_put(struct zstor *z, struct obj_work *w)
{
	struct work_cache *c = z->works;

	if (!w)
		return;
	pthread_mutex_lock(&c->lock);
	for (unsigned i = 0; i < c->count; i++) {
		if (c->slots[i].work == w) {
			c->slots[i].taken = false;
			c->slots[i].idle_since_ms = clock_mono_ms();
		}
	}
	pthread_mutex_unlock(&c->lock);
}

void zs_work_trim(struct zstor *z, bool all)
{
	struct work_cache *c = z->works;
	struct obj_work *idle[WORKS_MAX];
	unsigned found = 0;
	uint64_t now = clock_mono_ms();

	pthread_mutex_lock(&c->lock);
	for (unsigned i = 0; i < c->count;) {
		struct cached_work *s = &c->slots[i];

		if (!s->taken && (all || now - s->idle_since_ms >= WORK_IDLE_MS)) {
			idle[found++] = s->work;
			*s = c->slots[--c->count];
		} else {
			i++;
		}
	}
	pthread_mutex_unlock(&c->lock);
	for (unsigned i = 0; i < found; i++)
		obj_work_free(idle[i]);
}

void zs_work_cancel_all(struct zstor *z)
{
	struct work_cache *c = z->works;

	pthread_mutex_lock(&c->lock);
	c->canceled = true;
	for (unsigned i = 0; i < c->count; i++)
		obj_work_cancel(c->slots[i].work, 1);
	pthread_mutex_unlock(&c->lock);
}

int zs_temp_file(struct zstor *z)
{
	int fd = sys->open(z->dir, O_RDWR | O_TMPFILE, 0600);

	return fd < 0 ? -errno : fd;
}

/* ------------------------------------------------------------------------------------------------ waiting --- */

void zs_wait(struct zstor *z, uint64_t ms)
{
	uint64_t at = clock_mono_ns() + ms * 1000000u;
	struct timespec ts = {.tv_sec = (time_t)(at / 1000000000u), .tv_nsec = (long)(at % 1000000000u)};

	pthread_cond_timedwait(&z->changed, &z->lock, &ts);
}

void zs_changed(struct zstor *z)
{
	pthread_mutex_lock(&z->lock);
	pthread_cond_broadcast(&z->changed);
	pthread_mutex_unlock(&z->lock);
}

void zs_meta_copy(struct zstor *z, struct meta *out)
{
	pthread_mutex_lock(&z->lock);
	*out = z->metas;
	pthread_mutex_unlock(&z->lock);
}

/* -------------------------------------------------------------------------------------------------- opening --- */

static int open_keys(struct zstor *z, struct err_text *err)
{
	char why[KEYRING_ERROR_BYTES] = "";
	uint8_t key[32];
	int rc;

	if (z->conf.keys) {
		rc = keyring_load(z->conf.keys, &z->keys, why);
		if (rc == -ENOENT)
			return err_set(err, -E_KEY, "cannot open the volume: key file %s is not there",
				       z->conf.keys);
		return rc < 0 ? err_set(err, -E_KEY, "cannot open the volume: %s", why[0] ? why : err_str(rc))
			      : 0;
	}
	if (hex_decode(key, sizeof(key), z->conf.key_hex) < 0)
		return err_set(err, -E_CONFIG, "%s: encryption.key is not 64 hex digits", z->conf.path);
	rc = keyring_from_key(key, NULL, &z->keys);
	mem_wipe(key, sizeof(key));
	return rc < 0 ? err_set(err, rc, "cannot use encryption.key: %s", err_str(rc)) : 0;
}

static int refuse_our_mounts(struct zstor *z, struct err_text *err)
{
	const char *paths[] = {z->conf.path,       z->conf.state,  z->conf.data_root,
			       z->conf.index_root, z->conf.socket, z->conf.keys};

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		if (paths[i] && file_is_on_our_mount(paths[i]) == 1)
			return err_set(err, -EINVAL, "cannot use %s: it lies on a mounted volume", paths[i]);
	return 0;
}

static int open_spool(struct zstor *z, struct err_text *err)
{
	const char *env = getenv("ZDB_SPOOL");
	int rc = env && env[0] ? str_copy(z->spool_dir, sizeof(z->spool_dir), env)
			       : file_join(z->spool_dir, sizeof(z->spool_dir), z->conf.state, SPOOL_NAME);

	if (rc == 0)
		rc = spool_open(z->spool_dir, SPOOL_CREATE | SPOOL_OWNER, &z->spool);
	return rc < 0 ? err_set(err, rc, "cannot open the spool of %s: %s", z->conf.state, err_str(rc)) : 0;
}

static void init_sync(struct zstor *z)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&z->lock, NULL);
	pthread_mutex_init(&z->rows_io, NULL);
	pthread_mutex_init(&z->identity_io, NULL);
	pthread_mutex_init(&z->save_io, NULL);
	pthread_mutex_init(&z->front_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&z->changed, &attr);
	pthread_condattr_destroy(&attr);
}

int zs_open(struct zstor *z, const char *config, unsigned need, struct err_text *err)
{
	int rc;

	memset(z, 0, sizeof(*z));
	init_sync(z);
	list_init(&z->namespaces);
	manifest_init(&z->vol.last);
	z->dir_lock = -1;
	z->bundle_max = BUNDLE_MAX_BYTES;
	z->works = mem_calloc(1, sizeof(*z->works));
	if (!z->works)
		return err_set(err, -ENOMEM, "out of memory");
	pthread_mutex_init(&z->works->lock, NULL);
	rc = zconf_load(&z->conf, config, err);
	if (rc == 0)
		rc = refuse_our_mounts(z, err);
	if (rc == 0)
		rc = open_keys(z, err);
	if (rc == 0)
		rc = stores_open(z, err);
	if (rc == 0) {
		rc = meta_init(&z->metas, z->keys, z->conf.prefix, (unsigned)z->conf.meta_k, z->meta_list,
			       z->meta_count);
		if (rc < 0)
			err_set(err, rc, "cannot use the metadata stores of %s: %s", z->conf.path,
				err_str(rc));
	}
	if (rc == 0)
		rc = file_join(z->dir, sizeof(z->dir), z->conf.state, PRIVATE_NAME);
	if (rc == 0 && (need & ZS_WITH_SPOOL))
		rc = open_spool(z, err);
	if (rc < 0 && err && !err->text[0])
		err_set(err, rc, "cannot start: %s", err_str(rc));
	return rc;
}

void zs_close(struct zstor *z)
{
	if (z->works) {
		zs_work_trim(z, true);
		pthread_mutex_destroy(&z->works->lock);
		mem_free(z->works);
	}
	rows_release(z);
	manifest_release(&z->vol.last);
	client_close(z->front);
	spool_close(z->spool);
	stores_close(z);
	keyring_free(z->keys);
	if (z->dir_lock >= 0)
		close(z->dir_lock);
	zconf_release(&z->conf);
	pthread_cond_destroy(&z->changed);
	pthread_mutex_destroy(&z->front_lock);
	pthread_mutex_destroy(&z->save_io);
	pthread_mutex_destroy(&z->identity_io);
	pthread_mutex_destroy(&z->rows_io);
	pthread_mutex_destroy(&z->lock);
}
