/*
 * fs_pool: numbers for new inodes and lists.
 *
 * The kernel wants to know an inode's number when it is created, long before its record is stored, and the number is the
 * record's key. So placeholders are inserted in one batch and synced, and their keys are handed out. What is left is
 * deleted at a clean stop; after a crash the sweep finds it, because all of it lies above the floor that J names.
 */
#include <string.h>

#include "applets/zdbfs/fs_int.h"
#include "core/base/mem.h"

#define STEP_MIN 16u
#define STEP_MAX 1024u

enum { ID_FREE, ID_TAKEN, ID_SETTLED };

/* A list whose creation was interrupted looks like this, so that any reader takes it for an empty one. */
static const char placeholder[1] = {'L'};

void fs_pool_init(struct fs_pool *p)
{
	pthread_mutex_init(&p->lock, NULL);
	pthread_mutex_init(&p->filling, NULL);
	p->step = STEP_MIN;
}

void fs_pool_release(struct fs_pool *p)
{
	mem_free(p->v);
	pthread_mutex_destroy(&p->lock);
	pthread_mutex_destroy(&p->filling);
}

/* Room for `more` ids behind the last one. */
static int make_room(struct fs_pool *p, size_t more)
{
	struct fs_pool_id *v;
	size_t cap;

	if (p->head) {
		memmove(p->v, p->v + p->head, (p->count - p->head) * sizeof(*p->v));
		p->count -= p->head;
		p->head = 0;
	}
	if (p->count + more <= p->cap)
		return 0;
	cap = (p->count + more) * 2;
	v = mem_realloc_array(p->v, cap, sizeof(*v));
	if (!v)
		return -ENOMEM;
	p->v = v;
	p->cap = cap;
	return 0;
}

static struct fs_pool_id *find(struct fs_pool *p, uint64_t id)
{
	size_t lo = p->head, hi = p->count;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (p->v[mid].id < id)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < p->count && p->v[lo].id == id ? &p->v[lo] : NULL;
}

static int insert_some(struct fs *fs, struct kv_req *reqs, struct kv_req **ptrs, size_t n)
{
	int rc;

	for (size_t i = 0; i < n; i++) {
		reqs[i] = (struct kv_req){
			.op = KV_SET, .role = KV_META, .key = KV_NEW, .data = placeholder, .len = 1};
		ptrs[i] = &reqs[i];
	}
	/* Synced at once: an id that the store forgot could not be given its contents later. */
	reqs[n] = (struct kv_req){.op = KV_SYNC, .role = KV_META};
	ptrs[n] = &reqs[n];
	rc = kv_run(fs->kv, ptrs, n + ((fs->kv->can & KV_CAN_SYNC) != 0), KV_BATCH);
	return rc;
}

static int fill_locked(struct fs *fs)
{
	struct fs_pool *p = &fs->pool;
	size_t n = p->step;
	struct kv_req *reqs = mem_calloc(n + 1, sizeof(*reqs));
	struct kv_req **ptrs = mem_calloc(n + 1, sizeof(*ptrs));
	int rc = reqs && ptrs ? fs_mark_open(fs) : -ENOMEM;

	if (rc)
		goto out;
	pthread_mutex_lock(&p->lock);
	p->fill_floor = fs->meta_seen;
	p->is_filling = true;
	rc = make_room(p, n);
	pthread_mutex_unlock(&p->lock);
	if (!rc)
		rc = insert_some(fs, reqs, ptrs, n);
	pthread_mutex_lock(&p->lock);
	if (p->count + n > p->cap && make_room(p, n))
		rc = rc ? rc : -ENOMEM;
	for (size_t i = 0; i < n && p->count < p->cap; i++) {
		if (reqs[i].err || reqs[i].key == KV_NEW)
			continue;
		if (reqs[i].key >= fs->meta_seen)
			fs->meta_seen = reqs[i].key + 1;
		/* One that may be forgotten again is not handed out; it stays below the floor's eyes until swept. */
		p->v[p->count++] = (struct fs_pool_id){.id = reqs[i].key, .state = rc ? ID_TAKEN : ID_FREE};
		p->free += !rc;
	}
	p->is_filling = false;
	if (p->step < STEP_MAX)
		p->step *= 2;
	pthread_mutex_unlock(&p->lock);
out:
	mem_free(ptrs);
	mem_free(reqs);
	return rc;
}

