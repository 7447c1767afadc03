/*
 * kv_conn: one connection and its thread.
 *
 * The thread takes requests from its queue while fewer than CONN_WINDOW wait for answers, writes them, and reads answers;
 * answers come in the order of the requests. Changes that belong together go as one BATCH where the server knows that, and
 * the next one only after its answer: so a namespace that is locked refuses a whole batch or nothing of it, and order is
 * kept when it is sent again.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "applets/zdbfs/kv_remote_int.h"
#include "core/base/clock.h"
#include "core/base/endian.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/net/resp.h"

#define RETRY_LOCKED_MS 100
#define STUCK_MS        100 /* a reader whose oldest request waits longer takes no more */
#define IN_MAX          ((size_t)KV_VALUE_MAX + (1u << 20))

/* One command on the wire and the requests that its answer is for (more than one: a BATCH). */
struct command {
	struct list link;
	struct list reqs; /* struct kv_req.link */
	size_t count;
	bool is_batch;
	uint64_t sent_ms;
};

void conn_wake(struct conn *c)
{
	uint64_t one = 1;
	ssize_t n = write(c->wake_fd, &one, sizeof(one));

	(void)n; /* full means that it is awake anyway */
}

/* --------------------------------------------------------------------------------------------- finishing */

static void finish(struct kv_req *req, int err)
{
	req->err = err;
	req->done(req);
}

/* Back to the front of the queue, in order. */
static void requeue(struct conn *c, struct list *cmds)
{
	struct list back;
	struct list *l;

	list_init(&back);
	while ((l = list_pop(cmds))) {
		struct command *cmd = container_of(l, struct command, link);

		list_splice_tail(&back, &cmd->reqs);
		mem_free(cmd);
	}
	pthread_mutex_lock(&c->r->lock);
	list_each(&back, it)
	{
		container_of(it, struct kv_req, link)->tries++;
		c->queue->count++;
	}
	list_splice_tail(&back, &c->queue->reqs);
	list_splice_tail(&c->queue->reqs, &back);
	c->in_flight = 0;
	c->oldest_ms = 0;
	pthread_mutex_unlock(&c->r->lock);
}

static void disconnect(struct conn *c, const char *why)
{
	if (!c->client)
		return;
	if (why && !c->r->is_stopping)
		log_every(1000, LOG_LEVEL_WARN, "connection to %s (%s) is broken: %s", client_name(c->client),
			  kv_role_str(c->role), why);
	client_close(c->client);
	c->client = NULL;
	c->fd = -1;
	buf_clear(&c->in);
	buf_clear(&c->out);
	requeue(c, &c->sent);
}

/* ----------------------------------------------------------------------------------------------- connecting */

uint64_t conn_instance(struct client *c)
{
	redisReply *reply = NULL;
	uint64_t id = 0;

	if (client_words(c, &reply, "INFO", NULL) == 0 && reply->type == REDIS_REPLY_STRING) {
		const char *at = strstr(reply->str, "instance_id:");
		unsigned long long v;

		if (at && sscanf(at, "instance_id: %llu", &v) == 1)
			id = v;
	}
	if (reply)
		freeReplyObject(reply);
	return id;
}

/* A server with another instance number was restarted: what it answered but did not sync may be gone. */
static void note_instance(struct conn *c)
{
	uint64_t id = conn_instance(c->client);

	if (c->r->instance[c->role] != id || !id)
		c->r->epoch[c->role]++;
	c->r->instance[c->role] = id;
}

static void connect_now(struct conn *c)
{
	struct client_options opt = {.connect_ms = 3000, .op_ms = 10000};
	char why[256];
	int rc = client_open(&c->client, &c->r->opt.addr[c->role], &opt, why, sizeof(why));

	if (rc) {
		c->client = NULL;
		c->failures++;
		c->retry_ms = clock_mono_ms() + (c->failures < 5 ? 50u << c->failures : 1000);
		log_every(5000, LOG_LEVEL_WARN, "cannot reach the %s namespace: %s: trying again",
			  kv_role_str(c->role), why);
		return;
	}
	if (c->is_writer)
		note_instance(c);
	c->fd = client_fd(c->client);
	(void)fcntl(c->fd, F_SETFL, O_NONBLOCK);
	if (c->failures || c->has_been_connected) {
		c->r->reconnects++;
		log_info("connected to %s again", client_name(c->client));
	}
	c->has_been_connected = true;
	c->failures = 0;
	c->retry_ms = 0;
}

