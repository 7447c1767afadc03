/*
 * ctl_int: what client and server share.
 */
#ifndef CORE_CTL_CTL_INT_H
#define CORE_CTL_CTL_INT_H

#include <yyjson.h>

/* yyjson's memory comes from core/base/mem.h. */
extern const yyjson_alc ctl_alc;

#endif
