/*
 * schema: rows to struct, and the search for keys that no row knows.
 */
#include "core/config/schema.h"

#include <errno.h>
#include <string.h>

#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/str.h"

#define WORDS_MAX 256

static void *field_of(const struct schema_row *row, void *target)
{
	return (char *)target + row->offset;
}

static const struct cfg_node *value_of(const struct schema_row *row, const struct cfg_node *node)
{
	const struct cfg_node *n = cfg_get(node, row->path);

	return n && n->kind == CFG_SCALAR && n->scalar == CFG_NULL ? NULL : n;
}

/* ---- unknown keys ---- */

/* Whether `path` (length len) is a row's path, or above one: then it is known, and *is_whole says that all below is. */
static bool is_known(const struct schema_row *rows, const char *path, size_t len, bool *is_whole)
{
	bool known = false;

	*is_whole = false;
	for (; rows->type != SCHEMA_T_END; rows++) {
		if (strncmp(rows->path, path, len) != 0 ||
		    (rows->path[len] != '\0' && rows->path[len] != '.'))
			continue;
		known = true;
		/* A scalar row that got a map is found out when its value is read. */
		*is_whole = *is_whole || rows->path[len] == '\0';
	}
	return known;
}

/* The parts that rows have directly below `prefix`, for the suggestion. Returned words end at the next dot or NUL. */
static size_t words_below(const struct schema_row *rows, const char *prefix, char (*words)[CFG_KEY_MAX + 1],
			  const char **list)
{
	size_t len = strlen(prefix), count = 0;

	for (; rows->type != SCHEMA_T_END && count < WORDS_MAX; rows++) {
		const char *part = rows->path + len + (len ? 1 : 0);

		if (len && (strncmp(rows->path, prefix, len) != 0 || rows->path[len] != '.'))
			continue;
		(void)str_copy_n(words[count], sizeof(words[count]), part, strcspn(part, "."));
		list[count] = words[count];
		count++;
	}
	return count;
}

static int unknown_key(const struct schema_row *rows, const struct cfg_node *node, const char *prefix,
		       bool strict, struct err_text *err)
{
	char(*words)[CFG_KEY_MAX + 1] = mem_calloc(WORDS_MAX, sizeof(*words));
	const char **list = mem_calloc(WORDS_MAX, sizeof(*list));
	const char *near = NULL;
	struct err_text text = {0};
	char shown[100];

	if (words && list)
		near = str_nearest(node->key, list, words_below(rows, prefix, words, list));
	str_escape(shown, sizeof(shown), node->key, strlen(node->key));
	err_set(&text, -E_CONFIG, "%s:%u: unknown key '%s%s%s'%s%s%s", node->file, node->line, prefix,
		*prefix ? "." : "", shown, near ? " (did you mean '" : "", near ? near : "",
		near ? "'?)" : "");
	mem_free(words);
	mem_free(list);
	if (!strict) {
		log_warn("%s: ignored", text.text);
		return 0;
	}
	return err_set(err, -E_CONFIG, "%s", text.text);
}

static int check_map(const struct schema_row *rows, const struct cfg_node *map, const char *prefix,
		     bool strict, struct err_text *err)
{
	char path[(CFG_KEY_MAX + 1) * 2];
	bool is_whole;
	int code;

	cfg_each(map, child)
	{
		int len = str_fmt(path, sizeof(path), "%s%s%s", prefix, *prefix ? "." : "", child->key);

		/* Longer than any row's path can be: certainly unknown. A dot inside a key is no path. */
		if (len < 0 || strchr(child->key, '.') || !is_known(rows, path, (size_t)len, &is_whole)) {
			code = unknown_key(rows, child, prefix, strict, err);
		} else if (!is_whole) {
			code = child->kind == CFG_MAP ? check_map(rows, child, path, strict, err)
						      : cfg_error(child, err, "not a table");
		} else {
			code = 0;
		}
		if (code)
			return code;
	}
	return 0;
}

/* ---- values ---- */

static int fill_str(const struct schema_row *row, const struct cfg_node *node, void *target,
		    struct err_text *err)
{
	const char *value;
	char **field = field_of(row, target);
	int code = cfg_str(node, row->path, row->def, &value, err);

	if (code)
		return code;
	if (value && !*value && (row->flags & SCHEMA_NONEMPTY))
		return cfg_error(cfg_get(node, row->path), err, "is empty");
	*field = value ? mem_strdup(value) : NULL;
	return value && !*field ? err_set(err, -ENOMEM, "%s", err_str(ENOMEM)) : 0;
}

static int out_of_range(const struct schema_row *row, const struct cfg_node *node, struct err_text *err)
{
	const struct cfg_node *n = cfg_get(node, row->path);

	if (row->max)
		return cfg_error(n, err, "not within %lld and %lld", (long long)row->min,
				 (long long)row->max);
	return cfg_error(n, err, "less than %lld", (long long)row->min);
}

