/*
 * caps: Linux capabilities by name, and giving up all others. Raw system calls: the static image has no libcap.
 */
#ifndef ZINIT_CAPS_H
#define ZINIT_CAPS_H

#include <stdint.h>

/* "CAP_NET_ADMIN" or "net_admin", any letter case -> its number, or -1. */
int caps_bit(const char *name);

/*
 * In the child, before the user is changed: keeps the capabilities of `set` through that change, drops all others from
 * the bounding set. 0 or a negative errno.
 */
int caps_before_user(uint64_t set);

/* After the user was changed: makes `set` permitted, effective, inheritable and ambient. 0 or a negative errno. */
int caps_after_user(uint64_t set);

#endif
