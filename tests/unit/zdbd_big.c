/*
 * Big values from and to many clients at once, while segments rotate and clients vanish: each byte of each reply is the right one, in
 * the right order, over both kinds of sockets, whether segments are mapped or not; and what was answered is there, for the next
 * request, for others, and after a restart.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "core/base/sys.h"
#include "core/base/worker.h"
#include "tests/unit/support/zdbd_rig.h"

#define KEYS      24u
#define STAMP     12u /* "kkkk vvvvvv " before the bytes of a value */
#define SIZE_MIN  60000u
#define SIZE_MAX_ 400000u
#define READERS   6u
#define ROUNDS    60u
#define AHEAD     4u /* requests of one pipeline */
#define WRITES    120u
#define WRITERS   6u

static struct zr rig;
static atomic_uint mapped; /* maps that were made */
static atomic_uint flown;  /* writes by other threads than the loop's */
static atomic_bool gate;   /* those stand before their first byte while it is closed */
static atomic_bool broken; /* those fail */
static atomic_bool chilly; /* of many values it is said that they are not in the page cache */
static atomic_uint dice;

/* ---------------------------------------------------------------------------------------------------- the values */

/* Each key has a size of its own, around what is copied, sent from memory, and left in its file. */
static size_t size_of(unsigned key)
{
	return SIZE_MIN + key * (SIZE_MAX_ - SIZE_MIN) / KEYS;
}

/* Byte i of a version of a key. */
static uint8_t byte_of(unsigned key, unsigned version, size_t i)
{
	uint32_t x = (uint32_t)i / 8 * 2654435761u + key * 40503u + version * 9973u;

	return (uint8_t)(x >> 13 ^ x >> 24 ^ i);
}

static void make(unsigned key, unsigned version, char *to)
{
	snprintf(to, STAMP + 1, "%04u %06u ", key, version);
	for (size_t i = STAMP; i < size_of(key); i++)
		to[i] = (char)byte_of(key, version, i);
}

/* ---------------------------------------------------------------------------------------------------- a client */

struct peer {
	int fd;
	char *in; /* of a value */
};

static int connect_tcp(void)
{
	struct sockaddr_in in = {.sin_family = AF_INET,
				 .sin_port = htons(zdbd_port(rig.server)),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	return fd;
}

static void peer_open(struct peer *p, bool tcp)
{
	const struct timeval limit = {.tv_sec = ZR_LIMIT_MS / 1000};

	p->fd = tcp ? connect_tcp() : zr_connect(&rig);
	setsockopt(p->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	p->in = malloc(SIZE_MAX_ + 64);
	assert_non_null(p->in);
}

static void peer_close(struct peer *p)
{
	close(p->fd);
	free(p->in);
}

static bool send_all(struct peer *p, const char *bytes, size_t size)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = send(p->fd, bytes + done, size - done, MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		done += (size_t)n;
	}
	return true;
}

static bool ask(struct peer *p, unsigned key)
{
	char request[64];
	int n = snprintf(request, sizeof(request), "*2\r\n$3\r\nGET\r\n$5\r\nk%04u\r\n", key);

	return send_all(p, request, (size_t)n);
}

static bool take(struct peer *p, size_t size)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = recv(p->fd, p->in + done, size - done, 0);

		if (n <= 0)
			return false;
		done += (size_t)n;
	}
	return true;
}

static bool line(struct peer *p, char *to, size_t size)
{
	size_t n = 0;

	while (n + 1 < size && recv(p->fd, to + n, 1, 0) == 1)
		if (to[n++] == '\n') {
			to[n] = '\0';
			return true;
		}
	return false;
}

/* The version of the key that comes; -1: something else does. */
static int answer(struct peer *p, unsigned key)
{
	char head[32], want[32];
	unsigned got, version;
	size_t i;

	snprintf(want, sizeof(want), "$%zu\r\n", size_of(key));
	if (!line(p, head, sizeof(head)) || strcmp(head, want) != 0 || !take(p, size_of(key) + 2))
		return -1;
	if (sscanf(p->in, "%4u %6u ", &got, &version) != 2 || got != key)
		return -1;
	for (i = STAMP; i < size_of(key) && (uint8_t)p->in[i] == byte_of(key, version, i); i++)
		;
	if (i < size_of(key) || memcmp(p->in + i, "\r\n", 2) != 0)
		return -1;
	return (int)version;
}

