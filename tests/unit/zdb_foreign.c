/*
 * A sequential namespace of an original server after a power cut: its active index is torn anywhere, its log cut anywhere, while the
 * records in older index files, which are rewritten in place, are ahead of both.  What the log holds is served, under
 * the ids that it says; what it lost is an older version or an error; nothing is guessed.
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
#include "tests/unit/support/zdb_util.h"

#define FILES 3u /* pairs; the last is the active one */
#define STEPS 30u
#define IDS   (FILES * STEPS)

struct op { /* one record of the log */
	uint64_t id;
	unsigned version; /* 0: a deletion */
	unsigned file;
	uint32_t end; /* of the log behind it */
	bool insert;
};

struct history {
	struct zu u;
	uint64_t rng;
	struct op ops[FILES * STEPS];
	unsigned count;
	char kept[300];
	uint32_t log_size, index_size; /* of the active pair */
};

static size_t text_of(uint64_t id, unsigned version, char *text)
{
	return (size_t)sprintf(text, "id %llu version %u %.*s", (unsigned long long)id, version,
			       (int)(version * 7 % 40), "........................................");
}

/* The version of an id after so many operations: 0 absent. */
static unsigned version_after(const struct history *h, uint64_t id, unsigned count)
{
	unsigned version = 0;

	for (unsigned i = 0; i < count; i++)
		if (h->ops[i].id == id)
			version = h->ops[i].version;
	return version;
}

static void put(struct history *h, const uint64_t *id, unsigned version, unsigned file)
{
	struct op *op = &h->ops[h->count];
	struct zdb_set_result r;
	struct zdb_ns_info info;
	char text[100], key[8];
	size_t size;

	if (id != NULL)
		put_u64le((uint8_t *)key, *id);
	zdb_ns_info(h->u.ns, &info);
	size = text_of(id == NULL ? info.next_id : *id, version, text);
	if (version == 0)
		assert_int_equal(zdb_del(h->u.ns, key, 8, 1), 0);
	else
		assert_int_equal(zdb_set(h->u.ns, key, id == NULL ? 0 : 8, text, size, version, &r), 0);
	*op = (struct op){.id = id == NULL ? get_u64le(r.key) : *id,
			  .version = version,
			  .file = file,
			  .insert = id == NULL};
	assert_true(id != NULL || op->id == info.next_id);
	zdb_ns_info(h->u.ns, &info);
	op->end = info.data_current_offset;
	h->count++;
}

static void step(struct history *h, unsigned file)
{
	unsigned dice = (unsigned)(test_random(&h->rng) % 10);
	const struct op *of = h->count == 0 ? NULL : &h->ops[test_random(&h->rng) % h->count];
	uint64_t id;

	if (of == NULL || dice < 3 || version_after(h, of->id, h->count) == 0) {
		put(h, NULL, h->count + 1, file);
	} else {
		id = of->id;
		put(h, &id, dice == 9 ? 0 : h->count + 1, file);
	}
}

static void original(struct history *h, uint64_t seed)
{
	static const char *const ours[] = {"mark", "sums", "synced"};
	char path[600], command[900];
	struct stat st;

	memset(h, 0, sizeof(*h));
	h->rng = seed;
	zu_setup(&h->u, ZDB_SEQ);
	assert_int_equal(zu_open(&h->u), 0);
	for (unsigned f = 0; f < FILES; f++) {
		if (f > 0)
			assert_int_equal(zdb_jump(h->u.ns), 0);
		for (unsigned i = 0; i < STEPS; i++)
			step(h, f);
	}
	zu_close(&h->u);
	for (unsigned i = 0; i < 3; i++) {
		zu_path(&h->u, "default", ours[i], path, sizeof(path));
		(void)unlink(path);
	}
	h->log_size = h->ops[h->count - 1].end;
	zu_path(&h->u, "default", "i2", path, sizeof(path));
	assert_int_equal(stat(path, &st), 0);
	h->index_size = (uint32_t)st.st_size;
	snprintf(h->kept, sizeof(h->kept), "%s.kept", h->u.dir);
	snprintf(command, sizeof(command), "cp -a '%s' '%s'", h->u.dir, h->kept);
	assert_int_equal(system(command), 0);
}

static void history_end(struct history *h)
{
	assert_int_equal(file_rm_tree(h->kept), 0);
	zu_teardown(&h->u);
}

