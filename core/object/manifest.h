/*
 * manifest: the state that one recovery point names (native format, section 7). Pure format: encode, decode,
 * edit.
 */
#ifndef CORE_OBJECT_MANIFEST_H
#define CORE_OBJECT_MANIFEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/coding/content_id.h"
#include "core/object/names.h"

#define MANIFEST_NAMESPACES_MAX 64
#define MANIFEST_TAILS_MAX      64
#define MANIFEST_BUNDLES_MAX    4096
#define MANIFEST_MAX_BYTES      (16u << 20)
#define MANIFEST_SLOTS          4
/* Of a segment (data file of zdb): no records lie before them, and tails begin behind or with them. */
#define DATA_HEAD_BYTES 28

struct manifest_tail { /* bytes [start, end) of the active segment */
	uint64_t generation;
	uint32_t start, end;
	uint8_t content[CONTENT_ID_BYTES];
};

struct manifest_bundle { /* X(first, last) */
	uint64_t generation;
	uint32_t first, last;
	uint8_t content[CONTENT_ID_BYTES];
};

struct manifest_ns {
	uint8_t name_len;
	char name[OBJ_NS_MAX + 1]; /* ended by NUL */
	uint8_t mode;              /* of zdb: 0 user keys, 1 sequential */
	uint8_t *descriptor;       /* bytes of `zdb-namespace`. Owned */
	uint16_t descriptor_len;
	uint32_t closed; /* segments 0 ... closed - 1 are closed; this is the active one */
	uint16_t tails_count;
	struct manifest_tail *tails; /* in order, without gaps, from 0. Owned */
	uint16_t bundles_count;
	struct manifest_bundle *bundles; /* in order, without gaps, 0 ... closed - 1. Owned */
};

struct manifest {
	uint64_t generation;
	uint64_t sequence;
	uint64_t time; /* Unix seconds, shown only */
	uint16_t count;
	struct manifest_ns *ns; /* Owned */
};

/* Empty, nothing allocated; release leaves it so again; copy (-ENOMEM: *to is empty) replaces what *to held. */
void manifest_init(struct manifest *m);
void manifest_release(struct manifest *m);
int manifest_copy(struct manifest *to, const struct manifest *from);

/* The rule of the format that *m breaks, for messages; NULL when it can be encoded. */
const char *manifest_wrong(const struct manifest *m);

struct buf;
/* Appends the bytes. 0, -EINVAL (breaks a rule of the format), -EMSGSIZE, -ENOMEM. */
int manifest_encode(const struct manifest *m, struct buf *out);
/* 0, -E_CORRUPT with *what = the field (may be NULL), -ENOMEM. *m was initialised. */
int manifest_decode(const void *data, size_t len, struct manifest *m, const char **what);

/* The namespace, or NULL. */
struct manifest_ns *manifest_find(const struct manifest *m, const char *name, size_t name_len);
/* Adds an empty namespace. NULL: no memory, too many, name taken or impossible. Pointers to others become
 * invalid. */
struct manifest_ns *manifest_add(struct manifest *m, const char *name, size_t name_len, uint8_t mode);
void manifest_remove(struct manifest *m, const char *name, size_t name_len);
int manifest_ns_descriptor(struct manifest_ns *ns, const void *bytes, size_t len);
/* Appends a tail that begins where the last one ends. -EINVAL otherwise, -E2BIG when 64 are there: begin
 * again at 0. */
int manifest_ns_tail(struct manifest_ns *ns, const struct manifest_tail *tail);
void manifest_ns_clear_tails(struct manifest_ns *ns);
/* Segment `closed` was stored: closed + 1, tails cleared. */
void manifest_ns_close(struct manifest_ns *ns);
/*
 * Adds X(first, last) right behind the others, or in the place of those that it covers exactly (a merge).
 * -EINVAL for a gap or a partial overlap; -E2BIG. The replaced ones are copied to old[] (may be NULL; holds
 * *old_count on entry, set to how many there were).
 */
int manifest_ns_bundle(struct manifest_ns *ns, const struct manifest_bundle *bundle,
		       struct manifest_bundle *old, size_t *old_count);
/*
 * Whether 32 neighbours that cover equally many segments can become one bundle: true with the index of the first one. They are
 * looked for anywhere in the list from index `from` on, so that a merge that failed once, or a point that brought many bundles, leaves nothing unmerged.
 */
bool manifest_ns_merge_due(const struct manifest_ns *ns, size_t from, size_t *begin);
/* Bytes of the active segment that tails cover. */
uint32_t manifest_ns_tail_end(const struct manifest_ns *ns);

#endif