static bool send_put(struct peer *p, unsigned key, unsigned version)
{
	char head[80];
	int n = snprintf(head, sizeof(head), "*3\r\n$3\r\nSET\r\n$5\r\nk%04u\r\n$%zu\r\n", key, size_of(key));

	make(key, version, p->in);
	memcpy(p->in + size_of(key), "\r\n", 2);
	return send_all(p, head, (size_t)n) && send_all(p, p->in, size_of(key) + 2);
}

static bool put(struct peer *p, unsigned key, unsigned version)
{
	char reply[32];

	return send_put(p, key, version) && line(p, reply, sizeof(reply)) && reply[0] == '$' &&
	       line(p, reply, sizeof(reply));
}

static bool send_words(struct peer *p, const char *words)
{
	char request[200], body[160] = "";
	const char *at = words;
	unsigned count = 0;
	int n;

	while (*at) {
		size_t len = strcspn(at, " "), have = strlen(body);

		snprintf(body + have, sizeof(body) - have, "$%zu\r\n%.*s\r\n", len, (int)len, at);
		at += len + (at[len] == ' ');
		count++;
	}
	n = snprintf(request, sizeof(request), "*%u\r\n%s", count, body);
	return send_all(p, request, (size_t)n);
}

/* Sends words, and takes the first line of the reply. */
static bool command(struct peer *p, const char *words, char *reply, size_t size)
{
	return send_words(p, words) && line(p, reply, size);
}

/* --------------------------------------------------------------------------------------------------- the players */

static atomic_uint written[KEYS]; /* versions that were answered */
static atomic_uint wrong;
static atomic_bool over;

struct player {
	pthread_t thread;
	unsigned number;
	uint32_t random;
};

static uint32_t chance(struct player *r)
{
	r->random = r->random * 1664525u + 1013904223u;
	return r->random >> 8;
}

static void *reader(void *arg)
{
	struct player *r = arg;
	struct peer p;

	peer_open(&p, r->number % 2);
	for (unsigned round = 0; round < ROUNDS; round++) {
		unsigned keys[AHEAD], least[AHEAD], count = 1 + chance(r) % AHEAD;

		for (unsigned i = 0; i < count; i++) {
			keys[i] = chance(r) % KEYS;
			least[i] = atomic_load(&written[keys[i]]);
			if (!ask(&p, keys[i]))
				atomic_fetch_add(&wrong, 1);
		}
		for (unsigned i = 0; i < count; i++)
			if (answer(&p, keys[i]) < (int)least[i])
				atomic_fetch_add(&wrong, 1);
	}
	peer_close(&p);
	return NULL;
}

