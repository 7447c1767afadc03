/*
 * zinit: the command line: `init` runs the supervisor (sup.c), everything else talks to one (client.c).
 *
 * Exit status as the original's: 0 success, 1 any failure, usage errors included. `init --container` ends with 0 when
 * every service ended by itself within its limit, otherwise with 1.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/base/applet.h"
#include "core/base/buf.h"
#include "core/base/log.h"
#include "core/base/str.h"

#include "applets/zinit/client.h"
#include "applets/zinit/logger.h"
#include "applets/zinit/note.h"
#include "applets/zinit/ring.h"
#include "applets/zinit/show.h"
#include "applets/zinit/sup.h"

struct global {
	const char *socket;
	bool is_debug;
	bool is_version;
};

static const struct opt global_options[] = {
	OPT_STR(struct global, socket, 's', "socket", "PATH", NULL,
		"control socket; otherwise $ZINIT_SOCKET, otherwise /var/run/zinit.sock"),
	OPT_FLAG(struct global, is_debug, 'd', "debug", "log every change of state"),
	OPT_FLAG(struct global, is_version, 'V', "version", "print the version"),
	OPT_END,
};

/* ---- init ---- */

struct init_conf {
	const char *config, *exit_with, *log_dir;
	int64_t buffer;
	uint64_t shutdown_max;
	const char *http, *modules;
	bool is_container, is_strict, has_groups;
};

static const struct opt init_options[] = {
	OPT_STR(struct init_conf, config, 'c', "config", "DIR", "/etc/zinit/", "directory of the unit files"),
	OPT_INT(struct init_conf, buffer, 'b', "buffer", "N", "2000", 1, 1000000,
		"log lines kept of each service"),
	OPT_FLAG(struct init_conf, is_container, 0, "container",
		 "never reboot or power off: the end of the services is the end of the process"),
	OPT_FLAG(struct init_conf, is_strict, 0, "strict", "refuse units with unknown keys"),
	OPT_FLAG(struct init_conf, has_groups, 0, "groups", "sub-directories are groups of units"),
	OPT_MS(struct init_conf, shutdown_max, 0, "shutdown-max", "TIME", NULL, 0, 0,
	       "limit of a whole shutdown; what still runs then is killed"),
	OPT_STR(struct init_conf, exit_with, 0, "exit-with", "NAME", NULL,
		"shut down when this service ends, and exit with its status"),
	OPT_STR(struct init_conf, modules, 0, "modules", "FILE", "/etc/zinit/modules",
		"first process of a machine: kernel modules to load, one path a line"),
	OPT_STR(struct init_conf, http, 0, "http", "ADDRESS", NULL,
		"open the HTTP door at a loopback HOST:PORT or unix:PATH"),
	OPT_STR(struct init_conf, log_dir, 0, "log-dir", "DIR", "/var/log/zinit",
		"where `log: file` puts the files of units without log_file"),
	OPT_END,
};

static int verb_init(const struct applet *self, const struct verb *verb, void *ctx, int argc, char **argv)
{
	const struct global *global = ctx;
	struct init_conf conf = {0};
	struct sup_options options = {0};
	struct opt_args args;
	int code;

	if (!opt_parse_verb(self, verb, &conf, argc, argv, &args, &code))
		return code;
	note_init(global->is_debug, getpid() == 1 && !conf.is_container);
	options.config_dir = conf.config;
	options.socket_path = client_socket(global->socket);
	/* The first process comes before any socket that could be found. */
	if (getpid() == 1 && !conf.is_container && !global->socket)
		options.socket_path = "/run/zinit.sock";
	options.ring_lines = (uint32_t)conf.buffer;
	options.is_container = conf.is_container;
	options.is_strict = conf.is_strict;
	options.has_groups = conf.has_groups;
	options.shutdown_max_ms = conf.shutdown_max;
	options.exit_with = conf.exit_with;
	options.log_dir = conf.log_dir;
	options.http_address = conf.http;
	options.modules_file = conf.modules;
	return sup_main(&options);
}

/* ---- logger: the child that writes log files (logger.h) ---- */

