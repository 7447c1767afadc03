/*
 * zdb_int.h - what the files of the engine share.
 *
 * One idea per file:
 *   fmt     bytes of records and headers          table   user keys -> records, keys on disk
 *   pend    in-place rewrites that wait           bits    sets of file numbers
 *   map     data files mapped for big reads
 *   file    descriptor cache, append ends         index   index records: lookup, overlay, appends, applying rewrites
 *   mark    marker and sums                       write   set and del
 *   cold    whether a big payload is in the page cache
 *   read    get, check, raw, waiters              scan    scan, history, cursors
 *   sync    split sync, tick                      rotate  rotation, cut
 *   ahead   the next pair before the closed one is durable
 *   tail    append ends of the active files       flight  the end of a log on its way, in another thread
 *   uncached  which flights leave the page cache alone
 *   bundle  index bytes of a closed segment       evict   eviction with a proof
 *   compact a pass over the closed segments       compact_copy  one segment's live records into a new file
 *   compact_repoint  the index follows            compact_intent  the note that makes its switch one step
 *   compact_index  index files, offline
 *   replaced  files that it has replaced and stores do not hold yet
 *   load    opening a namespace                   load_files  which files are there, the active pair
 *   replay  the log from the marker -> the index  clear   all records go: FLUSH, NSDEL
 *   gap     damage in the log, or its torn end    foreign what somebody else wrote
 *   ns      namespaces, descriptors, properties   open    roots, locks, engine
 *   verify  check, recover, dump
 */
#ifndef ZDB_ZDB_INT_H
#define ZDB_ZDB_INT_H

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <string.h>

#include "core/base/err.h"
#include "core/base/hmap.h"
#include "core/base/mem.h"
#include "core/base/sys.h"
#include "core/zdb/bits.h"
#include "core/zdb/fmt.h"
#include "core/zdb/pend.h"
#include "core/zdb/table.h"
#include "core/zdb/zdb.h"

#define ZDB_PATH_MAX   4096u
#define SCRATCH_SIZE   (66u << 10)  /* one 64 KiB payload with its header and key */
#define CHUNK_SIZE     (256u << 10) /* streaming reads of whole files */
#define WINDOW_MIN     (16u << 10)  /* of an active file's newest bytes, at first */
#define WINDOW_DATA    (256u << 10) /* ... at most; these many gather before they are written out */
#define WINDOW_INDEX   (64u << 10)
#define WINDOW_ALL     (8u << 20)   /* of all namespaces together */
#define GATHER_RECORD  (16u << 10)  /* bigger records are written at once */
#define FLIGHT_BYTES   (1u << 20)   /* a flight with so much goes at once */
#define FLIGHT_OWN     (24u << 10)  /* bytes in it that nobody lent */
#define FLIGHT_MIN     (192u << 10) /* less is not worth another thread, when none writes already */
#define FLIGHTS_MAX    8u           /* of one log, until the first of them is waited for */
#define PREALLOC_MIN   (64u << 10)
#define PREALLOC_MAX   (8u << 20)
#define MARK_LOG_BYTES (64u << 20) /* log behind the marker before a tick moves it, */
#define MARK_PAUSE_MS  1000u       /* and how long after the last time */
#define WRITEBACK_STEP (8u << 20)  /* start writing out dirty log pages in steps of this size */
#define NAMESPACES_MAX 65536u      /* a start takes so many beside `default`, NSNEW with it */
#define SEGMENTS_MAX   (1 << 24)   /* highest number of a pair; files above it are not ours */
#define TOUCHED_MAX    65536u      /* rewritten places remembered per segment for its bundle */

enum which { INDEX_FILE, DATA_FILE };

/* A descriptor shared by the cache, the active ends and reads in flight.  Counted in the owner thread only. */
struct zdb_fd {
	int fd;
	unsigned refs;
	enum which which;
	uint32_t number;
	uint64_t ns_id;
	const uint8_t *map; /* from map_from on, map_size bytes; NULL = none */
	uint32_t map_from;  /* where in the file it begins: 0, but of an index */
	size_t map_size;
	bool map_used;        /* since the last sweep */
	struct list map_link; /* in eng->maps */
	struct zdb_fd *hash_next;
	struct zdb_fd *lru_prev, *lru_next; /* both NULL = not in the cache */
};

/* How a flight went. */
struct flown {
	uint32_t bytes;
	uint64_t took_ns;
	bool refused; /* the file system has no uncached writes: it went through the cache */
};

/* Of all flights of an engine, which lie on one file system. */
struct uncached {
	bool refused;
	uint64_t bytes, took_ns; /* of this sample */
	unsigned slow;           /* samples in a row */
	uint64_t rest;           /* bytes that go through the cache before the next try */
	uint64_t next_rest;
};

