/* start: the supervisor of a volume, from its process to a mounted file system. */
#ifndef APPLETS_QSFS_START_H
#define APPLETS_QSFS_START_H

#include "applets/qsfs/volume.h"
#include "core/base/spawn.h"

struct start {
	const struct volume *v;
	int signals;          /* signalfd of INT, TERM, HUP */
	struct spawned child; /* the supervisor */
	bool created;         /* the stores of a new volume know it now */
};

/* Blocks the three signals and opens their descriptor. 0 or a negative code after one line. */
int start_init(struct start *s, const struct volume *v);
void start_release(struct start *s);

/* Starts the supervisor, detached, its output in log/zinit.log, with the volume's lock. 0 or a negative code after one line. */
int start_supervisor(struct start *s, int lock);

/*
 * Waits until every service is up. Progress on stderr. Returns an exit code: EXIT_DONE; the code with which a service gave
 * up (after one line with its reason); EXIT_FAILED when `quiet_ms` pass without any progress, or when the supervisor ends;
 * EXIT_AGAIN when a signal asked for the end.
 */
int start_wait(struct start *s, uint64_t quiet_ms);

/* After a failed start: stops what runs, within a bound, then makes sure of it. */
void start_abandon(struct start *s);

#endif
