/*
 * disk_gate.c: see disk_gate.h.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>

#include "core/base/clock.h"
#include "core/base/sys.h"
#include "tests/unit/support/disk_gate.h"

static struct sys_ops table;
static pthread_t looper;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t moved = PTHREAD_COND_INITIALIZER;
static bool shut, failing;
static unsigned came, let; /* who came last; who may go through although it is shut, 0: nobody */
static unsigned waiting, in_loop, synced;

static bool is_loop(void)
{
	return pthread_equal(pthread_self(), looper);
}

bool disk_gate_pass(void)
{
	unsigned number;

	if (is_loop())
		return true;
	pthread_mutex_lock(&lock);
	number = ++came;
	waiting++;
	while (shut && let != number)
		pthread_cond_wait(&moved, &lock);
	waiting--;
	pthread_mutex_unlock(&lock);
	return false;
}

/* What is to become of a sync that went through. */
static bool note_sync(bool of_loop)
{
	bool fails;

	pthread_mutex_lock(&lock);
	if (of_loop && shut)
		in_loop++;
	fails = failing;
	pthread_mutex_unlock(&lock);
	return !fails;
}

static int gated_fdatasync(int fd)
{
	bool of_loop = disk_gate_pass();
	int rc;

	if (!note_sync(of_loop)) {
		errno = EIO;
		return -1;
	}
	rc = sys_real.fdatasync(fd);
	if (rc == 0 && !of_loop) {
		pthread_mutex_lock(&lock);
		synced++;
		pthread_mutex_unlock(&lock);
	}
	return rc;
}

static void set_shut(bool to)
{
	pthread_mutex_lock(&lock);
	shut = to;
	pthread_cond_broadcast(&moved);
	pthread_mutex_unlock(&lock);
}

static unsigned look_at(const unsigned *count)
{
	unsigned n;

	pthread_mutex_lock(&lock);
	n = *count;
	pthread_mutex_unlock(&lock);
	return n;
}

void disk_gate_begin(void)
{
	looper = pthread_self();
	shut = failing = false;
	came = let = waiting = in_loop = synced = 0;
	table = sys_real;
	table.fdatasync = gated_fdatasync;
	sys = &table;
}

void disk_gate_end(void)
{
	disk_gate_open();
	sys = &sys_real;
}

void disk_gate_shut(void)
{
	set_shut(true);
}

void disk_gate_open(void)
{
	set_shut(false);
}

void disk_gate_let_last(void)
{
	pthread_mutex_lock(&lock);
	let = came;
	pthread_cond_broadcast(&moved);
	pthread_mutex_unlock(&lock);
}

void disk_gate_fail_syncs(bool yes)
{
	pthread_mutex_lock(&lock);
	failing = yes;
	pthread_mutex_unlock(&lock);
}

static unsigned waiting_now(void)
{
	return look_at(&waiting);
}

unsigned disk_gate_in_loop(void)
{
	return look_at(&in_loop);
}

unsigned disk_gate_synced(void)
{
	return look_at(&synced);
}

void disk_gate_wait(struct zr *r, unsigned count)
{
	uint64_t deadline = clock_deadline(ZR_LIMIT_MS);

	while (waiting_now() < count) {
		assert_true(clock_left_ms(deadline) > 0);
		loop_run_once(&r->loop, 10);
	}
	zr_quiet(r);
}
