/*
 * down: an orderly stop with a view on it. The supervisor does the work (reverse order, each service within its limit);
 * this watches and says what is waited for and what is still owed. It never kills anything itself.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "applets/qsfs/owed.h"
#include "applets/qsfs/services.h"
#include "applets/qsfs/state.h"
#include "applets/qsfs/up.h"
#include "core/base/applet.h"
#include "core/base/clock.h"
#include "core/base/err.h"
#include "core/base/log.h"
#include "core/base/str.h"

#define TICK_MS     1000
#define PROGRESS_MS 10000

struct down_conf {
	const char *config, *data;
	uint64_t timeout_ms;
};

const struct opt down_options[] = {
	OPT_STR(struct down_conf, config, 'c', "config", "FILE", NULL, "configuration of the volume"),
	OPT_STR(struct down_conf, data, 'd', "data", "DIR", NULL, "directory of the volume's state"),
	OPT_MS(struct down_conf, timeout_ms, 't', "timeout", "TIME", "15m", 0, 0,
	       "stop watching after this; the stop itself goes on"),
	OPT_END,
};

/* First the socket; when that is gone (the front end was deleted), the signal that means the same. */
static int ask(const struct volume *v, pid_t supervisor)
{
	char socket[VOLUME_PATH + 64];
	struct err_text err;
	int rc;

	str_fmt(socket, sizeof(socket), "%s/zinit.sock", v->run);
	rc = services_command(socket, &err, "shutdown");
	if (rc && supervisor > 0)
		rc = kill(supervisor, SIGTERM) == 0 ? 0 : -errno;
	if (rc)
		log_err("cannot reach the supervisor: %s", err.text);
	return rc;
}

/* What was said last, and when: the same again only every PROGRESS_MS. */
struct said {
	char text[384];
	uint64_t at_ms;
};

/* "stopping zdb, zstor; 3 files (12.0 MiB) still to upload" */
static void progress(const struct volume *v, uint64_t since_ms, struct said *said)
{
	char socket[VOLUME_PATH + 64], names[256] = "", for_time[STR_HUMAN_MAX], bytes[STR_HUMAN_MAX];
	char text[sizeof(said->text)];
	struct services *list = calloc(1, sizeof(*list));
	struct owed o;

	str_fmt(socket, sizeof(socket), "%s/zinit.sock", v->run);
	if (list && services_read(socket, list, NULL) == 0) {
		for (size_t i = 0; i < list->count; i++) {
			size_t n = strlen(names);

			if (list->list[i].pid > 0 && !str_starts(list->list[i].name, "backend-"))
				str_fmt(names + n, sizeof(names) - n, "%s%s", n ? ", " : "",
					list->list[i].name);
		}
	}
	free(list);
	if (owed_read(v, &o) == 0 && o.files)
		str_fmt(text, sizeof(text), "%s; %llu files (%s) still to upload",
			names[0] ? names : "stores", (unsigned long long)o.files,
			str_size(bytes, sizeof(bytes), o.bytes));
	else
		str_copy(text, sizeof(text), names[0] ? names : "stores");
	if (strcmp(text, said->text) != 0 || clock_mono_ms() - said->at_ms >= PROGRESS_MS) {
		str_copy(said->text, sizeof(said->text), text);
		said->at_ms = clock_mono_ms();
		log_info("stopping for %s: %s", str_duration(for_time, sizeof(for_time), since_ms), text);
	}
}

/* The end of a process that need not be our child. 1 ended, 0 not within the time. */
static int wait_ended(pid_t pid, int pidfd, int ms)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};

	if (pidfd < 0 || pid <= 0)
		return 1;
	if (poll(&p, 1, ms) <= 0)
		return 0;
	waitpid(pid, NULL, WNOHANG);
	return 1;
}

/* What is left, from the disk itself: whoever was killed at its time limit has not said it. */
static int outcome(const struct volume *v)
{
	char owed_bytes[STR_HUMAN_MAX], unsafe_bytes[STR_HUMAN_MAX];
	struct uncovered u;
	struct owed o;
	int rc = owed_read(v, &o);

	if (rc == 0)
		rc = unsafe_read(v, &u);
	if (rc) {
		log_code(rc, "down, but what is not on the stores yet cannot be read in %s", v->front);
		rc = EXIT_FAILED;
	} else if (o.files == 0 && u.bytes == 0) {
		log_info("down: everything is safe on the stores");
		rc = EXIT_DONE;
	} else {
		log_warn(
			"down, but not everything could be uploaded: %s are in no recovery point, %llu files "
			"(%s) are owed. All of it is durable in %s, and the next up goes on",
			str_size(unsafe_bytes, sizeof(unsafe_bytes), u.bytes), (unsigned long long)o.files,
			str_size(owed_bytes, sizeof(owed_bytes), o.bytes), v->front);
		rc = EXIT_AGAIN;
	}
	return rc;
}

int down_volume(const struct volume *v, pid_t supervisor, uint64_t timeout_ms)
{
	uint64_t deadline = timeout_ms == UINT64_MAX ? CLOCK_NEVER : clock_deadline((int64_t)timeout_ms);
	uint64_t begin = clock_mono_ms();
	struct said said = {.text = ""};
	int pidfd = supervisor > 0 ? (int)syscall(SYS_pidfd_open, supervisor, 0) : -1;
	int rc = -1;

	if (ask(v, supervisor) != 0)
		rc = EXIT_FAILED;
	while (rc < 0) {
		if (wait_ended(supervisor, pidfd, TICK_MS)) {
			state_forget_up(v);
			rc = outcome(v);
		} else if (clock_left_ms(deadline) == 0) {
			log_warn("still stopping: it goes on by itself");
			rc = EXIT_AGAIN;
		} else {
			progress(v, clock_mono_ms() - begin, &said);
		}
	}
	if (pidfd >= 0)
		close(pidfd);
	return rc;
}

int down_main(const struct applet *self, const struct verb *verb, void *ctx, int argc, char **argv)
{
	struct down_conf c = {0};
	struct opt_args args;
	struct volume v;
	pid_t pid;
	int code;

	(void)ctx;
	if (!opt_parse_verb(self, verb, &c, argc, argv, &args, &code))
		return code;
	code = volume_load(&v, c.config, c.data, NULL);
	if (code == EXIT_DONE) {
		int is_up = state_is_up(&v, &pid);

		if (is_up < 0)
			code = (log_code(is_up, "cannot look at %s", v.lock), EXIT_FAILED);
		else if (is_up == 0)
			log_info("the volume in %s is not up", v.data);
		else
			code = down_volume(&v, pid, c.timeout_ms);
	}
	volume_wipe(&v);
	return code;
}
