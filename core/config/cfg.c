/*
 * cfg: the tree itself: making, loading, finding, freeing. Typed values are in cfg_value.c.
 */
#include "core/config/cfg.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/base/file.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/config/cfg_int.h"

int cfg_fail(struct cfg_builder *b, unsigned line, int code, const char *format, ...)
{
	char message[400];
	va_list ap;

	va_start(ap, format);
	vsnprintf(message, sizeof(message), format, ap);
	va_end(ap);
	return err_set(b->err, code, "%s:%u: %s", b->file, line, message);
}

static unsigned depth_of(const struct cfg_node *node)
{
	unsigned depth = 0;

	for (; node; node = node->parent)
		depth++;
	return depth;
}

static void append_child(struct cfg_node *parent, struct cfg_node *node)
{
	node->parent = parent;
	if (parent->last)
		parent->last->next = node;
	else
		parent->first = node;
	parent->last = node;
	parent->child_count++;
}

struct cfg_node *cfg_add(struct cfg_builder *b, struct cfg_node *parent, const char *key, size_t key_len,
			 enum cfg_kind kind, unsigned line, int *code)
{
	struct cfg_node *node;

	if (b->nodes >= CFG_NODES_MAX || parent->child_count >= CFG_CHILDREN_MAX) {
		*code = cfg_fail(b, line, -E_LIMIT, "too many entries");
		return NULL;
	}
	if (depth_of(parent) >= CFG_DEPTH_MAX) {
		*code = cfg_fail(b, line, -E_LIMIT, "nested deeper than %u levels", CFG_DEPTH_MAX);
		return NULL;
	}
	if (key && key_len > CFG_KEY_MAX) {
		*code = cfg_fail(b, line, -E_LIMIT, "key longer than %u bytes", CFG_KEY_MAX);
		return NULL;
	}
	node = mem_calloc(1, sizeof(*node));
	if (node && key)
		node->key = mem_strndup(key, key_len);
	if (!node || (key && !node->key)) {
		mem_free(node);
		*code = cfg_fail(b, line, -ENOMEM, "%s", err_str(ENOMEM));
		return NULL;
	}
	node->kind = kind;
	node->line = line;
	node->file = b->root->file;
	append_child(parent, node);
	b->nodes++;
	return node;
}

int cfg_set_text(struct cfg_builder *b, struct cfg_node *node, enum cfg_scalar scalar, const char *text,
		 size_t len)
{
	char *copy = mem_alloc(len + 1);

	if (!copy)
		return cfg_fail(b, node->line, -ENOMEM, "%s", err_str(ENOMEM));
	if (len)
		memcpy(copy, text, len);
	copy[len] = '\0';
	mem_free_wiped(node->text, node->text_len);
	node->text = copy;
	node->text_len = len;
	node->scalar = scalar;
	return 0;
}

struct cfg_node *cfg_find(const struct cfg_node *map, const char *key, size_t key_len)
{
	for (struct cfg_node *n = map->first; n; n = n->next) {
		if (n->key && strncmp(n->key, key, key_len) == 0 && n->key[key_len] == '\0')
			return n;
	}
	return NULL;
}

static void free_node(struct cfg_node *node)
{
	mem_free(node->key);
	mem_free_wiped(node->text, node->text_len);
	mem_free(node);
}

/* Without recursion: the children of a node are freed before it, from the first leaf on. */
void cfg_free(struct cfg_node *root)
{
	struct cfg_node *node = root;
	char *file = root ? (char *)(uintptr_t)root->file : NULL;

	while (node) {
		struct cfg_node *up = node->parent;

		if (node->first) {
			struct cfg_node *child = node->first;

			node->first = child->next;
			node = child;
			continue;
		}
		if (node == root)
			up = NULL;
		free_node(node);
		node = up;
	}
	mem_free(file);
}

static int read_syntax(enum cfg_syntax syntax, struct cfg_builder *b, const char *text, size_t len)
{
	switch (syntax) {
	case CFG_INI:
		return cfg_read_ini(b, text, len);
	case CFG_TOML:
		return cfg_read_toml(b, text, len);
	case CFG_YAML:
		return cfg_read_yaml(b, text, len);
	default:
		return cfg_fail(b, 1, -EINVAL, "unknown syntax");
	}
}

/* Line of the first NUL byte, for the message. */
static unsigned line_of(const char *text, const char *at)
{
	unsigned line = 1;

	for (; text < at; text++)
		line += *text == '\n';
	return line;
}

int cfg_parse(enum cfg_syntax syntax, const char *name, const char *text, size_t len, struct cfg_node **root,
	      struct err_text *err)
{
	struct cfg_builder b = {.file = name, .err = err, .nodes = 1};
	char *copy = NULL;
	const char *nul;
	int code;

