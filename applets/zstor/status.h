/*
 * status: what the daemon is doing, as one JSON object: backends with the reason and the time of their state, what is owed,
 * the newest recovery point, restore progress, and `reasons`: one sentence for each thing that is not as it should be.
 */
#ifndef APPLETS_ZSTOR_STATUS_H
#define APPLETS_ZSTOR_STATUS_H

#include <yyjson.h>

#include "applets/zstor/zstor.h"

/* Adds the members to `root`. Returns the exit code: 0, or 4 when something is degraded. -ENOMEM. */
int zstatus_fill(struct zstor *z, yyjson_mut_doc *doc, yyjson_mut_val *root);

/* The same for people, from the answer of a daemon. */
void zstatus_print(yyjson_val *root, FILE *out);

#endif
