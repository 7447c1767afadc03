/*
 * ctl_server: the serving half of the control protocol.
 *
 * A client is read only while it has no open request, so that a connection holds at most one line of input and one
 * request; end of file and hang-ups are still noticed. A request outlives its client: when that goes away the request
 * is cut off, its owner is told, and answers go nowhere until ctl_done() frees it.
 *
 * Life time: callbacks may end the client at hand. client->busy counts the frames that still use it; the memory goes
 * with the last of them.
 */
#include "core/ctl/ctl.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/list.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/ctl/ctl_int.h"

#define BACKLOG     64
#define READ_MAX    4096 /* most requests are one small line: an idle client costs little */
#define ACCEPTS_MAX 16   /* per wake-up, so that others get their turn */

struct client {
	struct ctl_server *server;
	struct list link;
	struct loop_io io;
	struct buf in, out;
	struct ctl_request *request; /* the open one */
	unsigned busy;
	bool is_eof;  /* it will not send more; answers still go out */
	bool is_gone; /* closed; the memory goes with the last frame that uses it */
};

struct ctl_server {
	struct loop *loop;
	const struct ctl_command *commands;
	void *ctx;
	struct loop_io listener;
	int listen_fd;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	struct list clients, requests;
	size_t client_count;
};

struct ctl_request {
	struct ctl_server *server;
	struct list link;
	struct client *client; /* NULL once it is gone */
	yyjson_doc *doc;
	void (*cancel)(struct ctl_request *req, void *ctx);
	void *cancel_ctx;
	struct loop_post
		cancel_post; /* tells the owner from the loop, never from inside one of its own calls */
	bool is_held;        /* the owner is being told: ctl_done() must leave the memory to that frame */
	bool is_done;
};

static void process_input(struct client *c);

/* ---- clients ---- */

static void request_free(struct ctl_request *req)
{
	list_del(&req->link);
	(void)loop_post_cancel(req->server->loop, &req->cancel_post);
	yyjson_doc_free(req->doc);
	mem_free(req);
}

/* Tells the owner of a request that its client is gone; the owner may call ctl_done() from there. */
static void request_cancel(struct ctl_request *req)
{
	req->is_held = true;
	if (req->cancel)
		req->cancel(req, req->cancel_ctx);
	req->is_held = false;
	if (req->is_done)
		request_free(req);
}

static void on_cancel_post(struct loop_post *post)
{
	request_cancel(post->ctx);
}

static void client_release(struct client *c)
{
	if (c->busy || !c->is_gone)
		return;
	buf_release(&c->in);
	buf_release(&c->out);
	mem_free(c);
}

static void client_close(struct client *c)
{
	struct ctl_request *req = c->request;

	if (c->is_gone)
		return;
	c->is_gone = true;
	loop_io_del(&c->io);
	close(c->io.fd);
	list_del(&c->link);
	c->server->client_count--;
	c->request = NULL;
	if (req) {
		req->client = NULL;
		loop_defer(c->server->loop, &req->cancel_post);
	}
	client_release(c);
}

/* Waits for what makes sense now: input only without an open request, output only when some is left. */
static void client_watch(struct client *c)
{
	uint32_t events = 0;

	if (c->is_gone)
		return;
	if (!c->request && !c->is_eof)
		events |= EPOLLIN;
	if (c->out.len)
		events |= EPOLLOUT;
	if (!c->request && c->is_eof && c->out.len == 0) {
		client_close(c);
		return;
	}
	if (loop_io_set(&c->io, events) < 0)
		client_close(c);
}

/* Sends what the socket takes. */
static void client_flush(struct client *c)
{
	while (c->out.len) {
		ssize_t n = send(c->io.fd, c->out.data, c->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN) {
			client_close(c);
			return;
		}
		if (n < 0)
			break;
		buf_consume(&c->out, (size_t)n);
	}
}

/* One line to a client. A client that does not read what it asked for is disconnected at the bound. */
static int client_send(struct client *c, const char *text, size_t len)
{
	int code;

	if (len + 1 > CTL_LINE_MAX)
		return -E_LIMIT;
	code = buf_reserve(&c->out, len + 1);
	if (code == 0) {
		(void)buf_append(&c->out, text, len); /* room has been made */
		(void)buf_append_byte(&c->out, '\n');
		client_flush(c);
	} else {
		log_warn("control socket: client disconnected: %s", err_str(code));
		client_close(c);
	}
	return code ? code : c->is_gone ? -EPIPE : 0;
}

