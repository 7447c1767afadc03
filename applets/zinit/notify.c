/*
 * notify: see notify.h. sd_notify(3) has the protocol: datagrams of lines NAME=VALUE. For `fd:N` the first newline counts;
 * a descriptor that is closed without one means nothing (the test of an exit is the exit).
 */
#include "applets/zinit/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/base/str.h"

#include "applets/zinit/fdstore.h"
#include "applets/zinit/service.h"

enum { MESSAGE_MAX = 8192 };

static void close_notify(struct service *s)
{
	if (s->notify.fd >= 0) {
		loop_io_del(&s->notify);
		close(s->notify.fd);
	}
	if (s->notify_write_fd >= 0)
		close(s->notify_write_fd);
	s->notify.fd = s->notify_write_fd = -1;
}

static void came(struct service *s)
{
	s->is_notified = true;
	service_event(s, SM_EV_READY);
}

static void on_fd(struct loop_io *io, uint32_t events)
{
	struct service *s = io->ctx;
	char data[256];
	ssize_t n = read(io->fd, data, sizeof(data));

	(void)events;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		close_notify(s);
		return;
	}
	if (memchr(data, '\n', (size_t)n)) {
		close_notify(s);
		came(s);
	}
}

/* Descriptors that came with a message: into the store, or closed. */
static void take_fds(struct service *s, struct msghdr *msg, const char *store_name)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (store_name)
				fdstore_add(s, store_name, fd);
			else
				close(fd);
		}
	}
}

static void take_message(struct service *s, char *text, struct msghdr *msg)
{
	const char *fd_name = "";
	bool is_store = false, is_remove = false;
	char *cursor = text, *line;

	while ((line = str_next(&cursor, '\n'))) {
		if (strcmp(line, "READY=1") == 0 && s->unit->notify == UNIT_NOTIFY_SD)
			came(s);
		else if (str_starts(line, "STATUS="))
			str_copy(s->status_text, sizeof(s->status_text), line + 7);
		else if (str_starts(line, "FDNAME="))
			fd_name = line + 7;
		else if (strcmp(line, "FDSTORE=1") == 0)
			is_store = true;
		else if (strcmp(line, "FDSTOREREMOVE=1") == 0)
			is_remove = true;
	}
	take_fds(s, msg, is_store ? fd_name : NULL);
	if (is_remove)
		fdstore_remove(s, fd_name);
}

static void on_socket(struct loop_io *io, uint32_t events)
{
	struct service *s = io->ctx;
	static char data[MESSAGE_MAX + 1];
	struct iovec iov = {data, MESSAGE_MAX};
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(64 * sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))];
	} control;
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(io->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	(void)events;
	if (n < 0)
		return;
	data[n] = '\0';
	take_message(s, data, &msg);
}

/* The socket lives as long as the service is known: an abstract name of our own, so that no directory is needed. */
static int open_socket(struct service *s)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd, rc, len;

	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	len = snprintf(addr.sun_path + 1, sizeof(addr.sun_path) - 1, "zinit/notify/%d/%p", (int)getpid(),
		       (void *)s);
	snprintf(s->notify_name, sizeof(s->notify_name), "NOTIFY_SOCKET=@%s", addr.sun_path + 1);
	rc = bind(fd, (struct sockaddr *)&addr,
		  (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len)) < 0
		     ? -errno
		     : 0;
	if (rc == 0) {
		loop_io_init(&s->notify, fd, EPOLLIN, on_socket, s);
		rc = loop_io_add(&s->sup->loop, &s->notify);
	}
	if (rc) {
		close(fd);
		s->notify.fd = -1;
	}
	return rc;
}

int notify_new(struct service *s)
{
	return s->unit->notify == UNIT_NOTIFY_SD || s->unit->fdstore_max ? open_socket(s) : 0;
}

void notify_free(struct service *s)
{
	close_notify(s);
}

int notify_prepare(struct service *s, struct proc *proc, int env)
{
	int fds[2];

	s->is_notified = false;
	s->status_text[0] = '\0';
	if (s->unit->notify == UNIT_NOTIFY_SD || s->unit->fdstore_max) {
		proc->extra_env[env] = s->notify_name;
		return 1;
	}
	if (s->unit->notify != UNIT_NOTIFY_FD)
		return 0;
	close_notify(s);
	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
		return 0; /* it then never becomes ready, and start_timeout tells */
	s->notify_write_fd = fds[1];
	loop_io_init(&s->notify, fds[0], EPOLLIN, on_fd, s);
	if (loop_io_add(&s->sup->loop, &s->notify)) {
		close(fds[0]);
		close(fds[1]);
		s->notify.fd = s->notify_write_fd = -1;
		return 0;
	}
	proc->fds[proc->fd_count++] = (struct proc_fd){s->unit->notify_fd, fds[1]};
	snprintf(s->notify_name, sizeof(s->notify_name), "NOTIFY_FD=%d", s->unit->notify_fd);
	proc->extra_env[env] = s->notify_name;
	return 1;
}

void notify_started(struct service *s)
{
	if (s->notify_write_fd >= 0)
		close(s->notify_write_fd);
	s->notify_write_fd = -1;
}

void notify_ended(struct service *s)
{
	if (s->unit->notify == UNIT_NOTIFY_FD)
		close_notify(s);
}

bool notify_has_come(const struct service *s)
{
	return s->is_notified;
}
