/*
 * payload: how the bytes of a value leave. The reply to a GET is its header, the payload and a line end.
 *
 * A small payload is copied into the client's replies. A larger one that is in memory, and the last thing this client asked for, goes to
 * the socket from where it lies. A big one is verified where the page cache has it, and leaves from there as one message with its
 * header and its line end. What the socket does not take at once, and what is not mapped, is sent from the file by the kernel. It is never
 * copied into our memory, unless it is the end of one that the client is slow to take. While bytes leave from a file the client is
 * blocked, so that nothing is appended behind the header.
 *
 * Verifying, and sending what the socket takes, is one job, that any thread may run: it touches its payload and the client's socket,
 * which stays open as long as the job is out. All else is the loop's.
 */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "core/base/clock.h"
#include "core/zdbd/zdbd_int.h"

#define DIRECT_MIN   1024u        /* less is copied: cheaper than the longer system call */
#define DIRECT_ANY   (16u << 10)  /* this much goes at once, whatever else the client has asked for already */
#define SEND_PIECE   (256u << 10) /* of one sendfile: others get their turn */
#define HELP_US      2000         /* of a turn: then others get theirs */
#define PAYLOADS_MAX 64u          /* spare ones */
#define LINE_END     "\r\n"
#define LINE_END_LEN 2u
#define LOST         "a payload that was verified cannot be read"

struct payload {
	struct payload *next; /* spare */
	struct worker_job job;
	struct client *c;
	struct zdb_ns *ns; /* referenced */
	struct zdb_read rd;
	uint32_t from, count;
	char head[24];
	uint32_t head_len;
	uint32_t
		sent; /* bytes of head, payload and line end that have left, or lie in the client's replies */
	/* of the job, until its end */
	int socket;        /* where it may send; -1: nowhere */
	bool by_reference; /* the pages themselves, where they are mapped */
	bool warm;         /* the bytes lie in the page cache, as far as we know */
	int err;           /* of verifying */
	int send_errno;
	bool waited; /* for the disk, probably */
	/* of the loop */
	bool verified; /* the job has ended */
	bool sending;  /* the reply has begun to leave */
};

bool payload_pending(const struct client *c)
{
	return c->payload != NULL;
}

/* How much of the reply payload_send() sends: the line end goes with the replies. */
static uint32_t payload_end(const struct payload *p)
{
	return p->head_len + p->count;
}

bool payload_sending(const struct client *c)
{
	return c->payload && c->payload->sending && c->payload->sent < payload_end(c->payload);
}

static struct payload *payload_take(struct zdbd *d)
{
	struct payload *p = d->payloads;

	if (!p)
		return mem_calloc(1, sizeof(*p));
	d->payloads = p->next;
	d->payloads_count--;
	*p = (struct payload){0};
	return p;
}

static void payload_give(struct zdbd *d, struct payload *p)
{
	if (d->payloads_count == PAYLOADS_MAX) {
		mem_free(p);
		return;
	}
	p->next = d->payloads;
	d->payloads = p;
	d->payloads_count++;
}

void payloads_release(struct zdbd *d)
{
	struct payload *p;

	while ((p = d->payloads)) {
		d->payloads = p->next;
		mem_free(p);
	}
	d->payloads_count = 0;
}

void payload_drop(struct client *c)
{
	struct payload *p = c->payload;

	if (!p)
		return;
	zdb_read_end(p->ns, &p->rd);
	zdb_ns_unref(p->ns);
	payload_give(c->d, p);
	c->payload = NULL;
}

/* --------------------------------------------------------------------------------------------------- from memory */

/* Replies wait for something: a write, a sync, room in the socket. */
static bool must_wait(const struct client *c)
{
	return c->wrote || c->unsynced || c->holding || c->socket_full || c->mirror ||
	       turn_writes_first(c->d);
}

/* What is handed over now may leave now. */
static bool may_leave(const struct client *c)
{
	return c->out.len == 0 && !must_wait(c);
}

