/*
 * Objects on stores: every size round the borders of stripes, values and pieces; lost, full, slow, lying stores; ranges;
 * check, repair, deletion; how much is asked and how much memory is taken.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/support/object_rig.h"
#include "tests/unit/support/sys_test.h"

#include "core/base/buf.h"
#include "core/base/endian.h"
#include "core/base/err.h"
#include "core/base/file.h"
#include "core/base/mem.h"
#include "core/coding/fragment.h"
#include "core/crypto/aead.h"
#include "core/crypto/crypto.h"

#define BYTES_MAX (3u << 20)

static uint8_t *bytes, *back;
static struct rig rig;

static int write_bytes(const struct obj_geometry *g, size_t size, struct record *rec,
		       struct obj_report *report)
{
	return rig_write(&rig, g, 3, bytes, size, rec, report);
}

static void assert_reads(const struct record *rec)
{
	assert_int_equal(rig_read(&rig, rec, bytes, NULL), 0);
}

static void start(unsigned stores)
{
	assert_int_equal(rig_start(&rig, stores, 2, 0, NULL), 0);
}

/* A volume of g->n stores with one object of so many bytes in it. */
static void make_object(const struct obj_geometry *g, size_t size, bool packs, struct record *rec)
{
	start(g->n);
	record_init(rec);
	rig_fill(bytes, size, 5, packs);
	assert_int_equal(write_bytes(g, size, rec, NULL), 0);
}

static void drop_object(struct record *rec)
{
	record_release(rec);
	rig_stop(&rig);
}

static void all_sizes_round_the_borders(void **state)
{
	static const struct {
		unsigned k, n, stripe, value;
	} shapes[] = {{1, 2, 16, 17}, {2, 4, 16, 16},   {4, 6, 16, 16},
		      {4, 6, 17, 18}, {10, 15, 16, 16}, {20, 32, 16, 16}};

	(void)state;
	for (unsigned packs = 0; packs < 2; packs++) {
		rig_fill(bytes, BYTES_MAX, 99, packs);
		for (size_t s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++) {
			size_t b = (size_t)1 << shapes[s].stripe, c = (size_t)1 << shapes[s].value,
			       k = shapes[s].k;
			const size_t middle[] = {0, 1,     17,        k,      b,  2 * b, 5 * b,
						 c, c * k, 2 * c * k, b - 17, 80, 4096};

			for (size_t i = 0; i < sizeof(middle) / sizeof(middle[0]); i++) {
				for (int d = -2; d <= 2; d++) {
					struct obj_geometry g = {.k = shapes[s].k,
								 .n = shapes[s].n,
								 .stripe_log2 = shapes[s].stripe,
								 .value_log2 = shapes[s].value,
								 .aead = i % 2 ? AEAD_AES256GCM
									       : AEAD_XCHACHA20};
					size_t size = middle[i] + (size_t)d;
					struct obj_report report;
					struct record rec;

					if ((int64_t)middle[i] + d < 0 || size > BYTES_MAX ||
					    (i > 7 && d % 2))
						continue;
					record_init(&rec);
					start(shapes[s].n);
					assert_int_equal(write_bytes(&g, size, &rec, &report), 0);
					assert_int_equal(report.unreachable, 0);
					assert_int_equal(rec.shards_count, g.n);
					assert_reads(&rec);
					/* the last m data shards are gone: parity works too */
					for (unsigned lost = 0; lost < g.n - g.k; lost++)
						rig.data[lost].is_down = true;
					assert_reads(&rec);
					drop_object(&rec);
				}
			}
		}
	}
}

static void any_k_stores_are_enough(void **state)
{
	struct obj_geometry g = {.k = 4, .n = 6, .stripe_log2 = 16, .value_log2 = 16};
	struct obj_report report;
	struct record rec;

	(void)state;
	make_object(&g, 200000, false, &rec);
	for (unsigned mask = 0; mask < 64; mask++) {
		unsigned up = (unsigned)__builtin_popcount(mask);

		for (unsigned i = 0; i < 6; i++)
			rig.data[i].is_down = !(mask >> i & 1);
		if (up >= 4)
			assert_reads(&rec);
		else
			assert_int_equal(rig_read(&rig, &rec, bytes, &report), -EAGAIN);
	}
	/* stores that answer and have nothing: not unknown, but lost */
	rig_all_up(&rig);
	for (unsigned i = 0; i < 3; i++)
		rig_store_clear(&rig.data[i]);
	assert_int_equal(rig_read(&rig, &rec, bytes, &report), -EIO);
	assert_int_equal(report.bad & 7, report.bad);
	rig.data[5].is_down = true;
	assert_int_equal(rig_read(&rig, &rec, bytes, &report), -EAGAIN);
	drop_object(&rec);
}

