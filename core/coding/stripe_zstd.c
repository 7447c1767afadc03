/* One zstd frame per stripe. The contexts' memory comes from our allocator, so that tests can make it fail. */
#define ZSTD_STATIC_LINKING_ONLY
#include <errno.h>
#include <zstd.h>

#include "core/base/mem.h"
#include "core/coding/stripe_zstd.h"

struct stripe_zstd {
	ZSTD_CCtx *pack;
	ZSTD_DCtx *unpack;
	int level;
};

static void *take(void *opaque, size_t size)
{
	(void)opaque;
	return mem_alloc(size);
}

static void give(void *opaque, void *p)
{
	(void)opaque;
	mem_free(p);
}

struct stripe_zstd *stripe_zstd_new(int level)
{
	const ZSTD_customMem memory = {take, give, NULL};
	struct stripe_zstd *z = mem_calloc(1, sizeof(*z));

	if (!z)
		return NULL;
	z->level = level;
	z->pack = ZSTD_createCCtx_advanced(memory);
	z->unpack = ZSTD_createDCtx_advanced(memory);
	if (!z->pack || !z->unpack ||
	    ZSTD_isError(ZSTD_CCtx_setParameter(z->pack, ZSTD_c_compressionLevel, level)) ||
	    ZSTD_isError(ZSTD_CCtx_setParameter(z->pack, ZSTD_c_contentSizeFlag, 1))) {
		stripe_zstd_free(z);
		return NULL;
	}
	return z;
}

void stripe_zstd_free(struct stripe_zstd *z)
{
	if (!z)
		return;
	ZSTD_freeCCtx(z->pack);
	ZSTD_freeDCtx(z->unpack);
	mem_free(z);
}

size_t stripe_zstd_pack(struct stripe_zstd *z, const void *in, size_t len, void *out)
{
	size_t max = len - (len + 15) / 16;
	size_t got;

	if (max == 0)
		return 0;
	got = ZSTD_compress2(z->pack, out, max, in, len);
	return ZSTD_isError(got) ? 0 : got;
}

int stripe_zstd_unpack(struct stripe_zstd *z, const void *in, size_t in_len, void *out, size_t len)
{
	size_t got;

	/* exactly one frame: a second one behind it would be decoded as well */
	if (ZSTD_getFrameContentSize(in, in_len) != len || ZSTD_findFrameCompressedSize(in, in_len) != in_len)
		return -EBADMSG;
	got = ZSTD_decompressDCtx(z->unpack, out, len, in, in_len);
	return ZSTD_isError(got) || got != len ? -EBADMSG : 0;
}
