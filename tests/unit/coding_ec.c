/*
 * Erasure code and fragments against liberasurecode itself, both ways, for every k-subset of the usual geometries and a
 * sample of 20+12.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <liberasurecode/erasurecode.h>

#include "core/coding/crc.h"
#include "core/coding/ec.h"
#include "core/coding/fragment.h"

#define SIZE_MAX_TEST 70000

static const struct {
	unsigned k, n;
} shapes[] = {{1, 2}, {2, 4}, {4, 6}, {10, 15}, {20, 32}};

static uint32_t seed;

static uint32_t next_random(void)
{
	seed = seed * 1664525u + 1013904223u;
	return seed >> 8;
}

/* n fragments (header ++ payload) of a message, made by our code. */
struct coded {
	unsigned k, n;
	size_t size, piece, len; /* message, payload, fragment */
	uint8_t *message;
	uint8_t *bytes; /* n fragments back to back */
};

static uint8_t *fragment_at(const struct coded *c, unsigned i)
{
	return c->bytes + i * c->len;
}

static void coded_make(struct coded *c, unsigned k, unsigned n, size_t size)
{
	uint8_t *data[EC_PIECES_MAX], *parity[EC_PIECES_MAX];
	const struct ec *ec;

	*c = (struct coded){.k = k, .n = n, .size = size, .piece = ec_piece_bytes(size, k)};
	c->len = c->piece + FRAGMENT_HEADER_BYTES;
	c->message = malloc(size);
	c->bytes = calloc(n, c->len);
	assert_non_null(c->message);
	assert_non_null(c->bytes);
	for (size_t i = 0; i < size; i++)
		c->message[i] = (uint8_t)next_random();
	for (unsigned i = 0; i < n; i++) {
		uint8_t *payload = fragment_at(c, i) + FRAGMENT_HEADER_BYTES;
		size_t from = i * c->piece;

		if (i < k) {
			data[i] = payload;
			if (from < size)
				memcpy(payload, c->message + from,
				       size - from < c->piece ? size - from : c->piece);
		} else {
			parity[i - k] = payload;
		}
	}
	assert_int_equal(ec_get(k, n, &ec), 0);
	ec_encode(ec, c->piece, data, parity);
	for (unsigned i = 0; i < n; i++) {
		struct fragment f = {.index = i, .size = (uint32_t)c->piece, .original = size};

		fragment_build(&f, fragment_at(c, i) + FRAGMENT_HEADER_BYTES, fragment_at(c, i));
	}
}

static void coded_free(struct coded *c)
{
	free(c->message);
	free(c->bytes);
}

static int reference(unsigned k, unsigned n)
{
	struct ec_args args = {
		.k = (int)k, .m = (int)(n - k), .w = 8, .hd = (int)(n - k + 1), .ct = CHKSUM_CRC32};
	int handle = liberasurecode_instance_create(EC_BACKEND_ISA_L_RS_CAUCHY, &args);

	assert_true(handle > 0);
	return handle;
}

static void fragments_equal_the_reference(void **state)
{
	static const size_t sizes[] = {1, 2, 3, 17, 22, 63, 64, 65, 1000, 4096, 4113, 65553, SIZE_MAX_TEST};

	(void)state;
	for (size_t s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++) {
		int handle = reference(shapes[s].k, shapes[s].n);

		for (size_t z = 0; z < sizeof(sizes) / sizeof(sizes[0]); z++) {
			char **data, **parity;
			uint64_t len;
			struct coded c;

			coded_make(&c, shapes[s].k, shapes[s].n, sizes[z]);
			assert_int_equal(liberasurecode_encode(handle, (char *)c.message, sizes[z], &data,
							       &parity, &len),
					 0);
			assert_int_equal(len, c.len);
			for (unsigned i = 0; i < c.n; i++) {
				char *theirs = i < c.k ? data[i] : parity[i - c.k];
				struct fragment f;

				assert_memory_equal(fragment_at(&c, i), theirs, c.len);
				assert_int_equal(fragment_check(theirs, len, &f), 0);
				assert_int_equal(f.index, i);
				assert_int_equal(f.original, sizes[z]);
			}
			liberasurecode_encode_cleanup(handle, data, parity);
			coded_free(&c);
		}
		liberasurecode_instance_destroy(handle);
	}
}

/* Decodes with both from the fragments in `set` and compares; also rebuilds every missing piece. */
static void check_subset(const struct coded *c, const struct ec *ec, struct ec_cache *cache, int handle,
			 const uint8_t set[], bool with_reference)
{
	static uint8_t out[EC_PIECES_MAX][SIZE_MAX_TEST];
	uint8_t want[EC_PIECES_MAX], *targets[EC_PIECES_MAX];
	const uint8_t *pieces[EC_PIECES_MAX];
	char *theirs[EC_PIECES_MAX], *message;
	uint64_t len;

	for (unsigned i = 0; i < c->k; i++) {
		pieces[i] = fragment_at(c, set[i]) + FRAGMENT_HEADER_BYTES;
		theirs[i] = (char *)fragment_at(c, set[i]);
	}
	for (unsigned i = 0; i < c->n; i++) {
		want[i] = (uint8_t)i;
		targets[i] = out[i];
	}
	assert_int_equal(ec_rebuild(ec, cache, c->piece, set, pieces, want, c->n, targets), 0);
	for (unsigned i = 0; i < c->n; i++)
		assert_memory_equal(out[i], fragment_at(c, i) + FRAGMENT_HEADER_BYTES, c->piece);
	if (!with_reference)
		return;
	assert_int_equal(liberasurecode_decode(handle, theirs, (int)c->k, c->len, 0, &message, &len), 0);
	assert_int_equal(len, c->size);
	assert_memory_equal(message, c->message, c->size);
	liberasurecode_decode_cleanup(handle, message);
}

