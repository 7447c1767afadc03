#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "applets/qsfs/preflight.h"
#include "core/base/applet.h"
#include "core/base/err.h"
#include "core/base/file.h"
#include "core/base/log.h"
#include "core/base/mounts.h"
#include "core/base/str.h"

#define SPACE_MIN                                                                                            \
	(48u << 20) /* the spool's reserve of 16 MiB, room to close files and logs, and as much again */

/* Each can be left out of a build. */
static int check_applets(void)
{
	static const char *const needed[] = {"zinit", "zdb", "zdbfs", "zstor", "hook", "wait_hooks"};
	int rc = EXIT_DONE;

	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
		if (applet_find(needed[i], NULL))
			continue;
		log_err("a volume needs %s, which this program was built without: see 'qsfs --list'",
			needed[i]);
		rc = EXIT_FAILED;
	}
	return rc;
}

static int check_fuse(void)
{
	int fd, rc = EXIT_DONE;

	if (geteuid() != 0) {
		log_err("cannot mount a volume as user %u: run it as root", (unsigned)geteuid());
		rc = EXIT_FAILED;
	} else {
		fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
		if (fd >= 0) {
			close(fd);
		} else {
			log_err("cannot open /dev/fuse: %s: load the fuse module, or give the container the "
				"device",
				err_str(errno));
			rc = EXIT_FAILED;
		}
	}
	return rc;
}

int preflight_host(void)
{
	int rc = check_applets();

	return rc == EXIT_DONE ? check_fuse() : rc;
}

/* Free bytes where `path` is or will be: its nearest existing parent decides. */
static int space_for(const char *path, uint64_t *free_bytes)
{
	char dir[VOLUME_PATH], parent[VOLUME_PATH];
	uint64_t total;
	int rc = str_copy(dir, sizeof(dir), path);

	while (rc == 0 && file_exists(dir) == 0) {
		rc = file_dirname(parent, sizeof(parent), dir);
		if (rc == 0)
			rc = str_copy(dir, sizeof(dir), parent);
	}
	return rc ? rc : file_space(dir, free_bytes, &total);
}

int preflight_state(const struct volume *v)
{
	char need[STR_HUMAN_MAX], have[STR_HUMAN_MAX];
	uint64_t free_bytes;
	int rc = file_is_on_our_mount(v->data);

	if (rc < 0)
		return log_code(rc, "cannot tell on what %s lies", v->data), EXIT_FAILED;
	if (rc) {
		log_err("cannot keep a volume's state in %s: it lies on a mounted volume, which would wait "
			"for itself",
			v->data);
		return EXIT_FAILED;
	}
	rc = space_for(v->data, &free_bytes);
	if (rc < 0)
		return log_code(rc, "cannot tell how much space %s has", v->data), EXIT_FAILED;
	if (free_bytes < SPACE_MIN) {
		log_err("cannot start a volume in %s: no space left: %s are free, %s are needed", v->data,
			str_size(have, sizeof(have), free_bytes), str_size(need, sizeof(need), SPACE_MIN));
		return EXIT_FAILED;
	}
	return EXIT_DONE;
}

static int count_entry(void *ctx, const char *name, unsigned char type)
{
	(void)ctx;
	(void)name;
	(void)type;
	return 1; /* one is enough */
}

/* A dead mount of ours answers ENOTCONN: nobody is served by it any more. statfs asks it; attributes may be cached. */
static int mount_clear_stale(const char *path, const char *type)
{
	struct statfs st;

	if (!mounts_is_ours(type) || statfs(path, &st) == 0 || errno != ENOTCONN)
		return -EBUSY;
	if (umount2(path, MNT_DETACH) != 0)
		return -errno;
	log_info("took away the dead mount that a process left behind at %s", path);
	return 0;
}

static int mount_usable(const struct volume *v)
{
	struct stat st;

	if (stat(v->mount, &st) != 0) {
		if (errno == ENOENT && volume_mount_is_inside(v))
			return EXIT_DONE;
		log_err("cannot mount at %s: %s%s", v->mount, err_str(errno),
			errno == ENOENT ? ": make the directory first" : "");
		return errno == ENOENT ? EXIT_NOT_FOUND : EXIT_FAILED;
	}
	if (!S_ISDIR(st.st_mode)) {
		log_err("cannot mount at %s: it is not a directory", v->mount);
		return EXIT_FAILED;
	}
	if (file_list(v->mount, count_entry, NULL) == 1) {
		log_err("cannot mount at %s: the directory is not empty and its content would be hidden",
			v->mount);
		return EXIT_FAILED;
	}
	return EXIT_DONE;
}

int preflight_make_mount(const struct volume *v)
{
	int rc = volume_mount_is_inside(v) ? file_mkdir_p(v->mount, 0755) : 0;

	return rc ? log_code(rc, "cannot make the mount point %s", v->mount) : 0;
}

int preflight_mount(const struct volume *v)
{
	char type[64];
	int rc = mounts_type_at(v->mount, type, sizeof(type));

	if (rc < 0)
		return log_code(rc, "cannot read /proc/self/mountinfo"), EXIT_FAILED;
	if (rc > 0 && mount_clear_stale(v->mount, type) != 0) {
		log_err("cannot mount at %s: it is busy, a %s is mounted there: umount it, or choose another "
			"--mount",
			v->mount, type);
		return EXIT_FAILED;
	}
	return mount_usable(v);
}