#define FD_BUCKETS 256u
struct fd_cache {
	struct zdb_fd *buckets[FD_BUCKETS];
	struct zdb_fd *newest, *oldest;
	unsigned count, max;
};

/* The end of an active file: what is in it, and what is gathered behind that. */
struct tail {
	struct zdb_fd *f; /* NULL = not open */
	enum which which;
	uint32_t number;
	uint32_t size;     /* logical end */
	uint32_t written;  /* end in the file; size - written bytes are gathered */
	uint64_t reserved; /* preallocated up to here */
	bool no_prealloc;  /* the file system cannot */
	uint32_t kicked;   /* writeback was started up to here */
	uint8_t *buf;      /* the bytes [from, size) in memory; NULL = none */
	uint32_t from, cap;
	/* The data file's only, and then nothing is gathered in buf: `flights` hold what follows `written`, `loading` the rest. */
	struct zdb_flight *flights, *loading;
	unsigned flying;
};

/* Readers of an absent segment. */
struct missing {
	struct missing *next;
	uint32_t number;
	uint64_t deadline_ms; /* 0 = no tick has seen it yet */
	bool asking;          /* data_missing is being called */
	bool answered;        /* from inside it */
	int answer;
	struct zdb_waiter *waiters;
};

struct proof_memo { /* content ids that were computed, by file */
	bool used;
	uint8_t kind;
	uint8_t id[16];
	uint32_t number;
	uint64_t inode, size, mtime_ns;
};
#define PROOF_MEMOS 64u

struct zdb_ns {
	struct zdb *eng;
	uint64_t id; /* unique in this process: key of cached descriptors */
	unsigned refs;
	bool alive;
	size_t slot;
	struct hmap_node by_name;
	struct list unflushed; /* in eng->unflushed while a tail holds gathered bytes */
	char name[ZDB_NAME_MAX + 1];
	uint8_t name_len;
	char *index_dir, *data_dir;
	void *owner_data;

	/* descriptor and volatile state */
	enum zdb_mode mode;
	struct descriptor desc;
	enum zdb_lock lock;
	bool injected_password, injected_maxsize;
	uint64_t maxsize;
	char password[ZDB_PASSWORD_MAX + 1];
	uint8_t password_len;

	int write_error;
	bool flush_failed; /* and that was told */
	/*
	 * Any thread sets it: a sync of one of its files failed.  The kernel says so once, to whoever asked; what was lost stays lost, and
	 * no sync that succeeds later stands for it (ns_fdatasync).
	 */
	atomic_bool sync_lost;
	int load_error; /* after a failed reload: everything answers -EIO */
	enum zdb_dropped dropped;

	/* the active pair */
	struct tail index, data;
	uint32_t prev_index, prev_data; /* offset of the last appended record, for the field `previous` */
	uint32_t synced;                /* the log of the active segment is durable up to here */
	uint32_t index_synced;
	uint64_t jumped_ms; /* monotonic time of the last rotation or open */
	uint64_t marked_ms; /* of the tick before the marker moved, or a sync began that moves it */
	bool record_since;  /* a record came since then */

	uint32_t read_guess; /* payload bytes that the first read of a record of unknown size asks for */
	unsigned read_big;   /* counts down since one stayed in its file, ... */
	uint32_t big_guess;  /* ... which was so long */

	/* figures */
	uint64_t entries, data_size, key_bytes, next_id;
	uint64_t index_errors, data_errors;
	time_t index_error_last, data_error_last;

	/* keys */
	struct table table; /* user mode */
	uint64_t *
		bases; /* sequential mode: id of the first record of each file; empty files share the next one's */
	uint32_t bases_cap;

	/* rewrites */
	struct pend pend, frozen; /* frozen: taken by the sync job that runs */
	bool pend_announced;
	struct bits dirty;            /* upstream's dirty map */
	struct bits touched;          /* older index files with bytes that were not synced */
	struct zdb_extent *rewritten; /* places in older index files that this segment's records rewrote */
	uint32_t rewritten_count, rewritten_cap;
	bool rewritten_partial; /* the list is not complete: derive from the log */

	/* marker */
	struct mark mark; /* as on disk; state 0 = none */
	uint64_t stamp;   /* of this opening */
	bool ambiguous;   /* the unsynced log holds a record that a lost sector would look like (write.c) */
	/*
	 * End of the log when it ends with a record that looks so, and the index does not tell: in doubt until `synced` reaches it, or
	 * a record follows in the sector that it is about, whose last byte is doubt_sector.  With a follower behind that sector
	 * only a sync helps: the newest end of such a record is doubt_lasts.
	 */
	uint32_t doubt_end, doubt_sector, doubt_lasts;
	uint32_t durable_file, durable_off; /* at load: the log was durable up to there */
	bool opened;                        /* the marker says open with our stamp: writing is allowed */
	bool stale_mark; /* no clean marker on disk although nothing waits: write one at close */

