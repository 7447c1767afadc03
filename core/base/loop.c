/*
 * loop: epoll, signals and calls from other threads. Timers are in loop_timer.c, children in loop_child.c.
 *
 * A callback may remove any descriptor, also one whose event lies further back in the batch that the kernel has just
 * handed out: loop_io_del() clears it there, so that a freed struct is never called.
 */
#include "core/base/loop.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/err.h"
#include "core/base/log.h"
#include "core/base/loop_int.h"

/* ---- descriptors ---- */

void loop_io_init(struct loop_io *io, int fd, uint32_t events, void (*fn)(struct loop_io *, uint32_t),
		  void *ctx)
{
	*io = (struct loop_io){.fd = fd, .events = events, .fn = fn, .ctx = ctx};
}

int loop_io_add(struct loop *loop, struct loop_io *io)
{
	struct epoll_event ev = {.events = io->events, .data.ptr = io};

	if (io->loop)
		return -EEXIST;
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, io->fd, &ev) < 0)
		return -errno;
	io->loop = loop;
	return 0;
}

int loop_io_set(struct loop_io *io, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = io};

	if (io->events == events)
		return 0;
	if (io->loop && epoll_ctl(io->loop->epoll_fd, EPOLL_CTL_MOD, io->fd, &ev) < 0)
		return -errno;
	io->events = events;
	return 0;
}

void loop_io_del(struct loop_io *io)
{
	struct loop *loop = io->loop;
	struct epoll_event ev = {0}; /* kernels before 2.6.9 wanted one; harmless */

	if (!loop)
		return;
	/* It can only fail when the descriptor was closed before, and then epoll has forgotten it by itself. */
	(void)epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, io->fd, &ev);
	io->loop = NULL;
	for (int i = loop->batch_pos; i < loop->batch_len; i++) {
		if (loop->batch[i].data.ptr == io)
			loop->batch[i].data.ptr = NULL;
	}
}

/* ---- calls from other threads and for the end of the round ---- */

void loop_post_init(struct loop_post *post, void (*fn)(struct loop_post *), void *ctx)
{
	*post = (struct loop_post){.fn = fn, .ctx = ctx};
	list_init(&post->link);
}

