/*
 * place: an exact search over counts per group, then a weighted draw inside each group.
 *
 * Counts are found by adding one shard at a time to the group that keeps the distribution most even (fewest shards
 * relative to what it can hold). The even distribution is the best there is for the validity rule: moving a shard from
 * a fuller to an emptier group never lowers the sum that is left after the largest groups are dropped, except that a
 * group with c_i <= nodes_lost contributes nothing. So fewer groups may be needed: all numbers of groups are tried,
 * largest groups first.
 */
#include "applets/zstor/place.h"

#include "core/base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct group_room {
	unsigned group, room;
	uint32_t tie; /* random order among equals */
};

bool place_valid(const unsigned *counts, unsigned groups, unsigned k, unsigned groups_lost,
		 unsigned nodes_lost)
{
	unsigned left[PLACE_GROUPS_MAX], used = 0, sum = 0;

	for (unsigned g = 0; g < groups; g++)
		if (counts[g])
			left[used++] = counts[g];
	if (groups_lost && used <= groups_lost)
		return false;
	for (unsigned drop = 0; drop < groups_lost; drop++) {
		unsigned most = 0;

		for (unsigned i = 1; i < used; i++)
			if (left[i] > left[most])
				most = i;
		left[most] = 0;
	}
	for (unsigned i = 0; i < used; i++)
		sum += left[i] > nodes_lost ? left[i] - nodes_lost : 0;
	return sum >= k;
}

static int by_room(const void *a, const void *b)
{
	const struct group_room *x = a, *y = b;

	if (x->room != y->room)
		return x->room > y->room ? -1 : 1;
	return x->tie < y->tie ? -1 : x->tie > y->tie;
}

/* The even distribution of n over the first `use` groups; false when they cannot hold n. */
static bool spread(const struct group_room *rooms, unsigned use, unsigned n, unsigned *counts)
{
	unsigned placed = 0;

	for (unsigned i = 0; i < use; i++)
		counts[rooms[i].group] = 0;
	while (placed < n) {
		unsigned best = use;

		for (unsigned i = 0; i < use; i++) {
			if (counts[rooms[i].group] >= rooms[i].room)
				continue;
			if (best == use || counts[rooms[i].group] < counts[rooms[best].group])
				best = i;
		}
		if (best == use)
			return false;
		counts[rooms[best].group]++;
		placed++;
	}
	return true;
}

/* Counts per group for the nodes that are usable (or all). False when no valid ones exist. */
static bool find_counts(const struct place_node *nodes, unsigned count, bool all, unsigned n, unsigned k,
			unsigned groups_lost, unsigned nodes_lost, uint32_t (*rnd)(void *), void *ctx,
			unsigned counts[PLACE_GROUPS_MAX])
{
	struct group_room rooms[PLACE_GROUPS_MAX];
	unsigned used = 0;

	for (unsigned g = 0; g < PLACE_GROUPS_MAX; g++) {
		unsigned room = 0;

		for (unsigned i = 0; i < count; i++)
			room += nodes[i].group == g && (all || nodes[i].usable);
		if (room)
			rooms[used++] = (struct group_room){.group = g, .room = room, .tie = rnd(ctx)};
	}
	qsort(rooms, used, sizeof(rooms[0]), by_room);
	for (unsigned use = used; use > 0; use--) {
		memset(counts, 0, PLACE_GROUPS_MAX * sizeof(*counts));
		if (spread(rooms, use, n, counts) &&
		    place_valid(counts, PLACE_GROUPS_MAX, k, groups_lost, nodes_lost))
			return true;
	}
	return false;
}

/* One node of the group that is usable and not taken, with a chance by weight. */
static unsigned draw(const struct place_node *nodes, unsigned count, unsigned group, const bool *taken,
		     uint32_t (*rnd)(void *), void *ctx)
{
	uint64_t total = 0, at;

	for (unsigned i = 0; i < count; i++)
		if (nodes[i].group == group && nodes[i].usable && !taken[i])
			total += nodes[i].weight ? nodes[i].weight : 1;
	if (!total)
		return count;
	at = ((uint64_t)rnd(ctx) << 32 | rnd(ctx)) % total;
	for (unsigned i = 0; i < count; i++) {
		uint64_t weight = nodes[i].weight ? nodes[i].weight : 1;

		if (nodes[i].group != group || !nodes[i].usable || taken[i])
			continue;
		if (at < weight)
			return i;
		at -= weight;
	}
	return count;
}

/* Which shard index goes where is shuffled, so that parity and data spread over all stores. */
static void shuffle(unsigned *list, unsigned n, uint32_t (*rnd)(void *), void *ctx)
{
	for (unsigned i = n; i > 1; i--) {
		unsigned j = rnd(ctx) % i, t = list[i - 1];

		list[i - 1] = list[j];
		list[j] = t;
	}
}

int place_choose(const struct place_node *nodes, unsigned count, unsigned n, unsigned k, unsigned groups_lost,
		 unsigned nodes_lost, uint32_t (*rnd)(void *ctx), void *ctx, unsigned *out)
{
	unsigned counts[PLACE_GROUPS_MAX], placed = 0;
	bool *taken;
	int rc = 0;

	if (!find_counts(nodes, count, false, n, k, groups_lost, nodes_lost, rnd, ctx, counts))
		return find_counts(nodes, count, true, n, k, groups_lost, nodes_lost, rnd, ctx, counts)
			       ? -EAGAIN
			       : -EINVAL;
	taken = mem_calloc(count, sizeof(*taken));
	if (!taken)
		return -ENOMEM;
	for (unsigned g = 0; rc == 0 && g < PLACE_GROUPS_MAX; g++) {
		for (unsigned c = 0; rc == 0 && c < counts[g]; c++) {
			unsigned i = draw(nodes, count, g, taken, rnd, ctx);

			if (i == count) {
				rc = -EAGAIN;
				break;
			}
			taken[i] = true;
			out[placed++] = i;
		}
	}
	mem_free(taken);
	if (rc == 0)
		shuffle(out, n, rnd, ctx);
	return rc;
}
