/*
 * sim_disk.h: what the recorder (sim_disk.c) and the one that makes states of it (sim_disk_out.c) share.
 */
#ifndef TESTS_UNIT_SUPPORT_SIM_DISK_H
#define TESTS_UNIT_SUPPORT_SIM_DISK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/base/sys.h"
#include "tests/unit/support/sys_test.h"

#define SIM_SECTOR 512u

/* A file or directory. Numbers are given once and never reused, unlike those of the real file system. */
struct sim_inode {
	dev_t dev;
	ino_t ino;
	bool is_dir, is_stale; /* is_stale: the real inode number may belong to another file by now */
	bool has_failed;       /* a sync of it has */
	mode_t mode;
	unsigned char *data; /* content when recording began */
	size_t size;
};

struct sim_entry {
	int dir, inode;
	char *name;
};

enum sim_op_kind {
	SIM_OP_WRITE,     /* inode, off, len, data */
	SIM_OP_SIZE,      /* inode, len = the new size */
	SIM_OP_EXTEND,    /* inode, len = at least this size (fallocate) */
	SIM_OP_SYNC,      /* inode; of a directory: its names */
	SIM_OP_SYNC_FAIL, /* inode */
	SIM_OP_SYNC_ALL,
	SIM_OP_LINK,     /* dir, name -> inode */
	SIM_OP_UNLINK,   /* dir, name, inode */
	SIM_OP_RENAME,   /* dir, name -> dir2, name2; inode */
	SIM_OP_EXCHANGE, /* dir, name (inode) <-> dir2, name2 (inode2) */
};

struct sim_op {
	enum sim_op_kind kind;
	int inode, inode2, dir, dir2;
	char *name, *name2;
	uint64_t off, len;
	unsigned char *data;
	uint64_t lost_at; /* calls recorded when the cache was dropped that alone had this write; 0 = it was not */
};

struct sim_disk {
	const struct sys_ops *lower;
	char root[4096];
	int root_inode;
	pthread_mutex_t
		lock; /* everything below; held across each real call, so that the order is the real one */
	struct sim_inode *inodes;
	size_t inode_count, inode_cap;
	struct sim_entry *entries; /* names when recording began */
	size_t entry_count, entry_cap;
	struct sim_op *ops;
	size_t op_count, op_cap;
};

/* realloc that grows an array by doubling and aborts without memory. */
void *sim_grow(void *array, size_t count, size_t *cap, size_t size);

#endif
