/*
 * capture: see capture.h. Unfinished lines wait in a few shared buffers rather than one per pipe: most pipes have none
 * at any moment. When all are taken, the one that has waited longest is ended early (marked as cut).
 */
#include "applets/zinit/capture.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "core/base/clock.h"

#include "applets/zinit/ctl.h"
#include "applets/zinit/logger.h"

enum { PARTIAL_COUNT = 64, READ_BYTES = 65536 };

struct partial {
	struct capture *owner; /* NULL = free */
	uint64_t since;        /* order in which they were taken */
	uint32_t len;
	uint8_t data[RING_LINE_MAX];
};

static struct partial partials[PARTIAL_COUNT];
static uint64_t partial_clock;
static uint8_t read_bytes[READ_BYTES];

static void append(struct service *s, enum ring_stream stream, bool is_cut, const void *data, size_t len)
{
	struct ring_line line = {
		.len = (uint32_t)len,
		.stream = (uint8_t)stream,
		.is_cut = is_cut,
		.seq = ++s->sup->log_seq,
		.wall_ms = clock_wall_ms(),
	};

	ring_append(&s->ring, &line, data);
	if (s->logger)
		logger_line(s->logger, &line, data);
	ctl_log_appended(s->sup->ctl);
}

void capture_say(struct service *s, enum ring_stream stream, const char *text)
{
	if (s->ring.base)
		append(s, stream, false, text, strlen(text));
}

static void partial_end(struct partial *p, bool is_cut)
{
	struct capture *c = p->owner;

	p->owner = NULL;
	c->partial = -1;
	append(c->service, c->stream, is_cut, p->data, p->len);
	p->len = 0;
}

static struct partial *partial_take(struct capture *c)
{
	struct partial *oldest = &partials[0];

	for (int i = 0; i < PARTIAL_COUNT; i++) {
		if (!partials[i].owner) {
			oldest = &partials[i];
			break;
		}
		if (partials[i].since < oldest->since)
			oldest = &partials[i];
	}
	if (oldest->owner)
		partial_end(oldest, true);
	oldest->owner = c;
	oldest->since = ++partial_clock;
	oldest->len = 0;
	c->partial = (int)(oldest - partials);
	return oldest;
}

/* Adds bytes without a line end to the unfinished line. */
static void keep_partial(struct capture *c, const uint8_t *data, size_t len)
{
	while (len > 0) {
		struct partial *p = c->partial >= 0 ? &partials[c->partial] : partial_take(c);
		size_t room = RING_LINE_MAX - p->len, n = len < room ? len : room;

		memcpy(p->data + p->len, data, n);
		p->len += (uint32_t)n;
		data += n;
		len -= n;
		/* Full: it can only be ended once it is known whether the line goes on. */
		if (p->len == RING_LINE_MAX && len > 0)
			partial_end(p, true);
	}
}

static void end_line(struct capture *c, const uint8_t *data, size_t len)
{
	if (c->partial < 0 && len <= RING_LINE_MAX) {
		append(c->service, c->stream, false, data, len);
		return;
	}
	keep_partial(c, data, len);
	partial_end(&partials[c->partial], false);
}

static void take_bytes(struct capture *c, const uint8_t *data, size_t len)
{
	while (len > 0) {
		const uint8_t *newline = memchr(data, '\n', len);
		size_t n;

		if (!newline) {
			keep_partial(c, data, len);
			return;
		}
		n = (size_t)(newline - data);
		end_line(c, data, n);
		data += n + 1;
		len -= n + 1;
	}
}

/* One read. Returns whether there may be more. */
static bool read_once(struct capture *c)
{
	ssize_t n = read(c->io.fd, read_bytes, sizeof(read_bytes));

	if (n > 0)
		take_bytes(c, read_bytes, (size_t)n);
	return n > 0 || (n < 0 && errno == EINTR);
}

static void on_readable(struct loop_io *io, uint32_t events)
{
	(void)events;
	read_once(io->ctx);
}

void capture_flush(struct service *s, bool is_test)
{
	for (int i = is_test ? RING_TEST_OUT : RING_OUT; i <= (is_test ? RING_TEST_ERR : RING_ERR); i++) {
		struct capture *c = &s->captures[i];

		if (c->write_fd < 0)
			continue;
		/* A pipe holds at most a few rounds; a program that left writers behind must not keep us here. */
		for (int round = 0; round < 32 && read_once(c); round++)
			;
		if (c->partial >= 0)
			partial_end(&partials[c->partial], false);
	}
}

static int open_pipe(struct service *s, enum ring_stream stream)
{
	struct capture *c = &s->captures[stream];
	int fds[2], rc;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	fcntl(fds[0], F_SETFL, O_NONBLOCK);
	c->write_fd = fds[1];
	loop_io_init(&c->io, fds[0], EPOLLIN, on_readable, c);
	rc = loop_io_add(&s->sup->loop, &c->io);
	if (rc) {
		close(fds[0]);
		close(fds[1]);
		c->write_fd = -1;
	}
	return rc;
}

int capture_init(struct service *s)
{
	bool is_kept = s->unit->log == UNIT_LOG_RING || s->unit->log == UNIT_LOG_FILE;
	bool has_test = s->unit->test.count || s->unit->health.count || s->unit->drain.count;
	int rc = 0;

	for (int i = 0; i < RING_STREAM_COUNT; i++) {
		s->captures[i] = (struct capture){
			.write_fd = -1, .service = s, .stream = (enum ring_stream)i, .partial = -1};
	}
	if (!is_kept)
		return 0;
	/* Without memory for a ring the service still runs, and its output is still read. */
	(void)ring_init(&s->ring, RING_BYTES, s->sup->options.ring_lines);
	for (int i = 0; rc == 0 && i < (has_test ? RING_STREAM_COUNT : RING_TEST_OUT); i++)
		rc = open_pipe(s, (enum ring_stream)i);
	if (rc)
		capture_release(s);
	return rc;
}

void capture_release(struct service *s)
{
	for (int i = 0; i < RING_STREAM_COUNT; i++) {
		struct capture *c = &s->captures[i];

		if (c->partial >= 0)
			partials[c->partial].owner = NULL;
		c->partial = -1;
		if (c->write_fd < 0)
			continue;
		loop_io_del(&c->io);
		close(c->io.fd);
		close(c->write_fd);
		c->write_fd = -1;
	}
	ring_release(&s->ring);
}
