/* Gathers k good fragments per stripe; see reader_int.h. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/base/err.h"
#include "core/base/mem.h"
#include "core/object/reader_int.h"

int reader_fail(struct reader *r, int code, const char *format, ...)
{
	va_list ap;

	if (!r->why)
		return code;
	va_start(ap, format);
	vsnprintf(r->why, OBJ_WHY_BYTES, format, ap);
	va_end(ap);
	return code;
}

/* Stripes at work at a time: as many as lanes and memory allow, one where whole values are fetched. */
static unsigned count_windows(const struct reader *r)
{
	const struct head_public *p = &r->rec->pub;
	unsigned by_lanes = r->work->options.lanes / (p->k + 2u);
	size_t stripe = (size_t)1 << p->stripe_log2;
	size_t each = 3 * stripe + 80 * (size_t)p->n; /* format, section 5, Memory */
	unsigned windows = READER_WINDOWS_MAX;

	for (unsigned i = 0; i < p->n; i++)
		if (r->shards[i].store && !r->shards[i].store->ops->get_range)
			windows = 1;
	while (windows > 1 && (windows > by_lanes || windows * each > r->work->options.memory_max))
		windows--;
	return windows;
}

int reader_open(struct reader *r, struct obj_work *w, const struct record *rec,
		const struct obj_stores *stores, uint32_t excluded, uint32_t first, uint32_t end,
		struct obj_report *report, char *why)
{
	size_t stripe = (size_t)1 << rec->pub.stripe_log2;
	int rc;

	memset(r, 0, sizeof(*r));
	r->work = w;
	r->rec = rec;
	r->excluded = excluded;
	r->first = first;
	r->end = end;
	r->report = report;
	r->why = why;
	memset(report, 0, sizeof(*report));
	for (unsigned i = 0; i < rec->shards_count; i++) {
		const struct record_shard *place = &rec->shards[i];
		struct reader_shard *sh = &r->shards[place->index];

		sh->place = place;
		sh->store = obj_stores_find(stores, place->label);
		if (sh->store && sh->store->type != (enum obj_store_type)place->type)
			sh->store = NULL; /* the label names another kind of store now */
		if (!sh->store) {
			sh->error = report->error[place->index] = -ENODEV;
			report->unreachable |= 1u << place->index;
		}
	}
	rc = ec_get(rec->pub.k, rec->pub.n, &r->ec);
	if (rc != 0)
		return rc;
	r->windows = count_windows(r);
	if (rec->priv.size < stripe)
		stripe = (size_t)rec->priv.size + 1;
	r->places = mem_alloc(rec->pub.stripes * sizeof(r->places[0]));
	r->sealed = work_buffer(w, SLOT_SEALED, stripe + OBJ_SEAL_BYTES + rec->pub.k);
	r->plain = work_buffer(w, SLOT_PLAIN, stripe);
	if (!r->places || !r->sealed || !r->plain || !work_zstd(w) || !work_ec_cache(w))
		return -ENOMEM;
	head_places(&rec->pub, rec->sealed, r->places);
	return 0;
}

static void drop_fetch(struct reader *r, struct part *part)
{
	if (part->state == PART_FLYING) {
		work_lock(r->work);
		work_abandon(r->work, &part->fetch->job);
		work_unlock(r->work);
	} else {
		fetch_free(part->fetch);
	}
	part->fetch = NULL;
	part->payload = NULL;
}

void reader_release(struct reader *r, struct window *win)
{
	for (unsigned i = 0; i < r->rec->pub.n; i++)
		if (win->parts[i].fetch)
			drop_fetch(r, &win->parts[i]);
	memset(win, 0, sizeof(*win));
}

void reader_close(struct reader *r)
{
	for (unsigned i = 0; i < READER_WINDOWS_MAX; i++)
		if (r->window[i].is_open)
			reader_release(r, &r->window[i]);
	for (unsigned i = 0; i < EC_PIECES_MAX; i++) {
		fetch_free(r->shards[i].value);
		r->shards[i].value = NULL;
	}
	mem_free(r->places);
	r->places = NULL;
}

