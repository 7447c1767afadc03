/*
 * zdbd_int: what the files of this room share. See zdbd.h for the contract.
 *
 * One round of the loop: sockets become readable, whole requests are executed and their replies gathered in each client's `out`; when all
 * callbacks of the round have run, turn_end() flushes the engine's gathered writes with as few system calls as possible, sends the replies,
 * and begins the fdatasyncs that somebody waits for. So a reply never leaves before the write that it speaks of is in the log, and one
 * flush, one send and one sync serve everything that came together.
 *
 * A command that cannot be answered at once (absent segment, sync, big read, full output) blocks its client, and nobody else: the request
 * stays in the client's `in`, and its handler is called again with client->op telling what happened.
 *
 * No locks: everything here belongs to the loop's thread. Worker threads see only the job structs that are handed to them.
 */
#ifndef CORE_ZDBD_ZDBD_INT_H
#define CORE_ZDBD_ZDBD_INT_H

#include "core/base/buf.h"
#include "core/base/list.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/worker.h"
#include "core/net/resp.h"
#include "core/spool/spool.h"
#include "core/zdbd/zdbd.h"

#define CLIENTS_MAX_DEFAULT 20000
#define FDS_RESERVED        256          /* descriptors kept for files, hooks and listeners */
#define SCRATCH_SIZE        (256u << 10) /* one read from a socket */
#define OUT_HIGH            (1u << 20)   /* a client with more unsent reply bytes is not read from */
#define OUT_MAX             (80u << 20)  /* hard bound of one client's replies */
#define MIRROR_MAX          (16u << 20)  /* a mirroring client that lags by more is cut */
#define IDLE_KEEP           1024         /* buffers up to this size stay with an idle client */
#define SPARE_MIN           4096         /* ... and larger ones are at least of this size */
#define SPARES_MAX          128 /* larger buffers that are kept for the next one, until nobody asks for anything */
#define SPARE_BYTES_MAX     (16u << 20)
#define LARGE_REQUEST       (64u << 10)
#define LARGE_EXPECTED      (1u << 20) /* bytes of a client's next request that a buffer is taken for, at most */
#define SMALL_READ          4096   /* bytes that do not keep the buffer that was taken for a large request */
#define SLICE_COMMANDS      512    /* commands of one client before others get their turn */
#define SLICE_US            4000   /* the same as time */
#define STALL_MS            120000 /* a client that takes no reply byte for so long is cut */
#define IN_TOTAL_MAX        (512ull << 20) /* bytes of unfinished requests of all clients */
#define CHALLENGE_LEN       16
#define TICK_MS             1000
#define HOOKS_RUNNING_MAX   32
#define HOOKS_QUEUED_MAX    1024
#define HOOK_ARGS_MAX       8
#define HOOK_SHOWN_MS       300000 /* finished hooks stay listed for so long */
#define READ_SLOW_MS        1000   /* after a read that waited for the disk, workers read for so long */

struct client;
struct command;
struct zns;

/* ------------------------------------------------------------------------------------------- group commit */

/* Somebody who waits until everything written to a namespace before now is durable. All zero = idle. */
struct sync_waiter {
	struct list link;
	struct zns *zns; /* NULL = not waiting */
	bool index;
	void (*done)(struct sync_waiter *w, int err); /* loop's thread */
};

/* A set of file numbers, ascending. */
struct numbers {
	uint32_t *v;
	size_t count;
};

/* The server's state of one namespace (zdb_ns_owner_data). */
struct zns {
	struct zdbd *d;
	struct zdb_ns *ns;     /* referenced */
	struct list waiting;   /* sync_waiters for the next sync */
	struct list served;    /* those whom the running one serves */
	struct list link;      /* in d->sync_wanted */
	struct list all;       /* in d->namespaces */
	struct zdb_sync *sync; /* running */
	struct worker_job job;
	struct list rotations;      /* struct rotation: hooks of rotations, in order */
	bool running;               /* the jump-index of the first of them runs */
	struct spooling *spooling;  /* the segment on its way to the spool */
	struct numbers owed;        /* closed segments that could not be spooled */
	uint64_t owed_next_ms;      /* when they are tried again */
	struct numbers carried;     /* dirty index files that a failed jump-index has not taken over */
	uint64_t unsynced_since_ms; /* 0 = nothing written since the last sync began */
	struct sync_waiter aged;    /* a rotation by age, when what it closes is durable */
};

