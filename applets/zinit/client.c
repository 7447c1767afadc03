/*
 * client: see client.h. The original's commands use the line protocol, so that this program can also drive an original
 * supervisor of the first generation; what is new uses JSON-RPC.
 */
#include "applets/zinit/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/err.h"
#include "core/base/file.h"
#include "core/base/log.h"
#include "core/base/str.h"

enum { ANSWER_BYTES_MAX = 64 << 20 };

const char *client_socket(const char *given)
{
	static const char *const defaults[] = {"/var/run/zinit.sock", "/run/zinit.sock", "/tmp/zinit.sock"};
	const char *env = getenv("ZINIT_SOCKET");
	struct stat st;

	if (given)
		return given;
	if (env && *env)
		return env;
	for (size_t i = 0; i < sizeof(defaults) / sizeof(defaults[0]); i++)
		if (stat(defaults[i], &st) == 0 && S_ISSOCK(st.st_mode))
			return defaults[i];
	return defaults[0];
}

static int connect_to(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	errno = ENAMETOOLONG;
	if (fd >= 0 && str_copy(addr.sun_path, sizeof(addr.sun_path), path) == 0 &&
	    connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
		return fd;
	/* Clients of the original match this sentence. */
	log_err("failed to connect to '\"%s\"'. is zinit listening on that socket?: %s (os error %d)", path,
		strerror(errno), errno);
	if (fd >= 0)
		close(fd);
	return -1;
}

static int append_quoted(struct buf *line, const char *word)
{
	int rc = buf_append_byte(line, '\'');

	for (; rc == 0 && *word; word++)
		rc = *word == '\'' ? buf_append_str(line, "'\\''") : buf_append_byte(line, (uint8_t)*word);
	return rc ? rc : buf_append_byte(line, '\'');
}

/* Words that need no quotes have none: some servers look at the plain text. */
static bool is_plain_word(const char *word)
{
	static const char safe[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:@+,=%*";

	return *word && word[strspn(word, safe)] == '\0';
}

static int make_line(struct buf *line, const char *const *words)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && words[i]; i++) {
		if (i)
			rc = buf_append_byte(line, ' ');
		if (rc == 0)
			rc = is_plain_word(words[i]) ? buf_append_str(line, words[i])
						     : append_quoted(line, words[i]);
	}
	return rc ? rc : buf_append_byte(line, '\n');
}

/* Reads until the end, or with is_line until a line end. 0 or negative code. */
static int read_answer(int fd, struct buf *in, bool is_line)
{
	for (;;) {
		ssize_t n;

		if (buf_reserve(in, 65536))
			return -E_LIMIT;
		n = read(fd, in->data + in->len, 65536);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return 0;
		buf_added(in, (size_t)n);
		if (is_line && memchr(in->data, '\n', in->len))
			return 0;
	}
}

static int exchange(const char *path, const void *request, size_t len, bool is_line, yyjson_doc **answer)
{
	struct buf in = BUF_INIT(ANSWER_BYTES_MAX);
	int fd = connect_to(path), rc;

	*answer = NULL;
	if (fd < 0)
		return 1;
	rc = file_write_full(fd, request, len);
	if (rc == 0 && !is_line)
		shutdown(fd, SHUT_WR);
	if (rc == 0)
		rc = read_answer(fd, &in, is_line);
	close(fd);
	if (rc == 0) {
		*answer = in.len ? yyjson_read((char *)in.data, in.len, YYJSON_READ_NOFLAG) : NULL;
		if (!*answer)
			log_err(in.len ? "the answer is not JSON"
				       : "the connection was closed without an answer");
	} else {
		log_err("no answer: %s", err_str(rc));
	}
	buf_release(&in);
	return *answer ? 0 : 1;
}

int client_line(const char *path, const char *const *words, yyjson_doc **answer, yyjson_val **body)
{
	struct buf line = BUF_INIT(65536);
	yyjson_doc *doc = NULL;
	yyjson_val *root, *value;
	int rc = 1;

	if (make_line(&line, words)) {
		log_err("the request is too long");
		goto out;
	}
	rc = exchange(path, line.data, line.len, false, &doc);
	if (rc)
		goto out;
	root = yyjson_doc_get_root(doc);
	value = yyjson_obj_get(root, "body");
	if (yyjson_equals_str(yyjson_obj_get(root, "state"), "ok")) {
		if (answer) {
			*answer = doc;
			*body = value;
			doc = NULL;
		}
	} else {
		log_err("%s", yyjson_is_str(value) ? yyjson_get_str(value) : "the request was refused");
		rc = 1;
	}
out:
	yyjson_doc_free(doc);
	buf_release(&line);
	return rc;
}

/* The first generation's sentence for an error of the second's, where there is one. */
static void log_rpc_error(yyjson_val *error)
{
	const char *name = yyjson_get_str(yyjson_obj_get(yyjson_obj_get(error, "data"), "service"));
	const char *message = yyjson_get_str(yyjson_obj_get(error, "message"));

	switch (yyjson_get_int(yyjson_obj_get(error, "code"))) {
	case -32000:
		log_err("service name \"%s\" unknown", name ? name : "");
		break;
	case -32006:
		log_err("zinit is shutting down");
		break;
	default:
		log_err("%s", message ? message : "the request was refused");
	}
}

int client_rpc(const char *path, const char *method, const char *params, yyjson_doc **answer,
	       yyjson_val **result)
{
	struct buf request = BUF_INIT(1 << 20);
	yyjson_doc *doc = NULL;
	yyjson_val *error;
	int rc = 1;

	if (buf_append_fmt(&request, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"%s\",\"params\":%s}\n",
			   method, params)) {
		log_err("the request is too long");
		goto out;
	}
	rc = exchange(path, request.data, request.len, true, &doc);
	if (rc)
		goto out;
	error = yyjson_obj_get(yyjson_doc_get_root(doc), "error");
	if (error) {
		log_rpc_error(error);
		rc = 1;
	} else if (answer) {
		*answer = doc;
		*result = yyjson_obj_get(yyjson_doc_get_root(doc), "result");
		doc = NULL;
	}
out:
	yyjson_doc_free(doc);
	buf_release(&request);
	return rc;
}

int client_stream(const char *path, const char *const *words)
{
	static char bytes[65536];
	struct buf line = BUF_INIT(65536);
	int fd, rc = 1;
	bool is_first = true;

	if (make_line(&line, words)) {
		log_err("the request is too long");
		return 1;
	}
	fd = connect_to(path);
	if (fd < 0)
		goto out;
	if (file_write_full(fd, line.data, line.len)) {
		log_err("cannot send the request: %s", strerror(errno));
		goto out;
	}
	for (;;) {
		ssize_t n = read(fd, bytes, sizeof(bytes));

		if (n < 0 && errno == EINTR)
			continue;
		/* An error comes as the protocol's object instead of lines. */
		if (n > 0 && is_first && str_starts(bytes, "{\"state\":\"error\"")) {
			yyjson_doc *doc = yyjson_read(bytes, (size_t)n, YYJSON_READ_NOFLAG);
			const char *text = yyjson_get_str(yyjson_obj_get(yyjson_doc_get_root(doc), "body"));

			log_err("%s", text ? text : "the request was refused");
			yyjson_doc_free(doc);
			break;
		}
		is_first = false;
		if (n <= 0) {
			rc = n < 0;
			break;
		}
		if (file_write_full(STDOUT_FILENO, bytes, (size_t)n)) {
			rc = 0; /* whoever read it has enough */
			break;
		}
	}
out:
	if (fd >= 0)
		close(fd);
	buf_release(&line);
	return rc;
}
