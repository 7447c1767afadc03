/*
 * Closed segments: reads of absent ones wait alone, eviction needs the right proof, bundles rebuild the index as it was,
 * a cut names one instant.
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
#include <unistd.h>

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "core/base/endian.h"
#include "core/base/file.h"
#include "core/zdb/zdb_int.h"
#include "tests/unit/support/sys_test.h"
#include "tests/unit/support/zdb_util.h"

struct world {
	struct zu u;
	struct zdb_events ev;
	unsigned asked, asked_number;
	int answer;          /* what data_missing returns */
	bool restore_inside; /* and whether it brings the file back at once */
	char away[400];
	/* bundles as they were handed over, by segment */
	uint8_t *bundle[16];
	size_t bundle_size[16];
	unsigned closed;
	int closed_answer;
	char dirty[64];
};

struct client {
	struct zdb_waiter w;
	int woken, err;
};

static void wake(struct zdb_waiter *w, int err)
{
	struct client *c = (struct client *)w;

	c->woken++;
	c->err = err;
}

static void move_back(struct world *x, unsigned n)
{
	char path[600], name[16];

	snprintf(name, sizeof(name), "d%u", n);
	zu_path(&x->u, "default", name, path, sizeof(path));
	assert_int_equal(rename(x->away, path), 0);
}

static void move_away(struct world *x, unsigned n)
{
	char path[600], name[16];

	snprintf(name, sizeof(name), "d%u", n);
	zu_path(&x->u, "default", name, path, sizeof(path));
	assert_int_equal(rename(path, x->away), 0);
}

static int on_missing(void *ctx, struct zdb_ns *ns, uint32_t n)
{
	struct world *x = ctx;

	x->asked++;
	x->asked_number = n;
	if (x->restore_inside) {
		move_back(x, n);
		zdb_segment_restored(ns, n);
	}
	return x->answer;
}

/* extents u32, then rows {file, offset, length}, then the bytes */
static void bundle_take(const struct zdb_bundle *b, struct zu_bytes *g)
{
	uint8_t row[12];

	put_u32le(row, b->extents_count);
	zu_bytes_add(g, row, 4);
	for (uint32_t i = 0; i < b->extents_count; i++) {
		put_u32le(row, b->extents[i].file);
		put_u32le(row + 4, b->extents[i].offset);
		put_u32le(row + 8, b->extents[i].length);
		zu_bytes_add(g, row, 12);
	}
	assert_int_equal(zdb_bundle_read(b, zu_bytes_add, g), 0);
	assert_int_equal(g->size, 4 + 12 * (size_t)b->extents_count + b->bytes);
}

static int on_closed(void *ctx, struct zdb_ns *ns, uint32_t n, const char *dirty, const struct zdb_bundle *b)
{
	struct world *x = ctx;
	struct zu_bytes g = {0};

	(void)ns;
	assert_true(n < 16);
	snprintf(x->dirty, sizeof(x->dirty), "%s", dirty);
	x->closed++;
	if (x->closed_answer < 0)
		return x->closed_answer;
	if (b != NULL) {
		bundle_take(b, &g);
		free(x->bundle[n]);
		x->bundle[n] = g.b;
		x->bundle_size[n] = g.size;
	}
	return x->closed_answer;
}

static void setup(struct world *x, enum zdb_mode mode)
{
	memset(x, 0, sizeof(*x));
	zu_setup(&x->u, mode);
	snprintf(x->away, sizeof(x->away), "%s/away", x->u.dir);
	x->ev = (struct zdb_events){.data_missing = on_missing, .segment_closed = on_closed};
	x->u.opt.events = &x->ev;
	x->u.opt.events_ctx = x;
	x->u.opt.want_bundles = true;
	assert_int_equal(zu_open(&x->u), 0);
}

static void teardown(struct world *x)
{
	for (unsigned i = 0; i < 16; i++)
		free(x->bundle[i]);
	zu_teardown(&x->u);
}

static int get(struct world *x, const char *key, struct client *c)
{
	struct zdb_read rd;
	int rc;

	c->w.wake = wake;
	rc = zdb_get(x->u.ns, key, strlen(key), &rd, &c->w);
	if (rc == 0)
		zdb_read_end(x->u.ns, &rd);
	return rc;
}

