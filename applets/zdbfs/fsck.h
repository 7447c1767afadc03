/*
 * fsck: checks a volume record by record against the format, without the file system's code.
 *
 * It only reads. What it finds is said in one line each through `say`; the counts tell what kind:
 *	errors	something contradicts the format or itself: data is lost, or names and inodes do not fit together
 *	leaks	live records that nothing refers to: space, no damage
 */
#ifndef ZDBFS_FSCK_H
#define ZDBFS_FSCK_H

#include "applets/zdbfs/kv.h"
#include "core/base/err.h"

struct fsck_options {
	bool read_blocks; /* fetch every block and check its length; else only that it is there */
	bool find_leaks;  /* look at every number ever handed out */
	void (*say)(void *ctx, const char *line);
	void *ctx;
};

struct fsck_result {
	uint64_t errors, leaked_meta, leaked_data;
	uint64_t dirs, files, links, others, names, blocks, block_bytes;
	uint64_t next_meta, next_data;
	bool was_clean; /* header says so */
};

/* 0 when everything could be read (whatever was found), or the store's error with a sentence. */
int fsck_run(struct kv *kv, const struct fsck_options *opt, struct fsck_result *result, struct err_text *err);

#endif
