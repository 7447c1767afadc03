/* What is owed while stores are away, and when they come back: nobody waits for longer than the stores do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/clock.h"
#include "tests/unit/support/zstor_rig.h"

static struct zstor_rig g;

static struct owed *take(void)
{
	uint64_t wait_ms;
	struct owed *o;

	pthread_mutex_lock(&g.z.lock);
	assert_int_equal(owed_refresh(&g.z, true), 0);
	o = owed_take(&g.z, &wait_ms);
	pthread_mutex_unlock(&g.z.lock);
	return o;
}

static void retry(struct owed *o)
{
	pthread_mutex_lock(&g.z.lock);
	owed_retry(&g.z, o, "away");
	pthread_mutex_unlock(&g.z.lock);
}

static void hurry(void)
{
	pthread_mutex_lock(&g.z.lock);
	owed_hurry(&g.z);
	pthread_mutex_unlock(&g.z.lock);
}

static void owe_segment(void)
{
	struct spool_intent in = {.kind = SPOOL_SEGMENT, .size = 1, .ns = "ns"};

	assert_int_equal(spool_put(g.z.spool, &in, NULL, 0), 0);
}

static void what_waits_is_taken_when_a_store_is_back(void **state)
{
	struct owed *o;

	(void)state;
	zstor_rig_start(&g);
	owe_segment();
	o = take();
	assert_non_null(o);
	for (int i = 0; i < 10; i++) /* a long outage: the back-off has reached its end */
		owed_retry(&g.z, o, "away");
	assert_true(o->next_ms > clock_mono_ms() + 30000);
	assert_null(take());
	hurry();
	assert_ptr_equal(take(), o);
	retry(o); /* failed once more: a short pause, as after a first failure */
	assert_true(o->next_ms < clock_mono_ms() + 2000);
	zstor_rig_stop(&g);
}

/* It met the stores as they were before one came back: that says nothing about now. */
static void what_runs_then_is_tried_again_at_once(void **state)
{
	struct owed *o;

	(void)state;
	zstor_rig_start(&g);
	owe_segment();
	o = take();
	for (int i = 0; i < 10; i++)
		owed_retry(&g.z, o, "away");
	o->next_ms = 0;
	assert_ptr_equal(take(), o);
	hurry();
	retry(o);
	assert_ptr_equal(take(), o);
	retry(o); /* nothing came back since: it waits */
	assert_null(take());
	zstor_rig_stop(&g);
}

static void read_identities(void)
{
	struct obj_work *w = zs_work_get_small(&g.z);
	char why[ZS_WHY];

	assert_non_null(w);
	(void)vol_check_fence(&g.z, w, why);
	zs_work_put(&g.z, w);
}

static void a_metadata_store_counts_as_soon_as_it_answers(void **state)
{
	(void)state;
	zstor_rig_start(&g);
	g.stores.metas[3].is_down = true;
	read_identities(); /* a recovery point made without it */
	assert_int_equal(g.z.metas.good, 3);
	assert_int_equal(g.z.metas.slot[3], -1);
	assert_false(vol_meta_is_back(&g.z, 3));
	assert_int_equal(g.z.metas.slot[3], -1);
	g.stores.metas[3].is_down = false;
	assert_false(vol_meta_is_back(&g.z, 0)); /* was there all the time */
	assert_int_equal(g.z.metas.slot[3], -1);
	assert_true(vol_meta_is_back(&g.z, 3));
	assert_int_equal(g.z.metas.slot[3], 3);
	assert_false(vol_meta_is_back(&g.z, 3));
	zstor_rig_stop(&g);
}

static uint64_t calls_of(unsigned meta)
{
	struct rig_store *s = &g.stores.metas[meta];
	uint64_t calls;

	pthread_mutex_lock(&s->lock);
	calls = s->calls;
	pthread_mutex_unlock(&s->lock);
	return calls;
}

static void *slow_reading(void *arg)
{
	(void)arg;
	read_identities();
	return NULL;
}

/* Readings overlap: the one that was begun later knows better, whichever ends first. */
static void a_reading_that_took_longer_hides_no_store(void **state)
{
	pthread_t thread;
	uint64_t before;

	(void)state;
	zstor_rig_start(&g);
	g.stores.metas[3].is_down = true;
	read_identities();
	before = calls_of(3);
	g.stores.metas[0].delay_ms = 1000;
	assert_int_equal(pthread_create(&thread, NULL, slow_reading, NULL), 0);
	while (calls_of(3) ==
	       before) /* until it has met the store that is away, and waits for the slow one */
		usleep(1000);
	g.stores.metas[0].delay_ms = 0;
	g.stores.metas[3].is_down = false;
	assert_true(vol_meta_is_back(&g.z, 3));
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(g.z.metas.slot[3], 3);
	zstor_rig_stop(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_waits_is_taken_when_a_store_is_back),
		cmocka_unit_test(what_runs_then_is_tried_again_at_once),
		cmocka_unit_test(a_metadata_store_counts_as_soon_as_it_answers),
		cmocka_unit_test(a_reading_that_took_longer_hides_no_store),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
