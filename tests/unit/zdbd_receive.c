/*
 * What is read behind a large request, in whatever pieces it comes: the same request again, a larger or a smaller one, several at once,
 * a few bytes and nothing for long. Each value is whole, in its place, and who sent only a few bytes keeps no large buffer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <malloc.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/clock.h"
#include "core/base/mem.h"
#include "core/net/resp.h"
#include "tests/unit/support/zdbd_rig.h"

#define LARGE 100000u

static struct zr rig;
static unsigned version;

/* -------------------------------------------------------------------------------------------------- memory in use */

static atomic_size_t held; /* bytes that the server has of the allocator */

static void *counted(void *ptr)
{
	atomic_fetch_add(&held, malloc_usable_size(ptr));
	return ptr;
}

static void *counted_alloc(size_t size)
{
	return counted(mem_table_libc.alloc(size));
}

static void *counted_zalloc(size_t size)
{
	return counted(mem_table_libc.zalloc(size));
}

static void *counted_aligned(size_t align, size_t size)
{
	return counted(mem_table_libc.aligned(align, size));
}

static void counted_free(void *ptr)
{
	atomic_fetch_sub(&held, malloc_usable_size(ptr));
	mem_table_libc.free(ptr);
}

static void *counted_realloc(void *ptr, size_t size)
{
	size_t before = malloc_usable_size(ptr);
	void *grown = mem_table_libc.realloc(ptr, size);

	if (grown != NULL)
		atomic_fetch_sub(&held, before);
	return counted(grown);
}

static const struct mem_ops counting = {
	.alloc = counted_alloc,
	.zalloc = counted_zalloc,
	.realloc = counted_realloc,
	.aligned = counted_aligned,
	.free = counted_free,
};

/* ------------------------------------------------------------------------------------------------------ a server */

static int setup(void **state)
{
	(void)state;
	signal(SIGPIPE, SIG_IGN);
	mem_table = &counting;
	zr_setup(&rig);
	zr_start(&rig);
	return 0;
}

static int teardown(void **state)
{
	int code = zr_stop(&rig);

	(void)state;
	zr_teardown(&rig);
	mem_table = &mem_table_libc;
	return code;
}

/* ------------------------------------------------------------------------------------------------------ a client */

/* Rounds in which nothing is left to be done: each takes what the sockets have. */
static void rounds(unsigned count)
{
	while (count-- > 0)
		loop_run_once(&rig.loop, 0);
}

/* The value of a key in the version at hand: no two bytes near each other are the same. */
static void value(unsigned key, size_t size, uint8_t *to)
{
	for (size_t i = 0; i < size; i++)
		to[i] = (uint8_t)(i * 7 + i / 251 + key * 31 + version * 13);
}

static void key_name(unsigned key, char name[8])
{
	snprintf(name, 8, "k%04u", key % 10000);
}

static void value_append(struct buf *out, unsigned key, size_t size)
{
	uint8_t *bytes = malloc(size);

	assert_non_null(bytes);
	value(key, size, bytes);
	assert_int_equal(resp_put_bulk(out, bytes, size), 0);
	free(bytes);
}

static void set_append(struct buf *out, unsigned key, size_t size)
{
	char name[8];

	key_name(key, name);
	assert_int_equal(resp_put_array(out, 3), 0);
	assert_int_equal(resp_put_bulk(out, "SET", 3), 0);
	assert_int_equal(resp_put_bulk(out, name, strlen(name)), 0);
	value_append(out, key, size);
}

/* What the socket does not take at once is taken while the loop turns. */
static void transfer(int fd, const uint8_t *bytes, size_t size)
{
	uint64_t deadline = clock_deadline(ZR_LIMIT_MS);

	while (size > 0) {
		ssize_t n = send(fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);

		assert_true(clock_left_ms(deadline) > 0);
		if (n > 0) {
			bytes += n;
			size -= (size_t)n;
		}
		rounds(3);
	}
}

static void expect(int fd, const void *want, size_t size)
{
	uint64_t deadline = clock_deadline(ZR_LIMIT_MS);
	uint8_t *got = malloc(size);
	size_t have = 0;

	assert_non_null(got);
	while (have < size) {
		ssize_t n = recv(fd, got + have, size - have, MSG_DONTWAIT);

		assert_int_not_equal(n, 0);
		have += n > 0 ? (size_t)n : 0;
		assert_true(clock_left_ms(deadline) > 0);
		loop_run_once(&rig.loop, n > 0 ? 0 : 10);
	}
	assert_memory_equal(got, want, size);
	free(got);
}

/* The reply to a SET is its key. */
static void expect_set(int fd, unsigned key)
{
	struct buf want = BUF_INIT(64);
	char name[8];

	key_name(key, name);
	assert_int_equal(resp_put_bulk(&want, name, strlen(name)), 0);
	expect(fd, want.data, want.len);
	buf_release(&want);
}

static void put(int fd, unsigned key, size_t size)
{
	struct buf out = BUF_INIT(4 << 20);

	set_append(&out, key, size);
	transfer(fd, out.data, out.len);
	expect_set(fd, key);
	buf_release(&out);
}

