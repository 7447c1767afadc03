/*
 * list: an intrusive, circular, doubly linked list. The head is a link that belongs to no item.
 *
 *	struct job { struct list link; ... };
 *	struct list jobs;		list_init(&jobs); list_add_tail(&jobs, &job->link);
 *	list_each(&jobs, it) { struct job *j = container_of(it, struct job, link); ... }
 */
#ifndef CORE_BASE_LIST_H
#define CORE_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifndef container_of
#define container_of(ptr, type, member) ((type *)((uintptr_t)(ptr)-offsetof(type, member)))
#endif

struct list {
	struct list *prev, *next;
};

#define LIST_INIT(head)                                                                                      \
	{                                                                                                    \
		&(head), &(head)                                                                             \
	}

/* Makes an empty head, or an item that is in no list (so that list_is_linked and list_del are right about it). */
static inline void list_init(struct list *l)
{
	l->prev = l->next = l;
}

static inline bool list_is_empty(const struct list *head)
{
	return head->next == head;
}

/* Whether an item that was initialised or deleted by these functions is in a list. */
static inline bool list_is_linked(const struct list *item)
{
	return item->next != item;
}

static inline void list_add_between(struct list *prev, struct list *item, struct list *next)
{
	item->prev = prev;
	item->next = next;
	prev->next = item;
	next->prev = item;
}

static inline void list_add_head(struct list *head, struct list *item)
{
	list_add_between(head, item, head->next);
}

static inline void list_add_tail(struct list *head, struct list *item)
{
	list_add_between(head->prev, item, head);
}

/* Inserts `item` before `at`, which is an item of a list or its head. */
static inline void list_add_before(struct list *at, struct list *item)
{
	list_add_between(at->prev, item, at);
}

/* Takes the item out of its list; harmless when it is in none. */
static inline void list_del(struct list *item)
{
	item->prev->next = item->next;
	item->next->prev = item->prev;
	list_init(item);
}

static inline void list_move_tail(struct list *head, struct list *item)
{
	list_del(item);
	list_add_tail(head, item);
}

/* First or last item, NULL when empty. */
static inline struct list *list_first(const struct list *head)
{
	return list_is_empty(head) ? NULL : head->next;
}

static inline struct list *list_last(const struct list *head)
{
	return list_is_empty(head) ? NULL : head->prev;
}

/* Takes the first item out; NULL when empty. */
static inline struct list *list_pop(struct list *head)
{
	struct list *item = list_first(head);

	if (item)
		list_del(item);
	return item;
}

/* Moves all items of `from` to the end of `to`. */
static inline void list_splice_tail(struct list *to, struct list *from)
{
	if (list_is_empty(from))
		return;
	from->next->prev = to->prev;
	to->prev->next = from->next;
	from->prev->next = to;
	to->prev = from->prev;
	list_init(from);
}

#define list_each(head, it) for (struct list *it = (head)->next; it != (head); it = it->next)

/* The item at hand may be deleted or freed in the body. */
#define list_each_safe(head, it)                                                                             \
	for (struct list *it = (head)->next, *it##_next = it->next; it != (head);                            \
	     it = it##_next, it##_next = it->next)

#endif
