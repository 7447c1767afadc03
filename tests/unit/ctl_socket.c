/* Control sockets: answers, progress, many requests on a connection, clients that vanish, bad input, bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/file.h"
#include "core/base/log.h"
#include "core/base/str.h"
#include "core/ctl/ctl.h"
#include "tests/unit/support/sys_test.h"

#define RUN_UNTIL(condition)                                                                                 \
	do {                                                                                                 \
		uint64_t run_until_end = clock_deadline(10000);                                              \
		while (!(condition)) {                                                                       \
			assert_true(clock_left_ms(run_until_end) > 0);                                       \
			loop_run_once(&G.loop, 50);                                                          \
		}                                                                                            \
	} while (0)

static struct {
	struct loop loop;
	struct ctl_server *server;
	char dir[256], path[300];
	struct ctl_request *held;
	int held_count, cancelled;
} G;

static void cmd_echo(struct ctl_request *req, void *ctx)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = yyjson_mut_obj(doc);

	assert_ptr_equal(ctx, &G);
	yyjson_mut_doc_set_root(doc, root);
	yyjson_mut_obj_add_strcpy(doc, root, "text", ctl_arg_str(req, "text", "none"));
	yyjson_mut_obj_add_uint(doc, root, "n", ctl_arg_u64(req, "n", 5));
	yyjson_mut_obj_add_bool(doc, root, "b", ctl_arg_bool(req, "b", true));
	ctl_done_doc(req, 0, doc);
	yyjson_mut_doc_free(doc);
}

static void cmd_steps(struct ctl_request *req, void *ctx)
{
	(void)ctx;
	for (uint64_t i = 1; i <= 3; i++)
		assert_int_equal(ctl_progress(req, "step", i, 3), 0);
	ctl_done(req, 4, "only %d of %d", 2, 3);
}

static void on_cancel(struct ctl_request *req, void *ctx)
{
	(void)ctx;
	assert_true(ctl_is_cancelled(req));
	G.cancelled++;
}

static void cmd_hold(struct ctl_request *req, void *ctx)
{
	(void)ctx;
	G.held = req;
	G.held_count++;
	ctl_on_cancel(req, on_cancel, NULL);
}

/* Answers without end to whoever does not read. */
static void cmd_flood(struct ctl_request *req, void *ctx)
{
	char text[1000];
	int code = 0;

	(void)ctx;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	for (int i = 0; i < 100000 && code == 0; i++)
		code = ctl_progress(req, text, 0, 0);
	assert_int_equal(code, -E_LIMIT);
	assert_true(ctl_is_cancelled(req));
	ctl_done(req, 0, NULL);
}

static const struct ctl_command commands[] = {
	{"echo", cmd_echo}, {"steps", cmd_steps}, {"hold", cmd_hold}, {"flood", cmd_flood}, {NULL, NULL},
};

static int setup(void **state)
{
	struct err_text err = {""};

	(void)state;
	memset(&G, 0, sizeof(G));
	assert_int_equal(str_copy(G.dir, sizeof(G.dir), test_dir_new()), 0);
	snprintf(G.path, sizeof(G.path), "%s/ctl.sock", G.dir);
	assert_int_equal(loop_init(&G.loop), 0);
	if (ctl_server_new(&G.server, &G.loop, G.path, commands, &G, &err))
		fail_msg("%s", err.text);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	ctl_server_free(G.server);
	assert_int_equal(file_exists(G.path), 0);
	loop_release(&G.loop);
	test_dir_remove(G.dir);
	return 0;
}

/* ---- a client in a thread of its own: ctl_call() waits ---- */

struct call {
	pthread_t thread;
	const char *request;
	int timeout_ms, result;
	struct err_text err;
	char seen[2000];
	atomic_bool is_over;
};

static int on_line(void *ctx, yyjson_val *line)
{
	struct call *call = ctx;
	char *text = yyjson_val_write(line, 0, NULL);
	size_t len = strlen(call->seen);

	snprintf(call->seen + len, sizeof(call->seen) - len, "%s\n", text);
	free(text);
	return 0;
}