/* -------------------------------------------------------------------------------------------------- sending */

static int put_arg_head(struct buf *b, size_t len)
{
	return buf_append_fmt(b, "$%zu\r\n", len);
}

static int put_word(struct buf *b, const char *word)
{
	return buf_append_fmt(b, "$%zu\r\n%s\r\n", strlen(word), word);
}

static int put_key(struct buf *b, uint64_t key)
{
	uint8_t raw[8];
	int rc;

	if (key == KV_NEW)
		return put_word(b, "");
	put_u64le(raw, key);
	rc = put_arg_head(b, sizeof(raw));
	if (!rc)
		rc = buf_append(b, raw, sizeof(raw));
	return rc ? rc : buf_append(b, "\r\n", 2);
}

static int put_set(struct buf *b, const struct kv_req *req)
{
	int rc = put_word(b, "SET");

	if (!rc)
		rc = put_key(b, req->key);
	if (!rc)
		rc = put_arg_head(b, req->len);
	if (!rc)
		rc = buf_append(b, req->data, req->len);
	return rc ? rc : buf_append(b, "\r\n", 2);
}

static int put_key_command(struct buf *b, const char *word, uint64_t key)
{
	int rc = put_word(b, word);

	return rc ? rc : put_key(b, key);
}

static int encode_one(struct buf *b, const struct kv_req *req, bool can_sync)
{
	switch (req->op) {
	case KV_GET:
		return buf_append_str(b, "*2\r\n") || put_key_command(b, "GET", req->key);
	case KV_EXISTS:
		return buf_append_str(b, "*2\r\n") || put_key_command(b, "EXISTS", req->key);
	case KV_SET:
		return buf_append_str(b, "*3\r\n") || put_set(b, req);
	case KV_DEL:
		return buf_append_str(b, "*2\r\n") || put_key_command(b, "DEL", req->key);
	case KV_SYNC:
		/* Without SYNC its place in the order is all that can be had. */
		return buf_append_str(b, "*1\r\n") || put_word(b, can_sync ? "SYNC" : "PING");
	case KV_FLUSH:
		return buf_append_str(b, "*1\r\n") || put_word(b, "FLUSH");
	}
	return -EINVAL;
}

static int encode_batch(struct buf *b, const struct command *cmd)
{
	size_t args = 1;
	int rc;

	list_each(&cmd->reqs, it) args += container_of(it, struct kv_req, link)->op == KV_SET ? 3 : 2;
	rc = buf_append_fmt(b, "*%zu\r\n", args);
	if (!rc)
		rc = put_word(b, "BATCH");
	list_each(&cmd->reqs, it)
	{
		const struct kv_req *req = container_of(it, struct kv_req, link);

		if (!rc)
			rc = req->op == KV_SET ? put_set(b, req) : put_key_command(b, "DEL", req->key);
	}
	return rc;
}

static bool is_batchable(const struct kv_req *req)
{
	return req->is_batch && (req->op == KV_SET || req->op == KV_DEL);
}

/* The next command from the queue, or NULL. */
static struct command *take(struct conn *c)
{
	struct kv_remote *r = c->r;
	bool can_batch = r->kv.can & KV_CAN_BATCH;
	struct command *cmd = NULL;
	size_t bytes = 0;
	struct list *l;

