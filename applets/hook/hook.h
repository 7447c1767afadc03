/*
 * hook: what the files of this room share.
 */
#ifndef APPLETS_HOOK_HOOK_H
#define APPLETS_HOOK_HOOK_H

#include "core/spool/spool.h"
#include "core/spool/where.h"

struct hook {
	struct where where;
	struct spool *spool;
	const char *event, *instance;
	int argc; /* arguments behind the instance */
	char **argv;
	bool zdb_spools; /* $ZDB_SPOOL: the server has written its intentions itself */
};

/* One event. Returns the exit code that the server sees. */
struct hook_event {
	const char *name;
	int args_min;
	bool is_closing;  /* let in while a shutdown refuses new events */
	bool needs_spool; /* writes an intention */
	int (*run)(struct hook *h);
};

/* NULL for an unknown name. */
const struct hook_event *hook_event_find(const char *name);

/* hook_zstor.c: requests to the daemon. Exit codes. */
int hook_kick(struct hook *h); /* never waits for more than a second; its failure harms nothing */
int hook_retrieve(struct hook *h, const char *path); /* bounded by $HOOK_RETRIEVE_LIMIT, 60 s */
int hook_restore(struct hook *h, bool only_ask); /* bounded by $HOOK_RESTORE_LIMIT, 10 min; prints progress */

/* hook_bundle.c: the indexes that a rotation of an original server leaves behind, as one durable bundle. */
int hook_bundle_put(struct hook *h, const char *closed_index, const char *dirty);

#endif
