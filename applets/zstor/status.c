/*
 * status: see status.h.
 */
#include "applets/zstor/status.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "applets/zstor/owed.h"
#include "core/base/applet.h"
#include "core/base/clock.h"
#include "core/base/err.h"
#include "core/base/hex.h"
#include "core/base/str.h"
#include "core/object/uncovered.h"
#include "core/spool/where.h"

struct building {
	struct zstor *z;
	yyjson_mut_doc *doc;
	yyjson_mut_val *root, *reasons;
};

static void reason(struct building *b, const char *text)
{
	yyjson_mut_arr_add_strcpy(b->doc, b->reasons, text);
}

static void add_address(struct building *b, yyjson_mut_val *o, struct zs_store *s)
{
	struct backend_addr a;
	char text[sizeof(a.host) + 16];

	backend_addr(s->backend, &a);
	if (!a.unix_path[0])
		str_fmt(text, sizeof(text), "%s:%u", a.host, a.port);
	yyjson_mut_obj_add_strcpy(b->doc, o, "address", a.unix_path[0] ? a.unix_path : text);
}

static void add_backend(struct building *b, yyjson_mut_val *list, struct zs_store *s)
{
	yyjson_mut_val *o = yyjson_mut_arr_add_obj(b->doc, list);
	uint64_t now = clock_mono_ms(), since_s;
	char text[ZS_WHY + 128], age[STR_HUMAN_MAX];
	struct backend_state st;
	bool full = s->full_until_ms > now;

	backend_state(s->backend, &st);
	since_s = st.tried && now > st.since_ms ? (now - st.since_ms) / 1000 : 0;
	yyjson_mut_obj_add_strcpy(b->doc, o, "id", s->label);
	yyjson_mut_obj_add_str(b->doc, o, "role", s->is_meta ? "meta" : "data");
	if (!s->is_meta)
		yyjson_mut_obj_add_uint(b->doc, o, "group", s->group);
	add_address(b, o, s);
	yyjson_mut_obj_add_bool(b->doc, o, "up", st.up);
	yyjson_mut_obj_add_bool(b->doc, o, "full", full);
	yyjson_mut_obj_add_uint(b->doc, o, "since_s", since_s);
	yyjson_mut_obj_add_uint(b->doc, o, "latency_us", st.latency_us);
	if (!st.up)
		yyjson_mut_obj_add_strcpy(b->doc, o, "error", st.last_error);
	if (!st.up && st.tried)
		str_fmt(text, sizeof(text), "%s store %s is down since %s: %s",
			s->is_meta ? "metadata" : "data", s->label,
			str_duration(age, sizeof(age), since_s * 1000), st.last_error);
	else if (!st.up)
		str_fmt(text, sizeof(text), "%s store %s has not been reached yet",
			s->is_meta ? "metadata" : "data", s->label);
	else if (full)
		str_fmt(text, sizeof(text), "data store %s is full", s->label);
	else
		return;
	reason(b, text);
}

static void add_backends(struct building *b)
{
	yyjson_mut_val *list = yyjson_mut_obj_add_arr(b->doc, b->root, "backends");

	for (unsigned i = 0; i < b->z->data_count; i++)
		add_backend(b, list, &b->z->data[i]);
	for (unsigned i = 0; i < b->z->meta_count; i++)
		add_backend(b, list, &b->z->meta[i]);
}

/* What a loss of the node would lose now. */
static void add_unsafe(struct building *b, yyjson_mut_val *o)
{
	struct uncovered u;
	char text[160];
	int rc = uncovered_count(&b->z->vol.last, b->z->conf.data_root, where_is_temp, &u);

	yyjson_mut_obj_add_uint(b->doc, o, "segments", u.segments);
	yyjson_mut_obj_add_uint(b->doc, o, "bytes", u.bytes);
	if (rc < 0) {
		str_fmt(text, sizeof(text), "what is unsafe cannot be counted: %s", err_str(rc));
		reason(b, text);
	}
}

