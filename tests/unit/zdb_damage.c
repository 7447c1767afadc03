/*
 * One damaged byte anywhere in the log, in every case of recovery: what was synced and is not hit stays, nothing is cut
 * before the durable end, and the record that is hit answers its value or an error, never another value.
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
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/endian.h"
#include "core/base/file.h"
#include "core/zdb/zdb_int.h"
#include "tests/unit/support/sys_test.h"
#include "tests/unit/support/zdb_util.h"

#define KEYS 10u
#define OPS  40u

enum kind {
	CLEAN,    /* a clean stop */
	TOUCHED,  /* a clean stop, and somebody else may have written since: everything is checked */
	KILLED,   /* the process died, all was synced */
	CUT,      /* a power cut: what was synced is there, `synced` is not */
	UNMARKED, /* an original's directory: no marker */
	KINDS
};
static const char *const kinds[] = {"clean", "touched", "killed", "cut", "unmarked"};

struct op { /* one record of the log */
	unsigned key;
	const char *value; /* NULL: a deletion */
	uint32_t off, end;
};

struct history {
	struct zu u;
	enum zdb_mode mode;
	uint64_t ids[KEYS];
	unsigned known; /* keys that have been set once */
	struct op ops[OPS];
	unsigned count;
	struct {
		const char *name;
		uint8_t *bytes;
		size_t size;
	} files[6];
	struct timespec index_time;
};

static size_t key_of(const struct history *h, unsigned key, char *b)
{
	if (h->mode == ZDB_SEQ) {
		put_u64le((uint8_t *)b, h->ids[key]);
		return 8;
	}
	return (size_t)sprintf(b, "key-%c", 'A' + key);
}

static uint32_t log_end(struct history *h)
{
	struct zdb_ns_info info;

	zdb_ns_info(h->u.ns, &info);
	assert_int_equal(info.data_current_id, 0);
	return info.data_current_offset;
}

static void put(struct history *h, unsigned key, const char *value)
{
	struct op *op = &h->ops[h->count++];
	struct zdb_set_result r;
	char k[16];
	size_t klen = 0;

	*op = (struct op){.key = key, .value = value, .off = log_end(h)};
	if (h->mode == ZDB_USER || key < h->known)
		klen = key_of(h, key, k);
	if (value != NULL)
		assert_int_equal(zdb_set(h->u.ns, k, klen, value, strlen(value), 1000, &r), 0);
	else
		assert_int_equal(zdb_del(h->u.ns, k, klen, 1000), 0);
	if (key >= h->known) {
		assert_int_equal(key, h->known);
		h->known++;
		if (h->mode == ZDB_SEQ)
			h->ids[key] = get_u64le(r.key);
	}
	op->end = log_end(h);
	assert_true(op->end > op->off);
}

static void apply(struct history *h, uint64_t now)
{
	uint64_t next;
	struct zdb_sync *job = zdb_tick(h->u.eng, now, &next);

	assert_non_null(job);
	do
		assert_int_equal(zdb_sync_run(job), 0);
	while (zdb_sync_done(job) == 1);
}

/* Inserts, updates, deletions and empty values before the marker, behind it, with rewrites applied and waiting. */
static void write_history(struct history *h, enum kind kind)
{
	assert_int_equal(zu_open(&h->u), 0);
	put(h, 0, "first value");
	put(h, 1, "second");
	put(h, 2, "third");
	put(h, 0, "first value, again");
	zu_close(&h->u);
	assert_int_equal(zu_open(&h->u), 0);
	put(h, 3, "behind the marker");
	put(h, 1, "second, updated");
	put(h, 4, "");
	put(h, 2, NULL);
	put(h, 5, "to be deleted");
	put(h, 3, "updated behind the marker");
	put(h, 3, "and once more");
	apply(h, 1000000);
	put(h, 6, "sixth");
	put(h, 5, NULL);
	put(h, 4, "no longer empty");
	put(h, 6, "");
	put(h, 7, "last insert");
	put(h, 0, "a last update");
	if (kind == CLEAN || kind == TOUCHED || kind == UNMARKED) {
		zu_close(&h->u);
	} else {
		assert_int_equal(zdb_sync(h->u.ns, ZDB_SYNC_DATA), 0);
		zu_crash(&h->u);
	}
}