static void ranges_are_right_and_cheap(void **state)
{
	struct obj_geometry g = {.k = 4, .n = 6, .stripe_log2 = 16, .value_log2 = 17};
	struct obj_report report;
	struct record rec;
	size_t size = 1000000;
	uint32_t seed = 17;
	uint64_t before = 0, after = 0;

	(void)state;
	make_object(&g, size, true, &rec);
	for (unsigned i = 0; i < 300; i++) {
		size_t from, len;

		seed = seed * 1664525u + 1013904223u;
		from = (seed >> 4) % (size + 1);
		seed = seed * 1664525u + 1013904223u;
		len = (seed >> 4) % 200000;
		if (len > size - from)
			len = size - from;
		memset(back, 0xee, len + 1);
		assert_int_equal(obj_read_range(rig.work, &rec, &rig.stores, from, len, back, NULL, NULL), 0);
		assert_memory_equal(back, bytes + from, len);
		assert_int_equal(back[len], 0xee);
	}
	assert_int_equal(obj_read_range(rig.work, &rec, &rig.stores, size, 0, back, NULL, NULL), 0);
	assert_int_equal(obj_read_range(rig.work, &rec, &rig.stores, size, 1, back, NULL, NULL), -ERANGE);
	assert_int_equal(obj_read_range(rig.work, &rec, &rig.stores, size + 1, 0, back, NULL, NULL), -ERANGE);
	assert_int_equal(obj_read_range(rig.work, &rec, &rig.stores, 1, SIZE_MAX, back, NULL, NULL), -ERANGE);
	/* 4 KiB within one stripe: one fragment from each of k */
	for (unsigned i = 0; i < 6; i++)
		before += rig.data[i].bytes_out;
	assert_int_equal(
		obj_read_range(rig.work, &rec, &rig.stores, 5 * 65536 + 100, 4096, back, &report, NULL), 0);
	for (unsigned i = 0; i < 6; i++)
		after += rig.data[i].bytes_out;
	assert_int_equal(after - before, 4 * (80 + ec_piece_bytes(rec.sealed[5], 4)));
	assert_int_equal(report.stored_bytes, after - before);
	drop_object(&rec);
}

static void stores_without_ranges_work(void **state)
{
	struct obj_geometry g = {.k = 2, .n = 4, .stripe_log2 = 16, .value_log2 = 18};
	struct obj_report report;
	struct record rec;
	size_t size = 1000000;

	(void)state;
	start(4);
	record_init(&rec);
	for (unsigned i = 0; i < 4; i++)
		rig_store_plain(&rig.data[i]);
	rig_fill(bytes, size, 5, false);
	assert_int_equal(write_bytes(&g, size, &rec, &report), 0);
	for (unsigned i = 0; i < 4; i++)
		rig.data[i].calls = 0;
	assert_reads(&rec);
	/* each value is fetched once, not once per fragment in it */
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(rig.data[i].calls, i < 2 ? rec.values : 0);
	rig.data[0].is_down = true;
	assert_reads(&rec);
	assert_int_equal(obj_read_range(rig.work, &rec, &rig.stores, 700000, 5000, back, NULL, NULL), 0);
	assert_memory_equal(back, bytes + 700000, 5000);
	drop_object(&rec);
}

/* A bit in any byte of any value flipped: right bytes, and the shard is named. */
static void flipped_bits_of_values(void **state)
{
	struct obj_geometry g = {.k = 4, .n = 6, .stripe_log2 = 16, .value_log2 = 16};
	struct obj_report report;
	struct record rec;

	(void)state;
	make_object(&g, 400, false, &rec);
	for (unsigned i = 0; i < 6; i++) {
		for (size_t v = 0; v < rig.data[i].count; v++) {
			struct rig_value *value = &rig.data[i].values[v];
			bool is_head = memcmp(value->bytes, "QSF1", 4) == 0;

			for (size_t at = 0; at < value->len; at++) {
				bool version = !is_head && at >= 63 && at < 67;
				int whole;

				value->bytes[at] ^= (uint8_t)(1u << at % 8);
				whole = obj_check(rig.work, &rec, &rig.stores, true, &report);
				assert_int_equal(whole, version ? 6 : 5);
				assert_int_equal(report.bad, version ? 0 : 1u << i);
				assert_reads(&rec);
				value->bytes[at] ^= (uint8_t)(1u << at % 8);
			}
		}
	}
	drop_object(&rec);
}

