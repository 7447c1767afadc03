/*
 * ahead_rig: an engine whose rotations go on ahead of the disk, and what lies in the directories of its namespace `default`.
 */
#ifndef TESTS_UNIT_SUPPORT_AHEAD_RIG_H
#define TESTS_UNIT_SUPPORT_AHEAD_RIG_H

#include "tests/unit/support/zdb_util.h"

/* What the engine has told of closed segments since ar_begin(). */
extern struct ar_closed {
	unsigned told;
	uint32_t last;
} ar_closed;

/* A new store, open; every rotation goes ahead, however little there is to make durable. */
void ar_begin(struct zu *u, enum zdb_mode mode);

/* Files of `default` below a root whose names have that part, and the name of one of them. */
struct ar_seen {
	const char *part;
	unsigned count;
	char name[64];
};
struct ar_seen ar_look(const char *root, const char *part);
/* Of both roots: those that have not got their own names. */
unsigned ar_temporary(const struct zu *u);
bool ar_exists(const struct zu *u, bool data, const char *name);
void ar_move(const char *root, const char *from, const char *to);

/* Two values in segment 0, then one in a successor that has no name of its own yet. */
void ar_fill(struct zu *u);
/* As ar_fill() has left them. */
void ar_all_there(struct zu *u);

/* A clean stop, nothing left under a temporary name, a check; removes it all. */
void ar_finish(struct zu *u);

#endif
