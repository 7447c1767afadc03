/*
 * applet_dispatch: the multicall program. The name it was called by chooses the applet; called `qsfs` (or by a name that no
 * applet has) its first argument does. What concerns the binary as a whole is served here: --list, --install, --version, --man,
 * --completion.
 */
#include "core/base/applet.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "build_info.h"

#define PROGRAM   "qsfs"
#define NAMES_MAX 128

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* Calls fn for the applet's name and every alias, in order. Stops at the first call that does not return 0, and returns that. */
static int each_name(const struct applet *applet,
		     int (*fn)(const struct applet *applet, const char *name, void *arg), void *arg)
{
	const char *word = applet->aliases ? applet->aliases : "";
	char name[64];
	int rc = fn(applet, applet->name, arg);

	while (!rc && *(word += strspn(word, " "))) {
		snprintf(name, sizeof name, "%.*s", (int)strcspn(word, "= "), word);
		rc = fn(applet, name, arg);
		word += strcspn(word, " ");
	}
	return rc;
}

static int finish_output(void)
{
	if (!fflush(stdout) && !ferror(stdout))
		return EXIT_DONE;
	fprintf(stderr, PROGRAM ": cannot write to standard output: %s\n", strerror(errno));
	return EXIT_FAILED;
}

/* ---- --list ------------------------------------------------------------------------------------------------------------- */

struct list_options {
	bool verbose;
};

static const struct opt list_table[] = {
	OPT_FLAG(struct list_options, verbose, 'v', "verbose", "with what each applet does"),
	OPT_END,
};

static int print_name(const struct applet *applet, const char *name, void *arg)
{
	const struct list_options *options = arg;

	if (!options->verbose)
		printf("%s\n", name);
	else if (name == applet->name)
		printf("%-20s %s\n", name, applet->summary ? applet->summary : "");
	else
		printf("%-20s = %s\n", name, applet->name);
	return 0;
}

static int do_list(int argc, char **argv)
{
	static const struct opt_spec spec = {
		.who = PROGRAM " --list",
		.summary = "prints the names of all applets",
		.options = list_table,
	};
	struct list_options options = {0};
	struct opt_args args;
	int code;

	if (!opt_parse(&spec, &options, argc, argv, &args, &code))
		return code;
	for (size_t i = 0; i < applet_registry_count; i++)
		if (!applet_registry[i]->hidden)
			each_name(applet_registry[i], print_name, &options);
	return finish_output();
}

/* ---- --version ---------------------------------------------------------------------------------------------------------- */

static int do_version(int argc, char **argv)
{
	static const struct opt table[] = {
		OPT_FLAG(struct list_options, verbose, 'v', "verbose",
			 "with configuration and library versions"),
		OPT_END,
	};
	static const struct opt_spec spec = {
		.who = PROGRAM " --version",
		.summary = "prints the version",
		.options = table,
	};
	struct list_options options = {0};
	struct opt_args args;
	int code;

	if (!opt_parse(&spec, &options, argc, argv, &args, &code))
		return code;
	printf(PROGRAM " %s\n", QSFS_VERSION);
	if (options.verbose) {
		printf("\nbuilt for %s (%s)\n\nlibraries:\n%s\nconfiguration:\n%s", QSFS_ARCH,
		       QSFS_BUILD_KIND, QSFS_LIBRARIES, QSFS_CONFIGURATION);
		printf("\napplets:\n");
		for (size_t i = 0; i < applet_registry_count; i++)
			printf("%s\n", applet_registry[i]->name);
	}
	return finish_output();
}

/* ---- --install ---------------------------------------------------------------------------------------------------------- */

struct install {
	bool symbolic;
	bool force;
	const char *dir;
	char binary[4096]; /* absolute path of this program */
	struct stat self;
	int made, kept, refused;
};

static const struct opt install_table[] = {
	OPT_FLAG(struct install, symbolic, 's', "symbolic", "symbolic links instead of hard links"),
	OPT_FLAG(struct install, force, 'f', "force", "replace files that are not links to this program"),
	OPT_END,
};

/* Creates the link under a name of its own and renames it, so that a name in use never vanishes. */
static int make_link(const struct install *in, const char *path)
{
	char part[4200];
	int rc;

	snprintf(part, sizeof part, "%s.part.%ld", path, (long)getpid());
	unlink(part);
	rc = in->symbolic ? symlink(in->binary, part) : linkat(AT_FDCWD, in->binary, AT_FDCWD, part, 0);
	if (!rc)
		rc = rename(part, path);
	if (rc) {
		rc = -errno;
		unlink(part);
	}
	return rc;
}

