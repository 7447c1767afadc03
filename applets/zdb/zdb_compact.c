/*
 * zdb_compact: the verb. Directories that nobody serves are compacted here; a running server is asked to do it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "applets/zdb/zdb_app.h"
#include "core/base/file.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/spool/where.h"

#define NAMESPACES_MAX 65536

struct compact_conf {
	const char *data, *index, *ns, *socket, *host, *admin_file;
	uint64_t keep_s, timeout_ms;
	int64_t threshold, port;
	bool quiet;
};

static int set_keep(const struct opt *o, void *target, const char *value, const char **why)
{
	struct compact_conf *conf = target;
	uint64_t ms;

	(void)o;
	if (str_eq(value, "none")) {
		conf->keep_s = ZDB_KEEP_NONE;
	} else if (str_eq(value, "all")) {
		conf->keep_s = ZDB_KEEP_ALL;
	} else if (str_parse_duration(value, &ms) == 0 && ms >= 1000) {
		conf->keep_s = ms / 1000;
	} else {
		*why = "expected a duration of at least one second (30d), all or none";
		return -1;
	}
	return 0;
}

const struct opt zdb_compact_options[] = {
	OPT_STR(struct compact_conf, data, 0, "data", "DIR", NULL,
		"directory of the data files; DIR/data when not given"),
	OPT_STR(struct compact_conf, index, 0, "index", "DIR", NULL,
		"directory of the index files; DIR/index when not given"),
	OPT_STR(struct compact_conf, ns, 'n', "namespace", "NAME", NULL, "only this one; all when not given"),
	OPT_CALL(0, "keep-history", "TIME|all|none", set_keep,
		 "keeps older versions that were written within this time; none when not given"),
	OPT_INT(struct compact_conf, threshold, 0, "threshold", "PERCENT", "20", 0, 100,
		"leaves files alone of which less than this can be given back"),
	OPT_STR(struct compact_conf, socket, 's', "socket", "PATH", NULL,
		"asks the server that listens there"),
	OPT_INT(struct compact_conf, port, 'p', "port", "PORT", NULL, 1, 65535,
		"asks the server on this TCP port"),
	OPT_STR(struct compact_conf, host, 0, "host", "HOST", "127.0.0.1", "with --port: its address"),
	OPT_STR(struct compact_conf, admin_file, 0, "admin-file", "FILE", NULL,
		"file (mode 0600) that holds the server's admin password"),
	OPT_MS(struct compact_conf, timeout_ms, 't', "timeout", "TIME", "24h", 1000, INT32_MAX,
	       "how long to wait for the server, per namespace"),
	OPT_FLAG(struct compact_conf, quiet, 'q', "quiet", "prints no figures"),
	OPT_END,
};

/* ------------------------------------------------------------------------------------------------------- results */

/* What one run came to; the exit code follows from it. */
struct outcome {
	const struct compact_conf *conf;
	unsigned done, refused; /* namespaces; files and namespaces */
	uint64_t before, after;
};

static void add_figures(struct outcome *o, const char *ns, const struct zdb_compact_figures *f)
{
	o->done++;
	o->refused += f->refused;
	o->before += f->bytes_before;
	o->after += f->bytes_after;
	if (o->conf->quiet)
		return;
	printf("%s: %u of %u closed files rewritten, %llu -> %llu bytes, %llu records dropped", ns,
	       f->rewritten, f->files, (unsigned long long)f->bytes_before,
	       (unsigned long long)f->bytes_after, (unsigned long long)f->dropped);
	if (f->absent)
		printf(", %u files are not here", f->absent);
	if (f->refused)
		printf(", %u files refused", f->refused);
	if (f->left)
		printf(", %u files left for the next time", f->left);
	putchar('\n');
}

static void refuse_ns(struct outcome *o, const char *ns, const char *why)
{
	o->refused++;
	fprintf(stderr, "zdb: namespace %s is not compacted: %s\n", ns, why);
}

/* `err` ended the run: -EACCES the password, -ENOENT the namespace. */
static int exit_code(const struct outcome *o, int err)
{
	if (err == -EACCES)
		return EXIT_KEY;
	if (err == -ENOENT)
		return EXIT_NOT_FOUND;
	if (err)
		return EXIT_FAILED;
	if (o->refused == 0)
		return EXIT_DONE;
	return o->done ? EXIT_PARTLY : EXIT_FAILED;
}

/* ------------------------------------------------------------------------------------------------------- offline */

static void refused_file(void *ctx, int level, const char *ns, const char *text)
{
	(void)ctx;
	(void)level;
	fprintf(stderr, "zdb: %s: not compacted: %s\n", ns, text);
}