	struct ahead *ahead;         /* the active pair is ahead of a closed one that is not durable yet */
	struct zdb_sync *job;        /* running: between begin and done */
	struct zdb_compact *compact; /* running, or ended while its last file could not be switched */
	struct replaced *replaced;   /* by compactions, and not stored yet (replaced.c) */
	uint32_t replaced_count, replaced_cap;
	uint32_t stored_below; /* closed segments that the stores are known to hold */
	bool kick_wanted;      /* writeback of the log should begin */
	uint64_t applied_ms;   /* when the last rewrites were applied */
	unsigned proofs;       /* running */
	int64_t torn_index;    /* the first index file that could not be read to its end; -1 = none */
	int64_t pair_left;     /* a rotation failed, and names of this pair may be on the disk; -1 = none */
	int64_t closed_owed;   /* segment whose segment_closed event failed; -1 = none */
	struct missing *missing;
	struct proof_memo memos[PROOF_MEMOS];
	unsigned memo_next;
	bool desc_short; /* its descriptor was not there or cut short when it was loaded */
	struct zdb_recovery recovery;
};

/* In both roots, held by flock: no namespace has this name. */
#define ROOT_LOCK ".lockfile"

struct refused {
	struct refused *next;
	char *name, *why;
	int code;
};

struct zdb {
	struct zdb_options opt;
	struct zdb_events ev;
	char *data_root, *index_root;
	/* Of the index root and of the data root: the entry that leads to the other root, "" when it does not lie within. */
	char inner[2][ZDB_NAME_MAX + 1];
	int lock_fd[2];
	bool read_only;
	struct zdb_ns **slots; /* NULL = free slot */
	size_t slots_count, count;
	size_t slots_free; /* no free slot below this one */
	size_t tick_at;    /* the slot after the one whose job zdb_tick() returned last */
	struct hmap names; /* of all namespaces */
	struct list unflushed;
	struct refused *refused;
	struct fd_cache fds;
	struct list maps; /* zdb_fds that have one */
	uint64_t mapped;  /* bytes of them */
	uint64_t sweep_ms;
	struct zdb_stats stats;
	uint8_t *scratch; /* SCRATCH_SIZE */
	uint8_t *big;     /* grown on demand for payloads handed out whole; at most ZDB_PAYLOAD_MAX + 273 */
	size_t big_size;
	size_t window_bytes;              /* of all tails */
	struct zdb_flight *flight_spares; /* memory for the next ones */
	unsigned flight_spares_count;
	struct zdb_flight *flights_over; /* whose owner has not heard of it yet */
	struct uncached uncached;
	bool no_nowait; /* the file system cannot tell what is in the page cache */
	uint64_t hash_seed, next_ns_id, now_ms;
	struct zdb_waiter *waking;
	uint64_t waiting;
};

/* ---- file.c */
int fd_get(struct zdb_ns *ns, enum which which, uint32_t number, struct zdb_fd **out);
/* Opens a file with a descriptor of its own, beside the cache. */
int fd_new(struct zdb_ns *ns, enum which which, uint32_t number, int flags, struct zdb_fd **out);
/* The same with something behind its name. */
int fd_new_at(struct zdb_ns *ns, enum which which, uint32_t number, const char *suffix, int flags,
	      struct zdb_fd **out);
/* The same, and how long the file is; offsets are 32-bit, what lies behind them does not count. */
int fd_get_sized(struct zdb_ns *ns, enum which which, uint32_t number, struct zdb_fd **out, uint32_t *size);
void fd_put(struct zdb *eng, struct zdb_fd *f);
void fd_forget(struct zdb_ns *ns, enum which which, uint32_t number);
void fd_forget_all(struct zdb_ns *ns);
int file_path(const struct zdb_ns *ns, enum which which, uint32_t number, const char *suffix, char *buf);
/* Length of a file by its number, or -errno. */
int64_t file_length(const struct zdb_ns *ns, enum which which, uint32_t number);
/* Whole reads: bytes read (short only at the end of the file) or a negative code; counts figures and errors. */
ssize_t ns_pread(struct zdb_ns *ns, const struct zdb_fd *f, void *buf, size_t size, uint64_t off);
int ns_pwrite(struct zdb_ns *ns, const struct zdb_fd *f, const void *buf, size_t size, uint64_t off);
void ns_io_error(struct zdb_ns *ns, enum which which, bool write);
/* Any thread.  0; -EIO: this one failed, or one before it, whoever asked for that. */
int ns_fdatasync(struct zdb_ns *ns, const struct zdb_fd *f);

/* Reads from any file of the namespace, the active ones through their tails.  -ENOENT: no such file. */
ssize_t any_read(struct zdb_ns *ns, enum which which, uint32_t number, void *buf, size_t size, uint32_t off);