/* The last line of an answer, without a request object. */
static void client_refuse(struct client *c, int exit_code, const char *error)
{
	char line[512], shown[400];

	/* str_escape()'s forms are those of JSON for everything that our own sentences contain. */
	str_escape(shown, sizeof(shown), error, strlen(error));
	snprintf(line, sizeof(line), "{\"done\":true,\"code\":%d,\"error\":\"%s\"}", exit_code, shown);
	(void)client_send(c, line, strlen(line));
}

static const struct ctl_command *find_command(const struct ctl_server *server, const char *name)
{
	for (const struct ctl_command *cmd = server->commands; name && cmd->name; cmd++) {
		if (strcmp(cmd->name, name) == 0)
			return cmd;
	}
	return NULL;
}

/* Runs one line. Whatever is wrong with it is answered; the connection stays usable. */
static void client_dispatch(struct client *c, char *line, size_t len)
{
	struct ctl_request *req = mem_calloc(1, sizeof(*req));
	const struct ctl_command *cmd;

	if (!req) {
		client_refuse(c, 1, err_str(ENOMEM));
		return;
	}
	list_init(&req->link);
	loop_post_init(&req->cancel_post, on_cancel_post, req);
	req->server = c->server;
	req->client = c;
	req->doc = yyjson_read_opts(line, len, YYJSON_READ_NOFLAG, &ctl_alc, NULL);
	if (!yyjson_is_obj(yyjson_doc_get_root(req->doc))) {
		request_free(req);
		client_refuse(c, 2, "the request is not a JSON object");
		return;
	}
	cmd = find_command(c->server, ctl_arg_cmd(req));
	if (!cmd) {
		request_free(req);
		client_refuse(c, 2, "unknown command");
		return;
	}
	list_add_tail(&c->server->requests, &req->link);
	c->request = req;
	cmd->fn(req, c->server->ctx);
}

/* Takes whole lines from the input while no request is open. */
static void process_input(struct client *c)
{
	c->busy++;
	while (!c->is_gone && !c->request) {
		uint8_t *newline = c->in.len ? memchr(c->in.data, '\n', c->in.len) : NULL;
		size_t len;

		if (!newline)
			break;
		len = (size_t)(newline - c->in.data);
		if (len)
			client_dispatch(c, (char *)c->in.data, len);
		buf_consume(&c->in, len + 1);
	}
	if (!c->is_gone && !c->request && c->in.len >= CTL_LINE_MAX) {
		client_refuse(c, 2, "the request is too long");
		buf_clear(&c->in);
		c->is_eof = true;
	}
	client_watch(c);
	c->busy--;
	client_release(c);
}

