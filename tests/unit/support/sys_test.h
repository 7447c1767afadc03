/*
 * sys_test: what tests put in place of the system: calls and allocations that fail on demand, a clock that is moved by
 * hand, and a disk whose power can be cut.
 *
 * Three independent layers, used in this order when combined:
 *	sim_disk_begin(root)	records what happens below `root`, passes everything to the real system
 *	sys_fault_begin()	counts calls and fails chosen ones, passes the others to the table that was in use
 *	mem_fault_begin()	counts allocations and fails chosen ones
 * Ending restores what was in use before. None of them is needed for the others.
 *
 * A fail-at-nth loop:
 *
 *	for (uint64_t n = 1;; n++) {
 *		bool fired;
 *		sys_fault_begin();
 *		sys_fault_arm(SYS_CALL_ANY, n, EIO);
 *		code = operation_under_test();
 *		fired = sys_fault_fired();
 *		sys_fault_end();
 *		check_that_it_is_done_or_reported(code);
 *		if (!fired)
 *			break;		// it made fewer than n calls: all have been failed once
 *	}
 */
#ifndef TESTS_UNIT_SUPPORT_SYS_TEST_H
#define TESTS_UNIT_SUPPORT_SYS_TEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- failing calls ---- */

enum sys_call {
	SYS_CALL_ANY, /* any call that can fail in real life: all below but close, readdir, closedir and the clock */
	SYS_CALL_OPEN, /* open, openat */
	SYS_CALL_CLOSE,
	SYS_CALL_READ,  /* read, pread, preadv2 */
	SYS_CALL_WRITE, /* write, pwrite, writev, pwritev2 */
	SYS_CALL_LSEEK,
	SYS_CALL_SYNC, /* fsync, fdatasync, syncfs */
	SYS_CALL_SYNC_RANGE,
	SYS_CALL_TRUNCATE,
	SYS_CALL_FALLOCATE,
	SYS_CALL_RENAME, /* rename, renameat2 */
	SYS_CALL_LINK,
	SYS_CALL_UNLINK, /* unlink, unlinkat */
	SYS_CALL_MKDIR,  /* mkdir, mkdirat */
	SYS_CALL_RMDIR,
	SYS_CALL_STAT, /* stat, lstat, fstat, fstatat, fstatvfs, access */
	SYS_CALL_ATTR, /* fchmod, futimens, posix_fadvise */
	SYS_CALL_FLOCK,
	SYS_CALL_OPENDIR,
	SYS_CALL_READDIR,
	SYS_CALL_MAP, /* mmap */
	SYS_CALL_CLOCK,
	SYS_CALL_RANDOM,
	SYS_CALL_KINDS,
};

void sys_fault_begin(void);
void sys_fault_end(void);

/* The nth call of this kind from now on (1 = the next) fails with `error`, once. Replaces what was armed for the kind. */
void sys_fault_arm(enum sys_call kind, uint64_t nth, int error);
/* The nth and every later one (a dead disk). */
void sys_fault_arm_from(enum sys_call kind, uint64_t nth, int error);
/* The nth call of any kind and every later one fails, as for a process that is gone: no disk hears of a failed sync. */
void sys_fault_kill(uint64_t nth);
/* The nth read or write transfers only `len` bytes (at least 1). */
void sys_fault_arm_short(enum sys_call kind, uint64_t nth, size_t len);
/* Nothing is armed any more; counting goes on. */
void sys_fault_disarm(void);
/* Only calls on paths, or on descriptors opened by paths, that contain this text are counted and failed. NULL = all. */
void sys_fault_only(const char *path_part);

/* Calls since sys_fault_begin(); whether something armed has happened since the last arm. */
uint64_t sys_fault_calls(enum sys_call kind);
bool sys_fault_fired(void);

/* ---- the clock: while set, both clocks stand still and are moved by hand (within sys_fault_begin/end) ---- */

void sys_clock_set(uint64_t mono_ms, uint64_t wall_ms);
void sys_clock_advance(uint64_t ms);

/* ---- failing allocations ---- */

