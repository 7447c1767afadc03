/*
 * object: immutable runs of bytes on n stores: write, read whole, read a range, check, repair, delete
 *(format, section 5).
 *
 * Writing streams: each stripe is read once, hashed, compressed where it gains, sealed, cut in n fragments;
 *each shard fills one value while its lane sends the one before, so that an object of any size takes W (2B +
 *17 + Z) + 2 n C bytes (W = 1 here: parallelism comes from several works). Heads go last: a shard without
 *head is garbage. Each write draws a new object id and key, a retry too. Nothing is visible before the caller
 *has stored the record (record.h).
 *
 * Reading takes any k good shards, data and fast stores first, and asks one more when a store is slow. Right
 *bytes or an error, never wrong bytes, zeros, or a short file.
 */
#ifndef CORE_OBJECT_OBJECT_H
#define CORE_OBJECT_OBJECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/object/answer.h"
#include "core/object/record.h"
#include "core/object/store.h"
#include "core/object/work.h"

/* Where plaintext comes from: exactly `len` bytes at `offset` into buf, 0 or a negative errno. Calling thread
 * only. */
struct obj_source {
	int (*read)(void *ctx, uint64_t offset, void *buf, size_t len);
	void *ctx;
	uint64_t size;
};

/* A file's bytes [start, start + size): `ctx` holds the descriptor and must outlive the source. -EIO when it
 * is shorter. */
struct obj_file_range {
	int fd;
	uint64_t start;
	bool data_header; /* bytes 16...23 of the file read as 0 (0-db's `opened` field of d<N>, section 7) */
};
/* Has `size` bytes. */
struct obj_source obj_source_file(struct obj_file_range *range, uint64_t size);
/* `data` must outlive the source. */
struct obj_source obj_source_memory(const void *data, size_t size);

/* Where plaintext goes: in order, without gaps. 0 or a negative errno. Calling thread only. */
struct obj_sink {
	int (*write)(void *ctx, uint64_t offset, const void *data, size_t len);
	void *ctx;
};
/* Writes to fd at `start` + offset; `ctx` as above. */
struct obj_sink obj_sink_file(struct obj_file_range *range);
/* Appends to a struct buf. */
struct buf;
struct obj_sink obj_sink_buf(struct buf *out);

struct obj_geometry {
	unsigned k, n;
	unsigned stripe_log2; /* 16...20; 0 = 20 */
	unsigned value_log2;  /* 16...21; 0 = the largest that keeps below the work's memory */
	unsigned aead;        /* enum aead_id; 0 = aead_preferred() */
	unsigned min_shards;  /* write succeeds with so many whole shards; k...n; 0 = n */
};

/*
 * Fills in the zeros of *g for objects in `memory_max` bytes (section 5, Memory). -EINVAL: impossible
 * geometry; -ENOMEM: no value size fits; object_memory must grow or n shrink.
 */
int obj_geometry_plan(struct obj_geometry *g, size_t memory_max);

/* Bytes that one object in flight takes with this (planned) geometry. */
size_t obj_geometry_memory(const struct obj_geometry *g);

/* What happened per shard; bits are shard indices. */
struct obj_report {
	uint32_t bad;         /* a value was missing or damaged: to be repaired */
	uint32_t unreachable; /* the store did not answer, or is not configured */
	int error[EC_PIECES_MAX];
	uint64_t stored_bytes; /* sent to, or received from, the stores */
	uint32_t bad_stripes;  /* reads: stripes that needed another than the first choice */
};

/*
 * Stores the object. stores[i] takes shard i (i < g->n), distinct stores by the caller's placement; NULL =
 * none (counts as failed). The object's identity is `id`; sizes up to 4096 stripes (-EFBIG). On 0 *rec is the
 * record to store, and report->unreachable names shards that failed (at most n - min_shards): the record
 * lacks them. On an error what was sent is deleted as far as the stores answer. Errors: what the source said;
 * -EAGAIN when too few stores took their shard (report->error has causes); -ENOMEM; -E_KEY; -ECANCELED.
 */
int obj_write(struct obj_work *w, const struct keyring *keys, const struct obj_id *id,
	      const struct obj_geometry *g, struct obj_store *const *stores, const struct obj_source *source,
	      struct record *rec, struct obj_report *report);

/*
 * Reads all bytes to the sink and compares them with the content id at the end: only after 0 may they be
 * used. -EAGAIN: unknown, stores are unreachable; -EIO: cannot be produced (why names the stripe); what the
 * sink said; -ENOMEM, -ECANCELED. `report`, `why` (OBJ_WHY_BYTES) may be NULL.
 */
#define OBJ_WHY_BYTES 256
int obj_read(struct obj_work *w, const struct record *rec, const struct obj_stores *stores,
	     const struct obj_sink *sink, struct obj_report *report, char *why);

/* Bytes [offset, offset + len) into out; -ERANGE beyond the object's size. Every stripe is authenticated. */
int obj_read_range(struct obj_work *w, const struct record *rec, const struct obj_stores *stores,
		   uint64_t offset, size_t len, void *out, struct obj_report *report, char *why);

/*
 * Restores into `path` (on the same file system as the temporary name beside it): read, verify, fsync,
 * rename, directory fsync. An existing file is never overwritten: -EEXIST. mode 0600.
 */
int obj_read_file(struct obj_work *w, const struct record *rec, const struct obj_stores *stores,
		  const char *path, struct obj_report *report, char *why);

/*
 * Asks every shard's store for its head and last fragment (quick), or for all fragments (deep), without
 * keeping anything. report->bad and ->unreachable say what is missing. Returns the number of shards that are
 * whole, or a negative errno.
 */
int obj_check(struct obj_work *w, const struct record *rec, const struct obj_stores *stores, bool deep,
	      struct obj_report *report);

/*
 * Rebuilds the shards in `lost` (bits) from the others onto targets[index]; fragments are moved, nothing is
 * encrypted. On 0 *rec has the new places, to be stored with record_store(). Old values of the lost shards
 * are not deleted. -EAGAIN as obj_read(); -EIO.
 */
int obj_repair(struct obj_work *w, struct record *rec, const struct obj_stores *stores, uint32_t lost,
	       struct obj_store *const *targets, struct obj_report *report, char *why);

/* Writes value 0 of every shard again (key rotation). 0, -EAGAIN when a store did not answer. */
int obj_rewrite_heads(struct obj_work *w, const struct record *rec, const struct obj_stores *stores,
		      struct obj_report *report);

/*
 * Deletes the shards (heads first, so that a crash leaves garbage, not a head without values). 0 when every
 * store answered; -EAGAIN: report->unreachable is the debt. Then the caller deletes the record.
 */
int obj_delete(struct obj_work *w, const struct record *rec, const struct obj_stores *stores,
	       struct obj_report *report);

#endif