static void waiting(void **state)
{
	struct client c[3] = {{.woken = 0}};
	uint64_t next;
	struct world x;

	(void)state;
	setup(&x, ZDB_USER);
	assert_int_equal(zu_set(&x.u, "old", "value"), 0);
	assert_int_equal(zdb_jump(x.u.ns), 0);
	assert_int_equal(zu_set(&x.u, "new", "value"), 0);
	move_away(&x, 0);
	zu_close(&x.u);
	assert_int_equal(zu_open(&x.u), 0); /* absent closed segments do not stop a load */
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(get(&x, "old", &c[i]), -EINPROGRESS);
	assert_int_equal(x.asked, 1);
	assert_int_equal(x.asked_number, 0);
	assert_string_equal(zu_get(&x.u, "new"), "value"); /* others are served */
	assert_int_equal(zu_set(&x.u, "old", "value"), 0); /* never fetched to compare */
	assert_int_equal(x.asked, 1);
	assert_string_equal(zu_get(&x.u, "old"), "value");
	zdb_waiter_cancel(&c[1].w);
	move_back(&x, 0);
	zdb_segment_restored(x.u.ns, 0);
	assert_int_equal(c[0].woken, 1);
	assert_int_equal(c[0].err, 0);
	assert_int_equal(c[1].woken, 0);
	assert_int_equal(c[2].woken, 1);

	/* Nobody can bring it: the answer comes at once.  Somebody tries and fails.  Nobody answers: the limit. */
	assert_int_equal(zu_set(&x.u, "third", "3"), 0);
	assert_int_equal(zdb_jump(x.u.ns), 0);
	move_away(&x, 1);
	zu_crash(&x.u);
	assert_int_equal(zu_open(&x.u), 0);
	x.answer = -ENOENT;
	assert_int_equal(get(&x, "third", &c[0]), -EIO);
	x.answer = 0;
	assert_int_equal(get(&x, "third", &c[0]), -EINPROGRESS);
	zdb_segment_failed(x.u.ns, 1, -EHOSTUNREACH);
	assert_int_equal(c[0].woken, 2);
	assert_int_equal(c[0].err, -EHOSTUNREACH);
	assert_int_equal(get(&x, "third", &c[0]), -EINPROGRESS);
	assert_null(zdb_tick(x.u.eng, 1000, &next));
	assert_int_equal(next, 61000);
	assert_null(zdb_tick(x.u.eng, 61000, &next));
	assert_int_equal(c[0].woken, 3);
	assert_int_equal(c[0].err, -ETIMEDOUT);
	/* Brought back from inside the event: no waiting at all. */
	x.restore_inside = true;
	assert_int_equal(get(&x, "third", &c[0]), 0);
	assert_int_equal(c[0].woken, 3);
	zu_close(&x.u);
	teardown(&x);
}

static void content_id(struct world *x, const char *name, uint8_t id[16])
{
	size_t size;
	uint8_t *b = zu_file(&x->u, "default", name, &size);
	XXH128_canonical_t c;

	assert_non_null(b);
	memset(b + 16, 0, 8);
	XXH128_canonicalFromHash(&c, XXH3_128bits(b, size));
	memcpy(id, c.digest, 16);
	free(b);
}

static void evicting(void **state)
{
	uint8_t id[16], wrong[16] = {1};
	char path[600];
	struct zdb_proof *proof;
	struct stat st;
	enum zdb_proof_kind kind;
	struct client c = {.woken = 0};
	struct world x;

	(void)state;
	setup(&x, ZDB_USER);
	assert_int_equal(zu_set(&x.u, "k", "value"), 0);
	content_id(&x, "d0", id);
	assert_int_equal(zdb_evict(x.u.ns, 0, ZDB_PROOF_XXH3, id), -EBUSY); /* active */
	assert_int_equal(zdb_jump(x.u.ns), 0);
	assert_int_equal(zdb_evict(x.u.ns, 0, ZDB_PROOF_XXH3, wrong), -EBADMSG);
	assert_int_equal(zdb_evict(x.u.ns, 7, ZDB_PROOF_XXH3, id), -ENOENT);
	zu_path(&x.u, "default", "d0", path, sizeof(path));
	assert_int_equal(stat(path, &st), 0);
	/* A file that changes after its hash was computed keeps its place. */
	assert_int_equal(zdb_proof_begin(x.u.ns, 0, ZDB_PROOF_XXH3, &proof), 0);
	assert_int_equal(zdb_proof_run(proof), 0);
	assert_int_equal(truncate(path, st.st_size + 1), 0);
	assert_int_equal(zdb_evict_done(proof, id), -EAGAIN);
	assert_int_equal(truncate(path, st.st_size), 0);
	content_id(&x, "d0", id);
	assert_int_equal(zdb_evict(x.u.ns, 0, ZDB_PROOF_XXH3, id), 0);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(zdb_evict(x.u.ns, 0, ZDB_PROOF_XXH3, id), 0); /* already gone */
	assert_int_equal(get(&x, "k", &c), -EINPROGRESS);
	zdb_waiter_cancel(&c.w);
	assert_int_equal(zdb_proof_parse("xxh3:000102030405060708090a0b0c0d0e0f", 37, &kind, id), 0);
	assert_int_equal(kind, ZDB_PROOF_XXH3);
	assert_int_equal(id[15], 15);
	assert_int_equal(zdb_proof_parse("b2:000102030405060708090a0b0c0d0e0f", 35, &kind, id), 0);
	assert_int_equal(zdb_proof_parse("b2:000102030405060708090a0b0c0d0e0", 34, &kind, id), -EINVAL);
	assert_int_equal(zdb_proof_parse("md5:00", 6, &kind, id), -EINVAL);
	zu_close(&x.u);
	teardown(&x);
}

