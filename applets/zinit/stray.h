/*
 * stray: processes that belong to no service any more: orphans that came to us, and what services left behind.
 */
#ifndef ZINIT_STRAY_H
#define ZINIT_STRAY_H

#include <stdbool.h>
#include <sys/types.h>

/* Whether we have any child at all. */
bool stray_any(void);

/* Sends a signal to every other process (as PID 1), or to every child of ours and everything below it. */
void stray_signal(bool is_pid1, int signo);

/* Calls `each` for every descendant of `root`, without allocating; at most STRAY_MAX of them are found. */
enum { STRAY_MAX = 4096 };
void stray_each_descendant(pid_t root, void (*each)(void *ctx, pid_t pid), void *ctx);

#endif
