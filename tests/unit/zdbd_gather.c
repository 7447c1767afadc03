/*
 * With --fsync always, seen from the sockets and in the log file: what comes while a log is synced gathers in memory for the next sync,
 * and is in the file before anything leaves that could speak of it.
 *
 * Where nothing may be written out no answer may leave, so the loop is turned until it has nothing to do (zr_quiet), without a PING.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "core/base/clock.h"
#include "core/base/file.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/sys.h"
#include "core/zdb/zdb_int.h"
#include "tests/unit/support/disk_gate.h"
#include "tests/unit/support/sys_test.h"
#include "tests/unit/support/zdbd_peer.h"

#define LOG_MAX (64u << 20)
#define REFUSED "-Cannot write data right now\r\n"

static struct zr rig;

static int setup(void **state)
{
	(void)state;
	disk_gate_begin();
	zr_setup(&rig);
	rig.opt.fsync = ZDBD_FSYNC_ALWAYS;
	rig.opt.datasize = LOG_MAX;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	disk_gate_end();
	zr_teardown(&rig);
	return 0;
}

/* Whether the log file holds these bytes. */
static bool is_in_log(const char *value)
{
	char path[160];
	char *log;
	size_t len;
	bool yes;

	snprintf(path, sizeof(path), "%s/default/d0", rig.data);
	assert_int_equal(file_read_all(path, LOG_MAX, &log, &len), 0);
	yes = memmem(log, len, value, strlen(value)) != NULL;
	mem_free(log);
	return yes;
}

/* All are connected, and the first write, for which the loop writes the marker, is over. */
static void start(struct peer *p, size_t count)
{
	zr_start(&rig);
	for (size_t i = 0; i < count; i++)
		peer_open(&p[i], &rig);
	peer_send(&p[count - 1], "SET", "first", "value of first");
	peers_expect(&p[count - 1], 1, "$5\r\nfirst\r\n");
	zr_quiet(&rig);
}

/* The disk stands still, with the sync of this client's value `value of a`; then another one's `value of b` has come. */
static void gather(struct peer *syncs, struct peer *gathers)
{
	disk_gate_shut();
	peer_send(syncs, "SET", "a", "value of a");
	disk_gate_wait(&rig, 1);
	assert_true(is_in_log("value of a"));
	peer_send(gathers, "SET", "b", "value of b");
	zr_quiet(&rig);
	assert_false(is_in_log("value of b"));
	peer_has_no_answer(syncs);
	peer_has_no_answer(gathers);
}

static void wait_for_log(const char *value)
{
	uint64_t deadline = clock_deadline(ZR_LIMIT_MS);

	while (!is_in_log(value)) {
		assert_true(clock_left_ms(deadline) > 0);
		loop_run_once(&rig.loop, 10);
	}
}

/* A key's value as a GET has it. */
static void expect_get(struct peer *p, const char *key, const char *value)
{
	char reply[64];

	snprintf(reply, sizeof(reply), "$%zu\r\n%s\r\n", strlen(value), value);
	peer_send(p, "GET", key, NULL);
	peers_expect(p, 1, reply);
}

/* --------------------------------------------------------------------------------------------- when it is written */

static void what_gathers_goes_with_the_next_sync(void **state)
{
	struct peer p[2];
	unsigned synced;

	(void)state;
	start(p, 2);
	gather(&p[0], &p[1]);
	synced = disk_gate_synced();
	disk_gate_let_last();
	peers_expect(&p[0], 1, "$1\r\na\r\n");
	/* the second sync stands, with all that gathered */
	disk_gate_wait(&rig, 1);
	assert_int_equal(disk_gate_synced(), synced + 1);
	assert_true(is_in_log("value of b"));
	peer_has_no_answer(&p[1]);
	disk_gate_open();
	peers_expect(&p[1], 1, "$1\r\nb\r\n");
	assert_int_equal(disk_gate_synced(), synced + 2);
	assert_int_equal(disk_gate_in_loop(), 0);
	peers_end(p, 2);
}

