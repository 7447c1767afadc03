/*
 * zdb: the append-only key-value store. Options of 0-db, and ours; what they mean is done in core/zdbd.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "applets/zdb/zdb_app.h"
#include "build_info.h"
#include "core/base/file.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/str.h"

#define PASSWORD_FILE_MAX 1024

/* The exact words of the original; `direct` is its old name of seq. */
static int set_mode(const struct opt *o, void *target, const char *value, const char **why)
{
	struct zdb_conf *conf = target;

	(void)o;
	if (str_eq(value, "user")) {
		conf->mode = ZDB_USER;
	} else if (str_eq(value, "seq")) {
		conf->mode = ZDB_SEQ;
	} else if (str_eq(value, "direct")) {
		fprintf(stderr, "zdb: --mode direct is an old name of --mode seq\n");
		conf->mode = ZDB_SEQ;
	} else {
		*why = "expected user or seq";
		return -1;
	}
	return 0;
}

/* Number with an optional fraction and one suffix of k M G T, in this case; what follows it is ignored, as the original does. */
static int set_datasize(const struct opt *o, void *target, const char *value, const char **why)
{
	static const char suffixes[] = "kMGT";
	struct zdb_conf *conf = target;
	const char *at;
	double bytes;
	char *end;

	(void)o;
	bytes = strtod(value, &end);
	*why = "not a size (number, optionally followed by k, M, G or T)";
	if (end == value)
		return -1;
	if (*end) {
		at = strchr(suffixes, *end);
		if (!at)
			return -1;
		for (; at >= suffixes; at--)
			bytes *= 1024;
	}
	*why = "must be at least 524288 and below 4294967295";
	if (!(bytes >= ZDB_DATASIZE_MIN && bytes <= ZDB_DATASIZE_MAX))
		return -1;
	conf->datasize = (uint64_t)bytes;
	return 0;
}

static const char *const fsync_words[] = {"no", "everysec", "always", NULL};