static int fill_unsigned(const struct schema_row *row, const struct cfg_node *node, void *target,
			 int (*get)(const struct cfg_node *, const char *, uint64_t, uint64_t *,
				    struct err_text *),
			 int (*parse)(const char *, uint64_t *), struct err_text *err)
{
	uint64_t def = 0, value;
	int code;

	if (row->def)
		BUG_ON(parse(row->def, &def));
	code = get(node, row->path, def, &value, err);
	if (code)
		return code;
	if (value_of(row, node) &&
	    (value < (uint64_t)(row->min > 0 ? row->min : 0) || (row->max && value > (uint64_t)row->max)))
		return out_of_range(row, node, err);
	*(uint64_t *)field_of(row, target) = value;
	return 0;
}

static int fill_i64(const struct schema_row *row, const struct cfg_node *node, void *target,
		    struct err_text *err)
{
	int64_t def = 0, value;
	int code;

	if (row->def)
		BUG_ON(str_parse_i64(row->def, &def));
	code = cfg_i64(node, row->path, def, &value, err);
	if (code)
		return code;
	if (value_of(row, node) && (row->min || row->max) && (value < row->min || value > row->max))
		return out_of_range(row, node, err);
	*(int64_t *)field_of(row, target) = value;
	return 0;
}

static int fill_bool(const struct schema_row *row, const struct cfg_node *node, void *target,
		     struct err_text *err)
{
	bool def = false;

	if (row->def)
		BUG_ON(str_parse_bool(row->def, &def));
	return cfg_bool(node, row->path, def, field_of(row, target), err);
}

static int fill_choice(const struct schema_row *row, const struct cfg_node *node, void *target,
		       struct err_text *err)
{
	const char *value;
	int code = cfg_str(node, row->path, row->def, &value, err);

	if (code || !value)
		return code;
	for (int i = 0; row->choices[i]; i++) {
		if (str_eq_nocase(row->choices[i], value)) {
			*(int *)field_of(row, target) = i;
			return 0;
		}
	}
	return cfg_error(cfg_get(node, row->path), err, "not one of the known words");
}

static int fill_row(const struct schema_row *row, const struct cfg_node *node, void *target,
		    struct err_text *err)
{
	switch (row->type) {
	case SCHEMA_T_STR:
		return fill_str(row, node, target, err);
	case SCHEMA_T_U64:
		return fill_unsigned(row, node, target, cfg_u64, str_parse_u64, err);
	case SCHEMA_T_SIZE:
		return fill_unsigned(row, node, target, cfg_size, str_parse_size, err);
	case SCHEMA_T_MS:
		return fill_unsigned(row, node, target, cfg_duration, str_parse_duration, err);
	case SCHEMA_T_I64:
		return fill_i64(row, node, target, err);
	case SCHEMA_T_BOOL:
		return fill_bool(row, node, target, err);
	case SCHEMA_T_CHOICE:
		return fill_choice(row, node, target, err);
	case SCHEMA_T_ANY:
		*(const struct cfg_node **)field_of(row, target) = cfg_get(node, row->path);
		return 0;
	default:
		return 0;
	}
}

static int check_presence(const struct schema_row *row, const struct cfg_node *node, bool strict,
			  struct err_text *err)
{
	const struct cfg_node *value = value_of(row, node);

	if (!value && (row->flags & SCHEMA_REQUIRED)) {
		if (node)
			return err_set(err, -E_CONFIG, "%s: key '%s' is missing", node->file, row->path);
		return err_set(err, -E_CONFIG, "key '%s' is missing", row->path);
	}
	if (value && (row->flags & SCHEMA_IGNORED)) {
		if (strict)
			return cfg_error(value, err, "has no effect here");
		log_warn("%s:%u: %s has no effect here", value->file, value->line, row->path);
	}
	return 0;
}

int schema_fill(const struct schema_row *rows, const struct cfg_node *node, void *target, bool strict,
		struct err_text *err)
{
	int code;

	if (node && node->kind != CFG_MAP)
		return cfg_error(node, err, "not a table");
	code = check_map(rows, node, "", strict, err);
	for (const struct schema_row *row = rows; row->type != SCHEMA_T_END && code == 0; row++) {
		code = check_presence(row, node, strict, err);
		if (code == 0)
			code = fill_row(row, node, target, err);
	}
	if (code)
		schema_release(rows, target);
	return code;
}

void schema_release(const struct schema_row *rows, void *target)
{
	for (; rows->type != SCHEMA_T_END; rows++) {
		char **field;

		if (rows->type != SCHEMA_T_STR)
			continue;
		field = field_of(rows, target);
		if (*field && (rows->flags & SCHEMA_SECRET))
			mem_wipe(*field, strlen(*field));
		mem_free(*field);
		*field = NULL;
	}
}
