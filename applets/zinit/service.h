/*
 * service: carries out what the state table (sm.h) says about one service.
 */
#ifndef ZINIT_SERVICE_H
#define ZINIT_SERVICE_H

#include <stdbool.h>
#include <stddef.h>

#include "applets/zinit/sup.h"

/*
 * Makes a service of a unit block (copied), with its pipes, ring and timers, in the supervisor's table. It is not
 * started. 0, or a negative errno.
 */
int service_new(struct sup *sup, const struct unit *unit, struct service **service);
/* Takes it out of the table and frees it; it must be down. */
void service_free(struct service *service);

/* Another unit of the same name, for a service without a process; takes `unit` over. 0 or a negative errno. */
int service_replace_unit(struct service *service, struct unit *unit);

/* Takes up the unit that a reload left in service->pending, if any; the service must have no process. */
void service_take_up_pending(struct service *service);

/* Everything that happens to a service comes through here. */
void service_event(struct service *service, enum sm_event event);

/* Commands. start: 0 or -ESHUTDOWN. kill: 0, -ESRCH when it is down, or what kill(2) says. */
int service_start(struct service *service);
void service_stop(struct service *service);
int service_restart(struct service *service);
int service_kill(struct service *service, int signo);

/* A service that it requires is gone: stop it, and start it again when the other is back. */
void service_hold(struct service *service);

/* The main process has ended. */
void service_exited(struct service *service, int status);
/* Something was reaped: perhaps the last member of a group that is waited for. */
void service_check_group(struct service *service);

/* Whether a process of its own exists (or is not known to be gone). */
bool service_is_live(const struct service *service);
/* Whether it is up as a dependency: ready, or a oneshot that succeeded. */
bool service_is_satisfying(const struct service *service);
/* Whether all its dependencies are; *missing (may be NULL) becomes the first that is not. */
bool service_has_deps(const struct service *service, const struct dep **missing);

/* Sets what is shown as its state. */
void service_show(struct service *service, enum shown shown);

/* The original's text of the state: "Running", "Error(Exited(Pid(812), 3))". Returns dst (96 bytes are enough). */
char *service_state_text(const struct service *service, char *dst, size_t size);
/* "exit status 3", "signal SIGKILL". Returns dst. */
char *service_status_text(char *dst, size_t size, int status);

#endif
