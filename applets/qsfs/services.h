/*
 * services: what the volume's supervisor says of its services, over its control socket (one line in, one JSON object
 * out, one request per connection).
 */
#ifndef APPLETS_QSFS_SERVICES_H
#define APPLETS_QSFS_SERVICES_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "core/base/err.h"

#define SERVICES_MAX 256

struct service {
	char name[80];
	char state[80]; /* Running, Blocked, Error(Exited(Pid(812), 6)), ... */
	pid_t pid;      /* 0 = none */
};

struct services {
	struct service list[SERVICES_MAX];
	size_t count;
};

/* All services with state and pid. 0; -ENOENT or -ECONNREFUSED when no supervisor answers; other negative codes. */
int services_read(const char *socket, struct services *out, struct err_text *err);

/* One command without a result: "shutdown", "stop NAME", "start NAME". -E_PEER when it was refused. */
int services_command(const char *socket, struct err_text *err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* NULL when there is none of that name. */
const struct service *services_find(const struct services *s, const char *name);

/* Running (a oneshot, too, until it ends), or a oneshot that succeeded. */
bool service_is_up(const struct service *s);

/* A oneshot that succeeded. */
bool service_is_done(const struct service *s);

/* The exit code of a state that says how its process ended, -1 for any other state. */
int service_exit_code(const struct service *s);

#endif
