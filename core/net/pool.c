/*
 * pool: see pool.h. A backend's lock guards its list of idle connections, its count and its health; it is held for
 * list operations only, never while anything waits for the network. Whoever waits for a connection waits on the
 * backend's condition.
 */
#include "core/net/pool.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "core/base/clock.h"
#include "core/base/err.h"
#include "core/base/file.h"
#include "core/base/list.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/base/sys.h"

#define CONNS_DEFAULT  4
#define CONNS_MAX      64
#define CONNECT_MS     5000
#define OP_MS          30000
#define BACKOFF_MIN_MS 500
#define BACKOFF_MAX_MS 30000
#define VALUE_MAX      (8u << 20)
#define BACKENDS_MAX   1024
#define REPLY_OVERHEAD (1u << 20) /* beside one value: a page of SCAN, INFO, the frame of a reply */
#define LATENCY_WEIGHT 8

struct conn {
	struct list link;
	struct client *client;
	uint64_t epoch; /* of the address it was made for */
};

struct backend {
	struct pool *pool;
	size_t index;
	pthread_mutex_t lock; /* everything below; after the pool's lock */
	pthread_cond_t freed;
	struct backend_addr addr;
	uint64_t epoch; /* grows with each change of the address and when it is retired */
	bool retired, probing;
	struct list idle;
	struct backend_state state;
};

struct pool {
	struct pool_options opt;
	pthread_mutex_t lock; /* the table; before any backend's lock */
	struct backend *table[BACKENDS_MAX];
	size_t count;
};

/* ------------------------------------------------------------------------------------------------ errors */

__attribute__((format(printf, 4, 5))) static int fail(struct backend *b, struct net_error *err, int code,
						      const char *format, ...)
{
	char text[192];
	va_list ap;

	if (!err)
		return code;
	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	err->code = code;
	snprintf(err->text, sizeof(err->text), "%s: %s", b->addr.id, text);
	return code;
}

/* A connection's own sentence; it begins with the address, which the id normally repeats. */
static int fail_client(struct net_error *err, int code, const char *sentence)
{
	if (err) {
		err->code = code;
		snprintf(err->text, sizeof(err->text), "%s", sentence);
	}
	return code;
}

/* Kinds of errors that say something about the backend, not about the request. */
static bool is_down_error(int code)
{
	switch (code) {
	case -ENOMEM:
	case -E_LIMIT:
	case -EINVAL:
		return false;
	default:
		return true;
	}
}

/* ------------------------------------------------------------------------------------------------ health */

static uint64_t backoff_ms(const struct backend *b)
{
	const struct pool_options *opt = &b->pool->opt;
	uint64_t ms = opt->backoff_min_ms;
	unsigned i;
	uint16_t noise = 0;

	for (i = 1; i < b->state.failures && ms < opt->backoff_max_ms; i++)
		ms *= 2;
	if (ms > opt->backoff_max_ms)
		ms = opt->backoff_max_ms;
	/* +-25 %, so that many clients of one store do not return at once */
	if (sys->getrandom(&noise, sizeof(noise), 0) != (ssize_t)sizeof(noise))
		noise = 0x8000;
	return ms - ms / 4 + ms / 2 * noise / 0xffff;
}

/* Lock held. */
static void set_up(struct backend *b)
{
	if (!b->state.up) {
		if (b->state.tried)
			log_info("backend is back backend=%s", b->addr.id);
		b->state.since_ms = clock_mono_ms();
	}
	b->state.up = true;
	b->state.tried = true;
	b->state.failures = 0;
	b->state.retry_ms = 0;
}

/* Lock held. */
static void set_down(struct backend *b, const char *sentence)
{
	uint64_t now = clock_mono_ms();

	if (b->state.up || !b->state.tried) {
		b->state.since_ms = now;
		log_warn("backend is down backend=%s: %s", b->addr.id, sentence);
	}
	b->state.up = false;
	b->state.tried = true;
	if (b->state.failures < 1000)
		b->state.failures++;
	b->state.retry_ms = now + backoff_ms(b);
	snprintf(b->state.last_error, sizeof(b->state.last_error), "%s", sentence);
}

/* ------------------------------------------------------------------------------------------- connections */

