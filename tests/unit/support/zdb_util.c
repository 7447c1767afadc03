/*
 * zdb_util.c: see zdb_util.h.
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

#include "core/base/endian.h"
#include "tests/unit/support/sys_test.h"
#include "tests/unit/support/zdb_util.h"

void zu_at(struct zu *u, const char *dir, enum zdb_mode mode)
{
	memset(u, 0, sizeof(*u));
	snprintf(u->dir, sizeof(u->dir), "%s", dir);
	snprintf(u->data, sizeof(u->data), "%s/data", dir);
	snprintf(u->index, sizeof(u->index), "%s/index", dir);
	u->opt = (struct zdb_options){
		.data_root = u->data, .index_root = u->index, .mode = mode, .datasize = ZDB_DATASIZE_MIN};
}

void zu_setup(struct zu *u, enum zdb_mode mode)
{
	zu_at(u, test_dir_new(), mode);
}

void zu_teardown(struct zu *u)
{
	if (u->eng != NULL)
		zdb_abandon(u->eng);
	u->eng = NULL;
	test_dir_remove(u->dir);
}

int zu_open(struct zu *u)
{
	int rc = zdb_open(&u->eng, &u->opt, u->why, sizeof(u->why));

	if (rc != 0) {
		fprintf(stderr, "zdb_open: %d: %s\n", rc, u->why);
		return rc;
	}
	u->ns = zdb_ns_find(u->eng, ZDB_DEFAULT, strlen(ZDB_DEFAULT));
	assert_non_null(u->ns);
	return 0;
}

void zu_close(struct zu *u)
{
	int rc = zdb_close(u->eng);

	u->eng = NULL;
	assert_int_equal(rc, 0);
}

void zu_crash(struct zu *u)
{
	zdb_abandon(u->eng);
	u->eng = NULL;
}

static void finding(void *ctx, int level, const char *ns, const char *text)
{
	if (level > 0)
		fail_msg("%s: check: %s: %s", (const char *)ctx, ns, text);
}

void zu_check(const struct zu *u, const char *where)
{
	assert_int_equal(zdb_verify(&u->opt, finding, (void *)(uintptr_t)where), 0);
}

const char *zu_mode_name(enum zdb_mode mode)
{
	return mode == ZDB_SEQ ? "sequential" : "user";
}

int zu_bytes_add(void *ctx, const void *bytes, size_t size)
{
	struct zu_bytes *g = ctx;

	g->b = realloc(g->b, g->size + size + 1); /* never of no bytes */
	assert_non_null(g->b);
	memcpy(g->b + g->size, bytes, size);
	g->size += size;
	return 0;
}

static int set(struct zu *u, const void *key, size_t klen, const char *value, struct zdb_set_result *r)
{
	return zdb_set(u->ns, key, klen, value, strlen(value), 1000, r);
}

int zu_set(struct zu *u, const char *key, const char *value)
{
	struct zdb_set_result r;

	return set(u, key, strlen(key), value, &r);
}

int zu_del(struct zu *u, const char *key)
{
	return zdb_del(u->ns, key, strlen(key), 1000);
}

int zu_value(struct zdb_ns *ns, const void *key, size_t klen, uint8_t **value, size_t *size)
{
	struct zdb_read rd;
	int rc = zdb_get(ns, key, klen, &rd, NULL);

	*value = NULL;
	if (rc != 0)
		return rc;
	*size = rd.length;
	*value = malloc(rd.length + 1);
	assert_non_null(*value);
	rc = zdb_read_run(&rd, 0, rd.length, *value);
	(*value)[rd.length] = '\0';
	zdb_read_end(ns, &rd);
	if (rc != 0) {
		free(*value);
		*value = NULL;
	}
	return rc;
}

static const char *get(struct zu *u, const void *key, size_t klen)
{
	static char text[4096];
	uint8_t *v;
	size_t n;
	int rc = zu_value(u->ns, key, klen, &v, &n);

	if (rc == -ENOENT)
		return NULL;
	assert_int_equal(rc, 0);
	assert_true(n < sizeof(text));
	memcpy(text, v, n + 1);
	free(v);
	return text;
}

const char *zu_get(struct zu *u, const char *key)
{
	return get(u, key, strlen(key));
}

uint64_t zu_insert(struct zu *u, const char *value)
{
	struct zdb_set_result r;

	assert_int_equal(set(u, NULL, 0, value, &r), 0);
	assert_int_equal(r.outcome, ZDB_INSERTED);
	return get_u64le(r.key);
}

int zu_seq_set(struct zu *u, uint64_t id, const char *value)
{
	struct zdb_set_result r;
	uint8_t key[8];

	put_u64le(key, id);
	return set(u, key, sizeof(key), value, &r);
}

int zu_seq_del(struct zu *u, uint64_t id)
{
	uint8_t key[8];

	put_u64le(key, id);
	return zdb_del(u->ns, key, sizeof(key), 1000);
}

const char *zu_seq_get(struct zu *u, uint64_t id)
{
	uint8_t key[8];

	put_u64le(key, id);
	return get(u, key, sizeof(key));
}

void zu_path(struct zu *u, const char *ns, const char *name, char *path, size_t size)
{
	snprintf(path, size, "%s/%s/%s", name[0] == 'd' ? u->data : u->index, ns, name);
}

uint8_t *zu_file(struct zu *u, const char *ns, const char *name, size_t *size)
{
	char path[1024];
	uint8_t *b;
	FILE *f;
	long n;

	zu_path(u, ns, name, path, sizeof(path));
	f = fopen(path, "rb");
	if (f == NULL)
		return NULL;
	assert_int_equal(fseek(f, 0, SEEK_END), 0);
	n = ftell(f);
	rewind(f);
	b = malloc((size_t)n + 1);
	assert_non_null(b);
	assert_int_equal(fread(b, 1, (size_t)n, f), (size_t)n);
	fclose(f);
	*size = (size_t)n;
	return b;
}