static int install_name(const struct applet *applet, const char *name, void *arg)
{
	struct install *in = arg;
	struct stat st, target;
	char path[4100];
	int rc;

	(void)applet;
	if (snprintf(path, sizeof path, "%s/%s", in->dir, name) >= (int)sizeof path) {
		fprintf(stderr, PROGRAM ": cannot install %s: path is too long\n", name);
		return EXIT_FAILED;
	}
	if (lstat(path, &st) == 0) {
		bool ours = stat(path, &target) == 0 && target.st_dev == in->self.st_dev &&
			    target.st_ino == in->self.st_ino;

		/* The program's own file, or a link that is already as wanted. */
		if (ours && (!S_ISLNK(st.st_mode) || in->symbolic)) {
			in->kept++;
			return 0;
		}
		if (S_ISDIR(st.st_mode) || (!ours && !in->force)) {
			fprintf(stderr,
				PROGRAM
				": cannot install %s: %s is there and is not a link to this program%s\n",
				name, path, S_ISDIR(st.st_mode) ? "" : " (--force replaces it)");
			in->refused++;
			return 0;
		}
	}
	rc = make_link(in, path);
	if (rc) {
		fprintf(stderr, PROGRAM ": cannot install %s: %s%s\n", path, strerror(-rc),
			rc == -EXDEV ? " (--symbolic works across file systems)" : "");
		return EXIT_FAILED;
	}
	in->made++;
	return 0;
}

static int do_install(int argc, char **argv)
{
	static const struct opt_spec spec = {
		.who = PROGRAM " --install",
		.summary = "makes a link for every applet in a directory",
		.usage = "DIR",
		.options = install_table,
		.args_min = 1,
		.args_max = 1,
	};
	struct install in = {0};
	struct opt_args args;
	ssize_t length;
	int code;

	if (!opt_parse(&spec, &in, argc, argv, &args, &code))
		return code;
	in.dir = args.argv[0];
	length = readlink("/proc/self/exe", in.binary, sizeof in.binary - 1);
	if (length < 0 || stat("/proc/self/exe", &in.self)) {
		fprintf(stderr, PROGRAM ": cannot find this program's file: /proc/self/exe: %s\n",
			strerror(errno));
		return EXIT_FAILED;
	}
	in.binary[length] = 0;
	code = install_name(NULL, PROGRAM, &in);
	for (size_t i = 0; i < applet_registry_count && !code; i++)
		if (!applet_registry[i]->hidden && strcmp(applet_registry[i]->name, PROGRAM))
			code = each_name(applet_registry[i], install_name, &in);
		else if (!applet_registry[i]->hidden && applet_registry[i]->aliases)
			code = each_name(applet_registry[i], install_name, &in);
	if (code)
		return code;
	printf("%d links made, %d already there, %d refused\n", in.made, in.kept, in.refused);
	code = finish_output();
	return code ? code : in.refused ? EXIT_PARTLY : EXIT_DONE;
}

/* ---- --man, --completion ------------------------------------------------------------------------------------------------ */

static const struct applet *named(const char *option, const char *name)
{
	const struct applet *applet = applet_find(name, NULL);

	if (!applet)
		fprintf(stderr, PROGRAM ": %s: unknown applet '%s': see '" PROGRAM " --list'\n", option,
			name);
	return applet;
}

static int do_man(int argc, char **argv)
{
	const struct applet *applet = named("--man", argc > 1 ? argv[1] : PROGRAM);

	if (!applet)
		return EXIT_UNKNOWN_APPLET;
	applet_print_man(applet, stdout);
	return finish_output();
}

/* A script for bash: it asks the program for the words, so that it never has to be made anew. */
static void print_completion_script(void)
{
	printf("_qsfs_complete()\n{\n"
	       "\tlocal cur=${COMP_WORDS[COMP_CWORD]} name=${COMP_WORDS[0]##*/} verb= word\n"
	       "\tfor word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n"
	       "\t\t[[ $word = -* ]] || { verb=$word; break; }\n"
	       "\tdone\n"
	       "\tCOMPREPLY=($(compgen -W \"$(" PROGRAM
	       " --completion \"$name\" $verb 2>/dev/null)\" -- \"$cur\"))\n"
	       "\t[[ $cur = -* || ${#COMPREPLY[@]} -gt 0 ]] || COMPREPLY=($(compgen -f -- \"$cur\"))\n"
	       "\t[[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} = *= ]] && compopt -o nospace\n"
	       "}\ncomplete -F _qsfs_complete");
	for (size_t i = 0; i < applet_registry_count; i++)
		if (!applet_registry[i]->hidden && strcmp(applet_registry[i]->name, PROGRAM))
			printf(" %s", applet_registry[i]->name);
	printf(" " PROGRAM "\n");
}

static int do_completion(int argc, char **argv)
{
	const struct applet *applet;
	const struct verb *verb = NULL;
	struct opt_spec spec;
	char who[96];

	if (argc < 2) {
		print_completion_script();
		return finish_output();
	}
	applet = named("--completion", argv[1]);
	if (!applet)
		return EXIT_UNKNOWN_APPLET;
	/* `qsfs zdb --po`: the words after an applet's name are the applet's. */
	if (argc > 2 && !strcmp(argv[1], PROGRAM) && applet_find(argv[2], NULL))
		return do_completion(argc - 1, argv + 1);
	if (argc > 2)
		verb = applet_find_verb(applet, argv[2]);
	spec = verb ? opt_spec_verb(applet, verb, who, sizeof who) : opt_spec_applet(applet);
	opt_print_completion(&spec, stdout);
	return finish_output();
}

