/*
 * preflight: what must hold before `up` changes anything. Each check that fails prints one line that says who, what and
 * what to do, and returns the exit code; nothing has been changed then.
 */
#ifndef APPLETS_QSFS_PREFLIGHT_H
#define APPLETS_QSFS_PREFLIGHT_H

#include "applets/qsfs/volume.h"

/* Every applet that a volume runs is in this program; root; /dev/fuse usable (the module is asked for by opening it). */
int preflight_host(void);

/* The volume's directory does not lie on a mount of ours, and there is room to start (and to stop) in it. */
int preflight_state(const struct volume *v);

/*
 * The mount point is an empty directory on which nothing is mounted (the default one, inside the volume's own directory, may
 * be missing). A mount that one of our processes left behind dead is taken away, with a line that says so.
 */
int preflight_mount(const struct volume *v);
/* Makes the default one. 0 or a negative code after one line. */
int preflight_make_mount(const struct volume *v);

#endif
