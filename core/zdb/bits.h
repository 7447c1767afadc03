/*
 * bits.h - a set of file numbers: one bit each, growing, with an ordered walk.
 */
#ifndef ZDB_BITS_H
#define ZDB_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bits {
	uint64_t *words;
	size_t count; /* words */
	size_t set;   /* members */
};

void bits_release(struct bits *b);
/* Makes room for n, so that bits_set(n) cannot fail.  0 or -ENOMEM. */
int bits_reserve(struct bits *b, uint32_t n);
void bits_set(struct bits *b, uint32_t n);
void bits_clear(struct bits *b, uint32_t n);
bool bits_has(const struct bits *b, uint32_t n);
void bits_clear_all(struct bits *b);
/* The first member >= from, or -1. */
int64_t bits_next(const struct bits *b, uint64_t from);

#endif
