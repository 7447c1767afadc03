/*
 * rebuild: records from the shards alone, when the metadata stores are lost (native format, section 6).
 *
 * Every value that is a head of this volume and whose box opens names the values of its shard. Heads are gathered by object
 * id; the lengths of the stripes, which only the record held, are read off the fragments' headers; a record counts only
 * after its first and last stripe have opened. Used by one thread at a time. Memory: about 0.6 KiB per object and shard, and
 * 8 bytes per value.
 */
#ifndef CORE_OBJECT_REBUILD_H
#define CORE_OBJECT_REBUILD_H

#include "core/object/object.h"

struct rebuild;

/* Gathers objects of the volume of `keys` (which knows its volume id). 0 or -ENOMEM. */
int rebuild_new(const struct keyring *keys, struct rebuild **out);
void rebuild_free(struct rebuild *b);

/* What a scan met. */
struct rebuild_report {
	uint64_t keys;    /* values looked at */
	uint64_t heads;   /* of this volume, whole */
	uint64_t damaged; /* that begin like a head and are none, or do not open */
	uint64_t foreign; /* heads of other volumes */
};

/*
 * Looks at all values of a data store; may be repeated. 0; -ENOTSUP: it cannot list its keys; -ENOMEM; what the store said
 * (then what it showed before is kept).
 */
int rebuild_scan(struct rebuild *b, struct obj_store *store, struct rebuild_report *report);

/* Objects met so far, each with any number of shards. */
size_t rebuild_count(const struct rebuild *b);

/*
 * The record of object `index` (0 ... count - 1; the order changes with a scan) into *rec (initialised), with all shards that
 * were found. Several objects may have one name: the one whose content id a manifest or bundle names is right, else any
 * that reads whole. 0; -EAGAIN: stores do not answer; -EIO: fewer than k shards, or what is there does not open.
 */
int rebuild_record(struct rebuild *b, struct obj_work *w, const struct obj_stores *stores, size_t index,
		   struct record *rec, char *why);

#endif
