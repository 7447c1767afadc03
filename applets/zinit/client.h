/*
 * client: the command line's side of the control socket.
 */
#ifndef ZINIT_CLIENT_H
#define ZINIT_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include <yyjson.h>

/*
 * The socket to use: `given` (-s) or $ZINIT_SOCKET or the first default that exists, else /var/run/zinit.sock.
 */
const char *client_socket(const char *given);

/*
 * One request of the line protocol: the words are quoted as needed. *body (may be NULL) gets the document whose root is
 * the answer's body; free it with yyjson_doc_free. Returns 0, or 1 after one line on stderr.
 */
int client_line(const char *socket, const char *const *words, yyjson_doc **answer, yyjson_val **body);

/* One JSON-RPC call; `params` is JSON text. As above; *code (may be NULL) gets the error code of a refused call. */
int client_rpc(const char *socket, const char *method, const char *params, yyjson_doc **answer,
	       yyjson_val **result);

/* Sends a line and copies what comes to standard output until the server closes. 0, or 1 after one line on stderr. */
int client_stream(const char *socket, const char *const *words);

#endif
