/*
 * status: asks the supervisor, zstor and zdbfs, each within a bound, and reads the spool itself: a program that does not
 * answer is a finding, never a reason not to answer. One JSON document is built; the text for people is printed from it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <yyjson.h>

#include "applets/qsfs/owed.h"
#include "applets/qsfs/services.h"
#include "applets/qsfs/state.h"
#include "applets/qsfs/status.h"
#include "applets/qsfs/status_text.h"
#include "core/base/applet.h"
#include "core/base/err.h"
#include "core/base/log.h"
#include "core/base/str.h"
#include "core/ctl/ctl.h"

#define ASK_MS 5000

struct status_conf {
	const char *config, *data;
	bool json;
};

const struct opt status_options[] = {
	OPT_STR(struct status_conf, config, 'c', "config", "FILE", NULL, "configuration of the volume"),
	OPT_STR(struct status_conf, data, 'd', "data", "DIR", NULL, "directory of the volume's state"),
	OPT_FLAG(struct status_conf, json, 'j', "json", "print one JSON object"),
	OPT_END,
};

struct status {
	yyjson_mut_doc *doc;
	yyjson_mut_val *root, *reasons;
	const struct volume *v;
	int code;
};

static void reason_add(struct status *s, const char *text)
{
	yyjson_mut_arr_add_strcpy(s->doc, s->reasons, text);
	s->code = EXIT_DEGRADED;
}

static void add_paths(struct status *s)
{
	static const char *const names[] = {"zinit", "zstor", "zdb", "zdbfs"};
	yyjson_mut_val *paths = yyjson_mut_obj_add_obj(s->doc, s->root, "paths");
	char path[VOLUME_PATH + 64];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		str_fmt(path, sizeof(path), "%s/%s.sock", s->v->run, names[i]);
		yyjson_mut_obj_add_strcpy(s->doc, paths, names[i], path);
	}
	yyjson_mut_obj_add_strcpy(s->doc, paths, "log", s->v->log);
}

static void add_services(struct status *s)
{
	yyjson_mut_val *out = yyjson_mut_obj_add_arr(s->doc, s->root, "services");
	struct services *list = calloc(1, sizeof(*list));
	char socket[VOLUME_PATH + 64], text[256];
	struct err_text err = {0};

	str_fmt(socket, sizeof(socket), "%s/zinit.sock", s->v->run);
	if (!list || services_read(socket, list, &err) != 0)
		reason_add(s, err.text[0] ? err.text : "out of memory");
	for (size_t i = 0; list && i < list->count; i++) {
		const struct service *svc = &list->list[i];
		yyjson_mut_val *o = yyjson_mut_arr_add_obj(s->doc, out);

		yyjson_mut_obj_add_strcpy(s->doc, o, "name", svc->name);
		yyjson_mut_obj_add_strcpy(s->doc, o, "state", svc->state);
		yyjson_mut_obj_add_int(s->doc, o, "pid", svc->pid);
		if (!service_is_up(svc)) {
			str_fmt(text, sizeof(text), "service %s is %s", svc->name, svc->state);
			reason_add(s, text);
		}
	}
	free(list);
}

/* Takes over the members of a service's last line, under `name`. */
struct taken {
	struct status *s;
	const char *name;
};

static int take_line(void *ctx, yyjson_val *line)
{
	struct taken *t = ctx;

	if (yyjson_get_bool(yyjson_obj_get(line, "done")))
		yyjson_mut_obj_add_val(t->s->doc, t->s->root, t->name, yyjson_val_mut_copy(t->s->doc, line));
	return 0;
}

static void add_service_status(struct status *s, const char *name)
{
	char socket[VOLUME_PATH + 64], text[600];
	struct taken t = {s, name};
	struct err_text err = {0};
	int rc;

	str_fmt(socket, sizeof(socket), "%s/%s.sock", s->v->run, name);
	rc = ctl_call(socket, "{\"cmd\":\"status\"}", ASK_MS, take_line, &t, &err);
	if (rc < 0) {
		str_fmt(text, sizeof(text), "%s does not answer: %s", name,
			err.text[0] ? err.text : err_str(rc));
		reason_add(s, text);
	} else if (rc != 0) {
		s->code = EXIT_DEGRADED;
	}
}

static void take_reasons(struct status *s, const char *name)
{
	yyjson_mut_val *from = yyjson_mut_obj_get(yyjson_mut_obj_get(s->root, name), "reasons"), *item;
	size_t i, n;

	yyjson_mut_arr_foreach(from, i, n, item)
		reason_add(s, yyjson_mut_get_str(item) ? yyjson_mut_get_str(item) : "");
}

