/*
 * wire: the original's request and answer on the daemon's socket: u16 big-endian length, then bincode 1.x with fixed-width
 * little-endian integers (docs/formats.md, "zstor socket"). One request and one answer per connection.
 */
#ifndef APPLETS_ZSTOR_WIRE_H
#define APPLETS_ZSTOR_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/buf.h"

#define WIRE_MAX      65535u
#define WIRE_PATH_MAX 4095u

enum wire_kind {
	WIRE_STORE = 0,
	WIRE_RETRIEVE = 1,
	WIRE_REBUILD = 2,
	WIRE_CHECK = 3,
};

struct wire_request {
	enum wire_kind kind;
	char file[WIRE_PATH_MAX + 1]; /* "" = none (rebuild) */
	char key_path[WIRE_PATH_MAX + 1];
	bool has_key_path, save_failure, delete_after, blocking;
};

/* Payload -> request. -EPROTO: not a request; -ENAMETOOLONG. Bytes behind it are ignored, as the original does. */
int wire_decode(const uint8_t *data, size_t len, struct wire_request *r);
/* Request -> frame appended to `out`. */
int wire_encode(const struct wire_request *r, struct buf *out);

/* Answers as frames. */
int wire_success(struct buf *out);
int wire_error(struct buf *out, const char *text);
int wire_checksum(struct buf *out, const uint8_t sum[16]);

enum wire_answer_kind { WIRE_SUCCESS, WIRE_ERROR, WIRE_CHECKSUM };
struct wire_answer {
	enum wire_answer_kind kind;
	uint8_t sum[16];
	char text[1024]; /* cut to fit */
};
/* Payload of an answer. -EPROTO. */
int wire_decode_answer(const uint8_t *data, size_t len, struct wire_answer *a);

#endif
