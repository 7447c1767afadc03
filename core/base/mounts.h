/*
 * mounts: what is mounted where, by the text of /proc/self/mountinfo. Nothing here touches a mount itself: a dead one
 * would hang or lie.
 */
#ifndef CORE_BASE_MOUNTS_H
#define CORE_BASE_MOUNTS_H

#include <stdbool.h>
#include <stddef.h>

struct mounts_entry {
	const char *point; /* absolute, without escapes */
	const char *type;  /* "ext4", "fuse.zdbfs" */
};

/*
 * Calls `each` for every mount, in the table's order: a later one lies over an earlier one of the same point. A non-zero
 * answer stops and is returned; else 0 or a negative errno of reading the table. Entries are valid during the call.
 */
int mounts_each(int (*each)(void *ctx, const struct mounts_entry *e), void *ctx);

/* The type of what is mounted last on exactly this path: 1 and the type, 0 nothing (then ""), negative errno. */
int mounts_type_at(const char *path, char *type, size_t size);

/* Whether a type is one that our file system is mounted with. */
bool mounts_is_ours(const char *type);

#endif
