/*
 * mount_check: is the mount point fit, and who holds it. Never touches a mounted file system: a dead one would hang.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "applets/zdbfs/mount.h"
#include "core/base/applet.h"
#include "core/base/file.h"
#include "core/base/log.h"
#include "core/base/mounts.h"
#include "core/base/str.h"

/* A mount whose program is gone answers like this to everybody. statfs asks it; attributes may be cached. */
static bool is_dead(const char *path)
{
	struct statfs st;

	return statfs(path, &st) != 0 && (errno == ENOTCONN || errno == ECONNABORTED);
}

static bool remove_dead(const char *path)
{
	char type[64] = "";

	for (int n = 0; n < 16 && is_dead(path); n++) {
		if (mounts_type_at(path, type, sizeof(type)) != 1 || !mounts_is_ours(type))
			return false;
		if (umount2(path, MNT_DETACH) != 0)
			return false;
		log_info("took away a dead mount on %s", path);
	}
	return true;
}

int mount_check_point(const char *mountpoint, char *absolute, size_t size)
{
	char type[64] = "", real[PATH_MAX];
	struct stat st;
	int rc;

	rc = file_absolute(absolute, size, mountpoint);
	if (rc) {
		log_err("cannot mount on %s: %s", mountpoint, err_str(rc));
		return EXIT_FAILED;
	}
	if (geteuid() != 0) {
		log_err("cannot mount on %s: only root may mount", mountpoint);
		return EXIT_FAILED;
	}
	if (access("/dev/fuse", R_OK | W_OK) != 0) {
		log_err("cannot mount on %s: /dev/fuse: %s (is the module fuse loaded?)", mountpoint,
			strerror(errno));
		return EXIT_FAILED;
	}
	if (is_dead(absolute) && !remove_dead(absolute)) {
		log_err("cannot mount on %s: a dead mount is on it, and it is not ours: umount -l %s",
			mountpoint, absolute);
		return EXIT_FAILED;
	}
	if (stat(absolute, &st) != 0) {
		log_err("cannot mount on %s: %s", mountpoint, err_str(-errno));
		return EXIT_FAILED;
	}
	if (!S_ISDIR(st.st_mode)) {
		log_err("cannot mount on %s: not a directory", mountpoint);
		return EXIT_FAILED;
	}
	/* links resolved: the guard and the stop name the mount by its real path */
	if (realpath(absolute, real) && str_copy(absolute, size, real) != 0)
		return EXIT_FAILED;
	if (mounts_type_at(absolute, type, sizeof(type)) == 1 && mounts_is_ours(type)) {
		log_err("cannot mount on %s: a zdbfs is mounted there already", mountpoint);
		return EXIT_LOCKED;
	}
	return EXIT_DONE;
}

/* ------------------------------------------------------------------------------------------------ holders */

static bool is_below(const char *path, const char *mountpoint)
{
	size_t n = strlen(mountpoint);

	return strncmp(path, mountpoint, n) == 0 && (path[n] == 0 || path[n] == '/');
}

static bool link_is_below(const char *link, const char *mountpoint, char *target, size_t size)
{
	ssize_t n = readlink(link, target, size - 1);

	if (n < 0)
		return false;
	target[n] = 0;
	return is_below(target, mountpoint);
}

static bool process_holds(long pid, const char *mountpoint, char *target, size_t size)
{
	static const char *const single[] = {"cwd", "root", "exe"};
	char path[128];
	struct dirent *e;
	bool holds = false;
	DIR *d;

	for (size_t k = 0; k < 3 && !holds; k++) {
		(void)snprintf(path, sizeof(path), "/proc/%ld/%s", pid, single[k]);
		holds = link_is_below(path, mountpoint, target, size);
	}
	(void)snprintf(path, sizeof(path), "/proc/%ld/fd", pid);
	d = holds ? NULL : opendir(path);
	while (d && !holds && (e = readdir(d))) {
		char fd[192];

		(void)snprintf(fd, sizeof(fd), "%s/%.32s", path, e->d_name);
		holds = e->d_name[0] != '.' && link_is_below(fd, mountpoint, target, size);
	}
	if (d)
		(void)closedir(d);
	return holds;
}

unsigned mount_show_holders(const char *mountpoint)
{
	DIR *proc = opendir("/proc");
	struct dirent *e;
	unsigned count = 0;

	while (proc && (e = readdir(proc))) {
		char target[PATH_MAX], comm[64] = "?", path[64];
		char *end;
		long pid = strtol(e->d_name, &end, 10);
		FILE *f;

		if (*end || pid <= 0 || pid == (long)getpid() ||
		    !process_holds(pid, mountpoint, target, sizeof(target)))
			continue;
		(void)snprintf(path, sizeof(path), "/proc/%ld/comm", pid);
		f = fopen(path, "re");
		if (f && fgets(comm, sizeof(comm), f))
			comm[strcspn(comm, "\n")] = 0;
		if (f)
			(void)fclose(f);
		if (count++ < 10)
			log_warn("%s is still used by %s (pid %ld): %s", mountpoint, comm, pid, target);
	}
	if (proc)
		(void)closedir(proc);
	return count;
}
