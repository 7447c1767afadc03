/*
 * fmt_inode: headers, inode records and their trailer.
 *
 *	trailer:  "QSFX" | version u8 = 1 | 3 zero bytes | length of what follows u32 | fields
 *	field:	  type u16 | length u32 | bytes
 *
 * Fields of an unknown type are skipped, so that a later version can add some.
 */
#include <string.h>
#include <sys/stat.h>

#include "applets/zdbfs/fmt.h"
#include "core/base/endian.h"
#include "core/base/err.h"

#define TRAILER_HEAD 12u
#define FIELD_HEAD   6u

enum field {
	FIELD_NSEC = 1,  /* u32 atime, mtime, ctime: nanoseconds */
	FIELD_EPOCH = 2, /* i32 atime, mtime, ctime: high words of the seconds */
	FIELD_IDS = 3,   /* u16 uid, gid: high halves */
	FIELD_BTIME = 4, /* i64 seconds, u32 nanoseconds */
	FIELD_XATTR = 5, /* packed attributes */
};

static const uint8_t trailer_magic[4] = {'Q', 'S', 'F', 'X'};

void fmt_header_encode(uint8_t out[FMT_HEADER_SIZE], const struct fmt_header *h)
{
	memset(out, 0, FMT_HEADER_SIZE);
	memcpy(out, h->magic, 6);
	put_u16le(out + 6, h->version);
	put_u16le(out + 8, h->flags);
	put_u16le(out + 10, (uint16_t)h->journal_key);
	put_u32le(out + 12, (uint32_t)(h->journal_key >> 16));
	put_u64le(out + 16, h->size_bytes);
}

int fmt_header_decode(struct fmt_header *h, const char *magic, const void *data, size_t len)
{
	const uint8_t *p = data;

	memset(h, 0, sizeof(*h));
	if (len < 8 || memcmp(p, magic, 6) != 0)
		return -E_CORRUPT;
	memcpy(h->magic, p, 6);
	h->version = get_u16le(p + 6);
	if (h->version != 1)
		return -E_VERSION;
	if (len >= FMT_HEADER_SIZE) {
		h->flags = get_u16le(p + 8);
		h->journal_key = get_u16le(p + 10) | (uint64_t)get_u32le(p + 12) << 16;
		h->size_bytes = get_u64le(p + 16);
	}
	return 0;
}

/* ------------------------------------------------------------------------------------------------ decoding */

static void decode_epoch(struct timespec *t, const uint8_t *p)
{
	t->tv_sec = (time_t)((int64_t)(int32_t)get_u32le(p) * 4294967296 + (int64_t)(uint32_t)t->tv_sec);
}

static int decode_nsec(struct timespec *t, const uint8_t *p)
{
	uint32_t ns = get_u32le(p);

	if (ns > 999999999)
		return -E_CORRUPT;
	t->tv_nsec = (long)ns;
	return 0;
}

static int check_xattr(const uint8_t *packed, size_t len)
{
	struct fmt_xattr x;
	size_t off = 0;
	int rc;

	if (len > FMT_XATTR_MAX)
		return -E_CORRUPT;
	while ((rc = fmt_xattr_next(packed, len, &off, &x)) > 0)
		;
	return rc;
}

static int decode_field(struct fmt_inode *in, unsigned type, const uint8_t *p, size_t len)
{
	switch (type) {
	case FIELD_NSEC:
		if (len != 12 || decode_nsec(&in->atime, p) || decode_nsec(&in->mtime, p + 4) ||
		    decode_nsec(&in->ctime, p + 8))
			return -E_CORRUPT;
		break;
	case FIELD_EPOCH:
		if (len != 12)
			return -E_CORRUPT;
		decode_epoch(&in->atime, p);
		decode_epoch(&in->mtime, p + 4);
		decode_epoch(&in->ctime, p + 8);
		break;
	case FIELD_IDS:
		if (len != 4)
			return -E_CORRUPT;
		in->uid |= (uint32_t)get_u16le(p) << 16;
		in->gid |= (uint32_t)get_u16le(p + 2) << 16;
		break;
	case FIELD_BTIME:
		if (len != 12 || decode_nsec(&in->btime, p + 8))
			return -E_CORRUPT;
		in->btime.tv_sec = (time_t)get_u64le(p);
		break;
	case FIELD_XATTR:
		if (check_xattr(p, len))
			return -E_CORRUPT;
		in->xattr = p;
		in->xattr_len = len;
		break;
	default:
		break;
	}
	return 0;
}