static void cut(struct history *h, const char *name, uint32_t size)
{
	char path[600];

	zu_path(&h->u, "default", name, path, sizeof(path));
	assert_int_equal(truncate(path, size), 0);
}

/* What the disk holds after the cut: the first `index` bytes of the active index, `log` of the log, without d<evicted>. */
static void power_cut(struct history *h, uint32_t index, uint32_t log, int evicted)
{
	char command[900], path[600], name[16];

	snprintf(command, sizeof(command), "rm -rf '%s' && cp -a '%s' '%s'", h->u.dir, h->kept, h->u.dir);
	assert_int_equal(system(command), 0);
	cut(h, "i2", index);
	cut(h, "d2", log);
	if (evicted >= 0) {
		snprintf(name, sizeof(name), "d%d", evicted);
		zu_path(&h->u, "default", name, path, sizeof(path));
		assert_int_equal(unlink(path), 0);
	}
}

static unsigned ops_in(const struct history *h, uint32_t log)
{
	unsigned n = 0;

	while (n < h->count && (h->ops[n].file + 1 < FILES || h->ops[n].end <= log))
		n++;
	return n;
}

static uint64_t next_id_after(const struct history *h, unsigned count)
{
	uint64_t next = 0;

	for (unsigned i = 0; i < count; i++)
		next += h->ops[i].version != 0;
	return next;
}

/* What an id may answer when the log holds the first `count` operations. */
static void check_id(struct history *h, uint64_t id, unsigned count, bool all_here, const char *where)
{
	unsigned version = version_after(h, id, count);
	bool gone = version_after(h, id, h->count) == 0;
	char text[100];
	uint8_t key[8], *value;
	size_t size, want = text_of(id, version, text);
	int rc;

	put_u64le(key, id);
	rc = zu_value(h->u.ns, key, 8, &value, &size);
	if (rc == 0         ? version == 0 || size != want || memcmp(value, text, size) != 0
	    : rc == -ENOENT ? version != 0 && !gone /* flagged in place, and the log lost the marker */
			    : rc != -EIO || all_here)
		fail_msg("%s: id %llu answers %d \"%s\", wanted version %u", where, (unsigned long long)id,
			 rc, rc == 0 ? (char *)value : "", version);
	free(value);
}

/* No version twice, none of another id. */
static void check_history(struct history *h, uint64_t id, const char *where)
{
	uint8_t key[8], cursor[8], next[8];
	unsigned last = UINT32_MAX;
	struct zdb_read rd;
	bool more = true;

	put_u64le(key, id);
	for (unsigned i = 0; more; i++) {
		unsigned version;
		char text[64] = "";
		int rc = zdb_history(h->u.ns, key, 8, i == 0 ? NULL : cursor, i == 0 ? 0 : 8, &rd, next,
				     &more, NULL);

		if (rc != 0)
			return; /* a chain may end */
		if (rd.data != NULL)
			memcpy(text, rd.data, rd.length < 63 ? rd.length : 63);
		version = strstr(text, "version ") == NULL
				  ? 0
				  : (unsigned)strtoul(strstr(text, "version ") + 8, NULL, 10);
		if (rd.data != NULL && (strtoull(text + 3, NULL, 10) != id || version >= last))
			fail_msg("%s: history of id %llu: \"%s\" behind version %u", where,
				 (unsigned long long)id, text, last);
		zdb_read_end(h->u.ns, &rd);
		last = version;
		memcpy(cursor, next, 8);
		if (i > IDS)
			fail_msg("%s: the history of id %llu has no end", where, (unsigned long long)id);
	}
}

/* Ids that the index has given, but whose values the log has lost: errors, for ever. */
static void check_given(struct history *h, unsigned count, uint64_t given, const char *where)
{
	for (unsigned i = count; i < h->count; i++) {
		uint64_t id = h->ops[i].id;
		uint8_t key[8], *value;
		size_t size;
		int rc;

		if (!h->ops[i].insert || id >= given)
			continue;
		put_u64le(key, id);
		rc = zu_value(h->u.ns, key, 8, &value, &size);
		free(value);
		if (rc != -EIO && (rc != -ENOENT || version_after(h, id, h->count) != 0))
			fail_msg("%s: id %llu, whose value is lost, answers %d", where,
				 (unsigned long long)id, rc);
	}
}

static void check_all(struct history *h, uint32_t log, bool all_here, const char *where)
{
	unsigned count = ops_in(h, log);

	for (unsigned i = 0; i < count; i++)
		if (h->ops[i].insert) {
			check_id(h, h->ops[i].id, count, all_here, where);
			if (all_here)
				check_history(h, h->ops[i].id, where);
		}
}

