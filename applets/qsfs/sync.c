/*
 * sync: what was written before it survives the node when `sync --wait` returns 0. Three steps, each bounded: the kernel's
 * dirty pages into zdbfs (syncfs), zdbfs's blocks and names into zdb with a SYNC, then a recovery point published by zstor.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <yyjson.h>

#include "applets/qsfs/state.h"
#include "applets/qsfs/sync.h"
#include "core/base/applet.h"
#include "core/base/err.h"
#include "core/base/log.h"
#include "core/base/str.h"
#include "core/ctl/ctl.h"

struct sync_conf {
	const char *config, *data;
	bool wait;
	uint64_t timeout_ms;
};

const struct opt sync_options[] = {
	OPT_STR(struct sync_conf, config, 'c', "config", "FILE", NULL, "configuration of the volume"),
	OPT_STR(struct sync_conf, data, 'd', "data", "DIR", NULL, "directory of the volume's state"),
	OPT_FLAG(struct sync_conf, wait, 'w', "wait",
		 "return when everything written before survives the loss of the node"),
	OPT_MS(struct sync_conf, timeout_ms, 't', "timeout", "TIME", "5m", 1000, 2147483647,
	       "how long the stores may be silent"),
	OPT_END,
};

const struct opt evict_options[] = {
	OPT_STR(struct sync_conf, config, 'c', "config", "FILE", NULL, "configuration of the volume"),
	OPT_STR(struct sync_conf, data, 'd', "data", "DIR", NULL, "directory of the volume's state"),
	OPT_MS(struct sync_conf, timeout_ms, 't', "timeout", "TIME", "5m", 1000, 2147483647,
	       "how long zstor may be silent"),
	OPT_END,
};

static int show_line(void *ctx, yyjson_val *line)
{
	const char *text = yyjson_get_str(yyjson_obj_get(yyjson_obj_get(line, "progress"), "text"));

	(void)ctx;
	if (text)
		log_info("%s", text);
	return 0;
}

/* One request to a service of the volume. Exit code, after one line when it is not 0. */
static int ask(const struct volume *v, const char *service, const char *request, uint64_t timeout_ms,
	       int (*on_line)(void *, yyjson_val *), const char *what)
{
	char socket[VOLUME_PATH + 64];
	struct err_text err = {0};
	int rc;

	str_fmt(socket, sizeof(socket), "%s/%s.sock", v->run, service);
	rc = ctl_call(socket, request, (int)timeout_ms, on_line, NULL, &err);
	if (rc != 0)
		log_err("cannot %s: %s", what, err.text[0] ? err.text : err_str(rc));
	return rc < 0 ? err_exit_code(rc) : rc;
}

static int pages_out(const struct volume *v)
{
	int fd = open(v->mount, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;

	if (fd < 0 || syncfs(fd) != 0)
		rc = -errno;
	if (fd >= 0)
		close(fd);
	return rc ? (log_code(rc, "cannot sync %s", v->mount), EXIT_FAILED) : EXIT_DONE;
}

static int run_sync(const struct volume *v, const struct sync_conf *c)
{
	int code = pages_out(v);

	if (code == EXIT_DONE)
		code = ask(v, "zdbfs", "{\"cmd\":\"flush\"}", c->timeout_ms, NULL, "flush the file system");
	if (code == EXIT_DONE)
		code = ask(v, "zstor",
			   c->wait ? "{\"cmd\":\"sync\",\"wait\":true}" : "{\"cmd\":\"sync\",\"wait\":false}",
			   c->timeout_ms, show_line, "make a recovery point");
	return code;
}

/* Result lines of an eviction: {"evicted":N,"bytes":B,"kept":K}. */
static int show_evicted(void *ctx, yyjson_val *line)
{
	yyjson_val *n = yyjson_obj_get(line, "evicted");
	char bytes[STR_HUMAN_MAX];

	if (n)
		printf("evicted  %llu segments, %s\n", (unsigned long long)yyjson_get_uint(n),
		       str_size(bytes, sizeof(bytes), yyjson_get_uint(yyjson_obj_get(line, "bytes"))));
	return show_line(ctx, line);
}

static int run_evict(const struct volume *v, const struct sync_conf *c)
{
	return ask(v, "zstor", "{\"cmd\":\"evict\",\"all\":true}", c->timeout_ms, show_evicted, "evict");
}

static int with_volume(const struct applet *self, const struct verb *verb, int argc, char **argv,
		       int (*run)(const struct volume *, const struct sync_conf *))
{
	struct sync_conf c = {0};
	struct opt_args args;
	struct volume v;
	pid_t pid;
	int code;

	if (!opt_parse_verb(self, verb, &c, argc, argv, &args, &code))
		return code;
	code = volume_load(&v, c.config, c.data, NULL);
	if (code == EXIT_DONE && state_is_up(&v, &pid) != 1) {
		log_err("cannot %s: the volume in %s is not up: qsfs up --data %s", verb->name, v.data,
			v.data);
		code = EXIT_NOT_FOUND;
	}
	if (code == EXIT_DONE)
		code = run(&v, &c);
	volume_wipe(&v);
	return code;
}

int sync_main(const struct applet *self, const struct verb *verb, void *ctx, int argc, char **argv)
{
	(void)ctx;
	return with_volume(self, verb, argc, argv, run_sync);
}

int evict_main(const struct applet *self, const struct verb *verb, void *ctx, int argc, char **argv)
{
	(void)ctx;
	return with_volume(self, verb, argc, argv, run_evict);
}
