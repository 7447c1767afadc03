/*
 * kv_remote_int: what the connections (kv_conn.c) and their owner (kv_remote.c) share.
 */
#ifndef ZDBFS_KV_REMOTE_INT_H
#define ZDBFS_KV_REMOTE_INT_H

#include <stdatomic.h>

#include "applets/zdbfs/kv_remote.h"
#include "core/base/buf.h"

#define CONN_READERS 3u   /* connections for reads of meta and of data */
#define CONN_WINDOW  64u  /* requests of one connection that wait for their answers */
#define BATCH_ITEMS  320u /* SET and DEL of one BATCH: its arguments stay below 1,024 */
#define BATCH_BYTES  (4u << 20)

/* Requests of one role that wait to be sent: changes, or reads. */
struct conn_queue {
	struct list reqs; /* under kv_remote.lock */
	size_t count;
};

struct conn {
	struct kv_remote *r;
	enum kv_role role;
	bool is_writer;
	struct conn_queue *queue;
	int wake_fd; /* eventfd: there may be something in the queue */
	pthread_t thread;
	bool has_thread;

	/* under r->lock, so that a submitter can choose a connection */
	size_t in_flight;
	uint64_t oldest_ms; /* when the request at the head was sent; 0 = none */

	/* the thread's own */
	struct client *client; /* NULL: not connected */
	int fd;
	struct list sent; /* in the order of their answers */
	struct buf out, in;
	bool has_been_connected;
	uint64_t retry_ms; /* not to be tried before: connecting, or a locked namespace */
	unsigned failures;
};

struct kv_remote {
	struct kv kv;
	struct kv_remote_options opt;
	char temp_password[256];
	pthread_mutex_t lock; /* guards queues, choice of connection, stop flag */
	struct conn_queue writes[KV_ROLES], reads[KV_ROLES];
	struct conn writers[KV_ROLES], readers[KV_ROLES][CONN_READERS];
	unsigned reader_count[KV_ROLES];
	bool is_stopping;

	pthread_mutex_t info_lock[KV_ROLES]; /* one question at a time */
	struct client *info_client[KV_ROLES];

	atomic_ullong epoch[KV_ROLES];
	uint64_t instance[KV_ROLES]; /* of the server that the writer is connected to; the writer's own */
	atomic_ullong reconnects;
};

int conn_start(struct conn *c, struct kv_remote *r, enum kv_role role, bool is_writer);
void conn_stop(struct conn *c); /* joins; r->is_stopping is set and the connection woken before */
void conn_wake(struct conn *c);

/* INFO's instance_id; 0 when the server does not say. */
uint64_t conn_instance(struct client *c);

#endif