/* The same, when the replies before it need not wait either: they leave first. */
static bool may_leave_after_others(struct client *c)
{
	if (c->out.len > 0 && !must_wait(c))
		client_send_now(c);
	return !c->dead && may_leave(c);
}

/* A reply as the parts of one message. */
struct parts {
	struct iovec iov[3];
	size_t count;
};

/* What remains of header, payload and line end when `skip` bytes of them are gone. */
static void parts_left(struct parts *parts, const char *head, size_t head_len, const uint8_t *data,
		       size_t count, size_t skip)
{
	const void *at[3] = {head, data, LINE_END};
	const size_t len[3] = {head_len, count, LINE_END_LEN};

	parts->count = 0;
	for (size_t i = 0; i < 3; i++) {
		size_t gone = skip < len[i] ? skip : len[i];

		skip -= gone;
		if (gone < len[i])
			parts->iov[parts->count++] =
				(struct iovec){(char *)(uintptr_t)at[i] + gone, len[i] - gone};
	}
}

/* Bytes that the socket took, or -1: see errno. */
static ssize_t parts_send(int socket, struct parts *parts)
{
	struct msghdr message = {.msg_iov = parts->iov, .msg_iovlen = parts->count};
	ssize_t n;

	do
		n = sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	return n < 0 && errno == EAGAIN ? 0 : n;
}

/* Sends header, payload and line end as one message; what the socket does not take is copied. */
static void send_direct(struct client *c, const uint8_t *data, uint32_t count)
{
	char line[24];
	size_t head = resp_bulk_header(line, count);
	struct parts parts;
	ssize_t n;

	parts_left(&parts, line, head, data, count, 0);
	n = parts_send(c->io.fd, &parts);
	if (n < 0) {
		client_drop(c, NULL);
		return;
	}
	c->d->stats.tx_bytes += (uint64_t)n;
	parts_left(&parts, line, head, data, count, (size_t)n);
	for (size_t i = 0; i < parts.count && !c->dead; i++)
		reply_bytes(c, parts.iov[i].iov_base, parts.iov[i].iov_len);
}

/* -------------------------------------------------------------------------------------------------------- the job */

/* How often this thread has waited for something. */
static long waits_so_far(void)
{
	struct rusage u;

	return getrusage(RUSAGE_THREAD, &u) == 0 ? u.ru_nvcsw : 0;
}

/* One sendfile of payload bytes. 0, or the error; ENODATA: the file ends before them. */
static int send_file(struct payload *p, int socket)
{
	uint32_t at = p->sent - p->head_len, left = p->count - at;
	uint64_t offset;
	off_t from;
	ssize_t n;
	int fd;

	zdb_read_place(&p->rd, p->from + at, &fd, &offset);
	from = (off_t)offset;
	do
		n = sendfile(socket, fd, &from, left < SEND_PIECE ? left : SEND_PIECE);
	while (n < 0 && errno == EINTR);
	if (n == 0)
		return ENODATA;
	if (n < 0)
		return errno == EAGAIN ? 0 : errno;
	p->sent += (uint32_t)n;
	return 0;
}

/* Sends what is left of the reply, as much as the socket takes. */
static void send_rest(struct payload *p, const uint8_t *data)
{
	struct parts parts;
	ssize_t n;

	parts_left(&parts, p->head, p->head_len, data, p->count, p->sent);
	n = parts_send(p->socket, &parts);
	if (n < 0)
		p->send_errno = errno;
	else
		p->sent += (uint32_t)n;
}

/*
 * The same, the payload's pages by reference. Over a unix socket that costs a third less than copying them; over TCP it costs more, as each piece is
 * given to the other end by itself.
 */