/* Lock held: takes idle connections of an older address away. The caller closes them without the lock. */
static void take_stale(struct backend *b, struct list *out)
{
	list_each_safe(&b->idle, it)
	{
		struct conn *c = container_of(it, struct conn, link);

		if (c->epoch == b->epoch)
			continue;
		list_del(it);
		list_add_tail(out, it);
		b->state.conns--;
	}
}

static void close_list(struct list *conns)
{
	struct list *it;

	while ((it = list_pop(conns))) {
		struct conn *c = container_of(it, struct conn, link);

		client_close(c->client);
		mem_free(c);
	}
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
static int open_conn(struct backend *b, const struct backend_addr *addr, uint64_t epoch, struct conn **out,
		     struct net_error *err)
{
	const struct pool_options *opt = &b->pool->opt;
	struct client_options copt = {
		.connect_ms = opt->connect_ms,
		.op_ms = opt->op_ms,
		.reply_max = opt->value_max + REPLY_OVERHEAD,
	};
	struct client_addr caddr = {.port = addr->port};
	struct conn *c = mem_calloc(1, sizeof(*c));
	char why[256];
	int code;

	if (!c)
		return fail(b, err, -ENOMEM, "out of memory");
	str_copy(caddr.host, sizeof(caddr.host), addr->host);
	str_copy(caddr.unix_path, sizeof(caddr.unix_path), addr->unix_path);
	str_copy(caddr.ns, sizeof(caddr.ns), addr->namespace);
	str_copy(caddr.password, sizeof(caddr.password), addr->password);
	code = client_open(&c->client, &caddr, &copt, why, sizeof(why));
	mem_wipe(&caddr, sizeof(caddr));
	if (code) {
		mem_free(c);
		return fail_client(err, code, why);
	}
	code = probe_kind(b, c->client, addr);
	if (code) {
		fail_client(err, code, client_error(c->client));
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

/* Lock held. May a call go on now? Sets *probe when it is the one that tries a backend that is down. */
static int admit(struct backend *b, bool *probe, struct net_error *err)
{
	uint64_t now;

	*probe = false;
	if (b->retired)
		return fail(b, err, -ESHUTDOWN, "no longer configured");
	if (b->state.up || !b->state.tried)
		return 0;
	now = clock_mono_ms();
	if (b->probing || now < b->state.retry_ms)
		return fail(b, err, -EAGAIN, "down, next try in %llu ms (%s)",
			    (unsigned long long)(now < b->state.retry_ms ? b->state.retry_ms - now : 0),
			    b->state.last_error);
	*probe = b->probing = true;
	return 0;
}

/* A failure that concerns the backend. */
static void note_down(struct backend *b, const char *sentence)
{
	pthread_mutex_lock(&b->lock);
	b->state.errors++;
	set_down(b, sentence);
	pthread_mutex_unlock(&b->lock);
}

/* An idle connection that the server has closed meanwhile is worth nothing. */
static bool is_alive(const struct conn *c)
{
	char byte;

	return recv(client_fd(c->client), &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

/* Lock held on entry and return. An idle connection, or permission to open one (*out NULL, slot counted). */
static int reserve(struct backend *b, struct conn **out, struct net_error *err)
{
	struct timespec until;
	struct list *it;

	add_ms(&until, b->pool->opt.op_ms);
	for (;;) {
		/* the one used last: its path through the network is warm */
		it = list_last(&b->idle);
		if (it) {
			list_del(it);
			*out = container_of(it, struct conn, link);
			return 0;
		}
		if (b->state.conns < b->pool->opt.conns_max) {
			b->state.conns++;
			*out = NULL;
			return 0;
		}
		if (pthread_cond_timedwait(&b->freed, &b->lock, &until) == ETIMEDOUT)
			return fail(b, err, -EBUSY, "all %u connections stay in use", b->pool->opt.conns_max);
	}
}

/* One call's hold on a backend. */
struct call {
	struct conn *conn;
	bool probe;
	uint64_t start_ns;
};

static void drop_slot(struct backend *b)
{
	pthread_mutex_lock(&b->lock);
	b->state.conns--;
	pthread_cond_signal(&b->freed);
	pthread_mutex_unlock(&b->lock);
}

static int call_begin(struct backend *b, struct call *call, struct net_error *err)
{
	struct net_error local;
	struct backend_addr addr;
	uint64_t epoch;
	int code;

	if (!err)
		err = &local;
	memset(call, 0, sizeof(*call));
	pthread_mutex_lock(&b->lock);
	code = admit(b, &call->probe, err);
	while (!code) {
		code = reserve(b, &call->conn, err);
		if (code || !call->conn)
			break;
		if (call->conn->epoch == b->epoch && is_alive(call->conn))
			break;
		b->state.conns--;
		pthread_mutex_unlock(&b->lock);
		client_close(call->conn->client);
		mem_free(call->conn);
		call->conn = NULL;
		pthread_mutex_lock(&b->lock);
	}
	if (code && call->probe)
		b->probing = false;
	addr = b->addr;
	epoch = b->epoch;
	pthread_mutex_unlock(&b->lock);
	if (code || call->conn)
		goto out;
	code = open_conn(b, &addr, epoch, &call->conn, err);
	if (!code)
		goto out;
	drop_slot(b);
	if (is_down_error(code))
		note_down(b, err->text);
	if (call->probe) {
		pthread_mutex_lock(&b->lock);
		b->probing = false;
		pthread_mutex_unlock(&b->lock);
	}
out:
	mem_wipe(&addr, sizeof(addr));
	call->start_ns = clock_mono_ns();
	return code;
}

/* Gives the connection back. `code` is what the transport said: 0 when a reply came, whatever it held. */
static void call_end(struct backend *b, struct call *call, int code)
{
	struct conn *c = call->conn;
	uint64_t us = (clock_mono_ns() - call->start_ns) / 1000;
	bool keep;

	pthread_mutex_lock(&b->lock);
	if (call->probe)
		b->probing = false;
	b->state.ops++;
	if (code) {
		b->state.errors++;
		if (is_down_error(code))
			set_down(b, client_error(c->client));
	} else {
		set_up(b);
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
	if (!keep) {
		client_close(c->client);
		mem_free(c);
	}
}

/* -------------------------------------------------------------------------------------------- life cycle */

static unsigned or_default(unsigned value, unsigned fallback)
{
	return value ? value : fallback;
}

int pool_new(struct pool **out, const struct pool_options *opt)
{
	struct pool *pool = mem_calloc(1, sizeof(*pool));

	*out = pool;
	if (!pool)
		return -ENOMEM;
	if (opt)
		pool->opt = *opt;
	pool->opt.conns_max = or_default(pool->opt.conns_max, CONNS_DEFAULT);
	if (pool->opt.conns_max > CONNS_MAX)
		pool->opt.conns_max = CONNS_MAX;
	pool->opt.connect_ms = or_default(pool->opt.connect_ms, CONNECT_MS);
	pool->opt.op_ms = or_default(pool->opt.op_ms, OP_MS);
	pool->opt.backoff_min_ms = or_default(pool->opt.backoff_min_ms, BACKOFF_MIN_MS);
	pool->opt.backoff_max_ms = or_default(pool->opt.backoff_max_ms, BACKOFF_MAX_MS);
	if (!pool->opt.value_max)
		pool->opt.value_max = VALUE_MAX;
	pthread_mutex_init(&pool->lock, NULL);
	return 0;
}

void pool_free(struct pool *pool)
{
	size_t i;

	if (!pool)
		return;
	for (i = 0; i < pool->count; i++) {
		struct backend *b = pool->table[i];

		close_list(&b->idle);
		pthread_cond_destroy(&b->freed);
		pthread_mutex_destroy(&b->lock);
		mem_free_wiped(b, sizeof(*b));
	}
	pthread_mutex_destroy(&pool->lock);
	mem_free(pool);
}

static struct backend *backend_new(struct pool *pool, const struct backend_addr *addr)
{
	struct backend *b = mem_calloc(1, sizeof(*b));
	pthread_condattr_t attr;

	if (!b)
		return NULL;
	b->pool = pool;
	b->addr = *addr;
	b->epoch = 1;
	list_init(&b->idle);
	pthread_mutex_init(&b->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&b->freed, &attr);
	pthread_condattr_destroy(&attr);
	return b;
}

static void make_id(struct backend_addr *addr)
{
	if (addr->id[0])
		return;
	if (addr->unix_path[0])
		snprintf(addr->id, sizeof(addr->id), "%s", file_basename(addr->unix_path));
	else
		snprintf(addr->id, sizeof(addr->id), "%.40s:%u", addr->host, addr->port);
	if (addr->namespace[0]) {
		size_t used = strlen(addr->id);

		snprintf(addr->id + used, sizeof(addr->id) - used, "/%s", addr->namespace);
	}
}

/* Gives an existing backend another address; true when anything but the label changed. */
static void change_address(struct backend *b, const struct backend_addr *addr, struct list *stale)
{
	pthread_mutex_lock(&b->lock);
	if (b->retired || memcmp(&b->addr, addr, sizeof(*addr)) != 0) {
		b->addr = *addr;
		b->epoch++;
		b->retired = false;
		b->state.tried = b->state.up = false;
		b->state.failures = 0;
		b->state.retry_ms = 0;
		b->state.kind = BACKEND_UNKNOWN;
		take_stale(b, stale);
	}
	pthread_mutex_unlock(&b->lock);
}

static struct backend *find_locked(struct pool *pool, const char *id)
{
	size_t i;

	for (i = 0; i < pool->count; i++)
		if (strcmp(pool->table[i]->addr.id, id) == 0)
			return pool->table[i];
	return NULL;
}

int pool_add(struct pool *pool, const struct backend_addr *given, struct backend **out)
{
	struct backend_addr addr;
	struct list stale;
	struct backend *b;
	int code = 0;

	*out = NULL;
	if (!given->unix_path[0] && (!given->host[0] || given->port == 0))
		return -EINVAL;
	/* member by member into zeroed memory: addresses are compared as a whole */
	memset(&addr, 0, sizeof(addr));
	str_copy(addr.id, sizeof(addr.id), given->id);
	str_copy(addr.host, sizeof(addr.host), given->host);
	str_copy(addr.unix_path, sizeof(addr.unix_path), given->unix_path);
	str_copy(addr.namespace, sizeof(addr.namespace), given->namespace);
	str_copy(addr.password, sizeof(addr.password), given->password);
	addr.port = given->port;
	make_id(&addr);
	list_init(&stale);
	pthread_mutex_lock(&pool->lock);
	b = find_locked(pool, addr.id);
	if (b) {
		change_address(b, &addr, &stale);
	} else if (pool->count == BACKENDS_MAX) {
		code = -ENOSPC;
	} else {
		b = backend_new(pool, &addr);
		if (b) {
			b->index = pool->count;
			pool->table[pool->count++] = b;
		} else {
			code = -ENOMEM;
		}
	}
	pthread_mutex_unlock(&pool->lock);
	close_list(&stale);
	mem_wipe(&addr, sizeof(addr));
	*out = b;
	return code;
}

struct backend *pool_find(struct pool *pool, const char *id)
{
	struct backend *b;

	pthread_mutex_lock(&pool->lock);
	b = find_locked(pool, id);
	pthread_mutex_unlock(&pool->lock);
	return b;
}

void pool_retire(struct pool *pool, struct backend *b)
{
	struct list stale;

	(void)pool;
	list_init(&stale);
	pthread_mutex_lock(&b->lock);
	b->retired = true;
	b->epoch++;
	take_stale(b, &stale);
	pthread_mutex_unlock(&b->lock);
	close_list(&stale);
}

size_t pool_list(struct pool *pool, struct backend **out, size_t max)
{
	size_t i, n = 0;

	pthread_mutex_lock(&pool->lock);
	for (i = 0; i < pool->count; i++) {
		struct backend *b = pool->table[i];
		bool retired;

		pthread_mutex_lock(&b->lock);
		retired = b->retired;
		pthread_mutex_unlock(&b->lock);
		if (retired)
			continue;
		if (n < max)
			out[n] = b;
		n++;
	}
	pthread_mutex_unlock(&pool->lock);
	return n;
}

void backend_state(struct backend *b, struct backend_state *out)
{
	pthread_mutex_lock(&b->lock);
	*out = b->state;
	pthread_mutex_unlock(&b->lock);
}

const char *backend_id(const struct backend *b)
{
	return b->addr.id;
}

void backend_addr(struct backend *b, struct backend_addr *out)
{
	pthread_mutex_lock(&b->lock);
	*out = b->addr;
	pthread_mutex_unlock(&b->lock);
	mem_wipe(out->password, sizeof(out->password));
}

void backend_retry_now(struct backend *b)
{
	pthread_mutex_lock(&b->lock);
	b->state.retry_ms = 0;
	pthread_mutex_unlock(&b->lock);
}

/* ------------------------------------------------------------------------------------------- operations */

/* One request. 0: *reply is what the server said, error replies included. */
static int ask(struct backend *b, redisReply **reply, struct net_error *err, int argc, const char **argv,
	       const size_t *lens)
{
	struct call call;
	int code = call_begin(b, &call, err);

	*reply = NULL;
	if (code)
		return code;
	code = client_command(call.conn->client, reply, argc, argv, lens);
	if (code)
		fail_client(err, code, client_error(call.conn->client));
	call_end(b, &call, code);
	return code;
}

/* What an error reply means. */
static int reply_code(const char *text)
{
	static const struct {
		const char *start;
		int code;
	} known[] = {
		{"No space left", -ENOSPC},
		{"OOM ", -ENOSPC},
		{"MISCONF", -ENOSPC},
		{"Namespace is in read-only", -EROFS},
		{"Namespace is temporarily", -EROFS},
		{"READONLY", -EROFS},
		{"Access denied", -EACCES},
		{"Permission denied", -EACCES},
		{"NOAUTH", -EACCES},
		{"NOPERM", -EACCES},
		{"WRONGPASS", -EACCES},
	};
	size_t i;

	for (i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strncmp(text, known[i].start, strlen(known[i].start)) == 0)
			return known[i].code;
	return -EREMOTEIO;
}

/* Frees an unwanted reply and says what it was. */
static int refuse(struct backend *b, redisReply *reply, const char *what, struct net_error *err)
{
	int code;

	if (reply->type == REDIS_REPLY_ERROR) {
		code = reply_code(reply->str);
		fail(b, err, code, "%s: %s", what, reply->str);
	} else {
		code = fail(b, err, -EPROTO, "%s: unexpected type of reply (%d)", what, reply->type);
	}
	freeReplyObject(reply);
	return code;
}

int backend_command(struct backend *b, redisReply **reply, int argc, const char **argv, const size_t *lens,
		    struct net_error *err)
{
	return ask(b, reply, err, argc, argv, lens);
}

void backend_value_release(struct backend_value *v)
{
	if (v->owner)
		freeReplyObject(v->owner);
	memset(v, 0, sizeof(*v));
}

static void value_take(struct backend_value *out, redisReply *reply)
{
	out->owner = reply;
	out->data = (const uint8_t *)reply->str;
	out->len = reply->len;
}

int backend_set(struct backend *b, const void *key, size_t klen, const void *val, size_t vlen, void *key_out,
		size_t *key_out_len, struct net_error *err)
{
	const char *argv[3] = {"SET", klen ? key : "", vlen ? val : ""};
	const size_t lens[3] = {3, klen, vlen};
	redisReply *reply;
	int code = ask(b, &reply, err, 3, argv, lens);
	const char *got;
	size_t got_len;

	if (code)
		return code;
	/* 0-db: the key; nil when the value was there already. redis: +OK */
	if (reply->type != REDIS_REPLY_STRING && reply->type != REDIS_REPLY_STATUS &&
	    !(reply->type == REDIS_REPLY_NIL && klen > 0))
		return refuse(b, reply, "SET", err);
	if (!key_out)
		goto out;
	got = reply->type == REDIS_REPLY_STRING ? reply->str : key;
	got_len = reply->type == REDIS_REPLY_STRING ? reply->len : klen;
	if (got_len > *key_out_len) {
		code = fail(b, err, -EMSGSIZE, "SET: key of %zu bytes", got_len);
		goto out;
	}
	if (got_len)
		memcpy(key_out, got, got_len);
	*key_out_len = got_len;
out:
	freeReplyObject(reply);
	return code;
}

int backend_get(struct backend *b, const void *key, size_t klen, struct backend_value *out,
		struct net_error *err)
{
	const char *argv[2] = {"GET", klen ? key : ""};
	const size_t lens[2] = {3, klen};
	redisReply *reply;
	int code;

	memset(out, 0, sizeof(*out));
	code = ask(b, &reply, err, 2, argv, lens);
	if (code)
		return code;
	if (reply->type == REDIS_REPLY_NIL) {
		freeReplyObject(reply);
		return fail(b, err, -ENOENT, "no such key");
	}
	if (reply->type != REDIS_REPLY_STRING)
		return refuse(b, reply, "GET", err);
	value_take(out, reply);
	return 0;
}

/* For stores without ranges. */
static int get_and_cut(struct backend *b, const void *key, size_t klen, uint64_t off, uint64_t len,
		       struct backend_value *out, struct net_error *err)
{
	int code = backend_get(b, key, klen, out, err);

	if (code)
		return code;
	if (off > out->len)
		off = out->len;
	out->data += off;
	out->len -= off;
	if (len < out->len)
		out->len = len;
	return 0;
}

/* Whether it is known what the server can do: the first connection tells. */
static bool backend_known(struct backend *b)
{
	struct backend_state st;

	backend_state(b, &st);
	return st.kind != BACKEND_UNKNOWN;
}

static bool backend_is_redis(struct backend *b)
{
	struct backend_state st;

	backend_state(b, &st);
	return st.kind == BACKEND_REDIS;
}

static bool has_ranges(struct backend *b)
{
	struct backend_state st;

	backend_state(b, &st);
	return st.kind == BACKEND_REDIS || (st.extensions & CLIENT_EXT_RANGE);
}

/* redis answers an empty string for an absent key. */
static int check_empty(struct backend *b, const void *key, size_t klen, struct backend_value *out,
		       struct net_error *err)
{
	bool exists;
	int code = backend_exists(b, key, klen, &exists, err);

	if (!code && !exists)
		code = fail(b, err, -ENOENT, "no such key");
	if (code)
		backend_value_release(out);
	return code;
}

int backend_getrange(struct backend *b, const void *key, size_t klen, uint64_t off, uint64_t len,
		     struct backend_value *out, struct net_error *err)
{
	char first[24], last[24];
	const char *argv[4] = {"GETRANGE", klen ? key : "", first, last};
	size_t lens[4] = {8, klen, 0, 0};
	redisReply *reply;
	int code = 0;

	memset(out, 0, sizeof(*out));
	if (!backend_known(b))
		code = backend_ping(b, err);
	if (code)
		return code;
	if (len == 0 || !has_ranges(b))
		return get_and_cut(b, key, klen, off, len, out, err);
	lens[2] = (size_t)snprintf(first, sizeof(first), "%llu", (unsigned long long)off);
	lens[3] = (size_t)snprintf(last, sizeof(last), "%llu", (unsigned long long)(off + len - 1));
	code = ask(b, &reply, err, 4, argv, lens);
	if (code)
		return code;
	if (reply->type == REDIS_REPLY_NIL) {
		freeReplyObject(reply);
		return fail(b, err, -ENOENT, "no such key");
	}
	if (reply->type != REDIS_REPLY_STRING)
		return refuse(b, reply, "GETRANGE", err);
	value_take(out, reply);
	return out->len ? 0 : check_empty(b, key, klen, out, err);
}

int backend_del(struct backend *b, const void *key, size_t klen, struct net_error *err)
{
	const char *argv[2] = {"DEL", klen ? key : ""};
	const size_t lens[2] = {3, klen};
	redisReply *reply;
	int code = ask(b, &reply, err, 2, argv, lens);
	bool absent;

	if (code)
		return code;
	absent = (reply->type == REDIS_REPLY_ERROR && strcmp(reply->str, "Key not found") == 0) ||
		 (reply->type == REDIS_REPLY_INTEGER && reply->integer == 0);
	if (!absent && reply->type != REDIS_REPLY_STATUS && reply->type != REDIS_REPLY_INTEGER)
		return refuse(b, reply, "DEL", err);
	freeReplyObject(reply);
	return absent ? fail(b, err, -ENOENT, "no such key") : 0;
}

int backend_exists(struct backend *b, const void *key, size_t klen, bool *exists, struct net_error *err)
{
	const char *argv[2] = {"EXISTS", klen ? key : ""};
	const size_t lens[2] = {6, klen};
	redisReply *reply;
	int code = ask(b, &reply, err, 2, argv, lens);

	if (code)
		return code;
	if (reply->type != REDIS_REPLY_INTEGER)
		return refuse(b, reply, "EXISTS", err);
	*exists = reply->integer > 0;
	freeReplyObject(reply);
	return 0;
}

int backend_nsinfo(struct backend *b, struct nsinfo *out, struct net_error *err)
{
	struct backend_addr addr;
	const char *ns;
	struct call call;
	int code = call_begin(b, &call, err);

	if (code)
		return code;
	if (backend_is_redis(b)) {
		call_end(b, &call, 0);
		return fail(b, err, -EOPNOTSUPP, "NSINFO: not a 0-db");
	}
	backend_addr(b, &addr);
	ns = addr.namespace[0] ? addr.namespace : "default";
	code = client_nsinfo(call.conn->client, ns, out);
	if (code)
		fail_client(err, code, client_error(call.conn->client));
	/* a wrong or unknown text is an answer: the transport is well */
	call_end(b, &call, client_fd(call.conn->client) >= 0 ? 0 : code);
	return code;
}

/* A request of one or two words that is answered with a status. */
static int ask_status(struct backend *b, const char *word, struct net_error *err)
{
	const size_t len = strlen(word);
	redisReply *reply;
	int code = ask(b, &reply, err, 1, &word, &len);

	if (code)
		return code;
	if (reply->type != REDIS_REPLY_STATUS)
		return refuse(b, reply, word, err);
	freeReplyObject(reply);
	return 0;
}

int backend_ping(struct backend *b, struct net_error *err)
{
	return ask_status(b, "PING", err);
}

int backend_sync(struct backend *b, struct net_error *err)
{
	struct backend_state st;

	backend_state(b, &st);
	if (st.tried && !(st.extensions & CLIENT_EXT_SYNC))
		return fail(b, err, -EOPNOTSUPP, "SYNC: not offered");
	return ask_status(b, "SYNC", err);
}

/* The keys of one page. 0-db: members are [key, length, time]; redis: members are keys. */
static int report_keys(const redisReply *list, const void *prefix, size_t prefix_len, backend_scan_fn fn,
		       void *ctx)
{
	size_t i;
	int code;

	for (i = 0; i < list->elements; i++) {
		const redisReply *key = list->element[i];

		if (key->type == REDIS_REPLY_ARRAY)
			key = key->elements > 0 ? key->element[0] : key;
		if (key->type != REDIS_REPLY_STRING)
			return -EPROTO;
		if (key->len < prefix_len || (prefix_len && memcmp(key->str, prefix, prefix_len) != 0))
			continue;
		code = fn(ctx, (const uint8_t *)key->str, key->len);
		if (code)
			return code;
	}
	return 0;
}

/* A prefix as a pattern of redis: characters that mean something are escaped. */
static size_t make_pattern(char *out, size_t size, const uint8_t *prefix, size_t len)
{
	size_t i, n = 0;

	for (i = 0; i < len && n + 3 < size; i++) {
		if (strchr("*?[]\\^-", prefix[i]) && prefix[i])
			out[n++] = '\\';
		out[n++] = (char)prefix[i];
	}
	out[n++] = '*';
	return n;
}

int backend_scan(struct backend *b, const void *prefix, size_t prefix_len, uint8_t cursor[64],
		 size_t *cursor_len, backend_scan_fn fn, void *ctx, struct net_error *err)
{
	char pattern[640];
	const char *argv[6] = {"SCAN", *cursor_len ? (const char *)cursor : "0", "MATCH", pattern, "COUNT",
			       "1000"};
	size_t lens[6] = {4, *cursor_len ? *cursor_len : 1, 5, 0, 5, 4};
	redisReply *reply;
	bool redis, more;
	int code = 0;

	if (prefix_len > 255)
		return fail(b, err, -EINVAL, "SCAN: prefix of %zu bytes", prefix_len);
	if (!backend_known(b))
		code = backend_ping(b, err);
	if (code)
		return code;
	redis = backend_is_redis(b);
	lens[3] = make_pattern(pattern, sizeof(pattern), prefix, prefix_len);
	code = ask(b, &reply, err, redis ? 6 : *cursor_len ? 2 : 1, argv, lens);
	if (code)
		return code;
	if (reply->type == REDIS_REPLY_ERROR && strcmp(reply->str, "No more data") == 0) {
		freeReplyObject(reply);
		return 0;
	}
	if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
	    reply->element[0]->type != REDIS_REPLY_STRING || reply->element[0]->len > 64 ||
	    reply->element[1]->type != REDIS_REPLY_ARRAY)
		return refuse(b, reply, "SCAN", err);
	memcpy(cursor, reply->element[0]->str, reply->element[0]->len);
	*cursor_len = reply->element[0]->len;
	more = !redis || strcmp(reply->element[0]->str, "0") != 0;
	code = report_keys(reply->element[1], prefix, prefix_len, fn, ctx);
	freeReplyObject(reply);
	if (code == -EPROTO)
		fail(b, err, code, "SCAN: a key that is not a string");
	return code < 0 ? code : more;
}
