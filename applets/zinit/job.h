/*
 * job: the commands that are run beside a service: test, health, drain.
 */
#ifndef ZINIT_JOB_H
#define ZINIT_JOB_H

#include "applets/zinit/sup.h"

void job_init(struct job *job, struct service *service);

/* The service's program runs: begin testing. Called again it begins anew. */
void job_test_begin(struct job *job);
/* The service is ready: run the health command every health_interval. */
void job_health_begin(struct job *job);
/*
 * Runs the drain command with `budget_ms` in ZINIT_DEADLINE_MS. 0, or a negative errno: it could not be started. The
 * service gets SM_EV_DRAINED when it ends.
 */
int job_drain_begin(struct job *job, uint64_t budget_ms);

/* Ends it, its whole group, without a further event. */
void job_stop(struct job *job);

/* Its process has ended. */
void job_reaped(struct job *job, int status);

#endif
