/*
 * mem_fault: the layer that counts and fails allocations, and test directories and random numbers, which are as small.
 */
#include "tests/unit/support/sys_test.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/mem.h"

/* Tests that fill memory beside each other need less than this; containers often have 64 MiB. */
#define IN_MEMORY_MIN ((uint64_t)1 << 30)

static const struct mem_ops *lower;
static _Atomic uint64_t calls, armed_at;
static atomic_bool is_sticky, fired;
static atomic_long live;

/* Counts an allocation; true when it must fail. */
static bool fails(void)
{
	uint64_t n = atomic_fetch_add(&calls, 1) + 1, at = atomic_load(&armed_at);

	if (at == 0 || (atomic_load(&is_sticky) ? n < at : n != at))
		return false;
	atomic_store(&fired, true);
	errno = ENOMEM;
	return true;
}

static void *count(void *ptr)
{
	if (ptr)
		atomic_fetch_add(&live, 1);
	return ptr;
}

static void *m_alloc(size_t size)
{
	return fails() ? NULL : count(lower->alloc(size));
}

static void *m_zalloc(size_t size)
{
	return fails() ? NULL : count(lower->zalloc(size));
}

static void *m_realloc(void *ptr, size_t size)
{
	if (fails())
		return NULL;
	return ptr ? lower->realloc(ptr, size) : count(lower->realloc(ptr, size));
}

static void *m_aligned(size_t align, size_t size)
{
	return fails() ? NULL : count(lower->aligned(align, size));
}

static void m_free(void *ptr)
{
	if (ptr)
		atomic_fetch_sub(&live, 1);
	lower->free(ptr);
}

static const struct mem_ops fault_table = {
	.alloc = m_alloc,
	.zalloc = m_zalloc,
	.realloc = m_realloc,
	.aligned = m_aligned,
	.free = m_free,
};

void mem_fault_begin(void)
{
	if (mem_table == &fault_table)
		abort();
	lower = mem_table;
	atomic_store(&calls, 0);
	atomic_store(&live, 0);
	mem_fault_arm(0);
	mem_table = &fault_table;
}

size_t mem_fault_end(void)
{
	long left = atomic_load(&live);

	mem_table = lower;
	return left > 0 ? (size_t)left : 0;
}

static void arm(uint64_t nth, bool sticky)
{
	atomic_store(&fired, false);
	atomic_store(&is_sticky, sticky);
	atomic_store(&armed_at, nth ? atomic_load(&calls) + nth : 0);
}

void mem_fault_arm(uint64_t nth)
{
	arm(nth, false);
}

void mem_fault_arm_from(uint64_t nth)
{
	arm(nth, true);
}

uint64_t mem_fault_calls(void)
{
	return atomic_load(&calls);
}

bool mem_fault_fired(void)
{
	return atomic_load(&fired);
}

void test_in_memory(void)
{
	struct statvfs v;

	if (access("/dev/shm", W_OK) == 0 && statvfs("/dev/shm", &v) == 0 &&
	    (uint64_t)v.f_bavail * v.f_frsize >= IN_MEMORY_MIN)
		(void)setenv("TMPDIR", "/dev/shm", 0);
}

const char *test_dir_new(void)
{
	static char path[4096];
	const char *base = getenv("TMPDIR");

	snprintf(path, sizeof(path), "%s/qsfs-test.XXXXXX", base && *base ? base : "/tmp");
	if (!mkdtemp(path)) {
		perror(path);
		abort();
	}
	return path;
}

void test_dir_remove(const char *path)
{
	int code = file_rm_tree(path);

	if (code)
		fprintf(stderr, "cannot remove %s: error %d\n", path, -code);
}

void test_dir_copy(const char *from, const char *to)
{
	char command[1000];
	int len = snprintf(command, sizeof(command), "rm -rf '%s' && cp -a '%s' '%s'", to, from, to);

	if (len >= (int)sizeof(command) || system(command) != 0) {
		fprintf(stderr, "cannot copy %s to %s\n", from, to);
		abort();
	}
}

uint64_t test_random(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15u);

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

uint64_t test_seed(void)
{
	const char *text = getenv("TEST_SEED");
	uint64_t seed = 0;

	if (text)
		seed = strtoull(text, NULL, 0);
	else if (getrandom(&seed, sizeof(seed), 0) != (ssize_t)sizeof(seed))
		abort();
	fprintf(stderr, "seed: TEST_SEED=0x%llx\n", (unsigned long long)seed);
	return seed;
}
