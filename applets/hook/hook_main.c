/*
 * hook: the program that a 0-db server starts for each event. It writes down durably what is owed, or asks zstor for
 * what is missing, and answers.
 *
 * Guarantees: exit 0 for an event that owes something only after the intention is durable; beside a server of ours,
 * which writes its own intentions ($ZDB_SPOOL), it only wakes zstor. No shell, no other program, no temporary copies.
 * It leaves the server's session at once, so that signals to the server's group do not cut it short.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "applets/hook/hook.h"
#include "core/base/applet.h"
#include "core/base/err.h"
#include "core/base/log.h"

static int run_event(struct hook *h, const struct hook_event *ev)
{
	int token = -1, rc, code;

	if (!ev->needs_spool || h->zdb_spools)
		return ev->run(h);
	rc = spool_open(h->where.spool, SPOOL_CREATE, &h->spool);
	if (rc == 0)
		rc = spool_hook_enter(h->spool, ev->is_closing, &token);
	if (rc < 0) {
		log_err("cannot record %s in %s: %s", ev->name, h->where.spool, err_str(rc));
		spool_close(h->spool);
		return rc == -EAGAIN ? EXIT_AGAIN : EXIT_FAILED;
	}
	code = ev->run(h);
	spool_hook_leave(h->spool, token);
	spool_close(h->spool);
	return code;
}

static int hook_main(const struct applet *self, int argc, char **argv)
{
	const char *zdb_spool = getenv("ZDB_SPOOL");
	const struct hook_event *ev;
	struct hook h = {0};
	struct err_text err = {0};
	int rc;

	log_init("hook", LOG_CLI, LOG_LEVEL_INFO);
	if (argc >= 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
		applet_print_help(self, stdout);
		return EXIT_DONE;
	}
	if (argc < 3) {
		fprintf(stderr, "hook: usage: hook EVENT INSTANCE [ARGUMENT...]\n");
		return EXIT_FAILED;
	}
	ev = hook_event_find(argv[1]);
	if (!ev) {
		log_warn("unknown event %s: nothing done", argv[1]);
		return EXIT_FAILED;
	}
	h.event = argv[1];
	h.instance = argv[2];
	h.argc = argc - 3;
	h.argv = argv + 3;
	h.zdb_spools = zdb_spool && zdb_spool[0];
	if (h.argc < ev->args_min) {
		log_err("event %s needs %d arguments, got %d", ev->name, ev->args_min, h.argc);
		return EXIT_FAILED;
	}
	(void)setsid(); /* fails only for a session leader, which is what we want to be */
	rc = where_load(&h.where, NULL, &err);
	if (rc < 0) {
		log_err("cannot handle %s: %s", ev->name, err.text);
		return EXIT_FAILED;
	}
	return run_event(&h, ev);
}

APPLET_REGISTER(hook) = {
	.name = "hook",
	.aliases = "hook.sh",
	.summary = "what zdb calls when a segment closes, is missing, or a namespace changes",
	.usage = "EVENT INSTANCE [ARGUMENT...]",
	.main = hook_main,
	.exit_usage = EXIT_FAILED,
	.man = "## EVENTS\n"
	       "namespaces-init, ready, namespace-created, namespace-updated, namespace-deleted, "
	       "namespace-reloaded, "
	       "jump-index, jump-data, missing-data, close, namespace-closing, crash; arguments as 0-db "
	       "gives them; missing-index, which only a server of ours sends. An "
	       "unknown event exits 1 and does nothing.\n"
	       "\n"
	       "namespaces-init restores an empty state directory from the newest recovery point and keeps "
	       "the server "
	       "waiting until that is done, refused, or the limit is over; ready is non-zero unless the "
	       "state is whole. "
	       "missing-data brings one segment back, missing-index what the stores have of an index "
	       "file.\n"
	       "## ENVIRONMENT\n"
	       "ZSTOR_CONFIG: zstor's configuration, default /data/zstor.toml. ZDB_SPOOL: set by a server "
	       "that records "
	       "its intentions itself; then events only wake zstor. HOOK_RESTORE_LIMIT (default 10m) and "
	       "HOOK_RETRIEVE_LIMIT (default 60s): durations.\n"
	       "## EXIT STATUS\n"
	       "0 when what the event owes is durable or done; 1 on failure or for an unknown event; 75 when "
	       "a shutdown "
	       "refuses new events or the answer is not known within the limit; 4, 6, 7 as zstor says.\n",
};
