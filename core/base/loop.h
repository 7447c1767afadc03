/*
 * loop: the event loop that every applet, PID 1 included, stands on.
 *
 * epoll for descriptors, an intrusive heap for timers, signalfd for signals, pidfd for children, an eventfd to be woken
 * by other threads. Everything that is registered is a struct of the caller, embedded where it belongs: after
 * loop_init() nothing here allocates, and nothing ever exits or aborts because of the outside world.
 *
 * Threads: a loop belongs to the thread that runs it. Only loop_post() and loop_wake() may be called from others.
 * Callbacks may add, change and remove anything, themselves included; once removed, a struct's callback is not called any
 * more, even for an event that was already reported.
 *
 * A struct that is registered must not move or be freed. Structs are initialised with the *_init functions.
 */
#ifndef CORE_BASE_LOOP_H
#define CORE_BASE_LOOP_H

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/types.h>

#include "core/base/list.h"

#define LOOP_BATCH      64 /* events taken from the kernel at once */
#define LOOP_SIGNAL_MAX 65

struct loop;

/* ---- descriptors: level-triggered ---- */

struct loop_io {
	int fd;          /* not owned: remove before closing it */
	uint32_t events; /* EPOLLIN | EPOLLOUT | ...; EPOLLERR and EPOLLHUP are always reported */
	void (*fn)(struct loop_io *io, uint32_t events);
	void *ctx;
	struct loop *loop; /* private; NULL = not registered */
};

/* ---- timers: monotonic milliseconds, one shot ---- */

struct loop_timer {
	void (*fn)(struct loop_timer *timer);
	void *ctx;
	uint64_t deadline_ms;
	struct loop *loop; /* private; NULL = not armed */
	struct loop_timer *child, *next, *prev;
	uint64_t seq; /* equal deadlines fire in the order in which they were armed */
};

/* ---- calls from other threads, and calls for the end of this round ---- */

struct loop_post {
	void (*fn)(struct loop_post *post);
	void *ctx;
	struct list link; /* private */
	bool is_queued;   /* private; under the loop's lock */
};

/* ---- children ---- */

struct loop_child {
	pid_t pid;
	void (*fn)(struct loop_child *child, int status); /* wait(2) status; it has been reaped and removed */
	void *ctx;
	int pidfd; /* private from loop_child_add() on: closed by the loop */
	struct loop_io io;
	struct list link;
};

/* ---- signals ---- */

struct loop_signal_slot {
	void (*fn)(void *ctx, const struct signalfd_siginfo *info);
	void *ctx;
};

struct loop {
	int epoll_fd, event_fd, signal_fd;
	bool is_stopping;
	int stop_code;
	uint64_t now_ms;
	uint64_t timer_seq;
	struct loop_timer *timers; /* pairing heap */
	struct loop_io event_io, signal_io;
	sigset_t signals;
	struct loop_signal_slot slots[LOOP_SIGNAL_MAX];
	struct list children;
	void (*reaper)(void *ctx, pid_t pid, int status);
	void *reaper_ctx;
	bool is_reaping_by_signal; /* SIGCHLD is used: a reaper is set, or the kernel has no pidfd */
	pthread_mutex_t post_lock; /* guards `posts` and is_queued; innermost: nothing is called under it */
	struct list posts;
	struct list defers;
	struct epoll_event batch[LOOP_BATCH];
	int batch_len, batch_pos;
};

/* 0 or negative errno; then nothing needs releasing. loop_release: registered structs are forgotten, not called. */
int loop_init(struct loop *loop);
void loop_release(struct loop *loop);

/* Runs until loop_stop(); returns its code. An error of epoll itself is logged (rate limited) and tried again. */
int loop_run(struct loop *loop);
/* One round: waits at most `timeout_ms` (-1: until something happens), handles what there is. */
void loop_run_once(struct loop *loop, int timeout_ms);
/* Ends the round after the present callback, of a descriptor: what else is ready is handled in the next one. */
void loop_end_round(struct loop *loop);
/* Ends loop_run() after the present callback. */
void loop_stop(struct loop *loop, int code);
/* Monotonic time at the beginning of this round: cheap. */
uint64_t loop_now_ms(const struct loop *loop);

/* Prepares a struct; allowed again only while it is not registered. */
void loop_io_init(struct loop_io *io, int fd, uint32_t events, void (*fn)(struct loop_io *, uint32_t),
		  void *ctx);
/* 0 or negative errno (-EPERM: epoll cannot watch regular files; -EEXIST). */
int loop_io_add(struct loop *loop, struct loop_io *io);
/* Changes what is waited for; no system call when nothing changes. events = 0 keeps only errors. 0 or negative errno. */
int loop_io_set(struct loop_io *io, uint32_t events);
/* Harmless when it is not registered. */
void loop_io_del(struct loop_io *io);

/* Prepares a struct, not armed; allowed again only while it is not. */
void loop_timer_init(struct loop_timer *timer, void (*fn)(struct loop_timer *), void *ctx);
/* Arms, or arms anew, for `delay_ms` from now, or for a moment of clock_mono_ms(). */
void loop_timer_start(struct loop *loop, struct loop_timer *timer, uint64_t delay_ms);
void loop_timer_start_at(struct loop *loop, struct loop_timer *timer, uint64_t deadline_ms);
/* Harmless when it is not armed. */
void loop_timer_stop(struct loop_timer *timer);
bool loop_timer_is_armed(const struct loop_timer *timer);

/* Prepares a struct, not queued; allowed again only while it is not. */
void loop_post_init(struct loop_post *post, void (*fn)(struct loop_post *), void *ctx);
/*
 * From any thread: calls post->fn in the loop's thread. While it is queued a further post of the same struct does
 * nothing. The struct must live until fn has begun. From then on it may be posted again or freed.
 */
void loop_post(struct loop *loop, struct loop_post *post);
/* From the loop's thread: calls fn when this round's callbacks are done. May be taken back with loop_post_cancel. */
void loop_defer(struct loop *loop, struct loop_post *post);
/* From the loop's thread: takes back a queued post or defer. Returns whether it was queued. */
bool loop_post_cancel(struct loop *loop, struct loop_post *post);
/* From any thread: makes a waiting loop begin a round. */
void loop_wake(struct loop *loop);

/*
 * Calls `fn` in the loop for a signal (fn = NULL: gives it up again and unblocks it). Blocks the signal in the calling
 * thread: call it before other threads start, so that they inherit the mask. 0 or negative errno. SIGCHLD belongs to the
 * loop and is -EINVAL.
 */
int loop_signal(struct loop *loop, int signo, void (*fn)(void *ctx, const struct signalfd_siginfo *info),
		void *ctx);

/*
 * Watches a child of this process: fn is called once, with its wait status, after it was reaped. `pidfd` is taken over
 * (pass -1 when there is none). 0 or negative errno: then the pidfd still belongs to the caller.
 */
void loop_child_init(struct loop_child *child, void (*fn)(struct loop_child *, int status), void *ctx);
int loop_child_add(struct loop *loop, struct loop_child *child, pid_t pid, int pidfd);
/* Forgets the child without waiting for it (nobody reaps it then, unless a reaper is set). */
void loop_child_del(struct loop_child *child);
/* Sends a signal through the pidfd: never hits a reused pid. 0 or negative errno. */
int loop_child_kill(struct loop_child *child, int signo);

/*
 * For PID 1 and subreapers: reap every child that ends, registered or not; `fn` hears of those that are not
 * registered. Uses SIGCHLD. 0 or negative errno.
 */
int loop_reaper_set(struct loop *loop, void (*fn)(void *ctx, pid_t pid, int status), void *ctx);

#endif
