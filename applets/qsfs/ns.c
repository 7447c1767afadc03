/*
 * ns: makes the three namespaces that zdbfs needs, as often as one likes. What exists is not touched, except that the
 * scratch namespace gets the password that lets it be flushed; a namespace of the wrong mode that holds records is an error.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "applets/qsfs/ns.h"
#include "core/base/applet.h"
#include "core/base/err.h"
#include "core/base/log.h"
#include "core/base/str.h"
#include "core/net/client.h"

struct ns_conf {
	const char *socket, *host, *temp_password;
	int64_t port;
};

const struct opt ns_options[] = {
	OPT_STR(struct ns_conf, socket, 's', "socket", "PATH", NULL, "unix socket of the zdb"),
	OPT_STR(struct ns_conf, host, 'H', "host", "HOST", "127.0.0.1", "its address, without --socket"),
	OPT_INT(struct ns_conf, port, 'p', "port", "PORT", "9900", 1, 65535, "its port"),
	OPT_STR(struct ns_conf, temp_password, 0, "temp-password", "WORD", "hello",
		"password of the scratch namespace, as zdbfs expects it"),
	OPT_END,
};

/* One command that must answer +OK. The server's own words are the reason. */
static int expect_ok(struct client *c, const char *a, const char *b, const char *d, const char *e)
{
	redisReply *r = NULL;
	int rc = client_words(c, &r, a, b, d, e, (char *)NULL);

	if (rc)
		log_err("cannot make the namespace %s: %s", b, client_error(c));
	else if (r->type == REDIS_REPLY_ERROR)
		rc = log_code(-E_PEER, "cannot make the namespace %s: %s: %s", b, a, r->str);
	freeReplyObject(r);
	return rc;
}

/* 1 there and sequential, 0 absent, 2 there but of the other mode; negative code. */
static int look(struct client *c, const char *name)
{
	redisReply *r = NULL;
	int rc = client_words(c, &r, "NSINFO", name, (char *)NULL);

	if (rc)
		log_err("cannot look at the namespace %s: %s", name, client_error(c));
	else if (r->type == REDIS_REPLY_ERROR)
		rc = 0;
	else
		rc = r->str && strstr(r->str, "mode: sequential") ? 1 : 2;
	freeReplyObject(r);
	return rc;
}

static int make(struct client *c, const char *name)
{
	int rc = look(c, name);

	if (rc == 0) {
		rc = expect_ok(c, "NSNEW", name, NULL, NULL);
		if (rc == 0)
			rc = look(c, name);
	}
	/* Only a namespace that never held a record lets its mode be changed: the server refuses it for others. */
	if (rc == 2)
		rc = expect_ok(c, "NSSET", name, "mode", "seq");
	return rc > 0 ? 0 : rc;
}

static int make_all(struct client *c, const char *temp_password)
{
	int rc = make(c, "zdbfs-meta");

	if (rc == 0)
		rc = make(c, "zdbfs-data");
	if (rc == 0)
		rc = make(c, "zdbfs-temp");
	if (rc == 0)
		rc = expect_ok(c, "NSSET", "zdbfs-temp", "password", temp_password);
	if (rc == 0)
		rc = expect_ok(c, "NSSET", "zdbfs-temp", "public", "0");
	return rc;
}

int ns_main(const struct applet *self, const struct verb *verb, void *ctx, int argc, char **argv)
{
	struct ns_conf c = {0};
	struct client_addr addr = {.port = 0};
	struct client *client = NULL;
	struct opt_args args;
	char why[256];
	int code, rc;

	(void)ctx;
	if (!opt_parse_verb(self, verb, &c, argc, argv, &args, &code))
		return code;
	addr.port = (uint16_t)c.port;
	rc = str_copy(addr.host, sizeof(addr.host), c.host);
	if (rc == 0 && c.socket)
		rc = str_copy(addr.unix_path, sizeof(addr.unix_path), c.socket);
	if (rc)
		log_code(rc, "cannot use this address");
	if (rc == 0) {
		rc = client_open(&client, &addr, NULL, why, sizeof(why));
		if (rc)
			log_err("cannot reach the zdb: %s", why);
	}
	if (rc == 0)
		rc = make_all(client, c.temp_password);
	client_close(client);
	return rc ? EXIT_FAILED : EXIT_DONE;
}