/* Lays the bundles 0..last over each other: what a bare node has of the index. */
static void lay(struct world *x, unsigned last, const char *dir)
{
	assert_int_equal(file_mkdir_p(dir, 0700), 0);
	for (unsigned n = 0; n <= last; n++) {
		const uint8_t *b = x->bundle[n], *bytes;
		uint32_t count;

		assert_non_null(b);
		count = get_u32le(b);
		bytes = b + 4 + 12 * (size_t)count;
		for (uint32_t i = 0; i < count; i++) {
			char path[900];
			FILE *f;

			snprintf(path, sizeof(path), "%s/i%u", dir, get_u32le(b + 4 + 12 * i));
			f = fopen(path, "r+b");
			if (f == NULL)
				f = fopen(path, "w+b");
			assert_non_null(f);
			assert_int_equal(fseek(f, (long)get_u32le(b + 8 + 12 * i), SEEK_SET), 0);
			assert_int_equal(fwrite(bytes, 1, get_u32le(b + 12 + 12 * i), f),
					 get_u32le(b + 12 + 12 * i));
			fclose(f);
			bytes += get_u32le(b + 12 + 12 * i);
		}
	}
}

static void copy_file(const char *from, const char *to)
{
	char *data;
	size_t len;

	assert_int_equal(file_read_all(from, 64 << 20, &data, &len), 0);
	assert_int_equal(file_write_atomic(to, 0600, data, len), 0);
	free(data);
}

/* Some work in one segment; returns through the model which values live. */
#define MODEL 40
struct model {
	char value[MODEL][24]; /* "" = absent */
	unsigned next;         /* sequential: next id */
};

static void work(struct world *x, struct model *m, uint64_t *rng, unsigned steps)
{
	for (unsigned i = 0; i < steps; i++) {
		unsigned k = (unsigned)(test_random(rng) % MODEL), dice = (unsigned)(test_random(rng) % 10);
		char value[24], key[16];
		int rc;

		snprintf(value, sizeof(value), "v%llu", (unsigned long long)(test_random(rng) % 1000000));
		snprintf(key, sizeof(key), "key%u", k);
		if (x->u.opt.mode == ZDB_SEQ) {
			if (dice < 4 && m->next < MODEL) {
				assert_int_equal(zu_insert(&x->u, value), m->next);
				strcpy(m->value[m->next++], value);
			} else if (m->value[k][0] != '\0' && dice < 8 && m->next < MODEL) {
				assert_int_equal(zu_seq_set(&x->u, k, value), 0);
				strcpy(m->value[k], value);
				m->next++;
			} else if (m->value[k][0] != '\0' && dice >= 8) {
				assert_int_equal(zu_seq_del(&x->u, k), 0);
				m->value[k][0] = '\0';
			}
		} else if (dice < 8) {
			assert_int_equal(zu_set(&x->u, key, value), 0);
			strcpy(m->value[k], value);
		} else {
			rc = zu_del(&x->u, key);
			assert_int_equal(rc, m->value[k][0] == '\0' ? -ENOENT : 0);
			m->value[k][0] = '\0';
		}
	}
}

static void compare(struct zu *u, const struct model *m, const char *what)
{
	for (unsigned k = 0; k < MODEL; k++) {
		char key[16];
		const char *v;

		snprintf(key, sizeof(key), "key%u", k);
		v = u->opt.mode == ZDB_SEQ ? zu_seq_get(u, k) : zu_get(u, key);
		if ((v == NULL) != (m->value[k][0] == '\0') || (v != NULL && strcmp(v, m->value[k]) != 0))
			fail_msg("%s: key %u is \"%s\", not \"%s\"", what, k, v == NULL ? "(absent)" : v,
				 m->value[k]);
	}
}

