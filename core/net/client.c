/*
 * client: see client.h. hiredis connects (names, time limit, TCP or unix) and reads replies; sending and
 * receiving is done here, on a non-blocking socket, because hiredis bounds each system call and not the whole
 * operation, and would stop reading while it writes: two peers that both only write wait for each other.
 */
#include "core/net/client.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "core/base/buf.h"
#include "core/base/clock.h"
#include "core/base/err.h"
#include "core/base/mem.h"
#include "core/net/resp.h"
#include "core/net/sha1.h"

#define CONNECT_MS_DEFAULT 5000
#define OP_MS_DEFAULT      30000
#define REPLY_MAX_DEFAULT  (64u << 20)
#define ELEMENTS_DEFAULT   (1u << 20)
#define OUT_MAX            (80u << 20) /* queued requests */
#define OUT_FLUSH          (1u << 20)  /* queue length at which client_append() begins to send */
#define READ_SIZE          (64u << 10)
#define KEEP_SIZE          (64u << 10) /* an emptied send buffer larger than this is given back */
#define WORDS_MAX          16

struct client {
	redisContext *ctx; /* NULL = broken */
	struct redisReplyObjectFunctions fn;
	void *(*create_array)(const redisReadTask *task, size_t elements);
	struct buf out;
	uint8_t *in;    /* READ_SIZE bytes */
	size_t pending; /* replies owed */
	/* replies that arrived while requests were being sent, in order */
	redisReply **early;
	size_t early_count, early_cap, early_first;
	unsigned op_ms, op_ms_default;
	size_t reply_max;
	char name[512];
	char error[512];
};

/* ------------------------------------------------------------------------------------------------ errors */

__attribute__((format(printf, 3, 4))) static int fail(struct client *c, int code, const char *format, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	snprintf(c->error, sizeof(c->error), "%.200s: %s", c->name, text);
	return code;
}

static void disconnect(struct client *c)
{
	if (c->ctx)
		redisFree(c->ctx);
	c->ctx = NULL;
	c->pending = 0;
}

/* An error after which the stream of replies cannot be trusted. */
#define broken(c, code, ...) (disconnect(c), fail(c, code, __VA_ARGS__))

const char *client_error(const struct client *c)
{
	return c->error;
}

const char *client_name(const struct client *c)
{
	return c->name;
}

int client_fd(const struct client *c)
{
	return c->ctx ? c->ctx->fd : -1;
}

size_t client_pending(const struct client *c)
{
	return c->pending;
}

/* ------------------------------------------------------------------------------------------- transport */

/* hiredis grows its stack with the nesting of a reply and frees recursively: no deeper than this. */
static void *limited_array(const redisReadTask *task, size_t elements)
{
	const struct client *c = task->privdata;
	const redisReadTask *up;
	unsigned depth = 0;

	for (up = task->parent; up; up = up->parent)
		depth++;
	return depth >= RESP_DEPTH_MAX ? NULL : c->create_array(task, elements);
}

/* What the reader holds that is not yet a reply. */
static size_t reader_bytes(const struct client *c)
{
	return c->ctx->reader->len - c->ctx->reader->pos;
}

/* Reads once into the reader. 0 also when nothing was there. */
static int receive(struct client *c)
{
	ssize_t n = recv(c->ctx->fd, c->in, READ_SIZE, MSG_DONTWAIT);

	if (n == 0)
		return broken(c, -ECONNRESET, "closed by the server");
	if (n < 0) {
		int code = -errno;

		if (code == -EAGAIN || code == -EINTR)
			return 0;
		return broken(c, code, "%s", strerror(-code));
	}
	if (reader_bytes(c) + (size_t)n > c->reply_max)
		return broken(c, -EMSGSIZE, "a reply of more than %zu bytes", c->reply_max);
	if (redisReaderFeed(c->ctx->reader, (const char *)c->in, (size_t)n) != REDIS_OK)
		return broken(c, -ENOMEM, "out of memory");
	return 0;
}

