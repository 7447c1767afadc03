/*
 * The spool: what was put is there, in order, once; what was acknowledged survives failing calls and power cuts.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/err.h"
#include "core/base/file.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/sys.h"
#include "core/spool/spool.h"
#include "core/spool/where.h"
#include "tests/unit/support/sys_test.h"

static const uint8_t volume_a[16] = {1, 2, 3}, volume_b[16] = {9};

struct seen {
	struct spool_intent in[64];
	int count;
};

static int see(void *ctx, const struct spool_intent *in)
{
	struct seen *s = ctx;

	if (s->count < 64)
		s->in[s->count++] = *in;
	return 0;
}

static struct seen *look(struct spool *sp)
{
	static struct seen s;

	s.count = 0;
	assert_int_equal(spool_list(sp, see, &s), 0);
	return &s;
}

static struct spool_intent segment(const char *ns, uint64_t n)
{
	struct spool_intent in = {.kind = SPOOL_SEGMENT, .first = n, .last = n, .size = 1000 + n};

	snprintf(in.ns, sizeof(in.ns), "%s", ns);
	return in;
}

static struct spool *open_spool(const char *dir)
{
	struct spool *sp;

	assert_int_equal(spool_open(dir, SPOOL_CREATE, &sp), 0);
	return sp;
}

static int setup(void **state)
{
	*state = mem_strdup(test_dir_new());
	log_level_set(LOG_LEVEL_ERR);
	return 0;
}

static int teardown(void **state)
{
	test_dir_remove(*state);
	mem_free(*state);
	return 0;
}

static void test_order_and_fields(void **state)
{
	struct spool *sp = open_spool(*state);
	struct spool_intent a = segment("zdbfs-data", 7), b = {.kind = SPOOL_GARBAGE, .after_sequence = 42},
			    c;
	struct seen *s;

	memset(b.name, 0x5a, sizeof(b.name));
	c = segment("na me%\x01-with", 3);
	strcpy(c.path, "/data/data/x/d3");
	c.has_content_id = true;
	memset(c.content_id, 7, 16);
	assert_int_equal(spool_bind(sp, volume_a, 0x100000007), 0);
	assert_int_equal(spool_put(sp, &a, NULL, 0), 0);
	assert_int_equal(spool_put(sp, &b, "record", 6), 0);
	assert_int_equal(spool_put(sp, &c, NULL, 0), 0);
	assert_true(a.seq < b.seq && b.seq < c.seq);
	spool_close(sp);
	sp = open_spool(*state);
	s = look(sp);
	assert_int_equal(s->count, 3);
	assert_string_equal(s->in[0].ns, "zdbfs-data");
	assert_int_equal(s->in[0].first, 7);
	assert_int_equal(s->in[0].generation, 0x100000007);
	assert_memory_equal(s->in[0].volume, volume_a, 16);
	assert_int_equal(s->in[1].after_sequence, 42);
	assert_int_equal(s->in[1].payload_size, 6);
	assert_string_equal(s->in[2].ns, "na me%\x01-with");
	assert_string_equal(s->in[2].path, "/data/data/x/d3");
	assert_true(s->in[2].has_content_id);
	assert_int_equal(s->in[2].content_id[15], 7);
	spool_close(sp);
}

static void test_replaced_not_doubled(void **state)
{
	struct spool *sp = open_spool(*state);
	struct spool_intent first = segment("ns", 1), second = segment("ns", 1);
	uint8_t *payload;
	size_t len;

	assert_int_equal(spool_put(sp, &first, "old", 3), 0);
	assert_int_equal(spool_put(sp, &second, "newer", 5), 0);
	assert_int_equal(look(sp)->count, 1);
	assert_int_equal(spool_payload(sp, &first, 100, &payload, &len), -ENOENT);
	assert_int_equal(spool_payload(sp, &second, 100, &payload, &len), 0);
	assert_int_equal(len, 5);
	assert_memory_equal(payload, "newer", 5);
	mem_free(payload);
	assert_int_equal(spool_payload(sp, &second, 4, &payload, &len), -EFBIG);
	/* Removing what was replaced must not remove what replaced it. */
	assert_int_equal(spool_remove(sp, &first), 0);
	assert_int_equal(look(sp)->count, 1);
	assert_int_equal(spool_remove(sp, &second), 0);
	assert_int_equal(look(sp)->count, 0);
	assert_int_equal(spool_remove(sp, &second), 0);
	spool_close(sp);
}

