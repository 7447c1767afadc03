/*
 * zdb_util: an engine in a directory of its own, for tests of core/zdb.
 */
#ifndef TESTS_UNIT_SUPPORT_ZDB_UTIL_H
#define TESTS_UNIT_SUPPORT_ZDB_UTIL_H

#include "core/zdb/zdb_offline.h"

struct zu {
	char dir[256], data[300], index[300];
	struct zdb_options opt;
	struct zdb *eng;
	struct zdb_ns *ns; /* default */
	char why[512];
};

/* A new directory; nothing is opened.  Segments of ZDB_DATASIZE_MIN. */
void zu_setup(struct zu *u, enum zdb_mode mode);
void zu_teardown(struct zu *u); /* abandons an open engine, removes the directory */
/* Points at another pair of directories below `dir` (not owned). */
void zu_at(struct zu *u, const char *dir, enum zdb_mode mode);

int zu_open(struct zu *u);   /* also sets ns; prints why on failure */
void zu_close(struct zu *u); /* fails the test when the stop is not clean */
void zu_crash(struct zu *u);
/* The offline check of what is on disk: anything but a note fails the test; `where` is for the message. */
void zu_check(const struct zu *u, const char *where);
const char *zu_mode_name(enum zdb_mode mode);

/* Text in, text out.  zu_get: the value as a terminated string in a static buffer, NULL when absent; fails on errors. */
int zu_set(struct zu *u, const char *key, const char *value);
int zu_del(struct zu *u, const char *key);
const char *zu_get(struct zu *u, const char *key);
/* Sequential: inserts and returns the id; sets; gets. */
uint64_t zu_insert(struct zu *u, const char *value);
int zu_seq_set(struct zu *u, uint64_t id, const char *value);
int zu_seq_del(struct zu *u, uint64_t id);
const char *zu_seq_get(struct zu *u, uint64_t id);

/* Whole value into malloc'ed memory, or a negative code. */
int zu_value(struct zdb_ns *ns, const void *key, size_t klen, uint8_t **value, size_t *size);

/* Bytes that are appended to, as by zdb_bundle_read(); ctx is a struct zu_bytes.  `b` is malloc'ed. */
struct zu_bytes {
	uint8_t *b;
	size_t size;
};
int zu_bytes_add(void *ctx, const void *bytes, size_t size);

/* Whole file, malloc'ed; NULL when absent. */
uint8_t *zu_file(struct zu *u, const char *ns, const char *name, size_t *size);
void zu_path(struct zu *u, const char *ns, const char *name, char *path, size_t size);

#endif
