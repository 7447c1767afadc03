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
#include "core/base/endian.h"
#include "core/base/file.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/sys.h"
#include "core/coding/content_id.h"
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

/* One request and its reply until it is as long as `want`, the loop running meanwhile. */
static void ask_some(char got[200], const char *want, const char *a, const char *b, const char *c)
{
	struct buf out = BUF_INIT(4096);
	uint64_t deadline = clock_deadline(ZR_LIMIT_MS);
	size_t have = 0;
	int fd = zr_connect(&rig);

	assert_int_equal(resp_put_words(&out, a, b, b ? c : NULL, NULL), 0);
	assert_int_equal(send(fd, out.data, out.len, MSG_NOSIGNAL), (ssize_t)out.len);
	while (have < strlen(want)) {
		ssize_t n = recv(fd, got + have, 199 - have, MSG_DONTWAIT);

		if (n > 0) {
			have += (size_t)n;
			continue;
		}
		assert_true(clock_left_ms(deadline) > 0);
		loop_run_once(&rig.loop, 50);
	}
	buf_release(&out);
	close(fd);
}

/* SET of id 0, whose key is eight zero bytes. */
static void set_first(const char *value)
{
	char out[100] = "*3\r\n$3\r\nSET\r\n$8\r\n", got[14];
	size_t head = strlen(out), have = 0;
	int fd = zr_connect(&rig);
	int len =
		snprintf(out + head + 8, sizeof(out) - head - 8, "\r\n$%zu\r\n%s\r\n", strlen(value), value);

	assert_int_equal(send(fd, out, head + 8 + (size_t)len, MSG_NOSIGNAL),
			 (ssize_t)(head + 8 + (size_t)len));
	while (have < sizeof(got)) {
		ssize_t n = recv(fd, got + have, sizeof(got) - have, MSG_DONTWAIT);

		have += n > 0 ? (size_t)n : 0;
		loop_run_once(&rig.loop, 10);
	}
	assert_memory_equal(got, "$8\r\n\0\0\0\0\0\0\0\0\r\n", sizeof(got));
	close(fd);
}

static void ask(const char *want, const char *a, const char *b, const char *c)
{
	char got[200] = "";

	ask_some(got, want, a, b, c);
	assert_string_equal(got, want);
}

