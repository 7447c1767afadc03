/*
 * The object room under failing memory, failing random bytes and files, and how much memory it takes: everything is done or
 * reported, nothing is lost or leaked.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/support/object_rig.h"
#include "tests/unit/support/sys_test.h"

#include "core/base/buf.h"
#include "core/base/err.h"
#include "core/base/file.h"
#include "core/base/mem.h"
#include "core/crypto/crypto.h"
#include "core/object/bundle.h"
#include "core/object/restore.h"

#define SIZE 150000

static uint8_t bytes[SIZE];
static struct rig rig;
static const struct obj_geometry geometry = {.k = 2, .n = 4, .stripe_log2 = 16, .value_log2 = 16};

static void start(void)
{
	rig_start_volume(&rig, 6, 2, 4);
}

static int write_object(struct record *rec)
{
	return rig_write(&rig, &geometry, 1, bytes, SIZE, rec, NULL);
}

static int read_object(const struct record *rec)
{
	return rig_read(&rig, rec, bytes, NULL);
}

/* A new work, so that nothing is kept from the round before; every round makes the same allocations. */
static void fresh_work(void)
{
	obj_work_free(rig.work);
	rig.work = NULL;
}

static int work_again(void)
{
	return obj_work_new(NULL, &rig.work);
}

/* ---- what is done under faults; each returns 0 or the error, and checks its own result ---- */

static struct record stored; /* of an object that is there */

static int do_write(void)
{
	struct record_state st;
	struct record rec;
	int rc;

	record_init(&rec);
	rc = write_object(&rec);
	if (rc == 0)
		rc = record_store(&rig.meta, rig.work, &rec, &st);
	record_release(&rec);
	return rc;
}

static int do_read(void)
{
	return read_object(&stored);
}

static int do_read_by_name(void)
{
	enum obj_answer answer;
	struct record rec;
	struct obj_id id = rig_id(&rig, 1);
	int code = 0;

	record_init(&rec);
	answer = record_read(&rig.meta, rig.work, &id, &rec, NULL, &code);
	assert_true(answer == OBJ_FOUND || (answer == OBJ_UNKNOWN && code == -ENOMEM)); /* never absent */
	if (answer == OBJ_FOUND) {
		code = 0;
		assert_int_equal(rec.priv.number, 1);
	}
	record_release(&rec);
	return code;
}

static int do_check(void)
{
	struct obj_report report;
	int rc = obj_check(rig.work, &stored, &rig.stores, true, &report);

	if (rc >= 0)
		assert_int_equal(rc, 4);
	return rc < 0 ? rc : 0;
}

static int do_repair(void)
{
	struct obj_store *targets[EC_PIECES_MAX] = {[1] = rig.data_list[4]};
	struct obj_report report;
	struct record rec;
	int rc;

	record_init(&rec);
	rc = record_copy(&rec, &stored);
	if (rc == 0)
		rc = obj_repair(rig.work, &rec, &rig.stores, 2, targets, &report, NULL);
	if (rc == 0)
		assert_string_equal(record_shard(&rec, 1)->label, "data4");
	record_release(&rec);
	return rc;
}

static int do_record_repair(void)
{
	struct record_state st;
	struct obj_id id = rig_id(&rig, 1);

	return record_repair(&rig.meta, rig.work, &id, &st);
}

static int do_take_over(void)
{
	uint64_t generation;
	int rc = meta_take_over(&rig.meta, rig.work, rig.generation, &generation, NULL);

	return rc == 0 ? meta_fence_check(&rig.meta, rig.work, generation, NULL) : rc;
}

static uint64_t sequence;

static int do_publish_and_find(void)
{
	struct restore_options options = {.generation = rig.generation};
	struct record_state st;
	struct record old;
	struct manifest m, found;
	enum obj_answer answer;
	int rc = -ENOMEM;

	record_init(&old);
	manifest_init(&m);
	manifest_init(&found);
	m.generation = rig.generation;
	m.sequence = ++sequence;
	if (manifest_add(&m, "ns", 2, 0))
		rc = restore_publish(&rig.meta, rig.work, &m, &geometry, rig.data_list, &old, &st, NULL);
	if (rc == 0) {
		answer = restore_find_manifest(&rig.meta, rig.work, &rig.stores, &options, &found, &rc, NULL);
		assert_true(answer == OBJ_FOUND || (answer == OBJ_UNKNOWN && rc == -ENOMEM));
		if (answer == OBJ_FOUND)
			assert_int_equal(found.sequence, sequence);
	}
	manifest_release(&m);
	manifest_release(&found);
	record_release(&old);
	return rc;
}

