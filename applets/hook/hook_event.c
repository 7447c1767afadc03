/*
 * hook: event by event.
 */
#include <string.h>
#include <sys/stat.h>

#include "applets/hook/hook.h"
#include "core/base/applet.h"
#include "core/base/err.h"
#include "core/base/log.h"
#include "core/base/str.h"
#include "core/base/sys.h"

static int nothing(struct hook *h)
{
	(void)h;
	return EXIT_DONE;
}

static int kick_only(struct hook *h)
{
	hook_kick(h);
	return EXIT_DONE;
}

/* Puts an intention about a namespace, then wakes zstor. The intention alone decides the answer. */
static int put(struct hook *h, struct spool_intent *in)
{
	int rc;

	if (!h->zdb_spools) {
		rc = spool_put(h->spool, in, NULL, 0);
		if (rc < 0) {
			log_err("cannot record %s of %s: %s", h->event, in->ns, err_str(rc));
			return EXIT_FAILED;
		}
	}
	hook_kick(h);
	return EXIT_DONE;
}

static int put_ns(struct hook *h, enum spool_kind kind)
{
	struct spool_intent in = {.kind = kind};

	if (str_copy(in.ns, sizeof(in.ns), h->argv[0]) < 0 || !in.ns[0]) {
		log_err("cannot record %s: not a namespace: %s", h->event, h->argv[0]);
		return EXIT_FAILED;
	}
	return where_is_temp(in.ns) ? EXIT_DONE : put(h, &in);
}

static int namespace_changed(struct hook *h)
{
	return put_ns(h, SPOOL_DESCRIPTOR);
}

static int namespace_deleted(struct hook *h)
{
	return put_ns(h, SPOOL_NSDROP);
}

static int jump_data(struct hook *h)
{
	struct spool_intent in = {.kind = SPOOL_SEGMENT};
	unsigned long number;
	struct stat st;

	if (!where_split(h->argv[0], 'd', in.ns, &number)) {
		log_err("cannot record jump-data: not a data file: %s", h->argv[0]);
		return EXIT_FAILED;
	}
	if (where_is_temp(in.ns))
		return EXIT_DONE;
	in.first = in.last = number;
	if (str_copy(in.path, sizeof(in.path), h->argv[0]) < 0)
		in.path[0] = '\0'; /* found again from namespace and number */
	if (sys->stat(h->argv[0], &st) == 0)
		in.size = (uint64_t)st.st_size;
	return put(h, &in);
}

static int jump_index(struct hook *h)
{
	int rc = 0;

	if (!h->zdb_spools)
		rc = hook_bundle_put(h, h->argv[0], h->argv[2]);
	if (rc < 0) {
		log_err("cannot record jump-index of %s: %s", h->argv[0], err_str(rc));
		return EXIT_FAILED;
	}
	hook_kick(h);
	return EXIT_DONE;
}

/* A data file, or, beside a server of ours, an index file. */
static int missing_file(struct hook *h)
{
	return hook_retrieve(h, h->argv[0]);
}

static int namespaces_init(struct hook *h)
{
	return hook_restore(h, false);
}

static int ready(struct hook *h)
{
	return hook_restore(h, true);
}

static const struct hook_event events[] = {
	{"namespaces-init", 2, false, false, namespaces_init},
	{"ready", 0, false, false, ready},
	{"namespace-created", 1, false, true, namespace_changed},
	{"namespace-updated", 1, false, true, namespace_changed},
	{"namespace-deleted", 1, false, true, namespace_deleted},
	{"namespace-reloaded", 1, false, false, nothing},
	{"jump-index", 3, true, true, jump_index},
	{"jump-data", 1, true, true, jump_data},
	{"missing-data", 1, false, false, missing_file},
	{"missing-index", 1, false, false, missing_file},
	{"close", 0, true, false, kick_only},
	{"namespace-closing", 1, true, true, namespace_changed},
	{"crash", 0, true, false, kick_only},
};

const struct hook_event *hook_event_find(const char *name)
{
	for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++)
		if (strcmp(events[i].name, name) == 0)
			return &events[i];
	return NULL;
}
