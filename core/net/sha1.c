/* sha1: FIPS 180-4, section 6.1. See sha1.h for what it may be used for. */
#include "core/net/sha1.h"

#include <string.h>

#include "core/base/hex.h"
#include "core/base/mem.h"

struct sha1_state {
	uint32_t h[5];
	uint8_t block[64];
	size_t fill;
	uint64_t total;
};

static uint32_t rotate_left(uint32_t x, unsigned n)
{
	return x << n | x >> (32 - n);
}

static void sha1_block(struct sha1_state *s)
{
	uint32_t w[80], a = s->h[0], b = s->h[1], c = s->h[2], d = s->h[3], e = s->h[4];
	size_t t;

	for (t = 0; t < 16; t++)
		w[t] = (uint32_t)s->block[4 * t] << 24 | (uint32_t)s->block[4 * t + 1] << 16 |
		       (uint32_t)s->block[4 * t + 2] << 8 | s->block[4 * t + 3];
	for (; t < 80; t++)
		w[t] = rotate_left(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1);
	for (t = 0; t < 80; t++) {
		uint32_t f, k, next;

		if (t < 20) {
			f = (b & c) | (~b & d);
			k = 0x5a827999;
		} else if (t < 40) {
			f = b ^ c ^ d;
			k = 0x6ed9eba1;
		} else if (t < 60) {
			f = (b & c) | (b & d) | (c & d);
			k = 0x8f1bbcdc;
		} else {
			f = b ^ c ^ d;
			k = 0xca62c1d6;
		}
		next = rotate_left(a, 5) + f + e + k + w[t];
		e = d;
		d = c;
		c = rotate_left(b, 30);
		b = a;
		a = next;
	}
	s->h[0] += a;
	s->h[1] += b;
	s->h[2] += c;
	s->h[3] += d;
	s->h[4] += e;
	s->fill = 0;
	mem_wipe(w, sizeof(w));
}

static void sha1_add(struct sha1_state *s, const void *data, size_t len)
{
	const uint8_t *p = data;

	s->total += len;
	while (len > 0) {
		size_t room = sizeof(s->block) - s->fill, n = len < room ? len : room;

		memcpy(s->block + s->fill, p, n);
		s->fill += n;
		p += n;
		len -= n;
		if (s->fill == sizeof(s->block))
			sha1_block(s);
	}
}

static void sha1_start(struct sha1_state *s)
{
	static const uint32_t start[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};

	memset(s, 0, sizeof(*s));
	memcpy(s->h, start, sizeof(start));
}

static void sha1_end(struct sha1_state *s, uint8_t out[20])
{
	uint64_t bits = s->total * 8;
	uint8_t tail[8];
	size_t i;

	sha1_add(s, "\x80", 1);
	while (s->fill != 56)
		sha1_add(s, "", 1);
	for (i = 0; i < 8; i++)
		tail[i] = (uint8_t)(bits >> (56 - 8 * i));
	sha1_add(s, tail, sizeof(tail));
	for (i = 0; i < 20; i++)
		out[i] = (uint8_t)(s->h[i / 4] >> (24 - 8 * (i % 4)));
	mem_wipe(s, sizeof(*s));
}

void sha1(uint8_t out[20], const void *data, size_t len)
{
	struct sha1_state s;

	sha1_start(&s);
	sha1_add(&s, data, len);
	sha1_end(&s, out);
}

void sha1_challenge(char out[41], const char *challenge, const char *password)
{
	struct sha1_state s;
	uint8_t digest[20];

	sha1_start(&s);
	sha1_add(&s, challenge, strlen(challenge));
	sha1_add(&s, ":", 1);
	sha1_add(&s, password, strlen(password));
	sha1_end(&s, digest);
	hex_encode(out, digest, sizeof(digest));
	mem_wipe(digest, sizeof(digest));
}
