/* bundle_int: what reading and writing of bundles share. */
#ifndef CORE_OBJECT_BUNDLE_INT_H
#define CORE_OBJECT_BUNDLE_INT_H

#include "core/object/bundle.h"

enum { HEAD_BYTES = BUNDLE_HEAD_BYTES, ROW_BYTES = 32, EXTENT_BYTES = 12 };

/* Bytes [at, at + len) of the bundle, wherever it lies. 0, -E_CORRUPT beyond its end, -EIO, ... */
int bundle_read(const struct bundle *b, uint64_t at, void *out, size_t len);

#endif
