/*
 * compact_int.h - what the files of compaction share; docs/formats.md, "zdb", section 5.
 *
 * One segment at a time:
 *
 *   HISTORY  owner   user mode with history: which superseded records are kept (a bit each)
 *   COPY     worker  d<N> -> d<N>.new, synced; then the intent, durable: from here a crash may be after the switch
 *   (switch) owner   rename d<N>.new over d<N>; readers use the old descriptor for what is not re-pointed yet
 *   DIRSYNC  worker  the rename is durable
 *   REPOINT  owner   index records, row by row of the intent, in steps
 *   COPIES   owner   sequential mode with history: the flagged copies, wherever they are, in steps
 *   SETTLE   worker  index files synced, intent removed
 *   CLOSE    worker  after the last one: the space of the old file
 *
 * What lives is what the index *file* says, without what waits in memory: a flag is in the file only after what
 * superseded the record is durable, so nothing is dropped that a crash could bring back, and what dies meanwhile is only
 * not dropped yet.  A record in a closed file can die but never move or live again, so the only thing that has to be
 * decided again at the switch is that: the rows touch nothing but offsets.
 *
 * Memory: a few buffers; sequential mode 8 bytes per index file; user mode with history one bit per index record of
 * the segment.  The rows are on disk, 16 bytes per record whose offset changes.
 */
#ifndef ZDB_COMPACT_INT_H
#define ZDB_COMPACT_INT_H

#include <stdatomic.h>

#include "core/zdb/zdb_int.h"

#define INTENT_HEAD  48u
#define ROW_SIZE     16u
#define ROW_NO_PLACE UINT32_MAX /* sequential: an older version; its copies are looked for */
#define PATCH_WINDOW (8u << 10)
/* Of a stored namespace: records of one file that may move, and after how many a run ends: a bundle holds 2^22 extents. */
#define STORED_ROWS_MAX  (1u << 21)
#define STORED_ROWS_RUN  (1u << 20)
#define STORED_BYTES_RUN (UINT64_C(1) << 30)

/* The file `compact` in the namespace's index directory, without its rows. */
struct compact_intent {
	uint32_t segment;
	enum zdb_mode mode;
	bool history; /* rows of older versions: copies have to be looked through */
	bool stored;  /* the content id follows the rows, and the note stays when it is done (replaced.c) */
	uint64_t old_size, new_size;
	uint32_t rows, rows_sum;
	uint8_t content[16]; /* stored: of the new file */
};

/* One record whose offset changes, in the order of the old file.  new_off 0: dropped (user mode only). */
struct compact_row {
	uint32_t file, index_off, old_off, new_off;
};

/* A window over one index file, to change records in place with few calls.  Nothing may write there meanwhile. */
struct patcher {
	struct zdb_ns *ns;
	enum zdb_mode mode;
	uint32_t segment;
	bool settled;         /* what is re-pointed is durable: only what is not is written */
	struct bits *touched; /* files with bytes that are not synced */
	struct zdb_fd *f;
	uint32_t off, len, dirty_from, dirty_to; /* dirty range within the window */
	uint8_t buf[PATCH_WINDOW];
};

enum compact_phase {
	COMPACT_NEXT,
	COMPACT_HISTORY,
	COMPACT_COPY,
	COMPACT_DIRSYNC,
	COMPACT_REPOINT,
	COMPACT_COPIES,
	COMPACT_SETTLE,
	COMPACT_CLOSE,
	COMPACT_OVER,
};

enum copied { COPIED_NOTHING, COPIED_WHOLE, COPIED_REFUSED };