static const struct opt zdb_options[] = {
	OPT_STR(struct zdb_conf, data, 0, "data", "DIR", "./zdb-data", "directory of the data files"),
	OPT_STR(struct zdb_conf, index, 0, "index", "DIR", "./zdb-index", "directory of the index files"),
	OPT_CALL(0, "mode", "user|seq", set_mode,
		 "fixes the mode of all namespaces; without it each has its own"),
	OPT_CALL(0, "datasize", "SIZE", set_datasize,
		 "a segment is closed before it grows beyond this; 256M when not given"),
	OPT_STR(struct zdb_conf, listen, 0, "listen", "ADDR", "::", "TCP address to listen on"),
	OPT_INT(struct zdb_conf, port, 0, "port", "PORT", "9900", 0, 65535, "TCP port"),
	OPT_STR(struct zdb_conf, socket, 0, "socket", "PATH", NULL,
		"unix socket to listen on, instead of TCP"),
	OPT_FLAG(struct zdb_conf, dualnet, 0, "dualnet", "listens on the unix socket and on TCP"),
	OPT_STR(struct zdb_conf, hook, 0, "hook", "FILE", NULL, "program to call at events"),
	OPT_STR(struct zdb_conf, admin, 0, "admin", "PASSWORD", NULL,
		"admin password of 1 to 255 bytes; without one everybody is admin. Better: --admin-file"),
	OPT_STR(struct zdb_conf, admin_file, 0, "admin-file", "FILE", NULL,
		"file (mode 0600) whose first line is the admin password"),
	OPT_FLAG(struct zdb_conf, protect, 0, "protect",
		 "writing to namespace default takes the admin password"),
	OPT_INT(struct zdb_conf, maxsize, 0, "maxsize", "BYTES", "0", 0, INT64_MAX,
		"limit of the payload in namespace default; 0 = none"),
	OPT_CHOICE(
		struct zdb_conf, fsync, 0, "fsync", "no|everysec|always", "everysec", fsync_words,
		"when writes are made durable: when asked (SYNC), within a second, before they are answered"),
	OPT_FLAG(struct zdb_conf, sync, 0, "sync", "the same as --fsync always"),
	OPT_INT(struct zdb_conf, synctime_s, 0, "synctime", "SECONDS", "0", 0, 86400,
		"with --fsync everysec: this many seconds instead of one"),
	OPT_FLAG(struct zdb_conf, secure, 0, "secure", "accepted; closed segments are always made durable"),
	OPT_INT(struct zdb_conf, rotate_s, 0, "rotate", "SECONDS", "0", 0, INT32_MAX,
		"closes a segment that was written to after this time; 0 = never"),
	OPT_STR(struct zdb_conf, spool, 0, "spool", "DIR", NULL,
		"directory in which closed segments are noted durably for zstor"),
	OPT_LIST(struct zdb_conf, temps, 0, "temp", "NAME",
		 "namespace that is never stored (those ending in -temp are not anyway)"),
	OPT_MS(struct zdb_conf, hook_grace_ms, 0, "hook-grace", "TIME", "10s", 0, 0,
	       "how long a stop waits for hooks"),
	OPT_MS(struct zdb_conf, hook_limit_ms, 0, "hook-limit", "TIME", "10m", 1000, 0,
	       "how long a hook may run"),
	OPT_MS(struct zdb_conf, missing_limit_ms, 0, "missing-limit", "TIME", "60s", 100, 0,
	       "how long a read waits for a segment that the hook missing-data brings back"),
	OPT_MS(struct zdb_conf, init_limit_ms, 0, "init-limit", "TIME", "0", 0, 0,
	       "how long the hook namespaces-init may run; 0 = no limit"),
	OPT_INT(struct zdb_conf, clients, 0, "clients", "N", "0", 0, 1000000,
		"most clients at once; 0 = 20000 or what descriptors allow"),
	OPT_FLAG(struct zdb_conf, background, 0, "background",
		 "goes on in the background when it is ready, and prints the pid"),
	OPT_STR(struct zdb_conf, logfile, 0, "logfile", "FILE", NULL, "with --background: where messages go"),
	OPT_INT(struct zdb_conf, ready_fd, 0, "ready-fd", "FD", "-1", -1, 1023,
		"descriptor that gets a newline when clients are served"),
	OPT_FLAG(struct zdb_conf, ready_exit_0, 0, "ready-exit-0",
		 "exits with 0 when the hook ready fails, as 0-db does"),
	OPT_FLAG(struct zdb_conf, prefix_commands, 0, "prefix-commands",
		 "any prefix of a command name selects it, as in 0-db"),
	OPT_FLAG(struct zdb_conf, verbose, 0, "verbose", "says more"),
	OPT_FLAG(struct zdb_conf, dump, 0, "dump",
		 "starts, with hooks, prints all index entries and exits; zdb dump only looks"),
	OPT_FLAG(struct zdb_conf, recover, 0, "recover",
		 "repairs what a crash left, as a start does, and exits"),
	OPT_FLAG(struct zdb_conf, version, 'v', "version", "prints versions and exits"),
	OPT_END,
};

static const struct verb zdb_verbs[] = {
	{.name = "ping",
	 .summary = "asks a running server whether it serves",
	 .options = zdb_ping_options,
	 .main = zdb_verb_ping,
	 .exit_usage = EXIT_USAGE},
	{.name = "check",
	 .summary = "reads everything and reports what does not agree",
	 .usage = "DIR",
	 .options = zdb_check_options,
	 .main = zdb_verb_check,
	 .exit_usage = EXIT_USAGE},
	{.name = "dump",
	 .summary = "prints all index entries of a stopped server's directories",
	 .usage = "DIR",
	 .options = zdb_dump_options,
	 .main = zdb_verb_dump,
	 .exit_usage = EXIT_USAGE},
	{.name = "compact",
	 .summary = "gives back the space of closed segments that nobody can reach any more",
	 .usage = "[DIR]",
	 .options = zdb_compact_options,
	 .main = zdb_verb_compact,
	 .exit_usage = EXIT_USAGE},
	{.name = NULL},
};

void zdb_engine_options(const struct zdb_conf *conf, struct zdb_options *out)
{
	*out = (struct zdb_options){
		.data_root = conf->data,
		.index_root = conf->index,
		.mode = (enum zdb_mode)conf->mode,
		.datasize = (uint32_t)conf->datasize,
		.secure = conf->secure,
	};
}

