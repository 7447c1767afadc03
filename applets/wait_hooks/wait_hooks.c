/*
 * wait_hooks: stands between zdb and zstor in the order of services, and at SIGTERM holds the shutdown until nothing
 * is left to upload, or until there is no chance of more, or until the time is nearly up.
 *
 * It counts the spool and the hooks registered in it, never processes: a hook that is running holds a lock there, and
 * what it owed is in the spool before it has answered. zstor is asked to drain (everything owed, then a last recovery
 * point) and is asked again while it cannot be reached. When it says that nothing more can be stored, because stores that
 * are needed have been away for long, no time is spent on them. Nothing here can lose anything: what is left is durable in
 * the spool and is resumed at the next start.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/base/applet.h"
#include "core/base/clock.h"
#include "core/base/err.h"
#include "core/base/log.h"
#include "core/base/str.h"
#include "core/ctl/ctl.h"
#include "core/spool/spool.h"
#include "core/spool/where.h"

#define MARGIN_MS 500u  /* of the supervisor's time is kept for ending */
#define STEP_MS   1000u /* between two lines of progress, two tries */

struct wait_conf {
	const char *config;
	uint64_t max_wait_ms;
};

struct waiting {
	struct where where;
	struct spool *spool;
	uint64_t deadline_ms, next_line_ms;
};

/* The shorter of --max-wait and what the supervisor says is left. */
static uint64_t budget_ms(const struct wait_conf *conf)
{
	const char *text = getenv("ZINIT_DEADLINE_MS");
	uint64_t left;

	if (!text || str_parse_u64(text, &left) < 0)
		return conf->max_wait_ms;
	left = left > MARGIN_MS ? left - MARGIN_MS : 0;
	return left < conf->max_wait_ms ? left : conf->max_wait_ms;
}

static void show_owed(struct waiting *w, const struct spool_stat *st)
{
	char bytes[STR_HUMAN_MAX], age[STR_HUMAN_MAX];
	uint64_t now = clock_wall_s();
	uint64_t age_s = st->oldest > 0 && (uint64_t)st->oldest < now ? now - (uint64_t)st->oldest : 0;

	if (clock_mono_ms() < w->next_line_ms)
		return;
	w->next_line_ms = clock_mono_ms() + STEP_MS;
	log_info("waiting: %llu files, %s, oldest %s, hooks running: %s%s%s", (unsigned long long)st->files,
		 str_size(bytes, sizeof(bytes), st->bytes), str_duration(age, sizeof(age), age_s * 1000),
		 st->hooks ? "yes" : "no", st->last_error[0] ? ", last error: " : "", st->last_error);
}

/* Lines of zstor's drain become ours; they also keep the deadline. */
static int on_drain_line(void *ctx, yyjson_val *line)
{
	struct waiting *w = ctx;
	yyjson_val *p = yyjson_obj_get(line, "progress");
	const char *text = yyjson_get_str(yyjson_obj_get(p, "text"));

	if (text)
		log_info("%s", text);
	return clock_left_ms(w->deadline_ms) == 0 && !yyjson_get_bool(yyjson_obj_get(line, "done"))
		       ? -ETIMEDOUT
		       : 0;
}

static int ask_drain(struct waiting *w, struct err_text *err)
{
	char request[96];
	int left = clock_left_ms(w->deadline_ms);

	if (!w->where.socket[0])
		return err_set(err, -ENOENT, "no socket is configured in %s", w->where.config);
	snprintf(request, sizeof(request), "{\"cmd\":\"drain\",\"deadline_ms\":%d}", left);
	return ctl_call(w->where.socket, request, left + 2 * (int)STEP_MS, on_drain_line, w, err);
}

static void pause_step(const struct waiting *w)
{
	int left = clock_left_ms(w->deadline_ms);
	int ms = left < (int)STEP_MS ? left : (int)STEP_MS;
	struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

	nanosleep(&ts, NULL);
}

/*
 * Over when a drain has succeeded and, looked at after it, no hook runs and nothing is owed. zstor's word alone is not
 * enough (a hook may have written since), nor is an empty spool (the last recovery point is not in it). Pieces for
 * metadata stores that are away are no reason to wait (enough others have theirs), nor is what can never succeed.
 */
