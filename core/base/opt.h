/*
 * opt: one table of options per program or verb; parser, --help, man page and completion come from it.
 *
 * A table is an array of `struct opt` that ends with OPT_END and is normally built with the OPT_* row macros
 *below, which check at compile time that the field has the right type:
 *
 *	struct zdb_conf { const char *data; int64_t port; bool sync; };
 *
 *	static const struct opt zdb_options[] = {
 *		OPT_STR(struct zdb_conf, data, 'd', "data", "DIR", "./zdb-data", "directory of the data
 *files"), OPT_INT(struct zdb_conf, port, 0, "port", "PORT", "9900", 1, 65535, "TCP port to listen on"),
 *		OPT_FLAG(struct zdb_conf, sync, 0, "sync", "sync the data file after every write"),
 *		OPT_END,
 *	};
 *
 * and an applet's main begins with
 *
 *	struct zdb_conf conf = {0};
 *	struct opt_args args;
 *	int code;
 *
 *	if (!opt_parse_applet(self, &conf, argc, argv, &args, &code))
 *		return code;
 *
 * Accepted on the command line: `--name value`, `--name=value`, `-n value`, `-nvalue`, bundled short flags
 *(`-xvf`), `--` (end of options), options and positional arguments in any order. With OPT_SINGLE_DASH in the
 *flags of the table also
 * `-name value` and `-name=value` (as getopt_long_only does), with OPT_PREFIX unambiguous prefixes of long
 *names.
 * `--help` and `-h` (unless the table uses them for itself) print the help text on standard output.
 *
 * Bounds: at most OPT_MAX options in a table and OPT_LIST_MAX values in a list; both are usage errors, never
 *overruns. Nothing here keeps state between calls; different threads may parse at once.
 */
#ifndef CORE_BASE_OPT_H
#define CORE_BASE_OPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define OPT_MAX      192
#define OPT_LIST_MAX 4096

/* Exit code of a usage error unless the applet says otherwise (a program that we replace keeps its own). */
#define OPT_EXIT_USAGE 2

struct applet;

enum opt_type {
	OPT_T_END,
	OPT_T_FLAG,  /* no argument; bool becomes true (with OPT_NEGATABLE, `--no-name` makes it false) */
	OPT_T_COUNT, /* no argument; int grows by one each time (-vv) */
	OPT_T_STR,   /* const char *: points into argv, not copied */
	OPT_T_INT,   /* int64_t within [min, max]; decimal, or hexadecimal after 0x */
	OPT_T_SIZE,  /* uint64_t bytes within [min, max] (max 0 = no limit): 123, 64k, 64K, 64KiB, 4M, 2G, 1T:
			powers of 1024 */
	OPT_T_MS, /* uint64_t milliseconds within [min, max] (max 0 = no limit): 250ms, 5s, 5 (seconds), 10m,
		     1h, 2d */
	OPT_T_CHOICE, /* int or enum: the index of the word in .choices */
	OPT_T_LIST,   /* struct opt_list: every value given, in order; release with opt_list_release() */
	OPT_T_CALL,   /* .call(opt, target, value, why): the value is NULL when the row has no metavar */
};

/* Flags of one row. */
#define OPT_HIDDEN       0x01u /* accepted, but neither in the help nor in the man page */
#define OPT_NEGATABLE    0x02u /* OPT_T_FLAG: `--no-NAME` is accepted too */
#define OPT_REQUIRED     0x04u /* it is a usage error when this option is missing */
#define OPT_DEFAULT_TEXT 0x08u /* .def is only a text for the help: it is not parsed and not stored */

/* Flags of a table (struct opt_spec.flags, struct applet.opt_flags, struct verb.opt_flags). */
#define OPT_SINGLE_DASH 0x100u /* `-name` is tried as a long option first; implies OPT_PREFIX */
#define OPT_PREFIX      0x200u /* unambiguous prefixes of long names are accepted */
#define OPT_STOP_AT_FIRST                                                                                    \
	0x400u /* the first positional argument ends the options (programs with verbs, exec wrappers) */
#define OPT_NO_HELP 0x800u /* --help and -h are not built in */

/* Values of a repeated option. The strings point into argv; the array is the list's own. */
struct opt_list {
	const char **items;
	size_t count;
};

struct opt {
	const char *name; /* long name without dashes; NULL = only the short one */
	char letter;      /* short name; 0 = none */
	enum opt_type type;
	unsigned flags;
	const char *metavar; /* what the help calls the argument: "DIR"; NULL for options without argument */
	const char *def;  /* default, as text: parsed and stored before the arguments are; NULL = leave target
			     alone */
	const char *help; /* one sentence without a full stop; may hold line breaks */
	size_t offset;    /* where the value goes, below the target pointer ... */
	void *ptr;        /* ... unless this is set: then here */
	int64_t min, max; /* OPT_T_INT, OPT_T_SIZE, OPT_T_MS */
	const char *const *choices; /* OPT_T_CHOICE: words, ended by NULL */
	/*
	 * OPT_T_CALL. Returns 0, or -1 after setting *why to a short static text that says what is wrong with
	 * the value
	 * ("not an address"). `value` points into argv and may be kept.
	 */
	int (*call)(const struct opt *o, void *target, const char *value, const char **why);
};

