/*
 * zdb.h - the store engine: namespaces of append-only segments with an index, as a library.
 *
 * What it is.  One `struct zdb` owns a data root and an index root (exclusive lock on both) and serves every
 * namespace below them.  It knows files and records; it knows no socket, no process, no hook program and no policy
 * about who may do what.  The on-disk format of both modes is described in docs/formats.md, "zdb".
 *
 * What it promises.
 *  - The data log is the truth: after any crash the log is cut at its first record that is not whole, so that what
 *    remains is a prefix of what was written, and the index is brought into line with it.
 *  - What a finished sync covered is never lost.  What was written and not synced is whole or absent, never half.
 *  - Damage of bytes that were synced costs the records it hits, never those behind them: they answer -EIO, nothing is cut.
 *  - Every read is verified: key, length and CRC-32C of the record.  A mismatch is -EIO, never wrong bytes.
 *  - A read whose segment is not on this disk answers -EINPROGRESS and wakes its waiter later; nothing else stops.
 *
 * Threads and locks.  An engine has ONE owner thread: every function here must be called from it, and there are
 * no locks inside.  The exceptions are marked "any thread": zdb_sync_run() (the slow part of a sync),
 * zdb_read_run() and its like (the slow part of a big read), zdb_flight_run() (writing the end of a log), zdb_proof_run()
 * (hashing a segment before its eviction) and
 * zdb_compact_run() (copying a segment).  The objects they take belong to the caller between their begin and end
 * calls, which are owner-thread calls.
 * Callbacks in `struct zdb_events` and wake functions of waiters are called in the owner thread, from inside an
 * engine call; they must not call into the engine unless their comment says so.
 *
 * Errors.  0 or a negative errno value.  The engine uses these with a fixed meaning:
 *   -ENOENT       no such key, namespace or file number: absent, with authority
 *   -EINPROGRESS  the segment is absent here and was asked for; the waiter will be woken
 *   -EIO          the bytes cannot be produced (damaged, unreadable, segment not restorable)
 *   -EINVAL       the arguments make no sense (see each function)
 *   -E_LIMIT      the namespace's own limit (maxsize) would be passed
 *   -EPERM        worm namespace: a live key may be neither replaced nor deleted
 *   -EROFS        the namespace takes no writes: read-only media, or a sync or write of it failed before
 *   -ENOSPC       the disk is full, -EDQUOT a quota of it; the store is as it was before the call
 *   -ENOMEM       no memory; nothing was changed
 *
 * Ownership.  Key and value pointers given in are borrowed for the call.  Pointers given out are borrowed until
 * the next engine call unless said otherwise.
 */
#ifndef ZDB_ZDB_H
#define ZDB_ZDB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define ZDB_KEY_MAX          255u
#define ZDB_PAYLOAD_MAX      (8u << 20)
#define ZDB_SEQ_KEY_SIZE     8u
#define ZDB_NAME_MAX         128u
#define ZDB_PASSWORD_MAX     255u /* one byte holds the length */
#define ZDB_CURSOR_SIZE      17u  /* scan cursor */
#define ZDB_HISTORY_SIZE     8u   /* history cursor */
#define ZDB_DATASIZE_MIN     524288u
#define ZDB_DATASIZE_MAX     4294967294u
#define ZDB_DATASIZE_DEFAULT 268435456u
#define ZDB_INDEX_VERSION    4u
#define ZDB_DATA_VERSION     3u
#define ZDB_PENDING_MAX      65536u /* in-place index rewrites that may wait in memory */
#define ZDB_INDEX_DELAY_MS   1000u  /* and how long */

enum zdb_mode {
	ZDB_USER = 0,   /* keys of 1..255 bytes chosen by the client */
	ZDB_SEQ = 1,    /* 8-byte little-endian ids given by the engine */
	ZDB_MIXED = 255 /* option only: each namespace has its own mode, new ones get ZDB_USER */
};

enum zdb_lock { ZDB_UNLOCKED = 0, ZDB_LOCKED = 1, ZDB_FROZEN = 2 };

enum zdb_outcome {
	ZDB_STORED,   /* a new version of an existing key, or a new user key */
	ZDB_INSERTED, /* sequential mode: a new id was given */
	ZDB_UNCHANGED /* the live value is equal: nothing was written */
};

struct zdb;
struct zdb_ns;
struct zdb_flight;

/* --------------------------------------------------------------------------------------------------- events --- */

/* One run of index bytes that the records of a closed segment appended or rewrote. */
struct zdb_extent {
	uint32_t file;   /* number of the index file */
	uint32_t offset; /* in it */
	uint32_t length;
};

/* A closed segment that a compaction has replaced. */
struct zdb_replaced {
	uint32_t segment;
	uint32_t size;       /* of the new file */
	uint8_t content[16]; /* its XXH3-128, as a proof of eviction names it */
};

/*
 * The bundle X(N,N) of a closed segment: extents in ascending (file, offset) order, without overlap; the bytes are
 * streamed by zdb_bundle_read().  Valid inside the callback that got it, or until zdb_bundle_free().
 * `replaced`: the extents also hold every place that names these segments, as their new files want it.  Who stores the bundle
 * must let it count only together with these very contents.
 */
struct zdb_bundle {
	struct zdb_ns *ns;
	uint32_t segment;
	uint32_t replaced_count;
	const struct zdb_replaced *replaced;
	uint32_t extents_count;
	uint64_t bytes; /* sum of all lengths */
	const struct zdb_extent *extents;
};

/*
 * What the engine tells its owner.  Any member may be NULL.  `ctx` is zdb_options.events_ctx.
 */