	pthread_mutex_lock(&r->lock);
	while ((l = list_first(&c->queue->reqs))) {
		struct kv_req *req = container_of(l, struct kv_req, link);
		bool joins = can_batch && is_batchable(req);

		if (cmd &&
		    (!cmd->is_batch || !joins || cmd->count == BATCH_ITEMS || bytes + req->len > BATCH_BYTES))
			break;
		if (!cmd) {
			cmd = mem_calloc(1, sizeof(*cmd));
			if (!cmd)
				break;
			list_init(&cmd->reqs);
			cmd->is_batch = joins;
		}
		list_del(&req->link);
		list_add_tail(&cmd->reqs, &req->link);
		c->queue->count--;
		cmd->count++;
		bytes += req->len + 64;
	}
	if (cmd) {
		cmd->sent_ms = clock_mono_ms();
		c->in_flight++;
		if (!c->oldest_ms)
			c->oldest_ms = cmd->sent_ms;
	}
	pthread_mutex_unlock(&r->lock);
	return cmd;
}

static bool may_take(const struct conn *c, uint64_t now)
{
	const struct command *last;

	if (!c->client || now < c->retry_ms || c->in_flight >= CONN_WINDOW || c->out.len > (8u << 20))
		return false;
	if (!c->is_writer)
		return !c->oldest_ms || now - c->oldest_ms < STUCK_MS;
	/* behind a BATCH nothing is sent before its answer */
	if (list_is_empty(&c->sent))
		return true;
	last = container_of(list_last(&c->sent), struct command, link);
	return !last->is_batch;
}

/* Moves requests from the queue to the wire's buffer. Returns false when memory is short. */
static bool fill(struct conn *c)
{
	while (may_take(c, clock_mono_ms())) {
		struct command *cmd = take(c);
		int rc;

		if (!cmd)
			break;
		/* a batch waits until everything before it is answered, so that it may be sent again alone */
		list_add_tail(&c->sent, &cmd->link);
		rc = cmd->is_batch
			     ? encode_batch(&c->out, cmd)
			     : encode_one(&c->out, container_of(list_first(&cmd->reqs), struct kv_req, link),
					  c->r->kv.can & KV_CAN_SYNC);
		if (rc) {
			disconnect(c, "out of memory");
			c->retry_ms = clock_mono_ms() + 100;
			return false;
		}
	}
	return true;
}

static void send_some(struct conn *c)
{
	while (c->client && c->out.len) {
		ssize_t n = send(c->fd, c->out.data, c->out.len, MSG_NOSIGNAL);

		if (n > 0)
			buf_consume(&c->out, (size_t)n);
		else if (n < 0 && errno == EINTR)
			continue;
		else if (n < 0 && errno == EAGAIN)
			return;
		else
			disconnect(c, n < 0 ? strerror(errno) : "closed");
	}
}

/* ------------------------------------------------------------------------------------------------ answers */

#define ERR_LOCKED (-4200) /* to be sent again later: never leaves this file */

static int error_of(const char *text, size_t len)
{
	static const struct {
		const char *begin;
		int err;
	} known[] = {
		{"Namespace is temporarily", ERR_LOCKED},
		{"Namespace definitely full", -ENOSPC},
		{"No space left", -ENOSPC},
		{"Namespace is in read-only", -EROFS},
		{"Invalid key, only update", -EINVAL},
		{"Key not found", -ENOENT},
	};

	for (size_t n = 0; n < sizeof(known) / sizeof(*known); n++)
		if (len >= strlen(known[n].begin) &&
		    memcmp(text, known[n].begin, strlen(known[n].begin)) == 0)
			return known[n].err;
	log_every(1000, LOG_LEVEL_ERR, "the store refused a request: %.*s", (int)len, text);
	return -EIO;
}

static int take_value(struct kv_req *req, const uint8_t *data, size_t len)
{
	req->value = mem_dup(data, len);
	req->value_len = len;
	return req->value ? 0 : -ENOMEM;
}

