/* The bytes on disk of both modes are those of the format, field by field, and the cursors are those of the wire. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>

#include "core/zdb/fmt.h"
#include "tests/unit/support/zdb_util.h"

struct row { /* one index record */
	unsigned file, at;
	uint64_t key;
	unsigned off, len, prev, flags, data_file;
	uint32_t crc;
	unsigned parent_file, parent_off;
};

struct drow { /* one data record */
	unsigned file, at;
	uint64_t key;
	unsigned len, prev, flags;
	uint32_t crc;
};

static void check_index(struct zu *u, const struct row *rows, size_t count, size_t klen)
{
	size_t size[2], end[2] = {IDX_HEADER, IDX_HEADER};
	uint8_t *b[2] = {zu_file(u, "default", "i0", &size[0]), zu_file(u, "default", "i1", &size[1])};

	assert_non_null(b[0]);
	assert_non_null(b[1]);
	for (size_t i = 0; i < count; i++) {
		const struct row *w = &rows[i];
		uint64_t key = 0;
		struct idx_rec r;

		assert_true(w->at + IDX_RECORD + klen <= size[w->file]);
		idx_decode(&r, b[w->file] + w->at);
		memcpy(&key, b[w->file] + w->at + IDX_RECORD, klen);
		assert_int_equal(r.klen, klen);
		assert_int_equal(key, w->key);
		assert_int_equal(r.off, w->off);
		assert_int_equal(r.len, w->len);
		assert_int_equal(r.prev, w->prev);
		assert_int_equal(r.flags, w->flags);
		assert_int_equal(r.data_file, w->data_file);
		assert_int_equal(r.crc, w->crc);
		assert_int_equal(r.parent_file, w->parent_file);
		assert_int_equal(r.parent_off, w->parent_off);
		end[w->file] = w->at + IDX_RECORD + klen;
	}
	assert_int_equal(end[0], size[0]);
	assert_int_equal(end[1], size[1]);
	free(b[0]);
	free(b[1]);
}

static void check_data(struct zu *u, const struct drow *rows, size_t count, size_t klen)
{
	size_t size[2], end[2] = {DAT_HEADER, DAT_HEADER};
	uint8_t *b[2] = {zu_file(u, "default", "d0", &size[0]), zu_file(u, "default", "d1", &size[1])};

	for (size_t i = 0; i < count; i++) {
		const struct drow *w = &rows[i];
		uint64_t key = 0;
		struct dat_rec r;

		dat_decode(&r, b[w->file] + w->at);
		memcpy(&key, b[w->file] + w->at + DAT_RECORD, klen);
		assert_int_equal(r.klen, klen);
		assert_int_equal(key, w->key);
		assert_int_equal(r.len, w->len);
		assert_int_equal(r.prev, w->prev);
		assert_int_equal(r.flags, w->flags);
		assert_int_equal(r.crc, w->crc);
		assert_int_equal(r.ts, 1000);
		end[w->file] = w->at + DAT_RECORD + klen + w->len;
	}
	assert_int_equal(end[0], size[0]);
	assert_int_equal(end[1], size[1]);
	free(b[0]);
	free(b[1]);
}

struct listed {
	uint64_t keys[16];
	size_t count;
};

static bool list(void *ctx, const struct zdb_entry *e)
{
	struct listed *l = ctx;

	l->keys[l->count] = 0;
	memcpy(&l->keys[l->count++], e->key, e->klen);
	return true;
}

static void history(struct zu *u, const char *key, const char *cursor, const char *value, const char *next)
{
	uint8_t out[8];
	struct zdb_read rd;
	bool more;

	assert_int_equal(zdb_history(u->ns, key, 1, cursor, cursor == NULL ? 0 : 8, &rd, out, &more, NULL),
			 0);
	assert_int_equal(rd.length, strlen(value));
	assert_memory_equal(rd.data, value, rd.length);
	assert_int_equal(more, next != NULL);
	if (next != NULL)
		assert_memory_equal(out, next, 8);
	zdb_read_end(u->ns, &rd);
}

