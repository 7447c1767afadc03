/*
 * Client and pool against a server in a thread that can misbehave on demand: silence, drops of bytes, half replies, refusal, death.
 * Nothing here depends on how fast the machine is: limits are either far away or meant to be hit.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/net/pool.h"
#include "core/net/resp.h"

enum manner {
	GOOD,      /* a small 0-db in sequential mode: SET gives ids 0, 1, 2, ... */
	REDIS,     /* no NSINFO, +OK to SET, GETRANGE */
	SILENT,    /* takes requests, answers nothing */
	DRIP,      /* answers one byte every few ms, never a whole line */
	DEEP,      /* arrays in arrays */
	HUGE,      /* promises a string larger than any limit */
	FULL,      /* no space */
	UNASKED,   /* two replies for one request */
	BACKWARDS, /* reads nothing until it has been written to for a while, answers a lot */
};

struct server {
	char path[108];
	pthread_t thread;
	int listener, stop[2];
	_Atomic int manner;
	_Atomic unsigned accepted, requests;
	pthread_mutex_t lock;
	struct buf values[64];
	size_t count;
};

struct session {
	struct server *s;
	int fd;
	bool entered;
};

static void answer_set(struct server *s, struct buf *out, const uint8_t *value, size_t len)
{
	uint64_t id;

	pthread_mutex_lock(&s->lock);
	id = s->count++ % 64;
	s->values[id].max = 1 << 20;
	buf_clear(&s->values[id]);
	buf_append(&s->values[id], value, len);
	pthread_mutex_unlock(&s->lock);
	if (s->manner == REDIS)
		resp_put_status(out, "OK");
	else
		resp_put_bulk(out, &id, 8);
}

static void answer_get(struct server *s, struct buf *out, const uint8_t *key, size_t klen, uint64_t from,
		       uint64_t to)
{
	uint64_t id = 64;
	struct buf *v;

	if (s->manner == REDIS)
		id = klen == 5 && memcmp(key, "there", 5) == 0 ? 0 : 64;
	else if (klen == 8)
		memcpy(&id, key, 8);
	pthread_mutex_lock(&s->lock);
	v = id < 64 && id < s->count ? &s->values[id] : NULL;
	if (!v && s->manner == REDIS && to != UINT64_MAX)
		resp_put_bulk(out, "", 0);
	else if (!v)
		resp_put_nil(out);
	else if (from >= v->len)
		resp_put_bulk(out, "", 0);
	else
		resp_put_bulk(out, v->data + from, (to < v->len ? to + 1 : v->len) - from);
	pthread_mutex_unlock(&s->lock);
}

static bool word(const uint8_t *base, const struct resp_request *r, size_t i, const char *w)
{
	return i < r->argc && resp_word_is(base + r->argv[i].off, r->argv[i].len, w);
}

static void answer(struct session *c, const uint8_t *base, const struct resp_request *r, struct buf *out)
{
	struct server *s = c->s;
	const uint8_t *key = r->argc > 1 ? base + r->argv[1].off : NULL;
	size_t klen = r->argc > 1 ? r->argv[1].len : 0;

	s->requests++;
	if (word(base, r, 0, "PING"))
		resp_put_status(out, "PONG");
	else if (word(base, r, 0, "INFO"))
		resp_put_bulk_text(out,
				   s->manner == REDIS
					   ? "# Server\nredis_version:7\n"
					   : "# server\nserver_name: 0-db (zdb)\nextensions: sync batch\n");
	else if (word(base, r, 0, "NSINFO"))
		resp_put_bulk_text(out, "# namespace\nname: data\nentries: 3\nmode: sequential\n");
	else if (word(base, r, 0, "AUTH") && word(base, r, 1, "SECURE"))
		resp_put_status(out, "708f109fbef4d656");
	else if (word(base, r, 0, "SELECT") && r->argc == 4)
		word(base, r, 3, "5af26c9c8bf4db0b342c42fc47e3bdae58da4578")
			? resp_put_status(out, "OK")
			: resp_put_error(out, "Access denied");
	else if (word(base, r, 0, "SELECT") && word(base, r, 1, "gone"))
		resp_put_error(out, "Namespace not found");
	else if (word(base, r, 0, "SELECT"))
		resp_put_status(out, "OK");
	else if (word(base, r, 0, "SET") && s->manner == FULL)
		resp_put_error(out, "No space left on this namespace");
	else if (word(base, r, 0, "SET"))
		answer_set(s, out, base + r->argv[2].off, r->argv[2].len);
	else if (word(base, r, 0, "GET"))
		answer_get(s, out, key, klen, 0, UINT64_MAX);
	else if (word(base, r, 0, "GETRANGE"))
		answer_get(s, out, key, klen, strtoull((const char *)base + r->argv[2].off, NULL, 10),
			   strtoull((const char *)base + r->argv[3].off, NULL, 10));
	else if (word(base, r, 0, "EXISTS"))
		resp_put_integer(out, klen == 5 && memcmp(key, "there", 5) == 0);
	else if (word(base, r, 0, "DEL"))
		klen == 8 && key[0] == 0 ? resp_put_status(out, "OK") : resp_put_error(out, "Key not found");
	else
		resp_put_error(out, "Command not supported");
	if (s->manner == UNASKED)
		resp_put_status(out, "and another thing");
}

