/* Buffers and maps: bounds, growth, and what is left when there is no memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "core/base/buf.h"
#include "core/base/endian.h"
#include "core/base/err.h"
#include "core/base/hmap.h"
#include "core/base/mem.h"
#include "tests/unit/support/sys_test.h"

static void check_buf(void **state)
{
	struct buf b;
	size_t len;
	char *out;

	(void)state;
	buf_init(&b, 1000);
	assert_int_equal(buf_append_str(&b, "hello"), 0);
	assert_int_equal(buf_append_fmt(&b, " %d", 42), 0);
	assert_string_equal(buf_str(&b), "hello 42");
	buf_consume(&b, 6);
	assert_int_equal(b.len, 2);
	assert_memory_equal(b.data, "42", 2);
	assert_int_equal(buf_append_zero(&b, 998), 0);
	assert_int_equal(buf_append_byte(&b, 1), -E_LIMIT);
	assert_int_equal(buf_append_fmt(&b, "x"), -E_LIMIT);
	assert_int_equal(b.len, 1000);
	assert_non_null(buf_str(&b)); /* the NUL is beyond the bound, and allowed */
	out = buf_detach(&b, &len);
	assert_int_equal(len, 1000);
	assert_memory_equal(out, "42", 2);
	assert_int_equal(out[1000], 0);
	mem_free(out);
	assert_int_equal(b.len, 0);
	assert_int_equal(buf_append_u32le(&b, 0x04030201), 0);
	assert_memory_equal(b.data, "\1\2\3\4", 4);
	buf_truncate(&b, 1);
	assert_int_equal(b.len, 1);
	buf_consume(&b, 5);
	assert_int_equal(b.len, 0);
	buf_release(&b);
}

/* The memory of a stream that is consumed as it comes does not grow. */
static void check_buf_stream(void **state)
{
	struct buf b;
	uint64_t seed = test_seed(), total_in = 0, total_out = 0;

	(void)state;
	buf_init(&b, 4096);
	for (int i = 0; i < 20000; i++) {
		size_t n = test_random(&seed) % 200;

		for (size_t k = 0; k < n && b.len < 300; k++)
			assert_int_equal(buf_append_byte(&b, (uint8_t)total_in++), 0);
		n = test_random(&seed) % 250;
		for (size_t k = 0; k < n && b.len; k++) {
			assert_int_equal(b.data[0], (uint8_t)total_out++);
			buf_consume(&b, 1);
		}
	}
	assert_true(total_in > 100000);
	assert_true((size_t)(b.data - b.base) + b.cap <= 1024);
	buf_release(&b);
}

static void check_buf_without_memory(void **state)
{
	struct buf b;

	(void)state;
	mem_fault_begin();
	buf_init(&b, 1 << 20);
	assert_int_equal(buf_append_str(&b, "keep"), 0);
	mem_fault_arm_from(1);
	assert_int_equal(buf_append_zero(&b, 5000), -ENOMEM);
	assert_int_equal(b.len, 4);
	assert_memory_equal(b.data, "keep", 4);
	buf_release(&b);
	assert_int_equal(mem_fault_end(), 0);
}

static void check_endian(void **state)
{
	uint8_t p[8];

	(void)state;
	put_u16le(p, 0x1234);
	assert_memory_equal(p, "\x34\x12", 2);
	put_u32be(p, 0x12345678);
	assert_memory_equal(p, "\x12\x34\x56\x78", 4);
	put_u64le(p, 0x0102030405060708u);
	assert_int_equal(p[0], 8);
	assert_true(get_u64be(p) == 0x0807060504030201u);
	assert_true(get_u64le(p) == 0x0102030405060708u);
}

struct item {
	struct hmap_node node;
	uint64_t key;
	bool is_in;
};

static bool item_eq(const struct hmap_node *node, const void *key, size_t len)
{
	return memcmp(&container_of(node, const struct item, node)->key, key, len) == 0;
}

static struct item *find(const struct hmap *map, uint64_t key)
{
	struct hmap_node *n = hmap_find(map, hmap_hash(&key, sizeof(key)), item_eq, &key, sizeof(key));

