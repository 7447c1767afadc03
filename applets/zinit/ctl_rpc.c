/*
 * ctl_rpc: the second generation's protocol, JSON-RPC 2.0 on a connection that stays open. Requests are JSON texts one
 * after another, with or without line ends between them; their ends are found by bracket depth. The methods are a table
 * at the end of ctl_rpc_methods.c; here are framing, batches, parameters, results and errors.
 */
#include "applets/zinit/ctl_rpc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/mem.h"

#include "applets/zinit/info.h"

static const struct {
	int code;
	const char *name;
	bool is_retryable;
} rpc_errors[] = {
	{RPC_NOT_FOUND, "ServiceNotFound", false},  {RPC_MONITORED, "ServiceAlreadyMonitored", true},
	{RPC_IS_UP, "ServiceIsUp", false},          {RPC_IS_DOWN, "ServiceIsDown", true},
	{RPC_BAD_SIGNAL, "InvalidSignal", false},   {RPC_CONFIG, "ConfigError", false},
	{RPC_SHUTTING_DOWN, "ShuttingDown", false}, {RPC_EXISTS, "ServiceAlreadyExists", false},
	{RPC_FILE, "ServiceFileError", false},      {RPC_BAD_PARAMS, "InvalidServiceName", false},
	{RPC_INTERNAL, "InternalError", false},
};

/* ---- answers ---- */

/* The object that every answer begins with; NULL without memory. */
static yyjson_mut_val *begin_answer(yyjson_mut_doc *doc, const yyjson_val *id)
{
	yyjson_mut_val *root = yyjson_mut_obj(doc);

	yyjson_mut_obj_add_str(doc, root, "jsonrpc", "2.0");
	yyjson_mut_obj_add_val(doc, root, "id",
			       id ? yyjson_val_mut_copy(doc, (yyjson_val *)(uintptr_t)id)
				  : yyjson_mut_null(doc));
	return root;
}

static void send_value(struct client *c, yyjson_mut_doc *doc, yyjson_mut_val *root)
{
	size_t len;
	char *text;

	yyjson_mut_doc_set_root(doc, root);
	text = yyjson_mut_write(doc, YYJSON_WRITE_ALLOW_INVALID_UNICODE, &len);
	if (!text) {
		client_finish(c);
		return;
	}
	client_send(c, text, len);
	client_send(c, "\n", 1);
	free(text);
}

void rpc_result(struct rpc *rpc, yyjson_mut_val *value)
{
	rpc->result = value ? value : yyjson_mut_null(rpc->doc);
}

void rpc_fail(struct rpc *rpc, int code, const char *action, const char *service, const char *text)
{
	yyjson_mut_doc *doc = rpc->doc;
	yyjson_mut_val *error = yyjson_mut_obj(doc), *data = yyjson_mut_obj(doc);
	char message[700];

	snprintf(message, sizeof(message), "%s: %s", action, text);
	yyjson_mut_obj_add_int(doc, error, "code", code);
	yyjson_mut_obj_add_strcpy(doc, error, "message", message);
	for (size_t i = 0; i < sizeof(rpc_errors) / sizeof(rpc_errors[0]); i++) {
		if (rpc_errors[i].code != code)
			continue;
		yyjson_mut_obj_add_str(doc, data, "code_name", rpc_errors[i].name);
		if (service)
			yyjson_mut_obj_add_strcpy(doc, data, "service", service);
		else
			yyjson_mut_obj_add_null(doc, data, "service");
		yyjson_mut_obj_add_strcpy(doc, data, "action", action);
		yyjson_mut_obj_add_bool(doc, data, "retryable", rpc_errors[i].is_retryable);
		yyjson_mut_obj_add_null(doc, data, "cause_chain");
		yyjson_mut_obj_add_null(doc, data, "hint");
		yyjson_mut_obj_add_val(doc, error, "data", data);
	}
	rpc->error = error;
}

static void fail_plain(struct rpc *rpc, int code, const char *message)
{
	rpc->error = yyjson_mut_obj(rpc->doc);
	yyjson_mut_obj_add_int(rpc->doc, rpc->error, "code", code);
	yyjson_mut_obj_add_str(rpc->doc, rpc->error, "message", message);
}

void rpc_bad_params(struct rpc *rpc)
{
	fail_plain(rpc, RPC_BAD_PARAMS, "Invalid params");
}

yyjson_val *rpc_param(const struct rpc *rpc, size_t position, const char *name)
{
	if (yyjson_is_arr(rpc->params))
		return yyjson_arr_get(rpc->params, position);
	return yyjson_obj_get(rpc->params, name);
}

const char *rpc_param_str(struct rpc *rpc, size_t position, const char *name)
{
	const char *text = yyjson_get_str(rpc_param(rpc, position, name));

	if (!text)
		rpc_bad_params(rpc);
	return text;
}

struct service *rpc_param_service(struct rpc *rpc, const char *action)
{
	const char *name = rpc_param_str(rpc, 0, "name");
	struct service *s = name ? sup_find(client_sup(rpc->client), name) : NULL;
	char text[UNIT_NAME_MAX + 64];

