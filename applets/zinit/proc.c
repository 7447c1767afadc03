/*
 * proc: see proc.h. The child's half uses static tables and the stack only: the parent's tables are shared copy-on-write,
 * and a supervisor that allocated here could fail for lack of memory where a restart matters most.
 */
#include "applets/zinit/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/str.h"

#include "applets/zinit/caps.h"
#include "applets/zinit/words.h"

extern char **environ;

enum { ENV_MAX = 4096, FD_SAFE = 1024 };

static struct rlimit nofile_limit = {1024, 4096};

void proc_init(void)
{
	struct rlimit now;

	if (getrlimit(RLIMIT_NOFILE, &now) < 0)
		return;
	nofile_limit = now;
	now.rlim_cur = now.rlim_max;
	setrlimit(RLIMIT_NOFILE, &now);
}

bool proc_error_is_temporary(int error)
{
	return error == EAGAIN || error == ENOMEM || error == EMFILE || error == ENFILE || error == ETXTBSY ||
	       error == EINTR || error == EBUSY;
}

/* ---- the child ---- */

struct child {
	const struct proc *proc;
	int report_fd;
	char **env;
	int env_count;
};

static void __attribute__((noreturn)) give_up(const struct child *c, const char *step, const char *what)
{
	struct proc_report report = {.error = errno ? errno : EINVAL};

	str_copy(report.step, sizeof(report.step), step);
	str_copy(report.what, sizeof(report.what), what ? what : "");
	(void)!write(c->report_fd, &report, sizeof(report)); /* nobody is left to tell if this fails */
	_exit(127);
}

/* The strings stay where they are: environ wants them writable, nobody writes to them. */
static void env_set(struct child *c, const char *text)
{
	char *pair = (char *)(uintptr_t)text;
	size_t name = strcspn(pair, "=");

	for (int i = 0; i < c->env_count; i++) {
		if (strncmp(c->env[i], pair, name) == 0 && c->env[i][name] == '=') {
			c->env[i] = pair;
			return;
		}
	}
	if (c->env_count < ENV_MAX)
		c->env[c->env_count++] = pair;
}

static void build_env(struct child *c)
{
	static char *table[ENV_MAX + 1];
	static char listen_pid[32];
	const struct unit *unit = c->proc->unit;
	const char *pair = unit_str(unit, unit->env);

	c->env = table;
	for (char **at = environ; *at; at++)
		env_set(c, *at);
	for (char *const *at = c->proc->environment; at && *at; at++)
		env_set(c, *at);
	for (uint32_t i = 0; i < unit->env.count; i++, pair = unit_str_next(pair))
		env_set(c, pair);
	for (int i = 0; i < PROC_EXTRA_ENV_MAX && c->proc->extra_env[i]; i++)
		env_set(c, c->proc->extra_env[i]);
	if (c->proc->has_listen_pid) {
		snprintf(listen_pid, sizeof(listen_pid), "LISTEN_PID=%d", (int)getpid());
		env_set(c, listen_pid);
	}
	table[c->env_count] = NULL;
	environ = table;
}

/* Moves a descriptor out of the way of the numbers that the program is to get. */
static int lift(const struct child *c, int fd)
{
	/* High above every number that a unit may ask for, or as high as a small limit of descriptors allows. */
	static const int floors[] = {FD_SAFE, 3 + PROC_FDS_MAX, 24, 3};
	int high = -1;

	for (size_t i = 0; high < 0 && i < sizeof(floors) / sizeof(floors[0]); i++)
		high = fcntl(fd, F_DUPFD_CLOEXEC, floors[i]);
	if (high < 0)
		give_up(c, "duplicate a descriptor", NULL);
	return high;
}

/* Whether the child needs this descriptor of ours to place its own. */
static bool is_needed(const struct child *c, int fd)
{
	const struct proc *p = c->proc;

	if (fd <= 2 || fd == c->report_fd || fd == p->out_fd || fd == p->err_fd)
		return true;
	for (uint32_t i = 0; i < p->fd_count; i++)
		if (p->fds[i].parent_fd == fd)
			return true;
	return false;
}

/*
 * The table of descriptors came full from the supervisor: give up early what the exec closes anyway.
 */
static void make_room(const struct child *c)
{
	for (int fd = 3; fd < FD_SAFE; fd++)
		if (!is_needed(c, fd))
			close(fd);
}

static void place_fds(struct child *c)
{
	const struct proc *p = c->proc;
	int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC), lifted[PROC_FDS_MAX];
	bool is_full = null_fd < 0 && errno == EMFILE;
	int out = p->out_fd, err = p->err_fd;

	if (is_full || fcntl(c->report_fd, F_DUPFD_CLOEXEC, FD_SAFE) < 0)
		make_room(c);
	if (is_full)
		null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	/* Without /dev/null (early boot, full tables) the program still gets something on 0, but never a closed one. */
	if (null_fd >= 0)
		null_fd = lift(c, null_fd);
	c->report_fd = lift(c, c->report_fd);
	if (out >= 0)
		out = lift(c, out);
	if (err >= 0)
		err = lift(c, err);
	for (uint32_t i = 0; i < p->fd_count; i++)
		lifted[i] = lift(c, p->fds[i].parent_fd);
	if (null_fd >= 0)
		dup2(null_fd, 0);
	if (p->is_silent)
		out = err = null_fd;
	if (out >= 0 && dup2(out, 1) < 0)
		give_up(c, "set standard output", NULL);
	if (err >= 0 && dup2(err, 2) < 0)
		give_up(c, "set standard error", NULL);
	for (uint32_t i = 0; i < p->fd_count; i++)
		if (dup2(lifted[i], p->fds[i].child_fd) < 0)
			give_up(c, "set a descriptor", NULL);
}

