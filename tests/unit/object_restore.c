/* Recovery points on stores: publish, find the newest, roll back, take over, and every store call cut off in between. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "tests/unit/support/object_rig.h"

#include "core/base/err.h"
#include "core/crypto/crypto.h"
#include "core/object/restore.h"

static struct rig rig;
static char why[OBJ_WHY_BYTES];
static const struct obj_geometry geometry = {.k = 2, .n = 4, .stripe_log2 = 16, .value_log2 = 16};

static void start(void)
{
	rig_start_volume(&rig, 4, 2, 4);
}

static int publish(uint64_t sequence, struct record *old)
{
	struct record_state st;
	struct record own;
	struct manifest m;
	int rc;

	record_init(&own);
	manifest_init(&m);
	m.generation = rig.generation;
	m.sequence = sequence;
	m.time = sequence * 10;
	assert_non_null(manifest_add(&m, "default", 7, 0));
	rc = restore_publish(&rig.meta, rig.work, &m, &geometry, rig.data_list, old ? old : &own, &st, why);
	manifest_release(&m);
	record_release(&own);
	return rc;
}

/* The sequence found, or -1 absent, -2 unknown. */
static int64_t find(uint64_t known, int *code)
{
	struct restore_options options = {
		.generation = rig.generation, .base = rig.meta.newest.base, .known = known};
	enum obj_answer answer;
	struct manifest m;
	int64_t sequence;
	int own;

	manifest_init(&m);
	answer = restore_find_manifest(&rig.meta, rig.work, &rig.stores, &options, &m, code ? code : &own,
				       why);
	sequence = answer == OBJ_FOUND ? (int64_t)m.sequence : answer == OBJ_ABSENT ? -1 : -2;
	if (answer == OBJ_FOUND) {
		assert_int_equal(m.time, m.sequence * 10);
		assert_int_equal(m.count, 1);
	} else {
		assert_int_equal(m.count, 0);
	}
	manifest_release(&m);
	return sequence;
}

static void the_newest_point_is_found(void **state)
{
	struct obj_report report;
	struct record old;

	(void)state;
	start();
	assert_int_equal(find(0, NULL), -1);
	for (uint64_t sequence = 1; sequence <= 9; sequence++) {
		record_init(&old);
		assert_int_equal(publish(sequence, &old), 0);
		assert_int_equal(find(sequence, NULL), sequence);
		/* what its slot held is given back, to be deleted */
		assert_int_equal(old.sealed != NULL, sequence > 4);
		if (old.sealed)
			assert_int_equal(obj_delete(rig.work, &old, &rig.stores, &report), 0);
		record_release(&old);
		assert_int_equal(find(sequence, NULL), sequence);
	}
	/* the same sequence again, after a crash between writing and knowing */
	assert_int_equal(publish(9, NULL), 0);
	assert_int_equal(find(9, NULL), 9);
	/* an older sequence in a slot that holds a newer one */
	assert_int_equal(publish(5, NULL), -ESTALE);
	rig_stop(&rig);
}

static void silent_stores_make_it_unknown(void **state)
{
	(void)state;
	start();
	for (uint64_t sequence = 1; sequence <= 5; sequence++)
		assert_int_equal(publish(sequence, NULL), 0);
	rig.metas[0].is_down = rig.metas[3].is_down = true;
	assert_int_equal(find(0, NULL), 5);
	/* k' of them took it: not acknowledged, but whole, and so the newest from now on */
	assert_int_equal(publish(6, NULL), -EAGAIN);
	assert_int_equal(find(0, NULL), 6);
	rig.metas[1].is_down = true;
	assert_int_equal(find(0, NULL), -2);
	assert_non_null(strstr(why, "unknown"));
	rig_all_up(&rig);
	/* the newest cannot be read now: never an older one instead */
	rig.data[0].is_down = rig.data[1].is_down = rig.data[2].is_down = true;
	assert_int_equal(find(0, NULL), -2);
	assert_non_null(strstr(why, "recovery point 6"));
	rig_all_up(&rig);
	assert_int_equal(find(0, NULL), 6);
	rig_stop(&rig);
}

