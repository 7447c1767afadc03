/*
 * sup: the supervisor's own structures, shared by the files of this room.
 *
 * One process, one thread, one loop. Everything that supervision needs is allocated when a unit is loaded; from then
 * on starting, stopping, reaping, testing and logging allocate nothing, and no error ends the process.
 */
#ifndef ZINIT_SUP_H
#define ZINIT_SUP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/base/list.h"
#include "core/base/loop.h"

#include "applets/zinit/ring.h"
#include "applets/zinit/sm.h"
#include "applets/zinit/unit.h"

struct sup;
struct service;
struct fdstore;
struct logger;
struct ctl;

/* What `list` and `status` show; the texts are the original's (show.h). */
enum shown {
	SHOWN_UNKNOWN,
	SHOWN_BLOCKED,
	SHOWN_SPAWNED,
	SHOWN_RUNNING,
	SHOWN_SUCCESS,
	SHOWN_ERROR, /* with last_pid and last_status */
	SHOWN_TEST_FAILURE,
	SHOWN_FAILURE,
};

/* A pipe that a service (or its test) writes to. Both ends stay open here, so that a writer never sees it closed. */
struct capture {
	struct loop_io io; /* on the reading end */
	int write_fd;      /* -1 = not made */
	struct service *service;
	enum ring_stream stream;
	int partial; /* index of the buffer that holds an unfinished line, -1 = none (capture.c) */
};

enum job_kind {
	JOB_TEST,
	JOB_HEALTH,
	JOB_DRAIN,
};

/* A command that is run beside the service: its own session and group, limited in time. */
struct job {
	struct service *service;
	enum job_kind kind;
	pid_t pid;               /* 0 = not running */
	int report_fd;           /* says why the program could not be executed; -1 = none */
	bool is_killed;          /* it ran out of time */
	uint32_t runs, failures; /* since the service was started; failures in a row */
	struct loop_timer timer; /* running: its limit; otherwise: the next run */
};

/* One name of `after` or `requires`. */
struct dep {
	const char *name;        /* in the unit's block */
	struct service *service; /* NULL = not defined (yet) */
	bool is_hard;            /* from `requires` */
};

struct service {
	struct list link; /* sup.services, sorted by name */
	struct sup *sup;
	struct unit *unit; /* owned */
	const char *name;

	enum sm_state state;
	enum shown shown;
	bool is_wanted; /* target Up */
	bool is_stop_asked; /* the present stop was asked for: its exit counts neither as a failure nor as a crash */
	bool is_cyclic; /* in a dependency cycle: never started, its own dependencies do not order the stop */
	bool has_exited;
	bool was_killed;      /* SIGKILL was needed in the present stop */
	bool is_signalled;    /* the stop signal was sent in this stop */
	bool has_fork_failed; /* the last start did not even get a process */

	pid_t pid;                 /* main process, 0 = none */
	pid_t group;               /* its process group, kept while members may be left; 0 = none */
	int last_pid, last_status; /* of the last exit; last_status as wait(2) gives it */
	uint64_t started_ms, ready_ms, ended_ms, changed_ms; /* monotonic; 0 = never */
	uint64_t stop_began_ms, deadline_ms;
	uint64_t next_start_ms; /* BACKOFF: when */
	uint32_t starts;        /* since it was loaded */
	uint32_t attempts;      /* exits in a row without a stable run between */
	uint32_t kill_tries;
	char reason[192]; /* why it is not running, for people */

	struct loop_timer timer; /* of the state */
	struct loop_io report;   /* exec report pipe, while STARTING; fd -1 = none */
	struct loop_io notify;   /* readiness pipe or socket; fd -1 = none */
	int notify_write_fd;
	bool is_new; /* made by the reload that is under way */
	bool is_notified;
	char notify_name[128]; /* environment entry: NOTIFY_SOCKET=... or NOTIFY_FD=... */
	char status_text[160]; /* the last STATUS= it sent */
	struct job probe;      /* test, later health */
	struct job drain;

	struct dep *deps;
	uint32_t dep_count;
	uint32_t waiters_below; /* scratch of the ordered stop */
	bool is_done;  /* scratch of the ordered stop: down, and so is everything that depends on it */
	uint32_t mark; /* scratch of the cycle search */

	struct ring ring;
	struct capture captures[RING_STREAM_COUNT];
	struct logger *logger;   /* NULL = no log file */
	struct fdstore *fdstore; /* NULL = none */
	char cgroup[400];        /* directory of its control group; "" = none */
	char limits_text[160];   /* what limits are in force, and by which means */
	struct unit *pending;    /* a changed unit, taken up at the next start; owned */
};

