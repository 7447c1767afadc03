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

#define RIG_LIMIT_MS 60000 /* for anything that must happen */

struct rig {
	char dir[64], data[80], index[80], socket[80], spool[80];
	struct zdbd_options opt; /* user mode on the unix socket; a test changes it before rig_start() */
	struct loop loop;
	struct zdbd *server;
	pthread_t thread;
	struct loop_post end;
};

/* A new directory; nothing runs. */
void rig_setup(struct rig *r);
void rig_teardown(struct rig *r);

/* Starts the server: clients may connect, and are served when the loop turns. Fails the test when it cannot. */
void rig_start(struct rig *r);
/* A clean stop. Returns the server's code. */
int rig_stop(struct rig *r);

/* The same with the loop in a thread of its own, until rig_halt(). */
void rig_run(struct rig *r);
int rig_halt(struct rig *r);

/* A connection to the unix socket that the server need not have taken yet. */
int rig_connect(const struct rig *r);

#endif
