/*
 * zdb_life.c: see zdb_life.h.
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
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/endian.h"
#include "core/base/file.h"
#include "core/zdb/fmt.h"
#include "tests/unit/support/sys_test.h"
#include "tests/unit/support/zdb_life.h"

const char *const life_harms[HARMS] = {"missing", "torn at its end", "torn in its middle"};

static size_t key_of(const struct life *l, unsigned k, void *key)
{
	if (l->u.opt.mode == ZDB_SEQ) {
		put_u64le(key, l->ids[k]);
		return 8;
	}
	return (size_t)sprintf(key, "%u-key", k);
}

static size_t text_of(unsigned version, char *text)
{
	return (size_t)sprintf(text, "version %u %.*s", version, (int)(version * 7 % 50),
			       "..................................................");
}

void life_set(struct life *l, unsigned k)
{
	bool insert = l->u.opt.mode == ZDB_SEQ && k == l->known;
	struct zdb_set_result r;
	char key[32], text[100];
	size_t size = text_of(++l->last, text);

	assert_int_equal(zdb_set(l->u.ns, key, insert ? 0 : key_of(l, k, key), text, size, l->last, &r), 0);
	if (insert)
		l->ids[k] = get_u64le(r.key);
	if (k == l->known)
		l->known++;
	l->before[k] = l->version[k];
	l->version[k] = l->last;
}

static void step(struct life *l)
{
	unsigned k = (unsigned)(test_random(&l->rng) % KEYS), dice = (unsigned)(test_random(&l->rng) % 10);
	char key[32];

	if (k >= l->known || (l->version[k] == 0 && l->u.opt.mode == ZDB_SEQ))
		k = l->known < KEYS ? l->known : UINT32_MAX;
	if (k != UINT32_MAX && (k == l->known || dice < 7)) {
		life_set(l, k);
	} else if (k != UINT32_MAX && l->version[k] != 0) {
		assert_int_equal(zdb_del(l->u.ns, key, key_of(l, k, key), 1), 0);
		l->version[k] = 0;
	}
}

/* ---------------------------------------------------------------------------------------------------- the stores --- */

static int on_closed(void *ctx, struct zdb_ns *ns, uint32_t n, const char *dirty, const struct zdb_bundle *b)
{
	struct zu_bytes g = {0};
	struct life *l = ctx;
	uint8_t head[20];

	(void)ns;
	(void)dirty;
	if (n >= FILES)
		return 0;
	memcpy(head, "QSX1", 4);
	put_u32le(head + 4, n);
	put_u32le(head + 8, n);
	put_u32le(head + 12, 0);
	put_u32le(head + 16, b->extents_count);
	zu_bytes_add(&g, head, 20);
	for (uint32_t i = 0; i < b->extents_count; i++) {
		put_u32le(head, b->extents[i].file);
		put_u32le(head + 4, b->extents[i].offset);
		put_u32le(head + 8, b->extents[i].length);
		zu_bytes_add(&g, head, 12);
	}
	assert_int_equal(zdb_bundle_read(b, zu_bytes_add, &g), 0);
	l->bundle[n] = g.b;
	l->bundle_size[n] = g.size;
	l->stored = n + 1;
	return 0;
}

void life_live(struct life *l, enum zdb_mode mode, uint64_t seed, bool crash)
{
	memset(l, 0, sizeof(*l));
	l->rng = seed;
	zu_setup(&l->u, mode);
	l->ev = (struct zdb_events){.segment_closed = on_closed};
	l->u.opt.events = &l->ev;
	l->u.opt.events_ctx = l;
	l->u.opt.want_bundles = true;
	assert_int_equal(zu_open(&l->u), 0);
	for (unsigned f = 0; f < FILES; f++) {
		if (f > 0)
			assert_int_equal(zdb_jump(l->u.ns), 0);
		for (unsigned i = 0; i < STEPS; i++)
			step(l);
		if (f + 1 == FILES)
			assert_int_equal(zdb_sync(l->u.ns, ZDB_SYNC_INDEX), 0);
	}
	for (unsigned i = 0; i < STEPS / 2; i++)
		step(l);
	zdb_ns_info(l->u.ns, &l->info);
	if (crash)
		zu_crash(&l->u);
	else
		zu_close(&l->u);
}

void life_end(struct life *l)
{
	for (unsigned i = 0; i < FILES; i++)
		free(l->bundle[i]);
	zu_teardown(&l->u);
}

