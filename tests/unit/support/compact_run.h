/*
 * compact_run: a random history of one namespace with a model of it, for the tests of compaction. Whatever happened to the files, the namespace must
 * hold what the model had after some number of operations, and what was promised of its versions.
 */
#ifndef TESTS_UNIT_SUPPORT_COMPACT_RUN_H
#define TESTS_UNIT_SUPPORT_COMPACT_RUN_H

#include "tests/unit/support/sys_test.h"
#include "tests/unit/support/zdb_util.h"

#define CR_OPS 150u
#define CR_IDS (CR_OPS * 2u)

struct compact_op {
	uint32_t len;
	uint16_t fill;   /* of the value */
	uint16_t before; /* version of the key that it superseded: 0 none, else 1 + operation */
	uint64_t calls;  /* recorded when it began */
};

struct compact_run {
	struct zu u;
	enum zdb_mode mode;
	uint64_t keep_s, rng;
	struct sim_disk *disk; /* NULL = nothing is recorded */
	unsigned ops;
	struct compact_op op[CR_OPS];
	uint16_t state[CR_OPS + 1][CR_IDS]; /* version of each key after so many operations, as in `before` */
	struct {
		uint64_t calls;
		unsigned ops;
	} acks[CR_OPS];
	unsigned ack_count, steps;
};

/* On the heap, in a directory of its own; nothing is opened. */
struct compact_run *cr_new(enum zdb_mode mode, uint64_t keep_s, uint64_t seed);
void cr_free(struct compact_run *r);
struct zdb_compact_options cr_options(const struct compact_run *r, unsigned step);
/* Keys that there can be. */
unsigned cr_keys(const struct compact_run *r);

/* One random operation, as long as there is room in the model. */
void cr_op(struct compact_run *r);
/* What the server does each second: rewrites that wait get into the index files, unsynced. */
void cr_tick(struct compact_run *r);
/* Four closed segments of so many operations and an active one; opens and closes. */
void cr_prepare(struct compact_run *r, unsigned each);
/* One compaction in steps of a few records, with operations between them, and with a look at everything. */
void cr_interleave(struct compact_run *r, unsigned ops_each, bool look);

/*
 * What `u` holds, which may be another place's copy of the run's directories; `where` is for the message of a failure. cr_version:
 * the version that a key holds, 0 absent. cr_check: all keys, their versions, lists and figures are as after `ops` operations.
 */
unsigned cr_version(struct compact_run *r, struct zu *u, unsigned key, const char *where);
void cr_check(struct compact_run *r, struct zu *u, unsigned ops, const char *where);
void cr_check_scan(struct zu *u, unsigned live, const char *where);
/* No file of a compaction is left. */
void cr_no_litter(struct zu *u, char *where);
/* Bytes of the first `segments` data files. */
uint64_t cr_data_bytes(struct zu *u, unsigned segments);

#endif
