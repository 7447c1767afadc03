/*
 * probe: the readiness tests of the supervisor's units, without a shell: a socket that accepts, a mount that answers.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "applets/qsfs/probe.h"
#include "core/base/applet.h"
#include "core/base/mounts.h"
#include "core/base/str.h"

struct probe_conf {
	const char *mount;
};

const struct opt probe_options[] = {
	OPT_STR(struct probe_conf, mount, 'm', "mount", "DIR", NULL, "a mounted volume"),
	OPT_END,
};

static int probe_mount(const char *path)
{
	char type[64];
	struct stat st;

	if (mounts_type_at(path, type, sizeof(type)) != 1 || strcmp(type, "fuse.zdbfs") != 0 ||
	    stat(path, &st) != 0)
		return EXIT_AGAIN;
	return EXIT_DONE;
}

static int probe_socket(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), code = EXIT_DONE;

	if (fd < 0 || str_copy(a.sun_path, sizeof(a.sun_path), path) != 0 ||
	    connect(fd, (struct sockaddr *)&a, sizeof(a)) != 0)
		code = EXIT_AGAIN;
	if (fd >= 0)
		close(fd);
	return code;
}

int probe_main(const struct applet *self, const struct verb *verb, void *ctx, int argc, char **argv)
{
	struct probe_conf c = {0};
	struct opt_args args;
	int code;

	(void)ctx;
	if (!opt_parse_verb(self, verb, &c, argc, argv, &args, &code))
		return code;
	code = EXIT_DONE;
	if (c.mount)
		code = probe_mount(c.mount);
	for (int i = 0; code == EXIT_DONE && i < args.argc; i++)
		code = probe_socket(args.argv[i]);
	return code;
}
