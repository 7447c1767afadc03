/*
 * zdb_flights.c: see zdb_flights.h.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/base/list.h"
#include "tests/unit/support/zdb_flights.h"

struct cargo {
	struct zdb_lent lent;
	struct fleet *fleet;
	size_t size;
	uint8_t bytes[];
};

static int announced(void *ctx, struct zdb_flight *flight)
{
	struct fleet *f = ctx;

	if (f->refuse)
		return f->refuse;
	assert_true(f->count < FLEET_MAX);
	f->queue[f->count++] = flight;
	f->started++;
	return 0;
}

void fleet_init(struct fleet *f, struct zdb_options *opt)
{
	*f = (struct fleet){.events.flight = announced};
	opt->events = &f->events;
	opt->events_ctx = f;
	opt->gather_writes = true;
	opt->flight_min = 1;
}

static void cargo_free(struct cargo *c)
{
	memset(c->bytes, 0xEE, c->size);
	free(c);
}

static void came_back(struct zdb_lent *lent)
{
	struct cargo *c = container_of(lent, struct cargo, lent);

	assert_int_equal(lent->uses, 0);
	c->fleet->back++;
	cargo_free(c);
}

int fleet_set(struct fleet *f, struct zdb_ns *ns, const void *key, size_t klen, const void *value, size_t vlen,
	      uint32_t ts, struct zdb_set_result *result)
{
	struct cargo *c = malloc(sizeof(*c) + vlen);
	int rc;

	assert_non_null(c);
	*c = (struct cargo){.lent = {1, came_back}, .fleet = f, .size = vlen};
	if (vlen > 0)
		memcpy(c->bytes, value, vlen);
	rc = zdb_set_lent(ns, key, klen, c->bytes, vlen, ts, result, &c->lent);
	if (--c->lent.uses > 0)
		f->lent++;
	else
		cargo_free(c);
	return rc;
}

void fleet_run(struct fleet *f)
{
	if (f->run < f->count)
		zdb_flight_run(f->queue[f->run++]);
}

int fleet_end(struct fleet *f)
{
	struct zdb_flight *first = f->queue[0];

	if (f->run == 0)
		return 0;
	memmove(f->queue, f->queue + 1, --f->count * sizeof(f->queue[0]));
	f->run--;
	return zdb_flight_done(first);
}

int fleet_end_all(struct fleet *f)
{
	int first = 0;

	while (f->count > 0) {
		int rc;

		fleet_run(f);
		rc = fleet_end(f);
		if (first == 0)
			first = rc;
	}
	return first;
}

void fleet_step(struct fleet *f, uint64_t dice)
{
	if (dice % 3 == 0)
		fleet_run(f);
	else if (dice % 3 == 1)
		assert_int_equal(fleet_end(f), 0);
}

bool fleet_even(const struct fleet *f)
{
	return f->lent == f->back;
}
