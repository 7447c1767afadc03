/*
 * mount: one mounted volume: the FUSE session, its threads, its stop, and what others may ask about it.
 *
 * fs_fuse*.c turn requests of the kernel into fs_op_* calls; mount.c owns the session and the stop; guard.c sees to it
 * that a dead mount never stays behind; mount_ctl.c answers on the control socket.
 */
#ifndef ZDBFS_MOUNT_H
#define ZDBFS_MOUNT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define FUSE_USE_VERSION 317
#include <fuse_lowlevel.h>

#include "applets/zdbfs/fs.h"
#include "core/base/err.h"

/* Requests as the statistics ioctl counts them, in its order. */
enum fuse_count {
	COUNT_GETATTR,
	COUNT_SETATTR,
	COUNT_CREATE,
	COUNT_READDIR,
	COUNT_OPEN,
	COUNT_READ,
	COUNT_WRITE,
	COUNT_MKDIR,
	COUNT_UNLINK,
	COUNT_RMDIR,
	COUNT_RENAME,
	COUNT_LINK,
	COUNT_SYMLINK,
	COUNT_STATFS,
	COUNT_IOCTL,
	COUNT_KINDS,
};

struct mount_options {
	const char *mountpoint; /* absolute */
	const char *ctl_path;   /* NULL: none */
	const char *log_path;
	uint64_t stop_ms; /* how long a stop waits for whoever holds the mount */
	uint64_t interval_ms;
	bool with_guard;
	bool is_read_only;
	bool allow_other;
	bool no_writeback;
	bool debug;
	bool is_background;
	int ready_fd; /* -1: none */
};

struct mount {
	struct fs *fs;
	struct kv *kv;
	bool remote; /* kv is a kv_remote */
	struct mount_options opt;
	struct fuse_session *session;
	bool is_mounted;
	atomic_bool is_closing; /* no new opens */

	atomic_uint writing; /* WRITE requests being served */
	_Atomic uint64_t last_write_ms;
	_Atomic uint64_t requests, counts[COUNT_KINDS], read_bytes, write_bytes, errors;

	void (*on_ready)(struct mount *m); /* NULL, or called once everything serves */
	pthread_t sync_thread, ctl_thread;
	struct mount_ctl *ctl;
	int background_fd; /* -1, or where the parent waits for our readiness */
	int guard_fd;
	int stop_pipe[2];

	pthread_mutex_t lock; /* guards the rest */
	pthread_cond_t cond;
	bool synced; /* the last syncfs is over */
	bool sync_stop, has_sync_thread;
};

/* The table of operations; userdata is the struct mount. */
extern const struct fuse_lowlevel_ops mount_fuse_ops;

/*
 * Mounts, serves until told to stop or unmounted from outside, and stops as docs/promises.md says. The fs is closed here.
 * Returns an exit code. `fuse_args`: further options for libfuse ("-o", "x", ...), argv[0] first.
 */
int mount_run(struct mount *m, int signal_fd, int argc, char **argv);
/* Blocks the signals that stop a mount and returns a descriptor to read them from; before the first thread. */
int mount_signals(void);

/*
 * Everything written to the mount before the call is stored and durable, also what only the kernel had. 0 or negative
 * errno. Waits for requests of the kernel: never from a thread that serves them.
 */
int mount_sync(struct mount *m);

/* ---- guard.c ---- */
/*
 * Starts a process that waits for our end and then lazily unmounts `mountpoint`, unless guard_dismiss() came first.
 * Returns a descriptor to be kept, or a negative errno. To be called before threads are started.
 */
int guard_start(const char *mountpoint);
void guard_dismiss(int fd);

/* ---- mount_ctl.c ---- */
/* Serves "flush" and "status" on opt.ctl_path in a thread of its own. 0 or negative errno with a sentence. */
int mount_ctl_start(struct mount *m, struct err_text *err);
void mount_ctl_stop(struct mount *m);

/* ---- mount_check.c ---- */
/*
 * Looks at the mount point before anything else: 0, or an exit code after one line on stderr. A dead mount of ours on it is
 * taken away.
 */
int mount_check_point(const char *mountpoint, char *absolute, size_t size);
/* Names of processes that hold the mount, one line each on stderr; returns how many. */
unsigned mount_show_holders(const char *mountpoint);

#endif