void mem_fault_begin(void);
/* Ends, and returns how many blocks that were allocated since mem_fault_begin() are still allocated: leaks. */
size_t mem_fault_end(void);
/* The nth allocation from now on (1 = the next) fails, once; _from: and every later one. 0 = none. */
void mem_fault_arm(uint64_t nth);
void mem_fault_arm_from(uint64_t nth);
uint64_t mem_fault_calls(void);
bool mem_fault_fired(void);

/* ---- a disk whose power can be cut ----
 *
 * The program under test works on the real files below `root`; every call that changes or syncs something there is
 * recorded. sim_disk_materialise() then writes, into another directory, what a disk may hold when the power fails after
 * the first `cut` recorded calls. One recorded run serves any number of cuts and seeds.
 *
 * What is promised by the model, and nothing more:
 *  - bytes written to a file, its truncations and its size are there after an fsync, fdatasync or syncfs that succeeded
 *    later; until then each 512-byte sector of each write is there or not, in any combination (later writes without
 *    earlier ones, half a write), and the size may already be there without the bytes (zeros);
 *  - a name (create, link, mkdir, unlink, rmdir, rename) is durable after an fsync of its directory; until then each is
 *    there or not, in any combination. Syncing a file does not make its name durable. A rename is atomic: the old or
 *    the new state of both names; it is durable with the directory of the new name;
 *  - after an fsync that failed (sys_fault), what was not durable before it never becomes so by a later fsync. It still reads
 *    as it was written until posix_fadvise(DONTNEED) for the file; then as the disk has it: as before, or zeros. A later
 *    write to a sector brings all of it there.
 * The content of a file that had no name left, or whose directory never became durable, is gone.
 *
 * Any thread may make the recorded calls. Hard links are kept; symbolic links, mmap and O_DIRECT alignment are not
 * modelled. Times are not kept.
 */

struct sim_disk;

enum sim_policy {
	SIM_DROP, /* nothing that was not synced is there */
	SIM_KEEP, /* everything is there: the crash of a process */
	SIM_PREFIX, /* per file, and for all names together, a prefix of what was not synced, the last write torn */
	SIM_RANDOM, /* any combination, by seed */
	/*
	 * Any combination of sectors, by seed, but within a sector never a later write without the earlier ones: a page
	 * cache writes a sector as it is at that moment. This is the model for code that tells torn records by zeros.
	 */
	SIM_SECTORS,
};

/* Takes what is below `root` (an existing directory) as durable and begins to record. Aborts the test when it cannot. */
struct sim_disk *sim_disk_begin(const char *root);
/* Stops recording and puts the former table back. The recording can still be materialised. */
void sim_disk_stop(struct sim_disk *disk);
void sim_disk_free(struct sim_disk *disk);

/* For sys_fault: an fsync of this descriptor was reported as failed. Harmless when no disk is recorded. */
void sim_disk_sync_failed(int fd);

/* Recorded calls so far. A cut at c means: the calls 0 .. c-1 were made. Note it when something is acknowledged. */
uint64_t sim_disk_calls(struct sim_disk *disk);

/* Writes the state after a cut into `out`, which must not exist or be an empty directory. Not while recording. */
void sim_disk_materialise(struct sim_disk *disk, uint64_t cut, enum sim_policy policy, uint64_t seed,
			  const char *out);

/* "write data/default/d0 at 4096 + 512" for the messages of a failing test. Returns dst. */
char *sim_disk_describe(struct sim_disk *disk, uint64_t call, char *dst, size_t size);

/* ---- a directory of the test's own ---- */

/* For tests that sync a lot and need no real disk: directories are made in memory if there is room, unless $TMPDIR says where. */
void test_in_memory(void);
/* Makes a new directory below $TMPDIR or /tmp; the path is static until the next call. Aborts when it cannot. */
const char *test_dir_new(void);
/* Removes a directory made by test_dir_new(), with everything in it. */
void test_dir_remove(const char *path);
/* All that is in a directory, as it is now; what was at `to` is gone. Aborts when it cannot. */
void test_dir_copy(const char *from, const char *to);

/* A small seeded generator (splitmix64), so that random tests can print and repeat their seed. */
uint64_t test_random(uint64_t *state);
/* The seed of this run: $TEST_SEED or a fresh one; printed on stderr. */
uint64_t test_seed(void);

#endif
