/*
 * capture: what services and their tests write, line by line, into their rings (and log files, logger.h).
 *
 * Bytes are bytes; a NUL or invalid UTF-8 is text like any other. A line beyond RING_LINE_MAX is stored in pieces. A
 * writer is never blocked for longer than one round of the loop takes, and never sees a closed pipe.
 */
#ifndef ZINIT_CAPTURE_H
#define ZINIT_CAPTURE_H

#include "applets/zinit/sup.h"

/* Makes the ring and the pipes that the unit needs. 0 or a negative errno; then what was made is released. */
int capture_init(struct service *service);
void capture_release(struct service *service);

/* Takes what is still in the pipes, and ends unfinished lines: the program that wrote them has ended. */
void capture_flush(struct service *service, bool is_test);

/* Adds a line of ours. */
void capture_say(struct service *service, enum ring_stream stream, const char *text);

#endif
