/* The simulated disk keeps what was synced, loses and tears what was not, and never invents anything. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/mem.h"
#include "core/base/sys.h"
#include "tests/unit/support/sys_test.h"

struct place {
	char dir[256], live[300], out[300];
	struct sim_disk *disk;
};

static void setup(struct place *p)
{
	snprintf(p->dir, sizeof(p->dir), "%s", test_dir_new());
	snprintf(p->live, sizeof(p->live), "%s/live", p->dir);
	snprintf(p->out, sizeof(p->out), "%s/out", p->dir);
	assert_int_equal(mkdir(p->live, 0700), 0);
}

static void teardown(struct place *p)
{
	sim_disk_free(p->disk);
	test_dir_remove(p->dir);
}

static char *path_in(const char *dir, const char *name)
{
	static char paths[4][600];
	static unsigned next;
	char *path = paths[next++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", dir, name);
	return path;
}

static void cut(struct place *p, uint64_t at, enum sim_policy policy, uint64_t seed)
{
	assert_int_equal(file_rm_tree(p->out), 0);
	sim_disk_materialise(p->disk, at, policy, seed, p->out);
}

static void assert_content(const char *dir, const char *name, const char *want)
{
	char *data = NULL;
	size_t len = 0;

	assert_int_equal(file_read_all(path_in(dir, name), 1 << 20, &data, &len), 0);
	assert_int_equal(len, strlen(want));
	assert_memory_equal(data, want, len);
	mem_free(data);
}

static int put(const char *path, const char *text)
{
	int fd = sys->open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(file_write_full(fd, text, strlen(text)), 0);
	return fd;
}

static void check_synced_stays(void **state)
{
	struct place p = {0};
	uint64_t created, synced, named;
	int fd;

	(void)state;
	setup(&p);
	fd = put(path_in(p.live, "old"), "before");
	sys->close(fd);
	p.disk = sim_disk_begin(p.live);
	fd = put(path_in(p.live, "new"), "hello");
	created = sim_disk_calls(p.disk);
	assert_int_equal(sys->fsync(fd), 0);
	synced = sim_disk_calls(p.disk);
	assert_int_equal(file_sync_dir(p.live), 0);
	named = sim_disk_calls(p.disk);
	assert_int_equal(file_pwrite_full(fd, "HELLO", 5, 0), 0);
	sys->close(fd);
	sim_disk_stop(p.disk);

	cut(&p, created, SIM_DROP, 0);
	assert_content(p.out, "old", "before");
	assert_int_equal(file_exists(path_in(p.out, "new")), 0);
	cut(&p, created, SIM_KEEP, 0);
	assert_content(p.out, "new", "hello");
	/* The content is durable, its name is not. */
	cut(&p, synced, SIM_DROP, 0);
	assert_int_equal(file_exists(path_in(p.out, "new")), 0);
	cut(&p, named, SIM_DROP, 0);
	assert_content(p.out, "new", "hello");
	cut(&p, UINT64_MAX, SIM_DROP, 0);
	assert_content(p.out, "new", "hello");
	cut(&p, UINT64_MAX, SIM_KEEP, 0);
	assert_content(p.out, "new", "HELLO");
	teardown(&p);
}

/* Two sectors are overwritten without a sync: all four combinations, and only these, come up. */
static void check_torn_sectors(void **state)
{
	struct place p = {0};
	char data[1024], got[1024];
	bool seen[2][2] = {{false}};
	int fd;

	(void)state;
	setup(&p);
	memset(data, 'a', sizeof(data));
	fd = sys->open(path_in(p.live, "f"), O_RDWR | O_CREAT, 0600);
	assert_int_equal(file_pwrite_full(fd, data, sizeof(data), 0), 0);
	p.disk = sim_disk_begin(p.live);
	memset(data, 'b', sizeof(data));
	assert_int_equal(file_pwrite_full(fd, data, sizeof(data), 0), 0);
	sim_disk_stop(p.disk);
	close(fd);
	for (uint64_t seed = 0; seed < 200; seed++) {
		cut(&p, UINT64_MAX, SIM_RANDOM, seed);
		fd = open(path_in(p.out, "f"), O_RDONLY);
		assert_int_equal(read(fd, got, sizeof(got)), sizeof(got));
		close(fd);
		for (int half = 0; half < 2; half++) {
			for (int i = 1; i < 512; i++)
				assert_int_equal(got[512 * half + i], got[512 * half]);
			assert_true(got[512 * half] == 'a' || got[512 * half] == 'b');
		}
		seen[got[0] == 'b'][got[512] == 'b'] = true;
	}
	assert_true(seen[0][0] && seen[0][1] && seen[1][0] && seen[1][1]);
	teardown(&p);
}