static bool stopped(struct server *s, int timeout_ms)
{
	struct pollfd p = {.fd = s->stop[0], .events = POLLIN};

	return poll(&p, 1, timeout_ms) > 0;
}

/* Sends all, or gives up when the server is stopped or the client gone. */
static bool send_all(struct session *c, struct buf *out)
{
	while (out->len > 0) {
		struct pollfd p[2] = {{.fd = c->fd, .events = POLLOUT},
				      {.fd = c->s->stop[0], .events = POLLIN}};
		ssize_t n;

		poll(p, 2, -1);
		if (p[1].revents)
			return false;
		n = send(c->fd, out->data, out->len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno != EAGAIN)
			return false;
		if (n > 0)
			buf_consume(out, (size_t)n);
	}
	return true;
}

static bool misbehave(struct session *c)
{
	static const char deep[] =
		"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n";
	static const char huge[] = "$900000000\r\nabc";
	int manner = c->s->manner;

	if (manner == DEEP)
		(void)!send(c->fd, deep, sizeof(deep) - 1, MSG_NOSIGNAL);
	if (manner == HUGE)
		while (send(c->fd, huge, sizeof(huge) - 1, MSG_NOSIGNAL) > 0 && !stopped(c->s, 0))
			;
	if (manner == DRIP)
		while (send(c->fd, "+", 1, MSG_NOSIGNAL) > 0 && !stopped(c->s, 5) && c->s->manner == DRIP)
			;
	return manner == DEEP || manner == HUGE || manner == DRIP || manner == SILENT;
}

static void *serve(void *arg)
{
	struct session *c = arg;
	struct buf in = BUF_INIT(64u << 20), out = BUF_INIT(256u << 20);
	struct resp_request r;
	bool go_on = true;

	resp_request_init(&r);
	while (go_on) {
		struct pollfd p[2] = {{.fd = c->fd, .events = POLLIN},
				      {.fd = c->s->stop[0], .events = POLLIN}};
		ssize_t n;

		poll(p, 2, -1);
		if (p[1].revents || buf_reserve(&in, 65536))
			break;
		n = recv(c->fd, in.data + in.len, 65536, MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno != EAGAIN))
			break;
		if (n < 0)
			continue;
		buf_added(&in, (size_t)n);
		while (go_on && resp_request_parse(&r, in.data, in.len) == RESP_WHOLE) {
			if (!misbehave(c))
				answer(c, in.data, &r, &out);
			buf_consume(&in, r.used);
			resp_request_reset(&r);
			if (c->s->manner == BACKWARDS) /* writes before it reads on */
				go_on = send_all(c, &out);
		}
		go_on = go_on && send_all(c, &out);
	}
	close(c->fd);
	resp_request_release(&r);
	buf_release(&in);
	buf_release(&out);
	mem_free(c);
	return NULL;
}

static void *accept_all(void *arg)
{
	struct server *s = arg;
	pthread_t threads[256];
	size_t count = 0, i;

	for (;;) {
		struct pollfd p[2] = {{.fd = s->listener, .events = POLLIN},
				      {.fd = s->stop[0], .events = POLLIN}};
		struct session *c;

		poll(p, 2, -1);
		if (p[1].revents)
			break;
		c = mem_calloc(1, sizeof(*c));
		c->s = s;
		c->fd = accept(s->listener, NULL, NULL);
		s->accepted++;
		assert_true(count < 256);
		pthread_create(&threads[count++], NULL, serve, c);
	}
	for (i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	return NULL;
}

static void server_start(struct server *s)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	unlink(s->path);
	memcpy(addr.sun_path, s->path, sizeof(s->path));
	s->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(s->listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(s->listener, 64), 0);
	assert_int_equal(pipe(s->stop), 0);
	assert_int_equal(pthread_create(&s->thread, NULL, accept_all, s), 0);
}

