/*
 * http: see http.h. libmicrohttpd without threads: its epoll descriptor is watched by our loop, its time-outs by one of
 * our timers.
 */
#include "applets/zinit/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <microhttpd.h>

#include "core/base/file.h"
#include "core/base/hex.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/base/sys.h"

#include "applets/zinit/ctl_rpc.h"

enum { TOKEN_BYTES = 24, CONNECTIONS_MAX = 32, IDLE_S = 30 };

struct http {
	struct ctl *ctl;
	struct MHD_Daemon *daemon;
	struct loop_io io;
	struct loop_timer timer;
	char token[2 * TOKEN_BYTES + 1];
	char token_path[160], unix_path[108];
};

/* ---- requests ---- */

struct request {
	struct buf body;
	bool is_refused;
};

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned status, const void *data,
			      size_t len)
{
	struct MHD_Response *response =
		MHD_create_response_from_buffer(len, (void *)(uintptr_t)data, MHD_RESPMEM_MUST_COPY);
	enum MHD_Result rc;

	if (!response)
		return MHD_NO;
	MHD_add_response_header(response, "Content-Type", "application/json");
	if (status == MHD_HTTP_UNAUTHORIZED)
		MHD_add_response_header(response, "WWW-Authenticate", "Bearer");
	rc = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return rc;
}

static enum MHD_Result refuse(struct MHD_Connection *connection, unsigned status, const char *text)
{
	char json[200];
	int len = snprintf(json, sizeof(json), "{\"error\":\"%s\"}\n", text);

	return answer(connection, status, json, (size_t)len);
}

/* Compares in constant time: the time of an answer must not tell how much of a guess was right. */
static bool is_authorized(const struct http *http, struct MHD_Connection *connection)
{
	const char *header = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Authorization");
	size_t len = strlen(http->token);
	unsigned char difference = 0;

	if (!header || !str_starts(header, "Bearer ") || strlen(header + 7) != len)
		return false;
	for (size_t i = 0; i < len; i++)
		difference |= (unsigned char)(header[7 + i] ^ http->token[i]);
	return difference == 0;
}

static enum MHD_Result run(struct http *http, struct MHD_Connection *connection, struct request *request)
{
	struct client c = {.ctl = http->ctl, .is_http = true, .protocol = PROTOCOL_RPC};
	enum MHD_Result rc;

	buf_init(&c.out, CTL_OUT_BYTES_MAX);
	ctl_rpc_run(&c, (const char *)request->body.data, request->body.len);
	if (c.is_closing)
		rc = refuse(connection, MHD_HTTP_INSUFFICIENT_STORAGE, "the answer does not fit");
	else
		rc = answer(connection, MHD_HTTP_OK, c.out.data, c.out.len);
	buf_release(&c.out);
	return rc;
}

static enum MHD_Result on_request(void *ctx, struct MHD_Connection *connection, const char *url,
				  const char *method, const char *version, const char *data, size_t *len,
				  void **state)
{
	struct http *http = ctx;
	struct request *request = *state;

	(void)version;
	if (!request) {
		request = mem_calloc(1, sizeof(*request));
		if (!request)
			return MHD_NO;
		buf_init(&request->body, CTL_RPC_BYTES_MAX);
		*state = request;
		return MHD_YES;
	}
	if (*len > 0) {
		/* Nobody without the token makes us keep anything. */
		if (!is_authorized(http, connection) || buf_append(&request->body, data, *len))
			request->is_refused = true;
		*len = 0;
		return MHD_YES;
	}
	if (!is_authorized(http, connection))
		return refuse(connection, MHD_HTTP_UNAUTHORIZED, "a bearer token is needed");
	if (strcmp(url, "/") != 0)
		return refuse(connection, MHD_HTTP_NOT_FOUND, "there is only /");
	if (strcmp(method, "POST") != 0)
		return refuse(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "POST is expected");
	if (request->is_refused)
		return refuse(connection, MHD_HTTP_CONTENT_TOO_LARGE, "the request is too large");
	return run(http, connection, request);
}

static void on_completed(void *ctx, struct MHD_Connection *connection, void **state,
			 enum MHD_RequestTerminationCode code)
{
	struct request *request = *state;

	(void)ctx;
	(void)connection;
	(void)code;
	if (!request)
		return;
	buf_release(&request->body);
	mem_free(request);
	*state = NULL;
}

/* ---- the loop ---- */

static void drive(struct http *http)
{
	MHD_UNSIGNED_LONG_LONG ms;

	MHD_run(http->daemon);
	if (MHD_get_timeout(http->daemon, &ms) == MHD_YES)
		loop_timer_start(&http->ctl->sup->loop, &http->timer, ms);
	else
		loop_timer_stop(&http->timer);
}

static void on_epoll(struct loop_io *io, uint32_t events)
{
	(void)events;
	drive(io->ctx);
}

static void on_timer(struct loop_timer *timer)
{
	drive(timer->ctx);
}

/* ---- opening ---- */