/* ---- map.c */
/*
 * The bytes [off, off + size) of a data file in its map, which is made for it when none is there; NULL: it has none, or these are not
 * inside. They stay while the file is referenced, and are read under mem_guard_run() only.
 */
const uint8_t *map_at(struct zdb_ns *ns, struct zdb_fd *f, uint32_t off, size_t size);
/* Guarded.  False: they cannot be read. */
bool map_copy(void *to, const uint8_t *from, size_t size);
/*
 * Reads of the newest written part of an active index from its map.  What lies there of [off, off + size), or -EAGAIN: not from here, but by
 * a system call, which also says what is wrong.
 */
ssize_t map_recent(struct zdb_ns *ns, const struct tail *t, void *buf, size_t size, uint32_t off);
/* Whether all of these bytes of a map are in the page cache: nobody waits for the disk who reads them now. */
enum zdb_where map_where(const uint8_t *bytes, size_t size);
void map_drop(struct zdb *eng, struct zdb_fd *f); /* no-op without one */
void maps_tick(struct zdb *eng, uint64_t now_ms, uint64_t *next_ms);

/* ---- tail.c */
int tail_open(struct zdb_ns *ns, struct tail *t, enum which which, uint32_t number);
int tail_open_at(struct zdb_ns *ns, struct tail *t, enum which which, uint32_t number, const char *suffix);
void tail_close(struct zdb *eng, struct tail *t, bool drop_reserve);
/*
 * Appends one record in pieces.  On failure nothing of it stays.  -ENOSPC, -EIO, ...  lent: see zdb_set_lent(), of the last piece; may
 * be NULL.
 */
int tail_append(struct zdb_ns *ns, struct tail *t, const struct iovec *iov, int count, uint32_t total,
		struct zdb_lent *lent);
int tail_flush(struct zdb_ns *ns, struct tail *t);
/* The file ends at `end` now, by other means than this; nothing is gathered. */
void tail_moved(struct tail *t, uint32_t end);
/* Borrowed bytes of the window at off, *have of them; NULL: they must be read. */
const uint8_t *tail_peek(const struct tail *t, uint32_t off, size_t *have);
/* Bytes inside the file were rewritten: the window says so too. */
void tail_patch(struct tail *t, uint32_t off, const void *bytes, uint32_t size);
int ns_flush_tails(struct zdb_ns *ns);
/* Takes back everything behind `size`. */
int tail_cut(struct zdb_ns *ns, struct tail *t, uint32_t size);
/* Reads through the window: bytes read or a negative code. */
ssize_t tail_read(struct zdb_ns *ns, struct tail *t, void *buf, size_t size, uint32_t off);
/* Bytes that are in memory only, and on no flight. */
uint32_t tail_gathered(const struct tail *t);
/* Writes gathered bytes out up to `end`; those behind it stay gathered. */
int tail_flush_to(struct zdb_ns *ns, struct tail *t, uint32_t end);
/* What was written up to `end` by a flight: figures, and the early writeback. */
void tail_landed(struct zdb_ns *ns, struct tail *t, uint32_t end);
/* Bytes that a flight should preallocate behind `reserved`, so that the owner need not wait for the file; 0: none. */
uint32_t tail_ahead(const struct zdb_ns *ns, const struct tail *t);
/* The bytes behind `written` could not be written: nothing of them stays in the file, and the namespace takes no more. */
void tail_failed(struct zdb_ns *ns, struct tail *t);

/* ---- flight.c */
/* Whether this end can have flights. */
bool flight_wanted(const struct zdb_ns *ns, const struct tail *t);
/*
 * Appends a record of a data file, for which room is reserved.  lent: who owns the memory of the last piece; NULL: all is copied, at most
 * GATHER_RECORD bytes.  -EOPNOTSUPP no memory; -EIO.
 */
int flight_load(struct zdb_ns *ns, const struct iovec *iov, int count, uint32_t total, struct zdb_lent *lent);
/* Takes back what was loaded behind `size`. */
void flight_cut(struct tail *t, uint32_t size);
/* Whether what was loaded should go now. */
bool flight_full(const struct tail *t);
/* Gives what was loaded to the owner's threads; with too many before it the first of them is waited for.  0, or what that one came to. */
int flight_start(struct zdb_ns *ns);
/* Waits for all flights, or carries them out, and what was loaded.  0; -EIO: the namespace takes no more writes. */
int flight_land(struct zdb_ns *ns);
/* Waits only for what has begun; the rest is dropped. */
void flight_drop(struct zdb *eng, struct tail *t);
/* Frees what is kept for the next ones; the engine ends. */
void flight_release(struct zdb *eng);
/* Bytes at off that are on a flight or loaded; NULL: not there. */
const uint8_t *flight_peek(const struct tail *t, uint32_t off, size_t *have);
/* End of the last flight, or of the file. */
uint32_t flight_end(const struct tail *t);
/* Where the bytes begin that memory holds. */
uint32_t flight_from(const struct tail *t);

