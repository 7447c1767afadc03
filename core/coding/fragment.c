/* The fragment header of liberasurecode 1.6.3, written by ourselves so that payloads need not be copied. */
#include <errno.h>
#include <string.h>

#include "core/base/endian.h"
#include "core/coding/crc.h"
#include "core/coding/fragment.h"

enum {
	AT_INDEX = 0,
	AT_SIZE = 4,
	AT_META = 8,
	AT_ORIGINAL = 12,
	AT_CHECKSUM_TYPE = 20,
	AT_CHECKSUM = 21,
	AT_CHECKSUM_REST = 25, /* seven further words, zero */
	AT_MISMATCH = 53,
	AT_BACKEND = 54,
	AT_BACKEND_VERSION = 55,
	AT_MAGIC = 59,
	AT_LIBRARY_VERSION = 63,
	AT_HEADER_CRC = 67,
	AT_PADDING = 71,
	CRC_COVERS = 59,
};

#define CHECKSUM_CRC32          2
#define BACKEND_ISA_L_RS_CAUCHY 7
#define BACKEND_VERSION         0x020e01u
#define LIBRARY_VERSION         0x010603u
#define MAGIC                   0x0b0c5eccu

void fragment_build(const struct fragment *f, const void *payload, uint8_t out[FRAGMENT_HEADER_BYTES])
{
	memset(out, 0, FRAGMENT_HEADER_BYTES);
	put_u32le(out + AT_INDEX, f->index);
	put_u32le(out + AT_SIZE, f->size);
	put_u64le(out + AT_ORIGINAL, f->original);
	out[AT_CHECKSUM_TYPE] = CHECKSUM_CRC32;
	put_u32le(out + AT_CHECKSUM, crc_ieee(0, payload, f->size));
	out[AT_BACKEND] = BACKEND_ISA_L_RS_CAUCHY;
	put_u32le(out + AT_BACKEND_VERSION, BACKEND_VERSION);
	put_u32le(out + AT_MAGIC, MAGIC);
	put_u32le(out + AT_LIBRARY_VERSION, LIBRARY_VERSION);
	put_u32le(out + AT_HEADER_CRC, crc_ieee(0, out, CRC_COVERS));
}

static int is_zero(const uint8_t *p, size_t len)
{
	uint8_t any = 0;

	while (len-- > 0)
		any |= *p++;
	return any == 0;
}

int fragment_check(const void *data, size_t len, struct fragment *f)
{
	const uint8_t *h = data;

	if (len < FRAGMENT_HEADER_BYTES || get_u32le(h + AT_MAGIC) != MAGIC ||
	    get_u32le(h + AT_HEADER_CRC) != crc_ieee(0, h, CRC_COVERS))
		return -EBADMSG;
	f->index = get_u32le(h + AT_INDEX);
	f->size = get_u32le(h + AT_SIZE);
	f->original = get_u64le(h + AT_ORIGINAL);
	if (f->size != len - FRAGMENT_HEADER_BYTES || get_u32le(h + AT_META) != 0 ||
	    h[AT_CHECKSUM_TYPE] != CHECKSUM_CRC32 || h[AT_MISMATCH] != 0 ||
	    h[AT_BACKEND] != BACKEND_ISA_L_RS_CAUCHY ||
	    !is_zero(h + AT_CHECKSUM_REST, AT_MISMATCH - AT_CHECKSUM_REST) ||
	    !is_zero(h + AT_PADDING, FRAGMENT_HEADER_BYTES - AT_PADDING))
		return -EBADMSG;
	return get_u32le(h + AT_CHECKSUM) == crc_ieee(0, h + FRAGMENT_HEADER_BYTES, f->size) ? 0 : -EBADMSG;
}
