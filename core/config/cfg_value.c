/*
 * cfg_value: scalars as typed values. A message names file, line and key, never the value.
 */
#include "core/config/cfg.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/base/str.h"

int cfg_error(const struct cfg_node *node, struct err_text *err, const char *format, ...)
{
	char path[200], message[280];
	va_list ap;

	va_start(ap, format);
	vsnprintf(message, sizeof(message), format, ap);
	va_end(ap);
	cfg_path_of(node, path, sizeof(path));
	if (path[0])
		return err_set(err, -E_CONFIG, "%s:%u: %s: %s", node->file, node->line, path, message);
	return err_set(err, -E_CONFIG, "%s:%u: %s", node->file, node->line, message);
}

/*
 * The scalar at a path: 1 and *found, 0 when it is absent or null, or an error. `forms`: what the syntax may have
 * called it, a bit for each.
 */
static int scalar_at(const struct cfg_node *node, const char *path, const char *what, unsigned forms,
		     const struct cfg_node **found, struct err_text *err)
{
	const struct cfg_node *n = cfg_get(node, path);

	if (!n || (n->kind == CFG_SCALAR && n->scalar == CFG_NULL))
		return 0;
	if (n->kind != CFG_SCALAR || !(forms & 1u << n->scalar) || strlen(n->text) != n->text_len)
		return cfg_error(n, err, "not %s", what);
	*found = n;
	return 1;
}

#define FORM(scalar) (1u << (scalar))

int cfg_str(const struct cfg_node *node, const char *path, const char *def, const char **value,
	    struct err_text *err)
{
	const struct cfg_node *n = NULL;
	int code = scalar_at(node, path, "a string", FORM(CFG_PLAIN) | FORM(CFG_STRING), &n, err);

	*value = def;
	if (code <= 0)
		return code;
	*value = n->text;
	return 0;
}

int cfg_u64(const struct cfg_node *node, const char *path, uint64_t def, uint64_t *value,
	    struct err_text *err)
{
	const struct cfg_node *n = NULL;
	uint64_t v;
	int code = scalar_at(node, path, "a number", FORM(CFG_PLAIN) | FORM(CFG_INT), &n, err);

	*value = def;
	if (code <= 0)
		return code;
	code = str_parse_u64(n->text, &v);
	if (code)
		return cfg_error(n, err, code == -ERANGE ? "number too large" : "not a number of 0 or more");
	*value = v;
	return 0;
}

int cfg_i64(const struct cfg_node *node, const char *path, int64_t def, int64_t *value, struct err_text *err)
{
	const struct cfg_node *n = NULL;
	int64_t v;
	int code = scalar_at(node, path, "a number", FORM(CFG_PLAIN) | FORM(CFG_INT), &n, err);

	*value = def;
	if (code <= 0)
		return code;
	code = str_parse_i64(n->text, &v);
	if (code)
		return cfg_error(n, err, code == -ERANGE ? "number too large" : "not a number");
	*value = v;
	return 0;
}

int cfg_bool(const struct cfg_node *node, const char *path, bool def, bool *value, struct err_text *err)
{
	const struct cfg_node *n = NULL;
	bool v;
	int code = scalar_at(node, path, "true or false", FORM(CFG_PLAIN) | FORM(CFG_BOOL), &n, err);

	*value = def;
	if (code <= 0)
		return code;
	if (str_parse_bool(n->text, &v))
		return cfg_error(n, err, "not true or false");
	*value = v;
	return 0;
}

/* Sizes and durations may be bare numbers or texts with a unit. */
static int with_unit(const struct cfg_node *node, const char *path, const char *what, uint64_t def,
		     uint64_t *value, int (*parse)(const char *, uint64_t *), struct err_text *err)
{
	const struct cfg_node *n = NULL;
	uint64_t v;
	int code = scalar_at(node, path, what, FORM(CFG_PLAIN) | FORM(CFG_STRING) | FORM(CFG_INT), &n, err);

	*value = def;
	if (code <= 0)
		return code;
	code = parse(n->text, &v);
	if (code)
		return cfg_error(n, err, code == -ERANGE ? "too large for %s" : "not %s", what);
	*value = v;
	return 0;
}

int cfg_size(const struct cfg_node *node, const char *path, uint64_t def, uint64_t *bytes,
	     struct err_text *err)
{
	return with_unit(node, path, "a size (such as 64M)", def, bytes, str_parse_size, err);
}

int cfg_duration(const struct cfg_node *node, const char *path, uint64_t def, uint64_t *ms,
		 struct err_text *err)
{
	return with_unit(node, path, "a duration (such as 60s)", def, ms, str_parse_duration, err);
}