static void refused_ns(void *ctx, const char *name, const char *why)
{
	refuse_ns(ctx, name, why);
}

static const char *engine_reason(int err)
{
	if (err == -EPERM)
		return "it is protected by worm mode";
	if (err == -EALREADY)
		return "a compaction of it is not on its stores yet";
	return err_str(err);
}

static void compact_one(struct outcome *o, struct zdb_ns *ns)
{
	struct zdb_compact_options opt = {.keep_s = o->conf->keep_s,
					  .now_s = (uint64_t)time(NULL),
					  .threshold = (unsigned)o->conf->threshold,
					  .fn = refused_file};
	struct zdb_compact_figures f;
	uint64_t before = 0, after = 0;
	int err = zdb_compact(ns, &opt, &f);

	if (!err)
		err = zdb_compact_index(ns, opt.threshold, &before, &after);
	if (err) {
		refuse_ns(o, zdb_ns_name(ns), engine_reason(err));
		return;
	}
	add_figures(o, zdb_ns_name(ns), &f);
	if (before > after && !o->conf->quiet)
		printf("%s: index %llu -> %llu bytes\n", zdb_ns_name(ns), (unsigned long long)before,
		       (unsigned long long)after);
}

/*
 * Whether somebody else may hold copies of the closed segments: beside the data root of a volume lie its spool and zstor's
 * state. A namespace that is never stored is nobody's concern. 1, 0, or the negative code of what cannot be told.
 */
static int is_stored(const char *data_root, const char *ns)
{
	static const char *const signs[] = {"spool", "zstor"};
	char dir[FILE_PATH_MAX], whole[FILE_PATH_MAX], path[FILE_PATH_MAX];
	size_t i;
	int rc;

	if (ns && where_is_temp(ns))
		return 0;
	rc = file_absolute(whole, sizeof(whole), data_root);
	if (!rc)
		rc = file_dirname(dir, sizeof(dir), whole);
	for (i = 0; !rc && i < sizeof(signs) / sizeof(signs[0]); i++) {
		rc = file_join(path, sizeof(path), dir, signs[i]);
		if (!rc)
			rc = file_exists(path);
	}
	return rc == -ENOTDIR ? 0 : rc; /* then there is no store either, as the opening says */
}

static int offline(const struct compact_conf *conf, const struct zdb_roots *roots)
{
	struct zdb_options zo = {
		.mode = ZDB_MIXED, .data_root = roots->data, .index_root = roots->index, .offline = true};
	struct outcome o = {.conf = conf};
	struct zdb_ns *ns = NULL;
	char why[400] = "";
	struct zdb *eng;
	int err = is_stored(roots->data, conf->ns);

	if (err < 0)
		fprintf(stderr, "zdb: cannot compact: cannot look beside %s: %s\n", roots->data,
			err_str(err));
	else if (err)
		fprintf(stderr, "zdb: %s is part of a stored volume: it is compacted while it is served\n",
			roots->data);
	if (err)
		return EXIT_FAILED;
	err = zdb_open(&eng, &zo, why, sizeof(why));
	if (err) {
		fprintf(stderr, "zdb: cannot compact: %s%s\n", why[0] ? why : err_str(err),
			err == -EBUSY ? "; give --socket or --port to ask it" : "");
		return zdb_open_exit(err);
	}
	if (!conf->ns)
		zdb_refused_each(eng, refused_ns, &o);
	while ((ns = zdb_ns_next(eng, ns)))
		if (!conf->ns || str_eq(conf->ns, zdb_ns_name(ns)))
			compact_one(&o, ns);
	err = zdb_close(eng);
	if (err) {
		fprintf(stderr, "zdb: the stop was not clean, the next start repairs it: %s\n", err_str(err));
		return EXIT_FAILED;
	}
	if (o.done == 0 && o.refused == 0) {
		fprintf(stderr, "zdb: there is no namespace %s\n", conf->ns);
		return EXIT_NOT_FOUND;
	}
	return exit_code(&o, 0);
}

/* -------------------------------------------------------------------------------------------------------- online */

static uint64_t figure(const char *text, const char *name)
{
	const char *at = strstr(text, name);

	return at ? strtoull(at + strlen(name), NULL, 10) : 0;
}

/* The server's answer that is no figures. What is the same for every namespace ends the run: its code. */
static int refused_by_server(struct outcome *o, const char *ns, const redisReply *reply)
{
	const char *text = reply->type == REDIS_REPLY_ERROR ? reply->str : "not an answer to COMPACT";

	if (str_eq(text, "Permission denied")) {
		fprintf(stderr, "zdb: the server asks for its admin password: give it with --admin-file\n");
		return -EACCES;
	}
	if (o->conf->ns && str_eq(text, "Namespace not found")) {
		fprintf(stderr, "zdb: there is no namespace %s\n", ns);
		return -ENOENT;
	}
	refuse_ns(o, ns, text);
	return 0;
}

