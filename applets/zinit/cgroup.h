/*
 * cgroup: limits of a service (memory_max, cpu_max, pids_max) and ending everything it started.
 *
 * Each limit is applied by the first means that works on this machine: a control group of version 2, of version 1, a
 * resource limit; which one is in force is kept for `status`. A group is made only for units that ask for a limit or for
 * kill_mode cgroup, so that a supervisor without such units leaves the hierarchy alone.
 */
#ifndef ZINIT_CGROUP_H
#define ZINIT_CGROUP_H

#include <stddef.h>

#include "applets/zinit/proc.h"
#include "applets/zinit/sup.h"

/*
 * Makes the groups of a service that is about to start, writes their limits, and sets in *proc what the child has to do:
 * the groups to join (paths in `paths`), and resource limits for what no group can do.
 */
void cgroup_prepare(struct service *service, struct proc *proc, char *paths, size_t size);

/* Another signal to every process that has left the service's process group but not its control group. */
void cgroup_signal(const struct service *service, int signo);

/* SIGKILL to every process in the service's group; harmless without one. */
void cgroup_kill(const struct service *service);

/* Processes left in it: -1 = there is no group. */
int cgroup_count(const struct service *service);

/* Removes the (empty) groups. */
void cgroup_release(struct service *service);

#endif