/* A store that gives back changed bytes with right checksums. */
static void make_liar(struct rig_store *r, unsigned index)
{
	for (size_t v = 0; v < r->count; v++) {
		struct rig_value *value = &r->values[v];
		struct fragment f = {.index = index};
		size_t at = 0;

		if (memcmp(value->bytes, "QSF1", 4) == 0)
			continue;
		while (at < value->len) {
			f.size = get_u32le(value->bytes + at + 4);
			f.original = get_u64le(value->bytes + at + 12);
			value->bytes[at + 80 + f.size / 2] ^= 0x40;
			fragment_build(&f, value->bytes + at + 80, value->bytes + at);
			at += 80 + f.size;
		}
	}
}

static void lying_stores_are_found(void **state)
{
	struct obj_geometry g = {.k = 4, .n = 6, .stripe_log2 = 16, .value_log2 = 16};
	struct obj_store *targets[EC_PIECES_MAX] = {NULL};
	struct obj_report report;
	struct record rec;

	(void)state;
	for (unsigned a = 0; a < 6; a++) {
		for (unsigned b = a; b < 6; b++) {
			uint32_t liars = 1u << a | 1u << b;

			start(6);
			record_init(&rec);
			rig_fill(bytes, 300000, a * 7 + b, true);
			assert_int_equal(write_bytes(&g, 300000, &rec, &report), 0);
			make_liar(&rig.data[a], a);
			if (b != a)
				make_liar(&rig.data[b], b);
			assert_int_equal(rig_read(&rig, &rec, bytes, &report), 0);
			if (liars & 15) /* liars among the parity are not even asked */
				assert_int_equal(report.bad, liars);
			/* repair never takes a liar's bytes: all others are lost besides */
			for (unsigned i = 0; i < 6; i++)
				targets[i] = liars >> i & 1 ? rig.data_list[i] : NULL;
			assert_int_equal(
				obj_repair(rig.work, &rec, &rig.stores, liars, targets, &report, NULL), 0);
			assert_int_equal(obj_check(rig.work, &rec, &rig.stores, true, &report), 6);
			for (unsigned i = 0; i < 2; i++) {
				rig.data[(a + i + 1) % 6].is_down = true;
			}
			assert_reads(&rec);
			drop_object(&rec);
		}
	}
	/* more liars than can be found out: an error, never wrong bytes */
	start(6);
	record_init(&rec);
	assert_int_equal(write_bytes(&g, 1000, &rec, &report), 0);
	for (unsigned i = 0; i < 3; i++)
		make_liar(&rig.data[i], i);
	assert_int_equal(rig_read(&rig, &rec, bytes, &report), -EIO);
	drop_object(&rec);
}

static void slow_stores_are_passed_by(void **state)
{
	struct obj_work_options options = {.hedge_ms = 10};
	struct obj_geometry g = {.k = 2, .n = 4, .stripe_log2 = 16, .value_log2 = 16};
	struct obj_report report;
	struct record rec;

	(void)state;
	assert_int_equal(rig_start(&rig, 4, 2, 0, &options), 0);
	record_init(&rec);
	rig_fill(bytes, 200000, 5, false);
	assert_int_equal(write_bytes(&g, 200000, &rec, &report), 0);
	for (unsigned i = 0; i < 4; i++)
		rig.data[i].calls = 0;
	rig.data[0].delay_ms = 1500;
	assert_reads(&rec);
	/* every stripe has come from others; the slow one was asked for the stripes that were under way, no more */
	assert_true(rig.data[2].calls + rig.data[3].calls >= rec.pub.stripes);
	drop_object(&rec);
}

static void faster_stores_are_asked_first(void **state)
{
	struct obj_geometry g = {.k = 2, .n = 4, .stripe_log2 = 16, .value_log2 = 16};
	struct record rec;

	(void)state;
	make_object(&g, 200000, false, &rec);
	for (unsigned i = 0; i < 4; i++) {
		rig.data[i].calls = 0;
		rig.data[i].store.rank = i < 2 ? 5 : 1;
	}
	assert_reads(&rec);
	assert_int_equal(rig.data[0].calls + rig.data[1].calls, 0);
	drop_object(&rec);
}