static int answer_of(struct kv_req *req, const struct resp_value *v, const uint8_t *base)
{
	if (v->type == RESP_ERROR) {
		int err = error_of((const char *)base + v->str.off, v->str.len);

		/* sent twice: the first time may have done it */
		return err == -ENOENT && req->op == KV_DEL && req->tries ? 0 : err;
	}
	switch (req->op) {
	case KV_GET:
		if (v->type == RESP_NIL)
			return -ENOENT;
		return v->type == RESP_BULK ? take_value(req, base + v->str.off, v->str.len) : -EPROTO;
	case KV_EXISTS:
		return v->type != RESP_INTEGER ? -EPROTO : v->integer ? 0 : -ENOENT;
	case KV_SET:
		if (v->type == RESP_NIL && req->key != KV_NEW)
			return 0; /* unchanged */
		if (v->type != RESP_BULK || v->str.len != 8)
			return -EPROTO;
		if (req->key == KV_NEW)
			req->key = get_u64le(base + v->str.off);
		return 0;
	default:
		return v->type == RESP_STATUS ? 0 : -EPROTO;
	}
}

static void retry_later(struct conn *c, struct command *cmd)
{
	/* It and all behind it, so that order is kept; what is on the wire is answered and sent again. */
	list_add_head(&c->sent, &cmd->link);
	c->retry_ms = clock_mono_ms() + RETRY_LOCKED_MS;
	log_every(10000, LOG_LEVEL_WARN, "the %s namespace is locked: waiting", kv_role_str(c->role));
	disconnect(c, NULL);
}

/* Returns false when the connection cannot be used any more. */
static bool answer(struct conn *c, const struct resp_reply *p)
{
	struct list *l = list_pop(&c->sent);
	struct command *cmd = l ? container_of(l, struct command, link) : NULL;
	const struct resp_value *v = p->values, *end = p->values + p->count;
	bool whole_error;

	if (!cmd) {
		disconnect(c, "an answer without a request");
		return false;
	}
	whole_error = cmd->is_batch && v->type != RESP_ARRAY;
	if (cmd->is_batch && !whole_error) {
		if (v->count != cmd->count) {
			list_add_head(&c->sent, &cmd->link);
			disconnect(c, "an answer of the wrong size");
			return false;
		}
		v++;
	}
	list_each(&cmd->reqs, it)
	{
		struct kv_req *req = container_of(it, struct kv_req, link);

		req->err = answer_of(req, v, c->in.data);
		if (req->err == ERR_LOCKED) {
			/* a request that was done before the lock stays done: sending it again changes nothing */
			retry_later(c, cmd);
			return false;
		}
		if (cmd->is_batch && !whole_error)
			v = resp_value_skip(v, end);
	}
	pthread_mutex_lock(&c->r->lock);
	c->in_flight--;
	l = list_first(&c->sent);
	c->oldest_ms = l ? container_of(l, struct command, link)->sent_ms : 0;
	pthread_mutex_unlock(&c->r->lock);
	while ((l = list_pop(&cmd->reqs))) {
		struct kv_req *req = container_of(l, struct kv_req, link);

		finish(req, req->err);
	}
	mem_free(cmd);
	return true;
}

static void receive(struct conn *c, struct resp_reply *p)
{
	for (;;) {
		size_t want = p->need > c->in.len ? p->need - c->in.len : 0;
		enum resp_state state;
		ssize_t n;

		if (buf_reserve(&c->in, want > 65536 ? want : 65536)) {
			disconnect(c, "out of memory");
			return;
		}
		n = recv(c->fd, c->in.data + c->in.len, c->in.cap - c->in.len, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			disconnect(c, n < 0 ? strerror(errno) : "closed by the server");
			return;
		}
		buf_added(&c->in, (size_t)n);
		while ((state = resp_reply_parse(p, c->in.data, c->in.len)) == RESP_WHOLE) {
			size_t used = p->used;

			if (!answer(c, p))
				return;
			resp_reply_reset(p);
			buf_consume(&c->in, used);
		}
		if (state == RESP_WRONG) {
			disconnect(c, p->error);
			return;
		}
	}
}

/* ------------------------------------------------------------------------------------------------ the thread */