/* offsetof, and a compile error when the field is not of the type that the row stores */
#define OPT_FIELD(T, field, want)                                                                            \
	(offsetof(T, field) +                                                                                \
	 0 * sizeof(char[__builtin_types_compatible_p(__typeof__(((T *)0)->field), want) ? 1 : -1]))
#define OPT_FIELD_SIZED(T, field, bytes)                                                                     \
	(offsetof(T, field) + 0 * sizeof(char[sizeof(((T *)0)->field) == (bytes) ? 1 : -1]))

/*
 * Rows. Further designated members may follow, e.g. OPT_FLAG(struct c, x, 0, "x", "does x", .flags =
 * OPT_HIDDEN). T is the struct the target points at; SHORT is a character or 0.
 */
#define OPT_FLAG(T, field, SHORT, NAME, HELP, ...)                                                           \
	{                                                                                                    \
		.name = (NAME), .letter = (SHORT), .type = OPT_T_FLAG, .help = (HELP),                       \
		.offset = OPT_FIELD(T, field, bool), ##__VA_ARGS__                                           \
	}
#define OPT_COUNT(T, field, SHORT, NAME, HELP, ...)                                                          \
	{                                                                                                    \
		.name = (NAME), .letter = (SHORT), .type = OPT_T_COUNT, .help = (HELP),                      \
		.offset = OPT_FIELD(T, field, int), ##__VA_ARGS__                                            \
	}
#define OPT_STR(T, field, SHORT, NAME, META, DEF, HELP, ...)                                                 \
	{                                                                                                    \
		.name = (NAME), .letter = (SHORT), .type = OPT_T_STR, .metavar = (META), .def = (DEF),       \
		.help = (HELP), .offset = OPT_FIELD(T, field, const char *), ##__VA_ARGS__                   \
	}
#define OPT_INT(T, field, SHORT, NAME, META, DEF, MIN, MAX, HELP, ...)                                       \
	{                                                                                                    \
		.name = (NAME), .letter = (SHORT), .type = OPT_T_INT, .metavar = (META), .def = (DEF),       \
		.min = (MIN), .max = (MAX), .help = (HELP), .offset = OPT_FIELD(T, field, int64_t),          \
		##__VA_ARGS__                                                                                \
	}
#define OPT_SIZE(T, field, SHORT, NAME, META, DEF, MIN, MAX, HELP, ...)                                      \
	{                                                                                                    \
		.name = (NAME), .letter = (SHORT), .type = OPT_T_SIZE, .metavar = (META), .def = (DEF),      \
		.min = (MIN), .max = (MAX), .help = (HELP), .offset = OPT_FIELD(T, field, uint64_t),         \
		##__VA_ARGS__                                                                                \
	}
#define OPT_MS(T, field, SHORT, NAME, META, DEF, MIN, MAX, HELP, ...)                                        \
	{                                                                                                    \
		.name = (NAME), .letter = (SHORT), .type = OPT_T_MS, .metavar = (META), .def = (DEF),        \
		.min = (MIN), .max = (MAX), .help = (HELP), .offset = OPT_FIELD(T, field, uint64_t),         \
		##__VA_ARGS__                                                                                \
	}
#define OPT_CHOICE(T, field, SHORT, NAME, META, DEF, WORDS, HELP, ...)                                       \
	{                                                                                                    \
		.name = (NAME), .letter = (SHORT), .type = OPT_T_CHOICE, .metavar = (META), .def = (DEF),    \
		.choices = (WORDS), .help = (HELP), .offset = OPT_FIELD_SIZED(T, field, sizeof(int)),        \
		##__VA_ARGS__                                                                                \
	}
#define OPT_LIST(T, field, SHORT, NAME, META, HELP, ...)                                                     \
	{                                                                                                    \
		.name = (NAME), .letter = (SHORT), .type = OPT_T_LIST, .metavar = (META), .help = (HELP),    \
		.offset = OPT_FIELD(T, field, struct opt_list), ##__VA_ARGS__                                \
	}
#define OPT_CALL(SHORT, NAME, META, CALL, HELP, ...)                                                         \
	{                                                                                                    \
		.name = (NAME), .letter = (SHORT), .type = OPT_T_CALL, .metavar = (META), .call = (CALL),    \
		.help = (HELP), ##__VA_ARGS__                                                                \
	}
#define OPT_END                                                                                              \
	{                                                                                                    \
		.type = OPT_T_END                                                                            \
	}

/*
 * One verb of an applet (`qsfs up`, `zstor store`). A table of verbs ends with a row whose name is NULL.
 * `main` gets the verb's name as argv[0]; `ctx` is whatever the applet handed to applet_run_verb().
 */
