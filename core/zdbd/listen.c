/*
 * listen: the sockets that clients come in by, and taking them.
 */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/zdbd/zdbd_int.h"

#define BACKLOG          4096
#define ACCEPTS_PER_TURN 64

static void add_listener(struct zdbd *d, int fd, bool is_unix)
{
	struct listener *l = &d->listeners[d->listeners_count++];

	l->is_unix = is_unix;
	l->io.fd = fd;
	l->io.ctx = d;
}

static int open_unix(struct zdbd *d, struct err_text *why)
{
	const char *path = d->opt.socket_path;
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct stat st;
	int fd, err;

	if (strlen(path) >= sizeof(addr.sun_path))
		return err_set(why, -ENAMETOOLONG,
			       "cannot listen on %s: the path of a socket has at most %zu bytes", path,
			       sizeof(addr.sun_path) - 1);
	memcpy(addr.sun_path, path, strlen(path));
	/* left by an earlier run: whoever holds the directories' locks may take it over */
	if (lstat(path, &st) == 0) {
		if (!S_ISSOCK(st.st_mode))
			return err_set(why, -EEXIST, "cannot listen on %s: it exists and is not a socket",
				       path);
		unlink(path);
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, BACKLOG) < 0) {
		err = -errno;
		if (fd >= 0)
			close(fd);
		return err_set(why, err, "cannot listen on %s: %s", path, err_str(err));
	}
	add_listener(d, fd, true);
	return 0;
}

static bool is_loopback(const struct sockaddr *addr)
{
	if (addr->sa_family == AF_INET6)
		return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)addr)->sin6_addr);
	return addr->sa_family == AF_INET &&
	       ntohl(((const struct sockaddr_in *)(const void *)addr)->sin_addr.s_addr) >> 24 ==
		       IN_LOOPBACKNET;
}

/*
 * Within a machine there is nothing to pace. Where the system paces by default (BBR), a large reply would cost some timers, a fifth of its time; and a
 * connection that was paced once stays so, hence it is said before there is one.
 */
static void pace_nothing(int fd)
{
	static const char plain[] = "reno"; /* is always there */

	(void)setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, plain, sizeof(plain) - 1); /* else only slower */
}

static int bind_tcp(const struct addrinfo *ai)
{
	int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1, off = 0, err;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (ai->ai_family == AF_INET6) /* "::" serves both families */
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	if (is_loopback(ai->ai_addr))
		pace_nothing(fd);
	if (bind(fd, ai->ai_addr, ai->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	err = -errno;
	close(fd);
	return err;
}

static uint16_t bound_port(int fd)
{
	struct sockaddr_storage addr;
	socklen_t len = sizeof(addr);

	if (getsockname(fd, (struct sockaddr *)&addr, &len) < 0)
		return 0;
	if (addr.ss_family == AF_INET6)
		return ntohs(((struct sockaddr_in6 *)(void *)&addr)->sin6_port);
	return ntohs(((struct sockaddr_in *)(void *)&addr)->sin_port);
}

static int resolve_and_bind(const char *host, uint16_t port, struct err_text *why)
{
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
	struct addrinfo *list = NULL;
	char service[8];
	int fd, rc;

	snprintf(service, sizeof(service), "%u", port);
	rc = getaddrinfo(host, service, &hints, &list);
	if (rc)
		return err_set(why, -EADDRNOTAVAIL, "cannot listen on %s: %s", host, gai_strerror(rc));
	fd = bind_tcp(list);
	freeaddrinfo(list);
	if (fd < 0)
		return err_set(why, fd, "cannot listen on %s port %u: %s", host, port, err_str(fd));
	return fd;
}

static int open_tcp(struct zdbd *d, struct err_text *why)
{
	int fd = resolve_and_bind(d->opt.listen, d->opt.port, why);

	/* a kernel without IPv6 still has all of IPv4 */
	if (strcmp(d->opt.listen, "::") == 0 && (fd == -EAFNOSUPPORT || fd == -EADDRNOTAVAIL))
		fd = resolve_and_bind("0.0.0.0", d->opt.port, why);
	if (fd < 0)
		return fd;
	d->port = bound_port(fd);
	add_listener(d, fd, false);
	return 0;
}

/* As many descriptors as the system lets us have; the rest is for files and hooks. */
static void raise_limits(struct zdbd *d)
{
	struct rlimit limit = {.rlim_cur = 1024, .rlim_max = 1024};
	size_t wanted = d->opt.clients_max ? d->opt.clients_max : CLIENTS_MAX_DEFAULT;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
			getrlimit(RLIMIT_NOFILE, &limit);
	}
	if (limit.rlim_cur != RLIM_INFINITY && wanted + FDS_RESERVED > limit.rlim_cur) {
		wanted = limit.rlim_cur > FDS_RESERVED * 2 ? limit.rlim_cur - FDS_RESERVED
							   : limit.rlim_cur / 2;
		if (d->opt.clients_max)
			log_warn("descriptors suffice for %zu clients only", wanted);
	}
	d->clients_max = wanted;
}

int listen_open(struct zdbd *d, struct err_text *why)
{
	int err = 0;

	raise_limits(d);
	d->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (d->opt.socket_path)
		err = open_unix(d, why);
	if (!err && d->opt.listen)
		err = open_tcp(d, why);
	return err;
}

/* No descriptor is left: the spare one is given up for the moment that it takes to refuse a client. */
static void refuse_one(struct zdbd *d, struct listener *l)
{
	int fd;

	close(d->spare_fd);
	fd = accept4(l->io.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd >= 0) {
		(void)!send(fd, "-Too many clients\r\n", 19, MSG_NOSIGNAL); /* it may be gone already */
		close(fd);
	}
	d->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	log_every(1000, LOG_LEVEL_WARN, "client refused: no descriptor left");
}

static void on_listener(struct loop_io *io, uint32_t events)
{
	struct listener *l = container_of(io, struct listener, io);
	struct zdbd *d = io->ctx;
	int i, fd;

	(void)events;
	for (i = 0; i < ACCEPTS_PER_TURN; i++) {
		fd = accept4(io->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd >= 0) {
			client_accepted(d, fd, l->is_unix);
			continue;
		}
		if ((errno == EMFILE || errno == ENFILE) && d->spare_fd >= 0)
			refuse_one(d, l);
		if (errno != EINTR && errno != ECONNABORTED)
			return;
	}
}

int listen_start(struct zdbd *d)
{
	size_t i;
	int err = 0;

	for (i = 0; i < d->listeners_count && !err; i++) {
		struct listener *l = &d->listeners[i];

		loop_io_init(&l->io, l->io.fd, EPOLLIN, on_listener, d);
		err = loop_io_add(d->loop, &l->io);
	}
	return err;
}

void listen_stop(struct zdbd *d)
{
	while (d->listeners_count > 0) {
		struct listener *l = &d->listeners[--d->listeners_count];

		if (d->serving)
			loop_io_del(&l->io);
		close(l->io.fd);
	}
	if (d->spare_fd >= 0)
		close(d->spare_fd);
	d->spare_fd = -1;
}
