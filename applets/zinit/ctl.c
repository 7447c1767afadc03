/*
 * ctl: see ctl.h.
 */
#include "applets/zinit/ctl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/file.h"
#include "core/base/mem.h"
#include "core/base/str.h"

#include "applets/zinit/note.h"
#include "applets/zinit/service.h"

enum {
	IDLE_MS = 10000, /* a client that asks nothing for so long makes room when all places are taken */
	READ_AHEAD = 16384,
	ACCEPT_AGAIN_MS = 200,
};

/* ---- one client ---- */

static void client_close(struct client *c)
{
	struct ctl *ctl = c->ctl;

	loop_io_del(&c->io);
	close(c->io.fd);
	loop_timer_stop(&c->wait_timer);
	buf_release(&c->in);
	buf_release(&c->out);
	mem_free(c->wait_names);
	mem_free(c->stats);
	mem_free(c->wait_id);
	memset(c, 0, sizeof(*c));
	ctl->client_count--;
	if (ctl->client_count == 0)
		loop_timer_start(&ctl->sup->loop, &ctl->sup->trim_timer, SUP_TRIM_MS);
	if (ctl->client_count == CTL_CLIENTS - 1)
		loop_io_set(&ctl->listener, EPOLLIN);
}

static bool has_pending_answer(const struct client *c)
{
	return c->wait_for != WAIT_NOTHING || c->follow.is_active;
}

static void update_events(struct client *c)
{
	uint32_t events = 0;
	size_t in_max = c->protocol == PROTOCOL_RPC ? CTL_RPC_BYTES_MAX : CTL_LINE_BYTES_MAX;

	if (!c->is_eof && !c->is_closing && c->wait_for == WAIT_NOTHING && c->in.len <= in_max)
		events |= EPOLLIN;
	if (c->out.len > 0)
		events |= EPOLLOUT;
	loop_io_set(&c->io, events);
}

/* Sends what the socket takes. Returns false when the client is gone (and closed). */
static bool flush(struct client *c)
{
	while (c->out.len > 0) {
		ssize_t n = send(c->io.fd, c->out.data, c->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0) {
			client_close(c);
			return false;
		}
		buf_consume(&c->out, (size_t)n);
		c->active_ms = clock_mono_ms();
	}
	if (c->out.len == 0 && (c->is_closing || (c->is_eof && !has_pending_answer(c)))) {
		client_close(c);
		return false;
	}
	update_events(c);
	return true;
}

void client_send(struct client *c, const void *data, size_t len)
{
	/* A client for which there is no room or memory cannot be answered: it sees its connection end. */
	if (buf_append(&c->out, data, len))
		c->is_closing = true;
}

void client_finish(struct client *c)
{
	c->is_closing = true;
	buf_clear(&c->in);
}

static void take_input(struct client *c)
{
	if (c->protocol == PROTOCOL_UNKNOWN) {
		size_t skip = 0;

		while (skip < c->in.len && strchr(" \t\r", c->in.data[skip]) && c->in.data[skip])
			skip++;
		if (skip == c->in.len && !c->is_eof)
			return;
		c->protocol = skip < c->in.len && (c->in.data[skip] == '{' || c->in.data[skip] == '[')
				      ? PROTOCOL_RPC
				      : PROTOCOL_LINE;
		if (c->protocol == PROTOCOL_RPC) {
			c->in.max = CTL_RPC_BYTES_MAX + READ_AHEAD;
			buf_consume(&c->in, skip);
		}
	}
	if (c->protocol == PROTOCOL_RPC)
		ctl_rpc_input(c);
	else
		ctl_line_input(c);
}

static void read_some(struct client *c)
{
	ssize_t n;

	if (buf_reserve(&c->in, READ_AHEAD)) {
		c->is_closing = true;
		return;
	}
	n = recv(c->io.fd, c->in.data + c->in.len, READ_AHEAD, MSG_DONTWAIT);
	if (n > 0) {
		buf_added(&c->in, (size_t)n);
		c->active_ms = clock_mono_ms();
	} else if (n == 0) {
		c->is_eof = true;
	} else if (errno != EAGAIN && errno != EINTR) {
		c->is_eof = c->is_closing = true;
		buf_clear(&c->out);
	}
	/* A follower or a waiter that hangs up is gone: nobody reads the rest. */
	if (c->is_eof && has_pending_answer(c)) {
		c->follow.is_active = false;
		c->wait_for = WAIT_NOTHING;
		c->is_closing = true;
	}
}

