/*
 * zdb_verbs: what zdb does beside serving: ping, check, dump, --dump, --recover.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "applets/zdb/zdb_app.h"
#include "core/base/file.h"
#include "core/base/log.h"
#include "core/base/str.h"
#include "core/zdb/zdb_offline.h"

int zdb_misused(const struct applet *self, const struct verb *verb, const char *what)
{
	char who[32];
	struct opt_spec spec = opt_spec_verb(self, verb, who, sizeof(who));

	return opt_usage_error(&spec, "%s", what);
}

/* ---------------------------------------------------------------------------------------------------------- ping */

struct ping_conf {
	const char *socket, *host;
	int64_t port;
	uint64_t timeout_ms;
};

const struct opt zdb_ping_options[] = {
	OPT_STR(struct ping_conf, socket, 's', "socket", "PATH", NULL, "unix socket of the server"),
	OPT_STR(struct ping_conf, host, 'h', "host", "HOST", "127.0.0.1", "its address"),
	OPT_INT(struct ping_conf, port, 'p', "port", "PORT", "9900", 1, 65535, "its port"),
	OPT_MS(struct ping_conf, timeout_ms, 't', "timeout", "TIME", "5s", 1, 3600000,
	       "how long to wait for the answer"),
	OPT_END,
};

const char *zdb_find_server(struct client_addr *addr, const char *socket, const char *host, int64_t port)
{
	*addr = (struct client_addr){.port = (uint16_t)port};
	if (str_copy(addr->host, sizeof(addr->host), host) ||
	    (socket && str_copy(addr->unix_path, sizeof(addr->unix_path), socket)))
		return "the address is too long";
	if (!addr->host[0] || (socket && !socket[0]))
		return "the address is empty";
	return NULL;
}

static int ping(const struct client_addr *addr, const struct client_options *opt)
{
	char why[256] = "";
	struct client *c;
	redisReply *reply;
	int err = client_open(&c, addr, opt, why, sizeof(why));

	if (err) {
		fprintf(stderr, "zdb: no answer: %s\n", why);
		return EXIT_FAILED;
	}
	err = client_words(c, &reply, "PING", NULL);
	if (err) {
		fprintf(stderr, "zdb: no answer: %s\n", client_error(c));
	} else if (reply->type != REDIS_REPLY_STATUS) {
		fprintf(stderr, "zdb: not the answer to PING: %s\n", reply->str ? reply->str : "");
		err = -EPROTO;
	}
	if (!err)
		puts(reply->str);
	freeReplyObject(reply);
	client_close(c);
	return err ? EXIT_FAILED : EXIT_DONE;
}

int zdb_verb_ping(const struct applet *self, const struct verb *verb, void *ctx, int argc, char **argv)
{
	struct ping_conf conf = {0};
	struct client_options opt = {0};
	struct client_addr addr;
	struct opt_args args;
	const char *wrong;
	int code;

	(void)ctx;
	if (!opt_parse_verb(self, verb, &conf, argc, argv, &args, &code))
		return code;
	opt.connect_ms = opt.op_ms = (unsigned)conf.timeout_ms;
	wrong = zdb_find_server(&addr, conf.socket, conf.host, conf.port);
	return wrong ? zdb_misused(self, verb, wrong) : ping(&addr, &opt);
}

/* --------------------------------------------------------------------------------------------------------- check */

struct check_conf {
	const char *data, *index;
	bool repair, quiet;
};

const struct opt zdb_check_options[] = {
	OPT_STR(struct check_conf, data, 0, "data", "DIR", NULL,
		"directory of the data files; DIR/data when not given"),
	OPT_STR(struct check_conf, index, 0, "index", "DIR", NULL,
		"directory of the index files; DIR/index when not given"),
	OPT_FLAG(struct check_conf, repair, 0, "repair", "repairs what can be repaired"),
	OPT_FLAG(struct check_conf, quiet, 'q', "quiet", "no notes, only what is wrong"),
	OPT_END,
};

const char *zdb_find_roots(struct zdb_roots *r, const char *data, const char *index,
			   const struct opt_args *args)
{
	const char *dir = args->argc > 0 ? args->argv[0] : NULL;
	int err = 0;

	/* An empty word, of a shell's variable that is not set, is no name of a directory: joined, it would be the root's. */
	if (args->argc > 1 || (dir ? !dir[0] || (data && index) : !data || !index))
		return "give one DIR that holds data and index, or --data and --index";
	err = data ? str_copy(r->data, sizeof(r->data), data)
		   : file_join(r->data, sizeof(r->data), dir, "data");
	if (!err)
		err = index ? str_copy(r->index, sizeof(r->index), index)
			    : file_join(r->index, sizeof(r->index), dir, "index");
	return err ? "the path is too long" : NULL;
}

int zdb_open_exit(int err)
{
	if (err == -EBUSY)
		return EXIT_LOCKED;
	return err == -ENOENT || err == -ENOTDIR ? EXIT_NOT_FOUND : EXIT_FAILED;
}

struct findings {
	const char *what; /* cannot be done, where something cannot be looked at */
	bool quiet;
	unsigned count[4];
};

static void print_finding(void *ctx, int level, const char *ns, const char *text)
{
	static const char *const words[] = {"note", "repairable", "lost"};
	struct findings *f = ctx;

	f->count[level]++;
	if (level == ZDB_FINDING_NONE)
		fprintf(stderr, "zdb: cannot %s: %s\n", f->what, text);
	else if (level > 0 || !f->quiet)
		printf("%s: %s: %s\n", words[level], ns, text);
}

