/*
 * load_int.h - what load.c and load_files.c share.
 */
#ifndef ZDB_LOAD_INT_H
#define ZDB_LOAD_INT_H

#include "core/zdb/zdb_int.h"

#define NEXT                                                                                                 \
	".next-" /* begins the suffix of a pair ahead of a closed segment that is not durable yet (ahead.c) */

/* The files of a namespace, by number. */
struct found {
	struct bits index, data;
	int64_t index_last, data_last; /* -1 none */
	bool legacy, litter, brought;  /* litter: of a compaction; brought: index files from the stores */
	bool asked;                    /* the owner, for a data file */
};

/*
 * Finds the files and the marker, ends what was interrupted, and makes the active pair (*last) and the index files before it regular.
 * *rebuild: the first index file that has to be made again from the log, or -1.  The caller releases the sets of f, in any case.  0 or
 * a negative code, said in why.
 */
int load_files(struct zdb_ns *ns, struct found *f, struct mark *m, uint32_t *last, int64_t *rebuild,
	       char *why, size_t why_size);
/* Whether the data files first ... last are all here. */
bool all_data_from(const struct found *f, uint32_t first, uint32_t last);
/*
 * Before anything is read that a crash, or a failed sync, may have left in memory only: what is read then is what the disk has (reread.c).
 * Nothing to do behind a clean marker.  0 or a negative code, said in why.
 */
int reread(struct zdb_ns *ns, const struct mark *m, char *why, size_t why_size);

#endif