/* Requests whose time is over, while there is no connection. */
static void expire(struct conn *c, uint64_t now, bool all)
{
	struct list over;
	struct list *l;

	list_init(&over);
	pthread_mutex_lock(&c->r->lock);
	list_each_safe(&c->queue->reqs, it)
	{
		struct kv_req *req = container_of(it, struct kv_req, link);

		if (all || req->deadline_ms <= now) {
			list_move_tail(&over, &req->link);
			c->queue->count--;
		}
	}
	pthread_mutex_unlock(&c->r->lock);
	while ((l = list_pop(&over)))
		finish(container_of(l, struct kv_req, link), all ? -ESHUTDOWN : -EIO);
}

static bool has_work(struct conn *c)
{
	bool yes;

	pthread_mutex_lock(&c->r->lock);
	yes = c->queue->count > 0;
	pthread_mutex_unlock(&c->r->lock);
	return yes;
}

static int poll_time(struct conn *c, uint64_t now)
{
	bool work = has_work(c);

	if (c->client && list_is_empty(&c->sent) && !work)
		return -1;
	if (now < c->retry_ms)
		return (int)(c->retry_ms - now);
	if (!c->client)
		return work ? 0 : -1;
	return work ? 100 : 1000;
}

/* An answer that does not come: the server hangs, or the network lost the connection. */
static void check_silence(struct conn *c, uint64_t now)
{
	const struct list *l = list_first(&c->sent);

	if (l && now - container_of(l, struct command, link)->sent_ms > c->r->opt.timeout_ms) {
		disconnect(c, "no answer");
		expire(c, now, false);
	}
}

static bool is_stopping(struct conn *c)
{
	bool yes;

	pthread_mutex_lock(&c->r->lock);
	yes = c->r->is_stopping;
	pthread_mutex_unlock(&c->r->lock);
	return yes;
}

static void turn(struct conn *c, struct resp_reply *p)
{
	struct pollfd fds[2] = {{.fd = c->wake_fd, .events = POLLIN}, {.fd = -1}};
	uint64_t now = clock_mono_ms(), drained;
	ssize_t got;

	if (c->client) {
		fds[1].fd = c->fd;
		fds[1].events = (short)(POLLIN | (c->out.len ? POLLOUT : 0));
	}
	(void)poll(fds, 2, poll_time(c, now));
	if (fds[0].revents) {
		got = read(c->wake_fd, &drained, sizeof(drained));
		(void)got; /* only the waking counts */
	}
	now = clock_mono_ms();
	if (!c->client) {
		expire(c, now, false);
		if (now >= c->retry_ms && has_work(c)) {
			resp_reply_reset(p);
			connect_now(c);
		}
	} else if (fds[1].revents & (POLLIN | POLLERR | POLLHUP)) {
		receive(c, p);
		if (!c->client)
			resp_reply_reset(p);
	}
	check_silence(c, now);
	if (!c->client)
		resp_reply_reset(p);
	if (fill(c))
		send_some(c);
}

static void *run(void *arg)
{
	struct conn *c = arg;
	struct resp_reply p;

	resp_reply_init(&p);
	p.bulk_max = KV_VALUE_MAX;
	while (!is_stopping(c))
		turn(c, &p);
	disconnect(c, NULL);
	expire(c, 0, true);
	resp_reply_release(&p);
	return NULL;
}

int conn_start(struct conn *c, struct kv_remote *r, enum kv_role role, bool is_writer)
{
	pthread_attr_t attr;
	int rc;

	c->r = r;
	c->role = role;
	c->is_writer = is_writer;
	c->queue = is_writer ? &r->writes[role] : &r->reads[role];
	c->fd = -1;
	list_init(&c->sent);
	buf_init(&c->out, IN_MAX * 2);
	buf_init(&c->in, IN_MAX);
	c->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (c->wake_fd < 0)
		return -errno;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 256u << 10);
	rc = pthread_create(&c->thread, &attr, run, c);
	pthread_attr_destroy(&attr);
	c->has_thread = !rc;
	return -rc;
}

void conn_stop(struct conn *c)
{
	if (c->has_thread)
		(void)pthread_join(c->thread, NULL);
	c->has_thread = false;
	if (c->r && c->wake_fd >= 0)
		close(c->wake_fd);
	buf_release(&c->out);
	buf_release(&c->in);
}
