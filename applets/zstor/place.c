/*
 * place: an exact search over how many shards a group gets, then a weighted draw inside each group.
 *
 * Which group gets which count does not matter for validity, so only non-increasing sequences of counts are tried: the
 * partitions of n, at most 8,349 for n = 32. A sequence fits when its i-th count is at most the i-th largest group. Those
 * with the smallest largest count come first, so that the shards are spread as evenly as the promise allows. The counts are
 * then given, largest first, to random groups that can hold them; there is always one left, because at least i groups can
 * hold the i-th count and i - 1 are taken.
 */
#include "applets/zstor/place.h"

#include "core/base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct group_room {
	unsigned group, room;
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

struct search {
	const struct group_room *rooms; /* largest first */
	unsigned groups, k, groups_lost, nodes_lost;
	unsigned parts[PLACE_GROUPS_MAX]; /* non-increasing */
};

static int by_room(const void *a, const void *b)
{
	const struct group_room *x = a, *y = b;

	return x->room > y->room ? -1 : x->room < y->room;
}

/* Parts [0, at) are chosen, `left` shards remain, none of the further parts may be above `most`. */
static bool try_parts(struct search *s, unsigned at, unsigned left, unsigned most)
{
	unsigned least;

	if (left == 0)
		return place_valid(s->parts, at, s->k, s->groups_lost, s->nodes_lost);
	if (at == s->groups)
		return false;
	least = (left + s->groups - at - 1) / (s->groups - at);
	if (most > s->rooms[at].room)
		most = s->rooms[at].room;
	for (unsigned part = least; part <= most && part <= left; part++) {
		s->parts[at] = part;
		if (try_parts(s, at + 1, left - part, part))
			return true;
	}
	return false;
}

/* Gives each part to a random group that can hold it. */
static void give(const struct search *s, const struct group_room *rooms, unsigned n, uint32_t (*rnd)(void *),
		 void *ctx, unsigned counts[PLACE_GROUPS_MAX])
{
	bool taken[PLACE_GROUPS_MAX] = {false};

	for (unsigned i = 0; n; i++) {
		unsigned able = 0, pick;

		for (unsigned g = 0; g < s->groups; g++)
			able += !taken[g] && rooms[g].room >= s->parts[i];
		pick = rnd(ctx) % able;
		for (unsigned g = 0; g < s->groups; g++) {
			if (taken[g] || rooms[g].room < s->parts[i] || pick-- > 0)
				continue;
			taken[g] = true;
			counts[rooms[g].group] = s->parts[i];
			break;
		}
		n -= s->parts[i];
	}
}

/* Counts per group for the nodes that are usable (or all). False when no valid ones exist. */
static bool find_counts(const struct place_node *nodes, unsigned count, bool all, unsigned n, unsigned k,
			unsigned groups_lost, unsigned nodes_lost, uint32_t (*rnd)(void *), void *ctx,
			unsigned counts[PLACE_GROUPS_MAX])
{
	struct group_room rooms[PLACE_GROUPS_MAX];
	struct search s = {.rooms = rooms, .k = k, .groups_lost = groups_lost, .nodes_lost = nodes_lost};

	memset(counts, 0, PLACE_GROUPS_MAX * sizeof(*counts));
	for (unsigned g = 0; g < PLACE_GROUPS_MAX; g++) {
		unsigned room = 0;

		for (unsigned i = 0; i < count; i++)
			room += nodes[i].group == g && (all || nodes[i].usable);
		if (room)
			rooms[s.groups++] = (struct group_room){.group = g, .room = room};
	}
	qsort(rooms, s.groups, sizeof(rooms[0]), by_room);
	if (!try_parts(&s, 0, n, n))
		return false;
	give(&s, rooms, n, rnd, ctx, counts);
	return true;
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
