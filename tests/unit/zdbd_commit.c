/*
 * Group commit, seen from the sockets, with the system call table between the server and the disk: how many fdatasyncs serve how many
 * clients, what a reply waits for, what a failed one means.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/sys.h"
#include "core/net/resp.h"
#include "tests/unit/support/zdbd_peer.h"

/* ----------------------------------------------------------------------------------------------------- the disk */

static struct sys_ops table;
static _Atomic unsigned syncs;
static _Atomic int sync_error;
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER; /* held by a test: fdatasync does not return */

static int counted_fdatasync(int fd)
{
	syncs++;
	pthread_mutex_lock(&gate);
	pthread_mutex_unlock(&gate);
	if (sync_error) {
		errno = sync_error;
		return -1;
	}
	return sys_real.fdatasync(fd);
}

/* --------------------------------------------------------------------------------------------------- the server */

static struct zr rig;

static void server_start(enum zdbd_fsync policy)
{
	rig.opt.fsync = policy;
	zr_start(&rig);
}

static int setup(void **state)
{
	struct rlimit limit;

	(void)state;
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	table = sys_real;
	table.fdatasync = counted_fdatasync;
	sys = &table;
	sync_error = 0;
	zr_setup(&rig);
	rig.opt.fsync_interval_ms = 3600000; /* nothing of its own accord */
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	/* a test that failed may have left it closed */
	pthread_mutex_trylock(&gate);
	pthread_mutex_unlock(&gate);
	sys = &sys_real;
	zr_teardown(&rig);
	return 0;
}

/* The first write after a start also writes the recovery marker, at once and in the loop's thread: not what is looked at here. */
static void first_write(void)
{
	static unsigned starts;
	char value[96];
	struct peer p;

	peer_open(&p, &rig);
	snprintf(value, sizeof(value), "%s %u", rig.dir, ++starts);
	peer_send(&p, "SET", "first", value);
	peer_send(&p, "SYNC", NULL, NULL);
	while (!peer_has(&p, "$5\r\nfirst\r\n+OK\r\n"))
		loop_run_once(&rig.loop, 100);
	peer_close(&p);
	syncs = 0;
}

/* ------------------------------------------------------------------------------------------------------ tests */

static void share(size_t count, unsigned most)
{
	struct peer *peers = calloc(count, sizeof(*peers));
	char key[16];
	size_t i;

	server_start(ZDBD_FSYNC_NO);
	first_write();
	for (i = 0; i < count; i++)
		peer_open(&peers[i], &rig);
	for (i = 0; i < count; i++) {
		snprintf(key, sizeof(key), "key%05zu", i);
		peer_send(&peers[i], "SET", key, count == 1 ? "one" : count == 50 ? "fifty" : "many");
		peer_send(&peers[i], "SYNC", NULL, NULL);
	}
	/* every key has eight letters */
	for (i = 0; i < count; i++) {
		char want[64];

		snprintf(want, sizeof(want), "$8\r\nkey%05zu\r\n+OK\r\n", i);
		peers_expect(&peers[i], 1, want);
	}
	print_message("%zu clients, %u fdatasyncs\n", count, syncs);
	assert_true(syncs >= 1 && syncs <= most);
	/* nothing new was written: no disk is asked */
	syncs = 0;
	peer_send(&peers[0], "SYNC", NULL, NULL);
	peers_expect(peers, 1, "+OK\r\n");
	assert_int_equal(syncs, 0);
	for (i = 0; i < count; i++)
		peer_close(&peers[i]);
	free(peers);
	assert_int_equal(zr_stop(&rig), 0);
}

static void one_fdatasync_serves_many(void **state)
{
	(void)state;
	share(1, 1);
	share(50, 4);
	/* one round of the loop takes 64 of them: at most one sync for each */
	share(1000, 17);
}

