/*
 * flight.c - the end of a log on its way to the file, in another thread.
 *
 * Large values are not copied: a flight is loaded with the records' heads, and with the values where their owner has them (struct
 * zdb_lent).  When it is full, or the turn ends, it is written by one call in another thread, while the log goes on loading the
 * next one.  Those of one log are written one after the other, so what a kill leaves is a prefix; the index records of a
 * flight are written after it has landed.  Until then its bytes are read from memory.
 *
 * Whoever needs the log in the file lands its flights: waits for them, or carries out those that no thread has begun.  One that
 * failed stays, and those behind it, for readers; its namespace takes no more writes.
 */
#include <pthread.h>

#include "core/base/mem_copy.h"
#include "core/zdb/zdb_int.h"

#define FLIGHT_PIECES 128u
#define FLIGHT_SPARES FLIGHTS_MAX

enum flight_state { FLIGHT_READY, FLIGHT_RUNS, FLIGHT_OVER };

/* Neighbours in the file, in ascending order. */
struct piece {
	uint32_t off, len;
	const uint8_t *data;
	struct zdb_lent *lent; /* NULL: in the flight's own memory */
};

struct zdb_flight {
	/* the owner thread's */
	struct zdb_flight *next; /* behind it in the log */
	struct zdb_ns *ns;       /* NULL: landed or dropped */
	struct zdb *eng;         /* NULL: it is gone */
	uint32_t index_end;
	bool failed, released; /* released: the owner of the engine has called done */
	/* constant while it runs */
	struct zdb_fd *f;
	uint32_t start, end; /* in the file */
	uint64_t reserved;   /* preallocated by now up to here, ... */
	uint32_t ahead;      /* ... and so much more is wanted */
	uint32_t used;       /* of `own` */
	int flags;           /* of pwritev2 */
	size_t count;
	struct piece pieces[FLIGHT_PIECES];
	/* under the lock */
	pthread_mutex_t lock;
	pthread_cond_t over;
	enum flight_state state;
	int rc;
	bool ahead_is_there;
	struct flown flown;
	uint8_t own[FLIGHT_OWN]; /* heads, and small records between the large ones */
};

bool flight_wanted(const struct zdb_ns *ns, const struct tail *t)
{
	return t->which == DATA_FILE && ns->eng->ev.flight != NULL;
}

/* ------------------------------------------------------------------------------------------------ any thread --- */

static size_t piece_at(const struct zdb_flight *fl, uint32_t off)
{
	size_t low = 0, high = fl->count;

	while (high - low > 1) {
		size_t middle = (low + high) / 2;

		if (fl->pieces[middle].off <= off)
			low = middle;
		else
			high = middle;
	}
	return low;
}

static int flight_write(const struct zdb_flight *fl, bool *refused)
{
	struct iovec iov[FLIGHT_PIECES];
	uint32_t at = fl->start;
	int flags = fl->flags;

	while (at < fl->end) {
		size_t first = piece_at(fl, at), count = 0;
		ssize_t n;

		for (size_t i = first; i < fl->count; i++) {
			const struct piece *p = &fl->pieces[i];
			uint32_t skip = i == first ? at - p->off : 0;

			iov[count++] = (struct iovec){(void *)(uintptr_t)(p->data + skip), p->len - skip};
		}
		n = sys->pwritev2(fl->f->fd, iov, (int)count, (off_t)at, flags);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && flags != 0 && err_unsupported(errno)) {
			flags = 0;
			*refused = true;
			continue;
		}
		if (n <= 0)
			return -EIO;
		at += (uint32_t)n;
	}
	return 0;
}

/* The next ones need room: to be had here, since it takes the file's lock, for which the owner would wait as long as somebody writes. */
static bool flight_ahead(const struct zdb_flight *fl)
{
	return fl->ahead != 0 &&
	       sys->fallocate(fl->f->fd, FALLOC_FL_KEEP_SIZE, (off_t)fl->reserved, (off_t)fl->ahead) == 0;
}

