/*
 * cmd_system: commands about the server and the connection. PING TIME AUTH INFO WAIT * HOOKS INDEX STOP MIRROR MASTER.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/hex.h"
#include "core/base/sys.h"
#include "core/net/sha1.h"
#include "core/zdbd/zdbd_int.h"
#include "build_info.h"

#define AUTH_PASSWORD_MAX 128
#define WAIT_MS           5000
#define WAIT_MS_MIN       100
#define WAIT_MS_MAX       1800000
#define WAIT_WORD_MAX     16
#define WAIT_STEP_MS      50 /* how exactly a WAIT ends */

enum verdict cmd_ping(struct call *call)
{
	reply_status(call->c, "PONG");
	return DONE;
}

enum verdict cmd_any(struct call *call)
{
	reply_error(call->c, "This is not a valid command");
	return DONE;
}

enum verdict cmd_time(struct call *call)
{
	uint64_t ns = clock_wall_ns();
	char text[24];

	reply_array(call->c, 2);
	snprintf(text, sizeof(text), "%llu", (unsigned long long)(ns / 1000000000));
	reply_text(call->c, text);
	snprintf(text, sizeof(text), "%llu", (unsigned long long)(ns % 1000000000 / 1000));
	reply_text(call->c, text);
	return DONE;
}

/* ------------------------------------------------------------------------------------------------------- AUTH */

static bool prefix_or_word(struct call *call, size_t i, const char *word)
{
	size_t len = ARG_LEN(call, i);

	if (resp_word_is(ARG(call, i), len, word))
		return true;
	return call->d->opt.prefix_commands && len > 0 && len < strlen(word) &&
	       strncasecmp((const char *)ARG(call, i), word, len) == 0;
}

static void auth_challenge(struct client *c)
{
	uint8_t random[CHALLENGE_LEN / 2];

	if (sys->getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random)) {
		reply_error(c, "Internal generator error");
		return;
	}
	hex_encode(c->challenge, random, sizeof(random));
	reply_status(c, c->challenge);
}

static void auth_secure(struct call *call)
{
	struct client *c = call->c;
	const char *error;

	if (!prefix_or_word(call, 1, "SECURE")) {
		reply_error(c, "Only SECURE extra method supported");
		return;
	}
	if (prefix_or_word(call, 2, "CHALLENGE")) {
		auth_challenge(c);
		return;
	}
	if (!call->d->admin) {
		reply_error(c, "Authentication disabled");
		return;
	}
	error = challenge_error(c, ARG(call, 2), ARG_LEN(call, 2), call->d->admin, strlen(call->d->admin));
	if (c->challenge[0] && ARG_LEN(call, 2) == 40)
		mem_wipe(c->challenge, sizeof(c->challenge)); /* compared: used up either way */
	if (error) {
		reply_error(c, error);
		return;
	}
	c->admin = true;
	reply_ok(c);
}

enum verdict cmd_auth(struct call *call)
{
	struct client *c = call->c;

	if (call->w.argc != 2 && call->w.argc != 3) {
		reply_error(c, "Unexpected arguments");
		return DONE;
	}
	if (call->w.argc == 3) {
		auth_secure(call);
		return DONE;
	}
	if (!call->d->admin) {
		reply_error(c, "Authentication disabled");
	} else if (ARG_LEN(call, 1) == 0) {
		reply_error(c, "Invalid argument");
	} else if (ARG_LEN(call, 1) > AUTH_PASSWORD_MAX) {
		reply_error(c, "Password too long");
	} else if (!password_equal(ARG(call, 1), ARG_LEN(call, 1), call->d->admin, strlen(call->d->admin))) {
		reply_error(c, "Access denied");
	} else {
		c->admin = true;
		reply_ok(c);
	}
	return DONE;
}

/* ------------------------------------------------------------------------------------------------------- INFO */

static void info_volume(struct buf *b, const char *name, uint64_t bytes)
{
	buf_append_fmt(b, "%s_bytes: %llu\n%s_mb: %.2f\n", name, (unsigned long long)bytes, name,
		       (double)bytes / 1048576.0);
}