static void *call_main(void *arg)
{
	struct call *call = arg;

	call->result = ctl_call(G.path, call->request, call->timeout_ms, on_line, call, &call->err);
	atomic_store(&call->is_over, true);
	loop_wake(&G.loop);
	return NULL;
}

static void call_start(struct call *call, const char *request, int timeout_ms)
{
	memset(call, 0, sizeof(*call));
	call->request = request;
	call->timeout_ms = timeout_ms;
	assert_int_equal(pthread_create(&call->thread, NULL, call_main, call), 0);
}

static void call_end(struct call *call)
{
	RUN_UNTIL(atomic_load(&call->is_over));
	pthread_join(call->thread, NULL);
}

static void check_calls(void **state)
{
	struct call call;
	struct stat st;

	(void)state;
	assert_int_equal(stat(G.path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	call_start(&call, "{\"cmd\":\"echo\",\"text\":\"h\\u00e9 \\\"x\\\"\",\"n\":7,\"b\":false}", 5000);
	call_end(&call);
	assert_int_equal(call.result, 0);
	assert_string_equal(
		call.seen,
		"{\"text\":\"h\xc3\xa9 \\\"x\\\"\",\"n\":7,\"b\":false,\"done\":true,\"code\":0}\n");
	call_start(&call, "{\"cmd\":\"steps\"}", 5000);
	call_end(&call);
	assert_int_equal(call.result, 4);
	assert_string_equal(call.err.text, "only 2 of 3");
	assert_non_null(strstr(call.seen, "{\"progress\":{\"text\":\"step\",\"done\":3,\"total\":3}}\n"));
	call_start(&call, "{\"cmd\":\"nonsense\"}", 5000);
	call_end(&call);
	assert_int_equal(call.result, 2);
	assert_string_equal(call.err.text, "unknown command");
}

static void check_late_answer_and_timeout(void **state)
{
	struct call call;

	(void)state;
	call_start(&call, "{\"cmd\":\"hold\"}", 5000);
	RUN_UNTIL(G.held);
	assert_int_equal(ctl_progress(G.held, "x", 1, 2), 0);
	ctl_done(G.held, 3, "later");
	call_end(&call);
	assert_int_equal(call.result, 3);
	G.held = NULL;
	call_start(&call, "{\"cmd\":\"hold\"}", 50);
	call_end(&call);
	assert_int_equal(call.result, -ETIMEDOUT);
	/* The client has gone: its request is cancelled, and may still be ended whenever its owner likes. */
	RUN_UNTIL(G.cancelled == 1);
	assert_int_equal(ctl_progress(G.held, "x", 1, 2), -EPIPE);
	ctl_done(G.held, 0, NULL);
	assert_int_equal(ctl_server_clients(G.server), 0);
}

static void check_nobody_there(void **state)
{
	struct err_text err = {""};
	char path[400];

	(void)state;
	snprintf(path, sizeof(path), "%s/none.sock", G.dir);
	assert_int_equal(ctl_call(path, "{}", 100, NULL, NULL, &err), -ENOENT);
	assert_true(str_ends(err.text, "none.sock: no such file or directory"));
	assert_int_equal(ctl_call(path, "{}\n{}", 100, NULL, NULL, &err), -EINVAL);
}

/* ---- a raw client, in the same thread ---- */

static int raw_connect(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(str_copy(addr.sun_path, sizeof(addr.sun_path), G.path), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

static void raw_send(int fd, const void *data, size_t len)
{
	while (len) {
		ssize_t n = send(fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n > 0) {
			data = (const char *)data + n;
			len -= (size_t)n;
		}
		loop_run_once(&G.loop, n > 0 ? 0 : 10);
	}
}

/* Reads until `lines` lines, or the end, have come. Returns how many lines. */
static int raw_read(int fd, int lines, char *dst, size_t size)
{
	uint64_t end = clock_deadline(10000);
	size_t len = 0;
	int count = 0;

	while (count < lines && clock_left_ms(end) > 0) {
		ssize_t n = recv(fd, dst + len, 1, MSG_DONTWAIT);

		if (n == 1) {
			count += dst[len] == '\n';
			len += len + 2 < size;
		} else if (n == 0) {
			break;
		} else {
			loop_run_once(&G.loop, 10);
		}
	}
	dst[len] = '\0';
	return count;
}

static void check_pipelined_and_split(void **state)
{
	static const char text[] =
		"{\"cmd\":\"echo\",\"n\":1}\n{\"cmd\":\"echo\",\"n\":2}\n\n{\"cmd\":\"echo\",\"n\":3}\n";
	char got[2000];
	int fd = raw_connect();

	(void)state;
	raw_send(fd, text, strlen(text));
	assert_int_equal(raw_read(fd, 3, got, sizeof(got)), 3);
	assert_true(strstr(got, "\"n\":1") < strstr(got, "\"n\":2") &&
		    strstr(got, "\"n\":2") < strstr(got, "\"n\":3"));
	for (size_t i = 0; i < strlen(text); i++)
		raw_send(fd, text + i, 1);
	assert_int_equal(raw_read(fd, 3, got, sizeof(got)), 3);
	/* Half-closed with a request under way: the answer still comes, then the connection ends. */
	raw_send(fd, "{\"cmd\":\"hold\"}\n{\"cmd\":\"echo\"}\n", 30);
	shutdown(fd, SHUT_WR);
	RUN_UNTIL(G.held);
	loop_run_once(&G.loop, 10);
	assert_int_equal(G.cancelled, 0);
	ctl_done(G.held, 0, NULL);
	assert_int_equal(raw_read(fd, 3, got, sizeof(got)), 2);
	RUN_UNTIL(ctl_server_clients(G.server) == 0);
	close(fd);
}

static void check_bad_input(void **state)
{
	static const char *const bad[] = {
		"x\n", "[]\n", "{\"cmd\":5}\n", "{}\n", "{\"cmd\":\"echo\"\n", "\"cmd\"\n", "\xff\xfe\n"};
	char got[2000], *wide;
	int fd = raw_connect();

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		raw_send(fd, bad[i], strlen(bad[i]));
		assert_int_equal(raw_read(fd, 1, got, sizeof(got)), 1);
		assert_true(str_starts(got, "{\"done\":true,\"code\":2,\"error\":\""));
	}
	/* The connection is still good; a line without end is not. */
	raw_send(fd, "{\"cmd\":\"echo\"}\n", 15);
	assert_int_equal(raw_read(fd, 1, got, sizeof(got)), 1);
	assert_non_null(strstr(got, "\"code\":0"));
	wide = malloc(CTL_LINE_MAX);
	memset(wide, ' ', CTL_LINE_MAX);
	raw_send(fd, wide, CTL_LINE_MAX);
	free(wide);
	assert_int_equal(raw_read(fd, 2, got, sizeof(got)), 1);
	assert_non_null(strstr(got, "too long"));
	RUN_UNTIL(ctl_server_clients(G.server) == 0);
	close(fd);
}

static void check_client_that_does_not_read(void **state)
{
	int fd = raw_connect();

	(void)state;
	log_fd_set(-1);
	raw_send(fd, "{\"cmd\":\"flood\"}\n", 16);
	RUN_UNTIL(ctl_server_clients(G.server) == 0);
	log_fd_set(2);
	close(fd);
}

static void check_many_clients(void **state)
{
	int fds[CTL_CLIENTS_MAX + 4];
	char got[500];

	(void)state;
	log_fd_set(-1);
	for (int i = 0; i < CTL_CLIENTS_MAX + 4; i++) {
		fds[i] = raw_connect();
		loop_run_once(&G.loop, 0);
	}
	RUN_UNTIL(ctl_server_clients(G.server) == CTL_CLIENTS_MAX);
	log_fd_set(2);
	/* Those beyond the bound are turned away, the others are served. */
	assert_int_equal(raw_read(fds[CTL_CLIENTS_MAX], 1, got, sizeof(got)), 0);
	raw_send(fds[0], "{\"cmd\":\"echo\"}\n", 15);
	assert_int_equal(raw_read(fds[0], 1, got, sizeof(got)), 1);
	for (int i = 0; i < CTL_CLIENTS_MAX + 4; i++)
		close(fds[i]);
	RUN_UNTIL(ctl_server_clients(G.server) == 0);
}

static void check_second_instance(void **state)
{
	struct ctl_server *second;
	struct err_text err = {""};
	char path[400], wide[200];
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd;

	(void)state;
	assert_int_equal(ctl_server_new(&second, &G.loop, G.path, commands, NULL, &err), -E_LOCKED);
	assert_null(second);
	assert_true(str_ends(err.text, "in use by another instance"));
	/* A socket file that nobody serves any more is replaced. */
	snprintf(path, sizeof(path), "%s/stale.sock", G.dir);
	assert_int_equal(str_copy(addr.sun_path, sizeof(addr.sun_path), path), 0);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	close(fd);
	assert_int_equal(ctl_server_new(&second, &G.loop, path, commands, NULL, &err), 0);
	ctl_server_free(second);
	memset(wide, 'x', sizeof(wide) - 1);
	wide[sizeof(wide) - 1] = '\0';
	assert_int_equal(ctl_server_new(&second, &G.loop, wide, commands, NULL, &err), -ENAMETOOLONG);
}

/* The server goes while a request is open: it is cancelled and freed with it. */
static void check_server_goes_first(void **state)
{
	int fd = raw_connect();

	(void)state;
	raw_send(fd, "{\"cmd\":\"hold\"}\n", 15);
	RUN_UNTIL(G.held);
	ctl_server_free(G.server);
	assert_int_equal(G.cancelled, 1);
	G.server = NULL;
	close(fd);
}

/* A socket that was accepted elsewhere and had its first bytes read there. */
static void check_adopted(void **state)
{
	struct ctl_server *bare;
	int fds[2];
	char got[500];

	(void)state;
	assert_int_equal(ctl_server_new_bare(&bare, &G.loop, commands, &G), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(ctl_server_adopt(bare, fds[0], "{\"cmd\":\"ec", 10), 0);
	raw_send(fds[1], "ho\"}\n", 5);
	assert_int_equal(raw_read(fds[1], 1, got, sizeof(got)), 1);
	assert_non_null(strstr(got, "\"done\":true"));
	ctl_server_free(bare);
	close(fds[1]);
}

/* One request under every failing allocation: answered, or the connection ends; the server goes on, nothing leaks. */
static void check_no_memory(void **state)
{
	bool fired = true;
	char got[1000];

	(void)state;
	log_fd_set(-1);
	for (uint64_t n = 1; fired; n++) {
		int fd = raw_connect();

		mem_fault_begin();
		mem_fault_arm(n);
		raw_send(fd, "{\"cmd\":\"steps2\"}\n", 17);
		raw_read(fd, 1, got, sizeof(got));
		close(fd);
		RUN_UNTIL(ctl_server_clients(G.server) == 0);
		fired = mem_fault_fired();
		assert_int_equal(mem_fault_end(), 0);
		assert_true(fired || strstr(got, "unknown command"));
	}
	log_fd_set(2);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(check_calls),
		TEST(check_late_answer_and_timeout),
		TEST(check_nobody_there),
		TEST(check_pipelined_and_split),
		TEST(check_bad_input),
		TEST(check_client_that_does_not_read),
		TEST(check_many_clients),
		TEST(check_second_instance),
		TEST(check_server_goes_first),
		TEST(check_adopted),
		TEST(check_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
