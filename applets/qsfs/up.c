/*
 * up: checks, makes what is missing, derives the configuration, starts the supervisor and waits until the volume is mounted.
 *
 * Nothing is made before every check has passed, and what a failed first start has made is taken away again. The supervisor
 * inherits the volume's lock, so that the volume counts as up exactly as long as it lives.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "applets/qsfs/embedded.h"
#include "applets/qsfs/plan.h"
#include "applets/qsfs/preflight.h"
#include "applets/qsfs/start.h"
#include "applets/qsfs/state.h"
#include "applets/qsfs/status.h"
#include "applets/qsfs/up.h"
#include "core/base/applet.h"
#include "core/base/err.h"
#include "core/base/log.h"

struct up_conf {
	const char *config, *data, *mount;
	bool foreground, dry_run, want_new;
	uint64_t timeout_ms;
};

const struct opt up_options[] = {
	OPT_STR(struct up_conf, config, 'c', "config", "FILE", NULL,
		"configuration of the volume (default: /etc/qsfs.ini when it exists, else stores of our own "
		"below DIR)"),
	OPT_STR(struct up_conf, data, 'd', "data", "DIR", NULL,
		"directory of the volume's state (default: /var/lib/qsfs)"),
	OPT_STR(struct up_conf, mount, 'm', "mount", "DIR", NULL, "where to mount it (default: DIR/mnt)"),
	OPT_FLAG(struct up_conf, foreground, 'f', "foreground",
		 "stay until Ctrl-C, which drains and stops the volume"),
	OPT_FLAG(struct up_conf, dry_run, 'n', "dry-run",
		 "print the derived configuration and start nothing"),
	OPT_FLAG(struct up_conf, want_new, 0, "new",
		 "make a new volume on the configured stores, which must be empty"),
	OPT_MS(struct up_conf, timeout_ms, 't', "timeout", "TIME", "5m", 1000, 0,
	       "how long a start without any progress may take"),
	OPT_END,
};

static int dry_run(const struct volume *v)
{
	struct plan p;
	int rc = plan_make(&p, v, false);

	if (rc == 0)
		plan_print(&p, v, stdout);
	plan_release(&p);
	return rc ? EXIT_FAILED : EXIT_DONE;
}

/* Everything on disk that the supervisor needs. Exit code. */
static int prepare(struct volume *v, enum state_found found)
{
	bool is_new = found != STATE_EXISTING;
	struct plan p;
	int rc;

	rc = state_make_front(v);
	if (rc == 0)
		rc = preflight_make_mount(v);
	if (rc == 0 && v->embedded && v->store_count == 0)
		rc = embedded_create(v);
	else if (rc == 0 && v->embedded)
		rc = embedded_check_ports(v);
	if (rc == 0 && is_new)
		rc = state_make_keys(v, found);
	if (rc == 0) {
		rc = plan_make(&p, v, is_new);
		if (rc == 0)
			rc = plan_write(&p, v);
		plan_release(&p);
	}
	return rc ? EXIT_FAILED : EXIT_DONE;
}

static void report(const struct volume *v)
{
	printf("volume   %s\n", v->data);
	printf("coding   %u+%u over %zu stores, metadata %u of %zu\n", v->data_shards, v->parity_shards,
	       volume_count(v, false), v->meta_data, volume_count(v, true));
	printf("mounted  %s\n", v->mount);
	printf("look     qsfs status --data %s\n", v->data);
	printf("stop     qsfs down --data %s\n", v->data);
	fflush(stdout);
}

/* Waits for a signal that asks for the end, or for the end of the supervisor. */
static int stay(struct start *s)
{
	struct pollfd p[2] = {{.fd = s->signals, .events = POLLIN}, {.fd = s->child.pidfd, .events = POLLIN}};
	int rc;

	while (poll(p, 2, -1) < 0 && errno == EINTR)
		;
	if (p[1].revents) {
		log_err("the supervisor of %s has ended by itself: see %s/zinit.log", s->v->data, s->v->log);
		rc = EXIT_FAILED;
	} else {
		rc = down_volume(s->v, s->child.pid, UINT64_MAX);
	}
	return rc;
}

static int run(struct start *s, const struct up_conf *c, bool is_new, int lock)
{
	int rc = start_supervisor(s, lock);

	close(lock); /* the supervisor holds it now */
	if (rc)
		return EXIT_FAILED;
	rc = state_note_up(s->v, s->child.pid) == 0 ? start_wait(s, c->timeout_ms) : EXIT_FAILED;
	if (is_new && s->created && state_created(s->v) != 0 && rc == EXIT_DONE)
		rc = EXIT_FAILED;
	if (rc == EXIT_DONE) {
		report(s->v);
		if (c->foreground) {
			status_print(s->v, stdout);
			rc = stay(s);
		}
	} else {
		start_abandon(s);
		state_forget_up(s->v);
	}
	return rc;
}

/* With the lock held. What a failed first start made is taken away, unless the stores know the volume already. */
static int up_locked(struct volume *v, const struct up_conf *c, enum state_found found, int lock)
{
	struct start s;
	int rc;

	if (start_init(&s, v) != 0) {
		close(lock);
		return EXIT_FAILED;
	}
	rc = prepare(v, found);
	if (rc == EXIT_DONE)
		rc = run(&s, c, found != STATE_EXISTING, lock);
	else
		close(lock);
	if (rc != EXIT_DONE && found == STATE_NEW && !s.created && !state_is_on_stores(v))
		state_undo_new(v);
	start_release(&s);
	return rc;
}

/* Said before anything is made. The lock itself is taken later, and decides. */
static bool is_up_already(const struct volume *v)
{
	struct volume look = *v;
	pid_t pid;
	int is_up = state_is_up(&look, &pid);

	if (is_up == 1)
		log_err("the volume in %s is up already: qsfs status --data %s shows it", v->data, v->data);
	volume_wipe(&look);
	return is_up == 1;
}

static int up(struct volume *v, const struct up_conf *c)
{
	enum state_found found;
	int lock, rc;

	rc = preflight_host();
	if (rc == EXIT_DONE)
		rc = preflight_state(v);
	if (rc == EXIT_DONE && is_up_already(v))
		rc = EXIT_LOCKED;
	if (rc == EXIT_DONE)
		rc = state_judge(v, c->want_new, &found);
	if (rc == EXIT_DONE)
		rc = preflight_mount(v);
	if (rc != EXIT_DONE)
		return rc;
	lock = state_lock(v);
	if (lock < 0)
		return lock == -E_LOCKED ? EXIT_LOCKED : EXIT_FAILED;
	return up_locked(v, c, found, lock);
}

int up_main(const struct applet *self, const struct verb *verb, void *ctx, int argc, char **argv)
{
	struct up_conf c = {0};
	struct opt_args args;
	struct volume v;
	int code;

	(void)ctx;
	if (!opt_parse_verb(self, verb, &c, argc, argv, &args, &code))
		return code;
	code = volume_load(&v, c.config, c.data, c.mount);
	if (code == EXIT_DONE)
		code = c.dry_run ? dry_run(&v) : up(&v, &c);
	volume_wipe(&v);
	return code;
}