static int check_result(int rc, const struct findings *f)
{
	if (rc < 0 && f->count[ZDB_FINDING_NONE] == 0)
		fprintf(stderr, "zdb: cannot %s: %s\n", f->what, err_str(rc));
	if (rc < 0)
		return zdb_open_exit(rc);
	if (!f->quiet)
		printf("%u notes, %u repairable, %u lost\n", f->count[0], f->count[1], f->count[2]);
	if (f->count[2] > 0)
		return EXIT_FAILED;
	return EXIT_DONE;
}

int zdb_verb_check(const struct applet *self, const struct verb *verb, void *ctx, int argc, char **argv)
{
	struct check_conf conf = {0};
	struct findings f = {0};
	struct zdb_options zo = {.mode = ZDB_MIXED};
	struct opt_args args;
	struct zdb_roots roots;
	const char *wrong;
	int code, rc;

	(void)ctx;
	if (!opt_parse_verb(self, verb, &conf, argc, argv, &args, &code))
		return code;
	wrong = zdb_find_roots(&roots, conf.data, conf.index, &args);
	if (wrong)
		return zdb_misused(self, verb, wrong);
	zo.data_root = roots.data;
	zo.index_root = roots.index;
	f.quiet = conf.quiet;
	f.what = conf.repair ? "repair" : "check";
	rc = conf.repair ? zdb_recover(&zo, print_finding, &f) : zdb_verify(&zo, print_finding, &f);
	if (conf.repair && rc >= 0) /* what no repair brings back is told by name */
		rc = zdb_verify(&zo, print_finding, &f);
	code = check_result(rc, &f);
	/* what a repair would mend is there to be mended */
	return code == EXIT_DONE && !conf.repair && rc == 1 ? EXIT_DEGRADED : code;
}

/* ---------------------------------------------------------------------------------------------------------- dump */

const struct opt zdb_dump_options[] = {
	OPT_STR(struct check_conf, data, 0, "data", "DIR", NULL,
		"directory of the data files; DIR/data when not given"),
	OPT_STR(struct check_conf, index, 0, "index", "DIR", NULL,
		"directory of the index files; DIR/index when not given"),
	OPT_END,
};

static void print_entry(void *ctx, const struct zdb_dump_entry *e)
{
	char key[ZDB_KEY_MAX * 4 + 8];

	(void)ctx;
	if (e->klen == ZDB_SEQ_KEY_SIZE) {
		uint64_t id;

		memcpy(&id, e->key, sizeof(id));
		snprintf(key, sizeof(key), "0x%016llx", (unsigned long long)id);
	} else {
		str_escape(key, sizeof(key), e->key, e->klen);
	}
	printf("%s i%u:%u key=%s data=d%u:%u length=%u previous=%u time=%u crc=%08x parent=i%u:%u flags=%u\n",
	       e->ns, e->index_file, e->index_offset, key, e->data_file, e->data_offset, e->length,
	       e->previous, e->timestamp, e->crc, e->parent_file, e->parent_offset, e->flags);
}

static void not_dumped(void *ctx, const char *name, const char *why)
{
	bool *partly = ctx;

	*partly = true;
	fprintf(stderr, "zdb: namespace %s is not dumped: %s\n", name, why);
}

int zdb_verb_dump(const struct applet *self, const struct verb *verb, void *ctx, int argc, char **argv)
{
	struct check_conf conf = {0};
	struct zdb_options zo = {.mode = ZDB_MIXED};
	char why[400] = "";
	bool partly = false;
	struct opt_args args;
	struct zdb_roots roots;
	const char *wrong;
	struct zdb *eng;
	int code, err;

	(void)ctx;
	if (!opt_parse_verb(self, verb, &conf, argc, argv, &args, &code))
		return code;
	wrong = zdb_find_roots(&roots, conf.data, conf.index, &args);
	if (wrong)
		return zdb_misused(self, verb, wrong);
	zo.data_root = roots.data;
	zo.index_root = roots.index;
	err = zdb_look(&eng, &zo, why, sizeof(why));
	if (err) {
		fprintf(stderr, "zdb: cannot dump: %s\n", why[0] ? why : err_str(err));
		return zdb_open_exit(err);
	}
	zdb_refused_each(eng, not_dumped, &partly);
	err = zdb_dump(eng, print_entry, NULL);
	zdb_abandon(eng);
	if (err)
		fprintf(stderr, "zdb: cannot read all entries: %s\n", err_str(err));
	if (err)
		return EXIT_FAILED;
	return partly ? EXIT_PARTLY : EXIT_DONE;
}

int zdb_dump_all(const struct zdb_conf *conf, const char *password)
{
	struct err_text why = {""};
	struct zdbd_options o;
	struct loop loop;
	struct zdbd *d;
	int err = loop_init(&loop);

	if (err) {
		fprintf(stderr, "zdb: cannot make an event loop: %s\n", err_str(err));
		return ZDB_EXIT_FAILED;
	}
	zdb_server_options(conf, password, &o);
	d = zdbd_new(&loop, &o);
	if (!d)
		err = err_set(&why, -ENOMEM, "out of memory");
	if (!err)
		err = zdbd_open(d, &why);
	if (!err)
		err = zdb_dump(zdbd_engine(d), print_entry, NULL);
	if (err)
		fprintf(stderr, "zdb: %s\n", why.text[0] ? why.text : err_str(err));
	if (d)
		zdbd_stop_now(d, ZDBD_STOP_OVER);
	zdbd_free(d);
	loop_release(&loop);
	return err ? ZDB_EXIT_FAILED : 0;
}

int zdb_recover_all(const struct zdb_conf *conf)
{
	struct findings f = {.what = "recover", .quiet = !conf->verbose};
	struct zdb_options zo;

	zdb_engine_options(conf, &zo);
	return check_result(zdb_recover(&zo, print_finding, &f), &f) ? ZDB_EXIT_FAILED : 0;
}