struct zns *zns_of(struct zdbd *d, struct zdb_ns *ns); /* makes it when needed; NULL: out of memory */
void zns_free(struct zns *z);                          /* NULL is fine */

void numbers_free(struct numbers *n);
/* Adds `count` numbers; keeps them sorted and single. False: out of memory, unchanged. */
bool numbers_add(struct numbers *to, const uint32_t *v, size_t count);
void numbers_drop_first(struct numbers *n);

void sync_wait(struct zns *z, struct sync_waiter *w, bool index);
void sync_cancel(struct sync_waiter *w);
/* Blocks the command at hand until a sync that begins now has ended, well or not; it comes again then. */
void sync_then_again(struct client *c, struct zns *z, bool index);
/* The command at hand is about to rotate. True: the worker syncs first, the command is blocked and comes again; a few times at most. */
bool sync_before_rotation(struct client *c);
/* Begins what is wanted. At the end of each turn. */
void sync_start_wanted(struct zdbd *d);
/* A write happened: everysec, marker, rewrites. */
void sync_note_write(struct zns *z);
/* fsync everysec. */
void sync_tick(struct zdbd *d, uint64_t now_ms);

/* flights.c. Whether large values are written by another thread here. */
bool flights_possible(const struct zdbd *d);
/* The event `flight` of the engine: 0, or it cannot be had. */
int flight_begin(void *ctx, struct zdb_flight *flight);

/* --------------------------------------------------------------------------------------------- clients */

enum block {
	BLOCK_NONE,
	BLOCK_DATA,  /* an absent segment */
	BLOCK_SYNC,  /* SYNC, CUT */
	BLOCK_JOB,   /* a worker reads or hashes */
	BLOCK_DRAIN, /* its replies must leave first */
	BLOCK_SEND,  /* a payload leaves from its file */
};

enum hold {
	HOLD_SYNC = 1,  /* for `hold` */
	HOLD_WRITE = 2, /* for flights */
};

/* A command in progress. */
struct op {
	const struct command *command;
	int step;     /* 0 at first; the handler's own */
	int err;      /* what the wait ended with */
	size_t index; /* MGET: items answered */
	bool busy;    /* a worker uses `job`, or the client's payload and socket */
	void *job;    /* heap, the handler's own */
	void (*job_free)(void *job);
	struct zdb_waiter waiter;
	struct sync_waiter sync;
};

struct client {
	struct list all;     /* d->clients */
	struct list pending; /* d->pending: something to send at the end of the turn */
	struct list ready;   /* d->ready: goes on in the next round */
	struct zdbd *d;
	uint64_t id;
	struct loop_io io;
	struct zdb_ns *ns; /* referenced; may be dead */
	bool admin, writable, is_unix, master, mirror;
	bool follows;           /* it has asked for DATA RAW */
	bool awaits_compaction; /* blocked until the one that runs is over */
	bool awaits_proof;      /* blocked until those of a namespace are over */
	bool closing;           /* no more requests; closed when its replies have left */
	bool dead;              /* closed; freed at the end of the turn */
	bool wrote;             /* a reply of this turn speaks of a write */
	bool unsynced; /* fsync always, or a doubtful log: replies from held_from on speak of writes that are not durable */
	uint8_t holding; /* enum hold: why nothing leaves, and nothing is read */
	bool socket_full;
	bool corked;
	bool asks_more; /* behind the request at hand there is more of its input */
	uint8_t block;  /* enum block */
	struct buf in, out;
	struct resp_request request;
	struct op op;
	struct payload *payload;  /* on its way, or NULL */
	struct lent_buffer *lent; /* `in`, if the request at hand lends of it */
	uint64_t owner;           /* MASTER: of the command at hand */
	uint64_t progress_ms;     /* when reply bytes last left, while some wait */
	size_t in_counted;        /* what d->in_total holds of ours */
	size_t large;     /* bytes to be expected of its next request, since the last one was large, or 0 */
	size_t held_from; /* see `unsynced` */
	struct sync_waiter hold;
	struct list write_link; /* d->writers */
	uint64_t flight;        /* number of the last one that carries its writes */
	/* WAIT */
	struct list wait_link;          /* d->waits */
	const struct command *wait_for; /* NULL = any */
	uint64_t wait_until_ms;
	const char *wait_reply; /* to be sent when the command at hand is done */
	bool waits;
	/* MIRROR */
	struct list mirror_link;           /* d->mirrors */
	struct buf mirrored;               /* what came while a command of its own is at hand */
	char challenge[CHALLENGE_LEN + 1]; /* "" = none requested */
};

