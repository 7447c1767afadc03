/*
 * hook: requests to zstor, each with a limit and a reason.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "applets/hook/hook.h"
#include "core/base/applet.h"
#include "core/base/clock.h"
#include "core/base/err.h"
#include "core/base/log.h"
#include "core/base/str.h"
#include "core/ctl/ctl.h"

#define KICK_MS          1000
#define RETRIEVE_MS      60000u
#define RESTORE_MS       600000u
#define RETRY_FIRST_MS   250u
#define RETRY_LONGEST_MS 5000u

static uint64_t limit_from_env(const char *name, uint64_t def_ms)
{
	const char *text = getenv(name);
	uint64_t ms;

	if (!text || !text[0])
		return def_ms;
	if (str_parse_duration(text, &ms) < 0) {
		log_warn("%s is not a duration: %s", name, text);
		return def_ms;
	}
	return ms;
}

static void pause_ms(uint64_t ms)
{
	struct timespec ts = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};

	nanosleep(&ts, NULL);
}

int hook_kick(struct hook *h)
{
	struct err_text err = {0};

	if (!h->where.socket[0])
		return EXIT_DONE;
	return ctl_call(h->where.socket, "{\"cmd\":\"kick\"}", KICK_MS, NULL, NULL, &err) < 0 ? EXIT_AGAIN
											      : EXIT_DONE;
}

static int show_progress(void *ctx, yyjson_val *line)
{
	yyjson_val *p = yyjson_obj_get(line, "progress");
	const char *text = yyjson_get_str(yyjson_obj_get(p, "text"));

	(void)ctx;
	if (text)
		log_info("%s %llu/%llu", text, (unsigned long long)yyjson_get_uint(yyjson_obj_get(p, "done")),
			 (unsigned long long)yyjson_get_uint(yyjson_obj_get(p, "total")));
	return 0;
}

/*
 * Repeats a request while the answer is "not known yet" (75, or nobody answers), with growing pauses, until `limit_ms` is
 * over. Everything else is final.
 */
static int call_until(struct hook *h, yyjson_mut_doc *request, uint64_t limit_ms, const char *what)
{
	uint64_t deadline = clock_deadline((int64_t)limit_ms), wait = RETRY_FIRST_MS;
	struct err_text err = {0};
	char said[sizeof(err.text)] = "";
	int code;

	for (;;) {
		err.text[0] = '\0';
		code = ctl_call_doc(h->where.socket, request, clock_left_ms(deadline), show_progress, NULL,
				    &err);
		if (code >= 0 && code != EXIT_AGAIN)
			break;
		if (strcmp(said, err.text) != 0) { /* each reason once */
			log_warn("%s: %s; trying again", what, err.text[0] ? err.text : err_str(code));
			memcpy(said, err.text, sizeof(said));
		}
		if (clock_left_ms(deadline) == 0) {
			log_err("%s: gave up after %llu s: %s", what, (unsigned long long)(limit_ms / 1000),
				err.text[0] ? err.text : err_str(code));
			return EXIT_AGAIN;
		}
		pause_ms(wait < (uint64_t)clock_left_ms(deadline) ? wait : (uint64_t)clock_left_ms(deadline));
		wait = wait * 2 < RETRY_LONGEST_MS ? wait * 2 : RETRY_LONGEST_MS;
	}
	if (code != EXIT_DONE && code != EXIT_DEGRADED)
		log_err("%s: %s", what, err.text[0] ? err.text : "failed");
	return code == EXIT_DEGRADED ? EXIT_DONE : code;
}

static int call(struct hook *h, const char *cmd, const char *path, bool only_ask, uint64_t limit_ms,
		const char *what)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root;
	int code = EXIT_FAILED;

	if (!doc)
		return EXIT_FAILED;
	root = yyjson_mut_obj(doc);
	yyjson_mut_doc_set_root(doc, root);
	if (yyjson_mut_obj_add_str(doc, root, "cmd", cmd) &&
	    (!path || yyjson_mut_obj_add_str(doc, root, "path", path)) &&
	    (!only_ask || yyjson_mut_obj_add_bool(doc, root, "only_ask", true)))
		code = call_until(h, doc, limit_ms, what);
	yyjson_mut_doc_free(doc);
	return code;
}

int hook_retrieve(struct hook *h, const char *path)
{
	char absolute[FILE_PATH_MAX], what[FILE_PATH_MAX + 32];
	int rc = file_absolute(absolute, sizeof(absolute), path);

	if (rc < 0 || !h->where.socket[0]) {
		log_err("cannot retrieve %s: %s", path, rc < 0 ? err_str(rc) : "no socket is configured");
		return EXIT_FAILED;
	}
	snprintf(what, sizeof(what), "cannot retrieve %s", path);
	return call(h, "retrieve", absolute, false, limit_from_env("HOOK_RETRIEVE_LIMIT", RETRIEVE_MS), what);
}

int hook_restore(struct hook *h, bool only_ask)
{
	if (!h->where.socket[0]) {
		log_err("cannot restore: no socket is configured in %s", h->where.config);
		return EXIT_FAILED;
	}
	return call(h, "restore", NULL, only_ask, limit_from_env("HOOK_RESTORE_LIMIT", RESTORE_MS),
		    only_ask ? "state is not whole" : "cannot restore");
}
