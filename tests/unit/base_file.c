/* File idioms under failing calls and power cuts: the old or the new content, no debris, no lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/err.h"
#include "core/base/file.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/base/sys.h"
#include "tests/unit/support/sys_test.h"

static char dir[256];

static int setup(void **state)
{
	(void)state;
	return str_copy(dir, sizeof(dir), test_dir_new());
}

static int teardown(void **state)
{
	(void)state;
	test_dir_remove(dir);
	return 0;
}

static const char *in(const char *name)
{
	static char paths[4][600];
	static unsigned next;
	char *path = paths[next++ % 4];

	assert_int_equal(file_join(path, sizeof(paths[0]), dir, name), 0);
	return path;
}

static int count_entry(void *ctx, const char *name, unsigned char type)
{
	(void)name;
	(void)type;
	++*(int *)ctx;
	return 0;
}

static int entries(const char *path)
{
	int n = 0;

	assert_int_equal(file_list(path, count_entry, &n), 0);
	return n;
}

static bool holds(const char *path, const char *want)
{
	char *data = NULL;
	size_t len;
	bool is_equal;

	if (file_read_all(path, 1 << 20, &data, &len))
		return false;
	is_equal = len == strlen(want) && memcmp(data, want, len) == 0;
	mem_free(data);
	return is_equal;
}

static void check_paths(void **state)
{
	char dst[64];

	(void)state;
	assert_int_equal(file_join(dst, sizeof(dst), "/a/", "/b"), 0);
	assert_string_equal(dst, "/a/b");
	assert_int_equal(file_join(dst, 5, "/aa", "b"), -ENAMETOOLONG);
	assert_int_equal(file_dirname(dst, sizeof(dst), "/a/b"), 0);
	assert_string_equal(dst, "/a");
	assert_int_equal(file_dirname(dst, sizeof(dst), "/b"), 0);
	assert_string_equal(dst, "/");
	assert_int_equal(file_dirname(dst, sizeof(dst), "b"), 0);
	assert_string_equal(dst, ".");
	assert_string_equal(file_basename("/a/b"), "b");
	assert_int_equal(file_absolute(dst, sizeof(dst), "/a/./b//../c/"), 0);
	assert_string_equal(dst, "/a/c");
	assert_int_equal(file_absolute(dst, sizeof(dst), "/../.."), 0);
	assert_string_equal(dst, "/");
	assert_true(file_is_temp(".name.0123456789ab.tmp"));
	assert_false(file_is_temp(".name.0123456789aX.tmp"));
	assert_false(file_is_temp("name.0123456789ab.tmp"));
	assert_false(file_is_temp(".tmp"));
}

static void check_atomic(void **state)
{
	struct stat st;

	(void)state;
	umask(077);
	assert_int_equal(file_write_atomic(in("f"), 0644, "one", 3), 0);
	umask(022);
	assert_int_equal(stat(in("f"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0644);
	assert_int_equal(file_write_atomic(in("f"), 0600, "two!", 4), 0);
	assert_true(holds(in("f"), "two!"));
	assert_int_equal(file_create_atomic(in("f"), 0600, "three", 5), -EEXIST);
	assert_true(holds(in("f"), "two!"));
	assert_int_equal(file_create_atomic(in("g"), 0600, "", 0), 0);
	assert_true(holds(in("g"), ""));
	assert_int_equal(entries(dir), 2);
	assert_int_equal(file_write_atomic(in("none/f"), 0600, "x", 1), -ENOENT);
	assert_int_equal(file_write_atomic(in("f/"), 0600, "x", 1), -EISDIR);
}

/* Each call fails once, with each kind of error: the old content stays unless the rename was reached, no debris stays. */
static void check_atomic_faults(void **state)
{
	static const int errors[] = {EIO, ENOSPC};

	(void)state;
	for (size_t e = 0; e < 2; e++) {
		bool fired = true;

		for (uint64_t n = 1; fired; n++) {
			int code;

			assert_int_equal(file_write_atomic(in("f"), 0600, "old", 3), 0);
			sys_fault_begin();
			sys_fault_arm(SYS_CALL_ANY, n, errors[e]);
			code = file_write_atomic(in("f"), 0600, "new content", 11);
			fired = sys_fault_fired();
			sys_fault_end();
			if (!fired) {
				assert_int_equal(code, 0);
				assert_true(n > 5);
			} else if (code == 0) {
				fail_msg("call %llu failed and nobody said so", (unsigned long long)n);
			}
			assert_true(holds(in("f"), code ? "old" : "new content") ||
				    holds(in("f"), "new content"));
			assert_int_equal(entries(dir), 1);
		}
	}
}

