/*
 * ctl_line: the first generation's protocol. One request line, one JSON object as the answer, connection closed:
 *
 *	status a\n  ->  {"state":"ok","body":{"after":{},"name":"a","pid":27145,"state":"Running","target":"Up"}}
 *
 * `log` answers with plain text instead, and goes on until the client closes; `log snapshot` ends after what there is.
 * `logs ...` is ours: the same with filter, count and age, for our own `zinit log`.
 */
#include <errno.h>
#include <string.h>

#include <yyjson.h>

#include "core/base/clock.h"
#include "core/base/mem.h"
#include "core/base/str.h"

#include "applets/zinit/ctl.h"
#include "applets/zinit/info.h"
#include "applets/zinit/service.h"
#include "applets/zinit/words.h"

static void answer(struct client *c, bool is_ok, yyjson_mut_doc *doc, yyjson_mut_val *body)
{
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	char *text;
	size_t len;

	yyjson_mut_obj_add_str(doc, root, "state", is_ok ? "ok" : "error");
	yyjson_mut_obj_add_val(doc, root, "body", body ? body : yyjson_mut_null(doc));
	yyjson_mut_doc_set_root(doc, root);
	text = yyjson_mut_write(doc, YYJSON_WRITE_NOFLAG, &len);
	if (text)
		client_send(c, text, len);
	free(text);
	client_finish(c);
}

static void fail(struct client *c, const char *message)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);

	if (!doc) {
		client_finish(c);
		return;
	}
	answer(c, false, doc, yyjson_mut_strcpy(doc, message));
	yyjson_mut_doc_free(doc);
}

static void succeed(struct client *c)
{
	static const char text[] = "{\"state\":\"ok\",\"body\":null}";

	client_send(c, text, sizeof(text) - 1);
	client_finish(c);
}

static struct service *find(struct client *c, const char *name)
{
	struct service *s = sup_find(client_sup(c), name);
	struct err_text err;

	if (!s) {
		err_set(&err, -ENOENT, "service name \"%s\" unknown", name);
		fail(c, err.text);
	}
	return s;
}

static void do_list(struct client *c, char **argv)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);

	(void)argv;
	if (!doc) {
		client_finish(c);
		return;
	}
	answer(c, true, doc, info_list(doc, client_sup(c)));
	yyjson_mut_doc_free(doc);
}

static void do_status(struct client *c, char **argv)
{
	struct service *s = find(c, argv[1]);
	yyjson_mut_doc *doc = s ? yyjson_mut_doc_new(NULL) : NULL;

	if (!doc) {
		client_finish(c);
		return;
	}
	answer(c, true, doc, info_status(doc, s, true));
	yyjson_mut_doc_free(doc);
}

static void do_start(struct client *c, char **argv)
{
	struct service *s = find(c, argv[1]);

	if (!s)
		return;
	if (service_start(s))
		fail(c, "zinit is shutting down");
	else
		succeed(c);
}

static void do_stop(struct client *c, char **argv)
{
	struct service *s = find(c, argv[1]);

	if (!s)
		return;
	service_stop(s);
	succeed(c);
}

static void do_forget(struct client *c, char **argv)
{
	struct service *s = find(c, argv[1]);
	struct err_text err;

	if (!s)
		return;
	if (sup_forget(s)) {
		err_set(&err, -EBUSY, "service \"%s\" is up", argv[1]);
		fail(c, err.text);
	} else {
		succeed(c);
	}
}

static void do_monitor(struct client *c, char **argv)
{
	struct err_text err = {.text = ""};

	if (sup_monitor(client_sup(c), argv[1], &err))
		fail(c, err.text);
	else
		succeed(c);
}

static void do_kill(struct client *c, char **argv)
{
	struct service *s = find(c, argv[1]);
	int signo = unit_signal_number(argv[2]), rc;
	struct err_text err;

	if (!s)
		return;
	if (!signo) {
		fail(c, "EINVAL: Invalid argument");
		return;
	}
	rc = service_kill(s, signo);
	if (rc == 0) {
		succeed(c);
		return;
	}
	err_set(&err, rc,
		rc == -ESRCH ? "service \"%s\" is down" : "service \"%s\": the signal could not be sent",
		argv[1]);
	fail(c, err.text);
}

