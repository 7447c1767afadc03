/*
 * map.c - files mapped for reading: data files, so that a big payload is verified and sent where the page cache has it, and the
 * newest part of the active index, so that the key of a record is compared without a system call.
 *
 * A map is made at the first big read of a file, covers what the file can grow to, and belongs to the file's descriptor.  Of an index it
 * covers as much behind the end as before it, and is made anew when the index has grown over it.  All of them
 * together have a bound; a file that finds no room is read by system calls.  Maps that nobody has used for a while are given
 * back: idle, an engine maps nothing.
 */
#include <sys/mman.h>
#include <unistd.h>

#include "core/base/mem_copy.h"
#include "core/base/mem_guard.h"
#include "core/zdb/zdb_int.h"

#define MAP_IDLE_MS 10000u
#define MAP_LOOK    512u /* pages that are asked for at once */
/* Of the active index: what is older is rarely written anew, and mapped pages count as memory. */
#define MAP_RECENT (8u << 20)
#define MAP_UNIT   (64u << 10) /* a multiple of any page size */

/* How long the file may become; 0 when that cannot be told. */
static uint64_t length_max(const struct zdb_ns *ns, const struct zdb_fd *f)
{
	struct stat st;

	if (f == ns->data.f)
		return (uint64_t)ns->eng->opt.datasize + DAT_RECORD + ZDB_KEY_MAX + ZDB_PAYLOAD_MAX;
	return sys->fstat(f->fd, &st) == 0 && st.st_size > 0 ? (uint64_t)st.st_size : 0;
}

/* from: a multiple of the page size. */
static void map_make(struct zdb *eng, struct zdb_fd *f, uint32_t from, uint64_t size)
{
	void *map;

	if (size == 0 || eng->mapped > eng->opt.map_max || size > eng->opt.map_max - eng->mapped)
		return;
	map = sys->mmap(NULL, (size_t)size, PROT_READ, MAP_SHARED, f->fd, (off_t)from);
	if (map == MAP_FAILED)
		return; /* not on this file system, or not now: only slower */
	if (list_is_empty(&eng->maps)) {
		eng->sweep_ms = 0;
		if (eng->ev.tick_wanted != NULL)
			eng->ev.tick_wanted(eng->opt.events_ctx, MAP_IDLE_MS);
	}
	f->map = map;
	f->map_from = from;
	f->map_size = (size_t)size;
	eng->mapped += size;
	list_add_tail(&eng->maps, &f->map_link);
}

const uint8_t *map_at(struct zdb_ns *ns, struct zdb_fd *f, uint32_t off, size_t size)
{
	if (ns->eng->opt.map_max == 0)
		return NULL;
	if (f->map == NULL)
		map_make(ns->eng, f, 0, length_max(ns, f));
	if (f->map == NULL || (uint64_t)off + size > f->map_size)
		return NULL;
	f->map_used = true;
	return f->map + off;
}

struct copying {
	void *to;
	const uint8_t *from;
	size_t size;
};

static void copy(void *ctx)
{
	const struct copying *c = ctx;

	memcpy(c->to, c->from, c->size);
}

bool map_copy(void *to, const uint8_t *from, size_t size)
{
	struct copying c = {to, from, size};

	return mem_guard_run(copy, &c);
}

static bool covers(const struct zdb_fd *f, uint32_t off, size_t size)
{
	return f->map != NULL && off >= f->map_from && (uint64_t)off + size <= f->map_from + f->map_size;
}

ssize_t map_recent(struct zdb_ns *ns, const struct tail *t, void *buf, size_t size, uint32_t off)
{
	uint32_t recent = t->written > MAP_RECENT ? (t->written - MAP_RECENT) / MAP_UNIT * MAP_UNIT : 0;

	if (ns->eng->opt.map_max == 0 || off < recent || off >= t->written)
		return -EAGAIN;
	if (size > t->written - off)
		size = t->written - off;
	if (!covers(t->f, off, size)) {
		map_drop(ns->eng, t->f);
		map_make(ns->eng, t->f, recent, 2 * (uint64_t)MAP_RECENT);
	}
	if (!covers(t->f, off, size))
		return -EAGAIN;
	t->f->map_used = true;
	return map_copy(buf, t->f->map + (off - t->f->map_from), size) ? (ssize_t)size : -EAGAIN;
}

enum zdb_where map_where(const uint8_t *bytes, size_t size)
{
	HOT_BUFFER unsigned char pages[MAP_LOOK];
	size_t page = (size_t)sysconf(_SC_PAGESIZE), skip = (uintptr_t)bytes % page;

	size += skip;
	for (const uint8_t *at = bytes - skip; size > 0;) {
		size_t part = size < MAP_LOOK * page ? size : MAP_LOOK * page;

		if (sys->mincore((void *)(uintptr_t)at, part, pages) != 0)
			return ZDB_UNKNOWN;
		for (size_t i = 0; i < (part + page - 1) / page; i++)
			if ((pages[i] & 1) == 0)
				return ZDB_COLD;
		at += part;
		size -= part;
	}
	return ZDB_CACHED;
}

void map_drop(struct zdb *eng, struct zdb_fd *f)
{
	if (f->map == NULL)
		return;
	(void)sys->munmap((void *)(uintptr_t)f->map,
			  f->map_size); /* of exactly what was mapped: cannot fail */
	eng->mapped -= f->map_size;
	list_del(&f->map_link);
	f->map = NULL;
	f->map_size = 0;
}

void maps_tick(struct zdb *eng, uint64_t now_ms, uint64_t *next_ms)
{
	if (list_is_empty(&eng->maps))
		return;
	if (eng->sweep_ms == 0) {
		eng->sweep_ms = now_ms + MAP_IDLE_MS;
	} else if (now_ms >= eng->sweep_ms) {
		list_each_safe(&eng->maps, it)
		{
			struct zdb_fd *f = container_of(it, struct zdb_fd, map_link);

			if (!f->map_used && f->refs == 1) /* a read in flight would be another one */
				map_drop(eng, f);
			else
				f->map_used = false;
		}
		eng->sweep_ms = now_ms + MAP_IDLE_MS;
	}
	if (!list_is_empty(&eng->maps) && *next_ms > eng->sweep_ms)
		*next_ms = eng->sweep_ms;
}