static void server_stop(struct server *s)
{
	close(s->stop[1]);
	pthread_join(s->thread, NULL);
	close(s->stop[0]);
	close(s->listener);
	unlink(s->path);
}

static struct server server;

static int setup(void **state)
{
	(void)state;
	memset(&server, 0, sizeof(server));
	pthread_mutex_init(&server.lock, NULL);
	snprintf(server.path, sizeof(server.path), "/tmp/net_pool.%d.sock", (int)getpid());
	server_start(&server);
	return 0;
}

static int teardown(void **state)
{
	size_t i;

	(void)state;
	server_stop(&server);
	for (i = 0; i < 64; i++)
		buf_release(&server.values[i]);
	return 0;
}

static int open_client(struct client **c, unsigned op_ms, const char *ns, const char *password, char *why)
{
	struct client_addr addr = {0};
	struct client_options opt = {.op_ms = op_ms, .reply_max = 1 << 20};

	memcpy(addr.unix_path, server.path, sizeof(addr.unix_path));
	snprintf(addr.ns, sizeof(addr.ns), "%s", ns);
	snprintf(addr.password, sizeof(addr.password), "%s", password);
	return client_open(c, &addr, &opt, why, 256);
}

/* --------------------------------------------------------------------------------------------------------- client */

static void secure_entry(void **state)
{
	struct client *c;
	char why[256];

	(void)state;
	assert_int_equal(open_client(&c, 30000, "data", "helloworld", why), 0);
	client_close(c);
	assert_int_equal(open_client(&c, 30000, "data", "wrong", why), -EACCES);
	assert_non_null(strstr(why, "Access denied"));
	assert_null(strstr(why, "wrong"));
	assert_int_equal(open_client(&c, 30000, "gone", "", why), -ENOENT);
}

static void a_server_that_misbehaves(void **state)
{
	static const struct {
		enum manner manner;
		unsigned op_ms;
		int code;
	} cases[] = {
		{SILENT, 60, -ETIMEDOUT},
		{DRIP, 60, -ETIMEDOUT},
		{DEEP, 30000, -EMSGSIZE},
		{HUGE, 30000, -EMSGSIZE},
	};
	redisReply *reply;
	struct client *c;
	char why[256];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		server.manner = GOOD;
		assert_int_equal(open_client(&c, cases[i].op_ms, "", "", why), 0);
		server.manner = cases[i].manner;
		assert_int_equal(client_words(c, &reply, "PING", NULL), cases[i].code);
		assert_null(reply);
		assert_true(client_error(c)[0] != '\0');
		/* what may come late is never taken for the answer to something else */
		assert_int_equal(client_words(c, &reply, "PING", NULL), -ENOTCONN);
		client_close(c);
	}
}

static void an_unasked_reply_breaks_the_connection(void **state)
{
	redisReply *reply;
	struct client *c;
	char why[256];

	(void)state;
	assert_int_equal(open_client(&c, 30000, "", "", why), 0);
	server.manner = UNASKED;
	assert_int_equal(client_words(c, &reply, "PING", NULL), 0);
	assert_string_equal(reply->str, "PONG");
	freeReplyObject(reply);
	/* the surplus must not become the answer to something else */
	assert_int_equal(client_words(c, &reply, "EXISTS", "there", NULL), -EPROTO);
	assert_null(reply);
	assert_int_equal(client_fd(c), -1);
	client_close(c);
}

static void long_pipelines_do_not_wait_for_themselves(void **state)
{
	enum { COUNT = 3000 };
	static char value[4096];
	const char *argv[] = {"SET", "", value};
	const size_t lens[] = {3, 0, sizeof(value)};
	redisReply *reply;
	struct client *c;
	char why[256];
	int i;

	(void)state;
	server.manner = BACKWARDS;
	assert_int_equal(open_client(&c, 60000, "", "", why), 0);
	for (i = 0; i < COUNT; i++) {
		const char *get[] = {"GET", "\0\0\0\0\0\0\0\0"};
		const size_t get_lens[] = {3, 8};

		assert_int_equal(client_append(c, 3, argv, lens), 0);
		assert_int_equal(client_append(c, 2, get, get_lens), 0);
	}
	assert_int_equal(client_pending(c), 2 * COUNT);
	for (i = 0; i < COUNT; i++) {
		assert_int_equal(client_take(c, &reply), 0);
		assert_int_equal(reply->type, REDIS_REPLY_STRING);
		assert_int_equal(reply->len, 8);
		freeReplyObject(reply);
		assert_int_equal(client_take(c, &reply), 0);
		assert_int_equal(reply->len, sizeof(value));
		freeReplyObject(reply);
	}
	assert_int_equal(client_pending(c), 0);
	assert_true(client_take(c, &reply) < 0);
	client_close(c);
}

