/*
 * schema: rows that say which keys a configuration may have, and where their values go.
 *
 *	struct conf { char *root; uint64_t rpo_ms; const struct cfg_node *meta; };
 *	static const struct schema_row rows[] = {
 *		SCHEMA_STR(struct conf, root, "root", NULL, SCHEMA_REQUIRED, "directory that is watched"),
 *		SCHEMA_MS(struct conf, rpo_ms, "rpo", "60s", 1000, 86400000, 0, "how much may be lost with the node"),
 *		SCHEMA_ANY(struct conf, meta, "meta", 0, "where metadata goes"),
 *		SCHEMA_END,
 *	};
 *
 * A row's path may be dotted ("meta.config.prefix"): the maps above it are then known too. A row of type SCHEMA_T_ANY
 * knows the whole subtree and stores the node. Keys without a row are errors in strict mode ("zstor.toml:3: unknown key
 * 'rooot' (did you mean 'root'?)"); in lenient mode each is a warning in the log. Values are never part of a message.
 */
#ifndef CORE_CONFIG_SCHEMA_H
#define CORE_CONFIG_SCHEMA_H

#include <stddef.h>
#include <stdint.h>

#include "core/config/cfg.h"

enum schema_type {
	SCHEMA_T_END,
	SCHEMA_T_STR,    /* char *: own copy (mem) */
	SCHEMA_T_U64,    /* uint64_t in [min, max]; max 0 = no bound */
	SCHEMA_T_I64,    /* int64_t in [min, max]; both 0 = no bound */
	SCHEMA_T_BOOL,   /* bool */
	SCHEMA_T_SIZE,   /* uint64_t bytes */
	SCHEMA_T_MS,     /* uint64_t milliseconds */
	SCHEMA_T_CHOICE, /* int or enum: index into `choices` */
	SCHEMA_T_ANY,    /* const struct cfg_node *: points into the tree, NULL when absent */
	SCHEMA_T_KNOWN,  /* accepted and ignored, with its whole subtree */
};

#define SCHEMA_REQUIRED 0x1u
#define SCHEMA_SECRET   0x2u /* wiped by schema_release() */
#define SCHEMA_IGNORED                                                                                       \
	0x4u /* a key of the program that we replace which has no effect here: a warning when present */
#define SCHEMA_NONEMPTY 0x8u /* SCHEMA_T_STR: "" is an error */

struct schema_row {
	const char *path;
	enum schema_type type;
	unsigned flags;
	const char *def; /* text, parsed like a value; NULL: the field keeps 0 / NULL */
	int64_t min, max;
	const char *const *choices; /* ended by NULL */
	size_t offset;
	const char *help;
};

#define SCHEMA_FIELD(T, field, want)                                                                         \
	(offsetof(T, field) +                                                                                \
	 0 * sizeof(char[__builtin_types_compatible_p(__typeof__(((T *)0)->field), want) ? 1 : -1]))
#define SCHEMA_FIELD_SIZED(T, field, bytes)                                                                  \
	(offsetof(T, field) + 0 * sizeof(char[sizeof(((T *)0)->field) == (bytes) ? 1 : -1]))

#define SCHEMA_STR(T, field, PATH, DEF, FLAGS, HELP)                                                         \
	{                                                                                                    \
		.path = (PATH), .type = SCHEMA_T_STR, .flags = (FLAGS), .def = (DEF),                        \
		.offset = SCHEMA_FIELD(T, field, char *), .help = (HELP)                                     \
	}
#define SCHEMA_U64(T, field, PATH, DEF, MIN, MAX, FLAGS, HELP)                                               \
	{                                                                                                    \
		.path = (PATH), .type = SCHEMA_T_U64, .flags = (FLAGS), .def = (DEF), .min = (MIN),          \
		.max = (MAX), .offset = SCHEMA_FIELD(T, field, uint64_t), .help = (HELP)                     \
	}
#define SCHEMA_I64(T, field, PATH, DEF, MIN, MAX, FLAGS, HELP)                                               \
	{                                                                                                    \
		.path = (PATH), .type = SCHEMA_T_I64, .flags = (FLAGS), .def = (DEF), .min = (MIN),          \
		.max = (MAX), .offset = SCHEMA_FIELD(T, field, int64_t), .help = (HELP)                      \
	}
#define SCHEMA_BOOL(T, field, PATH, DEF, FLAGS, HELP)                                                        \
	{                                                                                                    \
		.path = (PATH), .type = SCHEMA_T_BOOL, .flags = (FLAGS), .def = (DEF),                       \
		.offset = SCHEMA_FIELD(T, field, bool), .help = (HELP)                                       \
	}
#define SCHEMA_SIZE(T, field, PATH, DEF, MIN, MAX, FLAGS, HELP)                                              \
	{                                                                                                    \
		.path = (PATH), .type = SCHEMA_T_SIZE, .flags = (FLAGS), .def = (DEF), .min = (MIN),         \
		.max = (MAX), .offset = SCHEMA_FIELD(T, field, uint64_t), .help = (HELP)                     \
	}
#define SCHEMA_MS(T, field, PATH, DEF, MIN, MAX, FLAGS, HELP)                                                \
	{                                                                                                    \
		.path = (PATH), .type = SCHEMA_T_MS, .flags = (FLAGS), .def = (DEF), .min = (MIN),           \
		.max = (MAX), .offset = SCHEMA_FIELD(T, field, uint64_t), .help = (HELP)                     \
	}
#define SCHEMA_CHOICE(T, field, PATH, DEF, WORDS, FLAGS, HELP)                                               \
	{                                                                                                    \
		.path = (PATH), .type = SCHEMA_T_CHOICE, .flags = (FLAGS), .def = (DEF), .choices = (WORDS), \
		.offset = SCHEMA_FIELD_SIZED(T, field, sizeof(int)), .help = (HELP)                          \
	}
#define SCHEMA_ANY(T, field, PATH, FLAGS, HELP)                                                              \
	{                                                                                                    \
		.path = (PATH), .type = SCHEMA_T_ANY, .flags = (FLAGS),                                      \
		.offset = SCHEMA_FIELD(T, field, const struct cfg_node *), .help = (HELP)                    \
	}
#define SCHEMA_KNOWN(PATH, FLAGS, HELP)                                                                      \
	{                                                                                                    \
		.path = (PATH), .type = SCHEMA_T_KNOWN, .flags = (FLAGS), .help = (HELP)                     \
	}
#define SCHEMA_END                                                                                           \
	{                                                                                                    \
		.type = SCHEMA_T_END                                                                         \
	}

/*
 * Fills `target` (zeroed by the caller) from `node` (NULL = an empty map: defaults and required keys only). 0,
 * -E_CONFIG with a sentence in `err`, -ENOMEM. On an error nothing has to be released. `strict` decides what an unknown
 * key is; SCHEMA_IGNORED keys are errors in strict mode too.
 */
int schema_fill(const struct schema_row *rows, const struct cfg_node *node, void *target, bool strict,
		struct err_text *err);

/* Frees (and wipes, for secrets) the strings that schema_fill() put into `target`. */
void schema_release(const struct schema_row *rows, void *target);

#endif