enum sup_end {
	SUP_END_NONE,
	SUP_END_EXIT,
	SUP_END_POWEROFF,
	SUP_END_REBOOT,
	SUP_END_HALT,
};

/* This long after the start, or after the last client has gone, text pages that only they needed are given back. */
enum { SUP_TRIM_MS = 3000 };

struct sup_options {
	const char *config_dir;
	const char *socket_path;
	uint32_t ring_lines;
	bool is_container;
	bool is_strict;
	bool has_groups;
	uint64_t shutdown_max_ms; /* 0 = none */
	const char *exit_with;    /* container: end when this service ends, with its status; NULL = none */
	const char *modules_file;
	const char *http_address; /* NULL = no HTTP door */
	const char *log_dir;      /* where `log: file` puts files without a path */
};

struct sup {
	struct loop loop;
	struct sup_options options;
	struct list services;
	uint32_t service_count;
	bool is_pid1;
	bool is_machine;  /* PID 1 and not a container's: mounts, reboot(2), never an exit */
	bool is_stopping; /* an ordered shutdown is under way: nothing is started any more */
	enum sup_end end;
	int exit_code;
	bool was_unclean; /* something had to be killed */
	uint64_t stop_began_ms;
	uint64_t stop_deadline_ms; /* of the whole shutdown; CLOCK_NEVER = none */
	uint32_t sweep_tries;
	uint64_t int_times_ms[3]; /* the last SIGINTs */
	struct loop_post settle;  /* runs sup_settle once per round */
	struct loop_timer stop_timer, stop_max_timer, ctl_timer, trim_timer;
	uint64_t log_seq; /* of the newest line of all rings */
	struct ctl *ctl;
	char **environment; /* /etc/environment: NAME=value, ended by NULL */
};

/*
 * The one supervisor of the process. Loads the units, opens the socket, runs until an ordered stop is over. Returns the
 * exit code: 0 everything ended cleanly within its limits, 1 not (or start-up failed).
 */
int sup_main(const struct sup_options *options);

/* Begins the ordered stop; the first call counts. */
void sup_shutdown(struct sup *sup, enum sup_end end, const char *why);

/* Ends everything at once with SIGKILL (third SIGINT, or the limit of the whole shutdown). */
void sup_force(struct sup *sup, const char *why);

/* Has sup_settle() run at the end of this round: dependents, ordered stop and waiting clients are looked at again. */
void sup_touch(struct sup *sup);

/* By name; NULL when there is none. */
struct service *sup_find(const struct sup *sup, const char *name);

/* The service, or one of its jobs, that owns this pid is told; anything else was an orphan. */
void sup_reaped(struct sup *sup, pid_t pid, int status);

/*
 * Loads the unit NAME from the configuration directory and starts it. 0, or negative: -EEXIST monitored already,
 * -ENOENT no file, -E_CONFIG cannot be used, -ENOMEM, -ESHUTDOWN. `err` (may be NULL) gets a sentence.
 */
struct err_text;
int sup_monitor(struct sup *sup, const char *name, struct err_text *err);

/*
 * Reads the unit files again (all, or that of one service). New units are started; changed ones are taken up at the next
 * start of their service, at once if it has no process; nothing is stopped. A service whose one unit is named and which
 * has signal.reload gets that signal. 0, -ESHUTDOWN, or why nothing could be read.
 */
enum reload_kind {
	RELOAD_NEW,
	RELOAD_CHANGED,
	RELOAD_SAME,
	RELOAD_GONE, /* monitored, but without a file now: kept */
	RELOAD_REFUSED,
	RELOAD_KIND_COUNT
};
struct sup_reload {
	uint32_t count[RELOAD_KIND_COUNT];
};
int sup_reload(struct sup *sup, const char *name, struct sup_reload *result);

/* Takes a service that is down out of the table. 0 or -EBUSY. */
int sup_forget(struct service *service);

#define sup_each(sup, it) for (struct service *it = sup_first(sup); it; it = sup_next((sup), it))

static inline struct service *sup_first(const struct sup *sup)
{
	struct list *first = list_first(&sup->services);

	return first ? container_of(first, struct service, link) : NULL;
}

static inline struct service *sup_next(const struct sup *sup, const struct service *service)
{
	struct list *next = service->link.next;

	return next == &sup->services ? NULL : container_of(next, struct service, link);
}

#endif
