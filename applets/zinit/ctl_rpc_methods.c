/*
 * ctl_rpc_methods: every method, and the table of them, from which the OpenRPC document is made too.
 *
 * The service_*, system_* and stream_* methods are the original's, with its results and error codes; those called
 * zinit_* and the ones the table marks are ours.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/mem.h"
#include "core/base/str.h"

#include "applets/zinit/ctl_rpc.h"
#include "applets/zinit/http.h"
#include "applets/zinit/info.h"
#include "applets/zinit/stats.h"
#include "applets/zinit/unit_load.h"

static struct sup *sup_of(const struct rpc *rpc)
{
	return client_sup(rpc->client);
}

/* ---- services ---- */

static void service_list(struct rpc *rpc)
{
	rpc_result(rpc, info_list(rpc->doc, sup_of(rpc)));
}

static void service_status(struct rpc *rpc)
{
	struct service *s = rpc_param_service(rpc, "getting status");

	if (s)
		rpc_result(rpc, info_status(rpc->doc, s, false));
}

static void method_start(struct rpc *rpc)
{
	struct service *s = rpc_param_service(rpc, "starting service");

	if (s && service_start(s))
		rpc_fail(rpc, RPC_SHUTTING_DOWN, "starting service", s->name, "system is shutting down");
}

static void method_stop(struct rpc *rpc)
{
	struct service *s = rpc_param_service(rpc, "stopping service");

	if (!s)
		return;
	service_stop(s);
	/* The original's answer comes when the service has ended, or soon after it was told to. */
	if (s->state != SM_IDLE)
		(void)rpc_wait(rpc, rpc_param(rpc, 0, "name"), WAIT_DOWN, CTL_STOP_ANSWER_MS, true);
}

static void method_restart(struct rpc *rpc)
{
	struct service *s = rpc_param_service(rpc, "restarting service");

	if (s && service_restart(s))
		rpc_fail(rpc, RPC_SHUTTING_DOWN, "restarting service", s->name, "system is shutting down");
}

/* Names that come as file names: no directories, no hidden files. */
static bool is_file_name(struct rpc *rpc, const char *action, const char *name)
{
	char text[UNIT_NAME_MAX + 64];

	if (name && *name && strlen(name) <= UNIT_NAME_MAX && !strpbrk(name, "/\\."))
		return true;
	if (name) {
		snprintf(text, sizeof(text), "invalid service name '%.*s'", UNIT_NAME_MAX, name);
		rpc_fail(rpc, RPC_BAD_PARAMS, action, name, text);
	}
	return false;
}

static void method_monitor(struct rpc *rpc)
{
	static const char action[] = "monitoring service";
	const char *name = rpc_param_str(rpc, 0, "name");
	struct err_text err = {.text = ""};
	int rc;

	if (!name)
		return;
	if (strchr(name, '/') && !sup_of(rpc)->options.has_groups) {
		is_file_name(rpc, action, name);
		return;
	}
	rc = sup_monitor(sup_of(rpc), name, &err);
	if (rc)
		rpc_fail(rpc,
			 rc == -EEXIST      ? RPC_MONITORED
			 : rc == -ESHUTDOWN ? RPC_SHUTTING_DOWN
					    : RPC_CONFIG,
			 action, name, err.text);
}

static void method_forget(struct rpc *rpc)
{
	struct service *s = rpc_param_service(rpc, "forgetting service");
	char text[UNIT_NAME_MAX + 64], name[UNIT_NAME_MAX + 1];

	if (!s)
		return;
	str_copy(name, sizeof(name), s->name);
	snprintf(text, sizeof(text), "service '%s' is up", name);
	if (sup_forget(s))
		rpc_fail(rpc, RPC_IS_UP, "forgetting service", name, text);
}