/* The best shard that was not asked for this stripe yet, or -1: those without blemish first, then fast stores, then data. */
static int next_shard(const struct reader *r, const struct window *win)
{
	int best = -1;

	for (unsigned i = 0; i < r->rec->pub.n; i++) {
		const struct reader_shard *sh = &r->shards[i], *b = best >= 0 ? &r->shards[best] : NULL;

		if (!sh->store || sh->error || win->parts[i].state != PART_NONE || (r->excluded >> i & 1))
			continue;
		if (!b || sh->penalty < b->penalty ||
		    (sh->penalty == b->penalty && sh->store->rank < b->store->rank))
			best = (int)i;
	}
	return best;
}

static void part_bad(struct reader *r, struct window *win, unsigned i, int error)
{
	win->parts[i].state = PART_BAD;
	win->parts[i].payload = NULL;
	r->shards[i].penalty++;
	r->report->bad |= 1u << i;
	r->report->error[i] = error;
}

/* Judges the bytes of a fragment that came. */
static void judge(struct reader *r, struct window *win, unsigned i, const uint8_t *bytes, size_t len)
{
	uint32_t sealed = r->rec->sealed[win->stripe];
	struct fragment f;

	if (len != r->places[win->stripe].len) {
		part_bad(r, win, i,
			 -ENOENT); /* shorter: the empty answer of a redis store is a missing value */
	} else if (fragment_check(bytes, len, &f) != 0 || f.index != i || f.original != sealed ||
		   f.size != ec_piece_bytes(sealed, r->rec->pub.k)) {
		part_bad(r, win, i, -E_CORRUPT);
	} else {
		win->parts[i].state = PART_GOOD;
		win->parts[i].payload = bytes + FRAGMENT_HEADER_BYTES;
		win->good++;
	}
}

/* The fragment out of a whole value of the shard. */
static void judge_value(struct reader *r, struct window *win, unsigned i)
{
	const struct fragment_place *place = &r->places[win->stripe];
	const struct fetch *value = r->shards[i].value;
	size_t have = value->got > place->offset ? value->got - place->offset : 0;

	judge(r, win, i, value->bytes + place->offset, have < place->len ? have : place->len);
}

/* Takes the answer of a finished fetch. */
static void settle(struct reader *r, struct window *win, unsigned i)
{
	struct part *part = &win->parts[i];
	struct reader_shard *sh = &r->shards[i];
	struct fetch *f = part->fetch;

	win->flying--;
	part->state = PART_BAD;
	if (f->result == 0)
		r->report->stored_bytes += f->got;
	if (f->result == 0 && f->whole) {
		fetch_free(sh->value);
		sh->value = f;
		sh->value_number = r->places[win->stripe].value;
		part->fetch = NULL;
		judge_value(r, win, i);
		return;
	}
	if (f->result == 0) {
		judge(r, win, i, f->bytes, f->got);
	} else if (f->result == -ENOENT || f->result == -EMSGSIZE) {
		part_bad(r, win, i, -ENOENT);
	} else {
		sh->error = r->report->error[i] = f->result;
		r->report->unreachable |= 1u << i;
	}
	if (part->state != PART_GOOD) {
		part->fetch = NULL;
		fetch_free(f);
	}
}

/* Asks shard i. 0 or -ENOMEM, -EAGAIN (no lane at all). */
static int launch(struct reader *r, struct window *win, unsigned i)
{
	const struct fragment_place *place = &r->places[win->stripe];
	struct reader_shard *sh = &r->shards[i];
	bool whole = sh->store->ops->get_range == NULL;
	struct fetch *f;
	int rc;

	if (whole && sh->value && sh->value_number == place->value) {
		judge_value(r, win, i);
		return 0;
	}
	f = fetch_new(r->work, whole ? (size_t)1 << r->rec->pub.value_log2 : place->len);
	if (!f)
		return -ENOMEM;
	f->store = sh->store;
	f->whole = whole;
	f->offset = place->offset;
	f->want = whole ? f->cap : place->len;
	place_key(&f->key, sh->store, sh->place->keys, r->rec->pub.object, i, place->value);
	work_lock(r->work);
	rc = work_submit(r->work, &f->job);
	work_unlock(r->work);
	if (rc != 0) {
		fetch_free(f);
		return rc;
	}
	win->parts[i].state = PART_FLYING;
	win->parts[i].fetch = f;
	win->flying++;
	return 0;
}

