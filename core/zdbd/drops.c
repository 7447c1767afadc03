/*
 * drops: NSDEL and FLUSH of a namespace that is stored elsewhere.
 *
 * The stores must hear of it, or what the numbers meant is mixed with what they will mean; but not before it is certain: what they
 * hold of a namespace that lives on may be held by nobody else.  So `dropping` goes to the spool first, then it is done,
 * then `nsdrop` follows, which alone makes zstor give anything up.  What a stop in between leaves is settled at the next start: emptying is all
 * or nothing (core/zdb/clear.c), so a namespace that still holds something was not dropped.
 */
#include <string.h>

#include "core/base/str.h"
#include "core/zdbd/zdbd_int.h"

static void intent_of(struct spool_intent *in, enum spool_kind kind, const char *ns)
{
	memset(in, 0, sizeof(*in));
	in->kind = kind;
	str_copy(in->ns, sizeof(in->ns), ns);
}

static int put(struct zdbd *d, struct spool_intent *in)
{
	int err = spool_put(d->spool, in, NULL, 0);

	if (err)
		log_err("cannot spool %s namespace=%s: %s", spool_kind_name(in->kind), in->ns, err_str(err));
	return err;
}

int drop_begin(struct zdbd *d, struct zdb_ns *ns, struct drop *drop)
{
	struct zns *z = zdb_ns_owner_data(ns);
	int err = 0;

	memset(drop, 0, sizeof(*drop));
	if (d->spool && !ns_is_temp(d, zdb_ns_name(ns))) {
		if (z) /* nothing of the old generation comes behind this */
			spooling_wait(z);
		intent_of(&drop->begun, SPOOL_DROPPING, zdb_ns_name(ns));
		err = put(d, &drop->begun);
		drop->is_told = err == 0;
	}
	return err;
}

/* It is done: `begun` makes way for the intention that zstor pays. */
static int settle(struct zdbd *d, const struct spool_intent *begun)
{
	struct spool_intent in;
	int err;

	intent_of(&in, SPOOL_NSDROP, begun->ns);
	err = put(d, &in);
	return err ? err : spool_remove(d->spool, begun);
}

int drop_end(struct zdbd *d, struct zdb_ns *ns, const struct drop *drop)
{
	enum zdb_dropped how = zdb_ns_dropped(ns);
	int err = 0;

	if (!drop->is_told)
		return 0;
	if (how == ZDB_DROP_DONE)
		err = settle(d, &drop->begun);
	else if (how == ZDB_DROP_NOT)
		err = spool_remove(d->spool, &drop->begun);
	if (err || how == ZDB_DROP_UNKNOWN) {
		log_err("whether a namespace was dropped is settled at the next start only: no recovery "
			"points before namespace=%s",
			zdb_ns_name(ns));
		d->drops_open = true;
	}
	if (err && how == ZDB_DROP_DONE &&
	    zdb_ns_alive(ns)) /* its numbers must not come to mean something else before zstor knows */
		(void)zdb_ns_set_lock(ns, ZDB_LOCKED);
	return err;
}

/* ------------------------------------------------------------------------------------------- what was left over */

struct settling {
	struct zdbd *d;
	bool at_start;
	int err;
};

struct is_refused {
	const char *name;
	bool yes;
};

static void see_refused(void *ctx, const char *name, const char *why)
{
	struct is_refused *r = ctx;

	(void)why;
	r->yes |= strcmp(name, r->name) == 0;
}

/* Of a namespace that cannot be loaded nobody knows it; of one that lives on, the command that is at it. */
static bool can_settle(const struct settling *s, const char *name, struct zdb_ns *ns)
{
	struct is_refused r = {name, false};

	if (ns)
		return s->at_start;
	zdb_refused_each(s->d->eng, see_refused, &r);
	return !r.yes;
}

static int settle_one(void *ctx, const struct spool_intent *in)
{
	struct settling *s = ctx;
	struct zdb_ns *ns;
	bool is_done;
	int err;

	if (in->kind != SPOOL_DROPPING || in->foreign)
		return 0;
	ns = zdb_ns_find(s->d->eng, in->ns, strlen(in->ns));
	if (!can_settle(s, in->ns, ns)) {
		s->d->drops_open = true;
		return 0;
	}
	is_done = !ns || !zdb_ns_is_used(ns);
	err = is_done ? settle(s->d, in) : spool_remove(s->d->spool, in);
	if (err)
		s->err = err;
	else
		log_info("a stop interrupted the dropping of a namespace: it %s namespace=%s",
			 is_done ? "is dropped" : "was not dropped", in->ns);
	return 0;
}

int drops_settle(struct zdbd *d, bool at_start)
{
	struct settling s = {.d = d, .at_start = at_start};
	int err;

	if (!d->spool || (!at_start && !d->drops_open))
		return 0;
	d->drops_open = false;
	err = spool_list(d->spool, settle_one, &s);
	if (!err)
		err = s.err;
	if (err)
		d->drops_open = true;
	return err;
}
