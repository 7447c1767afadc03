/*
 * kv: what all providers share: waiting for requests, and the one-request forms.
 */
#include <string.h>

#include "applets/zdbfs/kv.h"
#include "core/base/log.h"

void kv_submit(struct kv *kv, struct kv_req *const *reqs, size_t count, unsigned flags)
{
	for (size_t i = 0; i < count; i++) {
		reqs[i]->err = 0;
		reqs[i]->value = NULL;
		reqs[i]->value_len = 0;
		reqs[i]->tries = 0;
		reqs[i]->is_batch = false;
	}
	kv->ops->submit(kv, reqs, count, flags);
}

int kv_info(struct kv *kv, enum kv_role role, struct kv_info *info)
{
	memset(info, 0, sizeof(*info));
	return kv->ops->info(kv, role, info);
}

uint64_t kv_epoch(struct kv *kv, enum kv_role role)
{
	return kv->ops->epoch(kv, role);
}

void kv_stop(struct kv *kv)
{
	kv->ops->stop(kv);
}

void kv_free(struct kv *kv)
{
	if (kv)
		kv->ops->free(kv);
}

/* Waits for a set of requests. */
struct wait {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	size_t pending;
};

static void wait_init(struct wait *w)
{
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->cond, NULL);
	w->pending = 0;
}

static void wait_release(struct wait *w)
{
	BUG_ON(w->pending);
	pthread_mutex_destroy(&w->lock);
	pthread_cond_destroy(&w->cond);
}

static void wait_done(struct kv_req *req)
{
	struct wait *w = req->ctx;

	/* Signalled under the lock: the waiter may release `w` as soon as it can take it. */
	pthread_mutex_lock(&w->lock);
	if (--w->pending == 0)
		pthread_cond_broadcast(&w->cond);
	pthread_mutex_unlock(&w->lock);
}

/* Makes the request count (uses its done and ctx). */
static void wait_add(struct wait *w, struct kv_req *req)
{
	req->done = wait_done;
	req->ctx = w;
	pthread_mutex_lock(&w->lock);
	w->pending++;
	pthread_mutex_unlock(&w->lock);
}

static void wait_all(struct wait *w)
{
	pthread_mutex_lock(&w->lock);
	while (w->pending)
		pthread_cond_wait(&w->cond, &w->lock);
	pthread_mutex_unlock(&w->lock);
}

int kv_run(struct kv *kv, struct kv_req *const *reqs, size_t count, unsigned flags)
{
	struct wait w;
	int rc = 0;

	wait_init(&w);
	for (size_t i = 0; i < count; i++)
		wait_add(&w, reqs[i]);
	kv_submit(kv, reqs, count, flags);
	wait_all(&w);
	wait_release(&w);
	for (size_t i = 0; i < count && !rc; i++)
		rc = reqs[i]->err;
	return rc;
}

static int run_one(struct kv *kv, struct kv_req *req)
{
	struct kv_req *reqs[1] = {req};

	return kv_run(kv, reqs, 1, 0);
}

int kv_get(struct kv *kv, enum kv_role role, uint64_t key, void **value, size_t *len)
{
	struct kv_req req = {.op = KV_GET, .role = role, .key = key};
	int rc = run_one(kv, &req);

	*value = req.value;
	*len = req.value_len;
	return rc;
}

int kv_set(struct kv *kv, enum kv_role role, uint64_t *key, const void *data, size_t len)
{
	struct kv_req req = {.op = KV_SET, .role = role, .key = *key, .data = data, .len = len};
	int rc = run_one(kv, &req);

	if (!rc)
		*key = req.key;
	return rc;
}

int kv_del(struct kv *kv, enum kv_role role, uint64_t key)
{
	struct kv_req req = {.op = KV_DEL, .role = role, .key = key};

	return run_one(kv, &req);
}

int kv_sync(struct kv *kv, enum kv_role role)
{
	struct kv_req req = {.op = KV_SYNC, .role = role};

	return run_one(kv, &req);
}

int kv_flush(struct kv *kv, enum kv_role role)
{
	struct kv_req req = {.op = KV_FLUSH, .role = role};

	return run_one(kv, &req);
}

const char *kv_role_str(enum kv_role role)
{
	static const char *const names[KV_ROLES] = {"meta", "data", "temp"};

	return names[role];
}

int kv_exists(struct kv *kv, enum kv_role role, uint64_t key)
{
	struct kv_req req = {.op = KV_EXISTS, .role = role, .key = key};

	return run_one(kv, &req);
}