struct zdb_events {
	/*
	 * Segment `closed` of ns is complete and durable (data, and every index byte its records caused), its
	 * successor closed+1 exists and has no record yet.  `bundle` is NULL unless zdb_options.want_bundles.  May
	 * call zdb_bundle_read(), zdb_dirty_list() and the zdb_ns_* accessors.  A negative return keeps the closed segment closed but
	 * makes the write that caused the rotation fail with that code (the rotation itself stands); the next write
	 * calls it again for the same segment, so that no closed segment is ever forgotten.  1 clears the dirty map
	 * (what upstream does when its jump-index hook succeeds), 0 keeps it.
	 * `dirty` is the dirty list of the closed pair as upstream prints it ("0 3 7").
	 */
	int (*segment_closed)(void *ctx, struct zdb_ns *ns, uint32_t closed, const char *dirty,
			      const struct zdb_bundle *bundle);
	/*
	 * Data segment n of ns is wanted and is not on this disk.  Called once per segment until it is answered by
	 * zdb_segment_restored() or zdb_segment_failed(), which may also be called from inside.  Return 0, or a
	 * negative code: nobody can bring it back (all its waiters get -EIO).
	 */
	int (*data_missing)(void *ctx, struct zdb_ns *ns, uint32_t n);
	/*
	 * At load only, once: the active data file is missing (the index file too, perhaps), or shorter than the marker
	 * says.  Blocks until the owner has tried to restore the path; what is there then counts, whatever is answered.
	 */
	int (*load_missing)(void *ctx, const char *ns_name, const char *path);
	/*
	 * At load only: index file `path` (i<N>) is missing or torn (then it is out of the way), and not all data files are here that it could be made again
	 * from.  Blocks until the owner has tried to bring `path`.before<C>: the file as it was when segment C began, in
	 * the same directory, whole and durable under that name (docs/formats.md, chapter zdb, 4); 0 = look again.
	 */
	int (*index_missing)(void *ctx, const char *ns_name, const char *path);
	void (*ns_created)(void *ctx, struct zdb_ns *ns); /* zdb_ns_create only, not at load */
	void (*ns_updated)(void *ctx, struct zdb_ns *ns);
	void (*ns_reloaded)(void *ctx, struct zdb_ns *ns);
	void (*ns_deleted)(void *ctx, const char *name); /* after the files are gone */
	/* Work waits: the next zdb_tick() should come within `ms`, 0 = in this turn of the loop.  Once per batch. */
	void (*tick_wanted)(void *ctx, uint32_t ms);
	/*
	 * With gather_writes: the end of a log is ready to be written by another thread.  0: the owner will have it run, after all that
	 * were announced before it, and call zdb_flight_done() later; no answer to a write that was made before this call may leave before that.  Anything else: it is written
	 * at once.  NULL: there are no flights.
	 */
	int (*flight)(void *ctx, struct zdb_flight *flight);
};

/* ------------------------------------------------------------------------------------------- open and close --- */

struct zdb_options {
	const char *data_root;
	const char *index_root;
	enum zdb_mode mode; /* ZDB_MIXED = as the files say */
	uint32_t datasize;  /* rotation size; 0 = ZDB_DATASIZE_DEFAULT */
	bool secure;        /* accepted for upstream's sake; closed files are always synced */
	bool want_bundles;  /* give segment_closed a bundle */
	bool read_only; /* open for reading only, change nothing on disk, take no lock; roots must be there */
	bool offline;   /* for a verb that changes a store: it must be there and can be written */
	/*
	 * Let writes gather in memory until zdb_flush(): the owner promises to call it before any answer to a write
	 * leaves the process.  Gathered bytes lie in preallocated space, so that ENOSPC is known at once.
	 */
	bool gather_writes;
	/*
	 * A rotation need not wait until the closed segment is durable: the next sync begins with that (ahead.c), and segment_closed comes
	 * with its end.  Not with want_bundles; segment_closed must not answer 1 then.
	 */
	bool rotate_ahead;
	/*
	 * What fills a log in bulk may leave the page cache when it is on the disk (uncached.c): where nobody reads closed segments soon, on kernel_is(6, 18).
	 */
	bool uncached;
	uint32_t ahead_min;    /* bytes of log not durable that are worth it (0 = 1 MiB) */
	uint32_t flight_min;   /* bytes worth a flight of their own when a turn ends (0 = 192 KiB) */
	uint32_t prealloc_max; /* bytes preallocated ahead at most (0 = 8 MiB); 1 = never */
	uint64_t file_max; /* how long files of this process may be (0 = any): preallocating does not tell */
	/*
	 * Bytes of files that are mapped at most, for zdb_read_mapped() and to look keys up; 0 = none ever. Who sets it has called mem_guard_install().
	 */
	uint64_t map_max;
	uint32_t fds_max;          /* open files kept for reading (0 = 128) */
	uint32_t missing_limit_ms; /* how long a waiter waits for a segment (0 = 60,000) */
	const struct zdb_events *events;
	void *events_ctx;
};

