/*
 * fs_int: the inside of fs.h. Only files of this room named fs_*.c include it.
 *
 * Threads and locks, outermost first:
 *
 *	inode->lock	one per inode; several only in the order of inode numbers (fs_lock_many). Guards attributes, the
 *			block list, the cached blocks of a file, the lists of a directory. May be held while waiting for
 *			the store: whoever needs that inode waits, nobody else.
 *	the gate	fs_gate_enter/leave: entered by every change, after everything it needs is in memory. Nobody waits
 *			for the store inside. The commit thread closes the gate (fs_gate_close/open) for the moments in
 *			which it takes its snapshot and puts results back: then nothing changes, and it needs no inode lock.
 *	fs->lock	innermost; guards tables, lists, counters, pins. Held for a few instructions.
 *
 * A change marks what it touched as dirty (inode, list, block) and notes changed names; all that is dirty when the gate
 * closes is one batch, stored by fs_commit.c under the six rules.
 */
#ifndef ZDBFS_FS_INT_H
#define ZDBFS_FS_INT_H

#include <pthread.h>
#include <stdatomic.h>

#include "applets/zdbfs/fmt.h"
#include "applets/zdbfs/fs.h"
#include "core/base/buf.h"
#include "core/base/hmap.h"
#include "core/base/list.h"
#include "core/base/log.h"

/* Bytes of a block, shared between the cache, readers that answer from it and the batch that stores it. Whoever wants to
 * change shared bytes copies them first. */
struct fs_bytes {
	atomic_int refs;
	uint32_t cap;
	uint8_t data[];
};

#define FS_RANGES       8
#define FS_TRAILER_BASE 96u /* bytes of a trailer without attributes, at most */

struct fs_block {
	struct hmap_node node;  /* fs->blocks */
	struct list in_inode;   /* inode->blocks */
	struct list lru;        /* fs->blocks_clean or fs->blocks_dirty; under fs->lock */
	struct fs_inode *inode; /* NULL: dropped while in flight or being fetched; the last user frees it */
	uint32_t slot;
	uint32_t len;             /* bytes in `bytes`; the rest of the block is zero */
	struct fs_bytes *bytes;   /* NULL: nothing yet */
	atomic_bool is_dirty;     /* under the gate, or with it closed */
	atomic_bool is_in_flight; /* part of the batch that is being stored */
	/* The base in the store is on its way (is_fetching, under fs->lock) or has come and is not merged yet (base_done).
	 * Until it is merged, only ranges[] of `bytes` are valid. */
	atomic_bool needs_base; /* cleared last, when the bytes are whole */
	bool is_fetching;
	bool is_over; /* the stored block holds bytes behind the end of the file: growth must store it anew */
	int base_err;
	uint32_t base_limit; /* bytes of the base that are inside the file */
	unsigned range_count;
	struct {
		uint32_t from, to;
	} ranges[FS_RANGES];
	struct kv_req req;
	struct fs *fs;
	int wb_err; /* the last attempt to store it failed */
};

/* One list of a directory: names in order, in an arena of entries in their stored form. */
struct fs_dlist {
	uint64_t key;
	uint32_t *off; /* offsets into arena, in the order of names */
	uint32_t count, cap;
	uint8_t *arena;
	uint32_t used, size, dead; /* bytes; dead = of removed entries */
	bool is_dirty, is_new;     /* is_new: no stored directory points to it yet */
	bool in_batch;
};

struct fs_dir {
	uint64_t keys[FMT_SLOTS];          /* FMT_NO_LIST: none */
	struct fs_dlist *lists[FMT_SLOTS]; /* NULL: not in memory */
};

