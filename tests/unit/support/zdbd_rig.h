/*
 * zdbd_rig: a server in this process, in a directory of its own, for tests of core/zdbd.
 *
 * Either the test turns the loop itself (loop_run_once(&rig.loop, ...)) and so decides who is served when, or the loop runs in a thread
 * beside it, for clients that block.
 */
#ifndef TESTS_UNIT_SUPPORT_ZDBD_RIG_H
#define TESTS_UNIT_SUPPORT_ZDBD_RIG_H

#include <pthread.h>

#include "core/base/loop.h"
#include "core/zdbd/zdbd.h"

#define ZR_LIMIT_MS 60000 /* for anything that must happen */

struct zr {
	char dir[64], data[80], index[80], socket[80], spool[80];
	struct zdbd_options opt; /* user mode on the unix socket; a test changes it before zr_start() */
	struct loop loop;
	struct zdbd *server;
	pthread_t thread;
	struct loop_post end;
};

/* A new directory; nothing runs. */
void zr_setup(struct zr *r);
void zr_teardown(struct zr *r);

/* Starts the server: clients may connect, and are served when the loop turns. Fails the test when it cannot. */
void zr_start(struct zr *r);
/* A clean stop. Returns the server's code. */
int zr_stop(struct zr *r);

/* Turns the loop until nothing that it watches is ready: all that was sent has been seen to. Fails the test when that never ends. */
void zr_quiet(struct zr *r);

/* A server with the loop in a thread of its own, until zr_halt(). */
void zr_run(struct zr *r);
int zr_halt(struct zr *r);

/* A connection to the unix socket that the server need not have taken yet. */
int zr_connect(const struct zr *r);

#endif
