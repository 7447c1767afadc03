/*
 * map_count: counts what is mapped through the system call table, and refuses it when a test says so.
 */
#ifndef TESTS_UNIT_SUPPORT_MAP_COUNT_H
#define TESTS_UNIT_SUPPORT_MAP_COUNT_H

#include <stdint.h>

#include "core/base/sys.h"

struct map_count {
	unsigned made, undone;
	uint64_t bytes_now, bytes_most;
	int error; /* what mmap fails with; 0 = it does not */
};

/* Since map_count_begin(), which takes mmap and munmap of this table. */
extern struct map_count map_count;
void map_count_begin(struct sys_ops *table);

#endif
