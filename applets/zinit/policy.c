/*
 * policy: see policy.h. The figures are those of the specification: first restart at once, then 0.1 s to 30 s.
 */
#include "applets/zinit/policy.h"

enum policy_verdict policy_after_exit(const struct unit *unit, bool is_success, uint32_t attempts)
{
	if (unit->is_oneshot) {
		if (is_success)
			return POLICY_STAY_DOWN;
		if (unit->retry == 0)
			return POLICY_STAY_DOWN;
		return attempts <= unit->retry ? POLICY_START_AGAIN : POLICY_LIMIT_REACHED;
	}
	if (unit->restart == UNIT_RESTART_NEVER || (unit->restart == UNIT_RESTART_ON_FAILURE && is_success))
		return POLICY_STAY_DOWN;
	if (unit->restart_limit && attempts > unit->restart_limit)
		return POLICY_LIMIT_REACHED;
	return POLICY_START_AGAIN;
}

static uint64_t doubled(uint64_t base_ms, uint32_t times, uint64_t max_ms)
{
	uint64_t ms = base_ms;

	while (times-- > 0 && ms < max_ms)
		ms *= 2;
	return ms < max_ms ? ms : max_ms;
}

uint64_t policy_delay_ms(const struct unit *unit, uint32_t attempts)
{
	if (unit->has_restart_delay) {
		uint64_t max = unit->restart_max_delay_ms;

		/* A delay that was asked for is never cut by the default of the other key. */
		if (max < unit->restart_delay_ms)
			max = unit->restart_delay_ms;
		return doubled(unit->restart_delay_ms, attempts > 1 ? attempts - 1 : 0, max);
	}
	if (attempts <= 1)
		return 0;
	return doubled(unit->restart_delay_ms, attempts - 2, unit->restart_max_delay_ms);
}

uint64_t policy_test_delay_ms(const struct unit *unit, uint32_t failures, bool is_broken)
{
	static const uint64_t quick_ms[] = {50, 100, 200, 500};
	enum { QUICK = sizeof(quick_ms) / sizeof(quick_ms[0]) };

	if (is_broken)
		return doubled(unit->test_interval_ms < 500 ? 500 : unit->test_interval_ms,
			       failures > 1 ? failures - 1 : 0, 30000);
	if (unit->has_test_interval || failures == 0 || failures > QUICK)
		return unit->test_interval_ms;
	return quick_ms[failures - 1] < unit->test_interval_ms ? quick_ms[failures - 1]
							       : unit->test_interval_ms;
}
