/*
 * fragment: the 80-byte header of liberasurecode 1.6 in front of every piece (native format, section 5).
 *
 * Little-endian, packed: idx u32 @0, payload size u32 @4, backend metadata size u32 @8 = 0, original length
 * u64 @12, checksum type u8 @20 = 2, checksum u32[8] @21 (first = zlib crc32 of the payload), mismatch u8 @53
 * = 0, backend id u8 @54 = 7, backend version u32 @55 = 0x020e01, magic u32 @59 = 0x0b0c5ecc, library version
 * u32 @63 = 0x010603, header crc32 u32 @67 over bytes 0...58, 9 zero bytes.
 */
#ifndef CORE_CODING_FRAGMENT_H
#define CORE_CODING_FRAGMENT_H

#include <stddef.h>
#include <stdint.h>

#define FRAGMENT_HEADER_BYTES 80

struct fragment {
	uint32_t index;
	uint32_t size;     /* payload bytes */
	uint64_t original; /* bytes of the message that was cut */
};

/* Writes the header of `payload` (f->size bytes) to out[80]. */
void fragment_build(const struct fragment *f, const void *payload, uint8_t out[FRAGMENT_HEADER_BYTES]);

/*
 * Checks data[len], header ++ payload, exactly f->size payload bytes. 0; -EBADMSG when anything differs that
 * a reader has to check: magic, header crc, checksum type, sizes, payload crc, reserved bytes. The two
 * version fields are ignored. *f is what the header says.
 */
int fragment_check(const void *data, size_t len, struct fragment *f);

#endif
