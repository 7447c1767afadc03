/*
 * policy: whether and when a service that has ended is started again. Pure functions.
 */
#ifndef ZINIT_POLICY_H
#define ZINIT_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#include "applets/zinit/unit.h"

enum {
	POLICY_STABLE_MS = 60000, /* a run this long forgets earlier failures */
};

enum policy_verdict {
	POLICY_STAY_DOWN,
	POLICY_START_AGAIN,
	POLICY_LIMIT_REACHED, /* stays down: restart_limit or retry is used up */
};

/*
 * For a service that has ended by itself. `is_success`: it exited with 0. `attempts`: its ends in a row, this one
 * included, without a stable run between.
 */
enum policy_verdict policy_after_exit(const struct unit *unit, bool is_success, uint32_t attempts);

/*
 * Milliseconds before the next start: none after the first end, then 0.1 s, doubling up to restart_max_delay. A unit
 * that sets restart_delay has that before the first restart too.
 */
uint64_t policy_delay_ms(const struct unit *unit, uint32_t attempts);

/* Milliseconds before the next run of a test that failed `failures` times in a row; is_broken: it could not be run. */
uint64_t policy_test_delay_ms(const struct unit *unit, uint32_t failures, bool is_broken);

#endif