static void finding(void *ctx, int level, const char *ns, const char *text)
{
	(void)ns;
	if (level > 0)
		fail_msg("%s: %s", (const char *)ctx, text);
}

/* It starts, says the truth, gives the id that the log says, updates, and is whole after all that. */
static void one(struct history *h, uint32_t index, uint32_t log, int evicted)
{
	unsigned count = ops_in(h, log);
	uint64_t log_ids = next_id_after(h, count),
		 given = next_id_after(h, STEPS * (FILES - 1)) + (index - IDX_HEADER) / SEQ_RECORD;
	struct zdb_ns_info info;
	char where[200];

	snprintf(where, sizeof(where), "index cut at %u of %u, log at %u of %u, without d%d", index,
		 h->index_size, log, h->log_size, evicted);
	power_cut(h, index, log, evicted);
	assert_int_equal(zu_open(&h->u), 0);
	check_all(h, log, evicted < 0, where);
	zdb_ns_info(h->u.ns, &info);
	if (info.next_id != (given > log_ids ? given : log_ids))
		fail_msg("%s: the next id is %llu, the log has given %llu, the index %llu", where,
			 (unsigned long long)info.next_id, (unsigned long long)log_ids,
			 (unsigned long long)given);
	check_given(h, count, given, where);
	for (unsigned i = 0; i < 5; i++)
		(void)zu_insert(&h->u, "new");
	check_all(h, log, evicted < 0, where);
	check_given(h, count, given, where);
	zu_close(&h->u);
	assert_int_equal(zu_open(&h->u), 0);
	check_all(h, log, evicted < 0, where);
	check_given(h, count, given, where);
	zu_close(&h->u);
	if (evicted < 0 && log == h->log_size)
		assert_int_equal(zdb_verify(&h->u.opt, finding, where), 0);
}

/* The log is whole: nothing is lost, wherever the index ends. */
static void torn_index(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 3; seed++) {
		struct history h;

		original(&h, seed);
		for (uint32_t at = IDX_HEADER; at <= h.index_size; at += at % 3 == 0 ? SEQ_RECORD / 2 : 7)
			one(&h, at, h.log_size, -1);
		history_end(&h);
	}
}

static void torn_both(void **state)
{
	(void)state;
	for (uint64_t seed = 11; seed <= 13; seed++) {
		struct history h;

		original(&h, seed);
		for (unsigned i = 0; i < 120; i++) {
			uint32_t index = IDX_HEADER +
					 (uint32_t)(test_random(&h.rng) % (h.index_size - IDX_HEADER + 1));
			uint32_t log =
				DAT_HEADER + (uint32_t)(test_random(&h.rng) % (h.log_size - DAT_HEADER + 1));

			one(&h, index, log, i % 3 == 2 ? (int)(i / 3 % 2) : -1);
		}
		history_end(&h);
	}
}

/* A recovery that ends anywhere leaves what the next one needs. */
static void interrupted(void **state)
{
	static const uint32_t parts[][2] = {{30, 100}, {60, 70}, {100, 60}}; /* percent of index and log */
	struct history h;
	char where[100], why[300];
	unsigned done = 0;

	(void)state;
	original(&h, 21);
	for (unsigned i = 0; i < 3; i++) {
		uint32_t index = IDX_HEADER + (h.index_size - IDX_HEADER) * parts[i][0] / 100,
			 log = DAT_HEADER + (h.log_size - DAT_HEADER) * parts[i][1] / 100;
		bool fired = true;

		for (uint64_t n = 1; fired; n++) {
			power_cut(&h, index, log, -1);
			sys_fault_begin();
			sys_fault_arm_from(SYS_CALL_ANY, n, EIO);
			if (zdb_open(&h.u.eng, &h.u.opt, why, sizeof(why)) == 0)
				zu_crash(&h.u);
			fired = sys_fault_fired();
			sys_fault_disarm();
			sys_fault_end();
			snprintf(where, sizeof(where), "loss %u, interrupted at call %u", i, (unsigned)n);
			assert_int_equal(zu_open(&h.u), 0);
			check_all(&h, log, true, where);
			zu_close(&h.u);
			done++;
		}
	}
	assert_true(done > 100);
	history_end(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(torn_index),
		cmocka_unit_test(torn_both),
		cmocka_unit_test(interrupted),
	};

	test_in_memory();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