static int do_bundles(void)
{
	static const uint8_t data[] = "some bytes of an index";
	struct bundle_extent extents[2] = {{.file = 1, .offset = 0, .len = 10},
					   {.file = 1, .offset = 5, .len = 10}};
	const uint8_t *at[2] = {data, data};
	struct bundle_row row = {.segment = 1};
	struct bundle b = {.fd = -1};
	const struct bundle *list = &b;
	FILE *one = tmpfile(), *two = tmpfile();
	uint64_t size;
	int rc;

	assert_non_null(one);
	assert_non_null(two);
	rc = bundle_write(fileno(one), 1, 1, NULL, 0, extents, at, 2, &size);
	if (rc == 0)
		rc = bundle_open(fileno(one), &b, NULL);
	if (rc == 0) {
		rc = bundle_merge(&list, 1, &row, 1, fileno(two), &size);
		bundle_release(&b);
	}
	fclose(one);
	fclose(two);
	return rc;
}

static const struct {
	const char *name;
	int (*run)(void);
	bool randoms;
} operations[] = {
	{"write", do_write, true},
	{"read", do_read, false},
	{"read by name", do_read_by_name, false},
	{"check", do_check, false},
	{"repair", do_repair, false},
	{"record repair", do_record_repair, false},
	{"publish and find", do_publish_and_find, true},
	{"take over", do_take_over, true},
	{"bundles", do_bundles, false},
};

#define OPERATIONS (sizeof(operations) / sizeof(operations[0]))

static void prepare(void)
{
	struct record_state st;

	start();
	rig_fill(bytes, SIZE, 3, true);
	record_init(&stored);
	assert_int_equal(write_object(&stored), 0);
	assert_int_equal(record_store(&rig.meta, rig.work, &stored, &st), 0);
	sequence = 0;
}

static void finish(void)
{
	record_release(&stored);
	rig_stop(&rig);
}

static void every_allocation_may_fail(void **state)
{
	(void)state;
	for (size_t op = 0; op < OPERATIONS; op++) {
		uint64_t n;

		prepare();
		for (n = 1;; n++) {
			bool fired;
			size_t leaked;
			int rc;

			fresh_work();
			mem_fault_begin();
			mem_fault_arm(n);
			rc = work_again();
			if (rc == 0)
				rc = operations[op].run();
			fired = mem_fault_fired();
			mem_fault_arm(0);
			obj_work_free(rig.work);
			rig.work = NULL;
			leaked = mem_fault_end();
			assert_int_equal(work_again(), 0);
			if (leaked)
				fail_msg("%s: %zu blocks leaked when allocation %llu failed",
					 operations[op].name, leaked, (unsigned long long)n);
			/*
			 * A stripe that cannot be compressed for lack of memory is stored as it is; a lane without memory
			 * for an answer is a store that did not answer.
			 */
			if (rc != 0 && rc != -ENOMEM && rc != -EAGAIN)
				fail_msg("%s: %s when allocation %llu failed", operations[op].name,
					 err_str(rc), (unsigned long long)n);
			if (!fired) {
				assert_int_equal(rc, 0);
				break;
			}
			/* whatever failed, what was stored is there */
			assert_int_equal(do_read(), 0);
			assert_true(n < 2000);
		}
		print_message("%s: %llu allocations\n", operations[op].name, (unsigned long long)(n - 1));
		finish();
	}
}

static void every_random_number_may_fail(void **state)
{
	(void)state;
	for (size_t op = 0; op < OPERATIONS; op++) {
		prepare();
		for (uint64_t n = 1;; n++) {
			bool fired;
			int rc;

			sys_fault_begin();
			sys_fault_arm(SYS_CALL_RANDOM, n, EIO);
			rc = operations[op].run();
			fired = sys_fault_fired();
			sys_fault_end();
			if (!fired) {
				assert_int_equal(rc, 0);
				assert_true(n > 1 || !operations[op].randoms);
				break;
			}
			assert_int_equal(rc, -EIO);
			assert_true(operations[op].randoms);
		}
		finish();
	}
}

/* A restore to a file: each system call fails once; the file is there whole, or not at all. */
static void every_call_of_a_restore_may_fail(void **state)
{
	const char *dir = test_dir_new();
	char path[FILE_PATH_MAX];

	(void)state;
	prepare();
	assert_int_equal(file_join(path, sizeof(path), dir, "d1"), 0);
	for (uint64_t n = 1;; n++) {
		char *data = NULL;
		size_t len = 0;
		bool fired;
		int rc;

		sys_fault_begin();
		sys_fault_arm(SYS_CALL_ANY, n, EIO);
		rc = obj_read_file(rig.work, &stored, &rig.stores, path, NULL, NULL);
		fired = sys_fault_fired();
		sys_fault_end();
		if (file_exists(path) == 1) {
			assert_int_equal(file_read_all(path, SIZE, &data, &len), 0);
			assert_int_equal(len, SIZE);
			assert_memory_equal(data, bytes, SIZE);
			mem_free(data);
			assert_int_equal(unlink(path), 0);
		} else {
			assert_true(rc != 0);
		}
		/* nothing half-made beside it */
		assert_int_equal(rmdir(dir), 0);
		assert_int_equal(mkdir(dir, 0700), 0);
		if (!fired) {
			assert_int_equal(rc, 0);
			break;
		}
		assert_true(n < 100);
	}
	finish();
	test_dir_remove(dir);
}

