/*
 * ring: see ring.h. Records lie one after another, aligned to 8 bytes, and never wrap: where the next one does not
 * fit before the end, the rest of the mapping is skipped (len = SKIP).
 */
#include "ring.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define SKIP UINT32_MAX

static uint32_t record_bytes(uint32_t len)
{
	return (uint32_t)(sizeof(struct ring_line) + ((len + 7u) & ~7u));
}

static struct ring_line *record_at(const struct ring *ring, uint32_t off)
{
	return (struct ring_line *)(void *)(ring->base + off);
}

/* The offset of a record that starts at `off` or, when there is a skip mark or no room for a header, at 0. */
static uint32_t settle(const struct ring *ring, uint32_t off)
{
	if (off + sizeof(struct ring_line) > ring->size || record_at(ring, off)->len == SKIP)
		return 0;
	return off;
}

static uint32_t record_next(const struct ring *ring, uint32_t off)
{
	return off + record_bytes(record_at(ring, off)->len);
}

int ring_init(struct ring *ring, uint32_t bytes, uint32_t lines_max)
{
	void *map;

	memset(ring, 0, sizeof(*ring));
	map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (map == MAP_FAILED)
		return -errno;
	ring->base = map;
	ring->size = bytes;
	ring->lines_max = lines_max;
	return 0;
}

void ring_release(struct ring *ring)
{
	if (ring->base)
		munmap(ring->base, ring->size);
	memset(ring, 0, sizeof(*ring));
}

static void drop_oldest(struct ring *ring)
{
	ring->head = settle(ring, ring->head);
	if (ring->hint_seq <= record_at(ring, ring->head)->seq)
		ring->hint_seq = 0;
	ring->head = record_next(ring, ring->head);
	ring->lines--;
}

/* Makes [tail, tail + need) free; the caller has made sure that it does not reach beyond the end. */
static void make_room(struct ring *ring, uint32_t need)
{
	while (ring->lines > 0) {
		uint32_t head = settle(ring, ring->head);

		if (head < ring->tail || head >= ring->tail + need)
			return;
		drop_oldest(ring);
	}
}

void ring_append(struct ring *ring, const struct ring_line *header, const void *data)
{
	uint32_t need = record_bytes(header->len);
	struct ring_line *record;

	ring->number++;
	if (!ring->base || need > ring->size / 2)
		return;
	while (ring->lines > 0 && ring->lines >= ring->lines_max)
		drop_oldest(ring);
	if (ring->lines == 0)
		ring->head = ring->tail = 0;
	if (ring->tail + need > ring->size) {
		/* The records between tail and the end are older than the one that will lie at 0. */
		while (ring->lines > 0 && settle(ring, ring->head) >= ring->tail)
			drop_oldest(ring);
		if (ring->tail + sizeof(struct ring_line) <= ring->size)
			record_at(ring, ring->tail)->len = SKIP;
		ring->tail = 0;
		if (ring->lines == 0)
			ring->head = 0;
	}
	/* A full ring has head == tail: then the oldest has to go as well. */
	if (ring->lines > 0 && settle(ring, ring->head) == ring->tail)
		drop_oldest(ring);
	make_room(ring, need);
	if (ring->lines == 0)
		ring->head = ring->tail;
	record = record_at(ring, ring->tail);
	*record = *header;
	record->number = ring->number;
	memcpy(record + 1, data, header->len);
	ring->tail += need;
	ring->lines++;
}

const struct ring_line *ring_find(struct ring *ring, uint64_t seq)
{
	uint32_t off = ring->head, left = ring->lines;

	if (ring->lines == 0)
		return NULL;
	off = settle(ring, off);
	if (ring->hint_seq && ring->hint_seq <= seq && record_at(ring, off)->seq <= ring->hint_seq)
		off = ring->hint;
	while (left-- > 0) {
		off = settle(ring, off);
		if (record_at(ring, off)->seq >= seq) {
			ring->hint = off;
			ring->hint_seq = record_at(ring, off)->seq;
			return record_at(ring, off);
		}
		ring->hint = off;
		ring->hint_seq = record_at(ring, off)->seq;
		off = record_next(ring, off);
		if (off == ring->tail)
			return NULL;
	}
	return NULL;
}

uint64_t ring_seq_of_last(struct ring *ring, uint32_t count)
{
	uint32_t off, skip;

	if (ring->lines == 0 || count == 0)
		return 0;
	off = settle(ring, ring->head);
	for (skip = count < ring->lines ? ring->lines - count : 0; skip > 0; skip--)
		off = settle(ring, record_next(ring, off));
	return record_at(ring, off)->seq;
}
