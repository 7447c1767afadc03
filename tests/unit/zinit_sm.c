/* The life of a service: every state x event, written down a second time as text, and rules that hold over all of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "applets/zinit/sm.h"

static const char *const action_names[SM_ACTION_COUNT] = {
	[SM_DO_NOTHING] = "-",     [SM_DO_WAIT] = "wait",          [SM_DO_SPAWN] = "spawn",
	[SM_DO_WATCH] = "watch",   [SM_DO_ANNOUNCE] = "announce",  [SM_DO_DRAIN] = "drain",
	[SM_DO_SIGNAL] = "signal", [SM_DO_START_TIMEOUT] = "late", [SM_DO_UNHEALTHY] = "unhealthy",
	[SM_DO_SWEEP] = "sweep",   [SM_DO_KILL] = "kill",          [SM_DO_DELAY] = "delay",
	[SM_DO_END] = "end",       [SM_DO_FAIL] = "fail",          [SM_DO_BUG] = "BUG",
};

/* One row per state; columns in the order of enum sm_event. "=" stays without doing anything. */
static const char *const expected[SM_STATE_COUNT][SM_EVENT_COUNT] = {
	/*                start          stop             deps-ready       exec-ok         exec-fail    fork-fail
	 *                ready          unhealthy        exit-linger      exit-again      exit-final   drained
	 *                timeout        force */
	[SM_IDLE] = {"blocked wait", "=", "=", "BUG", "BUG", "BUG", "=", "=", "BUG", "BUG", "BUG", "=", "=",
		     "="},
	[SM_BLOCKED] = {"blocked wait", "idle end", "starting spawn", "BUG", "BUG", "BUG", "=", "=", "BUG",
			"BUG", "BUG", "=", "=", "idle end"},
	[SM_STARTING] = {"=", "stopping signal", "=", "spawned watch", "idle fail", "backoff delay", "=", "=",
			 "linger sweep", "backoff delay", "idle end", "=", "killing kill", "killing kill"},
	[SM_SPAWNED] = {"=", "draining drain", "=", "BUG", "BUG", "BUG", "running announce", "=",
			"linger sweep", "backoff delay", "idle end", "=", "stopping late", "killing kill"},
	[SM_RUNNING] = {"=", "draining drain", "=", "BUG", "BUG", "BUG", "=", "stopping unhealthy",
			"linger sweep", "backoff delay", "idle end", "=", "=", "killing kill"},
	[SM_DRAINING] = {"=", "=", "=", "=", "BUG", "BUG", "=", "=", "linger sweep", "backoff delay",
			 "idle end", "stopping signal", "stopping signal", "killing kill"},
	[SM_STOPPING] = {"=", "=", "=", "=", "idle fail", "BUG", "=", "=", "linger sweep", "backoff delay",
			 "idle end", "=", "killing kill", "killing kill"},
	[SM_LINGER] = {"=", "=", "=", "=", "BUG", "BUG", "=", "=", "=", "backoff delay", "idle end", "=",
		       "killing kill", "killing kill"},
	[SM_KILLING] = {"=", "=", "=", "=", "idle fail", "BUG", "=", "=", "=", "backoff delay", "idle end",
			"=", "killing kill", "killing kill"},
	[SM_BACKOFF] = {"blocked wait", "idle end", "=", "BUG", "BUG", "BUG", "=", "=", "BUG", "BUG", "BUG",
			"=", "blocked wait", "idle end"},
};

static void every_cell(void **state)
{
	(void)state;
	for (int s = 0; s < SM_STATE_COUNT; s++) {
		for (int e = 0; e < SM_EVENT_COUNT; e++) {
			struct sm_cell cell = sm_step((enum sm_state)s, (enum sm_event)e);
			char text[64];

			if (cell.action == SM_DO_NOTHING && cell.next == s)
				snprintf(text, sizeof(text), "=");
			else if (cell.action == SM_DO_BUG && cell.next == s)
				snprintf(text, sizeof(text), "BUG");
			else
				snprintf(text, sizeof(text), "%s %s", sm_state_name((enum sm_state)cell.next),
					 action_names[cell.action]);
			if (strcmp(text, expected[s][e]) != 0)
				fail_msg("%s x %s: %s, expected %s", sm_state_name((enum sm_state)s),
					 sm_event_name((enum sm_event)e), text, expected[s][e]);
		}
	}
}

static bool has_process(int state)
{
	return state != SM_IDLE && state != SM_BLOCKED && state != SM_BACKOFF;
}

/* What must never happen, whatever the table says in detail. */
static void rules(void **state)
{
	(void)state;
	for (int s = 0; s < SM_STATE_COUNT; s++) {
		for (int e = 0; e < SM_EVENT_COUNT; e++) {
			struct sm_cell cell = sm_step((enum sm_state)s, (enum sm_event)e);

			assert_in_range(cell.next, 0, SM_STATE_COUNT - 1);
			assert_in_range(cell.action, 0, SM_ACTION_COUNT - 1);
			/* A second process is never made while one exists. */
			if (cell.action == SM_DO_SPAWN)
				assert_false(has_process(s));
			/* A process is never forgotten: only its end, or the news that it never ran, leads away. */
			if (has_process(s) && !has_process(cell.next))
				assert_true(e == SM_EV_EXIT_AGAIN || e == SM_EV_EXIT_FINAL ||
					    e == SM_EV_EXEC_FAIL || e == SM_EV_FORK_FAIL);
			/* SIGKILL comes after a limit or by force, never by a stop. */
			if (cell.action == SM_DO_KILL)
				assert_true(e == SM_EV_TIMEOUT || e == SM_EV_FORCE);
			/* BUG changes nothing. */
			if (cell.action == SM_DO_BUG)
				assert_int_equal(cell.next, s);
		}
		/* A stop always leads towards the end, and can be asked for in any state. */
		assert_int_not_equal(sm_step((enum sm_state)s, SM_EV_STOP).action, SM_DO_BUG);
		assert_int_not_equal(sm_step((enum sm_state)s, SM_EV_STOP).next, SM_RUNNING);
		/* Every state that waits for a process can be ended by force. */
		if (has_process(s))
			assert_int_equal(sm_step((enum sm_state)s, SM_EV_FORCE).next, SM_KILLING);
	}
}

static void names(void **state)
{
	(void)state;
	for (int s = 0; s < SM_STATE_COUNT; s++)
		for (int t = 0; t < s; t++)
			assert_string_not_equal(sm_state_name((enum sm_state)s),
						sm_state_name((enum sm_state)t));
	for (int s = 0; s < SM_EVENT_COUNT; s++)
		for (int t = 0; t < s; t++)
			assert_string_not_equal(sm_event_name((enum sm_event)s),
						sm_event_name((enum sm_event)t));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_cell),
		cmocka_unit_test(rules),
		cmocka_unit_test(names),
	};

	return cmocka_run_group_tests_name("zinit: state table", tests, NULL, NULL);
}
