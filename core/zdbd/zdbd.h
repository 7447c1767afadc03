/*
 * zdbd: what serves a store engine. RESP over TCP and unix sockets, hook programs, the spool.
 *
 * One `struct zdbd` owns one engine and is driven by one event loop; all functions are called from the loop's thread. Worker
 * threads (its own) run fdatasync, big reads and the hashing of segments. The applet `zdb` is nothing but options around this;
 * another program that holds an engine may do the same on its own loop.
 *
 * Life: zdbd_new -> zdbd_open (restore hook, engine) -> zdbd_listen -> zdbd_ready (hook) -> zdbd_serve -> loop runs -> zdbd_stop
 * (clean, asynchronous, calls `stopped`) -> zdbd_free. Every step that fails leaves one sentence in `why`.
 *
 * Promises beyond the engine's: a reply to a write leaves only after the write is in the log (and, with ZDBD_FSYNC_ALWAYS
 * or where a kill could take it back, durable);
 * replies keep the order of their requests; nothing here is unbounded (clients, request and reply bytes, hooks running and queued);
 * a segment that closed is in the spool, when there is one, before the next record is taken.
 */
#ifndef CORE_ZDBD_ZDBD_H
#define CORE_ZDBD_ZDBD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/err.h"
#include "core/base/loop.h"
#include "core/zdb/zdb.h"

enum zdbd_fsync {
	ZDBD_FSYNC_NO,       /* only when asked: SYNC, rotation, clean stop, and before rewrites in place */
	ZDBD_FSYNC_EVERYSEC, /* `fsync_interval_ms` after a write at the latest */
	ZDBD_FSYNC_ALWAYS,   /* before a write is answered */
};

struct zdbd_options {
	const char *data_root, *index_root; /* as given: hook programs see them so */
	enum zdb_mode mode;
	uint32_t datasize; /* 0 = the engine's default */

	const char *listen;      /* TCP address; NULL = none */
	uint16_t port;           /* 0 = the kernel chooses, see zdbd_port() */
	const char *socket_path; /* unix socket; NULL = none */

	const char *admin; /* admin password; NULL = everybody is admin. Copied and wiped by zdbd_free() */
	bool protect;      /* `default` is public read-only without the admin password */
	uint64_t maxsize;  /* limit of `default`, in memory only; 0 = none */

	enum zdbd_fsync fsync;
	uint64_t fsync_interval_ms; /* 0 = 1000 */
	uint64_t rotate_ms;         /* rotation by age; 0 = off */

	const char *hook;          /* hook program; NULL = none */
	uint64_t hook_limit_ms;    /* for hooks that nobody waits for, and jump-index; 0 = 600 s */
	uint64_t missing_limit_ms; /* for missing-data; 0 = 60 s */
	uint64_t init_limit_ms;    /* for namespaces-init; 0 = none */
	uint64_t hook_grace_ms;    /* how long a stop waits for hooks; 0 = 10 s */

	const char *spool_dir;    /* directory of durable intentions; NULL = none */
	const char *const *temps; /* namespaces beside "*-temp" that are never stored */
	size_t temps_count;

	uint64_t map_max; /* bytes of data files mapped for reading; 0 = as many as the machine has memory */
	unsigned clients_max; /* 0 = as many as the descriptors allow */
	/* STOP was answered (unix socket, our own user or root): the owner should call zdbd_stop(). NULL: STOP is refused */
	void (*stop_wanted)(void *ctx);
	void *stop_ctx;
	bool prefix_commands; /* any prefix of a command name selects it, as the original does */
};

struct zdbd;

/* Options are copied, the strings in them borrowed for its life (except `admin`). NULL: out of memory. */
struct zdbd *zdbd_new(struct loop *loop, const struct zdbd_options *options);

/* Runs the hook `namespaces-init` to its end (a stop signal that the loop has registered ends it: -EINTR), then opens the engine.
 * -E_LOCKED another instance holds the directories; -ECANCELED that hook failed where it must not. */
int zdbd_open(struct zdbd *d, struct err_text *why);

/* Binds the sockets. -EADDRINUSE, -EACCES, ... */
int zdbd_listen(struct zdbd *d, struct err_text *why);

/* Runs the hook `ready`, waits for it. -ECANCELED when it fails, -EINTR as above. Clients may connect already: they wait. */
int zdbd_ready(struct zdbd *d, struct err_text *why);

/* Starts worker threads and takes clients. */
int zdbd_serve(struct zdbd *d, struct err_text *why);

/* Which hooks a stop runs, once there is an engine. */
enum zdbd_stop_hooks {
	ZDBD_STOP_ASKED, /* `close`, and `namespace-closing` of each namespace: somebody wants it to end */
	ZDBD_STOP_OVER, /* `namespace-closing` only: it ends by itself, after a dump, or as the hook `ready` failed */
	ZDBD_STOP_FAILED, /* none: the start failed */
};

/*
 * Clean stop: no new clients, hook `close` (waited for), engine closed with everything durable, one `namespace-closing` for each
 * namespace, hooks that are still running waited for within the grace; then calls stopped(ctx, code), 0 or the error of closing the engine.
 * A second call does nothing.
 */
void zdbd_stop(struct zdbd *d, void (*stopped)(void *ctx, int code), void *ctx);
/* The same, waiting, with these hooks: for stages before the loop runs, from zdbd_new() on. Returns the code. */
int zdbd_stop_now(struct zdbd *d, enum zdbd_stop_hooks hooks);

/* Whether a stop was asked for. */
bool zdbd_stopped(const struct zdbd *d);

/*
 * From the handler of a fatal signal (async-signal-safe): starts the hook `crash`, then `namespace-closing` of each namespace, waits for
 * none, and syncs the active files as they are. Nothing is marked clean. NULL, or no hook program: does nothing. The caller
 * ends the process, and makes sure that a fault in here does.
 */
void zdbd_crash(struct zdbd *d);

/* Frees everything. An engine that is still open is abandoned, as a crash would. */
void zdbd_free(struct zdbd *d);

/* The engine; NULL before zdbd_open(). */
struct zdb *zdbd_engine(struct zdbd *d);
/* TCP port in use, 0 = none. */
uint16_t zdbd_port(const struct zdbd *d);
/* "unix://<socket>" or "tcp://<listen>:<port>": what hooks get as instance id. */
const char *zdbd_instance(const struct zdbd *d);

#endif