/* ----------------------------------------------------------------------------------------------------------- pool */

static struct pool *make_pool(struct backend **b, unsigned op_ms)
{
	struct pool_options opt = {
		.conns_max = 2, .op_ms = op_ms, .backoff_min_ms = 60000, .backoff_max_ms = 60000};
	struct backend_addr addr = {.namespace = "data"};
	struct pool *pool;

	memcpy(addr.unix_path, server.path, sizeof(addr.unix_path));
	assert_int_equal(pool_new(&pool, &opt), 0);
	assert_int_equal(pool_add(pool, &addr, b), 0);
	return pool;
}

static void values_go_and_come(void **state)
{
	struct backend_value v;
	struct backend_state st;
	struct net_error err;
	struct backend *b;
	struct pool *pool = make_pool(&b, 30000);
	uint8_t key[8];
	size_t len = sizeof(key), small = 4;

	(void)state;
	assert_int_equal(backend_set(b, NULL, 0, "hello world", 11, key, &len, &err), 0);
	assert_int_equal(len, 8);
	assert_int_equal(backend_get(b, key, 8, &v, &err), 0);
	assert_int_equal(v.len, 11);
	assert_memory_equal(v.data, "hello world", 11);
	backend_value_release(&v);
	/* this server announces no ranges */
	assert_int_equal(backend_getrange(b, key, 8, 6, 3, &v, &err), 0);
	assert_int_equal(v.len, 3);
	assert_memory_equal(v.data, "wor", 3);
	backend_value_release(&v);
	assert_int_equal(backend_getrange(b, key, 8, 11, 3, &v, &err), 0);
	assert_int_equal(v.len, 0);
	backend_value_release(&v);
	assert_int_equal(backend_get(b, "\77\0\0\0\0\0\0\0", 8, &v, &err), -ENOENT);
	assert_int_equal(err.code, -ENOENT);
	assert_int_equal(backend_del(b, key, 8, &err), 0);
	assert_int_equal(backend_del(b, "x", 1, &err), -ENOENT);
	assert_int_equal(backend_set(b, NULL, 0, "a", 1, key, &small, &err), -EMSGSIZE);
	server.manner = FULL;
	assert_int_equal(backend_set(b, NULL, 0, "a", 1, NULL, NULL, &err), -ENOSPC);
	backend_state(b, &st);
	assert_true(st.up); /* that it is full does not make it down */
	assert_int_equal(st.kind, BACKEND_ZDB_SEQ);
	assert_int_equal(st.extensions, CLIENT_EXT_SYNC | CLIENT_EXT_BATCH);
	assert_int_equal(st.conns, 1);
	pool_free(pool);
}

static void redis_is_a_store_too(void **state)
{
	struct backend_value v;
	struct net_error err;
	struct nsinfo info;
	struct backend *b;
	struct pool *pool = make_pool(&b, 30000);
	uint8_t key[8];
	size_t len = sizeof(key);

	(void)state;
	server.manner = REDIS;
	assert_int_equal(backend_set(b, "there", 5, "0123456789", 10, key, &len, &err), 0);
	assert_int_equal(len, 5);
	assert_memory_equal(key, "there", 5);
	assert_int_equal(backend_getrange(b, "there", 5, 2, 4, &v, &err), 0);
	assert_int_equal(v.len, 4);
	assert_memory_equal(v.data, "2345", 4);
	backend_value_release(&v);
	/* behind the end: empty, but there; absent: its answer looks the same and must not */
	assert_int_equal(backend_getrange(b, "there", 5, 20, 4, &v, &err), 0);
	assert_int_equal(v.len, 0);
	backend_value_release(&v);
	assert_int_equal(backend_getrange(b, "absent", 6, 2, 4, &v, &err), -ENOENT);
	assert_int_equal(backend_nsinfo(b, &info, &err), -EOPNOTSUPP);
	pool_free(pool);
}

static void down_is_not_absent(void **state)
{
	struct backend_value v;
	struct backend_state st;
	struct net_error err;
	struct backend *b;
	struct pool *pool = make_pool(&b, 60);
	unsigned accepted;

	(void)state;
	assert_int_equal(backend_ping(b, &err), 0);
	server.manner = SILENT;
	assert_int_equal(backend_get(b, "k", 1, &v, &err), -ETIMEDOUT);
	backend_state(b, &st);
	assert_false(st.up);
	assert_non_null(strstr(st.last_error, "timed out"));
	accepted = server.accepted;
	server.manner = GOOD;
	/* backing off for a minute: not even a connection is tried */
	assert_int_equal(backend_get(b, "k", 1, &v, &err), -EAGAIN);
	assert_non_null(strstr(err.text, "timed out"));
	assert_int_equal(server.accepted, accepted);
	backend_retry_now(b);
	assert_int_equal(backend_get(b, "k", 1, &v, &err), -ENOENT);
	backend_state(b, &st);
	assert_true(st.up);
	pool_free(pool);
}

