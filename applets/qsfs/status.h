/* status: what a volume is doing, for people and as JSON. */
#ifndef APPLETS_QSFS_STATUS_H
#define APPLETS_QSFS_STATUS_H

#include <stdio.h>

#include "applets/qsfs/volume.h"
#include "core/base/opt.h"

int status_main(const struct applet *self, const struct verb *verb, void *ctx, int argc, char **argv);
extern const struct opt status_options[];

/* Prints the status of a volume that is up, as text. Returns its exit code: 0, 4 degraded, 7 not up. */
int status_print(const struct volume *v, FILE *out);

#endif
