/* Manifests and bundles as bytes: round trips, every flipped bit and cut, merges compared with a plain model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/support/sys_test.h"

#include "core/base/buf.h"
#include "core/base/endian.h"
#include "core/base/err.h"
#include "core/base/file.h"
#include "core/object/bundle.h"
#include "core/object/manifest.h"
#include "core/object/uncovered.h"

static struct manifest_tail tail(uint32_t start, uint32_t end)
{
	struct manifest_tail t = {.generation = 7, .start = start, .end = end};

	memset(t.content, (int)end, sizeof(t.content));
	return t;
}

static struct manifest_bundle span(uint32_t first, uint32_t last)
{
	struct manifest_bundle b = {.generation = 8, .first = first, .last = last};

	memset(b.content, (int)last, sizeof(b.content));
	return b;
}

static void make(struct manifest *m)
{
	static const char *const names[] = {"default", "zdbfs-meta", "zdbfs-data"};

	manifest_init(m);
	m->generation = (uint64_t)1 << 32 | 99;
	m->sequence = 17;
	m->time = 1700000000;
	for (unsigned i = 0; i < 3; i++) {
		struct manifest_ns *ns = manifest_add(m, names[i], strlen(names[i]), i == 2);
		struct manifest_tail t = tail(0, 100 + i);
		struct manifest_bundle b = span(0, 3 + i);

		assert_non_null(ns);
		assert_int_equal(manifest_ns_descriptor(ns, "descriptor", 10), 0);
		if (i == 0)
			continue;
		assert_int_equal(manifest_ns_tail(ns, &t), 0);
		assert_int_equal(manifest_ns_bundle(ns, &b, NULL, NULL), 0);
		ns->closed = b.last + 1;
	}
}

static void manifests_come_back(void **state)
{
	struct buf bytes = BUF_INIT(MANIFEST_MAX_BYTES), again = BUF_INIT(MANIFEST_MAX_BYTES);
	struct manifest m, back, copy;
	const char *what;

	(void)state;
	make(&m);
	manifest_init(&back);
	manifest_init(&copy);
	assert_null(manifest_wrong(&m));
	assert_int_equal(manifest_encode(&m, &bytes), 0);
	assert_int_equal(bytes.len, 32 + 3 * (1 + 1 + 2 + 10 + 4 + 4) + 7 + 10 + 10 + 4 * 32);
	assert_int_equal(manifest_decode(bytes.data, bytes.len, &back, &what), 0);
	assert_int_equal(manifest_copy(&copy, &back), 0);
	manifest_release(&back);
	assert_int_equal(copy.count, 3);
	assert_string_equal(copy.ns[2].name, "zdbfs-data");
	assert_int_equal(copy.ns[2].mode, 1);
	assert_int_equal(copy.ns[2].bundles[0].last, 5);
	assert_int_equal(manifest_encode(&copy, &again), 0);
	assert_int_equal(again.len, bytes.len);
	assert_memory_equal(again.data, bytes.data, bytes.len);
	for (size_t cut = 0; cut < bytes.len; cut++)
		assert_int_equal(manifest_decode(bytes.data, cut, &back, &what), -E_CORRUPT);
	buf_append_byte(&bytes, 0);
	assert_int_equal(manifest_decode(bytes.data, bytes.len, &back, &what), -E_CORRUPT);
	assert_string_equal(what, "length");
	buf_release(&bytes);
	buf_release(&again);
	manifest_release(&copy);
	manifest_release(&m);
}

/* No tag of its own (the object around it has one): what parses says something else, or is refused by name. */
static void flipped_bits_of_a_manifest(void **state)
{
	struct buf bytes = BUF_INIT(MANIFEST_MAX_BYTES), again = BUF_INIT(MANIFEST_MAX_BYTES);
	struct manifest m, back;

	(void)state;
	make(&m);
	manifest_init(&back);
	assert_int_equal(manifest_encode(&m, &bytes), 0);
	for (size_t bit = 0; bit < 8 * bytes.len; bit++) {
		const char *what = NULL;
		int rc;

		bytes.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
		rc = manifest_decode(bytes.data, bytes.len, &back, &what);
		if (rc == 0) {
			buf_clear(&again);
			assert_int_equal(manifest_encode(&back, &again), 0);
			assert_int_equal(again.len, bytes.len);
			assert_memory_equal(again.data, bytes.data, bytes.len);
		} else {
			assert_int_equal(rc, -E_CORRUPT);
			assert_non_null(what);
		}
		if (bit / 8 < 6)
			assert_int_equal(rc, -E_CORRUPT);
		manifest_release(&back);
		bytes.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	buf_release(&bytes);
	buf_release(&again);
	manifest_release(&m);
}

static void tails_and_bundles_have_no_gaps(void **state)
{
	struct manifest_bundle old[4], b;
	struct manifest_ns *ns;
	struct manifest_tail t;
	struct manifest m;
	size_t count;

	(void)state;
	manifest_init(&m);
	m.sequence = 1;
	ns = manifest_add(&m, "ns", 2, 0);
	assert_null(manifest_add(&m, "ns", 2, 0));
	assert_null(manifest_add(&m, "", 0, 0));
	t = tail(5, 6);
	assert_int_equal(manifest_ns_tail(ns, &t), -EINVAL);
	for (uint32_t i = 0; i < MANIFEST_TAILS_MAX; i++) {
		t = tail(i * 10, i * 10 + 10);
		assert_int_equal(manifest_ns_tail(ns, &t), 0);
		assert_int_equal(manifest_ns_tail_end(ns), i * 10 + 10);
	}
	t = tail(640, 650);
	assert_int_equal(manifest_ns_tail(ns, &t), -E2BIG);
	t = tail(630, 650);
	assert_int_equal(manifest_ns_tail(ns, &t), -EINVAL);
	manifest_ns_clear_tails(ns);
	t = tail(0, 650);
	assert_int_equal(manifest_ns_tail(ns, &t), 0);
	for (uint32_t i = 0; i < 6; i++) {
		b = span(i, i);
		manifest_ns_close(ns);
		assert_int_equal(manifest_ns_bundle(ns, &b, NULL, NULL), 0);
	}
	assert_int_equal(ns->tails_count, 0);
	assert_null(manifest_wrong(&m));
	b = span(7, 7);
	assert_int_equal(manifest_ns_bundle(ns, &b, NULL, NULL), -EINVAL);
	b = span(2, 9);
	assert_int_equal(manifest_ns_bundle(ns, &b, NULL, NULL), -EINVAL);
	b = span(1, 3);
	count = 2;
	assert_int_equal(manifest_ns_bundle(ns, &b, old, &count), -E2BIG);
	count = 4;
	assert_int_equal(manifest_ns_bundle(ns, &b, old, &count), 0);
	assert_int_equal(count, 3);
	assert_int_equal(old[2].last, 3);
	assert_int_equal(ns->bundles_count, 4);
	assert_null(manifest_wrong(&m));
	b = span(2, 4); /* cuts the merged one in two */
	assert_int_equal(manifest_ns_bundle(ns, &b, NULL, NULL), -EINVAL);
	ns->closed++;
	assert_string_equal(manifest_wrong(&m), "bundles do not cover the closed segments");
	ns->closed--;
	manifest_add(&m, "other", 5, 0);
	manifest_remove(&m, "ns", 2);
	assert_int_equal(m.count, 1);
	assert_string_equal(m.ns[0].name, "other");
	manifest_release(&m);
}

/* ---- bundles ---- */

#define FILES     4
#define FILE_SIZE 300

/* What index files hold, byte by byte; 0xff00 = nothing was ever written there. */
struct model {
	uint16_t at[FILES][FILE_SIZE];
};

static void model_clear(struct model *m)
{
	for (unsigned f = 0; f < FILES; f++)
		for (unsigned i = 0; i < FILE_SIZE; i++)
			m->at[f][i] = 0xff00;
}

static int model_apply(void *ctx, uint32_t file, uint32_t offset, const void *data, size_t len)
{
	struct model *m = ctx;

	assert_true(file < FILES && offset + len <= FILE_SIZE);
	for (size_t i = 0; i < len; i++)
		m->at[file][offset + i] = ((const uint8_t *)data)[i];
	return 0;
}

static const char *dir;
static uint64_t seed;

static int temp_file(void)
{
	char path[FILE_PATH_MAX];
	int fd;

	assert_true(snprintf(path, sizeof(path), "%s/bundle.XXXXXX", dir) > 0);
	fd = mkstemp(path);
	assert_true(fd >= 0);
	unlink(path);
	return fd;
}

/* A bundle of random, overlapping extents, also applied to the model. Returns its descriptor. */
static int random_bundle(uint32_t first, uint32_t last, struct model *m, unsigned extents_max)
{
	static uint8_t random[FILE_SIZE * 2];
	struct bundle_extent extents[64];
	const uint8_t *bytes[64];
	struct bundle_row rows[2];
	uint32_t count = (uint32_t)(test_random(&seed) % (extents_max + 1));
	uint64_t size;
	struct stat st;
	int fd = temp_file();

	memset(rows, 0, sizeof(rows));
	for (unsigned i = 0; i < 2; i++) {
		rows[i].segment = last - (i && last > first);
		rows[i].generation = last;
		rows[i].size = i;
	}
	for (size_t i = 0; i < sizeof(random); i++)
		random[i] = (uint8_t)test_random(&seed);
	for (uint32_t i = 0; i < count; i++) {
		uint32_t offset = (uint32_t)(test_random(&seed) % FILE_SIZE);
		uint32_t len = 1 + (uint32_t)(test_random(&seed) % (FILE_SIZE - offset));

		if (test_random(&seed) % 2 && len > 5)
			len = 1 + len % 5;
		extents[i] = (struct bundle_extent){
			.file = (uint32_t)(test_random(&seed) % FILES), .offset = offset, .len = len};
		bytes[i] = random + test_random(&seed) % FILE_SIZE;
		model_apply(m, extents[i].file, offset, bytes[i], len);
	}
	assert_int_equal(bundle_write(fd, first, last, rows, 2, extents, bytes, count, &size), 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, size);
	return fd;
}

static void assert_bundle_is(const struct bundle *b, const struct model *want)
{
	struct model got;
	uint64_t end = 0;

	model_clear(&got);
	assert_int_equal(bundle_apply(b, model_apply, &got), 0);
	assert_memory_equal(&got, want, sizeof(got));
	/* sorted, disjoint, and never two where one would do */
	for (uint32_t i = 0; i < b->extents_count; i++) {
		uint64_t at = (uint64_t)b->extents[i].file << 32 | b->extents[i].offset;

		assert_true(i == 0 || at > end);
		end = at + b->extents[i].len;
	}
}

static void bundles_hold_the_last_bytes(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 300; round++) {
		struct model want;
		struct bundle b;
		const char *what;
		int fd;

		model_clear(&want);
		fd = random_bundle(3, 4, &want, round % 64);
		assert_int_equal(bundle_open(fd, &b, &what), 0);
		assert_int_equal(b.first, 3);
		assert_int_equal(b.last, 4);
		assert_int_equal(b.rows_count, 2);
		assert_int_equal(b.rows[0].segment, 3);
		assert_bundle_is(&b, &want);
		bundle_release(&b);
		close(fd);
	}
}

