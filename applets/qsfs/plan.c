/*
 * plan: lays out the services of a volume. The texts that they become are plan_text.c's.
 *
 * Order is the whole safety of a stop: the supervisor stops in reverse, each service waited for, so that zdbfs
 * flushes into a zdb that still runs, zdb closes its files while wait_hooks still counts what is owed, and zstor
 * serves cold reads and uploads until the end. Backends come first and go last.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "applets/qsfs/plan.h"

/* How long zdbfs may write dirty pages out and wait for those who hold the mount; the supervisor waits a little longer. */
#define ZDBFS_STOP_S 50u

/* Between two words of a command line. volume_load() refuses paths that hold control characters. */
#define W "\037"

static int words_set(char **words, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Formats the command line and cuts it at W. Words are the caller's to free. */
static int words_set(char **words, const char *fmt, ...)
{
	va_list ap;
	char *text = NULL, *rest, *word;
	size_t n = 0;
	int rc = 0;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0) {
		text = NULL;
		rc = -ENOMEM;
	}
	va_end(ap);
	rest = text;
	while (!rc && (word = strsep(&rest, W))) {
		if (n == PLAN_WORDS_MAX)
			rc = -E2BIG;
		else if (!(words[n++] = strdup(word)))
			rc = -ENOMEM;
	}
	free(text);
	return rc;
}

static struct plan_unit *unit_add(struct plan *p, const char *name, unsigned shutdown_timeout_s)
{
	struct plan_unit *u = &p->units[p->count++];

	snprintf(u->name, sizeof(u->name), "%s", name);
	u->shutdown_timeout_s = shutdown_timeout_s;
	return u;
}

static void unit_after(struct plan_unit *u, const char *name)
{
	u->after[u->after_count++] = name;
}

static void unit_after_all(struct plan *p, struct plan_unit *u)
{
	for (size_t i = 0; &p->units[i] != u; i++)
		unit_after(u, p->units[i].name);
}

/* A store of the embedded default: a zdb on a loopback port, its namespace closed by a password of its own. */
static int plan_backend(struct plan *p, const struct volume *v, const struct volume_store *s)
{
	char name[80];
	struct plan_unit *u;
	int rc;

	snprintf(name, sizeof(name), "backend-%s", s->id);
	u = unit_add(p, name, 20);
	rc = words_set(u->words,
		       "%s/zdb" W "--listen" W "127.0.0.1" W "--port" W "%u" W "--mode" W "%s" W "--data" W
		       "%s/%s/data" W "--index" W "%s/%s/index" W "--protect" W "--admin-file" W
		       "%s/%s/admin" W "--fsync" W "everysec",
		       v->bin, s->port, s->is_meta ? "user" : "seq", v->backends, s->id, v->backends, s->id,
		       v->backends, s->id);
	if (!rc)
		rc = words_set(u->test, "%s/zdb" W "ping" W "-p" W "%u", v->bin, s->port);
	return rc;
}

static int plan_backends(struct plan *p, const struct volume *v)
{
	int rc = 0;

	for (size_t i = 0; v->embedded && !rc && i < v->store_count; i++)
		rc = plan_backend(p, v, &v->stores[i]);
	return rc;
}

static int plan_init(struct plan *p, const struct volume *v)
{
	struct plan_unit *u = unit_add(p, "init", 60);

	u->oneshot = true;
	unit_after_all(p, u);
	return words_set(u->words,
			 "%s/zstor" W "--log_file" W "%s/init.log" W "-c" W "%s/zstor.toml" W "init" W
			 "--new",
			 v->bin, v->log, v->etc);
}

static int plan_zstor(struct plan *p, const struct volume *v)
{
	struct plan_unit *u = unit_add(p, "zstor", 60);
	int rc;

	unit_after_all(p, u);
	rc = words_set(u->words,
		       "%s/zstor" W "--log_file" W "%s/zstor.log" W "-c" W "%s/zstor.toml" W "monitor",
		       v->bin, v->log, v->etc);
	if (!rc)
		rc = words_set(u->test, "%s/qsfs" W "probe" W "%s/zstor.sock", v->bin, v->run);
	return rc;
}

static int plan_wait_hooks(struct plan *p, const struct volume *v)
{
	struct plan_unit *u = unit_add(p, "wait_hooks", (unsigned)(v->drain_ms / 1000));

	unit_after(u, "zstor");
	return words_set(u->words, "%s/wait_hooks", v->bin);
}

static int plan_zdb(struct plan *p, const struct volume *v)
{
	struct plan_unit *u = unit_add(p, "zdb", 65);
	int rc;

	unit_after(u, "wait_hooks");
	rc = words_set(u->words,
		       "%s/zdb" W "--mode" W "seq" W "--socket" W "%s/zdb.sock" W "--data" W "%s/data" W
		       "--index" W "%s/index" W "--hook" W "%s/hook" W "--spool" W "%s/spool" W "--datasize" W
		       "%llu" W "--rotate" W "%llu",
		       v->bin, v->run, v->front, v->front, v->bin, v->front,
		       (unsigned long long)v->segment_bytes, (unsigned long long)(v->rotate_ms / 1000));
	if (!rc)
		rc = words_set(u->test, "%s/zdb" W "ping" W "-s" W "%s/zdb.sock", v->bin, v->run);
	return rc;
}

static int plan_ns(struct plan *p, const struct volume *v)
{
	struct plan_unit *u = unit_add(p, "ns", 20);

	u->oneshot = true;
	unit_after(u, "zdb");
	return words_set(u->words, "%s/qsfs" W "ns" W "--socket" W "%s/zdb.sock", v->bin, v->run);
}

static int plan_zdbfs(struct plan *p, const struct volume *v)
{
	struct plan_unit *u = unit_add(p, "zdbfs", ZDBFS_STOP_S + 10);
	int rc;

	unit_after(u, "ns");
	unit_after(u, "zdb");
	rc = words_set(u->words,
		       "%s/zdbfs" W "-o" W "unix=%s/zdb.sock" W "-o" W "ctl=%s/zdbfs.sock" W "-o" W
		       "auto_unmount,stop_timeout=%us,size=%llu%s" W "%s",
		       v->bin, v->run, v->run, ZDBFS_STOP_S, (unsigned long long)v->size_bytes,
		       v->allow_other ? ",allow_other" : "", v->mount);
	if (!rc)
		rc = words_set(u->test, "%s/qsfs" W "probe" W "--mount" W "%s", v->bin, v->mount);
	return rc;
}

int plan_make(struct plan *p, const struct volume *v, bool is_new)
{
	int rc;

	memset(p, 0, sizeof(*p));
	rc = plan_backends(p, v);
	if (!rc && is_new)
		rc = plan_init(p, v);
	if (!rc)
		rc = plan_zstor(p, v);
	if (!rc)
		rc = plan_wait_hooks(p, v);
	if (!rc)
		rc = plan_zdb(p, v);
	if (!rc)
		rc = plan_ns(p, v);
	if (!rc)
		rc = plan_zdbfs(p, v);
	return rc;
}

void plan_release(struct plan *p)
{
	for (size_t i = 0; i < p->count; i++) {
		for (size_t w = 0; w < PLAN_WORDS_MAX; w++) {
			free(p->units[i].words[w]);
			free(p->units[i].test[w]);
		}
	}
	memset(p, 0, sizeof(*p));
}
