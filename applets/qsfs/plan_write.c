/*
 * plan_write: puts a plan on disk (or prints it). Configurations hold passwords, so every file is 0600 in a directory that
 * is 0700; units of an earlier start that are no longer wanted are removed, or the supervisor would start them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "applets/qsfs/plan.h"
#include "applets/qsfs/plan_text.h"
#include "core/base/err.h"
#include "core/base/file.h"
#include "core/base/log.h"
#include "core/base/str.h"
#include "core/crypto/crypto.h"

struct unit_text {
	const struct plan_unit *unit; /* NULL: zstor's configuration */
	const struct volume *v;
	bool hide;
};

static void text_put(const struct unit_text *t, FILE *out)
{
	if (t->unit)
		plan_text_unit(t->unit, t->v, out);
	else
		plan_text_zstor(t->v, t->hide, out);
}

static int text_write(const struct unit_text *t, const char *path)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	int rc = -ENOMEM;

	if (out) {
		text_put(t, out);
		if (fclose(out) == 0)
			rc = file_write_atomic(path, 0600, text, len);
	}
	if (text)
		crypto_wipe(text, len);
	free(text);
	return rc ? log_code(rc, "cannot write %s", path) : 0;
}

static void unit_path(const struct volume *v, const char *name, char *path, size_t size)
{
	str_fmt(path, size, "%s/zinit/%s.yaml", v->etc, name);
}

struct stale {
	const struct plan *p;
	const struct volume *v;
};

static int unit_drop_stale(void *ctx, const char *name, unsigned char type)
{
	const struct stale *s = ctx;
	char path[2 * VOLUME_PATH];
	size_t stem = strlen(name) - 5;

	(void)type;
	if (!str_ends(name, ".yaml"))
		return 0;
	for (size_t i = 0; i < s->p->count; i++) {
		if (strlen(s->p->units[i].name) == stem && strncmp(s->p->units[i].name, name, stem) == 0)
			return 0;
	}
	str_fmt(path, sizeof(path), "%s/zinit/%s", s->v->etc, name);
	return unlink(path) == 0 ? 0 : -errno;
}

/* Processes are then called by what they are: zdb, zstor, ... */
static int links_make(const struct volume *v)
{
	static const char *const names[] = {"qsfs", "zinit", "zdb", "zdbfs", "zstor", "hook", "wait_hooks"};
	char path[VOLUME_PATH + 64];
	int rc = file_mkdir_p(v->bin, 0700);

	for (size_t i = 0; rc == 0 && i < sizeof(names) / sizeof(names[0]); i++) {
		str_fmt(path, sizeof(path), "%s/%s", v->bin, names[i]);
		unlink(path);
		if (symlink(v->exe, path) != 0)
			rc = -errno;
	}
	return rc ? log_code(rc, "cannot make the links in %s", v->bin) : 0;
}

int plan_write(const struct plan *p, const struct volume *v)
{
	struct unit_text t = {.v = v};
	struct stale stale = {p, v};
	char path[VOLUME_PATH + 128];
	int rc;

	str_fmt(path, sizeof(path), "%s/zinit", v->etc);
	rc = file_mkdir_p(path, 0700);
	if (rc == 0)
		rc = file_list(path, unit_drop_stale, &stale);
	if (rc)
		log_code(rc, "cannot prepare %s", path);
	str_fmt(path, sizeof(path), "%s/zstor.toml", v->etc);
	if (rc == 0)
		rc = text_write(&t, path);
	for (size_t i = 0; rc == 0 && i < p->count; i++) {
		t.unit = &p->units[i];
		unit_path(v, t.unit->name, path, sizeof(path));
		rc = text_write(&t, path);
	}
	if (rc == 0)
		rc = links_make(v);
	return rc;
}

void plan_print(const struct plan *p, const struct volume *v, FILE *out)
{
	struct unit_text t = {.v = v, .hide = true};
	char path[VOLUME_PATH + 128];

	fprintf(out, "# %s/zstor.toml\n", v->etc);
	text_put(&t, out);
	for (size_t i = 0; i < p->count; i++) {
		t.unit = &p->units[i];
		unit_path(v, t.unit->name, path, sizeof(path));
		fprintf(out, "\n# %s\n", path);
		text_put(&t, out);
	}
}
