/*
 * zstor.h: what the files of this room share.
 *
 * One process, one volume. The main thread runs the loop (sockets, timers, signals) and never waits for a store or a
 * disk longer than a spool listing. Work is done in lanes that do not wait for each other:
 *	uploads		threads that take owed intentions (owed.h), each with its own back-off
 *	point		one thread: identities, recovery points, merges
 *	retrieve	worker pool: segments that somebody waits for
 *	jobs		worker pool: check, list, evict, restore, blocking stores
 *	health		worker pool: one ping per store every two seconds
 *
 * Locks: `lock` guards everything below it in struct zstor. It is never held across a call to a store. Under it the
 * spool's, the pool's and the allocator's locks may be taken, nothing else. `rows_io` serialises appends to the segment
 * tables, `identity_io` what asks the stores whose they are, `save_io` the writing of `volume`, in this order; `lock` may be
 * taken under each. `changed` is broadcast whenever something changed that a thread may wait for.
 */
#ifndef APPLETS_ZSTOR_ZSTOR_H
#define APPLETS_ZSTOR_ZSTOR_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "applets/zstor/conf.h"
#include "core/base/err.h"
#include "core/base/file.h"
#include "core/base/hmap.h"
#include "core/base/list.h"
#include "core/net/pool.h"
#include "core/object/manifest.h"
#include "core/object/meta.h"
#include "core/object/object.h"
#include "core/spool/spool.h"

#define ZS_WHY 256

/* ------------------------------------------------------------------------------------------------ stores --- */

/* One backend, as the object room sees it (store.c). */
struct zs_store {
	struct obj_store obj;
	struct backend *backend;
	char label[OBJ_LABEL_MAX + 1];
	unsigned group; /* of the configuration; data stores */
	bool is_meta;
	_Atomic uint64_t full_until_ms; /* said that it has no space: not placed on before this moment */
	_Atomic bool was_up;
};

/* ------------------------------------------------------------------------------------------ segment tables --- */

/* What is known of one closed segment of one namespace (rows.c). */
struct zs_row {
	bool known; /* stored: the record exists, and was written or verified by us or named by a bundle */
	uint64_t generation; /* in its name */
	uint32_t size;
	uint8_t content[CONTENT_ID_BYTES];
	uint64_t inode, mtime_ns; /* of the local file when its content id was last computed; 0 = never */
};

/* A bundle that is stored, and that no manifest names yet. */
struct zs_bundle_done {
	struct manifest_bundle bundle;
	uint64_t seq; /* of the spool's intention, removed when a manifest names it */
};

#define ZS_TOO_LARGE_MAX 128u /* so many groups of 32 are in a manifest at most */

struct zs_ns {
	struct list link;
	char name[SPOOL_NS_MAX + 1];
	struct zs_row *rows;
	uint32_t rows_count, rows_cap;
	int rows_fd;                    /* appended under rows_io; -1 = not opened yet */
	struct zs_bundle_done *bundles; /* sorted by first */
	size_t bundles_count, bundles_cap;
	uint8_t too_large[ZS_TOO_LARGE_MAX]
			 [CONTENT_ID_BYTES]; /* merges that were refused (merge.c); a ring */
	unsigned too_large_count;            /* of all that were put there */
	uint32_t
		pinned; /* a recovery point is being made whose cut is in this segment: nothing from here on is evicted */
	bool is_pinned;
};

/* ------------------------------------------------------------------------------------------------- volume --- */

enum vol_state {
	VOL_UNKNOWN,   /* the metadata stores have not said enough yet */
	VOL_NEW,       /* they hold no volume */
	VOL_EMPTY,     /* they do, and this node holds nothing of it: restore */
	VOL_RESTORING, /* a restore is under way, or was cut short */
	VOL_READY,     /* ours: uploads run */
	VOL_FENCED,    /* a newer front end has taken over */
	VOL_REFUSED,   /* wrong key, another volume, rolled-back stores */
};