static void short_reads_of_the_source(void **state)
{
	const char *dir = test_dir_new();
	struct obj_file_range range = {0};
	struct obj_source source;
	struct obj_report report;
	char path[FILE_PATH_MAX];
	struct record rec;
	struct obj_id id = rig_id(&rig, 1);

	(void)state;
	prepare();
	record_init(&rec);
	assert_int_equal(file_join(path, sizeof(path), dir, "d1"), 0);
	assert_int_equal(file_write_atomic(path, 0600, bytes, SIZE), 0);
	assert_int_equal(obj_id_set(&id, rig.generation, OBJ_SEGMENT, 2, "ns", 2), 0);
	for (uint64_t n = 1; n <= 4; n++) {
		int rc;

		sys_fault_begin();
		range.fd = open(path, O_RDONLY);
		source = obj_source_file(&range, SIZE);
		sys_fault_arm_short(SYS_CALL_READ, n, 1000);
		rc = obj_write(rig.work, rig.keys, &id, &geometry, rig.data_list, &source, &rec, &report);
		assert_int_equal(rc, 0);
		assert_int_equal(read_object(&rec), 0);
		sys_fault_disarm();
		sys_fault_arm(SYS_CALL_READ, n, EIO);
		rc = obj_write(rig.work, rig.keys, &id, &geometry, rig.data_list, &source, &rec, &report);
		assert_int_equal(rc, n <= 3 ? -EIO : 0);
		close(range.fd);
		sys_fault_end();
		record_release(&rec);
	}
	finish();
	test_dir_remove(dir);
}

/* ---- memory ---- */

static pthread_mutex_t count_lock = PTHREAD_MUTEX_INITIALIZER;
static size_t held, peak;

static void count(const void *p, int sign)
{
	size_t size = p ? malloc_usable_size((void *)(uintptr_t)p) : 0;

	pthread_mutex_lock(&count_lock);
	held = sign > 0 ? held + size : held - size;
	peak = held > peak ? held : peak;
	pthread_mutex_unlock(&count_lock);
}

static void *count_alloc(size_t size)
{
	void *p = mem_table_libc.alloc(size);

	count(p, 1);
	return p;
}

static void *count_zalloc(size_t size)
{
	void *p = mem_table_libc.zalloc(size);

	count(p, 1);
	return p;
}

static void *count_realloc(void *old, size_t size)
{
	void *p;

	count(old, -1);
	p = mem_table_libc.realloc(old, size);
	count(p ? p : old, 1);
	return p;
}

static void *count_aligned(size_t align, size_t size)
{
	void *p = mem_table_libc.aligned(align, size);

	count(p, 1);
	return p;
}

static void count_free(void *p)
{
	count(p, -1);
	mem_table_libc.free(p);
}

static const struct mem_ops counting = {count_alloc, count_zalloc, count_realloc, count_aligned, count_free};

/* A store that takes everything and keeps nothing. */
static int sink_set(struct obj_store *s, const void *key, size_t key_len, const void *value, size_t len,
		    uint64_t *assigned)
{
	(void)s, (void)key, (void)key_len, (void)value, (void)len;
	if (assigned)
		*assigned = 1;
	return 0;
}

static int sink_get(struct obj_store *s, const void *key, size_t key_len, void *out, size_t max, size_t *len)
{
	(void)s, (void)key, (void)key_len, (void)out, (void)max, (void)len;
	return -ENOENT;
}

static int sink_del(struct obj_store *s, const void *key, size_t key_len)
{
	(void)s, (void)key, (void)key_len;
	return 0;
}

static int pattern_read(void *ctx, uint64_t offset, void *buf, size_t len)
{
	(void)ctx;
	rig_fill(buf, len < 4096 ? len : 4096, (uint32_t)(offset >> 16), false);
	for (size_t at = 4096; at < len; at += 4096)
		memcpy((uint8_t *)buf + at, buf, len - at < 4096 ? len - at : 4096);
	return 0;
}