static uint64_t now_ns(void)
{
	struct timespec t = {0};

	(void)sys->clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Who finds it ready carries it out. */
void zdb_flight_run(struct zdb_flight *fl)
{
	struct flown flown = {.bytes = fl->end - fl->start};
	bool mine, ahead;
	int rc;

	pthread_mutex_lock(&fl->lock);
	mine = fl->state == FLIGHT_READY;
	if (mine)
		fl->state = FLIGHT_RUNS;
	pthread_mutex_unlock(&fl->lock);
	if (!mine)
		return;
	flown.took_ns = now_ns();
	rc = flight_write(fl, &flown.refused);
	flown.took_ns = now_ns() - flown.took_ns;
	ahead = rc == 0 && flight_ahead(fl);
	pthread_mutex_lock(&fl->lock);
	fl->rc = rc;
	fl->ahead_is_there = ahead;
	fl->flown = flown;
	fl->state = FLIGHT_OVER;
	pthread_cond_broadcast(&fl->over);
	pthread_mutex_unlock(&fl->lock);
}

/* --------------------------------------------------------------------------------------------------- loading --- */

/* Of a few this size the memory is kept: the allocator gives it back to the system each time. */
static struct zdb_flight *memory_take(struct zdb *eng)
{
	struct zdb_flight *fl = eng->flight_spares;

	if (fl == NULL)
		return mem_alloc(sizeof(*fl)); /* most of it is filled later */
	eng->flight_spares = fl->next;
	eng->flight_spares_count--;
	return fl;
}

/* eng: NULL when it is gone. */
static void flight_free(struct zdb *eng, struct zdb_flight *fl)
{
	pthread_mutex_destroy(&fl->lock);
	pthread_cond_destroy(&fl->over);
	if (eng == NULL || eng->flight_spares_count == FLIGHT_SPARES) {
		mem_free(fl);
		return;
	}
	fl->next = eng->flight_spares;
	eng->flight_spares = fl;
	eng->flight_spares_count++;
}

void flight_release(struct zdb *eng)
{
	struct zdb_flight *fl;

	for (fl = eng->flights_over; fl != NULL; fl = fl->next)
		fl->eng = NULL;
	while ((fl = eng->flight_spares) != NULL) {
		eng->flight_spares = fl->next;
		mem_free(fl);
	}
}

static struct zdb_flight *flight_new(struct zdb_ns *ns)
{
	struct zdb_flight *fl = memory_take(ns->eng);
	struct tail *t = &ns->data;

	if (fl == NULL)
		return NULL;
	memset(fl, 0, offsetof(struct zdb_flight, pieces));
	pthread_mutex_init(&fl->lock, NULL);
	pthread_cond_init(&fl->over, NULL);
	fl->state = FLIGHT_READY;
	fl->rc = 0;
	fl->ahead_is_there = false;
	fl->ns = ns;
	fl->eng = ns->eng;
	fl->f = t->f;
	t->f->refs++;
	fl->start = fl->end = t->size;
	t->loading = fl;
	t->from = t->size;
	return fl;
}

static void lent_drop(struct zdb_lent *lent)
{
	if (lent != NULL && --lent->uses == 0)
		lent->back(lent);
}

/* Takes everything behind `end` out again. */
static void flight_shorten(struct zdb_flight *fl, uint32_t end)
{
	while (fl->count > 0 && fl->end > end) {
		struct piece *p = &fl->pieces[fl->count - 1];
		uint32_t gone = fl->end - end < p->len ? fl->end - end : p->len;

		fl->end -= gone;
		p->len -= gone;
		if (p->lent == NULL)
			fl->used -= gone;
		if (p->len > 0)
			continue;
		lent_drop(p->lent);
		fl->count--;
	}
}

/* It has left its log; the struct lives until done was called, too. */
static void flight_detach(struct zdb *eng, struct zdb_flight *fl)
{
	for (size_t i = 0; i < fl->count; i++)
		lent_drop(fl->pieces[i].lent);
	fd_put(eng, fl->f);
	fl->ns = NULL;
	fl->count = 0;
	if (fl->released) {
		flight_free(eng, fl);
		return;
	}
	fl->next = eng->flights_over;
	eng->flights_over = fl;
}

static void forget_over(struct zdb *eng, const struct zdb_flight *fl)
{
	struct zdb_flight **p = &eng->flights_over;

	while (*p != fl)
		p = &(*p)->next;
	*p = fl->next;
}

static bool has_room(const struct zdb_flight *fl, uint32_t own)
{
	return fl->count + 3 <= FLIGHT_PIECES && fl->used + own <= FLIGHT_OWN;
}

static void load_own(struct zdb_flight *fl, const struct iovec *iov)
{
	uint8_t *at = fl->own + fl->used;
	struct piece *p = fl->count > 0 ? &fl->pieces[fl->count - 1] : NULL;

	mem_copy(at, iov->iov_base, iov->iov_len);
	if (p == NULL || p->lent != NULL)
		fl->pieces[fl->count++] = (struct piece){.off = fl->end, .data = at};
	p = &fl->pieces[fl->count - 1];
	p->len += (uint32_t)iov->iov_len;
	fl->used += (uint32_t)iov->iov_len;
	fl->end += (uint32_t)iov->iov_len;
}

static void load_lent(struct zdb_flight *fl, const struct iovec *iov, struct zdb_lent *lent)
{
	lent->uses++;
	fl->pieces[fl->count++] = (struct piece){fl->end, (uint32_t)iov->iov_len, iov->iov_base, lent};
	fl->end += (uint32_t)iov->iov_len;
}

int flight_load(struct zdb_ns *ns, const struct iovec *iov, int count, uint32_t total, struct zdb_lent *lent)
{
	struct tail *t = &ns->data;
	uint32_t own = total;
	int rc = 0;

	if (lent != NULL)
		own -= (uint32_t)iov[count - 1].iov_len;
	if (t->loading == NULL && t->flights == NULL)
		rc = tail_flush_to(ns, t, t->size); /* what gathers in the window comes before */
	else if (t->loading != NULL && !has_room(t->loading, own))
		rc = flight_start(ns);
	if (rc != 0)
		return rc;
	if (t->loading == NULL && flight_new(ns) == NULL)
		return -EOPNOTSUPP;
	for (int i = 0; i < count; i++) {
		if (lent != NULL && i == count - 1)
			load_lent(t->loading, &iov[i], lent);
		else
			load_own(t->loading, &iov[i]);
	}
	t->size = t->from = t->loading->end;
	return 0;
}

void flight_cut(struct tail *t, uint32_t size)
{
	if (t->loading != NULL)
		flight_shorten(t->loading, size);
}

bool flight_full(const struct tail *t)
{
	return t->loading != NULL && t->loading->end - t->loading->start >= FLIGHT_BYTES;
}

/* ---------------------------------------------------------------------------------------------------- flying --- */

static void wait_over(struct zdb_flight *fl)
{
	pthread_mutex_lock(&fl->lock);
	while (fl->state != FLIGHT_OVER)
		pthread_cond_wait(&fl->over, &fl->lock);
	pthread_mutex_unlock(&fl->lock);
}

/* The oldest one.  After it the file is longer. */
static int land_first(struct zdb_ns *ns)
{
	struct zdb_flight *fl = ns->data.flights;
	uint32_t index_end = fl->index_end;

	if (fl->failed)
		return -EIO;
	zdb_flight_run(fl);
	wait_over(fl);
	if (fl->rc != 0) {
		fl->failed = true;
		tail_failed(ns, &ns->data);
		return -EIO;
	}
	if (fl->ahead_is_there && ns->data.reserved < fl->reserved + fl->ahead)
		ns->data.reserved = fl->reserved + fl->ahead;
	uncached_landed(ns->eng, fl->flags, &fl->flown);
	tail_landed(ns, &ns->data, fl->end);
	ns->data.flights = fl->next;
	ns->data.flying--;
	flight_detach(ns->eng, fl);
	return tail_flush_to(ns, &ns->index, index_end);
}

static struct zdb_flight *last_flight(const struct tail *t)
{
	struct zdb_flight *fl = t->flights;

	while (fl != NULL && fl->next != NULL)
		fl = fl->next;
	return fl;
}

/* Whether one in the air preallocates more. */
static bool makes_room(const struct tail *t)
{
	const struct zdb_flight *fl = t->flights;

	while (fl != NULL && fl->ahead == 0)
		fl = fl->next;
	return fl != NULL;
}

/* What was loaded is the last flight now. */
static struct zdb_flight *take_off(struct zdb_ns *ns)
{
	struct tail *t = &ns->data;
	struct zdb_flight *fl = t->loading, *last = last_flight(t);

	fl->reserved = t->reserved;
	fl->ahead = makes_room(t) ? 0 : tail_ahead(ns, t);
	fl->flags = uncached_flags(ns->eng, last != NULL || flight_full(t));
	if (last != NULL)
		last->next = fl;
	else
		t->flights = fl;
	t->flying++;
	t->loading = NULL;
	fl->index_end = ns->index.size;
	return fl;
}

int flight_land(struct zdb_ns *ns)
{
	struct tail *t = &ns->data;
	int rc = 0;

	if (t->loading != NULL)
		take_off(ns)->released = true; /* nobody else knows it */
	while (rc == 0 && t->flights != NULL)
		rc = land_first(ns);
	return rc;
}

int flight_start(struct zdb_ns *ns)
{
	struct tail *t = &ns->data;
	struct zdb_flight *fl;
	int rc = 0;

	if (t->flights != NULL && t->flights->failed)
		return -EIO; /* who landed it may not be who has to know */
	if (t->loading == NULL)
		return 0;
	while (rc == 0 && t->flying >= FLIGHTS_MAX)
		rc = land_first(ns);
	if (rc != 0)
		return rc;
	fl = take_off(ns);
	if (ns->eng->ev.flight(ns->eng->opt.events_ctx, fl) == 0)
		return 0;
	fl->released = true;
	return flight_land(ns);
}

int zdb_flight_done(struct zdb_flight *fl)
{
	int rc = 0;

	while (fl->ns != NULL && rc == 0)
		rc = land_first(fl->ns);
	rc = fl->rc;
	fl->released = true;
	if (fl->ns == NULL && fl->eng != NULL)
		forget_over(fl->eng, fl);
	if (fl->ns == NULL)
		flight_free(fl->eng, fl);
	return rc;
}

/* No thread begins it any more. */
static void flight_cancel(struct zdb_flight *fl)
{
	pthread_mutex_lock(&fl->lock);
	if (fl->state == FLIGHT_READY)
		fl->state = FLIGHT_OVER;
	pthread_mutex_unlock(&fl->lock);
	wait_over(fl);
}

void flight_drop(struct zdb *eng, struct tail *t)
{
	if (t->loading != NULL) {
		t->loading->released = true;
		flight_detach(eng, t->loading);
		t->loading = NULL;
	}
	while (t->flights != NULL) {
		struct zdb_flight *fl = t->flights;

		flight_cancel(fl);
		t->flights = fl->next;
		t->flying--;
		flight_detach(eng, fl);
	}
}

/* ------------------------------------------------------------------------------------------------------ views --- */

static const uint8_t *view(const struct zdb_flight *fl, uint32_t off, size_t *have)
{
	const struct piece *p;

	if (fl == NULL || off < fl->start || off >= fl->end)
		return NULL;
	p = &fl->pieces[piece_at(fl, off)];
	*have = p->len - (off - p->off);
	return p->data + (off - p->off);
}

const uint8_t *flight_peek(const struct tail *t, uint32_t off, size_t *have)
{
	const uint8_t *b = NULL;

	for (const struct zdb_flight *fl = t->flights; fl != NULL && b == NULL; fl = fl->next)
		b = view(fl, off, have);
	return b != NULL ? b : view(t->loading, off, have);
}

uint32_t flight_end(const struct tail *t)
{
	const struct zdb_flight *last = last_flight(t);

	return last != NULL ? last->end : t->written;
}

uint32_t flight_from(const struct tail *t)
{
	const struct zdb_flight *fl = t->flights != NULL ? t->flights : t->loading;

	return fl != NULL ? fl->start : t->from;
}
