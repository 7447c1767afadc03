/*
 * counters: a process-wide list of atomics.
 */
#include "core/base/counters.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER; /* guards first and the next links */
static struct counter *first;

void counter_register(struct counter *c)
{
	struct counter **link = &first;

	pthread_mutex_lock(&list_lock);
	while (*link && *link != c)
		link = &(*link)->next;
	if (!*link) {
		c->next = NULL;
		*link = c;
	}
	pthread_mutex_unlock(&list_lock);
}

void counter_unregister(struct counter *c)
{
	struct counter **link = &first;

	pthread_mutex_lock(&list_lock);
	while (*link && *link != c)
		link = &(*link)->next;
	if (*link)
		*link = c->next;
	pthread_mutex_unlock(&list_lock);
}

void counter_add(struct counter *c, int64_t n)
{
	atomic_fetch_add_explicit(&c->value, n, memory_order_relaxed);
}

void counter_set(struct counter *c, int64_t value)
{
	atomic_store_explicit(&c->value, value, memory_order_relaxed);
}

void counter_max(struct counter *c, int64_t value)
{
	int64_t have = counter_get(c);

	while (have < value && !atomic_compare_exchange_weak(&c->value, &have, value))
		;
}

int64_t counter_get(const struct counter *c)
{
	return atomic_load_explicit(&c->value, memory_order_relaxed);
}

int counters_each(int (*each)(void *ctx, const struct counter *c), void *ctx)
{
	int answer = 0;

	pthread_mutex_lock(&list_lock);
	for (struct counter *c = first; c && answer == 0; c = c->next)
		answer = each(ctx, c);
	pthread_mutex_unlock(&list_lock);
	return answer;
}

/* Whether an earlier counter has the same name: HELP and TYPE have been printed with it. */
static bool is_continued(const struct counter *c)
{
	for (const struct counter *p = first; p != c; p = p->next) {
		if (strcmp(p->name, c->name) == 0)
			return true;
	}
	return false;
}

static int print_value(struct buf *out, const struct counter *c)
{
	if (c->labels)
		return buf_append_fmt(out, "%s{%s} %lld\n", c->name, c->labels, (long long)counter_get(c));
	return buf_append_fmt(out, "%s %lld\n", c->name, (long long)counter_get(c));
}

/* The text format wants all lines of one name together: the first of a name brings the others with it. */
static int print_name(void *ctx, const struct counter *c)
{
	struct buf *out = ctx;
	int code;

	if (is_continued(c))
		return 0;
	code = buf_append_fmt(out, "# HELP %s %s\n# TYPE %s %s\n", c->name, c->help, c->name,
			      c->kind == COUNTER_TOTAL ? "counter" : "gauge");
	for (const struct counter *p = c; p && code == 0; p = p->next) {
		if (strcmp(p->name, c->name) == 0)
			code = print_value(out, p);
	}
	return code;
}

int counters_print(struct buf *out)
{
	size_t len = out->len;
	int code = counters_each(print_name, out);

	if (code)
		buf_truncate(out, len);
	return code;
}