/* A bare node: index from bundles, data files and the tail of the active segment, the marker at its start. */
static void restore(struct world *x, unsigned active, const struct model *m, const char *what)
{
	char dir[400], path[800], from[600], name[16];
	struct zu r;

	snprintf(dir, sizeof(dir), "%s/bare", x->u.dir);
	zu_at(&r, dir, x->u.opt.mode);
	snprintf(path, sizeof(path), "%s/index/default", dir);
	if (active > 0)
		lay(x, active - 1, path);
	else
		assert_int_equal(file_mkdir_p(path, 0700), 0);
	zu_path(&x->u, "default", "zdb-namespace", from, sizeof(from));
	snprintf(path, sizeof(path), "%s/index/default/zdb-namespace", dir);
	copy_file(from, path);
	snprintf(path, sizeof(path), "%s/data/default", dir);
	assert_int_equal(file_mkdir_p(path, 0700), 0);
	for (unsigned n = 0; n <= active; n++) {
		FILE *f;

		snprintf(name, sizeof(name), "d%u", n);
		zu_path(&x->u, "default", name, from, sizeof(from));
		snprintf(path, sizeof(path), "%s/data/default/%s", dir, name);
		copy_file(from, path);
		f = fopen(path, "r+b"); /* the stamp does not leave the node */
		assert_non_null(f);
		assert_int_equal(fseek(f, 16, SEEK_SET), 0);
		assert_int_equal(fwrite("\0\0\0\0\0\0\0", 1, 8, f), 8);
		fclose(f);
	}
	snprintf(path, sizeof(path), "%s/index/default", dir);
	assert_int_equal(zdb_restore_mark(path, active), 0);
	assert_int_equal(zu_open(&r), 0);
	assert_false(zdb_ns_recovery(r.ns)->foreign);
	compare(&r, m, what);
	zu_close(&r);
	assert_int_equal(file_rm_tree(dir), 0);
}

/* The bundles of the first `count` segments, derived from the log, in place of those of their rotations. */
static void derive_all(struct world *x, unsigned count)
{
	for (unsigned n = 0; n < count; n++) {
		struct zu_bytes g = {0};
		struct zdb_bundle *b;

		assert_int_equal(zdb_bundle_derive(x->u.ns, n, &b), 0);
		bundle_take(b, &g);
		zdb_bundle_free(b);
		free(x->bundle[n]);
		x->bundle[n] = g.b;
	}
}

static void bundles(enum zdb_mode mode, uint64_t seed)
{
	static struct model at_end[8];
	struct model m = {.next = 0};
	uint64_t rng = seed;
	struct world x;

	setup(&x, mode);
	for (unsigned n = 0; n < 6; n++) {
		work(&x, &m, &rng, 12);
		at_end[n] = m;
		if (n ==
		    2) { /* a restart in the middle of a segment: the list of rewritten places is not known any more */
			zu_crash(&x.u);
			assert_int_equal(zu_open(&x.u), 0);
			work(&x, &m, &rng, 3);
			at_end[n] = m;
		}
		assert_int_equal(zdb_flush(x.u.eng), 0);
		restore(&x, n, &m, "tail restored");
		assert_int_equal(zdb_jump(x.u.ns), 0);
		assert_int_equal(x.closed, n + 1);
	}
	/* Derived later, a bundle shows the index as it was when its segment closed. */
	derive_all(&x, 6);
	for (unsigned n = 1; n < 6; n++)
		restore(&x, n, &at_end[n], "derived bundles and a tail");
	zu_close(&x.u);
	teardown(&x);
}

/* A compacted namespace that is stored later: its derived bundles rebuild the index as it is by then. */
static void bundles_compacted(void **state)
{
	struct zdb_compact_options o = {.threshold = 0};
	uint64_t seed = test_seed();

	(void)state;
	for (unsigned i = 0; i < 20; i++) {
		struct zdb_compact_figures f;
		struct model m = {.next = 0};
		uint64_t rng = seed + i;
		struct world x;

		setup(&x, i % 2 == 0 ? ZDB_USER : ZDB_SEQ);
		for (unsigned n = 0; n < 4; n++) {
			work(&x, &m, &rng, 14);
			assert_int_equal(zdb_jump(x.u.ns), 0);
		}
		assert_int_equal(zdb_compact(x.u.ns, &o, &f), 0);
		assert_true(f.rewritten > 0);
		derive_all(&x, 4);
		work(&x, &m, &rng, 10);
		assert_int_equal(zdb_flush(x.u.eng), 0);
		restore(&x, 4, &m, "derived after a compaction, and a tail");
		zu_close(&x.u);
		teardown(&x);
	}
}

