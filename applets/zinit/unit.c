/*
 * unit: the checks that stand between a parser and the supervisor, and signal names. See unit.h.
 */
#include "unit.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static bool is_text_sound(const struct unit *unit, struct unit_text text, uint32_t count_max)
{
	const char *at, *end = (const char *)unit + unit->size;

	if (text.count == 0)
		return true;
	if (text.count > count_max || text.off < sizeof(*unit) || text.off >= unit->size)
		return false;
	at = (const char *)unit + text.off;
	for (uint32_t i = 0; i < text.count; i++) {
		const char *nul = at < end ? memchr(at, '\0', (size_t)(end - at)) : NULL;

		if (!nul)
			return false;
		at = nul + 1;
	}
	return true;
}

static bool are_texts_sound(const struct unit *u)
{
	const struct unit_text single[] = {u->name, u->path, u->dir, u->user, u->group, u->log_file};
	const struct unit_text many[] = {u->exec,  u->test,     u->health, u->drain,
					 u->after, u->requires, u->env};

	for (size_t i = 0; i < sizeof(single) / sizeof(single[0]); i++)
		if (!is_text_sound(u, single[i], 1))
			return false;
	for (size_t i = 0; i < sizeof(many) / sizeof(many[0]); i++)
		if (!is_text_sound(u, many[i], 4096))
			return false;
	return u->name.count == 1 && u->path.count == 1;
}

bool unit_is_sound(const struct unit *unit, uint32_t size)
{
	if (size < sizeof(*unit) || size > UNIT_BYTES_MAX || unit->magic != UNIT_MAGIC || unit->size != size)
		return false;
	if (unit->log > UNIT_LOG_FILE || unit->restart > UNIT_RESTART_NEVER ||
	    unit->kill_mode > UNIT_KILL_PROCESS || unit->notify > UNIT_NOTIFY_SD)
		return false;
	if (unit->stop_signal < 1 || unit->stop_signal > 64 || unit->reload_signal < 0 ||
	    unit->reload_signal > 64 || unit->limit_count > UNIT_LIMIT_MAX)
		return false;
	if (!are_texts_sound(unit) || strlen(unit_str(unit, unit->name)) > UNIT_NAME_MAX)
		return false;
	return unit->is_exec_broken || unit->exec.count > 0;
}

const char *unit_str_next(const char *at)
{
	return at + strlen(at) + 1;
}

static const struct {
	int number;
	const char *name;
} signals[] = {
	{SIGHUP, "SIGHUP"},   {SIGINT, "SIGINT"},       {SIGQUIT, "SIGQUIT"}, {SIGILL, "SIGILL"},
	{SIGTRAP, "SIGTRAP"}, {SIGABRT, "SIGABRT"},     {SIGBUS, "SIGBUS"},   {SIGFPE, "SIGFPE"},
	{SIGKILL, "SIGKILL"}, {SIGUSR1, "SIGUSR1"},     {SIGSEGV, "SIGSEGV"}, {SIGUSR2, "SIGUSR2"},
	{SIGPIPE, "SIGPIPE"}, {SIGALRM, "SIGALRM"},     {SIGTERM, "SIGTERM"}, {SIGSTKFLT, "SIGSTKFLT"},
	{SIGCHLD, "SIGCHLD"}, {SIGCONT, "SIGCONT"},     {SIGSTOP, "SIGSTOP"}, {SIGTSTP, "SIGTSTP"},
	{SIGTTIN, "SIGTTIN"}, {SIGTTOU, "SIGTTOU"},     {SIGURG, "SIGURG"},   {SIGXCPU, "SIGXCPU"},
	{SIGXFSZ, "SIGXFSZ"}, {SIGVTALRM, "SIGVTALRM"}, {SIGPROF, "SIGPROF"}, {SIGWINCH, "SIGWINCH"},
	{SIGIO, "SIGIO"},     {SIGPWR, "SIGPWR"},       {SIGSYS, "SIGSYS"},
};

int unit_signal_number(const char *name)
{
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		if (strcasecmp(name, signals[i].name) == 0)
			return signals[i].number;
	return 0;
}

const char *unit_signal_name(int signo, char *buf)
{
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		if (signo == signals[i].number)
			return signals[i].name;
	snprintf(buf, 16, "SIG%d", signo);
	return buf;
}
