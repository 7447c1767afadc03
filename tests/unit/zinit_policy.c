/* When a service is started again, and when its test is run again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "applets/zinit/policy.h"

static struct unit daemon_unit(void)
{
	return (struct unit){
		.restart_delay_ms = 100, .restart_max_delay_ms = 30000, .test_interval_ms = 2000};
}

static void verdicts(void **state)
{
	struct unit u = daemon_unit();

	(void)state;
	assert_int_equal(policy_after_exit(&u, true, 1), POLICY_START_AGAIN);
	assert_int_equal(policy_after_exit(&u, false, 1000000), POLICY_START_AGAIN);
	u.restart = UNIT_RESTART_ON_FAILURE;
	assert_int_equal(policy_after_exit(&u, true, 1), POLICY_STAY_DOWN);
	assert_int_equal(policy_after_exit(&u, false, 1), POLICY_START_AGAIN);
	u.restart_limit = 3;
	assert_int_equal(policy_after_exit(&u, false, 3), POLICY_START_AGAIN);
	assert_int_equal(policy_after_exit(&u, false, 4), POLICY_LIMIT_REACHED);
	u.restart = UNIT_RESTART_NEVER;
	assert_int_equal(policy_after_exit(&u, false, 1), POLICY_STAY_DOWN);
	u = daemon_unit();
	u.is_oneshot = 1;
	assert_int_equal(policy_after_exit(&u, false, 1), POLICY_STAY_DOWN);
	u.retry = 2;
	assert_int_equal(policy_after_exit(&u, true, 1), POLICY_STAY_DOWN);
	assert_int_equal(policy_after_exit(&u, false, 2), POLICY_START_AGAIN);
	assert_int_equal(policy_after_exit(&u, false, 3), POLICY_LIMIT_REACHED);
}

static void delays(void **state)
{
	static const uint64_t want[] = {0, 100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000};
	struct unit u = daemon_unit();

	(void)state;
	for (uint32_t i = 0; i < sizeof(want) / sizeof(want[0]); i++)
		assert_int_equal(policy_delay_ms(&u, i + 1), want[i]);
	assert_int_equal(policy_delay_ms(&u, UINT32_MAX), 30000);
	/* A delay that was asked for holds from the first restart on, and is never cut by the default cap. */
	u.has_restart_delay = 1;
	u.restart_delay_ms = 500;
	assert_int_equal(policy_delay_ms(&u, 1), 500);
	assert_int_equal(policy_delay_ms(&u, 3), 2000);
	u.restart_delay_ms = 60000;
	assert_int_equal(policy_delay_ms(&u, 1), 60000);
	assert_int_equal(policy_delay_ms(&u, 9), 60000);
	u.restart_delay_ms = 0;
	assert_int_equal(policy_delay_ms(&u, 50), 0);
}

static void tests_again(void **state)
{
	static const uint64_t want[] = {50, 100, 200, 500, 2000, 2000};
	struct unit u = daemon_unit();

	(void)state;
	for (uint32_t i = 0; i < sizeof(want) / sizeof(want[0]); i++)
		assert_int_equal(policy_test_delay_ms(&u, i + 1, false), want[i]);
	/* One that cannot even be run: slower and slower, never a storm of forks. */
	assert_int_equal(policy_test_delay_ms(&u, 1, true), 2000);
	assert_int_equal(policy_test_delay_ms(&u, 3, true), 8000);
	assert_int_equal(policy_test_delay_ms(&u, 1000, true), 30000);
	u.has_test_interval = 1;
	u.test_interval_ms = 10;
	assert_int_equal(policy_test_delay_ms(&u, 1, false), 10);
	assert_int_equal(policy_test_delay_ms(&u, 1, true), 500);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(verdicts),
		cmocka_unit_test(delays),
		cmocka_unit_test(tests_again),
	};

	return cmocka_run_group_tests_name("zinit: policy", tests, NULL, NULL);
}