static void merges_let_later_bytes_win(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 200; round++) {
		struct bundle list[BUNDLE_FAN], merged;
		const struct bundle *pointers[BUNDLE_FAN];
		struct bundle_row row = {.segment = 1, .generation = 77, .size = 5};
		unsigned count = 1 + (unsigned)(test_random(&seed) % BUNDLE_FAN);
		int fds[BUNDLE_FAN], fd = temp_file();
		struct model want;
		const char *what;
		uint64_t size;

		model_clear(&want);
		for (unsigned i = 0; i < count; i++) {
			fds[i] = random_bundle(10 + 2 * i, 11 + 2 * i, &want, 12);
			assert_int_equal(bundle_open(fds[i], &list[i], &what), 0);
			pointers[i] = &list[i];
		}
		assert_int_equal(bundle_merge(pointers, count, &row, 1, fd, &size), 0);
		assert_int_equal(bundle_open(fd, &merged, &what), 0);
		assert_int_equal(merged.first, 10);
		assert_int_equal(merged.last, 9 + 2 * count);
		assert_int_equal(merged.size, size);
		assert_int_equal(merged.rows_count, 1 + 2 * count);
		assert_int_equal(merged.rows[0].generation, 77);
		assert_bundle_is(&merged, &want);
		bundle_release(&merged);
		if (count > 2) {
			pointers[1] = &list[2];
			assert_int_equal(bundle_merge(pointers, count, NULL, 0, fd, &size), -EINVAL);
		}
		for (unsigned i = 0; i < count; i++) {
			bundle_release(&list[i]);
			close(fds[i]);
		}
		close(fd);
	}
}