static int verb_logger(const struct applet *self, const struct verb *verb, void *ctx, int argc, char **argv)
{
	uint64_t max_size, keep;

	(void)self;
	(void)verb;
	(void)ctx;
	if (argc != 4 || str_parse_u64(argv[2], &max_size) || str_parse_u64(argv[3], &keep))
		return EXIT_FAILED;
	return logger_main(argv[1], max_size, (unsigned)keep);
}

/* ---- commands ---- */

struct command_conf {
	bool is_json, is_wait, is_snapshot, is_follow, has_time, is_down;
	uint64_t timeout;
	int64_t lines, since;
};

static const struct opt json_options[] = {
	OPT_FLAG(struct command_conf, is_json, 0, "json", "print JSON"),
	OPT_END,
};

static const struct opt wait_options[] = {
	OPT_FLAG(struct command_conf, is_wait, 'w', "wait", "return when it is done"),
	OPT_MS(struct command_conf, timeout, 0, "timeout", "TIME", NULL, 1, 0, "how long to wait at most"),
	OPT_END,
};

/* Everything a command needs: parsed options and positional arguments. */
struct command {
	const struct applet *self;
	const struct verb *verb;
	const char *socket;
	struct command_conf conf;
	struct opt_args args;
};

static bool begin(struct command *c, const struct applet *self, const struct verb *verb, void *ctx, int argc,
		  char **argv, int min, int max, int *code)
{
	const struct global *global = ctx;

	c->self = self;
	c->verb = verb;
	c->conf = (struct command_conf){.lines = -1, .since = -1};
	c->socket = client_socket(global->socket);
	if (!opt_parse_verb(self, verb, &c->conf, argc, argv, &c->args, code))
		return false;
	if (c->args.argc >= min && (max < 0 || c->args.argc <= max))
		return true;
	{
		char who[64];
		struct opt_spec spec = opt_spec_verb(self, verb, who, sizeof(who));

		*code = opt_usage_error(&spec,
					c->args.argc < min ? "too few arguments" : "too many arguments");
	}
	return false;
}

/* A request without a result. */
static int simple(const struct command *c, const char *const *words)
{
	return client_line(c->socket, words, NULL, NULL);
}

/* ["a","b"] of the positional arguments. 0 or negative code. */
static int append_names(struct buf *out, const struct opt_args *args)
{
	char escaped[1024];
	int rc = buf_append_byte(out, '[');

	for (int i = 0; rc == 0 && i < args->argc; i++)
		rc = buf_append_fmt(
			out, "%s\"%s\"", i ? "," : "",
			str_escape(escaped, sizeof(escaped), args->argv[i], strlen(args->argv[i])));
	return rc ? rc : buf_append_byte(out, ']');
}

/* Waits until all named services are ready (or down); shows what became of them when it fails. */
static int wait_for(const struct command *c, const char *what)
{
	struct buf params = BUF_INIT(65536);
	yyjson_doc *doc = NULL;
	yyjson_val *result = NULL;
	int rc = 1;

	if (buf_append_byte(&params, '[') || append_names(&params, &c->args) ||
	    buf_append_fmt(&params, ",\"%s\"", what) ||
	    (c->conf.timeout && buf_append_fmt(&params, ",%llu", (unsigned long long)c->conf.timeout)) ||
	    buf_append_byte(&params, ']') || !buf_str(&params)) {
		log_err("the request is too long");
		goto out;
	}
	rc = client_rpc(c->socket, "zinit_wait", (const char *)params.data, &doc, &result);
	if (rc == 0 && !yyjson_get_bool(yyjson_obj_get(result, "ok"))) {
		size_t index, max;
		yyjson_val *key, *state;

		rc = yyjson_get_bool(yyjson_obj_get(result, "timeout")) ? EXIT_AGAIN : EXIT_FAILED;
		yyjson_obj_foreach(yyjson_obj_get(result, "services"), index, max, key, state)
			log_err("%s is not %s: %s", yyjson_get_str(key), what, yyjson_get_str(state));
	}
out:
	yyjson_doc_free(doc);
	buf_release(&params);
	return rc;
}

static int verb_list(const struct applet *self, const struct verb *verb, void *ctx, int argc, char **argv)
{
	static const char *const words[] = {"list", NULL};
	struct command c;
	yyjson_doc *doc = NULL;
	yyjson_val *value;
	int code;

	if (!begin(&c, self, verb, ctx, argc, argv, 0, 0, &code))
		return code;
	code = c.conf.is_json ? client_rpc(c.socket, "zinit_list", "[]", &doc, &value)
			      : client_line(c.socket, words, &doc, &value);
	if (code == 0)
		(c.conf.is_json ? show_json : show_yaml)(value);
	yyjson_doc_free(doc);
	return code;
}

