/* Rings of log lines: against a plain list of lines as the model, with random lengths and a random reader. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "applets/zinit/ring.h"

enum { BYTES = 8192, LINES = 50, ROUNDS = 20000 };

static void fill(char *data, uint32_t len, uint64_t seq)
{
	for (uint32_t i = 0; i < len; i++)
		data[i] = (char)(seq * 31 + i);
}

static void random_lines(void **state)
{
	unsigned seed = (unsigned)time(NULL);
	static uint32_t lengths[ROUNDS + 2]; /* by seq: the model */
	static char data[BYTES], want[BYTES];
	struct ring ring;
	uint64_t seq = 0;

	(void)state;
	print_message("seed %u\n", seed);
	srand(seed);
	assert_int_equal(ring_init(&ring, BYTES, LINES), 0);
	for (int round = 0; round < ROUNDS; round++) {
		struct ring_line line = {.len = (uint32_t)(rand() % 10 ? rand() % 100 : rand() % 2500),
					 .seq = ++seq};
		const struct ring_line *found;
		uint64_t from, at;
		uint32_t count = 0;

		lengths[seq] = line.len;
		fill(data, line.len, seq);
		ring_append(&ring, &line, data);
		assert_true(ring.lines >= 1 && ring.lines <= LINES);
		/* A search from anywhere finds every line from there to the newest, in order, with its bytes. */
		from = seq > 60 ? seq - (uint64_t)(rand() % 60) : 1;
		for (at = from; (found = ring_find(&ring, at)); at = found->seq + 1) {
			assert_true(found->seq >= at);
			assert_int_equal(found->len, lengths[found->seq]);
			fill(want, found->len, found->seq);
			assert_memory_equal(ring_line_data(found), want, found->len);
			assert_int_equal(found->number, found->seq);
			count++;
		}
		assert_int_equal(at, seq + 1);
		/* Without gaps between the oldest kept line and the newest. */
		found = ring_find(&ring, 0);
		assert_non_null(found);
		assert_int_equal(seq - found->seq + 1, ring.lines);
		assert_int_equal(ring_seq_of_last(&ring, 1), seq);
		assert_int_equal(ring_seq_of_last(&ring, LINES * 2), found->seq);
		assert_true(count <= LINES);
	}
	ring_release(&ring);
}

/* Small lines: as many as are allowed are kept, not fewer. */
static void keeps_as_many_as_allowed(void **state)
{
	struct ring ring;

	(void)state;
	assert_int_equal(ring_init(&ring, RING_BYTES, 2000), 0);
	for (uint64_t seq = 1; seq <= 5000; seq++) {
		struct ring_line line = {.len = 20, .seq = seq};

		ring_append(&ring, &line, "12345678901234567890");
	}
	assert_int_equal(ring.lines, 2000);
	assert_int_equal(ring_find(&ring, 0)->seq, 3001);
	ring_release(&ring);
}

/* The few lines that a silent service has touch nothing but the struct; what is longer lies whole in the mapping. */
static void few_lines_need_no_page(void **state)
{
	static const char text[RING_LINE_MAX];
	struct ring ring;

	(void)state;
	assert_int_equal(ring_init(&ring, RING_BYTES, 2000), 0);
	for (uint64_t seq = 1; seq <= 4; seq++) {
		struct ring_line line = {.len = seq < 4 ? 33 : 300, .seq = seq};
		const uint8_t *at;

		ring_append(&ring, &line, text);
		at = (const uint8_t *)ring_find(&ring, seq);
		if (seq < 4)
			assert_true(at >= ring.porch && at < ring.porch + RING_PORCH);
		else
			assert_true(at >= ring.base && at < ring.base + RING_BYTES);
	}
	assert_int_equal(ring_find(&ring, 0)->seq, 1);
	assert_int_equal(ring.lines, 4);
	ring_release(&ring);
}

static void without_memory(void **state)
{
	struct ring ring = {.base = NULL};
	struct ring_line line = {.len = 3, .seq = 1};

	(void)state;
	ring_append(&ring, &line, "abc");
	assert_null(ring_find(&ring, 0));
	assert_int_equal(ring_seq_of_last(&ring, 5), 0);
	ring_release(&ring);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_lines),
		cmocka_unit_test(keeps_as_many_as_allowed),
		cmocka_unit_test(few_lines_need_no_page),
		cmocka_unit_test(without_memory),
	};

	return cmocka_run_group_tests_name("zinit: rings", tests, NULL, NULL);
}