/* ---- uncached.c */
void uncached_init(struct uncached *u);
/* Flags of pwritev2 for a flight that takes off. bulk: its log is filled faster than it is written. */
int uncached_flags(const struct zdb *eng, bool bulk);
void uncached_landed(struct zdb *eng, int flags, const struct flown *flown);

/* ---- index.c */
struct place {
	uint32_t file, off;
};
uint32_t key_tag(const struct zdb *eng, const void *key, size_t klen);
int seq_place(const struct zdb_ns *ns, uint64_t id, struct place *at); /* 0 or -ENOENT */
int bases_set(struct zdb_ns *ns, uint32_t file, uint64_t base);
/* Reads one record with its key as readers see it (rewrites laid over).  key has room for 256 bytes.
 * -ENOENT nothing whole there; -EIO. */
int index_read(struct zdb_ns *ns, struct place at, struct idx_rec *r, uint8_t *key);
void index_overlay(const struct zdb_ns *ns, struct place at, struct idx_rec *r);
/* The live record of a key.  e (may be NULL): user mode's table entry.  -ENOENT, -EIO. */
int index_find(struct zdb_ns *ns, const void *key, size_t klen, struct place *at, struct idx_rec *r,
	       struct entry **e);
int index_append(struct zdb_ns *ns, struct idx_rec *r, const void *key, uint32_t *off);
/* Whether a lost sector would leave these bytes, at `off` of a file, as they are: they cross a border and only zeros follow it. */
bool crosses_into_zeros(const uint8_t *b, uint32_t size, uint32_t off);
int rewrite_reserve(struct zdb_ns *ns, uint32_t file);
void rewrite_flag(struct zdb_ns *ns, struct place at, uint32_t size);
void rewrite_whole(struct zdb_ns *ns, struct place at, const struct idx_rec *r);
/* Writes a set of rewrites into the files and releases it.  On failure what is left stays in p. */
int rewrite_apply(struct zdb_ns *ns, struct pend *p);
/* The data file a record points to: user mode ignores the stored number. */
static inline uint32_t idx_data_file(const struct zdb_ns *ns, const struct idx_rec *r, uint32_t index_file)
{
	return ns->mode == ZDB_USER ? index_file : r->data_file;
}

/* Streams the records of one index file, from off to its end. */
struct idx_stream {
	struct zdb_ns *ns;
	struct zdb_fd *f;
	struct tail *t;
	uint32_t number, off, end; /* off: of the record last returned + its size */
	uint8_t *buf;              /* CHUNK_SIZE, the caller's */
	uint32_t buf_off, buf_len;
};
int stream_open(struct idx_stream *s, struct zdb_ns *ns, uint32_t number, uint32_t from, uint8_t *buf);
/* 1: a record, at *at, key borrowed until the next call; 0: end; -EBADMSG: bytes at s->off are no record; -EIO.
 * The record is as the file says: no overlay. */
int stream_next(struct idx_stream *s, struct idx_rec *r, const uint8_t **key, uint32_t *at);
void stream_close(struct idx_stream *s);

/* ---- mark.c */
int mark_read(const struct zdb_ns *ns, struct mark *m); /* 0, -ENOENT none or damaged, -EIO */
int mark_write(const char *index_dir, const struct mark *m);
int sums_read(const struct zdb_ns *ns, const struct mark *m, struct sums *s);
int sums_write(const char *index_dir, const struct sums *s);
void sums_fill(const struct zdb_ns *ns, struct sums *s, const struct mark *m);
/* Before the first write of an opening: stamp in the data header, marker open. */
int mark_open(struct zdb_ns *ns);
/* At a clean stop, everything being durable. */
int mark_clean(struct zdb_ns *ns);
/* Takes away a marker that says nothing any more; it would not count if it stayed. */
void mark_remove(const struct zdb_ns *ns);
/* The marker goes back to the start of segment n: until the index is whole again, every start begins there. */
int mark_back(struct zdb_ns *ns, uint32_t n, uint32_t last);

/* ---- write.c, rotate.c */
int ns_writable(struct zdb_ns *ns);
/* Everything gathered is in the files when this returns 0. */
int flush_all(struct zdb *eng);
int rotate(struct zdb_ns *ns);
/* Nothing here fails.  index, data: the next pair, open.  drop_reserve: what is preallocated behind the old ones goes. */
void pair_switch(struct zdb_ns *ns, struct tail *index, struct tail *data, bool drop_reserve);
void stamp_forget(const struct zdb_fd *data);
/* On failure nothing of it stays, or pair_left says so. */
int pair_create(struct zdb_ns *ns, uint32_t number, uint64_t stamp);
/* Takes back what a rotation that failed has left; nothing is to be written before.  0 or a negative code. */
int pair_left_drop(struct zdb_ns *ns);
int file_make(const struct zdb_ns *ns, enum which which, uint32_t number, const void *header, size_t size);
int closed_event(struct zdb_ns *ns, uint32_t n);
int bundle_closed(struct zdb_ns *ns, uint32_t n, struct zdb_bundle **out); /* of the segment just closed */