static void remember(struct history *h)
{
	static const char *const names[] = {"d0", "i0", "mark", "sums", "synced", "zdb-namespace"};
	struct stat st;
	char path[600];

	for (unsigned i = 0; i < 6; i++) {
		h->files[i].name = names[i];
		h->files[i].bytes = zu_file(&h->u, "default", names[i], &h->files[i].size);
	}
	zu_path(&h->u, "default", "i0", path, sizeof(path));
	assert_int_equal(stat(path, &st), 0);
	h->index_time = st.st_mtim;
}

static void write_whole(const char *path, const void *bytes, size_t size)
{
	FILE *f = fopen(path, "wb");

	assert_non_null(f);
	assert_int_equal(fwrite(bytes, 1, size, f), size);
	assert_int_equal(fclose(f), 0);
}

static void bring_back(struct history *h, enum kind kind)
{
	char path[600];

	assert_int_equal(file_rm_tree(h->u.data), 0);
	assert_int_equal(file_rm_tree(h->u.index), 0);
	zu_path(&h->u, "default", "", path, sizeof(path));
	assert_int_equal(file_mkdir_p(path, 0700), 0);
	zu_path(&h->u, "default", "d", path, sizeof(path));
	path[strlen(path) - 2] = '\0';
	assert_int_equal(file_mkdir_p(path, 0700), 0);
	for (unsigned i = 0; i < 6; i++) {
		const char *name = h->files[i].name;

		if (h->files[i].bytes == NULL || (kind == CUT && strcmp(name, "synced") == 0) ||
		    (kind == UNMARKED && strcmp(name, "mark") == 0))
			continue;
		zu_path(&h->u, "default", name, path, sizeof(path));
		write_whole(path, h->files[i].bytes, h->files[i].size);
	}
	if (kind == CLEAN) {
		struct timespec times[2] = {h->index_time, h->index_time};

		zu_path(&h->u, "default", "i0", path, sizeof(path));
		assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
	}
}

static void damage(struct history *h, uint32_t at, uint8_t mask)
{
	char path[600];
	uint8_t b;
	int fd;

	zu_path(&h->u, "default", "d0", path, sizeof(path));
	fd = open(path, O_RDWR);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &b, 1, at), 1);
	b ^= mask;
	assert_int_equal(pwrite(fd, &b, 1, at), 1);
	close(fd);
}

static bool is(const char *want, int rc, const uint8_t *value, size_t size)
{
	if (want == NULL)
		return rc == -ENOENT;
	return rc == 0 && size == strlen(want) && memcmp(value, want, size) == 0;
}

/* What a key may answer: its last version; where that is hit, also an error, or as said below. */
static bool allowed(const struct history *h, enum kind kind, unsigned key, unsigned hit, int rc,
		    const uint8_t *value, size_t size)
{
	const struct op *last = NULL, *before = NULL;

	for (unsigned i = 0; i < h->count; i++) {
		if (h->ops[i].key == key) {
			before = last;
			last = &h->ops[i];
		}
	}
	if (is(last->value, rc, value, size))
		return true;
	if (last != &h->ops[hit])
		return false;
	if (rc == -EIO)
		return true;
	/* A deletion marker has no checksum and leaves nothing in the index until it is applied. */
	if (last->value == NULL && kind != CLEAN && is(before->value, rc, value, size))
		return true;
	/* Nobody knows whether it was durable: the older version is restored, or the end is cut. */
	return (kind == UNMARKED || (kind == CUT && hit == h->count - 1)) &&
	       is(before == NULL ? NULL : before->value, rc, value, size);
}

