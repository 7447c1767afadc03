/*
 * serve: the daemon's socket. It speaks two protocols, told apart by the first byte: '{' is a line of our control protocol,
 * anything else the length of an original request (whose first byte is below 0x7b for every path that fits it).
 *
 * Bounds: 64 clients that have not said yet what they are, or whose original request is being done; 30 s for a request to
 * arrive. Only root and the user that the daemon runs as are served.
 */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "applets/zstor/daemon.h"
#include "applets/zstor/wire.h"
#include "core/base/applet.h"
#include "core/base/buf.h"
#include "core/base/endian.h"
#include "core/base/log.h"
#include "core/base/mem.h"

#define CONNS_MAX  64u
#define REQUEST_MS 30000u

struct conn {
	struct list link;
	struct serve *s;
	struct loop_io io;
	struct loop_timer timer;
	struct buf in, out;
	bool busy; /* a worker has its request: it may not be freed */
	bool gone;
};

struct serve {
	struct daemon *d;
	struct loop_io listener;
	struct ctl_server *ctl;
	struct list conns;
	unsigned count;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
};

static void conn_free(struct conn *c)
{
	loop_io_del(&c->io);
	loop_timer_stop(&c->timer);
	if (c->io.fd >= 0)
		close(c->io.fd);
	c->io.fd = -1;
	if (c->busy) { /* its worker still points here */
		c->gone = true;
		return;
	}
	list_del(&c->link);
	c->s->count--;
	buf_release(&c->in);
	buf_release(&c->out);
	mem_free(c);
}

static void on_timeout(struct loop_timer *timer)
{
	conn_free(timer->ctx);
}

/* ---------------------------------------------------------------------------------------------- answering --- */

static void flush_out(struct conn *c)
{
	while (c->out.len) {
		ssize_t n = send(c->io.fd, c->out.data, c->out.len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			if (loop_io_set(&c->io, EPOLLOUT) < 0)
				break;
			return;
		}
		if (n < 0)
			break;
		buf_consume(&c->out, (size_t)n);
	}
	conn_free(c);
}

static void answer_error(struct conn *c, const char *text)
{
	if (wire_error(&c->out, text) < 0)
		conn_free(c);
	else
		flush_out(c);
}

static void answer(struct request *r)
{
	struct conn *c = r->ctx;
	int rc;

	c->busy = false;
	if (c->gone) {
		conn_free(c);
		return;
	}
	if (r->code != EXIT_DONE)
		rc = wire_error(&c->out, r->why);
	else if (r->kind == REQ_CHECK && r->stored)
		rc = wire_checksum(&c->out, r->content);
	else
		rc = wire_success(&c->out);
	if (rc < 0)
		conn_free(c);
	else
		flush_out(c);
}

static void submit(struct conn *c, int kind, const struct wire_request *q)
{
	struct request *r = request_new(c->s->d, kind, q->file);

	if (!r) {
		answer_error(c, "out of memory, or the path is too long");
		return;
	}
	if (q->has_key_path && file_absolute(r->key_path, sizeof(r->key_path), q->key_path) < 0) {
		request_free(r);
		answer_error(c, "the key path is too long");
		return;
	}
	r->delete_after = q->delete_after;
	r->done = answer;
	r->ctx = c;
	c->busy = true;
	if (request_submit(r) < 0) {
		c->busy = false;
		request_free(r);
		answer_error(c, "too many requests are waiting");
	}
}

static void handle(struct conn *c, const struct wire_request *q)
{
	char why[ZS_WHY] = "";

	loop_timer_stop(&c->timer);
	(void)loop_io_set(&c->io, 0);
	switch (q->kind) {
	case WIRE_STORE:
		if (q->blocking) {
			submit(c, REQ_STORE, q);
		} else if (q->has_key_path) {
			answer_error(c, "a store that does not block cannot have a key path");
		} else if (request_note_store(c->s->d, q->file, q->delete_after, why) != EXIT_DONE) {
			answer_error(c, why);
		} else if (wire_success(&c->out) < 0) {
			conn_free(c);
		} else {
			flush_out(c);
		}
		break;
	case WIRE_RETRIEVE:
		submit(c, REQ_RETRIEVE, q);
		break;
	case WIRE_CHECK:
		submit(c, REQ_CHECK, q);
		break;
	case WIRE_REBUILD:
		answer_error(c, "rebuild is not part of this version");
		break;
	}
}

/* ------------------------------------------------------------------------------------------------ reading --- */

static void to_ctl(struct conn *c)
{
	int fd = c->io.fd;

	loop_io_del(&c->io);
	if (ctl_server_adopt(c->s->ctl, fd, c->in.data, c->in.len) == 0)
		c->io.fd = -1; /* it is theirs now */
	conn_free(c);
}

