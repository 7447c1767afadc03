/*
 * endian: integers in bytes of a fixed order, at any alignment.
 */
#ifndef CORE_BASE_ENDIAN_H
#define CORE_BASE_ENDIAN_H

#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define ENDIAN_LE(bits, v) (v)
#define ENDIAN_BE(bits, v) __builtin_bswap##bits(v)
#else
#define ENDIAN_LE(bits, v) __builtin_bswap##bits(v)
#define ENDIAN_BE(bits, v) (v)
#endif

/* get_u32le(p), put_u32le(p, v), ... for 16, 32, 64 bits and both orders. */
#define ENDIAN_PAIR(bits)                                                                                    \
	static inline uint##bits##_t get_u##bits##le(const void *p)                                          \
	{                                                                                                    \
		uint##bits##_t v;                                                                            \
		memcpy(&v, p, sizeof(v));                                                                    \
		return ENDIAN_LE(bits, v);                                                                   \
	}                                                                                                    \
	static inline uint##bits##_t get_u##bits##be(const void *p)                                          \
	{                                                                                                    \
		uint##bits##_t v;                                                                            \
		memcpy(&v, p, sizeof(v));                                                                    \
		return ENDIAN_BE(bits, v);                                                                   \
	}                                                                                                    \
	static inline void put_u##bits##le(void *p, uint##bits##_t v)                                        \
	{                                                                                                    \
		v = ENDIAN_LE(bits, v);                                                                      \
		memcpy(p, &v, sizeof(v));                                                                    \
	}                                                                                                    \
	static inline void put_u##bits##be(void *p, uint##bits##_t v)                                        \
	{                                                                                                    \
		v = ENDIAN_BE(bits, v);                                                                      \
		memcpy(p, &v, sizeof(v));                                                                    \
	}

ENDIAN_PAIR(16)
ENDIAN_PAIR(32)
ENDIAN_PAIR(64)

#undef ENDIAN_PAIR

#endif
