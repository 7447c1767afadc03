/*
 * The protocol's parsers and writer: every form that a server must refuse, every split of the stream, every bound.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "core/base/buf.h"
#include "core/base/mem.h"
#include "core/net/client.h"
#include "core/net/resp.h"
#include "core/net/sha1.h"

/* Parses text that arrives `step` bytes at a time; the parser sees a range that moves at each growth. */
static enum resp_state feed(struct resp_request *p, const char *text, size_t len, size_t step)
{
	enum resp_state state = RESP_MORE;
	size_t have = 0;

	while (have < len && state == RESP_MORE) {
		uint8_t *moved;

		have = have + step < len ? have + step : len;
		moved = mem_dup(text, have);
		state = resp_request_parse(p, moved, have);
		mem_free(moved);
	}
	return state;
}

static void check_words(const char *text, size_t len, size_t step, const char *const *words, size_t count)
{
	struct resp_request p;
	size_t i;

	resp_request_init(&p);
	assert_int_equal(feed(&p, text, len, step), RESP_WHOLE);
	assert_int_equal(p.argc, count);
	for (i = 0; i < count; i++) {
		assert_int_equal(p.argv[i].len, strlen(words[i]));
		assert_memory_equal(text + p.argv[i].off, words[i], strlen(words[i]));
	}
	assert_int_equal(p.used, len);
	resp_request_release(&p);
}

static void requests_in_any_fragmentation(void **state)
{
	static const char text[] = "*4\r\n$3\r\nSET\r\n$0\r\n\r\n$12\r\nhello\r\nworld\r\n$1\r\nx\r\n";
	static const char *const words[] = {"SET", "", "hello\r\nworld", "x"};
	size_t step;

	(void)state;
	for (step = 1; step <= sizeof(text); step++)
		check_words(text, sizeof(text) - 1, step, words, 4);
}

static void loose_forms_of_the_original(void **state)
{
	static const char *const words[] = {"PING"};

	(void)state;
	check_words("*1\n$4\nPINGxy", 12, 1, words, 1); /* LF alone; two bytes behind a payload are skipped */
	check_words("* 1x\r\n$ +4zz\r\nPING\r\n", 20, 3, words, 1); /* numbers as atoi reads them */
}

static void wrong_requests(void **state)
{
	static const struct {
		const char *text, *error;
	} cases[] = {
		{"PING\r\n", "Malformed request, array expected"},
		{"\r\n", "Malformed request, array expected"},
		{"+OK\r\n", "Malformed request, array expected"},
		{"*0\r\n", "Missing arguments"},
		{"*\r\n", "Missing arguments"},
		{"*abc\r\n", "Missing arguments"},
		{"*1025\r\n", "Too many arguments"},
		{"*99999999999999999999\r\n", "Too many arguments"},
		{"*-1\r\n", "Internal memory error"},
		{"*1\r\n:5\r\n", "Malformed query string"},
		{"*1\r\n*1\r\n", "Malformed query string"},
		{"*1\r\n\r\n", "Malformed query string"},
		{"*1\r\n$8388609\r\n", "Payload too big"},
		{"*1\r\n$999999999999999999\r\n", "Payload too big"},
		{"*1\r\n$-1\r\n", "Internal memory error"},
		{"*1\r\n$-5\r\n", "Internal memory error"},
	};
	struct resp_request p;
	size_t i, step;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		for (step = 1; step < 8; step += 3) {
			resp_request_init(&p);
			assert_int_equal(feed(&p, cases[i].text, strlen(cases[i].text), step), RESP_WRONG);
			assert_string_equal(p.error, cases[i].error);
			resp_request_release(&p);
		}
	}
}

static void a_header_line_has_an_end(void **state)
{
	char text[RESP_LINE_MAX + 1];
	struct resp_request p;

	(void)state;
	memset(text, '*', sizeof(text));
	resp_request_init(&p);
	assert_int_equal(resp_request_parse(&p, (uint8_t *)text, RESP_LINE_MAX - 1), RESP_MORE);
	assert_int_equal(resp_request_parse(&p, (uint8_t *)text, RESP_LINE_MAX), RESP_WRONG);
	assert_null(p.error);
	resp_request_release(&p);
}