static void bundles_user(void **state)
{
	uint64_t seed = test_seed();

	(void)state;
	for (unsigned i = 0; i < 20; i++)
		bundles(ZDB_USER, seed + i);
}

static void bundles_sequential(void **state)
{
	uint64_t seed = test_seed();

	(void)state;
	for (unsigned i = 0; i < 20; i++)
		bundles(ZDB_SEQ, seed + i);
}

/* A closing that could not be told is told again before the next write, and the write waits for it. */
static void closing_is_owed(void **state)
{
	struct world x;

	(void)state;
	setup(&x, ZDB_USER);
	assert_int_equal(zu_set(&x.u, "a", "1"), 0);
	assert_int_equal(zu_set(&x.u, "a", "2"), 0);
	x.closed_answer = -ENOSPC;
	assert_int_equal(zdb_jump(x.u.ns), -ENOSPC);
	assert_int_equal(zu_set(&x.u, "b", "1"), -ENOSPC);
	assert_int_equal(x.closed, 2);
	assert_string_equal(x.dirty, "0");
	x.closed_answer = 1;
	assert_int_equal(zu_set(&x.u, "b", "1"), 0);
	assert_int_equal(x.closed, 3);
	assert_int_equal(zdb_dirty_list(x.u.ns, NULL, 0), 0); /* 1 clears the map */
	zu_close(&x.u);
	teardown(&x);
}

static void cutting(void **state)
{
	struct zdb_cut *cuts;
	size_t count;
	struct zdb_ns *other;
	struct world x;

	(void)state;
	setup(&x, ZDB_SEQ);
	assert_int_equal(zdb_ns_create(x.u.eng, "other", 5, &other), 0);
	zu_insert(&x.u, "1234");
	assert_int_equal(zdb_jump(x.u.ns), 0);
	zu_insert(&x.u, "5678");
	assert_int_equal(zdb_cut(x.u.eng, &cuts, &count), 0);
	assert_int_equal(count, 2);
	assert_ptr_equal(cuts[0].ns, x.u.ns);
	assert_int_equal(cuts[0].segment, 1);
	assert_int_equal(cuts[0].offset, 28 + 18 + 8 + 4);
	assert_int_equal(cuts[0].next_id, 2);
	assert_int_equal(cuts[0].descriptor_size, 22);
	assert_int_equal(cuts[1].segment, 0);
	assert_int_equal(cuts[1].offset, 28);
	zdb_cut_free(cuts);
	zu_close(&x.u);
	teardown(&x);
}

/* Whoever closes an engine while a sync of it runs has a bug that must not go on. */
static void closing_too_early(void **state)
{
	struct zdb_sync *job;
	struct world x;
	int status;
	pid_t pid;

	(void)state;
	setup(&x, ZDB_USER);
	assert_int_equal(zu_set(&x.u, "a", "1"), 0);
	assert_int_equal(zdb_sync_begin(x.u.ns, ZDB_SYNC_DATA, &job), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		(void)!freopen("/dev/null", "w", stderr);
		(void)signal(SIGABRT, SIG_DFL);
		(void)zdb_close(x.u.eng);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	assert_int_equal(zdb_sync_run(job), 0);
	assert_int_equal(zdb_sync_done(job), 0);
	teardown(&x);
}

/* The highest number that a load takes is the last that is made. */
static void highest_number(void **state)
{
	char path[600], name[16];
	struct zu u;

	(void)state;
	zu_setup(&u, ZDB_USER);
	assert_int_equal(zu_open(&u), 0);
	assert_int_equal(zu_set(&u, "a", "value"), 0);
	/* as if so many rotations lay behind it */
	u.ns->index.number = u.ns->data.number = SEGMENTS_MAX;
	assert_int_equal(zdb_jump(u.ns), -EFBIG);
	snprintf(name, sizeof(name), "d%u", SEGMENTS_MAX + 1);
	zu_path(&u, "default", name, path, sizeof(path));
	assert_int_equal(access(path, F_OK), -1);
	zu_crash(&u);
	assert_int_equal(zu_open(&u), 0);
	assert_string_equal(zu_get(&u, "a"), "value");
	zu_teardown(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(waiting),           cmocka_unit_test(evicting),
		cmocka_unit_test(bundles_user),      cmocka_unit_test(bundles_sequential),
		cmocka_unit_test(bundles_compacted), cmocka_unit_test(closing_too_early),
		cmocka_unit_test(closing_is_owed),   cmocka_unit_test(cutting),
		cmocka_unit_test(highest_number),
	};

	test_in_memory();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
