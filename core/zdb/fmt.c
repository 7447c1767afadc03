/*
 * fmt.c - headers, descriptor, marker, sums and synced: encoding and decoding.
 */
#include <errno.h>
#include <string.h>

#include "core/zdb/fmt.h"

_Static_assert(IDX_HEADER == 29 && DAT_HEADER == 28, "file headers of index version 4 and data version 3");
_Static_assert(SEQ_RECORD == 42, "a sequential index record is found by its number");

void idx_header_encode(uint8_t b[IDX_HEADER], uint32_t file, enum zdb_mode mode)
{
	memset(b, 0, IDX_HEADER);
	memcpy(b, "IDX0", 4);
	put_u32le(b + 4, ZDB_INDEX_VERSION);
	put_u32le(b + 24, file);
	b[28] = (uint8_t)mode;
}

int idx_header_decode(const uint8_t b[IDX_HEADER], enum zdb_mode *mode, const char **why)
{
	if (memcmp(b, "IDX0", 4) != 0) {
		*why = "wrong magic";
		return -EINVAL;
	}
	if (get_u32le(b + 4) != ZDB_INDEX_VERSION) {
		*why = "unsupported version";
		return -EINVAL;
	}
	if (b[28] > ZDB_SEQ) {
		*why = "unsupported mode";
		return -EINVAL;
	}
	*mode = (enum zdb_mode)b[28];
	return 0;
}

void dat_header_encode(uint8_t b[DAT_HEADER], uint32_t file, uint64_t stamp)
{
	memset(b, 0, DAT_HEADER);
	memcpy(b, "DAT0", 4);
	put_u32le(b + 4, ZDB_DATA_VERSION);
	put_u64le(b + DAT_STAMP_AT, stamp);
	put_u32le(b + 24, file);
}

bool dat_plausible(const struct dat_rec *r, enum zdb_mode mode)
{
	if (r->klen == 0 || (mode == ZDB_SEQ && r->klen != ZDB_SEQ_KEY_SIZE))
		return false;
	if (r->len > ZDB_PAYLOAD_MAX || (r->flags & ~(FLAG_DELETED | FLAG_TRUNCATED)) != 0)
		return false;
	if (r->flags != 0 && r->len != 0)
		return false;
	if ((r->flags & FLAG_DELETED) != 0 && r->crc != 0)
		return false;
	return true;
}

size_t desc_encode(uint8_t b[DESC_MAX], const struct descriptor *d)
{
	put_u32le(b, 1);
	b[4] = d->name_len;
	b[5] = d->password_len;
	put_u64le(b + 6, d->maxsize);
	b[14] = (uint8_t)((d->is_public ? 1 : 0) | (d->worm ? 2 : 0) | 4);
	memcpy(b + DESC_HEADER, d->name, d->name_len);
	memcpy(b + DESC_HEADER + d->name_len, d->password, d->password_len);
	return DESC_HEADER + (size_t)d->name_len + d->password_len;
}

int desc_decode(struct descriptor *d, const uint8_t *b, size_t size)
{
	memset(d, 0, sizeof(*d));
	if (size < DESC_HEADER || get_u32le(b) != 1)
		return -EINVAL;
	d->name_len = b[4];
	d->password_len = b[5];
	if (size < DESC_HEADER + (size_t)d->name_len + d->password_len)
		return -EINVAL;
	d->maxsize = get_u64le(b + 6);
	d->is_public = (b[14] & 1) != 0;
	d->worm = (b[14] & 2) != 0;
	memcpy(d->name, b + DESC_HEADER, d->name_len);
	memcpy(d->password, b + DESC_HEADER + d->name_len, d->password_len);
	return 0;
}

/* The usual CRC-32C, with initial and final inversion; records use the format's own, without. */
static uint32_t mark_sum(const uint8_t b[MARK_SIZE])
{
	return ~zdb_crc(~UINT32_C(0), b, 40);
}

void mark_encode(uint8_t b[MARK_SIZE], const struct mark *m)
{
	memset(b, 0, MARK_SIZE);
	memcpy(b, "QSZM", 4);
	b[4] = (uint8_t)m->state;
	put_u32le(b + 8, m->file);
	put_u32le(b + 12, m->offset);
	put_u64le(b + 16, m->stamp);
	put_u64le(b + 24, m->index_size);
	put_u64le(b + 32, m->index_mtime_ns);
	put_u32le(b + 40, mark_sum(b));
}

int mark_decode(struct mark *m, const uint8_t *b, size_t size)
{
	if (size != MARK_SIZE || memcmp(b, "QSZM", 4) != 0 || get_u32le(b + 40) != mark_sum(b))
		return -EINVAL;
	if (b[4] < MARK_OPEN || b[4] > MARK_CLEARING)
		return -EINVAL;
	m->state = (enum mark_state)b[4];
	m->file = get_u32le(b + 8);
	m->offset = get_u32le(b + 12);
	m->stamp = get_u64le(b + 16);
	m->index_size = get_u64le(b + 24);
	m->index_mtime_ns = get_u64le(b + 32);
	if (m->offset < DAT_HEADER || m->index_size > UINT32_MAX)
		return -EINVAL;
	return 0;
}

void sums_encode(uint8_t b[SUMS_SIZE], const struct sums *s)
{
	memcpy(b, "QSZS", 4);
	put_u32le(b + 4, s->file);
	put_u32le(b + 8, s->offset);
	put_u32le(b + 12, (uint32_t)s->mark_state);
	put_u64le(b + 16, s->stamp);
	put_u64le(b + 24, s->next_id);
	put_u64le(b + 32, s->entries);
	put_u64le(b + 40, s->data_size);
	put_u64le(b + 48, 0);
	put_u32le(b + 56, zdb_crc(0, b, 56));
}

int sums_decode(struct sums *s, const uint8_t *b, size_t size)
{
	if (size != SUMS_SIZE || memcmp(b, "QSZS", 4) != 0 || get_u32le(b + 56) != zdb_crc(0, b, 56))
		return -EINVAL;
	s->file = get_u32le(b + 4);
	s->offset = get_u32le(b + 8);
	s->mark_state = get_u32le(b + 12);
	s->stamp = get_u64le(b + 16);
	s->next_id = get_u64le(b + 24);
	s->entries = get_u64le(b + 32);
	s->data_size = get_u64le(b + 40);
	return 0;
}

void synced_encode(uint8_t b[SYNCED_SIZE], const struct synced *y)
{
	memcpy(b, "QSZD", 4);
	put_u32le(b + 4, y->file);
	put_u32le(b + 8, y->offset);
	put_u64le(b + 12, y->stamp);
	put_u32le(b + 20, zdb_crc(0, b, 20));
}

int synced_decode(struct synced *y, const uint8_t b[SYNCED_SIZE])
{
	if (memcmp(b, "QSZD", 4) != 0 || get_u32le(b + 20) != zdb_crc(0, b, 20))
		return -EINVAL;
	y->file = get_u32le(b + 4);
	y->offset = get_u32le(b + 8);
	y->stamp = get_u64le(b + 12);
	return 0;
}
