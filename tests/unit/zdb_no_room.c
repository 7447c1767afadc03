/*
 * No room, of the disk or of a quota: who writes is told, everything that was taken is there, deletions and syncs go on in what the
 * files have already, and so do a stop, a start and a crash; with room again so does everything.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>
#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "core/base/endian.h"
#include "core/base/err.h"
#include "core/base/sys.h"
#include "tests/unit/support/sys_test.h"
#include "tests/unit/support/zdb_util.h"

#define KEYS  1000 /* more than fit once it is full */
#define FIRST 10   /* stored before */
#define VALUE                                                                                                \
	254 /* with header and key 280 bytes: what is left of a block takes no more of them, but deletions */
#define BLOCK 4096

/* ------------------------------------------------------------------------------------------------- a disk that is full */

static struct sys_ops table;
static int full;       /* the error, 0 = there is room */
static char root[256]; /* what lies below it ... */
static uint64_t limit; /* ... may take so many bytes of blocks */
static uint64_t used;

static uint64_t taken(const struct stat *st)
{
	uint64_t size = ((uint64_t)st->st_size + BLOCK - 1) / BLOCK * BLOCK,
		 blocks = (uint64_t)st->st_blocks * 512;

	return size > blocks ? size : blocks;
}

static int add(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)path;
	(void)at;
	if (type == FTW_F)
		used += taken(st);
	return 0;
}

static uint64_t used_now(void)
{
	used = 0;
	assert_int_equal(nftw(root, add, 16, FTW_PHYS), 0);
	return used;
}

static bool has_room(int fd, uint64_t end)
{
	struct stat st;

	if (!full)
		return true;
	assert_int_equal(fstat(fd, &st), 0);
	if (end <= taken(&st) || used_now() + (end - taken(&st) + BLOCK - 1) / BLOCK * BLOCK <= limit)
		return true;
	errno = full;
	return false;
}

static ssize_t full_pwrite(int fd, const void *data, size_t n, off_t off)
{
	return has_room(fd, (uint64_t)off + n) ? sys_real.pwrite(fd, data, n, off) : -1;
}

static ssize_t full_pwritev2(int fd, const struct iovec *iov, int count, off_t off, int flags)
{
	uint64_t end = (uint64_t)off;
	int i;

	for (i = 0; i < count; i++)
		end += iov[i].iov_len;
	return has_room(fd, end) ? sys_real.pwritev2(fd, iov, count, off, flags) : -1;
}

static ssize_t full_write(int fd, const void *data, size_t n)
{
	off_t at = lseek(fd, 0, SEEK_CUR);

	return has_room(fd, (uint64_t)at + n) ? sys_real.write(fd, data, n) : -1;
}

static int full_fallocate(int fd, int mode, off_t off, off_t len)
{
	return has_room(fd, (uint64_t)(off + len)) ? sys_real.fallocate(fd, mode, off, len) : -1;
}

static int full_mkdir(const char *path, mode_t mode)
{
	if (!full || access(path, F_OK) == 0)
		return sys_real.mkdir(path, mode);
	errno = full;
	return -1;
}

/* ------------------------------------------------------------------------------------------------------- the store */

/* What was taken: the round whose value a key holds, 0 = none. Keys of a sequential namespace are ids. */
struct book {
	struct zu u;
	unsigned round[KEYS];
	uint64_t id[KEYS];
	unsigned next; /* key that was never used */
};

static void value_of(char to[VALUE + 1], unsigned k, unsigned round)
{
	snprintf(to, VALUE + 1, "%4u in round %u%*s", k, round, VALUE, "");
}

static void key_of(const struct book *b, unsigned k, uint8_t key[8])
{
	if (b->u.opt.mode == ZDB_SEQ)
		put_u64le(key, b->id[k]);
	else
		put_u64le(key, k + 1000);
}

static int put(struct book *b, unsigned k, unsigned round)
{
	bool insert = b->u.opt.mode == ZDB_SEQ && b->round[k] == 0;
	struct zdb_set_result r;
	char value[VALUE + 1];
	uint8_t key[8];
	int rc;

	key_of(b, k, key);
	value_of(value, k, round);
	rc = zdb_set(b->u.ns, key, insert ? 0 : sizeof(key), value, VALUE, 1, &r);
	if (rc != 0)
		return rc;
	if (insert)
		b->id[k] = get_u64le(r.key);
	b->round[k] = round;
	return 0;
}