static void check_short_transfers(void **state)
{
	char data[100];
	int fd;

	(void)state;
	memset(data, 'x', sizeof(data));
	sys_fault_begin();
	for (uint64_t n = 1; n <= 2; n++) {
		sys_fault_arm_short(SYS_CALL_WRITE, 1, 7);
		assert_int_equal(file_write_atomic(in("s"), 0600, data, sizeof(data)), 0);
		assert_true(sys_fault_fired());
		sys_fault_arm_short(SYS_CALL_READ, n, 3);
		fd = sys->open(in("s"), O_RDONLY, 0);
		memset(data, 0, sizeof(data));
		assert_int_equal(file_pread_full(fd, data, sizeof(data), 0), sizeof(data));
		assert_int_equal(data[99], 'x');
		assert_int_equal(file_pread_full(fd, data, sizeof(data), 60), 40);
		sys->close(fd);
		sys_fault_arm(SYS_CALL_WRITE, 1, EINTR);
		assert_int_equal(file_write_atomic(in("s"), 0600, data, sizeof(data)), 0);
	}
	sys_fault_end();
}

static void check_read_all(void **state)
{
	char *data = NULL;
	size_t len;
	struct stat st;

	(void)state;
	assert_int_equal(file_write_atomic(in("f"), 0600, "12345", 5), 0);
	assert_int_equal(file_read_all(in("f"), 5, &data, &len), 0);
	assert_int_equal(len, 5);
	assert_string_equal(data, "12345");
	mem_free(data);
	assert_int_equal(file_read_all(in("f"), 4, &data, &len), -E_LIMIT);
	assert_int_equal(file_read_all(in("none"), 4, &data, &len), -ENOENT);
	assert_int_equal(file_read_all(dir, 4, &data, &len), -EISDIR);
	assert_int_equal(file_read_all("/proc/self/status", 1 << 16, &data, &len), 0);
	assert_true(len > 100);
	mem_free(data);
	assert_int_equal(file_read_secret(in("f"), 100, &data, &len), 0);
	assert_string_equal(data, "12345");
	mem_free(data);
	for (int mode = 0604; mode != 0; mode = mode == 0604 ? 0640 : 0) {
		assert_int_equal(chmod(in("f"), (mode_t)mode), 0);
		assert_int_equal(file_read_secret(in("f"), 100, &data, &len), -EPERM);
	}
	assert_int_equal(stat(in("f"), &st), 0);
}

static void check_trees(void **state)
{
	struct stat st;

	(void)state;
	assert_int_equal(file_mkdir_p(in("a/b//c/"), 0700), 0);
	assert_int_equal(file_mkdir_p(in("a/b/c"), 0700), 0);
	assert_int_equal(stat(in("a/b/c"), &st), 0);
	assert_int_equal(file_write_atomic(in("a/b/f"), 0600, "x", 1), 0);
	assert_int_equal(file_mkdir_p(in("a/b/f"), 0700), -ENOTDIR);
	assert_int_equal(file_mkdir_p(in("a/b/f/g"), 0700), -ENOTDIR);
	assert_int_equal(symlink(in("keep"), in("a/link")), 0);
	assert_int_equal(file_write_atomic(in("keep"), 0600, "x", 1), 0);
	assert_int_equal(file_rm_tree(in("a")), 0);
	assert_int_equal(file_exists(in("a")), 0);
	assert_int_equal(file_exists(in("keep")), 1);
	assert_int_equal(file_rm_tree(in("a")), 0);
	assert_int_equal(file_rm_tree(in("keep")), 0);
	assert_int_equal(entries(dir), 0);
}