static void user_mode(void **state)
{
	static const struct row rows[] = {
		{0, 29, 'a', 28, 2, 0, 1, 0, 0x141e4f07, 0, 0},
		{0, 64, 'b', 49, 1, 29, 1, 0, 0xa55230e6, 0, 0},
		{0, 99, 'a', 69, 2, 64, 1, 0, 0x074ebcf3, 0, 29},
		{0, 134, 'e', 109, 0, 99, 0, 0, 0, 0, 0},
		{1, 29, 'c', 28, 9, 134, 0, 1, 0xcec37775, 0, 0},
		{1, 64, 'a', 56, 2, 29, 0, 1, 0xf5253ff0, 0, 99},
	};
	static const struct drow drows[] = {
		{0, 28, 'a', 2, 0, 0, 0x141e4f07},  {0, 49, 'b', 1, 28, 0, 0xa55230e6},
		{0, 69, 'a', 2, 49, 0, 0x074ebcf3}, {0, 90, 'b', 0, 69, 1, 0},
		{0, 109, 'e', 0, 90, 0, 0},         {1, 28, 'c', 9, 109, 0, 0xcec37775},
		{1, 56, 'a', 2, 28, 0, 0xf5253ff0},
	};
	struct listed l = {.count = 0};
	struct zdb_set_result res;
	uint8_t next[17];
	uint32_t dirty[4];
	struct zu u;

	(void)state;
	zu_setup(&u, ZDB_USER);
	assert_int_equal(zu_open(&u), 0);
	assert_int_equal(zu_set(&u, "a", "v1"), 0);
	assert_int_equal(zu_set(&u, "b", "w"), 0);
	assert_int_equal(zdb_set(u.ns, "a", 1, "v1", 2, 1000, &res), 0);
	assert_int_equal(res.outcome, ZDB_UNCHANGED);
	assert_int_equal(zu_set(&u, "a", "v2"), 0);
	assert_int_equal(zu_del(&u, "b"), 0);
	assert_int_equal(zu_set(&u, "e", ""), 0);
	assert_int_equal(zdb_jump(u.ns), 0);
	assert_int_equal(zu_set(&u, "c", "in file 1"), 0);
	assert_int_equal(zu_set(&u, "a", "v3"), 0);
	assert_int_equal(zdb_dirty_list(u.ns, dirty, 4), 1);
	assert_int_equal(dirty[0], 0);

	assert_int_equal(zdb_scan(u.ns, NULL, 0, false, 0, 0, list, &l, next), 0);
	assert_int_equal(l.count, 3);
	assert_true(l.keys[0] == 'e' && l.keys[1] == 'c' && l.keys[2] == 'a');
	assert_memory_equal(next, "\x01\x01\0\0\0\x02\0\0\0\x40\0\0\0\xf0\x3f\x25\xf5", 17);
	l.count = 0;
	assert_int_equal(zdb_scan(u.ns, NULL, 0, true, 0, 0, list, &l, next), 0);
	assert_int_equal(l.count, 3);
	assert_true(l.keys[0] == 'a' && l.keys[1] == 'c' && l.keys[2] == 'e');
	assert_memory_equal(next, "\x01\0\0\0\0\0\0\0\0\x86\0\0\0\0\0\0\0", 17);
	history(&u, "a", NULL, "v3", "\0\0\0\0\x63\0\0\0");
	history(&u, "a", "\0\0\0\0\x63\0\0\0", "v2", "\0\0\0\0\x1d\0\0\0");
	history(&u, "a", "\0\0\0\0\x1d\0\0\0", "v1", NULL);
	assert_string_equal(zu_get(&u, "a"), "v3");
	assert_null(zu_get(&u, "b"));
	assert_string_equal(zu_get(&u, "e"), "");
	zu_close(&u);
	check_index(&u, rows, 6, 1);
	check_data(&u, drows, 7, 1);
	zu_teardown(&u);
}

static void headers(void **state)
{
	size_t size;
	uint8_t *b;
	struct zu u;

	(void)state;
	zu_setup(&u, ZDB_USER);
	assert_int_equal(zu_open(&u), 0);
	assert_int_equal(zdb_jump(u.ns), 0);
	zu_close(&u);
	b = zu_file(&u, "default", "i1", &size);
	assert_int_equal(size, 29);
	assert_memory_equal(b, "IDX0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0", 29);
	free(b);
	b = zu_file(&u, "default", "d1", &size);
	assert_int_equal(size, 28);
	assert_memory_equal(b, "DAT0\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0", 28);
	free(b);
	b = zu_file(&u, "default", "zdb-namespace", &size);
	assert_int_equal(size, 22);
	assert_memory_equal(b,
			    "\x01\0\0\0\x07\0\0\0\0\0\0\0\0\0\x05"
			    "default",
			    22);
	free(b);
	zu_teardown(&u);
}

