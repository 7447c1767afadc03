/*
 * fetch_int: one store call of a reader. It owns all that it touches, so that a reader may leave a slow one behind.
 */
#ifndef CORE_OBJECT_FETCH_INT_H
#define CORE_OBJECT_FETCH_INT_H

#include "core/object/place_int.h"
#include "core/object/work_int.h"

struct fetch {
	struct work_job job;
	struct obj_work *work;
	struct obj_store *store;
	struct value_key key;
	bool whole;      /* the whole value, for stores without ranges */
	uint64_t offset; /* ranges only */
	size_t want;     /* bytes of the range, or the most that a whole value may have */
	int result;
	size_t got;
	uint8_t *bytes;
	size_t cap;
	struct list link; /* among the spare ones of the work */
};

/* A fetch with room for `cap` bytes, spare or new. Without the lock. NULL without memory. */
struct fetch *fetch_new(struct obj_work *w, size_t cap);
/* Without the lock; not queued or running. */
void fetch_free(struct fetch *f);
/* Frees the spare ones. Without the lock. */
void fetch_drop_spare(struct obj_work *w);

#endif