static void a_point_that_is_lost_for_ever_is_skipped_by_name(void **state)
{
	struct obj_report report;
	struct record_state st;
	struct record rec;
	struct obj_id id;
	int code;

	(void)state;
	start();
	for (uint64_t sequence = 1; sequence <= 3; sequence++)
		assert_int_equal(publish(sequence, NULL), 0);
	record_init(&rec);
	assert_int_equal(obj_id_set(&id, rig.generation, OBJ_MANIFEST, 3, NULL, 0), 0);
	assert_int_equal(record_read(&rig.meta, rig.work, &id, &rec, &st, &code), OBJ_FOUND);
	assert_int_equal(st.version, 3 * RECORD_MANIFEST_STEP);
	assert_int_equal(obj_delete(rig.work, &rec, &rig.stores, &report), 0);
	assert_int_equal(find(0, NULL), 2);
	assert_non_null(strstr(why, "recovery point 3"));
	/* ... unless this front end knows that 3 was published */
	assert_int_equal(find(3, &code), -2);
	assert_int_equal(code, -ESTALE);
	record_release(&rec);
	rig_stop(&rig);
}

static void rolled_back_stores_are_refused(void **state)
{
	int code;

	(void)state;
	start();
	for (uint64_t sequence = 1; sequence <= 3; sequence++)
		assert_int_equal(publish(sequence, NULL), 0);
	assert_int_equal(find(3, &code), 3);
	assert_int_equal(find(4, &code), -2);
	assert_int_equal(code, -ESTALE);
	assert_non_null(strstr(why, "rolled back"));
	rig_stop(&rig);
}

static void a_take_over_starts_from_its_base(void **state)
{
	uint64_t first, next;

	(void)state;
	start();
	for (uint64_t sequence = 1; sequence <= 6; sequence++)
		assert_int_equal(publish(sequence, NULL), 0);
	first = rig.generation;
	assert_int_equal(meta_take_over(&rig.meta, rig.work, first, &next, why), 0);
	rig.generation = next;
	assert_int_equal(find(0, NULL), 6);
	/* the older front end goes on for a while: it changes nothing of ours */
	assert_int_equal(publish(7, NULL), 0);
	assert_int_equal(find(7, NULL), 7);
	rig.generation = first;
	for (uint64_t sequence = 7; sequence <= 20; sequence++)
		assert_int_equal(publish(sequence, NULL), 0);
	rig.generation = next;
	assert_int_equal(find(7, NULL), 7);
	rig_stop(&rig);
}

/*
 * The front end dies after each call to the stores of a publication: a restore finds exactly the old or the new point, or,
 * while it cannot be decided, unknown; and the new one whenever the publication was answered.
 */
static void every_cut_of_a_publication(void **state)
{
	(void)state;
	for (long cut = 1;; cut++) {
		int64_t found;
		bool whole = true;
		int rc;

		start();
		for (uint64_t sequence = 1; sequence <= 5; sequence++)
			assert_int_equal(publish(sequence, NULL), 0);
		for (unsigned i = 0; i < 4; i++) {
			rig.metas[i].calls = rig.data[i].calls = 0;
			rig.metas[i].fail_at = rig.data[i].fail_at = -cut;
		}
		rc = publish(6, NULL);
		for (unsigned i = 0; i < 4; i++)
			whole = whole && rig.metas[i].calls < (uint64_t)cut &&
				rig.data[i].calls < (uint64_t)cut;
		rig_all_up(&rig);
		found = find(5, NULL);
		assert_true(found == 5 || found == 6);
		if (rc == 0)
			assert_int_equal(found, 6);
		/* and the next publication works */
		assert_int_equal(publish(rc == 0 ? 7 : 6, NULL), 0);
		assert_int_equal(find(5, NULL), rc == 0 ? 7 : 6);
		rig_stop(&rig);
		if (whole)
			break;
		assert_true(cut < 100);
	}
}

static void one_failing_store_at_a_time(void **state)
{
	(void)state;
	for (unsigned store = 0; store < 8; store++) {
		for (long at = 1; at <= 12; at++) {
			struct rig_store *r;
			int64_t found;
			int rc;

			start();
			assert_int_equal(publish(1, NULL), 0);
			r = store < 4 ? &rig.metas[store] : &rig.data[store - 4];
			r->fail_at = at;
			rc = publish(2, NULL);
			r->fail_at = 0;
			found = find(1, NULL);
			assert_int_equal(found, rc == 0 ? 2 : 1);
			if (store < 4)
				assert_int_equal(rc, 0);
			rig_stop(&rig);
		}
	}
}

