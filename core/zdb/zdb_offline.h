/*
 * zdb_offline: what the verbs of the command line do with a store that no server uses.  Findings and codes are zdb_finding_fn's.
 */
#ifndef CORE_ZDB_ZDB_OFFLINE_H
#define CORE_ZDB_ZDB_OFFLINE_H

#include "core/zdb/zdb.h"

/*
 * Opens for reading only, for a verb that looks at a store: as zdb_open() with read_only, and -EBUSY while a server holds
 * the roots.  zdb_abandon() ends it.
 */
int zdb_look(struct zdb **out, const struct zdb_options *options, char *why, size_t why_size);

/*
 * `zdb check`: reads every index and data file of both roots (nothing is changed, a shared look without locks is
 * refused with -EBUSY while a server runs) and reports what does not agree.  Absent closed data files are notes.
 * Returns 0 all whole, 1 repairable findings, 2 lost data, or the negative code of what could not be looked at: -ENOENT
 * and -ENOTDIR there is no store.
 */
int zdb_verify(const struct zdb_options *options, zdb_finding_fn *fn, void *ctx);

/*
 * `zdb --recover` and `check --repair`: loads (which recovers) and stops cleanly.  Findings and codes as above; a store that
 * cannot be opened, written (-EROFS, -EACCES) or whose namespace default cannot be loaded is an error.
 */
int zdb_recover(const struct zdb_options *options, zdb_finding_fn *fn, void *ctx);

/* `zdb --dump`: every index record of every namespace in order. */
struct zdb_dump_entry {
	const char *ns;
	uint32_t index_file, index_offset;
	const uint8_t *key;
	uint32_t klen, data_file, data_offset, length, previous, timestamp, crc, parent_file, parent_offset;
	uint8_t flags;
};
int zdb_dump(struct zdb *eng, void (*fn)(void *ctx, const struct zdb_dump_entry *e), void *ctx);

#endif