static void a_restarted_server_is_found_again(void **state)
{
	struct net_error err;
	struct backend *b;
	struct pool *pool = make_pool(&b, 30000);

	(void)state;
	assert_int_equal(backend_ping(b, &err), 0);
	server_stop(&server);
	server_start(&server);
	/* the idle connection is dead: that must be seen before it is used */
	assert_int_equal(backend_ping(b, &err), 0);
	server_stop(&server);
	assert_true(backend_ping(b, &err) < 0);
	server_start(&server);
	pool_free(pool);
}

struct worker {
	pthread_t thread;
	struct backend *b;
	int failures;
};

static void *work(void *arg)
{
	struct worker *w = arg;
	struct backend_value v;
	int i;

	for (i = 0; i < 200; i++) {
		if (backend_set(w->b, NULL, 0, "value", 5, NULL, NULL, NULL))
			w->failures++;
		if (backend_get(w->b, "\0\0\0\0\0\0\0\0", 8, &v, NULL))
			w->failures++;
		backend_value_release(&v);
	}
	return NULL;
}

static void many_threads_share_few_connections(void **state)
{
	struct worker workers[8];
	struct backend_state st;
	struct backend *b;
	struct pool *pool = make_pool(&b, 60000);
	size_t i;

	(void)state;
	for (i = 0; i < 8; i++) {
		workers[i] = (struct worker){.b = b};
		assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
	}
	for (i = 0; i < 8; i++) {
		pthread_join(workers[i].thread, NULL);
		assert_int_equal(workers[i].failures, 0);
	}
	backend_state(b, &st);
	assert_true(st.conns <= 2);
	assert_true(server.accepted <= 2);
	assert_true(st.ops == 8 * 400);
	assert_int_equal(st.errors, 0);
	pool_free(pool);
}

static void addresses_change_and_retire(void **state)
{
	struct backend_addr addr = {.id = "one", .namespace = "data"}, shown;
	struct net_error err;
	struct backend *b, *same;
	struct pool *pool = make_pool(&b, 30000);

	(void)state;
	memcpy(addr.unix_path, server.path, sizeof(addr.unix_path));
	assert_int_equal(pool_add(pool, &addr, &b), 0);
	assert_int_equal(backend_ping(b, &err), 0);
	snprintf(addr.password, sizeof(addr.password), "helloworld");
	assert_int_equal(pool_add(pool, &addr, &same), 0);
	assert_ptr_equal(same, b);
	assert_int_equal(backend_ping(b, &err), 0);
	assert_int_equal(server.accepted, 2); /* with the new password */
	backend_addr(b, &shown);
	assert_string_equal(shown.password, "");
	pool_retire(pool, b);
	assert_int_equal(backend_ping(b, &err), -ESHUTDOWN);
	assert_int_equal(pool_add(pool, &addr, &same), 0);
	assert_int_equal(backend_ping(b, &err), 0);
	assert_ptr_equal(same, b);
	addr.unix_path[0] = '\0';
	assert_int_equal(pool_add(pool, &addr, &same), -EINVAL);
	pool_free(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(secure_entry, setup, teardown),
		cmocka_unit_test_setup_teardown(a_server_that_misbehaves, setup, teardown),
		cmocka_unit_test_setup_teardown(an_unasked_reply_breaks_the_connection, setup, teardown),
		cmocka_unit_test_setup_teardown(long_pipelines_do_not_wait_for_themselves, setup, teardown),
		cmocka_unit_test_setup_teardown(values_go_and_come, setup, teardown),
		cmocka_unit_test_setup_teardown(redis_is_a_store_too, setup, teardown),
		cmocka_unit_test_setup_teardown(down_is_not_absent, setup, teardown),
		cmocka_unit_test_setup_teardown(a_restarted_server_is_found_again, setup, teardown),
		cmocka_unit_test_setup_teardown(many_threads_share_few_connections, setup, teardown),
		cmocka_unit_test_setup_teardown(addresses_change_and_retire, setup, teardown),
	};

	log_level_set(LOG_LEVEL_ERR);
	return cmocka_run_group_tests_name("net_pool", tests, NULL, NULL);
}
