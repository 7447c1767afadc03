/*
 * sm: the table, see sm.h. A row is a state, a column an event. Read it as: "in SM_SPAWNED, SM_EV_READY leads
 * to SM_RUNNING and tells the dependents".
 *
 * GO(state, action) is a transition, STAY an event that changes nothing (for instance a late test result), and
 * BUG one that the rest of the program must never produce (an exit of a service without a process).
 */
#include "sm.h"

#define GO(state, act)                                                                                       \
	{                                                                                                    \
		.next = SM_##state, .action = SM_DO_##act                                                    \
	}
#define STAY(state) GO(state, NOTHING)
#define BUG(state)  GO(state, BUG)

static const struct sm_cell table[SM_STATE_COUNT][SM_EVENT_COUNT] =
	{
		[SM_IDLE] =
			{
				[SM_EV_START] = GO(BLOCKED, WAIT),
				[SM_EV_STOP] = STAY(IDLE),
				[SM_EV_DEPS_READY] = STAY(IDLE),
				[SM_EV_EXEC_OK] = BUG(IDLE),
				[SM_EV_EXEC_FAIL] = BUG(IDLE),
				[SM_EV_FORK_FAIL] = BUG(IDLE),
				[SM_EV_READY] = STAY(IDLE),
				[SM_EV_UNHEALTHY] = STAY(IDLE),
				[SM_EV_EXIT_LINGER] = BUG(IDLE),
				[SM_EV_EXIT_AGAIN] = BUG(IDLE),
				[SM_EV_EXIT_FINAL] = BUG(IDLE),
				[SM_EV_DRAINED] = STAY(IDLE),
				[SM_EV_TIMEOUT] = STAY(IDLE),
				[SM_EV_FORCE] = STAY(IDLE),
			},
		[SM_BLOCKED] =
			{
				[SM_EV_START] = GO(BLOCKED, WAIT),
				[SM_EV_STOP] = GO(IDLE, END),
				[SM_EV_DEPS_READY] = GO(STARTING, SPAWN),
				[SM_EV_EXEC_OK] = BUG(BLOCKED),
				[SM_EV_EXEC_FAIL] = BUG(BLOCKED),
				[SM_EV_FORK_FAIL] = BUG(BLOCKED),
				[SM_EV_READY] = STAY(BLOCKED),
				[SM_EV_UNHEALTHY] = STAY(BLOCKED),
				[SM_EV_EXIT_LINGER] = BUG(BLOCKED),
				[SM_EV_EXIT_AGAIN] = BUG(BLOCKED),
				[SM_EV_EXIT_FINAL] = BUG(BLOCKED),
				[SM_EV_DRAINED] = STAY(BLOCKED),
				[SM_EV_TIMEOUT] = STAY(BLOCKED),
				[SM_EV_FORCE] = GO(IDLE, END),
			},
		[SM_STARTING] =
			{
				[SM_EV_START] = STAY(STARTING),
				[SM_EV_STOP] = GO(STOPPING, SIGNAL),
				[SM_EV_DEPS_READY] = STAY(STARTING),
				[SM_EV_EXEC_OK] = GO(SPAWNED, WATCH),
				[SM_EV_EXEC_FAIL] = GO(IDLE, FAIL),
				[SM_EV_FORK_FAIL] = GO(BACKOFF, DELAY),
				[SM_EV_READY] = STAY(STARTING),
				[SM_EV_UNHEALTHY] = STAY(STARTING),
				[SM_EV_EXIT_LINGER] = GO(LINGER, SWEEP),
				[SM_EV_EXIT_AGAIN] = GO(BACKOFF, DELAY),
				[SM_EV_EXIT_FINAL] = GO(IDLE, END),
				[SM_EV_DRAINED] = STAY(STARTING),
				[SM_EV_TIMEOUT] = GO(KILLING, KILL),
				[SM_EV_FORCE] = GO(KILLING, KILL),
			},
		[SM_SPAWNED] =
			{
				[SM_EV_START] = STAY(SPAWNED),
				[SM_EV_STOP] = GO(DRAINING, DRAIN),
				[SM_EV_DEPS_READY] = STAY(SPAWNED),
				[SM_EV_EXEC_OK] = BUG(SPAWNED),
				[SM_EV_EXEC_FAIL] = BUG(SPAWNED),
				[SM_EV_FORK_FAIL] = BUG(SPAWNED),
				[SM_EV_READY] = GO(RUNNING, ANNOUNCE),
				[SM_EV_UNHEALTHY] = STAY(SPAWNED),
				[SM_EV_EXIT_LINGER] = GO(LINGER, SWEEP),
				[SM_EV_EXIT_AGAIN] = GO(BACKOFF, DELAY),
				[SM_EV_EXIT_FINAL] = GO(IDLE, END),
				[SM_EV_DRAINED] = STAY(SPAWNED),
				[SM_EV_TIMEOUT] = GO(STOPPING, START_TIMEOUT),
				[SM_EV_FORCE] = GO(KILLING, KILL),
			},
		[SM_RUNNING] =
			{
				[SM_EV_START] = STAY(RUNNING),
				[SM_EV_STOP] = GO(DRAINING, DRAIN),
				[SM_EV_DEPS_READY] = STAY(RUNNING),
				[SM_EV_EXEC_OK] = BUG(RUNNING),
				[SM_EV_EXEC_FAIL] = BUG(RUNNING),
				[SM_EV_FORK_FAIL] = BUG(RUNNING),
				[SM_EV_READY] = STAY(RUNNING),
				[SM_EV_UNHEALTHY] = GO(STOPPING, UNHEALTHY),
				[SM_EV_EXIT_LINGER] = GO(LINGER, SWEEP),
				[SM_EV_EXIT_AGAIN] = GO(BACKOFF, DELAY),
				[SM_EV_EXIT_FINAL] = GO(IDLE, END),
				[SM_EV_DRAINED] = STAY(RUNNING),
				[SM_EV_TIMEOUT] = STAY(RUNNING),
				[SM_EV_FORCE] = GO(KILLING, KILL),
			},
		[SM_DRAINING] =
			{
				[SM_EV_START] = STAY(DRAINING),
				[SM_EV_STOP] = STAY(DRAINING),
				[SM_EV_DEPS_READY] = STAY(DRAINING),
				[SM_EV_EXEC_OK] = STAY(DRAINING),
				[SM_EV_EXEC_FAIL] = BUG(DRAINING),
				[SM_EV_FORK_FAIL] = BUG(DRAINING),
				[SM_EV_READY] = STAY(DRAINING),
				[SM_EV_UNHEALTHY] = STAY(DRAINING),
				[SM_EV_EXIT_LINGER] = GO(LINGER, SWEEP),
				[SM_EV_EXIT_AGAIN] = GO(BACKOFF, DELAY),
				[SM_EV_EXIT_FINAL] = GO(IDLE, END),
				[SM_EV_DRAINED] = GO(STOPPING, SIGNAL),
				[SM_EV_TIMEOUT] = GO(STOPPING, SIGNAL),
				[SM_EV_FORCE] = GO(KILLING, KILL),
			},
		[SM_STOPPING] =
			{
				[SM_EV_START] = STAY(STOPPING),
				[SM_EV_STOP] = STAY(STOPPING),
				[SM_EV_DEPS_READY] = STAY(STOPPING),
				[SM_EV_EXEC_OK] = STAY(STOPPING),
				[SM_EV_EXEC_FAIL] = GO(IDLE, FAIL),
				[SM_EV_FORK_FAIL] = BUG(STOPPING),
				[SM_EV_READY] = STAY(STOPPING),
				[SM_EV_UNHEALTHY] = STAY(STOPPING),
				[SM_EV_EXIT_LINGER] = GO(LINGER, SWEEP),
				[SM_EV_EXIT_AGAIN] = GO(BACKOFF, DELAY),
				[SM_EV_EXIT_FINAL] = GO(IDLE, END),
				[SM_EV_DRAINED] = STAY(STOPPING),
				[SM_EV_TIMEOUT] = GO(KILLING, KILL),
				[SM_EV_FORCE] = GO(KILLING, KILL),
			},
		[SM_LINGER] =
			{
				[SM_EV_START] = STAY(LINGER),
				[SM_EV_STOP] = STAY(LINGER),
				[SM_EV_DEPS_READY] = STAY(LINGER),
				[SM_EV_EXEC_OK] = STAY(LINGER),
				[SM_EV_EXEC_FAIL] = BUG(LINGER),
				[SM_EV_FORK_FAIL] = BUG(LINGER),
				[SM_EV_READY] = STAY(LINGER),
				[SM_EV_UNHEALTHY] = STAY(LINGER),
				[SM_EV_EXIT_LINGER] = STAY(LINGER),
				[SM_EV_EXIT_AGAIN] = GO(BACKOFF, DELAY),
				[SM_EV_EXIT_FINAL] = GO(IDLE, END),
				[SM_EV_DRAINED] = STAY(LINGER),
				[SM_EV_TIMEOUT] = GO(KILLING, KILL),
				[SM_EV_FORCE] = GO(KILLING, KILL),
			},
		[SM_KILLING] =
			{
				[SM_EV_START] = STAY(KILLING),
				[SM_EV_STOP] = STAY(KILLING),
				[SM_EV_DEPS_READY] = STAY(KILLING),
				[SM_EV_EXEC_OK] = STAY(KILLING),
				[SM_EV_EXEC_FAIL] = GO(IDLE, FAIL),
				[SM_EV_FORK_FAIL] = BUG(KILLING),
				[SM_EV_READY] = STAY(KILLING),
				[SM_EV_UNHEALTHY] = STAY(KILLING),
				[SM_EV_EXIT_LINGER] = STAY(KILLING),
				[SM_EV_EXIT_AGAIN] = GO(BACKOFF, DELAY),
				[SM_EV_EXIT_FINAL] = GO(IDLE, END),
				[SM_EV_DRAINED] = STAY(KILLING),
				[SM_EV_TIMEOUT] = GO(KILLING, KILL),
				[SM_EV_FORCE] = GO(KILLING, KILL),
			},
		[SM_BACKOFF] =
			{
				[SM_EV_START] = GO(BLOCKED, WAIT),
				[SM_EV_STOP] = GO(IDLE, END),
				[SM_EV_DEPS_READY] = STAY(BACKOFF),
				[SM_EV_EXEC_OK] = BUG(BACKOFF),
				[SM_EV_EXEC_FAIL] = BUG(BACKOFF),
				[SM_EV_FORK_FAIL] = BUG(BACKOFF),
				[SM_EV_READY] = STAY(BACKOFF),
				[SM_EV_UNHEALTHY] = STAY(BACKOFF),
				[SM_EV_EXIT_LINGER] = BUG(BACKOFF),
				[SM_EV_EXIT_AGAIN] = BUG(BACKOFF),
				[SM_EV_EXIT_FINAL] = BUG(BACKOFF),
				[SM_EV_DRAINED] = STAY(BACKOFF),
				[SM_EV_TIMEOUT] = GO(BLOCKED, WAIT),
				[SM_EV_FORCE] = GO(IDLE, END),
			},
};

struct sm_cell sm_step(enum sm_state state, enum sm_event event)
{
	return table[state][event];
}

const char *sm_state_name(enum sm_state state)
{
	static const char *const names[SM_STATE_COUNT] = {
		"idle",     "blocked",  "starting", "spawned", "running",
		"draining", "stopping", "linger",   "killing", "backoff",
	};

	return (unsigned)state < SM_STATE_COUNT ? names[state] : "?";
}

const char *sm_event_name(enum sm_event event)
{
	static const char *const names[SM_EVENT_COUNT] = {
		"start",     "stop",        "deps-ready", "exec-ok",    "exec-fail", "fork-fail", "ready",
		"unhealthy", "exit-linger", "exit-again", "exit-final", "drained",   "timeout",   "force",
	};

	return (unsigned)event < SM_EVENT_COUNT ? names[event] : "?";
}
