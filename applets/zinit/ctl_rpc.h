/*
 * ctl_rpc: what the JSON-RPC methods are written with.
 */
#ifndef ZINIT_CTL_RPC_H
#define ZINIT_CTL_RPC_H

#include <stdio.h>

#include <yyjson.h>

#include "applets/zinit/ctl.h"
#include "applets/zinit/service.h"

/* JSON-RPC 2.0's own codes, then the original's. */
enum rpc_code {
	RPC_PARSE = -32700,
	RPC_INVALID = -32600,
	RPC_NO_METHOD = -32601,
	RPC_BAD_PARAMS = -32602,
	RPC_INTERNAL = -32603,
	RPC_NOT_FOUND = -32000,
	RPC_MONITORED = -32001,
	RPC_IS_UP = -32002,
	RPC_IS_DOWN = -32003,
	RPC_BAD_SIGNAL = -32004,
	RPC_CONFIG = -32005,
	RPC_SHUTTING_DOWN = -32006,
	RPC_EXISTS = -32007,
	RPC_FILE = -32008,
};

/* One request that is being carried out. */
struct rpc {
	struct client *client;
	yyjson_mut_doc *doc; /* results are made in it */
	yyjson_val *id, *params;
	yyjson_mut_val *result, *error;
	void (*after)(struct sup *); /* called when the answer is on its way */
	bool is_batch, is_waiting;
	bool is_http; /* came through the HTTP door: nothing can wait or be followed */
};

struct rpc_method {
	const char *name;
	void (*fn)(struct rpc *rpc);
	const char *params; /* names in order, separated by blanks; a trailing '?' = optional */
	const char *result; /* JSON schema type */
	const char *summary;
};

/* The method of this name, or NULL. */
const struct rpc_method *rpc_method_find(const char *name);

void rpc_result(struct rpc *rpc, yyjson_mut_val *value);
/* The original's error object: "<action>: <text>" with code name and the rest. */
void rpc_fail(struct rpc *rpc, int code, const char *action, const char *service, const char *text);
void rpc_bad_params(struct rpc *rpc);

/* Parameters by position or name. _str and _service answer with an error themselves when they return NULL. */
yyjson_val *rpc_param(const struct rpc *rpc, size_t position, const char *name);
const char *rpc_param_str(struct rpc *rpc, size_t position, const char *name);
struct service *rpc_param_service(struct rpc *rpc, const char *action);

/*
 * Answers later, when all the named services (a string or an array) are where `wait_for` says, or at the time-out
 * (negative: none). is_plain: with null, otherwise {ok, timeout, services}. 0, or negative: answer at once instead
 * (batches cannot wait).
 */
int rpc_wait(struct rpc *rpc, yyjson_val *names, enum wait_for wait_for, int64_t timeout_ms, bool is_plain);

/* Carries out one JSON text (a request or a batch) for a client: the answer goes to its output. */
void ctl_rpc_run(struct client *client, const char *text, size_t len);

#endif