static void compare(struct history *h, enum kind kind, unsigned hit, const char *where)
{
	for (unsigned key = 0; key < h->known; key++) {
		uint8_t *value;
		size_t size = 0;
		char k[16];
		size_t klen = key_of(h, key, k);
		int rc = zu_value(h->u.ns, k, klen, &value, &size);

		if (!allowed(h, kind, key, hit, rc, value, size))
			fail_msg("%s: key %u answers %d, '%s'", where, key, rc, rc == 0 ? (char *)value : "");
		free(value);
	}
}

static void finding(void *ctx, int level, const char *ns, const char *text)
{
	(void)ns;
	if (level == 1)
		fail_msg("%s: there is still something to repair: %s", (const char *)ctx, text);
}

/* Whether the byte belongs to the payload of a version that lives. */
static bool is_live_payload(const struct history *h, unsigned hit, uint32_t at)
{
	const struct op *op = &h->ops[hit];

	for (unsigned i = hit + 1; i < h->count; i++)
		if (h->ops[i].key == op->key)
			return false;
	return op->value != NULL && at >= op->end - strlen(op->value);
}

static void one(struct history *h, enum kind kind, unsigned hit, uint32_t at, uint8_t mask)
{
	const struct zdb_recovery *r;
	char where[200];
	struct zdb_set_result res;
	bool durable = kind == CLEAN || kind == TOUCHED || kind == KILLED;
	size_t klen = h->mode == ZDB_SEQ ? 0 : 4;
	int rc;

	snprintf(where, sizeof(where), "%s mode, %s, record %u, byte %u ^ %02x",
		 h->mode == ZDB_SEQ ? "sequential" : "user", kinds[kind], hit, at - h->ops[hit].off, mask);
	bring_back(h, kind);
	damage(h, at, mask);
	assert_int_equal(zu_open(&h->u), 0);
	r = zdb_ns_recovery(h->u.ns);
	if (kind == CLEAN && r->unclean)
		fail_msg("%s: not taken for clean", where);
	if (r->data_cut_bytes != 0 && (durable || hit + 1 != h->count))
		fail_msg("%s: %llu bytes were cut", where, (unsigned long long)r->data_cut_bytes);
	compare(h, kind, hit, where);
	assert_int_equal(zdb_set(h->u.ns, "next", klen, "goes on", 7, 1, &res), 0);
	zu_close(&h->u);
	rc = zdb_verify(&h->u.opt, finding, where);
	assert_in_range(rc, 0, 2);
	if (durable && is_live_payload(h, hit, at) && rc != 2)
		fail_msg("%s: check does not call it lost", where);
	assert_int_equal(zu_open(&h->u), 0);
	compare(h, kind, hit, where);
	assert_int_equal(zdb_del(h->u.ns, h->mode == ZDB_SEQ ? (void *)res.key : "next",
				 h->mode == ZDB_SEQ ? 8 : 4, 1),
			 0);
	zu_close(&h->u);
}

/* Every byte of the header and the key, the ends of the payload; of the flags also the bit that means something. */
static unsigned hits(struct history *h, enum kind kind)
{
	unsigned done = 0;

	for (unsigned i = 0; i < h->count; i++) {
		const struct op *op = &h->ops[i];
		uint32_t payload = op->end - (op->value == NULL ? 0 : (uint32_t)strlen(op->value));

		for (uint32_t at = op->off; at < op->end; at++) {
			if (at > payload && at + 1 < op->end)
				continue;
			one(h, kind, i, at, (at + i) % 2 ? 0xa5 : 0x80);
			done++;
		}
		/* An index that was never told (CLEAN) has no use for it; others have a second witness. */
		if (op->end == payload && kind != UNMARKED)
			one(h, kind, i, op->off + 13, 1);
	}
	return done;
}

