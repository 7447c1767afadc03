/*
 * The bytes of a volume: known answers of the format, what goes in comes out, and nothing broken is believed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "applets/zdbfs/fmt.h"
#include "core/base/endian.h"
#include "core/base/err.h"

static struct buf out = BUF_INIT(FMT_RECORD_MAX);

static void check_bytes(const struct buf *b, const uint8_t *want, size_t len)
{
	assert_int_equal(b->len, len);
	assert_memory_equal(b->data, want, len);
}

static void header_is_as_the_original_writes_it(void **state)
{
	static const uint8_t want[24] = {0x5a, 0x44, 0x42, 0x46, 0x53, 0x4d, 1, 0,    0, 0, 0, 0,
					 0,    0,    0,    0,    0,    0,    0, 0x80, 2, 0, 0, 0};
	struct fmt_header h = {.magic = "ZDBFSM", .version = 1, .size_bytes = 10737418240ull}, back;
	uint8_t raw[FMT_HEADER_SIZE];

	(void)state;
	fmt_header_encode(raw, &h);
	assert_memory_equal(raw, want, 24);
	h.journal_key = 0x665544332211ull;
	h.flags = 3;
	fmt_header_encode(raw, &h);
	assert_int_equal(raw[10], 0x11);
	assert_int_equal(raw[15], 0x66);
	assert_int_equal(fmt_header_decode(&back, "ZDBFSM", raw, 24), 0);
	assert_true(back.journal_key == h.journal_key && back.flags == 3 && back.size_bytes == h.size_bytes);
	assert_int_equal(fmt_header_decode(&back, "ZDBFSD", raw, 24), -E_CORRUPT);
	assert_int_equal(fmt_header_decode(&back, "ZDBFSM", raw, 7), -E_CORRUPT);
	raw[6] = 2;
	assert_int_equal(fmt_header_decode(&back, "ZDBFSM", raw, 24), -E_VERSION);
}

static void file_is_as_the_original_writes_it(void **state)
{
	static const uint8_t want[56] = {
		0xa4, 0x81, 0,    0,    0, 0,    0, 0, 0, 0, 0, 0, 0, 0,    0,    0, 0,    0,    0,
		0,    6,    0,    0,    0, 0,    0, 0, 0, 1, 0, 0, 0, 0x57, 0xe2, 1, 0x6b, 0x57, 0xe2,
		1,    0x6b, 0x57, 0xe2, 1, 0x6b, 1, 0, 0, 0, 0, 0, 0, 0,    1,    0, 0,    0};
	uint32_t map[1];
	struct fmt_inode in = {.mode = S_IFREG | 0644, .size = 6, .links = 1, .slot_count = 1, .map = map},
			 back;

	(void)state;
	put_u32le(map, 1);
	in.atime.tv_sec = in.mtime.tv_sec = in.ctime.tv_sec = 0x6b01e257;
	buf_clear(&out);
	assert_int_equal(fmt_inode_encode(&out, &in), 0);
	check_bytes(&out, want, sizeof(want));
	assert_int_equal(fmt_inode_decode(&back, out.data, out.len), 0);
	assert_true(back.size == 6 && back.slot_count == 1 && get_u32le(back.map) == 1 &&
		    back.mtime.tv_sec == 0x6b01e257);
	/* the original leaves a cache flag in `ino`: it says nothing */
	out.data[4] = 1;
	assert_int_equal(fmt_inode_decode(&back, out.data, out.len), 0);
	for (size_t len = 0; len < out.len; len++)
		assert_int_equal(fmt_inode_decode(&back, out.data, len), -E_CORRUPT);
}

static void symlink_counts_its_terminator(void **state)
{
	static const uint8_t tail[8] = {'t', 'a', 'r', 'g', 'e', 't', 0, 0x42};
	struct fmt_inode in = {.mode = S_IFLNK | 0777, .size = 6, .links = 1, .target = "target"}, back;

	(void)state;
	buf_clear(&out);
	assert_int_equal(fmt_inode_encode(&out, &in), 0);
	assert_int_equal(out.len, 52);
	assert_int_equal(get_u64le(out.data + 20), 7);
	assert_memory_equal(out.data + 44, tail, 8);
	assert_int_equal(fmt_inode_decode(&back, out.data, out.len), 0);
	assert_true(back.size == 6 && strcmp(back.target, "target") == 0);
	/* no NUL within the stored size */
	out.data[50] = 'x';
	assert_int_equal(fmt_inode_decode(&back, out.data, out.len), -E_CORRUPT);
}

