/*
 * stray: see stray.h. /proc is read with getdents64 into a static buffer: this runs when memory may be short.
 */
#include "applets/zinit/stray.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct process {
	pid_t pid, parent;
	bool is_below;
};

/* The kernel's record of a directory entry: getdents64(2). */
struct entry {
	uint64_t inode;
	int64_t offset;
	uint16_t bytes;
	uint8_t type;
	char name[];
};

bool stray_any(void)
{
	siginfo_t info;

	return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 || errno != ECHILD;
}

/* Field 4 of /proc/PID/stat; the name in field 2 may hold anything, so its closing bracket is searched from the end. */
static pid_t parent_of(pid_t pid)
{
	char path[32], text[512], *at;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	at = strrchr(text, ')');
	return at && strlen(at) > 4 ? (pid_t)strtol(at + 4, NULL, 10) : 0;
}

static uint32_t list_processes(struct process *table, uint32_t max)
{
	static char buffer[16384] __attribute__((aligned(8)));
	uint32_t count = 0;
	int fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return 0;
	for (;;) {
		long n = syscall(SYS_getdents64, fd, buffer, sizeof(buffer));

		if (n <= 0)
			break;
		for (long at = 0; at < n;) {
			const struct entry *entry = (const struct entry *)(const void *)(buffer + at);
			pid_t pid = (pid_t)strtol(entry->name, NULL, 10);

			at += entry->bytes;
			if (pid <= 0 || count == max)
				continue;
			table[count].pid = pid;
			table[count].parent = parent_of(pid);
			table[count++].is_below = false;
		}
	}
	close(fd);
	return count;
}

void stray_each_descendant(pid_t root, void (*each)(void *ctx, pid_t pid), void *ctx)
{
	static struct process table[STRAY_MAX];
	uint32_t count = list_processes(table, STRAY_MAX);
	bool has_changed = true;

	/* Parents need not come before their children: go round until nothing is added. */
	while (has_changed) {
		has_changed = false;
		for (uint32_t i = 0; i < count; i++) {
			bool is_below = table[i].parent == root;

			if (table[i].is_below)
				continue;
			for (uint32_t j = 0; !is_below && j < count; j++)
				is_below = table[j].is_below && table[j].pid == table[i].parent;
			if (is_below)
				table[i].is_below = has_changed = true;
		}
	}
	for (uint32_t i = 0; i < count; i++)
		if (table[i].is_below)
			each(ctx, table[i].pid);
}

static void send_one(void *ctx, pid_t pid)
{
	kill(pid, *(int *)ctx);
}

void stray_signal(bool is_pid1, int signo)
{
	if (is_pid1)
		kill(-1, signo);
	else
		stray_each_descendant(getpid(), send_one, &signo);
}