void client_accepted(struct zdbd *d, int fd, bool is_unix);
/* Closes it when its replies are sent; at once, with a line in the log (why may be NULL). Freed at the end of the turn. */
void client_close_after(struct client *c);
void client_drop(struct client *c, const char *why);
/* There is something to send: at the end of the turn, or now, as much as the socket takes. */
void client_output(struct client *c);
void client_send_now(struct client *c);
/* A blocked command goes on (or ends with err) in the next round. */
void client_resume(struct client *c, int err);
void client_run_ready(struct zdbd *d);
void client_send_pending(struct zdbd *d);
/* One reason to hold its replies is gone. */
void client_release(struct client *c, enum hold why);
void client_tick(struct zdbd *d, uint64_t now_ms);
/* Whether an answer will leave at the end of this turn. */
bool client_answers_leave(const struct zdbd *d);
/* The engine could not write out what this turn's replies promise. */
void client_drop_writers(struct zdbd *d);
void client_free_dead(struct zdbd *d);
void client_shut_down_all(struct zdbd *d);
/* At the end of a turn: its replies speak of what flights carry, and wait for them. */
bool flight_awaited(struct client *c);

/*
 * spares.c. Room for `more` bytes: 0, or what buf_reserve() said. _idle: gives an empty buffer back, unless it is a small one.
 */
int buffer_reserve(struct zdbd *d, struct buf *b, size_t more);
void buffer_idle(struct zdbd *d, struct buf *b);
void spares_release(struct zdbd *d);
/* payload.c: those that it keeps for the next reads. */
void payloads_release(struct zdbd *d);

/*
 * lent.c. What zdb_set_lent() takes for a value of the request at hand; NULL: it must be copied. _end: the request is done; `in` may be
 * empty then. _recycle: at the end of a turn, what has come back.
 */
struct zdb_lent *request_lend(struct client *c, const uint8_t *value, size_t len);
void request_lent_end(struct client *c);
void lent_recycle(struct zdbd *d);

/* Moves a client to a namespace. */
int client_enter(struct client *c, struct zdb_ns *ns);

/* ------------------------------------------------------------------------------------------- commands */

enum verdict {
	DONE,    /* answered */
	BLOCKED, /* c->block says by what; called again later */
};

struct words {
	const uint8_t *base;
	const struct resp_span *argv;
	size_t argc;
};

struct call {
	struct zdbd *d;
	struct client *c;
	const struct command *command;
	struct words w;
};

#define ARG(call, i)     ((call)->w.base + (call)->w.argv[i].off)
#define ARG_LEN(call, i) ((call)->w.argv[i].len)

enum command_flags {
	F_ADMIN = 1,   /* admins only */
	F_WRITE = 2,   /* may change data of the client's namespace */
	F_EXACT = 4,   /* exactly `words`, none empty */
	F_MINIMUM = 8, /* at least `words`, none empty */
	F_SECRET = 16, /* never mirrored */
	F_HIDDEN = 32, /* not a name that WAIT knows beside itself */
};

struct command {
	const char *name;
	uint8_t words;
	uint8_t flags;
	enum verdict (*fn)(struct call *call);
};

extern const struct command commands[];
extern const size_t commands_count;

/* Row by name; prefix rule only when d->opt.prefix_commands. NULL: unknown. */
const struct command *command_find(const struct zdbd *d, const uint8_t *word, size_t len);
void command_index_build(struct zdbd *d);
/* Executes (or continues) the request at hand. */
enum verdict command_run(struct client *c, const struct words *w);
/* After it is done: WAITs of others. */
void command_done(struct client *c, const struct command *command);
void wait_tick(struct zdbd *d, uint64_t now_ms);
void wait_forget(struct client *c);

