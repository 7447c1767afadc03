/*
 * zdbfs: the applet: options as the original has them, the start, and fsck.
 *
 * Options come as -o name=value, also several with commas; what is not ours goes to libfuse, which refuses what it does not
 * know either. The first line on standard output is what deployment tools look for.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "applets/zdbfs/fsck.h"
#include "applets/zdbfs/kv_mem.h"
#include "applets/zdbfs/kv_remote.h"
#include "applets/zdbfs/mount.h"
#include "core/base/applet.h"
#include "core/base/file.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/str.h"

#define UPSTREAM_VERSION "0.1.11"
#define FUSE_ARGS_MAX    64
#define PR_IO_FLUSHER    57 /* PR_SET_IO_FLUSHER, since Linux 5.6 */

/* Everything that -o can say to us. */
struct zdbfs_conf {
	const char *host, *unix_path;
	const char *mh, *mu, *dh, *du, *th, *tu;
	int64_t port, mp, dp, tp;
	const char *mn, *dn, *tn;
	const char *ms, *ds, *ts;
	const char *password_file;
	uint64_t size, cachesize;
	bool nocache, autons, background, new_volume;
	const char *logfile, *ctl, *kv;
	uint64_t flush_interval_ms, timeout_ms, stop_ms;
	int fsync_mode;
	bool enforce_size, no_writeback;
	bool auto_unmount, allow_other, ro, rw;
	int64_t ready_fd, dirty_mib, cache_mib;
};

enum { FSYNC_AUTO, FSYNC_STRICT };
static const char *const fsync_words[] = {"auto", "strict", NULL};

