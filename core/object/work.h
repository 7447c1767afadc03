/*
 * work: what one operation in flight needs: lane threads for store calls, stripe buffers, compression
 * contexts.
 *
 * Keep one per worker thread and reuse it: page faults, not arithmetic, are what coding costs. One thread
 * uses a work at a time. Store calls of one operation run concurrently, each in a lane (a thread that is made
 * when first needed, at most `lanes` of them); CPU work runs in the calling thread. A call that was abandoned
 * (a hedged read) keeps its lane until it returns, and its buffer belongs to the lane; obj_work_free() waits
 * for it, that is for at most the store's own timeout.
 */
#ifndef CORE_OBJECT_WORK_H
#define CORE_OBJECT_WORK_H

#include <stddef.h>
#include <stdint.h>

#define OBJ_LANES_MAX 64

struct obj_work;

struct obj_work_options {
	unsigned lanes;    /* 1...64; 0 = 40: a write keeps n busy, a read a few times k */
	unsigned hedge_ms; /* a reader asks one more store when none answered for so long; 0 = 300 */
	size_t memory_max; /* bytes of buffers this work may hold; 0 = 32 MiB (object_memory) */
	int zstd_level;    /* 1...3; 0 = 1 */
};

/* 0, -ENOMEM, -EINVAL. */
int obj_work_new(const struct obj_work_options *options, struct obj_work **out);
void obj_work_free(struct obj_work *w);

/* Makes running and later operations of this work end soon with -ECANCELED; any thread may call it. */
void obj_work_cancel(struct obj_work *w, int canceled);

#endif
