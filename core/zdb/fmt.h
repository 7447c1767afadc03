/*
 * fmt.h - the bytes of an index record, a data record, the file headers, the descriptor and the marker.
 *
 * Encoding and decoding only: no input, no output.  Layouts are drawn in docs/formats.md, "zdb".
 */
#ifndef ZDB_FMT_H
#define ZDB_FMT_H

#include "core/base/endian.h"
#include "core/zdb/zdb.h"

#define IDX_HEADER     29u
#define DAT_HEADER     28u
#define IDX_RECORD     34u /* plus key */
#define DAT_RECORD     18u /* plus key and payload */
#define SEQ_RECORD     (IDX_RECORD + ZDB_SEQ_KEY_SIZE)
#define IDX_NUMBER_AT  24u /* offset of the file number in the header */
#define IDX_FLAGS_AT   13u /* offset of the flags in an index record */
#define DAT_STAMP_AT   16u /* offset of the stamp (`opened`) in a data header */
#define DAT_COMPACT_AT 8u  /* offset of what a compaction leaves there (`created`) */
#define DESC_HEADER    15u
#define DESC_MAX       (DESC_HEADER + 255u + 255u)
#define MARK_SIZE      44u
#define SUMS_SIZE      60u
#define SYNCED_SIZE    24u
#define FLAG_DELETED   1u
#define FLAG_TRUNCATED 2u /* data records only: payload dropped by a compaction */
#define SECTOR         512u

/* An index record without its key. */
struct idx_rec {
	uint8_t klen, flags;
	uint32_t off, len, prev, data_file, ts, crc, parent_file, parent_off;
};

/* A data record without key and payload. */
struct dat_rec {
	uint8_t klen, flags;
	uint32_t len, prev, crc, ts;
};

struct descriptor {
	uint64_t maxsize;
	bool is_public, worm;
	uint8_t name_len, password_len;
	char name[256], password[256];
};

enum mark_state { MARK_OPEN = 1, MARK_CLEAN = 2, MARK_CLEARING = 3 };

/*
 * All index bytes caused by records before (file, offset) are durable.  MARK_CLEARING: all files go, `file` is the last of them, index_size
 * the mode of the namespace.
 */
struct mark {
	enum mark_state state;
	uint32_t file, offset;
	uint64_t stamp, index_size, index_mtime_ns;
};

/* Counts at a marker's position, so that a sequential namespace starts without reading its index. */
struct sums {
	uint32_t file, offset;
	uint64_t stamp, next_id, entries, data_size, mark_state;
};

/* The log of `file` is durable up to `offset`. */
struct synced {
	uint32_t file, offset;
	uint64_t stamp;
};

static inline void idx_encode(uint8_t b[IDX_RECORD], const struct idx_rec *r)
{
	b[0] = r->klen;
	put_u32le(b + 1, r->off);
	put_u32le(b + 5, r->len);
	put_u32le(b + 9, r->prev);
	b[13] = r->flags;
	put_u32le(b + 14, r->data_file);
	put_u32le(b + 18, r->ts);
	put_u32le(b + 22, r->crc);
	put_u32le(b + 26, r->parent_file);
	put_u32le(b + 30, r->parent_off);
}

static inline void idx_decode(struct idx_rec *r, const uint8_t b[IDX_RECORD])
{
	r->klen = b[0];
	r->off = get_u32le(b + 1);
	r->len = get_u32le(b + 5);
	r->prev = get_u32le(b + 9);
	r->flags = b[13];
	r->data_file = get_u32le(b + 14);
	r->ts = get_u32le(b + 18);
	r->crc = get_u32le(b + 22);
	r->parent_file = get_u32le(b + 26);
	r->parent_off = get_u32le(b + 30);
}

static inline void dat_encode(uint8_t b[DAT_RECORD], const struct dat_rec *r)
{
	b[0] = r->klen;
	put_u32le(b + 1, r->len);
	put_u32le(b + 5, r->prev);
	put_u32le(b + 9, r->crc);
	b[13] = r->flags;
	put_u32le(b + 14, r->ts);
}

static inline void dat_decode(struct dat_rec *r, const uint8_t b[DAT_RECORD])
{
	r->klen = b[0];
	r->len = get_u32le(b + 1);
	r->prev = get_u32le(b + 5);
	r->crc = get_u32le(b + 9);
	r->flags = b[13];
	r->ts = get_u32le(b + 14);
}

void idx_header_encode(uint8_t b[IDX_HEADER], uint32_t file, enum zdb_mode mode);
/* -EINVAL with *why set: magic or version. */
int idx_header_decode(const uint8_t b[IDX_HEADER], enum zdb_mode *mode, const char **why);
void dat_header_encode(uint8_t b[DAT_HEADER], uint32_t file, uint64_t stamp);

/* Whether the fixed part of a data record that begins at off lies in two sectors. */
static inline bool dat_head_crosses(uint32_t off)
{
	return off % SECTOR > SECTOR - DAT_RECORD;
}

/* Whether the fixed part of a data record can be one at all: key length, payload length, flags. */
bool dat_plausible(const struct dat_rec *r, enum zdb_mode mode);

size_t desc_encode(uint8_t b[DESC_MAX], const struct descriptor *d);
/* -EINVAL: too short for its own lengths, or an unknown version.  Bytes behind are ignored. */
int desc_decode(struct descriptor *d, const uint8_t *b, size_t size);

void mark_encode(uint8_t b[MARK_SIZE], const struct mark *m);
int mark_decode(struct mark *m, const uint8_t *b, size_t size); /* 0 or -EINVAL */
void sums_encode(uint8_t b[SUMS_SIZE], const struct sums *s);
int sums_decode(struct sums *s, const uint8_t *b, size_t size); /* 0 or -EINVAL */
void synced_encode(uint8_t b[SYNCED_SIZE], const struct synced *y);
int synced_decode(struct synced *y, const uint8_t b[SYNCED_SIZE]); /* 0 or -EINVAL */

#endif