static void failing_stores_fail_the_write_and_leave_nothing(void **state)
{
	struct obj_geometry g = {.k = 2, .n = 4, .stripe_log2 = 16, .value_log2 = 16};
	struct obj_report report;
	struct record rec;
	long calls;

	(void)state;
	rig_fill(bytes, 300000, 5, false);
	start(4);
	record_init(&rec);
	assert_int_equal(write_bytes(&g, 300000, &rec, &report), 0);
	calls = (long)rig.data[1].calls;
	drop_object(&rec);
	for (long at = 1; at <= calls; at++) {
		start(4);
		rig.data[1].fail_at = at;
		assert_int_equal(write_bytes(&g, 300000, &rec, &report), -EAGAIN);
		assert_int_equal(report.unreachable, 2);
		assert_int_equal(report.error[1], -EIO);
		assert_int_equal(rig_data_values(&rig), 0);
		rig_stop(&rig);
	}
	/* with less asked for, the same write is a degraded object */
	g.min_shards = 3;
	for (long at = 1; at <= calls; at++) {
		start(4);
		rig.data[1].fail_at = at;
		assert_int_equal(write_bytes(&g, 300000, &rec, &report), 0);
		assert_int_equal(rec.shards_count, 3);
		assert_int_equal(report.unreachable, 2);
		assert_int_equal(rig.data[1].count, 0);
		assert_reads(&rec);
		drop_object(&rec);
	}
	start(4);
	rig.data[0].is_full = rig.data[3].is_full = true;
	assert_int_equal(write_bytes(&g, 300000, &rec, &report), -EAGAIN);
	assert_int_equal(report.error[0], -ENOSPC);
	rig.data_list[1] = NULL;
	rig.data[0].is_full = rig.data[3].is_full = false;
	assert_int_equal(write_bytes(&g, 300000, &rec, &report), 0);
	assert_null(record_shard(&rec, 1));
	assert_int_equal(report.error[1], -ENODEV);
	assert_reads(&rec);
	drop_object(&rec);
}

static void lost_shards_are_rebuilt(void **state)
{
	struct obj_geometry g = {.k = 4, .n = 6, .stripe_log2 = 16, .value_log2 = 16};
	struct obj_store *targets[EC_PIECES_MAX] = {NULL};
	struct obj_report report;
	struct record rec;

	(void)state;
	assert_int_equal(rig_start(&rig, 8, 2, 0, NULL), 0);
	record_init(&rec);
	rig_fill(bytes, 700000, 5, true);
	assert_int_equal(write_bytes(&g, 700000, &rec, &report), 0);
	assert_int_equal(obj_check(rig.work, &rec, &rig.stores, false, &report), 6);
	rig_store_clear(&rig.data[1]);
	rig.data[4].is_down = true;
	assert_int_equal(obj_check(rig.work, &rec, &rig.stores, false, &report), 4);
	assert_int_equal(report.bad, 1u << 1);
	assert_int_equal(report.unreachable, 1u << 4);
	targets[1] = rig.data_list[6];
	targets[4] = rig.data_list[7];
	assert_int_equal(obj_repair(rig.work, &rec, &rig.stores, 1u << 1 | 1u << 4, targets, &report, NULL),
			 0);
	assert_string_equal(record_shard(&rec, 1)->label, "data6");
	assert_string_equal(record_shard(&rec, 4)->label, "data7");
	assert_int_equal(obj_check(rig.work, &rec, &rig.stores, true, &report), 6);
	rig.data[0].is_down = rig.data[2].is_down = true;
	assert_reads(&rec);
	/* a target that fails changes nothing */
	rig_all_up(&rig);
	rig_store_clear(&rig.data[6]);
	rig.data[1].fail_at = 3;
	targets[1] = rig.data_list[1];
	targets[4] = NULL;
	assert_int_equal(obj_repair(rig.work, &rec, &rig.stores, 1u << 1, targets, &report, NULL), -EAGAIN);
	assert_string_equal(record_shard(&rec, 1)->label, "data6");
	assert_int_equal(rig.data[1].count, 0);
	assert_reads(&rec);
	drop_object(&rec);
}

