/*
 * pool: the table of backends and their addresses. See pool.h.
 */
#include "core/net/pool_int.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/base/file.h"
#include "core/base/mem.h"
#include "core/base/str.h"

#define CONNS_DEFAULT  4
#define CONNS_MAX      64
#define CONNECT_MS     5000
#define OP_MS          30000
#define BACKOFF_MIN_MS 500
#define BACKOFF_MAX_MS 30000
#define VALUE_MAX      (8u << 20)

static unsigned or_default(unsigned value, unsigned fallback)
{
	return value ? value : fallback;
}

int pool_new(struct pool **out, const struct pool_options *opt)
{
	struct pool *pool = mem_calloc(1, sizeof(*pool));

	*out = pool;
	if (!pool)
		return -ENOMEM;
	if (opt)
		pool->opt = *opt;
	pool->opt.conns_max = or_default(pool->opt.conns_max, CONNS_DEFAULT);
	if (pool->opt.conns_max > CONNS_MAX)
		pool->opt.conns_max = CONNS_MAX;
	pool->opt.connect_ms = or_default(pool->opt.connect_ms, CONNECT_MS);
	pool->opt.op_ms = or_default(pool->opt.op_ms, OP_MS);
	pool->opt.backoff_min_ms = or_default(pool->opt.backoff_min_ms, BACKOFF_MIN_MS);
	pool->opt.backoff_max_ms = or_default(pool->opt.backoff_max_ms, BACKOFF_MAX_MS);
	if (!pool->opt.value_max)
		pool->opt.value_max = VALUE_MAX;
	pthread_mutex_init(&pool->lock, NULL);
	return 0;
}

void pool_free(struct pool *pool)
{
	size_t i;

	if (!pool)
		return;
	for (i = 0; i < pool->count; i++) {
		struct backend *b = pool->table[i];

		pool_conns_close(&b->idle);
		pthread_cond_destroy(&b->freed);
		pthread_mutex_destroy(&b->lock);
		mem_free_wiped(b, sizeof(*b));
	}
	pthread_mutex_destroy(&pool->lock);
	mem_free(pool);
}

static struct backend *backend_new(struct pool *pool, const struct backend_addr *addr)
{
	struct backend *b = mem_calloc(1, sizeof(*b));
	pthread_condattr_t attr;

	if (!b)
		return NULL;
	b->pool = pool;
	b->addr = *addr;
	b->epoch = 1;
	list_init(&b->idle);
	pthread_mutex_init(&b->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&b->freed, &attr);
	pthread_condattr_destroy(&attr);
	return b;
}

static void make_id(struct backend_addr *addr)
{
	if (addr->id[0])
		return;
	if (addr->unix_path[0])
		snprintf(addr->id, sizeof(addr->id), "%s", file_basename(addr->unix_path));
	else
		snprintf(addr->id, sizeof(addr->id), "%.40s:%u", addr->host, addr->port);
	if (addr->namespace[0]) {
		size_t used = strlen(addr->id);

		snprintf(addr->id + used, sizeof(addr->id) - used, "/%s", addr->namespace);
	}
}

/* Gives an existing backend another address; true when anything but the label changed. */
static void change_address(struct backend *b, const struct backend_addr *addr, struct list *stale)
{
	pthread_mutex_lock(&b->lock);
	if (b->retired || memcmp(&b->addr, addr, sizeof(*addr)) != 0) {
		b->addr = *addr;
		b->epoch++;
		b->retired = false;
		b->state.tried = b->state.up = false;
		b->state.failures = 0;
		b->state.retry_ms = 0;
		b->state.kind = BACKEND_UNKNOWN;
		pool_conns_take_stale(b, stale);
	}
	pthread_mutex_unlock(&b->lock);
}

static struct backend *find_locked(struct pool *pool, const char *id)
{
	size_t i;

	for (i = 0; i < pool->count; i++)
		if (strcmp(pool->table[i]->addr.id, id) == 0)
			return pool->table[i];
	return NULL;
}

int pool_add(struct pool *pool, const struct backend_addr *given, struct backend **out)
{
	struct backend_addr addr;
	struct list stale;
	struct backend *b;
	int code = 0;

	*out = NULL;
	if (!given->unix_path[0] && (!given->host[0] || given->port == 0))
		return -EINVAL;
	/* member by member into zeroed memory: addresses are compared as a whole */
	memset(&addr, 0, sizeof(addr));
	str_copy(addr.id, sizeof(addr.id), given->id);
	str_copy(addr.host, sizeof(addr.host), given->host);
	str_copy(addr.unix_path, sizeof(addr.unix_path), given->unix_path);
	str_copy(addr.namespace, sizeof(addr.namespace), given->namespace);
	str_copy(addr.password, sizeof(addr.password), given->password);
	addr.port = given->port;
	make_id(&addr);
	list_init(&stale);
	pthread_mutex_lock(&pool->lock);
	b = find_locked(pool, addr.id);
	if (b) {
		change_address(b, &addr, &stale);
	} else if (pool->count == BACKENDS_MAX) {
		code = -ENOSPC;
	} else {
		b = backend_new(pool, &addr);
		if (b) {
			b->index = pool->count;
			pool->table[pool->count++] = b;
		} else {
			code = -ENOMEM;
		}
	}
	pthread_mutex_unlock(&pool->lock);
	pool_conns_close(&stale);
	mem_wipe(&addr, sizeof(addr));
	*out = b;
	return code;
}

void pool_retire(struct pool *pool, struct backend *b)
{
	struct list stale;

	(void)pool;
	list_init(&stale);
	pthread_mutex_lock(&b->lock);
	b->retired = true;
	b->epoch++;
	pool_conns_take_stale(b, &stale);
	pthread_mutex_unlock(&b->lock);
	pool_conns_close(&stale);
}

void backend_addr(struct backend *b, struct backend_addr *out)
{
	pthread_mutex_lock(&b->lock);
	*out = b->addr;
	pthread_mutex_unlock(&b->lock);
	mem_wipe(out->password, sizeof(out->password));
}
