/*
 * fmt: the bytes of a zdbfs volume (docs/formats.md, "File system volume"), encoded and decoded, nothing else.
 *
 * Decoders check every length before they read and never trust a count; they return -E_CORRUPT for what cannot be.
 * What the original program ignores (the inode's `ino`, paddings, "." and "..") is ignored here too. Decoded structs
 * borrow from the record: they are valid as long as it is.
 *
 * Trailer. Behind the payload that the original knows, a record of ours may carry nanoseconds, 32-bit ids, 64-bit times,
 * birth time and extended attributes. The original reads such a record normally and drops the trailer when it rewrites
 * the record, so a trailer is never out of step with the fields before it.
 */
#ifndef ZDBFS_FMT_H
#define ZDBFS_FMT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "core/base/buf.h"

#define FMT_BLOCK         131072u /* bytes of one block: part of format version 1 */
#define FMT_RECORD_MAX    (8u << 20)
#define FMT_INODE_BASE    44u
#define FMT_FILE_BASE     52u
#define FMT_DIR_SIZE      1068u
#define FMT_SLOTS         128u     /* lists of one directory */
#define FMT_SLOTS_MAX     2097139u /* blocks of one file: the record with them is just below 8 MiB */
#define FMT_TRAILER_MAX   (160u << 10)
#define FMT_NO_LIST       0x4242424242424242ull
#define FMT_NAME_MAX      255u
#define FMT_TARGET_MAX    4095u
#define FMT_XATTR_MAX     (128u << 10) /* all attributes of one inode, packed */
#define FMT_LIST_HEAD     16u
#define FMT_ENTRY_HEAD    10u
#define FMT_HEADER_SIZE   24u
#define FMT_LINKS_UNKNOWN 0xffffffffu

#define FMT_HEADER_KEY 0u
#define FMT_ROOT_INO   1u

/* ---- header: key 0 of every role ---- */

#define FMT_FLAG_MOUNTED 0x1u /* in use, or not cleanly left */
#define FMT_FLAG_JOURNAL 0x2u /* the J record may hold work to be redone */

struct fmt_header {
	char magic[7]; /* "ZDBFSM", "ZDBFSD", "ZDBFST" */
	uint16_t version;
	uint16_t flags;
	uint64_t journal_key; /* 48 bits; 0 = none; meta only */
	uint64_t size_bytes;  /* size= when the volume was created; informative */
};

void fmt_header_encode(uint8_t out[FMT_HEADER_SIZE], const struct fmt_header *h);
/* -E_CORRUPT: too short or wrong magic for `magic`; -E_VERSION. Accepts any length from 8 bytes on, as the original. */
int fmt_header_decode(struct fmt_header *h, const char *magic, const void *data, size_t len);

/* ---- inodes ---- */

struct fmt_inode {
	uint32_t mode; /* st_mode */
	uint32_t dev;  /* rdev in the FUSE protocol's 32-bit form */
	uint32_t uid, gid;
	uint64_t size;  /* symlinks: strlen of the target (one more on disk) */
	uint32_t links; /* directories: 0 and FMT_LINKS_UNKNOWN say nothing */
	struct timespec atime, mtime, ctime;
	struct timespec btime; /* tv_sec 0 and tv_nsec 0: unknown */
	const uint8_t *xattr;  /* packed, see fmt_xattr_* */
	size_t xattr_len;
	/* regular files and special files */
	const void *map; /* slot_count x u32, little-endian, unaligned */
	uint64_t slot_count;
	/* directories */
	const void *lists; /* FMT_SLOTS x u64, little-endian, unaligned */
	/* symbolic links */
	const char *target; /* `size` bytes, followed by a NUL */
};

/* Decodes a record. -E_CORRUPT. A damaged trailer is -E_CORRUPT too: the attributes in it are data. */
int fmt_inode_decode(struct fmt_inode *in, const void *data, size_t len);