static int wait_for_nothing(struct waiting *w)
{
	struct spool_stat st;
	struct err_text err;
	char said[sizeof(err.text)] = "";
	int rc, code;

	for (;;) {
		err.text[0] = '\0';
		code = ask_drain(w, &err);
		rc = spool_stat(w->spool, &st);
		if (rc < 0) {
			log_err("cannot read the spool %s: %s", w->where.spool, err_str(rc));
			return EXIT_FAILED;
		}
		if (code == EXIT_DONE && !st.hooks && st.files <= st.pieces + st.parked)
			break;
		if (code == EXIT_FAILED) { /* no waiting helps */
			log_err("zstor cannot store what is owed: %s", err.text);
			return EXIT_FAILED;
		}
		show_owed(w, &st);
		if (code != EXIT_DONE && err.text[0] && strcmp(said, err.text) != 0) {
			log_warn("zstor cannot finish yet: %s", err.text);
			memcpy(said, err.text, sizeof(said));
		}
		if (clock_left_ms(w->deadline_ms) == 0 || (code == EXIT_PARTLY && !st.hooks)) {
			log_warn(
				"gave up waiting%s: %llu files are durable in %s and go on at the next start",
				code == EXIT_PARTLY ? ", no store that is missing has come back" : "",
				(unsigned long long)st.files, w->where.spool);
			return EXIT_AGAIN;
		}
		pause_step(w);
	}
	if (st.damaged) {
		log_err("%llu intentions in %s cannot be read; the next start scans for what they owed",
			(unsigned long long)st.damaged, w->where.spool);
		return EXIT_FAILED;
	}
	log_info("everything is stored");
	return EXIT_DONE;
}

static const struct opt wait_options[] = {
	OPT_STR(struct wait_conf, config, 'c', "config", "FILE", NULL,
		"zstor's configuration (default $ZSTOR_CONFIG, else " WHERE_DEFAULT_CONFIG ")"),
	OPT_MS(struct wait_conf, max_wait_ms, 0, "max-wait", "TIME", "1h", 0, 0,
	       "how long a shutdown is held at most"),
	OPT_END,
};

/* Waits for SIGTERM or SIGINT. What comes later shortens nothing. */
static void sleep_until_stop(const sigset_t *stop)
{
	int sig;

	while (sigwait(stop, &sig) != 0)
		;
	log_info("stopping: signal %d", sig);
}

static int wait_main(const struct applet *self, int argc, char **argv)
{
	struct wait_conf conf = {0};
	struct waiting w = {0};
	struct opt_args args;
	struct err_text err = {0};
	sigset_t stop;
	int code, rc;

	if (!opt_parse_applet(self, &conf, argc, argv, &args, &code))
		return code;
	log_init("wait_hooks", LOG_CLI, LOG_LEVEL_INFO);
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&stop);
	sigaddset(&stop, SIGTERM);
	sigaddset(&stop, SIGINT);
	sigprocmask(SIG_BLOCK, &stop, NULL);
	rc = where_load(&w.where, conf.config, &err);
	if (rc < 0) {
		log_err("cannot start: %s", err.text);
		return EXIT_FAILED;
	}
	rc = spool_open(w.where.spool, SPOOL_CREATE, &w.spool);
	if (rc == 0)
		rc = spool_closing_set(w.spool, false);
	if (rc < 0) {
		log_err("cannot use the spool %s: %s", w.where.spool, err_str(rc));
		spool_close(w.spool);
		return EXIT_FAILED;
	}
	sleep_until_stop(&stop);
	w.deadline_ms = clock_deadline((int64_t)budget_ms(&conf));
	rc = spool_closing_set(w.spool, true);
	if (rc < 0)
		log_warn("cannot refuse new events in %s: %s", w.where.spool, err_str(rc));
	code = wait_for_nothing(&w);
	/* A server that is started again without us must not be refused. */
	(void)spool_closing_set(w.spool, false);
	spool_close(w.spool);
	return code;
}

APPLET_REGISTER(wait_hooks) = {
	.name = "wait_hooks",
	.summary = "holds a shutdown until nothing is left to upload",
	.usage = "",
	.main = wait_main,
	.options = wait_options,
	.man = "## DESCRIPTION\n"
	       "Runs from the start of the volume and does nothing until SIGTERM. Then it refuses new "
	       "events, asks zstor "
	       "to drain, and shows once a second what is still owed, until nothing is.\n"
	       "## ENVIRONMENT\n"
	       "ZINIT_DEADLINE_MS: what is left of the supervisor's time; the wait ends before it. "
	       "ZSTOR_CONFIG: as in "
	       "hook(8).\n"
	       "## EXIT STATUS\n"
	       "0 everything is stored; 75 the time was up, or stores that are needed have been away for "
	       "more than a minute: what is left is durable and goes on at the next start; 1 the "
	       "spool cannot be read.\n",
};
