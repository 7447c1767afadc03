/*
 * A large value that is on the disk and not in memory, seen from the sockets: who asked for it waits for the disk, and nobody else does.
 *
 * The disk is a gate: reading ahead does not return while it is shut. What the loop reads of data files is counted.
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
#include <fcntl.h>
#include <unistd.h>

#include "core/base/sys.h"
#include "core/base/worker.h"
#include "tests/unit/support/disk_gate.h"
#include "tests/unit/support/zdbd_peer.h"

#define LARGE 300000u

static struct sys_ops table;
static struct zr rig;
static bool cold, tells;
static unsigned in_loop; /* payloads that the loop went to the disk for */

static ssize_t cold_preadv2(int fd, const struct iovec *iov, int count, off_t off, int flags)
{
	if (flags == RWF_NOWAIT && !tells) {
		errno = EOPNOTSUPP;
		return -1;
	}
	if (flags == RWF_NOWAIT && cold) {
		errno = EAGAIN;
		return -1;
	}
	return sys_real.preadv2(fd, iov, count, off, 0);
}

static int cold_mincore(void *addr, size_t size, unsigned char *pages)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	(void)addr;
	memset(pages, !cold, (size + page - 1) / page);
	return 0;
}

static int gated_fadvise(int fd, off_t off, off_t size, int advice)
{
	if (advice == POSIX_FADV_WILLNEED && disk_gate_pass())
		in_loop++;
	return sys_real.posix_fadvise(fd, off, size, advice);
}

static int setup(void **state)
{
	(void)state;
	disk_gate_begin();
	table = sys_real; /* only reading ahead stands at the gate */
	table.preadv2 = cold_preadv2;
	table.mincore = cold_mincore;
	table.posix_fadvise = gated_fadvise;
	sys = &table;
	cold = false;
	tells = true;
	in_loop = 0;
	zr_setup(&rig);
	rig.opt.datasize = 64u << 20;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	disk_gate_end();
	zr_teardown(&rig);
	return 0;
}

/* The reply to a GET of a key. */
static void expect_large(struct peer *p, const char *key)
{
	char *text = malloc(LARGE + 32);
	int head;

	assert_non_null(text);
	head = snprintf(text, 32, "$%u\r\n", LARGE);
	memset(text + head, key[0], LARGE);
	memcpy(text + head + LARGE, "\r\n", 3);
	peers_expect(p, 1, text);
	free(text);
}

/* Two large values, each read once, so that they are expected. */
static void start(struct peer *p, size_t count)
{
	zr_start(&rig);
	for (size_t i = 0; i < count; i++)
		peer_open(&p[i], &rig);
	peer_send_value(p, "a", LARGE);
	peers_expect(p, 1, "$1\r\na\r\n");
	peer_send_value(p, "b", LARGE);
	peers_expect(p, 1, "$1\r\nb\r\n");
	peer_send(p, "NSJUMP", NULL, NULL); /* they leave our memory */
	peers_expect(p, 1, "+OK\r\n");
	peer_send(p, "GET", "a", NULL);
	expect_large(p, "a");
}

static void only_its_reader_waits(void **state)
{
	struct peer p[3];

	(void)state;
	if (worker_cpu_count() == 1)
		skip(); /* nobody else reads */
	start(p, 3);
	cold = true;
	disk_gate_shut();
	peer_send(&p[0], "GET", "a", NULL);
	peer_send(&p[1], "GET", "b", NULL);
	disk_gate_wait(&rig, 2);
	cold = false; /* of the others everything is in memory */
	peer_send(&p[2], "GET", "a", NULL);
	expect_large(&p[2], "a");
	peer_has_no_answer(&p[0]);
	peer_has_no_answer(&p[1]);
	disk_gate_open();
	expect_large(&p[0], "a");
	expect_large(&p[1], "b");
	assert_int_equal(in_loop, 0);
	peers_end(p, 3);
}

/* Who goes away meanwhile costs nothing. */
static void who_leaves(void **state)
{
	struct peer p[2];

	(void)state;
	if (worker_cpu_count() == 1)
		skip(); /* nobody else reads */
	start(p, 2);
	cold = true;
	disk_gate_shut();
	peer_send(&p[1], "GET", "a", NULL);
	disk_gate_wait(&rig, 1);
	peer_close(&p[1]);
	peer_settle(&p[0]);
	disk_gate_open();
	cold = false;
	peer_send(&p[0], "GET", "a", NULL);
	expect_large(&p[0], "a");
	peers_end(p, 1);
}

/* Nobody can tell what is in memory: all goes on, as it can. */
static void nobody_tells(void **state)
{
	struct peer p[1];

	(void)state;
	start(p, 1);
	tells = false;
	for (unsigned i = 0; i < 4; i++) {
		peer_send(p, "GET", i % 2 ? "a" : "b", NULL);
		expect_large(p, i % 2 ? "a" : "b");
	}
	peers_end(p, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(only_its_reader_waits, setup, teardown),
		cmocka_unit_test_setup_teardown(who_leaves, setup, teardown),
		cmocka_unit_test_setup_teardown(nobody_tells, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