static void on_client(struct loop_io *io, uint32_t events)
{
	struct client *c = io->ctx;

	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
		read_some(c);
		if (!c->is_closing && c->wait_for == WAIT_NOTHING)
			take_input(c);
	}
	if (flush(c) && c->follow.is_active)
		client_follow(c);
}

static void on_wait_timer(struct loop_timer *timer);

static struct client *free_slot(struct ctl *ctl)
{
	struct client *oldest = NULL;
	uint64_t now = clock_mono_ms();

	for (int i = 0; i < CTL_CLIENTS; i++) {
		struct client *c = &ctl->clients[i];

		if (!c->ctl)
			return c;
		if (!has_pending_answer(c) && now - c->active_ms > IDLE_MS &&
		    (!oldest || c->active_ms < oldest->active_ms))
			oldest = c;
	}
	if (oldest)
		client_close(oldest);
	return oldest;
}

static bool is_allowed(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 &&
	       (peer.uid == 0 || peer.uid == geteuid());
}

static void on_accept_again(struct loop_timer *timer)
{
	struct ctl *ctl = timer->ctx;

	loop_io_set(&ctl->listener, EPOLLIN);
}

static void on_listener(struct loop_io *io, uint32_t events)
{
	struct ctl *ctl = io->ctx;
	struct client *c = free_slot(ctl);
	int fd;

	(void)events;
	if (!c) {
		/* All places are taken by active clients: the rest waits in the kernel's queue. */
		loop_io_set(io, 0);
		return;
	}
	fd = accept4(io->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0) {
		/* Out of descriptors or memory: asking again at once would be a loop. */
		if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
			loop_io_set(io, 0);
			loop_timer_start(&ctl->sup->loop, &ctl->again, ACCEPT_AGAIN_MS);
		}
		return;
	}
	if (!is_allowed(fd)) {
		close(fd);
		return;
	}
	c->ctl = ctl;
	c->active_ms = clock_mono_ms();
	buf_init(&c->in, CTL_LINE_BYTES_MAX + READ_AHEAD);
	buf_init(&c->out, CTL_OUT_BYTES_MAX);
	loop_timer_init(&c->wait_timer, on_wait_timer, c);
	loop_io_init(&c->io, fd, EPOLLIN, on_client, c);
	ctl->client_count++;
	if (loop_io_add(&ctl->sup->loop, &c->io))
		client_close(c);
}

/* ---- logs ---- */

int client_format_line(struct buf *out, const struct service *s, const struct ring_line *line,
		       const struct follow *follow)
{
	bool is_out = line->stream == RING_OUT || line->stream == RING_TEST_OUT;
	bool is_test = line->stream == RING_TEST_OUT || line->stream == RING_TEST_ERR;
	char iso[CLOCK_ISO_MAX];
	int rc = 0;

	if (follow->has_time)
		rc = buf_append_fmt(out, "%s ", clock_iso(iso, line->wall_ms));
	if (rc == 0 && !follow->is_bare)
		rc = buf_append_fmt(out, "[%c] %s%s: ", is_out ? '+' : '-', s->name, is_test ? "/test" : "");
	if (rc == 0)
		rc = buf_append(out, ring_line_data(line), line->len);
	/* The rest of a long line follows as a line of its own. */
	if (rc == 0 && line->is_cut)
		rc = buf_append_str(out, " [continued]");
	return rc ? rc : buf_append_byte(out, '\n');
}