static void do_shutdown(struct client *c, char **argv)
{
	(void)argv;
	succeed(c);
	sup_shutdown(client_sup(c), SUP_END_POWEROFF, "shutdown requested");
}

static void do_reboot(struct client *c, char **argv)
{
	(void)argv;
	succeed(c);
	sup_shutdown(client_sup(c), SUP_END_REBOOT, "reboot requested");
}

static void begin_log(struct client *c, bool is_snapshot)
{
	buf_clear(&c->in);
	c->follow.is_snapshot = is_snapshot;
	c->follow.end_seq = client_sup(c)->log_seq + 1;
	client_follow(c);
}

static void do_log(struct client *c, int argc, char **argv)
{
	if (argc > 2 || (argc == 2 && strcmp(argv[1], "snapshot") != 0)) {
		fail(c, "invalid log command arguments");
		return;
	}
	begin_log(c, argc == 2);
}

/* logs NAME|* LINES|* SECONDS|* follow|snapshot time|plain */
static void do_logs(struct client *c, char **argv)
{
	struct sup *sup = client_sup(c);
	struct service *only = NULL;
	uint64_t lines = 0, seconds = 0, oldest_ms;

	if (strcmp(argv[1], "*") != 0 && !(only = find(c, argv[1])))
		return;
	if ((strcmp(argv[2], "*") != 0 && str_parse_u64(argv[2], &lines)) ||
	    (strcmp(argv[3], "*") != 0 && str_parse_u64(argv[3], &seconds))) {
		fail(c, "invalid log command arguments");
		return;
	}
	if (only)
		str_copy(c->follow.name, sizeof(c->follow.name), only->name);
	c->follow.has_time = strcmp(argv[5], "time") == 0;
	if (strcmp(argv[2], "*") != 0)
		c->follow.next_seq = info_seq_of_last(sup, only, lines);
	if (strcmp(argv[3], "*") != 0) {
		uint64_t first;

		oldest_ms = clock_wall_ms() - seconds * 1000;
		first = info_seq_since(sup, only, oldest_ms);
		if (first > c->follow.next_seq)
			c->follow.next_seq = first;
	}
	begin_log(c, strcmp(argv[4], "snapshot") == 0);
}

static const struct command {
	const char *name;
	int argc;
	void (*fn)(struct client *c, char **argv);
} commands[] = {
	{"list", 1, do_list}, {"status", 2, do_status},     {"start", 2, do_start},
	{"stop", 2, do_stop}, {"forget", 2, do_forget},     {"monitor", 2, do_monitor},
	{"kill", 3, do_kill}, {"shutdown", 1, do_shutdown}, {"reboot", 1, do_reboot},
	{"logs", 6, do_logs},
};

static void run(struct client *c, int argc, char **argv)
{
	struct err_text err;

	if (argc == 0) {
		fail(c, "unknown command");
		return;
	}
	if (strcmp(argv[0], "log") == 0) {
		do_log(c, argc, argv);
		return;
	}
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(commands[i].name, argv[0]) == 0 && commands[i].argc == argc) {
			commands[i].fn(c, argv);
			return;
		}
	}
	err_set(&err, -EINVAL, "unknown command '%s' or wrong arguments count", argv[0]);
	fail(c, err.text);
}

void ctl_line_input(struct client *c)
{
	static char words[CTL_LINE_BYTES_MAX + 1];
	char *argv[16];
	const uint8_t *newline = c->in.len ? memchr(c->in.data, '\n', c->in.len) : NULL;
	size_t len = newline ? (size_t)(newline - c->in.data) : c->in.len;
	int argc;

	if (c->is_closing || c->follow.is_active)
		return;
	if (len > CTL_LINE_BYTES_MAX) {
		fail(c, "invalid command syntax");
		return;
	}
	if (!newline && !c->is_eof)
		return;
	argc = len ? words_split((const char *)c->in.data, len, words, NULL) : 0;
	if (argc < 0 || argc >= (int)(sizeof(argv) / sizeof(argv[0]))) {
		fail(c, "invalid command syntax");
		return;
	}
	words_argv(words, argc, argv);
	run(c, argc, argv);
}
