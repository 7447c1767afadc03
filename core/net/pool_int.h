/*
 * pool_int: what the files of the pool share.
 *
 * A backend's lock guards its address, its idle connections, its count and its health; it is held for list operations only, never
 * while anything waits for the network. Whoever waits for a connection waits on the backend's condition.
 */
#ifndef CORE_NET_POOL_INT_H
#define CORE_NET_POOL_INT_H

#include <pthread.h>

#include "core/base/list.h"
#include "core/net/pool.h"

#define BACKENDS_MAX 1024

struct pool_conn {
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

/* ---- errors (pool_error.c): each fills `err`, which may be NULL, and returns `code` ---- */

/* The sentence begins with the backend's id. */
__attribute__((format(printf, 4, 5))) int pool_fail(struct backend *b, struct net_error *err, int code,
						    const char *format, ...);
/* A connection's own sentence; it begins with the address, which the id normally repeats. */
int pool_fail_text(struct net_error *err, int code, const char *sentence);
/* Frees an unwanted reply to the request `what` and says what it was: pool.h's code of an error reply, or -EPROTO. */
int backend_refuse(struct backend *b, redisReply *reply, const char *what, struct net_error *err);
/* Whether an error of the transport says something about the backend, not about the request. */
bool pool_is_down_error(int code);

/* ---- health (pool_health.c) ---- */

/* Lock held, both. The sentence becomes the state's last error. */
void backend_set_up(struct backend *b);
void backend_set_down(struct backend *b, const char *sentence);
/* Counts an error and sets it down; takes the lock. */
void backend_note_down(struct backend *b, const char *sentence);
/* Lock held. May a call go on now (0), or -ESHUTDOWN, -EAGAIN? Sets *probe when it is the one that tries a backend that is
 * down: then `probing` is set until the caller clears it. */
int backend_admit(struct backend *b, bool *probe, struct net_error *err);
/* What the latest connection has found at the other end; "known" is false before the first one. */
bool backend_known(struct backend *b);
bool backend_is_redis(struct backend *b);

/* ---- connections (pool_conn.c) ---- */

/* One call's hold on a backend. */
struct pool_call {
	struct pool_conn *conn;
	bool probe;
	uint64_t start_ns;
};

/* Takes an idle connection or opens one; waits at most op_ms for one to be given back. 0: to be ended by pool_call_end(). */
int pool_call_begin(struct backend *b, struct pool_call *call, struct net_error *err);
/* Gives the connection back. `code` is what the transport said: 0 when a reply came, whatever it held. */
void pool_call_end(struct backend *b, struct pool_call *call, int code);
/* Lock held: moves idle connections of an older address to `out`. The caller closes them without the lock. */
void pool_conns_take_stale(struct backend *b, struct list *out);
void pool_conns_close(struct list *conns);

/* ---- requests (pool_ops.c) ---- */

/* One request. 0: *reply is what the server said, error replies included; the caller's (freeReplyObject()). */
int backend_ask(struct backend *b, redisReply **reply, struct net_error *err, int argc, const char **argv,
		const size_t *lens);

#endif
