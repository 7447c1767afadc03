/*
 * pool_conn: the life of a backend's connections: opened when none is idle, lent to one call, kept or closed behind it.
 */
#include "core/net/pool_int.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "core/base/clock.h"
#include "core/base/mem.h"
#include "core/base/str.h"

#define REPLY_OVERHEAD (1u << 20) /* beside one value: a page of SCAN, INFO, the frame of a reply */
#define LATENCY_WEIGHT 8

static void conn_free(struct pool_conn *c)
{
	client_close(c->client);
	mem_free(c);
}

void pool_conns_take_stale(struct backend *b, struct list *out)
{
	list_each_safe(&b->idle, it)
	{
		struct pool_conn *c = container_of(it, struct pool_conn, link);

		if (c->epoch == b->epoch)
			continue;
		list_del(it);
		list_add_tail(out, it);
		b->state.conns--;
	}
}

void pool_conns_close(struct list *conns)
{
	struct list *it;

	while ((it = list_pop(conns)))
		conn_free(container_of(it, struct pool_conn, link));
}

/* What the server is; only a failure of transport is an error. */
static int probe_kind(struct backend *b, struct client *client, const struct backend_addr *addr)
{
	enum backend_kind kind = BACKEND_REDIS;
	unsigned bits = 0;
	struct nsinfo info;
	bool is_zdb;
	int err = client_extensions(client, &bits, &is_zdb);

	if (err)
		return err;
	if (is_zdb) {
		err = client_nsinfo(client, addr->namespace[0] ? addr->namespace : "default", &info);
		if (err)
			return err;
		kind = info.sequential ? BACKEND_ZDB_SEQ : BACKEND_ZDB_USER;
	}
	pthread_mutex_lock(&b->lock);
	b->state.kind = kind;
	b->state.extensions = bits;
	pthread_mutex_unlock(&b->lock);
	return 0;
}

/* Opens one more connection; the slot is already counted. */
static int open_conn(struct backend *b, const struct backend_addr *addr, uint64_t epoch,
		     struct pool_conn **out, struct net_error *err)
{
	const struct pool_options *opt = &b->pool->opt;
	struct client_options copt = {
		.connect_ms = opt->connect_ms,
		.op_ms = opt->op_ms,
		.reply_max = opt->value_max + REPLY_OVERHEAD,
	};
	struct client_addr caddr = {.port = addr->port};
	struct pool_conn *c = mem_calloc(1, sizeof(*c));
	char why[256];
	int code;

	if (!c)
		return pool_fail(b, err, -ENOMEM, "out of memory");
	str_copy(caddr.host, sizeof(caddr.host), addr->host);
	str_copy(caddr.unix_path, sizeof(caddr.unix_path), addr->unix_path);
	str_copy(caddr.ns, sizeof(caddr.ns), addr->namespace);
	str_copy(caddr.password, sizeof(caddr.password), addr->password);
	code = client_open(&c->client, &caddr, &copt, why, sizeof(why));
	mem_wipe(&caddr, sizeof(caddr));
	if (code) {
		mem_free(c);
		return pool_fail_text(err, code, why);
	}
	code = probe_kind(b, c->client, addr);
	if (code) {
		pool_fail_text(err, code, client_error(c->client));
		client_close(c->client);
		mem_free(c);
		return code;
	}
	c->epoch = epoch;
	list_init(&c->link);
	*out = c;
	return 0;
}

static void add_ms(struct timespec *ts, unsigned ms)
{
	clock_gettime(CLOCK_MONOTONIC, ts);
	ts->tv_sec += ms / 1000;
	ts->tv_nsec += (long)(ms % 1000) * 1000000;
	if (ts->tv_nsec >= 1000000000) {
		ts->tv_sec++;
		ts->tv_nsec -= 1000000000;
	}
}

