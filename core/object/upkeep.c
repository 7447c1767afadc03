/* Upkeep of stored objects: check, repair, heads, deletion. One lane per shard works through its values. */
#include <errno.h>
#include <string.h>

#include "core/base/err.h"
#include "core/base/mem.h"
#include "core/coding/fragment.h"
#include "core/object/place_int.h"
#include "core/object/reader_int.h"
#include "core/object/sender_int.h"

/* What one lane does with one shard. */
struct chore {
	struct work_job job;
	struct obj_work *work;
	const struct record *rec;
	const struct fragment_place *places;
	const struct record_shard *place;
	struct obj_store *store;
	uint8_t *bytes; /* HEAD_MAX_BYTES, or one value where fragments are read */
	size_t cap;
	bool deep;
	uint64_t moved;
	int error; /* 0; -ENOENT, -E_CORRUPT: bad; else unreachable */
};

struct chores {
	struct chore each[EC_PIECES_MAX];
	struct fragment_place *places;
};

static bool is_bad(int error)
{
	return error == -ENOENT || error == -E_CORRUPT;
}

static int get_value(struct chore *c, uint32_t number, size_t *len)
{
	struct value_key key;
	int rc;

	place_key(&key, c->store, c->place->keys, c->rec->pub.object, c->place->index, number);
	rc = c->store->ops->get(c->store, key.bytes, key.len, c->bytes, c->cap, len);
	if (rc == 0)
		c->moved += *len;
	return rc == -EMSGSIZE ? -E_CORRUPT : rc;
}

/* The head must be the one that this record would write. */
static int check_head(struct chore *c)
{
	const struct record *rec = c->rec;
	uint8_t *want;
	size_t len = 0, want_len;
	int rc = get_value(c, 0, &len);

	if (rc != 0)
		return rc;
	want = mem_alloc(HEAD_MAX_BYTES);
	if (!want)
		return -ENOMEM;
	want_len = head_build(&rec->pub, rec->box, c->place->index, c->place->type, rec->values,
			      c->place->keys ? c->place->keys + 1 : NULL, want);
	if (len != want_len || memcmp(want, c->bytes, len) != 0)
		rc = -E_CORRUPT;
	mem_free(want);
	return rc;
}

static int check_fragment(const struct chore *c, uint32_t stripe, const uint8_t *bytes, size_t len)
{
	uint32_t sealed = c->rec->sealed[stripe];
	struct fragment f;

	if (len < c->places[stripe].len)
		return -ENOENT;
	if (fragment_check(bytes, c->places[stripe].len, &f) != 0 || f.index != c->place->index ||
	    f.original != sealed || f.size != ec_piece_bytes(sealed, c->rec->pub.k))
		return -E_CORRUPT;
	return 0;
}

/* The fragments [first, last) of one value: by range when one is enough, else the whole value. */
static int check_value(struct chore *c, uint32_t first, uint32_t end)
{
	const struct fragment_place *place = &c->places[first];
	struct value_key key;
	size_t len = 0;
	int rc;

	if (end - first == 1 && c->store->ops->get_range) {
		place_key(&key, c->store, c->place->keys, c->rec->pub.object, c->place->index, place->value);
		rc = c->store->ops->get_range(c->store, key.bytes, key.len, place->offset, place->len,
					      c->bytes, &len);
		if (rc != 0)
			return rc;
		c->moved += len;
		return check_fragment(c, first, c->bytes, len);
	}
	rc = get_value(c, place->value, &len);
	for (uint32_t s = first; rc == 0 && s < end; s++) {
		size_t at = c->places[s].offset;

		rc = len < at ? -ENOENT : check_fragment(c, s, c->bytes + at, len - at);
	}
	return rc;
}

static void check_run(struct work_job *job)
{
	struct chore *c = container_of(job, struct chore, job);
	uint32_t stripes = c->rec->pub.stripes;
	int rc = check_head(c);

	for (uint32_t s = c->deep ? 0 : stripes - 1; rc == 0 && s < stripes;) {
		uint32_t end = s + 1;

		while (end < stripes && c->places[end].value == c->places[s].value)
			end++;
		if (work_is_canceled(c->work))
			rc = -ECANCELED;
		else
			rc = check_value(c, s, end);
		s = end;
	}
	c->error = rc;
}