/* Appends without a sync: what is there afterwards is data in its place or zeros, never anything else. */
static void check_unsynced_appends(void **state)
{
	struct place p = {0};
	uint64_t seed = test_seed();
	bool saw_hole = false, saw_short = false;
	char *data = NULL;
	size_t len;
	int fd;

	(void)state;
	setup(&p);
	p.disk = sim_disk_begin(p.live);
	fd = sys->open(path_in(p.live, "log"), O_WRONLY | O_CREAT | O_APPEND, 0600);
	assert_int_equal(file_sync_dir(p.live), 0);
	for (int i = 0; i < 8; i++) {
		char block[300];

		memset(block, 'a' + i, sizeof(block));
		assert_int_equal(file_write_full(fd, block, sizeof(block)), 0);
	}
	sys->close(fd);
	sim_disk_stop(p.disk);
	for (int round = 0; round < 300; round++) {
		bool is_holed = false;

		cut(&p, UINT64_MAX, SIM_RANDOM, seed + (uint64_t)round);
		assert_int_equal(file_read_all(path_in(p.out, "log"), 1 << 20, &data, &len), 0);
		assert_true(len <= 2400);
		for (size_t i = 0; i < len; i++) {
			assert_true(data[i] == 0 || data[i] == (char)('a' + i / 300));
			is_holed = is_holed || data[i] == 0;
		}
		saw_hole = saw_hole || is_holed;
		saw_short = saw_short || len < 2400;
		mem_free(data);
		cut(&p, UINT64_MAX, SIM_PREFIX, seed + (uint64_t)round);
		assert_int_equal(file_read_all(path_in(p.out, "log"), 1 << 20, &data, &len), 0);
		for (size_t i = 0; i < len; i++)
			assert_int_equal(data[i], 'a' + (int)(i / 300));
		mem_free(data);
	}
	assert_true(saw_hole && saw_short);
	teardown(&p);
}

/* At every cut, with every policy, an atomically replaced file is the old or the new one, whole. */
static void check_atomic_replacement(void **state)
{
	static const enum sim_policy policies[] = {SIM_DROP, SIM_KEEP, SIM_PREFIX, SIM_RANDOM};
	struct place p = {0};
	uint64_t seed = test_seed(), calls, second_done;
	char old[3000], new[5000];

	(void)state;
	setup(&p);
	memset(old, 'o', sizeof(old) - 1);
	memset(new, 'n', sizeof(new) - 1);
	old[sizeof(old) - 1] = new[sizeof(new) - 1] = '\0';
	assert_int_equal(file_write_atomic(path_in(p.live, "f"), 0600, old, sizeof(old) - 1), 0);
	p.disk = sim_disk_begin(p.live);
	assert_int_equal(file_write_atomic(path_in(p.live, "f"), 0600, new, sizeof(new) - 1), 0);
	second_done = sim_disk_calls(p.disk);
	calls = second_done;
	sim_disk_stop(p.disk);
	for (uint64_t at = 0; at <= calls; at++) {
		for (size_t k = 0; k < 4; k++) {
			for (uint64_t round = 0; round < 10; round++) {
				char *data = NULL;
				size_t len;

				cut(&p, at, policies[k], seed + round);
				assert_int_equal(file_read_all(path_in(p.out, "f"), 1 << 20, &data, &len), 0);
				if (at >= second_done)
					assert_int_equal(len, sizeof(new) - 1);
				assert_true((len == sizeof(old) - 1 && memcmp(data, old, len) == 0) ||
					    (len == sizeof(new) - 1 && memcmp(data, new, len) == 0));
				mem_free(data);
			}
		}
	}
	teardown(&p);
}

/* A rename without an fsync of the new content may leave an empty file: the model must show this classic mistake. */
static void check_missing_sync_is_found(void **state)
{
	struct place p = {0};
	bool was_lost = false;
	int fd;

	(void)state;
	setup(&p);
	p.disk = sim_disk_begin(p.live);
	fd = put(path_in(p.live, "tmp"), "content");
	sys->close(fd);
	assert_int_equal(sys->rename(path_in(p.live, "tmp"), path_in(p.live, "f")), 0);
	assert_int_equal(file_sync_dir(p.live), 0);
	sim_disk_stop(p.disk);
	cut(&p, UINT64_MAX, SIM_DROP, 0);
	assert_content(p.out, "f", "");
	for (uint64_t seed = 0; seed < 50 && !was_lost; seed++) {
		char *data = NULL;
		size_t len;

		cut(&p, UINT64_MAX, SIM_RANDOM, seed);
		assert_int_equal(file_read_all(path_in(p.out, "f"), 100, &data, &len), 0);
		was_lost = len != 7 || memcmp(data, "content", 7) != 0;
		mem_free(data);
	}
	assert_true(was_lost);
	teardown(&p);
}