#define T struct zdbfs_conf
static const struct opt mount_options[] = {
	OPT_STR(T, host, 0, "host", "HOST", NULL, "server of all three namespaces"),
	OPT_INT(T, port, 0, "port", "PORT", "0", 0, 65535, "its TCP port"),
	OPT_STR(T, unix_path, 0, "unix", "PATH", NULL, "its unix socket, instead of host and port"),
	OPT_STR(T, mh, 0, "mh", "HOST", NULL, "server of the meta namespace"),
	OPT_INT(T, mp, 0, "mp", "PORT", "0", 0, 65535, "its TCP port"),
	OPT_STR(T, mu, 0, "mu", "PATH", NULL, "its unix socket"),
	OPT_STR(T, dh, 0, "dh", "HOST", NULL, "server of the data namespace"),
	OPT_INT(T, dp, 0, "dp", "PORT", "0", 0, 65535, "its TCP port"),
	OPT_STR(T, du, 0, "du", "PATH", NULL, "its unix socket"),
	OPT_STR(T, th, 0, "th", "HOST", NULL, "server of the temp namespace"),
	OPT_INT(T, tp, 0, "tp", "PORT", "0", 0, 65535, "its TCP port"),
	OPT_STR(T, tu, 0, "tu", "PATH", NULL, "its unix socket"),
	OPT_STR(T, mn, 0, "mn", "NAME", "zdbfs-meta", "name of the meta namespace"),
	OPT_STR(T, dn, 0, "dn", "NAME", "zdbfs-data", "name of the data namespace"),
	OPT_STR(T, tn, 0, "tn", "NAME", "zdbfs-temp", "name of the temp namespace"),
	OPT_STR(T, ms, 0, "ms", "PASSWORD", NULL, "password of the meta namespace (better: pwfile)"),
	OPT_STR(T, ds, 0, "ds", "PASSWORD", NULL, "password of the data namespace"),
	OPT_STR(T, ts, 0, "ts", "PASSWORD", "hello", "password of the temp namespace"),
	OPT_STR(T, password_file, 0, "pwfile", "FILE", NULL,
		"file (mode 0600) with lines ms=..., ds=..., ts=..."),
	OPT_SIZE(T, size, 0, "size", "BYTES", "10737418240", 1, 0, "size of the volume that df shows"),
	OPT_SIZE(T, cachesize, 0, "cachesize", "BLOCKS", "32", 0, 0,
		 "accepted; the cache is bounded by memory (cache=), not per file"),
	OPT_FLAG(T, nocache, 0, "nocache", "every change is stored at once; for debugging"),
	OPT_FLAG(T, autons, 0, "autons", "makes the namespaces that are missing"),
	OPT_FLAG(T, background, 0, "background", "goes on in the background once mounted"),
	OPT_STR(T, logfile, 0, "logfile", "FILE", NULL, "messages go there"),
	OPT_STR(T, ctl, 0, "ctl", "PATH", NULL, "control socket: flush, status"),
	OPT_MS(T, flush_interval_ms, 0, "flush_interval", "TIME", "5s", 50, 3600000,
	       "nothing stays unstored longer"),
	OPT_CHOICE(T, fsync_mode, 0, "fsync", "auto|strict", "auto", fsync_words,
		   "strict refuses a server whose SYNC does not reach the disk"),
	OPT_MS(T, timeout_ms, 0, "timeout", "TIME", "90s", 1000, 0,
	       "how long a request waits for a server that does not answer before it fails"),
	OPT_MS(T, stop_ms, 0, "stop_timeout", "TIME", "10s", 0, 0,
	       "how long a stop waits for those who hold the mount"),
	OPT_FLAG(T, enforce_size, 0, "enforce_size", "writing beyond size= is refused"),
	OPT_FLAG(T, no_writeback, 0, "no_writeback", "the kernel hands over every write at once"),
	OPT_FLAG(T, new_volume, 0, "new",
		 "accepted; an empty pair of namespaces becomes a volume in any case", .flags = OPT_HIDDEN),
	OPT_INT(T, dirty_mib, 0, "dirty", "MIB", "0", 0, 65536,
		"blocks that may wait to be stored; 0 = by memory"),
	OPT_INT(T, cache_mib, 0, "cache", "MIB", "0", 0, 1048576, "blocks in memory; 0 = by memory"),
	OPT_FLAG(T, auto_unmount, 0, "auto_unmount", "unmounts even if this program is killed"),
	OPT_FLAG(T, allow_other, 0, "allow_other", "others than root may enter; permissions are checked"),
	OPT_FLAG(T, ro, 0, "ro", "read-only"),
	OPT_FLAG(T, rw, 0, "rw", "accepted"),
	OPT_INT(T, ready_fd, 0, "ready_fd", "FD", "-1", -1, 1023,
		"descriptor that gets a newline when mounted"),
	OPT_STR(T, kv, 0, "kv", "memory", NULL, "a volume in memory, gone at the end", .flags = OPT_HIDDEN),
	OPT_END,
};
#undef T

/* The command line proper. */
struct zdbfs_args {
	struct opt_list o;
	bool foreground, debug, single, version, help, fsck;
};

static const struct opt zdbfs_options[] = {
	OPT_LIST(struct zdbfs_args, o, 'o', NULL, "NAME[=VALUE],...",
		 "options of the mount, see MOUNT OPTIONS; others go to libfuse"),
	OPT_FLAG(struct zdbfs_args, foreground, 'f', NULL, "accepted: the foreground is the default"),
	OPT_FLAG(struct zdbfs_args, single, 's', NULL, "accepted, has no effect"),
	OPT_FLAG(struct zdbfs_args, debug, 'd', "debug", "shows every request"),
	OPT_FLAG(struct zdbfs_args, version, 'V', "version", "prints the versions"),
	OPT_FLAG(struct zdbfs_args, fsck, 0, "fsck", "checks the volume instead of mounting it"),
	OPT_FLAG(struct zdbfs_args, help, 'h', "help", "prints this text"),
	OPT_END,
};

static const struct opt_spec mount_spec = {
	.who = "zdbfs -o", .options = mount_options, .exit_usage = EXIT_FAILED};

/* -------------------------------------------------------------------------------------------------- options */