static void reset_signals(void)
{
	struct sigaction standard = {.sa_handler = SIG_DFL};
	sigset_t none;

	for (int signo = 1; signo < 65; signo++)
		sigaction(signo, &standard, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* A control group that cannot be joined costs the limits, not the service; what is in force is shown by `status`. */
static void join_cgroups(const char *paths)
{
	char pid[16];
	int len = snprintf(pid, sizeof(pid), "%d\n", (int)getpid());

	while (paths && *paths) {
		char path[512];
		size_t n = strcspn(paths, "\n");

		if (n < sizeof(path)) {
			int fd;

			memcpy(path, paths, n);
			path[n] = '\0';
			fd = open(path, O_WRONLY | O_CLOEXEC);
			if (fd >= 0) {
				(void)!write(fd, pid, (size_t)len);
				close(fd);
			}
		}
		paths += n + (paths[n] == '\n');
	}
}

static void set_limit(const struct child *c, int resource, uint64_t value)
{
	struct rlimit limit = {value, value};

	if (setrlimit(resource, &limit) < 0)
		give_up(c, "set a limit", NULL);
}

static void apply_limits(const struct child *c)
{
	const struct unit *unit = c->proc->unit;

	setrlimit(RLIMIT_NOFILE, &nofile_limit);
	if (!c->proc->is_main)
		return;
	if (c->proc->address_space_max)
		set_limit(c, RLIMIT_AS, c->proc->address_space_max);
	if (c->proc->processes_max)
		set_limit(c, RLIMIT_NPROC, c->proc->processes_max);
	for (uint32_t i = 0; i < unit->limit_count; i++)
		set_limit(c, unit->limits[i].resource, unit->limits[i].value);
}

/* Numbers are taken as they are; names are looked up in /etc/passwd and /etc/group. */
static void change_user(const struct child *c)
{
	const struct unit *unit = c->proc->unit;
	const char *user = unit_str(unit, unit->user), *group = unit_str(unit, unit->group);
	uint32_t uid = 0, gid = 0;
	bool has_uid = false, has_gid = false;

	if (group && str_parse_u32(group, &gid) != 0) {
		struct group *entry = getgrnam(group);

		if (!entry) {
			errno = ENOENT;
			give_up(c, "find the group", group);
		}
		gid = entry->gr_gid;
	}
	has_gid = group != NULL;
	if (user && str_parse_u32(user, &uid) != 0) {
		struct passwd *entry = getpwnam(user);

		if (!entry) {
			errno = ENOENT;
			give_up(c, "find the user", user);
		}
		uid = entry->pw_uid;
		if (!has_gid)
			gid = entry->pw_gid;
		has_gid = true;
		if (initgroups(user, gid) < 0)
			give_up(c, "set the groups of", user);
	} else if (user || group) {
		if (setgroups(0, NULL) < 0 && errno != EPERM)
			give_up(c, "drop the groups of", user ? user : group);
	}
	has_uid = user != NULL;
	if (unit->has_capabilities) {
		int rc = caps_before_user(unit->capabilities);

		if (rc) {
			errno = -rc;
			give_up(c, "limit capabilities", NULL);
		}
	}
	if (has_gid && setgid(gid) < 0)
		give_up(c, "become group", group ? group : user);
	if (has_uid && setuid(uid) < 0)
		give_up(c, "become user", user);
	if (unit->has_capabilities) {
		int rc = caps_after_user(unit->capabilities);

		if (rc) {
			errno = -rc;
			give_up(c, "take capabilities", NULL);
		}
	}
}

static void __attribute__((noreturn)) child_main(const struct proc *p, int report_fd)
{
	static char *argv[WORDS_MAX + 1];
	struct child c = {.proc = p, .report_fd = report_fd};
	const struct unit *unit = p->unit;
	const char *dir = unit_str(unit, unit->dir);

	setsid();
	place_fds(&c);
	join_cgroups(p->cgroup_procs);
	build_env(&c);
	apply_limits(&c);
	if (p->is_main && unit->umask >= 0)
		umask((mode_t)unit->umask);
	change_user(&c);
	if (chdir(dir ? dir : "/") < 0)
		give_up(&c, "enter directory", dir ? dir : "/");
	words_argv((char *)(uintptr_t)unit + p->words.off, (int)p->words.count, argv);
	reset_signals();
	execvp(argv[0], argv);
	give_up(&c, "run", argv[0]);
}

/* ---- the supervisor's side ---- */

int proc_start(const struct proc *proc, pid_t *pid, int *report_fd)
{
	sigset_t all, before;
	int fds[2], rc;

	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	/* Until the child has reset its handlers nothing may reach it. */
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &before);
	*pid = fork();
	rc = *pid < 0 ? -errno : 0;
	if (*pid == 0) {
		fcntl(fds[1], F_SETFL, 0);
		child_main(proc, fds[1]);
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
	close(fds[1]);
	if (rc) {
		close(fds[0]);
		return rc;
	}
	*report_fd = fds[0];
	return 0;
}

int proc_kill(pid_t to, int signo)
{
	if (kill(to, signo) == 0)
		return 0;
	if (errno == ESRCH && to < -1 && kill(-to, signo) == 0)
		return 0;
	return -errno;
}

int proc_report_read(int report_fd, struct proc_report *report)
{
	ssize_t n;

	memset(report, 0, sizeof(*report));
	do {
		n = read(report_fd, report, sizeof(*report));
	} while (n < 0 && errno == EINTR);
	if (n == 0)
		return 1;
	if (n < 0)
		return errno == EAGAIN ? 0 : 1;
	report->step[sizeof(report->step) - 1] = '\0';
	report->what[sizeof(report->what) - 1] = '\0';
	return report->error > 0 ? -report->error : -EIO;
}
