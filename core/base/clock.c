/*
 * clock: time through the syscall table.
 */
#include "core/base/clock.h"

#include <stdio.h>

#include "core/base/sys.h"

static uint64_t now_ns(clockid_t clock)
{
	struct timespec ts = {0};

	/* Neither clock can fail on Linux; a test that makes it fail gets 0. */
	if (sys->clock_gettime(clock, &ts) < 0)
		return 0;
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t clock_mono_ns(void)
{
	return now_ns(CLOCK_MONOTONIC);
}

uint64_t clock_mono_ms(void)
{
	return clock_mono_ns() / 1000000u;
}

uint64_t clock_wall_ns(void)
{
	return now_ns(CLOCK_REALTIME);
}

uint64_t clock_wall_ms(void)
{
	return clock_wall_ns() / 1000000u;
}

uint64_t clock_wall_s(void)
{
	return clock_wall_ns() / 1000000000u;
}

uint64_t clock_deadline(int64_t timeout_ms)
{
	uint64_t deadline;

	if (timeout_ms < 0)
		return CLOCK_NEVER;
	if (__builtin_add_overflow(clock_mono_ms(), (uint64_t)timeout_ms, &deadline))
		return CLOCK_NEVER;
	return deadline;
}

int clock_left_ms(uint64_t deadline_ms)
{
	uint64_t now;

	if (deadline_ms == CLOCK_NEVER)
		return -1;
	now = clock_mono_ms();
	if (now >= deadline_ms)
		return 0;
	return deadline_ms - now > INT32_MAX ? INT32_MAX : (int)(deadline_ms - now);
}

/*
 * Days since 1970 to a date, for the proleptic Gregorian calendar: years begin in March, so that the leap day is the
 * last of a year, and 400 years have 146097 days.
 */
char *clock_iso(char dst[CLOCK_ISO_MAX], uint64_t wall_ms)
{
	uint64_t seconds = wall_ms / 1000, days = seconds / 86400 + 719468; /* since 0000-03-01 */
	unsigned rest = (unsigned)(seconds % 86400);
	uint64_t era = days / 146097;
	unsigned day_of_era = (unsigned)(days % 146097);
	unsigned year_of_era =
		(day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
	unsigned day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
	unsigned month = (5 * day_of_year + 2) / 153; /* from March = 0 */
	unsigned day = day_of_year - (153 * month + 2) / 5 + 1;
	uint64_t year = era * 400 + year_of_era + (month >= 10);

	month = month < 10 ? month + 3 : month - 9;
	snprintf(dst, CLOCK_ISO_MAX, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ", (unsigned)(year % 10000), month,
		 day, rest / 3600, rest / 60 % 60, rest % 60, (unsigned)(wall_ms % 1000));
	return dst;
}
