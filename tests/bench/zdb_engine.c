/*
 * zdb_engine: rates and memory of core/zdb without a server in front.  Prints a table; judges nothing.
 *
 *	zdb_engine [DIR [KEYS]]	  DIR is made and removed again
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/base/endian.h"
#include "core/base/file.h"
#include "core/zdb/zdb.h"

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Anonymous memory of this process in KiB: what the page cache holds for us does not count. */
static long anon_kib(void)
{
	FILE *f = fopen("/proc/self/status", "r");
	char line[256];
	long kib = 0;

	while (f != NULL && fgets(line, sizeof(line), f) != NULL)
		if (sscanf(line, "RssAnon: %ld", &kib) == 1)
			break;
	if (f != NULL)
		fclose(f);
	return kib;
}

static void must(int rc, const char *what)
{
	if (rc != 0) {
		fprintf(stderr, "zdb_engine: %s: %d\n", what, rc);
		exit(1);
	}
}

struct bench {
	struct zdb_options opt;
	struct zdb *eng;
	struct zdb_ns *ns;
	const char *mode;
};

static void open_engine(struct bench *b)
{
	char why[256];

	must(zdb_open(&b->eng, &b->opt, why, sizeof(why)), why);
	b->ns = zdb_ns_find(b->eng, "default", 7);
}

static size_t key_of(const struct bench *b, uint64_t i, uint8_t *key)
{
	if (b->opt.mode == ZDB_SEQ) {
		put_u64le(key, i);
		return 8;
	}
	return (size_t)sprintf((char *)key, "key:%012llu", (unsigned long long)i);
}

/* Sets with `batch` of them between two flushes, as a pipeline of that depth would. */
static void bench_set(struct bench *b, uint64_t count, size_t size, unsigned batch, bool update,
		      const char *what)
{
	uint8_t *value = calloc(1, size), key[32];
	struct zdb_set_result r;
	double t = now_s();

	for (uint64_t i = 0; i < count; i++) {
		uint64_t k = update ? i * 7919 % count : i;
		size_t klen = b->opt.mode == ZDB_SEQ && !update ? 0 : key_of(b, k, key);

		put_u64le(value, i + (update ? count : 0));
		must(zdb_set(b->ns, key, klen, value, size, 1, &r), "set");
		if (i % batch == batch - 1)
			must(zdb_flush(b->eng), "flush");
	}
	must(zdb_flush(b->eng), "flush");
	t = now_s() - t;
	printf("%-5s %-28s %10.0f /s %9.1f MB/s\n", b->mode, what, (double)count / t,
	       (double)count * (double)size / t / 1e6);
	free(value);
}

static void bench_get(struct bench *b, uint64_t keys, uint64_t count, const char *what)
{
	uint8_t key[32], *buf = malloc(ZDB_PAYLOAD_MAX);
	uint64_t bytes = 0;
	double t = now_s();

	for (uint64_t i = 0; i < count; i++) {
		struct zdb_read rd;
		size_t klen = key_of(b, i * 7919 % keys, key);

		must(zdb_get(b->ns, key, klen, &rd, NULL), "get");
		must(zdb_read_run(&rd, 0, rd.length, buf), "read");
		bytes += rd.length;
		zdb_read_end(b->ns, &rd);
	}
	t = now_s() - t;
	printf("%-5s %-28s %10.0f /s %9.1f MB/s\n", b->mode, what, (double)count / t,
	       (double)bytes / t / 1e6);
	free(buf);
}

static bool count_entry(void *ctx, const struct zdb_entry *e)
{
	(void)e;
	++*(uint64_t *)ctx;
	return true;
}

static void bench_many(struct bench *b, uint64_t keys)
{
	uint8_t cursor[ZDB_CURSOR_SIZE];
	uint64_t listed = 0;
	struct zdb_ns_info info;
	long before, after;
	size_t cursor_size = 0;
	double t;

	must(zdb_close(b->eng), "close");
	before = anon_kib();
	t = now_s();
	open_engine(b);
	t = now_s() - t;
	after = anon_kib();
	zdb_ns_info(b->ns, &info);
	printf("%-5s start with %llu keys %*s %10.3f s\n", b->mode, (unsigned long long)info.entries, 6, "",
	       t);
	printf("%-5s memory %*s %10ld KiB, %.1f bytes per key\n", b->mode, 21, "", after - before,
	       (double)(after - before) * 1024 / (double)keys);
	t = now_s();
	/* Pages of 2 ms, as the server asks for them. */
	while (zdb_scan(b->ns, cursor, cursor_size, false, 0, 2000, count_entry, &listed, cursor) == 0)
		cursor_size = sizeof(cursor);
	t = now_s() - t;
	printf("%-5s SCAN of %llu keys %*s %10.3f s\n", b->mode, (unsigned long long)listed, 9, "", t);
	listed = 0;
	cursor_size = 0;
	t = now_s();
	while (zdb_scan(b->ns, cursor, cursor_size, true, 0, 2000, count_entry, &listed, cursor) == 0)
		cursor_size = sizeof(cursor);
	t = now_s() - t;
	printf("%-5s RSCAN of %llu keys %*s %10.3f s\n", b->mode, (unsigned long long)listed, 8, "", t);
}

static void run_mode(const char *dir, enum zdb_mode mode, uint64_t keys)
{
	char data[600], index[600];
	struct bench b = {.opt = {.mode = mode, .gather_writes = true},
			  .mode = mode == ZDB_SEQ ? "seq" : "user"};

	snprintf(data, sizeof(data), "%s/data", dir);
	snprintf(index, sizeof(index), "%s/index", dir);
	b.opt.data_root = data;
	b.opt.index_root = index;
	open_engine(&b);
	bench_set(&b, keys, 64, 1, false, "SET 64 B");
	bench_set(&b, keys / 4, 64, 16, true, "SET 64 B update, 16 per turn");
	bench_get(&b, keys, keys / 2, "GET 64 B");
	bench_many(&b, keys);
	must(zdb_close(b.eng), "close");
	must(file_rm_tree(dir), "remove");

	open_engine(&b);
	bench_set(&b, keys, 64, 16, false, "SET 64 B, 16 per turn");
	must(zdb_close(b.eng), "close");
	must(file_rm_tree(dir), "remove");
	open_engine(&b);
	bench_set(&b, 50000, 4096, 1, false, "SET 4 KiB");
	bench_get(&b, 50000, 100000, "GET 4 KiB");
	must(zdb_close(b.eng), "close");
	must(file_rm_tree(dir), "remove");
	open_engine(&b);
	bench_set(&b, 4000, 131072, 1, false, "SET 128 KiB");
	bench_get(&b, 4000, 8000, "GET 128 KiB");
	must(zdb_close(b.eng), "close");
	must(file_rm_tree(dir), "remove");
}

int main(int argc, char **argv)
{
	const char *dir = argc > 1 ? argv[1] : "/tmp/zdb_engine.bench";
	uint64_t keys = argc > 2 ? strtoull(argv[2], NULL, 10) : 1000000;

	if (file_exists(dir) != 0) {
		fprintf(stderr, "zdb_engine: %s exists already\n", dir);
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("idle process: %ld KiB\n", anon_kib());
	run_mode(dir, ZDB_USER, keys);
	run_mode(dir, ZDB_SEQ, keys);
	return 0;
}
