/*
 * zstor: the command line. Verbs that the original has keep its ways (they talk to the daemon when the configuration names a
 * socket, with its protocol and its exit codes); the others are ours.
 */
#include <inttypes.h>
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "applets/zstor/daemon.h"
#include "applets/zstor/status.h"
#include "applets/zstor/wire.h"
#include "core/base/applet.h"
#include "core/base/buf.h"
#include "core/base/endian.h"
#include "core/base/hex.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/str.h"

struct globals {
	const char *config, *log_file;
	bool debug, is_new, version;
};

static const struct opt global_options[] = {
	OPT_STR(struct globals, config, 'c', "config", "FILE", "zstor_config.toml", "configuration"),
	OPT_FLAG(struct globals, debug, 'd', "debug", "log more"),
	OPT_STR(struct globals, log_file, 0, "log_file", "FILE", NULL,
		"log of the daemon (default: standard error)"),
	OPT_FLAG(struct globals, is_new, 0, "new", "with init: a new volume is wanted"),
	OPT_FLAG(struct globals, version, 'V', "version", "print the version"),
	OPT_END,
};

struct file_conf {
	const char *file, *key_path;
	bool save_failure, error_on_failure, delete_after, notblocking, json, is_new, all;
	uint64_t timeout_ms;
};

/* ----------------------------------------------------------------------------------- the original's protocol --- */