/* Sends what it can without waiting. */
static int transmit(struct client *c)
{
	ssize_t n;

	if (c->out.len == 0)
		return 0;
	n = send(c->ctx->fd, c->out.data, c->out.len, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0) {
		int code = -errno;

		if (code == -EAGAIN || code == -EINTR)
			return 0;
		return broken(c, code, "%s", strerror(-code));
	}
	buf_consume(&c->out, (size_t)n);
	if (c->out.len == 0 && c->out.cap > KEEP_SIZE)
		buf_release(&c->out);
	return 0;
}

/* The next reply out of what was received; *reply NULL when there is no whole one. */
static int extract(struct client *c, redisReply **reply)
{
	void *got = NULL;

	*reply = NULL;
	if (redisReaderGetReply(c->ctx->reader, &got) != REDIS_OK) {
		int code = c->ctx->reader->err == REDIS_ERR_OOM ? -EMSGSIZE : -EPROTO;
		char text[128];

		snprintf(text, sizeof(text), "%s", c->ctx->reader->errstr);
		return broken(c, code, "not a reply: %s", text);
	}
	if (!got)
		return 0;
	*reply = got;
	if ((*reply)->type == REDIS_REPLY_PUSH || c->pending == 0) {
		freeReplyObject(got);
		*reply = NULL;
		return broken(c, -EPROTO, "a message that nobody asked for");
	}
	return 0;
}

static int keep_early(struct client *c, redisReply *reply)
{
	if (c->early_count == c->early_cap) {
		size_t cap = c->early_cap ? c->early_cap * 2 : 64;
		redisReply **grown = mem_realloc(c->early, cap * sizeof(*grown));

		if (!grown) {
			freeReplyObject(reply);
			return broken(c, -ENOMEM, "out of memory");
		}
		c->early = grown;
		c->early_cap = cap;
	}
	c->early[c->early_count++] = reply;
	return 0;
}

static redisReply *take_early(struct client *c)
{
	redisReply *reply;

	if (c->early_first == c->early_count)
		return NULL;
	reply = c->early[c->early_first++];
	if (c->early_first == c->early_count)
		c->early_first = c->early_count = 0;
	return reply;
}

/* Waits for the socket; sends and receives once. */
static int turn(struct client *c, uint64_t deadline)
{
	uint64_t now = clock_mono_ms();
	struct pollfd p = {.fd = c->ctx->fd, .events = POLLIN};
	int n, err;

	if (now >= deadline)
		return broken(c, -ETIMEDOUT, "timed out after %u ms", c->op_ms);
	if (c->out.len > 0)
		p.events |= POLLOUT;
	n = poll(&p, 1, (int)(deadline - now));
	if (n < 0 && errno != EINTR)
		return broken(c, -errno, "poll: %s", strerror(errno));
	if (n <= 0)
		return 0;
	if (p.revents & POLLOUT) {
		err = transmit(c);
		if (err)
			return err;
	}
	return p.revents & (POLLIN | POLLHUP | POLLERR) ? receive(c) : 0;
}

int client_append(struct client *c, int argc, const char **argv, const size_t *lens)
{
	uint64_t deadline = clock_mono_ms() + c->op_ms;
	int err;

	if (!c->ctx)
		return -ENOTCONN;
	if (c->pending == 0 && reader_bytes(c) > 0)
		return broken(c, -EPROTO, "a message that nobody asked for");
	err = resp_put_request(&c->out, (size_t)argc, (const void *const *)argv, lens);
	if (err)
		return fail(c, err, "cannot queue a request: %s", err_str(err));
	c->pending++;
	while (c->out.len > OUT_FLUSH) {
		redisReply *reply;

		err = turn(c, deadline);
		if (err)
			return err;
		for (;;) {
			err = extract(c, &reply);
			if (err || !reply)
				break;
			err = keep_early(c, reply);
			if (err)
				break;
		}
		if (err)
			return err;
	}
	return 0;
}

int client_take(struct client *c, redisReply **reply)
{
	uint64_t deadline = clock_mono_ms() + c->op_ms;
	int err;

	*reply = take_early(c);
	if (*reply) {
		if (c->pending > 0)
			c->pending--;
		return 0;
	}
	if (!c->ctx)
		return -ENOTCONN;
	if (c->pending == 0)
		return fail(c, -EINVAL, "no reply is owed");
	err = transmit(c);
	while (!err) {
		err = extract(c, reply);
		if (err || *reply)
			break;
		err = turn(c, deadline);
	}
	if (err)
		return err;
	c->pending--;
	return 0;
}

