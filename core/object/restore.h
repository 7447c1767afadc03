/*
 * restore: the newest recovery point of a volume, in the order of section 7 of the native format. Finds and
 * reads manifests; what it names is fetched by the caller with record_read() and obj_read_file().
 */
#ifndef CORE_OBJECT_RESTORE_H
#define CORE_OBJECT_RESTORE_H

#include "core/object/manifest.h"
#include "core/object/object.h"

/*
 * The newest manifest of `generation` that reads whole; if that generation has none at all, the one of `base`
 * (0 = none). OBJ_ABSENT: neither has one, with authority: the volume has no recovery point yet. OBJ_UNKNOWN:
 * `why` (OBJ_WHY_BYTES) names what is missing; also when the newest cannot be read now although an older one
 * could. A newest one that can never be read (EIO) is skipped and named in `why` with OBJ_FOUND. *m was
 * initialised. `known` is the newest sequence this front end remembers for `generation` (0 = none): less is a
 * rolled back store: OBJ_UNKNOWN, *code = -ESTALE unless accept_older.
 */
struct restore_options {
	uint64_t generation, base;
	uint64_t known;
	bool accept_older;
};
/* *code: the error behind OBJ_UNKNOWN, else 0. */
enum obj_answer restore_find_manifest(struct meta *meta, struct obj_work *w, const struct obj_stores *stores,
				      const struct restore_options *options, struct manifest *m, int *code,
				      char *why);

/*
 * Publishes: writes the manifest object and its record in slot m->sequence mod 4 (format, section 7, step 3).
 * The old object of that slot is returned in *old (initialised by the caller; empty when there was none) so
 * that its shards can be deleted later. 0; -EAGAIN: not published, try again (a later sequence is fine);
 * -EINVAL; ...
 */
int restore_publish(struct meta *meta, struct obj_work *w, const struct manifest *m,
		    const struct obj_geometry *g, struct obj_store *const *stores, struct record *old,
		    struct record_state *state, char *why);

#endif