/* ---- ahead.c */
/* The files of a closed segment that is not durable yet, each with a reference, and the sizes they are cut to then (0: not). */
struct ahead_files {
	struct zdb_fd *index, *data;
	uint64_t index_trim, data_trim;
};
/* Whether a rotation can go on before the segment is durable; goes on: 0, or a negative code, and nothing has changed. */
bool ahead_can(const struct zdb_ns *ns);
int ahead_go(struct zdb_ns *ns);
/* Whether `number` is the closed segment that is not durable yet. */
bool ahead_of(const struct zdb_ns *ns, uint32_t number);
struct ahead_files ahead_files(const struct zdb_ns *ns);
void ahead_files_put(struct zdb *eng, struct ahead_files *files);
/*
 * The steps to its end: sync (any thread), rename, renamed (any thread), end, which says the number of the segment that is
 * durable and closed now; or all of them at once, which makes its event owed.  0 or a negative code.
 */
int ahead_sync(struct zdb_ns *ns, const struct ahead_files *closed, const struct zdb_fd *index,
	       const struct zdb_fd *data);
void ahead_files_sync(const struct zdb_ns *ns); /* nobody is left who could be told of an error */
int ahead_rename(struct zdb_ns *ns);
int ahead_renamed(const struct zdb_ns *ns);
uint32_t ahead_end(struct zdb_ns *ns);
int ahead_finish(struct zdb_ns *ns);
void ahead_release(struct zdb_ns *ns); /* forgets it, touches no file */
/* At load, before the files are listed. */
int ahead_settle(struct zdb_ns *ns, const struct mark *m, char *why, size_t why_size);

/* ---- cold.c */
/* A payload was so long; some of the next ones may be as big as the last big one. */
void big_note(struct zdb_ns *ns, uint32_t len);
/*
 * Reads `size` bytes of a record that may be big and has `head` bytes before its payload, without waiting for the disk: -EAGAIN: these, or what
 * probably follows them, are not in the page cache; -EOPNOTSUPP: that cannot be told.  seen: set when it is known of more than these: to so many bytes from `off` on.
 */
ssize_t cold_head(struct zdb_ns *ns, const struct zdb_fd *f, uint32_t off, size_t head, void *buf,
		  size_t size, size_t *seen);

/* ---- missing.c: data_open(), missing_wake(), missing_tick(); read_run.c: head_check(); the others: read.c */
/* What a record must be for a reader: its key, and length and CRC where the index told them. */
struct want {
	const void *key;
	size_t klen;
	bool exact;  /* len and crc are known */
	bool newest; /* the index cannot have been overtaken: what is there instead is damage */
	uint32_t len, crc;
};
/*
 * Opens a data file for the record at off: of two files while a compaction switches them.  data_fd: -ENOENT when it is absent;
 * data_open: then it is asked for and w waits, -EINPROGRESS (w NULL: -EIO).
 */
int data_fd(struct zdb_ns *ns, uint32_t file, uint32_t off, struct zdb_fd **f);
int data_open(struct zdb_ns *ns, uint32_t file, uint32_t off, struct zdb_fd **f, struct zdb_waiter *w);
/* 0: the header and the key behind it are of such a record; -EBADMSG. */
int head_check(const struct dat_rec *r, const uint8_t *key, const struct want *w);
/* Reads what an index record names, exactly as it names it: key, length and CRC. */
int read_exact(struct zdb_ns *ns, uint32_t file, const struct idx_rec *r, const void *key, size_t klen,
	       struct zdb_read *rd, struct zdb_waiter *w);
/* The same for an older version: -ENODATA when a compaction has dropped it. */
int read_older(struct zdb_ns *ns, uint32_t file, const struct idx_rec *r, const void *key, size_t klen,
	       struct zdb_read *rd, struct zdb_waiter *w);
void missing_wake(struct zdb_ns *ns, int64_t number, int err); /* -1 = all */
void missing_tick(struct zdb_ns *ns, uint64_t now_ms, uint64_t *next_ms);
int value_equal(struct zdb_ns *ns, uint32_t file, uint32_t off, const void *key, size_t klen,
		const void *value, uint32_t len);
void *eng_big(struct zdb *eng, size_t size);

/* ---- compact.c, compact_copy.c, compact_intent.c: see compact_int.h */
/*
 * The descriptor that a record at (file, off) lies in, while a compaction switches that file; NULL: its file as usual.
 * Borrowed.  other: the one that it should not lie in.
 */