/* Asks, takes a part of the reply, goes, and comes back at once as somebody who asks for something else. */
static void *quitter(void *arg)
{
	const struct linger reset = {.l_onoff = 1};
	struct player *r = arg;
	struct peer p;

	for (unsigned round = 0; round < ROUNDS; round++) {
		unsigned key = chance(r) % KEYS;

		peer_open(&p, r->number % 2);
		for (unsigned i = 0; i < AHEAD; i++)
			(void)ask(&p, chance(r) % KEYS);
		if (chance(r) % 2)
			(void)take(&p, chance(r) % SIZE_MIN);
		if (chance(r) % 2)
			setsockopt(p.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		peer_close(&p);
		peer_open(&p, r->number % 2);
		if (!ask(&p, key) || answer(&p, key) < 0)
			atomic_fetch_add(&wrong, 1);
		peer_close(&p);
	}
	return NULL;
}

static void *writer(void *arg)
{
	struct player *r = arg;
	struct peer p;

	peer_open(&p, r->number % 2);
	for (unsigned i = 0; i < WRITES && !atomic_load(&over); i++) {
		unsigned key = chance(r) % KEYS, version = atomic_load(&written[key]) + 1;

		if (!put(&p, key, version))
			atomic_fetch_add(&wrong, 1);
		atomic_store(&written[key], version);
	}
	peer_close(&p);
	return NULL;
}

/* A part of a request, and nobody. */
static void vanish(struct player *r)
{
	unsigned key = r->number;
	char head[80];
	struct peer p;
	int n = snprintf(head, sizeof(head), "*3\r\n$3\r\nSET\r\n$5\r\nk%04u\r\n$%zu\r\n", key, size_of(key));

	peer_open(&p, r->number % 2);
	make(key, 999999, p.in);
	(void)(send_all(&p, head, (size_t)n) && send_all(&p, p.in, chance(r) % size_of(key)));
	peer_close(&p);
}

/* Has keys of its own, and reads what it has just written, in one pipeline. */
static void *owner(void *arg)
{
	struct player *r = arg;
	char text[64];
	struct peer p;
	unsigned count = KEYS / WRITERS;

	peer_open(&p, r->number % 2);
	for (unsigned i = 0; i < WRITES / 2; i++) {
		unsigned key = r->number + chance(r) % count * WRITERS,
			 version = atomic_load(&written[key]) + 1;

		if (!put(&p, key, version))
			atomic_fetch_add(&wrong, 1);
		atomic_store(&written[key], version);
		if (!ask(&p, key) || answer(&p, key) != (int)version)
			atomic_fetch_add(&wrong, 1);
		if (chance(r) % 16 == 0 && (!command(&p, "SYNC", text, sizeof(text)) || text[0] != '+'))
			atomic_fetch_add(&wrong, 1);
		if (chance(r) % 8 == 0)
			vanish(r);
	}
	peer_close(&p);
	return NULL;
}

static void all_as_written(void)
{
	struct peer p;

	peer_open(&p, false);
	for (unsigned key = 0; key < KEYS; key++) {
		assert_true(ask(&p, key));
		assert_int_equal(answer(&p, key), atomic_load(&written[key]));
	}
	peer_close(&p);
}

static void play(void)
{
	void *(*const kinds[])(void *) = {writer, reader, reader, quitter};
	struct player players[READERS * 2 + 1];
	struct peer p;

	atomic_store(&wrong, 0);
	atomic_store(&over, false);
	zr_run(&rig);
	peer_open(&p, false);
	for (unsigned key = 0; key < KEYS; key++) {
		atomic_store(&written[key], 1);
		assert_true(put(&p, key, 1));
	}
	for (unsigned i = 0; i <= READERS * 2; i++) {
		players[i] = (struct player){.number = i, .random = i * 7919u + 1};
		assert_int_equal(
			pthread_create(&players[i].thread, NULL, kinds[i == 0 ? 0 : 1 + i % 3], &players[i]),
			0);
	}
	for (unsigned i = 1; i <= READERS * 2; i++)
		pthread_join(players[i].thread, NULL);
	atomic_store(&over, true);
	pthread_join(players[0].thread, NULL);
	assert_int_equal(atomic_load(&wrong), 0);
	peer_close(&p);
	all_as_written();
	assert_int_equal(zr_halt(&rig), 0);
}

/* --------------------------------------------------------------------------------------------------------- tests */

static struct sys_ops table;

static void *counted_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
	atomic_fetch_add(&mapped, 1);
	return sys_real.mmap(addr, len, prot, flags, fd, off);
}

static bool is_cold(void)
{
	return atomic_load(&chilly) && atomic_fetch_add(&dice, 1) * 2654435761u >> 30 == 0;
}

static ssize_t chilly_preadv2(int fd, const struct iovec *iov, int count, off_t off, int flags)
{
	if (flags == RWF_NOWAIT && is_cold()) {
		errno = EAGAIN;
		return -1;
	}
	return sys_real.preadv2(fd, iov, count, off, 0);
}

static int chilly_mincore(void *addr, size_t size, unsigned char *pages)
{
	int rc = sys_real.mincore(addr, size, pages);

	if (rc == 0 && is_cold())
		pages[size / 8192] = 0;
	return rc;
}

static ssize_t watched_pwritev2(int fd, const struct iovec *iov, int count, off_t off, int flags)
{
	if (!pthread_equal(pthread_self(), rig.thread)) {
		atomic_fetch_add(&flown, 1);
		while (atomic_load(&gate))
			usleep(1000);
		if (atomic_load(&broken)) {
			errno = EIO;
			return -1;
		}
	}
	return sys_real.pwritev2(fd, iov, count, off, flags);
}

