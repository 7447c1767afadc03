/*
 * spares: buffers of requests and replies that go from client to client.
 *
 * What an idle client keeps is small. A larger buffer is given back when it is empty, and serves the next client that needs one: the
 * memory of a thousand clients who send large values now and then is that of the few who do so at a time.
 */
#include "core/zdbd/zdbd_int.h"

void buffer_idle(struct zdbd *d, struct buf *b)
{
	if (b->len > 0 || b->cap == 0)
		return;
	buf_clear(b);
	if (b->cap <= IDLE_KEEP)
		return;
	if (d->spares_count == SPARES_MAX || b->cap > SPARE_BYTES_MAX - d->spare_bytes) {
		buf_release(b);
		return;
	}
	d->spare_bytes += b->cap;
	d->spares[d->spares_count++] = *b;
	*b = (struct buf){.max = b->max};
}

/* Moves what is in b into a spare that has room for `bytes` in all.  False: there is none. */
static bool take_spare(struct zdbd *d, struct buf *b, size_t bytes)
{
	size_t i = d->spares_count;

	while (i > 0 && d->spares[i - 1].cap < bytes)
		i--;
	if (i == 0)
		return false;
	struct buf spare = d->spares[i - 1];

	d->spares[i - 1] = d->spares[--d->spares_count];
	d->spare_bytes -= spare.cap;
	spare.max = b->max;
	buf_append(&spare, b->data, b->len); /* it has the room */
	buf_release(b);
	*b = spare;
	return true;
}

int buffer_reserve(struct zdbd *d, struct buf *b, size_t more)
{
	size_t bytes = b->len + more;

	if (more <= b->cap - b->len || bytes <= IDLE_KEEP / 4 || b->cap > IDLE_KEEP)
		return buf_reserve(b, more);
	if (take_spare(d, b, bytes))
		return 0;
	return buf_reserve(b, more < SPARE_MIN && b->max > SPARE_MIN ? SPARE_MIN : more);
}

void spares_release(struct zdbd *d)
{
	while (d->spares_count > 0)
		buf_release(&d->spares[--d->spares_count]);
	d->spare_bytes = 0;
}
