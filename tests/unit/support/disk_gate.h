/*
 * disk_gate: a disk that stands still when a test says so. What a worker syncs does not return while the gate is shut; the loop's own
 * syncs go through, and those made meanwhile are counted.
 *
 * There is one gate, in the system call table. Who begins it is taken for the thread of the loop.
 */
#ifndef TESTS_UNIT_SUPPORT_DISK_GATE_H
#define TESTS_UNIT_SUPPORT_DISK_GATE_H

#include "tests/unit/support/zdbd_rig.h"

/* Open, nothing counted, and no sync fails. _end: opens it, for a test that failed while it was shut. */
void disk_gate_begin(void);
void disk_gate_end(void);

void disk_gate_shut(void);
void disk_gate_open(void);
/* Of those who stand at it, who came last goes through; it stays shut. */
void disk_gate_let_last(void);
/* Whoever goes through fails with EIO, instead of syncing. */
void disk_gate_fail_syncs(bool yes);

/* Syncs of the loop while it was shut. */
unsigned disk_gate_in_loop(void);
/* Syncs of workers that have succeeded. */
unsigned disk_gate_synced(void);

/* Turns the loop until so many workers stand at it, and everything else has been done. */
void disk_gate_wait(struct zr *r, unsigned count);

/* For a call other than a sync that shall stand, too. True: it is the loop's, and never stands. */
bool disk_gate_pass(void);

#endif
