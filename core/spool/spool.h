/*
 * spool: durable intentions. What must still reach the backends, one small file per intention.
 *
 * The spool is the memory of what is owed. An intention is written, fsynced, renamed into place and its
 *directory fsynced before spool_put() returns 0; only then may a hook or a rotation be answered. It survives
 *kill -9 of anything and power cuts. It lives in `<state>/spool`, beside `data/` and `index/` and on the same
 *file system.
 *
 * Writers: zdbd (rotations, namespace events), hook (beside an original server), zstor (debts, garbage).
 * Remover: zstor alone, after the thing is stored (of SPOOL_DROPPING: zdbd). Readers without any daemon: wait_hooks, `qsfs status`.
 *
 * An intention is identified by its key (kind and, as the kind has them, namespace, first and last, name, path): a second put of the same
 *key replaces the first atomically and gets a higher `seq`, so that there are never two, and an older one
 *never follows a newer one. spool_remove() takes away exactly the `seq` it is given: what was put meanwhile
 *stays.
 *
 * Files in the directory (docs/formats.md, "Spool"):
 *	<kind>-<key>		one intention: 512-byte head, path, payload
 *	volume			volume id and generation that intentions put from now on carry
 *	lock			flock'd for moments; holds the counter behind `seq`
 *	hooks			flock'd shared by each running hook (spool_hook_enter)
 *	closing			present while a shutdown refuses new non-closing events
 *	reserve			16 MiB kept for a full disk
 *	.tmp-*			being written, flock'd by their writer
 *
 * Threads: a handle may be used by several threads at once; processes are serialised by flock. No call waits
 *for anything but the disk and other callers' short critical sections. All I/O goes through `sys`. Functions
 *return 0 or a negative code (errno, or -E_CORRUPT of err.h).
 */
#ifndef CORE_SPOOL_SPOOL_H
#define CORE_SPOOL_SPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SPOOL_RESERVE_BYTES (16u << 20)
#define SPOOL_NS_MAX        128u
#define SPOOL_PATH_MAX      1023u
#define SPOOL_ERROR_MAX     127u
#define SPOOL_PAYLOAD_MAX   (1ull << 30) /* a bundle's own limit, native format section 7 */

/* Values are on disk: never renumber. */
enum spool_kind {
	SPOOL_SEGMENT = 1,    /* ns, first = N: the closed data file d<N> must be stored */
	SPOOL_BUNDLE = 2,     /* ns, first, last: payload = QSX1 bytes (rows may be 0: zstor fills them) */
	SPOOL_DESCRIPTOR = 3, /* ns: created or updated; the next recovery point carries the new descriptor */
	SPOOL_NSDROP = 4, /* ns: deleted or flushed; takes a new generation before anything else is stored */
	SPOOL_GARBAGE =
		5, /* name, after_sequence: delete that object once after_sequence + 4 is published; with
			    * a payload (a record): delete its shards alone, and `name` is the object id. With ns: of segment
			    * `first` before it was replaced, generation the one in its name; after_sequence all ones: not known
			    * before a recovery point names the bundle of segment `last`, all ones: which is not known either */
	SPOOL_PIECE = 6, /* name: its record is owed to some metadata stores; slot = bits of their slots */
	SPOOL_FILE = 7,  /* path: a file of somebody's choosing (`zstor store --notblocking`) */
	SPOOL_INDEX = 8, /* ns, first = n: payload = snapshot of index i<n> (upstream-format volumes) */
	SPOOL_FENCE = 9, /* generation = the newer one that was seen: this front end is fenced */
	SPOOL_DROPPING =
		10, /* ns: is being deleted or flushed; SPOOL_NSDROP follows, or it is taken back: by zdbd alone */
};

struct spool_intent {
	/* the key */
	enum spool_kind kind;
	char ns[SPOOL_NS_MAX + 1]; /* "" where the kind has none */
	uint64_t first, last;      /* numbers; last = first where there is but one */
	uint8_t name[16];          /* of an object; zero where the kind has none */
	/* content given by the writer */
	uint64_t size;           /* bytes that are owed (the file's, the payload's): for status only */
	uint64_t after_sequence; /* SPOOL_GARBAGE */
	uint8_t content_id[16];  /* valid when has_content_id */
	bool has_content_id;
	uint32_t slot; /* SPOOL_PIECE: bits */
	uint8_t flags; /* SPOOL_FILE_DELETE, SPOOL_PIECE_MANIFEST, SPOOL_BUNDLE_REPLACED */
	/* File it is about, where it was at that moment; "" = derive it from ns and number. */
	char path[SPOOL_PATH_MAX + 1];
	/* filled by spool_put */
	uint64_t seq;       /* order of the puts, grows for ever */
	uint8_t volume[16]; /* zero = put before the volume was known */
	uint64_t
		generation; /* of the front end that put it; SPOOL_FENCE, SPOOL_GARBAGE with ns: given by the writer */
	int64_t time;          /* Unix seconds, shown only: order is by seq */
	uint64_t payload_size; /* bytes behind the head and the path */
	uint32_t payload_crc;  /* CRC-32C of the payload */
	/* filled by spool_note */
	uint32_t attempts;
	bool parked; /* a permanent error: shown, not tried again until it is put again or unparked */
	char error[SPOOL_ERROR_MAX + 1];
	/* filled by spool_list */
	bool foreign; /* carries the id of another volume than the one the spool is bound to */
};