static int connect_socket(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd;

	if (strlen(path) >= sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	strcpy(addr.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		int rc = -errno;

		close(fd);
		return rc;
	}
	return fd;
}

static int exchange(const char *socket_path, const struct wire_request *q, struct wire_answer *a)
{
	struct buf out = BUF_INIT(WIRE_MAX + 2);
	uint8_t *in = mem_alloc(WIRE_MAX + 2);
	uint8_t head[2];
	int fd = -1, rc = in ? wire_encode(q, &out) : -ENOMEM;
	ssize_t n;

	if (rc == 0)
		rc = fd = connect_socket(socket_path);
	if (rc >= 0)
		rc = file_write_full(fd, out.data, out.len);
	if (rc == 0) {
		n = file_read_full(fd, head, 2);
		rc = n < 0 ? (int)n : n < 2 ? -EPIPE : 0;
	}
	if (rc == 0) {
		n = file_read_full(fd, in, get_u16be(head));
		rc = n < 0 ? (int)n : n < get_u16be(head) ? -EPIPE : wire_decode_answer(in, (size_t)n, a);
	}
	if (fd >= 0)
		close(fd);
	buf_release(&out);
	mem_free(in);
	return rc;
}

static int load(const struct globals *g, struct zconf *c)
{
	struct err_text err = {0};
	int rc = zconf_load(c, g->config, &err);

	if (rc < 0)
		log_err("%s", err.text);
	return rc < 0 ? EXIT_FAILED : EXIT_DONE;
}

static int ask_daemon(const struct globals *g, const struct wire_request *q, struct wire_answer *a)
{
	struct zconf c;
	int rc, code = load(g, &c);

	if (code != EXIT_DONE)
		return code;
	if (!c.socket) {
		log_err("%s names no socket: start zstor monitor with one", c.path);
		code = EXIT_FAILED;
	} else if ((rc = exchange(c.socket, q, a)) < 0) {
		log_err("cannot reach the daemon at %s: %s", c.socket, err_str(rc));
		code = EXIT_FAILED;
	} else if (a->kind == WIRE_ERROR) {
		fprintf(stderr, "Zstor error: %s\n", a->text);
		code = EXIT_FAILED;
	}
	zconf_release(&c);
	return code;
}

static int fill_path(char *dst, const char *path)
{
	int rc = file_absolute(dst, WIRE_PATH_MAX + 1, path);

	if (rc < 0)
		log_err("%s: %s", path, err_str(rc));
	return rc;
}

static int store_one(const struct globals *g, const struct file_conf *f, const char *path)
{
	struct wire_request q = {.kind = WIRE_STORE,
				 .save_failure = f->save_failure,
				 .delete_after = f->delete_after,
				 .blocking = !f->notblocking};
	struct wire_answer a;

	q.has_key_path = f->key_path != NULL;
	if (fill_path(q.file, path) < 0 || (f->key_path && fill_path(q.key_path, f->key_path) < 0))
		return EXIT_FAILED;
	return ask_daemon(g, &q, &a);
}

struct dir_store {
	const struct globals *g;
	const struct file_conf *f;
	const char *dir;
	int failed;
};

/* Every regular file of a directory; one that fails does not stop the others. */
static int store_entry(void *ctx, const char *name, unsigned char type)
{
	struct dir_store *d = ctx;
	char path[FILE_PATH_MAX];

	if (type != DT_REG)
		return 0;
	if (file_join(path, sizeof(path), d->dir, name) < 0 || store_one(d->g, d->f, path) != EXIT_DONE)
		d->failed++;
	return 0;
}

static int store_main(const struct applet *self, const struct verb *verb, void *ctx, int argc, char **argv)
{
	struct file_conf f = {0};
	struct opt_args args;
	struct stat st;
	int code;

	if (!opt_parse_verb(self, verb, &f, argc, argv, &args, &code))
		return code;
	if (stat(f.file, &st) < 0) {
		log_err("cannot store %s: %s", f.file, err_str(-errno));
		return EXIT_FAILED;
	}
	if (S_ISDIR(st.st_mode)) {
		struct dir_store d = {ctx, &f, f.file, 0};
		int rc = file_list(f.file, store_entry, &d);

		if (rc < 0)
			log_err("cannot list %s: %s", f.file, err_str(rc));
		return rc < 0 || d.failed ? EXIT_FAILED : EXIT_DONE;
	}
	return store_one(ctx, &f, f.file);
}

static int retrieve_main(const struct applet *self, const struct verb *verb, void *ctx, int argc, char **argv)
{
	struct wire_request q = {.kind = WIRE_RETRIEVE};
	struct wire_answer a;
	struct file_conf f = {0};
	struct opt_args args;
	int code;

	if (!opt_parse_verb(self, verb, &f, argc, argv, &args, &code))
		return code;
	return fill_path(q.file, f.file) < 0 ? EXIT_FAILED : ask_daemon(ctx, &q, &a);
}

static int check_main(const struct applet *self, const struct verb *verb, void *ctx, int argc, char **argv)
{
	struct wire_request q = {.kind = WIRE_CHECK};
	struct wire_answer a;
	struct file_conf f = {0};
	struct opt_args args;
	char hex[33];
	int code;

	if (!opt_parse_verb(self, verb, &f, argc, argv, &args, &code))
		return code;
	if (fill_path(q.file, f.file) < 0)
		return EXIT_FAILED;
	code = ask_daemon(ctx, &q, &a);
	if (code == EXIT_DONE && a.kind == WIRE_CHECKSUM)
		printf("%s\n", hex_encode(hex, a.sum, sizeof(a.sum)));
	return code;
}

/* ---------------------------------------------------------------------------------------------------- ours --- */

struct call {
	bool json, is_status;
	const char *number; /* member to show at the end */
};

static int on_line(void *ctx, yyjson_val *line)
{
	const struct call *c = ctx;
	const char *text = yyjson_get_str(yyjson_obj_get(yyjson_obj_get(line, "progress"), "text"));

	if (text) {
		log_info("%s", text);
	} else if (c->json) {
		char *json = yyjson_val_write(line, YYJSON_WRITE_PRETTY, NULL);

		if (json)
			puts(json);
		free(json);
	} else if (c->is_status) {
		zstatus_print(line, stdout);
	} else if (c->number) {
		char bytes[STR_HUMAN_MAX];

		printf("evicted %" PRIu64 " segments, %s; kept %" PRIu64 "\n",
		       yyjson_get_uint(yyjson_obj_get(line, "evicted")),
		       str_size(bytes, sizeof(bytes), yyjson_get_uint(yyjson_obj_get(line, "bytes"))),
		       yyjson_get_uint(yyjson_obj_get(line, "kept")));
	}
	return 0;
}

static int call_daemon(const struct globals *g, const char *request, uint64_t timeout_ms, struct call *call)
{
	struct err_text err = {0};
	struct zconf c;
	int rc, code = load(g, &c);

	if (code != EXIT_DONE)
		return code;
	if (!c.socket) {
		log_err("%s names no socket", c.path);
		zconf_release(&c);
		return EXIT_FAILED;
	}
	rc = ctl_call(c.socket, request, (int)timeout_ms, on_line, call, &err);
	if (rc < 0 || (rc && !call->is_status))
		log_err("%s", err.text[0] ? err.text : err_str(rc));
	zconf_release(&c);
	return rc < 0 ? err_exit_code(rc) : rc;
}

static int status_main(const struct applet *self, const struct verb *verb, void *ctx, int argc, char **argv)
{
	struct file_conf f = {0};
	struct call call = {.is_status = true};
	struct opt_args args;
	int code;

	if (!opt_parse_verb(self, verb, &f, argc, argv, &args, &code))
		return code;
	call.json = f.json;
	return call_daemon(ctx, "{\"cmd\":\"status\"}", 10000, &call);
}

static int sync_main(const struct applet *self, const struct verb *verb, void *ctx, int argc, char **argv)
{
	struct file_conf f = {0};
	struct call call = {0};
	struct opt_args args;
	char request[96];
	int code;

	if (!opt_parse_verb(self, verb, &f, argc, argv, &args, &code))
		return code;
	snprintf(request, sizeof(request), "{\"cmd\":\"sync\",\"wait\":%s,\"timeout_ms\":%" PRIu64 "}",
		 f.notblocking ? "false" : "true", f.timeout_ms);
	return call_daemon(ctx, request, 60000, &call);
}

static int evict_main(const struct applet *self, const struct verb *verb, void *ctx, int argc, char **argv)
{
	struct file_conf f = {0};
	struct call call = {.number = "evicted"};
	struct opt_args args;
	int code;

	if (!opt_parse_verb(self, verb, &f, argc, argv, &args, &code))
		return code;
	return call_daemon(ctx, f.all ? "{\"cmd\":\"evict\",\"all\":true}" : "{\"cmd\":\"evict\"}", 3600000,
			   &call);
}

static int restore_main(const struct applet *self, const struct verb *verb, void *ctx, int argc, char **argv)
{
	struct file_conf f = {0};
	struct call call = {0};
	struct opt_args args;
	int code;

	if (!opt_parse_verb(self, verb, &f, argc, argv, &args, &code))
		return code;
	return call_daemon(ctx, "{\"cmd\":\"restore\"}", 60000, &call);
}

/* --------------------------------------------------------------------------------------- without a daemon --- */

static int init_main(const struct applet *self, const struct verb *verb, void *ctx, int argc, char **argv)
{
	const struct globals *g = ctx;
	struct file_conf f = {0};
	struct opt_args args;
	struct err_text err = {0};
	char why[ZS_WHY] = "", path[FILE_PATH_MAX];
	struct obj_work *w;
	struct zstor z;
	int code, rc;

	if (!opt_parse_verb(self, verb, &f, argc, argv, &args, &code))
		return code;
	if (!f.is_new && !g->is_new) {
		log_err("init makes a new volume: say so with --new");
		return EXIT_USAGE;
	}
	rc = zs_open(&z, g->config, ZS_WITH_SPOOL, &err);
	if (rc == 0 && (rc = file_mkdir_p(z.dir, 0700)) == 0 &&
	    (rc = file_join(path, sizeof(path), z.dir, "lock")) == 0) {
		z.dir_lock = file_lock(path);
		rc = z.dir_lock < 0 ? z.dir_lock : vol_load(&z, &err);
	}
	if (rc < 0) {
		log_err("cannot make a volume: %s", err.text[0] ? err.text : err_str(rc));
		code = rc == -E_LOCKED ? EXIT_LOCKED : rc == -E_KEY ? EXIT_KEY : EXIT_FAILED;
	} else {
		w = zs_work_get(&z);
		code = w ? vol_create(&z, w, why) : EXIT_FAILED;
		zs_work_put(&z, w);
		if (code == EXIT_DONE)
			log_info("the volume is made%s%s", why[0] ? ": " : "", why);
		else
			log_err("cannot make a volume: %s", why[0] ? why : "failed");
	}
	zs_close(&z);
	return code;
}

static const char *kind_text(const struct record *r)
{
	static const char *const names[] = {"", "segment", "tail", "bundle", "manifest"};

	if (r->priv.kind == OBJ_SEGMENT && r->priv.ns_len && r->priv.ns[0] == '/')
		return "file";
	return r->priv.kind < 5 ? names[r->priv.kind] : "unknown";
}

static int print_record(void *ctx, const struct record *r)
{
	char ns[4 * OBJ_NS_MAX + 8];

	(void)ctx;
	str_escape(ns, sizeof(ns), r->priv.ns, r->priv.ns_len);
	if (r->priv.kind == OBJ_TAIL || r->priv.kind == OBJ_BUNDLE)
		printf("%-8s %s %" PRIu64 "-%" PRIu64, kind_text(r), ns, r->priv.number >> 32,
		       r->priv.number & UINT32_MAX);
	else
		printf("%-8s %s %" PRIu64, kind_text(r), ns[0] ? ns : "-", r->priv.number);
	printf(" bytes=%" PRIu64 " shards=%u generation=%" PRIx64 "\n", r->priv.size, r->shards_count,
	       r->pub.generation);
	return 0;
}

static int list_main(const struct applet *self, const struct verb *verb, void *ctx, int argc, char **argv)
{
	const struct globals *g = ctx;
	struct file_conf f = {0};
	struct opt_args args;
	struct err_text err = {0};
	char why[ZS_WHY] = "";
	struct obj_work *w;
	struct zstor z;
	int code, rc;

	if (!opt_parse_verb(self, verb, &f, argc, argv, &args, &code))
		return code;
	log_level_set(LOG_LEVEL_ERR);
	rc = zs_open(&z, g->config, 0, &err);
	if (rc < 0) {
		log_err("cannot list: %s", err.text);
		code = rc == -E_KEY ? EXIT_KEY : EXIT_FAILED;
	} else {
		stores_ping_all(&z);
		w = zs_work_get(&z);
		if (w)
			vol_settle(&z, w);
		zs_work_put(&z, w);
		if (z.vol.state == VOL_UNKNOWN || z.vol.state == VOL_NEW ||
		    (z.vol.state == VOL_REFUSED && z.vol.code == EXIT_KEY)) {
			snprintf(why, sizeof(why), "%s", z.vol.why);
			code = z.vol.code;
		} else {
			code = list_run(&z, print_record, NULL, why);
		}
		if (code != EXIT_DONE)
			log_err("cannot list everything: %s", why);
	}
	zs_close(&z);
	return code;
}

static int monitor_main(const struct applet *self, const struct verb *verb, void *ctx, int argc, char **argv)
{
	const struct globals *g = ctx;
	struct file_conf f = {0};
	struct opt_args args;
	int code;

	if (!opt_parse_verb(self, verb, &f, argc, argv, &args, &code))
		return code;
	return monitor_run(g->config, g->log_file, g->debug);
}

/* ---------------------------------------------------------------------------------------------------- tables --- */

static const struct opt store_options[] = {
	OPT_STR(struct file_conf, file, 'f', "file", "PATH", NULL, "file, or directory of files",
		.flags = OPT_REQUIRED),
	OPT_STR(struct file_conf, key_path, 'k', "key-path", "DIR", NULL,
		"store it as if it lay in this directory"),
	OPT_FLAG(struct file_conf, save_failure, 's', "save-failure",
		 "accepted: failures are always kept in the spool"),
	OPT_FLAG(struct file_conf, error_on_failure, 'e', "error-on-failure",
		 "accepted: failures are always errors"),
	OPT_FLAG(struct file_conf, delete_after, 'd', "delete", "remove the file once it is stored"),
	OPT_FLAG(struct file_conf, notblocking, 'n', "notblocking", "return when it is noted durably"),
	OPT_END,
};
static const struct opt file_options[] = {
	OPT_STR(struct file_conf, file, 'f', "file", "PATH", NULL, "the file", .flags = OPT_REQUIRED),
	OPT_END,
};
static const struct opt status_options[] = {
	OPT_FLAG(struct file_conf, json, 'j', "json", "one JSON object"),
	OPT_END,
};
static const struct opt sync_options[] = {
	OPT_FLAG(struct file_conf, notblocking, 'n', "notblocking", "only ask for it"),
	OPT_MS(struct file_conf, timeout_ms, 't', "timeout", "TIME", "0", 0, 0,
	       "give up after this time (0: never)"),
	OPT_END,
};
static const struct opt evict_options[] = {
	OPT_FLAG(struct file_conf, all, 'a', "all", "every closed segment, not only what is above the limit"),
	OPT_END,
};
static const struct opt init_options[] = {
	OPT_FLAG(struct file_conf, is_new, 0, "new", "a new volume is wanted"),
	OPT_END,
};

static const struct verb verbs[] = {
	{.name = "monitor",
	 .summary = "run the daemon in the foreground",
	 .main = monitor_main,
	 .exit_usage = EXIT_USAGE},
	{.name = "store", .summary = "store a file", .options = store_options, .main = store_main},
	{.name = "retrieve", .summary = "bring a file back", .options = file_options, .main = retrieve_main},
	{.name = "check",
	 .summary = "print the content id of what is stored",
	 .options = file_options,
	 .main = check_main},
	{.name = "list",
	 .summary = "every object that the metadata stores know",
	 .main = list_main,
	 .exit_usage = EXIT_USAGE},
	{.name = "status",
	 .summary = "stores, what is owed, recovery point",
	 .options = status_options,
	 .main = status_main,
	 .exit_usage = EXIT_USAGE},
	{.name = "sync",
	 .summary = "make a recovery point now",
	 .options = sync_options,
	 .main = sync_main,
	 .exit_usage = EXIT_USAGE},
	{.name = "evict",
	 .summary = "give space of stored segments back",
	 .options = evict_options,
	 .main = evict_main,
	 .exit_usage = EXIT_USAGE},
	{.name = "restore",
	 .summary = "bring the newest recovery point into an empty state",
	 .main = restore_main,
	 .exit_usage = EXIT_USAGE},
	{.name = "init",
	 .summary = "make a new volume on empty stores",
	 .options = init_options,
	 .main = init_main,
	 .exit_usage = EXIT_USAGE},
	{.name = NULL},
};

static int zstor_main(const struct applet *self, int argc, char **argv)
{
	struct globals g = {0};
	struct opt_args args;
	int code;

	log_init("zstor", LOG_CLI, LOG_LEVEL_INFO);
	if (!opt_parse_applet(self, &g, argc, argv, &args, &code))
		return code;
	if (g.version) {
		puts("zstor_v2 0.4.0");
		return EXIT_DONE;
	}
	signal(SIGPIPE, SIG_IGN);
	return applet_run_verb(self, &g, args.argc, args.argv);
}

APPLET_REGISTER(zstor) = {
	.name = "zstor",
	.summary = "stores closed segments on the backends, restores, evicts",
	.usage = "VERB",
	.main = zstor_main,
	.options = global_options,
	.verbs = verbs,
	.exit_usage = EXIT_FAILED,
	.man = "## EXIT STATUS\n"
	       "store, retrieve, check: 0, or 1 as the original. The other verbs: 0 done; 1 failed; 2 usage; "
	       "3 partly done "
	       "(evict kept segments that could not be proved safe); 4 degraded, everything is readable "
	       "(status); 5 another "
	       "daemon runs; 6 wrong key; 7 not found; 75 not known now, try again.\n",
};
