/*
 * loop_int: what the files of the loop share.
 */
#ifndef CORE_BASE_LOOP_INT_H
#define CORE_BASE_LOOP_INT_H

#include "core/base/loop.h"

/* Milliseconds until the first timer: 0 when it is due, -1 when there is none. */
int loop_timers_wait_ms(const struct loop *loop);
/* Calls what is due at loop->now_ms. */
void loop_timers_fire(struct loop *loop);
void loop_timers_forget(struct loop *loop);

/* SIGCHLD has arrived: reap and tell. */
void loop_children_reap(struct loop *loop);
void loop_children_forget(struct loop *loop);

/* Adds a signal to the signalfd, blocks it in this thread. 0 or negative errno. */
int loop_signal_watch(struct loop *loop, int signo);

#endif
