/*
 * spawn: starts another program, with nothing inherited that was not meant to be.
 *
 * The child gets: default signal handlers and an empty signal mask, oom_score_adj 0 (unless said otherwise), no I/O
 * flusher flag, only the descriptors that are listed (everything else is closed), and no controlling terminal of ours
 * when it gets its own session. The parent is stopped (vfork) only until the program has been executed; whatever fails
 * before that is reported with its errno by spawn_start() itself. Nothing is allocated. Thread-safe.
 */
#ifndef CORE_BASE_SPAWN_H
#define CORE_BASE_SPAWN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/base/buf.h"
#include "core/base/err.h"

#define SPAWN_FDS_MAX  16
#define SPAWN_OOM_KEEP INT32_MIN /* oom_score_adj: leave it as inherited */

struct spawn_fd {
	int child_fd;  /* number in the child, below 1024 */
	int parent_fd; /* number in the parent; -1 = /dev/null */
};

struct spawn {
	const char *path;        /* NULL = argv[0]; without a slash it is looked up in PATH of `env` */
	const char *const *argv; /* ended by NULL, at least one */
	const char *const *env;  /* "NAME=value", ended by NULL; NULL = our environment */
	const char *cwd;         /* NULL = ours */
	struct spawn_fd fds[SPAWN_FDS_MAX];
	size_t fd_count;         /* 0, 1 and 2 that are not listed become /dev/null */
	bool keep_stdio;         /* instead: 0, 1 and 2 that are not listed are inherited */
	bool new_session;        /* setsid: own session and process group */
	bool new_group;          /* setpgid: own process group */
	bool controlling_tty;    /* with new_session: descriptor 0 becomes the controlling terminal */
	int parent_death_signal; /* 0 = none; note that it is bound to the thread that calls spawn_start */
	int oom_score_adj;       /* 0 = reset to the default */
	int umask;               /* -1 or 0 = as ours (a real 0 is never wanted) */
	uid_t uid;               /* 0 = no change */
	gid_t gid;
};

/* What was started. Both belong to the caller: reap the pid, close the pidfd (or hand both to loop_child_add). */
struct spawned {
	pid_t pid;
	int pidfd; /* -1 on a kernel without pidfd */
};

/*
 * 0, or a negative errno with a sentence in `err` (may be NULL): "cannot run /sbin/x: no such file or directory". After
 * an error no child is left.
 */
int spawn_start(const struct spawn *s, struct spawned *child, struct err_text *err);

/* "exit code 3", "signal 9 (killed)" for a wait(2) status. Returns dst; 64 bytes are enough. */
char *spawn_status_str(char *dst, size_t size, int status);

/* The full path of a program, as a shell would find it along `path_list` ("/bin:/usr/bin"). 0 or -ENOENT, -EACCES, -ENAMETOOLONG. */
int spawn_find(char *dst, size_t size, const char *name, const char *path_list);

#endif
