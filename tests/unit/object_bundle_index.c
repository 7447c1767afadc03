/* Index files put together from bundles: equal to a plain model, however the bundles were merged; what is not whole is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/err.h"
#include "core/base/file.h"
#include "core/object/bundle.h"
#include "tests/unit/support/sys_test.h"

#define SEGMENTS   12u
#define FILE_BYTES 400u

struct segment {
	int fd; /* of its bundle */
	struct bundle b;
};

struct history {
	uint32_t size[SEGMENTS];
	uint8_t bytes[SEGMENTS][FILE_BYTES]; /* of each index file, as it is at the end */
	struct segment one[SEGMENTS];
};

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

static uint32_t below(uint32_t n)
{
	return (uint32_t)(test_random(&seed) % n);
}

/* Segment s writes i<s> and rewrites places in older files. */
static void segment_make(struct history *h, uint32_t s)
{
	uint8_t fresh[8][16];
	struct bundle_extent extents[9];
	const uint8_t *bytes[9];
	uint32_t count = 1;
	const char *what;
	uint64_t size;

	h->size[s] = 29 + below(FILE_BYTES - 29);
	for (uint32_t i = 0; i < h->size[s]; i++)
		h->bytes[s][i] = (uint8_t)test_random(&seed);
	extents[0] = (struct bundle_extent){.file = s, .offset = 0, .len = h->size[s]};
	bytes[0] = h->bytes[s];
	for (unsigned i = 0; i < 8 && s > 0; i++) {
		uint32_t file = below(s), len = 1 + below(16), offset = below(h->size[file] - 16);

		for (unsigned k = 0; k < len; k++)
			fresh[i][k] = (uint8_t)test_random(&seed);
		memcpy(h->bytes[file] + offset, fresh[i], len);
		extents[count] = (struct bundle_extent){.file = file, .offset = offset, .len = len};
		bytes[count++] = fresh[i];
	}
	h->one[s].fd = temp_file();
	assert_int_equal(bundle_write(h->one[s].fd, s, s, NULL, 0, extents, bytes, count, &size), 0);
	assert_int_equal(bundle_open(h->one[s].fd, &h->one[s].b, &what), 0);
}

static void history_make(struct history *h)
{
	memset(h, 0, sizeof(*h));
	for (uint32_t s = 0; s < SEGMENTS; s++)
		segment_make(h, s);
}

static void history_free(struct history *h)
{
	for (uint32_t s = 0; s < SEGMENTS; s++) {
		bundle_release(&h->one[s].b);
		close(h->one[s].fd);
	}
}

static void merged(struct history *h, uint32_t first, uint32_t last, struct segment *out)
{
	const struct bundle *list[SEGMENTS];
	const char *what;
	uint64_t size;

	for (uint32_t s = first; s <= last; s++)
		list[s - first] = &h->one[s].b;
	out->fd = temp_file();
	assert_int_equal(bundle_merge(list, last - first + 1, NULL, 0, out->fd, &size), 0);
	assert_int_equal(bundle_open(out->fd, &out->b, &what), 0);
}

static void segment_free(struct segment *s)
{
	bundle_release(&s->b);
	close(s->fd);
}

static void assert_file(struct history *h, const struct bundle_index *x)
{
	uint8_t got[FILE_BYTES + 1];

	assert_int_equal(x->size, h->size[x->number]);
	assert_int_equal(pread(x->fd, got, sizeof(got), 0), x->size);
	assert_memory_equal(got, h->bytes[x->number], x->size);
}

/* Later bytes win, and it makes no difference which neighbours were merged, or when. */
static void equal_to_the_model(void **state)
{
	struct history h;

	(void)state;
	for (unsigned round = 0; round < 200; round++) {
		struct bundle_index x;
		const char *what;

		history_make(&h);
		bundle_index_begin(&x, temp_file(), below(SEGMENTS));
		while (x.next < SEGMENTS) {
			uint32_t back = x.next == x.number || below(4) == 0 ? below(x.next + 1) : 0;
			struct segment s;

			/* a merge that came meanwhile reaches back */
			merged(&h, x.next - back, x.next + below(SEGMENTS - x.next), &s);
			assert_int_equal(bundle_index_add(&x, &s.b, &what), 0);
			assert_int_equal(x.next, s.b.last + 1);
			segment_free(&s);
		}
		assert_file(&h, &x);
		close(x.fd);
		history_free(&h);
	}
}

