/*
 * unit_load: reads unit files in a short-lived child and hands the checked blocks to the caller.
 *
 * A parser that crashes, loops or eats memory on a file costs that one file: the child is limited in time and memory,
 * tells which file it is about to read, and is started again behind the one that killed it.
 */
#ifndef ZINIT_UNIT_LOAD_H
#define ZINIT_UNIT_LOAD_H

#include <stdbool.h>
#include <stddef.h>

#include "core/base/err.h"
#include "core/base/log.h"

#include "applets/zinit/unit.h"

struct unit_sink {
	/* A sound block; copy it to keep it. */
	void (*unit)(void *ctx, const struct unit *unit);
	/* One sentence about a file: LOG_LEVEL_ERR = it was not loaded, LOG_LEVEL_WARN = it was. */
	void (*note)(void *ctx, enum log_level level, const char *sentence);
	void *ctx;
	bool is_strict;  /* unknown keys are errors */
	bool has_groups; /* sub-directories are groups: their units are called "directory/name" */
};

/*
 * Loads every unit of a directory, sorted by name: regular files, or links to them, called NAME.yaml (or NAME.ini, which
 * loses against a .yaml of the same name). 0, or a negative errno when the directory cannot be read or no child can be
 * made; single files never make it fail.
 */
int unit_load_dir(const char *dir, const struct unit_sink *sink);

/* Loads the unit `name` of the directory. 0, -ENOENT when there is no such file, -E_CONFIG when it cannot be used (noted). */
int unit_load_one(const char *dir, const char *name, const struct unit_sink *sink);

/*
 * The content of a unit file as JSON text (mem_free it), with the types that its plain words have. 0, or a negative code
 * with a sentence in `err`.
 */
int unit_load_json(const char *path, char **json, size_t *len, struct err_text *err);

#endif
