/*
 * pool: the backends of a volume, as zstor's worker threads use them.
 *
 * A pool holds any number of backends (added at start or at a reload), each with at most `conns_max`
 * connections. Every backend_*() call below takes an idle connection or opens one (waiting, bounded, when all
 * are in use), does one operation, and gives it back. Any thread may call at any time.
 *
 * Health: the first failure of transport, name or password makes a backend *down*, with the sentence of the
 * error and the time since when. While down, calls fail at once with -EAGAIN until the back-off (0.5 s
 * doubling to 30 s, +-25 % jitter) is over; then one call at a time is let through as the probe. Any success
 * makes it *up*. An error *reply* to one request (no space, wrong key) does not make a backend down.
 *
 * Three answers: -ENOENT is returned only when the server itself answered nil. Everything that is not a clear
 * answer has another code.
 *
 * Lock order: pool lock, then one backend's lock; no lock is held while anything waits for the network.
 */
#ifndef CORE_NET_POOL_H
#define CORE_NET_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/net/client.h"

struct backend_addr {
	char id[64]; /* stable label of the store; empty: made as "host:port/namespace" */
	char host[256];
	uint16_t port;
	char unix_path[108]; /* given: host and port are not used */
	char namespace[129]; /* empty: plain redis, or 0-db's default namespace */
	char password[256];
};

struct pool_options {
	unsigned conns_max;                      /* per backend; 0 = 4 */
	unsigned connect_ms;                     /* 0 = 5000 */
	unsigned op_ms;                          /* 0 = 30000 */
	unsigned backoff_min_ms, backoff_max_ms; /* 0 = 500, 30000 */
	size_t value_max;                        /* bytes of one value; 0 = 8 MiB */
};

struct pool;
struct backend;

/* Error of one call, for messages: always set when a call fails. */
struct net_error {
	int code;       /* what the call returned */
	char text[256]; /* "10.0.0.3:9900/data: timed out after 30000 ms" */
};

/* A pool without backends; `opt` is copied, NULL = all defaults. *out is the caller's (pool_free). 0 or -ENOMEM. */
int pool_new(struct pool **out, const struct pool_options *opt);
/* Closes everything. No call may be under way. NULL is allowed. */
void pool_free(struct pool *pool);

/* Adds a backend, or returns the one with that id, with its address replaced (connections to an older address
 * are closed when they come back). The backend lives as long as the pool. -EINVAL, -ENOMEM, -ENOSPC (more
 * than 1024). */
int pool_add(struct pool *pool, const struct backend_addr *addr, struct backend **out);
/* A backend that the configuration no longer names: its calls fail with -ESHUTDOWN, connections are closed;
 * pool_add() with its id revives it. */
void pool_retire(struct pool *pool, struct backend *b);

/* ----------------------------------------------------------------------------------------------- health */

enum backend_kind { BACKEND_UNKNOWN, BACKEND_ZDB_USER, BACKEND_ZDB_SEQ, BACKEND_REDIS };

struct backend_state {
	bool up; /* last call reached it; a backend never tried is up == false, tried == false */
	bool tried;
	uint64_t since_ms; /* mono_ms() of the last change */
	uint64_t retry_ms; /* down: mono_ms() before which calls fail at once */
	unsigned failures; /* in a row */
	enum backend_kind kind;
	unsigned extensions;  /* enum client_extensions */
	unsigned conns;       /* open */
	char last_error[256]; /* kept after it came back; "" = none yet */
	uint64_t ops, errors; /* since the start */
	uint64_t latency_us;  /* moving average of successful calls; 0 = none yet */
};
/* A copy of the state, as of one instant. */
void backend_state(struct backend *b, struct backend_state *out);
/* A copy of the address without the password. */
void backend_addr(struct backend *b, struct backend_addr *out);
/* Forgets the back-off, so that the next call tries at once. */
void backend_retry_now(struct backend *b);

/* ------------------------------------------------------------------------------------------- operations */

/* A value that a server sent, not copied again. Release with backend_value_release() (also after errors: it
 * is then empty). */
struct backend_value {
	const uint8_t *data;
	size_t len;
	void *owner;
};
/* Leaves it empty; an empty one is fine. */
void backend_value_release(struct backend_value *v);

/*
 * All: 0 or a negative code; `err` may be NULL. Codes beside the transport's: -EAGAIN down and backing off,
 * -EBUSY all connections stay in use for op_ms, -ENOSPC the store says it is full, -EROFS namespace locked or
 * read-only, -EACCES refused, -EREMOTEIO any other error reply, -ENOENT nil (get, getrange, del), -ESHUTDOWN
 * retired.
 */

/* SET. A 0-db in sequential mode gives the key: pass klen 0, and get it in key_out (*key_out_len: room in,
 * length out; -EMSGSIZE when it is too small). key_out may be NULL. SET of the same value is a success. */
int backend_set(struct backend *b, const void *key, size_t klen, const void *val, size_t vlen, void *key_out,
		size_t *key_out_len, struct net_error *err);
int backend_get(struct backend *b, const void *key, size_t klen, struct backend_value *out,
		struct net_error *err);
/* Bytes [off, off + len) cut at the value's end. Where the store has no ranges, the whole value is fetched
 * and cut here. An absent key is -ENOENT (also on redis, whose empty answer is checked with EXISTS). */
int backend_getrange(struct backend *b, const void *key, size_t klen, uint64_t off, uint64_t len,
		     struct backend_value *out, struct net_error *err);
/* -ENOENT when it was not there. */
int backend_del(struct backend *b, const void *key, size_t klen, struct net_error *err);
/* *exists = whether the server has the key. */
int backend_exists(struct backend *b, const void *key, size_t klen, bool *exists, struct net_error *err);
/* NSINFO of the backend's namespace (default when none is set). -EOPNOTSUPP on redis. */
int backend_nsinfo(struct backend *b, struct nsinfo *out, struct net_error *err);
/* Connects if needed and sends PING. */
int backend_ping(struct backend *b, struct net_error *err);
/*
 * Lists keys: calls fn for each key of one page; *cursor (at most 64 bytes, *cursor_len 0 = from the start)
 * is advanced. Returns 1 when there may be more, 0 at the end, or an error. 0-db: SCAN; redis: SCAN with
 * MATCH prefix*. Keys that do not begin with the prefix are not reported. fn returning non-zero stops: that
 * value is returned when it is negative.
 */
typedef int (*backend_scan_fn)(void *ctx, const uint8_t *key, size_t klen);
int backend_scan(struct backend *b, const void *prefix, size_t prefix_len, uint8_t cursor[64],
		 size_t *cursor_len, backend_scan_fn fn, void *ctx, struct net_error *err);

#endif
