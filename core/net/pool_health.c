/*
 * pool_health: whether a backend is up or down, since when and why, and when a call may try one that is down.
 */
#include "core/net/pool_int.h"

#include <errno.h>
#include <stdio.h>

#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/sys.h"

static uint64_t backoff_ms(const struct backend *b)
{
	const struct pool_options *opt = &b->pool->opt;
	uint64_t ms = opt->backoff_min_ms;
	unsigned i;
	uint16_t noise = 0;

	for (i = 1; i < b->state.failures && ms < opt->backoff_max_ms; i++)
		ms *= 2;
	if (ms > opt->backoff_max_ms)
		ms = opt->backoff_max_ms;
	/* +-25 %, so that many clients of one store do not return at once */
	if (sys->getrandom(&noise, sizeof(noise), 0) != (ssize_t)sizeof(noise))
		noise = 0x8000;
	return ms - ms / 4 + ms / 2 * noise / 0xffff;
}

void backend_set_up(struct backend *b)
{
	if (!b->state.up) {
		if (b->state.tried)
			log_info("backend is back backend=%s", b->addr.id);
		b->state.since_ms = clock_mono_ms();
	}
	b->state.up = true;
	b->state.tried = true;
	b->state.failures = 0;
	b->state.retry_ms = 0;
}

void backend_set_down(struct backend *b, const char *sentence)
{
	uint64_t now = clock_mono_ms();

	if (b->state.up || !b->state.tried) {
		b->state.since_ms = now;
		log_warn("backend is down backend=%s: %s", b->addr.id, sentence);
	}
	b->state.up = false;
	b->state.tried = true;
	if (b->state.failures < 1000)
		b->state.failures++;
	b->state.retry_ms = now + backoff_ms(b);
	snprintf(b->state.last_error, sizeof(b->state.last_error), "%s", sentence);
}

int backend_admit(struct backend *b, bool *probe, struct net_error *err)
{
	uint64_t now;

	*probe = false;
	if (b->retired)
		return pool_fail(b, err, -ESHUTDOWN, "no longer configured");
	if (b->state.up || !b->state.tried)
		return 0;
	now = clock_mono_ms();
	if (b->probing || now < b->state.retry_ms)
		return pool_fail(b, err, -EAGAIN, "down, next try in %llu ms (%s)",
				 (unsigned long long)(now < b->state.retry_ms ? b->state.retry_ms - now : 0),
				 b->state.last_error);
	*probe = b->probing = true;
	return 0;
}

void backend_note_down(struct backend *b, const char *sentence)
{
	pthread_mutex_lock(&b->lock);
	b->state.errors++;
	backend_set_down(b, sentence);
	pthread_mutex_unlock(&b->lock);
}

void backend_state(struct backend *b, struct backend_state *out)
{
	pthread_mutex_lock(&b->lock);
	*out = b->state;
	pthread_mutex_unlock(&b->lock);
}

void backend_retry_now(struct backend *b)
{
	pthread_mutex_lock(&b->lock);
	b->state.retry_ms = 0;
	pthread_mutex_unlock(&b->lock);
}

bool backend_known(struct backend *b)
{
	struct backend_state st;

	backend_state(b, &st);
	return st.kind != BACKEND_UNKNOWN;
}

bool backend_is_redis(struct backend *b)
{
	struct backend_state st;

	backend_state(b, &st);
	return st.kind == BACKEND_REDIS;
}