	if (name && !s) {
		snprintf(text, sizeof(text), "service '%.*s' not found", UNIT_NAME_MAX, name);
		rpc_fail(rpc, RPC_NOT_FOUND, action, name, text);
	}
	return s;
}

/* ---- waits ---- */

/* The id as JSON text, from our own allocator. */
static char *copy_id(yyjson_val *id)
{
	char *text = yyjson_val_write(id, YYJSON_WRITE_NOFLAG, NULL), *copy = text ? mem_strdup(text) : NULL;

	free(text);
	return copy;
}

int rpc_wait(struct rpc *rpc, yyjson_val *names, enum wait_for wait_for, int64_t timeout_ms, bool is_plain)
{
	struct client *c = rpc->client;
	size_t count = yyjson_is_arr(names) ? yyjson_arr_size(names) : 1;

	if (rpc->is_batch || count == 0 || count > CTL_WAIT_NAMES)
		return -E_LIMIT;
	c->wait_names = mem_calloc(count, sizeof(*c->wait_names));
	c->wait_id = rpc->id ? copy_id(rpc->id) : NULL;
	if (!c->wait_names || (rpc->id && !c->wait_id)) {
		mem_free(c->wait_names);
		c->wait_names = NULL;
		return -ENOMEM;
	}
	for (size_t i = 0; i < count; i++) {
		const char *name = yyjson_get_str(yyjson_is_arr(names) ? yyjson_arr_get(names, i) : names);

		snprintf(c->wait_names[i], sizeof(*c->wait_names), "%s", name ? name : "");
	}
	c->wait_count = (uint32_t)count;
	c->wait_is_plain = is_plain;
	rpc->is_waiting = true;
	client_wait(c, wait_for, timeout_ms);
	return 0;
}

void ctl_rpc_wait_done(struct client *c, bool is_ok, bool is_timeout)
{
	yyjson_mut_doc *doc;
	yyjson_doc *id;

	if (!c->wait_id)
		return; /* a notification: nobody expects an answer */
	doc = yyjson_mut_doc_new(NULL);
	id = yyjson_read(c->wait_id, strlen(c->wait_id), YYJSON_READ_NOFLAG);
	if (doc && id) {
		yyjson_mut_val *root = begin_answer(doc, yyjson_doc_get_root(id));

		if (c->stats) {
			const struct service *s = sup_find(client_sup(c), c->wait_names[0]);

			if (s && s->pid)
				yyjson_mut_obj_add_val(doc, root, "result", info_stats(doc, s, c->stats));
			else
				yyjson_mut_obj_add_null(doc, root, "result");
		} else if (c->wait_is_plain) {
			yyjson_mut_obj_add_null(doc, root, "result");
		} else {
			yyjson_mut_val *result = yyjson_mut_obj(doc), *states = yyjson_mut_obj(doc);
			char text[96];

			for (uint32_t i = 0; i < c->wait_count; i++) {
				const struct service *s = sup_find(client_sup(c), c->wait_names[i]);

				yyjson_mut_obj_put(
					states, yyjson_mut_strcpy(doc, c->wait_names[i]),
					yyjson_mut_strcpy(doc, s ? service_state_text(s, text, sizeof(text))
								 : "Unknown"));
			}
			yyjson_mut_obj_add_bool(doc, result, "ok", is_ok);
			yyjson_mut_obj_add_bool(doc, result, "timeout", is_timeout);
			yyjson_mut_obj_add_val(doc, result, "services", states);
			yyjson_mut_obj_add_val(doc, root, "result", result);
		}
		send_value(c, doc, root);
	} else {
		client_finish(c);
	}
	yyjson_doc_free(id);
	yyjson_mut_doc_free(doc);
}

void ctl_rpc_notify_line(struct client *c, const struct service *s, const struct ring_line *line)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root, *params;
	struct buf text = BUF_INIT(RING_LINE_MAX + 512);

	if (!doc || client_format_line(&text, s, line, &c->follow)) {
		c->is_closing = true;
		goto out;
	}
	root = yyjson_mut_obj(doc);
	params = yyjson_mut_obj(doc);
	yyjson_mut_obj_add_str(doc, root, "jsonrpc", "2.0");
	yyjson_mut_obj_add_str(doc, root, "method", "stream_subscribeLogs");
	yyjson_mut_obj_add_uint(doc, params, "subscription", c->follow.subscription);
	yyjson_mut_obj_add_val(doc, params, "result", info_text(doc, text.data, text.len - 1));
	yyjson_mut_obj_add_val(doc, root, "params", params);
	send_value(c, doc, root);
out:
	buf_release(&text);
	yyjson_mut_doc_free(doc);
}

/* ---- requests ---- */