static void most_arguments_and_largest_payload(void **state)
{
	struct buf b = BUF_INIT(64u << 20);
	struct resp_request p;
	uint8_t *big = mem_calloc(1, RESP_BULK_MAX);
	size_t i;

	(void)state;
	assert_int_equal(resp_put_array(&b, RESP_ARGC_MAX), 0);
	for (i = 0; i < RESP_ARGC_MAX; i++)
		assert_int_equal(resp_put_bulk(&b, &i, 8), 0);
	resp_request_init(&p);
	assert_int_equal(resp_request_parse(&p, b.data, b.len), RESP_WHOLE);
	assert_int_equal(p.argc, RESP_ARGC_MAX);
	for (i = 0; i < RESP_ARGC_MAX; i++)
		assert_memory_equal(b.data + p.argv[i].off, &i, 8);
	resp_request_reset(&p);
	assert_ptr_equal(p.argv, p.few); /* a table of that size is not kept */

	buf_clear(&b);
	assert_int_equal(resp_put_array(&b, 2), 0);
	assert_int_equal(resp_put_bulk(&b, "GET", 3), 0);
	assert_int_equal(resp_put_bulk(&b, big, RESP_BULK_MAX), 0);
	assert_int_equal(resp_request_parse(&p, b.data, 100), RESP_MORE);
	assert_int_equal(p.need, b.len); /* so that the rest can be read into its place */
	assert_int_equal(resp_request_parse(&p, b.data, b.len), RESP_WHOLE);
	assert_int_equal(p.argv[1].len, RESP_BULK_MAX);
	resp_request_release(&p);
	buf_release(&b);
	mem_free(big);
}

static void a_whole_request_is_bounded(void **state)
{
	static const char text[] = "*3\r\n$40\r\n0123456789012345678901234567890123456789\r\n$40\r\n";
	struct resp_request p;

	(void)state;
	resp_request_init(&p);
	p.total_max = 80;
	assert_int_equal(resp_request_parse(&p, (const uint8_t *)text, sizeof(text) - 1), RESP_WRONG);
	assert_string_equal(p.error, "Payload too big");
	resp_request_release(&p);
}

static void pipelined_requests_follow_each_other(void **state)
{
	struct buf b = BUF_INIT(1 << 20);
	struct resp_request p;
	size_t at = 0, i;
	char key[8];

	(void)state;
	for (i = 0; i < 1000; i++) {
		snprintf(key, sizeof(key), "k%zu", i);
		assert_int_equal(resp_put_words(&b, "GET", key, NULL), 0);
	}
	resp_request_init(&p);
	for (i = 0; i < 1000; i++) {
		snprintf(key, sizeof(key), "k%zu", i);
		assert_int_equal(resp_request_parse(&p, b.data + at, b.len - at), RESP_WHOLE);
		assert_int_equal(p.argv[1].len, strlen(key));
		assert_memory_equal(b.data + at + p.argv[1].off, key, strlen(key));
		at += p.used;
		resp_request_reset(&p);
	}
	assert_int_equal(at, b.len);
	buf_release(&b);
	resp_request_release(&p);
}

/* ------------------------------------------------------------------------------------------------------ replies */

static void replies_of_every_type(void **state)
{
	static const char text[] =
		"*7\r\n+OK\r\n-no\r\n:-12\r\n$3\r\na\r\n\r\n$-1\r\n*2\r\n*0\r\n:1\r\n*-1\r\n";
	static const enum resp_type types[] = {RESP_ARRAY, RESP_STATUS, RESP_ERROR, RESP_INTEGER, RESP_BULK,
					       RESP_NIL,   RESP_ARRAY,  RESP_ARRAY, RESP_INTEGER, RESP_NIL};
	struct resp_reply p;
	const struct resp_value *end;
	size_t have, i;

	(void)state;
	resp_reply_init(&p);
	for (have = 1; have < sizeof(text) - 1; have++)
		assert_int_equal(resp_reply_parse(&p, (const uint8_t *)text, have), RESP_MORE);
	assert_int_equal(resp_reply_parse(&p, (const uint8_t *)text, have), RESP_WHOLE);
	assert_int_equal(p.used, sizeof(text) - 1);
	assert_int_equal(p.count, 10);
	for (i = 0; i < 10; i++)
		assert_int_equal(p.values[i].type, types[i]);
	assert_int_equal(p.values[3].integer, -12);
	assert_memory_equal(text + p.values[4].str.off, "a\r\n", 3);
	assert_memory_equal(text + p.values[2].str.off, "no", 2);
	end = p.values + p.count;
	assert_ptr_equal(resp_value_skip(p.values, end), end);
	assert_ptr_equal(resp_value_skip(p.values + 6, end), p.values + 9);
	resp_reply_release(&p);
}

