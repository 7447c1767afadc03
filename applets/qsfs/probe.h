/* probe: readiness tests for units. Exit 0 ready, 75 not yet. */
#ifndef APPLETS_QSFS_PROBE_H
#define APPLETS_QSFS_PROBE_H

#include "core/base/opt.h"

int probe_main(const struct applet *self, const struct verb *verb, void *ctx, int argc, char **argv);
extern const struct opt probe_options[];

#endif
