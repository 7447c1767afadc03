/*
 * stats: see stats.h. /proc/PID/stat fields 14, 15 and 24 (proc(5)).
 */
#include "applets/zinit/stats.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/clock.h"

#include "applets/zinit/stray.h"

static void add(void *ctx, pid_t pid)
{
	struct stats *stats = ctx;
	struct stats_process *p = &stats->processes[stats->count];
	unsigned long user = 0, system = 0;
	char path[32], text[1024], *at;
	long pages = 0;
	ssize_t n;
	int fd;

	if (stats->count == STATS_PROCESSES_MAX)
		return;
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return;
	text[n] = '\0';
	at = strrchr(text, ')');
	/* Field 3 follows the bracket; 11 fields further are utime and stime, then 8 to rss. */
	if (!at ||
	    sscanf(at + 2,
		   "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %*d %*d %*d %*d %*d %*d %*u %*u %ld",
		   &user, &system, &pages) != 3)
		return;
	p->pid = pid;
	p->memory = (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
	p->cpu_ms = (uint64_t)(user + system) * 1000 / (uint64_t)sysconf(_SC_CLK_TCK);
	p->cpu_percent = 0;
	stats->count++;
}

void stats_sample(struct stats *stats, pid_t pid, const struct stats *before)
{
	memset(stats, 0, sizeof(*stats));
	stats->at_ms = clock_mono_ms();
	add(stats, pid);
	stray_each_descendant(pid, add, stats);
	for (uint32_t i = 0; before && i < stats->count; i++) {
		struct stats_process *p = &stats->processes[i];
		uint64_t elapsed = stats->at_ms - before->at_ms;

		for (uint32_t j = 0; j < before->count; j++)
			if (before->processes[j].pid == p->pid && elapsed > 0 &&
			    p->cpu_ms >= before->processes[j].cpu_ms)
				p->cpu_percent = 100.0 * (double)(p->cpu_ms - before->processes[j].cpu_ms) /
						 (double)elapsed;
	}
}
