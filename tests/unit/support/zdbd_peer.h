/*
 * zdbd_peer: clients of a zdbd_rig whose loop the test turns itself: requests are put into a socket, replies are looked at byte by byte,
 * and nothing happens in between but what the loop does.
 */
#ifndef TESTS_UNIT_SUPPORT_ZDBD_PEER_H
#define TESTS_UNIT_SUPPORT_ZDBD_PEER_H

#include "core/base/buf.h"
#include "tests/unit/support/zdbd_rig.h"

struct peer {
	struct zr *rig;
	int fd;
	struct buf in; /* what has come and was not expected yet */
};

void peer_open(struct peer *p, struct zr *rig);
void peer_close(struct peer *p);
/* One request of up to three words that the socket takes at once; b and c may be NULL. */
void peer_send(struct peer *p, const char *a, const char *b, const char *c);
/* SET of a value of `size` bytes; turns the loop as long as the socket is full. */
void peer_send_value(struct peer *p, const char *key, size_t size);
/* Takes what has come so far. peer_has: whether it is as long as text. */
void peer_collect(struct peer *p);
bool peer_has(struct peer *p, const char *text);
void peer_has_no_answer(struct peer *p);
/* Turns the loop until all have what they expect, and nothing else, and forgets it. */
void peers_expect(struct peer *peers, size_t count, const char *text);
/* The loop has nothing more to do without the disk: rounds without waiting until none changes anything. */
void peer_settle(struct peer *busy);
/* All leave, and their server stops cleanly. */
void peers_end(struct peer *peers, size_t count);

#endif