/* What lies behind the payload is a trailer if it begins as one; anything else is foreign and ignored. */
static int decode_trailer(struct fmt_inode *in, const uint8_t *p, size_t len)
{
	size_t off = 0, body;

	if (len < TRAILER_HEAD || memcmp(p, trailer_magic, 4) != 0 || p[4] != 1)
		return 0;
	body = get_u32le(p + 8);
	if (body > len - TRAILER_HEAD)
		return -E_CORRUPT;
	p += TRAILER_HEAD;
	while (off < body) {
		size_t size;

		if (body - off < FIELD_HEAD)
			return -E_CORRUPT;
		size = get_u32le(p + off + 2);
		if (size > body - off - FIELD_HEAD ||
		    decode_field(in, get_u16le(p + off), p + off + FIELD_HEAD, size))
			return -E_CORRUPT;
		off += FIELD_HEAD + size;
	}
	return 0;
}

static int decode_target(struct fmt_inode *in, const uint8_t *p, size_t len, size_t *used)
{
	size_t stored = in->size, n;

	if (stored == 0 || stored > FMT_TARGET_MAX + 1 || stored > len - FMT_INODE_BASE)
		return -E_CORRUPT;
	n = strnlen((const char *)p + FMT_INODE_BASE, stored);
	if (n == stored)
		return -E_CORRUPT;
	in->target = (const char *)p + FMT_INODE_BASE;
	in->size = n;
	*used = FMT_INODE_BASE + stored;
	if (*used < len)
		*used += 1; /* the filler byte */
	return 0;
}

int fmt_inode_decode(struct fmt_inode *in, const void *data, size_t len)
{
	const uint8_t *p = data;
	size_t used;

	memset(in, 0, sizeof(*in));
	if (len < FMT_INODE_BASE)
		return -E_CORRUPT;
	in->mode = get_u32le(p);
	in->dev = get_u32le(p + 12);
	in->uid = get_u16le(p + 16);
	in->gid = get_u16le(p + 18);
	in->size = get_u64le(p + 20);
	in->links = get_u32le(p + 28);
	in->atime.tv_sec = get_u32le(p + 32);
	in->mtime.tv_sec = get_u32le(p + 36);
	in->ctime.tv_sec = get_u32le(p + 40);
	if (S_ISDIR(in->mode)) {
		if (len < FMT_DIR_SIZE)
			return -E_CORRUPT;
		in->lists = p + FMT_INODE_BASE;
		used = FMT_DIR_SIZE;
	} else if (S_ISLNK(in->mode)) {
		if (decode_target(in, p, len, &used))
			return -E_CORRUPT;
	} else {
		if (len < FMT_FILE_BASE)
			return -E_CORRUPT;
		in->slot_count = get_u64le(p + FMT_INODE_BASE);
		if (in->slot_count > (len - FMT_FILE_BASE) / 4)
			return -E_CORRUPT;
		in->map = p + FMT_FILE_BASE;
		used = FMT_FILE_BASE + (size_t)in->slot_count * 4;
	}
	return decode_trailer(in, p + used, len - used);
}

/* ------------------------------------------------------------------------------------------------ encoding */

static bool needs_epoch(const struct timespec *t)
{
	return (int64_t)t->tv_sec < 0 || (int64_t)t->tv_sec > UINT32_MAX;
}

static bool has_nsec(const struct fmt_inode *in)
{
	return in->atime.tv_nsec || in->mtime.tv_nsec || in->ctime.tv_nsec;
}

static bool has_epoch(const struct fmt_inode *in)
{
	return needs_epoch(&in->atime) || needs_epoch(&in->mtime) || needs_epoch(&in->ctime);
}

static size_t trailer_body(const struct fmt_inode *in)
{
	size_t n = 0;

	if (has_nsec(in))
		n += FIELD_HEAD + 12;
	if (has_epoch(in))
		n += FIELD_HEAD + 12;
	if (in->uid > UINT16_MAX || in->gid > UINT16_MAX)
		n += FIELD_HEAD + 4;
	if (in->btime.tv_sec || in->btime.tv_nsec)
		n += FIELD_HEAD + 12;
	if (in->xattr_len)
		n += FIELD_HEAD + in->xattr_len;
	return n;
}

size_t fmt_trailer_size(const struct fmt_inode *in)
{
	size_t body = trailer_body(in);

	return body ? TRAILER_HEAD + body : 0;
}

static uint8_t *field_head(uint8_t *p, enum field type, size_t len)
{
	put_u16le(p, (uint16_t)type);
	put_u32le(p + 2, (uint32_t)len);
	return p + FIELD_HEAD;
}

static uint32_t high_word(const struct timespec *t)
{
	return (uint32_t)((uint64_t)(int64_t)t->tv_sec >> 32);
}

