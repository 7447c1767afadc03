/*
 * notify: tells whoever started a daemon that it is ready.
 *
 * Two ways, both optional and both used when given: systemd's datagram to the socket that NOTIFY_SOCKET names, and a descriptor that the
 * caller passed on the command line, which gets one newline and is closed (as s6 and dinit do).
 */
#ifndef CORE_BASE_NOTIFY_H
#define CORE_BASE_NOTIFY_H

/* Sends READY=1, and "\n" on `ready_fd` (-1 = none), which is closed. The first error as a negative errno; nothing to be done about it. */
int notify_ready(int ready_fd);

/* Sends any state ("STOPPING=1", "STATUS=restoring 312/1450"). 0 also without NOTIFY_SOCKET. */
int notify_state(const char *state);

#endif
