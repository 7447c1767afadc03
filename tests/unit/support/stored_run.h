/*
 * stored_run: a random history of one namespace whose closings are kept elsewhere (kept.h), with a model of it, for the tests of compaction beside stores.
 * What the bundles and contents of every closing say must be a state that the model had.
 */
#ifndef TESTS_UNIT_SUPPORT_STORED_RUN_H
#define TESTS_UNIT_SUPPORT_STORED_RUN_H

#include "tests/unit/support/kept.h"
#include "tests/unit/support/sys_test.h"
#include "tests/unit/support/zdb_util.h"

#define SR_OPS      240u
#define SR_IDS      (2u * SR_OPS)
#define SR_PREPARED 4u /* closed segments */

struct stored_run {
	struct zu u;
	enum zdb_mode mode;
	uint64_t keep_s, rng;
	struct sim_disk *disk;
	unsigned ops;
	uint16_t state[SR_OPS + 1][SR_IDS]; /* the operation that wrote each key, 1 + its number; 0 absent */
	unsigned closing[KEPT_SEGMENTS];    /* operations when segment n - 1 closed */
	unsigned told, steps, mixed_chances;
	bool is_at_cut; /* a directory after a power cut: its history is not known */
};

/* On the heap, in a directory of its own; nothing is opened. Every closing is kept, and compared with the index files as they are then. */
struct stored_run *sr_new(enum zdb_mode mode, uint64_t keep_s, uint64_t seed);
void sr_free(struct stored_run *r);
/* The engine at r->u keeps its closings, too. */
void sr_attach(struct stored_run *r);

/* One random operation, as long as there is room in the model; one SET. */
void sr_op(struct stored_run *r);
void sr_set(struct stored_run *r, unsigned key, bool insert);
/* SR_PREPARED closed segments of so many operations; opens and closes. */
void sr_prepare(struct stored_run *r, unsigned each);
/* All that is closed is said to be stored. */
void sr_stores_have_all(struct stored_run *r);

struct zdb_compact_options sr_options(const struct stored_run *r, unsigned step);
/* A compaction in steps, with operations in between, and a rotation at one of `jumps` chances (0 none), at every phase. */
struct zdb_compact_figures sr_compact(struct stored_run *r, unsigned step, unsigned jumps);

/* After how many operations, lower..upper, what `u` holds is the state; fails when it is none. `where` is for the message. */
unsigned sr_state_of(struct stored_run *r, struct zu *u, unsigned lower, unsigned upper, const char *where);
/* What a restore of the point that names the bundles of the first `closed_count` segments gives is the state after `ops` operations. */
void sr_check_restore(struct stored_run *r, const struct zu *from, uint32_t closed_count, unsigned ops,
		      const char *where);
/* The same of every closing until now. */
void sr_check_restores(struct stored_run *r, const char *what);
/* A file `name``number` of the namespace below a root. */
void sr_write_file(const char *dir, const char *name, uint32_t number, const void *b, size_t size);

#endif
