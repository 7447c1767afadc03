/*
 * state: what lies in a volume's directory, and whether the volume is up.
 *
 *	DIR/lock           flock'd by the supervisor as long as the volume is up (it inherits the descriptor)
 *	DIR/up.toml         pid of the supervisor and mount point, while the volume is up
 *	keys/creating      a new volume is being made: its stores may not know it yet
 */
#ifndef APPLETS_QSFS_STATE_H
#define APPLETS_QSFS_STATE_H

#include <stdbool.h>
#include <sys/types.h>

#include "applets/qsfs/volume.h"

enum state_found {
	STATE_NEW,      /* nothing is there: a new volume may be made */
	STATE_CREATING, /* a start that was interrupted: goes on as a new volume */
	STATE_EXISTING,
};

/*
 * Judges keys and stores together. 0 and *found, or an exit code after one line: keys without stores, stores without keys
 * (6), a front end with neither. With `want_new` a configured volume without keys is a new one.
 */
int state_judge(const struct volume *v, bool want_new, enum state_found *found);

/* Makes the directories of the front end, 0700. 0 or a negative code after one line. */
int state_make_front(const struct volume *v);

/*
 * Makes the keys of a new volume (creating-marker first, volume.key last) and prints the recovery sheet, once, on
 * standard output. For STATE_CREATING keys that are there are kept. 0 or a negative code after one line.
 */
int state_make_keys(const struct volume *v, enum state_found found);
/* The stores know the volume now. */
int state_created(const struct volume *v);

/* Whether zstor has written down that it made the volume: then its keys must stay, whatever became of the start. */
bool state_is_on_stores(const struct volume *v);

/* Takes away what a failed start of a new volume had made. */
void state_undo_new(const struct volume *v);

/* The volume's lock: a descriptor, or a negative code after one line (-E_LOCKED: it is up). */
int state_lock(const struct volume *v);

/* up.toml: written once the supervisor runs; removed when it has ended. */
int state_note_up(const struct volume *v, pid_t pid);
void state_forget_up(const struct volume *v);

/*
 * Whether the volume is up (1, 0, negative code), by its lock. When it is, *pid is its supervisor (0 = unknown) and
 * v->mount where it is mounted. Prints nothing.
 */
int state_is_up(struct volume *v, pid_t *pid);

#endif