static void an_answer_that_speaks_of_it_finds_it_written(void **state)
{
	struct peer p[3];

	(void)state;
	start(p, 3);
	gather(&p[0], &p[1]);
	peer_send(&p[2], "GET", "b", NULL);
	while (!peer_has(&p[2], "$"))
		loop_run_once(&rig.loop, 100);
	assert_true(is_in_log("value of b"));
	peers_expect(&p[2], 1, "$10\r\nvalue of b\r\n");
	zr_quiet(&rig);
	peer_has_no_answer(&p[0]);
	peer_has_no_answer(&p[1]);
	/* and it goes on to gather */
	peer_send(&p[2], "SET", "c", "value of c");
	zr_quiet(&rig);
	assert_false(is_in_log("value of c"));
	disk_gate_open();
	peers_expect(&p[0], 1, "$1\r\na\r\n");
	peers_expect(&p[1], 1, "$1\r\nb\r\n");
	peers_expect(&p[2], 1, "$1\r\nc\r\n");
	peers_end(p, 3);
}

static void who_leaves_has_it_written_nevertheless(void **state)
{
	struct peer p[2];

	(void)state;
	start(p, 2);
	gather(&p[0], &p[1]);
	peer_close(&p[1]);
	zr_quiet(&rig);
	assert_false(is_in_log("value of b"));
	disk_gate_open();
	peers_expect(&p[0], 1, "$1\r\na\r\n");
	zr_quiet(&rig);
	assert_true(is_in_log("value of b"));
	peers_end(p, 1);
}

/* Nobody is left who is answered when the sync ends: its end alone is what makes the turn that writes. */
static void even_when_nobody_is_left(void **state)
{
	struct peer p[3];

	(void)state;
	start(p, 3);
	gather(&p[1], &p[2]);
	peer_close(&p[1]);
	peer_close(&p[2]);
	zr_quiet(&rig);
	assert_false(is_in_log("value of b"));
	disk_gate_open();
	wait_for_log("value of b");
	expect_get(&p[0], "b", "value of b");
	peers_end(p, 1);
}

/* Who enters it makes a namespace beside `default`, whose first write is over. */
static void enter_another(struct peer *p)
{
	peer_send(p, "NSNEW", "x", NULL);
	peer_send(p, "SELECT", "x", NULL);
	peers_expect(p, 1, "+OK\r\n+OK\r\n");
	peer_send(p, "SET", "first", "value of x");
	peers_expect(p, 1, "$5\r\nfirst\r\n");
}

/* ------------------------------------------------------------------------------------------------------ how much */

#define WRITERS 30u
#define EACH    10u /* requests that one read of a socket brings */
#define BULK    3072u

/* The value of a writer's nth key: BULK letters, the name of the key first. */
static const char *bulk(unsigned writer, unsigned n, char key[8], char value[BULK + 1])
{
	snprintf(key, 8, "%03u.%03u", writer, n);
	memset(value, 'a' + (int)(writer % 26), BULK);
	memcpy(value, key, 7);
	value[BULK] = '\0';
	return value;
}

static void send_bulk(struct peer *p, unsigned writer)
{
	char key[8], value[BULK + 1];

	for (unsigned n = 0; n < EACH; n++)
		peer_send(p, "SET", key, bulk(writer, n, key, value));
}

/* How many of all values are in the log file. */
static unsigned bulk_in_log(void)
{
	char key[8], value[BULK + 1];
	unsigned found = 0;

	for (unsigned i = 0; i < WRITERS * EACH; i++)
		found += is_in_log(bulk(i / EACH, i % EACH, key, value));
	return found;
}

static void expect_bulk_answers(struct peer *p, unsigned writer)
{
	char text[EACH * 16];
	size_t len = 0;

	for (unsigned n = 0; n < EACH; n++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "$7\r\n%03u.%03u\r\n", writer, n);
	peers_expect(p, 1, text);
}

