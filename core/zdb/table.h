/*
 * table.h - user mode's map from key to record, without the keys.
 *
 * 16 bytes per entry: 32 bits of the key's hash, number of the index file (= number of the data file), offset of the
 * index record in it, offset of the data record in it.  The key is on disk and is compared there by the caller.
 * Extendible hashing: a directory of blocks; a block grows by half from 64 to 4,096 slots and then splits in two, so
 * that no insertion ever moves more than 4,096 entries and the load is between 58 and 88 percent: 18 to 28 bytes per
 * key.  Linear probing, deletion by shifting back, no tombstones.
 */
#ifndef ZDB_TABLE_H
#define ZDB_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct entry {
	uint32_t tag;
	uint32_t file;
	uint32_t index_off;
	uint32_t data_off; /* 0 = free slot: no data record lies at 0 */
};

struct block;

struct table {
	struct block **dir; /* 2^depth pointers; NULL = empty table */
	unsigned depth;
	uint64_t count;
	size_t memory;
};

void table_init(struct table *t);
void table_release(struct table *t);

/* Candidates for a tag: start with *at = UINT32_MAX, repeat until NULL.  The table must not change in between. */
struct entry *table_next(const struct table *t, uint32_t tag, uint32_t *at);

/* Makes room for one insertion of this tag: afterwards table_insert() of it cannot fail.  0 or -ENOMEM. */
int table_reserve(struct table *t, uint32_t tag);
void table_insert(struct table *t, const struct entry *e);

/* Removes an entry that table_next() returned. */
void table_remove(struct table *t, struct entry *e);

#endif
