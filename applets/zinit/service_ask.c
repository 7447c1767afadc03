/*
 * service_ask: what others ask of a service: is it live, does it satisfy, how is its state called.
 */
#include "applets/zinit/service.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "core/base/clock.h"
#include "core/base/str.h"

bool service_is_live(const struct service *s)
{
	return s->state != SM_IDLE && s->state != SM_BLOCKED && s->state != SM_BACKOFF;
}

bool service_is_satisfying(const struct service *s)
{
	if (s->state == SM_RUNNING)
		return !s->unit->is_oneshot;
	if (s->shown != SHOWN_SUCCESS || s->state != SM_IDLE)
		return false;
	/* A daemon that ended well by itself and is not to be restarted has done its work; one that was stopped has not. */
	return s->unit->is_oneshot || s->is_wanted;
}

bool service_has_deps(const struct service *s, const struct dep **missing)
{
	for (uint32_t i = 0; i < s->dep_count; i++) {
		const struct dep *dep = &s->deps[i];

		if (dep->service && service_is_satisfying(dep->service))
			continue;
		if (missing)
			*missing = dep;
		return false;
	}
	return true;
}

void service_show(struct service *s, enum shown shown)
{
	if (s->shown == shown)
		return;
	s->shown = shown;
	s->changed_ms = clock_mono_ms();
	sup_touch(s->sup);
}

char *service_state_text(const struct service *s, char *dst, size_t size)
{
	static const char *const plain[] = {
		[SHOWN_UNKNOWN] = "Unknown", [SHOWN_BLOCKED] = "Blocked",
		[SHOWN_SPAWNED] = "Spawned", [SHOWN_RUNNING] = "Running",
		[SHOWN_SUCCESS] = "Success", [SHOWN_TEST_FAILURE] = "TestFailure",
		[SHOWN_FAILURE] = "Failure",
	};
	char buf[16];

	if (s->shown != SHOWN_ERROR)
		str_copy(dst, size, plain[s->shown]);
	else if (WIFSIGNALED(s->last_status))
		snprintf(dst, size, "Error(Signaled(Pid(%d), %s, %s))", s->last_pid,
			 unit_signal_name(WTERMSIG(s->last_status), buf),
			 WCOREDUMP(s->last_status) ? "true" : "false");
	else
		snprintf(dst, size, "Error(Exited(Pid(%d), %d))", s->last_pid, WEXITSTATUS(s->last_status));
	return dst;
}

char *service_status_text(char *dst, size_t size, int status)
{
	char buf[16];

	if (WIFSIGNALED(status))
		snprintf(dst, size, "signal %s", unit_signal_name(WTERMSIG(status), buf));
	else
		snprintf(dst, size, "exit status %d", WEXITSTATUS(status));
	return dst;
}
