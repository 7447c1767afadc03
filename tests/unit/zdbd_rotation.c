/*
 * A rotation while the disk is slow, seen from the sockets: who waits for the log to become durable, and who does not.
 *
 * Each test runs twice: with a hook, which is told of closed segments, so that each rotation waits; and without one, where the
 * first rotation goes on ahead of the disk and nobody waits, and the one behind it waits.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <unistd.h>

#include "core/base/clock.h"
#include "core/net/resp.h"
#include "tests/unit/support/disk_gate.h"
#include "tests/unit/support/zdbd_peer.h"

#define LARGE (1200u << 10) /* two of them are more than a segment, and one is much to make durable */

static struct zr rig;
static unsigned ahead; /* 1: without a hook */

static int setup(void **state)
{
	(void)state;
	disk_gate_begin();
	zr_setup(&rig);
	rig.opt.fsync = ZDBD_FSYNC_NO;
	rig.opt.datasize = 2u << 20;
	ahead = 1;
	return 0;
}

static int setup_hooked(void **state)
{
	int rc = setup(state);

	rig.opt.hook = "/bin/true";
	ahead = 0;
	return rc;
}

static int teardown(void **state)
{
	(void)state;
	disk_gate_end();
	zr_teardown(&rig);
	return 0;
}

static unsigned segments(const char *ns)
{
	char path[160];
	unsigned n = 0;

	do
		(void)snprintf(path, sizeof(path), "%s/%s/d%u", rig.data, ns, n++);
	while (access(path, F_OK) == 0);
	return n - 1;
}

/*
 * A large value that is not durable is in the log of the peer's namespace, and the disk stands still. Ahead: so is one in
 * the segment behind that, which is not there under its name; nobody waited for it.
 */
static void fill(struct peer *p)
{
	peer_send_value(p, "a", LARGE);
	peers_expect(p, 1, "$1\r\na\r\n");
	disk_gate_shut();
	if (!ahead)
		return;
	peer_send_value(p, "next", LARGE);
	peer_send(p, "EXISTS", "next", NULL);
	peers_expect(p, 1, "$4\r\nnext\r\n:1\r\n");
	assert_int_equal(disk_gate_in_loop(), 0);
}

static void start(struct peer *p, size_t count)
{
	zr_start(&rig);
	for (size_t i = 0; i < count; i++)
		peer_open(&p[i], &rig);
	fill(&p[0]);
	assert_int_equal(segments("default"), 1);
}

/* Nothing was said to the one who waits, and nothing was synced in the loop: now the disk goes on. */
static void let_through(struct peer *waits)
{
	peer_has_no_answer(waits);
	assert_int_equal(disk_gate_in_loop(), 0);
	disk_gate_open();
}

static void only_writers_wait(void **state)
{
	struct peer p[4];

	(void)state;
	start(p, 4);
	peer_send_value(&p[0], "b", LARGE);
	peer_send(&p[0], "EXISTS", "b", NULL);
	disk_gate_wait(&rig, 1);
	/* a second one that does not fit, one that does, and readers */
	peer_send_value(&p[2], "c", LARGE);
	peer_send(&p[1], "SET", "small", "value");
	peers_expect(&p[1], 1, "$5\r\nsmall\r\n");
	peer_send(&p[1], "GET", "small", NULL);
	peers_expect(&p[1], 1, "$5\r\nvalue\r\n");
	peer_send(&p[3], "EXISTS", "b", NULL);
	peers_expect(&p[3], 1, ":0\r\n");
	peer_send(&p[3], "DEL", "small", NULL);
	peers_expect(&p[3], 1, "+OK\r\n");
	peer_settle(&p[3]);
	peer_has_no_answer(&p[2]);
	assert_int_equal(segments("default"), 1);
	let_through(&p[0]);
	peers_expect(p, 1, "$1\r\nb\r\n:1\r\n");
	peers_expect(&p[2], 1, "$1\r\nc\r\n");
	peers_end(p, 4);
	assert_int_equal(segments("default"), 3 + ahead);
}

static void a_batch_waits_as_a_whole(void **state)
{
	struct peer p[2];
	static char value[600];

	(void)state;
	rig.opt.datasize = LARGE + 1000;
	memset(value, 'v', sizeof(value) - 1);
	start(p, 2);
	{
		struct buf out = BUF_INIT(4096);

		assert_int_equal(
			resp_put_words(&out, "BATCH", "SET", "x", value, "SET", "y", value, "DEL", "a", NULL),
			0);
		assert_int_equal(write(p[0].fd, out.data, out.len), (ssize_t)out.len);
		buf_release(&out);
	}
	disk_gate_wait(&rig, 1);
	peer_send(&p[1], "EXISTS", "x", NULL);
	peers_expect(&p[1], 1, ":0\r\n");
	let_through(&p[0]);
	peers_expect(p, 1, "*3\r\n$1\r\nx\r\n$1\r\ny\r\n+OK\r\n");
	assert_int_equal(segments("default"), 2 + ahead);
	peers_end(p, 2);
}

static void so_does_a_jump(void **state)
{
	struct peer p[2];

	(void)state;
	start(p, 2);
	peer_send(&p[0], "NSJUMP", NULL, NULL);
	disk_gate_wait(&rig, 1);
	let_through(&p[0]);
	peers_expect(p, 1, "+OK\r\n");
	assert_int_equal(segments("default"), 2 + ahead);
	/* nothing is left to be made durable: at once, whatever the workers do */
	disk_gate_shut();
	peer_send(&p[0], "NSJUMP", NULL, NULL);
	peers_expect(p, 1, "+OK\r\n");
	disk_gate_open();
	assert_int_equal(segments("default"), 3 + ahead);
	peers_end(p, 2);
}