static void reason_failed(struct status *s, const char *what, int err)
{
	char text[200];

	str_fmt(text, sizeof(text), "%s: %s", what, err_str(err));
	reason_add(s, text);
}

static void add_owed(struct status *s)
{
	yyjson_mut_val *o = yyjson_mut_obj_add_obj(s->doc, s->root, "owed");
	struct owed owed;
	int rc = owed_read(s->v, &owed);

	yyjson_mut_obj_add_uint(s->doc, o, "files", owed.files);
	yyjson_mut_obj_add_uint(s->doc, o, "bytes", owed.bytes);
	yyjson_mut_obj_add_uint(s->doc, o, "age_s", owed.age_s);
	yyjson_mut_obj_add_uint(s->doc, o, "parked", owed.parked);
	if (rc && rc != -ENOENT)
		reason_failed(s, "the spool cannot be read", rc);
}

static void add_unsafe(struct status *s)
{
	yyjson_mut_val *o = yyjson_mut_obj_add_obj(s->doc, s->root, "unsafe");
	struct uncovered u;
	int rc = unsafe_read(s->v, &u);

	yyjson_mut_obj_add_uint(s->doc, o, "segments", u.segments);
	yyjson_mut_obj_add_uint(s->doc, o, "bytes", u.bytes);
	if (rc)
		reason_failed(s, "what is unsafe cannot be counted", rc);
}

static void add_volume(struct status *s)
{
	yyjson_mut_val *o = yyjson_mut_obj_add_obj(s->doc, s->root, "volume");

	yyjson_mut_obj_add_strcpy(s->doc, o, "data", s->v->data);
	yyjson_mut_obj_add_strcpy(s->doc, o, "mount", s->v->mount);
	yyjson_mut_obj_add_strcpy(s->doc, o, "config", s->v->config);
	yyjson_mut_obj_add_uint(s->doc, o, "data_shards", s->v->data_shards);
	yyjson_mut_obj_add_uint(s->doc, o, "parity_shards", s->v->parity_shards);
}

/* NULL: out of memory. The document is the caller's. */
static yyjson_mut_doc *collect(const struct volume *v, bool is_up, int *code)
{
	struct status s = {.v = v, .doc = yyjson_mut_doc_new(NULL)};

	if (!s.doc)
		return NULL;
	s.root = yyjson_mut_obj(s.doc);
	yyjson_mut_doc_set_root(s.doc, s.root);
	yyjson_mut_obj_add_str(s.doc, s.root, "state", is_up ? "up" : "down");
	add_volume(&s);
	s.reasons = yyjson_mut_obj_add_arr(s.doc, s.root, "reasons");
	add_owed(&s);
	add_unsafe(&s);
	if (is_up) {
		add_paths(&s);
		add_services(&s);
		add_service_status(&s, "zstor");
		add_service_status(&s, "zdbfs");
		take_reasons(&s, "zstor");
	} else {
		s.code = EXIT_NOT_FOUND;
	}
	yyjson_mut_obj_add_int(s.doc, s.root, "code", s.code);
	*code = s.code;
	return s.doc;
}

static int print(const struct volume *v, bool is_up, bool json, FILE *out)
{
	int code = EXIT_FAILED;
	yyjson_mut_doc *doc = collect(v, is_up, &code);

	if (!doc)
		log_err("out of memory");
	else if (json) {
		if (!yyjson_mut_write_fp(out, doc, YYJSON_WRITE_PRETTY_TWO_SPACES, NULL, NULL))
			code = EXIT_FAILED;
		fputc('\n', out);
	} else {
		status_text(yyjson_mut_doc_get_root(doc), out);
	}
	yyjson_mut_doc_free(doc);
	fflush(out);
	return code;
}

int status_print(const struct volume *v, FILE *out)
{
	return print(v, true, false, out);
}

int status_main(const struct applet *self, const struct verb *verb, void *ctx, int argc, char **argv)
{
	struct status_conf c = {0};
	struct opt_args args;
	struct volume v;
	pid_t pid;
	int code, up;

	(void)ctx;
	if (!opt_parse_verb(self, verb, &c, argc, argv, &args, &code))
		return code;
	code = volume_load(&v, c.config, c.data, NULL);
	if (code == EXIT_DONE) {
		up = state_is_up(&v, &pid);
		if (up < 0)
			code = (log_code(up, "cannot look at %s", v.lock), EXIT_FAILED);
		else
			code = print(&v, up > 0, c.json, stdout);
	}
	volume_wipe(&v);
	return code;
}
