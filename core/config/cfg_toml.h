/*
 * cfg_toml: the TOML 1.0 reader's two halves: cfg_toml.c has the structure (tables, keys, arrays), cfg_toml_scalar.c the
 * scalars (strings, numbers, dates).
 */
#ifndef CORE_CONFIG_CFG_TOML_H
#define CORE_CONFIG_CFG_TOML_H

#include "core/base/buf.h"
#include "core/config/cfg_int.h"

struct toml {
	struct cfg_builder *b;
	const char *at, *end; /* *end is NUL */
	unsigned line;
	struct buf text; /* the string, or cleaned number, that has just been read; wiped at the end */
};

/* "FILE:LINE: message" for where the reader is; returns -E_PARSE. */
int toml_fail(struct toml *t, const char *what);

/* A string that begins at t->at, into t->text. Multi-line forms only when `may_span`. 0 or a negative code. */
int toml_read_string(struct toml *t, bool may_span);

/* A number, boolean or date that begins at t->at, into `node`. 0 or a negative code. */
int toml_read_bare(struct toml *t, struct cfg_node *node);

#endif
