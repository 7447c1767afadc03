/*
 * stats: memory and processor time of a service's processes, from /proc.
 */
#ifndef ZINIT_STATS_H
#define ZINIT_STATS_H

#include <stdint.h>
#include <sys/types.h>

enum { STATS_PROCESSES_MAX = 64, STATS_INTERVAL_MS = 500 /* between the original's two samples */ };

struct stats_process {
	pid_t pid;
	uint64_t memory;    /* resident bytes */
	uint64_t cpu_ms;    /* used so far */
	double cpu_percent; /* of one processor, between two samples */
};

struct stats {
	uint64_t at_ms;
	uint32_t count;
	struct stats_process
		processes[STATS_PROCESSES_MAX]; /* the main process first, then its descendants */
};

/* One sample of `pid` and everything below it. With `before`, an earlier sample, percentages are filled in. */
void stats_sample(struct stats *stats, pid_t pid, const struct stats *before);

#endif