static int listen_unix(struct http *http, const char *path, struct err_text *err)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct stat st;
	mode_t before;
	int fd, rc;

	if (str_copy(addr.sun_path, sizeof(addr.sun_path), path) ||
	    str_copy(http->unix_path, sizeof(http->unix_path), path))
		return err_set(err, -ENAMETOOLONG, "cannot listen on %s: the path is too long", path);
	if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode))
		unlink(path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	before = umask(0177);
	rc = fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, 64) < 0 ? -errno
												  : fd;
	umask(before);
	if (rc < 0) {
		if (fd >= 0)
			close(fd);
		http->unix_path[0] = '\0';
		return err_set(err, rc, "cannot listen on %s: %s", path, err_str(rc));
	}
	return fd;
}

static int listen_loopback(const char *address, struct err_text *err)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	const char *colon = strrchr(address, ':');
	size_t host = colon ? (size_t)(colon - address) : 0;
	uint64_t port;
	bool is_v6;
	int fd, rc, one = 1;

	if (!colon || str_parse_u64(colon + 1, &port) || port > 65535)
		return err_set(err, -EINVAL, "cannot listen on %s: HOST:PORT or unix:PATH is expected",
			       address);
	is_v6 = host == 5 && memcmp(address, "[::1]", 5) == 0;
	v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (!is_v6 && !(host == 9 && memcmp(address, "localhost", 9) == 0)) {
		char text[64];

		if (str_copy_n(text, sizeof(text), address, host) ||
		    inet_pton(AF_INET, text, &v4.sin_addr) != 1 || (ntohl(v4.sin_addr.s_addr) >> 24) != 127)
			return err_set(err, -EPERM,
				       "cannot listen on %s: only loopback addresses are allowed", address);
	}
	v4.sin_port = v6.sin6_port = htons((uint16_t)port);
	fd = socket(is_v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	rc = fd < 0 ||
			     bind(fd, is_v6 ? (struct sockaddr *)&v6 : (struct sockaddr *)&v4,
				  is_v6 ? sizeof(v6) : sizeof(v4)) < 0 ||
			     listen(fd, 64) < 0
		     ? -errno
		     : 0;
	if (rc) {
		if (fd >= 0)
			close(fd);
		return err_set(err, rc, "cannot listen on %s: %s", address, err_str(rc));
	}
	return fd;
}

static int make_token(struct http *http, struct err_text *err)
{
	uint8_t bytes[TOKEN_BYTES];
	int rc;

	if (sys->getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
		return err_set(err, -EIO, "cannot make a token: no random bytes");
	hex_encode(http->token, bytes, sizeof(bytes));
	if (str_fmt(http->token_path, sizeof(http->token_path), "%s.token", http->ctl->path) < 0)
		return err_set(err, -ENAMETOOLONG, "cannot write the token: the path is too long");
	rc = file_write_atomic(http->token_path, 0600, http->token, strlen(http->token));
	return rc ? err_set(err, rc, "cannot write %s: %s", http->token_path, err_str(rc)) : 0;
}

int http_open(struct ctl *ctl, const char *address, struct err_text *err)
{
	const union MHD_DaemonInfo *info;
	struct http *http;
	int fd, rc;

	if (ctl->http)
		return err_set(err, -EBUSY, "the HTTP server is running already");
	http = mem_calloc(1, sizeof(*http));
	if (!http)
		return err_set(err, -ENOMEM, "out of memory");
	http->ctl = ctl;
	fd = str_starts(address, "unix:") ? listen_unix(http, address + 5, err)
					  : listen_loopback(address, err);
	if (fd < 0) {
		rc = fd;
		goto out;
	}
	rc = make_token(http, err);
	if (rc) {
		close(fd);
		goto out;
	}
	http->daemon =
		MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_NO_THREAD_SAFETY, 0, NULL, NULL, on_request, http,
				 MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
				 (unsigned)CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_S,
				 MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_END);
	info = http->daemon ? MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
	if (!info) {
		rc = err_set(err, -EIO, "cannot start the HTTP server");
		if (!http->daemon)
			close(fd);
		goto out;
	}
	loop_timer_init(&http->timer, on_timer, http);
	loop_io_init(&http->io, info->epoll_fd, EPOLLIN, on_epoll, http);
	rc = loop_io_add(&ctl->sup->loop, &http->io);
	if (rc) {
		err_set(err, rc, "cannot watch the HTTP server: %s", err_str(rc));
		goto out;
	}
	ctl->http = http;
	return 0;
out:
	if (http->daemon)
		MHD_stop_daemon(http->daemon);
	mem_free(http);
	return rc;
}

void http_close(struct ctl *ctl)
{
	struct http *http = ctl->http;

	if (!http)
		return;
	ctl->http = NULL;
	loop_timer_stop(&http->timer);
	loop_io_del(&http->io);
	MHD_stop_daemon(http->daemon);
	unlink(http->token_path);
	if (http->unix_path[0])
		unlink(http->unix_path);
	mem_wipe(http->token, sizeof(http->token));
	mem_free(http);
}