static void test_slow_writer_does_not_win(void **state)
{
	struct spool *sp = open_spool(*state);
	struct spool_intent slow = segment("ns", 1), quick = segment("ns", 1);
	struct spool_writer *w;

	slow.size = 1;
	quick.size = 2;
	assert_int_equal(spool_put_begin(sp, &slow, &w), 0);
	assert_int_equal(spool_put_write(w, "stale", 5), 0);
	assert_int_equal(spool_put(sp, &quick, NULL, 0), 0);
	assert_int_equal(spool_put_commit(w, NULL), 0);
	assert_int_equal(look(sp)->count, 1);
	assert_int_equal(look(sp)->in[0].size, 2);
	spool_close(sp);
}

static void test_long_names_differ(void **state)
{
	struct spool *sp = open_spool(*state);
	struct spool_intent a = segment("", 1), b;

	memset(a.ns, 0xe4, SPOOL_NS_MAX);
	b = a;
	b.ns[SPOOL_NS_MAX - 1] = 'x';
	assert_int_equal(spool_put(sp, &a, NULL, 0), 0);
	assert_int_equal(spool_put(sp, &b, NULL, 0), 0);
	assert_int_equal(look(sp)->count, 2);
	assert_memory_equal(look(sp)->in[1].ns, b.ns, SPOOL_NS_MAX);
	b = segment("a/b", 1);
	assert_int_equal(spool_put(sp, &b, NULL, 0), -EINVAL);
	spool_close(sp);
}

static void test_notes(void **state)
{
	struct spool *sp = open_spool(*state);
	struct spool_intent a = segment("ns", 1), b;
	struct spool_stat st;

	assert_int_equal(spool_put(sp, &a, NULL, 0), 0);
	assert_int_equal(spool_note(sp, &a, 3, true, "no such file"), 0);
	assert_int_equal(look(sp)->in[0].attempts, 3);
	assert_true(look(sp)->in[0].parked);
	assert_string_equal(look(sp)->in[0].error, "no such file");
	assert_int_equal(spool_stat(sp, &st), 0);
	assert_int_equal(st.parked, 1);
	assert_string_equal(st.last_error, "no such file");
	/* Put again: a new life. */
	b = segment("ns", 1);
	assert_int_equal(spool_put(sp, &b, NULL, 0), 0);
	assert_false(look(sp)->in[0].parked);
	assert_int_equal(look(sp)->in[0].attempts, 0);
	assert_int_equal(spool_note(sp, &a, 4, true, "x"), -ENOENT);
	spool_close(sp);
}

static void test_foreign_volume(void **state)
{
	struct spool *sp = open_spool(*state);
	struct spool_intent early = segment("ns", 0), other = segment("ns", 1), ours = segment("ns", 2);
	struct spool_stat st;

	assert_int_equal(spool_put(sp, &early, NULL, 0), 0); /* before the volume was known */
	assert_int_equal(spool_bind(sp, volume_b, 1), 0);
	assert_int_equal(spool_put(sp, &other, NULL, 0), 0);
	assert_int_equal(spool_bind(sp, volume_a, 1), 0);
	assert_int_equal(spool_put(sp, &ours, NULL, 0), 0);
	assert_false(look(sp)->in[0].foreign);
	assert_true(look(sp)->in[1].foreign);
	assert_false(look(sp)->in[2].foreign);
	assert_int_equal(spool_stat(sp, &st), 0);
	assert_int_equal(st.foreign, 1);
	assert_int_equal(st.files, 2);
	spool_close(sp);
}

static void test_stat(void **state)
{
	struct spool *sp = open_spool(*state);
	struct spool_intent a = segment("ns", 1), g = {.kind = SPOOL_GARBAGE}, p = {.kind = SPOOL_PIECE},
			    f = {.kind = SPOOL_FENCE, .generation = 77};
	struct spool_stat st;

	assert_int_equal(spool_put(sp, &a, NULL, 0), 0);
	assert_int_equal(spool_put(sp, &g, NULL, 0), 0);
	assert_int_equal(spool_put(sp, &p, NULL, 0), 0);
	assert_int_equal(spool_stat(sp, &st), 0);
	assert_int_equal(st.files, 2);
	assert_int_equal(st.bytes, 1001);
	assert_int_equal(st.garbage, 1);
	assert_int_equal(st.pieces, 1);
	assert_false(st.fenced);
	assert_true(st.oldest > 0);
	assert_int_equal(spool_put(sp, &f, NULL, 0), 0);
	assert_int_equal(look(sp)->in[3].generation, 77);
	assert_int_equal(spool_stat(sp, &st), 0);
	assert_true(st.fenced);
	spool_close(sp);
}

