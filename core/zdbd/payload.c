/*
 * payload: how the bytes of a value leave. The reply to a GET is its header, the payload and a line end.
 *
 * A small payload is copied into the client's replies, over TCP also one of up to 1 MiB. A larger one that is in memory, and the last thing this client asked for, goes to
 * the socket from where it lies. A big one is verified first, piece by piece, and then sent from its file by the kernel: it is never
 * copied into our memory, unless it is the end of one that the client is slow to take. While bytes leave from a file the client is
 * blocked, so that nothing is appended behind the header.
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
#define VERIFY_AHEAD 4u           /* payloads that wait for a worker although the cache is warm */
#define SEND_PIECE   (256u << 10) /* of one sendfile: others get their turn */

struct payload {
	struct worker_job job;
	struct client *c;
	struct zdb_ns *ns; /* referenced */
	struct zdb_read rd;
	uint32_t from, count;
	bool verified; /* or not: err tells */
	bool sending;  /* its header is in the replies */
	int err;
	int fd;
	uint64_t offset; /* of the byte that leaves next */
	uint32_t left;
};

bool payload_pending(const struct client *c)
{
	return c->payload != NULL;
}

bool payload_sending(const struct client *c)
{
	return c->payload && c->payload->sending && c->payload->left > 0;
}

void payload_drop(struct client *c)
{
	struct payload *p = c->payload;

	if (!p)
		return;
	zdb_read_end(p->ns, &p->rd);
	zdb_ns_unref(p->ns);
	mem_free(p);
	c->payload = NULL;
}

/* --------------------------------------------------------------------------------------------------- from memory */

/* Replies wait for nothing: what is handed over now may leave now. */
static bool may_leave(const struct client *c)
{
	return c->out.len == 0 && !c->wrote && !c->unsynced && !c->holding && !c->socket_full && !c->mirror;
}

/* Sends header, payload and line end as one message; what the socket does not take is copied. */
static void send_direct(struct client *c, const uint8_t *data, uint32_t count)
{
	char line[24];
	size_t head = resp_bulk_header(line, count), skip;
	struct iovec iov[3] = {{line, head}, {(void *)(uintptr_t)data, count}, {"\r\n", 2}};
	struct msghdr message = {.msg_iov = iov, .msg_iovlen = 3};
	ssize_t n = sendmsg(c->io.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		client_drop(c, NULL);
		return;
	}
	skip = n > 0 ? (size_t)n : 0;
	c->d->stats.tx_bytes += skip;
	for (size_t i = 0; i < 3 && !c->dead; i++) {
		size_t gone = skip < iov[i].iov_len ? skip : iov[i].iov_len;

		skip -= gone;
		if (gone < iov[i].iov_len)
			reply_bytes(c, (const uint8_t *)iov[i].iov_base + gone, iov[i].iov_len - gone);
	}
}

/* ------------------------------------------------------------------------------------------------------ verifying */

/* How often this thread has waited for something. */
static long waits_so_far(void)
{
	struct rusage u;

	return getrusage(RUSAGE_THREAD, &u) == 0 ? u.ru_nvcsw : 0;
}

/*
 * What lies in the page cache is verified here: a worker would cost more than the reading. A read that had to wait for the disk shows
 * that the cache is cold: for a while then workers read, and nobody else waits. (Only the time would not do: on a busy machine it is
 * long because others run.)
 */
static void note_waits(struct zdbd *d, long before)
{
	if (waits_so_far() != before)
		d->reads_slow_until_ms = loop_now_ms(d->loop) + READ_SLOW_MS;
}

static void verify_here(struct payload *p)
{
	struct zdbd *d = p->c->d;
	long waits = waits_so_far();

	p->err = zdb_read_verify(&p->rd, p->from, p->count);
	p->verified = true;
	d->verified_here++;
	note_waits(d, waits);
}

static void verify_run(struct worker_job *job)
{
	struct payload *p = job->ctx;

	p->err = zdb_read_verify(&p->rd, p->from, p->count);
}

static void verify_done(struct worker_job *job)
{
	struct payload *p = job->ctx;
	struct client *c = p->c;

	p->verified = true;
	c->d->verifying--;
	c->op.busy = false;
	if (c->dead)
		turn_wanted(c->d); /* it waited for us to be freed */
	else
		client_resume(c, 0);
}

static bool is_cold(const struct zdbd *d)
{
	return d->read_pool && loop_now_ms(d->loop) < d->reads_slow_until_ms;
}

/*
 * Workers verify while the cache is cold; and when one turn brings several big reads, those behind the first, as long as a worker
 * will come to it soon: then all processors read.
 */
static bool worker_wanted(struct zdbd *d)
{
	if (!d->read_pool)
		return false;
	return is_cold(d) || (d->verified_here > 0 && d->cpus > 1 && d->verifying < VERIFY_AHEAD);
}

