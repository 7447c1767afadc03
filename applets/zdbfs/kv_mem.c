/*
 * kv_mem: see kv_mem.h. One lock; requests are answered before kv_submit() returns, `done` is called without the lock.
 */
#include <errno.h>
#include <string.h>

#include "applets/zdbfs/kv_mem.h"
#include "core/base/err.h"
#include "core/base/hmap.h"
#include "core/base/log.h"
#include "core/base/mem.h"

struct record {
	struct hmap_node node;
	uint64_t key;
	size_t len;
	uint8_t data[];
};

/* One change of one role: the value that the key has from then on, or none. `uses` ids were consumed. */
struct change {
	uint64_t key;
	uint64_t next_id; /* after it */
	bool is_del;
	size_t len;
	uint8_t *data;
};

struct role_state {
	struct hmap map;
	uint64_t next_id;
	uint64_t size_bytes;
	struct change *log;
	size_t log_count, log_cap, synced;
};

struct kv_mem {
	struct kv kv;
	pthread_mutex_t lock; /* guards everything below */
	bool record, is_stopped;
	struct role_state role[KV_ROLES];
	struct kv_mem_event *events;
	size_t event_count, event_cap;
};

static struct record *find(struct role_state *r, uint64_t key)
{
	struct hmap_node *n = hmap_first_of(&r->map, hmap_hash_u64(key));

	while (n && container_of(n, struct record, node)->key != key)
		n = hmap_next_of(n);
	return n ? container_of(n, struct record, node) : NULL;
}

static int grow(void **array, size_t *cap, size_t count, size_t size)
{
	size_t want = *cap ? *cap * 2 : 64;
	void *p;

	if (count < *cap)
		return 0;
	p = mem_realloc_array(*array, want, size);
	if (!p)
		return -ENOMEM;
	*array = p;
	*cap = want;
	return 0;
}

static int note_event(struct kv_mem *m)
{
	struct kv_mem_event *e;

	if (!m->record)
		return 0;
	if (grow((void **)&m->events, &m->event_cap, m->event_count, sizeof(*m->events)))
		return -ENOMEM;
	e = &m->events[m->event_count++];
	for (int i = 0; i < KV_ROLES; i++) {
		e->done[i] = m->role[i].log_count;
		e->synced[i] = m->role[i].synced;
	}
	return 0;
}

static int note_change(struct kv_mem *m, struct role_state *r, uint64_t key, bool is_del, const void *data,
		       size_t len)
{
	struct change *c;

	if (!m->record)
		return 0;
	if (grow((void **)&r->log, &r->log_cap, r->log_count, sizeof(*r->log)))
		return -ENOMEM;
	c = &r->log[r->log_count];
	*c = (struct change){.key = key, .next_id = r->next_id, .is_del = is_del, .len = len};
	c->data = mem_dup(data ? data : "", len);
	if (!c->data)
		return -ENOMEM;
	r->log_count++;
	return note_event(m);
}

/* Stores without any accounting of ids. */
static int put(struct role_state *r, uint64_t key, const void *data, size_t len)
{
	struct record *old = find(r, key), *n = mem_alloc(sizeof(*n) + len);

	if (!n)
		return -ENOMEM;
	n->key = key;
	n->len = len;
	if (len)
		memcpy(n->data, data, len);
	if (old) {
		hmap_del(&r->map, &old->node);
		r->size_bytes -= old->len;
		mem_free(old);
	}
	hmap_add(&r->map, &n->node, hmap_hash_u64(key));
	r->size_bytes += len;
	return 0;
}

static void drop(struct role_state *r, struct record *rec)
{
	hmap_del(&r->map, &rec->node);
	r->size_bytes -= rec->len;
	mem_free(rec);
}

static int do_set(struct kv_mem *m, struct role_state *r, struct kv_req *req)
{
	struct record *old;
	int rc;

	if (req->len > KV_VALUE_MAX)
		return -EIO;
	if (req->key != KV_NEW) {
		old = find(r, req->key);
		if (!old)
			return -EINVAL;
		if (old->len == req->len && memcmp(old->data, req->data, req->len) == 0)
			return 0;
	}
	if (req->key == KV_NEW)
		req->key = r->next_id;
	rc = put(r, req->key, req->data, req->len);
	if (rc)
		return rc;
	r->next_id++; /* an update consumes a number too */
	return note_change(m, r, req->key, false, req->data, req->len);
}

static int do_del(struct kv_mem *m, struct role_state *r, struct kv_req *req)
{
	struct record *rec = find(r, req->key);

	if (!rec)
		return -ENOENT;
	drop(r, rec);
	return note_change(m, r, req->key, true, NULL, 0);
}

static int do_get(struct role_state *r, struct kv_req *req)
{
	struct record *rec = find(r, req->key);

	if (!rec)
		return -ENOENT;
	if (req->op == KV_EXISTS)
		return 0;
	req->value = mem_dup(rec->data, rec->len);
	req->value_len = rec->len;
	return req->value ? 0 : -ENOMEM;
}

