/*
 * service_int: what the table's actions (service.c) and the life of the struct (service_life.c) share.
 */
#ifndef ZINIT_SERVICE_INT_H
#define ZINIT_SERVICE_INT_H

#include "applets/zinit/service.h"

/* The callback of service->timer: the event SM_EV_TIMEOUT. */
void service_on_timer(struct loop_timer *timer);
/* Stops to listen for the report of a child that is being started. Harmless when nobody does. */
void service_close_report(struct service *service);

#endif
