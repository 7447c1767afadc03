/*
 * zstor_rig: zstor's shared struct without a daemon: a state directory and a spool on disk, the volume and the stores of an
 * object_rig in memory. Placement looks at the backends of the configuration, which are all away: nothing can be stored through
 * it, whatever the rig's stores hold can be read.
 */
#ifndef TESTS_UNIT_SUPPORT_ZSTOR_RIG_H
#define TESTS_UNIT_SUPPORT_ZSTOR_RIG_H

#include "applets/zstor/owed.h"
#include "applets/zstor/zstor.h"
#include "tests/unit/support/object_rig.h"

struct zstor_rig {
	struct rig stores; /* six of data, four of metadata, 2 + 2 */
	struct zstor z;
	char dir[64];
	struct keyring *own_keys; /* of the configuration; z.keys are the rig's */
};

/* Asserts. The volume is READY. */
void zstor_rig_start(struct zstor_rig *g);
void zstor_rig_stop(struct zstor_rig *g);

#endif