static void method_kill(struct rpc *rpc)
{
	static const char action[] = "sending signal";
	struct service *s = rpc_param_service(rpc, action);
	const char *signal = s ? rpc_param_str(rpc, 1, "signal") : NULL;
	char text[UNIT_NAME_MAX + 64];
	int signo, rc;

	if (!signal)
		return;
	signo = unit_signal_number(signal);
	if (!signo) {
		snprintf(text, sizeof(text), "invalid signal '%.32s'", signal);
		rpc_fail(rpc, RPC_BAD_SIGNAL, action, s->name, text);
		return;
	}
	rc = service_kill(s, signo);
	if (rc) {
		snprintf(text, sizeof(text), rc == -ESRCH ? "service '%s' is down" : "service '%s': %s",
			 s->name, err_str(rc));
		rpc_fail(rpc, rc == -ESRCH ? RPC_IS_DOWN : RPC_INTERNAL, action, s->name, text);
	}
}

static void method_stats(struct rpc *rpc)
{
	static const char action[] = "getting stats";
	struct service *s = rpc_param_service(rpc, action);
	struct client *c = rpc->client;
	struct stats *first;
	char text[UNIT_NAME_MAX + 64];

	if (!s)
		return;
	if (s->pid == 0) {
		snprintf(text, sizeof(text), "service '%s' is down", s->name);
		rpc_fail(rpc, RPC_IS_DOWN, action, s->name, text);
		return;
	}
	first = mem_alloc(sizeof(*first));
	if (!first) {
		rpc_fail(rpc, RPC_INTERNAL, action, s->name, "out of memory");
		return;
	}
	stats_sample(first, s->pid, NULL);
	if (rpc_wait(rpc, rpc_param(rpc, 0, "name"), WAIT_STATS, STATS_INTERVAL_MS, false) == 0) {
		c->stats = first;
		return;
	}
	/* In a batch nothing can wait: then without processor use. */
	rpc_result(rpc, info_stats(rpc->doc, s, NULL));
	mem_free(first);
}

/* ---- unit files ---- */

/* Writes DIR/NAME.yaml, which must not exist. JSON is YAML. */
static void method_create(struct rpc *rpc)
{
	static const char action[] = "creating service";
	const char *name = rpc_param_str(rpc, 0, "name");
	yyjson_val *content = rpc_param(rpc, 1, "content");
	char path[FILE_PATH_MAX], text[UNIT_NAME_MAX + 128];
	char *json;
	size_t len;
	int rc;

	if (!name || !is_file_name(rpc, action, name))
		return;
	if (!yyjson_is_obj(content)) {
		rpc_bad_params(rpc);
		return;
	}
	json = yyjson_val_write(content, YYJSON_WRITE_PRETTY_TWO_SPACES | YYJSON_WRITE_NEWLINE_AT_END, &len);
	rc = json ? 0 : -ENOMEM;
	if (rc == 0)
		rc = str_fmt(path, sizeof(path), "%s/%s.yaml", sup_of(rpc)->options.config_dir, name);
	if (rc > 0)
		rc = file_create_atomic(path, 0644, json, len);
	free(json);
	if (rc) {
		snprintf(text, sizeof(text),
			 rc == -EEXIST ? "service '%s' already exists" : "service file error: %s: %s", name,
			 err_str(rc));
		rpc_fail(rpc, rc == -EEXIST ? RPC_EXISTS : RPC_FILE, action, name, text);
		return;
	}
	snprintf(text, sizeof(text), "Service '%s' created successfully", name);
	rpc_result(rpc, yyjson_mut_strcpy(rpc->doc, text));
}

/* Finds the unit file of a name. 0 or a negative errno. */
static int find_file(const struct rpc *rpc, const char *name, char *path, size_t size)
{
	static const char *const extensions[] = {"yaml", "ini"};

	for (size_t i = 0; i < sizeof(extensions) / sizeof(extensions[0]); i++) {
		if (str_fmt(path, size, "%s/%s.%s", sup_of(rpc)->options.config_dir, name, extensions[i]) < 0)
			return -ENAMETOOLONG;
		if (access(path, F_OK) == 0)
			return 0;
	}
	return -errno;
}

