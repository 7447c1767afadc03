/*
 * zdbd_rig.c: see zdbd_rig.h.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "tests/unit/support/sys_test.h"
#include "tests/unit/support/zdbd_rig.h"

static void at(char *path, size_t size, const struct zr *r, const char *name)
{
	assert_true(snprintf(path, size, "%s/%s", r->dir, name) < (int)size);
}

void zr_setup(struct zr *r)
{
	memset(r, 0, sizeof(*r));
	assert_true(snprintf(r->dir, sizeof(r->dir), "%s", test_dir_new()) < (int)sizeof(r->dir));
	at(r->data, sizeof(r->data), r, "data");
	at(r->index, sizeof(r->index), r, "index");
	at(r->socket, sizeof(r->socket), r, "sock");
	at(r->spool, sizeof(r->spool), r, "spool");
	r->opt = (struct zdbd_options){.data_root = r->data,
				       .index_root = r->index,
				       .mode = ZDB_USER,
				       .socket_path = r->socket,
				       .fsync = ZDBD_FSYNC_NO,
				       .datasize = ZDB_DATASIZE_MIN};
}

void zr_teardown(struct zr *r)
{
	test_dir_remove(r->dir);
}

void zr_start(struct zr *r)
{
	struct err_text why;

	assert_int_equal(loop_init(&r->loop), 0);
	r->server = zdbd_new(&r->loop, &r->opt);
	assert_non_null(r->server);
	assert_int_equal(zdbd_open(r->server, &why), 0);
	assert_int_equal(zdbd_listen(r->server, &why), 0);
	assert_int_equal(zdbd_ready(r->server, &why), 0);
	assert_int_equal(zdbd_serve(r->server, &why), 0);
}

int zr_stop(struct zr *r)
{
	int code = zdbd_stop_now(r->server, ZDBD_STOP_ASKED);

	zdbd_free(r->server);
	r->server = NULL;
	loop_release(&r->loop);
	return code;
}

void zr_quiet(struct zr *r)
{
	struct pollfd ready = {.fd = r->loop.epoll_fd, .events = POLLIN};
	uint64_t deadline = clock_deadline(ZR_LIMIT_MS);

	do {
		assert_true(clock_left_ms(deadline) > 0);
		loop_run_once(&r->loop, 0);
	} while (poll(&ready, 1, 0) > 0);
}

static void end(struct loop_post *post)
{
	struct zr *r = post->ctx;

	loop_stop(&r->loop, 0);
}

static void *run(void *ctx)
{
	struct zr *r = ctx;

	loop_run(&r->loop);
	return NULL;
}

void zr_run(struct zr *r)
{
	zr_start(r);
	loop_post_init(&r->end, end, r);
	assert_int_equal(pthread_create(&r->thread, NULL, run, r), 0);
}

int zr_halt(struct zr *r)
{
	loop_post(&r->loop, &r->end);
	assert_int_equal(pthread_join(r->thread, NULL), 0);
	return zr_stop(r);
}

int zr_connect(const struct zr *r)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	memcpy(addr.sun_path, r->socket, strlen(r->socket));
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}