static int setup(void **state)
{
	(void)state;
	signal(SIGPIPE, SIG_IGN); /* as the server does: sendfile knows no flag against it */
	table = sys_real;
	table.mmap = counted_mmap;
	table.pwritev2 = watched_pwritev2;
	table.preadv2 = chilly_preadv2;
	table.mincore = chilly_mincore;
	sys = &table;
	atomic_store(&mapped, 0);
	atomic_store(&flown, 0);
	atomic_store(&gate, false);
	atomic_store(&broken, false);
	atomic_store(&chilly, false);
	zr_setup(&rig);
	rig.opt.listen = "127.0.0.1";
	rig.opt.datasize = 2u << 20;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	zr_teardown(&rig);
	sys = &sys_real;
	return 0;
}

static void with_maps(void **state)
{
	(void)state;
	play();
	assert_true(atomic_load(&mapped) > 0);
}

static void often_cold(void **state)
{
	(void)state;
	atomic_store(&chilly, true);
	play();
	assert_true(atomic_load(&dice) > 100);
}

static void without_maps(void **state)
{
	(void)state;
	rig.opt.map_max = 1;
	play();
	assert_int_equal(atomic_load(&mapped), 0);
}

static void with_few_maps(void **state)
{
	(void)state;
	rig.opt.map_max = 5u << 20;
	play();
	assert_true(atomic_load(&mapped) > 0);
}

/* A segment that somebody cuts under its map: errors, one by one, and nobody else notices. */
static void cut_under_map(void **state)
{
	char path[200], text[64];
	struct peer p;
	int fd;

	(void)state;
	zr_run(&rig);
	peer_open(&p, true);
	for (unsigned key = KEYS - 8; key < KEYS; key++)
		assert_true(put(&p, key, 1)); /* the first of them lie in d0 */
	for (unsigned key = KEYS - 8; key < KEYS; key++) {
		assert_true(ask(&p, key));
		assert_int_equal(answer(&p, key), 1);
	}
	assert_true(atomic_load(&mapped) > 0);
	snprintf(path, sizeof(path), "%s/default/d0", rig.data);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 4096), 0);
	close(fd);
	for (unsigned i = 0; i < 40; i++)
		assert_true(ask(&p, i % 2 ? KEYS - 1 : KEYS - 8));
	for (unsigned i = 0; i < 40; i++) {
		if (i % 2) {
			assert_int_equal(answer(&p, KEYS - 1), 1);
		} else {
			assert_true(line(&p, text, sizeof(text)));
			assert_string_equal(text, "-Internal Error\r\n");
		}
	}
	peer_close(&p);
	(void)zr_halt(&rig);
}

static void written_by_many(void **state)
{
	struct player players[WRITERS];

	(void)state;
	atomic_store(&wrong, 0);
	for (unsigned key = 0; key < KEYS; key++)
		atomic_store(&written[key], 0);
	zr_run(&rig);
	for (unsigned i = 0; i < WRITERS; i++) {
		players[i] = (struct player){.number = i, .random = i * 104729u + 1};
		assert_int_equal(pthread_create(&players[i].thread, NULL, owner, &players[i]), 0);
	}
	for (unsigned i = 0; i < WRITERS; i++)
		pthread_join(players[i].thread, NULL);
	assert_int_equal(atomic_load(&wrong), 0);
	all_as_written();
	assert_int_equal(atomic_load(&flown) > 0, worker_cpu_count() > 1);
	assert_int_equal(zr_halt(&rig), 0);
	zr_run(&rig);
	all_as_written();
	assert_int_equal(zr_halt(&rig), 0);
}

static void expect(struct peer *p, const char *words, const char *want)
{
	char text[64];

	assert_true(command(p, words, text, sizeof(text)));
	assert_string_equal(text, want);
}

