#include "tests/unit/support/map_count.h"

#include <errno.h>
#include <sys/mman.h>

struct map_count map_count;

static void *counted_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
	if (map_count.error) {
		errno = map_count.error;
		return MAP_FAILED;
	}
	map_count.made++;
	map_count.bytes_now += len;
	if (map_count.bytes_most < map_count.bytes_now)
		map_count.bytes_most = map_count.bytes_now;
	return sys_real.mmap(addr, len, prot, flags, fd, off);
}

static int counted_munmap(void *addr, size_t len)
{
	map_count.undone++;
	map_count.bytes_now -= len;
	return sys_real.munmap(addr, len);
}

void map_count_begin(struct sys_ops *table)
{
	map_count = (struct map_count){0};
	table->mmap = counted_mmap;
	table->munmap = counted_munmap;
}
