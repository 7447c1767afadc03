/*
 * loop_child: children of this process.
 *
 * Normally each child's pidfd is in the loop and only that child is waited for, so that libraries and other threads keep
 * their own children. With a reaper (PID 1), or on a kernel without pidfd, SIGCHLD is used: the reaper waits for
 * everything, the fallback for the registered children one by one.
 */
#include "core/base/loop.h"

#include <errno.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/err.h"
#include "core/base/log.h"
#include "core/base/loop_int.h"

/* What is told when somebody else has taken the status: looks like a failure, never like success. */
#define STATUS_LOST (255 << 8)

void loop_child_init(struct loop_child *child, void (*fn)(struct loop_child *, int status), void *ctx)
{
	*child = (struct loop_child){.fn = fn, .ctx = ctx, .pid = -1, .pidfd = -1};
	list_init(&child->link);
}

static void child_finish(struct loop_child *child, int status)
{
	loop_child_del(child);
	child->fn(child, status);
}

/* Reaps this child if it has ended. */
static void child_check(struct loop_child *child)
{
	int status;
	pid_t pid;

	do {
		pid = waitpid(child->pid, &status, WNOHANG);
	} while (pid < 0 && errno == EINTR);
	if (pid == child->pid) {
		child_finish(child, status);
	} else if (pid < 0) {
		log_warn("the status of child %d is lost: %s", (int)child->pid, err_str(errno));
		child_finish(child, STATUS_LOST);
	}
}

static void on_pidfd(struct loop_io *io, uint32_t events)
{
	(void)events;
	child_check(io->ctx);
}

static struct loop_child *find_child(struct loop *loop, pid_t pid)
{
	list_each(&loop->children, link)
	{
		struct loop_child *child = container_of(link, struct loop_child, link);

		if (child->pid == pid)
			return child;
	}
	return NULL;
}

static void reap_all(struct loop *loop)
{
	for (;;) {
		int status;
		pid_t pid = waitpid(-1, &status, WNOHANG);
		struct loop_child *child;

		if (pid < 0 && errno == EINTR)
			continue;
		if (pid <= 0)
			return;
		child = find_child(loop, pid);
		if (child)
			child_finish(child, status);
		else if (loop->reaper)
			loop->reaper(loop->reaper_ctx, pid, status);
	}
}

/* Callbacks may remove any child: each that has been looked at moves to a list of its own. */
static void reap_registered(struct loop *loop)
{
	struct list todo;
	struct list *link;

	list_init(&todo);
	list_splice_tail(&todo, &loop->children);
	while ((link = list_pop(&todo))) {
		list_add_tail(&loop->children, link);
		child_check(container_of(link, struct loop_child, link));
	}
}

void loop_children_reap(struct loop *loop)
{
	if (loop->reaper)
		reap_all(loop);
	else
		reap_registered(loop);
}

void loop_children_forget(struct loop *loop)
{
	struct list *link;

	while ((link = list_first(&loop->children)))
		loop_child_del(container_of(link, struct loop_child, link));
}

static int use_signal(struct loop *loop)
{
	int code;

	if (loop->is_reaping_by_signal)
		return 0;
	code = loop_signal_watch(loop, SIGCHLD);
	if (code == 0)
		loop->is_reaping_by_signal = true;
	return code;
}

/* A SIGCHLD may have come before anybody watched: one more makes the next round look. */
static int look_soon(void)
{
	return kill(getpid(), SIGCHLD) < 0 ? -errno : 0;
}

int loop_child_add(struct loop *loop, struct loop_child *child, pid_t pid, int pidfd)
{
	int own_fd = -1, code;

	if (list_is_linked(&child->link))
		return -EEXIST;
	if (pidfd < 0)
		pidfd = own_fd = (int)syscall(SYS_pidfd_open, pid, 0);
	child->pid = pid;
	child->io.loop = NULL;
	if (pidfd >= 0 && !loop->reaper) {
		loop_io_init(&child->io, pidfd, EPOLLIN, on_pidfd, child);
		code = loop_io_add(loop, &child->io);
	} else {
		code = use_signal(loop);
		if (code == 0)
			code = look_soon();
	}
	if (code) {
		if (own_fd >= 0)
			close(own_fd);
		return code;
	}
	child->pidfd = pidfd;
	list_add_tail(&loop->children, &child->link);
	return 0;
}

void loop_child_del(struct loop_child *child)
{
	loop_io_del(&child->io);
	list_del(&child->link);
	if (child->pidfd >= 0)
		close(child->pidfd);
	child->pidfd = -1;
}

int loop_child_kill(struct loop_child *child, int signo)
{
	if (!list_is_linked(&child->link))
		return -ESRCH;
	if (child->pidfd >= 0) {
		if (syscall(SYS_pidfd_send_signal, child->pidfd, signo, NULL, 0) == 0)
			return 0;
		if (errno != ENOSYS)
			return -errno;
	}
	/* It has not been reaped yet, or it would not be linked: the pid is still its own. */
	return kill(child->pid, signo) < 0 ? -errno : 0;
}

int loop_reaper_set(struct loop *loop, void (*fn)(void *ctx, pid_t pid, int status), void *ctx)
{
	int code;

	if (!fn)
		return -EINVAL;
	code = use_signal(loop);
	if (code)
		return code;
	loop->reaper = fn;
	loop->reaper_ctx = ctx;
	/* From now on SIGCHLD alone tells about children. */
	list_each(&loop->children, link) loop_io_del(&container_of(link, struct loop_child, link)->io);
	return look_soon();
}