/* Takes and drops everything that is still owed. */
static int discard(struct client *c)
{
	redisReply *reply;
	int err = 0;

	while (!err && c->pending > 0) {
		err = client_take(c, &reply);
		if (!err)
			freeReplyObject(reply);
	}
	return err;
}

int client_command(struct client *c, redisReply **reply, int argc, const char **argv, const size_t *lens)
{
	int err;

	*reply = NULL;
	err = discard(c);
	if (!err)
		err = client_append(c, argc, argv, lens);
	return err ? err : client_take(c, reply);
}

int client_words(struct client *c, redisReply **reply, ...)
{
	const char *words[WORDS_MAX];
	size_t lens[WORDS_MAX];
	int argc = 0;
	va_list ap;

	va_start(ap, reply);
	while (argc < WORDS_MAX && (words[argc] = va_arg(ap, const char *))) {
		lens[argc] = strlen(words[argc]);
		argc++;
	}
	va_end(ap);
	return client_command(c, reply, argc, words, lens);
}

/* ------------------------------------------------------------------------------------- opening, closing */

static void name_set(struct client *c, const struct client_addr *addr)
{
	bool v6 = strchr(addr->host, ':');

	if (addr->unix_path[0])
		snprintf(c->name, sizeof(c->name), "%s", addr->unix_path);
	else
		snprintf(c->name, sizeof(c->name), "%s%s%s:%u", v6 ? "[" : "", addr->host, v6 ? "]" : "",
			 addr->port);
	if (addr->ns[0] && strlen(c->name) + strlen(addr->ns) + 2 <= sizeof(c->name)) {
		strcat(c->name, "/");
		strcat(c->name, addr->ns);
	}
}

static int connect_failed(struct client *c, unsigned connect_ms)
{
	int code = c->ctx->err == REDIS_ERR_IO && errno ? -errno : -EHOSTUNREACH;
	char text[128];

	snprintf(text, sizeof(text), "%s", c->ctx->errstr);
	/* hiredis waits with poll() and reports its end in several ways */
	if (code == -EAGAIN || code == -EINPROGRESS || code == -ETIMEDOUT)
		return broken(c, -ETIMEDOUT, "no connection within %u ms", connect_ms);
	return broken(c, code, "%s", text);
}