static void rotated_keys_reach_the_heads(void **state)
{
	struct obj_geometry g = {.k = 2, .n = 4, .stripe_log2 = 16, .value_log2 = 16};
	struct keyring *two, *only_two;
	struct head_private priv;
	struct obj_report report;
	struct record rec;

	(void)state;
	make_object(&g, 1000, true, &rec);
	assert_int_equal(keyring_rotate(rig.keys, &two), 0);
	assert_int_equal(keyring_drop(two, 1, &only_two), 0);
	assert_int_equal(head_box_open(&rec.pub, rec.box, only_two, &priv), -E_KEY);
	assert_int_equal(record_rewrap(&rec, two), 0);
	assert_int_equal(obj_check(rig.work, &rec, &rig.stores, false, &report), 0);
	assert_int_equal(obj_rewrite_heads(rig.work, &rec, &rig.stores, &report), 0);
	assert_int_equal(obj_check(rig.work, &rec, &rig.stores, true, &report), 4);
	assert_int_equal(head_box_open(&rec.pub, rec.box, only_two, &priv), 0);
	assert_int_equal(head_box_open(&rec.pub, rec.box, rig.keys, &priv), -E_KEY);
	assert_reads(&rec);
	rig.data[2].is_down = true;
	assert_int_equal(obj_rewrite_heads(rig.work, &rec, &rig.stores, &report), -EAGAIN);
	assert_int_equal(report.unreachable, 4);
	keyring_free(two);
	keyring_free(only_two);
	drop_object(&rec);
}

static void deletion_is_whole_or_a_debt(void **state)
{
	struct obj_geometry g = {.k = 2, .n = 4, .stripe_log2 = 16, .value_log2 = 16};
	struct obj_report report;
	struct record rec;

	(void)state;
	make_object(&g, 300000, false, &rec);
	rig.data[2].is_down = true;
	assert_int_equal(obj_delete(rig.work, &rec, &rig.stores, &report), -EAGAIN);
	assert_int_equal(report.unreachable, 4);
	rig.data[2].is_down = false;
	assert_int_equal(rig_data_values(&rig), rig.data[2].count);
	assert_int_equal(obj_delete(rig.work, &rec, &rig.stores, &report), 0);
	assert_int_equal(rig_data_values(&rig), 0);
	drop_object(&rec);
}

