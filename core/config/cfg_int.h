/*
 * cfg_int: what the readers of the three syntaxes share: making nodes, and saying where something is wrong.
 */
#ifndef CORE_CONFIG_CFG_INT_H
#define CORE_CONFIG_CFG_INT_H

#include "core/config/cfg.h"

struct cfg_builder {
	const char *file; /* for messages */
	struct cfg_node *root;
	struct err_text *err;
	size_t nodes;
};

/*
 * A new node below `parent`, at its end. `key` (key_len bytes, no NUL inside) is NULL in lists. NULL on error: then *code
 * says why and the message has been set. Does not look for a node with the same key.
 */
struct cfg_node *cfg_add(struct cfg_builder *b, struct cfg_node *parent, const char *key, size_t key_len,
			 enum cfg_kind kind, unsigned line, int *code);

/* Gives a scalar its text (copied). 0 or -ENOMEM. */
int cfg_set_text(struct cfg_builder *b, struct cfg_node *node, enum cfg_scalar scalar, const char *text,
		 size_t len);

/* The child of a map with this key, to be changed. */
struct cfg_node *cfg_find(const struct cfg_node *map, const char *key, size_t key_len);

/* "FILE:LINE: <message>"; returns `code`. */
int cfg_fail(struct cfg_builder *b, unsigned line, int code, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* Readers: fill b->root, an empty map, from text that ends with a NUL at text[len]. 0 or a negative code, message set. */
int cfg_read_ini(struct cfg_builder *b, const char *text, size_t len);
int cfg_read_toml(struct cfg_builder *b, const char *text, size_t len);
int cfg_read_yaml(struct cfg_builder *b, const char *text, size_t len);

#endif
