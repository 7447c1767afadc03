/* Finding applets by name and alias, running verbs, man pages, and the front of the program, on a registry of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/applet.h"

/* ---- a registry of three applets ---------------------------------------------------------------------------------------- */

static char seen[512]; /* what the applet was called with */

static int record(const struct applet *self, int argc, char **argv)
{
	size_t used = (size_t)snprintf(seen, sizeof seen, "%s:", self->name);

	for (int i = 0; i < argc; i++)
		used += (size_t)snprintf(seen + used, sizeof seen - used, " %s", argv[i]);
	assert_null(argv[argc]);
	return 42;
}

static int verb_show(const struct applet *self, const struct verb *verb, void *ctx, int argc, char **argv)
{
	(void)self;
	snprintf(seen, sizeof seen, "%s %d %s %s", verb->name, argc, argv[argc - 1], (const char *)ctx);
	return 3;
}

static int run_verbs(const struct applet *self, int argc, char **argv)
{
	return applet_run_verb(self, NULL, argc - 1, argv + 1);
}

struct conf {
	bool json;
};

static const struct opt show_options[] = {
	OPT_FLAG(struct conf, json, 'j', "json", "as JSON"),
	OPT_END,
};

static const struct verb verbs[] = {
	{.name = "status",
	 .aliases = "st show",
	 .summary = "what is going on",
	 .options = show_options,
	 .main = verb_show},
	{.name = "repair", .summary = "mend", .usage = "FILE...", .main = verb_show, .exit_usage = 5},
	{.name = "debug", .main = verb_show, .hidden = true},
	{0},
};

APPLET_REGISTER(hook) = {.name = "hook", .aliases = "hook.sh", .summary = "told of events", .main = record};
APPLET_REGISTER(qsfs) = {.name = "qsfs",
			 .aliases = "make_ns=ns,-v",
			 .summary = "front door",
			 .main = run_verbs,
			 .verbs = verbs};
APPLET_REGISTER(zinit) = {
	.name = "zinit",
	.summary = "supervisor",
	.main = record,
	.exit_usage = 1,
	.man = "## FILES\nOne-two.\n\n.leading dot\n    zinit list\n    a\\b\nafter\n",
};

const struct applet *const applet_registry[] = {&applet_hook, &applet_qsfs, &applet_zinit, NULL};
const size_t applet_registry_count = 3;

/* ---- catching what is said ---------------------------------------------------------------------------------------------- */

static char said[16384];

static int dispatch(const char *const *list)
{
	char words[8][32], *argv[9];
	FILE *catcher = tmpfile();
	int argc = 0, saved_err, saved_out, code;

	assert_non_null(catcher);
	seen[0] = 0;
	for (; list[argc]; argc++) {
		assert_true(argc < 8);
		snprintf(words[argc], sizeof words[argc], "%s", list[argc]);
		argv[argc] = words[argc];
	}
	argv[argc] = NULL;
	fflush(stdout);
	saved_err = dup(STDERR_FILENO);
	saved_out = dup(STDOUT_FILENO);
	dup2(fileno(catcher), STDERR_FILENO);
	dup2(fileno(catcher), STDOUT_FILENO);
	code = applet_dispatch(argc, argv);
	fflush(stdout);
	dup2(saved_err, STDERR_FILENO);
	dup2(saved_out, STDOUT_FILENO);
	close(saved_err);
	close(saved_out);
	rewind(catcher);
	said[fread(said, 1, sizeof said - 1, catcher)] = 0;
	fclose(catcher);
	return code;
}

#define DISPATCH(...) dispatch((const char *const[]){__VA_ARGS__, NULL})

/* ---- tests -------------------------------------------------------------------------------------------------------------- */

static void applets_are_found_by_every_name(void **state)
{
	const char *leading = "x";

	(void)state;
	assert_ptr_equal(applet_find("hook", &leading), &applet_hook);
	assert_null(leading);
	assert_ptr_equal(applet_find("hook.sh", NULL), &applet_hook);
	assert_ptr_equal(applet_find("zinit", NULL), &applet_zinit);
	assert_ptr_equal(applet_find("make_ns", &leading), &applet_qsfs);
	assert_string_equal(leading, "ns,-v");
	assert_null(applet_find("hook.s", NULL));
	assert_null(applet_find("", NULL));
	assert_null(applet_find("ns", NULL));
	assert_null(applet_find("make_ns=ns", NULL));
}

static void name_of_the_program_chooses(void **state)
{
	(void)state;
	assert_int_equal(DISPATCH("/usr/bin/hook.sh", "ready"), 42);
	assert_string_equal(seen, "hook: hook.sh ready");
	assert_int_equal(DISPATCH("-zinit"), 42);
	assert_string_equal(seen, "zinit: zinit");
	assert_int_equal(DISPATCH("/init", "quiet"), 42);
	assert_string_equal(seen, "zinit: init init quiet");
	assert_int_equal(DISPATCH("linuxrc"), 42);
	assert_string_equal(seen, "zinit: linuxrc init");
}

