/*
 * NSDEL and FLUSH of what is stored: the stores are told of what was done, and of nothing else, whatever fails or stops in between.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/str.h"
#include "core/base/sys.h"
#include "core/net/resp.h"
#include "core/spool/spool.h"
#include "tests/unit/support/zdbd_peer.h"

static struct sys_ops table;
static struct zr rig;
static pthread_t looper;
static unsigned fsyncs, fail_from;                       /* those of the spool; 0 = none fails */
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER; /* held: a proof does not get to its file */

static int failing_fsync(int fd)
{
	char link[40], path[200];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	path[n < 0 ? 0 : n] = '\0';
	if (str_starts(path, rig.spool) && ++fsyncs >= fail_from && fail_from) {
		errno = EIO;
		return -1;
	}
	return sys_real.fsync(fd);
}

static ssize_t gated_pread(int fd, void *buf, size_t size, off_t at)
{
	if (!pthread_equal(pthread_self(), looper)) {
		pthread_mutex_lock(&gate);
		pthread_mutex_unlock(&gate);
	}
	return sys_real.pread(fd, buf, size, at);
}

static int setup(void **state)
{
	(void)state;
	table = sys_real;
	table.fsync = failing_fsync;
	table.pread = gated_pread;
	sys = &table;
	looper = pthread_self();
	fsyncs = fail_from = 0;
	zr_setup(&rig);
	rig.opt.spool_dir = rig.spool;
	zr_start(&rig);
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

/* A request of up to four words. */
static void send_four(struct peer *p, const char *a, const char *b, const char *c, const char *d)
{
	struct buf out = BUF_INIT(4096);

	assert_int_equal(resp_put_words(&out, a, b, b ? c : NULL, c ? d : NULL, NULL), 0);
	assert_int_equal(write(p->fd, out.data, out.len), (ssize_t)out.len);
	buf_release(&out);
}

static void ask(struct peer *p, const char *want, const char *a, const char *b, const char *c, const char *d)
{
	send_four(p, a, b, c, d);
	peers_expect(p, 1, want);
}

/* A private namespace with one record. */
static void make(struct peer *p, const char *ns)
{
	ask(p, "+OK\r\n", "NSNEW", ns, NULL, NULL);
	ask(p, "+OK\r\n", "NSSET", ns, "password", "p");
	ask(p, "+OK\r\n", "NSSET", ns, "public", "0");
	ask(p, "+OK\r\n", "SELECT", ns, "p", NULL);
	ask(p, "$1\r\na\r\n", "SET", "a", "1", NULL);
	ask(p, "+OK\r\n", "SELECT", "default", NULL, NULL);
}

struct seen {
	const char *ns;
	bool is_dropping, is_dropped;
	uint64_t dropped_seq, made_seq;
};

static int see(void *ctx, const struct spool_intent *in)
{
	struct seen *s = ctx;

	if (strcmp(in->ns, s->ns) != 0)
		return 0;
	s->is_dropping |= in->kind == SPOOL_DROPPING;
	s->is_dropped |= in->kind == SPOOL_NSDROP;
	if (in->kind == SPOOL_NSDROP)
		s->dropped_seq = in->seq;
	if (in->kind == SPOOL_DESCRIPTOR)
		s->made_seq = in->seq;
	return 0;
}

static struct seen told(const char *ns)
{
	struct seen s = {.ns = ns};
	struct spool *sp;

	assert_int_equal(spool_open(rig.spool, SPOOL_RDONLY, &sp), 0);
	assert_int_equal(spool_list(sp, see, &s), 0);
	spool_close(sp);
	return s;
}

static void put_dropping(const char *ns)
{
	struct spool_intent in = {.kind = SPOOL_DROPPING};
	struct spool *sp;

	str_copy(in.ns, sizeof(in.ns), ns);
	assert_int_equal(spool_open(rig.spool, 0, &sp), 0);
	assert_int_equal(spool_put(sp, &in, NULL, 0), 0);
	spool_close(sp);
}

static void path_of(char path[200], const char *root, const char *ns, const char *name)
{
	snprintf(path, 200, "%s/%s/%s", root, ns, name);
}

static void what_is_done_is_told(void **state)
{
	struct peer p;

	(void)state;
	peer_open(&p, &rig);
	make(&p, "x");
	make(&p, "y");
	ask(&p, "+OK\r\n", "NSDEL", "x", NULL, NULL);
	assert_true(told("x").is_dropped && !told("x").is_dropping);
	assert_false(told("y").is_dropped);
	ask(&p, "+OK\r\n", "SELECT", "y", "p", NULL);
	ask(&p, "+OK\r\n", "FLUSH", NULL, NULL, NULL);
	assert_true(told("y").is_dropped && !told("y").is_dropping);
	peer_close(&p);
	assert_int_equal(zr_stop(&rig), 0);
}

/* What cannot be read cannot be emptied; the stores keep it. It can be deleted. */
static void what_is_refused_is_not_told(void **state)
{
	char d0[200];
	struct peer p;

	(void)state;
	peer_open(&p, &rig);
	make(&p, "x");
	ask(&p, "+OK\r\n", "SELECT", "x", "p", NULL);
	path_of(d0, rig.data, "x", "d0");
	assert_int_equal(unlink(d0), 0);
	ask(&p, "-Internal Error\r\n", "RELOAD", "x", NULL, NULL);
	ask(&p, "-Internal Error\r\n", "FLUSH", NULL, NULL, NULL);
	assert_false(told("x").is_dropped || told("x").is_dropping);
	ask(&p, "-Namespace x is not available\r\n", "CUT", NULL, NULL, NULL);
	ask(&p, "+OK\r\n", "SELECT", "default", NULL, NULL);
	ask(&p, "+OK\r\n", "NSDEL", "x", NULL, NULL);
	assert_true(told("x").is_dropped && !told("x").is_dropping);
	peer_close(&p);
	assert_int_equal(zr_stop(&rig), 0);
}

/* A proof of an EVICT is on its way: who deletes waits for it. */
static void deleting_waits_for_a_proof(void **state)
{
	struct peer p, q, busy;

	(void)state;
	peer_open(&p, &rig);
	peer_open(&q, &rig);
	peer_open(&busy, &rig);
	make(&p, "x");
	ask(&p, "+OK\r\n", "SELECT", "x", "p", NULL);
	ask(&p, "+OK\r\n", "NSJUMP", NULL, NULL, NULL);
	ask(&p, "+OK\r\n", "SYNC", "INDEX", NULL, NULL);
	ask(&p, "+OK\r\n", "SELECT", "default", NULL, NULL);
	pthread_mutex_lock(&gate);
	send_four(&p, "EVICT", "x", "0", "b2:00000000000000000000000000000000");
	peer_settle(&busy);
	send_four(&q, "NSDEL", "x", NULL, NULL);
	peer_settle(&busy);
	assert_false(told("x").is_dropped || told("x").is_dropping);
	pthread_mutex_unlock(&gate);
	peers_expect(&p, 1, "-Proof does not match\r\n");
	peers_expect(&q, 1, "+OK\r\n");
	assert_true(told("x").is_dropped);
	peer_close(&p);
	peer_close(&q);
	peer_close(&busy);
	assert_int_equal(zr_stop(&rig), 0);
}

/* Stopped in between: what still holds records was not dropped, what is empty or gone was. */
static void a_start_settles_it(void **state)
{
	char descriptor[200], version;
	struct peer p;
	int fd;

	(void)state;
	peer_open(&p, &rig);
	make(&p, "full");
	make(&p, "damaged");
	ask(&p, "+OK\r\n", "NSNEW", "empty", NULL, NULL);
	peer_close(&p);
	assert_int_equal(zr_stop(&rig), 0);
	put_dropping("full");
	put_dropping("empty");
	put_dropping("gone");
	put_dropping("damaged");
	path_of(descriptor, rig.index, "damaged", "zdb-namespace");
	fd = open(descriptor, O_RDWR);
	assert_int_equal(pread(fd, &version, 1, 0), 1);
	assert_int_equal(pwrite(fd, "\377", 1, 0), 1);
	zr_start(&rig);
	assert_false(told("full").is_dropped || told("full").is_dropping);
	assert_true(told("empty").is_dropped && !told("empty").is_dropping);
	assert_true(told("gone").is_dropped && !told("gone").is_dropping);
	assert_true(!told("damaged").is_dropped && told("damaged").is_dropping);
	peer_open(&p, &rig);
	ask(&p, "-Namespace damaged is not available\r\n", "CUT", NULL, NULL, NULL);
	peer_close(&p);
	assert_int_equal(zr_stop(&rig), 0);
	assert_int_equal(pwrite(fd, &version, 1, 0), 1);
	close(fd);
	zr_start(&rig);
	assert_false(told("damaged").is_dropped || told("damaged").is_dropping);
	assert_int_equal(zr_stop(&rig), 0);
}

/* It is done, and the spool does not take that: no number may mean something else before it does. */
static void a_failed_spool_holds_it_back(void **state)
{
	struct peer p;

	(void)state;
	peer_open(&p, &rig);
	make(&p, "x");
	make(&p, "y");
	ask(&p, "+OK\r\n", "SELECT", "x", "p", NULL);
	fsyncs = 0;
	fail_from = 1;
	ask(&p, "-Internal Error\r\n", "FLUSH", NULL, NULL, NULL); /* not begun */
	ask(&p, "$1\r\n1\r\n", "GET", "a", NULL, NULL);
	assert_false(told("x").is_dropped || told("x").is_dropping);
	fsyncs = 0;
	fail_from = 3; /* behind the file and the directory of `dropping` */
	ask(&p, "-Internal Error\r\n", "FLUSH", NULL, NULL, NULL);
	fail_from = 0;
	assert_true(!told("x").is_dropped && told("x").is_dropping);
	ask(&p, "-Namespace is temporarily locked (read-only)\r\n", "SET", "a", "2", NULL);
	ask(&p, "+OK\r\n", "SELECT", "default", NULL, NULL);
	fsyncs = 0;
	fail_from = 3;
	ask(&p, "-Could not delete this namespace\r\n", "NSDEL", "y", NULL, NULL);
	fsyncs = 0;
	fail_from = 1;
	ask(&p, "-Could not create namespace\r\n", "NSNEW", "y", NULL, NULL);
	fail_from = 0;
	assert_true(!told("y").is_dropped && told("y").is_dropping);
	ask(&p, "+OK\r\n", "NSNEW", "y", NULL, NULL);
	assert_true(told("y").is_dropped && !told("y").is_dropping);
	assert_true(told("y").dropped_seq < told("y").made_seq);
	peer_close(&p);
	assert_int_equal(zr_stop(&rig), 0);
	zr_start(&rig);
	assert_true(told("x").is_dropped && !told("x").is_dropping);
	assert_int_equal(zr_stop(&rig), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_is_done_is_told, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_refused_is_not_told, setup, teardown),
		cmocka_unit_test_setup_teardown(deleting_waits_for_a_proof, setup, teardown),
		cmocka_unit_test_setup_teardown(a_start_settles_it, setup, teardown),
		cmocka_unit_test_setup_teardown(a_failed_spool_holds_it_back, setup, teardown),
	};

	return cmocka_run_group_tests_name("zdbd_drops", tests, NULL, NULL);
}
