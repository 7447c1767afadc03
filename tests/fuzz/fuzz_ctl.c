/*
 * Arbitrary bytes to a control server, in pieces of a size that the input chooses. What must hold: every line that comes
 * back is a JSON object, as many last lines come as requests were taken, and the server is empty when the client is gone.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base/log.h"
#include "core/ctl/ctl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t taken; /* requests that reached a command */

static void must(int condition)
{
	if (!condition)
		abort();
}

static void cmd_now(struct ctl_request *req, void *ctx)
{
	(void)ctx;
	taken++;
	must(ctl_arg_str(req, "text", "") != NULL);
	(void)ctl_progress(req, ctl_arg_str(req, "text", "?"), ctl_arg_u64(req, "n", 0), 1);
	ctl_done(req, 1, "%s", ctl_arg_str(req, "text", "?"));
}

static const struct ctl_command commands[] = {{"a", cmd_now}, {NULL, NULL}};

/* Checks the lines that have come so far; returns how many of them were last ones. */
static size_t check_lines(char *text, size_t *len)
{
	char *at = text, *newline;
	size_t last = 0;

	while ((newline = memchr(at, '\n', *len - (size_t)(at - text)))) {
		yyjson_doc *doc = yyjson_read(at, (size_t)(newline - at), 0);

		must(yyjson_is_obj(yyjson_doc_get_root(doc)));
		last += yyjson_is_true(yyjson_obj_get(yyjson_doc_get_root(doc), "done"));
		yyjson_doc_free(doc);
		at = newline + 1;
	}
	*len -= (size_t)(at - text);
	memmove(text, at, *len);
	return last;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char answers[CTL_LINE_MAX * 2];
	size_t piece = size ? 1 + data[0] * 7u : 1, len = 0, last = 0;
	struct ctl_server *server;
	struct loop loop;
	int fds[2];

	log_fd_set(-1);
	taken = 0;
	must(loop_init(&loop) == 0);
	must(ctl_server_new_bare(&server, &loop, commands, NULL) == 0);
	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
	must(ctl_server_adopt(server, fds[0], NULL, 0) == 0);
	for (size_t at = 1; at < size && ctl_server_clients(server);) {
		size_t want = size - at < piece ? size - at : piece;
		ssize_t n = send(fds[1], data + at, want, MSG_NOSIGNAL);

		if (n > 0)
			at += (size_t)n;
		loop_run_once(&loop, 0);
		while ((n = recv(fds[1], answers + len, sizeof(answers) - len, 0)) > 0) {
			len += (size_t)n;
			last += check_lines(answers, &len);
		}
	}
	must(last >= taken);
	close(fds[1]);
	for (int i = 0; i < 100 && ctl_server_clients(server); i++)
		loop_run_once(&loop, 0);
	must(ctl_server_clients(server) == 0);
	ctl_server_free(server);
	loop_release(&loop);
	return 0;
}