/* Replies; a reply that does not fit cuts the client. */
void reply_status(struct client *c, const char *text);
void reply_error(struct client *c, const char *text);
void reply_integer(struct client *c, int64_t n);
void reply_bulk(struct client *c, const void *data, size_t len);
void reply_text(struct client *c, const char *text);
void reply_nil(struct client *c);
void reply_array(struct client *c, size_t count);
void reply_ok(struct client *c);
/* Bytes of a reply as they are. */
void reply_bytes(struct client *c, const void *data, size_t len);
/* Memory for `bytes` of a reply behind what is there; count them with buf_added(&c->out, ...). NULL: the client is cut. */
uint8_t *reply_room(struct client *c, size_t bytes);

/*
 * payload.c. Replies with payload bytes [from, from + count) of a read that was started, and ends it. BLOCKED: call payload_finish() when
 * resumed, as long as payload_pending().
 */
enum verdict reply_payload(struct client *c, struct zdb_read *rd, uint32_t from, uint32_t count);
bool payload_pending(const struct client *c);
enum verdict payload_finish(struct client *c);
/* Its header has left, bytes of it have to. payload_send: sends some; true: the socket is full. The client may be dead afterwards. */
bool payload_sending(const struct client *c);
bool payload_send(struct client *c);
/* End of a turn: does what no worker has come to yet. */
void payload_help(struct zdbd *d);
/* Forgets it, whatever has left of it. */
void payload_drop(struct client *c);

/* Not an admin; frozen, locked, read-only: answers and returns false when the command may not go on. */
bool admin_only(struct client *c);
bool may_read(struct client *c);
bool may_write(struct client *c);

/* Constant-time comparison of a given password with a kept one. */
bool password_equal(const uint8_t *given, size_t given_len, const char *kept, size_t kept_len);
/* C-atoll of a word that is not terminated: blanks, sign, digits, rubbish ignored; INT64_MIN or INT64_MAX when it does not fit. */
int64_t loose_integer(const uint8_t *data, size_t len);

/* cmd_data.c */
enum verdict cmd_set(struct call *call), cmd_get(struct call *call), cmd_mget(struct call *call),
	cmd_del(struct call *call), cmd_exists(struct call *call), cmd_check(struct call *call),
	cmd_length(struct call *call), cmd_keytime(struct call *call), cmd_getrange(struct call *call),
	cmd_batch(struct call *call), cmd_history(struct call *call), cmd_data_raw(struct call *call);
/* cmd_scan.c */
enum verdict cmd_scan(struct call *call), cmd_rscan(struct call *call), cmd_kscan(struct call *call),
	cmd_keycur(struct call *call), cmd_dbsize(struct call *call);
/* cmd_ns.c */
enum verdict cmd_select(struct call *call), cmd_nsnew(struct call *call), cmd_nsdel(struct call *call),
	cmd_nslist(struct call *call), cmd_nsinfo(struct call *call), cmd_nsset(struct call *call),
	cmd_nsjump(struct call *call), cmd_reload(struct call *call), cmd_flush(struct call *call);
/* cmd_system.c */
enum verdict cmd_ping(struct call *call), cmd_time(struct call *call), cmd_auth(struct call *call),
	cmd_info(struct call *call), cmd_wait(struct call *call), cmd_any(struct call *call),
	cmd_hooks(struct call *call), cmd_index(struct call *call), cmd_stop(struct call *call),
	cmd_mirror(struct call *call), cmd_master(struct call *call);
/* cmd_durable.c */
enum verdict cmd_sync(struct call *call), cmd_evict(struct call *call), cmd_cut(struct call *call),
	cmd_spool(struct call *call), cmd_stored(struct call *call);

/* cmd_compact.c */
enum verdict cmd_compact(struct call *call);
bool compaction_runs(const struct zdbd *d, const struct zdb_ns *ns);
/* It ends soon, at a safe point. */
void compaction_stop(struct zdbd *d);
/* It ends now: nobody else uses the engine. */
void compaction_end(struct zdbd *d);

/*
 * events.c: puts segment `closed` and its bundle, derived from the log, into the spool as its rotation did: for a spool that was
 * lost. -ENOENT not closed, -EINPROGRESS the segment is not here, -EOPNOTSUPP nothing of this namespace is ever spooled.
 */
int spool_again(struct zdbd *d, struct zdb_ns *ns, uint32_t closed);

/* Checks the answer to the client's challenge. NULL = right, else the error text. */
const char *challenge_error(struct client *c, const uint8_t *hash, size_t len, const char *password,
			    size_t password_len);