static void empty(struct role_state *r)
{
	struct hmap_iter it = {0};
	struct hmap_node *n;

	while ((n = hmap_each(&r->map, &it)))
		mem_free(container_of(n, struct record, node));
	hmap_release(&r->map); /* all items are gone: the map is given up and begun anew */
	hmap_init(&r->map);
	r->size_bytes = 0;
}

static int execute(struct kv_mem *m, struct kv_req *req)
{
	struct role_state *r = &m->role[req->role];

	if (m->is_stopped)
		return -ESHUTDOWN;
	switch (req->op) {
	case KV_GET:
	case KV_EXISTS:
		return do_get(r, req);
	case KV_SET:
		return do_set(m, r, req);
	case KV_DEL:
		return do_del(m, r, req);
	case KV_SYNC:
		r->synced = r->log_count;
		return note_event(m);
	case KV_FLUSH:
		empty(r);
		return 0;
	}
	return -EIO;
}

static void mem_submit(struct kv *kv, struct kv_req *const *reqs, size_t count, unsigned flags)
{
	struct kv_mem *m = (struct kv_mem *)kv;

	(void)flags; /* nobody else writes here: every submission is a batch */
	for (size_t i = 0; i < count; i++) {
		pthread_mutex_lock(&m->lock);
		reqs[i]->err = execute(m, reqs[i]);
		pthread_mutex_unlock(&m->lock);
		reqs[i]->done(reqs[i]);
	}
}

static int mem_info(struct kv *kv, enum kv_role role, struct kv_info *info)
{
	struct kv_mem *m = (struct kv_mem *)kv;
	struct role_state *r = &m->role[role];

	pthread_mutex_lock(&m->lock);
	info->entries = r->map.count;
	info->size_bytes = r->size_bytes;
	info->limit_bytes = 0;
	info->free_bytes = UINT64_MAX;
	info->next_id = r->next_id;
	info->is_sequential = true;
	pthread_mutex_unlock(&m->lock);
	return 0;
}

static uint64_t mem_epoch(struct kv *kv, enum kv_role role)
{
	(void)kv;
	(void)role;
	return 1;
}

static void mem_stop(struct kv *kv)
{
	struct kv_mem *m = (struct kv_mem *)kv;

	pthread_mutex_lock(&m->lock);
	m->is_stopped = true;
	pthread_mutex_unlock(&m->lock);
}

static void mem_free_kv(struct kv *kv)
{
	struct kv_mem *m = (struct kv_mem *)kv;

	for (int i = 0; i < KV_ROLES; i++) {
		struct role_state *r = &m->role[i];

		empty(r);
		for (size_t c = 0; c < r->log_count; c++)
			mem_free(r->log[c].data);
		mem_free(r->log);
	}
	mem_free(m->events);
	pthread_mutex_destroy(&m->lock);
	mem_free(m);
}

static const struct kv_ops mem_ops = {
	.submit = mem_submit,
	.info = mem_info,
	.epoch = mem_epoch,
	.stop = mem_stop,
	.free = mem_free_kv,
};

struct kv *kv_mem_new(bool record)
{
	struct kv_mem *m = mem_calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->kv.ops = &mem_ops;
	m->kv.can = KV_CAN_SYNC | KV_CAN_BATCH;
	m->record = record;
	pthread_mutex_init(&m->lock, NULL);
	return &m->kv;
}

size_t kv_mem_event_count(struct kv *kv)
{
	return ((struct kv_mem *)kv)->event_count;
}

struct kv_mem_event kv_mem_event_at(struct kv *kv, size_t index)
{
	struct kv_mem *m = (struct kv_mem *)kv;

	BUG_ON(index >= m->event_count);
	return m->events[index];
}

struct kv *kv_mem_at(struct kv *kv, const size_t changes[KV_ROLES], bool record)
{
	struct kv_mem *from = (struct kv_mem *)kv, *to = (struct kv_mem *)kv_mem_new(record);

	if (!to)
		return NULL;
	for (int i = 0; i < KV_ROLES; i++) {
		struct role_state *r = &to->role[i];

		BUG_ON(changes[i] > from->role[i].log_count);
		for (size_t c = 0; c < changes[i]; c++) {
			const struct change *ch = &from->role[i].log[c];
			int rc = 0;

			if (ch->is_del)
				drop(r, find(r, ch->key));
			else
				rc = put(r, ch->key, ch->data, ch->len);
			r->next_id = ch->next_id;
			if (!rc)
				rc = note_change(to, r, ch->key, ch->is_del, ch->data, ch->len);
			if (rc) {
				mem_free_kv(&to->kv);
				return NULL;
			}
		}
		r->synced = r->log_count;
	}
	/* Its history begins with all of this on the disk. */
	to->event_count = 0;
	if (note_event(to)) {
		mem_free_kv(&to->kv);
		return NULL;
	}
	return &to->kv;
}