static void check_copy_range(void **state)
{
	char data[200000];
	int src, dst;

	(void)state;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (char)(i * 7);
	assert_int_equal(file_write_atomic(in("src"), 0600, data, sizeof(data)), 0);
	src = open(in("src"), O_RDONLY);
	dst = open(in("dst"), O_RDWR | O_CREAT, 0600);
	assert_int_equal(file_copy_range(dst, 0, src, 0, 150001), 0);
	assert_int_equal(lseek(dst, 0, SEEK_END), 150001);
	assert_int_equal(file_copy_range(dst, 150001, src, 150001, sizeof(data) - 150001), 0);
	assert_int_equal(lseek(dst, 0, SEEK_END), sizeof(data));
	memset(data, 0, sizeof(data));
	assert_int_equal(file_pread_full(dst, data, sizeof(data), 0), sizeof(data));
	for (size_t i = 0; i < sizeof(data); i++)
		assert_int_equal(data[i], (char)(i * 7));
	assert_int_equal(file_copy_range(dst, 0, src, 199999, 2), -EIO);
	close(src);
	close(dst);
}

static void check_lock(void **state)
{
	int fd = file_lock(in("lock")), status;
	pid_t pid;

	(void)state;
	assert_true(fd >= 0);
	pid = fork();
	if (pid == 0) {
		close(fd); /* the inherited descriptor shares the lock */
		_exit(file_lock(in("lock")) == -E_LOCKED ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	close(fd);
	fd = file_lock(in("lock"));
	assert_true(fd >= 0);
	close(fd);
}

/* A table that shows another mountinfo than the kernel's. */
static int open_fixture(const char *path, int flags, mode_t mode)
{
	return sys_real.open(strcmp(path, "/proc/self/mountinfo") == 0 ? in("mountinfo") : path, flags, mode);
}

static void check_mounts_by_text(void **state)
{
	static const char text[] =
		"22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
		"30 22 0:40 / /mnt/vol\\040one rw,nosuid shared:7 master:2 - fuse.zdbfs zdbfs rw,user_id=0\n"
		"31 30 8:2 / /mnt/vol\\040one/inner rw - ext4 /dev/sdb1 rw\n"
		"32 22 0:41 / /mnt/other rw - fuse.sshfs host: rw\n"
		"33 22 0:42 / /mnt/over rw - fuse.zdbfs zdbfs rw\n"
		"34 33 8:3 / /mnt/over rw - ext4 /dev/sdc1 rw\n"
		"35 22 0:43 / /mnt/last rw - fuse.qsfs qsfs rw";
	static const struct {
		const char *path;
		int is_ours;
	} cases[] = {
		{"/", 0},
		{"/mnt", 0},
		{"/mnt/vol one", 1},
		{"/mnt/vol one/a/b", 1},
		{"/mnt/vol onetwo", 0},
		{"/mnt/vol one/inner/x", 0},
		{"/mnt/other/x", 0},
		{"/mnt/over/x", 0},
		{"/mnt/last", 1},
		{"/tmp/../mnt/last/", 1},
		{"/mnt/last/../other", 0},
	};
	struct sys_ops table = sys_real;

	(void)state;
	assert_int_equal(file_write_atomic(in("mountinfo"), 0600, text, strlen(text)), 0);
	table.open = open_fixture;
	sys = &table;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (file_is_on_our_mount(cases[i].path) != cases[i].is_ours)
			fail_msg("wrong about %s", cases[i].path);
	}
	sys = &sys_real;
}

static void check_mount_question(void **state)
{
	uint64_t free_bytes, total;

	(void)state;
	assert_int_equal(file_is_on_our_mount("/proc/self"), 0);
	assert_int_equal(file_is_on_our_mount(in("not/there/yet")), 0);
	assert_int_equal(file_space(dir, &free_bytes, &total), 0);
	assert_true(free_bytes <= total && total > 0);
}

static void check_no_memory(void **state)
{
	char *data;
	bool fired = true;

	(void)state;
	assert_int_equal(file_write_atomic(in("f"), 0600, "12345", 5), 0);
	for (uint64_t n = 1; fired; n++) {
		int code;

		mem_fault_begin();
		mem_fault_arm(n);
		data = NULL;
		code = file_read_all(in("f"), 100, &data, NULL);
		fired = mem_fault_fired();
		assert_int_equal(code, fired ? -ENOMEM : 0);
		mem_free(data);
		assert_int_equal(mem_fault_end(), 0);
	}
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(check_paths),           TEST(check_atomic),    TEST(check_atomic_faults),
		TEST(check_short_transfers), TEST(check_read_all),  TEST(check_trees),
		TEST(check_copy_range),      TEST(check_lock),      TEST(check_mount_question),
		TEST(check_mounts_by_text),  TEST(check_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