/* The next line that this follower has not seen, or NULL. */
static const struct ring_line *next_line(struct client *c, struct service **of)
{
	const struct follow *f = &c->follow;
	const struct ring_line *best = NULL;

	if (f->name[0]) {
		*of = sup_find(client_sup(c), f->name);
		return *of ? ring_find(&(*of)->ring, f->next_seq) : NULL;
	}
	sup_each(client_sup(c), s)
	{
		const struct ring_line *line = ring_find(&s->ring, f->next_seq);

		if (line && (!best || line->seq < best->seq)) {
			best = line;
			*of = s;
		}
	}
	return best;
}

static uint64_t lines_missed(const struct follow *f, const struct ring_line *line)
{
	if (f->name[0])
		return f->last_number ? line->number - f->last_number - 1 : 0;
	/* last_number is not 0 once a line was sent: then sequence numbers have no gaps. */
	return f->last_number ? line->seq - f->next_seq : 0;
}

void client_follow(struct client *c)
{
	struct follow *f = &c->follow;

	f->is_active = true;
	while (c->out.len < CTL_STREAM_BYTES && !c->is_closing) {
		struct service *s = NULL;
		const struct ring_line *line = next_line(c, &s);
		uint64_t missed;

		if (!line || (f->is_snapshot && line->seq >= f->end_seq)) {
			if (f->is_snapshot) {
				f->is_active = false;
				client_finish(c);
			}
			break;
		}
		missed = lines_missed(f, line);
		if (missed && !f->is_rpc &&
		    buf_append_fmt(&c->out, "[-] zinit: %llu lines dropped\n", (unsigned long long)missed))
			c->is_closing = true;
		if (f->is_rpc)
			ctl_rpc_notify_line(c, s, line);
		else if (client_format_line(&c->out, s, line, f))
			c->is_closing = true;
		f->next_seq = line->seq + 1;
		f->last_number = line->number;
	}
	if (c->out.len > 0 || c->is_closing)
		flush(c);
}

static void on_flush(struct loop_post *post)
{
	struct ctl *ctl = post->ctx;

	for (int i = 0; i < CTL_CLIENTS; i++) {
		struct client *c = &ctl->clients[i];

		if (c->ctl && c->follow.is_active && c->out.len < CTL_STREAM_BYTES)
			client_follow(c);
	}
}

void ctl_log_appended(struct ctl *ctl)
{
	if (ctl && ctl->client_count > 0)
		loop_defer(&ctl->sup->loop, &ctl->flush);
}

/* ---- waits ---- */

static bool is_reached(const struct service *s, enum wait_for wait_for)
{
	switch (wait_for) {
	case WAIT_DOWN:
		return s->state == SM_IDLE;
	case WAIT_READY:
		return service_is_satisfying(s);
	case WAIT_ENDED:
		return !service_is_live(s);
	case WAIT_STATS:
		return false; /* only its timer ends it */
	case WAIT_NOTHING:
		break;
	}
	return true;
}

/* Whether the state waited for will not come by itself. */
static bool is_hopeless(const struct service *s, enum wait_for wait_for)
{
	return wait_for == WAIT_READY && s->state == SM_IDLE && !is_reached(s, wait_for);
}

static void end_wait(struct client *c, bool is_ok, bool is_timeout)
{
	loop_timer_stop(&c->wait_timer);
	ctl_rpc_wait_done(c, is_ok, is_timeout);
	c->wait_for = WAIT_NOTHING;
	c->wait_count = 0;
	mem_free(c->wait_names);
	mem_free(c->stats);
	c->stats = NULL;
	mem_free(c->wait_id);
	c->wait_names = NULL;
	c->wait_id = NULL;
	/* Requests that came meanwhile. */
	if (!c->is_closing && c->in.len > 0)
		take_input(c);
	flush(c);
}

static void check_wait(struct client *c)
{
	bool is_ok = true, is_over = c->wait_for != WAIT_STATS;

	for (uint32_t i = 0; i < c->wait_count; i++) {
		const struct service *s = sup_find(client_sup(c), c->wait_names[i]);

		if (!s) {
			is_ok = false;
			continue;
		}
		if (is_reached(s, c->wait_for))
			continue;
		is_ok = false;
		is_over &= is_hopeless(s, c->wait_for);
	}
	if (is_over)
		end_wait(c, is_ok, false);
}

