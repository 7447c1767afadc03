/*
 * foreign_int.h - what the files of a foreign recovery share; see foreign.c.  All return 0 or a negative code.
 */
#ifndef CORE_ZDB_FOREIGN_INT_H
#define CORE_ZDB_FOREIGN_INT_H

#include "core/zdb/zdb_int.h"

struct lost_id;

struct foreign {
	struct zdb_ns *ns;
	uint8_t *index_buf, *log_buf;
	uint32_t log_end; /* of the log after the walk */
	uint32_t tail;    /* first log record behind the last one that the index names */
	uint32_t named;   /* highest offset that an index record names, whatever is there */
	/* sequential mode: records whose version neither the index nor the active log has */
	struct lost_id *lost;
	size_t lost_count, lost_cap;
};

/* Rewrites an index record without its key; what it names is durable or verified. */
int foreign_rewrite(struct zdb_ns *ns, struct place at, const struct idx_rec *r);

/* The record of an id, at `at`, names data that are not there, and no copy and no record of the active log can stand for them. */
int foreign_seq_lost(struct foreign *x, uint64_t id, struct place at);
/* At the end: looks for those in closed segments, and lets p begin where the index stops following the log. */
int foreign_seq_settle(struct foreign *x, struct replay *p);

#endif