static void sequential_mode(void **state)
{
	static const struct row rows[] = {
		{0, 29, 0, 118, 7, 0, 0, 0, 0x109c8bf0, 0, 155},
		{0, 71, 1, 58, 7, 29, 0, 1, 0xe2f708f3, 1, 71},
		{0, 113, 2, 88, 4, 71, 1, 0, 0x5018bfb4, 0, 0},
		{0, 155, 0, 28, 4, 113, 1, 0, 0xb123cf43, 0, 0},
		{0, 197, 4, 151, 4, 155, 0, 0, 0x76b9585c, 0, 0},
		{1, 29, 5, 28, 4, 197, 0, 1, 0x84d2db5f, 0, 0},
		{1, 71, 1, 58, 4, 29, 1, 0, 0x43484c40, 0, 0},
		{1, 113, 7, 91, 4, 71, 0, 1, 0x65e9aba8, 0, 0},
	};
	static const struct drow drows[] = {
		{0, 28, 0, 4, 0, 0, 0xb123cf43},    {0, 58, 1, 4, 28, 0, 0x43484c40},
		{0, 88, 2, 4, 58, 0, 0x5018bfb4},   {0, 118, 0, 7, 88, 0, 0x109c8bf0},
		{0, 151, 4, 4, 118, 0, 0x76b9585c}, {1, 28, 5, 4, 151, 0, 0x84d2db5f},
		{1, 58, 1, 7, 28, 0, 0xe2f708f3},   {1, 91, 7, 4, 58, 0, 0x65e9aba8},
		{1, 121, 2, 0, 91, 1, 0},
	};
	uint8_t cursor[17], key[8] = {1};
	struct zdb_ns_info info;
	struct zu u;

	(void)state;
	zu_setup(&u, ZDB_SEQ);
	assert_int_equal(zu_open(&u), 0);
	assert_int_equal(zu_insert(&u, "val0"), 0);
	assert_int_equal(zu_insert(&u, "val1"), 1);
	assert_int_equal(zu_insert(&u, "val2"), 2);
	assert_int_equal(zu_seq_set(&u, 0, "newval0"), 0);
	assert_null(zu_seq_get(&u, 3));
	assert_int_equal(zu_insert(&u, "val4"), 4);
	assert_int_equal(zdb_jump(u.ns), 0);
	assert_int_equal(zu_insert(&u, "val5"), 5);
	assert_int_equal(zu_seq_set(&u, 1, "newval1"), 0);
	assert_int_equal(zu_insert(&u, "val7"), 7);
	assert_int_equal(zu_seq_del(&u, 2), 0);
	assert_int_equal(zu_seq_set(&u, 2, "again"), -ENOENT);
	assert_int_equal(zu_seq_set(&u, 3, "copy"), -ENOENT);
	zdb_ns_info(u.ns, &info);
	assert_int_equal(info.entries, 5);
	assert_int_equal(info.next_id, 8);
	assert_int_equal(info.data_size, 26);
	assert_int_equal(info.index_size, 5 * 72);
	assert_int_equal(zdb_keycur(u.ns, key, 8, cursor), 0);
	assert_memory_equal(cursor, "\x08\0\0\0\0\x07\0\0\0\x47\0\0\0\xf3\x08\xf7\xe2", 17);
	zu_close(&u);
	check_index(&u, rows, 8, 8);
	check_data(&u, drows, 9, 8);
	assert_int_equal(zu_open(&u), 0);
	zdb_ns_info(u.ns, &info);
	assert_int_equal(info.entries, 5);
	assert_int_equal(info.next_id, 8);
	assert_int_equal(info.data_size, 26);
	assert_string_equal(zu_seq_get(&u, 1), "newval1");
	assert_null(zu_seq_get(&u, 2));
	zu_close(&u);
	zu_teardown(&u);
}

static void crc_known_answers(void **state)
{
	static const struct {
		const char *text;
		uint32_t crc;
	} known[] = {{"", 0}, {"a", 0x93ad1061}, {"123456789", 0x58e3fa20}, {"hello world", 0x6345d352}};
	uint8_t zeros[32] = {0}, ones[32], big[5000];
	uint32_t whole, parts = 0;

	(void)state;
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(zdb_crc(0, known[i].text, strlen(known[i].text)), known[i].crc);
	memset(ones, 255, sizeof(ones));
	assert_int_equal(zdb_crc(0, zeros, 32), 0);
	assert_int_equal(zdb_crc(0, ones, 32), 0xe8399de9);
	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = (uint8_t)(i * 7 + i / 256);
	/* Long inputs take another path than short ones: both must agree at every length around the border. */
	for (size_t n = 500; n < 540; n++) {
		whole = zdb_crc(0, big, n);
		parts = 0;
		for (size_t i = 0; i < n; i++)
			parts = zdb_crc(parts, big + i, 1);
		assert_int_equal(whole, parts);
	}
	assert_int_equal(zdb_crc(zdb_crc(0, big, 1234), big + 1234, sizeof(big) - 1234),
			 zdb_crc(0, big, sizeof(big)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(crc_known_answers),
		cmocka_unit_test(headers),
		cmocka_unit_test(user_mode),
		cmocka_unit_test(sequential_mode),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
