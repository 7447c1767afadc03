/*
 * fuzz_cfg.h: what must hold of every tree that a reader of core/config accepted.
 */
#ifndef TESTS_FUZZ_FUZZ_CFG_H
#define TESTS_FUZZ_FUZZ_CFG_H

#include <stdlib.h>
#include <string.h>

#include "core/config/cfg.h"

static inline void must(int condition)
{
	if (!condition)
		abort();
}

/* Links, bounds and kinds are right; every key of a map is found, and found once. Returns the number of nodes. */
static inline size_t check_tree(const struct cfg_node *node, unsigned depth)
{
	size_t nodes = 1, children = 0;

	must(depth <= CFG_DEPTH_MAX);
	must(node->line >= 1);
	must((node->kind == CFG_SCALAR) == (node->text != NULL));
	if (node->text)
		must(node->text[node->text_len] == '\0' && !node->first);
	cfg_each(node, child)
	{
		must(child->parent == node);
		must((child->key != NULL) == (node->kind == CFG_MAP));
		if (child->key) {
			must(strlen(child->key) <= CFG_KEY_MAX);
			must(cfg_child(node, child->key) == child);
		}
		nodes += check_tree(child, depth + 1);
		children++;
	}
	must(children == node->child_count && children <= CFG_CHILDREN_MAX);
	return nodes;
}

/* Parses, checks, and returns the tree, or NULL after checking that the refusal has a sentence. */
static inline struct cfg_node *parse_checked(enum cfg_syntax syntax, const char *text, size_t len)
{
	struct cfg_node *root;
	struct err_text err = {""};
	int code = cfg_parse(syntax, "fuzz", text, len, &root, &err);

	if (code) {
		must(code < 0 && !root && strncmp(err.text, "fuzz:", 5) == 0);
		return NULL;
	}
	must(root->kind == CFG_MAP && check_tree(root, 0) <= CFG_NODES_MAX);
	return root;
}

#endif
