/*
 * ring: see ring.h. Records lie one after another, aligned to 8 bytes, and never wrap: where the next one does not
 * fit before the end, the rest of the mapping is skipped (len = SKIP, or less room than a header). Positions count all
 * bytes ever used, skipped ones included, so that "full" and "empty" cannot be confused.
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

static struct ring_line *record_at(const struct ring *ring, uint64_t pos)
{
	return (struct ring_line *)(void *)(ring->base + pos % ring->size);
}

static uint32_t room_to_end(const struct ring *ring, uint64_t pos)
{
	return ring->size - (uint32_t)(pos % ring->size);
}

/* Where the record that comes at or after `pos` begins, or tail. */
static uint64_t settle(const struct ring *ring, uint64_t pos)
{
	uint32_t room = room_to_end(ring, pos);

	if (pos < ring->tail && (room < sizeof(struct ring_line) || record_at(ring, pos)->len == SKIP))
		pos += room;
	return pos;
}

static uint64_t record_next(const struct ring *ring, uint64_t pos)
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

void ring_append(struct ring *ring, const struct ring_line *header, const void *data)
{
	uint32_t need = record_bytes(header->len), room, skip;
	struct ring_line *record;

	ring->number++;
	if (!ring->base || need > ring->size / 2)
		return;
	room = room_to_end(ring, ring->tail);
	skip = room < need ? room : 0;
	while (ring->lines > 0 && (ring->lines >= ring->lines_max ||
				   ring->size - (ring->tail - ring->head) < (uint64_t)need + skip))
		drop_oldest(ring);
	if (skip >= sizeof(struct ring_line))
		record_at(ring, ring->tail)->len = SKIP;
	ring->tail += skip;
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
