/*
 * crc.c - the store's CRC: CRC-32C (Castagnoli, reflected polynomial 0x82F63B78), initial value 0, no final inversion. The
 * arithmetic is core/coding's; this is the name under which the engine and its callers know it.
 */
#include "core/coding/crc.h"
#include "core/zdb/zdb.h"

uint32_t zdb_crc(uint32_t crc, const void *bytes, size_t size)
{
	return crc_castagnoli_raw(crc, bytes, size);
}
