/*
 * http: JSON-RPC over HTTP, only when asked for: POST / on a loopback address or a unix socket.
 *
 * The original serves anybody who can reach the port, any web page of any origin included. Here every request needs
 * "Authorization: Bearer TOKEN"; the token is made when the door opens and is in SOCKET.token (0600). No CORS header is
 * ever sent. Log subscriptions and waiting calls need the socket: over HTTP a stop is answered at once.
 */
#ifndef ZINIT_HTTP_H
#define ZINIT_HTTP_H

#include "applets/zinit/ctl.h"

/* "127.0.0.1:8080", "[::1]:8080", "localhost:8080" or "unix:/path". 0 or a negative code with a sentence. */
int http_open(struct ctl *ctl, const char *address, struct err_text *err);
void http_close(struct ctl *ctl);

#endif