static void all(enum zdb_mode mode)
{
	for (enum kind kind = CLEAN; kind < KINDS; kind++) {
		struct history h = {.mode = mode};
		unsigned done;

		zu_setup(&h.u, mode);
		write_history(&h, kind);
		remember(&h);
		done = hits(&h, kind);
		print_message("%s: %u places\n", kinds[kind], done);
		assert_true(done > 300);
		for (unsigned i = 0; i < 6; i++)
			free(h.files[i].bytes);
		zu_teardown(&h.u);
	}
}

static void user_mode(void **state)
{
	(void)state;
	all(ZDB_USER);
}

static void sequential_mode(void **state)
{
	(void)state;
	all(ZDB_SEQ);
}

/* One record at `at`, of the key and so many bytes of the fill; returns its end.  damaged: its CRC is not of them. */
static uint32_t write_record(FILE *file, uint32_t at, char key, uint32_t len, uint8_t fill, uint32_t prev,
			     bool damaged)
{
	struct dat_rec d = {.klen = 1, .len = len, .prev = prev, .ts = 1};
	uint8_t b[DAT_RECORD + 1 + 600];

	assert_true(len <= 600);
	memset(b + DAT_RECORD + 1, fill, len);
	d.crc = zdb_crc(0, b + DAT_RECORD + 1, len) ^ (damaged ? 1 : 0);
	dat_encode(b, &d);
	b[DAT_RECORD] = (uint8_t)key;
	assert_int_equal(fseeko(file, at, SEEK_SET), 0);
	assert_int_equal(fwrite(b, 1, DAT_RECORD + 1 + len, file), DAT_RECORD + 1 + len);
	return at + DAT_RECORD + 1 + len;
}

/*
 * A damaged record that reaches into the last sector below 4 GiB, a whole one behind it, and the torn beginning of one that goes to
 * the last offset there is.  (The rest of the log is not there: the marker stands before these.)
 */
static void below_4_gib(void **state)
{
	uint32_t at = UINT32_MAX - 695, end;
	char path[500], dir[400];
	struct mark m;
	FILE *file;
	struct zu u;

	(void)state;
	zu_setup(&u, ZDB_USER);
	u.opt.datasize = ZDB_DATASIZE_MAX;
	assert_int_equal(zu_open(&u), 0);
	assert_int_equal(zu_set(&u, "a", "one"), 0);
	assert_int_equal(zdb_sync(u.ns, ZDB_SYNC_INDEX), 0);
	assert_int_equal(mark_read(u.ns, &m), 0);
	zu_crash(&u);
	m.offset = at;
	snprintf(dir, sizeof(dir), "%s/default", u.index);
	assert_int_equal(mark_write(dir, &m), 0);
	zu_path(&u, "default", "d0", path, sizeof(path));
	file = fopen(path, "r+b");
	assert_non_null(file);
	end = write_record(file, at, 'r', 261, 0x55, DAT_HEADER, true);
	end = write_record(file, end, 's', UINT32_MAX - 10 - end - DAT_RECORD - 1, 'f', at, false);
	assert_int_equal(end, UINT32_MAX - 10);
	assert_int_equal(fwrite("\1torn torn", 1, 10, file), 10);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(zu_open(&u), 0);
	assert_int_equal(zdb_ns_recovery(u.ns)->damaged, 1);
	assert_int_equal(zdb_ns_recovery(u.ns)->data_cut_bytes, 10);
	assert_string_equal(zu_get(&u, "a"), "one");
	assert_non_null(zu_get(&u, "s"));
	assert_int_equal(zu_get(&u, "s")[0], 'f');
	assert_int_equal(zu_set(&u, "b", "in the next segment"), 0);
	zu_close(&u);
	assert_int_equal(zu_open(&u), 0);
	assert_int_equal(zu_get(&u, "s")[0], 'f');
	assert_string_equal(zu_get(&u, "b"), "in the next segment");
	zu_close(&u);
	zu_teardown(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(user_mode),
		cmocka_unit_test(sequential_mode),
		cmocka_unit_test(below_4_gib),
	};

	test_in_memory();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