struct zdb_compact {
	struct zdb_ns *ns; /* referenced */
	struct zdb_compact_options opt;
	struct zdb_compact_figures figures;
	enum compact_phase phase;
	uint32_t n, end; /* the segment at hand; the first that is not looked at */
	bool clean;      /* nothing dead is left in the segments before n: their deletion markers may go */
	bool ahead;      /* compact_hurry() did what the next call of done was to do */
	uint64_t stored_bytes, stored_rows; /* of new files in this run */
	int rc;                             /* of the last run */
	bool ended;                         /* nobody holds it but the namespace: its switch failed */
	atomic_bool stop;
	/* the segment at hand */
	struct zdb_fd *old; /* as it was before the switch */
	uint64_t inode, old_size;
	uint64_t *bases; /* sequential: of all index files when its copying began */
	uint32_t bases_count;
	uint64_t next_id;
	struct zdb_fd
		*log; /* user mode with history: to be synced, deletions in it have decided what is kept */
	struct bits keep; /* user mode with history: ordinals of flagged records to keep */
	uint32_t scan_file, scan_off, scan_ordinal; /* HISTORY and COPIES: where to go on */
	uint8_t *buf;                               /* CHUNK_SIZE, of those walks */
	/* what copying said */
	enum copied copied;
	/*
	 * The last close of a file without a name gives its blocks back, which takes as long as it is large: so the worker keeps
	 * a descriptor of the old file beyond the owner's, and closes it when it runs next.
	 */
	int reader_fd, drop_fd;
	bool dead_left; /* it was not worth it, or refused */
	uint64_t new_size, dropped;
	char why[160];
	/* the switch */
	bool switched, failed; /* failed: in the middle, some records may be either way */
	int intent_fd;
	struct compact_intent intent;
	uint32_t row;       /* the next to be re-pointed */
	uint32_t moved_off; /* records at old offsets below are re-pointed */
	struct bits touched;
	struct patcher patcher;
};

/* ---- compact_copy.c (any thread) */
int compact_copy(struct zdb_compact *c);

/*
 * ---- compact_repoint.c: one step each, of no more than options.step records.  2: again, or the next phase, at once; 1: the next phase is a
 * worker's; negative code: in the middle, some records may be either way
 */
int compact_repoint(struct zdb_compact *c);
int compact_copies(struct zdb_compact *c);
/* Any thread: index files synced, the intent ended.  0 or a negative code. */
int compact_settle(struct zdb_compact *c);

/* ---- compact_intent.c */
void intent_encode(uint8_t b[INTENT_HEAD], const struct compact_intent *it);
int intent_decode(struct compact_intent *it, const uint8_t *b, size_t size); /* 0 or -EINVAL */
void row_encode(uint8_t b[ROW_SIZE], const struct compact_row *r);
int intent_path(const struct zdb_ns *ns, char *buf);
/* Opens the intent: 0 with *fd, -ENOENT none, -EBADMSG damaged, -EIO. */
int intent_open(const struct zdb_ns *ns, struct compact_intent *it, int *fd);
/* The same for the note that is left of one. */
int intent_open_at(const char *path, struct compact_intent *it, int *fd);
/* Removes it durably. */
int intent_remove(const struct zdb_ns *ns);
/*
 * Re-pointing once more, as the rows have it, and synced.  `last`: the newest index file.  settled: it was durable once, so that
 * only files that came back from elsewhere can lack it.
 */
int intent_redo(struct zdb_ns *ns, const struct compact_intent *it, int fd, uint32_t last, bool settled);
/* Re-pointing is durable: it is removed, or becomes the note `replaced-<N>`, durably.  Also a second time. */
int intent_settle(const struct zdb_ns *ns, const struct compact_intent *it);
int replaced_path(const struct zdb_ns *ns, uint32_t segment, char *buf);
void row_decode(struct compact_row *r, const uint8_t b[ROW_SIZE]);
int intent_read(int fd, uint32_t number, uint32_t count, uint8_t *b); /* rows, as they are there; 0 or -EIO */
/* The row of an old offset: 0, -ENOENT, -EIO. */
int intent_find(int fd, const struct compact_intent *it, uint32_t old_off, struct compact_row *r);

void patch_begin(struct patcher *p, struct zdb_ns *ns, const struct compact_intent *it, struct bits *touched);
/*
 * Makes the index record of a row name the new offset.  *rec: it, valid until the next call; NULL when it names another
 * segment by now.  -ENODATA: there is no such record.
 */
int patch_row(struct patcher *p, const struct compact_row *r, const uint8_t **rec);
/* Writes what was changed.  To be called before anybody else may write to an index file. */
int patch_flush(struct patcher *p);
/* A flagged record at `at` that may be a copy of a version in the segment: makes it name the new offset. */
int patch_copy(struct patcher *p, const struct compact_intent *it, int intent_fd, struct zdb_fd *data,
	       const struct idx_rec *r, const uint8_t *key, struct place at);

#endif
