/* Store calls of readers, with their buffers kept for the next one. */
#include "core/base/mem.h"
#include "core/object/fetch_int.h"

#define SPARE_MAX 64

static void fetch_run(struct work_job *job)
{
	struct fetch *f = container_of(job, struct fetch, job);
	const struct obj_store_ops *ops = f->store->ops;

	f->got = 0;
	if (f->whole)
		f->result = ops->get(f->store, f->key.bytes, f->key.len, f->bytes, f->want, &f->got);
	else
		f->result = ops->get_range(f->store, f->key.bytes, f->key.len, f->offset, f->want, f->bytes,
					   &f->got);
}

static void fetch_drop(struct work_job *job)
{
	fetch_free(container_of(job, struct fetch, job));
}

static void destroy(struct fetch *f)
{
	mem_free(f->bytes);
	mem_free(f);
}

struct fetch *fetch_new(struct obj_work *w, size_t cap)
{
	struct fetch *f = NULL;

	work_lock(w);
	if (!list_is_empty(&w->spare)) {
		f = container_of(list_pop(&w->spare), struct fetch, link);
		w->spare_count--;
	}
	work_unlock(w);
	if (f && f->cap < cap) {
		destroy(f);
		f = NULL;
	}
	if (!f) {
		f = mem_calloc(1, sizeof(*f));
		if (!f)
			return NULL;
		f->bytes = mem_aligned(64, (cap + 63) / 64 * 64);
		if (!f->bytes) {
			mem_free(f);
			return NULL;
		}
		f->cap = cap;
		f->work = w;
	}
	f->job.run = fetch_run;
	f->job.drop = fetch_drop;
	f->job.state = JOB_IDLE;
	return f;
}

void fetch_free(struct fetch *f)
{
	struct obj_work *w;

	if (!f)
		return;
	w = f->work;
	work_lock(w);
	if (w->spare_count < SPARE_MAX && !w->stop) {
		list_add_head(&w->spare, &f->link);
		w->spare_count++;
		f = NULL;
	}
	work_unlock(w);
	if (f)
		destroy(f);
}

void fetch_drop_spare(struct obj_work *w)
{
	for (;;) {
		struct list *item;

		work_lock(w);
		item = list_pop(&w->spare);
		w->spare_count -= item ? 1 : 0;
		work_unlock(w);
		if (!item)
			break;
		destroy(container_of(item, struct fetch, link));
	}
}