static void send_pages(struct payload *p, const uint8_t *data)
{
	uint32_t before;
	ssize_t n = send(p->socket, p->head, p->head_len, MSG_NOSIGNAL | MSG_DONTWAIT);
	int error = 0;

	if (n < 0) {
		p->send_errno = errno == EAGAIN || errno == EINTR ? 0 : errno;
		return;
	}
	p->sent = (uint32_t)n;
	do {
		before = p->sent;
		if (p->sent >= p->head_len && p->sent < payload_end(p))
			error = send_file(p, p->socket);
	} while (!error && p->sent > before);
	if (error && !err_unsupported(error))
		p->send_errno = error;
	else if (error || p->sent == payload_end(p))
		send_rest(p, data);
}

static void payload_run(struct worker_job *job)
{
	struct payload *p = job->ctx;
	bool guess = p->rd.where == ZDB_UNKNOWN;
	long waits = guess ? waits_so_far() : 0;
	const uint8_t *data = NULL;

	if (!p->warm)
		zdb_read_ahead(&p->rd, p->from, p->count);
	p->err = zdb_read_mapped(&p->rd, p->from, p->count, &data);
	if (p->err == -EOPNOTSUPP)
		p->err = zdb_read_verify(&p->rd, p->from, p->count);
	p->waited = guess && waits_so_far() != waits;
	if (!p->err && data && p->socket >= 0)
		(p->by_reference ? send_pages : send_rest)(p, data);
}

static const char *send_failure(int error)
{
	if (error == ENODATA)
		return "a segment ended before its record";
	return error == EFAULT || error == EIO ? LOST : NULL;
}

/* The client goes on, unless it is gone. */
static void payload_ended(struct payload *p)
{
	struct client *c = p->c;
	struct zdbd *d = c->d;

	p->verified = true;
	if (p->err == -EIO)
		zdb_read_failed(p->ns);
	if (p->waited)
		d->reads_slow_until_ms = loop_now_ms(d->loop) + READ_SLOW_MS;
	d->stats.tx_bytes += p->sent;
	if (p->send_errno)
		client_drop(c, send_failure(p->send_errno));
}

static void payload_done(struct worker_job *job)
{
	struct payload *p = job->ctx;
	struct client *c = p->c;

	c->op.busy = false;
	payload_ended(p);
	if (c->dead)
		turn_wanted(c->d); /* it waited for us to be freed */
	else
		client_resume(c, 0);
}

/*
 * Where the file system does not tell, a read that had to wait for the disk shows that the cache is cold: for a while then workers read, and nobody
 * else waits. (Only the time would not do: on a busy machine it is long because others run.)
 */
static bool is_cold(const struct zdbd *d, const struct zdb_read *rd)
{
	bool cold = rd->where == ZDB_COLD ||
		    (rd->where == ZDB_UNKNOWN && loop_now_ms(d->loop) < d->reads_slow_until_ms);

	return cold && d->read_pool;
}

/*
 * Has another thread run it, or this one at the end of the turn. False: it has to be done here, now. What lies in the page cache costs
 * processor time only: the loop does its share of that, and the first of a turn wakes nobody, as it may be alone.
 */
static bool payload_submit(struct payload *p)
{
	struct client *c = p->c;
	struct zdbd *d = c->d;
	int err;

	worker_job_init(&p->job, payload_run, payload_done, p);
	if (!p->warm)
		err = worker_submit(d->read_pool, &p->job);
	else if (!d->hot_pool)
		err = -EAGAIN;
	else if (d->hot_reads++ == 0)
		err = worker_submit_quiet(d->hot_pool, &p->job);
	else
		err = worker_submit(d->hot_pool, &p->job);
	if (err)
		return false;
	turn_wanted(d);
	c->op.busy = true;
	c->block = BLOCK_JOB;
	return true;
}

void payload_help(struct zdbd *d)
{
	uint64_t until_ns;

	if (d->hot_reads == 0)
		return;
	until_ns = clock_mono_ns() + (uint64_t)HELP_US * 1000;
	d->hot_reads = 0;
	while (worker_help(d->hot_pool))
		if (clock_mono_ns() > until_ns) {
			d->hot_reads = 1; /* some may wait that woke nobody */
			turn_wanted(d);
			break;
		}
}