/* What `<state>/zstor/volume` holds (volume.c). */
struct vol_local {
	bool present;
	bool restoring; /* the files named by the manifest beside it are not all there yet */
	uint8_t volume[16];
	uint64_t generation;
	uint64_t base;     /* generation whose manifest counts while ours has none */
	uint64_t sequence; /* newest that was published */
	uint64_t pending;  /* about to be published when this was written; 0 = none */
	char machine[64];
	uint64_t device, inode; /* of the state directory */
};

struct volume {
	enum vol_state state;
	int code;         /* exit code of a refusal */
	char why[ZS_WHY]; /* sentence for every state that is not READY */
	struct vol_local local;
	struct manifest last; /* newest that was published or restored; generation 0 = none */
	uint64_t last_ms;     /* clock_mono_ms() of its publication; 0 = not in this run */
	uint64_t fenced_by;
};

/* ------------------------------------------------------------------------------------------------- points --- */

struct zs_point_status {
	uint64_t wanted; /* number of the latest request for a point */
	uint64_t done;   /* requests up to this one are answered by a published point */
	uint64_t tried;  /* requests up to this one have had their try */
	bool busy;
	char error[ZS_WHY]; /* why the last try failed; "" = it did not */
	uint64_t failing_since_ms;
};

struct zs_restore_status {
	uint64_t wanted, done; /* requests, and those that are answered */
	bool busy;
	int code; /* of the latest answer */
	char why[ZS_WHY];
	uint64_t objects_done, objects_total, bytes;
	char text[ZS_WHY]; /* what it is doing; "" = nothing */
};

struct work_cache;
struct owed_queue;
struct client;

struct zstor {
	struct zconf conf;
	struct pool *pool;
	struct zs_store *data, *meta;
	unsigned data_count, meta_count;
	struct obj_store **data_list, **meta_list;
	struct obj_stores data_stores;
	struct keyring *keys;
	struct spool *spool; /* NULL in commands without a daemon */
	char spool_dir[FILE_PATH_MAX];
	struct work_cache *works;
	uint64_t bundle_max;     /* bytes above which nothing is merged: BUNDLE_MAX_BYTES; tests take less */
	char dir[FILE_PATH_MAX]; /* `<state>/zstor` */
	int dir_lock;            /* flock: one daemon per state directory */

	pthread_mutex_t rows_io;
	pthread_mutex_t identity_io; /* a take over never meets a look at the identities, nor a publication */
	pthread_mutex_t save_io;     /* nor do two that write `volume` */
	pthread_mutex_t front_lock;  /* guards front */
	struct client *front;        /* connection to the front zdb, NULL = none */

	pthread_mutex_t lock;
	pthread_cond_t changed; /* CLOCK_MONOTONIC */
	struct meta metas;
	uint64_t metas_asked,
		metas_kept; /* readings of the identities: begun, and which of them `metas` is */
	struct volume vol;
	struct list namespaces; /* struct zs_ns */
	struct owed_queue *owed;
	struct zs_point_status point;
	struct zs_restore_status restore;
	uint64_t uploads_done, uploads_failed, uploads_bytes, evicted_files, evicted_bytes;
	unsigned uploads_running;
	bool stopping; /* threads end as soon as they can */
	bool draining; /* back-off is short, garbage waits */
};

/* zstor.c: life of the struct. `need` says what the caller does with it. */
#define ZS_WITH_SPOOL 1u
int zs_open(struct zstor *z, const char *config, unsigned need, struct err_text *err);
void zs_close(struct zstor *z);

/* Waits on `changed` at most `ms`; with `lock` held. */
void zs_wait(struct zstor *z, uint64_t ms);
/* Takes the lock, broadcasts. */
void zs_changed(struct zstor *z);
/* A copy of the metadata set as it is now, for one operation. */
void zs_meta_copy(struct zstor *z, struct meta *out);

/* zstor.c: an unlinked file in our own directory, gone with the process. A descriptor or a negative code. */
int zs_temp_file(struct zstor *z);