static void check_failed_sync_loses(void **state)
{
	struct place p = {0};
	int fd;

	(void)state;
	setup(&p);
	p.disk = sim_disk_begin(p.live);
	sys_fault_begin();
	fd = put(path_in(p.live, "f"), "12345");
	assert_int_equal(file_sync_dir(p.live), 0);
	sys_fault_arm(SYS_CALL_SYNC, 1, EIO);
	assert_int_equal(sys->fsync(fd), -1);
	assert_int_equal(errno, EIO);
	assert_int_equal(sys->fsync(fd), 0);
	sys->close(fd);
	sys_fault_end();
	sim_disk_stop(p.disk);
	cut(&p, UINT64_MAX, SIM_DROP, 0);
	assert_content(p.out, "f", "");
	teardown(&p);
}

/* What a failed sync took reads as written until the cache is dropped; what was written behind it stays, with all of its sector. */
static void check_dropped_cache(void **state)
{
	char want[3 * 512 + 1];
	struct place p = {0};
	int fd;

	(void)state;
	setup(&p);
	memset(want, 'x', sizeof(want) - 1);
	want[sizeof(want) - 1] = '\0';
	p.disk = sim_disk_begin(p.live);
	sys_fault_begin();
	fd = put(path_in(p.live, "f"), want);
	assert_int_equal(file_sync_dir(p.live), 0);
	assert_int_equal(sys->fsync(fd), 0);
	assert_int_equal(sys->pwrite(fd, "ab", 2, 511), 2);
	assert_int_equal(sys->pwrite(fd, "c", 1, 1100), 1);
	sys_fault_arm(SYS_CALL_SYNC, 1, EIO);
	assert_int_equal(sys->fsync(fd), -1);
	assert_int_equal(sys->pwrite(fd, "d", 1, 1200), 1);
	memcpy(want + 511, "ab", 2);
	want[1100] = 'c';
	want[1200] = 'd';
	assert_content(p.live, "f", want);
	assert_int_equal(sys->posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
	memcpy(want + 511, "xx", 2);
	assert_content(p.live, "f", want);
	assert_int_equal(sys->fsync(fd), 0);
	sys->close(fd);
	sys_fault_end();
	sim_disk_stop(p.disk);
	cut(&p, UINT64_MAX, SIM_KEEP, 0);
	assert_content(p.out, "f", want);
	teardown(&p);
}

static void check_directories_and_links(void **state)
{
	struct place p = {0};
	uint64_t durable;
	struct stat a, b;
	int fd;

	(void)state;
	setup(&p);
	p.disk = sim_disk_begin(p.live);
	assert_int_equal(file_mkdir_p(path_in(p.live, "a/b"), 0700), 0);
	assert_int_equal(file_write_atomic(path_in(p.live, "a/b/f"), 0640, "x", 1), 0);
	assert_int_equal(sys->link(path_in(p.live, "a/b/f"), path_in(p.live, "a/g")), 0);
	assert_int_equal(file_sync_dir(path_in(p.live, "a")), 0);
	durable = sim_disk_calls(p.disk);
	assert_int_equal(sys->unlink(path_in(p.live, "a/b/f")), 0);
	assert_int_equal(sys->rmdir(path_in(p.live, "a/b")), 0);
	/* The real inode number may be given to the next file: it must not inherit anything. */
	fd = put(path_in(p.live, "a/h"), "other");
	sys->close(fd);
	sim_disk_stop(p.disk);
	cut(&p, durable, SIM_DROP, 0);
	assert_int_equal(stat(path_in(p.out, "a/b/f"), &a), 0);
	assert_int_equal(stat(path_in(p.out, "a/g"), &b), 0);
	assert_int_equal(a.st_ino, b.st_ino);
	assert_int_equal(a.st_mode & 07777, 0640);
	cut(&p, UINT64_MAX, SIM_DROP, 0);
	assert_content(p.out, "a/b/f", "x");
	assert_int_equal(file_exists(path_in(p.out, "a/h")), 0);
	cut(&p, UINT64_MAX, SIM_KEEP, 0);
	assert_int_equal(file_exists(path_in(p.out, "a/b")), 0);
	assert_content(p.out, "a/g", "x");
	assert_content(p.out, "a/h", "other");
	teardown(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(check_synced_stays),          cmocka_unit_test(check_torn_sectors),
		cmocka_unit_test(check_unsynced_appends),      cmocka_unit_test(check_atomic_replacement),
		cmocka_unit_test(check_missing_sync_is_found), cmocka_unit_test(check_failed_sync_loses),
		cmocka_unit_test(check_dropped_cache),         cmocka_unit_test(check_directories_and_links),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