struct verb {
	const char *name;
	const char *aliases; /* further names, separated by spaces; NULL = none */
	const char *summary; /* one line, no full stop */
	const char *usage;   /* what follows the options in the usage line: "FILE..."; NULL = no positional
				arguments */
	const struct opt *options; /* NULL = none but --help */
	int (*main)(const struct applet *self, const struct verb *verb, void *ctx, int argc, char **argv);
	unsigned opt_flags; /* OPT_SINGLE_DASH, ... */
	int exit_usage;     /* exit code of a usage error; 0 = the applet's */
	bool hidden;        /* works, but is not listed */
	const char *man;    /* further text for the man page, see applet.h; NULL = none */
};

/* Everything the parser and the texts need to know about one program or one verb. */
struct opt_spec {
	const char *who;           /* begins every message: "zdb", "zstor store" */
	const char *summary;       /* may be NULL */
	const char *usage;         /* positional part of the usage line; may be NULL */
	const struct opt *options; /* may be NULL */
	const struct verb *verbs;  /* listed in the texts; may be NULL */
	unsigned flags;            /* OPT_SINGLE_DASH, OPT_PREFIX, OPT_STOP_AT_FIRST, OPT_NO_HELP */
	int exit_usage;            /* exit code of a usage error; 0 = OPT_EXIT_USAGE */
	int args_min, args_max;    /* positional arguments; args_max -1 = any number */
};

/* What is left after parsing. */
struct opt_args {
	int argc;    /* number of positional arguments */
	char **argv; /* they, ended by NULL; lies inside the argv that was parsed */
	const struct opt *options;
	uint64_t given[(OPT_MAX + 63) / 64]; /* rows that were on the command line */
};

/*
 * Stores defaults, parses argv[1..] into `target`, and leaves the positional arguments in *args (argv is
 *reordered). Returns true to go on. Returns false when the program has to end with exit code *code: 0 after
 *--help was printed on standard output, the usage exit code after exactly one line on standard error: zdb:
 *unknown option '--foo' (did you mean '--force'?): see 'zdb --help' On false every list in the target has
 *been released and emptied.
 */
bool opt_parse(const struct opt_spec *spec, void *target, int argc, char **argv, struct opt_args *args,
	       int *code);

/*
 * The same for the table of an applet, or of one of its verbs, any number of positional arguments.
 * opt_parse_applet() of an applet with verbs stops at the first positional argument.
 */
bool opt_parse_applet(const struct applet *self, void *target, int argc, char **argv, struct opt_args *args,
		      int *code);
bool opt_parse_verb(const struct applet *self, const struct verb *verb, void *target, int argc, char **argv,
		    struct opt_args *args, int *code);

/*
 * Parses a list like the argument of `mount -o`: words "name", "name=value" separated by `separator`, against
 * the long names of the table. `text` is cut in place and must live as long as the target. Words that the
 * table does not know go, with their value, to `unknown` (an initialised list; NULL = they are usage errors).
 * Returns and messages as opt_parse().
 */
bool opt_parse_words(const struct opt_spec *spec, void *target, char *text, char separator,
		     struct opt_list *unknown, int *code);

/*
 * Prints one line "who: <message>: see 'who --help'" on standard error and returns the table's usage exit
 * code, for checks that the table cannot express.
 */
int opt_usage_error(const struct opt_spec *spec, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* The spec that opt_parse_applet() / opt_parse_verb() use; `who` is written to `buf` for a verb. */
struct opt_spec opt_spec_applet(const struct applet *self);
struct opt_spec opt_spec_verb(const struct applet *self, const struct verb *verb, char *buf, size_t buf_size);

/* Appends to a list. Returns 0, or -ENOMEM, or -E2BIG beyond OPT_LIST_MAX. The string is not copied. */
int opt_list_add(struct opt_list *list, const char *item);
/* Frees the array (not the strings) and empties the list. */
void opt_list_release(struct opt_list *list);

/*
 * The values of OPT_T_INT, OPT_T_SIZE and OPT_T_MS as functions of their own, for configuration files: 0,
 * -EINVAL (not such a value), -ERANGE (does not fit into the type).
 */
int opt_value_int(const char *text, int64_t *value);
int opt_value_size(const char *text, uint64_t *bytes);
int opt_value_ms(const char *text, uint64_t *ms);

/* The row of `count` words nearest to `text`, for "did you mean"; NULL when none is near (more than a third
 * differs). */
const char *opt_nearest(const char *text, const char *const *words, size_t count);

/* Texts made from a table. `out` is not flushed or closed. */
void opt_print_help(const struct opt_spec *spec, FILE *out);
/* Options as roff, sorted as in the table, without page header: see applet_print_man() for whole pages. */
void opt_print_roff(const struct opt_spec *spec, FILE *out);
/* Words for completion, one on a line: `--long`, `-s`, and verbs; words that take an argument end with `=`.
 */
void opt_print_completion(const struct opt_spec *spec, FILE *out);

#endif