static void expect_bulk(struct peer *p)
{
	char key[8], value[BULK + 1], reply[BULK + 32];

	for (unsigned i = 0; i < WRITERS * EACH; i++) {
		snprintf(reply, sizeof(reply), "$%u\r\n%s\r\n", BULK, bulk(i / EACH, i % EACH, key, value));
		peer_send(p, "GET", key, NULL);
		peers_expect(p, 1, reply);
	}
}

/* What does not fit into memory is written before its turn comes, and the rest gathers behind it. */
static void more_than_the_window(void **state)
{
	struct peer p[WRITERS + 1];
	unsigned found;

	(void)state;
	assert_true(WRITERS * EACH * BULK > 3 * WINDOW_DATA);
	start(p, WRITERS + 1);
	disk_gate_shut();
	peer_send(&p[WRITERS], "SET", "a", "value of a");
	disk_gate_wait(&rig, 1);
	for (unsigned i = 0; i < WRITERS; i++)
		send_bulk(&p[i], i);
	zr_quiet(&rig);
	found = bulk_in_log();
	assert_in_range(found, 1, WRITERS * EACH - 1);
	for (unsigned i = 0; i < WRITERS; i++)
		peer_has_no_answer(&p[i]);
	disk_gate_open();
	peers_expect(&p[WRITERS], 1, "$1\r\na\r\n");
	for (unsigned i = 0; i < WRITERS; i++)
		expect_bulk_answers(&p[i], i);
	assert_int_equal(bulk_in_log(), WRITERS * EACH);
	expect_bulk(p);
	peers_end(p, WRITERS + 1);
	zr_start(&rig);
	peer_open(p, &rig);
	expect_bulk(p);
	peers_end(p, 1);
}

/* ---------------------------------------------------------------------------------- other ways out for an answer */

/* A mirror that a sync has released once, and that asks nothing since, is told of writes before they are in the file. */
static void a_mirror_hears_of_what_is_written(void **state)
{
	struct peer p[3];

	(void)state;
	start(p, 3);
	peer_send(&p[2], "MIRROR", NULL, NULL);
	peer_send(&p[2], "SET", "other", "value of other");
	peers_expect(&p[2], 1, "+Starting mirroring\r\n$5\r\nother\r\n");
	disk_gate_shut();
	peer_send(&p[0], "SET", "a", "value of a");
	disk_gate_wait(&rig, 1);
	peer_send(&p[1], "SET", "b", "value of b");
	zr_quiet(&rig);
	peer_collect(&p[2]);
	assert_non_null(memmem(p[2].in.data, p[2].in.len, "value of b", 10));
	assert_true(is_in_log("value of b"));
	disk_gate_open();
	peers_expect(&p[1], 1, "$1\r\nb\r\n");
	peers_end(p, 3);
}

/* A sync of another namespace says nothing of what was read before in this one. */
static void a_client_that_went_on_to_another_namespace(void **state)
{
	struct peer p[4];

	(void)state;
	start(p, 4);
	enter_another(&p[3]);
	gather(&p[0], &p[1]);
	peer_send(&p[2], "GET", "b", NULL);
	peer_send(&p[2], "SELECT", "x", NULL);
	peer_send(&p[2], "SET", "c", "value of c");
	disk_gate_wait(&rig, 2);
	disk_gate_let_last();
	while (!peer_has(&p[2], "$10\r\nvalue of b\r\n+OK\r\n$1\r\nc\r\n"))
		loop_run_once(&rig.loop, 100);
	assert_true(is_in_log("value of b"));
	disk_gate_open();
	peers_expect(&p[1], 1, "$1\r\nb\r\n");
	peers_end(p, 4);
}

static struct sys_ops watched;
static const struct peer *reader;
static bool too_early;

