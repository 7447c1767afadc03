/*
 * ctl: the control protocol of our own verbs, on unix sockets.
 *
 * One request is one line of JSON: {"cmd":"status", ...}. The answer is one or more lines of JSON; the last one, and no
 * other, has "done":true, with "code":N (an exit code, core/base/applet.h) and, unless the code is 0, "error":"sentence".
 * Lines before it carry results or {"progress":{...}}. A connection may carry any number of requests, one after the
 * other. Lines end with \n and are at most CTL_LINE_MAX bytes in either direction.
 *
 * The server half runs on a loop and never blocks: at most CTL_CLIENTS_MAX clients, at most CTL_OUT_MAX bytes waiting for
 * a client that does not read (then it is disconnected). Only root and the user that the server runs as are served.
 *
 * JSON values are those of yyjson: handlers get the parsed request and build answers with yyjson_mut.
 */
#ifndef CORE_CTL_CTL_H
#define CORE_CTL_CTL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <yyjson.h>

#include "core/base/err.h"
#include "core/base/loop.h"

#define CTL_LINE_MAX    65536u
#define CTL_CLIENTS_MAX 64
#define CTL_OUT_MAX     (1u << 20)

struct ctl_server;
struct ctl_request;

/*
 * A command. `fn` is called in the loop's thread with a request that stays valid until ctl_done(): it may answer at
 * once or keep the pointer and answer later. Exactly one ctl_done() per request. If the client goes away meanwhile,
 * answers are dropped silently and `on_cancel` (see below), if set, is called; ctl_done() must still follow.
 */
struct ctl_command {
	const char *name; /* NULL ends the table */
	void (*fn)(struct ctl_request *req, void *ctx);
};

/*
 * Listens on `path` (at most 107 bytes; mode 0600; a stale socket that nobody serves is replaced, a served one is
 * -E_LOCKED). The table and ctx must outlive the server. 0 or negative errno with a sentence in `err`.
 */
int ctl_server_new(struct ctl_server **server, struct loop *loop, const char *path,
		   const struct ctl_command *commands, void *ctx, struct err_text *err);

/*
 * Without a listener of its own: for a socket that also speaks another protocol. ctl_server_adopt() takes over a
 * connected descriptor from which `len` bytes have already been read (a first '{' told who is calling). 0, or negative
 * errno; then the descriptor still belongs to the caller.
 */
int ctl_server_new_bare(struct ctl_server **server, struct loop *loop, const struct ctl_command *commands,
			void *ctx);
int ctl_server_adopt(struct ctl_server *server, int fd, const void *data, size_t len);

/* Closes every client and the listener, removes the socket file, frees the server. Open requests are cancelled first (their
 * on_cancel is called) and must not be used after it. NULL is fine. */
void ctl_server_free(struct ctl_server *server);

/* Number of connected clients. */
size_t ctl_server_clients(const struct ctl_server *server);

/* The request's object; "cmd"; helpers for its members (default when absent or of another type). Valid until ctl_done(). */
yyjson_val *ctl_arg(const struct ctl_request *req);
const char *ctl_arg_cmd(const struct ctl_request *req);
const char *ctl_arg_str(const struct ctl_request *req, const char *name, const char *def);
uint64_t ctl_arg_u64(const struct ctl_request *req, const char *name, uint64_t def);
bool ctl_arg_bool(const struct ctl_request *req, const char *name, bool def);

/*
 * Called once when the client of an unanswered request is gone: from the loop, never from inside ctl_send() or
 * ctl_progress(), whose -EPIPE says the same earlier. The function may call ctl_done() or leave that for later.
 */
void ctl_on_cancel(struct ctl_request *req, void (*fn)(struct ctl_request *req, void *ctx), void *ctx);
bool ctl_is_cancelled(const struct ctl_request *req);

/* Sends a line before the last one. The document still belongs to the caller. 0, -E_LIMIT (line too long), -ENOMEM, -EPIPE. */
int ctl_send(struct ctl_request *req, yyjson_mut_doc *doc);
/* {"progress":{"text":..., "done":..., "total":...}} */
int ctl_progress(struct ctl_request *req, const char *text, uint64_t done, uint64_t total);

/*
 * Ends the request and frees it. ctl_done_doc() adds "done" and "code" to the root object of `doc` and sends that as the last
 * line (the document still belongs to the caller). A failure to send is logged and closes the connection.
 */
void ctl_done(struct ctl_request *req, int exit_code, const char *error_format, ...)
	__attribute__((format(printf, 3, 4)));
void ctl_done_doc(struct ctl_request *req, int exit_code, yyjson_mut_doc *doc);

/*
 * Client: sends one request and reads its answer. `request` is one line of JSON without the \n. `on_line` (may be NULL) sees
 * every line, the last one included; a non-zero answer of it ends the call with that value. timeout_ms bounds the silence
 * between two lines (-1: none). Returns the exit code of the last line (>= 0), or a negative errno when there was no such
 * line: -ENOENT and -ECONNREFUSED (nobody serves `path`), -ETIMEDOUT, -EPIPE (closed early), -EPROTO. `err` gets the
 * sentence: the server's "error", or ours.
 */
int ctl_call(const char *path, const char *request, int timeout_ms,
	     int (*on_line)(void *ctx, yyjson_val *line), void *ctx, struct err_text *err);

/* The same with a request built as a document (its root object needs "cmd"). */
int ctl_call_doc(const char *path, yyjson_mut_doc *request, int timeout_ms,
		 int (*on_line)(void *ctx, yyjson_val *line), void *ctx, struct err_text *err);

#endif