struct zdb_fd *compact_fd(const struct zdb_ns *ns, uint32_t file, uint32_t off, struct zdb_fd **other);
/* 1 a compaction has rewritten d<file>, 0 not, or not here; negative code. */
int compact_was(struct zdb_ns *ns, uint32_t file);
/* At load, before anything is read: ends a switch that a crash interrupted.  last: highest index file. */
int compact_repair(struct zdb_ns *ns, bool litter, uint32_t last, char *why, size_t why_size);
/* The same for index files (compact_index.c). */
int reindex_repair(struct zdb_ns *ns, bool litter, char *why, size_t why_size);
void compact_release(struct zdb_ns *ns);
/* Ends a re-pointing that is in its middle: the index is about to be copied.  0 or a negative code. */
int compact_hurry(struct zdb_ns *ns);

/* ---- replaced.c: data files that compactions of a stored namespace have replaced */
struct replaced {
	struct zdb_replaced what;
	uint32_t rows;
	int64_t given; /* the segment whose bundle has told of it in this process; -1 none */
};
/* Room for one more, so that adding cannot fail. */
int replaced_reserve(struct zdb_ns *ns);
void replaced_add(struct zdb_ns *ns, const struct zdb_replaced *what, uint32_t rows);
/* Those on disk; a damaged one refuses the namespace. */
int replaced_load(struct zdb_ns *ns, char *why, size_t why_size);
/*
 * Index files that came back from bundles may be older than the compaction: makes every record that a note speaks of name the new file.
 * Before the replay.  0 or a negative code.
 */
int replaced_apply(struct zdb_ns *ns, uint32_t last);
/* Calls fn for each index record that names the new file, as its note has it. */
int replaced_each(struct zdb_ns *ns, const struct replaced *r,
		  int (*fn)(void *ctx, uint32_t file, uint32_t off), void *ctx);
/* The bundle of segment n has told of all that were untold; it is to be made again, and will not. */
void replaced_told(struct zdb_ns *ns, uint32_t n);
void replaced_untold(struct zdb_ns *ns, uint32_t n);
void replaced_release(struct zdb_ns *ns);
/* Whether the file is a note of ours (flush). */
bool replaced_is_note(const char *name);
bool compact_busy(const struct zdb_ns *ns);
bool compact_covers(const struct zdb_ns *ns, uint32_t n); /* d<n> may be in the middle of it */

/* ---- sync.c */
/* Whether its marker has to move behind a record that looks torn.  sync: NULL = none. */
bool sync_in_doubt(const struct zdb_sync *sync);
int sync_numbers(struct zdb_ns *ns, const uint32_t *numbers, size_t count); /* any thread */
/* A sync has failed: the namespace takes no more writes. */
void sync_failed(struct zdb_ns *ns);
int sync_everything(
	struct zdb_ns *ns); /* log, appends, rewrites, older files; no job may run, or it is superseded */

/* ---- bundled.c */
#define TORN ".torn" /* suffix of a torn index file whose place another one has taken */
/* "i<number>.before<before>" -> true. */
bool bundled_name(const char *name, int64_t *number, int64_t *before);
/*
 * Puts back the index files that are not in `index` (missing, or torn) and cannot be made again from the log, `gap` being the first; they
 * are set in `index` then.  *from: the segment at which the replay has to begin, where the marker is now; an error that leaves it
 * alone has changed nothing.  -EROFS: they wait, but nothing can be written.
 */
int bundled_bring(struct zdb_ns *ns, struct bits *index, const struct bits *data, uint32_t last,
		  const struct mark *m, uint32_t gap, int64_t *from, char *why, size_t why_size);
/* Removes what was brought and is not needed. */
void bundled_clean(struct zdb_ns *ns);

/* ---- clear.c */
/* From now on a load removes all records; nothing else must be written any more.  An error has changed nothing. */
int clear_begin(struct zdb_ns *ns);
/* Removes all files of records, d<last> at the end; descriptor and marker stay.  0 or a negative code: to be ended by a load. */
int clear_files(const struct zdb_ns *ns, uint32_t last);
/* At load, before the files are listed: ends what was begun.  m is as if there were no marker then.  -EROFS: it has to wait. */
int clear_end(struct zdb_ns *ns, struct mark *m, char *why, size_t why_size);

/* ---- load.c, replay.c, foreign.c */
int ns_load(struct zdb_ns *ns, char *why, size_t why_size);
void ns_unload(struct zdb_ns *ns);
int ns_close_clean(struct zdb_ns *ns);
/*
 * Makes the index follow the log from (file, off) to its end, the index of `file` having index_off bytes that stand.
 * The namespace's tables are as of that place.  strict: our own log (case 2); else the end of a foreign one (case 3).
 */