/* The original's five keys, in its order. */
static void print_status_yaml(yyjson_val *status)
{
	static const char *const keys[] = {"name", "pid", "state", "target", "after"};
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *map = doc ? yyjson_mut_obj(doc) : NULL;
	size_t index, max;
	yyjson_val *key, *item;
	yyjson_doc *ordered;

	if (!map)
		return;
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		yyjson_mut_obj_add(map, yyjson_mut_str(doc, keys[i]),
				   yyjson_val_mut_copy(doc, yyjson_obj_get(status, keys[i])));
	yyjson_obj_foreach(status, index, max, key, item)
	{
		if (!yyjson_mut_obj_get(map, yyjson_get_str(key)))
			yyjson_mut_obj_add(map, yyjson_val_mut_copy(doc, key),
					   yyjson_val_mut_copy(doc, item));
	}
	yyjson_mut_doc_set_root(doc, map);
	ordered = yyjson_mut_doc_imut_copy(doc, NULL);
	if (ordered)
		show_yaml(yyjson_doc_get_root(ordered));
	yyjson_doc_free(ordered);
	yyjson_mut_doc_free(doc);
}

/* status: the original's keys; --json and -a: everything. */
static int verb_status(const struct applet *self, const struct verb *verb, void *ctx, int argc, char **argv)
{
	struct command c;
	struct buf params = BUF_INIT(4096);
	yyjson_doc *doc = NULL;
	yyjson_val *value;
	int code;

	if (!begin(&c, self, verb, ctx, argc, argv, 1, 1, &code))
		return code;
	if (append_names(&params, &c.args) == 0) {
		buf_truncate(&params, params.len - 1);
		buf_append_fmt(&params, ",%d]", c.conf.lines >= 0 ? (int)c.conf.lines : 5);
	}
	code = client_rpc(c.socket, "zinit_status", buf_str(&params), &doc, &value);
	if (code == 0) {
		if (c.conf.is_json)
			show_json(value);
		else
			print_status_yaml(value);
	}
	yyjson_doc_free(doc);
	buf_release(&params);
	return code;
}

static const struct opt status_options[] = {
	OPT_FLAG(struct command_conf, is_json, 0, "json", "print JSON"),
	OPT_INT(struct command_conf, lines, 'n', "lines", "N", NULL, 0, 1000, "log lines to show (5)"),
	OPT_END,
};

/* The same word to each service; with --wait until all are in that state. */
static int tell_each(struct command *c, const char *word, const char *until)
{
	int code = 0;

	for (int i = 0; code == 0 && i < c->args.argc; i++)
		code = simple(c, (const char *const[]){word, c->args.argv[i], NULL});
	return code == 0 && c->conf.is_wait ? wait_for(c, until) : code;
}

static int verb_start(const struct applet *self, const struct verb *verb, void *ctx, int argc, char **argv)
{
	struct command c;
	int code;

	return begin(&c, self, verb, ctx, argc, argv, 1, -1, &code) ? tell_each(&c, "start", "ready") : code;
}

static int verb_stop(const struct applet *self, const struct verb *verb, void *ctx, int argc, char **argv)
{
	struct command c;
	int code;

	return begin(&c, self, verb, ctx, argc, argv, 1, -1, &code) ? tell_each(&c, "stop", "down") : code;
}

static int verb_restart(const struct applet *self, const struct verb *verb, void *ctx, int argc, char **argv)
{
	struct command c;
	struct buf params = BUF_INIT(4096);
	int code;

	if (!begin(&c, self, verb, ctx, argc, argv, 1, 1, &code))
		return code;
	code = append_names(&params, &c.args) || !buf_str(&params)
		       ? 1
		       : client_rpc(c.socket, "service_restart", (const char *)params.data, NULL, NULL);
	buf_release(&params);
	return code == 0 && c.conf.is_wait ? wait_for(&c, "ready") : code;
}