static void client_read(struct client *c)
{
	ssize_t n;

	size_t room = CTL_LINE_MAX - c->in.len < READ_MAX ? CTL_LINE_MAX - c->in.len : READ_MAX;

	if (buf_reserve(&c->in, room)) {
		client_close(c);
		return;
	}
	do {
		n = recv(c->io.fd, c->in.data + c->in.len, room, MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n < 0) {
		client_close(c);
		return;
	}
	if (n == 0)
		c->is_eof = true;
	buf_added(&c->in, (size_t)n);
	process_input(c);
}

static void on_client(struct loop_io *io, uint32_t events)
{
	struct client *c = io->ctx;

	c->busy++;
	/* Both directions are closed: nobody is there any more. What was sent before that is still read below. */
	if ((events & (EPOLLHUP | EPOLLERR)) && (c->request || !(events & EPOLLIN)))
		client_close(c);
	if (!c->is_gone && (events & EPOLLOUT)) {
		client_flush(c);
		client_watch(c);
	}
	if (!c->is_gone && (events & EPOLLIN) && !c->request)
		client_read(c);
	c->busy--;
	client_release(c);
}

/* Only root and the user that we run as. */
static bool is_allowed(int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return false;
	return cred.uid == 0 || cred.uid == geteuid();
}

int ctl_server_adopt(struct ctl_server *server, int fd, const void *data, size_t len)
{
	struct client *c;
	int code;

	if (!is_allowed(fd))
		return -EPERM;
	if (server->client_count >= CTL_CLIENTS_MAX)
		return -E_LIMIT;
	c = mem_calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->server = server;
	list_init(&c->link);
	buf_init(&c->in, CTL_LINE_MAX);
	buf_init(&c->out, CTL_OUT_MAX);
	loop_io_init(&c->io, fd, EPOLLIN, on_client, c);
	code = buf_append(&c->in, data, len);
	if (code == 0)
		code = loop_io_add(server->loop, &c->io);
	if (code) {
		buf_release(&c->in);
		mem_free(c);
		return code;
	}
	list_add_tail(&server->clients, &c->link);
	server->client_count++;
	if (len)
		process_input(c);
	return 0;
}

static void on_listener(struct loop_io *io, uint32_t events)
{
	struct ctl_server *server = io->ctx;

	(void)events;
	for (int i = 0; i < ACCEPTS_MAX; i++) {
		int fd = accept4(server->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		int code;

		if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
			continue;
		if (fd < 0) {
			if (errno != EAGAIN)
				log_every(10000, LOG_LEVEL_ERR, "control socket %s: cannot accept: %s",
					  server->path, err_str(errno));
			return;
		}
		code = ctl_server_adopt(server, fd, NULL, 0);
		if (code) {
			log_every(1000, LOG_LEVEL_WARN, "control socket %s: client refused: %s", server->path,
				  err_str(code));
			close(fd);
		}
	}
}

/* ---- the listener ---- */

/* Whether somebody answers on this path. */
static bool is_served(const struct sockaddr_un *addr)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	bool answer;

	if (fd < 0)
		return true; /* cannot tell: nothing is taken over */
	answer = connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0 || errno == EAGAIN;
	close(fd);
	return answer;
}

static int open_listener(struct ctl_server *server, struct err_text *err)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), rc, code;

	if (fd < 0)
		return err_set(err, -errno, "cannot listen on %s: %s", server->path, err_str(errno));
	memcpy(addr.sun_path, server->path, sizeof(addr.sun_path));
	/* The mode of a socket before bind becomes that of its file: never open to others, not for a moment. */
	(void)fchmod(fd, 0600);
	rc = bind(fd, (struct sockaddr *)&addr, sizeof(addr));
	if (rc < 0 && errno == EADDRINUSE) {
		if (is_served(&addr)) {
			close(fd);
			return err_set(err, -E_LOCKED, "cannot listen on %s: %s", server->path,
				       err_str(E_LOCKED));
		}
		(void)unlink(server->path);
		rc = bind(fd, (struct sockaddr *)&addr, sizeof(addr));
	}
	if (rc < 0 || listen(fd, BACKLOG) < 0) {
		code = -errno;
		close(fd);
		return err_set(err, code, "cannot listen on %s: %s", server->path, err_str(code));
	}
	server->listen_fd = fd;
	return 0;
}

int ctl_server_new_bare(struct ctl_server **server, struct loop *loop, const struct ctl_command *commands,
			void *ctx)
{
	struct ctl_server *s = mem_calloc(1, sizeof(*s));

	*server = s;
	if (!s)
		return -ENOMEM;
	s->loop = loop;
	s->commands = commands;
	s->ctx = ctx;
	s->listen_fd = -1;
	list_init(&s->clients);
	list_init(&s->requests);
	return 0;
}

int ctl_server_new(struct ctl_server **server, struct loop *loop, const char *path,
		   const struct ctl_command *commands, void *ctx, struct err_text *err)
{
	struct ctl_server *s;
	int code = ctl_server_new_bare(&s, loop, commands, ctx);

	*server = NULL;
	if (code)
		return err_set(err, code, "cannot listen on %s: %s", path, err_str(code));
	code = str_copy(s->path, sizeof(s->path), path);
	if (code)
		err_set(err, code, "cannot listen on %s: longer than %zu bytes", path, sizeof(s->path) - 1);
	else
		code = open_listener(s, err);
	if (code) {
		mem_free(s);
		return code;
	}
	loop_io_init(&s->listener, s->listen_fd, EPOLLIN, on_listener, s);
	code = loop_io_add(loop, &s->listener);
	if (code) {
		err_set(err, code, "cannot listen on %s: %s", path, err_str(code));
		ctl_server_free(s);
		return code;
	}
	*server = s;
	return 0;
}

void ctl_server_free(struct ctl_server *server)
{
	struct list *link;

	if (!server)
		return;
	if (server->listen_fd >= 0) {
		loop_io_del(&server->listener);
		close(server->listen_fd);
		(void)unlink(server->path);
	}
	while ((link = list_first(&server->clients)))
		client_close(container_of(link, struct client, link));
	/* Those whose owners have not called ctl_done() yet: told now, and freed whatever they do. */
	while ((link = list_first(&server->requests))) {
		struct ctl_request *req = container_of(link, struct ctl_request, link);

		list_del(link);
		req->is_done = true;
		request_cancel(req);
	}
	mem_free(server);
}

