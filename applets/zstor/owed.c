/*
 * owed: see owed.h.
 */
#include "applets/zstor/owed.h"

#include <stdio.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/base/sys.h"

#define BACKOFF_FIRST_MS 1000u
#define BACKOFF_MAX_MS   60000u
#define DRAIN_BACKOFF_MS 1000u
#define LOOK_MS          1000u
#define GARBAGE_DELAY    4u /* sequences: all four manifest slots stay restorable */

int owed_new(struct owed_queue **out)
{
	struct owed_queue *q = mem_calloc(1, sizeof(*q));

	if (!q)
		return -ENOMEM;
	list_init(&q->items);
	hmap_init(&q->by_seq);
	*out = q;
	return 0;
}

static void free_item(struct owed_queue *q, struct owed *o)
{
	list_del(&o->link);
	hmap_del(&q->by_seq, &o->node);
	q->count--;
	mem_free(o->path);
	mem_free(o);
}

void owed_free(struct owed_queue *q)
{
	if (!q)
		return;
	list_each_safe(&q->items, it) free_item(q, container_of(it, struct owed, link));
	hmap_release(&q->by_seq);
	mem_free(q);
}

static struct owed *find(struct owed_queue *q, uint64_t seq)
{
	struct hmap_node *n = hmap_first_of(&q->by_seq, hmap_hash_u64(seq));

	for (; n; n = hmap_next_of(n)) {
		struct owed *o = container_of(n, struct owed, node);

		if (o->seq == seq)
			return o;
	}
	return NULL;
}

static int add(struct zstor *z, const struct spool_intent *in)
{
	struct owed_queue *q = z->owed;
	struct owed *o = mem_calloc(1, sizeof(*o));
	struct zs_ns *ns = in->ns[0] ? ns_get(z, in->ns) : NULL;

	if (!o || (in->ns[0] && !ns) || (in->path[0] && !(o->path = mem_strdup(in->path)))) {
		mem_free(o);
		return -ENOMEM;
	}
	o->kind = in->kind;
	o->ns = ns ? ns->name : "";
	o->first = in->first;
	o->last = in->last;
	o->seq = in->seq;
	o->size = in->size;
	o->after_sequence = in->after_sequence;
	o->generation = in->generation;
	o->payload_size = in->payload_size;
	o->time = in->time;
	o->flags = in->flags;
	o->attempts = in->attempts;
	o->state = in->parked ? OWED_PARKED : OWED_WAITING;
	o->seen = true;
	memcpy(o->name, in->name, sizeof(o->name));
	memcpy(o->error, in->error, sizeof(o->error));
	list_add_tail(&q->items, &o->link);
	hmap_add(&q->by_seq, &o->node, hmap_hash_u64(o->seq));
	q->count++;
	return 0;
}

static int look_at(void *ctx, const struct spool_intent *in)
{
	struct zstor *z = ctx;
	struct owed *o = find(z->owed, in->seq);

	if (in->foreign) {
		z->owed->foreign++;
		return 0;
	}
	if (in->kind == SPOOL_FENCE)
		return 0;
	if (o) {
		o->seen = true;
		return 0;
	}
	return z->owed->count < OWED_MAX ? add(z, in) : 0;
}

