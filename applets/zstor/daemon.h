/*
 * daemon: what the files behind `zstor monitor` share.
 */
#ifndef APPLETS_ZSTOR_DAEMON_H
#define APPLETS_ZSTOR_DAEMON_H

#include "applets/zstor/zstor.h"
#include "core/base/loop.h"
#include "core/base/worker.h"
#include "core/ctl/ctl.h"

struct serve;
struct waiters;

struct daemon {
	struct zstor z;
	struct loop loop;
	struct worker_pool *retrieve; /* segments that somebody waits for: nothing else is ever queued here */
	struct worker_pool *jobs;     /* check, evict, blocking stores */
	struct worker_pool *health;
	struct serve *serve;
	struct waiters *waiters;
	struct health_probe *probes; /* one per store */
	unsigned probes_count;
	struct loop_timer health_timer, evict_timer, stop_timer;
	bool evicting;
	int signals;          /* how many asked us to stop */
	uint64_t stop_number; /* recovery point that the stop waits for */
	uint64_t stop_deadline_ms;
};

/* serve.c: the socket. 0 or negative with a sentence. */
int serve_start(struct daemon *d, struct err_text *err);
void serve_stop(struct daemon *d);

/* commands.c: the control commands, and requests that wait for something. */
extern const struct ctl_command daemon_commands[];
int waiters_new(struct daemon *d);
void waiters_free(struct daemon *d);

/* work.c: requests of both protocols that are done in a worker. `done` is called in the loop's thread. */
struct request {
	struct worker_job job;
	struct daemon *d;
	enum { REQ_RETRIEVE, REQ_CHECK, REQ_STORE, REQ_EVICT } kind;
	char path[FILE_PATH_MAX], key_path[FILE_PATH_MAX];
	bool delete_after;
	uint64_t target_bytes;
	/* answers */
	int code;
	char why[ZS_WHY];
	uint8_t content[CONTENT_ID_BYTES];
	bool stored;
	struct evict_result evicted;
	void (*done)(struct request *r);
	void *ctx;
};
struct request *request_new(struct daemon *d, int kind, const char *path);
void request_free(struct request *r);
/* 0, or -EAGAIN when too many wait. */
int request_submit(struct request *r);
/* A store that is only noted: durable in the spool when this returns. Exit code. */
int request_note_store(struct daemon *d, const char *path, bool delete_after, char *why);

/* daemon.c */
int monitor_run(const char *config, const char *log_file, bool debug);

#endif