static void info_text(struct buf *b, const struct zdbd *d)
{
	struct zdb_stats st;

	zdb_stats(d->eng, &st);
	buf_append_fmt(b, "# server\nserver_name: 0-db (zdb)\nserver_revision: %s\nengine_revision: %s\n",
		       QSFS_VERSION, QSFS_VERSION);
	buf_append_fmt(b, "instance_id: %u\nboot_time: %llu\nuptime: %llu\n\n", d->instance_id,
		       (unsigned long long)d->boot_wall_s,
		       (unsigned long long)((clock_mono_ms() - d->boot_ms) / 1000));
	buf_append_fmt(b, "# clients\nclients_lifetime: %llu\n\n",
		       (unsigned long long)d->stats.clients_lifetime);
	buf_append_fmt(b, "# internals\nsequential_key_size: %u\ndata_version: %u\nindex_version: %u\n",
		       ZDB_SEQ_KEY_SIZE, ZDB_DATA_VERSION, ZDB_INDEX_VERSION);
	buf_append_str(b, "extensions: sync range batch evict cut compact spool stored\n\n");
	buf_append_fmt(
		b, "# stats\ncommands_executed: %llu\ncommands_failed: %llu\ncommands_unauthorized: %llu\n",
		(unsigned long long)d->stats.commands, (unsigned long long)d->stats.failed,
		(unsigned long long)d->stats.unauthorized);
	buf_append_fmt(b, "index_disk_read_failed: %llu\nindex_disk_write_failed: %llu\n",
		       (unsigned long long)st.index_read_failed, (unsigned long long)st.index_write_failed);
	buf_append_fmt(b, "data_disk_read_failed: %llu\ndata_disk_write_failed: %llu\n",
		       (unsigned long long)st.data_read_failed, (unsigned long long)st.data_write_failed);
	info_volume(b, "index_disk_read", st.index_read_bytes);
	info_volume(b, "index_disk_write", st.index_write_bytes);
	info_volume(b, "data_disk_read", st.data_read_bytes);
	info_volume(b, "data_disk_write", st.data_write_bytes);
	info_volume(b, "network_rx", d->stats.rx_bytes);
	info_volume(b, "network_tx", d->stats.tx_bytes);
}

enum verdict cmd_info(struct call *call)
{
	struct buf text = BUF_INIT(16u << 10);

	info_text(&text, call->d);
	reply_bulk(call->c, text.data, text.len);
	buf_release(&text);
	return DONE;
}

/* ------------------------------------------------------------------------------------------------------- WAIT */

static bool wait_timeout(struct call *call, uint64_t *ms)
{
	int64_t n;

	*ms = WAIT_MS;
	if (call->w.argc < 3)
		return true;
	if (ARG_LEN(call, 2) > WAIT_WORD_MAX)
		return false;
	n = loose_integer(ARG(call, 2), ARG_LEN(call, 2));
	*ms = (uint64_t)n;
	return n >= WAIT_MS_MIN && n <= WAIT_MS_MAX;
}

enum verdict cmd_wait(struct call *call)
{
	struct client *c = call->c;
	struct zdbd *d = call->d;
	const struct command *row;
	uint64_t ms;

	if (call->w.argc != 2 && call->w.argc != 3) {
		reply_error(c, "Invalid arguments");
		return DONE;
	}
	row = command_find(d, ARG(call, 1), ARG_LEN(call, 1));
	if (!row) {
		reply_error(c, "Unknown command to watch");
		return DONE;
	}
	if (!wait_timeout(call, &ms)) {
		reply_error(c, "Invalid timeout");
		return DONE;
	}
	/* one per client: a later one replaces it */
	wait_forget(c);
	c->wait_for = row->fn == cmd_any ? NULL : row;
	c->wait_until_ms = clock_mono_ms() + ms;
	c->waits = true;
	list_add_tail(&d->waits, &c->wait_link);
	if (!loop_timer_is_armed(&d->wait_timer))
		loop_timer_start(d->loop, &d->wait_timer, WAIT_STEP_MS);
	return DONE;
}

void wait_forget(struct client *c)
{
	list_del(&c->wait_link);
	c->waits = false;
}

/* The answer to a WAIT, but never inside another reply. */
static void wait_answer(struct client *c, const char *name)
{
	wait_forget(c);
	if (c->op.command)
		c->wait_reply = name ? name : "";
	else if (name)
		reply_status(c, name);
	else
		reply_error(c, "Timeout");
}

void command_done(struct client *c, const struct command *command)
{
	struct zdbd *d = c->d;

	if (c->wait_reply) {
		const char *name = c->wait_reply;

		c->wait_reply = NULL;
		if (name[0])
			reply_status(c, name);
		else
			reply_error(c, "Timeout");
	}
	if (list_is_empty(&d->waits))
		return;
	list_each_safe(&d->waits, it)
	{
		struct client *w = container_of(it, struct client, wait_link);

		if (w == c || w->ns != c->ns || (w->wait_for && w->wait_for != command))
			continue;
		wait_answer(w, command->name);
	}
}

void wait_tick(struct zdbd *d, uint64_t now_ms)
{
	list_each_safe(&d->waits, it)
	{
		struct client *w = container_of(it, struct client, wait_link);

		if (now_ms >= w->wait_until_ms)
			wait_answer(w, NULL);
	}
	if (!list_is_empty(&d->waits))
		loop_timer_start(d->loop, &d->wait_timer, WAIT_STEP_MS);
}