static int verb_wait(const struct applet *self, const struct verb *verb, void *ctx, int argc, char **argv)
{
	struct command c;
	int code;

	if (!begin(&c, self, verb, ctx, argc, argv, 1, 64, &code))
		return code;
	return wait_for(&c, c.conf.is_down ? "down" : "ready");
}

static const struct opt wait_verb_options[] = {
	OPT_FLAG(struct command_conf, is_down, 0, "down", "until they are down, instead of ready"),
	OPT_MS(struct command_conf, timeout, 0, "timeout", "TIME", NULL, 1, 0, "how long to wait at most"),
	OPT_END,
};

/* monitor, forget: one service, no result; shutdown, reboot, poweroff: no argument. */
static int verb_named(const struct applet *self, const struct verb *verb, void *ctx, int argc, char **argv)
{
	struct command c;
	int code;

	if (!begin(&c, self, verb, ctx, argc, argv, 1, 1, &code))
		return code;
	return simple(&c, (const char *const[]){verb->name, c.args.argv[0], NULL});
}

static int verb_system(const struct applet *self, const struct verb *verb, void *ctx, int argc, char **argv)
{
	struct command c;
	int code;

	if (!begin(&c, self, verb, ctx, argc, argv, 0, 0, &code))
		return code;
	if (strcmp(verb->name, "halt") == 0)
		return client_rpc(c.socket, "system_halt", "[]", NULL, NULL);
	return simple(&c,
		      (const char *const[]){strcmp(verb->name, "reboot") == 0 ? "reboot" : "shutdown", NULL});
}

static int verb_kill(const struct applet *self, const struct verb *verb, void *ctx, int argc, char **argv)
{
	struct command c;
	int code;

	if (!begin(&c, self, verb, ctx, argc, argv, 1, 2, &code))
		return code;
	return simple(&c, (const char *const[]){"kill", c.args.argv[0],
						c.args.argc > 1 ? c.args.argv[1] : "SIGTERM", NULL});
}

static int verb_log(const struct applet *self, const struct verb *verb, void *ctx, int argc, char **argv)
{
	struct command c;
	char lines[24] = "*", since[24] = "*";
	int code;

	if (!begin(&c, self, verb, ctx, argc, argv, 0, 1, &code))
		return code;
	if (c.conf.lines >= 0)
		snprintf(lines, sizeof(lines), "%lld", (long long)c.conf.lines);
	if (c.conf.timeout)
		snprintf(since, sizeof(since), "%llu", (unsigned long long)(c.conf.timeout + 999) / 1000);
	/* -n and --since ask for a view of what there is; only -f makes such a view go on. */
	if (!c.conf.is_follow && (c.conf.lines >= 0 || c.conf.timeout))
		c.conf.is_snapshot = true;
	return client_stream(c.socket,
			     (const char *const[]){"logs", c.args.argc ? c.args.argv[0] : "*", lines, since,
						   c.conf.is_snapshot ? "snapshot" : "follow",
						   c.conf.has_time ? "time" : "plain", NULL});
}

static const struct opt log_options[] = {
	OPT_FLAG(struct command_conf, is_snapshot, 's', "snapshot", "do not wait for further lines"),
	OPT_FLAG(struct command_conf, is_follow, 'f', "follow",
		 "wait for further lines (the default without -n, --since)"),
	OPT_INT(struct command_conf, lines, 'n', "lines", "N", NULL, 0, 1000000, "only the last N lines"),
	OPT_MS(struct command_conf, timeout, 0, "since", "TIME", NULL, 1, 0,
	       "only lines that are at most this old"),
	OPT_FLAG(struct command_conf, has_time, 't', "time", "put the time before each line"),
	OPT_END,
};

static int verb_why(const struct applet *self, const struct verb *verb, void *ctx, int argc, char **argv)
{
	struct command c;
	struct buf params = BUF_INIT(4096);
	yyjson_doc *doc = NULL;
	yyjson_val *value, *item;
	size_t index, max;
	int code;

	if (!begin(&c, self, verb, ctx, argc, argv, 1, 1, &code))
		return code;
	code = append_names(&params, &c.args) || !buf_str(&params)
		       ? 1
		       : client_rpc(c.socket, "zinit_why", (const char *)params.data, &doc, &value);
	if (code == 0 && c.conf.is_json)
		show_json(value);
	else if (code == 0)
		yyjson_arr_foreach(value, index, max, item) puts(yyjson_get_str(item));
	yyjson_doc_free(doc);
	buf_release(&params);
	return code;
}