static bool is_finished(struct reader *r, struct fetch *f)
{
	bool finished;

	work_lock(r->work);
	finished = f->job.state == JOB_FINISHED;
	work_unlock(r->work);
	return finished;
}

/* Takes what has come and asks for what is needed. 0, or an error that ends the operation. */
static int tend(struct reader *r, struct window *win, unsigned want)
{
	uint64_t now = clock_mono_ms();
	bool slow = now >= win->hedge_at;
	int rc = 0, i;

	for (unsigned s = 0; s < r->rec->pub.n; s++)
		if (win->parts[s].state == PART_FLYING && is_finished(r, win->parts[s].fetch))
			settle(r, win, s);
	while (rc == 0 && win->good + win->flying < want && (i = next_shard(r, win)) >= 0)
		rc = launch(r, win, (unsigned)i);
	if (rc != 0 || win->good >= want || !slow)
		return rc;
	/* nothing came for a while: whoever is asked now is asked besides */
	for (unsigned s = 0; s < r->rec->pub.n; s++)
		if (win->parts[s].state == PART_FLYING)
			r->shards[s].penalty++;
	i = next_shard(r, win);
	if (i >= 0)
		rc = launch(r, win, (unsigned)i);
	win->hedge_at = now + r->work->options.hedge_ms;
	return rc;
}

static struct window *open_window(struct reader *r, uint32_t stripe)
{
	struct window *win = &r->window[stripe % r->windows];

	if (win->is_open && win->stripe == stripe)
		return win;
	if (win->is_open)
		reader_release(r, win);
	win->is_open = true;
	win->stripe = stripe;
	win->hedge_at = clock_mono_ms() + r->work->options.hedge_ms;
	return win;
}

/* Why fewer than k fragments came: unknown while a store that has one does not answer. */
static int too_few(struct reader *r, const struct window *win)
{
	unsigned silent = 0;

	for (unsigned i = 0; i < r->rec->pub.n; i++)
		silent += r->shards[i].place && r->shards[i].error;
	return reader_fail(r, silent ? -EAGAIN : -EIO,
			   "stripe %u: %u of %u fragments needed are there, %u of %u stores do not answer",
			   (unsigned)win->stripe, win->good, (unsigned)r->rec->pub.k, silent,
			   r->rec->shards_count);
}

/* Waits until something changes for `win`. */
static void wait_for(struct reader *r, const struct window *win)
{
	work_lock(r->work);
	for (unsigned i = 0; i < r->rec->pub.n; i++) {
		if (win->parts[i].state == PART_FLYING && win->parts[i].fetch->job.state == JOB_FINISHED) {
			work_unlock(r->work);
			return;
		}
	}
	work_wait(r->work, win->hedge_at);
	work_unlock(r->work);
}

int reader_gather(struct reader *r, uint32_t stripe, struct window **out)
{
	unsigned k = r->rec->pub.k;
	struct window *win = open_window(r, stripe);
	int rc;

	for (;;) {
		if (work_is_canceled(r->work))
			return -ECANCELED;
		rc = tend(r, win, k);
		/* the stripes behind this one travel meanwhile */
		for (uint32_t s = stripe + 1; rc == 0 && s < r->end && s < stripe + r->windows; s++)
			rc = tend(r, open_window(r, s), k);
		if (rc != 0)
			return rc;
		if (win->good >= k)
			break;
		if (win->flying == 0 && next_shard(r, win) < 0)
			return too_few(r, win);
		wait_for(r, win);
	}
	*out = win;
	return 0;
}

int reader_gather_all(struct reader *r, struct window *win)
{
	for (;;) {
		int rc;

		if (work_is_canceled(r->work))
			return -ECANCELED;
		rc = tend(r, win, r->rec->pub.n);
		if (rc != 0)
			return rc;
		if (win->flying == 0 && next_shard(r, win) < 0)
			return 0;
		wait_for(r, win);
	}
}