/* ------------------------------------------------------------------------------------------------ HOOKS, INDEX */

static void reply_hook(struct client *c, const struct hook *h)
{
	size_t i;

	reply_array(c, 6);
	reply_text(c, h->type);
	reply_array(c, h->args_count);
	for (i = 0; i < h->args_count; i++)
		reply_text(c, h->args[i]);
	reply_integer(c, h->pid);
	reply_integer(c, h->created_s);
	reply_integer(c, h->finished_s);
	reply_integer(c, hook_exit_code(h));
}

enum verdict cmd_hooks(struct call *call)
{
	struct zdbd *d = call->d;
	size_t count = 0;

	list_each(&d->hooks, it) count++;
	reply_array(call->c, count);
	list_each(&d->hooks, it) reply_hook(call->c, container_of(it, struct hook, link));
	return DONE;
}

static void index_dirty(struct call *call, struct zns *z)
{
	struct client *c = call->c;
	struct numbers n;
	size_t i;

	if (!z || !dirty_numbers(z, &n)) {
		reply_error(c, "Internal Memory Error");
		return;
	}
	reply_array(c, n.count);
	for (i = 0; i < n.count; i++)
		reply_integer(c, n.v[i]);
	mem_free(n.v);
}

enum verdict cmd_index(struct call *call)
{
	struct client *c = call->c;
	struct zns *z = zns_of(call->d, c->ns);

	if (ARG_LEN(call, 1) > 256) {
		reply_error(c, "Argument too long");
	} else if (!resp_word_is(ARG(call, 1), ARG_LEN(call, 1), "DIRTY")) {
		reply_error(c, "Unknown INDEX subcommand");
	} else if (call->w.argc != 3) {
		index_dirty(call, z);
	} else if (resp_word_is(ARG(call, 2), ARG_LEN(call, 2), "RESET")) {
		if (z)
			dirty_forget(z);
		reply_ok(c);
	} else {
		reply_error(c, "Unknown INDEX DIRTY subcommand");
	}
	return DONE;
}

/* ------------------------------------------------------------------------------------------------------- STOP */

/* Only whoever could kill us anyway. */
static bool is_owner(const struct client *c)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (!c->is_unix || getsockopt(c->io.fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return false;
	return cred.uid == 0 || cred.uid == geteuid();
}

enum verdict cmd_stop(struct call *call)
{
	if (!is_owner(call->c) || !call->d->opt.stop_wanted) {
		call->d->stats.unauthorized++;
		reply_error(call->c, "Unauthorized");
		return DONE;
	}
	reply_status(call->c, "Stopping");
	loop_post(call->d->loop, &call->d->stop_asked); /* not from in here: a stop frees all clients */
	return DONE;
}

/* ------------------------------------------------------------------------------------------- MIRROR and MASTER */

enum verdict cmd_mirror(struct call *call)
{
	struct client *c = call->c;

	reply_status(c, "Starting mirroring");
	if (!c->mirror)
		list_add_tail(&call->d->mirrors, &c->mirror_link);
	c->mirror = true;
	return DONE;
}

enum verdict cmd_master(struct call *call)
{
	reply_status(call->c, "Hello, master");
	call->c->master = true;
	return DONE;
}

/* A command as a mirror gets it. What could not be put whole leaves a part of it behind. */
static int put_mirrored(struct buf *b, const struct client *from, const struct words *w)
{
	const char *ns = zdb_ns_name(from->ns);
	int err = resp_put_array(b, w->argc + 3);
	size_t i;

	if (!err)
		err = resp_put_integer(b, (int64_t)clock_wall_s());
	if (!err)
		err = resp_put_bulk(b, ns, strlen(ns));
	if (!err)
		err = resp_put_integer(b, (int64_t)from->owner);
	for (i = 0; i < w->argc && !err; i++)
		err = resp_put_bulk(b, w->base + w->argv[i].off, w->argv[i].len);
	return err;
}

/* Never inside the reply to what the mirror itself has asked: then it waits for the end of that. All, or no mirror any more. */
static void mirror_to(struct client *m, const struct client *from, const struct words *w)
{
	struct buf *b = m->op.command ? &m->mirrored : &m->out;

	if (put_mirrored(b, from, w) || b->len > MIRROR_MAX)
		client_drop(m, "it mirrors too slowly");
	else if (b == &m->out)
		client_output(m);
}

void mirror_command(struct client *from, const struct words *w)
{
	list_each_safe(&from->d->mirrors, it)
	{
		struct client *m = container_of(it, struct client, mirror_link);

		if (m != from)
			mirror_to(m, from, w);
	}
}

void mirror_go_on(struct client *m)
{
	if (m->mirrored.len == 0)
		return;
	reply_bytes(m, m->mirrored.data, m->mirrored.len);
	buf_release(&m->mirrored);
}
