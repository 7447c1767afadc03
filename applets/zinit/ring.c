/*
 * ring: see ring.h. Records lie one after another, aligned to 8 bytes, in two pieces of memory, the porch and the mapping
 * behind it, and in one of them each: where the next one does not fit before the piece's end, the rest of the piece is
 * skipped (len = SKIP, or less room than a header). Positions count all bytes ever used, skipped ones included, so that
 * "full" and "empty" cannot be confused.
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

static struct ring_line *record_at(struct ring *ring, uint64_t pos)
{
	uint32_t at = (uint32_t)(pos % ring->size);

	return (struct ring_line *)(void *)((at < RING_PORCH ? ring->porch : ring->base) + at);
}

static uint32_t room_to_end(const struct ring *ring, uint64_t pos)
{
	uint32_t at = (uint32_t)(pos % ring->size);

	return (at < RING_PORCH ? RING_PORCH : ring->size) - at;
}

/* Where the record that comes at or after `pos` begins, or tail. */
static uint64_t settle(struct ring *ring, uint64_t pos)
{
	while (pos < ring->tail) {
		uint32_t room = room_to_end(ring, pos);

		if (room >= sizeof(struct ring_line) && record_at(ring, pos)->len != SKIP)
			break;
		pos += room;
	}
	return pos;
}

static uint64_t record_next(struct ring *ring, uint64_t pos)
{
	return settle(ring, pos + record_bytes(record_at(ring, pos)->len));
}

int ring_init(struct ring *ring, uint32_t bytes, uint32_t lines_max)
{
	void *map;

	memset(ring, 0, sizeof(*ring));
	map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (map == MAP_FAILED)
		return -errno;
	ring->base = map;
	ring->size = bytes & ~7u;
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
	ring->head = record_next(ring, ring->head);
	ring->lines--;
	if (ring->hint < ring->head)
		ring->hint_seq = 0;
}

/* Where a record of so many bytes can lie in one piece, from the tail on: at most two pieces' rests are left out. */
static uint64_t place_for(const struct ring *ring, uint32_t need)
{
	uint64_t pos = ring->tail;

	while (room_to_end(ring, pos) < need)
		pos += room_to_end(ring, pos);
	return pos;
}

/* Leaves out what lies before `pos`. */
static void skip_to(struct ring *ring, uint64_t pos)
{
	while (ring->tail < pos) {
		uint32_t room = room_to_end(ring, ring->tail);

		if (room >= sizeof(struct ring_line))
			record_at(ring, ring->tail)->len = SKIP;
		ring->tail += room;
	}
}

void ring_append(struct ring *ring, const struct ring_line *header, const void *data)
{
	uint32_t need = record_bytes(header->len);
	struct ring_line *record;
	uint64_t pos;

	ring->number++;
	if (!ring->base || need > ring->size / 2)
		return;
	pos = place_for(ring, need);
	while (ring->lines > 0 && (ring->lines >= ring->lines_max || pos + need - ring->head > ring->size))
		drop_oldest(ring);
	skip_to(ring, pos);
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
	uint64_t pos = ring->head;

	if (ring->hint_seq && ring->hint_seq <= seq)
		pos = ring->hint;
	while (pos < ring->tail) {
		const struct ring_line *record = record_at(ring, pos);

		ring->hint = pos;
		ring->hint_seq = record->seq;
		if (record->seq >= seq)
			return record;
		pos = record_next(ring, pos);
	}
	return NULL;
}

uint64_t ring_seq_of_last(struct ring *ring, uint32_t count)
{
	uint64_t pos = ring->head;

	if (ring->lines == 0 || count == 0)
		return 0;
	for (uint32_t skip = count < ring->lines ? ring->lines - count : 0; skip > 0; skip--)
		pos = record_next(ring, pos);
	return record_at(ring, pos)->seq;
}