struct replay {
	struct zdb_ns *ns;
	bool strict;
	uint32_t file, off, index_off;
	char *why;
	size_t why_size;
	bool recount; /* out, sequential: the namespace's counts are to be made from the index */
	/* private */
	uint32_t at_file, at_off; /* of the log record in hand */
	struct zdb_fd *out;       /* i<at_file> */
	uint32_t out_off, out_size;
	uint32_t start_file, start_off; /* index bytes before this stood before */
	uint32_t lost_off;              /* of the last damaged place in the log */
	uint64_t lost_bytes;            /* of all of them */
	uint8_t *window;
	uint32_t window_off, window_len;
};
int replay_run(struct replay *p);
int foreign_run(struct zdb_ns *ns, char *why, size_t why_size);
int load_keys(struct zdb_ns *ns, uint32_t last, uint32_t last_size, char *why, size_t why_size);
int seq_count(struct zdb_ns *ns);
int load_bases(struct zdb_ns *ns, uint32_t last, uint32_t last_size);
uint32_t seq_prev(const struct zdb_ns *ns, uint32_t file, uint32_t off);
int table_add(struct zdb_ns *ns, const uint8_t *key, const struct idx_rec *r, struct place at,
	      struct place *stale);
int say(char *why, size_t size, int code, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
int log_cut(struct zdb_ns *ns, uint32_t number, uint32_t at, uint32_t size);

/* Streams whole data records of a segment. */
struct log_stream {
	struct zdb_ns *ns;
	struct zdb_fd *f;
	uint32_t number, off, end;
	uint32_t last; /* offset of the record last returned, 0 = none yet */
	uint8_t *buf;  /* CHUNK_SIZE */
	uint32_t buf_off, buf_len;
	bool suspect; /* of the record last returned: a lost sector would look like it (docs/formats.md) */
	uint8_t key[ZDB_KEY_MAX + 1];
};
int log_open(struct log_stream *s, struct zdb_ns *ns, uint32_t number, uint32_t from, uint8_t *buf);
/* 1: whole record at *at, payload verified; 0: end; -EBADMSG: the bytes at s->off are no whole record; -EIO. */
int log_next(struct log_stream *s, struct dat_rec *r, const uint8_t **key, uint32_t *at);
/* The same, without asking the next record about one that has no payload. */
int log_step(struct log_stream *s, struct dat_rec *r, const uint8_t **key, uint32_t *at);
void log_close(struct log_stream *s);
/* Makes up to `size` bytes at off available: how many there are, *bytes pointing at them. */
ssize_t log_fill(struct log_stream *s, uint32_t off, uint32_t size, const uint8_t **bytes);
/* CRC of len bytes at off.  -EBADMSG: they are not all there. */
int log_payload(struct log_stream *s, uint32_t off, uint32_t len, uint32_t *crc);

/* ---- gap.c */
/*
 * Any thread.  The log is durable up to there: remembered in a file that is not synced itself, unless this is to be durable,
 * before rewrites are applied that a record which looks torn stands before.  Where it cannot be written it says less, and only the
 * marker, later, that such a record was durable.
 */
void synced_note(const struct zdb_ns *ns, uint32_t number, uint32_t offset, uint64_t stamp, bool durable);
/* At load: up to where the log is known to have been durable. */
void durable_find(struct zdb_ns *ns, const struct mark *m);
/* The same for one segment of `size` bytes. */
uint32_t log_durable(const struct zdb_ns *ns, uint32_t number, uint32_t size);
/* Bytes of the log that are no whole record. */
struct log_gap {
	uint32_t off, next; /* first byte, and where the log goes on */
	bool single;        /* exactly one record was there */
};
/*
 * The lowest whole record behind `bad` that follows the one there: 1 and *next, 0 none, -EIO; moves the stream.  loose: more
 * than one may be damaged, or none was there (a fragment); then the payload's checksum must speak for it, too.
 */
int log_follower(struct log_stream *s, uint32_t bad, bool loose, uint32_t *next);
/*
 * log_next() said -EBADMSG.  1: it is damage, and the stream stands at g->next, where the log goes on; 0: the log ends at
 * s->off; -EIO.  torn: what a power cut can have left counts as the end.
 */
int log_gap_find(struct log_stream *s, bool torn, struct log_gap *g);

/* ---- open.c */
/* zdb_open(); *loading: the roots are ours, an error is one of the files of namespace default. */
int open_staged(struct zdb **out, const struct zdb_options *options, bool *loading, char *why,
		size_t why_size);

/* ---- ns.c */
int ns_new(struct zdb *eng, const char *name, size_t len, struct zdb_ns **out);
void ns_free(struct zdb_ns *ns);
int slot_put(struct zdb *eng, struct zdb_ns *ns);
void slot_take(struct zdb *eng, struct zdb_ns *ns);
int desc_load(struct zdb_ns *ns);
int desc_store(struct zdb_ns *ns);

#endif
