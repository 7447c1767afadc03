/*
 * conn: one client's connection. Reading, cutting the stream into requests, executing them in slices, sending the replies, holding
 * them back, closing.
 *
 * Memory: requests are parsed where recv() put them, in a scratch buffer of the server; only what is left of an unfinished or blocked
 * request moves into the client's own buffer, and from then on the socket is read straight into that; after a large request the next
 * one is read straight there. Buffers of an idle client are small or gone.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/zdbd/zdbd_int.h"

#define IN_MAX   (80u << 20)
#define SEND_NOW (48u << 10) /* replies of this size do not wait for the end of the turn */

/* Keeps the sum over all clients of what unfinished requests hold. */
static void count_in(struct client *c)
{
	c->d->in_total += c->in.cap - c->in_counted;
	c->in_counted = c->in.cap;
}

/* ---------------------------------------------------------------------------------------------- interest */

static bool is_blocked(const struct client *c)
{
	return c->block != BLOCK_NONE || c->holding || list_is_linked(&c->ready);
}

static bool has_output(const struct client *c)
{
	return c->out.len > 0 || payload_sending(c);
}

/* It waits for a worker: that is done soon. */
static bool is_at_worker(const struct client *c)
{
	return c->block == BLOCK_JOB || c->block == BLOCK_SYNC || (c->block == BLOCK_NONE && c->holding);
}

/* Who waits for a worker mostly asks for nothing until then: what is waited for stays, until it does. */
static void interest(struct client *c)
{
	uint32_t events = 0;

	if (!c->closing && !is_blocked(c))
		events |= EPOLLIN;
	else if (!c->closing && is_at_worker(c))
		events |= c->io.events & EPOLLIN;
	if (c->socket_full && has_output(c) && !c->holding)
		events |= EPOLLOUT;
	loop_io_set(&c->io, events);
}

/* ------------------------------------------------------------------------------------------------ closing */

static void op_end(struct client *c)
{
	struct op *op = &c->op;

	if (op->job && op->job_free)
		op->job_free(op->job);
	memset(op, 0, sizeof(*op));
	list_init(&op->sync.link);
}

static void client_close(struct client *c)
{
	if (c->io.fd >= 0)
		close(c->io.fd);
	c->io.fd = -1;
}

void client_drop(struct client *c, const char *why)
{
	struct zdbd *d = c->d;

	if (c->dead)
		return;
	if (why)
		log_every(1000, LOG_LEVEL_WARN, "client dropped: %s client=%llu", why,
			  (unsigned long long)c->id);
	c->dead = true;
	loop_io_del(&c->io);
	if (c->op.busy)
		shutdown(c->io.fd, SHUT_RDWR); /* a worker may be sending: this number stays its client's */
	else
		client_close(c);
	zdb_waiter_cancel(&c->op.waiter);
	sync_cancel(&c->op.sync);
	sync_cancel(&c->hold);
	wait_forget(c);
	list_del(&c->mirror_link);
	list_del(&c->write_link);
	list_del(&c->pending);
	list_del(&c->ready);
	list_del(&c->all);
	list_add_tail(&d->dead, &c->all);
	d->clients_count--;
	turn_wanted(d);
}

void client_close_after(struct client *c)
{
	c->closing = true;
	client_output(c);
}

/* At the end of a turn, when nobody up the stack can hold a pointer; a worker may. */
void client_free_dead(struct zdbd *d)
{
	list_each_safe(&d->dead, it)
	{
		struct client *c = container_of(it, struct client, all);

		if (c->op.busy)
			continue;
		list_del(it);
		client_close(c);
		op_end(c);
		payload_drop(c);
		request_lent_end(c);
		buf_clear(&c->in);
		buf_clear(&c->out);
		buffer_idle(d, &c->in);
		buffer_idle(d, &c->out);
		d->in_total -= c->in_counted;
		buf_release(&c->in);
		buf_release(&c->out);
		buf_release(&c->mirrored);
		resp_request_release(&c->request);
		zdb_ns_unref(c->ns);
		mem_wipe(c->challenge, sizeof(c->challenge));
		mem_free(c);
	}
}

void client_shut_down_all(struct zdbd *d)
{
	list_each_safe(&d->clients, it) client_drop(container_of(it, struct client, all), NULL);
}

