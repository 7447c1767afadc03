/* ns: the verb that makes the namespaces of a volume. */
#ifndef APPLETS_QSFS_NS_H
#define APPLETS_QSFS_NS_H

#include "core/base/opt.h"

int ns_main(const struct applet *self, const struct verb *verb, void *ctx, int argc, char **argv);
extern const struct opt ns_options[];

#endif