/* The value is the one of the version at hand. */
static void look(int fd, unsigned key, size_t size)
{
	struct buf ask = BUF_INIT(64), want = BUF_INIT(4 << 20);
	char name[8];

	key_name(key, name);
	assert_int_equal(resp_put_words(&ask, "GET", name, NULL), 0);
	transfer(fd, ask.data, ask.len);
	value_append(&want, key, size);
	expect(fd, want.data, want.len);
	buf_release(&ask);
	buf_release(&want);
}

/* -------------------------------------------------------------------------------------------------------- tests */

/* A second request behind a large one, of which at first only `piece` bytes come. */
static void in_two(int fd, size_t size, size_t piece)
{
	struct buf out = BUF_INIT(4 << 20);

	version++;
	put(fd, 1, LARGE);
	set_append(&out, 2, size);
	if (piece > out.len)
		piece = out.len;
	transfer(fd, out.data, piece);
	rounds(3);
	transfer(fd, out.data + piece, out.len - piece);
	expect_set(fd, 2);
	look(fd, 1, LARGE);
	look(fd, 2, size);
	buf_release(&out);
}

static void a_second_one_in_two(void **state)
{
	static const size_t sizes[] = {1, 4000, 4096, 5000, 70000, LARGE - 1, LARGE, LARGE + 1, 200000};
	static const size_t pieces[] = {1,         5,          20,         35,     40,        45,
					4095,      4096,       4097,       65536,  LARGE - 1, LARGE,
					LARGE + 1, LARGE + 36, LARGE + 37, 150000, 300000};
	int fd = zr_connect(&rig);

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
		for (size_t p = 0; p < sizeof(pieces) / sizeof(*pieces); p++)
			in_two(fd, sizes[i], pieces[p]);
	close(fd);
}

/* Requests of which a buffer takes only the beginning. */
static void huge(void **state)
{
	static const size_t sizes[] = {1u << 20, 3000000,         3000000, 5000,
				       3000001,  (1u << 20) - 40, 1200000, 1};
	int fd = zr_connect(&rig);

	(void)state;
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		version++;
		put(fd, i, sizes[i]);
		look(fd, i, sizes[i]);
	}
	close(fd);
}

/* Large and small ones, sent without waiting for a reply. */
static void several_at_once(void **state)
{
	static const size_t sizes[] = {LARGE, 10, LARGE, LARGE, 70000, 3, 200000, LARGE, 1, 1, 90000};
	const unsigned count = sizeof(sizes) / sizeof(*sizes);
	struct buf out = BUF_INIT(4 << 20);
	int fd = zr_connect(&rig);

	(void)state;
	for (unsigned round = 0; round < 3; round++) {
		version++;
		for (unsigned k = 0; k < count; k++)
			set_append(&out, k, sizes[k]);
		transfer(fd, out.data, out.len);
		for (unsigned k = 0; k < count; k++)
			expect_set(fd, k);
		for (unsigned k = 0; k < count; k++)
			look(fd, k, sizes[k]);
		buf_clear(&out);
	}
	buf_release(&out);
	close(fd);
}

/* Many who have sent a large request, and begun a small one. */
static void begun_only(void **state)
{
	enum { CLIENTS = 400 };
	static const char begun[] = "*2\r\n$3\r\nGET";
	int fds[CLIENTS];
	size_t before = 0;

	(void)state;
	version++;
	for (unsigned i = 0; i < CLIENTS; i++) {
		if (i == CLIENTS / 4)
			before = atomic_load(&held); /* what serves all of them is there */
		fds[i] = zr_connect(&rig);
		put(fds[i], i,
		    LARGE - 1); /* the next one is expected to be large: read into a buffer of its own */
		put(fds[i], i, LARGE);
		transfer(fds[i], (const uint8_t *)begun, sizeof(begun) - 1);
	}
	assert_true(atomic_load(&held) < before + (CLIENTS / 4) * (size_t)LARGE);
	for (unsigned i = 0; i < CLIENTS; i++) {
		char rest[32];

		transfer(fds[i], (uint8_t *)rest,
			 (size_t)snprintf(rest, sizeof(rest), "\r\n$5\r\nk%04u\r\n", i));
		look(fds[i], i, LARGE); /* the first reply of two */
		close(fds[i]);
	}
	rounds(3);
}

/* Who goes after a large request, or in the middle of the next. */
static void gone(void **state)
{
	struct buf out = BUF_INIT(4 << 20);
	int other = zr_connect(&rig);

	(void)state;
	set_append(&out, 3, LARGE);
	for (size_t piece = 0; piece < LARGE; piece += 12345) {
		int fd = zr_connect(&rig);

		version++; /* a value that is there already would be answered otherwise */
		put(fd, 1, LARGE);
		transfer(fd, out.data, piece);
		close(fd);
		rounds(3);
		put(other, 2, LARGE);
		look(other, 2, LARGE);
		look(other, 1, LARGE);
	}
	buf_release(&out);
	close(other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_second_one_in_two, setup, teardown),
		cmocka_unit_test_setup_teardown(huge, setup, teardown),
		cmocka_unit_test_setup_teardown(several_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(begun_only, setup, teardown),
		cmocka_unit_test_setup_teardown(gone, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