static void encode_trailer(uint8_t *p, const struct fmt_inode *in)
{
	memcpy(p, trailer_magic, 4);
	put_u32le(p + 4, 1);
	put_u32le(p + 8, (uint32_t)trailer_body(in));
	p += TRAILER_HEAD;
	if (has_nsec(in)) {
		p = field_head(p, FIELD_NSEC, 12);
		put_u32le(p, (uint32_t)in->atime.tv_nsec);
		put_u32le(p + 4, (uint32_t)in->mtime.tv_nsec);
		put_u32le(p + 8, (uint32_t)in->ctime.tv_nsec);
		p += 12;
	}
	if (has_epoch(in)) {
		p = field_head(p, FIELD_EPOCH, 12);
		put_u32le(p, high_word(&in->atime));
		put_u32le(p + 4, high_word(&in->mtime));
		put_u32le(p + 8, high_word(&in->ctime));
		p += 12;
	}
	if (in->uid > UINT16_MAX || in->gid > UINT16_MAX) {
		p = field_head(p, FIELD_IDS, 4);
		put_u16le(p, (uint16_t)(in->uid >> 16));
		put_u16le(p + 2, (uint16_t)(in->gid >> 16));
		p += 4;
	}
	if (in->btime.tv_sec || in->btime.tv_nsec) {
		p = field_head(p, FIELD_BTIME, 12);
		put_u64le(p, (uint64_t)(int64_t)in->btime.tv_sec);
		put_u32le(p + 8, (uint32_t)in->btime.tv_nsec);
		p += 12;
	}
	if (in->xattr_len) {
		p = field_head(p, FIELD_XATTR, in->xattr_len);
		memcpy(p, in->xattr, in->xattr_len);
	}
}

static size_t payload_size(const struct fmt_inode *in)
{
	if (S_ISDIR(in->mode))
		return FMT_DIR_SIZE;
	if (S_ISLNK(in->mode))
		return FMT_INODE_BASE + in->size + 2;
	return FMT_FILE_BASE + in->slot_count * 4;
}

static void encode_base(uint8_t *p, const struct fmt_inode *in)
{
	memset(p, 0, FMT_INODE_BASE);
	put_u32le(p, in->mode);
	put_u32le(p + 12, in->dev);
	put_u16le(p + 16, (uint16_t)in->uid);
	put_u16le(p + 18, (uint16_t)in->gid);
	put_u64le(p + 20, S_ISLNK(in->mode) ? in->size + 1 : in->size);
	put_u32le(p + 28, in->links);
	put_u32le(p + 32, (uint32_t)in->atime.tv_sec);
	put_u32le(p + 36, (uint32_t)in->mtime.tv_sec);
	put_u32le(p + 40, (uint32_t)in->ctime.tv_sec);
}

int fmt_inode_encode(struct buf *out, const struct fmt_inode *in)
{
	size_t base, total;
	uint8_t *p;
	int rc;

	if (in->slot_count > FMT_SLOTS_MAX || in->xattr_len > FMT_XATTR_MAX)
		return -EFBIG;
	base = payload_size(in);
	total = base + fmt_trailer_size(in);
	if (total > FMT_RECORD_MAX)
		return -EFBIG;
	rc = buf_reserve(out, total);
	if (rc)
		return rc;
	p = out->data + out->len;
	encode_base(p, in);
	if (S_ISDIR(in->mode)) {
		memcpy(p + FMT_INODE_BASE, in->lists, FMT_SLOTS * 8);
	} else if (S_ISLNK(in->mode)) {
		memcpy(p + FMT_INODE_BASE, in->target, in->size);
		p[FMT_INODE_BASE + in->size] = 0;
		p[FMT_INODE_BASE + in->size + 1] = 0x42;
	} else {
		put_u64le(p + FMT_INODE_BASE, in->slot_count);
		if (in->slot_count)
			memcpy(p + FMT_FILE_BASE, in->map, in->slot_count * 4);
	}
	if (total > base)
		encode_trailer(p + base, in);
	buf_added(out, total);
	return 0;
}

/* -------------------------------------------------------------------------------------- extended attributes */

int fmt_xattr_next(const uint8_t *packed, size_t len, size_t *off, struct fmt_xattr *x)
{
	const uint8_t *p = packed + *off;
	size_t left = len - *off;

	if (!left)
		return 0;
	if (left < 5)
		return -E_CORRUPT;
	x->name_len = p[0];
	x->value_len = get_u32le(p + 1);
	if (!x->name_len || x->name_len > left - 5 || x->value_len > left - 5 - x->name_len)
		return -E_CORRUPT;
	x->name = (const char *)p + 5;
	x->value = p + 5 + x->name_len;
	x->off = *off;
	x->size = 5 + x->name_len + x->value_len;
	*off += x->size;
	return 1;
}

int fmt_xattr_append(struct buf *out, const char *name, size_t name_len, const void *value, size_t value_len)
{
	uint8_t head[5];
	int rc;

	if (!name_len || name_len > FMT_NAME_MAX || value_len > FMT_XATTR_MAX)
		return -E_LIMIT;
	head[0] = (uint8_t)name_len;
	put_u32le(head + 1, (uint32_t)value_len);
	rc = buf_reserve(out, sizeof(head) + name_len + value_len);
	if (rc)
		return rc;
	(void)buf_append(out, head, sizeof(head)); /* room was reserved: cannot fail */
	(void)buf_append(out, name, name_len);
	(void)buf_append(out, value, value_len);
	return 0;
}