/* All subsets of k of n in order; false after the last. */
static bool next_subset(uint8_t set[], unsigned k, unsigned n)
{
	int i = (int)k - 1;

	while (i >= 0 && set[i] == n - k + (unsigned)i)
		i--;
	if (i < 0)
		return false;
	set[i]++;
	for (unsigned j = (unsigned)i + 1; j < k; j++)
		set[j] = (uint8_t)(set[j - 1] + 1);
	return true;
}

static void random_subset(uint8_t set[], unsigned k, unsigned n)
{
	uint8_t all[EC_PIECES_MAX];

	for (unsigned i = 0; i < n; i++)
		all[i] = (uint8_t)i;
	for (unsigned i = 0; i < k; i++) {
		unsigned j = i + next_random() % (n - i);
		uint8_t swap = all[i];

		all[i] = all[j];
		all[j] = swap;
		set[i] = all[i];
	}
}

static void every_k_of_n_gives_the_data(void **state)
{
	struct ec_cache *cache = ec_cache_new();

	(void)state;
	assert_non_null(cache);
	for (size_t s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++) {
		unsigned k = shapes[s].k, n = shapes[s].n, count = 0;
		int handle = reference(k, n);
		uint8_t set[EC_PIECES_MAX];
		const struct ec *ec;
		struct coded c;

		assert_int_equal(ec_get(k, n, &ec), 0);
		coded_make(&c, k, n, 331);
		for (unsigned i = 0; i < k; i++)
			set[i] = (uint8_t)i;
		if (n <= 15) {
			do {
				check_subset(&c, ec, count % 2 ? cache : NULL, handle, set, true);
				count++;
			} while (next_subset(set, k, n));
		} else {
			for (; count < 2000; count++) {
				random_subset(set, k, n);
				check_subset(&c, ec, count % 2 ? cache : NULL, handle, set, count % 10 == 0);
			}
		}
		print_message("%u+%u: %u subsets\n", k, n - k, count);
		liberasurecode_instance_destroy(handle);
		coded_free(&c);
	}
	ec_cache_free(cache);
}

static void impossible_arguments_are_refused(void **state)
{
	uint8_t piece[8] = {0}, out[8];
	const uint8_t *pieces[] = {piece, piece};
	uint8_t *targets[] = {out};
	const struct ec *ec;

	(void)state;
	assert_int_equal(ec_get(0, 1, &ec), -EINVAL);
	assert_int_equal(ec_get(2, 2, &ec), -EINVAL);
	assert_int_equal(ec_get(4, 33, &ec), -EINVAL);
	assert_int_equal(ec_get(2, 4, &ec), 0);
	assert_int_equal(ec_rebuild(ec, NULL, 8, (uint8_t[]){1, 1}, pieces, (uint8_t[]){0}, 1, targets),
			 -EINVAL);
	assert_int_equal(ec_rebuild(ec, NULL, 8, (uint8_t[]){1, 4}, pieces, (uint8_t[]){0}, 1, targets),
			 -EINVAL);
	assert_int_equal(ec_rebuild(ec, NULL, 8, (uint8_t[]){1, 2}, pieces, (uint8_t[]){4}, 1, targets),
			 -EINVAL);
	assert_int_equal(ec_rebuild(ec, NULL, 8, (uint8_t[]){1, 2}, pieces, (uint8_t[]){0}, 1, targets), 0);
}

static void flipped_bits_of_a_fragment_are_seen(void **state)
{
	struct fragment f;
	struct coded c;
	uint8_t *bytes;

	(void)state;
	coded_make(&c, 2, 4, 100);
	bytes = fragment_at(&c, 3);
	assert_int_equal(fragment_check(bytes, c.len, &f), 0);
	for (size_t i = 0; i < c.len * 8; i++) {
		/* the two version fields may be anything, but the first is under the header's crc */
		bool library = i / 8 >= 63 && i / 8 < 67;

		bytes[i / 8] ^= (uint8_t)(1u << i % 8);
		assert_int_equal(fragment_check(bytes, c.len, &f), library ? 0 : -EBADMSG);
		bytes[i / 8] ^= (uint8_t)(1u << i % 8);
	}
	for (size_t len = 0; len < c.len; len++)
		assert_int_equal(fragment_check(bytes, len, &f), -EBADMSG);
	coded_free(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fragments_equal_the_reference),
		cmocka_unit_test(every_k_of_n_gives_the_data),
		cmocka_unit_test(impossible_arguments_are_refused),
		cmocka_unit_test(flipped_bits_of_a_fragment_are_seen),
	};
	const char *given = getenv("QSFS_TEST_SEED");

	seed = given ? (uint32_t)strtoul(given, NULL, 10) : (uint32_t)time(NULL);
	print_message("seed %u (QSFS_TEST_SEED)\n", (unsigned)seed);
	return cmocka_run_group_tests_name("coding_ec", tests, NULL, NULL);
}
