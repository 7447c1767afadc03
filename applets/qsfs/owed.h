/* owed: what must still reach the stores. Read from the spool itself, so that it is right whoever runs or does not. */
#ifndef APPLETS_QSFS_OWED_H
#define APPLETS_QSFS_OWED_H

#include <stdint.h>

#include "applets/qsfs/volume.h"

struct owed {
	uint64_t files, bytes, age_s, parked;
};

/* 0, -ENOENT when there is no spool (nothing was ever owed), or another negative code. */
int owed_read(const struct volume *v, struct owed *o);

#endif
