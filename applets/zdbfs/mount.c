/*
 * mount: the session's life.
 *
 * Our own threads read the kernel's requests, so that a stop can end them one by one; a signal that does nothing gets them
 * out of their read. The main thread waits for signals and for the end of the mount. A further thread calls syncfs on the
 * mount from time to time, so that what lies in the kernel's cache becomes stored; it never serves requests, and opens the
 * root for the call only.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "applets/zdbfs/mount.h"
#include "core/base/applet.h"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/mem.h"

#define WORKERS     12
#define WAKE_SIGNAL SIGUSR2

struct worker {
	struct mount *m;
	pthread_t thread;
	bool is_running;
	atomic_bool has_ended;
};

struct serving {
	struct mount *m;
	struct worker workers[WORKERS];
	atomic_bool stop;
};

static struct serving serving; /* one mount per process */

/* ------------------------------------------------------------------------------------------------ workers */

static void note_end(struct mount *m)
{
	ssize_t n = write(m->stop_pipe[1], "e", 1);

	(void)n; /* a full pipe has said it already */
}

static void *serve(void *arg)
{
	struct worker *w = arg;
	struct fuse_session *se = w->m->session;
	struct fuse_buf buf = {.mem = NULL};

	while (!serving.stop && !fuse_session_exited(se)) {
		int n = fuse_session_receive_buf(se, &buf);

		if (n == -EINTR || n == -EAGAIN)
			continue;
		if (n <= 0)
			break; /* unmounted */
		fuse_session_process_buf(se, &buf);
	}
	free(buf.mem); /* libfuse's malloc */
	w->has_ended = true;
	note_end(w->m);
	return NULL;
}

static int start_workers(struct mount *m)
{
	pthread_attr_t attr;
	int rc = 0;

	serving.m = m;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 512u << 10);
	for (int n = 0; n < WORKERS && !rc; n++) {
		serving.workers[n].m = m;
		rc = pthread_create(&serving.workers[n].thread, &attr, serve, &serving.workers[n]);
		serving.workers[n].is_running = !rc;
	}
	pthread_attr_destroy(&attr);
	return -rc;
}

static bool all_ended(void)
{
	for (int n = 0; n < WORKERS; n++)
		if (serving.workers[n].is_running && !serving.workers[n].has_ended)
			return false;
	return true;
}

/* Ends the threads after their present request. Returns whether all have ended in time. */
static bool stop_workers(uint64_t deadline_ms)
{
	serving.stop = true;
	while (!all_ended() && clock_mono_ms() < deadline_ms) {
		for (int n = 0; n < WORKERS; n++)
			if (serving.workers[n].is_running && !serving.workers[n].has_ended)
				(void)pthread_kill(serving.workers[n].thread, WAKE_SIGNAL);
		(void)poll(NULL, 0, 10);
	}
	if (!all_ended())
		return false;
	for (int n = 0; n < WORKERS; n++)
		if (serving.workers[n].is_running)
			(void)pthread_join(serving.workers[n].thread, NULL);
	return true;
}

static void on_wake(int signo)
{
	(void)signo; /* its only purpose is EINTR */
}

/* ------------------------------------------------------------------------------------------- kernel's cache */