/* Carries out one request. Returns its answer, or NULL: a notification, or the answer comes later. */
static yyjson_mut_val *run_one(struct client *c, yyjson_mut_doc *doc, yyjson_val *request, bool is_batch,
			       void (**after)(struct sup *))
{
	struct rpc rpc = {.client = c, .doc = doc, .is_batch = is_batch || c->is_http, .is_http = c->is_http};
	const char *version, *method;
	yyjson_mut_val *root;
	bool is_valid;

	rpc.id = yyjson_obj_get(request, "id");
	rpc.params = yyjson_obj_get(request, "params");
	version = yyjson_get_str(yyjson_obj_get(request, "jsonrpc"));
	method = yyjson_get_str(yyjson_obj_get(request, "method"));
	is_valid = version && strcmp(version, "2.0") == 0 && method &&
		   (!rpc.params || yyjson_is_ctn(rpc.params) || yyjson_is_null(rpc.params)) &&
		   (!rpc.id || yyjson_is_str(rpc.id) || yyjson_is_num(rpc.id) || yyjson_is_null(rpc.id));
	if (!is_valid) {
		fail_plain(&rpc, RPC_INVALID, "Invalid request");
	} else {
		const struct rpc_method *found = rpc_method_find(method);

		if (found)
			found->fn(&rpc);
		else
			fail_plain(&rpc, RPC_NO_METHOD, "Method not found");
	}
	if (rpc.after)
		*after = rpc.after;
	if (rpc.is_waiting || (is_valid && !rpc.id))
		return NULL;
	root = begin_answer(doc, is_valid ? rpc.id : NULL);
	if (rpc.error)
		yyjson_mut_obj_add_val(doc, root, "error", rpc.error);
	else
		yyjson_mut_obj_add_val(doc, root, "result", rpc.result ? rpc.result : yyjson_mut_null(doc));
	return root;
}

static void send_error(struct client *c, yyjson_mut_doc *doc, int code, const char *message)
{
	struct rpc rpc = {.client = c, .doc = doc};
	yyjson_mut_val *root = begin_answer(doc, NULL);

	fail_plain(&rpc, code, message);
	yyjson_mut_obj_add_val(doc, root, "error", rpc.error);
	send_value(c, doc, root);
}

void ctl_rpc_run(struct client *c, const char *text, size_t len)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_doc *request = yyjson_read(text, len, YYJSON_READ_NOFLAG);
	yyjson_val *root = yyjson_doc_get_root(request), *item;
	void (*after)(struct sup *) = NULL;
	yyjson_mut_val *answer = NULL;
	size_t index, max;

	if (!doc) {
		client_finish(c);
		goto out;
	}
	if (!root) {
		send_error(c, doc, RPC_PARSE, "Parse error");
		goto out;
	}
	if (!yyjson_is_arr(root)) {
		answer = run_one(c, doc, root, false, &after);
	} else if (yyjson_arr_size(root) == 0) {
		send_error(c, doc, RPC_INVALID, "Invalid request");
	} else {
		yyjson_mut_val *list = yyjson_mut_arr(doc);

		yyjson_arr_foreach(root, index, max, item)
		{
			yyjson_mut_val *one = run_one(c, doc, item, true, &after);

			if (one)
				yyjson_mut_arr_append(list, one);
		}
		answer = yyjson_mut_arr_size(list) ? list : NULL;
	}
	if (answer)
		send_value(c, doc, answer);
	/* What ends the supervisor comes behind its answer. */
	if (after)
		after(client_sup(c));
out:
	yyjson_doc_free(request);
	yyjson_mut_doc_free(doc);
}

/* Where the first whole JSON text in c->in ends, or 0: not all of it is there. */
static size_t find_end(struct client *c)
{
	for (; c->scanned < c->in.len; c->scanned++) {
		char at = (char)c->in.data[c->scanned];

		if (c->is_escaped) {
			c->is_escaped = false;
		} else if (c->is_in_string) {
			if (at == '\\')
				c->is_escaped = true;
			else if (at == '"')
				c->is_in_string = false;
		} else if (at == '"') {
			c->is_in_string = true;
		} else if (at == '{' || at == '[') {
			c->depth++;
		} else if ((at == '}' || at == ']') && c->depth > 0) {
			if (--c->depth == 0)
				return ++c->scanned;
		} else if (at == '\n' && c->depth == 0 && c->scanned > 0) {
			return c->scanned; /* a line that is no JSON object: the parser will say so */
		}
	}
	return 0;
}

static void reset_scan(struct client *c)
{
	c->scanned = 0;
	c->depth = 0;
	c->is_in_string = c->is_escaped = false;
}

void ctl_rpc_input(struct client *c)
{
	while (!c->is_closing && c->wait_for == WAIT_NOTHING) {
		size_t end;

		while (c->scanned == 0 && c->in.len > 0 && strchr(" \t\r\n", c->in.data[0]) && c->in.data[0])
			buf_consume(&c->in, 1);
		end = find_end(c);
		if (end == 0) {
			yyjson_mut_doc *doc;

			if (c->in.len <= CTL_RPC_BYTES_MAX)
				return;
			doc = yyjson_mut_doc_new(NULL);
			if (doc)
				send_error(c, doc, RPC_INVALID, "Request too large");
			yyjson_mut_doc_free(doc);
			client_finish(c);
			return;
		}
		reset_scan(c);
		ctl_rpc_run(c, (const char *)c->in.data, end);
		buf_consume(&c->in, end);
	}
}