static void method_delete(struct rpc *rpc)
{
	static const char action[] = "deleting service";
	const char *name = rpc_param_str(rpc, 0, "name");
	char path[FILE_PATH_MAX], text[UNIT_NAME_MAX + 128];
	int rc;

	if (!name || !is_file_name(rpc, action, name))
		return;
	rc = find_file(rpc, name, path, sizeof(path));
	if (rc == 0 && unlink(path) < 0)
		rc = -errno;
	if (rc) {
		snprintf(text, sizeof(text),
			 rc == -ENOENT ? "service '%s' not found" : "service file error: %s: %s", name,
			 err_str(rc));
		rpc_fail(rpc, rc == -ENOENT ? RPC_NOT_FOUND : RPC_FILE, action, name, text);
		return;
	}
	snprintf(text, sizeof(text), "Service '%s' deleted successfully", name);
	rpc_result(rpc, yyjson_mut_strcpy(rpc->doc, text));
}

static void method_get(struct rpc *rpc)
{
	static const char action[] = "getting service";
	const char *name = rpc_param_str(rpc, 0, "name");
	char path[FILE_PATH_MAX], text[UNIT_NAME_MAX + 600];
	struct err_text err = {.text = ""};
	yyjson_doc *doc = NULL;
	char *json = NULL;
	size_t len;
	int rc;

	if (!name || !is_file_name(rpc, action, name))
		return;
	rc = find_file(rpc, name, path, sizeof(path));
	if (rc) {
		snprintf(text, sizeof(text), "service '%s' not found", name);
		rpc_fail(rpc, RPC_NOT_FOUND, action, name, text);
		return;
	}
	rc = unit_load_json(path, &json, &len, &err);
	if (rc == 0)
		doc = yyjson_read(json, len, YYJSON_READ_NOFLAG);
	if (doc) {
		rpc_result(rpc, yyjson_val_mut_copy(rpc->doc, yyjson_doc_get_root(doc)));
	} else {
		snprintf(text, sizeof(text), "config error: %s", err.text[0] ? err.text : err_str(rc));
		rpc_fail(rpc, RPC_CONFIG, action, name, text);
	}
	yyjson_doc_free(doc);
	mem_free(json);
}

/* Reads the unit files again: what is new is started, what changed holds from its next start on. */
static void method_reload(struct rpc *rpc)
{
	static const char action[] = "reloading";
	const char *name = yyjson_get_str(rpc_param(rpc, 0, "name"));
	struct sup_reload result = {.count = {0}};
	yyjson_mut_val *map = yyjson_mut_obj(rpc->doc);
	char text[UNIT_NAME_MAX + 64];
	int rc;

	if (name && !sup_find(sup_of(rpc), name)) {
		snprintf(text, sizeof(text), "service '%.*s' not found", UNIT_NAME_MAX, name);
		rpc_fail(rpc, RPC_NOT_FOUND, action, name, text);
		return;
	}
	rc = sup_reload(sup_of(rpc), name, &result);
	if (rc) {
		rpc_fail(rpc, rc == -ESHUTDOWN ? RPC_SHUTTING_DOWN : RPC_CONFIG, action, name, err_str(rc));
		return;
	}
	yyjson_mut_obj_add_uint(rpc->doc, map, "new", result.count[RELOAD_NEW]);
	yyjson_mut_obj_add_uint(rpc->doc, map, "changed", result.count[RELOAD_CHANGED]);
	yyjson_mut_obj_add_uint(rpc->doc, map, "same", result.count[RELOAD_SAME]);
	yyjson_mut_obj_add_uint(rpc->doc, map, "gone", result.count[RELOAD_GONE]);
	yyjson_mut_obj_add_uint(rpc->doc, map, "refused", result.count[RELOAD_REFUSED]);
	rpc_result(rpc, map);
}

/* ---- the system ---- */

static void after_shutdown(struct sup *sup)
{
	sup_shutdown(sup, SUP_END_POWEROFF, "shutdown requested");
}

static void after_reboot(struct sup *sup)
{
	sup_shutdown(sup, SUP_END_REBOOT, "reboot requested");
}

static void after_halt(struct sup *sup)
{
	sup_shutdown(sup, SUP_END_HALT, "halt requested");
}

static void end_system(struct rpc *rpc, void (*after)(struct sup *), const char *action)
{
	if (sup_of(rpc)->is_stopping)
		rpc_fail(rpc, RPC_SHUTTING_DOWN, action, NULL, "system is shutting down");
	else
		rpc->after = after;
}

static void system_shutdown(struct rpc *rpc)
{
	end_system(rpc, after_shutdown, "shutting down");
}

