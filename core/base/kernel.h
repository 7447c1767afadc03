/*
 * kernel: which Linux this is, for what cannot be found out by trying.
 */
#ifndef CORE_BASE_KERNEL_H
#define CORE_BASE_KERNEL_H

#include <stdbool.h>

/* Whether a release as uname(2) gives it ("6.18.44-amd64") is this version or a later one; false when it cannot be read. */
bool kernel_release_is(const char *release, unsigned major, unsigned minor);

/* The same of the running kernel. */
bool kernel_is(unsigned major, unsigned minor);

#endif