/* What the engine writes at a rotation has no rows yet: they join without changing the extents. */
static void rows_join_a_bundle_without_any(void **state)
{
	static const uint8_t index[] = "IDX0 and records";
	struct bundle_extent extent = {.file = 5, .offset = 0, .len = sizeof(index)};
	const uint8_t *bytes = index;
	struct bundle_row row = {.segment = 5, .generation = 9, .size = 1000};
	struct bundle b;
	const struct bundle *list = &b;
	int fd = temp_file(), out = temp_file();
	uint64_t size;
	const char *what;

	(void)state;
	assert_int_equal(bundle_write(fd, 5, 5, NULL, 0, &extent, &bytes, 1, &size), 0);
	assert_int_equal(bundle_open(fd, &b, &what), 0);
	assert_int_equal(bundle_merge(&list, 1, &row, 1, out, &size), 0);
	bundle_release(&b);
	assert_int_equal(bundle_open(out, &b, &what), 0);
	assert_int_equal(b.rows_count, 1);
	assert_int_equal(b.rows[0].size, 1000);
	assert_int_equal(b.extents_count, 1);
	assert_int_equal(size, 20 + 32 + 12 + sizeof(index));
	bundle_release(&b);
	close(fd);
	close(out);
}

static void damaged_bundles_are_refused(void **state)
{
	struct model want;
	uint8_t bytes[4096];
	struct bundle b;
	const char *what;
	ssize_t len;
	int fd;

	(void)state;
	model_clear(&want);
	fd = random_bundle(1, 2, &want, 10);
	len = pread(fd, bytes, sizeof(bytes), 0);
	assert_true(len > 0 && len < (ssize_t)sizeof(bytes));
	assert_int_equal(bundle_parse(bytes, (size_t)len, &b, &what), 0);
	assert_bundle_is(&b, &want);
	bundle_release(&b);
	for (size_t cut = 0; cut < (size_t)len; cut++) {
		assert_int_equal(bundle_parse(bytes, cut, &b, &what), -E_CORRUPT);
		assert_non_null(what);
	}
	for (size_t bit = 0; bit < 20 * 8; bit++) {
		int rc;

		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		rc = bundle_parse(bytes, (size_t)len, &b, &what);
		/* first and last are bare numbers */
		assert_true(rc == -E_CORRUPT || (rc == 0 && bit / 8 >= 4 && bit / 8 < 12));
		bundle_release(&b);
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	close(fd);
}

/* Puts a bundle of the 32 that are due in their place. */
static void merge_32(struct manifest_ns *ns, size_t begin)
{
	struct manifest_bundle b = span(ns->bundles[begin].first, ns->bundles[begin + 31].last);
	size_t before = ns->bundles_count;

	assert_int_equal(manifest_ns_bundle(ns, &b, NULL, NULL), 0);
	assert_int_equal(ns->bundles_count, before - 31);
}

static struct manifest_ns *one_namespace(struct manifest *m)
{
	struct manifest_ns *ns;

	manifest_init(m);
	ns = manifest_add(m, "data", 4, 1);
	assert_non_null(ns);
	return ns;
}

static void thirty_two_of_a_level_are_due(void **state)
{
	struct manifest m;
	struct manifest_ns *ns = one_namespace(&m);
	size_t begin, merges = 0, most = 0;

	(void)state;
	for (uint32_t segment = 0; segment < 100000; segment++) {
		struct manifest_bundle b = span(segment, segment);

		assert_int_equal(manifest_ns_bundle(ns, &b, NULL, NULL), 0);
		for (; manifest_ns_merge_due(ns, 0, &begin); merges++)
			merge_32(ns, begin);
		most = ns->bundles_count > most ? ns->bundles_count : most;
	}
	assert_int_equal(ns->bundles[ns->bundles_count - 1].last, 99999);
	/* 100000 = 3 * 32^3 + 1 * 32^2 + 21 * 32 + 0 (format: a restore reads 25) */
	assert_int_equal(ns->bundles_count, 25);
	assert_true(most <= 4 * 32);
	assert_true(merges > 3000);
	manifest_release(&m);
}

/* Merges that did not happen in their time happen later, in the same shape; no bundle begins where its level does not. */
static void merges_left_behind_are_made_up_for(void **state)
{
	struct manifest m;
	struct manifest_ns *ns = one_namespace(&m);
	struct manifest_bundle first = span(0, 15);
	size_t begin;

	(void)state;
	assert_int_equal(manifest_ns_bundle(ns, &first, NULL, NULL), 0);
	for (uint32_t segment = 16; segment < 32 + 64 + 31; segment++) {
		struct manifest_bundle b = span(segment, segment);

		assert_int_equal(manifest_ns_bundle(ns, &b, NULL, NULL), 0);
	}
	assert_true(manifest_ns_merge_due(ns, 0, &begin));
	assert_int_equal(ns->bundles[begin].first, 32);
	merge_32(ns, begin);
	assert_true(manifest_ns_merge_due(ns, 0, &begin));
	assert_int_equal(ns->bundles[begin].first, 64);
	merge_32(ns, begin);
	assert_false(manifest_ns_merge_due(ns, 0, &begin)); /* 31 are left */
	manifest_release(&m);
}

/* A data file of so many bytes. */
static void data_file(const char *ns, unsigned n, size_t size)
{
	char path[FILE_PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/cover/%s", dir, ns);
	assert_int_equal(file_mkdir_p(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/cover/%s/d%u", dir, ns, n);
	fd = open(path, O_WRONLY | O_CREAT, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	close(fd);
}

static bool is_scratch(const char *ns)
{
	return strcmp(ns, "scratch") == 0;
}

#define ASSERT_UNCOVERED(want_segments, want_bytes)                                                          \
	do {                                                                                                 \
		assert_int_equal(uncovered_count(&m, path, is_scratch, &u), 0);                              \
		assert_int_equal(u.segments, want_segments);                                                 \
		assert_int_equal(u.bytes, want_bytes);                                                       \
	} while (0)

static void what_a_point_does_not_hold_is_counted(void **state)
{
	struct manifest m;
	struct manifest_ns *ns = one_namespace(&m);
	struct manifest_tail t = tail(0, 500), grown = tail(500, 600);
	struct uncovered u;
	char path[FILE_PATH_MAX];

	(void)state;
	snprintf(path, sizeof(path), "%s/cover", dir);
	ASSERT_UNCOVERED(0, 0); /* no directory yet */
	data_file("data", 0, 28);
	ASSERT_UNCOVERED(0, 0); /* a head is nothing that could be lost */
	data_file("data", 0, 600);
	ASSERT_UNCOVERED(1, 572);
	assert_int_equal(manifest_ns_tail(ns, &t), 0);
	ASSERT_UNCOVERED(1, 100);
	assert_int_equal(manifest_ns_tail(ns, &grown), 0);
	ASSERT_UNCOVERED(0, 0);
	/* closed, but not in the point; the tail covers the same bytes of it */
	data_file("data", 0, 1000);
	data_file("data", 1, 128);
	ASSERT_UNCOVERED(2, 500);
	manifest_ns_close(ns);
	ASSERT_UNCOVERED(1, 100);
	/* a namespace that the point does not know */
	data_file("new", 0, 29);
	ASSERT_UNCOVERED(2, 101);
	data_file("scratch", 0, 100);
	ASSERT_UNCOVERED(2, 101);
	manifest_release(&m);
}

static int begin_all(void **state)
{
	(void)state;
	seed = test_seed();
	dir = test_dir_new();
	return 0;
}

static int end_all(void **state)
{
	(void)state;
	test_dir_remove(dir);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(manifests_come_back),
		cmocka_unit_test(flipped_bits_of_a_manifest),
		cmocka_unit_test(tails_and_bundles_have_no_gaps),
		cmocka_unit_test(bundles_hold_the_last_bytes),
		cmocka_unit_test(merges_let_later_bytes_win),
		cmocka_unit_test(rows_join_a_bundle_without_any),
		cmocka_unit_test(damaged_bundles_are_refused),
		cmocka_unit_test(thirty_two_of_a_level_are_due),
		cmocka_unit_test(merges_left_behind_are_made_up_for),
		cmocka_unit_test(what_a_point_does_not_hold_is_counted),
	};

	return cmocka_run_group_tests_name("object_manifest", tests, begin_all, end_all);
}