static void system_reboot(struct rpc *rpc)
{
	end_system(rpc, after_reboot, "rebooting");
}

static void system_halt(struct rpc *rpc)
{
	end_system(rpc, after_halt, "halting");
}

/* ---- logs ---- */

static void current_logs(struct rpc *rpc)
{
	yyjson_mut_val *list = yyjson_mut_arr(rpc->doc);
	const char *name = yyjson_get_str(rpc_param(rpc, 0, "name"));
	struct sup *sup = sup_of(rpc);
	struct follow plain = {.is_active = false};
	struct buf text = BUF_INIT(RING_LINE_MAX + 512);
	uint64_t seq = 0;
	size_t bytes = 0;

	for (;;) {
		const struct ring_line *best = NULL;
		struct service *of = NULL;

		sup_each(sup, s)
		{
			const struct ring_line *line =
				name && strcmp(name, s->name) != 0 ? NULL : ring_find(&s->ring, seq);

			if (line && (!best || line->seq < best->seq)) {
				best = line;
				of = s;
			}
		}
		if (!best || bytes > CTL_OUT_BYTES_MAX / 4)
			break;
		buf_clear(&text);
		if (client_format_line(&text, of, best, &plain))
			break;
		yyjson_mut_arr_append(list, info_text(rpc->doc, text.data, text.len - 1));
		bytes += text.len;
		seq = best->seq + 1;
	}
	buf_release(&text);
	rpc_result(rpc, list);
}

static void subscribe_logs(struct rpc *rpc)
{
	struct client *c = rpc->client;
	yyjson_val *filter = rpc_param(rpc, 0, "filter");
	const char *name = yyjson_get_str(filter ? filter : rpc_param(rpc, 0, "name"));

	if (c->follow.is_active || rpc->is_http) {
		rpc_fail(rpc, RPC_INTERNAL, "subscribing", NULL,
			 "one subscription on a connection, and none over HTTP");
		return;
	}
	memset(&c->follow, 0, sizeof(c->follow));
	if (name)
		str_copy(c->follow.name, sizeof(c->follow.name), name);
	c->follow.is_active = c->follow.is_rpc = true;
	c->follow.next_seq = sup_of(rpc)->log_seq + 1;
	c->follow.subscription = ++c->ctl->subscriptions;
	rpc_result(rpc, yyjson_mut_uint(rpc->doc, c->follow.subscription));
}

static void unsubscribe_logs(struct rpc *rpc)
{
	struct client *c = rpc->client;
	yyjson_val *id = rpc_param(rpc, 0, "subscription");
	bool is_ours =
		c->follow.is_active && yyjson_is_uint(id) && yyjson_get_uint(id) == c->follow.subscription;

	if (is_ours)
		c->follow.is_active = false;
	rpc_result(rpc, yyjson_mut_bool(rpc->doc, is_ours));
}

/* ---- ours ---- */

static void zinit_list(struct rpc *rpc)
{
	yyjson_mut_val *list = yyjson_mut_arr(rpc->doc);

	sup_each(sup_of(rpc), s) yyjson_mut_arr_append(list, info_full(rpc->doc, s, 0));
	rpc_result(rpc, list);
}

static void zinit_status(struct rpc *rpc)
{
	struct service *s = rpc_param_service(rpc, "getting status");
	uint64_t lines = yyjson_get_uint(rpc_param(rpc, 1, "lines"));

	if (s)
		rpc_result(rpc, info_full(rpc->doc, s, lines < 1000 ? (uint32_t)lines : 1000));
}

static void zinit_why(struct rpc *rpc)
{
	struct service *s = rpc_param_service(rpc, "explaining");

	if (s)
		rpc_result(rpc, info_why(rpc->doc, s));
}