/* What recovery found and did in one namespace; all zero = clean. */
struct zdb_recovery {
	bool unclean;         /* the marker was not clean */
	bool foreign;         /* somebody else wrote since, or there is no marker: everything was checked */
	uint64_t log_bytes;   /* of log that were walked */
	uint32_t log_records; /* whole records in it */
	uint64_t data_cut_bytes;  /* cut off the end of the log and kept in d<N>.cut */
	uint64_t index_cut_bytes; /* cut off the end of the index */
	uint32_t index_appended;  /* index records made again from the log */
	uint32_t index_rewritten; /* index records repaired in place */
	uint32_t index_restored;  /* records restored from an older copy or the log (foreign only) */
	uint32_t index_lost;      /* keys that answer -EIO: nothing to restore them from */
	uint32_t gaps;            /* fragments in the log that were stepped over (foreign only) */
	uint32_t damaged; /* places where the durable log is damaged: nothing is cut, its keys answer -EIO */
	uint32_t index_torn;    /* index files that could not be read to their end */
	uint32_t index_brought; /* index files that came back from the stores' bundles */
	uint32_t headers_made;  /* headerless last files that got their header */
	uint32_t
		ahead_waits; /* read-only: number of a pair ahead of a closed segment; what is in it is not seen */
	uint64_t
		ahead_dropped; /* bytes of log behind a closed segment that a power cut has torn: never durable, dropped */
};

/*
 * Opens (and creates where absent) both roots, takes the locks, loads all namespaces, `default` first.
 * Errors: -EBUSY another process holds the roots; -EINVAL options (roots equal, datasize out of range), or a file
 * that is not ours (magic, version, mode) in `default`; -EIO; -ENOMEM; -EROFS and -ENOENT: read-only media without
 * a database.  With read_only or offline: -ENOENT or -ENOTDIR there is no store; with offline: -EROFS or -EACCES it
 * cannot be written.  A namespace other than `default` that cannot be loaded is left out and kept unavailable: see
 * zdb_refused_each().  `why` (may be NULL) gets one sentence without a line end.
 */
int zdb_open(struct zdb **out, const struct zdb_options *options, char *why, size_t why_size);

/*
 * Clean stop: applies what waits, syncs everything, writes clean markers, frees everything.  Waiters are woken with
 * -ESHUTDOWN.  Returns the first error, but always frees; after an error the next load recovers.
 * Before it, every sync, proof and compaction that was begun must have ended (its done was called): a worker that still
 * holds one would use files and memory that are gone.  That is asserted; whoever has workers waits for them first.
 */
int zdb_close(struct zdb *eng);

/* Frees everything and touches no file: what a crash of the process leaves.  For tests and after a failed fork. */
void zdb_abandon(struct zdb *eng);

/* Namespaces that were refused at load: calls fn for each with the reason.  They hold their name. */
void zdb_refused_each(struct zdb *eng, void (*fn)(void *ctx, const char *name, const char *why), void *ctx);

/* -------------------------------------------------------------------------------------------------- writing --- */

struct zdb_set_result {
	enum zdb_outcome outcome;
	uint8_t key[ZDB_SEQ_KEY_SIZE]; /* ZDB_INSERTED: the new id, little-endian */
};

/*
 * Stores value under key.  ts: Unix seconds for the record.  Sequential mode: klen 0 = insert, else the id of a live
 * entry.  User mode: klen 1..255.  Order of checks: arguments (-EINVAL: length out of range, user mode without key;
 * -E2BIG: payload too big), -EROFS, worm -EPERM, maxsize -E_LIMIT, rotation when due, sequential key not live -ENOENT,
 * unchanged test (never fetches an absent segment: that counts as different), write (-ENOSPC, -EIO).
 * A failed write leaves no fragment.  The value is in the log and visible to reads when this returns; durable after
 * a sync that began later.
 */
int zdb_set(struct zdb_ns *ns, const void *key, size_t klen, const void *value, size_t vlen, uint32_t ts,
	    struct zdb_set_result *result);

/*
 * The same, with a value that may stay where it is until it is in the file: then `uses` is one more when this returns, and one less
 * later, in some other call of the engine or of zdb_flight_done(); with the last one `back` is called, there.  The owner has a use of its own
 * as long as it needs the memory itself.  Only with the event `flight`, gather_writes, and a large value.  lent may be NULL.
 */
struct zdb_lent {
	unsigned uses;
	void (*back)(struct zdb_lent *lent); /* must not call the engine */
};
int zdb_set_lent(struct zdb_ns *ns, const void *key, size_t klen, const void *value, size_t vlen, uint32_t ts,
		 struct zdb_set_result *result, struct zdb_lent *lent);

/* Deletes a live key: -ENOENT absent, -EPERM worm, -EROFS, -ENOSPC, -EIO. */
int zdb_del(struct zdb_ns *ns, const void *key, size_t klen, uint32_t ts);

/*
 * Whether a kill could take back what was written last, though it is in the log: a record whose bytes a lost sector would look
 * like, and of which the index does not tell (docs/formats.md, "Torn keys"), until a sync, or until the next record.  Who answers it
 * then lets the answer wait for that.
 */
bool zdb_ns_doubtful(const struct zdb_ns *ns);

/*
 * Writes out what gather_writes holds back, for all namespaces, or has the event `flight` do so.  Without it: no-op.  A failure (-EIO:
 * the space is preallocated) makes that namespace read-only; the answers of this turn to its writers must not be sent.
 * idle: not for those that a job syncs; the next one writes what they gather.
 */
int zdb_flush(struct zdb *eng);
int zdb_flush_idle(struct zdb *eng);
/* Whether something is held back, for any namespace (also for one that cannot be written any more). */
bool zdb_gathers(const struct zdb *eng);

/*
 * A flight: large records (zdb_set_lent) at the end of one namespace's log, to be written while the owner goes on.  They are visible to reads
 * from the start; everything that needs them in the file (sync, rotation, cut) waits for the flight, or carries it out itself.
 * run: any thread, once, those of a namespace one after the other.  done: owner thread, after it; frees the flight (also after zdb_close()), 0 or -EIO: that namespace is read-only,
 * and the answers to its writers must not be sent.
 */