/* One line for each service: "fs [Running] <- ns, zdb (requires)". */
static void print_graph(yyjson_val *graph)
{
	size_t index, max, i, n;
	yyjson_val *name, *node, *item;

	yyjson_obj_foreach(graph, index, max, name, node)
	{
		const char *separator = " <- ";

		printf("%s [%s]%s", yyjson_get_str(name), yyjson_get_str(yyjson_obj_get(node, "state")),
		       yyjson_get_bool(yyjson_obj_get(node, "cycle")) ? " (in a cycle)" : "");
		yyjson_arr_foreach(yyjson_obj_get(node, "after"), i, n, item)
		{
			printf("%s%s", separator, yyjson_get_str(item));
			separator = ", ";
		}
		yyjson_arr_foreach(yyjson_obj_get(node, "requires"), i, n, item)
		{
			printf("%s%s (required)", separator, yyjson_get_str(item));
			separator = ", ";
		}
		putchar('\n');
	}
}

/* stats, reload: the result of one call as YAML. */
static int verb_query(const struct applet *self, const struct verb *verb, void *ctx, int argc, char **argv)
{
	bool is_stats = strcmp(verb->name, "stats") == 0;
	struct command c;
	struct buf params = BUF_INIT(4096);
	yyjson_doc *doc = NULL;
	yyjson_val *value;
	int code;

	if (!begin(&c, self, verb, ctx, argc, argv, is_stats ? 1 : 0, 1, &code))
		return code;
	code = append_names(&params, &c.args) || !buf_str(&params)
		       ? 1
		       : client_rpc(c.socket, is_stats ? "service_stats" : "service_reload",
				    (const char *)params.data, &doc, &value);
	if (code == 0)
		(c.conf.is_json ? show_json : show_yaml)(value);
	yyjson_doc_free(doc);
	buf_release(&params);
	return code;
}

struct proxy_conf {
	const char *address;
};

static const struct opt proxy_options[] = {
	OPT_STR(struct proxy_conf, address, 'a', "address", "ADDRESS", "127.0.0.1:8080",
		"loopback HOST:PORT, or unix:PATH"),
	OPT_END,
};

static int verb_proxy(const struct applet *self, const struct verb *verb, void *ctx, int argc, char **argv)
{
	const struct global *global = ctx;
	const char *socket = client_socket(global->socket);
	struct proxy_conf conf = {0};
	struct opt_args args;
	char params[300], escaped[256];
	sigset_t stops;
	int code, signo;

	if (!opt_parse_verb(self, verb, &conf, argc, argv, &args, &code))
		return code;
	sigemptyset(&stops);
	sigaddset(&stops, SIGINT);
	sigaddset(&stops, SIGTERM);
	sigprocmask(SIG_BLOCK, &stops, NULL);
	snprintf(params, sizeof(params), "[\"%s\"]",
		 str_escape(escaped, sizeof(escaped), conf.address, strlen(conf.address)));
	if (client_rpc(socket, "system_start_http_server", params, NULL, NULL))
		return EXIT_FAILED;
	fprintf(stderr, "zinit: HTTP door open at %s, token in %s.token; Ctrl-C closes it\n", conf.address,
		socket);
	sigwait(&stops, &signo);
	return client_rpc(socket, "system_stop_http_server", "[]", NULL, NULL);
}

static int verb_graph(const struct applet *self, const struct verb *verb, void *ctx, int argc, char **argv)
{
	struct command c;
	yyjson_doc *doc = NULL;
	yyjson_val *value;
	int code;

	if (!begin(&c, self, verb, ctx, argc, argv, 0, 0, &code))
		return code;
	code = client_rpc(c.socket, "zinit_graph", "[]", &doc, &value);
	if (code == 0)
		(c.conf.is_json ? show_json : print_graph)(value);
	yyjson_doc_free(doc);
	return code;
}