struct start {
	struct zdbfs_conf conf;
	struct zdbfs_args args;
	struct opt_list unknown;
	char *text;      /* what the values point into */
	char *passwords; /* of pwfile */
};

/* All -o texts as one list, because defaults are stored at the beginning of each parse. */
static int parse_mount_options(struct start *s)
{
	struct buf all = BUF_INIT(65536);
	int code = EXIT_DONE, rc = 0;

	for (size_t n = 0; n < s->args.o.count && !rc; n++)
		rc = buf_append_fmt(&all, "%s%s", n ? "," : "", s->args.o.items[n]);
	s->text = rc ? NULL : buf_detach(&all, NULL);
	buf_release(&all);
	if (!s->text) {
		log_err("cannot read the options: too long");
		return EXIT_FAILED;
	}
	return opt_parse_words(&mount_spec, &s->conf, s->text, ',', &s->unknown, &code) ? EXIT_DONE : code;
}

static int read_passwords(struct start *s)
{
	struct zdbfs_conf *c = &s->conf;
	char *cursor, *line;
	int rc;

	if (!c->password_file)
		return EXIT_DONE;
	rc = file_read_secret(c->password_file, 4096, &s->passwords, NULL);
	if (rc) {
		log_err("cannot read %s: %s", c->password_file, err_str(rc));
		return EXIT_KEY;
	}
	cursor = s->passwords;
	while ((line = str_next(&cursor, '\n'))) {
		if (str_starts(line, "ms="))
			c->ms = line + 3;
		else if (str_starts(line, "ds="))
			c->ds = line + 3;
		else if (str_starts(line, "ts="))
			c->ts = line + 3;
	}
	return EXIT_DONE;
}

static int set_addr(struct client_addr *a, const struct zdbfs_conf *c, const char *host, int64_t port,
		    const char *path, const char *ns, const char *password)
{
	const char *h = host ? host : c->host ? c->host : "localhost";
	int64_t p = port ? port : c->port ? c->port : 9900;
	/* A path of the role wins over all, then its host or port, then the common path, then the common host. */
	const char *u = path ? path : host || port ? NULL : c->unix_path;
	int rc = 0;

	memset(a, 0, sizeof(*a));
	if (u)
		rc = str_copy(a->unix_path, sizeof(a->unix_path), u);
	else
		rc = str_copy(a->host, sizeof(a->host), h);
	a->port = (uint16_t)p;
	if (!rc)
		rc = str_copy(a->ns, sizeof(a->ns), ns);
	if (!rc && password)
		rc = str_copy(a->password, sizeof(a->password), password);
	if (rc)
		log_err("cannot use an address: a host, path, name or password is too long");
	return rc;
}

static int exit_code_of(int rc)
{
	switch (rc) {
	case -E_KEY:
		return EXIT_KEY;
	case -E_CORRUPT:
	case -E_VERSION:
	case -ENODATA:
	case -ENOENT:
	case -EPROTO:
		return EXIT_NOT_FOUND;
	case -ECONNREFUSED:
	case -ETIMEDOUT:
	case -EHOSTUNREACH:
	case -ENETUNREACH:
	case -ECONNRESET:
	case -EPIPE:
		return EXIT_AGAIN;
	default:
		return EXIT_FAILED;
	}
}

/* A store whose files lie on a mount of ours could wait for itself. */
static int check_path(const char *path, const char *what)
{
	if (!path || file_is_on_our_mount(path) != 1)
		return 0;
	log_err("cannot use %s %s: it lies on a mounted volume", what, path);
	return -EINVAL;
}