static void ask_begins(const char *want, const char *a, const char *b, const char *c)
{
	char got[200] = "";

	ask_some(got, want, a, b, c);
	assert_memory_equal(got, want, strlen(want));
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

/* ----------------------------------------------------------------------------------------------------- compaction */

struct told {
	bool has_segment; /* number 0 */
	uint64_t bundle;
	uint8_t flags, row[32];
	uint32_t rows;
};

static int see_told(void *ctx, const struct spool_intent *in)
{
	struct told *t = ctx;
	struct spool *sp;
	uint8_t *b;
	size_t len;

	if (in->kind == SPOOL_SEGMENT && in->first == 0)
		t->has_segment = true;
	if (in->kind != SPOOL_BUNDLE)
		return 0;
	assert_int_equal(spool_open(rig.spool, SPOOL_RDONLY, &sp), 0);
	assert_int_equal(spool_payload(sp, in, 1u << 20, &b, &len), 0);
	spool_close(sp);
	if (get_u32le(b + 12) > 0) {
		t->bundle = in->first;
		t->flags = in->flags;
		t->rows = get_u32le(b + 12);
		memcpy(t->row, b + 20, sizeof(t->row));
	}
	mem_free(b);
	return 0;
}

static struct told what_is_told(void)
{
	struct told t = {0};
	struct spool *sp;

	assert_int_equal(spool_open(rig.spool, SPOOL_RDONLY, &sp), 0);
	assert_int_equal(spool_list(sp, see_told, &t), 0);
	spool_close(sp);
	return t;
}

static int remove_all(void *ctx, const struct spool_intent *in)
{
	return spool_remove(ctx, in);
}

/* What zstor does when a recovery point names it all. */
static void pay_all(void)
{
	struct spool *sp;

	assert_int_equal(spool_open(rig.spool, 0, &sp), 0);
	assert_int_equal(spool_list(sp, remove_all, sp), 0);
	spool_close(sp);
}

/* Superseded values in segment 0, before others that live. */
static void fill_segment(void)
{
	ask_begins("$8\r\n", "SET", "", "more than what will be left of this segment");
	set_first("1");
	set_first("2");
	ask("+OK\r\n", "NSJUMP", NULL, NULL);
	until_spooled(1);
}

static void until_told(uint64_t bundle)
{
	uint64_t deadline = clock_deadline(ZR_LIMIT_MS);

	while (what_is_told().bundle != bundle) {
		assert_true(clock_left_ms(deadline) > 0);
		loop_run_once(&rig.loop, 50);
	}
}

/* Nothing is compacted before it is stored; what is replaced is owed anew, before the bundle that tells of it. */
static void compaction_is_told(void **state)
{
	uint8_t id[16], *data;
	char path[120];
	struct told t;
	size_t len;

	(void)state;
	rig.opt.mode = ZDB_SEQ;
	zr_start(&rig);
	fill_segment();
	ask("-No segment of this namespace is known to be stored yet\r\n", "COMPACT", "default", NULL);
	ask("-Segment is not closed\r\n", "STORED", "default", "2");
	ask("-Namespace not found\r\n", "STORED", "none", "1");
	ask("+OK\r\n", "STORED", "default", "1");
	/* What the spool still speaks of is not stored, whatever was said. */
	ask("-No segment of this namespace is known to be stored yet\r\n", "COMPACT", "default", NULL);
	pay_all();
	ask_begins("$", "COMPACT", "default", NULL);
	until_told(1);
	t = what_is_told();
	assert_int_equal(t.rows, 1);
	assert_int_equal(t.flags, SPOOL_BUNDLE_REPLACED);
	assert_true(t.has_segment);
	assert_int_equal(get_u32le(t.row), 0);
	assert_int_equal(get_u64le(t.row + 4), 0);
	snprintf(path, sizeof(path), "%s/default/d0", rig.data);
	assert_int_equal(file_read_all(path, 1u << 20, (char **)&data, &len), 0);
	memset(data + 16, 0, 8);
	content_id_of(data, len, id);
	mem_free(data);
	assert_int_equal(get_u32le(t.row + 12), len);
	assert_memory_equal(t.row + 16, id, sizeof(id));
	ask("-The compaction before is in no recovery point yet\r\n", "COMPACT", "default", NULL);
	/* Asked for once more it stays what it is; one that is lost is made without, and the next one tells. */
	ask("+OK\r\n", "SPOOL", "default", "1");
	assert_int_equal(what_is_told().bundle, 1);
	assert_int_equal(what_is_told().rows, 1);
	pay_all();
	ask("+OK\r\n", "SPOOL", "default", "1");
	until_told(2);
	ask("+OK\r\n", "STORED", "default", "2");
	pay_all();
	ask("-The compaction before is in no recovery point yet\r\n", "COMPACT", "default", NULL);
	ask("+OK\r\n", "STORED", "default", "3");
	ask_begins("$", "COMPACT", "default", NULL);
	ask("+OK\r\n", "SYNC", NULL, NULL);
	assert_int_equal(zr_stop(&rig), 0);
}

/* Killed before the bundle is in the spool: the next start makes a rotation that tells it. */
static void a_crash_tells_it_later(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	rig.opt.mode = ZDB_SEQ;
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		unsigned before;

		zr_start(&rig);
		fill_segment();
		pay_all();
		ask("+OK\r\n", "STORED", "default", "1");
		pthread_mutex_lock(&gate);
		before = spool_syncs;
		ask_begins("$", "COMPACT", "default", NULL);
		while (spool_syncs == before)
			loop_run_once(&rig.loop, 10);
		(void)kill(getpid(), SIGKILL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	assert_int_equal(what_is_told().rows, 0);
	zr_start(&rig);
	until_told(2);
	assert_int_equal(what_is_told().rows, 1);
	ask("+OK\r\n", "STORED", "default", "3");
	ask("+OK\r\n", "SYNC", NULL, NULL);
	assert_int_equal(zr_stop(&rig), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(nobody_waits, setup, teardown),
		cmocka_unit_test_setup_teardown(failures_are_repeated, setup, teardown),
		cmocka_unit_test_setup_teardown(a_crash_forgets_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(compaction_is_told, setup, teardown),
		cmocka_unit_test_setup_teardown(a_crash_tells_it_later, setup, teardown),
	};

	log_level_set(LOG_LEVEL_ERR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
