/*
 * pend.h - in-place index rewrites that wait in memory.
 *
 * A rewrite is either "set the flag" (user mode, and deletions) or a whole record without its key (sequential updates).
 * Reads lay it over what the file says.  At most ZDB_PENDING_MAX wait; the memory goes back when they are applied.
 */
#ifndef ZDB_PEND_H
#define ZDB_PEND_H

#include "core/zdb/fmt.h"

struct pend_item {
	uint32_t file;
	uint32_t off; /* of the index record; 0 = free slot */
	bool whole;   /* rec counts, else only "flag it deleted" */
	struct idx_rec rec;
};

struct pend {
	struct pend_item *slots;
	uint32_t size, used; /* size: power of two, or 0 */
};

void pend_release(struct pend *p);
struct pend_item *pend_find(const struct pend *p, uint32_t file, uint32_t off);
/* Room for so many more; afterwards as many calls of pend_put() cannot fail.  0 or -ENOMEM. */
int pend_reserve(struct pend *p, uint32_t more);
/* Adds a rewrite, or changes the one that waits for the same record (a flag keeps a whole record, flagged). */
void pend_put(struct pend *p, const struct pend_item *item);
/* Adds all rewrites of a newer set, which is empty then.  0; -ENOMEM: both are as they were. */
int pend_add_all(struct pend *p, struct pend *newer);
/* The items in (file, off) order: an array of `used` pointers to be freed with mem_free(); NULL on -ENOMEM. */
const struct pend_item **pend_sorted(const struct pend *p);

#endif
