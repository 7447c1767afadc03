/* All metadata stores are lost: records come back from the shards. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "tests/unit/support/object_rig.h"
#include "tests/unit/support/sys_test.h"

#include "core/base/buf.h"
#include "core/base/err.h"
#include "core/base/mem.h"
#include "core/crypto/crypto.h"
#include "core/object/rebuild.h"

#define OBJECTS 8

static const size_t sizes[OBJECTS] = {0, 1, 5000, 65536, 65537, 200000, 500000, 1000000};
static uint8_t bytes[1000000];
static struct record originals[OBJECTS];
static struct rig rig;
static char why[OBJ_WHY_BYTES];

static void fill(unsigned i)
{
	rig_fill(bytes, sizes[i], i, i % 2);
}

static void prepare(void)
{
	struct obj_geometry g = {.k = 2, .n = 4, .stripe_log2 = 16, .value_log2 = 17};

	assert_int_equal(rig_start(&rig, 4, 2, 4, NULL), 0);
	for (unsigned i = 0; i < OBJECTS; i++) {
		fill(i);
		record_init(&originals[i]);
		assert_int_equal(rig_write(&rig, &g, i, bytes, sizes[i], &originals[i], NULL), 0);
	}
}

static void finish(void)
{
	for (unsigned i = 0; i < OBJECTS; i++)
		record_release(&originals[i]);
	rig_stop(&rig);
}

static struct rebuild *scan_all(uint64_t *heads, uint64_t *damaged)
{
	struct rebuild_report report;
	struct rebuild *b;

	*heads = *damaged = 0;
	assert_int_equal(rebuild_new(rig.keys, &b), 0);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(rebuild_scan(b, rig.data_list[i], &report), 0);
		*heads += report.heads;
		*damaged += report.damaged;
	}
	return b;
}

static void assert_whole(const struct record *rec)
{
	fill((unsigned)rec->priv.number);
	assert_int_equal(rec->priv.size, sizes[rec->priv.number]);
	assert_int_equal(rig_read(&rig, rec, bytes, NULL), 0);
}

static void all_records_come_back(void **state)
{
	uint64_t heads, damaged;
	struct rebuild *b;
	uint32_t seen = 0;

	(void)state;
	prepare();
	b = scan_all(&heads, &damaged);
	assert_int_equal(heads, 4 * OBJECTS);
	assert_int_equal(damaged, 0);
	assert_int_equal(rebuild_count(b), OBJECTS);
	for (size_t i = 0; i < rebuild_count(b); i++) {
		const struct record *want;
		struct record rec;

		record_init(&rec);
		assert_int_equal(rebuild_record(b, rig.work, &rig.stores, i, &rec, why), 0);
		want = &originals[rec.priv.number];
		seen |= 1u << rec.priv.number;
		assert_memory_equal(&rec.pub, &want->pub, sizeof(rec.pub));
		/* up to the last field: what pads the struct is nobody's */
		assert_memory_equal(&rec.priv, &want->priv, offsetof(struct head_private, ns) + OBJ_NS_MAX);
		assert_memory_equal(rec.box, want->box, HEAD_BOX_BYTES);
		assert_memory_equal(rec.sealed, want->sealed, rec.pub.stripes * sizeof(uint32_t));
		assert_int_equal(rec.values, want->values);
		for (unsigned s = 0; s < 4; s++) {
			const struct record_shard *a = record_shard(&rec, s), *o = record_shard(want, s);

			assert_non_null(a);
			assert_string_equal(a->label, o->label);
			assert_int_equal(a->type, o->type);
			if (o->keys)
				assert_memory_equal(a->keys, o->keys, (rec.values + 1) * sizeof(uint64_t));
		}
		assert_whole(&rec);
		record_release(&rec);
	}
	assert_int_equal(seen, (1u << OBJECTS) - 1);
	rebuild_free(b);
	finish();
}