static void cut_all(long at)
{
	for (unsigned i = 0; i < 4; i++) {
		rig.metas[i].calls = rig.data[i].calls = 0;
		rig.metas[i].fail_at = rig.data[i].fail_at = -at;
	}
}

static bool was_cut(long at)
{
	for (unsigned i = 0; i < 4; i++)
		if (rig.metas[i].calls >= (uint64_t)at || rig.data[i].calls >= (uint64_t)at)
			return true;
	return false;
}

/* Dies in a take over: the volume opens as before or as after it, and the next take over wins. */
static void every_cut_of_a_take_over(void **state)
{
	for (long cut = 1;; cut++) {
		uint64_t next = 0, last;
		bool reached;
		int code, rc;

		(void)state;
		start();
		assert_int_equal(publish(1, NULL), 0);
		cut_all(cut);
		rc = meta_take_over(&rig.meta, rig.work, rig.generation, &next, why);
		reached = was_cut(cut);
		rig_all_up(&rig);
		assert_int_equal(meta_probe(&rig.meta, rig.work, &code, why), OBJ_FOUND);
		assert_int_equal(find(0, NULL), 1);
		if (rc == 0)
			assert_int_equal(rig.meta.newest.generation, next);
		assert_int_equal(meta_take_over(&rig.meta, rig.work, rig.generation, &last, why), 0);
		assert_true(last > next && last > rig.generation);
		assert_int_equal(rig.meta.newest.base, rig.generation);
		assert_int_equal(find(0, NULL), 1); /* through the base */
		rig_stop(&rig);
		if (!reached)
			break;
		assert_true(cut < 20);
	}
}

/* Dies in the repair of a shard or of a record: what was readable stays readable. */
static void every_cut_of_a_repair(void **state)
{
	for (long cut = 1;; cut++) {
		struct obj_store *targets[EC_PIECES_MAX] = {NULL};
		struct obj_report report;
		struct record_state st;
		struct record rec, back;
		struct obj_id id;
		bool reached;
		int code, rc;

		(void)state;
		start();
		assert_int_equal(publish(1, NULL), 0);
		record_init(&rec);
		record_init(&back);
		assert_int_equal(obj_id_set(&id, rig.generation, OBJ_MANIFEST, 1, NULL, 0), 0);
		assert_int_equal(record_read(&rig.meta, rig.work, &id, &rec, &st, &code), OBJ_FOUND);
		rig_store_clear(&rig.data[2]);
		targets[2] = rig.data_list[2];
		cut_all(cut);
		rc = obj_repair(rig.work, &rec, &rig.stores, 4, targets, &report, NULL);
		if (rc == 0)
			rc = record_store(&rig.meta, rig.work, &rec, &st);
		reached = was_cut(cut);
		rig_all_up(&rig);
		assert_int_equal(record_read(&rig.meta, rig.work, &id, &back, &st, &code), OBJ_FOUND);
		if (rc == 0)
			assert_int_equal(obj_check(rig.work, &back, &rig.stores, true, &report), 4);
		assert_int_equal(find(1, NULL), 1);
		rc = record_repair(&rig.meta, rig.work, &id, &st);
		assert_int_equal(rc, 0);
		assert_int_equal(st.have, 15);
		assert_int_equal(find(1, NULL), 1);
		record_release(&rec);
		record_release(&back);
		rig_stop(&rig);
		if (!reached)
			break;
		assert_true(cut < 40);
	}
}

static int begin(void **state)
{
	(void)state;
	return crypto_init();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_newest_point_is_found),
		cmocka_unit_test(silent_stores_make_it_unknown),
		cmocka_unit_test(a_point_that_is_lost_for_ever_is_skipped_by_name),
		cmocka_unit_test(rolled_back_stores_are_refused),
		cmocka_unit_test(a_take_over_starts_from_its_base),
		cmocka_unit_test(every_cut_of_a_publication),
		cmocka_unit_test(one_failing_store_at_a_time),
		cmocka_unit_test(every_cut_of_a_take_over),
		cmocka_unit_test(every_cut_of_a_repair),
	};

	return cmocka_run_group_tests_name("object_restore", tests, begin, NULL);
}