static enum zdbd_fsync fsync_policy(const struct zdb_conf *conf)
{
	static const enum zdbd_fsync policies[] = {ZDBD_FSYNC_NO, ZDBD_FSYNC_EVERYSEC, ZDBD_FSYNC_ALWAYS};

	return conf->sync ? ZDBD_FSYNC_ALWAYS : policies[conf->fsync];
}

void zdb_server_options(const struct zdb_conf *conf, const char *password, struct zdbd_options *out)
{
	*out = (struct zdbd_options){
		.data_root = conf->data,
		.index_root = conf->index,
		.mode = (enum zdb_mode)conf->mode,
		.datasize = (uint32_t)conf->datasize,
		.listen = conf->socket && !conf->dualnet ? NULL : conf->listen,
		.port = (uint16_t)conf->port,
		.socket_path = conf->socket,
		.admin = password,
		.protect = conf->protect,
		.maxsize = (uint64_t)conf->maxsize,
		.fsync = fsync_policy(conf),
		.fsync_interval_ms = (uint64_t)conf->synctime_s * 1000,
		.rotate_ms = (uint64_t)conf->rotate_s * 1000,
		.hook = conf->hook,
		.hook_limit_ms = conf->hook_limit_ms,
		.missing_limit_ms = conf->missing_limit_ms,
		.init_limit_ms = conf->init_limit_ms,
		.hook_grace_ms = conf->hook_grace_ms,
		.spool_dir = conf->spool,
		.temps = (const char *const *)conf->temps.items,
		.temps_count = conf->temps.count,
		.clients_max = (unsigned)conf->clients,
		.prefix_commands = conf->prefix_commands,
	};
}

/* ------------------------------------------------------------------------------------------------------- start */

/* A dead mount of ours under our own files would wait for ourselves. */
static bool paths_are_usable(const struct zdb_conf *conf)
{
	const char *const paths[] = {conf->data,  conf->index,   conf->socket,
				     conf->spool, conf->logfile, conf->admin_file};
	size_t i;

	for (i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		if (!paths[i] || file_is_on_our_mount(paths[i]) != 1)
			continue;
		fprintf(stderr, "zdb: cannot use %s: it lies on a mounted volume of ours\n", paths[i]);
		return false;
	}
	return true;
}

/* No client could give another one, and then nobody would be admin. */
static bool password_fits(const char *password, const char *from)
{
	size_t len = strlen(password);

	if (len > 0 && len <= ZDB_PASSWORD_MAX)
		return true;
	fprintf(stderr, "zdb: the admin password from %s must have 1 to %u bytes, not %zu\n", from,
		ZDB_PASSWORD_MAX, len);
	return false;
}

char *zdb_read_password(const char *path)
{
	char *text;
	size_t len, first;
	int err = file_read_secret(path, PASSWORD_FILE_MAX, &text, &len);

	if (err) {
		fprintf(stderr, "zdb: cannot read the admin password from %s: %s\n", path,
			err == -EPERM ? "it must be a file of ours with mode 0600" : err_str(err));
		return NULL;
	}
	first = strcspn(text, "\r\n");
	mem_wipe(text + first, len - first); /* whoever frees it wipes the first line only */
	if (!password_fits(text, path)) {
		mem_free_wiped(text, first);
		text = NULL;
	}
	return text;
}

/* ps shows the arguments to everybody: the option's value, which lies among them, is overwritten. */
static char *take_password(const char *value)
{
	char *copy = mem_strdup(value);
	char *shown;

	memcpy(&shown, &value, sizeof(shown)); /* the memory is argv's, which we may change */
	memset(shown, '*', strlen(shown));
	return copy;
}

static int print_version(void)
{
	printf("0-db compatible store, qsfs zdb v%s\n", QSFS_VERSION);
	printf("data format version %u\n", ZDB_DATA_VERSION);
	printf("index format version %u\n", ZDB_INDEX_VERSION);
	return 0;
}

static bool any_given(const struct opt_args *args)
{
	size_t i;

	for (i = 0; i < sizeof(args->given) / sizeof(args->given[0]); i++)
		if (args->given[i])
			return true;
	return false;
}