/* ------------------------------------------------------------------------------------------------ sending */

void client_output(struct client *c)
{
	if (!c->dead && !list_is_linked(&c->pending))
		list_add_tail(&c->d->pending, &c->pending);
	turn_wanted(c->d);
}

/* Sends of the gathered replies what the socket takes. True: it is full. */
static bool send_replies(struct client *c)
{
	bool full = false;

	while (c->out.len > 0 && !full) {
		ssize_t n = send(c->io.fd, c->out.data, c->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN) {
			client_drop(c, NULL);
			return false;
		}
		full = n < (ssize_t)c->out.len;
		if (n > 0) {
			c->d->stats.tx_bytes += (uint64_t)n;
			c->progress_ms = loop_now_ms(c->d->loop);
			buf_consume(&c->out, (size_t)n);
		}
	}
	return full;
}

/* TCP: header, payload and line end of a file's reply leave in as few segments as possible. */
static void cork(struct client *c, bool on)
{
	int value = on;

	if (c->is_unix || c->corked == on)
		return;
	setsockopt(c->io.fd, IPPROTO_TCP, TCP_CORK, &value, sizeof(value));
	c->corked = on;
}

/* What its replies speak of is in the log. */
static void send_written(struct client *c)
{
	bool full;

	if (payload_sending(c))
		cork(c, true);
	full = send_replies(c);
	if (!full && !c->dead && payload_sending(c))
		full = payload_send(c);
	if (c->dead)
		return;
	if (!has_output(c)) {
		if (!c->payload)
			cork(c, false);
		c->progress_ms = 0;
		if (c->closing && c->block == BLOCK_NONE) {
			client_drop(c, NULL);
			return;
		}
		buffer_idle(c->d, &c->out);
	} else if (c->progress_ms == 0) {
		c->progress_ms = loop_now_ms(c->d->loop);
	}
	if (c->block == BLOCK_DRAIN && c->out.len <= OUT_HIGH / 2)
		client_resume(c, 0);
	if (c->block == BLOCK_SEND && !payload_sending(c))
		client_resume(c, 0);
	c->socket_full = full;
	interest(c);
}

void client_send_now(struct client *c)
{
	if (c->holding || c->wrote || c->dead)
		return; /* the end of the turn comes first */
	if (turn_writes_first(c->d))
		client_output(c); /* so it does here */
	else
		send_written(c);
}

void client_send_pending(struct zdbd *d)
{
	struct list *it;

	while ((it = list_pop(&d->pending))) {
		struct client *c = container_of(it, struct client, pending);
		bool waits = flight_awaited(c);

		c->wrote = false;
		if (!waits && !c->holding)
			send_written(c);
	}
}

bool client_answers_leave(const struct zdbd *d)
{
	list_each(&d->pending, it)
	{
		if (!container_of(it, struct client, pending)->holding)
			return true;
	}
	return false;
}

void client_drop_writers(struct zdbd *d)
{
	list_each_safe(&d->pending, it)
	{
		struct client *c = container_of(it, struct client, pending);

		if (c->wrote)
			client_drop(c, "its write could not be carried out");
	}
}

/* ---------------------------------------------------------------------------------- holding replies back */

void client_release(struct client *c, enum hold why)
{
	c->holding &= (uint8_t)~why;
	if (c->holding)
		return;
	client_output(c);
	if (c->block != BLOCK_NONE)
		return;
	if (c->in.len > 0)
		client_resume(c, 0);
	else
		interest(c);
}

static void hold_done(struct sync_waiter *w, int err)
{
	struct client *c = container_of(w, struct client, hold);

	c->unsynced = false;
	if (err) {
		c->holding &= (uint8_t)~HOLD_SYNC;
		if (c->payload) {
			client_drop(c, "its writes could not be made durable");
			return;
		}
		/* what was promised below held_from is true; what follows is not */
		buf_truncate(&c->out, c->held_from);
		reply_error(c, "Cannot write data right now");
		client_close_after(c);
		return;
	}
	client_release(c, HOLD_SYNC);
}