static void files_are_read_and_restored(void **state)
{
	struct obj_geometry g = {.k = 2, .n = 4, .stripe_log2 = 16, .value_log2 = 16};
	const char *dir = test_dir_new();
	struct obj_file_range range = {.data_header = true};
	struct obj_source source;
	struct obj_report report;
	struct obj_id id;
	char path[FILE_PATH_MAX], why[OBJ_WHY_BYTES];
	struct record rec;
	struct stat st;
	size_t size = 200000, len;
	char *data;

	(void)state;
	start(4);
	record_init(&rec);
	rig_fill(bytes, size, 5, false);
	assert_int_equal(file_join(path, sizeof(path), dir, "d3"), 0);
	assert_int_equal(file_write_atomic(path, 0600, bytes, size), 0);
	range.fd = open(path, O_RDONLY);
	source = obj_source_file(&range, size);
	id = rig_id(&rig, 3);
	assert_int_equal(obj_write(rig.work, rig.keys, &id, &g, rig.data_list, &source, &rec, &report), 0);
	assert_int_equal(obj_read_file(rig.work, &rec, &rig.stores, path, NULL, why), -EEXIST);
	assert_int_equal(file_join(path, sizeof(path), dir, "again"), 0);
	assert_int_equal(obj_read_file(rig.work, &rec, &rig.stores, path, NULL, why), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(file_read_all(path, BYTES_MAX, &data, &len), 0);
	assert_int_equal(len, size);
	memset(bytes + 16, 0, 8); /* what belongs to the node stays on the node */
	assert_memory_equal(data, bytes, size);
	mem_free(data);
	record_release(&rec);
	/* a file that is shorter than it was said to be */
	source.size = size + 1;
	assert_int_equal(obj_write(rig.work, rig.keys, &id, &g, rig.data_list, &source, &rec, &report), -EIO);
	assert_int_equal(report.unreachable, 0);
	/* a part of it, over the header's end */
	range.start = 20;
	source = obj_source_file(&range, 1000);
	assert_int_equal(obj_write(rig.work, rig.keys, &id, &g, rig.data_list, &source, &rec, &report), 0);
	memmove(bytes, bytes + 20, 1000);
	assert_reads(&rec);
	close(range.fd);
	drop_object(&rec);
	test_dir_remove(dir);
}

static void nothing_is_left_when_a_restore_fails(void **state)
{
	struct obj_geometry g = {.k = 2, .n = 4, .stripe_log2 = 16, .value_log2 = 16};
	const char *dir = test_dir_new();
	char path[FILE_PATH_MAX], why[OBJ_WHY_BYTES];
	struct obj_report report;
	struct record rec;

	(void)state;
	make_object(&g, 200000, false, &rec);
	for (unsigned i = 1; i < 4; i++)
		rig.data[i].fail_at = -2;
	assert_int_equal(file_join(path, sizeof(path), dir, "d3"), 0);
	assert_int_equal(obj_read_file(rig.work, &rec, &rig.stores, path, &report, why), -EAGAIN);
	assert_non_null(strstr(why, "do not answer"));
	assert_int_equal(rmdir(dir), 0); /* empty */
	drop_object(&rec);
}

static void too_large_objects_are_refused(void **state)
{
	struct obj_geometry g = {.k = 2, .n = 4, .stripe_log2 = 16, .value_log2 = 16};
	struct obj_source source = obj_source_memory(bytes, ((size_t)4096 << 16) + 1);
	struct obj_id id;
	struct obj_report report;
	struct record rec;

	(void)state;
	start(4);
	id = rig_id(&rig, 3);
	record_init(&rec);
	assert_int_equal(obj_write(rig.work, rig.keys, &id, &g, rig.data_list, &source, &rec, &report),
			 -EFBIG);
	assert_int_equal(rig_data_values(&rig), 0);
	rig_stop(&rig);
}

static void cancellation_ends_operations(void **state)
{
	struct obj_geometry g = {.k = 2, .n = 4, .stripe_log2 = 16, .value_log2 = 16};
	struct obj_report report;
	struct record rec;

	(void)state;
	start(4);
	record_init(&rec);
	obj_work_cancel(rig.work, 1);
	assert_int_equal(write_bytes(&g, 1000, &rec, &report), -ECANCELED);
	obj_work_cancel(rig.work, 0);
	assert_int_equal(write_bytes(&g, 1000, &rec, &report), 0);
	obj_work_cancel(rig.work, 1);
	assert_int_equal(rig_read(&rig, &rec, bytes, &report), -ECANCELED);
	obj_work_cancel(rig.work, 0);
	assert_reads(&rec);
	drop_object(&rec);
}

/* No two writes share a key or an object id, whatever they write. */
static void every_write_has_its_own_key(void **state)
{
	struct obj_geometry g = {.k = 2, .n = 4, .stripe_log2 = 16, .value_log2 = 16};
	struct obj_report report;
	struct record a, b;

	(void)state;
	start(4);
	record_init(&a);
	record_init(&b);
	assert_int_equal(write_bytes(&g, 1000, &a, &report), 0);
	assert_int_equal(write_bytes(&g, 1000, &b, &report), 0);
	assert_memory_equal(a.pub.name, b.pub.name, 16);
	assert_memory_equal(a.priv.content, b.priv.content, 16);
	assert_memory_not_equal(a.pub.object, b.pub.object, 16);
	assert_memory_not_equal(a.priv.key, b.priv.key, 32);
	record_release(&a);
	record_release(&b);
	rig_stop(&rig);
}

static int begin(void **state)
{
	(void)state;
	bytes = malloc(BYTES_MAX);
	back = malloc(BYTES_MAX);
	return bytes && back ? crypto_init() : -1;
}

static int end(void **state)
{
	(void)state;
	free(bytes);
	free(back);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_sizes_round_the_borders),
		cmocka_unit_test(any_k_stores_are_enough),
		cmocka_unit_test(ranges_are_right_and_cheap),
		cmocka_unit_test(stores_without_ranges_work),
		cmocka_unit_test(flipped_bits_of_values),
		cmocka_unit_test(lying_stores_are_found),
		cmocka_unit_test(slow_stores_are_passed_by),
		cmocka_unit_test(faster_stores_are_asked_first),
		cmocka_unit_test(failing_stores_fail_the_write_and_leave_nothing),
		cmocka_unit_test(lost_shards_are_rebuilt),
		cmocka_unit_test(rotated_keys_reach_the_heads),
		cmocka_unit_test(deletion_is_whole_or_a_debt),
		cmocka_unit_test(files_are_read_and_restored),
		cmocka_unit_test(nothing_is_left_when_a_restore_fails),
		cmocka_unit_test(too_large_objects_are_refused),
		cmocka_unit_test(cancellation_ends_operations),
		cmocka_unit_test(every_write_has_its_own_key),
	};

	return cmocka_run_group_tests_name("object_io", tests, begin, end);
}
