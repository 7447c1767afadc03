/*
 * uncached.c - what fills a log in bulk does not fill the page cache.
 *
 * A flight that finds another one in the air, or is full, belongs to a stream that comes faster than the log is written. Kept in the page cache such a stream
 * pushes out what is read, and each of its pages is a page that nobody used for long: where memory is given back to a host, ten times as
 * expensive as one that was just used (docs/bench-zdb.md). With RWF_DONTCACHE the kernel begins to write such pages back at once, and they leave
 * the cache when they are on the disk, unless somebody has read them by then; the next ones take the same memory. The price: who reads such a
 * value later for the first time reads the disk. A single writer's values stay in the cache as ever.
 *
 * That is good as long as the disk keeps pace. A slow one would be waited for, once its queue is full, where the cache takes a burst: so the pace of these
 * writes is looked at, and when it is below what makes them worth it for a while, the next ones go through the cache.
 */
#include "core/zdb/zdb_int.h"

#define UNCACHED_SAMPLE                                                                                      \
	(32u << 20) /* bytes that are judged together: a single call may wait for a processor */
#define UNCACHED_MIB_NS                                                                                      \
	1500000u /* the slowest pace, 700 MB/s; a page cache whose memory is at hand takes 0.25 ms */
#define UNCACHED_PATIENCE 3u /* slow samples in a row: one may be another's work */
#define UNCACHED_REST                                                                                        \
	(512u << 20) /* bytes through the cache then; after each try that fails twice as many, */
#define UNCACHED_REST_MAX (16ull << 30) /* up to so many */

#ifndef RWF_DONTCACHE
#define RWF_DONTCACHE 0x80 /* linux/fs.h, since 6.14 */
#endif

int uncached_flags(const struct zdb *eng, bool bulk)
{
	const struct uncached *u = &eng->uncached;

	return bulk && eng->opt.uncached && !u->refused && u->rest == 0 ? RWF_DONTCACHE : 0;
}

static void judge(struct uncached *u)
{
	bool slow = u->took_ns / (u->bytes >> 20) > UNCACHED_MIB_NS;

	u->bytes = 0;
	u->took_ns = 0;
	if (!slow) {
		u->slow = 0;
		u->next_rest = UNCACHED_REST;
	} else if (++u->slow >= UNCACHED_PATIENCE) { /* it stays so: the next try is one sample */
		u->rest = u->next_rest;
		u->next_rest = u->rest * 2 < UNCACHED_REST_MAX ? u->rest * 2 : UNCACHED_REST_MAX;
	}
}

void uncached_init(struct uncached *u)
{
	*u = (struct uncached){.next_rest = UNCACHED_REST};
}

void uncached_landed(struct zdb *eng, int flags, const struct flown *flown)
{
	struct uncached *u = &eng->uncached;

	if (flown->refused)
		u->refused = true;
	if (flags == 0) {
		u->rest -= flown->bytes < u->rest ? flown->bytes : u->rest;
		return;
	}
	u->bytes += flown->bytes;
	u->took_ns += flown->took_ns;
	if (u->bytes >= UNCACHED_SAMPLE)
		judge(u);
}