static void a_write_takes_no_more_than_it_says(void **state)
{
	static const struct {
		unsigned k, n;
		size_t memory;
	} shapes[] = {{4, 6, 32u << 20}, {4, 6, 4u << 20}, {10, 15, 32u << 20}, {20, 32, 32u << 20}};
	static const struct obj_store_ops sink_ops = {.set = sink_set, .get = sink_get, .del = sink_del};

	(void)state;
	for (size_t s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++) {
		for (uint64_t size = 1 << 20; size <= 256u << 20; size *= 16) {
			struct obj_work_options options = {.memory_max = shapes[s].memory};
			struct obj_geometry g = {.k = shapes[s].k, .n = shapes[s].n};
			struct obj_source source = {.read = pattern_read, .size = size};
			struct obj_report report;
			struct record rec;
			struct obj_id id = rig_id(&rig, 1);

			held = peak = 0;
			mem_table = &counting;
			assert_int_equal(rig_start(&rig, g.n, 2, 0, &options), 0);
			for (unsigned i = 0; i < g.n; i++)
				rig.data[i].store.ops = &sink_ops;
			assert_int_equal(obj_geometry_plan(&g, shapes[s].memory), 0);
			assert_int_equal(obj_id_set(&id, 1, OBJ_SEGMENT, 1, "ns", 2), 0);
			record_init(&rec);
			assert_int_equal(
				obj_write(rig.work, rig.keys, &id, &g, rig.data_list, &source, &rec, &report),
				0);
			print_message(
				"write %u+%u, %3llu MiB, B 2^%u, C 2^%u: peak %5.2f MiB, formula %5.2f MiB\n",
				g.k, g.n - g.k, (unsigned long long)(size >> 20), g.stripe_log2, g.value_log2,
				(double)peak / (1 << 20), (double)obj_geometry_memory(&g) / (1 << 20));
			/* the record itself (lengths and keys) is not in flight */
			assert_true(peak <= obj_geometry_memory(&g) + 64 * 1024 +
						    rec.pub.stripes * (sizeof(uint32_t) + 8u * g.n));
			record_release(&rec);
			rig_stop(&rig);
			assert_int_equal(held, 0);
			mem_table = &mem_table_libc;
		}
	}
}

static int drop_write(void *ctx, uint64_t offset, const void *data, size_t len)
{
	(void)ctx, (void)offset, (void)data, (void)len;
	return 0;
}

static void a_read_takes_no_more_than_it_says(void **state)
{
	(void)state;
	for (uint64_t size = 1 << 20; size <= 16u << 20; size *= 4) {
		struct obj_geometry g = {.k = 4, .n = 6};
		struct obj_source source = {.read = pattern_read, .size = size};
		struct obj_sink sink = {.write = drop_write};
		size_t stripe, formula;
		struct obj_report report;
		struct record rec;
		struct obj_id id = rig_id(&rig, 1);

		assert_int_equal(rig_start(&rig, g.n, 2, 0, NULL), 0);
		assert_int_equal(obj_id_set(&id, (uint64_t)1 << 32, OBJ_SEGMENT, 1, "ns", 2), 0);
		record_init(&rec);
		assert_int_equal(
			obj_write(rig.work, rig.keys, &id, &g, rig.data_list, &source, &rec, &report), 0);
		rig.data[0].is_down = true;
		fresh_work();
		held = peak = 0;
		mem_table = &counting;
		assert_int_equal(work_again(), 0);
		assert_int_equal(obj_read(rig.work, &rec, &rig.stores, &sink, &report, NULL), 0);
		stripe = (size_t)1 << rec.pub.stripe_log2;
		formula = 4 * (3 * stripe + 80 * (size_t)g.n); /* W = 4 */
		print_message("read 4+2, %2llu MiB: peak %5.2f MiB, formula %5.2f MiB\n",
			      (unsigned long long)(size >> 20), (double)peak / (1 << 20),
			      (double)formula / (1 << 20));
		assert_true(peak <= formula + 512 * 1024);
		obj_work_free(rig.work);
		rig.work = NULL;
		assert_int_equal(held, 0);
		mem_table = &mem_table_libc;
		assert_int_equal(work_again(), 0);
		record_release(&rec);
		rig_stop(&rig);
	}
}

static int begin(void **state)
{
	const struct ec *ec;

	(void)state;
	/* codes are made once for the process and never freed: before anything is counted */
	for (unsigned k = 1; k < 32; k++)
		for (unsigned n = k + 1; n <= 32; n++)
			if (ec_get(k, n, &ec) != 0)
				return -1;
	return crypto_init();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_allocation_may_fail),
		cmocka_unit_test(every_random_number_may_fail),
		cmocka_unit_test(every_call_of_a_restore_may_fail),
		cmocka_unit_test(short_reads_of_the_source),
		cmocka_unit_test(a_write_takes_no_more_than_it_says),
		cmocka_unit_test(a_read_takes_no_more_than_it_says),
	};

	return cmocka_run_group_tests_name("object_fault", tests, begin, NULL);
}