struct fs_inode {
	struct hmap_node node; /* fs->inodes */
	struct list lru;       /* fs->inodes_lru while pins is 0 */
	struct list dirty;     /* fs->dirty_inodes */
	uint64_t ino;
	unsigned pins; /* under fs->lock */
	atomic_bool is_loaded;
	bool in_batch;      /* its record, as of some moment, is being stored */
	bool is_dirty;      /* the record must be written */
	bool is_new;        /* no record of it is stored yet */
	size_t batch_index; /* where the batch that is being made has it */
	bool is_orphan;     /* no names left */
	bool is_gone;       /* freed: only the memory is left */
	bool is_dying;      /* out of the table; under fs->lock */
	bool give_back;     /* nothing was ever stored under its number: it may be used again */
	pthread_mutex_t lock;

	uint32_t mode, dev, uid, gid, links;
	uint64_t size;
	struct timespec atime, mtime, ctime, btime;
	uint8_t *xattr;
	size_t xattr_len;

	uint32_t disk_links; /* as stored */
	uint64_t disk_size;
	bool zero_stored; /* stored with links 0 */

	/* regular files */
	uint32_t *map; /* little-endian as stored */
	uint32_t map_count, map_cap;
	struct list blocks; /* struct fs_block.in_inode */
	unsigned block_count;
	int wb_err;         /* error of a write-back, reported once */
	uint64_t next_read; /* where a sequential reader would go on */
	/* directories */
	struct fs_dir *dir;
	uint64_t parent; /* of a directory, as far as it was seen; 0 = not known */
	/* symbolic links */
	char *target;
};

/* What the kernel, or a test, holds of an inode. */
struct fs_known {
	struct hmap_node node;
	uint64_t ino, lookups, opens;
};

/* A name whose inode differs from what is stored. */
struct fs_change {
	struct hmap_node node;
	struct list link;
	uint64_t dir;
	uint64_t old_ino, new_ino; /* 0 = no such name; old = stored, new = now */
	uint16_t len;
	char name[];
};

struct fs_changes {
	struct hmap map;
	struct list list;
	size_t count, bytes; /* bytes: what they may take in J */
};

/* Things to be deleted once the batch that unreferences them is durable. */
struct fs_ids {
	uint64_t *v;
	size_t count, cap;
};
struct fs_frees {
	struct fs_ids loose;  /* data ids that a living file gave up */
	struct fs_ids owners; /* these files */
	struct fs_ids data;   /* data ids of inodes that are gone */
	struct fs_ids meta;   /* their lists, then their records */
	struct fs_ids inodes; /* records of inodes that are gone: named in J until deleted */
};

/*
 * Ids for new inodes and lists, inserted as placeholders beforehand, in rising order. An id leaves the front when it and
 * all before it are settled: stored with their real contents, or deleted. So the front is the lowest id that a crash
 * could leave without an owner.
 */
struct fs_pool {
	pthread_mutex_t lock;    /* guards the struct; innermost */
	pthread_mutex_t filling; /* held by the one who inserts more; outermost, never inside the gate */
	struct fs_pool_id {
		uint64_t id;
		uint8_t state; /* enum in fs_pool.c */
	} * v;
	size_t head, count, cap;
	_Atomic size_t free; /* ids that may be taken */
	size_t step;         /* how many the next filling inserts */
	bool is_filling;
	uint64_t fill_floor; /* no id of the filling under way is below */
};

struct fs {
	struct kv *kv;
	struct fs_options opt;
	bool is_read_only;
	bool is_created; /* this mount made the volume */

	pthread_mutex_t lock;
	struct hmap inodes, blocks, known;
	struct list inodes_lru, dirty_inodes;
	struct list blocks_clean, blocks_dirty;
	size_t inode_count, dirty_count;
	size_t block_count, block_bytes, dirty_bytes;
	pthread_cond_t fetched; /* a base has come */
	uint64_t fetch_count;   /* bases that have come, so that nobody misses one */
	size_t fetching;        /* on their way */
	struct fs_changes changes;
	struct list spare_changes; /* so that noting one cannot fail */
	size_t spare_count;
	struct fs_frees frees; /* of the running batch */
	struct fs_frees ready; /* may be deleted now; the commit thread's own */
	struct fs_ids orphans; /* inodes without a name that are open */

