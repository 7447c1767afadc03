/*
 * proc: makes one process for a unit: its program, its test or its drain command.
 *
 * Unlike core/base/spawn this never waits for the program to be executed: with the binary on a dead mount that would
 * stop PID 1. The child tells through a pipe, which the loop watches, why it could not; the pipe's end without a word
 * means that the program runs.
 */
#ifndef ZINIT_PROC_H
#define ZINIT_PROC_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "applets/zinit/unit.h"

enum { PROC_FDS_MAX = 72, PROC_EXTRA_ENV_MAX = 12 };

struct proc_fd {
	int child_fd, parent_fd;
};

struct proc {
	const struct unit *unit;
	struct unit_text words;
	bool is_main;       /* the service itself: limits, user and capabilities in full */
	bool is_silent;     /* output goes to /dev/null */
	int out_fd, err_fd; /* -1 = inherited */
	struct proc_fd fds[PROC_FDS_MAX];
	uint32_t fd_count;
	char *const *environment;                  /* of the machine, ended by NULL; may be NULL */
	const char *extra_env[PROC_EXTRA_ENV_MAX]; /* NAME=value, ended by NULL */
	bool has_listen_pid;                       /* LISTEN_PID is to be set */
	uint64_t address_space_max, processes_max; /* resource limits in place of a control group; 0 = none */
	const char *cgroup_procs; /* files to write the pid to, one path per line; NULL = none */
};

/* What the child says through the pipe when it cannot execute the program. */
struct proc_report {
	int error;     /* errno */
	char step[28]; /* "enter directory", "run", ... */
	char what[192];
};

/*
 * Forks. 0, *pid and *report_fd (non-blocking, close-on-exec, to be closed by the caller), or a negative errno
 * (-EAGAIN, -ENOMEM, -EMFILE, ...), all of which are worth another try later.
 */
int proc_start(const struct proc *proc, pid_t *pid, int *report_fd);

/*
 * Reads the pipe. 1: the program runs. 0: not known yet. Negative errno: it could not be executed; *report says why.
 */
int proc_report_read(int report_fd, struct proc_report *report);

/*
 * kill(2) for a process or (negative) the group of one of our children. 0 or a negative errno. A child that was forked
 * this moment has no group of its own yet: then it gets the signal itself, which would be lost otherwise.
 */
int proc_kill(pid_t to, int signo);

/* Whether such an error may pass by itself (memory, process or descriptor tables full, text busy). */
bool proc_error_is_temporary(int error);

/* Remembers the descriptor limit that programs get: before the supervisor raises its own. */
void proc_init(void);

#endif
