/* sync: the verbs that talk to a volume that is up. */
#ifndef APPLETS_QSFS_SYNC_H
#define APPLETS_QSFS_SYNC_H

#include "core/base/opt.h"

int sync_main(const struct applet *self, const struct verb *verb, void *ctx, int argc, char **argv);
int evict_main(const struct applet *self, const struct verb *verb, void *ctx, int argc, char **argv);
extern const struct opt sync_options[], evict_options[];

#endif