	struct fs_pool pool;
	_Atomic uint64_t meta_seen, data_seen; /* one above the highest id that was ever answered */

	/* the gate */
	pthread_mutex_t gate_lock;
	pthread_cond_t gate_cond;
	unsigned gate_inside;
	bool gate_closed;

	/* committing */
	pthread_t thread;
	bool has_thread, is_stopping, is_aborting;
	pthread_mutex_t commit_lock; /* one batch at a time */
	pthread_mutex_t seq_lock;    /* guards the rest of this block */
	pthread_cond_t seq_work, seq_done;
	uint64_t seq_wanted; /* a batch that begins after this was asked for */
	uint64_t seq_begun, seq_done_ok;
	uint64_t seq_tried;     /* batches that have ended, well or not */
	int seq_err;            /* of the last that ended */
	struct fs_batch *stuck; /* its meta phase must end before another batch begins */
	uint64_t batch_number, mount_number;
	uint64_t journal_key;
	pthread_mutex_t open_lock; /* the first change; may be held while waiting for the store */
	bool is_marked;
	uint16_t stored_flags;
	uint64_t header_size;
	uint64_t sets_since_info;

	/* cached answers of the store */
	struct kv_info info[KV_ROLES];
	uint64_t info_ms;

	_Atomic uint64_t n_hit, n_miss, n_batches, n_seq_flush, last_sync_ms;
	_Atomic int last_error;
};

/* ---- fs_cache.c: gate, pins, inodes ---- */
void fs_gate_enter(struct fs *fs);
void fs_gate_leave(struct fs *fs);
void fs_gate_close(struct fs *fs);
void fs_gate_open(struct fs *fs);

/* Pins an inode, read from the store if need be. -ENOENT when the store says that there is none. */
int fs_get(struct fs *fs, uint64_t ino, struct fs_inode **out);
/* Gives an inode that is not in memory its record, read by somebody else. Whatever goes wrong: nothing happens. */
void fs_preload(struct fs *fs, uint64_t ino, const void *data, size_t len);
/* A new inode in memory, pinned; its number comes from the pool. */
int fs_new(struct fs *fs, uint64_t ino, struct fs_inode **out);
/* The cached inode, pinned, or NULL. */
struct fs_inode *fs_peek(struct fs *fs, uint64_t ino);
void fs_put(struct fs *fs, struct fs_inode *i);
/* Locks up to 8 distinct inodes (NULLs and repetitions are skipped) in the order of their numbers. */
void fs_lock_many(struct fs_inode **v, size_t n);
void fs_unlock_many(struct fs_inode **v, size_t n);
void fs_mark_dirty(struct fs *fs, struct fs_inode *i);
void fs_inode_free(struct fs_inode *i);
/* Attributes to a record's form; borrows from the inode. */
void fs_inode_to_fmt(const struct fs_inode *i, struct fmt_inode *f);
int fs_inode_from_record(struct fs_inode *i, const void *data, size_t len);
void fs_attr_fill(const struct fs_inode *i, struct fs_attr *attr);
void fs_now(struct timespec *t);

/* References of the outside. add: changes by the signed amounts; returns whether none are left. */
void fs_known_add(struct fs *fs, uint64_t ino, int64_t lookups, int64_t opens);
/* Frees an orphan that nobody holds any more. */
void fs_orphan_check(struct fs *fs, uint64_t ino);
/* The last name is gone: from now on, to its end or a new name, the inode stays in memory. Inside the gate, inode locked. */
void fs_orphan_make(struct fs *fs, struct fs_inode *i);
void fs_orphan_unmake(struct fs *fs, struct fs_inode *i);

int fs_ids_add(struct fs_ids *ids, uint64_t id);
void fs_ids_release(struct fs_ids *ids);