static int sync_pages(const struct mount *m)
{
	int fd = open(m->opt.mountpoint, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc;

	if (fd < 0)
		return -errno;
	rc = syncfs(fd) ? -errno : 0;
	close(fd);
	return rc;
}

/*
 * Newer kernels begin to write a FUSE mount's pages in syncfs but do not wait for them. What it began comes to us without
 * a pause, so it is over when nothing has come for a while. Programs that go on writing are not waited for beyond the
 * bound: what they had written before is long through by then.
 */
#define QUIET_MS       50
#define QUIET_BOUND_MS 5000

static void wait_for_pages(struct mount *m)
{
	uint64_t start = clock_mono_ms(), now = start;

	do {
		uint64_t last = m->last_write_ms > start ? m->last_write_ms : start;

		if (!m->writing && now - last >= QUIET_MS)
			return;
		(void)poll(NULL, 0, 10);
		now = clock_mono_ms();
	} while (now - start < QUIET_BOUND_MS);
}

int mount_sync(struct mount *m)
{
	int rc = 0;

	if (!m->opt.is_read_only && !m->opt.no_writeback) {
		rc = sync_pages(m);
		wait_for_pages(m);
	}
	return rc ? rc : fs_flush(m->fs);
}

/* Waits on m->cond until `deadline`, m->lock held. */
static void wait_until(struct mount *m, uint64_t deadline_ms)
{
	struct timespec t = {.tv_sec = (time_t)(deadline_ms / 1000),
			     .tv_nsec = (long)(deadline_ms % 1000) * 1000000};

	(void)pthread_cond_timedwait(&m->cond, &m->lock, &t);
}

static void *sync_now_and_then(void *arg)
{
	struct mount *m = arg;

	pthread_mutex_lock(&m->lock);
	while (!m->sync_stop) {
		uint64_t deadline = clock_mono_ms() + m->opt.interval_ms;

		while (!m->sync_stop && clock_mono_ms() < deadline)
			wait_until(m, deadline);
		if (m->sync_stop)
			break;
		pthread_mutex_unlock(&m->lock);
		(void)mount_sync(m); /* what failed is logged, kept, and told to whoever asks */
		pthread_mutex_lock(&m->lock);
	}
	pthread_mutex_unlock(&m->lock);
	return NULL;
}

static void end_sync_thread(struct mount *m)
{
	pthread_mutex_lock(&m->lock);
	m->sync_stop = true;
	pthread_cond_broadcast(&m->cond);
	pthread_mutex_unlock(&m->lock);
}

static void join_sync_thread(struct mount *m)
{
	if (!m->has_sync_thread)
		return;
	end_sync_thread(m);
	(void)pthread_join(m->sync_thread, NULL);
}

/* ------------------------------------------------------------------------------------------------ stopping */

static void *final_sync(void *arg)
{
	struct mount *m = arg;

	(void)mount_sync(m); /* an error is one of the files', and was told to their writers */
	pthread_mutex_lock(&m->lock);
	m->synced = true; /* here: the last sync is done */
	pthread_cond_broadcast(&m->cond);
	pthread_mutex_unlock(&m->lock);
	return NULL;
}

/* syncfs in a thread of its own, because it waits for our own answers and may have to be given up. */
static void flush_kernel(struct mount *m, uint64_t deadline_ms)
{
	pthread_t thread;

	if (m->opt.is_read_only || pthread_create(&thread, NULL, final_sync, m) != 0)
		return;
	pthread_mutex_lock(&m->lock);
	while (!m->synced && clock_mono_ms() < deadline_ms)
		wait_until(m, deadline_ms);
	if (m->synced)
		(void)pthread_join(thread, NULL);
	else
		(void)pthread_detach(thread);
	pthread_mutex_unlock(&m->lock);
}

/* Waits a moment for the mount's end; returns whether it has come. */
static bool wait_end(uint64_t ms)
{
	uint64_t deadline = clock_mono_ms() + ms;

	while (!all_ended() && clock_mono_ms() < deadline)
		(void)poll(NULL, 0, 10);
	return all_ended();
}

static void unmount(struct mount *m, uint64_t deadline_ms)
{
	uint64_t start = clock_mono_ms(),
		 patience = start + (deadline_ms > start ? (deadline_ms - start) / 2 : 0);

	while (!all_ended()) {
		if (umount2(m->opt.mountpoint, UMOUNT_NOFOLLOW) == 0 || errno == EINVAL || errno == ENOENT)
			break;
		if (errno != EBUSY || clock_mono_ms() >= patience) {
			(void)umount2(m->opt.mountpoint, MNT_DETACH | UMOUNT_NOFOLLOW);
			break;
		}
		(void)mount_show_holders(m->opt.mountpoint);
		if (wait_end(1000))
			break;
	}
	/* serve those who still have something open */
	while (!all_ended() && clock_mono_ms() < deadline_ms)
		(void)wait_end(50);
}

static int stop(struct mount *m)
{
	uint64_t deadline = clock_mono_ms() + m->opt.stop_ms;
	struct err_text err;
	int rc;

	m->is_closing = true;
	if (!all_ended()) {
		flush_kernel(m, deadline);
		end_sync_thread(m); /* it opens the root, which would make the mount busy */
		rc = fs_flush(m->fs);
		if (rc)
			log_err("cannot store everything before the unmount: %s", err_str(rc));
		unmount(m, deadline);
	}
	mount_ctl_stop(m);
	if (!stop_workers(clock_mono_ms() + 5000)) {
		/* A request hangs in the store: what is stored is safe, J covers the rest. */
		log_err("a request does not end: leaving without it");
		rc = fs_flush(m->fs);
		guard_dismiss(m->guard_fd);
		_exit(EXIT_FAILED);
	}
	join_sync_thread(m);
	rc = fs_close(m->fs, &err);
	m->fs = NULL;
	if (rc)
		log_err("%s", err.text);
	return rc ? EXIT_FAILED : EXIT_DONE;
}

/* ------------------------------------------------------------------------------------------------- running */

static void ready(struct mount *m)
{
	const char *text = getenv("NOTIFY_FD");
	int fd = m->opt.ready_fd >= 0 ? m->opt.ready_fd : text ? atoi(text) : -1;
	ssize_t n;

	printf("fuse: ready, waiting events: %s\n", m->opt.mountpoint);
	(void)fflush(stdout);
	if (fd > 2) {
		n = write(fd, "\n", 1);
		(void)n; /* nobody listens: that is their business */
		close(fd);
	}
}

static void show_counters(struct mount *m)
{
	struct fs_stats s;

	fs_stats_get(m->fs, &s);
	printf("cache: hits %llu misses %llu batches %llu inodes %llu blocks %llu bytes %llu dirty %llu\n",
	       (unsigned long long)s.cache_hit, (unsigned long long)s.cache_miss,
	       (unsigned long long)s.batches, (unsigned long long)s.inodes, (unsigned long long)s.blocks,
	       (unsigned long long)s.block_bytes, (unsigned long long)s.dirty_bytes);
	(void)fflush(stdout);
}

/* Until a signal asks to stop or the mount is gone. */
static void wait_for_stop(struct mount *m, int signal_fd)
{
	for (;;) {
		struct pollfd fds[2] = {{.fd = signal_fd, .events = POLLIN},
					{.fd = m->stop_pipe[0], .events = POLLIN}};
		struct signalfd_siginfo info;

		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return;
		if (fds[1].revents)
			return;
		if (!(fds[0].revents & POLLIN) ||
		    read(signal_fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
			continue;
		if (info.ssi_signo != SIGUSR1)
			return;
		show_counters(m);
	}
}

/* A third SIGINT within five seconds ends at once; others change nothing any more. */
static void *hurry(void *arg)
{
	int signal_fd = *(int *)arg, count = 1;
	uint64_t first = clock_mono_ms();
	struct signalfd_siginfo info;

	while (read(signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo != SIGINT)
			continue;
		if (clock_mono_ms() - first > 5000) {
			first = clock_mono_ms();
			count = 0;
		}
		if (++count >= 3) {
			log_err("ended by the third interrupt: the volume is repaired at the next mount");
			_exit(130);
		}
	}
	return NULL;
}

static int make_session(struct mount *m, int argc, char **argv)
{
	struct fuse_args args = FUSE_ARGS_INIT(argc, argv);

	m->session = fuse_session_new(&args, &mount_fuse_ops, sizeof(mount_fuse_ops), m);
	fuse_opt_free_args(&args);
	if (!m->session)
		return EXIT_FAILED; /* libfuse has said why */
	if (fuse_session_mount(m->session, m->opt.mountpoint) != 0) {
		log_err("cannot mount on %s", m->opt.mountpoint);
		fuse_session_destroy(m->session);
		return EXIT_FAILED;
	}
	m->is_mounted = true;
	return EXIT_DONE;
}

/* Signals are ours from before the first thread on. */
int mount_signals(void)
{
	struct sigaction wake = {.sa_handler = on_wake};
	sigset_t set;

	(void)sigaction(WAKE_SIGNAL, &wake, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR1);
	(void)pthread_sigmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC);
}

static int start_threads(struct mount *m, struct err_text *err)
{
	pthread_condattr_t mono;
	int rc;

	pthread_condattr_init(&mono);
	pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
	pthread_mutex_init(&m->lock, NULL);
	pthread_cond_init(&m->cond, &mono);
	pthread_condattr_destroy(&mono);
	if (pipe2(m->stop_pipe, O_CLOEXEC | O_NONBLOCK) != 0)
		return err_set(err, -errno, "cannot make a pipe: %s", err_str(-errno));
	rc = start_workers(m);
	if (!rc && !m->opt.is_read_only) {
		rc = -pthread_create(&m->sync_thread, NULL, sync_now_and_then, m);
		m->has_sync_thread = !rc;
	}
	if (rc)
		return err_set(err, rc, "cannot start a thread: %s", err_str(rc));
	return m->opt.ctl_path ? mount_ctl_start(m, err) : 0;
}

int mount_run(struct mount *m, int signal_fd, int argc, char **argv)
{
	struct err_text err = {0};
	pthread_t hurry_thread;
	int code = make_session(m, argc, argv);

	if (code) {
		guard_dismiss(m->guard_fd);
		(void)fs_close(m->fs, &err);
		return code;
	}
	code = start_threads(m, &err);
	if (code) {
		log_err("%s", err.text);
		code = EXIT_FAILED;
	} else {
		ready(m);
		if (m->on_ready)
			m->on_ready(m);
		wait_for_stop(m, signal_fd);
	}
	if (pthread_create(&hurry_thread, NULL, hurry, &signal_fd) == 0)
		(void)pthread_detach(hurry_thread);
	code = stop(m) || code ? EXIT_FAILED : EXIT_DONE;
	guard_dismiss(m->guard_fd);
	fuse_session_unmount(m->session);
	fuse_session_destroy(m->session);
	return code;
}