static void wrong_replies(void **state)
{
	static const char *const cases[] = {
		"PONG\r\n",
		"\r\n",
		":\r\n",
		":1x\r\n",
		":1\n",
		"$-2\r\n",
		"*-2\r\n",
		"$3\r\nabcd\r\n",
		"$8388609\r\n",
		"*1048577\r\n",
		":99999999999999999999\r\n",
		"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n",
	};
	struct resp_reply p;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		resp_reply_init(&p);
		assert_int_equal(resp_reply_parse(&p, (const uint8_t *)cases[i], strlen(cases[i])),
				 RESP_WRONG);
		assert_non_null(p.error);
		resp_reply_release(&p);
	}
}

/* What one side writes the other reads, for random trees. */
static size_t random_value(struct buf *b, unsigned *seed, unsigned depth, size_t left)
{
	unsigned pick = (unsigned)rand_r(seed) % 10;
	size_t i, n, used = 1;
	char text[64];

	if (depth < RESP_DEPTH_MAX && left > 1 && pick < 4) {
		n = (size_t)rand_r(seed) % 6;
		resp_put_array(b, n);
		for (i = 0; i < n; i++)
			used += random_value(b, seed, depth + 1, left > used ? left - used : 0);
		return used;
	}
	memset(text, 'a', sizeof(text));
	if (pick < 6)
		resp_put_bulk(b, text, (size_t)rand_r(seed) % sizeof(text));
	else if (pick < 7)
		resp_put_integer(b, (int64_t)rand_r(seed) * rand_r(seed) * (pick & 1 ? 1 : -1));
	else if (pick < 8)
		resp_put_nil(b);
	else
		resp_put_status(b, "fine");
	return used;
}

static void random_trees_come_back(void **state)
{
	unsigned seed = (unsigned)time(NULL);
	struct resp_reply p;
	int round;

	(void)state;
	print_message("seed %u\n", seed);
	resp_reply_init(&p);
	for (round = 0; round < 2000; round++) {
		struct buf b = BUF_INIT(1 << 20);
		size_t count = random_value(&b, &seed, 0, 200), have;

		for (have = 1; have < b.len; have += 1 + (size_t)rand_r(&seed) % 7)
			assert_int_equal(resp_reply_parse(&p, b.data, have), RESP_MORE);
		assert_int_equal(resp_reply_parse(&p, b.data, b.len), RESP_WHOLE);
		assert_int_equal(p.count, count);
		assert_int_equal(p.used, b.len);
		resp_reply_reset(&p);
		buf_release(&b);
	}
	resp_reply_release(&p);
}

static void a_full_buffer_keeps_whole_items(void **state)
{
	struct buf b = BUF_INIT(32);
	const void *argv[] = {"SET", "k", "a value that is too long for it"};
	const size_t lens[] = {3, 1, 31};

	(void)state;
	assert_int_equal(resp_put_status(&b, "OK"), 0);
	assert_true(resp_put_request(&b, 3, argv, lens) < 0);
	assert_int_equal(b.len, 5);
	assert_true(resp_put_bulk(&b, argv[2], 31) < 0);
	assert_int_equal(b.len, 5);
	buf_release(&b);
}

/* ------------------------------------------------------------------------------------------------ texts, hashes */

static void known_answers_of_sha1(void **state)
{
	static const uint8_t abc[20] = {0xa9, 0x99, 0x3e, 0x36, 0x47, 0x06, 0x81, 0x6a, 0xba, 0x3e,
					0x25, 0x71, 0x78, 0x50, 0xc2, 0x6c, 0x9c, 0xd0, 0xd8, 0x9d};
	static const uint8_t million[20] = {0x34, 0xaa, 0x97, 0x3c, 0xd4, 0xc4, 0xda, 0xa4, 0xf6, 0x1e,
					    0xeb, 0x2b, 0xdb, 0xad, 0x27, 0x31, 0x65, 0x34, 0x01, 0x6f};
	char *a = mem_alloc(1000000), text[41];
	uint8_t out[20];

	(void)state;
	sha1(out, "abc", 3);
	assert_memory_equal(out, abc, 20);
	memset(a, 'a', 1000000);
	sha1(out, a, 1000000);
	assert_memory_equal(out, million, 20);
	mem_free(a);
	/* the documented example of the original */
	sha1_challenge(text, "708f109fbef4d656", "helloworld");
	assert_string_equal(text, "5af26c9c8bf4db0b342c42fc47e3bdae58da4578");
}

