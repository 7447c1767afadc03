/*
 * cgroup: see cgroup.h. Interface files: Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/{memory,pids}.rst and
 * scheduler/sched-bwc.rst of the kernel. Groups are <hierarchy>/<ours>/zinit/<service>.
 *
 * Version 2 lets a group have processes or controlled children, not both (except the root). So the first use moves the
 * supervisor into <ours>/zinit.supervisor; where other processes share our group that does not free it, the controllers
 * stay off, and version 1 or resource limits are used.
 */
#include "applets/zinit/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/str.h"

#include "applets/zinit/note.h"

enum { DIR_MAX = 400 };

/* Where our own groups are: "" = not there. */
static struct {
	bool is_known;
	char v2[DIR_MAX];
	char memory[DIR_MAX], cpu[DIR_MAX], pids[DIR_MAX]; /* version 1 */
} base;

static bool write_file(const char *dir, const char *name, const char *text)
{
	char path[DIR_MAX + 64];
	ssize_t n;
	int fd;

	if (str_fmt(path, sizeof(path), "%s/%s", dir, name) < 0)
		return false;
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = write(fd, text, strlen(text));
	close(fd);
	return n == (ssize_t)strlen(text);
}

static bool exists(const char *dir, const char *name)
{
	char path[DIR_MAX + 64];

	return str_fmt(path, sizeof(path), "%s/%s", dir, name) > 0 && access(path, F_OK) == 0;
}

