/*
 * applet: what an applet registers, and how the one binary finds it.
 *
 * Every directory applets/<name>/ that the configuration enables holds exactly one registration, in one of
 *its files:
 *
 *	APPLET_REGISTER(zdb) = {
 *		.name = "zdb",
 *		.aliases = "zdbd",
 *		.summary = "append-only key-value store that speaks the redis protocol",
 *		.usage = "",
 *		.main = zdb_main,
 *		.options = zdb_options,
 *		.man = "## FILES\n...",
 *	};
 *
 * The identifier is the directory's name with every character that C does not allow in names turned into '_'
 * (applets/wait_hooks registers `wait_hooks`). The build generates the list of registrations from the enabled
 *directories; nothing else has to be edited to add an applet. An applet's other symbols are its own: no other
 *room may use them.
 */
#ifndef CORE_BASE_APPLET_H
#define CORE_BASE_APPLET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "core/base/opt.h"

/* Exit codes of our own programs; a program that we replace keeps its own. */
enum exit_code {
	EXIT_DONE = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_PARTLY = 3,   /* a part was done, the rest is named on stderr */
	EXIT_DEGRADED = 4, /* degraded, but everything is readable */
	EXIT_LOCKED = 5,   /* another instance holds the lock */
	EXIT_KEY = 6,      /* key or password missing or wrong */
	EXIT_NOT_FOUND = 7,
	EXIT_AGAIN = 75, /* try again later */
	EXIT_UNKNOWN_APPLET = 127,
};

struct applet {
	const char *name; /* canonical name; also the man page's */
	/*
	 * Further names by which it is started, separated by spaces; NULL = none. A name may carry leading
	 * arguments after '=', separated by commas: "create_namespaces=ns" starts this applet as if `ns` were
	 * its first argument.
	 */
	const char *aliases;
	const char *summary; /* one line, no full stop */
	const char *usage; /* what follows [OPTIONS] in the usage line; NULL = nothing, or VERB for an applet
			      with verbs */
	/* Gets the arguments as given; argv[0] is the name by which it was called, without directories.
	 * Returns the exit code. */
	int (*main)(const struct applet *self, int argc, char **argv);
	const struct opt *options; /* ended by OPT_END; NULL = none but --help */
	const struct verb *verbs;  /* ended by a NULL name; NULL = no verbs */
	unsigned opt_flags;        /* OPT_SINGLE_DASH, OPT_PREFIX, ... */
	int exit_usage;            /* exit code of usage errors; 0 = OPT_EXIT_USAGE */
	/*
	 * Body of the man page after the options, light markup: "## HEADING" begins a section, a blank line a
	 * paragraph, lines indented by four spaces are shown as they are. NULL = none.
	 */
	const char *man;
	bool hidden; /* works, but --list does not show it and --install makes no link */
};

#define APPLET_REGISTER(id)                                                                                  \
	extern const struct applet applet_##id;                                                              \
	const struct applet applet_##id

/*
 * Every registered applet, sorted by name, ended by NULL. Defined by the generated registry that is linked
 * into the program; unit tests that call functions below define their own.
 */
extern const struct applet *const applet_registry[];
extern const size_t applet_registry_count;

/*
 * The applet called `name` (canonical or alias), or NULL. *leading, if not NULL, becomes the alias's leading
 * arguments
 * ("ns" or "a,b", ended by a blank or NUL), or NULL when the name has none.
 */
const struct applet *applet_find(const char *name, const char **leading);

/* The applet's verb called `name` (or by one of its aliases), or NULL. */
const struct verb *applet_find_verb(const struct applet *self, const char *name);

/*
 * Runs the verb named by argv[0] (argc counts it). Without arguments, or for an unknown verb, one line on
 * stderr and the applet's usage exit code. `ctx` is passed on. Returns the exit code.
 */
int applet_run_verb(const struct applet *self, void *ctx, int argc, char **argv);

/* Whole man page (roff, section 8) of an applet; its help text. */
void applet_print_man(const struct applet *self, FILE *out);
void applet_print_help(const struct applet *self, FILE *out);

/*
 * The whole program: picks the applet by argv[0] or by the first argument, or serves --list, --install,
 * --version, --man,
 * --completion. Returns the exit code. applets/main.c is nothing but a call of this.
 */
int applet_dispatch(int argc, char **argv);

#endif
