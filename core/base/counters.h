/*
 * counters: named numbers that status and metrics show.
 *
 *	static struct counter stored = COUNTER("qsfs_zstor_stored_total", "files stored");
 *	counter_register(&stored);	counter_add(&stored, 1);
 *
 * Registration happens at start-up, before threads; values change from any thread without a lock. Names and labels are
 * static strings: `labels` is the text between the braces of the Prometheus line, or NULL.
 */
#ifndef CORE_BASE_COUNTERS_H
#define CORE_BASE_COUNTERS_H

#include <stdint.h>

#include "core/base/buf.h"

enum counter_kind {
	COUNTER_TOTAL, /* only grows */
	COUNTER_GAUGE, /* goes up and down; signed */
};

struct counter {
	const char *name, *help, *labels;
	enum counter_kind kind;
	_Atomic int64_t value;
	struct counter *next; /* private */
};

#define COUNTER(NAME, HELP)                                                                                  \
	{                                                                                                    \
		.name = (NAME), .help = (HELP), .kind = COUNTER_TOTAL                                        \
	}
#define GAUGE(NAME, HELP)                                                                                    \
	{                                                                                                    \
		.name = (NAME), .help = (HELP), .kind = COUNTER_GAUGE                                        \
	}

/* Adds to the process-wide list; a second registration of the same counter does nothing. */
void counter_register(struct counter *c);
/* Takes it off the list (for counters that live in something that is released). */
void counter_unregister(struct counter *c);

/* Any thread, lock-free; the value alone is exact, several counters are not read at one instant. */
void counter_add(struct counter *c, int64_t n);
void counter_set(struct counter *c, int64_t value);
/* Keeps the larger of the present value and `value`. */
void counter_max(struct counter *c, int64_t value);
int64_t counter_get(const struct counter *c);

/* Calls `each` for every registered counter, in order of registration; stops and returns the first non-zero answer. */
int counters_each(int (*each)(void *ctx, const struct counter *c), void *ctx);

/* Appends all as Prometheus text (HELP and TYPE once per name). 0, -E_LIMIT, -ENOMEM. */
int counters_print(struct buf *out);

#endif