static int make_connection(struct client *c, const struct client_addr *addr, unsigned connect_ms)
{
	struct timeval tv = {.tv_sec = connect_ms / 1000, .tv_usec = (connect_ms % 1000) * 1000};
	redisOptions o = {0};
	int flags;

	if (addr->unix_path[0])
		REDIS_OPTIONS_SET_UNIX(&o, addr->unix_path);
	else
		REDIS_OPTIONS_SET_TCP(&o, addr->host, addr->port);
	o.connect_timeout = &tv;
	errno = 0;
	c->ctx = redisConnectWithOptions(&o);
	if (!c->ctx)
		return fail(c, -ENOMEM, "out of memory");
	if (c->ctx->err)
		return connect_failed(c, connect_ms);
	flags = fcntl(c->ctx->fd, F_GETFL);
	if (flags < 0 || fcntl(c->ctx->fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
	    fcntl(c->ctx->fd, F_SETFD, FD_CLOEXEC) < 0)
		return broken(c, -errno, "%s", strerror(errno));
	return 0;
}

static void limit_reader(struct client *c, const struct client_options *opt)
{
	redisReader *reader = c->ctx->reader;

	c->fn = *reader->fn;
	c->create_array = c->fn.createArray;
	c->fn.createArray = limited_array;
	reader->fn = &c->fn;
	reader->privdata = c;
	reader->maxelements = (long long)(opt->elements_max ? opt->elements_max : ELEMENTS_DEFAULT);
	reader->maxbuf = KEEP_SIZE;
}

/* +OK is 0; an error reply becomes `code` with its text. Frees the reply. */
static int expect_ok(struct client *c, redisReply *reply, int code)
{
	int err = 0;

	if (reply->type == REDIS_REPLY_ERROR)
		err = fail(c, code, "%s", reply->str);
	else if (reply->type != REDIS_REPLY_STATUS)
		err = fail(c, -EPROTO, "unexpected reply while entering");
	freeReplyObject(reply);
	return err;
}

/* The answer to a fresh challenge; -EOPNOTSUPP where the server does not know the form. */
static int challenge(struct client *c, const char *password, char answer[41])
{
	redisReply *reply;
	int err = client_words(c, &reply, "AUTH", "SECURE", "CHALLENGE", NULL);

	if (err)
		return err;
	if (reply->type == REDIS_REPLY_STATUS && reply->len == 16)
		sha1_challenge(answer, reply->str, password);
	else
		err = -EOPNOTSUPP;
	freeReplyObject(reply);
	return err;
}

static int enter_namespace(struct client *c, const struct client_addr *addr, bool plain)
{
	redisReply *reply;
	char answer[41] = "";
	int err;

	if (!addr->password[0]) {
		err = client_words(c, &reply, "SELECT", addr->ns, NULL);
		goto out;
	}
	err = plain ? -EOPNOTSUPP : challenge(c, addr->password, answer);
	if (!err)
		err = client_words(c, &reply, "SELECT", addr->ns, "SECURE", answer, NULL);
	else if (err == -EOPNOTSUPP)
		err = client_words(c, &reply, "SELECT", addr->ns, addr->password, NULL);
out:
	mem_wipe(answer, sizeof(answer));
	if (err)
		return err;
	if (reply->type == REDIS_REPLY_ERROR && strcmp(reply->str, "Namespace not found") == 0)
		return expect_ok(c, reply, -ENOENT);
	return expect_ok(c, reply, -EACCES);
}

static int log_in(struct client *c, const struct client_addr *addr, bool plain)
{
	redisReply *reply;
	char answer[41] = "";
	int err = plain ? -EOPNOTSUPP : challenge(c, addr->password, answer);

	if (!err)
		err = client_words(c, &reply, "AUTH", "SECURE", answer, NULL);
	else if (err == -EOPNOTSUPP)
		err = client_words(c, &reply, "AUTH", addr->password, NULL);
	mem_wipe(answer, sizeof(answer));
	return err ? err : expect_ok(c, reply, -EACCES);
}

int client_open(struct client **out, const struct client_addr *addr, const struct client_options *opt,
		char *why, size_t why_size)
{
	static const struct client_options defaults;
	struct client *c = mem_calloc(1, sizeof(*c));
	unsigned connect_ms;
	int err;

	*out = NULL;
	if (!opt)
		opt = &defaults;
	if (!c || !(c->in = mem_alloc(READ_SIZE))) {
		mem_free(c);
		if (why_size)
			snprintf(why, why_size, "out of memory");
		return -ENOMEM;
	}
	buf_init(&c->out, OUT_MAX);
	connect_ms = opt->connect_ms ? opt->connect_ms : CONNECT_MS_DEFAULT;
	c->op_ms_default = c->op_ms = opt->op_ms ? opt->op_ms : OP_MS_DEFAULT;
	c->reply_max = opt->reply_max ? opt->reply_max : REPLY_MAX_DEFAULT;
	name_set(c, addr);
	err = make_connection(c, addr, connect_ms);
	if (err)
		goto out;
	limit_reader(c, opt);
	if (opt->no_select)
		goto out;
	if (addr->ns[0])
		err = enter_namespace(c, addr, opt->plain_password);
	else if (addr->password[0])
		err = log_in(c, addr, opt->plain_password);
out:
	if (err) {
		if (why_size)
			snprintf(why, why_size, "%s", c->error);
		client_close(c);
		return err;
	}
	*out = c;
	return 0;
}

void client_close(struct client *c)
{
	redisReply *reply;

	if (!c)
		return;
	while ((reply = take_early(c)))
		freeReplyObject(reply);
	disconnect(c);
	buf_release_wiped(&c->out); /* it may hold a password */
	mem_free(c->early);
	mem_free(c->in);
	mem_free(c);
}

/* ------------------------------------------------------------------------------------------ NSINFO, INFO */

int client_nsinfo(struct client *c, const char *ns, struct nsinfo *out)
{
	redisReply *reply;
	int err = client_words(c, &reply, "NSINFO", ns, NULL);

	if (err)
		return err;
	if (reply->type == REDIS_REPLY_STRING)
		err = nsinfo_parse(out, reply->str, reply->len);
	else if (reply->type == REDIS_REPLY_ERROR && strcmp(reply->str, "Namespace not found") == 0)
		err = -ENOENT;
	else
		err = -EPROTO;
	if (err)
		fail(c, err, "NSINFO %s: %s", ns,
		     reply->type == REDIS_REPLY_ERROR ? reply->str : "unexpected reply");
	freeReplyObject(reply);
	return err;
}

static unsigned extension_bits(const char *words)
{
	static const struct {
		const char *word;
		unsigned bit;
	} known[] = {
		{"sync", CLIENT_EXT_SYNC},   {"range", CLIENT_EXT_RANGE}, {"batch", CLIENT_EXT_BATCH},
		{"evict", CLIENT_EXT_EVICT}, {"cut", CLIENT_EXT_CUT},
	};
	unsigned bits = 0;
	size_t i, len;

	while (*words && *words != '\n' && *words != '\r') {
		len = strcspn(words, " \r\n");
		for (i = 0; i < sizeof(known) / sizeof(known[0]); i++)
			if (strlen(known[i].word) == len && memcmp(known[i].word, words, len) == 0)
				bits |= known[i].bit;
		words += len;
		words += strspn(words, " ");
	}
	return bits;
}

int client_extensions(struct client *c, unsigned *bits, bool *is_zdb)
{
	redisReply *reply;
	const char *line;
	int err = client_words(c, &reply, "INFO", NULL);

	*bits = 0;
	if (is_zdb)
		*is_zdb = false;
	if (err)
		return err;
	if (reply->type == REDIS_REPLY_STRING) {
		line = strstr(reply->str, "\nextensions: ");
		if (line)
			*bits = extension_bits(line + strlen("\nextensions: "));
		if (is_zdb)
			*is_zdb = strstr(reply->str, "server_name: 0-db") != NULL;
	}
	freeReplyObject(reply);
	return 0;
}

/* -------------------------------------------------------------------------------------------- addresses */

static bool copy_part(char *out, size_t size, const char *from, size_t len)
{
	if (len >= size)
		return false;
	memcpy(out, from, len);
	out[len] = '\0';
	return true;
}

int client_addr_parse(struct client_addr *addr, const char *text)
{
	const char *host = text, *host_end, *port, *slash;
	char *end;
	unsigned long n;

	if (strncmp(text, "unix:", 5) == 0)
		text += 5;
	if (text != host || text[0] == '/') {
		if (!text[0] || !copy_part(addr->unix_path, sizeof(addr->unix_path), text, strlen(text)))
			return -EINVAL;
		addr->host[0] = '\0';
		addr->port = 0;
		return 0;
	}
	if (host[0] == '[') {
		host_end = strchr(++host, ']');
		if (!host_end || host_end[1] != ':')
			return -EINVAL;
		port = host_end + 2;
	} else {
		slash = strchr(host, '/');
		port = slash ? memrchr(host, ':', (size_t)(slash - host)) : strrchr(host, ':');
		if (!port)
			return -EINVAL;
		host_end = port++;
	}
	if (host_end == host || port[0] < '0' || port[0] > '9')
		return -EINVAL;
	n = strtoul(port, &end, 10);
	if (n == 0 || n > 65535 || (*end && *end != '/'))
		return -EINVAL;
	if (!copy_part(addr->host, sizeof(addr->host), host, (size_t)(host_end - host)))
		return -EINVAL;
	if (*end == '/' && (!end[1] || !copy_part(addr->ns, sizeof(addr->ns), end + 1, strlen(end + 1))))
		return -EINVAL;
	addr->port = (uint16_t)n;
	addr->unix_path[0] = '\0';
	return 0;
}