static int open_store(const struct zdbfs_conf *c, struct kv **kv)
{
	struct kv_remote_options r = {
		.temp_password = c->ts, .timeout_ms = c->timeout_ms, .make_namespaces = c->autons};
	struct err_text err;
	int rc;

	if (c->kv) {
		*kv = kv_mem_new(false);
		return *kv ? EXIT_DONE : EXIT_FAILED;
	}
	if (set_addr(&r.addr[KV_META], c, c->mh, c->mp, c->mu, c->mn, c->ms) ||
	    set_addr(&r.addr[KV_DATA], c, c->dh, c->dp, c->du, c->dn, c->ds) ||
	    set_addr(&r.addr[KV_TEMP], c, c->th, c->tp, c->tu, c->tn, c->ts))
		return EXIT_FAILED;
	for (int role = 0; role < KV_ROLES; role++)
		if (check_path(r.addr[role].unix_path[0] ? r.addr[role].unix_path : NULL, "the socket"))
			return EXIT_FAILED;
	rc = kv_remote_new(kv, &r, &err);
	/* a unix socket that is not there is a server that is not there */
	if (rc == -ENOENT && r.addr[KV_META].unix_path[0] && access(r.addr[KV_META].unix_path, F_OK) != 0)
		rc = -ECONNREFUSED;
	mem_wipe(&r, sizeof(r));
	if (rc)
		log_err("%s", err.text);
	return rc ? exit_code_of(rc) : EXIT_DONE;
}

/* -------------------------------------------------------------------------------------------------- starting */

/* Write-back of our own pages must never wait for us; the last to be killed when memory is short. */
static void be_a_flusher(void)
{
	int fd;

	if (prctl(PR_IO_FLUSHER, 1, 0, 0, 0) != 0)
		log_warn("cannot become an I/O flusher (%s): under memory pressure the mount may hang",
			 strerror(errno));
	fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if (fd >= 0) {
		ssize_t n = write(fd, "-900", 4);

		(void)n; /* refused in some containers */
		close(fd);
	}
}

/* Everything but the mount's own options, for libfuse. */
static int fuse_arguments(const struct start *s, char **argv, char *storage, size_t size)
{
	int argc = 0;
	size_t used = 0;
	bool has_subtype = false, has_fsname = false;

	argv[argc++] = (char *)(uintptr_t) "zdbfs";
	for (size_t n = 0; n < s->unknown.count && argc < FUSE_ARGS_MAX - 12; n++) {
		has_subtype |= str_starts(s->unknown.items[n], "subtype=");
		has_fsname |= str_starts(s->unknown.items[n], "fsname=");
		argv[argc++] = (char *)(uintptr_t) "-o";
		argv[argc++] = (char *)(uintptr_t)s->unknown.items[n];
	}
	used = (size_t)snprintf(storage, size, "%s%s%s%s", has_subtype ? "" : "subtype=zdbfs,",
				has_fsname ? "" : "fsname=zdbfs,",
				s->conf.allow_other ? "allow_other,default_permissions," : "",
				s->conf.ro ? "ro," : "");
	if (used && used < size) {
		storage[used - 1] = 0; /* the last comma */
		argv[argc++] = (char *)(uintptr_t) "-o";
		argv[argc++] = storage;
	}
	if (s->args.debug)
		argv[argc++] = (char *)(uintptr_t) "-d";
	argv[argc] = NULL;
	return argc;
}

/* background: the child goes on, the parent tells its caller how it went. Returns in the child only. */
static int detach(int *ready_fd)
{
	int fds[2];
	pid_t pid;
	char code;

	if (pipe2(fds, O_CLOEXEC) != 0 || (pid = fork()) < 0) {
		log_err("cannot go to the background: %s", strerror(errno));
		return EXIT_FAILED;
	}
	if (pid) {
		close(fds[1]);
		if (read(fds[0], &code, 1) != 1)
			code = EXIT_FAILED;
		_exit(code);
	}
	close(fds[0]);
	(void)setsid();
	*ready_fd = fds[1];
	return EXIT_DONE;
}

static void tell_parent(int fd, int code)
{
	char c = (char)code;
	ssize_t n;

	if (fd < 0)
		return;
	n = write(fd, &c, 1);
	(void)n; /* nobody waits any more */
	close(fd);
}