/* ---- fs_pool.c: ids ---- */
void fs_pool_init(struct fs_pool *p);
void fs_pool_release(struct fs_pool *p);
/* Takes an id; outside the gate: it may have to wait for the store. */
int fs_pool_take(struct fs *fs, uint64_t *id);
/* An id that was taken is not used, or its record was deleted or never stored. */
void fs_pool_give_back(struct fs *fs, uint64_t id);
/* The id's record is stored and referenced, or deleted. Ids that are not the pool's are ignored. */
void fs_pool_settle(struct fs *fs, uint64_t id);
/* The lowest id that a crash now could leave without an owner. */
uint64_t fs_pool_floor(struct fs *fs);
bool fs_pool_is_low(struct fs *fs);
int fs_pool_fill(struct fs *fs);
/* Deletes the placeholders that nobody took. */
int fs_pool_drain(struct fs *fs);

/* ---- fs_block.c: contents ---- */
void fs_bytes_put(struct fs_bytes *b);
/* The cached block or NULL. Inode locked, or gate closed. */
struct fs_block *fs_block_find(struct fs *fs, struct fs_inode *i, uint32_t slot);
/* Merges a base that has come. Inode locked or gate closed. 0, -EAGAIN while it is on its way, or the fetch's error. */
int fs_block_settle(struct fs *fs, struct fs_block *b);
/* Begins to read the slot's block if it is stored and not here; *out may become NULL (a hole). Inode locked. */
int fs_block_want(struct fs *fs, struct fs_inode *i, uint32_t slot, struct fs_block **out);
/* The slot's block with all its bytes, or NULL for a hole. Inode locked; the lock is given up while waiting, then
 * *waited becomes true and everything seen before may have changed. */
int fs_block_get(struct fs *fs, struct fs_inode *i, uint32_t slot, struct fs_block **out, bool *waited);
/* Puts bytes into the block (made if need be). Inside the gate, inode locked. */
int fs_block_put(struct fs *fs, struct fs_inode *i, uint32_t slot, uint32_t from, const void *data,
		 uint32_t len);
bool fs_block_has_room(const struct fs_block *b, uint32_t from, uint32_t to);
void fs_block_dirty(struct fs *fs, struct fs_block *b);
void fs_block_drop(struct fs *fs, struct fs_block *b);
/* A block that was dropped while in flight, at the end of its batch. */
void fs_block_free_dropped(struct fs *fs, struct fs_block *b);
void fs_blocks_drop_all(struct fs *fs, struct fs_inode *i);
/* Tries again to get a base that could not be read. Inode locked or gate closed. */
void fs_block_refetch(struct fs *fs, struct fs_block *b);
/* Frees clean blocks beyond the bound; `held` is an inode whose lock the caller has. */
void fs_blocks_trim(struct fs *fs, struct fs_inode *held);
uint32_t fs_map_get(const struct fs_inode *i, uint32_t slot);
void fs_map_set(struct fs_inode *i, uint32_t slot, uint32_t id);
int fs_map_grow(struct fs_inode *i, uint32_t count);
/* A stored block that its file does not refer to any more. */
int fs_loose_add(struct fs *fs, uint64_t owner, uint64_t id);
/* The slot becomes a hole. Inside the gate, inode locked. */
int fs_slot_clear(struct fs *fs, struct fs_inode *i, uint32_t slot);
/* Frees what lies behind `size` bytes. Inside the gate, inode locked. */
int fs_file_cut(struct fs *fs, struct fs_inode *i, uint64_t size);

/* ---- fs_op_file.c ---- */
/* Inode locked; reads the block at the end if need be (then *waited), enters the gate. */
int fs_file_resize(struct fs *fs, struct fs_inode *i, uint64_t size);

/* ---- fs_space.c ---- */
/* Waits while too much is dirty. Holds no lock. 0 or why nothing can be stored. */
int fs_throttle(struct fs *fs);
/* -ENOSPC when `more` bytes would not fit. */
int fs_space_check(struct fs *fs, uint64_t more);
/* Asks the store; called by the commit thread, and at the start. */
int fs_space_refresh(struct fs *fs);