/* m data stores are lost as well; garbage without head, damaged heads and heads of another volume are no objects. */
static void what_is_missing_or_foreign_is_told(void **state)
{
	static const uint8_t key[32] = {3}, volume[16] = {4};
	struct rebuild_report report;
	uint64_t heads, damaged;
	struct keyring *other;
	struct rebuild *b;
	size_t whole = 0;

	(void)state;
	prepare();
	rig_store_clear(&rig.data[1]);
	for (size_t v = 0; v < rig.data[2].count; v++)
		if (memcmp(rig.data[2].values[v].bytes, "QSF1", 4) == 0)
			rig.data[2].values[v].bytes[100] ^= 1;
	b = scan_all(&heads, &damaged);
	assert_int_equal(heads, 2 * OBJECTS);
	assert_int_equal(damaged, OBJECTS);
	assert_int_equal(rebuild_count(b), OBJECTS);
	for (size_t i = 0; i < rebuild_count(b); i++) {
		struct record rec;

		record_init(&rec);
		assert_int_equal(rebuild_record(b, rig.work, &rig.stores, i, &rec, why), 0);
		assert_int_equal(rec.shards_count, 2);
		assert_whole(&rec);
		record_release(&rec);
		whole++;
	}
	assert_int_equal(whole, OBJECTS);
	/* one more is silent, then gone */
	rig.data[0].is_down = true;
	for (size_t i = 0; i < rebuild_count(b); i++) {
		struct record rec;

		record_init(&rec);
		assert_int_equal(rebuild_record(b, rig.work, &rig.stores, i, &rec, why), -EAGAIN);
		record_release(&rec);
	}
	rebuild_free(b);
	rig.data[0].is_down = false;
	rig_store_clear(&rig.data[0]);
	b = scan_all(&heads, &damaged);
	for (size_t i = 0; i < rebuild_count(b); i++) {
		struct record rec;

		record_init(&rec);
		assert_int_equal(rebuild_record(b, rig.work, &rig.stores, i, &rec, why), -EIO);
		assert_string_equal(why, "1 of 2 shards needed were found");
		record_release(&rec);
	}
	rebuild_free(b);
	assert_int_equal(keyring_from_key(key, volume, &other), 0);
	assert_int_equal(rebuild_new(other, &b), 0);
	assert_int_equal(rebuild_scan(b, rig.data_list[3], &report), 0);
	assert_int_equal(report.foreign, OBJECTS);
	assert_int_equal(rebuild_count(b), 0);
	rig_store_plain(&rig.data[3]);
	assert_int_equal(rebuild_scan(b, rig.data_list[3], &report), -ENOTSUP);
	rebuild_free(b);
	keyring_free(other);
	finish();
}

/* New metadata stores are filled from the shards, and everything is found by name again. */
static void lost_metadata_stores_are_filled_again(void **state)
{
	uint64_t heads, damaged, generation;
	struct rebuild *b;

	(void)state;
	prepare();
	assert_int_equal(meta_create(&rig.meta, rig.work, 0, &generation, NULL), 0);
	b = scan_all(&heads, &damaged);
	for (size_t i = 0; i < rebuild_count(b); i++) {
		struct record_state st;
		struct record rec;

		record_init(&rec);
		assert_int_equal(rebuild_record(b, rig.work, &rig.stores, i, &rec, why), 0);
		assert_int_equal(record_store(&rig.meta, rig.work, &rec, &st), 0);
		record_release(&rec);
	}
	rebuild_free(b);
	for (unsigned i = 0; i < OBJECTS; i++) {
		struct record rec;
		struct obj_id id;
		int code;

		record_init(&rec);
		assert_int_equal(obj_id_set(&id, rig.generation, OBJ_SEGMENT, i, "ns", 2), 0);
		assert_int_equal(record_read(&rig.meta, rig.work, &id, &rec, NULL, &code), OBJ_FOUND);
		assert_whole(&rec);
		record_release(&rec);
	}
	finish();
}

static void failing_memory(void **state)
{
	(void)state;
	prepare();
	for (uint64_t n = 1;; n++) {
		struct rebuild_report report;
		struct rebuild *b = NULL;
		struct record rec;
		bool fired;
		int rc;

		record_init(&rec);
		obj_work_free(rig.work);
		rig.work = NULL;
		mem_fault_begin();
		mem_fault_arm(n);
		rc = rebuild_new(rig.keys, &b);
		for (unsigned i = 0; rc == 0 && i < 4; i++)
			rc = rebuild_scan(b, rig.data_list[i], &report);
		if (rc == 0)
			rc = obj_work_new(NULL, &rig.work);
		for (size_t i = 0; rc == 0 && i < OBJECTS; i++)
			rc = rebuild_record(b, rig.work, &rig.stores, i, &rec, why);
		fired = mem_fault_fired();
		mem_fault_arm(0);
		record_release(&rec);
		rebuild_free(b);
		obj_work_free(rig.work);
		rig.work = NULL;
		assert_int_equal(mem_fault_end(), 0);
		assert_int_equal(obj_work_new(NULL, &rig.work), 0);
		if (!fired) {
			assert_int_equal(rc, 0);
			break;
		}
		assert_true(rc == -ENOMEM || rc == -EAGAIN ||
			    rc == 0); /* 0: another shard told the lengths */
		assert_true(n < 2000);
	}
	finish();
}

static int begin(void **state)
{
	const struct ec *ec;

	(void)state;
	return crypto_init() == 0 && ec_get(2, 4, &ec) == 0 ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_records_come_back),
		cmocka_unit_test(what_is_missing_or_foreign_is_told),
		cmocka_unit_test(lost_metadata_stores_are_filled_again),
		cmocka_unit_test(failing_memory),
	};

	return cmocka_run_group_tests_name("object_rebuild", tests, begin, NULL);
}