static void zinit_wait(struct rpc *rpc)
{
	static const struct {
		const char *word;
		enum wait_for wait_for;
	} words[] = {{"ready", WAIT_READY}, {"down", WAIT_DOWN}, {"ended", WAIT_ENDED}};
	yyjson_val *names = rpc_param(rpc, 0, "names"), *timeout = rpc_param(rpc, 2, "timeout_ms"), *name;
	const char *word = yyjson_get_str(rpc_param(rpc, 1, "for"));
	enum wait_for wait_for = WAIT_NOTHING;
	size_t index, max;

	for (size_t i = 0; word && i < sizeof(words) / sizeof(words[0]); i++)
		if (strcmp(word, words[i].word) == 0)
			wait_for = words[i].wait_for;
	if (wait_for == WAIT_NOTHING || !yyjson_is_arr(names)) {
		rpc_bad_params(rpc);
		return;
	}
	yyjson_arr_foreach(names, index, max, name)
	{
		const char *text = yyjson_get_str(name);
		char message[UNIT_NAME_MAX + 64];

		if (text && sup_find(sup_of(rpc), text))
			continue;
		snprintf(message, sizeof(message), "service '%.*s' not found", UNIT_NAME_MAX,
			 text ? text : "");
		rpc_fail(rpc, RPC_NOT_FOUND, "waiting", text, message);
		return;
	}
	if (rpc_wait(rpc, names, wait_for, yyjson_is_uint(timeout) ? (int64_t)yyjson_get_uint(timeout) : -1,
		     false))
		rpc_bad_params(rpc);
}

static void zinit_graph(struct rpc *rpc)
{
	yyjson_mut_val *map = yyjson_mut_obj(rpc->doc);
	char text[96];

	sup_each(sup_of(rpc), s)
	{
		yyjson_mut_val *node = yyjson_mut_obj(rpc->doc), *after = yyjson_mut_arr(rpc->doc),
			       *hard = yyjson_mut_arr(rpc->doc);

		for (uint32_t i = 0; i < s->dep_count; i++)
			yyjson_mut_arr_add_strcpy(rpc->doc, s->deps[i].is_hard ? hard : after,
						  s->deps[i].name);
		yyjson_mut_obj_add_strcpy(rpc->doc, node, "state", service_state_text(s, text, sizeof(text)));
		yyjson_mut_obj_add_val(rpc->doc, node, "after", after);
		yyjson_mut_obj_add_val(rpc->doc, node, "requires", hard);
		yyjson_mut_obj_add_bool(rpc->doc, node, "cycle", s->is_cyclic);
		yyjson_mut_obj_add(map, yyjson_mut_strcpy(rpc->doc, s->name), node);
	}
	rpc_result(rpc, map);
}

static void start_http(struct rpc *rpc)
{
	static const char action[] = "starting HTTP server";
	const char *address = rpc_param_str(rpc, 0, "address");
	struct err_text err = {.text = ""};
	char text[300];

	if (!address)
		return;
	if (http_open(rpc->client->ctl, address, &err)) {
		rpc_fail(rpc, RPC_INTERNAL, action, NULL, err.text);
		return;
	}
	snprintf(text, sizeof(text), "HTTP/RPC server started at %s", address);
	rpc_result(rpc, yyjson_mut_strcpy(rpc->doc, text));
}

static void stop_http(struct rpc *rpc)
{
	if (!rpc->client->ctl->http)
		rpc_fail(rpc, RPC_INTERNAL, "stopping HTTP server", NULL, "no HTTP server is running");
	else if (rpc->is_http)
		rpc_fail(rpc, RPC_INTERNAL, "stopping HTTP server", NULL, "not through itself");
	else
		http_close(rpc->client->ctl);
}

static void rpc_discover(struct rpc *rpc);