size_t ctl_server_clients(const struct ctl_server *server)
{
	return server->client_count;
}

/* ---- requests ---- */

yyjson_val *ctl_arg(const struct ctl_request *req)
{
	return yyjson_doc_get_root(req->doc);
}

const char *ctl_arg_cmd(const struct ctl_request *req)
{
	return ctl_arg_str(req, "cmd", NULL);
}

const char *ctl_arg_str(const struct ctl_request *req, const char *name, const char *def)
{
	const char *text = yyjson_get_str(yyjson_obj_get(ctl_arg(req), name));

	return text ? text : def;
}

uint64_t ctl_arg_u64(const struct ctl_request *req, const char *name, uint64_t def)
{
	yyjson_val *v = yyjson_obj_get(ctl_arg(req), name);

	return yyjson_is_uint(v) ? yyjson_get_uint(v) : def;
}

bool ctl_arg_bool(const struct ctl_request *req, const char *name, bool def)
{
	yyjson_val *v = yyjson_obj_get(ctl_arg(req), name);

	return yyjson_is_bool(v) ? yyjson_get_bool(v) : def;
}

void ctl_on_cancel(struct ctl_request *req, void (*fn)(struct ctl_request *req, void *ctx), void *ctx)
{
	req->cancel = fn;
	req->cancel_ctx = ctx;
}

bool ctl_is_cancelled(const struct ctl_request *req)
{
	return !req->client;
}

int ctl_send(struct ctl_request *req, yyjson_mut_doc *doc)
{
	struct client *c = req->client;
	size_t len;
	char *text;
	int code;

	if (!c)
		return -EPIPE;
	text = yyjson_mut_write_opts(doc, YYJSON_WRITE_NOFLAG, &ctl_alc, &len, NULL);
	if (!text)
		return -ENOMEM;
	c->busy++;
	code = client_send(c, text, len);
	client_watch(c);
	c->busy--;
	client_release(c);
	mem_free(text);
	return code;
}

int ctl_progress(struct ctl_request *req, const char *text, uint64_t done, uint64_t total)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(&ctl_alc);
	yyjson_mut_val *root = yyjson_mut_obj(doc), *inner = yyjson_mut_obj(doc);
	int code = -ENOMEM;

	if (doc && yyjson_mut_obj_add_str(doc, inner, "text", text) &&
	    yyjson_mut_obj_add_uint(doc, inner, "done", done) &&
	    yyjson_mut_obj_add_uint(doc, inner, "total", total) &&
	    yyjson_mut_obj_add_val(doc, root, "progress", inner)) {
		yyjson_mut_doc_set_root(doc, root);
		code = ctl_send(req, doc);
	}
	yyjson_mut_doc_free(doc);
	return code;
}

/* Frees the request and lets its client go on. */
static void request_end(struct ctl_request *req)
{
	struct client *c = req->client;

	if (req->is_held) {
		req->is_done = true;
		return;
	}
	request_free(req);
	if (!c)
		return;
	c->request = NULL;
	if (!c->busy) /* otherwise we are inside the frame that takes the next line */
		process_input(c);
}

void ctl_done_doc(struct ctl_request *req, int exit_code, yyjson_mut_doc *doc)
{
	yyjson_mut_val *root = yyjson_mut_doc_get_root(doc);
	int code = -ENOMEM;

	if (req->client) {
		if (yyjson_mut_is_obj(root) && yyjson_mut_obj_add_bool(doc, root, "done", true) &&
		    yyjson_mut_obj_add_int(doc, root, "code", exit_code))
			code = ctl_send(req, doc);
		/* Without its last line the answer must not look complete: the client sees the connection end. */
		if (code && req->client) {
			log_warn("control socket: cannot answer: %s", err_str(code));
			client_close(req->client);
		}
	}
	request_end(req);
}

void ctl_done(struct ctl_request *req, int exit_code, const char *error_format, ...)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(&ctl_alc);
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	char error[1024] = "";
	va_list ap;

	if (error_format) {
		va_start(ap, error_format);
		vsnprintf(error, sizeof(error), error_format, ap);
		va_end(ap);
	}
	yyjson_mut_doc_set_root(doc, root);
	if (error[0] && exit_code)
		(void)yyjson_mut_obj_add_str(doc, root, "error",
					     error); /* without it the code still arrives */
	ctl_done_doc(req, exit_code, doc);
	yyjson_mut_doc_free(doc);
}
