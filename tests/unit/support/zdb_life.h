/*
 * zdb_life: a namespace of several segments in which values were set, updated and deleted across files, what it must answer, harm to
 * its index files, and the bundles that stores would have of it.
 */
#ifndef TESTS_UNIT_SUPPORT_ZDB_LIFE_H
#define TESTS_UNIT_SUPPORT_ZDB_LIFE_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/unit/support/zdb_util.h"

#define FILES 5u /* pairs; the last is the active one */
#define KEYS  60u
#define STEPS 40u /* per pair */

struct life {
	struct zu u;
	struct zdb_events ev;
	/* what the stores have: the bundle of each closed segment */
	uint8_t *bundle[FILES];
	size_t bundle_size[FILES];
	unsigned stored, asked; /* so many of them can be had; index files that were asked for */
	int (*spoil)(struct life *l, int fd, unsigned n);
	uint64_t rng;
	uint64_t ids[KEYS];
	unsigned known;
	unsigned version[KEYS], before[KEYS]; /* 0 = absent; before: the version that the live one replaced */
	unsigned last;
	struct zdb_ns_info info;
};

enum harm { MISSING, TORN_END, TORN_MIDDLE, HARMS };
extern const char *const life_harms[HARMS];

/* FILES pairs, stopped; a crash loses nothing that was written, but all rewrites that waited. */
void life_live(struct life *l, enum zdb_mode mode, uint64_t seed, bool crash);
void life_end(struct life *l);
/* One more version of key k. */
void life_set(struct life *l, unsigned k);
/* Values, figures and some history are as they must be; fails the test, saying where, when not. */
void life_compare(struct life *l, const char *where);
/* Index file n is damaged. */
void life_harm(struct life *l, unsigned n, enum harm harm);
/* All is there; writes, stops, is checked, starts again, and all is there still; stopped. */
void life_goes_on(struct life *l, const char *where);
/*
 * Starts over and over with the files as they are now, each time with a system call later failing, it and all that follow (once: it alone,
 * every second time).  The start after that mends what is to be mended; `opened` is called then, NULL: nothing to do.  How many.
 */
unsigned life_interrupted(struct life *l, bool once, void (*opened)(struct life *l));

#endif