void loop_wake(struct loop *loop)
{
	static const uint64_t one = 1;

	/* EAGAIN: the counter is at its maximum, so that the loop wakes anyway. */
	while (write(loop->event_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

/* Queues unless it is queued; returns whether that changed anything. */
static bool enqueue(struct loop *loop, struct list *queue, struct loop_post *post)
{
	bool is_new;

	pthread_mutex_lock(&loop->post_lock);
	is_new = !post->is_queued;
	if (is_new) {
		post->is_queued = true;
		list_add_tail(queue, &post->link);
	}
	pthread_mutex_unlock(&loop->post_lock);
	return is_new;
}

void loop_post(struct loop *loop, struct loop_post *post)
{
	if (enqueue(loop, &loop->posts, post))
		loop_wake(loop);
}

void loop_defer(struct loop *loop, struct loop_post *post)
{
	(void)enqueue(loop, &loop->defers, post);
}

bool loop_post_cancel(struct loop *loop, struct loop_post *post)
{
	bool was_queued;

	pthread_mutex_lock(&loop->post_lock);
	was_queued = post->is_queued;
	if (was_queued) {
		post->is_queued = false;
		list_del(&post->link);
	}
	pthread_mutex_unlock(&loop->post_lock);
	return was_queued;
}

/* Calls what is in the queue now; what is queued meanwhile waits for the next round. */
static void run_queue(struct loop *loop, struct list *queue)
{
	struct list now;
	struct list *link;

	list_init(&now);
	pthread_mutex_lock(&loop->post_lock);
	list_splice_tail(&now, queue);
	while ((link = list_pop(&now))) {
		struct loop_post *post = container_of(link, struct loop_post, link);

		post->is_queued = false;
		pthread_mutex_unlock(&loop->post_lock);
		post->fn(post);
		pthread_mutex_lock(&loop->post_lock);
	}
	pthread_mutex_unlock(&loop->post_lock);
}

static void forget_queue(struct list *queue)
{
	struct list *link;

	while ((link = list_pop(queue)))
		container_of(link, struct loop_post, link)->is_queued = false;
}

static void on_event_fd(struct loop_io *io, uint32_t events)
{
	struct loop *loop = io->ctx;
	uint64_t count;

	(void)events;
	/* Emptied before the queue is looked at: a post that comes in between wakes the loop once more. */
	while (read(loop->event_fd, &count, sizeof(count)) < 0 && errno == EINTR)
		;
	run_queue(loop, &loop->posts);
}

/* ---- signals ---- */

static void on_signal_fd(struct loop_io *io, uint32_t events)
{
	struct loop *loop = io->ctx;
	struct signalfd_siginfo infos[8];
	ssize_t n = read(loop->signal_fd, infos, sizeof(infos));

	(void)events;
	for (size_t i = 0; n > 0 && i < (size_t)n / sizeof(infos[0]); i++) {
		unsigned signo = infos[i].ssi_signo;

		if (signo == SIGCHLD)
			loop_children_reap(loop);
		else if (signo < LOOP_SIGNAL_MAX && loop->slots[signo].fn)
			loop->slots[signo].fn(loop->slots[signo].ctx, &infos[i]);
	}
}

int loop_signal_watch(struct loop *loop, int signo)
{
	sigset_t wanted = loop->signals, one;
	int fd, code;

	sigemptyset(&one);
	if (sigaddset(&one, signo) < 0 || sigaddset(&wanted, signo) < 0)
		return -EINVAL;
	/* Blocked first: a signal that comes in between is then delivered through the descriptor. */
	code = pthread_sigmask(SIG_BLOCK, &one, NULL);
	if (code)
		return -code;
	fd = signalfd(loop->signal_fd, &wanted, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		return -errno;
	loop->signals = wanted;
	if (loop->signal_fd >= 0)
		return 0;
	loop->signal_fd = fd;
	loop_io_init(&loop->signal_io, fd, EPOLLIN, on_signal_fd, loop);
	return loop_io_add(loop, &loop->signal_io);
}

static int signal_unwatch(struct loop *loop, int signo)
{
	sigset_t one;

	if (!sigismember(&loop->signals, signo))
		return 0;
	sigemptyset(&one);
	sigaddset(&one, signo);
	sigdelset(&loop->signals, signo);
	if (signalfd(loop->signal_fd, &loop->signals, SFD_CLOEXEC | SFD_NONBLOCK) < 0)
		return -errno;
	return -pthread_sigmask(SIG_UNBLOCK, &one, NULL);
}

int loop_signal(struct loop *loop, int signo, void (*fn)(void *ctx, const struct signalfd_siginfo *info),
		void *ctx)
{
	if (signo <= 0 || signo >= LOOP_SIGNAL_MAX || signo == SIGCHLD)
		return -EINVAL;
	loop->slots[signo] = (struct loop_signal_slot){.fn = fn, .ctx = ctx};
	return fn ? loop_signal_watch(loop, signo) : signal_unwatch(loop, signo);
}

/* ---- the loop ---- */

int loop_init(struct loop *loop)
{
	int code;

	memset(loop, 0, sizeof(*loop));
	loop->epoll_fd = loop->event_fd = loop->signal_fd = -1;
	sigemptyset(&loop->signals);
	list_init(&loop->children);
	list_init(&loop->posts);
	list_init(&loop->defers);
	loop->now_ms = clock_mono_ms();
	code = -pthread_mutex_init(&loop->post_lock, NULL);
	if (code)
		return code;
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	loop->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop->epoll_fd < 0 || loop->event_fd < 0) {
		code = -errno;
		goto fail;
	}
	loop_io_init(&loop->event_io, loop->event_fd, EPOLLIN, on_event_fd, loop);
	code = loop_io_add(loop, &loop->event_io);
	if (code == 0)
		return 0;
fail:
	loop_release(loop);
	return code;
}

void loop_release(struct loop *loop)
{
	loop_timers_forget(loop);
	loop_children_forget(loop);
	pthread_mutex_lock(&loop->post_lock);
	forget_queue(&loop->posts);
	forget_queue(&loop->defers);
	pthread_mutex_unlock(&loop->post_lock);
	if (loop->signal_fd >= 0)
		close(loop->signal_fd);
	if (loop->event_fd >= 0)
		close(loop->event_fd);
	if (loop->epoll_fd >= 0)
		close(loop->epoll_fd);
	loop->epoll_fd = loop->event_fd = loop->signal_fd = -1;
	pthread_mutex_destroy(&loop->post_lock);
}

static int wait_ms(struct loop *loop, int timeout_ms)
{
	int timer_ms = loop_timers_wait_ms(loop);
	bool has_defers;

	pthread_mutex_lock(&loop->post_lock);
	has_defers = !list_is_empty(&loop->defers);
	pthread_mutex_unlock(&loop->post_lock);
	if (has_defers)
		return 0;
	if (timer_ms < 0 || (timeout_ms >= 0 && timeout_ms < timer_ms))
		return timeout_ms;
	return timer_ms;
}

static void wait_for_events(struct loop *loop, int timeout_ms)
{
	int n = epoll_wait(loop->epoll_fd, loop->batch, LOOP_BATCH, timeout_ms);

	if (n < 0 && errno != EINTR) {
		log_every(10000, LOG_LEVEL_ERR, "event loop: cannot wait: %s", err_str(errno));
		(void)poll(NULL, 0, 100); /* whatever it is, it must not become a busy loop */
	}
	loop->batch_pos = 0;
	loop->batch_len = n > 0 ? n : 0;
	loop->now_ms = clock_mono_ms();
}

void loop_run_once(struct loop *loop, int timeout_ms)
{
	wait_for_events(loop, wait_ms(loop, timeout_ms));
	while (loop->batch_pos < loop->batch_len) {
		struct epoll_event ev = loop->batch[loop->batch_pos++];
		struct loop_io *io = ev.data.ptr;

		if (io)
			io->fn(io, ev.events);
	}
	loop->batch_len = loop->batch_pos = 0;
	loop_timers_fire(loop);
	run_queue(loop, &loop->defers);
}

void loop_end_round(struct loop *loop)
{
	loop->batch_len = loop->batch_pos;
}

int loop_run(struct loop *loop)
{
	loop->is_stopping = false;
	while (!loop->is_stopping)
		loop_run_once(loop, -1);
	return loop->stop_code;
}

void loop_stop(struct loop *loop, int code)
{
	loop->is_stopping = true;
	loop->stop_code = code;
}

uint64_t loop_now_ms(const struct loop *loop)
{
	return loop->now_ms;
}
