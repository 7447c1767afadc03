/*
 * missing.c - data segments that are not on this disk, and who waits for them.
 *
 * Whoever reads such a segment is queued, the owner is asked once, and everybody is woken when it is back, cannot come, or does not come in
 * time.  Nothing else stops.
 */
#include "core/zdb/zdb_int.h"

static struct missing *missing_find(struct zdb_ns *ns, uint32_t number)
{
	struct missing *m = ns->missing;

	while (m != NULL && m->number != number)
		m = m->next;
	return m;
}

static void waiter_unlink(struct zdb_waiter *w)
{
	*w->prev = w->next;
	if (w->next != NULL)
		w->next->prev = w->prev;
	w->next = NULL;
	w->prev = NULL;
}

static void waiter_push(struct zdb_waiter **head, struct zdb_waiter *w)
{
	w->next = *head;
	if (w->next != NULL)
		w->next->prev = &w->next;
	w->prev = head;
	*head = w;
}

void zdb_waiter_cancel(struct zdb_waiter *w)
{
	if (w->prev != NULL)
		waiter_unlink(w);
}

static void missing_remove(struct zdb_ns *ns, struct missing *m)
{
	struct missing **p = &ns->missing;

	while (*p != m)
		p = &(*p)->next;
	*p = m->next;
}

/* Wakes one list.  It hangs at a local head first: a woken caller may wait again at once, for the same segment. */
static void wake_list(struct zdb_waiter **head, int err)
{
	struct zdb_waiter *list = *head, *ordered = NULL;

	*head = NULL;
	if (list == NULL)
		return;
	list->prev = &list;
	while (list != NULL) { /* it is newest first; they are woken in the order they came */
		struct zdb_waiter *w = list;

		waiter_unlink(w);
		waiter_push(&ordered, w);
	}
	while (ordered != NULL) {
		struct zdb_waiter *w = ordered;

		waiter_unlink(w);
		w->wake(w, err);
	}
}

void missing_wake(struct zdb_ns *ns, int64_t number, int err)
{
	struct missing *m = ns->missing;

	zdb_ns_ref(ns);
	while (m != NULL) {
		struct missing *next = m->next;

		if (number < 0 || m->number == (uint32_t)number) {
			if (m->asking) {
				m->answered = true;
				m->answer = err;
			} else {
				struct zdb_waiter *list = m->waiters;

				missing_remove(ns, m);
				mem_free(m);
				wake_list(&list, err);
				next = ns->missing; /* it may have changed; what was answered is gone from it */
				if (number >= 0)
					break;
			}
		}
		m = next;
	}
	zdb_ns_unref(ns);
}

void missing_tick(struct zdb_ns *ns, uint64_t now_ms, uint64_t *next_ms)
{
	struct missing *m = ns->missing;

	while (m != NULL) {
		struct missing *next = m->next;

		if (m->deadline_ms == 0)
			m->deadline_ms = now_ms + ns->eng->opt.missing_limit_ms;
		if (now_ms >= m->deadline_ms) {
			missing_wake(ns, m->number, -ETIMEDOUT);
			next = ns->missing;
		} else if (m->deadline_ms < *next_ms) {
			*next_ms = m->deadline_ms;
		}
		m = next;
	}
}

void zdb_segment_restored(struct zdb_ns *ns, uint32_t n)
{
	missing_wake(ns, n, 0);
}

void zdb_segment_failed(struct zdb_ns *ns, uint32_t n, int err)
{
	missing_wake(ns, n, err < 0 ? err : -EIO);
}

static int missing_ask(struct zdb_ns *ns, uint32_t number, struct missing **out)
{
	const struct zdb_events *ev = &ns->eng->ev;
	struct missing *m = mem_calloc(1, sizeof(*m));
	int rc;

	if (m == NULL)
		return -ENOMEM;
	m->number = number;
	m->next = ns->missing;
	ns->missing = m;
	m->asking = true;
	rc = ev->data_missing == NULL ? -EIO : ev->data_missing(ns->eng->opt.events_ctx, ns, number);
	m->asking = false;
	if (rc < 0 || m->answered) {
		rc = rc < 0 ? -EIO : m->answer;
		missing_remove(ns, m);
		mem_free(m);
		return rc; /* 0: it is back already */
	}
	if (ev->tick_wanted != NULL)
		ev->tick_wanted(ns->eng->opt.events_ctx, ZDB_INDEX_DELAY_MS); /* for the time limit */
	*out = m;
	return -EINPROGRESS;
}

/* The file that a record at (file, off) lies in, if it is here. */
int data_fd(struct zdb_ns *ns, uint32_t file, uint32_t off, struct zdb_fd **f)
{
	struct zdb_fd *other, *moving = compact_fd(ns, file, off, &other);

	if (moving == NULL)
		return fd_get(ns, DATA_FILE, file, f);
	moving->refs++;
	*f = moving;
	return 0;
}

/* The same; an absent one is asked for and w waits (w NULL: -EIO). */
int data_open(struct zdb_ns *ns, uint32_t file, uint32_t off, struct zdb_fd **f, struct zdb_waiter *w)
{
	struct missing *m;
	int rc = data_fd(ns, file, off, f);

	if (rc != -ENOENT)
		return rc == 0 || rc == -ENOMEM ? rc : -EIO;
	if (w == NULL || file >= ns->data.number)
		return -EIO; /* no such segment was ever closed: nobody can bring it */
	m = missing_find(ns, file);
	if (m == NULL) {
		rc = missing_ask(ns, file, &m);
		if (rc == 0)
			return fd_get(ns, DATA_FILE, file, f) == 0 ? 0 : -EIO;
		if (rc != -EINPROGRESS)
			return rc == -ENOMEM ? rc : -EIO;
	}
	waiter_push(&m->waiters, w);
	return -EINPROGRESS;
}