/* Appends a record: base, payload, and a trailer when one is needed. 0, -ENOMEM, -EFBIG beyond the record limit. */
int fmt_inode_encode(struct buf *out, const struct fmt_inode *in);

/* Bytes that the trailer of this inode takes (0 = none needed). */
size_t fmt_trailer_size(const struct fmt_inode *in);

/* Extended attributes, packed: name length u8, value length u32, name, value, one after the other. */
struct fmt_xattr {
	const char *name; /* not terminated */
	size_t name_len;
	const uint8_t *value;
	size_t value_len;
	size_t off, size; /* where it lies in the packed bytes */
};
/* Steps through packed attributes from *off on: 1 and the attribute, 0 at the end, -E_CORRUPT. */
int fmt_xattr_next(const uint8_t *packed, size_t len, size_t *off, struct fmt_xattr *x);
int fmt_xattr_append(struct buf *out, const char *name, size_t name_len, const void *value, size_t value_len);

/* ---- directory lists ---- */

/* Slot of a name: sum of its bytes modulo 128. */
unsigned fmt_hash(const char *name, size_t len);

struct fmt_entry {
	uint64_t ino;
	const char *name; /* followed by a NUL */
	size_t name_len;
	size_t size; /* bytes of the entry */
};

/* Entries of a list record: their number in *count and their first byte; records shorter than the head are an empty
 * list (a list whose creation was interrupted). -E_CORRUPT when the head promises what cannot be. */
int fmt_list_decode(const void *data, size_t len, uint32_t *count, const uint8_t **entries,
		    size_t *entries_len);
/* The entry at data; -E_CORRUPT when it is not whole. */
int fmt_entry_decode(struct fmt_entry *e, const uint8_t *data, size_t len);
int fmt_list_head(struct buf *out, uint64_t key, uint32_t count);
int fmt_list_entry(struct buf *out, uint64_t ino, const char *name, size_t name_len);

/* Order of names in a list: unsigned bytes, as strcmp. */
int fmt_name_compare(const char *a, size_t a_len, const char *b, size_t b_len);

/* ---- J, the intent record ---- */

enum fmt_intent_kind { FMT_RENAME = 1, FMT_EXCHANGE = 2, FMT_LINK = 3, FMT_MAKE = 4 };

struct fmt_intent {
	uint8_t kind;
	uint64_t ino;
	uint32_t
		links; /* of ino when all is done; see docs/formats.md for a FMT_LINK whose name is not there */
	uint64_t old_ino;
	uint32_t old_links;
	uint64_t from_dir, to_dir;
	const char *from, *to; /* not terminated */
	uint16_t from_len, to_len;
};

struct fmt_journal {
	uint64_t mount, batch;
	uint64_t next_meta, next_data; /* leaks of a crash have ids from here on */
	uint64_t free_list;
	uint32_t orphan_count, intent_count;
	const uint8_t *orphans; /* decoded: orphan_count x u64 */
	const uint8_t *intents; /* decoded: packed */
	size_t intents_len;
};

#define FMT_JOURNAL_HEAD      56u
#define FMT_INTENT_HEAD       45u
#define FMT_ORPHANS_MAX       500000u
#define FMT_INTENTS_BYTES_MAX (3u << 20)

int fmt_journal_decode(struct fmt_journal *j, const void *data, size_t len);
uint64_t fmt_journal_orphan(const struct fmt_journal *j, uint32_t index);
/* Steps from *off = 0 on: 1 and the intent, 0 at the end, -E_CORRUPT. Names point into the record. */
int fmt_journal_next_intent(const struct fmt_journal *j, size_t *off, struct fmt_intent *in);
/* The head, then orphan_count orphans with buf_append_u64le, then intent_count intents. */
int fmt_journal_head(struct buf *out, const struct fmt_journal *j);
int fmt_journal_intent(struct buf *out, const struct fmt_intent *in);

#endif