static void test_hooks_and_closing(void **state)
{
	struct spool *sp = open_spool(*state), *other = open_spool(*state);
	struct spool_stat st;
	int token, second;

	assert_int_equal(spool_hook_enter(sp, false, &token), 0);
	assert_int_equal(spool_stat(other, &st), 0);
	assert_int_equal(st.hooks, 1);
	assert_int_equal(spool_closing_set(other, true), 0);
	assert_int_equal(spool_hook_enter(sp, false, &second), -EAGAIN);
	assert_int_equal(spool_hook_enter(sp, true, &second), 0);
	spool_hook_leave(sp, second);
	spool_hook_leave(sp, token);
	assert_int_equal(spool_stat(other, &st), 0);
	assert_int_equal(st.hooks, 0);
	assert_true(st.closing);
	assert_int_equal(spool_closing_set(other, false), 0);
	assert_int_equal(spool_hook_enter(sp, false, &token), 0);
	spool_hook_leave(sp, token);
	spool_close(sp);
	spool_close(other);
}

static void test_owner_cleans_and_reserves(void **state)
{
	struct spool *sp = open_spool(*state), *owner;
	struct spool_intent a = segment("ns", 1);
	struct spool_writer *living;
	char path[4096];
	struct stat st;

	/* Left by a writer that is dead: nobody holds its lock. */
	snprintf(path, sizeof(path), "%s/.tmp-99999-dead", (char *)*state);
	assert_int_equal(file_write_atomic(path, 0600, "x", 1), 0);
	assert_int_equal(spool_put_begin(sp, &a, &living), 0);
	assert_int_equal(spool_open(*state, SPOOL_OWNER, &owner), 0);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(spool_put_commit(living, NULL), 0);
	assert_int_equal(look(owner)->count, 1);
	snprintf(path, sizeof(path), "%s/reserve", (char *)*state);
	assert_int_equal(stat(path, &st), 0);
	assert_true(st.st_size == SPOOL_RESERVE_BYTES);
	spool_close(owner);
	spool_close(sp);
}

static void test_reserve_is_spent(void **state)
{
	struct spool *sp;
	struct spool_intent a = segment("ns", 1);
	char path[4096];
	struct stat st;

	assert_int_equal(spool_open(*state, SPOOL_CREATE | SPOOL_OWNER, &sp), 0);
	sys_fault_begin();
	sys_fault_only(".tmp-");
	sys_fault_arm(SYS_CALL_WRITE, 1, ENOSPC);
	assert_int_equal(spool_put(sp, &a, "payload", 7), 0);
	sys_fault_end();
	snprintf(path, sizeof(path), "%s/reserve", (char *)*state);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 0);
	assert_int_equal(look(sp)->count, 1);
	spool_close(sp);
}

static void test_damage_is_passed_over(void **state)
{
	struct spool *sp = open_spool(*state);
	struct spool_intent a = segment("ns", 1), b = segment("ns", 2);
	struct spool_stat st;
	uint8_t *payload;
	char path[4096];
	size_t len;
	int fd;

	assert_int_equal(spool_put(sp, &a, NULL, 0), 0);
	assert_int_equal(spool_put(sp, &b, "payload", 7), 0);
	snprintf(path, sizeof(path), "%s/segment-ns-1-1", (char *)*state);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, "\xff", 1, 17), 1);
	close(fd);
	log_level_set(LOG_LEVEL_ERR);
	assert_int_equal(look(sp)->count, 1);
	assert_int_equal(look(sp)->in[0].first, 2);
	assert_int_equal(spool_stat(sp, &st), 0);
	assert_int_equal(st.damaged, 1);
	snprintf(path, sizeof(path), "%s/segment-ns-2-2", (char *)*state);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_int_equal(pwrite(fd, "\xff", 1, 513), 1);
	close(fd);
	assert_int_equal(spool_payload(sp, &b, 100, &payload, &len), -E_CORRUPT);
	spool_close(sp);
}

static void test_readers_change_nothing(void **state)
{
	struct spool *sp, *reader;
	struct spool_intent a = segment("ns", 1);
	char missing[4096];

	snprintf(missing, sizeof(missing), "%s/none", (char *)*state);
	assert_int_equal(spool_open(missing, SPOOL_RDONLY, &reader), -ENOENT);
	sp = open_spool(*state);
	assert_int_equal(spool_put(sp, &a, NULL, 0), 0);
	assert_int_equal(spool_open(*state, SPOOL_RDONLY, &reader), 0);
	assert_int_equal(look(reader)->count, 1);
	assert_int_equal(spool_remove(reader, &a), -EROFS);
	assert_int_equal(look(sp)->count, 1);
	spool_close(reader);
	spool_close(sp);
}

