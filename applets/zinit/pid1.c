/*
 * pid1: see pid1.h. Everything is tried, nothing is required: a machine whose /sys cannot be mounted still boots.
 */
#include "applets/zinit/pid1.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/base/err.h"
#include "core/base/file.h"
#include "core/base/mem.h"
#include "core/base/str.h"

#include "applets/zinit/note.h"

#ifndef MODULE_INIT_COMPRESSED_FILE
#define MODULE_INIT_COMPRESSED_FILE 4 /* <linux/module.h>, since 5.17 */
#endif

enum { MODULES_BYTES_MAX = 1 << 20, MOUNTS_MAX = 256 };

static const struct {
	const char *type, *target, *options;
	unsigned long flags;
} mounts[] = {
	{"proc", "/proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC},
	{"sysfs", "/sys", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC},
	{"devtmpfs", "/dev", "mode=0755", MS_NOSUID},
	{"devpts", "/dev/pts", "gid=5,mode=620", MS_NOSUID | MS_NOEXEC},
	{"tmpfs", "/dev/shm", "mode=1777", MS_NOSUID | MS_NODEV},
	{"tmpfs", "/run", "mode=0755", MS_NOSUID | MS_NODEV},
	{"tmpfs", "/tmp", "mode=1777", MS_NOSUID | MS_NODEV},
	{"cgroup2", "/sys/fs/cgroup", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC},
};

/* A directory on another device than its parent is a mount point. */
static bool is_mounted(const char *path)
{
	char parent[64];
	struct stat here, above;

	snprintf(parent, sizeof(parent), "%s/..", path);
	return stat(path, &here) == 0 && stat(parent, &above) == 0 && here.st_dev != above.st_dev;
}

static void mount_all(void)
{
	for (size_t i = 0; i < sizeof(mounts) / sizeof(mounts[0]); i++) {
		mkdir(mounts[i].target, 0755);
		if (is_mounted(mounts[i].target))
			continue;
		if (mount(mounts[i].type, mounts[i].target, mounts[i].type, mounts[i].flags,
			  mounts[i].options) < 0 &&
		    errno != EBUSY)
			note_warn("boot", "cannot mount %s on %s: %s", mounts[i].type, mounts[i].target,
				  err_str(errno));
	}
}

/* The kernel starts init without descriptors when the image has no /dev/console: now it can be opened. */
static void open_console(void)
{
	int fd;

	if (fcntl(0, F_GETFD) >= 0 && fcntl(1, F_GETFD) >= 0 && fcntl(2, F_GETFD) >= 0)
		return;
	fd = open("/dev/console", O_RDWR | O_NOCTTY);
	if (fd < 0)
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd < 2)
		fd = dup(fd);
	if (fd > 2)
		close(fd);
}

static void set_hostname(void)
{
	char *text = NULL, *name;

	if (file_read_all("/etc/hostname", 256, &text, NULL))
		return;
	name = str_trim(text);
	if (*name && sethostname(name, strlen(name)) < 0)
		note_warn("boot", "cannot set the host name: %s", err_str(errno));
	mem_free(text);
}

static void loopback_up(void)
{
	struct ifreq request = {.ifr_name = "lo"};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return;
	if (ioctl(fd, SIOCGIFFLAGS, &request) == 0) {
		request.ifr_flags |= IFF_UP;
		if (ioctl(fd, SIOCSIFFLAGS, &request) < 0)
			note_warn("boot", "cannot bring up lo: %s", err_str(errno));
	}
	close(fd);
}

static bool is_compressed(const char *path)
{
	return str_ends(path, ".xz") || str_ends(path, ".zst") || str_ends(path, ".gz");
}

static void load_module(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0) {
		note_warn("boot", "cannot open module %s: %s", path, err_str(errno));
		return;
	}
	/* Loaded already, or built in under the same name: fine. */
	if (syscall(SYS_finit_module, fd, "", is_compressed(path) ? MODULE_INIT_COMPRESSED_FILE : 0) < 0 &&
	    errno != EEXIST)
		note_warn("boot", "cannot load module %s: %s", path, err_str(errno));
	close(fd);
}

static void load_modules(const char *list)
{
	char *text = NULL, *cursor, *line;
	unsigned count = 0;

	if (!list || file_read_all(list, MODULES_BYTES_MAX, &text, NULL))
		return;
	cursor = text;
	while ((line = str_next(&cursor, '\n'))) {
		line = str_trim(line);
		if (!*line || *line == '#')
			continue;
		load_module(line);
		count++;
	}
	note_info("boot", "%u modules from %s", count, list);
	mem_free(text);
}

