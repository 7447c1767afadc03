/*
 * ring: the last lines of one service, bounded in bytes and lines.
 *
 * The memory is one mapping that is reserved when the service is loaded and touched only as lines come, so that a chatty
 * service pushes out only its own lines. The first bytes are the struct's own: a service that says nothing has a few lines
 * of ours about each start, and would need a whole page for them. Bytes are bytes: nothing is decoded.
 */
#ifndef ZINIT_RING_H
#define ZINIT_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RING_BYTES     (256u << 10)
#define RING_LINE_MAX  (16u << 10) /* a longer line is stored as several, all but the last marked as cut */
#define RING_LINES_DEF 2000
#define RING_PORCH     216 /* bytes in the struct, a multiple of 8: three starts */

enum ring_stream { RING_OUT, RING_ERR, RING_TEST_OUT, RING_TEST_ERR, RING_STREAM_COUNT };

struct ring_line {
	uint32_t len;   /* bytes that follow this header */
	uint8_t stream; /* enum ring_stream */
	uint8_t is_cut; /* the line goes on in the next record */
	uint16_t pad;
	uint64_t seq;    /* over all services, from 1, without gaps */
	uint64_t number; /* within this ring, from 1, without gaps */
	uint64_t wall_ms;
};

struct ring {
	uint8_t *base; /* NULL: nothing is kept */
	uint32_t size; /* a multiple of 8 */
	uint32_t lines, lines_max;
	uint64_t head,
		tail; /* positions of the oldest and of the next record; they only grow, modulo size is where */
	uint64_t number;   /* of the newest line */
	uint64_t hint;     /* position of a record near which the last search ended, with its seq */
	uint64_t hint_seq; /* 0 = none */
	uint8_t porch[RING_PORCH] __attribute__((aligned(8))); /* stands for the mapping's first bytes */
};

/* Reserves the memory; `bytes` are far more than RING_PORCH. 0, or a negative errno: then the ring keeps nothing, and everything below still works. */
int ring_init(struct ring *ring, uint32_t bytes, uint32_t lines_max);
void ring_release(struct ring *ring);

/* Appends one line (at most RING_LINE_MAX bytes), pushing out the oldest ones as needed. */
void ring_append(struct ring *ring, const struct ring_line *header, const void *data);

/* The oldest line whose seq is at least `seq`, or NULL. Valid until the next append. */
const struct ring_line *ring_find(struct ring *ring, uint64_t seq);

/* The newest `count` lines begin with the line of this seq (0 = the ring is empty). */
uint64_t ring_seq_of_last(struct ring *ring, uint32_t count);

static inline const char *ring_line_data(const struct ring_line *line)
{
	return (const char *)(line + 1);
}

#endif
