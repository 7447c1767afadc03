#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <yyjson.h>

#include "applets/qsfs/services.h"
#include "core/base/buf.h"
#include "core/base/clock.h"
#include "core/base/str.h"

#define ANSWER_MAX (1u << 20)
#define ANSWER_MS  10000

static int connect_socket(const char *path, struct err_text *err)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = -1, rc = str_copy(addr.sun_path, sizeof(addr.sun_path), path);

	if (rc == 0 && (fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) < 0)
		rc = -errno;
	if (rc == 0 && connect(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0)
		rc = -errno;
	if (rc) {
		if (fd >= 0)
			close(fd);
		return err_set(err, rc, "cannot reach the supervisor at %s: %s", path, err_str(rc));
	}
	return fd;
}

/* Reads until the other side closes, within ANSWER_MS. */
static int read_answer(int fd, struct buf *in)
{
	uint64_t deadline = clock_deadline(ANSWER_MS);
	struct pollfd p = {.fd = fd, .events = POLLIN};
	ssize_t n = 1;
	int rc = 0;

	while (rc == 0 && n > 0) {
		rc = buf_reserve(in, 4096);
		if (rc == 0 && poll(&p, 1, clock_left_ms(deadline)) <= 0)
			rc = -ETIMEDOUT;
		if (rc == 0) {
			n = read(fd, in->data + in->len, in->cap - in->len);
			if (n > 0)
				in->len += (size_t)n;
			else if (n < 0 && errno != EINTR)
				rc = -errno;
			else if (n < 0)
				n = 1;
		}
	}
	return rc;
}

/* Sends a line; *doc is the answer, the caller's to free, and its "body" is returned when the state is "ok". */
static int call(const char *socket, const char *line, yyjson_doc **doc, yyjson_val **body,
		struct err_text *err)
{
	struct buf in;
	yyjson_val *root;
	const char *state;
	int rc = 0, fd = connect_socket(socket, err);

	*doc = NULL;
	if (fd < 0)
		return fd;
	buf_init(&in, ANSWER_MAX);
	if (send(fd, line, strlen(line), MSG_NOSIGNAL) != (ssize_t)strlen(line))
		rc = -EPIPE;
	if (rc == 0)
		rc = read_answer(fd, &in);
	if (rc)
		err_set(err, rc, "no answer from the supervisor at %s: %s", socket, err_str(rc));
	if (rc == 0) {
		*doc = yyjson_read((const char *)in.data, in.len, 0);
		root = yyjson_doc_get_root(*doc);
		state = yyjson_get_str(yyjson_obj_get(root, "state"));
		*body = yyjson_obj_get(root, "body");
		if (!state)
			rc = err_set(err, -EPROTO, "the supervisor at %s answered something else than JSON",
				     socket);
		else if (strcmp(state, "ok") != 0)
			rc = err_set(err, -E_PEER, "%s",
				     yyjson_get_str(*body) ? yyjson_get_str(*body) : "refused");
	}
	buf_release(&in);
	close(fd);
	return rc;
}

static int read_pid(const char *socket, struct service *s, struct err_text *err)
{
	char line[128];
	yyjson_doc *doc;
	yyjson_val *body;
	const char *state;
	int rc;

	snprintf(line, sizeof(line), "status %s\n", s->name);
	rc = call(socket, line, &doc, &body, err);
	if (rc == 0) {
		s->pid = (pid_t)yyjson_get_sint(yyjson_obj_get(body, "pid"));
		state = yyjson_get_str(yyjson_obj_get(body, "state"));
		str_copy(s->state, sizeof(s->state), state ? state : "Unknown");
	}
	yyjson_doc_free(doc);
	return rc;
}

int services_read(const char *socket, struct services *out, struct err_text *err)
{
	yyjson_doc *doc;
	yyjson_val *body, *key, *value;
	size_t i, n;
	int rc = call(socket, "list\n", &doc, &body, err);

	out->count = 0;
	if (rc == 0) {
		yyjson_obj_foreach(body, i, n, key, value)
		{
			if (out->count == SERVICES_MAX)
				break;
			str_copy(out->list[out->count].name, sizeof(out->list[0].name), yyjson_get_str(key));
			out->list[out->count++].pid = 0;
		}
	}
	yyjson_doc_free(doc);
	for (i = 0; rc == 0 && i < out->count; i++)
		rc = read_pid(socket, &out->list[i], err);
	return rc;
}

int services_command(const char *socket, struct err_text *err, const char *fmt, ...)
{
	char line[256];
	yyjson_doc *doc = NULL;
	yyjson_val *body;
	va_list ap;
	int n, rc;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line) - 1, fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof(line) - 1)
		return -ENAMETOOLONG;
	strcpy(line + n, "\n");
	rc = call(socket, line, &doc, &body, err);
	yyjson_doc_free(doc);
	return rc;
}

const struct service *services_find(const struct services *s, const char *name)
{
	for (size_t i = 0; i < s->count; i++) {
		if (strcmp(s->list[i].name, name) == 0)
			return &s->list[i];
	}
	return NULL;
}

bool service_is_up(const struct service *s)
{
	return strcmp(s->state, "Running") == 0 || strcmp(s->state, "Success") == 0;
}

bool service_is_done(const struct service *s)
{
	return strcmp(s->state, "Success") == 0;
}

int service_exit_code(const struct service *s)
{
	const char *comma = strrchr(s->state, ',');
	int code;

	if (!str_starts(s->state, "Error(Exited(") || !comma || sscanf(comma + 1, "%d", &code) != 1)
		return -1;
	return code;
}