static void heads_run(struct work_job *job)
{
	struct chore *c = container_of(job, struct chore, job);
	const struct record *rec = c->rec;
	struct value_key key;
	size_t len = head_build(&rec->pub, rec->box, c->place->index, c->place->type, rec->values,
				c->place->keys ? c->place->keys + 1 : NULL, c->bytes);

	place_key(&key, c->store, c->place->keys, rec->pub.object, c->place->index, 0);
	c->error = c->store->ops->set(c->store, key.bytes, key.len, c->bytes, len, NULL);
	if (c->error == 0)
		c->moved += len;
}

static void delete_run(struct work_job *job)
{
	struct chore *c = container_of(job, struct chore, job);

	for (uint32_t v = 0; c->error == 0 && v <= c->rec->values; v++) {
		struct value_key key;
		int rc;

		place_key(&key, c->store, c->place->keys, c->rec->pub.object, c->place->index, v);
		rc = c->store->ops->del(c->store, key.bytes, key.len);
		if (rc != 0 && rc != -ENOENT)
			c->error = rc;
	}
}

/* Runs `run` for each shard of the record; `cap` bytes for each. Fills the report. 0 or -ENOMEM, -ECANCELED. */
static int each_shard(struct obj_work *w, const struct record *rec, const struct obj_stores *stores,
		      void (*run)(struct work_job *), size_t cap, bool deep, struct obj_report *report)
{
	struct work_job *jobs[EC_PIECES_MAX] = {NULL};
	struct chores *all;
	int rc = work_begin(w, WORK_READ);

	memset(report, 0, sizeof(*report));
	if (rc != 0)
		return rc;
	all = mem_calloc(1, sizeof(*all));
	if (!all)
		return -ENOMEM;
	all->places = mem_alloc(rec->pub.stripes * sizeof(all->places[0]));
	if (all->places)
		head_places(&rec->pub, rec->sealed, all->places);
	else
		rc = -ENOMEM;
	for (unsigned i = 0; rc == 0 && i < rec->shards_count; i++) {
		struct chore *c = &all->each[i];

		c->job.run = run;
		c->work = w;
		c->rec = rec;
		c->places = all->places;
		c->place = &rec->shards[i];
		c->deep = deep;
		c->cap = cap;
		c->store = obj_stores_find(stores, c->place->label);
		if (!c->store || c->store->type != (enum obj_store_type)c->place->type) {
			c->error = -ENODEV;
			continue;
		}
		c->bytes = cap > 0 ? mem_alloc(cap) : NULL;
		if (cap > 0 && !c->bytes)
			rc = -ENOMEM;
		jobs[i] = &c->job;
	}
	if (rc == 0)
		work_run_all(w, jobs, rec->shards_count);
	for (unsigned i = 0; i < rec->shards_count; i++) {
		const struct chore *c = &all->each[i];

		if (rc == 0 && c->error == -ENOMEM)
			rc = -ENOMEM;
		if (c->place) {
			report->error[c->place->index] = c->error;
			report->stored_bytes += c->moved;
			if (is_bad(c->error))
				report->bad |= 1u << c->place->index;
			else if (c->error != 0)
				report->unreachable |= 1u << c->place->index;
		}
		mem_free(all->each[i].bytes);
	}
	mem_free(all->places);
	mem_free(all);
	return rc;
}

int obj_check(struct obj_work *w, const struct record *rec, const struct obj_stores *stores, bool deep,
	      struct obj_report *report)
{
	size_t value = (size_t)1 << rec->pub.value_log2;
	int rc = each_shard(w, rec, stores, check_run, value > HEAD_MAX_BYTES ? value : HEAD_MAX_BYTES, deep,
			    report);

	if (rc != 0)
		return rc;
	return (int)rec->shards_count - __builtin_popcount(report->bad | report->unreachable);
}

int obj_rewrite_heads(struct obj_work *w, const struct record *rec, const struct obj_stores *stores,
		      struct obj_report *report)
{
	int rc = each_shard(w, rec, stores, heads_run, HEAD_MAX_BYTES, false, report);

	return rc == 0 && (report->unreachable | report->bad) ? -EAGAIN : rc;
}

int obj_delete(struct obj_work *w, const struct record *rec, const struct obj_stores *stores,
	       struct obj_report *report)
{
	int rc = each_shard(w, rec, stores, delete_run, 0, false, report);

	return rc == 0 && report->unreachable ? -EAGAIN : rc;
}