static const struct verb verbs[] = {
	{.name = "init", .summary = "run the supervisor", .options = init_options, .main = verb_init},
	{.name = "list", .summary = "states of all services", .options = json_options, .main = verb_list},
	{.name = "status",
	 .summary = "one service",
	 .usage = "SERVICE",
	 .options = status_options,
	 .main = verb_status},
	{.name = "start",
	 .summary = "want services up",
	 .usage = "SERVICE...",
	 .options = wait_options,
	 .main = verb_start},
	{.name = "stop",
	 .summary = "want services down",
	 .usage = "SERVICE...",
	 .options = wait_options,
	 .main = verb_stop},
	{.name = "restart",
	 .summary = "stop a service and start it",
	 .usage = "SERVICE",
	 .options = wait_options,
	 .main = verb_restart},
	{.name = "monitor",
	 .summary = "load a unit file and start its service",
	 .usage = "SERVICE",
	 .main = verb_named},
	{.name = "forget",
	 .summary = "forget a service that is down",
	 .usage = "SERVICE",
	 .main = verb_named},
	{.name = "kill",
	 .summary = "send a signal (SIGTERM) to a service's process group",
	 .usage = "SERVICE [SIGNAL]",
	 .main = verb_kill},
	{.name = "log",
	 .summary = "print and follow log lines",
	 .usage = "[SERVICE]",
	 .options = log_options,
	 .main = verb_log},
	{.name = "wait",
	 .summary = "wait until services are ready",
	 .usage = "SERVICE...",
	 .options = wait_verb_options,
	 .main = verb_wait},
	{.name = "why",
	 .summary = "explain why a service is not up",
	 .usage = "SERVICE",
	 .options = json_options,
	 .main = verb_why},
	{.name = "stats",
	 .summary = "memory and processor use of a service",
	 .usage = "SERVICE",
	 .options = json_options,
	 .main = verb_query},
	{.name = "reload",
	 .summary = "read unit files again",
	 .usage = "[SERVICE]",
	 .options = json_options,
	 .main = verb_query},
	{.name = "proxy",
	 .summary = "open the HTTP door until Ctrl-C",
	 .options = proxy_options,
	 .main = verb_proxy},
	{.name = "logger",
	 .summary = "write standard input to a rotated file",
	 .main = verb_logger,
	 .hidden = true},
	{.name = "graph", .summary = "dependencies", .options = json_options, .main = verb_graph},
	{.name = "shutdown",
	 .summary = "stop everything in order, then power off (a container: exit)",
	 .main = verb_system},
	{.name = "poweroff", .summary = "the same", .main = verb_system},
	{.name = "reboot", .summary = "stop everything in order, then reboot", .main = verb_system},
	{.name = "halt", .summary = "stop everything in order, then halt", .main = verb_system},
	{.name = NULL},
};

static int zinit_main(const struct applet *self, int argc, char **argv)
{
	static char list[] = "list", init[] = "init";
	static char *list_argv[] = {list, NULL}, *init_argv[] = {init, NULL};
	struct global global = {0};
	struct opt_args args;
	int code;

	log_init("zinit", LOG_CLI, LOG_LEVEL_INFO);
	if (!opt_parse_applet(self, &global, argc, argv, &args, &code))
		return code;
	if (global.is_version) {
		/* The first line is the original's form; tools look at it. */
		puts("zinit v0.2.14");
		puts("qsfs implementation, both protocol generations");
		return 0;
	}
	/* The kernel starts /init without arguments (or with words of its command line that are not for us). */
	if (getpid() == 1 && (args.argc == 0 || strcmp(args.argv[0], "init") != 0))
		return applet_run_verb(self, &global, 1, init_argv);
	if (args.argc == 0)
		return applet_run_verb(self, &global, 1, list_argv);
	return applet_run_verb(self, &global, args.argc, args.argv);
}

APPLET_REGISTER(zinit) = {
	.name = "zinit",
	.aliases = "init",
	.summary = "supervisor of services, also as the first process of a container or a machine",
	.usage = "[COMMAND]",
	.main = zinit_main,
	.options = global_options,
	.verbs = verbs,
	.exit_usage = 1,
	.opt_flags = OPT_STOP_AT_FIRST,
	.man = "## FILES\n"
	       "/etc/zinit/*.yaml holds one unit for each service; /etc/environment is added to their "
	       "environment.\n"
	       "\n"
	       "## EXIT STATUS\n"
	       "0 done, 1 failed (usage errors included), 75 a wait ran out of time.\n",
};