static void sync_keeps_its_place_and_stops_nobody(void **state)
{
	struct peer p[2];

	(void)state;
	server_start(ZDBD_FSYNC_NO);
	first_write();
	peer_open(&p[0], &rig);
	peer_open(&p[1], &rig);
	pthread_mutex_lock(&gate);
	peer_send(&p[0], "SET", "k", "v");
	peer_send(&p[0], "SYNC", NULL, NULL);
	peer_send(&p[0], "GET", "k", NULL);
	peers_expect(p, 1, "$1\r\nk\r\n");
	peer_settle(&p[1]);
	peer_send(&p[1], "GET", "k", NULL);
	peers_expect(&p[1], 1, "$1\r\nv\r\n");
	peer_collect(&p[0]);
	assert_int_equal(p[0].in.len, 0);
	pthread_mutex_unlock(&gate);
	peers_expect(p, 1, "+OK\r\n$1\r\nv\r\n");
	peer_close(&p[0]);
	peer_close(&p[1]);
	assert_int_equal(zr_stop(&rig), 0);
}

static void always_means_before_the_answer(void **state)
{
	struct peer p[3];
	size_t i;

	(void)state;
	server_start(ZDBD_FSYNC_ALWAYS);
	first_write();
	for (i = 0; i < 3; i++)
		peer_open(&p[i], &rig);
	pthread_mutex_lock(&gate);
	peer_send(&p[0], "SET", "k", "v");
	peer_send(&p[0], "GET", "k", NULL);
	peer_settle(&p[2]);
	/* the same value again: it is there, but not yet safe, so this answer waits too */
	peer_send(&p[1], "SET", "k", "v");
	peer_settle(&p[2]);
	for (i = 0; i < 2; i++) {
		peer_collect(&p[i]);
		assert_int_equal(p[i].in.len, 0);
	}
	peer_send(&p[2], "GET", "k", NULL);
	peers_expect(&p[2], 1, "$1\r\nv\r\n");
	pthread_mutex_unlock(&gate);
	peers_expect(&p[0], 1, "$1\r\nk\r\n$1\r\nv\r\n");
	peers_expect(&p[1], 1, "$-1\r\n");
	assert_true(syncs >= 1);
	for (i = 0; i < 3; i++)
		peer_close(&p[i]);
	assert_int_equal(zr_stop(&rig), 0);
}

/* ----------------------------------------------------------------------------------------------------- a mirror */

/* p[1] writes, p[0] mirrors, and waits for the disk. */
static void mirror_that_waits(struct peer p[2])
{
	rig.opt.datasize = 64u << 20;
	server_start(ZDBD_FSYNC_NO);
	first_write();
	peer_open(&p[0], &rig);
	peer_open(&p[1], &rig);
	peer_send(&p[1], "SET", "k", "v");
	peers_expect(&p[1], 1, "$1\r\nk\r\n");
	peer_send(&p[0], "MIRROR", NULL, NULL);
	peers_expect(&p[0], 1, "+Starting mirroring\r\n");
	pthread_mutex_lock(&gate);
	peer_send(&p[0], "SYNC", NULL, NULL);
	while (syncs == 0)
		loop_run_once(&rig.loop, 100);
}

/* Forgets the first line that has come, which must be as long as `like` (a number), or `like` itself. */
static void expect_line(struct peer *p, const char *like)
{
	size_t len = strlen(like);

	while (!peer_has(p, like))
		loop_run_once(&rig.loop, 100);
	if (like[0] == ':')
		assert_int_equal(p->in.data[0], ':');
	else
		assert_memory_equal(p->in.data, like, len);
	assert_memory_equal(p->in.data + len - 2, "\r\n", 2);
	buf_consume(&p->in, len);
}

