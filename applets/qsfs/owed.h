/*
 * owed: what must still reach the stores. Read from the spool, the data files and zstor's copy of the newest recovery point
 * themselves, so that it is right whoever runs or does not.
 */
#ifndef APPLETS_QSFS_OWED_H
#define APPLETS_QSFS_OWED_H

#include <stdint.h>

#include "applets/qsfs/volume.h"
#include "core/object/uncovered.h"

struct owed {
	uint64_t files, bytes, age_s, parked;
};

/* 0, -ENOENT when there is no spool (nothing was ever owed), or another negative code. */
int owed_read(const struct volume *v, struct owed *o);

/*
 * What the newest recovery point does not hold (all of it while there is none). 0, or a negative code: then it is unknown.
 */
int unsafe_read(const struct volume *v, struct uncovered *u);

#endif