void zdb_flight_run(struct zdb_flight *flight);
int zdb_flight_done(struct zdb_flight *flight);

/* Rotation now (NSJUMP), even without records.  Errors as zdb_set. */
int zdb_jump(struct zdb_ns *ns);

/*
 * A rotation makes the segment that it closes durable, in the owner's thread, for as long as the disk takes, unless it may go on ahead.  Who has others to serve
 * meanwhile lets a sync of kind ZDB_SYNC_INDEX come first when there is much to make durable.
 * _is_ahead: the segment closed before is not durable yet; the sync that is to be had from zdb_tick() now makes it so.
 * _fills: whether zdb_set() of a value of vlen bytes in all would rotate.
 */
bool zdb_rotation_is_long(const struct zdb_ns *ns);
bool zdb_ns_is_ahead(const struct zdb_ns *ns);
bool zdb_set_fills(const struct zdb_ns *ns, size_t klen, uint64_t vlen);

/* Whether the active index file got a record since it is active, and seconds since the last rotation or open. */
bool zdb_jump_due(struct zdb_ns *ns, uint64_t age_s);

/* -------------------------------------------------------------------------------------------------- reading --- */

/*
 * Somebody waiting for an absent segment.  Embedded in the caller's request; all zero = idle.
 * wake(w, 0): the segment is back, repeat the call.  wake(w, <0): answer upstream's error.  wake may call the engine.
 */
struct zdb_waiter {
	void (*wake)(struct zdb_waiter *w, int err);
	struct zdb_waiter *next, **prev; /* the engine's; prev != NULL while waiting */
};

/* Stops waiting; no-op when idle.  wake is not called. */
void zdb_waiter_cancel(struct zdb_waiter *w);

/* Where a payload that was not read yet lies. */
enum zdb_where {
	ZDB_CACHED,  /* in the page cache */
	ZDB_COLD,    /* on the disk: who reads it will wait */
	ZDB_UNKNOWN, /* it is not mapped */
};

/*
 * A read that was started.  `data` != NULL: the whole payload, verified, borrowed until the next engine call.
 * `data` == NULL: call zdb_read_run() with a buffer, then zdb_read_end().  Either way zdb_read_end() is a must
 * after a 0 return.
 */
struct zdb_read {
	uint32_t length;
	uint32_t timestamp;
	uint32_t crc;
	const uint8_t *data;
	enum zdb_where where;
	/* private from here */
	struct zdb_fd *file;
	const uint8_t *mapped; /* the record, when its file is mapped */
	uint32_t offset;       /* of the data record */
	uint32_t klen;
	uint8_t key[ZDB_KEY_MAX + 1];
};

/*
 * Starts reading the live value of key.  Small or cached payloads come back at once in rd->data.
 * 0, -ENOENT, -EINPROGRESS (w queued; w NULL: -EIO instead, nothing is asked for), -EIO.
 */
int zdb_get(struct zdb_ns *ns, const void *key, size_t klen, struct zdb_read *rd, struct zdb_waiter *w);

/*
 * Any thread.  Reads payload bytes [from, from+count) into dst; from+count <= rd->length.  Verifies header and key,
 * and the CRC when count is at least half of the payload (needs then `length` bytes of memory if count < length,
 * -ENOMEM).  0 or -EIO.
 */
int zdb_read_run(const struct zdb_read *rd, uint32_t from, uint32_t count, void *dst);

/*
 * Any thread.  Has the disk read what one of the functions below will want, in one piece and no more than that, where they would have it read ahead.
 * For one that is, or may be, cold.
 */
void zdb_read_ahead(const struct zdb_read *rd, uint32_t from, uint32_t count);

/*
 * For a caller that sends payload bytes from the file itself, by sendfile(2): any thread.  verify checks what
 * zdb_read_run() would check for the same range, and leaves the pages in the cache: 0 or -EIO.  place tells descriptor and
 * offset of payload byte `from`; the descriptor is the engine's, and good until zdb_read_end().  Segments are never rewritten, so
 * what is sent is what was verified.  Both only for a read without `data`.
 */
int zdb_read_verify(const struct zdb_read *rd, uint32_t from, uint32_t count);
void zdb_read_place(const struct zdb_read *rd, uint32_t from, int *fd, uint64_t *offset);

/*
 * The same for a payload whose segment is mapped: any thread.  Verifies as zdb_read_verify() does, and tells the address of payload byte
 * `from`, which is good until zdb_read_end().  To be used at once: a page that was verified may still be lost (the disk fails before it
 * is used).  Whoever touches these bytes does so under mem_guard_run(), or leaves it to a system call, which says EFAULT then.
 * 0, -EIO, -EOPNOTSUPP it is not mapped: for the two above.
 */
int zdb_read_mapped(const struct zdb_read *rd, uint32_t from, uint32_t count, const uint8_t **payload);

/* Owner thread.  What was started came to -EIO: the figures know it, as they do of small payloads. */
void zdb_read_failed(struct zdb_ns *ns);

/* Owner thread.  Ends a read that zdb_get() and friends returned 0 for. */
void zdb_read_end(struct zdb_ns *ns, struct zdb_read *rd);

/*
 * Convenience for callers without event loop: whole value or a range into buf.  *got = bytes copied; cut at the end
 * of the value.  -ENOENT, -EINPROGRESS, -EIO.
 */
int zdb_get_range(struct zdb_ns *ns, const void *key, size_t klen, uint64_t from, void *buf, size_t size,
		  size_t *got, struct zdb_waiter *w);