int fs_pool_fill(struct fs *fs)
{
	struct fs_pool *p = &fs->pool;
	int rc = 0;

	pthread_mutex_lock(&p->filling);
	if (fs_pool_is_low(fs))
		rc = fill_locked(fs);
	pthread_mutex_unlock(&p->filling);
	return rc;
}

bool fs_pool_is_low(struct fs *fs)
{
	struct fs_pool *p = &fs->pool;
	bool low;

	pthread_mutex_lock(&p->lock);
	low = p->free < p->step / 4;
	pthread_mutex_unlock(&p->lock);
	return low;
}

static bool take(struct fs_pool *p, uint64_t *id)
{
	bool found = false;

	pthread_mutex_lock(&p->lock);
	for (size_t i = p->head; p->free && i < p->count && !found; i++) {
		if (p->v[i].state != ID_FREE)
			continue;
		p->v[i].state = ID_TAKEN;
		p->free--;
		*id = p->v[i].id;
		found = true;
	}
	pthread_mutex_unlock(&p->lock);
	return found;
}

int fs_pool_take(struct fs *fs, uint64_t *id)
{
	struct fs_pool *p = &fs->pool;

	while (!take(p, id)) {
		int rc = 0;

		pthread_mutex_lock(&p->filling);
		if (!p->free)
			rc = fill_locked(fs);
		pthread_mutex_unlock(&p->filling);
		if (rc && !p->free)
			return rc;
	}
	return 0;
}

/* Drops settled ids from the front. */
static void advance(struct fs_pool *p)
{
	while (p->head < p->count && p->v[p->head].state == ID_SETTLED)
		p->head++;
}

void fs_pool_give_back(struct fs *fs, uint64_t id)
{
	struct fs_pool *p = &fs->pool;
	struct fs_pool_id *e;

	pthread_mutex_lock(&p->lock);
	e = find(p, id);
	if (e && e->state == ID_TAKEN) {
		e->state = ID_FREE;
		p->free++;
	}
	pthread_mutex_unlock(&p->lock);
}

void fs_pool_settle(struct fs *fs, uint64_t id)
{
	struct fs_pool *p = &fs->pool;
	struct fs_pool_id *e;

	pthread_mutex_lock(&p->lock);
	e = find(p, id);
	if (e) {
		if (e->state == ID_FREE)
			p->free--;
		e->state = ID_SETTLED;
		advance(p);
	}
	pthread_mutex_unlock(&p->lock);
}

uint64_t fs_pool_floor(struct fs *fs)
{
	struct fs_pool *p = &fs->pool;
	uint64_t floor;

	pthread_mutex_lock(&p->lock);
	advance(p);
	if (p->head < p->count)
		floor = p->v[p->head].id;
	else
		floor = p->is_filling ? p->fill_floor : fs->meta_seen;
	pthread_mutex_unlock(&p->lock);
	return floor;
}

/* Nothing refers to a placeholder; anything else under the number is somebody's, whatever we believe. */
static int delete_placeholder(struct fs *fs, uint64_t id)
{
	void *value = NULL;
	size_t len;
	int rc = kv_get(fs->kv, KV_META, id, &value, &len);

	if (!rc && len == sizeof(placeholder))
		rc = kv_del(fs->kv, KV_META, id);
	mem_free(value);
	return rc == -ENOENT ? 0 : rc;
}

/* At the stop everything is stored: what is not settled was never used, also if it was taken for a name that did not come. */
int fs_pool_drain(struct fs *fs)
{
	struct fs_pool *p = &fs->pool;
	int rc = 0;

	for (size_t i = p->head; !rc && i < p->count; i++)
		if (p->v[i].state != ID_SETTLED)
			rc = delete_placeholder(fs, p->v[i].id);
	p->head = p->count;
	p->free = 0;
	return rc;
}