/* zstor.c: cached contexts of the object room. NULL: no memory. */
struct obj_work *zs_work_get(struct zstor *z);
/* One that holds no buffers of whole objects: what only looks at records must not keep those from being freed. */
struct obj_work *zs_work_get_small(struct zstor *z);
void zs_work_put(struct zstor *z, struct obj_work *w);
/* Frees what has been idle for a while; `all`: everything idle. */
void zs_work_trim(struct zstor *z, bool all);
/* Running operations end soon. */
void zs_work_cancel_all(struct zstor *z);

/* store.c */
int stores_open(struct zstor *z, struct err_text *err);
void stores_close(struct zstor *z);
/* Contacts one store; learns its type. Logs when it went up or down, and then wakes who waits. */
void store_ping(struct zstor *z, struct zs_store *s);
void stores_ping_all(struct zstor *z); /* for commands without a daemon */
/*
 * Chooses n stores for an object into out[n] (place.h); `avoid` has a bit per data store. 0, or -EAGAIN with a sentence
 * that names the stores that are missing, why, and since when.
 */
int stores_place(struct zstor *z, const uint64_t *avoid, struct obj_store **out, char *why);
/*
 * Whether it is worth waiting for what is owed: an object and its record can be stored now, or a store that is missing for that
 * was there less than `away_ms` ago. False: a sentence that names the missing ones.
 */
bool stores_may_suffice(struct zstor *z, uint64_t away_ms, char *why);
#define STORES_MAX   1024u
#define STORES_WORDS (STORES_MAX / 64u)

/* rows.c: namespaces and their tables. With `lock` held unless said otherwise. */
struct zs_ns *ns_find(struct zstor *z, const char *name);
struct zs_ns *ns_get(struct zstor *z, const char *name); /* makes it; NULL: no memory */
const struct zs_row *ns_row(struct zstor *z, const char *name, uint32_t segment); /* NULL unless known */
int ns_bundle_done(struct zs_ns *ns, const struct manifest_bundle *b, uint64_t seq);
bool ns_has_bundle(const struct zs_ns *ns, uint32_t first, uint32_t last);
/* Without `lock`: remembers a row durably. */
int rows_put(struct zstor *z, const char *name, uint32_t segment, const struct zs_row *row);
struct bundle_row;
/* The same for many, with one flush: rows[i] is of segment of[i].segment. */
int rows_put_many(struct zstor *z, const char *name, const struct bundle_row *of, uint32_t count,
		  const struct zs_row *rows);
/* Without `lock`: forgets what is known of a namespace's segments and bundles. */
int rows_clear(struct zstor *z, const char *name);
/* Start: loads all tables. */
int rows_load(struct zstor *z);
void rows_release(struct zstor *z);

/* volume.c. None with `lock` held. */
int vol_load(struct zstor *z, struct err_text *err);
/* Asks the stores and decides the state. */
void vol_settle(struct zstor *z, struct obj_work *w);
/* Makes a volume on empty stores (`zstor --new init`): exit code, `why` filled. */
int vol_create(struct zstor *z, struct obj_work *w, char *why);
/* New generation on top of `restored`; saves the local state. 0, -EAGAIN, -E_FENCED. */
int vol_take_over(struct zstor *z, struct obj_work *w, uint64_t restored, char *why);
/* The same on top of what was published last, unless the generation is no longer `own` (0: whatever it is), or another front end has taken over. */
int vol_take_next(struct zstor *z, struct obj_work *w, uint64_t own, char *why);
/* Reads the identities: 0 still ours, -E_FENCED (state changed, spool marked, front told), -EAGAIN. */
int vol_check_fence(struct zstor *z, struct obj_work *w, char *why);
/*
 * A metadata store answers. When it did not at the last reading of the identities, they are read again, so that its slot counts from
 * now on and not only from the next recovery point on. True: it has authority now, and had none before.
 */
bool vol_meta_is_back(struct zstor *z, unsigned store);
void vol_set_state(struct zstor *z, enum vol_state state, int code, const char *why);
int vol_save(struct zstor *z); /* local state as it is in vol.local */
int vol_save_manifest(struct zstor *z, const struct manifest *m);
/*
 * Takes a namespace that was deleted or flushed out of the newest manifest as it is remembered here, durably: what has its name from now
 * on must not be compared with what had it before. Its tails and bundles become garbage. No point and no restore is being made.
 */