static void go_quiet(struct mount *m)
{
	int null;

	if (m->background_fd < 0)
		return;
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (chdir("/") != 0)
		log_warn("cannot leave the directory: %s", strerror(errno));
	if (null >= 0) {
		(void)dup2(null, 0);
		(void)dup2(null, 1);
		(void)dup2(null, 2);
		close(null);
	}
	tell_parent(m->background_fd, EXIT_DONE);
	m->background_fd = -1;
}

static int open_volume(struct start *s, struct mount *m)
{
	const struct zdbfs_conf *c = &s->conf;
	struct fs_options o = {
		.size_bytes = c->size,
		.dirty_max = (size_t)c->dirty_mib << 20,
		.cache_max = (size_t)c->cache_mib << 20,
		.interval_ms = c->nocache ? 50 : c->flush_interval_ms,
		.is_read_only = c->ro,
		.may_create = true,
		.strict_sync = c->fsync_mode == FSYNC_STRICT,
		.enforce_size = c->enforce_size,
	};
	struct err_text err;
	int rc = fs_open(&m->fs, m->kv, &o, &err);

	if (rc) {
		log_err("%s", err.text);
		return exit_code_of(rc);
	}
	return EXIT_DONE;
}

static int serve(struct start *s, struct mount *m, int signal_fd)
{
	char *argv[FUSE_ARGS_MAX], storage[256];
	struct err_text err;
	struct fs_stats st;
	int argc, code;

	code = open_store(&s->conf, &m->kv);
	if (code)
		return code;
	m->remote = !s->conf.kv;
	code = open_volume(s, m);
	if (!code) {
		fs_stats_get(m->fs, &st);
		m->opt.is_read_only = st.is_read_only;
		s->conf.ro = st.is_read_only;
		argc = fuse_arguments(s, argv, storage, sizeof(storage));
		printf("[+] cache: blocksize %u KB, in memory up to %llu KB\n", 128u,
		       (unsigned long long)st.cache_max / 1024);
		printf("[+] virtual size: %.2f GB\n", (double)s->conf.size / 1073741824.0);
		(void)fflush(stdout);
		code = mount_run(m, signal_fd, argc, argv);
	} else if (m->fs) {
		(void)fs_close(m->fs, &err);
	}
	kv_stop(m->kv);
	kv_free(m->kv);
	return code;
}

static int mount_volume(struct start *s, const char *mountpoint)
{
	char absolute[PATH_MAX];
	struct mount m = {.guard_fd = -1,
			  .background_fd = -1,
			  .on_ready = go_quiet,
			  .opt = {.ctl_path = s->conf.ctl,
				  .stop_ms = s->conf.stop_ms,
				  .interval_ms = s->conf.nocache ? 50 : s->conf.flush_interval_ms,
				  .is_read_only = s->conf.ro,
				  .no_writeback = s->conf.no_writeback || s->conf.nocache,
				  .ready_fd = (int)s->conf.ready_fd}};
	int code = mount_check_point(mountpoint, absolute, sizeof(absolute)), signal_fd;

	if (code)
		return code;
	if (check_path(s->conf.ctl, "the control socket") || check_path(s->conf.logfile, "the log file"))
		return EXIT_FAILED;
	if (s->conf.background) {
		code = detach(&m.background_fd);
		if (code)
			return code;
	}
	m.opt.mountpoint = absolute;
	if (s->conf.auto_unmount) {
		m.guard_fd = guard_start(absolute);
		if (m.guard_fd < 0)
			log_warn("cannot start the guard: %s: a crash would leave a dead mount",
				 err_str(m.guard_fd));
	}
	be_a_flusher();
	signal_fd = mount_signals();
	code = serve(s, &m, signal_fd);
	guard_dismiss(m.guard_fd);
	tell_parent(m.background_fd, code);
	close(signal_fd);
	return code;
}

/* ---------------------------------------------------------------------------------------------------- fsck */

static void say_error(void *ctx, const char *line)
{
	(void)ctx;
	printf("%s\n", line);
}