/* What the index knows of a live key; never touches a data file. */
struct zdb_meta {
	uint32_t length, timestamp, crc;
	uint32_t index_file, index_offset; /* of its record */
	uint32_t data_file, data_offset;
};
int zdb_stat(struct zdb_ns *ns, const void *key, size_t klen, struct zdb_meta *meta); /* 0, -ENOENT, -EIO */

/* CHECK: 1 CRC equal, 0 differs, -ENOENT, -EINPROGRESS, -EIO unreadable. */
int zdb_check_key(struct zdb_ns *ns, const void *key, size_t klen, struct zdb_waiter *w);

/* KEYCUR: fills a scan cursor for a live key.  0, -ENOENT, -EIO. */
int zdb_keycur(struct zdb_ns *ns, const void *key, size_t klen, uint8_t cursor[ZDB_CURSOR_SIZE]);

struct zdb_entry {
	const uint8_t *key;
	uint32_t klen;
	uint32_t length, timestamp;
};

/*
 * Lists live entries in index order (backward: reversed), without cursor from the first, else just after (before)
 * it.  fn returns false to stop after that entry.  At most max entries and about budget_us microseconds (0 = no
 * limit), at least one.  next: cursor of the last listed entry.
 * 0, -ENODATA nothing to list, -EINVAL not a cursor, -EIO.
 */
int zdb_scan(struct zdb_ns *ns, const void *cursor, size_t cursor_size, bool backward, uint32_t max,
	     uint32_t budget_us, bool (*fn)(void *ctx, const struct zdb_entry *e), void *ctx,
	     uint8_t next[ZDB_CURSOR_SIZE]);

/*
 * One version of a key: the live one (cursor_size 0) or the one the cursor names.  *more: next holds the cursor of
 * the next older one.  0 with rd started (end it), or
 * -ENOENT key absent; -ENODATA cursor all zero, or a compaction has dropped that version (no more history); -EINVAL cursor size; -ESPIPE no record there;
 * -EBADMSG another key is there; -EINPROGRESS; -EIO.
 */
int zdb_history(struct zdb_ns *ns, const void *key, size_t klen, const void *cursor, size_t cursor_size,
		struct zdb_read *rd, uint8_t next[ZDB_HISTORY_SIZE], bool *more, struct zdb_waiter *w);

/* DATA RAW: the data record at (file, offset). */
struct zdb_raw {
	uint32_t klen, length, previous, crc, timestamp;
	uint8_t flags; /* bit 0: deletion marker */
	uint8_t key[ZDB_KEY_MAX + 1];
	const uint8_t *data; /* payload, borrowed; NULL when length is 0 */
};
/* 0, -ENODATA offset at or behind the end, -ENOENT no such file, -EINVAL no record there, -EINPROGRESS, -EIO. */
int zdb_raw(struct zdb_ns *ns, uint32_t file, uint32_t offset, struct zdb_raw *raw, struct zdb_waiter *w);

/* ------------------------------------------------------------------------------------------------ durability --- */

/*
 * Group commit.  zdb_sync_begin() takes everything written to ns until now; zdb_sync_run() (any thread) does the
 * fdatasyncs; zdb_sync_done() (owner thread) notes what is durable and frees.  At most one sync per namespace at a
 * time: -EBUSY (requests that come meanwhile share the next one).
 * begin: 0 with *out set, or 0 with *out NULL: all durable already.  -EROFS after a failed sync.
 * DATA: the log.  INDEX: the index as well, and the marker moves.  DUE: the log, and of the rest what the next ticks would do.
 * done: 0 finished; 1 = run it once more (index syncs have two rounds), then done again; negative: failed: nothing
 * of it counts as durable, the namespace is read-only until it is loaded again.
 */
struct zdb_sync;
enum zdb_sync_kind { ZDB_SYNC_DATA, ZDB_SYNC_INDEX, ZDB_SYNC_DUE };
int zdb_sync_begin(struct zdb_ns *ns, enum zdb_sync_kind kind, struct zdb_sync **out);
int zdb_sync_run(struct zdb_sync *sync); /* any thread; 0 or negative, which done() reports again */
int zdb_sync_done(struct zdb_sync *sync);
struct zdb_ns *zdb_sync_ns(const struct zdb_sync *sync);

/* All three steps at once, in the owner thread. */
int zdb_sync(struct zdb_ns *ns, enum zdb_sync_kind kind);

/*
 * From the handler of a fatal signal (async-signal-safe): fdatasyncs the active files as they are.  Nothing is flushed, applied or
 * marked.
 */
void zdb_sync_files(struct zdb *eng);

/*
 * Background work: starts the sync that must precede waiting in-place rewrites and the writeback of a long log, expires waiters, gives
 * back maps that nobody has used for a while.  now_ms: any
 * monotonic clock, the same in all calls.  Returns a sync to run like one from zdb_sync_begin(), or NULL.  Call
 * until NULL.  *next_ms: time of the next needed call, UINT64_MAX = only after tick_wanted.
 */
struct zdb_sync *zdb_tick(struct zdb *eng, uint64_t now_ms, uint64_t *next_ms);

/* The position of one namespace at the instant of a cut. */
struct zdb_cut {
	struct zdb_ns *ns;
	enum zdb_mode mode;
	uint32_t segment; /* active one; 0..segment-1 are closed */
	uint32_t offset;  /* end of the log in it */
	uint64_t next_id;
	uint8_t descriptor[15 + 255 + 255]; /* the bytes of zdb-namespace */
	uint32_t descriptor_size;
};
/*
 * The cut of all namespaces at this instant: array of zdb_ns_count() rows, to be freed with zdb_cut_free().  To make
 * it durable, sync each namespace.  -ENOMEM, or the error of a flush.
 */