static const struct rpc_method methods[] = {
	{"rpc.discover", rpc_discover, "", "string", "this document"},
	{"service_list", service_list, "", "object", "states of all services"},
	{"service_status", service_status, "name", "object", "one service"},
	{"service_start", method_start, "name", "null", "wants it up"},
	{"service_stop", method_stop, "name", "null", "wants it down"},
	{"service_restart", method_restart, "name", "null", "stops and starts it (not in the original)"},
	{"service_monitor", method_monitor, "name", "null", "loads NAME.yaml and starts it"},
	{"service_forget", method_forget, "name", "null", "takes a service that is down out of the table"},
	{"service_kill", method_kill, "name signal", "null", "sends a signal to its process group"},
	{"service_stats", method_stats, "name", "object", "memory and processor use"},
	{"service_create", method_create, "name content", "string", "writes a unit file"},
	{"service_delete", method_delete, "name", "string", "removes a unit file"},
	{"service_get", method_get, "name", "object", "the content of a unit file"},
	{"service_reload", method_reload, "name?", "object", "reads unit files again (not in the original)"},
	{"system_start_http_server", start_http, "address", "string", "opens the HTTP door"},
	{"system_stop_http_server", stop_http, "", "null", "closes it"},
	{"system_shutdown", system_shutdown, "", "null", "ordered stop, then power off or exit"},
	{"system_reboot", system_reboot, "", "null", "ordered stop, then reboot or exit"},
	{"system_halt", system_halt, "", "null", "ordered stop, then halt or exit (not in the original)"},
	{"stream_currentLogs", current_logs, "name?", "array", "lines in the rings"},
	{"stream_subscribeLogs", subscribe_logs, "filter?", "number", "new lines as notifications"},
	{"stream_unsubscribeLogs", unsubscribe_logs, "subscription", "boolean", "ends them"},
	{"zinit_list", zinit_list, "", "array", "everything about all services (not in the original)"},
	{"zinit_status", zinit_status, "name lines?", "object", "everything about one (not in the original)"},
	{"zinit_why", zinit_why, "name", "array", "why it is not up (not in the original)"},
	{"zinit_wait", zinit_wait, "names for timeout_ms?", "object",
	 "waits for ready, down, ended (not in the original)"},
	{"zinit_graph", zinit_graph, "", "object", "dependencies (not in the original)"},
};

const struct rpc_method *rpc_method_find(const char *name)
{
	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
		if (strcmp(methods[i].name, name) == 0)
			return &methods[i];
	return NULL;
}

/* OpenRPC, as a string: what the original's clients expect here, although its description says an object. */
static void rpc_discover(struct rpc *rpc)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root, *info, *list;
	char *text = NULL;

	if (!doc) {
		rpc_fail(rpc, RPC_INTERNAL, "describing", NULL, "out of memory");
		return;
	}
	root = yyjson_mut_obj(doc);
	info = yyjson_mut_obj(doc);
	list = yyjson_mut_arr(doc);
	yyjson_mut_obj_add_str(doc, root, "openrpc", "1.2.6");
	yyjson_mut_obj_add_str(doc, info, "title", "Zinit JSON-RPC API");
	yyjson_mut_obj_add_str(doc, info, "version", "1.0.0");
	yyjson_mut_obj_add_val(doc, root, "info", info);
	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
		yyjson_mut_val *method = yyjson_mut_obj(doc), *params = yyjson_mut_arr(doc),
			       *result = yyjson_mut_obj(doc), *schema = yyjson_mut_obj(doc);
		const char *at = methods[i].params;

		while (*at) {
			size_t len = strcspn(at, " "), name = strcspn(at, "? ");
			yyjson_mut_val *param = yyjson_mut_obj(doc);

			yyjson_mut_obj_add_strncpy(doc, param, "name", at, name);
			yyjson_mut_obj_add_bool(doc, param, "required", at[name] != '?');
			yyjson_mut_arr_append(params, param);
			at += len + (at[len] == ' ');
		}
		yyjson_mut_obj_add_str(doc, method, "name", methods[i].name);
		yyjson_mut_obj_add_str(doc, method, "description", methods[i].summary);
		yyjson_mut_obj_add_val(doc, method, "params", params);
		yyjson_mut_obj_add_str(doc, schema, "type", methods[i].result);
		yyjson_mut_obj_add_str(doc, result, "name", "result");
		yyjson_mut_obj_add_val(doc, result, "schema", schema);
		yyjson_mut_obj_add_val(doc, method, "result", result);
		yyjson_mut_arr_append(list, method);
	}
	yyjson_mut_obj_add_val(doc, root, "methods", list);
	yyjson_mut_doc_set_root(doc, root);
	text = yyjson_mut_write(doc, YYJSON_WRITE_NOFLAG, NULL);
	rpc_result(rpc, text ? yyjson_mut_strcpy(rpc->doc, text) : NULL);
	free(text);
	yyjson_mut_doc_free(doc);
}
