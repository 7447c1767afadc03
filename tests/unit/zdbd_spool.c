/*
 * A rotation and the spool, with the disk of the spool in the test's hands: nobody waits for it but the next rotation, a
 * failure is repeated, and a crash in between forgets nothing.
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
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/sys.h"
#include "core/net/resp.h"
#include "core/spool/spool.h"
#include "tests/unit/support/zdbd_rig.h"

static struct sys_ops table;
static _Atomic int spool_error;
static _Atomic unsigned spool_syncs;
static pthread_mutex_t gate =
	PTHREAD_MUTEX_INITIALIZER; /* held by a test: fsync of a spool file does not return */

static struct zr rig;

static int gated_fsync(int fd)
{
	char link[40], path[200];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	path[n < 0 ? 0 : n] = '\0';
	if (strncmp(path, rig.spool, strlen(rig.spool)) != 0)
		return sys_real.fsync(fd);
	spool_syncs++;
	pthread_mutex_lock(&gate);
	pthread_mutex_unlock(&gate);
	if (spool_error) {
		errno = spool_error;
		return -1;
	}
	return sys_real.fsync(fd);
}

static int setup(void **state)
{
	(void)state;
	table = sys_real;
	table.fsync = gated_fsync;
	sys = &table;
	spool_error = 0;
	zr_setup(&rig);
	rig.opt.spool_dir = rig.spool;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	pthread_mutex_trylock(&gate); /* a test that failed may have left it closed */
	pthread_mutex_unlock(&gate);
	sys = &sys_real;
	zr_teardown(&rig);
	return 0;
}

/* One request and its whole reply, the loop running meanwhile. */
static void ask(const char *want, const char *a, const char *b, const char *c)
{
	struct buf out = BUF_INIT(4096);
	uint64_t deadline = clock_deadline(ZR_LIMIT_MS);
	char got[200] = "";
	size_t have = 0;
	int fd = zr_connect(&rig);

	assert_int_equal(resp_put_words(&out, a, b, b ? c : NULL, NULL), 0);
	assert_int_equal(send(fd, out.data, out.len, MSG_NOSIGNAL), (ssize_t)out.len);
	while (have < strlen(want)) {
		ssize_t n = recv(fd, got + have, sizeof(got) - 1 - have, MSG_DONTWAIT);

		if (n > 0) {
			have += (size_t)n;
			continue;
		}
		assert_true(clock_left_ms(deadline) > 0);
		loop_run_once(&rig.loop, 50);
	}
	assert_string_equal(got, want);
	buf_release(&out);
	close(fd);
}

struct seen {
	unsigned segments, bundles;
	uint64_t last;
};

static int see(void *ctx, const struct spool_intent *in)
{
	struct seen *s = ctx;

	if (in->kind == SPOOL_SEGMENT)
		s->segments++;
	if (in->kind == SPOOL_BUNDLE)
		s->bundles++;
	if (in->first > s->last)
		s->last = in->first;
	return 0;
}

static struct seen spooled(void)
{
	struct seen s = {0};
	struct spool *sp;

	assert_int_equal(spool_open(rig.spool, SPOOL_RDONLY, &sp), 0);
	assert_int_equal(spool_list(sp, see, &s), 0);
	spool_close(sp);
	return s;
}

static void until_spooled(unsigned segments)
{
	uint64_t deadline = clock_deadline(ZR_LIMIT_MS);

	while (spooled().segments < segments) {
		assert_true(clock_left_ms(deadline) > 0);
		loop_run_once(&rig.loop, 50);
	}
	assert_int_equal(spooled().segments, segments);
	assert_int_equal(spooled().bundles, segments);
}

static void nobody_waits(void **state)
{
	(void)state;
	zr_start(&rig);
	ask("$1\r\na\r\n", "SET", "a", "1");
	pthread_mutex_lock(&gate);
	ask("+OK\r\n", "NSJUMP", NULL, NULL);
	ask("$1\r\nb\r\n", "SET", "b", "2");
	ask("$1\r\n1\r\n", "GET", "a", NULL);
	ask("+PONG\r\n", "PING", NULL, NULL);
	while (spool_syncs == 0) /* the worker is at the gate, and everybody was served */
		loop_run_once(&rig.loop, 10);
	ask("+PONG\r\n", "PING", NULL, NULL);
	assert_int_equal(spooled().segments, 0);
	pthread_mutex_unlock(&gate);
	until_spooled(1);
	ask("+OK\r\n", "NSJUMP", NULL, NULL);
	ask("+OK\r\n", "NSJUMP", NULL, NULL); /* waits for the one before */
	assert_int_equal(zr_stop(&rig), 0);   /* and a stop for all */
	assert_int_equal(spooled().segments, 3);
	assert_int_equal(spooled().bundles, 3);
	assert_int_equal(spooled().last, 2);
}

static void failures_are_repeated(void **state)
{
	(void)state;
	zr_start(&rig);
	ask("$1\r\na\r\n", "SET", "a", "1");
	spool_error = EIO;
	ask("+OK\r\n", "NSJUMP", NULL, NULL);
	/* While it cannot be spooled no further segment is closed for good: the write says so. */
	ask("-Cannot write data right now\r\n", "NSJUMP", NULL, NULL);
	assert_int_equal(spooled().segments, 0);
	spool_error = 0;
	ask("$1\r\nb\r\n", "SET", "b", "2");
	ask("+OK\r\n", "NSJUMP", NULL, NULL);
	until_spooled(3);
	assert_int_equal(zr_stop(&rig), 0);
	assert_int_equal(spooled().segments, 3);
}

/* Killed while the worker waits for the disk: the next start owes the segment. */
static void a_crash_forgets_nothing(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		zr_start(&rig);
		ask("$1\r\na\r\n", "SET", "a", "1");
		pthread_mutex_lock(&gate);
		ask("+OK\r\n", "NSJUMP", NULL, NULL);
		while (spool_syncs == 0)
			loop_run_once(&rig.loop, 10);
		(void)kill(getpid(), SIGKILL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	assert_int_equal(spooled().segments, 0);
	zr_start(&rig);
	assert_int_equal(spooled().segments, 1);
	assert_int_equal(spooled().last, 0);
	ask("$1\r\n1\r\n", "GET", "a", NULL);
	assert_int_equal(zr_stop(&rig), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(nobody_waits, setup, teardown),
		cmocka_unit_test_setup_teardown(failures_are_repeated, setup, teardown),
		cmocka_unit_test_setup_teardown(a_crash_forgets_nothing, setup, teardown),
	};

	log_level_set(LOG_LEVEL_ERR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