void pid1_begin(const char *modules_file)
{
	mount_all();
	/* Clients look for the socket in /var/run too; an image without /var gets one name for both. */
	mkdir("/var", 0755);
	if (symlink("/run", "/var/run") < 0 && errno != EEXIST)
		note_debug("boot", "no /var/run: %s", err_str(errno));
	open_console();
	umask(022);
	set_hostname();
	loopback_up();
	load_modules(modules_file);
	/* Ctrl-Alt-Del becomes a SIGINT to us instead of a reset. */
	if (reboot(RB_DISABLE_CAD) < 0)
		note_warn("boot", "cannot take over Ctrl-Alt-Del: %s", err_str(errno));
}

static void on_signal(void *ctx, const struct signalfd_siginfo *info)
{
	static const struct {
		int signo;
		enum sup_end end;
		const char *why;
	} map[] = {
		{SIGUSR1, SUP_END_HALT, "halt requested (SIGUSR1)"},
		{SIGUSR2, SUP_END_POWEROFF, "power-off requested (SIGUSR2)"},
		{SIGPWR, SUP_END_POWEROFF, "power-off requested (SIGPWR)"},
		{SIGTERM, SUP_END_REBOOT, "reboot requested (SIGTERM)"},
		{SIGINT, SUP_END_REBOOT, "reboot requested (Ctrl-Alt-Del)"},
	};

	for (size_t i = 0; i < sizeof(map) / sizeof(map[0]); i++)
		if (map[i].signo == (int)info->ssi_signo)
			sup_shutdown(ctx, map[i].end, map[i].why);
}

int pid1_catch_signals(struct sup *sup)
{
	static const int signals[] = {SIGUSR1, SIGUSR2, SIGPWR, SIGTERM, SIGINT};

	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		int rc = loop_signal(&sup->loop, signals[i], on_signal, sup);

		if (rc)
			return rc;
	}
	signal(SIGHUP, SIG_IGN);
	return 0;
}

/* ---- the end ---- */

/* The targets of /proc/mounts, the newest last; at most MOUNTS_MAX. */
static unsigned list_mounts(char (*targets)[256])
{
	char *text = NULL, *cursor, *line;
	unsigned count = 0;

	if (file_read_all("/proc/self/mounts", 1 << 20, &text, NULL))
		return 0;
	cursor = text;
	while ((line = str_next(&cursor, '\n')) && count < MOUNTS_MAX) {
		char *at = line, *target;

		str_next(&at, ' ');
		target = str_next(&at, ' ');
		if (target && str_copy(targets[count], 256, target) == 0)
			count++;
	}
	mem_free(text);
	return count;
}

static void turn_swap_off(void)
{
	char *text = NULL, *cursor, *line;

	if (file_read_all("/proc/swaps", 65536, &text, NULL))
		return;
	cursor = text;
	str_next(&cursor, '\n'); /* the heading */
	while ((line = str_next(&cursor, '\n'))) {
		char *at = line, *device = str_next(&at, ' ');

		if (device && *device == '/' && swapoff(device) < 0)
			note_warn("shutdown", "cannot turn off swap on %s: %s", device, err_str(errno));
	}
	mem_free(text);
}

static bool is_kernel_mount(const char *target)
{
	static const char *const kept[] = {"/proc", "/sys", "/dev", "/run"};

	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
		if (str_starts(target, kept[i]) &&
		    (target[strlen(kept[i])] == '\0' || target[strlen(kept[i])] == '/'))
			return true;
	return false;
}

static void unmount_all(void)
{
	static char targets[MOUNTS_MAX][256];
	unsigned count = list_mounts(targets);

	/* Newest first, so that what is mounted on something goes before it. */
	for (unsigned i = count; i-- > 0;) {
		if (strcmp(targets[i], "/") == 0 || is_kernel_mount(targets[i]))
			continue;
		if (umount2(targets[i], 0) == 0)
			continue;
		note_warn("shutdown", "cannot unmount %s: %s; making it read-only", targets[i],
			  err_str(errno));
		mount(NULL, targets[i], NULL, MS_REMOUNT | MS_RDONLY, NULL);
	}
	if (mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL) < 0 && errno != EINVAL)
		note_debug("shutdown", "the root file system stays writable: %s", err_str(errno));
}

void pid1_end(enum sup_end end)
{
	static const int commands[] = {
		[SUP_END_NONE] = RB_POWER_OFF,     [SUP_END_EXIT] = RB_POWER_OFF,
		[SUP_END_POWEROFF] = RB_POWER_OFF, [SUP_END_REBOOT] = RB_AUTOBOOT,
		[SUP_END_HALT] = RB_HALT_SYSTEM,
	};

	sync();
	turn_swap_off();
	unmount_all();
	sync();
	note_info("shutdown", "%s",
		  end == SUP_END_REBOOT ? "rebooting"
		  : end == SUP_END_HALT ? "halting"
					: "powering off");
	if (reboot(commands[end]) < 0)
		note_err("shutdown", "the kernel refuses: %s", err_str(errno));
}
