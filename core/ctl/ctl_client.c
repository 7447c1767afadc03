/*
 * ctl_client: one request, and the lines of its answer.
 */
#include "core/ctl/ctl.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/clock.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/ctl/ctl_int.h"

static void *alc_malloc(void *ctx, size_t size)
{
	(void)ctx;
	return mem_alloc(size);
}

static void *alc_realloc(void *ctx, void *ptr, size_t old_size, size_t size)
{
	(void)ctx;
	(void)old_size;
	return mem_realloc(ptr, size);
}

static void alc_free(void *ctx, void *ptr)
{
	(void)ctx;
	mem_free(ptr);
}

const yyjson_alc ctl_alc = {.malloc = alc_malloc, .realloc = alc_realloc, .free = alc_free};

/* Waits until the socket is ready; 0, -ETIMEDOUT, or another negative errno. */
static int wait_for(int fd, short events, uint64_t deadline_ms)
{
	struct pollfd p = {.fd = fd, .events = events};
	int n;

	do {
		n = poll(&p, 1, clock_left_ms(deadline_ms));
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return n == 0 ? -ETIMEDOUT : 0;
}

static int connect_to(const char *path, uint64_t deadline_ms, int *fd_out)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd;

	if (str_copy(addr.sun_path, sizeof(addr.sun_path), path))
		return -ENAMETOOLONG;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	while (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		int code = -errno;

		/* EAGAIN: the server's queue is full. There is nothing to poll for that, so look again a little later. */
		if (code == -EINTR || (code == -EAGAIN && clock_left_ms(deadline_ms) != 0)) {
			(void)poll(NULL, 0, 10);
			continue;
		}
		close(fd);
		return code == -EAGAIN ? -ETIMEDOUT : code;
	}
	*fd_out = fd;
	return 0;
}

static int send_all(int fd, const char *data, size_t len, uint64_t deadline_ms)
{
	while (len) {
		ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
		int code;

		if (n > 0) {
			data += n;
			len -= (size_t)n;
		} else if (n < 0 && errno == EAGAIN) {
			code = wait_for(fd, POLLOUT, deadline_ms);
			if (code)
				return code;
		} else if (n < 0 && errno != EINTR) {
			return -errno;
		}
	}
	return 0;
}

/* One line into `in`, from its start; *len is its length without the \n. */
static int read_line(int fd, struct buf *in, int timeout_ms, size_t *len)
{
	uint64_t deadline_ms = clock_deadline(timeout_ms);

	for (;;) {
		uint8_t *newline = in->len ? memchr(in->data, '\n', in->len) : NULL;
		ssize_t n;
		int code;

		if (newline) {
			*len = (size_t)(newline - in->data);
			return 0;
		}
		if (in->len >= CTL_LINE_MAX)
			return -EPROTO;
		code = buf_reserve(in, CTL_LINE_MAX - in->len);
		if (code)
			return code;
		n = recv(fd, in->data + in->len, CTL_LINE_MAX - in->len, 0);
		if (n > 0) {
			buf_added(in, (size_t)n);
		} else if (n == 0) {
			return -EPIPE;
		} else if (errno == EAGAIN) {
			code = wait_for(fd, POLLIN, deadline_ms);
			if (code)
				return code;
		} else if (errno != EINTR) {
			return -errno;
		}
	}
}

/* What the last line says. */
static int final_code(yyjson_val *line, struct err_text *err)
{
	yyjson_val *code = yyjson_obj_get(line, "code");
	const char *error = yyjson_get_str(yyjson_obj_get(line, "error"));

	if (!yyjson_is_int(code) || yyjson_get_sint(code) < 0 || yyjson_get_sint(code) > 255)
		return -EPROTO;
	if (error)
		return err_set(err, yyjson_get_int(code), "%s", error);
	return yyjson_get_int(code);
}

/* Handles one line: 0 and *is_last, or how the call ends. */
static int take_line(const uint8_t *data, size_t len, int (*on_line)(void *ctx, yyjson_val *line), void *ctx,
		     bool *is_last, struct err_text *err)
{
	yyjson_doc *doc = yyjson_read_opts((char *)(uintptr_t)data, len, YYJSON_READ_NOFLAG, &ctl_alc, NULL);
	yyjson_val *root = yyjson_doc_get_root(doc);
	int code = 0;

	*is_last = true;
	if (!yyjson_is_obj(root)) {
		code = -EPROTO;
		goto out;
	}
	if (on_line)
		code = on_line(ctx, root);
	if (code)
		goto out;
	*is_last = yyjson_is_true(yyjson_obj_get(root, "done"));
	if (*is_last)
		code = final_code(root, err);
out:
	yyjson_doc_free(doc);
	return code;
}

int ctl_call(const char *path, const char *request, int timeout_ms,
	     int (*on_line)(void *ctx, yyjson_val *line), void *ctx, struct err_text *err)
{
	struct buf in = BUF_INIT(CTL_LINE_MAX);
	uint64_t deadline_ms = clock_deadline(timeout_ms);
	size_t len = strlen(request);
	bool is_last = false;
	int fd = -1, code;

	if (err)
		err->text[0] = '\0';
	if (len + 1 > CTL_LINE_MAX || strchr(request, '\n')) {
		code = -EINVAL;
		goto out;
	}
	code = connect_to(path, deadline_ms, &fd);
	if (code == 0)
		code = send_all(fd, request, len, deadline_ms);
	if (code == 0)
		code = send_all(fd, "\n", 1, deadline_ms);
	while (code == 0 && !is_last) {
		code = read_line(fd, &in, timeout_ms, &len);
		if (code)
			break;
		code = take_line(in.data, len, on_line, ctx, &is_last, err);
		buf_consume(&in, len + 1);
	}
out:
	if (code < 0 && err && !err->text[0])
		err_set(err, code, "control socket %s: %s", path, err_str(code));
	if (fd >= 0)
		close(fd);
	buf_release(&in);
	return code;
}

int ctl_call_doc(const char *path, yyjson_mut_doc *request, int timeout_ms,
		 int (*on_line)(void *ctx, yyjson_val *line), void *ctx, struct err_text *err)
{
	char *text = yyjson_mut_write_opts(request, YYJSON_WRITE_NOFLAG, &ctl_alc, NULL, NULL);
	int code;

	if (!text)
		return err_set(err, -ENOMEM, "%s", err_str(ENOMEM));
	code = ctl_call(path, text, timeout_ms, on_line, ctx, err);
	mem_free(text);
	return code;
}
