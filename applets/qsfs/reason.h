/* reason: why a service is not up yet, or ended, in one sentence for people. */
#ifndef APPLETS_QSFS_REASON_H
#define APPLETS_QSFS_REASON_H

#include "applets/qsfs/volume.h"

/* The last error or last line that the service left in its log files. 0, or -ENOENT when there is none. */
int reason_of(const struct volume *v, const char *service, char *dst, size_t size);

/* What zstor says of the volume itself. */
struct volume_says {
	char state[16]; /* "ready", "unknown", "refused", ...; "" = it does not answer yet */
	char why[320];
	int code;          /* exit code that goes with a refusal */
	char restore[320]; /* progress of a restore, "" = none */
};

/* Asks zstor's socket, within two seconds. */
void reason_volume(const struct volume *v, struct volume_says *says);

#endif
