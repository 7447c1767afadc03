#include <string.h>

#include "applets/qsfs/status_text.h"
#include "core/base/str.h"

static const char *str_of(yyjson_mut_val *o, const char *key)
{
	const char *s = yyjson_mut_get_str(yyjson_mut_obj_get(o, key));

	return s ? s : "";
}

static uint64_t num_of(yyjson_mut_val *o, const char *key)
{
	return yyjson_mut_get_uint(yyjson_mut_obj_get(o, key));
}

static void text_services(yyjson_mut_val *root, FILE *out)
{
	yyjson_mut_val *item, *list = yyjson_mut_obj_get(root, "services");
	size_t i, n, up = 0, all = 0;

	yyjson_mut_arr_foreach(list, i, n, item)
	{
		const char *state = str_of(item, "state");

		all++;
		up += strcmp(state, "Running") == 0 || strcmp(state, "Success") == 0;
	}
	fprintf(out, "services   %zu of %zu up", up, all);
	yyjson_mut_arr_foreach(list, i, n, item)
	{
		const char *state = str_of(item, "state");

		if (strcmp(state, "Running") != 0 && strcmp(state, "Success") != 0)
			fprintf(out, "; %s is %s", str_of(item, "name"), state);
	}
	fputc('\n', out);
}

static void text_backends(yyjson_mut_val *zstor, const char *role, const char *label, FILE *out)
{
	yyjson_mut_val *item, *list = yyjson_mut_obj_get(zstor, "backends");
	size_t i, n, up = 0, all = 0;

	yyjson_mut_arr_foreach(list, i, n, item)
	{
		if (strcmp(str_of(item, "role"), role) == 0) {
			all++;
			up += yyjson_mut_get_bool(yyjson_mut_obj_get(item, "up"));
		}
	}
	fprintf(out, "%-10s %zu of %zu up\n", label, up, all);
}

static void text_point(yyjson_mut_val *zstor, FILE *out)
{
	yyjson_mut_val *p = yyjson_mut_obj_get(zstor, "recovery_point");
	char age[STR_HUMAN_MAX];

	if (num_of(p, "sequence"))
		fprintf(out, "recovery   point %llu, %s old\n", (unsigned long long)num_of(p, "sequence"),
			str_duration(age, sizeof(age), num_of(p, "age_s") * 1000));
	else
		fputs("recovery   no point yet\n", out);
}

static void text_owed(yyjson_mut_val *owed, FILE *out)
{
	char bytes[STR_HUMAN_MAX], age[STR_HUMAN_MAX];

	if (num_of(owed, "files") == 0)
		fputs("owed       nothing\n", out);
	else
		fprintf(out, "owed       %llu files, %s, oldest %s\n",
			(unsigned long long)num_of(owed, "files"),
			str_size(bytes, sizeof(bytes), num_of(owed, "bytes")),
			str_duration(age, sizeof(age), num_of(owed, "age_s") * 1000));
}

/* What the loss of the node would cost now. */
static void text_unsafe(yyjson_mut_val *unsafe, FILE *out)
{
	char bytes[STR_HUMAN_MAX];
	uint64_t n = num_of(unsafe, "bytes");

	fprintf(out, "unsafe     %s\n", n ? str_size(bytes, sizeof(bytes), n) : "nothing");
}

void status_text(yyjson_mut_val *root, FILE *out)
{
	yyjson_mut_val *volume = yyjson_mut_obj_get(root, "volume"),
		       *zstor = yyjson_mut_obj_get(root, "zstor"), *item;
	size_t i, n;

	fprintf(out, "volume     %s, %s\n", str_of(volume, "data"), str_of(root, "state"));
	if (strcmp(str_of(root, "state"), "up") == 0) {
		fprintf(out, "mounted    %s\n", str_of(volume, "mount"));
		text_services(root, out);
		text_backends(zstor, "data", "stores", out);
		text_backends(zstor, "meta", "metadata", out);
		text_point(zstor, out);
	}
	text_unsafe(yyjson_mut_obj_get(root, "unsafe"), out);
	text_owed(yyjson_mut_obj_get(root, "owed"), out);
	yyjson_mut_arr_foreach(yyjson_mut_obj_get(root, "reasons"), i, n, item)
		fprintf(out, "%-10s %s\n", i == 0 ? "why" : "", yyjson_mut_get_str(item));
}
