/*
 * sm: the life of one service as a table: in which state which event leads to which state, and what has to be
 * done on the way.
 *
 * The table is the specification; service.c carries it out. Nothing here knows processes, clocks or units, so
 * that a unit test can walk every state x event.
 */
#ifndef ZINIT_SM_H
#define ZINIT_SM_H

enum sm_state {
	SM_IDLE,     /* no process and nothing planned: never started, stopped, finished or failed */
	SM_BLOCKED,  /* wanted, but a dependency is not ready */
	SM_STARTING, /* forked, the exec is not confirmed yet */
	SM_SPAWNED,  /* runs, but is not ready yet (test, notification) */
	SM_RUNNING,  /* runs and is ready; a oneshot: runs */
	SM_DRAINING, /* to be stopped; its drain command runs first */
	SM_STOPPING, /* the stop signal was sent; the deadline is running */
	SM_LINGER,   /* the main process has ended, others of its group have not; the deadline is running */
	SM_KILLING,  /* SIGKILL was sent; only the kernel is waited for */
	SM_BACKOFF,  /* no process; will be started again when the delay is over */
	SM_STATE_COUNT
};

enum sm_event {
	SM_EV_START,       /* somebody wants it up */
	SM_EV_STOP,        /* somebody wants it down (also: stop for a restart) */
	SM_EV_DEPS_READY,  /* everything it waits for is ready */
	SM_EV_EXEC_OK,     /* the new process runs its program */
	SM_EV_EXEC_FAIL,   /* the program could not be started, for a reason that stays */
	SM_EV_FORK_FAIL,   /* no process could be made now (EAGAIN, ENOMEM, ...) */
	SM_EV_READY,       /* test passed, notification came, or nothing has to be waited for */
	SM_EV_UNHEALTHY,   /* the health command failed too often */
	SM_EV_EXIT_LINGER, /* the main process has ended, its group is not empty, and that matters */
	SM_EV_EXIT_AGAIN,  /* everything has ended; it is to be started again */
	SM_EV_EXIT_FINAL,  /* everything has ended; it stays down */
	SM_EV_DRAINED,     /* the drain command has ended, one way or another */
	SM_EV_TIMEOUT,     /* the timer of the state has run out */
	SM_EV_FORCE,       /* end it now, whatever the limits say */
	SM_EVENT_COUNT
};

enum sm_action {
	SM_DO_NOTHING,
	SM_DO_WAIT,          /* look at the dependencies; DEPS_READY follows when they are satisfied */
	SM_DO_SPAWN,         /* start the process */
	SM_DO_WATCH,         /* process confirmed: start testing, arm start_timeout */
	SM_DO_ANNOUNCE,      /* ready: tell the dependents */
	SM_DO_DRAIN,         /* begin a stop: arm the deadline, run the drain command if there is one */
	SM_DO_SIGNAL,        /* send the stop signal, arm the deadline */
	SM_DO_START_TIMEOUT, /* as SIGNAL, and remember why */
	SM_DO_UNHEALTHY,     /* as SIGNAL, and remember why */
	SM_DO_SWEEP,         /* stop signal to the rest of the group, unless it had it; arm the deadline */
	SM_DO_KILL,          /* SIGKILL to all that is left, arm the repetition */
	SM_DO_DELAY,         /* arm the restart delay */
	SM_DO_END,           /* it is down: tell the dependents and whoever waits */
	SM_DO_FAIL,          /* as END, with the state Failure */
	SM_DO_BUG,           /* cannot happen: log it, change nothing */
	SM_ACTION_COUNT
};

struct sm_cell {
	unsigned char next;   /* enum sm_state */
	unsigned char action; /* enum sm_action */
};

/* What `event` does in `state`. Both must be in range. */
struct sm_cell sm_step(enum sm_state state, enum sm_event event);

/* Names for logs and tests: "blocked", "exit-final". */
const char *sm_state_name(enum sm_state state);
const char *sm_event_name(enum sm_event event);

#endif