static void check_history(struct life *l, unsigned k, const char *where, unsigned *found)
{
	uint8_t next[8];
	struct zdb_read rd;
	char key[32], text[100];
	size_t klen = key_of(l, k, key), size = text_of(l->before[k], text);
	bool more;
	int rc;

	assert_int_equal(zdb_history(l->u.ns, key, klen, NULL, 0, &rd, next, &more, NULL), 0);
	zdb_read_end(l->u.ns, &rd);
	if (!more) /* who was flagged by a record whose index is lost may have been deleted before */
		return;
	rc = zdb_history(l->u.ns, key, klen, next, 8, &rd, next, &more, NULL);
	if (rc == -EIO && l->u.opt.mode == ZDB_SEQ)
		return; /* only the lost index knew where that version was */
	if (rc != 0)
		fail_msg("%s: history of key %u answers %d", where, k, rc);
	(*found)++;
	if (rd.length != size || rd.data == NULL || memcmp(rd.data, text, size) != 0)
		fail_msg("%s: key %u has another history", where, k);
	zdb_read_end(l->u.ns, &rd);
}

void life_compare(struct life *l, const char *where)
{
	struct zdb_ns_info info;
	unsigned histories = 0;

	for (unsigned k = 0; k < l->known; k++) {
		char key[32], text[100];
		size_t klen = key_of(l, k, key), size, want = text_of(l->version[k], text);
		uint8_t *value;
		int rc = zu_value(l->u.ns, key, klen, &value, &size);

		if (l->version[k] == 0 ? rc != -ENOENT
				       : rc != 0 || size != want || memcmp(value, text, size) != 0)
			fail_msg("%s: key %u answers %d, wanted version %u", where, k, rc, l->version[k]);
		free(value);
		if (l->version[k] != 0 && l->before[k] != 0)
			check_history(l, k, where, &histories);
	}
	assert_true(histories > 0);
	zdb_ns_info(l->u.ns, &info);
	assert_int_equal(info.entries, l->info.entries);
	assert_int_equal(info.data_size, l->info.data_size);
	if (l->u.opt.mode == ZDB_SEQ)
		assert_int_equal(info.next_id, l->info.next_id);
}

void life_harm(struct life *l, unsigned n, enum harm harm)
{
	char name[16], path[600];
	struct stat st;
	uint32_t at;

	snprintf(name, sizeof(name), "i%u", n);
	zu_path(&l->u, "default", name, path, sizeof(path));
	assert_int_equal(stat(path, &st), 0);
	at = l->u.opt.mode == ZDB_SEQ ? IDX_HEADER + SEQ_RECORD * 5 : IDX_HEADER;
	if (harm == MISSING)
		assert_int_equal(unlink(path), 0);
	else if (harm == TORN_END)
		assert_int_equal(truncate(path, st.st_size - 11), 0);
	else { /* a record without key, and nothing that can be told apart behind it */
		FILE *f = fopen(path, "r+b");

		assert_non_null(f);
		assert_int_equal(fseek(f, at, SEEK_SET), 0);
		assert_int_equal(fputc(0, f), 0);
		assert_int_equal(fclose(f), 0);
	}
}

void life_goes_on(struct life *l, const char *where)
{
	life_compare(l, where);
	for (unsigned k = 0; k < l->known; k++)
		if (l->version[k] != 0 && k % 7 == 0)
			life_set(l, k);
	zdb_ns_info(l->u.ns, &l->info);
	zu_close(&l->u);
	zu_check(&l->u, where);
	assert_int_equal(zu_open(&l->u), 0);
	life_compare(l, where);
	zu_close(&l->u);
}

/* A start in which call n fails; false: it makes fewer. */
static bool start_failing(struct life *l, uint64_t n, bool once)
{
	char why[800];
	bool fired;

	sys_fault_begin();
	if (once)
		sys_fault_arm(SYS_CALL_ANY, n, EIO);
	else
		sys_fault_arm_from(SYS_CALL_ANY, n, EIO);
	if (zdb_open(&l->u.eng, &l->u.opt, why, sizeof(why)) == 0)
		zu_crash(&l->u);
	fired = sys_fault_fired();
	sys_fault_disarm();
	sys_fault_end();
	return fired;
}

unsigned life_interrupted(struct life *l, bool once, void (*opened)(struct life *l))
{
	char where[100], kept[400];
	bool fired = true;
	unsigned n = 0;

	snprintf(kept, sizeof(kept), "%s.kept", l->u.dir);
	test_dir_copy(l->u.dir, kept);
	while (fired) {
		test_dir_copy(kept, l->u.dir);
		n++;
		fired = start_failing(l, n, once && n % 2 == 0);
		snprintf(where, sizeof(where), "interrupted at call %u", n);
		assert_int_equal(zu_open(&l->u), 0);
		if (opened != NULL)
			opened(l);
		life_compare(l, where);
		zu_close(&l->u);
	}
	assert_int_equal(file_rm_tree(kept), 0);
	return n;
}