static void try_request(struct conn *c)
{
	struct wire_request *q;
	size_t need;
	int rc;

	if (c->in.len && c->in.data[0] == '{') {
		to_ctl(c);
		return;
	}
	need = c->in.len < 2 ? 2 : 2 + (size_t)get_u16be(c->in.data);
	if (c->in.len < need || need == 2)
		return;
	q = mem_alloc(sizeof(*q));
	rc = q ? wire_decode(c->in.data + 2, need - 2, q) : -ENOMEM;
	if (rc == 0) {
		handle(c, q);
	} else {
		log_every(1000, LOG_LEVEL_WARN, "a request on the socket makes no sense");
		conn_free(c);
	}
	mem_free(q);
}

static void on_io(struct loop_io *io, uint32_t events)
{
	struct conn *c = io->ctx;
	ssize_t n;

	if (c->out.len) {
		if (events & EPOLLOUT)
			flush_out(c);
		else
			conn_free(c);
		return;
	}
	if (!(events & EPOLLIN) || buf_reserve(&c->in, 4096) < 0) {
		conn_free(c);
		return;
	}
	n = read(io->fd, c->in.data + c->in.len, 4096);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		conn_free(c);
		return;
	}
	buf_added(&c->in, (size_t)n);
	try_request(c);
}

static bool is_allowed(int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 &&
	       (cred.uid == 0 || cred.uid == geteuid());
}

static void on_accept(struct loop_io *io, uint32_t events)
{
	struct serve *s = io->ctx;
	struct conn *c;
	int fd = accept4(io->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)events;
	if (fd < 0)
		return;
	c = s->count < CONNS_MAX && is_allowed(fd) ? mem_calloc(1, sizeof(*c)) : NULL;
	if (!c) {
		close(fd);
		return;
	}
	c->s = s;
	buf_init(&c->in, WIRE_MAX + 2 + 4096);
	buf_init(&c->out, WIRE_MAX + 2);
	loop_io_init(&c->io, fd, EPOLLIN, on_io, c);
	loop_timer_init(&c->timer, on_timeout, c);
	list_add_tail(&s->conns, &c->link);
	s->count++;
	if (loop_io_add(&s->d->loop, &c->io) < 0)
		conn_free(c);
	else
		loop_timer_start(&s->d->loop, &c->timer, REQUEST_MS);
}

/* ------------------------------------------------------------------------------------------------- listening --- */

static int listen_at(struct serve *s, const char *path, struct err_text *err)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	mode_t mask;
	int rc = 0, fd;

	if (strlen(path) >= sizeof(addr.sun_path))
		return err_set(err, -ENAMETOOLONG, "cannot listen at %s: the path is too long for a socket",
			       path);
	strcpy(addr.sun_path, path);
	strcpy(s->path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_set(err, -errno, "cannot make a socket: %s", err_str(-errno));
	/* The state's lock is ours, so whatever lies there is left over. */
	(void)unlink(path);
	mask = umask(0177);
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, 64) < 0)
		rc = -errno;
	umask(mask);
	if (rc < 0) {
		close(fd);
		return err_set(err, rc, "cannot listen at %s: %s", path, err_str(rc));
	}
	loop_io_init(&s->listener, fd, EPOLLIN, on_accept, s);
	return loop_io_add(&s->d->loop, &s->listener);
}

int serve_start(struct daemon *d, struct err_text *err)
{
	struct serve *s = mem_calloc(1, sizeof(*s));
	char dir[FILE_PATH_MAX];
	int rc;

	if (!s)
		return -ENOMEM;
	d->serve = s;
	s->d = d;
	s->listener.fd = -1;
	list_init(&s->conns);
	rc = ctl_server_new_bare(&s->ctl, &d->loop, daemon_commands, d);
	if (rc == 0)
		rc = file_dirname(dir, sizeof(dir), d->z.conf.socket);
	if (rc == 0)
		rc = file_mkdir_p(dir, 0755);
	return rc == 0 ? listen_at(s, d->z.conf.socket, err) : rc;
}

void serve_stop(struct daemon *d)
{
	struct serve *s = d->serve;

	if (!s)
		return;
	if (s->listener.fd >= 0) {
		loop_io_del(&s->listener);
		close(s->listener.fd);
		unlink(s->path);
	}
	list_each_safe(&s->conns, it)
	{
		struct conn *c = container_of(it, struct conn, link);

		c->busy = false; /* the workers have ended */
		conn_free(c);
	}
	ctl_server_free(s->ctl);
	mem_free(s);
	d->serve = NULL;
}