static int ask_one(struct outcome *o, struct client *c, const char *ns)
{
	char keep[24], threshold[24];
	struct zdb_compact_figures f;
	redisReply *reply;
	int err;

	snprintf(keep, sizeof(keep), "%llu", (unsigned long long)o->conf->keep_s);
	snprintf(threshold, sizeof(threshold), "%lld", (long long)o->conf->threshold);
	err = client_words(c, &reply, "COMPACT", ns, "KEEP", o->conf->keep_s == ZDB_KEEP_ALL ? "ALL" : keep,
			   "THRESHOLD", threshold, NULL);
	if (err) {
		fprintf(stderr, "zdb: no answer: %s\n", client_error(c));
		return err;
	}
	if (reply->type == REDIS_REPLY_STRING) {
		f = (struct zdb_compact_figures){.files = (uint32_t)figure(reply->str, "files: "),
						 .rewritten = (uint32_t)figure(reply->str, "rewritten: "),
						 .refused = (uint32_t)figure(reply->str, "refused: "),
						 .absent = (uint32_t)figure(reply->str, "absent: "),
						 .left = (uint32_t)figure(reply->str, "left: "),
						 .bytes_before = figure(reply->str, "bytes_before: "),
						 .bytes_after = figure(reply->str, "bytes_after: "),
						 .dropped = figure(reply->str, "records_dropped: ")};
		add_figures(o, ns, &f);
	} else {
		err = refused_by_server(o, ns, reply);
	}
	freeReplyObject(reply);
	return err;
}

/* All namespaces of the server, one after the other. */
static int ask_all(struct outcome *o, struct client *c)
{
	redisReply *list;
	size_t i;
	int err = client_words(c, &list, "NSLIST", NULL);

	if (err || list->type != REDIS_REPLY_ARRAY) {
		fprintf(stderr, "zdb: no list of namespaces: %s\n", err ? client_error(c) : list->str);
		err = err ? err : -EPROTO;
	}
	for (i = 0; !err && i < list->elements; i++)
		err = ask_one(o, c, list->element[i]->str);
	freeReplyObject(list);
	return err;
}

static int log_in(struct client *c, const char *file)
{
	redisReply *reply;
	char *password;
	int err;

	if (!file)
		return 0;
	password = zdb_read_password(file);
	if (!password)
		return -EACCES;
	err = client_words(c, &reply, "AUTH", password, NULL);
	mem_free_wiped(password, strlen(password));
	if (!err && reply->type == REDIS_REPLY_ERROR)
		err = -EACCES;
	if (err)
		fprintf(stderr, "zdb: not logged in: %s\n", err == -EACCES ? reply->str : client_error(c));
	freeReplyObject(reply);
	return err;
}

static int online(const struct compact_conf *conf, const struct client_addr *addr)
{
	struct client_options opt = {.op_ms = (unsigned)conf->timeout_ms};
	struct outcome o = {.conf = conf};
	char why[256] = "";
	struct client *c;
	int err = client_open(&c, addr, &opt, why, sizeof(why));

	if (err) {
		fprintf(stderr, "zdb: no answer: %s\n", why);
		return EXIT_FAILED;
	}
	err = log_in(c, conf->admin_file);
	if (!err)
		err = conf->ns ? ask_one(&o, c, conf->ns) : ask_all(&o, c);
	client_close(c);
	return exit_code(&o, err);
}

int zdb_verb_compact(const struct applet *self, const struct verb *verb, void *ctx, int argc, char **argv)
{
	struct compact_conf conf = {.keep_s = ZDB_KEEP_NONE};
	bool asked; /* a server */
	struct client_addr addr;
	struct zdb_roots roots;
	struct opt_args args;
	const char *wrong;
	int code;

	(void)ctx;
	if (!opt_parse_verb(self, verb, &conf, argc, argv, &args, &code))
		return code;
	asked = conf.socket || conf.port;
	if (asked && (args.argc > 0 || conf.data || conf.index))
		wrong = "give directories or a server, not both";
	else if (asked)
		wrong = zdb_find_server(&addr, conf.socket, conf.host, conf.port);
	else
		wrong = zdb_find_roots(&roots, conf.data, conf.index, &args);
	if (wrong)
		return zdb_misused(self, verb, wrong);
	return asked ? online(&conf, &addr) : offline(&conf, &roots);
}