static void test_numbers_never_come_back(void **state)
{
	struct spool *sp = open_spool(*state);
	struct spool_intent a = segment("ns", 1), b = segment("ns", 2);
	char path[4096];

	for (int i = 0; i < 5; i++)
		assert_int_equal(spool_put(sp, &a, NULL, 0), 0);
	spool_close(sp);
	/* The counter was not synced: a power cut may have taken it. */
	snprintf(path, sizeof(path), "%s/lock", (char *)*state);
	assert_int_equal(truncate(path, 0), 0);
	sp = open_spool(*state);
	assert_int_equal(spool_put(sp, &b, NULL, 0), 0);
	assert_true(b.seq > a.seq);
	spool_close(sp);
}

/* ------------------------------------------------------------------------------------------- failing calls --- */

/* Whatever call fails: an error is returned and what was there before is whole, or it is done. */
static void test_fail_at_nth(void **state)
{
	uint64_t n;

	for (n = 1;; n++) {
		char dir[4096];
		struct spool_intent before = segment("ns", 1), again = segment("ns", 1),
				    other = segment("ns", 2);
		struct spool *sp;
		struct seen *s;
		bool fired;
		int rc_again, rc_other;

		snprintf(dir, sizeof(dir), "%s/%llu", (char *)*state, (unsigned long long)n);
		sp = open_spool(dir);
		before.size = 1;
		again.size = 2;
		assert_int_equal(spool_put(sp, &before, "first", 5), 0);
		sys_fault_begin();
		sys_fault_arm(SYS_CALL_ANY, n, EIO);
		rc_again = spool_put(sp, &again, "second", 6);
		rc_other = spool_put(sp, &other, NULL, 0);
		fired = sys_fault_fired();
		sys_fault_end();
		s = look(sp);
		assert_true(s->count >= 1);
		assert_int_equal(s->in[0].first, 1);
		if (rc_again == 0)
			assert_int_equal(s->in[0].size, 2);
		if (rc_other == 0)
			assert_int_equal(s->count, 2);
		assert_true(fired || (rc_again == 0 && rc_other == 0));
		spool_close(sp);
		if (!fired)
			break;
	}
	assert_true(n > 10);
}

static void test_fail_allocations(void **state)
{
	for (uint64_t n = 1;; n++) {
		struct spool_intent a = segment("ns", 1);
		struct spool *sp = NULL;
		struct seen s = {.count = 0};
		bool fired;
		int rc;

		mem_fault_begin();
		mem_fault_arm(n);
		rc = spool_open(*state, SPOOL_CREATE, &sp);
		if (rc == 0)
			rc = spool_put(sp, &a, "x", 1);
		if (rc == 0)
			rc = spool_list(sp, see, &s);
		spool_close(sp);
		fired = mem_fault_fired();
		assert_int_equal(mem_fault_end(), 0);
		assert_true(rc == 0 || rc == -ENOMEM);
		if (!fired)
			break;
	}
}

/* --------------------------------------------------------------------------------------------- power cuts --- */

#define STEPS 12

struct step {
	struct spool_intent in;
	uint64_t put_acked,
		removed; /* recorded calls when it was acknowledged; when its removal began, 0 = never */
};