	return n ? container_of(n, struct item, node) : NULL;
}

#define ITEMS 5000

static void compare(const struct hmap *map, const struct item *items)
{
	struct hmap_iter it = {0};
	struct hmap_node *n;
	size_t in = 0, seen = 0;

	for (uint64_t k = 0; k < ITEMS; k++) {
		assert_ptr_equal(find(map, k), items[k].is_in ? &items[k] : NULL);
		in += items[k].is_in;
	}
	while ((n = hmap_each(map, &it))) {
		assert_true(container_of(n, struct item, node)->is_in);
		seen++;
	}
	assert_int_equal(seen, in);
	assert_int_equal(map->count, in);
}

/* Random adds and removals, also while memory is short, against an array. */
static void check_hmap(void **state)
{
	struct item *items = calloc(ITEMS, sizeof(*items));
	uint64_t seed = test_seed();
	struct hmap map;

	(void)state;
	mem_fault_begin();
	hmap_init(&map);
	for (int round = 0; round < 60000; round++) {
		struct item *it = &items[test_random(&seed) % ITEMS];

		it->key = (uint64_t)(it - items);
		if (round % 10000 < 2000)
			mem_fault_arm_from(1);
		else
			mem_fault_arm(0);
		if (it->is_in)
			hmap_del(&map, &it->node);
		else
			hmap_add(&map, &it->node, hmap_hash(&it->key, sizeof(it->key)));
		it->is_in = !it->is_in;
		if (round % 2500 == 0)
			compare(&map, items);
	}
	compare(&map, items);
	hmap_release(&map);
	assert_int_equal(mem_fault_end(), 0);
	free(items);
}

/* Many items with one hash: found by their keys, walked by hmap_next_of. */
static void check_hmap_same_hash(void **state)
{
	struct item items[20];
	struct hmap map = {0};
	int n = 0;

	(void)state;
	for (uint64_t k = 0; k < 20; k++) {
		items[k].key = k;
		hmap_add(&map, &items[k].node, k < 10 ? 77 : 77 + ((uint64_t)1 << 32));
	}
	for (struct hmap_node *node = hmap_first_of(&map, 77); node; node = hmap_next_of(node)) {
		assert_true(container_of(node, struct item, node)->key < 10);
		n++;
	}
	assert_int_equal(n, 10);
	for (uint64_t k = 0; k < 10; k++) {
		assert_ptr_equal(hmap_find(&map, 77, item_eq, &k, sizeof(k)), &items[k].node);
		hmap_del(&map, &items[k].node);
		assert_null(hmap_find(&map, 77, item_eq, &k, sizeof(k)));
	}
	hmap_release(&map);
}

/* Known answer: SipHash-1-3 as computed by Python's own implementation of hash(bytes) with a zero key. */
static void check_siphash(void **state)
{
	static const uint64_t zero[2] = {0, 0};
	uint8_t data[64];

	(void)state;
	for (int i = 0; i < 64; i++)
		data[i] = (uint8_t)i;
	assert_true(hmap_siphash13(zero, data, 1) == 7541581120933061747u);
	assert_true(hmap_siphash13(zero, data, 7) == 3389392686435873370u);
	assert_true(hmap_siphash13(zero, data, 8) == 16921169381604339434u);
	assert_true(hmap_siphash13(zero, data, 9) == 8471974163824919394u);
	assert_true(hmap_siphash13(zero, data, 15) == 17514137373579004394u);
	assert_true(hmap_siphash13(zero, data, 16) == 9904005486622393783u);
	assert_true(hmap_siphash13(zero, data, 63) == 4061470857350050649u);
	assert_true(hmap_hash("a", 1) == hmap_hash("a", 1));
	assert_true(hmap_hash("a", 1) != hmap_hash("b", 1));
	assert_true(hmap_hash_u64(1) != hmap_hash_u64(2));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(check_buf),
		cmocka_unit_test(check_buf_stream),
		cmocka_unit_test(check_buf_without_memory),
		cmocka_unit_test(check_endian),
		cmocka_unit_test(check_hmap),
		cmocka_unit_test(check_hmap_same_hash),
		cmocka_unit_test(check_siphash),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
