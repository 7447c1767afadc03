/*
 * uncovered: what a recovery point does not hold of the data files that lie here. The loss of the node would lose it.
 */
#ifndef CORE_OBJECT_UNCOVERED_H
#define CORE_OBJECT_UNCOVERED_H

#include "core/object/manifest.h"

struct uncovered {
	uint64_t segments; /* data files of which something is missing in the point */
	uint64_t bytes;    /* of records in them, heads not counted */
};

/*
 * Counts in data_dir/<namespace>/d<n>, from each namespace's first segment that `m` does not hold whole; namespaces that it does not
 * name count from their first. A manifest without namespaces (manifest_init()) is "no point yet". What the spool owes is a part
 * of it. Namespaces for which `is_left_out` says true are never in a point and do not count. 0 (no directory: nothing), or a negative
 * errno: then it is unknown.
 */
int uncovered_count(const struct manifest *m, const char *data_dir, bool (*is_left_out)(const char *ns),
		    struct uncovered *out);

#endif