/* An idle connection that the server has closed meanwhile is worth nothing. */
static bool is_alive(const struct pool_conn *c)
{
	char byte;

	return recv(client_fd(c->client), &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

/* Lock held on entry and return. An idle connection, or permission to open one (*out NULL, slot counted). */
static int reserve(struct backend *b, struct pool_conn **out, struct net_error *err)
{
	struct timespec until;
	struct list *it;

	add_ms(&until, b->pool->opt.op_ms);
	for (;;) {
		/* the one used last: its path through the network is warm */
		it = list_last(&b->idle);
		if (it) {
			list_del(it);
			*out = container_of(it, struct pool_conn, link);
			return 0;
		}
		if (b->state.conns < b->pool->opt.conns_max) {
			b->state.conns++;
			*out = NULL;
			return 0;
		}
		if (pthread_cond_timedwait(&b->freed, &b->lock, &until) == ETIMEDOUT)
			return pool_fail(b, err, -EBUSY, "all %u connections stay in use",
					 b->pool->opt.conns_max);
	}
}

/* A living idle connection, or permission to open one to *addr (call->conn NULL, slot counted). */
static int take_conn(struct backend *b, struct pool_call *call, struct backend_addr *addr, uint64_t *epoch,
		     struct net_error *err)
{
	int code;

	pthread_mutex_lock(&b->lock);
	code = backend_admit(b, &call->probe, err);
	while (!code) {
		code = reserve(b, &call->conn, err);
		if (code || !call->conn)
			break;
		if (call->conn->epoch == b->epoch && is_alive(call->conn))
			break;
		b->state.conns--;
		pthread_mutex_unlock(&b->lock);
		conn_free(call->conn);
		call->conn = NULL;
		pthread_mutex_lock(&b->lock);
	}
	if (code && call->probe)
		b->probing = false;
	*addr = b->addr;
	*epoch = b->epoch;
	pthread_mutex_unlock(&b->lock);
	return code;
}

/* The connection that was permitted did not come. */
static void give_up(struct backend *b, bool probe, int code, const char *sentence)
{
	if (pool_is_down_error(code))
		backend_note_down(b, sentence);
	pthread_mutex_lock(&b->lock);
	b->state.conns--;
	if (probe)
		b->probing = false;
	pthread_cond_signal(&b->freed);
	pthread_mutex_unlock(&b->lock);
}

int pool_call_begin(struct backend *b, struct pool_call *call, struct net_error *err)
{
	struct net_error local;
	struct backend_addr addr;
	uint64_t epoch;
	int code;

	if (!err)
		err = &local;
	memset(call, 0, sizeof(*call));
	code = take_conn(b, call, &addr, &epoch, err);
	if (!code && !call->conn) {
		code = open_conn(b, &addr, epoch, &call->conn, err);
		if (code)
			give_up(b, call->probe, code, err->text);
	}
	mem_wipe(&addr, sizeof(addr));
	call->start_ns = clock_mono_ns();
	return code;
}

void pool_call_end(struct backend *b, struct pool_call *call, int code)
{
	struct pool_conn *c = call->conn;
	uint64_t us = (clock_mono_ns() - call->start_ns) / 1000;
	bool keep;

	pthread_mutex_lock(&b->lock);
	if (call->probe)
		b->probing = false;
	b->state.ops++;
	if (code) {
		b->state.errors++;
		if (pool_is_down_error(code))
			backend_set_down(b, client_error(c->client));
	} else {
		backend_set_up(b);
		b->state.latency_us =
			b->state.latency_us
				? (b->state.latency_us * (LATENCY_WEIGHT - 1) + us) / LATENCY_WEIGHT
				: us + 1;
	}
	keep = client_fd(c->client) >= 0 && client_pending(c->client) == 0 && c->epoch == b->epoch;
	if (keep)
		list_add_tail(&b->idle, &c->link);
	else
		b->state.conns--;
	pthread_cond_signal(&b->freed);
	pthread_mutex_unlock(&b->lock);
	if (!keep)
		conn_free(c);
}
