/*
 * map.c - data files mapped for reading, so that a big payload is verified and sent where the page cache has it.
 *
 * A map is made at the first big read of a file, covers what the file can grow to, and belongs to the file's descriptor.  All of them
 * together have a bound; a file that finds no room is read by system calls.  Maps that nobody has used for a while are given
 * back: idle, an engine maps nothing.
 */
#include <sys/mman.h>
#include <unistd.h>

#include "core/base/mem_copy.h"
#include "core/zdb/zdb_int.h"

#define MAP_IDLE_MS 10000u
#define MAP_LOOK    512u /* pages that are asked for at once */

/* How long the file may become; 0 when that cannot be told. */
static uint64_t length_max(const struct zdb_ns *ns, const struct zdb_fd *f)
{
	struct stat st;

	if (f == ns->data.f)
		return (uint64_t)ns->eng->opt.datasize + DAT_RECORD + ZDB_KEY_MAX + ZDB_PAYLOAD_MAX;
	return sys->fstat(f->fd, &st) == 0 && st.st_size > 0 ? (uint64_t)st.st_size : 0;
}

static void map_make(struct zdb_ns *ns, struct zdb_fd *f)
{
	struct zdb *eng = ns->eng;
	uint64_t size = length_max(ns, f);
	void *map;

	if (size == 0 || eng->mapped > eng->opt.map_max || size > eng->opt.map_max - eng->mapped)
		return;
	map = sys->mmap(NULL, (size_t)size, PROT_READ, MAP_SHARED, f->fd, 0);
	if (map == MAP_FAILED)
		return; /* not on this file system, or not now: only slower */
	if (list_is_empty(&eng->maps)) {
		eng->sweep_ms = 0;
		if (eng->ev.tick_wanted != NULL)
			eng->ev.tick_wanted(eng->opt.events_ctx, MAP_IDLE_MS);
	}
	f->map = map;
	f->map_size = (size_t)size;
	eng->mapped += size;
	list_add_tail(&eng->maps, &f->map_link);
}

const uint8_t *map_at(struct zdb_ns *ns, struct zdb_fd *f, uint32_t off, size_t size)
{
	if (ns->eng->opt.map_max == 0)
		return NULL;
	if (f->map == NULL)
		map_make(ns, f);
	if (f->map == NULL || (uint64_t)off + size > f->map_size)
		return NULL;
	f->map_used = true;
	return f->map + off;
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
