/* reason: why a service is not up yet, or ended, in one sentence for people. */
#ifndef APPLETS_QSFS_REASON_H
#define APPLETS_QSFS_REASON_H

#include "applets/qsfs/volume.h"

/* The last error or last line that the service left in its log files. 0, or -ENOENT when there is none. */
int reason_of(const struct volume *v, const char *service, char *dst, size_t size);

/* Appends what a restore in progress says of itself to `text`, when zstor answers and one is running. */
void reason_progress(const struct volume *v, char *text, size_t size);

#endif