/* Without the bundle of its own segment, or with one missing between, nothing comes of it. */
static void a_missing_one_is_refused(void **state)
{
	struct bundle_index x;
	struct history h;
	struct segment s;
	const char *what;

	(void)state;
	history_make(&h);
	for (uint32_t n = 0; n + 2 < SEGMENTS; n++) {
		bundle_index_begin(&x, temp_file(), n);
		assert_int_equal(bundle_index_add(&x, &h.one[n + 1].b, &what), -E_CORRUPT);
		assert_int_equal(x.size, 0);
		if (n > 0)
			assert_int_equal(bundle_index_add(&x, &h.one[n - 1].b, &what), -E_CORRUPT);
		assert_int_equal(bundle_index_add(&x, &h.one[n].b, &what), 0);
		assert_int_equal(bundle_index_add(&x, &h.one[n + 2].b, &what), -E_CORRUPT);
		assert_string_equal(what, "order of segments");
		assert_int_equal(x.next, n + 1);
		merged(&h, n + 1, n + 2, &s);
		assert_int_equal(bundle_index_add(&x, &s.b, &what), 0);
		assert_int_equal(x.next, n + 3);
		segment_free(&s);
		close(x.fd);
	}
	history_free(&h);
}

static int add_one(struct bundle_index *x, uint32_t segment, uint32_t file, uint32_t offset, uint32_t len)
{
	static const uint8_t zeros[FILE_BYTES];
	struct bundle_extent e = {.file = file, .offset = offset, .len = len};
	const uint8_t *bytes = zeros;
	const char *what;
	struct bundle b;
	uint64_t size;
	int rc, fd = temp_file();

	assert_int_equal(bundle_write(fd, segment, segment, NULL, 0, &e, &bytes, 1, &size), 0);
	assert_int_equal(bundle_open(fd, &b, &what), 0);
	rc = bundle_index_add(x, &b, &what);
	bundle_release(&b);
	close(fd);
	return rc;
}

/* Holes, growth by another segment, a segment that says nothing of its own file: no bundles of one history. */
static void what_cannot_be_is_refused(void **state)
{
	struct bundle_index x;

	(void)state;
	bundle_index_begin(&x, temp_file(), 3);
	assert_int_equal(add_one(&x, 3, 3, 1, 50), -E_CORRUPT);
	bundle_index_begin(&x, x.fd, 3);
	assert_int_equal(add_one(&x, 3, 2, 0, 50), -E_CORRUPT);
	bundle_index_begin(&x, x.fd, 3);
	assert_int_equal(add_one(&x, 3, 3, 0, 50), 0);
	assert_int_equal(add_one(&x, 4, 3, 40, 10), 0);
	assert_int_equal(add_one(&x, 5, 3, 41, 10), -E_CORRUPT);
	assert_int_equal(add_one(&x, 5, 3, 60, 1), -E_CORRUPT);
	assert_int_equal(add_one(&x, 5, 9, 60, 1), 0);
	assert_int_equal(x.size, 50);
	close(x.fd);
}

/* Any call and any allocation may fail: an error, never another file. */
static void failing(void **state)
{
	struct history h;
	unsigned done = 0;

	(void)state;
	history_make(&h);
	for (unsigned what_fails = 0; what_fails < 2; what_fails++) {
		bool fired = true;

		for (uint64_t n = 1; fired; n++) {
			struct bundle_index x;
			const char *what;
			int rc = 0;

			bundle_index_begin(&x, temp_file(), 2);
			sys_fault_begin();
			mem_fault_begin();
			if (what_fails == 0)
				sys_fault_arm(SYS_CALL_ANY, n, EIO);
			else
				mem_fault_arm(n);
			for (uint32_t s = 2; rc == 0 && s < SEGMENTS; s++)
				rc = bundle_index_add(&x, &h.one[s].b, &what);
			fired = what_fails == 0 ? sys_fault_fired() : mem_fault_fired();
			assert_int_equal(mem_fault_end(), 0);
			sys_fault_end();
			assert_int_equal(rc, !fired ? 0 : what_fails == 0 ? -EIO : -ENOMEM);
			if (rc == 0)
				assert_file(&h, &x);
			close(x.fd);
			done++;
		}
	}
	assert_true(done > 20);
	history_free(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(equal_to_the_model),
		cmocka_unit_test(a_missing_one_is_refused),
		cmocka_unit_test(what_cannot_be_is_refused),
		cmocka_unit_test(failing),
	};
	int failed;

	dir = test_dir_new();
	seed = test_seed();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	test_dir_remove(dir);
	return failed;
}