/* To all mirrors but `from` itself: at once, or behind the reply that is being made. */
void mirror_command(struct client *from, const struct words *w);
/* The reply is made: what waited for it follows. It may be dead afterwards. */
void mirror_go_on(struct client *m);

/* ------------------------------------------------------------------------------------------------ hooks */

struct hook {
	struct list link;
	struct zdbd *d;
	const char *type; /* static */
	char *args[HOOK_ARGS_MAX + 1];
	size_t args_count;
	struct loop_child child;
	struct loop_timer limit;
	struct loop_post failed; /* it could not be started */
	uint64_t limit_ms;
	int pid;
	int64_t created_s, finished_s;
	uint64_t finished_ms;
	int status; /* wait(2) status; -1 = could not be run */
	bool running, finished, killed;
	void (*done)(struct hook *h, bool ok); /* loop's thread; may be NULL */
	void *ctx;
};

/*
 * Starts a hook beside the loop (or queues it when many are running). 0: `done` will be called exactly once, unless the server is
 * freed first. -ENOENT no hook program is configured; -EAGAIN the queue is full; -ENOMEM.
 */
int hook_start(struct zdbd *d, const char *type, uint64_t limit_ms, void (*done)(struct hook *h, bool ok),
	       void *ctx, const char *const *args, size_t count);
/* Runs one to its end, blocking; limit 0 = none. 0 exit code 0; -ECANCELED otherwise; -ETIMEDOUT; -EINTR stop signal; -ENOENT none
 * configured. */
int hook_run(struct zdbd *d, const char *type, uint64_t limit_ms, const char *const *args, size_t count);
size_t hooks_unfinished(const struct zdbd *d);
void hooks_tick(struct zdbd *d, uint64_t now_ms);
void hooks_free(struct zdbd *d);
/* crash.c: memory for zdbd_crash(). NULL: out of memory. */
struct crash *crash_new(void);
/* A hook ended: a stop may be waiting for it. */
void stop_hook_finished(struct zdbd *d);
/* For HOOKS: exit code as upstream shows it. */
int hook_exit_code(const struct hook *h);

/* --------------------------------------------------------------------------------------- engine's events */

struct rotation {
	struct list link;
	struct zns *zns; /* NULL: its namespace is gone */
	uint32_t closed;
	struct numbers dirty; /* index files that were changed in place */
};

extern const struct zdb_events zdbd_events;
bool ns_is_temp(const struct zdbd *d, const char *name);
/*
 * A namespace that is stored elsewhere is about to be emptied or deleted (begin), and that was tried (end): its successor takes a new
 * generation, once it is certain (drops.c). 0, or what the spool said; after a failed begin it must not be tried.
 */
struct drop {
	struct spool_intent begun;
	bool is_told;
};
int drop_begin(struct zdbd *d, struct zdb_ns *ns, struct drop *drop);
int drop_end(struct zdbd *d, struct zdb_ns *ns, const struct drop *drop);
/* What a stop in between has left, at the start; later, of namespaces that are gone: a new one of that name must wait for it. 0, or what the spool said. */
int drops_settle(struct zdbd *d, bool at_start);
/* Dirty list of the namespace, with what a running or failed jump-index has not taken over. Text: heap, NULL out of memory. */
char *dirty_text(struct zns *z);
bool dirty_numbers(struct zns *z, struct numbers *out);
void dirty_forget(struct zns *z);
void rotations_forget(struct zns *z);
/* The engine is about to close: hooks that bring segments back have nobody to tell any more. */
void missing_forget(struct zdbd *d);
/* The hooks of the oldest rotation, unless they run already or its segment is not in the spool yet. */
void rotation_start(struct zns *z);
/* A bundle, written and to be committed or aborted; and the intention that a closed segment must be stored. */
int bundle_begin(struct zdbd *d, const char *ns, const struct zdb_bundle *bundle, struct spool_writer **out);
void segment_intent(struct spool_intent *in, struct zdb_ns *ns, uint32_t closed);