static void a_mirror_hears_what_came_while_it_waited(void **state)
{
	char value[16], command[64];
	struct peer p[2];
	int i;

	(void)state;
	mirror_that_waits(p);
	for (i = 0; i < 50; i++) {
		snprintf(value, sizeof(value), "value%02d", i);
		peer_send(&p[1], "SET", "k", value);
		peers_expect(&p[1], 1, "$1\r\nk\r\n");
	}
	peer_send(&p[0], "GET", "k", NULL);
	peer_collect(&p[0]);
	assert_int_equal(p[0].in.len, 0);
	pthread_mutex_unlock(&gate);
	/* its own answer first, then all in their order, then what it asked behind it */
	expect_line(&p[0], "+OK\r\n");
	for (i = 0; i < 50; i++) {
		expect_line(&p[0], "*6\r\n");
		expect_line(&p[0], ":1234567890\r\n");
		expect_line(&p[0], "$7\r\ndefault\r\n");
		expect_line(&p[0], ":3\r\n");
		snprintf(command, sizeof(command), "$3\r\nSET\r\n$1\r\nk\r\n$7\r\nvalue%02d\r\n", i);
		expect_line(&p[0], command);
	}
	peers_expect(&p[0], 1, "$7\r\nvalue49\r\n");
	peer_close(&p[0]);
	peer_close(&p[1]);
	assert_int_equal(zr_stop(&rig), 0);
}

static void a_mirror_that_waits_too_long_is_cut(void **state)
{
	uint64_t deadline = clock_deadline(ZR_LIMIT_MS);
	struct peer p[2];
	char byte;

	(void)state;
	mirror_that_waits(p);
	for (int i = 0; i < 5; i++) {
		peer_send_value(&p[1], "big", 4u << 20);
		peers_expect(&p[1], 1,
			     i == 0 ? "$3\r\nbig\r\n" : "$-1\r\n"); /* the same again is mirrored, too */
	}
	while (recv(p[0].fd, &byte, 1, MSG_DONTWAIT) != 0) {
		assert_true(clock_left_ms(deadline) > 0);
		loop_run_once(&rig.loop, 100);
	}
	pthread_mutex_unlock(&gate);
	peer_send(&p[1], "GET", "k", NULL);
	peers_expect(&p[1], 1, "$1\r\nv\r\n");
	peer_close(&p[0]);
	peer_close(&p[1]);
	assert_int_equal(zr_stop(&rig), 0);
}

/* ------------------------------------------------------------------------------------------------------- failures */

static void a_failed_sync_is_never_forgotten(void **state)
{
	static const char refused[] = "-Cannot write data right now\r\n";
	struct peer p;

	(void)state;
	server_start(ZDBD_FSYNC_NO);
	first_write();
	peer_open(&p, &rig);
	peer_send(&p, "SET", "k", "v");
	peers_expect(&p, 1, "$1\r\nk\r\n");
	sync_error = EIO;
	peer_send(&p, "SYNC", NULL, NULL);
	peers_expect(&p, 1, refused);
	/* a later success would not stand for the pages that were lost */
	sync_error = 0;
	peer_send(&p, "SYNC", NULL, NULL);
	peers_expect(&p, 1, refused);
	peer_send(&p, "SET", "k", "w");
	peers_expect(&p, 1, refused);
	peer_send(&p, "GET", "k", NULL);
	peers_expect(&p, 1, "$1\r\nv\r\n");
	peer_close(&p);
	zr_stop(&rig);
	server_start(ZDBD_FSYNC_ALWAYS);
	first_write();
	peer_open(&p, &rig);
	peer_send(&p, "GET", "k", NULL);
	peers_expect(&p, 1, "$1\r\nv\r\n");
	sync_error = EIO;
	peer_send(&p, "SET", "k", "x");
	peer_send(&p, "GET", "k", NULL);
	/* its answer is taken back, and so is everything said after it */
	peers_expect(&p, 1, refused);
	peer_close(&p);
	zr_stop(&rig);
	sync_error = 0;
	server_start(ZDBD_FSYNC_ALWAYS);
	first_write();
	peer_open(&p, &rig);
	peer_send(&p, "SET", "other", "y");
	peers_expect(&p, 1, "$5\r\nother\r\n");
	peer_close(&p);
	assert_int_equal(zr_stop(&rig), 0);
}