/* Has a worker verify it. False: it has to be done here. */
static bool verify_elsewhere(struct payload *p)
{
	struct client *c = p->c;
	struct zdbd *d = c->d;

	if (!worker_wanted(d))
		return false;
	worker_job_init(&p->job, verify_run, verify_done, p);
	if (worker_submit(d->read_pool, &p->job))
		return false;
	d->verifying++;
	c->op.busy = true;
	c->block = BLOCK_JOB;
	return true;
}

/* ---------------------------------------------------------------------------------------------------- from the file */

/* What is left is copied into the replies. */
static void send_copy(struct client *c)
{
	struct payload *p = c->payload;
	uint8_t *to = reply_room(c, p->left);

	if (!to)
		return;
	if (zdb_read_run(&p->rd, p->from + (p->count - p->left), p->left, to)) {
		client_drop(c, "a payload that was verified cannot be read");
		return;
	}
	buf_added(&c->out, p->left);
	p->left = 0;
}

bool payload_send(struct client *c)
{
	struct payload *p = c->payload;

	while (p->left > 0 && !c->dead) {
		off_t at = (off_t)p->offset;
		ssize_t n = sendfile(c->io.fd, p->fd, &at, p->left < SEND_PIECE ? p->left : SEND_PIECE);

		if (n > 0) {
			p->offset += (uint64_t)n;
			p->left -= (uint32_t)n;
			c->d->stats.tx_bytes += (uint64_t)n;
			c->progress_ms = loop_now_ms(c->d->loop);
		} else if (n < 0 && errno == EAGAIN) {
			/* its next requests are read meanwhile: it may be sending all of them before it takes a reply */
			if (p->left <= OUT_HIGH)
				send_copy(c);
			return true;
		} else if (n < 0 && (errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP)) {
			send_copy(c);
		} else if (n == 0 || errno != EINTR) {
			client_drop(c, n == 0 ? "a segment ended before its record" : NULL);
		}
	}
	return false;
}

/* Header into the replies; then as much as the socket takes now, if nothing must be waited for. */
static void send_begin(struct client *c)
{
	struct payload *p = c->payload;
	bool now = may_leave(c);
	char line[24];

	zdb_read_place(&p->rd, p->from, &p->fd, &p->offset);
	p->left = p->count;
	reply_bytes(c, line, resp_bulk_header(line, p->count));
	if (c->dead)
		return;
	p->sending = true;
	if (now)
		client_send_now(c);
}

enum verdict payload_finish(struct client *c)
{
	struct payload *p = c->payload;

	if (p->verified && !p->err && !p->sending)
		send_begin(c);
	if (!c->dead && (!p->verified || payload_sending(c))) {
		c->block = p->verified ? BLOCK_SEND : BLOCK_JOB;
		return BLOCKED;
	}
	if (!c->dead && p->err)
		reply_error(c, "Internal Error");
	else if (!c->dead)
		reply_bytes(c, "\r\n", 2);
	if (!c->dead)
		payload_drop(c); /* a dead client's goes with it */
	return DONE;
}

/*
 * Over TCP the kernel sends what it copies in larger pieces than what it takes from a file page by page: a payload that fits the replies
 * is read into them, and leaves at once, while it is in the processor's cache.
 */
static enum verdict reply_read(struct client *c, struct zdb_read *rd, uint32_t from, uint32_t count)
{
	uint8_t *at = reply_room(c, (size_t)count + 32);
	long waits = waits_so_far();
	size_t head;
	int err;

	if (!at) {
		zdb_read_end(c->ns, rd);
		return DONE;
	}
	head = resp_bulk_header((char *)at, count);
	err = zdb_read_run(rd, from, count, at + head);
	note_waits(c->d, waits);
	zdb_read_end(c->ns, rd);
	if (err) {
		reply_error(c, "Internal Error");
		return DONE;
	}
	buf_added(&c->out, head + count);
	reply_bytes(c, "\r\n", 2);
	return DONE;
}

static enum verdict reply_big(struct client *c, struct zdb_read *rd, uint32_t from, uint32_t count)
{
	struct payload *p = mem_calloc(1, sizeof(*p));

	if (!p) {
		zdb_read_end(c->ns, rd);
		reply_error(c, "Internal Memory Error");
		return DONE;
	}
	p->c = c;
	p->ns = zdb_ns_ref(c->ns);
	p->rd = *rd;
	p->from = from;
	p->count = count;
	c->payload = p;
	if (verify_elsewhere(p))
		return BLOCKED;
	verify_here(p);
	return payload_finish(c);
}

enum verdict reply_payload(struct client *c, struct zdb_read *rd, uint32_t from, uint32_t count)
{
	if (!rd->data && !c->is_unix && count <= OUT_HIGH && !is_cold(c->d))
		return reply_read(c, rd, from, count);
	if (!rd->data)
		return reply_big(c, rd, from, count);
	if (count >= DIRECT_MIN && (count >= DIRECT_ANY || !c->asks_more) && may_leave(c))
		send_direct(c, rd->data + from, count);
	else
		reply_bulk(c, rd->data + from, count);
	zdb_read_end(c->ns, rd);
	return DONE;
}