/* ---- fs_dirs.c: lists ---- */
struct fs_dir *fs_dir_new(void);
void fs_dir_free(struct fs_dir *d);
/* Loads the list of a slot; directory locked. 0 also when there is none. */
int fs_dir_load(struct fs *fs, struct fs_inode *dir, unsigned slot);
int fs_dir_load_all(struct fs *fs, struct fs_inode *dir);
/* List must be loaded. Returns the inode number or 0. */
uint64_t fs_dir_find(const struct fs_inode *dir, const char *name, size_t len);
/* Makes sure that a later fs_dir_set() of this name cannot fail; outside the gate. */
int fs_dir_prepare(struct fs *fs, struct fs_inode *dir, const char *name, size_t len);
/* Sets (ino != 0) or removes the name; inside the gate; prepared. Keeps size and times of the directory. Does not note a
 * change of "." and "..". */
void fs_dir_set(struct fs *fs, struct fs_inode *dir, const char *name, size_t len, uint64_t ino);
bool fs_dir_is_empty(const struct fs_inode *dir); /* all loaded */
int fs_dlist_decode(struct fs_dlist *l, const void *data, size_t len);
int fs_dlist_encode(const struct fs_dlist *l, struct buf *out);
struct fmt_entry fs_dlist_at(const struct fs_dlist *l, uint32_t index);
uint32_t fs_dlist_search(const struct fs_dlist *l, const char *name, size_t len, bool *found);
void fs_dlist_free(struct fs_dlist *l);
/* Adds a name to a list that stands alone. */
int fs_dlist_add(struct fs_dlist *l, const char *name, size_t len, uint64_t ino);
void fs_dlist_remove(struct fs_dlist *l, uint32_t at);
struct fs_change *fs_change_find(struct fs_changes *c, uint64_t dir, const char *name, size_t len);
void fs_change_insert(struct fs_changes *c, struct fs_change *ch);
/* Inside prepare; makes spare records. */
int fs_changes_reserve(struct fs *fs);
void fs_changes_init(struct fs_changes *c);
void fs_changes_release(struct fs_changes *c);

/* ---- fs_commit.c, fs_batch.c, fs_intent.c ---- */
/* One inode's names in a batch: what it loses and gains against what is stored. */
struct fs_net {
	struct hmap_node node;
	uint64_t ino;
	bool is_dir, is_new, is_alive;
	bool is_target; /* a new directory that a name moves into, at any depth */
	uint32_t links; /* when all is done; directories: 1, or 0 when removed */
	struct fs_change **lost, **gained;
	uint32_t lost_count, gained_count, lost_cap, gained_cap;
	/* Lost and gained names of one number are a pair, a move: first those within one list, which change there at once, then `moves`. */
	uint32_t moves; /* names that go from one list to another */
};

struct fs_batch_block {
	struct fs_block *block;
	struct fs_inode *inode; /* pinned */
	uint32_t slot, len, id; /* id 0: inserted by this batch */
	struct fs_bytes *bytes;
	struct kv_req req;
	int err;
	bool is_stored;
};

struct fs_batch_inode {
	struct fs_inode *inode; /* pinned */
	struct buf rec;         /* the record as of the snapshot; map, size and links are patched */
	struct fs_net *net;     /* NULL: no name changed */
	uint32_t links, disk_links;
	uint64_t size;
	size_t first_list, list_count; /* directories: in fs_batch.lists */
	bool is_new, is_dir, is_orphan, is_file;
	bool is_held; /* something of it could not be stored: it stays dirty */
};

struct fs_batch_list {
	struct fs_inode *dir; /* pinned by its fs_batch_inode */
	unsigned slot;
	uint64_t key;
	struct buf final;
	struct buf merged; /* with the names that move out, when others move in */
	bool is_new, dir_is_new, gains, moves_out;
};

