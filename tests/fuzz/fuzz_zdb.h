/*
 * fuzz_zdb.h: a namespace whose files are what the fuzzer says. Whatever is in them: the engine opens or refuses with a
 * sentence; what it opens can be read, scanned, written, stopped and opened again, and then nothing is left to repair.
 */
#ifndef TESTS_FUZZ_FUZZ_ZDB_H
#define TESTS_FUZZ_FUZZ_ZDB_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/err.h"
#include "core/base/file.h"
#include "core/base/sys.h"
#include "core/zdb/fmt.h"
#include "core/zdb/zdb_offline.h"

struct fuzz_dir {
	char dir[64], index[96], data[96];
	struct sys_ops table;
};

static int sync_nothing(int fd)
{
	(void)fd;
	return 0;
}

static void must(int condition)
{
	if (!condition)
		abort();
}

static void put_file(const char *dir, const char *name, const void *bytes, size_t size)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "wb");
	must(f != NULL && fwrite(bytes, 1, size, f) == size);
	fclose(f);
}

static void fuzz_begin(struct fuzz_dir *d)
{
	char path[160];

	d->table = sys_real; /* durability is not what is looked at here, and costs most of the time */
	d->table.fsync = sync_nothing;
	d->table.fdatasync = sync_nothing;
	d->table.syncfs = sync_nothing;
	sys = &d->table;
	snprintf(d->dir, sizeof(d->dir), "%s/fuzz_zdb.XXXXXX",
		 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	must(mkdtemp(d->dir) != NULL);
	snprintf(d->index, sizeof(d->index), "%s/index", d->dir);
	snprintf(d->data, sizeof(d->data), "%s/data", d->dir);
	snprintf(path, sizeof(path), "%s/default", d->index);
	must(mkdir(d->index, 0700) == 0 && mkdir(path, 0700) == 0);
	snprintf(path, sizeof(path), "%s/default", d->data);
	must(mkdir(d->data, 0700) == 0 && mkdir(path, 0700) == 0);
}

static void fuzz_end(struct fuzz_dir *d)
{
	must(file_rm_tree(d->dir) == 0);
	sys = &sys_real;
}

static bool fuzz_entry(void *ctx, const struct zdb_entry *e)
{
	must(e->klen > 0 && e->klen <= ZDB_KEY_MAX && e->length <= ZDB_PAYLOAD_MAX);
	return ++*(unsigned *)ctx < 10000;
}

static void fuzz_finding(void *ctx, int level, const char *ns, const char *text)
{
	(void)ctx;
	(void)level;
	must(ns != NULL && text[0] != '\0');
}

/* Opens and uses what is there, twice. */
static void fuzz_use(const struct fuzz_dir *d)
{
	struct zdb_options o = {.data_root = d->data,
				.index_root = d->index,
				.mode = ZDB_MIXED,
				.datasize = ZDB_DATASIZE_MIN};
	uint8_t next[ZDB_CURSOR_SIZE];
	struct zdb_set_result r;
	char why[256];

	must(zdb_verify(&o, fuzz_finding, NULL) <= 2);
	for (int round = 0; round < 2; round++) {
		struct zdb *eng;
		struct zdb_ns *ns;
		struct zdb_read rd;
		unsigned seen = 0;
		int rc = zdb_open(&eng, &o, why, sizeof(why));

		if (rc != 0) {
			must(round == 0 && why[0] != '\0');
			return;
		}
		ns = zdb_ns_find(eng, "default", 7);
		must(ns != NULL);
		(void)zdb_scan(ns, NULL, 0, false, 0, 0, fuzz_entry, &seen, next);
		seen = 0;
		(void)zdb_scan(ns, NULL, 0, true, 0, 0, fuzz_entry, &seen, next);
		rc = zdb_set(ns, "k", zdb_ns_mode(ns) == ZDB_SEQ ? 0 : 1, "value", 5, 1, &r);
		/* A descriptor may say that live keys stay as they are, or that there is no room. */
		if (rc == -EPERM || rc == -E_LIMIT) {
			must(zdb_close(eng) == 0);
			continue;
		}
		must(rc == 0);
		if (zdb_ns_mode(ns) == ZDB_USER)
			rc = zdb_get(ns, "k", 1, &rd, NULL);
		else if (r.outcome == ZDB_INSERTED)
			rc = zdb_get(ns, r.key, sizeof(r.key), &rd, NULL);
		must(rc == 0);
		must(rd.length == 5 && memcmp(rd.data, "value", 5) == 0);
		zdb_read_end(ns, &rd);
		must(zdb_close(eng) == 0);
	}
}

#endif
