/*
 * ctl: the control socket: listener, connections, and what the two protocols share.
 *
 * One socket speaks both protocols of the original, told apart by the first byte that is not blank: '{' or '[' begins
 * JSON-RPC 2.0 (ctl_rpc.c), anything else is the line protocol (ctl_line.c). Mode 0600; root and our own user are served.
 * A client never blocks the loop: what it does not read waits in a bounded buffer, and log lines wait in their rings.
 */
#ifndef ZINIT_CTL_H
#define ZINIT_CTL_H

#include <stdbool.h>
#include <stdint.h>

#include "core/base/buf.h"
#include "core/base/err.h"

#include "applets/zinit/sup.h"

enum {
	CTL_CLIENTS = 64,
	CTL_LINE_BYTES_MAX = 64 << 10,
	CTL_RPC_BYTES_MAX = 10 << 20, /* the original's limit of one message */
	CTL_OUT_BYTES_MAX = 16 << 20,
	CTL_STREAM_BYTES = 64 << 10, /* log lines are added while less than this waits */
	CTL_STOP_ANSWER_MS = 1500,   /* the original answers a stop within this, whatever the service does */
	CTL_WAIT_NAMES = 64,
};

struct client;
struct stats;
struct http;

/* ---- for the supervisor ---- */

/* Listens. 0, or a negative code with a sentence: -E_LOCKED when another instance serves the socket. */
int ctl_open(struct ctl **ctl, struct sup *sup, struct err_text *err);
/* Answers and closes every client, removes the socket. NULL is fine. */
void ctl_close(struct ctl *ctl);
/* A line was added to a ring: followers get it. NULL is fine. */
void ctl_log_appended(struct ctl *ctl);
/* Services have changed: whoever waits for one is answered. NULL is fine. */
void ctl_settle(struct ctl *ctl);

/* ---- for the protocols ---- */

enum client_protocol {
	PROTOCOL_UNKNOWN,
	PROTOCOL_LINE,
	PROTOCOL_RPC,
};

enum wait_for {
	WAIT_NOTHING,
	WAIT_DOWN,  /* no process, and none planned */
	WAIT_READY, /* satisfying as a dependency; ends badly when that cannot come by itself any more */
	WAIT_ENDED, /* no process now */
	WAIT_STATS, /* the second sample of service_stats */
};

/* A client that follows logs: its place in them, and how lines are written. */
struct follow {
	bool is_active, is_snapshot;
	bool is_rpc;                  /* notifications instead of text */
	bool is_bare;                 /* no "[+] name: " before the text */
	bool has_time;                /* wall clock before the line */
	char name[UNIT_NAME_MAX + 1]; /* only this service; "" = all */
	uint64_t next_seq;
	uint64_t end_seq; /* snapshot: behind the last line */
	uint64_t
		last_number; /* of the named service's ring: tells how many lines were pushed out meanwhile */
	uint64_t subscription;
};

struct client {
	struct ctl *ctl; /* NULL = free slot */
	struct loop_io io;
	struct buf in, out;
	enum client_protocol protocol;
	bool is_closing; /* when `out` is empty */
	bool is_eof;     /* nothing more comes */
	bool is_http;    /* no connection of ours: `out` is the answer of one HTTP request */
	uint64_t active_ms;
	size_t scanned; /* JSON: bytes of `in` that the boundary search has seen */
	uint32_t depth;
	bool is_in_string, is_escaped;
	struct follow follow;
	enum wait_for wait_for;
	uint32_t wait_count;
	char (*wait_names)[UNIT_NAME_MAX + 1]; /* one, or CTL_WAIT_NAMES of them; owned */
	struct loop_timer wait_timer;
	char *wait_id;       /* JSON text of the request's id; owned */
	struct stats *stats; /* first sample; owned */
	bool wait_is_plain;  /* answer null, as the original's stop does */
};

/* The protocol's parsers: take what they can from client->in. */
void ctl_line_input(struct client *client);
void ctl_rpc_input(struct client *client);

/* Adds to what the client gets; on an error the connection is closed later on. */
void client_send(struct client *client, const void *data, size_t len);
/* No further requests; closes when everything is sent. */
void client_finish(struct client *client);
/* Begins to send log lines (follow is filled in by the caller). */
void client_follow(struct client *client);
/* Formats one line as the original does: "[+] name: text\n". 0 or negative code. */
int client_format_line(struct buf *out, const struct service *service, const struct ring_line *line,
		       const struct follow *follow);
/* Begins a wait: names must be set. The answer comes through ctl_rpc_wait_done(). */
void client_wait(struct client *client, enum wait_for wait_for, int64_t timeout_ms);
/* The wait is over; `is_ok`: all of them got there. Implemented by the RPC protocol. */
void ctl_rpc_wait_done(struct client *client, bool is_ok, bool is_timeout);
/* One log line as a notification. */
void ctl_rpc_notify_line(struct client *client, const struct service *service, const struct ring_line *line);

static inline struct sup *client_sup(const struct client *client);

struct ctl {
	struct sup *sup;
	struct loop_io listener;
	int lock_fd;
	char path[108];
	struct client clients[CTL_CLIENTS];
	uint32_t client_count;
	struct http *http;       /* the HTTP door; NULL = closed */
	uint64_t subscriptions;  /* given out so far */
	struct loop_timer again; /* accept(2) failed: when to try it again */
	struct loop_post flush;  /* followers get their lines at the end of the round */
};

static inline struct sup *client_sup(const struct client *client)
{
	return client->ctl->sup;
}

#endif