static void a_client_that_leaves_while_it_waits(void **state)
{
	struct peer p[3];
	size_t i;

	(void)state;
	server_start(ZDBD_FSYNC_ALWAYS);
	first_write();
	for (i = 0; i < 3; i++)
		peer_open(&p[i], &rig);
	pthread_mutex_lock(&gate);
	peer_send(&p[0], "SET", "k", "v");
	peer_send(&p[1], "SYNC", NULL, NULL);
	peer_settle(&p[2]);
	peer_close(&p[0]);
	peer_close(&p[1]);
	peer_settle(&p[2]);
	pthread_mutex_unlock(&gate);
	peer_send(&p[2], "CUT", NULL, NULL);
	while (!peer_has(&p[2], "*1\r\n*6\r\n$7\r\ndefault\r\n"))
		loop_run_once(&rig.loop, 100);
	assert_memory_equal(p[2].in.data, "*1\r\n*6\r\n$7\r\ndefault\r\n", 21);
	peer_close(&p[2]);
	assert_int_equal(zr_stop(&rig), 0);
}

/* -------------------------------------------------------------------------------- deletions that look torn */

/*
 * A deletion whose key crosses a 512-byte border with zeros behind it: a power cut could have left it so, and the index learns of it
 * later. Key 0 of a sequential namespace is eight zeros, and the value before it makes its marker begin at 492.
 */
#define DOUBTFUL_AT   492
#define DOUBTFUL_FILL (DOUBTFUL_AT - 28 - 26)

static void start_with_filler(struct peer *p, size_t fill)
{
	char value[512];

	server_start(ZDBD_FSYNC_NO);
	memset(value, 'v', fill);
	value[fill] = '\0';
	peer_open(p, &rig);
	peer_send(p, "SET", "", value);
	peer_send(p, "SYNC", NULL, NULL);
	while (!peer_has(p, "$8\r\n12345678\r\n+OK\r\n"))
		loop_run_once(&rig.loop, 100);
	buf_clear(&p->in);
	syncs = 0;
}

static void delete_key_0(struct peer *p)
{
	static const char request[] = "*2\r\n$3\r\nDEL\r\n$8\r\n\0\0\0\0\0\0\0\0\r\n";

	assert_int_equal(send(p->fd, request, sizeof(request) - 1, MSG_NOSIGNAL),
			 (ssize_t)sizeof(request) - 1);
}

static void a_doubtful_deletion_is_answered_when_it_is_durable(void **state)
{
	struct peer p[2];

	(void)state;
	rig.opt.mode = ZDB_SEQ;
	start_with_filler(&p[0], DOUBTFUL_FILL);
	peer_open(&p[1], &rig);
	pthread_mutex_lock(&gate);
	delete_key_0(&p[0]);
	peer_settle(&p[1]);
	/* what comes behind it in the log would be cut with it */
	peer_send(&p[0], "SET", "", "x");
	peer_settle(&p[1]);
	peer_collect(&p[0]);
	assert_int_equal(p[0].in.len, 0);
	pthread_mutex_unlock(&gate);
	while (!peer_has(&p[0], "+OK\r\n$8\r\n12345678\r\n"))
		loop_run_once(&rig.loop, 100);
	assert_memory_equal(p[0].in.data, "+OK\r\n$8\r\n\1\0\0\0\0\0\0\0\r\n", 19);
	peer_close(&p[0]);
	peer_close(&p[1]);
	assert_int_equal(zr_stop(&rig), 0);
}

