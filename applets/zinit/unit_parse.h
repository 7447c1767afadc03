/*
 * unit_parse: from a configuration tree to a unit block. Runs in the loading child; see unit_load.h.
 */
#ifndef ZINIT_UNIT_PARSE_H
#define ZINIT_UNIT_PARSE_H

#include <stdbool.h>

#include "core/base/buf.h"
#include "core/base/err.h"
#include "core/config/cfg.h"

#include "applets/zinit/unit.h"

/* Takes each warning ("zdb.yaml:7: unknown key ..."), which does not keep the unit from being loaded. */
typedef void unit_warn_fn(void *ctx, const char *sentence);

/*
 * Fills `out` (empty, at least UNIT_BYTES_MAX allowed) with the block of the unit in `root`, called `name`, read from
 * `path`. Unknown keys are warnings, with is_strict errors. 0, or a negative code with a sentence in `err`.
 */
int unit_parse(const struct cfg_node *root, const char *name, const char *path, bool is_strict,
	       struct buf *out, unit_warn_fn *warn, void *ctx, struct err_text *err);

#endif
