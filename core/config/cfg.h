/*
 * cfg: one configuration tree, three syntaxes.
 *
 * INI (inih), TOML 1.0 (our own strict reader) and YAML (libyaml) become the same tree of maps, lists and scalars, in
 * the order of the file, each node with its line. Scalars keep their text; the typed getters interpret it, and know
 * what the syntax said it was.
 *
 * Bounds: CFG_TEXT_MAX bytes of text, CFG_NODES_MAX nodes, CFG_CHILDREN_MAX in one map or list, CFG_DEPTH_MAX levels,
 * CFG_KEY_MAX bytes in a key; beyond them -E_LIMIT. YAML anchors and aliases are refused (-E_PARSE): no expansion can be made to explode. A key that is
 * given twice is an error everywhere. The text, which may hold secrets, is wiped when the tree is released, and
 * messages show keys and positions, never values.
 *
 * Trees do not change after parsing: they may be read by several threads.
 */
#ifndef CORE_CONFIG_CFG_H
#define CORE_CONFIG_CFG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/err.h"

#define CFG_TEXT_MAX     (1u << 20)
#define CFG_NODES_MAX    65536u
#define CFG_CHILDREN_MAX 8192u
#define CFG_DEPTH_MAX    32u
#define CFG_KEY_MAX      255u

enum cfg_syntax {
	CFG_INI, /* [a.b] sections are nested maps; keys before the first section are at the top */
	CFG_TOML,
	CFG_YAML, /* one document; an empty one is an empty map */
};

enum cfg_kind {
	CFG_MAP,
	CFG_LIST,
	CFG_SCALAR,
};

/* What the syntax says about a scalar. Plain text of INI and YAML is CFG_PLAIN: any getter may interpret it. */
enum cfg_scalar {
	CFG_PLAIN,
	CFG_STRING, /* quoted */
	CFG_INT,
	CFG_FLOAT,
	CFG_BOOL,
	CFG_DATE, /* TOML date, time or both: text as written */
	CFG_NULL, /* YAML null, ~ or nothing */
};

struct cfg_node {
	enum cfg_kind kind;
	enum cfg_scalar scalar;
	char *key;  /* name in the parent map; NULL in lists and for the root */
	char *text; /* scalars: decoded text with a NUL behind it (TOML ints in decimal); otherwise NULL */
	size_t text_len;  /* may differ from strlen(text): TOML and YAML strings can hold \0 */
	unsigned line;    /* where it begins, from 1 */
	const char *file; /* name for messages; shared by the whole tree */
	size_t child_count;
	struct cfg_node *parent, *first, *last, *next;
	uint8_t origin; /* private to the readers: which later definitions may extend it */
};

/*
 * Reads a file; its extension says the syntax: .ini and .conf, .toml, .yaml and .yml. 0, a negative errno of reading it,
 * -E_PARSE, -E_LIMIT, -ENOMEM, or -EINVAL for an unknown extension; `err` gets the sentence "zstor.toml:12: ...".
 */
int cfg_load(const char *path, struct cfg_node **root, struct err_text *err);

/* The same from text; `name` is used in messages and copied. */
int cfg_parse(enum cfg_syntax syntax, const char *name, const char *text, size_t len, struct cfg_node **root,
	      struct err_text *err);

/* Syntax by a path's extension: 0 or -EINVAL. */
int cfg_syntax_of(const char *path, enum cfg_syntax *syntax);

/* Wipes and frees a tree. NULL is fine. */
void cfg_free(struct cfg_node *root);

/*
 * The node at a dotted path below `node` ("meta.config.prefix"; "groups.0.backends.1.address": numbers index lists). A key
 * that holds dots itself is quoted: a."b.c". NULL when it is absent, or when `node` is NULL.
 */
const struct cfg_node *cfg_get(const struct cfg_node *node, const char *path);
/* The direct child of a map with exactly this key, or NULL. */
const struct cfg_node *cfg_child(const struct cfg_node *map, const char *key);

#define cfg_each(node, it) for (const struct cfg_node *it = (node) ? (node)->first : NULL; it; it = it->next)

/* "groups[0].backends[1].address": the path of a node from the root, for messages. Returns dst. */
char *cfg_path_of(const struct cfg_node *node, char *dst, size_t size);

/*
 * Values at a path. Absent (or YAML null): *value = the default, 0 is returned. Present but not such a value: *value = the
 * default, -E_CONFIG, `err` says "FILE:LINE: KEY: not a number". Strings point into the tree. A string with a NUL inside
 * is refused. Sizes and durations are the texts of core/base/str.h, or bare integers (bytes; seconds).
 */
int cfg_str(const struct cfg_node *node, const char *path, const char *def, const char **value,
	    struct err_text *err);
int cfg_u64(const struct cfg_node *node, const char *path, uint64_t def, uint64_t *value,
	    struct err_text *err);
int cfg_i64(const struct cfg_node *node, const char *path, int64_t def, int64_t *value, struct err_text *err);
int cfg_bool(const struct cfg_node *node, const char *path, bool def, bool *value, struct err_text *err);
int cfg_size(const struct cfg_node *node, const char *path, uint64_t def, uint64_t *bytes,
	     struct err_text *err);
int cfg_duration(const struct cfg_node *node, const char *path, uint64_t def, uint64_t *ms,
		 struct err_text *err);

/* Fills `err` with "FILE:LINE: KEY: <message>" and returns -E_CONFIG, for checks of your own. */
int cfg_error(const struct cfg_node *node, struct err_text *err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Whether two trees (or two NULLs) hold the same: order of keys in maps does not matter, lines and file names neither. For reloads. */
bool cfg_equal(const struct cfg_node *a, const struct cfg_node *b);

#endif