/* Whether something has left for the reader when the loop writes to a file. */
static ssize_t watched_pwritev2(int fd, const struct iovec *iov, int count, off_t off, int flags)
{
	char byte;

	if (reader && recv(reader->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0)
		too_early = true;
	return sys_real.pwritev2(fd, iov, count, off, flags);
}

/* A value of BULK bytes gathers, and somebody asks for it so often at once. */
static void read_bulk(unsigned times)
{
	char key[8], value[BULK + 1];
	struct peer p[3];

	start(p, 3);
	watched = *sys;
	watched.pwritev2 = watched_pwritev2;
	sys = &watched;
	too_early = false;
	disk_gate_shut();
	peer_send(&p[0], "SET", "a", "value of a");
	disk_gate_wait(&rig, 1);
	peer_send(&p[1], "SET", key, bulk(0, 0, key, value));
	zr_quiet(&rig);
	assert_false(is_in_log(value));
	reader = &p[2];
	for (unsigned i = 0; i < times; i++)
		peer_send(&p[2], "GET", key, NULL);
	zr_quiet(&rig);
	reader = NULL;
	assert_true(peer_has(&p[2], value));
	assert_true(is_in_log(value));
	assert_false(too_early);
	disk_gate_open();
	peers_expect(&p[1], 1, "$7\r\n000.000\r\n");
	peers_end(p, 3);
}

/* An answer of DIRECT_MIN bytes leaves at once, and makes no turn. */
static void a_direct_answer_that_speaks_of_it(void **state)
{
	(void)state;
	read_bulk(1);
}

/* Replies of SEND_NOW bytes together leave before the end of the turn. */
static void many_answers_that_speak_of_it(void **state)
{
	(void)state;
	read_bulk(20);
}

/* ---------------------------------------------------------------------------------------------------- what fails */

static void a_failed_sync_promises_nothing_to_those_who_gathered(void **state)
{
	struct peer p[4];

	(void)state;
	start(p, 4);
	gather(&p[0], &p[1]);
	peer_send(&p[2], "SET", "c", "value of c");
	zr_quiet(&rig);
	peer_has_no_answer(&p[2]);
	disk_gate_fail_syncs(true);
	disk_gate_open();
	peers_expect(p, 3, REFUSED);
	disk_gate_fail_syncs(false);
	expect_get(&p[3], "first", "value of first");
	peer_send(&p[3], "SET", "d", "value of d");
	peers_expect(&p[3], 1, REFUSED);
	expect_get(&p[3], "first", "value of first");
	for (size_t i = 0; i < 4; i++)
		peer_close(&p[i]);
	assert_int_not_equal(zr_stop(&rig), 0);
	zr_start(&rig);
	peer_open(p, &rig);
	expect_get(p, "first", "value of first");
	peers_end(p, 1);
}

/* A write that gathered behind a sync that succeeds is refused when its own fails. */
static void nor_does_one_behind_a_sync_that_succeeds(void **state)
{
	struct peer p[3];

	(void)state;
	start(p, 3);
	gather(&p[0], &p[1]);
	disk_gate_let_last();
	peers_expect(p, 1, "$1\r\na\r\n");
	disk_gate_wait(&rig, 1);
	disk_gate_fail_syncs(true);
	disk_gate_open();
	peers_expect(&p[1], 1, REFUSED);
	disk_gate_fail_syncs(false);
	expect_get(&p[2], "a", "value of a");
	for (size_t i = 0; i < 3; i++)
		peer_close(&p[i]);
	assert_int_not_equal(zr_stop(&rig), 0);
}

static void copy_roots(const struct zr *to)
{
	test_dir_copy(rig.data, to->data);
	test_dir_copy(rig.index, to->index);
}

/* The files as a kill leaves them: all that was answered, nothing that was only gathered. */
static void a_kill_loses_nothing_that_was_answered(void **state)
{
	struct peer p[3], q;
	struct zr killed;
	char key[16], reply[32];

	(void)state;
	start(p, 3);
	for (unsigned i = 0; i < 20; i++) {
		snprintf(key, sizeof(key), "key %02u", i);
		snprintf(reply, sizeof(reply), "$6\r\n%s\r\n", key);
		peer_send(&p[i % 3], "SET", key, key);
		peers_expect(&p[i % 3], 1, reply);
	}
	gather(&p[0], &p[1]);
	zr_setup(&killed);
	copy_roots(&killed);
	disk_gate_open();
	peers_expect(&p[0], 1, "$1\r\na\r\n");
	peers_expect(&p[1], 1, "$1\r\nb\r\n");
	peers_end(p, 3);
	zr_start(&killed);
	peer_open(&q, &killed);
	expect_get(&q, "first", "value of first");
	for (unsigned i = 0; i < 20; i++) {
		snprintf(key, sizeof(key), "key %02u", i);
		expect_get(&q, key, key);
	}
	peer_send(&q, "GET", "b", NULL);
	peers_expect(&q, 1, "$-1\r\n");
	peers_end(&q, 1);
	zr_teardown(&killed);
}

/* -------------------------------------------------------------------------------------- who sends while it is held */

/* Bytes of a client that the server has not read. */
static int unread(const struct peer *p)
{
	int n = 0;

	assert_int_equal(ioctl(p->fd, SIOCOUTQ, &n), 0);
	return n;
}

static void who_sends_while_it_is_held_is_heard_afterwards(void **state)
{
	struct peer p[2];

	(void)state;
	start(p, 2);
	disk_gate_shut();
	peer_send(&p[0], "SET", "a", "value of a");
	disk_gate_wait(&rig, 1);
	assert_int_equal(unread(&p[0]), 0);
	peer_send(&p[0], "SET", "next", "value of next");
	/* ends: what is unread is not what the loop is woken for any more */
	zr_quiet(&rig);
	assert_true(unread(&p[0]) > 0);
	peer_send(&p[1], "GET", "next", NULL);
	peers_expect(&p[1], 1, "$-1\r\n");
	zr_quiet(&rig);
	assert_true(unread(&p[0]) > 0);
	peer_has_no_answer(&p[0]);
	disk_gate_let_last();
	peers_expect(p, 1, "$1\r\na\r\n");
	/* it is read now, and stands at the gate itself */
	disk_gate_wait(&rig, 1);
	assert_int_equal(unread(&p[0]), 0);
	assert_true(is_in_log("value of next"));
	peer_has_no_answer(&p[0]);
	disk_gate_open();
	peers_expect(p, 1, "$4\r\nnext\r\n");
	/* and is heard as before */
	expect_get(p, "next", "value of next");
	peers_end(p, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_gathers_goes_with_the_next_sync, setup, teardown),
		cmocka_unit_test_setup_teardown(an_answer_that_speaks_of_it_finds_it_written, setup,
						teardown),
		cmocka_unit_test_setup_teardown(who_leaves_has_it_written_nevertheless, setup, teardown),
		cmocka_unit_test_setup_teardown(even_when_nobody_is_left, setup, teardown),
		cmocka_unit_test_setup_teardown(a_mirror_hears_of_what_is_written, setup, teardown),
		cmocka_unit_test_setup_teardown(a_client_that_went_on_to_another_namespace, setup, teardown),
		cmocka_unit_test_setup_teardown(a_direct_answer_that_speaks_of_it, setup, teardown),
		cmocka_unit_test_setup_teardown(many_answers_that_speak_of_it, setup, teardown),
		cmocka_unit_test_setup_teardown(more_than_the_window, setup, teardown),
		cmocka_unit_test_setup_teardown(a_failed_sync_promises_nothing_to_those_who_gathered, setup,
						teardown),
		cmocka_unit_test_setup_teardown(nor_does_one_behind_a_sync_that_succeeds, setup, teardown),
		cmocka_unit_test_setup_teardown(a_kill_loses_nothing_that_was_answered, setup, teardown),
		cmocka_unit_test_setup_teardown(who_sends_while_it_is_held_is_heard_afterwards, setup,
						teardown),
	};

	log_level_set(LOG_LEVEL_ERR);
	return cmocka_run_group_tests_name("zdbd_gather", tests, NULL, NULL);
}