/* A flight that cannot land: no answer to who waits for it, and no write any more; other namespaces go on. */
static void write_fails(void **state)
{
	unsigned key = KEYS - 1;
	struct peer p;

	(void)state;
	if (worker_cpu_count() == 1)
		skip(); /* nobody else writes */
	zr_run(&rig);
	peer_open(&p, false);
	assert_true(put(&p, key, 1));
	expect(&p, "SYNC", "+OK\r\n");
	atomic_store(&broken, true);
	assert_false(put(&p, key, 2));
	peer_close(&p);
	atomic_store(&broken, false);
	peer_open(&p, false);
	expect(&p, "SET k v", "-Cannot write data right now\r\n");
	expect(&p, "NSNEW other", "+OK\r\n");
	expect(&p, "SELECT other", "+OK\r\n");
	assert_true(put(&p, key, 3));
	assert_true(ask(&p, key));
	assert_int_equal(answer(&p, key), 3);
	peer_close(&p);
	(void)zr_halt(&rig);
	zr_run(&rig);
	peer_open(&p, false);
	assert_true(ask(&p, key));
	assert_int_equal(answer(&p, key), 1);
	peer_close(&p);
	assert_int_equal(zr_halt(&rig), 0);
}

#define TOLD 5u

static bool all_silent(const struct peer *peers)
{
	struct pollfd f[TOLD];

	for (unsigned i = 0; i < TOLD; i++)
		f[i] = (struct pollfd){.fd = peers[i].fd, .events = POLLIN};
	return poll(f, TOLD, 300) == 0;
}

static void expect_line(struct peer *p, const char *want)
{
	char text[64];

	assert_true(line(p, text, sizeof(text)));
	assert_string_equal(text, want);
}

/*
 * A kill now would take back what is on its flight: who is told that it is so already waits with those who wrote it, and so does who
 * keeps it elsewhere.  Who only reads does not.
 */
static void told_when_landed(void **state)
{
	enum { SETS, DELETES, SETS_SAME, DELETES_SAME, FOLLOWS };
	unsigned key = KEYS - 1, before;
	struct peer peers[TOLD], reader;
	char text[64];

	(void)state;
	if (worker_cpu_count() == 1)
		skip(); /* nobody else writes */
	rig.opt.datasize = 64u << 20;
	zr_run(&rig);
	for (unsigned i = 0; i < TOLD; i++)
		peer_open(&peers[i], false);
	peer_open(&reader, false);
	assert_true(command(&reader, "SET gone value", text, sizeof(text)));
	expect_line(&reader, "gone\r\n");
	before = atomic_load(&flown);
	atomic_store(&gate, true);
	assert_true(send_put(&peers[SETS], key, 1));
	while (atomic_load(&flown) == before)
		usleep(1000);
	assert_true(send_words(&peers[DELETES], "DEL gone"));
	do /* until it has been carried out */
		assert_true(command(&reader, "EXISTS gone", text, sizeof(text)));
	while (strcmp(text, ":0\r\n") != 0);
	assert_true(send_put(&peers[SETS_SAME], key, 1));
	assert_true(send_words(&peers[DELETES_SAME], "DEL gone"));
	assert_true(send_words(&peers[FOLLOWS], "DATA RAW 0 55")); /* behind "gone" */
	assert_true(all_silent(peers));
	atomic_store(&gate, false);
	expect_line(&peers[SETS], "$5\r\n");
	expect_line(&peers[DELETES], "+OK\r\n");
	expect_line(&peers[SETS_SAME], "$-1\r\n");
	expect_line(&peers[DELETES_SAME], "-Key not found\r\n");
	expect_line(&peers[FOLLOWS], "*6\r\n");
	for (unsigned i = 0; i < TOLD; i++)
		peer_close(&peers[i]);
	peer_close(&reader);
	assert_int_equal(zr_halt(&rig), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(with_maps, setup, teardown),
		cmocka_unit_test_setup_teardown(often_cold, setup, teardown),
		cmocka_unit_test_setup_teardown(without_maps, setup, teardown),
		cmocka_unit_test_setup_teardown(with_few_maps, setup, teardown),
		cmocka_unit_test_setup_teardown(cut_under_map, setup, teardown),
		cmocka_unit_test_setup_teardown(written_by_many, setup, teardown),
		cmocka_unit_test_setup_teardown(write_fails, setup, teardown),
		cmocka_unit_test_setup_teardown(told_when_landed, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