/* ------------------------------------------------------------------------------------------------- from the loop */

/* What is left is copied into the replies. */
static void send_copy(struct client *c)
{
	struct payload *p = c->payload;
	uint32_t left = payload_end(p) - p->sent;
	uint8_t *to = reply_room(c, left);

	if (!to)
		return;
	if (zdb_read_run(&p->rd, p->from + (p->count - left), left, to)) {
		client_drop(c, LOST);
		return;
	}
	buf_added(&c->out, left);
	p->sent += left;
}

bool payload_send(struct client *c)
{
	struct payload *p = c->payload;

	while (payload_sending(c) && !c->dead) {
		uint32_t before = p->sent;
		int error = send_file(p, c->io.fd);

		if (p->sent > before) {
			c->d->stats.tx_bytes += p->sent - before;
			c->progress_ms = loop_now_ms(c->d->loop);
		} else if (error == 0) {
			/* its next requests are read meanwhile: it may be sending all of them before it takes a reply */
			if (payload_end(p) - p->sent <= OUT_HIGH)
				send_copy(c);
			return true;
		} else if (err_unsupported(error)) {
			send_copy(c);
		} else {
			client_drop(c, send_failure(error));
		}
	}
	return false;
}

/* What has not left of the header goes into the replies; then as much as the socket takes now, if nothing must be waited for. */
static void send_begin(struct client *c)
{
	struct payload *p = c->payload;
	bool now = may_leave(c);

	p->sending = true;
	if (p->sent < p->head_len) {
		reply_bytes(c, p->head + p->sent, p->head_len - p->sent);
		p->sent = p->head_len;
	}
	if (c->dead || !payload_sending(c))
		return;
	client_output(c);
	if (now)
		client_send_now(c);
}

enum verdict payload_finish(struct client *c)
{
	struct payload *p = c->payload;
	uint32_t whole = payload_end(p) + LINE_END_LEN;

	if (!c->dead && p->verified && !p->err && !p->sending)
		send_begin(c);
	if (!c->dead && (!p->verified || payload_sending(c))) {
		c->block = p->verified ? BLOCK_SEND : BLOCK_JOB;
		return BLOCKED;
	}
	if (!c->dead && p->err)
		reply_error(c, "Internal Error");
	else if (!c->dead && p->sent < whole)
		reply_bytes(c, LINE_END + LINE_END_LEN - (whole - p->sent), whole - p->sent);
	if (!c->dead)
		payload_drop(c); /* a dead client's goes with it */
	return DONE;
}

static enum verdict reply_big(struct client *c, struct zdb_read *rd, uint32_t from, uint32_t count)
{
	int socket = may_leave_after_others(c) ? c->io.fd : -1;
	struct payload *p = c->dead ? NULL : payload_take(c->d);

	if (!p) {
		zdb_read_end(c->ns, rd);
		if (!c->dead)
			reply_error(c, "Internal Memory Error");
		return DONE;
	}
	p->c = c;
	p->ns = zdb_ns_ref(c->ns);
	p->rd = *rd;
	p->from = from;
	p->count = count;
	p->head_len = (uint32_t)resp_bulk_header(p->head, count);
	p->socket = socket;
	p->by_reference = c->is_unix;
	p->warm = !is_cold(c->d, rd);
	c->payload = p;
	if (payload_submit(p))
		return BLOCKED;
	payload_run(&p->job);
	payload_ended(p);
	return payload_finish(c);
}

enum verdict reply_payload(struct client *c, struct zdb_read *rd, uint32_t from, uint32_t count)
{
	if (!rd->data)
		return reply_big(c, rd, from, count);
	if (count >= DIRECT_MIN && (count >= DIRECT_ANY || !c->asks_more) && may_leave(c))
		send_direct(c, rd->data + from, count);
	else
		reply_bulk(c, rd->data + from, count);
	zdb_read_end(c->ns, rd);
	return DONE;
}