static void first_argument_chooses(void **state)
{
	(void)state;
	assert_int_equal(DISPATCH("./qsfs", "hook", "a"), 42);
	assert_string_equal(seen, "hook: hook a");
	assert_int_equal(DISPATCH("other-name", "zinit", "list"), 42);
	assert_string_equal(seen, "zinit: zinit list");
	assert_int_equal(DISPATCH("qsfs-0.1.0", "st"), 3);
	assert_string_equal(seen, "status 1 st (null)");
}

static void alias_with_leading_arguments(void **state)
{
	char name[] = "make_ns", rest[] = "new", *argv[] = {name, rest, NULL};

	(void)state;
	/* `ns` is no verb of the test's qsfs: what arrives at it is in its message */
	assert_int_equal(applet_dispatch(2, argv), 2);
}

static void unknown_names_are_one_line(void **state)
{
	(void)state;
	assert_int_equal(DISPATCH("qsfs", "nonsense"), 127);
	assert_string_equal(said, "qsfs: unknown applet or verb 'nonsense': see 'qsfs --list'\n");
	assert_int_equal(DISPATCH("qsfs", "zinitt"), 127);
	assert_string_equal(
		said, "qsfs: unknown applet or verb 'zinitt' (did you mean 'zinit'?): see 'qsfs --list'\n");
	assert_int_equal(DISPATCH("huk"), 127);
	assert_string_equal(said, "qsfs: unknown applet 'huk': see 'qsfs --list'\n");
	assert_int_equal(DISPATCH("qsfs", "--man", "huk"), 127);
}

static void verbs_are_run(void **state)
{
	char status[] = "show", arg[] = "x", wrong[] = "repare", *argv[] = {status, arg, NULL},
	     *bad[] = {wrong, NULL};
	char ctx[] = "ctx";

	(void)state;
	assert_int_equal(applet_run_verb(&applet_qsfs, ctx, 2, argv), 3);
	assert_string_equal(seen, "status 2 x ctx");
	assert_int_equal(applet_run_verb(&applet_qsfs, ctx, 1, bad), 2);
	assert_int_equal(applet_run_verb(&applet_qsfs, ctx, 0, bad), 2);
}

static void a_verb_may_have_a_usage_code_of_its_own(void **state)
{
	char who[32];

	(void)state;
	assert_int_equal(opt_spec_verb(&applet_zinit, &verbs[0], who, sizeof who).exit_usage, 1);
	assert_int_equal(opt_spec_verb(&applet_zinit, &verbs[1], who, sizeof who).exit_usage, 5);
}

static void list_version_and_completion(void **state)
{
	(void)state;
	assert_int_equal(DISPATCH("qsfs", "--list"), 0);
	assert_string_equal(said, "hook\nhook.sh\nqsfs\nmake_ns\nzinit\n");
	assert_int_equal(DISPATCH("qsfs", "--list", "--wrong"), 2);
	assert_int_equal(DISPATCH("qsfs", "--version"), 0);
	assert_int_equal(strncmp(said, "qsfs ", 5), 0);
	assert_int_equal(DISPATCH("qsfs", "--version", "--verbose"), 0);
	assert_non_null(strstr(said, "\nlibsodium "));
	assert_int_equal(DISPATCH("qsfs", "--completion", "qsfs"), 0);
	assert_string_equal(said, "--help\nstatus\nrepair\n");
	assert_int_equal(DISPATCH("qsfs", "--completion", "qsfs", "status"), 0);
	assert_string_equal(said, "--json\n-j\n--help\n");
	assert_int_equal(DISPATCH("qsfs", "--completion"), 0);
	assert_non_null(strstr(said, "complete -F _qsfs_complete hook zinit qsfs\n"));
}

static void man_pages_escape_roff(void **state)
{
	(void)state;
	assert_int_equal(DISPATCH("qsfs", "--man", "zinit"), 0);
	assert_non_null(strstr(said, ".SH FILES\nOne\\-two.\n.PP\n\\&.leading dot\n"));
	assert_non_null(strstr(said, ".nf\nzinit list\na\\eb\n.fi\n.RE\nafter\n"));
	assert_int_equal(DISPATCH("qsfs", "--man"), 0);
	assert_non_null(strstr(said, "qsfs, make_ns \\- front door\n"));
	assert_non_null(strstr(said, ".SS qsfs status \n"));
	assert_null(strstr(said, "debug"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(applets_are_found_by_every_name),
		cmocka_unit_test(name_of_the_program_chooses),
		cmocka_unit_test(first_argument_chooses),
		cmocka_unit_test(alias_with_leading_arguments),
		cmocka_unit_test(unknown_names_are_one_line),
		cmocka_unit_test(verbs_are_run),
		cmocka_unit_test(a_verb_may_have_a_usage_code_of_its_own),
		cmocka_unit_test(list_version_and_completion),
		cmocka_unit_test(man_pages_escape_roff),
	};

	return cmocka_run_group_tests_name("base_applet", tests, NULL, NULL);
}
