/*
 * client: one synchronous connection to a 0-db or redis server, on hiredis.
 *
 * For tools, daemons' worker threads and the backend pool: every call may block, but never longer than the
 * time limits of its options, and never holds more memory than the limits given for one reply. Names are
 * resolved inside client_open(), so call it from a thread that may wait, not from an event loop. A connection
 * belongs to one thread at a time.
 *
 * After any error other than an error *reply* the connection is broken: further calls return -ENOTCONN and
 * client_close() is what is left to do. The process must ignore SIGPIPE (log_init()'s caller does).
 *
 * Errors are negative errno codes; client_error() holds one sentence for people ("10.0.0.3:9900: timed out
 * after 30000 ms"), never with a password in it.
 */
#ifndef CORE_NET_CLIENT_H
#define CORE_NET_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hiredis/hiredis.h>

/* Where a server is and how to enter it. Empty strings mean "not given". */
struct client_addr {
	char host[256];
	uint16_t port;
	char unix_path[108]; /* given: host and port are not used */
	char ns[129];        /* namespace to SELECT; empty = the server's default, no SELECT is sent */
	char password[256];  /* of the namespace (0-db); without a namespace: AUTH (redis, 0-db's admin) */
};

struct client_options {
	unsigned connect_ms; /* 0 = 5000 */
	unsigned op_ms;      /* whole call, request and reply; 0 = 30000 */
	size_t reply_max;    /* bytes of one reply on the wire; 0 = 64 MiB */
	size_t elements_max; /* members of one array; 0 = 1,048,576 */
	bool plain_password; /* SELECT and AUTH in clear; else 0-db's challenge form, plain where a server
				does not know it */
	bool no_select;      /* leave entering the namespace to the caller */
};

struct client;

/*
 * Connects, and enters the namespace of `addr`. On success *out is the connection. Otherwise the reason is
 * also written to `why` as a sentence (size bytes, may be 0). Codes: -ETIMEDOUT, -ECONNREFUSED, ...,
 * -EHOSTUNREACH (name not resolved), -EACCES (password refused), -ENOENT (no such namespace), -EPROTO,
 * -ENOMEM.
 */
int client_open(struct client **out, const struct client_addr *addr, const struct client_options *opt,
		char *why, size_t why_size);
/* NULL is allowed. */
void client_close(struct client *c);

/* The sentence of the last error; "" when there was none. Belongs to the connection. */
const char *client_error(const struct client *c);
/* "host:port" or the socket's path; with the namespace: "host:port/ns". */
const char *client_name(const struct client *c);
/* The socket, for poll(); -1 when broken. */
int client_fd(const struct client *c);

/*
 * One request and its reply. *reply belongs to the caller: freeReplyObject(). An error reply is not an error
 * of the call: returns 0, (*reply)->type is REDIS_REPLY_ERROR. Codes: -ETIMEDOUT, -ECONNRESET, -EPIPE,
 * -EPROTO, -EMSGSIZE (reply over a limit), -ENOTCONN, -ENOMEM.
 */
int client_command(struct client *c, redisReply **reply, int argc, const char **argv, const size_t *lens);
/* The same from NUL-terminated words, ended by NULL. */
int client_words(struct client *c, redisReply **reply, ...) __attribute__((sentinel));

/*
 * Pipelining: append any number of requests, then take as many replies, in order. client_append() only
 * queues; the queue is sent by client_take() (or early, when it passes 1 MiB: a reply that arrives meanwhile
 * is kept).
 */
int client_append(struct client *c, int argc, const char **argv, const size_t *lens);
int client_take(struct client *c, redisReply **reply);
/* Replies still owed. */
size_t client_pending(const struct client *c);

/* ------------------------------------------------------------------------------------------ NSINFO, INFO */

/* What zstor, zdbfs and status read of NSINFO (zdb: section "NSINFO" of docs/formats.md). A field that the
 * text lacks is 0 / false. */
struct nsinfo {
	char name[129];
	uint64_t entries;
	bool is_public, worm, locked, password, sequential;
	uint64_t data_size_bytes;  /* live payload */
	uint64_t data_limit_bytes; /* 0 = none */
	uint64_t index_size_bytes;
	uint64_t next_id; /* sequential: the next id (the text is byte-swapped; here it is not) */
	uint64_t index_free_bytes, data_free_bytes; /* of the disks */
	uint64_t index_io_errors, index_io_error_last, index_faults;
	uint64_t data_io_errors, data_io_error_last, data_faults;
	char data_path[512], index_path[512]; /* admins only, else "" */
	bool has_current;                     /* the two below were there (admins) */
	uint32_t data_current_id;
	uint64_t data_current_offset;
};

/* Parses the text of an NSINFO reply; `len` bytes, need not end with NUL. -EPROTO when it holds no "name:".
 */
int nsinfo_parse(struct nsinfo *out, const char *text, size_t len);
/* NSINFO ns of the connected server; -ENOENT when it has no such namespace. */
int client_nsinfo(struct client *c, const char *ns, struct nsinfo *out);

/* Extensions that a server announces in INFO's line "extensions:". */
enum client_extensions {
	CLIENT_EXT_SYNC = 1,
	CLIENT_EXT_RANGE = 2,
	CLIENT_EXT_BATCH = 4,
	CLIENT_EXT_EVICT = 8,
	CLIENT_EXT_CUT = 16,
};
/* Asks INFO and sets *bits; 0 bits for servers that announce none (upstream 0-db, redis). *is_zdb (may be
 * NULL) says whether it is a 0-db. */
int client_extensions(struct client *c, unsigned *bits, bool *is_zdb);

/*
 * "unix:PATH", an absolute path, "HOST:PORT", "[V6]:PORT", each with an optional "/NAMESPACE" after the port
 * (not after paths) -> addr. -EINVAL otherwise. Password and namespace already in `addr` are kept unless
 * given.
 */
int client_addr_parse(struct client_addr *addr, const char *text);

#endif
