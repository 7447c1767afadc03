/*
 * zdb_flights: an owner of an engine that writes large values by flights, for tests: when they run and when they end is up to the test.
 * Values are lent from memory that is spoiled when it comes back.
 */
#ifndef TESTS_UNIT_SUPPORT_ZDB_FLIGHTS_H
#define TESTS_UNIT_SUPPORT_ZDB_FLIGHTS_H

#include "core/zdb/zdb.h"

#define FLEET_MAX 64u

struct fleet {
	struct zdb_events events;
	struct zdb_flight *queue[FLEET_MAX]; /* as they were announced */
	unsigned count, run; /* the first `run` of them have run */
	unsigned started, lent, back;
	int refuse; /* the answer to an announcement */
};

/* Sets events and gather_writes of the options; the fleet outlives the engine. */
void fleet_init(struct fleet *f, struct zdb_options *opt);

/* zdb_set_lent() with a copy of the value that is overwritten and freed when the engine has given it back. */
int fleet_set(struct fleet *f, struct zdb_ns *ns, const void *key, size_t klen, const void *value, size_t vlen,
	      uint32_t ts, struct zdb_set_result *result);

/* Runs the oldest that has not run; ends the oldest that has run: what done said, 0 when there is none. */
void fleet_run(struct fleet *f);
int fleet_end(struct fleet *f);
/* All of them; the first error. */
int fleet_end_all(struct fleet *f);
/* One of the two, or nothing, by the dice. */
void fleet_step(struct fleet *f, uint64_t dice);
/* Each lent value has come back. */
bool fleet_even(const struct fleet *f);

#endif
