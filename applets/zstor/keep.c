/*
 * keep: the thread that keeps the volume: decides whether it is ours, restores when asked, makes recovery points in their time.
 */
#include <string.h>

#include "applets/zstor/point_int.h"
#include "core/base/clock.h"

#define SETTLE_FIRST_MS  500u
#define SETTLE_MAX_MS    5000u
#define REQUEST_RETRY_MS 1500u /* of a request that failed */
#define RETRY_MS         5000u /* after a point that failed */
#define POINT_STACK      (512u << 10)

static pthread_t thread;
static bool has_thread;

uint64_t point_request(struct zstor *z)
{
	uint64_t number = ++z->point.wanted;

	pthread_cond_broadcast(&z->changed);
	return number;
}

/* With `lock` held; it is let go meanwhile. */
static void do_settle(struct zstor *z)
{
	struct obj_work *w;

	pthread_mutex_unlock(&z->lock);
	w = zs_work_get_small(z);
	if (w)
		vol_settle(z, w);
	zs_work_put(z, w);
	pthread_mutex_lock(&z->lock);
}

static void do_point(struct zstor *z)
{
	struct obj_work *w;

	pthread_mutex_unlock(&z->lock);
	w = zs_work_get_small(z);
	if (w)
		point_make(z, w);
	zs_work_put(z, w);
	pthread_mutex_lock(&z->lock);
}

static void do_restore(struct zstor *z)
{
	char why[ZS_WHY] = "";
	uint64_t answers = z->restore.wanted;
	int code;

	z->restore.busy = true;
	pthread_mutex_unlock(&z->lock);
	code = restore_run(z, why);
	pthread_mutex_lock(&z->lock);
	z->restore.busy = false;
	z->restore.done = answers;
	z->restore.code = code;
	memcpy(z->restore.why, why, sizeof(why));
	pthread_cond_broadcast(&z->changed);
}

static bool is_undecided(enum vol_state s)
{
	return s == VOL_UNKNOWN || s == VOL_NEW || s == VOL_REFUSED;
}

static void *keep(void *arg)
{
	struct zstor *z = arg;
	uint64_t settle_ms = 0, settle_wait = SETTLE_FIRST_MS, point_ms = clock_mono_ms() + z->conf.rpo_ms;
	bool has_scanned = false;

	pthread_mutex_lock(&z->lock);
	while (!z->stopping) {
		uint64_t now = clock_mono_ms();

		if (is_undecided(z->vol.state) && now >= settle_ms) {
			do_settle(z);
			settle_ms = clock_mono_ms() + settle_wait;
			settle_wait = settle_wait * 2 < SETTLE_MAX_MS ? settle_wait * 2 : SETTLE_MAX_MS;
			continue;
		}
		if (z->restore.wanted != z->restore.done && z->vol.state != VOL_UNKNOWN) {
			do_restore(z);
			continue;
		}
		if (z->vol.state == VOL_READY && !has_scanned) {
			has_scanned = true;
			settle_wait = SETTLE_FIRST_MS;
			pthread_mutex_unlock(&z->lock);
			scan_run(z);
			pthread_mutex_lock(&z->lock);
			continue;
		}
		if (z->vol.state == VOL_READY && (z->point.wanted != z->point.tried || now >= point_ms)) {
			do_point(z);
			point_ms =
				clock_mono_ms() +
				(z->point.error[0] && z->conf.rpo_ms > RETRY_MS ? RETRY_MS : z->conf.rpo_ms);
			continue;
		}
		/* A request that failed is tried again soon, and at once when something changed that may help. */
		if (z->point.wanted != z->point.done && z->point.tried == z->point.wanted &&
		    z->vol.state == VOL_READY && point_ms > now + REQUEST_RETRY_MS)
			point_ms = now + REQUEST_RETRY_MS;
		zs_wait(z, 500);
	}
	pthread_mutex_unlock(&z->lock);
	return NULL;
}

int point_start(struct zstor *z)
{
	pthread_attr_t attr;
	int rc;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, POINT_STACK);
	rc = pthread_create(&thread, &attr, keep, z);
	pthread_attr_destroy(&attr);
	has_thread = rc == 0;
	return -rc;
}

void point_stop(struct zstor *z)
{
	zs_changed(z);
	if (has_thread)
		pthread_join(thread, NULL);
	has_thread = false;
}
