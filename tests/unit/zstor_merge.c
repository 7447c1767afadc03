/* Merges of bundles that would become too large: known without their bytes, found out once, and no obstacle for others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/object/bundle.h"
#include "tests/unit/support/zstor_rig.h"

#define CHANGED 300000u /* bytes of index that each segment changed */

static struct zstor_rig g;
static struct obj_id_list old, made;
static char why[ZS_WHY];

/* The bundle of one segment: `CHANGED` bytes of an index file at `offset`. */
static void store_bundle(struct manifest_ns *ns, uint32_t segment, uint32_t offset)
{
	const struct obj_geometry shape = {.k = 4, .n = 6, .stripe_log2 = 16};
	struct bundle_extent extent = {.offset = offset, .len = CHANGED};
	struct manifest_bundle b = {.generation = g.stores.generation, .first = segment, .last = segment};
	struct obj_report report = {0};
	struct record_state st;
	struct record rec;
	struct obj_id id;
	uint8_t *bytes = malloc(CHANGED);
	const uint8_t *content = bytes;
	FILE *f = tmpfile();
	struct obj_file_range range = {.fd = fileno(f)};
	struct obj_source source;
	uint64_t size;

	rig_fill(bytes, CHANGED, segment + 1, false);
	assert_int_equal(bundle_write(fileno(f), segment, segment, NULL, 0, &extent, &content, 1, &size), 0);
	source = obj_source_file(&range, size);
	assert_int_equal(obj_id_set(&id, b.generation, OBJ_BUNDLE, obj_number_bundle(segment, segment),
				    ns->name, ns->name_len),
			 0);
	record_init(&rec);
	assert_int_equal(obj_write(g.stores.work, g.stores.keys, &id, &shape, g.stores.data_list, &source,
				   &rec, &report),
			 0);
	assert_int_equal(record_write(&g.stores.meta, g.stores.work, &rec, 1, &st), 0);
	memcpy(b.content, rec.priv.content, sizeof(b.content));
	assert_int_equal(manifest_ns_bundle(ns, &b, NULL, NULL), 0);
	manifest_ns_close(ns);
	record_release(&rec);
	fclose(f);
	free(bytes);
}

/* 32 bundles more: side by side in the index file, or all in one place, where each replaces the one before. */
static void store_group(struct manifest *m, const char *name, bool side_by_side)
{
	struct manifest_ns *ns = manifest_find(m, name, strlen(name));

	if (!ns)
		ns = manifest_add(m, name, strlen(name), 1);
	assert_non_null(ns);
	for (uint32_t i = 0; i < BUNDLE_FAN; i++)
		store_bundle(ns, ns->closed, side_by_side ? i * CHANGED : 0);
}

struct asked {
	uint64_t calls, bytes; /* of all stores; of the data stores */
};

static struct asked asked(void)
{
	struct asked a = {0};

	for (unsigned i = 0; i < g.stores.data_count; i++) {
		a.calls += g.stores.data[i].calls;
		a.bytes += g.stores.data[i].bytes_out;
	}
	for (unsigned i = 0; i < g.stores.meta_count; i++)
		a.calls += g.stores.metas[i].calls;
	return a;
}

static int merge(struct manifest *m, struct asked *cost)
{
	struct asked before = asked(), after;
	struct obj_work *w = zs_work_get(&g.z);
	int rc;

	assert_non_null(w);
	why[0] = '\0';
	rc = merge_due_bundles(&g.z, w, m, &old, &made, why);
	zs_work_put(&g.z, w);
	zs_work_trim(&g.z, true); /* whatever a read has left behind is over */
	after = asked();
	*cost = (struct asked){after.calls - before.calls, after.bytes - before.bytes};
	assert_int_equal(old.count + made.count, 0);
	return rc;
}

static void start(struct manifest *m)
{
	zstor_rig_start(&g);
	g.z.bundle_max = 5 * CHANGED;
	manifest_init(m);
}

static void stop(struct manifest *m)
{
	manifest_release(m);
	zstor_rig_stop(&g);
}

static void what_is_too_large_is_known_from_tables_and_found_out_once(void **state)
{
	struct manifest m;
	struct asked cost;

	(void)state;
	start(&m);
	store_group(&m, "a", true);
	assert_int_equal(merge(&m, &cost), 0);
	assert_int_equal(m.ns[0].bundles_count, BUNDLE_FAN);
	assert_true(cost.bytes < BUNDLE_FAN * CHANGED * 2 / 3);
	for (int i = 0; i < 3; i++) { /* the points to come */
		assert_int_equal(merge(&m, &cost), 0);
		assert_int_equal(cost.calls, 0);
	}
	stop(&m);
}

/* The rig takes nothing new, so a merge that is tried fails where its result is placed. */
static void what_fits_once_it_is_merged_is_not_refused(void **state)
{
	struct manifest m;
	struct asked cost;

	(void)state;
	start(&m);
	store_group(&m, "a", false);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(merge(&m, &cost), -EAGAIN);
		assert_non_null(strstr(why, "data stores can take a shard"));
		assert_true(cost.bytes > BUNDLE_FAN * CHANGED);
	}
	stop(&m);
}

static void what_is_too_large_stops_no_others(void **state)
{
	struct manifest m;
	struct asked cost;

	(void)state;
	start(&m);
	store_group(&m, "a", true);
	store_group(&m, "b", false); /* another namespace */
	assert_int_equal(merge(&m, &cost), -EAGAIN);
	assert_non_null(strstr(why, "data stores can take a shard"));
	manifest_release(&m);
	manifest_init(&m);
	store_group(&m, "c", true);
	store_group(&m, "c", false); /* the same */
	assert_int_equal(merge(&m, &cost), -EAGAIN);
	assert_non_null(strstr(why, "data stores can take a shard"));
	stop(&m);
}

/* Numbers that begin again: the bundles are others. */
static void other_bundles_under_the_same_numbers_are_looked_at(void **state)
{
	struct manifest m;
	struct asked cost;

	(void)state;
	start(&m);
	store_group(&m, "a", true);
	assert_int_equal(merge(&m, &cost), 0);
	m.ns[0].bundles[7].generation++;
	assert_int_not_equal(merge(&m, &cost), 0); /* it is not there */
	assert_true(cost.calls > 0);
	stop(&m);
}

static void tables_that_cannot_be_read_refuse_nothing(void **state)
{
	struct manifest m;
	struct asked cost;

	(void)state;
	start(&m);
	store_group(&m, "a", true);
	for (unsigned i = 0; i < 3; i++)
		g.stores.data[i].is_down = true;
	assert_int_equal(merge(&m, &cost), -EAGAIN);
	rig_all_up(&g.stores);
	assert_int_equal(merge(&m, &cost), 0);
	assert_true(cost.calls > 0);
	stop(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_too_large_is_known_from_tables_and_found_out_once),
		cmocka_unit_test(what_fits_once_it_is_merged_is_not_refused),
		cmocka_unit_test(what_is_too_large_stops_no_others),
		cmocka_unit_test(other_bundles_under_the_same_numbers_are_looked_at),
		cmocka_unit_test(tables_that_cannot_be_read_refuse_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
