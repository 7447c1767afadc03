/* XXH3-128 through the header-only build of xxHash: the streaming state stays private to this file. */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "core/base/mem.h"
#include "core/coding/content_id.h"

struct content_id {
	XXH3_state_t state;
};

_Static_assert(sizeof(XXH128_canonical_t) == CONTENT_ID_BYTES, "content id");

struct content_id *content_id_new(void)
{
	struct content_id *c = mem_aligned(64, (sizeof(*c) + 63) / 64 * 64); /* XXH3's state needs 64 */

	if (c) {
		XXH3_INITSTATE(&c->state);
		content_id_reset(c);
	}
	return c;
}

void content_id_free(struct content_id *c)
{
	mem_free(c);
}

void content_id_reset(struct content_id *c)
{
	XXH3_128bits_reset(&c->state);
}

void content_id_add(struct content_id *c, const void *data, size_t len)
{
	if (len > 0)
		XXH3_128bits_update(&c->state, data, len);
}

static void put(XXH128_hash_t hash, uint8_t out[CONTENT_ID_BYTES])
{
	XXH128_canonical_t canonical;

	XXH128_canonicalFromHash(&canonical, hash);
	memcpy(out, canonical.digest, CONTENT_ID_BYTES);
}

void content_id_get(const struct content_id *c, uint8_t out[CONTENT_ID_BYTES])
{
	put(XXH3_128bits_digest(&c->state), out);
}

void content_id_of(const void *data, size_t len, uint8_t out[CONTENT_ID_BYTES])
{
	put(XXH3_128bits(data, len), out);
}
