/*
 * Sizes that keep one object in flight below a bound (native format, section 5, Memory):
 * W (2B + 17 + Z) + 2 n C with W = 1.
 */
#include <errno.h>

#include "core/coding/fragment.h"
#include "core/crypto/aead.h"
#include "core/object/object.h"

#define STRIPE_LOG2_MIN 16
#define STRIPE_LOG2_MAX 20
#define VALUE_LOG2_MIN  16
#define VALUE_LOG2_MAX  21

/* Z: about 1.5 MiB at B = 1 MiB, 0.5 MiB at 64 KiB (format, section 5). */
static size_t zstd_bytes(unsigned stripe_log2)
{
	return ((size_t)1 << 19) + ((size_t)1 << stripe_log2);
}

size_t obj_geometry_memory(const struct obj_geometry *g)
{
	size_t stripe = (size_t)1 << g->stripe_log2, value = (size_t)1 << g->value_log2;

	return 2 * stripe + OBJ_SEAL_BYTES + zstd_bytes(g->stripe_log2) + 2 * (size_t)g->n * value;
}

static int value_holds_fragment(const struct obj_geometry *g)
{
	size_t sealed = ((size_t)1 << g->stripe_log2) + OBJ_SEAL_BYTES;

	return FRAGMENT_HEADER_BYTES + ec_piece_bytes(sealed, g->k) <= (size_t)1 << g->value_log2;
}

/* The largest value size for this stripe size, 0 = none. */
static unsigned fit_value(struct obj_geometry g, size_t memory_max)
{
	for (g.value_log2 = VALUE_LOG2_MAX; g.value_log2 >= VALUE_LOG2_MIN; g.value_log2--)
		if (obj_geometry_memory(&g) <= memory_max && value_holds_fragment(&g))
			return g.value_log2;
	return 0;
}

int obj_geometry_plan(struct obj_geometry *g, size_t memory_max)
{
	unsigned high = g->stripe_log2 ? g->stripe_log2 : STRIPE_LOG2_MAX;
	unsigned low = g->stripe_log2 ? g->stripe_log2 : STRIPE_LOG2_MIN;
	unsigned value = g->value_log2;

	if (g->k < 1 || g->n <= g->k || g->n > EC_PIECES_MAX || g->min_shards > g->n ||
	    (g->min_shards > 0 && g->min_shards < g->k) || high > STRIPE_LOG2_MAX || low < STRIPE_LOG2_MIN ||
	    (value && (value < VALUE_LOG2_MIN || value > VALUE_LOG2_MAX)))
		return -EINVAL;
	if (g->aead == 0)
		g->aead = aead_preferred();
	else if (aead_nonce_bytes(g->aead) == 0)
		return -EINVAL;
	if (g->min_shards == 0)
		g->min_shards = g->n;
	for (g->stripe_log2 = high; g->stripe_log2 >= low; g->stripe_log2--) {
		g->value_log2 = value ? value : fit_value(*g, memory_max);
		if (g->value_log2 && value_holds_fragment(g))
			return value && obj_geometry_memory(g) > memory_max ? -ENOMEM : 0;
	}
	return -ENOMEM;
}