/* A mirror has the command already: here it must not be overtaken by another one for the same key. */
static void with_a_mirror_nothing_is_overtaken(void **state)
{
	struct peer p[2];

	(void)state;
	start(p, 2);
	peer_send(&p[1], "MIRROR", NULL, NULL);
	peers_expect(&p[1], 1, "+Starting mirroring\r\n");
	peer_send_value(&p[0], "b", LARGE);
	peers_expect(p, 1, "$1\r\nb\r\n");
	assert_true(disk_gate_in_loop() > 0);
	disk_gate_open();
	peers_end(p, 2);
}

static void a_rotation_by_age_waits(void **state)
{
	struct peer p[1];
	uint64_t deadline;

	(void)state;
	rig.opt.rotate_ms = 1000;
	start(p, 1);
	disk_gate_wait(&rig, 1);
	assert_int_equal(disk_gate_in_loop(), 0);
	assert_int_equal(segments("default"), 1);
	disk_gate_open();
	deadline = clock_deadline(ZR_LIMIT_MS);
	while (segments("default") < 2 + ahead) {
		assert_true(clock_left_ms(deadline) > 0);
		peer_settle(&p[0]);
	}
	peers_end(p, 1);
}

static void a_failed_sync_refuses_the_write(void **state)
{
	struct peer p[2];

	(void)state;
	start(p, 2);
	peer_send_value(&p[0], "b", LARGE);
	disk_gate_wait(&rig, 1);
	disk_gate_fail_syncs(true);
	disk_gate_open();
	peers_expect(p, 1, "-Cannot write data right now\r\n");
	peer_send(&p[0], "EXISTS", "a", NULL);
	peers_expect(p, 1, ":1\r\n");
	disk_gate_fail_syncs(false);
	peer_close(&p[0]);
	peer_close(&p[1]);
	zr_stop(&rig);
	assert_int_equal(segments("default"), 1);
}

static void who_leaves_or_is_deleted_meanwhile(void **state)
{
	struct peer p[3];

	(void)state;
	start(p, 3);
	peer_send_value(&p[0], "b", LARGE);
	disk_gate_wait(&rig, 1);
	peer_close(&p[0]);
	peer_settle(&p[1]);
	disk_gate_open();
	peer_send(&p[1], "EXISTS", "b", NULL);
	peers_expect(&p[1], 1, ":0\r\n");
	/* a namespace that is deleted while its writer waits */
	peer_send(&p[1], "NSNEW", "x", NULL);
	peers_expect(&p[1], 1, "+OK\r\n");
	peer_open(&p[0], &rig);
	peer_send(&p[0], "SELECT", "x", NULL);
	peers_expect(p, 1, "+OK\r\n");
	fill(&p[0]);
	peer_send_value(&p[0], "b", LARGE);
	disk_gate_wait(&rig, 1);
	peer_send(&p[2], "NSDEL", "x", NULL);
	peer_settle(&p[1]);
	disk_gate_open();
	peers_expect(&p[2], 1, "+OK\r\n");
	assert_int_equal(segments("x"), 0);
	peers_expect(p, 1, "$1\r\nb\r\n");
	peers_end(p, 3);
}

/* A rotation goes ahead during the sync that a compaction waits for: it lets another one come first. */
static void a_compaction_begins_behind_it(void **state)
{
	uint64_t deadline = clock_deadline(ZR_LIMIT_MS);
	struct peer p[2];

	(void)state;
	zr_start(&rig);
	peer_open(&p[0], &rig);
	peer_open(&p[1], &rig);
	for (unsigned i = 0; i < 2; i++) {
		peer_send(&p[0], "SET", "key", i == 0 ? "old" : "new");
		peers_expect(p, 1, "$3\r\nkey\r\n");
	}
	peer_send(&p[0], "NSJUMP", NULL, NULL);
	peers_expect(p, 1, "+OK\r\n");
	peer_send_value(&p[0], "a", LARGE);
	peers_expect(p, 1, "$1\r\na\r\n");
	disk_gate_shut();
	peer_send(&p[1], "COMPACT", "KEEP", "ALL");
	disk_gate_wait(&rig, 1);
	peer_send_value(&p[0], "next", LARGE);
	peers_expect(p, 1, "$4\r\nnext\r\n");
	assert_int_equal(segments("default"), 2);
	let_through(&p[1]);
	while (!peer_has(&p[1], "$") || strstr(buf_str(&p[1].in), "milliseconds: ") == NULL) {
		assert_true(clock_left_ms(deadline) > 0);
		assert_true(p[1].in.len == 0 || p[1].in.data[0] == '$');
		peer_settle(&p[0]);
	}
	assert_non_null(strstr(buf_str(&p[1].in), "files: 1\n"));
	assert_int_equal(segments("default"), 3);
	peers_end(p, 2);
}

#define TWICE(test)                                                                                          \
	{#test ", hooked", test, setup_hooked, teardown, NULL},                                              \
	{                                                                                                    \
#test, test, setup, teardown, NULL                                                           \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TWICE(only_writers_wait),
		TWICE(a_batch_waits_as_a_whole),
		TWICE(so_does_a_jump),
		TWICE(with_a_mirror_nothing_is_overtaken),
		TWICE(a_rotation_by_age_waits),
		TWICE(a_failed_sync_refuses_the_write),
		TWICE(who_leaves_or_is_deleted_meanwhile),
		cmocka_unit_test_setup_teardown(a_compaction_begins_behind_it, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