int zdb_cut(struct zdb *eng, struct zdb_cut **cuts, size_t *count);
void zdb_cut_free(struct zdb_cut *cuts);

/* ------------------------------------------------------------------------------------------ absent segments --- */

/* The answer to data_missing: the file is in place again (waiters repeat), or is not coming (they fail). */
void zdb_segment_restored(struct zdb_ns *ns, uint32_t n);
void zdb_segment_failed(struct zdb_ns *ns, uint32_t n, int err);

/*
 * Eviction.  begin checks that n is closed and present: -EBUSY active (or not yet behind the marker), -EALREADY gone
 * already, -ENOENT never existed.  run (any thread) computes the content id, unless it is remembered for this
 * inode, size and mtime.  done compares with the caller's 16 bytes and unlinks: 0, -EBADMSG proof does not match,
 * -EAGAIN the file changed meanwhile; frees in all cases.  The content id is XXH3-128 (big-endian, as xxHash prints
 * it) or BLAKE2b-128 of the file with header bytes 16..23 taken as 0.
 */
enum zdb_proof_kind { ZDB_PROOF_XXH3, ZDB_PROOF_BLAKE2B };
struct zdb_proof;
int zdb_proof_begin(struct zdb_ns *ns, uint32_t n, enum zdb_proof_kind kind, struct zdb_proof **out);
int zdb_proof_run(struct zdb_proof *proof); /* any thread */
int zdb_evict_done(struct zdb_proof *proof, const uint8_t id[16]);

/* Parses "xxh3:<32 hex>" or "b2:<32 hex>".  0 or -EINVAL. */
int zdb_proof_parse(const char *text, size_t len, enum zdb_proof_kind *kind, uint8_t id[16]);

/* All steps at once.  0 also when already gone; else as above. */
int zdb_evict(struct zdb_ns *ns, uint32_t n, enum zdb_proof_kind kind, const uint8_t id[16]);

/*
 * The bundle of any closed segment, derived from its data file and the index (as of the closing of that segment,
 * also when later segments have changed the index since).  -ENOENT n is not closed; -EINPROGRESS its data file is
 * not here (nothing is asked for); -EIO; -ENOMEM.
 */
int zdb_bundle_derive(struct zdb_ns *ns, uint32_t n, struct zdb_bundle **out);
void zdb_bundle_free(struct zdb_bundle *bundle);
/* Streams the bytes of all extents in order through sink (which returns 0 to go on).  0, -EIO, or sink's code. */
int zdb_bundle_read(const struct zdb_bundle *bundle, int (*sink)(void *ctx, const void *bytes, size_t size),
		    void *ctx);

/* ----------------------------------------------------------------------------------------------- compaction --- */

/*
 * Rewrites the closed data files of a namespace without the records that nobody can reach any more: docs/formats.md,
 * "zdb", section 5.  Kept: live records; older versions of live keys when history is kept; deletion markers as long as
 * an older record of any key may lie in an earlier segment.  In sequential mode a dropped record leaves a stub.  A
 * damaged record is never dropped: its file is left as it is and reported.  Absent files are left alone.
 *
 * begin .. { run .. done } .. end, as a sync: begin and done are short, run (any thread) copies and syncs.  Reads and
 * writes go on in between.  Stopping is safe at any point, by end(), a crash or a power cut: each file is the old or
 * the new one, and a later compaction goes on.
 *
 * It changes closed segments.  Whoever has copies of them (a follower, stores that hear nothing of it) must not let it begin.
 *
 * On a stored namespace (options.stored) each file that was replaced is remembered durably until stores hold it: the next closing
 * gives its bundle the changed index places and the new content id (struct zdb_bundle), and zdb_stored() ends it.  Until then no
 * other compaction begins.  A closing never sees half of a file's places.  What would be too much at once is left to the next run.
 */
#define ZDB_KEEP_NONE 0u
#define ZDB_KEEP_ALL  UINT64_MAX
struct zdb_compact;

/*
 * One finding: level 0 note, 1 repairable, 2 lost data.  `ns` is a namespace's name.  Level 3 is none: it says what could not be
 * looked at, `ns` is "", and the call answers a negative code.
 */
#define ZDB_FINDING_NONE 3
typedef void zdb_finding_fn(void *ctx, int level, const char *ns, const char *text);

struct zdb_compact_options {
	uint64_t
		keep_s; /* older versions younger than this many seconds are kept; ZDB_KEEP_NONE, ZDB_KEEP_ALL */
	uint64_t now_s;     /* Unix seconds, what `younger` counts from */
	unsigned threshold; /* percent of a file that must be reclaimable, else it is left as it is */
	unsigned step;      /* index records that one call of done looks at, at most; 0 = 512 */
	bool stored;        /* only segments below zdb_stored() and `below`, and they are remembered */
	uint32_t below;
	uint64_t stored_max; /* bytes of new files of one run, about; 0 = 1 GiB */
	zdb_finding_fn *fn;  /* owner thread: files that are refused; may be NULL */
	void *fn_ctx;
};

struct zdb_compact_figures {
	uint32_t files;                     /* closed data files that are here */
	uint32_t rewritten;                 /* of these */
	uint32_t refused;                   /* damaged, or not what the index says: left as they are */
	uint32_t absent;                    /* closed data files that are not here */
	uint32_t left;                      /* closed data files that a later run has to look at */
	uint64_t bytes_before, bytes_after; /* sizes of the files that are here */
	uint64_t dropped;                   /* records */
};

