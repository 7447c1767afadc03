/*
 * fdstore: descriptors that a service leaves with us over a restart, by the protocol of sd_notify: a message FDSTORE=1
 * with FDNAME=x and descriptors attached; they come back as LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES from number 3 on.
 * FDSTOREREMOVE=1 with FDNAME=x takes them back. A stop that was asked for empties the store, a restart does not.
 */
#ifndef ZINIT_FDSTORE_H
#define ZINIT_FDSTORE_H

#include "applets/zinit/proc.h"
#include "applets/zinit/sup.h"

enum { FDSTORE_MAX = 64, FDSTORE_NAME_MAX = 63 };

/* For units with `fdstore: N`. 0 or -ENOMEM. */
int fdstore_new(struct service *service);
void fdstore_free(struct service *service);
void fdstore_clear(struct service *service);

/* Takes over a descriptor (closes it when there is no room). */
void fdstore_add(struct service *service, const char *name, int fd);
void fdstore_remove(struct service *service, const char *name);

/* Adds the descriptors and their environment to a start; returns the number of environment entries from `env` on. */
int fdstore_prepare(struct service *service, struct proc *proc, int env);

uint32_t fdstore_count(const struct service *service);

#endif
