/*
 * lent: large values go to the disk from where they were received.
 *
 * A request with a large value lies in a buffer of its client. The engine may keep a pointer into it until a flight has written the value; the
 * buffer then leaves the client with the request, and serves the next one when the engine has given it back.
 */
#include "core/zdbd/zdbd_int.h"

#define LENT_MIN (16u << 10) /* less is copied */

struct lent_buffer {
	struct zdb_lent lent; /* one use is ours, as long as the request is executed */
	struct list link;     /* d->given_back */
	struct zdbd *d;
	struct buf buf;
};

/* Somebody up the stack may be reading from it: the end of the turn takes it. */
static void given_back(struct zdb_lent *lent)
{
	struct lent_buffer *b = container_of(lent, struct lent_buffer, lent);

	list_add_tail(&b->d->given_back, &b->link);
}

struct zdb_lent *request_lend(struct client *c, const uint8_t *value, size_t len)
{
	struct lent_buffer *b;

	if (!c->d->write_pool || len < LENT_MIN || c->in.len < len || value < c->in.data ||
	    value > c->in.data + (c->in.len - len))
		return NULL;
	if (!c->lent) {
		b = mem_calloc(1, sizeof(*b));
		if (!b)
			return NULL;
		b->lent = (struct zdb_lent){1, given_back};
		b->d = c->d;
		list_init(&b->link);
		c->lent = b;
	}
	return &c->lent->lent;
}

void request_lent_end(struct client *c)
{
	struct lent_buffer *b = c->lent;

	if (!b)
		return;
	c->lent = NULL;
	if (b->lent.uses == 1) { /* nothing was kept */
		mem_free(b);
		return;
	}
	b->lent.uses--;
	b->buf = c->in;
	buf_init(&c->in, b->buf.max);
	c->d->in_total += b->buf.cap;
}

void lent_recycle(struct zdbd *d)
{
	struct list *it;

	while ((it = list_pop(&d->given_back))) {
		struct lent_buffer *b = container_of(it, struct lent_buffer, link);

		d->in_total -= b->buf.cap;
		buf_clear(&b->buf);
		buffer_idle(d, &b->buf);
		buf_release(&b->buf);
		mem_free(b);
	}
}