static void add_owed(struct building *b)
{
	yyjson_mut_val *o = yyjson_mut_obj_add_obj(b->doc, b->root, "owed");
	struct owed_totals t;
	char text[ZS_WHY + 64];
	uint64_t now = clock_wall_s();

	owed_count(b->z, &t);
	yyjson_mut_obj_add_uint(b->doc, o, "files", t.files);
	yyjson_mut_obj_add_uint(b->doc, o, "bytes", t.bytes);
	yyjson_mut_obj_add_uint(b->doc, o, "age_s",
				t.oldest > 0 && (uint64_t)t.oldest < now ? now - (uint64_t)t.oldest : 0);
	yyjson_mut_obj_add_uint(b->doc, o, "parked", t.parked);
	yyjson_mut_obj_add_uint(b->doc, o, "pieces", t.pieces);
	yyjson_mut_obj_add_uint(b->doc, o, "unpublished", t.unpublished);
	yyjson_mut_obj_add_uint(b->doc, o, "garbage", t.garbage);
	yyjson_mut_obj_add_uint(b->doc, o, "running", b->z->uploads_running);
	if (t.error)
		yyjson_mut_obj_add_strcpy(b->doc, o, "error", t.error);
	if (t.parked) {
		str_fmt(text, sizeof(text), "%" PRIu64 " intentions cannot succeed: %s", t.parked,
			t.error ? t.error : "");
		reason(b, text);
	} else if (t.error) {
		str_fmt(text, sizeof(text), "%" PRIu64 " files are owed: %s", t.files, t.error);
		reason(b, text);
	}
	add_unsafe(b, yyjson_mut_obj_add_obj(b->doc, b->root, "unsafe"));
}

static void add_point(struct building *b)
{
	yyjson_mut_val *o = yyjson_mut_obj_add_obj(b->doc, b->root, "recovery_point");
	const struct volume *v = &b->z->vol;
	uint64_t now = clock_mono_ms(), wall = clock_wall_s(), age;
	char text[ZS_WHY + 64], human[STR_HUMAN_MAX];

	/* With nothing new since, the point is as good as when it was last compared. */
	age = v->last_ms                            ? (now - v->last_ms) / 1000
	      : v->last.time && wall > v->last.time ? wall - v->last.time
						    : 0;
	yyjson_mut_obj_add_uint(b->doc, o, "sequence", v->last.sequence);
	yyjson_mut_obj_add_uint(b->doc, o, "time", v->last.time);
	yyjson_mut_obj_add_uint(b->doc, o, "age_s", age);
	yyjson_mut_obj_add_uint(b->doc, o, "rpo_s", b->z->conf.rpo_ms / 1000);
	yyjson_mut_obj_add_bool(b->doc, o, "busy", b->z->point.busy);
	if (!b->z->point.error[0])
		return;
	yyjson_mut_obj_add_strcpy(b->doc, o, "error", b->z->point.error);
	str_fmt(text, sizeof(text), "no recovery point since %s: %s",
		str_duration(human, sizeof(human), now - b->z->point.failing_since_ms), b->z->point.error);
	reason(b, text);
}

static void add_volume(struct building *b)
{
	yyjson_mut_val *o = yyjson_mut_obj_add_obj(b->doc, b->root, "volume");
	const struct volume *v = &b->z->vol;
	char hex[33], generation[24], text[ZS_WHY + 64];

	yyjson_mut_obj_add_str(b->doc, o, "state", vol_state_name(v->state));
	yyjson_mut_obj_add_int(b->doc, o, "code", v->code);
	if (v->local.present) {
		yyjson_mut_obj_add_strcpy(b->doc, o, "id", hex_encode(hex, v->local.volume, 16));
		str_fmt(generation, sizeof(generation), "%" PRIx64, v->local.generation);
		yyjson_mut_obj_add_strcpy(b->doc, o, "generation", generation);
	}
	yyjson_mut_obj_add_bool(b->doc, b->root, "fenced", v->state == VOL_FENCED);
	if (v->state == VOL_READY)
		return;
	yyjson_mut_obj_add_strcpy(b->doc, o, "why", v->why);
	str_fmt(text, sizeof(text), "volume is %s: %s", vol_state_name(v->state), v->why);
	reason(b, text);
}

