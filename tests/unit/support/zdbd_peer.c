#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/net/resp.h"
#include "tests/unit/support/zdbd_peer.h"

void peer_open(struct peer *p, struct zr *rig)
{
	p->rig = rig;
	buf_init(&p->in, 1 << 20);
	p->fd = zr_connect(rig);
}

void peer_close(struct peer *p)
{
	close(p->fd);
	buf_release(&p->in);
}

static void send_all(struct peer *p, const struct buf *out)
{
	uint64_t deadline = clock_deadline(ZR_LIMIT_MS);
	size_t sent = 0;

	while (sent < out->len) {
		ssize_t n = send(p->fd, out->data + sent, out->len - sent, MSG_NOSIGNAL | MSG_DONTWAIT);

		assert_true(n > 0 || errno == EAGAIN);
		if (n > 0)
			sent += (size_t)n;
		else
			loop_run_once(&p->rig->loop, 100);
		assert_true(clock_left_ms(deadline) > 0);
	}
}

void peer_send(struct peer *p, const char *a, const char *b, const char *c)
{
	struct buf out = BUF_INIT(4096);

	assert_int_equal(resp_put_words(&out, a, b, b ? c : NULL, NULL), 0);
	send_all(p, &out);
	buf_release(&out);
}

void peer_send_value(struct peer *p, const char *key, size_t size)
{
	struct buf out = BUF_INIT(size + 4096);
	void *value = malloc(size);

	assert_non_null(value);
	memset(value, key[0], size);
	assert_int_equal(resp_put_array(&out, 3), 0);
	assert_int_equal(resp_put_bulk_text(&out, "SET"), 0);
	assert_int_equal(resp_put_bulk_text(&out, key), 0);
	assert_int_equal(resp_put_bulk(&out, value, size), 0);
	send_all(p, &out);
	buf_release(&out);
	free(value);
}

void peer_collect(struct peer *p)
{
	char bytes[4096];
	ssize_t n;

	while ((n = recv(p->fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
		assert_int_equal(buf_append(&p->in, bytes, (size_t)n), 0);
}

bool peer_has(struct peer *p, const char *text)
{
	peer_collect(p);
	return p->in.len >= strlen(text);
}

void peer_has_no_answer(struct peer *p)
{
	peer_collect(p);
	assert_int_equal(p->in.len, 0);
}

void peers_expect(struct peer *peers, size_t count, const char *text)
{
	uint64_t deadline = clock_deadline(ZR_LIMIT_MS);
	size_t i;

	for (i = 0; i < count; i++) {
		while (!peer_has(&peers[i], text)) {
			assert_true(clock_left_ms(deadline) > 0);
			loop_run_once(&peers[i].rig->loop, 100);
		}
		assert_int_equal(peers[i].in.len, strlen(text));
		assert_memory_equal(peers[i].in.data, text, strlen(text));
		buf_clear(&peers[i].in);
	}
}

void peer_settle(struct peer *busy)
{
	int i;

	/* the busy peer's PING is answered by rounds that come after everything sent before */
	for (i = 0; i < 3; i++) {
		peer_send(busy, "PING", NULL, NULL);
		peers_expect(busy, 1, "+PONG\r\n");
	}
}

void peers_end(struct peer *peers, size_t count)
{
	size_t i;

	for (i = 0; i < count; i++)
		peer_close(&peers[i]);
	assert_int_equal(zr_stop(peers[0].rig), 0);
}