static void nsinfo_is_understood(void **state)
{
	static const char text[] =
		"# namespace\nname: data\nentries: 5\npublic: yes\nworm: no\nlocked: yes\npassword: no\n"
		"data_size_bytes: 26\ndata_limits_bytes: 18446744073709551615\nindex_size_bytes: 360\n"
		"next_internal_id: 0x800000000000000\nmode: sequential\nstats_data_io_errors: 3\n"
		"data_disk_freespace_bytes: 123456789012\nfuture_field: x: y\n\ndata_path: /a b/c\n"
		"data_current_id: 7\ndata_current_offset: 4096\n";
	struct nsinfo n;

	(void)state;
	assert_int_equal(nsinfo_parse(&n, text, sizeof(text) - 1), 0);
	assert_string_equal(n.name, "data");
	assert_int_equal(n.entries, 5);
	assert_true(n.is_public && !n.worm && n.locked && !n.password && n.sequential && n.has_current);
	assert_true(n.data_limit_bytes == UINT64_MAX);
	assert_int_equal(n.next_id, 8);
	assert_int_equal(n.data_io_errors, 3);
	assert_true(n.data_free_bytes == 123456789012);
	assert_string_equal(n.data_path, "/a b/c");
	assert_int_equal(n.data_current_id, 7);
	assert_int_equal(n.data_current_offset, 4096);
	assert_true(nsinfo_parse(&n, "entries: 5\n", 11) < 0);
	assert_true(nsinfo_parse(&n, "", 0) < 0);
}

static void addresses(void **state)
{
	struct client_addr a;

	(void)state;
	memset(&a, 0, sizeof(a));
	assert_int_equal(client_addr_parse(&a, "10.0.0.3:9900/zdbfs-data"), 0);
	assert_string_equal(a.host, "10.0.0.3");
	assert_int_equal(a.port, 9900);
	assert_string_equal(a.ns, "zdbfs-data");
	assert_int_equal(client_addr_parse(&a, "[2001:db8::1]:1"), 0);
	assert_string_equal(a.host, "2001:db8::1");
	assert_string_equal(a.ns, "zdbfs-data"); /* kept when not given */
	assert_int_equal(client_addr_parse(&a, "unix:rel/sock"), 0);
	assert_string_equal(a.unix_path, "rel/sock");
	assert_int_equal(client_addr_parse(&a, "/run/z.sock"), 0);
	assert_string_equal(a.unix_path, "/run/z.sock");
	assert_int_equal(client_addr_parse(&a, "store.example:65535"), 0);
	assert_string_equal(a.unix_path, "");
	assert_true(client_addr_parse(&a, "") < 0);
	assert_true(client_addr_parse(&a, "host") < 0);
	assert_true(client_addr_parse(&a, "host:") < 0);
	assert_true(client_addr_parse(&a, ":80") < 0);
	assert_true(client_addr_parse(&a, "host:0") < 0);
	assert_true(client_addr_parse(&a, "host:65536") < 0);
	assert_true(client_addr_parse(&a, "host:12x") < 0);
	assert_true(client_addr_parse(&a, "host:12/") < 0);
	assert_true(client_addr_parse(&a, "[::1:80") < 0);
	assert_true(client_addr_parse(&a, "unix:") < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_in_any_fragmentation),
		cmocka_unit_test(loose_forms_of_the_original),
		cmocka_unit_test(wrong_requests),
		cmocka_unit_test(a_header_line_has_an_end),
		cmocka_unit_test(most_arguments_and_largest_payload),
		cmocka_unit_test(a_whole_request_is_bounded),
		cmocka_unit_test(pipelined_requests_follow_each_other),
		cmocka_unit_test(replies_of_every_type),
		cmocka_unit_test(wrong_replies),
		cmocka_unit_test(random_trees_come_back),
		cmocka_unit_test(a_full_buffer_keeps_whole_items),
		cmocka_unit_test(known_answers_of_sha1),
		cmocka_unit_test(nsinfo_is_understood),
		cmocka_unit_test(addresses),
	};

	return cmocka_run_group_tests_name("net_resp", tests, NULL, NULL);
}