static int check_volume(struct start *s)
{
	struct fsck_options o = {.find_leaks = true, .read_blocks = true, .say = say_error};
	struct fsck_result r;
	struct err_text err;
	struct kv *kv;
	int code = open_store(&s->conf, &kv), rc;

	if (code)
		return code;
	rc = fsck_run(kv, &o, &r, &err);
	if (rc) {
		log_err("%s", err.text);
		code = EXIT_FAILED;
	} else {
		printf("%llu directories, %llu files, %llu links, %llu others, %llu names, %llu blocks with "
		       "%llu bytes\n",
		       (unsigned long long)r.dirs, (unsigned long long)r.files, (unsigned long long)r.links,
		       (unsigned long long)r.others, (unsigned long long)r.names,
		       (unsigned long long)r.blocks, (unsigned long long)r.block_bytes);
		printf("%llu of 4294967296 block numbers spent, %llu numbers of records\n",
		       (unsigned long long)r.next_data, (unsigned long long)r.next_meta);
		printf("%llu errors, %llu records and %llu blocks without owner, %s left\n",
		       (unsigned long long)r.errors, (unsigned long long)r.leaked_meta,
		       (unsigned long long)r.leaked_data, r.was_clean ? "cleanly" : "not cleanly");
		code = r.errors ? EXIT_FAILED : EXIT_DONE;
	}
	kv_stop(kv);
	kv_free(kv);
	return code;
}

/* ---------------------------------------------------------------------------------------------------- main */

static void release(struct start *s)
{
	opt_list_release(&s->args.o);
	opt_list_release(&s->unknown);
	mem_free(s->text);
	mem_free_wiped(s->passwords, s->passwords ? strlen(s->passwords) : 0);
}

static int help(const struct applet *self)
{
	struct opt_spec spec = mount_spec;

	applet_print_help(self, stdout);
	spec.summary = "mount options";
	opt_print_help(&spec, stdout);
	return EXIT_FAILED; /* as the original */
}

static int zdbfs_main(const struct applet *self, int argc, char **argv)
{
	struct start *s = xmem_calloc(1, sizeof(*s));
	struct opt_args args;
	int code;

	printf("\033[36m[+] initializing zdbfs v" UPSTREAM_VERSION "\033[0m\n");
	(void)fflush(stdout);
	log_init("zdbfs", LOG_CLI, LOG_LEVEL_INFO);
	if (!opt_parse_applet(self, &s->args, argc, argv, &args, &code))
		goto out;
	if (s->args.version) {
		printf("FUSE library version %s\n", fuse_pkgversion());
		fuse_lowlevel_version();
		code = EXIT_FAILED; /* as the original */
		goto out;
	}
	code = EXIT_FAILED;
	if (s->args.help || args.argc != !s->args.fsck) {
		code = help(self);
		goto out;
	}
	code = parse_mount_options(s);
	if (!code)
		code = read_passwords(s);
	if (code)
		goto out;
	if (s->conf.logfile && log_file_open(s->conf.logfile))
		log_warn("cannot open %s: messages go to standard error", s->conf.logfile);
	code = s->args.fsck ? check_volume(s) : mount_volume(s, args.argv[0]);
out:
	release(s);
	mem_free(s);
	return code;
}

APPLET_REGISTER(zdbfs) = {
	.name = "zdbfs",
	.aliases = "zdb-fs",
	.summary = "file system whose inodes and blocks lie in zdb",
	.usage = "MOUNTPOINT",
	.main = zdbfs_main,
	.options = zdbfs_options,
	.opt_flags = OPT_NO_HELP,
	.exit_usage = EXIT_FAILED,
	.man = "## FSCK\n"
	       "zdbfs --fsck -o OPTIONS checks an unmounted volume record by record and says what it "
	       "finds.\n\n"
	       "## EXIT STATUS\n"
	       "0 after a clean stop; 1 for failures and wrong usage; 5 when the mount point is in use by a "
	       "zdbfs; "
	       "6 for a wrong or missing password; 7 when there is no volume of this kind; 75 when a server "
	       "cannot "
	       "be reached.\n",
};