/* With fsync always, or a doubtful log: nothing leaves until the writes so far are durable. */
static void hold_begin(struct client *c)
{
	struct zns *z = zns_of(c->d, c->ns);

	if (!z) {
		client_drop(c, "out of memory");
		return;
	}
	c->holding |= HOLD_SYNC;
	c->hold.done = hold_done;
	sync_wait(z, &c->hold, false);
}

/* Whether replies wait. A deletion that was in doubt is not any more when a record has come behind it. */
static bool must_hold(struct client *c)
{
	if (c->unsynced && !(c->holding & HOLD_SYNC) && c->d->opt.fsync != ZDBD_FSYNC_ALWAYS &&
	    !zdb_ns_doubtful(c->ns))
		c->unsynced = false;
	return c->unsynced && !(c->holding & HOLD_SYNC);
}

/* ------------------------------------------------------------------------------------------------ reading */

/* Keeps the bytes from `pos` on for later. `data` is the scratch buffer or c->in itself. */
static void keep_rest(struct client *c, const uint8_t *data, size_t len, size_t pos)
{
	struct zdbd *d = c->d;
	size_t rest = len - pos;

	if (data == c->in.data) {
		buf_consume(&c->in, pos);
	} else if (rest > 0) {
		size_t want = c->request.need > rest && c->request.need <= c->in.max ? c->request.need : rest;

		if (buffer_reserve(d, &c->in, want) && buffer_reserve(d, &c->in, rest)) {
			client_drop(c, "out of memory");
			return;
		}
		buf_append(&c->in, data + pos, rest);
	}
	if (c->in.len == 0)
		buffer_idle(d, &c->in);
	count_in(c);
	if (d->in_total > IN_TOTAL_MAX && c->in.cap > SCRATCH_SIZE) {
		reply_error(c, "Internal memory error");
		client_close_after(c);
		log_every(1000, LOG_LEVEL_WARN, "client refused: unfinished requests hold %llu bytes",
			  (unsigned long long)d->in_total);
	}
}

/* What is to be done between two requests. False: stop here. */
static bool may_go_on(struct client *c, unsigned *count, uint64_t start_ns)
{
	if (c->dead || c->closing)
		return false;
	if (c->holding || c->block != BLOCK_NONE)
		return false;
	if (c->out.len > OUT_HIGH) {
		c->block = BLOCK_DRAIN;
		return false;
	}
	/* SCAN alone may take its 2 ms: look at the clock now and then */
	if (++*count >= SLICE_COMMANDS ||
	    ((*count & 15) == 0 && clock_mono_ns() - start_ns > (uint64_t)SLICE_US * 1000)) {
		client_resume(c, 0);
		return false;
	}
	return true;
}

static bool changes_namespace(const struct client *c, const struct words *w)
{
	const struct command *row = command_find(c->d, w->base + w->argv[0].off, w->argv[0].len);

	return row && row->fn == cmd_select;
}

/* Executes the request at hand. False when it is not finished. */
static bool execute(struct client *c, const uint8_t *request)
{
	struct words w = {.base = request, .argv = c->request.argv, .argc = c->request.argc};
	bool was_unsynced = c->unsynced;
	size_t before = c->out.len;

	if (c->unsynced && changes_namespace(c, &w) && must_hold(c)) {
		hold_begin(c);
		return false;
	}
	if (command_run(c, &w) == BLOCKED)
		return false;
	if (!c->dead) {
		op_end(c);
		mirror_go_on(c);
		request_lent_end(c);
		c->block = BLOCK_NONE;
		/* a big payload leaves while it is in the processor's cache, and its buffer serves the next client */
		if (c->out.len >= SEND_NOW && !c->wrote && !c->unsynced)
			client_send_now(c);
	}
	if (c->unsynced && !was_unsynced)
		c->held_from = before;
	return true;
}

/* How much of a request like this one should be read at once to where it stays; 0: it is copied there. */
static size_t large_part(size_t used)
{
	if (used < LARGE_REQUEST)
		return 0;
	return used < LARGE_EXPECTED ? used : LARGE_EXPECTED;
}