/* A verb has options of its own: those of the server would be left unseen, --recover or --data as well. */
static int run_verb(const struct applet *self, struct zdb_conf *conf, const struct opt_args *args)
{
	const struct verb *verb = applet_find_verb(self, args->argv[0]);

	if (verb && any_given(args))
		return zdb_misused(self, verb,
				   "options of the server stand before the verb: its own go behind it");
	return applet_run_verb(self, conf, args->argc, args->argv);
}

static int zdb_main(const struct applet *self, int argc, char **argv)
{
	struct zdb_conf conf = {.mode = ZDB_MIXED};
	struct opt_args args;
	char *password = NULL;
	size_t secret_len = 0;
	int code;

	if (!opt_parse_applet(self, &conf, argc, argv, &args, &code))
		return code;
	if (conf.version) {
		code = print_version();
		goto out;
	}
	if (args.argc > 0) {
		code = run_verb(self, &conf, &args);
		goto out;
	}
	code = ZDB_EXIT_FAILED;
	if (!paths_are_usable(&conf))
		goto out;
	if (conf.admin_file)
		password = zdb_read_password(conf.admin_file);
	else if (conf.admin)
		password = take_password(conf.admin);
	if ((conf.admin || conf.admin_file) && !password)
		goto out;
	secret_len = password ? strlen(password) : 0;
	if (password && !password_fits(password, "--admin"))
		goto out;
	if (conf.protect && !password) {
		fprintf(stderr, "zdb: --protect needs --admin or --admin-file\n");
		goto out;
	}
	log_init("zdb", LOG_DAEMON, conf.verbose ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO);
	if (conf.recover)
		code = zdb_recover_all(&conf);
	else if (conf.dump)
		code = zdb_dump_all(&conf, password);
	else
		code = zdb_serve(&conf, password);
out:
	if (password)
		mem_free_wiped(password, secret_len);
	opt_list_release(&conf.temps);
	return code;
}

APPLET_REGISTER(zdb) = {
	.name = "zdb",
	.summary = "append-only key-value store that speaks the redis protocol",
	.usage = "[VERB]",
	.main = zdb_main,
	.options = zdb_options,
	.verbs = zdb_verbs,
	.opt_flags = OPT_SINGLE_DASH,
	.exit_usage = ZDB_EXIT_FAILED,
	.man = "## EXAMPLES\n"
	       "A store on a unix socket, durable before it answers:\n\n"
	       "    zdb --socket /run/zdb.sock --data /srv/data --index /srv/index --fsync always\n\n"
	       "Is it there?\n\n"
	       "    zdb ping -s /run/zdb.sock\n\n"
	       "Give back the space of what was deleted and overwritten, while it serves; keep versions of "
	       "the "
	       "last month:\n\n"
	       "    zdb compact -s /run/zdb.sock --keep-history 30d\n\n"
	       "Of a server with --spool, one of a volume, sequential namespaces are compacted, without "
	       "history, and as far as "
	       "recovery points name their segments; zstor stores the new ones.\n\n"
	       "The same of a server that is stopped:\n\n"
	       "    zdb compact /srv\n\n"
	       "## SIGNALS\n"
	       "SIGTERM, SIGINT: clean stop. The hook close runs, everything is made durable, the hooks "
	       "namespace-closing run and are waited "
	       "for within --hook-grace; then the exit code is 128 + the signal's number.\n\n"
	       "SIGHUP: opens --logfile anew.\n\n"
	       "SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, when there is a hook program: the hooks crash and "
	       "namespace-closing are started, the exit code is 128 + the signal's number, and the next "
	       "start "
	       "recovers.\n\n"
	       "## EXIT STATUS\n"
	       "0 done (--version, --dump, --recover, background), 1 failed, 143 or 130 stopped by SIGTERM "
	       "or SIGINT.\n\n"
	       "The verbs: 0 done, 1 failed, 2 wrong usage, and besides:\n\n"
	       "zdb check: 1 also when something is lost, 4 something is to be repaired and nothing is "
	       "lost.\n\n"
	       "zdb check, dump, compact on directories: 5 a server holds them, 7 there is no store.\n\n"
	       "zdb dump: 3 some namespaces could not be read and are named on stderr.\n\n"
	       "zdb compact: 3 some files or namespaces were refused and are named on stderr, 6 password "
	       "missing or refused, 7 also when there is no such namespace.\n",
};