#define SPOOL_FILE_DELETE 1u /* SPOOL_FILE: unlink the local file once it is stored */
#define SPOOL_BUNDLE_REPLACED                                                                                \
	4u /* SPOOL_BUNDLE: its rows name segments before `first`, which were owed before it was there */
#define SPOOL_PIECE_MANIFEST 2u /* SPOOL_PIECE: the record is a manifest's, whose read rule is stricter */

struct spool;

#define SPOOL_CREATE 1u /* make the directory (0700) when it is not there */
#define SPOOL_RDONLY 2u /* only list and stat; changes nothing, also not the lock's counter */
#define SPOOL_OWNER  4u /* zstor: removes what dead writers left half-written, keeps the reserve filled */

/* Opens `dir`. -ENOENT without SPOOL_CREATE when it is not there. *out is freed by spool_close(). */
int spool_open(const char *dir, unsigned flags, struct spool **out);
void spool_close(struct spool *sp);

/*
 * Binds the spool to a volume and generation, durably: later puts of every process carry them. Called by
 * zstor when it has made or verified the identity. spool_binding(): -ENOENT when it was never bound.
 */
int spool_bind(struct spool *sp, const uint8_t volume[16], uint64_t generation);
int spool_binding(struct spool *sp, uint8_t volume[16], uint64_t *generation);

/*
 * Writes one intention durably; on success the filled-in fields are set in *in. `payload` may be NULL when
 * len is 0. On -ENOSPC the reserve has been spent already and it still did not fit. An older intention of the
 * same key is replaced.
 */
int spool_put(struct spool *sp, struct spool_intent *in, const void *payload, size_t len);

/* The same for a payload that does not fit in memory: begin, any number of writes, then commit or abort. */
struct spool_writer;
int spool_put_begin(struct spool *sp, const struct spool_intent *in, struct spool_writer **out);
int spool_put_write(struct spool_writer *w, const void *bytes, size_t len);
/* Both free the writer, whatever they return. `filled` may be NULL, else gets the intention as written. */
int spool_put_commit(struct spool_writer *w, struct spool_intent *filled);
void spool_put_abort(struct spool_writer *w);

/*
 * Calls `each` for every intention in the order of seq; stops when it returns non-zero and returns that. What
 * is damaged on disk is logged, counted by spool_stat() and passed over: the scan of local files owes it
 * again.
 */
int spool_list(struct spool *sp, int (*each)(void *ctx, const struct spool_intent *in), void *ctx);

/* Reads the payload into `*out` (mem_alloc'ed, caller frees with mem_free); -E_CORRUPT when its checksum is
 * wrong, -ENOENT when the intention is gone or was replaced. `max` bounds it: -EFBIG. */
int spool_payload(struct spool *sp, const struct spool_intent *in, size_t max, uint8_t **out, size_t *len);

/* The same into an open file at its present position, in bounded memory. */
int spool_payload_copy(struct spool *sp, const struct spool_intent *in, int dst_fd);

/* Removes exactly this put. 0 also when it is already gone or was replaced by a newer one. */
int spool_remove(struct spool *sp, const struct spool_intent *in);

/* Notes attempts, error and whether it is parked; the order (seq) stays. -ENOENT when it was replaced
 * meanwhile. */
int spool_note(struct spool *sp, const struct spool_intent *in, uint32_t attempts, bool parked,
	       const char *error);

struct spool_stat {
	uint64_t files;   /* intentions owed: segments, bundles, files, indexes, pieces, descriptors, drops */
	uint64_t bytes;   /* their size fields */
	int64_t oldest;   /* Unix seconds of the oldest of them, 0 = none */
	uint64_t parked;  /* of these: parked */
	uint64_t pieces;  /* of these: metadata pieces */
	uint64_t garbage; /* deletions that wait for their sequence: not owed */
	uint64_t damaged; /* files that cannot be read */
	uint64_t foreign; /* of another volume */
	bool fenced;      /* a SPOOL_FENCE is there */
	bool closing;     /* spool_closing_set() */
	unsigned hooks;   /* 1 when at least one hook is in flight */
	char last_error[SPOOL_ERROR_MAX + 1]; /* of the oldest that has one */
};
/* Counts what lies in the directory now; never waits. 0 or a negative errno. */
int spool_stat(struct spool *sp, struct spool_stat *out);

/* Keeps the 16 MiB reserve; -ENOSPC leaves what there is. Called by the owner now and then. */
int spool_reserve_fill(struct spool *sp);

/*
 * A hook in flight. enter: -EAGAIN when a shutdown refuses new events (closing events pass `closing_event`
 * and are let in). *token is given to leave; the kernel leaves for a process that dies.
 */
int spool_hook_enter(struct spool *sp, bool closing_event, int *token);
void spool_hook_leave(struct spool *sp, int token);
int spool_closing_set(struct spool *sp, bool closing);

/* Words for output: "segment", "bundle", ... */
const char *spool_kind_name(enum spool_kind kind);

#endif