/* Executes whole requests in [data, data + len), and keeps the rest. */
static void process(struct client *c, const uint8_t *data, size_t len)
{
	uint64_t start_ns = clock_mono_ns();
	unsigned count = 0;
	size_t pos = 0;

	do {
		enum resp_state state =
			c->op.command ? RESP_WHOLE : resp_request_parse(&c->request, data + pos, len - pos);

		if (state == RESP_MORE)
			break;
		if (state == RESP_WRONG) {
			if (c->request.error)
				reply_error(c, c->request.error);
			client_close_after(c);
			break;
		}
		c->asks_more = pos + c->request.used < len;
		if (!execute(c, data + pos))
			break;
		pos += c->request.used;
		c->large = large_part(c->request.used);
		resp_request_reset(&c->request);
	} while (may_go_on(c, &count, start_ns));

	if (c->dead)
		return;
	if (must_hold(c))
		hold_begin(c);
	keep_rest(c, data, len, c->closing ? len : pos);
	if (!c->dead)
		interest(c);
}

/* A parsed request that was put off keeps its parser state WHOLE: parse again gives the same answer. */
static void go_on(struct client *c)
{
	if (c->block != BLOCK_NONE && c->op.command)
		c->block = BLOCK_NONE; /* its handler is called again and says what it waits for now */
	if (c->block == BLOCK_DRAIN)
		c->block = BLOCK_NONE;
	if (c->holding && !c->op.command)
		return;
	if (c->in.len > 0 || c->op.command)
		process(c, c->in.data, c->in.len);
	else
		interest(c);
}

void client_resume(struct client *c, int err)
{
	if (c->dead)
		return;
	c->op.err = err;
	if (!list_is_linked(&c->ready))
		list_add_tail(&c->d->ready, &c->ready);
	loop_post(c->d->loop, &c->d->run);
}

void client_run_ready(struct zdbd *d)
{
	struct list now;
	struct list *it;

	/* those that become ready meanwhile have their turn in the next round */
	list_init(&now);
	list_splice_tail(&now, &d->ready);
	while ((it = list_pop(&now)))
		go_on(container_of(it, struct client, ready));
}

/* Bytes that one read may bring when a request has begun. */
static size_t room_wanted(const struct client *c)
{
	size_t missing = c->request.need > c->in.len ? c->request.need - c->in.len : 1;

	return missing < 4096 ? 4096 : missing;
}

/* After a large request the next one is read where it will stay. False: it is read into the scratch buffer. */
static bool expects_large(struct client *c)
{
	return c->large > 0 && !buffer_reserve(c->d, &c->in, c->large);
}

/* It was not as large, or has only begun: it does not keep the buffer. */
static void process_small(struct client *c, size_t len)
{
	struct zdbd *d = c->d;

	memcpy(d->scratch, c->in.data, len);
	buffer_idle(d, &c->in);
	process(c, d->scratch, len);
}

static void received(struct client *c, const uint8_t *to, size_t len, bool expected)
{
	c->d->stats.rx_bytes += len;
	if (to == c->d->scratch) {
		process(c, to, len);
	} else if (expected && len <= SMALL_READ) {
		process_small(c, len);
	} else {
		buf_added(&c->in, len);
		process(c, c->in.data, c->in.len);
	}
}

static void receive(struct client *c)
{
	struct zdbd *d = c->d;
	bool begun = c->in.len > 0, expected = !begun && expects_large(c);
	uint8_t *to = d->scratch;
	size_t room = SCRATCH_SIZE;
	bool later;
	ssize_t n;

	if (begun && buffer_reserve(d, &c->in, room_wanted(c))) {
		client_drop(c, "out of memory for its request");
		return;
	}
	if (begun || expected) {
		to = c->in.data + c->in.len;
		room = expected ? c->large : c->in.cap - c->in.len;
	}
	n = recv(c->io.fd, to, room, MSG_DONTWAIT);
	if (n > 0) {
		received(c, to, (size_t)n, expected);
		return;
	}
	later = n < 0 && (errno == EAGAIN || errno == EINTR);
	buffer_idle(d, &c->in);
	if (n == 0 && c->out.len > 0)
		client_close_after(c); /* it only stopped asking */
	else if (!later)
		client_drop(c, NULL);
}

static void on_client(struct loop_io *io, uint32_t events)
{
	struct client *c = io->ctx;

	if (events & EPOLLOUT)
		client_send_now(c);
	if (c->dead)
		return;
	if ((events & (EPOLLHUP | EPOLLERR)) && (is_blocked(c) || c->closing)) {
		client_drop(c, NULL); /* nobody is left to answer */
		return;
	}
	if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) && !is_blocked(c) && !c->closing)
		receive(c);
	else if (events & EPOLLIN)
		loop_io_set(&c->io, c->io.events & ~(uint32_t)EPOLLIN);
}