static void delete_key_0_and_insert(struct peer *p)
{
	static const char both[] = "*2\r\n$3\r\nDEL\r\n$8\r\n\0\0\0\0\0\0\0\0\r\n"
				   "*3\r\n$3\r\nSET\r\n$0\r\n\r\n$1\r\nx\r\n";

	assert_int_equal(send(p->fd, both, sizeof(both) - 1, MSG_NOSIGNAL), (ssize_t)sizeof(both) - 1);
	while (!peer_has(p, "+OK\r\n$8\r\n12345678\r\n"))
		loop_run_once(&rig.loop, 100);
}

static void a_record_behind_it_ends_the_doubt(void **state)
{
	struct peer p;

	(void)state;
	rig.opt.mode = ZDB_SEQ;
	start_with_filler(&p, DOUBTFUL_FILL);
	pthread_mutex_lock(&gate);
	delete_key_0_and_insert(&p);
	pthread_mutex_unlock(&gate);
	assert_int_equal(syncs, 0);
	peer_close(&p);
	assert_int_equal(zr_stop(&rig), 0);
}

static void another_deletion_waits_for_no_disk(void **state)
{
	struct peer p;

	(void)state;
	rig.opt.mode = ZDB_SEQ;
	start_with_filler(&p, DOUBTFUL_FILL - 10); /* whole before the border */
	pthread_mutex_lock(&gate);
	delete_key_0(&p);
	peers_expect(&p, 1, "+OK\r\n");
	pthread_mutex_unlock(&gate);
	assert_int_equal(syncs, 0);
	peer_close(&p);
	assert_int_equal(zr_stop(&rig), 0);
}

/* What a killed server has answered: the deletion, alone or with a record behind it. */
static void kill_after(void (*requests)(struct peer *p), const char *left)
{
	struct peer p;
	int status;
	pid_t pid;

	rig.opt.mode = ZDB_SEQ;
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		start_with_filler(&p, DOUBTFUL_FILL);
		requests(&p);
		(void)kill(getpid(), SIGKILL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	server_start(ZDBD_FSYNC_NO);
	peer_open(&p, &rig);
	peer_send(&p, "DBSIZE", NULL, NULL);
	peers_expect(&p, 1, left);
	peer_close(&p);
	assert_int_equal(zr_stop(&rig), 0);
}

static void delete_key_0_answered(struct peer *p)
{
	delete_key_0(p);
	peers_expect(p, 1, "+OK\r\n");
}

static void a_kill_takes_back_no_deletion(void **state)
{
	(void)state;
	kill_after(delete_key_0_answered, ":0\r\n");
}

static void a_kill_takes_back_no_deletion_with_a_record_behind_it(void **state)
{
	(void)state;
	kill_after(delete_key_0_and_insert, ":1\r\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(one_fdatasync_serves_many, setup, teardown),
		cmocka_unit_test_setup_teardown(sync_keeps_its_place_and_stops_nobody, setup, teardown),
		cmocka_unit_test_setup_teardown(always_means_before_the_answer, setup, teardown),
		cmocka_unit_test_setup_teardown(a_mirror_hears_what_came_while_it_waited, setup, teardown),
		cmocka_unit_test_setup_teardown(a_mirror_that_waits_too_long_is_cut, setup, teardown),
		cmocka_unit_test_setup_teardown(a_failed_sync_is_never_forgotten, setup, teardown),
		cmocka_unit_test_setup_teardown(a_client_that_leaves_while_it_waits, setup, teardown),
		cmocka_unit_test_setup_teardown(a_doubtful_deletion_is_answered_when_it_is_durable, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_record_behind_it_ends_the_doubt, setup, teardown),
		cmocka_unit_test_setup_teardown(another_deletion_waits_for_no_disk, setup, teardown),
		cmocka_unit_test_setup_teardown(a_kill_takes_back_no_deletion, setup, teardown),
		cmocka_unit_test_setup_teardown(a_kill_takes_back_no_deletion_with_a_record_behind_it, setup,
						teardown),
	};

	log_level_set(LOG_LEVEL_ERR);
	return cmocka_run_group_tests_name("zdbd_commit", tests, NULL, NULL);
}
