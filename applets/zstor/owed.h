/*
 * owed: the intentions of the spool in memory, with what the spool does not hold: who works on them, when to try again.
 *
 * Every intention has a back-off of its own (1 s doubling to 60 s, +-25 %, anew when a store comes back); one that cannot
 * succeed is parked and shown; none ever stands in another's way. All functions but owed_free() want z->lock held.
 */
#ifndef APPLETS_ZSTOR_OWED_H
#define APPLETS_ZSTOR_OWED_H

#include "applets/zstor/zstor.h"

#define OWED_MAX 65536u /* kept in memory; further ones wait in the spool until there is room */

enum owed_state {
	OWED_WAITING,
	OWED_RUNNING,
	OWED_STORED, /* done as far as stores go; leaves when a recovery point names it */
	OWED_PARKED, /* permanent error */
};

struct owed {
	struct list link;
	struct hmap_node node; /* by seq */
	enum spool_kind kind;
	enum owed_state state;
	bool seen;      /* in the latest look at the spool */
	const char *ns; /* of a zs_ns: lives as long as the queue; "" where the kind has none */
	char *path;     /* own copy, NULL = none */
	uint64_t first, last, seq, size, after_sequence, generation, payload_size;
	int64_t time;
	uint8_t name[16];
	uint8_t flags;
	uint32_t attempts;
	bool hurried;     /* while it ran: what it met may be out of date, so it is tried again at once */
	uint64_t next_ms; /* not before this moment */
	char error[SPOOL_ERROR_MAX + 1];
};

struct owed_queue {
	struct list items; /* in the order of seq */
	struct hmap by_seq;
	size_t count;
	struct timespec spool_mtime; /* of the directory at the latest look */
	bool is_looked;
	uint64_t foreign; /* intentions of other volumes that were refused */
};

int owed_new(struct owed_queue **out);
void owed_free(struct owed_queue *q);

/* Looks at the spool when its directory has changed (or `force`). 0 or a negative code. */
int owed_refresh(struct zstor *z, bool force);

/*
 * The first one that may be worked on now becomes OWED_RUNNING and is returned. NULL: none; *wait_ms is how long it takes
 * until a back-off is over (at most 1000).
 */
struct owed *owed_take(struct zstor *z, uint64_t *wait_ms);

/* Ends the work: removed from memory (the caller has removed it from the spool), or stored, or to be tried again, or parked. */
void owed_done(struct zstor *z, struct owed *o);
void owed_stored(struct zstor *z, struct owed *o);
void owed_retry(struct zstor *z, struct owed *o, const char *error);
void owed_park(struct zstor *z, struct owed *o, const char *error);

/* Everything may be tried at once, and back-offs begin anew (a store came back, a shutdown). */
void owed_hurry(struct zstor *z);

/* The intention as spool_remove(), spool_note() and spool_payload*() want it. */
void owed_intent(const struct owed *o, struct spool_intent *in);

/* Whether this is owed: the segment, or the bundle, of that number. */
bool owed_has(struct zstor *z, enum spool_kind kind, const char *ns, uint64_t first);
/* Whether the namespace was deleted or flushed, or is just being, and the stores have not given it up yet. */
bool owed_drops(struct zstor *z, const char *ns);

struct owed_totals {
	uint64_t files, bytes, parked, pieces, garbage, unpublished;
	int64_t oldest;
	const char *error; /* of the oldest that has one */
};
void owed_count(struct zstor *z, struct owed_totals *t);

/*
 * Stores an owed bundle, and what it needs of its segments (upload_bundle.c). 0: it is noted as stored; -EAGAIN: a segment is not, yet. Other codes: damage,
 * or what the stores say. The reason is in why (ZS_WHY bytes).
 */
int upload_bundle(struct zstor *z, struct obj_work *w, const struct owed *o, char *why);

#endif