static void list_is_as_the_original_writes_it(void **state)
{
	static const uint8_t want[28] = {2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0,    0,
					 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0x2e, 0};
	const uint8_t *entries;
	size_t entries_len;
	struct fmt_entry e;
	uint32_t count;

	(void)state;
	buf_clear(&out);
	assert_int_equal(fmt_list_head(&out, 2, 1), 0);
	assert_int_equal(fmt_list_entry(&out, 1, ".", 1), 0);
	check_bytes(&out, want, sizeof(want));
	assert_int_equal(fmt_list_decode(out.data, out.len, &count, &entries, &entries_len), 0);
	assert_int_equal(count, 1);
	assert_int_equal(fmt_entry_decode(&e, entries, entries_len), 0);
	assert_true(e.ino == 1 && e.name_len == 1 && e.name[0] == '.' && e.size == entries_len);
	for (size_t len = 0; len < entries_len; len++)
		assert_int_equal(fmt_entry_decode(&e, entries, len), -E_CORRUPT);
	/* a list whose creation was cut short is empty */
	assert_int_equal(fmt_list_decode("L", 1, &count, &entries, &entries_len), 0);
	assert_int_equal(count, 0);
	out.data[8] = 200;
	assert_int_equal(fmt_list_decode(out.data, out.len, &count, &entries, &entries_len), -E_CORRUPT);
}

static void names_hash_as_the_original_does(void **state)
{
	static const struct {
		const char *name;
		unsigned slot;
	} known[] = {{".", 46},  {"..", 92}, {"f1", 23},          {"h1", 25},    {"s1", 36},
		     {"d1", 21}, {"y", 121}, {"caf\xc3\xa9", 22}, {"sparse", 14}};

	(void)state;
	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
		assert_int_equal(fmt_hash(known[i].name, strlen(known[i].name)), known[i].slot);
	assert_true(fmt_name_compare("\x80", 1, "a", 1) > 0);
	assert_true(fmt_name_compare("a", 1, "ab", 2) < 0);
	assert_int_equal(fmt_name_compare("ab", 2, "ab", 2), 0);
}

static void trailer_keeps_what_the_base_cannot(void **state)
{
	struct buf x = BUF_INIT(FMT_XATTR_MAX);
	struct fmt_inode in = {.mode = S_IFREG | 0600,
			       .uid = 70000,
			       .gid = 0xfffffffe,
			       .size = 5,
			       .links = 2},
			 back;
	struct fmt_xattr attr;
	size_t off = 0, base;

	(void)state;
	in.atime = (struct timespec){.tv_sec = -5, .tv_nsec = 999999999};
	in.mtime = (struct timespec){.tv_sec = 4294967296 + 7, .tv_nsec = 1};
	in.ctime = (struct timespec){.tv_sec = 12345, .tv_nsec = 0};
	in.btime = (struct timespec){.tv_sec = 99, .tv_nsec = 98};
	assert_int_equal(fmt_xattr_append(&x, "user.a", 6, "value", 5), 0);
	assert_int_equal(fmt_xattr_append(&x, "user.empty", 10, "", 0), 0);
	in.xattr = x.data;
	in.xattr_len = x.len;
	buf_clear(&out);
	assert_int_equal(fmt_inode_encode(&out, &in), 0);
	base = out.len - fmt_trailer_size(&in);
	assert_int_equal(base, 52);
	assert_int_equal(fmt_inode_decode(&back, out.data, out.len), 0);
	assert_true(back.uid == 70000 && back.gid == 0xfffffffe);
	assert_true(back.atime.tv_sec == -5 && back.atime.tv_nsec == 999999999);
	assert_true(back.mtime.tv_sec == 4294967296 + 7 && back.mtime.tv_nsec == 1);
	assert_true(back.ctime.tv_sec == 12345 && back.btime.tv_sec == 99 && back.btime.tv_nsec == 98);
	assert_int_equal(fmt_xattr_next(back.xattr, back.xattr_len, &off, &attr), 1);
	assert_true(attr.name_len == 6 && attr.value_len == 5 && memcmp(attr.value, "value", 5) == 0);
	assert_int_equal(fmt_xattr_next(back.xattr, back.xattr_len, &off, &attr), 1);
	assert_int_equal(fmt_xattr_next(back.xattr, back.xattr_len, &off, &attr), 0);
	/* without the trailer the record is what the original would have kept; a trailer cut short is damage */
	assert_int_equal(fmt_inode_decode(&back, out.data, base), 0);
	assert_true(back.uid == 70000 - 65536 && back.mtime.tv_sec == 7 && !back.xattr);
	for (size_t len = base + 12; len < out.len; len++)
		assert_int_equal(fmt_inode_decode(&back, out.data, len), -E_CORRUPT);
	/* foreign bytes behind the payload are no trailer */
	out.data[base] = 'Z';
	assert_int_equal(fmt_inode_decode(&back, out.data, out.len), 0);
	assert_null(back.xattr);
	buf_release(&x);
}