/* ---- dispatch ----------------------------------------------------------------------------------------------------------- */

static const struct {
	const char *option;
	int (*main)(int argc, char **argv);
	const char *help;
} own_options[] = {
	{"--list", do_list, "[-v]                   names of the applets"},
	{"--install", do_install, "[-s] [--force] DIR  links for all applets in DIR"},
	{"--version", do_version, "[--verbose]         version, configuration, libraries"},
	{"--man", do_man, "APPLET                  manual page, for man -l -"},
	{"--completion", do_completion, "[APPLET [VERB]]  words for completion, or the script for bash"},
};

#define OWN_COUNT (sizeof own_options / sizeof own_options[0])

static int print_own_help(void)
{
	printf("usage: " PROGRAM " APPLET [ARGUMENTS], or a link to it named like an applet\n\n");
	for (size_t i = 0; i < OWN_COUNT; i++)
		printf("  " PROGRAM " %s %s\n", own_options[i].option, own_options[i].help);
	return finish_output();
}

static int unknown(const char *what, const char *name)
{
	const struct applet *program = applet_find(PROGRAM, NULL);
	const char *words[NAMES_MAX], *nearest;
	size_t count = 0;

	for (size_t i = 0; i < applet_registry_count && count < NAMES_MAX; i++)
		words[count++] = applet_registry[i]->name;
	for (const struct verb *verb = program ? program->verbs : NULL;
	     verb && verb->name && count < NAMES_MAX; verb++)
		words[count++] = verb->name;
	nearest = opt_nearest(name, words, count);
	if (nearest)
		fprintf(stderr, PROGRAM ": unknown %s '%s' (did you mean '%s'?): see '" PROGRAM " --list'\n",
			what, name, nearest);
	else
		fprintf(stderr, PROGRAM ": unknown %s '%s': see '" PROGRAM " --list'\n", what, name);
	return EXIT_UNKNOWN_APPLET;
}

/* Runs an applet, with the leading arguments that an alias stands for put in front. */
static int run(const struct applet *applet, const char *leading, int argc, char **argv)
{
	size_t extra = 0, length = leading ? strcspn(leading, " ") : 0;
	char **words, *text, *next;
	int code;

	if (!length)
		return applet->main(applet, argc, argv);
	words = calloc((size_t)argc + length + 2, sizeof *words);
	text = strndup(leading, length);
	if (!words || !text) {
		fprintf(stderr, "%s: cannot start: out of memory\n", applet->name);
		free(words);
		free(text);
		return EXIT_FAILED;
	}
	words[0] = argv[0];
	for (next = text; next; extra++)
		words[1 + extra] = strsep(&next, ",");
	for (int i = 1; i < argc; i++)
		words[extra + (size_t)i] = argv[i];
	code = applet->main(applet, argc + (int)extra, words);
	free(words);
	free(text);
	return code;
}

/* Called `qsfs`, or by a name of no applet (`is_program` false): the first argument decides. */
static int dispatch_by_argument(bool is_program, int argc, char **argv)
{
	const struct applet *program = applet_find(PROGRAM, NULL), *applet;
	const char *word = argc > 1 ? argv[1] : NULL, *leading;

	for (size_t i = 0; word && i < OWN_COUNT; i++)
		if (!strcmp(word, own_options[i].option))
			return own_options[i].main(argc - 1, argv + 1);
	applet = word ? applet_find(word, &leading) : NULL;
	if (applet)
		return run(applet, leading, argc - 1, argv + 1);
	if (!is_program)
		return unknown("applet", argv[0]);
	if (word && *word != '-' && !(program && applet_find_verb(program, word)))
		return unknown(program ? "applet or verb" : "applet", word);
	if (program)
		return program->main(program, argc, argv);
	return print_own_help();
}

int applet_dispatch(int argc, char **argv)
{
	const struct applet *applet;
	const char *name, *leading;

	if (argc < 1) {
		fprintf(stderr, PROGRAM ": started without a name\n");
		return EXIT_UNKNOWN_APPLET;
	}
	name = base_name(argv[0]);
	name += *name == '-'; /* login shells are called that way */
	argv[0] += name - argv[0];
	if (!strcmp(name, "linuxrc") || !strcmp(name, "init")) {
		applet = applet_find("zinit", NULL);
		return applet ? run(applet, "init", argc, argv) : unknown("applet", name);
	}
	if (strcmp(name, PROGRAM)) {
		applet = applet_find(name, &leading);
		if (applet)
			return run(applet, leading, argc, argv);
	}
	return dispatch_by_argument(!strncmp(name, PROGRAM, strlen(PROGRAM)), argc, argv);
}