static int drop(struct book *b, unsigned k)
{
	uint8_t key[8];
	int rc;

	key_of(b, k, key);
	rc = zdb_del(b->u.ns, key, sizeof(key), 1);
	if (rc == 0)
		b->round[k] = 0;
	return rc;
}

static void all_there(struct book *b)
{
	char want[VALUE + 1];
	uint8_t key[8], *got;
	size_t n;
	unsigned k;
	int rc;

	for (k = 0; k < b->next; k++) {
		key_of(b, k, key);
		rc = zu_value(b->u.ns, key, sizeof(key), &got, &n);
		assert_int_equal(rc, b->round[k] ? 0 : -ENOENT);
		if (rc == 0) {
			value_of(want, k, b->round[k]);
			assert_int_equal(n, VALUE);
			assert_memory_equal(got, want, VALUE);
		}
		free(got);
	}
}

/* Inserts until one is refused, which leaves nothing of it. */
static void fill(struct book *b, unsigned round)
{
	int rc = 0;

	while (rc == 0 && b->next < KEYS) {
		b->next++;
		rc = put(b, b->next - 1, round);
	}
	assert_true(err_no_room(rc));
	assert_true(b->next < KEYS);
	b->next--;
}

static void while_it_is_full(struct book *b)
{
	struct zdb_ns *other;
	unsigned k;

	fill(b, 2);
	all_there(b);
	for (k = 0; k < 3; k++)
		assert_true(err_no_room(put(b, k, 3)));
	all_there(b);
	assert_int_equal(drop(b, 1), 0);
	assert_int_equal(drop(b, 4), 0);
	assert_int_equal(drop(b, 4), -ENOENT);
	all_there(b);
	assert_true(err_no_room(zdb_jump(b->u.ns)));
	assert_int_equal(zdb_ns_create(b->u.eng, "other", 5, &other), -ENOSPC);
	assert_int_equal(zdb_sync(b->u.ns, ZDB_SYNC_DATA), 0);
	assert_int_equal(zdb_sync(b->u.ns, ZDB_SYNC_INDEX), 0);
	assert_int_equal(zdb_ns_write_error(b->u.ns), 0);
	all_there(b);
}

static void start(struct book *b)
{
	assert_int_equal(zu_open(&b->u), 0);
	assert_int_equal(zdb_ns_recovery(b->u.ns)->data_cut_bytes, 0);
	all_there(b);
}

static void no_room(enum zdb_mode mode, bool gather, int error)
{
	struct book b = {.next = FIRST};
	unsigned k;

	zu_setup(&b.u, mode);
	b.u.opt.gather_writes = gather;
	b.u.opt.prealloc_max = gather ? 64 << 10 : 1; /* 1: none */
	start(&b);
	for (k = 0; k < FIRST; k++)
		assert_int_equal(put(&b, k, 1), 0);
	assert_int_equal(zdb_sync(b.u.ns, ZDB_SYNC_INDEX), 0);
	snprintf(root, sizeof(root), "%s", b.u.dir);
	limit = used_now();
	full = error;
	while_it_is_full(&b);
	assert_int_equal(zdb_flush(b.u.eng), 0);
	zu_crash(&b.u);
	start(&b);
	zu_close(&b.u);
	start(&b);
	full = 0;
	for (k = 0; k < FIRST; k += 2)
		assert_int_equal(put(&b, k, 4), 0);
	b.next++;
	assert_int_equal(put(&b, b.next - 1, 4), 0);
	assert_int_equal(zdb_jump(b.u.ns), 0);
	assert_int_equal(put(&b, 3, 5), 0);
	all_there(&b);
	zu_close(&b.u);
	start(&b);
	zu_close(&b.u);
	zu_teardown(&b.u);
}

static void with(int error)
{
	table = sys_real;
	full = 0;
	table.write = full_write;
	table.pwrite = full_pwrite;
	table.pwritev2 = full_pwritev2;
	table.fallocate = full_fallocate;
	table.mkdir = full_mkdir;
	sys = &table;
	no_room(ZDB_USER, false, error);
	no_room(ZDB_SEQ, false, error);
	no_room(ZDB_USER, true, error);
	no_room(ZDB_SEQ, true, error);
	sys = &sys_real;
}

static void of_the_disk(void **state)
{
	(void)state;
	with(ENOSPC);
}

static void of_a_quota(void **state)
{
	(void)state;
	with(EDQUOT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(of_the_disk),
		cmocka_unit_test(of_a_quota),
	};

	return cmocka_run_group_tests_name("zdb_no_room", tests, NULL, NULL);
}