	*root = NULL;
	if (len > CFG_TEXT_MAX)
		return err_set(err, -E_LIMIT, "%s: larger than %u bytes", name, CFG_TEXT_MAX);
	nul = len ? memchr(text, '\0', len) : NULL;
	if (nul)
		return cfg_fail(&b, line_of(text, nul), -E_PARSE, "NUL byte");
	copy = mem_strndup(text, len);
	b.root = mem_calloc(1, sizeof(*b.root));
	if (b.root)
		b.root->file = mem_strdup(name);
	if (!copy || !b.root || !b.root->file) {
		code = err_set(err, -ENOMEM, "%s: %s", name, err_str(ENOMEM));
		goto out;
	}
	b.root->kind = CFG_MAP;
	b.root->line = 1;
	code = read_syntax(syntax, &b, copy, len);
	if (code)
		goto out;
	*root = b.root;
	b.root = NULL;
out:
	cfg_free(b.root);
	mem_free_wiped(copy, len);
	return code;
}

int cfg_syntax_of(const char *path, enum cfg_syntax *syntax)
{
	if (str_ends(path, ".ini") || str_ends(path, ".conf"))
		*syntax = CFG_INI;
	else if (str_ends(path, ".toml"))
		*syntax = CFG_TOML;
	else if (str_ends(path, ".yaml") || str_ends(path, ".yml"))
		*syntax = CFG_YAML;
	else
		return -EINVAL;
	return 0;
}

int cfg_load(const char *path, struct cfg_node **root, struct err_text *err)
{
	enum cfg_syntax syntax;
	char *text = NULL;
	size_t len = 0;
	int code;

	*root = NULL;
	if (cfg_syntax_of(path, &syntax))
		return err_set(err, -EINVAL, "%s: a configuration file ends in .ini, .toml or .yaml", path);
	code = file_read_all(path, CFG_TEXT_MAX, &text, &len);
	if (code == -E_LIMIT)
		return err_set(err, code, "%s: larger than %u bytes", path, CFG_TEXT_MAX);
	if (code)
		return err_set(err, code, "cannot read %s: %s", path, err_str(code));
	code = cfg_parse(syntax, path, text, len, root, err);
	mem_free_wiped(text, len);
	return code;
}

/* ---- finding ---- */

const struct cfg_node *cfg_child(const struct cfg_node *map, const char *key)
{
	return map && map->kind == CFG_MAP ? cfg_find(map, key, strlen(key)) : NULL;
}

static const struct cfg_node *child_at(const struct cfg_node *node, size_t index)
{
	cfg_each(node, n)
	{
		if (index-- == 0)
			return n;
	}
	return NULL;
}

/* Takes the next part of a path: *part, *len. Returns what follows its dot, or NULL after the last. */
static const char *next_part(const char *path, const char **part, size_t *len)
{
	const char *end;

	if (*path == '"') {
		*part = path + 1;
		end = strchrnul(path + 1, '"');
		*len = (size_t)(end - path - 1);
		end += *end == '"';
	} else {
		*part = path;
		end = strchrnul(path, '.');
		*len = (size_t)(end - path);
	}
	return *end == '.' ? end + 1 : NULL;
}

const struct cfg_node *cfg_get(const struct cfg_node *node, const char *path)
{
	while (node && path) {
		const char *part;
		uint64_t index;
		size_t len;

		path = next_part(path, &part, &len);
		if (node->kind == CFG_MAP)
			node = cfg_find(node, part, len);
		else if (node->kind == CFG_LIST && str_parse_u64_n(part, len, &index) == 0)
			node = child_at(node, index);
		else
			node = NULL;
	}
	return node;
}

static size_t index_of(const struct cfg_node *node)
{
	size_t index = 0;

	for (const struct cfg_node *n = node->parent->first; n != node; n = n->next)
		index++;
	return index;
}

char *cfg_path_of(const struct cfg_node *node, char *dst, size_t size)
{
	const struct cfg_node *chain[CFG_DEPTH_MAX + 1];
	size_t count = 0, len = 0;

	for (; node->parent && count <= CFG_DEPTH_MAX; node = node->parent)
		chain[count++] = node;
	dst[0] = '\0';
	while (count && len < size) {
		const struct cfg_node *n = chain[--count];
		int more;

		if (n->key)
			more = snprintf(dst + len, size - len, "%s%s", len ? "." : "", n->key);
		else
			more = snprintf(dst + len, size - len, "[%zu]", index_of(n));
		len += more > 0 ? (size_t)more : 0;
	}
	return dst;
}

static bool equal_children(const struct cfg_node *a, const struct cfg_node *b)
{
	const struct cfg_node *other = b->first;

	if (a->child_count != b->child_count)
		return false;
	cfg_each(a, child)
	{
		if (!cfg_equal(child, a->kind == CFG_MAP ? cfg_child(b, child->key) : other))
			return false;
		other = other ? other->next : NULL;
	}
	return true;
}

bool cfg_equal(const struct cfg_node *a, const struct cfg_node *b)
{
	if (!a || !b)
		return a == b;
	if (a->kind != b->kind)
		return false;
	if (a->kind != CFG_SCALAR)
		return equal_children(a, b);
	return a->scalar == b->scalar && a->text_len == b->text_len &&
	       memcmp(a->text, b->text, a->text_len) == 0;
}
