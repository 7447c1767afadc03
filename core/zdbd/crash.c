/*
 * crash: what still happens when a fatal signal ends the server: the hook `crash`, one `namespace-closing` for each namespace, nobody
 * waits; then what lies in the active files is synced. Nothing is flushed, applied or marked clean: memory is not to be trusted any
 * more, and the next start recovers.
 *
 * Only calls that a signal handler may make, and no memory but what zdbd_new() set aside.
 */
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/zdbd/zdbd_int.h"

#define DIRTY_MAX                                                                                            \
	4096 /* index files in a dirty list; with more the hook is not run: it must not get a part of them */
#define DIGITS 11

struct crash {
	uint32_t numbers[DIRTY_MAX];
	char dirty[DIRTY_MAX * DIGITS];
	char index[FILE_PATH_MAX], data[FILE_PATH_MAX];
};

struct crash *crash_new(void)
{
	return mem_calloc(1, sizeof(struct crash));
}

/* ------------------------------------------------------------------------------------------------------- text */

static char *put_text(char *at, const char *end, const char *text)
{
	while (*text && at < end)
		*at++ = *text++;
	return at;
}

static char *put_number(char *at, const char *end, uint32_t n)
{
	char digits[DIGITS];
	size_t i = sizeof(digits);

	do {
		digits[--i] = (char)('0' + n % 10);
		n /= 10;
	} while (n);
	while (i < sizeof(digits) && at < end)
		*at++ = digits[i++];
	return at;
}

/* "<root>/<namespace>/<letter><number>". False: it does not fit. */
static bool put_path(char path[FILE_PATH_MAX], const char *root, const char *ns, const char *letter,
		     uint32_t number)
{
	char *at = path, *end = path + FILE_PATH_MAX - 1;

	at = put_text(at, end, root);
	at = put_text(at, end, "/");
	at = put_text(at, end, ns);
	at = put_text(at, end, letter);
	at = put_number(at, end, number);
	*at = '\0';
	return at < end;
}

static void say(const char *text)
{
	(void)!write(STDERR_FILENO, text, strlen(text)); /* there is nobody to tell that it failed */
}

/* ------------------------------------------------------------------------------------------------- dirty list */

static bool add_numbers(struct crash *c, size_t *count, const struct numbers *n)
{
	if (n->count > DIRTY_MAX - *count)
		return false;
	memcpy(c->numbers + *count, n->v, n->count * sizeof(*n->v));
	*count += n->count;
	return true;
}

/* The smallest number from `from` on, or -1. */
static int64_t smallest(const struct crash *c, size_t count, int64_t from)
{
	int64_t best = -1;
	size_t i;

	for (i = 0; i < count; i++)
		if (c->numbers[i] >= from && (best < 0 || c->numbers[i] < best))
			best = c->numbers[i];
	return best;
}

/* What dirty_text() says, into c->dirty. False: there are too many. */
static bool put_dirty(struct crash *c, struct zdb_ns *ns)
{
	const struct zns *z = zdb_ns_owner_data(ns);
	size_t count = zdb_dirty_list(ns, c->numbers, DIRTY_MAX);
	char *at = c->dirty, *end = c->dirty + sizeof(c->dirty) - 1;
	int64_t n;

	if (count > DIRTY_MAX || (z && !add_numbers(c, &count, &z->carried)))
		return false;
	if (z)
		list_each(&z->rotations, it)
		{
			if (!add_numbers(c, &count, &container_of(it, struct rotation, link)->dirty))
				return false;
		}
	for (n = smallest(c, count, 0); n >= 0; n = smallest(c, count, n + 1)) {
		if (at != c->dirty)
			at = put_text(at, end, " ");
		at = put_number(at, end, (uint32_t)n);
	}
	*at = '\0';
	return true;
}

/* ------------------------------------------------------------------------------------------------------ hooks */

static void child(const struct zdbd *d, const char *const *argv)
{
	sigset_t none;
	int signo;

	for (signo = 1; signo < _NSIG; signo++)
		(void)signal(signo, SIG_DFL); /* fails for KILL and STOP */
	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)setsid();
	(void)syscall(SYS_close_range, 3u, ~0u, 0u); /* all of ours are closed by exec as well */
	(void)execve(argv[0], (char *const *)(uintptr_t)argv, (char *const *)(uintptr_t)d->env);
	_exit(1);
}

static void start(const struct zdbd *d, const char *type, const char *const *args, size_t count)
{
	const char *argv[HOOK_ARGS_MAX + 4] = {d->opt.hook, type, d->instance};
	size_t i;
	pid_t pid;

	for (i = 0; i < count; i++)
		argv[3 + i] = args[i];
	pid = _Fork();
	if (pid == 0)
		child(d, argv);
	if (pid < 0)
		say("zdb: cannot start a hook of the crash\n");
}

static void start_closing(const struct zdbd *d, struct zdb_ns *ns)
{
	struct crash *c = d->crash;
	const char *args[4] = {zdb_ns_name(ns), c->index, c->data, c->dirty};
	struct zdb_ns_info info;

	zdb_ns_info(ns, &info);
	if (put_path(c->index, d->opt.index_root, args[0], "/i", info.data_current_id) &&
	    put_path(c->data, d->opt.data_root, args[0], "/d", info.data_current_id) && put_dirty(c, ns))
		start(d, "namespace-closing", args, 4);
	else
		say("zdb: a namespace-closing of the crash is left out: its arguments are too long\n");
}

void zdbd_crash(struct zdbd *d)
{
	struct zdb_ns *ns = NULL;

	if (!d || !d->crash)
		return;
	start(d, "crash", NULL, 0);
	if (!d->eng)
		return;
	while ((ns = zdb_ns_next(d->eng, ns)))
		start_closing(d, ns);
	zdb_sync_files(d->eng);
}
