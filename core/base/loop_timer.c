/*
 * loop_timer: the timers of a loop, in a pairing heap (Fredman, Sedgewick, Sleator, Tarjan, 1986) whose links are in the
 * timers themselves: no allocation and no bound. Arming is O(1), removing the first O(log n) amortised.
 */
#include "core/base/loop.h"

#include "core/base/clock.h"
#include "core/base/loop_int.h"

static bool is_before(const struct loop_timer *a, const struct loop_timer *b)
{
	return a->deadline_ms != b->deadline_ms ? a->deadline_ms < b->deadline_ms : a->seq < b->seq;
}

/* Makes one heap of two; either may be NULL. Neither root has siblings. */
static struct loop_timer *meld(struct loop_timer *a, struct loop_timer *b)
{
	if (!a || !b)
		return a ? a : b;
	if (is_before(b, a)) {
		struct loop_timer *t = a;

		a = b;
		b = t;
	}
	b->prev = a; /* the first child's prev is its parent */
	b->next = a->child;
	if (a->child)
		a->child->prev = b;
	a->child = b;
	return a;
}

/* Makes one heap of a row of siblings: pairs from the left, then all of them from the right. */
static struct loop_timer *meld_row(struct loop_timer *row)
{
	struct loop_timer *pairs = NULL, *root = NULL;

	while (row) {
		struct loop_timer *a = row, *b = a->next, *pair;

		row = b ? b->next : NULL;
		a->prev = a->next = NULL;
		if (b)
			b->prev = b->next = NULL;
		pair = meld(a, b);
		pair->next = pairs;
		pairs = pair;
	}
	while (pairs) {
		struct loop_timer *pair = pairs;

		pairs = pair->next;
		pair->next = NULL;
		root = meld(root, pair);
	}
	return root;
}

void loop_timer_init(struct loop_timer *timer, void (*fn)(struct loop_timer *), void *ctx)
{
	*timer = (struct loop_timer){.fn = fn, .ctx = ctx};
}

void loop_timer_stop(struct loop_timer *timer)
{
	struct loop *loop = timer->loop;
	struct loop_timer *below;

	if (!loop)
		return;
	below = meld_row(timer->child);
	if (loop->timers == timer) {
		loop->timers = below;
	} else {
		if (timer->prev->child == timer)
			timer->prev->child = timer->next;
		else
			timer->prev->next = timer->next;
		if (timer->next)
			timer->next->prev = timer->prev;
		loop->timers = meld(loop->timers, below);
	}
	timer->child = timer->next = timer->prev = NULL;
	timer->loop = NULL;
}

void loop_timer_start_at(struct loop *loop, struct loop_timer *timer, uint64_t deadline_ms)
{
	loop_timer_stop(timer);
	timer->deadline_ms = deadline_ms;
	timer->seq = ++loop->timer_seq;
	timer->loop = loop;
	loop->timers = meld(loop->timers, timer);
}

void loop_timer_start(struct loop *loop, struct loop_timer *timer, uint64_t delay_ms)
{
	uint64_t deadline;

	if (__builtin_add_overflow(clock_mono_ms(), delay_ms, &deadline))
		deadline = CLOCK_NEVER;
	loop_timer_start_at(loop, timer, deadline);
}

bool loop_timer_is_armed(const struct loop_timer *timer)
{
	return timer->loop != NULL;
}

int loop_timers_wait_ms(const struct loop *loop)
{
	return loop->timers ? clock_left_ms(loop->timers->deadline_ms) : -1;
}

void loop_timers_fire(struct loop *loop)
{
	uint64_t last_seq = loop->timer_seq; /* what callbacks arm now waits for the next round */

	while (loop->timers && loop->timers->deadline_ms <= loop->now_ms && loop->timers->seq <= last_seq) {
		struct loop_timer *timer = loop->timers;

		loop_timer_stop(timer);
		timer->fn(timer);
	}
}

void loop_timers_forget(struct loop *loop)
{
	while (loop->timers)
		loop_timer_stop(loop->timers);
}