/* spooling.c: segment `closed` goes to the spool. What the bundle needs is taken here; the rest may fail later, see there. */
int spooling_start(struct zns *z, uint32_t closed, const struct zdb_bundle *bundle);
/* Until the one on its way is there, or is owed. */
void spooling_wait(struct zns *z);
/* Those that failed, once more, now. */
int spooling_again(struct zns *z);
void spooling_tick(struct zns *z, uint64_t now_ms);
/* After a crash: the last closed segment may have been on its way. */
void spooling_after_crash(struct zdbd *d, struct zdb_ns *ns);

/* Everything of the namespace that the spool holds is of segments from *below on; 0: it was dropped. Or an error of the spool. */
int spooling_below(struct zdbd *d, struct zdb_ns *ns, uint32_t *below);
/* Segment n is on its way there; or its bundle is there and tells of replaced segments, which one that is made later could not. */
bool spooling_has(struct zdbd *d, struct zdb_ns *ns, uint32_t n);
/* A rotation, when compactions have replaced segments that no bundle has told of. */
void spooling_tell(struct zdbd *d, struct zdb_ns *ns);
/* Segments that could not be spooled, hooks of rotations that could not be started. */
void rotations_retry(struct zdbd *d);

/* ----------------------------------------------------------------------------------------------- server */

struct listener {
	struct loop_io io;
	bool is_unix;
};

struct server_stats {
	uint64_t clients_lifetime, commands, failed, unauthorized, rx_bytes, tx_bytes;
};

struct zdbd {
	struct loop *loop;
	struct zdbd_options opt;
	char *admin; /* copy */
	char instance[300];
	struct zdb *eng;
	struct spool *spool;
	const char *hook_env[4];
	const char **env; /* environment of hooks */
	char *env_own[3];
	struct crash *crash; /* NULL without a hook program */

	struct listener listeners[2];
	size_t listeners_count;
	uint16_t port;
	int spare_fd; /* given up to refuse a client when there is no other descriptor */

	struct list clients, dead, pending, ready, waits, mirrors, namespaces, sync_wanted, missing;
	size_t clients_count, clients_max;
	uint64_t next_client;
	uint8_t *scratch;
	struct payload *payloads; /* spare ones */
	unsigned payloads_count;
	struct buf spares[SPARES_MAX];
	size_t spares_count, spare_bytes;
	uint64_t in_total;
	uint64_t reads_slow_until_ms; /* until then workers read payloads */
	unsigned hot_reads;           /* big payloads of this turn that lie in the page cache */
	struct buf listing;           /* members of a SCAN before their number is known */

	struct loop_post turn;       /* end of a turn */
	struct loop_post run;        /* clients in `ready` */
	struct loop_post stop_asked; /* STOP was answered */
	struct loop_timer tick;      /* 1 s */
	struct loop_timer wait_timer;
	struct loop_timer engine_timer; /* zdb_tick */
	struct worker_pool *sync_pool, *read_pool, *spool_pool;
	struct worker_pool *hot_pool;   /* reads from the page cache; NULL: there is one processor */
	struct worker_pool *write_pool; /* NULL: no flights */
	struct list writers;            /* clients that wait for them, as they began to */
	struct list given_back;         /* buffers that were lent */
	uint64_t flights_begun, flights_landed;
	struct worker_pool *compact_pool; /* NULL until the first one */
	struct compaction *compaction;    /* running, or NULL */
	bool drops_open;                  /* the spool may say `dropping` of a namespace that is gone */

	struct list hooks;  /* running and finished */
	struct list queued; /* hooks that wait for a place */
	unsigned hooks_running, hooks_missing, hooks_queued;

	uint8_t command_slots[128]; /* hash of the name -> row + 1 */
	struct server_stats stats;
	uint32_t instance_id;
	uint64_t boot_wall_s, boot_ms;

	bool serving, stopping;
	enum zdbd_stop_hooks stop_hooks;
	int stop_step;
	struct loop_timer stop_timer;
	void (*stopped)(void *ctx, int code);
	void *stopped_ctx;
	int stop_code;
};

/* Makes turn_end() run in this round. */
void turn_wanted(struct zdbd *d);
/* With fsync always: something gathers that an answer could speak of, so that it leaves at the end of the turn. */
bool turn_writes_first(const struct zdbd *d);
/* Engine's background work. */
void engine_tick(struct zdbd *d);

int listen_open(struct zdbd *d, struct err_text *why);
int listen_start(struct zdbd *d);
void listen_stop(struct zdbd *d);

#endif