int owed_refresh(struct zstor *z, bool force)
{
	struct owed_queue *q = z->owed;
	struct stat st;
	int rc;

	if (sys->stat(z->spool_dir, &st) < 0)
		return -errno;
	if (!force && q->is_looked && st.st_mtim.tv_sec == q->spool_mtime.tv_sec &&
	    st.st_mtim.tv_nsec == q->spool_mtime.tv_nsec)
		return 0;
	list_each(&q->items, it) container_of(it, struct owed, link)->seen = false;
	q->foreign = 0;
	rc = spool_list(z->spool, look_at, z);
	if (rc < 0)
		return rc;
	q->spool_mtime = st.st_mtim;
	/* A change within the clock's grain of this look may have been missed: only a second look settles it. */
	q->is_looked =
		clock_wall_ns() - ((uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec) >
		20000000u;
	/* What is gone from the spool was replaced by a newer put; whoever works on it ends it himself. */
	list_each_safe(&q->items, it)
	{
		struct owed *o = container_of(it, struct owed, link);

		if (!o->seen && o->state != OWED_RUNNING)
			free_item(q, o);
	}
	pthread_cond_broadcast(&z->changed);
	return 0;
}

/* A bundle that names new files of segments before its own comes behind these; they were in the spool before it was. */
static bool is_behind_segment(struct zstor *z, const struct owed *bundle)
{
	if (!(bundle->flags & SPOOL_BUNDLE_REPLACED))
		return false;
	list_each(&z->owed->items, it)
	{
		const struct owed *o = container_of(it, struct owed, link);

		if (o->kind == SPOOL_SEGMENT && o->first < bundle->first && strcmp(o->ns, bundle->ns) == 0)
			return true;
	}
	return false;
}

/* Whether the kind can be worked on in the present state of the volume. */
static bool is_due(struct zstor *z, const struct owed *o)
{
	struct zs_ns *ns;

	switch (o->kind) {
	case SPOOL_SEGMENT:
	case SPOOL_FILE:
	case SPOOL_PIECE:
		return true;
	case SPOOL_NSDROP: /* takes the namespace out of what they work with */
		return !z->point.busy && !z->restore.busy;
	case SPOOL_BUNDLE: /* its rows say how its segments are stored, so they come first */
		ns = ns_find(z, o->ns);
		for (uint64_t n = o->first; n <= o->last; n++)
			if (!ns || n >= ns->rows_count || !ns->rows[n].known)
				return false;
		return !is_behind_segment(z, o);
	case SPOOL_GARBAGE:
		return !z->draining && o->after_sequence != GARBAGE_LATER &&
		       z->vol.local.sequence >= o->after_sequence + GARBAGE_DELAY;
	case SPOOL_DROPPING:   /* not certain yet */
	case SPOOL_DESCRIPTOR: /* carried by the next recovery point */
	case SPOOL_INDEX:
	case SPOOL_FENCE:
		return false;
	}
	return false;
}

struct owed *owed_take(struct zstor *z, uint64_t *wait_ms)
{
	uint64_t now = clock_mono_ms();

	*wait_ms = LOOK_MS;
	if (z->vol.state != VOL_READY)
		return NULL;
	list_each(&z->owed->items, it)
	{
		struct owed *o = container_of(it, struct owed, link);

		if (o->state != OWED_WAITING || !is_due(z, o))
			continue;
		if (o->next_ms <= now) {
			o->state = OWED_RUNNING;
			o->hurried = false;
			return o;
		}
		if (o->next_ms - now < *wait_ms)
			*wait_ms = o->next_ms - now;
	}
	return NULL;
}

void owed_done(struct zstor *z, struct owed *o)
{
	free_item(z->owed, o);
	pthread_cond_broadcast(&z->changed);
}

void owed_stored(struct zstor *z, struct owed *o)
{
	o->state = OWED_STORED;
	o->error[0] = '\0';
	pthread_cond_broadcast(&z->changed);
}

static uint64_t backoff_ms(struct zstor *z, uint32_t attempts)
{
	uint64_t ms = BACKOFF_FIRST_MS, jitter;
	uint32_t bits = 0;

	for (uint32_t i = 1; i < attempts && ms < BACKOFF_MAX_MS; i++)
		ms *= 2;
	if (ms > BACKOFF_MAX_MS)
		ms = BACKOFF_MAX_MS;
	if (z->draining && ms > DRAIN_BACKOFF_MS)
		ms = DRAIN_BACKOFF_MS;
	(void)sys->getrandom(&bits, sizeof(bits), 0);
	jitter = ms / 2 * (bits & 0xffff) / 0x10000;
	return ms - ms / 4 + jitter;
}

void owed_retry(struct zstor *z, struct owed *o, const char *error)
{
	o->attempts++;
	o->state = OWED_WAITING;
	o->next_ms = o->hurried ? 0 : clock_mono_ms() + backoff_ms(z, o->attempts);
	snprintf(o->error, sizeof(o->error), "%s", error);
	if (!o->seen)
		free_item(z->owed, o);
	pthread_cond_broadcast(&z->changed);
}

void owed_park(struct zstor *z, struct owed *o, const char *error)
{
	struct spool_intent in;

	o->attempts++;
	o->state = OWED_PARKED;
	snprintf(o->error, sizeof(o->error), "%s", error);
	owed_intent(o, &in);
	(void)spool_note(z->spool, &in, o->attempts, true, error);
	if (!o->seen)
		free_item(z->owed, o);
	pthread_cond_broadcast(&z->changed);
}

void owed_hurry(struct zstor *z)
{
	list_each(&z->owed->items, it)
	{
		struct owed *o = container_of(it, struct owed, link);

		o->next_ms = 0;
		o->attempts = 0;
		o->hurried = o->state == OWED_RUNNING;
	}
	pthread_cond_broadcast(&z->changed);
}

void owed_intent(const struct owed *o, struct spool_intent *in)
{
	memset(in, 0, sizeof(*in));
	in->kind = o->kind;
	snprintf(in->ns, sizeof(in->ns), "%s", o->ns);
	if (o->path)
		snprintf(in->path, sizeof(in->path), "%s", o->path);
	in->first = o->first;
	in->last = o->last;
	in->seq = o->seq;
	in->size = o->size;
	in->after_sequence = o->after_sequence;
	in->flags = o->flags;
	in->payload_size = o->payload_size;
	in->generation = o->generation;
	memcpy(in->name, o->name, sizeof(in->name));
}

bool owed_has(struct zstor *z, enum spool_kind kind, const char *ns, uint64_t first)
{
	list_each(&z->owed->items, it)
	{
		const struct owed *o = container_of(it, struct owed, link);

		if (o->kind == kind && o->first == first && strcmp(o->ns, ns) == 0)
			return true;
	}
	return false;
}

bool owed_drops(struct zstor *z, const char *ns)
{
	return owed_has(z, SPOOL_NSDROP, ns, 0) || owed_has(z, SPOOL_DROPPING, ns, 0);
}

void owed_count(struct zstor *z, struct owed_totals *t)
{
	memset(t, 0, sizeof(*t));
	list_each(&z->owed->items, it)
	{
		const struct owed *o = container_of(it, struct owed, link);

		if (o->kind == SPOOL_GARBAGE) {
			t->garbage++;
			continue;
		}
		t->files++;
		t->bytes += o->size;
		t->parked += o->state == OWED_PARKED;
		t->unpublished += o->state == OWED_STORED || o->kind == SPOOL_DESCRIPTOR;
		t->pieces += o->kind == SPOOL_PIECE;
		if (!t->oldest || o->time < t->oldest)
			t->oldest = o->time;
		if (!t->error && o->error[0])
			t->error = o->error;
	}
}