/*
 * begin: takes all segments that are closed and behind the marker now.  -EBUSY a compaction, a proof or a sync of this
 * namespace runs; -EALREADY what one has replaced is not stored yet; -ENODATA stored, and no segment is known to be on the stores;
 * -EOPNOTSUPP stored, and with user keys, or history is to be kept; -EPERM worm; -EACCES locked or frozen; -EROFS, -ENOENT, -EIO, -ENOMEM.
 * done: 1 = run, then done again; 2 = done again when others had their turn; 0 finished; negative: it ended early, with
 * -ENOSPC, -EIO, ... (what was rewritten stays so).  When it is a sync of the log or the index that failed, the namespace takes no
 * more writes, as after any sync that fails.
 * When zdb_ns_is_ahead() after begin, a sync of kind ZDB_SYNC_INDEX comes first, and done says -EBUSY without it; no rotation goes ahead from
 * begin to end, so that one is enough.
 * end: at any time but while run is running; finishes the file that is being switched and frees.  The namespace cannot
 * be deleted, reloaded or emptied before.
 */
int zdb_compact_begin(struct zdb_ns *ns, const struct zdb_compact_options *options, struct zdb_compact **out);
int zdb_compact_run(struct zdb_compact *c); /* any thread; its error comes out of done */
int zdb_compact_done(struct zdb_compact *c);
void zdb_compact_stop(
	struct zdb_compact *c); /* any thread: a running run ends soon; done then says -ECANCELED */
void zdb_compact_figures(const struct zdb_compact *c, struct zdb_compact_figures *figures);
void zdb_compact_end(struct zdb_compact *c);

/* All steps at once. */
int zdb_compact(struct zdb_ns *ns, const struct zdb_compact_options *options,
		struct zdb_compact_figures *figures);

/*
 * User mode: index files without the records that compactions have dropped, when that gives back `threshold` percent.
 * Cursors of SCAN and HISTORY that were handed out become invalid, and the namespace is loaded again: for a namespace
 * that nobody is using.  A crash at any point is repaired by the next load.  Memory: 8 bytes for each run of such
 * records.  before, after: bytes of all index files.  0 (also in sequential mode, where it does nothing), -EBUSY, -EROFS,
 * -ENOSPC, -EIO (answers -EIO until it is loaded again), -ENOMEM.
 */
int zdb_compact_index(struct zdb_ns *ns, unsigned threshold, uint64_t *before, uint64_t *after);

/*
 * Every segment below `below`, and its bundle, is on the stores and named there, for good: these may be compacted, and what bundles
 * of theirs have told of replaced files is forgotten, durably.  Known until the namespace is loaded again.  0, -EINVAL such segments are not
 * closed, -EIO.
 */
int zdb_stored(struct zdb_ns *ns, uint32_t below);
/* How many replaced files are not stored yet; *untold (may be NULL): of these, in no bundle yet: a rotation makes one. */
size_t zdb_replaced_count(const struct zdb_ns *ns, size_t *untold);
/* Whether the bundle of segment n was the one to tell of some; zdb_bundle_derive() of it would take that back. */
bool zdb_replaced_in(const struct zdb_ns *ns, uint32_t n);

/* The segment that is being compacted now and the first one that will not be; false: none. */
bool zdb_compact_progress(const struct zdb_ns *ns, uint32_t *segment, uint32_t *end);

/* ----------------------------------------------------------------------------------------------- namespaces --- */

#define ZDB_DEFAULT "default"

/* Borrowed pointer, NULL when absent.  O(1). */
struct zdb_ns *zdb_ns_find(struct zdb *eng, const char *name, size_t len);
/* Slot order as upstream lists them (`default` first, freed slots reused); start with prev NULL. */
struct zdb_ns *zdb_ns_next(struct zdb *eng, const struct zdb_ns *prev);
size_t zdb_ns_count(const struct zdb *eng);

/*
 * A namespace pointer stays valid while it is referenced; after deletion zdb_ns_alive() is false and every call on it
 * answers -ENOENT (-ESTALE for writes).
 */
struct zdb_ns *zdb_ns_ref(struct zdb_ns *ns);
void zdb_ns_unref(struct zdb_ns *ns);
bool zdb_ns_alive(const struct zdb_ns *ns);

/*
 * Takes up what lies in directories of that name, and leaves them as they are when that cannot be loaded; on an error it removes
 * only what it made itself.
 * -EINVAL name not allowed: empty, '/', NUL, ".", "..", "default", > 128, the lock file, the way from one root to the
 * other, or what lies there under it is no directory; -EEXIST, -EMFILE (65,536 are there), -EIO, -ENOSPC, -ENOMEM, -EROFS.
 */
int zdb_ns_create(struct zdb *eng, const char *name, size_t len, struct zdb_ns **out);
/* Removes both directories.  -EINVAL for `default`, -EBUSY while a sync, proof or compaction of it runs. */
int zdb_ns_delete(struct zdb_ns *ns);
/* Drops what is in memory and loads from disk again.  On failure the namespace answers -EIO to everything.  -EBUSY as
 * above. */
int zdb_ns_reload(struct zdb_ns *ns);
/*
 * FLUSH: deletes all i and d files, makes a fresh pair 0.  -EBUSY while a sync, proof or compaction of it runs.  What a crash or an error
 * interrupts, the next load ends; or it has not begun.
 */
int zdb_ns_flush(struct zdb_ns *ns);

/* What became of the last zdb_ns_delete() or zdb_ns_flush(), whatever it returned: nothing was changed; its records are gone, or will be with the next load; that load alone can tell. */
enum zdb_dropped { ZDB_DROP_NOT, ZDB_DROP_DONE, ZDB_DROP_UNKNOWN };
enum zdb_dropped zdb_ns_dropped(const struct zdb_ns *ns);

