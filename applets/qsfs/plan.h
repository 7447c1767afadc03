/*
 * plan: everything that is derived from a volume: the configuration of zstor and the units of the supervisor.
 *
 * A person edits one file at most; these are written anew at each `up`, below run/etc, mode 0600, and may be read
 * but not edited. `up --dry-run` prints them without a secret in them.
 */
#ifndef APPLETS_QSFS_PLAN_H
#define APPLETS_QSFS_PLAN_H

#include <stdbool.h>
#include <stdio.h>

#include "applets/qsfs/volume.h"

#define PLAN_WORDS_MAX 24
#define PLAN_AFTER_MAX (VOLUME_STORES_MAX + 8)
#define PLAN_UNITS_MAX (VOLUME_STORES_MAX + 8)

/* One service. Strings belong to the plan. */
struct plan_unit {
	char name[80];
	char *words[PLAN_WORDS_MAX + 1]; /* command line, ended by NULL */
	char *test[PLAN_WORDS_MAX + 1];  /* readiness command; empty = none */
	const char *after[PLAN_AFTER_MAX];
	size_t after_count;
	bool oneshot;
	unsigned shutdown_timeout_s;
};

struct plan {
	struct plan_unit units[PLAN_UNITS_MAX];
	size_t count;
};

/*
 * Lays out the services in the order backends, (init), zstor, wait_hooks, zdb, ns, zdbfs. With `is_new` the oneshot
 * `init` creates the volume on its metadata stores first. 0 or -ENOMEM. plan_release() in either case.
 */
int plan_make(struct plan *p, const struct volume *v, bool is_new);
void plan_release(struct plan *p);

/*
 * Writes zstor.toml and zinit/<name>.yaml below v->etc, removes units that are no longer wanted, and makes the
 * links of v->bin. 0 or a negative code, after one line on stderr.
 */
int plan_write(const struct plan *p, const struct volume *v);

/* Prints the same files, each under a line "# path", with every password and key replaced by "***". */
void plan_print(const struct plan *p, const struct volume *v, FILE *out);

#endif
