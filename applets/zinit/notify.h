/*
 * notify: services that say themselves when they are ready: a newline on a descriptor, or READY=1 on a socket
 * ($NOTIFY_SOCKET, the protocol of sd_notify). The socket also takes STATUS= lines, and descriptors for the store.
 */
#ifndef ZINIT_NOTIFY_H
#define ZINIT_NOTIFY_H

#include "applets/zinit/proc.h"
#include "applets/zinit/sup.h"

/* Makes what the unit asks for. 0 or a negative errno. */
int notify_new(struct service *service);
void notify_free(struct service *service);

/* Adds descriptors and environment for one start; texts go to proc->extra_env from `env` on. Returns how many. */
int notify_prepare(struct service *service, struct proc *proc, int env);
/* The process was forked (or could not be): the writing end is the child's alone now. */
void notify_started(struct service *service);
/* It has ended. */
void notify_ended(struct service *service);

/* Whether readiness was told before the exec was confirmed. */
bool notify_has_come(const struct service *service);

#endif