/* Attribute of the record that owns blocks until they are deleted: u64 numbers of the files that gave them up. */
#define FS_OWNERS "trusted.qsfs.owners"

struct fs_batch {
	struct fs_batch_block *blocks;
	struct fs_batch_inode *inodes;
	struct fs_batch_list *lists;
	size_t block_count, block_cap, inode_count, inode_cap, list_count, list_cap;
	struct fs_changes changes;
	struct hmap nets;
	struct fs_frees frees;
	struct fs_ids orphans;
	struct buf journal, holder;
	struct buf *raised; /* second copies of records that are written twice, with raised links */
	size_t raised_count;
	uint64_t holder_id; /* a record without links that owns the loose ids until they are deleted */
	uint64_t next_meta, next_data;
	uint64_t seq; /* covers what was accepted before this number was begun */
	bool in_meta_phase;
	int block_err;
};

/* fs_intent.c: the net effect of the changes, and the intents that J needs for it. */
int fs_nets_build(struct fs *fs, struct fs_batch *b);
void fs_nets_release(struct fs_batch *b);
struct fs_net *fs_net_find(const struct fs_batch *b, uint64_t ino);
/* Whether the name that `c` takes from its inode may live on in another list. */
bool fs_net_moves_out(const struct fs_batch *b, const struct fs_change *c);
int fs_intents_write(const struct fs_batch *b, struct buf *out, uint32_t *count);

/* fs_batch.c: the snapshot and its end. Gate closed in take, settle and give_back. */
int fs_batch_take(struct fs *fs, struct fs_batch *b);
void fs_batch_assign(struct fs *fs, struct fs_batch *b);
void fs_batch_settle(struct fs *fs, struct fs_batch *b);
void fs_batch_give_back(struct fs *fs, struct fs_batch *b);
void fs_batch_release(struct fs *fs, struct fs_batch *b);

/* fs_commit.c */
int fs_commit_wait(struct fs *fs); /* everything accepted before is durable */
void *fs_commit_thread(void *fs);
int fs_commit_once(struct fs *fs);
/* fs_commit_meta.c: the meta phase of a batch, repeated while the server restarts under it. */
int fs_commit_meta(struct fs *fs, struct fs_batch *b);
/* fs_frees.c */
int fs_frees_merge(struct fs_frees *to, struct fs_frees *from);
void fs_frees_release(struct fs_frees *f);
bool fs_frees_is_empty(const struct fs_frees *f);
/* Deletes what is ready: blocks; lists and inodes. What is not there is gone already. */
int fs_frees_delete_data(struct fs *fs);
int fs_frees_delete_meta(struct fs *fs);
/* fs_journal.c: J of a batch, and what keeps its loose blocks from leaking, into the batch */
int fs_journal_write(struct fs *fs, struct fs_batch *b);
int fs_holder_write(struct fs *fs, struct fs_batch *b);
int fs_header_store(struct fs *fs, uint16_t flags);
/* Before the first change of a mount: J is there and says nothing, the header says that it may be live. */
int fs_mark_open(struct fs *fs);
/* The opposite, when everything is stored and deleted. */
int fs_mark_closed(struct fs *fs);

/* ---- fs_redo.c ---- */
struct fs_redo_result {
	uint64_t intents, dropped, links, orphans, swept_meta, swept_data;
};
/* Brings the volume to a consistent state after a crash, in the store, before anything is in memory. */
int fs_redo(struct fs *fs, const struct fmt_header *h, struct fs_redo_result *result, struct err_text *err);

/* ---- fs_sweep.c ---- */
/* Deletes live records from these ids on that nothing refers to; puts sizes and link counts of directories right, of all
 * if the tree has to be walked, of `dirs` in any case. */
int fs_sweep(struct kv *kv, uint64_t from_meta, uint64_t from_data, uint64_t journal_key,
	     const struct fs_ids *dirs, uint64_t *meta, uint64_t *data);

#endif