static void record_limit_holds(void **state)
{
	uint32_t *map = calloc(FMT_SLOTS_MAX + 1, 4);
	struct fmt_inode in = {.mode = S_IFREG, .slot_count = FMT_SLOTS_MAX, .map = map, .size = 1};

	(void)state;
	assert_non_null(map);
	buf_clear(&out);
	assert_int_equal(fmt_inode_encode(&out, &in), 0);
	assert_true(out.len <= FMT_RECORD_MAX);
	in.slot_count++;
	buf_clear(&out);
	assert_int_equal(fmt_inode_encode(&out, &in), -EFBIG);
	free(map);
	buf_release(&out);
}

static void journal_comes_back(void **state)
{
	struct fmt_journal j = {
		.mount = 3, .batch = 4, .next_meta = 5, .next_data = 6, .orphan_count = 2, .intent_count = 2};
	struct fmt_intent a = {.kind = FMT_RENAME,
			       .ino = 9,
			       .links = 1,
			       .old_ino = 8,
			       .old_links = 0,
			       .from_dir = 1,
			       .to_dir = 7,
			       .from = "from",
			       .from_len = 4,
			       .to = "to",
			       .to_len = 2};
	struct fmt_intent b = {
		.kind = FMT_LINK, .ino = 10, .links = 3, .to_dir = 1, .from = "", .to = "n", .to_len = 1};
	struct fmt_intent in;
	struct fmt_journal back;
	size_t off = 0;

	(void)state;
	buf_clear(&out);
	assert_int_equal(fmt_journal_head(&out, &j), 0);
	assert_int_equal(buf_append_u64le(&out, 100), 0);
	assert_int_equal(buf_append_u64le(&out, 200), 0);
	assert_int_equal(fmt_journal_intent(&out, &a), 0);
	assert_int_equal(fmt_journal_intent(&out, &b), 0);
	assert_int_equal(out.len, 56 + 16 + 45 + 6 + 45 + 1);
	assert_memory_equal(out.data, "QSFJ\1\0\0\0", 8);
	assert_int_equal(fmt_journal_decode(&back, out.data, out.len), 0);
	assert_true(back.mount == 3 && back.batch == 4 && back.next_meta == 5 && back.next_data == 6);
	assert_true(fmt_journal_orphan(&back, 1) == 200);
	assert_int_equal(fmt_journal_next_intent(&back, &off, &in), 1);
	assert_true(in.kind == FMT_RENAME && in.ino == 9 && in.old_ino == 8 && in.to_dir == 7 &&
		    in.from_len == 4);
	assert_memory_equal(in.to, "to", 2);
	assert_int_equal(fmt_journal_next_intent(&back, &off, &in), 1);
	assert_true(in.kind == FMT_LINK && in.links == 3 && in.to_len == 1);
	assert_int_equal(fmt_journal_next_intent(&back, &off, &in), 0);
	for (size_t len = 0; len < out.len; len++)
		assert_int_not_equal(fmt_journal_decode(&back, out.data, len), 0);
	buf_release(&out);
}

/* Any damage of any record is an error or another valid value, never a read out of bounds (run under a sanitizer). */
static void damage_is_never_fatal(void **state)
{
	unsigned seed = 20261121;
	uint8_t raw[1200];

	(void)state;
	print_message("seed %u\n", seed);
	for (int round = 0; round < 20000; round++) {
		size_t len = (size_t)rand_r(&seed) % sizeof(raw), entries_len;
		const uint8_t *entries;
		struct fmt_journal j;
		struct fmt_inode in;
		struct fmt_entry e;
		uint32_t count;
		uint8_t *copy;

		for (size_t i = 0; i < len; i++)
			raw[i] = (uint8_t)(rand_r(&seed) >> 7) & (round & 1 ? 0xff : 0x03);
		if (len > 56 && round % 3 == 0)
			memcpy(raw, "QSFJ\1\0\0\0", 8);
		if (len > 70 && round % 3 == 1) {
			put_u32le(raw, round % 2 ? S_IFDIR : S_IFREG);
			memcpy(raw + 52, "QSFX\1\0\0\0", 8);
		}
		copy = malloc(len ? len : 1);
		assert_non_null(copy);
		memcpy(copy, raw, len);
		(void)fmt_inode_decode(&in, copy, len);
		(void)fmt_journal_decode(&j, copy, len);
		if (!fmt_list_decode(copy, len, &count, &entries, &entries_len))
			(void)fmt_entry_decode(&e, entries, entries_len);
		free(copy);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(header_is_as_the_original_writes_it),
		cmocka_unit_test(file_is_as_the_original_writes_it),
		cmocka_unit_test(symlink_counts_its_terminator),
		cmocka_unit_test(list_is_as_the_original_writes_it),
		cmocka_unit_test(names_hash_as_the_original_does),
		cmocka_unit_test(trailer_keeps_what_the_base_cannot),
		cmocka_unit_test(record_limit_holds),
		cmocka_unit_test(journal_comes_back),
		cmocka_unit_test(damage_is_never_fatal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