static void add_restore(struct building *b)
{
	const struct zs_restore_status *r = &b->z->restore;
	yyjson_mut_val *o = yyjson_mut_obj_add_obj(b->doc, b->root, "restore");
	char text[ZS_WHY + 64];

	yyjson_mut_obj_add_bool(b->doc, o, "busy", r->busy);
	yyjson_mut_obj_add_uint(b->doc, o, "done", r->objects_done);
	yyjson_mut_obj_add_uint(b->doc, o, "total", r->objects_total);
	yyjson_mut_obj_add_uint(b->doc, o, "bytes", r->bytes);
	if (!r->text[0])
		return;
	str_fmt(text, sizeof(text), "%s (%" PRIu64 " of %" PRIu64 " objects)", r->text, r->objects_done,
		r->objects_total);
	yyjson_mut_obj_add_strcpy(b->doc, o, "text", text);
}

int zstatus_fill(struct zstor *z, yyjson_mut_doc *doc, yyjson_mut_val *root)
{
	struct building b = {.z = z, .doc = doc, .root = root};
	bool degraded;

	b.reasons = yyjson_mut_arr(doc);
	pthread_mutex_lock(&z->lock);
	(void)owed_refresh(z, false);
	add_volume(&b);
	add_backends(&b);
	add_owed(&b);
	add_point(&b);
	add_restore(&b);
	yyjson_mut_obj_add_uint(doc, root, "stored", z->uploads_done);
	yyjson_mut_obj_add_uint(doc, root, "stored_bytes", z->uploads_bytes);
	yyjson_mut_obj_add_uint(doc, root, "failed", z->uploads_failed);
	yyjson_mut_obj_add_uint(doc, root, "evicted", z->evicted_files);
	yyjson_mut_obj_add_uint(doc, root, "evicted_bytes", z->evicted_bytes);
	pthread_mutex_unlock(&z->lock);
	degraded = yyjson_mut_arr_size(b.reasons) > 0;
	yyjson_mut_obj_add_bool(doc, root, "degraded", degraded);
	if (!yyjson_mut_obj_add_val(doc, root, "reasons", b.reasons))
		return -ENOMEM;
	return degraded ? EXIT_DEGRADED : EXIT_DONE;
}

/* ------------------------------------------------------------------------------------------------- for people --- */

static uint64_t num(yyjson_val *o, const char *group, const char *key)
{
	return yyjson_get_uint(yyjson_obj_get(yyjson_obj_get(o, group), key));
}

static void print_backends(yyjson_val *root, const char *role, const char *title, FILE *out)
{
	yyjson_val *list = yyjson_obj_get(root, "backends"), *o;
	size_t i, n, all = 0, up = 0;

	yyjson_arr_foreach(list, i, n, o)
	{
		if (!yyjson_equals_str(yyjson_obj_get(o, "role"), role))
			continue;
		all++;
		up += yyjson_get_bool(yyjson_obj_get(o, "up"));
	}
	fprintf(out, "%-10s %zu of %zu up\n", title, up, all);
}

void zstatus_print(yyjson_val *root, FILE *out)
{
	yyjson_val *list = yyjson_obj_get(root, "reasons"), *o;
	const char *state = yyjson_get_str(yyjson_obj_get(yyjson_obj_get(root, "volume"), "state"));
	const char *restore = yyjson_get_str(yyjson_obj_get(yyjson_obj_get(root, "restore"), "text"));
	char bytes[STR_HUMAN_MAX], age[STR_HUMAN_MAX];
	size_t i, n;

	fprintf(out, "volume     %s\n", state ? state : "?");
	print_backends(root, "data", "stores", out);
	print_backends(root, "meta", "metadata", out);
	if (num(root, "recovery_point", "sequence"))
		fprintf(out, "recovery   point %" PRIu64 ", %s old\n",
			num(root, "recovery_point", "sequence"),
			str_duration(age, sizeof(age), num(root, "recovery_point", "age_s") * 1000));
	else
		fputs("recovery   no point yet\n", out);
	fprintf(out, "unsafe     %s in no recovery point\n",
		str_size(bytes, sizeof(bytes), num(root, "unsafe", "bytes")));
	if (num(root, "owed", "files"))
		fprintf(out, "owed       %" PRIu64 " files, %s, oldest %s\n", num(root, "owed", "files"),
			str_size(bytes, sizeof(bytes), num(root, "owed", "bytes")),
			str_duration(age, sizeof(age), num(root, "owed", "age_s") * 1000));
	else
		fputs("owed       nothing\n", out);
	if (restore)
		fprintf(out, "restore    %s\n", restore);
	yyjson_arr_foreach(list, i, n, o) fprintf(out, "%-10s %s\n", i ? "" : "why", yyjson_get_str(o));
}
