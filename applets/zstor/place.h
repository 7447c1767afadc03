/*
 * place: on which stores the n shards of an object go.
 *
 * A placement is valid when, with any `groups_lost` groups gone and any `nodes_lost` stores gone in each of the others,
 * k shards are left: with the counts per group c_i sorted, without the largest `groups_lost`, the sum of
 * max(0, c_i - nodes_lost) is at least k; and more than `groups_lost` groups are used (or it is 0). Readers accept any
 * placement.
 */
#ifndef APPLETS_ZSTOR_PLACE_H
#define APPLETS_ZSTOR_PLACE_H

#include <stdbool.h>
#include <stdint.h>

struct place_node {
	unsigned group;
	bool usable;
	uint32_t weight; /* relative wish to be chosen, at least 1 */
};

#define PLACE_GROUPS_MAX 256u

/* Whether counts[groups] is a valid distribution. */
bool place_valid(const unsigned *counts, unsigned groups, unsigned k, unsigned groups_lost,
		 unsigned nodes_lost);

/*
 * Chooses n distinct usable nodes: their indices into out[n], random among valid ones, spread over groups as evenly as
 * they allow. random() gives 32 random bits. 0; -EAGAIN when no valid choice exists among the usable ones now, but one
 * does with all nodes; -EINVAL when none can ever exist.
 */
int place_choose(const struct place_node *nodes, unsigned count, unsigned n, unsigned k, unsigned groups_lost,
		 unsigned nodes_lost, uint32_t (*random)(void *ctx), void *ctx, unsigned *out);

#endif
