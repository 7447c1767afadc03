/*
 * pid1: what the first process of a machine does before and after the services. Containers need none of it.
 */
#ifndef ZINIT_PID1_H
#define ZINIT_PID1_H

#include "applets/zinit/sup.h"

/*
 * Mounts proc, sys, dev, dev/pts, dev/shm, run, tmp and cgroup2 where nothing is mounted yet; opens the console; sets the
 * host name from /etc/hostname; brings the loopback interface up; loads the modules listed in `modules_file` (one path a
 * line, in order); takes Ctrl-Alt-Del away from the kernel. Nothing of it can fail the start: each failure is one line.
 */
void pid1_begin(const char *modules_file);

/* Signals as BusyBox init maps them: SIGUSR1 halt, SIGUSR2 and SIGPWR power off, SIGINT (Ctrl-Alt-Del) reboot, SIGTERM reboot. */
int pid1_catch_signals(struct sup *sup);

/*
 * After the last service: swap off, file systems unmounted or made read-only, sync, reboot(2). Returns only when the kernel
 * refuses; PID 1 must then live on.
 */
void pid1_end(enum sup_end end);

#endif
