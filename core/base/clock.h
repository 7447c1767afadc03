/*
 * clock: time, through the syscall table (tests can drive it).
 *
 * Deadlines and intervals use the monotonic clock; the wall clock is for stamps that people and formats see, never for
 * order: a small board may have no real-time clock and may jump.
 */
#ifndef CORE_BASE_CLOCK_H
#define CORE_BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

/* Monotonic (CLOCK_MONOTONIC), from an arbitrary start. */
uint64_t clock_mono_ns(void);
uint64_t clock_mono_ms(void);

/* Since 1970 UTC. */
uint64_t clock_wall_ns(void);
uint64_t clock_wall_ms(void);
uint64_t clock_wall_s(void);

/* The moment `timeout_ms` from now on the monotonic clock; never overflows. Negative = CLOCK_NEVER. */
#define CLOCK_NEVER UINT64_MAX
uint64_t clock_deadline(int64_t timeout_ms);
/* Milliseconds until then: 0 when it has passed, -1 for CLOCK_NEVER, at most INT32_MAX: fits poll(2). */
int clock_left_ms(uint64_t deadline_ms);

/* "2026-11-21T20:14:02.123Z"; CLOCK_ISO_MAX bytes are enough. Returns dst. */
#define CLOCK_ISO_MAX 32
char *clock_iso(char dst[CLOCK_ISO_MAX], uint64_t wall_ms);

#endif
