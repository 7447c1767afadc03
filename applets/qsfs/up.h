/* up: the verbs that change whether a volume is up. */
#ifndef APPLETS_QSFS_UP_H
#define APPLETS_QSFS_UP_H

#include "applets/qsfs/volume.h"
#include "core/base/opt.h"

int up_main(const struct applet *self, const struct verb *verb, void *ctx, int argc, char **argv);
int down_main(const struct applet *self, const struct verb *verb, void *ctx, int argc, char **argv);

extern const struct opt up_options[], down_options[];

/*
 * Ends a volume in order: asks the supervisor, shows each second what is waited for, until it has ended or `timeout_ms` has
 * passed (then the exit code is EXIT_AGAIN and it goes on in the background). v->mount must be right. Returns an exit code:
 * 0 clean, EXIT_AGAIN something stays owed in the spool, EXIT_FAILED a service could not end well.
 */
int down_volume(const struct volume *v, pid_t supervisor, uint64_t timeout_ms);

#endif
