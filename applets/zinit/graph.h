/*
 * graph: names of `after` and `requires` become services; cycles are found and named.
 */
#ifndef ZINIT_GRAPH_H
#define ZINIT_GRAPH_H

#include "applets/zinit/sup.h"

/* Looks all names up again: after a service came or went. */
void graph_resolve(struct sup *sup);

/*
 * Finds cycles: every member that does not run is marked is_cyclic, gets the chain as its reason, and is named once in
 * the log. Marks of earlier calls that no longer hold are taken back.
 */
void graph_find_cycles(struct sup *sup);

/* Logs each undefined name once. */
void graph_report_undefined(struct sup *sup);

/*
 * One step of the ordered stop: sends SM_EV_STOP to every live service that nothing live depends on (directly or through
 * services that are down), as far as `dep` edges outside cycles say. Returns how many services are still live.
 */
uint32_t graph_stop_step(struct sup *sup);

#endif
