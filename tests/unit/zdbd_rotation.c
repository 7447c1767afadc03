/*
 * A rotation while the disk is slow, seen from the sockets: who waits for the log to become durable, and who does not.
 *
 * The disk is a gate: what a worker syncs does not return while it is shut. The loop's own syncs are counted then, and go through.
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

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/sys.h"
#include "core/net/resp.h"
#include "tests/unit/support/zdbd_peer.h"

#define LARGE (1200u << 10) /* two of them are more than a segment, and one is much to make durable */

static struct sys_ops table;
static struct zr rig;
static pthread_t looper;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t opened = PTHREAD_COND_INITIALIZER;
static bool shut, failing;
static unsigned inside, in_loop; /* syncs that a worker is in; of the loop while the gate was shut */
static unsigned ahead;           /* 1: without a hook */

static int gated_fdatasync(int fd)
{
	bool fails;

	pthread_mutex_lock(&lock);
	if (shut && pthread_equal(pthread_self(), looper))
		in_loop++;
	inside++;
	while (shut && !pthread_equal(pthread_self(), looper))
		pthread_cond_wait(&opened, &lock);
	inside--;
	fails = failing;
	pthread_mutex_unlock(&lock);
	if (fails) {
		errno = EIO;
		return -1;
	}
	return sys_real.fdatasync(fd);
}

static void gate(bool shall_be_shut)
{
	pthread_mutex_lock(&lock);
	shut = shall_be_shut;
	pthread_cond_broadcast(&opened);
	pthread_mutex_unlock(&lock);
}

static void fail_syncs(bool yes)
{
	pthread_mutex_lock(&lock);
	failing = yes;
	pthread_mutex_unlock(&lock);
}

static bool somebody_waits(void)
{
	bool yes;

	pthread_mutex_lock(&lock);
	yes = inside > 0;
	pthread_mutex_unlock(&lock);
	return yes;
}

static int setup(void **state)
{
	(void)state;
	table = sys_real;
	table.fdatasync = gated_fdatasync;
	sys = &table;
	looper = pthread_self();
	shut = failing = false;
	in_loop = 0;
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
	gate(false);
	sys = &sys_real;
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
	gate(true);
	if (!ahead)
		return;
	peer_send_value(p, "next", LARGE);
	peer_send(p, "EXISTS", "next", NULL);
	peers_expect(p, 1, "$4\r\nnext\r\n:1\r\n");
	assert_int_equal(in_loop, 0);
}

static void start(struct peer *p, size_t count)
{
	zr_start(&rig);
	for (size_t i = 0; i < count; i++)
		peer_open(&p[i], &rig);
	fill(&p[0]);
	assert_int_equal(segments("default"), 1);
}

/* Turns the loop until a worker is at the gate, and everything else has been done. */
static void wait_for_worker(struct peer *other)
{
	uint64_t deadline = clock_deadline(ZR_LIMIT_MS);

	while (!somebody_waits()) {
		assert_true(clock_left_ms(deadline) > 0);
		peer_settle(other);
	}
	peer_settle(other);
}

static void has_no_answer(struct peer *p)
{
	peer_collect(p);
	assert_int_equal(p->in.len, 0);
}

/* Nothing was said to the one who waits, and nothing was synced in the loop: now the disk goes on. */
static void let_through(struct peer *waits)
{
	has_no_answer(waits);
	assert_int_equal(in_loop, 0);
	gate(false);
}

static void end(struct peer *p, size_t count)
{
	for (size_t i = 0; i < count; i++)
		peer_close(&p[i]);
	assert_int_equal(zr_stop(&rig), 0);
}

static void only_writers_wait(void **state)
{
	struct peer p[4];

	(void)state;
	start(p, 4);
	peer_send_value(&p[0], "b", LARGE);
	peer_send(&p[0], "EXISTS", "b", NULL);
	wait_for_worker(&p[1]);
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
	has_no_answer(&p[2]);
	assert_int_equal(segments("default"), 1);
	let_through(&p[0]);
	peers_expect(p, 1, "$1\r\nb\r\n:1\r\n");
	peers_expect(&p[2], 1, "$1\r\nc\r\n");
	end(p, 4);
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
	wait_for_worker(&p[1]);
	peer_send(&p[1], "EXISTS", "x", NULL);
	peers_expect(&p[1], 1, ":0\r\n");
	let_through(&p[0]);
	peers_expect(p, 1, "*3\r\n$1\r\nx\r\n$1\r\ny\r\n+OK\r\n");
	assert_int_equal(segments("default"), 2 + ahead);
	end(p, 2);
}

static void so_does_a_jump(void **state)
{
	struct peer p[2];

	(void)state;
	start(p, 2);
	peer_send(&p[0], "NSJUMP", NULL, NULL);
	wait_for_worker(&p[1]);
	let_through(&p[0]);
	peers_expect(p, 1, "+OK\r\n");
	assert_int_equal(segments("default"), 2 + ahead);
	/* nothing is left to be made durable: at once, whatever the workers do */
	gate(true);
	peer_send(&p[0], "NSJUMP", NULL, NULL);
	peers_expect(p, 1, "+OK\r\n");
	gate(false);
	assert_int_equal(segments("default"), 3 + ahead);
	end(p, 2);
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
	assert_true(in_loop > 0);
	gate(false);
	end(p, 2);
}

static void a_rotation_by_age_waits(void **state)
{
	struct peer p[1];
	uint64_t deadline;

	(void)state;
	rig.opt.rotate_ms = 1000;
	start(p, 1);
	wait_for_worker(&p[0]);
	assert_int_equal(in_loop, 0);
	assert_int_equal(segments("default"), 1);
	gate(false);
	deadline = clock_deadline(ZR_LIMIT_MS);
	while (segments("default") < 2 + ahead) {
		assert_true(clock_left_ms(deadline) > 0);
		peer_settle(&p[0]);
	}
	end(p, 1);
}

static void a_failed_sync_refuses_the_write(void **state)
{
	struct peer p[2];

	(void)state;
	start(p, 2);
	peer_send_value(&p[0], "b", LARGE);
	wait_for_worker(&p[1]);
	fail_syncs(true);
	gate(false);
	peers_expect(p, 1, "-Cannot write data right now\r\n");
	peer_send(&p[0], "EXISTS", "a", NULL);
	peers_expect(p, 1, ":1\r\n");
	fail_syncs(false);
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
	wait_for_worker(&p[1]);
	peer_close(&p[0]);
	peer_settle(&p[1]);
	gate(false);
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
	wait_for_worker(&p[1]);
	peer_send(&p[2], "NSDEL", "x", NULL);
	peer_settle(&p[1]);
	gate(false);
	peers_expect(&p[2], 1, "+OK\r\n");
	assert_int_equal(segments("x"), 0);
	peers_expect(p, 1, "$1\r\nb\r\n");
	end(p, 3);
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
	gate(true);
	peer_send(&p[1], "COMPACT", "KEEP", "ALL");
	wait_for_worker(&p[0]);
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
	end(p, 2);
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