/* ---------------------------------------------------------------------------------------------- accepting */

int client_enter(struct client *c, struct zdb_ns *ns)
{
	zdb_ns_ref(ns);
	if (c->ns)
		zdb_ns_unref(c->ns);
	c->ns = ns;
	return 0;
}

void client_accepted(struct zdbd *d, int fd, bool is_unix)
{
	static const char refusal[] = "-Too many clients\r\n";
	struct client *c = NULL;
	int on = 1;

	if (d->clients_count < d->clients_max)
		c = mem_calloc(1, sizeof(*c));
	if (!c) {
		(void)!send(fd, refusal, sizeof(refusal) - 1,
			    MSG_NOSIGNAL | MSG_DONTWAIT); /* it may be gone already */
		close(fd);
		log_every(1000, LOG_LEVEL_WARN, "client refused: too many clients=%zu", d->clients_count);
		return;
	}
	c->d = d;
	c->id = ++d->next_client;
	c->is_unix = is_unix;
	c->admin = d->admin == NULL;
	c->writable = !d->opt.protect;
	list_init(&c->pending);
	list_init(&c->ready);
	list_init(&c->wait_link);
	list_init(&c->mirror_link);
	list_init(&c->write_link);
	list_init(&c->op.sync.link);
	list_init(&c->hold.link);
	buf_init(&c->in, IN_MAX);
	buf_init(&c->out, OUT_MAX);
	buf_init(&c->mirrored, MIRROR_MAX);
	resp_request_init(&c->request);
	client_enter(c, zdb_ns_find(d->eng, ZDB_DEFAULT, strlen(ZDB_DEFAULT)));
	if (!is_unix) {
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	}
	loop_io_init(&c->io, fd, EPOLLIN, on_client, c);
	list_add_tail(&d->clients, &c->all);
	d->clients_count++;
	d->stats.clients_lifetime++;
	if (loop_io_add(d->loop, &c->io))
		client_drop(c, "the event loop takes no more");
}

void client_tick(struct zdbd *d, uint64_t now_ms)
{
	list_each_safe(&d->clients, it)
	{
		struct client *c = container_of(it, struct client, all);

		if (has_output(c) && !c->holding && c->progress_ms && now_ms > c->progress_ms + STALL_MS)
			client_drop(c, "it takes no replies");
	}
}

/* ------------------------------------------------------------------------------------------------ replies */

/* Result of putting something into `out`. */
static void put(struct client *c, int err)
{
	if (err)
		client_drop(c, "its replies do not fit");
	else
		client_output(c);
}

/* Memory for a reply, so that what follows cannot fail half-way. */
static bool room(struct client *c, size_t bytes)
{
	if (!buffer_reserve(c->d, &c->out, bytes))
		return true;
	client_drop(c, "its replies do not fit");
	return false;
}

void reply_bytes(struct client *c, const void *data, size_t len)
{
	if (room(c, len))
		put(c, buf_append(&c->out, data, len));
}

void reply_status(struct client *c, const char *text)
{
	put(c, resp_put_status(&c->out, text));
}

void reply_error(struct client *c, const char *text)
{
	put(c, resp_put_error(&c->out, text));
}

void reply_integer(struct client *c, int64_t n)
{
	put(c, resp_put_integer(&c->out, n));
}

void reply_bulk(struct client *c, const void *data, size_t len)
{
	if (room(c, len + 32))
		put(c, resp_put_bulk(&c->out, data, len));
}

void reply_text(struct client *c, const char *text)
{
	reply_bulk(c, text, strlen(text));
}

void reply_nil(struct client *c)
{
	put(c, resp_put_nil(&c->out));
}

void reply_array(struct client *c, size_t count)
{
	put(c, resp_put_array(&c->out, count));
}

void reply_ok(struct client *c)
{
	reply_status(c, "OK");
}

uint8_t *reply_room(struct client *c, size_t bytes)
{
	return room(c, bytes) ? c->out.data + c->out.len : NULL;
}