/* Our group in the hierarchy that /proc/self/cgroup calls `list` ("" = version 2), below its mount point. */
static void locate(const char *mount, const char *list, char *dst)
{
	char text[4096], *cursor = text, *line;
	int fd = open("/proc/self/cgroup", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (fd >= 0)
		close(fd);
	dst[0] = '\0';
	text[n > 0 ? n : 0] = '\0';
	while ((line = str_next(&cursor, '\n'))) {
		char *names = strchr(line, ':'), *path = names ? strchr(names + 1, ':') : NULL;
		char padded[256], wanted[64];

		if (!path)
			continue;
		*path++ = '\0';
		snprintf(padded, sizeof(padded), ",%s,", names + 1);
		snprintf(wanted, sizeof(wanted), ",%s,", list);
		if (list[0] ? !strstr(padded, wanted) : names[1] != '\0')
			continue;
		if (str_fmt(dst, DIR_MAX, "%s%s", mount, strcmp(path, "/") == 0 ? "" : path) < 0 ||
		    !exists(dst, "cgroup.procs"))
			dst[0] = '\0';
		/* In a container the path may be the host's, and the mount's root is ours. */
		if (!dst[0] && exists(mount, "cgroup.procs"))
			str_copy(dst, DIR_MAX, mount);
		return;
	}
}

static void enable_v2(void)
{
	static const char *const controllers[] = {"+memory", "+cpu", "+pids"};
	char leaf[DIR_MAX + 32], services[DIR_MAX + 32], pid[16];

	snprintf(services, sizeof(services), "%s/zinit", base.v2);
	if (mkdir(services, 0755) < 0 && errno != EEXIST) {
		base.v2[0] = '\0';
		return;
	}
	if (exists(base.v2, "cgroup.type")) { /* not the root */
		snprintf(leaf, sizeof(leaf), "%s/zinit.supervisor", base.v2);
		snprintf(pid, sizeof(pid), "%d", (int)getpid());
		if (mkdir(leaf, 0755) == 0 || errno == EEXIST)
			write_file(leaf, "cgroup.procs", pid);
	}
	for (size_t i = 0; i < sizeof(controllers) / sizeof(controllers[0]); i++) {
		if (write_file(base.v2, "cgroup.subtree_control", controllers[i]))
			write_file(services, "cgroup.subtree_control", controllers[i]);
	}
}

static void find_base(void)
{
	if (base.is_known)
		return;
	base.is_known = true;
	locate("/sys/fs/cgroup", "", base.v2);
	if (!base.v2[0])
		locate("/sys/fs/cgroup/unified", "", base.v2);
	locate("/sys/fs/cgroup/memory", "memory", base.memory);
	locate("/sys/fs/cgroup/cpu", "cpu", base.cpu);
	locate("/sys/fs/cgroup/pids", "pids", base.pids);
	if (base.v2[0])
		enable_v2();
}

/* <root>/zinit/<name>; slashes of group names become dots. */
static bool group_dir(const char *root, const char *name, char *dst, size_t size)
{
	int len = str_fmt(dst, size, "%s/zinit/%s", root, name);

	if (!root[0] || len < 0)
		return false;
	for (char *at = dst + strlen(root) + 7; *at; at++)
		if (*at == '/')
			*at = '.';
	return true;
}

static bool make_group(const char *root, const char *name, char *dst, size_t size)
{
	char parent[DIR_MAX + 32];

	if (!group_dir(root, name, dst, size))
		return false;
	snprintf(parent, sizeof(parent), "%s/zinit", root);
	if (mkdir(parent, 0755) < 0 && errno != EEXIST)
		return false;
	return mkdir(dst, 0755) == 0 || errno == EEXIST;
}

struct plan {
	struct service *service;
	struct proc *proc;
	char *paths;
	size_t size;
	char v2[DIR_MAX]; /* the service's own group, "" = none */
};

static void join(struct plan *plan, const char *dir)
{
	size_t len = strlen(plan->paths);

	if (str_fmt(plan->paths + len, plan->size - len, "%s/cgroup.procs\n", dir) < 0)
		plan->paths[len] = '\0';
}

static void say(struct plan *plan, const char *what, const char *how)
{
	struct service *s = plan->service;
	size_t len = strlen(s->limits_text);

	snprintf(s->limits_text + len, sizeof(s->limits_text) - len, "%s%s: %s", len ? ", " : "", what, how);
}

/* Tries version 2, then version 1 (`period` is written first where there is one). */
static bool limit_by_group(struct plan *plan, const char *what, const char *v2_file, const char *v2_text,
			   const char *v1_root, const char *v1_file, const char *v1_text)
{
	char dir[DIR_MAX];

	if (plan->v2[0] && write_file(plan->v2, v2_file, v2_text)) {
		say(plan, what, "cgroup v2");
		return true;
	}
	if (make_group(v1_root, plan->service->name, dir, sizeof(dir)) && write_file(dir, v1_file, v1_text)) {
		join(plan, dir);
		say(plan, what, "cgroup v1");
		return true;
	}
	return false;
}

static void limit_memory(struct plan *plan, uint64_t bytes)
{
	char text[32];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)bytes);
	if (limit_by_group(plan, "memory", "memory.max", text, base.memory, "memory.limit_in_bytes", text)) {
		if (plan->v2[0])
			write_file(plan->v2, "memory.oom.group",
				   "1"); /* the service as a whole, not a part of it */
		return;
	}
	plan->proc->address_space_max = bytes;
	say(plan, "memory", "rlimit (address space)");
}

static void limit_cpu(struct plan *plan, uint32_t percent)
{
	char v2[32], v1[32];

	snprintf(v2, sizeof(v2), "%u 100000", percent * 1000);
	snprintf(v1, sizeof(v1), "%u", percent * 1000);
	/* The period of version 1 is 100 ms unless somebody changed it. */
	if (!limit_by_group(plan, "cpu", "cpu.max", v2, base.cpu, "cpu.cfs_quota_us", v1))
		say(plan, "cpu", "not in force");
}

static void limit_pids(struct plan *plan, uint64_t count)
{
	char text[32];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)count);
	if (limit_by_group(plan, "pids", "pids.max", text, base.pids, "pids.max", text))
		return;
	/* The resource limit counts per user, and never applies to root. */
	plan->proc->processes_max = count;
	say(plan, "pids", plan->service->unit->user.count ? "rlimit (of the user)" : "not in force");
}