int vol_forget_ns(struct zstor *z, const char *name);
const char *vol_state_name(enum vol_state s);

/* objects.c: objects by what they are. None with `lock` held. */
enum obj_answer object_find(struct zstor *z, struct obj_work *w, const struct obj_id *id, struct record *rec,
			    struct record_state *st, int *code);
/*
 * Reads an object whose content id is known (a manifest names it) into `fd`, from `start` on; *size: its bytes. 0; -EAGAIN not
 * known now, -ENOENT absent, -E_CORRUPT another content, what reading says. `why` has a sentence when the stores said it.
 */
int object_fetch(struct zstor *z, struct obj_work *w, const struct obj_id *id,
		 const uint8_t content[CONTENT_ID_BYTES], int fd, uint64_t start, uint64_t *size, char *why);
/*
 * Stores an object and its record, unless an equal one is there already. *content gets its content id. Debts and what
 * became garbage go to the spool. 0; -EAGAIN with a sentence (stores missing); other negative codes are the source's.
 */
int object_put(struct zstor *z, struct obj_work *w, const struct obj_id *id, const struct obj_source *source,
	       uint8_t content[CONTENT_ID_BYTES], char *why);
/* The content id of what a source holds. */
int object_hash(const struct obj_source *source, uint8_t content[CONTENT_ID_BYTES]);
/* Owes the deletion of an object once `sequence` + 4 is published. */
int object_discard(struct zstor *z, const struct obj_id *id, uint64_t sequence);
/* Owes the deletion of what `before` names and `after` does not. */
int object_discard_difference(struct zstor *z, const struct manifest *before, const struct manifest *after);
/*
 * The object of a closed segment whose file was replaced: garbage once a recovery point names the bundle that tells of the new one.
 * The three steps: _replaced() when the new one is stored, before its row is; _told() when bundle `bundle` is stored, before it counts;
 * _release() when a manifest is published. What is not known to be told stays.
 */
#define GARBAGE_LATER UINT64_MAX /* as after_sequence: not yet known; last = the bundle, or also this */
int garbage_replaced(struct zstor *z, const char *ns, uint32_t segment, uint64_t generation);
int garbage_told(struct zstor *z, const char *ns, uint32_t segment, uint32_t bundle);
void garbage_release(struct zstor *z, const struct manifest *m);
/* The namespace is dropped: none of its bundles will come. */
int garbage_dropped(struct zstor *z, const char *ns, uint64_t sequence);
/* Whether a row still says that its segment lies there. With `lock` held. */
bool garbage_is_row(struct zstor *z, const char *ns, uint64_t segment, uint64_t generation);
/* Whether the newest manifest names the object, so that it is no garbage (any more). With `lock` held. */
bool garbage_is_named(struct zstor *z, const uint8_t name[OBJ_NAME_BYTES]);
/* Owes the deletion of the shards of a record that nothing names any more. */
int object_discard_record(struct zstor *z, const struct record *rec, uint64_t sequence);
/* Owes pieces to the slots that lack them. */
int object_owe_pieces(struct zstor *z, const struct obj_id *id, const struct record_state *st);

/* front.c: the front zdb. None with `lock` held. */
struct front_cut {
	char name[SPOOL_NS_MAX + 1];
	uint8_t mode;
	uint32_t segment, offset;
	uint8_t *descriptor;
	uint16_t descriptor_len;
};
struct front_cuts {
	struct front_cut *list;
	size_t count;
};
/* One instant of all namespaces, synced. -ENOTCONN and the like: the server is not there. */
int front_cut(struct zstor *z, struct front_cuts *out, char *why);
/* The same of a server that has stopped cleanly, from its marks. -EBUSY: it has not. */
int front_cut_stopped(struct zstor *z, struct front_cuts *out, char *why);
void front_cuts_release(struct front_cuts *c);
/* Asks for the unlinking of a segment whose content the stores hold. */
int front_evict(struct zstor *z, const char *ns, uint32_t segment, const uint8_t content[CONTENT_ID_BYTES],
		char *why);
