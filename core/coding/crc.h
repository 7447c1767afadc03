/*
 * crc: the two checksums of the formats, on ISA-L (carry-less multiplication where the CPU has it).
 * Both with the usual initial and final inversion, and both can be continued: crc(crc(0, a), b) = crc(0, a ++
 * b).
 */
#ifndef CORE_CODING_CRC_H
#define CORE_CODING_CRC_H

#include <stddef.h>
#include <stdint.h>

/* zlib's crc32 (polynomial 0xedb88320 reflected): fragment payloads and headers. crc 0 to begin. */
uint32_t crc_ieee(uint32_t crc, const void *data, size_t len);

/* CRC-32C (Castagnoli, 0x82f63b78 reflected), as iSCSI: heads, record pieces, markers. crc 0 to begin. */
uint32_t crc_castagnoli(uint32_t crc, const void *data, size_t len);

/*
 * CRC-32C without the inversions, any initial value: what 0-db keeps (spec of the data files: initial value
 * 0, no final inversion is the caller's matter).
 */
uint32_t crc_castagnoli_raw(uint32_t state, const void *data, size_t len);

#endif