static void on_wait_timer(struct loop_timer *timer)
{
	end_wait(timer->ctx, false, true);
}

void client_wait(struct client *c, enum wait_for wait_for, int64_t timeout_ms)
{
	c->wait_for = wait_for;
	if (timeout_ms >= 0)
		loop_timer_start(&client_sup(c)->loop, &c->wait_timer, (uint64_t)timeout_ms);
	/* Looked at when this round is over: what was asked for may need it to begin. */
	sup_touch(client_sup(c));
}

void ctl_settle(struct ctl *ctl)
{
	if (!ctl)
		return;
	for (int i = 0; i < CTL_CLIENTS; i++)
		if (ctl->clients[i].ctl && ctl->clients[i].wait_for != WAIT_NOTHING)
			check_wait(&ctl->clients[i]);
}

/* ---- the socket ---- */

static int make_listener(struct ctl *ctl, struct err_text *err)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	mode_t before;
	int fd, rc;

	if (str_copy(addr.sun_path, sizeof(addr.sun_path), ctl->path))
		return err_set(err, -ENAMETOOLONG, "cannot listen on %s: the path is too long", ctl->path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_set(err, -errno, "cannot make a socket: %s", err_str(errno));
	/* Somebody who answers is another supervisor, whatever became of its lock file. */
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0) {
		close(fd);
		return err_set(err, -E_LOCKED, "cannot listen on %s: another zinit serves it", ctl->path);
	}
	close(fd);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	unlink(ctl->path);
	before = umask(0177);
	rc = fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, 1024) < 0 ? -errno
												    : 0;
	umask(before);
	if (rc == 0) {
		loop_io_init(&ctl->listener, fd, EPOLLIN, on_listener, ctl);
		rc = loop_io_add(&ctl->sup->loop, &ctl->listener);
	}
	if (rc && fd >= 0)
		close(fd);
	return rc ? err_set(err, rc, "cannot listen on %s: %s", ctl->path, err_str(rc)) : 0;
}

int ctl_open(struct ctl **out, struct sup *sup, struct err_text *err)
{
	static struct ctl ctl; /* one per process */
	char lock[128], dir[FILE_PATH_MAX];
	int rc;

	ctl.sup = sup;
	ctl.lock_fd = ctl.listener.fd = -1;
	loop_post_init(&ctl.flush, on_flush, &ctl);
	loop_timer_init(&ctl.again, on_accept_again, &ctl);
	if (str_copy(ctl.path, sizeof(ctl.path), sup->options.socket_path) ||
	    str_fmt(lock, sizeof(lock), "%s.lock", ctl.path) < 0)
		return err_set(err, -ENAMETOOLONG, "cannot listen on %s: the path is too long",
			       sup->options.socket_path);
	rc = file_dirname(dir, sizeof(dir), ctl.path);
	if (rc == 0)
		rc = file_mkdir_p(dir, 0755);
	if (rc)
		return err_set(err, rc, "cannot make %s: %s", dir, err_str(rc));
	ctl.lock_fd = file_lock(lock);
	if (ctl.lock_fd == -E_LOCKED)
		return err_set(err, -E_LOCKED, "cannot listen on %s: another zinit serves it", ctl.path);
	if (ctl.lock_fd < 0)
		return err_set(err, ctl.lock_fd, "cannot lock %s: %s", lock, err_str(ctl.lock_fd));
	rc = make_listener(&ctl, err);
	if (rc) {
		close(ctl.lock_fd);
		return rc;
	}
	*out = &ctl;
	return 0;
}

void ctl_close(struct ctl *ctl)
{
	char lock[128];

	if (!ctl)
		return;
	for (int i = 0; i < CTL_CLIENTS; i++)
		if (ctl->clients[i].ctl && flush(&ctl->clients[i]))
			client_close(&ctl->clients[i]);
	loop_timer_stop(&ctl->again);
	loop_io_del(&ctl->listener);
	close(ctl->listener.fd);
	unlink(ctl->path);
	if (str_fmt(lock, sizeof(lock), "%s.lock", ctl->path) > 0)
		unlink(lock);
	close(ctl->lock_fd);
}