/* Whether a proof of it is on its way: it cannot be deleted, reloaded or flushed then. */
bool zdb_ns_is_proving(const struct zdb_ns *ns);
/* Its descriptor was missing or cut short when it was loaded: it has neither password nor limits now, and nothing else knows of them. */
bool zdb_ns_lost_properties(const struct zdb_ns *ns);
/* 0, or why nothing of it can be read. */
int zdb_ns_load_error(const struct zdb_ns *ns);

const char *zdb_ns_name(const struct zdb_ns *ns); /* NUL-terminated */
struct zdb *zdb_ns_engine(const struct zdb_ns *ns);
enum zdb_mode zdb_ns_mode(const struct zdb_ns *ns);
const struct zdb_recovery *zdb_ns_recovery(const struct zdb_ns *ns);
/* 0, or why it takes no writes: -EROFS media, -EIO after a failed sync or write. */
int zdb_ns_write_error(const struct zdb_ns *ns);

/* A place for the server's own state per namespace; the engine only keeps the pointer. */
void zdb_ns_set_owner_data(struct zdb_ns *ns, void *data);
void *zdb_ns_owner_data(const struct zdb_ns *ns);

/* Properties.  Setters write the descriptor (except lock and those marked volatile) and raise ns_updated. */
struct zdb_props {
	uint64_t maxsize; /* bytes, 0 = no limit */
	bool is_public, worm;
	enum zdb_lock lock;   /* volatile */
	const char *password; /* "" = none; borrowed */
	size_t password_len;
};
void zdb_ns_props(const struct zdb_ns *ns, struct zdb_props *props);
int zdb_ns_set_maxsize(struct zdb_ns *ns, uint64_t bytes);
int zdb_ns_set_password(struct zdb_ns *ns, const char *text, size_t len); /* len 0 = none */
int zdb_ns_set_public(struct zdb_ns *ns, bool on);
int zdb_ns_set_worm(struct zdb_ns *ns, bool on);
int zdb_ns_set_lock(struct zdb_ns *ns, enum zdb_lock lock);
/* Whether its mode is settled: it has a record, or is not at file 0. */
bool zdb_ns_is_used(const struct zdb_ns *ns);
/* -EINVAL the engine is not mixed, -EBUSY the namespace is used. */
int zdb_ns_set_mode(struct zdb_ns *ns, enum zdb_mode mode);
/* Volatile, for --protect and --maxsize on `default`: in memory only, never written to the descriptor, no event. */
int zdb_ns_inject_password(struct zdb_ns *ns, const char *text, size_t len);
int zdb_ns_inject_maxsize(struct zdb_ns *ns, uint64_t bytes);

/* Figures of NSINFO.  Cheap (no system call) except the paths and free space, which zdb_ns_space() asks for. */
struct zdb_ns_info {
	uint64_t entries;         /* live */
	uint64_t data_size;       /* sum of live payload lengths */
	uint64_t index_size;      /* upstream's figure: sum over live entries of 64 + key length */
	uint64_t next_id;         /* sequential: the next id; user: count of insertions */
	uint32_t data_current_id; /* number of the active pair */
	uint32_t data_current_offset;
	uint32_t index_current_offset;
	uint64_t index_io_errors, data_io_errors;
	time_t index_io_error_last, data_io_error_last;
	uint32_t pending_rewrites; /* waiting in memory */
	uint64_t unsynced_bytes;   /* of log */
	uint64_t memory_bytes;     /* of tables kept for this namespace */
	uint64_t waiting_reads;    /* for absent segments */
};
void zdb_ns_info(const struct zdb_ns *ns, struct zdb_ns_info *info);
struct zdb_space {
	uint64_t index_free, data_free; /* bytes, f_bsize x f_bavail */
};
int zdb_ns_space(const struct zdb_ns *ns, struct zdb_space *space);
/* "<root as given>/<namespace>/i<N>" or d<N>; returns the length as snprintf does. */
int zdb_ns_index_path(const struct zdb_ns *ns, uint32_t n, char *buf, size_t size);
int zdb_ns_data_path(const struct zdb_ns *ns, uint32_t n, char *buf, size_t size);

/* Dirty-index map.  Numbers ascending; returns how many there are, fills at most max. */
size_t zdb_dirty_list(const struct zdb_ns *ns, uint32_t *numbers, size_t max);
void zdb_dirty_reset(struct zdb_ns *ns);
/* Text form, space-separated, "" if none; heap, to be freed by the caller; NULL on -ENOMEM. */
char *zdb_dirty_text(const struct zdb_ns *ns);

/* Counters of the whole engine for INFO. */
struct zdb_stats {
	uint64_t index_read_failed, index_write_failed, data_read_failed, data_write_failed;
	uint64_t index_read_bytes, index_write_bytes, data_read_bytes, data_write_bytes;
	uint64_t syncs, syncs_failed, rotations, crc_errors, evictions, compacted;
};
void zdb_stats(const struct zdb *eng, struct zdb_stats *stats);

/* ------------------------------------------------------------------------------------------------- others --- */

/*
 * For whoever restores a namespace from elsewhere: writes the marker that makes the next open replay d<segment> from its
 * first record, into an index directory whose files hold what the segments before it caused.  0 or a negative code.
 */
int zdb_restore_mark(const char *index_dir, uint32_t segment);

/* CRC-32C, initial value 0, no final inversion, continued from crc. */
uint32_t zdb_crc(uint32_t crc, const void *bytes, size_t size);

#endif