/* Power cut after every call of a run: each acknowledged put that was not taken away or replaced is there, whole. */
static void test_power_cut(void **state)
{
	char root[4096], out[4096];
	struct step steps[STEPS];
	struct sim_disk *disk;
	struct spool *sp;
	uint64_t seed = test_seed(), calls;

	snprintf(root, sizeof(root), "%s/root", (char *)*state);
	assert_int_equal(mkdir(root, 0700), 0);
	disk = sim_disk_begin(root);
	snprintf(out, sizeof(out), "%s/spool", root);
	sp = open_spool(out);
	memset(steps, 0, sizeof(steps));
	for (int i = 0; i < STEPS; i++) {
		char payload[700];

		memset(payload, 'a' + i, sizeof(payload));
		steps[i].in = segment("zdbfs-data", (uint64_t)i);
		assert_int_equal(spool_put(sp, &steps[i].in, payload, sizeof(payload)), 0);
		steps[i].put_acked = sim_disk_calls(disk);
		if (i % 3 == 2) {
			steps[i - 1].removed = sim_disk_calls(disk);
			assert_int_equal(spool_remove(sp, &steps[i - 1].in), 0);
		}
	}
	spool_close(sp);
	sim_disk_stop(disk);
	calls = sim_disk_calls(disk);
	for (uint64_t cut = 0; cut <= calls; cut++) {
		for (int policy = SIM_DROP; policy <= SIM_RANDOM; policy++) {
			struct spool_stat st;
			struct seen *s;

			snprintf(out, sizeof(out), "%s/out", (char *)*state);
			sim_disk_materialise(disk, cut, (enum sim_policy)policy, seed + cut, out);
			snprintf(out, sizeof(out), "%s/out/spool", (char *)*state);
			assert_int_equal(spool_open(out, SPOOL_CREATE | SPOOL_OWNER, &sp), 0);
			s = look(sp);
			assert_int_equal(spool_stat(sp, &st), 0);
			for (int i = 0; i < STEPS; i++) {
				bool there = false;

				for (int j = 0; j < s->count; j++) {
					uint8_t *payload;
					size_t len;

					if (s->in[j].first != (uint64_t)i)
						continue;
					there = true;
					if (cut < steps[i].put_acked)
						continue;
					assert_int_equal(spool_payload(sp, &s->in[j], 1000, &payload, &len),
							 0);
					assert_int_equal(len, 700);
					assert_int_equal(payload[699], 'a' + i);
					mem_free(payload);
				}
				if (cut >= steps[i].put_acked &&
				    (!steps[i].removed || cut <= steps[i].removed) && !there)
					fail_msg("segment %d is lost: cut %llu policy %d seed %llu", i,
						 (unsigned long long)cut, policy, (unsigned long long)seed);
			}
			spool_close(sp);
			snprintf(out, sizeof(out), "%s/out", (char *)*state);
			assert_int_equal(file_rm_tree(out), 0);
		}
	}
	sim_disk_free(disk);
}

/* ------------------------------------------------------------------------------------------------- where --- */

static void test_where(void **state)
{
	char path[4096], text[512], ns[SPOOL_NS_MAX + 1];
	struct err_text err = {0};
	struct where w;
	unsigned long n;
	int len;

	snprintf(path, sizeof(path), "%s/zstor.toml", (char *)*state);
	len = snprintf(text, sizeof(text),
		       "socket = \"/run/z.sock\"\nzdb_data_dir_path = \"/data/data/zdbfs-data\"\n");
	assert_int_equal(file_write_atomic(path, 0600, text, (size_t)len), 0);
	unsetenv("ZDB_SPOOL");
	assert_int_equal(where_load(&w, path, &err), 0);
	assert_string_equal(w.state, "/data");
	assert_string_equal(w.spool, "/data/spool");
	assert_string_equal(w.data_root, "/data/data");
	assert_string_equal(w.index_root, "/data/index");
	len = snprintf(text, sizeof(text), "socket = \"/run/z.sock\"\nstate = \"/srv/v/front\"\n");
	assert_int_equal(file_write_atomic(path, 0600, text, (size_t)len), 0);
	assert_int_equal(where_load(&w, path, &err), 0);
	assert_string_equal(w.spool, "/srv/v/front/spool");
	assert_string_equal(w.index_root, "/srv/v/front/index");
	assert_true(where_load(&w, "/nowhere/z.toml", &err) < 0);
	assert_true(where_split("/data/data/zdbfs-data/d17", 'd', ns, &n));
	assert_string_equal(ns, "zdbfs-data");
	assert_int_equal(n, 17);
	assert_false(where_split("/data/data/zdbfs-data/i17", 'd', ns, &n));
	assert_false(where_split("/data/data/zdbfs-data/d17x", 'd', ns, &n));
	assert_false(where_split("d17", 'd', ns, &n));
	assert_true(where_is_temp("zdbfs-temp"));
	assert_false(where_is_temp("zdbfs-data"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_order_and_fields, setup, teardown),
		cmocka_unit_test_setup_teardown(test_replaced_not_doubled, setup, teardown),
		cmocka_unit_test_setup_teardown(test_slow_writer_does_not_win, setup, teardown),
		cmocka_unit_test_setup_teardown(test_long_names_differ, setup, teardown),
		cmocka_unit_test_setup_teardown(test_notes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_foreign_volume, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stat, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hooks_and_closing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_owner_cleans_and_reserves, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reserve_is_spent, setup, teardown),
		cmocka_unit_test_setup_teardown(test_damage_is_passed_over, setup, teardown),
		cmocka_unit_test_setup_teardown(test_readers_change_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_numbers_never_come_back, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fail_at_nth, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fail_allocations, setup, teardown),
		cmocka_unit_test_setup_teardown(test_power_cut, setup, teardown),
		cmocka_unit_test_setup_teardown(test_where, setup, teardown),
	};

	return cmocka_run_group_tests_name("spool", tests, NULL, NULL);
}