/* Asks for the intentions of a closed segment once more: its bundle can only be had from the server's index. */
int front_spool(struct zstor *z, const char *ns, uint32_t segment, char *why);
/* Says that a recovery point names every segment below `below`: these may be compacted. */
int front_stored(struct zstor *z, const char *ns, uint32_t below, char *why);
/* Makes all namespaces read-only: this front end is fenced. */
void front_lock_all(struct zstor *z);

/* upload.c */
int uploads_start(struct zstor *z);
void uploads_stop(struct zstor *z);
/* Stores one closed segment now, in the calling thread (blocking `store`). */
int upload_segment(struct zstor *z, struct obj_work *w, const char *ns, uint32_t segment, const char *path,
		   char *why);
/* The generation of this front end. Takes the lock. */
uint64_t zs_generation(struct zstor *z);

/* keep.c: the thread that keeps the volume */
int point_start(struct zstor *z);
void point_stop(struct zstor *z);
/* Asks for a recovery point; returns the number to wait for. With `lock` held. */
uint64_t point_request(struct zstor *z);

/*
 * merge.c: merges due bundles of every namespace of `m`; what they replace is appended to `old`, what was stored to `made`. Those that would
 * pass z->bundle_max stay as they are, which is no error. A namespace whose bundles cannot be read or stored now does not keep the
 * others from theirs; the first such error is returned.
 */
struct obj_id_list {
	struct obj_id *ids;
	size_t count, cap;
};
int id_list_add(struct obj_id_list *l, const struct obj_id *id);
int merge_due_bundles(struct zstor *z, struct obj_work *w, struct manifest *m, struct obj_id_list *old,
		      struct obj_id_list *made, char *why);

/* restore.c: what the hook asks for, in the point thread. Exit code; `why` filled. */
int restore_run(struct zstor *z, char *why);
/* Whether zdb may open the state as it is: exit code, without doing anything. With `lock` held. */
int restore_answer(struct zstor *z, char *why);

/* retrieve.c. Exit codes. */
int retrieve_path(struct zstor *z, const char *path, char *why);
/*
 * retrieve_index.c: i<number> of a namespace, as it was before the first segment C whose bundle there is not, into `path`.before<C>; nothing when
 * `path` is there. 0; -ENOENT no bundle holds it; -EAGAIN not known now; -E_CORRUPT, -EIO, ...
 */
int retrieve_index(struct zstor *z, struct obj_work *w, const char *ns, uint32_t number, const char *path,
		   char *why);
int check_path(struct zstor *z, const char *path, uint8_t content[CONTENT_ID_BYTES], bool *stored, char *why);
/* Path -> namespace and number of a data file below the data root; false otherwise. */
bool path_is_segment(struct zstor *z, const char *path, char *ns, uint32_t *segment);
/* Below the data or index root of the volume, but not a segment: index files, descriptors. */
bool path_is_volume(struct zstor *z, const char *path);
int segment_path(struct zstor *z, char *dst, size_t size, const char *ns, uint32_t segment);
/* The id under which a file outside the namespaces is stored. */
int file_object_id(struct obj_id *id, const char *path, char *why);

/* evict.c: until the data directory is below `target_bytes`. Exit code. */
struct evict_result {
	uint64_t files, bytes, kept; /* kept: could not be proved safe */
	char why[ZS_WHY];            /* the first reason for keeping one */
};
int evict_run(struct zstor *z, uint64_t target_bytes, struct evict_result *res);

/* scan.c: owes what lies here closed and is not stored. Returns how many were added, or a negative code. */
int scan_run(struct zstor *z);

/* list.c */
typedef int (*list_fn)(void *ctx, const struct record *rec);
int list_run(struct zstor *z, list_fn fn, void *ctx, char *why);

#endif