void cgroup_prepare(struct service *s, struct proc *proc, char *paths, size_t size)
{
	const struct unit *unit = s->unit;
	struct plan plan = {.service = s, .proc = proc, .paths = paths, .size = size};

	paths[0] = s->limits_text[0] = s->cgroup[0] = '\0';
	if (!unit->memory_max && !unit->cpu_max_percent && !unit->pids_max &&
	    unit->kill_mode != UNIT_KILL_CGROUP)
		return;
	find_base();
	if (make_group(base.v2, s->name, plan.v2, sizeof(plan.v2))) {
		str_copy(s->cgroup, sizeof(s->cgroup), plan.v2);
		join(&plan, plan.v2);
	} else {
		plan.v2[0] = '\0';
	}
	if (unit->memory_max)
		limit_memory(&plan, unit->memory_max);
	if (unit->cpu_max_percent)
		limit_cpu(&plan, unit->cpu_max_percent);
	if (unit->pids_max)
		limit_pids(&plan, unit->pids_max);
	if (unit->kill_mode == UNIT_KILL_CGROUP) {
		/* Without version 2 a group of the pids controller holds the processes together as well. */
		if (!s->cgroup[0] && make_group(base.pids, s->name, s->cgroup, sizeof(s->cgroup)))
			join(&plan, s->cgroup);
		say(&plan, "kill", s->cgroup[0] ? "cgroup" : "process group");
	}
	proc->cgroup_procs = paths;
}

/* Sends a signal (0: none) to every process of the group but those of one process group; returns their number, -1 = there is no such group. */
static int each_process(const char *dir, int signo, pid_t except_group)
{
	char path[DIR_MAX + 32], text[4096];
	size_t have = 0;
	int fd, count = 0;
	ssize_t n;

	snprintf(path, sizeof(path), "%s/cgroup.procs", dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	while ((n = read(fd, text + have, sizeof(text) - 1 - have)) > 0) {
		char *at = text, *end;

		have += (size_t)n;
		text[have] = '\0';
		while ((end = strchr(at, '\n'))) {
			count++;
			if (signo) {
				pid_t pid = (pid_t)strtol(at, NULL, 10);

				if (except_group == 0 || getpgid(pid) != except_group)
					kill(pid, signo);
			}
			at = end + 1;
		}
		have = strlen(at);
		memmove(text, at, have);
	}
	close(fd);
	return count;
}

void cgroup_signal(const struct service *s, int signo)
{
	if (s->cgroup[0] && s->unit->kill_mode == UNIT_KILL_CGROUP)
		each_process(s->cgroup, signo, s->group);
}

void cgroup_kill(const struct service *s)
{
	if (!s->cgroup[0] || s->unit->kill_mode != UNIT_KILL_CGROUP)
		return;
	/* cgroup.kill (since 5.14) is atomic; otherwise go round as long as forks may race with us. */
	if (write_file(s->cgroup, "cgroup.kill", "1"))
		return;
	for (int round = 0; round < 10 && each_process(s->cgroup, SIGKILL, 0) > 0; round++)
		;
}

int cgroup_count(const struct service *s)
{
	return s->cgroup[0] ? each_process(s->cgroup, 0, 0) : -1;
}

void cgroup_release(struct service *s)
{
	const char *const roots[] = {base.v2, base.memory, base.cpu, base.pids};
	char dir[DIR_MAX];

	if (!base.is_known)
		return;
	for (size_t i = 0; i < sizeof(roots) / sizeof(roots[0]); i++)
		if (group_dir(roots[i], s->name, dir, sizeof(dir)) && rmdir(dir) == 0) {
			/* The last one takes the common parent along; with others below it this fails. */
			*strrchr(dir, '/') = '\0';
			rmdir(dir);
		}
	s->cgroup[0] = '\0';
}
